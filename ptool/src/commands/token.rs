//! `addtoken`, `initpin` and `changepin`.

use admin::TokenSummary;
use base::Secret;
use model::UserType;
use serde::Serialize;

use super::{Context, find_token, note_unused_auth, pcr};
use crate::cli::{AddToken, ChangePin, Hidden, InitPin, Who};
use crate::errors::{Failure, Status};
use crate::output::{self, note};
use crate::pins::{self, Given, SO_PIN, USER_PIN};

/// What tells the new token from others, to people and to PKCS#11 URIs.
#[derive(Serialize)]
struct Added {
    id: i64,
    label: String,
    serial: String,
    slot: u64,
}

/// What a PIN was set for.
#[derive(Serialize)]
struct PinSet<'a> {
    action: &'static str,
    label: &'a str,
    user: &'static str,
}

pub(super) fn add(context: &mut Context<'_>, options: &AddToken) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    if options.label.label.is_empty() {
        return Err(Failure::usage("the label is empty", "Programs find a token by its label; give it one."));
    }
    let admin = context.admin()?;
    if admin.tokens(None)?.iter().any(|token| token.label == options.label.label) {
        return Err(Failure::general(
            format!("there is a token with the label {:?} already", options.label.label),
            "Choose another label, or remove that token with `ptool rmtoken`.",
        ));
    }
    let policy = pcr::binding(context, &options.binding, true)?;
    let so_pin = pins::chosen(SO_PIN, Given::from(&options.so), context.around)?;
    let user_pin = match options.no_userpin {
        true => None,
        false => Some(pins::chosen(USER_PIN, Given::from(&options.user), context.around)?),
    };
    let without_pin = user_pin.as_ref().is_some_and(|pin| pin.is_empty());
    let user_pin = user_pin.filter(|pin| !pin.is_empty());
    let token =
        admin.add_bound_token(options.pid, &options.label.label, &so_pin, user_pin.as_ref(), policy.as_ref())?;
    if without_pin {
        note(
            "the user PIN is empty: whoever can read the store and use the TPM can use the keys (--no-userpin says so too)",
        );
    }
    output::print(context.format, &Added::from(token))
}

impl From<TokenSummary> for Added {
    fn from(token: TokenSummary) -> Added {
        Added { id: token.id, label: token.label, serial: token.serial, slot: token.slot }
    }
}

pub(super) fn init_pin(context: &mut Context<'_>, options: &InitPin) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let label = &options.label.label;
    let admin = context.admin()?;
    find_token(&admin, label)?;
    let so_pin = pins::current(SO_PIN, Given::from(&options.so), context.around)?;
    let user_pin = stays_a_pin(pins::chosen(USER_PIN, Given::from(&options.user), context.around)?)?;
    admin.init_pin(label, &so_pin, &user_pin).map_err(|error| Failure::with_pin(error, SO_PIN.name))?;
    output::print(context.format, &PinSet { action: "set", label, user: "user" })
}

pub(super) fn change_pin(context: &mut Context<'_>, options: &ChangePin) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let label = &options.label.label;
    let admin = context.admin()?;
    let token = find_token(&admin, label)?;
    let (user, name) = match options.user {
        Who::So => (UserType::So, "so"),
        Who::User => (UserType::User, "user"),
    };
    let old_subject = pins::old_pin(options.user);
    let given = Given { argument: options.old.as_ref(), file: options.old_file.as_deref() };
    let old = match options.user == Who::User && !token.login_required {
        true => no_pin(given)?,
        false => pins::current(old_subject, given, context.around)?,
    };
    let given = Given { argument: options.new.as_ref(), file: options.new_file.as_deref() };
    let new = pins::chosen(pins::new_pin(options.user), given, context.around)?;
    let new = if options.user == Who::User { stays_a_pin(new)? } else { new };
    admin.change_pin(label, user, &old, &new).map_err(|error| Failure::with_pin(error, old_subject.name))?;
    output::print(context.format, &PinSet { action: "change", label, user: name })
}

/// The user PIN of a token that has none, as the command line says it.
fn no_pin(given: Given<'_>) -> Result<Secret, Failure> {
    let is_empty = given.argument.is_none_or(|Hidden(pin)| pin.is_empty()) && given.file.is_none();
    match is_empty {
        true => Ok(Secret::zeroed(0)),
        false => Err(Failure::new(Status::Pin, "the token has no user PIN", "Leave --old out; --new gives it one.")),
    }
}

/// tpm2_ptool takes an empty PIN for the wish that the token have none.
fn stays_a_pin(new: Secret) -> Result<Secret, Failure> {
    match new.is_empty() {
        true => Err(Failure::usage(
            "a token that has a user PIN keeps one",
            "Nothing was changed; `ptool addtoken --no-userpin` makes a token without.",
        )),
        false => Ok(new),
    }
}
