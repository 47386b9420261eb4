//! nonceCaller (TPM 2.0 Part 1, 17.6), drawn from the operating system many at a time: each question costs a system call, and a
//! signature has no other that it could do without.
//!
//! They belong to one connection, and no forked child uses a connection that it inherited: no nonce is used on both sides of a
//! fork.

use std::fmt;

use base::random::RandomError;

use crate::session::authorization::NONCE_LEN;

/// So many are drawn at once.
const DRAWN: usize = 32;

/// Nonces that were never used: secret until they are, and wiped in the end.
#[derive(Default)]
pub(crate) struct Nonces {
    left: Vec<[u8; NONCE_LEN]>,
}

impl Nonces {
    /// A nonce that nobody had before.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub(crate) fn next(&mut self) -> Result<Vec<u8>, RandomError> {
        loop {
            if let Some(nonce) = self.left.pop() {
                return Ok(nonce.to_vec());
            }
            let mut drawn = vec![[0; NONCE_LEN]; DRAWN];
            base::random::fill(drawn.as_flattened_mut())?;
            self.left = drawn;
        }
    }
}

impl Drop for Nonces {
    fn drop(&mut self) {
        base::wipe(self.left.as_flattened_mut());
    }
}

/// Only how many.
impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nonces", self.left.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_comes_twice() {
        let mut nonces = Nonces::default();
        let mut seen: Vec<Vec<u8>> = (0..5 * DRAWN / 2).map(|_| nonces.next().unwrap()).collect();
        assert!(seen.iter().all(|nonce| nonce.len() == NONCE_LEN && nonce.iter().any(|byte| *byte != 0)));
        assert_eq!(nonces.left.len(), DRAWN / 2);
        assert_eq!(format!("{nonces:?}"), "16 nonces");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5 * DRAWN / 2);
    }
}
