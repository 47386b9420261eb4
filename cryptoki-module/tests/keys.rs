//! Keys made, wrapped, unwrapped, derived and digested through C, on a software TPM.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::null_mut;

use base::digest::Hash;
use common::world::{World, boolean, handle, input, number, output, plain, secret, with, with_template};
use pkcs11_sys::*;

/// The curve P-256 as an object identifier.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

fn generate(world: &World, mechanism: CK_MECHANISM_TYPE, attributes: &[(u64, Vec<u8>)]) -> Result<u64, CK_RV> {
    with_template(attributes, |at, count| {
        handle(|key| call!(C_GenerateKey(world.session, &mut plain(mechanism), at, count, key)))
    })
}

fn wrap(world: &World, mechanism: &mut CK_MECHANISM, wrapping: u64, key: u64) -> Result<Vec<u8>, CK_RV> {
    output(|at, len| call!(C_WrapKey(world.session, mechanism, wrapping, key, at, len)))
}

fn unwrap(
    world: &World,
    mechanism: &mut CK_MECHANISM,
    unwrapping: u64,
    wrapped: &[u8],
    attributes: &[(u64, Vec<u8>)],
) -> Result<u64, CK_RV> {
    with_template(attributes, |at, count| {
        let len = wrapped.len() as u64;
        handle(|key| call!(C_UnwrapKey(world.session, mechanism, unwrapping, input(wrapped), len, at, count, key)))
    })
}

fn derive(world: &World, mechanism: &mut CK_MECHANISM, base: u64, attributes: &[(u64, Vec<u8>)]) -> Result<u64, CK_RV> {
    with_template(attributes, |at, count| {
        handle(|key| call!(C_DeriveKey(world.session, mechanism, base, at, count, key)))
    })
}

/// The template of a generic secret of this length that may leave.
fn derived(len: u64) -> Vec<(u64, Vec<u8>)> {
    let mut attributes = secret(CKK_GENERIC_SECRET, false);
    attributes.push(number(CKA_VALUE_LEN, len));
    attributes
}

#[test]
fn a_secret_key_is_generated_in_memory_and_in_the_tpm() {
    let world = World::new();
    for token in [false, true] {
        let mut attributes = secret(CKK_AES, token);
        attributes.push(number(CKA_VALUE_LEN, 16));
        let key = generate(&world, CKM_AES_KEY_GEN, &attributes).unwrap();
        let cipher = world.encrypt(&mut plain(CKM_AES_ECB), key, &[7; 32]).unwrap();
        assert_eq!((cipher.len(), &cipher[..16]), (32, &cipher[16..]));
        assert_eq!(world.decrypt(&mut plain(CKM_AES_ECB), key, &cipher).unwrap(), [7; 32]);
        let value = world.attribute(key, CKA_VALUE);
        assert_eq!(value.map(|value| value.len()), if token { Err(CKR_ATTRIBUTE_SENSITIVE) } else { Ok(16) });
    }
    assert_eq!(generate(&world, CKM_AES_KEY_GEN, &secret(CKK_AES, false)), Err(CKR_TEMPLATE_INCOMPLETE));
    assert_eq!(generate(&world, CKM_SHA256, &secret(CKK_AES, false)), Err(CKR_MECHANISM_INVALID));
}

#[test]
fn a_wrapped_key_is_unwrapped_again() {
    let world = World::new();
    let mut attributes = secret(CKK_AES, false);
    attributes.extend([boolean(CKA_WRAP, true), boolean(CKA_UNWRAP, true), boolean(CKA_ENCRYPT, false)]);
    attributes.extend([boolean(CKA_DECRYPT, false), (CKA_VALUE, vec![0x11; 32])]);
    let wrapping = world.create(attributes);
    let key = world.key(CKK_GENERIC_SECRET, false, &[0x22; 24]);
    let mut iv = *b"8 bytes.";
    let mut block = [9_u8; 16];
    for mut mechanism in [
        plain(CKM_AES_KEY_WRAP),
        with(CKM_AES_KEY_WRAP, &mut iv),
        plain(CKM_AES_KEY_WRAP_KWP),
        with(CKM_AES_CBC_PAD, &mut block),
    ] {
        let wrapped = wrap(&world, &mut mechanism, wrapping, key).unwrap();
        assert_eq!(wrapped.len(), 32);
        let mut short = [0xee; 31];
        let mut len = 31;
        let rv = call!(C_WrapKey(world.session, &mut mechanism, wrapping, key, short.as_mut_ptr(), &raw mut len));
        assert_eq!((rv, len, short), (CKR_BUFFER_TOO_SMALL, 32, [0xee; 31]));
        let again = unwrap(&world, &mut mechanism, wrapping, &wrapped, &secret(CKK_GENERIC_SECRET, false)).unwrap();
        assert_eq!(world.attribute(again, CKA_VALUE).unwrap(), [0x22; 24]);
    }
    // The initial value is part of the wrap.
    let wrapped = wrap(&world, &mut with(CKM_AES_KEY_WRAP, &mut iv), wrapping, key).unwrap();
    let template = secret(CKK_GENERIC_SECRET, false);
    let unwrap_plain = |wrapped: &[u8]| unwrap(&world, &mut plain(CKM_AES_KEY_WRAP), wrapping, wrapped, &template);
    assert_eq!(unwrap_plain(&wrapped), Err(CKR_WRAPPED_KEY_INVALID));
    assert_eq!(unwrap_plain(&wrapped[..31]), Err(CKR_WRAPPED_KEY_LEN_RANGE));
    let in_tpm = world.key(CKK_GENERIC_SECRET, true, &[0x33; 32]);
    let mut mechanism = plain(CKM_AES_KEY_WRAP);
    assert_eq!(wrap(&world, &mut mechanism, wrapping, in_tpm), Err(CKR_KEY_UNEXTRACTABLE));
    assert_eq!(wrap(&world, &mut mechanism, 0, key), Err(CKR_WRAPPING_KEY_HANDLE_INVALID));
    assert_eq!(wrap(&world, &mut mechanism, key, key), Err(CKR_WRAPPING_KEY_TYPE_INCONSISTENT));
    assert_eq!(unwrap(&world, &mut mechanism, 0, &wrapped, &template), Err(CKR_UNWRAPPING_KEY_HANDLE_INVALID));
    assert_eq!(unwrap(&world, &mut mechanism, key, &wrapped, &template), Err(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT));
}

#[test]
fn both_sides_of_a_diffie_hellman_derive_the_same_secret() {
    let world = World::new();
    let pair = |id: u8| {
        let public = [(CKA_EC_PARAMS, P256.to_vec()), (CKA_ID, vec![id])];
        let private = [boolean(CKA_DERIVE, true), (CKA_ID, vec![id])];
        world.generate_pair(CKM_EC_KEY_PAIR_GEN, &public, &private)
    };
    let (ours, theirs) = (pair(1), pair(2));
    let agree = |kdf, shared: &[u8], own: u64, other: u64, len| {
        let mut point = world.attribute(other, CKA_EC_POINT).unwrap();
        let mut parameter = CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen: shared.len() as u64,
            pSharedData: input(shared),
            ulPublicDataLen: point.len() as u64,
            pPublicData: point.as_mut_ptr(),
        };
        derive(&world, &mut with(CKM_ECDH1_DERIVE, &mut parameter), own, &derived(len))
            .map(|key| world.attribute(key, CKA_VALUE).unwrap())
    };
    let z = agree(CKD_NULL, &[], ours.1, theirs.0, 32).unwrap();
    assert_eq!(agree(CKD_NULL, &[], theirs.1, ours.0, 32).unwrap(), z);
    let derived = agree(CKD_SHA256_KDF, b"info", ours.1, theirs.0, 32).unwrap();
    assert_eq!(derived, Hash::Sha256.digest(&[&z, &[0, 0, 0, 1], b"info"]));
    assert_eq!(agree(99, &[], ours.1, theirs.0, 32), Err(CKR_MECHANISM_PARAM_INVALID));
}

#[test]
fn secrets_are_derived_from_secrets() {
    let world = World::new();
    let base = world.key(CKK_GENERIC_SECRET, false, b"base key");
    let value = |key: Result<u64, CK_RV>| world.attribute(key.unwrap(), CKA_VALUE).unwrap();

    let data = *b" and data";
    let mut parameter = CK_KEY_DERIVATION_STRING_DATA { pData: input(&data), ulLen: 9 };
    let mut mechanism = with(CKM_CONCATENATE_BASE_AND_DATA, &mut parameter);
    assert_eq!(value(derive(&world, &mut mechanism, base, &derived(17))), b"base key and data");
    let mut other = world.key(CKK_GENERIC_SECRET, false, b", other");
    let mut mechanism = with(CKM_CONCATENATE_BASE_AND_KEY, &mut other);
    assert_eq!(value(derive(&world, &mut mechanism, base, &derived(15))), b"base key, other");

    let (salt, info) = (*b"salt", *b"info");
    let mut parameter = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: CKM_SHA256,
        ulSaltType: CKF_HKDF_SALT_DATA,
        pSalt: input(&salt),
        ulSaltLen: 4,
        hSaltKey: 0,
        pInfo: input(&info),
        ulInfoLen: 4,
    };
    let prk = Hash::Sha256.hmac(b"salt", &[b"base key"]);
    let okm = Hash::Sha256.hmac(prk.expose(), &[b"info", &[1]]);
    assert_eq!(value(derive(&world, &mut with(CKM_HKDF_DERIVE, &mut parameter), base, &derived(32))), okm.expose());
    parameter.ulSaltType = CKF_HKDF_SALT_KEY;
    parameter.hSaltKey = world.key(CKK_GENERIC_SECRET, false, b"salt");
    parameter.pSalt = null_mut();
    assert_eq!(value(derive(&world, &mut with(CKM_HKDF_DERIVE, &mut parameter), base, &derived(32))), okm.expose());
    // What belongs to a step that is not done is not looked at.
    parameter.bExtract = CK_FALSE;
    parameter.ulSaltType = 77;
    parameter.ulSaltLen = u64::MAX;
    let okm = Hash::Sha256.hmac(b"base key", &[b"info", &[1]]);
    assert_eq!(value(derive(&world, &mut with(CKM_HKDF_DERIVE, &mut parameter), base, &derived(32))), okm.expose());
    parameter.bExtract = CK_TRUE;
    let refused = derive(&world, &mut with(CKM_HKDF_DERIVE, &mut parameter), base, &derived(32));
    assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
}

#[test]
fn the_value_of_a_key_is_digested_where_it_is_here() {
    let world = World::new();
    let digest_key = |key| call!(C_DigestKey(world.session, key));
    let key = world.key(CKK_GENERIC_SECRET, false, b"key");
    assert_eq!(digest_key(key), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(call!(C_DigestInit(world.session, &mut plain(CKM_SHA256))), CKR_OK);
    assert_eq!(call!(C_DigestUpdate(world.session, input(b"the "), 4)), CKR_OK);
    assert_eq!(digest_key(key), CKR_OK);
    assert_eq!(digest_key(world.key(CKK_GENERIC_SECRET, true, b"key")), CKR_KEY_INDIGESTIBLE);
    assert_eq!(digest_key(0), CKR_KEY_HANDLE_INVALID);
    let digest = output(|at, len| call!(C_DigestFinal(world.session, at, len))).unwrap();
    assert_eq!(digest, Hash::Sha256.digest(&[b"the key"]));
}
