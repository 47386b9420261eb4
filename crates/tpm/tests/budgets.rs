//! How many commands each operation costs, exactly. On a hardware TPM these are the time a user waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use base::digest::Hash;
use common::{Stage, assert_becomes_clean, assert_sent, at, counted, p256, secret, with};
use swtpm_fixtures::{Proxy, ResourceManager, SwTpm, leftovers};
use tpm::{DecryptScheme, KeyTemplate, Options, PrimaryRequest, SealRequest, SignScheme, Tpm};

const RSA: KeyTemplate = KeyTemplate::Rsa { bits: 1024, exponent: 0 };

fn unprotected(tcti: &str) -> Tpm {
    with(tcti, Options { bus_protection: false, ..Options::default() })
}

#[test]
fn one_cold_life_is_seven_commands_and_leaves_nothing() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    assert_eq!(proxy.connections(), 0, "nothing is opened before it is needed");
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    tpm.release();
    assert_sent(&proxy.mark(), "StartAuthSession Load Unseal FlushContext Load Sign FlushContext");
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_long_life_signs_with_one_command() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), RSA]);
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    proxy.mark();
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "StartAuthSession Sign");
    for _ in 0..20 {
        stage.sign(&tpm, 0);
        assert_sent(&proxy.mark(), "Sign");
    }
    // The session bound to one key serves the others.
    let digest = Hash::Sha256.digest(&[b"message"]);
    let key = stage.key(1);
    tpm.sign(&key, Hash::Sha256, &digest, SignScheme::RsaSsa).unwrap();
    assert_sent(&proxy.mark(), "Load Sign");
    for _ in 0..5 {
        tpm.sign(&key, Hash::Sha256, &digest, SignScheme::RsaPss).unwrap();
        assert_sent(&proxy.mark(), "Sign");
        tpm.rsa_decrypt(&key, DecryptScheme::Raw, &[1; 128]).unwrap();
        assert_sent(&proxy.mark(), "RSA_Decrypt");
        stage.sign(&tpm, 0);
        assert_sent(&proxy.mark(), "Sign");
    }
    tpm.forget(key.name);
    assert_sent(&proxy.mark(), "FlushContext");
    tpm.forget(key.name);
    assert_eq!(proxy.mark().len(), 0);
    tpm.create_key(&stage.primary, &p256(), &secret(40), None).unwrap();
    assert_sent(&proxy.mark(), "Create");
    stage.login(&tpm);
    assert_sent(&proxy.mark(), "StartAuthSession Load Unseal FlushContext");
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Sign");
    tpm.release();
    assert_sent(&proxy.mark(), "FlushContext FlushContext");
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn without_a_login_the_first_signature_is_three_commands() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Load StartAuthSession Sign");
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Sign");
}

#[test]
fn making_things() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_sent(&proxy.mark(), "ReadPublic(0x18b) CreatePrimary EvictControl FlushContext");
    tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    // Whether sessions can be salted to what is adopted.
    assert_sent(&proxy.mark(), "ReadPublic StartAuthSession GetRandom");
    tpm.check_primary(&primary).unwrap();
    assert_sent(&proxy.mark(), "ReadPublic");
    tpm.capabilities().unwrap();
    assert_sent(&proxy.mark(), "GetCapability GetCapability GetCapability GetCapability");
    tpm.lockout().unwrap();
    assert_sent(&proxy.mark(), "GetCapability");
    tpm.list_persistent().unwrap();
    assert_sent(&proxy.mark(), "GetCapability");
    tpm.random(&mut [0; 5000]).unwrap();
    assert_sent(&proxy.mark(), "GetRandom");
    tpm.random(&mut []).unwrap();
    assert_sent(&proxy.mark(), "");
    let (so_auth, user_auth, data) = (secret(1), secret(2), secret(3));
    let (so, user) = tpm
        .create_pin_objects(
            &primary,
            SealRequest { auth: &so_auth, data: &data },
            SealRequest { auth: &user_auth, data: &data },
            None,
        )
        .unwrap();
    assert_sent(&proxy.mark(), "StartAuthSession Create Create");
    tpm.create_key(&primary, &p256(), &secret(9), None).unwrap();
    assert_sent(&proxy.mark(), "StartAuthSession Create");
    tpm.unseal(&primary, &user, &user_auth, None).unwrap();
    proxy.mark();
    // A session of a login ends with its next use where keeping it would cost a command.
    tpm.create_key(&primary, &p256(), &secret(9), None).unwrap();
    assert_sent(&proxy.mark(), "Create");
    tpm.change_auth(&primary, &so, &so_auth, &secret(4)).unwrap();
    assert_sent(&proxy.mark(), "StartAuthSession Load ObjectChangeAuth FlushContext");
    tpm.change_user_auth(&primary, &user, &so.name().unwrap(), None, &user_auth, &secret(5)).unwrap();
    assert_sent(
        &proxy.mark(),
        "Load StartAuthSession PolicyAuthValue PolicyCommandCode PolicyOR ObjectChangeAuth FlushContext",
    );
    tpm.reset_user_auth(&primary, &user, &so, None, &so_auth, &secret(5)).unwrap();
    assert_sent(
        &proxy.mark(),
        "StartAuthSession Load Load StartAuthSession GetRandom PolicySecret PolicyCommandCode PolicyOR ObjectChangeAuth \
         FlushContext FlushContext",
    );
    tpm.release();
    assert_sent(&proxy.mark(), "");
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn unprotected_commands_need_no_session() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = unprotected(&proxy.tcti());
    stage.login(&tpm);
    assert_sent(&proxy.mark(), "Load Unseal FlushContext");
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Load Sign");
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Sign");
    tpm.create_key(&stage.primary, &p256(), &secret(40), None).unwrap();
    assert_sent(&proxy.mark(), "Create");
}

#[test]
fn a_wrong_pin_costs_no_more_than_a_right_one() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    tpm.unseal(&stage.primary, &stage.user, &secret(77), None).unwrap_err();
    assert_sent(&proxy.mark(), "StartAuthSession Load Unseal(0x98e) FlushContext");
    stage.login(&tpm);
    assert_sent(&proxy.mark(), "Load Unseal FlushContext");
    tpm.release();
    assert_sent(&proxy.mark(), "FlushContext");
    assert!(leftovers(&swtpm).is_clean());
}

/// Counts what the client sends, and what the chip is asked: 1 + 3 for each object + 2 for each session held.
#[test]
fn behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let chip = Proxy::start(&swtpm);
    let manager = ResourceManager::start(chip.port());
    let tpm = at(&manager.tcti());
    stage.login(&tpm);
    assert_sent(&manager.mark(), "StartAuthSession Load Unseal");
    let asked = chip.mark();
    assert!(asked.len() <= 13, "{} {asked}", asked.len());
    stage.sign(&tpm, 0);
    assert_sent(&manager.mark(), "StartAuthSession Load Sign");
    let asked = chip.mark();
    assert!(asked.len() <= 14, "{} {asked}", asked.len());
    for _ in 0..3 {
        stage.sign(&tpm, 0);
        assert_sent(&manager.mark(), "Sign");
        assert_eq!(chip.mark().len(), 6);
    }
    // A second key does not make the first one dearer.
    stage.sign(&tpm, 1);
    assert_sent(&manager.mark(), "StartAuthSession Load Sign");
    chip.mark();
    for index in [0, 1, 0, 1] {
        stage.sign(&tpm, index);
        assert_sent(&manager.mark(), "Sign");
        assert_eq!(chip.mark().len(), 6);
    }
    tpm.random(&mut [0; 8]).unwrap();
    assert_eq!(chip.mark().len(), 1);
    manager.mark();
    tpm.release();
    assert_sent(&manager.mark(), "");
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn one_cold_life_behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let chip = Proxy::start(&swtpm);
    let manager = ResourceManager::start(chip.port());
    let tpm = at(&manager.tcti());
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    tpm.release();
    assert_sent(&manager.mark(), "StartAuthSession Load Unseal StartAuthSession Load Sign");
    let asked = chip.mark();
    assert!(asked.len() <= 27, "{} {asked}", asked.len());
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

/// Each in turn, again and again: what the chip is asked for one signature, when there are so many keys.
#[test]
fn many_keys_in_turn_cost_no_more_than_one() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(); 40]);
    let manager = ResourceManager::start(proxy.port());
    for keys in [3, 9, 19, 32] {
        let tpm = at(&manager.tcti());
        (0..keys).for_each(|index| stage.sign(&tpm, index));
        for index in (0..keys).chain(0..keys) {
            proxy.mark();
            stage.sign(&tpm, index);
            assert_eq!(proxy.mark().len(), 6, "key {index} of {keys}");
        }
        tpm.release();
        assert_becomes_clean(&swtpm);
    }
    // Those for which there is no session to keep.
    let tpm = at(&manager.tcti());
    (0..40).for_each(|index| stage.sign(&tpm, index));
    for index in 0..40 {
        proxy.mark();
        stage.sign(&tpm, index);
        assert_eq!(proxy.mark().len(), if index < 32 { 6 } else { 11 }, "key {index} of 40");
    }
    tpm.release();
    assert_becomes_clean(&swtpm);
}
