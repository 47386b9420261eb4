//! Is the token whole?

use base::Secret;
use serde::Serialize;

use super::Admin;
use token::Result;

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
    /// The objects in the store.
    pub objects: Vec<VerifiedObject>,
    /// Numbers of objects whose rows were altered or damaged; all of them only the user's PIN can tell.
    pub altered: Vec<i64>,
}

/// One object of a token.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedObject {
    /// Its number.
    pub id: i64,
    /// Its row was altered or damaged.
    pub altered: bool,
}

impl Admin {
    /// Checks that the TPM is the token's, and the PINs that were given.
    ///
    /// # Errors
    /// [`token::Error::WrongTpm`] on another TPM; [`token::Error::PinIncorrect`] for a wrong PIN.
    pub fn verify(&self, label: &str, so_pin: Option<&Secret>, user_pin: Option<&Secret>) -> Result<VerifyReport> {
        let token = self.token(label)?;
        self.library.tpm()?.check_primary(&token.primary)?;
        let so_pin = so_pin.map(|pin| self.library.try_officer(&token, pin)).transpose()?.map(|()| true);
        let rows = self.library.whole_rows(&token, user_pin)?;
        let objects: Vec<VerifiedObject> =
            rows.into_iter().map(|(id, whole)| VerifiedObject { id, altered: !whole }).collect();
        let altered = objects.iter().filter(|object| object.altered).map(|object| object.id).collect();
        let user_pin = user_pin.map(|_| true);
        Ok(VerifyReport { label: label.to_owned(), primary: true, so_pin, user_pin, objects, altered })
    }
}
