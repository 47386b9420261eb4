//! Keys of which the TPM keeps a copy at a persistent handle: what they cost, and what happens when the copy is gone.

use pkcs11_sys::*;
use tests::Probe;
use tests::world::{ALPHA, World};

const KEY: [&str; 6] = ["--label", "alpha", "--key-label", "p256", "--userpin", "user-alpha"];

fn residence(world: &World, verb: &str) -> String {
    let said = world.ptool_ok(&[&[verb, "--output=json"], &KEY[..]].concat()).text();
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    value["handle"].as_str().unwrap().to_owned()
}

fn sign(probe: &Probe, session: u64, key: u64) {
    assert_eq!(probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap().len(), 64);
}

/// What the chip is asked for a further signature.
fn further(world: &World) -> usize {
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    for _ in 0..3 {
        sign(&probe, session, key);
    }
    world.proxy.mark();
    sign(&probe, session, key);
    let further = world.proxy.mark();
    assert!(further.failed().is_empty(), "{further}");
    probe.finalize().unwrap();
    further.len()
}

#[test]
fn a_signature_costs_the_chip_three_or_one() {
    for (configuration, loaded, resident) in [("", 6, 3), ("bus-protection = \"off\"\n", 4, 1)] {
        let world = World::new().managed().configured(&format!("idle-ms = 600000\n{configuration}"));
        let before = further(&world);
        assert!(resident < before && before <= loaded, "{before}");
        residence(&world, "persist");
        assert_eq!(further(&world), resident, "{configuration}");
        residence(&world, "unpersist");
        assert_eq!(further(&world), before, "{configuration}");
        world.assert_clean();
    }
}

#[test]
fn a_copy_that_is_taken_out_meanwhile_is_done_without() {
    let world = World::new().managed();
    let handle = residence(&world, "persist");
    assert_eq!(residence(&world, "persist"), handle, "there already");
    let verify = world.ptool_ok(&["verify", "--label", "alpha", "--userpin", "user-alpha", "--output=json"]).text();
    assert!(verify.contains("\"altered\": []"), "{verify}");
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    sign(&probe, session, key);
    // Somebody else takes it out, under the eyes of a process that uses it.
    let other = residence(&world, "unpersist");
    assert_eq!(other, handle);
    sign(&probe, session, key);
    sign(&probe, session, key);
}

#[test]
fn a_copy_that_is_gone_is_missed_by_the_doctor_alone() {
    let world = World::new();
    let handle = residence(&world, "persist");
    let number = u32::from_str_radix(handle.trim_start_matches("0x"), 16).unwrap();
    evict(&world, number);
    let another = world.probe().initialized();
    let session = another.user_session(&ALPHA);
    let key = another.private_key(session, "p256");
    sign(&another, session, key);
    another.finalize().unwrap();
    let doctor = world.ptool(&["doctor", "--label", "alpha"]).all();
    assert!(doctor.contains(&format!("is no longer kept in the TPM at {handle}")), "{doctor}");
    // Said again, it is there again.
    assert_eq!(residence(&world, "persist"), handle);
    let doctor = world.ptool(&["doctor", "--label", "alpha"]).all();
    assert!(!doctor.contains("no longer kept"), "{doctor}");
}

#[test]
fn what_is_removed_leaves_the_tpm_too() {
    let world = World::new().managed();
    let handle = residence(&world, "persist");
    let number = u32::from_str_radix(handle.trim_start_matches("0x"), 16).unwrap();
    let there = || has(&world, number);
    assert!(there());
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    let key = probe.private_key(session, "p256");
    probe.destroy(session, key).unwrap();
    assert!(!there(), "C_DestroyObject");
    probe.finalize().unwrap();

    let add = |label: &str| {
        let add = ["addkey", "--label", "alpha", "--userpin", "user-alpha", "--algorithm", "ecc256", "--persistent"];
        let said = world.ptool_ok(&[&add[..], &["--key-label", label, "--output=json"]].concat()).text();
        let value: serde_json::Value = serde_json::from_str(&said).unwrap();
        let handle = value["handle"].as_str().unwrap().to_owned();
        u32::from_str_radix(handle.trim_start_matches("0x"), 16).unwrap()
    };
    let one = add("one");
    assert!(has(&world, one));
    let listed = world.ptool_ok(&["listobjects", "--label", "alpha", "--output=json"]).text();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let object = listed.as_array().unwrap().iter().find(|object| object["persistent"].is_string()).unwrap();
    world.ptool_ok(&["objdel", &object["id"].to_string()]);
    assert!(!has(&world, one), "objdel");
    let two = add("two");
    world.ptool_ok(&["rmtoken", "--label", "alpha"]);
    assert!(!has(&world, two), "rmtoken");
}

/// TPM2_EvictControl by the owner, whose authorisation is empty.
fn evict(world: &World, handle: u32) {
    let output = std::process::Command::new("tpm2_evictcontrol")
        .args(["-Q", "-C", "o", "-c", &format!("{handle:#x}")])
        .env("TPM2TOOLS_TCTI", world.proxy.tcti())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Is there anything at the handle?
fn has(world: &World, handle: u32) -> bool {
    let output = std::process::Command::new("tpm2_readpublic")
        .args(["-Q", "-c", &format!("{handle:#x}")])
        .env("TPM2TOOLS_TCTI", world.manager.as_ref().unwrap().tcti_tcp())
        .output()
        .unwrap();
    output.status.success()
}
