//! Values of options: what is typed, parsed.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An option value that is never printed.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) OsString);

impl From<OsString> for Hidden {
    fn from(value: OsString) -> Hidden {
        Hidden(value)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// The bytes of a CKA_ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(crate) Vec<u8>);

/// A persistent handle, or a file that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandleOrFile {
    Handle(u32),
    File(PathBuf),
}

impl FromStr for HandleOrFile {
    type Err = String;

    fn from_str(text: &str) -> Result<HandleOrFile, String> {
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match number {
            Ok(handle) if handle >> 24 == 0x81 => Ok(HandleOrFile::Handle(handle)),
            Ok(_) => Err("a persistent handle is 0x81000000 to 0x81FFFFFF".into()),
            Err(_) if text.is_empty() => Err("expected a persistent handle such as 0x81000001, or a file".into()),
            Err(_) => Ok(HandleOrFile::File(PathBuf::from(text))),
        }
    }
}

/// Plain text stands for its bytes, as with tpm2_ptool; the prefix gives access to the ids other tools make.
pub(super) fn parse_id(text: &str) -> Result<KeyId, String> {
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => {
            decode_hex(digits.as_bytes()).ok_or("expected an even number of hexadecimal digits after hex:")?
        }
        None => text.as_bytes().to_vec(),
    };
    match bytes.is_empty() {
        true => Err("the id is empty".into()),
        false => Ok(KeyId(bytes)),
    }
}

/// As tpm2_ptool has the ids of keys that are there already: hexadecimal digits, as listobjects prints them.
pub(super) fn parse_hex_id(text: &str) -> Result<KeyId, String> {
    let digits = text.strip_prefix("hex:").unwrap_or(text);
    match decode_hex(digits.as_bytes()) {
        Some(bytes) if !bytes.is_empty() => Ok(KeyId(bytes)),
        _ => Err("expected an even number of hexadecimal digits, as listobjects prints them".into()),
    }
}

/// Bytes, typed as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

pub(super) fn parse_octets(text: &str) -> Result<Octets, String> {
    decode_hex(text.as_bytes()).map(Octets).ok_or_else(|| "expected an even number of hexadecimal digits".into())
}

/// The bytes that pairs of hexadecimal digits stand for; None for anything else.
pub(crate) fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}
