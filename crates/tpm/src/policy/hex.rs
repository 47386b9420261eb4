//! Bytes as hexadecimal digits in what is stored.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::error::{Error, Result};

pub(crate) use base::hex::encode;

/// Digits of either case, two for each byte.
pub(crate) fn decode(digits: &str) -> Result<Vec<u8>> {
    base::hex::decode(digits).ok_or(Error::Invalid("not an even number of hexadecimal digits"))
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<u8>, D::Error> {
    decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
