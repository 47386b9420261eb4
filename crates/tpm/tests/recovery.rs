//! Primaries that are gone, keys that are not ours, lockouts: what each costs, what it tells, and what a listener hears of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use base::Secret;
use common::{Stage, assert_becomes_clean, at, counted, p256, secret, with};
use swtpm_fixtures::{ResourceManager, SwTpm, leftovers};
use tap::Tap;
use tpm::{Error, Location, Occupancy, Options, PrimaryRequest};

const HIERARCHY_CHANGE_AUTH: u32 = 0x129;
const CLEAR: u32 = 0x126;
const RH_OWNER: u32 = 0x4000_0001;
const RH_LOCKOUT: u32 = 0x4000_000a;

fn none() -> Secret {
    Secret::zeroed(0)
}

fn set_auth(swtpm: &SwTpm, hierarchy: u32, auth: &Secret) {
    let parameters = [&u16::try_from(auth.len()).unwrap().to_be_bytes()[..], auth.expose()].concat();
    let done = swtpm.connect().unwrap().command_with_empty_password(HIERARCHY_CHANGE_AUTH, &[hierarchy], &parameters);
    assert_eq!(done.unwrap().0, 0);
}

#[test]
fn an_evicted_primary_comes_back_the_same() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    assert_eq!(tpm.restore(&stage.primary, &none()).unwrap().unwrap(), stage.primary, "it is there");
    assert_eq!(proxy.mark().to_string(), "ReadPublic");
    tpm.evict(&stage.primary, &none()).unwrap();
    proxy.mark();
    assert!(matches!(tpm.check_primary(&stage.primary), Err(Error::PrimaryMissing { .. })));
    assert!(tpm.can_restore(&stage.primary, &none()).unwrap());
    assert_eq!(proxy.mark().to_string(), "ReadPublic(0x18b) CreatePrimary FlushContext");
    assert_eq!(tpm.restore(&stage.primary, &none()).unwrap().unwrap(), stage.primary);
    assert_eq!(proxy.mark().to_string(), "ReadPublic(0x18b) CreatePrimary EvictControl FlushContext");
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn one_whose_place_is_taken_goes_to_a_free_one() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    let second = PrimaryRequest { handle: Some(0x8100_0002), primary_auth: secret(5), ..PrimaryRequest::default() };
    let second = tpm.storage_primary(&second).unwrap();
    // The same key under another authorisation value is the same key: the name does not tell.
    assert_eq!(second.name(), stage.primary.name());
    tpm.evict(&stage.primary, &none()).unwrap();
    tpm.evict(&second, &none()).unwrap();
    tpm.release();
    // A key of another kind in the old place.
    let other = swtpm.connect().unwrap().command_with_empty_password(0x131, &[RH_OWNER], &rsa_primary()).unwrap();
    assert_eq!(other.0, 0);
    let handle = u32::from_be_bytes(other.1[..4].try_into().unwrap());
    let persistent = 0x8100_0001_u32.to_be_bytes();
    let kept = swtpm.connect().unwrap().command_with_empty_password(0x120, &[RH_OWNER, handle], &persistent).unwrap();
    assert_eq!(kept.0, 0);
    assert_eq!(swtpm.connect().unwrap().command(0x165, &handle.to_be_bytes()).unwrap().0, 0);
    // It is somebody's, and stays.
    assert!(matches!(tpm.evict(&stage.primary, &none()), Err(Error::WrongPrimary { found: Some(_), .. })));
    assert_eq!(tpm.list_persistent().unwrap(), [0x8100_0001]);

    let restored = tpm.restore(&stage.primary, &none()).unwrap().unwrap();
    assert_eq!(restored.location, Location::Persistent(0x8100_0002));
    assert_eq!(restored.name(), stage.primary.name());
    let again = Stage { primary: restored, ..stage };
    again.login(&tpm);
    again.sign(&tpm, 0);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// TPM2B_SENSITIVE_CREATE, TPM2B_PUBLIC of an RSA storage key, no creation data.
fn rsa_primary() -> Vec<u8> {
    let area = [
        &[0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x04, 0x72, 0x00, 0x00][..],
        &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let len = u16::try_from(area.len()).unwrap().to_be_bytes();
    [&[0, 4, 0, 0, 0, 0][..], &len, &area, &[0, 0, 0, 0, 0, 0]].concat()
}

#[test]
fn a_cleared_tpm_makes_another_key() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    assert_eq!(swtpm.connect().unwrap().command_with_empty_password(CLEAR, &[RH_LOCKOUT], &[]).unwrap().0, 0);
    let tpm = at(&proxy.tcti());
    assert!(!tpm.can_restore(&stage.primary, &none()).unwrap());
    assert_eq!(tpm.restore(&stage.primary, &none()).unwrap(), None);
    assert!(tpm.list_persistent().unwrap().is_empty());
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_key_is_tried_without_its_authorisation() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let tpm = at(&proxy.tcti());
    tpm.check_key(&stage.primary, &stage.keys[0].0).unwrap();
    tpm.check_key(&stage.primary, &stage.user).unwrap();
    assert_eq!(proxy.mark().to_string(), "Load FlushContext Load FlushContext");
    let mut mixed = stage.keys[0].0.clone();
    mixed.private = stage.keys[1].0.private.clone();
    assert!(tpm.check_key(&stage.primary, &mixed).is_err());
    let other = SwTpm::start();
    let elsewhere = at(&other.tcti());
    elsewhere.storage_primary(&PrimaryRequest::default()).unwrap();
    assert!(matches!(elsewhere.check_key(&stage.primary, &stage.keys[0].0), Err(Error::WrongPrimary { .. })));
    tpm.release();
    elsewhere.release();
    for swtpm in [&swtpm, &other] {
        assert_becomes_clean(swtpm);
    }
}

#[test]
fn what_others_hold_is_counted() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let holder = at(&swtpm.tcti());
    stage.login(&holder);
    // The second signature keeps its session.
    stage.sign(&holder, 0);
    stage.sign(&holder, 0);
    let held = holder.occupancy().unwrap();
    assert_eq!(held, Occupancy { objects: 1, sessions: 1, saved_sessions: 0 });
    holder.release();
    let tpm = at(&swtpm.tcti());
    assert_eq!(tpm.occupancy().unwrap(), Occupancy { objects: 0, sessions: 0, saved_sessions: 0 });
}

#[test]
fn a_lockout_ends_by_its_authorisation_which_nobody_hears() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let (lockout_auth, owner_auth) = (secret(21), secret(22));
    set_auth(&swtpm, RH_LOCKOUT, &lockout_auth);
    let tap = Tap::start(&swtpm);
    let tpm = at(&tap.tcti());
    let wrong = tpm.unseal(&stage.primary, &stage.user, &secret(77), None);
    assert_eq!(wrong.unwrap_err(), Error::AuthFailed);
    let state = tpm.lockout().unwrap();
    assert_eq!((state.counter, state.lockout_auth_set, state.owner_auth_set), (1, true, false));
    // With a pinned primary, and without one.
    tpm.reset_lockout(Some(&stage.primary), &lockout_auth).unwrap();
    assert_eq!(tpm.lockout().unwrap().counter, 0);
    tpm.reset_lockout(None, &lockout_auth).unwrap();
    // One connection at a time: the raw one's turn.
    tpm.release();
    set_auth(&swtpm, RH_OWNER, &owner_auth);
    assert!(tpm.lockout().unwrap().owner_auth_set);
    tpm.evict(&stage.primary, &owner_auth).unwrap();
    assert_eq!(tpm.can_restore(&stage.primary, &none()), Err(Error::HierarchyAuth));
    tpm.restore(&stage.primary, &owner_auth).unwrap().unwrap();
    assert_eq!(tpm.reset_lockout(Some(&stage.primary), &none()), Err(Error::LockoutAuth));
    assert_eq!(tpm.reset_lockout(Some(&stage.primary), &lockout_auth), Err(Error::Lockout));
    tpm.release();
    for auth in [&lockout_auth, &owner_auth] {
        assert!(!tap.heard(auth.expose()), "an authorisation value was heard");
    }
    assert!(leftovers(&swtpm).is_clean());

    // Who said that there is no listener is taken at his word.
    let swtpm = SwTpm::start();
    set_auth(&swtpm, RH_LOCKOUT, &lockout_auth);
    let tap = Tap::start(&swtpm);
    let open = with(&tap.tcti(), Options { bus_protection: false, ..Options::default() });
    open.reset_lockout(None, &lockout_auth).unwrap();
    assert!(tap.heard(lockout_auth.expose()));
}

#[test]
fn behind_a_resource_manager_nothing_is_left_either() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = ResourceManager::start(proxy.port());
    let tpm = at(&manager.tcti());
    tpm.evict(&stage.primary, &none()).unwrap();
    assert!(tpm.can_restore(&stage.primary, &none()).unwrap());
    tpm.restore(&stage.primary, &none()).unwrap().unwrap();
    tpm.check_key(&stage.primary, &stage.keys[0].0).unwrap();
    tpm.reset_lockout(Some(&stage.primary), &none()).unwrap();
    assert_eq!(tpm.occupancy().unwrap(), Occupancy { objects: 0, sessions: 0, saved_sessions: 0 });
    stage.sign(&tpm, 0);
    tpm.release();
    drop(manager);
    assert_becomes_clean(&swtpm);
}
