//! Primary keys of the TPM, under which the tokens' keys are made.

use base::Secret;
use rusqlite::{Row, params};

use crate::rows::{Columns, changed, fits};
use crate::{Error, Result, Store};

const COLUMNS: &str = "id, hierarchy, handle, template, public, name, auth, capabilities, created";

/// What a primary without a handle is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Template {
    /// The storage key of the TCG's provisioning guidance.
    #[default]
    Srk,
    /// RSA with 2048 bits.
    Rsa,
    /// The same, exempt from dictionary attack protection.
    RsaNoDa,
    /// P-256.
    Ecc,
    /// The same, exempt from dictionary attack protection.
    EccNoDa,
}

const TEMPLATES: [(Template, &str); 5] = [
    (Template::Srk, "srk"),
    (Template::Rsa, "rsa"),
    (Template::RsaNoDa, "rsa-noda"),
    (Template::Ecc, "ecc"),
    (Template::EccNoDa, "ecc-noda"),
];

/// A primary to be stored.
#[derive(Clone, Debug)]
pub struct NewPrimary<'a> {
    /// `o` owner, `e` endorsement, `p` platform, `n` null.
    pub hierarchy: char,
    /// The persistent handle, or nothing for a primary that is made anew when needed.
    pub handle: Option<u32>,
    /// What it is derived from, if it has no handle.
    pub template: Template,
    /// TPMT_PUBLIC.
    pub public: &'a [u8],
    /// The name of the object in the TPM: by it, another TPM is recognised.
    pub name: &'a [u8],
    /// The authorization of the primary, usually empty.
    pub auth: Secret,
    /// What this TPM was found to be able to do; JSON.
    pub capabilities: &'a str,
}

/// A stored primary; the fields are those of [`NewPrimary`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PrimaryRow {
    pub id: i64,
    pub hierarchy: char,
    pub handle: Option<u32>,
    pub template: Template,
    pub public: Vec<u8>,
    pub name: Vec<u8>,
    pub auth: Secret,
    pub capabilities: String,
    /// Seconds since 1970.
    pub created: i64,
}

impl Store {
    /// Stores a primary and returns its id.
    ///
    /// # Errors
    /// Those of every changing verb: [`Error::ReadOnly`], [`Error::Busy`], [`Error::Full`],
    /// [`Error::Io`]; here also [`Error::TooLong`], and [`Error::Sql`] for an unknown hierarchy.
    pub fn add_primary(&self, primary: &NewPrimary<'_>) -> Result<i64> {
        for value in [primary.public, primary.name, primary.auth.expose()] {
            fits(value)?;
        }
        fits(primary.capabilities.as_bytes())?;
        self.writable()?.execute(
            "INSERT INTO primaries (hierarchy, handle, template, public, name, auth, capabilities, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, unixepoch())",
            params![
                primary.hierarchy.to_string(),
                primary.handle,
                TEMPLATES.iter().find(|(template, _)| *template == primary.template).map(|(_, name)| name),
                primary.public,
                primary.name,
                primary.auth.expose(),
                primary.capabilities,
            ],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    /// All primaries, oldest first.
    ///
    /// # Errors
    /// Those of every reading verb: [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn primaries(&self) -> Result<Vec<PrimaryRow>> {
        let sql = format!("SELECT {COLUMNS} FROM primaries ORDER BY id");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut primaries = Vec::new();
        while let Some(row) = rows.next()? {
            primaries.push(primary_of(row)?);
        }
        Ok(primaries)
    }

    /// The primary with this id, if there is one.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn primary(&self, id: i64) -> Result<Option<PrimaryRow>> {
        let sql = format!("SELECT {COLUMNS} FROM primaries WHERE id = ?1");
        let mut statement = self.conn.prepare(&sql)?;
        statement.query([id])?.next()?.map(primary_of).transpose()
    }

    /// Records anew what the TPM can do; JSON.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn set_capabilities(&self, id: i64, capabilities: &str) -> Result<()> {
        fits(capabilities.as_bytes())?;
        let rows = self
            .writable()?
            .execute("UPDATE primaries SET capabilities = ?2 WHERE id = ?1", params![id, capabilities])?;
        changed(rows, "primary", id)
    }

    /// Records that a primary is now at another persistent handle.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn set_primary_handle(&self, id: i64, handle: u32) -> Result<()> {
        let rows = self.writable()?.execute("UPDATE primaries SET handle = ?2 WHERE id = ?1", params![id, handle])?;
        changed(rows, "primary", id)
    }

    /// Records that a primary now has another authorisation value.
    ///
    /// # Errors
    /// Those of every changing verb, [`Error::Missing`], and [`Error::TooLong`].
    pub fn set_primary_auth(&self, id: i64, auth: &Secret) -> Result<()> {
        fits(auth.expose())?;
        let rows =
            self.writable()?.execute("UPDATE primaries SET auth = ?2 WHERE id = ?1", params![id, auth.expose()])?;
        changed(rows, "primary", id)
    }

    /// Removes a primary that no token uses.
    ///
    /// # Errors
    /// Those of every changing verb, [`Error::Missing`], and [`Error::InUse`] while there are
    /// tokens under it.
    pub fn remove_primary(&self, id: i64) -> Result<()> {
        let sql = "DELETE FROM primaries WHERE id = ?1";
        match self.writable()?.execute(sql, [id]).map_err(Error::from) {
            Ok(rows) => changed(rows, "primary", id),
            Err(Error::InUse(_)) => Err(Error::InUse(format!("primary {id} is used by tokens; remove them first"))),
            Err(error) => Err(error),
        }
    }
}

fn primary_of(row: &Row<'_>) -> Result<PrimaryRow> {
    let mut columns = Columns::of(row);
    Ok(PrimaryRow {
        id: columns.id()?,
        hierarchy: {
            let text = columns.text()?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(hierarchy @ ('o' | 'e' | 'p' | 'n')), None) => hierarchy,
                _ => return Err(Error::Damaged(format!("there is no hierarchy {text:?}"))),
            }
        },
        handle: columns.optional_u32()?,
        template: {
            let name = columns.text()?;
            let found = TEMPLATES.iter().find(|(_, known)| *known == name);
            found.ok_or_else(|| Error::Damaged(format!("there is no template {name:?}")))?.0
        },
        public: columns.blob()?,
        name: columns.blob()?,
        auth: Secret::new(columns.blob()?),
        capabilities: columns.text()?,
        created: columns.i64()?,
    })
}
