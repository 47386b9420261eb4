//! Listings.

use base::hex::encode as hex;
use serde::Serialize;
use store::PrimaryRow;

use super::{Action, Admin, PrimaryTemplate};
use token::Result;
use token::manage::{BoundPolicy, Token};

/// A primary key in the store.
#[derive(Clone, Debug, Serialize)]
pub struct PrimaryInfo {
    /// Its number: `--pid`.
    pub id: i64,
    /// How it came into the store.
    pub action: Action,
    /// Its persistent handle; none if it is made anew for each use.
    pub handle: Option<u32>,
    /// What it is made from, if it is made anew for each use.
    #[serde(skip)]
    pub template: Option<PrimaryTemplate>,
    /// For example "ECC P-256".
    pub algorithm: String,
    /// Its TPM name in hexadecimal: what the store's tokens are bound to.
    pub name: String,
    /// Number of tokens below it.
    pub tokens: usize,
}

/// A token in the store.
#[derive(Clone, Debug, Serialize)]
pub struct TokenSummary {
    /// Its number.
    pub id: i64,
    /// Its label.
    pub label: String,
    /// Its slot.
    pub slot: u64,
    /// 16 hexadecimal digits.
    pub serial: String,
    /// The primary's number.
    pub primary: i64,
    /// It has a security officer.
    pub initialized: bool,
    /// The user has a PIN.
    pub login_required: bool,
    /// Number of private keys.
    pub keys: usize,
    /// What its policy demands before it opens, such as `sha256:0,7 + PIN`.
    pub policy: Option<String>,
}

impl Admin {
    /// The primaries of the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn primaries(&self) -> Result<Vec<PrimaryInfo>> {
        let store = self.reader()?;
        let tokens = store.tokens()?;
        let count = |id| tokens.iter().filter(|token| token.primary_id == id).count();
        store.primaries()?.iter().map(|row| primary_info(row, Action::Existing, count(row.id))).collect()
    }

    /// The tokens of the store, or those below one primary.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tokens(&self, pid: Option<i64>) -> Result<Vec<TokenSummary>> {
        self.library.refresh()?;
        let mut tokens = self.library.tokens();
        tokens.retain(|token| pid.is_none_or(|pid| token.row().primary_id == pid));
        tokens.iter().map(|token| self.summary(token)).collect()
    }

    pub(super) fn summary(&self, token: &Token) -> Result<TokenSummary> {
        let row = token.row();
        Ok(TokenSummary {
            id: row.id,
            label: row.label,
            slot: token.slot.0,
            serial: row.serial,
            primary: row.primary_id,
            initialized: row.initialized,
            login_required: row.login_required,
            keys: token.count_keys()?,
            policy: row.policy.as_deref().map(|policy| match BoundPolicy::parse(policy) {
                Some(policy) => policy.to_string(),
                None => "altered".to_owned(),
            }),
        })
    }
}

pub(super) fn primary_info(row: &PrimaryRow, action: Action, tokens: usize) -> Result<PrimaryInfo> {
    let area = tpm::PublicArea::parse(&row.public)?;
    let algorithm = match (area.rsa(), area.ecc()) {
        (Some(_), _) => format!("RSA {}", area.key_bits().unwrap_or_default()),
        (None, Some((curve, _, _))) => format!("ECC {}", curve.name()),
        (None, None) => format!("algorithm {:#06x}", area.object_type()),
    };
    let template = row.handle.is_none().then_some(match row.template {
        store::Template::Srk => PrimaryTemplate::Srk,
        store::Template::Rsa | store::Template::RsaNoDa => PrimaryTemplate::Rsa,
        store::Template::Ecc => PrimaryTemplate::Ecc,
        store::Template::EccNoDa => PrimaryTemplate::Engine,
    });
    Ok(PrimaryInfo { id: row.id, action, handle: row.handle, template, algorithm, name: hex(&row.name), tokens })
}
