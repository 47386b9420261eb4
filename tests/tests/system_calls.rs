//! What a signature costs the operating system, counted by strace: the command goes out, the answer is waited for and read.

use std::collections::BTreeMap;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use tests::product;
use tests::world::World;

/// How many signatures the program makes that this file is when it is run again.
const SIGNATURES: &str = "SYSTEM_CALLS_SIGNATURES";

#[test]
fn a_further_signature_is_send_wait_and_read() {
    let world = World::new().configured("idle-ms = 600000\n");
    // Without the proxy: it is the module's descriptor that counts.
    let few = calls(&world, 40);
    let many = calls(&world, 168);
    let more: BTreeMap<&str, usize> = many
        .iter()
        .map(|(name, count)| (name.as_str(), count.saturating_sub(few.get(name).copied().unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect();
    // The connection is looked at before it is used again: that its number still leads to it, and that the other side has not ended it.
    // Then the answer is waited for.
    // And how far the first ones of a process, which cost something of their own, may fall together.
    const EACH: [(&str, usize, usize); 4] = [("sendto", 1, 2), ("read", 1, 2), ("poll", 2, 2), ("fstat", 1, 4)];
    for (name, each, apart) in EACH {
        let count = more.get(name).copied().unwrap_or(0);
        assert!((each * 128 - apart..=each * 128 + apart).contains(&count), "{name}: {more:?}");
    }
    // 32 nonces are drawn at once.
    assert!(more.get("getrandom").copied().unwrap_or(0) <= 4, "{more:?}");
    let other: usize = more
        .iter()
        .filter(|(name, _)| **name != "getrandom" && EACH.iter().all(|(known, ..)| known != *name))
        .map(|(_, count)| count)
        .sum();
    assert!(other <= 8, "not once for each signature: {more:?}");
}

/// The system calls of a process that makes so many signatures, by name.
fn calls(world: &World, signatures: u32) -> BTreeMap<String, usize> {
    let trace = world.path("trace");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o"]).arg(&trace).arg(std::env::current_exe().unwrap());
    traced.args(["--exact", "the_program_that_signs", "--ignored", "--nocapture"]);
    traced.envs(world.environment()).env("TPM2_CRYPTOKI_TCTI", world.tpm.tcti());
    let output = traced.env(SIGNATURES, signatures.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut calls = BTreeMap::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        // "PID name(arguments) = result"; a call that another thread came into is resumed on a line of its own.
        let Some(name) = line.split_whitespace().nth(1).and_then(|call| call.split_once('(')) else { continue };
        *calls.entry(name.0.to_owned()).or_default() += 1;
    }
    calls
}

#[test]
#[ignore = "the program of the test above"]
fn the_program_that_signs() {
    let signatures: u32 = std::env::var(SIGNATURES).unwrap().parse().unwrap();
    let module = Pkcs11::new(product::module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == "alpha").unwrap();
    let session = module.open_ro_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new("user-alpha".into()))).unwrap();
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label("p256".into())];
    let key = session.find_objects(&template).unwrap()[0];
    for _ in 0..signatures {
        session.sign(&Mechanism::Ecdsa, key, &[0x5a; 32]).unwrap();
    }
}
