//! What happens when the store fails, or somebody changed it: the right code, a word in the log, and nothing lost.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use pkcs11_sys::*;
use rusqlite::Connection;
use swtpm_fixtures::SwTpm;
use tests::probe::{Probe, bytes, flag, number};
use tests::skip::left_out;
use tests::world::{ALPHA, Run, World};
use tests::{Ck, product};

/// A world whose store was made unusable: `C_Initialize` or `C_OpenSession` says so, the log and `ptool` say how, and the file
/// stays as it is.
#[track_caller]
fn unusable(world: &World, word: &str) {
    let before = std::fs::read(world.store_file()).ok();
    let probe = world.probe();
    let result = probe.initialize().and_then(|()| probe.open(1, CKF_SERIAL_SESSION | CKF_RW_SESSION));
    assert!(matches!(result, Err(Ck(CKR_GENERAL_ERROR | CKR_DEVICE_ERROR))), "{result:?}");
    assert!(world.log().contains(word), "the log does not say {word:?}: {}", world.log());
    for arguments in [&["listtokens"][..], &["addtoken", "--label=new", "--sopin=officer", "--userpin=user-pin"]] {
        let run = world.ptool(arguments);
        assert_eq!(run.status, Some(5), "{run:?}");
        assert!(run.stderr.contains(word), "ptool does not say {word:?}: {run:?}");
    }
    assert_eq!(std::fs::read(world.store_file()).ok(), before, "it was written");
    assert_eq!(world.proxy.mark().len(), 0, "the TPM was asked");
}

#[test]
fn a_store_that_is_not_there_is_an_empty_slot() {
    let world = World::empty();
    let probe = world.probe().initialized();
    let slots = probe.slots(true).unwrap();
    assert_eq!(slots.len(), 1);
    assert_eq!(probe.token_info(slots[0]).unwrap().flags & CKF_TOKEN_INITIALIZED, 0);
    let run = world.ptool(&["listtokens"]);
    assert!(run.status == Some(5) && run.stderr.contains("ptool init"), "{run:?}");
    assert!(!world.store_file().exists());
    // It may come while the process runs.
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", "--label=new", "--sopin=officer", "--userpin=user-pin"]);
    let session = probe.open_rw(probe.slot_of("new"));
    probe.login(session, CKU_USER, "user-pin").unwrap();
}

#[test]
fn a_newer_store_is_left_alone() {
    let world = World::new();
    Connection::open(world.store_file()).unwrap().pragma_update(None, "user_version", 4711).unwrap();
    unusable(&world, "4711");
}

#[test]
fn a_damaged_store_is_left_alone() {
    let spoil: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(50),
        |bytes| bytes[..16].copy_from_slice(b"not a database!!"),
        |bytes| bytes[100..4096].fill(0xa5),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let world = World::new();
        let mut bytes = world.store_bytes();
        spoil(&mut bytes);
        std::fs::write(world.store_file(), bytes).unwrap();
        eprintln!("damage {number}");
        unusable(&world, "store");
    }
}

#[test]
fn an_application_id_of_somebody_else() {
    let world = World::new();
    Connection::open(world.store_file()).unwrap().pragma_update(None, "application_id", 0x1234).unwrap();
    unusable(&world, "damaged");
}

#[test]
fn a_store_that_others_could_have_written_is_refused() {
    let mode = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let world = World::new();
    mode(&world.store_file(), 0o666);
    unusable(&world, "not used");
    let world = World::new();
    mode(&world.store(), 0o777);
    unusable(&world, "not used");

    let world = World::new();
    let elsewhere = world.path("elsewhere.sqlite3");
    std::fs::rename(world.store_file(), &elsewhere).unwrap();
    symlink(&elsewhere, world.store_file()).unwrap();
    unusable(&world, "store");
}

#[test]
fn a_store_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return left_out("only root can give a file away");
    }
    let world = World::new();
    std::os::unix::fs::chown(world.store_file(), Some(65534), Some(65534)).unwrap();
    unusable(&world, "not used");
    let world = World::new();
    std::os::unix::fs::chown(world.store(), Some(65534), None).unwrap();
    unusable(&world, "not used");
}

#[test]
fn signing_needs_no_right_to_write() {
    let world = World::new();
    // As root every file can be written, whatever its mode: the file system itself must say no.
    let mode = if nix::unistd::geteuid().is_root() {
        let attribute = |sign: &str| {
            std::process::Command::new("chattr")
                .arg(sign)
                .arg(world.store_file())
                .arg(world.store())
                .status()
                .is_ok_and(|status| status.success())
        };
        if !attribute("+i") {
            return left_out("the file system of temporary files cannot keep root from writing (chattr +i)");
        }
        Some(attribute)
    } else {
        std::fs::set_permissions(world.store_file(), std::fs::Permissions::from_mode(0o400)).unwrap();
        std::fs::set_permissions(world.store(), std::fs::Permissions::from_mode(0o500)).unwrap();
        None
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        let public = [bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der()), flag(CKA_TOKEN, true)];
        let made = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, true)]);
        assert_eq!(made, Err(Ck(CKR_TOKEN_WRITE_PROTECTED)));
    }));
    if let Some(attribute) = mode {
        attribute("-i");
    }
    outcome.unwrap();
}

#[test]
fn the_store_of_another_tpm() {
    let world = World::new();
    // A TPM without the primary, and one with a primary of its own.
    let blank = SwTpm::start();
    let other = World::empty();
    other.ptool_ok(&["init"]);
    for tcti in [blank.tcti(), other.tpm.tcti()] {
        let there = [("TPM2_CRYPTOKI_TCTI", tcti.clone())];
        let probe = world.probe_with(&there).initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        for (user, pin) in [(CKU_USER, "user-alpha"), (CKU_SO, "so-alpha"), (CKU_USER, "wrong-pin")] {
            assert_eq!(
                probe.login(session, user, pin),
                Err(Ck(CKR_TOKEN_NOT_RECOGNIZED)),
                "{tcti}: said so, and not of the PIN"
            );
        }
        assert_eq!(probe.find(session, &[]).unwrap().len(), ALPHA.keys.len());
        let log = world.log();
        assert!(log.contains("primary"), "{log}");
        probe.finalize().unwrap();
        let mut ptool = world.command(product::ptool());
        let run =
            Run::of(ptool.args(["verify", "--label=alpha", "--userpin=user-alpha"]).env("TPM2_CRYPTOKI_TCTI", tcti));
        assert_eq!(run.status, Some(4), "{run:?}");
    }
    // On its own TPM the token is as it was.
    let probe = world.probe().initialized();
    probe.user_session(&ALPHA);
}

/// Does something to the database, then says what became of the keys with this label: which are found by the user, and what
/// signing says.
fn tampered(change: impl Fn(&Connection)) -> (World, Probe, u64) {
    let world = World::new();
    change(&Connection::open(world.store_file()).unwrap());
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    (world, probe, session)
}

fn found(probe: &Probe, session: u64, class: u64, label: &str) -> usize {
    probe.find(session, &[number(CKA_CLASS, class), bytes(CKA_LABEL, label.as_bytes())]).unwrap().len()
}

/// Classes as the database has them.
const PUBLIC: i64 = CKO_PUBLIC_KEY as i64;
const PRIVATE: i64 = CKO_PRIVATE_KEY as i64;

/// The number of an object, by class and label.
const OBJECT: &str = "(SELECT id FROM objects WHERE class = ?1 AND CAST(label AS TEXT) = ?2)";

#[test]
fn an_altered_row_is_not_served() {
    let stored = |value: bool| vec![1_u8, u8::from(value)];
    let flip = |ty: u64| {
        move |store: &Connection| {
            let sql = format!("UPDATE attributes SET value = ?3 WHERE type = ?4 AND object_id = {OBJECT}");
            let before: Vec<u8> = store
                .query_row(
                    &format!("SELECT value FROM attributes WHERE type = ?3 AND object_id = {OBJECT}"),
                    rusqlite::params![PRIVATE, "rsa", ty as i64],
                    |row| row.get(0),
                )
                .unwrap();
            let after = stored(before == stored(false));
            assert_eq!(store.execute(&sql, rusqlite::params![PRIVATE, "rsa", after, ty as i64]).unwrap(), 1);
        }
    };
    for ty in [CKA_SIGN, CKA_DECRYPT, CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_ALWAYS_AUTHENTICATE, CKA_DESTROYABLE] {
        let (world, probe, session) = tampered(flip(ty));
        assert_eq!(found(&probe, session, CKO_PRIVATE_KEY, "rsa"), 0, "{ty:#x}");
        assert!(world.log().contains("altered"), "{}", world.log());
        // The others are.
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        let run = world.ptool(&["verify", "--label=alpha", "--userpin=user-alpha"]);
        assert!(run.all().contains("altered"), "{run:?}");
        assert!(!run.text().contains("altered: []"), "{run:?}");
    }
    let updates = [
        ("UPDATE objects SET label = CAST('other' AS BLOB) WHERE id = ", "other"),
        ("UPDATE objects SET cka_id = x'99' WHERE id = ", "rsa"),
        ("UPDATE objects SET private = 0 WHERE id = ", "rsa"),
        ("UPDATE objects SET mac = zeroblob(32) WHERE id = ", "rsa"),
        ("UPDATE objects SET mac = NULL WHERE id = ", "rsa"),
        ("UPDATE objects SET uid = randomblob(16) WHERE id = ", "rsa"),
        ("UPDATE objects SET wrapped_auth = randomblob(60) WHERE id = ", "rsa"),
        ("UPDATE objects SET wrapped_auth = NULL WHERE id = ", "rsa"),
        ("UPDATE objects SET tpm_name = randomblob(34) WHERE id = ", "rsa"),
        ("UPDATE objects SET policy = '{}' WHERE id = ", "rsa"),
        ("DELETE FROM attributes WHERE object_id = ", "rsa"),
    ];
    for (sql, label) in updates {
        let (world, probe, session) = tampered(|store| {
            let changed = store.execute(&format!("{sql}{OBJECT}"), rusqlite::params![PRIVATE, "rsa"]).unwrap();
            assert_ne!(changed, 0, "{sql}");
        });
        if found(&probe, session, CKO_PRIVATE_KEY, label) != 0 {
            // It is listed; what it hides does not open.
            let sign = probe.init("C_SignInit", session, CKM_RSA_PKCS, probe.private_key(session, label));
            assert_eq!(sign, Err(Ck(CKR_DEVICE_ERROR)), "{sql}");
            assert!(world.log().contains("altered"), "{sql}: {}", world.log());
        }
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        assert!(world.log().contains("object"), "{sql}: {}", world.log());
    }
}

#[test]
fn an_altered_public_key_is_noticed_at_login() {
    let world = World::new();
    let store = Connection::open(world.store_file()).unwrap();
    let label = |label: &str, new: &str| {
        let sql = format!("UPDATE objects SET label = CAST(?3 AS BLOB) WHERE id = {OBJECT}");
        store.execute(&sql, rusqlite::params![PUBLIC, label, new]).unwrap()
    };
    assert_eq!(label("rsa", "evil"), 1);
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    // Nobody can tell before.
    assert_eq!(found(&probe, session, CKO_PUBLIC_KEY, "evil"), 1);
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    assert_eq!(found(&probe, session, CKO_PUBLIC_KEY, "evil"), 0);
    assert!(world.log().contains("altered"), "{}", world.log());
    // Put right again, it is served again.
    assert_eq!(label("evil", "rsa"), 1);
    assert_eq!(found(&probe, session, CKO_PUBLIC_KEY, "rsa"), 1);
}

#[test]
fn blobs_that_were_swapped_open_nothing() {
    let columns =
        ["tpm_private", "wrapped_auth", "tpm_public", "tpm_name", "tpm_private = b.tpm_private, tpm_public", "mac"];
    for columns in columns {
        let (world, probe, session) = tampered(|store| {
            // Between two keys of one kind, in both directions.
            let (set, value) = match columns.split_once(" = b.tpm_private, ") {
                Some(_) => {
                    ("tpm_private = b.tpm_private, tpm_public = b.tpm_public, tpm_name = b.tpm_name".to_owned(), "")
                }
                None => (format!("{columns} = b.{columns}"), ""),
            };
            let sql = format!(
                "UPDATE objects SET {set}{value} FROM (SELECT * FROM objects) AS b WHERE objects.class = 3 AND b.class = 3 AND \
                 ((CAST(objects.label AS TEXT) = 'rsa' AND CAST(b.label AS TEXT) = 'rsa-b') OR \
                  (CAST(objects.label AS TEXT) = 'rsa-b' AND CAST(b.label AS TEXT) = 'rsa'))"
            );
            assert_eq!(store.execute(&sql, []).unwrap(), 2, "{sql}");
        });
        if found(&probe, session, CKO_PRIVATE_KEY, "rsa") == 1 {
            let key = probe.private_key(session, "rsa");
            let result = probe.sign(session, CKM_SHA256_RSA_PKCS, key, b"message");
            assert!(result.is_err(), "{columns}: a key with another's blobs signs");
        }
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        assert!(world.log().contains("object"), "{columns}: {}", world.log());
    }
}

#[test]
fn pins_that_were_swapped_open_nothing() {
    // The user's seal of another token, whose PIN one knows: its wrapping key opens none of this token's keys.
    let world = World::new();
    let store = Connection::open(world.store_file()).unwrap();
    let token = |label: &str| -> i64 {
        store.query_row("SELECT id FROM tokens WHERE label = ?1", [label], |row| row.get(0)).unwrap()
    };
    let (alpha, beta) = (token("alpha"), token("beta"));
    for column in ["public", "private", "salt", "iterations"] {
        let sql = format!(
            "UPDATE pins SET {column} = (SELECT {column} FROM pins WHERE token_id = ?1 AND role = 'user') WHERE token_id = ?2 AND role = 'user'"
        );
        assert_eq!(store.execute(&sql, [beta, alpha]).unwrap(), 1);
    }
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    assert_eq!(probe.login(session, CKU_USER, "user-beta"), Err(Ck(CKR_DEVICE_ERROR)));
    assert_eq!(probe.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).unwrap(), [0_u64; 0]);
    // Without the PIN, by saying that none is needed.
    let world = World::new();
    let store = Connection::open(world.store_file()).unwrap();
    store.execute("UPDATE tokens SET login_required = 0 WHERE label = 'alpha'", []).unwrap();
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    let keys = probe.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY), number(CKA_KEY_TYPE, CKK_EC)]).unwrap();
    assert_eq!(keys.len(), 3, "they are listed");
    for key in keys {
        assert!(
            probe.sign(session, CKM_ECDSA, key, &[1; 32]).is_err(),
            "a key of a token that has a PIN signs without it"
        );
    }
}

/// A process that is killed while it writes leaves the file half written, and a journal that takes it back. Who has the store open, and
/// only ever reads it, finds both.
#[test]
fn an_interrupted_write_is_taken_back_by_who_was_there_before() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let objects = probe.find(session, &[]).unwrap();
    let journal = world.store().join("tpm2_cryptoki.sqlite3-journal");
    let before = world.store_bytes();
    let (half, taken_back_by) = {
        let mut store = Connection::open(world.store_file()).unwrap();
        // So that it is written before its time.
        store.pragma_update(None, "cache_size", 2).unwrap();
        let change = store.transaction().unwrap();
        assert_ne!(change.execute("UPDATE attributes SET value = zeroblob(3000)", []).unwrap(), 0);
        (world.store_bytes(), std::fs::read(&journal).unwrap())
    };
    assert_eq!(world.store_bytes(), before);
    assert_ne!(half, before);
    std::fs::write(&journal, taken_back_by).unwrap();
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(world.store_file(), half).unwrap();
    assert_eq!(probe.find(session, &[]).unwrap(), objects);
    assert!(!journal.exists());
    assert_eq!(world.store_bytes(), before);
    probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
}

#[test]
fn killed_while_it_makes_keys() {
    let world = World::new().managed();
    let label = |round: usize, number: usize| format!("made-{round}-{number}");
    let mut acknowledged = Vec::new();
    for round in 0..12 {
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        let worker = probe.thread();
        let made = std::thread::spawn(move || {
            for number in 0.. {
                let label = label(round, number);
                let public = [
                    bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der()),
                    flag(CKA_TOKEN, true),
                    bytes(CKA_LABEL, label.as_bytes()),
                ];
                let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, label.as_bytes())];
                if worker.try_generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &private).is_none() {
                    return number;
                }
            }
            unreachable!("until the process is killed")
        });
        std::thread::sleep(Duration::from_millis(60 + 17 * round as u64));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(probe.pid()), nix::sys::signal::Signal::SIGKILL).unwrap();
        let made = made.join().unwrap();
        acknowledged.extend((0..made).map(|number| label(round, number)));
    }
    assert!(acknowledged.len() > 20, "only {} keys", acknowledged.len());
    let store = Connection::open(world.store_file()).unwrap();
    let whole: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    drop(store);
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    for label in &acknowledged {
        probe.public_key(session, label);
        probe.private_key(session, label);
    }
    // Nothing half-made: as many private keys as public ones.
    let count = |class: u64| probe.find(session, &[number(CKA_CLASS, class)]).unwrap().len();
    assert_eq!(count(CKO_PUBLIC_KEY), count(CKO_PRIVATE_KEY));
    let last = probe.private_key(session, acknowledged.last().unwrap());
    probe.sign(session, CKM_ECDSA_SHA256, last, b"message").unwrap();
}

#[test]
fn a_pin_change_that_is_killed_leaves_the_old_pin_or_the_new_one() {
    let world = World::new().managed();
    world.tpm.set_lockout(100, 1000);
    let mut pin = "user-alpha".to_owned();
    for round in 0..10 {
        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        let next = format!("pin-of-round-{round}");
        let (worker, old, new) = (probe.thread(), pin.clone(), next.clone());
        let change = std::thread::spawn(move || worker.try_set_pin(session, &old, &new));
        std::thread::sleep(Duration::from_millis(3 * round));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(probe.pid()), nix::sys::signal::Signal::SIGKILL).unwrap();
        let acknowledged = change.join().unwrap();

        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        let changed = probe.login(session, CKU_USER, &next).is_ok();
        if changed {
            pin = next;
        } else {
            assert_eq!(acknowledged, None, "the change was acknowledged and is lost");
            probe.login(session, CKU_USER, &pin).unwrap();
        }
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        probe.finalize().unwrap();
    }
}

#[test]
fn many_processes_make_keys_at_once() {
    let world = World::new().managed();
    let before = {
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        probe.find(session, &[]).unwrap().len()
    };
    std::thread::scope(|scope| {
        for process in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let probe = world.probe().initialized();
                let session = probe.user_session(&ALPHA);
                for round in 0..5 {
                    let label = format!("process {process} round {round}");
                    let public = [
                        bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der()),
                        flag(CKA_TOKEN, true),
                        bytes(CKA_LABEL, label.as_bytes()),
                    ];
                    let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, label.as_bytes())];
                    let (_, key) = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &private).unwrap();
                    probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
                }
            });
        }
        for number in 0..3 {
            let world = &world;
            scope.spawn(move || {
                let label = format!("--key-label=ptool {number}");
                world.ptool_ok(&["addkey", "--label=alpha", "--userpin=user-alpha", "--algorithm=ecc256", &label]);
            });
        }
    });
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    assert_eq!(probe.find(session, &[]).unwrap().len(), before + 2 * (4 * 5 + 3));
}

/// Whoever can write the store, and knows no PIN, puts a token of his own in the place of another: one whose policy says nothing of a PIN.
/// Every PIN would be taken for right, and what is made with it afterwards be his.
#[test]
fn a_token_that_asks_for_a_pin_has_no_way_in_without_one() {
    use base::Secret;
    use token::manage::{BoundPolicy, UserPin};
    use token::{Config, Library};
    for protection in ["off", "on"] {
        let world = World::new().configured(&format!("bus-protection = \"{protection}\"\n"));
        let config = Config {
            store_dir: world.store(),
            tcti: Some(world.tcti()),
            bus_protection: true,
            idle: Duration::from_secs(1),
            wait: Duration::from_secs(60),
            threads: true,
            empty_slot: true,
            max_sessions: 9,
            session_memory: 64,
            wrong_pins: 0,
            strict_templates: false,
            approvals: Vec::new(),
        };
        let values = tpm::PcrValues::from([(16, vec![0; 32])]);
        let step = tpm::PolicyStep::pcr("sha256:16".parse().unwrap(), &values).unwrap();
        let free = BoundPolicy::new(tpm::Policy::new(vec![step]).unwrap()).unwrap();
        let secret = |text: &str| Secret::copy_from(text.as_bytes());
        let library = Library::open(config).unwrap();
        let pin = secret("nobody knows");
        library.make_bound_token(None, "forged", &secret("so-forged"), &UserPin::Pin(&pin), Some(&free)).unwrap();
        library.close();
        let store = Connection::open(world.store_file()).unwrap();
        let swap = "UPDATE tokens SET label = iif(label = 'alpha', 'old', 'alpha') WHERE label IN ('alpha', 'forged')";
        assert_eq!(store.execute(swap, []), Ok(2));
        drop(store);
        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        assert_eq!(probe.login(session, CKU_USER, ALPHA.user_pin.unwrap()), Err(Ck(CKR_DEVICE_ERROR)), "{protection}");
        assert!(world.log().contains("it asks for no PIN"), "{}", world.log());
        assert_eq!(world.ptool(&["lockout", "status", "--output=text"]).text().matches("failed_tries: 0").count(), 1);
    }
}

/// What decrypts to something else than was sealed is no sign of an altered store.
#[test]
fn a_wrong_answer_of_the_tpm_is_not_an_altered_row() {
    let world = World::new().configured("bus-protection = \"off\"\n");
    let unseal = swtpm_fixtures::command_code("Unseal").unwrap();
    for (user, pin) in [(CKU_USER, ALPHA.user_pin.unwrap()), (CKU_SO, ALPHA.so_pin)] {
        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        world.proxy.interpose(move |command, upstream| {
            let mut response = upstream.transact(command);
            if command[6..10] == unseal.to_be_bytes() && response[6..10] == [0; 4] {
                // After the header, the size of the parameters and that of the data.
                response[16] ^= 1;
            }
            response
        });
        let failed = probe.login(session, user, pin);
        world.proxy.stand_aside();
        assert_eq!(failed, Err(Ck(CKR_DEVICE_ERROR)));
        assert!(world.log().contains("answers wrongly"), "{}", world.log());
        assert!(!world.log().contains("altered"), "{}", world.log());
        probe.login(session, user, pin).unwrap();
        probe.logout(session).unwrap();
    }
}
