//! What earlier processes left in a TPM without a resource manager.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use base::digest::Hash;
use common::{Stage, at, at_once, code, counted, p256};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, leftovers};
use tpm::{Error, Name, SignScheme, Tpm};

/// The names of what the stage's token has in its store.
fn names(stage: &Stage) -> Vec<Name> {
    let sealed = [&stage.so, &stage.user].map(|object| object.name().unwrap());
    sealed.into_iter().chain(stage.keys.iter().map(|(_, name, _)| name.clone())).collect()
}

fn try_sign(stage: &Stage, tpm: &Tpm, index: usize) -> Result<(), Error> {
    let digest = Hash::Sha256.digest(&[b"message"]);
    tpm.sign(&stage.key(index), Hash::Sha256, &digest, SignScheme::Ecdsa).map(drop)
}

/// Logs in, signs once, and ends without giving anything back.
fn live_and_die(stage: &Stage, tpm: Tpm, index: usize) {
    stage.login(&tpm);
    stage.sign(&tpm, index);
    tpm.abandon();
    drop(tpm);
}

#[test]
fn processes_that_end_without_a_word_do_not_fill_the_tpm() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(); 3]);
    for round in 0..6 {
        let tpm = at(&swtpm.tcti());
        tpm.claim(names(&stage));
        live_and_die(&stage, tpm, round % 3);
    }
    assert!(!leftovers(&swtpm).transient.is_empty());
    let unclaimed = at_once(&swtpm.tcti());
    assert_eq!(unclaimed.unseal(&stage.primary, &stage.user, &stage.user_auth, None), Err(Error::NoRoom("objects")));
    // The claim may come when the connection is open already.
    unclaimed.claim(names(&stage));
    stage.login(&unclaimed);
    unclaimed.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn what_is_not_claimed_is_not_touched() {
    let swtpm = SwTpm::start();
    let (stage, strangers) = (Stage::set(&swtpm, &[p256()]), Stage::set(&swtpm, &[p256(); 2]));
    live_and_die(&strangers, at(&swtpm.tcti()), 0);
    let theirs = leftovers(&swtpm).transient;
    assert_eq!(theirs.len(), 1);
    live_and_die(&stage, at(&swtpm.tcti()), 0);
    assert_eq!(leftovers(&swtpm).transient.len(), 2);
    let tpm = at_once(&swtpm.tcti());
    tpm.claim(names(&stage));
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    tpm.release();
    assert_eq!(leftovers(&swtpm).transient, theirs);

    live_and_die(&strangers, at(&swtpm.tcti()), 1);
    let theirs = leftovers(&swtpm).transient;
    assert_eq!(theirs.len(), 2);
    assert_eq!(try_sign(&stage, &tpm, 0), Err(Error::NoRoom("objects")));
    tpm.release();
    assert_eq!(leftovers(&swtpm).transient, theirs);
}

/// A TPM that has no room whatever is done keeps nobody searching, and costs nobody what he holds.
#[test]
fn what_is_held_is_kept() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at_once(&proxy.tcti());
    tpm.claim(names(&stage));
    stage.sign(&tpm, 0);
    proxy.mark();
    proxy.inject(Fault::Respond { code: code("Sign"), rc: 0x902, times: usize::MAX });
    assert_eq!(try_sign(&stage, &tpm, 0), Err(Error::NoRoom("objects")));
    assert_eq!(proxy.mark().to_string(), "Sign(0x902) GetCapability");
    proxy.clear_faults();
    stage.sign(&tpm, 0);
    assert_eq!(proxy.mark().to_string(), "Sign");
    // No room for the search itself.
    proxy.inject(Fault::Respond { code: code("Sign"), rc: 0x902, times: 1 });
    proxy.inject(Fault::Respond { code: code("GetCapability"), rc: 0x902, times: usize::MAX });
    assert_eq!(try_sign(&stage, &tpm, 0), Err(Error::NoRoom("objects")));
    proxy.clear_faults();
    proxy.mark();
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// The commands that make room meet the same faults as all others.
#[test]
fn a_search_for_room_that_fails_leaves_everything_in_order() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(); 3]);
    for name in ["GetCapability", "ReadPublic", "FlushContext"] {
        let code = code(name);
        for fault in [
            Fault::CutBeforeCommand { code },
            Fault::CutAfterCommand { code },
            Fault::TruncateResponse { code, keep: 7 },
            Fault::Respond { code, rc: 0x922, times: 2 },
            Fault::Respond { code, rc: 0x902, times: 1 },
            Fault::Respond { code, rc: 0x18b, times: 1 },
        ] {
            for index in [1, 2] {
                live_and_die(&stage, at(&swtpm.tcti()), index);
            }
            let tpm = at_once(&proxy.tcti());
            tpm.claim(names(&stage));
            proxy.inject(fault.clone());
            // One object is enough room for a signature: a list that was refused is not asked for twice.
            let signed = try_sign(&stage, &tpm, 0);
            let refused = name == "GetCapability" && matches!(fault, Fault::Respond { rc: 0x902 | 0x18b, .. });
            assert_eq!(signed, if refused { Err(Error::NoRoom("objects")) } else { Ok(()) }, "{fault:?}");
            assert!(proxy.pending_faults().is_empty(), "{fault:?}");
            stage.sign(&tpm, 0);
            stage.login(&tpm);
            stage.sign(&tpm, 0);
            proxy.mark();
            stage.sign(&tpm, 0);
            assert_eq!(proxy.mark().to_string(), "Sign", "{fault:?}");
            tpm.release();
            // What was not in the way may still be there: the next one flushes it.
            let mut raw = swtpm.connect().unwrap();
            for handle in leftovers_on(&mut raw) {
                raw.command(self::code("FlushContext"), &handle.to_be_bytes()).unwrap();
            }
            drop(raw);
            assert!(leftovers(&swtpm).is_clean(), "{fault:?}");
        }
    }
}

fn leftovers_on(raw: &mut swtpm_fixtures::RawClient) -> Vec<u32> {
    let (rc, answer) = raw.command(code("GetCapability"), &[0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 64]).unwrap();
    assert_eq!(rc, 0);
    answer[9..].chunks(4).map(|handle| u32::from_be_bytes(handle.try_into().unwrap())).collect()
}

/// Behind a resource manager, what is loaded in our space is ours and in use: there is nothing to search for.
#[test]
fn behind_a_resource_manager_nothing_is_searched_for() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(proxy.port());
    let tpm = at_once(&manager.tcti());
    tpm.claim(names(&stage));
    proxy.inject(Fault::Respond { code: code("Load"), rc: 0x902, times: usize::MAX });
    assert_eq!(try_sign(&stage, &tpm, 0), Err(Error::NoRoom("objects")));
    assert_eq!(manager.mark().count("GetCapability"), 0);
    proxy.clear_faults();
    stage.sign(&tpm, 0);
}

#[test]
fn no_room_says_what_to_do() {
    let text = |what| Error::NoRoom(what).to_string();
    assert!(text("objects").contains("tpm2_flushcontext --transient-object"));
    assert!(text("sessions").contains("tpm2_flushcontext --loaded-session"));
}
