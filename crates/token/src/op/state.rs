//! Saved states of digests (PKCS#11 v3.1 5.6.7, 5.6.8): how some clients copy a running digest.
//!
//! What is given out is a ticket, not the state: the digest itself stays in this process. So nothing of a message, which may
//! be secret, is in bytes that the caller keeps, and no bytes that a caller makes up are taken for a state. Operations with
//! keys are not saved.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base::digest::Hasher;
use model::{Output, SessionHandle};

use super::delivered;
use super::digest::Digesting;
use crate::library::Library;
use crate::slots::session::Step;
use crate::{Error, Result};

/// States that are kept; the oldest goes first. Clients restore a state at once.
const MOST: usize = 1024;
const MARK: &[u8; 8] = b"TPM2CKD1";
const LEN: usize = MARK.len() + size_of::<Ticket>();

type Ticket = [u8; 16];

/// The states that tickets stand for.
#[derive(Debug, Default)]
pub(crate) struct SavedDigests(Mutex<Saved>);

#[derive(Debug, Default)]
struct Saved {
    digests: HashMap<Ticket, Hasher>,
    order: VecDeque<Ticket>,
}

impl SavedDigests {
    fn put(&self, hasher: Hasher) -> Result<Ticket> {
        let mut ticket = Ticket::default();
        base::random::fill(&mut ticket)?;
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.order.len() >= MOST
            && let Some(oldest) = saved.order.pop_front()
        {
            saved.digests.remove(&oldest);
        }
        saved.order.push_back(ticket);
        saved.digests.insert(ticket, hasher);
        Ok(ticket)
    }

    fn find(&self, ticket: &Ticket) -> Option<Hasher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).digests.get(ticket).cloned()
    }
}

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
