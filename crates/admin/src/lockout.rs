//! The TPM's dictionary-attack protection: what it counts, and how it is made to forget.

use base::Secret;
use serde::Serialize;
use store::{OpenMode, Role, Store};

use token::Config;
use token::manage::{Token, most_wrong_pins, open_tpm, primary_of};
use token::{Error, Library, Result};

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
    // What the TPM has forgotten need not be held against anybody here.
    if let Ok(library) = known_tokens(config) {
        for token in library.iter().flat_map(Library::tokens) {
            if let Err(error) = forget(library.as_ref(), &token) {
                log::warn!("the wrong PINs of the token {:?} are still counted: {error}", token.row().label);
            }
        }
    }
    Ok(LockoutState::from(tpm.lockout()?))
}

/// The state of the TPM's dictionary-attack protection. One TPM command.
///
/// # Errors
/// [`token::Error::DeviceRemoved`] without a TPM.
pub fn lockout_state(config: &Config) -> Result<LockoutState> {
    Ok(LockoutState::from(open_tpm(config)?.lockout()?))
}

/// Lets the next PIN of each user of a token go to the TPM, whatever was held back.
///
/// # Errors
/// [`token::Error::ArgumentsBad`] without such a token; those of a change of the store.
pub fn forget_wrong_pins(config: &Config, label: &str) -> Result<()> {
    let library = known_tokens(config)?;
    let found = library.iter().flat_map(Library::tokens).find(|token| token.row().label == label);
    let token = found.ok_or(Error::ArgumentsBad("there is no token with this label; see `ptool listtokens`"))?;
    forget(library.as_ref(), &token)
}

/// What our own guard lets through, token by token, where the TPM is in this state. No TPM command.
///
/// # Errors
/// [`token::Error::Store`] for a store that cannot be read. Without one there is nothing to guard.
pub fn guards(config: &Config, state: &LockoutState) -> Result<Vec<Guarded>> {
    let library = known_tokens(config)?;
    let of = |library: &Library| -> Vec<Guarded> {
        library.tokens().iter().map(|token| Guarded::new(library, token, state.max_tries)).collect()
    };
    Ok(library.as_ref().map(of).unwrap_or_default())
}

fn known_tokens(config: &Config) -> Result<Option<Library>> {
    if config.store_file().exists() { Library::open(config.clone()).map(Some) } else { Ok(None) }
}

fn forget(library: Option<&Library>, token: &Token) -> Result<()> {
    library.map_or(Ok(()), |library| library.forget_wrong_pins(token))
}

/// What our own guard lets through of a token's PINs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guarded {
    /// The token's label.
    pub label: String,
    /// Wrong PINs of the security officer that still go to the TPM; none: all do.
    pub so_tries_left: Option<u32>,
    /// Those of the user.
    pub user_tries_left: Option<u32>,
    /// Seconds until one is let through again, where none is.
    pub seconds_to_wait: u64,
}

impl Guarded {
    fn new(library: &Library, token: &Token, max_tries: u32) -> Self {
        // What never locks is not guarded.
        let left = |left: Option<u32>| left.filter(|_| max_tries > 0).map(|left| left.min(most_wrong_pins(max_tries)));
        let [so, user] = [Role::So, Role::User].map(|role| library.guard(token, role));
        Self {
            label: token.row().label,
            so_tries_left: left(so.left),
            user_tries_left: left(user.left),
            seconds_to_wait: so.wait.max(user.wait),
        }
    }
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
