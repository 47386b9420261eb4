//! Bytes as hexadecimal digits in what is stored.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::error::{Error, Result};

/// Lower-case digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits of either case, two for each byte.
pub(crate) fn decode(digits: &str) -> Result<Vec<u8>> {
    let wrong = Error::Invalid("not an even number of hexadecimal digits");
    let mut values =
        digits.bytes().map(|digit| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()));
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    while let Some(high) = values.next() {
        match (high, values.next().flatten()) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => return Err(wrong),
        }
    }
    Ok(bytes)
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<u8>, D::Error> {
    decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_bytes() {
        assert_eq!(encode(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode("001fFF").unwrap(), [0, 0x1f, 0xff]);
        assert!(decode("").unwrap().is_empty());
        for wrong in ["0", "0g", "001", "+1", "0x00", "é"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
