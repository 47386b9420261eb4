//! Many keys, many threads, few slots.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::time::{Duration, Instant};

use base::Secret;
use base::digest::Hash;
use common::{Stage, assert_becomes_clean, at, counted, p256, with};
use swtpm_fixtures::{Fault, SwTpm, leftovers};
use tpm::{Error, Keeping, Key, KeyTemplate, Location, Options, PrimaryRequest, SealRequest, SignScheme, Tpm, Wrapped};

#[test]
fn the_tenth_key_works_on_three_slots() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(); 10]);
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    for _ in 0..3 {
        for index in 0..10 {
            stage.sign(&tpm, index);
        }
    }
    // The most recently used stay.
    proxy.mark();
    stage.sign(&tpm, 9);
    assert_eq!(proxy.mark().to_string(), "Sign");
    stage.login(&tpm);
    stage.sign(&tpm, 3);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn many_keys_behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(); 12]);
    let manager = swtpm_fixtures::ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    stage.login(&tpm);
    for _ in 0..2 {
        for index in 0..12 {
            stage.sign(&tpm, index);
        }
    }
    tpm.forget(stage.key(11).name);
    stage.sign(&tpm, 11);
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

fn sign_from_threads(stage: &Stage, tpm: &Tpm) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..12 {
                    stage.sign(tpm, (thread + round) % stage.keys.len());
                    if round % 4 == thread % 4 {
                        stage.login(tpm);
                        tpm.random(&mut [0; 16]).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn eight_threads_with_several_keys() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(); 4]);
    let tpm = at(&swtpm.tcti());
    sign_from_threads(&stage, &tpm);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn eight_threads_behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(); 10]);
    let manager = swtpm_fixtures::ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    sign_from_threads(&stage, &tpm);
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn the_idle_hold_nothing_and_lock_nobody_out() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let idle = Duration::from_millis(50);
    let tpm = with(&proxy.tcti(), Options { idle, ..Options::default() });
    for _ in 0..3 {
        stage.login(&tpm);
        stage.sign(&tpm, 0);
        stage.sign(&tpm, 0);
        let started = Instant::now();
        // Waits for its turn: the TPM serves one client at a time.
        let left = leftovers(&swtpm);
        assert!(left.is_clean(), "{left:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    proxy.mark();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(proxy.mark().len(), 0, "an idle client is silent");
}

#[test]
fn two_processes_worth_of_clients_share_one_software_tpm() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let idle = Duration::from_millis(30);
    let clients: Vec<Tpm> = (0..2).map(|_| with(&swtpm.tcti(), Options { idle, ..Options::default() })).collect();
    std::thread::scope(|scope| {
        for tpm in &clients {
            scope.spawn(|| {
                for _ in 0..3 {
                    stage.login(tpm);
                    stage.sign(tpm, 1);
                    std::thread::sleep(Duration::from_millis(150));
                }
            });
        }
    });
}

#[test]
fn unprotected_and_protected_clients_agree() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), KeyTemplate::Rsa { bits: 1024, exponent: 0 }]);
    let digest = Hash::Sha256.digest(&[b"message"]);
    let signatures: Vec<_> = [true, false]
        .into_iter()
        .map(|bus_protection| {
            let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
            stage.login(&tpm);
            tpm.sign(&stage.key(1), Hash::Sha256, &digest, SignScheme::RsaSsa).unwrap()
        })
        .collect();
    assert_eq!(signatures[0], signatures[1]);
}

/// Keys with a short authorisation value, such as other software makes, cannot lend a session its secrecy.
#[test]
fn keys_with_weak_authorisation_values_are_served_by_salted_sessions() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let manager = swtpm_fixtures::ResourceManager::start(proxy.port());
    for tcti in [proxy.tcti(), manager.tcti()] {
        for auth in [&b""[..], b"short"] {
            let auth = Secret::copy_from(auth);
            let tpm = at(&tcti);
            let wrapped = tpm.create_key(&stage.primary, &p256(), &auth, None).unwrap();
            let name = wrapped.name().unwrap();
            let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
            for _ in 0..3 {
                common::sign_and_check(&tpm, &key);
            }
            // The other key's session serves it as well.
            stage.sign(&tpm, 0);
            common::sign_and_check(&tpm, &key);
            let wrong = Key { auth: &Secret::copy_from(b"wrong"), ..key };
            let digest = Hash::Sha256.digest(&[]);
            assert_eq!(tpm.sign(&wrong, Hash::Sha256, &digest, SignScheme::Ecdsa), Err(Error::AuthFailed));
        }
    }
    drop(manager);
}

/// The TPM has no room for a persistent primary: it is derived for each connection.
#[test]
fn a_transient_primary_serves_like_a_persistent_one() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let evict_control = swtpm_fixtures::command_code("EvictControl").unwrap();
    proxy.inject(Fault::Respond { code: evict_control, rc: 0x14b, times: 2 });
    let refused = tpm.storage_primary(&PrimaryRequest::default()).unwrap_err();
    assert!(matches!(refused, Error::PersistenceRefused(_)), "{refused}");
    let request = PrimaryRequest { keeping: Keeping::PersistentIfPossible, ..PrimaryRequest::default() };
    let primary = tpm.storage_primary(&request).unwrap();
    assert_eq!(primary.location, Location::Transient);
    tpm.check_primary(&primary).unwrap();
    let (auth, data) = (common::secret(1), common::secret(2));
    let (so, user) = tpm
        .create_pin_objects(
            &primary,
            SealRequest { auth: &auth, data: &data },
            SealRequest { auth: &auth, data: &data },
            None,
        )
        .unwrap();
    let keys: Vec<_> = (0..4)
        .map(|_| {
            let wrapped = tpm.create_key(&primary, &p256(), &auth, None).unwrap();
            let name = wrapped.name().unwrap();
            (wrapped, name)
        })
        .collect();
    tpm.release();
    let manager = swtpm_fixtures::ResourceManager::start(proxy.port());
    for tcti in [proxy.tcti(), manager.tcti()] {
        let tpm = at(&tcti);
        for _ in 0..2 {
            assert!(tpm.unseal(&primary, &user, &auth, None).unwrap() == data);
            for (wrapped, name) in &keys {
                let key = Key { primary: &primary, wrapped, name, auth: &auth, policy: None };
                common::sign_and_check(&tpm, &key);
                common::sign_and_check(&tpm, &key);
            }
        }
        let private = tpm.reset_user_auth(&primary, &user, &so, None, &auth, &common::secret(7)).unwrap();
        let changed = Wrapped { private, ..user.clone() };
        assert!(tpm.unseal(&primary, &changed, &common::secret(7), None).unwrap() == data);
        drop(tpm);
        if tcti == proxy.tcti() {
            assert!(leftovers(&swtpm).is_clean());
        }
    }
    drop(manager);
    // On another TPM the same template gives another primary.
    let abroad = SwTpm::start();
    let tpm = at(&abroad.tcti());
    assert!(matches!(tpm.unseal(&primary, &user, &auth, None), Err(Error::WrongPrimary { .. })));
    tpm.release();
    assert!(leftovers(&abroad).is_clean());
}

/// What a restart does to a client of a resource manager.
#[test]
fn connections_of_a_resource_manager_are_made_anew() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let manager = swtpm_fixtures::ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    for _ in 0..3 {
        stage.login(&tpm);
        for index in [0, 1, 0] {
            stage.sign(&tpm, index);
        }
        manager.cut();
    }
    drop(tpm);
    assert_becomes_clean(&swtpm);
}
