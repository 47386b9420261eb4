//! Constant-time work on bytes at secret positions.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};

use crate::Secret;

/// Whether two positions are equal.
pub(super) fn eq(a: usize, b: usize) -> Choice {
    (a as u64).ct_eq(&(b as u64))
}

/// Whether `a` is less than `b`.
pub(super) fn lt(a: usize, b: usize) -> Choice {
    (b as u64).ct_gt(&(a as u64))
}

/// `b` if `choice`, else `a`.
pub(super) fn select(a: usize, b: usize, choice: Choice) -> usize {
    // A position counts bytes in memory and therefore fits both ways.
    u64::conditional_select(&(a as u64), &(b as u64), choice) as usize
}

/// The bytes of `block` from the secret position `from` on, without showing `from` by timing: the
/// block is shifted left by each power of two in turn, or not, every time touching every byte.
///
/// `from` must not exceed the length of `block`.
pub(super) fn tail(mut block: Secret, from: usize) -> Secret {
    let len = block.len();
    let bytes = block.expose_mut();
    let mut step = 1;
    while step < len {
        let shift = !eq(from & step, 0);
        for i in 0..len {
            let moved = bytes.get(i + step).copied().unwrap_or(0);
            if let Some(byte) = bytes.get_mut(i) {
                byte.conditional_assign(&moved, shift);
            }
        }
        step <<= 1;
    }
    block.truncate(len.wrapping_sub(from));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_from_every_position() {
        for len in [0, 1, 2, 3, 7, 8, 9, 128, 129] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            for from in 0..=len {
                let tail = tail(Secret::copy_from(&bytes), from);
                assert_eq!(tail.expose(), &bytes[from..]);
            }
        }
    }

    #[test]
    fn comparisons() {
        for (a, b) in [(0, 0), (0, 1), (1, 0), (255, 256), (usize::MAX, 0)] {
            assert_eq!(bool::from(eq(a, b)), a == b);
            assert_eq!(bool::from(lt(a, b)), a < b);
            assert_eq!(select(a, b, Choice::from(0)), a);
            assert_eq!(select(a, b, Choice::from(1)), b);
        }
    }
}
