//! On the machine that has the key.

use admin::attest::{
    AttestationTemplate, AttestedRequest, AttesterInfo, IdentityRequest, Product, RelyingParty, SignatureForm,
};
use admin::{Issued, Profile, SignatureChoice};

use super::super::certificate::{parsed, selector, signing_failed};
use super::super::files::{self, Readers};
use super::super::{Context, find_token, key_user};
use super::{check_out, deliver, endorsement, form, proof};
use crate::cli::SoPin;
use crate::cli::attest::{
    Activate, AddAttesterCert, AttestFormat, AttestKey, AttesterName, ListAttesters, MakeIdentity,
};
use crate::errors::{Failure, Status};
use crate::output::{self, note};
use crate::pins::{ENDORSEMENT_AUTH, authorization};
use token::Error;

pub(super) fn attest(context: &mut Context<'_>, options: &AttestKey) -> Result<(), Failure> {
    check(options)?;
    check_out(options.out.as_deref())?;
    let proof = proof(&options.proof, options.with_ek)?;
    let client_data = options.client_data.as_deref().map(files::read).transpose()?;
    let admin = context.admin()?;
    let token = find_token(&admin, options.label.as_deref().unwrap_or_default())?;
    let key = admin.signing_key(&token.label, &selector(&options.key))?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &SoPin { sopin: None, sopin_file: None })?;
    let failed = |error| signing_failed(error, pin_name);
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let tpmt = form(&options.proof, SignatureForm::Tpmt);
    let content = match options.format {
        AttestFormat::Json => {
            admin.attest(&key, &pin, &proof).and_then(|evidence| evidence.to_json()).map(String::into_bytes)
        }
        AttestFormat::Webauthn => {
            let client_data = client_data.map(|data| data.expose().to_vec()).unwrap_or_default();
            let party = RelyingParty { id: given(&options.rp_id), client_data };
            admin.attest_webauthn(&key, &pin, &proof, &party, form(&options.proof, SignatureForm::Bare))
        }
        AttestFormat::Acme => {
            admin.attest_acme(&key, &pin, &proof, &given(&options.key_authorization), tpmt).map(String::into_bytes)
        }
        AttestFormat::Csr => {
            let profile = Profile { subject: parsed(&given(&options.subject))?, ..Profile::default() };
            let request = AttestedRequest { profile: &profile, how: SignatureChoice::default(), form: tpmt };
            admin.request_attested(&key, &pin, &proof, &request).map(|Issued { pem, .. }| pem.into_bytes())
        }
        AttestFormat::TcgCsrIdevid => {
            let product = Product { model: given(&options.model), serial: given(&options.serial) };
            admin.attest_idevid(&key, &pin, &proof, &product)
        }
    };
    let content = content.map_err(failed)?;
    if options.with_ek || options.format == AttestFormat::TcgCsrIdevid {
        note_identity();
    }
    deliver(context, "attest", options.out.as_deref(), &content, Readers::All)
}

/// What a form needs, and what it has no place for.
fn check(options: &AttestKey) -> Result<(), Failure> {
    let format = options.format;
    for (option, there, of) in [
        ("--rp-id", options.rp_id.is_some(), AttestFormat::Webauthn),
        ("--client-data", options.client_data.is_some(), AttestFormat::Webauthn),
        ("--key-authorization", options.key_authorization.is_some(), AttestFormat::Acme),
        ("--subject", options.subject.is_some(), AttestFormat::Csr),
        ("--model", options.model.is_some(), AttestFormat::TcgCsrIdevid),
        ("--serial", options.serial.is_some(), AttestFormat::TcgCsrIdevid),
    ] {
        match (there, format == of) {
            (true, false) => {
                return Err(Failure::usage(
                    format!("{option} is not for this format"),
                    "`ptool help attest` says which is for which.",
                ));
            }
            (false, true) => {
                return Err(Failure::usage(
                    format!("this format needs {option}"),
                    "`ptool help attest` says what it is.",
                ));
            }
            _ => {}
        }
    }
    let asks = options.proof.nonce.is_some() || options.proof.nonce_file.is_some();
    if asks && matches!(format, AttestFormat::Webauthn | AttestFormat::Acme) {
        return Err(Failure::usage("this format has a nonce of its own", "Leave --nonce and --nonce-file out."));
    }
    if options.with_ek && format != AttestFormat::Json {
        return Err(Failure::usage(
            "--with-ek is for the format json",
            "tcg-csr-idevid always has that certificate, and the others have no place for it.",
        ));
    }
    if options.proof.signature.is_some() && matches!(format, AttestFormat::Json | AttestFormat::TcgCsrIdevid) {
        return Err(Failure::usage("this format has one form of signature alone", "Leave --signature out."));
    }
    Ok(())
}

/// Whoever sends it on should have heard it once.
fn note_identity() {
    note("this names the machine for ever, by the certificate of its endorsement key: give it to that authority alone");
}

pub(super) fn identity(context: &mut Context<'_>, options: &MakeIdentity) -> Result<(), Failure> {
    check_out(options.out.as_deref())?;
    let certificates = match &options.ek_certificate {
        None => Vec::new(),
        Some(path) => keyfile::read_certificates(files::read(path)?.expose())
            .map_err(|error| files::unreadable(path, &error))?
            .into_iter()
            .map(|certificate| certificate.der)
            .collect(),
    };
    let auth = authorization(ENDORSEMENT_AUTH, options.endorsement.ek_auth.as_ref(), context.around)?;
    let admin = context.admin()?;
    let token = find_token(&admin, &options.attester.label)?;
    let request = IdentityRequest {
        authority: options.attester.authority.clone(),
        attester: options.algorithm.map(|name| match name {
            AttesterName::Ecc256 => AttestationTemplate::P256,
            AttesterName::Rsa2048 => AttestationTemplate::Rsa2048,
        }),
        endorsement: options.endorsement.ek.map(endorsement),
        certificates,
        endorsement_auth: Some(auth),
    };
    let identity = admin.identity(&token.label, &request).map_err(with_endorsement_auth)?;
    note_identity();
    deliver(context, "identity", options.out.as_deref(), identity.to_json()?.as_bytes(), Readers::All)
}

pub(super) fn activate(context: &mut Context<'_>, options: &Activate) -> Result<(), Failure> {
    check_out(options.out.as_deref())?;
    let challenge = files::read(&options.challenge)?;
    let auth = authorization(ENDORSEMENT_AUTH, options.endorsement.ek_auth.as_ref(), context.around)?;
    let admin = context.admin()?;
    let (label, authority) = (&find_token(&admin, &options.attester.label)?.label, &options.attester.authority);
    let kind = options.endorsement.ek.map(endorsement);
    let answer = admin
        .read_challenge(label, authority, kind, challenge.expose())
        .and_then(|challenge| admin.activate(label, authority, &challenge, &auth))
        .map_err(with_endorsement_auth)?;
    deliver(context, "activate", options.out.as_deref(), answer.expose(), Readers::Owner)
}

fn with_endorsement_auth(error: Error) -> Failure {
    match error {
        Error::HierarchyAuth(_) => Failure::new(
            Status::Tpm,
            "the endorsement hierarchy of the TPM has another authorization than the given one",
            "--ek-auth gives it.",
        ),
        error => error.into(),
    }
}

pub(super) fn add_certificate(context: &mut Context<'_>, options: &AddAttesterCert) -> Result<(), Failure> {
    let found = keyfile::read_certificates(files::read(&options.file)?.expose())
        .map_err(|error| files::unreadable(&options.file, &error))?;
    let found = found.into_iter().map(|certificate| certificate.der).collect();
    let admin = context.admin()?;
    let token = find_token(&admin, &options.attester.label)?;
    let added = admin.add_attester_certificates(&token.label, &options.attester.authority, found)?;
    output::print(context.format, &added)
}

pub(super) fn list(context: &mut Context<'_>, options: &ListAttesters) -> Result<(), Failure> {
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label)?;
    let list: Vec<AttesterInfo> = admin.attesters(&token.label)?;
    output::print(context.format, &list)
}
