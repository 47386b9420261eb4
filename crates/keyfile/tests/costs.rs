//! A file says what opening it costs: what it asks for as a whole is bounded, whatever it is cut into.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::process::Command;

use base::Secret;
use keyfile::{Error, read};

const PASSPHRASE: &[u8] = b"geheim";

fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &len, &content].concat()
}

fn content_info(kind: u8, content: &[u8]) -> Vec<u8> {
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, kind];
    der(0x30, &[&oid, &der(0xa0, &[content])])
}

/// What holds no key and is opened by so many rounds, by pbeWithSHAAnd3-KeyTripleDES-CBC.
fn encrypted(rounds: u32) -> Vec<u8> {
    let scheme = [6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x03];
    let parameters = der(0x30, &[&der(4, &[&[7; 8]]), &der(2, &[&[0], &rounds.to_be_bytes()])]);
    der(0x30, &[&der(0x30, &[&scheme, &parameters]), &der(4, &[&[1; 16]])])
}

/// A bag with an EncryptedPrivateKeyInfo.
fn shrouded(info: &[u8]) -> Vec<u8> {
    let bag = [6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02];
    content_info(1, &der(4, &[&der(0x30, &[&der(0x30, &[&bag, &der(0xa0, &[info])])])]))
}

/// A key that opens with [`PASSPHRASE`], by a thousand rounds.
fn honest() -> Vec<u8> {
    let line = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | \
                openssl pkcs8 -topk8 -iter 1000 -outform DER -passout pass:geheim";
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A PFX without a MAC, with each of these contents.
fn pfx(contents: &[Vec<u8>]) -> Secret {
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let safe = content_info(1, &der(4, &[&der(0x30, &contents)]));
    Secret::new(der(0x30, &[&[2, 1, 3], &safe]))
}

fn open(file: &Secret) -> Result<(), Error> {
    read(file, Some(&Secret::copy_from(PASSPHRASE))).map(|_| ())
}

#[test]
fn many_bags_cost_no_more_than_one_may() {
    let honest = shrouded(&honest());
    assert_eq!(open(&pfx(std::slice::from_ref(&honest))), Ok(()));
    // What holds no key is opened, and that is found.
    assert_eq!(open(&pfx(&[honest.clone(), shrouded(&encrypted(10))])), Err(Error::PassphraseWrong));
    // As many rounds as there may be, but for those of the first.
    let result = open(&pfx(&[honest, shrouded(&encrypted(9_999_900))]));
    assert!(matches!(&result, Err(Error::Unsupported(text)) if text.contains("long")), "{result:?}");
}
