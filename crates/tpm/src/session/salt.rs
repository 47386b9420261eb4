//! Secrets shared with the holder of a storage primary, such as the salt of a session (TPM 2.0 Part 1, 19.6.13; B.10.2 and B.10.3
//! for RSA; C.6.1 for ECC).

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::pad::oaep_encode;
use base::rsa::RsaPublic;

use crate::error::{Error, Result};
use crate::session::crypto::kdfe;
use crate::wire::Writer;
use crate::wire::public::PublicArea;

/// A fresh salt of a session, and the contents of the TPM2B_ENCRYPTED_SECRET that carries it to the holder of `key`.
pub(crate) fn make(key: &PublicArea) -> Result<(Secret, Vec<u8>)> {
    share(key, "SECRET")
}

/// As [`make`], for what `label` says: the same secret serves nothing else.
pub(crate) fn share(key: &PublicArea, label: &str) -> Result<(Secret, Vec<u8>)> {
    let hash = key.name_hash()?;
    if let Some((curve, x, y)) = key.ecc() {
        return ecc_secret(hash, label, curve, x, y);
    }
    if let Some((modulus, exponent)) = key.rsa() {
        return rsa_secret(hash, label, modulus, exponent);
    }
    Err(Error::Unsupported("a storage primary that is neither RSA nor ECC on a known curve".into()))
}

fn rsa_secret(hash: Hash, label: &str, modulus: &[u8], exponent: u32) -> Result<(Secret, Vec<u8>)> {
    let key = RsaPublic::new(modulus, exponent.to_be_bytes())
        .map_err(|_| Error::Malformed("the RSA public key of the primary is not valid"))?;
    let mut secret = Secret::zeroed(hash.len());
    base::random::fill(secret.expose_mut())?;
    // The label of OAEP includes its terminating zero byte.
    let label = [label.as_bytes(), &[0]].concat();
    let block = oaep_encode(secret.expose(), hash, hash, &label, key.modulus_len())
        .map_err(|_| Error::Unsupported("an RSA primary too small for its hash".into()))?;
    let cipher = key.raw(&block).map_err(|_| Error::Malformed("the RSA public key of the primary is not valid"))?;
    Ok((secret, cipher))
}

fn ecc_secret(hash: Hash, label: &str, curve: Curve, x: &[u8], y: &[u8]) -> Result<(Secret, Vec<u8>)> {
    // Checks that the point is on the curve: a crafted one would tell about nothing of ours, but costs nothing to refuse.
    let peer =
        EcPublic::new(curve, x, y).map_err(|_| Error::Malformed("the ECC public key of the primary is not valid"))?;
    if !matches!(curve, Curve::P256 | Curve::P384) {
        return Err(Error::Unsupported(format!("a storage key on {}", curve.name())));
    }
    let (ours, z) = base::ecdh::with_ephemeral(&peer)?;
    let bits = u32::try_from(hash.len() * 8).unwrap_or_default();
    let secret = kdfe(hash, z.expose(), label, ours.x(), peer.x(), bits);
    let encrypted = Writer::new().tpm2b(ours.x()).tpm2b(ours.y()).finish()?.to_vec();
    Ok((secret, encrypted))
}
