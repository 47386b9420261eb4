//! PINs of the C interface.

use base::Secret;
use token::{Error, Result};

use crate::raw::{Bytes, MAX_VALUE};

impl Bytes<'_> {
    /// A PIN: `None` for null (the PIN comes by a protected path), else a copy that is wiped after use.
    ///
    /// # Errors
    /// As [`Bytes::slice`]; `PinLenRange` above what any PIN can have.
    pub(crate) fn secret(&self) -> Result<Option<Secret>> {
        let bytes = self.slice()?;
        if bytes.len() > MAX_VALUE {
            return Err(Error::PinLenRange);
        }
        Ok((!self.is_null()).then(|| Secret::copy_from(bytes)))
    }
}
