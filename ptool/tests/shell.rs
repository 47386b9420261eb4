//! `ptool shell --swtpm`, and what an installation is made from.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `ptool` in an environment without any configuration, whose temporary files are in a directory of the test's own.
fn ptool(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptool"));
    command
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("PATH", std::env::var("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .current_dir(home.path())
        .stdin(Stdio::null());
    command
}

fn shell(home: &TempDir, line: &str) -> Output {
    ptool(home).args(["shell", "--swtpm", "--", "sh", "-c", line]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `shell` leaves behind: directories, and TPMs that run in them.
fn leftovers(home: &TempDir) -> Vec<PathBuf> {
    std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn running(home: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"swtpm\0") && text(&line).contains(home.to_str().unwrap())
    })
}

#[test]
fn everything_is_set_up_and_nothing_is_left() {
    let home = tempfile::tempdir().unwrap();
    let line = "ptool addkey --label=demo --userpin=1234 --algorithm=ecc256 --key-label=ssh && ptool listtokens && \
                echo \"module $MODULE\" && cat $TPM2_CRYPTOKI_CONFIG && exit 7";
    let output = shell(&home, line);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(
        ["action: add", "label: demo", "libtpm2_cryptoki.so", "idle-ms = 50\n"].iter().all(|part| said.contains(part)),
        "{said}"
    );
    assert_eq!((leftovers(&home), running(home.path())), (Vec::new(), false));
}

#[test]
fn a_shell_that_is_typed_into_says_where_one_is() {
    let home = tempfile::tempdir().unwrap();
    let mut child = ptool(&home)
        .args(["shell", "--swtpm"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"ptool verify --label=demo --userpin=1234\nexit 3\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stdout).contains("user_pin: true"), "{output:?}");
    assert!(text(&output.stderr).contains("user PIN 1234"), "{output:?}");
    assert_eq!((leftovers(&home), running(home.path())), (Vec::new(), false));
}

#[test]
fn who_kills_it_kills_its_tpm() {
    let home = tempfile::tempdir().unwrap();
    let mut child = ptool(&home)
        .args(["shell", "--swtpm", "--", "sh", "-c", "echo ready; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
    assert!(running(home.path()));
    // What ran in the shell ends with its input.
    let input = child.stdin.take();
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while running(home.path()) || !leftovers(&home).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", leftovers(&home));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(input);
}

#[test]
fn state_is_kept_for_the_next_time() {
    let home = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let mut command = ptool(&home);
        let output = command.args(["shell", "--swtpm", "--state=mine", "--", "sh", "-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        text(&output.stdout)
    };
    run("ptool addkey --label=demo --userpin=1234 --algorithm=ecc256 --key-label=kept");
    assert!(run("ptool listobjects --label=demo").contains("kept"));
    assert!(run("ptool verify --label=demo --userpin=1234").contains("user_pin: true"));
    assert!(!running(home.path()));
}

#[test]
fn without_swtpm_it_says_what_to_install() {
    let home = tempfile::tempdir().unwrap();
    let programs = home.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    for program in ["sh", "rm"] {
        let place =
            ["/bin", "/usr/bin"].map(|place| Path::new(place).join(program)).into_iter().find(|path| path.exists());
        std::os::unix::fs::symlink(place.unwrap(), programs.join(program)).unwrap();
    }
    let output = ptool(&home).env("PATH", &programs).args(["shell", "--swtpm", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("Debian: swtpm"), "{output:?}");
}

#[test]
fn pages_and_completions_cover_every_verb() {
    let home = tempfile::tempdir().unwrap();
    // A configuration that cannot be read is no reason to install no manual.
    let generate = |arguments: &[&str]| {
        let mut command = ptool(&home);
        command.arg("generate").args(arguments).env("TPM2_CRYPTOKI_CONFIG", "/nowhere");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    };
    generate(&["man", "man1"]);
    let help = text(&ptool(&home).arg("help").output().unwrap().stdout);
    let verbs = help
        .split_once("Commands:")
        .unwrap()
        .1
        .split_once("Options:")
        .unwrap()
        .0
        .split_once("\n\n")
        .map_or("", |(verbs, _)| verbs);
    let verbs: Vec<&str> = verbs
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 15, "{help}");
    let [bash, zsh, fish] = ["bash", "zsh", "fish"].map(|shell| generate(&["completions", shell]));
    for verb in verbs {
        let page = std::fs::read_to_string(home.path().join(format!("man1/ptool-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{verb}: {page}");
        for completions in [&bash, &zsh, &fish] {
            assert!(completions.contains(verb), "{verb}");
        }
    }
    assert!(!home.path().join("man1/ptool-generate.1").exists());
    assert!(std::fs::read_to_string(home.path().join("man1/ptool.1")).unwrap().contains("EXTRA"));
}
