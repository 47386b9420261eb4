//! What is it? The bytes say; the label of a PEM block is what somebody once called them.

use crate::der::{Element, only_sequence, tag};
use crate::error::Error;
use crate::names;
use crate::openssh;

/// What a block of a file, or a file that is binary, turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// openssh-key-v1.
    OpenSsh,
    /// TPMKey.
    Tss2,
    /// EncryptedPrivateKeyInfo.
    EncryptedKey,
    /// PrivateKeyInfo.
    PrivateKeyInfo,
    /// RSAPrivateKey.
    RsaPrivate,
    /// ECPrivateKey.
    EcPrivate,
    /// DSAPrivateKey, as OpenSSL writes it.
    DsaPrivate,
    /// SubjectPublicKeyInfo.
    PublicKeyInfo,
    /// RSAPublicKey.
    RsaPublic,
    /// Certificate; OpenSSL's remarks may follow it.
    Certificate,
    /// ContentInfo with SignedData (RFC 5652): a chain.
    SignedData,
    /// PFX.
    Pkcs12,
    /// CertificationRequest.
    Request,
    /// CertificateList.
    Revocations,
    /// Something else.
    Other,
}

/// 2.23.133.10.1: types of TPM 2.0 Key Files.
const TPM_KEYS: &str = "2.23.133.10.1.";
pub(crate) const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const NUMBERS_OF_RSA: usize = 9;
const NUMBERS_OF_DSA: usize = 6;

/// Looks at how the bytes begin. What looks like something need not be it, which its reader finds.
pub(crate) fn recognise(bytes: &[u8]) -> Content {
    if bytes.starts_with(openssh::MAGIC) {
        return Content::OpenSsh;
    }
    der(bytes).unwrap_or_else(|| match crate::ber::to_der(bytes) {
        // Tags and lengths of BER, as some programs write chains and PFX.
        Some(rewritten) if rewritten.expose() != bytes => der(rewritten.expose()).unwrap_or(Content::Other),
        _ => Content::Other,
    })
}

fn der(bytes: &[u8]) -> Option<Content> {
    let mut reader = crate::der::Reader::new(bytes);
    let whole = reader.expect(tag::SEQUENCE)?;
    let ends = reader.is_empty();
    let mut fields = whole.children();
    let (first, second, third) = (fields.any()?, fields.any(), fields.any());
    let second_tag = second.map(|second| second.tag);
    Some(match (first.tag, second_tag) {
        (tag::OID, _) => match names::dotted(first.content).as_str() {
            SIGNED_DATA => Content::SignedData,
            oid if oid.starts_with(TPM_KEYS) => Content::Tss2,
            _ => Content::Other,
        },
        (tag::SEQUENCE, Some(tag::OCTET_STRING)) => Content::EncryptedKey,
        (tag::SEQUENCE, Some(tag::BIT_STRING)) => Content::PublicKeyInfo,
        (tag::SEQUENCE, Some(tag::SEQUENCE)) if third.is_some_and(|third| third.tag == tag::BIT_STRING) => {
            signed(first, whole)
        }
        (tag::INTEGER, Some(tag::SEQUENCE)) if first.number() == Some(3) => Content::Pkcs12,
        (tag::INTEGER, Some(tag::SEQUENCE)) => Content::PrivateKeyInfo,
        (tag::INTEGER, Some(tag::OCTET_STRING)) => Content::EcPrivate,
        (tag::INTEGER, Some(tag::INTEGER)) if ends => match numbers(bytes) {
            Some(2) => Content::RsaPublic,
            Some(NUMBERS_OF_DSA) => Content::DsaPrivate,
            Some(NUMBERS_OF_RSA..) => Content::RsaPrivate,
            _ => Content::Other,
        },
        _ => Content::Other,
    })
}

/// A certificate, a request or a list of what was revoked: all of them are something, an algorithm and a signature.
fn signed(inner: Element<'_>, whole: Element<'_>) -> Content {
    if base::certificate::parts(whole.whole).is_some() {
        return Content::Certificate;
    }
    let mut fields = inner.children();
    let first = fields.any().map(|first| first.tag);
    match (first, fields.any().map(|second| second.tag), fields.any().map(|third| third.tag)) {
        // Version, subject, key.
        (Some(tag::INTEGER), Some(tag::SEQUENCE), Some(tag::SEQUENCE)) => Content::Request,
        // Version, algorithm, issuer; the version may be left out.
        (Some(tag::INTEGER | tag::SEQUENCE), Some(tag::SEQUENCE), _) => Content::Revocations,
        _ => Content::Other,
    }
}

/// How many elements the one SEQUENCE has.
fn numbers(bytes: &[u8]) -> Option<usize> {
    let mut fields = only_sequence(bytes)?;
    let mut count = 0;
    while !fields.is_empty() {
        fields.any()?;
        count += 1;
    }
    Some(count)
}

/// How files of other programs begin, and what makes a file of them that is read here.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"PuTTY-User-Key-File-", "the file is PuTTY's; `puttygen FILE -O private-openssh -o NEW` converts it"),
    (
        b"SSH PRIVATE KEY FILE FORMAT 1.1",
        "the file is of SSH's first version, which no TPM has keys for; make a key of today with `ptool addkey`",
    ),
    (
        b"\xfe\xed\xfe\xed",
        "the file is a Java keystore (JKS); `keytool -importkeystore -srckeystore FILE -destkeystore NEW -deststoretype pkcs12` converts it",
    ),
    (
        b"\xce\xce\xce\xce",
        "the file is a Java keystore (JCEKS); `keytool -importkeystore -srckeystore FILE -srcstoretype jceks -destkeystore NEW -deststoretype pkcs12` converts it",
    ),
    (
        b"SQLite format 3\0",
        "the file is a database; of one of NSS, `pk12util -o NEW -n NAME -d DIRECTORY` writes a key as PKCS#12",
    ),
    (
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----",
        "the file is of OpenPGP, whose keys are of another make; `gpgsm --export-secret-key-p12` writes X.509 keys of GnuPG",
    ),
    (b"AGE-SECRET-KEY-", "the key is of age, which is X25519, and no TPM has it"),
];

/// A form that others use and that is not read here, by how it begins.
pub(crate) fn foreign(file: &[u8]) -> Option<Error> {
    let file = file.trim_ascii_start();
    FOREIGN.iter().find(|(start, _)| file.starts_with(start)).map(|(_, text)| Error::Unsupported((*text).to_owned()))
}
