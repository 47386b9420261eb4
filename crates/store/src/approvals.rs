//! Machine states that an authority approved. What makes one count is its signature, not that it stands here.

use rusqlite::{OptionalExtension, Row, params};

use crate::rows::{Columns, fits};
use crate::{Error, Result, Store};

const COLUMNS: &str = "id, authority, bank, pcrs, policy_digest, signature, counter_limit, comment, created";
/// More than any machine has use for: whoever may write the store must not keep its readers busy.
const MOST: usize = 1000;

/// An approval to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApproval<'a> {
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// The PCR bank, by the name of its hash.
    pub bank: &'a str,
    /// The PCRs: bit n is PCR n, up to 23.
    pub pcrs: u32,
    /// The digest of the approved policy.
    pub policy_digest: &'a [u8],
    /// The signature over it.
    pub signature: &'a [u8],
    /// The counter that can make it void; JSON.
    pub limit: Option<&'a str>,
    /// What a person noted.
    pub comment: Option<&'a str>,
}

/// A stored approval; the fields are those of [`NewApproval`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ApprovalRow {
    pub id: i64,
    pub authority: [u8; 32],
    pub bank: String,
    pub pcrs: u32,
    pub policy_digest: Vec<u8>,
    pub signature: Vec<u8>,
    pub limit: Option<String>,
    pub comment: Option<String>,
    /// Seconds since 1970.
    pub created: i64,
}

impl Store {
    /// Stores an approval and returns its id. One of the same authority for the same state is replaced, and keeps its id.
    ///
    /// # Errors
    /// Those of every changing verb; [`Error::TooLong`]; [`Error::Sql`] for PCRs that no TPM has.
    pub fn add_approval(&self, approval: &NewApproval<'_>) -> Result<i64> {
        let texts = [approval.bank, approval.limit.unwrap_or_default(), approval.comment.unwrap_or_default()];
        for value in [approval.policy_digest, approval.signature].into_iter().chain(texts.map(str::as_bytes)) {
            fits(value)?;
        }
        let id = self.writable()?.query_row(
            "INSERT INTO approvals (authority, bank, pcrs, policy_digest, signature, counter_limit, comment, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, unixepoch())
             ON CONFLICT (authority, policy_digest, bank, pcrs) DO UPDATE
             SET signature = excluded.signature, counter_limit = excluded.counter_limit,
                 comment = excluded.comment, created = excluded.created
             RETURNING id",
            params![
                approval.authority,
                approval.bank,
                approval.pcrs,
                approval.policy_digest,
                approval.signature,
                approval.limit,
                approval.comment,
            ],
            |row| row.get(0),
        )?;
        Ok(id)
    }

    /// The approvals, newest first, and no more than a thousand.
    ///
    /// # Errors
    /// Those of every reading verb: [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn approvals(&self) -> Result<Vec<ApprovalRow>> {
        let sql = format!("SELECT {COLUMNS} FROM approvals ORDER BY id DESC LIMIT {MOST}");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut approvals = Vec::new();
        while let Some(row) = rows.next()? {
            approvals.push(approval_of(row)?);
        }
        Ok(approvals)
    }

    /// Removes an approval and returns what it was.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn remove_approval(&self, id: i64) -> Result<ApprovalRow> {
        let sql = format!("DELETE FROM approvals WHERE id = ?1 RETURNING {COLUMNS}");
        let removed = self.writable()?.query_row(&sql, [id], |row| Ok(approval_of(row))).optional()?;
        removed.unwrap_or(Err(Error::Missing { what: "approval", id }))
    }
}

fn approval_of(row: &Row<'_>) -> Result<ApprovalRow> {
    let mut columns = Columns::of(row);
    Ok(ApprovalRow {
        id: columns.id()?,
        authority: match columns.blob()?.try_into() {
            Ok(authority) => authority,
            Err(_) => return Err(Error::Damaged("an authority is not of 32 bytes".to_owned())),
        },
        bank: columns.text()?,
        pcrs: columns.u32()?,
        policy_digest: columns.blob()?,
        signature: columns.blob()?,
        limit: columns.optional_text()?,
        comment: columns.optional_text()?,
        created: columns.i64()?,
    })
}
