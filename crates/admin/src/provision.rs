//! Making stores and tokens.

use base::Secret;
use store::{OpenMode, Store};

use super::list::primary_info;
use super::{Action, Admin, PolicyRequest, PrimaryInfo, TokenSummary};
use token::Config;
use token::Library;
use token::manage::UserPin;
use token::{Error, Result};

/// What primary a store wants.
#[derive(Clone, Debug)]
pub struct InitRequest {
    /// Auth value of the TPM's owner hierarchy; empty on most machines.
    pub owner_auth: Secret,
    /// Auth value of the primary: of the one that is there, or for the new one.
    pub primary_auth: Secret,
    /// Persistent handle to use; by default 0x81000001, or the first free one.
    pub handle: Option<u32>,
    /// Make the primary anew for each use, from this template, and store nothing in the TPM.
    pub transient: Option<PrimaryTemplate>,
}

/// What a primary is made from that is made anew for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryTemplate {
    /// The storage key of the TCG's provisioning guidance: P-256.
    Srk,
    /// What tpm2-tools make by default: RSA with 2048 bits.
    Rsa,
    /// What they make on P-256.
    Ecc,
    /// What keys of the TSS2 engine of OpenSSL hang below: P-256.
    Engine,
}

impl PrimaryTemplate {
    fn of_tpm(self) -> tpm::PrimaryTemplate {
        match self {
            Self::Srk => tpm::PrimaryTemplate::Srk,
            Self::Rsa => tpm::PrimaryTemplate::Rsa,
            Self::Ecc => tpm::PrimaryTemplate::Ecc,
            Self::Engine => tpm::PrimaryTemplate::EccNoDa,
        }
    }
}

impl Admin {
    /// Makes the store if there is none, and enters the TPM's storage primary into it.
    ///
    /// # Errors
    /// [`Error::DeviceRemoved`] without a TPM, [`Error::DeviceError`] when the owner's auth value is wrong,
    /// [`Error::Store`] when the store cannot be made.
    pub fn init(config: Config, request: &InitRequest) -> Result<PrimaryInfo> {
        let file = config.store_file();
        let library = Library::open(config)?;
        let wanted = tpm::PrimaryRequest {
            owner_auth: request.owner_auth.clone(),
            handle: request.handle,
            keeping: if request.transient.is_some() {
                tpm::Keeping::Transient
            } else {
                tpm::Keeping::PersistentIfPossible
            },
            primary_auth: request.primary_auth.clone(),
            template: request.transient.unwrap_or(PrimaryTemplate::Srk).of_tpm(),
        };
        let tpm = library.tpm()?;
        let before = tpm.list_persistent()?;
        let there = match Store::open(&file, OpenMode::ReadWrite) {
            Err(store::Error::NotFound(_)) => None,
            store => Some(store?),
        };
        if there.as_ref().is_some_and(Store::is_read_only) {
            return Err(Error::TokenWriteProtected);
        }
        // The TPM first: without one, or where it refuses, no empty store is left behind.
        let primary = tpm.storage_primary(&wanted)?;
        let enter = || -> Result<_> {
            let mut store = there.map_or_else(|| Store::open_or_create(&file), Ok)?;
            let known: Vec<i64> = store.primaries()?.iter().map(|row| row.id).collect();
            let row = library.enter_primary(&mut store, &primary, &wanted)?;
            Ok((store, known, row))
        };
        let (store, known, row) = match enter() {
            Ok(entered) => entered,
            Err(error) => {
                // Nor is a key in the TPM that no store knows.
                if matches!(primary.location, tpm::Location::Persistent(handle) if !before.contains(&handle)) {
                    let _ = tpm.evict(&primary, &request.owner_auth);
                }
                return Err(error);
            }
        };
        let action = if known.contains(&row.id) {
            Action::Existing
        } else if row.handle.is_some_and(|handle| before.contains(&handle)) {
            Action::Adopted
        } else {
            Action::Created
        };
        let tokens = store.tokens()?.iter().filter(|token| token.primary_id == row.id).count();
        library.close();
        primary_info(&row, action, tokens)
    }

    /// Makes a token. 3 TPM commands.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a primary, or with a label that another token has; [`Error::PinLenRange`].
    pub fn add_token(
        &self,
        pid: Option<i64>,
        label: &str,
        so_pin: &Secret,
        user_pin: Option<&Secret>,
    ) -> Result<TokenSummary> {
        self.add_bound_token(pid, label, so_pin, user_pin, None)
    }

    /// The same, with a policy: the token opens in the wanted state of the machine only, whoever knows the PIN. Without a PIN it
    /// opens by itself in that state, and its keys work without a login.
    ///
    /// # Errors
    /// Those of [`Admin::add_token`]; [`Error::ArgumentsBad`] for a policy that cannot be.
    pub fn add_bound_token(
        &self,
        pid: Option<i64>,
        label: &str,
        so_pin: &Secret,
        user_pin: Option<&Secret>,
        policy: Option<&PolicyRequest>,
    ) -> Result<TokenSummary> {
        let user_pin = user_pin.map_or(UserPin::Free, UserPin::Pin);
        let with_pin = matches!(user_pin, UserPin::Pin(_));
        let policy =
            policy.map(|policy| self.policy(&PolicyRequest { pin: with_pin, ..policy.clone() })).transpose()?;
        let id = self.library.make_bound_token(pid, label, so_pin, &user_pin, policy.as_ref())?;
        let token = self.library.tokens().into_iter().find(|token| token.id == id);
        self.summary(token.ok_or(Error::TokenNotPresent)?.as_ref())
    }
}
