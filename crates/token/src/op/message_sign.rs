//! Messages signed and verified one after another with one key (PKCS#11 v3.1 5.14, 5.16).
//!
//! No mechanism here has a parameter for each message: what the mechanism's own parameters say holds for all of them. A
//! message ends with its signature or with the answer to it; the operation goes on until its `Final`, whatever became of a
//! message.

use model::{Mechanism, ObjectHandle, Ops, Output, SessionHandle};

use super::{KeyUse, Signing, Verifying};
use crate::library::Library;
use crate::slots::session::{Active, Step};
use crate::{Error, Result};

/// Signatures under one key.
#[derive(Debug)]
pub(crate) struct MessageSigning {
    signing: Signing,
    /// A message comes in parts.
    open: bool,
}

/// Signatures checked with one key.
#[derive(Debug)]
pub(crate) struct MessageVerifying {
    verifying: Verifying,
    open: bool,
}

impl Library {
    /// `C_MessageSignInit`.
    ///
    /// # Errors
    /// Those of [`Library::sign_init`].
    pub fn message_sign_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(signing, || {
            let signing = Signing::new(self, &session, mechanism, key, Ops::MESSAGE_SIGN)?;
            Ok(MessageSigning { signing, open: false })
        })
    }

    /// `C_SignMessage`: one TPM command when the key is loaded; none for a length query or a short buffer. A key that wants
    /// a login for each signature wants it for each message.
    ///
    /// # Errors
    /// Those of [`Library::sign`]; [`Error::OperationActive`] while a message comes in parts.
    pub fn sign_message(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(signing, |messages| {
            if messages.open {
                return Step::Keep(Err(Error::OperationActive));
            }
            messages.end(|signing| signing.last(self, &session, data, output))
        })
    }

    /// `C_SignMessageBegin`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::OperationActive`] while a message comes in parts.
    pub fn sign_message_begin(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(signing, |messages| Step::Keep(begin(&mut messages.open)))
    }

    /// `C_SignMessageNext`: a part, or with somewhere to put the signature the last part.
    ///
    /// # Errors
    /// Those of [`Library::sign_message`]; [`Error::OperationNotInitialized`] without a message.
    pub fn sign_message_next(&self, session: SessionHandle, part: &[u8], output: Option<Output<'_>>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(signing, |messages| {
            if !messages.open {
                return Step::Keep(Err(Error::OperationNotInitialized));
            }
            messages.end(|signing| match output {
                Some(output) => signing.last(self, &session, part, output),
                None => match signing.add(part) {
                    Ok(()) => Step::Keep(Ok(0)),
                    Err(error) => Step::Done(Err(error)),
                },
            })
        })
    }

    /// `C_MessageSignFinal`. A message of which parts came is forgotten.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn message_sign_final(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(signing, |_| Step::Done(Ok(())))
    }

    /// `C_MessageVerifyInit`.
    ///
    /// # Errors
    /// Those of [`Library::verify_init`].
    pub fn message_verify_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(verifying, || {
            let verifying = Verifying::new(self, &session, mechanism, key, Ops::MESSAGE_VERIFY)?;
            Ok(MessageVerifying { verifying, open: false })
        })
    }

    /// `C_VerifyMessage`.
    ///
    /// # Errors
    /// Those of [`Library::verify`]; [`Error::OperationActive`] while a message comes in parts.
    pub fn verify_message(&self, session: SessionHandle, data: &[u8], signature: &[u8]) -> Result<()> {
        let session = self.session(session)?;
        session.step(verifying, |messages| {
            if messages.open {
                return Step::Keep(Err(Error::OperationActive));
            }
            let result = messages.verifying.last(self, &session, data, signature);
            messages.verifying.start_anew();
            Step::Keep(result)
        })
    }

    /// `C_VerifyMessageBegin`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::OperationActive`] while a message comes in parts.
    pub fn verify_message_begin(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(verifying, |messages| Step::Keep(begin(&mut messages.open)))
    }

    /// `C_VerifyMessageNext`: a part, or with the signature the last part.
    ///
    /// # Errors
    /// Those of [`Library::verify_message`]; [`Error::OperationNotInitialized`] without a message.
    pub fn verify_message_next(&self, session: SessionHandle, part: &[u8], signature: Option<&[u8]>) -> Result<()> {
        let session = self.session(session)?;
        session.step(verifying, |messages| {
            let MessageVerifying { verifying, open } = messages;
            if !*open {
                return Step::Keep(Err(Error::OperationNotInitialized));
            }
            let result = match signature {
                Some(signature) => verifying.last(self, &session, part, signature),
                None => verifying.add(part),
            };
            if signature.is_some() || result.is_err() {
                verifying.start_anew();
                *open = false;
            }
            Step::Keep(result)
        })
    }

    /// `C_MessageVerifyFinal`. A message of which parts came is forgotten.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn message_verify_final(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(verifying, |_| Step::Done(Ok(())))
    }
}

fn signing(active: &mut Active) -> &mut Option<MessageSigning> {
    &mut active.message_sign
}

fn verifying(active: &mut Active) -> &mut Option<MessageVerifying> {
    &mut active.message_verify
}

fn begin(open: &mut bool) -> Result<()> {
    if *open {
        return Err(Error::OperationActive);
    }
    *open = true;
    Ok(())
}

impl MessageSigning {
    /// Runs one call of a message. The message is over where an operation of one signature would be; this one goes on.
    fn end(&mut self, run: impl FnOnce(&mut Signing) -> Step<usize>) -> Step<usize> {
        match run(&mut self.signing) {
            Step::Done(result) => {
                self.signing.start_anew();
                self.open = false;
                Step::Keep(result)
            }
            keep @ Step::Keep(_) => keep,
        }
    }

    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        self.signing.use_mut()
    }
}

impl MessageVerifying {
    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        self.verifying.use_mut()
    }

    /// Is it done with a secret key?
    pub(crate) fn is_secret(&self) -> bool {
        self.verifying.is_secret()
    }
}
