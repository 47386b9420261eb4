//! One command to bytes, and its response from bytes (TPM 2.0 Part 1, 18; Part 3, 5), with authorisations and parameter
//! encryption. Nothing is sent here.

use std::time::Duration;

use base::Secret;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::session::authorization::{Entity, Kind, SESSION_HASH, Session, authorization_hmac};
use crate::session::crypto::{Direction, parameter_cipher, trim_auth};
use crate::session::nonces::Nonces;
use crate::wire::constants::{rh, session_attributes, st};
use crate::wire::public::Name;
use crate::wire::{Reader, Writer};
use crate::words::ResponseCode;

const HEADER_LEN: usize = 10;

/// A handle of the handle area, with the name that stands for it in cpHash (Part 1, 16).
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) value: u32,
    name: Vec<u8>,
}

impl Handle {
    /// A transient or persistent object.
    pub(crate) fn object(value: u32, name: &Name) -> Handle {
        Handle { value, name: name.as_bytes().to_vec() }
    }

    /// A sequence object: it has no public area, and an empty name.
    pub(crate) fn sequence(value: u32) -> Handle {
        Handle { value, name: Vec::new() }
    }

    /// A permanent handle or a session: its name is the handle itself.
    pub(crate) fn plain(value: u32) -> Handle {
        Handle { value, name: value.to_be_bytes().to_vec() }
    }
}

/// A command before authorisation.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) code: u32,
    pub(crate) handles: Vec<Handle>,
    /// Marshalled parameters.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Whether the response has a handle area.
    pub(crate) returns_handle: bool,
    /// How long the answer may take.
    pub(crate) deadline: Duration,
}

/// How one handle is authorised.
#[derive(Debug)]
pub(crate) enum Authorization<'a> {
    Password(&'a Secret),
    Session(SessionUse<'a>),
}

/// One use of a session.
#[derive(Debug)]
pub(crate) struct SessionUse<'a> {
    pub(crate) session: &'a mut Session,
    /// The object it authorises; `None` for a session that only encrypts, or does not even that: it audits then, by which the TPM
    /// proves that the answer is its own.
    pub(crate) entity: Option<Entity<'a>>,
    /// Whether it stays loaded afterwards.
    pub(crate) keep: bool,
    /// Encrypt the first parameter of the command.
    pub(crate) decrypt: bool,
    /// Have the first parameter of the response encrypted.
    pub(crate) encrypt: bool,
}

impl SessionUse<'_> {
    fn attributes(&self) -> u8 {
        let mut attributes = 0;
        if self.keep {
            attributes |= session_attributes::CONTINUE_SESSION;
        }
        if self.decrypt {
            attributes |= session_attributes::DECRYPT;
        }
        if self.encrypt {
            attributes |= session_attributes::ENCRYPT;
        }
        if self.entity.is_none() && !self.decrypt && !self.encrypt {
            attributes |= session_attributes::AUDIT;
        }
        attributes
    }
}

/// A command as it is sent. A warning of the TPM rolls no nonce, so the same bytes may be sent again after one.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// nonceCaller of each authorisation; empty for a password.
    nonces: Vec<Vec<u8>>,
}

/// The parts of a successful response.
#[derive(Debug)]
pub(crate) struct Response {
    handle: Option<u32>,
    /// Decrypted parameters.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

impl Response {
    pub(crate) fn handle(&self) -> Result<u32> {
        self.handle.ok_or(Error::Malformed("the response has no handle"))
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.parameters)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    Success(Response),
    Failed(ResponseCode),
}

/// Marshals and authorises `command`, with nonces that were not used before.
pub(crate) fn prepare(
    command: &Command,
    authorizations: &[Authorization<'_>],
    unused: &mut Nonces,
) -> Result<Prepared> {
    let mut nonces = Vec::with_capacity(authorizations.len());
    for authorization in authorizations {
        nonces.push(match authorization {
            Authorization::Password(_) => Vec::new(),
            Authorization::Session(_) => unused.next()?,
        });
    }
    let mut parameters = command.parameters.clone();
    for (authorization, nonce) in authorizations.iter().zip(&nonces) {
        if let Authorization::Session(usage) = authorization
            && usage.decrypt
        {
            let value = usage.session.cipher_value(usage.entity);
            let first = first_parameter(&mut parameters)?;
            parameter_cipher(Direction::Encrypt, SESSION_HASH, &value, nonce, &usage.session.nonce_tpm, first)?;
        }
    }

    let tag = if authorizations.is_empty() { st::NO_SESSIONS } else { st::SESSIONS };
    let mut body = Writer::new();
    for handle in &command.handles {
        body = body.u32(handle.value);
    }
    if !authorizations.is_empty() {
        let area = authorization_area(command, authorizations, &nonces, &parameters)?;
        body = body.u32(u32::try_from(area.len()).map_err(|_| Error::Invalid("too many authorisations"))?).bytes(&area);
    }
    let body = body.bytes(&parameters).finish()?;
    let size = u32::try_from(HEADER_LEN + body.len()).map_err(|_| Error::Invalid("the command is too long"))?;
    let bytes = Writer::new().u16(tag).u32(size).u32(command.code).bytes(&body).finish()?;
    Ok(Prepared { bytes, nonces })
}

fn authorization_area(
    command: &Command,
    authorizations: &[Authorization<'_>],
    nonces: &[Vec<u8>],
    parameters: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let code = command.code.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![&code];
    parts.extend(command.handles.iter().map(|handle| handle.name.as_slice()));
    parts.push(parameters);
    let cp_hash = SESSION_HASH.digest(&parts);

    let mut area = Writer::new();
    for (index, (authorization, nonce)) in authorizations.iter().zip(nonces).enumerate() {
        area = match authorization {
            Authorization::Password(auth) => {
                area.u32(rh::PW).tpm2b(&[]).u8(session_attributes::CONTINUE_SESSION).tpm2b(trim_auth(auth.expose()))
            }
            Authorization::Session(usage) => {
                let (decrypt, encrypt) = other_nonces(index, authorizations);
                let attributes = usage.attributes();
                let hmac = match usage.session.hmac_key(usage.entity) {
                    key if has_no_hmac(usage, &key) => Secret::zeroed(0),
                    key => authorization_hmac(
                        &key,
                        &cp_hash,
                        nonce,
                        &usage.session.nonce_tpm,
                        decrypt,
                        encrypt,
                        attributes,
                    ),
                };
                area.u32(usage.session.handle).tpm2b(nonce).u8(attributes).tpm2b(hmac.expose())
            }
        };
    }
    area.finish()
}

/// The HMAC of the first session also covers nonceTPM of the sessions that encrypt, where those are others (Part 1, 19.6.5).
fn other_nonces<'a>(index: usize, authorizations: &'a [Authorization<'_>]) -> (&'a [u8], &'a [u8]) {
    if index != 0 {
        return (&[], &[]);
    }
    let position = |wanted: fn(&SessionUse<'_>) -> bool| {
        authorizations.iter().position(|other| matches!(other, Authorization::Session(usage) if wanted(usage)))
    };
    let nonce = |position: Option<usize>| match position.and_then(|position| authorizations.get(position)) {
        Some(Authorization::Session(usage)) => usage.session.nonce_tpm.as_slice(),
        _ => &[],
    };
    let decrypt = position(|usage| usage.decrypt).filter(|position| *position != 0);
    let encrypt = position(|usage| usage.encrypt).filter(|position| *position != 0 && Some(*position) != decrypt);
    (nonce(decrypt), nonce(encrypt))
}

/// A policy session without any key proves nothing by an HMAC, and must not send one (Part 1, 19.6.5).
fn has_no_hmac(usage: &SessionUse<'_>, key: &Secret) -> bool {
    matches!(usage.session.kind, Kind::Policy { .. }) && key.is_empty()
}

/// The bytes of the TPM2B that the parameters begin with.
fn first_parameter(parameters: &mut [u8]) -> Result<&mut [u8]> {
    let missing = Error::Malformed("there is no first parameter to encrypt");
    let (size, rest) = parameters.split_first_chunk_mut::<2>().ok_or(missing.clone())?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size))).ok_or(missing)
}

/// Reads the response to `prepared`; verifies every HMAC before anything else is believed, decrypts, rolls the nonces.
pub(crate) fn accept(
    command: &Command,
    authorizations: &mut [Authorization<'_>],
    prepared: &Prepared,
    response: &[u8],
) -> Result<Answer> {
    let mut reader = Reader::new(response);
    let tag = reader.u16()?;
    let size = reader.u32()?;
    let code = reader.u32()?;
    if usize::try_from(size).ok() != Some(response.len()) {
        return Err(Error::Malformed("the size of the response is not its length"));
    }
    if code != 0 {
        reader.finish()?;
        return Ok(Answer::Failed(ResponseCode::received(code)));
    }
    let expected = if authorizations.is_empty() { st::NO_SESSIONS } else { st::SESSIONS };
    if tag != expected {
        return Err(Error::Malformed("the response has another tag than the command"));
    }
    let handle = if command.returns_handle { Some(reader.u32()?) } else { None };
    if authorizations.is_empty() {
        let parameters = Zeroizing::new(reader.rest().to_vec());
        return Ok(Answer::Success(Response { handle, parameters }));
    }
    let len = usize::try_from(reader.u32()?).map_err(|_| Error::Malformed("a field is cut short"))?;
    let mut parameters = Zeroizing::new(reader.bytes(len)?.to_vec());
    verify_authorizations(command, authorizations, prepared, &parameters, reader)?;
    for (authorization, nonce) in authorizations.iter().zip(&prepared.nonces) {
        if let Authorization::Session(usage) = authorization
            && usage.encrypt
        {
            let value = usage.session.cipher_value(usage.entity);
            let first = first_parameter(&mut parameters)?;
            parameter_cipher(Direction::Decrypt, SESSION_HASH, &value, &usage.session.nonce_tpm, nonce, first)?;
        }
    }
    Ok(Answer::Success(Response { handle, parameters }))
}

fn verify_authorizations(
    command: &Command,
    authorizations: &mut [Authorization<'_>],
    prepared: &Prepared,
    parameters: &[u8],
    mut reader: Reader<'_>,
) -> Result<()> {
    let rp_hash = SESSION_HASH.digest(&[&0u32.to_be_bytes(), &command.code.to_be_bytes(), parameters]);
    for (authorization, nonce_caller) in authorizations.iter_mut().zip(&prepared.nonces) {
        let nonce_tpm = reader.tpm2b()?;
        let attributes = reader.u8()?;
        let hmac = reader.tpm2b()?;
        let Authorization::Session(usage) = authorization else { continue };
        let key = usage.session.hmac_key(usage.entity);
        if has_no_hmac(usage, &key) {
            if !hmac.is_empty() {
                return Err(Error::ResponseHmac);
            }
        } else {
            let right = authorization_hmac(&key, &rp_hash, nonce_tpm, nonce_caller, &[], &[], attributes);
            if right != Secret::copy_from(hmac) {
                return Err(Error::ResponseHmac);
            }
        }
        usage.session.nonce_tpm = nonce_tpm.to_vec();
        usage.session.proven = true;
        usage.session.alive = attributes & session_attributes::CONTINUE_SESSION != 0;
    }
    reader.finish()
}
