//! From tpm2-pkcs11 to the product, with the store and the programs of Debian: what came over signs alike by both.

#[path = "../clients/guest.rs"]
mod guest;

use std::collections::BTreeSet;

use pkcs11_sys::*;
use serde_json::Value;
use tests::migrant::Peer;
use tests::openssl::OpenSsl;
use tests::probe::{bytes, fails, number};
use tests::product;
use tests::world::Run;

const LETTER: &[u8] = b"Dear reader, two programs signed this with one key.\n";

fn peer() -> Option<Peer> {
    let peer = Peer::new(&guest::prepared("tpm2-pkcs11.sh")?);
    std::fs::write(peer.world.path("letter"), LETTER).unwrap();
    Some(peer)
}

/// `pkcs11-tool` with the product's module, which must succeed.
fn ours(peer: &Peer, arguments: &[&str]) -> Run {
    let run = Run::of(peer.world.command("pkcs11-tool").arg("--module").arg(product::module()).args(arguments));
    assert!(run.success(), "our pkcs11-tool {arguments:?}: {run:?}\n--- log\n{}", peer.world.log());
    run
}

fn read(peer: &Peer, name: &str) -> Vec<u8> {
    std::fs::read(peer.world.path(name)).unwrap()
}

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

fn migrate(peer: &Peer, more: &[&str]) -> Value {
    let from = peer.store();
    json(&peer.world.ptool_ok(&[&["migrate", "--output=json", "--from", from.to_str().unwrap()], more].concat()))
}

/// The SubjectPublicKeyInfo that our module has for a key.
fn our_public_key(peer: &Peer, token: &str, id: &str) -> Vec<u8> {
    let probe = peer.world.probe().initialized();
    let session = probe.open_ro(probe.slot_of(token));
    let id = tests::call::unhex(id).unwrap();
    let found = probe.find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY), bytes(CKA_ID, &id)]).unwrap();
    let [key] = found[..] else { panic!("{found:?}") };
    tests::peer::public_key_info(&probe, session, key)
}

/// Both modules sign with the key, and our public key, which both say is its, finds both good.
fn both_sign(peer: &Peer, token: &str, pin: Option<&str>, id: &str, mechanism: &str) {
    let pin: Vec<&str> = pin.iter().flat_map(|pin| ["--login", "--pin", *pin]).collect();
    let sign = ["--token-label", token, "--id", id, "--sign", "--mechanism", mechanism, "--input-file", "letter"];
    peer.tool(&[&sign[..], &["--output-file", "theirs"], &pin].concat());
    ours(peer, &[&sign[..], &["--output-file", "ours"], &pin].concat());
    let spki = our_public_key(peer, token, id);
    let public = ["--token-label", token, "--type", "pubkey"];
    if mechanism.starts_with("ECDSA") {
        // The program's release here cannot be trusted to write EC keys to a file, whatever the module, but it lists the point.
        let list = peer.tool(&[&public[..], &["--list-objects"], &pin].concat());
        let text = String::from_utf8(list.stdout).unwrap();
        let points = text.lines().filter_map(|line| line.trim().strip_prefix("EC_POINT:"));
        let mut points = points.map(|point| tests::call::unhex(point.trim()).unwrap());
        assert!(points.any(|point| point.len() > 50 && spki.ends_with(&point[2..])), "{token} {id}: {text}");
    } else {
        peer.tool(&[&public[..], &["--id", id, "--read-object", "--output-file", "theirs.pub"], &pin].concat());
        assert_eq!(spki, read(peer, "theirs.pub"), "{token} {id}");
    }
    for name in ["ours", "theirs"] {
        let signature = read(peer, name);
        let good = match mechanism {
            "ECDSA-SHA256" => {
                OpenSsl::new(&spki).verifies("-sha256", &[], LETTER, &tests::openssl::ecdsa_der(&signature))
            }
            _ => OpenSsl::new(&spki).verifies("-sha256", &[], LETTER, &signature),
        };
        assert!(good, "{name}: {token} {id}");
    }
}

#[test]
fn a_store_of_debians_comes_over_whole() {
    let Some(peer) = peer() else { return };
    peer.ptool_ok(&["init"]);
    peer.ptool_ok(&["addtoken", "--pid=1", "--sopin=so-pin", "--userpin=user-pin", "--label=tok"]);
    for (id, algorithm) in
        [("a1", "rsa2048"), ("a2", "ecc256"), ("a3", "ecc224"), ("a4", "aes128"), ("a5", "hmac:sha256")]
    {
        let key = format!("--key-label=k-{algorithm}");
        peer.ptool_ok(&["addkey", "--label=tok", "--userpin=user-pin", &key, "--id", id, "--algorithm", algorithm]);
    }
    let always = ["--key-label=always", "--id=a6", "--algorithm=ecc256", "--attr-always-authenticate"];
    peer.ptool_ok(&[&["addkey", "--label=tok", "--userpin=user-pin"], &always[..]].concat());
    let always = ["--key-label=always-aes", "--id=a7", "--algorithm=aes128", "--attr-always-authenticate"];
    peer.ptool_ok(&[&["addkey", "--label=tok", "--userpin=user-pin"], &always[..]].concat());
    // Made by its module: an RSA pair, an EC pair, a private data object.
    let login = ["--token-label=tok", "--login", "--pin=user-pin"];
    peer.tool(&[&login[..], &["--keypairgen", "--key-type=rsa:2048", "--label=c-rsa", "--id=b1"]].concat());
    peer.tool(&[&login[..], &["--keypairgen", "--key-type=EC:prime256v1", "--label=c-ec", "--id=b2"]].concat());
    let data = ["--write-object=letter", "--type=data", "--label=letter", "--private"];
    peer.tool(&[&login[..], &data].concat());
    // A certificate, which nobody checks against the key.
    let subject = "/CN=tok";
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject];
    let files = ["-keyout", "other.key", "-out", "cert.pem"];
    Run::of(peer.world.command("openssl").args(request).args(files)).ok();
    peer.ptool_ok(&["addcert", "--label=tok", "--key-label=k-ecc256", "cert.pem"]);
    // A token without a PIN, and one that nobody initialized.
    peer.ptool_ok(&["addtoken", "--pid=1", "--sopin=so-free", "--userpin=", "--label=free"]);
    peer.ptool_ok(&["addkey", "--label=free", "--key-label=open", "--id=c1", "--algorithm=ecc256"]);
    peer.ptool_ok(&["addemptytoken", "--pid=1"]);

    let before = peer.files();
    let dry = migrate(&peer, &["--dry-run"]);
    assert!(!peer.world.store_file().exists(), "a dry run wrote something");
    let report = migrate(&peer, &[]);
    assert_eq!(peer.files(), before, "the other store was touched");
    let actions = |report: &Value| -> Vec<String> {
        let tokens = report["tokens"].as_array().unwrap();
        tokens.iter().map(|token| token["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(actions(&report), ["migrate", "migrate", "skip"]);
    assert_eq!(dry["tokens"], report["tokens"]);
    let objects = report["tokens"][0]["objects"].as_array().unwrap();
    assert!(objects.iter().all(|object| object["action"] == "migrate"), "{report:#}");
    assert_eq!(objects.len(), 17, "{report:#}");
    // A second time nothing comes.
    let ours_before = peer.world.store_bytes();
    assert_eq!(actions(&migrate(&peer, &[])), ["present", "present", "skip"]);
    assert_eq!(peer.world.store_bytes(), ours_before);

    // tpm2_ptool takes text for an id.
    let pin = Some("user-pin");
    both_sign(&peer, "tok", pin, "6131", "SHA256-RSA-PKCS");
    both_sign(&peer, "tok", pin, "6132", "ECDSA-SHA256");
    both_sign(&peer, "tok", pin, "6133", "ECDSA-SHA256");
    both_sign(&peer, "tok", pin, "b1", "SHA256-RSA-PKCS");
    both_sign(&peer, "tok", pin, "b2", "ECDSA-SHA256");
    both_sign(&peer, "free", None, "6331", "ECDSA-SHA256");
    // The secret keys.
    let mac = ["--id=6135", "--sign", "--mechanism=SHA256-HMAC", "--input-file=letter", "--output-file"];
    peer.tool(&[&login[..], &mac, &["theirs"]].concat());
    ours(&peer, &[&login[..], &mac, &["ours"]].concat());
    assert_eq!(read(&peer, "ours"), read(&peer, "theirs"));
    std::fs::write(peer.world.path("block"), [7; 32]).unwrap();
    let iv = "--iv=000102030405060708090a0b0c0d0e0f";
    let cipher = ["--id=6134", "--mechanism=AES-CBC", iv];
    peer.tool(&[&login[..], &cipher, &["--encrypt", "--input-file=block", "--output-file=cipher"]].concat());
    ours(&peer, &[&login[..], &cipher, &["--decrypt", "--input-file=cipher", "--output-file=plain"]].concat());
    assert_eq!(read(&peer, "plain"), [7; 32]);
    // The data object, the certificate, and the key that asks for the PIN each time.
    ours(&peer, &[&login[..], &["--read-object", "--type=data", "--label=letter", "--output-file=copy"]].concat());
    assert_eq!(read(&peer, "copy"), LETTER);
    ours(&peer, &["--token-label=tok", "--read-object", "--type=cert", "--id=6132", "--output-file=copy.der"]);
    Run::of(peer.world.command("openssl").args(["x509", "-in", "cert.pem", "-outform=der", "-out", "cert.der"])).ok();
    assert_eq!(read(&peer, "copy.der"), read(&peer, "cert.der"));
    let listing = ours(&peer, &[&login[..], &["--list-objects", "--type=privkey"]].concat()).text();
    assert!(listing.contains("always authenticate"), "{listing}");
    // So does a secret key, which has its own type as before.
    let probe = peer.world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("tok"));
    probe.login(session, CKU_USER, "user-pin").unwrap();
    let aes = probe.key(session, CKO_SECRET_KEY, "always-aes");
    fails(probe.encrypt(session, CKM_AES_ECB, aes, &[7; 16]), CKR_USER_NOT_LOGGED_IN);
    probe.init("C_EncryptInit", session, CKM_AES_ECB, aes).unwrap();
    probe.login(session, CKU_CONTEXT_SPECIFIC, "user-pin").unwrap();
    probe.transform("C_Encrypt", session, &[7; 16]).unwrap();
    let hmac = probe.key(session, CKO_SECRET_KEY, "k-hmac:sha256");
    assert_eq!(probe.attribute(session, hmac, CKA_KEY_TYPE), Ok(CKK_SHA256_HMAC.to_ne_bytes().to_vec()));
    probe.finalize().unwrap();
    let wrong = peer.world.ptool(&["verify", "--label=tok", "--userpin=other-pin"]);
    assert_eq!(wrong.status, Some(3), "{wrong:?}");
    let whole =
        json(&peer.world.ptool_ok(&["verify", "--label=tok", "--userpin=user-pin", "--sopin=so-pin", "--output=json"]));
    assert_eq!(whole["altered"], Value::Array(Vec::new()));
    assert_eq!(peer.files(), before);
    // And its programs go on.
    peer.ptool_ok(&["verify", "--label=tok", "--userpin=user-pin"]);
}

#[test]
fn primaries_that_are_kept_nowhere_come_over() {
    let Some(peer) = peer() else { return };
    for (number, template) in ["tpm2-tools-default", "tpm2-tools-ecc-default", "tss2-engine-key"].iter().enumerate() {
        let (pid, label) = (format!("--pid={}", number + 1), format!("--label={template}"));
        peer.ptool_ok(&["init", &format!("--transient-parent={template}")]);
        peer.ptool_ok(&["addtoken", &pid, "--sopin=so-pin", "--userpin=user-pin", &label]);
        peer.ptool_ok(&["addkey", &label, "--userpin=user-pin", "--id=a1", "--algorithm=ecc256"]);
    }
    let report = migrate(&peer, &[]);
    assert!(report["tokens"].as_array().unwrap().iter().all(|token| token["action"] == "migrate"), "{report:#}");
    for template in ["tpm2-tools-default", "tpm2-tools-ecc-default", "tss2-engine-key"] {
        both_sign(&peer, template, Some("user-pin"), "6131", "ECDSA-SHA256");
    }
}

#[test]
fn a_primary_with_an_authorization_comes_over() {
    let Some(peer) = peer() else { return };
    peer.ptool_ok(&["init", "--primary-auth=primary-secret"]);
    peer.ptool_ok(&["addtoken", "--pid=1", "--sopin=so-pin", "--userpin=user-pin", "--label=tok"]);
    peer.ptool_ok(&["addkey", "--label=tok", "--userpin=user-pin", "--id=a1", "--algorithm=ecc256"]);
    migrate(&peer, &[]);
    both_sign(&peer, "tok", Some("user-pin"), "6131", "ECDSA-SHA256");
}

/// The keys of a mapping in YAML, as they stand at the beginning of its lines.
fn keys(run: &Run) -> BTreeSet<String> {
    let text = run.text();
    let lines = text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).split_once(':'));
    lines.map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn scripts_for_tpm2_ptool_find_the_keys_they_read() {
    let Some(peer) = peer() else { return };
    let commands: &[(&[&str], &[&str])] = &[
        (&["init"], &[]),
        (&["addtoken", "--pid=1", "--sopin=so-pin", "--userpin=user-pin", "--label=tok"], &[]),
        (&["addkey", "--label=tok", "--userpin=user-pin", "--key-label=k", "--algorithm=ecc256"], &[]),
        (&["addkey", "--label=tok", "--userpin=user-pin", "--key-label=h", "--algorithm=hmac:sha256"], &[]),
        (&["addkey", "--label=tok", "--userpin=user-pin", "--key-label=e", "--algorithm=aes256"], &[]),
        // A handle in the place of the reference that the other software keeps.
        (&["listprimaries"], &["esys-tr"]),
        (&["listtokens", "--pid=1"], &[]),
        (&["listobjects", "--label=tok"], &[]),
        (&["config", "--label=tok"], &[]),
        (&["dbup"], &[]),
        // What it shows besides are secrets: the PINs' authorizations, the wrapping key, the authorization of each object.
        (
            &["verify", "--label=tok", "--userpin=user-pin", "--sopin=so-pin"],
            &["seal-auth", "wrappingkey", "hex", "auth", "soauth", "encauth"],
        ),
        (&["changepin", "--label=tok", "--user=user", "--old=user-pin", "--new=user-2"], &[]),
        (&["initpin", "--label=tok", "--sopin=so-pin", "--userpin=user-3"], &[]),
        (&["rmtoken", "--label=tok"], &[]),
    ];
    // The product by the other's name.
    std::fs::create_dir(peer.world.path("bin")).unwrap();
    std::os::unix::fs::symlink(product::ptool(), peer.world.path("bin/tpm2_ptool")).unwrap();
    for (arguments, secret) in commands {
        let theirs = peer.ptool_ok(arguments);
        let mut command = peer.world.command(peer.world.path("bin/tpm2_ptool"));
        let run = Run::of(command.args(*arguments));
        assert!(run.success(), "{arguments:?}: {run:?}");
        let missing: Vec<String> =
            keys(&theirs).difference(&keys(&run)).filter(|key| !secret.contains(&key.as_str())).cloned().collect();
        assert!(missing.is_empty(), "{arguments:?}: {missing:?} missing in\n{}", run.text());
        assert!(secret.iter().all(|key| !keys(&run).contains(*key)), "{arguments:?} shows a secret: {run:?}");
    }
}

/// The commands of the page, as they stand there, on a machine that has a store of that software where it puts it.
#[test]
fn the_page_about_it() {
    let Some(peer) = peer() else { return };
    peer.ptool_ok(&["init"]);
    peer.ptool_ok(&["addtoken", "--pid=1", "--sopin=officer", "--userpin=user-pin", "--label=mine"]);
    peer.ptool_ok(&["addkey", "--label=mine", "--userpin=user-pin", "--algorithm=ecc256"]);
    let home = peer.world.path(".tpm2_pkcs11");
    std::fs::create_dir(&home).unwrap();
    std::fs::copy(peer.store_file(), home.join("tpm2_pkcs11.sqlite3")).unwrap();
    let page = std::fs::read_to_string(guest::sources().join("../docs/MIGRATING.md")).unwrap();
    let mut blocks = 0;
    for block in page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        let mut command = peer.world.command("sh");
        command.args(["-exc", block]).env("TPM2_CRYPTOKI_USERPIN", "user-pin").env("TPM2_CRYPTOKI_SOPIN", "officer");
        let run = Run::of(&mut command);
        assert!(run.success(), "{block}\n{run:?}\n--- log\n{}", peer.world.log());
        blocks += 1;
    }
    assert_eq!(blocks, 4);
    let run = peer.world.ptool_ok(&["verify", "--label=mine", "--userpin=another-pin", "--sopin=officer"]);
    assert!(run.text().contains("altered: []"), "{run:?}");
}
