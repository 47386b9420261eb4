//! The `attest` verbs: proof that a key is in a TPM.

mod authority;
mod machine;

use std::path::Path;

use admin::attest::Endorsement;
use serde::Serialize;

use super::Context;
use super::files::{self, Readers};
use crate::cli::attest::{Attest, AttestVerb, EndorsementName, Proof, SignatureName};
use crate::errors::Failure;
use crate::output;

/// The authority that needs no name where there is only one.
const USUAL_AUTHORITY: &str = "default";

/// What was written to a file.
#[derive(Serialize)]
struct Written {
    action: &'static str,
    file: String,
}

pub(super) fn run(context: &mut Context<'_>, options: &Attest) -> Result<(), Failure> {
    let Some(verb) = &options.verb else { return machine::attest(context, &options.key) };
    match verb {
        AttestVerb::Identity(options) => machine::identity(context, options),
        AttestVerb::Activate(options) => machine::activate(context, options),
        AttestVerb::Addcert(options) => machine::add_certificate(context, options),
        AttestVerb::List(options) => machine::list(context, options),
        AttestVerb::Challenge(options) => authority::challenge(context, options),
        AttestVerb::Confirm(options) => authority::confirm(context, options),
        AttestVerb::IssueAk(options) => authority::issue(context, options),
        AttestVerb::Verify(options) => authority::verify(context, options),
    }
}

/// What the options of a proof ask for.
pub(super) fn proof(options: &Proof, with_endorsement: bool) -> Result<admin::attest::Proof, Failure> {
    let nonce = match (&options.nonce, &options.nonce_file) {
        (Some(nonce), _) => nonce.0.clone(),
        (None, Some(file)) => files::read(file)?.expose().to_vec(),
        (None, None) => Vec::new(),
    };
    Ok(admin::attest::Proof {
        authority: options.authority.clone().unwrap_or_else(|| USUAL_AUTHORITY.to_owned()),
        nonce: admin::attest::qualifying(&nonce),
        with_endorsement,
    })
}

pub(super) fn form(options: &Proof, usual: admin::attest::SignatureForm) -> admin::attest::SignatureForm {
    match options.signature {
        Some(SignatureName::Tpmt) => admin::attest::SignatureForm::Tpmt,
        Some(SignatureName::Bare) => admin::attest::SignatureForm::Bare,
        None => usual,
    }
}

fn endorsement(name: EndorsementName) -> Endorsement {
    match name {
        EndorsementName::Rsa2048Low => Endorsement::Rsa2048Low,
        EndorsementName::Ecc256Low => Endorsement::P256Low,
        EndorsementName::Rsa2048 => Endorsement::Rsa2048,
        EndorsementName::Ecc256 => Endorsement::P256,
        EndorsementName::Ecc384 => Endorsement::P384,
        EndorsementName::Rsa3072 => Endorsement::Rsa3072,
    }
}

/// To standard output as it is, or to a file, and then a result says so.
fn deliver(
    context: &Context<'_>,
    action: &'static str,
    out: Option<&Path>,
    content: &[u8],
    readers: Readers,
) -> Result<(), Failure> {
    let path = out.unwrap_or(Path::new("-"));
    files::write(path, content, readers)?;
    match path == Path::new("-") {
        true => Ok(()),
        false => output::print(context.format, &Written { action, file: path.display().to_string() }),
    }
}

/// What cannot be written is found before anything is done for it.
fn check_out(out: Option<&Path>) -> Result<(), Failure> {
    out.map_or(Ok(()), files::check_new)
}
