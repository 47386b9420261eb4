//! What everything costs, in one run on one machine: ours, tpm2-pkcs11 where this machine can have it, and the limit that the TPM, SQLite or
//! OpenSSL sets.
//!
//! `make bench` prints the table. `make bench-report` writes it to docs/PERFORMANCE.md, with plots beside it. Nothing here fails for being
//! slow: machines differ. What is exact is held by tests: commands, system calls, bytes.
//!
//! A row is measured by a process of its own, which is this program again with a role to play in its environment.

mod life;
mod plots;
mod rates;
mod raw;
mod scale;
mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use table::{Samples, Table};

/// The role of a process that is started by another one, and what it needs to know, with spaces between.
const ROLE: &str = "PERFORMANCE_ROLE";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let mut words = role.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        return match number() {
            Role::SIDE => side(),
            Role::LIFE => life::live(),
            Role::SIGN => rates::sign(number() as usize, number() as f64 / 1000.0),
            Role::SCALE => scale::measure(number() as usize),
            Role::LIST => life::list(),
            other => panic!("no role {other}"),
        };
    }
    let report = std::env::args().any(|argument| argument == "--report");
    let ours = Samples::parse(&run_side(&[]));
    let peer = peer().map(|environment| Samples::parse(&run_side(&environment)));
    let table = Table { ours, peer };
    println!("{}", table.text());
    if report {
        let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
        std::fs::create_dir_all(docs.join("performance")).unwrap();
        for (name, svg) in plots::all(&table) {
            std::fs::write(docs.join("performance").join(name), svg).unwrap();
        }
        std::fs::write(docs.join("PERFORMANCE.md"), table.page()).unwrap();
    }
}

/// What this program can be told to be.
pub(crate) struct Role;

impl Role {
    /// Measures one module.
    pub(crate) const SIDE: u64 = 1;
    /// One cold life of a client.
    pub(crate) const LIFE: u64 = 2;
    /// Signs in so many threads for so many milliseconds.
    pub(crate) const SIGN: u64 = 3;
    /// What so many key pairs cost.
    pub(crate) const SCALE: u64 = 4;
    /// Initialises and lists the public keys.
    pub(crate) const LIST: u64 = 5;
}

/// This program again.
pub(crate) fn again(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

fn run_side(environment: &[(String, String)]) -> String {
    let mut command = again(&Role::SIDE.to_string());
    let output = command.envs(environment.iter().cloned()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All measurements of the module under test: a name and its samples a line.
fn side() {
    let ours = !tests::peer::is_under_test();
    life::measure();
    rates::measure(ours);
    if ours {
        raw::measure();
        scale::all();
        rates::ciphers();
    }
    let size = std::fs::metadata(tests::product::module()).unwrap().len();
    say("size", &[size as f64 / 1e6]);
}

/// A line of what was measured.
pub(crate) fn say(name: &str, samples: &[f64]) {
    let samples: Vec<String> = samples.iter().map(|sample| format!("{sample:.6}")).collect();
    println!("{name} {}", samples.join(" "));
}

/// The environment of the other module: installed, or unpacked by the script that tests use, if this machine can have it.
fn peer() -> Option<Vec<(String, String)>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/tpm2-pkcs11.sh");
    let output = Command::new(script).stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let place = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let path = format!("{place}/bin:{}", std::env::var("PATH").unwrap_or_default());
    Some(vec![("TPM2_CRYPTOKI_MODULE".into(), format!("{place}/libtpm2_pkcs11.so")), ("PATH".into(), path)])
}
