//! Secrets shared with the holder of a storage primary, such as the salt of a session (TPM 2.0 Part 1, 19.6.13; B.10.2 and B.10.3
//! for RSA; C.6.1 for ECC).

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::pad::oaep_encode;
use base::rsa::RsaPublic;
use p256::elliptic_curve::rand_core::{self, CryptoRng, RngCore};

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
    let (point, z) = match curve {
        Curve::P256 => ephemeral_p256(&peer)?,
        Curve::P384 => ephemeral_p384(&peer)?,
        Curve::P224 | Curve::P521 => return Err(Error::Unsupported(format!("a storage key on {}", curve.name()))),
    };
    let len = curve.field_len();
    let (ours_x, ours_y) = point
        .get(1..)
        .and_then(|coordinates| coordinates.split_at_checked(len))
        .ok_or(Error::Invalid("the point is not uncompressed"))?;
    let bits = u32::try_from(hash.len() * 8).unwrap_or_default();
    let secret = kdfe(hash, z.expose(), label, ours_x, peer.x(), bits);
    let encrypted = Writer::new().tpm2b(ours_x).tpm2b(ours_y).finish()?.to_vec();
    Ok((secret, encrypted))
}

/// The ephemeral public point, uncompressed, and the shared x coordinate.
fn ephemeral_p256(peer: &EcPublic) -> Result<(Vec<u8>, Secret)> {
    let peer = p256::PublicKey::from_sec1_bytes(&peer.point()).map_err(|_| Error::Malformed("not a point of P-256"))?;
    let mut random = OsRandom::default();
    let ours = p256::ecdh::EphemeralSecret::random(&mut random);
    random.check()?;
    let point = p256::EncodedPoint::from(ours.public_key()).as_bytes().to_vec();
    let z = Secret::copy_from(ours.diffie_hellman(&peer).raw_secret_bytes());
    Ok((point, z))
}

fn ephemeral_p384(peer: &EcPublic) -> Result<(Vec<u8>, Secret)> {
    let peer = p384::PublicKey::from_sec1_bytes(&peer.point()).map_err(|_| Error::Malformed("not a point of P-384"))?;
    let mut random = OsRandom::default();
    let ours = p384::ecdh::EphemeralSecret::random(&mut random);
    random.check()?;
    let point = p384::EncodedPoint::from(ours.public_key()).as_bytes().to_vec();
    let z = Secret::copy_from(ours.diffie_hellman(&peer).raw_secret_bytes());
    Ok((point, z))
}

/// The operating system's generator for an interface that cannot fail: a failure is remembered, and must be asked for.
#[derive(Debug, Default)]
struct OsRandom {
    failed: bool,
}

impl OsRandom {
    fn check(&self) -> Result<()> {
        if self.failed { Err(Error::Random) } else { Ok(()) }
    }
}

impl RngCore for OsRandom {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        if base::random::fill(dest).is_err() {
            self.failed = true;
            // Rejection sampling of a scalar must end: any non-zero scalar will do, since the result is thrown away.
            dest.fill(1);
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> std::result::Result<(), rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoRng for OsRandom {}
