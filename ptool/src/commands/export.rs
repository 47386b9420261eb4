//! `export`, `srk` and `wrap`: what leaves a token, or never was in one.

use std::path::{Path, PathBuf};

use admin::{Admin, ExportedKey, ForeignKey, ParentKey, TokenSummary, Which, wrap as wrap_for};
use base::Secret;
use base::curve::Curve;
use keyfile::tss2::{self, Kind, PolicyCommand, TssKey};
use keyfile::{Key, PublicKey, pem};
use serde::Serialize;

use super::files::{self, Readers};
use super::{Context, find_token, import, key_user, note_unused_auth};
use crate::cli::export::{Export, ExportFormat, Srk, SrkFormat, WhichObject, Wrap};
use crate::cli::import::{ImportAlgorithm, Passphrase};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins::{self, Given, Surroundings};

/// The PEM block with a TPM2B_PUBLIC, beside the one with the public key alone.
const TPM_PUBLIC: &str = "TPM2 PUBLIC";

/// What was written to a file.
#[derive(Serialize)]
struct Written {
    action: &'static str,
    file: String,
}

/// The same of a private or secret key: what tpm2_ptool prints, but for the secrets.
#[derive(Serialize)]
struct WrittenKey {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    /// Chosen by whoever exports the key, and so known to them.
    #[serde(rename = "object-auth")]
    object_auth: &'static str,
    #[serde(rename = "primary-object")]
    primary_object: Parent,
}

#[derive(Serialize)]
struct Parent {
    auth: &'static str,
    hierarchy: String,
    is_transient: bool,
}

pub(super) fn export(context: &mut Context<'_>, options: &Export) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let admin = context.admin()?;
    let (label, which) = object(&admin, &options.which)?;
    let token = find_token(&admin, &label)?;
    let classes = admin.classes_of(&label, &which)?;
    let (format, named) = resolved(options, &token, &classes);
    if matches!(format, ExportFormat::Tss2 | ExportFormat::Tpm2) {
        return export_wrapped(context, options, &admin, (&token, &which), (format, named));
    }
    let file = match (&options.out, &options.output_prefix) {
        (Some(file), _) => file.clone(),
        (None, None) if !named => PathBuf::from("-"),
        (None, _) => suffixed(&prefix(options)?, "pem"),
    };
    files::check_new(&file)?;
    let public = || -> Result<PublicKey, Failure> {
        let spki = admin.export_public(&label, &which)?;
        PublicKey::from_spki(&spki).map_err(|error| Failure::general(error.to_string(), ""))
    };
    let content = match format {
        ExportFormat::Cert => pem::encode("CERTIFICATE", &admin.export_certificate(&label, &which)?).into_bytes(),
        ExportFormat::Der if !has_key(&classes) => admin.export_certificate(&label, &which)?,
        ExportFormat::Der => public()?.spki(),
        ExportFormat::Ssh => {
            let comment = options.which.key_label.as_deref().unwrap_or_default();
            format!("{}\n", openssh(&public()?, comment)?).into_bytes()
        }
        _ => public()?.to_pem().into_bytes(),
    };
    deliver(context, "export", &file, &content, Readers::All)
}

/// What a format comes to for objects of these classes, and whether the file is named after the key then, as it is with tpm2_ptool. That
/// one exports the private half of a pair, and cannot without a PIN: without one, the public half is meant here.
fn resolved(options: &Export, token: &TokenSummary, classes: &[String]) -> (ExportFormat, bool) {
    let has = |class: &str| classes.iter().any(|other| other == class);
    let (private, secret) = (has("CKO_PRIVATE_KEY"), has("CKO_SECRET_KEY"));
    let asked = Given::from(&options.user).is_some()
        || Given::from(&options.so).is_some()
        || options.passout.is_some()
        || options.passphrase_file.is_some()
        || options.no_passphrase
        || options.which.id.is_some()
        || !token.login_required;
    let wrapped = (private && asked) || (secret && !private && !has("CKO_PUBLIC_KEY"));
    let format = match options.format {
        ExportFormat::Auto if wrapped && !private => ExportFormat::Tpm2,
        ExportFormat::Auto | ExportFormat::Pem if wrapped => ExportFormat::Tss2,
        ExportFormat::Auto | ExportFormat::Pem | ExportFormat::Tpm2 if !private && !secret => match has_key(classes) {
            true => ExportFormat::Public,
            false => ExportFormat::Cert,
        },
        ExportFormat::Auto | ExportFormat::Pem => ExportFormat::Public,
        format => format,
    };
    let theirs = matches!(options.format, ExportFormat::Auto | ExportFormat::Pem | ExportFormat::Tpm2);
    let kept = matches!(format, ExportFormat::Tss2 | ExportFormat::Tpm2) || options.which.id.is_some();
    (format, theirs && kept)
}

fn has_key(classes: &[String]) -> bool {
    classes.iter().any(|class| matches!(class.as_str(), "CKO_PUBLIC_KEY" | "CKO_PRIVATE_KEY"))
}

/// What the names of files begin with: as the option says, or as the object was named.
fn prefix(options: &Export) -> Result<String, Failure> {
    let which = &options.which;
    let name = match (&options.output_prefix, which.id, &which.key_label, &which.key_id) {
        (Some(prefix), ..) => return Ok(prefix.clone()),
        (None, Some(id), ..) => id.to_string(),
        (None, None, Some(label), _) => label.clone(),
        (None, None, None, Some(id)) => id.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        (None, None, None, None) => String::new(),
    };
    match name.contains('/') {
        true => Err(Failure::usage(
            format!("{name:?} is not the name of a file"),
            "Give one with --out or --output-prefix.",
        )),
        false => Ok(name),
    }
}

fn suffixed(prefix: &str, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{prefix}.{suffix}"))
}

/// A private or secret key, as the TPM wrapped it: one file, or two blobs and a reference to their parent.
fn export_wrapped(
    context: &mut Context<'_>,
    options: &Export,
    admin: &Admin,
    (token, which): (&TokenSummary, &Which),
    (format, named): (ExportFormat, bool),
) -> Result<(), Failure> {
    let paths: Vec<PathBuf> = match (format, &options.out) {
        (ExportFormat::Tpm2, Some(_)) => {
            return Err(Failure::usage(
                "the blobs of a key are several files",
                "Give --output-prefix in the place of --out; --format=tss2 writes one file.",
            ));
        }
        (ExportFormat::Tpm2, None) => {
            let prefix = prefix(options)?;
            ["priv", "pub", "tr"].map(|suffix| suffixed(&prefix, suffix)).into()
        }
        (_, Some(file)) => vec![file.clone()],
        (_, None) if named || options.output_prefix.is_some() => vec![suffixed(&prefix(options)?, "pem")],
        (_, None) => vec![PathBuf::from("-")],
    };
    paths.iter().try_for_each(|path| files::check_new(path))?;
    let (pin, pin_name) = key_user(context, token, &options.user, &options.so)?;
    let auth = new_auth(context.around, options)?;
    let key =
        admin.export_wrapped(&token.label, &pin, which, &auth).map_err(|error| Failure::with_pin(error, pin_name))?;
    let is_transient = key.reference.is_none();
    let contents = match format {
        ExportFormat::Tpm2 => [Some(key.private), Some(key.public), key.reference].into_iter().flatten().collect(),
        _ => vec![key_file(key, auth.is_empty()).into_bytes()],
    };
    let mut files = Vec::new();
    for (path, content) in paths.iter().zip(&contents) {
        files::write(path, content, Readers::Owner)?;
        files.push(path.display().to_string());
    }
    let file = files.pop_if(|_| format == ExportFormat::Tss2);
    if file.as_deref() == Some("-") {
        return Ok(());
    }
    // Every primary of a store is in the owner hierarchy.
    let primary_object = Parent { auth: "", hierarchy: tss2::OWNER.to_string(), is_transient };
    output::print(context.format, &WrittenKey { action: "export", file, files, object_auth: "", primary_object })
}

fn key_file(key: ExportedKey, empty_auth: bool) -> String {
    TssKey {
        kind: Kind::Loadable,
        empty_auth,
        policy: key.policy.into_iter().map(|(code, parameters)| PolicyCommand { code, parameters }).collect(),
        auth_policies: Vec::new(),
        secret: None,
        // Readers of the first versions of the format know no such field.
        description: None,
        rsa_parent: key.rsa_parent,
        parent: key.parent,
        public: key.public,
        private: key.private,
    }
    .to_pem()
}

/// The key as a line of `authorized_keys`.
pub(super) fn openssh(key: &PublicKey, comment: &str) -> Result<String, Failure> {
    match key {
        PublicKey::Ec(point) if point.curve() == Curve::P224 => Err(Failure::general(
            "OpenSSH has no type for keys on P-224",
            "It knows P-256, P-384 and P-521, and RSA; --format=public writes this key for other programs.",
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
    let secret = || import::secret(&options.key, &file, options.raw);
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
