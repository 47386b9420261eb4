//! What all mechanisms have in common: that they are tested, parts, sizes, refusals.

use cryptoki_sys::CKM_PUB_KEY_FROM_PRIV_KEY;
use pkcs11_sys::*;
use tests::Ck;
use tests::openssl::ecdsa_der;
use tests::probe::{Mechanism, bytes, flag, number};

use crate::bench::{Bench, HASHES, HMACS, Hash, MESSAGE, OPERATIONS, Pair, RSA_KEYS, SHA3, SHA3_SIGNING, is_hmac};

#[test]
fn everything_that_is_advertised_is_tested() {
    let bench = Bench::new();
    let slot = bench.probe.slot_of("alpha");
    let mut advertised = Vec::new();
    for ty in bench.probe.mechanisms(slot).unwrap() {
        let (least, most, flags) = bench.probe.mechanism_info(slot, ty).unwrap();
        assert!(least <= most && flags & OPERATIONS != 0, "{ty:#x}");
        advertised.push((ty, flags & OPERATIONS));
    }
    let both = CKF_SIGN | CKF_VERIFY;
    let cipher = CKF_ENCRYPT | CKF_DECRYPT;
    let wrap = CKF_WRAP | CKF_UNWRAP;
    let recover = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;
    // Here.
    let mut tested = vec![
        (CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR),
        (CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR),
        (CKM_RSA_PKCS, both | cipher | wrap | recover),
        (CKM_RSA_X_509, both | cipher | recover),
        (CKM_RSA_PKCS_OAEP, cipher | wrap),
        (CKM_RSA_PKCS_PSS, both),
        (CKM_ECDSA, both),
    ];
    for hash in &HASHES {
        tested.extend([(hash.rsa, both), (hash.pss, both), (hash.ecdsa, both), (hash.digest, CKF_DIGEST)]);
    }
    tested.extend(SHA3.map(|(ty, _)| (ty, CKF_DIGEST)));
    // In table_mechanisms.
    tested.extend(SHA3_SIGNING.into_iter().flatten().map(|ty| (ty, both)));
    tested.push((CKM_PUB_KEY_FROM_PRIV_KEY, CKF_DERIVE));
    // In secrets.rs.
    tested.extend([CKM_AES_KEY_GEN, CKM_GENERIC_SECRET_KEY_GEN, CKM_HKDF_KEY_GEN].map(|ty| (ty, CKF_GENERATE)));
    tested.extend([CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CTR, CKM_AES_CFB128, CKM_AES_OFB].map(|ty| (ty, cipher)));
    // Of a message's own functions there is no flag in this list.
    tested.push((CKM_AES_GCM, cipher));
    let wrapping = [CKM_AES_CBC_PAD, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP_KWP];
    tested.extend(wrapping.map(|ty| (ty, cipher | wrap)));
    tested.extend([CKM_AES_CMAC, CKM_AES_CMAC_GENERAL].map(|ty| (ty, both)));
    tested.extend(HMACS.into_iter().flatten().map(|ty| (ty, both)));
    let deriving = [
        CKM_ECDH1_DERIVE,
        CKM_ECDH1_COFACTOR_DERIVE,
        CKM_CONCATENATE_BASE_AND_KEY,
        CKM_CONCATENATE_BASE_AND_DATA,
        CKM_CONCATENATE_DATA_AND_BASE,
        CKM_XOR_BASE_AND_DATA,
        CKM_HKDF_DERIVE,
        CKM_HKDF_DATA,
    ];
    tested.extend(deriving.map(|ty| (ty, CKF_DERIVE)));
    let untested: Vec<_> = advertised.iter().filter(|row| !tested.contains(row)).collect();
    assert!(untested.is_empty(), "{untested:x?}");
    // Clients use what is in the list.
    let signing = tested.iter().filter(|(ty, operations)| {
        operations & (CKF_SIGN | CKF_DECRYPT | CKF_GENERATE_KEY_PAIR) != 0 && *ty < CKM_AES_KEY_GEN && !is_hmac(*ty)
    });
    let missing: Vec<_> = signing.filter(|row| !advertised.contains(row)).collect();
    assert!(missing.is_empty(), "{missing:x?}");
    for (ty, operations) in tested {
        assert_eq!(bench.probe.mechanism_info(slot, ty).unwrap().2 & OPERATIONS, operations, "{ty:#x}");
    }
    let sizes = |ty: u64| bench.probe.mechanism_info(slot, ty).map(|(least, most, _)| (least, most));
    assert_eq!(
        (sizes(CKM_RSA_PKCS), sizes(CKM_ECDSA), sizes(CKM_SHA256)),
        (Ok((1024, 3072)), Ok((224, 521)), Ok((0, 0)))
    );
}

#[test]
fn digests() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 1, 63, 64, 65, 127, 128, 129, 5000] {
        let data = vec![0x61; len];
        let names = HASHES.iter().map(|hash| (hash.digest, hash.name)).chain(SHA3);
        for (mechanism, name) in names {
            let digest = bench.probe.digest(bench.session, mechanism, &data).unwrap();
            let other = tests::openssl::openssl(dir.path(), &["dgst", &format!("-{name}"), "-binary"], &data);
            assert_eq!(digest, other.stdout, "{name} of {len} bytes");
        }
    }
}

#[test]
fn signatures_that_give_their_data_back() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        let block = [&[0x7f][..], &vec![0xab; len - 1]].concat();
        for (mechanism, data) in [(CKM_RSA_PKCS, &b"recover me"[..]), (CKM_RSA_X_509, &block)] {
            probe.init("C_SignRecoverInit", session, mechanism, pair.private).unwrap();
            let signature = probe.transform("C_SignRecover", session, data).unwrap();
            assert_eq!(signature, probe.sign(session, mechanism, pair.private, data).unwrap());
            probe.init("C_VerifyRecoverInit", session, mechanism, pair.public).unwrap();
            assert_eq!(probe.transform("C_VerifyRecover", session, &signature).unwrap(), data);
        }
        probe.init("C_VerifyRecoverInit", session, CKM_RSA_PKCS, pair.public).unwrap();
        let altered = probe.transform("C_VerifyRecover", session, &block);
        assert_eq!(altered, Err(Ck(CKR_SIGNATURE_INVALID)));
    }
}

#[test]
fn parts_make_the_same_whole() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    let data: Vec<u8> = (0..=255).rev().collect();
    let cuts: [&[usize]; 4] = [&[0], &[1, 64, 65], &[0, 128, 128, 255], &[256]];
    let parts = |at: &[usize], data: &[u8]| {
        let mut parts = Vec::new();
        let mut start = 0;
        for end in at.iter().map(|end| (*end).min(data.len())).chain([data.len()]) {
            parts.push(data[start..end].to_vec());
            start = end;
        }
        parts
    };
    let rsa = bench.pair("rsa");
    let ec = bench.pair("p384");
    let pss = |ty, hash: &Hash| Mechanism::pss(ty, hash.digest, hash.mgf, hash.len as u64);
    let mut signing: Vec<(Mechanism, &Pair, usize)> =
        vec![(CKM_RSA_PKCS.into(), &rsa, 200), (CKM_RSA_X_509.into(), &rsa, 200), (CKM_ECDSA.into(), &ec, 256)];
    signing.push((pss(CKM_RSA_PKCS_PSS, &HASHES[2]), &rsa, 32));
    for hash in &HASHES {
        signing.extend([(hash.rsa.into(), &rsa, 256), (pss(hash.pss, hash), &rsa, 256), (hash.ecdsa.into(), &ec, 256)]);
    }
    for (mechanism, pair, len) in signing {
        let data = &data[..len];
        for at in cuts {
            probe.init("C_SignInit", session, mechanism.clone(), pair.private).unwrap();
            for part in parts(at, data) {
                probe.update("C_SignUpdate", session, &part).unwrap();
            }
            let signature = probe.finish("C_SignFinal", session).unwrap();
            probe.verify(session, mechanism.clone(), pair.public, data, &signature).unwrap();

            probe.init("C_VerifyInit", session, mechanism.clone(), pair.public).unwrap();
            for part in parts(at, data) {
                probe.update("C_VerifyUpdate", session, &part).unwrap();
            }
            probe.update("C_VerifyFinal", session, &signature).unwrap();

            probe.init("C_VerifyInit", session, mechanism.clone(), pair.public).unwrap();
            probe.update("C_VerifyUpdate", session, &data[1..]).unwrap();
            let altered = probe.update("C_VerifyFinal", session, &signature);
            let expected = if len == 32 { CKR_DATA_LEN_RANGE } else { CKR_SIGNATURE_INVALID };
            assert_eq!(altered, Err(Ck(expected)), "{mechanism:?}");
        }
    }
    for hash in &HASHES {
        for at in cuts {
            probe.rv("C_DigestInit", vec![session.into(), Mechanism::plain(hash.digest).argument()]).unwrap();
            for part in parts(at, &data) {
                probe.update("C_DigestUpdate", session, &part).unwrap();
            }
            assert_eq!(probe.finish("C_DigestFinal", session).unwrap(), bench.digest(hash, &data));
        }
    }
    let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label");
    for mechanism in [CKM_RSA_PKCS.into(), CKM_RSA_X_509.into(), oaep] {
        let plain = if mechanism.ty == CKM_RSA_X_509 { vec![1; 256] } else { data[..100].to_vec() };
        for at in cuts {
            let run = |kind: &str, key: u64, input: &[u8]| {
                probe.init(&format!("C_{kind}Init"), session, mechanism.clone(), key).unwrap();
                let mut out = Vec::new();
                for part in parts(at, input) {
                    out.extend(probe.transform(&format!("C_{kind}Update"), session, &part).unwrap());
                }
                out.extend(probe.finish(&format!("C_{kind}Final"), session).unwrap());
                out
            };
            let cipher = run("Encrypt", rsa.public, &plain);
            assert_eq!(cipher.len(), 256);
            assert_eq!(bench.decrypt(mechanism.clone(), &rsa, &cipher).unwrap(), plain);
            assert_eq!(run("Decrypt", rsa.private, &cipher), plain);
        }
    }
}

#[test]
fn keys_of_every_size_are_made_and_sign() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for (bits, exponent) in [(1024_u64, &[1, 0, 1][..]), (2048, &[]), (2048, &[1, 0, 1]), (3072, &[1, 0, 1])] {
        let mut public = vec![number(CKA_MODULUS_BITS, bits), flag(CKA_TOKEN, true), bytes(CKA_LABEL, b"made")];
        if !exponent.is_empty() {
            public.push(bytes(CKA_PUBLIC_EXPONENT, exponent));
        }
        let (public, private) =
            probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, true)]).unwrap();
        let pair = Pair::new(probe, session, public, private);
        assert_eq!((pair.n.len() as u64 * 8, pair.e.as_slice()), (bits, &[1, 0, 1][..]));
        let signature = bench.sign(CKM_SHA256_RSA_PKCS, &pair, MESSAGE);
        assert!(pair.openssl.verifies("-sha256", &[], MESSAGE, &signature), "{bits}");
        let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        let cipher = bench.encrypt(oaep.clone(), &pair, b"secret");
        assert_eq!(bench.decrypt(oaep, &pair, &cipher).unwrap(), b"secret");
        if bits == 1024 {
            // 1024 bits have no room for the PSS of a long hash with its salt, nor for OAEP.
            let pss = Mechanism::pss(CKM_SHA512_RSA_PKCS_PSS, CKM_SHA512, CKG_MGF1_SHA512, 64);
            assert_eq!(probe.init("C_SignInit", session, pss, private), Err(Ck(CKR_KEY_SIZE_RANGE)));
            let oaep = Mechanism::oaep(CKM_SHA512, CKG_MGF1_SHA512, b"");
            assert_eq!(probe.init("C_DecryptInit", session, oaep, private), Err(Ck(CKR_KEY_SIZE_RANGE)));
        }
    }
    for (curve, bits) in base::curve::Curve::ALL.into_iter().zip([224_usize, 256, 384, 521]) {
        for token in [true, false] {
            let template = [bytes(CKA_EC_PARAMS, curve.oid_der()), flag(CKA_TOKEN, token)];
            let made = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &template, &[flag(CKA_TOKEN, token)]).unwrap();
            let pair = Pair::new(probe, session, made.0, made.1);
            assert_eq!(pair.point.len(), 1 + 2 * bits.div_ceil(8));
            let signature = bench.sign(CKM_ECDSA_SHA512, &pair, MESSAGE);
            assert!(pair.openssl.verifies("-sha512", &[], MESSAGE, &ecdsa_der(&signature)), "{bits}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_the_tpm_hears_of_it() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    let (rsa, ec) = (bench.pair("rsa"), bench.pair("p256"));
    bench.sign(CKM_ECDSA_SHA256, &ec, MESSAGE);
    bench._world.proxy.mark();
    let cases = [
        ("C_SignInit", CKM_ECDSA, rsa.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_SignInit", CKM_RSA_PKCS, ec.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_SignInit", CKM_ECDSA, ec.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_SignInit", CKM_RSA_PKCS, rsa.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_VerifyInit", CKM_ECDSA, ec.private, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_EncryptInit", CKM_RSA_PKCS, rsa.private, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_DecryptInit", CKM_RSA_PKCS, rsa.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_DecryptInit", CKM_RSA_PKCS, ec.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_DecryptInit", CKM_ECDSA, ec.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_SHA256, rsa.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_AES_CBC, rsa.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", u64::MAX, rsa.private, CKR_MECHANISM_INVALID),
        ("C_VerifyInit", CKM_RSA_PKCS_KEY_PAIR_GEN, rsa.public, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, 0, CKR_KEY_HANDLE_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, 0x7777, CKR_KEY_HANDLE_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, u64::MAX, CKR_KEY_HANDLE_INVALID),
    ];
    for (function, mechanism, key, expected) in cases {
        let result = probe.init(function, session, mechanism, key);
        assert_eq!(result, Err(Ck(expected)), "{function} {mechanism:#x}");
    }
    assert_eq!(probe.digest(session, CKM_RSA_PKCS, b""), Err(Ck(CKR_MECHANISM_INVALID)));
    let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    assert_eq!(probe.init("C_SignInit", session, oaep, rsa.private), Err(Ck(CKR_MECHANISM_INVALID)));
    // A failed Init leaves nothing active.
    assert_eq!(probe.update("C_SignUpdate", session, b"x"), Err(Ck(CKR_OPERATION_NOT_INITIALIZED)));
    assert_eq!(bench._world.proxy.mark().names(), [""; 0]);
    bench.sign(CKM_SHA256_RSA_PKCS, &rsa, MESSAGE);
}
