//! The store: one SQLite file with the primaries, tokens, PINs and objects, behind a few verbs a
//! noun.
//!
//! It knows no TPM and no PKCS#11: blobs go in and come out as they are. What it does know is how
//! to keep them: whose file it may open, that a change is made wholly or not at all whatever
//! happens in between, that many processes read and write at once, and that what it reads back may
//! have been written by somebody else.
//!
//! The journal is SQLite's rollback journal: a reader needs nothing but read access, so that a
//! store may be read-only for those who only sign.

mod approvals;
mod attestation;
mod descriptors;
mod error;
mod files;
mod objects;
mod open;
pub mod peer;
mod primaries;
mod rows;
mod search;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use approvals::{ApprovalRow, NewApproval};
pub use attestation::{AttestationKeyRow, NewAttestationKey};
pub use error::Error;
pub use objects::{NewObject, ObjectRow};
pub use open::OpenMode;
pub use primaries::{NewPrimary, PrimaryRow, Template};
pub use rows::MAX_VALUE;
pub use search::{Brief, Changes, Search};
pub use tokens::{Derivation, NewToken, PinRow, Role, TokenRow};

/// What the verbs of the store return.
pub type Result<T> = std::result::Result<T, Error>;

/// An open store.
///
/// It may be sent to another thread but not shared: put it behind a lock. After a fork the child
/// must not use its copy, not even to close it.
pub struct Store {
    conn: Connection,
    path: PathBuf,
    read_only: bool,
    /// Are there indexes for searches, and a list of changes? Not in a store of an older version that can only be read.
    searchable: bool,
}

impl Store {
    /// The file, as it was named when it was opened; `:memory:` for a store in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether every change will be refused with [`Error::ReadOnly`].
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// A number that is another one after another connection, of this process or any other, has
    /// committed a change. Changes through this store do not count.
    ///
    /// # Errors
    /// As for every reading verb: [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn data_version(&self) -> Result<i64> {
        let query = |row: &rusqlite::Row<'_>| row.get(0);
        Ok(self.conn.prepare_cached("PRAGMA data_version")?.query_row([], query)?)
    }

    /// Does all that `f` does in one transaction, which begins with the right to write: nobody
    /// else writes in between, and on an error, a panic or the end of the process nothing of it
    /// remains.
    ///
    /// # Errors
    /// Those of `f`; [`Error::ReadOnly`] and [`Error::Busy`] before `f` runs; [`Error::Busy`],
    /// [`Error::Full`] and [`Error::Io`] when nothing could be committed.
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        f: impl FnOnce(&Store) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let transaction = self.begin()?;
        let value = f(self)?;
        self.commit(transaction)?;
        Ok(value)
    }

    /// Reads the whole file for damage: pages, indexes, constraints and references.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first thing that was found.
    pub fn check(&self) -> Result<()> {
        let first = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let verdict = self.conn.query_row("PRAGMA integrity_check(1)", [], first)?;
        if verdict != "ok" {
            return Err(Error::Damaged(verdict));
        }
        let mut dangling = self.conn.prepare("PRAGMA foreign_key_check")?;
        match dangling.query([])?.next()? {
            Some(row) => {
                let table = first(row)?;
                Err(Error::Damaged(format!("a row of {table} belongs to nothing")))
            }
            None => Ok(()),
        }
    }

    fn begin(&self) -> Result<Transaction<'_>> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let immediate = TransactionBehavior::Immediate;
        Ok(Transaction::new_unchecked(&self.conn, immediate)?)
    }

    fn commit(&self, transaction: Transaction<'_>) -> Result<()> {
        // Some failures, such as a full disk, take back the whole transaction at once, and whoever
        // ran in it may have passed over the error.
        if self.conn.is_autocommit() {
            let why = "a failure took back the whole transaction; nothing was changed";
            return Err(Error::Io(why.to_owned()));
        }
        Ok(transaction.commit()?)
    }

    /// Several statements that all take effect or none, inside a transaction or as one.
    fn atomic<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.conn.is_autocommit() {
            let transaction = self.begin()?;
            let value = f()?;
            self.commit(transaction)?;
            return Ok(value);
        }
        self.conn.execute_batch("SAVEPOINT step")?;
        let result = f();
        if result.is_ok() {
            self.conn.execute_batch("RELEASE step")?;
        } else {
            // Fails when SQLite has already taken back the whole transaction; what went wrong
            // first is the answer.
            let _ = self.conn.execute_batch("ROLLBACK TO step; RELEASE step");
        }
        result
    }

    /// Several queries that see the same state.
    fn snapshot<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let _transaction = if self.conn.is_autocommit() {
            let deferred = TransactionBehavior::Deferred;
            Some(Transaction::new_unchecked(&self.conn, deferred)?)
        } else {
            None
        };
        f()
    }

    /// Refuses a change early, with the right word for it.
    fn writable(&self) -> Result<&Connection> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        Ok(&self.conn)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("read_only", &self.read_only).finish_non_exhaustive()
    }
}
