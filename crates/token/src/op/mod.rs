//! Cryptographic operations (PKCS#11 v3.1 5.8 - 5.13): one file for each kind, and what they share.
//!
//! It uses the library, sessions and objects. How templates become objects is not known here.

mod cipher;
mod decrypt;
pub(crate) mod derive;
mod digest;
mod dual;
mod encrypt;
pub(crate) mod hkdf;
pub(crate) mod kem;
mod mac;
mod message;
mod message_iv;
mod message_sign;
mod plan;
mod recover;
mod rsa;
mod secret;
mod sign;
mod state;
mod verify;
mod verify_signature;
pub(crate) mod wrap;

use std::sync::Arc;

use base::Secret;
use base::digest::Hasher;
use model::{
    AttributeType, KeyKind, KeyType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, ParamKind,
    Params, Scheme, Value,
};

pub(crate) use cipher::Ciphering;
pub(crate) use decrypt::{Decrypting, RsaDecrypting};
pub(crate) use digest::Digesting;
pub(crate) use encrypt::{Encrypting, rsa_encrypt};
pub(crate) use message::Messaging;
pub use message::Sealed;
pub use message_iv::MessageIv;
pub(crate) use message_sign::{MessageSigning, MessageVerifying};
pub(crate) use recover::{Recovering, SignRecovering};
pub(crate) use secret::Material;
pub(crate) use sign::Signing;
pub(crate) use verify::Verifying;
pub(crate) use verify_signature::SignatureVerifying;

use crate::library::Library;
use crate::object::{Object, has_power};
use crate::slots::session::{Session, Step};
use crate::{Error, Result};

/// Most bytes that an operation collects before it can run. Mechanisms without a hash take short input.
const MAX_COLLECTED: usize = 64 * 1024;
/// Longest message for a code, whose key is in the TPM or may be.
const MAX_MESSAGE: usize = 256 << 20;

/// The row of a mechanism for this operation, its parameters being of the right shape.
pub(crate) fn row(session: &Session, mechanism: &Mechanism, op: Ops) -> Result<&'static MechanismRow> {
    let row = mechanism.ty.row().filter(|row| session.token.chip.ops(row).contains(op));
    let row = row.ok_or(Error::MechanismInvalid)?;
    let fits = match (row.params, &mechanism.params) {
        (ParamKind::None | ParamKind::WrapIv, Params::None)
        | (ParamKind::Pss, Params::Pss { .. })
        | (ParamKind::Oaep, Params::Oaep { .. })
        | (ParamKind::Iv, Params::Iv(_))
        | (ParamKind::WrapIv, Params::WrapIv(_))
        | (ParamKind::MacLen, Params::MacLen(_))
        | (ParamKind::Ecdh, Params::Ecdh { .. })
        | (ParamKind::Hkdf, Params::Hkdf { .. })
        | (ParamKind::Data, Params::Data(_))
        | (ParamKind::Key, Params::Key(_)) => true,
        (ParamKind::PssOf(hash), Params::Pss { hash: given, .. }) => hash == *given,
        // All 128 bits count, as in a TPM; a counter that is said to be shorter must not run over, which is the caller's care.
        (ParamKind::Counter, Params::Counter { bits, .. }) => (1..=128).contains(bits),
        (ParamKind::Gcm, Params::Gcm { iv, tag_bits, .. }) => {
            !iv.is_empty() && matches!(tag_bits, 32 | 64 | 96 | 104 | 112 | 120 | 128)
        }
        _ => false,
    };
    if fits { Ok(row) } else { Err(Error::MechanismParamInvalid("missing, of the wrong kind, or out of range")) }
}

/// Which half of a pair an operation takes; secret keys have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Public,
    Private,
}

/// The key for this operation, if the key permits it.
pub(crate) fn key_for(
    session: &Session,
    handle: ObjectHandle,
    half: Half,
    usage: AttributeType,
    row: &MechanismRow,
) -> Result<Arc<Object>> {
    let key = key_of(session, handle, half, row)?;
    check_usage(&key, usage, row)?;
    Ok(key)
}

/// The key, if it is one that the mechanism works with.
pub(crate) fn key_of(session: &Session, handle: ObjectHandle, half: Half, row: &MechanismRow) -> Result<Arc<Object>> {
    let key = session.token.meant(handle)?.ok_or(Error::KeyHandleInvalid)?;
    if !matches!(key.class(), ObjectClass::PRIVATE_KEY | ObjectClass::PUBLIC_KEY | ObjectClass::SECRET_KEY) {
        return Err(Error::KeyHandleInvalid);
    }
    let pair = if half == Half::Public { ObjectClass::PUBLIC_KEY } else { ObjectClass::PRIVATE_KEY };
    let (key_type, class) = match row.key {
        KeyKind::Rsa => (KeyType::RSA, pair),
        KeyKind::Ec => (KeyType::EC, pair),
        KeyKind::Pair if key.key_type() == Some(KeyType::RSA) => (KeyType::RSA, pair),
        KeyKind::Pair => (KeyType::EC, pair),
        KeyKind::Aes => (KeyType::AES, ObjectClass::SECRET_KEY),
        // A key for one HMAC has a type of its own, or is a generic secret.
        KeyKind::Secret => {
            let own = |key_type: &KeyType| row.scheme == Scheme::Hmac && key_type.hmac_hash() == row.hash;
            (key.key_type().filter(own).unwrap_or(KeyType::GENERIC_SECRET), ObjectClass::SECRET_KEY)
        }
        KeyKind::Hkdf if key.key_type() == Some(KeyType::HKDF) => (KeyType::HKDF, ObjectClass::SECRET_KEY),
        KeyKind::Hkdf => (KeyType::GENERIC_SECRET, ObjectClass::SECRET_KEY),
        KeyKind::None => return Err(Error::KeyTypeInconsistent),
    };
    if key.key_type() != Some(key_type) {
        return Err(Error::KeyTypeInconsistent);
    }
    if key.class() != class {
        return Err(Error::KeyFunctionNotPermitted);
    }
    Ok(key)
}

/// The key permits this use, and this mechanism.
pub(crate) fn check_usage(key: &Object, usage: AttributeType, row: &MechanismRow) -> Result<()> {
    if !has_power(&key.attributes, usage) {
        return Err(Error::KeyFunctionNotPermitted);
    }
    check_mechanism(key, row)
}

/// The key permits this mechanism.
pub(crate) fn check_mechanism(key: &Object, row: &MechanismRow) -> Result<()> {
    if let Some(Value::Mechanisms(allowed)) = key.attributes.find(AttributeType::ALLOWED_MECHANISMS)
        && !allowed.contains(&row.ty)
    {
        return Err(Error::MechanismInvalid);
    }
    Ok(())
}

/// A private key in an operation: may it be used, and with which auth value?
#[derive(Debug)]
pub(crate) struct KeyUse {
    key: Arc<Object>,
    auth: Secret,
    /// What the authorities of the key's policy approved of.
    approvals: Vec<tpm::Approval>,
    /// The user must log in once more for this operation (`CKA_ALWAYS_AUTHENTICATE`).
    waiting: bool,
    /// The same, for each further use.
    careful: bool,
}

impl KeyUse {
    pub(crate) fn new(library: &Library, session: &Session, key: Arc<Object>) -> Result<Self> {
        let approvals = match &key.policy {
            Some(policy) => library.approvals_for(policy)?,
            None => Vec::new(),
        };
        if key.policy.as_ref().is_some_and(|policy| policy.is_free()) && !key.hides() {
            // The state of the machine is all that the TPM asks for.
            return Ok(Self { key, auth: Secret::zeroed(0), approvals, waiting: false, careful: false });
        }
        // Opening the key's auth value now finds an altered row before anything is sent.
        let keys = library.keys(&session.token)?;
        // The first use of a token that was taken over writes its rows anew.
        let key = session.token.object(key.handle)?.unwrap_or(key);
        let auth = key.reveal(&keys)?.ok_or(Error::KeyFunctionNotPermitted)?;
        let waiting = key.attributes.is_true(AttributeType::ALWAYS_AUTHENTICATE) && keys.login_required;
        Ok(Self { key, auth, approvals, waiting, careful: waiting })
    }

    pub(crate) fn waits(&self) -> bool {
        self.waiting
    }

    pub(crate) fn allow(&mut self) {
        self.waiting = false;
    }

    /// One use is over, and the login for it.
    pub(crate) fn want_login_again(&mut self) {
        self.waiting = self.careful;
    }

    /// Runs one TPM operation with the key.
    pub(crate) fn with<T>(&self, session: &Session, mut run: impl FnMut(tpm::Key<'_>) -> tpm::Result<T>) -> Result<T> {
        if self.waiting {
            return Err(Error::UserNotLoggedIn);
        }
        let tpm_key = self.key.key.as_ref().ok_or(Error::KeyFunctionNotPermitted)?;
        let parent = self.key.parent()?;
        let resident = self.key.residence().filter(|_| self.key.policy.is_none());
        let resident =
            resident.map(|handle| (handle, tpm::Wrapped::persistent(tpm_key.wrapped.public.clone(), handle)));
        let key = |wrapped| tpm::Key {
            primary: parent.as_ref().unwrap_or(&session.token.primary),
            wrapped,
            name: &tpm_key.name,
            auth: &self.auth,
            policy: self
                .key
                .policy
                .as_ref()
                .map(|policy| tpm::PolicyUse { policy: policy.policy(), approvals: &self.approvals }),
        };
        if let Some((handle, resident)) = &resident {
            match run(key(resident)) {
                // Somebody took it out, or the TPM was cleared of what is persistent: there is the blob.
                Err(tpm::Error::NameMismatch) => log::warn!(
                    "the TPM has no copy of object {} at {handle:#010x} any more; `ptool persist` makes one again",
                    self.key.handle.0
                ),
                result => return Ok(result?),
            }
        }
        Ok(run(key(&tpm_key.wrapped))?)
    }
}

/// The input of an operation: hashed as it comes, or collected.
#[derive(Debug)]
enum Input {
    Hashed(Hasher),
    Collected { data: Secret, most: usize },
}

impl Input {
    fn new(row: &MechanismRow) -> Self {
        row.hash.map_or_else(
            || Self::Collected { data: Secret::zeroed(0), most: MAX_COLLECTED },
            |hash| Self::Hashed(hash.hasher()),
        )
    }

    /// Collects whatever the mechanism: for codes, which hash with a key.
    fn collected() -> Self {
        Self::Collected { data: Secret::zeroed(0), most: MAX_MESSAGE }
    }

    fn add(&mut self, part: &[u8]) -> Result<()> {
        match self {
            Self::Hashed(hasher) => hasher.update(part),
            Self::Collected { data, most } => {
                if data.len().saturating_add(part.len()) > *most {
                    return Err(Error::DataLenRange);
                }
                data.extend(part);
            }
        }
        Ok(())
    }

    /// The digest, or what was collected.
    fn finish(&self) -> Secret {
        match self {
            Self::Hashed(hasher) => Secret::new(hasher.clone().finish()),
            Self::Collected { data, .. } => data.clone(),
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
