//! What came over, from then on: PINs, rows, and whom they are bound to.

use std::path::PathBuf;

use pkcs11_sys::*;
use rusqlite::{Connection, params};

use crate::workshop::{INITIALIZED, SO_PIN, Store, USER_PIN, Workshop, hex, int, map, mechanisms, text, truth};

/// A store of version 8, with the token `old`, its PINs, its key and what `more` adds, that has come over.
fn taken_over(more: impl FnOnce(&Workshop, &Store<'_>)) -> Workshop {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    more(&workshop, &store);
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    workshop
}

#[test]
fn the_security_officer_gives_the_wrapping_key_up() {
    let workshop = taken_over(|_, _| ());
    let world = &workshop.world;
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
    assert!(before[0].starts_with("pbkdf2") && before[1].starts_with("sha256"), "{before:?}");
    // The user's PIN is changed: a seal of ours.
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
    let workshop = taken_over(|workshop, store| store.object(1, &workshop.public_key("key")));
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
    let workshop = taken_over(|_, _| ());
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
    let workshop = taken_over(|_, store| {
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
    });
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
    let workshop = taken_over(|workshop, store| store.object(1, &workshop.public_key("key")));
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
