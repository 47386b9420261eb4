//! Many keys one after another, whose rows get into the store together: each transaction costs as much as the disk takes to have it for
//! sure, and each time what was read is looked at again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{AttributeType, Mechanism, ObjectHandle, SessionHandle, Template};
use store::NewObject;

use crate::Result;
use crate::library::Library;
use crate::objects::arrival::{Arrival, Companion, Look};
use crate::objects::draft::Draft;
use crate::objects::keygen::{Pair, handle_of};
use crate::slots::session::Session;

/// Keys in one transaction.
const KEYS: usize = 100;
/// So much work of a slow TPM is lost at most, if the machine goes down.
const LONGEST: Duration = Duration::from_secs(10);

/// Keys that were made or came in, and wait for their place in the store. What still waits when this is dropped is lost.
#[derive(Debug)]
pub struct Batch<'a> {
    library: &'a Library,
    session: Arc<Session>,
    /// For each key the rows of its objects.
    waiting: Vec<Vec<NewObject>>,
    since: Instant,
}

impl Library {
    /// A batch of token objects, made in this session.
    ///
    /// # Errors
    /// [`crate::Error::SessionHandleInvalid`].
    pub fn batch(&self, session: SessionHandle) -> Result<Batch<'_>> {
        Ok(Batch { library: self, session: self.session(session)?, waiting: Vec::new(), since: Instant::now() })
    }
}

impl Batch<'_> {
    /// Makes a key pair, as [`Library::generate_recoverable_pair`] does. Its public half comes first.
    ///
    /// # Errors
    /// Those of that.
    pub fn add_pair(
        &mut self,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
        recovery: Option<&tpm::PublicArea>,
    ) -> Result<()> {
        let pair = self.library.make_pair(&self.session, mechanism, public, private, recovery)?;
        self.wait_for(pair)
    }

    /// Makes several pairs of one kind, one after the other in one session with the TPM: all, or none.
    ///
    /// # Errors
    /// Those of [`Batch::add_pair`].
    pub fn add_pairs(&mut self, mechanism: &Mechanism, pairs: &[(Template, Template)]) -> Result<()> {
        let plan = |(public, private): &(Template, Template)| {
            self.library.plan_pair(&self.session, mechanism, public, private)
        };
        let plans = pairs.iter().map(plan).collect::<Result<Vec<_>>>()?;
        for pair in self.library.make_pairs(&self.session, plans)? {
            self.wait_for(pair)?;
        }
        Ok(())
    }

    /// Makes a secret key, as [`Library::generate_key`] does.
    ///
    /// # Errors
    /// Those of that.
    pub fn add_key(&mut self, mechanism: &Mechanism, template: &Template) -> Result<()> {
        let draft = self.library.make_key(&self.session, mechanism, template)?;
        let signer = self.library.may_write(&self.session, draft.attributes.is_true(AttributeType::PRIVATE))?;
        let row = draft.to_row(self.session.token.id, &signer)?;
        self.wait(vec![row]);
        Ok(())
    }

    /// Takes a key that came in, as [`Library::settle_arrival`] does.
    ///
    /// # Errors
    /// Those of that.
    pub fn add_arrival(&mut self, arrival: Arrival, look: &Look, certificates: &[Companion]) -> Result<()> {
        let rows = self.library.rows_of_arrival(&self.session, arrival, look, certificates)?;
        self.wait(rows);
        Ok(())
    }

    /// Does enough wait?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= KEYS || self.since.elapsed() >= LONGEST
    }

    /// Puts what waits into the store, all or nothing, and gives the handles of each key's objects.
    ///
    /// # Errors
    /// Those of the store, after which all of it waits still.
    pub fn store(&mut self) -> Result<Vec<Vec<ObjectHandle>>> {
        self.since = Instant::now();
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.library.writer()?.transaction(|store| -> Result<Vec<Vec<ObjectHandle>>> {
            let add = |row: &NewObject| Ok(handle_of(&self.session.token, store.add_object(row)?, row));
            self.waiting.iter().map(|rows| rows.iter().map(add).collect()).collect()
        })?;
        self.waiting.clear();
        self.library.changed();
        Ok(stored)
    }

    fn wait_for(&mut self, pair: Pair) -> Result<()> {
        let row = |draft: &Draft| draft.to_row(self.session.token.id, &pair.signer);
        let rows = vec![row(&pair.public)?, row(&pair.private)?];
        self.wait(rows);
        Ok(())
    }

    fn wait(&mut self, rows: Vec<NewObject>) {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.push(rows);
    }
}
