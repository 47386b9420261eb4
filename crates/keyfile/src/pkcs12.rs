//! PKCS #12 (RFC 7292): one private key with its certificates, as browsers, Java and Windows hand them out.

use base::Secret;

use crate::ber;
use crate::certificate::Certificate;
use crate::der::{Element, Reader, only_sequence, tag};
use crate::error::{Error, Result};
use crate::names;
use crate::pbe::{self, Purpose, Work, derive};
use crate::pbkdf2;
use crate::private;
use crate::read::{Key, KeyFile};

/// 1.2.840.113549.1.7.1 and .6
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
/// 1.2.840.113549.1.12.10.1; the kinds of bag are below it.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
const KEY: u8 = 1;
const SHROUDED_KEY: u8 = 2;
const CERTIFICATE: u8 = 3;
/// 1.2.840.113549.1.9.22.1 and .20
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];

/// RFC 9579.
const PBMAC1: &str = "1.2.840.113549.1.5.14";

const BROKEN: Error = Error::Malformed("the PKCS#12 file is not what it should be");

/// The file as DER, if it looks like a PFX.
pub(crate) fn recognise(file: &[u8]) -> Option<Pfx> {
    let der = ber::to_der(file)?;
    fields(der.expose())?;
    Some(Pfx { der })
}

/// What a PFX holds, and its MacData.
fn fields(der: &[u8]) -> Option<(Element<'_>, Option<Element<'_>>)> {
    let mut fields = only_sequence(der)?;
    if fields.any()?.number()? != 3 {
        return None;
    }
    Some((fields.expect(tag::SEQUENCE)?, fields.optional(tag::SEQUENCE)))
}

/// A PKCS #12 file before anything is opened.
#[derive(Debug)]
pub(crate) struct Pfx {
    der: Secret,
}

/// What the bags hold.
#[derive(Debug, Default)]
struct Found {
    keys: Vec<Secret>,
    name: Option<String>,
    certificates: Vec<Certificate>,
}

impl Pfx {
    pub(crate) fn open(self, passphrase: Option<&Secret>) -> Result<KeyFile> {
        let (contents, mac) = fields(self.der.expose()).ok_or(BROKEN)?;
        let content = content_info(contents.children())?;
        let Content::Data(safe) = content else {
            return Err(Error::Unsupported(
                "the PKCS#12 file is protected by a public key, which is left out here".into(),
            ));
        };
        let mut work = Work::of_file();
        if let Some(mac) = mac {
            check_mac(mac.children(), safe, passphrase.ok_or(Error::PassphraseNeeded)?, &mut work)?;
        }
        let mut found = Found::default();
        // The MAC is of what stands there, and what stands there may be BER again.
        let safe = ber::to_der(safe).ok_or(BROKEN)?;
        let mut infos = only_sequence(safe.expose()).ok_or(BROKEN)?;
        while !infos.is_empty() {
            match content_info(infos.sequence().ok_or(BROKEN)?)? {
                Content::Data(bags) => found.bags(bags, passphrase, &mut work)?,
                Content::Encrypted { algorithm, ciphertext } => {
                    let bags = pbe::decrypt(algorithm, passphrase, ciphertext.expose(), &mut work)?;
                    found.bags(bags.expose(), passphrase, &mut work)?;
                }
            }
        }
        found.into_file()
    }
}

impl Found {
    fn bags(&mut self, contents: &[u8], passphrase: Option<&Secret>, work: &mut Work) -> Result<()> {
        let contents = ber::to_der(contents).ok_or(BROKEN)?;
        let mut bags = only_sequence(contents.expose()).ok_or(BROKEN)?;
        while !bags.is_empty() {
            let mut bag = bags.sequence().ok_or(BROKEN)?;
            let id = bag.expect(tag::OID).ok_or(BROKEN)?.content;
            let value = bag.expect(tag::context(0)).ok_or(BROKEN)?.content;
            match id.split_last() {
                Some((&KEY, BAG)) => self.key(Secret::copy_from(value), bag),
                Some((&SHROUDED_KEY, BAG)) => self.key(pbe::private_key_info(value, passphrase, work)?, bag),
                Some((&CERTIFICATE, BAG)) => {
                    if let Some(der) = certificate(value) {
                        self.certificates.push(Certificate::from_der(der)?);
                    }
                }
                // Lists of revoked certificates, secrets, bags in bags: nothing that is looked for.
                _ => {}
            }
        }
        Ok(())
    }

    fn key(&mut self, info: Secret, rest: Reader<'_>) {
        self.keys.push(info);
        self.name = self.name.take().or_else(|| friendly_name(rest));
    }

    fn into_file(mut self) -> Result<KeyFile> {
        let key = match (self.keys.pop(), self.keys.is_empty()) {
            (None, _) => None,
            (Some(_), false) => {
                return Err(Error::Unsupported("the PKCS#12 file has several keys; give a file for each".into()));
            }
            (Some(info), true) => Some(private::from_pkcs8(info.expose())?),
        };
        let (key, restriction) = key.map_or((None, None), |(key, restriction)| (Some(Key::Private(key)), restriction));
        let file = KeyFile { key, restriction, certificates: self.certificates, name: self.name };
        Ok(file.in_order())
    }
}

#[derive(Debug)]
enum Content<'a> {
    Data(&'a [u8]),
    Encrypted { algorithm: Element<'a>, ciphertext: Secret },
}

fn content_info(mut fields: Reader<'_>) -> Result<Content<'_>> {
    let id = fields.expect(tag::OID).ok_or(BROKEN)?.content;
    let mut value = fields.expect(tag::context(0)).ok_or(BROKEN)?.children();
    match id {
        DATA => Ok(Content::Data(value.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content)),
        ENCRYPTED_DATA => {
            let mut data = value.sequence().ok_or(BROKEN)?;
            let mut info = data.any().and_then(|_| data.sequence()).ok_or(BROKEN)?;
            let algorithm = info.any().and_then(|_| info.expect(tag::SEQUENCE)).ok_or(BROKEN)?;
            let ciphertext = info.any().and_then(implicit_octets).ok_or(BROKEN)?;
            Ok(Content::Encrypted { algorithm, ciphertext })
        }
        _ => Err(Error::Unsupported("the PKCS#12 file is protected by a public key, which is left out here".into())),
    }
}

/// `[0] IMPLICIT OCTET STRING`. One that is in pieces cannot be told from what is tagged explicitly until here.
fn implicit_octets(element: Element<'_>) -> Option<Secret> {
    match element.tag {
        0x80 => Some(Secret::copy_from(element.content)),
        0xa0 => {
            let (mut pieces, mut octets) = (element.children(), Secret::zeroed(0));
            while !pieces.is_empty() {
                octets.extend(pieces.expect(tag::OCTET_STRING)?.content);
            }
            Some(octets)
        }
        _ => None,
    }
}

/// The certificate in a CertBag.
fn certificate(bag: &[u8]) -> Option<&[u8]> {
    let mut fields = only_sequence(bag)?;
    if fields.expect(tag::OID)?.content != X509 {
        return None;
    }
    Some(fields.expect(tag::context(0))?.children().expect(tag::OCTET_STRING)?.content)
}

/// Among the attributes of a bag.
fn friendly_name(mut rest: Reader<'_>) -> Option<String> {
    let mut attributes = rest.expect(tag::SET)?.children();
    while let Some(attribute) = attributes.any() {
        let mut fields = attribute.children();
        if fields.expect(tag::OID)?.content == FRIENDLY_NAME {
            let text = fields.expect(tag::SET)?.children().expect(tag::BMP_STRING)?.content;
            let units: Vec<u16> = text.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect();
            return String::from_utf16(&units).ok().filter(|name| !name.is_empty());
        }
    }
    None
}

/// MacData: who does not know the passphrase cannot make one (RFC 7292, 4).
fn check_mac(mut mac: Reader<'_>, safe: &[u8], passphrase: &Secret, work: &mut Work) -> Result<()> {
    let mut digest = mac.sequence().ok_or(BROKEN)?;
    let mut fields = digest.sequence().ok_or(BROKEN)?;
    let algorithm = fields.expect(tag::OID).ok_or(BROKEN)?;
    if names::dotted(algorithm.content) == PBMAC1 {
        let expected = Secret::copy_from(digest.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content);
        let code = pbkdf2::mac(fields.sequence().ok_or(BROKEN)?, passphrase, safe, work)?;
        return if code == expected { Ok(()) } else { Err(Error::PassphraseWrong) };
    }
    let hash = names::hash_of(algorithm.content).ok_or_else(|| {
        Error::Unsupported("the integrity of the PKCS#12 file is protected in a way that is left out here".into())
    })?;
    let expected = Secret::copy_from(digest.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content);
    let salt = mac.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content;
    let rounds = match mac.any() {
        None => 1,
        Some(rounds) => rounds.number().ok_or(BROKEN)?,
    };
    let key = derive(hash, passphrase, salt, rounds, Purpose::Mac, hash.len(), work)?;
    if hash.hmac(key.expose(), &[safe]) == expected { Ok(()) } else { Err(Error::PassphraseWrong) }
}
