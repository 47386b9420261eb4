//! `pkcs11-tool`, action by action. What it signs with key pairs, `--decrypt`, `--test`, `--test-fork` and the life of a token are in
//! `clients.rs`.
//!
//! It sits on the bare TPM, which has room for three sessions and three objects, and after each action nothing of it is left there. Only
//! where something is refused it runs behind a resource manager: it then ends without `C_Finalize`, and somebody must give back what
//! it held. So it does where it sets a PIN.

use std::time::{Duration, Instant};

use swtpm_fixtures::{ResourceManager, leftovers};
use tests::desk::{Desk, LETTER, PIN};
use tests::product;
use tests::world::{Run, World};

const IV: &str = "000102030405060708090a0b0c0d0e0f";
/// The value of the secret keys that are brought in.
const KEY: [u8; 16] = *b"sixteen bytes of";

fn desk() -> Desk {
    let desk = Desk::of(World::new());
    desk.write("key", KEY);
    desk
}

/// `pkcs11-tool` on whatever slot the arguments choose.
fn anywhere(desk: &Desk, arguments: &[&str]) -> Run {
    let mut command = desk.world.command("pkcs11-tool");
    Run::of(command.arg("--module").arg(product::module()).args(arguments))
}

/// `pkcs11-tool` with the user logged in, which must succeed.
#[track_caller]
fn user(desk: &Desk, arguments: &[&str]) -> Run {
    let run = desk.tool(&[&["--login", "--pin", PIN], arguments].concat());
    desk.world.assert_clean();
    run
}

/// The same, which must be refused and with this return value.
#[track_caller]
fn refused(desk: &Desk, arguments: &[&str], code: &str) {
    let run = failing(desk, &[&["--login", "--pin", PIN], arguments].concat());
    assert!(run.all().contains(code), "{arguments:?}: {run:?}");
}

/// `pkcs11-tool` with something that it gives up at.
#[track_caller]
fn failing(desk: &Desk, arguments: &[&str]) -> Run {
    let run = managed(desk, arguments);
    assert!(!run.success(), "{arguments:?}: {run:?}");
    run
}

/// `pkcs11-tool` behind a resource manager.
#[track_caller]
fn managed(desk: &Desk, arguments: &[&str]) -> Run {
    // Another module may be behind one anyway.
    let manager = desk.world.manager.is_none().then(|| ResourceManager::start(desk.world.proxy.port()));
    let mut command = desk.world.command("pkcs11-tool");
    if let Some(manager) = &manager {
        command.env("TPM2_CRYPTOKI_TCTI", manager.tcti());
    }
    command.arg("--module").arg(product::module()).args(["--token-label", "alpha"]).args(arguments);
    let run = Run::of(&mut command);
    // The manager notices a moment later that it is gone.
    let start = Instant::now();
    while !leftovers(&desk.world.tpm).is_clean() {
        assert!(start.elapsed() < Duration::from_secs(30), "{arguments:?}: {:?}", leftovers(&desk.world.tpm));
        std::thread::sleep(Duration::from_millis(20));
    }
    run
}

/// The paragraphs of a listing, one for each object.
fn paragraphs(listing: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in listing.lines().filter(|line| !line.is_empty()) {
        match found.last_mut() {
            Some(last) if line.starts_with(' ') => *last += &format!("\n{line}"),
            _ => found.push(line.to_owned()),
        }
    }
    found
}

#[test]
fn it_looks_around() {
    let desk = desk();
    let info = desk.tool(&["--show-info"]).text();
    assert!(info.contains("Cryptoki version 3.2") && info.contains("Manufacturer     tpm2-cryptoki"), "{info}");
    for list in ["--list-slots", "--list-token-slots"] {
        let slots = desk.tool(&[list]).text();
        for label in ["alpha", "beta", "open"] {
            assert!(slots.contains(&format!("token label        : {label}\n")), "{slots}");
        }
        assert!(slots.contains("login required, rng, token initialized, PIN initialized"), "{slots}");
        assert!(slots.contains("token state:   uninitialized"), "{slots}");
        assert!(slots.contains("pin min/max        : 4/128"), "{slots}");
    }
    let interfaces = desk.tool(&["--list-interfaces"]).text();
    for version in ["version: 3.2", "version: 3.0", "version: 2.40"] {
        assert!(interfaces.contains(version), "{interfaces}");
    }

    let mechanisms = desk.tool(&["--list-mechanisms"]).text();
    let probe = desk.world.probe().initialized();
    let listed = probe.mechanisms(probe.slot_of("alpha")).unwrap();
    probe.finalize().unwrap();
    let lines: Vec<_> = mechanisms.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.len(), listed.len(), "{mechanisms}");
    for expected in [
        "  ECDSA, keySize={224,521}, hw, sign, verify, EC F_P, EC OID, EC uncompressed",
        "  SHA256, digest",
        "  AES-CBC-PAD, keySize={16,32}, hw, encrypt, decrypt, wrap, unwrap",
    ] {
        // Flags that it has no name for (of messages) stand behind.
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\n{mechanisms}");
    }

    let count =
        |listing: &str, start: &str| paragraphs(listing).iter().filter(|object| object.starts_with(start)).count();
    let public = desk.tool(&["--list-objects"]).text();
    assert_eq!((count(&public, "Public Key Object"), count(&public, "Private Key Object")), (5, 0), "{public}");
    let all = user(&desk, &["--list-objects"]).text();
    assert_eq!((count(&all, "Public Key Object"), count(&all, "Private Key Object")), (5, 5), "{all}");
    let some = user(&desk, &["--list-objects", "--type", "privkey"]).text();
    assert_eq!((count(&some, "Public Key Object"), count(&some, "Private Key Object; EC")), (0, 3), "{some}");
}

#[test]
fn it_chooses_a_slot() {
    let desk = desk();
    let slots = anywhere(&desk, &["--list-slots"]).ok().text();
    let line = slots.lines().find(|line| line.starts_with("Slot 0 ")).unwrap();
    let (number, description) = line.strip_prefix("Slot 0 (").unwrap().split_once("): ").unwrap();
    let number = number.strip_prefix("0x").unwrap();
    let listing = desk.tool(&["--list-objects"]).text();
    for choice in [["--slot", number], ["--slot-index", "0"], ["--slot-description", description]] {
        let listed = anywhere(&desk, &[&choice[..], &["--list-objects"]].concat()).ok().text();
        assert_eq!(listed, listing, "{choice:?}");
    }
    for options in [&["--use-locking"][..], &["--session-rw"]] {
        assert_eq!(desk.tool(&[options, &["--list-objects"]].concat()).text(), listing, "{options:?}");
    }
    let none = anywhere(&desk, &["--token-label", "nobody", "--list-objects"]);
    assert!(!none.success(), "{none:?}");
}

#[test]
fn it_hashes() {
    let desk = desk();
    for (mechanism, name) in [
        ("SHA-1", "sha1"),
        ("SHA224", "sha224"),
        ("SHA256", "sha256"),
        ("SHA384", "sha384"),
        ("SHA512", "sha512"),
        ("SHA3-224", "sha3-224"),
        ("SHA3-256", "sha3-256"),
        ("SHA3-384", "sha3-384"),
        ("SHA3-512", "sha3-512"),
    ] {
        desk.tool(&["--hash", "--mechanism", mechanism, "--input-file", "letter", "--output-file", "digest"]);
        assert_eq!(desk.read("digest"), desk.digest(name), "{mechanism}");
    }
    desk.tool(&["--generate-random", "32", "--output-file", "one"]);
    desk.tool(&["--generate-random", "32", "--output-file", "two"]);
    assert!(desk.read("one").len() == 32 && desk.read("one") != desk.read("two"));
}

#[test]
fn it_encrypts_and_decrypts_with_secret_keys() {
    let desk = desk();
    let object = ["--type", "secrkey", "--id", "a1", "--label", "brought"];
    user(&desk, &[&["--write-object", "key", "--key-type", "AES:16", "--sensitive"][..], &object].concat());
    desk.write("blocks", [0x5a; 48]);
    let key = tests::call::hex(&KEY);
    for (mechanism, cipher, input, padded) in [
        ("AES-ECB", "-aes-128-ecb", "blocks", false),
        ("AES-CBC", "-aes-128-cbc", "blocks", false),
        ("AES-CBC-PAD", "-aes-128-cbc", "letter", true),
    ] {
        let vector: &[&str] = if mechanism == "AES-ECB" { &[] } else { &["--iv", IV] };
        let run = |action: &str, input: &str| {
            let files = ["--id", "a1", "--mechanism", mechanism, "--input-file", input, "--output-file", "output"];
            user(&desk, &[&[action][..], &files, vector].concat());
            desk.read("output")
        };
        let mut openssl = vec!["enc", cipher, "-K", &key, "-in", input];
        openssl.extend(if mechanism == "AES-ECB" { &[][..] } else { &["-iv", IV] });
        openssl.extend(if padded { &[][..] } else { &["-nopad"] });
        let expected = desk.openssl(&openssl).stdout;
        assert_eq!(run("--encrypt", input), expected, "{mechanism}");
        desk.write("cipher", expected);
        assert_eq!(run("--decrypt", "cipher"), desk.read(input), "{mechanism}");
    }
}

#[test]
fn it_makes_secret_keys() {
    let desk = desk();
    for (kind, id, said) in [
        ("AES:16", "a1", "AES length 16"),
        ("AES:32", "a2", "AES length 32"),
        ("GENERIC:32", "a3", "Generic secret length 32"),
        ("GENERIC:20", "a4", "Generic secret length 20"),
    ] {
        let made = user(&desk, &["--keygen", "--key-type", kind, "--id", id, "--label", "made", "--sensitive"]).text();
        assert!(made.contains(said) && made.contains("always sensitive, never extractable, local"), "{made}");
    }
    // What is in the TPM does not show itself, also where the program asks for a key that does, as it does without --sensitive.
    let made = user(&desk, &["--keygen", "--key-type", "AES:16", "--id", "a6", "--label", "made"]).text();
    assert!(made.contains("always sensitive, never extractable, local"), "{made}");
    refused(&desk, &["--keygen", "--key-type", "AES:16", "--id", "a5", "--extractable"], "CKR_TEMPLATE_INCONSISTENT");
    refused(&desk, &["--keygen", "--key-type", "AES:17", "--id", "a5", "--sensitive"], "CKR_KEY_SIZE_RANGE");
    refused(&desk, &["--read-object", "--type", "secrkey", "--id", "a1"], "CKR_ATTRIBUTE_SENSITIVE");

    for (mechanism, len) in [("SHA-1-HMAC", 20), ("SHA256-HMAC", 32), ("SHA384-HMAC", 48), ("SHA512-HMAC", 64)] {
        let sign = ["--sign", "--id", "a3", "-m", mechanism, "-i", "letter", "-o", "code"];
        user(&desk, &sign);
        assert_eq!(desk.read("code").len(), len, "{mechanism}");
        let verify = ["--verify", "--id", "a3", "-m", mechanism, "--signature-file", "code", "-i"];
        let said = user(&desk, &[&verify[..], &["letter"]].concat()).text();
        assert!(said.contains("Signature is valid"), "{said}");
        let said = desk.any_tool(&[&["--login", "--pin", PIN][..], &verify, &["key"]].concat()).all();
        assert!(said.contains("Invalid signature"), "{said}");
    }
    let count = || {
        let listing = user(&desk, &["--list-objects", "--type", "secrkey"]).text();
        paragraphs(&listing).iter().filter(|object| object.starts_with("Secret Key Object")).count()
    };
    assert_eq!(count(), 5);
    for id in ["a1", "a2", "a3", "a4", "a6"] {
        user(&desk, &["--delete-object", "--type", "secrkey", "--id", id]);
    }
    assert_eq!(count(), 0);
}

#[test]
fn it_unwraps_and_does_not_wrap_what_stays() {
    let desk = desk();
    user(&desk, &["--keypairgen", "--key-type", "rsa:2048", "--id", "b1", "--label", "kek", "--usage-wrap"]);
    desk.tool(&["--read-object", "--type", "pubkey", "--id", "b1", "--output-file", "kek.pub"]);
    let wrap =
        ["pkeyutl", "-encrypt", "-pubin", "-inkey", "kek.pub", "-keyform", "DER", "-in", "key", "-out", "wrapped"];
    desk.openssl(&[&wrap[..], &["-pkeyopt", "rsa_padding_mode:pkcs1"]].concat());
    let unwrap = ["--unwrap", "--mechanism", "RSA-PKCS", "--id", "b1", "--input-file", "wrapped", "--key-type", "AES:"];
    let into = ["--application-id", "c1", "--application-label", "unwrapped", "--sensitive"];
    let said = user(&desk, &[&unwrap[..], &into].concat()).text();
    assert!(said.contains("Key unwrapped") && said.contains("AES length 16"), "{said}");
    // It is the key that was wrapped.
    desk.write("blocks", [0x5a; 48]);
    user(&desk, &["--encrypt", "--id", "c1", "-m", "AES-ECB", "-i", "blocks", "-o", "cipher"]);
    let key = tests::call::hex(&KEY);
    let expected = desk.openssl(&["enc", "-aes-128-ecb", "-nopad", "-K", &key, "-in", "blocks"]).stdout;
    assert_eq!(desk.read("cipher"), expected);
    // Every key that this program can name is in the TPM, and stays there.
    let wrap = ["--wrap", "--mechanism", "RSA-PKCS", "--id", "b1", "--application-id", "c1", "--output-file", "out"];
    refused(&desk, &wrap, "CKR_KEY_UNEXTRACTABLE");
    let altered: Vec<u8> = desk.read("wrapped").iter().map(|byte| byte ^ 1).collect();
    desk.write("wrapped", altered);
    let into = ["--application-id", "c2", "--application-label", "other", "--sensitive"];
    failing(&desk, &[&["--login", "--pin", PIN], &unwrap[..], &into].concat());
}

#[test]
fn it_derives() {
    let desk = desk();
    for (key, id, curve) in [("p256", "03", "prime256v1"), ("p384", "04", "secp384r1"), ("p521", "05", "secp521r1")] {
        desk.openssl(&["ecparam", "-name", curve, "-genkey", "-noout", "-out", "other.pem"]);
        desk.openssl(&["ec", "-in", "other.pem", "-pubout", "-outform", "DER", "-out", "other.pub"]);
        let own = desk.public_key(key);
        let derive = ["pkeyutl", "-derive", "-inkey", "other.pem", "-peerkey", &own, "-peerform", "DER"];
        let expected = desk.openssl(&derive).stdout;
        for mechanism in ["ECDH1-DERIVE", "ECDH1-COFACTOR-DERIVE"] {
            for form in [&[][..], &["--derive-pass-der"]] {
                let derive = ["--derive", "-m", mechanism, "--id", id, "-i", "other.pub", "-o", "secret"];
                user(&desk, &[&derive[..], form].concat());
                assert_eq!(desk.read("secret"), expected, "{key} {mechanism} {form:?}");
            }
        }
    }
}

#[test]
fn it_writes_reads_and_renames_objects() {
    let desk = desk();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -subj /CN=reader -days 2 -outform DER -out certificate",
        "rsa -in rsa.pem -outform DER -out rsa.der",
        "rsa -in rsa.pem -pubout -outform DER -out rsa.pub",
        "ecparam -name prime256v1 -genkey -noout -out ec.pem",
        "ec -in ec.pem -outform DER -out ec.der",
        "ec -in ec.pem -pubout -outform DER -out ec.pub",
    ] {
        desk.openssl(&arguments.split(' ').collect::<Vec<_>>());
    }
    let write = |file: &str, ty: &str, id: &str, more: &[&str]| {
        let what = ["--write-object", file, "--type", ty, "--id", id, "--label", "brought"];
        user(&desk, &[&what[..], more].concat())
    };
    write("certificate", "cert", "d1", &[]);
    write("certificate", "cert", "d4", &["--undestroyable"]);
    // CKR_ACTION_PROHIBITED, which the program has no name for.
    refused(&desk, &["--delete-object", "--type", "cert", "--id", "d4"], "0x1b");
    write("rsa.pub", "pubkey", "d1", &[]);
    write("rsa.der", "privkey", "d1", &["--usage-sign"]);
    write("ec.pub", "pubkey", "d2", &[]);
    write("ec.der", "privkey", "d2", &["--usage-sign"]);
    // The attributes of a certificate for its key.
    let more = ["--type", "privkey", "--attr-from", "certificate", "--id", "d3", "--label", "subject"];
    user(&desk, &[&["--write-object", "rsa.der"][..], &more].concat());

    let read = |login: bool, arguments: &[&str]| {
        let _ = std::fs::remove_file(desk.world.path("read"));
        let arguments = [&["--read-object", "--output-file", "read"], arguments].concat();
        if login {
            user(&desk, &arguments)
        } else {
            desk.tool(&arguments)
        };
        desk.read("read")
    };
    assert_eq!(read(false, &["--type", "cert", "--id", "d1"]), desk.read("certificate"));
    // Of EC keys it cannot be trusted to make a file (0.23), whatever the module.
    assert_eq!(read(false, &["--type", "pubkey", "--id", "d1"]), desk.read("rsa.pub"));
    for (id, mechanism, public) in
        [("d1", "SHA256-RSA-PKCS", "rsa.pub"), ("d3", "SHA256-RSA-PKCS", "rsa.pub"), ("d2", "ECDSA-SHA256", "ec.pub")]
    {
        let sign = ["--sign", "--id", id, "-m", mechanism, "-i", "letter", "-o", "signature", "-f", "openssl"];
        user(&desk, if mechanism.starts_with("ECDSA") { &sign } else { &sign[..9] });
        let verify = ["dgst", "-sha256", "-verify", public, "-keyform", "DER", "-signature", "signature", "letter"];
        assert!(desk.openssl(&verify).text().contains("Verified OK"), "{id}");
    }

    // Data: for everybody, and for the user.
    let label = ["--label", "datum", "--application-label", "post office", "--application-id", "1.2.3"];
    user(&desk, &[&["--write-object", "letter", "--type", "data"][..], &label].concat());
    user(&desk, &["--write-object", "key", "--type", "data", "--label", "secret", "--private"]);
    for by in [["--label", "datum"], ["--application-label", "post office"], ["--application-id", "1.2.3"]] {
        assert_eq!(read(false, &[&["--type", "data"][..], &by].concat()), LETTER, "{by:?}");
    }
    assert_eq!(read(true, &["--type", "data", "--label", "secret"]), KEY);
    let hidden = failing(&desk, &["--read-object", "--type", "data", "--label", "secret"]);
    assert!(hidden.all().contains("object not found"), "{hidden:?}");

    let rename = |ty: &str| user(&desk, &["--set-id", "e1", "--id", "d1", "--type", ty]).text();
    for ty in ["cert", "pubkey", "privkey"] {
        assert!(rename(ty).contains("ID:         e1"), "{ty}");
    }
    assert_eq!(read(false, &["--type", "cert", "--id", "e1"]), desk.read("certificate"));
    for (ty, by) in [
        ("cert", ["--id", "e1"]),
        ("pubkey", ["--id", "e1"]),
        ("privkey", ["--id", "e1"]),
        ("data", ["--label", "datum"]),
        ("data", ["--label", "secret"]),
    ] {
        let arguments = [&["--delete-object", "--type", ty][..], &by].concat();
        user(&desk, &arguments);
        refused(&desk, &arguments, "object not found");
    }
}

#[test]
fn it_makes_key_pairs_of_all_kinds() {
    let desk = desk();
    let make = |kind: &str, id: &str, more: &[&str]| {
        user(&desk, &[&["--keypairgen", "--key-type", kind, "--id", id, "--label", "made"][..], more].concat()).text()
    };
    let sign = ["-i", "letter", "-o", "signature"];
    for (kind, id, said) in [
        ("rsa:1024", "71", "RSA 1024 bits"),
        ("rsa:2048", "72", "RSA 2048 bits"),
        ("EC:secp224r1", "70", "EC_POINT 224 bits"),
        ("EC:secp256r1", "73", "EC_POINT 256 bits"),
        ("EC:prime256v1", "74", "EC_POINT 256 bits"),
        ("EC:secp384r1", "75", "EC_POINT 384 bits"),
        ("EC:secp521r1", "76", "EC_POINT 528 bits"),
    ] {
        let made = make(kind, id, &[]);
        assert!(made.contains(said), "{kind}: {made}");
        let ec = kind.starts_with("EC");
        let mechanism = if ec { "ECDSA-SHA256" } else { "SHA256-RSA-PKCS" };
        let format: &[&str] = if ec { &["-f", "openssl"] } else { &[] };
        user(&desk, &[&["--sign", "--id", id, "-m", mechanism][..], &sign, format].concat());
        // OpenSSL has the public key from a client of our own.
        let probe = desk.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let by = [tests::probe::bytes(pkcs11_sys::CKA_ID, &tests::call::unhex(id).unwrap())];
        let found = probe.find(session, &by).unwrap();
        desk.write("made.pub", probe.attribute(session, found[0], pkcs11_sys::CKA_PUBLIC_KEY_INFO).unwrap());
        probe.finalize().unwrap();
        let verify = ["dgst", "-sha256", "-verify", "made.pub", "-keyform", "DER", "-signature", "signature", "letter"];
        assert!(desk.openssl(&verify).text().contains("Verified OK"), "{kind}");
    }
    for (kind, code) in [
        // CKR_CURVE_NOT_SUPPORTED, which the program has no name for.
        ("EC:secp256k1", "0x140"),
        ("EC:brainpoolP256r1", "0x140"),
        ("rsa:512", "CKR_KEY_SIZE_RANGE"),
        ("rsa:4096", "CKR_KEY_SIZE_RANGE"),
    ] {
        refused(&desk, &["--keypairgen", "--key-type", kind, "--id", "77"], code);
    }

    // What a key may do, and how it is guarded.
    let usage = |made: &str, half: &str| {
        let found = paragraphs(made).into_iter().find(|object| object.starts_with(half)).unwrap();
        let line = found.lines().find_map(|line| line.strip_prefix("  Usage:      ")).unwrap();
        line.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    for (id, option, private, public) in [
        ("81", "--usage-sign", "sign", "verify"),
        ("82", "--usage-decrypt", "decrypt", "encrypt"),
        ("83", "--usage-wrap", "unwrap", "wrap"),
    ] {
        let made = make("rsa:1024", id, &[option]);
        assert!(usage(&made, "Private").contains(&private.to_owned()), "{made}");
        assert!(usage(&made, "Public").contains(&public.to_owned()), "{made}");
    }
    let made = make("EC:prime256v1", "84", &["--usage-derive"]);
    assert!(usage(&made, "Private").contains(&"derive".to_owned()), "{made}");

    let made = make("EC:prime256v1", "85", &["--always-auth"]);
    assert!(made.contains("always authenticate"), "{made}");
    user(&desk, &[&["--sign", "--id", "85", "-m", "ECDSA-SHA256"][..], &sign].concat());
    let made = make("rsa:1024", "87", &["--allowed-mechanisms", "SHA256-RSA-PKCS,SHA384-RSA-PKCS"]);
    assert!(made.contains("Allowed mechanisms: SHA256-RSA-PKCS,SHA384-RSA-PKCS"), "{made}");
    user(&desk, &[&["--sign", "--id", "87", "-m", "SHA384-RSA-PKCS"][..], &sign].concat());
    refused(&desk, &[&["--sign", "--id", "87", "-m", "SHA512-RSA-PKCS"][..], &sign].concat(), "CKR_MECHANISM_INVALID");
}

#[test]
fn it_changes_pins() {
    let desk = desk();
    // A PIN being set, the program ends without C_Finalize even if all went well.
    let set = |arguments: &[&str]| drop(managed(&desk, arguments).ok());
    let login = |pin: &str| {
        desk.tool(&["--login", "--pin", pin, "--list-objects"]);
        desk.world.assert_clean();
    };
    let officer = ["--login", "--login-type", "so", "--so-pin"];
    set(&["--login", "--pin", PIN, "--change-pin", "--new-pin", "another-pin"]);
    login("another-pin");
    set(&[&officer[..], &["so-alpha", "--change-pin", "--new-pin", "officer"]].concat());
    // The user forgot it: the officer gives another one. It is the only way: `--unlock-pin` is for cards, and gives C_SetPIN
    // a PUK in the place of the user's PIN.
    set(&[&officer[..], &["officer", "--init-pin", "--new-pin", "third-pin"]].concat());
    login("third-pin");
    let wrong = failing(&desk, &["--login", "--pin", "another-pin", "--list-objects"]);
    assert!(wrong.all().contains("CKR_PIN_INCORRECT"), "{wrong:?}");
    let unlock = failing(&desk, &["--unlock-pin", "--puk", "officer", "--new-pin", PIN]);
    assert!(unlock.all().contains("CKR_PIN_INCORRECT"), "{unlock:?}");
    // Two in a row: no third one goes to a TPM that bears three.
    desk.world.ptool_ok(&["lockout", "reset"]);
    login("third-pin");
}

#[test]
fn it_has_tests_of_its_own() {
    let desk = desk();
    // A key pair is made and gets a certificate, as browsers used to do it.
    let request = "req -x509 -newkey rsa:1024 -nodes -keyout other.pem -subj /CN=reader -outform DER -out certificate";
    desk.openssl(&request.split(' ').collect::<Vec<_>>());
    let said =
        user(&desk, &["--moz-cert", "certificate", "--key-type", "RSA:1024", "--id", "91", "--session-rw"]).all();
    assert!(said.contains("==> OK"), "{said}");
    let said = user(&desk, &["--test-ec", "--id", "92", "--key-type", "EC:prime256v1", "--session-rw"]).all();
    assert!(said.contains("==> OK"), "{said}");
    // Threads that initialise the library, describe it and list its slots.
    let threads = ["--test-threads", "INGISLGISL", "--test-threads", "INGISL", "--test-threads", "ILGISL"];
    let said = user(&desk, &[&threads[..], &["--list-objects"]].concat()).all();
    assert!(said.contains("all threads have ended with CKR_OK"), "{said}");
}
