//! `rmtoken` and `objdel`: neither asks, as tpm2_ptool does not; both say what is gone.

use serde::Serialize;

use super::{Context, find_token};
use crate::cli::RemoveObject;
use crate::errors::Failure;
use crate::output;

#[derive(Serialize)]
struct RemovedToken {
    action: &'static str,
    id: i64,
    keys: usize,
    label: String,
    serial: String,
}

#[derive(Serialize)]
struct RemovedObjects {
    action: &'static str,
    ids: Vec<i64>,
}

pub(super) fn token(context: &Context<'_>, label: &str) -> Result<(), Failure> {
    let admin = context.admin()?;
    find_token(&admin, label)?;
    let token = admin.remove_token(label)?;
    let result =
        RemovedToken { action: "remove", id: token.id, keys: token.keys, label: token.label, serial: token.serial };
    output::print(context.format, &result)
}

pub(super) fn object(context: &Context<'_>, options: &RemoveObject) -> Result<(), Failure> {
    let Some(id) = options.id.or(options.id_option) else {
        return Err(Failure::usage("no object was named", "Give its number, as `ptool listobjects` shows it."));
    };
    let ids = context.admin()?.remove_object(id)?;
    output::print(context.format, &RemovedObjects { action: "remove", ids })
}
