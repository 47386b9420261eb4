//! What is looked at in an X.509 certificate (RFC 5280 4.1): its public key, and by what others find it.

use crate::der::first_element;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, which a certificate of version 1 does not have.
const VERSION: u8 = 0xa0;

/// Where the parts of a certificate stand, each in DER, as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The serial number, an INTEGER.
    pub serial: &'a [u8],
    /// Name of the issuer.
    pub issuer: &'a [u8],
    /// Name of the subject.
    pub subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub public_key_info: &'a [u8],
}

/// The parts of a certificate; `None` for bytes that are no certificate.
///
/// Nothing else is checked, and no signature: what a certificate is worth is for its reader to say.
#[must_use]
pub fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let outer = first_element(SEQUENCE, certificate).filter(|outer| outer.rest.is_empty())?;
    let signed = first_element(SEQUENCE, outer.content)?;
    let rest = first_element(VERSION, signed.content).map_or(signed.content, |version| version.rest);
    let serial = first_element(INTEGER, rest)?;
    let algorithm = first_element(SEQUENCE, serial.rest)?;
    let issuer = first_element(SEQUENCE, algorithm.rest)?;
    let validity = first_element(SEQUENCE, issuer.rest)?;
    let subject = first_element(SEQUENCE, validity.rest)?;
    let key = first_element(SEQUENCE, subject.rest)?;
    Some(Parts { serial: serial.whole, issuer: issuer.whole, subject: subject.whole, public_key_info: key.whole })
}

/// The number in an INTEGER in DER that is not negative, without leading zeros.
#[must_use]
pub fn number(integer: &[u8]) -> Option<&[u8]> {
    first_element(INTEGER, integer).filter(|whole| whole.rest.is_empty()).map(|whole| without_zeros(whole.content))
}

/// A number without its leading zeros.
#[must_use]
pub fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The SubjectPublicKeyInfo of a certificate.
#[must_use]
pub fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    parts(certificate).map(|parts| parts.public_key_info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_certificate_have_no_key() {
        for bytes in [&b""[..], b"certificate", &[0x30, 0], &[0x30, 2, 0x30, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(public_key_info(bytes), None, "{bytes:02x?}");
        }
    }
}
