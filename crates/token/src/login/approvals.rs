//! The approvals that count for a policy: those of the store, and of the files that the configuration names.

use store::{OpenMode, Store};

use crate::Result;
use crate::library::Library;
use crate::protect::approvals::{Origin, Statement, in_files};
use crate::protect::policy::BoundPolicy;

impl Library {
    /// The approvals there are, the store's first.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read.
    pub fn all_approvals(&self) -> Result<Vec<(Origin, Statement)>> {
        // By a connection of its own: this may be called with a session locked, which the library's reader may be waiting for.
        let stored = match Store::open(&self.config().store_file(), OpenMode::ReadOnly) {
            Ok(store) => store.approvals()?,
            Err(store::Error::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let stored = stored.into_iter().filter_map(|row| {
            let statement = Statement::of_row(&row)?;
            Some((Origin::Store { id: row.id, comment: row.comment, created: row.created }, statement))
        });
        Ok(stored.chain(in_files(&self.config().approvals)).collect())
    }

    /// The approvals of the authorities that a policy names; without any, nothing is read.
    ///
    /// # Errors
    /// Those of [`Library::all_approvals`].
    pub fn approvals_for(&self, policy: &BoundPolicy) -> Result<Vec<tpm::Approval>> {
        let authorities = policy.policy().authorities();
        if authorities.is_empty() {
            return Ok(Vec::new());
        }
        let statements = self.all_approvals()?;
        let pairs = authorities.iter().flat_map(|key| statements.iter().map(move |(_, statement)| (*key, statement)));
        Ok(pairs.filter_map(|(key, statement)| statement.approval(key)).collect())
    }
}
