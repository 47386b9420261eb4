//! The door to what a person looks for when something is wrong.

use base::Secret;

use super::Tpm;
use crate::connection::primary::{self, Location, Primary};
use crate::connection::{Protection, Repeat};
use crate::error::{Error, Result};
use crate::keys::primary::{free_handle, persist};
use crate::keys::recovery::{Occupancy, derive_again, reset_lockout};
use crate::wire::constants::hc;
use crate::wire::public::Wrapped;

impl Tpm {
    /// Whether the owner's seed still makes this primary: then it was only evicted, and can be restored. Four commands, five with
    /// an authorisation value of the owner.
    ///
    /// # Errors
    /// [`Error::HierarchyAuth`] for a wrong authorisation value of the owner.
    pub fn can_restore(&self, primary: &Primary, owner_auth: &Secret) -> Result<bool> {
        self.general(Repeat::Never, |connection| {
            let protection = primary::null_protection(connection, owner_auth, &primary.auth)?;
            connection.with_temporary(protection, |connection, protection| {
                Ok(derive_again(connection, primary, owner_auth, protection)?.is_some())
            })
        })
    }

    /// Makes an evicted primary again, and keeps it at its handle; if something else is there now, at a free one. `None` if the
    /// owner's seed is another one than it was: the TPM was cleared, or is another. At most six commands, seven with an authorisation
    /// value of the owner.
    ///
    /// # Errors
    /// [`Error::HierarchyAuth`] for a wrong authorisation value of the owner, [`Error::Response`] where there is no room.
    pub fn restore(&self, primary: &Primary, owner_auth: &Secret) -> Result<Option<Primary>> {
        let Location::Persistent(wanted) = primary.location else { return Ok(None) };
        self.general(Repeat::Never, |connection| {
            let handle = match primary::read_public(connection, wanted)? {
                Some(area) if area.name()? == *primary.name() => return Ok(Some(primary.clone())),
                Some(_) => free_handle(connection)?,
                None => wanted,
            };
            let protection = primary::null_protection(connection, owner_auth, &primary.auth)?;
            connection.with_temporary(protection, |connection, protection| {
                let Some(transient) = derive_again(connection, primary, owner_auth, protection)? else {
                    return Ok(None);
                };
                protection.keep = false;
                persist(connection, transient, primary.name(), handle, owner_auth, protection)?;
                let again = Primary::new(Location::Persistent(handle), primary.public.clone())?;
                Ok(Some(again.with_auth(primary.auth.clone())))
            })
        })
    }

    /// Whether the TPM takes a key for its own: it is loaded, and flushed. Two commands, three where the primary has an
    /// authorisation value; one for a persistent key. The key's own authorisation value is not needed.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a blob that was altered or belongs to another parent; [`Error::PrimaryMissing`] and
    /// [`Error::WrongPrimary`]; [`Error::NameMismatch`] for a persistent key that is not there, or another one.
    pub fn check_key(&self, parent: &Primary, key: &Wrapped) -> Result<()> {
        let name = key.name()?;
        self.general(Repeat::Safe, |connection| {
            if let Some(handle) = key.handle() {
                return match primary::read_public(connection, handle)? {
                    Some(area) if area.name()? == name => Ok(()),
                    _ => Err(Error::NameMismatch),
                };
            }
            let protection = if parent.auth.is_empty() { Protection::none() } else { connection.salted(parent)? };
            connection.with_temporary(protection, |connection, protection| {
                connection.load(parent, &key.public, &key.private, &name, protection.session.as_mut()).map(drop)
            })
        })
    }

    /// What is loaded in the TPM. Three commands.
    ///
    /// # Errors
    /// Those of every question.
    pub fn occupancy(&self) -> Result<Occupancy> {
        self.general(Repeat::Safe, |connection| {
            Ok(Occupancy {
                objects: connection.handles(hc::TRANSIENT_FIRST)?.len(),
                sessions: connection.handles(hc::LOADED_SESSION_FIRST)?.len(),
                saved_sessions: connection.handles(hc::SAVED_SESSION_FIRST)?.len(),
            })
        })
    }

    /// Ends a lockout, and forgets the failed tries (TPM2_DictionaryAttackLockReset). A session salted to `primary` protects the
    /// authorisation value. One command, two with an authorisation value.
    ///
    /// # Errors
    /// [`Error::LockoutAuth`] for a wrong authorisation value; the TPM then takes no other for a time. [`Error::Lockout`] during
    /// that time.
    pub fn reset_lockout(&self, primary: Option<&Primary>, auth: &Secret) -> Result<()> {
        let none = Secret::zeroed(0);
        self.general(Repeat::Never, |connection| {
            let protection = match primary {
                Some(primary) if !auth.is_empty() => connection.salted(primary)?,
                _ => primary::null_protection(connection, auth, &none)?,
            };
            connection.with_temporary(protection, |connection, protection| {
                protection.keep = false;
                reset_lockout(connection, auth, protection)
            })
        })
    }
}
