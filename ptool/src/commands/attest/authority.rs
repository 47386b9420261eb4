//! On the side of the authority: without a TPM, and without a store.

use std::path::{Path, PathBuf};

use admin::attest::{
    self, AttesterCertificate, Challenge, Expected, Freshness, Identity, Record, RelyingParty, Response,
};
use keyfile::{Key, pem};

use super::super::files::{self, Readers};
use super::super::{Context, import};
use super::{check_out, deliver};
use crate::cli::attest::{Confirm, IssueAk, MakeChallenge, VerifyAttestation};
use crate::errors::Failure;
use crate::output;

pub(super) fn challenge(context: &Context<'_>, options: &MakeChallenge) -> Result<(), Failure> {
    check_out(options.out.as_deref())?;
    files::check_new(&options.record)?;
    let identity = Identity::from_json(files::read(&options.identity)?.expose())?;
    let (challenge, record): (Challenge, Record) = attest::challenge(&identity, &certificates(&options.ek_roots)?)?;
    files::write(&options.record, record.to_json()?.as_bytes(), Readers::Owner)?;
    deliver(context, "challenge", options.out.as_deref(), challenge.to_json()?.as_bytes(), Readers::All)
}

pub(super) fn confirm(context: &Context<'_>, options: &Confirm) -> Result<(), Failure> {
    check_out(options.out.as_deref())?;
    let (record, response) = enrolment(&options.record, &options.answer)?;
    let pem = pem::encode("PUBLIC KEY", &attest::confirm(&record, &response)?);
    deliver(context, "confirm", options.out.as_deref(), pem.as_bytes(), Readers::All)
}

fn enrolment(record: &Path, answer: &Path) -> Result<(Record, Response), Failure> {
    Ok((Record::from_json(files::read(record)?.expose())?, Response::from_json(files::read(answer)?.expose())?))
}

pub(super) fn issue(context: &mut Context<'_>, options: &IssueAk) -> Result<(), Failure> {
    check_out(options.out.as_deref())?;
    let (record, response) = enrolment(&options.record, &options.answer)?;
    let issuer = certificates(std::slice::from_ref(&options.issuer))?;
    let file = files::read(&options.issuer_key)?;
    let found = import::read_key(context.around, &options.issuer_key, &options.passphrase, &file)?;
    let Some(Key::Private(key)) = found.key else {
        return Err(files::unreadable(&options.issuer_key, &keyfile::Error::Unknown));
    };
    let how = AttesterCertificate {
        issuer: issuer.first().map(Vec::as_slice).unwrap_or_default(),
        key: &key,
        days: options.days,
        manufacturer: options.manufacturer.as_deref(),
    };
    let der = attest::issue(&record, &response, &how)?;
    let pem = pem::encode("CERTIFICATE", &der);
    deliver(context, "issue-ak", options.out.as_deref(), pem.as_bytes(), Readers::All)
}

pub(super) fn verify(context: &Context<'_>, options: &VerifyAttestation) -> Result<(), Failure> {
    let expected = expected(options)?;
    let evidence = attest::read(files::read(&options.file)?.expose())?;
    let report = attest::verify(&evidence, &expected);
    output::print(context.format, &report)?;
    match report.first_bad() {
        None => Ok(()),
        Some(why) => Err(Failure::general(format!("{} proves nothing: {why}", options.file.display()), "")),
    }
}

fn expected(options: &VerifyAttestation) -> Result<Expected, Failure> {
    let read = |path: &PathBuf| files::read(path).map(|content| content.expose().to_vec());
    let freshness = match (&options.nonce, &options.nonce_file, &options.key_authorization) {
        (Some(nonce), ..) => Freshness::Nonce(attest::qualifying(&nonce.0)),
        (None, Some(file), _) => Freshness::Nonce(attest::qualifying(&read(file)?)),
        (None, None, Some(text)) => Freshness::KeyAuthorization(text.clone()),
        (None, None, None) => match (&options.rp_id, &options.client_data) {
            (Some(id), Some(data)) => Freshness::WebAuthn(RelyingParty { id: id.clone(), client_data: read(data)? }),
            _ if options.any_age => Freshness::Ignored,
            _ => {
                return Err(Failure::usage(
                    "nothing says which question the attestation is to answer",
                    "Give what was asked with --nonce, --nonce-file, --key-authorization or --client-data; --any-age takes an old one.",
                ));
            }
        },
    };
    let enrolment = match (&options.record, &options.answer) {
        (Some(record), Some(answer)) => Some(enrolment(record, answer)?),
        _ => None,
    };
    Ok(Expected {
        roots: certificates(&options.roots)?,
        endorsement_roots: certificates(&options.ek_roots)?,
        enrolment,
        freshness,
        key: options.key.as_deref().map(public_key).transpose()?,
        policy: options.policy.as_ref().map(|path| Ok::<_, Failure>(attest::read_policy(&read(path)?)?)).transpose()?,
    })
}

/// The SubjectPublicKeyInfo of a file with a request, a certificate or a public key.
fn public_key(path: &Path) -> Result<Vec<u8>, Failure> {
    let content = files::read(path)?;
    if let Some(request) = attest::request_key(content.expose()) {
        return request.ok_or_else(|| {
            Failure::general(
                format!("{}: the request is not signed by its own key", path.display()),
                "Ask for another one.",
            )
        });
    }
    keyfile::read_public(&content).map(|key| key.spki()).map_err(|error| files::unreadable(path, &error))
}

/// The certificates of files, and of all files in directories, where those without any are left out.
fn certificates(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            let failed = |error: std::io::Error| {
                Failure::general(
                    format!("{} cannot be read: {error}", path.display()),
                    "Name a file that this user may read.",
                )
            };
            for entry in std::fs::read_dir(path).map_err(failed)? {
                let file = entry.map_err(failed)?.path();
                if file.is_file() {
                    let read = keyfile::read_certificates(files::read(&file)?.expose()).unwrap_or_default();
                    found.extend(read.into_iter().map(|certificate| certificate.der));
                }
            }
        } else {
            let read = keyfile::read_certificates(files::read(path)?.expose());
            let read = read.map_err(|error| files::unreadable(path, &error))?;
            found.extend(read.into_iter().map(|certificate| certificate.der));
        }
        if found.len() == before {
            return Err(Failure::general(
                format!("{} has no certificates", path.display()),
                "Name a file or directory with those of the authorities that are trusted.",
            ));
        }
    }
    Ok(found)
}
