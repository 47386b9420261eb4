//! What processes that ended without giving it back left in a TPM that nobody tidies up: known by its name, and flushed when
//! its place is needed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{debug, warn};

use super::{Connection, Loaded, primary};
use crate::error::Result;
use crate::session::command::Command;
use crate::transport::Transport;
use crate::wire::constants::hc;
use crate::wire::public::Name;

/// Far more objects than any TPM has room for: a hostile one must not keep us here.
const MOST_OBJECTS: usize = 64;

/// The names of objects that are ours, whoever loaded them. Shared by all connections of a [`Tpm`](crate::Tpm).
#[derive(Default)]
pub(crate) struct Claims {
    names: Mutex<HashSet<Name>>,
    /// What knows the keys of a token.
    owners: Mutex<HashMap<i64, Owns>>,
}

/// Is this the name of a key of ours?
pub(crate) type Owns = Box<dyn Fn(&Name) -> bool + Send + Sync>;

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Claims {
    pub(crate) fn ask(&self, token: i64, owns: Owns) {
        self.owners().insert(token, owns);
    }

    pub(crate) fn add(&self, names: impl IntoIterator<Item = Name>) {
        self.names().extend(names);
    }

    fn contains(&self, name: &Name) -> bool {
        self.names().contains(name) || self.owners().values().any(|owns| owns(name))
    }

    fn is_empty(&self) -> bool {
        self.names().is_empty() && self.owners().is_empty()
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<i64, Owns>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Makes room for `command` by flushing objects that are claimed, and not held by this connection. Whether there were any.
    ///
    /// Only where nobody else can be connected now: what is loaded was then left behind, and is in nobody's use.
    pub(super) fn reclaim(&mut self, command: &Command) -> Result<bool> {
        let alone = |transport: &dyn Transport| transport.exclusive() && !transport.resource_managed();
        let alone = self.transport.as_deref().is_some_and(alone);
        // The commands of a search for room must not start another one.
        if !alone || self.reclaiming || (self.claims.is_empty() && self.orphans.is_empty()) {
            return Ok(false);
        }
        self.reclaiming = true;
        let result = self.flush_claimed(command);
        self.reclaiming = false;
        result
    }

    fn flush_claimed(&mut self, command: &Command) -> Result<bool> {
        let loaded = match self.handles(hc::TRANSIENT_FIRST) {
            Ok(loaded) => loaded,
            Err(error) if error.leaves_in_doubt() => return Err(error),
            Err(error) => {
                debug!("the TPM does not say what is loaded: {error}");
                return Ok(false);
            }
        };
        let held = |handle: u32| {
            command.handles.iter().any(|used| used.value == handle)
                || self.keys.iter().chain(&self.temporaries).chain(&self.primary).any(|held| held.handle == handle)
        };
        let strangers: Vec<u32> = loaded
            .into_iter()
            .filter(|handle| (hc::TRANSIENT_FIRST..=hc::TRANSIENT_LAST).contains(handle) && !held(*handle))
            .take(MOST_OBJECTS)
            .collect();
        let mut flushed = 0;
        for handle in strangers {
            let name = match primary::read_name(self, handle) {
                Ok(Some(name)) if self.claims.contains(&name) || self.is_orphan(handle, &name) => name,
                Err(error) if error.leaves_in_doubt() => return Err(error),
                // Somebody else's; a sequence object among them, which has no name.
                _ => continue,
            };
            match self.flush(handle) {
                Ok(()) => flushed += 1,
                Err(error) if error.leaves_in_doubt() => return Err(error),
                Err(error) => debug!("{name} was not flushed: {error}"),
            }
        }
        if flushed > 0 {
            warn!("flushed {flushed} objects of ours that an ended process had left in the TPM");
        }
        Ok(flushed > 0)
    }

    fn is_orphan(&self, handle: u32, name: &Name) -> bool {
        self.orphans.iter().any(|Loaded { handle: known, name: its }| *known == handle && its == name)
    }
}
