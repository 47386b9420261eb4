//! Encrypting with a public key, in software: no TPM command (PKCS#11 v3.1 5.8).

use base::pad::{PadError, oaep_encode, pkcs1_encrypt_block};
use base::rsa::RsaPublic;
use model::{
    AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, Scheme, SessionHandle,
};

use super::{Input, exact, key_for, plan, row};
use crate::library::Library;
use crate::public_key::PublicKey;
use crate::session::Step;
use crate::{Error, Result};

/// An encryption in the making.
#[derive(Debug)]
pub(crate) struct Encrypting {
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
                let key = key_for(&session, key, ObjectClass::PUBLIC_KEY, AttributeType::ENCRYPT, row)?;
                let PublicKey::Rsa(key) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                plan::check_rsa(row, &mechanism.params, &key)?;
                Ok(Encrypting { row, params: mechanism.params.clone(), key, input: Input::new(row), parts: false })
            },
        )
    }

    /// `C_Encrypt`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::DataLenRange`], [`Error::DataInvalid`].
    pub fn encrypt(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.encrypt,
            |encrypting| {
                if encrypting.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                exact(output, encrypting.key.modulus_len(), || {
                    encrypting.input.add(data)?;
                    encrypting.run()
                })
            },
        )
    }

    /// `C_EncryptUpdate`: the mechanisms take one block, so parts are collected and nothing is written yet.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::DataLenRange`].
    pub fn encrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.encrypt,
            |encrypting| {
                if output.room().is_none() {
                    return Step::Keep(Ok(0));
                }
                encrypting.parts = true;
                match encrypting.input.add(part) {
                    Ok(()) => Step::Keep(Ok(0)),
                    Err(error) => Step::Done(Err(error)),
                }
            },
        )
    }

    /// `C_EncryptFinal`.
    ///
    /// # Errors
    /// Those of [`Library::encrypt`].
    pub fn encrypt_final(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.encrypt,
            |encrypting| exact(output, encrypting.key.modulus_len(), || encrypting.run()),
        )
    }
}

impl Encrypting {
    fn run(&self) -> Result<Vec<u8>> {
        let input = self.input.finish();
        let k = self.key.modulus_len();
        let block = match (self.row.scheme, &self.params) {
            (Scheme::RsaRaw, _) => plan::raw_block(&self.key, input.expose())?,
            (Scheme::RsaPkcs1, _) => pkcs1_encrypt_block(input.expose(), k).map_err(pad_error)?.expose().to_vec(),
            (Scheme::RsaOaep, Params::Oaep { hash, mgf, label }) => {
                oaep_encode(input.expose(), *hash, *mgf, label, k).map_err(pad_error)?
            }
            _ => return Err(Error::MechanismInvalid),
        };
        self.key.raw(&block).map_err(|_| Error::DataInvalid("it is not below the modulus"))
    }
}

fn pad_error(error: PadError) -> Error {
    match error {
        PadError::TooLong | PadError::DigestLength => Error::DataLenRange,
        _ => Error::General("the operating system's random generator failed".to_owned()),
    }
}
