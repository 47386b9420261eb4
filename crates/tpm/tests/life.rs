//! What the crate is for, from end to end, on a TPM without a resource manager.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use base::Secret;
use base::curve::Curve;
use base::digest::Hash;
use base::pad::{oaep_encode, pkcs1_sign_check, pss_verify};
use base::rsa::RsaPublic;
use common::{Stage, at, check_ecdsa, p256, secret};
use swtpm_fixtures::{SwTpm, leftovers};
use tpm::{DecryptScheme, Error, KeyTemplate, Location, Options, PrimaryRequest, SignScheme, Signature};

const RSA: KeyTemplate = KeyTemplate::Rsa { bits: 2048, exponent: 0 };

#[test]
fn the_primary_is_made_once_and_then_adopted() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let made = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_eq!(made.location, Location::Persistent(0x8100_0001));
    assert_eq!(tpm.storage_primary(&PrimaryRequest::default()).unwrap(), made);
    assert_eq!(tpm.list_persistent().unwrap(), [0x8100_0001]);
    tpm.check_primary(&made).unwrap();
    tpm.evict(&made, &Secret::zeroed(0)).unwrap();
    assert_eq!(tpm.check_primary(&made), Err(Error::PrimaryMissing { handle: 0x8100_0001 }));
    tpm.release();
    let left = leftovers(&swtpm);
    assert!(left.is_clean(), "{left:?}");
}

#[test]
fn what_is_sealed_comes_out_for_the_right_auth_only() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    stage.login(&tpm);
    stage.login(&tpm);
    assert!(tpm.unseal(&stage.primary, &stage.so, &stage.so_auth, None).unwrap() == secret(3));
    assert_eq!(tpm.unseal(&stage.primary, &stage.user, &secret(77), None), Err(Error::AuthFailed));
    assert_eq!(tpm.lockout().unwrap().counter, 1);
    stage.login(&tpm);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn every_kind_of_key_signs() {
    let swtpm = SwTpm::start();
    let curves = Curve::ALL;
    let mut templates: Vec<KeyTemplate> = curves.iter().map(|&curve| KeyTemplate::Ecc { curve }).collect();
    templates.push(RSA);
    let stage = Stage::set(&swtpm, &templates);
    for bus_protection in [true, false] {
        let tpm = common::with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let digest = hash.digest(&[b"message"]);
            for index in 0..curves.len() {
                let signature = tpm.sign(&stage.key(index), hash, &digest, SignScheme::Ecdsa).unwrap();
                check_ecdsa(stage.key(index).wrapped, hash, &signature);
            }
            let key = stage.key(curves.len());
            let area = key.wrapped.public_area().unwrap();
            let (n, e) = area.rsa().unwrap();
            let public = RsaPublic::new(n, e.to_be_bytes()).unwrap();
            let Signature::Rsa(signature) = tpm.sign(&key, hash, &digest, SignScheme::RsaSsa).unwrap() else {
                panic!()
            };
            let block = public.raw(&signature).unwrap();
            assert!(pkcs1_sign_check(&block, &[hash.digest_info_prefix(), &digest].concat()));
            let Signature::Rsa(signature) = tpm.sign(&key, hash, &digest, SignScheme::RsaPss).unwrap() else {
                panic!()
            };
            let block = public.raw(&signature).unwrap();
            assert!(pss_verify(&block, &digest, hash, hash, hash.len(), 2047));
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn rsa_decrypts_raw_and_oaep() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[RSA]);
    let tpm = at(&swtpm.tcti());
    let key = stage.key(0);
    let area = key.wrapped.public_area().unwrap();
    let (n, e) = area.rsa().unwrap();
    let public = RsaPublic::new(n, e.to_be_bytes()).unwrap();
    let mut block = vec![0; 256];
    block[200..].fill(0x5a);
    let cipher = public.raw(&block).unwrap();
    assert_eq!(tpm.rsa_decrypt(&key, DecryptScheme::Raw, &cipher).unwrap().expose(), block);
    for (hash, label) in [(Hash::Sha1, &b""[..]), (Hash::Sha256, b"label\0"), (Hash::Sha512, b"")] {
        let cipher = public.raw(&oaep_encode(b"hello", hash, hash, label, 256).unwrap()).unwrap();
        assert_eq!(tpm.rsa_decrypt(&key, DecryptScheme::Oaep { hash, label }, &cipher).unwrap().expose(), b"hello");
        let mut broken = cipher.clone();
        broken[255] ^= 1;
        assert!(matches!(tpm.rsa_decrypt(&key, DecryptScheme::Oaep { hash, label }, &broken), Err(Error::Response(_))));
    }
    let unterminated = DecryptScheme::Oaep { hash: Hash::Sha256, label: b"label" };
    assert!(matches!(tpm.rsa_decrypt(&key, unterminated, &cipher), Err(Error::Unsupported(_))));
}

#[test]
fn pins_are_changed_by_their_owner_and_the_users_by_the_security_officer() {
    let swtpm = SwTpm::start();
    let mut stage = Stage::set(&swtpm, &[p256()]);
    for bus_protection in [true, false] {
        let tpm = common::with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        let (primary, so_name) = (stage.primary.clone(), stage.so.name().unwrap());
        let old = stage.user.clone();

        let private =
            tpm.change_user_auth(&primary, &stage.user, &so_name, None, &stage.user_auth, &secret(20)).unwrap();
        stage.user.private = private;
        stage.user_auth = secret(20);
        stage.login(&tpm);
        assert_eq!(tpm.unseal(&primary, &stage.user, &secret(2), None), Err(Error::AuthFailed));
        assert!(tpm.unseal(&primary, &old, &secret(2), None).unwrap() == stage.wrapping);

        let private = tpm.reset_user_auth(&primary, &stage.user, &stage.so, None, &stage.so_auth, &secret(21)).unwrap();
        stage.user.private = private;
        stage.user_auth = secret(21);
        stage.login(&tpm);

        stage.so.private = tpm.change_auth(&primary, &stage.so, &stage.so_auth, &secret(22)).unwrap();
        stage.so_auth = secret(22);
        assert!(tpm.unseal(&primary, &stage.so, &stage.so_auth, None).unwrap() == secret(3));
        swtpm.end_lockout();

        let refused = tpm.reset_user_auth(&primary, &stage.user, &stage.so, None, &secret(1), &secret(23));
        assert_eq!(refused, Err(Error::AuthFailed));
        let refused = tpm.change_user_auth(&primary, &stage.user, &so_name, None, &secret(1), &secret(23));
        assert_eq!(refused, Err(Error::AuthFailed));
        swtpm.end_lockout();
        // By his own value alone the user cannot: the object demands its policy.
        let refused = tpm.change_auth(&primary, &stage.user, &stage.user_auth, &secret(23)).unwrap_err();
        assert!(!matches!(refused, Error::AuthFailed), "{refused}");
        // The security officer's value does not open the user's object.
        assert_eq!(tpm.unseal(&primary, &stage.user, &stage.so_auth, None), Err(Error::AuthFailed));
        swtpm.end_lockout();
        stage.sign(&tpm, 0);
        tpm.release();
        let left = leftovers(&swtpm);
        assert!(left.is_clean(), "{left:?}");
        stage.user = old;
        stage.user_auth = secret(2);
    }
}

#[test]
fn a_cleared_lockout_and_what_it_says() {
    let swtpm = SwTpm::start();
    swtpm.set_lockout(2, 1000);
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&swtpm.tcti());
    assert!(!tpm.lockout().unwrap().in_lockout);
    for _ in 0..2 {
        assert_eq!(tpm.unseal(&stage.primary, &stage.user, &secret(77), None), Err(Error::AuthFailed));
    }
    let state = tpm.lockout().unwrap();
    assert_eq!((state.counter, state.max_tries, state.recovery_seconds, state.in_lockout), (2, 2, 1000, true));
    assert_eq!(tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None), Err(Error::Lockout));
    // Keys are noDA.
    stage.sign(&tpm, 0);
    tpm.release();
    swtpm.end_lockout();
    stage.login(&tpm);
}

#[test]
fn random_bytes_of_any_length() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    for len in [0, 1, 32, 33, 5000] {
        let (mut first, mut second) = (vec![0; len], vec![0; len]);
        tpm.random(&mut first).unwrap();
        tpm.random(&mut second).unwrap();
        assert!(len < 8 || first != second);
        assert!(len < 5000 || first.iter().filter(|byte| **byte == 0).count() < 100);
    }
}

#[test]
fn capabilities_are_those_of_the_software_tpm() {
    let swtpm = SwTpm::start();
    let capabilities = at(&swtpm.tcti()).capabilities().unwrap();
    assert_eq!((capabilities.manufacturer.as_str(), capabilities.vendor.as_str()), ("IBM", "SW   TPM"));
    assert_eq!((capabilities.revision, capabilities.max_digest, capabilities.input_buffer), (164, 64, 1024));
    assert_eq!((capabilities.transient_min, capabilities.loaded_sessions_min), (3, 3));
    assert_eq!(capabilities.active_sessions_max, 64);
    assert!(capabilities.has_hash(Hash::Sha512) && !capabilities.has_hash(Hash::Sha224));
    assert!(Curve::ALL.iter().all(|curve| capabilities.has_curve(*curve)));
    assert!(capabilities.has_command(0x15d) && !capabilities.has_command(0x195));
    assert!(capabilities.has_algorithm(1) && !capabilities.has_algorithm(0x60));
}
