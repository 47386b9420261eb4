//! Every verb stands in the transcripts, once as it succeeds and once as it fails.

use std::collections::{BTreeMap, BTreeSet};
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
    let mut seen: BTreeMap<String, Seen> = verbs(&cli).into_iter().map(|verb| (verb, Seen::default())).collect();
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
fn verbs(command: &Command) -> Vec<String> {
    let mut names = Vec::new();
    each_verb(command, "", &mut |name, _| names.push(name.to_owned()));
    names
}

fn each_verb(command: &Command, above: &str, see: &mut impl FnMut(&str, &Command)) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{above}{}", verb.get_name());
        if does_something(verb) {
            see(&name, verb);
        }
        each_verb(verb, &format!("{name} "), see);
    }
}

/// What has verbs of its own is one itself only if it has options, too.
fn does_something(verb: &Command) -> bool {
    !verb.has_subcommands()
        || verb
            .get_arguments()
            .any(|option| !option.is_global_set() && option.get_id() != "help" && option.get_id() != "version")
}

/// The commands on a line of shell, each after what joins it to the one before.
fn simple_commands(line: &str) -> Vec<(&str, &str)> {
    let mut commands = Vec::new();
    let (mut start, mut joined, mut quote) = (0, "", None);
    let mut at = 0;
    while let Some(c) = line.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = line.get(at..).unwrap_or_default();
        let joiner = ["&&", "||", "|", ";"].into_iter().find(|joiner| quote.is_none() && rest.starts_with(joiner));
        if let Some(joiner) = joiner {
            commands.push((joined, line.get(start..at).unwrap_or_default()));
            at += joiner.len();
            (start, joined) = (at, joiner);
            continue;
        }
        quote = match quote {
            None if matches!(c, '\'' | '"') => Some(c),
            Some(open) if open == c => None,
            quote => quote,
        };
        at += c.len_utf8();
    }
    commands.push((joined, line.get(start..).unwrap_or_default()));
    commands
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

/// What is known of the verbs on a line: the last command ended with its status, and so did those before it that `&&` joins if that
/// is 0. Of one that another program reads, that stands before `;`, or beside `||`, nothing is known.
fn outcomes(cli: &Command, line: &str, status: i32) -> Vec<(String, bool)> {
    let commands = simple_commands(line);
    let start = commands.iter().rposition(|(joined, _)| *joined == ";").unwrap_or(0);
    let last = commands.get(start..).unwrap_or_default();
    let joins = |joiner| last.iter().skip(1).any(|(joined, _)| *joined == joiner);
    if joins("||") || (status != 0 && joins("&&")) {
        return Vec::new();
    }
    let is_read = |position: usize| last.get(position + 1).is_some_and(|(joined, _)| *joined == "|");
    let known = last.iter().enumerate().filter(|(position, _)| !is_read(*position));
    known.filter_map(|(_, (_, command))| Some((verb_of(cli, command)?, status == 0))).collect()
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
            None if does_something(at) => break,
            None => {}
        }
    }
    (!names.is_empty() && does_something(at)).then(|| names.join(" "))
}

#[test]
fn outcomes_are_those_that_are_known() {
    let of = |line, status| outcomes(&Cli::command(), line, status);
    let pairs = |list: &[(&str, bool)]| list.iter().map(|(verb, ok)| ((*verb).to_owned(), *ok)).collect::<Vec<_>>();
    assert_eq!(of("ptool init && ptool addtoken --label=t", 0), pairs(&[("init", true), ("addtoken", true)]));
    assert_eq!(of("ptool init && ptool addtoken --label=t", 1), []);
    assert_eq!(of("ptool init --path='a;b|c'", 1), pairs(&[("init", false)]));
    assert_eq!(of("echo x | ptool init && ptool listtokens | head", 0), pairs(&[("init", true)]));
    assert_eq!(of("ptool init || true", 0), []);
    assert_eq!(of("ptool init; A=1 ptool --path D pcr show sha256:0 2>/dev/null", 2), pairs(&[("pcr show", false)]));
    assert_eq!(of("ptool listtokens | grep x", 0), []);
    assert_eq!(of("echo ptool init", 0), []);
    assert_eq!(of("ptool pcr", 2), []);
}

/// The options of each verb that stand in no transcript, hidden ones apart.
#[test]
fn every_option_stands_in_a_transcript() {
    let cli = Cli::command();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    for entry in std::fs::read_dir(transcripts).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for (_, command) in text.lines().filter_map(|line| line.strip_prefix("$ ")).flat_map(simple_commands) {
            if let Some(verb) = verb_of(&cli, command) {
                let words = command.split_whitespace().filter(|word| word.starts_with('-'));
                let names = words.map(|word| word.split('=').next().unwrap_or_default().to_owned());
                used.entry(verb).or_default().extend(names);
            }
        }
    }
    let mut missing = Vec::new();
    each_verb(&cli, "", &mut |name, verb| {
        let used = used.get(name).cloned().unwrap_or_default();
        let options = verb.get_arguments().filter(|option| !option.is_hide_set() && !option.is_positional());
        for option in options {
            let names = option.get_long().into_iter().chain(option.get_visible_aliases().unwrap_or_default());
            let short = option.get_short().map(|name| format!("-{name}"));
            let names: Vec<String> = names.map(|name| format!("--{name}")).chain(short).collect();
            if !names.iter().any(|name| used.contains(name)) {
                missing.push(format!("{name} {}", names.join(" or ")));
            }
        }
    });
    assert!(missing.is_empty(), "{missing:#?}");
}
