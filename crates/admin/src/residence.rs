//! Keys of which the TPM keeps a copy at a persistent handle: a server's, which signs all day.

use base::Secret;

use super::{Admin, Pin, Which};
use token::info::ObjectSummary;
use token::manage::{Object, Token};
use token::{Error, Result};

/// A key, and where the TPM has a copy of it.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The key.
    pub key: ObjectSummary,
    /// The persistent handle; of one that was taken out, that which it had.
    pub handle: u32,
}

impl Admin {
    /// Has the TPM keep a copy of a key at a persistent handle. What the store has of the key stays as it is, and serves if the copy is lost.
    /// Four TPM commands besides the login.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a key, and for one with a policy; [`Error::HierarchyAuth`] when the owner's auth value is wrong,
    /// [`Error::DeviceMemory`] when the TPM has no room; [`Error::PinIncorrect`].
    pub fn persist(&self, label: &str, pin: &Pin, which: &Which, owner_auth: &Secret) -> Result<Resident> {
        let token = self.token(label)?;
        let session = self.log_in_as_user(&token, pin)?;
        let object = self.private_key(&token, which)?;
        let Some(key) = &object.key else { return Err(Error::KeyFunctionNotPermitted) };
        if key.wrapped.handle().is_some() {
            return Err(Error::ArgumentsBad("the key was linked at its persistent handle: it is in the TPM already"));
        }
        if object.policy.is_some() {
            return Err(Error::ArgumentsBad(
                "a key with a policy is loaded for each use of it; only keys without one are kept in the TPM",
            ));
        }
        let tpm = self.library.tpm()?;
        if let Some(handle) = object.residence()
            && is_there(tpm, &object, handle)?
        {
            return Ok(Resident { key: object.summary(), handle });
        }
        let auth = self.library.auth_value(&token, &object)?.ok_or(Error::KeyFunctionNotPermitted)?;
        let parent = object.parent()?;
        let primary = parent.as_ref().unwrap_or(&token.primary);
        let in_tpm = tpm::Key { primary, wrapped: &key.wrapped, name: &key.name, auth: &auth, policy: None };
        let handle = tpm.persist_key(&in_tpm, owner_auth)?;
        let noted = self.library.note_residence(session.handle(), token.handle(&object), Some(handle));
        if noted.is_err() {
            // Nor is a copy in the TPM that no row knows.
            let _ = tpm.evict_key(handle, &key.name, primary, owner_auth);
        }
        noted?;
        Ok(Resident { key: token.object(object.handle)?.ok_or(Error::ObjectHandleInvalid)?.summary(), handle })
    }

    /// Takes the copy out again. Two TPM commands besides the login.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a key, [`Error::HierarchyAuth`], [`Error::PinIncorrect`].
    pub fn unpersist(&self, label: &str, pin: &Pin, which: &Which, owner_auth: &Secret) -> Result<Resident> {
        let token = self.token(label)?;
        let session = self.log_in_as_user(&token, pin)?;
        let object = self.private_key(&token, which)?;
        let handle = object.residence().ok_or(Error::ArgumentsBad(
            "the TPM keeps no copy of the key: `ptool persist` makes one, and linked keys stay where they are",
        ))?;
        self.take_out(&token, &object, owner_auth)?;
        self.library.note_residence(session.handle(), token.handle(&object), None)?;
        Ok(Resident { key: object.summary(), handle })
    }

    /// Takes the copies of all keys of a token out.
    pub(super) fn take_all_out(&self, token: &Token, owner_auth: &Secret) -> Result<()> {
        let mut resident = Vec::new();
        token.each_object(|object| resident.extend(Some(object).filter(|object| object.residence().is_some())))?;
        resident.iter().try_for_each(|object| self.take_out(token, object, owner_auth))
    }

    /// Takes the copy of a key out, if there is one.
    pub(super) fn take_out(&self, token: &Token, object: &Object, owner_auth: &Secret) -> Result<()> {
        if let (Some(key), Some(handle)) = (&object.key, object.residence()) {
            self.library.tpm()?.evict_key(handle, &key.name, &token.primary, owner_auth)?;
        }
        Ok(())
    }
}

/// Is the key, and no other, at the handle?
pub(super) fn is_there(tpm: &tpm::Tpm, object: &Object, handle: u32) -> Result<bool> {
    let there = tpm.public_of(handle)?.map(|area| area.name()).transpose()?;
    Ok(there.is_some() && there == object.key.as_ref().map(|key| key.name.clone()))
}
