//! RSA signatures: PKCS #1 v1.5, PSS, none.

use pkcs11_sys::*;
use tests::math;
use tests::probe::Mechanism;
use tests::{Ck, Memory, Piece};

use crate::bench::{Bench, HASHES, MESSAGE, RSA_KEYS, digest_info, pss_options, texts};

#[test]
fn rsa_pkcs1_signatures_with_a_hash() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for hash in &HASHES {
            let signature = bench.sign(hash.rsa, &pair, MESSAGE);
            assert_eq!(signature.len(), len);
            assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &signature), "{}", hash.name);
            assert!(!pair.openssl.verifies(&format!("-{}", hash.name), &[], b"another", &signature));
        }
    }
}

#[test]
fn rsa_pkcs1_signatures_of_any_digest_info() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        let digest = bench.digest(hash, MESSAGE);
        let signature = bench.sign(CKM_RSA_PKCS, &pair, &digest_info(hash, &digest));
        assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &signature), "{}", hash.name);
    }
    // MD5 with SHA-1, as TLS 1.1 has it; RIPEMD-160, which no TPM has; and things that are no DigestInfo at all.
    let ripemd = [&tests::call::unhex("3021300906052b2403020105000414").unwrap()[..], &[0x5a; 20]].concat();
    let odd: [&[u8]; 7] = [&[0x36; 36], &ripemd, b"", b"x", &[0xff; 100], &[0; 32], &[7; 245]];
    for input in odd {
        let signature = bench.sign(CKM_RSA_PKCS, &pair, input);
        let padded = [&[0, 1][..], &vec![0xff; 256 - 3 - input.len()], &[0], input].concat();
        assert_eq!(math::rsa_public(&pair.n, &pair.e, &signature), padded, "{} bytes", input.len());
    }
    for len in [246, 256, 1000] {
        assert_eq!(
            bench.probe.sign(bench.session, CKM_RSA_PKCS, pair.private, &vec![7; len]),
            Err(Ck(CKR_DATA_LEN_RANGE)),
            "{len}"
        );
    }
}

#[test]
fn rsa_without_padding() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        let full = [&[0x7f][..], &vec![0xab; len - 1]].concat();
        for input in [&full[..], b"short", &[0, 0, 1], &[]] {
            let mut block = vec![0; len - input.len()];
            block.extend(input);
            let signature = bench.sign(CKM_RSA_X_509, &pair, input);
            assert_eq!(math::rsa_public(&pair.n, &pair.e, &signature), block);
            let cipher = bench.encrypt(CKM_RSA_X_509, &pair, input);
            assert_eq!(cipher, math::rsa_public(&pair.n, &pair.e, &block));
            assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &cipher).unwrap(), block);
        }
        let cipher = pair.openssl.encrypts(&["rsa_padding_mode:none"], &full);
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &cipher).unwrap(), full);
        let sign = |data: &[u8]| bench.probe.sign(bench.session, CKM_RSA_X_509, pair.private, data);
        assert_eq!(sign(&vec![1; len + 1]), Err(Ck(CKR_DATA_LEN_RANGE)));
        assert_eq!(sign(&vec![0xff; len]), Err(Ck(CKR_DATA_INVALID)), "not below the modulus");
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &vec![1; len - 1]), Err(Ck(CKR_ENCRYPTED_DATA_LEN_RANGE)));
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &vec![0xff; len]), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)));
    }
}

#[test]
fn pss_with_any_hash_mask_and_salt() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        let digest = bench.digest(hash, MESSAGE);
        for mgf in &HASHES {
            for salt in [0, 1, hash.len, 256 - hash.len - 2] {
                let plain = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, mgf.mgf, salt as u64);
                let signature = bench.sign(plain, &pair, &digest);
                let options = pss_options(mgf, salt);
                let verified = pair.openssl.verifies(&format!("-{}", hash.name), &texts(&options), MESSAGE, &signature);
                assert!(verified, "{} mgf {} salt {salt}", hash.name, mgf.name);
            }
        }
    }
}

#[test]
fn pss_that_hashes_itself() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for (hash, mgf) in HASHES.iter().zip(HASHES.iter().cycle().skip(if label == "rsa" { 0 } else { 2 })) {
            for salt in [0, hash.len, len - hash.len - 2] {
                let mechanism = Mechanism::pss(hash.pss, hash.digest, mgf.mgf, salt as u64);
                let signature = bench.sign(mechanism, &pair, MESSAGE);
                let options = pss_options(mgf, salt);
                assert!(
                    pair.openssl.verifies(&format!("-{}", hash.name), &texts(&options), MESSAGE, &signature),
                    "{}",
                    hash.name
                );
            }
        }
    }
}

#[test]
fn pss_that_cannot_be() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    let init = |mechanism: Mechanism| bench.probe.init("C_SignInit", bench.session, mechanism, pair.private);
    let too_long = Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 256 - 32 - 1);
    assert_eq!(init(too_long), Err(Ck(CKR_KEY_SIZE_RANGE)));
    for salt in [1 << 16, 1 << 40, u64::MAX] {
        let result = init(Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, salt));
        assert!([Err(Ck(CKR_KEY_SIZE_RANGE)), Err(Ck(CKR_MECHANISM_PARAM_INVALID))].contains(&result), "{result:?}");
    }
    let wrong: [Mechanism; 7] = [
        CKM_RSA_PKCS_PSS.into(),
        CKM_SHA256_RSA_PKCS_PSS.into(),
        Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA384, 48),
        Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256_RSA_PKCS, CKG_MGF1_SHA256, 32),
        Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKM_SHA256, 32),
        Mechanism {
            ty: CKM_RSA_PKCS_PSS,
            params: Some(Memory::of(vec![Piece::Word(CKM_SHA256), Piece::Word(CKG_MGF1_SHA256)])),
        },
        Mechanism { ty: CKM_SHA256_RSA_PKCS, params: Some(Memory::of(vec![Piece::Word(1)])) },
    ];
    for mechanism in wrong {
        assert_eq!(init(mechanism.clone()), Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{mechanism:?}");
    }
    // The digest must be one of the hash that the parameters name.
    let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32);
    assert_eq!(bench.probe.sign(bench.session, mechanism, pair.private, &[0; 20]), Err(Ck(CKR_DATA_LEN_RANGE)));
}
