//! EMSA-PSS (RFC 8017, 9.1).

use subtle::ConstantTimeEq;

use super::{PadError, mgf1_xor};
use crate::digest::Hash;

const TRAILER: u8 = 0xbc;

/// EMSA-PSS encoding (RFC 8017, 9.1.1) of a digest that `hash` made, with MGF1 over `mgf` and the
/// given salt. `em_bits` is the length of the modulus in bits, less one; the result has
/// `em_bits / 8` bytes, rounded up.
///
/// # Errors
/// A digest of another length than `hash` has, or a key too small for digest and salt.
pub fn pss_encode(digest: &[u8], hash: Hash, mgf: Hash, salt: &[u8], em_bits: usize) -> Result<Vec<u8>, PadError> {
    if digest.len() != hash.len() {
        return Err(PadError::DigestLength);
    }
    let layout = Layout::new(hash, salt.len(), em_bits).ok_or(PadError::TooLong)?;
    let h = hash.digest(&[&[0; 8], digest, salt]);
    let mut em = vec![0; layout.zeros];
    em.push(1);
    em.extend_from_slice(salt);
    mgf1_xor(mgf, &h, &mut em);
    if let Some(first) = em.first_mut() {
        *first &= layout.mask;
    }
    em.extend_from_slice(&h);
    em.push(TRAILER);
    Ok(em)
}

/// EMSA-PSS verification (RFC 8017, 9.1.2): whether `em` encodes `digest` with a salt of exactly
/// `salt_len` bytes.
pub fn pss_verify(em: &[u8], digest: &[u8], hash: Hash, mgf: Hash, salt_len: usize, em_bits: usize) -> bool {
    let Some(layout) = Layout::new(hash, salt_len, em_bits) else {
        return false;
    };
    if digest.len() != hash.len() || em.len() != layout.len() {
        return false;
    }
    let Some((masked, rest)) = em.split_at_checked(layout.zeros + 1 + salt_len) else {
        return false;
    };
    let Some((&TRAILER, h)) = rest.split_last() else {
        return false;
    };
    let mut db = masked.to_vec();
    let Some(first) = db.first_mut() else {
        return false;
    };
    if *first & !layout.mask != 0 {
        return false;
    }
    mgf1_xor(mgf, h, &mut db);
    if let Some(first) = db.first_mut() {
        *first &= layout.mask;
    }
    let Some((zeros, [1, salt @ ..])) = db.split_at_checked(layout.zeros) else {
        return false;
    };
    let expected = hash.digest(&[&[0; 8], digest, salt]);
    zeros.iter().all(|&byte| byte == 0) && expected.ct_eq(h).into()
}

/// Where the parts of an encoded message lie.
struct Layout {
    /// Zero bytes in front of 01 and the salt.
    zeros: usize,
    /// The bits of the first byte that belong to the encoded message.
    mask: u8,
    salt_len: usize,
    hash_len: usize,
}

impl Layout {
    fn new(hash: Hash, salt_len: usize, em_bits: usize) -> Option<Layout> {
        let len = em_bits.div_ceil(8);
        let zeros = len.checked_sub(hash.len())?.checked_sub(salt_len)?.checked_sub(2)?;
        Some(Layout { zeros, mask: 0xff >> (len * 8 - em_bits), salt_len, hash_len: hash.len() })
    }

    fn len(&self) -> usize {
        self.zeros + self.salt_len + self.hash_len + 2
    }
}
