//! What the token looks at in an X.509 certificate (RFC 5280 4.1): its public key.

use crate::der::first_element;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, which a certificate of version 1 does not have.
const VERSION: u8 = 0xa0;

/// The SubjectPublicKeyInfo of a certificate, as it stands there; `None` for bytes that are no certificate.
///
/// Nothing else is checked, and no signature: what a certificate is worth is for its reader to say.
#[must_use]
pub fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let outer = first_element(SEQUENCE, certificate).filter(|outer| outer.rest.is_empty())?;
    let signed = first_element(SEQUENCE, outer.content)?;
    let mut rest = first_element(VERSION, signed.content).map_or(signed.content, |version| version.rest);
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = first_element(tag, rest)?.rest;
    }
    Some(first_element(SEQUENCE, rest)?.whole)
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
