//! Signing with a private key (PKCS#11 v3.1 5.13).

use base::curve::Curve;
use model::{
    AttributeType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, Scheme, SessionHandle,
};

use super::mac::Coding;
use super::{Half, Input, KeyUse, Material, exact, key_for, plan, row, rsa};
use crate::library::Library;
use crate::objects::separation;
use crate::public_key::PublicKey;
use crate::slots::session::{Session, Step};
use crate::{Error, Result};

/// A signature in the making.
#[derive(Debug)]
pub(crate) struct Signing {
    key: SigningKey,
    row: &'static MechanismRow,
    params: Params,
    input: Input,
    /// A part came: the signature can no longer be asked for in one call.
    parts: bool,
}

#[derive(Debug)]
enum SigningKey {
    Pair { use_: KeyUse, public: PublicKey },
    Secret(Coding),
}

impl SigningKey {
    /// An empty input: a code takes the message itself, a signature its digest where the mechanism has a hash.
    fn input(&self, row: &MechanismRow) -> Input {
        match self {
            Self::Pair { .. } => Input::new(row),
            Self::Secret(_) => Input::collected(),
        }
    }
}

impl Library {
    /// `C_SignInit`. No TPM command.
    ///
    /// # Errors
    /// [`Error::OperationActive`], and whatever is wrong with mechanism, parameters or key: said here, not at the end.
    pub fn sign_init(&self, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        session.begin(|active| &mut active.sign, || Signing::new(self, &session, mechanism, key, Ops::SIGN))
    }

    /// `C_Sign`: one TPM command when the key is loaded; none for a length query or a short buffer.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::BufferTooSmall`], [`Error::DataLenRange`], [`Error::DataInvalid`],
    /// [`Error::UserNotLoggedIn`] when the key wants a login of its own, and what the TPM may answer.
    pub fn sign(&self, session: SessionHandle, data: &[u8], output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(
            |active| &mut active.sign,
            |signing| {
                if signing.parts {
                    return Step::Done(Err(Error::OperationActive));
                }
                signing.last(self, &session, data, output)
            },
        )
    }

    /// `C_SignUpdate`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`], [`Error::DataLenRange`].
    pub fn sign_update(&self, session: SessionHandle, part: &[u8]) -> Result<()> {
        self.session(session)?.step(
            |active| &mut active.sign,
            |signing| {
                signing.parts = true;
                match signing.input.add(part) {
                    Ok(()) => Step::Keep(Ok(())),
                    Err(error) => Step::Done(Err(error)),
                }
            },
        )
    }

    /// `C_SignFinal`.
    ///
    /// # Errors
    /// Those of [`Library::sign`].
    pub fn sign_final(&self, session: SessionHandle, output: Output<'_>) -> Result<usize> {
        let session = self.session(session)?;
        session.step(|active| &mut active.sign, |signing| exact(output, signing.len(), || signing.run(self, &session)))
    }
}

impl Signing {
    /// A signature by the mechanism, for `op`: one, or those of messages.
    pub(crate) fn new(
        library: &Library,
        session: &Session,
        mechanism: &Mechanism,
        key: ObjectHandle,
        op: Ops,
    ) -> Result<Self> {
        let row = row(session, mechanism, op)?;
        let key = key_for(session, key, Half::Private, AttributeType::SIGN, row)?;
        if !separation::may_sign(&key, row) {
            return Err(Error::KeyFunctionNotPermitted);
        }
        let params = mechanism.params.clone();
        let key = if key.class() == ObjectClass::SECRET_KEY {
            SigningKey::Secret(Coding::new(session, Material::new(library, session, key)?, row, &params)?)
        } else {
            let public = key.public_key()?;
            if let PublicKey::Rsa(public) = &public {
                plan::check_rsa(row, &params, public)?;
                rsa::check_sign(&session.token.chip, row, &params, public)?;
            }
            if let (PublicKey::Ec(public), Some(hash)) = (&public, row.hash)
                && !session.token.chip.can_ecdsa(public.curve(), hash)
            {
                return Err(Error::KeySizeRange);
            }
            SigningKey::Pair { use_: KeyUse::new(library, session, key)?, public }
        };
        let input = key.input(row);
        Ok(Self { key, row, params, input, parts: false })
    }

    /// Another signature with the same key begins; a key that wants a login for each wants one for this.
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

    /// The last part, or all, of the input, and the signature.
    pub(crate) fn last(
        &mut self,
        library: &Library,
        session: &Session,
        data: &[u8],
        output: Output<'_>,
    ) -> Step<usize> {
        exact(output, self.len(), || {
            self.input.add(data)?;
            self.run(library, session)
        })
    }

    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        match &mut self.key {
            SigningKey::Pair { use_, .. } => Some(use_),
            SigningKey::Secret(coding) => coding.key.use_mut(),
        }
    }

    /// Length of the signature in bytes.
    fn len(&self) -> usize {
        match &self.key {
            SigningKey::Pair { public, .. } => signature_len(public),
            SigningKey::Secret(coding) => coding.len(),
        }
    }

    fn run(&self, library: &Library, session: &Session) -> Result<Vec<u8>> {
        let input = self.input.finish();
        match &self.key {
            SigningKey::Pair { use_, public: PublicKey::Rsa(key) } => {
                rsa::sign((library, session), use_, key, self.row, &self.params, input.expose())
            }
            SigningKey::Pair { use_, public: PublicKey::Ec(key) } => {
                self.ecdsa(library, session, use_, key.curve(), input.expose())
            }
            SigningKey::Secret(coding) => Ok(coding.run(library, session, input.expose())?.expose().to_vec()),
        }
    }

    fn ecdsa(
        &self,
        library: &Library,
        session: &Session,
        use_: &KeyUse,
        curve: Curve,
        input: &[u8],
    ) -> Result<Vec<u8>> {
        debug_assert_eq!(self.row.scheme, Scheme::Ecdsa);
        let capabilities = &session.token.chip.capabilities;
        let (hash, digest) = plan::ecdsa_digest(curve, |hash| capabilities.has_hash(hash), input)?;
        let tpm = library.tpm()?;
        match use_.with(session, |key| tpm.sign(&key, hash, &digest, tpm::SignScheme::Ecdsa))? {
            tpm::Signature::Ecc { r, s } => {
                let len = curve.field_len();
                Ok([plan::left_pad(&r, len), plan::left_pad(&s, len)].concat())
            }
            tpm::Signature::Rsa(_) => {
                Err(Error::DeviceError("the TPM answered with another kind of signature".to_owned()))
            }
        }
    }
}

/// Length of a key's signatures: the modulus, or r and s (PKCS#11 mechanisms v3.1 2.3.1).
pub(super) fn signature_len(key: &PublicKey) -> usize {
    match key {
        PublicKey::Rsa(key) => key.modulus_len(),
        PublicKey::Ec(key) => 2 * key.curve().field_len(),
    }
}
