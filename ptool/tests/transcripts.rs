//! The command line as its users see it: each file in `transcripts/` is a session on a machine of its own.
//!
//! `$ line` is a line of shell. Below it stand what it prints (`! ` before what goes to standard error) and, if it is not 0,
//! `? status`. `[..]` stands for anything on one line. `# ` starts a remark.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use std::fmt::Write;
use std::path::Path;

use common::Machine;

#[test]
fn quick_start() {
    replay("quick-start.txt");
}

#[test]
fn pin_sources() {
    replay("pin-sources.txt");
}

#[test]
fn pin_changes() {
    replay("pin-changes.txt");
}

#[test]
fn without_pin() {
    replay("without-pin.txt");
}

#[test]
fn formats() {
    replay("formats.txt");
}

#[test]
fn primaries() {
    replay("primaries.txt");
}

#[test]
fn failures() {
    replay("failures.txt");
}

#[test]
fn rebuild() {
    replay("rebuild.txt");
}

#[test]
fn parity() {
    replay("parity.txt");
}

#[test]
fn certificates() {
    replay("certificates.txt");
}

#[test]
fn doctor() {
    replay("doctor.txt");
}

#[test]
fn pcr() {
    replay("pcr.txt");
}

#[test]
fn import() {
    replay("import.txt");
}

#[test]
fn export() {
    replay("export.txt");
}

#[test]
fn backup() {
    replay("backup.txt");
}

/// Plays the session again and compares it with what was recorded, as one text, so that all differences show at once.
fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let recorded = std::fs::read_to_string(path).unwrap();
    let machine = Machine::new();
    let mut expected = recorded.lines().filter(|line| !line.starts_with("# ") && !line.is_empty());
    let mut differences = String::new();
    let mut current = expected.next();
    assert!(current.is_some(), "{name}: nothing is played");
    while let Some(line) = current {
        let shell = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{name}: not a line of shell: {line}"));
        let mut wanted = Vec::new();
        current = expected.next();
        while let Some(line) = current.filter(|line| !line.starts_with("$ ")) {
            wanted.push(line);
            current = expected.next();
        }
        let seen = run(&machine, shell);
        if seen.len() != wanted.len() || seen.iter().zip(&wanted).any(|(seen, wanted)| !matches(wanted, seen)) {
            writeln!(differences, "$ {shell}\n--- recorded\n{}\n--- seen\n{}", wanted.join("\n"), seen.join("\n"))
                .unwrap();
        }
    }
    assert!(differences.is_empty(), "{name}:\n{differences}");
}

fn run(machine: &Machine, shell: &str) -> Vec<String> {
    let output = machine.shell(shell);
    let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.extend(String::from_utf8(output.stderr).unwrap().lines().map(|line| format!("! {line}")));
    match output.status.code() {
        Some(0) => {}
        Some(status) => lines.push(format!("? {status}")),
        None => lines.push(format!("? {}", output.status)),
    }
    lines.retain(|line| !line.is_empty() && line != "! ");
    lines
}

fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(position) => rest = &rest[position + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn every_transcript_is_played() {
    let names = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        assert!(include_str!("transcripts.rs").contains(&format!("replay(\"{name}\")")), "{name}");
    }
}

#[test]
fn wildcards_match_what_they_should() {
    assert!(matches("serial: '[..]'", "serial: '0123'"));
    assert!(matches("a [..] b [..]", "a x b y"));
    assert!(!matches("a [..] b", "a x c"));
    assert!(!matches("abc", "abcd"));
    assert!(!matches("abc[..]", "ab"));
}
