//! The TPM's dictionary-attack protection: what it counts, and how it is made to forget.

use base::Secret;
use serde::Serialize;
use store::{OpenMode, Store};

use token::Config;
use token::Result;
use token::manage::{open_tpm, primary_of};

/// Ends a lockout of the TPM of this configuration.
///
/// # Errors
/// [`token::Error::HierarchyAuth`] for a wrong lockout auth value, [`token::Error::PinLocked`] while the TPM takes none.
pub fn reset_lockout(config: &Config, auth: &Secret) -> Result<LockoutState> {
    let tpm = open_tpm(config)?;
    // Where there is a store for this TPM, its pinned primary protects the auth value from who reads and writes the bus.
    let known = Store::open(&config.store_file(), OpenMode::ReadOnly).and_then(|store| store.primaries());
    let primary = known
        .unwrap_or_default()
        .iter()
        .filter(|row| !auth.is_empty() && row.handle.is_some())
        .filter_map(|row| primary_of(row).ok())
        .find(|primary| tpm.check_primary(primary).is_ok());
    tpm.reset_lockout(primary.as_ref(), auth)?;
    Ok(LockoutState::from(tpm.lockout()?))
}

/// The state of the TPM's dictionary-attack protection. One TPM command.
///
/// # Errors
/// [`token::Error::DeviceRemoved`] without a TPM.
pub fn lockout_state(config: &Config) -> Result<LockoutState> {
    Ok(LockoutState::from(open_tpm(config)?.lockout()?))
}

/// The state of the dictionary-attack protection, which all users of the TPM share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LockoutState {
    /// The TPM refuses all PINs.
    pub locked: bool,
    /// Wrong tries that it counts now.
    pub failed_tries: u32,
    /// How many lock it; 0: it never locks.
    pub max_tries: u32,
    /// After how many seconds it forgets one.
    pub recovery_seconds: u32,
    /// For how many seconds it takes no lockout auth value after a wrong one; 0: until it is restarted.
    pub lockout_recovery_seconds: u32,
    /// A reset needs an auth value.
    pub lockout_auth_set: bool,
}

impl From<tpm::Lockout> for LockoutState {
    fn from(lockout: tpm::Lockout) -> Self {
        Self {
            locked: lockout.in_lockout,
            failed_tries: lockout.counter,
            max_tries: lockout.max_tries,
            recovery_seconds: lockout.recovery_seconds,
            lockout_recovery_seconds: lockout.lockout_recovery_seconds,
            lockout_auth_set: lockout.lockout_auth_set,
        }
    }
}
