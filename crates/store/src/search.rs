//! Finding objects without reading them, and what changed since somebody looked.

use rusqlite::types::Value;
use store_schema::SEARCHED;

use crate::rows::Columns;
use crate::{Result, Store};

/// In the list of changes: every object of the token.
pub(crate) const ALL_OBJECTS: i64 = 0;
/// How many changes are remembered.
const MOST_CHANGES: i64 = 1000;
/// Bytes at the end of a value that the index has.
const END: usize = 16;

/// What is asked for: objects of a token that have all of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'a> {
    /// The uid.
    pub uid: Option<&'a [u8; 16]>,
    /// CKA_ID.
    pub cka_id: Option<&'a [u8]>,
    /// CKA_LABEL, which is not empty.
    pub label: Option<&'a [u8]>,
    /// An attribute of the side table for which [`Store::is_searched`] says yes: type and value.
    pub attribute: Option<(u64, &'a [u8])>,
    /// CKA_CLASS.
    pub class: Option<u32>,
}

/// What a list of many objects says of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The id.
    pub id: i64,
    /// CKA_CLASS.
    pub class: u32,
    /// CKA_KEY_TYPE, of keys.
    pub key_type: Option<u32>,
    /// CKA_PRIVATE.
    pub private: bool,
}

/// What changed since somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These objects, each with its token first; no object for all of the token. Nothing else that this store wrote.
    Objects(Vec<(i64, Option<i64>)>),
    /// Nobody knows: too much, something besides objects, or something that this store did not write.
    Unknown,
}

impl Store {
    /// Is there an index for attributes of this type?
    pub fn is_searched(&self, kind: u64) -> bool {
        self.searchable && SEARCHED.contains(&kind)
    }

    /// The ids of the objects of a token that have what is asked for, oldest first. They are found by indexes alone where there
    /// are some: who must be sure looks at the objects.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn find_objects(&self, token_id: i64, search: &Search<'_>) -> Result<Vec<i64>> {
        let mut parameters = vec![Value::Integer(token_id)];
        let mut sql = match search.attribute {
            // SQLite goes by the index only if the query has the condition of the index word by word.
            Some((kind, _)) if self.is_searched(kind) => format!(
                "SELECT o.id FROM attributes a CROSS JOIN objects o ON o.id = a.object_id
                 WHERE o.token_id = ?1 AND a.type IN ({}) AND a.type = {kind}",
                SEARCHED.map(|kind| kind.to_string()).join(", ")
            ),
            Some((kind, _)) => format!(
                "SELECT o.id FROM objects o JOIN attributes a ON a.object_id = o.id
                 WHERE o.token_id = ?1 AND a.type = {}",
                kind.cast_signed()
            ),
            None => "SELECT o.id FROM objects o WHERE o.token_id = ?1".to_owned(),
        };
        let mut and = |condition: &str, value: Value| {
            parameters.push(value);
            sql.push_str(&format!(" AND {condition} = ?{}", parameters.len()));
        };
        if let Some((kind, value)) = search.attribute {
            if self.is_searched(kind) {
                let end = value.get(value.len().saturating_sub(END)..).unwrap_or_default();
                and("substr(a.value, -16)", Value::Blob(end.to_vec()));
            }
            and("a.value", Value::Blob(value.to_vec()));
        }
        // The first of these is what is looked up, and the others are looked at: a plus takes a column out of the choice.
        let mut by = search.attribute.is_some();
        let mut column = |name: &str, value: Value| {
            and(&format!("{}o.{name}", if std::mem::replace(&mut by, true) { "+" } else { "" }), value);
        };
        if let Some(uid) = search.uid {
            column("uid", Value::Blob(uid.to_vec()));
        }
        if let Some(id) = search.cka_id {
            column("cka_id", Value::Blob(id.to_vec()));
        }
        if let Some(label) = search.label {
            column("label", Value::Blob(label.to_vec()));
        }
        if let Some(class) = search.class {
            column("class", Value::Integer(class.into()));
        }
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            ids.push(Columns::of(row).id()?);
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// What the objects of a token are, oldest first.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn briefs(&self, token_id: i64) -> Result<Vec<Brief>> {
        let sql = "SELECT id, class, key_type, private FROM objects WHERE token_id = ?1";
        let mut briefs = self.read_briefs(sql, token_id)?;
        // Sorted here and not there, where an order would lead away from the one index that has it all.
        briefs.sort_unstable_by_key(|brief| brief.id);
        Ok(briefs)
    }

    /// What this object of a token is, if it is there.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn brief(&self, token_id: i64, id: i64) -> Result<Option<Brief>> {
        let sql = "SELECT id, class, key_type, private FROM objects WHERE id = ?1 AND token_id = ?2";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([id, token_id])?;
        rows.next()?.map(brief_of).transpose()
    }

    /// How many keys a token has, private halves and secret ones alone.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn count_keys(&self, token_id: i64) -> Result<usize> {
        let sql = "SELECT count(*) FROM objects WHERE token_id = ?1 AND tpm_name IS NOT NULL";
        let count: i64 = self.conn.query_row(sql, [token_id], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Has the token a key whose TPM object has this name?
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn has_key_named(&self, token_id: i64, name: &[u8]) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM objects WHERE token_id = ?1 AND tpm_name = ?2)";
        Ok(self.conn.query_row(sql, rusqlite::params![token_id, name], |row| row.get(0))?)
    }

    /// What changed since this last was asked, when it said `seen`; with what to say next time.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn changes_since(&self, seen: Option<i64>) -> Result<(Changes, i64)> {
        if !self.searchable {
            return Ok((Changes::Unknown, 0));
        }
        let mut last = seen.unwrap_or_default();
        let mut changes = Vec::new();
        if let Some(seen) = seen {
            let sql = "SELECT id, token_id, object_id FROM changes WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut statement = self.conn.prepare_cached(sql)?;
            let mut rows = statement.query([seen, MOST_CHANGES])?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                let (id, token, object) = (columns.id()?, columns.i64()?, columns.i64()?);
                changes.push((token, (object != ALL_OBJECTS).then_some(object)));
                last = id;
            }
        }
        let sql = "SELECT ifnull(max(id), 0) FROM changes";
        let newest: i64 = self.conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let all = seen.is_some_and(|seen| last == newest && newest - seen == changes.len() as i64);
        let known = all && !changes.is_empty();
        Ok((if known { Changes::Objects(changes) } else { Changes::Unknown }, newest))
    }

    /// Remembers a change, and forgets old ones.
    pub(crate) fn log_change(&self, token_id: i64, object_id: i64) -> Result<()> {
        let sql = "INSERT INTO changes (token_id, object_id) VALUES (?1, ?2)";
        self.conn.prepare_cached(sql)?.execute([token_id, object_id])?;
        let sql = "DELETE FROM changes WHERE id <= ?1";
        self.conn.prepare_cached(sql)?.execute([self.conn.last_insert_rowid() - MOST_CHANGES])?;
        Ok(())
    }

    fn read_briefs(&self, sql: &str, token_id: i64) -> Result<Vec<Brief>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([token_id])?;
        let mut briefs = Vec::new();
        while let Some(row) = rows.next()? {
            briefs.push(brief_of(row)?);
        }
        Ok(briefs)
    }
}

fn brief_of(row: &rusqlite::Row<'_>) -> Result<Brief> {
    let mut columns = Columns::of(row);
    let id = columns.id()?;
    Ok(Brief { id, class: columns.u32()?, key_type: columns.optional_u32()?, private: columns.bool()? })
}
