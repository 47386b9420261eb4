//! The `swtpm-fixtures` program, as shell scripts use it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use swtpm_fixtures::RawClient;

const GET_RANDOM: u32 = 0x17b;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_swtpm-fixtures"))
}

fn ask(control: &str, request: &str) -> Output {
    program().args(["--control", control]).args(request.split(' ')).output().unwrap()
}

fn answer(control: &str, request: &str) -> String {
    let output = ask(control, request);
    assert!(output.status.success(), "{request}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The variables that the program says to export.
fn variables(said: &str) -> HashMap<&str, &str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name, value.trim_matches('\'')))
        .collect()
}

fn port(tcti: &str) -> u16 {
    tcti.rsplit_once("port=").unwrap().1.parse().unwrap()
}

fn is_gone_soon(pid: u32) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie is gone: nobody here is its parent.
        if state.is_empty() || state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn run_gives_a_command_a_tpm_and_its_status_back() {
    let output = program()
        .args([
            "run",
            "--env",
            "MY_TCTI",
            "--",
            "sh",
            "-c",
            r#"[ "$MY_TCTI" = "$SWTPM_TCTI" ] && echo "$SWTPM_TCTI"; exit 3"#,
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("swtpm:host=127.0.0.1,port="), "{said}");
    assert!(RawClient::connect(port(said.trim())).is_err(), "it is gone");
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("commands 0\n"));
}

#[test]
fn a_started_one_takes_requests_until_it_is_told_to_quit() {
    let output = program().args(["start", "--rm"]).stderr(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let variables = variables(&said);
    let (control, tcp) = (variables["SWTPM_FIXTURES_CONTROL"], variables["SWTPM_TCTI_TCP"]);
    assert!(variables["SWTPM_TCTI"].starts_with("device:/"), "{said}");

    let mut client = RawClient::connect(port(tcp)).unwrap();
    assert_eq!(client.command(GET_RANDOM, &[0, 8]).unwrap().0, 0);
    assert_eq!(answer(control, "peek"), "commands 1\nchip 1\nconnections 1\nnames GetRandom\n");
    answer(control, "mark");
    assert_eq!(client.command(0x186, &[0, 0, 0, 0x0b]).unwrap().0, 0);
    assert_eq!(client.command(GET_RANDOM, &[0, 8]).unwrap().0, 0);
    assert_eq!(answer(control, "mark"), "commands 2\nchip 7\nconnections 0\nnames HashSequenceStart GetRandom\n");

    answer(control, "fault respond GetRandom 0x922 1");
    assert_eq!(client.command(GET_RANDOM, &[0, 8]).unwrap().0, 0x922);
    answer(control, "lockout 5 10");
    assert!(answer(control, "leftovers").contains("persistent: []"));
    answer(control, "restart");
    answer(control, "delay 40");
    let start = Instant::now();
    assert_eq!(RawClient::connect(port(tcp)).unwrap().command(GET_RANDOM, &[0, 8]).unwrap().0, 0);
    assert!(start.elapsed() >= Duration::from_millis(40));

    let nonsense = ask(control, "fault sabotage Load");
    assert_eq!(nonsense.status.code(), Some(2));
    assert!(String::from_utf8(nonsense.stderr).unwrap().contains("unknown fault"));

    answer(control, "quit");
    let start = Instant::now();
    while RawClient::connect(port(tcp)).is_ok() || Path::new(control).exists() {
        assert!(start.elapsed() < Duration::from_secs(5), "it ends");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_is_left_when_the_owner_or_the_program_dies() {
    // What is killed can not tidy up.
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Command::new("sleep").arg("60").spawn().unwrap();
    let serve = |owner: u32| {
        let mut program = program()
            .args(["serve", "--owner", &owner.to_string()])
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The empty line: it runs.
        let output = BufReader::new(program.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap().is_empty()));
        let tpm = swtpm_of(program.id());
        (program, tpm)
    };
    let (mut first, first_tpm) = serve(owner.id());
    let (mut second, second_tpm) = serve(owner.id());
    assert!(!is_gone_already(first_tpm));

    first.kill().unwrap();
    first.wait().unwrap();
    assert!(is_gone_soon(first_tpm), "the TPM dies with the program, even when it is killed");

    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(is_gone_soon(second_tpm), "the program ends with its owner");
    assert!(second.wait().unwrap().success());
}

fn is_gone_already(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// The `swtpm` whose parent is this process.
fn swtpm_of(parent: u32) -> u32 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            stat.contains("(swtpm)") && fields.nth(1) == Some(&parent.to_string())
        })
        .unwrap()
}
