//! What a wrong PIN leads to, and a right one: the TPM's count for the token's flags, and our own, which holds tries back before the
//! TPM refuses everybody.

use std::time::Instant;

use store::Role;

use crate::library::Library;
use crate::protect::rows::TokenConfig;
use crate::protect::tries::{self, AllTries, Guard};
use crate::slots::token::{PinState, Token};
use crate::{Error, Result};

impl Library {
    /// Before a PIN goes to the TPM.
    ///
    /// # Errors
    /// [`Error::PinHeldBack`] after as many wrong ones in a row as the configuration lets through.
    pub(crate) fn check_guard(&self, token: &Token, role: Role) -> Result<()> {
        match self.guard(token, role) {
            Guard { wait: 0, .. } => Ok(()),
            Guard { wait, .. } => Err(Error::PinHeldBack(wait)),
        }
    }

    /// How many wrong PINs of a user of a token still go to the TPM.
    #[must_use]
    pub fn guard(&self, token: &Token, role: Role) -> Guard {
        token.guard(role, self.config().wrong_pins)
    }

    /// What the TPM said to a PIN, as the caller is told. Where it was the PIN's fault, that is counted. One TPM command.
    pub(crate) fn refused(&self, token: &Token, role: Role, error: tpm::Error) -> Error {
        let is_lockout = matches!(error, tpm::Error::Lockout);
        if !is_lockout && !matches!(error, tpm::Error::AuthFailed) {
            return error.into();
        }
        let mut pins = token.pins();
        match role {
            Role::So => pins.so_failed = true,
            Role::User => pins.user_failed = true,
        }
        let lockout = self.tpm().ok().and_then(|tpm| tpm.lockout().ok());
        pins.lockout = lockout.map(|lockout| (lockout, Instant::now()));
        token.set_pins(pins);
        if is_lockout {
            return Error::PinLocked;
        }
        if let Some(lockout) = lockout.filter(|_| self.config().wrong_pins > 0) {
            let now = tries::now();
            let one_more = |all: &mut AllTries| {
                let tries = all.of_mut(role);
                *tries = tries.one_more(now, &lockout);
            };
            // Where the store cannot be written, this process at least knows it.
            if self.count_in_store(token, one_more).is_err() {
                one_more(&mut pins.tries);
                token.set_pins(pins);
            }
        }
        Error::PinIncorrect
    }

    /// The TPM took a PIN.
    pub(crate) fn accepted(&self, token: &Token, role: Role) {
        let mut pins = token.pins();
        match role {
            Role::So => pins.so_failed = false,
            Role::User => pins.user_failed = false,
        }
        *pins.tries.of_mut(role) = Default::default();
        token.set_pins(PinState { lockout: None, ..pins });
        let counted = TokenConfig::parse(&token.row().config).is_some_and(|config| !config.tries.of(role).is_none());
        if counted && let Err(error) = self.count_in_store(token, |all| *all.of_mut(role) = Default::default()) {
            log::warn!("the store still counts wrong PINs: {error}");
        }
    }

    /// Lets the next PIN of each user of the token go to the TPM, whatever was counted.
    ///
    /// # Errors
    /// Those of a change of the store.
    pub fn forget_wrong_pins(&self, token: &Token) -> Result<()> {
        token.set_pins(PinState { tries: AllTries::default(), ..token.pins() });
        self.count_in_store(token, |all| *all = AllTries::default())
    }

    fn count_in_store(&self, token: &Token, change: impl Fn(&mut AllTries)) -> Result<()> {
        let mut store = self.writer()?;
        store.transaction(|store| -> Result<()> {
            let Some(row) = store.token(token.id)? else { return Ok(()) };
            // Settings that make no sense are for the login to complain of.
            let Some(mut config) = TokenConfig::parse(&row.config) else { return Ok(()) };
            let before = config.tries;
            change(&mut config.tries);
            if config.tries == before { Ok(()) } else { Ok(store.set_token_config(token.id, &config.to_json()?)?) }
        })?;
        drop(store);
        self.changed();
        Ok(())
    }
}
