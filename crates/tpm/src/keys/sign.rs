//! Signing and decrypting with a key: one TPM command each.

use base::Secret;
use base::digest::Hash;

use crate::connection::Connection;
use crate::connection::primary::Primary;
use crate::error::{Error, Result};
use crate::keys::load::{check, use_key};
use crate::policy::PolicyUse;
use crate::wire::constants::{alg, cc, rh, st};
use crate::wire::hash::hash_alg;
use crate::wire::public::{Attributes, Name, Parameters, PublicArea, Scheme, Wrapped};
use crate::wire::signature::{Signature, pad_left};
use crate::wire::{Reader, Writer};

/// A key at rest, with all that is needed to use it.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The primary it is wrapped by.
    pub primary: &'a Primary,
    /// Its blobs.
    pub wrapped: &'a Wrapped,
    /// The name it must have.
    pub name: &'a Name,
    /// Its authorisation value.
    pub auth: &'a Secret,
    /// Its policy, if it is used by that; [`Error::NameMismatch`] if it has another one.
    pub policy: Option<PolicyUse<'a>>,
}

/// How to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignScheme {
    /// ECDSA.
    Ecdsa,
    /// RSASSA-PKCS1-v1_5: the TPM adds the DigestInfo.
    RsaSsa,
    /// RSASSA-PSS; the TPM chooses the length of the salt (FIPS: that of the hash).
    RsaPss,
}

/// How to decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecryptScheme<'a> {
    /// m = c^d mod n, no padding removed.
    Raw,
    /// RSAES-PKCS1-v1_5: the TPM takes the padding off.
    Es,
    /// RSAES-OAEP with one hash for label and mask generation.
    Oaep {
        /// The hash.
        hash: Hash,
        /// The label. A TPM hashes it with the zero byte that must end it: it is empty or ends with a zero byte.
        label: &'a [u8],
    },
}

/// One command; Load and StartAuthSession before it as needed.
pub(crate) fn sign(
    connection: &mut Connection,
    key: &Key<'_>,
    hash: Hash,
    digest: &[u8],
    scheme: SignScheme,
) -> Result<Signature> {
    let area = check_sign(key, hash, digest, scheme)?;
    let (scheme_alg, hash_id) = (scheme_alg(scheme), hash_alg(hash)?);
    // digest, inScheme, and a ticket for no restriction
    let parameters =
        || Writer::new().tpm2b(digest).u16(scheme_alg).u16(hash_id).u16(st::HASHCHECK).u32(rh::NULL).tpm2b(&[]);
    let response = use_key(connection, key, cc::SIGN, parameters, true, false)?;
    let mut reader = response.reader();
    if reader.u16()? != scheme_alg || reader.u16()? != hash_id {
        return Err(Error::Malformed("the signature has another scheme than the one asked for"));
    }
    let signature = read_signature(&mut reader, &area)?;
    reader.finish()?;
    Ok(signature)
}

fn scheme_alg(scheme: SignScheme) -> u16 {
    match scheme {
        SignScheme::Ecdsa => alg::ECDSA,
        SignScheme::RsaSsa => alg::RSASSA,
        SignScheme::RsaPss => alg::RSAPSS,
    }
}

fn check_sign(key: &Key<'_>, hash: Hash, digest: &[u8], scheme: SignScheme) -> Result<PublicArea> {
    let area = check(key)?;
    if digest.len() != hash.len() {
        return Err(Error::Invalid("the digest does not have the length of its hash"));
    }
    check_usage(&area, Attributes::SIGN)?;
    let own = match (&area.parameters, scheme) {
        (Parameters::Ecc { scheme: own, .. }, SignScheme::Ecdsa) => {
            if area.ecc().is_none() {
                return Err(Error::Unsupported("the curve of the key".into()));
            }
            own
        }
        (Parameters::Rsa { scheme: own, bits, .. }, SignScheme::RsaSsa | SignScheme::RsaPss) => {
            let room = usize::from(*bits) / 8;
            let needed = match scheme {
                SignScheme::RsaPss => 2 * hash.len() + 2,
                _ => hash.digest_info_prefix().len() + hash.len() + 11,
            };
            if room < needed {
                return Err(Error::Invalid("the RSA key is too short for this hash"));
            }
            own
        }
        _ => return Err(Error::Invalid("the scheme does not fit the type of the key")),
    };
    check_own_scheme(own, scheme_alg(scheme), hash_alg(hash)?)?;
    Ok(area)
}

pub(crate) fn check_usage(area: &PublicArea, usage: Attributes) -> Result<()> {
    if !area.attributes().contains(usage) || area.attributes().contains(Attributes::RESTRICTED) {
        return Err(Error::Invalid("the key may not be used for this"));
    }
    Ok(())
}

/// A key with a scheme of its own serves that one only.
fn check_own_scheme(own: &Scheme, wanted: u16, hash: u16) -> Result<()> {
    if own.algorithm == alg::NULL || (own.algorithm == wanted && own.hash == Some(hash)) {
        return Ok(());
    }
    Err(Error::Invalid("the key is made for another scheme"))
}

fn read_signature(reader: &mut Reader<'_>, area: &PublicArea) -> Result<Signature> {
    if let Some((curve, _, _)) = area.ecc() {
        let mut number = || pad_left(reader.tpm2b()?, curve.field_len());
        let (r, s) = (number()?, number()?);
        return Ok(Signature::Ecc { r: r.expose().to_vec(), s: s.expose().to_vec() });
    }
    let (modulus, _) = area.rsa().ok_or(Error::Malformed("a signature of an unknown type"))?;
    let signature = reader.tpm2b()?;
    if signature.len() != modulus.len() {
        return Err(Error::Malformed("the signature does not have the length of the modulus"));
    }
    Ok(Signature::Rsa(signature.to_vec()))
}

/// One command; Load and StartAuthSession before it as needed.
pub(crate) fn rsa_decrypt(
    connection: &mut Connection,
    key: &Key<'_>,
    scheme: DecryptScheme<'_>,
    cipher: &[u8],
) -> Result<Secret> {
    let area = check_decrypt(key, scheme, cipher)?;
    let (scheme_id, hash_id, label) = match scheme {
        DecryptScheme::Raw => (alg::NULL, None, &[][..]),
        DecryptScheme::Es => (alg::RSAES, None, &[][..]),
        DecryptScheme::Oaep { hash, label } => (alg::OAEP, Some(hash_alg(hash)?), label),
    };
    let parameters = || {
        let writer = Writer::new().tpm2b(cipher).u16(scheme_id);
        match hash_id {
            None => writer,
            Some(hash_id) => writer.u16(hash_id),
        }
        .tpm2b(label)
    };
    let response = use_key(connection, key, cc::RSA_DECRYPT, parameters, false, true)?;
    let mut reader = response.reader();
    let message = reader.tpm2b()?;
    let (modulus, _) = area.rsa().ok_or(Error::Malformed("a plaintext of an unknown type"))?;
    let message = match scheme {
        DecryptScheme::Raw => pad_left(message, modulus.len())?,
        DecryptScheme::Es | DecryptScheme::Oaep { .. } => Secret::copy_from(message),
    };
    reader.finish()?;
    Ok(message)
}

fn check_decrypt(key: &Key<'_>, scheme: DecryptScheme<'_>, cipher: &[u8]) -> Result<PublicArea> {
    let area = check(key)?;
    check_usage(&area, Attributes::DECRYPT)?;
    let Parameters::Rsa { scheme: own, modulus, .. } = &area.parameters else {
        return Err(Error::Invalid("the scheme does not fit the type of the key"));
    };
    if cipher.len() != modulus.len() || cipher >= modulus.as_slice() {
        return Err(Error::Invalid("the ciphertext is not below the modulus, or not of its length"));
    }
    match scheme {
        DecryptScheme::Raw if own.algorithm != alg::NULL => Err(Error::Invalid("the key is made for another scheme")),
        DecryptScheme::Raw => Ok(area),
        DecryptScheme::Es if ![alg::NULL, alg::RSAES].contains(&own.algorithm) => {
            Err(Error::Invalid("the key is made for another scheme"))
        }
        DecryptScheme::Es => Ok(area),
        DecryptScheme::Oaep { hash, label } => {
            check_own_scheme(own, alg::OAEP, hash_alg(hash)?)?;
            if label.last().is_some_and(|last| *last != 0) {
                return Err(Error::Unsupported("an OAEP label that does not end with a zero byte".into()));
            }
            if modulus.len() < 2 * hash.len() + 2 {
                return Err(Error::Invalid("the RSA key is too short for this hash"));
            }
            Ok(area)
        }
    }
}
