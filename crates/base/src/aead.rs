//! Wrapping of small secrets: AES-256-GCM (NIST SP 800-38D).

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};

use crate::Secret;
use crate::random::{self, RandomError};
use crate::secret::wipe_stack;

/// Length of the nonce in front of the ciphertext, in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of the tag behind the ciphertext, in bytes.
pub const TAG_LEN: usize = 16;

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AeadError {
    /// The key is not of 32 bytes.
    #[error("the wrapping key is not of 256 bits")]
    KeyLength,
    /// The plain text is longer than GCM allows.
    #[error("the data is too long to be sealed")]
    TooLong,
    /// Not sealed under this key with this associated data, or changed since.
    #[error("the sealed data or what it is bound to has been changed")]
    NotAuthentic,
    /// There was no nonce to be had.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Encrypts `plain` under a 32-byte `key`, bound to `aad`: a random nonce ([`NONCE_LEN`]), the
/// ciphertext, and the tag ([`TAG_LEN`]).
///
/// The nonce being random, a key is good for some 2^32 calls (SP 800-38D, 8.3), which no token
/// comes near.
///
/// # Errors
/// A key of another length, or no random nonce.
pub fn seal(key: &Secret, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, AeadError> {
    let sealed = seal_under(key, aad, plain);
    wipe_stack();
    sealed
}

#[inline(never)]
fn seal_under(key: &Secret, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, AeadError> {
    let cipher = cipher(key)?;
    let mut nonce = [0; NONCE_LEN];
    random::fill(&mut nonce)?;
    let mut body = Secret::copy_from(plain);
    let tag =
        cipher.encrypt_inout_detached(&nonce.into(), aad, body.expose_mut().into()).map_err(|_| AeadError::TooLong)?;
    Ok([&nonce, body.expose(), tag.as_slice()].concat())
}

/// Undoes [`seal`].
///
/// # Errors
/// [`AeadError::NotAuthentic`] for another key, other associated data, or changed, cut or
/// lengthened bytes; which of them cannot be known.
pub fn open(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, AeadError> {
    let opened = open_under(key, aad, sealed);
    wipe_stack();
    opened
}

#[inline(never)]
fn open_under(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, AeadError> {
    let cipher = cipher(key)?;
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(AeadError::NotAuthentic)?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(AeadError::NotAuthentic)?;
    let mut plain = Secret::copy_from(body);
    cipher
        .decrypt_inout_detached(nonce.into(), aad, plain.expose_mut().into(), tag.into())
        .map_err(|_| AeadError::NotAuthentic)?;
    Ok(plain)
}

fn cipher(key: &Secret) -> Result<Aes256Gcm, AeadError> {
    Aes256Gcm::new_from_slice(key.expose()).map_err(|_| AeadError::KeyLength)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// Test cases 13 and 16 of "The Galois/Counter Mode of Operation (GCM)".
    #[test]
    fn opens_published_vectors() {
        let sealed = hex("000000000000000000000000 530f8afbc74536b9a963b4f1c4cb738b");
        let plain = open(&Secret::zeroed(32), b"", &sealed).unwrap();
        assert!(plain.is_empty());

        let half = "feffe9928665731c6d6a8f9467308308";
        let key = Secret::new(hex(&[half, half].concat()));
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
        let sealed = hex("cafebabefacedbaddecaf888
             522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
             76fc6ece0f4e1768cddf8853bb2d551b");
        assert_eq!(open(&key, &aad, &sealed).unwrap().expose(), plain);
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = Secret::new(random::bytes(32).unwrap());
        for len in [0, 1, 32, 1000] {
            let plain = random::bytes(len).unwrap();
            let sealed = seal(&key, b"row 1", &plain).unwrap();
            assert_eq!(sealed.len(), NONCE_LEN + len + TAG_LEN);
            assert_eq!(open(&key, b"row 1", &sealed).unwrap().expose(), plain);
            assert_ne!(seal(&key, b"row 1", &plain).unwrap(), sealed);

            let refused = Err(AeadError::NotAuthentic);
            assert_eq!(open(&key, b"row 2", &sealed), refused);
            assert_eq!(open(&Secret::zeroed(32), b"row 1", &sealed), refused);
            for i in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[i] ^= 0x40;
                assert_eq!(open(&key, b"row 1", &changed), refused, "byte {i}");
                assert_eq!(open(&key, b"row 1", &sealed[..i]), refused, "cut to {i}");
            }
            let longer = [&sealed[..], &[0]].concat();
            assert_eq!(open(&key, b"row 1", &longer), refused);
        }
    }

    #[test]
    fn refuses_keys_of_other_lengths() {
        for len in [0, 16, 24, 31, 33, 64] {
            let key = Secret::zeroed(len);
            assert_eq!(seal(&key, b"", b"x"), Err(AeadError::KeyLength));
            assert_eq!(open(&key, b"", &[0; 40]), Err(AeadError::KeyLength));
        }
    }
}
