//! The digests whose states were given out, for all sessions of a process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base::digest::Hasher;

use crate::Result;

/// States that are kept; the oldest goes first. Clients restore a state at once.
const MOST: usize = 1024;

/// What stands for a state outside.
pub(crate) type Ticket = [u8; 16];

/// The states that tickets stand for.
#[derive(Debug, Default)]
pub(crate) struct SavedDigests(Mutex<Saved>);

#[derive(Debug, Default)]
struct Saved {
    digests: HashMap<Ticket, Hasher>,
    order: VecDeque<Ticket>,
}

impl SavedDigests {
    pub(crate) fn put(&self, hasher: Hasher) -> Result<Ticket> {
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

    pub(crate) fn find(&self, ticket: &Ticket) -> Option<Hasher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).digests.get(ticket).cloned()
    }
}
