//! Messages encrypted and decrypted one after another with AES-GCM, through C, on a software TPM.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::{from_mut, null_mut};

use common::world::{World, input, plain, with};
use pkcs11_sys::*;

const PLAIN: &[u8] = b"a message that is longer than one block";
const LEN: usize = PLAIN.len();
const ASSOCIATED: &[u8] = b"associated";

/// The parameter of a message, with vector and tag.
struct Message {
    iv: Vec<u8>,
    tag: [u8; 16],
    tag_bits: u64,
    generator: CK_GENERATOR_FUNCTION,
    fixed_bits: u64,
}

impl Message {
    fn new(iv: &[u8], generator: CK_GENERATOR_FUNCTION) -> Self {
        Self { iv: iv.to_vec(), tag: [0; 16], tag_bits: 128, generator, fixed_bits: 0 }
    }

    fn parameter(&mut self) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: self.iv.len() as u64,
            ulIvFixedBits: self.fixed_bits,
            ivGenerator: self.generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: self.tag_bits,
        }
    }

    fn encrypt(&mut self, session: u64, plain: &[u8]) -> Result<Vec<u8>, CK_RV> {
        let mut parameter = self.parameter();
        let (at, aad) = (from_mut(&mut parameter).cast(), input(ASSOCIATED));
        let (mut out, mut len) = (vec![0; plain.len()], plain.len() as u64);
        let (data, data_len) = (input(plain), plain.len() as u64);
        match call!(C_EncryptMessage(session, at, 48, aad, 10, data, data_len, out.as_mut_ptr(), &raw mut len)) {
            CKR_OK => {
                assert_eq!(len, data_len);
                Ok(out)
            }
            rv => Err(rv),
        }
    }

    fn decrypt(&mut self, session: u64, cipher: &[u8]) -> Result<Vec<u8>, CK_RV> {
        let mut parameter = self.parameter();
        let (at, aad) = (from_mut(&mut parameter).cast(), input(ASSOCIATED));
        let (mut out, mut len) = (vec![0xee; cipher.len()], cipher.len() as u64);
        let (data, data_len) = (input(cipher), cipher.len() as u64);
        match call!(C_DecryptMessage(session, at, 48, aad, 10, data, data_len, out.as_mut_ptr(), &raw mut len)) {
            CKR_OK => Ok(out),
            rv => {
                assert!(out.iter().all(|byte| *byte == 0xee), "what is not authentic does not come out");
                Err(rv)
            }
        }
    }
}

fn init(world: &World, key: u64) {
    assert_eq!(call!(C_MessageEncryptInit(world.session, &mut plain(CKM_AES_GCM), key)), CKR_OK);
    assert_eq!(call!(C_MessageDecryptInit(world.session, &mut plain(CKM_AES_GCM), key)), CKR_OK);
}

#[test]
fn messages_go_round_in_memory_and_in_the_tpm() {
    let world = World::new();
    for token in [false, true] {
        let key = world.key(CKK_AES, token, &[0x41; 32]);
        init(&world, key);
        for iv in [vec![1; 12], vec![2; 12], vec![3; 16], vec![4; 1]] {
            let mut message = Message::new(&iv, CKG_NO_GENERATE);
            let cipher = message.encrypt(world.session, PLAIN).unwrap();
            assert_eq!(message.iv, iv);
            // The same as the encryption of one message.
            let mut parameter = CK_GCM_PARAMS {
                pIv: input(&iv),
                ulIvLen: iv.len() as u64,
                ulIvBits: 0xdead_beef,
                pAAD: input(ASSOCIATED),
                ulAADLen: 10,
                ulTagBits: 128,
            };
            let whole = world.encrypt(&mut with(CKM_AES_GCM, &mut parameter), key, PLAIN).unwrap();
            assert_eq!(whole, [&cipher[..], &message.tag].concat());
            assert_eq!(message.decrypt(world.session, &cipher).unwrap(), PLAIN);

            message.tag[15] ^= 1;
            assert_eq!(message.decrypt(world.session, &cipher), Err(CKR_AEAD_DECRYPT_FAILED));
            message.tag[15] ^= 1;
            message.iv[0] ^= 1;
            assert_eq!(message.decrypt(world.session, &cipher), Err(CKR_AEAD_DECRYPT_FAILED));
            message.iv[0] ^= 1;
            // A shorter tag is the start of the long one.
            message.tag_bits = 96;
            assert_eq!(message.decrypt(world.session, &cipher).unwrap(), PLAIN);
            let empty = message.encrypt(world.session, &[]).unwrap();
            assert!(message.decrypt(world.session, &empty).unwrap().is_empty());
        }
        assert_eq!(call!(C_MessageEncryptFinal(world.session)), CKR_OK);
        assert_eq!(call!(C_MessageDecryptFinal(world.session)), CKR_OK);
        assert_eq!(call!(C_MessageEncryptFinal(world.session)), CKR_OPERATION_NOT_INITIALIZED);
        assert_eq!(call!(C_MessageDecryptFinal(world.session)), CKR_OPERATION_NOT_INITIALIZED);
    }
}

#[test]
fn vectors_are_made_at_random() {
    let world = World::new();
    init(&world, world.key(CKK_AES, false, &[0x41; 16]));
    let mut seen = Vec::new();
    for generator in [CKG_GENERATE, CKG_GENERATE_RANDOM] {
        for _ in 0..4 {
            let mut message = Message::new(&[0; 12], generator);
            let cipher = message.encrypt(world.session, PLAIN).unwrap();
            assert!(!seen.contains(&message.iv) && message.iv != [0; 12]);
            seen.push(message.iv.clone());
            assert_eq!(message.decrypt(world.session, &cipher).unwrap(), PLAIN);
        }
    }
    let mut message = Message::new(&[0xa5; 16], CKG_GENERATE_RANDOM);
    message.fixed_bits = 32;
    let cipher = message.encrypt(world.session, PLAIN).unwrap();
    assert_eq!(message.iv[..4], [0xa5; 4]);
    assert_ne!(message.iv[4..], [0xa5; 12]);
    assert_eq!(message.decrypt(world.session, &cipher).unwrap(), PLAIN);

    // Few random bits are refused.
    message.fixed_bits = 33;
    assert_eq!(message.encrypt(world.session, PLAIN), Err(CKR_MECHANISM_PARAM_INVALID));
    let refused = Message::new(&[0; 12], 99).encrypt(world.session, PLAIN);
    assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
}

#[test]
fn vectors_count() {
    let world = World::new();
    let key = world.key(CKK_AES, false, &[0x41; 16]);
    let (mut copy, mut none) = (0, 0_u64);
    assert_eq!(call!(C_CopyObject(world.session, key, from_mut(&mut none).cast(), 0, &raw mut copy)), CKR_OK);
    let mut seen = Vec::new();
    let mut number = 0_u8;
    // The number goes on in another operation, and with a copy, which is the same key.
    for key in [key, key, copy] {
        init(&world, key);
        for (generator, fixed_bits) in [(CKG_GENERATE_COUNTER, 32), (CKG_GENERATE_COUNTER_XOR, 32)] {
            let mut message = Message::new(&[0xa0; 12], generator);
            message.fixed_bits = fixed_bits;
            let mut parameter = message.parameter();
            let at = from_mut(&mut parameter).cast();
            let (data, mut len) = (input(PLAIN), 0);
            let query = call!(C_EncryptMessage(
                world.session,
                at,
                48,
                null_mut(),
                0,
                data,
                LEN as u64,
                null_mut(),
                &raw mut len
            ));
            assert_eq!((query, &message.iv), (CKR_OK, &vec![0xa0; 12]), "a question makes no vector");
            let cipher = message.encrypt(world.session, PLAIN).unwrap();
            let mut expected = if generator == CKG_GENERATE_COUNTER { vec![0; 12] } else { vec![0xa0; 12] };
            expected[..4].copy_from_slice(&[0xa0; 4]);
            expected[11] ^= number;
            assert_eq!(message.iv, expected);
            assert!(!seen.contains(&message.iv));
            seen.push(message.iv.clone());
            number += 1;
            message.generator = CKG_NO_GENERATE;
            assert_eq!(message.decrypt(world.session, &cipher).unwrap(), PLAIN);
        }
        assert_eq!(call!(C_MessageEncryptFinal(world.session)), CKR_OK);
        assert_eq!(call!(C_MessageDecryptFinal(world.session)), CKR_OK);
    }
    // Nobody but this process counts with it: a key in the TPM has other users.
    init(&world, world.key(CKK_AES, true, &[0x42; 16]));
    for generator in [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR] {
        let refused = Message::new(&[0; 12], generator).encrypt(world.session, PLAIN);
        assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
    }
}

#[test]
fn a_length_query_and_a_short_buffer_process_nothing() {
    let world = World::new();
    init(&world, world.key(CKK_AES, false, &[0x41; 16]));
    let mut message = Message::new(&[7; 12], CKG_GENERATE_RANDOM);
    let mut parameter = message.parameter();
    let at = from_mut(&mut parameter).cast();
    let mut room = [0xee; LEN];
    let ask = |out: *mut u8, mut len: u64| {
        let (aad, data) = (input(ASSOCIATED), input(PLAIN));
        let rv = call!(C_EncryptMessage(world.session, at, 48, aad, 10, data, LEN as u64, out, &raw mut len));
        (rv, len)
    };
    assert_eq!(ask(null_mut(), 0), (CKR_OK, LEN as u64));
    assert_eq!(ask(room.as_mut_ptr(), LEN as u64 - 1), (CKR_BUFFER_TOO_SMALL, LEN as u64));
    assert_eq!((&message.iv[..], message.tag, room), (&[7; 12][..], [0; 16], [0xee; LEN]));

    // In parts too; nothing comes before the end, and the query counts what came.
    let session = world.session;
    assert_eq!(call!(C_EncryptMessageBegin(session, at, 48, null_mut(), 0)), CKR_OK);
    assert_ne!(message.iv, [7; 12]);
    let next = |part: &[u8], out: *mut u8, mut len: u64, flags| {
        let data = input(part);
        let rv = call!(C_EncryptMessageNext(session, at, 48, data, part.len() as u64, out, &raw mut len, flags));
        (rv, len)
    };
    let out = room.as_mut_ptr();
    assert_eq!(next(&PLAIN[..20], null_mut(), 0, 0), (CKR_OK, 0));
    assert_eq!(next(&PLAIN[..20], out, 20, 0), (CKR_OK, 0));
    assert_eq!(next(&PLAIN[20..], null_mut(), 0, CKF_END_OF_MESSAGE), (CKR_OK, LEN as u64));
    assert_eq!(next(&PLAIN[20..], out, 1, CKF_END_OF_MESSAGE), (CKR_BUFFER_TOO_SMALL, LEN as u64));
    assert_eq!(message.tag, [0; 16]);
    assert_eq!(next(&PLAIN[20..], out, LEN as u64, CKF_END_OF_MESSAGE), (CKR_OK, LEN as u64));
    assert_ne!(message.tag, [0; 16]);
    assert_eq!(next(&PLAIN[20..], out, LEN as u64, 0).0, CKR_OPERATION_NOT_INITIALIZED);

    // And back.
    assert_eq!(call!(C_DecryptMessageBegin(session, at, 48, null_mut(), 0)), CKR_OK);
    let mut plain = [0xee; LEN];
    let mut next = |part: &[u8], mut len: u64, flags| {
        let (data, out) = (input(part), plain.as_mut_ptr());
        let rv = call!(C_DecryptMessageNext(session, at, 48, data, part.len() as u64, out, &raw mut len, flags));
        (rv, len)
    };
    assert_eq!(next(&room[..1], LEN as u64, 0), (CKR_OK, 0));
    assert_eq!(next(&room[1..], LEN as u64 - 1, CKF_END_OF_MESSAGE), (CKR_BUFFER_TOO_SMALL, LEN as u64));
    assert_eq!(next(&room[1..], LEN as u64, CKF_END_OF_MESSAGE), (CKR_OK, LEN as u64));
    assert_eq!(plain, PLAIN);
}

#[test]
fn the_tag_may_follow_the_ciphertext_in_the_memory_of_the_message() {
    let world = World::new();
    let key = world.key(CKK_AES, false, &[0x41; 16]);
    init(&world, key);
    let mut memory = [PLAIN, &[0; 16]].concat();
    let at = memory.as_mut_ptr();
    let mut iv = [5; 12];
    let mut parameter = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: at.wrapping_add(LEN),
        ulTagBits: 128,
    };
    // The room that is said includes the tag's.
    let (mut len, given) = (LEN as u64 + 16, from_mut(&mut parameter).cast());
    let rv = call!(C_EncryptMessage(world.session, given, 48, null_mut(), 0, at, LEN as u64, at, &raw mut len));
    assert_eq!((rv, len), (CKR_OK, LEN as u64));
    let mut reference = Message::new(&iv, CKG_NO_GENERATE);
    let mut whole = CK_GCM_PARAMS {
        pIv: reference.iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: null_mut(),
        ulAADLen: 0,
        ulTagBits: 128,
    };
    assert_eq!(world.encrypt(&mut with(CKM_AES_GCM, &mut whole), key, PLAIN).unwrap(), memory);
    len = LEN as u64 + 16;
    let rv = call!(C_DecryptMessage(world.session, given, 48, null_mut(), 0, at, LEN as u64, at, &raw mut len));
    assert_eq!((rv, len, &memory[..LEN]), (CKR_OK, LEN as u64, PLAIN));
}

#[test]
fn messages_keep_their_order() {
    let world = World::new();
    let session = world.session;
    let key = world.key(CKK_AES, false, &[0x41; 16]);
    let mut message = Message::new(&[1; 12], CKG_NO_GENERATE);
    assert_eq!(message.encrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    assert_eq!(message.decrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    let start = |mechanism: *mut CK_MECHANISM| call!(C_MessageEncryptInit(session, mechanism, key));
    assert_eq!(start(&mut plain(CKM_AES_CBC)), CKR_MECHANISM_INVALID);
    let mut number = 1_u64;
    assert_eq!(start(&mut with(CKM_AES_GCM, &mut number)), CKR_MECHANISM_PARAM_INVALID);
    let mut parameter = message.parameter();
    assert_eq!(start(&mut with(CKM_AES_GCM, &mut parameter)), CKR_OK);
    assert_eq!(start(&mut plain(CKM_AES_GCM)), CKR_OPERATION_ACTIVE);

    let at = from_mut(&mut parameter).cast();
    let begin = || call!(C_EncryptMessageBegin(session, at, 48, null_mut(), 0));
    assert_eq!(begin(), CKR_OK);
    assert_eq!(begin(), CKR_OPERATION_ACTIVE);
    assert_eq!(message.encrypt(session, PLAIN), Err(CKR_OPERATION_ACTIVE));
    // The end of all messages is the end of this one.
    assert_eq!(call!(C_MessageEncryptFinal(session)), CKR_OK);
    assert_eq!(begin(), CKR_OPERATION_NOT_INITIALIZED);

    // Cancelled by no mechanism, by flag, and by logout.
    assert_eq!(start(&mut plain(CKM_AES_GCM)), CKR_OK);
    assert_eq!(start(null_mut()), CKR_OK);
    assert_eq!(message.encrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    init(&world, key);
    assert_eq!(call!(C_SessionCancel(session, CKF_MESSAGE_ENCRYPT)), CKR_OK);
    assert_eq!(message.encrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    assert_eq!(message.decrypt(session, PLAIN), Err(CKR_AEAD_DECRYPT_FAILED));
    assert_eq!(call!(C_MessageDecryptInit(session, null_mut(), 0)), CKR_OK);
    assert_eq!(message.decrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    init(&world, key);
    assert_eq!(call!(C_Logout(session)), CKR_OK);
    assert_eq!(message.encrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
    assert_eq!(message.decrypt(session, PLAIN), Err(CKR_OPERATION_NOT_INITIALIZED));
}

#[test]
fn parameters_that_do_not_fit_are_refused_and_the_operation_stays() {
    let world = World::new();
    let session = world.session;
    init(&world, world.key(CKK_AES, false, &[0x41; 16]));
    let mut message = Message::new(&[1; 12], CKG_NO_GENERATE);
    let good = message.parameter();
    let try_with = |mut parameter: CK_GCM_MESSAGE_PARAMS, size| {
        let (mut room, mut len, at) = ([0; 4], 4, from_mut(&mut parameter).cast());
        let (data, out) = (input(b"data"), room.as_mut_ptr());
        let one = call!(C_EncryptMessage(session, at, size, null_mut(), 0, data, 4, out, &raw mut len));
        len = 4;
        let other = call!(C_DecryptMessage(session, at, size, null_mut(), 0, data, 4, out, &raw mut len));
        (one, other)
    };
    let bad = CKR_MECHANISM_PARAM_INVALID;
    assert_eq!(try_with(good, 48), (CKR_OK, CKR_AEAD_DECRYPT_FAILED));
    for size in [0, 47, 49, u64::MAX] {
        let expected = if size == u64::MAX { CKR_ARGUMENTS_BAD } else { bad };
        assert_eq!(try_with(good, size), (expected, expected), "{size}");
    }
    for tag_bits in [0, 8, 31, 72, 127, 136, u64::MAX] {
        assert_eq!(try_with(CK_GCM_MESSAGE_PARAMS { ulTagBits: tag_bits, ..good }, 48), (bad, bad), "{tag_bits}");
    }
    for parameter in [
        CK_GCM_MESSAGE_PARAMS { pIv: null_mut(), ..good },
        CK_GCM_MESSAGE_PARAMS { pTag: null_mut(), ..good },
        CK_GCM_MESSAGE_PARAMS { ulIvLen: 0, ..good },
        CK_GCM_MESSAGE_PARAMS { ulIvLen: u64::MAX, ..good },
    ] {
        assert_eq!(try_with(parameter, 48), (bad, bad), "{parameter:?}");
    }
    // At an odd address it is as good as any.
    let mut memory = [0_u64; 7];
    let odd = memory.as_mut_ptr().cast::<u8>().wrapping_add(1);
    common::write_at(odd, good);
    let (mut room, mut len) = ([0; 4], 4);
    let (data, out) = (input(b"data"), room.as_mut_ptr());
    let rv = call!(C_EncryptMessage(session, odd.cast(), 48, null_mut(), 0, data, 4, out, &raw mut len));
    assert_eq!(rv, CKR_OK);
    assert_eq!(try_with(good, 48), (CKR_OK, CKR_AEAD_DECRYPT_FAILED));
}

/// A signature through C: whole, and in parts where only the last call has a place for the length.
#[test]
fn messages_are_signed_and_verified() {
    let world = World::new();
    let key = world.key(CKK_GENERIC_SECRET, true, &[0x51; 32]);
    let session = world.session;
    let mut mechanism = plain(CKM_SHA256_HMAC);
    assert_eq!(call!(C_MessageSignInit(session, &mut mechanism, key)), CKR_OK);
    assert_eq!(call!(C_MessageVerifyInit(session, &mut mechanism, key)), CKR_OK);
    let none = null_mut();
    for text in [&b"first"[..], b"the second"] {
        let (data, len) = (input(text), text.len() as u64);
        let (mut code, mut code_len) = ([0; 32], 32);
        assert_eq!(call!(C_SignMessage(session, none, 0, data, len, null_mut(), &raw mut code_len)), CKR_OK);
        assert_eq!(call!(C_SignMessage(session, none, 0, data, len, code.as_mut_ptr(), &raw mut code_len)), CKR_OK);
        assert_eq!(code_len, 32);
        let mut again = [0; 32];
        assert_eq!(call!(C_SignMessageBegin(session, none, 0)), CKR_OK);
        assert_eq!(call!(C_SignMessageNext(session, none, 0, data, 2, null_mut(), null_mut())), CKR_OK);
        let rest = input(&text[2..]);
        code_len = 31;
        let at = again.as_mut_ptr();
        assert_eq!(
            call!(C_SignMessageNext(session, none, 0, rest, len - 2, at, &raw mut code_len)),
            CKR_BUFFER_TOO_SMALL
        );
        assert_eq!(call!(C_SignMessageNext(session, none, 0, rest, len - 2, at, &raw mut code_len)), CKR_OK);
        assert_eq!(again, code);
        assert_eq!(call!(C_VerifyMessage(session, none, 0, data, len, code.as_mut_ptr(), 32)), CKR_OK);
        assert_eq!(call!(C_VerifyMessageBegin(session, none, 0)), CKR_OK);
        assert_eq!(call!(C_VerifyMessageNext(session, none, 0, data, 2, null_mut(), 0)), CKR_OK);
        assert_eq!(call!(C_VerifyMessageNext(session, none, 0, rest, len - 2, code.as_mut_ptr(), 32)), CKR_OK);
        code[0] ^= 1;
        let rv = call!(C_VerifyMessage(session, none, 0, data, len, code.as_mut_ptr(), 32));
        assert_eq!(rv, CKR_SIGNATURE_INVALID);
    }
    let mut parameter = [0_u8; 16];
    let given = parameter.as_mut_ptr().cast();
    assert_eq!(call!(C_SignMessageBegin(session, given, 16)), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(call!(C_VerifyMessageBegin(session, given, 16)), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(call!(C_MessageSignInit(session, null_mut(), 0)), CKR_OK);
    assert_eq!(call!(C_MessageSignFinal(session)), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(call!(C_SessionCancel(session, CKF_MESSAGE_VERIFY)), CKR_OK);
    assert_eq!(call!(C_MessageVerifyFinal(session)), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn mechanisms_without_messages_are_refused_whatever_their_parameter() {
    let world = World::new();
    let key = world.key(CKK_AES, false, &[0x41; 16]);
    let mut iv = [0_u8; 16];
    for number in [CKM_AES_CBC, CKM_MD5, CKM_SHA256_HMAC] {
        for mut mechanism in [plain(number), with(number, &mut iv)] {
            let refused = call!(C_MessageEncryptInit(world.session, &mut mechanism, key));
            assert_eq!(refused, CKR_MECHANISM_INVALID, "{number:#x}");
            let refused = call!(C_MessageDecryptInit(world.session, &mut mechanism, key));
            assert_eq!(refused, CKR_MECHANISM_INVALID, "{number:#x}");
        }
    }
}
