//! What a transcript cannot show: the terminal, pipes that close, and TPMs that fail.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use std::process::Stdio;

use common::Machine;
use common::session::Session;
use swtpm_fixtures::{Fault, Proxy};

#[test]
fn pins_are_prompted_for_without_echo() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init").status.success());
    let line = "ptool addtoken --label=t && ptool addkey --label=t --algorithm=rsa2048";
    let mut session = Session::start(&machine, line);
    for (question, answer) in [
        ("Security officer PIN: ", "adminpin\n"),
        ("Security officer PIN again: ", "adminpin\n"),
        ("User PIN: ", "user1\n"),
        ("User PIN again: ", "user1\n"),
        ("User PIN: ", "user1\n"),
    ] {
        session.wait_for(question);
        session.type_keys(answer);
    }
    session.wait_for("this can take a minute");
    session.wait_for("action: add");
    let (status, seen) = session.end();
    assert_eq!(status, Some(0), "{seen}");
    assert!(!seen.contains("adminpin") && !seen.contains("user1"), "{seen}");
}

#[test]
fn ctrl_c_at_a_prompt_ends_the_program_and_mends_the_terminal() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init").status.success());
    let mut session = Session::start(&machine, "trap : INT; ptool addtoken --label=t; echo status $?; stty -a");
    session.wait_for("Security officer PIN: ");
    session.type_keys("adm\x03");
    session.wait_for("status 130");
    session.wait_for("echonl");
    let (_, seen) = session.end();
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert!(words.contains(&"echo") && words.contains(&"isig") && words.contains(&"icanon"), "{seen}");
    assert_eq!(String::from_utf8(machine.shell("ptool listtokens").stdout).unwrap(), "[]\n");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let machine = Machine::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = machine.command("ptool").arg("init").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(machine.shell("ptool listprimaries").status.success());
}

#[test]
fn a_terminal_gets_tables_and_colours_and_a_pipe_gets_yaml() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let seen = |line: &str| {
        let (status, seen) = Session::start(&machine, line).end();
        assert_eq!(status, Some(0), "{seen}");
        seen
    };
    let table = seen("TERM=xterm ptool listtokens");
    assert!(table.contains("\u{1b}[1mID") && table.contains("LABEL"), "{table:?}");
    for plain in
        ["TERM=xterm NO_COLOR=1 ptool listtokens", "TERM=dumb ptool listtokens", "ptool listtokens --output=text"]
    {
        let table = seen(plain);
        assert!(table.starts_with("ID  LABEL") && !table.contains('\u{1b}'), "{plain}: {table:?}");
    }
    assert!(seen("ptool listtokens --output=yaml").starts_with("- id: 1"));
    assert!(seen("ptool listtokens | cat").starts_with("- id: 1"));
}

/// A terminal without echo would look as if it were dead.
#[test]
fn a_prompt_that_is_killed_leaves_the_terminal_as_it_was() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let line = "sh -c 'echo $$ >pid; exec ptool initpin --label=t'; echo status $?; stty -a";
        let mut session = Session::start(&machine, line);
        session.wait_for("Security officer PIN: ");
        let pid = std::fs::read_to_string(machine.home.path().join("pid")).unwrap();
        assert!(machine.shell(&format!("kill -{signal} {pid}")).status.success());
        session.wait_for(&format!("status {status}"));
        let (_, seen) = session.end();
        assert!(seen.contains(" icanon iexten echo "), "{signal}: {seen}");
    }
}

#[test]
fn listing_needs_no_tpm() {
    let mut machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    machine.tpm.stop();
    for line in ["ptool listprimaries", "ptool listtokens", "ptool listobjects --label=t"] {
        let output = machine.shell(line);
        assert!(output.status.success(), "{line}: {output:?}");
    }
}

#[test]
fn results_are_yaml_and_json_of_the_same_value() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let json = machine.shell("ptool listtokens --output=json").stdout;
    let tokens: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let yaml = String::from_utf8(machine.shell("ptool listtokens").stdout).unwrap();
    for (key, value) in tokens[0].as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let line = yaml.lines().find_map(|line| line[2..].strip_prefix(&format!("{key}: "))).unwrap();
        assert_eq!(line.trim_matches('\''), value, "{key}");
    }
}

#[test]
fn another_tpm_is_told_from_a_wrong_pin() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let other = swtpm_fixtures::SwTpm::start();
    let line = "ptool addkey --label=t --userpin=user1 --algorithm=ecc256";
    let output = machine.command("sh").args(["-c", line]).env("TPM2_CRYPTOKI_TCTI", other.tcti()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn a_primary_is_made_at_each_use_where_the_tpm_keeps_none() {
    const EVICT_CONTROL: u32 = 0x120;
    const RC_NV_SPACE: u32 = 0x14B;
    let machine = Machine::new();
    let proxy = Proxy::start(&machine.tpm);
    let run =
        |line: &str| machine.command("sh").args(["-c", line]).env("TPM2_CRYPTOKI_TCTI", proxy.tcti()).output().unwrap();
    proxy.inject(Fault::Respond { code: EVICT_CONTROL, rc: RC_NV_SPACE, times: 1 });

    let output = run("ptool init");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "action: Created\nid: 1\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("made again at each use"));

    let output = run("ptool addtoken --label=t --sopin=officer --userpin=user1");
    assert!(output.status.success(), "{output:?}");
    let output = run("ptool addkey --label=t --userpin=user1 --algorithm=ecc256");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_owner_authorization_is_asked_for_when_it_is_needed() {
    const HIERARCHY_CHANGE_AUTH: u32 = 0x129;
    const RH_OWNER: u32 = 0x4000_0001;
    let machine = Machine::new();
    let changed = machine.tpm.connect().unwrap().command_with_empty_password(
        HIERARCHY_CHANGE_AUTH,
        &[RH_OWNER],
        b"\x00\x05owner",
    );
    assert_eq!(changed.unwrap().0, 0);

    let output = machine.shell("ptool init");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("--hierarchy-auth"));
    assert!(machine.shell("echo owner | ptool init --hierarchy-auth=-").status.success());
}

#[test]
fn changed_objects_are_found() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --no-userpin").status.success());
    assert!(machine.shell("ptool addkey --label=t --algorithm=ecc256 --key-label=genuine").status.success());
    assert!(machine.shell("ptool verify --label=t").status.success());

    let file = machine.store().join("tpm2_cryptoki.sqlite3");
    let mut bytes = std::fs::read(&file).unwrap();
    let label = b"genuine";
    let places: Vec<usize> =
        bytes.windows(label.len()).enumerate().filter(|(_, w)| w == label).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + label.len()].copy_from_slice(b"altered");
    }
    std::fs::write(&file, bytes).unwrap();

    let output = machine.shell("ptool verify --label=t");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("were altered"));
}

#[test]
fn a_key_the_tpm_cannot_make_is_named() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    // Whether a software TPM makes RSA 4096 depends on its version; both answers must be right.
    let output = machine.shell("ptool addkey --label=t --userpin=user1 --algorithm=rsa4096");
    match output.status.code() {
        Some(0) => assert!(String::from_utf8(output.stdout).unwrap().starts_with("action: add\n")),
        status => {
            assert_eq!(status, Some(1), "{output:?}");
            assert!(
                String::from_utf8(output.stderr).unwrap().starts_with("ptool: this TPM does not make rsa4096 keys\n")
            );
        }
    }
}

#[test]
fn what_is_typed_wrong_changes_nothing() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init").status.success());
    let line = "ptool addtoken --label=t";
    let long = "x".repeat(2000) + "\n";
    for (typed, status, said) in [
        (["sesame1\n", "sesame2\n"], 2, "the two entries of the security officer PIN differ"),
        (["\n", ""], 2, "the security officer PIN is empty"),
        (["\x04", ""], 1, "no security officer PIN was entered"),
        ([long.as_str(), ""], 2, "the security officer PIN cannot be read: the answer is too long"),
    ] {
        let mut session = Session::start(&machine, line);
        session.wait_for("Security officer PIN: ");
        session.type_keys(typed[0]);
        if !typed[1].is_empty() {
            session.wait_for("Security officer PIN again: ");
            session.type_keys(typed[1]);
        }
        let (ended, seen) = session.end();
        assert_eq!(ended, Some(status), "{seen}");
        assert!(seen.contains(said) && seen.contains("Nothing was changed."), "{seen}");
        assert!(!seen.contains("sesame"), "{seen}");
    }
    assert_eq!(String::from_utf8(machine.shell("ptool listtokens").stdout).unwrap(), "[]\n");
}

#[test]
fn what_is_bound_to_values_for_ever_is_asked_about() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let line = "ptool addkey --label=t --userpin=user1 --algorithm=ecc256 --pcr=sha256:0";
    for (answer, status, said) in [("n\n", 1, "nothing was made"), ("y\n", 0, "action: add")] {
        let mut session = Session::start(&machine, line);
        session.wait_for("go on? [y/N]");
        session.type_keys(answer);
        let (ended, seen) = session.end();
        assert_eq!(ended, Some(status), "{seen}");
        assert!(seen.contains(said), "{seen}");
    }
}

#[test]
fn a_store_that_others_keep_locked_is_said_to_be_that() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let store = rusqlite::Connection::open(machine.store().join("tpm2_cryptoki.sqlite3")).unwrap();
    store.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let output = machine.shell("ptool rmtoken --label=t");
    store.execute_batch("ROLLBACK").unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("\n  Nothing was changed; try again.\n"));
    assert!(machine.shell("ptool rmtoken --label=t").status.success());
}

#[test]
fn a_tpm_that_fails_is_not_a_wrong_pin() {
    const UNSEAL: u32 = 0x15E;
    const RC_FAILURE: u32 = 0x101;
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let proxy = Proxy::start(&machine.tpm);
    proxy.inject(Fault::Respond { code: UNSEAL, rc: RC_FAILURE, times: 9 });
    let line = "ptool verify --label=t --userpin=user1";
    let output = machine.command("sh").args(["-c", line]).env("TPM2_CRYPTOKI_TCTI", proxy.tcti()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("restart what provides the TPM"));
}

#[test]
fn every_secret_is_asked_for_without_echo() {
    let machine = Machine::new();
    let prepared = "ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1 &&
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkcs8 -topk8 -passout pass:sesame -out locked.pem";
    assert!(machine.shell(prepared).status.success());
    let sessions: [(&str, &[(&str, &str)]); 4] = [
        (
            "ptool changepin --label=t",
            &[("User PIN: ", "user1\n"), ("New user PIN: ", "user2\n"), ("New user PIN again: ", "user2\n")],
        ),
        (
            "ptool initpin --label=t",
            &[("Security officer PIN: ", "officer\n"), ("User PIN: ", "user1\n"), ("User PIN again: ", "user1\n")],
        ),
        (
            "ptool import --label=t --privkey=locked.pem --key-label=k",
            &[("Passphrase of locked.pem: ", "sesame\n"), ("User PIN: ", "user1\n")],
        ),
        // A dash on a terminal is a prompt, too.
        (
            "ptool export --label=t --userpin=- --key-label=k --format=tss2 -o k.tss",
            &[("User PIN: ", "user1\n"), ("Passphrase: ", "sesame\n"), ("Passphrase again: ", "sesame\n")],
        ),
    ];
    for (line, questions) in sessions {
        let mut session = Session::start(&machine, line);
        for (question, answer) in questions {
            session.wait_for(question);
            session.type_keys(answer);
        }
        let (status, seen) = session.end();
        assert_eq!(status, Some(0), "{line}: {seen}");
        assert!(
            ["user1", "user2", "officer\r", "sesame"].iter().all(|secret| !seen.contains(secret)),
            "{line}: {seen}"
        );
    }
}

#[test]
fn slow_work_is_shown_on_a_terminal_and_nowhere_else() {
    let machine = Machine::new();
    assert!(machine.shell("ptool init && ptool addtoken --label=t --sopin=officer --userpin=user1").status.success());
    let line = "ptool addkey --label=t --userpin=user1 --algorithm=rsa2048";
    let (status, seen) = Session::start(&machine, line).end();
    assert_eq!(status, Some(0), "{seen}");
    // Shown, and gone before the result.
    let (before, after) = seen.split_once("\r\u{1b}[K").unwrap_or_else(|| panic!("{seen:?}"));
    assert!(before.contains("this can take a minute") && after.contains("action: add"), "{seen:?}");
    assert!(!after.contains("this can take a minute"), "{seen:?}");
    for quiet in [format!("{line} 2>errors"), format!("TERM=dumb {line} 2>&1 | cat")] {
        let (status, seen) = Session::start(&machine, &quiet).end();
        assert_eq!(status, Some(0), "{seen}");
        assert!(seen.contains("action: add") && !seen.contains("minute"), "{quiet}: {seen:?}");
    }
    assert_eq!(std::fs::read(machine.home.path().join("errors")).unwrap(), b"");
}
