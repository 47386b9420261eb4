//! Certificates and requests.

use tests::openssl::assert_request_verifies;

use crate::desk::{Desk, LETTER, private};

#[test]
fn req_makes_certificates_and_requests() {
    let Some(desk) = Desk::new() else { return };
    for (label, hash) in
        [("rsa", "-sha256"), ("rsa3072", "-sha384"), ("p256", "-sha256"), ("p384", "-sha384"), ("p521", "-sha512")]
    {
        let key = private(label);
        desk.openssl(&[
            "req",
            "-new",
            "-x509",
            hash,
            "-key",
            &key,
            "-subj",
            "/CN=reader",
            "-days",
            "2",
            "-out",
            "certificate",
        ]);
        for verify in [
            desk.plain(&["verify", "-check_ss_sig", "-CAfile", "certificate", "certificate"]),
            desk.openssl(&["verify", "-check_ss_sig", "-CAfile", "certificate", "certificate"]),
        ] {
            assert!(verify.text().contains("certificate: OK"), "{label}: {verify:?}");
        }
        let pem = desk.plain(&["x509", "-in", "certificate", "-noout", "-pubkey"]).stdout;
        assert_eq!(pem, desk.read(&desk.public_key(label)), "{label}");
        desk.openssl(&["req", "-new", hash, "-key", &key, "-subj", "/CN=applicant", "-out", "request"]);
        assert_request_verifies(&desk.world, "request");
    }
    // The token as a certification authority.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("p384"),
        "-subj",
        "/CN=authority",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-out",
        "authority",
    ]);
    desk.openssl(&[
        "x509",
        "-req",
        "-in",
        "request",
        "-CA",
        "authority",
        "-CAkey",
        &private("p384"),
        "-days",
        "1",
        "-out",
        "leaf",
    ]);
    assert!(desk.plain(&["verify", "-CAfile", "authority", "leaf"]).text().contains("leaf: OK"));
    desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "file.key"]);
    // And for CMS: signed by the token, and a letter to it.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("rsa"),
        "-subj",
        "/CN=reader",
        "-days",
        "2",
        "-out",
        "reader",
    ]);
    desk.openssl(&[
        "cms",
        "-sign",
        "-binary",
        "-nodetach",
        "-in",
        "letter",
        "-signer",
        "reader",
        "-inkey",
        &private("rsa"),
        "-outform",
        "DER",
        "-out",
        "signed",
    ]);
    let opened = desk.plain(&[
        "cms", "-verify", "-binary", "-inform", "DER", "-in", "signed", "-CAfile", "reader", "-purpose", "any",
    ]);
    assert_eq!(opened.stdout, LETTER);
    desk.plain(&[
        "cms", "-encrypt", "-binary", "-aes256", "-in", "letter", "-outform", "DER", "-out", "sealed", "reader",
    ]);
    let read = desk.openssl(&[
        "cms",
        "-decrypt",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "sealed",
        "-recip",
        "reader",
        "-inkey",
        &private("rsa"),
    ]);
    assert_eq!(read.stdout, LETTER);
}
