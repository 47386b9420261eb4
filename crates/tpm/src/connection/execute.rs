//! The execution of one command, with retries, eviction and start-up.

use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::{Connection, Loaded};
use crate::error::{Error, Result};
use crate::session::command::{self, Answer, Authorization, Command, Handle, Prepared, Response};
use crate::wire::constants::{SU_CLEAR, cap, cc, command_name};
use crate::wire::rc::ResponseCode;
use crate::wire::{Reader, Writer};

/// How long a command is repeated while the TPM asks for it.
const RETRY_FOR: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

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

    /// Executes one command, again and again while the TPM only asks for time or room.
    pub(crate) fn execute(&mut self, command: &Command, authorizations: &mut [Authorization<'_>]) -> Result<Response> {
        let prepared = command::prepare(command, authorizations)?;
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut reclaimed = false;
        loop {
            let code = match self.exchange(command, authorizations, &prepared)? {
                Answer::Success(response) => return Ok(response),
                Answer::Failed(code) => code,
            };
            if code.is_retry() {
                if started.elapsed() + pause > RETRY_FOR {
                    return Err(Error::Busy);
                }
                info!("{} is repeated after {code}", command_name(command.code));
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else if code.is_object_memory() {
                // A TPM that has no room all the same is not searched for ever.
                let room = self.evict_object(command)?
                    || (!std::mem::replace(&mut reclaimed, true) && self.reclaim(command)?);
                if !room {
                    return Err(Error::NoRoom("objects"));
                }
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

    /// Makes room by flushing a held session, unless the present operation has taken it.
    fn evict_session(&mut self) -> Result<()> {
        let held = self.session.take().or_else(|| self.policy_session.take());
        let session = held.ok_or(Error::NoRoom("sessions"))?;
        debug!("flushing a session to make room");
        self.flush_session(session)
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
            _ => Error::Response(code),
        }
    }
}
