//! What programs need that manage tokens, and a PKCS#11 module does not: looking at tokens and objects as the store has them, and verbs
//! that the C interface has no word for. Everything else they do by the functions of the interface itself.

use base::Secret;
use base::private::PrivateKey;
use model::{AttributeType, Attributes, SessionHandle};
use store::{Derivation, NewObject, OpenMode, PinRow, Store};

pub use crate::library::{holder_of_primary, open_tpm};
pub use crate::login::pins::{UserPin, new_primary};
pub use crate::object::{Object, TpmKey};
pub use crate::objects::arrival::{Arrival, Companion, Look};
pub use crate::objects::batch::Batch;
pub use crate::protect::approvals::{Origin, Statement, to_json};
pub use crate::protect::parent;
pub use crate::protect::policy::{BoundPolicy, new_auth};
pub use crate::protect::rows::{primary_of, seal_of};
pub use crate::protect::tries::{Guard, most as most_wrong_pins};
pub use crate::public_key::PublicKey;
pub use crate::slots::chip::ChipFacts;
pub use crate::slots::firmware::{KnownFault, known_fault, spare};
pub use crate::slots::shelf::Catalog;
pub use crate::slots::token::Token;

use crate::Result;
use crate::library::Library;
use crate::login::adopted::ONCE;
use crate::objects::change::with_id;
use crate::objects::draft::COLUMNS;
use crate::protect::policy;
use crate::protect::rows::{TokenConfig, token_policy};

impl Library {
    /// Gives the keys that are made in this session from now on a policy.
    ///
    /// # Errors
    /// [`crate::Error::SessionHandleInvalid`]; [`crate::Error::OperationActive`] if they have one already.
    pub fn bind_new_keys(&self, session: SessionHandle, policy: BoundPolicy) -> Result<()> {
        self.session(session)?.bind_new_keys(policy)
    }

    /// Brings a private key in clear into the TPM, with the policy of the session's new keys. One TPM command.
    ///
    /// # Errors
    /// [`crate::Error::SessionHandleInvalid`]; [`crate::Error::KeySizeRange`] and [`crate::Error::DeviceError`] for what this TPM does not take.
    pub fn bring_in(&self, session: SessionHandle, key: &PrivateKey) -> Result<Arrival> {
        let session = self.session(session)?;
        let material = key.into();
        session.token.chip.check_material(&material)?;
        let bound = session.policy_of_new_keys();
        let auth = new_auth(bound.as_deref())?;
        let primary = &session.token.primary;
        let wrapped = self.tpm()?.import_key(primary, &material, &auth, policy::of_tpm(&bound))?;
        Arrival::new(wrapped, auth)
    }

    /// Opens the token's keys with the login there is: by them an altered row is told from a genuine one, from now on.
    ///
    /// # Errors
    /// [`crate::Error::UserNotLoggedIn`].
    pub fn open_rows(&self, token: &Token) -> Result<()> {
        self.keys(token).map(drop)
    }

    /// The auth value of a key in the TPM; `None` for a key that has none.
    ///
    /// # Errors
    /// [`crate::Error::UserNotLoggedIn`]; [`crate::Error::Tampered`] if it does not open.
    pub fn auth_value(&self, token: &Token, key: &Object) -> Result<Option<Secret>> {
        key.reveal(&*self.keys(token)?)
    }

    /// Tries the security officer's PIN. Nobody is logged in by it.
    ///
    /// # Errors
    /// [`crate::Error::PinIncorrect`], [`crate::Error::PinLocked`]; [`crate::Error::Tampered`] if the token's row was altered.
    pub fn try_officer(&self, token: &Token, pin: &Secret) -> Result<()> {
        self.unlock_officer(token, pin).map(drop)
    }

    /// The numbers of a token's objects in the store, each with whether its row is whole: it makes sense, and, with the user's PIN, its code is
    /// right and what it hides opens. Nobody is logged in by that.
    ///
    /// # Errors
    /// [`crate::Error::PinIncorrect`], [`crate::Error::PinLocked`]; [`crate::Error::Store`] for a damaged store.
    pub fn whole_rows(&self, token: &Token, user_pin: Option<&Secret>) -> Result<Vec<(i64, bool)>> {
        let keys = user_pin.map(|pin| self.unlock_user(token, pin)).transpose()?;
        // Only now: the first use of a token that was taken over writes its rows anew.
        let store = Store::open(&self.config().store_file(), OpenMode::ReadOnly)?;
        store.check()?;
        let rows = store.objects(token.id)?;
        let is_whole = |row| {
            Object::from_row(row).is_ok_and(|object| {
                // What a row hides must open, too.
                keys.as_ref().is_none_or(|keys| object.is_genuine(keys) && object.reveal(keys).is_ok())
            })
        };
        Ok(rows.iter().map(|row| (row.id, is_whole(row))).collect())
    }

    /// Sets the user's PIN by the security officer's, without a session.
    ///
    /// # Errors
    /// [`crate::Error::PinIncorrect`], [`crate::Error::PinLocked`], [`crate::Error::PinLenRange`].
    pub fn reset_pin(&self, token: &Token, so_pin: &Secret, new: &Secret) -> Result<()> {
        let officer = self.unlock_officer(token, so_pin)?;
        self.reset_user_pin(token, &officer, new)
    }
}

impl Token {
    /// What must be true of the machine before the token opens.
    ///
    /// # Errors
    /// [`crate::Error::Tampered`] if it makes no sense.
    pub fn policy(&self) -> Result<Option<BoundPolicy>> {
        token_policy(self.row().policy.as_deref())
    }
}

/// The settings of a token of tpm2-pkcs11 that comes over: its rows wait for the user's first login.
///
/// # Errors
/// [`crate::Error::General`] if they cannot be written.
pub fn adopted_settings() -> Result<String> {
    TokenConfig::adopted().to_json()
}

/// The row of a PIN of such a token: a seal and its salt, as they are there.
#[must_use]
pub fn adopted_pin(seal: tpm::Wrapped, salt: Vec<u8>) -> PinRow {
    PinRow {
        public: seal.public,
        private: seal.private,
        salt,
        derivation: Derivation::Sha256,
        iterations: ONCE,
        to_be_changed: false,
    }
}

/// Puts attributes into the row of an object of such a token. What would not be served is refused, and so is what only this software writes.
///
/// # Errors
/// Says what of the row makes no sense.
pub fn adopt_attributes(row: &mut NewObject, attributes: &Attributes) -> std::result::Result<(), String> {
    let bytes = |ty| attributes.bytes(ty).map(<[u8]>::to_vec);
    row.label = bytes(AttributeType::LABEL);
    row.cka_id = bytes(AttributeType::ID);
    let rest = attributes.iter().filter(|(ty, _)| !COLUMNS.contains(ty));
    row.attributes = rest.map(|(ty, value)| (ty.0, value.encode())).collect();
    let object = Object::from_row(&with_id(row.clone(), 1)).map_err(|error| error.to_string())?;
    match object.may_have_come_over() {
        true => Ok(()),
        false => Err("it has attributes that only this software writes".to_owned()),
    }
}
