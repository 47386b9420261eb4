//! The store of tpm2-pkcs11, read: all of its layouts, versions 1 to 9. Nothing is ever written to it, nor beside it.
//!
//! What the rows mean is left to the caller, as with our own. Texts may stand in columns of bytes and the other way round:
//! SQLite lets them, and the programs that wrote these files did both.

mod yaml;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::Secret;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::open::configure;
use crate::rows::MAX_VALUE;
use crate::{Error, Result};

pub use yaml::{PeerValue, ScalarTag};

/// The file's name in its directory.
pub const PEER_FILE: &str = "tpm2_pkcs11.sqlite3";
/// The newest layout that is known.
pub const PEER_NEWEST: u32 = 9;

/// Everything in the file.
#[derive(Clone, Debug)]
pub struct PeerStore {
    /// The version of the layout.
    pub version: u32,
    /// The primary keys.
    pub primaries: Vec<PeerPrimary>,
    /// The tokens.
    pub tokens: Vec<PeerToken>,
}

/// A primary key.
#[derive(Clone, Debug)]
pub struct PeerPrimary {
    /// Its number there.
    pub id: i64,
    /// `o` owner.
    pub hierarchy: String,
    /// Where it is.
    pub place: PeerPlace,
    /// Its authorization.
    pub auth: Secret,
}

/// Where a primary key is.
#[derive(Clone, Debug)]
pub enum PeerPlace {
    /// A serialized object reference of the TPM2 Software Stack: up to version 3.
    Reference(Vec<u8>),
    /// Settings: version 4 and later. An error for what cannot be read.
    Settings(std::result::Result<PeerValue, String>),
}

/// A token.
#[derive(Clone, Debug)]
pub struct PeerToken {
    /// Its number there.
    pub id: i64,
    /// The number of its primary key; none if it says nothing that could be one.
    pub primary: Option<i64>,
    /// Its label; none before it is initialized. An error for one that is not UTF-8: its bytes.
    pub label: Option<std::result::Result<String, Vec<u8>>>,
    /// Its settings; an error for what cannot be read.
    pub settings: std::result::Result<PeerValue, String>,
    /// What the PINs unlock; none before it is initialized. An error for what cannot be read.
    pub seals: std::result::Result<Option<PeerSeals>, String>,
    /// Its objects, in the order they were made.
    pub objects: Vec<PeerObject>,
}

/// What the PINs of a token unlock.
#[derive(Clone, Debug)]
pub struct PeerSeals {
    /// The security officer's.
    pub so: PeerSeal,
    /// The user's, if the user has a PIN.
    pub user: Option<PeerSeal>,
}

/// The TPM object behind a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSeal {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// The salt, as text.
    pub salt: Vec<u8>,
}

/// An object.
#[derive(Clone, Debug)]
pub struct PeerObject {
    /// Its number there.
    pub id: i64,
    /// Its attributes, by their numbers; an error for what cannot be read.
    pub attributes: std::result::Result<PeerValue, String>,
}

impl PeerStore {
    /// Reads the file, which stays byte for byte what it is: no lock, no journal, no upgrade.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReadable`]; [`Error::Interrupted`] when a journal lies beside the file, and
    /// [`Error::Busy`] when it was changed meanwhile; [`Error::Newer`] for a layout that is not known; [`Error::Damaged`].
    pub fn read(file: &Path) -> Result<PeerStore> {
        let before = state(file)?;
        for suffix in ["-journal", "-wal"] {
            let beside = PathBuf::from(format!("{}{suffix}", file.display()));
            // Somebody is writing, or was killed while writing: without it the file alone says something wrong.
            if fs::metadata(&beside).is_ok_and(|metadata| metadata.len() > 0) {
                return Err(Error::Interrupted);
            }
        }
        let conn = Connection::open_with_flags(
            address(file),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI,
        )?;
        configure(&conn)?;
        let store = read(&conn)?;
        conn.close().map_err(|(_, error)| error)?;
        if state(file)? != before {
            return Err(Error::Busy);
        }
        Ok(store)
    }
}

/// What changes when a file is written.
fn state(file: &Path) -> Result<(u64, u64, i64, i64)> {
    let metadata = fs::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::NotFound(file.to_owned()),
        _ => Error::NotReadable { path: file.to_owned(), why: error.to_string() },
    })?;
    if !metadata.is_file() {
        return Err(Error::NotReadable { path: file.to_owned(), why: "it is not a plain file".to_owned() });
    }
    fs::File::open(file).map_err(|error| Error::NotReadable { path: file.to_owned(), why: error.to_string() })?;
    Ok((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The file's address, by which SQLite is told that nobody writes it: it then takes no lock and makes no file beside it.
fn address(file: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut address = "file:".to_owned();
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            address.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(address, "%{byte:02x}");
        }
    }
    address + "?mode=ro&immutable=1"
}

fn read(conn: &Connection) -> Result<PeerStore> {
    let version = rows(conn, "SELECT schema_version FROM schema", |row| number(row, 0))?;
    let version = match version.as_slice() {
        [version] => {
            u32::try_from(*version).map_err(|_| Error::Damaged(format!("it claims to be of version {version}")))?
        }
        _ => return Err(Error::Damaged("it does not say of which version it is".to_owned())),
    };
    if version == 0 {
        return Err(Error::Damaged("it claims to be of version 0".to_owned()));
    }
    if version > PEER_NEWEST {
        return Err(Error::Newer { found: version, known: PEER_NEWEST });
    }
    let place = if version < 4 { "handle" } else { "config" };
    let sql = format!("SELECT id, hierarchy, {place}, objauth FROM pobjects ORDER BY id");
    let primaries = rows(conn, &sql, |row| {
        let place = match (of_row(required(row, 2))?, of_row(bytes(row, 3))?) {
            (Ok(place), Ok(_)) if version < 4 => PeerPlace::Reference(place),
            (Ok(place), Ok(_)) => PeerPlace::Settings(yaml(&place)),
            (Err(why), _) | (_, Err(why)) => PeerPlace::Settings(Err(why)),
        };
        Ok(PeerPrimary {
            id: number(row, 0)?,
            hierarchy: String::from_utf8_lossy(&of_row(required(row, 1))?.unwrap_or_default()).into_owned(),
            place,
            auth: Secret::new(of_row(bytes(row, 3))?.ok().flatten().unwrap_or_default()),
        })
    })?;
    let mut tokens = rows(conn, "SELECT id, pid, label, config FROM tokens ORDER BY id", |row| {
        Ok(PeerToken {
            id: number(row, 0)?,
            primary: of_row(number(row, 1))?.ok(),
            label: of_row(bytes(row, 2))?
                .unwrap_or_default()
                .map(|label| String::from_utf8(label).map_err(|error| error.into_bytes())),
            settings: settings(row, 3)?,
            seals: Ok(None),
            objects: Vec::new(),
        })
    })?;
    for token in &mut tokens {
        token.seals = seals(conn, token.id)?;
        let sql = format!("SELECT id, attrs FROM tobjects WHERE tokid = {} ORDER BY id", token.id);
        token.objects = rows(conn, &sql, |row| Ok(PeerObject { id: number(row, 0)?, attributes: settings(row, 1)? }))?;
    }
    Ok(PeerStore { version, primaries, tokens })
}

fn seals(conn: &Connection, token: i64) -> Result<std::result::Result<Option<PeerSeals>, String>> {
    let sql = format!(
        "SELECT sopub, sopriv, soauthsalt, userpub, userpriv, userauthsalt FROM sealobjects WHERE tokid = {token} ORDER BY id"
    );
    let found = rows(conn, &sql, |row| of_row(seals_of(row)))?;
    Ok(found.into_iter().next_back().transpose())
}

fn seals_of(row: &Row<'_>) -> Result<PeerSeals> {
    let so = PeerSeal { public: required(row, 0)?, private: required(row, 1)?, salt: required(row, 2)? };
    let user = match (bytes(row, 3)?, bytes(row, 4)?, bytes(row, 5)?) {
        (Some(public), Some(private), Some(salt)) => Some(PeerSeal { public, private, salt }),
        (None, None, None) => None,
        _ => return Err(Error::Damaged("the user's PIN is incomplete".to_owned())),
    };
    Ok(PeerSeals { so, user })
}

/// What is wrong with one row is no reason to read none of the others.
fn of_row<T>(read: Result<T>) -> Result<std::result::Result<T, String>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Damaged(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

fn settings(row: &Row<'_>, column: usize) -> Result<std::result::Result<PeerValue, String>> {
    Ok(of_row(required(row, column))?.and_then(|text| yaml(&text)))
}

fn rows<T>(conn: &Connection, sql: &str, read: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn number(row: &Row<'_>, column: usize) -> Result<i64> {
    match row.get_ref(column)? {
        ValueRef::Integer(number) => Ok(number),
        _ => Err(damaged(row, column, "is not a number")),
    }
}

fn bytes(row: &Row<'_>, column: usize) -> Result<Option<Vec<u8>>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() <= MAX_VALUE => Ok(Some(bytes.to_vec())),
        ValueRef::Text(_) | ValueRef::Blob(_) => Err(damaged(row, column, "is too long")),
        ValueRef::Integer(number) => Ok(Some(number.to_string().into_bytes())),
        ValueRef::Real(_) => Err(damaged(row, column, "is a fraction")),
    }
}

fn required(row: &Row<'_>, column: usize) -> Result<Vec<u8>> {
    bytes(row, column)?.ok_or_else(|| damaged(row, column, "is missing"))
}

fn yaml(bytes: &[u8]) -> std::result::Result<PeerValue, String> {
    PeerValue::parse(std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?)
}

fn damaged(row: &Row<'_>, column: usize, what: &str) -> Error {
    let name = row.as_ref().column_name(column).unwrap_or("a column");
    Error::Damaged(format!("{name} {what}"))
}
