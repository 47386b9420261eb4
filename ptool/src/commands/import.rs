//! `import`.

use std::path::Path;

use admin::{CertificateParts, ForeignKey, ImportRequest, Imported, KeyPurpose, WrappedKey};
use base::Secret;
use base::digest::Hash;
use base::private::PrivateKey;
use keyfile::tss2::{Kind, TssKey};
use keyfile::{Certificate, Key, KeyFile, Restriction};
use serde::Serialize;
use token::Error;

use super::{Context, files, find_token, key_user, note_unused_auth, pcr};
use crate::cli::import::{HmacHash, Import, ImportAlgorithm};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins::{self, Surroundings};
use crate::progress::{Done, Progress};

/// As tpm2_ptool prints it.
#[derive(Serialize)]
pub(super) struct Arrived {
    action: &'static str,
    /// Secret keys too.
    private: Half,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<Half>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Half>,
}

#[derive(Serialize)]
struct Half {
    #[serde(rename = "CKA_ID")]
    cka_id: Option<String>,
}

impl Arrived {
    pub(super) fn new(action: &'static str, imported: Imported) -> Arrived {
        let half = |summary: token::info::ObjectSummary| Half { cka_id: summary.cka_id };
        let certificates = imported.certificates.into_iter().map(half).collect();
        Arrived { action, private: half(imported.key), public: imported.public.map(half), certificates }
    }
}

pub(super) fn import(context: &mut Context<'_>, options: &Import) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let several = options.privkey.len() > 1;
    if several && (options.names.id.is_some() || !options.cert.is_empty()) {
        return Err(Failure::usage(
            "an id or a certificate belongs to one key, and there are several files",
            "Import that key by itself.",
        ));
    }
    // All files, before anybody logs in: one that cannot be read leaves nothing half done.
    let mut keys = Vec::new();
    for path in &options.privkey {
        keys.push(key_of(context.around, options, path)?);
    }
    let policy = pcr::binding(context, &options.binding, !options.no_pin)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let label = |number: usize, found: Option<String>| match &options.names.key_label {
        Some(label) if several => Some(format!("{label}-{}", number + 1)),
        Some(label) => Some(label.clone()),
        None => found,
    };
    let requests = keys.into_iter().enumerate().map(|(number, file)| ImportRequest {
        label: options.label.label.clone(),
        pin: pin.clone(),
        key: file.key,
        key_label: label(number, file.name),
        id: options.names.id.clone().map(|id| id.0),
        always_authenticate: options.names.attr_always_authenticate,
        certificates: file.certificates.into_iter().map(parts).collect(),
        restriction: file.restriction.map(purpose),
        hash: match options.algorithm {
            Some(ImportAlgorithm::Hmac(hash)) => hash.map(named),
            _ => None,
        },
    });
    let requests: Vec<ImportRequest> = requests.collect();
    let done = Done::of(requests.len());
    let progress = several.then(|| Progress::counting("keys", &done));
    let imported = admin.import_many(&requests, policy.as_ref(), &mut |stored| done.is_now(stored));
    drop(progress);
    if imported.is_err() && done.count() > 0 {
        note(&format!("{} of {} keys were imported, and are in the token", done.count(), requests.len()));
    }
    let imported = imported.map_err(|error| refused(error, pin_name))?;
    let mut arrived = imported.into_iter().map(|imported| Arrived::new("import", imported));
    match (several, arrived.next()) {
        (false, Some(one)) => output::print(context.format, &one),
        (_, first) => output::print(context.format, &first.into_iter().chain(arrived).collect::<Vec<Arrived>>()),
    }
}

/// What a file brings.
struct Found {
    key: ForeignKey,
    name: Option<String>,
    restriction: Option<Restriction>,
    certificates: Vec<Certificate>,
}

/// The key of a file with the certificates that belong to it, each once.
fn key_of(around: &mut dyn Surroundings, options: &Import, path: &Path) -> Result<Found, Failure> {
    let file = files::read(path)?;
    let (key, found) = foreign_key(around, options, path, &file)?;
    let mut given: Vec<Certificate> = found.certificates;
    for path in &options.cert {
        let more = keyfile::read_certificates(files::read(path)?.expose());
        given.extend(more.map_err(|error| files::unreadable(path, &error))?);
    }
    let mut certificates: Vec<Certificate> = Vec::new();
    for certificate in given {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    if let ForeignKey::Private(key) = &key {
        check_certificates(&certificates, key)?;
    }
    Ok(Found { key, name: found.name, restriction: found.restriction, certificates })
}

/// What the algorithm of the key says it is for.
fn purpose(restriction: Restriction) -> KeyPurpose {
    match restriction {
        Restriction::Pss(hash) => KeyPurpose::Pss(hash),
        Restriction::Oaep => KeyPurpose::Oaep,
        Restriction::KeyAgreement => KeyPurpose::KeyAgreement,
    }
}

fn named(hash: HmacHash) -> Hash {
    match hash {
        HmacHash::Sha1 => Hash::Sha1,
        HmacHash::Sha256 => Hash::Sha256,
        HmacHash::Sha384 => Hash::Sha384,
        HmacHash::Sha512 => Hash::Sha512,
    }
}

pub(super) fn parts(certificate: Certificate) -> CertificateParts {
    let normal = keyfile::PublicKey::from_spki(&certificate.public_key).map(|key| key.spki());
    CertificateParts {
        common_name: certificate.common_name(),
        value: certificate.der,
        subject: certificate.subject,
        issuer: certificate.issuer,
        serial: certificate.serial,
        public_key: normal.unwrap_or(certificate.public_key),
    }
}

/// The key of the file, and what else is in it.
fn foreign_key(
    around: &mut dyn Surroundings,
    options: &Import,
    path: &Path,
    file: &Secret,
) -> Result<(ForeignKey, KeyFile), Failure> {
    let nothing = KeyFile::empty;
    let secret = || secret(path, file, options.raw);
    match options.algorithm {
        Some(ImportAlgorithm::Aes) => return Ok((ForeignKey::Aes(secret()?), nothing())),
        Some(ImportAlgorithm::Hmac(_)) => return Ok((ForeignKey::Hmac(secret()?), nothing())),
        Some(ImportAlgorithm::Rsa | ImportAlgorithm::Ecc) | None => {}
    }
    let mut found = read_key(around, path, &options.passphrase, file)?;
    let key = match found.key.take() {
        Some(Key::Private(key)) => {
            check_algorithm(options.algorithm, &key)?;
            ForeignKey::Private(key)
        }
        Some(Key::Tss2(key)) => ForeignKey::Wrapped(wrapped(around, options, path, *key)?),
        None => return Err(files::unreadable(path, &keyfile::Error::Unknown)),
    };
    Ok((key, found))
}

/// The value of a secret key. tpm2_ptool takes every file as it is: where that makes a difference, it is said.
pub(super) fn secret(path: &Path, file: &Secret, raw: bool) -> Result<Secret, Failure> {
    if raw && !file.is_empty() {
        return Ok(file.clone());
    }
    let value = keyfile::read_secret(file).map_err(|error| files::unreadable(path, &error))?;
    let says_so = [&b"0x"[..], b"hex:"].iter().any(|mark| file.expose().trim_ascii_start().starts_with(mark));
    if value != *file && !says_so {
        note(&format!(
            "hexadecimal digits were taken for the {} bytes that they stand for; --raw takes {} as it is",
            value.len(),
            if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
        ));
    }
    Ok(value)
}

/// Reads a key file, and asks for its passphrase if it has one.
pub(super) fn read_key(
    around: &mut dyn Surroundings,
    path: &Path,
    passphrase: &crate::cli::import::Passphrase,
    file: &Secret,
) -> Result<KeyFile, Failure> {
    let read = match keyfile::read(file, None) {
        Err(keyfile::Error::PassphraseNeeded) => {
            let passphrase = pins::passphrase(passphrase, &path.display().to_string(), around)?;
            keyfile::read(file, Some(&passphrase))
        }
        result => result,
    };
    read.map_err(|error| files::unreadable(path, &error))
}

fn wrapped(around: &mut dyn Surroundings, options: &Import, path: &Path, key: TssKey) -> Result<WrappedKey, Failure> {
    let path = path.display();
    let Some(secret) = key.secret.filter(|_| key.kind == Kind::Importable) else {
        return Err(Failure::general(
            format!("{path}: the key is in a TPM already"),
            "`ptool link` takes such a key into a token.",
        ));
    };
    let auth = match key.empty_auth {
        true => Secret::zeroed(0),
        false => pins::passphrase(&options.passphrase, &path.to_string(), around)?,
    };
    Ok(WrappedKey { public: key.public, private: key.private, secret, auth })
}

pub(super) fn check_algorithm(wanted: Option<ImportAlgorithm>, key: &PrivateKey) -> Result<(), Failure> {
    let found = match key {
        PrivateKey::Rsa { .. } => ImportAlgorithm::Rsa,
        PrivateKey::Ec { .. } => ImportAlgorithm::Ecc,
    };
    match wanted.is_none_or(|wanted| wanted == found) {
        true => Ok(()),
        false => Err(Failure::usage(
            "the file has a key of another algorithm",
            "Leave --algorithm out, and the file says it.",
        )),
    }
}

/// A certificate that is given with a key is about that key, or above one that is.
fn check_certificates(certificates: &[Certificate], key: &PrivateKey) -> Result<(), Failure> {
    let public = keyfile::PublicKey::of(key);
    match certificates.is_empty() || certificates.iter().any(|certificate| certificate.is_of(&public)) {
        true => Ok(()),
        false => Err(Failure::general(
            "no certificate is about this key",
            "Nothing was imported; give the key's certificate, or none.",
        )),
    }
}

pub(super) fn refused(error: Error, pin_name: &str) -> Failure {
    match error {
        Error::KeySizeRange => Failure::general(
            "the token takes no key of this length",
            "AES keys have 16, 24 or 32 bytes, HMAC keys 1 to 128.",
        ),
        Error::WrappedKeyInvalid => Failure::general(
            "the TPM does not take the key: it was wrapped for another TPM, or with another passphrase",
            "`ptool srk` on this machine prints the key to wrap it for.",
        ),
        error => Failure::with_pin(error, pin_name),
    }
}
