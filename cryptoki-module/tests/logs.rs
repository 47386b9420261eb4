//! `TPM2_CRYPTOKI_LOG`, seen from outside: each test runs [`speaks`] in a process of its own with that environment.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs::File;
use std::process::{Command, Stdio};
use std::ptr::null_mut;

use common::turn;
use pkcs11_sys::*;

/// A program that does three things, of which one is wrong.
#[test]
#[ignore = "run by the other tests, each in its own environment"]
fn speaks() {
    let _turn = turn();
    let mut pin = *b"secret-pin";
    assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
    assert_eq!(call!(C_Login(1, CKU_USER, pin.as_mut_ptr(), 10)), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(call!(C_Initialize(null_mut())), CKR_CRYPTOKI_ALREADY_INITIALIZED);
}

fn program(log: Option<&str>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "speaks", "--ignored", "--nocapture", "--test-threads=1"]).stdout(Stdio::null());
    match log {
        Some(log) => command.env("TPM2_CRYPTOKI_LOG", log),
        None => command.env_remove("TPM2_CRYPTOKI_LOG"),
    };
    command
}

/// What the program wrote to stderr.
fn stderr(log: Option<&str>) -> String {
    let output = program(log).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn silence_is_the_default() {
    assert_eq!(stderr(None), "");
    assert_eq!(stderr(Some("off")), "");
    assert_eq!(stderr(Some("loud")), "");
}

#[test]
fn a_failing_call_is_one_line_at_warn() {
    let text = stderr(Some("warn"));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("tpm2-cryptoki["), "{text}");
    assert!(text.contains("]: warn: C_Login: CKR_SESSION_HANDLE_INVALID: "), "{text}");
}

#[test]
fn every_call_is_one_line_at_debug_and_no_pin_is_in_it() {
    let text = stderr(Some("debug"));
    let calls: Vec<_> = text.lines().filter(|line| line.contains(": C_")).collect();
    assert_eq!(calls.len(), 4, "{text}");
    assert!(calls[0].contains("]: debug: C_Initialize: CKR_OK ("), "{text}");
    assert!(calls[2].contains("]: info: C_Initialize: CKR_CRYPTOKI_ALREADY_INITIALIZED: "), "{text}");
    assert!(calls[3].contains("]: debug: C_Finalize: CKR_OK ("), "{text}");
    assert!(!text.contains("secret-pin"), "{text}");
}

#[test]
fn a_file_gets_the_lines_instead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let request = format!("warn:{}", path.display());
    assert_eq!(stderr(Some(&request)), "");
    assert_eq!(stderr(Some(&request)), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn a_stderr_that_cannot_be_written_harms_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(program(Some("trace")).stderr(writer).status().unwrap().success());
    let read_only = File::open("/dev/null").unwrap();
    assert!(program(Some("trace")).stderr(read_only).status().unwrap().success());
    // A pipe that is full and not read.
    let (_reader, writer) = std::io::pipe().unwrap();
    assert!(program(Some("trace")).stderr(writer).status().unwrap().success());
}
