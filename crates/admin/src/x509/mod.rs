//! X.509 (RFC 5280) and PKCS #10 (RFC 2986): requests and certificates for keys that are in the token.
//!
//! What is signed is put together here; who signs is a function of the caller, so that nothing here knows a session.

mod algorithm;
mod extension;
mod name;
mod path;
mod verify;

use std::time::{Duration, SystemTime};

use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::certificate::{Certificate as StrictCertificate, CertificateInner, Raw, TbsCertificate, Version};
use x509_cert::der::asn1::{BitString, GeneralizedTime, UtcTime};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode, Encode, EncodePem};
use x509_cert::ext::Extension;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

pub(crate) use algorithm::Algorithm;
pub use extension::{AltName, KeyUsageName, Purpose};
pub use name::Subject;
pub(crate) use name::common_name;
pub(crate) use path::check_path;
pub(crate) use verify::{issued_by, key_of, request_is_signed};

use token::manage::PublicKey;
use token::{Error, Result};

/// What a request or a certificate says of the key, besides the key itself.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Whose key it is.
    pub subject: Subject,
    /// Further names (subjectAltName).
    pub alt_names: Vec<AltName>,
    /// What the key may do (keyUsage); nothing: what suits the key and its role.
    pub key_usage: Vec<KeyUsageName>,
    /// What for (extKeyUsage); nothing: anything.
    pub purposes: Vec<Purpose>,
    /// It is the key of a certification authority.
    pub authority: bool,
}

impl Profile {
    fn check(&self) -> Result<()> {
        if self.subject.is_empty() && self.alt_names.is_empty() {
            return Err(Error::General("a certificate needs a subject or another name".to_owned()));
        }
        Ok(())
    }
}

/// A PKCS #10 request in PEM, with another attribute, if there is one, signed by `sign`: message in, signature as X.509 has it out.
pub(crate) fn request(
    profile: &Profile,
    key: &PublicKey,
    other: Option<Attribute>,
    algorithm: &Algorithm,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
) -> Result<String> {
    profile.check()?;
    let extensions = extension::of_request(profile)?;
    let mut attributes = Attributes::new();
    if !extensions.is_empty() {
        attributes.insert(ExtensionReq(extensions).try_into().map_err(unencodable)?).map_err(unencodable)?;
    }
    if let Some(other) = other {
        attributes.insert(other).map_err(unencodable)?;
    }
    let info = CertReqInfo {
        version: x509_cert::request::Version::V1,
        subject: profile.subject.name().clone(),
        public_key: public_key_info(key)?,
        attributes,
    };
    let signature = sign(&info.to_der().map_err(unencodable)?)?;
    let request = CertReq { info, algorithm: algorithm.identifier()?, signature: bits(&signature)? };
    request.to_pem(LineEnding::LF).map_err(unencodable)
}

/// A certificate of a key by itself, valid from now on. Returns its DER.
pub(crate) fn self_signed(
    profile: &Profile,
    key: &PublicKey,
    days: u32,
    algorithm: &Algorithm,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    profile.check()?;
    if profile.subject.is_empty() {
        return Err(Error::General(
            "a certificate that is its own issuer needs a subject; --subject gives it".to_owned(),
        ));
    }
    let subject_public_key_info = public_key_info(key)?;
    let extensions = extension::of_certificate(profile, key, &key_identifier(&subject_public_key_info))?;
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: serial_number()?,
        signature: algorithm.identifier()?,
        issuer: profile.subject.name().clone(),
        validity: validity(days)?,
        subject: profile.subject.name().clone(),
        subject_public_key_info,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    };
    let signature = sign(&tbs_certificate.to_der().map_err(unencodable)?)?;
    let certificate = StrictCertificate {
        tbs_certificate,
        signature_algorithm: algorithm.identifier()?,
        signature: bits(&signature)?,
    };
    certificate.to_der().map_err(unencodable)
}

/// A certificate as it came: what is only passed on need not keep to RFC 5280, and real ones have serial numbers longer than it allows.
pub(crate) type Certificate = CertificateInner<Raw>;

/// A certificate in DER.
pub(crate) fn decode(der: &[u8]) -> Result<Certificate> {
    Certificate::from_der(der).map_err(|error| Error::General(format!("this is no certificate: {error}")))
}

/// The PEM of a certificate.
pub(crate) fn to_pem(der: &[u8]) -> Result<String> {
    pem::encode_string("CERTIFICATE", LineEnding::LF, der)
        .map_err(|error| Error::General(format!("the certificate cannot be encoded: {error}")))
}

/// SHA-1 of the public key's bits: what identifies a key in certificates (RFC 5280, 4.2.1.2, method 1).
pub(crate) fn key_identifier(info: &SubjectPublicKeyInfoOwned) -> Vec<u8> {
    Hash::Sha1.digest(&[info.subject_public_key.raw_bytes()])
}

/// The same of a SubjectPublicKeyInfo in DER; of one that cannot be read, of all of it.
pub(crate) fn identifier(info: &[u8]) -> Vec<u8> {
    SubjectPublicKeyInfoOwned::from_der(info).map_or_else(|_| Hash::Sha1.digest(&[info]), |info| key_identifier(&info))
}

/// The day of a time, as CK_DATE has it: YYYYMMDD.
pub(crate) fn date(time: &Time) -> Vec<u8> {
    let day = time.to_date_time();
    format!("{:04}{:02}{:02}", day.year(), day.month(), day.day()).into_bytes()
}

/// Days until a certificate in DER ends, negative if it has; `None` for what is no certificate.
pub(crate) fn days_left(der: &[u8]) -> Option<i64> {
    let end = Certificate::from_der(der).ok()?.tbs_certificate.validity.not_after.to_unix_duration();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).ok();
    Some((seconds(end)? - seconds(now)?).div_euclid(24 * 60 * 60))
}

/// Is a certificate for this key? Keys are compared, and not how they are written.
pub(crate) fn is_for(certificate: &Certificate, key: &PublicKey) -> bool {
    is_key(&certificate.tbs_certificate.subject_public_key_info, key)
}

/// Is a SubjectPublicKeyInfo in DER that of the key?
pub(crate) fn is_of(info: &[u8], key: &PublicKey) -> bool {
    SubjectPublicKeyInfoOwned::from_der(info).is_ok_and(|found| is_key(&found, key))
}

fn is_key(info: &SubjectPublicKeyInfoOwned, key: &PublicKey) -> bool {
    public_key_info(key).is_ok_and(|own| key_bits(info) == key_bits(&own))
}

/// What a SubjectPublicKeyInfo says the key is: a point on a curve uncompressed, anything else as it stands there.
pub(crate) fn key_bits(info: &SubjectPublicKeyInfoOwned) -> Vec<u8> {
    let bits = info.subject_public_key.raw_bytes();
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.to_der().ok());
    let curve = curve.and_then(|parameters| Curve::from_ec_params(&parameters));
    let point = curve.and_then(|curve| EcPublic::from_point(curve, bits).ok());
    point.map_or_else(|| bits.to_vec(), |point| point.point())
}

pub(crate) fn public_key_info(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned> {
    SubjectPublicKeyInfoOwned::from_der(&key.spki()).map_err(unencodable)
}

/// 16 random bytes: nobody can foresee what will be signed, and no two certificates have the same.
pub(crate) fn serial_number() -> Result<SerialNumber> {
    let mut bytes = base::random::bytes(16)?;
    if let Some(first) = bytes.first_mut() {
        // Positive, and of full length.
        *first = (*first & 0x7f) | 0x40;
    }
    SerialNumber::new(&bytes).map_err(unencodable)
}

/// From now on, for so many days.
pub(crate) fn validity(days: u32) -> Result<Validity> {
    let now = SystemTime::now();
    let end = now
        .checked_add(Duration::from_secs(u64::from(days) * 24 * 60 * 60))
        .ok_or_else(|| Error::General("the certificate would be valid for too long".to_owned()))?;
    Ok(Validity { not_before: time(now)?, not_after: time(end)? })
}

/// The certificates that stand one after the other in DER; what is none ends them.
pub(crate) fn each(mut der: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(one) = element(der) {
        all.push(one.to_vec());
        der = der.get(one.len()..).unwrap_or_default();
    }
    all
}

/// The certificate at the start of what a TPM has at an NV index, which may have a header of the TCG's before it, and filling after it.
pub(crate) fn first(content: &[u8]) -> Vec<u8> {
    let content = match content.split_first_chunk::<5>() {
        Some(([0x10, 0x01, 0x00, _, _], rest)) => rest,
        _ => content,
    };
    element(content).unwrap_or_default().to_vec()
}

fn element(der: &[u8]) -> Option<&[u8]> {
    use x509_cert::der::{Reader, SliceReader};
    let found = SliceReader::new(der).ok()?.tlv_bytes().ok()?;
    (found.first() == Some(&0x30)).then_some(found)
}

/// UTCTime up to 2049, GeneralizedTime afterwards (RFC 5280, 4.1.2.5).
fn time(at: SystemTime) -> Result<Time> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| Error::General(error.to_string()))?;
    let whole = Duration::from_secs(since.as_secs());
    match UtcTime::from_unix_duration(whole) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => GeneralizedTime::from_unix_duration(whole)
            .map(Time::GeneralTime)
            .map_err(|_| Error::General("the certificate would be valid beyond the year 9999".to_owned())),
    }
}

fn bits(signature: &[u8]) -> Result<BitString> {
    BitString::from_bytes(signature).map_err(unencodable)
}

pub(crate) fn encoded_extension<T: Encode + AssociatedOid>(critical: bool, value: &T) -> Result<Extension> {
    let value = value.to_der().map_err(unencodable)?;
    let extn_value = x509_cert::der::asn1::OctetString::new(value).map_err(unencodable)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

pub(crate) fn unencodable(error: x509_cert::der::Error) -> Error {
    Error::General(format!("the certificate cannot be encoded: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_change_their_form_in_2050() {
        let at = |seconds| time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        assert!(matches!(at(2_524_607_999), Time::UtcTime(_)));
        assert!(matches!(at(2_524_608_000), Time::GeneralTime(_)));
        assert!(time(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)).is_err());
    }

    #[test]
    fn serial_numbers_are_positive_and_differ() {
        let (one, other) = (serial_number().unwrap(), serial_number().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_bytes().len(), 16);
        assert!(one.as_bytes()[0] < 0x80);
    }

    /// Of a key that exists, by a signature that does not.
    fn certificate() -> Vec<u8> {
        let g = EcPublic::of_private(Curve::P256, &base::Secret::new(vec![1])).unwrap();
        let key = PublicKey::Ec(g);
        let profile = Profile {
            subject: "CN=x,O=y".parse().unwrap(),
            alt_names: vec!["dns:x.example".parse().unwrap(), "ip:::1".parse().unwrap()],
            ..Profile::default()
        };
        let algorithm = Algorithm::new(&key, None, false, |_| true).unwrap();
        self_signed(&profile, &key, 1, &algorithm, |message| Ok(Hash::Sha256.digest(&[message]))).unwrap()
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let der = certificate();
        assert!(decode(&der).is_ok());
        for len in 0..der.len() {
            let _ = decode(&der[..len]);
        }
        for at in 0..der.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut other = der.clone();
                other[at] ^= flip;
                let _ = decode(&other);
            }
        }
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        for bytes in [&b""[..], b"hello", b"0\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----\nAAAA"] {
            assert!(matches!(decode(bytes), Err(Error::General(_))), "{bytes:?}");
        }
    }
}
