//! Opening, creating and upgrading.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use store_schema::{APPLICATION_ID, MIGRATIONS, READABLE, SEARCHABLE};

use crate::files::{Draft, Place};
use crate::{Error, Result, Store, descriptors};

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The greatest row or value SQLite will touch: the greatest value of ours and much room for the
/// rest of its row.
const SQLITE_LENGTH: i32 = 8 << 20;

type Migrations = [(u32, &'static str)];

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading alone: the file is not even opened for writing.
    ReadOnly,
    /// Writing too, if the file and its directory allow it; else [`Store::is_read_only`] says so.
    ReadWrite,
}

impl Store {
    /// Opens the store in `file`, which must exist. A store of an older version is upgraded, after
    /// a copy of it was written beside it, named after the old version; one that can only be read
    /// is read as it is, if that is enough.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReadable`], [`Error::NotTrusted`]; [`Error::Newer`] and
    /// [`Error::Older`] for versions that cannot be used; [`Error::Damaged`] for anything that is
    /// not a store.
    pub fn open(file: &Path, mode: OpenMode) -> Result<Store> {
        open(file, mode, MIGRATIONS)
    }

    /// Brings the store in `file` to the newest version, as [`Store::open`] does when it may write. Returns the version that was
    /// found, and the newest.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn upgrade(file: &Path) -> Result<(u32, u32)> {
        let place = Place::new(file)?;
        place.check_file()?;
        let (conn, found) = connect(&place, false)?;
        conn.close().map_err(|(_, error)| error)?;
        open(file, OpenMode::ReadWrite, MIGRATIONS)?;
        Ok((found, newest(MIGRATIONS)))
    }

    /// Creates a store in `file`, for its owner alone, and the directory if it is missing.
    ///
    /// The file appears under its name complete or not at all.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NotTrusted`] for the directory; [`Error::ReadOnly`],
    /// [`Error::Full`], [`Error::Io`].
    pub fn create(file: &Path) -> Result<Store> {
        create(file, MIGRATIONS)
    }

    /// Opens the store in `file` for writing, or creates it.
    ///
    /// # Errors
    /// Those of [`Store::open`] and [`Store::create`], but not for being there or not.
    pub fn open_or_create(file: &Path) -> Result<Store> {
        match Store::open(file, OpenMode::ReadWrite) {
            Err(Error::NotFound(_)) => match Store::create(file) {
                // Another process was faster.
                Err(Error::Exists(_)) => Store::open(file, OpenMode::ReadWrite),
                result => result,
            },
            result => result,
        }
    }

    /// A store in memory, gone when it is dropped.
    ///
    /// # Errors
    /// Only when memory is short.
    pub fn memory() -> Result<Store> {
        let conn = Connection::open_in_memory()?;
        configure(&conn)?;
        initialize(&conn, MIGRATIONS)?;
        Ok(Store { conn, path: PathBuf::from(":memory:"), read_only: false, searchable: true })
    }
}

fn open(file: &Path, mode: OpenMode, migrations: &Migrations) -> Result<Store> {
    let place = Place::new(file)?;
    place.check_file()?;
    let writable = mode == OpenMode::ReadWrite && place.is_writable();
    let (conn, found) = match connect(&place, writable) {
        Err(Error::Interrupted) if place.is_writable() => {
            // Only a connection that may write can take back what a killed process left half
            // done. Reading once is enough for that.
            connect(&place, true)?;
            connect(&place, writable)?
        }
        result => result?,
    };
    let known = newest(migrations);
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found < known.min(READABLE) && !writable {
        return Err(Error::Older { found, known });
    }
    if writable {
        // Changes nothing unless somebody has set the file to another mode.
        conn.pragma_update(None, "journal_mode", "DELETE")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
    }
    let version = if writable { known } else { found };
    if found < version {
        upgrade(&conn, &place, found, migrations)?;
    }
    let read_only = !writable || conn.is_readonly("main")?;
    log::debug!("store {} opened, version {version}{}", file.display(), if read_only { ", read-only" } else { "" });
    Ok(Store { conn, path: file.to_owned(), read_only, searchable: version >= SEARCHABLE })
}

fn create(file: &Path, migrations: &Migrations) -> Result<Store> {
    Place::make_directory(file)?;
    let place = Place::new(file)?;
    if place.file().symlink_metadata().is_ok() {
        return Err(Error::Exists(file.to_owned()));
    }
    let draft = place.draft(".new")?;
    descriptors::guard();
    let conn = Connection::open_with_flags(
        draft.path(),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    configure(&conn)?;
    // The draft has no name that anybody could open: a journal would guard nothing.
    conn.pragma_update(None, "journal_mode", "MEMORY")?;
    initialize(&conn, migrations)?;
    conn.close().map_err(|(_, error)| error)?;
    draft.publish(place.file()).map_err(|error| match error {
        Error::Exists(_) => Error::Exists(file.to_owned()),
        other => other,
    })?;
    open(file, OpenMode::ReadWrite, migrations)
}

/// Connects and reads the version, which also proves that the file is a database of ours.
fn connect(place: &Place, writable: bool) -> Result<(Connection, u32)> {
    let access = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    descriptors::guard();
    let conn = Connection::open_with_flags(place.file(), flags)?;
    configure(&conn)?;
    let application: i32 = pragma(&conn, "application_id")?;
    if application != APPLICATION_ID {
        let why = "it is an SQLite file of another program, or empty".to_owned();
        return Err(Error::Damaged(why));
    }
    let version: i64 = pragma(&conn, "user_version")?;
    match u32::try_from(version) {
        Ok(version) if version > 0 => Ok((conn, version)),
        _ => Err(Error::Damaged(format!("it claims to be of version {version}"))),
    }
}

/// What holds for every connection.
pub(crate) fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, SQLITE_LENGTH)?;
    // The file is trusted no further than its rows: nothing in it is executed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    // An answer is a row for some of these, which execute_batch lets pass.
    conn.execute_batch(
        "PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;",
    )
}

/// Makes an empty database a store.
fn initialize(conn: &Connection, migrations: &Migrations) -> Result<()> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    run(conn, 0, migrations)?;
    Ok(transaction.commit()?)
}

/// Brings a store of version `found` to the newest, in one transaction, after a copy was written.
fn upgrade(conn: &Connection, place: &Place, found: u32, migrations: &Migrations) -> Result<()> {
    let known = newest(migrations);
    loop {
        let before: i64 = pragma(conn, "data_version")?;
        let copy = copy(conn, place)?;
        let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        if pragma::<i64>(conn, "data_version")? != before {
            // Somebody wrote after the copy was made, perhaps the upgrade itself.
            let now: u32 = pragma(conn, "user_version")?;
            if now == known {
                return Ok(());
            }
            if now > known {
                return Err(Error::Newer { found: now, known });
            }
            continue;
        }
        // Only now is it sure of which version the copy is.
        copy.replace(&place.beside(&format!(".v{found}.bak")))?;
        run(conn, found, migrations)?;
        transaction.commit()?;
        log::info!("store upgraded from version {found} to {known}");
        return Ok(());
    }
}

/// Writes a copy beside the store, which has no name yet.
fn copy(conn: &Connection, place: &Place) -> Result<Draft> {
    let draft = place.draft(".bak")?;
    // Through SQLite, not by reading the file: closing it would drop the locks of other threads.
    let path = draft.path().to_str();
    let path = path.ok_or_else(|| Error::Io("the path of the store is not UTF-8".to_owned()))?;
    conn.execute("VACUUM INTO ?1", [path])?;
    Ok(draft)
}

fn run(conn: &Connection, from: u32, migrations: &Migrations) -> Result<()> {
    for (version, script) in migrations.iter().filter(|(version, _)| *version > from) {
        conn.execute_batch(script)?;
        conn.pragma_update(None, "user_version", version)?;
    }
    Ok(())
}

fn newest(migrations: &Migrations) -> u32 {
    migrations.last().map_or(0, |(version, _)| *version)
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The layout after the first change to it.
    const TWO: &Migrations =
        &[MIGRATIONS[0], (2, "ALTER TABLE primaries ADD COLUMN note TEXT; CREATE TABLE extra (a) STRICT;")];
    const FIXED: &Migrations = &[
        MIGRATIONS[0],
        (2, "ALTER TABLE primaries ADD COLUMN note TEXT; CREATE TABLE extra (a BLOB) STRICT;"),
        (3, "CREATE TABLE more (b BLOB) STRICT;"),
    ];

    fn old_store(dir: &Path) -> PathBuf {
        let file = dir.join("store.sqlite3");
        let store = create(&file, &MIGRATIONS[..1]).unwrap();
        // As the version of that time did it: what it lacks, later ones add.
        let sql = "INSERT INTO primaries (hierarchy, public, name, auth, capabilities, created)
                   VALUES ('o', x'01', x'02', x'', '{}', 0)";
        store.conn.execute(sql, []).unwrap();
        file
    }

    fn primaries(store: &Store) -> Vec<(i64, Vec<u8>)> {
        let mut statement = store.conn.prepare("SELECT id, name FROM primaries").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(|row| row.unwrap()).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn version(file: &Path) -> u32 {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        pragma(&Connection::open_with_flags(file, flags).unwrap(), "user_version").unwrap()
    }

    #[test]
    fn an_older_store_is_copied_and_upgraded() {
        let dir = tempfile::tempdir().unwrap();
        let file = old_store(dir.path());
        let older = Error::Older { found: 1, known: 3 };
        let refused = open(&file, OpenMode::ReadOnly, FIXED).unwrap_err();
        assert_eq!(refused, older);
        assert_eq!(names(dir.path()), ["store.sqlite3"]);

        let store = open(&file, OpenMode::ReadWrite, FIXED).unwrap();
        assert_eq!(primaries(&store).len(), 1);
        store.conn.execute("INSERT INTO extra VALUES (x'00')", []).unwrap();
        store.check().unwrap();
        assert_eq!(version(&file), 3);
        assert_eq!(names(dir.path()), ["store.sqlite3", "store.sqlite3.v1.bak"]);

        let copy = dir.path().join("store.sqlite3.v1.bak");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o600);
        let copy = open(&copy, OpenMode::ReadOnly, &MIGRATIONS[..1]).unwrap();
        assert_eq!(primaries(&copy), primaries(&store));

        let newer = Error::Newer { found: 3, known: 1 };
        let refused = open(&file, OpenMode::ReadWrite, &MIGRATIONS[..1]).unwrap_err();
        assert_eq!(refused, newer);
    }

    #[test]
    fn a_store_of_the_first_version_takes_policies() {
        let dir = tempfile::tempdir().unwrap();
        let file = old_store(dir.path());
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch(
            "INSERT INTO tokens (primary_id, label, serial, slot, initialized, login_required, config, created)
             VALUES (1, 'old', '0123456789abcdef', 1, 1, 1, '{}', 0)",
        )
        .unwrap();
        drop(conn);
        let store = Store::open(&file, OpenMode::ReadWrite).unwrap();
        let token = store.token(1).unwrap().unwrap();
        assert_eq!((token.label.as_str(), token.policy), ("old", None));
        assert!(store.approvals().unwrap().is_empty());
        store.check().unwrap();
        assert_eq!(version(&file), newest(MIGRATIONS));
    }

    #[test]
    fn the_version_before_the_indexes_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.sqlite3");
        let store = create(&file, &MIGRATIONS[..3]).unwrap();
        let script = "INSERT INTO primaries (hierarchy, public, name, auth, capabilities, created)
                      VALUES ('o', x'01', x'02', x'', '{}', 0);
                      INSERT INTO tokens (primary_id, label, serial, slot, initialized, login_required, config, created)
                      VALUES (1, 'old', '0123456789abcdef', 1, 1, 1, '{}', 0);
                      INSERT INTO objects (token_id, uid, class, label, cka_id, private)
                      VALUES (1, x'000102030405060708090a0b0c0d0e0f', 1, x'6c', x'02', 0);
                      INSERT INTO attributes VALUES (1, 17, x'0301020304050607080910111213141516171819');";
        store.conn.execute_batch(script).unwrap();
        drop(store);
        let searches = |store: &Store| {
            let value = [3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19];
            let by_label = crate::Search { label: Some(b"l"), ..crate::Search::default() };
            let by_id = crate::Search { cka_id: Some(&[2]), class: Some(1), ..crate::Search::default() };
            let by_value = crate::Search { attribute: Some((17, &value)), ..crate::Search::default() };
            let other = crate::Search { attribute: Some((17, &value[..19])), ..crate::Search::default() };
            assert_eq!(store.briefs(1).unwrap().len(), 1);
            for search in [by_label, by_id, by_value] {
                assert_eq!(store.find_objects(1, &search).unwrap(), [1], "{search:?}");
                assert_eq!(store.find_objects(2, &search).unwrap(), [], "{search:?}");
            }
            assert_eq!(store.find_objects(1, &other).unwrap(), []);
        };
        let reader = open(&file, OpenMode::ReadOnly, MIGRATIONS).unwrap();
        assert!(!reader.searchable);
        searches(&reader);
        assert_eq!(version(&file), 3);
        assert_eq!(reader.changes_since(Some(0)).unwrap(), (crate::Changes::Unknown, 0));

        let writer = open(&file, OpenMode::ReadWrite, MIGRATIONS).unwrap();
        assert!(writer.searchable);
        searches(&writer);
        // Who opened it before goes on.
        searches(&reader);
        assert_eq!(reader.object(1).unwrap(), writer.object(1).unwrap());
    }

    #[test]
    fn a_failed_upgrade_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = old_store(dir.path());
        let before = fs::read(&file).unwrap();
        // A strict table without a type is refused, after the first statement was done.
        open(&file, OpenMode::ReadWrite, TWO).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(names(dir.path()), ["store.sqlite3", "store.sqlite3.v1.bak"]);
        // The leftover copy is no obstacle.
        let store = open(&file, OpenMode::ReadWrite, FIXED).unwrap();
        assert_eq!(primaries(&store).len(), 1);
    }

    #[test]
    fn an_upgrade_by_many_at_once_is_done_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = old_store(dir.path());
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let store = open(&file, OpenMode::ReadWrite, FIXED).unwrap();
                    assert_eq!(primaries(&store).len(), 1);
                });
            }
        });
        assert_eq!(version(&file), 3);
        assert_eq!(names(dir.path()), ["store.sqlite3", "store.sqlite3.v1.bak"]);
        let copy = dir.path().join("store.sqlite3.v1.bak");
        assert_eq!(version(&copy), 1);
    }
}
