//! What a token's row says besides its columns, and the code that vouches for it.

use base::Secret;
use base::hex::{decode as unhex, encode as hex};
use serde::{Deserialize, Serialize};
use store::{Derivation, PinRow, PrimaryRow, TokenRow};

use crate::protect::codes::{OfficerKey, TokenBinding};
use crate::protect::policy::BoundPolicy;
use crate::protect::tries::AllTries;
use crate::{Error, Result};

/// `iterations` of a user's row while no PIN was set: the seal's auth value is random, and known to nobody.
pub(crate) const NO_PIN: u32 = 0;

/// What the store's `config` column of a token holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TokenConfig {
    /// The code of the token's row, in hexadecimal.
    code: Option<String>,
    /// The token was taken over, and its rows are still as they came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    adopted: bool,
    /// Wrong PINs of late. The code does not cover them.
    #[serde(default, skip_serializing_if = "AllTries::is_none")]
    pub(crate) tries: AllTries,
}

impl TokenConfig {
    pub(crate) fn new(code: &Secret) -> Self {
        Self { code: Some(hex(code.expose())), adopted: false, tries: AllTries::default() }
    }

    /// Of a token that was taken over, and whose code nobody can compute yet.
    pub(crate) fn adopted() -> Self {
        Self { code: None, adopted: true, tries: AllTries::default() }
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::General(error.to_string()))
    }

    pub(crate) fn code(&self) -> Option<Secret> {
        unhex(self.code.as_deref()?).map(Secret::new)
    }
}

/// The TPM object behind a PIN.
#[must_use]
pub fn seal_of(pin: &PinRow) -> tpm::Wrapped {
    tpm::Wrapped { public: pin.public.clone(), private: pin.private.clone() }
}

/// The primary of a row, with its auth value.
///
/// # Errors
/// [`Error::DeviceError`] if its public area makes no sense.
pub fn primary_of(row: &PrimaryRow) -> Result<tpm::Primary> {
    let location = row.handle.map_or(tpm::Location::Transient, tpm::Location::Persistent);
    let template = match row.template {
        store::Template::Srk => tpm::PrimaryTemplate::Srk,
        store::Template::Rsa => tpm::PrimaryTemplate::Rsa,
        store::Template::RsaNoDa => tpm::PrimaryTemplate::RsaNoDa,
        store::Template::Ecc => tpm::PrimaryTemplate::Ecc,
        store::Template::EccNoDa => tpm::PrimaryTemplate::EccNoDa,
    };
    Ok(tpm::Primary::new(location, row.public.clone())?.with_auth(row.auth.clone()).with_template(template))
}

/// Is the code of a token's row right?
pub(crate) fn vouches(key: &OfficerKey, row: &TokenRow) -> Result<bool> {
    Ok(TokenConfig::parse(&row.config).and_then(|config| config.code()) == Some(token_code(row, key)?))
}

/// The policy of the user's seal, as the token's row has it. The row's code covers it.
pub(crate) fn token_policy(text: Option<&str>) -> Result<Option<BoundPolicy>> {
    let parse = |text| {
        BoundPolicy::parse(text)
            .ok_or_else(|| Error::Tampered("the token's policy in the store was altered".to_owned()))
    };
    text.map(parse).transpose()
}

/// The code of a token's row.
pub(crate) fn token_code(row: &TokenRow, key: &OfficerKey) -> Result<Secret> {
    let (Some(so), Some(user)) = (&row.so, &row.user) else { return Err(Error::TokenNotRecognized) };
    let (so_name, user_name) = (seal_of(so).name()?, seal_of(user).name()?);
    let binding = TokenBinding {
        serial: &row.serial,
        so_name: &so_name,
        user_name: &user_name,
        login_required: row.login_required,
        policy: row.policy.as_deref(),
    };
    Ok(key.token_code(&binding))
}

/// The settings of a token, with the code of its row.
pub(crate) fn config_of(row: &TokenRow, key: &OfficerKey) -> Result<String> {
    TokenConfig::new(&token_code(row, key)?).to_json()
}

/// Are the token's rows still those that came over? Not with a seal of ours, whatever the settings say.
pub(crate) fn is_pending(row: &TokenRow) -> bool {
    let came = row.user.as_ref().is_none_or(|user| user.derivation == Derivation::Sha256);
    came && TokenConfig::parse(&row.config).is_some_and(|config| config.is_adopted())
}
