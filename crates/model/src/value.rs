//! Attribute values: their kinds, the native encoding of the C interface, and the encoding of the store.

use std::collections::BTreeMap;

use crate::{AttributeType, MechanismType};

/// The shape of an attribute's value (PKCS#11 v3.1 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `CK_BBOOL`, one byte.
    Bool,
    /// `CK_ULONG` and the types over it.
    Ulong,
    /// A byte array, a big integer (most significant byte first) or UTF-8 text.
    Bytes,
    /// `CK_DATE`, eight ASCII digits, or empty.
    Date,
    /// An array of `CK_MECHANISM_TYPE`.
    Mechanisms,
}

/// A typed attribute value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`ValueKind::Bool`].
    Bool(bool),
    /// See [`ValueKind::Ulong`].
    Ulong(u64),
    /// See [`ValueKind::Bytes`] and [`ValueKind::Date`].
    Bytes(Vec<u8>),
    /// See [`ValueKind::Mechanisms`].
    Mechanisms(Vec<MechanismType>),
}

/// The attribute's value has not the shape that its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueError(pub AttributeType);

const ULONG: usize = size_of::<std::ffi::c_ulong>();

impl Value {
    /// Parses the bytes a caller gave for an attribute of this kind; `None` if they have not its shape.
    #[must_use]
    pub fn from_native(kind: ValueKind, bytes: &[u8]) -> Option<Self> {
        match kind {
            // CK_BBOOL is CK_FALSE or CK_TRUE; C callers are known to pass other non-zero bytes for true.
            ValueKind::Bool => <[u8; 1]>::try_from(bytes).ok().map(|[byte]| Self::Bool(byte != 0)),
            ValueKind::Ulong => ulong(bytes).map(Self::Ulong),
            ValueKind::Bytes => Some(Self::Bytes(bytes.to_vec())),
            ValueKind::Date => is_date(bytes).then(|| Self::Bytes(bytes.to_vec())),
            ValueKind::Mechanisms => {
                let chunks = bytes.chunks_exact(ULONG);
                if !chunks.remainder().is_empty() {
                    return None;
                }
                chunks.map(|chunk| ulong(chunk).map(MechanismType)).collect::<Option<_>>().map(Self::Mechanisms)
            }
        }
    }

    /// The bytes a caller of `C_GetAttributeValue` gets.
    #[must_use]
    pub fn to_native(&self) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![u8::from(*value)],
            Self::Ulong(value) => native_ulong(*value),
            Self::Bytes(bytes) => bytes.clone(),
            Self::Mechanisms(list) => list.iter().flat_map(|mechanism| native_ulong(mechanism.0)).collect(),
        }
    }

    /// The store's encoding: a tag byte, then the value, numbers as 8 bytes big-endian. The same on every machine.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![TAG_BOOL, u8::from(*value)],
            Self::Ulong(value) => [&[TAG_ULONG][..], &value.to_be_bytes()].concat(),
            Self::Bytes(bytes) => [&[TAG_BYTES][..], bytes].concat(),
            Self::Mechanisms(list) => std::iter::once(TAG_MECHANISMS)
                .chain(list.iter().flat_map(|mechanism| mechanism.0.to_be_bytes()))
                .collect(),
        }
    }

    /// Reads [`Value::encode`]; `None` if the bytes are not of it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            TAG_BOOL => match rest {
                [0] => Some(Self::Bool(false)),
                [1] => Some(Self::Bool(true)),
                _ => None,
            },
            TAG_ULONG => Some(Self::Ulong(u64::from_be_bytes(rest.try_into().ok()?))),
            TAG_BYTES => Some(Self::Bytes(rest.to_vec())),
            TAG_MECHANISMS if rest.len() % 8 == 0 => rest
                .chunks_exact(8)
                .map(|chunk| chunk.try_into().ok().map(|bytes| MechanismType(u64::from_be_bytes(bytes))))
                .collect::<Option<_>>()
                .map(Self::Mechanisms),
            _ => None,
        }
    }
}

const TAG_BOOL: u8 = 1;
const TAG_ULONG: u8 = 2;
const TAG_BYTES: u8 = 3;
const TAG_MECHANISMS: u8 = 4;

fn ulong(bytes: &[u8]) -> Option<u64> {
    // On a 64-bit machine CK_ULONG has 8 bytes; the conversion is for those where it has 4.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    bytes.try_into().ok().map(|bytes| std::ffi::c_ulong::from_ne_bytes(bytes).into())
}

fn native_ulong(value: u64) -> Vec<u8> {
    // CK_UNAVAILABLE_INFORMATION is all ones at either width.
    #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast)]
    (value as std::ffi::c_ulong).to_ne_bytes().to_vec()
}

/// Empty, or YYYYMMDD in ASCII digits with a month and a day that exist.
fn is_date(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let number = |part: Option<&[u8]>| part.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
    bytes.len() == 8
        && bytes.iter().all(u8::is_ascii_digit)
        && number(bytes.get(4..6)).is_some_and(|month| (1..=12).contains(&month))
        && number(bytes.get(6..8)).is_some_and(|day| (1..=31).contains(&day))
}

/// Values can be key material: show their shape only.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Ulong(value) => write!(f, "{value:#x}"),
            Self::Bytes(bytes) => write!(f, "[{} bytes]", bytes.len()),
            Self::Mechanisms(list) => write!(f, "{list:?}"),
        }
    }
}

/// An object's attributes, by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<AttributeType, Value>);

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one, replacing what was there.
    pub fn set(&mut self, ty: AttributeType, value: Value) {
        self.0.insert(ty, value);
    }

    /// Takes one away.
    pub fn remove(&mut self, ty: AttributeType) -> Option<Value> {
        self.0.remove(&ty)
    }

    /// The value, if the object has the attribute.
    #[must_use]
    pub fn find(&self, ty: AttributeType) -> Option<&Value> {
        self.0.get(&ty)
    }

    /// A boolean attribute; absent is false.
    #[must_use]
    pub fn is_true(&self, ty: AttributeType) -> bool {
        matches!(self.find(ty), Some(Value::Bool(true)))
    }

    /// A number; absent or of another kind is `None`.
    #[must_use]
    pub fn ulong(&self, ty: AttributeType) -> Option<u64> {
        match self.find(ty) {
            Some(Value::Ulong(value)) => Some(*value),
            _ => None,
        }
    }

    /// A byte value; absent or of another kind is `None`.
    #[must_use]
    pub fn bytes(&self, ty: AttributeType) -> Option<&[u8]> {
        match self.find(ty) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// In ascending order of the type's number.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeType, &Value)> {
        self.0.iter().map(|(ty, value)| (*ty, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_both_encodings() {
        let values = [
            (ValueKind::Bool, Value::Bool(true)),
            (ValueKind::Ulong, Value::Ulong(0x1234)),
            (ValueKind::Bytes, Value::Bytes(b"label".to_vec())),
            (ValueKind::Bytes, Value::Bytes(Vec::new())),
            (ValueKind::Date, Value::Bytes(b"20261121".to_vec())),
            (ValueKind::Mechanisms, Value::Mechanisms(vec![MechanismType::RSA_PKCS, MechanismType::ECDSA])),
            (ValueKind::Mechanisms, Value::Mechanisms(Vec::new())),
        ];
        for (kind, value) in values {
            assert_eq!(Value::from_native(kind, &value.to_native()).as_ref(), Some(&value), "{kind:?}");
            assert_eq!(Value::decode(&value.encode()), Some(value));
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert_eq!(Value::from_native(ValueKind::Bool, &[]), None);
        assert_eq!(Value::from_native(ValueKind::Bool, &[1, 0]), None);
        assert_eq!(Value::from_native(ValueKind::Ulong, &[0; 3]), None);
        assert_eq!(Value::from_native(ValueKind::Mechanisms, &[0; 9]), None);
        assert_eq!(Value::from_native(ValueKind::Date, b"20261301"), None);
        assert_eq!(Value::from_native(ValueKind::Date, b"2026112"), None);
        for bytes in [&[][..], &[9], &[TAG_BOOL], &[TAG_BOOL, 2], &[TAG_ULONG, 0], &[TAG_MECHANISMS, 0]] {
            assert_eq!(Value::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn debug_never_shows_bytes() {
        assert_eq!(format!("{:?}", Value::Bytes(b"secret".to_vec())), "[6 bytes]");
    }
}
