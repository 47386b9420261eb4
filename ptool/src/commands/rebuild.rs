//! `rebuild`: the public key of a private key whose public object was lost.

use serde::Serialize;

use super::{Context, find_token, key_user};
use crate::cli::Rebuild;
use crate::errors::Failure;
use crate::output;

#[derive(Serialize)]
struct Rebuilt {
    action: &'static str,
    id: i64,
    #[serde(rename = "CKA_ID")]
    cka_id: Option<String>,
    #[serde(rename = "CKA_LABEL")]
    label: Option<String>,
}

pub(super) fn public(context: &mut Context<'_>, options: &Rebuild) -> Result<(), Failure> {
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let made = admin
        .rebuild_public(&options.label.label, &pin, options.id)
        .map_err(|error| Failure::with_pin(error, pin_name))?;
    output::print(context.format, &Rebuilt { action: "rebuild", id: made.id, cka_id: made.cka_id, label: made.label })
}
