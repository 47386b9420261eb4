//! The derivations and the parameter cipher of TPM 2.0 sessions (Part 1, 11.4.10, 11.4.11 and 21.3). Pure computations.

use aes::Aes128;
use base::Secret;
use base::digest::Hash;
use cfb_mode::cipher::KeyIvInit;

use crate::error::{Error, Result};

const AES_KEY: usize = 16;
const AES_BLOCK: usize = 16;

/// KDFa (Part 1, 11.4.10.2): SP 800-108 in counter mode with HMAC. `bits` is a multiple of 8.
pub(crate) fn kdfa(hash: Hash, key: &[u8], label: &str, context_u: &[u8], context_v: &[u8], bits: u32) -> Secret {
    expand(hash, bits, |counter| {
        hash.hmac(key, &[&counter, label.as_bytes(), &[0], context_u, context_v, &bits.to_be_bytes()])
    })
}

/// KDFe (Part 1, 11.4.10.3): SP 800-56A with a hash. `bits` is a multiple of 8.
pub(crate) fn kdfe(hash: Hash, z: &[u8], usage: &str, party_u: &[u8], party_v: &[u8], bits: u32) -> Secret {
    expand(hash, bits, |counter| Secret::new(hash.digest(&[&counter, z, usage.as_bytes(), &[0], party_u, party_v])))
}

fn expand(hash: Hash, bits: u32, block: impl Fn([u8; 4]) -> Secret) -> Secret {
    let len = usize::try_from(bits / 8).unwrap_or_default();
    let mut out = Secret::zeroed(len);
    for (chunk, counter) in out.expose_mut().chunks_mut(hash.len()).zip(1u32..) {
        let produced = block(counter.to_be_bytes());
        for (to, from) in chunk.iter_mut().zip(produced.expose()) {
            *to = *from;
        }
    }
    out
}

/// Which way a cipher goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From plaintext to ciphertext.
    Encrypt,
    /// From ciphertext to plaintext.
    Decrypt,
}

/// AES-128-CFB over a session's parameter, in place (Part 1, 21.3). `session_value` is sessionKey || authValue.
pub(crate) fn parameter_cipher(
    direction: Direction,
    hash: Hash,
    session_value: &Secret,
    nonce_newer: &[u8],
    nonce_older: &[u8],
    parameter: &mut [u8],
) -> Result<()> {
    let bits = u32::try_from((AES_KEY + AES_BLOCK) * 8).unwrap_or_default();
    let material = kdfa(hash, session_value.expose(), "CFB", nonce_newer, nonce_older, bits);
    let (key, iv) = material.expose().split_at_checked(AES_KEY).ok_or(Error::Invalid("key material"))?;
    let invalid = |_| Error::Invalid("key material");
    match direction {
        Direction::Encrypt => {
            cfb_mode::Encryptor::<Aes128>::new_from_slices(key, iv).map_err(invalid)?.encrypt(parameter);
        }
        Direction::Decrypt => {
            cfb_mode::Decryptor::<Aes128>::new_from_slices(key, iv).map_err(invalid)?.decrypt(parameter);
        }
    }
    Ok(())
}

/// An authorisation value as the TPM keeps it: without trailing zero bytes (Part 1, 19.6.4.3).
pub(crate) fn trim_auth(auth: &[u8]) -> &[u8] {
    let len = auth.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    auth.get(..len).unwrap_or_default()
}

/// Two secrets, one after the other.
pub(crate) fn concat(first: &[u8], second: &[u8]) -> Secret {
    let mut both = Secret::zeroed(first.len() + second.len());
    for (to, from) in both.expose_mut().iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Vectors validated against several implementations (tpm-test-vectors, KDFe).
    #[test]
    fn kdfe_agrees_with_published_vectors() {
        let vectors = [
            (
                Hash::Sha1,
                "9b050039c8e5ca60deeb978f2faf573c94af61",
                "IDENTITY",
                "ff1a1852db7b60a5c963f17eb306f3a905d100ae",
                "0047ee45771a256d58b091b6d6",
                "94c3c160",
            ),
            (
                Hash::Sha1,
                "9009102b2625d65be30dc3bf",
                "STORAGE",
                "0039ab599ed7dc937d",
                "f594aaefce859668b1fd9ae9b5ff",
                "80fcc2c943464b3bfaedc6f7f7f0e41a92bb4fa3556a166737aa1d98d2cd3e45dad521b9a0d1ecab2e7bd6e6ac1dc04a9c7b8b\
                 45ff19a849bd167293dae136affadd7691c165ed8ddc2ac039a96944b315",
            ),
            (
                Hash::Sha256,
                "8995a6318a0217c7c7bf543f50da29016c4ff2a1ea5daf54ebcb00",
                "INTEGRITY",
                "8852f14d8e9b68",
                "74ff",
                "92343ef558feb95fd14838f9ca39c8618598a7eeb31af7fc276030b8c3ff326d4870f190e54abbec9da4",
            ),
        ];
        for (hash, z, usage, u, v, result) in vectors {
            let result = bytes(result);
            let bits = u32::try_from(result.len() * 8).unwrap();
            assert_eq!(kdfe(hash, &bytes(z), usage, &bytes(u), &bytes(v), bits).expose(), result);
        }
    }

    /// Computed with Python's hmac module from the text of Part 1, 11.4.10.2.
    #[test]
    fn kdfa_agrees_with_an_independent_computation() {
        let key: Vec<u8> = (0..20).collect();
        let made = kdfa(Hash::Sha256, &key, "CFB", b"newer", b"older", 256);
        assert_eq!(made.expose(), bytes("a4f4ae418b25994fc5e81e607324b6d14dc6ea6583ef0024a5bdc74c931616f0"));
        let made = kdfa(Hash::Sha1, &key, "ATH", b"", b"v", 328);
        assert_eq!(
            made.expose(),
            bytes("485478979e091f7091f325877247168463461e887ccd68c67dbf84b7ea1057fb5145c1d77a044d02cd")
        );
    }

    #[test]
    fn the_parameter_cipher_undoes_itself_and_depends_on_everything() {
        let (value, plain) = (Secret::copy_from(b"session value"), *b"a parameter of some length");
        let run = |direction, value: &Secret, newer: &[u8], older: &[u8], data: &[u8]| {
            let mut data = data.to_vec();
            parameter_cipher(direction, Hash::Sha256, value, newer, older, &mut data).unwrap();
            data
        };
        let cipher = run(Direction::Encrypt, &value, b"n", b"o", &plain);
        assert_ne!(cipher, plain);
        assert_eq!(run(Direction::Decrypt, &value, b"n", b"o", &cipher), plain);
        assert_ne!(run(Direction::Decrypt, &value, b"o", b"n", &cipher), plain);
        assert_ne!(run(Direction::Decrypt, &Secret::copy_from(b"other"), b"n", b"o", &cipher), plain);
    }

    #[test]
    fn trailing_zeros_are_no_part_of_an_authorisation_value() {
        assert_eq!(trim_auth(&[1, 0, 2, 0, 0]), [1, 0, 2]);
        assert!(trim_auth(&[0, 0]).is_empty());
        assert!(trim_auth(&[]).is_empty());
        assert_eq!(concat(&[1, 2], &[3]).expose(), [1, 2, 3]);
    }
}
