//! Operations of a session through C, on a software TPM: two at once, cancelled, with recovery, and their parameters.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::null_mut;

use base::digest::Hash;
use common::world::{World, boolean, handle, input, number, output, plain, secret, with, with_template};
use common::write_at;
use pkcs11_sys::*;

const PLAIN: [u8; 48] = *b"three blocks of plain text, neither more or less";
const IV: [u8; 16] = [9; 16];

/// What the last call of an operation gives.
macro_rules! end {
    ($session:expr, $name:ident) => {
        output(|at, len| call!($name($session, at, len))).unwrap()
    };
}

/// A call of one of the dual functions.
type Dual = fn(CK_SESSION_HANDLE, &[u8], *mut u8, *mut u64) -> CK_RV;

fn digest_encrypt(session: CK_SESSION_HANDLE, part: &[u8], out: *mut u8, len: *mut u64) -> CK_RV {
    call!(C_DigestEncryptUpdate(session, input(part), part.len() as u64, out, len))
}

fn decrypt_digest(session: CK_SESSION_HANDLE, part: &[u8], out: *mut u8, len: *mut u64) -> CK_RV {
    call!(C_DecryptDigestUpdate(session, input(part), part.len() as u64, out, len))
}

fn sign_encrypt(session: CK_SESSION_HANDLE, part: &[u8], out: *mut u8, len: *mut u64) -> CK_RV {
    call!(C_SignEncryptUpdate(session, input(part), part.len() as u64, out, len))
}

fn decrypt_verify(session: CK_SESSION_HANDLE, part: &[u8], out: *mut u8, len: *mut u64) -> CK_RV {
    call!(C_DecryptVerifyUpdate(session, input(part), part.len() as u64, out, len))
}

/// Sends all through in three parts, each asked for its length and refused a short buffer first.
fn in_parts(session: CK_SESSION_HANDLE, dual: Dual, data: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in [&data[..16], &data[16..20], &data[20..]] {
        let ready = (all.len() + part.len() + if all.len() == 16 && part.len() == 28 { 4 } else { 0 }) / 16 * 16;
        let ready = ready as u64 - all.len() as u64;
        let mut len = 0;
        assert_eq!((dual(session, part, null_mut(), &raw mut len), len), (CKR_OK, ready));
        let mut room = vec![0; ready as usize];
        if ready > 0 {
            len = ready - 1;
            assert_eq!((dual(session, part, room.as_mut_ptr(), &raw mut len), len), (CKR_BUFFER_TOO_SMALL, ready));
        }
        len = ready;
        room.resize(ready as usize + 1, 0);
        assert_eq!((dual(session, part, room.as_mut_ptr(), &raw mut len), len), (CKR_OK, ready));
        all.extend(&room[..ready as usize]);
    }
    all
}

#[test]
fn two_operations_are_fed_by_one_call() {
    let world = World::new();
    let session = world.session;
    for token in [false, true] {
        let aes = world.key(CKK_AES, token, &[1; 16]);
        let mac = world.key(CKK_GENERIC_SECRET, token, b"key");
        let mut iv = IV;
        let mut cbc = with(CKM_AES_CBC, &mut iv);
        let expected = world.encrypt(&mut cbc, aes, &PLAIN).unwrap();
        let digest = Hash::Sha256.digest(&[&PLAIN]);
        let code = Hash::Sha256.hmac(b"key", &[&PLAIN]);
        assert_eq!(call!(C_EncryptInit(session, &raw mut cbc, aes)), CKR_OK);
        assert_eq!(call!(C_DigestInit(session, &mut plain(CKM_SHA256))), CKR_OK);
        assert_eq!(in_parts(session, digest_encrypt, &PLAIN), expected);
        assert!(end!(session, C_EncryptFinal).is_empty());
        assert_eq!(end!(session, C_DigestFinal), digest);

        assert_eq!(call!(C_DecryptInit(session, &raw mut cbc, aes)), CKR_OK);
        assert_eq!(call!(C_DigestInit(session, &mut plain(CKM_SHA256))), CKR_OK);
        assert_eq!(in_parts(session, decrypt_digest, &expected), PLAIN);
        assert!(end!(session, C_DecryptFinal).is_empty());
        assert_eq!(end!(session, C_DigestFinal), digest);

        assert_eq!(call!(C_EncryptInit(session, &raw mut cbc, aes)), CKR_OK);
        assert_eq!(call!(C_SignInit(session, &mut plain(CKM_SHA256_HMAC), mac)), CKR_OK);
        assert_eq!(in_parts(session, sign_encrypt, &PLAIN), expected);
        assert!(end!(session, C_EncryptFinal).is_empty());
        assert_eq!(end!(session, C_SignFinal), code.expose());

        assert_eq!(call!(C_DecryptInit(session, &raw mut cbc, aes)), CKR_OK);
        assert_eq!(call!(C_VerifyInit(session, &mut plain(CKM_SHA256_HMAC), mac)), CKR_OK);
        assert_eq!(in_parts(session, decrypt_verify, &expected), PLAIN);
        assert!(end!(session, C_DecryptFinal).is_empty());
        assert_eq!(call!(C_VerifyFinal(session, input(code.expose()), 32)), CKR_OK);
    }
}

#[test]
fn one_memory_serves_both_ends_of_a_dual_call() {
    let world = World::new();
    let aes = world.key(CKK_AES, false, &[1; 16]);
    let mut iv = IV;
    let mut cbc = with(CKM_AES_CBC, &mut iv);
    let expected = world.encrypt(&mut cbc, aes, &PLAIN).unwrap();
    let (mut memory, mut len) = (PLAIN, 48);
    let at = memory.as_mut_ptr();
    assert_eq!(call!(C_EncryptInit(world.session, &raw mut cbc, aes)), CKR_OK);
    assert_eq!(call!(C_DigestInit(world.session, &mut plain(CKM_SHA256))), CKR_OK);
    assert_eq!(call!(C_DigestEncryptUpdate(world.session, at, 48, at, &raw mut len)), CKR_OK);
    assert_eq!(memory[..], expected);
    let digest = output(|at, len| call!(C_DigestFinal(world.session, at, len))).unwrap();
    assert_eq!(digest, Hash::Sha256.digest(&[&PLAIN]));
}

#[test]
fn a_dual_call_needs_both_operations_and_feeds_none_without() {
    let world = World::new();
    let session = world.session;
    let (aes, mac) = (world.key(CKK_AES, false, &[1; 16]), world.key(CKK_GENERIC_SECRET, false, b"key"));
    let mut iv = IV;
    let mut cbc = with(CKM_AES_CBC, &mut iv);
    let try_all = |expected: [CK_RV; 4]| {
        let duals: [Dual; 4] = [digest_encrypt, decrypt_digest, sign_encrypt, decrypt_verify];
        for (dual, expected) in duals.into_iter().zip(expected) {
            let (mut room, mut len) = ([0; 48], 48);
            assert_eq!(dual(session, &PLAIN, room.as_mut_ptr(), &raw mut len), expected);
            assert_eq!(dual(session, &PLAIN, null_mut(), &raw mut len), expected);
        }
    };
    let none = CKR_OPERATION_NOT_INITIALIZED;
    try_all([none; 4]);
    // Only what does not encrypt or decrypt.
    assert_eq!(call!(C_DigestInit(session, &mut plain(CKM_SHA256))), CKR_OK);
    assert_eq!(call!(C_SignInit(session, &mut plain(CKM_SHA256_HMAC), mac)), CKR_OK);
    assert_eq!(call!(C_VerifyInit(session, &mut plain(CKM_SHA256_HMAC), mac)), CKR_OK);
    try_all([none; 4]);
    // They took nothing: in one call they still digest and sign what comes first.
    let abc = input(b"abc");
    assert_eq!(output(|at, len| call!(C_Digest(session, abc, 3, at, len))).unwrap(), Hash::Sha256.digest(&[b"abc"]));
    let code = output(|at, len| call!(C_Sign(session, abc, 3, at, len))).unwrap();
    assert_eq!(call!(C_Verify(session, abc, 3, input(&code), 32)), CKR_OK);
    // Only what encrypts and decrypts.
    assert_eq!(call!(C_EncryptInit(session, &raw mut cbc, aes)), CKR_OK);
    assert_eq!(call!(C_DecryptInit(session, &raw mut cbc, aes)), CKR_OK);
    try_all([none; 4]);
    let cipher = output(|at, len| call!(C_Encrypt(session, input(&PLAIN), 48, at, len))).unwrap();
    assert_eq!(output(|at, len| call!(C_Decrypt(session, input(&cipher), 48, at, len))).unwrap(), PLAIN);
}

#[test]
fn operations_are_cancelled_by_their_flag_or_by_no_mechanism() {
    let world = World::new();
    let session = world.session;
    let (aes, mac) = (world.key(CKK_AES, false, &[1; 16]), world.key(CKK_GENERIC_SECRET, false, b"key"));
    let public = [number(CKA_MODULUS_BITS, 2048), boolean(CKA_VERIFY_RECOVER, true)];
    let private = [boolean(CKA_SIGN_RECOVER, true)];
    let (public, private) = world.generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private);

    let mut ecb = plain(CKM_AES_ECB);
    let mut hmac = plain(CKM_SHA256_HMAC);
    let mut rsa = plain(CKM_RSA_PKCS);
    let mut sha = plain(CKM_SHA256);
    type Init<'a> = Box<dyn FnMut(bool) -> CK_RV + 'a>;
    let or_null = |mechanism: *mut CK_MECHANISM, cancel| if cancel { null_mut() } else { mechanism };
    let (ecb, hmac, rsa, sha) = (&raw mut ecb, &raw mut hmac, &raw mut rsa, &raw mut sha);
    let mut kinds: Vec<(CK_FLAGS, Init<'_>)> = vec![
        (CKF_ENCRYPT, Box::new(|cancel| call!(C_EncryptInit(session, or_null(ecb, cancel), aes)))),
        (CKF_DECRYPT, Box::new(|cancel| call!(C_DecryptInit(session, or_null(ecb, cancel), aes)))),
        (CKF_DIGEST, Box::new(|cancel| call!(C_DigestInit(session, or_null(sha, cancel))))),
        (CKF_SIGN, Box::new(|cancel| call!(C_SignInit(session, or_null(hmac, cancel), mac)))),
        (CKF_VERIFY, Box::new(|cancel| call!(C_VerifyInit(session, or_null(hmac, cancel), mac)))),
        (CKF_SIGN_RECOVER, Box::new(|cancel| call!(C_SignRecoverInit(session, or_null(rsa, cancel), private)))),
        (CKF_VERIFY_RECOVER, Box::new(|cancel| call!(C_VerifyRecoverInit(session, or_null(rsa, cancel), public)))),
    ];
    let all: CK_FLAGS = kinds.iter().map(|(flag, _)| flag).sum();
    for (flag, init) in &mut kinds {
        assert_eq!(init(true), CKR_OK, "nothing to cancel");
        assert_eq!(init(false), CKR_OK);
        assert_eq!(init(false), CKR_OPERATION_ACTIVE, "{flag:#x}");
        assert_eq!(init(true), CKR_OK);
        assert_eq!(init(false), CKR_OK);
        assert_eq!(call!(C_SessionCancel(session, all & !*flag)), CKR_OK);
        assert_eq!(init(false), CKR_OPERATION_ACTIVE, "{flag:#x}");
        assert_eq!(call!(C_SessionCancel(session, *flag)), CKR_OK);
        assert_eq!(init(false), CKR_OK);
    }
    // All are active.
    assert_eq!(call!(C_FindObjectsInit(session, null_mut(), 0)), CKR_OK);
    assert_eq!(call!(C_SessionCancel(session, 0)), CKR_OK);
    assert_eq!(call!(C_FindObjectsInit(session, null_mut(), 0)), CKR_OPERATION_ACTIVE);
    assert_eq!(call!(C_SessionCancel(session, CKF_FIND_OBJECTS)), CKR_OK);
    assert_eq!(call!(C_FindObjectsFinal(session)), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(call!(C_SessionCancel(session, CK_FLAGS::MAX)), CKR_OK);
    for (flag, init) in &mut kinds {
        assert_eq!(init(false), CKR_OK, "{flag:#x}");
    }
    assert_eq!(call!(C_SessionCancel(0, all)), CKR_SESSION_HANDLE_INVALID);
}

#[test]
fn data_is_recovered_from_its_signature() {
    let world = World::new();
    let session = world.session;
    let public = [number(CKA_MODULUS_BITS, 2048), boolean(CKA_VERIFY_RECOVER, true)];
    let private = [boolean(CKA_SIGN_RECOVER, true)];
    let (public, private) = world.generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private);
    let mut rsa = plain(CKM_RSA_PKCS);
    assert_eq!(call!(C_SignRecoverInit(session, &raw mut rsa, private)), CKR_OK);
    let data = input(b"recovered");
    let signature = output(|at, len| call!(C_SignRecover(session, data, 9, at, len))).unwrap();
    assert_eq!(signature.len(), 256);
    let recover = |signature: &[u8]| {
        assert_eq!(call!(C_VerifyRecoverInit(session, &mut plain(CKM_RSA_PKCS), public)), CKR_OK);
        let len = signature.len() as u64;
        output(|at, room| call!(C_VerifyRecover(session, input(signature), len, at, room)))
    };
    assert_eq!(recover(&signature).unwrap(), b"recovered");
    assert_eq!(recover(&signature[1..]), Err(CKR_SIGNATURE_LEN_RANGE));
    assert_eq!(recover(&[1; 256]), Err(CKR_SIGNATURE_INVALID));
    let mut room = [0; 9];
    let mut len = 9;
    let rv = call!(C_VerifyRecover(session, input(&signature), 256, room.as_mut_ptr(), &raw mut len));
    assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn a_user_without_a_name_logs_in_as_ever() {
    let world = World::new();
    let session = world.session;
    assert_eq!(call!(C_Logout(session)), CKR_OK);
    let login = |session, pin: &[u8], name: &[u8]| {
        let (pin_len, name_len) = (pin.len() as u64, name.len() as u64);
        call!(C_LoginUser(session, CKU_USER, input(pin), pin_len, input(name), name_len))
    };
    assert_eq!(login(session, b"userpin", b"somebody"), CKR_USER_TYPE_INVALID);
    assert_eq!(login(0, b"userpin", b"somebody"), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(login(session, b"wrong-pin", b""), CKR_PIN_INCORRECT);
    assert_eq!(login(session, b"userpin", b""), CKR_OK);
    assert_eq!(login(session, b"userpin", b""), CKR_USER_ALREADY_LOGGED_IN);
    let mut pin = *b"userpin";
    assert_eq!(call!(C_Logout(session)), CKR_OK);
    assert_eq!(call!(C_LoginUser(session, CKU_USER, pin.as_mut_ptr(), 7, null_mut(), 0)), CKR_OK);
    assert_eq!(call!(C_LoginUser(session, CKU_USER, pin.as_mut_ptr(), 7, null_mut(), 1)), CKR_ARGUMENTS_BAD);
}

#[test]
fn only_digests_are_saved_and_restored() {
    let world = World::new();
    let session = world.session;
    let (mut room, mut len) = ([0; 64], 64);
    let mut save = |at: *mut u8, room: u64| {
        len = room;
        (call!(C_GetOperationState(session, at, &raw mut len)), len)
    };
    assert_eq!(save(room.as_mut_ptr(), 64), (CKR_OPERATION_NOT_INITIALIZED, 64));
    let key = world.key(CKK_GENERIC_SECRET, false, b"a key");
    assert_eq!(call!(C_SignInit(session, &mut plain(CKM_SHA256_HMAC), key)), CKR_OK);
    assert_eq!(save(room.as_mut_ptr(), 64), (CKR_STATE_UNSAVEABLE, 64));
    assert_eq!(save(null_mut(), 0), (CKR_STATE_UNSAVEABLE, 0));
    assert_eq!(call!(C_SessionCancel(session, CKF_SIGN)), CKR_OK);
    assert_eq!(call!(C_DigestInit(session, &mut plain(CKM_SHA256))), CKR_OK);
    let (rv, needed) = save(null_mut(), 0);
    assert_eq!(rv, CKR_OK);
    assert_eq!(save(room.as_mut_ptr(), needed - 1), (CKR_BUFFER_TOO_SMALL, needed));
    assert_eq!(save(room.as_mut_ptr(), 64), (CKR_OK, needed));
    assert_eq!(call!(C_SetOperationState(session, room.as_mut_ptr(), needed, 0, 0)), CKR_OK);
    assert_eq!(call!(C_SetOperationState(session, room.as_mut_ptr(), needed, key, 0)), CKR_KEY_NOT_NEEDED);
    assert_eq!(call!(C_SetOperationState(session, room.as_mut_ptr(), 64, 0, 0)), CKR_SAVED_STATE_INVALID);
    assert_eq!(call!(C_SetOperationState(session, null_mut(), 64, 0, 0)), CKR_ARGUMENTS_BAD);
    assert_eq!(call!(C_SetOperationState(0, room.as_mut_ptr(), 64, 0, 0)), CKR_SESSION_HANDLE_INVALID);
}

/// Starts something with the mechanism at this address and of this length of parameter, and lets it go again.
type Start<'a> = &'a dyn Fn(*mut CK_MECHANISM) -> CK_RV;

/// A parameter is taken at any address, and refused if it is shorter, longer or not there.
fn check_parameter<T: Copy>(mechanism: CK_MECHANISM_TYPE, parameter: T, start: Start<'_>) {
    let mut memory = vec![0_u64; size_of::<T>() / 8 + 2];
    for shift in [0, 1, 4] {
        let at = memory.as_mut_ptr().cast::<u8>().wrapping_add(shift);
        write_at(at, parameter);
        let len = size_of::<T>() as u64;
        let try_with =
            |at: *mut u8, len| start(&mut CK_MECHANISM { mechanism, pParameter: at.cast(), ulParameterLen: len });
        assert_eq!(try_with(at, len), CKR_OK, "{mechanism:#x}");
        for (at, len) in [(at, len - 1), (at, len + 1), (at, u64::MAX), (null_mut(), len), (null_mut(), u64::MAX)] {
            assert_eq!(try_with(at, len), CKR_MECHANISM_PARAM_INVALID, "{mechanism:#x} {len}");
        }
    }
}

#[test]
fn parameters_of_every_structure() {
    let world = World::new();
    let session = world.session;
    let (aes, base) = (world.key(CKK_AES, false, &[1; 16]), world.key(CKK_GENERIC_SECRET, false, b"base key"));
    let cancel = |rv, flags| match rv {
        CKR_OK => call!(C_SessionCancel(session, flags)),
        rv => rv,
    };
    let encrypt = |mechanism: *mut _| cancel(call!(C_EncryptInit(session, mechanism, aes)), CKF_ENCRYPT);
    let sign = |mechanism: *mut _| cancel(call!(C_SignInit(session, mechanism, base)), CKF_SIGN);
    let mut template = secret(CKK_GENERIC_SECRET, false);
    template.push(number(CKA_VALUE_LEN, 8));
    let derive = |base: u64| {
        let template = &template;
        move |mechanism: *mut _| {
            let key = with_template(template, |at, count| {
                handle(|key| call!(C_DeriveKey(session, mechanism, base, at, count, key)))
            });
            key.map_or_else(|rv| rv, |key| call!(C_DestroyObject(session, key)))
        }
    };

    for mechanism in [CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_CFB128, CKM_AES_OFB] {
        check_parameter(mechanism, IV, &encrypt);
    }
    check_parameter(CKM_AES_KEY_WRAP, *b"8 bytes.", &encrypt);
    check_parameter(CKM_AES_CTR, CK_AES_CTR_PARAMS { ulCounterBits: 128, cb: IV }, &encrypt);
    check_parameter(CKM_SHA256_HMAC_GENERAL, 20_u64, &sign);
    let other = world.key(CKK_GENERIC_SECRET, false, b"other");
    check_parameter(CKM_CONCATENATE_BASE_AND_KEY, other, &derive(base));

    let gcm = CK_GCM_PARAMS {
        pIv: input(&IV),
        ulIvLen: 12,
        ulIvBits: u64::MAX,
        pAAD: null_mut(),
        ulAADLen: 0,
        ulTagBits: 128,
    };
    check_parameter(CKM_AES_GCM, gcm, &encrypt);
    for bad in [
        CK_GCM_PARAMS { pIv: null_mut(), ..gcm },
        CK_GCM_PARAMS { ulIvLen: 0, ..gcm },
        CK_GCM_PARAMS { ulIvLen: u64::MAX, ..gcm },
        CK_GCM_PARAMS { ulAADLen: 1, ..gcm },
        CK_GCM_PARAMS { ulAADLen: u64::MAX, ..gcm },
        CK_GCM_PARAMS { ulTagBits: 129, ..gcm },
        CK_GCM_PARAMS { ulTagBits: u64::MAX, ..gcm },
    ] {
        assert_eq!(encrypt(&mut with(CKM_AES_GCM, &mut bad.clone())), CKR_MECHANISM_PARAM_INVALID, "{bad:?}");
    }

    let data = CK_KEY_DERIVATION_STRING_DATA { pData: input(&IV), ulLen: 16 };
    for mechanism in [CKM_CONCATENATE_BASE_AND_DATA, CKM_CONCATENATE_DATA_AND_BASE, CKM_XOR_BASE_AND_DATA] {
        check_parameter(mechanism, data, &derive(base));
        for bad in [
            CK_KEY_DERIVATION_STRING_DATA { pData: null_mut(), ..data },
            CK_KEY_DERIVATION_STRING_DATA { ulLen: u64::MAX, ..data },
        ] {
            assert_eq!(derive(base)(&mut with(mechanism, &mut bad.clone())), CKR_MECHANISM_PARAM_INVALID, "{bad:?}");
        }
    }

    let hkdf = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: CKM_SHA256,
        ulSaltType: CKF_HKDF_SALT_NULL,
        pSalt: null_mut(),
        ulSaltLen: u64::MAX,
        hSaltKey: 0,
        pInfo: null_mut(),
        ulInfoLen: 0,
    };
    check_parameter(CKM_HKDF_DERIVE, hkdf, &derive(base));
    for bad in [
        CK_HKDF_PARAMS { prfHashMechanism: CKM_AES_CBC, ..hkdf },
        CK_HKDF_PARAMS { ulSaltType: 0, ..hkdf },
        CK_HKDF_PARAMS { ulSaltType: CKF_HKDF_SALT_DATA, ..hkdf },
        CK_HKDF_PARAMS { ulSaltType: CKF_HKDF_SALT_DATA, ulSaltLen: 4, ..hkdf },
        CK_HKDF_PARAMS { ulInfoLen: 1, ..hkdf },
        CK_HKDF_PARAMS { bExtract: CK_FALSE, bExpand: CK_FALSE, ..hkdf },
    ] {
        let rv = derive(base)(&mut with(CKM_HKDF_DERIVE, &mut bad.clone()));
        assert_eq!(rv, CKR_MECHANISM_PARAM_INVALID, "{bad:?}");
    }

    let public = [(CKA_EC_PARAMS, vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07])];
    let (public, private) = world.generate_pair(CKM_EC_KEY_PAIR_GEN, &public, &[boolean(CKA_DERIVE, true)]);
    let point = world.attribute(public, CKA_EC_POINT).unwrap();
    let ecdh = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: point.len() as u64,
        pPublicData: input(&point),
    };
    check_parameter(CKM_ECDH1_DERIVE, ecdh, &derive(private));
    for bad in [
        CK_ECDH1_DERIVE_PARAMS { kdf: u64::MAX, ..ecdh },
        CK_ECDH1_DERIVE_PARAMS { ulSharedDataLen: 1, ..ecdh },
        CK_ECDH1_DERIVE_PARAMS { ulPublicDataLen: u64::MAX, ..ecdh },
        CK_ECDH1_DERIVE_PARAMS { ulPublicDataLen: point.len() as u64 - 1, ..ecdh },
        CK_ECDH1_DERIVE_PARAMS { pPublicData: null_mut(), ..ecdh },
    ] {
        let rv = derive(private)(&mut with(CKM_ECDH1_DERIVE, &mut bad.clone()));
        assert_eq!(rv, CKR_MECHANISM_PARAM_INVALID, "{bad:?}");
    }
}
