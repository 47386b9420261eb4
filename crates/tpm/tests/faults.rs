//! What happens when the TPM, the way to it, or somebody on that way misbehaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Secret;
use base::digest::Hash;
use common::{Stage, at, at_once, code, counted, p256, secret, with};
use swtpm_fixtures::{ANY, Fault, RawClient, SwTpm, leftovers};
use tpm::{Error, Key, Options, Primary, PrimaryRequest, SignScheme, Tpm};

/// One login and some signatures over two keys.
fn live(stage: &Stage, tpm: &Tpm) {
    stage.login(tpm);
    for index in [0, 1, 0] {
        stage.sign(tpm, index);
    }
}

fn impatient(tcti: &str) -> Tpm {
    let deadline = Duration::from_millis(150);
    let patience = Duration::ZERO;
    let idle = Duration::from_secs(100);
    with(tcti, Options { idle, deadline, keygen_deadline: deadline, patience, ..Options::default() })
}

#[test]
fn a_cut_connection_is_made_anew_and_leaves_nothing_behind() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    for name in ["StartAuthSession", "Load", "Unseal", "Sign", "FlushContext"] {
        for fault in [
            Fault::CutBeforeCommand { code: code(name) },
            Fault::CutAfterCommand { code: code(name) },
            Fault::TruncateResponse { code: code(name), keep: 7 },
        ] {
            let executed = !matches!(fault, Fault::CutBeforeCommand { .. });
            let tpm = at(&proxy.tcti());
            proxy.inject(fault.clone());
            live(&stage, &tpm);
            assert!(proxy.pending_faults().is_empty(), "{fault:?}");
            tpm.release();
            let left = leftovers(&swtpm);
            // The handle of an object or session whose making was never heard of is unknown.
            let unheard = executed && ["StartAuthSession", "Load"].contains(&name);
            assert!(left.is_clean() || unheard, "{fault:?} {left:?}");
            if unheard {
                flush_all(&swtpm);
            }
        }
    }
}

/// What a broken connection left behind is looked for by the next one: it may break as well.
#[test]
fn a_break_while_cleaning_up_after_a_break_loses_nothing() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let sign = code("Sign");
    for name in ["ReadPublic", "FlushContext"] {
        for fault in [
            Fault::CutBeforeCommand { code: code(name) },
            Fault::CutAfterCommand { code: code(name) },
            Fault::TruncateResponse { code: code(name), keep: 7 },
        ] {
            let tpm = at(&proxy.tcti());
            live(&stage, &tpm);
            stage.sign(&tpm, 1);
            proxy.inject(Fault::CutBeforeCommand { code: sign });
            proxy.inject(fault.clone());
            let result = tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa);
            assert!(matches!(result, Err(Error::Lost(_))), "{fault:?} {result:?}");
            assert!(proxy.pending_faults().is_empty(), "{fault:?}");
            tpm.random(&mut [0; 8]).unwrap();
            tpm.release();
            let left = leftovers(&swtpm);
            assert!(left.is_clean(), "{fault:?} {left:?}");
        }
    }
    // It is not tried for ever.
    let tpm = at(&proxy.tcti());
    stage.sign(&tpm, 0);
    proxy.inject(Fault::CutBeforeCommand { code: sign });
    for _ in 0..3 {
        proxy.inject(Fault::CutBeforeCommand { code: code("ReadPublic") });
    }
    let outcomes: Vec<bool> = (0..3).map(|_| tpm.random(&mut [0; 8]).is_ok()).collect();
    assert_eq!(outcomes, [true; 3]);
    let outcomes: Vec<bool> =
        (0..3).map(|_| tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa).is_ok()).collect();
    assert_eq!(outcomes, [false, false, true]);
    tpm.release();
    flush_all(&swtpm);
}

/// A TPM may be too busy to flush for longer than we wait.
#[test]
fn what_could_not_be_flushed_is_flushed_later() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&proxy.tcti());
    let busy = Fault::Respond { code: code("FlushContext"), rc: 0x922, times: usize::MAX };
    // At the end of an operation.
    proxy.inject(busy.clone());
    stage.login(&tpm);
    proxy.clear_faults();
    proxy.mark();
    stage.sign(&tpm, 0);
    assert_eq!(proxy.mark().to_string(), "Load Sign FlushContext");
    // When everything is given back.
    stage.sign(&tpm, 1);
    proxy.inject(busy);
    tpm.release();
    proxy.clear_faults();
    assert!(!leftovers(&swtpm).is_clean());
    tpm.random(&mut [0; 8]).unwrap();
    tpm.release();
    let left = leftovers(&swtpm);
    assert!(left.is_clean(), "{left:?}");
}

fn flush_all(swtpm: &SwTpm) {
    let left = leftovers(swtpm);
    let mut raw = swtpm.connect().unwrap();
    for handle in left.transient.iter().chain(&left.loaded_sessions) {
        raw.command(code("FlushContext"), &handle.to_be_bytes()).unwrap();
    }
}

#[test]
fn a_restarted_tpm_is_met_with_fresh_sessions_and_keys() {
    let mut swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&swtpm.tcti());
    live(&stage, &tpm);
    for _ in 0..2 {
        tpm.lockout().unwrap();
        swtpm.restart();
        stage.sign(&tpm, 1);
        stage.sign(&tpm, 0);
        swtpm.restart();
        stage.login(&tpm);
        stage.sign(&tpm, 0);
    }
    swtpm.stop();
    let digest = Hash::Sha256.digest(&[]);
    assert!(matches!(tpm.sign(&stage.key(0), Hash::Sha256, &digest, SignScheme::Ecdsa), Err(Error::NotThere(_))));
    swtpm.restart();
    stage.sign(&tpm, 0);
}

#[test]
fn a_tpm_that_was_not_started_up_is_started_up() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&swtpm.tcti());
    live(&stage, &tpm);
    swtpm.reset_without_startup();
    live(&stage, &tpm);
    tpm.release();
    swtpm.reset_without_startup();
    live(&stage, &tpm);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// The TPM was reset, the connection stayed, and others took the handles: theirs are not used, and not flushed.
#[test]
fn handles_that_became_somebody_elses_are_left_alone() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let upstream = swtpm_fixtures::Proxy::start(&swtpm);
    let ours = at(&upstream.tcti());
    live(&stage, &ours);
    // The proxy keeps our connection to itself, and ends it upstream, so that another client gets in.
    upstream.cut();
    swtpm.reset_without_startup();
    let theirs = at(&swtpm.tcti());
    stage.sign(&theirs, 1);
    stage.sign(&theirs, 1);
    drop_quietly(theirs);
    let before = leftovers(&swtpm);
    assert_eq!((before.transient.len(), before.loaded_sessions.len()), (1, 1));
    stage.login(&ours);
    stage.sign(&ours, 0);
    ours.release();
    let after = leftovers(&swtpm);
    assert_eq!(after.loaded_sessions, before.loaded_sessions, "a session of others is left alone");
}

/// Ends a client like a crash does: nothing is flushed.
fn drop_quietly(tpm: Tpm) {
    tpm.abandon();
    drop(tpm);
}

#[test]
fn warnings_are_waited_out() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&proxy.tcti());
    for rc in [0x922, 0x908, 0x90a, 0x920, 0x923, 0x901] {
        for name in ["StartAuthSession", "Load", "Unseal", "Sign"] {
            proxy.inject(Fault::Respond { code: code(name), rc, times: 3 });
        }
        stage.login(&tpm);
        stage.sign(&tpm, 0);
        tpm.release();
        assert!(proxy.pending_faults().is_empty());
    }
    proxy.inject(Fault::Respond { code: code("GetRandom"), rc: 0x922, times: usize::MAX });
    let started = Instant::now();
    assert_eq!(tpm.random(&mut [0; 8]), Err(Error::Busy));
    assert!((4..8).contains(&started.elapsed().as_secs()));
}

#[test]
fn a_hanging_tpm_is_given_up_and_asked_again_once() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = impatient(&proxy.tcti());
    live(&stage, &tpm);
    proxy.inject(Fault::Hang { code: code("Sign") });
    stage.sign(&tpm, 0);
    proxy.inject(Fault::Hang { code: code("Sign") });
    proxy.inject(Fault::Hang { code: code("Sign") });
    let digest = Hash::Sha256.digest(&[]);
    let result = tpm.sign(&stage.key(0), Hash::Sha256, &digest, SignScheme::Ecdsa);
    assert_eq!(result, Err(Error::TimedOut(Duration::from_millis(150))));
    live(&stage, &tpm);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn what_writes_is_never_repeated() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    for fault in [
        Fault::CutAfterCommand { code: code("ObjectChangeAuth") },
        Fault::CutBeforeCommand { code: code("ObjectChangeAuth") },
    ] {
        proxy.mark();
        proxy.inject(fault);
        let result = tpm.change_auth(&stage.primary, &stage.so, &stage.so_auth, &secret(5));
        assert!(matches!(result, Err(Error::Lost(_))), "{result:?}");
        assert_eq!(proxy.mark().count("ObjectChangeAuth"), 1);
    }
    proxy.inject(Fault::CutAfterCommand { code: code("EvictControl") });
    assert!(matches!(tpm.evict(&stage.primary, &Secret::zeroed(0)), Err(Error::Lost(_))));
    assert_eq!(proxy.mark().count("EvictControl"), 1);
    assert!(tpm.list_persistent().unwrap().is_empty());
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// Somebody on the bus turns one bit of a response.
#[test]
fn a_changed_response_is_never_believed() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = impatient(&proxy.tcti());
    for name in ["Load", "Unseal", "Sign"] {
        let (mut caught, mut size) = (0, 1);
        for offset in 0.. {
            if offset == size {
                break;
            }
            proxy.mark();
            proxy.inject(Fault::FlipResponseByte { code: code(name), offset_from_end: offset });
            let opened = tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None);
            assert!(opened.as_ref().map_or(true, |data| *data == stage.wrapping));
            let digest = Hash::Sha256.digest(&[b"message"]);
            let key = stage.key(0);
            let signed = tpm.sign(&key, Hash::Sha256, &digest, SignScheme::Ecdsa);
            if let Ok(signature) = &signed {
                common::check_ecdsa(key.wrapped, Hash::Sha256, signature);
            }
            caught += usize::from(opened == Err(Error::ResponseHmac) || signed == Err(Error::ResponseHmac));
            assert!(proxy.pending_faults().is_empty());
            tpm.release();
            let commands = proxy.mark();
            size = commands.0.iter().find(|command| command.name == name).unwrap().response_size;
            flush_all(&swtpm);
        }
        // All but the header and what says how long things are.
        assert!(caught + 25 >= size, "{name}: {caught} of {size}");
    }
    assert_eq!(tpm.lockout().unwrap().counter, 0);
}

/// Somebody on the bus turns one bit of a command: the TPM refuses it, and nothing worse happens.
#[test]
fn a_changed_command_is_refused_by_the_tpm() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    // The digest, the attributes of the session, its HMAC.
    for offset in [20, 48, 60, 90] {
        proxy.inject(Fault::FlipCommandByte { code: code("Sign"), offset_from_end: offset });
        proxy.mark();
        stage.sign(&tpm, 0);
        assert_eq!(proxy.mark().failed().iter().filter(|command| command.name == "Sign").count(), 1);
    }
}

#[test]
fn garbled_responses_never_panic() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let names = [
        "StartAuthSession",
        "Load",
        "Unseal",
        "Sign",
        "FlushContext",
        "Create",
        "GetCapability",
        "GetRandom",
        "ReadPublic",
    ];
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let tpm = impatient(&proxy.tcti());
    for round in 0..400 {
        let len = 10 + (random() % 120) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| if random() % 3 == 0 { random() as u8 } else { 0 }).collect();
        bytes[0] = 0x80;
        bytes[1] = 1 + (random() % 2) as u8;
        bytes[2..6].copy_from_slice(&(len as u32).to_be_bytes());
        bytes[6..10].fill(0);
        let name = names[round % names.len()];
        proxy.inject(Fault::Replace { code: code(name), bytes });
        let _ = tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None);
        let _ = tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa);
        match name {
            "Create" => drop(tpm.create_key(&stage.primary, &p256(), &secret(7), None)),
            "GetCapability" => drop((tpm.capabilities(), tpm.lockout())),
            "GetRandom" => drop(tpm.random(&mut [0; 50])),
            "ReadPublic" => drop(tpm.check_primary(&stage.primary)),
            _ => {}
        }
        proxy.clear_faults();
        tpm.release();
        if round % 20 == 0 {
            flush_all(&swtpm);
        }
    }
    flush_all(&swtpm);
    live(&stage, &tpm);
}

#[test]
fn error_codes_from_anywhere_never_panic_and_are_told() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&proxy.tcti());
    for rc in [0x101, 0x143, 0x18b, 0x28b, 0x910, 0x918, 0x98e, 0x9a2, 0x1df, 0x2c4, 0xffff_ffff] {
        for name in ["StartAuthSession", "Load", "Unseal", "Sign"] {
            proxy.inject(Fault::Respond { code: code(name), rc, times: 2 });
            let opened = tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None);
            let signed = tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa);
            assert!(opened.is_err() || signed.is_err(), "{rc:#x} {name}");
            if opened == Err(Error::AuthFailed) {
                assert!(name == "Unseal" && [0x98e, 0x9a2].contains(&rc), "no PIN error: {rc:#x} {name}");
            }
            proxy.clear_faults();
            live(&stage, &tpm);
        }
    }
    proxy.inject(Fault::Respond { code: ANY, rc: 0x921, times: 1 });
    assert_eq!(tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None), Err(Error::Lockout));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn another_tpm_is_recognised_before_the_pin_is_tried() {
    let (home, abroad) = (SwTpm::start(), SwTpm::start());
    let stage = Stage::set(&home, &[p256()]);
    let proxy = swtpm_fixtures::Proxy::start(&abroad);
    for bus_protection in [true, false] {
        let tpm = with(&proxy.tcti(), Options { bus_protection, ..Options::default() });
        let missing = Error::PrimaryMissing { handle: 0x8100_0001 };
        assert_eq!(tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None), Err(missing.clone()));
        let sign = |tpm: &Tpm| tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa).unwrap_err();
        assert_eq!(sign(&tpm), missing);
        let other = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
        assert_ne!(other.name(), stage.primary.name());
        let wrong = Error::WrongPrimary { expected: stage.primary.name().clone(), found: Some(other.name().clone()) };
        assert_eq!(tpm.unseal(&stage.primary, &stage.user, &stage.user_auth, None), Err(wrong.clone()));
        assert_eq!(tpm.check_primary(&stage.primary), Err(wrong.clone()));
        assert_eq!(sign(&tpm), wrong);
        assert_eq!(proxy.mark().count("Unseal"), 0);
        tpm.evict(&other, &Secret::zeroed(0)).unwrap();
        tpm.release();
        assert!(leftovers(&abroad).is_clean());
    }
}

#[test]
fn altered_blobs_are_told_from_wrong_pins() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&swtpm.tcti());
    let mut broken = stage.user.clone();
    let last = broken.private.len() - 1;
    broken.private[last] ^= 1;
    assert_eq!(tpm.unseal(&stage.primary, &broken, &stage.user_auth, None), Err(Error::Integrity));
    let swapped = tpm::Wrapped { public: stage.user.public.clone(), private: stage.so.private.clone() };
    let refused = tpm.unseal(&stage.primary, &swapped, &stage.user_auth, None);
    assert!(matches!(refused, Err(Error::Integrity | Error::Response(_))), "{refused:?}");
    let key = stage.key(0);
    let wrong_name = Key { name: stage.key(1).name, ..key };
    assert_eq!(tpm.sign(&wrong_name, Hash::Sha256, &[7; 32], SignScheme::Ecdsa), Err(Error::NameMismatch));
    let wrong_auth = Key { auth: &secret(99), ..key };
    assert_eq!(tpm.sign(&wrong_auth, Hash::Sha256, &[7; 32], SignScheme::Ecdsa), Err(Error::AuthFailed));
    stage.sign(&tpm, 0);
    assert_eq!(tpm.sign(&wrong_auth, Hash::Sha256, &[7; 32], SignScheme::Ecdsa), Err(Error::AuthFailed));
    assert_eq!(tpm.lockout().unwrap().counter, 0);
    stage.sign(&tpm, 0);
}

#[test]
fn nonsense_is_not_sent() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    let key = stage.key(0);
    let invalid = |result: Result<_, Error>| matches!(result, Err(Error::Invalid(_)));
    assert!(invalid(tpm.sign(&key, Hash::Sha256, &[7; 20], SignScheme::Ecdsa).map(drop)));
    assert!(invalid(tpm.sign(&key, Hash::Sha256, &[7; 32], SignScheme::RsaSsa).map(drop)));
    assert!(invalid(tpm.rsa_decrypt(&key, tpm::DecryptScheme::Raw, &[7; 32]).map(drop)));
    let seal = Key { wrapped: &stage.user, name: &stage.user.name().unwrap(), ..key };
    assert!(invalid(tpm.sign(&seal, Hash::Sha256, &[7; 32], SignScheme::Ecdsa).map(drop)));
    assert!(invalid(tpm.unseal(&stage.primary, key.wrapped, &secret(1), None).map(drop)));
    assert!(invalid(tpm.unseal(&stage.primary, &stage.user, &Secret::zeroed(33), None).map(drop)));
    assert!(invalid(tpm.create_key(&stage.primary, &p256(), &Secret::zeroed(33), None).map(drop)));
    let odd = tpm::KeyTemplate::Rsa { bits: 2048, exponent: 4 };
    assert!(invalid(tpm.create_key(&stage.primary, &odd, &secret(1), None).map(drop)));
    assert!(Primary::new(tpm::Location::Persistent(0x8100_0001), key.wrapped.public.clone()).is_err());
    assert_eq!(proxy.mark().len(), 0);
    let huge = tpm::KeyTemplate::Rsa { bits: 16384, exponent: 0 };
    assert!(matches!(tpm.create_key(&stage.primary, &huge, &secret(1), None), Err(Error::Unsupported(_))));
}

#[test]
fn what_others_hold_is_not_flushed() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at_once(&swtpm.tcti());
    let sign = || tpm.sign(&stage.key(0), Hash::Sha256, &[7; 32], SignScheme::Ecdsa);

    let mut raw = swtpm.connect().unwrap();
    let sessions: Vec<u32> = (0..3).map(|_| start_session(&mut raw)).collect();
    drop(raw);
    assert_eq!(sign(), Err(Error::NoRoom("sessions")));
    tpm.release();
    assert_eq!(leftovers(&swtpm).loaded_sessions.len(), 3);
    let mut raw = swtpm.connect().unwrap();
    for session in &sessions {
        raw.command(code("FlushContext"), &session.to_be_bytes()).unwrap();
    }
    drop(raw);
    sign().unwrap();
    tpm.release();

    let others = at(&swtpm.tcti());
    let squatters = Stage::set(&swtpm, &[p256(), p256()]);
    for index in 0..2 {
        squatters.sign(&others, index);
    }
    drop_quietly(others);
    assert_eq!(sign(), Err(Error::NoRoom("objects")));
    tpm.release();
    assert_eq!(leftovers(&swtpm).transient.len(), 2);
    flush_all(&swtpm);
    sign().unwrap();
}

fn start_session(raw: &mut RawClient) -> u32 {
    let mut body = [0x40, 0, 0, 7].repeat(2);
    body.extend_from_slice(&[0, 16]);
    body.extend_from_slice(&[1; 16]);
    body.extend_from_slice(&[0, 0, 0, 0, 0x10, 0, 0x0b]);
    let (rc, answer) = raw.command(code("StartAuthSession"), &body).unwrap();
    assert_eq!(rc, 0, "{rc:#x}");
    u32::from_be_bytes(answer[..4].try_into().unwrap())
}

#[test]
fn abandoning_closes_and_never_blocks() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = Arc::new(with(&proxy.tcti(), Options { deadline: Duration::from_secs(2), ..Options::default() }));
    live(&stage, &tpm);
    proxy.inject(Fault::Hang { code: code("GetRandom") });
    let busy = std::thread::spawn({
        let tpm = Arc::clone(&tpm);
        move || tpm.random(&mut [0; 8])
    });
    while !proxy.pending_faults().is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let started = Instant::now();
    tpm.abandon();
    assert!(started.elapsed() < Duration::from_millis(500));
    assert!(matches!(tpm.random(&mut [0; 8]), Err(Error::NotThere(_))));
    // Who was inside goes on by himself, and closes nothing twice.
    let _ = busy.join().unwrap();
}

/// As `swtpm --server …,disconnect` does.
#[test]
fn a_connection_for_each_command_serves_everything() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    proxy.one_command_each();
    let tpm = at(&proxy.tcti());
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_eq!(primary.name(), stage.primary.name());
    for _ in 0..3 {
        live(&stage, &tpm);
        tpm.random(&mut [0; 8]).unwrap();
    }
    // What is never done twice.
    let so = tpm.change_auth(&stage.primary, &stage.so, &stage.so_auth, &secret(77)).unwrap();
    let so = tpm::Wrapped { public: stage.so.public.clone(), private: so };
    tpm.change_auth(&stage.primary, &so, &secret(77), &secret(78)).unwrap();
    let (counter, _) = tpm.define_counter(Some(&stage.primary), &Secret::zeroed(0)).unwrap();
    tpm.increment_counter(Some(&stage.primary), &counter, &Secret::zeroed(0)).unwrap();
    tpm.remove_counter(Some(&stage.primary), &counter, &Secret::zeroed(0)).unwrap();
    tpm.release();
    let left = leftovers(&swtpm);
    assert!(left.is_clean(), "{left:?}");
}

/// What was cut between two operations is found before the next one, which therefore may be one that is never repeated.
#[test]
fn a_connection_that_ended_between_two_operations_costs_nothing() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    stage.sign(&tpm, 0);
    proxy.cut();
    tpm.change_auth(&stage.primary, &stage.so, &stage.so_auth, &secret(77)).unwrap();
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}
