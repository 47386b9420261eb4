//! Chains of certificates as authorities and Windows hand them out: ContentInfo with SignedData that signs nothing (RFC 5652, 5).

use crate::ber;
use crate::certificate::Certificate;
use crate::der::{only_sequence, tag};
use crate::error::{Error, Result};

const BROKEN: Error = Error::Malformed("the PKCS#7 file is not what it should be");

/// The X.509 certificates, in their order.
pub(crate) fn certificates(file: &[u8]) -> Result<Vec<Certificate>> {
    let der = ber::to_der(file).ok_or(BROKEN)?;
    let mut info = only_sequence(der.expose()).ok_or(BROKEN)?;
    info.expect(tag::OID).ok_or(BROKEN)?;
    let mut data = info.expect(tag::context(0)).and_then(|data| data.children().sequence()).ok_or(BROKEN)?;
    // Version, digest algorithms, and what is signed.
    for tag in [tag::INTEGER, tag::SET, tag::SEQUENCE] {
        data.expect(tag).ok_or(BROKEN)?;
    }
    let mut certificates = Vec::new();
    if let Some(set) = data.optional(tag::context(0)) {
        let mut choices = set.children();
        while !choices.is_empty() {
            let choice = choices.any().ok_or(BROKEN)?;
            // The other choices are attribute certificates and what nobody uses any more.
            if choice.tag == tag::SEQUENCE {
                certificates.push(Certificate::from_der(choice.whole)?);
            }
        }
    }
    Ok(certificates)
}
