//! Keys that stay in the TPM: a copy at a persistent handle, which nobody need load. Behind a resource manager nothing of it is swapped.

use base::Secret;

use crate::connection::primary::Primary;
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::load::check;
use crate::keys::primary::{self};
use crate::keys::sign::Key;
use crate::wire::constants::hc;
use crate::wire::public::Name;
use crate::words::ResponseCode;

/// The first handle: those below are by custom for storage keys.
const FIRST: u32 = hc::PERSISTENT_FIRST + 0x100;

/// Keeps a copy of the key at the first free handle. The list of handles, Load, EvictControl and FlushContext; StartAuthSession where the owner or
/// the primary has an authorisation value.
pub(crate) fn persist(connection: &mut Connection, key: &Key<'_>, owner_auth: &Secret) -> Result<u32> {
    check(key)?;
    if key.wrapped.handle().is_some() {
        return Err(Error::Invalid("the key is persistent already"));
    }
    let taken = primary::list_persistent(connection)?;
    let free = (FIRST..=hc::OWNER_PERSISTENT_LAST).find(|handle| !taken.contains(handle));
    let free = free.ok_or(Error::PersistenceRefused(ResponseCode::NV_SPACE))?;
    let open = owner_auth.is_empty() && key.primary.auth.is_empty();
    let protection = if open { Protection::none() } else { connection.salted(key.primary)? };
    connection.with_temporary(protection, |connection, protection| {
        let (public, private) = (&key.wrapped.public, &key.wrapped.private);
        let loaded = connection.load(key.primary, public, private, key.name, protection.session.as_mut())?;
        protection.keep = false;
        match primary::persist(connection, loaded.value, key.name, free, owner_auth, protection) {
            Err(Error::Response(code)) if primary::refuses_persistence(code) => Err(Error::PersistenceRefused(code)),
            result => result.map(|()| free),
        }
    })
}

/// Takes the copy out again. Whether it was there: what else is at the handle stays. Two commands, and StartAuthSession where the owner has an
/// authorisation value, which is protected to `primary`.
pub(crate) fn evict(
    connection: &mut Connection,
    (handle, name): (u32, &Name),
    primary: &Primary,
    owner_auth: &Secret,
) -> Result<bool> {
    connection.forget_seen(handle);
    match primary::evict_named(connection, (handle, name), primary, owner_auth) {
        Ok(()) => Ok(true),
        Err(Error::PrimaryMissing { .. } | Error::WrongPrimary { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
