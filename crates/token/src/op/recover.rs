//! Signatures that hold their data (PKCS#11 v3.1 5.13.5, 5.15.5): RSA alone.

use base::rsa::RsaPublic;
use model::{AttributeType, Mechanism, MechanismRow, ObjectHandle, Ops, Output, Params, Scheme, SessionHandle};

use super::{Half, KeyUse, exact, key_for, row, rsa};
use crate::library::Library;
use crate::objects::separation;
use crate::public_key::PublicKey;
use crate::slots::session::Step;
use crate::{Error, Result};

/// A signature with recovery in the making.
#[derive(Debug)]
pub(crate) struct SignRecovering {
    pub(crate) use_: KeyUse,
    row: &'static MechanismRow,
    key: RsaPublic,
}

/// A signature that is opened.
#[derive(Debug)]
pub(crate) struct Recovering {
    row: &'static MechanismRow,
    key: RsaPublic,
}

impl Library {
    /// `C_SignRecoverInit`.
    ///
    /// # Errors
    /// Those of [`Library::sign_init`].
    pub fn sign_recover_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.sign_recover,
            || {
                let row = row(&session, mechanism, Ops::SIGN_RECOVER)?;
                let key = key_for(&session, key, Half::Private, AttributeType::SIGN_RECOVER, row)?;
                if !separation::may_sign(&key, row) {
                    return Err(Error::KeyFunctionNotPermitted);
                }
                let PublicKey::Rsa(public) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                rsa::check_sign(&session.token.chip, row, &Params::None, &public)?;
                Ok(SignRecovering { use_: KeyUse::new(self, &session, key)?, row, key: public })
            },
        )
    }

    /// `C_SignRecover`.
    ///
    /// # Errors
    /// Those of [`Library::sign`].
    pub fn sign_recover(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.sign_recover,
            |signing| {
                exact(output, signing.key.modulus_len(), || {
                    rsa::sign((self, &session), &signing.use_, &signing.key, signing.row, &Params::None, data)
                })
            },
        )
    }

    /// `C_VerifyRecoverInit`.
    ///
    /// # Errors
    /// Those of [`Library::verify_init`].
    pub fn verify_recover_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.recover,
            || {
                let row = row(&session, mechanism, Ops::VERIFY_RECOVER)?;
                let key = key_for(&session, key, Half::Public, AttributeType::VERIFY_RECOVER, row)?;
                let PublicKey::Rsa(key) = key.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                Ok(Recovering { row, key })
            },
        )
    }

    /// `C_VerifyRecover`: the data that the signature holds. No TPM command.
    ///
    /// # Errors
    /// [`Error::SignatureInvalid`], [`Error::SignatureLenRange`], [`Error::BufferTooSmall`].
    pub fn verify_recover(&self, session: SessionHandle, signature: &[u8], output: Output<'_>) -> Result<usize> {
        self.session(session)?.step(
            |active| &mut active.recover,
            |recovering| match recovering.open(signature) {
                Ok(data) => super::delivered(output.deliver(&data)),
                Err(error) => Step::Done(Err(error)),
            },
        )
    }
}

impl Recovering {
    fn open(&self, signature: &[u8]) -> Result<Vec<u8>> {
        if signature.len() != self.key.modulus_len() {
            return Err(Error::SignatureLenRange);
        }
        let block = self.key.raw(signature).map_err(|_| Error::SignatureInvalid)?;
        match self.row.scheme {
            Scheme::RsaRaw => Ok(block),
            Scheme::RsaPkcs1 => signed_data(&block).ok_or(Error::SignatureInvalid),
            _ => Err(Error::MechanismInvalid),
        }
    }
}

/// The T of a block 00 01 FF..FF 00 T, with at least eight FF (RFC 8017 9.2). Everything in it is public.
fn signed_data(block: &[u8]) -> Option<Vec<u8>> {
    let rest = block.strip_prefix(&[0, 1])?;
    let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
    let (fill, data) = rest.split_at_checked(fill)?;
    (fill.len() >= 8).then(|| data.strip_prefix(&[0]).map(<[u8]>::to_vec))?
}
