//! What kind of file is it? The content says; names of files say nothing.

use base::Secret;
use base::private::PrivateKey;

use crate::certificate::{self, Certificate};
use crate::content::{self, Content};
use crate::error::{Error, Result};
use crate::names::{self, Restriction};
use crate::pbe::{self, Work};
use crate::pem::{self, Block};
use crate::public::PublicKey;
use crate::tss2::TssKey;
use crate::{openssh, pkcs7, pkcs12, private, text};

/// What a file has.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The key, if there is one.
    pub key: Option<Key>,
    /// What the key may serve for, if its algorithm says so.
    pub restriction: Option<Restriction>,
    /// Certificates; that of the key, if it is there, is the first.
    pub certificates: Vec<Certificate>,
    /// What the file calls the key: the friendly name of PKCS #12, the comment of OpenSSH.
    pub name: Option<String>,
}

impl KeyFile {
    /// With nothing in it.
    #[must_use]
    pub fn empty() -> KeyFile {
        KeyFile { key: None, restriction: None, certificates: Vec::new(), name: None }
    }

    /// The certificate of the key comes first, whatever the order in the file.
    pub(crate) fn in_order(mut self) -> KeyFile {
        if let Some(Key::Private(key)) = &self.key {
            let public = PublicKey::of(key);
            self.certificates.sort_by_key(|certificate| !certificate.is_of(&public));
        }
        self
    }
}

/// A key.
#[derive(Clone, Debug)]
pub enum Key {
    /// In clear.
    Private(PrivateKey),
    /// Of a TPM.
    Tss2(Box<TssKey>),
}

/// The blocks of a PEM file, or the one that a binary file is.
fn parts(file: &[u8]) -> Result<Vec<Block>> {
    let file = text::plain(file);
    if let Some(error) = content::foreign(file.expose()) {
        return Err(error);
    }
    let blocks = pem::blocks(file.expose())?;
    match blocks.is_empty() {
        false => Ok(blocks),
        true => Ok(vec![Block { label: String::new(), encryption: None, content: file }]),
    }
}

/// Reads a file with a private key: PEM or DER, with PKCS #8 (plain or encrypted), PKCS #1 or SEC 1 in it; OpenSSH; PKCS #12; TSS2
/// PRIVATE KEY. Certificates beside the key in a PEM file are found as well. What a block is, its content says; its label may err.
///
/// # Errors
/// [`Error::PassphraseNeeded`] for an encrypted file without a passphrase; then ask, and read again. [`Error::NoPrivateKey`] for a
/// file that has something else, and the other errors for what they say.
pub fn read(file: &Secret, passphrase: Option<&Secret>) -> Result<KeyFile> {
    let mut found = KeyFile::empty();
    let mut other = None;
    for block in parts(file.expose())? {
        let content = opened(&block, passphrase)?;
        let bytes = content.expose();
        let (key, restriction) = match content::recognise(bytes) {
            Content::PrivateKeyInfo => private_key_info(bytes)?,
            Content::EncryptedKey => {
                private_key_info(pbe::private_key_info(bytes, passphrase, &mut Work::of_file())?.expose())?
            }
            Content::RsaPrivate => (Key::Private(private::from_pkcs1(bytes)?), None),
            Content::EcPrivate => (Key::Private(private::from_sec1(bytes, None)?), None),
            Content::DsaPrivate => return Err(names::unsupported("the key is DSA")),
            Content::OpenSsh => {
                let (key, comment) = openssh::private_key(&content, passphrase)?;
                found.name = comment;
                (Key::Private(key), None)
            }
            Content::Tss2 => (Key::Tss2(Box::new(TssKey::from_der(bytes)?)), None),
            Content::Pkcs12 => {
                let pfx = pkcs12::recognise(bytes).ok_or(Error::Unknown)?.open(passphrase)?;
                found.certificates.extend(pfx.certificates);
                found.name = pfx.name.or(found.name);
                match pfx.key {
                    Some(key) => (key, pfx.restriction),
                    None => continue,
                }
            }
            Content::Certificate => {
                found.certificates.push(certificate::from_block(&content)?);
                continue;
            }
            Content::SignedData => {
                found.certificates.extend(pkcs7::certificates(bytes)?);
                continue;
            }
            // Of the old way, a wrong passphrase passes the padding once in 256 times: what comes out of it is no key then.
            _ if block.encryption.is_some() => return Err(Error::PassphraseWrong),
            Content::Other if block.label.ends_with("PRIVATE KEY") => {
                return Err(Error::Malformed("the file has a private key that is damaged"));
            }
            what => {
                other = other.or_else(|| no_key(what, &block));
                if let ("TSS2 KEY BLOB", Content::Other) = (block.label.as_str(), what) {
                    return Err(Error::Unsupported(
                        "the file is of an early format of TPM keys, which is left out here".into(),
                    ));
                }
                continue;
            }
        };
        if found.key.replace(key).is_some() {
            return Err(Error::Unsupported("the file has several keys; give a file for each".into()));
        }
        found.restriction = restriction;
    }
    match (&found.key, found.certificates.len(), other) {
        (Some(_), _, _) => Ok(found.in_order()),
        (None, 0, None) => Err(Error::Unknown),
        (None, 0, Some(what)) => Err(Error::NoPrivateKey(what)),
        (None, 1, _) => Err(Error::NoPrivateKey("a certificate")),
        (None, _, _) => Err(Error::NoPrivateKey("certificates")),
    }
}

/// What is there, if it is known and no private key.
fn no_key(content: Content, block: &Block) -> Option<&'static str> {
    match content {
        Content::PublicKeyInfo | Content::RsaPublic => Some("a public key"),
        Content::Request => Some("a request for a certificate"),
        Content::Revocations => Some("a list of revoked certificates"),
        Content::Other if openssh_line(block.content.expose()).is_some() => Some("an OpenSSH public key"),
        Content::Other if openssh::ssh2_public_key(block.content.expose()).is_some() => Some("an SSH public key"),
        // Parameters of a curve stand before a key; whatever else there is, is none.
        _ => None,
    }
}

/// The content of a block that may be encrypted in the old way.
fn opened(block: &Block, passphrase: Option<&Secret>) -> Result<Secret> {
    match &block.encryption {
        Some(header) => pbe::decrypt_old(header, passphrase, block.content.expose()),
        None => Ok(block.content.clone()),
    }
}

fn private_key_info(der: &[u8]) -> Result<(Key, Option<Restriction>)> {
    let (key, restriction) = private::from_pkcs8(der)?;
    Ok((Key::Private(key), restriction))
}

/// Reads a file with a public key, in PEM, DER or a line of OpenSSH; or with a certificate, whose key it is then.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Malformed`], [`Error::Unsupported`]; a file with a private key gives that key's public half only if it
/// is not encrypted.
pub fn read_public(file: &Secret) -> Result<PublicKey> {
    for block in parts(file.expose())? {
        let bytes = block.content.expose();
        match content::recognise(bytes) {
            Content::PublicKeyInfo => return PublicKey::from_spki(bytes),
            Content::RsaPublic => return PublicKey::from_pkcs1(bytes),
            Content::Certificate => {
                return PublicKey::from_spki(&certificate::from_block(&block.content)?.public_key);
            }
            Content::Other => {
                if let Some(line) = openssh_line(bytes) {
                    return openssh::public_key(line);
                }
                if let Some(key) = openssh::ssh2_public_key(bytes) {
                    return key;
                }
            }
            _ => {}
        }
    }
    match read(file, None)?.key {
        Some(Key::Private(key)) => Ok(PublicKey::of(&key)),
        _ => Err(Error::Unknown),
    }
}

/// Reads the certificates of a file: PEM or DER, chains of PKCS #7, and those in a PKCS #12 file that is not encrypted.
///
/// # Errors
/// [`Error::NoCertificate`] for a file without any; [`Error::Malformed`]; [`Error::PassphraseNeeded`].
pub fn read_certificates(file: &[u8]) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for block in parts(file)? {
        let bytes = block.content.expose();
        match content::recognise(bytes) {
            Content::Certificate => certificates.push(certificate::from_block(&block.content)?),
            Content::SignedData => certificates.extend(pkcs7::certificates(bytes)?),
            Content::Pkcs12 => {
                let pfx = pkcs12::recognise(bytes).ok_or(Error::Unknown)?.open(None)?;
                certificates.extend(pfx.certificates);
            }
            _ if is_certificate(&block.label) => {
                return Err(Error::Malformed("the file has a certificate that is damaged"));
            }
            _ => {}
        }
    }
    if certificates.is_empty() { Err(Error::NoCertificate) } else { Ok(certificates) }
}

/// Is a block said to have a certificate?
fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
}

fn openssh_line(file: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(file).ok()?.trim();
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|name| text.starts_with(name));
    (known && !text.contains('\n')).then_some(text)
}
