//! The other opinion: OpenSSL's command line.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::world::{Run, World};

/// A directory in which `openssl` works with a public key.
pub struct OpenSsl {
    dir: TempDir,
}

impl OpenSsl {
    /// For a key given as SubjectPublicKeyInfo in DER.
    pub fn new(spki: &[u8]) -> OpenSsl {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key.der"), spki).unwrap();
        OpenSsl { dir }
    }

    /// `openssl dgst -verify`: the signature over the whole message.
    pub fn verifies(&self, hash: &str, options: &[&str], message: &[u8], signature: &[u8]) -> bool {
        let mut arguments = vec!["dgst", hash, "-verify", "key.der", "-keyform", "DER", "-signature", "signature"];
        for option in options {
            arguments.extend(["-sigopt", option]);
        }
        self.run(&[("signature", signature)], &arguments, message)
    }

    /// `openssl pkeyutl -verify`: the signature over what was given as it is.
    pub fn verifies_raw(&self, options: &[&str], input: &[u8], signature: &[u8]) -> bool {
        let mut arguments = vec![
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "key.der",
            "-keyform",
            "DER",
            "-sigfile",
            "signature",
            "-in",
            "input",
        ];
        for option in options {
            arguments.extend(["-pkeyopt", option]);
        }
        self.run(&[("signature", signature), ("input", input)], &arguments, b"")
    }

    /// `openssl pkeyutl -encrypt`.
    pub fn encrypts(&self, options: &[&str], plain: &[u8]) -> Vec<u8> {
        let mut arguments =
            vec!["pkeyutl", "-encrypt", "-pubin", "-inkey", "key.der", "-keyform", "DER", "-in", "input"];
        for option in options {
            arguments.extend(["-pkeyopt", option]);
        }
        std::fs::write(self.dir.path().join("input"), plain).unwrap();
        let output = openssl(self.dir.path(), &arguments, b"");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn run(&self, files: &[(&str, &[u8])], arguments: &[&str], stdin: &[u8]) -> bool {
        for (name, bytes) in files {
            std::fs::write(self.dir.path().join(name), bytes).unwrap();
        }
        let output = openssl(self.dir.path(), arguments, stdin);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let good = output.status.success()
            && (said.contains("Verified OK") || said.contains("Signature Verified Successfully"));
        let bad = said.contains("Verification failure") || said.contains("Signature Verification Failure");
        assert!(good || bad, "openssl {arguments:?}: {said}");
        good
    }
}

/// Runs `openssl` in a directory, with no configuration but its own defaults.
pub fn openssl(dir: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .env("OPENSSL_CONF", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = input.write_all(&stdin);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The signature of a certification request is good, says the OpenSSL of this machine: in words, for its exit status is 0 for a
/// forged one too.
#[track_caller]
pub fn assert_request_verifies(world: &World, file: &str) {
    let mut command = world.command("openssl");
    let run = Run::of(command.args(["req", "-in", file, "-verify", "-noout"]).env("OPENSSL_CONF", "/dev/null"));
    assert!(run.success() && run.all().contains("verify OK"), "{file}: {run:?}");
}

/// The DER form of an ECDSA signature that is r and s of equal lengths, as PKCS#11 has it.
pub fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut value = number[zeros..].to_vec();
        if value.first().is_none_or(|byte| *byte >= 0x80) {
            value.insert(0, 0);
        }
        tlv(2, &value)
    };
    tlv(0x30, &[integer(r), integer(s)].concat())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = value.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend(value);
    out
}
