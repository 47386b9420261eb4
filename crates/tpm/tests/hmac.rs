//! HMAC keys of the TPM, against HMAC in software.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use base::Secret;
use base::digest::Hash;
use common::{Stage, assert_becomes_clean, at, counted, p256, secret, sign_and_check, with};
use swtpm_fixtures::{Fault, Proxy, ResourceManager, SwTpm, command_code, leftovers};
use tap::Tap;
use tpm::{Error, Key, KeyMaterial, KeyTemplate, Location, Name, Options, Primary, Tpm, Wrapped};

const HASHES: [Hash; 4] = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
const ANY: KeyTemplate = KeyTemplate::Hmac { hash: None };

/// An HMAC key whose value is known.
struct Known {
    value: Vec<u8>,
    wrapped: Wrapped,
    name: Name,
    auth: Secret,
}

impl Known {
    fn import(tpm: &Tpm, stage: &Stage, hash: Option<Hash>, value: &[u8]) -> Known {
        let auth = secret(160);
        let material = KeyMaterial::Hmac { hash, key: Secret::copy_from(value) };
        let wrapped = tpm.import_key(&stage.primary, &material, &auth, None).unwrap();
        let name = wrapped.name().unwrap();
        Known { value: value.to_vec(), wrapped, name, auth }
    }

    fn key<'a>(&'a self, stage: &'a Stage) -> Key<'a> {
        Key { primary: &stage.primary, wrapped: &self.wrapped, name: &self.name, auth: &self.auth, policy: None }
    }

    fn check(&self, tpm: &Tpm, stage: &Stage, hash: Hash, data: &[u8]) {
        let mac = tpm.hmac(&self.key(stage), hash, data).unwrap();
        assert!(mac == hash.hmac(&self.value, &[data]), "{hash:?} {} {}", self.value.len(), data.len());
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn every_hash_and_length_is_that_of_the_standard() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    for bus_protection in [true, false] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        for len in [1, 20, 32, 64, 65, 128] {
            let known = Known::import(&tpm, &stage, None, &bytes(len));
            assert_eq!(known.wrapped.public_area().unwrap().hmac(), Some(None));
            for hash in HASHES {
                known.check(&tpm, &stage, hash, &bytes(50));
            }
        }
        for hash in HASHES {
            for len in [1, hash.block_len(), hash.block_len() + 1, 1000] {
                let known = Known::import(&tpm, &stage, Some(hash), &bytes(len));
                assert_eq!(known.wrapped.public_area().unwrap().hmac(), Some(Some(hash)));
                known.check(&tpm, &stage, hash, &bytes(50));
            }
            let known = Known::import(&tpm, &stage, None, &bytes(40));
            for len in [0, 1, 1023, 1024, 1025, 2048, 2049, 10_000] {
                known.check(&tpm, &stage, hash, &bytes(len));
            }
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn a_key_made_by_the_tpm_is_one_key() {
    let swtpm = SwTpm::start();
    let only = KeyTemplate::Hmac { hash: Some(Hash::Sha384) };
    let stage = Stage::set(&swtpm, &[ANY, only, ANY]);
    let tpm = at(&swtpm.tcti());
    let data = bytes(3000);
    for (index, hash) in [(0, Hash::Sha256), (0, Hash::Sha1), (1, Hash::Sha384), (2, Hash::Sha256)] {
        let mac = tpm.hmac(&stage.key(index), hash, &data).unwrap();
        assert_eq!(mac.len(), hash.len());
        assert!(tpm.hmac(&stage.key(index), hash, &data).unwrap() == mac);
        assert!(tpm.hmac(&stage.key(index), hash, &data[1..]).unwrap() != mac);
    }
    let macs = [0, 2].map(|index| tpm.hmac(&stage.key(index), Hash::Sha256, &data).unwrap());
    assert!(macs[0] != macs[1]);
}

#[test]
fn it_costs_one_command_or_one_for_each_buffer_and_one() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[ANY, p256()]);
    let tpm = at(&proxy.tcti());
    let cost = |tpm: &Tpm, len| {
        tpm.hmac(&stage.key(0), Hash::Sha256, &bytes(len)).unwrap();
        proxy.mark().to_string()
    };
    assert_eq!(cost(&tpm, 10), "Load StartAuthSession HMAC");
    assert_eq!(cost(&tpm, 1024), "HMAC");
    assert_eq!(cost(&tpm, 1025), "HMAC_Start SequenceUpdate SequenceComplete");
    assert_eq!(cost(&tpm, 3072), "HMAC_Start SequenceUpdate SequenceUpdate SequenceComplete");
    // A session bound to another key serves as well.
    tpm.release();
    proxy.mark();
    stage.sign(&tpm, 1);
    assert_eq!(proxy.mark().to_string(), "Load StartAuthSession Sign");
    assert_eq!(cost(&tpm, 1025), "Load HMAC_Start SequenceUpdate SequenceComplete");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());

    // The session of a login ends with the sequence.
    stage.login(&tpm);
    proxy.mark();
    assert_eq!(cost(&tpm, 2000), "Load HMAC_Start SequenceUpdate SequenceComplete");
    assert_eq!(cost(&tpm, 20), "StartAuthSession HMAC");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
    proxy.mark();

    let tpm = with(&proxy.tcti(), Options { bus_protection: false, ..Options::default() });
    assert_eq!(cost(&tpm, 2000), "Load HMAC_Start SequenceUpdate SequenceComplete");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn room_for_a_sequence_is_made() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[ANY, p256()]);
    let tpm = at(&proxy.tcti());
    // It stays loaded: with two keys the TPM is full.
    let primary = Primary::new(Location::Transient, stage.primary.public.clone()).unwrap();
    let key = |index| Key { primary: &primary, ..stage.key(index) };
    sign_and_check(&tpm, &key(1));
    tpm.hmac(&key(0), Hash::Sha256, &[]).unwrap();
    proxy.mark();
    tpm.hmac(&key(0), Hash::Sha256, &bytes(1025)).unwrap();
    let sent = proxy.mark().to_string();
    assert_eq!(sent, "HMAC_Start(0x902) FlushContext HMAC_Start SequenceUpdate SequenceComplete");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let chip = Proxy::start(&swtpm);
    let manager = ResourceManager::start(chip.port());
    let tpm = at(&manager.tcti());
    let known = Known::import(&tpm, &stage, None, &bytes(32));
    assert_eq!(manager.mark().to_string(), "Import");
    for expected in [
        "StartAuthSession Load HMAC_Start SequenceUpdate SequenceComplete",
        "HMAC_Start SequenceUpdate SequenceComplete",
    ] {
        known.check(&tpm, &stage, Hash::Sha512, &bytes(2000));
        assert_eq!(manager.mark().to_string(), expected);
    }
    tpm.release();
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn what_makes_no_sense_never_reaches_the_tpm() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[KeyTemplate::Hmac { hash: Some(Hash::Sha256) }, p256()]);
    let tpm = at(&proxy.tcti());
    assert!(matches!(tpm.hmac(&stage.key(0), Hash::Sha1, &[]), Err(Error::Invalid(_))));
    assert!(matches!(tpm.hmac(&stage.key(1), Hash::Sha256, &[]), Err(Error::Invalid(_))));
    let sealed = (stage.user.clone(), stage.user.name().unwrap());
    let key =
        Key { primary: &stage.primary, wrapped: &sealed.0, name: &sealed.1, auth: &stage.user_auth, policy: None };
    assert!(matches!(tpm.hmac(&key, Hash::Sha256, &[]), Err(Error::Invalid(_))));
    let template = KeyTemplate::Hmac { hash: Some(Hash::Sha224) };
    assert!(matches!(tpm.create_key(&stage.primary, &template, &secret(1), None), Err(Error::Unsupported(_))));
    assert_eq!((proxy.mark().len(), proxy.connections()), (0, 0));
    proxy.inject(Fault::Respond { code: command_code("HMAC").unwrap(), rc: 0x2c3, times: 1 });
    assert!(matches!(tpm.hmac(&stage.key(0), Hash::Sha256, &[]), Err(Error::Unsupported(_))));
    let wrong = secret(200);
    let mut key = stage.key(0);
    key.auth = &wrong;
    for len in [10, 2000] {
        assert_eq!(tpm.hmac(&key, Hash::Sha256, &bytes(len)), Err(Error::AuthFailed));
    }
    tpm.hmac(&stage.key(0), Hash::Sha256, &[]).unwrap();
}

#[test]
fn a_sequence_that_fails_or_breaks_leaves_nothing_behind() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let known = Known::import(&at(&swtpm.tcti()), &stage, None, &bytes(32));
    let data = bytes(4000);
    for name in ["HMAC_Start", "SequenceUpdate", "SequenceComplete"] {
        let code = command_code(name).unwrap();
        let tpm = at(&proxy.tcti());
        for rc in [0x922, 0x901] {
            proxy.inject(Fault::Respond { code, rc, times: 2 });
            known.check(&tpm, &stage, Hash::Sha256, &data);
        }
        proxy.inject(Fault::Respond { code, rc: 0x101, times: 1 });
        assert!(matches!(tpm.hmac(&known.key(&stage), Hash::Sha256, &data), Err(Error::Response(_))));
        known.check(&tpm, &stage, Hash::Sha256, &data);
        let mut faults = vec![Fault::CutBeforeCommand { code }, Fault::FlipResponseByte { code, offset_from_end: 0 }];
        // The handle of a sequence whose beginning was never heard of is unknown.
        if name != "HMAC_Start" {
            faults.extend([Fault::CutAfterCommand { code }, Fault::TruncateResponse { code, keep: 20 }]);
        }
        for fault in faults {
            let altered = matches!(fault, Fault::FlipResponseByte { .. });
            if altered && name == "HMAC_Start" {
                continue;
            }
            proxy.inject(fault.clone());
            if altered {
                assert_eq!(tpm.hmac(&known.key(&stage), Hash::Sha256, &data), Err(Error::ResponseHmac));
            } else {
                known.check(&tpm, &stage, Hash::Sha256, &data);
            }
            assert!(proxy.pending_faults().is_empty(), "{fault:?}");
            known.check(&tpm, &stage, Hash::Sha256, &data);
            tpm.release();
            let left = leftovers(&swtpm);
            assert!(left.is_clean(), "{name} {fault:?} {left:?}");
        }
    }
}

#[test]
fn a_restarted_tpm_is_met_with_a_new_sequence() {
    let mut swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let known = Known::import(&tpm, &stage, None, &bytes(32));
    for _ in 0..2 {
        known.check(&tpm, &stage, Hash::Sha256, &bytes(2000));
        swtpm.restart();
    }
    known.check(&tpm, &stage, Hash::Sha256, &bytes(2000));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_bus_reader_sees_neither_data_nor_result() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let value = bytes(32);
    let known = Known::import(&at(&swtpm.tcti()), &stage, None, &value);
    for (bus_protection, seen) in [(true, false), (false, true)] {
        for len in [1000, 3000] {
            let tap = Tap::start(&swtpm);
            let tpm = with(&tap.tcti(), Options { bus_protection, ..Options::default() });
            let data = bytes(len);
            known.check(&tpm, &stage, Hash::Sha256, &data);
            tpm.release();
            assert_eq!(tap.heard(&data[..32]), seen);
            assert_eq!(tap.heard(&data[len - 32..]), seen);
            assert_eq!(tap.heard(Hash::Sha256.hmac(&value, &[&data]).expose()), seen);
            assert_eq!(tap.heard(known.auth.expose()), seen);
        }
    }
}
