//! Others hold what the TPM has few of: for a moment, for long, or by the hundred.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::time::{Duration, Instant};

use base::digest::Hash;
use common::{Stage, assert_becomes_clean, at, at_once, code, counted, p256, with};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, leftovers};
use tpm::{Error, Options, SignScheme, Tpm};

const NO_ROOM: [u32; 5] = [0x902, 0x903, 0x904, 0x905, 0x906];

fn try_sign(stage: &Stage, tpm: &Tpm) -> Result<(), Error> {
    tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa).map(drop)
}

/// Every command of a life meets each of the codes, once and three times.
#[test]
fn a_moment_without_room_is_not_noticed() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let manager = ResourceManager::start(proxy.port());
    for name in ["StartAuthSession", "Load", "Unseal", "Sign", "FlushContext", "Create", "GetRandom"] {
        for rc in NO_ROOM {
            for times in [1, 3] {
                let tpm = at(&proxy.tcti());
                proxy.inject(Fault::Respond { code: code(name), rc, times });
                stage.login(&tpm);
                stage.sign(&tpm, 0);
                stage.sign(&tpm, 1);
                tpm.create_key(&stage.primary, &p256(), &common::secret(9), None).unwrap();
                tpm.random(&mut [0; 8]).unwrap();
                tpm.release();
                assert!(proxy.pending_faults().is_empty(), "{name} {rc:#x}");
                let left = leftovers(&swtpm);
                assert!(left.is_clean(), "{name} {rc:#x} {left:?}");
            }
        }
    }
    drop(manager);
}

#[test]
fn sessions_of_others_are_waited_for_as_long_as_told() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(proxy.port());
    let patience = Duration::from_millis(300);
    let tpm = with(&manager.tcti(), Options { patience, ..Options::default() });
    proxy.inject(Fault::Respond { code: code("StartAuthSession"), rc: 0x905, times: usize::MAX });
    let start = Instant::now();
    assert_eq!(try_sign(&stage, &tpm), Err(Error::NoRoom("sessions")));
    let took = start.elapsed();
    assert!(took >= patience / 3 && took < patience * 20, "{took:?}");
    // Each question costs the chip something.
    assert!(proxy.mark().len() < 30);
    proxy.clear_faults();
    stage.sign(&tpm, 0);

    let hasty = at_once(&manager.tcti());
    proxy.inject(Fault::Respond { code: code("StartAuthSession"), rc: 0x905, times: 1 });
    assert_eq!(try_sign(&stage, &hasty), Err(Error::NoRoom("sessions")));
}

/// What needs no session does not wait for one.
#[test]
fn a_password_needs_no_session() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(proxy.port());
    let options = Options { bus_protection: false, patience: Duration::ZERO, ..Options::default() };
    let tpm = with(&manager.tcti(), options);
    proxy.inject(Fault::Respond { code: code("StartAuthSession"), rc: 0x905, times: usize::MAX });
    stage.login(&tpm);
    for _ in 0..3 {
        stage.sign(&tpm, 0);
    }
    tpm.random(&mut [0; 8]).unwrap();
    tpm.capabilities().unwrap();
}

/// Who had to wait keeps no session from those who wait after him; and takes them up again when they are gone.
#[test]
fn in_a_crowd_sessions_end_with_their_use() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(proxy.port());
    let tpm = at(&manager.tcti());
    proxy.inject(Fault::Respond { code: code("StartAuthSession"), rc: 0x905, times: 1 });
    stage.sign(&tpm, 0);
    assert_eq!(manager.mark().to_string(), "StartAuthSession(0x905) StartAuthSession Load Sign");
    stage.sign(&tpm, 0);
    assert_eq!(manager.mark().to_string(), "StartAuthSession Sign");
    assert!(leftovers(&swtpm).loaded_sessions.is_empty() && leftovers(&swtpm).saved_sessions.is_empty());
    std::thread::sleep(Duration::from_secs(6));
    stage.sign(&tpm, 0);
    assert_eq!(manager.mark().to_string(), "StartAuthSession Sign");
    stage.sign(&tpm, 0);
    assert_eq!(manager.mark().to_string(), "Sign");
    tpm.release();
    assert_becomes_clean(&swtpm);
}

/// More programs than the TPM has places for sessions, each of which holds what it can get.
#[test]
fn a_hundred_share_the_sessions_of_one_tpm() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(swtpm.port());
    let gate = std::sync::Barrier::new(100);
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    let tpm = at(&manager.tcti());
                    gate.wait();
                    let start = Instant::now();
                    for _ in 0..10 {
                        stage.sign(&tpm, 0);
                    }
                    tpm.release();
                    start.elapsed()
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    println!("{first:?} to {last:?}");
    assert!(*last < *first * 4, "{first:?} to {last:?}");
    assert_becomes_clean(&swtpm);
}
