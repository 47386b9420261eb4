//! `objmod`: attributes of an object, shown and changed.

use std::collections::BTreeMap;
use std::path::Path;

use admin::{Attribute, Change, Pin, Shown, Spelling, attribute_named, parse_changes};
use serde::Serialize;
use token::Error;

use super::{Context, files};
use crate::cli::{ModifyObject, ValueType};
use crate::errors::{Failure, Status};
use crate::output;
use crate::pins::{self, Given, SO_PIN, USER_PIN};

#[derive(Serialize)]
struct Modified {
    action: &'static str,
    changed: Vec<String>,
    id: i64,
}

pub(super) fn modify(context: &mut Context<'_>, options: &ModifyObject) -> Result<(), Failure> {
    let admin = context.admin()?;
    let token = admin.token_of(options.id)?;
    let attributes = admin.attributes(options.id)?;
    let changes = match (&options.attributes, &options.key, &options.value) {
        (Some(file), _, _) => differing(&attributes, changes_in(file)?),
        (None, Some(key), Some(value)) => {
            let spelling = options.spelling.map(spelling);
            vec![Change { key: key.clone(), value: value.clone(), spelling }]
        }
        (None, Some(key), None) => return show_one(context, &attributes, key),
        (None, None, _) => {
            let all: BTreeMap<&str, &Shown> =
                attributes.iter().map(|attribute| (attribute.name.as_str(), &attribute.value)).collect();
            return output::print(context.format, &all);
        }
    };
    let mut changed = Vec::new();
    for change in &changes {
        changed.push(attribute_named(&change.key)?.to_string());
    }
    if !changes.is_empty() {
        let (pin, name) = match (Given::from(&options.so).is_some(), token.login_required) {
            (true, _) => (Pin::So(pins::current(SO_PIN, Given::from(&options.so), context.around)?), SO_PIN.name),
            (false, true) => {
                (Pin::User(pins::current(USER_PIN, Given::from(&options.user), context.around)?), USER_PIN.name)
            }
            (false, false) => (Pin::None, USER_PIN.name),
        };
        admin.modify(options.id, &pin, &changes).map_err(|error| match (error, &pin) {
            // It was there without a login.
            (Error::ObjectHandleInvalid, Pin::So(_)) => Failure::general(
                format!("the security officer can change public objects only, and the object {} is none", options.id),
                "Give the user PIN.",
            ),
            (Error::ObjectHandleInvalid, _) => Failure::new(
                Status::Store,
                format!("the object {} was altered in the store", options.id),
                "`ptool verify` with the user PIN says which were; `ptool objdel` removes one.",
            ),
            (error, _) => Failure::with_pin(error, name),
        })?;
    }
    output::print(context.format, &Modified { action: "modify", changed, id: options.id })
}

fn show_one(context: &Context<'_>, attributes: &[Attribute], key: &str) -> Result<(), Failure> {
    let ty = attribute_named(key)?;
    let found = attributes.iter().find(|attribute| attribute.number == ty.0);
    let found = found.ok_or_else(|| {
        Failure::general(
            format!("the object has no {ty}, or does not show it"),
            "`ptool objmod --id` shows what it has.",
        )
    })?;
    output::print(context.format, &BTreeMap::from([(&found.name, &found.value)]))
}

fn changes_in(file: &Path) -> Result<Vec<Change>, Failure> {
    let content = files::read(file)?;
    Ok(parse_changes(&String::from_utf8_lossy(content.expose()))?)
}

/// What a file says otherwise than the object: whoever edits what was shown leaves the rest as it was.
fn differing(attributes: &[Attribute], changes: Vec<Change>) -> Vec<Change> {
    let same = |change: &Change| {
        let found = attributes
            .iter()
            .find(|attribute| attribute.name == change.key || change.key.parse() == Ok(attribute.number));
        found.is_some_and(|attribute| match &attribute.value {
            Shown::Bool(value) => change.value == value.to_string(),
            Shown::Number(value) => change.value == value.to_string(),
            Shown::Hex(digits) => change.value == *digits,
            Shown::Mechanisms(names) => change.value == names.join(","),
        })
    };
    changes.into_iter().filter(|change| !same(change)).collect()
}

fn spelling(given: ValueType) -> Spelling {
    match given {
        ValueType::Int => Spelling::Int,
        ValueType::Str => Spelling::Str,
        ValueType::Bool => Spelling::Bool,
        ValueType::Raw => Spelling::Raw,
    }
}
