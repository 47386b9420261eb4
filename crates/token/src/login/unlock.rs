//! PINs: who may log in, and what the TPM says to a PIN.

use std::sync::{Arc, PoisonError};

use base::Secret;
use model::UserType;
use store::{Derivation, PinRow, Role};

use crate::info::{MAX_PIN_LEN, MIN_PIN_LEN};
use crate::library::Library;
use crate::login::adopted;
use crate::protect::codes::{OfficerKey, Signer, TokenKeys};
use crate::protect::policy::BoundPolicy;
use crate::protect::rows::{NO_PIN, is_pending, seal_of, token_policy, vouches};
use crate::protect::sealed;
use crate::slots::session::Session;
use crate::slots::token::{Login, Officer, Token};
use crate::{Error, Result};

/// PBKDF2 iterations for new PINs: with one it is HMAC-SHA256 of salt and block number under the PIN. The guard of a PIN is the
/// TPM's dictionary-attack protection: more of them slow nobody down who has the TPM. Rows say their own number.
const ITERATIONS: u32 = 1;
/// More than anybody would store: an altered row must not keep a process busy.
const MOST_ITERATIONS: u32 = 10_000_000;
const SALT_LEN: usize = 32;

impl Library {
    /// `C_Login` (PKCS#11 v3.1 5.6.6). 4 TPM commands for the security officer and the user.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`] if and only if the TPM refused the PIN itself, [`Error::PinLocked`] in its lockout, and
    /// the state errors of the specification.
    pub fn login(&self, session: model::SessionHandle, user: UserType, pin: Option<Secret>) -> Result<()> {
        let session = self.session(session)?;
        self.refresh()?;
        let token = &session.token;
        let pin = pin.unwrap_or_else(|| Secret::zeroed(0));
        match user {
            UserType::ContextSpecific => self.login_for_operation(&session, &pin),
            UserType::User => {
                let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
                match token.login() {
                    Login::User(_) => return Err(Error::UserAlreadyLoggedIn),
                    Login::So(_) => return Err(Error::UserAnotherAlreadyLoggedIn),
                    Login::Nobody => {}
                }
                let keys = self.unlock_user(token, &pin)?;
                self.sessions.commit_login(&session, Login::User(Arc::new(keys)))
            }
            UserType::So => {
                let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
                match token.login() {
                    Login::So(_) => return Err(Error::UserAlreadyLoggedIn),
                    Login::User(_) => return Err(Error::UserAnotherAlreadyLoggedIn),
                    Login::Nobody => {}
                }
                let (all, read_write) = self.sessions.count(token);
                if all != read_write {
                    return Err(Error::SessionReadOnlyExists);
                }
                let officer = self.unlock_officer(token, &pin)?;
                self.sessions.commit_login(&session, Login::So(officer))
            }
        }
    }

    /// `C_Logout`.
    ///
    /// # Errors
    /// [`Error::UserNotLoggedIn`].
    pub fn logout(&self, session: model::SessionHandle) -> Result<()> {
        let session = self.session(session)?;
        match session.token.login() {
            Login::Nobody => Err(Error::UserNotLoggedIn),
            Login::User(_) | Login::So(_) => {
                session.token.logout();
                self.sessions.end_private_operations(&session.token);
                Ok(())
            }
        }
    }

    /// The token's keys: of the user who is logged in or, for a token without PIN, from the TPM.
    pub(crate) fn keys(&self, token: &Token) -> Result<Arc<TokenKeys>> {
        if let Some(keys) = token.keys() {
            return Ok(keys);
        }
        if token.login_required() || matches!(token.login(), Login::So(_)) {
            return Err(Error::UserNotLoggedIn);
        }
        let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = token.keys() {
            return Ok(keys);
        }
        let blob = token.row().user.map(|pin| pin.private).unwrap_or_default();
        if token.is_known_not_free(&blob) {
            return Err(Error::UserNotLoggedIn);
        }
        let keys = match self.unlock_user(token, &Secret::zeroed(0)) {
            Ok(keys) => Arc::new(keys),
            Err(Error::PinIncorrect | Error::PinLocked) => {
                // Each try counts towards the TPM's lockout: one is enough.
                log::error!("the token says that it has no PIN, and has one; the store was altered");
                token.remember_not_free(blob);
                return Err(Error::UserNotLoggedIn);
            }
            Err(error) => return Err(error),
        };
        token.set_free_keys(Some(Arc::clone(&keys)));
        Ok(keys)
    }

    /// Who vouches for a token object that is written in this session: the user, or for a public one the security officer.
    pub(crate) fn signer(&self, token: &Token, private: bool) -> Result<Signer> {
        match token.login() {
            Login::So(_) if private => Err(Error::UserNotLoggedIn),
            Login::So(officer) => Ok(Signer::Officer(officer.key)),
            Login::User(_) | Login::Nobody => self.keys(token).map(Signer::User),
        }
    }

    /// Opens the user seal with the user's PIN.
    pub(crate) fn unlock_user(&self, token: &Token, pin: &Secret) -> Result<TokenKeys> {
        Ok(self.open_user(token, pin)?.0)
    }

    /// The same, with the wrapping key.
    pub(crate) fn open_user(&self, token: &Token, pin: &Secret) -> Result<(TokenKeys, Secret)> {
        let row = token.row();
        let seal = row.user.clone().filter(|pin| pin.iterations != NO_PIN).ok_or(Error::UserPinNotInitialized)?;
        if row.login_required {
            // A seal that was made for a PIN that came over lacks the policy, and may have to open by such a PIN.
            if !adopted::lacks_policy(&seal)? {
                check_try(pin, &seal)?;
            }
        } else if !pin.is_empty() {
            return Err(Error::PinIncorrect);
        }
        let policy = token_policy(row.policy.as_deref())?;
        // Where a way opens it without the PIN, any PIN would be taken for right.
        if row.login_required && policy.as_ref().is_some_and(|policy| !policy.always_asks_for_the_pin()) {
            return Err(Error::Tampered("the token's policy in the store was altered: it asks for no PIN".to_owned()));
        }
        let opened = sealed::open(self.try_pin(token, &seal, pin, Role::User, policy.as_ref())?)?;
        let keys = TokenKeys::derive(&opened.key, row.login_required);
        if opened.came && self.settle_user(token, pin, &Arc::new(keys.clone()), &opened.key)? {
            return Ok((keys.with_adopted(opened.key.clone()), opened.key));
        }
        check_token(token, keys.officer()).map_err(|error| opened.explain(error))?;
        Ok((keys, opened.key))
    }

    /// Opens the security officer's object: it proves the PIN, and unlocks nothing that the user's keys need.
    pub(crate) fn unlock_officer(&self, token: &Token, pin: &Secret) -> Result<Officer> {
        let seal = token.row().so.ok_or(Error::TokenNotRecognized)?;
        check_try(pin, &seal)?;
        let opened = sealed::open(self.try_pin(token, &seal, pin, Role::So, None)?)?;
        let auth = adopted::auth_of(pin, &seal);
        let (key, wrapping_key) = adopted::officer_key(&opened);
        // Whether the rows that wait for a code are the token's own is for the user's login to say.
        let pending = wrapping_key.is_some() && is_pending(&token.row());
        if !pending {
            check_token(token, &key).map_err(|error| opened.explain(error))?;
        }
        Ok(Officer {
            auth: Arc::new(auth),
            key: Arc::new(key),
            seal: Arc::new(seal.private),
            wrapping_key: wrapping_key.map(Arc::new),
            pending,
        })
    }

    fn login_for_operation(&self, session: &Session, pin: &Secret) -> Result<()> {
        let token = &session.token;
        let current = token.keys().ok_or(Error::UserNotLoggedIn)?;
        if !current.login_required && pin.is_empty() && session.active().uses_private_key() {
            // Without a PIN there is nothing to ask for again; a client that goes by the key's attribute says it all the same.
            return Ok(());
        }
        if !session.active().waits_for_login() {
            return Err(Error::OperationNotInitialized);
        }
        let again = {
            let _turn = token.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.unlock_user(token, pin)?
        };
        if !again.same_token(&current) {
            return Err(Error::UserNotLoggedIn);
        }
        session.active().login_done();
        Ok(())
    }

    /// One try of a PIN, if it is let through. A wrong one is counted by the TPM, and here.
    fn try_pin(
        &self,
        token: &Token,
        seal: &PinRow,
        pin: &Secret,
        role: Role,
        policy: Option<&BoundPolicy>,
    ) -> Result<Secret> {
        self.check_guard(token, role)?;
        let tpm = self.tpm()?;
        if seal.iterations > MOST_ITERATIONS {
            return Err(Error::Tampered("a PIN's row in the store was altered".to_owned()));
        }
        let (mut approvals, mut so_name) = (Vec::new(), None);
        if let Some(policy) = policy {
            approvals = self.approvals_for(policy)?;
            so_name = Some(seal_of(&token.row().so.ok_or(Error::TokenNotRecognized)?).name()?);
        }
        let policy = policy.zip(so_name.as_ref()).map(|(policy, so_name)| tpm::UserPolicy {
            policy: tpm::PolicyUse { policy: policy.policy(), approvals: &approvals },
            so_name,
        });
        tpm.claim(token.seal_names());
        tpm.claim_keys(token.id, token.shelf().names());
        match tpm.unseal(&token.primary, &seal_of(seal), &adopted::auth_of(pin, seal), policy) {
            Ok(secret) => {
                self.accepted(token, role);
                Ok(secret)
            }
            Err(error) => Err(self.refused(token, role, error)),
        }
    }
}

/// A new PIN's salt and the auth value it makes.
pub(crate) struct NewPin {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) auth: Secret,
}

impl NewPin {
    /// # Errors
    /// [`Error::PinLenRange`]; or the operating system has no random numbers.
    pub(crate) fn new(pin: &Secret) -> Result<Self> {
        let len = pin.len() as u64;
        if !(MIN_PIN_LEN..=MAX_PIN_LEN).contains(&len) {
            return Err(Error::PinLenRange);
        }
        Self::unchecked(pin)
    }

    /// The "PIN" of a token without one.
    pub(crate) fn none() -> Result<Self> {
        Self::unchecked(&Secret::zeroed(0))
    }

    /// Of a PIN that was set elsewhere, and is what it is.
    pub(crate) fn unchecked(pin: &Secret) -> Result<Self> {
        let salt = base::random::bytes(SALT_LEN)?;
        let auth = auth_value(pin, &salt, ITERATIONS);
        Ok(Self { salt, iterations: ITERATIONS, auth })
    }

    /// The row for the store.
    pub(crate) fn row(&self, public: Vec<u8>, private: Vec<u8>, to_be_changed: bool) -> PinRow {
        let derivation = Derivation::Pbkdf2;
        PinRow { public, private, salt: self.salt.clone(), derivation, iterations: self.iterations, to_be_changed }
    }
}

/// The auth value that a PIN makes: 32 bytes.
pub(crate) fn auth_value(pin: &Secret, salt: &[u8], iterations: u32) -> Secret {
    base::kdf::pbkdf2_sha256(pin.expose(), salt, iterations)
}

/// The token's row is the one that was written when the token was made, or its PIN set.
pub(crate) fn check_token(token: &Token, key: &OfficerKey) -> Result<()> {
    match vouches(key, &token.row())? {
        true => Ok(()),
        false => Err(Error::Tampered("the token's row in the store was altered".to_owned())),
    }
}

/// A PIN that cannot be right is not tried: it would cost one of the TPM's few tries. A PIN that came from tpm2-pkcs11 may be
/// empty, and as long as one likes.
pub(crate) fn check_try(pin: &Secret, seal: &PinRow) -> Result<()> {
    let made_here = seal.derivation != Derivation::Sha256;
    let impossible = pin.is_empty() || pin.len() as u64 > MAX_PIN_LEN;
    if made_here && impossible { Err(Error::PinIncorrect) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use base::digest::Hash;

    use super::*;

    #[test]
    fn a_new_pin_is_derived_by_one_hmac() {
        let pin = Secret::copy_from(b"userpin");
        let new = NewPin::new(&pin).unwrap();
        assert_eq!((new.iterations, new.salt.len()), (1, SALT_LEN));
        let expected = Hash::Sha256.hmac(pin.expose(), &[&new.salt, &1u32.to_be_bytes()]);
        assert_eq!(new.auth, expected);
        let row = new.row(vec![1], vec![2], false);
        assert_eq!(adopted::auth_of(&pin, &row), expected);
    }

    #[test]
    fn a_pin_that_was_set_before_keeps_its_iterations() {
        // python3 -c 'import hashlib; print(hashlib.pbkdf2_hmac("sha256", b"userpin", b"\x07" * 32, 10000).hex())'
        let row = PinRow {
            public: Vec::new(),
            private: Vec::new(),
            salt: vec![7; SALT_LEN],
            derivation: Derivation::Pbkdf2,
            iterations: 10_000,
            to_be_changed: false,
        };
        let auth = adopted::auth_of(&Secret::copy_from(b"userpin"), &row);
        assert_eq!(
            base::hex::encode(auth.expose()),
            "fd8b2fe6b0f922721b33c462d69008354efc9943693949dea1c5065c64b8b4bf"
        );
    }
}
