//! Whether a parent can load an object: what the TPM says of the object, and nothing that it says of itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use common::{Stage, at, counted, p256};
use swtpm_fixtures::{Fault, command_code, leftovers};
use tpm::{Error, Wrapped};

#[test]
fn only_what_is_said_of_the_object_counts() {
    let (swtpm, proxy) = counted();
    let (stage, foreign) = (Stage::set(&swtpm, &[p256()]), Stage::set(&counted().0, &[p256()]));
    let tpm = at(&proxy.tcti());
    let own = &stage.keys[0].0;
    assert_eq!(tpm.can_load(&stage.primary, own), Ok(true));
    assert_eq!(tpm.can_load(&stage.primary, &foreign.keys[0].0), Ok(false));
    let cut = Wrapped { public: own.public.clone(), private: own.private[..own.private.len() - 1].to_vec() };
    assert_eq!(tpm.can_load(&stage.primary, &cut), Ok(false));
    let mixed = Wrapped { public: own.public.clone(), private: foreign.keys[0].0.private.clone() };
    assert_eq!(tpm.can_load(&stage.primary, &mixed), Ok(false));

    let load = command_code("Load").unwrap();
    let answer = |rc| {
        proxy.inject(Fault::Respond { code: load, rc, times: 2 });
        let answer = tpm.can_load(&stage.primary, own);
        proxy.clear_faults();
        answer
    };
    // CURVE, SYMMETRIC and HASH of a parameter, SCHEME of nothing in particular; SENSITIVE; INTEGRITY.
    for rc in [0x2e6, 0x2d6, 0x2c3, 0x92, 0x155, 0x1df] {
        assert_eq!(answer(rc), Ok(false), "{rc:#x}");
    }
    // FAILURE; TYPE and ATTRIBUTES of the parent; NONCE and VALUE of a session; EXPIRED.
    for rc in [0x101, 0x18a, 0x182, 0x98f, 0x984, 0x9a3] {
        assert!(matches!(answer(rc), Err(Error::Response(_))), "{rc:#x}");
    }
    assert_eq!(answer(0x921), Err(Error::Lockout));
    assert_eq!(tpm.can_load(&stage.primary, own), Ok(true));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
    // A success without the handle.
    for _ in 0..2 {
        proxy.inject(Fault::Replace { code: load, bytes: vec![0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0] });
    }
    assert!(matches!(tpm.can_load(&stage.primary, own), Err(Error::Malformed(_))));
}
