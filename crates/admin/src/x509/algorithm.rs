//! How a certificate is signed: the algorithm's name in X.509, and the token's mechanism for it.

use base::digest::Hash;
use base::{curve::Curve, der};
use model::{Mechanism, MechanismType, Params};
use pkcs1::{RsaPssParams, TrailerField};
use x509_cert::der::AnyRef;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::spki::{AlgorithmIdentifier, AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use super::unencodable;
use token::manage::PublicKey;
use token::{Error, Result};

/// A signature algorithm of X.509.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm {
    hash: Hash,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Pkcs1,
    Pss,
    Ecdsa,
}

/// What stands for a hash: itself, with RSA PKCS #1, with ECDSA (RFC 5754, RFC 5758), and the mechanisms.
struct Row {
    hash: Hash,
    oid: &'static str,
    rsa: &'static str,
    ecdsa: &'static str,
    mechanisms: [MechanismType; 3],
    name: &'static str,
}

const ROWS: [Row; 3] = [
    Row {
        hash: Hash::Sha256,
        oid: "2.16.840.1.101.3.4.2.1",
        rsa: "1.2.840.113549.1.1.11",
        ecdsa: "1.2.840.10045.4.3.2",
        mechanisms: [MechanismType::SHA256_RSA_PKCS, MechanismType::SHA256_RSA_PKCS_PSS, MechanismType::ECDSA_SHA256],
        name: "SHA256",
    },
    Row {
        hash: Hash::Sha384,
        oid: "2.16.840.1.101.3.4.2.2",
        rsa: "1.2.840.113549.1.1.12",
        ecdsa: "1.2.840.10045.4.3.3",
        mechanisms: [MechanismType::SHA384_RSA_PKCS, MechanismType::SHA384_RSA_PKCS_PSS, MechanismType::ECDSA_SHA384],
        name: "SHA384",
    },
    Row {
        hash: Hash::Sha512,
        oid: "2.16.840.1.101.3.4.2.3",
        rsa: "1.2.840.113549.1.1.13",
        ecdsa: "1.2.840.10045.4.3.4",
        mechanisms: [MechanismType::SHA512_RSA_PKCS, MechanismType::SHA512_RSA_PKCS_PSS, MechanismType::ECDSA_SHA512],
        name: "SHA512",
    },
];

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

impl Algorithm {
    /// For a key; by default with the hash that is as strong as the key, or the strongest below it that its TPM signs.
    ///
    /// # Errors
    /// A hash that certificates are not signed with, PSS for a key that is not RSA.
    pub(crate) fn new(key: &PublicKey, hash: Option<Hash>, pss: bool, can_sign: impl Fn(Hash) -> bool) -> Result<Self> {
        let (scheme, usual) = match (key, pss) {
            (PublicKey::Rsa(_), false) => (Scheme::Pkcs1, Hash::Sha256),
            (PublicKey::Rsa(_), true) => (Scheme::Pss, Hash::Sha256),
            (PublicKey::Ec(key), false) => (Scheme::Ecdsa, usual_hash(key.curve(), can_sign)),
            (PublicKey::Ec(_), true) => {
                return Err(Error::General(
                    "PSS is a way to sign with RSA keys, and this is an EC key; leave --pss out".to_owned(),
                ));
            }
        };
        let algorithm = Self { hash: hash.unwrap_or(usual), scheme };
        algorithm.row().map(|_| algorithm)
    }

    fn row(self) -> Result<&'static Row> {
        ROWS.iter()
            .find(|row| row.hash == self.hash)
            .ok_or_else(|| Error::General("certificates are signed with SHA-256, SHA-384 or SHA-512".to_owned()))
    }

    /// Its name for people.
    pub(crate) fn name(self) -> Result<String> {
        let scheme = match self.scheme {
            Scheme::Pkcs1 => "RSA",
            Scheme::Pss => "RSA-PSS",
            Scheme::Ecdsa => "ECDSA",
        };
        Ok(format!("{scheme}-{}", self.row()?.name))
    }

    /// Its AlgorithmIdentifier.
    pub(crate) fn identifier(&self) -> Result<AlgorithmIdentifierOwned> {
        let row = self.row()?;
        let (oid, parameters) = match self.scheme {
            Scheme::Pkcs1 => (ObjectIdentifier::new_unwrap(row.rsa), Some(Any::null())),
            Scheme::Ecdsa => (ObjectIdentifier::new_unwrap(row.ecdsa), None),
            Scheme::Pss => (RSASSA_PSS, Some(pss_parameters(row)?)),
        };
        Ok(AlgorithmIdentifierOwned { oid, parameters })
    }

    /// The token's mechanism, which takes the message.
    pub(crate) fn mechanism(self) -> Result<Mechanism> {
        let [pkcs1, pss, ecdsa] = self.row()?.mechanisms;
        Ok(match self.scheme {
            Scheme::Pkcs1 => Mechanism::plain(pkcs1),
            Scheme::Ecdsa => Mechanism::plain(ecdsa),
            Scheme::Pss => {
                let params = Params::Pss { hash: self.hash, mgf: self.hash, salt_len: self.hash.len() };
                Mechanism { ty: pss, params }
            }
        })
    }

    /// A signature of the token as X.509 has it: r and s become a SEQUENCE (RFC 3279, 2.2.3).
    pub(crate) fn wrap(self, signature: Vec<u8>) -> Vec<u8> {
        match self.scheme {
            Scheme::Pkcs1 | Scheme::Pss => signature,
            Scheme::Ecdsa => {
                let (r, s) = signature.split_at(signature.len() / 2);
                der::sequence(&[&der::integer(r), &der::integer(s)])
            }
        }
    }
}

fn usual_hash(curve: Curve, can_sign: impl Fn(Hash) -> bool) -> Hash {
    let usual = match curve.order_bits() {
        ..=256 => Hash::Sha256,
        257..=384 => Hash::Sha384,
        _ => Hash::Sha512,
    };
    let mut weaker = [Hash::Sha512, Hash::Sha384, Hash::Sha256].into_iter().filter(|hash| hash.len() <= usual.len());
    weaker.find(|hash| can_sign(*hash)).unwrap_or(usual)
}

/// RFC 8017, A.2.3: the salt is as long as the hash, which MGF1 uses too.
fn pss_parameters(row: &Row) -> Result<Any> {
    let hash = AlgorithmIdentifierRef { oid: ObjectIdentifier::new_unwrap(row.oid), parameters: Some(AnyRef::NULL) };
    let salt_len = u8::try_from(row.hash.len()).map_err(|error| Error::General(error.to_string()))?;
    let mask_gen = AlgorithmIdentifier { oid: MGF1, parameters: Some(hash) };
    let parameters = RsaPssParams { hash, mask_gen, salt_len, trailer_field: TrailerField::BC };
    Any::encode_from(&parameters).map_err(unencodable)
}
