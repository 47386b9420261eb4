//! EME-OAEP (RFC 8017, 7.1).

use subtle::{Choice, ConstantTimeEq};

use super::{PadError, ct, mgf1_xor};
use crate::digest::Hash;
use crate::{Secret, random};

/// EME-OAEP encoding (RFC 8017, 7.1.1, step 2): a block of `k` bytes that hides `m`.
///
/// `label` is taken as it is; a TPM wants its label to end in a zero byte and hashes that byte too.
///
/// # Errors
/// A message of more than `k` - 2 hLen - 2 bytes, or no random seed.
pub fn oaep_encode(m: &[u8], hash: Hash, mgf: Hash, label: &[u8], k: usize) -> Result<Vec<u8>, PadError> {
    let h_len = hash.len();
    let zeros = k.checked_sub(2 * h_len + 2).and_then(|room| room.checked_sub(m.len())).ok_or(PadError::TooLong)?;

    let mut db = Secret::new([&hash.digest(&[label])[..], &vec![0; zeros], &[1], m].concat());
    let mut seed = Secret::zeroed(h_len);
    random::fill(seed.expose_mut())?;
    mgf1_xor(mgf, seed.expose(), db.expose_mut());
    mgf1_xor(mgf, db.expose(), seed.expose_mut());
    Ok([&[0], seed.expose(), db.expose()].concat())
}

/// EME-OAEP decoding (RFC 8017, 7.1.2, step 3) of a decrypted block as long as the modulus.
///
/// Neither the time taken nor the memory touched depends on the block before the verdict; after
/// it, on the length of the message.
///
/// # Errors
/// [`PadError::Invalid`], whatever is wrong.
pub fn oaep_decode(em: &Secret, hash: Hash, mgf: Hash, label: &[u8]) -> Result<Secret, PadError> {
    let h_len = hash.len();
    // The size of the key and the parameters are no secret.
    if em.len() < 2 * h_len + 2 {
        return Err(PadError::Invalid);
    }
    let Some((&first, rest)) = em.expose().split_first() else {
        return Err(PadError::Invalid);
    };
    let Some((masked_seed, masked_db)) = rest.split_at_checked(h_len) else {
        return Err(PadError::Invalid);
    };
    let mut seed = Secret::copy_from(masked_seed);
    mgf1_xor(mgf, masked_db, seed.expose_mut());
    let mut db = Secret::copy_from(masked_db);
    mgf1_xor(mgf, seed.expose(), db.expose_mut());

    let Some((label_hash, padded)) = db.expose().split_at_checked(h_len) else {
        return Err(PadError::Invalid);
    };
    let mut good = first.ct_eq(&0) & label_hash.ct_eq(&hash.digest(&[label]));
    let mut separator = 0;
    let mut searching = Choice::from(1);
    for (i, byte) in padded.iter().enumerate() {
        let one = byte.ct_eq(&1);
        let zero = byte.ct_eq(&0);
        separator = ct::select(separator, i, one & searching);
        good &= !searching | one | zero;
        searching &= !one;
    }
    good &= !searching;

    let message = ct::tail(db, ct::select(0, h_len + separator + 1, good));
    if good.into() { Ok(message) } else { Err(PadError::Invalid) }
}
