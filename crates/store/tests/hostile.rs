//! A store whose contents somebody has made up: errors, never a panic, never nonsense.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use rusqlite::Connection;
use store::{Error, OpenMode, Role, Store};

/// A store with something in every table; its file.
fn filled(file: &Path) {
    let store = Store::create(file).unwrap();
    let token = with_token(&store);
    store.add_pair(&object(token), &object(token)).unwrap();
}

/// Every reading verb.
fn read_all(store: &Store) -> Result<(), Error> {
    store.data_version()?;
    store.primaries()?;
    store.primary(1)?;
    store.tokens()?;
    store.token(1)?;
    store.token_by_label("label")?;
    store.objects(1)?;
    store.object(1)?;
    store.object_by_uid(&[0; 16])?;
    store.object_ids(1)?;
    store.objects_by_ids(&[1, 2])?;
    store.check()
}

/// Every changing verb.
fn write_all(store: &mut Store) -> Result<(), Error> {
    let token = with_token_again(store)?;
    store.set_pin(token, Role::So, &pin(7))?;
    store.set_token_config(token, "{}")?;
    let id = store.add_object(&object(token))?;
    if let Some(object) = store.object(id)? {
        store.replace_object(&object)?;
    }
    store.set_attribute(id, 1, Some(b"x"))?;
    store.transaction(|store| store.remove_object(id))?;
    store.remove_token(1)
}

fn with_token_again(store: &Store) -> Result<i64, Error> {
    let primary = store.add_primary(&primary())?;
    store.add_token(&token(primary, "fedcba9876543210"))
}

/// The tables without the constraints that keep such values out.
fn without_constraints(file: &Path) -> Connection {
    let conn = Connection::open(file).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF;
         PRAGMA ignore_check_constraints = ON;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT', ')'), 'NOT NULL', '')
         WHERE name IN ('primaries', 'tokens', 'objects');
         UPDATE sqlite_schema SET sql = replace(replace(replace(
             sql, ') STRICT, WITHOUT ROWID', ') WITHOUT ROWID'), 'BLOB    NOT NULL', ''),
             'BLOB          NOT NULL', '')
         WHERE name IN ('pins', 'attributes');
         PRAGMA writable_schema = RESET;",
    )
    .unwrap();
    conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
    conn
}

#[test]
fn values_of_the_wrong_kind() {
    let values = [
        "NULL",
        "-1",
        "0",
        "1",
        "4294967296",
        "-9223372036854775808",
        "1.5",
        "'text'",
        "x'ff'",
        "CAST(x'ff' AS TEXT)",
        "zeroblob(2000000)",
        "zeroblob(9000000)",
        "CAST(zeroblob(2000000) AS TEXT)",
    ];
    // Each of some hundred stores is written for sure, megabytes at a time: on a disk that others use, too, that takes minutes.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let original = dir.path().join("store.sqlite3");
    filled(&original);
    let (mut refused, mut taken) = (0, 0);
    for table in ["primaries", "tokens", "pins", "objects", "attributes"] {
        let names = {
            let conn = Connection::open(&original).unwrap();
            let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            assert!(statement.exists([]).unwrap());
            let names = statement.column_names();
            names.map(str::to_owned).collect::<Vec<String>>()
        };
        for name in names {
            for value in values {
                let file = dir.path().join("made_up.sqlite3");
                let _ = fs::remove_file(&file);
                fs::copy(&original, &file).unwrap();
                let conn = without_constraints(&file);
                let sql = format!("UPDATE OR IGNORE {table} SET {name} = {value}");
                if conn.execute(&sql, []).is_err() {
                    continue; // even SQLite cannot hold it
                }
                drop(conn);
                let mut store = Store::open(&file, OpenMode::ReadWrite).unwrap();
                for result in [read_all(&store), write_all(&mut store)] {
                    match result {
                        Ok(()) => taken += 1,
                        Err(Error::Damaged(_)) => refused += 1,
                        // What is missing to a change, or is there already.
                        Err(Error::Missing { .. } | Error::InUse(_)) => {}
                        Err(error) => panic!("{sql}: {error:?}"),
                    }
                }
            }
        }
    }
    assert!(refused > 300 && taken > 50, "{refused} refused, {taken} taken");
}

#[test]
fn tables_of_another_shape() {
    for script in [
        "DROP TABLE attributes",
        "DROP TABLE pins",
        "ALTER TABLE objects DROP COLUMN mac",
        "ALTER TABLE tokens RENAME TO renamed",
        "DROP TABLE attributes; CREATE VIEW attributes AS SELECT 1 AS object_id, 1 AS type, x'00' AS value",
        "DROP TABLE attributes; CREATE TABLE attributes (a, b, c)",
    ] {
        let (_dir, file) = place();
        filled(&file);
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        conn.execute_batch(script).unwrap();
        drop(conn);
        let mut store = Store::open(&file, OpenMode::ReadWrite).unwrap();
        let result = read_all(&store);
        assert!(matches!(result, Err(Error::Damaged(_))), "{script}: {result:?}");
        assert!(write_all(&mut store).is_err(), "{script}");
    }
}

#[test]
fn planted_triggers_do_not_run() {
    let (_dir, file) = place();
    filled(&file);
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER planted AFTER UPDATE ON tokens
         BEGIN DELETE FROM objects; END;
         CREATE TRIGGER planted2 AFTER INSERT ON pins
         BEGIN UPDATE pins SET iterations = 1; END;",
    )
    .unwrap();
    drop(conn);
    let store = Store::open(&file, OpenMode::ReadWrite).unwrap();
    store.rename_token(1, "renamed").unwrap();
    store.set_pin(1, Role::User, &pin(9)).unwrap();
    assert_eq!(store.objects(1).unwrap().len(), 2);
    assert_eq!(store.token(1).unwrap().unwrap().user, Some(pin(9)));
    // References are kept up all the same.
    store.remove_token(1).unwrap();
    assert!(store.objects(1).unwrap().is_empty());
    store.check().unwrap();
}

#[test]
fn an_object_that_belongs_to_nothing_is_found() {
    let (_dir, file) = place();
    filled(&file);
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM tokens").unwrap();
    drop(conn);
    let store = Store::open(&file, OpenMode::ReadOnly).unwrap();
    assert!(matches!(store.check(), Err(Error::Damaged(_))));
}

#[test]
fn changed_bytes_and_cut_files() {
    let (dir, original) = place();
    filled(&original);
    let good = fs::read(&original).unwrap();
    let file = dir.path().join("changed.sqlite3");
    let mut damaged = 0;
    for round in 0..400u32 {
        let seed = base::digest::Hash::Sha256.digest(&[&round.to_be_bytes()]);
        let number = |i: usize| u32::from_be_bytes(seed[i..i + 4].try_into().unwrap()) as usize;
        let mut bytes = good.clone();
        match round % 4 {
            // Anywhere; in the header; at the start of a page; and cut short.
            0 => bytes[number(0) % good.len()] = seed[8],
            1 => bytes[number(0) % 100] = seed[8],
            2 => bytes[number(0) % (good.len() / 4096) * 4096 + number(4) % 64] = seed[8],
            _ => bytes.truncate(number(0) % good.len()),
        }
        let _ = fs::remove_file(dir.path().join("changed.sqlite3-journal"));
        let _ = fs::remove_file(dir.path().join("changed.sqlite3-wal"));
        let _ = fs::remove_file(dir.path().join("changed.sqlite3-shm"));
        fs::write(&file, bytes).unwrap();
        let permissions = fs::metadata(&original).unwrap().permissions();
        fs::set_permissions(&file, permissions).unwrap();
        match Store::open(&file, OpenMode::ReadWrite) {
            Ok(mut store) => {
                let results = [read_all(&store), write_all(&mut store)];
                damaged += usize::from(results.iter().any(Result::is_err));
            }
            Err(Error::Damaged(_) | Error::Newer { .. } | Error::Io(_)) => damaged += 1,
            Err(error) => panic!("round {round}: {error:?}"),
        }
    }
    assert!(damaged > 150, "{damaged}");
}
