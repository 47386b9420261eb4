//! Which connection serves which operation.
//!
//! Behind a resource manager every connection has a space of its own, and what is loaded in it is swapped in and out around
//! each command: a command costs the chip 1 + 3 x objects + 2 x sessions. There, each key has a connection of its own, so
//! that its cost does not grow with the number of keys; what needs nothing loaded goes through one that holds nothing; and what
//! loads something for once (a login) has one to throw away: closing it costs nothing, flushing does. Without a resource
//! manager there is one connection.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::{Claims, Connection, Crowd, Memory, Options, Owns};
use crate::error::Result;
use crate::transport::conf::TctiConf;
use crate::transport::descriptors::Descriptors;
use crate::wire::public::Name;

/// Connections with a key that are kept, behind a resource manager, where the host may have four times as many files.
const MOST_KEYED: usize = 256;
/// Those of them that keep a session too: a TPM has 64 or so, for all programs together. A key without costs one command more, and
/// less than one that is loaded anew.
const MOST_SESSIONS: usize = 32;
/// Where no thread gives back what is idle.
const MOST_SESSIONS_FOR_GOOD: usize = 8;

pub(crate) type Shared = Arc<Mutex<Connection>>;

/// A connection with a space of its own.
#[derive(Debug)]
struct Space {
    /// The key that is, or will be, loaded in it.
    key: Name,
    connection: Shared,
    /// Whether a session stays in it.
    keeps_session: bool,
    used: Instant,
}

#[derive(Debug)]
pub(crate) struct Pool {
    conf: TctiConf,
    options: Options,
    descriptors: Arc<Descriptors>,
    claims: Arc<Claims>,
    memory: Arc<Memory>,
    crowd: Arc<Crowd>,
    general: Shared,
    /// Whether a resource manager is there; unknown before the first connection.
    managed: OnceLock<bool>,
    spaces: Mutex<Vec<Space>>,
}

impl Pool {
    pub(crate) fn new(conf: TctiConf, options: Options) -> Pool {
        let descriptors = Arc::new(Descriptors::new());
        let claims = Arc::new(Claims::default());
        let memory = Arc::new(Memory::default());
        let crowd = Arc::new(Crowd::default());
        let general = Connection::new(
            conf.clone(),
            options.clone(),
            Arc::clone(&descriptors),
            Arc::clone(&claims),
            Arc::clone(&memory),
            Arc::clone(&crowd),
        );
        Pool {
            conf,
            options,
            descriptors,
            claims,
            memory,
            crowd,
            general: Arc::new(Mutex::new(general)),
            managed: OnceLock::new(),
            spaces: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn claim(&self, names: impl IntoIterator<Item = Name>) {
        self.claims.add(names);
    }

    pub(crate) fn claim_keys(&self, token: i64, owns: Owns) {
        self.claims.ask(token, owns);
    }

    /// Closes all descriptors in a forked child. Takes no lock.
    pub(crate) fn abandon(&self) {
        self.descriptors.close_all();
    }

    fn managed(&self) -> Result<bool> {
        if let Some(managed) = self.managed.get() {
            return Ok(*managed);
        }
        let managed = lock(&self.general).is_managed()?;
        Ok(*self.managed.get_or_init(|| managed))
    }

    /// The connection for what holds nothing.
    pub(crate) fn general(&self) -> Shared {
        Arc::clone(&self.general)
    }

    /// The connection for what needs a session, but no key.
    pub(crate) fn for_session(&self) -> Result<Shared> {
        if !self.managed()? {
            return Ok(self.general());
        }
        let mut connection = self.connection();
        connection.close_after_use();
        Ok(Arc::new(Mutex::new(connection)))
    }

    /// The connection for a key.
    pub(crate) fn for_key(&self, name: &Name) -> Result<Shared> {
        if !self.managed()? {
            return Ok(self.general());
        }
        let mut spaces = self.spaces();
        if let Some(space) = spaces.iter_mut().find(|space| space.key == *name) {
            space.used = Instant::now();
            return Ok(Arc::clone(&space.connection));
        }
        make_room(&mut spaces);
        let most = if self.options.threads { MOST_SESSIONS } else { MOST_SESSIONS_FOR_GOOD };
        let keeps_session = spaces.iter().filter(|space| space.keeps_session).count() < most;
        let mut connection = self.connection();
        if !keeps_session {
            connection.end_sessions_after_use();
        }
        let connection = Arc::new(Mutex::new(connection));
        let used = Instant::now();
        spaces.push(Space { key: name.clone(), connection: Arc::clone(&connection), keeps_session, used });
        Ok(connection)
    }

    fn connection(&self) -> Connection {
        Connection::new(
            self.conf.clone(),
            self.options.clone(),
            Arc::clone(&self.descriptors),
            Arc::clone(&self.claims),
            Arc::clone(&self.memory),
            Arc::clone(&self.crowd),
        )
    }

    /// Flushes one key.
    pub(crate) fn forget(&self, name: &Name) -> Result<()> {
        let removed = {
            let mut spaces = self.spaces();
            let position = spaces.iter().position(|space| space.key == *name);
            position.map(|position| spaces.swap_remove(position))
        };
        match removed {
            Some(space) => {
                lock(&space.connection).give_back();
                Ok(())
            }
            None => lock(&self.general).forget(name),
        }
    }

    /// Gives everything back, and closes.
    pub(crate) fn give_back(&self) {
        let spaces = std::mem::take(&mut *self.spaces());
        for space in spaces {
            lock(&space.connection).give_back();
        }
        lock(&self.general).give_back();
    }

    /// Gives back what was unused for long enough. Returns when to look again; `None` when nothing is held any more.
    pub(crate) fn give_back_idle(&self) -> Option<Duration> {
        let mut connections = vec![self.general()];
        connections.extend(self.spaces().iter().map(|space| Arc::clone(&space.connection)));
        let mut next: Option<Duration> = None;
        for connection in &connections {
            let rest = match connection.try_lock() {
                Err(_) => Some(self.options.idle),
                Ok(mut connection) if connection.is_open() => {
                    let rest = self.options.idle.saturating_sub(connection.idle_for());
                    if rest.is_zero() {
                        connection.give_back();
                        None
                    } else {
                        Some(rest)
                    }
                }
                Ok(_) => None,
            };
            next = next.into_iter().chain(rest).min();
        }
        drop(connections);
        self.spaces().retain(|space| {
            Arc::strong_count(&space.connection) > 1
                || space.connection.try_lock().map_or(true, |connection| connection.is_open())
        });
        next
    }

    fn spaces(&self) -> MutexGuard<'_, Vec<Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closing the least recently used space that nobody is using gives back its key and session without a command. If all are in
/// use, there is one more for a while.
fn make_room(spaces: &mut Vec<Space>) {
    let most = most_keyed();
    while spaces.len() >= most {
        let unused = spaces.iter().enumerate().filter(|(_, space)| Arc::strong_count(&space.connection) == 1);
        let Some((oldest, _)) = unused.min_by_key(|(_, space)| space.used) else { return };
        lock(&spaces.swap_remove(oldest).connection).give_back();
    }
}

/// A quarter of the files that the host may have open at most, which are its own to use.
fn most_keyed() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = limit.map_or(MOST_KEYED, |soft| usize::try_from(soft / 4).unwrap_or(MOST_KEYED));
    quarter.clamp(1, MOST_KEYED)
}

/// A panic of another thread does not make a connection useless: what it held is flushed or found stale.
pub(crate) fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
