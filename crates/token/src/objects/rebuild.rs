//! The public half of a key pair, made anew from the private one: the TPM's public area is part of the private key's blob.

use model::{AttributeType, ObjectClass, ObjectHandle, Rule, Scope, SessionHandle, Template, Value};

use crate::library::Library;
use crate::objects::create::settle_public_key;
use crate::objects::draft::Draft;
use crate::public_key::PublicKey;
use crate::template;
use crate::{Error, Result};

/// What a public key has in common with its private one.
const COMMON: [AttributeType; 4] =
    [AttributeType::LABEL, AttributeType::ID, AttributeType::START_DATE, AttributeType::END_DATE];
/// What it may do, by what the private one may.
const USAGE: [(AttributeType, AttributeType); 4] = [
    (AttributeType::VERIFY, AttributeType::SIGN),
    (AttributeType::VERIFY_RECOVER, AttributeType::SIGN_RECOVER),
    (AttributeType::ENCRYPT, AttributeType::DECRYPT),
    (AttributeType::WRAP, AttributeType::UNWRAP),
];
/// Where the pair comes from.
const ORIGIN: [AttributeType; 2] = [AttributeType::LOCAL, AttributeType::KEY_GEN_MECHANISM];

impl Library {
    /// The token's public key object for a private key, made from what the TPM says of the key. No TPM command.
    ///
    /// # Errors
    /// [`Error::KeyHandleInvalid`] for a handle that is not of a private key in the TPM, [`Error::SessionReadOnly`],
    /// [`Error::UserNotLoggedIn`].
    pub fn rebuild_public(&self, session: SessionHandle, private: ObjectHandle) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let private = self.genuine(&session, private)?;
        let Some(key) = private.key.as_ref().filter(|_| private.class() == ObjectClass::PRIVATE_KEY) else {
            return Err(Error::KeyHandleInvalid);
        };
        let public = PublicKey::from_area(&key.wrapped.public_area()?)?;
        let (key_type, scope) = match &public {
            PublicKey::Rsa(_) => (model::KeyType::RSA, Scope::RSA_PUBLIC),
            PublicKey::Ec(_) => (model::KeyType::EC, Scope::EC_PUBLIC),
        };
        let mut given = Template::new()
            .with(AttributeType::CLASS, Value::Ulong(ObjectClass::PUBLIC_KEY.0))
            .with(AttributeType::KEY_TYPE, Value::Ulong(key_type.0))
            .with(AttributeType::TOKEN, Value::Bool(true));
        let mut described = model::Attributes::new();
        public.describe(&mut described);
        for (ty, value) in described.iter() {
            given = given.with(ty, value.clone());
        }
        for ty in COMMON {
            if let Some(value) = private.attributes.find(ty) {
                given = given.with(ty, value.clone());
            }
        }
        for (ours, theirs) in USAGE {
            given = given.with(ours, Value::Bool(private.attributes.is_true(theirs)));
        }
        let mut attributes = template::start(scope, Rule::CREATE, &given)?;
        settle_public_key(&mut attributes)?;
        for ty in ORIGIN {
            if let Some(value) = private.attributes.find(ty) {
                attributes.set(ty, value.clone());
            }
        }
        self.settle_new(&session, Draft::new(attributes, None, None)?)
    }
}
