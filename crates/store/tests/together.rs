//! Many at once, and some of them killed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use store::{Error, OpenMode, Role, Store};

/// Starts one of the tests below in a process of its own, on the file given.
fn child(test: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("STORE_TEST_FILE", file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn given_file() -> PathBuf {
    PathBuf::from(std::env::var_os("STORE_TEST_FILE").unwrap())
}

#[test]
fn six_processes_add_at_once() {
    let (dir, file) = place();
    let token = with_token(&Store::create(&file).unwrap());
    let children: Vec<Child> = (0..6).map(|_| child("child_adds_twenty", &file)).collect();
    // A reader in between sees whole objects only.
    let reader = Store::open(&file, OpenMode::ReadOnly).unwrap();
    for _ in 0..20 {
        for object in reader.objects(token).unwrap() {
            assert_eq!(object.attributes.len(), 3);
        }
    }
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(reader.objects(token).unwrap().len(), 120);
    reader.check().unwrap();
    assert_eq!(files(dir.path()), ["store.sqlite3"]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_adds_twenty() {
    let store = Store::open(&given_file(), OpenMode::ReadWrite).unwrap();
    for _ in 0..20 {
        store.add_object(&object(1)).unwrap();
    }
}

/// Locks of POSIX belong to processes: threads of one are the harder case.
#[test]
fn six_threads_add_at_once() {
    let (_dir, file) = place();
    let token = with_token(&Store::create(&file).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    // Opening and closing must not take the lock from under another thread.
                    let store = Store::open(&file, OpenMode::ReadWrite).unwrap();
                    for _ in 0..4 {
                        store.add_pair(&object(token), &object(token)).unwrap();
                    }
                }
            });
        }
    });
    let store = Store::open(&file, OpenMode::ReadOnly).unwrap();
    assert_eq!(store.objects(token).unwrap().len(), 240);
    store.check().unwrap();
}

#[test]
fn tokens_added_at_once_get_slots_of_their_own() {
    let (_dir, file) = place();
    let store = Store::create(&file).unwrap();
    let primary = store.add_primary(&primary()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let file = &file;
            scope.spawn(move || {
                let store = Store::open(file, OpenMode::ReadWrite).unwrap();
                for i in 0..5 {
                    let serial = format!("{thread:08x}{i:08x}");
                    store.add_token(&token(primary, &serial)).unwrap();
                }
            });
        }
    });
    let tokens = store.tokens().unwrap();
    let slots: Vec<u32> = tokens.iter().map(|token| token.slot).collect();
    assert_eq!(slots, (1..=30).collect::<Vec<u32>>());
}

#[test]
fn changes_of_others_are_seen() {
    let (_dir, file) = place();
    let mine = Store::create(&file).unwrap();
    let token = with_token(&mine);
    let mut other = Store::open(&file, OpenMode::ReadWrite).unwrap();
    let reader = Store::open(&file, OpenMode::ReadOnly).unwrap();

    let (before, reader_before) = (mine.data_version().unwrap(), reader.data_version().unwrap());
    assert_eq!(mine.data_version().unwrap(), before);
    let id = mine.add_object(&object(token)).unwrap();
    assert_eq!(mine.data_version().unwrap(), before, "an own change counted");
    assert_ne!(reader.data_version().unwrap(), reader_before);

    assert_eq!(other.objects(token).unwrap().len(), 1);
    other.remove_object(id).unwrap();
    assert_ne!(mine.data_version().unwrap(), before);
    assert!(mine.objects(token).unwrap().is_empty());

    // Nothing of a transaction is seen before its end, nor afterwards when it failed.
    let before = reader.data_version().unwrap();
    let failed: Result<(), Error> = other.transaction(|other| {
        other.add_object(&object(token))?;
        assert_eq!(other.objects(token)?.len(), 1);
        assert!(mine.objects(token)?.is_empty());
        Err(Error::Busy)
    });
    assert_eq!(failed, Err(Error::Busy));
    assert_eq!(reader.data_version().unwrap(), before);
}

#[test]
fn a_lock_that_is_never_released_is_reported() {
    let (_dir, file) = place();
    let mut holder = Store::create(&file).unwrap();
    let token = with_token(&holder);
    let other = Store::open(&file, OpenMode::ReadWrite).unwrap();
    let start = std::time::Instant::now();
    let result: Result<(), Error> = holder.transaction(|_| {
        assert_eq!(other.add_object(&object(token)), Err(Error::Busy));
        // Reading goes on meanwhile.
        assert_eq!(other.tokens()?.len(), 1);
        Ok(())
    });
    result.unwrap();
    assert!(start.elapsed() > Duration::from_secs(4));
    other.add_object(&object(token)).unwrap();
}

#[test]
fn a_killed_writer_loses_nothing_and_leaves_nothing_half_made() {
    let (_dir, file) = place();
    let token = with_token(&Store::create(&file).unwrap());
    let mut acknowledged = Vec::new();
    for round in 0..30u64 {
        let mut writer = child("child_writes_until_killed", &file);
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Kill at another moment every time, but not before the first word.
        let first = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("added "));
        std::thread::sleep(Duration::from_micros(round * 977));
        writer.kill().unwrap();
        writer.wait().unwrap();
        for line in first.into_iter().chain(lines.map_while(Result::ok)) {
            let mut words = line.split(' ').skip_while(|word| *word != "added").skip(1);
            // The last line may be cut.
            if let (Some(a), Some(b), Some(pin), Some(".")) = (words.next(), words.next(), words.next(), words.next()) {
                let number = |word: &str| word.parse::<i64>().unwrap();
                acknowledged.push((number(a), number(b), number(pin) as u8));
            }
        }

        let mode = if round % 2 == 0 { OpenMode::ReadWrite } else { OpenMode::ReadOnly };
        let store = Store::open(&file, mode).unwrap();
        store.check().unwrap();
        let objects = store.objects(token).unwrap();
        assert_eq!(objects.len() % 2, 0, "half a pair");
        assert!(objects.iter().all(|object| object.attributes.len() == 3));
        for (a, b, _) in &acknowledged {
            for id in [a, b] {
                assert!(objects.iter().any(|object| object.id == *id), "{id} is lost");
            }
        }
        // The PIN is one that was set, whole, and not an older one than the last acknowledged.
        let user = store.token(token).unwrap().unwrap().user.unwrap();
        assert_eq!(user, pin(user.salt[0]));
        if let Some((.., last)) = acknowledged.last() {
            assert!(user.salt[0] == *last || user.salt[0] == last.wrapping_add(1));
        }
    }
    assert!(acknowledged.len() >= 30, "{}", acknowledged.len());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_writes_until_killed() {
    let store = Store::open(&given_file(), OpenMode::ReadWrite).unwrap();
    let mut next = store.token(1).unwrap().unwrap().user.unwrap().salt[0];
    loop {
        let (a, b) = store.add_pair(&object(1), &object(1)).unwrap();
        next = next.wrapping_add(1);
        store.set_pin(1, Role::User, &pin(next)).unwrap();
        println!("added {a} {b} {next} .");
        std::io::stdout().flush().unwrap();
    }
}
