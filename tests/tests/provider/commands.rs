//! What `openssl` does with keys of the token, one command at a time.

use tests::world::ALPHA;

use crate::desk::{Desk, LETTER, PIN, private, public};

#[test]
fn storeutl_lists() {
    let Some(desk) = Desk::new() else { return };
    let count = |kind: &[&str], uri: &str| {
        let run = desk.openssl(&[&["storeutl", "-noout"], kind, &[uri]].concat());
        let said = run.text();
        let total = said.lines().find_map(|line| line.strip_prefix("Total found: "));
        // Where there is nothing, it says nothing else.
        total.map_or(0, |total| total.parse::<usize>().unwrap())
    };
    let keys = ALPHA.keys.len();
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;type=private"), keys);
    assert_eq!(count(&[], "pkcs11:token=alpha;type=public"), keys);
    assert_eq!(count(&["-certs"], "pkcs11:token=alpha"), 0);
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;object=p256;type=private"), 1);
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;id=%01;type=private"), 1);
    assert_eq!(count(&[], "pkcs11:token=alpha;object=p521;type=public"), 1);
    let text = desk.openssl(&["storeutl", "-text", "-noout", &public("p384")]).all();
    assert!(text.contains("secp384r1") || text.contains("P-384"), "{text}");
    // A certificate that the token carries beside its key.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("p256"),
        "-subj",
        "/CN=carried",
        "-days",
        "2",
        "-out",
        "certificate",
    ]);
    desk.plain(&["x509", "-in", "certificate", "-outform", "DER", "-out", "certificate.der"]);
    let write = ["--write-object", "certificate.der", "--type", "cert", "--id", "03", "--label", "carried"];
    desk.tool(&[&["--token-label", "alpha", "--login", "--pin", PIN], &write[..]].concat());
    assert_eq!(count(&["-certs"], "pkcs11:token=alpha;type=cert"), 1);
    let pem = desk.openssl(&["storeutl", "-certs", "-out", "carried", "pkcs11:token=alpha;object=carried;type=cert"]);
    assert!(pem.success());
    let fingerprint = |file: &str| desk.plain(&["x509", "-in", file, "-noout", "-fingerprint", "-sha256"]).text();
    assert_eq!(fingerprint("carried"), fingerprint("certificate"));
    desk.world.assert_clean();
}

#[test]
fn pkey_exports_public_keys() {
    let Some(desk) = Desk::new() else { return };
    for key in ALPHA.keys {
        let label = key.label;
        desk.public_key(label);
        let theirs = desk.read(&format!("{label}.der"));
        for from in [&["-in", &private(label)][..], &["-pubin", "-in", &public(label)]] {
            // Of two forms in PEM, the provider chooses another one than OpenSSL itself.
            desk.write("exported", desk.openssl(&[&["pkey", "-pubout"], from].concat()).stdout);
            assert_eq!(desk.plain(&["pkey", "-pubin", "-in", "exported", "-outform", "DER"]).stdout, theirs, "{label}");
        }
        // The key itself is not to be had: what comes out, if anything does, only says where it is.
        let taken = desk.try_openssl(&["pkey", "-in", &private(label)]);
        assert!(
            !taken.all().contains("BEGIN PRIVATE KEY") && !taken.all().contains("BEGIN EC PRIVATE KEY"),
            "{taken:?}"
        );
    }
}

#[test]
fn dgst_signs_and_verifies() {
    let Some(desk) = Desk::new() else { return };
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    let cases: [(&str, &str, &[&str]); 9] = [
        ("rsa", "-sha256", &[]),
        ("rsa", "-sha512", &[]),
        ("rsa3072", "-sha1", &[]),
        ("rsa", "-sha256", &pss),
        ("rsa", "-sha384", &pss),
        ("p256", "-sha256", &[]),
        ("p256", "-sha512", &[]),
        ("p384", "-sha256", &[]),
        ("p521", "-sha256", &[]),
    ];
    for (label, hash, options) in cases {
        let key = desk.public_key(label);
        let sign = ["dgst", hash, "-sign", &private(label), "-out", "signature"];
        desk.openssl(&[&sign, options, &["letter"]].concat());
        let judged: Vec<&str> = options.iter().filter(|option| **option != "-sigopt").copied().collect();
        desk.verify(&key, hash, &judged);
        // `dgst -verify` itself ends in a crash of this version of the provider, after the verification: it asks for the same
        // context again, without a key, and the provider does not look.
        let check = |input: &str, name: &str| {
            let verify = [
                "pkeyutl",
                "-verify",
                "-rawin",
                "-digest",
                &hash[1..],
                "-pubin",
                "-inkey",
                name,
                "-sigfile",
                "signature",
            ];
            let options: Vec<&str> = judged.iter().flat_map(|option| ["-pkeyopt", option]).collect();
            desk.try_openssl(&[&verify[..], &["-in", input], &options].concat())
        };
        // By the token's public key, and by one from a file, which the configuration sends to the token too.
        for name in [&public(label), &key] {
            let verified = check("letter", name);
            assert!(
                verified.success() && verified.text().contains("Signature Verified Successfully"),
                "{label} {hash} {options:?} {name}: {verified:?}"
            );
            desk.write("other", b"Dear forger,\n");
            let refused = check("other", name);
            assert!(
                !refused.success() && refused.all().contains("Verification Failure"),
                "{label} {hash} {options:?} {name}: {refused:?}"
            );
        }
    }
    desk.world.assert_clean();
}

#[test]
fn pkeyutl_signs_and_verifies() {
    let Some(desk) = Desk::new() else { return };
    desk.write("digest", desk.plain(&["dgst", "-sha256", "-binary", "letter"]).stdout);
    let pss = ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:20", "-pkeyopt", "digest:sha256"];
    let cases: [(&str, &[&str]); 6] = [
        ("rsa", &["-pkeyopt", "digest:sha256"]),
        // No digest: the block is what the caller says it is.
        ("rsa", &["-pkeyopt", "rsa_padding_mode:pkcs1"]),
        ("rsa", &pss),
        ("p256", &[]),
        ("p384", &[]),
        ("p521", &[]),
    ];
    for (label, options) in cases {
        let key = desk.public_key(label);
        let sign = ["pkeyutl", "-sign", "-inkey", &private(label), "-in", "digest", "-out", "signature"];
        desk.openssl(&[&sign, options].concat());
        let verify = |name: &str| {
            [&["pkeyutl", "-verify", "-pubin", "-inkey", name, "-in", "digest", "-sigfile", "signature"], options]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        for name in [&key, &public(label)] {
            let arguments = verify(name);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let run = if *name == key { desk.plain(&arguments) } else { desk.openssl(&arguments) };
            assert!(run.text().contains("Signature Verified Successfully"), "{label} {options:?} {name}: {run:?}");
        }
    }
    // The input hashed by the command, which takes one mechanism for both where the token has it.
    for label in ["rsa", "p256"] {
        let key = desk.public_key(label);
        desk.openssl(&[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-digest",
            "sha256",
            "-inkey",
            &private(label),
            "-in",
            "letter",
            "-out",
            "signature",
        ]);
        desk.verify(&key, "-sha256", &[]);
    }
}

#[test]
fn pkeyutl_decrypts() {
    let Some(desk) = Desk::new() else { return };
    let oaep = |md: &'static str, mgf: &'static str| {
        vec!["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", md, "-pkeyopt", mgf]
    };
    let cases: [Vec<&str>; 4] = [
        vec!["-pkeyopt", "rsa_padding_mode:pkcs1"],
        oaep("rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"),
        oaep("rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"),
        oaep("rsa_oaep_md:sha256", "rsa_mgf1_md:sha1"),
    ];
    for label in ["rsa", "rsa3072"] {
        let key = desk.public_key(label);
        for options in &cases {
            let encrypt =
                |name: &'static str| ["pkeyutl", "-encrypt", "-pubin", "-in", "letter", "-out", name, "-inkey"];
            desk.plain(&[&encrypt("by-plain")[..], &[&key], options].concat());
            desk.openssl(&[&encrypt("by-token")[..], &[&public(label)], options].concat());
            // This version of the provider takes a key from a file and then misses its slot: OpenSSL has to be asked itself.
            desk.openssl(&[&encrypt("by-file")[..], &[&key, "-propquery", "provider=default"], options].concat());
            for cipher in ["by-plain", "by-token", "by-file"] {
                let decrypt = ["pkeyutl", "-decrypt", "-inkey", &private(label), "-in", cipher];
                let run = desk.openssl(&[&decrypt, &options[..]].concat());
                assert_eq!(run.stdout, LETTER, "{label} {options:?} {cipher}");
            }
        }
    }
}

/// OAEP as most people write it: without a word about hashes, which OpenSSL takes for SHA-1 and the provider leaves out.
#[test]
fn pkeyutl_decrypts_oaep_with_nothing_said() {
    let Some(desk) = Desk::new() else { return };
    let key = desk.public_key("rsa");
    let encrypt =
        ["pkeyutl", "-encrypt", "-pubin", "-inkey", &key, "-pkeyopt", "rsa_padding_mode:oaep", "-in", "letter"];
    desk.plain(&[&encrypt[..], &["-out", "cipher"]].concat());
    let decrypt = ["pkeyutl", "-decrypt", "-inkey", &private("rsa"), "-pkeyopt", "rsa_padding_mode:oaep"];
    assert_eq!(desk.openssl(&[&decrypt[..], &["-in", "cipher"]].concat()).stdout, LETTER);
}

#[test]
fn pkeyutl_derives() {
    let Some(desk) = Desk::new() else { return };
    for (label, curve) in [("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521")] {
        let key = desk.public_key(label);
        desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", &format!("group:{curve}"), "-out", "peer"]);
        desk.plain(&["pkey", "-in", "peer", "-pubout", "-out", "peer.pub"]);
        let expected = desk.plain(&["pkeyutl", "-derive", "-inkey", "peer", "-peerkey", &key]).stdout;
        let made = desk.openssl(&["pkeyutl", "-derive", "-inkey", &private(label), "-peerkey", "peer.pub"]).stdout;
        assert!(!made.is_empty());
        assert_eq!(made, expected, "{label}");
    }
}

#[test]
fn genpkey_makes_keys_on_the_token() {
    let Some(desk) = Desk::new() else { return };
    let cases: [(&str, [&str; 4]); 5] = [
        ("made-rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("made-rsa3072", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
        ("made-p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("made-p384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("made-p521", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ];
    for (label, algorithm) in cases {
        let uri = format!("pkcs11_uri:pkcs11:token=alpha;object={label}");
        let how = ["genpkey", "-propquery", "provider=pkcs11", "-out", "made.pem", "-pkeyopt", &uri];
        desk.openssl(&[&how[..], &algorithm].concat());
        let pem = String::from_utf8(desk.read("made.pem")).unwrap();
        assert!(pem.contains("BEGIN PKCS#11 PROVIDER URI"), "{pem}");
        // The file that says where the key is, and the key by its name.
        for key in ["made.pem", &private(label)] {
            desk.openssl(&["dgst", "-sha256", "-sign", key, "-out", "signature", "letter"]);
            desk.verify(&desk.public_key(label), "-sha256", &[]);
        }
    }
    let listed = desk.tool(&["--token-label", "alpha", "--login", "--pin", PIN, "--list-objects"]).text();
    assert_eq!(listed.lines().filter(|line| line.contains("label:") && line.contains("made-")).count(), 10, "{listed}");
    assert!(listed.contains("never extractable"), "{listed}");
}
