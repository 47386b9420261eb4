//! What many keys cost: the same calls with 10, 1,000 and 10,000 key pairs in the token, each in a process of its own.
//!
//! `cargo bench -p tests --bench scale`. Nothing here fails for being slow: machines differ.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::Attribute;
use tests::world::World;
use tests::{crowd, product};

const PAIRS: [usize; 3] = [10, 1_000, 10_000];
/// Makes the program measure, in the environment of the store.
const MEASURE: &str = "SCALE_MEASURE";

fn main() {
    if let Ok(pairs) = std::env::var(MEASURE) {
        return measure(pairs.parse().expect("a number"));
    }
    let module = std::env::var("TPM2_CRYPTOKI_MODULE").map_or_else(|_| product::module().to_owned(), Into::into);
    println!("microseconds, medians; memory of the whole process in MB");
    println!(
        "{:>8}{:>14}{:>14}{:>14}{:>16}{:>16}{:>10}{:>10}",
        "pairs", "C_Initialize", "by label", "by id", "all, first", "ns an object", "MB", "MB, all"
    );
    for pairs in PAIRS {
        let world = World::new();
        crowd::fill(&world.store_file(), "alpha", "p256", pairs);
        if std::env::var_os("SCALE_OLD").is_some() {
            age(&world.store_file());
        }
        let mut command = world.command(std::env::current_exe().unwrap());
        report(command.env(MEASURE, pairs.to_string()).env("TPM2_CRYPTOKI_MODULE", &module));
    }
}

/// The store as the version before the indexes had it.
fn age(file: &Path) {
    let conn = rusqlite::Connection::open(file).unwrap();
    conn.execute_batch(
        "DROP TABLE changes; DROP INDEX objects_by_class; DROP INDEX objects_by_label; DROP INDEX objects_by_id;
         DROP INDEX attributes_by_end; PRAGMA user_version = 3; VACUUM;",
    )
    .unwrap();
}

fn report(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn measure(pairs: usize) {
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
    println!(
        "{pairs:>8}{:>14.0}{:>14.1}{:>14.1}{:>16.0}{:>16.1}{:>10.1}{:>10.1}",
        us(initialize),
        us(by_label),
        us(by_id),
        us(first),
        us(all) * 1e3 / (2 * pairs) as f64,
        before,
        peak(),
    );
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
