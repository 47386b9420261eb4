//! Attestation keys and endorsement certificates. What makes them count is the TPM's word and the authorities' signatures, not that they
//! stand here.

use rusqlite::{Row, params};

use crate::rows::{Columns, changed, fits};
use crate::{Result, Store};

const COLUMNS: &str =
    "id, authority, public, private, creation_data, creation_attest, creation_signature, chain, created";
/// The longest name of an authority, in bytes.
const LONGEST_NAME: usize = 255;

/// An attestation key to be stored.
#[derive(Clone, Debug)]
pub struct NewAttestationKey<'a> {
    /// The name of the authority that it is for.
    pub authority: &'a str,
    /// TPM2B_PUBLIC.
    pub public: &'a [u8],
    /// TPM2B_PRIVATE.
    pub private: &'a [u8],
    /// TPMS_CREATION_DATA.
    pub creation_data: &'a [u8],
    /// TPMS_ATTEST of its creation.
    pub creation_attest: &'a [u8],
    /// TPMT_SIGNATURE of that, by itself.
    pub creation_signature: &'a [u8],
}

/// A stored attestation key; the fields are those of [`NewAttestationKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AttestationKeyRow {
    pub id: i64,
    pub authority: String,
    pub public: Vec<u8>,
    pub private: Vec<u8>,
    pub creation_data: Vec<u8>,
    pub creation_attest: Vec<u8>,
    pub creation_signature: Vec<u8>,
    /// Its certificate and those above, DER, one after the other.
    pub chain: Vec<u8>,
    /// Seconds since 1970.
    pub created: i64,
}

impl Store {
    /// Stores an attestation key under a primary and returns its id.
    ///
    /// # Errors
    /// Those of every changing verb; [`crate::Error::TooLong`]; [`crate::Error::Sql`] if the authority has one already.
    pub fn add_attestation_key(&self, primary: i64, key: &NewAttestationKey<'_>) -> Result<i64> {
        if key.authority.len() > LONGEST_NAME {
            return Err(crate::Error::TooLong { len: key.authority.len(), most: LONGEST_NAME });
        }
        for value in [key.public, key.private, key.creation_data, key.creation_attest, key.creation_signature] {
            fits(value)?;
        }
        self.writable()?.execute(
            "INSERT INTO attestation_keys (primary_id, authority, public, private, creation_data, creation_attest,
                                           creation_signature, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, unixepoch())",
            params![
                primary,
                key.authority,
                key.public,
                key.private,
                key.creation_data,
                key.creation_attest,
                key.creation_signature,
            ],
        )?;
        Ok(self.conn.last_insert_rowid())
    }

    /// The attestation keys under a primary, oldest first. A store of an older version that can only be read has none.
    ///
    /// # Errors
    /// Those of every reading verb: [`crate::Error::Busy`], [`crate::Error::Damaged`], [`crate::Error::Io`].
    pub fn attestation_keys(&self, primary: i64) -> Result<Vec<AttestationKeyRow>> {
        if !self.has_attestation()? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM attestation_keys WHERE primary_id = ?1 ORDER BY id");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([primary])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(key_of(row)?);
        }
        Ok(keys)
    }

    /// Keeps the certificates that an authority issued for a key in the place of those before.
    ///
    /// # Errors
    /// Those of every changing verb, [`crate::Error::Missing`], and [`crate::Error::TooLong`].
    pub fn set_attestation_chain(&self, id: i64, chain: &[u8]) -> Result<()> {
        fits(chain)?;
        let rows =
            self.writable()?.execute("UPDATE attestation_keys SET chain = ?2 WHERE id = ?1", params![id, chain])?;
        changed(rows, "attestation key", id)
    }

    /// Keeps what the TPM's NV memory has of endorsement certificates, by NV index, in the place of what was kept before.
    ///
    /// # Errors
    /// Those of every changing verb, and [`crate::Error::TooLong`].
    pub fn set_endorsement_certificates(&self, primary: i64, certificates: &[(u32, Vec<u8>)]) -> Result<()> {
        let conn = self.writable()?;
        self.atomic(|| {
            conn.execute("DELETE FROM endorsement_certificates WHERE primary_id = ?1", [primary])?;
            for (index, content) in certificates {
                fits(content)?;
                conn.execute(
                    "INSERT INTO endorsement_certificates (primary_id, nv_index, content) VALUES (?1, ?2, ?3)",
                    params![primary, index, content],
                )?;
            }
            Ok(())
        })
    }

    /// What was kept of endorsement certificates, by NV index.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn endorsement_certificates(&self, primary: i64) -> Result<Vec<(u32, Vec<u8>)>> {
        if !self.has_attestation()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT nv_index, content FROM endorsement_certificates WHERE primary_id = ?1 ORDER BY nv_index";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([primary])?;
        let mut certificates = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            certificates.push((columns.u32()?, columns.blob()?));
        }
        Ok(certificates)
    }

    fn has_attestation(&self) -> Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'attestation_keys'";
        let count: i64 = self.conn.query_row(sql, [], |row| row.get(0))?;
        Ok(count > 0)
    }
}

fn key_of(row: &Row<'_>) -> Result<AttestationKeyRow> {
    let mut columns = Columns::of(row);
    Ok(AttestationKeyRow {
        id: columns.id()?,
        authority: columns.text()?,
        public: columns.blob()?,
        private: columns.blob()?,
        creation_data: columns.blob()?,
        creation_attest: columns.blob()?,
        creation_signature: columns.blob()?,
        chain: columns.blob()?,
        created: columns.i64()?,
    })
}
