//! `doctor` and `lockout`.

use admin::doctor::{Examination, Finding, Level, examine};
use admin::lockout;
use base::Secret;
use serde::Serialize;
use token::{Config, Error};

use super::Context;
use crate::cli::Format;
use crate::cli::doctor::{Doctor, Lockout, LockoutAction};
use crate::errors::{Failure, Status};
use crate::output::{self, Paint};
use crate::pins::{self, Given, Surroundings, USER_PIN};

/// Variables that matter here besides those that bear the product's name.
const VARIABLES: [&str; 4] = ["HOME", "USER", "LOGNAME", "OPENSSL_CONF"];

/// Needs no configuration that can be read: what is wrong with it is a finding.
pub(super) fn doctor(
    config: Result<Config, Error>,
    format: Option<Format>,
    around: &mut dyn Surroundings,
    options: &Doctor,
) -> Result<(), Failure> {
    if options.label.is_none() && Given::from(&options.user).is_some() {
        return Err(Failure::usage("a PIN was given, and no token", "Name its token with --label."));
    }
    let user_pin = match options.label {
        Some(_) => pins::provided(USER_PIN, Given::from(&options.user), around)?,
        None => None,
    };
    let owner_auth = pins::authorization(pins::OWNER_AUTH, options.hierarchy_auth.as_ref(), around)?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("TPM2_") || VARIABLES.contains(&name.as_str()))
        .collect();
    let examination = Examination {
        root: options.root.clone(),
        variables,
        program: std::env::current_exe().ok(),
        label: options.label.clone(),
        user_pin,
        owner_auth,
        repair: options.repair,
    };
    let findings = examine(&config, &examination);
    match format {
        None | Some(Format::Text) => output::print_text(&lines(&findings, output::paint()))?,
        Some(format) => output::print(format, &findings)?,
    }
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    match failed {
        0 => Ok(()),
        1 => Err(Failure::general("one thing does not work", "See the line above that begins with `fail`.")),
        _ => Err(Failure::general(
            format!("{failed} things do not work"),
            "See the lines above that begin with `fail`: the first is often the cause of others.",
        )),
    }
}

/// One line each: how bad, what was looked at, what was found, what to do.
fn lines(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Finding { level, subject, finding, advice } in findings {
        let word = match level {
            Level::Ok => paint.good("ok  "),
            Level::Warn => paint.caution("warn"),
            Level::Fail => paint.bad("fail"),
        };
        let finding = output::printable(finding);
        let advice = match advice.is_empty() {
            true => String::new(),
            false => paint.strong(&format!(" -> {}", output::printable(advice))),
        };
        text += &format!("{word}  {subject:width$}  {finding}{advice}\n");
    }
    text
}

/// As it is printed; `tries_left` saves the reader a subtraction.
#[derive(Serialize)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    failed_tries: u32,
    locked: bool,
    lockout_auth_set: bool,
    lockout_recovery_seconds: u32,
    max_tries: u32,
    recovery_seconds: u32,
    /// What is let through of each token's PINs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<lockout::Guarded>,
    tries_left: u32,
}

#[derive(Serialize)]
struct Forgotten<'a> {
    action: &'static str,
    label: &'a str,
}

impl State {
    fn new(action: Option<&'static str>, state: lockout::LockoutState, tokens: Vec<lockout::Guarded>) -> State {
        State {
            action,
            failed_tries: state.failed_tries,
            locked: state.locked,
            lockout_auth_set: state.lockout_auth_set,
            lockout_recovery_seconds: state.lockout_recovery_seconds,
            max_tries: state.max_tries,
            recovery_seconds: state.recovery_seconds,
            tokens,
            tries_left: if state.locked { 0 } else { state.max_tries.saturating_sub(state.failed_tries) },
        }
    }
}

pub(super) fn lockout(context: &mut Context<'_>, options: &Lockout) -> Result<(), Failure> {
    match &options.action {
        LockoutAction::Status => {
            let state = lockout::lockout_state(&context.config)?;
            let tokens = lockout::guards(&context.config, &state)?;
            output::print(context.format, &State::new(None, state, tokens))
        }
        LockoutAction::Forget { label } => {
            lockout::forget_wrong_pins(&context.config, &label.label)?;
            output::print(context.format, &Forgotten { action: "forget", label: &label.label })
        }
        LockoutAction::Reset { lockout_auth } => {
            let auth: Secret = pins::authorization(pins::LOCKOUT_AUTH, lockout_auth.as_ref(), context.around)?;
            let state = lockout::reset_lockout(&context.config, &auth).map_err(not_reset)?;
            output::print(context.format, &State::new(Some("reset"), state, Vec::new()))
        }
    }
}

/// A wrong authorization locks the lockout hierarchy itself, often for a day: that must be said.
fn not_reset(error: Error) -> Failure {
    match error {
        Error::HierarchyAuth(what) => Failure::new(
            Status::Pin,
            what,
            "--lockout-auth gives it; `ptool lockout status` says for how many seconds (lockout_recovery_seconds) none is taken.",
        ),
        Error::PinLocked => Failure::new(
            Status::Pin,
            "the TPM takes no lockout authorization now, after a wrong one",
            "Wait lockout_recovery_seconds, which `ptool lockout status` shows; if they are 0, restart the machine.",
        ),
        error => Failure::from(error),
    }
}
