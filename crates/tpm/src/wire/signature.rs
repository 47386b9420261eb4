//! Signatures, and numbers of a fixed length.

use base::Secret;

use crate::error::{Error, Result};

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA; both numbers are big-endian, as long as the curve's field.
    Ecc {
        /// r
        r: Vec<u8>,
        /// s
        s: Vec<u8>,
    },
    /// RSA; as long as the modulus.
    Rsa(Vec<u8>),
}

/// A big-endian number at a fixed length.
pub(crate) fn pad_left(number: &[u8], len: usize) -> Result<Secret> {
    let missing = len.checked_sub(number.len()).ok_or(Error::Malformed("a number is too long"))?;
    let mut padded = Secret::zeroed(len);
    for (to, from) in padded.expose_mut().iter_mut().skip(missing).zip(number) {
        *to = *from;
    }
    Ok(padded)
}
