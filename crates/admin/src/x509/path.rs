//! Is a certificate one that an authority vouches for? Paths (RFC 5280, 6) as far as TPMs and their authorities need them. No revocation
//! is looked at: whoever has lists of it looks there himself.

use std::time::SystemTime;

use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};

use super::{Certificate, decode};

/// Certificates on the longest path.
const LONGEST: usize = 8;
/// Extensions that are looked at, or that forbid nothing here: keyUsage, subjectAltName, basicConstraints, certificatePolicies,
/// extKeyUsage. Another one that is critical is refused.
const KNOWN: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.32", "2.5.29.37"];
/// Signature algorithms with SHA-1: RSA, ECDSA.
const WEAK: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// Whether one of `roots` vouches, perhaps by way of `others`, for the certificate `leaf` (all in DER), and that for the purpose. Each
/// of the roots is trusted for itself, whoever signed it. Gives the name of the one that vouches.
///
/// # Errors
/// What is wrong.
pub(crate) fn check_path(leaf: &[u8], others: &[&[u8]], roots: &[Vec<u8>], purpose: &str) -> Result<String, String> {
    let read =
        |der: &[u8]| decode(der).map(|certificate| (certificate, der.to_vec())).map_err(|error| error.to_string());
    let roots = roots.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    let others = others.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = read(leaf)?;
    check_leaf(&leaf.0, purpose)?;
    let mut search = Search { roots: &roots, others: &others, reason: "no given authority has signed it".to_owned() };
    search.up(&leaf, 0).ok_or(search.reason)
}

fn check_leaf(leaf: &Certificate, purpose: &str) -> Result<(), String> {
    let tbs = &leaf.tbs_certificate;
    let broken = |error: x509_cert::der::Error| error.to_string();
    let purposes = tbs.get::<ExtendedKeyUsage>().map_err(broken)?;
    if !purposes.is_some_and(|(_, list)| list.0.contains(&ObjectIdentifier::new_unwrap(purpose))) {
        return Err(format!("it is not for this purpose ({purpose})"));
    }
    let authority = tbs.get::<BasicConstraints>().map_err(broken)?.is_some_and(|(_, constraints)| constraints.ca);
    if authority { Err("it is that of an authority".to_owned()) } else { Ok(()) }
}

type Entry = (Certificate, Vec<u8>);

struct Search<'a> {
    roots: &'a [Entry],
    others: &'a [Entry],
    /// Why the path that came furthest ends.
    reason: String,
}

impl Search<'_> {
    /// The name of the root above a certificate that has `depth` below itself.
    fn up(&mut self, below: &Entry, depth: usize) -> Option<String> {
        if let Err(why) = check_each(&below.0).and_then(|()| check_signature(&below.0)) {
            self.reason = why;
            return None;
        }
        let is_above = |above: &&Entry| super::verify::is_signed_by(&below.0, &below.1, &above.0);
        for root in self.roots.iter().filter(is_above) {
            match check_each(&root.0).and_then(|()| check_authority(&root.0, depth)) {
                Ok(()) => return Some(named(&root.0)),
                Err(why) => self.reason = why,
            }
        }
        if depth >= LONGEST {
            return None;
        }
        for above in self.others.iter().filter(|above| above.1 != below.1).filter(is_above) {
            match check_authority(&above.0, depth) {
                Ok(()) => {
                    if let Some(root) = self.up(above, depth + 1) {
                        return Some(root);
                    }
                }
                Err(why) => self.reason = why,
            }
        }
        None
    }
}

fn named(certificate: &Certificate) -> String {
    certificate.tbs_certificate.subject.to_string()
}

/// What must be true of every certificate.
fn check_each(certificate: &Certificate) -> Result<(), String> {
    let tbs = &certificate.tbs_certificate;
    let whose = if tbs.subject.is_empty() { "it".to_owned() } else { format!("the certificate of {}", tbs.subject) };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if tbs.validity.not_before.to_unix_duration() > now {
        return Err(format!("{whose} is not valid yet"));
    }
    if tbs.validity.not_after.to_unix_duration() < now {
        return Err(format!("{whose} is not valid any more"));
    }
    let unknown = tbs.extensions.iter().flatten().find(|extension| {
        extension.critical && !KNOWN.iter().any(|oid| ObjectIdentifier::new_unwrap(oid) == extension.extn_id)
    });
    match unknown {
        None => Ok(()),
        Some(extension) => Err(format!("{whose} has a critical extension that is not known ({})", extension.extn_id)),
    }
}

/// Whether its signature is one to rely on, which that of a root need not be.
fn check_signature(certificate: &Certificate) -> Result<(), String> {
    let algorithm = &certificate.signature_algorithm;
    let weak = WEAK.iter().any(|oid| ObjectIdentifier::new_unwrap(oid) == algorithm.oid);
    let same = algorithm.to_der().ok() == certificate.tbs_certificate.signature.to_der().ok();
    if weak || !same { Err("the algorithm of a signature is not taken".to_owned()) } else { Ok(()) }
}

/// Whether it may sign certificates, with so many of authorities below it.
fn check_authority(certificate: &Certificate, below: usize) -> Result<(), String> {
    let tbs = &certificate.tbs_certificate;
    let refuse = || format!("{} is no authority that may issue it", named(certificate));
    let constraints = tbs.get::<BasicConstraints>().ok().flatten().map(|(_, constraints)| constraints);
    let Some(BasicConstraints { ca: true, path_len_constraint }) = constraints else { return Err(refuse()) };
    let long = path_len_constraint.is_some_and(|most| usize::from(most) < below);
    let usage = tbs.get::<KeyUsage>().map_err(|error| error.to_string())?;
    let signs = usage.is_none_or(|(_, KeyUsage(bits))| bits.contains(KeyUsages::KeyCertSign));
    if long || !signs { Err(refuse()) } else { Ok(()) }
}
