//! What bash, zsh and fish offer after the tabulator: verbs, options and their values, as the generated completions have them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::session::Session;
use common::{Machine, are_installed};

/// What is typed, and what is offered for it: in the order of no shell, since each has its own.
const OFFERED: [(&str, &[&str]); 7] = [
    ("ptool list", &["listobjects", "listprimaries", "listtokens"]),
    ("ptool pcr r", &["revoke"]),
    ("ptool lockout ", &["forget", "reset", "status"]),
    ("ptool addkey --alg", &["--algorithm"]),
    ("ptool addkey --label=t --algorithm=ec", &["ecc224", "ecc256", "ecc384", "ecc521"]),
    ("ptool addkey --algorithm ecc2", &["ecc224", "ecc256"]),
    ("ptool config --label=t --snippet=openssl-", &["openssl-engine", "openssl-provider"]),
];

/// A home with the completions of one shell in a file.
fn machine(shell: &str, file: &str) -> Machine {
    let machine = Machine::new();
    assert!(machine.shell(&format!("ptool generate completions {shell} >{file}")).status.success());
    machine
}

/// Types in a shell that runs on a terminal and has asked for input, and sees what it offers.
fn tabulate(session: &mut Session) {
    for (typed, offered) in OFFERED {
        session.type_keys(typed);
        session.type_keys("\t\t");
        // One that is the only one is put in; of several, a list stands below the line.
        let at = session.seen().len();
        for word in offered {
            while !session.seen()[at..].contains(word.strip_prefix(last_word(typed)).unwrap_or(word)) {
                session.wait_for_anything();
            }
        }
        // Nothing of it is run: the line is thrown away.
        session.type_keys("\x15echo d\"\"one\n");
        session.wait_for("done");
    }
    session.type_keys("exit\n");
}

fn last_word(typed: &str) -> &str {
    typed.rsplit([' ', '=']).next().unwrap()
}

#[test]
fn bash_offers_them() {
    let machine = machine("bash", "ptool.bash");
    let mut session = Session::start(&machine, "TERM=dumb PS1='ask> ' bash --norc --noprofile -i");
    session.wait_for("ask> ");
    session.type_keys(
        "source ./ptool.bash; bind 'set page-completions off'; bind 'set show-all-if-ambiguous on'; PS1='ready> '\n",
    );
    session.wait_for("ready> ");
    tabulate(&mut session);
    session.end();
}

#[test]
fn zsh_offers_them() {
    if !are_installed(&["zsh"]) {
        return;
    }
    let machine = machine("zsh", "_ptool");
    let mut session = Session::start(&machine, "TERM=dumb PS1='ask> ' zsh -f -i");
    session.wait_for("ask> ");
    let line =
        "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste; PS1='ready> '\n";
    session.type_keys(line);
    session.wait_for("ready> ");
    tabulate(&mut session);
    session.end();
}

#[test]
fn fish_offers_them() {
    if !are_installed(&["fish"]) {
        return;
    }
    let machine = machine("fish", "ptool.fish");
    for (typed, offered) in OFFERED {
        let line = format!("source ptool.fish; complete -C '{typed}'");
        let output = machine.command("fish").args(["--no-config", "-c", &line]).output().unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        // A word, and what it is about; values stand with the option before them.
        let words = seen.lines().filter_map(|line| line.split('\t').next()?.rsplit('=').next());
        let mut words: Vec<&str> = words.collect();
        words.retain(|word| *word != "help");
        words.sort_unstable();
        assert_eq!(words, offered, "{typed}: {seen}");
    }
}
