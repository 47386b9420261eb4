//! The paddings against the `rsa` crate, against recorded answers of OpenSSL's implicit rejection,
//! and against every kind of broken block.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::marker::PhantomData;

use base::Secret;
use base::digest::Hash;
use base::pad::*;
use base::random;
use common::{Pair, left_pad};
use digest::{Digest, FixedOutputReset};
use getrandom::SysRng;
use num_bigint::BigUint;
use rsa::{Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, PrivateKey, Pss, PublicKey};

/// Calls a generic function with the type that implements a hash.
macro_rules! with_hash {
    ($hash:expr, $call:ident ( $($arg:expr),* )) => {
        match $hash {
            Hash::Sha1 => $call::<sha1::Sha1>($($arg),*),
            Hash::Sha224 => $call::<sha2::Sha224>($($arg),*),
            Hash::Sha256 => $call::<sha2::Sha256>($($arg),*),
            Hash::Sha384 => $call::<sha2::Sha384>($($arg),*),
            Hash::Sha512 => $call::<sha2::Sha512>($($arg),*),
            Hash::Sha3_224 => $call::<sha3::Sha3_224>($($arg),*),
            Hash::Sha3_256 => $call::<sha3::Sha3_256>($($arg),*),
            Hash::Sha3_384 => $call::<sha3::Sha3_384>($($arg),*),
            Hash::Sha3_512 => $call::<sha3::Sha3_512>($($arg),*),
        }
    };
}

/// A padding of the other implementation whose hashes only a run knows.
trait Padding {
    fn sign(&self, key: &PrivateKey, digest: &[u8]) -> rsa::Result<Vec<u8>>;
    fn verify(&self, key: &PublicKey, digest: &[u8], signature: &[u8]) -> rsa::Result<()>;
}

struct PssOf<T>(usize, PhantomData<T>);

impl<T: Digest + FixedOutputReset> Padding for PssOf<T> {
    fn sign(&self, key: &PrivateKey, digest: &[u8]) -> rsa::Result<Vec<u8>> {
        key.sign_with_rng(&mut SysRng, Pss::<T>::new_with_salt(self.0), digest)
    }

    fn verify(&self, key: &PublicKey, digest: &[u8], signature: &[u8]) -> rsa::Result<()> {
        key.verify(Pss::<T>::new_with_salt(self.0), digest, signature)
    }
}

fn pss<T: 'static + Digest + FixedOutputReset>(salt_len: usize) -> Box<dyn Padding> {
    Box::new(PssOf::<T>(salt_len, PhantomData))
}

trait Envelope {
    fn encrypt(&self, key: &PublicKey, message: &[u8]) -> rsa::Result<Vec<u8>>;
    fn decrypt(&self, key: &PrivateKey, cipher: &[u8]) -> rsa::Result<Vec<u8>>;
}

struct OaepOf<T, U>(String, PhantomData<(T, U)>);

impl<T: Digest + FixedOutputReset, U: Digest + FixedOutputReset> Envelope for OaepOf<T, U> {
    fn encrypt(&self, key: &PublicKey, message: &[u8]) -> rsa::Result<Vec<u8>> {
        key.encrypt(&mut SysRng, Oaep::<T, U>::new_with_mgf_hash_and_label(self.0.as_bytes()), message)
    }

    fn decrypt(&self, key: &PrivateKey, cipher: &[u8]) -> rsa::Result<Vec<u8>> {
        key.decrypt(Oaep::<T, U>::new_with_mgf_hash_and_label(self.0.as_bytes()), cipher)
    }
}

fn oaep<T: 'static + Digest + FixedOutputReset>(mgf: Hash, label: &str) -> Box<dyn Envelope> {
    fn with_mgf<U, T>(label: &str) -> Box<dyn Envelope>
    where
        T: 'static + Digest + FixedOutputReset,
        U: 'static + Digest + FixedOutputReset,
    {
        Box::new(OaepOf::<T, U>(label.to_owned(), PhantomData))
    }
    match mgf {
        Hash::Sha1 => with_mgf::<sha1::Sha1, T>(label),
        Hash::Sha224 => with_mgf::<sha2::Sha224, T>(label),
        Hash::Sha256 => with_mgf::<sha2::Sha256, T>(label),
        Hash::Sha384 => with_mgf::<sha2::Sha384, T>(label),
        Hash::Sha512 => with_mgf::<sha2::Sha512, T>(label),
        Hash::Sha3_224 => with_mgf::<sha3::Sha3_224, T>(label),
        Hash::Sha3_256 => with_mgf::<sha3::Sha3_256, T>(label),
        Hash::Sha3_384 => with_mgf::<sha3::Sha3_384, T>(label),
        Hash::Sha3_512 => with_mgf::<sha3::Sha3_512, T>(label),
    }
}

fn v15<T: Digest + digest::const_oid::AssociatedOid>() -> Pkcs1v15Sign {
    Pkcs1v15Sign::new::<T>()
}

#[test]
fn v15_signatures_both_ways() {
    for bits in [1024, 1031, 2048] {
        let pair = Pair::new(bits);
        let k = pair.public.modulus_len();
        for hash in Hash::ALL {
            let digest = hash.digest(&[b"message"]);
            let t = [hash.digest_info_prefix(), &digest].concat();
            let theirs = pair.private.sign(with_hash!(hash, v15()), &digest).unwrap();
            let block = pair.public.raw(&theirs).unwrap();
            assert!(pkcs1_sign_check(&block, &t), "{bits} {hash:?}");

            let ours = pair.raw_private(&pkcs1_sign_block(&t, k).unwrap());
            assert_eq!(ours, theirs, "{bits} {hash:?}");
        }
    }
}

#[test]
fn v15_signature_blocks_are_compared_whole() {
    let t = [7; 51];
    let block = pkcs1_sign_block(&t, 128).unwrap();
    assert!(pkcs1_sign_check(&block, &t));
    for i in 0..block.len() {
        let mut changed = block.clone();
        changed[i] ^= 1;
        assert!(!pkcs1_sign_check(&changed, &t), "byte {i}");
    }
    assert!(!pkcs1_sign_check(&block, &t[..50]));
    assert!(!pkcs1_sign_check(&block[..127], &t));
    assert!(!pkcs1_sign_check(&[], &t));
    assert!(!pkcs1_sign_check(&[], &[]));

    assert_eq!(pkcs1_sign_block(&[7; 118], 128), Err(PadError::TooLong));
    assert_eq!(pkcs1_sign_block(&[7; 129], 128), Err(PadError::TooLong));
    assert_eq!(pkcs1_sign_block(&[], 10), Err(PadError::TooLong));
    let longest = pkcs1_sign_block(&[7; 117], 128).unwrap();
    assert_eq!(longest[..11], [0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
    assert_eq!(pkcs1_sign_block(&[], 11).unwrap(), longest[..11]);
}

#[test]
fn pss_both_ways() {
    for bits in [1024, 1025, 1031, 2048] {
        let pair = Pair::new(bits);
        let em_len = (bits - 1).div_ceil(8);
        for hash in Hash::ALL {
            let digest = hash.digest(&[b"message"]);
            let longest = em_len.checked_sub(hash.len() + 2).unwrap();
            let mut salts = vec![0, 1, hash.len(), longest - 1, longest];
            salts.retain(|&len| len <= longest);
            for salt_len in salts {
                let what = format!("{bits} {hash:?} salt {salt_len}");
                let scheme = with_hash!(hash, pss(salt_len));
                let theirs = scheme.sign(&pair.private, &digest);
                let block = pair.public.raw(&theirs.unwrap()).unwrap();
                let (zeros, em) = block.split_at(block.len() - em_len);
                assert!(zeros.iter().all(|&byte| byte == 0));
                let check = |salt_len| pss_verify(em, &digest, hash, hash, salt_len, bits - 1);
                assert!(check(salt_len), "{what}");
                assert!(!check(salt_len + 1), "{what}");
                assert!(!check(salt_len.wrapping_sub(1)), "{what}");

                let salt = random::bytes(salt_len).unwrap();
                let em = pss_encode(&digest, hash, hash, &salt, bits - 1).unwrap();
                assert_eq!(em.len(), em_len);
                let ours = pair.raw_private(&em);
                let public = pair.private.to_public_key();
                scheme.verify(&public, &digest, &ours).unwrap();
            }
            let refused = pss_encode(&digest, hash, hash, &vec![0; longest + 1], bits - 1);
            assert_eq!(refused, Err(PadError::TooLong));
        }
    }
}

#[test]
fn pss_with_every_change_is_refused() {
    // 1024 modulus bits leave one bit of the first byte unused, 1025 none.
    for em_bits in [1023, 1024] {
        for (hash, mgf) in [(Hash::Sha256, Hash::Sha1), (Hash::Sha1, Hash::Sha512)] {
            let digest = hash.digest(&[b"message"]);
            let em = pss_encode(&digest, hash, mgf, &[9; 17], em_bits).unwrap();
            let check = |em: &[u8]| pss_verify(em, &digest, hash, mgf, 17, em_bits);
            assert!(check(&em));
            for i in 0..em.len() {
                for bit in 0..8 {
                    let mut changed = em.clone();
                    changed[i] ^= 1 << bit;
                    assert!(!check(&changed), "byte {i} bit {bit}");
                }
                assert!(!check(&em[..i]));
            }
            assert!(!check(&[&[0], &em[..]].concat()));
            assert!(!pss_verify(&em, &digest, hash, hash, 17, em_bits));
            assert!(!pss_verify(&em, &digest[1..], hash, mgf, 17, em_bits));
            assert!(!pss_verify(&em, &digest, hash, mgf, usize::MAX, em_bits));
            assert!(!pss_verify(&em, &digest, hash, mgf, 17, 0));
            let other = hash.digest(&[b"another message"]);
            assert!(!pss_verify(&em, &other, hash, mgf, 17, em_bits));
        }
    }
    let wrong = pss_encode(&[0; 31], Hash::Sha256, Hash::Sha256, &[], 1023);
    assert_eq!(wrong, Err(PadError::DigestLength));
    let small = pss_encode(&[0; 32], Hash::Sha256, Hash::Sha256, &[], 0);
    assert_eq!(small, Err(PadError::TooLong));
}

#[test]
fn oaep_both_ways() {
    for bits in [1031, 2048] {
        let pair = Pair::new(bits);
        let public = pair.private.to_public_key();
        let k = pair.public.modulus_len();
        for hash in Hash::ALL {
            let Some(longest) = k.checked_sub(2 * hash.len() + 2) else {
                let refused = oaep_encode(b"", hash, hash, b"", k);
                assert_eq!(refused, Err(PadError::TooLong));
                let em = Secret::zeroed(k);
                assert_eq!(oaep_decode(&em, hash, hash, b""), Err(PadError::Invalid));
                continue;
            };
            for mgf in Hash::ALL {
                for (label, len) in [("", 0), ("label", 1), ("label\0", longest), ("é", longest / 2)] {
                    let what = format!("{bits} {hash:?} {mgf:?} {label:?} {len}");
                    let message = random::bytes(len.min(longest)).unwrap();
                    let scheme = with_hash!(hash, oaep(mgf, label));
                    let ciphertext = scheme.encrypt(&public, &message).unwrap();
                    let em = Secret::new(pair.raw_private(&ciphertext));
                    let decoded = oaep_decode(&em, hash, mgf, label.as_bytes()).unwrap();
                    assert_eq!(decoded.expose(), message, "{what}");
                    let refused = oaep_decode(&em, hash, mgf, b"another");
                    assert_eq!(refused, Err(PadError::Invalid), "{what}");

                    let em = oaep_encode(&message, hash, mgf, label.as_bytes(), k).unwrap();
                    let ciphertext = pair.public.raw(&em).unwrap();
                    let theirs = scheme.decrypt(&pair.private, &ciphertext).unwrap();
                    assert_eq!(theirs, message, "{what}");
                }
                let refused = oaep_encode(&vec![0; longest + 1], hash, mgf, b"", k);
                assert_eq!(refused, Err(PadError::TooLong));
            }
        }
    }
}

#[test]
fn oaep_with_every_change_is_refused_alike() {
    let (hash, mgf, k) = (Hash::Sha1, Hash::Sha256, 128);
    for message in [&b""[..], b"message", &[0; 86], &[1; 86]] {
        let em = oaep_encode(message, hash, mgf, b"label", k).unwrap();
        let decode = |em: &[u8]| oaep_decode(&Secret::copy_from(em), hash, mgf, b"label");
        assert_eq!(decode(&em).unwrap().expose(), message);
        for i in 0..k {
            for change in [1, 0x80, 0xff] {
                let mut changed = em.clone();
                changed[i] ^= change;
                assert_eq!(decode(&changed), Err(PadError::Invalid), "byte {i}");
            }
            assert_eq!(decode(&em[..i]), Err(PadError::Invalid), "cut to {i}");
        }
        assert_eq!(decode(&[&[0], &em[..]].concat()), Err(PadError::Invalid));
    }
}

/// Blocks whose masks are right and whose inside is wrong, which no corruption of a good block
/// reaches.
#[test]
fn oaep_inside_is_checked() {
    let (hash, mgf, k) = (Hash::Sha256, Hash::Sha1, 128);
    let label_hash = hash.digest(&[b""]);
    let block = |first: u8, label_hash: &[u8], rest: &[u8]| {
        let mask = |seed: &[u8], len: usize| -> Vec<u8> {
            let blocks = (0u32..).map(|i| mgf.digest(&[seed, &i.to_be_bytes()]));
            blocks.take(len.div_ceil(20)).flatten().take(len).collect()
        };
        let xor = |a: &[u8], b: Vec<u8>| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
        let seed = random::bytes(hash.len()).unwrap();
        let db = [label_hash, rest].concat();
        let masked_db = xor(&db, mask(&seed, db.len()));
        let masked_seed = xor(&seed, mask(&masked_db, seed.len()));
        Secret::new([&[first], &masked_seed[..], &masked_db].concat())
    };
    let rest = |zeros: usize, then: &[u8]| {
        let mut rest = vec![0; zeros];
        rest.extend_from_slice(then);
        rest.resize(k - 1 - 2 * hash.len(), 0xaa);
        rest
    };
    let decode = |em: Secret| oaep_decode(&em, hash, mgf, b"");

    let message = decode(block(0, &label_hash, &rest(5, &[1, 0, 1, 2]))).unwrap();
    assert_eq!(message.expose()[..3], [0, 1, 2]);
    assert_eq!(message.len(), 63 - 6);
    let empty = decode(block(0, &label_hash, &rest(62, &[1]))).unwrap();
    assert!(empty.is_empty());

    for (what, em) in [
        ("first byte", block(1, &label_hash, &rest(5, &[1]))),
        ("first byte", block(0x80, &label_hash, &rest(5, &[1]))),
        ("label", block(0, &[0; 32], &rest(5, &[1]))),
        ("other byte before one", block(0, &label_hash, &rest(5, &[2, 1]))),
        ("other byte at once", block(0, &label_hash, &rest(0, &[0xff, 1]))),
        ("no one", block(0, &label_hash, &rest(63, &[]))),
        ("no one, other", block(0, &label_hash, &rest(62, &[2]))),
    ] {
        assert_eq!(decode(em), Err(PadError::Invalid), "{what}");
    }
}

#[test]
fn v15_encryption_both_ways() {
    for bits in [1024, 1031] {
        let pair = Pair::new(bits);
        let public = pair.private.to_public_key();
        let k = pair.public.modulus_len();
        for len in [0, 1, 32, k - 12, k - 11] {
            let message = random::bytes(len).unwrap();
            let ciphertext = public.encrypt(&mut SysRng, Pkcs1v15Encrypt, &message);
            let ciphertext = ciphertext.unwrap();
            let em = Secret::new(pair.raw_private(&ciphertext));
            let decoded = pkcs1_decrypt_block(&em, b"secret", &ciphertext);
            assert_eq!(decoded.expose(), message);

            let em = pkcs1_encrypt_block(&message, k).unwrap();
            assert!(em.expose()[2..k - len - 1].iter().all(|&byte| byte != 0));
            let ciphertext = pair.public.raw(em.expose()).unwrap();
            let theirs = pair.private.decrypt(Pkcs1v15Encrypt, &ciphertext).unwrap();
            assert_eq!(theirs, message);
        }
        let refused = pkcs1_encrypt_block(&vec![0; k - 10], k);
        assert_eq!(refused, Err(PadError::TooLong));
    }
    assert_eq!(pkcs1_encrypt_block(&[], 10), Err(PadError::TooLong));
    assert_eq!(pkcs1_encrypt_block(&[], 11).unwrap().len(), 11);
}

/// RFC 8017, 7.2.2, step 3, as it stands there.
fn parse_v15(em: &[u8]) -> Option<&[u8]> {
    let body = em.strip_prefix(&[0, 2])?;
    let zero = body.iter().position(|&byte| byte == 0)?;
    (zero >= 8).then(|| &body[zero + 1..])
}

#[test]
fn v15_with_every_change_decrypts_or_is_rejected_silently() {
    let key = [5; 32];
    let ciphertext = [6; 128];
    let rejection = pkcs1_decrypt_block(&Secret::zeroed(128), &key, &ciphertext);
    let (mut good, mut bad) = (0, 0);
    for len in [0, 40, 117] {
        let em = pkcs1_encrypt_block(&vec![0x5a; len], 128).unwrap();
        for i in 0..128 {
            for value in [0, 1, 2, 3, 0x80, 0xff] {
                let mut changed = em.clone();
                changed.expose_mut()[i] = value;
                let decoded = pkcs1_decrypt_block(&changed, &key, &ciphertext);
                match parse_v15(changed.expose()) {
                    Some(message) => {
                        assert_eq!(decoded.expose(), message, "{len}: byte {i} = {value}");
                        good += 1;
                    }
                    None => {
                        assert_eq!(decoded, rejection, "{len}: byte {i} = {value}");
                        bad += 1;
                    }
                }
            }
        }
    }
    assert!(good > 1000 && bad > 30, "{good} good, {bad} bad");
}

#[test]
fn rejection_depends_on_key_and_ciphertext_alone() {
    let reject =
        |em: &[u8], key: &[u8], ciphertext: &[u8]| pkcs1_decrypt_block(&Secret::copy_from(em), key, ciphertext);
    let mut lengths = std::collections::BTreeSet::new();
    for i in 0..64 {
        let message = reject(&[0; 256], &[1; 32], &[i; 256]);
        assert_eq!(message, reject(&[0xff; 256], &[1; 32], &[i; 256]));
        assert_ne!(message, reject(&[0; 256], &[2; 32], &[i; 256]));
        assert!(message.len() <= 256 - 11);
        lengths.insert(message.len());
    }
    assert!(lengths.len() > 20, "{lengths:?}");
    // No block is too small to be survived.
    for k in 0..32 {
        let message = reject(&vec![0; k], &[1; 32], &vec![3; k]);
        assert!(message.len() <= k.saturating_sub(11));
        assert!(reject(&vec![2; k], &[], &[]).len() <= k.saturating_sub(11));
    }
}

/// With SHA-256 of the private exponent as the secret, every answer is OpenSSL's.
#[test]
fn rejection_is_that_of_openssl() {
    let unhex = |digits: &str| -> Vec<u8> {
        if digits == "-" {
            return Vec::new();
        }
        let bytes = digits.as_bytes().chunks(2);
        bytes.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let (mut n, mut d) = (Vec::new(), Vec::new());
    let mut cases = 0;
    for line in include_str!("data/implicit_rejection.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["key", modulus, exponent] => (n, d) = (unhex(modulus), unhex(exponent)),
            ["case", what, ciphertext, expected] => {
                let ciphertext = unhex(ciphertext);
                let em = BigUint::from_bytes_be(&ciphertext)
                    .modpow(&BigUint::from_bytes_be(&d), &BigUint::from_bytes_be(&n));
                let em = Secret::new(left_pad(&em.to_bytes_be(), n.len()));
                let secret = Hash::Sha256.digest(&[&d]);
                let message = pkcs1_decrypt_block(&em, &secret, &ciphertext);
                assert_eq!(message.expose(), unhex(expected), "{what}");
                cases += 1;
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    assert!(cases > 50);
}
