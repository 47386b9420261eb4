//! An authority that approved of many states, and others that pretended to: what is good now is found among them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use authority::{Authority, Bound, extended, now, pcrs, policy};
use common::{Stage, at, counted};
use swtpm_fixtures::leftovers;
use tpm::{Approval, PolicyStep, PolicyUse};

const MANY: usize = 5000;

#[test]
fn one_among_thousands_is_found() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let authority = Authority::ec();
    // The literal state is one that never was: only approvals can help.
    let selection = pcrs("sha256:11");
    let values = tpm.pcr_read(&selection).unwrap();
    let never = PolicyStep::pcr(selection.clone(), &extended(&values, 11, &[9; 32])).unwrap();
    let branches = vec![policy(vec![never]), policy(vec![PolicyStep::authorize(authority.key())])];
    let mut key = Bound::make(&tpm, &stage.primary, vec![PolicyStep::Or(branches), PolicyStep::AuthValue]);
    let old = authority.approve(&selection, &extended(&values, 11, &[1; 32]));
    // Of no authority, for a PCR that nobody has a reason to read.
    let forged = |byte| Approval::new(pcrs("sha256:23"), vec![byte; 32], old.signature.clone()).unwrap();
    key.approvals = (0..32).map(forged).chain(vec![old.clone(); MANY]).collect();
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!((why.selection.as_ref(), why.revoked), (Some(&selection), false));
    key.approvals.push(authority.approve(&selection, &values));
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    let sent = proxy.mark();
    assert_eq!((sent.count("PCR_Read"), sent.count("VerifySignature")), (1, 1), "{sent}");
    key.sign(&tpm, &stage.primary);
    assert_eq!(proxy.mark().to_string(), "PolicyPCR PolicyAuthorize PolicyOR PolicyAuthValue Sign");
    tpm.check_policy(&PolicyUse { policy: &key.policy, approvals: &key.approvals }).unwrap();
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn without_any_that_is_signed_nothing_is_read() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let (authority, stranger) = (Authority::ec(), Authority::ec());
    let mut key = Bound::make(&tpm, &stage.primary, vec![PolicyStep::authorize(authority.key())]);
    let selection = pcrs("sha256:11");
    let approval = stranger.approve(&selection, &tpm.pcr_read(&selection).unwrap());
    key.approvals = vec![approval; 64];
    proxy.mark();
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!((why.selection, why.approvals), (None, Some(0)));
    assert_eq!(proxy.mark().count("PCR_Read"), 0);
    // A way that needs no approval is not kept from being looked at.
    let branches = vec![policy(vec![PolicyStep::authorize(authority.key())]), policy(vec![now(&tpm, "sha256:10")])];
    let mut either = Bound::make(&tpm, &stage.primary, vec![PolicyStep::Or(branches)]);
    either.approvals = key.approvals;
    either.sign(&tpm, &stage.primary);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}
