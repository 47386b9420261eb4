//! What somebody who listens on the way to the TPM learns.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base::Secret;
use common::{p256, with};
use swtpm_fixtures::SwTpm;
use tpm::{DecryptScheme, Key, KeyTemplate, Options, PrimaryRequest, SealRequest};

/// Passes one connection after the other on, and keeps all bytes of both directions.
struct Tap {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn on(tpm: &SwTpm) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, upstream) = (listener.local_addr().unwrap().port(), tpm.port());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let tpm = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(|| pass(&client, &tpm, &ear));
                    scope.spawn(|| pass(&tpm, &client, &ear));
                });
            }
        });
        Tap { port, heard }
    }

    fn heard(&self, secret: &Secret) -> bool {
        let heard = self.heard.lock().unwrap();
        assert!(heard.len() > 1000);
        // Half of it is too much already.
        heard.windows(secret.len() / 2).any(|window| window == &secret.expose()[..secret.len() / 2])
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, ear: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer) {
        if len == 0 || to.write_all(&buffer[..len]).is_err() {
            break;
        }
        ear.lock().unwrap().extend_from_slice(&buffer[..len]);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn random() -> Secret {
    Secret::new(base::random::bytes(32).unwrap())
}

#[test]
fn a_listener_learns_no_secret_unless_told_that_there_is_none() {
    for bus_protection in [true, false] {
        let swtpm = SwTpm::start();
        let tap = Tap::on(&swtpm);
        let tpm =
            with(&format!("swtpm:host=127.0.0.1,port={}", tap.port), Options { bus_protection, ..Options::default() });
        let primary_auth = random();
        let request = PrimaryRequest { primary_auth: primary_auth.clone(), ..PrimaryRequest::default() };
        let primary = tpm.storage_primary(&request).unwrap();
        let (so_auth, user_auth, so_data, user_data) = (random(), random(), random(), random());
        let (so, mut user) = tpm
            .create_pin_objects(
                &primary,
                SealRequest { auth: &so_auth, data: &so_data },
                SealRequest { auth: &user_auth, data: &user_data },
                None,
            )
            .unwrap();
        assert!(tpm.unseal(&primary, &user, &user_auth, None).unwrap() == user_data);
        assert!(tpm.unseal(&primary, &so, &so_auth, None).unwrap() == so_data);

        let (changed, reset, so_changed) = (random(), random(), random());
        user.private = tpm.change_user_auth(&primary, &user, &so.name().unwrap(), None, &user_auth, &changed).unwrap();
        user.private = tpm.reset_user_auth(&primary, &user, &so, None, &so_auth, &reset).unwrap();
        tpm.change_auth(&primary, &so, &so_auth, &so_changed).unwrap();
        assert!(tpm.unseal(&primary, &user, &reset, None).unwrap() == user_data);

        let (rsa_auth, ecc_auth) = (random(), random());
        let rsa = tpm.create_key(&primary, &KeyTemplate::Rsa { bits: 1024, exponent: 0 }, &rsa_auth, None).unwrap();
        let name = rsa.name().unwrap();
        let key = Key { primary: &primary, wrapped: &rsa, name: &name, auth: &rsa_auth, policy: None };
        let area = rsa.public_area().unwrap();
        let (n, e) = area.rsa().unwrap();
        let public = base::rsa::RsaPublic::new(n, e.to_be_bytes()).unwrap();
        let plain = random();
        let cipher = public.raw(&[&[0; 96], plain.expose()].concat()).unwrap();
        for _ in 0..2 {
            let decrypted = tpm.rsa_decrypt(&key, DecryptScheme::Raw, &cipher).unwrap();
            assert_eq!(decrypted.expose()[96..], *plain.expose());
        }
        let ecc = tpm.create_key(&primary, &p256(), &ecc_auth, None).unwrap();
        let name = ecc.name().unwrap();
        common::sign_and_check(
            &tpm,
            &Key { primary: &primary, wrapped: &ecc, name: &name, auth: &ecc_auth, policy: None },
        );
        tpm.release();

        // An unsalted policy session proves the user's authorisation value by an HMAC; it never travels, on no setting.
        let travelling = [
            primary_auth,
            so_auth,
            so_data,
            user_auth,
            user_data,
            changed,
            so_changed,
            rsa_auth,
            ecc_auth,
            plain,
            reset,
        ];
        for (index, secret) in travelling.iter().enumerate() {
            let always_protected = [5].contains(&index);
            assert_eq!(tap.heard(secret), !bus_protection && !always_protected, "secret {index}");
        }
    }
}
