//! Keys that work in any state that an authority approved of.

use pkcs11_sys::*;
use tests::probe::fails;

use crate::machine::*;

#[test]
fn an_approval_makes_a_key_work_in_a_new_state() {
    for algorithm in [RSA, EC] {
        let world = world();
        authority(&world, "boss", algorithm);
        add_key(&world, "signed", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
        let before = world.store_bytes();
        refused(&world, "signed");
        assert!(world.log().contains("there is no approval"), "{}", world.log());
        world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10", "--comment=first kernel"]);
        sign(&world, "signed").unwrap();
        extend(&world, 10, 1);
        refused(&world, "signed");

        // A process that runs sees an approval that comes meanwhile.
        let (probe, session) = logged_in(&world);
        let key = probe.private_key(session, "signed");
        fails(probe.sign(session, CKM_ECDSA_SHA256, key, b"message"), CKR_FUNCTION_REJECTED);
        world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
        probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
        probe.finalize().unwrap();
        assert_ne!(world.store_bytes(), before);

        let listed = world.ptool_ok(&["pcr", "list"]).text();
        assert!(
            listed.contains("comment: first kernel") && listed.matches("pcrs: 'sha256:10'").count() == 2,
            "{listed}"
        );
        let revoked = world.ptool_ok(&["pcr", "revoke", "2"]);
        assert!(revoked.stderr.contains("stay good"), "{revoked:?}");
        refused(&world, "signed");
        assert_eq!(world.ptool(&["pcr", "revoke", "2"]).status, Some(1));
    }
}

#[test]
fn approvals_in_files_count_by_their_signature_alone() {
    let world = world();
    authority(&world, "boss", RSA);
    authority(&world, "other", RSA);
    add_key(&world, "signed", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
    extend(&world, 10, 1);
    let dir = world.path("approvals.d");
    std::fs::create_dir(&dir).unwrap();
    let approve = |key: &str, file: &str| {
        world.ptool_ok(&["pcr", "approve", "--key", key, "--pcr=sha256:10", "--output-file", file]);
        std::fs::read_to_string(world.path(file)).unwrap()
    };
    let good = approve("boss.pem", "good");
    let foreign = approve("other.pem", "foreign");
    let value = |text: &str, name: &str| {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["sha256"][0][name].as_str().unwrap().to_owned()
    };
    let mut flipped = value(&good, "sig");
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, first);
    let bad = [
        ("foreign", foreign.clone()),
        ("foreign, under the name of the authority", foreign.replace(&value(&foreign, "pkfp"), &value(&good, "pkfp"))),
        ("forged", good.replace(&value(&good, "sig"), &flipped)),
        ("for another state", good.replace(&value(&good, "pol"), &"00".repeat(32))),
        ("for other PCRs", good.replace("10", "11")),
        ("cut", good[..good.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not JSON", "\u{0}".repeat(1000)),
    ];
    for (what, text) in &bad {
        assert_ne!(*text, good, "{what}");
        std::fs::write(dir.join("bad.json"), text).unwrap();
        assert_eq!(sign(&world, "signed"), Err(tests::Ck(CKR_FUNCTION_REJECTED)), "{what}");
    }
    // Among all of them, the good one is found.
    for (number, (_, text)) in bad.iter().enumerate() {
        std::fs::write(dir.join(format!("{number}.json")), text).unwrap();
    }
    std::fs::write(dir.join("zzz.json"), &good).unwrap();
    sign(&world, "signed").unwrap();
}

#[test]
fn an_authority_may_be_a_key_in_a_token() {
    let world = world();
    world.ptool_ok(&["addtoken", "--label=the boss", "--sopin", SO, "--userpin=boss-pin"]);
    for algorithm in ["rsa2048", "ecc256"] {
        world.ptool_ok(&[
            "addkey",
            "--label=the boss",
            "--userpin=boss-pin",
            "--key-label",
            algorithm,
            "--algorithm",
            algorithm,
        ]);
        let uri = format!("pkcs11:token=the%20boss;object={algorithm}");
        add_key(&world, algorithm, &["--pcr-authority", &uri]);
        refused(&world, algorithm);
        let wrong = world.ptool(&["pcr", "approve", "--key", &uri, "--pcr=sha256:10", "--userpin=wrong"]);
        assert_eq!(wrong.status, Some(3), "{wrong:?}");
        world.ptool_ok(&["pcr", "approve", "--key", &uri, "--pcr=sha256:10", "--userpin=boss-pin"]);
        sign(&world, algorithm).unwrap();
    }
}

#[test]
fn an_approval_with_a_counter_can_be_taken_back() {
    let world = world();
    authority(&world, "boss", RSA);
    add_key(&world, "signed", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
    let approve = || world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10", "--counter"]);
    assert!(approve().text().contains("counter: '0x0180"));
    approve();
    sign(&world, "signed").unwrap();
    // What an attacker keeps is the store as it is now.
    let kept = world.store_bytes();
    let revoked = world.ptool_ok(&["pcr", "revoke", "1"]);
    assert!(revoked.text().contains("void: true") && revoked.stderr.is_empty(), "{revoked:?}");
    sign(&world, "signed").unwrap();
    world.ptool_ok(&["pcr", "revoke", "2"]);
    refused(&world, "signed");
    std::fs::write(world.store_file(), &kept).unwrap();
    refused(&world, "signed");
    // Nor does a counter that is made anew at the same place bring it back.
    approve();
    sign(&world, "signed").unwrap();
    world.ptool_ok(&["pcr", "revoke", "3"]);
    std::fs::write(world.store_file(), &kept).unwrap();
    refused(&world, "signed");
    let check = world.ptool(&["pcr", "check", "--label=t"]);
    assert!(check.status == Some(1) && check.text().contains("revoked"), "{check:?}");
    // What has lost its counter is removed like any other.
    world.ptool_ok(&["pcr", "revoke", "1"]);
    assert_eq!(tool(&world, "tpm2_nvreadpublic", &[]).text().matches("0x1800").count(), 0);
    world.assert_clean();
}

#[test]
fn nothing_is_left_of_an_approval_that_fails() {
    let world = world();
    authority(&world, "boss", RSA);
    add_key(&world, "boss", &[]);
    for key in ["pkcs11:token=t;object=boss", "boss.pub"] {
        let run = world.ptool(&["pcr", "approve", "--key", key, "--pcr=sha256:10", "--counter", "--userpin=wrong-pin"]);
        assert!(matches!(run.status, Some(1 | 3)), "{run:?}");
    }
    assert_eq!(tool(&world, "tpm2_nvreadpublic", &[]).text().matches("0x1800").count(), 0);
    assert_eq!(world.ptool_ok(&["pcr", "list"]).text(), "[]\n");
}

#[test]
fn an_authority_that_the_tpm_does_not_know_makes_no_key() {
    let world = world();
    authority(&world, "odd", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1536"]);
    let arguments = ["addkey", "--label=t", "--userpin", PIN, "--algorithm=ecc256", "--pcr-authority=odd.pub"];
    let run = world.ptool(&arguments);
    assert!(run.status == Some(1) && run.all().contains("this TPM cannot check"), "{run:?}");
    assert!(!world.ptool_ok(&["listobjects", "--label=t"]).text().contains("CKO_PRIVATE_KEY"));
    world.assert_clean();
}
