//! The public areas of what is created here.

use base::curve::Curve;
use base::digest::Hash;

use crate::error::{Error, Result};
use crate::wire::constants::{alg, ecc};
use crate::wire::hash::hash_alg;
use crate::wire::public::{
    Attributes, DEFAULT_EXPONENT, Parameters, PublicArea, Scheme, Symmetric, curve_id, name_alg,
};

/// What kind of key to create. Keys sign and decrypt as far as they can, choose their scheme or mode at each use, can never leave
/// their parent, are authorised by their value, and do not count towards lockout (the value is random: it cannot be guessed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyTemplate {
    /// RSA.
    Rsa {
        /// Bits of the modulus.
        bits: u16,
        /// Public exponent; 0 and 65537 are the same.
        exponent: u32,
    },
    /// Elliptic curve.
    Ecc {
        /// The curve.
        curve: Curve,
    },
    /// AES, for any mode of operation.
    Aes {
        /// Bits of the key: 128, 192 or 256.
        bits: u16,
    },
    /// HMAC. A TPM makes the key as long as a digest: of the hash it is for, of SHA-256 if it is for any.
    Hmac {
        /// The only hash it is for; `None`: any.
        hash: Option<Hash>,
    },
}

const FIXED: Attributes = Attributes::FIXED_TPM.union(Attributes::FIXED_PARENT);
const STORAGE: Symmetric = Symmetric { algorithm: alg::AES, bits: 128, mode: alg::CFB };

/// The storage primary of the TCG TPM v2.0 Provisioning Guidance, 7.5.1: ECC P-256, as other software makes it.
pub(crate) fn storage_primary() -> Result<PublicArea> {
    Ok(PublicArea {
        name_alg: name_alg()?,
        attributes: FIXED
            .union(Attributes::SENSITIVE_DATA_ORIGIN)
            .union(Attributes::USER_WITH_AUTH)
            .union(Attributes::NO_DA)
            .union(Attributes::RESTRICTED)
            .union(Attributes::DECRYPT),
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Some(STORAGE),
            scheme: Scheme::NULL,
            curve: ecc::NIST_P256,
            kdf: Scheme::NULL,
            // The template's unique field is 32 zero bytes for each coordinate; it is part of what the key is derived from.
            x: vec![0; 32],
            y: vec![0; 32],
        },
    })
}

/// What a storage primary that is kept nowhere is derived from. A TPM derives the same key from the same template, until it is
/// cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PrimaryTemplate {
    /// The storage primary of the TCG TPM v2.0 Provisioning Guidance, 7.5.1: P-256.
    #[default]
    Srk,
    /// RSA with 2048 bits, as `tpm2_createprimary` of tpm2-tools makes it by default.
    Rsa,
    /// The same, exempt from dictionary attack protection.
    RsaNoDa,
    /// P-256, as `tpm2_createprimary -G ecc` makes it.
    Ecc,
    /// The same, exempt from dictionary attack protection: what keys of the TSS2 engine and provider of OpenSSL hang below.
    EccNoDa,
}

/// The public area to derive a storage primary from.
pub(crate) fn primary(template: PrimaryTemplate) -> Result<PublicArea> {
    let srk = storage_primary()?;
    let without_no_da = Attributes::from_bits(srk.attributes.bits() & !Attributes::NO_DA.bits());
    // What is derived depends on the length of the empty fields, too.
    let rsa = Parameters::Rsa {
        symmetric: Some(STORAGE),
        scheme: Scheme::NULL,
        bits: 2048,
        exponent: 0,
        modulus: Vec::new(),
    };
    let ecc = Parameters::Ecc {
        symmetric: Some(STORAGE),
        scheme: Scheme::NULL,
        curve: ecc::NIST_P256,
        kdf: Scheme::NULL,
        x: Vec::new(),
        y: Vec::new(),
    };
    Ok(match template {
        PrimaryTemplate::Srk => srk,
        PrimaryTemplate::Rsa => PublicArea { attributes: without_no_da, parameters: rsa, ..srk },
        PrimaryTemplate::RsaNoDa => PublicArea { parameters: rsa, ..srk },
        PrimaryTemplate::Ecc => PublicArea { attributes: without_no_da, parameters: ecc, ..srk },
        PrimaryTemplate::EccNoDa => PublicArea { parameters: ecc, ..srk },
    })
}

/// A key that the TPM makes, and never gives away.
pub(crate) fn key(template: KeyTemplate) -> Result<PublicArea> {
    let mut area = imported_key(template)?;
    area.attributes = area.attributes.union(FIXED).union(Attributes::SENSITIVE_DATA_ORIGIN);
    Ok(area)
}

/// A key that was made elsewhere, as TPM2_Import demands it (Part 3, 13.3). It has no policy, and duplication is allowed by
/// policy only: the TPM gives it away no more than the others.
pub(crate) fn imported_key(template: KeyTemplate) -> Result<PublicArea> {
    let parameters = match template {
        KeyTemplate::Rsa { bits, exponent } => {
            if bits < 1024 || bits % 8 != 0 {
                return Err(Error::Invalid("the size of an RSA key is a multiple of 8 bits, at least 1024"));
            }
            if exponent != 0 && (exponent < 3 || exponent % 2 == 0) {
                return Err(Error::Invalid("the public exponent is odd, and at least 3"));
            }
            // Zero is how a TPM writes its default; some accept nothing else.
            let exponent = if exponent == DEFAULT_EXPONENT { 0 } else { exponent };
            Parameters::Rsa { symmetric: None, scheme: Scheme::NULL, bits, exponent, modulus: Vec::new() }
        }
        KeyTemplate::Ecc { curve } => Parameters::Ecc {
            symmetric: None,
            scheme: Scheme::NULL,
            curve: curve_id(curve),
            kdf: Scheme::NULL,
            x: Vec::new(),
            y: Vec::new(),
        },
        KeyTemplate::Aes { bits } => {
            if !matches!(bits, 128 | 192 | 256) {
                return Err(Error::Invalid("an AES key has 128, 192 or 256 bits"));
            }
            let symmetric = Some(Symmetric { algorithm: alg::AES, bits, mode: alg::NULL });
            Parameters::SymCipher { symmetric, unique: Vec::new() }
        }
        KeyTemplate::Hmac { hash } => {
            let scheme = match hash {
                None => Scheme::NULL,
                Some(hash) => Scheme { algorithm: alg::HMAC, hash: Some(hash_alg(hash)?), extra: None },
            };
            Parameters::KeyedHash { scheme, unique: Vec::new() }
        }
    };
    let usage = match template {
        // A keyed hash is for one scheme if it signs, and for none in particular if it also decrypts.
        KeyTemplate::Hmac { hash: Some(_) } => Attributes::SIGN,
        _ => Attributes::SIGN.union(Attributes::DECRYPT),
    };
    Ok(PublicArea {
        name_alg: name_alg()?,
        attributes: usage.union(Attributes::USER_WITH_AUTH).union(Attributes::NO_DA),
        auth_policy: Vec::new(),
        parameters,
    })
}

/// Usable by the policy with this digest only: nothing walks around it.
pub(crate) fn with_policy(mut area: PublicArea, policy: Option<&[u8]>) -> PublicArea {
    if let Some(digest) = policy {
        area.auth_policy = digest.to_vec();
        area.attributes = area.attributes.without(Attributes::USER_WITH_AUTH);
    }
    area
}

/// How a sealed data object is authorised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sealed<'a> {
    /// By its value.
    Value,
    /// By its value; what changes that, by the policy with this digest only (the ADMIN role).
    AdminPolicy(&'a [u8]),
    /// By the policy with this digest only.
    Policy(&'a [u8]),
}

/// A sealed data object, subject to lockout.
pub(crate) fn seal(sealed: Sealed<'_>) -> Result<PublicArea> {
    let (attributes, policy) = match sealed {
        Sealed::Value => (Attributes::USER_WITH_AUTH, None),
        Sealed::AdminPolicy(policy) => (Attributes::USER_WITH_AUTH.union(Attributes::ADMIN_WITH_POLICY), Some(policy)),
        Sealed::Policy(policy) => (Attributes::ADMIN_WITH_POLICY, Some(policy)),
    };
    Ok(PublicArea {
        name_alg: name_alg()?,
        attributes: FIXED.union(attributes),
        auth_policy: policy.map_or_else(Vec::new, <[u8]>::to_vec),
        parameters: Parameters::KeyedHash { scheme: Scheme::NULL, unique: Vec::new() },
    })
}
