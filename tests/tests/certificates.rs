//! Certificates by `ptool`, read, verified and used by OpenSSL and by other PKCS#11 clients.

use pkcs11_sys::{CKA_CERTIFICATE_CATEGORY, CKA_ID, CKA_SUBJECT, CKA_TRUSTED, CKU_USER};
use tests::desk::{Desk, PIN};
use tests::openssl::assert_request_verifies;
use tests::world::Run;

const LOGIN: [&str; 4] = ["--label", "alpha", "--userpin", PIN];

fn ptool(desk: &Desk, verb: &str, arguments: &[&str]) -> Run {
    // It overwrites nothing: neither do these tests, but for what they made themselves.
    for name in arguments.iter().filter_map(|argument| argument.strip_prefix("--out=")) {
        let _ = std::fs::remove_file(desk.world.path(name));
    }
    desk.world.ptool(&[&[verb], &LOGIN[..], arguments].concat())
}

#[test]
fn requests_of_every_key_verify() {
    let desk = Desk::new();
    ptool(&desk, "addkey", &["--algorithm=ecc224", "--key-label=p224", "--id=hex:06"]).ok();
    let cases: [(&str, &[&str], &str); 10] = [
        ("rsa", &[], "sha256WithRSAEncryption"),
        ("rsa", &["--hash=sha512"], "sha512WithRSAEncryption"),
        ("rsa", &["--pss"], "rsassaPss"),
        ("rsa3072", &["--pss", "--hash=sha384"], "rsassaPss"),
        ("p224", &[], "ecdsa-with-SHA256"),
        ("p256", &[], "ecdsa-with-SHA256"),
        ("p256", &["--hash=sha512"], "ecdsa-with-SHA512"),
        ("p384", &[], "ecdsa-with-SHA384"),
        ("p521", &[], "ecdsa-with-SHA512"),
        ("p521", &["--hash=sha256"], "ecdsa-with-SHA256"),
    ];
    for (key, options, algorithm) in cases {
        let common = [
            "--key-label",
            key,
            "--subject=CN=web.example,O=Exämple \\, Ltd,C=DE",
            "--san=dns:web.example,dns:*.web.example",
            "--san=ip:192.0.2.1,ip:2001:db8::1,email:post@web.example,uri:https://web.example/",
            "--key-usage=digitalSignature,keyAgreement",
            "--ext-key-usage=serverAuth,clientAuth",
            "--out=web.csr",
        ];
        let run = ptool(&desk, "csr", &[&common[..], options].concat());
        assert!(run.success(), "{key} {options:?}: {run:?}");
        assert_request_verifies(&desk.world, "web.csr");
        let text =
            desk.openssl(&["req", "-in", "web.csr", "-noout", "-text", "-nameopt", "RFC2253,-esc_msb,utf8"]).text();
        for part in [
            algorithm,
            "Subject: CN=web.example,O=Exämple \\, Ltd,C=DE",
            "DNS:web.example, DNS:*.web.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, \
             email:post@web.example, URI:https://web.example/",
            "Digital Signature, Key Agreement",
            "TLS Web Server Authentication, TLS Web Client Authentication",
        ] {
            assert!(text.contains(part), "{key} {options:?}: {part:?} is not in\n{text}");
        }
        // It is the key of the token that it asks a certificate for.
        desk.public_key(key);
        let asked = desk.openssl(&["req", "-in", "web.csr", "-noout", "-pubkey"]).stdout;
        desk.write("asked.pem", asked);
        let der = desk.openssl(&["pkey", "-pubin", "-in", "asked.pem", "-outform", "DER"]).stdout;
        assert_eq!(der, desk.read(&format!("{key}.pub")), "{key}");
    }
    desk.world.assert_clean();
}

#[test]
fn a_request_costs_one_login_and_one_signature() {
    let desk = Desk::new();
    desk.world.proxy.mark();
    let run = ptool(&desk, "csr", &["--key-label=p256", "--subject=CN=x"]).ok();
    assert!(run.text().starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{run:?}");
    let commands = desk.world.proxy.mark();
    assert!(commands.len() <= 9, "{commands:?}");
    // What cannot be is said before a PIN is tried.
    for (arguments, part) in [
        (&["--key-label=none", "--subject=CN=x"][..], "\"p256\" (id hex:03)"),
        (&["--subject=CN=x"], "not clear which"),
        (&["--key-label=p256"], "has no name"),
        (&["--key-label=p256", "--subject=CN=x", "--san=web.example"], "KIND:NAME"),
        (&["--key-label=p256", "--subject=CN=x", "--key-usage=sign"], "digitalSignature"),
        (&["--key-label=p256", "--subject=C=Germany"], "more than 2"),
        (&["--key-label=p256", "--subject=CN=x", "--pss"], "EC key"),
    ] {
        let run = ptool(&desk, "csr", arguments);
        assert!(!run.success() && run.stderr.contains(part), "{arguments:?}: {run:?}");
        assert_eq!(desk.world.proxy.mark().len(), 0, "{arguments:?}");
    }
    let wrong = desk.world.ptool(&["csr", "--label=alpha", "--userpin=wrong", "--key-label=p256", "--subject=CN=x"]);
    assert_eq!(wrong.status, Some(3), "{wrong:?}");
}

#[test]
fn self_signed_certificates_verify_and_serve() {
    let desk = Desk::new();
    for (key, options, category) in [
        ("rsa", &["--days=30"][..], 1_u64),
        ("rsa", &["--pss", "--hash=sha512"], 1),
        ("p256", &["--ca", "--days=36500"], 1),
        ("p384", &["--san=dns:web.example"], 1),
        ("p521", &["--ext-key-usage=serverAuth"], 1),
    ] {
        let common =
            ["--key-label", key, "--subject=CN=web.example,O=Example", "--store", "--out=web.crt", "--output=json"];
        let run = ptool(&desk, "selfsign", &[&common[..], options].concat());
        assert!(run.success(), "{key} {options:?}: {run:?}");
        desk.openssl(&["verify", "-check_ss_sig", "-CAfile", "web.crt", "web.crt"]);
        let stored: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let id = stored["id"].as_u64().unwrap();
        // The one in the token is the one in the file, and is found by the key's id.
        let probe = desk.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let certificate = desk.openssl(&["x509", "-in", "web.crt", "-outform", "DER"]).stdout;
        let of = |ty| probe.attribute(session, id, ty).unwrap();
        assert_eq!(of(pkcs11_sys::CKA_VALUE), certificate, "{key}");
        assert_eq!(of(CKA_ID), probe.attribute(session, probe.public_key(session, key), CKA_ID).unwrap(), "{key}");
        assert_eq!(of(CKA_CERTIFICATE_CATEGORY), category.to_ne_bytes(), "{key}");
        let text = desk.openssl(&["x509", "-in", "web.crt", "-noout", "-text"]).text();
        assert!(text.contains("Version: 3") && text.contains("X509v3 Subject Key Identifier"), "{text}");
        assert_eq!(text.contains("CA:TRUE"), options.contains(&"--ca"), "{text}");
        drop(probe);
        desk.world.ptool_ok(&["objdel", &id.to_string()]);
    }
    desk.world.assert_clean();
}

/// An authority of OpenSSL's own, with one between: files `root.crt`, `between.crt`, `web.crt` for the request `web.csr`.
fn issue(desk: &Desk) {
    desk.write("ca.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n");
    desk.write("web.ext", "subjectAltName=DNS:web.example\n");
    desk.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "root.key"]);
    desk.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "between.key"]);
    desk.openssl(&["req", "-new", "-key", "root.key", "-subj", "/CN=Root", "-out", "root.csr"]);
    desk.openssl(&["req", "-new", "-key", "between.key", "-subj", "/CN=Between", "-out", "between.csr"]);
    let sign = |csr: &str, by: &[&str], extensions: &str, out: &str| {
        let rest = ["-days", "30", "-extfile", extensions, "-out", out];
        desk.openssl(&[&["x509", "-req", "-in", csr][..], by, &rest].concat());
    };
    sign("root.csr", &["-signkey", "root.key"], "ca.ext", "root.crt");
    sign("between.csr", &["-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial"], "ca.ext", "between.crt");
    sign("web.csr", &["-CA", "between.crt", "-CAkey", "between.key", "-CAcreateserial"], "web.ext", "web.crt");
}

#[test]
fn a_certificate_comes_to_its_key_and_brings_its_chain() {
    let desk = Desk::new();
    ptool(&desk, "csr", &["--key-label=p384", "--subject=CN=web.example", "--out=web.csr"]).ok();
    issue(&desk);
    let text = |name: &str| String::from_utf8(desk.read(name)).unwrap();
    // In no order, with other text between, with the line ends of another system.
    let chain = format!("root\n{}between\n{}{}", text("root.crt"), text("between.crt"), text("web.crt"));
    desk.write("chain.pem", chain.replace('\n', "\r\n"));

    desk.world.proxy.mark();
    let wrong = ptool(&desk, "addcert", &["--key-label=p256", "chain.pem"]);
    assert!(!wrong.success() && wrong.stderr.contains("for \"p384\" (id hex:04)"), "{wrong:?}");
    let wrong = ptool(&desk, "addcert", &["between.crt"]);
    assert!(!wrong.success() && wrong.stderr.contains("not for a key of this token"), "{wrong:?}");
    let wrong = ptool(&desk, "addcert", &["web.csr"]);
    assert!(!wrong.success() && wrong.stderr.contains("no certificate"), "{wrong:?}");
    assert_eq!(desk.world.proxy.mark().len(), 0, "all that without the TPM");

    let added = ptool(&desk, "addcert", &["chain.pem", "--output=json"]).ok();
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    let names: Vec<_> = added.as_array().unwrap().iter().map(|one| one["subject"].as_str().unwrap()).collect();
    assert_eq!(names, ["CN=web.example", "CN=Between", "CN=Root"], "{added}");
    assert_eq!((&added[0]["label"], &added[0]["cert"]["CKA_ID"]), (&"p384".into(), &"04".into()), "{added}");
    // A second time nothing changes.
    let again = ptool(&desk, "addcert", &["--key-id=04", "chain.pem", "--output=json"]).ok();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again.as_array().map(Vec::len), Some(3), "{again}");
    for (one, other) in again.as_array().unwrap().iter().zip(added.as_array().unwrap()) {
        assert_eq!((&one["action"], &one["cert"]), (&"existing".into(), &other["cert"]));
    }
    // Other clients find them by the key's id, and read what was added.
    let read = desk.tool(&["--read-object", "--type=cert", "--id=04"]).stdout;
    assert_eq!(read, desk.openssl(&["x509", "-in", "web.crt", "-outform", "DER"]).stdout);
    let listed = desk.tool(&["--list-objects", "--type=cert"]).text();
    assert!(listed.contains("Between") && listed.contains("Root"), "{listed}");
    desk.world.assert_clean();
}

#[test]
fn a_stranger_in_the_file_is_refused() {
    let desk = Desk::new();
    ptool(&desk, "csr", &["--key-label=p384", "--subject=CN=web.example", "--out=web.csr"]).ok();
    issue(&desk);
    desk.openssl(&["req", "-x509", "-new", "-key", "root.key", "-subj", "/CN=Stranger", "-out", "stranger.crt"]);
    let file = ["web.crt", "stranger.crt"].map(|name| desk.read(name)).concat();
    desk.write("chain.pem", file);
    let run = ptool(&desk, "addcert", &["chain.pem"]);
    assert!(!run.success() && run.stderr.contains("CN=Stranger"), "{run:?}");
    assert!(!desk.world.ptool_ok(&["listobjects", "--label=alpha"]).text().contains("CERTIFICATE"));
}

/// An authority that was given a new key under its old name, as happens: the certificate hangs on one of the two.
#[test]
fn of_two_authorities_of_one_name_the_right_one_is_found() {
    let desk = Desk::new();
    let kinds: [(&str, &[&str], &[&str]); 4] = [
        ("rsa", &["-newkey", "rsa:2048"], &[]),
        ("pss", &["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"], &["-sigopt", "rsa_padding_mode:pss"]),
        ("p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &[]),
        ("p521", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], &[]),
    ];
    ptool(&desk, "csr", &["--key-label=p384", "--subject=CN=web.example", "--out=web.csr"]).ok();
    for (kind, new, sign) in kinds {
        for name in ["old", "new"] {
            let (key, crt) = (format!("{name}.key"), format!("{name}.crt"));
            let common = ["-nodes", "-subj", "/CN=House CA", "-days", "30", "-keyout", &key, "-out", &crt];
            desk.openssl(&[&["req", "-x509"][..], new, &common].concat());
        }
        let issue = ["x509", "-req", "-in", "web.csr", "-CA", "new.crt", "-CAkey", "new.key", "-CAcreateserial"];
        desk.openssl(&[&issue[..], sign, &["-days", "30", "-out", "web.crt"]].concat());
        let file = |names: [&str; 2]| names.map(|name| desk.read(name)).concat();
        desk.write("wrong.pem", file(["web.crt", "old.crt"]));
        let wrong = ptool(&desk, "addcert", &["wrong.pem"]);
        assert!(!wrong.success() && wrong.stderr.contains("CN=House CA"), "{kind}: {wrong:?}");
        desk.write("right.pem", file(["new.crt", "web.crt"]));
        let right = ptool(&desk, "addcert", &["right.pem"]);
        assert!(right.success() && right.text().contains("House CA"), "{kind}: {right:?}");
    }
}

#[test]
fn a_newer_certificate_takes_the_place_of_the_old() {
    let desk = Desk::new();
    for _ in 0..2 {
        ptool(&desk, "selfsign", &["--key-label=p256", "--subject=CN=web.example", "--out=web.crt"]).ok();
        ptool(&desk, "addcert", &["web.crt"]).ok();
    }
    ptool(&desk, "selfsign", &["--key-label=p256", "--subject=CN=web.example", "--out=web.crt"]).ok();
    let run = ptool(&desk, "addcert", &["--replace", "web.crt", "--output=json"]).ok();
    let added: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(added["replaced"].as_array().unwrap().len(), 2, "{added}");
    let listed = desk.world.ptool_ok(&["listobjects", "--label=alpha"]).text();
    assert_eq!(listed.matches("CKO_CERTIFICATE").count(), 1, "{listed}");
}

#[test]
fn only_the_security_officer_trusts() {
    let desk = Desk::new();
    desk.openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-subj",
        "/CN=House CA",
        "-days",
        "30",
        "-out",
        "ca.crt",
    ]);
    let user = ptool(&desk, "addcert", &["--ca", "--trusted", "ca.crt"]);
    assert!(!user.success() && user.stderr.contains("security officer PIN"), "{user:?}");
    let officer = ["addcert", "--label=alpha", "--sopin=so-alpha", "--ca", "--trusted", "ca.crt", "--output=json"];
    let run = desk.world.ptool_ok(&officer);
    let added: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let id = added["cert"]["id"].as_u64().unwrap();
    let probe = desk.world.probe().initialized();
    let session = probe.open_ro(probe.slot_of("alpha"));
    assert_eq!(probe.attribute(session, id, CKA_TRUSTED).unwrap(), [1]);
    assert_eq!(probe.attribute(session, id, CKA_CERTIFICATE_CATEGORY).unwrap(), 2_u64.to_ne_bytes());
    assert!(!probe.attribute(session, id, CKA_SUBJECT).unwrap().is_empty());
    // The user, once logged in, takes it for genuine.
    probe.login(session, CKU_USER, PIN).unwrap();
    assert_eq!(probe.attribute(session, id, CKA_TRUSTED).unwrap(), [1]);
}

#[test]
fn a_key_that_always_asks_is_asked_once() {
    let desk = Desk::new();
    ptool(&desk, "addkey", &["--algorithm=ecc256", "--key-label=careful", "--attr-always-authenticate"]).ok();
    ptool(&desk, "selfsign", &["--key-label=careful", "--subject=CN=x", "--out=x.crt"]).ok();
    desk.openssl(&["verify", "-check_ss_sig", "-CAfile", "x.crt", "x.crt"]);
}

#[test]
fn a_token_without_pin_needs_none() {
    let desk = Desk::new();
    let run = desk.world.ptool_ok(&["csr", "--label=open", "--subject=/O=Example/CN=open"]);
    desk.write("open.csr", &run.stdout);
    assert_request_verifies(&desk.world, "open.csr");
}
