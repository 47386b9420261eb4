//! Files as openssl and ssh-keygen write them: each gives the key that it was made from, and none, however it is cut or bent,
//! anything but an error.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::PathBuf;
use std::process::Command;

use base::Secret;
use base::private::PrivateKey;
use keyfile::{Certificate, Error, Key, PublicKey, read, read_certificates, read_public};
use tempfile::TempDir;

const PASSPHRASE: &str = "geheim";

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Files {
        Files { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, line: &str) {
        let output = Command::new("sh").args(["-c", line]).current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn bytes(&self, name: &str) -> Secret {
        Secret::new(std::fs::read(self.path(name)).unwrap())
    }

    /// The key of a file, opened with the passphrase only if it asks for it.
    fn key(&self, name: &str) -> PublicKey {
        let file = self.bytes(name);
        let read = match read(&file, None) {
            Err(Error::PassphraseNeeded) => {
                let wrong = read(&file, Some(&Secret::copy_from(b"falsch"))).map(|_| ());
                assert_eq!(wrong, Err(Error::PassphraseWrong), "{name}");
                read(&file, Some(&Secret::copy_from(PASSPHRASE.as_bytes())))
            }
            result => result,
        };
        match read.unwrap_or_else(|error| panic!("{name}: {error}")).key {
            Some(Key::Private(key)) => PublicKey::of(&key),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// What openssl says the public key of `key.pem` is.
    fn expected(&self) -> PublicKey {
        self.run("openssl pkey -in key.pem -pubout -outform DER -out expected.der");
        PublicKey::from_spki(self.bytes("expected.der").expose()).unwrap()
    }
}

/// `key.pem` of every algorithm that a TPM has.
fn each_algorithm(check: impl Fn(&Files, &str)) {
    for algorithm in [
        "RSA -pkeyopt rsa_keygen_bits:2048",
        "EC -pkeyopt ec_paramgen_curve:P-224",
        "EC -pkeyopt ec_paramgen_curve:P-256",
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "EC -pkeyopt ec_paramgen_curve:P-521",
    ] {
        let files = Files::new();
        files.run(&format!("openssl genpkey -algorithm {algorithm} -out key.pem"));
        check(&files, algorithm);
    }
}

#[test]
fn pem_and_der_of_openssl() {
    each_algorithm(|files, algorithm| {
        let kind = if algorithm.starts_with("RSA") { "rsa" } else { "ec" };
        for line in [
            "openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out a.der",
            &format!("openssl {kind} -in key.pem -out b.pem"),
            &format!("openssl {kind} -in key.pem -outform DER -out c.der"),
            "openssl pkey -in key.pem -traditional -out d.pem",
            "openssl pkcs8 -topk8 -in key.pem -passout pass:geheim -out e.pem",
            "openssl pkcs8 -topk8 -in key.pem -v2 aes-128-cbc -v2prf hmacWithSHA1 -passout pass:geheim -outform DER -out f.der",
            "openssl pkcs8 -topk8 -in key.pem -v2 des3 -passout pass:geheim -out g.pem",
            "openssl pkcs8 -topk8 -in key.pem -scrypt -passout pass:geheim -out h.pem",
            "openssl pkcs8 -topk8 -in key.pem -v1 PBE-SHA1-3DES -passout pass:geheim -out i.pem",
            "openssl pkey -in key.pem -traditional -aes-256-cbc -passout pass:geheim -out j.pem",
            "openssl pkey -in key.pem -traditional -des3 -passout pass:geheim -out k.pem",
        ] {
            files.run(line);
        }
        let expected = files.expected();
        for name in [
            "key.pem", "a.der", "b.pem", "c.der", "d.pem", "e.pem", "f.der", "g.pem", "h.pem", "i.pem", "j.pem",
            "k.pem",
        ] {
            assert_eq!(files.key(name), expected, "{algorithm}: {name}");
        }
    });
}

#[test]
fn openssh() {
    for options in ["-t rsa -b 2048", "-t ecdsa -b 256", "-t ecdsa -b 384", "-t ecdsa -b 521"] {
        let files = Files::new();
        files.run(&format!("ssh-keygen -q {options} -N '' -C 'me@here' -f plain"));
        files.run("cp plain locked && ssh-keygen -q -p -P '' -N geheim -a 4 -f locked");
        files.run("ssh-keygen -e -m PKCS8 -f plain.pub > expected.pem");
        let expected = read_public(&files.bytes("expected.pem")).unwrap();
        assert_eq!(files.key("plain"), expected);
        assert_eq!(files.key("locked"), expected);
        assert_eq!(read(&files.bytes("plain"), None).unwrap().name.as_deref(), Some("me@here"));
        let line = std::fs::read_to_string(files.path("plain.pub")).unwrap();
        assert_eq!(expected.to_openssh("me@here"), line.trim());
        assert_eq!(read_public(&files.bytes("plain.pub")).unwrap(), expected);
        assert_eq!(
            read(&files.bytes("plain.pub"), None).map(|_| ()),
            Err(Error::NoPrivateKey("an OpenSSH public key"))
        );
    }
    let files = Files::new();
    files.run("ssh-keygen -q -t ed25519 -N '' -f other");
    let error = read(&files.bytes("other"), None).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("ssh-ed25519"), "{error}");
}

#[test]
fn pkcs12() {
    each_algorithm(|files, algorithm| {
        files.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=ca -days 9 -out ca.pem");
        files.run("openssl req -new -key key.pem -subj '/O=Häuser/CN=leaf' -utf8 -out leaf.csr");
        files.run("openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -out leaf.pem");
        let expected = files.expected();
        for options in [
            "",
            "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
            "-keypbe NONE -certpbe NONE",
            "-keypbe AES-128-CBC -certpbe NONE -nomac",
            "-provider default -provider legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-RC2-40",
        ] {
            files.run(&format!(
                "openssl pkcs12 -export {options} -inkey key.pem -in leaf.pem -certfile ca.pem -name Schlüssel -passout pass:geheim -out a.p12"
            ));
            assert_eq!(files.key("a.p12"), expected, "{algorithm}: {options}");
            let file = read(&files.bytes("a.p12"), Some(&Secret::copy_from(PASSPHRASE.as_bytes()))).unwrap();
            assert_eq!(file.name.as_deref(), Some("Schlüssel"), "{options}");
            let names: Vec<_> = file.certificates.iter().map(|found| found.common_name().unwrap()).collect();
            assert_eq!(names, ["leaf", "ca"], "{options}");
            let leaf = read_certificates(files.bytes("leaf.pem").expose()).unwrap();
            assert_eq!(file.certificates[0], leaf[0]);
            assert!(leaf[0].is_of(&expected) && !file.certificates[1].is_of(&expected));
            assert_eq!(file.certificates[0].issuer, file.certificates[1].subject);
        }
    });
}

#[test]
fn a_key_with_its_certificates_in_one_file() {
    let files = Files::new();
    files.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=me -days 9 -out me.pem");
    files.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout other.pem -subj /CN=other -days 9 -out other.crt");
    files.run("cat other.crt me.pem key.pem > all.pem; openssl x509 -in me.pem -outform DER -out me.der");
    let file = read(&files.bytes("all.pem"), None).unwrap();
    assert_eq!(file.certificates.iter().filter_map(Certificate::common_name).collect::<Vec<_>>(), ["me", "other"]);
    assert_eq!(read(&files.bytes("me.pem"), None).map(|_| ()), Err(Error::NoPrivateKey("a certificate")));
    assert_eq!(read(&files.bytes("me.der"), None).map(|_| ()), Err(Error::NoPrivateKey("a certificate")));
    assert_eq!(read_public(&files.bytes("me.pem")).unwrap(), files.key("key.pem"));
    assert_eq!(read_public(&files.bytes("key.pem")).unwrap(), files.key("key.pem"));
    assert_eq!(read_certificates(files.bytes("me.der").expose()).unwrap().len(), 1);
    files.run("cat key.pem other.pem > two.pem");
    assert!(
        matches!(read(&files.bytes("two.pem"), None), Err(Error::Unsupported(text)) if text.contains("several keys"))
    );
}

#[test]
fn public_keys() {
    each_algorithm(|files, algorithm| {
        let expected = files.expected();
        files.run("openssl pkey -in key.pem -pubout -out public.pem");
        assert_eq!(read_public(&files.bytes("public.pem")).unwrap(), expected, "{algorithm}");
        assert_eq!(read_public(&files.bytes("expected.der")).unwrap(), expected, "{algorithm}");
        assert_eq!(expected.to_pem(), std::fs::read_to_string(files.path("public.pem")).unwrap());
        assert_eq!(read(&files.bytes("public.pem"), None).map(|_| ()), Err(Error::NoPrivateKey("a public key")));
        assert_eq!(read(&files.bytes("expected.der"), None).map(|_| ()), Err(Error::NoPrivateKey("a public key")));
    });
}

#[test]
fn what_is_left_out_says_so() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm ED25519 -out a.pem; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out b.pem");
    files.run("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3 -out c.pem");
    files.run("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out d.pem");
    files.run("openssl pkcs8 -topk8 -in d.pem -provider default -provider legacy -v1 PBE-MD5-DES -passout pass:geheim -out e.pem");
    for name in ["a.pem", "b.pem", "c.pem"] {
        assert!(matches!(read(&files.bytes(name), None), Err(Error::Unsupported(_))), "{name}");
    }
    let error = read(&files.bytes("e.pem"), Some(&Secret::copy_from(b"geheim"))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("aes-256-cbc"), "{error}");
    for other in [&b""[..], b"hello", b"\x30\x00", &[0x30, 0x03, 0x02, 0x01, 0x07]] {
        assert_eq!(read(&Secret::copy_from(other), None).map(|_| ()), Err(Error::Unknown));
    }
    let none: [&[u8]; 2] =
        [b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----"];
    for broken in none {
        assert!(matches!(read(&Secret::copy_from(broken), None), Err(Error::Malformed(_))));
    }
}

#[test]
fn an_honest_looking_file_cannot_ask_for_a_year() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    files.run("openssl pkcs8 -topk8 -in key.pem -iter 65536 -passout pass:geheim -outform DER -out a.der");
    let file = files.bytes("a.der").expose().to_vec();
    let rounds = file.windows(5).position(|window| window == [2, 3, 1, 0, 0]).unwrap();
    let mut huge = file[..rounds].to_vec();
    huge.extend([2, 4, 0x7f, 0xff, 0xff, 0xff]);
    huge.extend(&file[rounds + 5..]);
    // The four lengths around the number grow by one.
    let grow: Vec<usize> = (0..rounds).filter(|at| grows(&file, *at, rounds)).collect();
    for at in grow {
        huge[at] += 1;
    }
    let result = read(&Secret::new(huge), Some(&Secret::copy_from(b"geheim"))).map(|_| ());
    assert!(matches!(&result, Err(Error::Unsupported(text)) if text.contains("long")), "{result:?}");
}

#[test]
fn a_cipher_without_its_initialisation_vector_is_an_error() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    for (cipher, len) in [("des3", 8), ("aes-128-cbc", 16)] {
        files.run(&format!(
            "openssl pkcs8 -topk8 -in key.pem -v2 {cipher} -passout pass:geheim -outform DER -out a.der"
        ));
        let mut file = files.bytes("a.der").expose().to_vec();
        // The last OCTET STRING of its length before the ciphertext is moved out of the way by an unknown tag.
        let iv = file.windows(2).rposition(|window| window == [4, len]).unwrap();
        for (tag, rest) in [(4, 0), (4, 7)] {
            let mut bent = file.clone();
            // As long as before: the vector is cut, and what is left of it becomes an element of its own.
            bent[iv..iv + 2].copy_from_slice(&[tag, rest]);
            let after = iv + 2 + usize::from(rest);
            let left = usize::from(len) - usize::from(rest);
            if left >= 2 {
                bent[after..after + 2].copy_from_slice(&[5, left as u8 - 2]);
            }
            let result = read(&Secret::new(bent), Some(&Secret::copy_from(b"geheim"))).map(|_| ());
            assert!(matches!(result, Err(Error::Malformed(_))), "{cipher} {rest}: {result:?}");
        }
        file.truncate(iv);
        assert!(read(&Secret::new(file), Some(&Secret::copy_from(b"geheim"))).is_err());
    }
}

#[test]
fn a_cost_of_scrypt_that_is_none_is_an_error() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    files.run(
        "openssl pkcs8 -topk8 -in key.pem -scrypt -scrypt_N 2 -scrypt_r 1 -scrypt_p 1 -passout pass:geheim -outform DER -out a.der",
    );
    let file = files.bytes("a.der").expose().to_vec();
    let passphrase = Secret::copy_from(PASSPHRASE.as_bytes());
    read(&Secret::copy_from(&file), Some(&passphrase)).unwrap();
    // Cost, block size, parallelization.
    let numbers = file.windows(9).position(|window| window == [2, 1, 2, 2, 1, 1, 2, 1, 1]).unwrap();
    for (offset, wrong) in [(2, 0), (2, 3), (5, 0), (8, 0)] {
        let mut bent = file.clone();
        bent[numbers + offset] = wrong;
        let result = read(&Secret::new(bent), Some(&passphrase)).map(|_| ());
        assert!(matches!(result, Err(Error::Malformed(_) | Error::PassphraseWrong)), "{offset} {wrong}: {result:?}");
    }
}

/// Is there, at this place, the last byte of the length of a constructed element around `inner`?
fn grows(der: &[u8], at: usize, inner: usize) -> bool {
    let mut position = 0;
    while position < inner {
        let long = der[position + 1] & 0x80 != 0;
        let digits = if long { usize::from(der[position + 1] & 0x7f) } else { 0 };
        let last = position + 1 + digits;
        let len = if long {
            der[position + 2..=last].iter().fold(0, |len, digit| len << 8 | usize::from(*digit))
        } else {
            usize::from(der[position + 1])
        };
        let end = last + 1 + len;
        if end <= inner {
            position = end;
        } else {
            if last == at {
                return true;
            }
            position = last + 1;
        }
    }
    false
}

#[test]
fn bent_files_are_errors_and_nothing_worse() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    files.run("openssl req -x509 -key key.pem -subj /CN=me -days 9 -out me.pem; openssl pkey -in key.pem -outform DER -out sec1.der");
    files.run("openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out pkcs8.der");
    files.run(
        "openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey key.pem -in me.pem -passout pass: -out a.p12",
    );
    files.run("openssl pkcs12 -export -iter 1 -inkey key.pem -in me.pem -passout pass:geheim -out b.p12");
    files.run("ssh-keygen -q -t ecdsa -N '' -f ssh; openssl x509 -in me.pem -outform DER -out me.der");
    let passphrase = Secret::copy_from(PASSPHRASE.as_bytes());
    for name in ["key.pem", "sec1.der", "pkcs8.der", "a.p12", "b.p12", "ssh", "me.pem", "me.der"] {
        let whole = files.bytes(name);
        for len in (0..whole.len()).step_by(1 + whole.len() / 400) {
            try_all(&whole.expose()[..len], &passphrase);
        }
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..400 {
            let mut bent = whole.expose().to_vec();
            for _ in 0..2 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % bent.len();
                bent[at] = (random >> 32) as u8;
            }
            try_all(&bent, &passphrase);
        }
    }
}

/// Whatever comes out of it, it comes out.
fn try_all(bytes: &[u8], passphrase: &Secret) {
    let file = Secret::copy_from(bytes);
    let key = read(&file, Some(passphrase)).ok().and_then(|file| file.key);
    if let Some(Key::Private(PrivateKey::Ec { public, .. })) = &key {
        assert!(!public.point().is_empty());
    }
    let _ = read_public(&file);
    let _ = read_certificates(bytes);
}
