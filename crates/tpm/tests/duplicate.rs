//! Keys on their way from one TPM to another.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use base::Secret;
use base::curve::Curve;
use base::private::PrivateKey;
use common::{Stage, assert_becomes_clean, at, counted, p256, secret, sign_and_check, with};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, command_code};
use tap::Tap;
use tpm::{Error, Importable, Key, KeyMaterial, KeyTemplate, Options, PublicArea, RecoveryPrivate};

/// A recovery key in a file.
fn recovery() -> (PrivateKey, PublicArea) {
    let key = PrivateKey::ec(Curve::P256, &Secret::copy_from(&[7; 32])).unwrap();
    let PrivateKey::Ec { public, .. } = &key else { panic!("not EC") };
    let area = PublicArea::recovery_ecc(public).unwrap();
    (key, area)
}

fn material() -> KeyMaterial {
    let PrivateKey::Ec { public, d } = PrivateKey::ec(Curve::P384, &Secret::copy_from(&[9; 48])).unwrap() else {
        panic!("not EC")
    };
    KeyMaterial::Ecc { curve: Curve::P384, x: public.x().to_vec(), y: public.y().to_vec(), d }
}

#[test]
fn a_key_goes_to_its_recovery_key_and_on_to_another_tpm() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let (private, area) = recovery();
    let tpm = at(&proxy.tcti());
    let auth = secret(5);
    proxy.mark();
    let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
    assert_eq!(proxy.mark().names(), ["LoadExternal", "StartAuthSession", "Create", "FlushContext"]);
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    sign_and_check(&tpm, &key);
    assert!(wrapped.public_area().unwrap().can_go_to(&area));
    tpm.release();
    proxy.mark();
    let duplicate = tpm.duplicate(&key, &area).unwrap();
    assert_eq!(
        proxy.mark().names(),
        [
            "Load",
            "LoadExternal",
            "StartAuthSession",
            "PolicyAuthValue",
            "PolicyDuplicationSelect",
            "Duplicate",
            "FlushContext",
            "FlushContext"
        ]
    );
    let opened = RecoveryPrivate(&private).open(&duplicate).unwrap();
    assert!(*opened.auth() == auth);

    let other_swtpm = SwTpm::start();
    let other_stage = Stage::set(&other_swtpm, &[]);
    let other = at(&other_swtpm.tcti());
    let new = secret(6);
    let there = other.import_opened(&other_stage.primary, &opened, &new).unwrap();
    assert_eq!(there.name().unwrap(), name, "it is the same key, with the same policy");
    let key = Key { primary: &other_stage.primary, wrapped: &there, name: &name, auth: &new, policy: None };
    sign_and_check(&other, &key);
    let again = other.duplicate(&key, &area).unwrap();
    assert!(*RecoveryPrivate(&private).open(&again).unwrap().auth() == new);
    for (tpm, swtpm) in [(tpm, swtpm), (other, other_swtpm)] {
        tpm.release();
        assert_becomes_clean(&swtpm);
    }
}

#[test]
fn a_key_goes_to_another_tpm_that_alone_opens_it() {
    let (here, there) = (SwTpm::start(), SwTpm::start());
    let (stage, other_stage) = (Stage::set(&here, &[]), Stage::set(&there, &[]));
    let (tpm, other) = (at(&here.tcti()), at(&there.tcti()));
    let area = PublicArea::parse(&other_stage.primary.public).unwrap();
    let auth = secret(5);
    let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    let duplicate = tpm.duplicate(&key, &area).unwrap();
    let sealed = Importable::seal(&area, &auth).unwrap();
    assert!(other.unseal_wrapped(&other_stage.primary, &sealed).unwrap() == auth);
    let imported = other.import_wrapped(&other_stage.primary, &duplicate).unwrap();
    let key = Key { primary: &other_stage.primary, wrapped: &imported, name: &name, auth: &auth, policy: None };
    sign_and_check(&other, &key);
    let private = other.change_key_auth(&key, &secret(8)).unwrap();
    let changed = tpm::Wrapped { public: imported.public.clone(), private };
    sign_and_check(&other, &Key { wrapped: &changed, auth: &secret(8), ..key });
    for object in [&duplicate, &sealed] {
        let refused = tpm.import_wrapped(&stage.primary, object).map(drop);
        assert!(matches!(refused, Err(Error::Integrity | Error::Response(_))), "{refused:?}");
    }
}

#[test]
fn only_the_right_key_and_parent_are_duplicated() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&swtpm.tcti());
    let (_, area) = recovery();
    let refused = tpm.duplicate(&stage.key(0), &area).map(drop);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    // A TPM refuses it as well, to whom the check here is nothing: the policy of the key leads nowhere else.
    let auth = secret(5);
    let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    let elsewhere = PublicArea::parse(&stage.primary.public).unwrap();
    assert!(tpm.duplicate(&key, &elsewhere).is_err());
    let wrong = tpm.duplicate(&Key { auth: &secret(6), ..key }, &area).map(drop);
    assert_eq!(wrong, Err(Error::AuthFailed));
    for bits in [1024, 2048] {
        let template = KeyTemplate::Rsa { bits, exponent: 0 };
        assert!(tpm.create_duplicable_key(&stage.primary, &template, &area, &auth).is_ok());
    }
}

#[test]
fn what_was_altered_is_opened_by_nobody() {
    let (private, area) = recovery();
    let importable = Importable::wrap(&area, &material(), &secret(5)).unwrap();
    let open = |importable: &Importable| RecoveryPrivate(&private).open(importable).map(drop);
    assert_eq!(open(&importable), Ok(()));
    for place in 0..importable.private.len() {
        let mut bent = importable.clone();
        bent.private[place] ^= 1;
        assert!(open(&bent).is_err(), "{place}");
    }
    for place in 0..importable.secret.len() {
        let mut bent = importable.clone();
        bent.secret[place] ^= 1;
        assert!(open(&bent).is_err(), "{place}");
    }
    for place in 0..importable.public.len() {
        let mut bent = importable.clone();
        bent.public[place] ^= 1;
        assert!(open(&bent).is_err(), "{place}");
        bent.public.truncate(place);
        assert!(open(&bent).is_err(), "{place}");
    }
    let other = PrivateKey::ec(Curve::P256, &Secret::copy_from(&[8; 32])).unwrap();
    assert_eq!(RecoveryPrivate(&other).open(&importable).map(drop), Err(Error::Integrity));
}

#[test]
fn nothing_secret_crosses_the_bus() {
    for bus_protection in [true, false] {
        let swtpm = SwTpm::start();
        let stage = Stage::set(&swtpm, &[]);
        let tap = Tap::start(&swtpm);
        let tpm = with(&tap.tcti(), Options { bus_protection: true, ..Options::default() });
        let quiet = with(&tap.tcti(), Options { bus_protection, ..Options::default() });
        let (_, area) = recovery();
        let auth = Secret::copy_from(b"an auth value that can be found!");
        let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
        tpm.release();
        let name = wrapped.name().unwrap();
        let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
        quiet.duplicate(&key, &area).unwrap();
        quiet.release();
        let own = PublicArea::parse(&stage.primary.public).unwrap();
        let imported = Importable::wrap(&own, &material(), &auth).unwrap();
        quiet.import_wrapped(&stage.primary, &imported).unwrap();
        quiet.release();
        assert!(tap.heard(&wrapped.public), "the tap hears");
        for hidden in [auth.expose(), &[9; 48]] {
            assert!(!tap.heard(hidden), "{bus_protection}");
        }
    }
}

#[test]
fn a_connection_that_breaks_in_the_middle_changes_nothing() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let (private, area) = recovery();
    let tpm = at(&proxy.tcti());
    let auth = secret(5);
    let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    for command in ["PolicyAuthValue", "PolicyDuplicationSelect", "Duplicate"] {
        proxy.inject(Fault::CutAfterCommand { code: command_code(command).unwrap() });
        let duplicate = tpm.duplicate(&key, &area).unwrap();
        assert!(RecoveryPrivate(&private).open(&duplicate).is_ok(), "{command}");
    }
    tpm.release();
    assert_becomes_clean(&swtpm);
}

#[test]
fn behind_a_resource_manager_too() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let manager = ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    let (private, area) = recovery();
    let auth = secret(5);
    let wrapped = tpm.create_duplicable_key(&stage.primary, &p256(), &area, &auth).unwrap();
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    let duplicate = tpm.duplicate(&key, &area).unwrap();
    assert!(RecoveryPrivate(&private).open(&duplicate).is_ok());
    drop(tpm);
    assert_becomes_clean(&swtpm);
}
