//! Names of objects.

use std::fmt;

/// The name of an object: its nameAlg (2 bytes) and the digest of its public area. The contents of a TPM2B_NAME.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Bytes that are known to be a name.
    pub(crate) fn unchecked(bytes: Vec<u8>) -> Name {
        Name(bytes)
    }

    /// The name of a permanent handle: the handle itself.
    pub(crate) fn of_handle(handle: u32) -> Name {
        Name(handle.to_be_bytes().to_vec())
    }

    /// nameAlg and digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
