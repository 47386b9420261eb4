//! What was learned of policies, and makes their next use cheaper. What it means is known to who asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::words::Name;

/// Tickets, and ways that succeeded, that are remembered.
const MOST_REMEMBERED: usize = 256;

/// What made a policy succeed, so that the next use costs nothing but the policy. Shared by all connections of a
/// [`Tpm`](crate::Tpm).
#[derive(Debug, Default)]
pub(crate) struct Memory {
    inner: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    tickets: Vec<Ticket>,
    /// The digest of a policy, and the plan that succeeded last.
    plans: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The approval that a ticket is for: the authority's name, its policyRef, and the digest of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Approved<'a> {
    pub(crate) authority: &'a Name,
    pub(crate) policy_ref: &'a [u8],
    pub(crate) policy_digest: &'a [u8],
}

/// The TPM's word that it checked the signature of an approval. Good until the TPM is cleared (Part 1, 37.2: it comes from the
/// proof of the owner hierarchy).
#[derive(Clone, Debug)]
struct Ticket {
    authority: Name,
    policy_ref: Vec<u8>,
    policy_digest: Vec<u8>,
    /// TPMT_TK_VERIFIED.
    bytes: Vec<u8>,
}

impl Ticket {
    fn is_of(&self, approved: &Approved<'_>) -> bool {
        let own =
            Approved { authority: &self.authority, policy_ref: &self.policy_ref, policy_digest: &self.policy_digest };
        own == *approved
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ticket(&self, approved: &Approved<'_>) -> Option<Vec<u8>> {
        let remembered = self.lock();
        remembered.tickets.iter().find(|ticket| ticket.is_of(approved)).map(|ticket| ticket.bytes.clone())
    }

    pub(crate) fn add_ticket(&self, approved: &Approved<'_>, bytes: Vec<u8>) {
        let mut remembered = self.lock();
        if remembered.tickets.len() >= MOST_REMEMBERED {
            remembered.tickets.remove(0);
        }
        remembered.tickets.push(Ticket {
            authority: approved.authority.clone(),
            policy_ref: approved.policy_ref.to_vec(),
            policy_digest: approved.policy_digest.to_vec(),
            bytes,
        });
    }

    pub(crate) fn drop_ticket(&self, approved: &Approved<'_>) {
        self.lock().tickets.retain(|ticket| !ticket.is_of(approved));
    }

    /// The plan that succeeded last for the policy with this digest.
    pub(crate) fn last_plan(&self, policy: &[u8]) -> Option<Vec<u8>> {
        let remembered = self.lock();
        remembered.plans.iter().find(|(digest, _)| digest == policy).map(|(_, id)| id.clone())
    }

    pub(crate) fn set_last_plan(&self, policy: &[u8], id: &[u8]) {
        let mut remembered = self.lock();
        if let Some((_, known)) = remembered.plans.iter_mut().find(|(digest, _)| digest == policy) {
            if known != id {
                *known = id.to_vec();
            }
            return;
        }
        if remembered.plans.len() >= MOST_REMEMBERED {
            remembered.plans.remove(0);
        }
        remembered.plans.push((policy.to_vec(), id.to_vec()));
    }
}
