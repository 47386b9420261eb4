//! A certificate for an attestation key, for tests and small offices: the key of the authority is a file. Whoever has a real authority has
//! that issue it.

use base::der;
use base::private::PrivateKey;
use x509_cert::certificate::{Certificate as StrictCertificate, TbsCertificate, Version};
use x509_cert::der::Encode;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::RdnSequence;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::{AIK_CERTIFICATE, Hex, Record, Response, area, not_a, reason};
use crate::x509::{self, Algorithm};
use token::manage::PublicKey;
use token::{Error, Result};

/// tcg-at-tpmManufacturer, tcg-at-tpmModel, tcg-at-tpmVersion.
const FACTS: [&str; 3] = ["2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"];
const UTF8_STRING: u8 = 0x0c;

/// Who issues, and how long it is good.
#[derive(Clone, Debug)]
pub struct AttesterCertificate<'a> {
    /// The authority's certificate in DER.
    pub issuer: &'a [u8],
    /// Its key.
    pub key: &'a PrivateKey,
    /// Days from now on.
    pub days: u32,
    /// The TPM's manufacturer ("id:" and eight hexadecimal digits), where it is not to be that of the endorsement certificate.
    pub manufacturer: Option<&'a str>,
}

/// The SubjectPublicKeyInfo in DER of an attestation key that answered its challenge, for an authority that issues certificates by other means.
///
/// # Errors
/// [`Error::General`] for an answer that is not right.
pub fn confirm(record: &Record, response: &Response) -> Result<Vec<u8>> {
    answered(record, response).map(|key| key.spki())
}

/// The attestation key, if it answered.
fn answered(record: &Record, response: &Response) -> Result<PublicKey> {
    if !record.is_answered_by(response) {
        return Err(Error::General("the answer is not that to the challenge".to_owned()));
    }
    let area = area(&record.attester.0).map_err(|error| not_a("record", reason(&error)))?;
    PublicKey::from_area(&area)
}

/// Issues a certificate for an attestation key that answered its challenge. Its form is that of WebAuthn Level 3, 8.3.1: an empty subject,
/// and the TPM's manufacturer, model and version as another name. Returns DER.
///
/// # Errors
/// [`Error::General`] for an answer that is not right, and an authority whose key and certificate do not belong together.
pub fn issue(record: &Record, response: &Response, how: &AttesterCertificate<'_>) -> Result<Vec<u8>> {
    let key = answered(record, response)?;
    let issuer = x509::decode(how.issuer)?;
    let signer = match how.key {
        PrivateKey::Rsa { public, .. } => PublicKey::Rsa(public.clone()),
        PrivateKey::Ec { public, .. } => PublicKey::Ec(public.clone()),
    };
    if x509::key_of(&issuer).as_ref() != Some(&signer) {
        return Err(Error::General("the authority's certificate is for another key than the given one".to_owned()));
    }
    let algorithm = Algorithm::new(&signer, Some(base::digest::Hash::Sha256), false, |_| true)?;
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: x509::serial_number()?,
        signature: algorithm.identifier()?,
        issuer: issuer.tbs_certificate.subject.clone(),
        validity: x509::validity(how.days)?,
        subject: RdnSequence::default(),
        subject_public_key_info: x509::public_key_info(&key)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions(record, how.manufacturer, &issuer.tbs_certificate.subject_public_key_info)?),
    };
    let message = tbs_certificate.to_der().map_err(x509::unencodable)?;
    let signature = how.key.sign_sha256(&message).map_err(|error| Error::General(error.to_string()))?;
    let certificate = StrictCertificate {
        tbs_certificate,
        signature_algorithm: algorithm.identifier()?,
        signature: BitString::from_bytes(&algorithm.wrap(signature)).map_err(x509::unencodable)?,
    };
    certificate.to_der().map_err(x509::unencodable)
}

fn extensions(
    record: &Record,
    manufacturer: Option<&str>,
    issuer: &SubjectPublicKeyInfoOwned,
) -> Result<Vec<Extension>> {
    let purpose = ExtendedKeyUsage(vec![ObjectIdentifier::new_unwrap(AIK_CERTIFICATE)]);
    let identifier = OctetString::new(x509::key_identifier(issuer)).map_err(x509::unencodable)?;
    let identifier = x509_cert::ext::pkix::AuthorityKeyIdentifier {
        key_identifier: Some(identifier),
        ..x509_cert::ext::pkix::AuthorityKeyIdentifier::default()
    };
    let usage = KeyUsage(FlagSet::from(KeyUsages::DigitalSignature));
    Ok(vec![
        x509::encoded_extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
        x509::encoded_extension(true, &usage)?,
        // Verifiers differ: some refuse it where it is critical, one where it is not.
        x509::encoded_extension(false, &purpose)?,
        x509::encoded_extension(true, &SubjectAltName(vec![GeneralName::DirectoryName(name(record, manufacturer)?)]))?,
        x509::encoded_extension(false, &identifier)?,
    ])
}

/// Manufacturer, model and version, as the endorsement certificate has them in its subjectAltName, each in an RDN of its own.
fn name(record: &Record, manufacturer: Option<&str>) -> Result<RdnSequence> {
    use x509_cert::der::Decode;
    let missing = || Error::General("the endorsement certificate does not say which TPM it is for".to_owned());
    let Hex(leaf) = record.endorsement_chain.first().ok_or_else(missing)?;
    let leaf = x509::decode(leaf)?;
    let names = leaf.tbs_certificate.get::<SubjectAltName>().map_err(x509::unencodable)?.ok_or_else(missing)?.1;
    let found = |oid: &str| {
        let oid = ObjectIdentifier::new_unwrap(oid);
        let directories = names.0.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        });
        let mut parts = directories.flat_map(|name| name.0.iter()).flat_map(|rdn| rdn.0.iter());
        parts.find(|part| part.oid == oid).map(|part| part.value.value().to_vec())
    };
    let mut rdns = Vec::new();
    for oid in FACTS {
        let own = manufacturer.filter(|_| oid == FACTS[0]).map(|text| text.as_bytes().to_vec());
        let value = own.or_else(|| found(oid)).ok_or_else(missing)?;
        let oid = ObjectIdentifier::new_unwrap(oid).to_der().map_err(x509::unencodable)?;
        rdns.push(der::set(&[&der::sequence(&[&oid, &der::string(UTF8_STRING, &value)])]));
    }
    let rdns: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
    RdnSequence::from_der(&der::sequence(&rdns)).map_err(x509::unencodable)
}
