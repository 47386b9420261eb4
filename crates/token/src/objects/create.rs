//! `C_CreateObject`: objects that the caller brings (PKCS#11 v3.1 5.7.1).

use base::Secret;
use base::certificate::{number, without_zeros};
use base::curve::Curve;
use base::digest::Hash;
use base::private::PrivateKey;
use model::{
    AttributeType, Attributes, CertificateType, KeyType, ObjectClass, ObjectHandle, Rule, Scope, SessionHandle,
    Template, Value,
};

use crate::library::Library;
use crate::objects::draft::Draft;
use crate::objects::secret::{Origin, settle_check_value, settle_secret};
use crate::protect::codes::Signer;
use crate::public_key::PublicKey;
use crate::slots::session::Session;
use crate::slots::token::Login;
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `C_CreateObject`. Public keys, certificates and data cost no TPM command; private keys, and secret keys
    /// that are token objects, go into the TPM by one, and never in clear.
    ///
    /// # Errors
    /// Template errors, [`Error::SessionReadOnly`] for a token object in a read-only session, [`Error::UserNotLoggedIn`]
    /// for a private object, and for any token object that nobody who is logged in vouches for,
    /// [`Error::AttributeValueInvalid`] for classes and key types that are not kept here.
    pub fn create_object(&self, session: SessionHandle, template: &Template) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let class = template.value(AttributeType::CLASS)?.ok_or(Error::TemplateIncomplete(AttributeType::CLASS))?;
        let Value::Ulong(class) = class else { return Err(Error::AttributeValueInvalid(AttributeType::CLASS)) };
        let class = ObjectClass(class);
        let key_type = match template.value(AttributeType::KEY_TYPE)? {
            Some(Value::Ulong(key_type)) => Some(KeyType(key_type)),
            _ => None,
        };
        let is_key = matches!(class, ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY | ObjectClass::SECRET_KEY);
        let scope = match Scope::of(class, key_type) {
            Some(scope) if scope != Scope::PROFILE => scope,
            _ if is_key && key_type.is_none() => return Err(Error::TemplateIncomplete(AttributeType::KEY_TYPE)),
            _ if is_key => return Err(Error::AttributeValueInvalid(AttributeType::KEY_TYPE)),
            _ => return Err(Error::AttributeValueInvalid(AttributeType::CLASS)),
        };
        let officer = matches!(session.token.login(), Login::So(_));
        let mut attributes = template::start_as(scope, Rule::CREATE, template, officer)?;
        match class {
            ObjectClass::SECRET_KEY => return self.create_secret(&session, attributes),
            ObjectClass::PRIVATE_KEY => return self.create_private(&session, attributes),
            ObjectClass::PUBLIC_KEY => settle_public_key(&mut attributes)?,
            ObjectClass::CERTIFICATE => settle_certificate(&mut attributes)?,
            _ => {
                template::default(&mut attributes, AttributeType::PRIVATE, Value::Bool(true));
                template::default(&mut attributes, AttributeType::VALUE, Value::Bytes(Vec::new()));
            }
        }
        let draft = Draft::new(attributes, None, None)?;
        self.settle_new(&session, draft)
    }

    fn create_secret(&self, session: &Session, mut attributes: Attributes) -> Result<ObjectHandle> {
        let value =
            taken(&mut attributes, AttributeType::VALUE).ok_or(Error::TemplateIncomplete(AttributeType::VALUE))?;
        let key_type = KeyType(attributes.ulong(AttributeType::KEY_TYPE).unwrap_or(u64::MAX));
        settle_secret(&mut attributes, key_type, Origin::Outside, self.config().strict_templates)?;
        self.new_secret(session, attributes, value).map_err(|error| match error {
            Error::KeySizeRange => Error::AttributeValueInvalid(AttributeType::VALUE),
            error => error,
        })
    }

    fn create_private(&self, session: &Session, mut attributes: Attributes) -> Result<ObjectHandle> {
        let [value, exponent, prime] = [AttributeType::VALUE, AttributeType::PRIVATE_EXPONENT, AttributeType::PRIME_1]
            .map(|ty| taken(&mut attributes, ty));
        for ty in
            [AttributeType::PRIME_2, AttributeType::EXPONENT_1, AttributeType::EXPONENT_2, AttributeType::COEFFICIENT]
        {
            // The TPM computes them from the first prime.
            drop(taken(&mut attributes, ty));
        }
        let key_type = KeyType(attributes.ulong(AttributeType::KEY_TYPE).unwrap_or(u64::MAX));
        let key = match key_type {
            KeyType::RSA => {
                let PublicKey::Rsa(public) = PublicKey::from_attributes(&attributes)
                    .map_err(|_| Error::AttributeValueInvalid(AttributeType::MODULUS))?
                else {
                    return Err(Error::TemplateInconsistent("the key is of another type"));
                };
                if prime.is_none() && exponent.is_none() {
                    return Err(Error::TemplateIncomplete(AttributeType::PRIVATE_EXPONENT));
                }
                PrivateKey::rsa(public, prime.as_ref().map(Secret::expose), exponent.as_ref().map(Secret::expose))
                    .map_err(|_| Error::AttributeValueInvalid(AttributeType::PRIVATE_EXPONENT))?
            }
            _ => {
                let params = attributes.bytes(AttributeType::EC_PARAMS).and_then(Curve::from_ec_params);
                let value = value.ok_or(Error::TemplateIncomplete(AttributeType::VALUE))?;
                PrivateKey::ec(params.ok_or(Error::CurveNotSupported)?, &value)
                    .map_err(|_| Error::AttributeValueInvalid(AttributeType::VALUE))?
            }
        };
        self.new_private(session, attributes, key_type, &key).map_err(|error| match error {
            Error::DeviceError(text) => {
                log::info!("the TPM refused the key: {text}");
                Error::AttributeValueInvalid(if key_type == KeyType::RSA {
                    AttributeType::PRIME_1
                } else {
                    AttributeType::VALUE
                })
            }
            error => error,
        })
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
        self.settle_in_session(session, draft)
    }

    /// May this session write a token object? Then who vouches for it?
    pub(crate) fn may_write(&self, session: &Session, private: bool) -> Result<Signer> {
        if !session.read_write {
            return Err(Error::SessionReadOnly);
        }
        let signer = self.signer(&session.token, private)?;
        if let Signer::User(keys) = &signer {
            self.settle_before_writing(&session.token, keys)?;
        }
        Ok(signer)
    }
}

/// Takes the value of an attribute out, to where it is wiped.
fn taken(attributes: &mut Attributes, ty: AttributeType) -> Option<Secret> {
    match attributes.remove(ty) {
        Some(Value::Bytes(bytes)) => Some(Secret::new(bytes)),
        _ => None,
    }
}

pub(crate) fn settle_public_key(attributes: &mut Attributes) -> Result<()> {
    // Of a private key the point follows; a public one is its point (PKCS#11 mechanisms v3.1 2.3.3).
    let ec = attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::EC.0);
    if ec && attributes.find(AttributeType::EC_POINT).is_none() {
        return Err(Error::TemplateIncomplete(AttributeType::EC_POINT));
    }
    let key = PublicKey::from_attributes(attributes).map_err(|_| {
        Error::AttributeValueInvalid(match attributes.ulong(AttributeType::KEY_TYPE).map(KeyType) {
            Some(KeyType::RSA) => AttributeType::MODULUS,
            _ => AttributeType::EC_POINT,
        })
    })?;
    check_key_info(attributes, &key.spki())?;
    // A raw point becomes the DER OCTET STRING that the specification wants.
    key.describe(attributes);
    if let PublicKey::Rsa(key) = &key {
        attributes.set(AttributeType::MODULUS_BITS, Value::Ulong(key.modulus_bits() as u64));
    }
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(false));
    template::default(attributes, AttributeType::VERIFY, Value::Bool(true));
    template::default(attributes, AttributeType::VERIFY_RECOVER, Value::Bool(matches!(key, PublicKey::Rsa(_))));
    template::default(attributes, AttributeType::DERIVE, Value::Bool(false));
    template::default(attributes, AttributeType::ENCRYPT, Value::Bool(matches!(key, PublicKey::Rsa(_))));
    attributes.set(AttributeType::LOCAL, Value::Bool(false));
    attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(UNAVAILABLE));
    Ok(())
}

/// A template may say `CKA_PUBLIC_KEY_INFO`, which is computed: what it says must be true, or nothing.
pub(crate) fn check_key_info(attributes: &mut Attributes, key: &[u8]) -> Result<()> {
    match attributes.remove(AttributeType::PUBLIC_KEY_INFO) {
        Some(Value::Bytes(given)) if !given.is_empty() && given != key => {
            Err(Error::AttributeValueInvalid(AttributeType::PUBLIC_KEY_INFO))
        }
        _ => Ok(()),
    }
}

/// `CK_UNAVAILABLE_INFORMATION`: the key was not made here.
const UNAVAILABLE: u64 = u64::MAX;

/// Does a template's word for a part of the certificate stand for that? Nothing does, and so does a serial number that is given as a bare
/// number, as some programs have it.
pub(crate) fn says_part(ty: AttributeType, given: &[u8], part: &[u8]) -> bool {
    let bare = || number(part).is_some_and(|number| number == without_zeros(given));
    given.is_empty() || given == part || (ty == AttributeType::SERIAL_NUMBER && bare())
}

fn settle_certificate(attributes: &mut Attributes) -> Result<()> {
    if attributes.ulong(AttributeType::CERTIFICATE_TYPE) != Some(CertificateType::X_509.0) {
        return Err(Error::AttributeValueInvalid(AttributeType::CERTIFICATE_TYPE));
    }
    if attributes.bytes(AttributeType::VALUE).is_none_or(<[u8]>::is_empty) {
        return Err(Error::TemplateIncomplete(AttributeType::VALUE));
    }
    let value = attributes.bytes(AttributeType::VALUE).unwrap_or_default().to_vec();
    settle_check_value(attributes, || Hash::Sha1.digest(&[&value]).get(..3).unwrap_or_default().to_vec())?;
    if let Some(parts) = base::certificate::parts(&value) {
        for (ty, part) in [
            (AttributeType::SUBJECT, parts.subject),
            (AttributeType::ISSUER, parts.issuer),
            (AttributeType::SERIAL_NUMBER, parts.serial),
        ] {
            if !says_part(ty, attributes.bytes(ty).unwrap_or_default(), part) {
                return Err(Error::TemplateInconsistent("subject, issuer or serial number are not the certificate's"));
            }
            attributes.set(ty, Value::Bytes(part.to_vec()));
        }
    }
    let key = base::certificate::public_key_info(&value).map(<[u8]>::to_vec);
    check_key_info(attributes, key.as_deref().unwrap_or_default())?;
    if let Some(key) = key {
        attributes.set(AttributeType::PUBLIC_KEY_INFO, Value::Bytes(key));
    }
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(false));
    // CK_CERTIFICATE_CATEGORY_UNSPECIFIED
    template::default(attributes, AttributeType::CERTIFICATE_CATEGORY, Value::Ulong(0));
    Ok(())
}
