//! Builds what is sent to a TPM.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Large enough for every command made here, so that a buffer with a secret is never moved and left behind.
const CAPACITY: usize = 2048;

/// Appends big-endian fields to a buffer that is wiped when it goes.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
    overflow: bool,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer { bytes: Zeroizing::new(Vec::with_capacity(CAPACITY)), overflow: false }
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Writer {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    /// A TPM2B; one longer than 65535 bytes makes [`Writer::finish`] fail.
    pub(crate) fn tpm2b(mut self, bytes: &[u8]) -> Writer {
        match u16::try_from(bytes.len()) {
            Ok(len) => self.u16(len).bytes(bytes),
            Err(_) => {
                self.overflow = true;
                self
            }
        }
    }

    pub(crate) fn finish(self) -> Result<Zeroizing<Vec<u8>>> {
        if self.overflow { Err(Error::Invalid("a field is longer than 65535 bytes")) } else { Ok(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian_and_size_prefixed() {
        let bytes = Writer::new().u8(1).u16(2).u32(3).tpm2b(b"ab").finish().unwrap();
        assert_eq!(*bytes, [1, 0, 2, 0, 0, 0, 3, 0, 2, b'a', b'b']);
        assert!(Writer::new().tpm2b(&[0; 65536]).finish().is_err());
    }
}
