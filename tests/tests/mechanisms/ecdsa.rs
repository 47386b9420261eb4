//! ECDSA, and what others have signed.

use pkcs11_sys::*;
use tests::math;
use tests::openssl::ecdsa_der;
use tests::probe::{attributes, bytes, flag, number};
use tests::{Argument, Ck};

use crate::bench::{Bench, EC_KEYS, HASHES, MESSAGE, P224};

#[test]
fn ecdsa_with_a_hash() {
    let bench = Bench::new();
    for (label, bits) in EC_KEYS.into_iter().chain([P224]) {
        let pair = bench.pair(label);
        for hash in &HASHES {
            let signature = bench.sign(hash.ecdsa, &pair, MESSAGE);
            assert_eq!(signature.len(), 2 * bits.div_ceil(8));
            let der = ecdsa_der(&signature);
            assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &der), "{label} {}", hash.name);
            assert!(!pair.openssl.verifies(&format!("-{}", hash.name), &[], b"another", &der));
        }
    }
}

#[test]
fn what_openssl_signs_verifies() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for curve in base::curve::Curve::ALL {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str], input: &[u8]| {
            let output = tests::openssl::openssl(dir.path(), arguments, input);
            assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
            output.stdout
        };
        let group = format!("ec_paramgen_curve:{}", curve.name());
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &group, "-out", "key.pem"], b"");
        let spki = openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"], b"");
        let point = &spki[spki.len() - 1 - 2 * curve.field_len()..];
        let key = base::curve::EcPublic::from_point(curve, point).unwrap();
        let template = [
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_EC),
            flag(CKA_TOKEN, false),
            bytes(CKA_EC_PARAMS, curve.oid_der()),
            bytes(CKA_EC_POINT, &key.point_der()),
        ];
        let arguments = vec![session.into(), attributes(&template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = probe.call("C_CreateObject", arguments);
        assert_eq!(Ck(rv), Ck(CKR_OK), "{curve:?}");
        let public = left[3].word();
        for hash in &HASHES {
            let der = openssl(&["dgst", &format!("-{}", hash.name), "-sign", "key.pem"], MESSAGE);
            let (r, s) = base::curve::signature_from_der(&der, curve.field_len()).unwrap();
            let signature = [r, s].concat();
            let verify = |data: &[u8]| probe.verify(session, hash.ecdsa, public, data, &signature);
            assert_eq!(verify(MESSAGE), Ok(()), "{curve:?} {}", hash.name);
            assert_eq!(verify(b"another"), Err(Ck(CKR_SIGNATURE_INVALID)), "{curve:?} {}", hash.name);
        }
    }
}

#[test]
fn ecdsa_of_input_of_any_length() {
    let bench = Bench::new();
    for (label, bits) in EC_KEYS.into_iter().chain([P224]) {
        let pair = bench.pair(label);
        let curve = math::Curve::with_bits(bits);
        for len in [0_u8, 1, 20, 28, 31, 32, 33, 47, 48, 49, 64, 65, 66, 67, 100] {
            let input: Vec<u8> = (0..len).map(|i| 0xff - i).collect();
            // What counts of the input is as long as the order. A TPM signs digests of its hashes, and none is longer than 64
            // bytes: of the P-521 inputs that are, those that spell a greater number cannot be signed.
            if bits == 521 && len > 64 {
                let refused = bench.probe.sign(bench.session, CKM_ECDSA, pair.private, &input);
                assert_eq!(refused, Err(Ck(CKR_DATA_LEN_RANGE)), "{label}: {len} bytes");
                continue;
            }
            let signature = bench.sign(CKM_ECDSA, &pair, &input);
            assert!(curve.verifies(&pair.point, &input, &signature), "{label}: {len} bytes");
            if (20..=64).contains(&len) {
                assert!(pair.openssl.verifies_raw(&[], &input, &ecdsa_der(&signature)), "{label}: {len} bytes");
            }
        }
        // Leading zeros are part of the length, not of the number.
        for zeros in [1, 8, 40, 70] {
            let input = [&vec![0; zeros][..], b"sixteen bytes..."].concat();
            let signature = bench.sign(CKM_ECDSA, &pair, &input);
            assert!(curve.verifies(&pair.point, &input, &signature), "{label}: {zeros} zeros");
        }
    }
}

#[test]
fn signatures_are_of_fixed_length_and_differ() {
    let bench = Bench::new();
    let pair = bench.pair("p256");
    let mut seen = std::collections::BTreeSet::new();
    // One in 256 numbers has a leading zero byte: it stays.
    for round in 0..60_u8 {
        let signature = bench.sign(CKM_ECDSA_SHA256, &pair, &[round % 2]);
        assert_eq!(signature.len(), 64);
        assert!(seen.insert(signature), "a nonce was used twice");
    }
}
