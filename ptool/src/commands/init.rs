//! `init`: the store and its primary key.

use std::path::Path;

use admin::{Admin, InitRequest, PrimaryTemplate, handle_of_reference};
use serde::Serialize;
use token::Error;

use super::Context;
use crate::cli::{HandleOrFile, Init, ParentTemplate};
use crate::errors::{self, Failure, Status};
use crate::output::{self, note};
use crate::pins;
use crate::progress::Progress;

/// As tpm2_ptool prints it, and where the key is.
#[derive(Serialize)]
struct Initialized {
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    id: i64,
}

pub(super) fn init(context: &mut Context<'_>, options: &Init) -> Result<(), Failure> {
    let owner_auth = pins::authorization(pins::OWNER_AUTH, options.hierarchy_auth.as_ref(), context.around)?;
    let primary_auth = pins::authorization(pins::PRIMARY_AUTH, options.primary_auth.as_ref(), context.around)?;
    let handle = match &options.primary_handle {
        None => None,
        Some(HandleOrFile::Handle(handle)) => Some(*handle),
        Some(HandleOrFile::File(path)) => Some(handle_in(path)?),
    };
    let request = InitRequest { owner_auth, primary_auth, handle, transient: options.transient_parent.map(template) };
    let slow = matches!(request.transient, Some(PrimaryTemplate::Rsa));
    let progress = slow.then(|| Progress::start("the TPM is making an RSA key; this can take a minute"));
    let primary = Admin::init(context.config.clone(), &request);
    drop(progress);
    let primary = primary.map_err(|error| match (errors::of_an_argument(&error), &error) {
        (Some(what), _) => Failure::new(
            Status::Tpm,
            what,
            "--primary-auth gives the authorization of the key there; --primary-handle names another place.",
        ),
        (None, Error::HierarchyAuth(what)) => Failure::new(
            Status::Tpm,
            what,
            "--hierarchy-auth gives the authorization of the owner hierarchy, --primary-auth that of a primary key.",
        ),
        (None, _) => error.into(),
    })?;
    if primary.handle.is_none() && request.transient.is_none() {
        note("the TPM keeps no key for its owner: the primary key is made again at each use, which takes time");
    }
    let result = Initialized {
        action: format!("{:?}", primary.action),
        handle: primary.handle.map(|handle| format!("{handle:#010x}")),
        id: primary.id,
    };
    output::print(context.format, &result)
}

/// The handle in a file of tpm2-tools.
fn handle_in(path: &Path) -> Result<u32, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        let what =
            format!("--primary-handle is neither a handle such as 0x81000001 nor a file: {}: {error}", path.display());
        Failure::usage(what, "Give a persistent handle, or a file that `tpm2_evictcontrol -o` wrote.")
    })?;
    Ok(handle_of_reference(&bytes)?)
}

fn template(template: ParentTemplate) -> PrimaryTemplate {
    match template {
        ParentTemplate::Srk => PrimaryTemplate::Srk,
        ParentTemplate::Tss2EngineKey => PrimaryTemplate::Engine,
        ParentTemplate::Tpm2ToolsDefault => PrimaryTemplate::Rsa,
        ParentTemplate::Tpm2ToolsEccDefault => PrimaryTemplate::Ecc,
    }
}
