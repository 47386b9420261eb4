//! Why does it not work? Everything on the way from a program to a key is looked at, and each finding comes with what to do.
//!
//! Nothing is changed, unless repair is asked for, and no device is opened but the TPM that the configuration names.

mod chip;
mod clients;
mod device;
mod environment;
mod keys;
mod primary;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base::Secret;
use serde::Serialize;
use store::{OpenMode, Store};

pub use clients::{MODULE, find_module};

use super::Admin;
use super::migrate::places;
use token::Config;
use token::Result;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as it could.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in a word or two.
    pub subject: String,
    /// What was found.
    pub finding: String,
    /// What to do; empty if nothing is to be done.
    pub advice: String,
}

/// What to look at, and where.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Directory that stands for `/` wherever files of the system are looked at.
    pub root: PathBuf,
    /// The environment.
    pub variables: Vec<(String, OsString)>,
    /// The program that asks: the module is looked for near it.
    pub program: Option<PathBuf>,
    /// Only this token.
    pub label: Option<String>,
    /// The user's PIN of that token, for what only the user can check.
    pub user_pin: Option<Secret>,
    /// Auth value of the owner hierarchy, for making primaries again.
    pub owner_auth: Secret,
    /// Repair what can be repaired.
    pub repair: bool,
}

/// What is wrong, from the environment through the device to each key.
///
/// `config` is an error where the configuration cannot be read: then what does not need it is still looked at.
#[must_use]
pub fn examine(config: &Result<Config>, examination: &Examination) -> Vec<Finding> {
    let mut report = Report::default();
    environment::examine(&mut report, &examination.variables);
    match config {
        Ok(config) => {
            device::examine(&mut report, config, examination);
            let tpm = chip::examine(&mut report, config);
            examine_store(&mut report, config, examination, tpm.as_ref());
        }
        Err(error) => report.fail("configuration", error, "Correct the file; docs/CONFIGURATION.md has its keys."),
    }
    clients::examine(&mut report, examination);
    report.findings
}

fn examine_store(report: &mut Report, config: &Config, examination: &Examination, tpm: Option<&tpm::Tpm>) {
    let file = config.store_file();
    let shown = file.display();
    let store = match Store::open(&file, OpenMode::ReadOnly) {
        Ok(store) => store,
        Err(error @ store::Error::NotFound(_)) => {
            let advice = match peer_store(examination) {
                Some(path) => {
                    format!("`ptool migrate` takes over {}, `ptool init` makes an empty one.", path.display())
                }
                None => "`ptool init` makes one; --path names another directory.".to_owned(),
            };
            report.fail("store", error, advice);
            return;
        }
        Err(error @ store::Error::Older { .. }) => {
            report.fail("store", error, "`ptool dbup`, run by its owner, upgrades it.");
            return;
        }
        Err(error) => {
            report.fail("store", error, "--path or TPM2_CRYPTOKI_STORE names the directory of another store.");
            return;
        }
    };
    if let Err(error) = store.check() {
        report.fail("store", error, "Restore it from a copy.");
        return;
    }
    match Store::open(&file, OpenMode::ReadWrite) {
        Ok(writable) if !writable.is_read_only() => report.ok("store", format!("{shown} is whole and can be written")),
        _ => report.ok("store", format!("{shown} is whole; this user can only read it, which is enough to sign")),
    }
    let (primaries, tokens) = match (store.primaries(), store.tokens()) {
        (Ok(primaries), Ok(tokens)) => (primaries, tokens),
        (Err(error), _) | (_, Err(error)) => {
            report.fail("store", error, "Restore it from a copy.");
            return;
        }
    };
    if primaries.is_empty() {
        report.warn("primary", "the store has none", "`ptool init` enters the TPM's into it.");
    }
    let states: HashMap<i64, primary::State> = primaries
        .iter()
        .map(|row| {
            let used = tokens.iter().any(|token| token.primary_id == row.id);
            let state = tpm.map(|tpm| primary::examine(report, &file, (row, used), examination, tpm));
            (row.id, state.unwrap_or(primary::State::Unknown))
        })
        .collect();
    // Only now: a repair may have moved a primary.
    match Admin::open(config.clone()) {
        Ok(admin) => keys::examine(report, &admin, &tokens, &states, examination, tpm),
        Err(error) => report.fail("store", error, ""),
    }
}

/// A store of tpm2-pkcs11 where that looks for one.
fn peer_store(examination: &Examination) -> Option<PathBuf> {
    const FILE: &str = "tpm2_pkcs11.sqlite3";
    let variable = |name: &str| examination.variable(name).cloned();
    let directories = places::directories_in(&examination.system(places::SYSTEM_STORE), variable).into_iter();
    directories.map(|directory| directory.join(FILE)).find(|path| !super::is_absent(path))
}

impl Examination {
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// Where a file of the system is to be looked at.
    fn system(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, subject: &str, finding: impl ToString) {
        self.add(Level::Ok, subject, finding, "");
    }

    fn warn(&mut self, subject: &str, finding: impl ToString, advice: impl ToString) {
        self.add(Level::Warn, subject, finding, advice);
    }

    fn fail(&mut self, subject: &str, finding: impl ToString, advice: impl ToString) {
        self.add(Level::Fail, subject, finding, advice);
    }

    fn add(&mut self, level: Level, subject: &str, finding: impl ToString, advice: impl ToString) {
        // What others wrote (a label, a path) stays on its line.
        let line = |text: String| text.replace(['\n', '\r'], " ");
        self.findings.push(Finding {
            level,
            subject: subject.to_owned(),
            finding: line(finding.to_string()),
            advice: line(advice.to_string()),
        });
    }
}
