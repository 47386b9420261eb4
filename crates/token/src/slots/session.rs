//! Sessions and the operations that are active in them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use model::{Ops, SessionHandle, SlotId, flags};

use crate::info::SessionInfo;
use crate::objects::find::Finding;
use crate::op::{
    Decrypting, Digesting, Encrypting, KeyUse, MessageSigning, MessageVerifying, Messaging, Recovering, SignRecovering,
    SignatureVerifying, Signing, Verifying,
};
use crate::protect::policy::BoundPolicy;
use crate::slots::token::{Login, Token};
use crate::{Error, Result};

/// A session. One operation of each kind can be active in it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) handle: SessionHandle,
    pub(crate) token: Arc<Token>,
    pub(crate) read_write: bool,
    /// The policy of keys that are made in this session; set by administration only.
    new_keys: OnceLock<Arc<BoundPolicy>>,
    active: Mutex<Active>,
}

/// The active operations.
#[derive(Debug, Default)]
pub(crate) struct Active {
    pub(crate) find: Option<Finding>,
    pub(crate) digest: Option<Digesting>,
    pub(crate) sign: Option<Signing>,
    pub(crate) sign_recover: Option<SignRecovering>,
    pub(crate) verify: Option<Verifying>,
    pub(crate) verify_signature: Option<SignatureVerifying>,
    pub(crate) recover: Option<Recovering>,
    pub(crate) encrypt: Option<Encrypting>,
    pub(crate) decrypt: Option<Decrypting>,
    pub(crate) message_encrypt: Option<Messaging>,
    pub(crate) message_decrypt: Option<Messaging>,
    pub(crate) message_sign: Option<MessageSigning>,
    pub(crate) message_verify: Option<MessageVerifying>,
}

/// Does the operation go on after a call? Decided by this value and nowhere else (PKCS#11 v3.1 5.2, 5.8 - 5.13).
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// It goes on: a length was asked for, the buffer was too small, or a part was taken.
    Keep(Result<T>),
    /// It is over, successfully or not.
    Done(Result<T>),
}

impl Active {
    /// Does an operation wait for the user to log in once more? (`CKA_ALWAYS_AUTHENTICATE`)
    pub(crate) fn waits_for_login(&mut self) -> bool {
        self.uses().any(|use_| use_.waits())
    }

    /// Is an operation active with a key that may want a login of its own?
    pub(crate) fn uses_private_key(&mut self) -> bool {
        self.uses().next().is_some()
    }

    pub(crate) fn login_done(&mut self) {
        self.uses().for_each(KeyUse::allow);
    }

    /// Private keys in active operations.
    fn uses(&mut self) -> impl Iterator<Item = &mut KeyUse> {
        let sign = self.sign.as_mut().and_then(Signing::use_mut);
        let recover = self.sign_recover.as_mut().map(|operation| &mut operation.use_);
        let decrypt = self.decrypt.as_mut().and_then(Decrypting::use_mut);
        let encrypt = self.encrypt.as_mut().and_then(Encrypting::use_mut);
        let verify = self.verify.as_mut().and_then(Verifying::use_mut);
        let verify_signature = self.verify_signature.as_mut().and_then(SignatureVerifying::use_mut);
        let operations = [sign, recover, decrypt, encrypt, verify, verify_signature];
        let messages = [
            self.message_sign.as_mut().and_then(MessageSigning::use_mut),
            self.message_verify.as_mut().and_then(MessageVerifying::use_mut),
            self.message_encrypt.as_mut().and_then(Messaging::use_mut),
            self.message_decrypt.as_mut().and_then(Messaging::use_mut),
        ];
        operations.into_iter().chain(messages).flatten()
    }

    /// Ends the operations of these kinds.
    pub(crate) fn cancel(&mut self, kinds: Ops, find: bool) {
        let is = |kind| kinds.intersects(kind);
        self.find.take_if(|_| find);
        self.digest.take_if(|_| is(Ops::DIGEST));
        self.sign.take_if(|_| is(Ops::SIGN));
        self.sign_recover.take_if(|_| is(Ops::SIGN_RECOVER));
        self.verify.take_if(|_| is(Ops::VERIFY));
        self.verify_signature.take_if(|_| is(Ops::VERIFY));
        self.recover.take_if(|_| is(Ops::VERIFY_RECOVER));
        self.encrypt.take_if(|_| is(Ops::ENCRYPT));
        self.decrypt.take_if(|_| is(Ops::DECRYPT));
        self.message_encrypt.take_if(|_| is(Ops::MESSAGE_ENCRYPT));
        self.message_decrypt.take_if(|_| is(Ops::MESSAGE_DECRYPT));
        self.message_sign.take_if(|_| is(Ops::MESSAGE_SIGN));
        self.message_verify.take_if(|_| is(Ops::MESSAGE_VERIFY));
    }

    /// Is any cryptographic operation active?
    pub(crate) fn any(&self) -> bool {
        self.digest.is_some() || self.any_with_key()
    }

    /// Is any operation with a key active?
    pub(crate) fn any_with_key(&self) -> bool {
        self.sign.is_some()
            || self.sign_recover.is_some()
            || self.verify.is_some()
            || self.verify_signature.is_some()
            || self.recover.is_some()
            || self.encrypt.is_some()
            || self.decrypt.is_some()
            || self.message_encrypt.is_some()
            || self.message_decrypt.is_some()
            || self.message_sign.is_some()
            || self.message_verify.is_some()
    }

    /// What the end of a login ends: operations with private keys, and a search that saw private objects.
    fn end_private(&mut self) {
        self.find = None;
        self.sign = None;
        self.sign_recover = None;
        self.decrypt = None;
        self.message_encrypt = None;
        self.message_decrypt = None;
        self.message_sign = None;
        self.encrypt.take_if(|operation| operation.is_secret());
        self.verify.take_if(|operation| operation.is_secret());
        self.verify_signature.take_if(|operation| operation.is_secret());
        self.message_verify.take_if(|operation| operation.is_secret());
    }
}

impl Session {
    pub(crate) fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, keys that are made in this session have this policy.
    pub(crate) fn bind_new_keys(&self, policy: BoundPolicy) -> Result<()> {
        self.new_keys.set(Arc::new(policy)).map_err(|_| Error::OperationActive)
    }

    /// The policy of a new key.
    pub(crate) fn policy_of_new_keys(&self) -> Option<Arc<BoundPolicy>> {
        self.new_keys.get().cloned()
    }

    /// Begins an operation in its place; `make` says what it is, and leaves nothing behind when it fails.
    pub(crate) fn begin<O>(
        &self,
        place: impl Fn(&mut Active) -> &mut Option<O>,
        make: impl FnOnce() -> Result<O>,
    ) -> Result<()> {
        let mut active = self.active();
        if place(&mut active).is_some() {
            return Err(Error::OperationActive);
        }
        *place(&mut active) = Some(make()?);
        Ok(())
    }

    /// Runs one call of an active operation.
    pub(crate) fn step<O, T>(
        &self,
        place: impl Fn(&mut Active) -> &mut Option<O>,
        run: impl FnOnce(&mut O) -> Step<T>,
    ) -> Result<T> {
        let mut active = self.active();
        let slot = place(&mut active);
        let operation = slot.as_mut().ok_or(Error::OperationNotInitialized)?;
        match run(operation) {
            Step::Keep(result) => result,
            Step::Done(result) => {
                *slot = None;
                result
            }
        }
    }

    pub(crate) fn info(&self) -> SessionInfo {
        let state = match (self.token.login(), self.read_write) {
            (Login::User(_), true) => flags::CKS_RW_USER_FUNCTIONS,
            (Login::User(_), false) => flags::CKS_RO_USER_FUNCTIONS,
            (Login::So(_), _) => flags::CKS_RW_SO_FUNCTIONS,
            (Login::Nobody, true) => flags::CKS_RW_PUBLIC_SESSION,
            (Login::Nobody, false) => flags::CKS_RO_PUBLIC_SESSION,
        };
        SessionInfo { slot: self.token.slot, state, read_write: self.read_write }
    }
}

/// Every open session of the process.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<SessionHandle, Arc<Session>>>,
    next: AtomicU64,
    /// Of one token.
    most: u32,
}

impl Sessions {
    pub(crate) fn new(most: u32) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1), most }
    }

    /// How many a process may have open with a token.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    pub(crate) fn open(&self, token: Arc<Token>, read_write: bool) -> Result<SessionHandle> {
        let mut open = self.lock();
        if !read_write && matches!(token.login(), Login::So(_)) {
            return Err(Error::SessionReadWriteSoExists);
        }
        let here = open.values().filter(|other| other.token.id == token.id).count();
        if u32::try_from(here).is_ok_and(|here| here >= self.most) {
            return Err(Error::SessionCount);
        }
        let handle = SessionHandle(self.next.fetch_add(1, Ordering::Relaxed));
        let (new_keys, active) = (OnceLock::new(), Mutex::default());
        open.insert(handle, Arc::new(Session { handle, token, read_write, new_keys, active }));
        Ok(handle)
    }

    /// Makes a login take effect, if the session it came through is still open; for the security officer, if no read-only
    /// session came meanwhile. With the session table locked: no close and no open comes between.
    pub(crate) fn commit_login(&self, session: &Session, login: Login) -> Result<()> {
        let open = self.lock();
        if !open.contains_key(&session.handle) {
            return Err(Error::SessionHandleInvalid);
        }
        let read_only = open.values().any(|other| other.token.id == session.token.id && !other.read_write);
        if matches!(login, Login::So(_)) && read_only {
            return Err(Error::SessionReadOnlyExists);
        }
        session.token.set_login(login);
        Ok(())
    }

    pub(crate) fn find(&self, handle: SessionHandle) -> Result<Arc<Session>> {
        self.lock().get(&handle).cloned().ok_or(Error::SessionHandleInvalid)
    }

    /// Closes one; its objects are gone, and with the last one of a token the login (PKCS#11 v3.1 5.6.2).
    pub(crate) fn close(&self, handle: SessionHandle) -> Result<()> {
        let mut open = self.lock();
        let session = open.remove(&handle).ok_or(Error::SessionHandleInvalid)?;
        session.token.remove_objects_of(handle);
        if open.values().all(|other| other.token.id != session.token.id) {
            session.token.logout();
        }
        Ok(())
    }

    pub(crate) fn close_all(&self, slot: SlotId) {
        let mut open = self.lock();
        let gone: Vec<_> =
            open.extract_if(|_, session| session.token.slot == slot).map(|(_, session)| session).collect();
        for session in gone {
            session.token.remove_objects_of(session.handle);
            session.token.logout();
        }
    }

    /// How many are open on a token: all, and read/write ones.
    pub(crate) fn count(&self, token: &Token) -> (u64, u64) {
        let open = self.lock();
        let all = open.values().filter(|session| session.token.id == token.id);
        all.fold((0, 0), |(all, rw), session| (all + 1, rw + u64::from(session.read_write)))
    }

    /// After a logout: no operation goes on with what the user alone may use.
    pub(crate) fn end_private_operations(&self, token: &Token) {
        let sessions: Vec<_> = self.lock().values().filter(|session| session.token.id == token.id).cloned().collect();
        for session in sessions {
            session.active().end_private();
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionHandle, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
