//! The tokens of the store: do their keys load in the TPM, and is what the store says of them genuine?

use std::collections::HashMap;

use base::Secret;
use model::{AttributeType, ObjectClass};
use store::TokenRow;

use super::primary::{RESTORE, State};
use super::{Examination, Report};
use crate::Admin;
use crate::residence::is_there;
use crate::x509;
use token::Error;
use token::manage::{Catalog, Object, Token, seal_of};

const REPLACE: &str = "Restore a backup of its keys, or make new ones; `ptool rmtoken` removes it. With another TPM than before: put that back.";
const LINKED: &str = "It was linked: what it hangs on, or the key itself, is no longer in the TPM; put it back with the software it is from.";
const LINKED_BELOW_EVICTED: &str = "It was linked, and its parent is no longer in the TPM: `ptool doctor --repair` makes that again (--hierarchy-auth, if the owner has an authorization).";
const RESTORED: &str = "Restore the store from a copy, or remove the object with `ptool objdel`.";

pub(super) fn examine(
    report: &mut Report,
    admin: &Admin,
    tokens: &[TokenRow],
    states: &HashMap<i64, State>,
    examination: &Examination,
    tpm: Option<&tpm::Tpm>,
) {
    if let Some(label) = &examination.label
        && tokens.iter().all(|row| row.label != *label)
    {
        report.fail("token", format!("there is no token with the label {label:?}"), "`ptool listtokens` shows them.");
    }
    let wanted =
        |row: &&TokenRow| row.initialized && examination.label.as_ref().is_none_or(|label| row.label == *label);
    for row in tokens.iter().filter(wanted) {
        let label = &row.label;
        let state = states.get(&row.primary_id).copied().unwrap_or(State::Unknown);
        let served = admin.library.tokens().into_iter().find(|token| token.id == row.id);
        match (served, state, tpm) {
            (None, _, _) => report.fail(
                "token",
                format!("{label:?} is not served: its rows in the store make no sense"),
                "Restore the store from a copy; TPM2_CRYPTOKI_LOG=error says what is wrong.",
            ),
            (Some(token), State::Lost, _) => report.fail("token", lost(&token), REPLACE),
            (Some(_), State::Evicted, _) => report.fail("token", format!("{label:?} waits for its primary"), RESTORE),
            (Some(token), State::Present, Some(tpm)) => examine_token(report, admin, &token, examination, tpm),
            (Some(_), _, _) => report.warn("token", format!("{label:?} was not looked at: its TPM could not be"), ""),
        }
    }
}

fn lost(token: &Token) -> String {
    let keys = token.count_keys().unwrap_or_default();
    let label = token.row().label;
    let keys = count(keys, "key", "keys");
    format!("{label:?} is lost, with {keys}: the TPM was cleared, or is not the one it was made in")
}

fn examine_token(report: &mut Report, admin: &Admin, token: &Token, examination: &Examination, tpm: &tpm::Tpm) {
    let row = token.row();
    let label = &row.label;
    let mut bad = false;
    for (pin, whose) in [(&row.so, "security officer"), (&row.user, "user")] {
        let Some(pin) = pin else { continue };
        if let Err(error) = tpm.check_key(&token.primary, &seal_of(pin)) {
            bad = true;
            report.fail(
                "token",
                format!("{label:?}: what guards the PIN of the {whose} does not load: {error}"),
                RESTORED,
            );
        }
    }
    let mut whole = 0;
    for object in objects(report, token).values() {
        let Some(key) = &object.key else { continue };
        // A key that was linked may have another parent than the token's primary.
        let parent = object.parent();
        let own = matches!(parent, Ok(None)) && key.wrapped.handle().is_none();
        let evicted = match &parent {
            Ok(Some(parent)) => evicted_parent(report, parent, examination, tpm),
            _ => false,
        };
        let checked =
            parent.and_then(|parent| Ok(tpm.check_key(parent.as_ref().unwrap_or(&token.primary), &key.wrapped)?));
        match checked {
            Ok(()) => {
                whole += 1;
                examine_residence(report, tpm, &object_name(object, label), object);
            }
            Err(error) => {
                bad = true;
                let finding = format!("{} does not load: {error}", object_name(object, label));
                let advice = match (own, evicted) {
                    (true, _) => RESTORED,
                    (false, true) => LINKED_BELOW_EVICTED,
                    (false, false) => LINKED,
                };
                report.fail("key", finding, advice);
            }
        }
    }
    // What protects the objects of a token without PIN needs none to be checked.
    let pin = examination.user_pin.clone().or_else(|| (!row.login_required).then(|| Secret::zeroed(0)));
    let pin = pin.filter(|_| examination.label.is_some());
    if let Some(pin) = &pin {
        match admin.verify(label, None, Some(pin)) {
            Ok(verified) => {
                for id in &verified.altered {
                    bad = true;
                    report.fail("object", format!("{id} in {label:?} was altered in the store"), RESTORED);
                }
            }
            Err(error) => {
                bad = true;
                report.fail("token", format!("{label:?}: {error}"), "");
            }
        }
    }
    bad |= !examine_policies(report, admin, label);
    examine_certificates(report, token);
    if !bad {
        let checked = if pin.is_some() { "; no row was altered" } else { "" };
        let keys = count(whole, "key loads", "keys load");
        report.ok("token", format!("{label:?}: {keys}{checked}"));
    }
}

fn object_name(object: &Object, label: &str) -> String {
    format!("{} ({:?} in {label:?})", object.handle.0, object.summary().label.unwrap_or_default())
}

/// A copy that is gone from the TPM only costs time.
fn examine_residence(report: &mut Report, tpm: &tpm::Tpm, name: &str, object: &Object) {
    let Some(handle) = object.residence() else { return };
    match is_there(tpm, object, handle) {
        Ok(true) => {}
        Ok(false) => report.warn(
            "key",
            format!("{name} is no longer kept in the TPM at {handle:#010x}: it works, but is loaded for each use"),
            "`ptool persist` keeps it there again; `ptool unpersist` forgets it.",
        ),
        Err(error) => report.warn("key", format!("{name} could not be looked for at {handle:#010x}: {error}"), ""),
    }
}

/// Whether the parent of a linked key is gone from its handle, and can be made again; makes it again, if asked to. It must get the
/// very handle that it had: the key is bound to that.
fn evicted_parent(report: &mut Report, parent: &tpm::Primary, examination: &Examination, tpm: &tpm::Tpm) -> bool {
    let tpm::Location::Persistent(handle) = parent.location else { return false };
    if !matches!(tpm.public_of(handle), Ok(None)) {
        return false;
    }
    if !examination.repair {
        return matches!(tpm.can_restore(parent, &examination.owner_auth), Ok(true));
    }
    match tpm.restore(parent, &examination.owner_auth) {
        Ok(Some(_)) => {
            report.ok("primary", format!("{handle:#010x}, the parent of a linked key, was made again"));
            false
        }
        Ok(None) => false,
        Err(error) => {
            report.fail("primary", format!("{handle:#010x} could not be made again: {error}"), RESTORE);
            true
        }
    }
}

/// Whether the machine is in the state that the token and its keys are bound to.
fn examine_policies(report: &mut Report, admin: &Admin, label: &str) -> bool {
    let checks = match admin.check_policies(label, None) {
        Ok(checks) => checks,
        // Nothing of it has a policy.
        Err(Error::ArgumentsBad(_)) => return true,
        Err(error) => {
            report.fail("policy", format!("{label:?}: {error}"), "");
            return false;
        }
    };
    for check in checks.iter().filter(|check| !check.satisfied) {
        let name = match check.id {
            Some(id) => format!("{id} ({:?} in {label:?})", check.label.as_deref().unwrap_or_default()),
            None => format!("the token {label:?}"),
        };
        let why = check.why.as_deref().unwrap_or("the machine is in another state");
        report.fail(
            "policy",
            format!("{name} is bound to {}: {why}", check.policy),
            "Start the machine as it was, or have the state approved of: docs/POLICIES.md.",
        );
    }
    checks.iter().all(|check| check.satisfied)
}

/// A certificate whose end is near stops more services than anything else does.
fn examine_certificates(report: &mut Report, token: &Token) {
    const NEAR: i64 = 30;
    for object in objects(report, token).values().filter(|object| object.class() == ObjectClass::CERTIFICATE) {
        let left = object.attributes.bytes(AttributeType::VALUE).and_then(x509::days_left);
        let name = format!("{} ({:?})", object.handle.0, object.summary().label.unwrap_or_default());
        let advice = "Ask for a new one with `ptool csr`; `ptool addcert --replace` puts it in its place.";
        match left {
            Some(..0) => report.warn("certificate", format!("{name} is no longer valid"), advice),
            Some(days @ ..NEAR) => {
                report.warn("certificate", format!("{name} ends in {}", count_days(days)), advice);
            }
            Some(_) => {}
            None => report.warn("certificate", format!("{name} cannot be read"), "Another program put it there."),
        }
    }
}

fn objects(report: &mut Report, token: &Token) -> Catalog {
    token.catalog().unwrap_or_else(|error| {
        report.fail("store", error, "Restore it from a copy.");
        Catalog::new()
    })
}

fn count_days(days: i64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
