//! Counters that are made while things go wrong: none stays behind that nobody knows of.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use base::Secret;
use common::{at, counted, secret};
use swtpm_fixtures::{Fault, SwTpm, command_code, leftovers};
use tpm::{Counter, Error, Tpm};

fn code(name: &str) -> u32 {
    command_code(name).unwrap()
}

/// Is there something at the first index that counters get?
fn first_index_is_taken(swtpm: &SwTpm, tpm: &Tpm) -> bool {
    tpm.release();
    let parameters = 0x0180_0000_u32.to_be_bytes();
    let (rc, _) = swtpm.connect().unwrap().command(code("NV_ReadPublic"), &parameters).unwrap();
    rc == 0
}

#[test]
fn what_was_made_half_is_removed() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let nobody = Secret::zeroed(0);
    // TPM_RC_FAILURE, TPM_RC_NV_AUTHORIZATION: refused, so that it was never written.
    for rc in [0x101, 0x149] {
        proxy.inject(Fault::Respond { code: code("NV_Increment"), rc, times: 1 });
        assert!(matches!(tpm.define_counter(None, &nobody), Err(Error::Response(_))));
        assert!(!first_index_is_taken(&swtpm, &tpm), "{rc:#x}");
    }
    // Nobody knows whether it was written.
    for fault in [
        Fault::CutBeforeCommand { code: code("NV_Increment") },
        Fault::CutAfterCommand { code: code("NV_Increment") },
        Fault::CutAfterCommand { code: code("NV_Read") },
    ] {
        proxy.inject(fault.clone());
        assert!(matches!(tpm.define_counter(None, &nobody), Err(Error::Lost(_))));
        assert!(!first_index_is_taken(&swtpm, &tpm), "{fault:?}");
    }
    let (counter, _) = tpm.define_counter(None, &nobody).unwrap();
    assert_eq!(counter, Counter::new(0x0180_0000).unwrap());
    assert!(first_index_is_taken(&swtpm, &tpm));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn so_it_is_where_the_owner_has_an_authorisation() {
    let (swtpm, proxy) = counted();
    let owner = secret(8);
    let new = [&[0, 32], owner.expose()].concat();
    let changed =
        swtpm.connect().unwrap().command_with_empty_password(code("HierarchyChangeAuth"), &[0x4000_0001], &new);
    assert_eq!(changed.unwrap().0, 0);
    let tpm = at(&proxy.tcti());
    for fault in [
        Fault::Respond { code: code("NV_Increment"), rc: 0x101, times: 1 },
        Fault::CutAfterCommand { code: code("NV_Increment") },
    ] {
        proxy.inject(fault.clone());
        assert!(tpm.define_counter(None, &owner).is_err());
        assert!(!first_index_is_taken(&swtpm, &tpm), "{fault:?}");
    }
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}
