//! Stores of tpm2-pkcs11 of every layout, 1 to 9, made by hand: `ptool migrate` takes them over, with the spellings that releases
//! of that software left in them.

mod settled;
mod spoiled;
mod workshop;

use std::path::PathBuf;

use pkcs11_sys::*;
use rusqlite::{Connection, params};
use serde_json::Value;
use tests::Ck;
use tests::world::{Run, World};
use workshop::{
    ENC_BLOB, INITIALIZED, OBJAUTH_ENC, SERIALIZED_TR, SO_PIN, USER_PIN, Workshop, hex, int, map, mechanisms, text,
    truth,
};

#[test]
fn every_version_comes_over() {
    let workshop = Workshop::new();
    for version in 1..=9 {
        let name = format!("v{version}");
        let store = workshop.store(version, &name);
        store.token(3, Some(&format!("{name}  ")), INITIALIZED);
        store.pins(3, true);
        store.object(3, &workshop.private_key("key", &mechanisms(version), false));
        store.object(3, &workshop.public_key("key"));
        drop(store);
        let file = workshop.directory(&name).join("tpm2_pkcs11.sqlite3");
        let before = std::fs::read(&file).unwrap();
        let (status, report) = workshop.migrate(&name, &[]);
        assert_eq!((status, &report["schema"]), (Some(0), &Value::from(version)), "{report:#}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "the store of version {version} was changed");
        assert_eq!(std::fs::read_dir(workshop.directory(&name)).unwrap().count(), 1, "a file beside it");
        workshop.assert_signs(&name, "key");
        let probe = workshop.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of(&name));
        let public = probe.public_key(session, "key");
        assert_eq!(probe.attribute(session, public, CKA_VERIFY).unwrap(), [1]);
        assert_eq!(probe.attribute(session, public, CKA_ENCRYPT).unwrap(), [0]);
        probe.login(session, CKU_USER, USER_PIN).unwrap();
        let key = probe.private_key(session, "key");
        let allowed = probe.attribute(session, key, CKA_ALLOWED_MECHANISMS).unwrap();
        let allowed: Vec<u64> = allowed.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        assert!(allowed.contains(&CKM_ECDSA) && allowed.contains(&CKM_ECDSA_SHA256), "{allowed:x?}");
        assert!(!allowed.contains(&0) && allowed.len() <= 3, "{allowed:x?}");
        assert_eq!(probe.attribute(session, key, CKA_ID).unwrap(), [0x0a, 0x0b]);
        probe.finalize().unwrap();
    }
    // All of them are one TPM's, with one primary.
    let primaries = workshop.world.ptool_ok(&["listprimaries", "--output=json"]);
    assert_eq!(serde_json::from_slice::<Value>(&primaries.stdout).unwrap().as_array().unwrap().len(), 1);
    // And none comes over twice.
    let before = workshop.world.store_bytes();
    let (status, report) = workshop.migrate("v5", &[]);
    assert_eq!((status, &report["tokens"][0]["action"]), (Some(0), &Value::from("present")));
    assert_eq!(workshop.world.store_bytes(), before);
}

#[test]
fn what_cannot_come_over_is_named_and_the_rest_comes() {
    let workshop = Workshop::new();
    let store = workshop.store(9, "mixed");
    store.token(1, Some("good"), "--- !!seq [ !!map { ? !!str \"token-init\" : !!bool \"true\" } ]\n");
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", "!!str \"\"", true));
    store.object(1, "!!map { ? !!int \"0\" ");
    store.object(1, &map(&[(CKA_CLASS, int(CKO_SECRET_KEY)), (CKA_KEY_TYPE, int(CKK_GENERIC_SECRET))]));
    store.object(1, &map(&[(CKA_CLASS, int(CKO_DOMAIN_PARAMETERS))]));
    store.object(
        1,
        &map(&[
            (CKA_CLASS, int(CKO_PRIVATE_KEY)),
            (CKA_KEY_TYPE, int(CKK_EC)),
            (CKA_LABEL, text(&hex(b"linked"))),
            (SERIALIZED_TR, text("81000002")),
        ]),
    );
    store.object(
        1,
        &map(&[
            (CKA_CLASS, int(CKO_DATA)),
            (CKA_PRIVATE, truth(true)),
            (CKA_LABEL, text(&hex(b"note"))),
            (ENC_BLOB, workshop.wrap(b"remember the milk")),
        ]),
    );
    // No label at all.
    store.object(
        1,
        &map(&[(CKA_CLASS, int(CKO_CERTIFICATE)), (CKA_CERTIFICATE_TYPE, int(0)), (CKA_VALUE, text("3000"))]),
    );
    store.token(2, None, "--- !!map { ? !!str \"token-init\" : !!bool \"false\" }\n");
    store.token(5, Some("so only"), "token-init: true\ntcti: device:/dev/tpmrm0\nlog-level: 2\n");
    store.pins(5, false);
    store.token(6, Some("broken"), "{");
    store.pins(6, true);
    store.token(7, Some("of another primary"), INITIALIZED);
    store.pins(7, true);
    store.conn.execute("UPDATE tokens SET pid = 9 WHERE id = 7", []).unwrap();
    // Here it is the label of the first.
    store.token(9, Some("good "), INITIALIZED);
    store.pins(9, true);
    store.token(8, Some("a label that is longer than PKCS#11 has place"), INITIALIZED);
    store.pins(8, true);
    drop(store);

    let (status, dry) = workshop.migrate("mixed", &["--dry-run"]);
    assert_eq!(status, Some(1));
    assert!(!workshop.world.store_file().exists(), "a dry run wrote something");
    let (status, mut report) = workshop.migrate("mixed", &[]);
    assert_eq!(status, Some(1));
    report["dry_run"] = Value::from(true);
    assert_eq!(dry, report, "the dry run said something else");
    let action = |token: usize| report["tokens"][token]["action"].as_str().unwrap().to_owned();
    assert_eq!((0..7).map(action).collect::<Vec<_>>(), ["migrate", "skip", "migrate", "skip", "skip", "skip", "skip"]);
    let why = |token: usize| report["tokens"][token]["why"].as_str().unwrap_or_default().to_owned();
    for (token, word) in
        [(1, "never initialized"), (3, "settings"), (4, "primary key"), (5, "32 bytes"), (6, "has this label")]
    {
        assert!(why(token).contains(word), "{}", why(token));
    }
    let objects = report["tokens"][0]["objects"].as_array().unwrap();
    let whys: Vec<_> = objects.iter().map(|object| object["why"].as_str().unwrap_or("comes")).collect();
    for (why, word) in
        whys.iter().zip(["comes", "not YAML", "no key in the TPM", "kind", "handle is damaged", "comes", "comes"])
    {
        assert!(why.contains(word), "{whys:?}");
    }
    let notes = report["tokens"][2]["notes"].to_string();
    assert!(notes.contains("TCTI") && notes.contains("ptool initpin"), "{notes}");

    // The key asks for the PIN each time, as before.
    let probe = workshop.world.probe().initialized();
    let session = probe.open_ro(probe.slot_of("good"));
    probe.login(session, CKU_USER, USER_PIN).unwrap();
    let key = probe.private_key(session, "key");
    probe.init("C_SignInit", session, CKM_ECDSA_SHA256, key).unwrap();
    assert_eq!(probe.transform("C_Sign", session, b"message"), Err(Ck(CKR_USER_NOT_LOGGED_IN)));
    probe.init("C_SignInit", session, CKM_ECDSA_SHA256, key).unwrap();
    probe.login(session, CKU_CONTEXT_SPECIFIC, USER_PIN).unwrap();
    probe.transform("C_Sign", session, b"message").unwrap();
    let note = probe.key(session, CKO_DATA, "note");
    assert_eq!(probe.attribute(session, note, CKA_VALUE).unwrap(), b"remember the milk");
    probe.finalize().unwrap();

    // The user who had no PIN gets one.
    workshop.world.ptool_ok(&["initpin", "--label=so only", "--sopin", SO_PIN, "--userpin", "first-pin"]);
    workshop.world.ptool_ok(&["verify", "--label=so only", "--sopin", SO_PIN, "--userpin", "first-pin"]);
}

#[test]
fn a_linked_persistent_key_comes_over_by_its_handle() {
    let workshop = Workshop::new();
    let world = &workshop.world;
    std::fs::write(world.path("key.pub"), &workshop.key.public).unwrap();
    std::fs::write(world.path("key.priv"), &workshop.key.private).unwrap();
    let persist = "tpm2_load -Q -C 0x81000001 -u key.pub -r key.priv -c key.ctx
                   tpm2_evictcontrol -Q -C o -c key.ctx 0x81000010 -o key.handle
                   tpm2_flushcontext -t";
    let tools = |line: &str| {
        workshop.tpm.release();
        let mut command = world.command("sh");
        Run::of(command.args(["-ec", line]).env("TPM2TOOLS_TCTI", world.proxy.tcti())).ok();
    };
    tools(persist);
    // As the tools of the TPM2 Software Stack write it.
    let reference = std::fs::read(world.path("key.handle")).unwrap();
    for (name, at) in [("there", 0x8100_0010_u32), ("gone", 0x8100_0011)] {
        let reference = [&at.to_be_bytes(), &reference[4..]].concat();
        let store = workshop.store(9, name);
        store.token(1, Some(name), INITIALIZED);
        store.pins(1, true);
        store.object(
            1,
            &map(&[
                (CKA_CLASS, int(CKO_PRIVATE_KEY)),
                (CKA_KEY_TYPE, int(CKK_EC)),
                (CKA_LABEL, text(&hex(b"linked"))),
                (CKA_SIGN, truth(true)),
                (OBJAUTH_ENC, workshop.wrap(workshop.key_auth.as_bytes())),
                (SERIALIZED_TR, text(&hex(&reference))),
            ]),
        );
    }
    let (status, report) = workshop.migrate("there", &[]);
    assert_eq!(status, Some(0), "{report:#}");
    workshop.assert_signs("there", "linked");
    let (status, report) = workshop.migrate("gone", &["--dry-run"]);
    assert_eq!(status, Some(1));
    let why = report["tokens"][0]["objects"][0]["why"].as_str().unwrap();
    assert!(why.contains("0x81000011") && why.contains("nothing there"), "{why}");
}

#[test]
fn the_security_officer_gives_the_wrapping_key_up() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    drop(store);
    let world = &workshop.world;
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let seals = || {
        let store = Connection::open(world.store_file()).unwrap();
        let mut statement = store.prepare("SELECT derivation || length(private) FROM pins ORDER BY role").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|row| row.unwrap()).collect::<Vec<_>>()
    };
    // The officer's PIN is changed: it still unseals the wrapping key, in 64 digits.
    world.ptool_ok(&["changepin", "--label=old", "--user=so", "--old", SO_PIN, "--new=officer-2"]);
    workshop.assert_signs("old", "key");
    let before = seals();
    // The user's has been one of ours since the first login, and opens by the same PIN.
    assert!(before[0].starts_with("pbkdf2") && before[1].starts_with("pbkdf2"), "{before:?}");
    world.ptool_ok(&["changepin", "--label=old", "--old", USER_PIN, "--new=user-2"]);
    let wrong = world.ptool(&["verify", "--label=old", "--userpin", USER_PIN]);
    assert_eq!(wrong.status, Some(3), "the old PIN still works: {wrong:?}");
    // Whoever put the officer's row there must not get at the user's keys by it: nothing has shown yet that it is the officer's.
    let has_policy = || {
        let store = Connection::open(world.store_file()).unwrap();
        let sql = "SELECT public FROM pins WHERE role = 'user'";
        let public: Vec<u8> = store.query_row(sql, [], |row| row.get(0)).unwrap();
        !tpm::PublicArea::parse(&public).unwrap().auth_policy().is_empty()
    };
    assert!(!has_policy());
    world.ptool_ok(&["verify", "--label=old", "--userpin=user-2", "--sopin=officer-2"]);
    // The officer sets one: nothing of the other software is left.
    world.ptool_ok(&["initpin", "--label=old", "--sopin=officer-2", "--userpin", USER_PIN]);
    assert!(has_policy());
    let after = seals();
    assert!(after.iter().all(|seal| seal.starts_with("pbkdf2")), "{after:?}");
    assert_ne!(before[0], after[0], "the officer's seal holds as much as before");
    workshop.assert_signs("old", "key");
    world.ptool_ok(&["initpin", "--label=old", "--sopin=officer-2", "--userpin=user-4"]);
    world.ptool_ok(&["verify", "--label=old", "--userpin=user-4", "--sopin=officer-2"]);
    let wrong = world.ptool(&["changepin", "--label=old", "--old", USER_PIN, "--new=user-5"]);
    assert_eq!(wrong.status, Some(3), "{wrong:?}");
}

#[test]
fn a_store_that_cannot_be_written_is_served_as_it_came() {
    use std::os::unix::fs::PermissionsExt;
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    store.object(1, &workshop.public_key("key"));
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let world = &workshop.world;
    let before = world.store_bytes();
    // The superuser may write what nobody may: so the file is the journal's that it may not make.
    let mount =
        std::process::Command::new("mount").args(["--bind", "-o", "ro"]).arg(world.store()).arg(world.store()).status();
    if !mount.is_ok_and(|status| status.success()) {
        std::fs::set_permissions(world.store(), std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
            let _ = std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700));
        }
    }
    let mounted = Unmount(world.store());
    workshop.assert_signs("old", "key");
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("old"));
    probe.login(session, CKU_SO, SO_PIN).unwrap();
    probe.public_key(session, "key");
    probe.finalize().unwrap();
    assert_eq!(world.store_bytes(), before);
    drop(mounted);
    workshop.assert_signs("old", "key");
    assert_ne!(world.store_bytes(), before, "it was not bound to its PIN when it could be");
}

#[test]
fn a_changed_row_is_found_once_the_token_is_bound_to_its_pin() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    // Whichever program is the first.
    workshop.world.ptool_ok(&["verify", "--label=old", "--userpin", USER_PIN, "--sopin", SO_PIN]);
    workshop.assert_signs("old", "key");
    let store = Connection::open(workshop.world.store_file()).unwrap();
    store.execute("UPDATE objects SET label = x'6f74686572', mac = NULL", []).unwrap();
    drop(store);
    let run = workshop.world.ptool(&["verify", "--label=old", "--userpin", USER_PIN]);
    assert_eq!(run.status, Some(5), "{run:?}");
}

/// Before the first login rows have no codes; but none can say then what the other software has no word for.
#[test]
fn nobody_trusts_a_certificate_because_a_row_says_so() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    for label in ["one", "two"] {
        store.object(
            1,
            &map(&[
                (CKA_CLASS, int(CKO_CERTIFICATE)),
                (CKA_CERTIFICATE_TYPE, int(0)),
                (CKA_LABEL, text(&hex(label.as_bytes()))),
                (CKA_TRUSTED, truth(true)),
                (CKA_VALUE, text("3000")),
            ]),
        );
    }
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let world = &workshop.world;
    let store = Connection::open(world.store_file()).unwrap();
    let changed = store
        .execute(
            "UPDATE attributes SET value = (SELECT value FROM attributes WHERE type = ?1 LIMIT 1)
                 WHERE type = ?2 AND object_id = (SELECT id FROM objects WHERE label = x'74776f')",
            params![CKA_MODIFIABLE.cast_signed(), CKA_TRUSTED.cast_signed()],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(store);
    workshop.assert_signs("old", "key");
    let probe = world.probe().initialized();
    let session = probe.open_ro(probe.slot_of("old"));
    probe.login(session, CKU_USER, USER_PIN).unwrap();
    let one = probe.key(session, CKO_CERTIFICATE, "one");
    assert_eq!(probe.attribute(session, one, CKA_TRUSTED).unwrap(), [0]);
    probe.finalize().unwrap();
    let run = world.ptool(&["verify", "--label=old", "--userpin", USER_PIN]);
    assert_eq!(run.status, Some(5), "the other one was taken for genuine: {run:?}");
}

#[test]
fn a_token_is_bound_to_its_pin_once() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    store.object(1, &workshop.public_key("key"));
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let world = &workshop.world;
    let config = |text: &str| {
        let store = Connection::open(world.store_file()).unwrap();
        store.execute("UPDATE tokens SET config = ?1", params![text]).unwrap();
        store.execute("UPDATE objects SET label = x'6f74686572', mac = NULL WHERE class = 2", []).unwrap();
    };
    workshop.assert_signs("old", "key");
    // Somebody makes it look as if it had just come over, and writes another public key's label.
    config("{\"code\":null,\"adopted\":true}");
    for pin in [["--userpin", USER_PIN], ["--sopin", SO_PIN]] {
        let run = world.ptool(&[&["verify", "--label=old"], &pin[..]].concat());
        assert_eq!(run.status, Some(5), "{run:?}");
        assert!(run.stderr.contains("altered"), "{run:?}");
    }
}

#[test]
fn another_tpm_and_a_damaged_store_are_said_to_be_that() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    drop(store);
    let elsewhere = World::empty();
    let from = workshop.directory("old");
    let from = from.to_str().unwrap();
    let run = elsewhere.ptool(&["migrate", "--from", from]);
    assert!(run.status == Some(1) && run.text().contains("another TPM, or was cleared"), "{run:?}");
    assert!(!elsewhere.store_file().exists());
    let file = format!("{from}/tpm2_pkcs11.sqlite3");
    for (name, spoil) in [
        ("newer", "UPDATE schema SET schema_version = 10"),
        ("strange", "UPDATE schema SET schema_version = 'x'"),
        ("no schema", "DROP TABLE schema"),
    ] {
        let copy = elsewhere.path(name);
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(&file, copy.join("tpm2_pkcs11.sqlite3")).unwrap();
        Connection::open(copy.join("tpm2_pkcs11.sqlite3")).unwrap().execute_batch(spoil).unwrap();
        let run = elsewhere.ptool(&["migrate", "--from", copy.to_str().unwrap()]);
        assert_eq!(run.status, Some(5), "{name}: {run:?}");
    }
    std::fs::write(format!("{file}-journal"), b"half a journal").unwrap();
    let run = elsewhere.ptool(&["migrate", "--from", from]);
    assert!(run.status == Some(5) && run.stderr.contains("journal"), "{run:?}");
    let run = elsewhere.ptool(&["migrate", "--from", "/nowhere"]);
    assert!(run.status == Some(5) && run.stderr.contains("tpm2_pkcs11.sqlite3"), "{run:?}");
}

#[test]
fn killed_while_it_takes_over_it_leaves_everything_or_nothing() {
    let workshop = Workshop::of(World::empty().managed());
    let store = workshop.store(8, "old");
    for id in 1..=4 {
        store.token(id, Some(&format!("old {id}")), INITIALIZED);
        store.pins(id, true);
        for number in 0..40 {
            store.object(id, &workshop.private_key(&format!("key {number}"), &mechanisms(8), false));
        }
    }
    drop(store);
    workshop.tpm.release();
    let world = &workshop.world;
    let from = workshop.directory("old");
    let mut whole = 0;
    for round in 0..16 {
        let mut command = world.command(tests::product::ptool());
        let mut child =
            command.arg("migrate").arg("--from").arg(&from).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + 12 * round));
        // The program is a grandchild in a session of its own: what the session's leader runs goes with it.
        kill_tree(child.id());
        let _ = child.wait();
        if !world.store_file().exists() {
            continue;
        }
        let store = Connection::open(world.store_file()).unwrap();
        let sound: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let count = |table: &str| -> i64 {
            store.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        match (count("primaries"), count("tokens"), count("pins"), count("objects")) {
            (0, 0, 0, 0) => {}
            (1, 4, 8, 160) => whole += 1,
            other => panic!("half of it came over: {other:?}"),
        }
        drop(store);
        if whole == 1 {
            std::fs::remove_dir_all(world.store()).unwrap();
            whole = 0;
        }
    }
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    workshop.assert_signs("old 4", "key 39");
}

/// Kills a process and everything below it.
fn kill_tree(pid: u32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        kill_tree(child);
    }
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}
