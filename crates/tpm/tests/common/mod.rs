//! What every test of this crate begins with: a TPM, a primary, PIN objects, keys.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

use std::time::Duration;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use swtpm_fixtures::{Commands, Fault, Proxy, SwTpm, command_code, leftovers, pcr_extend};
use tpm::{Key, KeyTemplate, Name, Options, Primary, PrimaryRequest, SealRequest, SignScheme, Signature, Tpm, Wrapped};

/// What PCRs are extended with.
pub(crate) const EVENT: [u8; 32] = [0x5a; 32];

/// The TPM_CC with this name.
pub(crate) fn code(name: &str) -> u32 {
    command_code(name).unwrap()
}

#[track_caller]
pub(crate) fn assert_sent(commands: &Commands, expected: &str) {
    assert_eq!(commands.to_string(), expected);
}

/// Somebody extends a PCR just before the next command of this name.
pub(crate) fn extend_before(proxy: &Proxy, name: &str, pcr: u8) {
    proxy.inject(Fault::Precede { code: code(name), command: pcr_extend(pcr, &EVENT) });
}

pub(crate) fn secret(byte: u8) -> Secret {
    Secret::copy_from(&[byte; 32])
}

pub(crate) fn at(tcti: &str) -> Tpm {
    // Longer than any test waits: what is held stays held unless the test says otherwise.
    with(tcti, Options { idle: Duration::from_secs(100), ..Options::default() })
}

/// Does not wait for others to give something back.
pub(crate) fn at_once(tcti: &str) -> Tpm {
    with(tcti, Options { idle: Duration::from_secs(100), patience: Duration::ZERO, ..Options::default() })
}

pub(crate) fn with(tcti: &str, options: Options) -> Tpm {
    Tpm::new(tcti.parse().unwrap(), options)
}

/// A token's worth of objects in a fresh TPM.
pub(crate) struct Stage {
    pub(crate) primary: Primary,
    pub(crate) so: Wrapped,
    pub(crate) user: Wrapped,
    pub(crate) so_auth: Secret,
    pub(crate) user_auth: Secret,
    pub(crate) wrapping: Secret,
    /// Keys with their authorisation values.
    pub(crate) keys: Vec<(Wrapped, Name, Secret)>,
}

impl Stage {
    /// Makes everything over a connection of its own, and gives it back.
    pub(crate) fn set(tpm: &SwTpm, templates: &[KeyTemplate]) -> Stage {
        let maker = at(&tpm.tcti());
        let primary = maker.storage_primary(&PrimaryRequest::default()).unwrap();
        let (so_auth, user_auth, wrapping) = (secret(1), secret(2), Secret::copy_from(&[9; 32]));
        let (so, user) = maker
            .create_pin_objects(
                &primary,
                SealRequest { auth: &so_auth, data: &secret(3) },
                SealRequest { auth: &user_auth, data: &wrapping },
                None,
            )
            .unwrap();
        let keys = templates
            .iter()
            .zip(100u8..)
            .map(|(template, byte)| {
                let auth = secret(byte);
                let wrapped = maker.create_key(&primary, template, &auth, None).unwrap();
                let name = wrapped.name().unwrap();
                (wrapped, name, auth)
            })
            .collect();
        let stage = Stage { primary, so, user, so_auth, user_auth, wrapping, keys };
        // The first use, after each start, of an object under lockout protection is answered with TPM_RC_RETRY: the TPM
        // first notes in its NV memory that there was one. Here, so that tests that count do not see it.
        stage.login(&maker);
        maker.release();
        stage
    }

    pub(crate) fn key(&self, index: usize) -> Key<'_> {
        let (wrapped, name, auth) = &self.keys[index];
        Key { primary: &self.primary, wrapped, name, auth, policy: None }
    }

    pub(crate) fn login(&self, tpm: &Tpm) {
        assert!(tpm.unseal(&self.primary, &self.user, &self.user_auth, None).unwrap() == self.wrapping);
    }

    /// Signs with an ECC key, and checks the signature.
    pub(crate) fn sign(&self, tpm: &Tpm, index: usize) {
        sign_and_check(tpm, &self.key(index));
    }
}

pub(crate) fn p256() -> KeyTemplate {
    KeyTemplate::Ecc { curve: Curve::P256 }
}

pub(crate) fn sign_and_check(tpm: &Tpm, key: &Key<'_>) {
    let signature = tpm.sign(key, Hash::Sha256, &Hash::Sha256.digest(&[b"message"]), SignScheme::Ecdsa).unwrap();
    check_ecdsa(key.wrapped, Hash::Sha256, &signature);
}

/// That `signature` is one of "message".
pub(crate) fn check_ecdsa(wrapped: &Wrapped, hash: Hash, signature: &Signature) {
    let area = wrapped.public_area().unwrap();
    let (curve, x, y) = area.ecc().unwrap();
    let Signature::Ecc { r, s } = signature else { panic!("not ECDSA") };
    assert_eq!((r.len(), s.len()), (curve.field_len(), curve.field_len()));
    let public = EcPublic::new(curve, x, y).unwrap();
    assert!(public.verify(&hash.digest(&[b"message"]), &[r.as_slice(), s].concat()));
}

/// A TPM with a counting proxy in front.
pub(crate) fn counted() -> (SwTpm, Proxy) {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    (tpm, proxy)
}

/// Waits until the TPM holds nothing: a resource manager flushes what a client left after it noticed its end.
pub(crate) fn assert_becomes_clean(swtpm: &SwTpm) {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(swtpm);
        if left.is_clean() {
            return;
        }
        assert!(std::time::Instant::now() < end, "{left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
