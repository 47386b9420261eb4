//! Storage keys: this TPM's, shown to others, and those of others, for which keys are wrapped here.

use base::Secret;
use base::curve::EcPublic;
use base::rsa::RsaPublic;

use super::{Admin, ForeignKey, WrappedKey};
use token::manage::{PublicKey, primary_of};
use token::{Error, Result};

/// A key that others can be wrapped for.
#[derive(Clone, Debug)]
pub enum ParentKey {
    /// The storage key of a TPM: its TPM2B_PUBLIC.
    Tpm(Vec<u8>),
    /// An RSA key in a file, of which its public half is here.
    Rsa(RsaPublic),
    /// The same on a NIST curve.
    Ec(EcPublic),
}

impl ParentKey {
    pub(super) fn area(&self) -> Result<tpm::PublicArea> {
        let area = match self {
            Self::Tpm(public) => tpm::PublicArea::parse(public),
            Self::Rsa(key) => tpm::PublicArea::recovery_rsa(key),
            Self::Ec(key) => tpm::PublicArea::recovery_ecc(key),
        };
        match area {
            Ok(area) if area.is_parent() => Ok(area),
            Ok(_) | Err(tpm::Error::Malformed(_)) => {
                Err(Error::ArgumentsBad("the file is no storage key of a TPM; `ptool srk` prints one"))
            }
            Err(tpm::Error::Invalid(text)) => Err(Error::ArgumentsBad(text)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A storage key of this store's TPM.
#[derive(Clone, Debug)]
pub struct StorageKey {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// Its persistent handle, if it has one.
    pub handle: Option<u32>,
}

impl Admin {
    /// The storage key of a primary in the store, or of the first one. One TPM command: a key that is wrapped for what this TPM
    /// does not have any more is lost.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a primary, [`Error::WrongTpm`] if it is not in the TPM.
    pub fn storage_key(&self, pid: Option<i64>) -> Result<StorageKey> {
        let store = self.reader()?;
        let row = match pid {
            Some(pid) => store.primary(pid)?,
            None => self.library.first_primary(&store)?,
        };
        let row = row.ok_or(Error::ArgumentsBad("there is no primary with this number; see `ptool listprimaries`"))?;
        self.library.tpm()?.check_primary(&primary_of(&row)?)?;
        let key = PublicKey::from_area(&tpm::PublicArea::parse(&row.public)?)?;
        Ok(StorageKey { public: row.public, spki: key.spki(), handle: row.handle })
    }
}

/// Wraps a key for a storage key, so that its TPM alone can import it. Needs no TPM, and no store.
///
/// # Errors
/// [`Error::ArgumentsBad`] for a parent that is none, [`Error::KeySizeRange`], [`Error::DeviceError`] for what no TPM takes.
pub fn wrap(parent: &ParentKey, key: &ForeignKey, auth: &Secret) -> Result<WrappedKey> {
    let area = parent.area()?;
    let material = match key {
        ForeignKey::Private(key) => key.into(),
        ForeignKey::Aes(value) => {
            if !matches!(value.len(), 16 | 24 | 32) {
                return Err(Error::KeySizeRange);
            }
            tpm::KeyMaterial::Aes { key: value.clone() }
        }
        ForeignKey::Hmac(value) => tpm::KeyMaterial::Hmac { hash: None, key: value.clone() },
        ForeignKey::Wrapped(_) => return Err(Error::ArgumentsBad("the key is wrapped already")),
    };
    let importable = tpm::Importable::wrap(&area, &material, auth).map_err(|error| match error {
        tpm::Error::Invalid(text) => Error::ArgumentsBad(text),
        error => error.into(),
    })?;
    Ok(WrappedKey {
        public: importable.public,
        private: importable.private,
        secret: importable.secret,
        auth: auth.clone(),
    })
}
