//! Encrypting: with a public key in software, without a TPM command; with a secret key where that is (PKCS#11 v3.1 5.8).

use base::aes::Direction;
use base::pad::{PadError, oaep_encode, pkcs1_encrypt_block};
use base::rsa::RsaPublic;
use model::{
    AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, Scheme, SessionHandle,
};

use super::cipher::Ciphering;
use super::{Half, Input, KeyUse, Material, exact, key_for, plan, row};
use crate::library::Library;
use crate::public_key::PublicKey;
use crate::slots::session::Step;
use crate::{Error, Result};

/// An encryption in the making.
#[derive(Debug)]
pub(crate) enum Encrypting {
    Rsa(RsaEncrypting),
    Aes(Ciphering),
}

/// An encryption with a public key.
#[derive(Debug)]
pub(crate) struct RsaEncrypting {
    row: &'static MechanismRow,
    params: Params,
    key: RsaPublic,
    input: Input,
    parts: bool,
}

impl Library {
    /// `C_EncryptInit`.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism, parameters or key.
    pub fn encrypt_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.encrypt,
            || {
                let row = row(&session, mechanism, Ops::ENCRYPT)?;
                let key = key_for(&session, key, Half::Public, AttributeType::ENCRYPT, row)?;
                if key.class() == ObjectClass::SECRET_KEY {
                    let material = Material::new(self, &session, key)?;
                    let ciphering = Ciphering::new(&session, material, Direction::Encrypt, row, &mechanism.params)?;
                    return Ok(Encrypting::Aes(ciphering));
                }
                let PublicKey::Rsa(key) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                plan::check_rsa(row, &mechanism.params, &key)?;
                let params = mechanism.params.clone();
                Ok(Encrypting::Rsa(RsaEncrypting { row, params, key, input: Input::new(row), parts: false }))
            },
        )
    }

    /// `C_Encrypt`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::DataLenRange`], [`Error::DataInvalid`].
    pub fn encrypt(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.encrypt,
            |encrypting| match encrypting {
                Encrypting::Aes(ciphering) => ciphering.once(self, &session, data, output),
                Encrypting::Rsa(encrypting) if encrypting.parts => Step::Done(Err(Error::OperationActive)),
                Encrypting::Rsa(encrypting) => exact(output, encrypting.key.modulus_len(), || {
                    encrypting.input.add(data)?;
                    encrypting.run()
                }),
            },
        )
    }

    /// `C_EncryptUpdate`. RSA takes one block: its parts are collected, and nothing is written yet.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::DataLenRange`].
    pub fn encrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.encrypt,
            |encrypting| match encrypting {
                Encrypting::Aes(ciphering) => ciphering.update(self, &session, part, output),
                Encrypting::Rsa(_) if output.room().is_none() => Step::Keep(Ok(part.len())),
                Encrypting::Rsa(encrypting) => {
                    encrypting.parts = true;
                    match encrypting.input.add(part) {
                        Ok(()) => Step::Keep(Ok(0)),
                        Err(error) => Step::Done(Err(error)),
                    }
                }
            },
        )
    }

    /// `C_EncryptFinal`.
    ///
    /// # Errors
    /// Those of [`Library::encrypt`].
    pub fn encrypt_final(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.encrypt,
            |encrypting| match encrypting {
                Encrypting::Aes(ciphering) => ciphering.finish(self, &session, output),
                Encrypting::Rsa(encrypting) => exact(output, encrypting.key.modulus_len(), || encrypting.run()),
            },
        )
    }
}

impl Encrypting {
    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        match self {
            Encrypting::Rsa(_) => None,
            Encrypting::Aes(ciphering) => ciphering.key.use_mut(),
        }
    }

    /// Is it done with a secret key?
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Encrypting::Aes(_))
    }
}

impl RsaEncrypting {
    fn run(&self) -> Result<Vec<u8>> {
        rsa_encrypt(self.row, &self.params, &self.key, self.input.finish().expose())
    }
}

/// RSA encryption of one block (RFC 8017 7).
pub(crate) fn rsa_encrypt(row: &MechanismRow, params: &Params, key: &RsaPublic, input: &[u8]) -> Result<Vec<u8>> {
    let k = key.modulus_len();
    let block = match (row.scheme, params) {
        (Scheme::RsaRaw, _) => plan::raw_block(key, input)?,
        (Scheme::RsaPkcs1, _) => pkcs1_encrypt_block(input, k).map_err(pad_error)?.expose().to_vec(),
        (Scheme::RsaOaep, Params::Oaep { hash, mgf, label }) => {
            oaep_encode(input, *hash, *mgf, label, k).map_err(pad_error)?
        }
        _ => return Err(Error::MechanismInvalid),
    };
    key.raw(&block).map_err(|_| Error::DataInvalid("it is not below the modulus"))
}

fn pad_error(error: PadError) -> Error {
    match error {
        PadError::TooLong | PadError::DigestLength => Error::DataLenRange,
        _ => Error::General("the operating system's random generator failed".to_owned()),
    }
}
