//! `C_EncapsulateKey` and `C_DecapsulateKey` (PKCS#11 v3.2 5.18): a secret key for the holder of a private key, and a ciphertext that it
//! gets the same key from. With Diffie-Hellman the ciphertext is the point of a key of the moment; with RSA it is the encrypted key, and
//! to decapsulate is to unwrap.

use base::Secret;
use base::ecdh::with_ephemeral;
use model::{
    AttributeType, Attributes, KeyType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Output, Params, Rule,
    Scheme, Scope, SessionHandle, Template, Value,
};

use super::derive::{ecdh_key, ecdh_len, wanted_len};
use super::wrap::{delivered, range_of_key, wrapped_error, wrapping_error};
use super::{Half, RsaDecrypting, key_for, plan, row, rsa_encrypt};
use crate::library::Library;
use crate::object::Object;
use crate::objects::secret::{Origin, settle_secret};
use crate::objects::separation;
use crate::public_key::PublicKey;
use crate::slots::session::Session;
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `C_EncapsulateKey`: in software, without a TPM command unless the new key is a token object. The length of the ciphertext, and
    /// the key: none was made where only the length was asked for.
    ///
    /// # Errors
    /// [`Error::KeyFunctionNotPermitted`] for a public key that does not encapsulate, [`Error::BufferTooSmall`],
    /// [`Error::TemplateIncomplete`] where nothing says how long the key is to be, and the template errors.
    pub fn encapsulate_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        public: ObjectHandle,
        template: &Template,
        output: Output<'_>,
    ) -> Result<(usize, Option<ObjectHandle>)> {
        let session = self.session(session)?;
        let row = row(&session, mechanism, Ops::ENCAPSULATE)?;
        check_params(&mechanism.params)?;
        let public = key_for(&session, public, Half::Public, AttributeType::ENCAPSULATE, row)?;
        let (mut attributes, key_type, wanted) = self.shared_key(template)?;
        match (public.public_key()?, &mechanism.params) {
            (PublicKey::Ec(theirs), Params::Ecdh { kdf, shared, .. }) => {
                let len = ecdh_len(*kdf, theirs.curve(), wanted)?;
                self.settle_shared(&session, &mut attributes, key_type, Some(len))?;
                if let Some(delivery) = output.refuse(theirs.point().len()) {
                    return delivered(delivery).map(|len| (len, None));
                }
                let (ours, z) = with_ephemeral(&theirs)?;
                let key = self.new_secret(&session, attributes, ecdh_key(*kdf, &z, shared, len))?;
                delivered(output.deliver(&ours.point())).map(|len| (len, Some(key)))
            }
            (PublicKey::Rsa(theirs), params) => {
                let len = wanted.ok_or(Error::TemplateIncomplete(AttributeType::VALUE_LEN))?;
                plan::check_rsa(row, params, &theirs)?;
                if len > plan::max_plain(row.scheme, params, theirs.modulus_len()) {
                    return Err(Error::KeySizeRange);
                }
                self.settle_shared(&session, &mut attributes, key_type, Some(len))?;
                if let Some(delivery) = output.refuse(theirs.modulus_len()) {
                    return delivered(delivery).map(|len| (len, None));
                }
                let value = Secret::new(base::random::bytes(len)?);
                let cipher = rsa_encrypt(row, params, &theirs, value.expose()).map_err(range_of_key)?;
                let key = self.new_secret(&session, attributes, value)?;
                delivered(output.deliver(&cipher)).map(|len| (len, Some(key)))
            }
            _ => Err(Error::KeyTypeInconsistent),
        }
    }

    /// `C_DecapsulateKey`: one TPM command when the private key is loaded.
    ///
    /// # Errors
    /// [`Error::KeyFunctionNotPermitted`] for a private key that does not decapsulate, [`Error::WrappedKeyInvalid`],
    /// [`Error::WrappedKeyLenRange`], and the template errors.
    pub fn decapsulate_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        private: ObjectHandle,
        template: &Template,
        cipher: &[u8],
    ) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let row = row(&session, mechanism, Ops::DECAPSULATE)?;
        check_params(&mechanism.params)?;
        let private = key_for(&session, private, Half::Private, AttributeType::DECAPSULATE, row)
            .map_err(|error| wrapping_error(error, false))?;
        let (mut attributes, key_type, wanted) = self.shared_key(template)?;
        guard(&mut attributes, template, row, &private)?;
        self.settle_shared(&session, &mut attributes, key_type, wanted)?;
        let value = match (private.public_key()?, &mechanism.params) {
            (PublicKey::Ec(_), Params::Ecdh { kdf, shared, .. }) => {
                let params = Params::Ecdh { kdf: *kdf, shared: shared.clone(), public: cipher.to_vec() };
                self.derived_value(&session, row, &params, private, wanted).map_err(|error| match error {
                    Error::MechanismParamInvalid(_) => Error::WrappedKeyInvalid,
                    error => error,
                })?
            }
            (PublicKey::Rsa(public), params) => {
                let decrypting = RsaDecrypting::new(self, &session, row, params.clone(), private, public)?;
                let value = decrypting.run(self, &session, cipher).map_err(wrapped_error)?;
                if wanted.is_some_and(|len| len != value.len()) {
                    return Err(Error::WrappedKeyLenRange);
                }
                value
            }
            _ => return Err(Error::UnwrappingKeyTypeInconsistent),
        };
        self.new_secret(&session, attributes, value).map_err(|error| match error {
            Error::KeySizeRange => Error::WrappedKeyLenRange,
            error => error,
        })
    }

    /// What a template asks of the key that both sides get.
    fn shared_key(&self, template: &Template) -> Result<(Attributes, KeyType, Option<usize>)> {
        let mut attributes = template::start(Scope::SECRET, Rule::GENERATE, template)?;
        let key_type = attributes.ulong(AttributeType::KEY_TYPE).map_or(KeyType::GENERIC_SECRET, KeyType);
        if Scope::of(ObjectClass::SECRET_KEY, Some(key_type)).is_none() {
            return Err(Error::AttributeValueInvalid(AttributeType::KEY_TYPE));
        }
        // It can be extracted if nobody says otherwise, but for one that stays in the TPM.
        if template.value(AttributeType::EXTRACTABLE)?.is_none() && !attributes.is_true(AttributeType::TOKEN) {
            attributes.set(AttributeType::EXTRACTABLE, Value::Bool(true));
        }
        let wanted = wanted_len(&attributes)?;
        Ok((attributes, key_type, wanted))
    }

    /// Completes the attributes; what is wrong with them is said before the work is done.
    fn settle_shared(
        &self,
        session: &Session,
        attributes: &mut Attributes,
        key_type: KeyType,
        len: Option<usize>,
    ) -> Result<()> {
        settle_secret(attributes, key_type, Origin::Outside, self.config().strict_templates)?;
        self.check_new_secret(session, attributes, key_type, len)
    }
}

/// The point of the other side is the ciphertext, and not in the parameter.
fn check_params(params: &Params) -> Result<()> {
    match params {
        Params::Ecdh { public, .. } if !public.is_empty() => {
            Err(Error::MechanismParamInvalid("the point is the ciphertext, and not in the parameter"))
        }
        _ => Ok(()),
    }
}

/// The key is guarded as what comes of the private key in another way.
fn guard(attributes: &mut Attributes, template: &Template, row: &MechanismRow, private: &Object) -> Result<()> {
    match row.scheme {
        Scheme::Ecdh => separation::hand_on(attributes, template, row, &[private]),
        _ => separation::unwrapped(attributes, template, private),
    }
}
