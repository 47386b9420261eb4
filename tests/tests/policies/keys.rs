//! Keys that work in the right state of the machine only.

use pkcs11_sys::*;
use tests::Argument;
use tests::probe::{attributes, bytes, fails, number};
use tests::world::Run;

use crate::machine::*;

#[test]
fn a_key_works_in_its_state_only() {
    let mut world = world();
    extend(&world, 10, 1);
    let made = add_key(&world, "bound", &["--pcr", "sha256:7,10"]);
    assert!(made.stderr.contains("--pcr-authority"), "an update ends it, and there is another way: {made:?}");
    add_key(&world, "free", &[]);
    sign(&world, "bound").unwrap();
    assert!(world.ptool_ok(&["listobjects", "--label=t"]).text().contains("policy: 'sha256:7,10 + PIN'"));
    world.ptool_ok(&["pcr", "check", "--label=t", "--key-label=bound"]);

    let counter = lockout_counter(&world);
    extend(&world, 10, 2);
    for _ in 0..3 {
        refused(&world, "bound");
    }
    sign(&world, "free").unwrap();
    let log = world.log();
    let line = log.lines().find(|line| line.contains("CKR_FUNCTION_REJECTED")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("sha256:7,10") && line.contains(" 10 differ") && line.contains("ptool pcr check"), "{line}");
    assert_eq!(lockout_counter(&world), counter, "nobody guessed a PIN");
    let check = world.ptool(&["pcr", "check", "--label=t"]);
    assert!(check.status == Some(1) && check.text().contains(" 10 differ"), "{check:?}");

    reboot(&mut world);
    refused(&world, "bound");
    extend(&world, 10, 1);
    sign(&world, "bound").unwrap();
    world.assert_clean();
}

#[test]
fn values_come_from_files_of_several_kinds() {
    let world = world();
    extend(&world, 10, 1);
    let shown = world.ptool_ok(&["pcr", "show", "sha256:10,11"]).text();
    std::fs::write(world.path("shown.yaml"), &shown).unwrap();
    std::fs::write(world.path("shown.json"), world.ptool_ok(&["pcr", "show", "--output=json"]).text()).unwrap();
    let tcti = world.tcti();
    let read =
        |more: &[&str]| Run::of(world.command("tpm2_pcrread").args(["-T", &tcti, "sha256:10,11"]).args(more)).ok();
    std::fs::write(world.path("tools.yaml"), read(&[]).text()).unwrap();
    read(&["-o", "tools.bin"]);
    for (number, file) in ["shown.yaml", "shown.json", "tools.yaml", "tools.bin"].into_iter().enumerate() {
        let label = format!("key{number}");
        // Made in another state than the one it is for.
        extend(&world, 16, 1);
        let path = world.path(file);
        add_key(&world, &label, &["--pcr=sha256:10,11", "--pcr-values", path.to_str().unwrap()]);
        sign(&world, &label).unwrap();
    }
    let wrong = world.ptool(&[
        "addkey",
        "--label=t",
        "--userpin",
        PIN,
        "--algorithm=ecc256",
        "--pcr=sha256:9,10",
        "--pcr-values",
        "shown.yaml",
    ]);
    assert!(wrong.status == Some(1) && wrong.stderr.contains("lacks"), "{wrong:?}");
}

#[test]
fn one_of_several_states_is_enough() {
    let mut world = world();
    std::fs::write(world.path("before.yaml"), world.ptool_ok(&["pcr", "show", "sha256:10"]).text()).unwrap();
    extend(&world, 10, 1);
    add_key(&world, "either", &["--pcr=sha256:10", "--pcr-values=now", "--pcr-values=before.yaml"]);
    sign(&world, "either").unwrap();
    extend(&world, 10, 2);
    refused(&world, "either");
    reboot(&mut world);
    sign(&world, "either").unwrap();
    let listed = world.ptool_ok(&["listobjects", "--label=t"]).text();
    assert!(listed.contains("(sha256:10 | sha256:10) + PIN"), "{listed}");
}

#[test]
fn literal_states_and_an_authority_go_together() {
    let world = world();
    authority(&world, "boss", RSA);
    add_key(&world, "both", &["--pcr=sha256:10", "--or-authority=boss.pub"]);
    sign(&world, "both").unwrap();
    extend(&world, 10, 1);
    refused(&world, "both");
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    sign(&world, "both").unwrap();
}

#[test]
fn a_key_without_pin_asks_for_the_state_alone() {
    let world = world();
    add_key(&world, "unattended", &["--pcr=sha256:10", "--no-pin"]);
    let attempt = || {
        let probe = world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("t"));
        let key = probe.private_key(session, "unattended");
        let result = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
        probe.finalize().unwrap();
        result
    };
    attempt().unwrap();
    sign(&world, "unattended").unwrap();
    extend(&world, 10, 1);
    fails(attempt(), CKR_FUNCTION_REJECTED);
    refused(&world, "unattended");
    world.assert_clean();
}

#[test]
fn an_altered_policy_is_noticed() {
    let world = world();
    add_key(&world, "bound", &["--pcr=sha256:10"]);
    world.ptool_ok(&["addtoken", "--label=sealed", "--sopin", SO, "--userpin", PIN, "--pcr=sha256:10"]);
    let alter = |table: &str| {
        let store = rusqlite::Connection::open(world.store_file()).unwrap();
        let sql = format!("SELECT policy FROM {table} WHERE policy IS NOT NULL");
        let policy: String = store.query_row(&sql, [], |row| row.get(0)).unwrap();
        let altered = policy.replace(",\"auth_value\"", "");
        assert_ne!(altered, policy);
        store.execute(&format!("UPDATE {table} SET policy = ?1 WHERE policy IS NOT NULL"), [altered]).unwrap();
    };
    for table in ["objects", "tokens"] {
        alter(table);
    }
    let (probe, session) = logged_in(&world);
    assert!(probe.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).unwrap().is_empty());
    let sealed = probe.open_rw(probe.slot_of("sealed"));
    fails(probe.login(sealed, CKU_USER, PIN), CKR_DEVICE_ERROR);
    assert!(world.log().contains("policy"), "{}", world.log());
    probe.finalize().unwrap();
}

#[test]
fn keys_from_elsewhere_are_bound_as_well() {
    let world = world();
    authority(&world, "mine", EC);
    let import = |more: &[&str]| {
        let import = ["import", "--label=t", "--userpin", PIN, "--privkey=mine.pem"];
        world.ptool_ok(&[&import, more].concat());
    };
    import(&["--key-label=bound", "--pcr=sha256:10"]);
    import(&["--key-label=free", "--pcr=sha256:10", "--no-pin"]);
    sign(&world, "bound").unwrap();
    sign(&world, "free").unwrap();
    extend(&world, 10, 1);
    refused(&world, "bound");
    refused(&world, "free");
}

#[test]
fn secret_keys_are_bound_as_well() {
    let world = world();
    for (label, more) in [("bound", None), ("free", Some("--no-pin"))] {
        let mut add =
            vec!["addkey", "--label=t", "--userpin", PIN, "--algorithm=aes256", "--pcr=sha256:10", "--key-label"];
        add.push(label);
        add.extend(more);
        world.ptool_ok(&add);
    }
    let encrypt = |label: &str, pin: Option<&str>| {
        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("t"));
        if let Some(pin) = pin {
            probe.login(session, CKU_USER, pin).unwrap();
        }
        let keys = probe.find(session, &[number(CKA_CLASS, CKO_SECRET_KEY), bytes(CKA_LABEL, label.as_bytes())]);
        let encrypted = probe.encrypt(session, CKM_AES_ECB, keys.unwrap()[0], &[7; 32]);
        probe.finalize().unwrap();
        encrypted.map(|text| assert_ne!(text, [7; 32]))
    };
    encrypt("bound", Some(PIN)).unwrap();
    encrypt("free", None).unwrap();
    extend(&world, 10, 1);
    fails(encrypt("bound", Some(PIN)), CKR_FUNCTION_REJECTED);
    fails(encrypt("free", None), CKR_FUNCTION_REJECTED);
    world.assert_clean();
}

#[test]
fn a_copy_and_a_new_label_keep_the_policy() {
    let world = world();
    add_key(&world, "bound", &["--pcr=sha256:10"]);
    let (probe, session) = logged_in(&world);
    let key = probe.private_key(session, "bound");
    let renamed = [bytes(CKA_LABEL, b"renamed")];
    let change = vec![session.into(), key.into(), attributes(&renamed), (renamed.len() as u64).into()];
    probe.rv("C_SetAttributeValue", change).unwrap();
    let other = [bytes(CKA_LABEL, b"copy")];
    let copy = vec![session.into(), key.into(), attributes(&other), (other.len() as u64).into(), Argument::place(0)];
    let (rv, values) = probe.call("C_CopyObject", copy);
    assert_eq!(rv, CKR_OK);
    let copy = values.last().unwrap().word();
    for key in [key, copy] {
        probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    }
    probe.finalize().unwrap();
    let listed = world.ptool_ok(&["listobjects", "--label=t"]).text();
    assert_eq!(listed.matches("policy: 'sha256:10 + PIN'").count(), 2, "{listed}");
    extend(&world, 10, 1);
    let (probe, session) = logged_in(&world);
    for label in ["renamed", "copy"] {
        let key = probe.private_key(session, label);
        fails(probe.sign(session, CKM_ECDSA_SHA256, key, b"message"), CKR_FUNCTION_REJECTED);
    }
    probe.finalize().unwrap();
}
