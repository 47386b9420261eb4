//! Secret keys in operations: some are in the TPM, some in memory; what is done with them is the same.

use std::sync::Arc;

use base::Secret;
use base::aes::{AesKey, Block, Direction, MemoryKey, Mode};
use base::digest::Hash;

use super::KeyUse;
use crate::library::Library;
use crate::object::Object;
use crate::slots::session::Session;
use crate::{Error, Result};

/// Where the key of an operation is.
#[derive(Debug)]
pub(crate) enum Material {
    /// A session object: its value.
    Memory(Secret),
    /// A token object.
    Tpm(KeyUse),
}

impl Material {
    pub(crate) fn new(library: &Library, session: &Session, key: Arc<Object>) -> Result<Self> {
        if !key.in_memory() {
            return KeyUse::new(library, session, key).map(Self::Tpm);
        }
        Self::value(library, session, &key).map(Self::Memory)
    }

    /// The value of a secret key that is in memory.
    pub(crate) fn value(library: &Library, session: &Session, key: &Object) -> Result<Secret> {
        if !key.in_memory() {
            return Err(Error::KeyFunctionNotPermitted);
        }
        library.value_of(session, key)?.ok_or(Error::KeyFunctionNotPermitted)
    }

    /// The key, if it is one that may want a login of its own.
    pub(crate) fn use_mut(&mut self) -> Option<&mut KeyUse> {
        match self {
            Self::Memory(_) => None,
            Self::Tpm(use_) => Some(use_),
        }
    }

    /// HMAC of `data` (RFC 2104).
    pub(crate) fn hmac(&self, library: &Library, session: &Session, hash: Hash, data: &[u8]) -> Result<Secret> {
        match self {
            Self::Memory(value) => Ok(hash.hmac(value.expose(), &[data])),
            Self::Tpm(use_) => {
                let tpm = library.tpm()?;
                use_.with(session, |key| tpm.hmac(&key, hash, data))
            }
        }
    }

    /// Runs `work` with the key as an AES key.
    pub(crate) fn aes<T>(
        &self,
        library: &Library,
        session: &Session,
        work: impl FnOnce(&TokenAes<'_>) -> T,
    ) -> Result<T> {
        match self {
            Self::Memory(value) => {
                let key = MemoryKey::new(value).ok_or(Error::KeySizeRange)?;
                Ok(work(&TokenAes::Memory(key)))
            }
            Self::Tpm(use_) => Ok(work(&TokenAes::Tpm { library, session, use_ })),
        }
    }
}

/// An AES key, wherever it is.
#[derive(Debug)]
pub(crate) enum TokenAes<'a> {
    Memory(MemoryKey),
    Tpm { library: &'a Library, session: &'a Session, use_: &'a KeyUse },
}

impl AesKey for TokenAes<'_> {
    type Error = Error;

    fn run(&self, mode: Mode, direction: Direction, iv: &mut Block, data: &[u8]) -> Result<Secret> {
        match self {
            Self::Memory(key) => match key.run(mode, direction, iv, data) {
                Ok(out) => Ok(out),
                Err(never) => match never {},
            },
            Self::Tpm { .. } if data.is_empty() => Ok(Secret::zeroed(0)),
            Self::Tpm { library, session, use_ } => {
                let tpm = library.tpm()?;
                let vector: &[u8] = if mode == Mode::Ecb { &[] } else { &*iv };
                let (out, next) = use_.with(session, |key| {
                    let chunk = session.token.chip.capabilities.input_buffer as usize;
                    let modes = session.token.chip.cipher_modes();
                    let mode = cipher_mode(mode);
                    tpm.encrypt_decrypt_among(modes, &key, mode, vector, data, way(direction), chunk)
                })?;
                if mode != Mode::Ecb {
                    *iv = next.as_slice().try_into().map_err(|_| {
                        Error::DeviceError(
                            "the TPM answered with an initialisation vector of another length".to_owned(),
                        )
                    })?;
                }
                Ok(out)
            }
        }
    }
}

/// Can a key in the TPM run this mode, in this direction?
pub(super) fn can_run(key: &Material, session: &Session, mode: Mode, direction: Direction) -> bool {
    match key {
        Material::Memory(_) => true,
        Material::Tpm(_) => session.token.chip.cipher_modes().can(cipher_mode(mode), way(direction)),
    }
}

fn way(direction: Direction) -> tpm::Direction {
    match direction {
        Direction::Encrypt => tpm::Direction::Encrypt,
        Direction::Decrypt => tpm::Direction::Decrypt,
    }
}

fn cipher_mode(mode: Mode) -> tpm::CipherMode {
    match mode {
        Mode::Ecb => tpm::CipherMode::Ecb,
        Mode::Cbc => tpm::CipherMode::Cbc,
        Mode::Ctr => tpm::CipherMode::Ctr,
        Mode::Cfb => tpm::CipherMode::Cfb,
        Mode::Ofb => tpm::CipherMode::Ofb,
    }
}
