//! PBKDF2 (RFC 8018, 5.2) by its AlgorithmIdentifier, where no crate reads what stands around it: AES-GCM in PBES2 (RFC 5084), and the
//! integrity of PKCS #12 by PBMAC1 (RFC 9579), which systems in FIPS mode write.

use aes::cipher::consts::{U12, U16};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use base::Secret;
use base::digest::Hash;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::der::{Element, Reader, tag};
use crate::error::{Error, Result};
use crate::names;
use crate::pbe::{BROKEN, Opener, Work, left_out};

const PBKDF2: &str = "1.2.840.113549.1.5.12";
/// The longest key that is asked for: of HMAC with SHA-512.
const LONGEST_KEY: usize = 64;
/// Of the tag of GCM that RFC 5084 names if the parameters do not.
const DEFAULT_TAG: u32 = 12;

/// The key that a derivation function in a file makes; of `len` bytes, or of as many as the file says.
pub(crate) fn derive(
    algorithm: Element<'_>,
    passphrase: &Secret,
    len: Option<usize>,
    work: &mut Work,
) -> Result<Secret> {
    let mut fields = algorithm.children();
    if names::dotted(fields.expect(tag::OID).ok_or(BROKEN)?.content) != PBKDF2 {
        return Err(left_out());
    }
    let mut parameters = fields.sequence().ok_or(BROKEN)?;
    let salt = parameters.expect(tag::OCTET_STRING).ok_or_else(left_out)?.content;
    let rounds = parameters.expect(tag::INTEGER).and_then(Element::number).ok_or(BROKEN)?;
    let said = parameters.optional(tag::INTEGER).and_then(Element::number).and_then(|len| usize::try_from(len).ok());
    let hash = match parameters.optional(tag::SEQUENCE) {
        None => Hash::Sha1,
        Some(prf) => names::hmac_hash(prf).ok_or_else(left_out)?,
    };
    let len = match (len, said) {
        (Some(len), Some(said)) if len != said => return Err(BROKEN),
        (Some(len), _) | (None, Some(len)) if (1..=LONGEST_KEY).contains(&len) => len,
        _ => return Err(BROKEN),
    };
    work.take(u64::from(rounds) * len.div_ceil(hash.len()) as u64)?;
    let mut key = Secret::zeroed(len);
    let (passphrase, out, rounds) = (passphrase.expose(), key.expose_mut(), rounds.max(1));
    match hash {
        Hash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, salt, rounds, out),
        Hash::Sha224 => pbkdf2::pbkdf2_hmac::<Sha224>(passphrase, salt, rounds, out),
        Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, rounds, out),
        Hash::Sha384 => pbkdf2::pbkdf2_hmac::<Sha384>(passphrase, salt, rounds, out),
        Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(passphrase, salt, rounds, out),
        _ => return Err(left_out()),
    }
    Ok(key)
}

/// Opens what PBES2 encrypted with AES-GCM; `None` for another cipher.
pub(crate) fn gcm(
    mut parameters: Reader<'_>,
    passphrase: &Secret,
    ciphertext: &[u8],
    work: &mut Work,
) -> Option<Result<Secret>> {
    let derivation = parameters.expect(tag::SEQUENCE)?;
    let mut cipher = parameters.sequence()?;
    let (len, open): (_, Opener) = match names::dotted(cipher.expect(tag::OID)?.content).as_str() {
        "2.16.840.1.101.3.4.1.6" => (16, open::<Aes128>),
        "2.16.840.1.101.3.4.1.26" => (24, open::<Aes192>),
        "2.16.840.1.101.3.4.1.46" => (32, open::<Aes256>),
        _ => return None,
    };
    Some(cipher.sequence().ok_or(BROKEN).and_then(|mut cipher| {
        let nonce = cipher.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content;
        let tag_len = cipher.any().map_or(Some(DEFAULT_TAG), Element::number).ok_or(BROKEN)?;
        let tag_len = usize::try_from(tag_len).map_err(|_| BROKEN)?;
        let key = derive(derivation, passphrase, Some(len), work)?;
        let body = ciphertext.len().checked_sub(tag_len).ok_or(BROKEN)?;
        let (body, tag) = ciphertext.split_at_checked(body).ok_or(BROKEN)?;
        let mut plain = Secret::copy_from(body);
        open(key.expose(), nonce, &mut plain, tag)?;
        Ok(plain)
    }))
}

/// With the nonce of 12 bytes and the tag of 16 that everybody writes; shorter tags are worth less than what they guard.
fn open<C>(key: &[u8], nonce: &[u8], data: &mut Secret, tag: &[u8]) -> Result<()>
where
    AesGcm<C, U12>: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit,
{
    let cipher = AesGcm::<C, U12>::new_from_slice(key).map_err(|_| BROKEN)?;
    let (Ok(nonce), Ok(tag)) = (<&[u8; 12]>::try_from(nonce), <&[u8; 16]>::try_from(tag)) else {
        return Err(Error::Unsupported(
            "the file is encrypted by AES-GCM with a nonce or a tag of unusual length; `openssl pkcs8 -topk8 -v2 aes-256-cbc` converts it".into(),
        ));
    };
    cipher
        .decrypt_inout_detached(nonce.into(), &[], data.expose_mut().into(), tag.into())
        .map_err(|_| Error::PassphraseWrong)
}

/// The code of PBMAC1 (RFC 8018, 7.1) over `data`; `parameters` are those of the AlgorithmIdentifier.
pub(crate) fn mac(mut parameters: Reader<'_>, passphrase: &Secret, data: &[u8], work: &mut Work) -> Result<Secret> {
    let derivation = parameters.expect(tag::SEQUENCE).ok_or(BROKEN)?;
    let scheme = parameters.expect(tag::SEQUENCE).ok_or(BROKEN)?;
    let hash = names::hmac_hash(scheme).ok_or_else(left_out)?;
    // Here the file must say how long the key is (RFC 9579, 4).
    let key = derive(derivation, passphrase, None, work)?;
    Ok(hash.hmac(key.expose(), &[data]))
}
