//! The session in which a verb acts: opened, logged in, and closed with the end of its scope.

use base::Secret;
use model::{SessionHandle, UserType};

use super::Admin;
use token::Library;
use token::manage::Token;
use token::{Error, Result};

/// Whose PIN was given.
#[derive(Clone, Debug)]
pub enum Pin {
    /// The user's.
    User(Secret),
    /// The security officer's, which makes no keys.
    So(Secret),
    /// None: the token has no PIN, or what is done needs none.
    None,
}

/// A read-write session of the library. Dropping it closes it, and logs out with it.
#[derive(Debug)]
pub(super) struct AdminSession<'a> {
    library: &'a Library,
    handle: SessionHandle,
}

impl Admin {
    /// Opens a session on the token and logs in with the PIN. A token without PIN takes none, or the empty one.
    pub(super) fn log_in(&self, token: &Token, pin: &Pin) -> Result<AdminSession<'_>> {
        let session = AdminSession { library: &self.library, handle: self.library.open_session(token.slot, true)? };
        match (pin, token.login_required()) {
            (Pin::User(pin), true) => self.library.login(session.handle, UserType::User, Some(pin.clone()))?,
            (Pin::So(pin), _) => self.library.login(session.handle, UserType::So, Some(pin.clone()))?,
            (Pin::User(pin), false) if !pin.is_empty() => return Err(Error::PinIncorrect),
            (Pin::User(_), false) | (Pin::None, _) => {}
        }
        Ok(session)
    }
}

impl AdminSession<'_> {
    /// What the library knows it by.
    pub(super) const fn handle(&self) -> SessionHandle {
        self.handle
    }
}

impl Drop for AdminSession<'_> {
    fn drop(&mut self) {
        // What could fail here is that the session is gone already.
        let _ = self.library.close_session(self.handle);
    }
}
