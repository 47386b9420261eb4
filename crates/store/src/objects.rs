//! The objects of a token, with their attributes.

use rusqlite::{Row, params};

use crate::rows::{Columns, changed, fits};
use crate::search::ALL_OBJECTS;
use crate::{Error, Result, Store};

const COLUMNS: &str = "id, token_id, uid, class, key_type, label, cka_id, private, tpm_name, \
     tpm_public, tpm_private, wrapped_auth, policy, mac";

/// An object to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewObject {
    /// The token it belongs to.
    pub token_id: i64,
    /// 16 bytes chosen at random, which no other object has.
    pub uid: [u8; 16],
    /// CKA_CLASS.
    pub class: u32,
    /// CKA_KEY_TYPE, of keys.
    pub key_type: Option<u32>,
    /// CKA_LABEL.
    pub label: Option<Vec<u8>>,
    /// CKA_ID.
    pub cka_id: Option<Vec<u8>>,
    /// CKA_PRIVATE.
    pub private: bool,
    /// The name of the TPM object.
    pub tpm_name: Option<Vec<u8>>,
    /// Public half of the TPM object.
    pub tpm_public: Option<Vec<u8>>,
    /// Private half of the TPM object, encrypted by the TPM.
    pub tpm_private: Option<Vec<u8>>,
    /// The authorization of the TPM object, sealed.
    pub wrapped_auth: Option<Vec<u8>>,
    /// The authorization policy; JSON.
    pub policy: Option<String>,
    /// The authentication code of the row.
    pub mac: Option<Vec<u8>>,
    /// All other attributes: type and value, each type once. Values mean nothing to the store.
    pub attributes: Vec<(u64, Vec<u8>)>,
}

/// A stored object; the fields are those of [`NewObject`]. The attributes come by growing type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ObjectRow {
    /// Never given twice in the life of a store.
    pub id: i64,
    pub token_id: i64,
    pub uid: [u8; 16],
    pub class: u32,
    pub key_type: Option<u32>,
    pub label: Option<Vec<u8>>,
    pub cka_id: Option<Vec<u8>>,
    pub private: bool,
    pub tpm_name: Option<Vec<u8>>,
    pub tpm_public: Option<Vec<u8>>,
    pub tpm_private: Option<Vec<u8>>,
    pub wrapped_auth: Option<Vec<u8>>,
    pub policy: Option<String>,
    pub mac: Option<Vec<u8>>,
    pub attributes: Vec<(u64, Vec<u8>)>,
}

impl Store {
    /// Stores an object with its attributes and returns its id.
    ///
    /// # Errors
    /// Those of every changing verb: [`Error::ReadOnly`], [`Error::Busy`], [`Error::Full`],
    /// [`Error::Io`]; [`Error::Missing`] for the token; [`Error::InUse`] when the uid is taken or
    /// a type of attribute stands there twice; [`Error::TooLong`].
    pub fn add_object(&self, object: &NewObject) -> Result<i64> {
        check_lengths(
            [
                &object.label,
                &object.cka_id,
                &object.tpm_name,
                &object.tpm_public,
                &object.tpm_private,
                &object.wrapped_auth,
                &object.mac,
            ],
            &object.policy,
        )?;
        self.atomic(|| {
            self.check_token(object.token_id)?;
            self.conn.execute(
                "INSERT INTO objects (token_id, uid, class, key_type, label, cka_id, private,
                                      tpm_name, tpm_public, tpm_private, wrapped_auth, policy, mac)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    object.token_id,
                    object.uid,
                    object.class,
                    object.key_type,
                    object.label,
                    object.cka_id,
                    object.private,
                    object.tpm_name,
                    object.tpm_public,
                    object.tpm_private,
                    object.wrapped_auth,
                    object.policy,
                    object.mac,
                ],
            )?;
            let id = self.conn.last_insert_rowid();
            self.insert_attributes(id, &object.attributes)?;
            self.log_change(object.token_id, id)?;
            Ok(id)
        })
    }

    /// Stores two objects, such as the halves of a key pair: both or neither.
    ///
    /// # Errors
    /// Those of [`Store::add_object`].
    pub fn add_pair(&self, first: &NewObject, second: &NewObject) -> Result<(i64, i64)> {
        self.atomic(|| Ok((self.add_object(first)?, self.add_object(second)?)))
    }

    /// The objects of a token, oldest first.
    ///
    /// # Errors
    /// Those of every reading verb: [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn objects(&self, token_id: i64) -> Result<Vec<ObjectRow>> {
        self.objects_after(token_id, 0, u32::MAX)
    }

    /// The first `most` objects of a token whose ids are above `after`, oldest first: how to read many without holding all of
    /// them at once.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn objects_after(&self, token_id: i64, after: i64, most: u32) -> Result<Vec<ObjectRow>> {
        self.snapshot(|| {
            self.read_objects("token_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3", [token_id, after, most.into()])
        })
    }

    /// The ids of the objects of a token, oldest first.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn object_ids(&self, token_id: i64) -> Result<Vec<i64>> {
        let sql = "SELECT id FROM objects WHERE token_id = ?1 ORDER BY id";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([token_id])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            ids.push(Columns::of(row).id()?);
        }
        Ok(ids)
    }

    /// The object with this id, if there is one.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn object(&self, id: i64) -> Result<Option<ObjectRow>> {
        self.find_object("id = ?1", id)
    }

    /// Those of the objects with these ids, which grow, that there are: as they all were at one moment.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn objects_by_ids(&self, ids: &[i64]) -> Result<Vec<ObjectRow>> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
        self.snapshot(|| {
            if last.abs_diff(*first) > 2 * ids.len() as u64 {
                return ids.iter().filter_map(|id| self.read_object("id = ?1", id).transpose()).collect();
            }
            // They stand together, and are read in one go.
            let mut objects = self.read_objects("id BETWEEN ?1 AND ?2 ORDER BY id", [*first, *last])?;
            objects.retain(|object| ids.binary_search(&object.id).is_ok());
            Ok(objects)
        })
    }

    /// The object with this uid, of whatever token, if there is one.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn object_by_uid(&self, uid: &[u8; 16]) -> Result<Option<ObjectRow>> {
        self.find_object("uid = ?1", uid)
    }

    /// Puts all columns and attributes of `object` in the place of what is stored under its id.
    /// The token and the uid are part of the identity and must be the same.
    ///
    /// # Errors
    /// Those of every changing verb, [`Error::Missing`], [`Error::TooLong`], and
    /// [`Error::InUse`] when a type of attribute stands there twice.
    pub fn replace_object(&self, object: &ObjectRow) -> Result<()> {
        check_lengths(
            [
                &object.label,
                &object.cka_id,
                &object.tpm_name,
                &object.tpm_public,
                &object.tpm_private,
                &object.wrapped_auth,
                &object.mac,
            ],
            &object.policy,
        )?;
        self.atomic(|| {
            let rows = self.conn.execute(
                "UPDATE objects
                 SET class = ?4, key_type = ?5, label = ?6, cka_id = ?7, private = ?8,
                     tpm_name = ?9, tpm_public = ?10, tpm_private = ?11, wrapped_auth = ?12,
                     policy = ?13, mac = ?14
                 WHERE id = ?1 AND token_id = ?2 AND uid = ?3",
                params![
                    object.id,
                    object.token_id,
                    object.uid,
                    object.class,
                    object.key_type,
                    object.label,
                    object.cka_id,
                    object.private,
                    object.tpm_name,
                    object.tpm_public,
                    object.tpm_private,
                    object.wrapped_auth,
                    object.policy,
                    object.mac,
                ],
            )?;
            changed(rows, "object", object.id)?;
            let sql = "DELETE FROM attributes WHERE object_id = ?1";
            self.conn.execute(sql, [object.id])?;
            self.insert_attributes(object.id, &object.attributes)?;
            self.log_change(object.token_id, object.id)
        })
    }

    /// Sets one attribute of the side table, or removes it.
    ///
    /// # Errors
    /// Those of every changing verb, [`Error::Missing`] and [`Error::TooLong`].
    pub fn set_attribute(&self, id: i64, kind: u64, value: Option<&[u8]>) -> Result<()> {
        fits(value.unwrap_or_default())?;
        self.atomic(|| {
            let token = self.token_of_object(id)?;
            match value {
                Some(value) => self.conn.execute(
                    "INSERT INTO attributes (object_id, type, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (object_id, type) DO UPDATE SET value = excluded.value",
                    params![id, kind.cast_signed(), value],
                )?,
                None => self.conn.execute(
                    "DELETE FROM attributes WHERE object_id = ?1 AND type = ?2",
                    params![id, kind.cast_signed()],
                )?,
            };
            self.log_change(token, id)
        })
    }

    /// Removes an object with its attributes.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn remove_object(&self, id: i64) -> Result<()> {
        self.atomic(|| {
            let token = self.token_of_object(id)?;
            self.conn.execute("DELETE FROM objects WHERE id = ?1", [id])?;
            self.log_change(token, id)
        })
    }

    /// Removes all objects of a token and returns how many there were.
    ///
    /// # Errors
    /// Those of every changing verb.
    pub fn remove_objects(&self, token_id: i64) -> Result<usize> {
        self.atomic(|| {
            let rows = self.conn.execute("DELETE FROM objects WHERE token_id = ?1", [token_id])?;
            self.log_change(token_id, ALL_OBJECTS)?;
            Ok(rows)
        })
    }

    fn find_object(&self, wanted: &str, key: impl rusqlite::ToSql) -> Result<Option<ObjectRow>> {
        self.snapshot(|| self.read_object(wanted, key))
    }

    /// Objects that stand together, oldest first.
    fn read_objects(&self, wanted: &str, parameters: impl rusqlite::Params) -> Result<Vec<ObjectRow>> {
        let sql = format!("SELECT {COLUMNS} FROM objects WHERE {wanted}");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(parameters)?;
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            objects.push(object_of(row)?);
        }
        let (Some(first), Some(last)) = (objects.first(), objects.last()) else { return Ok(objects) };
        let sql = "SELECT object_id, type, value FROM attributes WHERE object_id BETWEEN ?1 AND ?2";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([first.id, last.id])?;
        // Both come by growing id, unless somebody altered the tables.
        let mut place = 0;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let id = columns.id()?;
            if objects.get(place).is_none_or(|object| object.id != id) {
                match objects.binary_search_by_key(&id, |object| object.id) {
                    Ok(found) => place = found,
                    // Of another token's object between these.
                    Err(_) => continue,
                }
            }
            if let Some(object) = objects.get_mut(place) {
                object.attributes.push(attribute_of(&mut columns)?);
            }
        }
        for object in &mut objects {
            object.attributes.sort_unstable_by_key(|(kind, _)| *kind);
        }
        Ok(objects)
    }

    fn read_object(&self, wanted: &str, key: impl rusqlite::ToSql) -> Result<Option<ObjectRow>> {
        let sql = format!("SELECT {COLUMNS} FROM objects WHERE {wanted}");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let Some(mut object) = statement.query([key])?.next()?.map(object_of).transpose()? else {
            return Ok(None);
        };
        let sql = "SELECT type, value FROM attributes WHERE object_id = ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([object.id])?;
        while let Some(row) = rows.next()? {
            object.attributes.push(attribute_of(&mut Columns::of(row))?);
        }
        object.attributes.sort_unstable_by_key(|(kind, _)| *kind);
        Ok(Some(object))
    }

    fn token_of_object(&self, id: i64) -> Result<i64> {
        let mut statement = self.conn.prepare_cached("SELECT token_id FROM objects WHERE id = ?1")?;
        let mut rows = statement.query([id])?;
        let row = rows.next()?.ok_or(Error::Missing { what: "object", id })?;
        Columns::of(row).id()
    }

    fn check_token(&self, id: i64) -> Result<()> {
        let sql = "SELECT count(*) FROM tokens WHERE id = ?1";
        let rows: i64 = self.conn.query_row(sql, [id], |row| row.get(0))?;
        changed(usize::try_from(rows).unwrap_or(0), "token", id)
    }

    fn insert_attributes(&self, id: i64, attributes: &[(u64, Vec<u8>)]) -> Result<()> {
        let mut statement = self.conn.prepare("INSERT INTO attributes (object_id, type, value) VALUES (?1, ?2, ?3)")?;
        for (kind, value) in attributes {
            fits(value)?;
            statement.execute(params![id, kind.cast_signed(), value])?;
        }
        Ok(())
    }
}

/// An object without its attributes.
fn object_of(row: &Row<'_>) -> Result<ObjectRow> {
    let mut columns = Columns::of(row);
    Ok(ObjectRow {
        id: columns.id()?,
        token_id: columns.id()?,
        uid: match columns.blob()?.try_into() {
            Ok(uid) => uid,
            Err(_) => return Err(Error::Damaged("a uid is not of 16 bytes".to_owned())),
        },
        class: columns.u32()?,
        key_type: columns.optional_u32()?,
        label: columns.optional_blob()?,
        cka_id: columns.optional_blob()?,
        private: columns.bool()?,
        tpm_name: columns.optional_blob()?,
        tpm_public: columns.optional_blob()?,
        tpm_private: columns.optional_blob()?,
        wrapped_auth: columns.optional_blob()?,
        policy: columns.optional_text()?,
        mac: columns.optional_blob()?,
        attributes: Vec::new(),
    })
}

fn attribute_of(columns: &mut Columns<'_, '_>) -> Result<(u64, Vec<u8>)> {
    Ok((columns.i64()?.cast_unsigned(), columns.blob()?))
}

fn check_lengths(blobs: [&Option<Vec<u8>>; 7], text: &Option<String>) -> Result<()> {
    for blob in blobs {
        fits(blob.as_deref().unwrap_or_default())?;
    }
    fits(text.as_deref().unwrap_or_default().as_bytes())
}
