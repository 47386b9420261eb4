//! The attestation attribute of PKCS #10 requests (draft-ietf-lamps-csr-attestation) with the TCG's statement in it.

use base::der;
use x509_cert::attr::{Attribute, AttributeValue};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, SetOfVec};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::request::CertReq;

use super::evidence::{Around, Evidence, SignatureForm, TpmSignature};
use crate::x509;
use token::{Error, Result};

/// id-aa-attestation, which drafts up to 20 called id-aa-evidence.
const ATTESTATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.59");
/// tcg-attest-tpm-certify.
const TPM_CERTIFY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.20.1");

/// The attribute: an AttestationBundle with one statement, and the certificates of the attestation key.
pub(crate) fn attribute(evidence: &Evidence, form: SignatureForm) -> Result<Attribute> {
    let fail = |error: x509_cert::der::Error| Error::General(error.to_string());
    let statement = der::sequence(&[
        &der::octet_string(&evidence.attest),
        &der::octet_string(&evidence.signature(form)?),
        &der::octet_string(&evidence.public),
    ]);
    let oid = TPM_CERTIFY.to_der().map_err(fail)?;
    let statements = der::sequence(&[&der::sequence(&[&oid, &statement])]);
    let certificates: Vec<&[u8]> = evidence.chain.iter().map(Vec::as_slice).collect();
    let bundle = match certificates.is_empty() {
        true => der::sequence(&[&statements]),
        false => der::sequence(&[&statements, &der::sequence(&certificates)]),
    };
    let value = AttributeValue::from_der(&bundle).map_err(fail)?;
    Ok(Attribute { oid: ATTESTATION, values: SetOfVec::try_from(vec![value]).map_err(fail)? })
}

/// Reads a request, PEM or DER, with the attribute in it.
pub(crate) fn read(text: &[u8]) -> std::result::Result<Evidence, String> {
    let request = request_der(text)?;
    let (request, signed) = decode(&request)?;
    let spki = request.info.public_key.to_der().map_err(|error| error.to_string())?;
    let mut found = request.info.attributes.iter().filter(|attribute| attribute.oid == ATTESTATION);
    let (Some(attribute), None) = (found.next(), found.next()) else {
        return Err("no evidence".to_owned());
    };
    let [value] = attribute.values.as_slice() else { return Err("several values".to_owned()) };
    let value = value.to_der().map_err(|error| error.to_string())?;
    let bundle = bundle(&value).map_err(|error| error.to_string())?;
    let Bundle { attest, signature, public: Some(public), chain } = bundle else {
        return Err("no tpmTPublic".to_owned());
    };
    Ok(Evidence {
        attest,
        signature: TpmSignature::guess(signature),
        public,
        attester: None,
        chain,
        endorsement: Vec::new(),
        policy: None,
        around: Around::Request { spki, signed },
    })
}

/// The SubjectPublicKeyInfo in DER of a request, PEM or DER: `None` for what is no request, and none in it where the request is not signed by
/// its own key.
#[must_use]
pub fn request_key(text: &[u8]) -> Option<Option<Vec<u8>>> {
    let (request, signed) = decode(&request_der(text).ok()?).ok()?;
    let spki = request.info.public_key.to_der().ok()?;
    Some(signed.then_some(spki))
}

fn request_der(text: &[u8]) -> std::result::Result<Vec<u8>, String> {
    if !text.starts_with(b"-----") {
        return Ok(text.to_vec());
    }
    let (label, der) = x509_cert::der::pem::decode_vec(text).map_err(|error| error.to_string())?;
    match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Ok(der),
        other => Err(format!("{other:?}")),
    }
}

/// The request, and whether it is signed by its own key.
fn decode(der: &[u8]) -> std::result::Result<(CertReq, bool), String> {
    let request = CertReq::from_der(der).map_err(|error| error.to_string())?;
    let signed = x509::request_is_signed(&request, der);
    Ok((request, signed))
}

struct Bundle {
    attest: Vec<u8>,
    signature: Vec<u8>,
    public: Option<Vec<u8>>,
    chain: Vec<Vec<u8>>,
}

fn bundle(value: &[u8]) -> x509_cert::der::Result<Bundle> {
    let content = |der: &[u8]| AnyRef::from_der(der).map(|any| any.value().to_vec());
    let bundle = content(value)?;
    let mut parts = SliceReader::new(&bundle)?;
    let statements = content(parts.tlv_bytes()?)?;
    let certificates = if parts.is_finished() { Vec::new() } else { content(parts.tlv_bytes()?)? };
    parts.finish(())?;
    // The first statement of a kind that is known; others are for others.
    let mut statements = SliceReader::new(&statements)?;
    let mut known = None;
    while !statements.is_finished() {
        let statement = content(statements.tlv_bytes()?)?;
        let mut statement = SliceReader::new(&statement)?;
        let oid = ObjectIdentifier::decode(&mut statement)?;
        let body = statement.tlv_bytes()?.to_vec();
        statement.finish(())?;
        if oid == TPM_CERTIFY && known.is_none() {
            known = Some(body);
        }
    }
    let known =
        known.ok_or_else(|| x509_cert::der::Error::from(x509_cert::der::ErrorKind::OidUnknown { oid: TPM_CERTIFY }))?;
    let known = content(&known)?;
    let mut fields = SliceReader::new(&known)?;
    let mut field = || OctetStringRef::decode(&mut fields).map(|field| field.as_bytes().to_vec());
    let (attest, signature) = (field()?, field()?);
    let public =
        if fields.is_finished() { None } else { Some(OctetStringRef::decode(&mut fields)?.as_bytes().to_vec()) };
    fields.finish(())?;
    let mut chain = Vec::new();
    let mut certificates = SliceReader::new(&certificates)?;
    while !certificates.is_finished() {
        chain.push(certificates.tlv_bytes()?.to_vec());
    }
    Ok(Bundle { attest, signature, public, chain })
}
