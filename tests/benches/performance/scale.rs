//! What many keys cost: the same calls with 10, 1,000 and 10,000 key pairs in the token, each in a process of its own.

use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::Attribute;
use tests::world::World;
use tests::{crowd, product};

use crate::{Role, again, say};

/// Key pairs in a token.
pub(crate) const PAIRS: [usize; 3] = [10, 1_000, 10_000];

/// For each number of pairs: C_Initialize, by label, by id, find all for the first time (microseconds); again (nanoseconds an object); memory
/// of the process before and after (MB).
pub(crate) fn all() {
    for pairs in PAIRS {
        let world = World::new();
        crowd::fill(&world.store_file(), "alpha", "p256", pairs);
        let mut command = again(&format!("{} {pairs}", Role::SCALE));
        command.envs(world.environment()).env("TPM2_CRYPTOKI_MODULE", product::module());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// One of these.
pub(crate) fn measure(pairs: usize) {
    let module = Pkcs11::new(std::env::var("TPM2_CRYPTOKI_MODULE").unwrap()).unwrap();
    let initialize = median((0..9).map(|_| {
        let client = module.clone();
        let start = Instant::now();
        client.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let time = start.elapsed();
        client.finalize().unwrap();
        time
    }));
    let client = module.clone();
    client.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = client.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| client.get_token_info(*slot).unwrap().label() == "alpha").unwrap();
    let session = client.open_ro_session(slot).unwrap();
    let numbers = || (0..200).map(|i| i * 7919 % pairs);
    let find = |template: &[Attribute]| {
        let start = Instant::now();
        let found = session.find_objects(template).unwrap();
        assert!(!found.is_empty());
        start.elapsed()
    };
    let by_label = median(numbers().map(|number| find(&[Attribute::Label(crowd::label(number).into_bytes())])));
    let by_id = median(numbers().map(|number| find(&[Attribute::Id((number as u32).to_be_bytes().to_vec())])));
    let before = peak();
    let first = find(&[]);
    let all = median((0..9).map(|_| find(&[])));
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let samples =
        [us(initialize), us(by_label), us(by_id), us(first), us(all) * 1e3 / (2 * pairs) as f64, before, peak()];
    say(&format!("scale-{pairs}"), &samples);
}

/// The most memory that the process had, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}
