//! PKCS#1 v1.5 (RFC 8017, 7.2 and 9.2).

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{PadError, ct};
use crate::digest::Hash;
use crate::{Secret, random};

/// Bytes of a block that are not message: 00, the type, at least eight of padding, 00.
const OVERHEAD: usize = 11;
/// Lengths drawn for a rejection message; the last one that fits is taken.
const LENGTH_CANDIDATES: usize = 128;

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2) around a given T, usually a DigestInfo: 00 01 FF.. 00 T.
///
/// # Errors
/// [`PadError::TooLong`] when T and the least padding exceed `k`.
pub fn pkcs1_sign_block(t: &[u8], k: usize) -> Result<Vec<u8>, PadError> {
    let mut block = frame(t, k)?;
    let padding = k - t.len() - 3;
    if let Some(head) = block.get_mut(1..2 + padding) {
        head.fill(0xff);
    }
    if let Some(kind) = block.get_mut(1) {
        *kind = 1;
    }
    Ok(block)
}

/// Whether `em` is exactly the block [`pkcs1_sign_block`] makes of `t`. The expected block is
/// built and compared, never the given one parsed, so there is no laxness to forge with.
pub fn pkcs1_sign_check(em: &[u8], t: &[u8]) -> bool {
    pkcs1_sign_block(t, em.len()).is_ok_and(|expected| expected.ct_eq(em).into())
}

/// EME-PKCS1-v1_5 encoding (RFC 8017, 7.2.1): 00 02, random bytes other than zero, 00, message.
///
/// # Errors
/// A message of more than `k` - 11 bytes, or no random bytes.
pub fn pkcs1_encrypt_block(m: &[u8], k: usize) -> Result<Secret, PadError> {
    let mut block = Secret::new(frame(m, k)?);
    let padding = k - m.len() - 3;
    if let Some(kind) = block.expose_mut().get_mut(1) {
        *kind = 2;
    }
    if let Some(head) = block.expose_mut().get_mut(2..2 + padding) {
        fill_nonzero(head)?;
    }
    Ok(block)
}

/// Undoes [`pkcs1_encrypt_block`] with implicit rejection (draft-irtf-cfrg-rsa-guidance, 7; the
/// same bytes as OpenSSL 3.2 and NSS): a block that is not well padded gives a message too, of a
/// pseudo-random length and content that depend on nothing but `key_secret` and `ciphertext`.
///
/// `em` is the decrypted block, as long as the modulus. `key_secret` is secret, at least 32 bytes,
/// and always the same for the same key; SHA-256 of the private exponent makes the messages those
/// of OpenSSL. `ciphertext` is what was decrypted, as long as the modulus.
///
/// Neither the time taken nor the memory touched depends on the block, beyond the length of the
/// message that is returned.
pub fn pkcs1_decrypt_block(em: &Secret, key_secret: &[u8], ciphertext: &[u8]) -> Secret {
    let k = em.len();
    let (mut block, synthetic_from) = rejection(key_secret, ciphertext, k);

    let bytes = em.expose();
    let mut good = Choice::from(1);
    let mut separator = 0;
    let mut searching = Choice::from(1);
    for (i, byte) in bytes.iter().enumerate() {
        match i {
            0 => good &= byte.ct_eq(&0),
            1 => good &= byte.ct_eq(&2),
            _ => {
                let zero = byte.ct_eq(&0);
                separator = ct::select(separator, i, zero & searching);
                searching &= !zero;
            }
        }
    }
    // 0 when there is none, which is too early as well.
    good &= !ct::lt(separator, OVERHEAD - 1);

    for (synthetic, byte) in block.expose_mut().iter_mut().zip(bytes) {
        synthetic.conditional_assign(byte, good);
    }
    ct::tail(block, ct::select(synthetic_from, separator + 1, good))
}

/// The `k` bytes that hold the rejection message at their end, and the position it starts at.
fn rejection(key_secret: &[u8], ciphertext: &[u8], k: usize) -> (Secret, usize) {
    let key = Hash::Sha256.hmac(key_secret, &[ciphertext]);
    let lengths = prf(&key, b"length", LENGTH_CANDIDATES * 2);
    let block = prf(&key, b"message", k);

    let limit = k.saturating_sub(OVERHEAD - 1);
    // All ones over the bits of the limit.
    let mask = usize::MAX.checked_shr(limit.leading_zeros()).unwrap_or(0);
    let mut len = 0;
    for pair in lengths.expose().chunks_exact(2) {
        let candidate = pair.iter().fold(0usize, |number, &byte| number << 8 | usize::from(byte)) & mask;
        len = ct::select(len, candidate, ct::lt(candidate, limit));
    }
    (block, k - len)
}

/// The pseudo-random function of the draft: HMAC-SHA256 over a counter, the label and the length
/// of the whole output in bits.
fn prf(key: &Secret, label: &[u8], len: usize) -> Secret {
    let bits = ((len * 8) as u16).to_be_bytes();
    let mut out = Secret::zeroed(len);
    for (counter, chunk) in (0u16..).zip(out.expose_mut().chunks_mut(Hash::Sha256.len())) {
        let block = Hash::Sha256.hmac(key.expose(), &[&counter.to_be_bytes(), label, &bits]);
        for (byte, random) in chunk.iter_mut().zip(block.expose()) {
            *byte = *random;
        }
    }
    out
}

/// `k` bytes that end in 00 and `m`, the rest zero.
fn frame(m: &[u8], k: usize) -> Result<Vec<u8>, PadError> {
    let head = k.checked_sub(m.len()).filter(|_| m.len().saturating_add(OVERHEAD) <= k).ok_or(PadError::TooLong)?;
    let mut block = vec![0; head];
    block.extend_from_slice(m);
    Ok(block)
}

/// Random bytes, none of them zero.
fn fill_nonzero(out: &mut [u8]) -> Result<(), PadError> {
    random::fill(out)?;
    for byte in out {
        while *byte == 0 {
            random::fill(std::slice::from_mut(byte))?;
        }
    }
    Ok(())
}
