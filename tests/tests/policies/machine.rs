//! The machine of these tests: a token `t`, PCRs that can be extended, and authorities.

use pkcs11_sys::*;
use tests::probe::{Probe, fails};
use tests::world::{Run, World};

/// The security officer's PIN of every token here.
pub(crate) const SO: &str = "officer";
/// The user's.
pub(crate) const PIN: &str = "user-pin";

pub(crate) const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A machine with a token `t`, whose programs give the TPM back at once, and look for approvals in a directory of their own.
pub(crate) fn world() -> World {
    let world = World::empty();
    settle(&world, "idle-ms = 50\n");
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", "--label=t", "--sopin", SO, "--userpin", PIN]);
    world
}

/// Writes the configuration.
pub(crate) fn settle(world: &World, more: &str) {
    let places = [world.path("approvals.d"), world.path("tpm2-pcr-signature.json")];
    world.configure(&format!("approvals = {places:?}\n{more}"));
}

/// Extends a PCR, as whatever is measured does.
pub(crate) fn extend(world: &World, pcr: u8, with: u8) {
    let what = format!("{pcr}:sha256={}", format!("{with:02x}").repeat(32));
    Run::of(world.command("tpm2_pcrextend").args(["-T", &world.tcti(), &what])).ok();
}

/// Switches the machine off and on: its PCRs are as after every start.
pub(crate) fn reboot(world: &mut World) {
    world.proxy.cut();
    world.tpm.reboot();
}

/// Makes a key in the token `t`.
pub(crate) fn add_key(world: &World, label: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["addkey", "--label=t", "--userpin", PIN, "--algorithm=ecc256", "--key-label", label];
    arguments.extend(more);
    world.ptool_ok(&arguments)
}

/// A process that is logged in to the token `t`.
pub(crate) fn logged_in(world: &World) -> (Probe, u64) {
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("t"));
    probe.login(session, CKU_USER, PIN).unwrap();
    (probe, session)
}

/// One signature, by a process of its own.
pub(crate) fn sign(world: &World, label: &str) -> Result<(), tests::Ck> {
    let (probe, session) = logged_in(world);
    let key = probe.private_key(session, label);
    let signed = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
    let verified = signed.and_then(|signature| {
        let public = probe.public_key(session, label);
        probe.verify(session, CKM_ECDSA_SHA256, public, b"message", &signature)
    });
    probe.finalize().unwrap();
    verified
}

/// One login, by a process of its own.
pub(crate) fn login(world: &World, token: &str, pin: &str) -> Result<(), tests::Ck> {
    let probe = world.probe().initialized();
    let result = probe.login(probe.open_rw(probe.slot_of(token)), CKU_USER, pin);
    probe.finalize().unwrap();
    result
}

/// The key does not work, and it is not for a PIN.
#[track_caller]
pub(crate) fn refused(world: &World, label: &str) {
    fails(sign(world, label), CKR_FUNCTION_REJECTED);
}

/// What the TPM counted of wrong PINs.
pub(crate) fn lockout_counter(world: &World) -> String {
    let run = Run::of(world.command("tpm2_getcap").args(["-T", &world.tcti(), "properties-variable"])).ok();
    let text = run.text();
    text.lines().find(|line| line.contains("TPM2_PT_LOCKOUT_COUNTER")).unwrap().to_owned()
}

/// A key of OpenSSL's, as PEM files `NAME.pem` and `NAME.pub`.
pub(crate) fn authority(world: &World, name: &str, algorithm: &[&str]) {
    let mut make = vec!["genpkey", "-quiet", "-out"];
    let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
    make.push(&private);
    make.extend(algorithm);
    Run::of(world.command("openssl").args(make)).ok();
    Run::of(world.command("openssl").args(["pkey", "-in", &private, "-pubout", "-out", &public])).ok();
}

/// Runs a program of tpm2-tools, which must succeed.
pub(crate) fn tool(world: &World, program: &str, arguments: &[&str]) -> Run {
    let mut command = world.command(program);
    command.args(["-T", &world.tcti()]).args(arguments);
    Run::of(&mut command).ok()
}
