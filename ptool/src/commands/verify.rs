//! `verify`: are the PINs right, and are the objects what the TPM made?

use std::collections::BTreeMap;

use base::Secret;
use serde::Serialize;
use token::admin::{TokenSummary, VerifyReport};

use super::{Context, find_token, note_unused_auth, settings};
use crate::cli::Verify;
use crate::errors::{Failure, Status};
use crate::output;
use crate::pins::{self, Given, SO_PIN, USER_PIN};

/// As tpm2_ptool has it, but for the secrets, and with what was found out.
#[derive(Serialize)]
struct Verified<'a> {
    config: BTreeMap<&'static str, bool>,
    pin: BTreeMap<&'static str, bool>,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

impl<'a> Verified<'a> {
    fn new(report: &'a VerifyReport, token: &TokenSummary) -> Verified<'a> {
        let pins = [("so", report.so_pin), ("user", report.user_pin)];
        Verified {
            config: settings::of(token),
            pin: pins.into_iter().filter_map(|(user, right)| Some((user, right?))).collect(),
            report,
        }
    }
}

/// Without any PIN, what can be checked without one is; so this never asks, and suits a monitoring job.
pub(super) fn verify(context: &mut Context<'_>, options: &Verify) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let label = &options.label.label;
    let admin = context.admin()?;
    let token = find_token(&admin, label)?;
    let so_pin = pins::provided(SO_PIN, Given::from(&options.so), context.around)?;
    let user_pin = pins::provided(USER_PIN, Given::from(&options.user), context.around)?;
    let tried = match (&so_pin, &user_pin) {
        (Some(_), Some(_)) => "security officer PIN or the user PIN",
        (Some(_), None) => SO_PIN.name,
        (None, _) => USER_PIN.name,
    };
    // What protects the objects of a token without PIN needs none to be checked.
    let user_pin = user_pin.or_else(|| (!token.login_required).then(|| Secret::zeroed(0)));
    let report =
        admin.verify(label, so_pin.as_ref(), user_pin.as_ref()).map_err(|error| Failure::with_pin(error, tried))?;
    let result = Verified::new(&report, &token);
    output::print(context.format, &result)?;
    match report.altered.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Status::Store,
            format!("the objects {:?} were altered in the store", report.altered),
            "The module does not serve them: restore the store from a copy, or remove them with `ptool objdel`.",
        )),
    }
}
