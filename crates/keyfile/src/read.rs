//! What kind of file is it? The content says; names of files say nothing.

use base::Secret;
use base::private::PrivateKey;

use crate::certificate::{self, Certificate};
use crate::der::{only_sequence, tag};
use crate::error::{Error, Result};
use crate::pbe::Work;
use crate::pem::{self, Block};
use crate::public::PublicKey;
use crate::tss2::TssKey;
use crate::{openssh, pbe, pkcs12};

/// What a file has.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The key, if there is one.
    pub key: Option<Key>,
    /// Certificates; that of the key, if it is there, is the first.
    pub certificates: Vec<Certificate>,
    /// What the file calls the key: the friendly name of PKCS #12, the comment of OpenSSH.
    pub name: Option<String>,
}

/// A key.
#[derive(Clone, Debug)]
pub enum Key {
    /// In clear.
    Private(PrivateKey),
    /// Of a TPM.
    Tss2(Box<TssKey>),
}

/// Reads a file with a private key: PEM or DER, with PKCS #8 (plain or encrypted), PKCS #1 or SEC 1 in it; OpenSSH; PKCS #12; TSS2
/// PRIVATE KEY. Certificates beside the key in a PEM file are found as well.
///
/// # Errors
/// [`Error::PassphraseNeeded`] for an encrypted file without a passphrase; then ask, and read again. [`Error::NoPrivateKey`] for a
/// file that has something else, and the other errors for what they say.
pub fn read(file: &Secret, passphrase: Option<&Secret>) -> Result<KeyFile> {
    let blocks = pem::blocks(file.expose())?;
    if blocks.is_empty() { read_der(file, passphrase) } else { read_pem(&blocks, passphrase) }
}

fn read_pem(blocks: &[Block], passphrase: Option<&Secret>) -> Result<KeyFile> {
    let mut found = KeyFile { key: None, certificates: Vec::new(), name: None };
    let mut other = None;
    for block in blocks {
        let key = match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                found.certificates.push(certificate::from_block(&block.content)?);
                continue;
            }
            "PRIVATE KEY" => pkcs8(&block.content)?,
            "ENCRYPTED PRIVATE KEY" => {
                pkcs8(&pbe::private_key_info(block.content.expose(), passphrase, &mut Work::of_file())?)?
            }
            "RSA PRIVATE KEY" => {
                Key::Private(PrivateKey::from_pkcs1(&opened(block, passphrase)?).map_err(damaged(block))?)
            }
            "EC PRIVATE KEY" => {
                Key::Private(PrivateKey::from_sec1(&opened(block, passphrase)?).map_err(damaged(block))?)
            }
            "OPENSSH PRIVATE KEY" => {
                let (key, comment) = openssh::private_key(&block.content, passphrase)?;
                found.name = comment;
                Key::Private(key)
            }
            "TSS2 PRIVATE KEY" => Key::Tss2(Box::new(TssKey::from_der(block.content.expose())?)),
            "TSS2 KEY BLOB" => {
                return Err(Error::Unsupported(
                    "the file is of an early format of TPM keys, which is left out here".into(),
                ));
            }
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                other = Some("a public key");
                continue;
            }
            "DSA PRIVATE KEY" => return Err(foreign()),
            // Parameters of a curve stand before a key; whatever else there is, is none.
            _ => continue,
        };
        if found.key.replace(key).is_some() {
            return Err(Error::Unsupported("the file has several keys; give a file for each".into()));
        }
    }
    if let Some(Key::Private(key)) = &found.key {
        let public = PublicKey::of(key);
        found.certificates.sort_by_key(|certificate| !certificate.is_of(&public));
    }
    match (&found.key, found.certificates.is_empty(), other) {
        (Some(_), _, _) => Ok(found),
        (None, true, None) => Err(Error::Unknown),
        (None, true, Some(what)) => Err(Error::NoPrivateKey(what)),
        (None, false, _) => Err(Error::NoPrivateKey("certificates")),
    }
}

/// The content of a block that may be encrypted in the old way.
fn opened(block: &Block, passphrase: Option<&Secret>) -> Result<Secret> {
    match &block.encryption {
        Some(header) => pbe::decrypt_old(header, passphrase, block.content.expose()),
        None => Ok(block.content.clone()),
    }
}

/// A wrong passphrase passes the padding of the old way once in 256 times: what comes out of it is no key then.
fn damaged(block: &Block) -> impl Fn(base::private::NotAPrivateKey) -> Error {
    let encrypted = block.encryption.is_some();
    move |_| if encrypted { Error::PassphraseWrong } else { foreign() }
}

fn pkcs8(der: &Secret) -> Result<Key> {
    PrivateKey::from_pkcs8(der).map(Key::Private).map_err(|_| foreign())
}

/// A key that is none for a TPM.
pub(crate) fn foreign() -> Error {
    Error::Unsupported(
        "the key is damaged, or of an algorithm that is left out here; a TPM has RSA (two primes), and ECDSA on P-224, \
         P-256, P-384 and P-521"
            .into(),
    )
}

fn read_der(file: &Secret, passphrase: Option<&Secret>) -> Result<KeyFile> {
    let bytes = file.expose();
    let Some(mut fields) = only_sequence(bytes) else {
        if let Some(pfx) = pkcs12::recognise(bytes) {
            return with_key(pfx.open(passphrase)?);
        }
        return Err(match openssh_line(bytes) {
            Some(_) => Error::NoPrivateKey("an OpenSSH public key"),
            None => Error::Unknown,
        });
    };
    let only = |key| Ok(KeyFile { key: Some(key), certificates: Vec::new(), name: None });
    let second = {
        let mut ahead = fields;
        ahead.any().and_then(|_| ahead.any())
    };
    let first = fields.any().ok_or(Error::Unknown)?;
    match (first.tag, first.number(), second.map(|second| second.tag)) {
        (tag::OID, _, _) => only(Key::Tss2(Box::new(TssKey::from_der(bytes)?))),
        // AlgorithmIdentifier and ciphertext; SubjectPublicKeyInfo has a BIT STRING there.
        (tag::SEQUENCE, _, Some(tag::OCTET_STRING)) => {
            only(pkcs8(&pbe::private_key_info(bytes, passphrase, &mut Work::of_file())?)?)
        }
        (tag::SEQUENCE, _, Some(tag::BIT_STRING)) => Err(Error::NoPrivateKey("a public key")),
        (tag::SEQUENCE, _, Some(tag::SEQUENCE)) if Certificate::from_der(bytes).is_ok() => {
            Err(Error::NoPrivateKey("a certificate"))
        }
        (tag::INTEGER, Some(3), Some(tag::SEQUENCE)) => {
            with_key(pkcs12::recognise(bytes).ok_or(Error::Unknown)?.open(passphrase)?)
        }
        (tag::INTEGER, Some(0 | 1), Some(tag::SEQUENCE)) => only(pkcs8(file)?),
        (tag::INTEGER, Some(0), Some(tag::INTEGER)) => {
            only(Key::Private(PrivateKey::from_pkcs1(file).map_err(|_| foreign())?))
        }
        (tag::INTEGER, Some(1), Some(tag::OCTET_STRING)) => {
            only(Key::Private(PrivateKey::from_sec1(file).map_err(|_| foreign())?))
        }
        _ => Err(Error::Unknown),
    }
}

fn with_key(found: KeyFile) -> Result<KeyFile> {
    match found.key {
        Some(_) => Ok(found),
        None => Err(Error::NoPrivateKey("certificates")),
    }
}

/// Reads a file with a public key, in PEM, DER or a line of OpenSSH; or with a certificate, whose key it is then.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Malformed`], [`Error::Unsupported`]; a file with a private key gives that key's public half only if it
/// is not encrypted.
pub fn read_public(file: &Secret) -> Result<PublicKey> {
    for block in pem::blocks(file.expose())? {
        match block.label.as_str() {
            "PUBLIC KEY" => return PublicKey::from_spki(block.content.expose()),
            "RSA PUBLIC KEY" => return PublicKey::from_pkcs1(block.content.expose()),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                return PublicKey::from_spki(&certificate::from_block(&block.content)?.public_key);
            }
            _ => {}
        }
    }
    let bytes = file.expose();
    if let Some(line) = openssh_line(bytes) {
        return openssh::public_key(line);
    }
    if let Ok(certificate) = Certificate::from_der(bytes) {
        return PublicKey::from_spki(&certificate.public_key);
    }
    match PublicKey::from_spki(bytes) {
        Err(Error::Malformed(_)) => match read(file, None)?.key {
            Some(Key::Private(key)) => Ok(PublicKey::of(&key)),
            _ => Err(Error::Unknown),
        },
        result => result,
    }
}

/// Reads the certificates of a file: PEM, or DER.
///
/// # Errors
/// [`Error::Unknown`] for a file without any; [`Error::Malformed`].
pub fn read_certificates(file: &[u8]) -> Result<Vec<Certificate>> {
    let blocks = pem::blocks(file)?;
    let certificates = blocks
        .iter()
        .filter(|block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"))
        .map(|block| certificate::from_block(&block.content));
    let certificates = certificates.collect::<Result<Vec<_>>>()?;
    match (certificates.is_empty(), blocks.is_empty()) {
        (false, _) => Ok(certificates),
        (true, true) => Certificate::from_der(file).map(|certificate| vec![certificate]).map_err(|_| Error::Unknown),
        (true, false) => Err(Error::Unknown),
    }
}

fn openssh_line(file: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(file).ok()?.trim();
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|name| text.starts_with(name));
    (known && !text.contains('\n')).then_some(text)
}
