//! Which key becomes the storage primary, and what of a TPM that lacks the usual one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

mod common;

use base::Secret;
use common::{at, code, counted, secret};
use swtpm_fixtures::{Proxy, leftovers};
use tpm::{Error, Location, PrimaryRequest, SealRequest, Tpm};

/// TPM_RC_VALUE of the second parameter, as firmware was seen to answer to a salt for a key that it has.
const REFUSED: u32 = 0x2c4;
/// TPM_RC_CURVE of the second parameter.
const NO_CURVE: u32 = 0x2e6;

fn refusal(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes(word.try_into().unwrap()))
}

/// From now on no session can be salted to what is at this handle.
fn without_salts_of(proxy: &Proxy, handle: u32) {
    proxy.interpose(move |command, upstream| {
        let refused = word(command, 6) == code("StartAuthSession") && word(command, 10) == handle;
        if refused { refusal(REFUSED) } else { upstream.transact(command) }
    });
}

fn is_of_use(tpm: &Tpm, primary: &tpm::Primary) {
    let (auth, data) = (secret(1), secret(2));
    let request = || SealRequest { auth: &auth, data: &data };
    let (so, _) = tpm.create_pin_objects(primary, request(), request(), None).unwrap();
    assert!(tpm.unseal(primary, &so, &auth, None) == Ok(data.clone()));
}

#[test]
fn a_key_that_carries_no_sessions_is_not_adopted() {
    let (swtpm, proxy) = counted();
    let usual = at(&swtpm.tcti()).storage_primary(&PrimaryRequest::default()).unwrap();
    let Location::Persistent(handle) = usual.location else { panic!("{usual:?}") };
    without_salts_of(&proxy, handle);
    let tpm = at(&proxy.tcti());
    // Who names it is told.
    let named = PrimaryRequest { handle: Some(handle), ..PrimaryRequest::default() };
    let refused = tpm.storage_primary(&named).unwrap_err();
    assert!(matches!(refused, Error::Invalid(text) if text.contains("sessions salted")), "{refused:?}");
    // Else another key is made, which is another: the same one would fail in the same way.
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_ne!(primary.name(), usual.name());
    assert_ne!(primary.location, usual.location);
    is_of_use(&tpm, &primary);
    // And found again.
    assert_eq!(tpm.storage_primary(&PrimaryRequest::default()).unwrap(), primary);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_tpm_without_the_usual_curve_has_a_primary_of_rsa() {
    for owner in [Secret::zeroed(0), secret(9)] {
        let (swtpm, proxy) = counted();
        if !owner.is_empty() {
            let new = [&[0, 32][..], owner.expose()].concat();
            let mut raw = swtpm.connect().unwrap();
            let set = raw.command_with_empty_password(code("HierarchyChangeAuth"), &[0x4000_0001], &new);
            assert_eq!(set.unwrap().0, 0);
        }
        proxy.interpose(|command, upstream| {
            // TPMT_PUBLIC: TPM_ALG_ECC, TPM_ALG_SHA256; elsewhere in such a command there is no such thing.
            let asks = word(command, 6) == code("CreatePrimary")
                && command.windows(4).any(|bytes| bytes == [0x00, 0x23, 0x00, 0x0b]);
            if asks { refusal(NO_CURVE) } else { upstream.transact(command) }
        });
        let tpm = at(&proxy.tcti());
        let request = PrimaryRequest { owner_auth: owner, ..PrimaryRequest::default() };
        let primary = tpm.storage_primary(&request).unwrap();
        assert_eq!(primary.location, Location::Persistent(0x8100_0001));
        is_of_use(&tpm, &primary);
        assert_eq!(tpm.storage_primary(&request).unwrap(), primary);
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

/// A response that somebody changed is refused, and the session that it was for is not left in one of the TPM's few places.
#[test]
fn a_session_does_not_outlive_an_answer_that_is_not_authentic() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    let (auth, data) = (secret(1), secret(2));
    let request = || SealRequest { auth: &auth, data: &data };
    let (so, _) = tpm.create_pin_objects(&primary, request(), request(), None).unwrap();
    tpm.release();
    for spoilt in ["Load", "Unseal"] {
        proxy.interpose(move |command, upstream| {
            let mut response = upstream.transact(command);
            if word(command, 6) == code(spoilt) && word(&response, 6) == 0 {
                *response.last_mut().unwrap() ^= 1;
            }
            response
        });
        let opened = tpm.unseal(&primary, &so, &auth, None);
        proxy.stand_aside();
        tpm.release();
        if spoilt == "Unseal" {
            assert_eq!(opened.unwrap_err(), Error::ResponseHmac);
        }
        let left = leftovers(&swtpm);
        assert!(left.loaded_sessions.is_empty() && left.saved_sessions.is_empty(), "{spoilt}: {left:?}");
    }
}
