//! What each operation costs in TPM commands: exact, because a hardware TPM takes 10 to 300 ms for each.

use pkcs11_sys::*;
use swtpm_fixtures::{Commands, leftovers};
use tests::Probe;
use tests::probe::{Mechanism, bytes, flag, number};
use tests::world::{ALPHA, BETA, World};

/// A world whose module keeps what it holds for longer than any test takes, so that counts do not depend on the machine's
/// speed; and whose TPM was logged in to since it was switched on: the first use of a PIN object after that is answered with
/// TPM_RC_RETRY once, see [`the_first_login_after_power_on_is_asked_once_more`].
fn world() -> World {
    warm(World::new().configured("idle-ms = 600000\n"))
}

fn warm(world: World) -> World {
    world.ptool_ok(&["verify", "--label", "alpha", "--userpin", "user-alpha"]);
    cost(&world);
    world
}

fn cost(world: &World) -> Commands {
    world.proxy.mark()
}

#[track_caller]
fn assert_cost(world: &World, what: &str, names: &[&str]) {
    let commands = cost(world);
    assert!(commands.failed().is_empty(), "{what}: {commands}");
    assert_eq!(commands.names(), names, "{what}");
}

#[track_caller]
fn assert_free(world: &World, what: &str) {
    let connections = world.proxy.connections();
    assert_cost(world, what, &[]);
    assert_eq!(connections, 0, "{what}: connections");
}

fn sign(probe: &Probe, session: u64, key: u64) {
    assert_eq!(probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap().len(), 64);
}

#[test]
fn looking_around_does_not_even_connect() {
    let world = world();
    let probe = world.probe().initialized();
    let slots = probe.slots(true).unwrap();
    for slot in &slots {
        probe.token_info(*slot).unwrap();
        probe.call("C_GetSlotInfo", vec![(*slot).into(), tests::Argument::buffer(size_of::<CK_SLOT_INFO>())]);
        for mechanism in probe.mechanisms(*slot).unwrap() {
            probe.mechanism_info(*slot, mechanism).unwrap();
        }
    }
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.session_info(session).unwrap();
    let objects = probe.find(session, &[]).unwrap();
    assert_eq!(objects.len(), 5, "public keys");
    for object in objects {
        for ty in [CKA_CLASS, CKA_ID, CKA_LABEL, CKA_KEY_TYPE, CKA_PUBLIC_KEY_INFO, CKA_VERIFY] {
            probe.attribute(session, object, ty).unwrap();
        }
    }
    probe.close(session).unwrap();
    probe.finalize().unwrap();
    assert_free(&world, "from C_Initialize to C_Finalize without login");
}

#[test]
fn what_needs_no_secret_is_done_in_software() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let (public, private) = (probe.public_key(session, "rsa"), probe.private_key(session, "rsa"));
    let signature = probe.sign(session, CKM_SHA256_RSA_PKCS, private, b"message").unwrap();
    let (ec_public, ec_private) = (probe.public_key(session, "p256"), probe.private_key(session, "p256"));
    let ec_signature = probe.sign(session, CKM_ECDSA_SHA256, ec_private, b"message").unwrap();
    cost(&world);

    probe.verify(session, CKM_SHA256_RSA_PKCS, public, b"message", &signature).unwrap();
    probe.verify(session, CKM_ECDSA_SHA256, ec_public, b"message", &ec_signature).unwrap();
    for mechanism in [CKM_RSA_PKCS.into(), Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"")] {
        probe.encrypt(session, mechanism, public, b"message").unwrap();
    }
    for mechanism in [CKM_SHA_1, CKM_SHA224, CKM_SHA256, CKM_SHA384, CKM_SHA512] {
        probe.digest(session, mechanism, &[7; 2000]).unwrap();
    }
    for private in [private, ec_private] {
        probe.attribute(session, private, CKA_LABEL).unwrap();
    }
    assert_cost(&world, "verify, encrypt, digest", &[]);
}

#[test]
fn a_login_is_four() {
    let world = world();
    let probe = world.probe().initialized();
    let login = ["StartAuthSession", "Load", "Unseal", "FlushContext"];

    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    assert_cost(&world, "login of the user", &login);
    probe.logout(session).unwrap();
    cost(&world);
    probe.login(session, CKU_SO, "so-alpha").unwrap();
    // The session of the first login may still be there.
    let again = cost(&world);
    assert!(again.len() <= 4 && again.failed().is_empty(), "login of the security officer: {again}");
    probe.finalize().unwrap();

    cost(&world);
    probe.initialize().unwrap();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_SO, "so-alpha").unwrap();
    assert_cost(&world, "login of the security officer", &login);
}

#[test]
fn the_first_login_after_power_on_is_asked_once_more() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    let commands = cost(&world);
    assert_eq!(commands.names(), ["StartAuthSession", "Load", "Unseal", "Unseal", "FlushContext"]);
    assert_eq!(commands.failed().iter().map(|command| command.rc).collect::<Vec<_>>(), [0x922], "TPM_RC_RETRY");
}

#[test]
fn a_wrong_pin_costs_one_question_more_and_leaves_nothing() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    assert_eq!(probe.login(session, CKU_USER, "wrong-pin"), Err(tests::Ck(CKR_PIN_INCORRECT)));
    let commands = cost(&world);
    assert!(commands.len() <= 5, "{commands}");
    assert_eq!(commands.count("Unseal"), 1, "one try counts once: {commands}");
    // PINs that cannot be right are not tried: each would be one of the TPM's few.
    for pin in ["", &"x".repeat(129)] {
        assert_eq!(probe.login(session, CKU_USER, pin), Err(tests::Ck(CKR_PIN_INCORRECT)));
    }
    assert_cost(&world, "impossible PINs", &[]);
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn signatures_on_a_bare_tpm() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    cost(&world);
    sign(&probe, session, key);
    assert_cost(&world, "first signature", &["Load", "Sign"]);
    sign(&probe, session, key);
    assert_cost(&world, "second signature", &["StartAuthSession", "Sign"]);
    for _ in 0..20 {
        sign(&probe, session, key);
        assert_cost(&world, "further signature", &["Sign"]);
    }
    // A second key, while the first stays loaded.
    let rsa = probe.private_key(session, "rsa");
    probe.sign(session, CKM_SHA256_RSA_PKCS, rsa, b"message").unwrap();
    let first = cost(&world);
    assert!(first.len() <= 3 && first.failed().is_empty(), "first signature with a second key: {first}");
    for _ in 0..5 {
        sign(&probe, session, key);
        probe.sign(session, CKM_SHA256_RSA_PKCS, rsa, b"message").unwrap();
        assert_cost(&world, "two keys in turn", &["Sign", "RSA_Decrypt"]);
    }
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn signatures_behind_a_resource_manager() {
    let world = world().managed();
    let asked = || world.manager.as_ref().unwrap().mark();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    // The seal goes with its connection.
    assert_eq!(asked().names(), ["StartAuthSession", "Load", "Unseal"], "login");
    let key = probe.private_key(session, "p256");
    sign(&probe, session, key);
    let first = asked();
    assert!((2..=3).contains(&first.len()) && first.failed().is_empty(), "first signature: {first}");
    for _ in 0..20 {
        sign(&probe, session, key);
        assert_eq!(asked().names(), ["Sign"], "further signature");
    }
    probe.finalize().unwrap();
    assert_eq!(asked().len(), 0, "closing gives everything back");
    world.assert_clean();
}

#[test]
fn what_the_chip_is_asked_behind_a_resource_manager() {
    let world = world().managed();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let login = cost(&world);
    assert!(login.len() <= 13, "login: {} commands: {login}", login.len());
    let key = probe.private_key(session, "p256");
    sign(&probe, session, key);
    let first = cost(&world);
    assert!(first.len() <= 14, "first signature: {} commands: {first}", first.len());
    let others = ["rsa", "p384", "p521"].map(|label| probe.private_key(session, label));
    for _ in 0..5 {
        sign(&probe, session, key);
        let further = cost(&world);
        assert!(further.len() <= 6, "further signature: {} commands: {further}", further.len());
    }
    // However many keys are in use, a signature does not cost more.
    probe.sign(session, CKM_SHA256_RSA_PKCS, others[0], b"message").unwrap();
    probe.sign(session, CKM_ECDSA_SHA384, others[1], b"message").unwrap();
    probe.sign(session, CKM_ECDSA_SHA512, others[2], b"message").unwrap();
    cost(&world);
    sign(&probe, session, key);
    let further = cost(&world);
    assert!(further.len() <= 6, "signature with four keys in use: {} commands: {further}", further.len());
}

#[test]
fn one_cold_life_is_seven() {
    let world = world();
    one_life(&world.probe());
    assert_cost(
        &world,
        "initialise, open, login, find, sign, finalise",
        &["StartAuthSession", "Load", "Unseal", "FlushContext", "Load", "Sign", "FlushContext"],
    );
    world.assert_clean();

    let world = world.managed();
    one_life(&world.probe());
    let chip = cost(&world);
    assert!(chip.len() <= 27, "{} commands behind a resource manager: {chip}", chip.len());
    world.assert_clean();
}

fn one_life(probe: &Probe) {
    probe.initialize().unwrap();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    sign(probe, session, key);
    probe.finalize().unwrap();
}

#[test]
fn decryption_with_a_loaded_key_is_one() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let (public, private) = (probe.public_key(session, "rsa"), probe.private_key(session, "rsa"));
    let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    let foreign = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA1, b"a label");
    let mechanisms = [oaep, foreign, CKM_RSA_PKCS.into(), CKM_RSA_X_509.into()];
    for round in 0..3 {
        for mechanism in &mechanisms {
            let plain = if mechanism.ty == CKM_RSA_X_509 { vec![1; 256] } else { b"secret".to_vec() };
            let cipher = probe.encrypt(session, mechanism.clone(), public, &plain).unwrap();
            cost(&world);
            assert_eq!(probe.decrypt(session, mechanism.clone(), private, &cipher).unwrap(), plain);
            if round > 0 {
                assert_cost(&world, "decryption", &["RSA_Decrypt"]);
            }
        }
    }
}

#[test]
fn questions_of_length_and_short_buffers_are_free() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let (public, private) = (probe.public_key(session, "rsa"), probe.private_key(session, "rsa"));
    let cipher = probe.encrypt(session, CKM_RSA_PKCS, public, b"secret").unwrap();
    cost(&world);

    probe.init("C_SignInit", session, CKM_SHA256_RSA_PKCS, private).unwrap();
    for room in [None, Some(0), Some(255)] {
        let output = probe.transform_into("C_Sign", session, b"message", room);
        assert_eq!((output.rv, output.len), (if room.is_none() { CKR_OK } else { CKR_BUFFER_TOO_SMALL }, 256));
        assert!(output.untouched());
    }
    probe.init("C_DecryptInit", session, CKM_RSA_PKCS, private).unwrap();
    let output = probe.transform_into("C_Decrypt", session, &cipher, None);
    assert!(output.rv == CKR_OK && output.len >= 6, "{output:?}");
    assert_cost(&world, "questions of length", &[]);

    assert_eq!(probe.transform("C_Sign", session, b"message").unwrap().len(), 256);
    assert_eq!(cost(&world).count("RSA_Decrypt"), 1);
    // The length of a decryption is known only when it is done; it is done once.
    let output = probe.transform_into("C_Decrypt", session, &cipher, Some(3));
    assert_eq!((output.rv, output.len), (CKR_BUFFER_TOO_SMALL, 6));
    assert!(output.untouched());
    assert_eq!(probe.transform("C_Decrypt", session, &cipher).unwrap(), b"secret");
    assert_eq!(cost(&world).count("RSA_Decrypt"), 1);
}

#[test]
fn a_key_pair_is_two() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    cost(&world);
    for round in 0..2 {
        for token in [true, false] {
            let public = [bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der()), flag(CKA_TOKEN, token)];
            probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, token)]).unwrap();
            let commands = cost(&world);
            assert!(commands.len() <= 2 && commands.failed().is_empty(), "EC, round {round}: {commands}");
        }
    }
    let public = [number(CKA_MODULUS_BITS, 2048), flag(CKA_TOKEN, true)];
    let (_, private) =
        probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, true)]).unwrap();
    let commands = cost(&world);
    assert!(commands.len() <= 2 && commands.failed().is_empty(), "RSA: {commands}");
    probe.destroy(session, private).unwrap();
    assert_cost(&world, "destroying a key that is not loaded", &[]);
}

#[test]
fn random_numbers_are_one_whatever_their_length() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.open_ro(probe.slot_of("alpha"));
    for len in [1, 32, 33, 64, 1000, 100_000] {
        let random = probe.random(session, len).unwrap();
        assert_cost(&world, "random", &["GetRandom"]);
        if len >= 32 {
            assert_ne!(random[..16], random[16..32]);
        }
    }
    probe.random(session, 0).unwrap();
    assert_cost(&world, "no random", &[]);
}

#[test]
fn a_seed_is_one_command_whatever_its_length() {
    let world = world();
    let probe = world.probe().initialized();
    let session = probe.open_ro(probe.slot_of("alpha"));
    probe.random(session, 1).unwrap();
    cost(&world);
    for (len, commands) in
        [(0, &[][..]), (1, &["StirRandom"]), (128, &["StirRandom"]), (129, &["StirRandom"]), (100_000, &["StirRandom"])]
    {
        let seed = tests::Argument::bytes(&vec![7; len]);
        probe.rv("C_SeedRandom", vec![session.into(), seed, (len as u64).into()]).unwrap();
        assert_cost(&world, "a seed", commands);
    }
    assert_ne!(probe.random(session, 32).unwrap(), probe.random(session, 32).unwrap());
}

#[test]
fn without_bus_protection() {
    let world = world().configured("idle-ms = 600000\nbus-protection = \"off\"\n");
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let login = cost(&world);
    assert!(login.len() <= 4 && login.failed().is_empty(), "login: {login}");
    let key = probe.private_key(session, "p256");
    sign(&probe, session, key);
    let first = cost(&world);
    assert_eq!(first.names(), ["Load", "Sign"], "first signature");
    for _ in 0..5 {
        sign(&probe, session, key);
        assert_cost(&world, "further signature", &["Sign"]);
    }
    probe.finalize().unwrap();
    world.assert_clean();

    let world = world.managed();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    cost(&world);
    sign(&probe, session, key);
    let first = cost(&world);
    assert!(first.len() <= 7, "first signature behind a resource manager: {} commands: {first}", first.len());
    sign(&probe, session, key);
    let further = cost(&world);
    assert!(further.len() <= 4, "further signature behind a resource manager: {} commands: {further}", further.len());
}

#[test]
fn an_idle_process_holds_nothing_and_stays_logged_in() {
    let world = world().configured("idle-ms = 50\n");
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    sign(&probe, session, key);
    sign(&probe, session, key);
    // Asks over the TPM's only connection: the module gave it back.
    let held = leftovers(&world.tpm);
    assert!(held.is_clean(), "{held:?}");
    cost(&world);
    sign(&probe, session, key);
    let again = cost(&world);
    assert!(again.count("Sign") == 1 && again.count("Unseal") == 0 && again.failed().is_empty(), "{again}");
}

#[test]
fn the_command_line() {
    let world = World::empty();
    world.ptool_ok(&["init"]);
    cost(&world);
    world.ptool_ok(&["addtoken", "--pid=1", "--label=t", "--sopin=officer", "--userpin=user-pin"]);
    let commands = cost(&world);
    assert!(commands.len() <= 7, "addtoken: {} commands: {commands}", commands.len());
    world.ptool_ok(&["verify", "--label=t", "--userpin=user-pin"]);
    cost(&world);
    for algorithm in ["ecc256", "rsa2048"] {
        world.ptool_ok(&["addkey", "--label=t", "--userpin=user-pin", "--algorithm", algorithm]);
        let commands = cost(&world);
        assert!(commands.len() <= 6, "addkey: {} commands: {commands}", commands.len());
        world.assert_clean();
    }
    world.proxy.mark();
    for listing in [&["listprimaries"][..], &["listtokens"], &["listobjects", "--label=t"]] {
        world.ptool_ok(listing);
        assert_free(&world, listing[0]);
    }
}

#[test]
fn two_tokens_cost_no_more_than_one() {
    let world = world();
    let probe = world.probe().initialized();
    let (alpha, beta) = (probe.user_session(&ALPHA), probe.user_session(&BETA));
    let keys = [(alpha, probe.private_key(alpha, "p256")), (beta, probe.private_key(beta, "p256-b"))];
    for (session, key) in keys {
        sign(&probe, session, key);
        sign(&probe, session, key);
    }
    cost(&world);
    for _ in 0..5 {
        for (session, key) in keys {
            sign(&probe, session, key);
            assert_cost(&world, "further signature with one of two tokens", &["Sign"]);
        }
    }
}
