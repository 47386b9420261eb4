//! `init`: the store and its primary key.

use serde::Serialize;
use token::admin::{Admin, InitRequest};

use super::Context;
use crate::cli::Init;
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins;

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
    let request = InitRequest {
        owner_auth,
        primary_auth,
        handle: options.primary_handle,
        transient: options.transient_parent.is_some(),
    };
    let primary = Admin::init(context.config.clone(), &request)?;
    if primary.handle.is_none() && !request.transient {
        note("the TPM keeps no key for its owner: the primary key is made again at each use, which takes time");
    }
    let result = Initialized {
        action: format!("{:?}", primary.action),
        handle: primary.handle.map(|handle| format!("{handle:#010x}")),
        id: primary.id,
    };
    output::print(context.format, &result)
}
