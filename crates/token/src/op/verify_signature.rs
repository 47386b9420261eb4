//! Verifying a signature that is given before the data (PKCS#11 v3.2 5.15): what `C_Verify` does, in another order.

use model::{Mechanism, ObjectHandle, Ops, SessionHandle};

use super::{KeyUse, Verifying};
use crate::library::Library;
use crate::slots::session::Step;
use crate::{Error, Result};

/// A signature being checked that is there already.
#[derive(Debug)]
pub(crate) struct SignatureVerifying {
    verifying: Verifying,
    signature: Vec<u8>,
    parts: bool,
}

impl Library {
    /// `C_VerifySignatureInit`: for every mechanism and key that [`Library::verify_init`] takes.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism, parameters or key. What is wrong with the signature is said at
    /// the end.
    pub fn verify_signature_init(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        key: ObjectHandle,
        signature: &[u8],
    ) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.verify_signature,
            || {
                let verifying = Verifying::new(self, &session, mechanism, key, Ops::VERIFY)?;
                Ok(SignatureVerifying { verifying, signature: signature.to_vec(), parts: false })
            },
        )
    }

    /// `C_VerifySignature`. The operation is over whatever the answer.
    ///
    /// # Errors
    /// Those of [`Library::verify`].
    pub fn verify_signature(&self, session: SessionHandle, data: &[u8]) -> Result<()> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.verify_signature,
            |operation| {
                if operation.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                Step::Done(operation.verifying.last(self, &session, data, &operation.signature))
            },
        )
    }

    /// `C_VerifySignatureUpdate`.
    ///
    /// # Errors
    /// Those of [`Library::verify_update`].
    pub fn verify_signature_update(&self, session: SessionHandle, part: &[u8]) -> Result<()> {
        self.session(session)?.step(
            |active| &mut active.verify_signature,
            |operation| {
                operation.parts = true;
                match operation.verifying.add(part) {
                    Ok(()) => Step::Keep(Ok(())),
                    Err(error) => Step::Done(Err(error)),
                }
            },
        )
    }

    /// `C_VerifySignatureFinal`. The operation is over whatever the answer.
    ///
    /// # Errors
    /// Those of [`Library::verify_final`].
    pub fn verify_signature_final(&self, session: SessionHandle) -> Result<()> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.verify_signature,
            |operation| Step::Done(operation.verifying.last(self, &session, &[], &operation.signature)),
        )
    }
}

impl SignatureVerifying {
    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        self.verifying.use_mut()
    }

    /// Is it done with a secret key?
    pub(crate) fn is_secret(&self) -> bool {
        self.verifying.is_secret()
    }
}
