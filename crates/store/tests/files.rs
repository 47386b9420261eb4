//! Whose files are opened, how new ones come into being, and what a damaged one does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::*;
use rusqlite::Connection;
use store::{Error, OpenMode, Store};

/// Somebody else.
const NOBODY: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn open(file: &Path) -> Result<Store, Error> {
    Store::open(file, OpenMode::ReadWrite)
}

fn not_trusted(result: Result<Store, Error>, what: &str) -> bool {
    matches!(result, Err(Error::NotTrusted { why, .. }) if why.contains(what))
}

/// Says why a test is left out. Where it matters that nothing is (continuous integration sets `CI`), that is a failure.
fn left_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "left out: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether this process may do whatever it likes, so that the rights of files mean nothing.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_new_store_is_for_its_owner_alone() {
    let (dir, _) = place();
    set_mode(dir.path(), 0o755);
    let file = dir.path().join("a/b/store.sqlite3");
    assert_eq!(open(&file).unwrap_err(), Error::NotFound(file.clone()));
    let store = Store::create(&file).unwrap();
    assert_eq!((store.path(), store.is_read_only()), (&*file, false));
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&dir.path().join("a/b")), 0o700);
    assert_eq!(mode(&dir.path().join("a")), 0o700);
    assert_eq!(mode(dir.path()), 0o755);
    assert_eq!(files(&dir.path().join("a/b")), ["store.sqlite3"]);
    store.check().unwrap();

    assert_eq!(Store::create(&file).unwrap_err(), Error::Exists(file.clone()));
    let token = with_token(&store);
    let id = store.add_object(&object(token)).unwrap();
    let rows = store.objects(token).unwrap();
    drop(store);
    let store = Store::open_or_create(&file).unwrap();
    assert_eq!(store.objects(token).unwrap(), rows);
    store.remove_object(id).unwrap();
    assert_eq!(files(&dir.path().join("a/b")), ["store.sqlite3"]);
}

#[test]
fn open_or_create_by_many_at_once_makes_one() {
    let (dir, file) = place();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open_or_create(&file).unwrap();
                store.add_primary(&primary()).unwrap();
            });
        }
    });
    assert_eq!(open(&file).unwrap().primaries().unwrap().len(), 8);
    assert_eq!(files(dir.path()), ["store.sqlite3"]);
}

#[test]
fn a_reader_does_not_write() {
    let (dir, file) = place();
    let store = Store::create(&file).unwrap();
    let token = with_token(&store);
    let id = store.add_object(&object(token)).unwrap();
    drop(store);
    let before = fs::read(&file).unwrap();

    let mut store = Store::open(&file, OpenMode::ReadOnly).unwrap();
    assert!(store.is_read_only());
    assert_eq!(store.objects(token).unwrap().len(), 1);
    assert_eq!(store.tokens().unwrap().len(), 1);
    store.check().unwrap();
    let refused = |result: Result<(), Error>| assert_eq!(result, Err(Error::ReadOnly));
    refused(store.add_object(&object(token)).map(drop));
    refused(store.add_pair(&object(token), &object(token)).map(drop));
    refused(store.add_primary(&primary()).map(drop));
    refused(store.remove_object(id));
    refused(store.set_attribute(id, 1, None));
    refused(store.set_pin(token, store::Role::So, &pin(1)));
    refused(store.rename_token(token, "x"));
    refused(store.transaction(|_| Ok(())));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(files(dir.path()), ["store.sqlite3"]);
}

#[test]
fn links_and_other_kinds_of_file_are_refused() {
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    let link = dir.path().join("link.sqlite3");
    symlink(&file, &link).unwrap();
    assert!(not_trusted(open(&link), "symbolic link"));
    assert_eq!(Store::create(&link).unwrap_err(), Error::Exists(link.clone()));
    let dangling = dir.path().join("dangling.sqlite3");
    symlink(dir.path().join("nothing"), &dangling).unwrap();
    assert!(not_trusted(open(&dangling), "symbolic link"));
    assert!(not_trusted(Store::open_or_create(&dangling), "symbolic link"));

    let inner = dir.path().join("dir.sqlite3");
    fs::create_dir(&inner).unwrap();
    assert!(not_trusted(open(&inner), "not a plain file"));
    let beyond = file.join("store.sqlite3");
    assert_eq!(open(&beyond).unwrap_err(), Error::NotFound(beyond.clone()));
    assert!(open(Path::new("/")).is_err());
    assert!(open(Path::new("")).is_err());

    // A home behind a link is a home.
    let home = dir.path().join("home");
    symlink(dir.path(), &home).unwrap();
    open(&home.join("store.sqlite3")).unwrap();
}

#[test]
fn what_others_can_write_is_refused() {
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    for path in [&file, dir.path()] {
        let before = mode(path);
        set_mode(path, before | 0o002);
        assert!(not_trusted(open(&file), "by everybody"), "{path:?}");
        set_mode(path, before | 0o020);
        assert!(not_trusted(open(&file), "by a group"), "{path:?}");
        set_mode(path, before | 0o055);
        open(&file).unwrap();
        set_mode(path, before);
    }
    set_mode(dir.path(), 0o1777);
    let another = dir.path().join("another.sqlite3");
    assert!(not_trusted(Store::create(&another), "by everybody"));
    assert_eq!(files(dir.path()), ["store.sqlite3"]);
}

#[test]
fn what_somebody_else_owns_is_refused() {
    if !is_root() {
        return left_out("only root can give a file away");
    }
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    for path in [&file, dir.path()] {
        chown(path, Some(NOBODY), None).unwrap();
        assert!(not_trusted(open(&file), "somebody else"), "{path:?}");
        chown(path, Some(0), None).unwrap();
        open(&file).unwrap();
    }
}

/// The one exception, documented for hosts whose services share the TPM by this group.
#[test]
fn the_group_of_the_tpm_may_share_a_store_of_root() {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let line = groups.lines().find(|line| line.starts_with("tss:"));
    let Some(tss) = line.and_then(|line| line.split(':').nth(2)).filter(|_| is_root()) else {
        return left_out("only root can give a file to a group it is not in, and the group tss must be there");
    };
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    chown(dir.path(), None, Some(tss.parse().unwrap())).unwrap();
    chown(&file, None, Some(tss.parse().unwrap())).unwrap();
    set_mode(dir.path(), 0o770);
    set_mode(&file, 0o660);
    open(&file).unwrap();

    set_mode(&file, 0o666);
    assert!(not_trusted(open(&file), "by everybody"));
    set_mode(&file, 0o660);
    chown(&file, None, Some(NOBODY)).unwrap();
    assert!(not_trusted(open(&file), "by a group"));
}

/// Runs one of the tests below in a process that is not root, on the directory given.
fn as_nobody(test: &str, dir: &Path) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]);
    command.env("STORE_TEST_DIR", dir);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{said}");
    assert!(printed.contains("1 passed"), "{printed}");
}

fn given_store() -> std::path::PathBuf {
    let dir = std::env::var_os("STORE_TEST_DIR").unwrap();
    Path::new(&dir).join("store.sqlite3")
}

#[test]
fn a_store_that_cannot_be_written_is_opened_for_reading() {
    let (dir, file) = place();
    with_token(&Store::create(&file).unwrap());
    set_mode(dir.path(), 0o555);
    set_mode(&file, 0o444);
    as_nobody("child_reads_only", dir.path());
    // The journal needs the directory, whatever the file allows.
    if is_root() {
        chown(&file, Some(NOBODY), None).unwrap();
    }
    set_mode(&file, 0o644);
    as_nobody("child_reads_only", dir.path());
    set_mode(dir.path(), 0o755);
}

#[test]
#[ignore = "run by another test, as another user"]
fn child_reads_only() {
    let file = given_store();
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let store = Store::open(&file, mode).unwrap();
        assert!(store.is_read_only());
        let token = store.tokens().unwrap()[0].id;
        assert_eq!(store.add_object(&object(token)), Err(Error::ReadOnly));
    }
    assert!(Store::open_or_create(&file).unwrap().is_read_only());
    let another = file.with_file_name("another.sqlite3");
    assert_eq!(Store::create(&another).unwrap_err(), Error::ReadOnly);
}

#[test]
fn a_store_that_cannot_be_read_says_so() {
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    set_mode(dir.path(), 0o755);
    set_mode(&file, if is_root() { 0o600 } else { 0 });
    as_nobody("child_reads_nothing", dir.path());
    set_mode(&file, 0o600);
    set_mode(dir.path(), if is_root() { 0o700 } else { 0 });
    as_nobody("child_reads_nothing", dir.path());
    set_mode(dir.path(), 0o700);
}

#[test]
#[ignore = "run by another test, as another user"]
fn child_reads_nothing() {
    let error = open(&given_store()).unwrap_err();
    assert!(matches!(error, Error::NotReadable { .. }), "{error:?}");
}

/// What a process that is killed while it writes leaves behind: pages already in the file, and
/// the journal that takes them back.
fn leave_interrupted(from: &Path, to: &Path) {
    let mut store = Store::create(from).unwrap();
    let token = with_token(&store);
    store.add_object(&object(token)).unwrap();
    let result: Result<(), Error> = store.transaction(|store| {
        // More than the page cache holds, so that some of it is written before the commit.
        for _ in 0..8 {
            let mut big = object(token);
            big.tpm_public = Some(vec![0xaa; store::MAX_VALUE]);
            store.add_object(&big)?;
        }
        let journal = |file: &Path| {
            let mut name = file.as_os_str().to_owned();
            name.push("-journal");
            name
        };
        fs::copy(from, to).unwrap();
        fs::copy(journal(from), journal(to)).unwrap();
        Err(Error::Busy)
    });
    assert_eq!(result, Err(Error::Busy));
    assert!(fs::metadata(to).unwrap().len() > 1 << 20);
}

#[test]
fn an_interrupted_write_is_taken_back() {
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let ((_keep, from), (dir, to)) = (place(), place());
        leave_interrupted(&from, &to);
        let store = Store::open(&to, mode).unwrap();
        assert_eq!(store.is_read_only(), mode == OpenMode::ReadOnly);
        store.check().unwrap();
        assert_eq!(store.objects(1).unwrap().len(), 1);
        assert_eq!(files(dir.path()), ["store.sqlite3"]);
    }
}

#[test]
fn an_interrupted_write_is_reported_by_those_who_may_not_take_it_back() {
    let ((_keep, from), (dir, to)) = (place(), place());
    leave_interrupted(&from, &to);
    set_mode(dir.path(), 0o555);
    for name in files(dir.path()) {
        set_mode(&dir.path().join(name), 0o444);
    }
    as_nobody("child_finds_interrupted", dir.path());
    set_mode(dir.path(), 0o755);
}

#[test]
#[ignore = "run by another test, as another user"]
fn child_finds_interrupted() {
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let error = Store::open(&given_store(), mode).unwrap_err();
        assert_eq!(error, Error::Interrupted);
    }
}

#[test]
fn what_is_no_store_is_damaged() {
    let (_dir, file) = place();
    let other = |bytes: &[u8]| {
        let _ = fs::remove_file(&file);
        let mut new = fs::File::create(&file).unwrap();
        new.write_all(bytes).unwrap();
        set_mode(&file, 0o600);
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            let error = Store::open(&file, mode).unwrap_err();
            assert!(matches!(error, Error::Damaged(_)), "{error:?}");
        }
        assert_eq!(fs::read(&file).unwrap(), bytes);
    };
    other(b"");
    other(b"x");
    other(&[0; 4096]);
    other(b"SQLite format 3\0");
    other(&[b"SQLite format 3\0", &[0xff; 5000][..]].concat());
    // Another program's database.
    fs::remove_file(&file).unwrap();
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch("CREATE TABLE tokens (id)").unwrap();
    drop(conn);
    other(&fs::read(&file).unwrap());
}

/// The version that the program knows.
fn newest() -> u32 {
    store_schema::MIGRATIONS.last().unwrap().0
}

#[test]
fn a_newer_store_is_left_as_it_is() {
    let (dir, file) = place();
    drop(Store::create(&file).unwrap());
    let conn = Connection::open(&file).unwrap();
    conn.pragma_update(None, "user_version", 77).unwrap();
    drop(conn);
    let before = fs::read(&file).unwrap();
    let modified = fs::metadata(&file).unwrap().mtime_nsec();
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        let error = Store::open(&file, mode).unwrap_err();
        assert_eq!(error, Error::Newer { found: 77, known: newest() });
    }
    assert!(Store::open_or_create(&file).is_err());
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::metadata(&file).unwrap().mtime_nsec(), modified);
    assert_eq!(files(dir.path()), ["store.sqlite3"]);
    for version in [0, -1] {
        let conn = Connection::open(&file).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
        drop(conn);
        assert!(matches!(open(&file), Err(Error::Damaged(_))));
    }
}

#[test]
fn errors_say_what_to_do() {
    let errors = [
        Error::NotFound("f".into()),
        Error::NotReadable { path: "f".into(), why: "permission is denied".into() },
        Error::NotTrusted { path: "f".into(), why: "belongs to somebody else".into() },
        Error::Newer { found: 9, known: 1 },
        Error::Older { found: 1, known: 9 },
        Error::Damaged("x".into()),
        Error::ReadOnly,
        Error::Interrupted,
        Error::Busy,
        Error::Exists("f".into()),
        Error::Full,
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains([';', ',', ':']) && !text.ends_with('.'), "{text}");
    }
}
