//! `migrate`: a store of tpm2-pkcs11 becomes one of ours.

use admin::{Admin, MigrateRequest};
use token::Error;

use super::Context;
use crate::cli::Migrate;
use crate::errors::{Failure, Status};
use crate::output;

pub(super) fn migrate(context: &Context<'_>, options: &Migrate) -> Result<(), Failure> {
    let request = MigrateRequest { from: options.from.clone(), dry_run: options.dry_run };
    let report = Admin::migrate(context.config.clone(), &request).map_err(|error| match error {
        Error::Store(what) => Failure::new(
            Status::Store,
            what,
            "--from names the directory of the store of tpm2-pkcs11, --path that of the store to fill.",
        ),
        error => error.into(),
    })?;
    output::print(context.format, &report)?;
    match report.left_behind() {
        0 => Ok(()),
        left => Err(Failure::general(
            format!("{left} of the tokens and objects cannot come over"),
            "The list says which and why. They stay where they are, and everything else comes over.",
        )),
    }
}
