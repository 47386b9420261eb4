//! Algorithms and curves by their OBJECT IDENTIFIERs: those that a TPM takes, and the names of those that it does not, so that whoever
//! has such a key is told what it is.

use base::KeyError;
use base::digest::Hash;
use base::rsa::RsaPublic;

use crate::der::{Element, Reader, tag};
use crate::error::{Error, Result};

pub(crate) const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSAES_OAEP: &str = "1.2.840.113549.1.1.7";
pub(crate) const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";
pub(crate) const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
pub(crate) const EC_DH: &str = "1.3.132.1.12";

/// What people have, and TPMs do not.
const OTHERS: &[(&str, &str)] = &[
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10046.2.1", "Diffie-Hellman"),
    ("1.2.840.113549.1.3.1", "Diffie-Hellman"),
    ("1.3.132.1.13", "ECMQV"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
    ("2.16.840.1.101.3.4.4.1", "ML-KEM-512"),
    ("2.16.840.1.101.3.4.4.2", "ML-KEM-768"),
    ("2.16.840.1.101.3.4.4.3", "ML-KEM-1024"),
    ("1.2.643.2.2.19", "GOST R 34.10-2001"),
    ("1.2.643.7.1.1.1.1", "GOST R 34.10-2012"),
    ("1.2.643.7.1.1.1.2", "GOST R 34.10-2012"),
];

/// Curves that others use. (SEC 2, RFC 5639, GB/T 32918.)
const CURVES: &[(&str, &str)] = &[
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.32", "secp224k1"),
    ("1.3.132.0.31", "secp192k1"),
    ("1.3.36.3.3.2.8.1.1.1", "brainpoolP160r1"),
    ("1.3.36.3.3.2.8.1.1.3", "brainpoolP192r1"),
    ("1.3.36.3.3.2.8.1.1.5", "brainpoolP224r1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.8", "brainpoolP256t1"),
    ("1.3.36.3.3.2.8.1.1.9", "brainpoolP320r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.12", "brainpoolP384t1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.3.36.3.3.2.8.1.1.14", "brainpoolP512t1"),
    ("1.2.156.10197.1.301", "SM2"),
];

/// An OBJECT IDENTIFIER as people write it (X.690, 8.19).
pub(crate) fn dotted(content: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0_u128;
    for byte in content {
        arc = arc.wrapping_shl(7) | u128::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first.to_string());
                arc -= first * 40;
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    arcs.join(".")
}

/// Of an algorithm that is no business of a TPM.
pub(crate) fn left_out(oid: &str) -> Error {
    match OTHERS.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => unsupported(&format!("the key is {name}")),
        None => unsupported(&format!("the key is of the algorithm {oid}, which is not known here")),
    }
}

/// Of a curve that is none of the four.
pub(crate) fn left_out_curve(oid: &str) -> Error {
    match CURVES.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => unsupported(&format!("the key is on the curve {name}")),
        None => unsupported(&format!("the key is on the curve {oid}, which is not known here")),
    }
}

/// With what there is instead.
pub(crate) fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!(
        "{what}; a TPM has RSA with two primes, and ECDSA and ECDH on P-224, P-256, P-384 and P-521: use such a key, as `ptool addkey` makes it"
    ))
}

/// An RSA key whose numbers are within what a TPM can have.
pub(crate) fn rsa_public(n: &[u8], e: &[u8], broken: Error) -> Result<RsaPublic> {
    RsaPublic::new(n, e).map_err(|error| match error {
        KeyError::Modulus => unsupported(&format!("the RSA key has {} bits, and the least here are 1024", bits(n))),
        KeyError::Exponent => unsupported("the public exponent of the RSA key is even, 1, or longer than 64 bits"),
        KeyError::Malformed | KeyError::NotOnCurve => broken,
    })
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
}

/// The hash of an AlgorithmIdentifier.
pub(crate) fn hash(algorithm: Element<'_>) -> Option<Hash> {
    hash_of(algorithm.children().expect(tag::OID)?.content)
}

pub(crate) fn hash_of(oid: &[u8]) -> Option<Hash> {
    Some(match dotted(oid).as_str() {
        "1.3.14.3.2.26" => Hash::Sha1,
        "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224,
        "2.16.840.1.101.3.4.2.7" => Hash::Sha3_224,
        "2.16.840.1.101.3.4.2.8" => Hash::Sha3_256,
        "2.16.840.1.101.3.4.2.9" => Hash::Sha3_384,
        "2.16.840.1.101.3.4.2.10" => Hash::Sha3_512,
        _ => return None,
    })
}

/// The hash that HMAC is made with (RFC 8018, B.1).
pub(crate) fn hmac_hash(algorithm: Element<'_>) -> Option<Hash> {
    Some(match dotted(algorithm.children().expect(tag::OID)?.content).as_str() {
        "1.2.840.113549.2.7" => Hash::Sha1,
        "1.2.840.113549.2.8" => Hash::Sha224,
        "1.2.840.113549.2.9" => Hash::Sha256,
        "1.2.840.113549.2.10" => Hash::Sha384,
        "1.2.840.113549.2.11" => Hash::Sha512,
        _ => return None,
    })
}

/// What the algorithm of a key says it may serve for. A key of rsaEncryption or id-ecPublicKey may serve for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// id-RSASSA-PSS (RFC 4055, 3.1): signatures by PSS, with this hash if the key has parameters.
    Pss(Option<Hash>),
    /// id-RSAES-OAEP (RFC 4055, 4.1): encryption by OAEP.
    Oaep,
    /// id-ecDH (RFC 5480, 2.1.2): agreement on keys.
    KeyAgreement,
}

impl Restriction {
    /// By the OBJECT IDENTIFIER of a key's algorithm and what follows it; `None` for keys without.
    pub(crate) fn of(oid: &str, mut parameters: Reader<'_>) -> Option<Restriction> {
        match oid {
            RSASSA_PSS => Some(Restriction::Pss(parameters.optional(tag::SEQUENCE).and_then(pss_hash))),
            RSAES_OAEP => Some(Restriction::Oaep),
            EC_DH => Some(Restriction::KeyAgreement),
            _ => None,
        }
    }
}

/// Of RSASSA-PSS-params, where SHA-1 is what is meant if nothing is said.
fn pss_hash(parameters: Element<'_>) -> Option<Hash> {
    match parameters.children().optional(tag::context(0)) {
        None => Some(Hash::Sha1),
        Some(algorithm) => hash(algorithm.children().expect(tag::SEQUENCE)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_as_people_write_them() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]), RSA_ENCRYPTION);
        assert_eq!(dotted(&[0x2b, 0x65, 0x70]), "1.3.101.112");
        assert_eq!(dotted(&[0x88, 0x37]), "2.999");
        assert_eq!(dotted(&[]), "");
    }
}
