//! One object: its attributes, and the TPM key behind it.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use base::Secret;
use base::hex::encode as hex;
use model::{AttributeType, Attributes, KeyType, ObjectClass, ObjectHandle, Scope, SessionHandle, Template, Value};
use store::ObjectRow;

use crate::info::{AttributeValue, ObjectSummary};
use crate::protect::codes::{Binding, OfficerKey, TokenKeys};
use crate::protect::parent;
use crate::protect::policy::BoundPolicy;
use crate::public_key::PublicKey;
use crate::{Error, Result};

/// Handles of session objects start here; those of token objects are their row numbers, far below.
pub(crate) const FIRST_SESSION_HANDLE: u64 = 0x4000_0000;
/// Handles of profile objects start here, above all row numbers.
pub(crate) const FIRST_PROFILE_HANDLE: u64 = 0x3000_0000;

/// An object of a token. Never changed in place: a change makes a new one under the same handle.
#[derive(Debug)]
pub struct Object {
    /// Its handle; of one in the store, its number there.
    pub handle: ObjectHandle,
    pub(crate) home: Home,
    pub(crate) uid: [u8; 16],
    /// Its attributes, but for what it hides.
    pub attributes: Attributes,
    /// Of a private or secret key in the TPM.
    pub key: Option<TpmKey>,
    pub(crate) hidden: Hidden,
    /// How many messages were encrypted with this key under vectors that count. Shared by all copies of the key, which have
    /// its value: no vector comes twice.
    pub(crate) messages: Arc<AtomicU64>,
    /// What the TPM demands, besides the auth value or instead of it, before the key is used.
    pub policy: Option<Arc<BoundPolicy>>,
    pub(crate) mac: Option<Vec<u8>>,
    pub(crate) genuine: OnceLock<bool>,
}

/// May a key with these attributes be used so? A key that says nothing of encapsulation, as none did before version 3.2 of PKCS#11, does
/// with it what it does without: a private key opens what it decrypts, unwraps or derives from, and to a public key anybody can send.
pub(crate) fn has_power(attributes: &Attributes, ty: AttributeType) -> bool {
    if attributes.find(ty).is_some() {
        return attributes.is_true(ty);
    }
    let any = |powers: [AttributeType; 2]| powers.into_iter().any(|power| attributes.is_true(power));
    let is_ec = attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::EC.0);
    match (ty, attributes.ulong(AttributeType::CLASS).map(ObjectClass)) {
        (AttributeType::ENCAPSULATE, Some(ObjectClass::PUBLIC_KEY)) => {
            is_ec || any([AttributeType::ENCRYPT, AttributeType::WRAP])
        }
        (AttributeType::DECAPSULATE, Some(ObjectClass::PRIVATE_KEY)) if is_ec => {
            attributes.is_true(AttributeType::DERIVE)
        }
        (AttributeType::DECAPSULATE, Some(ObjectClass::PRIVATE_KEY)) => {
            any([AttributeType::DECRYPT, AttributeType::UNWRAP])
        }
        _ => false,
    }
}

/// Where an object lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In the store.
    Token,
    /// In memory, until this session is closed.
    Session(SessionHandle),
}

/// The private half of a key: a blob that only the TPM can open.
#[derive(Clone, Debug)]
pub struct TpmKey {
    /// Both blobs; of a persistent key, its public area and its handle.
    pub wrapped: tpm::Wrapped,
    /// The name of its public area.
    pub name: tpm::Name,
}

/// What an object keeps to itself: the auth value of a TPM key, the value of a private data object.
#[derive(Debug)]
pub(crate) enum Hidden {
    Nothing,
    /// As in the store: opened with the token's keys.
    Wrapped(Vec<u8>),
    /// Of a session object.
    Clear(Secret),
}

impl Object {
    /// An object as the store has it. A row that makes no sense is an error, and no reason to refuse the others.
    pub(crate) fn from_row(row: &ObjectRow) -> Result<Self> {
        let damaged = |what: &str| Error::Tampered(format!("object {} in the store: {what}", row.id));
        let policy = match &row.policy {
            Some(text) => Some(Arc::new(BoundPolicy::parse(text).ok_or_else(|| damaged("the policy makes no sense"))?)),
            None => None,
        };
        let mut attributes = Attributes::new();
        for (ty, value) in &row.attributes {
            let value = Value::decode(value).ok_or_else(|| damaged("an attribute does not decode"))?;
            attributes.set(AttributeType(*ty), value);
        }
        attributes.set(AttributeType::CLASS, Value::Ulong(row.class.into()));
        if let Some(key_type) = row.key_type {
            attributes.set(AttributeType::KEY_TYPE, Value::Ulong(key_type.into()));
        }
        attributes.set(AttributeType::TOKEN, Value::Bool(true));
        attributes.set(AttributeType::PRIVATE, Value::Bool(row.private));
        attributes.set(AttributeType::LABEL, Value::Bytes(row.label.clone().unwrap_or_default()));
        if let Some(id) = &row.cka_id {
            attributes.set(AttributeType::ID, Value::Bytes(id.clone()));
        }
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(hex(&row.uid).into_bytes()));
        let key = match (&row.tpm_public, &row.tpm_private, &row.tpm_name) {
            (Some(public), Some(private), Some(name)) => {
                let wrapped = tpm::Wrapped { public: public.clone(), private: private.clone() };
                let area = wrapped.public_area().map_err(|_| damaged("the public area does not parse"))?;
                let computed = area.name().map_err(|_| damaged("the public area does not parse"))?;
                let free = policy.as_ref().is_some_and(|policy| policy.is_free());
                if computed.as_bytes() != name.as_slice() || row.wrapped_auth.is_none() && !free {
                    return Err(damaged("the public area is not that of the key's name"));
                }
                if policy.as_ref().is_some_and(|policy| policy.policy().digest() != area.auth_policy()) {
                    return Err(damaged("the policy is not that of the TPM's key"));
                }
                // The public key that the row shows must be the one inside the TPM's public area.
                let is_pair = u64::from(row.class) != ObjectClass::SECRET_KEY.0;
                if is_pair && !PublicKey::is_told_by(&attributes, &area) {
                    return Err(damaged("the public key is not that of the TPM's key"));
                }
                Some(TpmKey { wrapped, name: computed })
            }
            (None, None, None) if policy.is_none() => None,
            _ => return Err(damaged("half a key")),
        };
        let handle = u64::try_from(row.id).ok().filter(|id| (1..FIRST_PROFILE_HANDLE).contains(id));
        let object = Self {
            handle: ObjectHandle(handle.ok_or_else(|| damaged("the number is out of range"))?),
            home: Home::Token,
            uid: row.uid,
            attributes,
            key,
            hidden: row.wrapped_auth.clone().map_or(Hidden::Nothing, Hidden::Wrapped),
            messages: Arc::default(),
            policy,
            mac: row.mac.clone(),
            genuine: OnceLock::new(),
        };
        if object.class() == ObjectClass::DATA
            && object.is_private()
            && object.attributes.find(AttributeType::VALUE).is_some()
        {
            return Err(damaged("the value of a private data object is in clear"));
        }
        Ok(object)
    }

    /// An object that is in no store and in no session, and the same for everybody.
    pub(crate) fn of_profile(handle: ObjectHandle, uid: [u8; 16], attributes: Attributes) -> Self {
        Self {
            handle,
            home: Home::Token,
            uid,
            attributes,
            key: None,
            hidden: Hidden::Nothing,
            messages: Arc::default(),
            mac: None,
            policy: None,
            genuine: OnceLock::from(true),
        }
    }

    /// The class, `CKA_CLASS`.
    #[must_use]
    pub fn class(&self) -> ObjectClass {
        ObjectClass(self.attributes.ulong(AttributeType::CLASS).unwrap_or(u64::MAX))
    }

    /// The key type, if it is a key.
    pub(crate) fn key_type(&self) -> Option<KeyType> {
        self.attributes.ulong(AttributeType::KEY_TYPE).map(KeyType)
    }

    /// Only the logged-in user sees it.
    pub(crate) fn is_private(&self) -> bool {
        self.attributes.is_true(AttributeType::PRIVATE)
    }

    /// Does it have everything the template asks for? (PKCS#11 v3.1 5.7.7)
    pub(crate) fn matches(&self, template: &Template) -> bool {
        template.iter().all(|(ty, wanted)| {
            let Some(row) = ty.row() else { return false };
            // A secret must not be found by guessing its value.
            !self.scope().is_some_and(|scope| row.secret.intersects(scope))
                && self.value(ty).is_some_and(|value| Value::from_native(row.kind, wanted).as_ref() == Some(&*value))
        })
    }

    /// What the object says of itself: what its row says, or what follows from that.
    pub(crate) fn value(&self, ty: AttributeType) -> Option<Cow<'_, Value>> {
        self.attributes.find(ty).map(Cow::Borrowed).or_else(|| self.implied(ty).map(Cow::Owned))
    }

    /// What is in no row, and what rows do not have that are older than the attribute.
    fn implied(&self, ty: AttributeType) -> Option<Value> {
        let scope = self.scope()?;
        let row = ty.row().filter(|row| row.scope.intersects(scope))?;
        match ty {
            // A key without a list may serve with every mechanism. Clients take the attribute for unknown where it is not there at all.
            AttributeType::ALLOWED_MECHANISMS => Some(Value::Mechanisms(Vec::new())),
            AttributeType::ENCAPSULATE | AttributeType::DECAPSULATE => {
                Some(Value::Bool(has_power(&self.attributes, ty)))
            }
            AttributeType::PUBLIC_KEY_INFO => self.certified_key().map(Value::Bytes),
            // The object is older than the attribute's row.
            AttributeType::ALWAYS_AUTHENTICATE => row.default(),
            _ if row.scope == Scope::CERTIFICATE => row.default(),
            _ => None,
        }
    }

    /// Which rows of the attribute table are its own.
    pub(crate) fn scope(&self) -> Option<Scope> {
        Scope::of(self.class(), self.key_type())
    }

    /// A secret whose value is here, and not in the TPM.
    pub(crate) fn in_memory(&self) -> bool {
        self.key.is_none() && self.class() == ObjectClass::SECRET_KEY
    }

    /// A secret key whose value anybody gets who asks for it.
    pub(crate) fn is_readable(&self) -> bool {
        self.in_memory()
            && self.attributes.is_true(AttributeType::EXTRACTABLE)
            && !self.attributes.is_true(AttributeType::SENSITIVE)
    }

    /// One answer of `C_GetAttributeValue`.
    pub(crate) fn attribute(&self, ty: AttributeType) -> AttributeValue {
        if let Some(value) = self.value(ty) {
            return AttributeValue::Value(value.to_native());
        }
        let secret = ty.row().is_some_and(|row| self.scope().is_some_and(|scope| row.secret.intersects(scope)));
        if secret { AttributeValue::Sensitive } else { AttributeValue::Unknown }
    }

    /// The row is the one that the token wrote: what the user's keys say.
    pub(crate) fn is_genuine(&self, keys: &TokenKeys) -> bool {
        if keys.is_adopted() && self.may_have_come_over() {
            return true;
        }
        self.judge(|binding, code| keys.vouches(binding, code))
    }

    /// The row of a public object is the one that the token wrote: what the security officer's key says.
    pub(crate) fn is_genuine_to(&self, officer: &OfficerKey) -> bool {
        self.is_public() && self.judge(|binding, code| officer.vouches(binding, code))
    }

    /// Is the row one that can have come over from another software, and waits for its code? Who may write the store can write a row
    /// without one, and so it must not say what that software has no word for: that the security officer trusts it, or that the key
    /// has a policy, or a parent of its own.
    pub(crate) fn may_have_come_over(&self) -> bool {
        let foreign = [AttributeType::TPM_PARENT, AttributeType::TPM_RECOVERY_KEY, AttributeType::TPM_HANDLE];
        self.mac.is_none()
            && self.policy.is_none()
            && !self.attributes.is_true(AttributeType::TRUSTED)
            && foreign.iter().all(|ty| self.attributes.find(*ty).is_none())
    }

    /// The code of its row, which stands for all that the row says.
    pub(crate) fn code(&self) -> Option<&[u8]> {
        self.mac.as_deref()
    }

    /// Everybody may see it.
    pub(crate) fn is_public(&self) -> bool {
        !self.is_private() && self.key.is_none()
    }

    fn judge(&self, vouches: impl FnOnce(&Binding<'_>, &[u8]) -> bool) -> bool {
        *self.genuine.get_or_init(|| {
            let genuine = self.mac.as_deref().is_some_and(|code| vouches(&self.binding(), code));
            if !genuine {
                log::error!(
                    "object {} was altered in the store and is not served; restore the store from a backup",
                    self.handle.0
                );
            }
            genuine
        })
    }

    /// Was the code of its row looked at, and right?
    pub(crate) fn was_found_genuine(&self) -> bool {
        self.genuine.get() == Some(&true)
    }

    /// Does the object keep something to itself?
    pub(crate) fn hides(&self) -> bool {
        !matches!(self.hidden, Hidden::Nothing)
    }

    /// Bytes that the object takes, as near as it can be said.
    pub(crate) fn size(&self) -> u64 {
        let attributes: usize = self.attributes.iter().map(|(_, value)| value.encode().len()).sum();
        let key = self.key.as_ref().map_or(0, |key| key.wrapped.public.len() + key.wrapped.private.len());
        let hidden = match &self.hidden {
            Hidden::Nothing => 0,
            Hidden::Wrapped(bytes) => bytes.len(),
            Hidden::Clear(secret) => secret.len(),
        };
        (attributes + key + hidden) as u64
    }

    /// What the object hides, if it hides anything.
    pub(crate) fn reveal(&self, keys: &TokenKeys) -> Result<Option<Secret>> {
        match &self.hidden {
            Hidden::Nothing => Ok(None),
            Hidden::Wrapped(wrapped) => keys.reveal(&self.binding(), wrapped).map(Some),
            Hidden::Clear(secret) => Ok(Some(secret.clone())),
        }
    }

    /// The public half, from the object's attributes.
    ///
    /// # Errors
    /// [`Error::KeyTypeInconsistent`] if they are not those of a key pair.
    pub fn public_key(&self) -> Result<PublicKey> {
        PublicKey::from_attributes(&self.attributes)
    }

    /// The SubjectPublicKeyInfo in a certificate.
    pub(crate) fn certified_key(&self) -> Option<Vec<u8>> {
        let value = self.attributes.bytes(AttributeType::VALUE).filter(|_| self.class() == ObjectClass::CERTIFICATE)?;
        base::certificate::public_key_info(value).map(<[u8]>::to_vec)
    }

    /// The object for a person's eyes.
    #[must_use]
    pub fn summary(&self) -> ObjectSummary {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let bits = self.public_key().ok().map(|key| key.bits());
        ObjectSummary {
            id: self.handle.0.cast_signed(),
            label: self.attributes.bytes(AttributeType::LABEL).filter(|label| !label.is_empty()).map(text),
            class: self.class().to_string(),
            key_type: self.key_type().map(|key_type| key_type.to_string()),
            cka_id: self.attributes.bytes(AttributeType::ID).map(hex),
            bits,
            private: self.is_private(),
            persistent: self.residence(),
            backup: self.key.as_ref().map(|_| self.recovery_key().is_some()),
            policy: self.policy.as_ref().map(|policy| match self.is_bound() {
                true => policy.to_string(),
                false => format!("{policy}, or its authorization value alone"),
            }),
        }
    }

    /// Is there no way to use the key but by its policy? A linked one may have another.
    fn is_bound(&self) -> bool {
        let area = self.key.as_ref().and_then(|key| key.wrapped.public_area().ok());
        area.is_some_and(|area| !area.attributes().contains(tpm::Attributes::USER_WITH_AUTH))
    }

    /// The parent of the TPM's key, if that is not the token's primary.
    ///
    /// # Errors
    /// [`Error::Tampered`] if the row makes no sense there.
    pub fn parent(&self) -> Result<Option<tpm::Primary>> {
        self.attributes.bytes(AttributeType::TPM_PARENT).map(parent::decode).transpose()
    }

    /// The persistent handle at which the TPM keeps a copy of the key, as far as the row knows. Storage keys are never meant: what hangs below
    /// them is not the token's alone.
    #[must_use]
    pub fn residence(&self) -> Option<u32> {
        let handle = self.attributes.ulong(AttributeType::TPM_HANDLE).and_then(|handle| u32::try_from(handle).ok())?;
        let area = self.key.as_ref()?.wrapped.public_area().ok()?;
        (!area.attributes().contains(tpm::Attributes::RESTRICTED)).then_some(handle)
    }

    /// The one parent elsewhere that the key can be duplicated to: if the TPM's own public area says so, too.
    #[must_use]
    pub fn recovery_key(&self) -> Option<tpm::PublicArea> {
        let parent = tpm::PublicArea::parse(self.attributes.bytes(AttributeType::TPM_RECOVERY_KEY)?).ok()?;
        let own = self.key.as_ref()?.wrapped.public_area().ok()?;
        own.can_go_to(&parent).then_some(parent)
    }

    fn binding(&self) -> Binding<'_> {
        Binding {
            uid: &self.uid,
            attributes: &self.attributes,
            tpm_public: self.key.as_ref().map(|key| key.wrapped.public.as_slice()),
            tpm_private: self.key.as_ref().map(|key| key.wrapped.private.as_slice()),
            tpm_name: self.key.as_ref().map(|key| key.name.as_bytes()),
            policy: self.policy.as_ref().map(|policy| policy.text()),
            hidden: match &self.hidden {
                Hidden::Wrapped(wrapped) => Some(wrapped),
                Hidden::Nothing | Hidden::Clear(_) => None,
            },
        }
    }
}
