//! `link`.

use std::path::{Path, PathBuf};

use admin::{KeyFilePolicy, LinkRequest, TpmObject, handle_of_reference};
use keyfile::Key;
use keyfile::tss2::{Kind, PolicyCommand};
use token::Error;

use super::import::Arrived;
use super::{Context, files, find_token, key_user, note_unused_auth};
use crate::cli::export::Link;
use crate::errors::Failure;
use crate::output;
use crate::pins;

pub(super) fn link(context: &mut Context<'_>, options: &Link) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let Found { key, name, needs_auth, policy } = tpm_object(&options.key, options.parent)?;
    let auth = pins::authorization(pins::KEY_AUTH, options.auth.as_ref(), context.around)?;
    if needs_auth && options.auth.is_none() {
        return Err(Failure::usage(
            "the key has an authorization value, says its file",
            "Give it with --auth: text, hex:..., file:PATH or `-`; some writers of such files err, and --auth '' says that there is none.",
        ));
    }
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let request = LinkRequest {
        label: options.label.label.clone(),
        pin,
        key,
        auth,
        policy,
        key_label: options.names.key_label.clone().or(name),
        id: options.names.id.clone().map(|id| id.0),
        always_authenticate: options.names.attr_always_authenticate,
    };
    let linked = admin.link(&request).map_err(|error| match error {
        Error::WrappedKeyInvalid => Failure::general(
            "no parent in this TPM loads the key",
            "Keys can be linked in the TPM that made them only; --parent names the parent of two blobs.",
        ),
        error => Failure::with_pin(error, pin_name),
    })?;
    output::print(context.format, &Arrived::new("link", linked))
}

/// A key of the TPM, as it was named or as its file has it.
struct Found {
    key: TpmObject,
    /// What its file calls it.
    name: Option<String>,
    /// Its file says that it has an authorisation value.
    needs_auth: bool,
    policy: KeyFilePolicy,
}

impl Found {
    fn new(key: TpmObject) -> Self {
        Self { key, name: None, needs_auth: false, policy: KeyFilePolicy::default() }
    }
}

fn tpm_object(key: &[PathBuf], parent: Option<u32>) -> Result<Found, Failure> {
    if let [public, private] = key {
        let [public, private] = [public, private].map(|path| files::read(path).map(|blob| blob.expose().to_vec()));
        return Ok(Found::new(TpmObject::Blob { public: tpm2b(public?), private: private?, parent }));
    }
    let path = key.first().map(PathBuf::as_path).unwrap_or(Path::new("-"));
    if let Some(handle) = handle(path) {
        return Ok(Found::new(TpmObject::Persistent(handle)));
    }
    let file = files::read(path)?;
    if let Ok(handle) = handle_of_reference(file.expose()) {
        return Ok(Found::new(TpmObject::Persistent(handle)));
    }
    let read = keyfile::read(&file, None).map_err(|error| files::unreadable(path, &error))?;
    let Some(Key::Tss2(key)) = read.key else {
        return Err(Failure::general(
            format!("{}: the key is in clear, and in no TPM", path.display()),
            "`ptool import` takes such a key into the TPM.",
        ));
    };
    let refused = |what: &str, advice: &str| Failure::general(format!("{}: {what}", path.display()), advice);
    match key.kind {
        Kind::Loadable => {
            let policy = KeyFilePolicy {
                commands: plain(key.policy),
                approvals: key.auth_policies.into_iter().map(plain).collect(),
            };
            let parent = Some(parent.unwrap_or(key.parent));
            Ok(Found {
                key: TpmObject::Blob { public: key.public, private: key.private, parent },
                name: key.description,
                needs_auth: !key.empty_auth,
                policy,
            })
        }
        Kind::Importable => {
            Err(refused("the key is wrapped for a TPM", "`ptool import` takes such a key into that TPM."))
        }
        Kind::Sealed => Err(refused("the file has sealed data, and no key", "Name the file of a key.")),
    }
}

fn plain(commands: Vec<PolicyCommand>) -> Vec<(u32, Vec<u8>)> {
    commands.into_iter().map(|command| (command.code, command.parameters)).collect()
}

/// tpm2-tools write a public area with its size before it; some of their options leave that out.
fn tpm2b(public: Vec<u8>) -> Vec<u8> {
    let sized =
        public.split_first_chunk().is_some_and(|(len, rest)| usize::from(u16::from_be_bytes(*len)) == rest.len());
    match (sized, u16::try_from(public.len())) {
        (false, Ok(len)) => [&len.to_be_bytes()[..], &public].concat(),
        _ => public,
    }
}

/// A persistent handle, if it is one and no name of a file.
fn handle(path: &Path) -> Option<u32> {
    let digits = path.to_str()?.strip_prefix("0x")?;
    u32::from_str_radix(digits, 16).ok().filter(|handle| handle >> 24 == 0x81)
}
