//! From the first login on the token is bound to the user's PIN, and nobody makes it look as if it were not.

use pkcs11_sys::*;
use rusqlite::Connection;
use tests::probe::number;

use crate::workshop::{INITIALIZED, SO_PIN, USER_PIN, Workshop, mechanisms};

/// What hides something by the means of ours shows that the rows were written anew; without any such row the user's seal does.
#[test]
fn nothing_is_signed_for_whoever_says_that_the_token_just_came() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    store.object(1, &workshop.public_key("key"));
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let world = &workshop.world;
    workshop.assert_signs("old", "key");
    let whole = world.store_bytes();
    let alter = |how: &str| {
        std::fs::write(world.store_file(), &whole).unwrap();
        let store = Connection::open(world.store_file()).unwrap();
        store.execute_batch("PRAGMA foreign_keys = ON; DELETE FROM objects WHERE class <> 2").unwrap();
        store.execute("UPDATE objects SET label = x'6f74686572', mac = NULL", []).unwrap();
        store.execute("UPDATE tokens SET config = '{\"code\":null,\"adopted\":true}'", []).unwrap();
        store.execute_batch(how).unwrap();
    };
    for how in ["", "UPDATE pins SET derivation = 'sha256', iterations = 1 WHERE role = 'user'"] {
        alter(how);
        let run = world.ptool(&["verify", "--label=old", "--userpin", USER_PIN]);
        assert!(matches!(run.status, Some(3 | 5)), "{how}: {run:?}");
        // The officer's login binds nothing to anything.
        world.ptool(&["verify", "--label=old", "--sopin", SO_PIN]);
        let store = Connection::open(world.store_file()).unwrap();
        let signed: i64 =
            store.query_row("SELECT count(*) FROM objects WHERE mac IS NOT NULL", [], |row| row.get(0)).unwrap();
        assert_eq!(signed, 0, "{how}");
    }
}

#[test]
fn the_officer_may_be_the_first() {
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
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("old"));
    probe.login(session, CKU_SO, SO_PIN).unwrap();
    probe.public_key(session, "key");
    probe.finalize().unwrap();
    assert!(world.store_bytes() == before, "a login of the officer wrote something");
    world.ptool_ok(&["initpin", "--label=old", "--sopin", SO_PIN, "--userpin", USER_PIN]);
    workshop.assert_signs("old", "key");
    world.ptool_ok(&["verify", "--label=old", "--userpin", USER_PIN, "--sopin", SO_PIN]);
}

/// Another process binds the token to its PIN while this one is logged in.
#[test]
fn who_is_logged_in_learns_that_the_rows_have_codes_now() {
    let workshop = Workshop::new();
    let store = workshop.store(8, "old");
    store.token(1, Some("old"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(8), false));
    store.object(1, &workshop.public_key("key"));
    drop(store);
    assert_eq!(workshop.migrate("old", &[]).0, Some(0));
    let world = &workshop.world;
    let busy = Connection::open(world.store_file()).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("old"));
    probe.login(session, CKU_USER, USER_PIN).unwrap();
    let key = probe.private_key(session, "key");
    probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    busy.execute_batch("COMMIT").unwrap();
    drop(busy);
    workshop.assert_signs("old", "key");
    let public = probe.public_key(session, "key");
    assert_eq!(probe.attribute(session, public, CKA_LABEL).unwrap(), b"key");
    let store = Connection::open(world.store_file()).unwrap();
    assert_eq!(store.execute("UPDATE objects SET label = x'6f74686572', mac = NULL WHERE class = 2", []).unwrap(), 1);
    drop(store);
    let found = probe.find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]);
    assert_eq!(found.unwrap().len(), 0, "a row without a code is still served");
    // The login goes on: it is the same wrapping key.
    let key = probe.private_key(session, "key");
    probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    probe.finalize().unwrap();
}
