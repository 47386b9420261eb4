//! One object: its attributes, and the TPM key behind it.

use std::sync::OnceLock;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::rsa::RsaPublic;
use model::{AttributeType, Attributes, KeyType, ObjectClass, ObjectHandle, Scope, SessionHandle, Template, Value};
use store::{NewObject, ObjectRow};

use crate::info::{AttributeValue, ObjectSummary};
use crate::protect::{Binding, TokenKeys};
use crate::{Error, Result};

/// Handles of session objects start here; those of token objects are their row numbers, far below.
pub(crate) const FIRST_SESSION_HANDLE: u64 = 0x4000_0000;

/// An object of a token. Never changed in place: a change makes a new one under the same handle.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) handle: ObjectHandle,
    pub(crate) home: Home,
    pub(crate) uid: [u8; 16],
    pub(crate) attributes: Attributes,
    pub(crate) key: Option<TpmKey>,
    mac: Option<Vec<u8>>,
    genuine: OnceLock<bool>,
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
#[derive(Debug)]
pub(crate) struct TpmKey {
    pub(crate) wrapped: tpm::Wrapped,
    pub(crate) name: tpm::Name,
    auth: KeyAuth,
}

#[derive(Debug)]
enum KeyAuth {
    /// As in the store: opened with the token's keys.
    Wrapped(Vec<u8>),
    /// Of a session object.
    Clear(Secret),
}

/// The public half of a key, for what is done in software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Rsa(RsaPublic),
    Ec(EcPublic),
}

/// A key that was just made, before it has a home.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) uid: [u8; 16],
    pub(crate) attributes: Attributes,
    pub(crate) tpm: Option<(tpm::Wrapped, tpm::Name, Secret)>,
}

impl Object {
    /// An object as the store has it. A row that makes no sense is an error, and no reason to refuse the others.
    pub(crate) fn from_row(row: &ObjectRow) -> Result<Self> {
        let damaged = |what: &str| Error::Tampered(format!("object {} in the store: {what}", row.id));
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
        let key = match (&row.tpm_public, &row.tpm_private, &row.tpm_name, &row.wrapped_auth) {
            (Some(public), Some(private), Some(name), Some(auth)) => {
                let wrapped = tpm::Wrapped { public: public.clone(), private: private.clone() };
                let computed = wrapped.name().map_err(|_| damaged("the public area does not parse"))?;
                if computed.as_bytes() != name.as_slice() {
                    return Err(damaged("the public area is not that of the key's name"));
                }
                Some(TpmKey { wrapped, name: computed, auth: KeyAuth::Wrapped(auth.clone()) })
            }
            (None, None, None, None) => None,
            _ => return Err(damaged("half a key")),
        };
        let handle = u64::try_from(row.id).ok().filter(|id| (1..FIRST_SESSION_HANDLE).contains(id));
        let object = Self {
            handle: ObjectHandle(handle.ok_or_else(|| damaged("the number is out of range"))?),
            home: Home::Token,
            uid: row.uid,
            attributes,
            key,
            mac: row.mac.clone(),
            genuine: OnceLock::new(),
        };
        object.check_halves().map_err(|_| damaged("the public key is not that of the TPM's key"))?;
        Ok(object)
    }

    /// A new key that lives as long as its session.
    pub(crate) fn of_session(new: NewKey, handle: ObjectHandle, session: SessionHandle) -> Self {
        let key = new.tpm.map(|(wrapped, name, auth)| TpmKey { wrapped, name, auth: KeyAuth::Clear(auth) });
        let genuine = OnceLock::from(true);
        Self { handle, home: Home::Session(session), uid: new.uid, attributes: new.attributes, key, mac: None, genuine }
    }

    /// The class, `CKA_CLASS`.
    pub(crate) fn class(&self) -> ObjectClass {
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
            !row.rule.contains(model::Rule::SECRET)
                && self
                    .attributes
                    .find(ty)
                    .is_some_and(|value| Value::from_native(row.kind, wanted).as_ref() == Some(value))
        })
    }

    /// One answer of `C_GetAttributeValue`.
    pub(crate) fn attribute(&self, ty: AttributeType) -> AttributeValue {
        if let Some(value) = self.attributes.find(ty) {
            return AttributeValue::Value(value.to_native());
        }
        let secret = ty.row().is_some_and(|row| {
            row.rule.contains(model::Rule::SECRET)
                && Scope::of(self.class(), self.key_type()).is_some_and(|scope| row.scope.intersects(scope))
        });
        if secret { AttributeValue::Sensitive } else { AttributeValue::Unknown }
    }

    /// The row is the one that the token wrote. Without the keys nobody can say.
    pub(crate) fn is_genuine(&self, keys: &TokenKeys) -> bool {
        *self.genuine.get_or_init(|| {
            let genuine =
                self.mac.as_deref().is_some_and(|mac| keys.row_code(&self.binding()) == Secret::copy_from(mac));
            if !genuine {
                log::error!(
                    "object {} was altered in the store and is not served; restore the store from a backup",
                    self.handle.0
                );
            }
            genuine
        })
    }

    /// The auth value of the TPM key.
    pub(crate) fn auth(&self, key: &TpmKey, keys: &TokenKeys) -> Result<Secret> {
        match &key.auth {
            KeyAuth::Wrapped(wrapped) => keys.unwrap_auth(&self.binding(), wrapped),
            KeyAuth::Clear(auth) => Ok(auth.clone()),
        }
    }

    /// The public half, from the object's attributes.
    pub(crate) fn public_key(&self) -> Result<PublicKey> {
        let bytes = |ty| self.attributes.bytes(ty);
        let key = match self.key_type() {
            Some(KeyType::RSA) => bytes(AttributeType::MODULUS)
                .zip(bytes(AttributeType::PUBLIC_EXPONENT))
                .and_then(|(n, e)| RsaPublic::new(n, e).ok())
                .map(PublicKey::Rsa),
            Some(KeyType::EC) => bytes(AttributeType::EC_PARAMS)
                .and_then(Curve::from_ec_params)
                .zip(bytes(AttributeType::EC_POINT))
                .and_then(|(curve, point)| EcPublic::from_point(curve, point).ok())
                .map(PublicKey::Ec),
            _ => None,
        };
        key.ok_or(Error::KeyTypeInconsistent)
    }

    /// The object for a person's eyes.
    pub(crate) fn summary(&self) -> ObjectSummary {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let bits = match self.public_key() {
            Ok(PublicKey::Rsa(key)) => Some(key.modulus_bits() as u64),
            Ok(PublicKey::Ec(key)) => Some(key.curve().order_bits().into()),
            Err(_) => None,
        };
        ObjectSummary {
            id: self.handle.0.cast_signed(),
            label: self.attributes.bytes(AttributeType::LABEL).filter(|label| !label.is_empty()).map(text),
            class: self.class().to_string(),
            key_type: self.key_type().map(|key_type| key_type.to_string()),
            cka_id: self.attributes.bytes(AttributeType::ID).map(hex),
            bits,
            private: self.is_private(),
        }
    }

    fn binding(&self) -> Binding<'_> {
        Binding {
            uid: &self.uid,
            attributes: &self.attributes,
            tpm_public: self.key.as_ref().map(|key| key.wrapped.public.as_slice()),
            tpm_private: self.key.as_ref().map(|key| key.wrapped.private.as_slice()),
            tpm_name: self.key.as_ref().map(|key| key.name.as_bytes()),
            policy: None,
        }
    }

    /// The public key that the row shows must be the one inside the TPM's public area.
    fn check_halves(&self) -> Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        let area = key.wrapped.public_area()?;
        if self.public_key()? == PublicKey::from_area(&area)? { Ok(()) } else { Err(Error::KeyTypeInconsistent) }
    }
}

impl PublicKey {
    /// The public key in a TPM public area.
    pub(crate) fn from_area(area: &tpm::PublicArea) -> Result<Self> {
        let key = match (area.rsa(), area.ecc()) {
            (Some((n, e)), _) => RsaPublic::new(n, significant(&e.to_be_bytes())).ok().map(Self::Rsa),
            (None, Some((curve, x, y))) => EcPublic::new(curve, x, y).ok().map(Self::Ec),
            (None, None) => None,
        };
        key.ok_or_else(|| Error::DeviceError("the TPM's public area is not a key that is known here".to_owned()))
    }

    /// Sets the attributes that tell the public half (PKCS#11 mechanisms v3.1 2.1.2, 2.3.3).
    pub(crate) fn describe(&self, attributes: &mut Attributes) {
        let mut bytes = |ty, value: &[u8]| attributes.set(ty, Value::Bytes(value.to_vec()));
        match self {
            Self::Rsa(key) => {
                bytes(AttributeType::MODULUS, key.n());
                bytes(AttributeType::PUBLIC_EXPONENT, key.e());
                bytes(AttributeType::PUBLIC_KEY_INFO, &key.spki());
            }
            Self::Ec(key) => {
                bytes(AttributeType::EC_PARAMS, key.curve().oid_der());
                bytes(AttributeType::EC_POINT, &key.point_der());
                bytes(AttributeType::PUBLIC_KEY_INFO, &key.spki());
            }
        }
    }

    /// A name for the pair when the caller gave no `CKA_ID`: SHA-1 of modulus or point, as several clients choose it.
    pub(crate) fn default_id(&self) -> Vec<u8> {
        let digest = |bytes: &[u8]| base::digest::Hash::Sha1.digest(&[bytes]);
        match self {
            Self::Rsa(key) => digest(key.n()),
            Self::Ec(key) => digest(&key.point()),
        }
    }
}

impl NewKey {
    /// The row for the store, bound to the token's keys.
    pub(crate) fn to_row(&self, token_id: i64, keys: &TokenKeys) -> Result<NewObject> {
        let name = self.tpm.as_ref().map(|(_, name, _)| name.as_bytes());
        let binding = Binding {
            uid: &self.uid,
            attributes: &self.attributes,
            tpm_public: self.tpm.as_ref().map(|(wrapped, _, _)| wrapped.public.as_slice()),
            tpm_private: self.tpm.as_ref().map(|(wrapped, _, _)| wrapped.private.as_slice()),
            tpm_name: name,
            policy: None,
        };
        let wrapped_auth = self.tpm.as_ref().map(|(_, _, auth)| keys.wrap_auth(&binding, auth)).transpose()?;
        let number = |ty| self.attributes.ulong(ty).and_then(|value| u32::try_from(value).ok());
        Ok(NewObject {
            token_id,
            uid: self.uid,
            class: number(AttributeType::CLASS).ok_or(Error::TemplateIncomplete(AttributeType::CLASS))?,
            key_type: number(AttributeType::KEY_TYPE),
            label: self.attributes.bytes(AttributeType::LABEL).map(<[u8]>::to_vec),
            cka_id: self.attributes.bytes(AttributeType::ID).map(<[u8]>::to_vec),
            private: self.attributes.is_true(AttributeType::PRIVATE),
            tpm_name: name.map(<[u8]>::to_vec),
            tpm_public: self.tpm.as_ref().map(|(wrapped, _, _)| wrapped.public.clone()),
            tpm_private: self.tpm.as_ref().map(|(wrapped, _, _)| wrapped.private.clone()),
            wrapped_auth,
            policy: None,
            mac: Some(keys.row_code(&binding).expose().to_vec()),
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
const COLUMNS: [AttributeType; 7] = [
    AttributeType::CLASS,
    AttributeType::KEY_TYPE,
    AttributeType::TOKEN,
    AttributeType::PRIVATE,
    AttributeType::LABEL,
    AttributeType::ID,
    AttributeType::UNIQUE_ID,
];

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
