//! Keys: made under the primary, loaded on demand, used by one command.

use base::Secret;

use crate::connection::primary;
use crate::connection::primary::Primary;
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::seal;
use crate::keys::sign::Key;
use crate::policy::{Choice, Means, Policy, PolicyUse};
use crate::session::authorization::{Entity, Kind, SESSION_HASH, STRONG_AUTH, Session};
use crate::session::command::{Handle, Response};
use crate::wire::Writer;
use crate::wire::public::{PublicArea, Wrapped};
use crate::wire::template::{self, KeyTemplate};

/// A key for each authorisation value, made one after the other in one session: StartAuthSession, only where no session is held, and Create
/// for each.
pub(crate) fn create_keys(
    connection: &mut Connection,
    primary: &Primary,
    template: KeyTemplate,
    auths: &[&Secret],
    policy: Option<&Policy>,
) -> Result<Vec<Wrapped>> {
    let area = template::with_policy(template::key(template)?, policy.map(Policy::digest));
    auths.iter().try_for_each(|auth| seal::check_auth(auth))?;
    let protection = if !connection.options().bus_protection {
        Protection::none()
    } else if let Some(session) = connection.take_session() {
        let keep = !session.last_use_next;
        Protection { session: Some(session), keep }
    } else {
        let session = connection.start_salted(primary, Kind::Hmac)?;
        Protection { session: Some(session), keep: false }
    };
    connection.with(protection, |connection, protection| {
        let keep = protection.keep;
        let mut made = Vec::with_capacity(auths.len());
        for auth in auths {
            protection.keep = keep || made.len() + 1 < auths.len();
            made.push(seal::create(connection, primary, &area, auth, None, protection)?);
        }
        Ok(made)
    })
}

/// Executes the command `code` with the key: loads it if it is not, and protects the command by the held session, else by a
/// new one. At most Load, StartAuthSession, the commands of the key's policy, and the command.
pub(crate) fn use_key(
    connection: &mut Connection,
    key: &Key<'_>,
    code: u32,
    parameters: impl Fn() -> Writer,
    decrypt: bool,
    encrypt: bool,
) -> Result<Response> {
    with_key(connection, key, code, |connection, handle, protection| {
        let command = connection.command(code, vec![handle], parameters())?;
        end_with_next(protection);
        let entity = Entity { name: key.name, auth: key.auth };
        // A policy takes a session, and that is all it takes where nothing is protected.
        let protected = connection.options().bus_protection;
        connection.execute(&command, &mut [protection.authorize(entity, decrypt && protected, encrypt && protected)])
    })
}

/// Loads the key if it is not, and runs `operation` with its handle, protected by the held session, else by a new one. At most
/// Load, StartAuthSession, and the commands of the key's policy. The first command of the operation is `code`, with the key.
pub(crate) fn with_key<T>(
    connection: &mut Connection,
    key: &Key<'_>,
    code: u32,
    mut operation: impl FnMut(&mut Connection, Handle, &mut Protection) -> Result<T>,
) -> Result<T> {
    if let Some(policy) = key.policy {
        return with_policy(connection, key, policy, code, operation);
    }
    let protected = connection.options().bus_protection;
    let managed = connection.is_managed()?;
    let held = if protected { connection.take_session() } else { None };
    let protection = Protection { session: held, keep: true };
    connection.with(protection, |connection, protection| {
        let entity = Entity { name: key.name, auth: key.auth };
        let loaded = match key.wrapped.handle() {
            Some(handle) => Some(connection.persistent_key(handle, key.name)?),
            None => connection.loaded_key(key.name),
        };
        if protected && protection.session.is_none() && loaded.is_none() {
            protection.session = session_before_load(connection, key, managed)?;
        }
        let handle = match loaded {
            Some(handle) => handle,
            None => load(connection, key, protection, managed)?,
        };
        if protected && protection.session.is_none() {
            protection.session = Some(session_after_load(connection, key, &handle, entity, managed)?);
        }
        operation(connection, handle, protection)
    })
}

/// By the policy of the key: in a session that stays for the next use, and serves every key that has a policy. It is bound to this
/// key where the authorisation value is random, else salted.
fn with_policy<T>(
    connection: &mut Connection,
    key: &Key<'_>,
    policy: PolicyUse<'_>,
    code: u32,
    mut operation: impl FnMut(&mut Connection, Handle, &mut Protection) -> Result<T>,
) -> Result<T> {
    let mut choice = Choice::new(policy, &Means::user(code))?;
    loop {
        choice.prepare(connection)?;
        let (handle, mut session, reused) = ready_for_policy(connection, key)?;
        session.last_use_next = connection.ends_sessions();
        let mut protection = Protection::new(session);
        let result = choice
            .satisfy(connection, &mut protection, None)
            .and_then(|()| operation(connection, handle, &mut protection));
        let renew = match result {
            Ok(done) => {
                choice.succeeded(connection, &mut protection);
                protection.session.into_iter().for_each(|session| connection.put_policy_session(session));
                return Ok(done);
            }
            Err(error) => choice.again(connection, error, reused),
        };
        if let Some(session) = protection.session {
            match renew {
                Ok(true) => connection.add_temporary_session(session),
                _ => connection.put_policy_session(session),
            }
        }
        renew?;
    }
}

/// The key loaded, and a policy session: the held one, which is told, or a new one.
fn ready_for_policy(connection: &mut Connection, key: &Key<'_>) -> Result<(Handle, Session, bool)> {
    let protected = connection.options().bus_protection;
    let strong = key.auth.len() >= STRONG_AUTH;
    let managed = connection.is_managed()?;
    let mut session = connection.take_policy_session();
    let reused = session.is_some();
    if session.is_none() && protected && !strong {
        // Before the load, which ends with the primary flushed.
        session = Some(connection.start_salted(key.primary, Kind::POLICY)?);
    }
    let there = match key.wrapped.handle() {
        Some(handle) => Some(Handle::object(handle, key.name)),
        None => connection.loaded_key(key.name),
    };
    let loaded = there.map_or_else(|| load_for_policy(connection, key, managed), Ok);
    let handle = match (loaded, session) {
        (Ok(handle), Some(session)) => return Ok((handle, session, reused)),
        (Ok(handle), None) => handle,
        (Err(error), session) => {
            session.into_iter().for_each(|session| connection.put_policy_session(session));
            return Err(error);
        }
    };
    let session = if protected {
        connection.start_bound(&handle, Entity { name: key.name, auth: key.auth }, Kind::POLICY)?
    } else {
        connection.start_policy()?
    };
    Ok((handle, session, reused))
}

/// The session that a login left behind authorises the primary, and ends with that: the key has no use for it.
fn load_for_policy(connection: &mut Connection, key: &Key<'_>, managed: bool) -> Result<Handle> {
    let held = if connection.options().bus_protection { connection.take_session() } else { None };
    let protection = match held {
        Some(session) => Protection { keep: !session.last_use_next, session: Some(session) },
        None if !key.primary.auth.is_empty() && connection.options().bus_protection => {
            let session = connection.start_salted(key.primary, Kind::Hmac)?;
            Protection { session: Some(session), keep: false }
        }
        None => Protection::none(),
    };
    connection.with(protection, |connection, protection| load(connection, key, protection, managed))
}

/// The next command with the key is the last one of the operation: a session that costs a command to end ends with it.
pub(crate) fn end_with_next(protection: &mut Protection) {
    protection.keep = !protection.session.as_ref().is_some_and(|session| session.last_use_next);
}

fn load(connection: &mut Connection, key: &Key<'_>, protection: &mut Protection, managed: bool) -> Result<Handle> {
    let Wrapped { public, private } = key.wrapped;
    let session = protection.session.as_mut().filter(|session| session.has_key());
    let handle = connection.load_with(key.primary, public, private, key.name, session, protection.keep)?;
    connection.keep_key(&handle, key.name);
    if managed {
        // It would be swapped in and out around every further command.
        connection.flush_primary()?;
    }
    Ok(handle)
}

/// The session that must, or had better, be there before the key is loaded: for the authorisation of the primary where it has
/// one; and behind a resource manager, which need not swap the key around the command that starts the session then.
fn session_before_load(connection: &mut Connection, key: &Key<'_>, managed: bool) -> Result<Option<Session>> {
    if !key.primary.auth.is_empty() {
        return connection.start_salted(key.primary, Kind::Hmac).map(Some);
    }
    if managed { session_for(connection, key).map(Some) } else { Ok(None) }
}

/// Without a resource manager the session serves everything that comes, and needs a key of its own for that: it is bound to
/// this key, which is as good as salted (the authorisation value is random), and no asymmetric work for the TPM.
fn session_after_load(
    connection: &mut Connection,
    key: &Key<'_>,
    handle: &Handle,
    entity: Entity<'_>,
    managed: bool,
) -> Result<Session> {
    if !managed && key.auth.len() >= STRONG_AUTH {
        return connection.start_bound(handle, entity, Kind::Hmac);
    }
    session_for(connection, key)
}

/// A session that serves this key only.
fn session_for(connection: &mut Connection, key: &Key<'_>) -> Result<Session> {
    if key.auth.len() >= STRONG_AUTH {
        connection.start_plain()
    } else {
        connection.start_salted(key.primary, Kind::Hmac)
    }
}

/// Checks, before anything is sent, that the key's parts belong together.
pub(crate) fn check(key: &Key<'_>) -> Result<PublicArea> {
    seal::check_auth(key.auth)?;
    if key.wrapped.handle().is_none() {
        primary::load_parameters(&key.wrapped.public, &key.wrapped.private)?;
    }
    let area = key.wrapped.public_area()?;
    if area.name()? != *key.name {
        return Err(Error::NameMismatch);
    }
    if let Some(PolicyUse { policy, .. }) = key.policy
        && (area.auth_policy() != policy.digest() || area.name_hash()? != SESSION_HASH)
    {
        return Err(Error::NameMismatch);
    }
    Ok(area)
}
