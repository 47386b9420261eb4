//! `C_CreateObject`: objects that the caller brings (PKCS#11 v3.1 5.7.1).

use model::{
    AttributeType, Attributes, CertificateType, KeyType, ObjectClass, ObjectHandle, Rule, Scope, SessionHandle,
    Template, Value,
};

use crate::draft::Draft;
use crate::library::Library;
use crate::protect::Signer;
use crate::public_key::PublicKey;
use crate::session::Session;
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `C_CreateObject`. Public keys, X.509 certificates and data; no TPM command.
    ///
    /// # Errors
    /// Template errors, [`Error::SessionReadOnly`] for a token object in a read-only session, [`Error::UserNotLoggedIn`]
    /// for a private object, and for any token object that nobody who is logged in vouches for,
    /// [`Error::FunctionNotSupported`] for classes that cannot be brought in this way.
    pub fn create_object(&self, session: SessionHandle, template: &Template) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let class = template.value(AttributeType::CLASS)?.ok_or(Error::TemplateIncomplete(AttributeType::CLASS))?;
        let Value::Ulong(class) = class else { return Err(Error::AttributeValueInvalid(AttributeType::CLASS)) };
        let class = ObjectClass(class);
        let key_type = match template.value(AttributeType::KEY_TYPE)? {
            Some(Value::Ulong(key_type)) => Some(KeyType(key_type)),
            _ if class == ObjectClass::PUBLIC_KEY => return Err(Error::TemplateIncomplete(AttributeType::KEY_TYPE)),
            _ => None,
        };
        let scope = Scope::of(class, key_type).ok_or(Error::FunctionNotSupported)?;
        if scope.intersects(Scope::HIDDEN) {
            return Err(Error::FunctionNotSupported);
        }
        let mut attributes = template::start(scope, Rule::CREATE, template)?;
        match class {
            ObjectClass::PUBLIC_KEY => settle_public_key(&mut attributes)?,
            ObjectClass::CERTIFICATE => settle_certificate(&mut attributes)?,
            _ => template::default(&mut attributes, AttributeType::PRIVATE, Value::Bool(true)),
        }
        let hidden = if class == ObjectClass::DATA && attributes.is_true(AttributeType::PRIVATE) {
            match attributes.remove(AttributeType::VALUE) {
                Some(Value::Bytes(value)) => Some(base::Secret::new(value)),
                _ => None,
            }
        } else {
            None
        };
        let draft = Draft::new(attributes, None, hidden)?;
        self.settle_new(&session, draft)
    }

    /// Gives a new object its home, if the session may make it.
    pub(crate) fn settle_new(&self, session: &Session, draft: Draft) -> Result<ObjectHandle> {
        let private = draft.attributes.is_true(AttributeType::PRIVATE);
        if draft.on_token() {
            let signer = self.may_write(session, private)?;
            return self.settle(session, draft, &signer);
        }
        if private && session.token.login_required() && session.token.keys().is_none() {
            return Err(Error::UserNotLoggedIn);
        }
        Ok(self.settle_in_session(session, draft))
    }

    /// May this session write a token object? Then who vouches for it?
    pub(crate) fn may_write(&self, session: &Session, private: bool) -> Result<Signer> {
        if !session.read_write {
            return Err(Error::SessionReadOnly);
        }
        self.signer(&session.token, private)
    }
}

fn settle_public_key(attributes: &mut Attributes) -> Result<()> {
    let key = PublicKey::from_attributes(attributes).map_err(|_| {
        Error::AttributeValueInvalid(match attributes.ulong(AttributeType::KEY_TYPE).map(KeyType) {
            Some(KeyType::RSA) => AttributeType::MODULUS,
            _ => AttributeType::EC_POINT,
        })
    })?;
    // A raw point becomes the DER OCTET STRING that the specification wants.
    key.describe(attributes);
    if let PublicKey::Rsa(key) = &key {
        attributes.set(AttributeType::MODULUS_BITS, Value::Ulong(key.modulus_bits() as u64));
    }
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(false));
    template::default(attributes, AttributeType::VERIFY, Value::Bool(true));
    template::default(attributes, AttributeType::ENCRYPT, Value::Bool(matches!(key, PublicKey::Rsa(_))));
    attributes.set(AttributeType::LOCAL, Value::Bool(false));
    attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(UNAVAILABLE));
    Ok(())
}

/// `CK_UNAVAILABLE_INFORMATION`: the key was not made here.
const UNAVAILABLE: u64 = u64::MAX;

fn settle_certificate(attributes: &mut Attributes) -> Result<()> {
    if attributes.ulong(AttributeType::CERTIFICATE_TYPE) != Some(CertificateType::X_509.0) {
        return Err(Error::AttributeValueInvalid(AttributeType::CERTIFICATE_TYPE));
    }
    if attributes.bytes(AttributeType::VALUE).is_none_or(<[u8]>::is_empty) {
        return Err(Error::TemplateIncomplete(AttributeType::VALUE));
    }
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(false));
    // CK_CERTIFICATE_CATEGORY_UNSPECIFIED
    template::default(attributes, AttributeType::CERTIFICATE_CATEGORY, Value::Ulong(0));
    Ok(())
}
