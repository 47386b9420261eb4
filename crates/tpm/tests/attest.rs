//! Attestation keys and endorsement keys: what a TPM certifies, and credentials that only it opens.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
#[allow(dead_code, reason = "the listener of other tests")]
mod tap;

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;
use common::{Stage, assert_becomes_clean, at, counted, p256};
use swtpm_fixtures::SwTpm;
use tpm::{
    Attestation, AttestationSignature, AttestationTemplate, Attested, Attester, Attributes, Endorsement, Error, Key,
    PublicArea, Statement, make_credential,
};

/// Whether a P-256 key signed what was said.
fn is_signed(statement: &Statement, signer: &PublicArea) -> bool {
    let (curve, x, y) = signer.ecc().unwrap();
    let signature = AttestationSignature::parse(&statement.signature, Some(curve)).unwrap();
    assert_eq!(signature.hash, Hash::Sha256);
    let digest = Hash::Sha256.digest(&[&statement.attest]);
    EcPublic::new(curve, x, y).unwrap().verify(&digest, &signature.value)
}

#[test]
fn a_key_is_certified_by_a_key_that_signs_nothing_else() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    proxy.mark();
    let made = tpm.create_attestation_key(&stage.primary, AttestationTemplate::P256).unwrap();
    assert_eq!(proxy.mark().names(), ["StartAuthSession", "Create", "Load", "CertifyCreation", "FlushContext"]);
    let signer = made.wrapped.public_area().unwrap();
    assert!(signer.is_attestation_key());
    assert!(is_signed(&made.creation, &signer));
    let said = Attestation::parse(&made.creation.attest).unwrap();
    let name = signer.name().unwrap().as_bytes().to_vec();
    let creation_hash = Hash::Sha256.digest(&[&made.creation_data]);
    assert_eq!(said.attested, Attested::Creation { name, creation_hash });

    let attester = Attester { primary: &stage.primary, wrapped: &made.wrapped };
    stage.login(&tpm);
    proxy.mark();
    let statement = tpm.certify(&stage.key(0), attester, b"nonce").unwrap();
    tpm.release();
    assert_eq!(proxy.mark().names(), ["Load", "Load", "Certify", "FlushContext", "FlushContext"]);
    let said = Attestation::parse(&statement.attest).unwrap();
    assert_eq!(said.extra_data, b"nonce");
    let Attested::Certify { name, .. } = said.attested else { panic!("{said:?}") };
    assert_eq!(name, stage.keys[0].1.as_bytes());
    assert!(is_signed(&statement, &signer));
    assert_becomes_clean(&swtpm);
}

#[test]
fn what_cannot_be_certified_is_refused_before_anything_is_sent() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&proxy.tcti());
    let made = tpm.create_attestation_key(&stage.primary, AttestationTemplate::P256).unwrap();
    let attester = Attester { primary: &stage.primary, wrapped: &made.wrapped };
    tpm.release();
    proxy.mark();
    let refused = tpm.certify(&stage.key(0), attester, &[0; 35]).unwrap_err();
    assert!(matches!(refused, Error::Invalid(text) if text.contains("34 bytes")), "{refused:?}");
    let unrestricted = Attester { primary: &stage.primary, wrapped: &stage.keys[1].0 };
    let refused = tpm.certify(&stage.key(0), unrestricted, b"").unwrap_err();
    assert!(matches!(refused, Error::Invalid(text) if text.contains("no attestation key")), "{refused:?}");
    assert!(proxy.mark().names().is_empty());
    let wrong = Secret::copy_from(&[0x77; 32]);
    let wrong = Key { auth: &wrong, ..stage.key(0) };
    assert_eq!(tpm.certify(&wrong, attester, b""), Err(Error::AuthFailed));
    drop(tpm);
    drop(proxy);
    assert_eq!(swtpm.failed_authorizations(), 0);
}

#[test]
fn a_credential_opens_in_its_tpm_with_its_key_alone() {
    let (swtpm, other) = (SwTpm::start(), SwTpm::start());
    let (stage, elsewhere) = (Stage::set(&swtpm, &[]), Stage::set(&other, &[]));
    let (tpm, stranger) = (at(&swtpm.tcti()), at(&other.tcti()));
    let none = Secret::zeroed(0);
    let made = |tpm: &tpm::Tpm, stage: &Stage| {
        tpm.create_attestation_key(&stage.primary, AttestationTemplate::P256).unwrap().wrapped
    };
    let (one, another, foreign) = (made(&tpm, &stage), made(&tpm, &stage), made(&stranger, &elsewhere));
    let secret = Secret::copy_from(b"opened by nobody else");
    // Making an RSA key of 3072 bits takes a software TPM too long.
    for kind in Endorsement::ALL.into_iter().filter(|kind| *kind != Endorsement::Rsa3072) {
        let area = tpm.endorsement_key(kind, &stage.primary, &none).unwrap();
        assert!(area.is_endorsement_key(), "{kind:?}");
        let (credential, encrypted) = make_credential(&area, &one.name().unwrap(), &secret).unwrap();
        let open = |wrapped| {
            let attester = Attester { primary: &stage.primary, wrapped };
            tpm.activate_credential(kind, &none, attester, &credential, &encrypted)
        };
        assert_eq!(open(&one), Ok(secret.clone()), "{kind:?}");
        assert_eq!(open(&another), Err(Error::Integrity), "{kind:?}");
        let attester = Attester { primary: &elsewhere.primary, wrapped: &foreign };
        let refused = stranger.activate_credential(kind, &none, attester, &credential, &encrypted);
        assert_eq!(refused, Err(Error::Integrity), "{kind:?}");
    }
    tpm.release();
    assert_becomes_clean(&swtpm);
}

#[test]
fn credentials_are_made_for_endorsement_keys_only() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let (wrapped, name, _) = &stage.keys[0];
    let secret = Secret::copy_from(&[1; 32]);
    let plain = wrapped.public_area().unwrap();
    assert!(plain.attributes().contains(Attributes::SIGN));
    assert!(matches!(make_credential(&plain, name, &secret), Err(Error::Invalid(_))));
    let area = at(&swtpm.tcti()).endorsement_key(Endorsement::P256, &stage.primary, &Secret::zeroed(0)).unwrap();
    assert!(make_credential(&area, name, &Secret::zeroed(0)).is_err());
    assert!(make_credential(&area, name, &Secret::zeroed(33)).is_err());
}
