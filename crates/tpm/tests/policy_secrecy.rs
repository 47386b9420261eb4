//! What somebody who listens on the way to the TPM learns when keys and tokens are used by policy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;
mod tap;

use authority::{Bound, now, policy};
use base::Secret;
use base::digest::Hash;
use base::rsa::RsaPublic;
use common::with;
use swtpm_fixtures::SwTpm;
use tap::Tap;
use tpm::{
    DecryptScheme, INPUT_BUFFER, KeyMaterial, KeyTemplate, Options, PolicyStep, PolicyUse, PrimaryRequest, SealRequest,
    SignScheme, UserPolicy,
};

fn random() -> Secret {
    Secret::new(base::random::bytes(32).unwrap())
}

#[test]
fn a_listener_learns_nothing_that_a_policy_guards() {
    for bus_protection in [true, false] {
        let swtpm = SwTpm::start();
        let tap = Tap::start(&swtpm);
        let tpm = with(&tap.tcti(), Options { bus_protection, ..Options::default() });
        let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
        let state = now(&tpm, "sha256:10");
        let by_value = vec![state.clone(), PolicyStep::AuthValue];
        let mut guarded = Vec::new();

        let (pin, data) = (random(), random());
        let whole = policy(by_value.clone());
        let so = SealRequest { auth: &random(), data: &random() };
        let (so, user) =
            tpm.create_pin_objects(&primary, so, SealRequest { auth: &pin, data: &data }, Some(&whole)).unwrap();
        let so_name = so.name().unwrap();
        let how = UserPolicy { policy: PolicyUse { policy: &whole, approvals: &[] }, so_name: &so_name };
        assert!(tpm.unseal(&primary, &user, &pin, Some(how)).unwrap() == data);
        guarded.extend([pin, data]);

        // A random authorisation value, one that can be guessed, and none: what a session draws its secrecy from.
        for (auth, steps) in [
            (random(), by_value.clone()),
            (random(), vec![state.clone()]),
            (Secret::copy_from(b"1234"), by_value.clone()),
            (Secret::zeroed(0), vec![state.clone()]),
        ] {
            let template = KeyTemplate::Rsa { bits: 1024, exponent: 0 };
            let rsa = Bound::make_as(&tpm, &primary, template, auth.clone(), steps.clone());
            let area = rsa.wrapped.public_area().unwrap();
            let (n, e) = area.rsa().unwrap();
            let plain = random();
            let block = [&[0; 96], plain.expose()].concat();
            let cipher = RsaPublic::new(n, e.to_be_bytes()).unwrap().raw(&block).unwrap();
            let digest = random();
            for _ in 0..2 {
                let key = rsa.key(&primary);
                let decrypted = tpm.rsa_decrypt(&key, DecryptScheme::Raw, &cipher).unwrap();
                assert_eq!(decrypted.expose()[96..], *plain.expose());
                tpm.sign(&key, Hash::Sha256, digest.expose(), SignScheme::RsaSsa).unwrap();
            }
            let wanted = policy(steps);
            let material = KeyMaterial::Hmac { hash: None, key: random() };
            let wrapped = tpm.import_key(&primary, &material, &auth, Some(&wanted)).unwrap();
            let name = wrapped.name().unwrap();
            let hmac = Bound { wrapped, name, auth: auth.clone(), policy: wanted, approvals: Vec::new() };
            let (short, last) = (random(), random());
            tpm.hmac(&hmac.key(&primary), Hash::Sha256, short.expose()).unwrap();
            let long = [&[0; INPUT_BUFFER], last.expose()].concat();
            tpm.hmac(&hmac.key(&primary), Hash::Sha256, &long).unwrap();
            guarded.extend([plain, digest, short, last]);
            if auth.len() == 32 {
                guarded.push(auth);
            }
            // Otherwise the session of the first key serves the next one.
            tpm.release();
        }
        let heard = guarded.iter().filter(|secret| tap.heard(&secret.expose()[..16])).count();
        if bus_protection {
            assert_eq!(heard, 0);
        } else {
            assert!(heard > 10, "the wire is heard at all: {heard}");
        }
    }
}
