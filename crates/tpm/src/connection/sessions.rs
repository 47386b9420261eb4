//! Sessions: started, held, used for one operation.

use super::Connection;
use super::primary::Primary;
use crate::error::{Error, Result};
use crate::session::authorization::{Entity, Kind, NONCE_LEN, SESSION_HASH, Session};
use crate::session::command::{Authorization, Handle, SessionUse};
use crate::session::salt;
use crate::wire::Writer;
use crate::wire::constants::{alg, cc, rh, se};
use crate::wire::hash::hash_alg;
use crate::wire::public::{Name, PublicArea};

/// What authorises, and protects, one command.
#[derive(Debug)]
pub(crate) struct Protection {
    pub(crate) session: Option<Session>,
    /// Whether the session stays after the next command.
    pub(crate) keep: bool,
}

impl Connection {
    /// Takes the held session.
    pub(crate) fn take_session(&mut self) -> Option<Session> {
        self.take_session_if(|_| true)
    }

    fn take_session_if(&mut self, fits: impl FnOnce(&Session) -> bool) -> Option<Session> {
        self.temporary_sessions.extend(self.session.take_if(|session| session.suspect));
        let mut session = self.session.take_if(|session| fits(session))?;
        session.last_use_next |= self.crowd.is_there() || (self.is_shared() && self.crowd.wants_a_look());
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
            self.temporary_sessions.push(session);
        }
    }

    /// Takes the held policy session.
    pub(crate) fn take_policy_session(&mut self) -> Option<Session> {
        let session = self.policy_session.take()?;
        self.reused = true;
        Some(session)
    }

    /// Puts a policy session back, if it still lives.
    pub(crate) fn put_policy_session(&mut self, session: Session) {
        if session.alive {
            self.temporary_sessions.extend(self.policy_session.replace(session));
        }
    }

    /// A session that ends with the operation.
    pub(crate) fn add_temporary_session(&mut self, session: Session) {
        if session.alive {
            self.temporary_sessions.push(session);
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
        self.temporary_sessions.extend(protection.session.filter(|session| session.alive));
        result
    }

    /// For what must be protected by a session salted to `primary`: the held one, if it is such a one, or a new one. It ends
    /// with the command that is told not to keep it.
    pub(crate) fn salted(&mut self, primary: &Primary) -> Result<Protection> {
        if !self.options.bus_protection {
            return Ok(Protection::none());
        }
        if let Some(session) = self.take_session_if(|session| session.is_salted_to(primary.name())) {
            return Ok(Protection::new(session));
        }
        self.start_salted(primary, Kind::Hmac).map(Protection::new)
    }

    /// For answers that something hangs on: with a primary, they are proved to be those of the TPM that has it. The session ends with the
    /// operation.
    pub(crate) fn proving<T>(
        &mut self,
        primary: Option<&Primary>,
        operation: impl FnOnce(&mut Connection, &mut Protection) -> Result<T>,
    ) -> Result<T> {
        let protection = match primary {
            Some(primary) => self.salted(primary)?,
            None => Protection::none(),
        };
        self.with_temporary(protection, operation)
    }

    /// A session whose key only the holder of the primary can know.
    pub(crate) fn start_salted(&mut self, primary: &Primary, kind: Kind) -> Result<Session> {
        let key = self.parent(primary)?;
        self.start_salted_to(&key, primary.area(), primary.name(), kind)
            .map_err(|error| self.explain_parent(primary, error))
    }

    /// A session salted to a loaded key.
    pub(crate) fn start_salted_to(
        &mut self,
        key: &Handle,
        area: &PublicArea,
        name: &Name,
        kind: Kind,
    ) -> Result<Session> {
        let (salt, encrypted) = salt::make(area)?;
        let (handle, nonce_caller, nonce_tpm) = self.start_session(kind, Some((key, &encrypted)), None)?;
        Ok(self.started(Session::new(handle, kind, &nonce_caller, &nonce_tpm, None, Some((name, &salt)))))
    }

    /// A session whose key comes from the authorisation value of an object.
    pub(crate) fn start_bound(&mut self, object: &Handle, entity: Entity<'_>, kind: Kind) -> Result<Session> {
        let (handle, nonce_caller, nonce_tpm) = self.start_session(kind, None, Some(object))?;
        Ok(self.started(Session::new(handle, kind, &nonce_caller, &nonce_tpm, Some(entity), None)))
    }

    /// A session without a key of its own: its HMACs and its encryption are as strong as the authorisation value of the object
    /// it authorises, and there is none for anything else.
    pub(crate) fn start_plain(&mut self) -> Result<Session> {
        let (handle, nonce_caller, nonce_tpm) = self.start_session(Kind::Hmac, None, None)?;
        Ok(self.started(Session::new(handle, Kind::Hmac, &nonce_caller, &nonce_tpm, None, None)))
    }

    /// A policy session without a key of its own.
    pub(crate) fn start_policy(&mut self) -> Result<Session> {
        let (handle, nonce_caller, nonce_tpm) = self.start_session(Kind::POLICY, None, None)?;
        Ok(self.started(Session::new(handle, Kind::POLICY, &nonce_caller, &nonce_tpm, None, None)))
    }

    fn is_shared(&self) -> bool {
        self.transport.as_deref().is_some_and(|transport| transport.resource_managed())
    }

    /// In a crowd a session is for one operation.
    fn started(&self, mut session: Session) -> Session {
        if self.is_shared() {
            self.crowd.notice_handle(session.handle);
        }
        session.last_use_next = self.end_sessions_after_use || self.crowd.is_there();
        session
    }

    /// Whether a policy session had better end with the command that it is for.
    pub(crate) fn ends_sessions(&self) -> bool {
        self.gives_back_at_once() || self.end_sessions_after_use || self.crowd.is_there()
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
            .u16(hash_alg(SESSION_HASH)?);
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

    /// For a command that needs no authorisation: the TPM proves that the answer is its own, if there is a session.
    pub(crate) fn audit(&mut self) -> Vec<Authorization<'_>> {
        let keep = self.keep;
        let usage = |session| SessionUse { session, entity: None, keep, decrypt: false, encrypt: false };
        self.session.as_mut().map(usage).map(Authorization::Session).into_iter().collect()
    }

    /// The authorisation of `entity`, with the first parameters encrypted as told.
    pub(crate) fn authorize<'a>(&'a mut self, entity: Entity<'a>, decrypt: bool, encrypt: bool) -> Authorization<'a> {
        match &mut self.session {
            None => Authorization::Password(entity.auth),
            Some(session) => {
                Authorization::Session(SessionUse { session, entity: Some(entity), keep: self.keep, decrypt, encrypt })
            }
        }
    }
}
