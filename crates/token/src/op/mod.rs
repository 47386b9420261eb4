//! Cryptographic operations (PKCS#11 v3.1 5.8 - 5.13): one file for each kind, and what they share.

mod decrypt;
mod digest;
mod encrypt;
mod plan;
mod sign;
mod verify;

use std::sync::Arc;

use base::Secret;
use base::digest::Hasher;
use model::{
    AttributeType, KeyKind, KeyType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, ParamKind,
    Params, Value,
};

pub(crate) use decrypt::Decrypting;
pub(crate) use digest::Digesting;
pub(crate) use encrypt::Encrypting;
pub(crate) use sign::Signing;
pub(crate) use verify::Verifying;

use crate::library::Library;
use crate::object::Object;
use crate::session::{Session, Step};
use crate::{Error, Result};

/// Most bytes that an operation collects before it can run. Mechanisms without a hash take short input.
const MAX_COLLECTED: usize = 64 * 1024;

/// The row of a mechanism for this operation, its parameters being of the right shape.
fn row(session: &Session, mechanism: &Mechanism, op: Ops) -> Result<&'static MechanismRow> {
    let row = mechanism.ty.row().filter(|row| row.ops.contains(op) && session.token.chip.can(row));
    let row = row.ok_or(Error::MechanismInvalid)?;
    match (row.params, &mechanism.params) {
        (ParamKind::None, Params::None)
        | (ParamKind::Pss, Params::Pss { .. })
        | (ParamKind::Oaep, Params::Oaep { .. }) => Ok(row),
        (ParamKind::PssOf(hash), Params::Pss { hash: given, .. }) if hash == *given => Ok(row),
        (ParamKind::PssOf(_), Params::Pss { .. }) => {
            Err(Error::MechanismParamInvalid("the hash is not the mechanism's"))
        }
        (ParamKind::None, _) => Err(Error::MechanismParamInvalid("the mechanism has no parameters")),
        _ => Err(Error::MechanismParamInvalid("parameters are missing or of the wrong kind")),
    }
}

/// The key for this operation, if the key permits it.
fn key_for(
    session: &Session,
    handle: ObjectHandle,
    class: ObjectClass,
    usage: AttributeType,
    row: &MechanismRow,
) -> Result<Arc<Object>> {
    let key = session.token.object(handle).ok_or(Error::KeyHandleInvalid)?;
    if !matches!(key.class(), ObjectClass::PRIVATE_KEY | ObjectClass::PUBLIC_KEY | ObjectClass::SECRET_KEY) {
        return Err(Error::KeyHandleInvalid);
    }
    let fits = match row.key {
        KeyKind::Rsa => key.key_type() == Some(KeyType::RSA),
        KeyKind::Ec => key.key_type() == Some(KeyType::EC),
        KeyKind::None => false,
    };
    if !fits {
        return Err(Error::KeyTypeInconsistent);
    }
    if key.class() != class || !key.attributes.is_true(usage) {
        return Err(Error::KeyFunctionNotPermitted);
    }
    if let Some(Value::Mechanisms(allowed)) = key.attributes.find(AttributeType::ALLOWED_MECHANISMS) {
        if !allowed.contains(&row.ty) {
            return Err(Error::MechanismInvalid);
        }
    }
    Ok(key)
}

/// A private key in an operation: may it be used, and with which auth value?
#[derive(Debug)]
pub(crate) struct KeyUse {
    key: Arc<Object>,
    auth: Secret,
    /// The user must log in once more for this operation (`CKA_ALWAYS_AUTHENTICATE`).
    waiting: bool,
}

impl KeyUse {
    fn new(library: &Library, session: &Session, key: Arc<Object>) -> Result<Self> {
        // Opening the key's auth value now finds an altered row before anything is sent.
        let keys = library.keys(&session.token)?;
        let auth = key.reveal(&keys)?.ok_or(Error::KeyFunctionNotPermitted)?;
        let waiting = key.attributes.is_true(AttributeType::ALWAYS_AUTHENTICATE) && session.token.login_required();
        Ok(Self { key, auth, waiting })
    }

    pub(crate) fn waits(&self) -> bool {
        self.waiting
    }

    pub(crate) fn allow(&mut self) {
        self.waiting = false;
    }

    /// Runs one TPM operation with the key.
    fn with<T>(&self, session: &Session, run: impl FnOnce(tpm::Key<'_>) -> tpm::Result<T>) -> Result<T> {
        if self.waiting {
            return Err(Error::UserNotLoggedIn);
        }
        let tpm_key = self.key.key.as_ref().ok_or(Error::KeyFunctionNotPermitted)?;
        let key = tpm::Key {
            primary: &session.token.primary,
            wrapped: &tpm_key.wrapped,
            name: &tpm_key.name,
            auth: &self.auth,
        };
        Ok(run(key)?)
    }
}

/// The input of an operation: hashed as it comes, or collected.
#[derive(Debug)]
enum Input {
    Hashed(Hasher),
    Collected(Secret),
}

impl Input {
    fn new(row: &MechanismRow) -> Self {
        row.hash.map_or_else(|| Self::Collected(Secret::zeroed(0)), |hash| Self::Hashed(hash.hasher()))
    }

    fn add(&mut self, part: &[u8]) -> Result<()> {
        match self {
            Self::Hashed(hasher) => hasher.update(part),
            Self::Collected(collected) => {
                if collected.len().saturating_add(part.len()) > MAX_COLLECTED {
                    return Err(Error::DataLenRange);
                }
                *collected = Secret::new([collected.expose(), part].concat());
            }
        }
        Ok(())
    }

    /// The digest, or what was collected.
    fn finish(&self) -> Secret {
        match self {
            Self::Hashed(hasher) => Secret::new(hasher.clone().finish()),
            Self::Collected(collected) => collected.clone(),
        }
    }
}

/// Turns the outcome of a delivery into the step of its operation (PKCS#11 v3.1 5.2).
fn delivered(delivery: model::Delivery) -> Step<usize> {
    match delivery {
        model::Delivery::Length(len) => Step::Keep(Ok(len)),
        model::Delivery::TooSmall { needed } => Step::Keep(Err(Error::BufferTooSmall { needed })),
        model::Delivery::Written(len) => Step::Done(Ok(len)),
    }
}

/// For results whose length is known beforehand: answers length queries and short buffers without any work, else works.
fn exact(output: Output<'_>, len: usize, work: impl FnOnce() -> Result<Vec<u8>>) -> Step<usize> {
    match output.refuse(len) {
        Some(delivery) => delivered(delivery),
        None => match work() {
            Ok(result) => delivered(output.deliver(&result)),
            Err(error) => Step::Done(Err(error)),
        },
    }
}
