//! Tokens and their PINs.

use rusqlite::{Row, params};

use crate::rows::{Columns, changed, fits};
use crate::search::ALL_OBJECTS;
use crate::{Error, Result, Store};

const COLUMNS: &str = "t.id, t.primary_id, t.label, t.serial, t.slot, t.initialized, \
     t.login_required, t.config, t.created, t.policy, \
     so.public, so.private, so.salt, so.derivation, so.iterations, so.to_be_changed, \
     us.public, us.private, us.salt, us.derivation, us.iterations, us.to_be_changed";
const TABLES: &str = "tokens t \
     LEFT JOIN pins so ON so.token_id = t.id AND so.role = 'so' \
     LEFT JOIN pins us ON us.token_id = t.id AND us.role = 'user'";
const SERIAL_LEN: usize = 16;

/// Whose PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The security officer's.
    So,
    /// The user's.
    User,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Role::So => "so",
            Role::User => "user",
        }
    }
}

/// How a PIN becomes an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Derivation {
    /// PBKDF2-HMAC-SHA256, 32 bytes.
    Pbkdf2,
    /// The first 32 of the hexadecimal digits of SHA-256 over PIN and salt: of a token that was taken over.
    Sha256,
}

impl Derivation {
    const fn name(self) -> &'static str {
        match self {
            Derivation::Pbkdf2 => "pbkdf2",
            Derivation::Sha256 => "sha256",
        }
    }
}

/// What a PIN unlocks, and how a PIN becomes the authorization for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRow {
    /// Public half of the TPM object.
    pub public: Vec<u8>,
    /// Private half of the TPM object, encrypted by the TPM.
    pub private: Vec<u8>,
    /// Salt of the key derivation, 32 bytes when made here.
    pub salt: Vec<u8>,
    /// The key derivation.
    pub derivation: Derivation,
    /// Iterations of the key derivation.
    pub iterations: u32,
    /// Whether the PIN was set for somebody who must choose another.
    pub to_be_changed: bool,
}

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// The primary its keys are made under.
    pub primary_id: i64,
    /// Its label, without padding; need not be unique.
    pub label: &'a str,
    /// 16 hexadecimal digits that no other token has.
    pub serial: &'a str,
    /// Whether it has been initialized.
    pub initialized: bool,
    /// Whether private objects need a login.
    pub login_required: bool,
    /// What the security officer's PIN unlocks.
    pub so: Option<PinRow>,
    /// What the user's PIN unlocks.
    pub user: Option<PinRow>,
    /// Settings; JSON.
    pub config: &'a str,
    /// The policy of what the user's PIN unlocks; JSON.
    pub policy: Option<&'a str>,
}

/// A stored token; the fields are those of [`NewToken`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TokenRow {
    pub id: i64,
    pub primary_id: i64,
    pub label: String,
    pub serial: String,
    /// The slot it is seen in, from 1; the smallest that was free when the token was stored, and
    /// the same ever since.
    pub slot: u32,
    pub initialized: bool,
    pub login_required: bool,
    pub so: Option<PinRow>,
    pub user: Option<PinRow>,
    pub config: String,
    /// Seconds since 1970.
    pub created: i64,
    pub policy: Option<String>,
}

impl Store {
    /// Stores a token with its PINs and returns its id.
    ///
    /// # Errors
    /// Those of every changing verb; [`Error::Missing`] for the primary; [`Error::InUse`] when the
    /// serial number is taken; [`Error::Sql`] when it is not of 16 hexadecimal digits.
    pub fn add_token(&self, token: &NewToken<'_>) -> Result<i64> {
        for text in [token.label, token.config, token.policy.unwrap_or_default()] {
            fits(text.as_bytes())?;
        }
        self.atomic(|| {
            if self.primary(token.primary_id)?.is_none() {
                let (what, id) = ("primary", token.primary_id);
                return Err(Error::Missing { what, id });
            }
            self.conn.execute(
                "INSERT INTO tokens (primary_id, label, serial, slot, initialized, login_required,
                                     config, policy, created)
                 SELECT ?1, ?2, ?3, min(candidate), ?4, ?5, ?6, ?7, unixepoch()
                 FROM (SELECT 1 AS candidate UNION ALL SELECT slot + 1 FROM tokens)
                 WHERE candidate BETWEEN 1 AND 4294967295
                   AND candidate NOT IN (SELECT slot FROM tokens)",
                params![
                    token.primary_id,
                    token.label,
                    token.serial,
                    token.initialized,
                    token.login_required,
                    token.config,
                    token.policy,
                ],
            )?;
            let id = self.conn.last_insert_rowid();
            for (role, pin) in [(Role::So, &token.so), (Role::User, &token.user)] {
                if let Some(pin) = pin {
                    self.set_pin(id, role, pin)?;
                }
            }
            Ok(id)
        })
    }

    /// All tokens, by slot.
    ///
    /// # Errors
    /// Those of every reading verb: [`Error::Busy`], [`Error::Damaged`], [`Error::Io`].
    pub fn tokens(&self) -> Result<Vec<TokenRow>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} ORDER BY t.slot");
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut tokens = Vec::new();
        while let Some(row) = rows.next()? {
            tokens.push(token_of(row)?);
        }
        Ok(tokens)
    }

    /// The token with this id, if there is one.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn token(&self, id: i64) -> Result<Option<TokenRow>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE t.id = ?1");
        let mut statement = self.conn.prepare(&sql)?;
        statement.query([id])?.next()?.map(token_of).transpose()
    }

    /// The token with this label, if there is one; of several, the one in the lowest slot.
    ///
    /// # Errors
    /// Those of every reading verb.
    pub fn token_by_label(&self, label: &str) -> Result<Option<TokenRow>> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE t.label = ?1 ORDER BY t.slot");
        let mut statement = self.conn.prepare(&sql)?;
        statement.query([label])?.next()?.map(token_of).transpose()
    }

    /// Sets what a PIN unlocks, in one statement: whatever happens, there is the old or the new.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`] for the token.
    pub fn set_pin(&self, token_id: i64, role: Role, pin: &PinRow) -> Result<()> {
        for value in [&pin.public, &pin.private, &pin.salt] {
            fits(value)?;
        }
        let set = self.writable()?.execute(
            "INSERT INTO pins (token_id, role, public, private, salt, derivation, iterations, to_be_changed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (token_id, role) DO UPDATE
             SET public = excluded.public, private = excluded.private, salt = excluded.salt,
                 derivation = excluded.derivation, iterations = excluded.iterations, to_be_changed = excluded.to_be_changed",
            params![
                token_id,
                role.name(),
                pin.public,
                pin.private,
                pin.salt,
                pin.derivation.name(),
                pin.iterations,
                pin.to_be_changed,
            ],
        );
        match set.map_err(Error::from) {
            Ok(_) => Ok(()),
            // The one reference of the row is to its token.
            Err(Error::InUse(_)) => Err(Error::Missing { what: "token", id: token_id }),
            Err(error) => Err(error),
        }
    }

    /// Forgets what a PIN unlocks, if there is such a PIN.
    ///
    /// # Errors
    /// Those of every changing verb.
    pub fn remove_pin(&self, token_id: i64, role: Role) -> Result<()> {
        let sql = "DELETE FROM pins WHERE token_id = ?1 AND role = ?2";
        self.writable()?.execute(sql, params![token_id, role.name()])?;
        Ok(())
    }

    /// Gives a token another label.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn rename_token(&self, id: i64, label: &str) -> Result<()> {
        fits(label.as_bytes())?;
        let sql = "UPDATE tokens SET label = ?2 WHERE id = ?1";
        let rows = self.writable()?.execute(sql, params![id, label])?;
        changed(rows, "token", id)
    }

    /// Sets a token's settings; JSON.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn set_token_config(&self, id: i64, config: &str) -> Result<()> {
        fits(config.as_bytes())?;
        let sql = "UPDATE tokens SET config = ?2 WHERE id = ?1";
        let rows = self.writable()?.execute(sql, params![id, config])?;
        changed(rows, "token", id)
    }

    /// Sets the policy of what the user's PIN unlocks; JSON.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn set_token_policy(&self, id: i64, policy: Option<&str>) -> Result<()> {
        fits(policy.unwrap_or_default().as_bytes())?;
        let sql = "UPDATE tokens SET policy = ?2 WHERE id = ?1";
        let rows = self.writable()?.execute(sql, params![id, policy])?;
        changed(rows, "token", id)
    }

    /// Sets whether a token has been initialized and whether its private objects need a login.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn set_token_state(&self, id: i64, initialized: bool, login_required: bool) -> Result<()> {
        let sql = "UPDATE tokens SET initialized = ?2, login_required = ?3 WHERE id = ?1";
        let state = params![id, initialized, login_required];
        let rows = self.writable()?.execute(sql, state)?;
        changed(rows, "token", id)
    }

    /// Removes a token with its PINs and all its objects.
    ///
    /// # Errors
    /// Those of every changing verb, and [`Error::Missing`].
    pub fn remove_token(&self, id: i64) -> Result<()> {
        self.atomic(|| {
            let rows = self.conn.execute("DELETE FROM tokens WHERE id = ?1", [id])?;
            changed(rows, "token", id)?;
            self.log_change(id, ALL_OBJECTS)
        })
    }
}

fn token_of(row: &Row<'_>) -> Result<TokenRow> {
    let mut columns = Columns::of(row);
    Ok(TokenRow {
        id: columns.id()?,
        primary_id: columns.id()?,
        label: columns.text()?,
        serial: {
            let serial = columns.text()?;
            let digits = serial.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !digits || serial.len() != SERIAL_LEN {
                return Err(Error::Damaged(format!("{serial:?} is no serial number")));
            }
            serial
        },
        slot: columns.u32()?,
        initialized: columns.bool()?,
        login_required: columns.bool()?,
        config: columns.text()?,
        created: columns.i64()?,
        policy: columns.optional_text()?,
        so: pin_of(&mut columns)?,
        user: pin_of(&mut columns)?,
    })
}

/// The PIN in the next six columns, which are all there or all missing.
fn pin_of(columns: &mut Columns<'_, '_>) -> Result<Option<PinRow>> {
    let public = columns.optional_blob()?;
    let private = columns.optional_blob()?;
    let salt = columns.optional_blob()?;
    let derivation = match columns.optional_text()?.as_deref() {
        None => None,
        Some("pbkdf2") => Some(Derivation::Pbkdf2),
        Some("sha256") => Some(Derivation::Sha256),
        Some(other) => return Err(Error::Damaged(format!("there is no derivation {other:?}"))),
    };
    let iterations = columns.optional_u32()?;
    let to_be_changed = columns.optional_u32()?;
    match (public, private, salt, derivation, iterations, to_be_changed) {
        (None, None, None, None, None, None) => Ok(None),
        (Some(public), Some(private), Some(salt), Some(derivation), Some(iterations), Some(changed @ (0 | 1))) => {
            Ok(Some(PinRow { public, private, salt, derivation, iterations, to_be_changed: changed == 1 }))
        }
        _ => Err(Error::Damaged("a PIN is incomplete".to_owned())),
    }
}
