//! What came over, used for the first time in the ways that people use it; and stores in which something is not as it should be.

use std::path::Path;

use rusqlite::params;
use serde_json::Value;
use tests::world::Run;

use crate::workshop::{INITIALIZED, SO_PIN, USER_PIN, Workshop, mechanisms};

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// A store with a token that has a PIN and one that has none, a key pair in each.
fn two_tokens(workshop: &Workshop) {
    let store = workshop.store(9, "two");
    store.token(1, Some("tok"), INITIALIZED);
    store.pins(1, true);
    store.token(2, Some("free"), "token-init: true\nempty-user-pin: true\n");
    store.pins_of(2, SO_PIN, Some(""));
    for token in [1, 2] {
        store.object(token, &workshop.private_key("key", &mechanisms(9), false));
        store.object(token, &workshop.public_key("key"));
    }
}

/// `verify` and `doctor` as the first use: what they say of rows that had no codes until this very PIN opened them.
#[test]
fn nothing_that_came_over_is_said_to_be_altered() {
    let workshop = Workshop::new();
    two_tokens(&workshop);
    let world = &workshop.world;
    let user = ["--userpin", USER_PIN];
    let root = world.path("root");
    std::fs::create_dir(&root).unwrap();
    let doctor = ["doctor", "--label=tok", "--root", root.to_str().unwrap()];
    for first in [
        [&["verify", "--label=tok"][..], &user].concat(),
        vec!["verify", "--label=tok", "--sopin", SO_PIN],
        vec!["verify", "--label=free"],
        [&doctor[..], &user].concat(),
    ] {
        assert_eq!(workshop.migrate("two", &[]).0, Some(0));
        for time in ["first", "second"] {
            let run = world.ptool_ok(&[&first[..], &["--output=json"]].concat());
            let said = json(&run);
            match first[0] {
                "verify" => assert_eq!(said["altered"], Value::Array(Vec::new()), "{time}: {first:?}: {run:?}"),
                _ => assert!(!run.text().contains("\"fail\""), "{time}: {run:?}"),
            }
        }
        std::fs::remove_dir_all(world.store()).unwrap();
    }
}

/// One token with something wrong in its rows beside one that is whole: what the damage is, what is then said of the token, and
/// of its only object.
const DAMAGE: &[(&str, &str, &str)] = &[
    ("UPDATE pobjects SET objauth = 'wrong' WHERE id = 2", "another authorization", ""),
    ("UPDATE pobjects SET objauth = zeroblob(2000000) WHERE id = 2", "too long", ""),
    ("UPDATE pobjects SET config = x'ff' WHERE id = 2", "UTF-8", ""),
    ("UPDATE pobjects SET config = zeroblob(2000000) WHERE id = 2", "too long", ""),
    ("UPDATE pobjects SET hierarchy = x'ff' WHERE id = 2", "hierarchy", ""),
    ("UPDATE tokens SET pid = 'two' WHERE id = 2", "primary key is not in the store", ""),
    ("UPDATE tokens SET config = x'ff' WHERE id = 2", "UTF-8", ""),
    ("UPDATE tokens SET label = 'a' || char(0) || 'b' WHERE id = 2", "zero byte", ""),
    ("UPDATE sealobjects SET userpriv = NULL WHERE tokid = 2", "PIN is incomplete", ""),
    ("UPDATE sealobjects SET sopub = 1.5 WHERE tokid = 2", "PINs cannot be read", ""),
    ("UPDATE sealobjects SET soauthsalt = zeroblob(2000000) WHERE tokid = 2", "PINs cannot be read", ""),
    ("UPDATE tobjects SET attrs = zeroblob(2000000) WHERE tokid = 2", "", "too long"),
    ("UPDATE tobjects SET attrs = x'ff' WHERE tokid = 2", "", "UTF-8"),
];

#[test]
fn what_is_wrong_with_one_row_leaves_the_others_alone() {
    let workshop = Workshop::new();
    let world = &workshop.world;
    let store = workshop.store(9, "two");
    store.conn.execute("INSERT INTO pobjects SELECT 2, hierarchy, config, objauth FROM pobjects", []).unwrap();
    for (token, label) in [(1, "whole"), (2, "other")] {
        store.token(token, Some(label), INITIALIZED);
        store.pins(token, true);
        store.object(token, &workshop.private_key("key", &mechanisms(9), false));
    }
    store.conn.execute("UPDATE tokens SET pid = id", []).unwrap();
    drop(store);
    let file = |name: &str| workshop.directory(name).join("tpm2_pkcs11.sqlite3");
    std::fs::create_dir(workshop.directory("spoiled")).unwrap();
    for (damage, of_token, of_object) in DAMAGE {
        std::fs::copy(file("two"), file("spoiled")).unwrap();
        let store = rusqlite::Connection::open(file("spoiled")).unwrap();
        store.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        assert_eq!(store.execute(damage, []).unwrap(), 1, "{damage}");
        drop(store);
        let (status, report) = workshop.migrate("spoiled", &[]);
        assert_eq!(status, Some(1), "{damage}: {report:#}");
        let token = |number: usize| &report["tokens"][number];
        assert_eq!(token(0)["action"], "migrate", "{damage}: {report:#}");
        assert_eq!(token(0)["objects"][0]["action"], "migrate", "{damage}: {report:#}");
        let (action, said) = match of_object.is_empty() {
            true => (("skip", of_token), token(1)),
            false => (("skip", of_object), &token(1)["objects"][0]),
        };
        assert_eq!(said["action"], action.0, "{damage}: {report:#}");
        assert!(said["why"].as_str().is_some_and(|why| why.contains(action.1)), "{damage}: {report:#}");
        workshop.assert_signs("whole", "key");
        std::fs::remove_dir_all(world.store()).unwrap();
    }
}

#[test]
fn a_label_in_latin_1_comes_over() {
    let workshop = Workshop::new();
    let store = workshop.store(9, "latin");
    store.token(1, Some("whole"), INITIALIZED);
    store.token(2, Some("other"), INITIALIZED);
    for token in [1, 2] {
        store.pins(token, true);
        store.object(token, &workshop.private_key("key", &mechanisms(9), false));
    }
    // "Büro" and the spaces that C_InitToken has behind it, as a program in such an environment gives it.
    let label = "CAST(x'42fc726f2020' AS TEXT)";
    store.conn.execute(&format!("UPDATE tokens SET label = {label} WHERE id = 2"), params![]).unwrap();
    drop(store);
    let (status, report) = workshop.migrate("latin", &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!(report["tokens"][1]["label"], "B\u{fc}ro");
    assert!(report["tokens"][1]["notes"].to_string().contains("Latin-1"), "{report:#}");
    workshop.assert_signs("whole", "key");
    workshop.assert_signs("B\u{fc}ro", "key");
}

/// A directory that cannot be entered, by the superuser neither: a link to itself.
fn close(directory: &Path) {
    std::os::unix::fs::symlink(directory, directory).unwrap();
}

#[test]
fn a_store_that_cannot_be_looked_at_is_not_said_to_be_none() {
    const WHY: &str = "Too many levels of symbolic links";
    let workshop = Workshop::new();
    two_tokens(&workshop);
    workshop.tpm.release();
    let world = &workshop.world;
    std::fs::create_dir_all(world.path(".local/share")).unwrap();
    let (first, second) = (world.path(".local/share/tpm2-pkcs11"), world.path(".tpm2_pkcs11"));
    let file = |directory: &Path| directory.join("tpm2_pkcs11.sqlite3").to_str().unwrap().to_owned();
    close(&first);
    let run = world.ptool(&["migrate", "--dry-run"]);
    assert!(run.status == Some(5) && run.stderr.contains(WHY), "{run:?}");
    let doctor = world.ptool(&["doctor", "--root", "/nowhere"]);
    assert!(doctor.text().contains("`ptool migrate` takes over"), "{doctor:?}");

    // The next place counts, and what was passed over is said.
    std::fs::rename(world.path("two"), &second).unwrap();
    let dry = ["migrate", "--dry-run", "--output=json"];
    let report = json(&world.ptool_ok(&dry));
    assert_eq!(report["from"], file(&second));
    assert!(report["others"][0].as_str().unwrap().contains(WHY), "{report:#}");
    std::fs::remove_file(&first).unwrap();
    std::fs::create_dir(&first).unwrap();
    std::fs::copy(file(&second), file(&first)).unwrap();
    let report = json(&world.ptool_ok(&dry));
    assert_eq!((&report["from"], &report["others"]), (&Value::from(file(&first)), &Value::from(vec![file(&second)])));
    // The file itself does for a directory.
    let report = json(&world.ptool_ok(&[&dry[..], &["--from", &file(&second)]].concat()));
    assert_eq!((report["tokens"].as_array().unwrap().len(), &report["others"]), (2, &Value::Null));

    // And of ours.
    close(&world.path("loop"));
    let run = world.ptool(&["listtokens", "--path=loop"]);
    assert!(run.status == Some(5) && !run.stderr.contains("there is no store"), "{run:?}");
}

/// That software asks nothing of a PIN: it may be empty without a word of it in the settings, or longer than ours.
#[test]
fn pins_that_would_be_none_here_open_what_came_over() {
    let workshop = Workshop::new();
    let long = "a sentence of some length ".repeat(8);
    let store = workshop.store(8, "odd");
    for (id, label, so, user) in [(1, "empty", "", ""), (2, "long", long.as_str(), long.as_str())] {
        store.token(id, Some(label), INITIALIZED);
        store.pins_of(id, so, Some(user));
        store.object(id, &workshop.private_key("key", &mechanisms(8), false));
    }
    drop(store);
    assert_eq!(workshop.migrate("odd", &[]).0, Some(0));
    let world = &workshop.world;
    for (label, pin) in [("--label=empty", ""), ("--label=long", &long)] {
        let (so, user) = (format!("--sopin={pin}"), format!("--userpin={pin}"));
        world.ptool_ok(&["verify", label, &user]);
        world.ptool_ok(&["verify", label, &so]);
        assert_eq!(world.ptool(&["verify", label, "--userpin=wrong"]).status, Some(3), "{label}");
        world.ptool_ok(&["changepin", label, &format!("--old={pin}"), "--new=new-user"]);
        world.ptool_ok(&["changepin", label, "--user=so", &format!("--old={pin}"), "--new=new-officer"]);
        // From then on they are PINs like others.
        world.proxy.mark();
        assert_eq!(world.ptool(&["verify", label, &so]).status, Some(3), "{label}");
        assert!(!world.proxy.mark().names().contains(&"Unseal"), "what can be no PIN was tried: {label}");
        world.ptool_ok(&["initpin", label, "--sopin=new-officer", &format!("--userpin={USER_PIN}")]);
    }
    workshop.assert_signs("empty", "key");
    workshop.assert_signs("long", "key");
}

#[test]
fn a_token_that_came_over_before_says_what_is_not_here() {
    let workshop = Workshop::new();
    let store = workshop.store(9, "two");
    store.token(1, Some("tok"), INITIALIZED);
    store.pins(1, true);
    store.object(1, &workshop.private_key("key", &mechanisms(9), false));
    store.object(1, "{");
    // An item that is none leaves the rest; a list of nothing else would allow everything.
    store.object(1, &workshop.private_key("some", "!!seq [ !!str \"zz\", !!int \"4161\" ]", false));
    store.object(1, &workshop.private_key("any", "!!seq [ !!str \"zz\" ]", false));
    let (status, report) = workshop.migrate("two", &[]);
    let objects = report["tokens"][0]["objects"].as_array().unwrap();
    let actions: Vec<_> = objects.iter().map(|object| object["action"].as_str().unwrap()).collect();
    assert_eq!((status, actions), (Some(1), vec!["migrate", "skip", "migrate", "skip"]), "{report:#}");
    assert!(objects[3]["why"].as_str().unwrap().contains("allowed mechanisms"), "{report:#}");
    workshop.assert_signs("tok", "key");
    // What is made there afterwards.
    store.object(1, &workshop.private_key("later", &mechanisms(9), false));
    let (status, report) = workshop.migrate("two", &[]);
    let notes = report["tokens"][0]["notes"].to_string();
    assert_eq!((status, &report["tokens"][0]["action"]), (Some(0), &Value::from("present")), "{report:#}");
    assert!(notes.contains("objects 2, 4 (\\\"any\\\"), 5 (\\\"later\\\"):"), "{notes}");
}

#[test]
fn a_copy_that_a_failed_upgrade_left_is_named() {
    let workshop = Workshop::new();
    two_tokens(&workshop);
    let directory = workshop.directory("two");
    let copy = directory.join("tpm2_pkcs11.sqlite3.bak");
    std::fs::rename(directory.join("tpm2_pkcs11.sqlite3"), &copy).unwrap();
    workshop.tpm.release();
    let run = workshop.world.ptool(&["migrate", "--from", directory.to_str().unwrap()]);
    assert!(run.status == Some(5) && run.stderr.contains(copy.to_str().unwrap()), "{run:?}");
    workshop.world.ptool_ok(&["migrate", "--from", copy.to_str().unwrap()]);
}
