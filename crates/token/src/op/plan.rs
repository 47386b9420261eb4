//! Who does which part: what is padded here, what the TPM computes, what software can do alone.
//!
//! An RSA key in the TPM is used through the raw operation (TPM2_RSA_Decrypt without a scheme) on blocks that we pad and
//! unpad: so any DigestInfo, hash, mask generation function, salt and label works, whatever the TPM knows. OAEP too: a TPM
//! knows one hash for label and mask and labels that end in a zero byte, there are TPMs that answer a bad block with
//! TPM_RC_FAILURE, as if they were broken, and none says whether its unpadding takes constant time. Ours does.

use base::curve::Curve;
use base::digest::Hash;
use base::pad::{PadError, oaep_decode, pkcs1_decrypt_block, pkcs1_sign_block, pss_encode};
use base::rsa::RsaPublic;
use base::{Secret, random};
use model::{MechanismRow, Params, Scheme};

use crate::{Error, Result};

/// Parameters that no key of this size can satisfy are refused before any data comes.
pub(super) fn check_rsa(row: &MechanismRow, params: &Params, key: &RsaPublic) -> Result<()> {
    let fits = match (row.scheme, params) {
        // RFC 8017 9.1.1: emLen >= hLen + sLen + 2
        (Scheme::RsaPss, Params::Pss { hash, salt_len, .. }) => {
            salt_len.saturating_add(hash.len() + 2) <= (key.modulus_bits() - 1).div_ceil(8)
        }
        // RFC 8017 7.1.1: k >= 2 hLen + 2
        (Scheme::RsaOaep, Params::Oaep { hash, .. }) => 2 * hash.len() + 2 <= key.modulus_len(),
        // RFC 8017 9.2: emLen >= tLen + 11
        (Scheme::RsaPkcs1, _) => {
            row.hash.is_none_or(|hash| hash.digest_info_prefix().len() + hash.len() + 11 <= key.modulus_len())
        }
        _ => true,
    };
    if fits { Ok(()) } else { Err(Error::KeySizeRange) }
}

/// The block to sign: `input` is the digest for mechanisms with a hash, the caller's data otherwise.
pub(super) fn rsa_block(row: &MechanismRow, params: &Params, key: &RsaPublic, input: &[u8]) -> Result<Vec<u8>> {
    let k = key.modulus_len();
    let block = match (row.scheme, params) {
        (Scheme::RsaPkcs1, _) => pkcs1_sign_block(&digest_info(row, input), k),
        (Scheme::RsaPss, Params::Pss { hash, mgf, salt_len }) => {
            check_digest(*hash, input)?;
            let salt = random::bytes(*salt_len)?;
            pss_encode(input, *hash, *mgf, &salt, key.modulus_bits() - 1).map(|block| left_pad(&block, k))
        }
        (Scheme::RsaRaw, _) => return raw_block(key, input),
        _ => return Err(Error::MechanismInvalid),
    };
    block.map_err(|error| match error {
        PadError::TooLong | PadError::DigestLength => Error::DataLenRange,
        _ => Error::General("the block cannot be padded".to_owned()),
    })
}

/// The T of RFC 8017 9.2: the DigestInfo of a digest, or what the caller gave in its place.
pub(super) fn digest_info(row: &MechanismRow, input: &[u8]) -> Vec<u8> {
    row.hash.map_or_else(|| input.to_vec(), |hash| [hash.digest_info_prefix(), input].concat())
}

/// An input of the raw operation: as long as the modulus, and a number below it (PKCS#11 mechanisms v3.1 2.1.9).
pub(super) fn raw_block(key: &RsaPublic, input: &[u8]) -> Result<Vec<u8>> {
    if input.len() > key.modulus_len() {
        return Err(Error::DataLenRange);
    }
    let block = left_pad(input, key.modulus_len());
    if below_modulus(key, &block) { Ok(block) } else { Err(Error::DataInvalid("it is not below the modulus")) }
}

pub(super) fn below_modulus(key: &RsaPublic, block: &[u8]) -> bool {
    block.len() == key.modulus_len() && block < key.n()
}

pub(super) fn check_digest(hash: Hash, digest: &[u8]) -> Result<()> {
    if digest.len() == hash.len() { Ok(()) } else { Err(Error::DataLenRange) }
}

/// What TPM2_Sign takes for ECDSA: a digest of one of its hashes that stands for the same number as `input`.
///
/// ECDSA signs the leftmost bits of its input, as many as the curve's order has (FIPS 186-5 6.4.1); shorter input is the
/// number it spells. TPM2_Sign wants exactly the length of a hash: so the input is cut to the order's length, and filled
/// with zeros from the left.
pub(super) fn ecdsa_digest(curve: Curve, can_hash: impl Fn(Hash) -> bool, input: &[u8]) -> Result<(Hash, Vec<u8>)> {
    let order_len = curve.field_len();
    let mut number = match input.get(..order_len) {
        Some(left) => left.to_vec(),
        None => input.to_vec(),
    };
    // P-521: 66 bytes have seven bits more than the order.
    let excess = (number.len() * 8).saturating_sub(curve.order_bits() as usize);
    if excess > 0 {
        shift_right(&mut number, excess);
    }
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let significant = number.get(zeros..).unwrap_or_default();
    let preferred = match curve {
        Curve::P224 | Curve::P256 => Hash::Sha256,
        Curve::P384 => Hash::Sha384,
        Curve::P521 => Hash::Sha512,
    };
    let hash = [preferred, Hash::Sha256, Hash::Sha384, Hash::Sha512]
        .into_iter()
        .find(|hash| can_hash(*hash) && significant.len() <= hash.len() && hash.len() <= order_len)
        .map(|hash| (hash, left_pad(significant, hash.len())));
    // No hash of a TPM is as short as the order of P-224, and a TPM need not have those of other curves. Of a longer one it takes the
    // leftmost bits.
    let longer = || {
        let mut hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter();
        hashes.find(|hash| can_hash(*hash) && hash.len() > order_len).map(|hash| {
            let mut digest = left_pad(significant, order_len);
            digest.resize(hash.len(), 0);
            (hash, digest)
        })
    };
    hash.or_else(longer).ok_or(Error::DataLenRange)
}

/// Takes off the padding of a decrypted block, in constant time.
pub(super) fn unpad(scheme: Scheme, params: &Params, block: Secret, rejection: &[u8], cipher: &[u8]) -> Result<Secret> {
    match (scheme, params) {
        (Scheme::RsaRaw, _) => Ok(block),
        (Scheme::RsaPkcs1, _) => Ok(pkcs1_decrypt_block(&block, rejection, cipher)),
        (Scheme::RsaOaep, Params::Oaep { hash, mgf, label }) => {
            oaep_decode(&block, *hash, *mgf, label).map_err(|_| Error::EncryptedDataInvalid)
        }
        _ => Err(Error::MechanismInvalid),
    }
}

/// Most bytes that a decryption can give.
pub(super) fn max_plain(scheme: Scheme, params: &Params, k: usize) -> usize {
    match (scheme, params) {
        (Scheme::RsaPkcs1, _) => k.saturating_sub(11),
        (Scheme::RsaOaep, Params::Oaep { hash, .. }) => k.saturating_sub(2 * hash.len() + 2),
        _ => k,
    }
}

pub(super) fn left_pad(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len.saturating_sub(bytes.len())];
    out.extend_from_slice(bytes);
    out
}

fn shift_right(number: &mut [u8], bits: usize) {
    debug_assert!(bits < 8);
    let mut carry = 0_u16;
    for byte in number {
        let window = (carry << 8) | u16::from(*byte);
        carry = window & 0xff;
        *byte = (window >> bits).to_be_bytes()[1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: Hash) -> bool {
        true
    }

    #[test]
    fn ecdsa_input_of_any_length_becomes_a_digest() {
        for (len, hash) in [(0, Hash::Sha256), (20, Hash::Sha256), (32, Hash::Sha256), (64, Hash::Sha256)] {
            let (found, digest) = ecdsa_digest(Curve::P256, all, &vec![7; len]).unwrap();
            assert_eq!((found, digest.len()), (hash, 32));
            assert_eq!(digest.iter().filter(|byte| **byte == 7).count(), len.min(32));
        }
        assert_eq!(ecdsa_digest(Curve::P384, all, &[7; 64]).unwrap(), (Hash::Sha384, vec![7; 48]));
        assert_eq!(ecdsa_digest(Curve::P521, all, &[7; 64]).unwrap(), (Hash::Sha512, vec![7; 64]));
        let only_256 = |hash| hash == Hash::Sha256;
        assert_eq!(ecdsa_digest(Curve::P384, only_256, &[7; 32]).unwrap(), (Hash::Sha256, vec![7; 32]));
        assert_eq!(ecdsa_digest(Curve::P384, only_256, &[7; 48]), Err(Error::DataLenRange));
        let (_, digest) = ecdsa_digest(Curve::P384, |hash| hash == Hash::Sha512, &[7; 48]).unwrap();
        assert_eq!(digest, [[7; 48].to_vec(), vec![0; 16]].concat(), "the leftmost bits of a longer hash");
    }

    #[test]
    fn p224_is_shorter_than_any_hash() {
        let (hash, digest) = ecdsa_digest(Curve::P224, all, &[7; 32]).unwrap();
        assert_eq!((hash, digest), (Hash::Sha256, [[7; 28].to_vec(), vec![0; 4]].concat()));
        let (_, digest) = ecdsa_digest(Curve::P224, all, &[7; 20]).unwrap();
        assert_eq!(digest, [vec![0; 8], vec![7; 20], vec![0; 4]].concat());
    }

    #[test]
    fn p521_takes_the_leftmost_521_bits() {
        // 66 bytes whose leftmost 521 bits are a number of 512 bits
        let mut input = vec![0; 66];
        input[1] = 0x7f;
        input[65] = 0x80;
        let (hash, digest) = ecdsa_digest(Curve::P521, all, &input).unwrap();
        let mut expected = vec![0; 64];
        expected[0] = 0xfe;
        expected[63] = 1;
        assert_eq!((hash, digest), (Hash::Sha512, expected));
        assert_eq!(ecdsa_digest(Curve::P521, all, &[0xff; 66]), Err(Error::DataLenRange), "more than any hash holds");
    }

    #[test]
    fn shifting_carries_between_bytes() {
        let mut number = [0x01, 0x80, 0x80];
        shift_right(&mut number, 7);
        assert_eq!(number, [0x00, 0x03, 0x01]);
    }
}
