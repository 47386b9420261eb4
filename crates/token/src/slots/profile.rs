//! Profile objects: which profiles of the specification a token meets (PKCS#11 v3.1 4.13; Profiles v3.1 5).
//!
//! They are in no store: they follow from what the module does and, for one, from what the token holds now. What each asks
//! for stands beside its number.

use std::sync::Arc;

use base::digest::Hash;
use base::hex::encode as hex;
use model::{AttributeType, Attributes, ObjectClass, ObjectHandle, ProfileId, Template, Value};

use crate::Result;
use crate::object::{FIRST_PROFILE_HANDLE, Object};
use crate::slots::token::Token;

/// What every token meets. `CKP_COMPLETE_PROVIDER` wants every mechanism of the specification, and nobody has it.
const ALWAYS: [(ProfileId, &str); 4] = [
    // Information about library, slots, tokens and sessions; search, and reading of attributes.
    (ProfileId::BASELINE_PROVIDER, "Baseline Provider"),
    // Mechanisms can be asked for; login by C_Login and C_LoginUser.
    (ProfileId::EXTENDED_PROVIDER, "Extended Provider"),
    // Key pairs, login, signatures.
    (ProfileId::AUTHENTICATION_TOKEN, "Authentication Token"),
    // CKM_HKDF_DATA refuses no info.
    (ProfileId::HKDF_TLS_TOKEN, "HKDF TLS Token"),
];
const CERTIFICATES: (ProfileId, &str) = (ProfileId::PUBLIC_CERTIFICATES_TOKEN, "Public Certificates Token");

/// Room for the profiles of one token among the handles.
const HANDLES: u64 = 16;
const TOKENS: u64 = 1 << 20;

impl Token {
    /// The token's profile objects.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn profiles(&self) -> Result<Vec<Arc<Object>>> {
        let certificates = self.shows_its_certificates()?.then_some(CERTIFICATES);
        Ok(ALWAYS.into_iter().chain(certificates).map(|(id, label)| Arc::new(self.profile(id, label))).collect())
    }

    /// The profile objects that a search may find: those that ask for the class. The others come from programs that may
    /// never have heard of it, and take what they find for their own; the specification spares them other classes that
    /// came late (4.3.1, 4.12) in the same way.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn profiles_for(&self, template: &Template) -> Result<Vec<Arc<Object>>> {
        let asked = template.value(AttributeType::CLASS).ok().flatten() == Some(Value::Ulong(ObjectClass::PROFILE.0));
        if asked { self.profiles() } else { Ok(Vec::new()) }
    }

    /// `CKP_PUBLIC_CERTIFICATES_TOKEN`: every certificate can be read without a login; one whose private key is here has
    /// the key's `CKA_ID`, and the public key with it is found without a login, too.
    fn shows_its_certificates(&self) -> Result<bool> {
        let of = |class: ObjectClass| Template::new().with(AttributeType::CLASS, Value::Ulong(class.0));
        for certificate in self.shelf().find(&of(ObjectClass::CERTIFICATE))? {
            if certificate.is_private() {
                return Ok(false);
            }
            let Some(spki) = certificate.certified_key() else { continue };
            let keys = |class| {
                let key_info = Value::Bytes(spki.clone());
                self.shelf().find(&of(class).with(AttributeType::PUBLIC_KEY_INFO, key_info))
            };
            let bytes = |object: &Object, ty| object.attributes.bytes(ty).map(<[u8]>::to_vec);
            let same_id = |key: &Arc<Object>| bytes(key, AttributeType::ID) == bytes(&certificate, AttributeType::ID);
            let privates = keys(ObjectClass::PRIVATE_KEY)?;
            let publics = if privates.is_empty() { Vec::new() } else { keys(ObjectClass::PUBLIC_KEY)? };
            let public = publics.iter().any(|key| !key.is_private() && same_id(key));
            if !privates.iter().all(|key| same_id(key) && (public || !key.is_private())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn profile(&self, id: ProfileId, label: &str) -> Object {
        let mut uid = [0; 16];
        let digest = Hash::Sha256.digest(&[b"profile", self.row().serial.as_bytes(), &id.0.to_be_bytes()]);
        uid.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
        let mut attributes = Attributes::new();
        attributes.set(AttributeType::CLASS, Value::Ulong(ObjectClass::PROFILE.0));
        attributes.set(AttributeType::TOKEN, Value::Bool(true));
        for ty in
            [AttributeType::PRIVATE, AttributeType::MODIFIABLE, AttributeType::COPYABLE, AttributeType::DESTROYABLE]
        {
            attributes.set(ty, Value::Bool(false));
        }
        attributes.set(AttributeType::LABEL, Value::Bytes(label.as_bytes().to_vec()));
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(hex(&uid).into_bytes()));
        attributes.set(AttributeType::PROFILE_ID, Value::Ulong(id.0));
        let place = self.id.unsigned_abs() % TOKENS * HANDLES + id.0;
        Object::of_profile(ObjectHandle(FIRST_PROFILE_HANDLE + place), uid, attributes)
    }
}
