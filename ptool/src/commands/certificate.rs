//! `csr`, `selfsign` and `addcert`.

use std::path::Path;
use std::str::FromStr;

use admin::attest::{AttestedRequest, Proof, SignatureForm};
use admin::{Admin, Issued, KeySelector, Pin, Profile, SignatureChoice, SigningKey};
use base::digest::Hash;
use serde::Serialize;

use super::attest;
use super::files::{self, Readers};
use super::{Context, find_token, key_user};
use crate::cli::SoPin;
use crate::cli::certificate::{AddCert, Contents, Csr, HashName, SelfSign, Signing, WhichKey};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins::{self, Given, SO_PIN};

/// What was written to a file.
#[derive(Serialize)]
struct Written<'a> {
    action: &'static str,
    algorithm: &'a str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    subject: &'a str,
}

/// A certificate of `addcert`; the first three as tpm2_ptool prints them.
#[derive(Serialize)]
struct Added {
    action: &'static str,
    cert: Cert,
    issuer: String,
    label: String,
    not_after: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<i64>,
    subject: String,
    trusted: bool,
}

#[derive(Serialize)]
struct Cert {
    #[serde(rename = "CKA_ID")]
    cka_id: String,
    id: i64,
}

pub(super) fn csr(context: &mut Context<'_>, options: &Csr) -> Result<(), Failure> {
    let proof = proof(options)?;
    let Signer { admin, key, pin, pin_name, profile, how } = signer(context, &options.signing)?;
    let issued = match proof {
        None => admin.request_certificate(&key, &pin, &profile, how),
        Some(proof) => {
            let form = attest::form(&options.proof, SignatureForm::Tpmt);
            admin.request_attested(&key, &pin, &proof, &AttestedRequest { profile: &profile, how, form })
        }
    };
    let issued = issued.map_err(|error| signing_failed(error, pin_name))?;
    deliver(context, "csr", options.signing.contents.out.as_deref(), &issued)
}

fn proof(options: &Csr) -> Result<Option<Proof>, Failure> {
    let given = &options.proof;
    let any =
        given.authority.is_some() || given.nonce.is_some() || given.nonce_file.is_some() || given.signature.is_some();
    match (options.attest, any) {
        (true, _) => attest::proof(given, false).map(Some),
        (false, false) => Ok(None),
        (false, true) => Err(Failure::usage(
            "--authority, --nonce, --nonce-file and --signature are about an attestation",
            "Give --attest too, or leave them out.",
        )),
    }
}

pub(super) fn self_sign(context: &mut Context<'_>, options: &SelfSign) -> Result<(), Failure> {
    let Signer { admin, key, pin, pin_name, profile, how } = signer(context, &options.signing)?;
    let issued = admin
        .self_sign(&key, &pin, &profile, how, options.days, options.store)
        .map_err(|error| signing_failed(error, pin_name))?;
    deliver(context, "selfsign", options.signing.contents.out.as_deref(), &issued)
}

/// What `csr` and `selfsign` need before they sign.
struct Signer {
    admin: Admin,
    key: SigningKey,
    pin: Pin,
    pin_name: &'static str,
    profile: Profile,
    how: SignatureChoice,
}

/// What is wrong with the options is said before the token is looked for, and that before a PIN is asked for. A file that
/// cannot be written is among it: `selfsign --store` would leave a certificate in the token at each try.
fn signer(context: &mut Context<'_>, options: &Signing) -> Result<Signer, Failure> {
    let (profile, how) = contents(&options.contents)?;
    if let Some(path) = &options.contents.out {
        files::check_new(path)?;
    }
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let key = admin.signing_key(&token.label, &selector(&options.key))?;
    // Only the user signs.
    let (pin, pin_name) = key_user(context, &token, &options.user, &SoPin { sopin: None, sopin_file: None })?;
    Ok(Signer { admin, key, pin, pin_name, profile, how })
}

pub(super) fn add(context: &mut Context<'_>, options: &AddCert) -> Result<(), Failure> {
    let found = keyfile::read_certificates(files::read(&options.file)?.expose())
        .map_err(|error| files::unreadable(&options.file, &error))?;
    let found = found.into_iter().map(|certificate| certificate.der).collect();
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let which = KeySelector { label: options.key_label.clone(), id: options.key_id.as_ref().map(|id| id.0.clone()) };
    let plan = admin.plan_certificates(&token.label, &which, found, options.ca).map_err(|error| {
        Failure::general(
            format!("{}: {error}", options.file.display()),
            "`ptool listobjects` shows the keys; `--ca` adds certificates of authorities alone.",
        )
    })?;
    let (pin, pin_name) = match options.trusted {
        true => {
            let pin = pins::current(SO_PIN, Given::from(&options.so), context.around)?;
            (Pin::So(pin), SO_PIN.name)
        }
        false => key_user(context, &token, &options.user, &options.so)?,
    };
    let added = admin
        .add_certificates(&plan, &pin, options.trusted, options.replace)
        .map_err(|error| Failure::with_pin(error, pin_name))?;
    for info in added.iter().filter(|info| !info.altered.is_empty()) {
        note(&format!(
            "the token has this certificate in {:?} as well, altered in the store: `ptool objdel` removes it there",
            info.altered
        ));
    }
    let added: Vec<Added> = added
        .into_iter()
        .map(|info| Added {
            action: info.action,
            cert: Cert { cka_id: info.cka_id, id: info.id },
            issuer: info.issuer,
            label: info.label,
            not_after: info.not_after,
            replaced: info.replaced,
            subject: info.subject,
            trusted: info.trusted,
        })
        .collect();
    match added.as_slice() {
        [one] => output::print(context.format, one),
        all => output::print(context.format, &all),
    }
}

pub(super) fn selector(which: &WhichKey) -> KeySelector {
    KeySelector { label: which.key_label.clone(), id: which.id.as_ref().map(|id| id.0.clone()) }
}

fn contents(options: &Contents) -> Result<(Profile, SignatureChoice), Failure> {
    let profile = Profile {
        subject: parsed(&options.subject)?,
        alt_names: all_parsed(&options.san.iter().flat_map(|names| split(names)).collect::<Vec<_>>())?,
        key_usage: all_parsed(&options.key_usage)?,
        purposes: all_parsed(&options.ext_key_usage)?,
        authority: options.ca,
    };
    if profile.subject.is_empty() && profile.alt_names.is_empty() {
        return Err(Failure::usage(
            "the certificate has no name",
            "Give --subject \"CN=web.example\", or --san dns:web.example, or both.",
        ));
    }
    let hash = options.hash.map(|name| match name {
        HashName::Sha256 => Hash::Sha256,
        HashName::Sha384 => Hash::Sha384,
        HashName::Sha512 => Hash::Sha512,
    });
    Ok((profile, SignatureChoice { hash, pss: options.pss }))
}

/// What stands between commas. A backslash before one makes it part of a name, as in a subject.
fn split(names: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = names.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek(), parts.last_mut()) {
            ('\\', Some(','), Some(part)) => part.extend(chars.next()),
            (',', ..) => parts.push(String::new()),
            (char, _, Some(part)) => part.push(char),
            (_, _, None) => {}
        }
    }
    parts
}

pub(super) fn parsed<T: FromStr<Err = String>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|what: String| Failure::usage(what, "`ptool help csr` has examples."))
}

fn all_parsed<T: FromStr<Err = String>>(texts: &[String]) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| parsed(text)).collect()
}

pub(super) fn signing_failed(error: token::Error, pin_name: &str) -> Failure {
    match error {
        token::Error::KeySizeRange => Failure::general(
            "the key is too short for this signature",
            "Choose a shorter hash with --hash, or leave --pss out.",
        ),
        token::Error::KeyFunctionNotPermitted => {
            Failure::general("the key does not sign (CKA_SIGN is false)", "Choose another key, or make one.")
        }
        error => Failure::with_pin(error, pin_name),
    }
}

/// PEM as it is on standard output, so that it can go straight to another program; with a file, a result says what is in it.
fn deliver(context: &Context<'_>, action: &'static str, out: Option<&Path>, issued: &Issued) -> Result<(), Failure> {
    let Some(path) = out.filter(|path| *path != Path::new("-")) else {
        return output::print_text(&issued.pem);
    };
    files::write(path, issued.pem.as_bytes(), Readers::All)?;
    let file = path.display().to_string();
    let result = Written { action, algorithm: &issued.algorithm, file, id: issued.id, subject: &issued.subject };
    output::print(context.format, &result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_commas_that_are_not_theirs() {
        assert_eq!(split("dns:a,ip:192.0.2.1"), ["dns:a", "ip:192.0.2.1"]);
        assert_eq!(split(r"uri:https://b/x\,y,dns:a"), ["uri:https://b/x,y", "dns:a"]);
        assert_eq!(split(r"uri:a\b"), [r"uri:a\b"]);
    }
}
