//! The hash functions that PKCS#11 clients and TPMs have in common, and HMAC over them.

use digest::{Digest, Mac};
use hmac::{Hmac, SimpleHmac};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use crate::Secret;

/// A hash function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Hash {
    /// SHA-1, FIPS 180-4; for old signatures and OAEP's default only.
    Sha1,
    /// SHA-224, FIPS 180-4.
    Sha224,
    /// SHA-256, FIPS 180-4.
    Sha256,
    /// SHA-384, FIPS 180-4.
    Sha384,
    /// SHA-512, FIPS 180-4.
    Sha512,
    /// SHA3-224, FIPS 202.
    Sha3_224,
    /// SHA3-256, FIPS 202.
    Sha3_256,
    /// SHA3-384, FIPS 202.
    Sha3_384,
    /// SHA3-512, FIPS 202.
    Sha3_512,
}

impl Hash {
    /// Every hash function, SHA-1 and SHA-2 first.
    pub const ALL: [Hash; 9] = [
        Hash::Sha1,
        Hash::Sha224,
        Hash::Sha256,
        Hash::Sha384,
        Hash::Sha512,
        Hash::Sha3_224,
        Hash::Sha3_256,
        Hash::Sha3_384,
        Hash::Sha3_512,
    ];

    /// Length of a digest in bytes.
    #[allow(clippy::len_without_is_empty)] // a length by name, not a collection's
    pub const fn len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha224 | Hash::Sha3_224 => 28,
            Hash::Sha256 | Hash::Sha3_256 => 32,
            Hash::Sha384 | Hash::Sha3_384 => 48,
            Hash::Sha512 | Hash::Sha3_512 => 64,
        }
    }

    /// Length of a block in bytes, as HMAC uses it.
    pub const fn block_len(self) -> usize {
        match self {
            Hash::Sha1 | Hash::Sha224 | Hash::Sha256 => 64,
            Hash::Sha384 | Hash::Sha512 => 128,
            Hash::Sha3_224 => 144,
            Hash::Sha3_256 => 136,
            Hash::Sha3_384 => 104,
            Hash::Sha3_512 => 72,
        }
    }

    /// The name in FIPS 180-4 or FIPS 202, such as `SHA-256`.
    pub const fn name(self) -> &'static str {
        match self {
            Hash::Sha1 => "SHA-1",
            Hash::Sha224 => "SHA-224",
            Hash::Sha256 => "SHA-256",
            Hash::Sha384 => "SHA-384",
            Hash::Sha512 => "SHA-512",
            Hash::Sha3_224 => "SHA3-224",
            Hash::Sha3_256 => "SHA3-256",
            Hash::Sha3_384 => "SHA3-384",
            Hash::Sha3_512 => "SHA3-512",
        }
    }

    /// The digest of the concatenation of `parts`.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }

    /// A running digest.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Hash::Sha1 => State::Sha1(Sha1::new()),
            Hash::Sha224 => State::Sha224(Sha224::new()),
            Hash::Sha256 => State::Sha256(Sha256::new()),
            Hash::Sha384 => State::Sha384(Sha384::new()),
            Hash::Sha512 => State::Sha512(Sha512::new()),
            Hash::Sha3_224 => State::Sha3_224(Sha3_224::new()),
            Hash::Sha3_256 => State::Sha3_256(Sha3_256::new()),
            Hash::Sha3_384 => State::Sha3_384(Sha3_384::new()),
            Hash::Sha3_512 => State::Sha3_512(Sha3_512::new()),
        })
    }

    /// HMAC (RFC 2104) of the concatenation of `parts`, under a key of any length.
    pub fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        match self {
            Hash::Sha1 => mac::<Hmac<Sha1>>(key, parts),
            Hash::Sha224 => mac::<Hmac<Sha224>>(key, parts),
            Hash::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Hash::Sha384 => mac::<Hmac<Sha384>>(key, parts),
            Hash::Sha512 => mac::<Hmac<Sha512>>(key, parts),
            Hash::Sha3_224 => mac::<SimpleHmac<Sha3_224>>(key, parts),
            Hash::Sha3_256 => mac::<SimpleHmac<Sha3_256>>(key, parts),
            Hash::Sha3_384 => mac::<SimpleHmac<Sha3_384>>(key, parts),
            Hash::Sha3_512 => mac::<SimpleHmac<Sha3_512>>(key, parts),
        }
    }

    /// The DER of a DigestInfo up to the digest itself (RFC 8017, 9.2, note 1): prefix and digest
    /// together are the T of EMSA-PKCS1-v1_5.
    pub const fn digest_info_prefix(self) -> &'static [u8] {
        match self {
            Hash::Sha1 => &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14],
            Hash::Sha224 => &[
                0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04, 0x05, 0x00,
                0x04, 0x1c,
            ],
            Hash::Sha256 => &[
                0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
                0x04, 0x20,
            ],
            Hash::Sha384 => &[
                0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
                0x04, 0x30,
            ],
            Hash::Sha512 => &[
                0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
                0x04, 0x40,
            ],
            Hash::Sha3_224 => &[
                0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x07, 0x05, 0x00,
                0x04, 0x1c,
            ],
            Hash::Sha3_256 => &[
                0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x08, 0x05, 0x00,
                0x04, 0x20,
            ],
            Hash::Sha3_384 => &[
                0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x09, 0x05, 0x00,
                0x04, 0x30,
            ],
            Hash::Sha3_512 => &[
                0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x0a, 0x05, 0x00,
                0x04, 0x40,
            ],
        }
    }
}

/// A running digest, made by [`Hash::hasher`]; a clone continues on its own.
#[derive(Clone)]
pub struct Hasher(State);

impl Hasher {
    /// The hash function this runs.
    pub fn hash(&self) -> Hash {
        match self.0 {
            State::Sha1(_) => Hash::Sha1,
            State::Sha224(_) => Hash::Sha224,
            State::Sha256(_) => Hash::Sha256,
            State::Sha384(_) => Hash::Sha384,
            State::Sha512(_) => Hash::Sha512,
            State::Sha3_224(_) => Hash::Sha3_224,
            State::Sha3_256(_) => Hash::Sha3_256,
            State::Sha3_384(_) => Hash::Sha3_384,
            State::Sha3_512(_) => Hash::Sha3_512,
        }
    }

    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(data),
            State::Sha224(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha384(state) => state.update(data),
            State::Sha512(state) => state.update(data),
            State::Sha3_224(state) => state.update(data),
            State::Sha3_256(state) => state.update(data),
            State::Sha3_384(state) => state.update(data),
            State::Sha3_512(state) => state.update(data),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Sha1(state) => state.finalize().to_vec(),
            State::Sha224(state) => state.finalize().to_vec(),
            State::Sha256(state) => state.finalize().to_vec(),
            State::Sha384(state) => state.finalize().to_vec(),
            State::Sha512(state) => state.finalize().to_vec(),
            State::Sha3_224(state) => state.finalize().to_vec(),
            State::Sha3_256(state) => state.finalize().to_vec(),
            State::Sha3_384(state) => state.finalize().to_vec(),
            State::Sha3_512(state) => state.finalize().to_vec(),
        }
    }
}

// By hand: the state is a function of the message, which may be secret.
impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({})", self.hash().name())
    }
}

#[derive(Clone)]
enum State {
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Sha3_224(Sha3_224),
    Sha3_256(Sha3_256),
    Sha3_384(Sha3_384),
    Sha3_512(Sha3_512),
}

fn mac<M: Mac + digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Secret {
    // HMAC takes keys of any length, so the error arm is never taken; an empty answer equals no
    // real one and is refused by every comparison.
    let Ok(mut mac) = <M as digest::KeyInit>::new_from_slice(key) else {
        return Secret::zeroed(0);
    };
    for part in parts {
        mac.update(part);
    }
    Secret::copy_from(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// FIPS 180-4 and FIPS 202, the example message of one block.
    #[test]
    fn digests_of_abc() {
        let expected = [
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed
             8086072ba1e7cc2358baeca134c825a7",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
            "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b2
             98d88cea927ac7f539f1edf228376d25",
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e
             10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        ];
        for (hash, expected) in Hash::ALL.into_iter().zip(expected) {
            let mut hasher = hash.hasher();
            hasher.update(b"a");
            let fork = hasher.clone();
            hasher.update(b"bc");
            assert_eq!(hasher.hash(), hash);
            assert_eq!(hasher.finish(), hex(expected));
            assert_eq!(hash.digest(&[b"ab", b"", b"c"]), hex(expected));
            assert_eq!(fork.finish(), hash.digest(&[b"a"]));
            assert_eq!(hash.len(), hex(expected).len());
        }
    }

    #[test]
    fn digest_info_is_der() {
        for hash in Hash::ALL {
            let prefix = hash.digest_info_prefix();
            let rest = prefix.len() - 2 + hash.len();
            assert_eq!(&prefix[..2], [0x30, rest as u8]);
            assert_eq!(&prefix[prefix.len() - 2..], [0x04, hash.len() as u8]);
        }
    }

    /// RFC 2202 and RFC 4231, cases 2 and 6: a short key, and a key longer than a block.
    #[test]
    fn hmac_vectors() {
        let check = |hash: Hash, key: &[u8], data: &[u8], expected: &str| {
            assert_eq!(hash.hmac(key, &[data]).expose(), hex(expected), "{hash:?}");
            let (a, b) = data.split_at(data.len() / 2);
            assert_eq!(hash.hmac(key, &[a, b]).expose(), hex(expected));
        };
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        let expected = [
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e
             8e2240ca5e69e2c78b3239ecfab21649",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ];
        for (hash, expected) in Hash::ALL.into_iter().zip(expected) {
            check(hash, key, data, expected);
        }
        let data = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let expected = [
            "95e9a0db962095adaebe9b2d6f0dbce2d499f112f2d2b7273fa6870e",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c6
             0c2ef6ab4030fe8296248df163f44952",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352
             6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ];
        for (hash, expected) in Hash::ALL.into_iter().skip(1).zip(expected) {
            check(hash, &[0xaa; 131], data, expected);
        }
    }

    /// RFC 2104: a key longer than a block is hashed first, one as long as a block is not.
    #[test]
    fn hmac_keys_around_a_block() {
        for hash in Hash::ALL {
            let exact = vec![7; hash.block_len()];
            let longer = vec![7; hash.block_len() + 1];
            let hashed = hash.digest(&[&longer]);
            assert_eq!(hash.hmac(&longer, &[b"x"]), hash.hmac(&hashed, &[b"x"]));
            let hashed = hash.digest(&[&exact]);
            assert_ne!(hash.hmac(&exact, &[b"x"]), hash.hmac(&hashed, &[b"x"]));
            assert_eq!(hash.hmac(b"", &[]).len(), hash.len());
        }
    }
}
