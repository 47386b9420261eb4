//! HMAC with a key of the TPM (TPM 2.0 Part 3, 15.5, 17.2, 17.5, 17.6).

use base::Secret;
use base::digest::Hash;

use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::cipher::INPUT_BUFFER;
use crate::keys::load::{self, end_with_next, use_key, with_key};
use crate::keys::sign::{Key, check_usage};
use crate::session::authorization::{Entity, STRONG_AUTH};
use crate::session::command::{Handle, Response};
use crate::wire::Writer;
use crate::wire::constants::{cc, rh};
use crate::wire::hash::hash_alg;
use crate::wire::public::{Attributes, Name};
use crate::words::ResponseCode;

/// One command for what fits the TPM's buffer, else one for each buffer and one more; Load and StartAuthSession before as needed.
pub(crate) fn hmac(connection: &mut Connection, key: &Key<'_>, hash: (Hash, u16), data: &[u8]) -> Result<Secret> {
    let (hash, hash_id) = hash;
    let response = if data.len() <= INPUT_BUFFER {
        let parameters = || Writer::new().tpm2b(data).u16(hash_id);
        use_key(connection, key, cc::HMAC, parameters, true, true)
    } else {
        with_key(connection, key, cc::HMAC_START, |connection, handle, protection| {
            sequence(connection, key, handle, protection, hash_id, data)
        })
    };
    let response = response.map_err(explain)?;
    // After a sequence, a ticket follows: that of an HMAC is empty.
    let mac = Secret::copy_from(response.reader().tpm2b()?);
    if mac.len() != hash.len() {
        return Err(Error::Malformed("the HMAC does not have the length of its hash"));
    }
    Ok(mac)
}

/// Checks, before anything is sent, that the key computes HMACs with this hash; gives its TPM_ALG_ID.
pub(crate) fn check(key: &Key<'_>, hash: Hash) -> Result<u16> {
    let area = load::check(key)?;
    let own = area.hmac().ok_or(Error::Invalid("the key is not an HMAC key"))?;
    check_usage(&area, Attributes::SIGN)?;
    if own.is_some_and(|own| own != hash) {
        return Err(Error::Invalid("the key is made for another hash"));
    }
    hash_alg(hash)
}

fn explain(error: Error) -> Error {
    match error {
        Error::Response(code) if matches!(code.base(), ResponseCode::COMMAND_CODE | ResponseCode::HASH) => {
            Error::Unsupported(format!("this TPM does not compute such an HMAC: {code}"))
        }
        error => error,
    }
}

/// HMAC_Start, SequenceUpdate for all but the last buffer, SequenceComplete; StartAuthSession after the first for a key with a
/// policy. The sequence object ends with the last command, or with the operation.
fn sequence(
    connection: &mut Connection,
    key: &Key<'_>,
    handle: Handle,
    protection: &mut Protection,
    hash_id: u16,
    data: &[u8],
) -> Result<Response> {
    // The value that authorises the sequence, and encrypts what goes through it where the session has no key of its own. Only
    // the last byte is not quite random: a TPM takes zeros off the end.
    let mut auth = Secret::zeroed(STRONG_AUTH);
    base::random::fill(auth.expose_mut())?;
    if let Some(last) = auth.expose_mut().last_mut() {
        *last |= 1;
    }
    let mut start =
        connection.command(cc::HMAC_START, vec![handle], Writer::new().tpm2b(auth.expose()).u16(hash_id))?;
    start.returns_handle = true;
    let by_key = Entity { name: key.name, auth: key.auth };
    let protected = connection.options().bus_protection;
    let response = connection.execute(&start, &mut [protection.authorize(by_key, protected, false)])?;
    let handle = response.handle()?;
    connection.add_temporary(handle, key.name);
    if key.policy.is_none() {
        return complete(connection, key.name, handle, &auth, protection, data);
    }
    // The sequence has no policy: it takes a session of another kind.
    let session = if connection.options().bus_protection {
        Protection::new(connection.start_plain()?)
    } else {
        Protection::none()
    };
    connection.with_temporary(session, |connection, protection| {
        if let Some(session) = &mut protection.session {
            session.last_use_next = true;
        }
        complete(connection, key.name, handle, &auth, protection, data)
    })
}

/// SequenceUpdate for all but the last buffer, SequenceComplete.
fn complete(
    connection: &mut Connection,
    key: &Name,
    handle: u32,
    auth: &Secret,
    protection: &mut Protection,
    data: &[u8],
) -> Result<Response> {
    // A sequence has no name to be bound to; with this value no session takes it for its key.
    let entity = Entity { name: key, auth };
    let mut buffers = data.chunks(INPUT_BUFFER).peekable();
    while let Some(buffer) = buffers.next() {
        let sequence = vec![Handle::sequence(handle)];
        if buffers.peek().is_some() {
            let update = connection.command(cc::SEQUENCE_UPDATE, sequence, Writer::new().tpm2b(buffer))?;
            connection.execute(&update, &mut [protection.authorize(entity, true, false)])?;
            continue;
        }
        let complete =
            connection.command(cc::SEQUENCE_COMPLETE, sequence, Writer::new().tpm2b(buffer).u32(rh::NULL))?;
        end_with_next(protection);
        let response = connection.execute(&complete, &mut [protection.authorize(entity, true, true)])?;
        connection.remove_temporary(handle);
        return Ok(response);
    }
    Err(Error::Invalid("a sequence without data"))
}
