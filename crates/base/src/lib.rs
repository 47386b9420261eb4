//! The words below PKCS#11 and TPM 2.0: secrets, digests, key derivation, curves, RSA and its
//! paddings, and the few DER encodings they need.
//!
//! Nothing here does I/O (the operating system's random generator and the question what a descriptor
//! leads to excepted) and nothing here knows a token or a TPM. The private half of every key of a token lives in the TPM, so what is
//! done with keys in this crate is public: verifying, encrypting, and making or undoing the padding
//! around what the TPM computes. [`sign`] is the exception: it signs with keys that are in files.

pub mod aead;
pub mod aes;
pub mod certificate;
pub mod curve;
pub mod der;
pub mod descriptors;
pub mod digest;
pub mod ecdh;
pub mod hex;
pub mod kdf;
pub mod pad;
pub mod private;
pub mod random;
pub mod rsa;
mod secret;
pub mod sign;

pub use secret::{Secret, wipe};

/// Why the parts of a public key were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A coordinate, point, modulus or exponent is empty, too short or too long, or the encoding
    /// around it is not what the format says.
    #[error("the public key is malformed")]
    Malformed,
    /// The point is not on the curve, or is the point at infinity.
    #[error("the point is not on the curve")]
    NotOnCurve,
    /// The RSA modulus is even, or not of 1024 to 16384 bits.
    #[error("the RSA modulus is even or of an unsupported size")]
    Modulus,
    /// The RSA public exponent is even, less than 3 or longer than 64 bits.
    #[error("the RSA public exponent is not an odd number between 3 and 2^64")]
    Exponent,
}

/// Bytes from hexadecimal digits, for test vectors.
#[cfg(test)]
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}
