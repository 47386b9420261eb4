//! Is a certificate signed by the key of another one? In software.
//!
//! This is no validation of a path (RFC 5280, 6): it finds the authority that a certificate hangs on among those of a file, where
//! two may have the same name, such as the old and the new one of a renewed authority.

use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::pad::{pkcs1_sign_check, pss_verify};
use base::rsa::RsaPublic;
use pkcs1::RsaPssParams;
use token::manage::PublicKey;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::request::CertReq;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::Certificate;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// Signature algorithms with their hash: RSA PKCS #1, then ECDSA.
const PKCS1: [(&str, Hash); 5] = [
    ("1.2.840.113549.1.1.5", Hash::Sha1),
    ("1.2.840.113549.1.1.14", Hash::Sha224),
    ("1.2.840.113549.1.1.11", Hash::Sha256),
    ("1.2.840.113549.1.1.12", Hash::Sha384),
    ("1.2.840.113549.1.1.13", Hash::Sha512),
];
const ECDSA: [(&str, Hash); 5] = [
    ("1.2.840.10045.4.1", Hash::Sha1),
    ("1.2.840.10045.4.3.1", Hash::Sha224),
    ("1.2.840.10045.4.3.2", Hash::Sha256),
    ("1.2.840.10045.4.3.3", Hash::Sha384),
    ("1.2.840.10045.4.3.4", Hash::Sha512),
];
const HASHES: [(&str, Hash); 5] = [
    ("1.3.14.3.2.26", Hash::Sha1),
    ("2.16.840.1.101.3.4.2.4", Hash::Sha224),
    ("2.16.840.1.101.3.4.2.1", Hash::Sha256),
    ("2.16.840.1.101.3.4.2.2", Hash::Sha384),
    ("2.16.840.1.101.3.4.2.3", Hash::Sha512),
];

/// Whether `issuer` has the name and, as far as its key is of a kind known here, the key that `certificate` (with its DER) says it
/// was signed by.
pub(crate) fn issued_by(certificate: &Certificate, der: &[u8], issuer: &Certificate) -> bool {
    certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject
        && signature_is_good(certificate, der, issuer) != Some(false)
}

/// The same, strictly: by a key and an algorithm that are known here.
pub(crate) fn is_signed_by(certificate: &Certificate, der: &[u8], issuer: &Certificate) -> bool {
    certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject
        && signature_is_good(certificate, der, issuer) == Some(true)
}

/// Whether a request (with its DER) is signed by its own key.
pub(crate) fn request_is_signed(request: &CertReq, der: &[u8]) -> bool {
    let good = || {
        let key = key_of_info(&request.info.public_key)?;
        is_good(&key, &request.algorithm, signed_part(der)?, request.signature.as_bytes()?)
    };
    good() == Some(true)
}

/// `None` for keys and algorithms that are not known here.
fn signature_is_good(certificate: &Certificate, der: &[u8], issuer: &Certificate) -> Option<bool> {
    let message = signed_part(der)?;
    is_good(&key_of(issuer)?, &certificate.signature_algorithm, message, certificate.signature.as_bytes()?)
}

fn is_good(key: &PublicKey, algorithm: &AlgorithmIdentifierOwned, message: &[u8], signature: &[u8]) -> Option<bool> {
    match key {
        PublicKey::Rsa(key) => match hash_of(&PKCS1, &algorithm.oid) {
            Some(hash) => Some(pkcs1(key, hash, message, signature)),
            None if algorithm.oid == ObjectIdentifier::new_unwrap(RSASSA_PSS) => {
                pss(key, algorithm, message, signature)
            }
            None => None,
        },
        PublicKey::Ec(key) => {
            let digest = hash_of(&ECDSA, &algorithm.oid)?.digest(&[message]);
            Some(raw_signature(key.curve(), signature).is_some_and(|signature| key.verify(&digest, &signature)))
        }
    }
}

/// The bytes of the TBSCertificate as they came.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let whole = AnyRef::from_der(der).ok()?;
    SliceReader::new(whole.value()).ok()?.tlv_bytes().ok()
}

/// The key of a certificate, if it is of a kind known here.
pub(crate) fn key_of(certificate: &Certificate) -> Option<PublicKey> {
    key_of_info(&certificate.tbs_certificate.subject_public_key_info)
}

fn key_of_info(info: &SubjectPublicKeyInfoOwned) -> Option<PublicKey> {
    let bits = info.subject_public_key.as_bytes()?;
    if info.algorithm.oid == ObjectIdentifier::new_unwrap(RSA_ENCRYPTION) {
        let key = pkcs1::RsaPublicKey::from_der(bits).ok()?;
        return RsaPublic::new(key.modulus.as_bytes(), key.public_exponent.as_bytes()).ok().map(PublicKey::Rsa);
    }
    if info.algorithm.oid != ObjectIdentifier::new_unwrap(EC_PUBLIC_KEY) {
        return None;
    }
    let curve = Curve::from_ec_params(&info.algorithm.parameters.as_ref()?.to_der().ok()?)?;
    EcPublic::from_point(curve, bits).ok().map(PublicKey::Ec)
}

fn pkcs1(key: &RsaPublic, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    let info = [hash.digest_info_prefix(), &hash.digest(&[message])].concat();
    key.raw(signature).is_ok_and(|block| pkcs1_sign_check(&block, &info))
}

fn pss(key: &RsaPublic, algorithm: &AlgorithmIdentifierOwned, message: &[u8], signature: &[u8]) -> Option<bool> {
    let parameters = algorithm.parameters.as_ref()?.to_der().ok()?;
    let parameters = RsaPssParams::from_der(&parameters).ok()?;
    let hash = hash_of(&HASHES, &parameters.hash.oid)?;
    let mgf = hash_of(&HASHES, &parameters.mask_gen.parameters.as_ref()?.oid)?;
    let bits = key.modulus_bits() - 1;
    let Ok(block) = key.raw(signature) else { return Some(false) };
    let (head, em) = block.split_at_checked(block.len().checked_sub(bits.div_ceil(8))?)?;
    let digest = hash.digest(&[message]);
    let whole = pss_verify(em, &digest, hash, mgf, parameters.salt_len.into(), bits);
    Some(head.iter().all(|byte| *byte == 0) && whole)
}

/// r and s of a SEQUENCE, each as long as the field.
fn raw_signature(curve: Curve, der: &[u8]) -> Option<Vec<u8>> {
    let whole = AnyRef::from_der(der).ok()?;
    let mut reader = SliceReader::new(whole.value()).ok()?;
    let mut signature = Vec::new();
    for _ in 0..2 {
        let number = UintRef::decode(&mut reader).ok()?;
        let padding = curve.field_len().checked_sub(number.as_bytes().len())?;
        signature.extend(std::iter::repeat_n(0, padding));
        signature.extend_from_slice(number.as_bytes());
    }
    Some(signature)
}

fn hash_of(table: &[(&str, Hash)], oid: &ObjectIdentifier) -> Option<Hash> {
    table.iter().find(|(known, _)| ObjectIdentifier::new_unwrap(known) == *oid).map(|(_, hash)| *hash)
}
