//! Two operations of a session fed by one call (PKCS#11 v3.1 5.17).
//!
//! The cipher goes first: when it only tells a length, or finds the buffer too small, neither operation took anything.

use model::{Output, SessionHandle};

use crate::library::Library;
use crate::slots::session::Active;
use crate::{Error, Result};

impl Library {
    /// `C_DigestEncryptUpdate`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`] unless both are active; those of [`Library::encrypt_update`].
    pub fn digest_encrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.both(session, |active| active.digest.is_some() && active.encrypt.is_some())?;
        self.encrypt_and(session, part, output, || self.digest_update(session, part))
    }

    /// `C_SignEncryptUpdate`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`] unless both are active; those of [`Library::encrypt_update`] and
    /// [`Library::sign_update`].
    pub fn sign_encrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.both(session, |active| active.sign.is_some() && active.encrypt.is_some())?;
        self.encrypt_and(session, part, output, || self.sign_update(session, part))
    }

    /// `C_DecryptDigestUpdate`: digests what comes out of the decryption.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`] unless both are active; those of [`Library::decrypt_update`].
    pub fn decrypt_digest_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.both(session, |active| active.decrypt.is_some() && active.digest.is_some())?;
        self.decrypt_and(session, part, output, |plain| self.digest_update(session, plain))
    }

    /// `C_DecryptVerifyUpdate`: verifies what comes out of the decryption.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`] unless both are active; those of [`Library::decrypt_update`] and
    /// [`Library::verify_update`].
    pub fn decrypt_verify_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.both(session, |active| active.decrypt.is_some() && active.verify.is_some())?;
        self.decrypt_and(session, part, output, |plain| self.verify_update(session, plain))
    }

    /// Looks before either takes anything.
    fn both(&self, session: SessionHandle, are_active: impl FnOnce(&Active) -> bool) -> Result<()> {
        if are_active(&self.session(session)?.active()) { Ok(()) } else { Err(Error::OperationNotInitialized) }
    }

    fn encrypt_and(
        &self,
        session: SessionHandle,
        part: &[u8],
        output: Output<'_>,
        take: impl FnOnce() -> Result<()>,
    ) -> Result<usize> {
        let asks = output.room().is_none();
        let len = self.encrypt_update(session, part, output)?;
        if !asks {
            take()?;
        }
        Ok(len)
    }

    fn decrypt_and(
        &self,
        session: SessionHandle,
        part: &[u8],
        output: Output<'_>,
        take: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let Output::Buffer(room) = output else { return self.decrypt_update(session, part, Output::Length) };
        let len = self.decrypt_update(session, part, Output::Buffer(&mut *room))?;
        take(room.get(..len).unwrap_or_default())?;
        Ok(len)
    }
}
