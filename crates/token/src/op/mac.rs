//! Message authentication codes: HMAC and AES-CMAC, whole or cut (PKCS#11 mechanisms v3.1 2.15, 2.20).

use base::Secret;
use base::aes::{BLOCK, cmac};
use model::{MechanismRow, Params, Scheme};

use super::Material;
use crate::library::Library;
use crate::slots::session::Session;
use crate::{Error, Result};

/// A code in the making.
#[derive(Debug)]
pub(crate) struct Coding {
    pub(crate) key: Material,
    row: &'static MechanismRow,
    len: usize,
}

impl Coding {
    pub(crate) fn new(session: &Session, key: Material, row: &'static MechanismRow, params: &Params) -> Result<Self> {
        // A key in the TPM takes the hashes of the TPM.
        let can_hash = |hash| session.token.chip.capabilities.has_hash(hash);
        if matches!(key, Material::Tpm(_)) && row.scheme == Scheme::Hmac && !row.hash.is_some_and(can_hash) {
            return Err(Error::MechanismInvalid);
        }
        let full = match (row.scheme, row.hash) {
            (Scheme::Hmac, Some(hash)) => hash.len(),
            (Scheme::Cmac, _) => BLOCK,
            _ => return Err(Error::MechanismInvalid),
        };
        let len = match params {
            Params::MacLen(len) => usize::try_from(*len).ok().filter(|len| (1..=full).contains(len)),
            _ => Some(full),
        };
        let len = len.ok_or(Error::MechanismParamInvalid("no such length of the code"))?;
        Ok(Self { key, row, len })
    }

    /// Length of the code in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The code of a message.
    pub(crate) fn run(&self, library: &Library, session: &Session, message: &[u8]) -> Result<Secret> {
        let mut code = match (self.row.scheme, self.row.hash) {
            (Scheme::Hmac, Some(hash)) => self.key.hmac(library, session, hash, message)?,
            (Scheme::Cmac, _) => Secret::copy_from(&self.key.aes(library, session, |key| cmac(key, message))??),
            _ => return Err(Error::MechanismInvalid),
        };
        code.truncate(self.len);
        Ok(code)
    }
}
