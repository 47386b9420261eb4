//! Policies while things go wrong: PCRs that change, connections that break, a TPM without room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use authority::{Authority, Bound, Office, extended, now, pcrs};
use common::{EVENT, Stage, assert_becomes_clean, assert_sent, at, code, counted, extend_before, p256, with};
use swtpm_fixtures::{Fault, Proxy, SwTpm, leftovers};
use tpm::{Error, Options, PolicyStep};

/// Some other PCR is extended between policy and use: the TPM forgets which ones the policy looked at.
#[test]
fn a_pcr_extended_between_policy_and_use() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    key.sign(&tpm, &stage.primary);
    proxy.mark();
    extend_before(&proxy, "Sign", 11);
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyAuthValue Sign(0x128) PolicyRestart PolicyPCR PolicyAuthValue Sign");
    for _ in 0..4 {
        extend_before(&proxy, "Sign", 11);
    }
    key.sign(&tpm, &stage.primary);
    for _ in 0..20 {
        extend_before(&proxy, "Sign", 11);
    }
    key.sign(&tpm, &stage.primary);
    assert!(proxy.pending_faults().is_empty());
    // The PCR that counts.
    extend_before(&proxy, "Sign", 10);
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!(why.differing, [10]);
}

#[test]
fn a_choice_made_too_early_is_made_again() {
    let Office { swtpm: _swtpm, proxy, stage, tpm, authority, mut key, selection, values: old } = Office::open(&[]);
    let new = extended(&old, 11, &EVENT);
    key.approvals = vec![authority.approve(&selection, &old), authority.approve(&selection, &new)];
    for at in ["PolicyPCR", "PolicyAuthorize", "Sign"] {
        proxy.mark();
        extend_before(&proxy, at, 11);
        key.approvals.push(authority.approve(&selection, &extended(&new, 11, &EVENT)));
        let signed = key.try_sign(&tpm, &stage.primary);
        assert!(signed.is_ok(), "{at} {signed:?} {}", proxy.mark());
        let values = tpm.pcr_read(&selection).unwrap();
        key.approvals.push(authority.approve(&selection, &extended(&values, 11, &EVENT)));
    }
}

#[test]
fn a_tpm_that_was_restarted_meanwhile() {
    let (mut swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let authority = Authority::rsa();
    let literal = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    let mut signed = Bound::make(&tpm, &stage.primary, vec![PolicyStep::authorize(authority.key())]);
    let selection = pcrs("sha256:11");
    let values = tpm.pcr_read(&selection).unwrap();
    signed.approvals = vec![authority.approve(&selection, &values)];
    for round in 0..4 {
        literal.sign(&tpm, &stage.primary);
        signed.sign(&tpm, &stage.primary);
        if round % 2 == 0 {
            swtpm.restart();
        } else {
            // Behind open connections.
            swtpm.reset_without_startup();
        }
    }
    literal.sign(&tpm, &stage.primary);
    signed.sign(&tpm, &stage.primary);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// What the TPM says of a ticket that it did not make, or that is from before it was cleared.
#[test]
fn a_stale_ticket_is_made_anew_once() {
    let Office { swtpm, proxy, stage, tpm, authority, mut key, selection, values } = Office::open(&[]);
    key.approvals = vec![authority.approve(&selection, &values)];
    key.sign(&tpm, &stage.primary);
    let refuse = |rc, times| proxy.inject(Fault::Respond { code: code("PolicyAuthorize"), rc, times });
    for rc in [0x4c4, 0x4e0] {
        proxy.mark();
        refuse(rc, 1);
        key.sign(&tpm, &stage.primary);
        let sent = proxy.mark();
        assert_eq!(sent.count("VerifySignature"), 1, "{sent}");
    }
    // A TPM that does not say which parameter it means: it could be the ticket, and is the state.
    tpm.release();
    swtpm.extend_pcr(11, &EVENT);
    refuse(0x84, 8);
    assert_eq!(key.not_met(&tpm, &stage.primary).selection, Some(selection.clone()));
    proxy.clear_faults();
    let values = tpm.pcr_read(&selection).unwrap();
    key.approvals = vec![authority.approve(&selection, &values)];
    refuse(0x4c4, 10);
    assert_eq!(key.try_sign(&tpm, &stage.primary), Err(Error::PolicyFailed));
    proxy.clear_faults();
    key.sign(&tpm, &stage.primary);
}

#[test]
fn connections_that_break() {
    let Office { swtpm, proxy, stage, tpm, authority, mut key, selection, values } =
        Office::open(&[PolicyStep::AuthValue]);
    tpm.release();
    key.approvals = vec![authority.approve(&selection, &values)];
    for name in ["LoadExternal", "VerifySignature", "Load", "StartAuthSession", "PolicyPCR", "PolicyAuthorize", "Sign"]
    {
        for fault in [Fault::CutBeforeCommand { code: code(name) }, Fault::CutAfterCommand { code: code(name) }] {
            let tpm = at(&proxy.tcti());
            proxy.inject(fault.clone());
            key.sign(&tpm, &stage.primary);
            key.sign(&tpm, &stage.primary);
            tpm.release();
            assert!(proxy.pending_faults().is_empty(), "{name}");
            let left = leftovers(&swtpm);
            // Nobody knows of what a command did whose answer never came: a session or an object that has no name yet.
            let lost = matches!(fault, Fault::CutAfterCommand { .. });
            assert!(
                left.is_clean() || lost && ["LoadExternal", "Load", "StartAuthSession"].contains(&name),
                "{name} {left:?}"
            );
            if !left.is_clean() {
                tidy(&swtpm, &left.transient, &left.loaded_sessions);
            }
        }
    }
}

fn tidy(swtpm: &SwTpm, objects: &[u32], sessions: &[u32]) {
    let mut raw = swtpm.connect().unwrap();
    for handle in objects.iter().chain(sessions) {
        assert_eq!(raw.command(code("FlushContext"), &handle.to_be_bytes()).unwrap().0, 0);
    }
}

#[test]
fn without_threads_nothing_is_held_after_a_use() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = with(&proxy.tcti(), Options { threads: false, ..Options::default() });
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "Load StartAuthSession PolicyPCR PolicyAuthValue Sign FlushContext");
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn an_idle_process_holds_nothing() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = with(&swtpm.tcti(), Options { idle: std::time::Duration::from_millis(50), ..Options::default() });
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    key.sign(&tpm, &stage.primary);
    assert_becomes_clean(&swtpm);
    key.sign(&tpm, &stage.primary);
}

#[test]
fn sessions_give_way_when_the_tpm_has_no_room() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let proxy = Proxy::start(&swtpm);
    let tpm = at(&proxy.tcti());
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    key.sign(&tpm, &stage.primary);
    stage.sign(&tpm, 0);
    // Two are held; this takes two more, and a TPM has three.
    let private =
        tpm.reset_user_auth(&stage.primary, &stage.user, &stage.so, None, &stage.so_auth, &stage.user_auth).unwrap();
    assert!(!private.is_empty());
    key.sign(&tpm, &stage.primary);
    stage.sign(&tpm, 0);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// A success with this body, to a command without authorisation.
fn answer(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&[0x80, 0x01][..], &size.to_be_bytes(), &[0; 4], body].concat()
}

#[test]
fn a_tpm_that_answers_nonsense() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let (selection, authority) = (pcrs("sha256:10"), Authority::ec());
    let counter = [0, 0, 0, 1];
    let sha256 = [0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0];
    let value = [&[0, 0, 0, 1, 0, 32][..], &[7; 32]].concat();
    let nonsense: Vec<Vec<u8>> = vec![
        Vec::new(),
        counter.to_vec(),
        // No PCR; another PCR; another bank; too many; too few values; too short a value; a selection without end.
        [&counter[..], &[0, 0, 0, 0], &[0, 0, 0, 0]].concat(),
        [&counter[..], &[0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0], &value].concat(),
        [&counter[..], &[0, 0, 0, 1, 0, 0x04, 3, 0, 4, 0], &value].concat(),
        [&counter[..], &[0xff; 4], &sha256, &value].concat(),
        [&counter[..], &sha256, &[0, 0, 0, 0]].concat(),
        [&counter[..], &sha256, &[0, 0, 0, 1, 0, 2, 1, 2]].concat(),
        [&counter[..], &[0, 0, 0, 1, 0, 0x0b, 0xff], &[0xff; 255], &value].concat(),
        [&counter[..], &sha256, &value, &[0]].concat(),
    ];
    for body in nonsense {
        // Once more after a new connection.
        for _ in 0..2 {
            proxy.inject(Fault::Replace { code: code("PCR_Read"), bytes: answer(&body) });
        }
        let refused = tpm.pcr_read(&selection).unwrap_err();
        assert!(matches!(refused, Error::Malformed(_) | Error::Unsupported(_)), "{body:?}: {refused}");
        proxy.clear_faults();
    }
    let values = tpm.pcr_read(&selection).unwrap();
    let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
    let mut key = Bound::make(&tpm, &stage.primary, steps);
    tpm.release();
    for name in ["LoadExternal", "VerifySignature", "PolicyPCR", "PolicyAuthorize", "PolicyAuthValue"] {
        for body in [vec![], vec![0; 3], vec![0xff; 10], vec![0; 200]] {
            // An approval that was not seen before.
            key.approvals = vec![Authority::ec().approve(&selection, &values), authority.approve(&selection, &values)];
            let tpm = at(&proxy.tcti());
            for _ in 0..2 {
                proxy.inject(Fault::Replace { code: code(name), bytes: answer(&body) });
            }
            // What tells nothing is believed; the TPM finds out.
            let _ = key.try_sign(&tpm, &stage.primary);
            proxy.clear_faults();
            if name == "LoadExternal" {
                // It was loaded twice, and not admitted.
                tpm.release();
                let left = leftovers(&swtpm);
                tidy(&swtpm, &left.transient, &left.loaded_sessions);
            }
            key.sign(&tpm, &stage.primary);
            tpm.release();
            assert!(leftovers(&swtpm).is_clean(), "{name}");
        }
    }
}
