//! `persist` and `unpersist`.

use admin::Resident;
use serde::Serialize;
use token::Error;

use super::export::object;
use super::{Context, find_token, key_user};
use crate::cli::residence::Residence;
use crate::errors::Failure;
use crate::output;
use crate::pins;

#[derive(Serialize)]
struct Moved {
    action: &'static str,
    handle: String,
    id: i64,
    key: Option<String>,
}

impl Moved {
    fn new(action: &'static str, resident: Resident) -> Moved {
        let Resident { key, handle } = resident;
        Moved { action, handle: format!("{handle:#010x}"), id: key.id, key: key.label }
    }
}

/// Two things may have been wrong.
pub(super) fn refused(error: Error, pin_name: &str) -> Failure {
    match error {
        Error::HierarchyAuth(_) => Failure::with_owner_auth(error),
        error => Failure::with_pin(error, pin_name),
    }
}

pub(super) fn persist(context: &mut Context<'_>, options: &Residence) -> Result<(), Failure> {
    let admin = context.admin()?;
    let (label, which) = object(&admin, &options.which)?;
    let token = find_token(&admin, &label)?;
    let owner_auth = pins::authorization(pins::OWNER_AUTH, options.owner.hierarchy_auth.as_ref(), context.around)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let resident = admin.persist(&label, &pin, &which, &owner_auth);
    let resident = resident.map_err(|error| refused(error, pin_name))?;
    output::print(context.format, &Moved::new("persist", resident))
}

pub(super) fn unpersist(context: &mut Context<'_>, options: &Residence) -> Result<(), Failure> {
    let admin = context.admin()?;
    let (label, which) = object(&admin, &options.which)?;
    let token = find_token(&admin, &label)?;
    let owner_auth = pins::authorization(pins::OWNER_AUTH, options.owner.hierarchy_auth.as_ref(), context.around)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let resident = admin.unpersist(&label, &pin, &which, &owner_auth);
    let resident = resident.map_err(|error| refused(error, pin_name))?;
    output::print(context.format, &Moved::new("unpersist", resident))
}
