//! One connection to the TPM: the transport, what is loaded through it, how it is given back, and how it is recovered.
//!
//! It uses commands and sessions, and knows of keys only that they are loaded below a primary. What they do is not known here.

mod claims;
mod crowd;
mod execute;
mod memory;
mod objects;
mod options;
pub(crate) mod pool;
pub(crate) mod primary;
pub(crate) mod reaper;
mod sessions;

pub(crate) use claims::{Claims, Owns};
pub(crate) use crowd::{Crowd, Pauses};
pub(crate) use memory::{Approved, Memory};
pub use options::Options;
pub(crate) use sessions::Protection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::descriptors::Known;
use log::{debug, warn};

use crate::error::{Error, Result};
use crate::session::authorization::Session;
use crate::session::command::{Authorization, SessionUse};
use crate::session::nonces::Nonces;
use crate::transport::conf::TctiConf;
use crate::transport::descriptors::Descriptors;
use crate::transport::{self, Transport};
use crate::wire::Writer;
use crate::wire::constants::cc;
use crate::wire::public::Name;
use crate::words::ResponseCode;

/// Whether an operation may be done a second time when it is unknown whether the first one took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or nothing that matters.
    Safe,
    /// As `Safe`; besides, its authorisation value is known to be right and does not count towards lockout, so that a
    /// failing authorisation only means that a held handle is not ours any more.
    SafeWithRightAuth,
    Never,
}

/// An object loaded in the TPM by us.
#[derive(Clone, Debug)]
struct Loaded {
    name: Name,
    handle: u32,
}

/// So often what is left of a connection is looked for when doing so breaks the next one.
const MOST_SALVAGES: u32 = 3;
/// How long the end of the first connection is waited for after its first command.
const END_OF_FIRST: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Connection {
    conf: TctiConf,
    options: Options,
    descriptors: Arc<Descriptors>,
    claims: Arc<Claims>,
    memory: Arc<Memory>,
    crowd: Arc<Crowd>,
    transport: Option<Box<dyn Transport>>,
    /// The transport's descriptor, when it is among `descriptors`.
    registered: Option<Known>,
    /// How many commands the transport served.
    commands: u64,
    /// Whether the end of a connection after its first command was looked for.
    watched: bool,
    /// The other side ends each connection after one command, as `swtpm` does with `disconnect`.
    one_command_each: bool,
    /// The held session. An operation takes it, and puts it back when it is still alive.
    session: Option<Session>,
    /// The held policy session, in which no policy has begun, or a failed one.
    policy_session: Option<Session>,
    /// Loaded keys, least recently used first.
    keys: Vec<Loaded>,
    /// A transient primary.
    primary: Option<Loaded>,
    /// Persistent keys, and counters, that were seen to be where they should be.
    seen: Vec<Loaded>,
    /// Objects and sessions of the present operation.
    temporaries: Vec<Loaded>,
    temporary_sessions: Vec<Session>,
    /// What was held when the connection ended without giving it back: still in the TPM unless that was restarted.
    orphans: Vec<Loaded>,
    orphan_sessions: Vec<Session>,
    /// How many connections in a row broke while orphans were looked for.
    broken_salvages: u32,
    /// Whether leftovers are being looked for.
    reclaiming: bool,
    /// Whether the present operation used something held from before it.
    reused: bool,
    startup_sent: bool,
    /// Behind a resource manager: serves one operation, and is closed instead of flushing what that leaves.
    close_after_use: bool,
    /// Behind a resource manager: keeps its key, but no session.
    end_sessions_after_use: bool,
    /// Whether the end of the connection was just looked for.
    looked: bool,
    last_used: Instant,
    nonces: Nonces,
}

impl Connection {
    pub(crate) fn new(
        conf: TctiConf,
        options: Options,
        descriptors: Arc<Descriptors>,
        claims: Arc<Claims>,
        memory: Arc<Memory>,
        crowd: Arc<Crowd>,
    ) -> Connection {
        Connection {
            conf,
            options,
            descriptors,
            claims,
            memory,
            crowd,
            transport: None,
            registered: None,
            commands: 0,
            watched: false,
            one_command_each: false,
            session: None,
            policy_session: None,
            keys: Vec::new(),
            primary: None,
            seen: Vec::new(),
            temporaries: Vec::new(),
            temporary_sessions: Vec::new(),
            orphans: Vec::new(),
            orphan_sessions: Vec::new(),
            broken_salvages: 0,
            reclaiming: false,
            reused: false,
            startup_sent: false,
            close_after_use: false,
            end_sessions_after_use: false,
            looked: false,
            last_used: Instant::now(),
            nonces: Nonces::default(),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// What is remembered of policies.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes this a connection for one operation behind a resource manager.
    pub(crate) fn close_after_use(&mut self) {
        self.close_after_use = true;
    }

    /// Makes this a connection that keeps no session.
    pub(crate) fn end_sessions_after_use(&mut self) {
        self.end_sessions_after_use = true;
    }

    /// Whether nothing may be held between two operations: nobody would give it back when it is idle, and a TPM without a
    /// resource manager has room for few.
    pub(crate) fn gives_back_at_once(&self) -> bool {
        !self.options.threads && self.transport.as_ref().is_some_and(|transport| !transport.resource_managed())
    }

    /// Whether closing gives back what is held; connects first.
    pub(crate) fn is_managed(&mut self) -> Result<bool> {
        self.transport().map(|transport| transport.resource_managed())
    }

    /// Runs an operation: afterwards its temporaries are flushed, a broken connection is closed, and what is worth
    /// repeating was repeated once.
    pub(crate) fn run<T>(
        &mut self,
        repeat: Repeat,
        mut operation: impl FnMut(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        self.reused = false;
        if self.has_ended() {
            debug!("the other side ended the connection between two operations");
            self.forsake();
        }
        self.looked = true;
        let first = operation(self);
        let first = self.settle(first);
        let Err(error) = &first else { return first };
        let doubtful = match error {
            // What was held may have become somebody else's.
            Error::HierarchyAuth => self.reused,
            Error::AuthFailed => self.reused && repeat == Repeat::SafeWithRightAuth,
            error => error.is_stale(),
        };
        let again = doubtful && repeat != Repeat::Never;
        if !again {
            return first;
        }
        warn!("starting over after: {error}");
        self.forsake();
        let second = operation(self);
        self.settle(second)
    }

    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        match &result {
            Err(error) if error.breaks_connection() || error.is_stale() => self.forsake(),
            _ if self.close_after_use || self.gives_back_at_once() || self.one_command_each => self.give_back(),
            _ => self.flush_temporaries(),
        }
        self.last_used = Instant::now();
        result
    }

    fn transport(&mut self) -> Result<&mut Box<dyn Transport>> {
        if self.transport.is_none() {
            let managed = self.open()?;
            self.startup_sent = false;
            if managed {
                // Closing gave them back.
                self.orphans.clear();
                self.orphan_sessions.clear();
            } else if let Err(error) = self.salvage() {
                self.close();
                return Err(error);
            }
        }
        self.transport.as_mut().ok_or(Error::Malformed("the transport vanished"))
    }

    /// Opens the transport, and says whether a resource manager is there.
    fn open(&mut self) -> Result<bool> {
        let opened = transport::open(&self.conf)?;
        self.registered = opened.descriptor().filter(|known| self.descriptors.add(*known));
        debug!("connected to {}", self.conf);
        let managed = opened.resource_managed();
        self.commands = 0;
        self.transport = Some(opened);
        Ok(managed)
    }

    /// Within an operation, a connection that ended between two commands is made anew without a word: what the operation holds
    /// is still there unless the TPM was restarted in that moment, and then nobody has got its handles yet.
    fn reconnect_if_ended(&mut self) -> Result<()> {
        let used_up = self.one_command_each && self.commands > 0;
        let looked = std::mem::take(&mut self.looked);
        let managed = self.transport.as_deref().is_some_and(|transport| transport.resource_managed());
        if managed || !(used_up || (!looked && self.has_ended())) {
            return Ok(());
        }
        if self.commands == 1 && !self.one_command_each {
            debug!("the other side serves one command with a connection");
            self.one_command_each = true;
        }
        self.close_transport();
        self.open().map(drop)
    }

    /// Whether the other side has ended the connection. After the very first answer its end is waited for a moment: what was sent
    /// to a connection that is about to end cannot be told from what was lost.
    fn has_ended(&mut self) -> bool {
        let Some(transport) = self.transport.as_deref() else { return false };
        let first = self.commands == 1 && !transport.resource_managed() && !std::mem::replace(&mut self.watched, true);
        transport.has_ended(if first { END_OF_FIRST } else { Duration::ZERO })
    }

    fn close(&mut self) {
        self.seen.clear();
        self.close_transport();
    }

    fn close_transport(&mut self) {
        let Some(mut transport) = self.transport.take() else { return };
        if self.registered.take().is_some_and(|known| !self.descriptors.remove(known)) {
            // Abandoned: the descriptor is closed, and its number may be another file's by now.
            std::mem::forget(transport);
        } else {
            transport.hang_up();
        }
    }

    /// Closes without a word, remembering what was held.
    fn forsake(&mut self) {
        self.close();
        self.orphans.append(&mut self.keys);
        self.orphans.append(&mut self.temporaries);
        self.orphans.extend(self.primary.take());
        self.orphan_sessions.append(&mut self.temporary_sessions);
        self.orphan_sessions.extend(self.session.take());
        self.orphan_sessions.extend(self.policy_session.take());
    }

    /// After a break: flushes what is still ours. What could not be tried stays an orphan, for the next connection; fails when
    /// this one broke.
    fn salvage(&mut self) -> Result<()> {
        let result = self.flush_orphans();
        match &result {
            Err(error) if error.breaks_connection() => {
                self.broken_salvages += 1;
                if self.broken_salvages >= MOST_SALVAGES {
                    warn!("what was held before the connection broke is left in the TPM: {error}");
                    self.orphans.clear();
                    self.orphan_sessions.clear();
                    self.broken_salvages = 0;
                }
                return result;
            }
            Err(error) => debug!("not everything was flushed: {error}"),
            Ok(()) => {}
        }
        self.broken_salvages = 0;
        Ok(())
    }

    /// Others may have got our handles after a restart. An object is ours if its name is; the sessions are, if one of the
    /// objects was, because then there was no restart: they go before that witness does. Without one a session has to show
    /// that it knows its key.
    fn flush_orphans(&mut self) -> Result<()> {
        let mut ours = false;
        while let Some(orphan) = self.orphans.first().cloned() {
            let is_ours = match primary::read_name(self, orphan.handle) {
                Ok(Some(name)) => name == orphan.name,
                // A sequence object has no name; its key was found before it.
                Err(Error::Response(ResponseCode::SEQUENCE)) => ours,
                Err(error) if error.leaves_in_doubt() => return Err(error),
                _ => false,
            };
            if is_ours {
                if !ours {
                    ours = true;
                    self.end_orphan_sessions(|connection, session| connection.flush(session.handle))?;
                }
                self.flush(orphan.handle).or_else(unless_in_doubt)?;
            }
            self.orphans.remove(0);
        }
        self.end_orphan_sessions(Connection::end_by_use)
    }

    fn end_orphan_sessions(&mut self, mut end: impl FnMut(&mut Connection, &mut Session) -> Result<()>) -> Result<()> {
        while let Some(mut session) = self.orphan_sessions.pop() {
            let ended = end(self, &mut session).or_else(unless_in_doubt);
            if ended.is_err() {
                self.orphan_sessions.push(session);
                return ended;
            }
        }
        Ok(())
    }

    /// Ends a session by a last use that only our own session can stand.
    fn end_by_use(&mut self, session: &mut Session) -> Result<()> {
        if !session.has_key() {
            return Ok(());
        }
        let command = self.command(cc::GET_RANDOM, Vec::new(), Writer::new().u16(1))?;
        let last = SessionUse { session, entity: None, keep: false, decrypt: false, encrypt: true };
        self.execute(&command, &mut [Authorization::Session(last)]).map(drop)
    }

    /// Whether anything is open or held.
    pub(crate) fn is_open(&self) -> bool {
        self.transport.is_some()
    }

    pub(crate) fn idle_for(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// Flushes what closing does not give back, and closes.
    pub(crate) fn give_back(&mut self) {
        let Some(transport) = &self.transport else { return };
        if transport.resource_managed() {
            self.forsake();
            self.orphans.clear();
            self.orphan_sessions.clear();
        } else {
            self.temporaries.append(&mut self.keys);
            self.temporaries.extend(self.primary.take());
            self.temporary_sessions.extend(self.session.take());
            self.temporary_sessions.extend(self.policy_session.take());
            self.flush_temporaries();
            if self.transport.is_none() && !(self.orphans.is_empty() && self.orphan_sessions.is_empty()) {
                // The connection broke meanwhile: a new one is there to flush what is left.
                let _ = self.transport();
            }
            // What the TPM was too busy to flush is left to the next connection.
            self.forsake();
        }
        debug!("gave everything back, and closed");
    }

    /// Flushes a key, if it is loaded.
    pub(crate) fn forget(&mut self, name: &Name) -> Result<()> {
        match self.keys.iter().position(|key| key.name == *name) {
            Some(position) => {
                let key = self.keys.remove(position);
                self.flush_object(key)
            }
            None => Ok(()),
        }
    }

    /// Flushes a transient primary that is not needed for a while.
    pub(crate) fn flush_primary(&mut self) -> Result<()> {
        match self.primary.take() {
            Some(primary) => self.flush_object(primary),
            None => Ok(()),
        }
    }

    pub(super) fn flush(&mut self, handle: u32) -> Result<()> {
        let command = self.command(cc::FLUSH_CONTEXT, Vec::new(), Writer::new().u32(handle))?;
        self.execute(&command, &mut []).map(drop)
    }

    /// An object that may still be there because the connection broke is an orphan; one that the TPM was too busy to flush goes
    /// with the temporaries.
    fn flush_object(&mut self, object: Loaded) -> Result<()> {
        let result = self.flush(object.handle);
        match &result {
            Err(Error::Busy) => self.temporaries.push(object),
            Err(error) if error.breaks_connection() => self.orphans.push(object),
            _ => {}
        }
        result
    }

    fn flush_session(&mut self, session: Session) -> Result<()> {
        let result = self.flush(session.handle);
        match &result {
            Err(Error::Busy) => self.temporary_sessions.push(session),
            Err(error) if error.breaks_connection() => self.orphan_sessions.push(session),
            _ => {}
        }
        result
    }

    /// Sessions first: an object left behind by a break witnesses for itself.
    fn flush_temporaries(&mut self) {
        loop {
            let result = if let Some(session) = self.temporary_sessions.pop() {
                self.flush_session(session)
            } else if let Some(object) = self.temporaries.pop() {
                self.flush_object(object)
            } else {
                return;
            };
            match result {
                Err(error) if error.breaks_connection() => {
                    debug!("not everything was flushed: {error}");
                    return self.forsake();
                }
                Err(Error::Busy) => return debug!("the TPM is too busy to flush anything now"),
                Err(error) => debug!("something was not flushed: {error}"),
                Ok(()) => {}
            }
        }
    }

    /// An object that goes when the operation ends. A sequence object comes under the name of its key.
    pub(crate) fn add_temporary(&mut self, handle: u32, name: &Name) {
        self.temporaries.push(Loaded { name: name.clone(), handle });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// An answer that says that nothing is left to flush is as good as a success.
fn unless_in_doubt(error: Error) -> Result<()> {
    if error.leaves_in_doubt() { Err(error) } else { Ok(()) }
}
