//! `backup` and `restore`.

use admin::{RestoreRequest, WrappedKey};
use keyfile::tss2::{self, Kind, TssKey};
use keyfile::{Key, pem};
use serde::Serialize;
use token::Error;

use super::export::object;
use super::files::{self, Readers};
use super::import::{Arrived, read_key};
use super::{Context, find_token, key_user};
use crate::cli::export::{Backup, Restore};
use crate::errors::Failure;
use crate::output;

/// The PEM block with what is not the key itself.
const ABOUT: &str = "TPM2 CRYPTOKI BACKUP";

#[derive(Serialize)]
struct BackedUp {
    #[serde(rename = "CKA_ID")]
    cka_id: Option<String>,
    action: &'static str,
    file: String,
    id: i64,
    key: Option<String>,
}

pub(super) fn backup(context: &mut Context<'_>, options: &Backup) -> Result<(), Failure> {
    files::check_new(&options.out)?;
    let admin = context.admin()?;
    let (label, which) = object(&admin, &options.which)?;
    let token = find_token(&admin, &label)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let backup = admin.backup(&label, &pin, &which).map_err(|error| Failure::with_pin(error, pin_name))?;
    let key = TssKey {
        kind: Kind::Importable,
        empty_auth: false,
        policy: Vec::new(),
        auth_policies: Vec::new(),
        secret: Some(backup.key.secret),
        description: backup.of.label.clone(),
        rsa_parent: false,
        parent: tss2::OWNER,
        public: backup.key.public,
        private: backup.key.private,
    };
    let content = key.to_pem() + &pem::encode(ABOUT, &backup.about);
    files::write(&options.out, content.as_bytes(), Readers::Owner)?;
    let file = options.out.display().to_string();
    let of = backup.of;
    let result = BackedUp { cka_id: of.cka_id, action: "backup", file, id: of.id, key: of.label };
    output::print(context.format, &result)
}

pub(super) fn restore(context: &mut Context<'_>, options: &Restore) -> Result<(), Failure> {
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let file = files::read(&options.file)?;
    let blocks = pem::blocks(file.expose()).map_err(|error| files::unreadable(&options.file, &error))?;
    let content = |label| blocks.iter().find(|block| block.label == label).map(|block| &block.content);
    let no_backup = || {
        Failure::general(
            format!("{} is no backup", options.file.display()),
            "`ptool backup` writes such files, for keys that were made with --backup.",
        )
    };
    let (key, about) = content(tss2::LABEL).zip(content(ABOUT)).ok_or_else(no_backup)?;
    let key = TssKey::from_der(key.expose()).map_err(|error| files::unreadable(&options.file, &error))?;
    let secret = key.secret.ok_or_else(no_backup)?;
    let recovery = match &options.recovery_key {
        None => None,
        Some(path) => match read_key(context.around, path, &options.passphrase, &files::read(path)?)?.key {
            Some(Key::Private(key)) => Some(key),
            _ => return Err(files::unreadable(path, &keyfile::Error::Unknown)),
        },
    };
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let request = RestoreRequest {
        label: options.label.label.clone(),
        pin,
        key: WrappedKey { public: key.public, private: key.private, secret, auth: base::Secret::zeroed(0) },
        about: about.expose().to_vec(),
        recovery,
        key_label: options.key_label.clone(),
        id: options.id.clone().map(|id| id.0),
    };
    let restored = admin.restore(&request).map_err(|error| match error {
        Error::ArgumentsBad(what) if !what.contains("; ") => Failure::general(
            what,
            "Nothing was restored; the backup and the recovery key must be those that `addkey --backup` and `backup` had.",
        ),
        error => Failure::with_pin(error, pin_name),
    })?;
    output::print(context.format, &Arrived::new("restore", restored))
}
