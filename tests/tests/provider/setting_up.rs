//! The way there: instructions, snippets, PINs, and what has nothing to do with the token.

use std::path::Path;

use tests::openssl::assert_request_verifies;
use tests::product;
use tests::world::World;

use crate::desk::{Desk, LETTER, PIN, private};

/// The lines of the instructions, one after the other, on a machine where nothing was before.
#[test]
fn the_instructions_work_as_they_stand() {
    let Some(desk) = Desk::of(World::empty, "userpin") else { return };
    let path = format!("--path={}", desk.world.store().display());
    desk.world.ptool_ok(&["init", &path]);
    desk.world.ptool_ok(&["addtoken", "--pid=1", "--sopin=adminpin", "--userpin=userpin", "--label=server-tpm", &path]);
    let key = ["--key-label=webserver-key", "--algorithm=rsa2048"];
    desk.world.ptool_ok(&["addkey", "--label=server-tpm", "--userpin=userpin", key[0], key[1], &path]);
    let listed = desk.tool(&["--token-label", "server-tpm", "--login", "--pin", "userpin", "--list-objects"]).text();
    assert!(listed.contains("Private Key Object; RSA"), "{listed}");
    let read = [
        "--login",
        "--pin",
        "userpin",
        "--read-object",
        "--type",
        "pubkey",
        "--label",
        "webserver-key",
        "-o",
        "webserver.pub.der",
    ];
    desk.tool(&[&["--token-label", "server-tpm"], &read[..]].concat());
    let text = desk.plain(&["rsa", "-pubin", "-inform", "DER", "-in", "webserver.pub.der", "-text", "-noout"]).text();
    assert!(text.contains("(2048 bit)"), "{text}");

    let providers = desk.openssl(&["list", "-providers", "-verbose"]).text();
    assert!(providers.contains("name: PKCS#11 Provider") && !providers.contains("inactive"), "{providers}");
    let keys = desk.openssl(&["storeutl", "-provider", "pkcs11", "-noout", "-keys", "pkcs11:"]).text();
    assert!(keys.contains("Total found: 1"), "{keys}");
    let uri = "pkcs11:token=server-tpm;object=webserver-key;type=private";
    let exported = desk.openssl(&["pkey", "-provider", "pkcs11", "-in", uri, "-pubout"]).text();
    desk.write("webserver.pub", &exported);
    desk.openssl(&["dgst", "-sha256", "-provider", "pkcs11", "-sign", uri, "-out", "signature", "letter"]);
    desk.verify("webserver.pub", "-sha256", &[]);
    desk.world.assert_clean();
}

/// What `ptool config --snippet` prints, put into files.
#[test]
fn the_snippets_work_as_they_are_printed() {
    let Some(desk) = Desk::new() else { return };
    let snippet = |program: &str| {
        desk.world.ptool_ok(&["config", "--label=alpha", "--key-label=p256", "--snippet", program]).text()
    };
    let text = snippet("openssl-provider");
    let line = text.lines().find_map(|line| line.strip_prefix("#   openssl ")).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    // The module and the PIN are elsewhere in the tree, and nobody is there to type it.
    let config = text.replace(product::module().to_str().unwrap(), "/world/module.so").replace(
        "#pkcs11-module-token-pin = file:/etc/ssl/private/tpm-pin",
        "pkcs11-module-token-pin = file:/world/pin",
    );
    desk.write("openssl.cnf", config);
    desk.openssl(&arguments);
    assert_request_verifies(&desk.world, "web.csr");
    desk.write("uri.pem", snippet("uri-pem"));
    desk.openssl(&["req", "-new", "-key", "uri.pem", "-subj", "/CN=other.example", "-out", "other.csr"]);
    assert_request_verifies(&desk.world, "other.csr");
}

/// What has nothing to do with the token goes on working under a configuration that asks the token first, and fast.
#[test]
fn plain_work_is_not_disturbed() {
    let Some(desk) = Desk::new() else { return };
    desk.plain(&[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "file.key", "-subj", "/CN=file", "-days", "2",
        "-out", "file.crt",
    ]);
    desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "ec.key"]);
    let big: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    desk.write("big", big);
    desk.world.proxy.mark();
    // OpenSSL may seed its random numbers by the TPM; hashing is not its work.
    let is_at_rest = || {
        let asked = desk.world.proxy.mark();
        assert!(asked.names().iter().all(|name| *name == "GetRandom") && asked.len() < 40, "{asked}");
    };
    for hash in ["-sha1", "-sha224", "-sha256", "-sha384", "-sha512", "-sha3-256", "-md5", "-blake2b512"] {
        let (ours, theirs) = (desk.openssl(&["dgst", "-r", hash, "big"]), desk.plain(&["dgst", "-r", hash, "big"]));
        assert_eq!(ours.text(), theirs.text(), "{hash}");
    }
    is_at_rest();
    let mac = ["dgst", "-r", "-sha256", "-hmac", "a key from the command line", "letter"];
    assert_eq!(desk.openssl(&mac).text(), desk.plain(&mac).text());
    assert!(desk.openssl(&["verify", "-CAfile", "file.crt", "file.crt"]).text().contains("file.crt: OK"));
    desk.openssl(&["x509", "-in", "file.crt", "-noout", "-text"]);
    is_at_rest();
    for key in ["file.key", "ec.key"] {
        desk.plain(&["pkey", "-in", key, "-pubout", "-out", "file.pub"]);
        desk.write("exported", desk.openssl(&["pkey", "-in", key, "-pubout"]).stdout);
        assert_eq!(desk.plain(&["pkey", "-pubin", "-in", "exported"]).stdout, desk.read("file.pub"), "{key}");
        desk.openssl(&["dgst", "-sha256", "-sign", key, "-out", "signature", "letter"]);
        desk.verify("file.pub", "-sha256", &[]);
        let verify = [
            "pkeyutl",
            "-verify",
            "-rawin",
            "-digest",
            "sha256",
            "-pubin",
            "-inkey",
            "file.pub",
            "-sigfile",
            "signature",
        ];
        let verified = desk.openssl(&[&verify[..], &["-in", "letter"]].concat());
        assert!(verified.text().contains("Signature Verified Successfully"), "{key}: {verified:?}");
    }
    assert_eq!(desk.openssl(&["rand", "64"]).stdout.len(), 64);
    let cipher = ["-aes-256-cbc", "-pbkdf2", "-pass", "pass:a word", "-S", "0102030405060708"];
    desk.openssl(&[&["enc", "-in", "letter", "-out", "cipher"], &cipher[..]].concat());
    assert_eq!(desk.plain(&[&["enc", "-d", "-in", "cipher"], &cipher[..]].concat()).stdout, LETTER);
    let kdf = [
        "kdf",
        "-keylen",
        "32",
        "-kdfopt",
        "digest:SHA256",
        "-kdfopt",
        "hexkey:0b0b0b0b",
        "-kdfopt",
        "salt:salt",
        "-kdfopt",
        "info:info",
        "HKDF",
    ];
    assert_eq!(desk.openssl(&kdf).text(), desk.plain(&kdf).text());
    desk.world.assert_clean();
}

/// A PIN that is wrong is said so once, and is not tried until the token is locked.
#[test]
fn a_wrong_pin_is_tried_once_a_command() {
    let Some(desk) = Desk::new() else { return };
    // The provider keeps PINs of its configuration back before what is said to be the last try.
    desk.world.tpm.set_lockout(32, 600);
    desk.write("pin", "not the PIN");
    desk.world.proxy.mark();
    let run = desk.try_openssl(&["dgst", "-sha256", "-sign", &private("p256"), "-out", "signature", "letter"]);
    assert!(!run.success(), "{run:?}");
    let asked = desk.world.proxy.mark();
    // TPM_RC_AUTH_FAIL of a session, whichever it was.
    let refused = asked.failed().iter().filter(|command| command.name == "Unseal" && command.rc & 0xbf == 0x8e).count();
    assert_eq!(refused, 1, "{asked}");
    assert!(Path::new(&desk.world.path("signature")).metadata().map_or(0, |metadata| metadata.len()) == 0);
    desk.write("pin", PIN);
    desk.openssl(&["dgst", "-sha256", "-sign", &private("p256"), "-out", "signature", "letter"]);
    desk.verify(&desk.public_key("p256"), "-sha256", &[]);
}
