//! Random bytes from two sources, either of which suffices.

use base::Secret;
use base::digest::Hash;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::wire::Writer;
use crate::wire::constants::cc;
use crate::words::ResponseCode;

/// Bytes asked of each source.
const SEED_LEN: u16 = 32;
/// A TPM may give less than it was asked for; less than this is no seed.
const LEAST: usize = 16;

/// Fills `out` with the output of an HMAC-SHA-256 generator (the expansion of RFC 5869 with a wider counter), keyed from the
/// TPM and from the operating system: neither who reads the bus nor a bad TPM can predict it. One command, whatever the length.
pub(crate) fn fill(connection: &mut Connection, out: &mut [u8]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let command = connection.command(cc::GET_RANDOM, Vec::new(), Writer::new().u16(SEED_LEN))?;
    let response = connection.execute(&command, &mut [])?;
    let mut reader = response.reader();
    let from_tpm = reader.tpm2b()?;
    reader.finish()?;
    if from_tpm.len() < LEAST || from_tpm.len() > usize::from(SEED_LEN) {
        return Err(Error::Malformed("the TPM gave another number of random bytes than asked for"));
    }
    let mut from_system = Secret::zeroed(usize::from(SEED_LEN));
    base::random::fill(from_system.expose_mut())?;
    expand(&Hash::Sha256.hmac(from_system.expose(), &[from_tpm]), out);
    Ok(())
}

/// Longest `TPM2B_SENSITIVE_DATA` that every TPM takes (TPM 2.0 Part 3, 16.2: the data are at most 128 bytes).
const MOST_STIRRED: usize = 128;

/// Stirs the TPM's generator by `seed`; what is longer than a command takes is hashed first. One command.
///
/// # Errors
/// [`Error::Unsupported`] where the TPM does not have the command.
pub(crate) fn stir(connection: &mut Connection, seed: &[u8]) -> Result<()> {
    let short = if seed.len() > MOST_STIRRED { Hash::Sha512.digest(&[seed]) } else { seed.to_vec() };
    let command = connection.command(cc::STIR_RANDOM, Vec::new(), Writer::new().tpm2b(&short))?;
    match connection.execute(&command, &mut []) {
        Ok(response) => response.reader().finish(),
        Err(Error::Response(code)) if code.base() == ResponseCode::COMMAND_CODE => {
            Err(Error::Unsupported("this TPM's random generator takes no seed".into()))
        }
        Err(error) => Err(error),
    }
}

fn expand(key: &Secret, out: &mut [u8]) {
    let mut block = Secret::zeroed(0);
    for (chunk, counter) in out.chunks_mut(Hash::Sha256.len()).zip(1u64..) {
        block = Hash::Sha256.hmac(key.expose(), &[block.expose(), b"random", &counter.to_be_bytes()]);
        for (to, from) in chunk.iter_mut().zip(block.expose()) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_repeat_and_prefixes_agree() {
        let key = Secret::copy_from(&[7; 32]);
        let (mut long, mut short) = (vec![0; 32 * 300 + 5], vec![0; 40]);
        expand(&key, &mut long);
        expand(&key, &mut short);
        assert_eq!(long[..40], short[..]);
        let blocks: std::collections::HashSet<&[u8]> = long.chunks(32).collect();
        assert_eq!(blocks.len(), 301);
    }
}
