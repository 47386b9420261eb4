//! Modes of operation of AES that a TPM does not have as its own, made of those that it has (SP 800-38A, 6).
//!
//! TPM2_EncryptDecrypt2 encrypts the data of command and response on the bus, and shows the initialisation vectors. So nothing that is
//! a secret stands in a vector here: it is random, and what comes out after the last block is that of a random one.

use base::Secret;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::keys::cipher::{BLOCK, CipherMode, transform};
use crate::keys::sign::Key;
use crate::session::crypto::Direction;
use crate::state::capabilities::Capabilities;
use crate::wire::constants::{alg, cc};

/// The modes of operation that a TPM has. The PC Client profile demands cipher feedback alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherModes {
    /// Electronic codebook.
    pub ecb: bool,
    /// Cipher block chaining.
    pub cbc: bool,
    /// Counter.
    pub ctr: bool,
    /// Cipher feedback.
    pub cfb: bool,
}

/// How a mode is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The TPM has it.
    Own,
    /// Output feedback, of cipher block chaining.
    Chaining,
    /// The block function, of cipher feedback in decryption.
    Blocks,
    /// Cipher block chaining, of cipher feedback in encryption.
    Chain,
    /// The inverse of the block function, of cipher block chaining in decryption.
    Inverse,
    /// Cipher block chaining in decryption, of the codebook.
    Codebook,
}

impl CipherModes {
    /// All of them.
    pub const ALL: CipherModes = CipherModes { ecb: true, cbc: true, ctr: true, cfb: true };

    /// Those of a TPM; none where its users cannot encrypt.
    pub fn of(chip: &Capabilities) -> CipherModes {
        let usable = chip.has_command(cc::ENCRYPT_DECRYPT_2) && chip.has_algorithm(alg::AES);
        let has = |id| usable && chip.has_algorithm(id);
        CipherModes { ecb: has(alg::ECB), cbc: has(alg::CBC), ctr: has(alg::CTR), cfb: has(alg::CFB) }
    }

    /// Whether any key of AES is of use.
    pub fn any(self) -> bool {
        self.cfb || self.cbc || self.ecb || self.ctr
    }

    /// Whether a mode can be had, as its own or made of others.
    pub fn can(self, mode: CipherMode, direction: Direction) -> bool {
        self.way(mode, direction).is_some()
    }

    pub(crate) fn way(self, mode: CipherMode, direction: Direction) -> Option<Way> {
        let when = |there: bool, way: Way| there.then_some(way);
        match (mode, direction) {
            (CipherMode::Ecb, Direction::Encrypt) => when(self.ecb, Way::Own).or(when(self.cfb, Way::Blocks)),
            (CipherMode::Ecb, Direction::Decrypt) => when(self.ecb, Way::Own).or(when(self.cbc, Way::Inverse)),
            (CipherMode::Cbc, Direction::Encrypt) => when(self.cbc, Way::Own).or(when(self.cfb, Way::Chain)),
            (CipherMode::Cbc, Direction::Decrypt) => when(self.cbc, Way::Own).or(when(self.ecb, Way::Codebook)),
            (CipherMode::Ctr, _) => when(self.ctr, Way::Own).or(when(self.cfb, Way::Blocks)),
            (CipherMode::Cfb, _) => when(self.cfb, Way::Own),
            (CipherMode::Ofb, _) => when(self.cbc, Way::Chaining).or(when(self.cfb, Way::Chain)),
        }
    }
}

/// A buffer in a mode that is made of another. One command, two for a chain.
pub(crate) fn made(
    connection: &mut Connection,
    key: &Key<'_>,
    (mode, way): (CipherMode, Way),
    iv: &[u8],
    input: &[u8],
) -> Result<Secret> {
    match (mode, way) {
        (CipherMode::Ecb, Way::Blocks) => blocks(connection, key, input),
        (CipherMode::Ctr, Way::Blocks) => {
            let stream = blocks(connection, key, &counters(iv, input.len().div_ceil(BLOCK)))?;
            Ok(xor(input, stream.expose()))
        }
        (CipherMode::Cbc, Way::Chain) => chain(connection, key, iv, input),
        (CipherMode::Ofb, Way::Chain) => {
            let zeros = vec![0; input.len().div_ceil(BLOCK) * BLOCK];
            let stream = chain(connection, key, iv, &zeros)?;
            Ok(xor(input, stream.expose()))
        }
        (CipherMode::Ecb, Way::Inverse) => {
            let out = transform(connection, key, alg::CBC, &[0; BLOCK], input, Direction::Decrypt)?;
            Ok(xor(out.expose(), &shifted(&[0; BLOCK], input)))
        }
        (CipherMode::Cbc, Way::Codebook) => {
            let out = transform(connection, key, alg::ECB, &[], input, Direction::Decrypt)?;
            Ok(xor(out.expose(), &shifted(iv, input)))
        }
        _ => Err(Error::Invalid("a mode of operation that is made of no other")),
    }
}

/// E(x) of each block x: in decryption, cipher feedback adds to a block what E makes of the one before.
fn blocks(connection: &mut Connection, key: &Key<'_>, input: &[u8]) -> Result<Secret> {
    let data = with_random_block(input)?;
    let out = transform(connection, key, alg::CFB, random_block()?.expose(), data.expose(), Direction::Decrypt)?;
    Ok(next_blocks(&data, &out))
}

/// Cipher block chaining: in encryption, cipher feedback makes each block of the one before by E, too. The first one is got in without
/// showing it as a vector: what E makes of the random vector is asked first, and added to it.
fn chain(connection: &mut Connection, key: &Key<'_>, iv: &[u8], input: &[u8]) -> Result<Secret> {
    let vector = random_block()?;
    let mask = blocks(connection, key, vector.expose())?;
    let data = with_random_block(input)?;
    let mut masked = data.clone();
    for (to, (iv, mask)) in masked.expose_mut().iter_mut().zip(iv.iter().zip(mask.expose())) {
        *to ^= iv ^ mask;
    }
    let out = transform(connection, key, alg::CFB, vector.expose(), masked.expose(), Direction::Encrypt)?;
    Ok(next_blocks(&data, &out))
}

/// `data` and `out` added, from the second block on.
fn next_blocks(data: &Secret, out: &Secret) -> Secret {
    let rest = |bytes: &Secret| Secret::copy_from(bytes.expose().get(BLOCK..).unwrap_or_default());
    xor(rest(data).expose(), rest(out).expose())
}

fn with_random_block(input: &[u8]) -> Result<Secret> {
    let mut data = Secret::zeroed(input.len() + BLOCK);
    for (to, from) in data.expose_mut().iter_mut().zip(input) {
        *to = *from;
    }
    if let Some(last) = data.expose_mut().last_chunk_mut::<BLOCK>() {
        base::random::fill(last)?;
    }
    Ok(data)
}

fn random_block() -> Result<Secret> {
    with_random_block(&[])
}

/// As long as the shorter one.
fn xor(a: &[u8], b: &[u8]) -> Secret {
    let mut out = Secret::zeroed(a.len().min(b.len()));
    for (to, (a, b)) in out.expose_mut().iter_mut().zip(a.iter().zip(b)) {
        *to = a ^ b;
    }
    out
}

/// The first block, then all blocks of `data` but the last.
fn shifted(first: &[u8], data: &[u8]) -> Vec<u8> {
    let rest = data.len().saturating_sub(BLOCK);
    [first, data.get(..rest).unwrap_or_default()].concat()
}

fn counters(first: &[u8], count: usize) -> Vec<u8> {
    let first = first.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    (0..count as u128).flat_map(|step| first.wrapping_add(step).to_be_bytes()).collect()
}
