//! Every verb stands in the transcripts, once as it succeeds and once as it fails.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::Cli;

/// Verbs that cannot fail from outside, with the reason.
const NEVER_FAIL: [(&str, &str); 0] = [];

/// What the transcripts show of a verb.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    success: bool,
    failure: bool,
}

#[test]
fn every_verb_stands_in_a_transcript() {
    let cli = Cli::command();
    let mut seen: BTreeMap<String, Seen> = verbs(&cli, "").into_iter().map(|verb| (verb, Seen::default())).collect();
    assert!(seen.len() > 35, "{seen:?}");
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    for entry in std::fs::read_dir(transcripts).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for (line, status) in lines(&text) {
            for (verb, success) in outcomes(&cli, line, status) {
                let seen = seen.get_mut(&verb).unwrap();
                seen.success |= success;
                seen.failure |= !success;
            }
        }
    }
    let may_not_fail = |verb: &str| NEVER_FAIL.iter().any(|(name, _)| *name == verb);
    let missing: Vec<String> = seen
        .iter()
        .flat_map(|(verb, seen)| {
            let success = (!seen.success).then(|| format!("{verb}: never succeeds"));
            let failure = (!seen.failure && !may_not_fail(verb)).then(|| format!("{verb}: never fails"));
            success.into_iter().chain(failure)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The verbs that do something, such as `addkey` and `pcr show`.
fn verbs(command: &Command, above: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    below
        .flat_map(|verb| {
            let name = format!("{above}{}", verb.get_name());
            match verb.has_subcommands() {
                true => verbs(verb, &format!("{name} ")),
                false => vec![name],
            }
        })
        .collect()
}

/// The lines of shell in a transcript, and what each ended with.
fn lines(transcript: &str) -> Vec<(&str, i32)> {
    let mut found: Vec<(&str, i32)> = Vec::new();
    for line in transcript.lines() {
        if let Some(shell) = line.strip_prefix("$ ") {
            found.push((shell, 0));
        } else if let (Some(status), Some(last)) = (line.strip_prefix("? "), found.last_mut()) {
            last.1 = status.parse().unwrap_or(-1);
        }
    }
    found
}

/// What is known of the verbs on a line: its last command ended with its status, and so did all before it that `&&` joins if that is 0.
/// Of what another program reads, or stands before `;`, nothing is known.
fn outcomes(cli: &Command, line: &str, status: i32) -> Vec<(String, bool)> {
    let last = line.rsplit(';').next().unwrap_or_default();
    let commands: Vec<&str> = last.split("&&").collect();
    let known =
        if status == 0 { commands.as_slice() } else { commands.last().map(std::slice::from_ref).unwrap_or_default() };
    let known = known.iter().filter(|command| !command.split("||").next().unwrap_or_default().contains('|'));
    known.filter_map(|command| Some((verb_of(cli, command)?, status == 0))).collect()
}

/// The verb that a simple command runs, if it is `ptool`.
fn verb_of(cli: &Command, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let is_program = |word: &&str| matches!(*word, "ptool" | "bin/tpm2_ptool");
    let program = words.iter().position(is_program)?;
    // Before it stand variables only; in `$(ptool ...)` it is an argument of something else.
    if !words[..program].iter().all(|word| word.contains('=') || *word == "(") {
        return None;
    }
    let mut at = cli;
    let mut names = Vec::new();
    for word in &words[program + 1..] {
        match at.get_subcommands().find(|verb| verb.get_name() == *word) {
            Some(verb) => {
                names.push(verb.get_name());
                at = verb;
            }
            None if !at.has_subcommands() => break,
            None => {}
        }
    }
    (!names.is_empty() && !at.has_subcommands()).then(|| names.join(" "))
}

#[test]
fn outcomes_are_those_that_are_known() {
    let of = |line, status| outcomes(&Cli::command(), line, status);
    let pairs = |list: &[(&str, bool)]| list.iter().map(|(verb, ok)| ((*verb).to_owned(), *ok)).collect::<Vec<_>>();
    assert_eq!(of("ptool init && ptool addtoken --label=t", 0), pairs(&[("init", true), ("addtoken", true)]));
    assert_eq!(of("ptool init && ptool addtoken --label=t", 1), pairs(&[("addtoken", false)]));
    assert_eq!(of("ptool init; A=1 ptool --path D pcr show sha256:0 2>/dev/null", 2), pairs(&[("pcr show", false)]));
    assert_eq!(of("ptool listtokens | grep x", 0), []);
    assert_eq!(of("echo ptool init", 0), []);
    assert_eq!(of("ptool pcr", 2), []);
}
