//! Monotonic counters, and approvals that they make void.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use authority::{Authority, Bound, Office, extended, pcrs, policy};
use base::Secret;
use common::{Stage, assert_becomes_clean, assert_sent, at, counted, secret, with};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, command_code, leftovers};
use tpm::{Counter, CounterLimit, Error, Options, PolicyStep, PolicyUse};

fn nobody() -> Secret {
    Secret::zeroed(0)
}

#[test]
fn a_counter_counts_and_never_goes_back() {
    let (mut swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let (counter, first) = tpm.define_counter(None, &nobody()).unwrap();
    assert_sent(&proxy.mark(), "GetCapability NV_DefineSpace NV_Increment NV_Read");
    assert_eq!(counter, Counter::new(0x0180_0000).unwrap());
    assert_eq!(tpm.read_counter(&counter).unwrap(), first);
    assert_sent(&proxy.mark(), "NV_Read");
    assert_eq!(tpm.increment_counter(None, &counter, &nobody()).unwrap(), first + 1);
    assert_sent(&proxy.mark(), "NV_Increment NV_Read");
    tpm.release();
    swtpm.reboot();
    assert_eq!(tpm.read_counter(&counter).unwrap(), first + 1);
    let (second, _) = tpm.define_counter(None, &nobody()).unwrap();
    assert_ne!(second, counter);
    tpm.remove_counter(None, &counter, &nobody()).unwrap();
    for result in [tpm.read_counter(&counter), tpm.increment_counter(None, &counter, &nobody())] {
        assert_eq!(result, Err(Error::CounterMissing));
    }
    assert_eq!(tpm.remove_counter(None, &counter, &nobody()), Err(Error::CounterMissing));
    let (again, value) = tpm.define_counter(None, &nobody()).unwrap();
    assert_eq!(again, counter);
    assert!(value > first + 1, "{value} {first}");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn an_owner_may_have_an_authorisation() {
    let swtpm = SwTpm::start();
    let owner = secret(8);
    let mut raw = swtpm.connect().unwrap();
    let new = [&[0, 32], owner.expose()].concat();
    let changed = raw.command_with_empty_password(command_code("HierarchyChangeAuth").unwrap(), &[0x4000_0001], &new);
    assert_eq!(changed.unwrap().0, 0);
    drop(raw);
    for bus_protection in [true, false] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        assert_eq!(tpm.define_counter(None, &nobody()), Err(Error::HierarchyAuth));
        let (counter, value) = tpm.define_counter(None, &owner).unwrap();
        assert_eq!(tpm.increment_counter(None, &counter, &secret(9)), Err(Error::HierarchyAuth));
        assert_eq!(tpm.increment_counter(None, &counter, &owner).unwrap(), value + 1);
        assert_eq!(tpm.remove_counter(None, &counter, &secret(9)), Err(Error::HierarchyAuth));
        tpm.remove_counter(None, &counter, &owner).unwrap();
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn only_the_owner_s_indices_are_used() {
    for index in [0, 0x0100_0000, 0x017f_ffff, 0x01c0_0000, 0x8100_0001] {
        assert!(Counter::new(index).is_err(), "{index:#x}");
    }
    let limit = CounterLimit { counter: Counter::new(0x0180_0001).unwrap(), most: 7 };
    let text = serde_json::to_string(&limit).unwrap();
    assert_eq!(text, r#"{"counter":25165825,"most":7}"#);
    assert_eq!(serde_json::from_str::<CounterLimit>(&text).unwrap(), limit);
    for wrong in [r#"{"counter":1,"most":7}"#, r#"{"counter":25165825}"#, r#"{"counter":25165825,"most":7,"or":1}"#] {
        assert!(serde_json::from_str::<CounterLimit>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_approval_ends_with_the_count() {
    let Office { swtpm, proxy, stage, tpm, authority, mut key, selection, values } =
        Office::open(&[PolicyStep::AuthValue]);
    let (counter, value) = tpm.define_counter(None, &nobody()).unwrap();
    let limit = |most| CounterLimit { counter: counter.clone(), most };
    key.approvals = vec![authority.approve_within(&selection, &values, limit(value))];
    let check = |key: &Bound| {
        let approvals = &key.approvals;
        tpm.check_policy(&PolicyUse { policy: &key.policy, approvals })
    };
    check(&key).unwrap();
    key.sign(&tpm, &stage.primary);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyNV PolicyAuthorize PolicyAuthValue Sign");
    tpm.increment_counter(None, &counter, &nobody()).unwrap();
    let why = key.not_met(&tpm, &stage.primary);
    assert!(why.revoked);
    assert_eq!(why.to_string(), "the approval of the present state of the PCRs sha256:11 was revoked");
    assert_eq!(check(&key), Err(Error::PolicyNotMet(why)));
    // Whoever claims another limit than what was signed does not get any further, nor who claims none.
    let honest = key.approvals[0].clone();
    for claimed in [Some(limit(value + 1)), Some(limit(u64::MAX)), None] {
        key.approvals = vec![honest.clone().with_limit(claimed)];
        key.not_met(&tpm, &stage.primary);
    }
    // Approved once more.
    key.approvals = vec![honest, authority.approve_within(&selection, &values, limit(value + 1))];
    key.sign(&tpm, &stage.primary);
    check(&key).unwrap();
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyNV PolicyAuthorize PolicyAuthValue Sign");
    tpm.remove_counter(None, &counter, &nobody()).unwrap();
    assert!(key.not_met(&tpm, &stage.primary).revoked);
    assert!(check(&key).is_err());
    // Made again it does not begin anew.
    tpm.define_counter(None, &nobody()).unwrap();
    assert!(key.not_met(&tpm, &stage.primary).revoked);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn the_other_ways_stay_open() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let authority = Authority::ec();
    let selection = pcrs("sha256:11");
    let values = tpm.pcr_read(&selection).unwrap();
    let (counter, value) = tpm.define_counter(None, &nobody()).unwrap();
    let literal = policy(vec![PolicyStep::pcr(selection.clone(), &values).unwrap()]);
    let signed = policy(vec![PolicyStep::authorize(authority.key())]);
    let steps = vec![PolicyStep::Or(vec![signed, literal]), PolicyStep::AuthValue];
    let mut key = Bound::make(&tpm, &stage.primary, steps);
    let limit = CounterLimit { counter: counter.clone(), most: value };
    let later = extended(&values, 11, &[1; 32]);
    key.approvals = vec![
        authority.approve_within(&selection, &later, limit.clone()),
        authority.approve_within(&selection, &values, limit),
    ];
    key.sign(&tpm, &stage.primary);
    tpm.increment_counter(None, &counter, &nobody()).unwrap();
    key.sign(&tpm, &stage.primary);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyOR PolicyAuthValue Sign");
    tpm.check_policy(&PolicyUse { policy: &key.policy, approvals: &key.approvals }).unwrap();
    tpm.release();
    swtpm.extend_pcr(11, &[1; 32]);
    assert!(key.not_met(&tpm, &stage.primary).revoked);
}

/// Somebody else's index in the place of the counter, which asks for an authorisation value and counts wrong ones.
fn foreign_index(swtpm: &SwTpm) {
    let public =
        [&0x0180_0000_u32.to_be_bytes()[..], &[0, 0x0b], &0x0006_0006_u32.to_be_bytes(), &[0, 0, 0, 8]].concat();
    let parameters = [&[0, 4, 1, 2, 3, 4, 0, 14][..], &public].concat();
    let code = command_code("NV_DefineSpace").unwrap();
    let made = swtpm.connect().unwrap().command_with_empty_password(code, &[0x4000_0001], &parameters);
    assert_eq!(made.unwrap().0, 0);
}

#[test]
fn what_stands_in_the_place_of_a_counter_is_left_alone() {
    let Office { swtpm, proxy: _proxy, stage, tpm, authority, mut key, selection, values } =
        Office::open(&[PolicyStep::AuthValue]);
    let (counter, most) = tpm.define_counter(None, &nobody()).unwrap();
    key.approvals =
        vec![authority.approve_within(&selection, &values, CounterLimit { counter: counter.clone(), most })];
    key.sign(&tpm, &stage.primary);
    tpm.remove_counter(None, &counter, &nobody()).unwrap();
    tpm.release();
    foreign_index(&swtpm);
    for _ in 0..3 {
        assert!(key.not_met(&tpm, &stage.primary).revoked);
        assert_eq!(tpm.read_counter(&counter), Err(Error::CounterMissing));
        assert_eq!(tpm.increment_counter(None, &counter, &nobody()), Err(Error::CounterMissing));
        assert_eq!(tpm.remove_counter(None, &counter, &nobody()), Err(Error::CounterMissing));
        tpm.release();
    }
    assert_eq!(tpm.lockout().unwrap().counter, 0, "nothing was tried");
    let (next, _) = tpm.define_counter(None, &nobody()).unwrap();
    assert_ne!(next, counter, "the other one is still there");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn counters_behind_a_resource_manager_and_on_connections_that_break() {
    let swtpm = SwTpm::start();
    let manager = ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    let (counter, value) = tpm.define_counter(None, &nobody()).unwrap();
    assert_eq!(tpm.increment_counter(None, &counter, &nobody()).unwrap(), value + 1);
    drop(tpm);
    assert_becomes_clean(&swtpm);
    drop(manager);
    let proxy = swtpm_fixtures::Proxy::start(&swtpm);
    let tpm = at(&proxy.tcti());
    // Nobody knows whether it counted: it is not done again.
    proxy.inject(Fault::CutAfterCommand { code: command_code("NV_Increment").unwrap() });
    assert!(matches!(tpm.increment_counter(None, &counter, &nobody()), Err(Error::Lost(_))));
    proxy.inject(Fault::CutAfterCommand { code: command_code("NV_Read").unwrap() });
    assert_eq!(tpm.read_counter(&counter).unwrap(), value + 2);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}
