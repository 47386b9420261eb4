//! The parts of an X.509 certificate (RFC 5280, 4.1) by which others find it. Nothing of it is judged.

use base::Secret;

use crate::der::{Reader, tag};
use crate::error::{Error, Result};
use crate::public::PublicKey;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The whole of it, in DER.
    pub der: Vec<u8>,
    /// Name of the subject, in DER.
    pub subject: Vec<u8>,
    /// Name of the issuer, in DER.
    pub issuer: Vec<u8>,
    /// Serial number: an INTEGER in DER.
    pub serial: Vec<u8>,
    /// SubjectPublicKeyInfo, in DER.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Finds the parts.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no certificate.
    pub fn from_der(der: &[u8]) -> Result<Certificate> {
        Certificate::parse(der).ok_or(Error::Malformed("the file has a certificate that is none"))
    }

    fn parse(der: &[u8]) -> Option<Certificate> {
        let parts = base::certificate::parts(der)?;
        Some(Certificate {
            der: der.to_vec(),
            subject: parts.subject.to_vec(),
            issuer: parts.issuer.to_vec(),
            serial: parts.serial.to_vec(),
            public_key: parts.public_key_info.to_vec(),
        })
    }

    /// Is it about this key?
    #[must_use]
    pub fn is_of(&self, key: &PublicKey) -> bool {
        PublicKey::from_spki(&self.public_key).is_ok_and(|own| own == *key)
    }

    /// The subject's common name, if it has one that is text.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        /// 2.5.4.3
        const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
        let mut names = Reader::new(&self.subject).sequence()?;
        while let Some(set) = names.any() {
            let mut pair = set.children().sequence()?;
            if pair.expect(tag::OID)?.content == COMMON_NAME {
                return String::from_utf8(pair.any()?.content.to_vec()).ok();
            }
        }
        None
    }
}

/// Also with what OpenSSL calls a trusted certificate: the certificate, and its own remarks after it.
pub(crate) fn from_block(content: &Secret) -> Result<Certificate> {
    let whole = Reader::new(content.expose()).any().map(|element| element.whole);
    Certificate::from_der(whole.unwrap_or_default())
}
