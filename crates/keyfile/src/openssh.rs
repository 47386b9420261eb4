//! OpenSSH's own files: "OPENSSH PRIVATE KEY" (its PROTOCOL.key), and the lines of public keys (RFC 4253, 6.6; RFC 5656, 3.1).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::consts::{U12, U16};
use aes::cipher::{
    BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser, KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek,
};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use base::Secret;
use base::curve::{Curve, EcPublic};
use base::private::PrivateKey;
use base::rsa::RsaPublic;
use base64ct::{Base64, Encoding};
use chacha20::ChaCha20;
use ctr::Ctr128BE;
use des::TdesEde3;
use poly1305::Poly1305;
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};
use crate::names;
use crate::pbe::Opener;
use crate::public::PublicKey;

pub(crate) const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Rounds of bcrypt: `ssh-keygen -a`. The default is 16 or 24, and a hundred take a second.
const MOST_ROUNDS: u32 = 2_000;
/// Of a tag of GCM and of Poly1305.
const TAG_LEN: usize = 16;
const BROKEN: Error = Error::Malformed("the OpenSSH private key is not what it should be");
const BROKEN_PUBLIC: Error = Error::Malformed("the OpenSSH public key is not what it should be");

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
    // Behind the string, as in the packets of the protocol.
    let tag = fields.0;
    if (cipher, kdf) == (&b"none"[..], &b"none"[..]) {
        return parse(private).map_err(|error| if error == Error::PassphraseWrong { BROKEN } else { error });
    }
    let passphrase = passphrase.ok_or(Error::PassphraseNeeded)?;
    parse(decrypt(cipher, kdf, options, passphrase, private, tag)?.expose())
}

/// A cipher of files (OpenSSH's cipher.c): bytes of its key and its initialisation vector, and how it is undone.
struct Cipher {
    name: &'static str,
    key_len: usize,
    iv_len: usize,
    open: Opener,
}

const CIPHERS: &[Cipher] = &[
    Cipher { name: "aes128-ctr", key_len: 16, iv_len: 16, open: stream::<Ctr128BE<Aes128>> },
    Cipher { name: "aes192-ctr", key_len: 24, iv_len: 16, open: stream::<Ctr128BE<Aes192>> },
    Cipher { name: "aes256-ctr", key_len: 32, iv_len: 16, open: stream::<Ctr128BE<Aes256>> },
    Cipher { name: "aes128-cbc", key_len: 16, iv_len: 16, open: blocks::<cbc::Decryptor<Aes128>> },
    Cipher { name: "aes192-cbc", key_len: 24, iv_len: 16, open: blocks::<cbc::Decryptor<Aes192>> },
    Cipher { name: "aes256-cbc", key_len: 32, iv_len: 16, open: blocks::<cbc::Decryptor<Aes256>> },
    Cipher { name: "3des-cbc", key_len: 24, iv_len: 8, open: blocks::<cbc::Decryptor<TdesEde3>> },
    Cipher { name: "aes128-gcm@openssh.com", key_len: 16, iv_len: 12, open: gcm::<Aes128> },
    Cipher { name: "aes256-gcm@openssh.com", key_len: 32, iv_len: 12, open: gcm::<Aes256> },
    Cipher { name: "chacha20-poly1305@openssh.com", key_len: 64, iv_len: 0, open: chacha20_poly1305 },
];

fn decrypt(
    cipher: &[u8],
    kdf: &[u8],
    options: &[u8],
    passphrase: &Secret,
    private: &[u8],
    tag: &[u8],
) -> Result<Secret> {
    let cipher = CIPHERS.iter().find(|known| known.name.as_bytes() == cipher).ok_or_else(left_out_cipher)?;
    if kdf != b"bcrypt" {
        return Err(left_out_cipher());
    }
    let mut options = Fields(options);
    let salt = options.string().ok_or(BROKEN)?;
    let rounds = options.u32().ok_or(BROKEN)?;
    if rounds > MOST_ROUNDS {
        return Err(Error::Unsupported("opening the file would take beyond measure long".into()));
    }
    let mut derived = Secret::zeroed(cipher.key_len + cipher.iv_len);
    bcrypt_pbkdf::bcrypt_pbkdf(passphrase.expose(), salt, rounds, derived.expose_mut()).map_err(|_| BROKEN)?;
    let (key, iv) = derived.expose().split_at_checked(cipher.key_len).ok_or(BROKEN)?;
    let mut data = Secret::copy_from(private);
    (cipher.open)(key, iv, &mut data, tag)?;
    Ok(data)
}

fn left_out_cipher() -> Error {
    Error::Unsupported(
        "the file is encrypted in a way that is left out here; `ssh-keygen -p -Z aes256-ctr` converts it".into(),
    )
}

fn stream<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8], data: &mut Secret, _: &[u8]) -> Result<()> {
    C::new_from_slices(key, iv).map_err(|_| BROKEN)?.try_apply_keystream(data.expose_mut()).map_err(|_| BROKEN)
}

fn blocks<C: KeyIvInit + BlockModeDecrypt>(key: &[u8], iv: &[u8], data: &mut Secret, _: &[u8]) -> Result<()> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| BROKEN)?;
    cipher.decrypt_padded::<NoPadding>(data.expose_mut()).map_err(|_| BROKEN).map(drop)
}

fn gcm<C>(key: &[u8], iv: &[u8], data: &mut Secret, tag: &[u8]) -> Result<()>
where
    C: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + KeyInit,
{
    let cipher = AesGcm::<C, U12>::new_from_slice(key).map_err(|_| BROKEN)?;
    let (Ok(iv), Ok(tag)) = (<&[u8; 12]>::try_from(iv), <&[u8; TAG_LEN]>::try_from(tag)) else { return Err(BROKEN) };
    cipher
        .decrypt_inout_detached(iv.into(), &[], data.expose_mut().into(), tag.into())
        .map_err(|_| Error::PassphraseWrong)
}

/// OpenSSH's own construction (its PROTOCOL.chacha20poly1305), with nothing but data: the first half of the key is for it, the second
/// for lengths, which are not encrypted here. The nonce is the number of the packet: zero.
fn chacha20_poly1305(key: &[u8], _: &[u8], data: &mut Secret, tag: &[u8]) -> Result<()> {
    /// A block of the key stream: the first is for the key of Poly1305.
    const BLOCK: u32 = 64;
    let key = key.first_chunk::<32>().ok_or(BROKEN)?;
    let mut cipher = ChaCha20::new(key.into(), &[0; 12].into());
    let mut authentication = Secret::zeroed(32);
    cipher.try_apply_keystream(authentication.expose_mut()).map_err(|_| BROKEN)?;
    let poly = Poly1305::new_from_slice(authentication.expose()).map_err(|_| BROKEN)?;
    if !bool::from(poly.compute_unpadded(data.expose()).as_slice().ct_eq(tag)) {
        return Err(Error::PassphraseWrong);
    }
    cipher.try_seek(BLOCK).map_err(|_| BROKEN)?;
    cipher.try_apply_keystream(data.expose_mut()).map_err(|_| BROKEN)
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

/// The key of a line of `authorized_keys` without options.
pub(crate) fn public_key(line: &str) -> Result<PublicKey> {
    let base64 = line.split_whitespace().nth(1).ok_or(BROKEN_PUBLIC)?;
    public_blob(&Base64::decode_vec(base64).map_err(|_| BROKEN_PUBLIC)?)
}

/// The key as the protocol sends it.
pub(crate) fn public_blob(blob: &[u8]) -> Result<PublicKey> {
    let mut fields = Fields(blob);
    let name = fields.string().ok_or(BROKEN_PUBLIC)?;
    if name == b"ssh-rsa" {
        let (e, n) = (fields.string().ok_or(BROKEN_PUBLIC)?, fields.string().ok_or(BROKEN_PUBLIC)?);
        return RsaPublic::new(n, e).map(PublicKey::Rsa).map_err(|_| BROKEN_PUBLIC);
    }
    let curve = curve_of(name).ok_or_else(|| left_out(name))?;
    let point = fields.string().and_then(|_| fields.string()).ok_or(BROKEN_PUBLIC)?;
    EcPublic::from_point(curve, point).map(PublicKey::Ec).map_err(|_| BROKEN_PUBLIC)
}

/// A public key as other programs for SSH write it (RFC 4716): PuTTY's generator, those for Windows and for routers.
pub(crate) fn ssh2_public_key(file: &[u8]) -> Option<Result<PublicKey>> {
    const BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
    const END: &str = "---- END SSH2 PUBLIC KEY ----";
    let text = std::str::from_utf8(file).ok()?;
    let (_, body) = text.split_once(BEGIN)?;
    let (body, _) = body.split_once(END)?;
    let mut base64 = String::new();
    let mut continues = false;
    for line in body.lines().map(str::trim) {
        let header = continues || line.contains(':');
        continues = header && line.ends_with('\\');
        if !header {
            base64.push_str(line);
        }
    }
    Some(Base64::decode_vec(&base64).map_err(|_| BROKEN_PUBLIC).and_then(|blob| public_blob(&blob)))
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
    names::unsupported(&format!("the key is {name}"))
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
