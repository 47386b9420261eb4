//! Public areas and names of objects (TPM 2.0 Part 2, 12.2; Part 1, 16).

use std::fmt;

use base::curve::Curve;
use base::digest::Hash;

use crate::error::{Error, Result};
use crate::wire::constants::{alg, ecc, hc};
use crate::wire::hash::{hash_alg, hash_from_alg};
use crate::wire::{Reader, Writer};
pub use crate::words::Name;

impl Name {
    /// A name from its bytes: a known nameAlg and a digest of its length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Name> {
        let mut reader = Reader::new(bytes);
        let hash = hash_from_alg(reader.u16()?)?;
        if reader.rest().len() != hash.len() {
            return Err(Error::Malformed("a name has the wrong length"));
        }
        Ok(Name::unchecked(bytes.to_vec()))
    }

    /// The name of the object with this TPMT_PUBLIC.
    pub(crate) fn of_public(name_alg: u16, area: &[u8]) -> Result<Name> {
        let hash = hash_from_alg(name_alg)?;
        let mut name = name_alg.to_be_bytes().to_vec();
        name.extend_from_slice(&hash.digest(&[area]));
        Ok(Name::unchecked(name))
    }
}

/// TPMA_OBJECT.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(u32);

impl Attributes {
    /// The object can never leave this TPM.
    pub const FIXED_TPM: Attributes = Attributes(1 << 1);
    /// The object can never leave its parent.
    pub const FIXED_PARENT: Attributes = Attributes(1 << 4);
    /// The TPM made the sensitive part.
    pub const SENSITIVE_DATA_ORIGIN: Attributes = Attributes(1 << 5);
    /// The USER role may be had with the authorisation value.
    pub const USER_WITH_AUTH: Attributes = Attributes(1 << 6);
    /// The ADMIN role may be had by policy only.
    pub const ADMIN_WITH_POLICY: Attributes = Attributes(1 << 7);
    /// A wrong authorisation does not count towards lockout.
    pub const NO_DA: Attributes = Attributes(1 << 10);
    /// Works only on structures of the TPM's own making.
    pub const RESTRICTED: Attributes = Attributes(1 << 16);
    /// The private part may decrypt.
    pub const DECRYPT: Attributes = Attributes(1 << 17);
    /// The private part may sign.
    pub const SIGN: Attributes = Attributes(1 << 18);

    /// The attributes as the bits of a TPMA_OBJECT.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From the bits of a TPMA_OBJECT.
    pub const fn from_bits(bits: u32) -> Attributes {
        Attributes(bits)
    }

    /// Both.
    pub const fn union(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Attributes) -> Attributes {
        Attributes(self.0 & !other.0)
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Attributes) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#x})", self.0)
    }
}

/// TPMT_SYM_DEF_OBJECT; `None` is TPM_ALG_NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symmetric {
    pub(crate) algorithm: u16,
    pub(crate) bits: u16,
    pub(crate) mode: u16,
}

/// TPMT_RSA_SCHEME, TPMT_ECC_SCHEME or TPMT_KEYEDHASH_SCHEME; its details are hash algorithm and, sometimes, one more word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    pub(crate) algorithm: u16,
    pub(crate) hash: Option<u16>,
    pub(crate) extra: Option<u16>,
}

impl Scheme {
    pub(crate) const NULL: Scheme = Scheme { algorithm: alg::NULL, hash: None, extra: None };
}

/// TPMU_PUBLIC_PARMS with TPMU_PUBLIC_ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parameters {
    Rsa { symmetric: Option<Symmetric>, scheme: Scheme, bits: u16, exponent: u32, modulus: Vec<u8> },
    Ecc { symmetric: Option<Symmetric>, scheme: Scheme, curve: u16, kdf: Scheme, x: Vec<u8>, y: Vec<u8> },
    KeyedHash { scheme: Scheme, unique: Vec<u8> },
    SymCipher { symmetric: Option<Symmetric>, unique: Vec<u8> },
}

/// A parsed TPMT_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicArea {
    pub(crate) name_alg: u16,
    pub(crate) attributes: Attributes,
    pub(crate) auth_policy: Vec<u8>,
    pub(crate) parameters: Parameters,
}

/// The exponent that a TPM means by zero.
pub(crate) const DEFAULT_EXPONENT: u32 = 65537;

impl PublicArea {
    /// Reads a TPM2B_PUBLIC, strictly: nothing missing, nothing left over.
    pub fn parse(public: &[u8]) -> Result<PublicArea> {
        let mut outer = Reader::new(public);
        let area = outer.tpm2b()?;
        outer.finish()?;
        PublicArea::parse_area(area)
    }

    /// Reads a TPMT_PUBLIC.
    pub(crate) fn parse_area(area: &[u8]) -> Result<PublicArea> {
        let mut reader = Reader::new(area);
        let object_type = reader.u16()?;
        let name_alg = reader.u16()?;
        let attributes = Attributes(reader.u32()?);
        let auth_policy = reader.tpm2b()?.to_vec();
        let parameters = match object_type {
            alg::RSA => Parameters::Rsa {
                symmetric: read_symmetric(&mut reader)?,
                scheme: read_scheme(&mut reader)?,
                bits: reader.u16()?,
                exponent: reader.u32()?,
                modulus: reader.tpm2b()?.to_vec(),
            },
            alg::ECC => Parameters::Ecc {
                symmetric: read_symmetric(&mut reader)?,
                scheme: read_scheme(&mut reader)?,
                curve: reader.u16()?,
                kdf: read_scheme(&mut reader)?,
                x: reader.tpm2b()?.to_vec(),
                y: reader.tpm2b()?.to_vec(),
            },
            alg::KEYEDHASH => {
                Parameters::KeyedHash { scheme: read_scheme(&mut reader)?, unique: reader.tpm2b()?.to_vec() }
            }
            alg::SYMCIPHER => {
                Parameters::SymCipher { symmetric: read_symmetric(&mut reader)?, unique: reader.tpm2b()?.to_vec() }
            }
            _ => return Err(Error::Malformed("the object type is unknown")),
        };
        reader.finish()?;
        Ok(PublicArea { name_alg, attributes, auth_policy, parameters })
    }

    /// The TPMT_PUBLIC.
    pub(crate) fn marshal_area(&self) -> Result<Vec<u8>> {
        let writer = Writer::new()
            .u16(self.object_type())
            .u16(self.name_alg)
            .u32(self.attributes.bits())
            .tpm2b(&self.auth_policy);
        let writer = match &self.parameters {
            Parameters::Rsa { symmetric, scheme, bits, exponent, modulus } => {
                write_scheme(write_symmetric(writer, *symmetric), *scheme).u16(*bits).u32(*exponent).tpm2b(modulus)
            }
            Parameters::Ecc { symmetric, scheme, curve, kdf, x, y } => {
                let writer = write_scheme(write_symmetric(writer, *symmetric), *scheme).u16(*curve);
                write_scheme(writer, *kdf).tpm2b(x).tpm2b(y)
            }
            Parameters::KeyedHash { scheme, unique } => write_scheme(writer, *scheme).tpm2b(unique),
            Parameters::SymCipher { symmetric, unique } => write_symmetric(writer, *symmetric).tpm2b(unique),
        };
        Ok(writer.finish()?.to_vec())
    }

    /// The TPM2B_PUBLIC.
    pub fn marshal(&self) -> Result<Vec<u8>> {
        Ok(Writer::new().tpm2b(&self.marshal_area()?).finish()?.to_vec())
    }

    /// TPM_ALG_ID of the type: 0x0001 RSA, 0x0023 ECC, 0x0008 keyed hash, 0x0025 symmetric cipher.
    pub fn object_type(&self) -> u16 {
        match self.parameters {
            Parameters::Rsa { .. } => alg::RSA,
            Parameters::Ecc { .. } => alg::ECC,
            Parameters::KeyedHash { .. } => alg::KEYEDHASH,
            Parameters::SymCipher { .. } => alg::SYMCIPHER,
        }
    }

    /// TPM_ALG_ID of the hash that names the object.
    pub fn name_alg(&self) -> u16 {
        self.name_alg
    }

    /// What the object may do, and how it is authorised.
    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// The digest of the authorisation policy; empty without one.
    pub fn auth_policy(&self) -> &[u8] {
        &self.auth_policy
    }

    /// Modulus (big-endian) and exponent of an RSA key.
    pub fn rsa(&self) -> Option<(&[u8], u32)> {
        match &self.parameters {
            Parameters::Rsa { modulus, exponent: 0, .. } => Some((modulus, DEFAULT_EXPONENT)),
            Parameters::Rsa { modulus, exponent, .. } => Some((modulus, *exponent)),
            _ => None,
        }
    }

    /// Curve and affine coordinates (big-endian) of an ECC key on a known curve.
    pub fn ecc(&self) -> Option<(Curve, &[u8], &[u8])> {
        match &self.parameters {
            Parameters::Ecc { curve, x, y, .. } => Some((curve_from_id(*curve)?, x, y)),
            _ => None,
        }
    }

    /// Bits of an AES key.
    pub fn aes_bits(&self) -> Option<u16> {
        match &self.parameters {
            Parameters::SymCipher { symmetric: Some(Symmetric { algorithm: alg::AES, bits, .. }), .. } => Some(*bits),
            _ => None,
        }
    }

    /// What an HMAC key is for: `Some(None)` is any hash, `Some(Some(hash))` that one only; `None`: this is no HMAC key.
    pub fn hmac(&self) -> Option<Option<Hash>> {
        let Parameters::KeyedHash { scheme, .. } = &self.parameters else { return None };
        if !self.attributes.contains(Attributes::SIGN) {
            return None;
        }
        match scheme {
            Scheme { algorithm: alg::NULL, .. } => Some(None),
            Scheme { algorithm: alg::HMAC, hash: Some(hash), .. } => hash_from_alg(*hash).ok().map(Some),
            _ => None,
        }
    }

    /// Bits of the modulus or of the curve's field; `None` for what is no asymmetric key, or an unknown curve.
    pub fn key_bits(&self) -> Option<u16> {
        match &self.parameters {
            Parameters::Rsa { bits, .. } => Some(*bits),
            Parameters::Ecc { curve, .. } => match curve_from_id(*curve)? {
                Curve::P224 => Some(224),
                Curve::P256 => Some(256),
                Curve::P384 => Some(384),
                Curve::P521 => Some(521),
            },
            _ => None,
        }
    }

    /// The name of the object.
    pub fn name(&self) -> Result<Name> {
        Name::of_public(self.name_alg, &self.marshal_area()?)
    }

    /// The hash of nameAlg.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] for one that is not known here.
    pub fn name_hash(&self) -> Result<Hash> {
        hash_from_alg(self.name_alg)
    }

    /// The cipher with which a storage key protects what is under it.
    pub(crate) fn storage_cipher(&self) -> Option<Symmetric> {
        match &self.parameters {
            Parameters::Rsa { symmetric, .. } | Parameters::Ecc { symmetric, .. } => *symmetric,
            _ => None,
        }
    }

    /// Whether this is a storage key: restricted, decrypting, with a symmetric algorithm (Part 1, 23.4).
    pub(crate) fn is_storage_key(&self) -> bool {
        self.storage_cipher().is_some()
            && self.attributes.contains(Attributes::RESTRICTED.union(Attributes::DECRYPT))
            && !self.attributes.contains(Attributes::SIGN)
    }

    /// Whether the TPM vouches that the private part was made in it, and has never been, nor can be, anywhere else. It lets
    /// nobody have these attributes for a key that was imported or can be duplicated (Part 2, 8.3.3).
    pub(crate) fn is_native(&self) -> bool {
        let native = Attributes::FIXED_TPM.union(Attributes::FIXED_PARENT).union(Attributes::SENSITIVE_DATA_ORIGIN);
        self.attributes.contains(native)
    }
}

/// An object outside the TPM: its public area and its sensitive part, wrapped by its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE; of a persistent object that is used where it is, the four bytes of its handle.
    pub private: Vec<u8>,
}

impl Wrapped {
    /// A persistent object: there is nothing to load.
    pub fn persistent(public: Vec<u8>, handle: u32) -> Wrapped {
        Wrapped { public, private: handle.to_be_bytes().to_vec() }
    }

    /// The handle of a persistent object. No TPM2B of four bytes begins like one.
    pub fn handle(&self) -> Option<u32> {
        let handle = u32::from_be_bytes(self.private.as_slice().try_into().ok()?);
        (hc::PERSISTENT_FIRST..=hc::PERSISTENT_LAST).contains(&handle).then_some(handle)
    }

    /// The name of the object.
    pub fn name(&self) -> Result<Name> {
        self.public_area()?.name()
    }

    /// The parsed public area.
    pub fn public_area(&self) -> Result<PublicArea> {
        PublicArea::parse(&self.public)
    }
}

/// Checks that `bytes` are one TPM2B and nothing more.
pub(crate) fn check_tpm2b(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new(bytes);
    reader.tpm2b()?;
    reader.finish()
}

pub(crate) fn curve_id(curve: Curve) -> u16 {
    match curve {
        Curve::P224 => ecc::NIST_P224,
        Curve::P256 => ecc::NIST_P256,
        Curve::P384 => ecc::NIST_P384,
        Curve::P521 => ecc::NIST_P521,
    }
}

pub(crate) fn curve_from_id(id: u16) -> Option<Curve> {
    Curve::ALL.iter().copied().find(|curve| curve_id(*curve) == id)
}

fn read_symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>> {
    match reader.u16()? {
        alg::NULL => Ok(None),
        algorithm => Ok(Some(Symmetric { algorithm, bits: reader.u16()?, mode: reader.u16()? })),
    }
}

fn write_symmetric(writer: Writer, symmetric: Option<Symmetric>) -> Writer {
    match symmetric {
        None => writer.u16(alg::NULL),
        Some(Symmetric { algorithm, bits, mode }) => writer.u16(algorithm).u16(bits).u16(mode),
    }
}

fn read_scheme(reader: &mut Reader<'_>) -> Result<Scheme> {
    let algorithm = reader.u16()?;
    let (hash, extra) = match algorithm {
        alg::NULL | alg::RSAES => (None, None),
        // TPMS_SCHEME_ECDAA has a count, TPMS_SCHEME_XOR a key derivation function, after the hash.
        alg::ECDAA | alg::XOR => (Some(reader.u16()?), Some(reader.u16()?)),
        _ => (Some(reader.u16()?), None),
    };
    Ok(Scheme { algorithm, hash, extra })
}

fn write_scheme(writer: Writer, scheme: Scheme) -> Writer {
    [Some(scheme.algorithm), scheme.hash, scheme.extra].into_iter().flatten().fold(writer, Writer::u16)
}

/// The nameAlg of everything created here.
pub(crate) const NAME_HASH: Hash = Hash::Sha256;

/// TPM_ALG_ID of [`NAME_HASH`].
pub(crate) fn name_alg() -> Result<u16> {
    hash_alg(NAME_HASH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::template::{self, KeyTemplate};

    fn areas() -> Vec<PublicArea> {
        let mut areas = vec![
            template::storage_primary().unwrap(),
            template::seal(template::Sealed::Value).unwrap(),
            template::seal(template::Sealed::Policy(&[7; 32])).unwrap(),
            template::key(KeyTemplate::Rsa { bits: 2048, exponent: 3 }).unwrap(),
        ];
        areas.extend(Curve::ALL.map(|curve| template::key(KeyTemplate::Ecc { curve }).unwrap()));
        let scheme = Scheme { algorithm: alg::ECDAA, hash: Some(alg::SHA256), extra: Some(1) };
        let kdf = Scheme { algorithm: 0x20, hash: Some(alg::SHA256), extra: None };
        let parameters = Parameters::Ecc { symmetric: None, scheme, curve: 0x10, kdf, x: vec![1], y: vec![2] };
        areas.push(PublicArea { parameters, ..template::seal(template::Sealed::Value).unwrap() });
        let symmetric = Some(Symmetric { algorithm: alg::AES, bits: 256, mode: alg::CFB });
        let parameters = Parameters::SymCipher { symmetric, unique: vec![3; 32] };
        areas.push(PublicArea { parameters, ..template::seal(template::Sealed::Value).unwrap() });
        areas
    }

    #[test]
    fn what_is_written_is_read() {
        for area in areas() {
            assert_eq!(PublicArea::parse(&area.marshal().unwrap()).unwrap(), area);
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        for area in areas() {
            let bytes = area.marshal().unwrap();
            for len in 0..bytes.len() {
                assert!(PublicArea::parse(&bytes[..len]).is_err());
            }
            let mut longer = area.marshal_area().unwrap();
            longer.push(0);
            assert!(PublicArea::parse_area(&longer).is_err());
            assert!(PublicArea::parse(&[bytes, vec![0]].concat()).is_err());
        }
    }

    #[test]
    fn altered_areas_have_other_names_or_none() {
        for area in areas() {
            let (bytes, name) = (area.marshal().unwrap(), area.name().unwrap());
            for at in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                if let Ok(other) = PublicArea::parse(&altered).and_then(|area| area.name()) {
                    assert_ne!(other, name);
                }
            }
        }
    }

    #[test]
    fn names_have_a_known_hash_and_its_length() {
        let name = template::seal(template::Sealed::Value).unwrap().name().unwrap();
        assert_eq!(Name::from_bytes(name.as_bytes()).unwrap(), name);
        assert!(name.to_string().starts_with("000b"));
        assert!(Name::from_bytes(&name.as_bytes()[..33]).is_err());
        assert!(Name::from_bytes(&[0, 9, 1]).is_err());
        assert!(Name::from_bytes(&[]).is_err());
    }

    #[test]
    fn what_a_key_is() {
        let rsa = template::key(KeyTemplate::Rsa { bits: 2048, exponent: 65537 }).unwrap();
        assert_eq!((rsa.rsa().unwrap().1, rsa.key_bits(), rsa.object_type()), (65537, Some(2048), 1));
        let ecc = template::key(KeyTemplate::Ecc { curve: Curve::P521 }).unwrap();
        assert_eq!((ecc.ecc().unwrap().0, ecc.key_bits(), ecc.rsa()), (Curve::P521, Some(521), None));
        assert!(template::storage_primary().unwrap().is_storage_key());
        assert!(!rsa.is_storage_key() && !ecc.is_storage_key());
    }
}
