//! RSA public keys and the public operation.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};

use crate::{KeyError, der};

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 1024..=16384;

/// Why the public operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// The input is not exactly as long as the modulus.
    #[error("the data is not as long as the RSA modulus")]
    Length,
    /// The input is not smaller than the modulus.
    #[error("the data is not smaller than the RSA modulus")]
    Range,
}

/// An RSA public key: an odd modulus of 1024 to 16384 bits and an odd exponent of 3 to 2^64 - 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RsaPublic {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RsaPublic {
    /// A key from modulus and public exponent, big-endian, with or without leading zeros.
    ///
    /// # Errors
    /// Numbers outside the limits of this type.
    pub fn new(n: impl AsRef<[u8]>, e: impl AsRef<[u8]>) -> Result<RsaPublic, KeyError> {
        let n = strip(n.as_ref());
        let e = strip(e.as_ref());
        if !MODULUS_BITS.contains(&bits(n)) || !odd(n) {
            return Err(KeyError::Modulus);
        }
        if e.len() > 8 || !odd(e) || e == [1] {
            return Err(KeyError::Exponent);
        }
        Ok(RsaPublic { n: n.to_vec(), e: e.to_vec() })
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn n(&self) -> &[u8] {
        &self.n
    }

    /// The public exponent, big-endian, without leading zeros.
    pub fn e(&self) -> &[u8] {
        &self.e
    }

    /// Length of the modulus in bytes; the k of RFC 8017.
    pub fn modulus_len(&self) -> usize {
        self.n.len()
    }

    /// Length of the modulus in bits.
    pub fn modulus_bits(&self) -> usize {
        bits(&self.n)
    }

    /// RSAEP and RSAVP1 (RFC 8017, 5.1.1 and 5.2.2): `data` to the power e modulo n. Input and
    /// output are as long as the modulus.
    ///
    /// # Errors
    /// Input of another length, or not smaller than the modulus.
    pub fn raw(&self, data: &[u8]) -> Result<Vec<u8>, RsaError> {
        if data.len() != self.n.len() {
            return Err(RsaError::Length);
        }
        // Of equal length, so the order of bytes is the order of numbers.
        if data >= &self.n[..] {
            return Err(RsaError::Range);
        }
        let n = Odd::new(BoxedUint::from_be_slice_vartime(&self.n)).into_option().ok_or(RsaError::Range)?;
        let e = BoxedUint::from_be_slice_vartime(&self.e);
        let params = BoxedMontyParams::new_vartime(n);
        let base = BoxedMontyForm::new(BoxedUint::from_be_slice_vartime(data), &params);
        let power = base.pow_bounded_exp(&e, e.bit_width_vartime()).retrieve().to_be_bytes();
        // As long as the words of n, which may be more than its bytes.
        Ok(power.get(power.len().saturating_sub(self.n.len())..).unwrap_or_default().to_vec())
    }

    /// The SubjectPublicKeyInfo (RFC 3279, 2.3.1) in DER.
    pub fn spki(&self) -> Vec<u8> {
        let key = der::sequence(&[&der::integer(&self.n), &der::integer(&self.e)]);
        der::sequence(&[&der::sequence(&[&der::oid(RSA_ENCRYPTION), der::NULL]), &der::bit_string(&key)])
    }
}

fn strip(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|&b| b != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulus(bits: usize) -> Vec<u8> {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        n
    }

    #[test]
    fn numbers_are_stripped_and_checked() {
        let padded = [&[0, 0], &modulus(1024)[..]].concat();
        let key = RsaPublic::new(padded, [0, 1, 0, 1]).unwrap();
        assert_eq!((key.n(), key.e()), (&modulus(1024)[..], &[1, 0, 1][..]));
        assert_eq!((key.modulus_len(), key.modulus_bits()), (128, 1024));
        let key = RsaPublic::new(modulus(1025), [3]).unwrap();
        assert_eq!((key.modulus_len(), key.modulus_bits()), (129, 1025));

        for bits in [1024, 2048, 16384] {
            assert!(RsaPublic::new(modulus(bits), [1, 0, 1]).is_ok());
        }
        for bits in [8, 1023, 16385, 20000] {
            let key = RsaPublic::new(modulus(bits), [3]);
            assert_eq!(key, Err(KeyError::Modulus), "{bits}");
        }
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert_eq!(RsaPublic::new(even, [3]), Err(KeyError::Modulus));
        assert_eq!(RsaPublic::new([], [3]), Err(KeyError::Modulus));
        for e in [&[][..], &[0], &[1], &[2], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let key = RsaPublic::new(modulus(1024), e);
            assert_eq!(key, Err(KeyError::Exponent), "{e:?}");
        }
        assert!(RsaPublic::new(modulus(1024), [0xff; 8]).is_ok());
    }

    #[test]
    fn raw_keeps_the_length() {
        let key = RsaPublic::new(modulus(1024), [3]).unwrap();
        let number = |value| [&[0; 127][..], &[value]].concat();
        assert_eq!(key.raw(&number(0)), Ok(number(0)));
        assert_eq!(key.raw(&number(1)), Ok(number(1)));
        assert_eq!(key.raw(&number(5)), Ok(number(125)));
        let mut less = modulus(1024);
        less[127] = 0xfe;
        // (n - 1)^3 = -1
        assert_eq!(key.raw(&less), Ok(less));
        assert_eq!(key.raw(&modulus(1024)), Err(RsaError::Range));
        assert_eq!(key.raw(&[0; 127]), Err(RsaError::Length));
        assert_eq!(key.raw(&[0; 129]), Err(RsaError::Length));
        assert_eq!(key.raw(&[]), Err(RsaError::Length));
    }
}
