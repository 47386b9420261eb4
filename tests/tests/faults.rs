//! What happens when the TPM or the way to it fails: the right code, a word in the log, and nothing lost.

use std::time::{Duration, Instant};

use pkcs11_sys::*;
use swtpm_fixtures::{ANY, Fault};
use tests::probe::{Probe, Result, bytes};
use tests::world::{ALPHA, Run, World};
use tests::{Ck, product};

const CC_LOAD: u32 = 0x157;
const CC_RSA_DECRYPT: u32 = 0x159;
const CC_SIGN: u32 = 0x15d;
const CC_UNSEAL: u32 = 0x15e;
const CC_START_AUTH_SESSION: u32 = 0x176;

/// A user who is logged in, with a key that has signed before.
struct User {
    world: World,
    probe: Probe,
    session: u64,
    key: u64,
}

impl User {
    fn of(world: World) -> User {
        let probe = world.probe().initialized();
        User::with(world, probe)
    }

    fn with(world: World, probe: Probe) -> User {
        let session = probe.user_session(&ALPHA);
        let key = probe.private_key(session, "p256");
        let user = User { world, probe, session, key };
        user.sign().unwrap();
        user.sign().unwrap();
        user
    }

    fn new() -> User {
        User::of(World::new().configured("idle-ms = 600000\n"))
    }

    /// Logs in again. Handles of private objects ended with the last login.
    fn log_in(&mut self) {
        self.probe.login(self.session, CKU_USER, "user-alpha").unwrap();
        self.key = self.probe.private_key(self.session, "p256");
    }

    fn sign(&self) -> Result<()> {
        let signature = self.probe.sign(self.session, CKM_ECDSA_SHA256, self.key, b"message")?;
        let public = self.probe.public_key(self.session, "p256");
        self.probe.verify(self.session, CKM_ECDSA_SHA256, public, b"message", &signature)
    }
}

#[test]
fn the_tpm_goes_away_and_comes_back() {
    let mut world = World::new();
    // Without the proxy, which answers even when nobody is behind it.
    let direct = [("TPM2_CRYPTOKI_TCTI", world.tpm.tcti())];
    let probe = world.probe_with(&direct).initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    let sign = || probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
    sign().unwrap();

    world.tpm.stop();
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(sign(), Err(Ck(CKR_DEVICE_REMOVED)));
    }
    assert_eq!(probe.random(session, 10), Err(Ck(CKR_DEVICE_REMOVED)));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // What needs no TPM goes on, for this process and for others.
    let newcomer = world.probe_with(&direct).initialized();
    let public = newcomer.open_rw(newcomer.slot_of("alpha"));
    assert_eq!(newcomer.find(public, &[]).unwrap().len(), ALPHA.keys.len());
    assert_eq!(newcomer.attribute(public, newcomer.public_key(public, "rsa"), CKA_MODULUS).unwrap().len(), 256);
    assert_eq!(newcomer.login(public, CKU_USER, "user-alpha"), Err(Ck(CKR_DEVICE_REMOVED)));
    newcomer.digest(public, CKM_SHA256, b"message").unwrap();
    let template = [bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der())];
    assert_eq!(probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &template, &[]), Err(Ck(CKR_DEVICE_REMOVED)));
    assert!(world.log().contains("CKR_DEVICE_REMOVED"), "{}", world.log());
    let mut ptool = world.command(product::ptool());
    let run = Run::of(
        ptool.args(["verify", "--label=alpha", "--userpin=user-alpha"]).env("TPM2_CRYPTOKI_TCTI", &direct[0].1),
    );
    assert_eq!(run.status, Some(4), "{run:?}");

    world.tpm.restart();
    sign().unwrap();
    newcomer.login(public, CKU_USER, "user-alpha").unwrap();
}

#[test]
fn a_tpm_that_was_never_there() {
    let world = World::new();
    let none = [("TPM2_CRYPTOKI_TCTI", format!("device:{}", world.path("none").display()))];
    let probe = world.probe_with(&none).initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    assert_eq!(probe.find(session, &[]).unwrap().len(), ALPHA.keys.len());
    assert_eq!(probe.login(session, CKU_USER, "user-alpha"), Err(Ck(CKR_DEVICE_REMOVED)));
    assert!(world.log().contains("none"), "the log names what is not there: {}", world.log());
    assert_eq!(probe.token_info(probe.slot_of("alpha")).unwrap().flags & CKF_USER_PIN_COUNT_LOW, 0);
}

#[test]
fn the_tpm_is_restarted_between_signatures() {
    let mut user = User::of(World::new());
    for round in 0..3 {
        if round == 2 {
            user.world.tpm.reboot();
        } else {
            user.world.tpm.restart();
        }
        user.world.proxy.mark();
        user.sign().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(user.world.proxy.mark().count("Unseal"), 0, "the login survives");
        user.sign().unwrap();
    }
    // Behind a resource manager, whose spaces are gone with the TPM's memory.
    let mut user = User::of(World::new().managed());
    user.world.tpm.restart();
    user.world.manager.as_ref().unwrap().cut();
    user.sign().unwrap();
}

#[test]
fn a_connection_that_is_cut_is_made_again() {
    let mut user = User::new();
    user.world.proxy.cut();
    user.sign().unwrap();
    // In the middle of each command of a cold life.
    let (world, probe) = (&mut user.world, &user.probe);
    for code in [CC_UNSEAL, CC_LOAD, CC_START_AUTH_SESSION, CC_SIGN] {
        for fault in [Fault::CutBeforeCommand { code }, Fault::CutAfterCommand { code }] {
            for at_login in [true, false] {
                probe.finalize().unwrap();
                // What a TPM without a resource manager made for somebody who did not hear of it, nobody can give back. In
                // good order: a TPM that loses its power while a PIN object is in use counts a wrong PIN.
                world.tpm.reboot();
                probe.initialize().unwrap();
                let session = probe.open_rw(probe.slot_of("alpha"));
                if at_login {
                    world.proxy.inject(fault.clone());
                }
                let login = probe.login(session, CKU_USER, "user-alpha");
                login.unwrap_or_else(|error| panic!("login, {fault:?}: {error}"));
                if !at_login {
                    world.proxy.inject(fault.clone());
                }
                for round in 0..3 {
                    let result = probe.sign(session, CKM_ECDSA_SHA256, user.key, b"message");
                    result.unwrap_or_else(|error| panic!("signature {round}, {fault:?}: {error}"));
                }
                world.proxy.clear_faults();
            }
        }
    }
}

#[test]
fn a_busy_tpm_is_asked_again() {
    let mut user = User::new();
    // TPM_RC_RETRY, YIELDED, TESTING, NV_RATE, CONTEXT_GAP
    for rc in [0x922, 0x908, 0x90a, 0x920, 0x901] {
        user.world.proxy.inject(Fault::Respond { code: CC_SIGN, rc, times: 4 });
        user.world.proxy.mark();
        user.sign().unwrap_or_else(|error| panic!("{rc:#x}: {error}"));
        assert!(user.world.proxy.mark().count("Sign") >= 5, "{rc:#x}");
    }
    user.probe.logout(user.session).unwrap();
    user.world.proxy.inject(Fault::Respond { code: CC_UNSEAL, rc: 0x922, times: 4 });
    user.log_in();

    // For ever is too long.
    user.world.proxy.inject(Fault::Respond { code: CC_SIGN, rc: 0x922, times: 1_000_000 });
    let start = Instant::now();
    assert_eq!(user.sign(), Err(Ck(CKR_DEVICE_ERROR)));
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(30)).contains(&took), "{took:?}");
    user.world.proxy.clear_faults();
    user.sign().unwrap();
}

#[test]
fn codes_that_no_one_expects() {
    let mut user = User::new();
    // TPM_RC_FAILURE, INITIALIZE, a vendor's, format-one codes with parameter and handle, and not even a response code's shape
    for rc in [0x101, 0x100, 0x500, 0x1d5, 0x18b, 0x2c4, 0xffff_fff0] {
        // Every command is answered so, until there is nothing left to try.
        user.world.proxy.inject(Fault::Respond { code: ANY, rc, times: 1_000_000 });
        let result = user.sign();
        assert!(
            matches!(result, Err(Ck(CKR_DEVICE_ERROR | CKR_TOKEN_NOT_RECOGNIZED | CKR_DEVICE_REMOVED))),
            "{rc:#x}: {result:?}"
        );
        user.world.proxy.clear_faults();
        user.sign().unwrap_or_else(|error| panic!("after {rc:#x}: {error}"));
    }
    // A login that fails for another reason than the PIN never says that the PIN is wrong.
    user.probe.logout(user.session).unwrap();
    for rc in [0x101, 0x18b, 0x1d5] {
        for code in [CC_START_AUTH_SESSION, CC_LOAD, CC_UNSEAL] {
            user.world.proxy.inject(Fault::Respond { code, rc, times: 1_000_000 });
            let result = user.probe.login(user.session, CKU_USER, "user-alpha");
            let wrong = [Err(Ck(CKR_PIN_INCORRECT)), Err(Ck(CKR_PIN_LOCKED)), Err(Ck(CKR_GENERAL_ERROR)), Ok(())];
            assert!(!wrong.contains(&result), "{rc:#x} to {code:#x}: {result:?}");
            user.world.proxy.clear_faults();
        }
    }
    user.log_in();
    user.sign().unwrap();
}

#[test]
fn garbled_answers_are_noticed() {
    let user = User::new();
    let rsa = user.probe.private_key(user.session, "rsa");
    let public = user.probe.public_key(user.session, "rsa");
    let cipher = user.probe.encrypt(user.session, CKM_RSA_PKCS, public, b"secret").unwrap();
    let decrypt = || user.probe.decrypt(user.session, CKM_RSA_PKCS, rsa, &cipher);
    assert_eq!(decrypt().unwrap(), b"secret");

    let garbage = |code: u32| {
        let header = |size: u32, rc: u32| [&[0x80, 2][..], &size.to_be_bytes(), &rc.to_be_bytes()].concat();
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            header(10, 0),
            header(u32::MAX, 0),
            header(0, 0),
            [header(40, 0), vec![0xff; 30]].concat(),
            vec![0; 64],
        ]
        .map(|bytes| Fault::Replace { code, bytes })
    };
    for code in [CC_SIGN, CC_RSA_DECRYPT] {
        let mut faults = garbage(code).to_vec();
        faults.extend([0, 1, 5, 9, 10, 14, 20].map(|keep| Fault::TruncateResponse { code, keep }));
        // From the end: session attributes, HMAC, nonce, then what was signed or decrypted
        faults
            .extend([0, 10, 40, 60, 75, 100].map(|offset_from_end| Fault::FlipResponseByte { code, offset_from_end }));
        faults.push(Fault::FlipCommandByte { code, offset_from_end: 0 });
        faults.push(Fault::FlipCommandByte { code, offset_from_end: 20 });
        for fault in faults {
            // Once: the command is repeated, or the error is the device's. Twice and more: it is the device's.
            for times in [1, 6] {
                (0..times).for_each(|_| user.world.proxy.inject(fault.clone()));
                if code == CC_SIGN {
                    let result = user.sign();
                    let good = times == 1 && result == Ok(());
                    assert!(good || result == Err(Ck(CKR_DEVICE_ERROR)), "{times} x {fault:?}: {result:?}");
                } else {
                    let result = decrypt();
                    let good = times == 1 && result.as_deref() == Ok(b"secret");
                    assert!(good || result == Err(Ck(CKR_DEVICE_ERROR)), "{times} x {fault:?}: {result:?}");
                }
                user.world.proxy.clear_faults();
                user.sign().unwrap_or_else(|error| panic!("after {times} x {fault:?}: {error}"));
                assert_eq!(decrypt().as_deref(), Ok(&b"secret"[..]), "after {times} x {fault:?}");
            }
        }
    }
}

#[test]
fn an_answer_that_was_changed_on_the_way_is_an_error() {
    let user = User::new();
    // The length of the response's HMAC, and a byte of it: a wrong one must not pass, and is not simply tried again for ever.
    for offset_from_end in [0, 5, 31] {
        (0..20).for_each(|_| user.world.proxy.inject(Fault::FlipResponseByte { code: CC_SIGN, offset_from_end }));
        assert_eq!(user.sign(), Err(Ck(CKR_DEVICE_ERROR)), "{offset_from_end}");
        user.world.proxy.clear_faults();
        user.sign().unwrap();
    }
    assert!(!user.world.log().contains("panicked"), "{}", user.world.log());
}

#[test]
fn slow_answers_are_waited_for() {
    let user = User::new();
    user.world.proxy.inject(Fault::Delay { code: CC_SIGN, by: Duration::from_millis(1500) });
    user.sign().unwrap();
    user.world.proxy.inject(Fault::Pieces { code: CC_SIGN, size: 3 });
    user.sign().unwrap();
    // While one signature takes its time, what needs no TPM does not wait for it.
    user.world.proxy.inject(Fault::Delay { code: CC_SIGN, by: Duration::from_secs(3) });
    let other = user.probe.thread();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| user.probe.sign(user.session, CKM_ECDSA_SHA256, user.key, b"message"));
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        let session = other.open_ro(other.slot_of("alpha"));
        other.find(session, &[]).unwrap();
        other.session_info(user.session).unwrap();
        other.digest(session, CKM_SHA256, b"message").unwrap();
        other.close(session).unwrap();
        assert!(!slow.is_finished() && start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        slow.join().unwrap().unwrap();
    });
}
