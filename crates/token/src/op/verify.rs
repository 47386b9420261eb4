//! Verifying: with a public key in software, without a TPM command; with a secret key where that is (PKCS#11 v3.1 5.15).

use base::Secret;
use base::pad::{pkcs1_sign_check, pss_verify};
use base::rsa::RsaPublic;
use model::{AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Params, Scheme, SessionHandle};

use super::mac::Coding;
use super::sign::signature_len;
use super::{Half, Input, KeyUse, Material, key_for, plan, row};
use crate::library::Library;
use crate::public_key::PublicKey;
use crate::slots::session::{Session, Step};
use crate::{Error, Result};

/// A signature being checked.
#[derive(Debug)]
pub(crate) struct Verifying {
    row: &'static MechanismRow,
    params: Params,
    key: VerifyingKey,
    input: Input,
    parts: bool,
}

#[derive(Debug)]
enum VerifyingKey {
    Public(PublicKey),
    Secret(Coding),
}

impl VerifyingKey {
    /// An empty input: a code takes the message itself, a signature its digest where the mechanism has a hash.
    fn input(&self, row: &MechanismRow) -> Input {
        match self {
            Self::Public(_) => Input::new(row),
            Self::Secret(_) => Input::collected(),
        }
    }
}

impl Library {
    /// `C_VerifyInit`.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism, parameters or key.
    pub fn verify_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(|active| &mut active.verify, || Verifying::new(self, &session, mechanism, key, Ops::VERIFY))
    }

    /// `C_Verify`. The operation is over whatever the answer.
    ///
    /// # Errors
    /// [`Error::SignatureInvalid`], [`Error::SignatureLenRange`], [`Error::DataLenRange`],
    /// [`Error::OperationNotInitialized`].
    pub fn verify(&self, session: SessionHandle, data: &[u8], signature: &[u8]) -> Result<()> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.verify,
            |verifying| {
                if verifying.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                Step::Done(verifying.last(self, &session, data, signature))
            },
        )
    }

    /// `C_VerifyUpdate`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::DataLenRange`].
    pub fn verify_update(&self, session: SessionHandle, part: &[u8]) -> Result<()> {
        self.session(session)?.step(
            |active| &mut active.verify,
            |verifying| {
                verifying.parts = true;
                match verifying.input.add(part) {
                    Ok(()) => Step::Keep(Ok(())),
                    Err(error) => Step::Done(Err(error)),
                }
            },
        )
    }

    /// `C_VerifyFinal`.
    ///
    /// # Errors
    /// Those of [`Library::verify`].
    pub fn verify_final(&self, session: SessionHandle, signature: &[u8]) -> Result<()> {
        let session = self.session(session)?;
        session.step(|active| &mut active.verify, |verifying| Step::Done(verifying.check(self, &session, signature)))
    }
}

/// A signature of two numbers may come without their leading zeros, as long as both have the same length (PKCS#11
/// mechanisms v3.1 2.3.1).
fn full_length(signature: &[u8], len: usize) -> Result<Vec<u8>> {
    if signature.is_empty() || !signature.len().is_multiple_of(2) || signature.len() > len {
        return Err(Error::SignatureLenRange);
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    Ok([plan::left_pad(r, len / 2), plan::left_pad(s, len / 2)].concat())
}

impl Verifying {
    /// A check by the mechanism, for `op`: of one signature, or of those of messages.
    pub(crate) fn new(
        library: &Library,
        session: &Session,
        mechanism: &Mechanism,
        key: ObjectHandle,
        op: Ops,
    ) -> Result<Self> {
        let row = row(session, mechanism, op)?;
        let key = key_for(session, key, Half::Public, AttributeType::VERIFY, row)?;
        let params = mechanism.params.clone();
        let key = if key.class() == ObjectClass::SECRET_KEY {
            VerifyingKey::Secret(Coding::new(session, Material::new(library, session, key)?, row, &params)?)
        } else {
            let public = key.public_key()?;
            if let PublicKey::Rsa(public) = &public {
                plan::check_rsa(row, &params, public)?;
            }
            VerifyingKey::Public(public)
        };
        let input = key.input(row);
        Ok(Self { row, params, key, input, parts: false })
    }

    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        match &mut self.key {
            VerifyingKey::Public(_) => None,
            VerifyingKey::Secret(coding) => coding.key.use_mut(),
        }
    }

    /// Another signature is checked with the same key.
    pub(crate) fn start_anew(&mut self) {
        self.input = self.key.input(self.row);
        if let Some(use_) = self.use_mut() {
            use_.want_login_again();
        }
    }

    /// A part of the input.
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<()> {
        self.input.add(part)
    }

    /// The last part, or all, of the input, and whether the signature is its.
    pub(crate) fn last(&mut self, library: &Library, session: &Session, data: &[u8], signature: &[u8]) -> Result<()> {
        self.input.add(data)?;
        self.check(library, session, signature)
    }

    /// Is it done with a secret key?
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.key, VerifyingKey::Secret(_))
    }

    fn check(&self, library: &Library, session: &Session, signature: &[u8]) -> Result<()> {
        let len = match &self.key {
            VerifyingKey::Public(key) => signature_len(key),
            VerifyingKey::Secret(coding) => coding.len(),
        };
        let signature = &match &self.key {
            VerifyingKey::Public(PublicKey::Ec(_)) => full_length(signature, len)?,
            _ if signature.len() == len => signature.to_vec(),
            _ => return Err(Error::SignatureLenRange),
        };
        let input = self.input.finish();
        let good = match &self.key {
            VerifyingKey::Public(PublicKey::Ec(key)) => key.verify(input.expose(), signature),
            VerifyingKey::Public(PublicKey::Rsa(key)) => self.rsa(key, input.expose(), signature)?,
            // Secrets compare in constant time.
            VerifyingKey::Secret(coding) => {
                coding.run(library, session, input.expose())? == Secret::copy_from(signature)
            }
        };
        if good { Ok(()) } else { Err(Error::SignatureInvalid) }
    }

    fn rsa(&self, key: &RsaPublic, input: &[u8], signature: &[u8]) -> Result<bool> {
        let Ok(block) = key.raw(signature) else { return Ok(false) };
        Ok(match (self.row.scheme, &self.params) {
            (Scheme::RsaPkcs1, _) => pkcs1_sign_check(&block, &plan::digest_info(self.row, input)),
            (Scheme::RsaRaw, _) => plan::raw_block(key, input)? == block,
            (Scheme::RsaPss, Params::Pss { hash, mgf, salt_len }) => {
                plan::check_digest(*hash, input)?;
                let em_bits = key.modulus_bits() - 1;
                // A modulus of 8n+1 bits has a block one byte longer than the encoded message; that byte must be zero.
                let (head, em) = block.split_at(block.len() - em_bits.div_ceil(8));
                head.iter().all(|byte| *byte == 0) && pss_verify(em, input, *hash, *mgf, *salt_len, em_bits)
            }
            _ => return Err(Error::MechanismInvalid),
        })
    }
}
