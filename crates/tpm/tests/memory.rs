//! What stays in the memory of the process. Alone in its file: it looks at all of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;

use base::Secret;
use common::{secret, with};
use swtpm_fixtures::SwTpm;
use tpm::{DecryptScheme, Key, KeyTemplate, Options, PrimaryRequest, SealRequest};

/// Random bytes that this test itself does not keep in memory as they are.
struct Masked(Vec<u8>);

const MASK: u8 = 0x5a;

impl Masked {
    fn of(secret: &Secret) -> Masked {
        Masked(secret.expose().iter().map(|byte| byte ^ MASK).collect())
    }

    fn secret(&self) -> Secret {
        let mut secret = Secret::zeroed(self.0.len());
        for (to, from) in secret.expose_mut().iter_mut().zip(&self.0) {
            *to = from ^ MASK;
        }
        secret
    }

    /// Whether a part of it is in memory that can be written to. Not its beginning: of what is freed, the allocator overwrites
    /// that.
    fn is_in_memory(&self) -> bool {
        let part = &self.0[self.0.len() / 2..];
        let memory = File::open("/proc/self/mem").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut piece = vec![0; 1 << 16];
        for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
            // Overlapping, for what lies on a boundary.
            for at in (from..to).step_by(piece.len() / 2) {
                let len = piece.len().min(usize::try_from(to - at).unwrap());
                if memory.read_exact_at(&mut piece[..len], at).is_err() {
                    continue;
                }
                piece[..len].iter_mut().for_each(|byte| *byte ^= MASK);
                let found = piece[..len].windows(part.len()).any(|window| window[0] == part[0] && window == part);
                // Unmasked by the mask, what this test keeps would be found in here later.
                piece.fill(0);
                if found {
                    return true;
                }
            }
        }
        false
    }
}

#[test]
fn what_the_tpm_reveals_does_not_stay_in_memory() {
    let swtpm = SwTpm::start();
    for bus_protection in [false, true] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
        let auth = secret(1);

        let sealed = Masked(base::random::bytes(64).unwrap());
        let user = {
            let (so, user) = (secret(3), sealed.secret());
            let [so, user] = [&so, &user].map(|data| SealRequest { auth: &auth, data });
            tpm.create_pin_objects(&primary, so, user, None).unwrap().1
        };
        let unsealed = tpm.unseal(&primary, &user, &auth, None).unwrap();
        assert!(sealed.is_in_memory(), "it would be found");
        drop(unsealed);
        assert!(!sealed.is_in_memory(), "unsealed, {bus_protection}");

        let wrapped = tpm.create_key(&primary, &KeyTemplate::Rsa { bits: 1024, exponent: 0 }, &auth, None).unwrap();
        let name = wrapped.name().unwrap();
        let key = Key { primary: &primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
        let decrypted = Masked::of(&tpm.rsa_decrypt(&key, DecryptScheme::Raw, &[7; 128]).unwrap());
        assert!(!decrypted.is_in_memory(), "decrypted, {bus_protection}");
    }
}
