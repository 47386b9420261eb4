//! The primaries of the store: are they in the TPM, and if not, can they be had again?

use std::path::Path;
use token::manage::{ChipFacts, primary_of};

use store::{OpenMode, PrimaryRow, Store};

use super::{Examination, Report};

/// What is known of a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Present,
    /// It is not there, and can be made again.
    Evicted,
    /// The seed it came from is gone, or this is another TPM.
    Lost,
    Unknown,
}

pub(super) const RESTORE: &str =
    "`ptool doctor --repair` makes it again (--hierarchy-auth, if the owner has an authorization).";

/// Looks at one primary of the store in `file`, which tokens use or not; repairs it, if asked to.
pub(super) fn examine(
    report: &mut Report,
    file: &Path,
    (row, used): (&PrimaryRow, bool),
    examination: &Examination,
    tpm: &tpm::Tpm,
) -> State {
    let subject = "primary";
    let gone = |report: &mut Report, finding: String| match used {
        true => report.fail(subject, finding, ""),
        false => report.warn(subject, finding, "No token hangs on it: it does no harm."),
    };
    let place = row.handle.map_or("made at each use".to_owned(), |handle| format!("{handle:#010x}"));
    let primary = match primary_of(row) {
        Ok(primary) => primary,
        Err(error) => {
            report.fail(subject, format!("{} in the store: {error}", row.id), "Restore the store from a copy.");
            return State::Unknown;
        }
    };
    match tpm.check_primary(&primary) {
        Ok(()) => {
            report.ok(subject, format!("{} ({place}) is the one of the store", row.id));
            examine_facts(report, file, row, examination, tpm);
            return State::Present;
        }
        Err(tpm::Error::PrimaryMissing { .. } | tpm::Error::WrongPrimary { .. }) => {}
        Err(error) => {
            report.fail(subject, format!("{} ({place}): {error}", row.id), "");
            return State::Unknown;
        }
    }
    if row.handle.is_none() {
        gone(report, format!("{} ({place}) does not come out as it was", row.id));
        return State::Lost;
    }
    if !examination.repair {
        return match tpm.can_restore(&primary, &examination.owner_auth) {
            Ok(true) => {
                report.fail(subject, format!("{} is no longer at {place}, but can be made again", row.id), RESTORE);
                State::Evicted
            }
            Ok(false) => {
                gone(report, format!("{} is not at {place}, and cannot be made again", row.id));
                State::Lost
            }
            Err(error) => {
                report.fail(subject, format!("{} is not at {place}: {error}", row.id), RESTORE);
                State::Unknown
            }
        };
    }
    match repair(file, row, &primary, examination, tpm) {
        Ok(Some(handle)) => {
            report.ok(subject, format!("{} was made again, and is at {handle:#010x} now", row.id));
            State::Present
        }
        Ok(None) => {
            gone(report, format!("{} is not at {place}, and cannot be made again", row.id));
            State::Lost
        }
        Err(error) => {
            report.fail(subject, format!("{} could not be made again: {error}", row.id), RESTORE);
            State::Unknown
        }
    }
}

/// Makes the primary again. Its place is written down if it is a new one.
fn repair(
    file: &Path,
    row: &PrimaryRow,
    primary: &tpm::Primary,
    examination: &Examination,
    tpm: &tpm::Tpm,
) -> token::Result<Option<u32>> {
    let free = row.handle.is_some_and(|handle| matches!(tpm.public_of(handle), Ok(None)));
    if !free && Store::open(file, OpenMode::ReadWrite)?.is_read_only() {
        // Before the TPM: it has room for few that nobody knows of.
        return Err(token::Error::TokenWriteProtected);
    }
    let Some(restored) = tpm.restore(primary, &examination.owner_auth)? else { return Ok(None) };
    let tpm::Location::Persistent(handle) = restored.location else { return Ok(None) };
    if row.handle != Some(handle) {
        Store::open(file, OpenMode::ReadWrite)?.set_primary_handle(row.id, handle)?;
    }
    Ok(Some(handle))
}

/// What the TPM can do was asked once; other firmware may do more, or less.
fn examine_facts(report: &mut Report, file: &Path, row: &PrimaryRow, examination: &Examination, tpm: &tpm::Tpm) {
    let known = ChipFacts::parse(&row.capabilities);
    let Ok(capabilities) = tpm.capabilities() else { return };
    let is_current = known.as_ref().is_some_and(|known| known.capabilities == capabilities);
    if is_current && known.is_some_and(|known| known.is_complete()) {
        return;
    }
    let subject = "firmware";
    if !examination.repair {
        report.warn(
            subject,
            match is_current {
                true => format!("the store does not know all that there is to know of the TPM (primary {})", row.id),
                false => format!("what the store knows of the TPM (primary {}) is of another firmware", row.id),
            },
            "`ptool doctor --repair` asks it anew.",
        );
        return;
    }
    let renewed = ChipFacts::of_more(tpm, capabilities).and_then(|facts| facts.to_json());
    let written =
        renewed.and_then(|facts| Ok(Store::open(file, OpenMode::ReadWrite)?.set_capabilities(row.id, &facts)?));
    match written {
        Ok(()) => report.ok(subject, "what the TPM can do was asked anew"),
        Err(error) => report.fail(subject, error, "Run this as the owner of the store."),
    }
}
