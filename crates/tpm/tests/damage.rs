//! Single bits of responses are turned on their way: what was damaged may fail, what comes next may not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::time::Duration;

use base::digest::Hash;
use common::{Stage, code, counted, p256, with};
use swtpm_fixtures::{ANY, Fault, SwTpm, leftovers};
use tpm::{Options, SignScheme, Tpm};

const SEEDS: usize = 60;

fn impatient(tcti: &str) -> Tpm {
    let deadline = Duration::from_millis(250);
    let options = Options { idle: Duration::from_secs(100), deadline, keygen_deadline: deadline, ..Options::default() };
    with(tcti, options)
}

/// A handle that came damaged is never heard of again: somebody must flush what is behind it.
fn flush_all(swtpm: &SwTpm) {
    let left = leftovers(swtpm);
    let mut raw = swtpm.connect().unwrap();
    for handle in left.transient.iter().chain(&left.loaded_sessions).chain(&left.saved_sessions) {
        raw.command(code("FlushContext"), &handle.to_be_bytes()).unwrap();
    }
}

/// Where the bits of seed `seed` are: all over the response, and all bits of a byte.
fn bit(seed: usize) -> usize {
    seed * 37 + seed / 8
}

#[test]
fn after_a_turned_bit_the_next_call_works() {
    let (swtpm, proxy) = counted();
    swtpm.set_lockout(1_000_000, 1);
    let stage = Stage::set(&swtpm, &[p256()]);
    let mut refused = Vec::new();
    for seed in 0..SEEDS {
        for name in ["any", "StartAuthSession", "Load", "Unseal", "Sign"] {
            let code = if name == "any" { ANY } else { code(name) };
            let tpm = impatient(&proxy.tcti());
            let sign = || tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa).map(drop);
            let login = || tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None).map(drop);
            proxy.inject(Fault::FlipResponseBit { code, bit: bit(seed) });
            // What was damaged may fail.
            let first = (login(), sign());
            proxy.clear_faults();
            for next in [sign(), login(), sign(), sign()] {
                if let Err(error) = next {
                    refused.push(format!("{name}, bit {}: {first:?}, then {error:?}", bit(seed)));
                }
            }
            tpm.release();
            flush_all(&swtpm);
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}
