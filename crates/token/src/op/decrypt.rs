//! Decrypting with a private key (PKCS#11 v3.1 5.10).

use base::Secret;
use base::digest::Hash;
use base::rsa::RsaPublic;
use model::{AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, SessionHandle};

use super::{Input, KeyUse, delivered, key_for, plan, row};
use crate::library::Library;
use crate::public_key::PublicKey;
use crate::session::{Session, Step};
use crate::{Error, Result};

/// A decryption in the making.
#[derive(Debug)]
pub(crate) struct Decrypting {
    pub(crate) use_: KeyUse,
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
                let key = key_for(&session, key, ObjectClass::PRIVATE_KEY, AttributeType::DECRYPT, row)?;
                let PublicKey::Rsa(public) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                plan::check_rsa(row, &mechanism.params, &public)?;
                let use_ = KeyUse::new(self, &session, key)?;
                let params = mechanism.params.clone();
                Ok(Decrypting { use_, row, params, key: public, input: Input::new(row), parts: false, kept: None })
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
            |decrypting| {
                if decrypting.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                decrypting.answer(self, &session, cipher, output)
            },
        )
    }

    /// `C_DecryptUpdate`: the mechanisms take one block, so parts are collected and nothing is written yet.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::EncryptedDataLenRange`].
    pub fn decrypt_update(&self, session: SessionHandle, part: &[u8], output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.decrypt,
            |decrypting| {
                if output.room().is_none() {
                    return Step::Keep(Ok(0));
                }
                decrypting.parts = true;
                match decrypting.input.add(part) {
                    Ok(()) => Step::Keep(Ok(0)),
                    Err(_) => Step::Done(Err(Error::EncryptedDataLenRange)),
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
            |decrypting| {
                let cipher = decrypting.input.finish();
                decrypting.answer(self, &session, cipher.expose(), output)
            },
        )
    }
}

impl Decrypting {
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

    fn run(&self, library: &Library, session: &Session, cipher: &[u8]) -> Result<Secret> {
        if cipher.len() != self.key.modulus_len() {
            return Err(Error::EncryptedDataLenRange);
        }
        if !plan::below_modulus(&self.key, cipher) {
            return Err(Error::EncryptedDataInvalid);
        }
        let tpm = library.tpm()?;
        let block = self.use_.with(session, |key| tpm.rsa_decrypt(&key, tpm::DecryptScheme::Raw, cipher))?;
        let rejection = Hash::Sha256.hmac(self.use_.auth.expose(), &[b"tpm2-cryptoki 1 implicit rejection"]);
        plan::unpad(self.row.scheme, &self.params, block, rejection.expose(), cipher)
    }
}
