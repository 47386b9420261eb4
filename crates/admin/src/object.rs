//! Single objects: their attributes, shown and changed.

use base::hex::encode as hex;
use std::sync::Arc;

use model::{ATTRIBUTES, AttributeType, MechanismType, ObjectHandle, Template, Value, ValueKind};
use serde::Serialize;
use store::peer::PeerValue;

use super::{Admin, Pin, TokenSummary};
use token::manage::{Object, Token};
use token::{Error, Result};

/// An attribute of an object, for a person's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `CKA_...`
    pub name: String,
    /// Its number.
    pub number: u64,
    /// Its value.
    pub value: Shown,
}

/// A value: bytes as hexadecimal digits, mechanisms by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// `CK_BBOOL`
    Bool(bool),
    /// `CK_ULONG`
    Number(u64),
    /// Bytes.
    Hex(String),
    /// Mechanisms.
    Mechanisms(Vec<String>),
}

/// How a new value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// A number, in decimal digits or, after `0x`, in hexadecimal ones.
    Int,
    /// Text, which stands for its bytes.
    Str,
    /// `true` or `false`, also yes and no, 1 and 0.
    Bool,
    /// Bytes in hexadecimal digits.
    Raw,
}

/// An attribute that is to be changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// `CKA_...`, or its number.
    pub key: String,
    /// The new value.
    pub value: String,
    /// How it is written; `None`: as the attribute is shown.
    pub spelling: Option<Spelling>,
}

impl Admin {
    /// The token that an object belongs to.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such object.
    pub fn token_of(&self, id: i64) -> Result<TokenSummary> {
        self.summary(&self.find_object(id)?.0)
    }

    /// The attributes of an object, by their numbers. What it hides is not among them.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such object.
    pub fn attributes(&self, id: i64) -> Result<Vec<Attribute>> {
        let (_, object) = self.find_object(id)?;
        let shown = |(ty, value): (AttributeType, &Value)| Attribute {
            name: ty.to_string(),
            number: ty.0,
            value: match value {
                Value::Bool(value) => Shown::Bool(*value),
                Value::Ulong(value) => Shown::Number(*value),
                Value::Bytes(bytes) => Shown::Hex(hex(bytes)),
                Value::Mechanisms(list) => Shown::Mechanisms(list.iter().map(ToString::to_string).collect()),
            },
        };
        Ok(object.attributes.iter().map(shown).collect())
    }

    /// Changes attributes of an object: all of them, or none.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such object or attribute, or a value is not written as it should be;
    /// [`Error::PinIncorrect`]; [`Error::AttributeReadOnly`] for what PKCS#11 does not let anybody change.
    pub fn modify(&self, id: i64, pin: &Pin, changes: &[Change]) -> Result<()> {
        let (token, object) = self.find_object(id)?;
        let mut template = Template::new();
        for change in changes {
            let ty = attribute_named(&change.key)?;
            template.push(ty, value(ty, change)?.to_native());
        }
        let session = self.log_in(&token, pin)?;
        self.library.set_attributes(session.handle(), token.handle(&object), &template)
    }

    fn find_object(&self, id: i64) -> Result<(Arc<Token>, Arc<Object>)> {
        for token in self.library.tokens() {
            if let Some(object) = token.stored_object(ObjectHandle(id.cast_unsigned()))? {
                return Ok((token, object));
            }
        }
        Err(Error::ArgumentsBad("there is no object with this number; see `ptool listobjects`"))
    }
}

/// The attribute with this name or number.
///
/// # Errors
/// [`Error::ArgumentsBad`] if there is none.
pub fn attribute_named(key: &str) -> Result<AttributeType> {
    let number = match key.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => key.parse().ok(),
    };
    let mut rows = ATTRIBUTES.iter().map(|row| row.ty);
    rows.find(|ty| number == Some(ty.0) || ty.name() == Some(key))
        .ok_or(Error::ArgumentsBad("there is no such attribute; give a name such as CKA_LABEL, or its number"))
}

/// The changes that a file asks for: a mapping of attributes, by name or number, to values as they are shown. YAML, and so JSON.
///
/// # Errors
/// [`Error::ArgumentsBad`] if it is no such mapping.
pub fn parse_changes(text: &str) -> Result<Vec<Change>> {
    let wrong = Error::ArgumentsBad(
        "the file is no mapping of attributes to values in YAML; `ptool objmod --id` shows how it looks",
    );
    let Ok(PeerValue::Map(entries)) = PeerValue::parse(text) else { return Err(wrong) };
    let change = |(key, value): (String, PeerValue)| {
        let value = match &value {
            PeerValue::Scalar { text, .. } => text.clone(),
            PeerValue::List(items) => items.iter().map(PeerValue::text).collect::<Option<Vec<_>>>()?.join(","),
            PeerValue::Map(_) => return None,
        };
        Some(Change { key, value, spelling: None })
    };
    entries.into_iter().map(change).collect::<Option<Vec<_>>>().ok_or(wrong)
}

fn value(ty: AttributeType, change: &Change) -> Result<Value> {
    let kind = ty.row().ok_or(Error::AttributeTypeInvalid(ty))?.kind;
    let text = change.value.as_str();
    let spelling = change.spelling.unwrap_or(match kind {
        ValueKind::Bool => Spelling::Bool,
        ValueKind::Ulong => Spelling::Int,
        ValueKind::Bytes | ValueKind::Date | ValueKind::Mechanisms => Spelling::Raw,
    });
    let written = match (spelling, kind) {
        (Spelling::Bool, ValueKind::Bool) => truth(text).map(Value::Bool),
        (Spelling::Int, ValueKind::Bool) => truth(text).map(Value::Bool),
        (Spelling::Int, ValueKind::Ulong) => integer(text).map(Value::Ulong),
        (Spelling::Str, ValueKind::Bytes) => Some(Value::Bytes(text.as_bytes().to_vec())),
        (Spelling::Str | Spelling::Raw, ValueKind::Date) if text.len() == 8 => {
            Value::from_native(kind, text.as_bytes())
        }
        (Spelling::Raw, ValueKind::Bytes | ValueKind::Date) => {
            super::migrate::unhex(text).and_then(|bytes| Value::from_native(kind, &bytes))
        }
        (Spelling::Raw, ValueKind::Mechanisms) => mechanisms(text),
        _ => None,
    };
    written.ok_or(Error::AttributeValueInvalid(ty))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "t" | "y" | "1" => Some(true),
        "no" | "false" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Names or numbers of mechanisms, with commas between them.
fn mechanisms(text: &str) -> Option<Value> {
    let mechanism = |word: &str| {
        let word = word.trim();
        let known = model::MECHANISMS.iter().map(|row| row.ty).find(|ty| ty.name() == Some(word));
        known.or_else(|| integer(word).map(MechanismType))
    };
    text.split(',').filter(|word| !word.trim().is_empty()).map(mechanism).collect::<Option<_>>().map(Value::Mechanisms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: &str, spelling: Option<Spelling>) -> Change {
        Change { key: key.to_owned(), value: value.to_owned(), spelling }
    }

    #[test]
    fn values_are_written_as_they_are_shown_or_as_it_is_said() {
        let parse =
            |key: &str, text: &str, spelling| value(attribute_named(key).unwrap(), &change(key, text, spelling));
        let label = Ok(Value::Bytes(b"key".to_vec()));
        assert_eq!(parse("CKA_LABEL", "6b6579", None), label);
        assert_eq!(parse("3", "key", Some(Spelling::Str)), label);
        assert_eq!(parse("0x3", "6b6579", Some(Spelling::Raw)), label);
        assert_eq!(parse("CKA_SIGN", "no", None), Ok(Value::Bool(false)));
        assert_eq!(parse("CKA_SIGN", "1", Some(Spelling::Int)), Ok(Value::Bool(true)));
        assert_eq!(parse("CKA_KEY_TYPE", "0x1f", None), Ok(Value::Ulong(31)));
        assert_eq!(
            parse("CKA_ALLOWED_MECHANISMS", "CKM_ECDSA, 0x1", None),
            Ok(Value::Mechanisms(vec![MechanismType::ECDSA, MechanismType(1)]))
        );
        assert_eq!(parse("CKA_START_DATE", "20261121", Some(Spelling::Str)), Ok(Value::Bytes(b"20261121".to_vec())));
        for (key, text, spelling) in [
            ("CKA_LABEL", "key", None),
            ("CKA_LABEL", "1", Some(Spelling::Int)),
            ("CKA_SIGN", "maybe", None),
            ("CKA_KEY_TYPE", "x", None),
            ("CKA_START_DATE", "20261399", Some(Spelling::Str)),
        ] {
            assert!(parse(key, text, spelling).is_err(), "{key} {text}");
        }
        assert!(attribute_named("CKA_NOTHING").is_err() && attribute_named("4711").is_err());
    }

    #[test]
    fn files_of_changes() {
        let changes = parse_changes("CKA_LABEL: '6b6579'\n1073743360: [CKM_ECDSA, 4162]\n").unwrap();
        assert_eq!((changes[0].key.as_str(), changes[0].value.as_str()), ("CKA_LABEL", "6b6579"));
        assert_eq!(changes[1].value, "CKM_ECDSA,4162");
        assert!(parse_changes("- a").is_err() && parse_changes("{a: {b: c}}").is_err() && parse_changes("{").is_err());
    }
}
