//! Making tokens and changing PINs (PKCS#11 v3.1 5.5.8 - 5.5.10).
//!
//! A token has two objects in the TPM. The security officer's seals a key that vouches for public rows. The user's seals the
//! token's wrapping key, and has a policy by which either PIN may set a new user PIN; unsealing takes the user's alone. So
//! the security officer can use the user's keys only by setting another PIN: the user then finds the old one refused, unless
//! whoever did it can also put the old row back into the store.

use std::sync::{Arc, PoisonError};

use base::Secret;
use model::{SessionHandle, SlotId};
use store::{NewPrimary, NewToken, PinRow, PrimaryRow, Role, Store, TokenRow};

use crate::library::Library;
use crate::login::adopted;
use crate::login::unlock::{NewPin, check_token, check_try};
use crate::protect::codes::{OfficerKey, TokenBinding};
use crate::protect::policy::BoundPolicy;
use crate::protect::rows::{NO_PIN, TokenConfig, config_of, primary_of, seal_of, token_policy};
use crate::protect::sealed::with_check;
use crate::slots::chip::ChipFacts;
use crate::slots::firmware::spare;
use crate::slots::token::{Login, Officer, Token};
use crate::{Error, Result};

const WRAPPING_KEY_LEN: usize = 32;
const SERIAL_LEN: usize = 8;

/// How the user of a new token will log in.
#[derive(Debug)]
pub enum UserPin<'a> {
    /// With this PIN.
    Pin(&'a Secret),
    /// Not at all until the security officer sets a PIN.
    Unset,
    /// Without any.
    Free,
}

/// A label as clients see it: in the structures of PKCS#11 blanks after it are padding (v3.1 3.2), so that two labels that differ by
/// these alone are one.
pub(crate) fn unpadded(label: &str) -> &str {
    label.trim_end_matches(' ')
}

impl Library {
    /// `C_InitToken`: makes a token in the empty slot, or wipes the one that is there. The user has no PIN afterwards.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`], [`Error::SessionExists`], [`Error::PinIncorrect`] for another PIN than the security
    /// officer's, [`Error::PinLenRange`], [`Error::ArgumentsBad`] for a label that another token has.
    pub fn init_token(&self, slot: SlotId, so_pin: Option<Secret>, label: &[u8; 32]) -> Result<()> {
        self.refresh()?;
        let so_pin = so_pin.ok_or(Error::ArgumentsBad("there is no protected authentication path: give the PIN"))?;
        // The specification has no NUL here; libp11 hands in C strings.
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        let label = unpadded(std::str::from_utf8(label).map_err(|_| Error::ArgumentsBad("the label is not UTF-8"))?);
        match self.token_in(slot)? {
            None => self.make_token(None, label, &so_pin, &UserPin::Unset).map(drop),
            Some(token) => {
                if self.sessions.count(&token).0 > 0 {
                    return Err(Error::SessionExists);
                }
                let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
                self.unlock_officer(&token, &so_pin)?;
                self.check_label(label, Some(&token))?;
                // The token stays bound to the machine's state, with a PIN besides from now on.
                let policy =
                    token_policy(token.row().policy.as_deref())?.map(|policy| policy.with_pin()).transpose()?;
                let pins = self.new_pins(&token.primary, &so_pin, &UserPin::Unset, policy.as_ref())?;
                let config = pins.config(&token.row().serial, true, policy.as_ref())?;
                let mut store = self.writer()?;
                store.transaction(|store| {
                    store.remove_objects(token.id)?;
                    store.rename_token(token.id, label)?;
                    store.set_pin(token.id, Role::So, &pins.so)?;
                    store.set_pin(token.id, Role::User, &pins.user)?;
                    store.set_token_state(token.id, true, true)?;
                    store.set_token_policy(token.id, policy.as_ref().map(BoundPolicy::text))?;
                    store.set_token_config(token.id, &config)
                })?;
                drop(store);
                self.changed();
                Ok(())
            }
        }
    }

    /// `C_InitPIN`, by the security officer who is logged in.
    ///
    /// # Errors
    /// [`Error::UserNotLoggedIn`] unless it is the security officer's session, [`Error::PinLenRange`].
    pub fn init_pin(&self, session: SessionHandle, pin: Option<Secret>) -> Result<()> {
        let session = self.session(session)?;
        self.refresh()?;
        let Login::So(officer) = session.token.login() else { return Err(Error::UserNotLoggedIn) };
        let pin = pin.ok_or(Error::ArgumentsBad("there is no protected authentication path: give the PIN"))?;
        self.reset_user_pin(&session.token, &officer, &pin)
    }

    /// `C_SetPIN`: the security officer's PIN in its session, the user's in any other read/write session.
    ///
    /// # Errors
    /// [`Error::SessionReadOnly`], [`Error::PinIncorrect`], [`Error::PinLocked`], [`Error::PinLenRange`].
    pub fn set_pin(&self, session: SessionHandle, old: Option<Secret>, new: Option<Secret>) -> Result<()> {
        let session = self.session(session)?;
        if !session.read_write {
            return Err(Error::SessionReadOnly);
        }
        let (Some(old), Some(new)) = (old, new) else {
            return Err(Error::ArgumentsBad("there is no protected authentication path: give both PINs"));
        };
        self.refresh()?;
        match session.token.login() {
            Login::So(_) => self.change_so_pin(&session.token, &old, &new),
            Login::User(_) | Login::Nobody => self.change_user_pin(&session.token, &old, &new),
        }
    }

    /// Changes the user's PIN by the user's PIN, which is empty for a token without one: it has one afterwards.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`], [`Error::PinLocked`], [`Error::PinLenRange`], [`Error::UserPinNotInitialized`].
    pub fn change_user_pin(&self, token: &Token, old: &Secret, new: &Secret) -> Result<()> {
        let row = token.row();
        let seal = row.user.clone().filter(|pin| pin.iterations != NO_PIN).ok_or(Error::UserPinNotInitialized)?;
        // Without a PIN, none is right: a try would cost one of the TPM's few.
        if !row.login_required && !old.is_empty() {
            return Err(Error::PinIncorrect);
        }
        let so_name = seal_of(row.so.as_ref().ok_or(Error::TokenNotRecognized)?).name()?;
        let policy = token_policy(row.policy.as_deref())?;
        check_pin_counts(policy.as_ref())?;
        let new = NewPin::new(new)?;
        if adopted::lacks_policy(&seal)? {
            let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
            return self.replace_user_seal(token, old, &new);
        }
        let config = if row.login_required {
            check_try(old, &seal)?;
            None
        } else {
            let keys = self.keys(token)?;
            Some(config_of(&TokenRow { login_required: true, ..row }, keys.officer())?)
        };
        let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_guard(token, Role::User)?;
        let old = adopted::auth_of(old, &seal);
        let private = self
            .tpm()?
            .change_user_auth(
                &token.primary,
                &seal_of(&seal),
                &so_name,
                policy.as_ref().map(BoundPolicy::policy),
                &old,
                &new.auth,
            )
            .map_err(|error| self.refused(token, Role::User, error))?;
        self.accepted(token, Role::User);
        self.store_pin(token, Role::User, &seal.private, &new.row(seal.public, private, false), config)
    }

    /// Changes the security officer's PIN.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`], [`Error::PinLocked`], [`Error::PinLenRange`].
    pub fn change_so_pin(&self, token: &Token, old: &Secret, new: &Secret) -> Result<()> {
        let seal = token.row().so.ok_or(Error::TokenNotRecognized)?;
        check_try(old, &seal)?;
        let new = NewPin::new(new)?;
        let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_guard(token, Role::So)?;
        let old = adopted::auth_of(old, &seal);
        let private = self
            .tpm()?
            .change_auth(&token.primary, &seal_of(&seal), &old, &new.auth)
            .map_err(|error| self.refused(token, Role::So, error))?;
        self.accepted(token, Role::So);
        let row = new.row(seal.public, private, false);
        // Before the store says so: the officer who changes the PIN stays logged in.
        token.update_login(|login| match login {
            Login::So(officer) => {
                Login::So(Officer { auth: Arc::new(new.auth.clone()), seal: Arc::new(row.private.clone()), ..officer })
            }
            other => other,
        });
        self.store_pin(token, Role::So, &seal.private, &row, None)
    }

    /// Sets the user's PIN by the security officer's.
    pub(crate) fn reset_user_pin(&self, token: &Token, officer: &Officer, new: &Secret) -> Result<()> {
        // The seal must be the user's own: a PIN set on another's would guard what that other knows.
        if let Some(wrapping_key) = &officer.wrapping_key {
            let new = NewPin::new(new)?;
            let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
            return self.replace_seals(token, officer, wrapping_key, &new);
        }
        check_token(token, &officer.key)?;
        let row = token.row();
        let (Some(so), Some(seal)) = (row.so.clone(), row.user.clone()) else { return Err(Error::TokenNotRecognized) };
        let policy = token_policy(row.policy.as_deref())?;
        check_pin_counts(policy.as_ref())?;
        let new = NewPin::new(new)?;
        if self.config().bus_protection {
            spare(&token.chip.capabilities)?;
        }
        let config = config_of(&TokenRow { login_required: true, ..row }, &officer.key)?;
        let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let private = self
            .tpm()?
            .reset_user_auth(
                &token.primary,
                &seal_of(&seal),
                &seal_of(&so),
                policy.as_ref().map(BoundPolicy::policy),
                &officer.auth,
                &new.auth,
            )
            .map_err(|error| self.refused(token, Role::So, error))?;
        // The officer knows it: CKF_USER_PIN_TO_BE_CHANGED, until the user sets another. It can be used all the same.
        self.store_pin(token, Role::User, &seal.private, &new.row(seal.public, private, true), Some(config))
    }

    /// Makes a token below a primary of the store. 3 TPM commands, and those of the primary if there was none.
    pub(crate) fn make_token(
        &self,
        primary: Option<i64>,
        label: &str,
        so_pin: &Secret,
        user_pin: &UserPin<'_>,
    ) -> Result<i64> {
        self.make_bound_token(primary, label, so_pin, user_pin, None)
    }

    /// The same, with a policy for the user's seal: the PIN, if there is one, is a part of it. Returns the token's number.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a primary, or with a label that another token has; [`Error::PinLenRange`].
    pub fn make_bound_token(
        &self,
        primary: Option<i64>,
        label: &str,
        so_pin: &Secret,
        user_pin: &UserPin<'_>,
        policy: Option<&BoundPolicy>,
    ) -> Result<i64> {
        let label = unpadded(label);
        self.check_label(label, None)?;
        // Before anything is made: what cannot be a PIN is no reason to touch the TPM.
        NewPin::new(so_pin)?;
        let mut store = Store::open_or_create(&self.config().store_file())?;
        if store.is_read_only() {
            return Err(Error::TokenWriteProtected);
        }
        let primary = match primary {
            Some(id) => store
                .primary(id)?
                .ok_or(Error::ArgumentsBad("there is no primary with this number; see `ptool listprimaries`"))?,
            None => match self.first_primary(&store)? {
                Some(row) => row,
                None => {
                    let keeping = tpm::Keeping::PersistentIfPossible;
                    self.make_primary(&mut store, &tpm::PrimaryRequest { keeping, ..tpm::PrimaryRequest::default() })?
                }
            },
        };
        let parent = primary_of(&primary)?;
        let pins = self.new_pins(&parent, so_pin, user_pin, policy)?;
        let serial = base::hex::encode(&base::random::bytes(SERIAL_LEN)?);
        let login_required = !matches!(user_pin, UserPin::Free);
        let config = pins.config(&serial, login_required, policy)?;
        let id = store.transaction(|store| {
            store.add_token(&NewToken {
                primary_id: primary.id,
                label,
                serial: &serial,
                initialized: true,
                login_required,
                so: Some(pins.so),
                user: Some(pins.user),
                config: &config,
                policy: policy.map(BoundPolicy::text),
            })
        })?;
        drop(store);
        self.changed();
        Ok(id)
    }

    /// The primary that is meant where none is named: the first of the store, and of several the first that is in the TPM. What
    /// a TPM that was cleared has lost stays in the store as long as its tokens do. No TPM command if the store has one alone,
    /// else at least one.
    ///
    /// # Errors
    /// Those of the store and, for several, of the TPM.
    pub fn first_primary(&self, store: &Store) -> Result<Option<PrimaryRow>> {
        let mut rows = store.primaries()?;
        if rows.len() > 1 {
            let tpm = self.tpm()?;
            for (index, row) in rows.iter().enumerate() {
                match tpm.check_primary(&primary_of(row)?) {
                    Ok(()) => return Ok(Some(rows.swap_remove(index))),
                    Err(tpm::Error::PrimaryMissing { .. } | tpm::Error::WrongPrimary { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // If none is there, the first says so when it is used.
        Ok(rows.into_iter().next())
    }

    /// Finds or makes the TPM's storage primary, and enters it into the store.
    pub(crate) fn make_primary(&self, store: &mut Store, request: &tpm::PrimaryRequest) -> Result<PrimaryRow> {
        let primary = self.tpm()?.storage_primary(request)?;
        self.enter_primary(store, &primary, request)
    }

    /// Enters a primary, with what the TPM can do, into the store. Of one that is there already, the authorisation value and the
    /// place are set right.
    ///
    /// # Errors
    /// [`Error::Store`]; what the TPM may answer.
    pub fn enter_primary(
        &self,
        store: &mut Store,
        primary: &tpm::Primary,
        request: &tpm::PrimaryRequest,
    ) -> Result<PrimaryRow> {
        let known = |store: &Store| -> Result<Option<PrimaryRow>> {
            Ok(store.primaries()?.into_iter().find(|row| row.name == primary.name().as_bytes()))
        };
        let handle = match primary.location {
            tpm::Location::Persistent(handle) => Some(handle),
            tpm::Location::Transient => None,
        };
        // Before the transaction, in which others cannot write.
        let capabilities = match known(store)? {
            Some(row) => row.capabilities,
            None => ChipFacts::of(self.tpm()?)?.to_json()?,
        };
        let id = store.transaction(|store| -> Result<i64> {
            let Some(row) = known(store)? else {
                return Ok(store.add_primary(&NewPrimary {
                    auth: request.primary_auth.clone(),
                    ..new_primary(primary, &capabilities)
                })?);
            };
            // The same key all the same: neither its authorisation value nor its place is in its name.
            if row.auth != request.primary_auth {
                store.set_primary_auth(row.id, &request.primary_auth)?;
            }
            if let (Some(handle), Some(before)) = (handle, row.handle)
                && handle != before
            {
                store.set_primary_handle(row.id, handle)?;
            }
            Ok(row.id)
        })?;
        store.primary(id)?.ok_or_else(|| Error::Store("the primary that was just stored is not there".to_owned()))
    }

    /// The objects behind both PINs of a new token.
    fn new_pins(
        &self,
        parent: &tpm::Primary,
        so_pin: &Secret,
        user_pin: &UserPin<'_>,
        policy: Option<&BoundPolicy>,
    ) -> Result<NewPins> {
        let so = NewPin::new(so_pin)?;
        let mut user = match user_pin {
            UserPin::Pin(pin) => NewPin::new(pin)?,
            UserPin::Free => NewPin::none()?,
            UserPin::Unset => NewPin { auth: Secret::new(base::random::bytes(WRAPPING_KEY_LEN)?), ..NewPin::none()? },
        };
        if matches!(user_pin, UserPin::Unset) {
            user.iterations = NO_PIN;
        }
        let wrapping_key = Secret::new(base::random::bytes(WRAPPING_KEY_LEN)?);
        let officer = OfficerKey::derive(&wrapping_key);
        let (so_object, user_object) = self.tpm()?.create_pin_objects(
            parent,
            tpm::SealRequest { auth: &so.auth, data: &with_check(&officer.0) },
            tpm::SealRequest { auth: &user.auth, data: &with_check(&wrapping_key) },
            policy.map(BoundPolicy::policy),
        )?;
        Ok(NewPins {
            so: so.row(so_object.public, so_object.private, false),
            user: user.row(user_object.public, user_object.private, false),
            officer,
        })
    }

    fn check_label(&self, label: &str, own: Option<&Token>) -> Result<()> {
        if label.len() > 32 || label.contains('\0') {
            return Err(Error::ArgumentsBad("a token's label has at most 32 bytes, none of them zero"));
        }
        let taken = self
            .tokens()
            .iter()
            .any(|token| own.is_none_or(|own| own.id != token.id) && unpadded(&token.row().label) == unpadded(label));
        if taken { Err(Error::ArgumentsBad("another token has this label")) } else { Ok(()) }
    }

    /// Puts a new PIN's row in the place of the one it was made from, in one transaction: a crash leaves the old or the new.
    fn store_pin(&self, token: &Token, role: Role, old: &[u8], row: &PinRow, config: Option<String>) -> Result<()> {
        let mut store = self.writer()?;
        store.transaction(|store| -> Result<()> {
            let now = store.token(token.id)?.and_then(|now| match role {
                Role::So => now.so,
                Role::User => now.user,
            });
            if now.is_none_or(|now| now.private != old) {
                return Err(Error::StoreBusy("another process changed the PIN meanwhile; try again".to_owned()));
            }
            store.set_pin(token.id, role, row)?;
            if let Some(config) = &config {
                store.set_token_state(token.id, true, true)?;
                store.set_token_config(token.id, config)?;
            }
            Ok(())
        })?;
        drop(store);
        self.changed();
        Ok(())
    }
}

/// The row of a primary of the owner hierarchy; `facts` is [`ChipFacts::to_json`].
#[must_use]
pub fn new_primary<'a>(primary: &'a tpm::Primary, facts: &'a str) -> NewPrimary<'a> {
    NewPrimary {
        hierarchy: 'o',
        handle: match primary.location {
            tpm::Location::Persistent(handle) => Some(handle),
            tpm::Location::Transient => None,
        },
        template: template_of(primary.template),
        public: &primary.public,
        name: primary.name().as_bytes(),
        auth: primary.auth.clone(),
        capabilities: facts,
    }
}

/// What the store calls a template.
fn template_of(template: tpm::PrimaryTemplate) -> store::Template {
    match template {
        tpm::PrimaryTemplate::Srk => store::Template::Srk,
        tpm::PrimaryTemplate::Rsa => store::Template::Rsa,
        tpm::PrimaryTemplate::RsaNoDa => store::Template::RsaNoDa,
        tpm::PrimaryTemplate::Ecc => store::Template::Ecc,
        tpm::PrimaryTemplate::EccNoDa => store::Template::EccNoDa,
    }
}

/// The rows of a new token's PINs, and what vouches for them.
struct NewPins {
    so: PinRow,
    user: PinRow,
    officer: OfficerKey,
}

impl NewPins {
    fn config(&self, serial: &str, login_required: bool, policy: Option<&BoundPolicy>) -> Result<String> {
        let (so_name, user_name) = (seal_of(&self.so).name()?, seal_of(&self.user).name()?);
        let policy = policy.map(BoundPolicy::text);
        let binding = TokenBinding { serial, so_name: &so_name, user_name: &user_name, login_required, policy };
        TokenConfig::new(&self.officer.token_code(&binding)).to_json()
    }
}

/// A PIN is set only where the TPM asks for it: the policy of a token without one never comes to want one.
fn check_pin_counts(policy: Option<&BoundPolicy>) -> Result<()> {
    match policy {
        Some(policy) if !policy.always_asks_for_the_pin() => Err(Error::ArgumentsBad(
            "the token opens by the state of the machine alone, and can have no PIN; make another token for one with a PIN",
        )),
        _ => Ok(()),
    }
}
