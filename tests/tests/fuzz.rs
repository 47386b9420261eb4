//! The program `fuzz`, for some seconds of each kind, always from the same seed; and that what it looks for, it finds.

use std::process::{Command, Stdio};

use tests::world::Run;

fn fuzz(arguments: &[&str]) -> Run {
    Run::of(Command::new(env!("CARGO_BIN_EXE_fuzz")).args(arguments).env("RUST_BACKTRACE", "0").stdin(Stdio::null()))
}

/// On a machine with much else to do, an honest input may wait longer than anybody would.
const PATIENT: [&str; 2] = ["--patience", "120"];

#[test]
fn readers_of_files_and_responses_hold() {
    let run = fuzz(&[&["bytes", "--seconds", "10", "--seed", "7"], &PATIENT[..]].concat()).ok();
    let text = run.text();
    for target in tests::fuzz::readers::TARGETS {
        let line = text.lines().find(|line| line.starts_with(&format!("{}: ", target.name)));
        let inputs: Option<u64> = line.and_then(|line| line.split([' ', ':']).nth(2)?.parse().ok());
        // More than its specimens, of which one takes a part of a second.
        assert!(inputs.is_some_and(|inputs| inputs > 10), "{}: {text}", target.name);
    }
}

#[test]
fn sequences_of_calls_hold() {
    let run = fuzz(&["calls", "--seconds", "10", "--seed", "7"]).ok();
    let text = run.text();
    let well: Option<usize> = text.lines().last().and_then(|line| line.split(' ').nth(2)?.parse().ok());
    assert!(well.is_some_and(|well| well > 20), "{text}");
}

#[test]
fn processes_on_one_store_hold() {
    let run = fuzz(&["soak", "--seconds", "10", "--seed", "7"]).ok();
    assert!(run.text().contains(" signatures\n") && run.text().contains(" are there"), "{run:?}");
}

#[test]
fn what_is_planted_is_found() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    for (target, patience, what) in [
        ("planted-panic", "120", "planted"),
        ("planted-crash", "120", "SIGABRT"),
        ("planted-hang", "3", "no outcome in 3s"),
    ] {
        let run = fuzz(&["bytes", "--seconds", "60", "--patience", patience, "--out", out, target]);
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.text().contains(what), "{run:?}");
        let file = run
            .text()
            .lines()
            .find_map(|line| Some(line.trim()).filter(|line| line.starts_with(out)).map(str::to_owned));
        let file = file.unwrap_or_else(|| panic!("no file: {run:?}"));
        assert_ne!(std::fs::read(&file).unwrap().first(), Some(&b'f'), "{run:?}");
        let again = fuzz(&["replay", "--patience", patience, target, &file]);
        assert_eq!(again.status, Some(1), "{again:?}");
        std::fs::write(&file, "fine").unwrap();
        fuzz(&["replay", "--patience", "120", target, &file]).ok();
    }
}
