//! The store as a whole: its version, and the primary keys in it.

use base::Secret;

use super::{Admin, PrimaryInfo};
use token::Config;
use token::manage::primary_of;
use token::{Error, Result};

/// What was removed with a primary key.
#[derive(Clone, Debug)]
pub struct Destroyed {
    /// The primary key.
    pub primary: PrimaryInfo,
    /// Labels of the tokens that were below it.
    pub tokens: Vec<String>,
    /// It was taken out of the TPM, too.
    pub evicted: bool,
}

impl Admin {
    /// Brings the store to the version of this program, after a copy of it was written beside it. Returns the version that was
    /// found, and the one it has now.
    ///
    /// # Errors
    /// [`Error::Store`] if there is no store or it cannot be used, [`Error::TokenWriteProtected`].
    pub fn upgrade(config: &Config) -> Result<(u32, u32)> {
        let file = config.store_file();
        let (found, known) = store::Store::upgrade(&file).map_err(|error| match error {
            store::Error::Older { .. } => Error::TokenWriteProtected,
            error => error.into(),
        })?;
        Ok((found, known))
    }

    /// Removes a primary key and every token below it from the store and, unless it is to be kept for others, from the TPM. 2
    /// TPM commands. The keys of the tokens are gone for ever.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such primary; [`Error::HierarchyAuth`] when the owner's auth value is wrong,
    /// [`Error::StoreBusy`]: nothing is removed then.
    pub fn destroy(&self, pid: i64, owner_auth: &Secret, keep: bool) -> Result<Destroyed> {
        let mut store = self.library.writer()?;
        let row = store.primary(pid)?.ok_or(NO_PRIMARY)?;
        let primary = self.primaries()?.into_iter().find(|primary| primary.id == pid).ok_or(NO_PRIMARY)?;
        let own = primary_of(&row)?;
        for token in self.library.tokens().iter().filter(|token| token.row().primary_id == pid) {
            self.take_all_out(token, owner_auth)?;
        }
        let mut evicted = false;
        let removed = store.transaction(|store| -> Result<Vec<String>> {
            let below = store.tokens()?.into_iter().filter(|token| token.primary_id == pid);
            let mut labels = Vec::new();
            for token in below {
                store.remove_token(token.id)?;
                labels.push(token.label);
            }
            store.remove_primary(pid)?;
            // Last: what the TPM refuses leaves the store as it is, and a store that others are writing leaves the TPM as it is.
            evicted = row.handle.is_some() && !keep && self.evict(&own, owner_auth)?;
            Ok(labels)
        });
        let tokens = match removed {
            Ok(tokens) => tokens,
            Err(error) if evicted => return Err(self.put_back(&own, owner_auth, error)),
            Err(error) => return Err(error),
        };
        drop(store);
        self.library.changed();
        Ok(Destroyed { primary, tokens, evicted })
    }

    /// Takes a primary key out of the TPM. What is not there, or is somebody else's by now, is not ours to remove: `false`.
    fn evict(&self, primary: &tpm::Primary, owner_auth: &Secret) -> Result<bool> {
        match self.library.tpm()?.evict(primary, owner_auth) {
            Ok(()) => Ok(true),
            Err(tpm::Error::PrimaryMissing { .. } | tpm::Error::WrongPrimary { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// After the store could not be written: the TPM gets its primary key back. Returns what to say.
    fn put_back(&self, primary: &tpm::Primary, owner_auth: &Secret, error: Error) -> Error {
        match self.library.tpm().map(|tpm| tpm.restore(primary, owner_auth)) {
            Ok(Ok(Some(_))) => error,
            _ => Error::Store(format!(
                "{error}; the primary key was taken out of the TPM all the same: `ptool doctor --repair` makes it again"
            )),
        }
    }

    /// The slot in which `C_InitToken` makes the next token, below the store's first primary key that is in the TPM. No TPM
    /// command if the store has one alone.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such primary, or the configuration hides the slot.
    pub fn empty_slot(&self, pid: i64) -> Result<u64> {
        let first = self.library.first_primary(&self.reader()?)?.map(|primary| primary.id);
        match first {
            Some(first) if first == pid => {}
            _ if self.primaries()?.iter().any(|primary| primary.id == pid) => {
                return Err(Error::ArgumentsBad(
                    "C_InitToken makes tokens below the first primary key only; use `ptool addtoken --pid`",
                ));
            }
            _ => return Err(NO_PRIMARY),
        }
        let slots = self.library.slot_list(false)?;
        let tokens = self.library.tokens();
        let empty = slots.into_iter().find(|slot| tokens.iter().all(|token| token.slot != *slot));
        empty
            .map(|slot| slot.0)
            .ok_or(Error::ArgumentsBad("the configuration hides the empty slot: empty-slot = \"off\"; change it there"))
    }
}

const NO_PRIMARY: Error = Error::ArgumentsBad("there is no primary with this number; see `ptool listprimaries`");
