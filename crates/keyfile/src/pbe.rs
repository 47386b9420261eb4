//! Encryption by passphrase: PBES2 (RFC 8018), the schemes of PKCS #12 (RFC 7292, appendix B), and that of old PEM files.

use aes::{Aes128, Aes192, Aes256};
use base::Secret;
use base::der::sequence;
use base::digest::Hash;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pkcs5::pbes2::Kdf;
use rc2::Rc2;

use crate::der::{Element, Reader, only_sequence, tag};
use crate::error::{Error, Result};
use crate::pbkdf2;

/// No honest file asks for more rounds, with all that is in it; it would be a way to keep somebody's machine busy.
const MOST_ROUNDS: u64 = 10_000_000;
/// Bytes of memory that scrypt may ask for.
const MOST_MEMORY: u64 = 1 << 28;
/// A block of DES.
const SHORTEST_IV: usize = 8;
/// Cost of scrypt beyond its memory.
const MOST_PARALLEL: u16 = 16;
/// Bytes that scrypt fills and reads again in about the time of a round: so the most that it may ask for is within [`MOST_ROUNDS`].
const SCRYPT_PER_ROUND: u64 = 512;
/// Bytes of the shortest block that PBKDF2 makes, of SHA-1.
const SHORTEST_PRF: usize = 20;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// 1.2.840.113549.1.12.1; the schemes are below it.
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];

/// What the derivations of one file may still cost, in rounds. A file can have many things that are encrypted, each with rounds of
/// its own: what counts is how long the whole of it takes.
#[derive(Debug)]
pub(crate) struct Work {
    left: u64,
}

impl Work {
    /// That of one file.
    pub(crate) fn of_file() -> Work {
        Work { left: MOST_ROUNDS }
    }

    /// Before a derivation: would it end within the patience of a person, after all that was done before?
    pub(crate) fn take(&mut self, rounds: u64) -> Result<()> {
        self.left = self.left.checked_sub(rounds).ok_or_else(too_costly)?;
        Ok(())
    }
}

/// Undoes a cipher in place: key, initialisation vector or nonce, data, and the tag behind it if there is one.
pub(crate) type Opener = fn(&[u8], &[u8], &mut Secret, &[u8]) -> Result<()>;

/// Opens what was encrypted by an AlgorithmIdentifier.
pub(crate) fn decrypt(
    algorithm: Element<'_>,
    passphrase: Option<&Secret>,
    ciphertext: &[u8],
    work: &mut Work,
) -> Result<Secret> {
    let passphrase = passphrase.ok_or(Error::PassphraseNeeded)?;
    let oid = algorithm.children().expect(tag::OID).ok_or(BROKEN)?.content;
    match (oid, oid.split_last()) {
        (PBES2, _) => pbes2(algorithm, passphrase, ciphertext, work),
        (_, Some((scheme, PKCS12_PBE))) => pkcs12(*scheme, algorithm, passphrase, ciphertext, work),
        _ => Err(Error::Unsupported(
            "the file is encrypted in a way that is left out here; `openssl pkcs8 -topk8 -v2 aes-256-cbc` converts it"
                .into(),
        )),
    }
}

pub(crate) const BROKEN: Error = Error::Malformed("the parameters of the encryption are not what they should be");

fn pbes2(algorithm: Element<'_>, passphrase: &Secret, ciphertext: &[u8], work: &mut Work) -> Result<Secret> {
    if let Some(opened) = parameters_of(algorithm).and_then(|fields| pbkdf2::gcm(fields, passphrase, ciphertext, work))
    {
        return opened;
    }
    // The crate takes the first bytes of it without looking how many there are.
    if initialisation_vector(algorithm).ok_or_else(left_out)?.len() < SHORTEST_IV {
        return Err(BROKEN);
    }
    let complete = with_parameters_of_prf(algorithm);
    let algorithm = complete.as_deref().unwrap_or(algorithm.whole);
    let scheme = pkcs5::EncryptionScheme::try_from(algorithm).map_err(|_| left_out())?;
    let parameters = scheme.pbes2().ok_or(BROKEN)?;
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => {
            let blocks = parameters.encryption.key_size().div_ceil(SHORTEST_PRF);
            work.take(u64::from(kdf.iteration_count) * blocks as u64)?;
        }
        // The crate takes the logarithm before it looks at the number (RFC 7914, 2).
        Kdf::Scrypt(kdf) if !kdf.cost_parameter.is_power_of_two() || kdf.block_size == 0 => return Err(BROKEN),
        Kdf::Scrypt(kdf) => {
            let memory = kdf.cost_parameter.checked_mul(128 * u64::from(kdf.block_size));
            let memory = memory.filter(|memory| *memory <= MOST_MEMORY && kdf.parallelization <= MOST_PARALLEL);
            work.take(memory.ok_or_else(too_costly)? * u64::from(kdf.parallelization) / SCRYPT_PER_ROUND)?;
        }
        _ => return Err(left_out()),
    }
    scheme.decrypt(passphrase.expose(), ciphertext).map(Secret::new).map_err(|_| Error::PassphraseWrong)
}

pub(crate) fn left_out() -> Error {
    Error::Unsupported(
        "the file is encrypted with a cipher or a hash that is left out here; `openssl pkcs8 -topk8 -v2 aes-256-cbc` converts it"
            .into(),
    )
}

fn parameters_of(algorithm: Element<'_>) -> Option<Reader<'_>> {
    let mut fields = algorithm.children();
    fields.expect(tag::OID)?;
    fields.sequence()
}

/// The parameters of the cipher, where they are an initialisation vector and nothing else (RFC 8018, A.4).
fn initialisation_vector(algorithm: Element<'_>) -> Option<&[u8]> {
    let mut parameters = parameters_of(algorithm)?;
    parameters.any()?;
    let mut cipher = parameters.sequence()?;
    cipher.any()?;
    Some(cipher.expect(tag::OCTET_STRING)?.content)
}

/// The scheme with the NULL that belongs to the pseudorandom function of PBKDF2 (RFC 8018, B.1.1), if that is all that is missing:
/// NSS leaves it out.
fn with_parameters_of_prf(algorithm: Element<'_>) -> Option<Vec<u8>> {
    const NULL: [u8; 2] = [0x05, 0];
    let mut scheme = algorithm.children();
    let (scheme_oid, mut parameters) = (scheme.expect(tag::OID)?, scheme.sequence()?);
    let (mut derivation, encryption) = (parameters.sequence()?, parameters.expect(tag::SEQUENCE)?);
    let (derivation_oid, mut fields) = (derivation.expect(tag::OID)?, derivation.sequence()?);
    let (salt, rounds) = (fields.expect(tag::OCTET_STRING)?, fields.expect(tag::INTEGER)?);
    let len = fields.optional(tag::INTEGER).map(|len| len.whole).unwrap_or_default();
    let mut prf = fields.sequence()?;
    let prf_oid = prf.expect(tag::OID)?;
    if !prf.is_empty() || !fields.is_empty() {
        return None;
    }
    let prf = sequence(&[prf_oid.whole, &NULL]);
    let fields = sequence(&[salt.whole, rounds.whole, len, &prf]);
    let derivation = sequence(&[derivation_oid.whole, &fields]);
    Some(sequence(&[scheme_oid.whole, &sequence(&[&derivation, encryption.whole])]))
}

fn too_costly() -> Error {
    Error::Unsupported("opening the file would take beyond measure long, or much memory".into())
}

/// pbeWithSHAAnd...; the numbers are the last arc of the scheme's identifier.
fn pkcs12(
    scheme: u8,
    algorithm: Element<'_>,
    passphrase: &Secret,
    ciphertext: &[u8],
    work: &mut Work,
) -> Result<Secret> {
    let mut fields = algorithm.children();
    let parameters = fields.any().and_then(|_| fields.sequence()).ok_or(BROKEN)?;
    let (salt, rounds) = salt_and_rounds(parameters)?;
    let mut derive = |purpose, len| derive(Hash::Sha1, passphrase, salt, rounds, purpose, len, work);
    let iv = derive(Purpose::Iv, 8)?;
    match scheme {
        3 => cbc::<TdesEde3>(&derive(Purpose::Key, 24)?, iv.expose(), ciphertext),
        5 => rc2_cbc(&derive(Purpose::Key, 16)?, iv.expose(), ciphertext),
        6 => rc2_cbc(&derive(Purpose::Key, 5)?, iv.expose(), ciphertext),
        _ => Err(Error::Unsupported("the file is encrypted with RC4 or two-key DES, which are left out here".into())),
    }
}

fn salt_and_rounds(mut parameters: Reader<'_>) -> Result<(&[u8], u32)> {
    let salt = parameters.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content;
    let rounds = parameters.any().and_then(Element::number).ok_or(BROKEN)?;
    Ok((salt, rounds))
}

/// What is derived from a passphrase (RFC 7292, B.3): its ID.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// The key derivation of PKCS #12 (RFC 7292, B.2).
pub(crate) fn derive(
    hash: Hash,
    passphrase: &Secret,
    salt: &[u8],
    rounds: u32,
    purpose: Purpose,
    len: usize,
    work: &mut Work,
) -> Result<Secret> {
    work.take(u64::from(rounds) * len.div_ceil(hash.len()) as u64)?;
    let block = hash.block_len();
    let password = bmp_string(passphrase)?;
    let mut state = repeated(salt, block);
    state.extend(repeated(password.expose(), block).expose());
    let diversifier = vec![purpose as u8; block];
    let mut out = Secret::zeroed(0);
    while out.len() < len {
        let mut a = Secret::new(hash.digest(&[&diversifier, state.expose()]));
        for _ in 1..rounds {
            a = Secret::new(hash.digest(&[a.expose()]));
        }
        out.extend(a.expose());
        let b = repeated(a.expose(), block);
        for chunk in state.expose_mut().chunks_mut(block) {
            // chunk + B + 1, modulo 2^(8 block)
            let mut carry = 1_u16;
            for (digit, addend) in chunk.iter_mut().rev().zip(b.expose().iter().rev()) {
                let [high, low] = (u16::from(*digit) + u16::from(*addend) + carry).to_be_bytes();
                *digit = low;
                carry = u16::from(high);
            }
        }
    }
    out.truncate(len);
    Ok(out)
}

/// The bytes over and over, up to the next multiple of a block; none if there are none.
fn repeated(bytes: &[u8], block: usize) -> Secret {
    let len = bytes.len().div_ceil(block) * block;
    let mut out = Secret::zeroed(len);
    for (to, from) in out.expose_mut().iter_mut().zip(bytes.iter().cycle()) {
        *to = *from;
    }
    out
}

/// UTF-16, big-endian, with a zero at its end (RFC 7292, B.1).
fn bmp_string(passphrase: &Secret) -> Result<Secret> {
    let text = std::str::from_utf8(passphrase.expose())
        .map_err(|_| Error::Unsupported("the passphrase of a PKCS#12 file must be UTF-8".into()))?;
    let mut out = Secret::zeroed(0);
    for unit in text.encode_utf16() {
        out.extend(&unit.to_be_bytes());
    }
    out.extend(&[0, 0]);
    Ok(out)
}

/// Opens a PEM block by its header `DEK-Info`, as OpenSSL's `-traditional` writes it: the key is MD5 of passphrase and salt.
pub(crate) fn decrypt_old(header: &str, passphrase: Option<&Secret>, ciphertext: &[u8]) -> Result<Secret> {
    let passphrase = passphrase.ok_or(Error::PassphraseNeeded)?;
    let (cipher, iv) = header.split_once(',').ok_or(BROKEN)?;
    let iv = base::hex::decode(iv.trim()).ok_or(BROKEN)?;
    let salt = iv.get(..8).ok_or(BROKEN)?;
    let key = |len| md5_key(passphrase, salt, len);
    match cipher.trim() {
        "AES-128-CBC" => cbc::<Aes128>(&key(16), &iv, ciphertext),
        "AES-192-CBC" => cbc::<Aes192>(&key(24), &iv, ciphertext),
        "AES-256-CBC" => cbc::<Aes256>(&key(32), &iv, ciphertext),
        "DES-EDE3-CBC" => cbc::<TdesEde3>(&key(24), &iv, ciphertext),
        other => Err(Error::Unsupported(format!(
            "the file is encrypted with {}, which is left out here",
            other.chars().filter(char::is_ascii_graphic).take(32).collect::<String>()
        ))),
    }
}

fn md5_key(passphrase: &Secret, salt: &[u8], len: usize) -> Secret {
    let mut key = Secret::zeroed(0);
    let mut last = Secret::zeroed(0);
    while key.len() < len {
        let digest = Md5::new().chain_update(last.expose()).chain_update(passphrase.expose()).chain_update(salt);
        last = Secret::new(digest.finalize().to_vec());
        key.extend(last.expose());
    }
    key.truncate(len);
    key
}

fn cbc<C>(key: &Secret, iv: &[u8], ciphertext: &[u8]) -> Result<Secret>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let cipher = C::new_from_slice(key.expose()).map_err(|_| BROKEN)?;
    unpad(cipher, iv, ciphertext)
}

/// RC2 takes as many bits as its key has: five bytes are the 40 bits of an export licence.
fn rc2_cbc(key: &Secret, iv: &[u8], ciphertext: &[u8]) -> Result<Secret> {
    unpad(Rc2::new_with_eff_key_len(key.expose(), key.len() * 8), iv, ciphertext)
}

fn unpad<C>(cipher: C, iv: &[u8], ciphertext: &[u8]) -> Result<Secret>
where
    C: BlockCipherDecrypt,
{
    let cipher = Decryptor::<C>::inner_iv_slice_init(cipher, iv).map_err(|_| BROKEN)?;
    let mut buffer = Secret::copy_from(ciphertext);
    let len = cipher.decrypt_padded::<Pkcs7>(buffer.expose_mut()).map_err(|_| Error::PassphraseWrong)?.len();
    buffer.truncate(len);
    Ok(buffer)
}

/// An EncryptedPrivateKeyInfo (RFC 5958, 3).
pub(crate) fn private_key_info(der: &[u8], passphrase: Option<&Secret>, work: &mut Work) -> Result<Secret> {
    let mut fields = only_sequence(der).ok_or(BROKEN)?;
    let algorithm = fields.expect(tag::SEQUENCE).ok_or(BROKEN)?;
    let ciphertext = fields.expect(tag::OCTET_STRING).ok_or(BROKEN)?;
    let plain = decrypt(algorithm, passphrase, ciphertext.content, work)?;
    // A wrong passphrase passes the padding once in 256 times: what comes out of it is no PrivateKeyInfo then.
    match only_sequence(plain.expose()) {
        Some(_) => Ok(plain),
        None => Err(Error::PassphraseWrong),
    }
}
