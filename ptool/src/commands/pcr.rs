//! The `pcr` verbs, and what a new key or token is bound to.

use std::path::Path;

use admin::{
    Admin, ApprovalInfo, ApproveRequest, Approver, KeyUri, PcrSource, Pin, PolicyCheck, PolicyRequest, PublicSource,
    check_pcrs,
};
use base::Secret;
use serde::Serialize;
use token::Error;

use super::import::read_key;
use super::{Context, files, find_token, key_user};
use crate::cli::SoPin;
use crate::cli::pcr::{Approve, Binding, CheckPcrs, Pcr, Revoke, ShowPcrs};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins::{OWNER_AUTH, authorization};

pub(super) fn run(context: &mut Context<'_>, verb: &Pcr) -> Result<(), Failure> {
    match verb {
        Pcr::Show(options) => show(context, options),
        Pcr::Check(options) => check_state(context, options),
        Pcr::Approve(options) => approve(context, options),
        Pcr::List => list(context),
        Pcr::Revoke(options) => revoke(context, options),
    }
}

/// What the options of a new key or token ask for; `None` if nothing.
pub(super) fn binding(
    context: &mut Context<'_>,
    options: &Binding,
    pin: bool,
) -> Result<Option<PolicyRequest>, Failure> {
    if options.pcr.is_empty() && options.pcr_authority.is_empty() {
        return match pin {
            true => Ok(None),
            false => Err(Failure::usage(
                "--no-pin makes a key that the state of the machine guards, and no state was named",
                "Name PCRs with --pcr, or an authority with --pcr-authority.",
            )),
        };
    }
    check(&options.pcr)?;
    if options.pcr_authority.is_empty() && options.or_authority.is_empty() {
        warn_of_updates(context, options.yes)?;
    }
    let public = |keys: &[String]| keys.iter().map(|key| public_source(key)).collect::<Result<Vec<_>, _>>();
    Ok(Some(PolicyRequest {
        pcrs: options.pcr.clone(),
        states: states(&options.pcr_values)?,
        authorities: public(&options.pcr_authority)?,
        or_authorities: public(&options.or_authority)?,
        pin,
    }))
}

/// What is misspelt is said before anything else.
fn check(pcrs: &[String]) -> Result<(), Failure> {
    pcrs.iter().try_for_each(|pcrs| check_pcrs(pcrs)).map_err(|error| match error {
        Error::ArgumentsBad(what) => Failure::usage(what, ""),
        error => error.into(),
    })
}

/// What is bound to values for ever ends with them; who wants that should have heard it once.
fn warn_of_updates(context: &mut Context<'_>, yes: bool) -> Result<(), Failure> {
    note(
        "an update of firmware, boot loader or kernel that changes one of these PCRs makes this useless for ever; \
         --pcr-authority binds to an authority instead, which approves of new states",
    );
    if yes || !context.around.stdin_is_terminal() {
        return Ok(());
    }
    note("go on? [y/N]");
    let answer = context.around.stdin_line().ok().flatten();
    match answer.as_ref().map(Secret::expose) {
        Some(b"y" | b"Y" | b"yes") => Ok(()),
        _ => Err(Failure::general("nothing was made", "--yes goes on without asking.")),
    }
}

fn states(files: &[impl AsRef<Path>]) -> Result<Vec<PcrSource>, Failure> {
    if files.is_empty() {
        return Ok(vec![PcrSource::Present]);
    }
    let source = |file: &Path| match file == Path::new("now") {
        true => Ok(PcrSource::Present),
        false => files::read(file).map(|content| PcrSource::File(content.expose().to_vec())),
    };
    files.iter().map(|file| source(file.as_ref())).collect()
}

fn public_source(key: &str) -> Result<PublicSource, Failure> {
    match uri(key)? {
        Some(uri) => Ok(PublicSource::Token(uri)),
        None => {
            let path = Path::new(key);
            let public = keyfile::read_public(&files::read(path)?).map_err(|error| files::unreadable(path, &error))?;
            Ok(match public {
                keyfile::PublicKey::Rsa(key) => PublicSource::Rsa(key),
                keyfile::PublicKey::Ec(key) => PublicSource::Ec(key),
            })
        }
    }
}

/// The URI that stands in the place of a file's name.
fn uri(key: &str) -> Result<Option<KeyUri>, Failure> {
    match key.starts_with("pkcs11:") {
        false => Ok(None),
        true => key.parse().map(Some).map_err(|what: &str| {
            Failure::usage(what, "A key is named as in pkcs11:token=LABEL;object=LABEL; quote it for the shell.")
        }),
    }
}

fn show(context: &Context<'_>, options: &ShowPcrs) -> Result<(), Failure> {
    check(&options.pcrs)?;
    let report = Admin::read_pcrs(context.config.clone(), &options.pcrs)?;
    output::print(context.format, &report)
}

fn check_state(context: &Context<'_>, options: &CheckPcrs) -> Result<(), Failure> {
    let admin = context.admin()?;
    find_token(&admin, &options.label)?;
    let checks = admin.check_policies(&options.label, options.key_label.as_deref())?;
    output::print(context.format, &checks)?;
    let unmet: Vec<&PolicyCheck> = checks.iter().filter(|check| !check.satisfied).collect();
    match unmet.is_empty() {
        true => Ok(()),
        false => Err(Failure::general(
            format!("{} of {} do not work in the present state of this machine", unmet.len(), checks.len()),
            "`ptool pcr show` has the present values. What is bound to an authority works once that has approved of them.",
        )),
    }
}

#[derive(Serialize)]
struct Approved {
    action: &'static str,
    approvals: Vec<ApprovalInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

fn approve(context: &mut Context<'_>, options: &Approve) -> Result<(), Failure> {
    check(&options.pcr)?;
    let (key, pin_name) = approver(context, options)?;
    let revocable = match options.counter {
        true => Some(authorization(OWNER_AUTH, options.hierarchy_auth.as_ref(), context.around)?),
        false => None,
    };
    let request = ApproveRequest {
        key,
        pcrs: options.pcr.clone(),
        states: states(&options.pcr_values)?,
        comment: options.comment.clone(),
        revocable,
    };
    let fail = |error: Error| match error {
        Error::PinIncorrect => Failure::with_pin(error, pin_name),
        error => Failure::with_owner_auth(error),
    };
    let approvals = match &options.output_file {
        None => context.admin()?.approve(&request).map_err(fail)?,
        Some(path) => {
            let (approvals, text) = Admin::approve_in_file(context.config.clone(), &request).map_err(fail)?;
            files::replace(path, text.as_bytes()).map_err(|error| {
                Failure::general(format!("{}: cannot be written: {error}", path.display()), "Nothing was approved.")
            })?;
            approvals
        }
    };
    let file = options.output_file.as_ref().map(|path| path.display().to_string());
    output::print(context.format, &Approved { action: "approve", approvals, file })
}

fn approver(context: &mut Context<'_>, options: &Approve) -> Result<(Approver, &'static str), Failure> {
    let Some(uri) = uri(&options.key)? else {
        let path = Path::new(&options.key);
        let file = files::read(path)?;
        let found = read_key(context.around, path, &options.passphrase, &file)?;
        let Some(keyfile::Key::Private(key)) = found.key else {
            return Err(files::unreadable(path, &keyfile::Error::Unknown));
        };
        return Ok((Approver::Key(key), ""));
    };
    let admin = context.admin()?;
    let token = find_token(&admin, &uri.token)?;
    drop(admin);
    let nobody = SoPin { sopin: None, sopin_file: None };
    let (pin, name): (Pin, _) = key_user(context, &token, &options.user, &nobody)?;
    Ok((Approver::Token(uri, pin), name))
}

fn list(context: &Context<'_>) -> Result<(), Failure> {
    output::print(context.format, &context.admin()?.approvals()?)
}

#[derive(Serialize)]
struct Revoked {
    action: &'static str,
    id: i64,
    /// Copies of it are of no use either.
    void: bool,
}

fn revoke(context: &mut Context<'_>, options: &Revoke) -> Result<(), Failure> {
    let owner_auth = authorization(OWNER_AUTH, options.hierarchy_auth.as_ref(), context.around)?;
    let void = context.admin()?.revoke(options.id, &owner_auth).map_err(Failure::with_owner_auth)?;
    if !void {
        note(
            "copies of the approval that others have stay good: only keys for another authority refuse that state for ever",
        );
    }
    output::print(context.format, &Revoked { action: "revoke", id: options.id, void })
}
