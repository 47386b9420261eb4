//! `verify`: are the PINs right, and are the objects what the TPM made?

use std::collections::BTreeMap;

use admin::{TokenSummary, VerifyReport};
use base::Secret;
use serde::Serialize;

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
    // What protects the objects of a token without PIN needs none to be checked.
    let user_pin = user_pin.or_else(|| (!token.login_required).then(|| Secret::zeroed(0)));
    let check =
        |so_pin, user_pin, name| admin.verify(label, so_pin, user_pin).map_err(|error| Failure::with_pin(error, name));
    // One after the other, so that the wrong one of two is named.
    let report = match (&so_pin, &user_pin) {
        (Some(so), Some(user)) => {
            let VerifyReport { so_pin, .. } = check(Some(so), None, SO_PIN.name)?;
            VerifyReport { so_pin, ..check(None, Some(user), USER_PIN.name)? }
        }
        (Some(so), None) => check(Some(so), None, SO_PIN.name)?,
        (None, user) => check(None, user.as_ref(), USER_PIN.name)?,
    };
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
