//! Sessions, logins, PINs and operations: what is allowed when (PKCS#11 v3.1 5.2, 5.5, 5.6).

use pkcs11_sys::*;
use tests::Argument;
use tests::probe::{Mechanism, Probe, fails, flag, number, p256};
use tests::world::{ALPHA, BETA, OPEN, World, client};

/// No objects.
const NONE: [u64; 0] = [];
const RO_PUBLIC: u64 = CKS_RO_PUBLIC_SESSION;
const RO_USER: u64 = CKS_RO_USER_FUNCTIONS;
const RW_PUBLIC: u64 = CKS_RW_PUBLIC_SESSION;
const RW_USER: u64 = CKS_RW_USER_FUNCTIONS;
const RW_SO: u64 = CKS_RW_SO_FUNCTIONS;

#[test]
fn a_login_is_the_tokens_and_of_this_process() {
    let (world, probe) = client();
    let slot = probe.slot_of("alpha");
    let (ro, rw) = (probe.open_ro(slot), probe.open_rw(slot));
    assert_eq!((probe.state(ro), probe.state(rw)), (RO_PUBLIC, RW_PUBLIC));
    assert_eq!(probe.session_info(rw).unwrap(), (slot, RW_PUBLIC, CKF_SERIAL_SESSION | CKF_RW_SESSION));
    assert_eq!(probe.session_info(ro).unwrap(), (slot, RO_PUBLIC, CKF_SERIAL_SESSION));
    let beta = probe.open_rw(probe.slot_of("beta"));

    probe.login(ro, CKU_USER, "user-alpha").unwrap();
    assert_eq!((probe.state(ro), probe.state(rw), probe.state(beta)), (RO_USER, RW_USER, RW_PUBLIC));
    // A session that is opened later is in it too.
    let late = probe.open_ro(slot);
    assert_eq!(probe.state(late), RO_USER);
    fails(probe.login(rw, CKU_USER, "user-alpha"), CKR_USER_ALREADY_LOGGED_IN);
    fails(probe.login(rw, CKU_SO, "so-alpha"), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    // Another process, and another token, are not.
    let other = world.probe().initialized();
    let session = other.open_ro(other.slot_of("alpha"));
    assert_eq!(other.state(session), RO_PUBLIC);
    probe.login(beta, CKU_USER, "user-beta").unwrap();

    probe.logout(late).unwrap();
    assert_eq!((probe.state(ro), probe.state(rw), probe.state(beta)), (RO_PUBLIC, RW_PUBLIC, RW_USER));
    fails(probe.logout(ro), CKR_USER_NOT_LOGGED_IN);
}

#[test]
fn the_security_officer_works_in_read_write_sessions_only() {
    let (_world, probe) = client();
    let slot = probe.slot_of("alpha");
    let (ro, rw) = (probe.open_ro(slot), probe.open_rw(slot));
    fails(probe.login(rw, CKU_SO, "so-alpha"), CKR_SESSION_READ_ONLY_EXISTS);
    fails(probe.login(ro, CKU_SO, "so-alpha"), CKR_SESSION_READ_ONLY_EXISTS);
    probe.close(ro).unwrap();
    probe.login(rw, CKU_SO, "so-alpha").unwrap();
    assert_eq!(probe.state(rw), RW_SO);
    fails(probe.open(slot, CKF_SERIAL_SESSION), CKR_SESSION_READ_WRITE_SO_EXISTS);
    fails(probe.login(rw, CKU_SO, "so-alpha"), CKR_USER_ALREADY_LOGGED_IN);
    fails(probe.login(rw, CKU_USER, "user-alpha"), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    // The officer sees no private object, and makes no keys.
    assert_eq!(probe.find(rw, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).unwrap(), NONE);
    fails(probe.generate_pair(rw, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]), CKR_USER_NOT_LOGGED_IN);
    probe.logout(rw).unwrap();
    assert_eq!(probe.state(rw), RW_PUBLIC);
}

#[test]
fn with_the_last_session_the_login_goes() {
    let (_world, probe) = client();
    let slot = probe.slot_of("alpha");
    let (one, other) = (probe.open_rw(slot), probe.open_rw(slot));
    probe.login(one, CKU_USER, "user-alpha").unwrap();
    probe.close(one).unwrap();
    fails(probe.session_info(one), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(probe.state(other), RW_USER, "one is left");
    probe.close(other).unwrap();
    let again = probe.open_rw(slot);
    assert_eq!(probe.state(again), RW_PUBLIC);
    assert!(again != one && again != other, "handles are not used again");

    probe.login(again, CKU_USER, "user-alpha").unwrap();
    let beta = probe.open_rw(probe.slot_of("beta"));
    probe.close_all(slot).unwrap();
    fails(probe.session_info(again), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(probe.state(beta), RW_PUBLIC, "sessions with another token stay");
    let fresh = probe.open_ro(slot);
    assert_eq!(probe.state(fresh), RO_PUBLIC);
    probe.finalize().unwrap();
    probe.initialize().unwrap();
    fails(probe.session_info(beta), CKR_SESSION_HANDLE_INVALID);
}

#[test]
fn sessions_are_counted_and_many() {
    let (_world, probe) = client();
    let slot = probe.slot_of("alpha");
    let sessions: Vec<u64> =
        (0..2000).map(|i| if i % 4 == 0 { probe.open_rw(slot) } else { probe.open_ro(slot) }).collect();
    let info = probe.token_info(slot).unwrap();
    assert_eq!((info.sessions, info.rw_sessions), (2000, 500));
    for session in sessions {
        probe.close(session).unwrap();
    }
    assert_eq!(probe.token_info(slot).unwrap().sessions, 0);
}

#[test]
fn sessions_that_cannot_be_opened() {
    let (_world, probe) = client();
    let slot = probe.slot_of("alpha");
    fails(probe.open(slot, CKF_RW_SESSION), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    fails(probe.open(77, CKF_SERIAL_SESSION), CKR_SLOT_ID_INVALID);
    let empty = *probe.slots(false).unwrap().last().unwrap();
    assert_eq!(probe.token_info(empty).unwrap().flags & CKF_TOKEN_INITIALIZED, 0);
    fails(probe.open(empty, CKF_SERIAL_SESSION), CKR_TOKEN_NOT_RECOGNIZED);
    fails(probe.close(0), CKR_SESSION_HANDLE_INVALID);
    fails(probe.close_all(77), CKR_SLOT_ID_INVALID);
    fails(probe.logout(0), CKR_SESSION_HANDLE_INVALID);
    fails(probe.login(0, CKU_USER, "user-alpha"), CKR_SESSION_HANDLE_INVALID);
    let session = probe.open_rw(slot);
    fails(probe.login(session, 3, "user-alpha"), CKR_USER_TYPE_INVALID);
    fails(probe.login(session, CKU_CONTEXT_SPECIFIC, "user-alpha"), CKR_USER_NOT_LOGGED_IN);
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    fails(probe.login(session, CKU_CONTEXT_SPECIFIC, "user-alpha"), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn slots_and_tokens_describe_themselves() {
    let (_world, probe) = client();
    let slots = probe.slots(true).unwrap();
    assert_eq!(slots, probe.slots(false).unwrap());
    assert!(slots.iter().all(|slot| *slot < 1 << 31));
    assert_eq!(slots.len(), 4, "three tokens, and one to be made");
    let info = |label: &str| probe.token_info(probe.slot_of(label)).unwrap();
    let (alpha, beta, open) = (info("alpha"), info("beta"), info("open"));
    let with_pin = CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_RNG;
    assert_eq!((alpha.flags, beta.flags), (with_pin, with_pin));
    assert_eq!(open.flags & (CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED), CKF_TOKEN_INITIALIZED);
    assert_eq!((alpha.min_pin, alpha.max_pin), (4, 128));
    assert!(alpha.serial != beta.serial && alpha.serial.len() == 16);
    assert_eq!(alpha.manufacturer, "tpm2-cryptoki");
    // The same in every process and every run: clients remember tokens by these.
    let again = client();
    let other = again.1.token_info(again.1.slot_of("alpha")).unwrap();
    assert_eq!(other, alpha);
}

#[test]
fn a_token_without_pin_is_open() {
    let (_world, probe) = client();
    let session = probe.user_session(&OPEN);
    fails(probe.login(session, CKU_USER, "some-pin"), CKR_PIN_INCORRECT);
    let key = probe.private_key(session, "p256-o");
    let signature = probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    probe.verify(session, CKM_ECDSA_SHA256, probe.public_key(session, "p256-o"), b"message", &signature).unwrap();
    // No try was spent on a PIN that cannot be right.
    assert_eq!(
        probe.token_info(probe.slot_of("open")).unwrap().flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_COUNT_LOW),
        0
    );
}

#[test]
fn wrong_pins_and_the_lockout() {
    let world = World::new().configured("wrong-pins = 0\n");
    let probe = world.probe().initialized();
    world.tpm.set_lockout(4, 1000);
    let slot = probe.slot_of("alpha");
    let session = probe.open_rw(slot);
    let flags = || {
        let all = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
        probe.token_info(slot).unwrap().flags & all
    };
    assert_eq!(flags(), 0);
    for expected in [CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY] {
        fails(probe.login(session, CKU_USER, "wrong-pin"), CKR_PIN_INCORRECT);
        assert_eq!(flags(), expected);
    }
    fails(probe.login(session, CKU_USER, "wrong-pin"), CKR_PIN_INCORRECT);
    assert_ne!(flags() & CKF_USER_PIN_LOCKED, 0);
    // Not even the right one.
    fails(probe.login(session, CKU_USER, "user-alpha"), CKR_PIN_LOCKED);
    assert_eq!(probe.state(session), RW_PUBLIC);
    let other = probe.open_rw(probe.slot_of("beta"));
    fails(probe.login(other, CKU_USER, "user-beta"), CKR_PIN_LOCKED);
    fails(probe.set_pin(session, "user-alpha", "new-pin"), CKR_PIN_LOCKED);
    // What is public still is.
    assert_eq!(probe.find(session, &[]).unwrap().len(), ALPHA.keys.len());
    let run = world.ptool(&["verify", "--label=alpha", "--userpin=user-alpha"]);
    assert_eq!(run.status, Some(3), "{run:?}");

    world.tpm.end_lockout();
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    assert_eq!(flags(), 0);
    // The right PIN forgives this process its wrong ones.
    probe.logout(session).unwrap();
    fails(probe.login(session, CKU_SO, "wrong-pin"), CKR_PIN_INCORRECT);
    let info = probe.token_info(slot).unwrap();
    assert_eq!(info.flags & (CKF_SO_PIN_COUNT_LOW | CKF_USER_PIN_COUNT_LOW), CKF_SO_PIN_COUNT_LOW);
    assert!(
        !world.log().contains("wrong-pin") && !world.log().contains("user-alpha"),
        "a PIN in the log: {}",
        world.log()
    );
}

/// A program that repeats a wrong PIN takes the tries of nobody else.
#[test]
fn wrong_pins_in_a_row_are_held_back_before_the_tpm_refuses_everybody() {
    let (world, probe) = client();
    world.tpm.set_lockout(8, 1000);
    let slot = probe.slot_of("alpha");
    let session = probe.open_rw(slot);
    let all = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
    let flags = |probe: &Probe| probe.token_info(slot).unwrap().flags & all;
    let low = CKF_USER_PIN_COUNT_LOW;
    for expected in [low, low, low, low | CKF_USER_PIN_FINAL_TRY, low | CKF_USER_PIN_LOCKED] {
        fails(probe.login(session, CKU_USER, "wrong-pin"), CKR_PIN_INCORRECT);
        assert_eq!(flags(&probe), expected);
    }
    world.proxy.mark();
    for pin in ["wrong-pin", "user-alpha"] {
        fails(probe.login(session, CKU_USER, pin), CKR_PIN_LOCKED);
        fails(probe.set_pin(session, pin, "new-pin"), CKR_PIN_LOCKED);
    }
    // For other processes as well.
    let other = world.probe().initialized();
    assert_eq!(flags(&other), low | CKF_USER_PIN_LOCKED);
    fails(other.login(other.open_rw(slot), CKU_USER, "user-alpha"), CKR_PIN_LOCKED);
    assert_eq!(world.proxy.mark().len(), 0, "the TPM was asked");
    // The security officer and other tokens have what they had.
    probe.login(session, CKU_SO, "so-alpha").unwrap();
    probe.logout(session).unwrap();
    let beta = probe.open_rw(probe.slot_of("beta"));
    probe.login(beta, CKU_USER, "user-beta").unwrap();
    let status = world.ptool_ok(&["lockout", "status", "--output=json"]).text();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["failed_tries"], &status["locked"]), (&5.into(), &false.into()));
    let alpha = status["tokens"].as_array().unwrap().iter().find(|token| token["label"] == "alpha").unwrap();
    assert_eq!((&alpha["user_tries_left"], &alpha["so_tries_left"]), (&0.into(), &5.into()));
    let wait = alpha["seconds_to_wait"].as_u64().unwrap();
    assert!((800..=1000).contains(&wait), "{wait}");
    world.ptool_ok(&["lockout", "forget", "--label=alpha"]);
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    assert_eq!(flags(&probe), 0);
    // A right one forgives the wrong ones before it, in the store as well.
    probe.logout(session).unwrap();
    for _ in 0..2 {
        fails(probe.login(session, CKU_USER, "wrong-pin"), CKR_PIN_INCORRECT);
        probe.login(session, CKU_USER, "user-alpha").unwrap();
        probe.logout(session).unwrap();
    }
    assert_eq!(flags(&other), 0);
}

/// Where the store cannot be written, each process counts for itself.
#[test]
fn wrong_pins_are_held_back_where_the_store_cannot_be_written() {
    let world = World::new().configured("wrong-pins = 1\n");
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    let lock = rusqlite::Connection::open(world.store_file()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    fails(probe.login(session, CKU_USER, "wrong-pin"), CKR_PIN_INCORRECT);
    world.proxy.mark();
    fails(probe.login(session, CKU_USER, "user-alpha"), CKR_PIN_LOCKED);
    assert_eq!(world.proxy.mark().len(), 0, "the TPM was asked");
    drop(lock);
    let other = world.probe().initialized();
    other.login(other.open_rw(other.slot_of("alpha")), CKU_USER, "user-alpha").unwrap();
}

#[test]
fn keys_never_lock_the_tpm() {
    let (world, probe) = client();
    world.tpm.set_lockout(3, 1000);
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    // A signature whose authorisation is spoilt on the way: the key is exempt from dictionary-attack protection.
    for round in 0..6 {
        let offset_from_end = 60;
        world.proxy.inject(swtpm_fixtures::Fault::FlipCommandByte { code: 0x15d, offset_from_end });
        world.proxy.mark();
        let signed = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
        assert!(world.proxy.pending_faults().is_empty(), "round {round}");
        // TPM_RC_BAD_AUTH, of the first session.
        let commands = world.proxy.mark();
        assert_eq!(commands.failed().first().map(|command| command.rc), Some(0x9a2), "{signed:?} {commands}");
    }
    let again = world.probe().initialized();
    let session = again.user_session(&ALPHA);
    again.sign(session, CKM_ECDSA_SHA256, again.private_key(session, "p256"), b"message").unwrap();
}

#[test]
fn a_user_pin_is_changed_by_its_user() {
    let (world, probe) = client();
    let slot = probe.slot_of("alpha");
    let (ro, rw) = (probe.open_ro(slot), probe.open_rw(slot));
    fails(probe.set_pin(ro, "user-alpha", "new-pin"), CKR_SESSION_READ_ONLY);
    fails(probe.set_pin(rw, "wrong-pin", "new-pin"), CKR_PIN_INCORRECT);
    fails(probe.set_pin(rw, "user-alpha", "123"), CKR_PIN_LEN_RANGE);
    fails(probe.set_pin(rw, "user-alpha", &"x".repeat(129)), CKR_PIN_LEN_RANGE);
    world.tpm.end_lockout();
    // Without login, and with; four characters, 32, 128.
    probe.set_pin(rw, "user-alpha", "1234").unwrap();
    probe.login(rw, CKU_USER, "1234").unwrap();
    let longest = "x".repeat(128);
    probe.set_pin(rw, "1234", &"y".repeat(32)).unwrap();
    probe.set_pin(rw, &"y".repeat(32), &longest).unwrap();
    let key = probe.private_key(rw, "p256");
    probe.sign(rw, CKM_ECDSA_SHA256, key, b"message").unwrap();
    probe.logout(rw).unwrap();
    fails(probe.login(rw, CKU_USER, "user-alpha"), CKR_PIN_INCORRECT);
    probe.login(rw, CKU_USER, &longest).unwrap();
    // Other processes see it, and the keys work as before.
    let other = world.probe().initialized();
    let session = other.open_rw(slot);
    other.login(session, CKU_USER, &longest).unwrap();
    other.sign(session, CKM_ECDSA_SHA256, other.private_key(session, "p256"), b"message").unwrap();
    // The security officer's PIN did not change, nor the other token's.
    let beta = probe.open_rw(probe.slot_of("beta"));
    probe.login(beta, CKU_USER, "user-beta").unwrap();
}

#[test]
fn the_officer_sets_a_new_user_pin_and_the_own() {
    let (world, probe) = client();
    let slot = probe.slot_of("alpha");
    let rw = probe.open_rw(slot);
    fails(probe.init_pin(rw, "new-user-pin"), CKR_USER_NOT_LOGGED_IN);
    probe.login(rw, CKU_USER, "user-alpha").unwrap();
    fails(probe.init_pin(rw, "new-user-pin"), CKR_USER_NOT_LOGGED_IN);
    probe.logout(rw).unwrap();
    probe.login(rw, CKU_SO, "so-alpha").unwrap();
    fails(probe.init_pin(rw, "123"), CKR_PIN_LEN_RANGE);
    probe.init_pin(rw, "new-user-pin").unwrap();
    fails(probe.set_pin(rw, "wrong-pin", "new-so-pin"), CKR_PIN_INCORRECT);
    probe.set_pin(rw, "so-alpha", "new-so-pin").unwrap();
    // With the new PIN's login still going on, a user PIN can be set again.
    probe.init_pin(rw, "newer-user-pin").unwrap();
    probe.logout(rw).unwrap();
    fails(probe.login(rw, CKU_USER, "user-alpha"), CKR_PIN_INCORRECT);
    world.tpm.end_lockout();
    fails(probe.login(rw, CKU_SO, "so-alpha"), CKR_PIN_INCORRECT);
    probe.login(rw, CKU_SO, "new-so-pin").unwrap();
    probe.logout(rw).unwrap();
    probe.login(rw, CKU_USER, "newer-user-pin").unwrap();
    // The keys are those they were.
    let key = probe.private_key(rw, "p256");
    probe.sign(rw, CKM_ECDSA_SHA256, key, b"message").unwrap();
}

#[test]
fn a_token_is_made_and_made_anew_by_the_interface() {
    let (_world, probe) = client();
    let empty = *probe.slots(false).unwrap().last().unwrap();
    fails(probe.init_token(empty, "123", "fresh"), CKR_PIN_LEN_RANGE);
    fails(probe.init_token(99, "officer", "fresh"), CKR_SLOT_ID_INVALID);
    probe.init_token(empty, "officer", "fresh").unwrap();
    let info = probe.token_info(empty).unwrap();
    assert_eq!(info.label, "fresh");
    let pin_flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED;
    assert_eq!(info.flags & pin_flags, CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED);
    assert_eq!(probe.slots(false).unwrap().len(), 5, "and there is a slot for the next");

    let session = probe.open_rw(empty);
    fails(probe.login(session, CKU_USER, "user-pin"), CKR_USER_PIN_NOT_INITIALIZED);
    fails(probe.init_token(empty, "officer", "again"), CKR_SESSION_EXISTS);
    probe.login(session, CKU_SO, "officer").unwrap();
    probe.init_pin(session, "user-pin").unwrap();
    probe.logout(session).unwrap();
    probe.login(session, CKU_USER, "user-pin").unwrap();
    let (_, key) = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]).unwrap();
    probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    assert_ne!(probe.token_info(empty).unwrap().flags & CKF_USER_PIN_INITIALIZED, 0);
    probe.close(session).unwrap();

    fails(probe.init_token(empty, "another", "again"), CKR_PIN_INCORRECT);
    assert_eq!(probe.token_info(empty).unwrap().label, "fresh", "nothing was lost");
    probe.init_token(empty, "officer", "again").unwrap();
    assert_eq!(probe.token_info(empty).unwrap().label, "again");
    let session = probe.open_rw(empty);
    assert_eq!(probe.find(session, &[]).unwrap(), NONE);
    fails(probe.login(session, CKU_USER, "user-pin"), CKR_USER_PIN_NOT_INITIALIZED);
    // The tokens beside it are whole.
    let alpha = probe.user_session(&ALPHA);
    probe.sign(alpha, CKM_ECDSA_SHA256, probe.private_key(alpha, "p256"), b"message").unwrap();
}

#[test]
fn a_key_that_wants_the_pin_each_time() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let template = [flag(CKA_TOKEN, true), flag(CKA_ALWAYS_AUTHENTICATE, true)];
    let (_, key) = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &template).unwrap();
    for _ in 0..2 {
        probe.init("C_SignInit", session, CKM_ECDSA_SHA256, key).unwrap();
        fails(probe.login(session, CKU_CONTEXT_SPECIFIC, "wrong-pin"), CKR_PIN_INCORRECT);
        probe.login(session, CKU_CONTEXT_SPECIFIC, "user-alpha").unwrap();
        assert_eq!(probe.transform("C_Sign", session, b"message").unwrap().len(), 64);
        world.tpm.end_lockout();
    }
    fails(probe.sign(session, CKM_ECDSA_SHA256, key, b"message"), CKR_USER_NOT_LOGGED_IN);
    fails(probe.update("C_SignUpdate", session, b"message"), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn operations_in_the_wrong_order() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let (public, private) = (probe.public_key(session, "rsa"), probe.private_key(session, "rsa"));
    for (one_step, update, last) in [
        ("C_Sign", "C_SignUpdate", "C_SignFinal"),
        ("C_Digest", "C_DigestUpdate", "C_DigestFinal"),
        ("C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal"),
        ("C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal"),
    ] {
        fails(probe.transform(one_step, session, b"x"), CKR_OPERATION_NOT_INITIALIZED);
        fails(probe.finish(last, session), CKR_OPERATION_NOT_INITIALIZED);
        let rv = if update.starts_with("C_S") || update.starts_with("C_Di") {
            probe.update(update, session, b"x")
        } else {
            probe.transform(update, session, b"x").map(drop)
        };
        fails(rv, CKR_OPERATION_NOT_INITIALIZED);
    }
    fails(probe.update("C_VerifyUpdate", session, b"x"), CKR_OPERATION_NOT_INITIALIZED);
    fails(probe.update("C_VerifyFinal", session, b"x"), CKR_OPERATION_NOT_INITIALIZED);

    // One operation of each kind at a time in a session; different kinds, and different sessions, do not meet.
    let second = probe.open_ro(probe.slot_of("alpha"));
    let digest = || vec![Argument::Word(session), Mechanism::plain(CKM_SHA256).argument()];
    for session in [session, second] {
        probe.init("C_SignInit", session, CKM_SHA256_RSA_PKCS, private).unwrap();
        probe.init("C_VerifyInit", session, CKM_SHA256_RSA_PKCS, public).unwrap();
        probe.init("C_EncryptInit", session, CKM_RSA_PKCS, public).unwrap();
        probe.init("C_DecryptInit", session, CKM_RSA_PKCS, private).unwrap();
    }
    probe.rv("C_DigestInit", digest()).unwrap();
    fails(probe.init("C_SignInit", session, CKM_SHA256_RSA_PKCS, private), CKR_OPERATION_ACTIVE);
    fails(probe.init("C_VerifyInit", session, CKM_SHA256_RSA_PKCS, public), CKR_OPERATION_ACTIVE);
    fails(probe.init("C_EncryptInit", session, CKM_RSA_PKCS, public), CKR_OPERATION_ACTIVE);
    fails(probe.init("C_DecryptInit", session, CKM_RSA_PKCS, private), CKR_OPERATION_ACTIVE);
    fails(probe.rv("C_DigestInit", digest()), CKR_OPERATION_ACTIVE);
    let signature = probe.transform("C_Sign", session, b"message").unwrap();
    fails(probe.transform("C_Sign", session, b"message"), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(probe.transform("C_Sign", second, b"message").unwrap(), signature);
    let cipher = probe.transform("C_Encrypt", session, b"secret").unwrap();
    assert_eq!(probe.transform("C_Decrypt", session, &cipher).unwrap(), b"secret");
    probe.update("C_DigestUpdate", session, b"mess").unwrap();
    probe.update("C_DigestUpdate", session, b"age").unwrap();
    let parts = probe.finish("C_DigestFinal", session).unwrap();
    assert_eq!(probe.digest(session, CKM_SHA256, b"message").unwrap(), parts);

    // A call that fails ends its operation; a short buffer does not.
    probe.init("C_SignInit", session, CKM_RSA_PKCS, private).unwrap();
    fails(probe.transform("C_Sign", session, &[1; 300]), CKR_DATA_LEN_RANGE);
    fails(probe.transform("C_Sign", session, &[1; 30]), CKR_OPERATION_NOT_INITIALIZED);
    probe.init("C_SignInit", session, CKM_RSA_PKCS, private).unwrap();
    assert_eq!(probe.transform_into("C_Sign", session, &[1; 30], Some(100)).rv, CKR_BUFFER_TOO_SMALL);
    assert_eq!(probe.transform("C_Sign", session, &[1; 30]).unwrap().len(), 256);
    // After a part, there is no way back to one step.
    probe.init("C_SignInit", session, CKM_SHA256_RSA_PKCS, private).unwrap();
    probe.update("C_SignUpdate", session, b"mess").unwrap();
    let mixed = probe.transform("C_Sign", session, b"age");
    assert!(mixed.is_err(), "{mixed:?}");
    // Closing a session ends what was active in it.
    probe.close(second).unwrap();
    fails(probe.update("C_VerifyFinal", second, &signature), CKR_SESSION_HANDLE_INVALID);
}

#[test]
fn random_numbers_and_seeds() {
    let (_world, probe) = client();
    let session = probe.open_ro(probe.slot_of("beta"));
    let (one, other) = (probe.random(session, 64).unwrap(), probe.random(session, 64).unwrap());
    assert!(one != other && one.iter().any(|byte| *byte != tests::call::FILL));
    let seed = vec![session.into(), Argument::bytes(b"seed"), 4.into()];
    probe.rv("C_SeedRandom", seed).unwrap();
    assert_eq!(BETA.label, probe.token_info(probe.slot_of("beta")).unwrap().label);
}
