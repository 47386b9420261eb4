//! Encryption and decryption with an AES key (TPM 2.0 Part 3, 15.3): one command for each buffer of data.

use base::Secret;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::keys::load::{self, use_key};
use crate::keys::modes::{self, CipherModes, Way};
use crate::keys::sign::{Key, check_usage};
use crate::session::crypto::Direction;
use crate::wire::Writer;
use crate::wire::constants::{alg, cc};
use crate::wire::public::{Attributes, Parameters, Symmetric};
use crate::words::ResponseCode;

/// Bytes of data that one command takes (TPM_PT_INPUT_BUFFER): what all TPMs have, and the most that is used of one with more.
pub const INPUT_BUFFER: usize = 1024;

pub(crate) const BLOCK: usize = 16;

/// A mode of operation (SP 800-38A); CFB is that of whole blocks, CTR counts modulo 2^128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherMode {
    /// Electronic codebook: whole blocks, no initialisation vector.
    Ecb,
    /// Cipher block chaining: whole blocks.
    Cbc,
    /// Counter: any length.
    Ctr,
    /// Cipher feedback: any length.
    Cfb,
    /// Output feedback: any length. The TPM is asked for cipher block chaining, which it must have, and the key must be for any
    /// mode.
    Ofb,
}

/// A command for each `step` bytes; Load and StartAuthSession before the first as needed.
pub(crate) fn encrypt_decrypt(
    connection: &mut Connection,
    key: &Key<'_>,
    (mode, way, step): Planned,
    iv: &[u8],
    data: &[u8],
    direction: Direction,
) -> Result<(Secret, Vec<u8>)> {
    let mut out = Secret::zeroed(data.len());
    let mut iv = iv.to_vec();
    for (input, output) in data.chunks(step).zip(out.expose_mut().chunks_mut(step)) {
        if way == Way::Chaining {
            let stream = output_feedback(connection, key, &iv, input.len().div_ceil(BLOCK))?;
            for ((to, from), key) in output.iter_mut().zip(input).zip(stream.expose()) {
                *to = from ^ key;
            }
            iv = last_block(stream.expose());
        } else {
            let result = match way {
                Way::Own => transform(connection, key, wire_mode(mode), &iv, input, direction)?,
                _ => modes::made(connection, key, (mode, way), &iv, input)?,
            };
            for (to, from) in output.iter_mut().zip(result.expose()) {
                *to = *from;
            }
            iv = match mode {
                CipherMode::Ofb => last_block(&input.iter().zip(&*output).map(|(a, b)| a ^ b).collect::<Vec<_>>()),
                _ => next_iv(mode, &iv, input, output, direction),
            };
        }
    }
    if !data.len().is_multiple_of(BLOCK) {
        iv.clear();
    }
    Ok((out, iv))
}

/// A mode, how it is had, and how many bytes one command takes.
pub(crate) type Planned = (CipherMode, Way, usize);

/// Checks, before anything is sent, that mode, key, initialisation vector and data fit together.
pub(crate) fn check(
    key: &Key<'_>,
    (mode, there): (CipherMode, CipherModes),
    iv: &[u8],
    data: &[u8],
    direction: Direction,
    input_buffer: usize,
) -> Result<Planned> {
    let area = load::check(key)?;
    let Parameters::SymCipher { symmetric: Some(Symmetric { algorithm: alg::AES, mode: own, .. }), .. } =
        area.parameters
    else {
        return Err(Error::Invalid("the key is not an AES key"));
    };
    let way = there.way(mode, direction);
    let way = way.ok_or_else(|| Error::Unsupported("this TPM does not encrypt in such a way".into()))?;
    let made_of = match way {
        Way::Own | Way::Chaining => wire_mode(mode),
        Way::Blocks | Way::Chain => alg::CFB,
        Way::Inverse => alg::CBC,
        Way::Codebook => alg::ECB,
    };
    if own != alg::NULL && own != made_of {
        return Err(Error::Invalid("the key is made for another mode"));
    }
    // What encrypts is called a signing key. Output feedback always encrypts.
    let usage = match (way, direction) {
        (Way::Blocks, _) | (Way::Own | Way::Inverse | Way::Codebook, Direction::Decrypt) => Attributes::DECRYPT,
        (Way::Chain, _) => Attributes::SIGN.union(Attributes::DECRYPT),
        _ => Attributes::SIGN,
    };
    check_usage(&area, usage)?;
    if iv.len() != if mode == CipherMode::Ecb { 0 } else { BLOCK } {
        return Err(Error::Invalid("the initialisation vector does not have the length of a block"));
    }
    if matches!(mode, CipherMode::Ecb | CipherMode::Cbc) && !data.len().is_multiple_of(BLOCK) {
        return Err(Error::Invalid("the data are not whole blocks"));
    }
    Ok((mode, way, step(way, input_buffer)?))
}

/// Whole blocks, so that a chain can be continued.
fn step(way: Way, input_buffer: usize) -> Result<usize> {
    let blocks = input_buffer.min(INPUT_BUFFER) / BLOCK;
    let spare = usize::from(matches!(way, Way::Chaining | Way::Blocks | Way::Chain));
    match blocks.checked_sub(spare) {
        None | Some(0) => Err(Error::Invalid("the input buffer is smaller than a block")),
        Some(blocks) => Ok(blocks * BLOCK),
    }
}

fn wire_mode(mode: CipherMode) -> u16 {
    match mode {
        CipherMode::Ecb => alg::ECB,
        CipherMode::Cbc | CipherMode::Ofb => alg::CBC,
        CipherMode::Ctr => alg::CTR,
        CipherMode::Cfb => alg::CFB,
    }
}

/// One EncryptDecrypt2.
pub(crate) fn transform(
    connection: &mut Connection,
    key: &Key<'_>,
    mode: u16,
    iv: &[u8],
    data: &[u8],
    direction: Direction,
) -> Result<Secret> {
    let decrypt = u8::from(direction == Direction::Decrypt);
    let parameters = || Writer::new().tpm2b(data).u8(decrypt).u16(mode).tpm2b(iv);
    let response = match use_key(connection, key, cc::ENCRYPT_DECRYPT_2, parameters, true, true) {
        Ok(response) => response,
        Err(Error::Response(code)) if matches!(code.base(), ResponseCode::COMMAND_CODE | ResponseCode::MODE) => {
            return Err(Error::Unsupported(format!("this TPM does not encrypt in such a way: {code}")));
        }
        Err(error) => return Err(error),
    };
    let mut reader = response.reader();
    let out = Secret::copy_from(reader.tpm2b()?);
    // ivOut is known without being told.
    reader.tpm2b()?;
    reader.finish()?;
    if out.len() != data.len() {
        return Err(Error::Malformed("the result does not have the length of the data"));
    }
    Ok(out)
}

/// The next blocks of output feedback. In this mode of its own the TPM would take and give, in clear, the chaining value, which is
/// the key stream of a block of data. So it is made by cipher block chaining of zeros: the chaining value goes in as first block
/// of the encrypted data, and a random last block makes what comes out in clear worthless.
fn output_feedback(connection: &mut Connection, key: &Key<'_>, iv: &[u8], blocks: usize) -> Result<Secret> {
    let mut data = Secret::zeroed((blocks + 1) * BLOCK);
    for (to, from) in data.expose_mut().iter_mut().zip(iv) {
        *to = *from;
    }
    if let Some(last) = data.expose_mut().last_chunk_mut::<BLOCK>() {
        base::random::fill(last)?;
    }
    let out = transform(connection, key, alg::CBC, &[0; BLOCK], data.expose(), Direction::Encrypt)?;
    let stream = out.expose().get(..blocks * BLOCK).ok_or(Error::Malformed("the key stream is too short"))?;
    Ok(Secret::copy_from(stream))
}

/// What the next buffer goes on from. It follows from what is known here, and TPMs differ in what they say.
fn next_iv(mode: CipherMode, iv: &[u8], input: &[u8], output: &[u8], direction: Direction) -> Vec<u8> {
    let cipher = if direction == Direction::Encrypt { output } else { input };
    match mode {
        CipherMode::Ecb => Vec::new(),
        CipherMode::Cbc | CipherMode::Cfb | CipherMode::Ofb => last_block(cipher),
        CipherMode::Ctr => {
            let counter = iv.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
            let blocks = u128::try_from(input.len().div_ceil(BLOCK)).unwrap_or_default();
            counter.wrapping_add(blocks).to_be_bytes().to_vec()
        }
    }
}

fn last_block(data: &[u8]) -> Vec<u8> {
    data.last_chunk::<BLOCK>().map_or_else(Vec::new, |block| block.to_vec())
}
