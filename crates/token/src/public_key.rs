//! Public halves of keys: between the TPM's public areas, attributes, and what software computes with.

use base::curve::{Curve, EcPublic};
use base::rsa::RsaPublic;
use model::{AttributeType, Attributes, KeyType, Value};

use crate::{Error, Result};

/// The public half of a key, for what is done in software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA
    Rsa(RsaPublic),
    /// On a NIST curve.
    Ec(EcPublic),
}

impl PublicKey {
    /// The public key that an object's attributes tell.
    ///
    /// # Errors
    /// [`Error::KeyTypeInconsistent`] if they tell none.
    pub fn from_attributes(attributes: &Attributes) -> Result<Self> {
        let bytes = |ty| attributes.bytes(ty);
        let key = match attributes.ulong(AttributeType::KEY_TYPE).map(KeyType) {
            Some(KeyType::RSA) => bytes(AttributeType::MODULUS)
                .zip(bytes(AttributeType::PUBLIC_EXPONENT))
                .and_then(|(n, e)| RsaPublic::new(n, e).ok())
                .map(Self::Rsa),
            Some(KeyType::EC) => bytes(AttributeType::EC_PARAMS)
                .and_then(Curve::from_ec_params)
                .zip(bytes(AttributeType::EC_POINT))
                .and_then(|(curve, point)| EcPublic::from_point(curve, point).ok())
                .map(Self::Ec),
            _ => None,
        };
        key.ok_or(Error::KeyTypeInconsistent)
    }

    /// Do the attributes tell the public half in this public area? Where they are written as [`PublicKey::describe`] writes them, bytes are
    /// compared, and whoever uses the key finds out whether it can be one.
    pub(crate) fn is_told_by(attributes: &Attributes, area: &tpm::PublicArea) -> bool {
        let key_type = attributes.ulong(AttributeType::KEY_TYPE).map(KeyType);
        let same = match (key_type, area.ecc(), area.rsa()) {
            (Some(KeyType::EC), Some((curve, x, y)), _) => {
                attributes.bytes(AttributeType::EC_PARAMS) == Some(curve.oid_der())
                    && attributes.bytes(AttributeType::EC_POINT).is_some_and(|point| curve.is_point_der(point, x, y))
            }
            (Some(KeyType::RSA), _, Some((n, e))) => {
                attributes.bytes(AttributeType::MODULUS) == Some(n)
                    && attributes.bytes(AttributeType::PUBLIC_EXPONENT) == Some(significant(&e.to_be_bytes()))
            }
            _ => false,
        };
        same || Self::from_attributes(attributes)
            .is_ok_and(|told| Self::from_area(area).is_ok_and(|there| told == there))
    }

    /// Size of the key in bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        match self {
            Self::Rsa(key) => key.modulus_bits() as u64,
            Self::Ec(key) => key.curve().order_bits().into(),
        }
    }

    /// The public key in a TPM public area.
    ///
    /// # Errors
    /// [`Error::DeviceError`] if it is not one that is known here.
    pub fn from_area(area: &tpm::PublicArea) -> Result<Self> {
        let key = match (area.rsa(), area.ecc()) {
            (Some((n, e)), _) => RsaPublic::new(n, significant(&e.to_be_bytes())).ok().map(Self::Rsa),
            (None, Some((curve, x, y))) => EcPublic::new(curve, x, y).ok().map(Self::Ec),
            (None, None) => None,
        };
        key.ok_or_else(|| Error::DeviceError("the TPM's public area is not a key that is known here".to_owned()))
    }

    /// Sets the attributes that tell the public half (PKCS#11 mechanisms v3.1 2.1.2, 2.3.3).
    pub fn describe(&self, attributes: &mut Attributes) {
        let mut bytes = |ty, value: &[u8]| attributes.set(ty, Value::Bytes(value.to_vec()));
        match self {
            Self::Rsa(key) => {
                bytes(AttributeType::MODULUS, key.n());
                bytes(AttributeType::PUBLIC_EXPONENT, key.e());
            }
            Self::Ec(key) => {
                bytes(AttributeType::EC_PARAMS, key.curve().oid_der());
                bytes(AttributeType::EC_POINT, &key.point_der());
            }
        }
        bytes(AttributeType::PUBLIC_KEY_INFO, &self.spki());
    }

    /// The SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) in DER: `CKA_PUBLIC_KEY_INFO`.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.spki(),
            Self::Ec(key) => key.spki(),
        }
    }

    /// A name for the pair when the caller gave no `CKA_ID`: SHA-1 of modulus or point, as several clients choose it.
    pub(crate) fn default_id(&self) -> Vec<u8> {
        let digest = |bytes: &[u8]| base::digest::Hash::Sha1.digest(&[bytes]);
        match self {
            Self::Rsa(key) => digest(key.n()),
            Self::Ec(key) => digest(&key.point()),
        }
    }
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
