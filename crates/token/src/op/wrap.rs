//! `C_WrapKey` and `C_UnwrapKey` (PKCS#11 v3.1 5.18.3, 5.18.4).

use base::aes::Direction;
use base::private::PrivateKey;
use model::{
    AttributeType, Delivery, KeyType, Mechanism, ObjectClass, ObjectHandle, Ops, Output, Rule, Scope, SessionHandle,
    Template, Value,
};

use crate::library::Library;
use crate::objects::create::check_key_info;
use crate::objects::keygen::protect;
use crate::objects::secret::{Origin, settle_secret};
use crate::objects::separation;
use crate::op::{self, Ciphering, Half, Material, RsaDecrypting, rsa_encrypt};
use crate::public_key::PublicKey;
use crate::slots::session::{Session, Step};
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `C_WrapKey`: secrets in memory that may be extracted. What is in the TPM stays there.
    ///
    /// # Errors
    /// [`Error::KeyUnextractable`], [`Error::KeyNotWrappable`] under a key that is not trusted when only such may wrap it,
    /// or that could decrypt what it wraps,
    /// [`Error::WrappingKeyHandleInvalid`], [`Error::WrappingKeyTypeInconsistent`], [`Error::BufferTooSmall`].
    pub fn wrap_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        wrapping: ObjectHandle,
        key: ObjectHandle,
        output: Output<'_>,
    ) -> Result<usize> {
        let session = self.session(session)?;
        let row = op::row(&session, mechanism, Ops::WRAP)?;
        let wrapping = op::key_for(&session, wrapping, Half::Public, AttributeType::WRAP, row)
            .map_err(|e| wrapping_error(e, true))?;
        let key = session.token.meant(key)?.ok_or(Error::KeyHandleInvalid)?;
        if !matches!(key.class(), ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY) {
            return Err(Error::KeyNotWrappable);
        }
        if !key.attributes.is_true(AttributeType::EXTRACTABLE) || !key.in_memory() {
            return Err(Error::KeyUnextractable);
        }
        if !separation::may_wrap(&session.token, &wrapping, &key)? {
            return Err(Error::KeyNotWrappable);
        }
        let value = Material::value(self, &session, &key)?;
        if wrapping.class() == ObjectClass::SECRET_KEY {
            let material = Material::new(self, &session, wrapping)?;
            let mut ciphering = Ciphering::new(&session, material, Direction::Encrypt, row, &mechanism.params)?;
            // How long a wrapped key is follows from the key: a question for it costs no TPM command.
            let (Step::Done(wrapped) | Step::Keep(wrapped)) = ciphering.once(self, &session, value.expose(), output);
            return wrapped.map_err(range_of_key);
        }
        let PublicKey::Rsa(public) = wrapping.public_key()? else { return Err(Error::WrappingKeyTypeInconsistent) };
        if let Some(refusal) = output.refuse(public.modulus_len()) {
            return delivered(refusal);
        }
        let wrapped = rsa_encrypt(row, &mechanism.params, &public, value.expose()).map_err(range_of_key)?;
        delivered(output.deliver(&wrapped))
    }

    /// `C_UnwrapKey`: secret keys, and private keys in PKCS #8, which go into the TPM.
    ///
    /// # Errors
    /// [`Error::UnwrappingKeyHandleInvalid`], [`Error::UnwrappingKeyTypeInconsistent`], [`Error::WrappedKeyInvalid`],
    /// [`Error::WrappedKeyLenRange`], and the template errors.
    pub fn unwrap_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        unwrapping: ObjectHandle,
        wrapped: &[u8],
        template: &Template,
    ) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let row = op::row(&session, mechanism, Ops::UNWRAP)?;
        let unwrapping = op::key_for(&session, unwrapping, Half::Private, AttributeType::UNWRAP, row)
            .map_err(|e| wrapping_error(e, false))?;
        let number = |ty| match template.value(ty)? {
            Some(Value::Ulong(value)) => Ok(value),
            _ => Err(Error::TemplateIncomplete(ty)),
        };
        let class = ObjectClass(number(AttributeType::CLASS)?);
        let key_type = KeyType(number(AttributeType::KEY_TYPE)?);
        let scope = Scope::of(class, Some(key_type)).filter(|scope| scope.intersects(Scope::HIDDEN));
        let scope = scope.ok_or(Error::TemplateInconsistent("only secret and private keys are unwrapped"))?;
        let mut attributes = template::start(scope, Rule::GENERATE, template)?;
        if attributes.is_true(AttributeType::TOKEN) {
            protect(&mut attributes, self.config().strict_templates);
        }
        separation::unwrapped(&mut attributes, template, &unwrapping)?;
        let value = if unwrapping.class() == ObjectClass::SECRET_KEY {
            let material = Material::new(self, &session, unwrapping)?;
            let mut ciphering = Ciphering::new(&session, material, Direction::Decrypt, row, &mechanism.params)?;
            let mut out = base::Secret::zeroed(wrapped.len());
            match ciphering.once(self, &session, wrapped, Output::Buffer(out.expose_mut())) {
                Step::Done(Ok(len)) => out.truncate(len),
                Step::Done(Err(error)) | Step::Keep(Err(error)) => return Err(wrapped_error(error)),
                Step::Keep(Ok(_)) => return Err(Error::WrappedKeyLenRange),
            }
            out
        } else {
            let PublicKey::Rsa(public) = unwrapping.public_key()? else {
                return Err(Error::UnwrappingKeyTypeInconsistent);
            };
            let decrypting = RsaDecrypting::new(self, &session, row, mechanism.params.clone(), unwrapping, public)?;
            decrypting.run(self, &session, wrapped).map_err(wrapped_error)?
        };
        if class == ObjectClass::SECRET_KEY {
            let wanted = attributes.ulong(AttributeType::VALUE_LEN);
            if wanted.is_some_and(|len| len != value.len() as u64) {
                return Err(Error::WrappedKeyLenRange);
            }
            settle_secret(&mut attributes, key_type, Origin::Outside, self.config().strict_templates)?;
            return self.new_secret(&session, attributes, value).map_err(|error| match error {
                Error::KeySizeRange => Error::WrappedKeyLenRange,
                error => error,
            });
        }
        let key = PrivateKey::from_pkcs8(&value).map_err(|_| Error::WrappedKeyInvalid)?;
        self.new_private(&session, attributes, key_type, &key)
    }
}

pub(super) fn delivered(delivery: Delivery) -> Result<usize> {
    match delivery {
        Delivery::Length(len) | Delivery::Written(len) => Ok(len),
        Delivery::TooSmall { needed } => Err(Error::BufferTooSmall { needed }),
    }
}

/// What is wrong with data is here wrong with a key.
pub(super) fn range_of_key(error: Error) -> Error {
    match error {
        Error::DataLenRange => Error::KeySizeRange,
        error => error,
    }
}

pub(super) fn wrapping_error(error: Error, wraps: bool) -> Error {
    match (error, wraps) {
        (Error::KeyHandleInvalid, true) => Error::WrappingKeyHandleInvalid,
        (Error::KeyHandleInvalid, false) => Error::UnwrappingKeyHandleInvalid,
        (Error::KeyTypeInconsistent, true) => Error::WrappingKeyTypeInconsistent,
        (Error::KeyTypeInconsistent, false) => Error::UnwrappingKeyTypeInconsistent,
        (error, _) => error,
    }
}

pub(super) fn wrapped_error(error: Error) -> Error {
    match error {
        Error::EncryptedDataInvalid => Error::WrappedKeyInvalid,
        Error::EncryptedDataLenRange => Error::WrappedKeyLenRange,
        error => error,
    }
}

impl Library {
    /// A private key from outside: into the TPM, whether it is a token or a session object.
    pub(crate) fn new_private(
        &self,
        session: &Session,
        mut attributes: model::Attributes,
        key_type: KeyType,
        key: &PrivateKey,
    ) -> Result<ObjectHandle> {
        crate::objects::keygen::settle_private(&mut attributes, key_type, self.config().strict_templates)?;
        let public = match key {
            PrivateKey::Rsa { public, .. } if key_type == KeyType::RSA => PublicKey::Rsa(public.clone()),
            PrivateKey::Ec { public, .. } if key_type == KeyType::EC => PublicKey::Ec(public.clone()),
            _ => return Err(Error::TemplateInconsistent("the key is of another type")),
        };
        check_key_info(&mut attributes, &public.spki())?;
        public.describe(&mut attributes);
        template::default(&mut attributes, AttributeType::ID, Value::Bytes(public.default_id()));
        if attributes.bytes(AttributeType::ID).is_none_or(<[u8]>::is_empty) {
            attributes.set(AttributeType::ID, Value::Bytes(public.default_id()));
        }
        attributes.set(AttributeType::LOCAL, Value::Bool(false));
        attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(u64::MAX));
        attributes.set(AttributeType::ALWAYS_SENSITIVE, Value::Bool(false));
        attributes.set(AttributeType::NEVER_EXTRACTABLE, Value::Bool(false));
        if attributes.is_true(AttributeType::TOKEN) {
            self.may_write(session, true)?;
        } else if session.token.login_required() && session.token.keys().is_none() {
            return Err(Error::UserNotLoggedIn);
        }
        let draft = self.import(session, attributes, &key.into())?;
        self.settle_new(session, draft)
    }
}
