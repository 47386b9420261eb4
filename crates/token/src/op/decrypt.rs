//! Decrypting with a private or a secret key (PKCS#11 v3.1 5.10).

use std::sync::Arc;

use base::Secret;
use base::aes::Direction;
use base::rsa::RsaPublic;
use model::{AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, SessionHandle};

use super::cipher::Ciphering;
use super::{Half, Input, KeyUse, Material, delivered, key_for, plan, row, rsa};
use crate::library::Library;
use crate::object::Object;
use crate::public_key::PublicKey;
use crate::slots::session::{Session, Step};
use crate::{Error, Result};

/// A decryption in the making.
#[derive(Debug)]
pub(crate) enum Decrypting {
    Rsa(RsaDecrypting),
    Aes(Ciphering),
}

/// A decryption with a private key.
#[derive(Debug)]
pub(crate) struct RsaDecrypting {
    use_: KeyUse,
    row: &'static MechanismRow,
    params: Params,
    key: RsaPublic,
    input: Input,
    parts: bool,
    /// A result that did not fit the caller's buffer: delivered by the next call, without asking the TPM again.
    kept: Option<(Vec<u8>, Secret)>,
}

impl Library {
    /// `C_DecryptInit`. No TPM command.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism, parameters or key.
    pub fn decrypt_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.decrypt,
            || {
                let row = row(&session, mechanism, Ops::DECRYPT)?;
                let key = key_for(&session, key, Half::Private, AttributeType::DECRYPT, row)?;
                if key.class() == ObjectClass::SECRET_KEY {
                    let material = Material::new(self, &session, key)?;
                    let ciphering = Ciphering::new(&session, material, Direction::Decrypt, row, &mechanism.params)?;
                    return Ok(Decrypting::Aes(ciphering));
                }
                let PublicKey::Rsa(public) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                plan::check_rsa(row, &mechanism.params, &public)?;
                RsaDecrypting::new(self, &session, row, mechanism.params.clone(), key, public).map(Decrypting::Rsa)
            },
        )
    }

    /// `C_Decrypt`: one TPM command when the key is loaded; none for a length query, which answers the longest result.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::EncryptedDataLenRange`],
    /// [`Error::EncryptedDataInvalid`]: never for PKCS #1 v1.5 padding, where a bad block decrypts to random bytes.
    pub fn decrypt(&self, session: SessionHandle, cipher: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.decrypt,
            |decrypting| match decrypting {
                Decrypting::Aes(ciphering) => ciphering.once(self, &session, cipher, output),
                Decrypting::Rsa(decrypting) if decrypting.parts => Step::Done(Err(Error::OperationActive)),
                Decrypting::Rsa(decrypting) => decrypting.answer(self, &session, cipher, output),
            },
        )
    }

    /// `C_DecryptUpdate`. RSA takes one block: its parts are collected, and nothing is written yet.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::EncryptedDataLenRange`].
    pub fn decrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.decrypt,
            |decrypting| match decrypting {
                Decrypting::Aes(ciphering) => ciphering.update(self, &session, part, output),
                Decrypting::Rsa(_) if output.room().is_none() => Step::Keep(Ok(part.len())),
                Decrypting::Rsa(decrypting) => {
                    decrypting.parts = true;
                    match decrypting.input.add(part) {
                        Ok(()) => Step::Keep(Ok(0)),
                        Err(_) => Step::Done(Err(Error::EncryptedDataLenRange)),
                    }
                }
            },
        )
    }

    /// `C_DecryptFinal`.
    ///
    /// # Errors
    /// Those of [`Library::decrypt`].
    pub fn decrypt_final(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.decrypt,
            |decrypting| match decrypting {
                Decrypting::Aes(ciphering) => ciphering.finish(self, &session, output),
                Decrypting::Rsa(decrypting) => {
                    let cipher = decrypting.input.finish();
                    decrypting.answer(self, &session, cipher.expose(), output)
                }
            },
        )
    }
}

impl Decrypting {
    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        match self {
            Decrypting::Rsa(decrypting) => Some(&mut decrypting.use_),
            Decrypting::Aes(ciphering) => ciphering.key.use_mut(),
        }
    }
}

impl RsaDecrypting {
    pub(crate) fn new(
        library: &Library,
        session: &Session,
        row: &'static MechanismRow,
        params: Params,
        key: Arc<Object>,
        public: RsaPublic,
    ) -> Result<Self> {
        rsa::check_decrypt(&session.token.chip, row, &params)?;
        let use_ = KeyUse::new(library, session, key)?;
        Ok(Self { use_, row, params, key: public, input: Input::new(row), parts: false, kept: None })
    }

    fn answer(&mut self, library: &Library, session: &Session, cipher: &[u8], output: Output<'_>) -> Step<usize> {
        if output.room().is_none() {
            let longest = plan::max_plain(self.row.scheme, &self.params, self.key.modulus_len());
            let known = self.kept.as_ref().filter(|(of, _)| of == cipher).map(|(_, plain)| plain.len());
            return Step::Keep(Ok(known.unwrap_or(longest)));
        }
        let plain = match self.kept.take().filter(|(of, _)| of == cipher) {
            Some((_, plain)) => plain,
            None => match self.run(library, session, cipher) {
                Ok(plain) => plain,
                Err(error) => return Step::Done(Err(error)),
            },
        };
        let step = delivered(output.deliver(plain.expose()));
        if matches!(step, Step::Keep(_)) {
            self.kept = Some((cipher.to_vec(), plain));
        }
        step
    }

    /// Decrypts one block.
    pub(crate) fn run(&self, library: &Library, session: &Session, cipher: &[u8]) -> Result<Secret> {
        if cipher.len() != self.key.modulus_len() {
            return Err(Error::EncryptedDataLenRange);
        }
        if !plan::below_modulus(&self.key, cipher) {
            return Err(Error::EncryptedDataInvalid);
        }
        rsa::decrypt((library, session), &self.use_, self.row, &self.params, cipher)
    }
}
