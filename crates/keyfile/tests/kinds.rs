//! What people really have: keys under other OBJECT IDENTIFIERS, wrongly labelled blocks, files that editors and shells went over,
//! chains, and the envelopes of today's programs. The content decides.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use base::Secret;
use base::digest::Hash;
use keyfile::{Error, Key, KeyFile, PublicKey, Restriction, pem, read, read_certificates, read_public};
use tempfile::TempDir;

const PASSPHRASE: &str = "geheim";

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, line: &str) {
        let output = Command::new("sh").args(["-c", line]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// What openssl says the public key of a file is.
    fn expected(&self, name: &str) -> PublicKey {
        self.run(&format!("openssl pkey -in {name} -pubout -outform DER -out expected.der"));
        PublicKey::from_spki(&self.bytes("expected.der")).unwrap()
    }
}

fn opened(bytes: &[u8], name: &str) -> KeyFile {
    let file = Secret::copy_from(bytes);
    let passphrase = Secret::copy_from(PASSPHRASE.as_bytes());
    match read(&file, None) {
        Err(Error::PassphraseNeeded) => {
            let wrong = read(&file, Some(&Secret::copy_from(b"falsch"))).map(|_| ());
            assert_eq!(wrong, Err(Error::PassphraseWrong), "{name}");
            read(&file, Some(&passphrase))
        }
        result => result,
    }
    .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn public(file: &KeyFile) -> PublicKey {
    match &file.key {
        Some(Key::Private(key)) => PublicKey::of(key),
        other => panic!("{other:?}"),
    }
}

fn key(bytes: &[u8], name: &str) -> PublicKey {
    public(&opened(bytes, name))
}

fn failure(bytes: &[u8]) -> String {
    read(&Secret::copy_from(bytes), None).map(|_| ()).unwrap_err().to_string()
}

/// With one run of bytes in the place of another, and the lengths of the SEQUENCEs around it made anew.
fn with_algorithm(pkcs8: &[u8], algorithm: &[u8]) -> Vec<u8> {
    let elements = |der: &[u8]| {
        let (mut found, mut rest) = (Vec::new(), der);
        while !rest.is_empty() {
            let (header, len) = match rest[1] {
                short @ ..=0x7f => (2, usize::from(short)),
                0x81 => (3, usize::from(rest[2])),
                _ => (4, usize::from(rest[2]) << 8 | usize::from(rest[3])),
            };
            found.push((rest[..header + len].to_vec(), rest[header..header + len].to_vec()));
            rest = &rest[header + len..];
        }
        found
    };
    let info = elements(&elements(pkcs8)[0].1);
    base::der::sequence(&[&info[0].0, algorithm, &info[2].0])
}

#[test]
fn rsa_keys_of_other_algorithms() {
    let files = Files::new();
    for (options, hash) in [
        ("", None),
        ("-pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256", Some(Hash::Sha256)),
        ("-pkeyopt rsa_pss_keygen_md:sha1", Some(Hash::Sha1)),
        (
            "-pkeyopt rsa_pss_keygen_md:sha512 -pkeyopt rsa_pss_keygen_mgf1_md:sha512 -pkeyopt rsa_pss_keygen_saltlen:64",
            Some(Hash::Sha512),
        ),
    ] {
        files.run(&format!("openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 {options} -out key.pem"));
        files.run("openssl pkcs8 -topk8 -in key.pem -passout pass:geheim -out locked.pem");
        files.run("openssl req -x509 -key key.pem -subj /CN=pss -days 9 -out cert.pem");
        files.run("openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:geheim -out key.p12");
        let expected = files.expected("key.pem");
        for name in ["key.pem", "locked.pem", "key.p12"] {
            let file = opened(&files.bytes(name), name);
            assert_eq!(public(&file), expected, "{options} {name}");
            assert_eq!(file.restriction, Some(Restriction::Pss(hash)), "{options} {name}");
        }
        let certificates = read_certificates(&files.bytes("cert.pem")).unwrap();
        assert!(certificates[0].is_of(&expected), "{options}");
        assert_eq!(read_public(&Secret::new(files.bytes("cert.pem"))).unwrap(), expected, "{options}");
    }
    files
        .run("openssl genrsa -out rsa.pem 2048 && openssl pkcs8 -topk8 -nocrypt -in rsa.pem -outform DER -out rsa.der");
    let rsa = files.bytes("rsa.der");
    let oaep = base::der::sequence(&[&base::der::oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 7])]);
    let file = opened(&with_algorithm(&rsa, &oaep), "id-RSAES-OAEP");
    assert_eq!((public(&file), file.restriction), (files.expected("rsa.pem"), Some(Restriction::Oaep)));
    assert_eq!(opened(&rsa, "rsa").restriction, None);
}

#[test]
fn keys_for_agreement_only() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ec.pem");
    files.run("openssl pkcs8 -topk8 -nocrypt -in ec.pem -outform DER -out ec.der");
    let p_384 = base::der::oid(&[0x2b, 0x81, 0x04, 0x00, 0x22]);
    let ecdh = base::der::sequence(&[&base::der::oid(&[0x2b, 0x81, 0x04, 0x01, 0x0c]), &p_384]);
    let file = opened(&with_algorithm(&files.bytes("ec.der"), &ecdh), "id-ecDH");
    assert_eq!((public(&file), file.restriction), (files.expected("ec.pem"), Some(Restriction::KeyAgreement)));
}

#[test]
fn keys_that_no_tpm_takes_are_named() {
    let files = Files::new();
    for (how, name) in [
        ("genpkey -algorithm ED25519", "Ed25519"),
        ("genpkey -algorithm ED448", "Ed448"),
        ("genpkey -algorithm X25519", "X25519"),
        ("genpkey -algorithm X448", "X448"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "brainpoolP256r1"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP384t1", "brainpoolP384t1"),
        ("ecparam -genkey -noout -name brainpoolP512r1", "brainpoolP512r1"),
        ("ecparam -genkey -noout -name prime192v1", "P-192"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:SM2", "SM2"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3", "more than two primes"),
        ("dsaparam -genkey -noout -out key.pem 2048 && true", "DSA"),
    ] {
        files.run(&format!(
            "openssl {how} -out key.pem && (openssl pkey -in key.pem -traditional -out old.pem || cp key.pem old.pem)"
        ));
        for file in ["key.pem", "old.pem"] {
            let text = failure(&files.bytes(file));
            assert!(text.contains(name) && text.contains("; a TPM has RSA"), "{how} {file}: {text}");
        }
        if name != "more than two primes" {
            files.run("openssl pkey -in key.pem -pubout -out public.pem");
            let text = read_public(&Secret::new(files.bytes("public.pem"))).unwrap_err().to_string();
            assert!(text.contains(name), "{how}: {text}");
        }
    }
    files.run("ssh-keygen -q -t ed25519 -N '' -f ssh");
    assert!(failure(&files.bytes("ssh")).contains("ssh-ed25519; a TPM has RSA"));
}

#[test]
fn the_content_decides_and_not_the_label() {
    let files = Files::new();
    files.run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    files.run(
        "openssl ec -in key.pem -out sec1.pem && openssl pkcs8 -topk8 -in key.pem -passout pass:geheim -out locked.pem",
    );
    files.run("cp sec1.pem ssh.pem && ssh-keygen -q -p -N '' -f ssh.pem && ssh-keygen -y -f ssh.pem > ssh.pub");
    files.run("openssl req -x509 -key key.pem -subj /CN=x -days 9 -out cert.pem && openssl x509 -in cert.pem -trustout -out trusted.pem");
    let expected = files.expected("key.pem");
    let labels =
        ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "ANY"];
    for file in ["key.pem", "sec1.pem", "locked.pem", "ssh.pem"] {
        for block in pem::blocks(&files.bytes(file)).unwrap() {
            for label in labels {
                let text = pem::encode(label, block.content.expose());
                assert_eq!(key(text.as_bytes(), file), expected, "{file} as {label}");
            }
        }
    }
    for file in ["cert.pem", "trusted.pem"] {
        let content = pem::blocks(&files.bytes(file)).unwrap().remove(0).content;
        for label in ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "X.509 CERTIFICATE", "PUBLIC KEY"] {
            let text = pem::encode(label, content.expose());
            assert!(read_certificates(text.as_bytes()).unwrap()[0].is_of(&expected), "{file} as {label}");
            assert_eq!(read_public(&Secret::new(text.into_bytes())).unwrap(), expected, "{file} as {label}");
        }
    }
    files.run(
        "openssl pkey -in key.pem -pubout -out public.pem && openssl req -new -key key.pem -subj /CN=x -out x.csr",
    );
    let public = pem::blocks(&files.bytes("public.pem")).unwrap().remove(0).content;
    let text = pem::encode("RSA PUBLIC KEY", public.expose());
    assert_eq!(read_public(&Secret::new(text.into_bytes())).unwrap(), expected);
    assert!(failure(&files.bytes("x.csr")).contains("a request for a certificate"));
    assert_eq!(read_certificates(&files.bytes("x.csr")), Err(Error::NoCertificate));
    let damaged = pem::encode("CERTIFICATE", &public.expose()[1..]);
    assert!(matches!(read_certificates(damaged.as_bytes()), Err(Error::Malformed(_))));
}

#[test]
fn what_editors_and_shells_do() {
    let files = Files::new();
    files.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=x -days 9 -out cert.pem");
    files.run(
        "openssl pkey -in key.pem -outform DER -out key.der && openssl x509 -in cert.pem -outform DER -out cert.der",
    );
    files.run("openssl pkey -in key.pem -pubout -out public.pem && openssl pkey -in key.pem -pubout -outform DER -out public.der");
    let expected = files.expected("key.pem");
    let utf_16 = |text: &str, unit: fn(u16) -> [u8; 2]| {
        format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    type Change<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    let changes: [(&str, Change); 9] = [
        ("a byte order mark", &|text| format!("\u{feff}{text}").into_bytes()),
        ("UTF-16, little", &|text| utf_16(text, u16::to_le_bytes)),
        ("UTF-16, big", &|text| utf_16(text, u16::to_be_bytes)),
        ("CR LF", &|text| text.replace('\n', "\r\n").into_bytes()),
        ("CR", &|text| text.replace('\n', "\r").into_bytes()),
        ("one line", &|text| text.replace('\n', " ").into_bytes()),
        ("of a JSON file", &|text| text.replace('\n', "\\n").into_bytes()),
        ("indented", &|text| text.lines().map(|line| format!("    {line}\n")).collect::<String>().into_bytes()),
        ("remarks in Latin-1", &|text| [b"friendlyName: M\xfcller\n", text.as_bytes()].concat()),
    ];
    for (name, change) in changes {
        assert_eq!(key(&change(&files.text("key.pem")), name), expected, "{name}");
        assert!(read_certificates(&change(&files.text("cert.pem"))).unwrap()[0].is_of(&expected), "{name}");
        assert_eq!(read_public(&Secret::new(change(&files.text("public.pem")))).unwrap(), expected, "{name}");
    }
    for end in ["\n", "\r\n", " \n\n"] {
        let with = |name| [&files.bytes(name)[..], end.as_bytes()].concat();
        assert_eq!(key(&with("key.der"), "key.der"), expected, "{end:?}");
        assert_eq!(read_certificates(&with("cert.der")).unwrap()[0].der, files.bytes("cert.der"), "{end:?}");
        assert_eq!(read_public(&Secret::new(with("public.der"))).unwrap(), expected, "{end:?}");
    }
}

#[test]
fn chains() {
    let files = Files::new();
    files.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=ca -days 9 -out ca.pem");
    files.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=leaf -days 9 -out leaf.pem");
    files.run("openssl crl2pkcs7 -nocrl -certfile leaf.pem -certfile ca.pem -out chain.p7b");
    files.run("openssl crl2pkcs7 -nocrl -certfile leaf.pem -certfile ca.pem -outform DER -out chain.p7c");
    files.run("openssl pkcs12 -export -nokeys -in leaf.pem -certfile ca.pem -keypbe NONE -certpbe NONE -nomac -passout pass: -out open.p12");
    files.run("openssl pkcs12 -export -nokeys -in leaf.pem -passout pass:geheim -out locked.p12");
    files.run("cat leaf.pem ca.pem > chain.pem; cat key.pem chain.p7b > all.pem");
    let bag_attributes = "Bag Attributes\n    friendlyName: x\nsubject=CN = leaf\n".to_owned();
    std::fs::write(files.path("bags.pem"), bag_attributes + &files.text("chain.pem")).unwrap();
    for name in ["chain.p7b", "chain.p7c", "open.p12", "chain.pem", "bags.pem"] {
        let found = read_certificates(&files.bytes(name)).unwrap();
        let names: Vec<_> = found.iter().map(|found| found.common_name().unwrap()).collect();
        assert_eq!(names, ["leaf", "ca"], "{name}");
        assert!(failure(&files.bytes(name)).contains("certificates, and no private key"), "{name}");
    }
    assert_eq!(read_certificates(&files.bytes("locked.p12")), Err(Error::PassphraseNeeded));
    let all = opened(&files.bytes("all.pem"), "all.pem");
    assert_eq!((public(&all), all.certificates.len()), (files.expected("key.pem"), 2));
}

/// What a certificate says is compared by its value; what it holds besides is nobody's business here.
#[test]
fn unusual_certificates() {
    let files = Files::new();
    files.run("openssl ecparam -genkey -noout -name prime256v1 -conv_form compressed -out key.pem");
    files.run("openssl ec -in key.pem -conv_form compressed -out compressed.pem");
    files.run("openssl req -x509 -key compressed.pem -subj /CN=x -days 9 -set_serial 0x7f0102030405060708090a0b0c0d0e0f101112131415161718191a1b -out cert.pem");
    let certificate = read_certificates(&files.bytes("cert.pem")).unwrap().remove(0);
    assert!(certificate.public_key.len() < 70, "the point is not compressed");
    assert!(certificate.is_of(&files.expected("key.pem")));
    assert_eq!(certificate.serial.len(), 2 + 28);
}

#[test]
fn curves_that_are_spelled_out() {
    let files = Files::new();
    for curve in ["secp224r1", "prime256v1", "secp384r1", "secp521r1"] {
        for form in ["uncompressed", "compressed"] {
            files.run(&format!("openssl ecparam -name {curve} -genkey -noout -out named.pem"));
            files.run(&format!("openssl ec -in named.pem -param_enc explicit -conv_form {form} -out sec1.pem"));
            files.run("openssl pkcs8 -topk8 -nocrypt -in sec1.pem -out pkcs8.pem");
            let expected = files.expected("named.pem");
            for name in ["sec1.pem", "pkcs8.pem"] {
                assert_eq!(key(&files.bytes(name), name), expected, "{curve} {form} {name}");
            }
        }
    }
    files.run("openssl ecparam -name secp256k1 -genkey -noout -param_enc explicit -out other.pem");
    assert!(failure(&files.bytes("other.pem")).contains("spells a curve out"));
}

#[test]
fn every_cipher_of_ssh_keygen() {
    let files = Files::new();
    let ciphers = Command::new("ssh").args(["-Q", "cipher"]).output().unwrap();
    let ciphers = String::from_utf8(ciphers.stdout).unwrap();
    let wanted = ["3des-cbc", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];
    assert!(wanted.iter().all(|wanted| ciphers.lines().any(|cipher| cipher == *wanted)), "{ciphers}");
    files.run("ssh-keygen -q -t ecdsa -N '' -C me@here -f plain && ssh-keygen -q -t rsa -b 2048 -N '' -f rsa");
    for cipher in ciphers.lines().filter(|cipher| !cipher.starts_with("rijndael")) {
        for from in ["plain", "rsa"] {
            files.run(&format!("cp {from} locked && ssh-keygen -q -p -P '' -N geheim -a 2 -Z {cipher} -f locked"));
            let expected = read_public(&Secret::new(files.bytes(&format!("{from}.pub")))).unwrap();
            assert_eq!(key(&files.bytes("locked"), cipher), expected, "{cipher} {from}");
        }
    }
}

#[test]
fn envelopes_of_todays_programs() {
    let made = |name: &str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/made").join(name)).unwrap();
    let expected = read_public(&Secret::new(made("public.pem"))).unwrap();
    for name in [
        "bouncycastle-aes128-gcm.der",
        "bouncycastle-aes256-gcm.der",
        "openssl-pbmac1-sha256.p12",
        "openssl-pbmac1-sha512.p12",
    ] {
        let bytes = made(name);
        assert_eq!(key(&bytes, name), expected, "{name}");
        for len in (0..bytes.len()).step_by(7) {
            let _ = read(&Secret::copy_from(&bytes[..len]), Some(&Secret::copy_from(PASSPHRASE.as_bytes())));
        }
    }
}

#[test]
fn public_keys_of_other_programs_for_ssh() {
    let files = Files::new();
    for options in ["-t rsa -b 2048", "-t ecdsa -b 384"] {
        files.run(&format!("rm -f key*; ssh-keygen -q {options} -N '' -C 'a remark that is rather long, so that its header goes on and on, to another line' -f key"));
        files.run("ssh-keygen -e -m RFC4716 -f key.pub > key.rfc4716");
        let expected = read_public(&Secret::new(files.bytes("key.pub"))).unwrap();
        assert_eq!(read_public(&Secret::new(files.bytes("key.rfc4716"))).unwrap(), expected);
        assert!(failure(&files.bytes("key.rfc4716")).contains("an SSH public key"));
    }
}

#[test]
fn files_of_other_makes_are_named() {
    for (start, what) in [
        (&b"PuTTY-User-Key-File-3: ssh-rsa\r\n"[..], "puttygen"),
        (b"\xfe\xed\xfe\xed\0\0\0\x02", "keytool"),
        (b"\xce\xce\xce\xce\0\0\0\x02", "keytool"),
        (b"SQLite format 3\0", "pk12util"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n", "gpgsm"),
    ] {
        let text = failure(start);
        assert!(text.contains(what) && text.contains("; "), "{text}");
    }
}
