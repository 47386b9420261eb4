//! Objects: the primary that is the parent of all, loading, and what a failure there means.

use super::primary::{self, Location, Primary};
use super::{Connection, Loaded};
use crate::error::{Error, Result};
use crate::session::authorization::{Entity, Session};
use crate::session::command::{Authorization, Command, Handle, SessionUse};
use crate::wire::Writer;
use crate::wire::constants::cc;
use crate::wire::public::Name;
use crate::wire::template;

impl Connection {
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
            self.flush_object(loaded)?;
        }
        let (handle, area) = primary::derive(self, wanted.template)?;
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

    /// The handle of a persistent key, after one look at what is there: an authorisation for another object could count towards
    /// lockout, and a password would go with any.
    pub(crate) fn persistent_key(&mut self, handle: u32, name: &Name) -> Result<Handle> {
        if !self.has_seen(handle, name) {
            match primary::read_public(self, handle)? {
                Some(area) if area.name()? == *name => self.remember_seen(handle, name),
                _ => return Err(Error::NameMismatch),
            }
        }
        Ok(Handle::object(handle, name))
    }

    /// Whether this was found behind the handle by this connection.
    pub(crate) fn has_seen(&self, handle: u32, name: &Name) -> bool {
        self.seen.iter().any(|seen| seen.handle == handle && seen.name == *name)
    }

    /// Remembers what was found behind a handle.
    pub(crate) fn remember_seen(&mut self, handle: u32, name: &Name) {
        if !self.has_seen(handle, name) {
            self.seen.push(Loaded { name: name.clone(), handle });
        }
    }

    /// Looks again before the handle is used the next time.
    pub(crate) fn forget_seen(&mut self, handle: u32) {
        self.seen.retain(|seen| seen.handle != handle);
    }

    /// Keeps a loaded key until room is needed.
    pub(crate) fn keep_key(&mut self, handle: &Handle, name: &Name) {
        self.temporaries.retain(|object| object.handle != handle.value);
        self.keys.push(Loaded { name: name.clone(), handle: handle.value });
    }

    /// Flushes a temporary whose place may be needed.
    pub(crate) fn end_temporary(&mut self, handle: u32) -> Result<()> {
        match self.temporaries.iter().position(|object| object.handle == handle) {
            Some(position) => {
                let object = self.temporaries.remove(position);
                self.flush_object(object)
            }
            None => Ok(()),
        }
    }

    /// A temporary that is gone by itself.
    pub(crate) fn remove_temporary(&mut self, handle: u32) {
        self.temporaries.retain(|object| object.handle != handle);
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
        self.load_with(parent, public, private, expected, session, true)
    }

    /// As [`Connection::load`]; the session ends unless it is to be kept.
    pub(crate) fn load_with(
        &mut self,
        parent: &Primary,
        public: &[u8],
        private: &[u8],
        expected: &Name,
        session: Option<&mut Session>,
        keep: bool,
    ) -> Result<Handle> {
        let command = Command {
            code: cc::LOAD,
            handles: vec![self.parent(parent)?],
            parameters: primary::load_parameters(public, private)?.finish()?,
            returns_handle: true,
            deadline: self.options.deadline,
        };
        let authorization = authorize_parent(parent, session, keep);
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
        if matches!(error, Error::Response(code) if code.blames_session()) {
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
        // An object that cannot be loaded: what counts is whether the TPM got as far as looking at it.
        let area = template::seal(template::Sealed::Value)?;
        let (public, name) = (area.marshal()?, area.name()?);
        let nothing = Writer::new().tpm2b(&[0; 64]).finish()?;
        let protection = self.salted(primary)?;
        let tried = self.with_temporary(protection, |connection, protection| {
            connection.load(primary, &public, &nothing, &name, protection.session.as_mut())
        });
        match tried {
            Err(Error::HierarchyAuth | Error::AuthFailed) => Ok(false),
            Ok(_) | Err(Error::Integrity | Error::NameMismatch) => Ok(true),
            Err(Error::Response(code)) if code.refuses_object() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn authorize_parent<'a>(parent: &'a Primary, session: Option<&'a mut Session>, keep: bool) -> Authorization<'a> {
    match session {
        None => Authorization::Password(&parent.auth),
        Some(session) => Authorization::Session(SessionUse {
            session,
            entity: Some(Entity { name: parent.name(), auth: &parent.auth }),
            keep,
            decrypt: false,
            encrypt: false,
        }),
    }
}
