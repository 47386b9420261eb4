//! Tokens that open in the right state of the machine only.

use pkcs11_sys::*;
use tests::probe::fails;

use crate::machine::*;

#[test]
fn a_token_opens_in_its_state_only() {
    let mut world = world();
    world.ptool_ok(&["addtoken", "--label=sealed", "--sopin", SO, "--userpin", PIN, "--pcr=sha256:10"]);
    world.ptool_ok(&["addkey", "--label=sealed", "--userpin", PIN, "--algorithm=ecc256", "--key-label=k"]);
    assert!(world.ptool_ok(&["listtokens"]).text().contains("policy: 'sha256:10 + PIN'"));
    login(&world, "sealed", PIN).unwrap();
    fails(login(&world, "sealed", "wrong-pin"), CKR_PIN_INCORRECT);
    extend(&world, 10, 1);
    let counter = lockout_counter(&world);
    fails(login(&world, "sealed", PIN), CKR_FUNCTION_REJECTED);
    fails(login(&world, "sealed", "wrong-pin"), CKR_FUNCTION_REJECTED);
    assert_eq!(lockout_counter(&world), counter);
    assert!(world.log().contains("sha256:10"), "{}", world.log());
    // The security officer still sets PINs, and the user changes his: neither opens anything.
    world.ptool_ok(&["initpin", "--label=sealed", "--sopin", SO, "--userpin=second-pin"]);
    world.ptool_ok(&["changepin", "--label=sealed", "--old=second-pin", "--new=third-pin"]);
    fails(login(&world, "sealed", "third-pin"), CKR_FUNCTION_REJECTED);
    reboot(&mut world);
    login(&world, "sealed", "third-pin").unwrap();
    fails(login(&world, "sealed", PIN), CKR_PIN_INCORRECT);
    world.assert_clean();
}

#[test]
fn a_token_without_pin_opens_by_itself_in_its_state() {
    let world = world();
    authority(&world, "boss", RSA);
    world.ptool_ok(&["addtoken", "--label=auto", "--sopin", SO, "--no-userpin", "--pcr-authority=boss.pub"]);
    let key = ["addkey", "--label=auto", "--algorithm=ecc256", "--key-label=k"];
    assert_eq!(world.ptool(&key).status, Some(1), "its keys are made where they can be used");
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    world.ptool_ok(&key);
    let attempt = || {
        let probe = world.probe().initialized();
        let slot = probe.slot_of("auto");
        assert_eq!(probe.token_info(slot).unwrap().flags & CKF_LOGIN_REQUIRED, 0);
        let session = probe.open_ro(slot);
        let key = probe.private_key(session, "k");
        let result = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
        probe.finalize().unwrap();
        result
    };
    attempt().unwrap();
    extend(&world, 10, 1);
    fails(attempt(), CKR_FUNCTION_REJECTED);
    for change in [
        &["changepin", "--label=auto", "--old=", "--new=new-pin"][..],
        &["initpin", "--label=auto", "--sopin", SO, "--userpin=new-pin"],
    ] {
        let run = world.ptool(change);
        assert!(run.status == Some(1) && run.stderr.contains("no PIN"), "{change:?}: {run:?}");
    }
}
