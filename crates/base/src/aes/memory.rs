//! AES with a key in memory: several blocks at a time, wherever the mode does not make each wait for the one before it.

use std::sync::Arc;

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use super::{AesKey, BLOCK, Block, Direction, Mode};
use crate::Secret;
use crate::secret::wipe_stack;

/// A key in memory. Copies of it have one expanded key, which is never moved.
#[derive(Clone)]
pub struct MemoryKey(Arc<Cipher>);

enum Cipher {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// What using the key left on the stack.
impl Drop for MemoryKey {
    fn drop(&mut self) {
        wipe_stack();
    }
}

#[inline(never)]
fn expand(key: &Secret) -> Option<Arc<Cipher>> {
    Some(Arc::new(match key.len() {
        16 => Cipher::Aes128(Aes128::new_from_slice(key.expose()).ok()?),
        24 => Cipher::Aes192(Aes192::new_from_slice(key.expose()).ok()?),
        32 => Cipher::Aes256(Aes256::new_from_slice(key.expose()).ok()?),
        _ => return None,
    }))
}

impl std::fmt::Debug for MemoryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryKey(..)")
    }
}

impl MemoryKey {
    /// A key of 16, 24 or 32 bytes; `None` for another length. The expanded key is wiped when the last copy is dropped, and what
    /// making it and using it left on the stack as well.
    #[must_use]
    pub fn new(key: &Secret) -> Option<MemoryKey> {
        let made = expand(key).map(MemoryKey);
        wipe_stack();
        made
    }

    /// Each block by itself: the processor works on several at a time.
    fn blocks(&self, direction: Direction, blocks: &mut [aes::Block]) {
        match (&*self.0, direction) {
            (Cipher::Aes128(key), Direction::Encrypt) => key.encrypt_blocks(blocks),
            (Cipher::Aes192(key), Direction::Encrypt) => key.encrypt_blocks(blocks),
            (Cipher::Aes256(key), Direction::Encrypt) => key.encrypt_blocks(blocks),
            (Cipher::Aes128(key), Direction::Decrypt) => key.decrypt_blocks(blocks),
            (Cipher::Aes192(key), Direction::Decrypt) => key.decrypt_blocks(blocks),
            (Cipher::Aes256(key), Direction::Decrypt) => key.decrypt_blocks(blocks),
        }
    }

    fn block(&self, direction: Direction, block: &mut Block) {
        let mut one = aes::Block::from(*block);
        self.blocks(direction, std::slice::from_mut(&mut one));
        block.copy_from_slice(&one);
        crate::wipe(&mut one);
    }

    /// A part of `data`, of at most [`AT_ONCE`] blocks, in a mode in which no block waits for the result of the one before it.
    fn part(&self, mode: Mode, direction: Direction, iv: &mut Block, data: &mut [u8], stream: &mut [aes::Block]) {
        let blocks = data.chunks_exact(BLOCK);
        match mode {
            // The counters, or what was the cipher before: encrypted, and then added.
            Mode::Ctr => {
                let mut counter = u128::from_be_bytes(*iv);
                for place in stream.iter_mut() {
                    place.copy_from_slice(&counter.to_be_bytes());
                    counter = counter.wrapping_add(1);
                }
                *iv = counter.to_be_bytes();
                self.blocks(Direction::Encrypt, stream);
            }
            Mode::Cfb => {
                for (place, before) in stream.iter_mut().zip(std::iter::once(&iv[..]).chain(blocks)) {
                    place.copy_from_slice(before);
                }
                *iv = last_block(data);
                self.blocks(Direction::Encrypt, stream);
            }
            Mode::Ecb | Mode::Cbc | Mode::Ofb => {
                for (place, block) in stream.iter_mut().zip(blocks) {
                    place.copy_from_slice(block);
                }
                self.blocks(direction, stream);
                if mode == Mode::Cbc {
                    let last = last_block(data);
                    let before = std::iter::once(&iv[..]).chain(data.chunks_exact(BLOCK));
                    for (place, before) in stream.iter_mut().zip(before) {
                        xor_into(place, before);
                    }
                    *iv = last;
                }
                for (block, result) in data.chunks_exact_mut(BLOCK).zip(stream.iter()) {
                    block.copy_from_slice(result);
                }
                return;
            }
        }
        for (block, stream) in data.chunks_exact_mut(BLOCK).zip(stream.iter()) {
            xor_into(block, stream);
        }
    }

    /// A mode in which each block waits for the one before it.
    fn chain(&self, mode: Mode, iv: &mut Block, data: &mut [u8]) {
        for chunk in data.chunks_exact_mut(BLOCK) {
            if mode == Mode::Cbc {
                xor_into(iv, chunk);
                self.block(Direction::Encrypt, iv);
                chunk.copy_from_slice(iv);
                continue;
            }
            self.block(Direction::Encrypt, iv);
            xor_into(chunk, iv);
            if mode == Mode::Cfb {
                iv.copy_from_slice(chunk);
            }
        }
    }
}

/// Blocks that are worked on at once: as many as the processor's pipeline takes, and some.
const AT_ONCE: usize = 64;

impl AesKey for MemoryKey {
    type Error = std::convert::Infallible;

    fn run(&self, mode: Mode, direction: Direction, iv: &mut Block, data: &[u8]) -> Result<Secret, Self::Error> {
        let mut out = Secret::copy_from(data);
        let chained = matches!((mode, direction), (Mode::Cbc | Mode::Cfb, Direction::Encrypt) | (Mode::Ofb, _));
        if chained {
            self.chain(mode, iv, out.expose_mut());
            return Ok(out);
        }
        let mut stream = [aes::Block::default(); AT_ONCE];
        for part in out.expose_mut().chunks_mut(AT_ONCE * BLOCK) {
            let stream = stream.get_mut(..part.len() / BLOCK).unwrap_or_default();
            self.part(mode, direction, iv, part, stream);
        }
        stream.iter_mut().for_each(|block| crate::wipe(block));
        Ok(out)
    }
}

fn last_block(data: &[u8]) -> Block {
    data.last_chunk().copied().unwrap_or_default()
}

fn xor_into(into: &mut [u8], other: &[u8]) {
    for (byte, other) in into.iter_mut().zip(other) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_blocks_are_as_one_after_the_other() {
        let data = crate::random::bytes(40 * BLOCK).unwrap();
        for len in [16, 24, 32] {
            let key = MemoryKey::new(&Secret::new(crate::random::bytes(len).unwrap())).unwrap();
            for mode in [Mode::Ecb, Mode::Cbc, Mode::Ctr, Mode::Cfb, Mode::Ofb] {
                for direction in [Direction::Encrypt, Direction::Decrypt] {
                    // The counter runs over its end on the way.
                    let start = [0xff; BLOCK];
                    for blocks in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40] {
                        let data = &data[..blocks * BLOCK];
                        let (mut iv, mut stepped) = (start, start);
                        let at_once = key.run(mode, direction, &mut iv, data).unwrap();
                        let steps = data.chunks_exact(BLOCK).map(|block| key.run(mode, direction, &mut stepped, block));
                        let steps: Vec<u8> = steps.flat_map(|block| block.unwrap().expose().to_vec()).collect();
                        assert_eq!(at_once.expose(), steps, "{mode:?} {direction:?} {blocks}");
                        assert_eq!(iv, stepped, "{mode:?} {direction:?} {blocks}");
                        let back = match direction {
                            Direction::Encrypt => Direction::Decrypt,
                            Direction::Decrypt => Direction::Encrypt,
                        };
                        let plain = key.run(mode, back, &mut start.clone(), at_once.expose()).unwrap();
                        assert_eq!(plain.expose(), data, "{mode:?} {direction:?} {blocks}");
                    }
                }
            }
        }
    }
}
