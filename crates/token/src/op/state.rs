//! Saved states of digests (PKCS#11 v3.1 5.6.7, 5.6.8): how some clients copy a running digest.
//!
//! What is given out is a ticket, not the state: the digest itself stays in this process. So nothing of a message, which may
//! be secret, is in bytes that the caller keeps, and no bytes that a caller makes up are taken for a state. Operations with
//! keys are not saved.

use model::{Output, SessionHandle};

use super::delivered;
use super::digest::Digesting;
use crate::library::Library;
use crate::slots::digests::Ticket;
use crate::slots::session::Step;
use crate::{Error, Result};

const MARK: &[u8; 8] = b"TPM2CKD1";
const LEN: usize = MARK.len() + size_of::<Ticket>();

impl Library {
    /// `C_GetOperationState`: of a digest. The operation goes on.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::StateUnsaveable`] with any other operation active.
    pub fn operation_state(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        let active = session.active();
        let digest = active.digest.as_ref().filter(|_| !active.any_with_key());
        let digest =
            digest.ok_or(if active.any() { Error::StateUnsaveable } else { Error::OperationNotInitialized })?;
        if let Some(refusal) = output.refuse(LEN) {
            return match delivered(refusal) {
                Step::Keep(result) | Step::Done(result) => result,
            };
        }
        let ticket = self.saved.put(digest.hasher())?;
        match delivered(output.deliver(&[&MARK[..], &ticket].concat())) {
            Step::Keep(result) | Step::Done(result) => result,
        }
    }

    /// `C_SetOperationState`: a digest goes on where it was saved, in this or another session. Active operations end.
    ///
    /// # Errors
    /// [`Error::SavedStateInvalid`] for anything but a state of this process, [`Error::KeyNotNeeded`] with a key.
    pub fn set_operation_state(&self, session: SessionHandle, state: &[u8], keys: bool) -> Result<()> {
        let session = self.session(session)?;
        let ticket = state.strip_prefix(&MARK[..]).and_then(|ticket| Ticket::try_from(ticket).ok());
        let hasher = ticket.and_then(|ticket| self.saved.find(&ticket)).ok_or(Error::SavedStateInvalid)?;
        if keys {
            return Err(Error::KeyNotNeeded);
        }
        let mut active = session.active();
        active.cancel(model::Ops::all(), true);
        active.digest = Some(Digesting::resumed(hasher));
        Ok(())
    }
}
