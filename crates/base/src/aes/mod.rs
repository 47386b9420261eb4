//! AES over whatever holds the key: the modes that are built on top of the block operations, once for a key in memory and
//! for one that only a TPM can use (NIST SP 800-38A, B, D, F; RFC 3394, RFC 5649).

mod memory;

use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;

use crate::Secret;

pub use memory::MemoryKey;

/// Length of a block in bytes.
pub const BLOCK: usize = 16;

/// A block of 16 bytes.
pub type Block = [u8; BLOCK];

/// The modes of SP 800-38A that a TPM has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each block alone; there is no IV.
    Ecb,
    /// Cipher block chaining.
    Cbc,
    /// Counter; all 128 bits count.
    Ctr,
    /// Cipher feedback of whole blocks.
    Cfb,
    /// Output feedback.
    Ofb,
}

impl Mode {
    /// May the last block be shorter? Not where blocks themselves go through the cipher.
    #[must_use]
    pub fn takes_part_blocks(self) -> bool {
        matches!(self, Mode::Ctr | Mode::Cfb | Mode::Ofb)
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plain to cipher.
    Encrypt,
    /// Cipher to plain.
    Decrypt,
}

/// A key that can run a mode over whole blocks; `E` is how that can fail.
pub trait AesKey {
    /// Why the key could not be used.
    type Error;

    /// Runs `mode` over `data`, whose length is a multiple of the block's, and leaves in `iv` what the next call goes on with.
    ///
    /// # Errors
    /// The key could not be used.
    fn run(&self, mode: Mode, direction: Direction, iv: &mut Block, data: &[u8]) -> Result<Secret, Self::Error>;
}

/// Why a mode that checks its input refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// The input's length does not fit the mode.
    Length,
    /// The tag or the integrity check is wrong.
    Integrity,
    /// The key could not be used.
    Key(E),
}

impl<E> From<E> for Refused<E> {
    fn from(error: E) -> Self {
        Refused::Key(error)
    }
}

/// The last, perhaps shorter, block of a mode that takes such: filled with zeros for the cipher, and cut again.
///
/// # Errors
/// The key could not be used.
pub fn run_part<K: AesKey>(
    key: &K,
    mode: Mode,
    direction: Direction,
    iv: &mut Block,
    data: &[u8],
) -> Result<Secret, K::Error> {
    let mut whole = Secret::zeroed(data.len().next_multiple_of(BLOCK));
    if let Some(start) = whole.expose_mut().get_mut(..data.len()) {
        start.copy_from_slice(data);
    }
    let mut out = key.run(mode, direction, iv, whole.expose())?;
    out.truncate(data.len());
    Ok(out)
}

/// AES-CMAC (SP 800-38B), 16 bytes.
///
/// # Errors
/// The key could not be used.
pub fn cmac<K: AesKey>(key: &K, data: &[u8]) -> Result<Block, K::Error> {
    let mut zero = key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &[0; BLOCK])?;
    let mut subkey = double(&block_of(zero.expose()));
    crate::wipe(zero.expose_mut());
    let whole = data.len() / BLOCK * BLOCK;
    // The last block is complete only if there is one at all.
    let split = if whole == data.len() && whole > 0 { whole - BLOCK } else { whole };
    let (head, last) = data.split_at(split);
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(last) {
        *place = *byte;
    }
    if last.len() < BLOCK {
        subkey = double(&subkey);
        if let Some(place) = block.get_mut(last.len()) {
            *place = 0x80;
        }
    }
    xor(&mut block, &subkey);
    let mut iv = [0; BLOCK];
    if !head.is_empty() {
        key.run(Mode::Cbc, Direction::Encrypt, &mut iv, head)?;
    }
    Ok(block_of(key.run(Mode::Cbc, Direction::Encrypt, &mut iv, &block)?.expose()))
}

/// AES-GCM encryption (SP 800-38D): ciphertext, then `tag_len` bytes of tag.
///
/// # Errors
/// [`Refused::Length`] for a tag of another length than 4, 8 or 12 to 16 bytes, an empty IV, or a message of 2^36 bytes.
pub fn gcm_encrypt<K: AesKey>(
    key: &K,
    iv: &[u8],
    aad: &[u8],
    plain: &[u8],
    tag_len: usize,
) -> Result<Vec<u8>, Refused<K::Error>> {
    let gcm = Gcm::new(key, iv, plain.len(), tag_len)?;
    let cipher = gcm.crypt(key, Direction::Encrypt, plain)?;
    let tag = gcm.tag(aad, cipher.expose());
    let mut out = cipher.expose().to_vec();
    out.extend_from_slice(tag.get(..tag_len).unwrap_or_default());
    Ok(out)
}

/// AES-GCM decryption of a ciphertext with its tag behind it. Nothing is shown before the tag was found right.
///
/// # Errors
/// [`Refused::Integrity`]; [`Refused::Length`] as for encryption, or an input shorter than the tag.
pub fn gcm_decrypt<K: AesKey>(
    key: &K,
    iv: &[u8],
    aad: &[u8],
    sealed: &[u8],
    tag_len: usize,
) -> Result<Secret, Refused<K::Error>> {
    let cipher_len = sealed.len().checked_sub(tag_len).ok_or(Refused::Length)?;
    let (cipher, tag) = sealed.split_at(cipher_len);
    let gcm = Gcm::new(key, iv, cipher.len(), tag_len)?;
    let expected = gcm.tag(aad, cipher);
    if !bool::from(expected.get(..tag_len).unwrap_or_default().ct_eq(tag)) {
        return Err(Refused::Integrity);
    }
    Ok(gcm.crypt(key, Direction::Decrypt, cipher)?)
}

struct Gcm {
    hash_key: Block,
    tag_mask: Block,
    first: Block,
}

impl Gcm {
    fn new<K: AesKey>(key: &K, iv: &[u8], len: usize, tag_len: usize) -> Result<Gcm, Refused<K::Error>> {
        let fits = matches!(tag_len, 4 | 8 | 12..=16) && !iv.is_empty() && (len as u64) < (1 << 36) - 32;
        if !fits {
            return Err(Refused::Length);
        }
        if let Ok(nonce) = <[u8; 12]>::try_from(iv) {
            let mut counter = [0; BLOCK];
            for (place, byte) in counter.iter_mut().zip(nonce) {
                *place = byte;
            }
            counter[BLOCK - 1] = 1;
            // One call for both blocks: each costs a command when the key is in a TPM.
            let both = key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &[[0; BLOCK], counter].concat())?;
            let (hash_key, mask) = both.expose().split_at_checked(BLOCK).ok_or(Refused::Length)?;
            return Ok(Gcm { hash_key: block_of(hash_key), tag_mask: block_of(mask), first: next(&counter) });
        }
        let hash_key = block_of(key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &[0; BLOCK])?.expose());
        let counter = ghash(&hash_key, &[], iv);
        let mask = key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &counter)?;
        Ok(Gcm { hash_key, tag_mask: block_of(mask.expose()), first: next(&counter) })
    }

    /// Counter mode with a counter of 32 bits, by one of 128: where the 32 bits would run over, the run is split.
    fn crypt<K: AesKey>(&self, key: &K, direction: Direction, data: &[u8]) -> Result<Secret, K::Error> {
        let mut counter = self.first;
        let until_wrap = (u64::from(u32::MAX) - u64::from(low_word(&counter)) + 1).saturating_mul(BLOCK as u64);
        let split = usize::try_from(until_wrap).unwrap_or(usize::MAX).min(data.len());
        let (head, tail) = data.split_at(split);
        let head = run_part(key, Mode::Ctr, direction, &mut counter, head)?;
        if tail.is_empty() {
            return Ok(head);
        }
        let mut counter = self.first;
        if let Some(word) = counter.last_chunk_mut::<4>() {
            *word = [0; 4];
        }
        let tail = run_part(key, Mode::Ctr, direction, &mut counter, tail)?;
        Ok(Secret::new([head.expose(), tail.expose()].concat()))
    }

    fn tag(&self, aad: &[u8], cipher: &[u8]) -> Block {
        let mut tag = ghash(&self.hash_key, aad, cipher);
        xor(&mut tag, &self.tag_mask);
        tag
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        crate::wipe(&mut self.hash_key);
        crate::wipe(&mut self.tag_mask);
    }
}

fn ghash(key: &Block, aad: &[u8], data: &[u8]) -> Block {
    let mut hash = GHash::new(key.into());
    hash.update_padded(aad);
    hash.update_padded(data);
    let lengths = (u128::from(aad.len() as u64 * 8) << 64) | u128::from(data.len() as u64 * 8);
    hash.update(&[lengths.to_be_bytes().into()]);
    block_of(&hash.finalize())
}

fn low_word(block: &Block) -> u32 {
    block.last_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
}

/// The next counter block: the low 32 bits count.
fn next(counter: &Block) -> Block {
    let mut block = *counter;
    if let Some(word) = block.last_chunk_mut::<4>() {
        *word = u32::from_be_bytes(*word).wrapping_add(1).to_be_bytes();
    }
    block
}

/// What stands in the first half-block of a wrapped key: RFC 3394 2.2.3.1.
const WRAP_IV: [u8; 8] = [0xa6; 8];
/// RFC 5649 3.
const WRAP_PAD_IV: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// AES key wrap (RFC 3394) of a multiple of 8 bytes, at least 16. `iv` replaces the default initial value.
///
/// # Errors
/// [`Refused::Length`].
pub fn wrap<K: AesKey>(key: &K, iv: Option<[u8; 8]>, plain: &[u8]) -> Result<Vec<u8>, Refused<K::Error>> {
    if plain.len() < 16 || !plain.len().is_multiple_of(8) {
        return Err(Refused::Length);
    }
    Ok(wrap_blocks(key, iv.unwrap_or(WRAP_IV), plain)?)
}

/// Opens an AES key wrap.
///
/// # Errors
/// [`Refused::Length`], [`Refused::Integrity`].
pub fn unwrap<K: AesKey>(key: &K, iv: Option<[u8; 8]>, wrapped: &[u8]) -> Result<Secret, Refused<K::Error>> {
    if wrapped.len() < 24 || !wrapped.len().is_multiple_of(8) {
        return Err(Refused::Length);
    }
    let (found, plain) = unwrap_blocks(key, wrapped)?;
    if bool::from(found.ct_eq(&iv.unwrap_or(WRAP_IV))) { Ok(plain) } else { Err(Refused::Integrity) }
}

/// AES key wrap with padding (RFC 5649) of any length from 1 byte.
///
/// # Errors
/// [`Refused::Length`] for nothing to wrap.
pub fn wrap_pad<K: AesKey>(key: &K, plain: &[u8]) -> Result<Vec<u8>, Refused<K::Error>> {
    let len = u32::try_from(plain.len()).ok().filter(|len| *len > 0).ok_or(Refused::Length)?;
    let mut iv = [0; 8];
    iv[..4].copy_from_slice(&WRAP_PAD_IV);
    iv[4..].copy_from_slice(&len.to_be_bytes());
    let mut padded = Secret::zeroed(plain.len().next_multiple_of(8));
    if let Some(start) = padded.expose_mut().get_mut(..plain.len()) {
        start.copy_from_slice(plain);
    }
    if padded.len() == 8 {
        let block = Secret::new([&iv, padded.expose()].concat());
        return Ok(key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], block.expose())?.expose().to_vec());
    }
    Ok(wrap_blocks(key, iv, padded.expose())?)
}

/// Opens an AES key wrap with padding.
///
/// # Errors
/// [`Refused::Length`], [`Refused::Integrity`].
pub fn unwrap_pad<K: AesKey>(key: &K, wrapped: &[u8]) -> Result<Secret, Refused<K::Error>> {
    if wrapped.len() < 16 || !wrapped.len().is_multiple_of(8) {
        return Err(Refused::Length);
    }
    let (iv, mut plain) = if wrapped.len() == 16 {
        let block = key.run(Mode::Ecb, Direction::Decrypt, &mut [0; BLOCK], wrapped)?;
        let (iv, plain) = block.expose().split_at_checked(8).ok_or(Refused::Length)?;
        (<[u8; 8]>::try_from(iv).map_err(|_| Refused::Length)?, Secret::copy_from(plain))
    } else {
        unwrap_blocks(key, wrapped)?
    };
    let len = iv.last_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word)) as usize;
    let marked = iv.get(..4).is_some_and(|mark| mark.ct_eq(&WRAP_PAD_IV).into());
    let fits = len > 0 && len <= plain.len() && plain.len() - len < 8;
    let zeros = fits && plain.expose().iter().skip(len).fold(0, |seen, byte| seen | byte) == 0;
    if !(marked && zeros) {
        return Err(Refused::Integrity);
    }
    plain.truncate(len);
    Ok(plain)
}

fn wrap_blocks<K: AesKey>(key: &K, iv: [u8; 8], plain: &[u8]) -> Result<Vec<u8>, K::Error> {
    let mut a = iv;
    let mut r = Secret::copy_from(plain);
    let mut step = 0_u64;
    for _ in 0..6 {
        for half in r.expose_mut().chunks_exact_mut(8) {
            step += 1;
            let input = Secret::new([&a, &*half].concat());
            let output = key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], input.expose())?;
            let (high, low) = output.expose().split_at(8);
            a = (u64::from_be_bytes(high.try_into().unwrap_or_default()) ^ step).to_be_bytes();
            half.copy_from_slice(low);
        }
    }
    Ok([&a, r.expose()].concat())
}

fn unwrap_blocks<K: AesKey>(key: &K, wrapped: &[u8]) -> Result<([u8; 8], Secret), K::Error> {
    let (first, rest) = wrapped.split_at(8);
    let mut a: [u8; 8] = first.try_into().unwrap_or_default();
    let mut r = Secret::copy_from(rest);
    let mut step = (rest.len() / 8 * 6) as u64;
    for _ in 0..6 {
        for half in r.expose_mut().chunks_exact_mut(8).rev() {
            let mixed = (u64::from_be_bytes(a) ^ step).to_be_bytes();
            let input = Secret::new([&mixed, &*half].concat());
            let output = key.run(Mode::Ecb, Direction::Decrypt, &mut [0; BLOCK], input.expose())?;
            let (high, low) = output.expose().split_at(8);
            a = high.try_into().unwrap_or_default();
            half.copy_from_slice(low);
            step -= 1;
        }
    }
    Ok((a, r))
}

/// Doubling in GF(2^128), as CMAC's subkeys want it.
fn double(block: &Block) -> Block {
    let value = u128::from_be_bytes(*block);
    let carry = value >> 127;
    ((value << 1) ^ (carry * 0x87)).to_be_bytes()
}

fn xor(block: &mut Block, with: &Block) {
    for (byte, other) in block.iter_mut().zip(with) {
        *byte ^= other;
    }
}

fn block_of(bytes: &[u8]) -> Block {
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(bytes) {
        *place = *byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use aes_gcm::KeyInit;

    use super::*;
    use crate::hex;

    fn key(digits: &str) -> MemoryKey {
        MemoryKey::new(&Secret::new(hex(digits))).unwrap()
    }

    /// SP 800-38A, F: AES-128, the first two blocks of each mode.
    #[test]
    fn modes_of_sp_800_38a() {
        let key = key("2b7e151628aed2a6abf7158809cf4f3c");
        let plain = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51");
        let iv = "000102030405060708090a0b0c0d0e0f";
        let cases = [
            (Mode::Ecb, iv, "3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf"),
            (Mode::Cbc, iv, "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2"),
            (Mode::Cfb, iv, "3b3fd92eb72dad20333449f8e83cfb4a c8a64537a0b3a93fcde3cdad9f1ce58b"),
            (Mode::Ofb, iv, "3b3fd92eb72dad20333449f8e83cfb4a 7789508d16918f03f53c52dac54ed825"),
            (
                Mode::Ctr,
                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                "874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff",
            ),
        ];
        for (mode, iv, cipher) in cases {
            let start = block_of(&hex(iv));
            let mut iv = start;
            let first = key.run(mode, Direction::Encrypt, &mut iv, &plain[..16]).unwrap();
            let second = key.run(mode, Direction::Encrypt, &mut iv, &plain[16..]).unwrap();
            assert_eq!([first.expose(), second.expose()].concat(), hex(cipher), "{mode:?}");
            let back = key.run(mode, Direction::Decrypt, &mut start.clone(), &hex(cipher)).unwrap();
            assert_eq!(back.expose(), plain, "{mode:?}");
        }
    }

    /// RFC 4493, 4.
    #[test]
    fn cmac_of_rfc_4493() {
        let key = key("2b7e151628aed2a6abf7158809cf4f3c");
        let message = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        for (len, tag) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            assert_eq!(cmac(&key, &message[..len]).unwrap().to_vec(), hex(tag), "{len}");
        }
    }

    #[test]
    fn gcm_agrees_with_another_implementation() {
        use aes_gcm::aead::{Aead, Payload};
        let secret = [7; 32];
        let key = MemoryKey::new(&Secret::copy_from(&secret)).unwrap();
        let other = aes_gcm::Aes256Gcm::new((&secret).into());
        for len in [0, 1, 15, 16, 17, 1000] {
            let (plain, aad) = (vec![3; len], vec![4; len / 3]);
            let sealed = gcm_encrypt(&key, &[5; 12], &aad, &plain, 16).unwrap();
            let expected = other.encrypt(&[5; 12].into(), Payload { msg: &plain, aad: &aad }).unwrap();
            assert_eq!(sealed, expected, "{len}");
            assert_eq!(gcm_decrypt(&key, &[5; 12], &aad, &sealed, 16).unwrap().expose(), plain);
            let mut bad = sealed.clone();
            bad[len / 2] ^= 1;
            assert_eq!(gcm_decrypt(&key, &[5; 12], &aad, &bad, 16), Err(Refused::Integrity));
        }
        assert_eq!(gcm_decrypt(&key, &[5; 12], &[], &[0; 3], 16), Err(Refused::Length));
        assert_eq!(gcm_encrypt(&key, &[], &[], &[], 16), Err(Refused::Length));
        assert_eq!(gcm_encrypt(&key, &[1], &[], &[], 5), Err(Refused::Length));
    }

    /// The GCM specification's test case 6: an IV of 60 bytes.
    #[test]
    fn gcm_takes_a_long_iv() {
        let key = key("feffe9928665731c6d6a8f9467308308");
        let plain = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let iv = hex(
            "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
        );
        let sealed = gcm_encrypt(&key, &iv, &aad, &plain, 16).unwrap();
        assert_eq!(sealed[60..], hex("619cc5aefffe0bfa462af43c1699d050"));
    }

    /// RFC 3394 4.1 and 4.6, RFC 5649 6.
    #[test]
    fn key_wrap_of_the_rfcs() {
        let kek = key("000102030405060708090a0b0c0d0e0f");
        let plain = hex("00112233445566778899aabbccddeeff");
        let wrapped = hex("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
        assert_eq!(wrap(&kek, None, &plain).unwrap(), wrapped);
        assert_eq!(unwrap(&kek, None, &wrapped).unwrap().expose(), plain);
        let mut bad = wrapped.clone();
        bad[5] ^= 1;
        assert_eq!(unwrap(&kek, None, &bad), Err(Refused::Integrity));

        let kek = key("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        let plain = hex("c37b7e6492584340bed12207808941155068f738");
        let wrapped = hex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a");
        assert_eq!(wrap_pad(&kek, &plain).unwrap(), wrapped);
        assert_eq!(unwrap_pad(&kek, &wrapped).unwrap().expose(), plain);
        let short = hex("466f7250617369");
        let wrapped = hex("afbeb0f07dfbf5419200f2ccb50bb24f");
        assert_eq!(wrap_pad(&kek, &short).unwrap(), wrapped);
        assert_eq!(unwrap_pad(&kek, &wrapped).unwrap().expose(), short);
        for len in 1..40 {
            let wrapped = wrap_pad(&kek, &vec![9; len]).unwrap();
            assert_eq!(unwrap_pad(&kek, &wrapped).unwrap().expose(), vec![9; len]);
        }
    }
}
