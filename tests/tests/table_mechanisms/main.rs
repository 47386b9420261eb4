//! Every mechanism with every operation it is advertised for: one row each, a round trip with RustCrypto, OpenSSL or the
//! textbook, or a published vector. And the reverse: what is refused, and with which code.
//!
//! `mechanisms.rs` and `secrets.rs` go deeper: all hashes with all masks, lengths, and parts.

mod bench;
mod refusals;
mod rows;
mod rows_secret;

use std::collections::BTreeSet;

use bench::Bench;
use cryptoki_sys::{CKF_DECAPSULATE, CKF_ENCAPSULATE};
use pkcs11_sys::*;
use rows::Row;
use swtpm_fixtures::Chip;
use tests::Ck;
use tests::probe::Mechanism;

/// What a mechanism may do: the flags, and the functions they are about.
const OPERATIONS: [(u64, &str); 19] = [
    (CKF_ENCRYPT, "C_EncryptInit"),
    (CKF_DECRYPT, "C_DecryptInit"),
    (CKF_DIGEST, "C_DigestInit"),
    (CKF_SIGN, "C_SignInit"),
    (CKF_SIGN_RECOVER, "C_SignRecoverInit"),
    (CKF_VERIFY, "C_VerifyInit"),
    (CKF_VERIFY_RECOVER, "C_VerifyRecoverInit"),
    (CKF_GENERATE, "C_GenerateKey"),
    (CKF_GENERATE_KEY_PAIR, "C_GenerateKeyPair"),
    (CKF_WRAP, "C_WrapKey"),
    (CKF_UNWRAP, "C_UnwrapKey"),
    (CKF_DERIVE, "C_DeriveKey"),
    (CKF_MESSAGE_ENCRYPT, "C_MessageEncryptInit"),
    (CKF_MESSAGE_DECRYPT, "C_MessageDecryptInit"),
    (CKF_MESSAGE_SIGN, "C_MessageSignInit"),
    (CKF_MESSAGE_VERIFY, "C_MessageVerifyInit"),
    (CKF_MULTI_MESSAGE, "C_EncryptMessageBegin"),
    (CKF_ENCAPSULATE, "C_EncapsulateKey"),
    (CKF_DECAPSULATE, "C_DecapsulateKey"),
];

fn all_rows() -> Vec<Row> {
    let all = [
        rows::rsa_rows(),
        rows::ec_rows(),
        rows_secret::digest_rows(),
        rows_secret::aes_rows(),
        rows_secret::secret_rows(),
    ];
    rows::with_messages(all.into_iter().flatten().collect())
}

fn run(rows: Vec<Row>) {
    let bench = Bench::new();
    for row in rows::with_messages(rows) {
        (row.check)(&bench);
    }
    bench.probe.finalize().unwrap();
    bench.world.assert_clean();
}

#[test]
fn what_is_advertised_has_a_row() {
    let bench = Bench::new();
    let slot = bench.probe.slot_of("alpha");
    let listed = bench.probe.mechanisms(slot).unwrap();
    let unique: BTreeSet<_> = listed.iter().collect();
    assert_eq!(listed.len(), unique.len(), "a mechanism is listed twice");
    // Also what is there without being listed.
    let mut advertised = BTreeSet::new();
    for ty in (0..0x2300).chain(0x4000..0x4100).chain([0x8000_0000, u64::MAX]) {
        let Ok((least, most, flags)) = bench.probe.mechanism_info(slot, ty) else {
            assert!(!listed.contains(&ty), "{ty:#x} is listed and has no information");
            continue;
        };
        assert!(least <= most, "{ty:#x}");
        let operations = OPERATIONS.iter().filter(|(flag, _)| flags & flag != 0);
        let before = advertised.len();
        advertised.extend(operations.map(|(flag, _)| (ty, *flag)));
        assert!(advertised.len() > before, "{ty:#x} does nothing");
    }
    for ty in listed {
        assert!(advertised.iter().any(|(other, _)| *other == ty), "{ty:#x} is out of the range that was looked at");
    }
    let tested: BTreeSet<_> = all_rows().iter().map(|row| (row.ty, row.op)).collect();
    let untested: Vec<_> = advertised.difference(&tested).collect();
    assert!(untested.is_empty(), "no row for {untested:x?}");
    let missing: Vec<_> = tested.difference(&advertised).collect();
    assert!(missing.is_empty(), "a row, but not advertised: {missing:x?}");
}

#[test]
fn with_rsa_keys() {
    run(rows::rsa_rows());
}

#[test]
fn with_ec_keys() {
    run(rows::ec_rows());
}

#[test]
fn digests_and_codes() {
    run(rows_secret::digest_rows());
}

#[test]
fn with_aes_keys() {
    run(rows_secret::aes_rows());
}

#[test]
fn with_generic_secrets() {
    run(rows_secret::secret_rows());
}

/// What this chip's token lists works, and what it does not list is refused.
fn run_on(chip: Chip, lacks_inverse: bool, lacks_sha512: bool) {
    let bench = Bench::on(chip);
    bench.lacks_inverse.set(lacks_inverse);
    bench.lacks_sha512.set(lacks_sha512);
    let mut refused = 0;
    for row in all_rows() {
        if bench.advertises(row.ty, row.op) {
            (row.check)(&bench);
            continue;
        }
        refused += 1;
        let function = match row.op {
            CKF_SIGN => "C_SignInit",
            CKF_SIGN_RECOVER => "C_SignRecoverInit",
            CKF_DECRYPT => "C_DecryptInit",
            CKF_MESSAGE_SIGN => "C_MessageSignInit",
            _ => continue,
        };
        let mechanism = match row.ty {
            CKM_SHA1_RSA_PKCS_PSS
            | CKM_SHA224_RSA_PKCS_PSS
            | CKM_SHA3_224_RSA_PKCS_PSS
            | CKM_SHA3_256_RSA_PKCS_PSS
            | CKM_SHA3_384_RSA_PKCS_PSS
            | CKM_SHA3_512_RSA_PKCS_PSS => Mechanism::pss(row.ty, CKM_SHA256, CKG_MGF1_SHA256, 32),
            ty => ty.into(),
        };
        let init = bench.probe.init(function, bench.session, mechanism, bench.rsa_private(&[]));
        assert_eq!(init, Err(Ck(CKR_MECHANISM_INVALID)), "{:#x} {function}", row.ty);
    }
    assert_eq!(refused > 0, bench.is_strict());
    bench.probe.finalize().unwrap();
    bench.world.assert_clean();
}

#[test]
fn on_a_chip_without_raw_rsa() {
    run_on(Chip::fips_host(), false, false);
}

#[test]
fn on_a_chip_with_cipher_feedback_alone() {
    run_on(Chip::cfb_only(), true, false);
}

#[test]
fn on_a_chip_that_cannot_be_asked_for_sizes() {
    run_on(Chip::without_test_parms(), false, false);
}

/// The software TPM that the environment names (`SWTPM`, `SWTPM_PROFILE`), as it is: `make check-tpms`.
#[test]
#[ignore = "the other tests do it on the TPM of this machine"]
fn on_the_tpm_of_the_environment() {
    // A profile that lists algorithms has those alone.
    let profile = std::env::var("SWTPM_PROFILE").unwrap_or_default();
    let lacks = |name| profile.contains("Algorithms") && !profile.contains(name);
    run_on(Chip::whole(), lacks("cbc") && lacks("ecb"), lacks("sha512"));
}
