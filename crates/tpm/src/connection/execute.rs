//! The execution of one command, with retries, eviction and start-up.

use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::crowd::Pauses;
use super::{Connection, Loaded};
use crate::error::{Error, Result};
use crate::session::authorization::Kind;
use crate::session::command::{self, Answer, Authorization, Command, Handle, Prepared, Response};
use crate::wire::constants::{SU_CLEAR, cap, cc, command_name};
use crate::wire::{Reader, Writer};
use crate::words::ResponseCode;

/// How long a command is repeated while the TPM asks for it.
const RETRY_FOR: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long for places that are taken, where nobody else can be connected: somebody may use the chip by another way.
const ALONE: Duration = Duration::from_secs(1);
/// Hundreds may wait for a place, and each question for it takes the TPM some time.
const LONGEST_QUEUE: Duration = Duration::from_millis(500);

impl Connection {
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

    /// Executes one command, again and again while the TPM only asks for time or room. Room that this connection cannot make is
    /// waited for: others give back what they do not use.
    pub(crate) fn execute(&mut self, command: &Command, authorizations: &mut [Authorization<'_>]) -> Result<Response> {
        let prepared = command::prepare(command, authorizations, &mut self.nonces)?;
        let mut busy = Pauses::up_to(LONGEST_PAUSE);
        let mut queue = Pauses::up_to(LONGEST_QUEUE);
        let mut reclaimed = false;
        loop {
            let code = match self.exchange(command, authorizations, &prepared)? {
                Answer::Success(response) => return Ok(response),
                Answer::Failed(code) => code,
            };
            if code.is_retry() {
                info!("{} is repeated after {code}", command_name(command.code));
                if !busy.pause(RETRY_FOR) {
                    return Err(Error::Busy);
                }
            } else if code.is_object_memory() {
                // A TPM that has no room all the same is not searched for ever.
                let room = self.evict_object(command)?
                    || (!std::mem::replace(&mut reclaimed, true) && self.reclaim(command)?);
                if !room {
                    self.wait_for_room(&mut queue, code, "objects")?;
                }
            } else if code.is_session_memory() {
                self.crowd.notice();
                if !self.evict_session()? {
                    self.wait_for_room(&mut queue, code, "sessions")?;
                }
            } else if code == ResponseCode::INITIALIZE && self.may_start_up() {
                self.start_up()?;
            } else {
                return Err(code.into());
            }
        }
    }

    fn wait_for_room(&self, queue: &mut Pauses, code: ResponseCode, what: &'static str) -> Result<()> {
        let shared = self.transport.as_deref().is_some_and(|transport| !transport.exclusive());
        let patience = if shared { self.options.patience } else { self.options.patience.min(ALONE) };
        if queue.is_first() {
            info!("waiting for others to give back {what}: {code}");
        }
        // The commands of a search for room must not wait for its result.
        if self.reclaiming || !queue.pause(patience) { Err(Error::NoRoom(what)) } else { Ok(()) }
    }

    fn exchange(
        &mut self,
        command: &Command,
        authorizations: &mut [Authorization<'_>],
        prepared: &Prepared,
    ) -> Result<Answer> {
        let name = command_name(command.code);
        let started = Instant::now();
        self.reconnect_if_ended()?;
        let response = self.transport()?.transact(&prepared.bytes, command.deadline)?;
        self.commands += 1;
        self.crowd.notice_answer(started.elapsed());
        let answer = command::accept(command, authorizations, prepared, &response);
        let elapsed = started.elapsed().as_micros();
        let handles = command.handles.len();
        match &answer {
            Ok(Answer::Success(_)) => debug!("{name} ({handles} handles): success, {elapsed} us"),
            Ok(Answer::Failed(code)) => debug!("{name} ({handles} handles): {code}, {elapsed} us"),
            Err(error) => warn!("{name} ({handles} handles): {error}, {elapsed} us"),
        }
        if matches!(answer, Err(Error::ResponseHmac)) {
            self.end_unproved(authorizations);
        }
        if let Ok(Answer::Failed(code)) = &answer
            && !(code.is_retry() || code.is_object_memory() || code.is_session_memory())
        {
            suspect_sessions(authorizations, *code);
        }
        answer
    }

    /// After an answer that is not authentic, the sessions of its command prove nothing any more: the TPM has nonces that we do not know. They
    /// are ended while it is still known that the handles are theirs; a resource manager does that by itself.
    fn end_unproved(&mut self, authorizations: &mut [Authorization<'_>]) {
        if self.transport.as_deref().is_none_or(|transport| transport.resource_managed()) {
            return;
        }
        for authorization in authorizations {
            if let Authorization::Session(usage) = authorization
                && std::mem::take(&mut usage.session.alive)
                && let Err(error) = self.flush(usage.session.handle)
            {
                debug!("a session was not flushed: {error}");
            }
        }
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
            Err(Error::NotStarted) | Ok(_) => Ok(()),
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

    /// All handles of the type of `first`, from there on.
    pub(crate) fn handles(&mut self, first: u32) -> Result<Vec<u32>> {
        self.capability_list(cap::HANDLES, first, |reader| {
            let handle = reader.u32()?;
            Ok((handle, handle))
        })
    }

    /// Makes room by flushing our least recently used object that `command` does not use. Whether there was one.
    fn evict_object(&mut self, command: &Command) -> Result<bool> {
        let free = |loaded: &Loaded| !command.handles.iter().any(|handle| handle.value == loaded.handle);
        let victim = match self.keys.iter().position(free) {
            Some(position) => self.keys.remove(position),
            None => match self.primary.take_if(|loaded| free(loaded)) {
                Some(primary) => primary,
                None => return Ok(false),
            },
        };
        debug!("flushing {} to make room", victim.name);
        self.flush_object(victim).map(|()| true)
    }

    /// Makes room by flushing a held session, unless the present operation has taken it. Whether there was one.
    fn evict_session(&mut self) -> Result<bool> {
        let held = self.session.take().or_else(|| self.policy_session.take());
        let Some(session) = held else { return Ok(false) };
        debug!("flushing a session to make room");
        self.flush_session(session).map(|()| true)
    }
}

/// What the TPM refused may be the session's fault, whatever it says: an answer that came damaged leaves us with another handle
/// or nonce than the TPM has. Such a session serves this operation at most. A wrong authorisation value is no fault of a session that
/// worked before.
fn suspect_sessions(authorizations: &mut [Authorization<'_>], code: ResponseCode) {
    let about_value = [ResponseCode::AUTH_FAIL, ResponseCode::BAD_AUTH, ResponseCode::LOCKOUT].contains(&code.base());
    for authorization in authorizations {
        if let Authorization::Session(usage) = authorization
            && usage.session.kind == Kind::Hmac
        {
            usage.session.suspect |= !(usage.session.proven && about_value);
        }
    }
}

impl From<ResponseCode> for Error {
    /// The meaning a code has wherever it appears.
    fn from(code: ResponseCode) -> Error {
        match code.base() {
            ResponseCode::LOCKOUT => Error::Lockout,
            ResponseCode::AUTH_FAIL | ResponseCode::BAD_AUTH => Error::AuthFailed,
            ResponseCode::POLICY_FAIL | ResponseCode::POLICY_CC => Error::PolicyFailed,
            ResponseCode::INTEGRITY => Error::Integrity,
            ResponseCode::INITIALIZE => Error::NotStarted,
            _ => Error::Response(code),
        }
    }
}
