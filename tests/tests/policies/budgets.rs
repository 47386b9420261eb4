//! What policies cost in TPM commands: exact, as those without are.

use pkcs11_sys::*;
use swtpm_fixtures::{Commands, Fault, pcr_extend};
use tests::Probe;
use tests::probe::Mechanism;
use tests::world::World;

use crate::machine::*;

/// A world whose module keeps what it holds, and whose TPM was logged in to since it was switched on.
fn kept() -> World {
    let world = world();
    settle(&world, "idle-ms = 600000\n");
    world.ptool_ok(&["verify", "--label=t", "--userpin", PIN]);
    world
}

fn once(probe: &Probe, session: u64, key: u64) {
    assert_eq!(probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap().len(), 64);
}

#[track_caller]
fn cost(world: &World) -> Commands {
    let commands = world.proxy.mark();
    assert!(commands.failed().is_empty(), "{commands}");
    commands
}

/// What the first signature with the key costs in a process that logged in, and what the third and each further one does.
#[track_caller]
fn signatures(world: &World, label: &str, first: &[&str], further: &[&str]) {
    let (probe, session) = logged_in(world);
    let key = probe.private_key(session, label);
    world.proxy.mark();
    once(&probe, session, key);
    assert_eq!(cost(world).names(), first, "{label}, the first time");
    // Whatever the login left is used up.
    once(&probe, session, key);
    cost(world);
    for _ in 0..5 {
        once(&probe, session, key);
        assert_eq!(cost(world).names(), further, "{label}");
    }
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn a_literal_state_is_three() {
    let world = kept();
    add_key(&world, "bound", &["--pcr=sha256:0,2,7"]);
    let names = ["Load", "StartAuthSession", "PolicyPCR", "PolicyAuthValue", "Sign"];
    signatures(&world, "bound", &names, &names[2..]);
    add_key(&world, "unattended", &["--pcr=sha256:0,2,7", "--no-pin"]);
    let names = ["StartAuthSession", "Load", "PolicyPCR", "Sign"];
    signatures(&world, "unattended", &names, &names[2..]);
    add_key(&world, "plain", &[]);
    signatures(&world, "plain", &["Load", "Sign"], &["Sign"]);
}

#[test]
fn an_approved_state_is_four() {
    let world = kept();
    for (name, algorithm) in [("rsa", RSA), ("ec", EC)] {
        authority(&world, name, algorithm);
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
        add_key(&world, name, &["--pcr-authority", &public]);
        world.ptool_ok(&["pcr", "approve", "--key", &private, "--pcr=sha256:11"]);
        let names = ["PolicyPCR", "PolicyAuthorize", "PolicyAuthValue", "Sign"];
        let before = ["LoadExternal", "VerifySignature", "FlushContext", "Load", "StartAuthSession"];
        signatures(&world, name, &[&before[..], &names].concat(), &names);
    }
}

/// What the manager is asked for a signature, and how many commands the chip gets for it: around each, the manager brings the key and
/// the session back (ContextLoad for either) and takes them away again (ContextSave for either, and FlushContext for the key).
#[test]
fn what_the_chip_is_asked_behind_a_resource_manager() {
    let world = kept().managed();
    authority(&world, "boss", RSA);
    add_key(&world, "plain", &[]);
    add_key(&world, "unattended", &["--pcr=sha256:0,2,7", "--no-pin"]);
    add_key(&world, "literal", &["--pcr=sha256:0,2,7"]);
    add_key(&world, "approved", &["--pcr-authority=boss.pub"]);
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:11"]);
    let (probe, session) = logged_in(&world);
    let manager = world.manager.as_ref().unwrap();
    for (label, asked) in [
        ("plain", &["Sign"][..]),
        ("unattended", &["PolicyPCR", "Sign"]),
        ("literal", &["PolicyPCR", "PolicyAuthValue", "Sign"]),
        ("approved", &["PolicyPCR", "PolicyAuthorize", "PolicyAuthValue", "Sign"]),
    ] {
        let key = probe.private_key(session, label);
        for _ in 0..2 {
            once(&probe, session, key);
        }
        for _ in 0..3 {
            manager.mark();
            world.proxy.mark();
            once(&probe, session, key);
            assert_eq!(manager.mark().names(), asked, "{label}");
            let around = |name: &&'static str| {
                ["ContextLoad", "ContextLoad", name, "ContextSave", "FlushContext", "ContextSave"]
            };
            assert_eq!(cost(&world).names(), asked.iter().flat_map(around).collect::<Vec<_>>(), "{label}");
        }
    }
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn a_login_by_policy_is_seven() {
    let world = kept();
    for (label, pin) in [("pin", Some(PIN)), ("auto", None)] {
        let mut add = vec!["addtoken", "--label", label, "--sopin", SO, "--pcr=sha256:7"];
        add.extend(pin.map_or(["--no-userpin", "--yes"], |pin| ["--userpin", pin]));
        world.ptool_ok(&add);
        world.ptool_ok(&["verify", "--label", label, "--userpin", pin.unwrap_or_default()]);
    }
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("pin"));
    world.proxy.mark();
    probe.login(session, CKU_USER, PIN).unwrap();
    let names = cost(&world).names().join(" ");
    assert_eq!(names, "Load StartAuthSession PolicyPCR PolicyAuthValue PolicyOR Unseal FlushContext");
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn what_is_not_asked_costs_nothing() {
    let world = kept();
    authority(&world, "boss", RSA);
    add_key(&world, "signed", &["--pcr-authority=boss.pub"]);
    let (probe, session) = logged_in(&world);
    world.proxy.mark();
    let key = probe.private_key(session, "signed");
    let begin = vec![session.into(), Mechanism::plain(CKM_ECDSA_SHA256).argument(), key.into()];
    probe.rv("C_SignInit", begin).unwrap();
    let length = probe.output("C_Sign", vec![session.into(), tests::Argument::bytes(b"x"), 1u64.into()], None);
    assert_eq!((length.rv, length.len), (CKR_OK, 64));
    for command in [&["listobjects", "--label=t"][..], &["listtokens"], &["pcr", "list"]] {
        world.ptool_ok(command);
    }
    assert_eq!(cost(&world).len(), 0);
}

#[test]
fn a_pcr_that_changes_between_policy_and_use_is_no_failure() {
    let world = kept();
    authority(&world, "boss", RSA);
    add_key(&world, "bound", &["--pcr=sha256:7"]);
    add_key(&world, "signed", &["--pcr-authority=boss.pub"]);
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:7"]);
    let (probe, session) = logged_in(&world);
    for label in ["bound", "signed"] {
        let key = probe.private_key(session, label);
        once(&probe, session, key);
        world.proxy.mark();
        for _ in 0..2 {
            // Somebody measures something else: any change of a PCR ends what a policy session has proved so far.
            let code = swtpm_fixtures::command_code("Sign").unwrap();
            world.proxy.inject(Fault::Precede { code, command: pcr_extend(10, &[1; 32]) });
            once(&probe, session, key);
            assert!(world.proxy.pending_faults().is_empty());
        }
        let commands = world.proxy.mark();
        assert!(
            commands.failed().iter().all(|command| command.rc & 0xff == 0x28),
            "only TPM_RC_PCR_CHANGED: {commands}"
        );
        assert!(!commands.failed().is_empty(), "{commands}");
    }
}
