//! Bytes that must not outlive their use nor be printed.

use std::fmt;
use std::mem::MaybeUninit;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, optimization_barrier};

/// Secret bytes: overwritten with zeros when dropped, never printed, compared in constant time.
///
/// The length is not secret, with one exception: the unpadding functions of [`crate::pad`] take
/// care not to reveal the length of what they return.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over `bytes`. A copy the caller kept elsewhere is not wiped.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// Copies `bytes` into a new secret.
    pub fn copy_from(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// A secret of `len` zero bytes, to be filled through [`Secret::expose_mut`].
    pub fn zeroed(len: usize) -> Secret {
        Secret(vec![0; len])
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves, to be changed in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds bytes at the end; what was moved to make room is wiped.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            wipe_whole(&mut self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Takes the first `len` bytes off, or all if there are fewer.
    pub fn take_front(&mut self, len: usize) -> Secret {
        let len = len.min(self.0.len());
        let (front, rest) = self.0.split_at(len);
        let (front, rest) = (Secret::copy_from(front), rest.to_vec());
        wipe_whole(&mut self.0);
        self.0 = rest;
        front
    }

    /// Keeps the first `len` bytes; the rest is still wiped on drop, since the whole capacity is.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

/// Overwrites `bytes` with zeros, in a way the compiler keeps.
pub fn wipe(bytes: &mut [u8]) {
    // At the speed of memory, where a volatile write for each byte would be most of what a megabyte costs.
    bytes.fill(0);
    optimization_barrier(bytes);
}

/// The same of all that a vector has room for.
fn wipe_whole(bytes: &mut Vec<u8>) {
    wipe(bytes);
    let spare = bytes.spare_capacity_mut();
    spare.fill(MaybeUninit::new(0));
    optimization_barrier(spare);
}

/// Overwrites what calls that are over have left on the stack, 32 KiB deep. What a cipher's key is expanded to is moved about
/// when it is made, and only the last copy of it is wiped with it.
///
/// Such a call must be a frame of its own: whoever uses this keeps it out of line.
#[inline(never)]
pub(crate) fn wipe_stack() {
    // Words: a byte at a time would be felt.
    let mut area = [0xa5_u64; 4 * 1024];
    area.zeroize();
    std::hint::black_box(&area);
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe_whole(&mut self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_printed() {
        let secret = Secret::copy_from(b"1234");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
    }

    #[test]
    fn compares_by_content() {
        assert_eq!(Secret::copy_from(b"abc"), Secret::new(b"abc".to_vec()));
        assert_ne!(Secret::copy_from(b"abc"), Secret::copy_from(b"abd"));
        assert_ne!(Secret::copy_from(b"abc"), Secret::copy_from(b"ab"));
        assert_eq!(Secret::zeroed(3), Secret::copy_from(&[0, 0, 0]));
        assert!(Secret::zeroed(0).is_empty());
    }

    #[test]
    fn changes_in_place_and_truncates() {
        let mut secret = Secret::zeroed(4);
        secret.expose_mut().copy_from_slice(b"wxyz");
        let copy = secret.clone();
        secret.truncate(2);
        assert_eq!((secret.expose(), secret.len()), (&b"wx"[..], 2));
        assert_eq!(copy.expose(), b"wxyz");
    }
}
