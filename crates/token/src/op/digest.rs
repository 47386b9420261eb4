//! Message digests, in software: no login, no TPM command (PKCS#11 v3.1 5.12).

use base::digest::Hasher;
use model::{Mechanism, ObjectClass, ObjectHandle, Ops, Output, SessionHandle};

use super::{Material, exact, row};
use crate::library::Library;
use crate::slots::session::Step;
use crate::{Error, Result};

/// A digest in the making.
#[derive(Debug)]
pub(crate) struct Digesting {
    hasher: Hasher,
    parts: bool,
    resumed: bool,
}

impl Digesting {
    /// A digest that goes on from a saved state.
    pub(super) fn resumed(hasher: Hasher) -> Self {
        Self { hasher, parts: true, resumed: true }
    }

    /// Its state now.
    pub(super) fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }
}

impl Library {
    /// `C_DigestKey`: takes the value of a secret key into the digest.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`]; [`Error::KeyIndigestible`] for a key whose value is not here.
    pub fn digest_key(&self, session: SessionHandle, key: ObjectHandle) -> Result<()> {
        let handle = session;
        let session = self.session(session)?;
        if session.active().digest.is_none() {
            return Err(Error::OperationNotInitialized);
        }
        let key = session.token.meant(key)?.ok_or(Error::KeyHandleInvalid)?;
        if key.class() != ObjectClass::SECRET_KEY {
            return Err(Error::KeyIndigestible);
        }
        let value = Material::value(self, &session, &key).map_err(|_| Error::KeyIndigestible)?;
        self.digest_update(handle, value.expose())
    }

    /// `C_DigestInit`.
    ///
    /// # Errors
    /// [`Error::OperationActive`], [`Error::MechanismInvalid`], [`Error::MechanismParamInvalid`].
    pub fn digest_init(&self, session: SessionHandle, mechanism: &Mechanism) -> Result<()> {
        let session = self.session(session)?;
        // pkcs11-provider puts a copy of a digest into a session and forgets it there when nobody goes on with it.
        {
            let mut active = session.active();
            if active.digest.as_ref().is_some_and(|digesting| digesting.resumed) {
                active.digest = None;
            }
        }
        session.begin(
            |active| &mut active.digest,
            || {
                let hash = row(&session, mechanism, Ops::DIGEST)?.hash.ok_or(Error::MechanismInvalid)?;
                Ok(Digesting { hasher: hash.hasher(), parts: false, resumed: false })
            },
        )
    }

    /// `C_Digest`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::OperationActive`] after a part, [`Error::BufferTooSmall`].
    pub fn digest(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.digest,
            |digesting| {
                if digesting.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                exact(output, digesting.hasher.hash().len(), || {
                    digesting.hasher.update(data);
                    Ok(digesting.hasher.clone().finish())
                })
            },
        )
    }

    /// `C_DigestUpdate`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn digest_update(&self, session: SessionHandle, part: &[u8]) -> Result<()> {
        self.session(session)?.step(
            |active| &mut active.digest,
            |digesting| {
                digesting.parts = true;
                digesting.hasher.update(part);
                Step::Keep(Ok(()))
            },
        )
    }

    /// `C_DigestFinal`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`].
    pub fn digest_final(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.digest,
            |digesting| exact(output, digesting.hasher.hash().len(), || Ok(digesting.hasher.clone().finish())),
        )
    }
}
