//! `export`, `srk` and `wrap`: what leaves a token, or never was in one.

use std::path::{Path, PathBuf};

use base::Secret;
use base::curve::Curve;
use keyfile::tss2::{Kind, PolicyCommand, TssKey};
use keyfile::{Key, PublicKey, pem};
use serde::Serialize;
use token::admin::{Admin, ForeignKey, ParentKey, Which, wrap as wrap_for};

use super::files::{self, Readers};
use super::{Context, find_token, import, key_user, note_unused_auth};
use crate::cli::export::{Export, ExportFormat, Srk, SrkFormat, WhichObject, Wrap};
use crate::cli::import::{ImportAlgorithm, Passphrase};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins::{self, Surroundings};

/// The PEM block with a TPM2B_PUBLIC, beside the one with the public key alone.
const TPM_PUBLIC: &str = "TPM2 PUBLIC";

/// What was written to a file.
#[derive(Serialize)]
struct Written {
    action: &'static str,
    file: String,
}

pub(super) fn export(context: &mut Context<'_>, options: &Export) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let admin = context.admin()?;
    let (label, which) = object(&admin, &options.which)?;
    let token = find_token(&admin, &label)?;
    let class = admin.class_of(&label, &which)?;
    let format = match (options.format, class.as_str()) {
        (ExportFormat::Auto, "CKO_PRIVATE_KEY") if options.which.id.is_some() => ExportFormat::Tss2,
        (ExportFormat::Auto | ExportFormat::Pem, "CKO_CERTIFICATE") => ExportFormat::Cert,
        (ExportFormat::Auto, _) => ExportFormat::Pem,
        (format, _) => format,
    };
    let file = match (&options.out, &options.output_prefix) {
        (Some(file), _) => file.clone(),
        (None, Some(prefix)) => PathBuf::from(format!("{prefix}.pem")),
        (None, None) => PathBuf::from("-"),
    };
    files::check_new(&file)?;
    let public = || -> Result<PublicKey, Failure> {
        let spki = admin.export_public(&label, &which)?;
        PublicKey::from_spki(&spki).map_err(|error| Failure::general(error.to_string(), ""))
    };
    let (content, readers) = match format {
        ExportFormat::Auto | ExportFormat::Pem => (public()?.to_pem().into_bytes(), Readers::All),
        ExportFormat::Der if class == "CKO_CERTIFICATE" => (admin.export_certificate(&label, &which)?, Readers::All),
        ExportFormat::Der => (public()?.spki(), Readers::All),
        ExportFormat::Ssh => {
            let comment = options.which.key_label.as_deref().unwrap_or_default();
            (format!("{}\n", openssh(&public()?, comment)?).into_bytes(), Readers::All)
        }
        ExportFormat::Cert => {
            let der = admin.export_certificate(&label, &which)?;
            (pem::encode("CERTIFICATE", &der).into_bytes(), Readers::All)
        }
        ExportFormat::Tss2 => {
            let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
            let auth = new_auth(context.around, options)?;
            let key = admin
                .export_wrapped(&label, &pin, &which, &auth)
                .map_err(|error| Failure::with_pin(error, pin_name))?;
            let key = TssKey {
                kind: Kind::Loadable,
                empty_auth: auth.is_empty(),
                policy: key.policy.into_iter().map(|(code, parameters)| PolicyCommand { code, parameters }).collect(),
                auth_policies: Vec::new(),
                secret: None,
                // Readers of the first versions of the format know no such field.
                description: None,
                rsa_parent: key.rsa_parent,
                parent: key.parent,
                public: key.public,
                private: key.private,
            };
            (key.to_pem().into_bytes(), Readers::Owner)
        }
    };
    deliver(context, "export", &file, &content, readers)
}

/// The key as a line of `authorized_keys`.
pub(super) fn openssh(key: &PublicKey, comment: &str) -> Result<String, Failure> {
    match key {
        PublicKey::Ec(point) if point.curve() == Curve::P224 => Err(Failure::general(
            "OpenSSH has no type for keys on P-224",
            "It knows P-256, P-384 and P-521, and RSA; --format=pem writes this key for other programs.",
        )),
        key => Ok(key.to_openssh(comment)),
    }
}

/// Writes a file and says so, or standard output and nothing else.
fn deliver(
    context: &Context<'_>,
    action: &'static str,
    file: &Path,
    content: &[u8],
    readers: Readers,
) -> Result<(), Failure> {
    files::write(file, content, readers)?;
    match file == Path::new("-") {
        true => Ok(()),
        false => output::print(context.format, &Written { action, file: file.display().to_string() }),
    }
}

/// The token and the object that the options name.
pub(super) fn object(admin: &Admin, options: &WhichObject) -> Result<(String, Which), Failure> {
    let which = match (options.id, &options.key_label, &options.key_id) {
        (Some(number), _, _) => Which::Number(number),
        (None, Some(label), _) => Which::Label(label.clone()),
        (None, None, Some(id)) => Which::Id(id.0.clone()),
        (None, None, None) => {
            return Err(Failure::usage(
                "no object was named",
                "Give --id, as `ptool listobjects` numbers them, or --key-label or --key-id.",
            ));
        }
    };
    match (&options.label, &which) {
        (Some(label), _) => Ok((label.clone(), which)),
        (None, Which::Number(number)) => Ok((admin.token_of(*number)?.label, which)),
        (None, _) => Err(Failure::usage("no token was named", "Give --label; only --id does without.")),
    }
}

/// The authorisation value of the exported key, of the user's choice: other software asks for it as the key's passphrase.
fn new_auth(around: &mut dyn Surroundings, options: &Export) -> Result<Secret, Failure> {
    if options.no_passphrase {
        return Ok(Secret::zeroed(0));
    }
    let passphrase = Passphrase { passin: options.passout.clone(), passphrase_file: options.passphrase_file.clone() };
    let auth = pins::new_passphrase(&passphrase, around)?;
    check_auth(auth)
}

/// A TPM takes no longer authorisation values.
fn check_auth(auth: Secret) -> Result<Secret, Failure> {
    match auth.len() > 32 || auth.expose().last() == Some(&0) {
        true => Err(Failure::usage(
            "the passphrase is too long for the authorization of a key",
            "A TPM takes at most 32 bytes; nothing was exported.",
        )),
        false => Ok(auth),
    }
}

pub(super) fn srk(context: &Context<'_>, options: &Srk) -> Result<(), Failure> {
    let file = options.out.clone().unwrap_or_else(|| PathBuf::from("-"));
    files::check_new(&file)?;
    let key = context.admin()?.storage_key(options.pid)?;
    let content = match options.format {
        SrkFormat::Tpm2b => key.public,
        SrkFormat::Pem => (pem::encode("PUBLIC KEY", &key.spki) + &pem::encode(TPM_PUBLIC, &key.public)).into_bytes(),
    };
    deliver(context, "export", &file, &content, Readers::All)
}

/// A key to wrap others for: as `ptool srk` writes it, or a public key alone.
pub(super) fn parent_key(path: &Path) -> Result<ParentKey, Failure> {
    let file = files::read(path)?;
    let bytes = file.expose();
    let blocks = pem::blocks(bytes).map_err(|error| files::unreadable(path, &error))?;
    if let Some(block) = blocks.iter().find(|block| block.label == TPM_PUBLIC) {
        return Ok(ParentKey::Tpm(block.content.expose().to_vec()));
    }
    let is_tpm2b =
        bytes.split_first_chunk().is_some_and(|(len, rest)| usize::from(u16::from_be_bytes(*len)) == rest.len());
    if is_tpm2b {
        return Ok(ParentKey::Tpm(bytes.to_vec()));
    }
    match keyfile::read_public(&file).map_err(|error| files::unreadable(path, &error))? {
        PublicKey::Rsa(key) => Ok(ParentKey::Rsa(key)),
        PublicKey::Ec(key) => Ok(ParentKey::Ec(key)),
    }
}

pub(super) fn wrap(context: &mut Context<'_>, options: &Wrap) -> Result<(), Failure> {
    files::check_new(&options.out)?;
    let parent = parent_key(&options.srk)?;
    let file = files::read(&options.key)?;
    let secret = || keyfile::read_secret(&file).map_err(|error| files::unreadable(&options.key, &error));
    let mut name = None;
    let key = match options.algorithm {
        Some(ImportAlgorithm::Aes) => ForeignKey::Aes(secret()?),
        Some(ImportAlgorithm::Hmac(None)) => ForeignKey::Hmac(secret()?),
        Some(ImportAlgorithm::Hmac(Some(_))) => {
            return Err(Failure::usage(
                "a wrapped key serves with every hash",
                "Say --algorithm hmac; only `ptool import` of the key in clear, and `ptool addkey`, make one for a single hash.",
            ));
        }
        Some(ImportAlgorithm::Rsa | ImportAlgorithm::Ecc) | None => {
            let found = import::read_key(context.around, &options.key, &options.passphrase, &file)?;
            if !found.certificates.is_empty() {
                note("certificates are not wrapped: `ptool import --cert` takes them over there");
            }
            name = found.name;
            match found.key {
                Some(Key::Private(key)) => {
                    import::check_algorithm(options.algorithm, &key)?;
                    ForeignKey::Private(key)
                }
                _ => {
                    return Err(Failure::general(
                        "the key is in a TPM, or wrapped for one",
                        "Name the file of a key in clear.",
                    ));
                }
            }
        }
    };
    let passphrase = Passphrase { passin: options.passout.clone(), passphrase_file: None };
    let auth = match options.passout {
        Some(_) => check_auth(pins::new_passphrase(&passphrase, context.around)?)?,
        None => Secret::zeroed(0),
    };
    let wrapped = wrap_for(&parent, &key, &auth).map_err(|error| import::refused(error, ""))?;
    let key = TssKey {
        kind: Kind::Importable,
        empty_auth: auth.is_empty(),
        policy: Vec::new(),
        auth_policies: Vec::new(),
        secret: Some(wrapped.secret),
        description: name,
        rsa_parent: false,
        parent: options.parent,
        public: wrapped.public,
        private: wrapped.private,
    };
    deliver(context, "wrap", &options.out, key.to_pem().as_bytes(), Readers::Owner)
}
