//! Is the token whole?

use base::Secret;
use serde::Serialize;

use super::Admin;
use crate::Result;

/// What was checked. No secret is in it.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The token's label.
    pub label: String,
    /// The TPM has the primary that the token was made under.
    pub primary: bool,
    /// The security officer's PIN is right; none if it was not given.
    pub so_pin: Option<bool>,
    /// The user's PIN is right; none if it was not given.
    pub user_pin: Option<bool>,
    /// Number of objects in the store.
    pub objects: usize,
    /// Numbers of objects whose rows were altered; only the user's PIN can tell.
    pub altered: Vec<i64>,
}

impl Admin {
    /// Checks that the TPM is the token's, and the PINs that were given.
    ///
    /// # Errors
    /// [`crate::Error::WrongTpm`] on another TPM; [`crate::Error::PinIncorrect`] for a wrong PIN.
    pub fn verify(&self, label: &str, so_pin: Option<&Secret>, user_pin: Option<&Secret>) -> Result<VerifyReport> {
        let token = self.token(label)?;
        self.library.tpm()?.check_primary(&token.primary)?;
        let so_pin = so_pin.map(|pin| self.library.unlock_officer(&token, pin)).transpose()?.map(|_| true);
        let catalog = token.catalog();
        let mut altered = Vec::new();
        let user_pin = match user_pin {
            Some(pin) => {
                let keys = self.library.unlock_user(&token, pin)?;
                altered.extend(
                    catalog
                        .values()
                        .filter(|object| !object.is_genuine(&keys))
                        .map(|object| object.handle.0.cast_signed()),
                );
                Some(true)
            }
            None => None,
        };
        Ok(VerifyReport { label: label.to_owned(), primary: true, so_pin, user_pin, objects: catalog.len(), altered })
    }
}
