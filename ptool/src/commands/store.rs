//! `destroy`, `dbup` and `addemptytoken`: the store as a whole.

use std::io::{self, IsTerminal, Write};

use admin::Admin;
use serde::Serialize;

use super::{Context, note_unused_auth};
use crate::cli::{AddEmptyToken, Destroy};
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins;

#[derive(Serialize)]
struct Destroyed {
    action: &'static str,
    /// It is not in the TPM any more, because it was taken out.
    evicted: bool,
    id: i64,
    tokens: Vec<String>,
}

/// As tpm2_ptool prints it.
#[derive(Serialize)]
struct Upgraded {
    new: u32,
    old: u32,
}

#[derive(Serialize)]
struct Empty {
    action: &'static str,
    pid: i64,
    slot: u64,
}

pub(super) fn destroy(context: &mut Context<'_>, options: &Destroy) -> Result<(), Failure> {
    let admin = context.admin()?;
    let primary = admin.primaries()?.into_iter().find(|primary| primary.id == options.pid).ok_or_else(|| {
        Failure::general(
            format!("there is no primary key with the number {}", options.pid),
            "`ptool listprimaries` shows them.",
        )
    })?;
    let owner_auth = pins::authorization(pins::OWNER_AUTH, options.hierarchy_auth.as_ref(), context.around)?;
    if !options.yes {
        let labels: Vec<String> =
            admin.tokens(Some(primary.id))?.iter().map(|token| format!("{:?}", token.label)).collect();
        let tokens =
            if labels.is_empty() { "no tokens".to_owned() } else { format!("the tokens {}", labels.join(", ")) };
        let place = match primary.handle {
            Some(handle) if !options.keep_primary => {
                format!(", and it is taken out of the TPM at {handle:#010x}, where other software may use it too")
            }
            _ => String::new(),
        };
        let question =
            format!("The primary key {} and {tokens} are removed for ever{place}. Go on? [y/N] ", primary.id);
        if !agreed(context, &question)? {
            return Err(Failure::general("nothing was removed", "--yes says so beforehand, for scripts."));
        }
    }
    let gone = admin.destroy(primary.id, &owner_auth, options.keep_primary).map_err(Failure::with_owner_auth)?;
    output::print(
        context.format,
        &Destroyed { action: "remove", evicted: gone.evicted, id: gone.primary.id, tokens: gone.tokens },
    )
}

/// The answer, from the terminal or whatever is in its place.
fn agreed(context: &mut Context<'_>, question: &str) -> Result<bool, Failure> {
    let mut stderr = io::stderr().lock();
    // Nobody is there to be asked when standard error is gone, and nobody says yes.
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    let answer = context.around.stdin_line();
    if !io::stdin().is_terminal() {
        let _ = writeln!(stderr);
    }
    let answer = answer.map_err(|error| {
        Failure::general(format!("the answer cannot be read: {error}"), "--yes says it beforehand.")
    })?;
    Ok(answer.is_some_and(|answer| {
        let answer = answer.expose().trim_ascii();
        answer.eq_ignore_ascii_case(b"y") || answer.eq_ignore_ascii_case(b"yes")
    }))
}

pub(super) fn upgrade(context: &Context<'_>) -> Result<(), Failure> {
    let (old, new) = Admin::upgrade(&context.config)?;
    output::print(context.format, &Upgraded { new, old })
}

pub(super) fn add_empty(context: &Context<'_>, options: &AddEmptyToken) -> Result<(), Failure> {
    note_unused_auth(&options.unused);
    let slot = context.admin()?.empty_slot(options.pid)?;
    note("a store has an empty slot for C_InitToken at all times: nothing had to be added");
    output::print(context.format, &Empty { action: "Existing", pid: options.pid, slot })
}
