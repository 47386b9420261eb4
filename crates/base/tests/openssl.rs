//! Everything that leaves this crate against the `openssl` command, which must be installed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::PathBuf;
use std::process::Command;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::{kdf, pad, random};
use common::Pair;
use num_bigint::BigUint;
use rsa::pkcs1::EncodeRsaPrivateKey;

/// A directory with the files that the command reads and writes.
struct Openssl {
    dir: tempfile::TempDir,
}

impl Openssl {
    fn new() -> Openssl {
        let dir = tempfile::tempdir().unwrap();
        Openssl { dir }
    }

    /// With `pair` in `key.der` and its public half in `public.der`.
    fn with_key(pair: &Pair) -> Openssl {
        let openssl = Openssl::new();
        openssl.write("key.der", pair.private.to_pkcs1_der().unwrap().as_bytes());
        openssl.write("public.der", &pair.public.spki());
        openssl
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs the command in the directory: what it printed, or nothing when it failed.
    fn run(&self, args: &[&str]) -> Option<Vec<u8>> {
        let mut command = Command::new("openssl");
        let output = command.current_dir(&self.dir).args(args).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// `openssl pkeyutl` on `input` with the private key, and the given -pkeyopt options.
    fn private(&self, operation: &str, input: &[u8], options: &[String]) -> Option<Vec<u8>> {
        self.write("in", input);
        let args = ["pkeyutl", operation, "-keyform", "DER", "-inkey", "key.der", "-in", "in"];
        self.run(&with_options(&args, options))
    }

    /// The same with the public key.
    fn public(&self, operation: &str, input: &[u8], options: &[String]) -> Option<Vec<u8>> {
        self.write("in", input);
        let key = ["-keyform", "DER", "-pubin", "-inkey", "public.der"];
        let args = [&["pkeyutl", operation, "-in", "in"], &key[..]].concat();
        self.run(&with_options(&args, options))
    }

    /// Whether the public key verifies `signature` of `data`.
    fn verifies(&self, data: &[u8], signature: &[u8], options: &[String]) -> bool {
        self.write("sig", signature);
        self.write("in", data);
        let key = ["-keyform", "DER", "-pubin", "-inkey", "public.der"];
        let args = [&["pkeyutl", "-verify", "-in", "in", "-sigfile", "sig"], &key[..]].concat();
        self.run(&with_options(&args, options)).is_some()
    }
}

fn with_options<'a>(args: &[&'a str], options: &'a [String]) -> Vec<&'a str> {
    let options = options.iter().flat_map(|option| ["-pkeyopt", option]);
    args.iter().copied().chain(options).collect()
}

/// What the command calls a hash.
fn name(hash: Hash) -> String {
    // openssl writes sha256, and sha3-256
    hash.name().to_lowercase().replace("sha-", "sha")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn digests_and_hmacs_of_any_length() {
    let openssl = Openssl::new();
    for len in [0, 1, 55, 56, 64, 111, 112, 128, 1000] {
        let data = random::bytes(len).unwrap();
        openssl.write("data", &data);
        for hash in Hash::ALL {
            let flag = format!("-{}", name(hash));
            let digest = openssl.run(&["dgst", &flag, "-binary", "data"]).unwrap();
            assert_eq!(hash.digest(&[&data]), digest, "{hash:?} {len}");

            let key = random::bytes(len.clamp(1, 200)).unwrap();
            let option = format!("hexkey:{}", hex(&key));
            let args = ["dgst", &flag, "-mac", "HMAC", "-macopt", &option, "-binary", "data"];
            let mac = openssl.run(&args).unwrap();
            assert_eq!(hash.hmac(&key, &[&data]).expose(), mac, "{hash:?} {len}");
        }
    }
}

#[test]
fn pbkdf2() {
    let openssl = Openssl::new();
    for iterations in [1, 1000, 10_000] {
        let salt = random::bytes(32).unwrap();
        let (salt_option, iterations_option) = (format!("hexsalt:{}", hex(&salt)), format!("iter:{iterations}"));
        let args = ["kdf", "-keylen", "32", "-binary", "-kdfopt", "digest:SHA256"];
        let options = ["-kdfopt", "pass:1234", "-kdfopt", &salt_option];
        let rest = ["-kdfopt", &iterations_option, "PBKDF2"];
        let key = openssl.run(&[&args[..], &options, &rest].concat()).unwrap();
        assert_eq!(kdf::pbkdf2_sha256(b"1234", &salt, iterations).expose(), key);
    }
}

#[test]
fn rsa_public_key_info() {
    for bits in [1024, 1025, 2048] {
        let openssl = Openssl::with_key(&Pair::new(bits));
        let args = ["rsa", "-inform", "DER", "-in", "key.der", "-pubout", "-outform", "DER"];
        let spki = openssl.run(&args).unwrap();
        assert_eq!(std::fs::read(openssl.path("public.der")).unwrap(), spki);
    }
}

#[test]
fn v15_signatures() {
    let pair = Pair::new(1031);
    let openssl = Openssl::with_key(&pair);
    for hash in Hash::ALL {
        let digest = random::bytes(hash.len()).unwrap();
        let t = [hash.digest_info_prefix(), &digest].concat();
        let options = [format!("digest:{}", name(hash))];
        let theirs = openssl.private("-sign", &digest, &options).unwrap();
        assert!(pad::pkcs1_sign_check(&pair.public.raw(&theirs).unwrap(), &t));
        let ours = pair.raw_private(&pad::pkcs1_sign_block(&t, 129).unwrap());
        assert!(openssl.verifies(&digest, &ours, &options));
        assert!(!openssl.verifies(&t[..hash.len()], &ours, &options));
    }
    // Without a digest, T is whatever is given, of up to 64 bytes.
    for len in [1, 36, 64] {
        let t = random::bytes(len).unwrap();
        let ours = pair.raw_private(&pad::pkcs1_sign_block(&t, 129).unwrap());
        assert!(openssl.verifies(&t, &ours, &[]), "{len}");
    }
}

#[test]
fn pss_signatures() {
    // The encoded message of a 1025-bit key is a byte shorter than its modulus.
    for bits in [1025, 2048] {
        let pair = Pair::new(bits);
        let openssl = Openssl::with_key(&pair);
        let em_len = (bits - 1).div_ceil(8);
        for (hash, mgf) in Hash::ALL.into_iter().flat_map(|h| Hash::ALL.map(|m| (h, m))) {
            let digest = random::bytes(hash.len()).unwrap();
            for salt_len in [0, 20, em_len - hash.len() - 2] {
                let what = format!("{bits} {hash:?} {mgf:?} {salt_len}");
                let options = [
                    "rsa_padding_mode:pss".to_owned(),
                    format!("digest:{}", name(hash)),
                    format!("rsa_mgf1_md:{}", name(mgf)),
                    format!("rsa_pss_saltlen:{salt_len}"),
                ];
                let theirs = openssl.private("-sign", &digest, &options).unwrap();
                let block = pair.public.raw(&theirs).unwrap();
                let em = &block[block.len() - em_len..];
                let verified = pad::pss_verify(em, &digest, hash, mgf, salt_len, bits - 1);
                assert!(verified, "{what}");

                let salt = random::bytes(salt_len).unwrap();
                let em = pad::pss_encode(&digest, hash, mgf, &salt, bits - 1).unwrap();
                let ours = pair.raw_private(&em);
                assert!(openssl.verifies(&digest, &ours, &options), "{what}");
            }
        }
    }
}

#[test]
fn oaep_encryption() {
    let pair = Pair::new(2048);
    let openssl = Openssl::with_key(&pair);
    for (hash, mgf) in Hash::ALL.into_iter().flat_map(|h| Hash::ALL.map(|m| (h, m))) {
        let longest = 256 - 2 * hash.len() - 2;
        for (label, len) in [(&b""[..], 1), (b"label", longest), (b"label\0", 0)] {
            let what = format!("{hash:?} {mgf:?} {label:?} {len}");
            let mut options = vec![
                "rsa_padding_mode:oaep".to_owned(),
                format!("rsa_oaep_md:{}", name(hash)),
                format!("rsa_mgf1_md:{}", name(mgf)),
            ];
            if !label.is_empty() {
                options.push(format!("rsa_oaep_label:{}", hex(label)));
            }
            let message = random::bytes(len).unwrap();
            let ciphertext = openssl.public("-encrypt", &message, &options).unwrap();
            let em = Secret::new(pair.raw_private(&ciphertext));
            let decoded = pad::oaep_decode(&em, hash, mgf, label);
            assert_eq!(decoded.unwrap().expose(), message, "{what}");

            let em = pad::oaep_encode(&message, hash, mgf, label, 256).unwrap();
            let ciphertext = pair.public.raw(&em).unwrap();
            let decrypted = openssl.private("-decrypt", &ciphertext, &options);
            assert_eq!(decrypted.unwrap(), message, "{what}");
        }
    }
}

#[test]
fn v15_encryption() {
    let pair = Pair::new(1031);
    let openssl = Openssl::with_key(&pair);
    for len in [0, 1, 48, 118] {
        let message = random::bytes(len).unwrap();
        let ciphertext = openssl.public("-encrypt", &message, &[]).unwrap();
        let em = Secret::new(pair.raw_private(&ciphertext));
        let decoded = pad::pkcs1_decrypt_block(&em, &[1; 32], &ciphertext);
        assert_eq!(decoded.expose(), message);

        let em = pad::pkcs1_encrypt_block(&message, 129).unwrap();
        let ciphertext = pair.public.raw(em.expose()).unwrap();
        assert_eq!(openssl.private("-decrypt", &ciphertext, &[]).unwrap(), message);
    }
}

#[test]
fn ecdsa_over_data_of_any_length() {
    for (curve, group) in Curve::ALL.into_iter().zip(["secp224r1", "prime256v1", "secp384r1", "secp521r1"]) {
        let openssl = Openssl::new();
        let group = format!("ec_paramgen_curve:{group}");
        let args = ["genpkey", "-algorithm", "EC", "-outform", "DER", "-out", "key.der"];
        let options = ["-pkeyopt", &group, "-pkeyopt", "ec_param_enc:named_curve"];
        openssl.run(&[&args[..], &options].concat()).unwrap();
        let args = ["ec", "-inform", "DER", "-in", "key.der", "-pubout", "-outform", "DER"];
        let spki = openssl.run(&args).unwrap();
        let point = &spki[spki.len() - 1 - 2 * curve.field_len()..];
        let key = EcPublic::from_point(curve, point).unwrap();
        assert_eq!(key.spki(), spki);
        let compressed = openssl.run(&[&args[..], &["-conv_form", "compressed"]].concat()).unwrap();
        let point = &compressed[compressed.len() - 1 - curve.field_len()..];
        assert_eq!(EcPublic::from_point(curve, point).unwrap(), key);

        // The command signs up to 64 bytes.
        for len in [1, 15, 16, 20, 28, 31, 32, 33, 47, 48, 49, 64] {
            for data in [random::bytes(len).unwrap(), vec![0xff; len], vec![0; len]] {
                let what = format!("{curve:?} {data:02x?}");
                let der = openssl.private("-sign", &data, &[]).unwrap();
                let signature = fixed(curve, &der);
                assert!(key.verify(&data, &signature), "{what}");

                let mut other = data.clone();
                other[0] ^= 0x80;
                assert!(!key.verify(&other, &signature), "{what}");
                let mut changed = signature.clone();
                changed[curve.field_len() - 1] ^= 1;
                assert!(!key.verify(&data, &changed), "{what}");

                // The same number as the leftmost bits of something longer than the order.
                let spare = curve.field_len() * 8 - curve.order_bits() as usize;
                let number = BigUint::from_bytes_be(&data[..len.min(curve.field_len())]) << spare;
                let mut longer = common::left_pad(&number.to_bytes_be(), curve.field_len());
                for beyond in 0..3 {
                    assert!(key.verify(&longer, &signature), "{what} {beyond}");
                    longer.push(0xff);
                }
                let last = curve.field_len() - 1;
                longer[last] ^= ((1u16 << spare) - 1) as u8;
                assert!(key.verify(&longer, &signature), "{what}");
                longer[last] ^= 1 << spare;
                assert!(!key.verify(&longer, &signature), "{what}");
            }
        }
        // No data is the number zero.
        let der = openssl.private("-sign", &[0; 32], &[]).unwrap();
        assert!(key.verify(&[], &fixed(curve, &der)));
    }
}

/// r and s, each as long as the field, from the DER the command writes.
fn fixed(curve: Curve, der: &[u8]) -> Vec<u8> {
    match curve {
        Curve::P224 => p224::ecdsa::Signature::from_der(der).unwrap().to_vec(),
        Curve::P256 => p256::ecdsa::Signature::from_der(der).unwrap().to_vec(),
        Curve::P384 => p384::ecdsa::Signature::from_der(der).unwrap().to_vec(),
        Curve::P521 => p521::ecdsa::Signature::from_der(der).unwrap().to_vec(),
    }
}

#[test]
fn a_certificate_tells_its_public_key() {
    let openssl = Openssl::new();
    for key in [&["rsa:2048"][..], &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]] {
        let made =
            ["req", "-x509", "-nodes", "-keyout", "key.pem", "-subj", "/CN=reader", "-outform", "DER", "-newkey"];
        let der = openssl.run(&[&made[..], key].concat()).unwrap();
        let spki = openssl.run(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]).unwrap();
        assert_eq!(base::certificate::public_key_info(&der), Some(&spki[..]));
        for len in 0..der.len() {
            assert_eq!(base::certificate::public_key_info(&der[..len]), None, "cut at {len}");
        }
        assert_eq!(base::certificate::public_key_info(&[&der[..], &[0]].concat()), None);
    }
}
