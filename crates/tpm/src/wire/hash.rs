//! Hashes, as the TPM numbers them (TPM_ALG_ID, Part 2, 6.3).

use base::digest::Hash;

use crate::error::{Error, Result};
use crate::wire::constants::alg;

/// TPM_ALG_ID of a hash.
pub(crate) fn hash_alg(hash: Hash) -> Result<u16> {
    match hash {
        Hash::Sha1 => Ok(alg::SHA1),
        Hash::Sha256 => Ok(alg::SHA256),
        Hash::Sha384 => Ok(alg::SHA384),
        Hash::Sha512 => Ok(alg::SHA512),
        Hash::Sha224 | Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => {
            Err(Error::Unsupported(format!("{} is not used with a TPM", hash.name())))
        }
    }
}

/// The hash of a TPM_ALG_ID.
pub(crate) fn hash_from_alg(id: u16) -> Result<Hash> {
    match id {
        alg::SHA1 => Ok(Hash::Sha1),
        alg::SHA256 => Ok(Hash::Sha256),
        alg::SHA384 => Ok(Hash::Sha384),
        alg::SHA512 => Ok(Hash::Sha512),
        _ => Err(Error::Unsupported(format!("hash algorithm {id:#06x}"))),
    }
}
