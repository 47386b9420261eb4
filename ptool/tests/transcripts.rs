//! The command line as its users see it: each file in `transcripts/` is a session on a machine of its own.
//!
//! `$ line` is a line of shell. Below it stand what it prints (`! ` before what goes to standard error) and, if it is not 0,
//! `? status`. `[..]` stands for anything on one line. `% FILE: SQL` changes a database behind everybody's back. `# ` starts a
//! remark.
//!
//! A session that was not what was recorded is written anew, as it was, into the directory for temporary files of tests.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;
mod peer;

use std::fmt::Write;
use std::path::Path;

use common::Machine;

#[test]
fn quick_start() {
    replay("quick-start.txt");
}

#[test]
fn residence() {
    replay_with(&["tpm2_create"], "residence.txt");
}

#[test]
fn bulk() {
    replay("bulk.txt");
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

#[test]
fn files() {
    replay("files.txt");
}

#[test]
fn import_secret() {
    replay("import-secret.txt");
}

#[test]
fn export_parity() {
    replay_with(&["tpm2_load", "tpm2_sign"], "export-parity.txt");
}

#[test]
fn primary_auth() {
    replay_with(&["tpm2_evictcontrol"], "primary-auth.txt");
}

#[test]
fn first_pin() {
    replay("first-pin.txt");
}

#[test]
fn options() {
    replay("options.txt");
}

#[test]
fn held_back() {
    replay("held-back.txt");
}

#[test]
fn lockout() {
    replay_with(&["tpm2_changeauth"], "lockout.txt");
}

#[test]
fn import_failures() {
    replay("import-failures.txt");
}

#[test]
fn take_out() {
    replay("take-out.txt");
}

#[test]
fn backup_failures() {
    replay("backup-failures.txt");
}

#[test]
fn shell() {
    replay("shell.txt");
}

#[test]
fn generate() {
    replay("generate.txt");
}

#[test]
fn certificate_failures() {
    replay("certificate-failures.txt");
}

#[test]
fn policies() {
    replay("policies.txt");
}

#[test]
fn store() {
    replay("store.txt");
}

#[test]
fn link() {
    replay_with(&["tpm2_create", "tpm2_evictcontrol", "tpm2_changeauth"], "link.txt");
}

#[test]
fn migrate() {
    if common::are_installed(&["tpm2_createprimary", "tpm2_changeauth"]) {
        let machine = Machine::new();
        peer::make(&machine);
        replay_on(&machine, "migrate.txt");
    }
}

#[test]
fn attestation() {
    replay_certified("attestation.txt");
}

#[test]
fn attestation_failures() {
    replay_certified("attestation-failures.txt");
}

#[test]
fn attestation_forged() {
    replay_with(&["tpm2_certify", "openssl", "python3"], "attestation-forged.txt");
}

/// With a TPM whose endorsement keys have certificates.
fn replay_certified(name: &str) {
    if common::are_installed(&["swtpm_setup", "openssl", "tpm2_makecredential", "tpm2_create", "python3"]) {
        replay_on(&Machine::with_endorsement(), name);
    }
}

#[test]
fn every_option() {
    replay("every-option.txt");
}

#[test]
fn names() {
    replay("names.txt");
}

/// As `replay`, where these programs are. A machine without them is told which to install; in CI that is a failure.
fn replay_with(programs: &[&str], name: &str) {
    if common::are_installed(programs) {
        replay(name);
    }
}

/// Plays the session again and compares it with what was recorded, as one text, so that all differences show at once.
fn replay(name: &str) {
    replay_on(&Machine::new(), name);
}

fn replay_on(machine: &Machine, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let recorded = std::fs::read_to_string(path).unwrap();
    assert!(recorded.contains("$ "), "{name}: nothing is played");
    let mut lines = recorded.lines().peekable();
    let (mut differences, mut anew) = (String::new(), String::new());
    while let Some(line) = lines.next() {
        writeln!(anew, "{line}").unwrap();
        if let Some((file, sql)) = line.strip_prefix("% ").and_then(|rest| rest.split_once(": ")) {
            rusqlite::Connection::open(machine.home.path().join(file)).unwrap().execute_batch(sql).unwrap();
            continue;
        }
        let Some(shell) = line.strip_prefix("$ ") else {
            assert!(line.is_empty() || line.starts_with("# "), "{name}: not a line of shell: {line}");
            continue;
        };
        let mut wanted = Vec::new();
        let is_output =
            |line: &&str| !["$ ", "% ", "# "].iter().any(|start| line.starts_with(start)) && !line.is_empty();
        while let Some(line) = lines.next_if(is_output) {
            wanted.push(line);
        }
        let seen = run(machine, shell);
        if seen.len() != wanted.len() || seen.iter().zip(&wanted).any(|(seen, wanted)| !matches(wanted, seen)) {
            writeln!(differences, "$ {shell}\n--- recorded\n{}\n--- seen\n{}", wanted.join("\n"), seen.join("\n"))
                .unwrap();
        }
        for line in &seen {
            // Of patterns that fit, the one that says most.
            let known = wanted.iter().filter(|wanted| matches(wanted, line)).max_by_key(|wanted| wanted.len());
            writeln!(anew, "{}", known.copied().unwrap_or(line)).unwrap();
        }
    }
    if !differences.is_empty() {
        let draft = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&draft, anew).unwrap();
        panic!("{name}: as it was this time: {}\n{differences}", draft.display());
    }
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
        assert!(include_str!("transcripts.rs").contains(&format!("\"{name}\")")), "{name}");
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
