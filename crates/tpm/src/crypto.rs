//! The derivations and the parameter cipher of TPM 2.0 sessions (Part 1, 11.4.10, 11.4.11 and 21.3). Pure computations.

use aes::Aes128;
use base::Secret;
use base::digest::Hash;
use cfb_mode::cipher::{AsyncStreamCipher, KeyIvInit};

use crate::error::{Error, Result};
use crate::wire::constants::alg;

const AES_KEY: usize = 16;
const AES_BLOCK: usize = 16;

/// TPM_ALG_ID of a hash.
pub(crate) fn hash_alg(hash: Hash) -> Result<u16> {
    match hash {
        Hash::Sha1 => Ok(alg::SHA1),
        Hash::Sha256 => Ok(alg::SHA256),
        Hash::Sha384 => Ok(alg::SHA384),
        Hash::Sha512 => Ok(alg::SHA512),
        Hash::Sha224 => Err(Error::Unsupported("TPM 2.0 has no SHA-224".into())),
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

/// KDFa (Part 1, 11.4.10.2): SP 800-108 in counter mode with HMAC. `bits` is a multiple of 8.
pub(crate) fn kdfa(hash: Hash, key: &[u8], label: &str, context_u: &[u8], context_v: &[u8], bits: u32) -> Secret {
    expand(hash, bits, |counter| {
        hash.hmac(key, &[&counter, label.as_bytes(), &[0], context_u, context_v, &bits.to_be_bytes()])
    })
}

/// KDFe (Part 1, 11.4.10.3): SP 800-56A with a hash. `bits` is a multiple of 8.
pub(crate) fn kdfe(hash: Hash, z: &[u8], usage: &str, party_u: &[u8], party_v: &[u8], bits: u32) -> Secret {
    expand(hash, bits, |counter| Secret::new(hash.digest(&[&counter, z, usage.as_bytes(), &[0], party_u, party_v])))
}

fn expand(hash: Hash, bits: u32, block: impl Fn([u8; 4]) -> Secret) -> Secret {
    let len = usize::try_from(bits / 8).unwrap_or_default();
    let mut out = Secret::zeroed(len);
    for (chunk, counter) in out.expose_mut().chunks_mut(hash.len()).zip(1u32..) {
        let produced = block(counter.to_be_bytes());
        for (to, from) in chunk.iter_mut().zip(produced.expose()) {
            *to = *from;
        }
    }
    out
}

/// Which way a parameter goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// AES-128-CFB over a session's parameter, in place (Part 1, 21.3). `session_value` is sessionKey || authValue.
pub(crate) fn parameter_cipher(
    direction: Direction,
    hash: Hash,
    session_value: &Secret,
    nonce_newer: &[u8],
    nonce_older: &[u8],
    parameter: &mut [u8],
) -> Result<()> {
    let bits = u32::try_from((AES_KEY + AES_BLOCK) * 8).unwrap_or_default();
    let material = kdfa(hash, session_value.expose(), "CFB", nonce_newer, nonce_older, bits);
    let (key, iv) = material.expose().split_at_checked(AES_KEY).ok_or(Error::Invalid("key material"))?;
    let invalid = |_| Error::Invalid("key material");
    match direction {
        Direction::Encrypt => {
            cfb_mode::Encryptor::<Aes128>::new_from_slices(key, iv).map_err(invalid)?.encrypt(parameter);
        }
        Direction::Decrypt => {
            cfb_mode::Decryptor::<Aes128>::new_from_slices(key, iv).map_err(invalid)?.decrypt(parameter);
        }
    }
    Ok(())
}

/// An authorisation value as the TPM keeps it: without trailing zero bytes (Part 1, 19.6.4.3).
pub(crate) fn trim_auth(auth: &[u8]) -> &[u8] {
    let len = auth.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    auth.get(..len).unwrap_or_default()
}

/// Two secrets, one after the other.
pub(crate) fn concat(first: &[u8], second: &[u8]) -> Secret {
    let mut both = Secret::zeroed(first.len() + second.len());
    for (to, from) in both.expose_mut().iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    both
}
