//! Tokens that were taken over from tpm2-pkcs11, with their PINs and keys as they are.
//!
//! There, both PINs unseal the same wrapping key, spelled in hexadecimal digits, and a PIN becomes an authorization by one
//! SHA-256. What an object hides is encrypted under the wrapping key and bound to nothing, and rows have no codes. All of that
//! is known only to who has a PIN: so a token comes over as it is, and with the user's PIN its rows are written anew, in one
//! transaction, as if they had been made here.
//!
//! In the same transaction the user gets a seal of ours, which holds the wrapping key as ours do, and opens by the same PIN as ours
//! do. It is what tells a token whose rows were written anew from one that waits for it: the settings beside it are anybody's who can
//! write the store, but such a seal with that key in it is not.
//!
//! The security officer's seal stays as it came until the officer sets a user's PIN, and gives up the wrapping key for the policy by
//! which ours do that.

use std::sync::Arc;

use base::Secret;
use base::digest::Hash;
use store::{Derivation, PinRow, Store, TokenRow};

use crate::library::Library;
use crate::login::unlock::{NewPin, check_token};
use crate::object::{Hidden, Object};
use crate::objects::change::with_id;
use crate::objects::draft::Draft;
use crate::protect::codes::{OfficerKey, Signer, TokenKeys, open_adopted};
use crate::protect::rows::{config_of, is_pending, seal_of};
use crate::protect::sealed::{Opened, with_check};
use crate::slots::token::{Login, Officer, Token};
use crate::{Error, Result};

/// `iterations` of a PIN whose derivation has none.
pub(crate) const ONCE: u32 = 1;

/// The authorization that a PIN makes there: the first half of SHA-256 over PIN and salt, as 32 hexadecimal digits.
pub(crate) fn auth_value(pin: &Secret, salt: &[u8]) -> Secret {
    let digest = Secret::new(Hash::Sha256.digest(&[pin.expose(), salt]));
    let mut digits = Secret::zeroed(32);
    for (place, byte) in digits.expose_mut().chunks_exact_mut(2).zip(digest.expose()) {
        for (digit, nibble) in place.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
    }
    digits
}

/// Has the seal no policy by which the security officer could set another PIN?
pub(crate) fn lacks_policy(seal: &PinRow) -> Result<bool> {
    Ok(seal_of(seal).public_area()?.auth_policy().is_empty())
}

impl Library {
    /// What the right PIN does to a token whose user has the seal that came over: gives the user one of ours, and writes the rows
    /// anew if they wait for it. In a store that cannot be written all stays, and is served like that; `true` says that of the rows.
    pub(crate) fn settle_user(
        &self,
        token: &Token,
        pin: &Secret,
        keys: &Arc<TokenKeys>,
        wrapping_key: &Secret,
    ) -> Result<bool> {
        let row = token.row();
        let pending = is_pending(&row);
        // The code of its row is made anew: it had better be right.
        if !pending {
            check_token(token, keys.officer())?;
        }
        let Some(seal) = &row.user else { return Ok(pending) };
        if self.writer().is_err() {
            if pending {
                log::warn!(
                    "the token came from another software and is not bound to its PIN yet: the store cannot be written"
                );
            }
            return Ok(pending);
        }
        let new = NewPin::unchecked(pin)?;
        let request = tpm::SealRequest { auth: &new.auth, data: &with_check(wrapping_key) };
        let made = match self.tpm()?.create_pin_object(&token.primary, None, request) {
            Ok(object) => new.row(object.public, object.private, seal.to_be_changed),
            // Another time: the login does not depend on it.
            Err(error) => {
                log::warn!("the token came from another software, and its user has no seal of ours yet: {error}");
                return Ok(pending);
            }
        };
        self.settle_once(token, &row, Some(made), keys, wrapping_key)
    }

    /// One transaction; `true` if the rows are still as they came.
    fn settle_once(
        &self,
        token: &Token,
        row: &TokenRow,
        user: Option<PinRow>,
        keys: &Arc<TokenKeys>,
        wrapping_key: &Secret,
    ) -> Result<bool> {
        let pending = is_pending(row);
        let settled = self.writer().and_then(|mut store| {
            store.transaction(|store| {
                if store.token(token.id)?.as_ref() != Some(row) {
                    // Another process was faster, in this or in something else.
                    return Ok(());
                }
                if pending {
                    settle_rows(store, token.id, keys, wrapping_key)?;
                }
                let changed = TokenRow { user: user.or_else(|| row.user.clone()), ..row.clone() };
                if let Some(user) = &changed.user {
                    store.set_pin(token.id, store::Role::User, user)?;
                }
                store.set_token_config(token.id, &config_of(&changed, keys.officer())?)?;
                log::info!("the token that was taken over is bound to its PIN now");
                Ok(())
            })
        });
        match settled {
            // Another time: the login does not depend on it.
            Err(Error::TokenWriteProtected | Error::StoreBusy(_)) => Ok(pending),
            Err(error) => Err(error),
            Ok(()) => {
                self.changed();
                Ok(is_pending(&token.row()))
            }
        }
    }

    /// Before a row is written by the user of a token whose other rows could not be written anew at the login: now they are.
    pub(crate) fn settle_before_writing(&self, token: &Token, keys: &Arc<TokenKeys>) -> Result<()> {
        let Some(wrapping_key) = keys.adopted() else { return Ok(()) };
        let row = token.row();
        // The PIN is not known here: the user gets a seal of ours with the next login.
        if is_pending(&row) && (row.user.is_none() || self.settle_once(token, &row, None, keys, wrapping_key)?) {
            self.writer()?;
            return Err(Error::StoreBusy("another process writes the store; try again".to_owned()));
        }
        Ok(())
    }

    /// Gives the user of a token that was taken over a seal of ours, and the new PIN. The seal is not given into the hands of the security
    /// officer yet: that the object in the officer's row is the officer's, and not one that somebody put there, nothing has shown
    /// until the officer's PIN opens it ([`Library::replace_seals`]).
    pub(crate) fn replace_user_seal(&self, token: &Token, old: &Secret, new: &NewPin) -> Result<()> {
        let (keys, wrapping_key) = self.open_user(token, old)?;
        if keys.is_adopted() {
            self.writer()?;
            return Err(Error::StoreBusy("another process writes the store; try again".to_owned()));
        }
        let row = token.row();
        let Some(seal) = &row.user else { return Err(Error::TokenNotRecognized) };
        let request = tpm::SealRequest { auth: &new.auth, data: &with_check(&wrapping_key) };
        let object = self.tpm()?.create_pin_object(&token.primary, None, request)?;
        let user = new.row(object.public, object.private, false);
        let changed = TokenRow { login_required: true, user: Some(user), ..row.clone() };
        let config = config_of(&changed, keys.officer())?;
        self.store_pins(token, &[&seal.private], &changed, &config, None)
    }

    /// Sets the user's PIN by that of a security officer whose seal holds the wrapping key, and makes both seals anew: the
    /// officer's holds what vouches for public rows, and nothing more.
    pub(crate) fn replace_seals(&self, token: &Token, officer: &Officer, key: &Secret, new: &NewPin) -> Result<()> {
        let row = token.row();
        let Some(so) = &row.so else { return Err(Error::TokenNotRecognized) };
        let tpm = self.tpm()?;
        let request = tpm::SealRequest { auth: &officer.auth, data: &with_check(&officer.key.0) };
        let so_object = tpm.create_pin_object(&token.primary, None, request)?;
        let request = tpm::SealRequest { auth: &new.auth, data: &with_check(key) };
        let user_object = tpm.create_pin_object(&token.primary, Some(&so_object.name()?), request)?;
        let changed = TokenRow {
            login_required: true,
            // The officer's PIN is not known here, only what it makes: that stays.
            so: Some(PinRow { public: so_object.public, private: so_object.private.clone(), ..so.clone() }),
            user: Some(new.row(user_object.public, user_object.private, false)),
            ..row.clone()
        };
        let config = config_of(&changed, &officer.key)?;
        let waiting = is_pending(&row).then_some(key);
        let old: Vec<&[u8]> = [Some(so), row.user.as_ref()].into_iter().flatten().map(|pin| &*pin.private).collect();
        // Before the store says so: the officer who sets the PIN stays logged in.
        token.update_login(|login| match login {
            Login::So(officer) => {
                Login::So(Officer { seal: Arc::new(so_object.private), wrapping_key: None, ..officer })
            }
            other => other,
        });
        self.store_pins(token, &old, &changed, &config, waiting)
    }

    /// Puts both PINs' rows in the place of those they were made from, whose blobs `old` has, in one transaction. With the wrapping key
    /// of a token whose rows still wait for it, these are written anew as well.
    fn store_pins(
        &self,
        token: &Token,
        old: &[&[u8]],
        row: &TokenRow,
        config: &str,
        waiting: Option<&Secret>,
    ) -> Result<()> {
        let mut store = self.writer()?;
        store.transaction(|store| -> Result<()> {
            let now = store.token(token.id)?;
            let unchanged = now.is_some_and(|now| {
                let blobs: Vec<_> = now.so.iter().chain(&now.user).map(|pin| pin.private.clone()).collect();
                old.iter().all(|blob| blobs.iter().any(|found| found == blob))
            });
            if !unchanged {
                return Err(Error::StoreBusy("another process changed the PIN meanwhile; try again".to_owned()));
            }
            if let Some(key) = waiting {
                settle_rows(store, token.id, &Arc::new(TokenKeys::derive(key, true)), key)?;
            }
            for (role, pin) in [(store::Role::So, &row.so), (store::Role::User, &row.user)] {
                if let Some(pin) = pin {
                    store.set_pin(token.id, role, pin)?;
                }
            }
            store.set_token_state(token.id, true, row.login_required)?;
            Ok(store.set_token_config(token.id, config)?)
        })?;
        drop(store);
        // The wrapping key is the same: whoever is logged in stays so.
        token.replace_row(TokenRow { config: config.to_owned(), ..row.clone() });
        self.changed();
        Ok(())
    }
}

/// Writes the rows of a token anew that came over.
fn settle_rows(store: &Store, token: i64, keys: &Arc<TokenKeys>, wrapping_key: &Secret) -> Result<()> {
    let signer = Signer::User(Arc::clone(keys));
    let rows = store.objects(token)?;
    if rows.iter().any(|found| was_settled(found, keys)) {
        return Err(Error::Tampered("the token was bound to its PIN before, and its row was altered since".to_owned()));
    }
    // A row with a code was written here, by the security officer of a token whose user had not logged in yet.
    for found in rows.into_iter().filter(|found| found.mac.is_none()) {
        match settled(&found, token, &signer, wrapping_key) {
            Ok(object) => store.replace_object(&with_id(object, found.id))?,
            // It has no code, and is not served from now on.
            Err(error) => log::error!("object {}: {error}", found.id),
        }
    }
    Ok(())
}

/// Does the row hide something by the means of ours? None does before the token is bound to its PIN, see [`Library::may_write`].
fn was_settled(row: &store::ObjectRow, keys: &TokenKeys) -> bool {
    row.mac.is_some() && Object::from_row(row).is_ok_and(|object| object.hides() && object.is_genuine(keys))
}

fn settled(row: &store::ObjectRow, token: i64, signer: &Signer, wrapping_key: &Secret) -> Result<store::NewObject> {
    let object = Object::from_row(row)?;
    if !object.may_have_come_over() {
        return Err(Error::Tampered("nobody vouches for what it says".to_owned()));
    }
    let hidden = match &object.hidden {
        Hidden::Wrapped(wrapped) => Some(open_adopted(wrapping_key, wrapped)?),
        Hidden::Nothing | Hidden::Clear(_) => None,
    };
    let Object { uid, attributes, key, policy, messages, .. } = object;
    Draft { uid, attributes, key, hidden, policy, messages }.to_row(token, signer)
}

/// The key of the codes of public rows, from what the security officer's seal holds; and the wrapping key, if it is that.
pub(crate) fn officer_key(opened: &Opened) -> (OfficerKey, Option<Secret>) {
    let key = opened.key.clone();
    if opened.came { (OfficerKey::derive(&key), Some(key)) } else { (OfficerKey(key), None) }
}

/// The auth value that a PIN makes for this seal.
pub(crate) fn auth_of(pin: &Secret, seal: &PinRow) -> Secret {
    match seal.derivation {
        Derivation::Pbkdf2 => crate::login::unlock::auth_value(pin, &seal.salt, seal.iterations),
        Derivation::Sha256 => auth_value(pin, &seal.salt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_becomes_what_it_was_there() {
        // printf 'userpin1c9d3948d0e301c0543f6b184e035b23eb05bef1be26b9c6f3aa120aee596a9c8bf' | sha256sum | cut -c1-32
        let salt = b"c9d3948d0e301c0543f6b184e035b23eb05bef1be26b9c6f3aa120aee596a9c8bf";
        let auth = auth_value(&Secret::copy_from(b"userpin1"), salt);
        assert_eq!(auth.expose(), b"b21d3931fa30f64244333b736358d857");
    }
}
