//! Private keys on their way into a TPM: read from PKCS #8, or put together from their parts. Nothing is computed with them
//! but their public halves; and, with the recovery key of a backup, the one secret that opens it.

use crypto_bigint::Resize;
use elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use getrandom::SysRng;
use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode;
use rsa::traits::PrivateKeyParts;
use rsa::{BoxedUint, Oaep};

use crate::Secret;
use crate::curve::{Curve, EcPublic};
use crate::digest::Hash;
use crate::rsa::RsaPublic;

/// A private key with its public half.
#[derive(Clone, Debug)]
pub enum PrivateKey {
    /// RSA with two primes.
    Rsa {
        /// The public key.
        public: RsaPublic,
        /// One of the primes, big-endian.
        p: Secret,
    },
    /// A scalar and its point.
    Ec {
        /// The public key.
        public: EcPublic,
        /// The scalar, as long as the field.
        d: Secret,
    },
}

/// The bytes are no private key of a kind that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no private key of a kind that is known here")]
pub struct NotAPrivateKey;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

impl PrivateKey {
    /// Reads a PrivateKeyInfo (RFC 5208, RFC 5958) in DER, not encrypted.
    ///
    /// # Errors
    /// Not such a structure, another algorithm or curve, or halves that do not belong together.
    pub fn from_pkcs8(der: &Secret) -> Result<PrivateKey, NotAPrivateKey> {
        let info = pkcs8::PrivateKeyInfoRef::from_der(der.expose()).map_err(|_| NotAPrivateKey)?;
        let oid = info.algorithm.oid.to_string();
        match oid.as_str() {
            RSA_ENCRYPTION => rsa_from_pkcs1(info.private_key.as_bytes()),
            EC_PUBLIC_KEY => {
                let key = sec1::EcPrivateKey::from_der(info.private_key.as_bytes()).map_err(|_| NotAPrivateKey)?;
                let curve = info.algorithm.parameters_oid().map_err(|_| NotAPrivateKey)?;
                PrivateKey::ec(curve_of(curve).ok_or(NotAPrivateKey)?, &Secret::copy_from(key.private_key))
            }
            _ => Err(NotAPrivateKey),
        }
    }

    /// Reads an RSAPrivateKey (RFC 8017, A.1.2) in DER.
    ///
    /// # Errors
    /// Not such a structure, or one with more than two primes.
    pub fn from_pkcs1(der: &Secret) -> Result<PrivateKey, NotAPrivateKey> {
        rsa_from_pkcs1(der.expose())
    }

    /// Reads an ECPrivateKey (SEC 1, C.4; RFC 5915) in DER.
    ///
    /// # Errors
    /// Not such a structure, or one that does not name its curve; another curve; a scalar that is none.
    pub fn from_sec1(der: &Secret) -> Result<PrivateKey, NotAPrivateKey> {
        let key = sec1::EcPrivateKey::from_der(der.expose()).map_err(|_| NotAPrivateKey)?;
        let curve = key.parameters.and_then(|parameters| parameters.named_curve()).and_then(curve_of);
        PrivateKey::ec(curve.ok_or(NotAPrivateKey)?, &Secret::copy_from(key.private_key))
    }

    /// An RSA key from its public half and a prime, or the private exponent, from which the primes are found.
    ///
    /// # Errors
    /// Neither is given, or they do not belong to the public key.
    pub fn rsa(public: RsaPublic, prime: Option<&[u8]>, exponent: Option<&[u8]>) -> Result<PrivateKey, NotAPrivateKey> {
        if let Some(prime) = prime {
            return Ok(PrivateKey::Rsa { public, p: Secret::copy_from(prime) });
        }
        let number = BoxedUint::from_be_slice_vartime;
        let exponent = exponent.ok_or(NotAPrivateKey)?;
        let key =
            rsa::PrivateKey::from_components(number(public.n()), number(public.e()), number(exponent), Vec::new());
        let key = key.map_err(|_| NotAPrivateKey)?;
        let p = Secret::new(key.primes().first().ok_or(NotAPrivateKey)?.to_be_bytes().into_vec());
        Ok(PrivateKey::Rsa { public, p })
    }

    /// An EC key from its scalar.
    ///
    /// # Errors
    /// The scalar is zero, or not below the order.
    pub fn ec(curve: Curve, d: &Secret) -> Result<PrivateKey, NotAPrivateKey> {
        let public = EcPublic::of_private(curve, d).map_err(|_| NotAPrivateKey)?;
        let zeros = d.expose().iter().take_while(|byte| **byte == 0).count();
        let mut scalar = Secret::zeroed(curve.field_len().saturating_sub(d.len() - zeros));
        scalar.extend(d.expose().get(zeros..).unwrap_or_default());
        Ok(PrivateKey::Ec { public, d: scalar })
    }

    /// RSAES-OAEP decryption (RFC 8017, 7.1.2) with one hash for label and mask generation, blinded.
    ///
    /// # Errors
    /// Another key or label, or no RSA key at all: which one is not told.
    pub fn oaep_decrypt(&self, hash: Hash, label: &str, cipher: &[u8]) -> Result<Secret, NotAPrivateKey> {
        let PrivateKey::Rsa { public, p } = self else { return Err(NotAPrivateKey) };
        let (key, label) = (rsa_key(public, p).ok_or(NotAPrivateKey)?, label.as_bytes());
        let opened = match hash {
            Hash::Sha1 => key.decrypt_blinded(&mut SysRng, Oaep::<sha1::Sha1>::new_with_label(label), cipher),
            Hash::Sha256 => key.decrypt_blinded(&mut SysRng, Oaep::<sha2::Sha256>::new_with_label(label), cipher),
            Hash::Sha384 => key.decrypt_blinded(&mut SysRng, Oaep::<sha2::Sha384>::new_with_label(label), cipher),
            Hash::Sha512 => key.decrypt_blinded(&mut SysRng, Oaep::<sha2::Sha512>::new_with_label(label), cipher),
            _ => return Err(NotAPrivateKey),
        };
        opened.map(Secret::new).map_err(|_| NotAPrivateKey)
    }

    /// The shared secret of ECDH: the x coordinate, as long as the field.
    ///
    /// # Errors
    /// No EC key, or a point on another curve.
    pub fn agree(&self, other: &EcPublic) -> Result<Secret, NotAPrivateKey> {
        fn shared<C>(d: &Secret, point: &[u8]) -> Result<Secret, NotAPrivateKey>
        where
            C: elliptic_curve::CurveArithmetic,
            elliptic_curve::AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
            elliptic_curve::FieldBytesSize<C>: elliptic_curve::sec1::ModulusSize,
        {
            let key = elliptic_curve::SecretKey::<C>::from_slice(d.expose()).map_err(|_| NotAPrivateKey)?;
            let other = elliptic_curve::PublicKey::<C>::from_sec1_bytes(point).map_err(|_| NotAPrivateKey)?;
            let secret = elliptic_curve::ecdh::diffie_hellman(key.to_nonzero_scalar(), other.as_affine());
            Ok(Secret::copy_from(secret.raw_secret_bytes()))
        }
        let PrivateKey::Ec { public, d } = self else { return Err(NotAPrivateKey) };
        if public.curve() != other.curve() {
            return Err(NotAPrivateKey);
        }
        match public.curve() {
            Curve::P224 => shared::<p224::NistP224>(d, &other.point()),
            Curve::P256 => shared::<p256::NistP256>(d, &other.point()),
            Curve::P384 => shared::<p384::NistP384>(d, &other.point()),
            Curve::P521 => shared::<p521::NistP521>(d, &other.point()),
        }
    }
}

/// The key that RSA is computed with here; `None` if the prime does not belong to the public half.
pub(crate) fn rsa_key(public: &RsaPublic, p: &Secret) -> Option<rsa::PrivateKey> {
    let number = BoxedUint::from_be_slice_vartime;
    let p = number(p.expose());
    let q = number(public.n()).checked_div(&p).into_option()?;
    let p_len = p.bits_precision();
    rsa::PrivateKey::from_p_q(p, q.try_resize(p_len)?, number(public.e())).ok()
}

fn rsa_from_pkcs1(der: &[u8]) -> Result<PrivateKey, NotAPrivateKey> {
    let key = pkcs1::RsaPrivateKeyRef::from_der(der).map_err(|_| NotAPrivateKey)?;
    if key.other_prime_infos.is_some() {
        return Err(NotAPrivateKey);
    }
    let public = RsaPublic::new(key.modulus.as_bytes(), key.public_exponent.as_bytes());
    PrivateKey::rsa(public.map_err(|_| NotAPrivateKey)?, Some(key.prime1.as_bytes()), None)
}

fn curve_of(oid: ObjectIdentifier) -> Option<Curve> {
    Curve::ALL.into_iter().find(|known| known.oid_der().ends_with(oid.as_bytes()))
}
