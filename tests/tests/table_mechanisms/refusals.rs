//! What mechanisms do not do: each with its code, and before the TPM is asked.

use cryptoki_sys::{CKA_DECAPSULATE, CKA_ENCAPSULATE, CKF_DECAPSULATE, CKF_ENCAPSULATE, CKM_PUB_KEY_FROM_PRIV_KEY};
use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, bytes, flag, number, p256};
use tests::{Argument, Ck, Memory, Piece};

use crate::bench::{Bench, ecdh, gcm, hkdf, pointer, shown, with};
use crate::rows_secret::{HMACS, hmac_type};
use crate::{OPERATIONS, all_rows};

/// The keys that a mechanism works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    None,
    Rsa,
    Ec,
    /// RSA or EC.
    Pair,
    Aes,
    Secret,
    Hkdf,
}

fn family(ty: u64) -> Family {
    match ty {
        CKM_RSA_PKCS_KEY_PAIR_GEN
        | CKM_RSA_PKCS
        | CKM_RSA_X_509
        | CKM_RSA_PKCS_OAEP
        | CKM_RSA_PKCS_PSS
        | CKM_SHA1_RSA_PKCS
        | CKM_SHA224_RSA_PKCS
        | CKM_SHA256_RSA_PKCS..=CKM_SHA512_RSA_PKCS_PSS
        | CKM_SHA1_RSA_PKCS_PSS
        | CKM_SHA3_256_RSA_PKCS..=CKM_SHA3_224_RSA_PKCS_PSS
        | CKM_SHA224_RSA_PKCS_PSS => Family::Rsa,
        CKM_PUB_KEY_FROM_PRIV_KEY => Family::Pair,
        CKM_EC_KEY_PAIR_GEN..=CKM_ECDH1_COFACTOR_DERIVE => Family::Ec,
        CKM_HKDF_DERIVE | CKM_HKDF_DATA | CKM_HKDF_KEY_GEN => Family::Hkdf,
        CKM_AES_KEY_GEN..=CKM_AES_CMAC_GENERAL
        | CKM_AES_OFB
        | CKM_AES_CFB128
        | CKM_AES_KEY_WRAP..=CKM_AES_KEY_WRAP_KWP => Family::Aes,
        CKM_GENERIC_SECRET_KEY_GEN
        | CKM_CONCATENATE_BASE_AND_KEY
        | CKM_CONCATENATE_BASE_AND_DATA
        | CKM_CONCATENATE_DATA_AND_BASE
        | CKM_XOR_BASE_AND_DATA => Family::Secret,
        _ if HMACS.iter().any(|(code, general, _)| [*code, *general].contains(&ty)) => Family::Secret,
        _ => Family::None,
    }
}

/// The mechanism with a parameter that is right.
fn right(ty: u64, other: u64) -> Mechanism {
    let iv = || vec![Piece::Bytes(vec![9; 16])];
    match ty {
        CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_CFB128 | CKM_AES_OFB => with(ty, iv()),
        CKM_AES_CTR => with(ty, vec![Piece::Word(128), Piece::Bytes(vec![9; 16])]),
        CKM_AES_GCM => gcm(&[5; 12], b""),
        CKM_RSA_PKCS_OAEP => Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b""),
        CKM_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA256, CKG_MGF1_SHA256, 32),
        CKM_SHA1_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA_1, CKG_MGF1_SHA1, 20),
        CKM_SHA224_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA224, CKG_MGF1_SHA224, 28),
        CKM_SHA256_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA256, CKG_MGF1_SHA256, 32),
        CKM_SHA384_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA384, CKG_MGF1_SHA384, 48),
        CKM_SHA512_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA512, CKG_MGF1_SHA512, 64),
        CKM_SHA3_224_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA3_224, CKG_MGF1_SHA3_224, 28),
        CKM_SHA3_256_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA3_256, CKG_MGF1_SHA3_256, 32),
        CKM_SHA3_384_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA3_384, CKG_MGF1_SHA3_384, 48),
        CKM_SHA3_512_RSA_PKCS_PSS => Mechanism::pss(ty, CKM_SHA3_512, CKG_MGF1_SHA3_512, 64),
        CKM_AES_CMAC_GENERAL => with(ty, vec![Piece::Word(8)]),
        _ if HMACS.iter().any(|(_, general, _)| *general == ty) => with(ty, vec![Piece::Word(8)]),
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => ecdh(ty, CKD_NULL, b"", &generator()),
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => hkdf(ty, b"salt", b"info"),
        CKM_CONCATENATE_BASE_AND_KEY => with(ty, vec![Piece::Word(other)]),
        CKM_CONCATENATE_BASE_AND_DATA | CKM_CONCATENATE_DATA_AND_BASE | CKM_XOR_BASE_AND_DATA => {
            with(ty, pointer(b"data").to_vec())
        }
        _ => ty.into(),
    }
}

/// The base point of P-256 (SP 800-186 3.2.1.3): the public key of 1.
fn generator() -> Vec<u8> {
    let digits = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    tests::call::unhex(digits).unwrap()
}

/// One key of each family, both halves of pairs.
struct Keys {
    rsa: (u64, u64),
    ec: (u64, u64),
    aes: u64,
    secret: u64,
    hkdf: u64,
}

impl Keys {
    /// Keys with these attributes: of public keys, of private keys, of secret keys.
    fn new(bench: &Bench, public: &[Attribute], private: &[Attribute], secret: &[Attribute]) -> Keys {
        let curve = p256(false)[0].1.clone();
        // As a private key 1 would be refused by a careful TPM.
        let scalar = [0x11; 32];
        Keys {
            rsa: (bench.rsa_public(public), bench.rsa_private(private)),
            ec: (bench.ec_public(&curve, &generator(), public), bench.ec_private(&curve, &scalar, private)),
            aes: bench.secret(CKK_AES, &[7; 16], secret),
            secret: bench.secret(CKK_GENERIC_SECRET, &[7; 16], secret),
            hkdf: bench.secret(CKK_HKDF, &[7; 16], secret),
        }
    }

    fn key(&self, family: Family, op: u64) -> u64 {
        let public = [CKF_ENCRYPT, CKF_VERIFY, CKF_VERIFY_RECOVER, CKF_WRAP, CKF_MESSAGE_ENCRYPT, CKF_MESSAGE_VERIFY]
            .contains(&op)
            || op == CKF_ENCAPSULATE;
        let half = |(one, other): (u64, u64)| if public { one } else { other };
        match family {
            Family::Rsa | Family::Pair => half(self.rsa),
            Family::Ec => half(self.ec),
            Family::Aes => self.aes,
            Family::Secret => self.secret,
            Family::Hkdf => self.hkdf,
            Family::None => 0,
        }
    }
}

/// Starts (or does) one operation. What was started is cancelled.
fn attempt(bench: &Bench, op: u64, function: &str, mechanism: &Mechanism, key: u64, target: u64) -> Ck {
    let result = match op {
        CKF_GENERATE => bench.generate(mechanism, &[number(CKA_VALUE_LEN, 16)]).map(drop),
        CKF_GENERATE_KEY_PAIR => bench.generate_pair(mechanism, &p256(false)).map(drop),
        CKF_WRAP => bench.wrap(mechanism, key, target).map(drop),
        CKF_UNWRAP => bench.unwrap(mechanism, key, &[1; 24], CKK_AES).map(drop),
        CKF_ENCAPSULATE => {
            bench.encapsulate(mechanism, key, &[shown(CKK_AES), vec![number(CKA_VALUE_LEN, 16)]].concat()).map(drop)
        }
        CKF_DECAPSULATE => bench.decapsulate(mechanism, key, &generator(), &shown(CKK_AES)).map(drop),
        CKF_DERIVE if mechanism.ty == CKM_PUB_KEY_FROM_PRIV_KEY => bench.derive(mechanism, key, &[]).map(drop),
        CKF_DERIVE => bench.derive(mechanism, key, &shown(CKK_GENERIC_SECRET)).map(drop),
        CKF_DIGEST => bench.probe.rv(function, vec![bench.session.into(), mechanism.argument()]),
        _ => bench.probe.init(function, bench.session, mechanism.clone(), key),
    };
    bench.probe.rv("C_SessionCancel", vec![bench.session.into(), (!0_u64).into()]).unwrap();
    result.map_or_else(|error| error, |()| Ck(CKR_OK))
}

/// The operations but the one that is no function of its own.
fn operations() -> impl Iterator<Item = (u64, &'static str)> {
    OPERATIONS.into_iter().filter(|(op, _)| *op != CKF_MULTI_MESSAGE)
}

/// Every mechanism with its operations.
fn mechanisms() -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for row in all_rows() {
        match all.iter_mut().find(|(ty, _)| *ty == row.ty) {
            Some((_, flags)) => *flags |= row.op,
            None => all.push((row.ty, row.op)),
        }
    }
    all
}

/// Message functions take the parameter with each message.
fn given(op: u64, ty: u64, other: u64) -> Mechanism {
    match (op, ty) {
        (CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT, _) => ty.into(),
        // The point is the ciphertext.
        (CKF_ENCAPSULATE | CKF_DECAPSULATE, CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE) => {
            ecdh(ty, CKD_NULL, b"", b"")
        }
        _ => right(ty, other),
    }
}

fn powers() -> [Vec<Attribute>; 3] {
    let on = |types: &[u64]| types.iter().map(|ty| flag(*ty, true)).collect::<Vec<_>>();
    [
        on(&[CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP, CKA_ENCAPSULATE]),
        on(&[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP, CKA_DERIVE, CKA_DECAPSULATE]),
        on(&[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_DERIVE, CKA_WRAP, CKA_UNWRAP]),
    ]
}

#[test]
fn what_a_mechanism_does_not_do_is_refused() {
    let bench = Bench::new();
    let [public, private, secret] = powers();
    let keys = Keys::new(&bench, &public, &private, &secret);
    bench.world.proxy.mark();
    for (ty, flags) in mechanisms() {
        for (op, function) in operations().filter(|(op, _)| flags & op == 0) {
            let key = keys.key(if family(ty) == Family::None { Family::Aes } else { family(ty) }, op);
            let mechanism = right(ty, keys.secret);
            let got = attempt(&bench, op, function, &mechanism, key, keys.secret);
            assert_eq!(got, Ck(CKR_MECHANISM_INVALID), "{function} with {ty:#x}");
        }
    }
    // What is no mechanism here, with and without parameters.
    for ty in [
        CKM_DES3_CBC,
        CKM_MD5,
        CKM_MD5_RSA_PKCS,
        CKM_DSA,
        CKM_DH_PKCS_DERIVE,
        CKM_RSA_X9_31,
        CKM_RC4,
        CKM_AES_CCM,
        CKM_AES_XTS,
        CKM_AES_CTS,
        CKM_AES_MAC,
        CKM_SHA512_256,
        CKM_SHA256_KEY_DERIVATION,
        CKM_TLS12_MAC,
        CKM_EDDSA,
        CKM_EC_EDWARDS_KEY_PAIR_GEN,
        CKM_ECMQV_DERIVE,
        CKM_CHACHA20_POLY1305,
        CKM_PKCS5_PBKD2,
        CKM_VENDOR_DEFINED,
        u64::MAX,
    ] {
        for (op, function) in operations() {
            for mechanism in [Mechanism::plain(ty), with(ty, vec![Piece::Bytes(vec![1; 16])])] {
                let got = attempt(&bench, op, function, &mechanism, keys.aes, keys.secret);
                assert_eq!(got, Ck(CKR_MECHANISM_INVALID), "{function} with {ty:#x}");
            }
        }
    }
    assert_eq!(bench.world.proxy.mark().names(), [""; 0]);
}

#[test]
fn keys_of_another_type_are_refused() {
    let bench = Bench::new();
    let [public, private, secret] = powers();
    let keys = Keys::new(&bench, &public, &private, &secret);
    bench.world.proxy.mark();
    for (ty, flags) in mechanisms() {
        let own = family(ty);
        for (op, function) in operations().filter(|(op, _)| flags & op != 0) {
            if [CKF_GENERATE, CKF_GENERATE_KEY_PAIR, CKF_DIGEST].contains(&op) {
                continue;
            }
            let expected = match op {
                CKF_WRAP => CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
                CKF_UNWRAP | CKF_DECAPSULATE => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                _ => CKR_KEY_TYPE_INCONSISTENT,
            };
            let all = [Family::Rsa, Family::Ec, Family::Aes, Family::Secret, Family::Hkdf];
            let takes = |other: Family| match own {
                // HKDF takes generic secrets, too.
                Family::Hkdf => [own, Family::Secret].contains(&other),
                Family::Pair => [Family::Rsa, Family::Ec].contains(&other),
                _ => other == own,
            };
            for other in all.into_iter().filter(|other| !takes(*other)) {
                let mechanism = given(op, ty, keys.secret);
                let got = attempt(&bench, op, function, &mechanism, keys.key(other, op), keys.secret);
                assert_eq!(got, Ck(expected), "{function} with {ty:#x} and a key for {other:?}");
            }
            // No key at all.
            let expected = match op {
                CKF_WRAP => CKR_WRAPPING_KEY_HANDLE_INVALID,
                CKF_UNWRAP | CKF_DECAPSULATE => CKR_UNWRAPPING_KEY_HANDLE_INVALID,
                _ => CKR_KEY_HANDLE_INVALID,
            };
            let got = attempt(&bench, op, function, &given(op, ty, keys.secret), 0, keys.secret);
            assert_eq!(got, Ck(expected), "{function} with {ty:#x} and no key");
        }
    }
    assert_eq!(bench.world.proxy.mark().names(), [""; 0]);
}

/// A key for one HMAC is for no other, and for nothing else.
#[test]
fn keys_for_one_hmac_do_no_other() {
    let bench = Bench::new();
    for (own, _, _) in HMACS {
        let key = bench.secret(hmac_type(own), b"Jefe", &[flag(CKA_DERIVE, true)]);
        for (other, general, _) in HMACS.into_iter().filter(|(other, _, _)| *other != own) {
            for mechanism in [other.into(), with(general, vec![Piece::Word(8)])] {
                let init = bench.probe.init("C_SignInit", bench.session, mechanism, key);
                assert_eq!(init, Err(Ck(CKR_KEY_TYPE_INCONSISTENT)), "{own:#x} {other:#x}");
            }
        }
        let data = with(CKM_CONCATENATE_BASE_AND_DATA, pointer(b"data").to_vec());
        let derived = bench.derive(&data, key, &shown(CKK_GENERIC_SECRET));
        assert_eq!(derived, Err(Ck(CKR_KEY_TYPE_INCONSISTENT)), "{own:#x}");
    }
}

#[test]
fn keys_without_the_power_are_refused() {
    let bench = Bench::new();
    let off = powers().map(|powers| powers.into_iter().map(|(ty, _)| flag(ty, false)).collect::<Vec<_>>());
    let weak = Keys::new(&bench, &off[0], &off[1], &off[2]);
    // For something else only.
    let only = bytes(CKA_ALLOWED_MECHANISMS, &CKM_MD5.to_ne_bytes());
    let other = powers().map(|mut powers| {
        powers.push(only.clone());
        powers
    });
    let bound = Keys::new(&bench, &other[0], &other[1], &other[2]);
    bench.world.proxy.mark();
    for (ty, flags) in mechanisms() {
        for (op, function) in operations().filter(|(op, _)| flags & op != 0) {
            if [CKF_GENERATE, CKF_GENERATE_KEY_PAIR, CKF_DIGEST].contains(&op) {
                continue;
            }
            for (keys, expected) in [(&weak, CKR_KEY_FUNCTION_NOT_PERMITTED), (&bound, CKR_MECHANISM_INVALID)] {
                // The public half is no secret: it takes no power to show it.
                let expected = if ty == CKM_PUB_KEY_FROM_PRIV_KEY && expected != CKR_MECHANISM_INVALID {
                    CKR_OK
                } else {
                    expected
                };
                let mechanism = given(op, ty, keys.secret);
                let got = attempt(&bench, op, function, &mechanism, keys.key(family(ty), op), weak.secret);
                assert_eq!(got, Ck(expected), "{function} with {ty:#x}");
            }
        }
    }
    assert_eq!(bench.world.proxy.mark().names(), [""; 0]);
}

#[test]
fn bad_parameters_are_refused() {
    let bench = Bench::new();
    let [public, private, secret] = powers();
    let keys = Keys::new(&bench, &public, &private, &secret);
    bench.world.proxy.mark();
    for (ty, flags) in mechanisms() {
        let takes = right(ty, keys.secret).params;
        let mut bad = vec![with(ty, vec![Piece::Bytes(vec![1])]), with(ty, vec![Piece::Bytes(vec![1; 200])])];
        if let Some(memory) = &takes {
            bad.push(ty.into());
            // A null pointer with the right length, and a byte too few.
            let len: u64 =
                memory.pieces.iter().map(|piece| if let Piece::Bytes(b) = piece { b.len() as u64 } else { 8 }).sum();
            bad.push(with(ty, vec![Piece::Bytes(vec![0; len as usize - 1])]));
        }
        for (op, function) in operations().filter(|(op, _)| flags & op != 0) {
            for mechanism in &bad {
                if mechanism.params.is_none() && [CKF_MESSAGE_ENCRYPT, CKF_MESSAGE_DECRYPT].contains(&op) {
                    continue;
                }
                let got = attempt(&bench, op, function, mechanism, keys.key(family(ty), op), keys.secret);
                assert_eq!(got, Ck(CKR_MECHANISM_PARAM_INVALID), "{function} with {mechanism:?}");
            }
        }
    }
    // A null pointer with the right length.
    let null =
        |ty: u64, len: u64| Argument::Pointer(Memory::of(vec![Piece::Word(ty), Piece::Word(0), Piece::Word(len)]));
    for (ty, len) in [(CKM_AES_CBC, 16), (CKM_AES_CTR, 24), (CKM_AES_GCM, 48)] {
        let rv = bench.probe.rv("C_EncryptInit", vec![bench.session.into(), null(ty, len), keys.aes.into()]);
        assert_eq!(rv, Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{ty:#x}");
    }
    // Values that are out of range.
    let word = |ty: u64, word: u64| with(ty, vec![Piece::Word(word)]);
    let tag = |bits: u64| {
        let [iv, len] = pointer(&[5; 12]);
        with(CKM_AES_GCM, vec![iv, len, Piece::Word(96), Piece::Word(0), Piece::Word(0), Piece::Word(bits)])
    };
    let counter = |bits: u64| with(CKM_AES_CTR, vec![Piece::Word(bits), Piece::Bytes(vec![0; 16])]);
    for (op, function, mechanism, key) in [
        (CKF_SIGN, "C_SignInit", word(CKM_AES_CMAC_GENERAL, 0), keys.aes),
        (CKF_SIGN, "C_SignInit", word(CKM_AES_CMAC_GENERAL, 17), keys.aes),
        (CKF_SIGN, "C_SignInit", word(CKM_SHA256_HMAC_GENERAL, 0), keys.secret),
        (CKF_SIGN, "C_SignInit", word(CKM_SHA256_HMAC_GENERAL, 33), keys.secret),
        (CKF_ENCRYPT, "C_EncryptInit", tag(0), keys.aes),
        (CKF_ENCRYPT, "C_EncryptInit", tag(127), keys.aes),
        (CKF_ENCRYPT, "C_EncryptInit", tag(136), keys.aes),
        (CKF_ENCRYPT, "C_EncryptInit", gcm(b"", b""), keys.aes),
        (CKF_ENCRYPT, "C_EncryptInit", counter(0), keys.aes),
        (CKF_ENCRYPT, "C_EncryptInit", counter(129), keys.aes),
        (CKF_DERIVE, "C_DeriveKey", ecdh(CKM_ECDH1_DERIVE, 77, b"", &generator()), keys.ec.1),
        (CKF_DERIVE, "C_DeriveKey", ecdh(CKM_ECDH1_DERIVE, CKD_NULL, b"", b""), keys.ec.1),
        (CKF_DERIVE, "C_DeriveKey", ecdh(CKM_ECDH1_DERIVE, CKD_NULL, b"", &[4; 65]), keys.ec.1),
        (CKF_DERIVE, "C_DeriveKey", ecdh(CKM_ECDH1_DERIVE, CKD_NULL, b"", &[0]), keys.ec.1),
    ] {
        let got = attempt(&bench, op, function, &mechanism, key, keys.secret);
        assert_eq!(got, Ck(CKR_MECHANISM_PARAM_INVALID), "{function} with {mechanism:?}");
    }
    assert_eq!(bench.world.proxy.mark().names(), [""; 0]);
}

#[test]
fn key_sizes_are_those_that_are_told() {
    let bench = Bench::new();
    let slot = bench.probe.slot_of("alpha");
    let range = |ty: u64| bench.probe.mechanism_info(slot, ty).map(|(least, most, _)| (least, most)).unwrap();
    for (ty, flags) in mechanisms() {
        let expected = match family(ty) {
            // Alone among the mechanisms of secret keys it tells bits (mechanisms v3.1 2.6.2).
            _ if ty == CKM_GENERIC_SECRET_KEY_GEN => (8, 8 * 65536),
            Family::Rsa => (1024, 3072),
            Family::Ec => (224, 521),
            Family::Pair => (224, 3072),
            Family::Aes => (16, 32),
            // In bits, as the specification has it for this one; in bytes otherwise.
            Family::Secret if ty == CKM_GENERIC_SECRET_KEY_GEN => (8, 65536 * 8),
            Family::Secret | Family::Hkdf => (1, 65536),
            Family::None => (0, 0),
        };
        assert_eq!(range(ty), expected, "{ty:#x} {flags:#x}");
    }
    for (ty, key_type) in
        [(CKM_AES_KEY_GEN, CKK_AES), (CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET), (CKM_HKDF_KEY_GEN, CKK_HKDF)]
    {
        let unit = if ty == CKM_GENERIC_SECRET_KEY_GEN { 8 } else { 1 };
        let (least, most) = (range(ty).0 / unit, range(ty).1 / unit);
        let make = |len: u64| bench.generate(&ty.into(), &[shown(key_type), vec![number(CKA_VALUE_LEN, len)]].concat());
        for len in [least, most] {
            assert_eq!(
                bench.probe.attribute(bench.session, make(len).unwrap(), CKA_VALUE_LEN).unwrap(),
                len.to_ne_bytes()
            );
        }
        for len in [0, least - 1, most + 1, 1 << 40, u64::MAX] {
            assert_eq!(make(len), Err(Ck(CKR_KEY_SIZE_RANGE)), "{ty:#x} of {len}");
        }
    }
    let (least, most) = range(CKM_RSA_PKCS_KEY_PAIR_GEN);
    let rsa = |bits: u64| bench.generate_pair(&CKM_RSA_PKCS_KEY_PAIR_GEN.into(), &[number(CKA_MODULUS_BITS, bits)]);
    assert!(rsa(least).is_ok());
    for bits in [0, least - 8, least + 1, most + 8, 4096, 1 << 20] {
        assert_eq!(rsa(bits), Err(Ck(CKR_KEY_SIZE_RANGE)), "{bits}");
    }
    // secp256k1, and something that is no curve.
    for curve in [&[6, 5, 0x2b, 0x81, 4, 0, 10][..], &[6, 3, 1, 2, 3]] {
        let made = bench.generate_pair(&CKM_EC_KEY_PAIR_GEN.into(), &[bytes(CKA_EC_PARAMS, curve)]);
        assert_eq!(made, Err(Ck(CKR_CURVE_NOT_SUPPORTED)), "{curve:?}");
    }
    // As many bytes as there are, and no more.
    let base = bench.secret(CKK_GENERIC_SECRET, &[7; 16], &[flag(CKA_DERIVE, true)]);
    let data = with(CKM_CONCATENATE_BASE_AND_DATA, pointer(b"data").to_vec());
    for (len, expected) in [(20, CKR_OK), (21, CKR_KEY_SIZE_RANGE)] {
        let template = [shown(CKK_GENERIC_SECRET), vec![number(CKA_VALUE_LEN, len)]].concat();
        let made = bench.derive(&data, base, &template).map_or_else(|error| error, |_| Ck(CKR_OK));
        assert_eq!(made, Ck(expected), "{len}");
    }
}
