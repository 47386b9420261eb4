//! The paddings of RSA (RFC 8017), apart from the key operation, which the TPM or
//! [`crate::rsa::RsaPublic::raw`] does.
//!
//! Everywhere `k` is the length of the modulus in bytes. Making a block and checking a signature
//! is public work; undoing the padding of a decrypted block is not: whoever learns why a block was
//! refused, or how long the message in a refused one would have been, can decrypt
//! (Bleichenbacher, Manger, Marvin). The decoders therefore run the same instructions over the
//! same addresses for every block of one size, and decide at the very end.

mod ct;
mod oaep;
mod pkcs1;
mod pss;

pub use oaep::{oaep_decode, oaep_encode};
pub use pkcs1::{pkcs1_decrypt_block, pkcs1_encrypt_block, pkcs1_sign_block, pkcs1_sign_check};
pub use pss::{pss_encode, pss_verify};

use crate::digest::Hash;
use crate::random::RandomError;

/// Why a block was not made or not undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PadError {
    /// The message, digest or salt does not fit into a block of this size.
    #[error("the data is too long for the key")]
    TooLong,
    /// The digest is not as long as its hash function makes it.
    #[error("the digest is not of the hash function's length")]
    DigestLength,
    /// The block does not carry this padding. On purpose there is no word about what is wrong.
    #[error("the data was not encrypted for this key and these parameters")]
    Invalid,
    /// There was no random seed to be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// MGF1 (RFC 8017, B.2.1), applied: the mask from `seed` is XORed into `out`.
fn mgf1_xor(hash: Hash, seed: &[u8], out: &mut [u8]) {
    for (counter, chunk) in (0u32..).zip(out.chunks_mut(hash.len())) {
        let mask = hash.digest(&[seed, &counter.to_be_bytes()]);
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}
