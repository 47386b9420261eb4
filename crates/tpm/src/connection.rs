//! One connection to the TPM: the transport, what is loaded through it, and the execution of commands with retries,
//! eviction and recovery.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base::Secret;
use log::{debug, warn};

use crate::command::{self, Answer, Authorization, Command, Handle, Prepared, Response, SessionUse};
use crate::conf::TctiConf;
use crate::descriptors::Descriptors;
use crate::error::{Error, Result};
use crate::primary::{self, Location, Primary};
use crate::public::Name;
use crate::rc::ResponseCode;
use crate::session::{Entity, Kind, NONCE_LEN, SESSION_HASH, Session};
use crate::tpm::Options;
use crate::transport::{self, Transport};
use crate::wire::constants::{SU_CLEAR, alg, cc, command_name, rh, se};
use crate::wire::{Reader, Writer};
use crate::{crypto, salt};

/// How long a command is repeated while the TPM asks for it.
const RETRY_FOR: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

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

/// What authorises, and protects, one command.
#[derive(Debug)]
pub(crate) struct Protection {
    pub(crate) session: Option<Session>,
    /// Whether the session stays after the next command.
    pub(crate) keep: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    conf: TctiConf,
    options: Options,
    descriptors: Arc<Descriptors>,
    transport: Option<Box<dyn Transport>>,
    /// The held session. An operation takes it, and puts it back when it is still alive.
    session: Option<Session>,
    /// Loaded keys, least recently used first.
    keys: Vec<Loaded>,
    /// A transient primary.
    primary: Option<Loaded>,
    /// Objects and sessions of the present operation.
    temporaries: Vec<Loaded>,
    temporary_sessions: Vec<u32>,
    /// What was held when the connection broke: still in the TPM unless it was restarted.
    orphans: Vec<Loaded>,
    orphan_sessions: Vec<u32>,
    /// Whether the present operation used something held from before it.
    reused: bool,
    startup_sent: bool,
    /// Behind a resource manager: serves one operation, and is closed instead of flushing what that leaves.
    close_after_use: bool,
    last_used: Instant,
}

impl Connection {
    pub(crate) fn new(conf: TctiConf, options: Options, descriptors: Arc<Descriptors>) -> Connection {
        Connection {
            conf,
            options,
            descriptors,
            transport: None,
            session: None,
            keys: Vec::new(),
            primary: None,
            temporaries: Vec::new(),
            temporary_sessions: Vec::new(),
            orphans: Vec::new(),
            orphan_sessions: Vec::new(),
            reused: false,
            startup_sent: false,
            close_after_use: false,
            last_used: Instant::now(),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Makes this a connection for one operation behind a resource manager.
    pub(crate) fn close_after_use(&mut self) {
        self.close_after_use = true;
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
        let first = operation(self);
        let first = self.settle(first);
        let Err(error) = &first else { return first };
        let again = match repeat {
            Repeat::Never => false,
            Repeat::Safe => error.is_stale(),
            Repeat::SafeWithRightAuth => error.is_stale() || (*error == Error::AuthFailed && self.reused),
        };
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
            _ if self.close_after_use => self.give_back(),
            _ => self.flush_temporaries(),
        }
        self.last_used = Instant::now();
        result
    }

    // --- the transport ---

    fn transport(&mut self) -> Result<&mut Box<dyn Transport>> {
        if self.transport.is_none() {
            let opened = transport::open(&self.conf)?;
            if let Some(fd) = opened.raw_fd() {
                self.descriptors.add(fd);
            }
            debug!("connected to {}", self.conf);
            let managed = opened.resource_managed();
            self.startup_sent = false;
            self.transport = Some(opened);
            if managed {
                // Closing gave them back.
                self.orphans.clear();
                self.orphan_sessions.clear();
            } else {
                self.salvage();
            }
        }
        self.transport.as_mut().ok_or(Error::Malformed("the transport vanished"))
    }

    fn close(&mut self) {
        if let Some(transport) = self.transport.take()
            && let Some(fd) = transport.raw_fd()
        {
            self.descriptors.remove(fd);
        }
    }

    /// Closes without a word, remembering what was held.
    fn forsake(&mut self) {
        self.close();
        self.orphans.append(&mut self.keys);
        self.orphans.append(&mut self.temporaries);
        self.orphans.extend(self.primary.take());
        self.orphan_sessions.append(&mut self.temporary_sessions);
        self.orphan_sessions.extend(self.session.take().map(|session| session.handle));
    }

    /// After a break: flushes what is still ours. An object is ours if its name is (others may have got its handle after a
    /// restart); the sessions are, if one of the objects was, because then there was no restart.
    fn salvage(&mut self) {
        let mut ours = false;
        for orphan in std::mem::take(&mut self.orphans) {
            let found = primary::read_public(self, orphan.handle);
            if let Ok(Some(area)) = found
                && area.name().is_ok_and(|name| name == orphan.name)
            {
                ours = true;
                let _ = self.flush(orphan.handle);
            }
        }
        for session in std::mem::take(&mut self.orphan_sessions) {
            if ours {
                let _ = self.flush(session);
            }
        }
    }

    // --- giving back ---

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
        if !transport.resource_managed() {
            let handles: Vec<u32> = (self.keys.iter().chain(&self.primary).map(|loaded| loaded.handle))
                .chain(self.session.iter().map(|session| session.handle))
                .collect();
            for handle in handles {
                if let Err(error) = self.flush(handle) {
                    debug!("{handle:#010x} was not flushed: {error}");
                    if error.breaks_connection() {
                        break;
                    }
                }
            }
        }
        self.keys.clear();
        self.temporaries.clear();
        self.temporary_sessions.clear();
        self.primary = None;
        self.session = None;
        self.close();
        debug!("gave everything back, and closed");
    }

    /// Flushes a key, if it is loaded.
    pub(crate) fn forget(&mut self, name: &Name) -> Result<()> {
        match self.keys.iter().position(|key| key.name == *name) {
            Some(position) => {
                let key = self.keys.remove(position);
                self.flush(key.handle)
            }
            None => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self, handle: u32) -> Result<()> {
        let command = self.command(cc::FLUSH_CONTEXT, Vec::new(), Writer::new().u32(handle))?;
        self.execute(&command, &mut []).map(drop)
    }

    fn flush_temporaries(&mut self) {
        let sessions = std::mem::take(&mut self.temporary_sessions);
        let objects = std::mem::take(&mut self.temporaries);
        for handle in sessions.into_iter().chain(objects.into_iter().map(|object| object.handle)) {
            if let Err(error) = self.flush(handle) {
                debug!("{handle:#010x} was not flushed: {error}");
                if error.breaks_connection() {
                    self.forsake();
                    return;
                }
            }
        }
    }

    /// An object that goes when the operation ends.
    pub(crate) fn add_temporary(&mut self, handle: u32, name: &Name) {
        self.temporaries.push(Loaded { name: name.clone(), handle });
    }

    /// Makes room by flushing our least recently used object that `command` does not use.
    fn evict_object(&mut self, command: &Command) -> Result<()> {
        let free = |loaded: &Loaded| !command.handles.iter().any(|handle| handle.value == loaded.handle);
        let victim = match self.keys.iter().position(free) {
            Some(position) => self.keys.remove(position),
            None => match self.primary.take_if(|loaded| free(loaded)) {
                Some(primary) => primary,
                None => return Err(Error::NoRoom("objects")),
            },
        };
        debug!("flushing {} to make room", victim.name);
        self.flush(victim.handle)
    }

    /// Makes room by flushing the held session, unless the present operation has taken it.
    fn evict_session(&mut self) -> Result<()> {
        let session = self.session.take().ok_or(Error::NoRoom("sessions"))?;
        debug!("flushing a session to make room");
        self.flush(session.handle)
    }

    // --- commands ---

    /// A command with the usual deadline, and without a handle in its response.
    pub(crate) fn command(&self, code: u32, handles: Vec<Handle>, parameters: Writer) -> Result<Command> {
        Ok(Command {
            code,
            handles,
            parameters: parameters.finish()?,
            returns_handle: false,
            deadline: self.options.deadline,
        })
    }

    /// Executes one command, again and again while the TPM only asks for time or room.
    pub(crate) fn execute(
        &mut self,
        command: &Command,
        authorizations: &mut [Authorization<'_>],
    ) -> Result<Response> {
        let prepared = command::prepare(command, authorizations)?;
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let code = match self.exchange(command, authorizations, &prepared)? {
                Answer::Success(response) => return Ok(response),
                Answer::Failed(code) => code,
            };
            if code.is_retry() {
                if started.elapsed() + pause > RETRY_FOR {
                    return Err(Error::Busy);
                }
                warn!("{} is repeated after {code}", command_name(command.code));
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else if code.is_object_memory() {
                self.evict_object(command)?;
            } else if code.is_session_memory() {
                self.evict_session()?;
            } else if code == ResponseCode::INITIALIZE && self.may_start_up() {
                self.start_up()?;
            } else {
                return Err(code.into());
            }
        }
    }

    fn exchange(
        &mut self,
        command: &Command,
        authorizations: &mut [Authorization<'_>],
        prepared: &Prepared,
    ) -> Result<Answer> {
        let name = command_name(command.code);
        let started = Instant::now();
        let response = self.transport()?.transact(&prepared.bytes, command.deadline)?;
        let answer = command::accept(command, authorizations, prepared, &response);
        let elapsed = started.elapsed().as_micros();
        let handles = command.handles.len();
        match &answer {
            Ok(Answer::Success(_)) => debug!("{name} ({handles} handles): success, {elapsed} us"),
            Ok(Answer::Failed(code)) => debug!("{name} ({handles} handles): {code}, {elapsed} us"),
            Err(error) => warn!("{name} ({handles} handles): {error}, {elapsed} us"),
        }
        answer
    }

    /// TPM2_Startup is the platform's business, unless nobody but us is there to do it.
    fn may_start_up(&self) -> bool {
        !self.startup_sent && self.transport.as_ref().is_some_and(|transport| transport.exclusive())
    }

    fn start_up(&mut self) -> Result<()> {
        self.startup_sent = true;
        warn!("the TPM was not started up; sending TPM2_Startup(CLEAR)");
        let command = self.command(cc::STARTUP, Vec::new(), Writer::new().u16(SU_CLEAR))?;
        match self.execute(&command, &mut []) {
            // Somebody else was faster.
            Err(Error::Response(ResponseCode::INITIALIZE)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A whole list of TPM2_GetCapability: `read` takes one element, and gives it with its property number.
    pub(crate) fn capability_list<T>(
        &mut self,
        capability: u32,
        first: u32,
        read: impl Fn(&mut Reader<'_>) -> Result<(u32, T)>,
    ) -> Result<Vec<T>> {
        /// Far more than any TPM has of anything: a hostile one must not keep us here.
        const MOST_ROUNDS: usize = 32;
        const MOST: u32 = 0x400;
        let mut all = Vec::new();
        let mut next = first;
        for _ in 0..MOST_ROUNDS {
            let parameters = Writer::new().u32(capability).u32(next).u32(MOST);
            let command = self.command(cc::GET_CAPABILITY, Vec::new(), parameters)?;
            let response = self.execute(&command, &mut [])?;
            let mut reader = response.reader();
            let more = reader.u8()? != 0;
            if reader.u32()? != capability {
                return Err(Error::Malformed("another capability than the one asked for"));
            }
            let count = reader.u32()?;
            let mut last = None;
            for _ in 0..count {
                let (property, value) = read(&mut reader)?;
                last = Some(property);
                all.push(value);
            }
            reader.finish()?;
            match last.and_then(|last| last.checked_add(1)) {
                Some(after) if more && after > next => next = after,
                _ => return Ok(all),
            }
        }
        Err(Error::Malformed("a capability list without end"))
    }

    // --- objects ---

    /// The handle of the primary; derives a transient one if need be.
    pub(crate) fn parent(&mut self, wanted: &Primary) -> Result<Handle> {
        let name = wanted.name();
        if let Location::Persistent(handle) = wanted.location {
            return Ok(Handle::object(handle, name));
        }
        if let Some(loaded) = self.primary.take() {
            if loaded.name == *name {
                let handle = Handle::object(loaded.handle, name);
                self.primary = Some(loaded);
                return Ok(handle);
            }
            self.flush(loaded.handle)?;
        }
        let (handle, area) = primary::create_transient(self, &Secret::zeroed(0), &Secret::zeroed(0))?;
        let found = area.name()?;
        if found != *name {
            self.add_temporary(handle, &found);
            return Err(Error::WrongPrimary { expected: name.clone(), found: Some(found) });
        }
        self.primary = Some(Loaded { name: found, handle });
        Ok(Handle::object(handle, name))
    }

    /// The handle of a key, when it is loaded; it is then the most recently used.
    pub(crate) fn loaded_key(&mut self, name: &Name) -> Option<Handle> {
        let position = self.keys.iter().position(|key| key.name == *name)?;
        let key = self.keys.remove(position);
        let handle = Handle::object(key.handle, name);
        self.keys.push(key);
        self.reused = true;
        Some(handle)
    }

    /// Keeps a loaded key until room is needed.
    pub(crate) fn keep_key(&mut self, handle: &Handle, name: &Name) {
        self.temporaries.retain(|object| object.handle != handle.value);
        self.keys.push(Loaded { name: name.clone(), handle: handle.value });
    }

    /// TPM2_Load; the object is a temporary of this operation. With a session that the primary's authorisation goes
    /// through, the response proves that the TPM holds the pinned primary.
    pub(crate) fn load(
        &mut self,
        parent: &Primary,
        public: &[u8],
        private: &[u8],
        expected: &Name,
        session: Option<&mut Session>,
    ) -> Result<Handle> {
        let command = Command {
            code: cc::LOAD,
            handles: vec![self.parent(parent)?],
            parameters: primary::load_parameters(public, private)?.finish()?,
            returns_handle: true,
            deadline: self.options.deadline,
        };
        let authorization = authorize_parent(parent, session);
        let response = match self.execute(&command, &mut [authorization]) {
            Ok(response) => response,
            Err(error) => return Err(self.explain_parent(parent, error)),
        };
        let handle = response.handle()?;
        let name = response.reader().tpm2b()?.to_vec();
        self.add_temporary(handle, expected);
        if name != expected.as_bytes() {
            return Err(Error::NameMismatch);
        }
        Ok(Handle::object(handle, expected))
    }

    /// Why the primary did not serve: another one, none, a wrong authorisation of its own; never the fault of what is under it,
    /// unless the primary is the right one.
    pub(crate) fn explain_parent(&mut self, parent: &Primary, error: Error) -> Error {
        if !matches!(error, Error::AuthFailed | Error::Integrity | Error::Response(_)) {
            return error;
        }
        if matches!(error, Error::Response(code) if code.is_session_reference()) {
            return error;
        }
        match primary::check(self, parent) {
            Err(wrong) => wrong,
            Ok(()) if error == Error::AuthFailed => Error::HierarchyAuth,
            Ok(()) => error,
        }
    }

    /// Whether the primary can be used with its authorisation value. Costs nothing where that is empty, as it is by
    /// convention: the first use will tell.
    pub(crate) fn primary_is_usable(&mut self, primary: &Primary) -> Result<bool> {
        if primary.auth.is_empty() {
            return Ok(true);
        }
        let mut session = self.start_salted(primary, Kind::Hmac)?;
        self.temporary_sessions.push(session.handle);
        // An object that cannot be loaded: what counts is whether the TPM got as far as looking at it.
        let public = crate::template::seal(None)?.marshal()?;
        let nothing = Writer::new().tpm2b(&[0; 64]).finish()?;
        let name = crate::template::seal(None)?.name()?;
        match self.load(primary, &public, &nothing, &name, Some(&mut session)) {
            Err(Error::HierarchyAuth | Error::AuthFailed) => Ok(false),
            Ok(_) | Err(Error::Integrity | Error::Response(_) | Error::NameMismatch) => Ok(true),
            Err(error) => Err(error),
        }
    }

    // --- sessions ---

    /// Takes the held session.
    pub(crate) fn take_session(&mut self) -> Option<Session> {
        let session = self.session.take()?;
        self.reused = true;
        Some(session)
    }

    pub(crate) fn holds_session(&self) -> bool {
        self.session.is_some()
    }

    /// Puts a session back, if it still lives; one that there is no place for ends with the operation.
    fn put_session(&mut self, session: Session) {
        if !session.alive {
            return;
        }
        if self.session.is_none() {
            self.session = Some(session);
        } else {
            self.temporary_sessions.push(session.handle);
        }
    }

    /// Runs `operation` with a protection, and afterwards keeps its session if that still lives.
    pub(crate) fn with<T>(
        &mut self,
        mut protection: Protection,
        operation: impl FnOnce(&mut Connection, &mut Protection) -> Result<T>,
    ) -> Result<T> {
        let result = operation(self, &mut protection);
        if let Some(session) = protection.session {
            self.put_session(session);
        }
        result
    }

    /// As [`Connection::with`], but the session ends with the operation at the latest.
    pub(crate) fn with_temporary<T>(
        &mut self,
        mut protection: Protection,
        operation: impl FnOnce(&mut Connection, &mut Protection) -> Result<T>,
    ) -> Result<T> {
        let result = operation(self, &mut protection);
        self.temporary_sessions
            .extend(protection.session.filter(|session| session.alive).map(|session| session.handle));
        result
    }

    /// For what must be protected by a session salted to `primary`: the held one, if it is such a one, or a new one. It ends
    /// with the command that is told not to keep it.
    pub(crate) fn salted(&mut self, primary: &Primary) -> Result<Protection> {
        if !self.options.bus_protection {
            return Ok(Protection::none());
        }
        if let Some(session) = self.session.take_if(|session| session.is_salted_to(primary.name())) {
            self.reused = true;
            return Ok(Protection::new(session));
        }
        self.start_salted(primary, Kind::Hmac).map(Protection::new)
    }

    /// A session whose key only the holder of the primary can know.
    pub(crate) fn start_salted(&mut self, primary: &Primary, kind: Kind) -> Result<Session> {
        let (salt, encrypted) = salt::make(primary.area())?;
        let key = self.parent(primary)?;
        match self.start_session(kind, Some((&key, &encrypted)), None) {
            Ok((handle, nonce_caller, nonce_tpm)) => {
                Ok(Session::new(handle, kind, &nonce_caller, &nonce_tpm, None, Some((primary.name(), &salt))))
            }
            Err(error) => Err(self.explain_parent(primary, error)),
        }
    }

    /// A session whose key comes from the authorisation value of an object.
    pub(crate) fn start_bound(&mut self, object: &Handle, entity: Entity<'_>) -> Result<Session> {
        let (handle, nonce_caller, nonce_tpm) = self.start_session(Kind::Hmac, None, Some(object))?;
        Ok(Session::new(handle, Kind::Hmac, &nonce_caller, &nonce_tpm, Some(entity), None))
    }

    /// A session without a key of its own: its HMACs and its encryption are as strong as the authorisation value of the object
    /// it authorises, and there is none for anything else.
    pub(crate) fn start_plain(&mut self) -> Result<Session> {
        let (handle, nonce_caller, nonce_tpm) = self.start_session(Kind::Hmac, None, None)?;
        Ok(Session::new(handle, Kind::Hmac, &nonce_caller, &nonce_tpm, None, None))
    }

    /// A policy session without a key of its own.
    pub(crate) fn start_policy(&mut self) -> Result<Session> {
        let kind = Kind::Policy { auth_value: false };
        let (handle, nonce_caller, nonce_tpm) = self.start_session(kind, None, None)?;
        Ok(Session::new(handle, kind, &nonce_caller, &nonce_tpm, None, None))
    }

    fn start_session(
        &mut self,
        kind: Kind,
        salt: Option<(&Handle, &[u8])>,
        bind: Option<&Handle>,
    ) -> Result<(u32, Vec<u8>, Vec<u8>)> {
        let null = Handle::plain(rh::NULL);
        let nonce_caller = base::random::bytes(NONCE_LEN)?;
        let kind = match kind {
            Kind::Hmac => se::HMAC,
            Kind::Policy { .. } => se::POLICY,
        };
        let parameters = Writer::new()
            .tpm2b(&nonce_caller)
            .tpm2b(salt.map_or(&[], |(_, encrypted)| encrypted))
            .u8(kind)
            .u16(alg::AES)
            .u16(128)
            .u16(alg::CFB)
            .u16(crypto::hash_alg(SESSION_HASH)?);
        let handles = vec![salt.map_or(&null, |(key, _)| key).clone(), bind.unwrap_or(&null).clone()];
        let mut command = self.command(cc::START_AUTH_SESSION, handles, parameters)?;
        command.returns_handle = true;
        let response = self.execute(&command, &mut [])?;
        let handle = response.handle()?;
        let nonce_tpm = response.reader().tpm2b()?.to_vec();
        if nonce_tpm.len() < 16 {
            return Err(Error::Malformed("nonceTPM is shorter than 16 bytes"));
        }
        Ok((handle, nonce_caller, nonce_tpm))
    }
}

impl Protection {
    /// Password authorisation.
    pub(crate) fn none() -> Protection {
        Protection { session: None, keep: true }
    }

    pub(crate) fn new(session: Session) -> Protection {
        Protection { session: Some(session), keep: true }
    }

    /// The authorisation of `entity`, with the first parameters encrypted as told.
    pub(crate) fn authorize<'a>(
        &'a mut self,
        entity: Entity<'a>,
        decrypt: bool,
        encrypt: bool,
    ) -> Authorization<'a> {
        match &mut self.session {
            None => Authorization::Password(entity.auth),
            Some(session) => Authorization::Session(SessionUse {
                session,
                entity: Some(entity),
                keep: self.keep,
                decrypt,
                encrypt,
            }),
        }
    }
}

fn authorize_parent<'a>(parent: &'a Primary, session: Option<&'a mut Session>) -> Authorization<'a> {
    match session {
        None => Authorization::Password(&parent.auth),
        Some(session) => Authorization::Session(SessionUse {
            session,
            entity: Some(Entity { name: parent.name(), auth: &parent.auth }),
            keep: true,
            decrypt: false,
            encrypt: false,
        }),
    }
}

impl From<ResponseCode> for Error {
    /// The meaning a code has wherever it appears.
    fn from(code: ResponseCode) -> Error {
        match code.base() {
            ResponseCode::LOCKOUT => Error::Lockout,
            ResponseCode::AUTH_FAIL | ResponseCode::BAD_AUTH => Error::AuthFailed,
            ResponseCode::POLICY_FAIL | ResponseCode::POLICY_CC | ResponseCode::PCR_CHANGED => Error::PolicyFailed,
            ResponseCode::INTEGRITY => Error::Integrity,
            _ => Error::Response(code),
        }
    }
}
