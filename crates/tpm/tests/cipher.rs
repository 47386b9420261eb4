//! Encryption and decryption with AES keys of the TPM, against the same modes in software.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeEncrypt, BlockSizeUser, KeyInit, KeyIvInit, StreamCipher, consts::U16};
use aes::{Aes128, Aes256};
use base::Secret;
use base::digest::Hash;
use common::{Stage, at, counted, p256, secret, with};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, leftovers};
use tap::Tap;
use tpm::CipherMode::{Cbc, Cfb, Ctr, Ecb, Ofb};
use tpm::Direction::{Decrypt, Encrypt};
use tpm::{CipherMode, Error, INPUT_BUFFER, Key, KeyMaterial, KeyTemplate, Name, Options, SignScheme, Tpm, Wrapped};

const MODES: [CipherMode; 5] = [Ecb, Cbc, Ctr, Cfb, Ofb];

/// An AES key whose value is known.
struct Known {
    wrapped: Wrapped,
    name: Name,
    auth: Secret,
}

impl Known {
    fn import(tpm: &Tpm, stage: &Stage, key: &[u8]) -> Known {
        let auth = secret(150);
        let material = KeyMaterial::Aes { key: Secret::copy_from(key) };
        let wrapped = tpm.import_key(&stage.primary, &material, &auth, None).unwrap();
        let name = wrapped.name().unwrap();
        Known { wrapped, name, auth }
    }

    fn key<'a>(&'a self, stage: &'a Stage) -> Key<'a> {
        Key { primary: &stage.primary, wrapped: &self.wrapped, name: &self.name, auth: &self.auth, policy: None }
    }
}

fn reference(key: &[u8], mode: CipherMode, iv: &[u8], data: &[u8]) -> Vec<u8> {
    match key.len() {
        16 => reference_with::<Aes128>(key, mode, iv, data),
        _ => reference_with::<Aes256>(key, mode, iv, data),
    }
}

fn reference_with<C>(key: &[u8], mode: CipherMode, iv: &[u8], data: &[u8]) -> Vec<u8>
where
    C: BlockCipherEncrypt + KeyInit + BlockSizeUser<BlockSize = U16> + Clone,
{
    let (mut data, len) = (data.to_vec(), data.len());
    match mode {
        Ecb => {
            let cipher = ecb::Encryptor::<C>::new_from_slice(key).unwrap();
            cipher.encrypt_padded::<NoPadding>(&mut data, len).unwrap();
        }
        Cbc => {
            let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).unwrap();
            cipher.encrypt_padded::<NoPadding>(&mut data, len).unwrap();
        }
        Ctr => ctr::Ctr128BE::<C>::new_from_slices(key, iv).unwrap().apply_keystream(&mut data),
        Cfb => cfb_mode::Encryptor::<C>::new_from_slices(key, iv).unwrap().encrypt(&mut data),
        Ofb => ofb::Ofb::<C>::new_from_slices(key, iv).unwrap().apply_keystream(&mut data),
    }
    data
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn iv_for(mode: CipherMode, iv: &[u8]) -> &[u8] {
    if mode == Ecb { &[] } else { iv }
}

#[test]
fn every_mode_is_that_of_the_standard() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    for (value, bus_protection) in [(&bytes(16)[..], true), (&bytes(32), true), (&bytes(16), false)] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        let known = Known::import(&tpm, &stage, value);
        let area = known.wrapped.public_area().unwrap();
        assert_eq!(area.aes_bits().map(usize::from), Some(value.len() * 8));
        let key = known.key(&stage);
        for mode in MODES {
            let iv = iv_for(mode, &[0xa5; 16]);
            for len in [0, 1, 15, 16, 17, 1008, 1009, 1024, 1025, 2048, 2999] {
                if len % 16 != 0 && matches!(mode, Ecb | Cbc) {
                    continue;
                }
                let plain = bytes(len);
                let expected = reference(value, mode, iv, &plain);
                let (cipher, _) = tpm.encrypt_decrypt(&key, mode, iv, &plain, Encrypt, INPUT_BUFFER).unwrap();
                assert_eq!(cipher.expose(), expected, "{mode:?} {len}");
                let (back, _) = tpm.encrypt_decrypt(&key, mode, iv, &expected, Decrypt, INPUT_BUFFER).unwrap();
                assert_eq!(back.expose(), plain, "{mode:?} {len}");
            }
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn what_is_returned_as_iv_continues() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let value = bytes(16);
    let known = Known::import(&tpm, &stage, &value);
    let key = known.key(&stage);
    let plain = bytes(400);
    for mode in MODES {
        // Counting goes over the end, inside a buffer and between two.
        for start in [[0x11; 16], [0xff; 16]] {
            let start = iv_for(mode, &start);
            let expected = reference(&value, mode, start, &plain);
            for (direction, from, to) in [(Encrypt, &plain, &expected), (Decrypt, &expected, &plain)] {
                let mut iv = start.to_vec();
                let mut all = Vec::new();
                for part in from.chunks(112) {
                    let (out, next) = tpm.encrypt_decrypt(&key, mode, &iv, part, direction, 50).unwrap();
                    all.extend_from_slice(out.expose());
                    iv = next;
                }
                assert_eq!(all, *to, "{mode:?} {direction:?}");
                assert_eq!(iv.len(), start.len());
            }
        }
        let (_, same) = tpm.encrypt_decrypt(&key, mode, iv_for(mode, &[3; 16]), &[], Encrypt, 50).unwrap();
        assert_eq!(same, iv_for(mode, &[3; 16]));
        if !matches!(mode, Ecb | Cbc) {
            let (_, end) = tpm.encrypt_decrypt(&key, mode, &[3; 16], &plain[..17], Encrypt, 50).unwrap();
            assert!(end.is_empty());
        }
    }
}

#[test]
fn a_key_made_by_the_tpm_decrypts_what_it_encrypted() {
    let swtpm = SwTpm::start();
    let templates = [128, 256].map(|bits| KeyTemplate::Aes { bits });
    let stage = Stage::set(&swtpm, &templates);
    let tpm = at(&swtpm.tcti());
    for (index, bits) in [128, 256].into_iter().enumerate() {
        assert_eq!(stage.keys[index].0.public_area().unwrap().aes_bits(), Some(bits));
        let key = stage.key(index);
        let plain = bytes(2048);
        for mode in MODES {
            let iv = iv_for(mode, &[0x5a; 16]);
            let (cipher, _) = tpm.encrypt_decrypt(&key, mode, iv, &plain, Encrypt, INPUT_BUFFER).unwrap();
            assert!(cipher.expose() != plain);
            let (back, _) = tpm.encrypt_decrypt(&key, mode, iv, cipher.expose(), Decrypt, INPUT_BUFFER).unwrap();
            assert_eq!(back.expose(), plain);
        }
    }
    // What this TPM has not is said so; what no TPM has is not asked for.
    let refused = tpm.create_key(&stage.primary, &KeyTemplate::Aes { bits: 192 }, &secret(1), None);
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    let refused = tpm.create_key(&stage.primary, &KeyTemplate::Aes { bits: 129 }, &secret(1), None);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let key192 = KeyMaterial::Aes { key: Secret::zeroed(24) };
    let refused = tpm.import_key(&stage.primary, &key192, &secret(1), None);
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
}

#[test]
fn it_costs_one_command_for_each_buffer() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[KeyTemplate::Aes { bits: 128 }, p256()]);
    let tpm = at(&proxy.tcti());
    let cost = |tpm: &Tpm, mode, len| {
        let iv = iv_for(mode, &[1; 16]);
        tpm.encrypt_decrypt(&stage.key(0), mode, iv, &bytes(len), Encrypt, INPUT_BUFFER).unwrap();
        proxy.mark().to_string()
    };
    assert_eq!(cost(&tpm, Cbc, 0), "");
    assert_eq!(cost(&tpm, Cbc, 16), "Load StartAuthSession EncryptDecrypt2");
    for mode in MODES {
        assert_eq!(cost(&tpm, mode, 16), "EncryptDecrypt2");
        assert_eq!(cost(&tpm, mode, 1008), "EncryptDecrypt2");
        assert_eq!(cost(&tpm, mode, 2016), "EncryptDecrypt2 EncryptDecrypt2");
    }
    assert_eq!(cost(&tpm, Cbc, 1024), "EncryptDecrypt2");
    assert_eq!(cost(&tpm, Ofb, 1024), "EncryptDecrypt2 EncryptDecrypt2");
    // The session serves other keys too.
    stage.sign(&tpm, 1);
    assert_eq!(proxy.mark().to_string(), "Load Sign");
    assert_eq!(cost(&tpm, Cbc, 16), "EncryptDecrypt2");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
    proxy.mark();

    let tpm = with(&proxy.tcti(), Options { bus_protection: false, ..Options::default() });
    assert_eq!(cost(&tpm, Ctr, 2048), "Load EncryptDecrypt2 EncryptDecrypt2");
    drop(tpm);

    // The session of a login ends with the first buffer, as with any key.
    proxy.mark();
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    proxy.mark();
    assert_eq!(cost(&tpm, Ctr, 3072), "Load EncryptDecrypt2 StartAuthSession EncryptDecrypt2 EncryptDecrypt2");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());

    let manager = ResourceManager::start(proxy.port());
    let tpm = at(&manager.tcti());
    tpm.encrypt_decrypt(&stage.key(0), Ctr, &[1; 16], &bytes(2048), Encrypt, INPUT_BUFFER).unwrap();
    assert_eq!(manager.mark().to_string(), "StartAuthSession Load EncryptDecrypt2 EncryptDecrypt2");
    tpm.release();
}

#[test]
fn what_makes_no_sense_never_reaches_the_tpm() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[KeyTemplate::Aes { bits: 128 }, p256()]);
    let tpm = at(&proxy.tcti());
    let refused = |index, mode, iv: &[u8], data: &[u8], input_buffer| {
        let result = tpm.encrypt_decrypt(&stage.key(index), mode, iv, data, Encrypt, input_buffer);
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    };
    refused(1, Ctr, &[0; 16], &[0; 16], INPUT_BUFFER);
    refused(0, Ecb, &[0; 16], &[0; 16], INPUT_BUFFER);
    for mode in [Cbc, Ctr, Cfb, Ofb] {
        refused(0, mode, &[], &[0; 16], INPUT_BUFFER);
        refused(0, mode, &[0; 15], &[0; 16], INPUT_BUFFER);
        refused(0, mode, &[0; 16], &[0; 16], 15);
    }
    refused(0, Ofb, &[0; 16], &[0; 16], 31);
    refused(0, Ecb, &[], &[0; 17], INPUT_BUFFER);
    refused(0, Cbc, &[0; 16], &[0; 15], INPUT_BUFFER);
    let digest = Hash::Sha256.digest(&[]);
    let result = tpm.sign(&stage.key(0), Hash::Sha256, &digest, SignScheme::Ecdsa);
    assert!(matches!(result, Err(Error::Invalid(_))));
    assert_eq!(proxy.mark().len(), 0);
    for rc in [0x143, 0x389] {
        proxy.inject(Fault::Respond { code: 0x193, rc, times: 1 });
        let result = tpm.encrypt_decrypt(&stage.key(0), Ecb, &[], &[0; 16], Encrypt, INPUT_BUFFER);
        assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
    }
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// Not the data, and no key stream: with OFB, the chaining value.
#[test]
fn a_bus_reader_learns_nothing() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tap = Tap::start(&swtpm);
    let tpm = at(&tap.tcti());
    let value = bytes(16);
    let known = Known::import(&tpm, &stage, &value);
    let key = known.key(&stage);
    let plain = bytes(2048);
    let iv = [0x77; 16];
    for mode in MODES {
        let iv = iv_for(mode, &iv);
        let expected = reference(&value, mode, iv, &plain);
        let (cipher, _) = tpm.encrypt_decrypt(&key, mode, iv, &plain, Encrypt, INPUT_BUFFER).unwrap();
        assert_eq!(cipher.expose(), expected);
        tpm.encrypt_decrypt(&key, mode, iv, &expected, Decrypt, INPUT_BUFFER).unwrap();
    }
    tpm.release();
    assert!(plain.chunks_exact(16).all(|block| !tap.heard(block)));
    for mode in [Ctr, Ofb] {
        let stream = reference(&value, mode, &iv, &vec![0; 2048]);
        assert!(stream.chunks_exact(16).all(|block| !tap.heard(block)), "{mode:?}");
    }
    assert!(!tap.heard(&value));
    // The tap hears: CBC's chaining value is ciphertext, and goes in clear.
    let cbc = reference(&value, Cbc, &iv, &plain);
    assert!(tap.heard(&cbc[1008..1024]));
}

#[test]
fn a_broken_connection_is_no_broken_chain() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let value = bytes(32);
    let known = Known::import(&tpm, &stage, &value);
    let plain = bytes(5000);
    for mode in [Ctr, Cfb, Ofb] {
        let expected = reference(&value, mode, &[9; 16], &plain);
        for fault in [Fault::CutAfterCommand { code: 0x193 }, Fault::CutBeforeCommand { code: 0x193 }] {
            proxy.inject(fault);
            let (out, _) =
                tpm.encrypt_decrypt(&known.key(&stage), mode, &[9; 16], &plain, Encrypt, INPUT_BUFFER).unwrap();
            assert_eq!(out.expose(), expected);
        }
    }
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}
