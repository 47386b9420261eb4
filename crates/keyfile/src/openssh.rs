//! OpenSSH's own files: "OPENSSH PRIVATE KEY" (its PROTOCOL.key), and the lines of public keys (RFC 4253, 6.6; RFC 5656, 3.1).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};
use base::Secret;
use base::curve::{Curve, EcPublic};
use base::private::PrivateKey;
use base::rsa::RsaPublic;
use base64ct::{Base64, Encoding};
use ctr::Ctr128BE;

use crate::error::{Error, Result};
use crate::public::PublicKey;

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Rounds of bcrypt: `ssh-keygen -a`. The default is 16 or 24, and a hundred take a second.
const MOST_ROUNDS: u32 = 2_000;
const IV_LEN: usize = 16;
const BROKEN: Error = Error::Malformed("the OpenSSH private key is not what it should be");

/// A private key, and the comment that it has.
pub(crate) fn private_key(content: &Secret, passphrase: Option<&Secret>) -> Result<(PrivateKey, Option<String>)> {
    let mut fields = Fields(content.expose().strip_prefix(MAGIC).ok_or(BROKEN)?);
    let cipher = fields.string().ok_or(BROKEN)?;
    let kdf = fields.string().ok_or(BROKEN)?;
    let options = fields.string().ok_or(BROKEN)?;
    if fields.u32() != Some(1) {
        return Err(Error::Unsupported("the file has several keys; give a file for each".into()));
    }
    fields.string().ok_or(BROKEN)?;
    let private = fields.string().ok_or(BROKEN)?;
    if (cipher, kdf) == (&b"none"[..], &b"none"[..]) {
        return parse(private).map_err(|error| if error == Error::PassphraseWrong { BROKEN } else { error });
    }
    let passphrase = passphrase.ok_or(Error::PassphraseNeeded)?;
    parse(decrypt(cipher, kdf, options, passphrase, private)?.expose())
}

fn decrypt(cipher: &[u8], kdf: &[u8], options: &[u8], passphrase: &Secret, private: &[u8]) -> Result<Secret> {
    let key_len = match cipher {
        b"aes128-ctr" | b"aes128-cbc" => 16,
        b"aes192-ctr" | b"aes192-cbc" => 24,
        b"aes256-ctr" | b"aes256-cbc" => 32,
        _ => return Err(left_out_cipher()),
    };
    if kdf != b"bcrypt" {
        return Err(left_out_cipher());
    }
    let mut options = Fields(options);
    let salt = options.string().ok_or(BROKEN)?;
    let rounds = options.u32().ok_or(BROKEN)?;
    if rounds > MOST_ROUNDS {
        return Err(Error::Unsupported("opening the file would take beyond measure long".into()));
    }
    let mut derived = Secret::zeroed(key_len + IV_LEN);
    bcrypt_pbkdf::bcrypt_pbkdf(passphrase.expose(), salt, rounds, derived.expose_mut()).map_err(|_| BROKEN)?;
    let (key, iv) = derived.expose().split_at_checked(key_len).ok_or(BROKEN)?;
    let mut data = Secret::copy_from(private);
    match cipher {
        b"aes128-ctr" => stream::<Ctr128BE<Aes128>>(key, iv, &mut data)?,
        b"aes192-ctr" => stream::<Ctr128BE<Aes192>>(key, iv, &mut data)?,
        b"aes256-ctr" => stream::<Ctr128BE<Aes256>>(key, iv, &mut data)?,
        b"aes128-cbc" => blocks::<cbc::Decryptor<Aes128>>(key, iv, &mut data)?,
        b"aes192-cbc" => blocks::<cbc::Decryptor<Aes192>>(key, iv, &mut data)?,
        _ => blocks::<cbc::Decryptor<Aes256>>(key, iv, &mut data)?,
    }
    Ok(data)
}

fn left_out_cipher() -> Error {
    Error::Unsupported(
        "the file is encrypted in a way that is left out here; `ssh-keygen -p -Z aes256-ctr` converts it".into(),
    )
}

fn stream<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8], data: &mut Secret) -> Result<()> {
    C::new_from_slices(key, iv).map_err(|_| BROKEN)?.try_apply_keystream(data.expose_mut()).map_err(|_| BROKEN)
}

fn blocks<C: KeyIvInit + BlockDecryptMut>(key: &[u8], iv: &[u8], data: &mut Secret) -> Result<()> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| BROKEN)?;
    cipher.decrypt_padded_mut::<NoPadding>(data.expose_mut()).map_err(|_| BROKEN).map(drop)
}

/// The part that may have been encrypted.
fn parse(private: &[u8]) -> Result<(PrivateKey, Option<String>)> {
    let mut fields = Fields(private);
    let (check, again) = (fields.u32().ok_or(BROKEN)?, fields.u32().ok_or(BROKEN)?);
    if check != again {
        return Err(Error::PassphraseWrong);
    }
    let name = fields.string().ok_or(BROKEN)?;
    let key = if name == b"ssh-rsa" {
        let mut number = || fields.string().ok_or(BROKEN);
        let (n, e, d, _, p, _) = (number()?, number()?, number()?, number()?, number()?, number()?);
        let public = RsaPublic::new(n, e).map_err(|_| BROKEN)?;
        let p = strip(p);
        PrivateKey::rsa(public, (!p.is_empty()).then_some(p), Some(d)).map_err(|_| BROKEN)?
    } else {
        let curve = curve_of(name).ok_or_else(|| left_out(name))?;
        fields.string().ok_or(BROKEN)?;
        let point = fields.string().ok_or(BROKEN)?;
        let scalar = Secret::copy_from(fields.string().ok_or(BROKEN)?);
        let key = PrivateKey::ec(curve, &scalar).map_err(|_| BROKEN)?;
        match &key {
            PrivateKey::Ec { public, .. } if public.point() == point => key,
            _ => return Err(Error::Malformed("the halves of the OpenSSH key do not belong together")),
        }
    };
    let comment = fields.string().map(|comment| String::from_utf8_lossy(comment).into_owned());
    Ok((key, comment.filter(|comment| !comment.is_empty())))
}

/// The key of a line.
pub(crate) fn public_key(line: &str) -> Result<PublicKey> {
    let broken = Error::Malformed("the OpenSSH public key is not what it should be");
    let base64 = line.split_whitespace().nth(1).ok_or(broken.clone())?;
    let blob = Base64::decode_vec(base64).map_err(|_| broken.clone())?;
    let mut fields = Fields(&blob);
    let name = fields.string().ok_or(broken.clone())?;
    if name == b"ssh-rsa" {
        let (e, n) = (fields.string().ok_or(broken.clone())?, fields.string().ok_or(broken.clone())?);
        return RsaPublic::new(n, e).map(PublicKey::Rsa).map_err(|_| broken);
    }
    let curve = curve_of(name).ok_or_else(|| left_out(name))?;
    let point = fields.string().and_then(|_| fields.string()).ok_or(broken.clone())?;
    EcPublic::from_point(curve, point).map(PublicKey::Ec).map_err(|_| broken)
}

fn curve_of(name: &[u8]) -> Option<Curve> {
    match name {
        b"ecdsa-sha2-nistp256" => Some(Curve::P256),
        b"ecdsa-sha2-nistp384" => Some(Curve::P384),
        b"ecdsa-sha2-nistp521" => Some(Curve::P521),
        _ => None,
    }
}

fn left_out(name: &[u8]) -> Error {
    let name: String = String::from_utf8_lossy(name).chars().filter(char::is_ascii_graphic).take(64).collect();
    Error::Unsupported(format!("the key is {name}; a TPM has RSA, and ECDSA on P-256, P-384 and P-521"))
}

fn strip(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A cursor over strings with their length before them (RFC 4251, 5).
#[derive(Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*digits))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(string)
    }
}
