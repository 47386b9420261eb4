//! Initialisation vectors of messages (PKCS#11 mechanisms v3.1 2.13.3, 2.13.4): given, random, or counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Longest initialisation vector, in bytes (mechanisms v3.1 2.13.3).
const MAX_IV: usize = 256;
/// Random bits that a made vector has at least: with fewer, two messages soon share one (NIST SP 800-38D 8.2.2).
const MIN_RANDOM_BITS: usize = 96;
/// Bits that a counter has at least, and those of them that count.
const MIN_COUNTER_BITS: usize = 32;
const COUNTER_BITS: usize = 64;

/// Where the initialisation vector of a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageIv {
    /// From the caller, who answers for using it once.
    Given(Vec<u8>),
    /// The first bits from the caller, the others at random.
    Random {
        /// A vector of the length that is wanted.
        start: Vec<u8>,
        /// How many of its bits stay.
        fixed_bits: usize,
    },
    /// The first message's vector, with the number of messages under the key put over the bits that do not stay, or added to
    /// them bit by bit.
    Counter {
        /// The vector of the first message; what is given for later ones is not looked at.
        start: Vec<u8>,
        /// How many of its bits stay.
        fixed_bits: usize,
        /// The number is added by exclusive or, as TLS 1.3 has it.
        xor: bool,
    },
}

impl MessageIv {
    /// Can a vector be made, or taken, so?
    pub(super) fn check(&self) -> Result<()> {
        let (iv, bits) = match self {
            Self::Given(iv) => (iv, None),
            Self::Random { start, fixed_bits } => (start, Some((fixed_bits, MIN_RANDOM_BITS))),
            Self::Counter { start, fixed_bits, .. } => (start, Some((fixed_bits, MIN_COUNTER_BITS))),
        };
        if !(1..=MAX_IV).contains(&iv.len()) {
            return Err(Error::MechanismParamInvalid("the initialisation vector has 1 to 256 bytes"));
        }
        let made =
            bits.is_none_or(|(fixed, least)| (iv.len() * 8).checked_sub(*fixed).is_some_and(|made| made >= least));
        if made {
            Ok(())
        } else {
            Err(Error::MechanismParamInvalid("a made vector has 96 random bits, or 32 that count"))
        }
    }
}

/// The first `fixed_bits` of `start`, and random ones.
pub(super) fn random_iv(start: &[u8], fixed_bits: usize) -> Result<Vec<u8>> {
    let mut iv = base::random::bytes(start.len())?;
    for (index, (byte, given)) in iv.iter_mut().zip(start).enumerate() {
        let mask = fixed_mask(index, fixed_bits);
        *byte = (given & mask) | (*byte & !mask);
    }
    Ok(iv)
}

/// The next vector of a key that counts its messages.
pub(super) fn counted_iv(first: &[u8], fixed_bits: usize, xor: bool, counter: &AtomicU64) -> Result<Vec<u8>> {
    let counting = (first.len() * 8).saturating_sub(fixed_bits).min(COUNTER_BITS);
    let next = |count: u64| count.checked_add(1).filter(|next| counting == COUNTER_BITS || *next <= 1 << counting);
    let count = counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .map_err(|_| Error::MechanismParamInvalid("every vector that this key can count has been used"))?;
    let mut iv = first.to_vec();
    if !xor {
        for (index, byte) in iv.iter_mut().enumerate() {
            *byte &= fixed_mask(index, fixed_bits);
        }
    }
    // The number fills the last bits; `counting` says that none of them is a fixed one.
    for (byte, part) in iv.iter_mut().rev().zip(count.to_le_bytes()) {
        *byte ^= part;
    }
    Ok(iv)
}

/// Which bits of a vector's byte stay, of `fixed_bits` from the left.
fn fixed_mask(index: usize, fixed_bits: usize) -> u8 {
    let fixed = fixed_bits.saturating_sub(index * 8).min(8);
    // `fixed` ones from the left.
    !u8::try_from(0xff_u16 >> fixed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_vector_keeps_the_fixed_bits() {
        let made = |len, fixed_bits| {
            let iv = MessageIv::Random { start: vec![0xa5; len], fixed_bits };
            iv.check().and_then(|()| random_iv(&vec![0xa5; len], fixed_bits))
        };
        let iv = made(16, 20).unwrap();
        assert_eq!((iv.len(), &iv[..2], iv[2] & 0xf0), (16, &[0xa5; 2][..], 0xa0));
        assert_ne!(iv[3..], made(16, 20).unwrap()[3..]);
        assert_eq!(made(12, 0).unwrap().len(), 12);
        for (len, fixed_bits) in [(0, 0), (11, 0), (12, 1), (16, 33), (16, usize::MAX), (257, 0)] {
            assert!(matches!(made(len, fixed_bits), Err(Error::MechanismParamInvalid(_))), "{len} {fixed_bits}");
        }
    }

    #[test]
    fn a_counted_vector_counts() {
        let counter = AtomicU64::new(0);
        let first = [0xa5; 12];
        assert_eq!(counted_iv(&first, 32, true, &counter).unwrap(), first);
        let second = counted_iv(&first, 32, true, &counter).unwrap();
        assert_eq!((&second[..11], second[11]), (&first[..11], 0xa4));
        let third = counted_iv(&first, 32, false, &counter).unwrap();
        assert_eq!(third, [0xa5, 0xa5, 0xa5, 0xa5, 0, 0, 0, 0, 0, 0, 0, 2]);
        let odd = counted_iv(&first, 29, false, &counter).unwrap();
        assert_eq!(odd, [0xa5, 0xa5, 0xa5, 0xa0, 0, 0, 0, 0, 0, 0, 0, 3]);
        let counter = AtomicU64::new((1 << 32) - 1);
        assert_eq!(counted_iv(&first, 64, false, &counter).unwrap()[8..], [0xff; 4]);
        assert!(counted_iv(&first, 64, false, &counter).is_err(), "all were used");
        for (len, fixed_bits) in [(12, 65), (3, 0), (12, 97), (0, 0)] {
            let iv = MessageIv::Counter { start: vec![0; len], fixed_bits, xor: false };
            assert!(matches!(iv.check(), Err(Error::MechanismParamInvalid(_))), "{len} {fixed_bits}");
        }
    }
}
