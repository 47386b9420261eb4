//! How much of the TPM's own speed is left to a client of the module.
//!
//! For P-256 and RSA-2048, in alternating rounds on one software TPM: the raw limit (a marshalled command with a password, sent
//! again and again on one connection) and `C_SignInit` and `C_Sign` through the shared library, with protected sessions. Prints
//! the medians and their ratio, which should be at least 0.75 and 0.80. Nothing here fails for being slow: machines differ.
//!
//! `cargo bench -p tests`, or `make bench`; an argument that is a number sets the seconds of a round.

use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use swtpm_fixtures::{RawClient, SwTpm};
use tests::product;
use tests::world::World;

const ROUNDS: usize = 9;

fn main() {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1.0);
    let round = Duration::from_secs_f64(seconds);
    let world = World::new();
    world.configure("bus-protection = \"on\"\n");
    for (name, value) in world.environment() {
        // SAFETY: the only thread that reads or writes the environment: those of the fixtures do neither.
        unsafe { std::env::set_var(name, value) };
    }
    // SAFETY: as above. Without the proxy, which would cost both sides the same.
    unsafe { std::env::set_var("TPM2_CRYPTOKI_TCTI", world.tpm.tcti()) };
    let module = Pkcs11::new(product::module()).unwrap();

    println!(
        "signatures a second, medians of {ROUNDS} rounds of {seconds} s each; goals 0.75 (P-256), 0.80 (RSA-2048)"
    );
    println!("{:<10}{:>12}{:>12}{:>9}", "", "TPM alone", "module", "ratio");
    for bench in [P256, RSA2048] {
        let mut raw = Vec::new();
        let mut ours = Vec::new();
        let key = RawKey::make(&world.tpm, &bench);
        for _ in 0..ROUNDS {
            raw.push(key.round(&world.tpm, round));
            ours.push(module_round(&module, &bench, round));
        }
        key.flush(&world.tpm);
        let (raw, ours) = (median(raw), median(ours));
        println!("{:<10}{raw:>12.0}{ours:>12.0}{:>9.2}", bench.name, ours / raw);
    }
}

struct Bench {
    name: &'static str,
    label: &'static str,
    mechanism: Mechanism<'static>,
    data: &'static [u8],
    /// TPMT_PUBLIC of the raw limit's key.
    template: &'static [u8],
    code: u32,
    parameters: fn() -> Vec<u8>,
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign; with decrypt for RSA (TPM 2.0 Part 2, 8.3).
const P256: Bench = Bench {
    name: "P-256",
    label: "p256",
    mechanism: Mechanism::Ecdsa,
    data: &[0x5a; 32],
    template: &[0, 0x23, 0, 0x0b, 0, 4, 4, 0x72, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0],
    code: 0x15d,
    // digest, TPM_ALG_ECDSA with SHA-256, a null ticket
    parameters: || [&[0, 32][..], &[0x5a; 32], &[0, 0x18, 0, 0x0b], &[0x80, 0x24, 0x40, 0, 0, 7, 0, 0]].concat(),
};

const RSA2048: Bench = Bench {
    name: "RSA-2048",
    label: "rsa",
    mechanism: Mechanism::Sha256RsaPkcs,
    data: b"message",
    template: &[0, 1, 0, 0x0b, 0, 6, 4, 0x72, 0, 0, 0, 0x10, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 0],
    code: 0x159,
    // a block, TPM_ALG_NULL, no label
    parameters: || [&[1, 0][..], &[0x5a; 256], &[0, 0x10, 0, 0]].concat(),
};

const SRK: u32 = 0x8100_0001;

/// A key with an empty auth value, loaded in the TPM for as long as the measurement lasts.
struct RawKey {
    handle: u32,
    command: Vec<u8>,
}

impl RawKey {
    fn make(tpm: &SwTpm, bench: &Bench) -> RawKey {
        let mut connection = tpm.connect().unwrap();
        let public = [&(bench.template.len() as u16).to_be_bytes()[..], bench.template].concat();
        // TPM2_Create: an empty auth value, no data, the template, no outside information, no PCRs
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &public, &[0, 0, 0, 0, 0, 0]].concat();
        let (rc, answer) = connection.command_with_empty_password(0x153, &[SRK], &parameters).unwrap();
        assert_eq!(rc, 0, "TPM2_Create: {rc:#x}");
        let blob = |at: usize| &answer[at..at + 2 + usize::from(u16::from_be_bytes([answer[at], answer[at + 1]]))];
        let private = blob(4);
        let public = blob(4 + private.len());
        let (rc, answer) = connection.command_with_empty_password(0x157, &[SRK], &[private, public].concat()).unwrap();
        assert_eq!(rc, 0, "TPM2_Load: {rc:#x}");
        let handle = u32::from_be_bytes(answer[..4].try_into().unwrap());
        let authorisation = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let body = [&handle.to_be_bytes()[..], &authorisation, &(bench.parameters)()].concat();
        let size = (10 + body.len()) as u32;
        let command = [&[0x80, 2][..], &size.to_be_bytes(), &bench.code.to_be_bytes(), &body].concat();
        RawKey { handle, command }
    }

    fn round(&self, tpm: &SwTpm, round: Duration) -> f64 {
        let mut connection = tpm.connect().unwrap();
        self.once(&mut connection);
        rate(round, || self.once(&mut connection))
    }

    fn once(&self, connection: &mut RawClient) {
        let answer = connection.transact(&self.command).unwrap();
        assert_eq!(answer[6..10], [0; 4], "the TPM refused the raw command");
    }

    fn flush(&self, tpm: &SwTpm) {
        tpm.connect().unwrap().command(0x165, &self.handle.to_be_bytes()).unwrap();
    }
}

/// A life of the module, of which the part is measured in which everything is loaded.
fn module_round(module: &Pkcs11, bench: &Bench, round: Duration) -> f64 {
    // The client of this crate ends the library with C_Finalize, and can be made anew.
    let client = module.clone();
    client.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = client.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| client.get_token_info(*slot).unwrap().label() == "alpha").unwrap();
    let session = client.open_ro_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new("user-alpha".into()))).unwrap();
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(bench.label.into())];
    let key = session.find_objects(&template).unwrap()[0];
    let once = || {
        session.sign(&bench.mechanism, key, bench.data).unwrap();
    };
    once();
    once();
    let rate = rate(round, once);
    drop(session);
    client.finalize().unwrap();
    rate
}

fn rate(round: Duration, mut once: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < round {
        once();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
