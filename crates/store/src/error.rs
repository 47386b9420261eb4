//! What can go wrong with a store: what happened, then what to do.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi;

/// Why a verb of the store did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no store at {}; create one, or name another place", .0.display())]
    NotFound(PathBuf),
    /// The file or its directory cannot be read.
    #[error("the store {} cannot be read: {why}", .path.display())]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// What is in the way, and what to do about it.
        why: String,
    },
    /// Somebody else could have written the file, or could exchange it.
    #[error(
        "the store is not used because {} {why}; it must belong to you or to root, and nobody \
         else may be able to write it",
        .path.display()
    )]
    NotTrusted {
        /// The file or directory at fault.
        path: PathBuf,
        /// What is the matter with it.
        why: String,
    },
    /// A newer version of this program has written the file.
    #[error(
        "the store is of version {found}, and this program knows versions up to {known}; it was \
         left as it is, use the newer program"
    )]
    Newer {
        /// The version of the file.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// The file is of an older version and must not be written.
    #[error(
        "the store is of version {found} and must be brought to version {known}, but it is opened \
         for reading only; open it once with the right to write"
    )]
    Older {
        /// The version of the file.
        found: u32,
        /// The version that this program works with.
        known: u32,
    },
    /// The file is not a store, or its contents make no sense.
    #[error("the store is damaged: {0}; restore a backup of it")]
    Damaged(String),
    /// A change was asked of a store that is open for reading only.
    #[error("the store cannot be written; change the owner or mode of its file and directory")]
    ReadOnly,
    /// A process was killed while it wrote, and this one may not write and so cannot take back what
    /// that one left half done. Opening the store anew does, where it may.
    #[error(
        "a write to the store was interrupted and must be taken back before it can be read; open \
         it once with the right to write"
    )]
    Interrupted,
    /// Others kept the file locked for the whole waiting time.
    #[error("the store is locked by another process; try again")]
    Busy,
    /// The file to be created exists.
    #[error("there is already a store at {}; use it or name another place", .0.display())]
    Exists(PathBuf),
    /// No space is left.
    #[error("there is no space left for the store; nothing was changed, make room")]
    Full,
    /// The operating system refused something.
    #[error("the store could not be reached: {0}")]
    Io(String),
    /// SQLite refused something that should work.
    #[error("the store refused the request: {0}")]
    Sql(String),
    /// Something else depends on what was to be removed, or has already what must be unique.
    #[error("{0}")]
    InUse(String),
    /// The row to be changed is not there (any more).
    #[error("there is no {what} with number {id} in the store; it may have been removed meanwhile")]
    Missing {
        /// Which noun.
        what: &'static str,
        /// Its id.
        id: i64,
    },
    /// A value is longer than the store takes.
    #[error("a value of {len} bytes is too long for the store, which takes up to {most}")]
    TooLong {
        /// The length of the value in bytes.
        len: usize,
        /// The greatest length in bytes.
        most: usize,
    },
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        use rusqlite::Error as E;
        match error {
            E::SqliteFailure(code, message) => {
                let message = message.unwrap_or_else(|| code.to_string());
                from_code(code, message)
            }
            E::SqlInputError { error, msg, .. } => from_code(error, msg),
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..) => Error::Damaged(error.to_string()),
            E::NulError(_) | E::InvalidPath(_) => Error::Io(error.to_string()),
            _ => Error::Sql(error.to_string()),
        }
    }
}

fn from_code(code: ffi::Error, message: String) -> Error {
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Error::Busy,
        ErrorCode::ReadOnly if code.extended_code == ffi::SQLITE_READONLY_ROLLBACK => Error::Interrupted,
        ErrorCode::ReadOnly => Error::ReadOnly,
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::TooBig => Error::Damaged(message),
        // The statements are constants, so what does not fit them is the tables of the file.
        ErrorCode::Unknown => Error::Damaged(message),
        ErrorCode::DiskFull => Error::Full,
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Error::Io(message),
        ErrorCode::ConstraintViolation => match code.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_FOREIGNKEY
            | ffi::SQLITE_CONSTRAINT_TRIGGER => Error::InUse(message),
            _ => Error::Sql(message),
        },
        _ => Error::Sql(message),
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Error::Full;
        }
        Error::Io(error.to_string())
    }
}
