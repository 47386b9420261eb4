//! Messages one after another under one key, each with an initialisation vector, associated data and a tag of its own:
//! AES-GCM (PKCS#11 v3.1 5.9, 5.11; mechanisms v3.1 2.13.4).
//!
//! A message ends with the call that gives its result or finds it wrong; the operation, which holds the key, goes on with
//! the next one until its `Final`. A message in parts gives nothing before its end, as everywhere with this mode: what was
//! not yet found authentic must not get out.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use base::Secret;
use base::aes::{Direction, Refused, gcm_decrypt, gcm_encrypt};
use model::{AttributeType, Delivery, Mechanism, ObjectHandle, Ops, Output, Params, SessionHandle};

use super::cipher::MAX_WHOLE;
use super::message_iv::{counted_iv, random_iv};
use super::{Half, KeyUse, Material, MessageIv, key_for};
use crate::library::Library;
use crate::slots::session::{Active, Session, Step};
use crate::{Error, Result};

/// What an encryption gives beside the ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Length of the ciphertext in bytes, written or only asked for.
    pub len: usize,
    /// The message's initialisation vector and tag, if the message was encrypted by this call.
    pub done: Option<(Vec<u8>, Vec<u8>)>,
}

/// Messages under one key.
#[derive(Debug)]
pub(crate) struct Messaging {
    key: Material,
    /// The message that comes in parts.
    open: Option<Open>,
    /// The number of messages under counting vectors. A key in the TPM has none: other processes may use it, too.
    counter: Option<Arc<AtomicU64>>,
    /// The vector of the first of them.
    first: Option<Vec<u8>>,
}

/// A message, with the parts that came.
#[derive(Debug)]
struct Open {
    iv: Vec<u8>,
    associated: Vec<u8>,
    collected: Secret,
}

impl Library {
    /// `C_MessageEncryptInit`. The parameters come with each message.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism or key.
    pub fn message_encrypt_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        let make = || Messaging::new(self, &session, mechanism, key, Ops::MESSAGE_ENCRYPT, AttributeType::ENCRYPT);
        session.begin(encrypting, make)
    }

    /// `C_EncryptMessage`: a whole message, with a tag of `tag_len` bytes.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::OperationActive`] while a message comes in parts,
    /// [`Error::MechanismParamInvalid`] for vector or tag length, [`Error::BufferTooSmall`], [`Error::DataLenRange`].
    pub fn encrypt_message(
        &self,
        session: SessionHandle,
        iv: MessageIv,
        associated: &[u8],
        plain: &[u8],
        tag_len: usize,
        output: Output<'_>,
    ) -> Result<Sealed> {
        let session = self.session(session)?;
        session.step(encrypting, |messaging| {
            // A vector is made for a message that will be encrypted: not for a question about its length.
            if let Err(error) = messaging.check(&iv).and_then(|()| check_tag(tag_len)) {
                return Step::Keep(Err(error));
            }
            if let Some(refusal) = output.refuse(plain.len()) {
                return Step::Keep(refused(refusal).map(|len| Sealed { len, done: None }));
            }
            let message = messaging.message(iv, associated);
            let seal = |mut message: Open| message.seal(&messaging.key, self, &session, plain, tag_len, output);
            let sealed = message.and_then(seal);
            messaging.want_login_again();
            Step::Keep(sealed)
        })
    }

    /// `C_EncryptMessageBegin`: starts a message that comes in parts, and tells its initialisation vector.
    ///
    /// # Errors
    /// Those of [`Library::encrypt_message`].
    pub fn encrypt_message_begin(&self, session: SessionHandle, iv: MessageIv, associated: &[u8]) -> Result<Vec<u8>> {
        self.session(session)?.step(encrypting, |messaging| Step::Keep(messaging.begin(iv, associated)))
    }

    /// `C_EncryptMessageNext`: a part, or with a tag length the last part, which gives the ciphertext of them all.
    ///
    /// # Errors
    /// Those of [`Library::encrypt_message`].
    pub fn encrypt_message_next(
        &self,
        session: SessionHandle,
        part: &[u8],
        tag_len: Option<usize>,
        output: Output<'_>,
    ) -> Result<Sealed> {
        let session = self.session(session)?;
        session.step(encrypting, |messaging| {
            let Messaging { key, open, .. } = messaging;
            let seal = |open: &mut Open, tag_len, output: Output<'_>| {
                let sealed = open.seal(key, self, &session, part, tag_len, output)?;
                Ok((sealed.done.is_some(), sealed))
            };
            let sealed = next(open, part, output, tag_len, Sealed { len: 0, done: None }, Error::DataLenRange, seal);
            if open.is_none() {
                messaging.want_login_again();
            }
            Step::Keep(sealed)
        })
    }

    /// `C_MessageEncryptFinal`. A message of which parts came is forgotten.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn message_encrypt_final(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(encrypting, |_| Step::Done(Ok(())))
    }

    /// `C_MessageDecryptInit`. The parameters come with each message.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism or key.
    pub fn message_decrypt_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        let make = || Messaging::new(self, &session, mechanism, key, Ops::MESSAGE_DECRYPT, AttributeType::DECRYPT);
        session.begin(decrypting, make)
    }

    /// `C_DecryptMessage`: a whole message.
    ///
    /// # Errors
    /// [`Error::AeadDecryptFailed`] and nothing else for what is not authentic; those of [`Library::encrypt_message`].
    pub fn decrypt_message(
        &self,
        session: SessionHandle,
        iv: &[u8],
        associated: &[u8],
        cipher: &[u8],
        tag: &[u8],
        output: Output<'_>,
    ) -> Result<usize> {
        let session = self.session(session)?;
        session.step(decrypting, |messaging| {
            let message = messaging.message(MessageIv::Given(iv.to_vec()), associated);
            let unseal = |mut message: Open| message.unseal(&messaging.key, self, &session, cipher, tag, output);
            let unsealed = message.and_then(unseal);
            // A buffer that was too short has cost nothing, and the message is still to come.
            if unsealed.as_ref().is_ok_and(|(over, _)| *over) {
                messaging.want_login_again();
            }
            Step::Keep(unsealed.map(|(_, len)| len))
        })
    }

    /// `C_DecryptMessageBegin`: starts a message that comes in parts.
    ///
    /// # Errors
    /// Those of [`Library::decrypt_message`].
    pub fn decrypt_message_begin(&self, session: SessionHandle, iv: &[u8], associated: &[u8]) -> Result<()> {
        let iv = MessageIv::Given(iv.to_vec());
        self.session(session)?.step(decrypting, |messaging| Step::Keep(messaging.begin(iv, associated).map(drop)))
    }

    /// `C_DecryptMessageNext`: a part, or with the tag the last part, which gives the plaintext of them all.
    ///
    /// # Errors
    /// Those of [`Library::decrypt_message`].
    pub fn decrypt_message_next(
        &self,
        session: SessionHandle,
        part: &[u8],
        tag: Option<&[u8]>,
        output: Output<'_>,
    ) -> Result<usize> {
        let session = self.session(session)?;
        session.step(decrypting, |messaging| {
            let Messaging { key, open, .. } = messaging;
            let unseal =
                |open: &mut Open, tag: &[u8], output: Output<'_>| open.unseal(key, self, &session, part, tag, output);
            let unsealed = next(open, part, output, tag, 0, Error::EncryptedDataLenRange, unseal);
            if open.is_none() {
                messaging.want_login_again();
            }
            Step::Keep(unsealed)
        })
    }

    /// `C_MessageDecryptFinal`. A message of which parts came is forgotten.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn message_decrypt_final(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(decrypting, |_| Step::Done(Ok(())))
    }
}

fn encrypting(active: &mut Active) -> &mut Option<Messaging> {
    &mut active.message_encrypt
}

fn decrypting(active: &mut Active) -> &mut Option<Messaging> {
    &mut active.message_decrypt
}

/// One part of a message: collected, or with `end` the last, which `finish` processes; `finish` says whether the message
/// is over. An error ends the message, unless it is about the caller's buffer.
fn next<E, T>(
    open: &mut Option<Open>,
    part: &[u8],
    output: Output<'_>,
    end: Option<E>,
    nothing: T,
    too_long: Error,
    finish: impl FnOnce(&mut Open, E, Output<'_>) -> Result<(bool, T)>,
) -> Result<T> {
    let message = open.as_mut().ok_or(Error::OperationNotInitialized)?;
    let outcome = match end {
        // A question about the length of nothing.
        None if output.room().is_none() => return Ok(nothing),
        None => message.collect(part, too_long).map(|()| (false, nothing)),
        Some(end) => finish(message, end, output),
    };
    match outcome {
        Ok((over, result)) => {
            open.take_if(|_| over);
            Ok(result)
        }
        Err(error) => {
            open.take_if(|_| !matches!(error, Error::BufferTooSmall { .. }));
            Err(error)
        }
    }
}

impl Messaging {
    fn new(
        library: &Library,
        session: &Session,
        mechanism: &Mechanism,
        key: ObjectHandle,
        op: Ops,
        usage: AttributeType,
    ) -> Result<Self> {
        let row = mechanism.ty.row().filter(|row| session.token.chip.ops(row).contains(op));
        let row = row.ok_or(Error::MechanismInvalid)?;
        if mechanism.params != Params::None {
            return Err(Error::MechanismParamInvalid("the parameters come with each message"));
        }
        let key = key_for(session, key, Half::Public, usage, row)?;
        let counter = key.in_memory().then(|| Arc::clone(&key.messages));
        Ok(Self { key: Material::new(library, session, key)?, open: None, counter, first: None })
    }

    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        self.key.use_mut()
    }

    /// One message is over, and the login for it.
    fn want_login_again(&mut self) {
        if let Some(use_) = self.key.use_mut() {
            use_.want_login_again();
        }
    }

    /// Can a message begin, with this vector?
    fn check(&self, iv: &MessageIv) -> Result<()> {
        if self.open.is_some() {
            return Err(Error::OperationActive);
        }
        iv.check()?;
        match iv {
            MessageIv::Counter { .. } if self.counter.is_none() => {
                Err(Error::MechanismParamInvalid("a key in the TPM does not count: other processes may use it, too"))
            }
            MessageIv::Counter { start, .. } if self.first.as_ref().is_some_and(|first| first.len() != start.len()) => {
                Err(Error::MechanismParamInvalid("the vector has another length than the first one"))
            }
            _ => Ok(()),
        }
    }

    /// A message that is yet empty.
    fn message(&mut self, iv: MessageIv, associated: &[u8]) -> Result<Open> {
        self.check(&iv)?;
        let iv = match iv {
            MessageIv::Given(iv) => iv,
            MessageIv::Random { start, fixed_bits } => random_iv(&start, fixed_bits)?,
            MessageIv::Counter { start, fixed_bits, xor } => {
                let counter = self.counter.as_ref().ok_or(Error::OperationNotInitialized)?;
                counted_iv(self.first.get_or_insert(start), fixed_bits, xor, counter)?
            }
        };
        Ok(Open { iv, associated: associated.to_vec(), collected: Secret::zeroed(0) })
    }

    /// Starts a message that comes in parts; tells its initialisation vector.
    fn begin(&mut self, iv: MessageIv, associated: &[u8]) -> Result<Vec<u8>> {
        let message = self.message(iv, associated)?;
        Ok(self.open.insert(message).iv.clone())
    }
}

impl Open {
    fn collect(&mut self, part: &[u8], too_long: Error) -> Result<()> {
        if self.collected.len().saturating_add(part.len()) > MAX_WHOLE {
            return Err(too_long);
        }
        self.collected.extend(part);
        Ok(())
    }

    /// Encrypts what was collected and the last part.
    fn seal(
        &mut self,
        key: &Material,
        library: &Library,
        session: &Session,
        last: &[u8],
        tag_len: usize,
        output: Output<'_>,
    ) -> Result<Sealed> {
        check_tag(tag_len)?;
        let len = self.collected.len().saturating_add(last.len());
        if let Some(refusal) = output.refuse(len) {
            return refused(refusal).map(|len| Sealed { len, done: None });
        }
        self.collect(last, Error::DataLenRange)?;
        let sealed = key.aes(library, session, |key| {
            gcm_encrypt(key, &self.iv, &self.associated, self.collected.expose(), tag_len)
        })?;
        let sealed = sealed.map_err(|error| crypt_error(error, Direction::Encrypt))?;
        let (cipher, tag) = sealed.split_at_checked(len).ok_or(Error::DataLenRange)?;
        output.deliver(cipher);
        Ok(Sealed { len, done: Some((self.iv.clone(), tag.to_vec())) })
    }

    /// Decrypts what was collected and the last part. The message is over if it was.
    fn unseal(
        &mut self,
        key: &Material,
        library: &Library,
        session: &Session,
        last: &[u8],
        tag: &[u8],
        output: Output<'_>,
    ) -> Result<(bool, usize)> {
        check_tag(tag.len())?;
        let len = self.collected.len().saturating_add(last.len());
        if let Some(refusal) = output.refuse(len) {
            return refused(refusal).map(|len| (false, len));
        }
        self.collect(last, Error::EncryptedDataLenRange)?;
        self.collected.extend(tag);
        let plain = key.aes(library, session, |key| {
            gcm_decrypt(key, &self.iv, &self.associated, self.collected.expose(), tag.len())
        })?;
        let plain = plain.map_err(|error| crypt_error(error, Direction::Decrypt))?;
        output.deliver(plain.expose());
        Ok((true, len))
    }
}

fn check_tag(len: usize) -> Result<()> {
    let fits = matches!(len, 4 | 8 | 12..=16);
    if fits { Ok(()) } else { Err(Error::MechanismParamInvalid("a tag has 32, 64 or 96 to 128 bits")) }
}

/// A length query, or a buffer that is too short: the message stays as it is.
fn refused(refusal: Delivery) -> Result<usize> {
    match refusal {
        Delivery::Length(len) | Delivery::Written(len) => Ok(len),
        Delivery::TooSmall { needed } => Err(Error::BufferTooSmall { needed }),
    }
}

fn crypt_error(refused: Refused<Error>, direction: Direction) -> Error {
    match (refused, direction) {
        (Refused::Length, Direction::Encrypt) => Error::DataLenRange,
        (Refused::Length, Direction::Decrypt) => Error::EncryptedDataLenRange,
        (Refused::Integrity, _) => Error::AeadDecryptFailed,
        (Refused::Key(error), _) => error,
    }
}
