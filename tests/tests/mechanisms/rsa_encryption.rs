//! RSA encryption: OAEP and PKCS #1 v1.5.

use pkcs11_sys::*;
use tests::probe::Mechanism;
use tests::{Ck, Memory, Piece};

use crate::bench::{Bench, HASHES, RSA_KEYS, texts};

#[test]
fn oaep_with_any_hash_mask_and_label() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        for mgf in &HASHES {
            for label in [&b""[..], b"label", b"label\0", b"a\0b\0"] {
                let mechanism = Mechanism::oaep(hash.digest, mgf.mgf, label);
                let mut options = vec![
                    "rsa_padding_mode:oaep".to_owned(),
                    format!("rsa_oaep_md:{}", hash.name),
                    format!("rsa_mgf1_md:{}", mgf.name),
                ];
                if !label.is_empty() {
                    options.push(format!("rsa_oaep_label:{}", tests::call::hex(label)));
                }
                let longest = 256 - 2 * hash.len - 2;
                let cipher = pair.openssl.encrypts(&texts(&options), &vec![9; longest]);
                let plain = bench.decrypt(mechanism.clone(), &pair, &cipher);
                assert_eq!(plain, Ok(vec![9; longest]), "{} mgf {} label {label:?}", hash.name, mgf.name);
                let cipher = bench.encrypt(mechanism.clone(), &pair, b"secret");
                assert_eq!(bench.decrypt(mechanism.clone(), &pair, &cipher).unwrap(), b"secret");
                let too_long = bench.probe.encrypt(bench.session, mechanism, pair.public, &vec![9; longest + 1]);
                assert_eq!(too_long, Err(Ck(CKR_DATA_LEN_RANGE)));
            }
        }
    }
}

#[test]
fn oaep_that_is_not_right_says_one_thing() {
    let bench = Bench::new();
    let pair = bench.pair("rsa3072");
    let right = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    let cipher = bench.encrypt(right, &pair, b"secret");
    for wrong in [
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"another label"),
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"another label\0"),
        Mechanism::oaep(CKM_SHA1, CKG_MGF1_SHA1, b""),
        Mechanism::oaep(CKM_SHA384, CKG_MGF1_SHA384, b""),
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA1, b""),
    ] {
        assert_eq!(bench.decrypt(wrong.clone(), &pair, &cipher), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)), "{wrong:?}");
    }
    let init = |mechanism: Mechanism| bench.probe.init("C_DecryptInit", bench.session, mechanism, pair.private);
    let words = |words: [u64; 5]| Some(Memory::of(words.map(Piece::Word).to_vec()));
    for params in [
        None,
        words([CKM_SHA256_RSA_PKCS, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, 0, 0]),
        words([CKM_SHA256, 77, CKZ_DATA_SPECIFIED, 0, 0]),
        words([CKM_SHA256, CKG_MGF1_SHA256, 77, 0, 0]),
    ] {
        let mechanism = Mechanism { ty: CKM_RSA_PKCS_OAEP, params };
        assert_eq!(init(mechanism.clone()), Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{mechanism:?}");
    }
}

const CKM_SHA1: u64 = CKM_SHA_1;

#[test]
fn rsa_pkcs1_encryption() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for plain in [&b""[..], b"x", &vec![5; len - 11]] {
            let cipher = bench.encrypt(CKM_RSA_PKCS, &pair, plain);
            assert_eq!(cipher.len(), len);
            assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &cipher).unwrap(), plain);
            let cipher = pair.openssl.encrypts(&["rsa_padding_mode:pkcs1"], plain);
            assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &cipher).unwrap(), plain);
        }
        let encrypt = |plain: &[u8]| bench.probe.encrypt(bench.session, CKM_RSA_PKCS, pair.public, plain);
        assert_eq!(encrypt(&vec![5; len - 10]), Err(Ck(CKR_DATA_LEN_RANGE)));
        // Bad padding gives a message that is always the same for this ciphertext and tells nothing (implicit rejection).
        let bad = bench.encrypt(CKM_RSA_X_509, &pair, &vec![0x55; len]);
        let plain = bench.decrypt(CKM_RSA_PKCS, &pair, &bad).unwrap();
        assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &bad).unwrap(), plain);
        assert!(plain.len() <= len - 11);
    }
}
