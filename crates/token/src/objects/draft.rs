//! An object before it has a home: just made, copied, or about to be changed.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use base::Secret;
use base::hex::encode as hex;
use model::{AttributeType, Attributes, ObjectClass, ObjectHandle, SessionHandle, Value};
use store::NewObject;

use crate::object::{Hidden, Home, Object, TpmKey};
use crate::protect::codes::{Binding, Signer};
use crate::protect::policy::BoundPolicy;
use crate::{Error, Result};

/// An object on its way into a session or into the store.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) uid: [u8; 16],
    pub(crate) attributes: Attributes,
    pub(crate) key: Option<TpmKey>,
    /// The key's auth value, or the value of a private data object.
    pub(crate) hidden: Option<Secret>,
    /// See [`Object::messages`](crate::object::Object::messages).
    pub(crate) messages: Arc<AtomicU64>,
    /// The policy that the TPM's key was made with.
    pub(crate) policy: Option<Arc<BoundPolicy>>,
}

impl Draft {
    /// The object, which lives as long as its session.
    pub(crate) fn into_session(self, handle: ObjectHandle, session: SessionHandle) -> Object {
        Object {
            handle,
            home: Home::Session(session),
            uid: self.uid,
            attributes: self.attributes,
            key: self.key,
            hidden: self.hidden.map_or(Hidden::Nothing, Hidden::Clear),
            messages: self.messages,
            policy: self.policy,
            mac: None,
            genuine: OnceLock::from(true),
        }
    }

    /// A new object, with an identity of its own.
    pub(crate) fn new(mut attributes: Attributes, key: Option<TpmKey>, hidden: Option<Secret>) -> Result<Self> {
        let mut hidden = hidden;
        if attributes.ulong(AttributeType::CLASS).map(ObjectClass) == Some(ObjectClass::DATA) {
            if attributes.is_true(AttributeType::PRIVATE) {
                // The value of a private data object is in no row in clear, however the object came about.
                if let Some(Value::Bytes(value)) = attributes.remove(AttributeType::VALUE) {
                    hidden = Some(Secret::new(value));
                }
            } else if let (true, Some(value)) = (attributes.is_true(AttributeType::TOKEN), &hidden) {
                // Derived in memory, and kept where anybody may read it: the caller wants it so.
                attributes.set(AttributeType::VALUE, Value::Bytes(value.expose().to_vec()));
                hidden = None;
            }
        }
        let mut uid = [0; 16];
        base::random::fill(&mut uid)?;
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(hex(&uid).into_bytes()));
        Ok(Self { uid, attributes, key, hidden, policy: None, messages: Arc::default() })
    }

    pub(crate) fn with_policy(self, policy: Option<Arc<BoundPolicy>>) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn on_token(&self) -> bool {
        self.attributes.is_true(AttributeType::TOKEN)
    }

    /// The row for the store: what it hides is wrapped, and `signer` vouches for it.
    pub(crate) fn to_row(&self, token_id: i64, signer: &Signer) -> Result<NewObject> {
        let key = self.key.as_ref();
        let binding = Binding {
            uid: &self.uid,
            attributes: &self.attributes,
            tpm_public: key.map(|key| key.wrapped.public.as_slice()),
            tpm_private: key.map(|key| key.wrapped.private.as_slice()),
            tpm_name: key.map(|key| key.name.as_bytes()),
            policy: self.policy.as_ref().map(|policy| policy.text()),
            hidden: None,
        };
        let hidden = self.hidden.as_ref().map(|secret| signer.user()?.hide(&binding, secret)).transpose()?;
        let code = signer.row_code(&Binding { hidden: hidden.as_deref(), ..binding })?;
        let number = |ty| self.attributes.ulong(ty).and_then(|value| u32::try_from(value).ok());
        Ok(NewObject {
            token_id,
            uid: self.uid,
            class: number(AttributeType::CLASS).ok_or(Error::TemplateIncomplete(AttributeType::CLASS))?,
            key_type: number(AttributeType::KEY_TYPE),
            label: self.attributes.bytes(AttributeType::LABEL).map(<[u8]>::to_vec),
            cka_id: self.attributes.bytes(AttributeType::ID).map(<[u8]>::to_vec),
            private: self.attributes.is_true(AttributeType::PRIVATE),
            tpm_name: key.map(|key| key.name.as_bytes().to_vec()),
            tpm_public: key.map(|key| key.wrapped.public.clone()),
            tpm_private: key.map(|key| key.wrapped.private.clone()),
            wrapped_auth: hidden,
            policy: self.policy.as_ref().map(|policy| policy.text().to_owned()),
            mac: Some(code.expose().to_vec()),
            attributes: self
                .attributes
                .iter()
                .filter(|(ty, _)| !COLUMNS.contains(ty))
                .map(|(ty, value)| (ty.0, value.encode()))
                .collect(),
        })
    }
}

/// Attributes that have a column of their own, or follow from one.
pub(crate) const COLUMNS: [AttributeType; 7] = [
    AttributeType::CLASS,
    AttributeType::KEY_TYPE,
    AttributeType::TOKEN,
    AttributeType::PRIVATE,
    AttributeType::LABEL,
    AttributeType::ID,
    AttributeType::UNIQUE_ID,
];
