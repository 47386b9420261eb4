//! Programs that the module knows nothing of: with an allocator of their own, with descriptors and directories that are not theirs, and
//! with templates, labels and numbers of sessions that nobody expects.

use pkcs11_sys::*;
use tests::Argument;
use tests::call::{Memory, Piece, Usurper};
use tests::probe::{Mechanism, Probe, attributes, bytes, fails, flag, number, p256};
use tests::product;
use tests::world::{Run, World, client};

const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

/// A program with jemalloc that loads the module with RTLD_DEEPBIND, as pkcs11-provider and OpenSC's tools do: what the C library
/// allocates there is not what the module may free.
#[test]
fn a_life_beside_another_allocator() {
    if !std::path::Path::new(JEMALLOC).exists() {
        return tests::skip::left_out("libjemalloc2 is not installed; tests/scripts/packages.sh check");
    }
    let world = World::new();
    let link = world.path("link");
    std::os::unix::fs::symlink(world.store(), &link).unwrap();
    let home = world.path("");
    let relative = {
        // Relative to the directory in which the test runs, which is the program's too.
        let here = std::env::current_dir().unwrap();
        let up: String = here.components().skip(1).map(|_| "../").collect();
        format!("{up}{}", world.store().strip_prefix("/").unwrap().display())
    };
    let loader = format!("swtpm:host=localhost,port={}", world.proxy.port());
    let through_the_loader = format!("libtss2-tcti-swtpm.so.0:host=127.0.0.1,port={}", world.proxy.port());
    for (store, tcti) in [
        (relative, world.tcti()),
        (link.display().to_string(), loader),
        (format!("{}/./link/../store", home.display()), through_the_loader),
    ] {
        life_beside_jemalloc(&world, &store, tcti);
    }
    assert!(!world.log().contains("not a TCTI"), "{}", world.log());

    // A resource manager by names that lead to it one after the other.
    let world = World::new().managed();
    let manager = world.tcti().strip_prefix("device:").map(std::path::PathBuf::from).expect("a device");
    std::os::unix::fs::symlink(manager, world.path("first")).unwrap();
    std::os::unix::fs::symlink("./first", world.path("second")).unwrap();
    let store = world.store().display().to_string();
    life_beside_jemalloc(&world, &store, format!("device:{}", world.path("second").display()));
}

/// Every line of the log is written, too.
fn life_beside_jemalloc(world: &World, store: &str, tcti: String) {
    let probe = world
        .probe_with(&[
            ("LD_PRELOAD", JEMALLOC.to_owned()),
            ("P11PROBE_DEEPBIND", "1".to_owned()),
            ("TPM2_CRYPTOKI_STORE", store.to_owned()),
            ("TPM2_CRYPTOKI_TCTI", tcti),
            ("TPM2_CRYPTOKI_LOG", format!("trace:{}", world.path("log").display())),
        ])
        .initialized();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    let (_, private) =
        probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]).unwrap();
    let sign = Mechanism::plain(CKM_ECDSA_SHA256);
    assert_eq!(probe.sign(session, sign.clone(), private, b"data").unwrap().len(), 64, "{store}");
    let child = probe.fork().initialized();
    let own = child.open_ro(child.slot_of("alpha"));
    child.login(own, CKU_USER, "user-alpha").unwrap();
    assert_eq!(child.sign(own, sign, private, b"data").unwrap().len(), 64, "{store}");
    child.rv("C_Finalize", vec![Argument::NULL]).unwrap();
    probe.rv("C_Finalize", vec![Argument::NULL]).unwrap();
    probe.unload();
    let log = world.log();
    for pid in [probe.pid(), child.pid()] {
        assert!(log.contains(&format!("[{pid}]: ")), "{store}: nothing in the log");
    }
}

/// A template that is handed in again as the first call left it: each attribute is answered by itself (5.7.5).
#[test]
fn a_template_is_handed_in_again() {
    let (_world, probe) = client();
    let session = probe.open_ro(probe.slot_of("alpha"));
    let key = probe.find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]).unwrap()[0];
    let room = |len: usize| Piece::Pointer(Memory::of(vec![Piece::Bytes(vec![0xee; len])]));
    let template = vec![
        Piece::Word(CKA_CLASS),
        room(8),
        Piece::Word(8),
        // Unknown to a public key, and said to be so by the call before.
        Piece::Word(CKA_PRIME_1),
        room(8),
        Piece::Word(CK_UNAVAILABLE_INFORMATION),
        // There, in a place whose length nobody knows any more.
        Piece::Word(CKA_ID),
        room(8),
        Piece::Word(CK_UNAVAILABLE_INFORMATION),
        Piece::Word(CKA_TOKEN),
        room(1),
        Piece::Word(1),
    ];
    let arguments =
        vec![Argument::Word(session), Argument::Word(key), Argument::Pointer(Memory::of(template)), Argument::Word(4)];
    let (rv, after) = probe.call("C_GetAttributeValue", arguments);
    // Of several reasons the gravest is told.
    assert_eq!(rv, CKR_ATTRIBUTE_TYPE_INVALID);
    let Argument::Pointer(template) = &after[2] else { panic!("{after:?}") };
    let word = |index: usize| match &template.pieces[index] {
        Piece::Word(word) => *word,
        other => panic!("{other:?}"),
    };
    let value = |index: usize| match &template.pieces[index] {
        Piece::Pointer(memory) => match &memory.pieces[0] {
            Piece::Bytes(bytes) => bytes.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!([2, 5, 8, 11].map(word), [8, CK_UNAVAILABLE_INFORMATION, CK_UNAVAILABLE_INFORMATION, 1]);
    assert_eq!((value(1), value(10)), (CKO_PUBLIC_KEY.to_ne_bytes().to_vec(), vec![1]));
    assert_eq!((value(4), value(7)), (vec![0xee; 8], vec![0xee; 8]), "written into unknown room");
}

/// A daemon that root started, that has root's home in its environment and another user's rights.
#[test]
fn directories_of_somebody_else_stop_nobody() {
    if !is_root() {
        return tests::skip::left_out("only root can become another user");
    }
    let world = World::new();
    let home = world.path("home");
    for directory in [".config/tpm2-cryptoki", ".local/share/tpm2-cryptoki"] {
        std::fs::create_dir_all(home.join(directory)).unwrap();
    }
    std::fs::write(home.join(".config/tpm2-cryptoki/config.toml"), "idle-ms = 1000\n").unwrap();
    let lines = |setup: &str| {
        let module = product::module();
        let mut command = world.command("bash");
        command.env("HOME", &home).env_remove("TPM2_CRYPTOKI_CONFIG").env("TPM2_CRYPTOKI_LOG", "warn:stderr");
        command.args([
            "-ec",
            &format!(
                "{setup}
                 setpriv --reuid=65534 --regid=65534 --clear-groups pkcs11-tool --module '{}' --list-slots",
                module.display()
            ),
        ]);
        Run::of(&mut command)
    };
    let closed = "chmod 755 . && chmod 700 home";
    let unreadable =
        "chmod 755 . home home/.config home/.config/tpm2-cryptoki && chmod 600 home/.config/tpm2-cryptoki/config.toml";
    for setup in [closed, unreadable] {
        for store in ["unset TPM2_CRYPTOKI_STORE", "export TPM2_CRYPTOKI_STORE=$PWD/none"] {
            let run = lines(&format!("{setup}; {store}"));
            assert!(run.success() && run.text().contains("Slot 0"), "{setup}; {store}: {run:?}");
            let warned = run.stderr.lines().filter(|line| line.contains("passed over")).count();
            assert_eq!(warned, 1, "{setup}: {run:?}");
        }
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// As many sessions as the configuration says, and the token says so; those that are open go on.
#[test]
fn sessions_have_an_end() {
    let world = World::new().configured("max-sessions = 20\n");
    let probe = world.probe().initialized();
    let (alpha, beta) = (probe.slot_of("alpha"), probe.slot_of("beta"));
    let sessions: Vec<u64> = (0..20).map(|_| probe.open_ro(alpha)).collect();
    for flags in [CKF_SERIAL_SESSION, CKF_SERIAL_SESSION | CKF_RW_SESSION] {
        fails(probe.open(alpha, flags), CKR_SESSION_COUNT);
    }
    probe.open_ro(beta);
    probe.login(sessions[0], CKU_USER, "user-alpha").unwrap();
    for session in &sessions {
        assert_eq!(probe.session_info(*session).unwrap().1, CKS_RO_USER_FUNCTIONS);
    }
    probe.close(sessions[3]).unwrap();
    probe.open_ro(alpha);
    fails(probe.open(alpha, CKF_SERIAL_SESSION), CKR_SESSION_COUNT);
}

/// What stands behind the end of a label is no part of it, and blanks are padding.
#[test]
fn labels_are_what_clients_see() {
    let (world, probe) = client();
    let slots = probe.slots(false).unwrap();
    let empty = *slots.last().unwrap();
    let init = |slot: u64, label: &[u8; 32]| {
        probe.rv(
            "C_InitToken",
            vec![
                Argument::Word(slot),
                Argument::Pointer(Memory::of(vec![Piece::Bytes(b"officer-pin".to_vec())])),
                Argument::Word(11),
                Argument::Pointer(Memory::of(vec![Piece::Bytes(label.to_vec())])),
            ],
        )
    };
    let mut label = [0; 32];
    label[..6].copy_from_slice(b"libp11");
    init(empty, &label).unwrap();
    assert_eq!(probe.token_info(probe.slot_of("libp11")).unwrap().label, "libp11");
    let mut after = [b'x'; 32];
    after[..7].copy_from_slice(b"second\0");
    init(*probe.slots(false).unwrap().last().unwrap(), &after).unwrap();
    probe.slot_of("second");
    let taken = world.ptool(&["addtoken", "--label=libp11  ", "--sopin=officer", "--userpin=user1"]);
    assert!(!taken.success() && taken.stderr.contains("another token has this label"), "{taken:?}");
    world.ptool_ok(&["addtoken", "--label=blank ", "--sopin=officer", "--userpin=user1"]);
    world.ptool_ok(&["addkey", "--label=blank", "--userpin=user1", "--algorithm=ecc256"]);
    let uri = world.ptool_ok(&["config", "--label=blank", "--snippet=openssl-provider"]).text();
    assert!(uri.contains("token=blank;"), "{uri}");
}

/// What the TPM does not take is no failure of the device.
#[test]
fn exponents_that_the_tpm_does_not_take() {
    let (_world, probe) = client();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    for exponent in [&[3][..], &[17], &[0, 0, 0, 5], &[]] {
        let public = [number(CKA_MODULUS_BITS, 2048), bytes(CKA_PUBLIC_EXPONENT, exponent)];
        let made = probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &[]);
        fails(made, CKR_ATTRIBUTE_VALUE_INVALID);
    }
}

#[test]
fn a_digest_takes_a_key_only_once_it_is_there() {
    let (_world, probe) = client();
    let session = probe.open_ro(probe.slot_of("alpha"));
    let key = probe.find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]).unwrap()[0];
    let digest_key = || probe.rv("C_DigestKey", vec![Argument::Word(session), Argument::Word(key)]);
    fails(digest_key(), CKR_OPERATION_NOT_INITIALIZED);
    probe.rv("C_DigestInit", vec![Argument::Word(session), Mechanism::plain(CKM_SHA256).argument()]).unwrap();
    fails(digest_key(), CKR_KEY_INDIGESTIBLE);
}

/// Programs that ask for less protection than the TPM gives get what it gives; a setting refuses them.
#[test]
fn a_key_in_the_tpm_is_sensitive_whatever_was_asked_for() {
    for (setting, refused) in [("", false), ("strict-templates = \"on\"\n", true)] {
        let world = World::new().configured(setting);
        let probe = world.probe().initialized();
        let session = probe.open_rw(probe.slot_of("alpha"));
        probe.login(session, CKU_USER, "user-alpha").unwrap();
        let open = [flag(CKA_TOKEN, true), flag(CKA_SENSITIVE, false)];
        let made = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &open);
        if refused {
            fails(made, CKR_TEMPLATE_INCONSISTENT);
        } else {
            let key = made.unwrap().1;
            for ty in [CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                assert_eq!(probe.attribute(session, key, ty).unwrap(), [1], "{ty:#x}");
            }
            // Not restricted, and the attribute is there.
            assert_eq!(probe.attribute(session, key, CKA_ALLOWED_MECHANISMS).unwrap(), [0; 0]);
        }
        let shown = [flag(CKA_TOKEN, true), flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
        fails(probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &shown), CKR_TEMPLATE_INCONSISTENT);
    }
}

/// A slot without mechanisms is an error to pkcs11-provider; the TPM behind the empty slot is that of the others.
#[test]
fn the_slot_without_a_token_has_mechanisms() {
    let (_world, probe) = client();
    let empty = *probe.slots(false).unwrap().last().unwrap();
    let mechanisms = probe.mechanisms(empty).unwrap();
    assert!(mechanisms.contains(&CKM_ECDSA), "{mechanisms:x?}");
    assert_eq!(mechanisms, probe.mechanisms(probe.slot_of("alpha")).unwrap());
}

/// A program that closes what it knows nothing of, as daemons do, and opens its own under the same numbers: what is under them is not
/// used, not shut down and not closed, and everything works, in a child and in the same process.
#[test]
fn descriptors_of_the_host_are_left_alone() {
    for by in [Usurper::Files, Usurper::Listeners, Usurper::Sockets] {
        for in_child in [true, false] {
            let case = format!("{by:?}, in a child: {in_child}");
            let world = World::new();
            // The child wants the TPM while its parent has it.
            let world = if in_child { world.managed() } else { world };
            let world = world.configured("idle-ms = 60000\n");
            let sign = Mechanism::plain(CKM_ECDSA_SHA256);
            let at_work = |probe: &Probe| {
                let session = probe.open_rw(probe.slot_of("alpha"));
                probe.login(session, CKU_USER, "user-alpha").unwrap();
                let key = probe
                    .find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY), number(CKA_KEY_TYPE, CKK_EC)])
                    .unwrap()[0];
                assert_eq!(probe.sign(session, sign.clone(), key, b"data").unwrap().len(), 64, "{case}");
                (session, key)
            };
            let parent = world.probe().initialized();
            let (mut session, mut key) = at_work(&parent);
            let host = if in_child { parent.fork() } else { parent.thread() };
            let numbers = host.usurp(by);
            assert!(numbers.iter().any(|name| name.contains("socket:")), "{case}: {numbers:?}");
            assert!(numbers.iter().any(|name| name.contains("store")), "{case}: {numbers:?}");
            if in_child {
                host.rv("C_Initialize", vec![Argument::NULL]).unwrap();
                (session, key) = at_work(&host);
            }
            let before = host.find(session, &[]).unwrap().len();
            let made = host.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]);
            assert_eq!(host.find(session, &[]).unwrap().len(), before + 2, "{case}: {made:?}");
            for key in [key, made.unwrap().1] {
                assert_eq!(host.sign(session, sign.clone(), key, b"data").unwrap().len(), 64, "{case}");
            }
            host.rv("C_Finalize", vec![Argument::NULL]).unwrap();
            assert_eq!(host.damage(), [""; 0], "{case}");
            if in_child {
                // What the child did is nothing to its parent.
                let (session, key) = (parent.open_ro(parent.slot_of("alpha")), key);
                assert_eq!(parent.sign(session, sign.clone(), key, b"data").unwrap().len(), 64, "{case}");
            }
        }
    }
}

/// What a handle of a private object meant ends with the login, also when another comes (5.6.8). Public objects keep theirs.
#[test]
fn handles_of_private_objects_end_with_the_login() {
    let (_world, probe) = client();
    let session = probe.open_rw(probe.slot_of("alpha"));
    let user = || probe.login(session, CKU_USER, "user-alpha").unwrap();
    let one = |class: u64, token: bool| {
        let found =
            probe.find(session, &[number(CKA_CLASS, class), number(CKA_KEY_TYPE, CKK_EC), flag(CKA_TOKEN, token)]);
        found.unwrap()[0]
    };
    let sign = |key: u64| probe.sign(session, Mechanism::plain(CKM_ECDSA_SHA256), key, b"data");
    user();
    let public = one(CKO_PUBLIC_KEY, true);
    probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(false), &[flag(CKA_TOKEN, false)]).unwrap();
    let made = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]).unwrap();
    let mut old = vec![one(CKO_PRIVATE_KEY, true), one(CKO_PRIVATE_KEY, false), made.1];
    for _ in 0..3 {
        probe.logout(session).unwrap();
        fails(probe.attribute(session, old[0], CKA_CLASS), CKR_OBJECT_HANDLE_INVALID);
        user();
        for key in &old {
            fails(sign(*key), CKR_KEY_HANDLE_INVALID);
            fails(probe.attribute(session, *key, CKA_CLASS), CKR_OBJECT_HANDLE_INVALID);
            fails(probe.destroy(session, *key), CKR_OBJECT_HANDLE_INVALID);
        }
        for kept in [public, made.0] {
            assert_eq!(probe.attribute(session, kept, CKA_CLASS).unwrap(), CKO_PUBLIC_KEY.to_ne_bytes());
        }
        assert_eq!(one(CKO_PUBLIC_KEY, true), public);
        let new = one(CKO_PRIVATE_KEY, true);
        assert_eq!(sign(new).unwrap().len(), 64);
        // All that a handle is good for.
        let label = [bytes(CKA_LABEL, b"renamed")];
        let change = vec![Argument::Word(session), Argument::Word(new), attributes(&label), Argument::Word(1)];
        probe.rv("C_SetAttributeValue", change).unwrap();
        assert_eq!(probe.find(session, &label).unwrap(), [new]);
        let fresh = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]).unwrap();
        assert_eq!(sign(fresh.1).unwrap().len(), 64);
        probe.destroy(session, fresh.1).unwrap();
        fails(sign(fresh.1), CKR_KEY_HANDLE_INVALID);
        old.push(new);
    }
    // A login ends with the last session, too.
    let last = one(CKO_PRIVATE_KEY, true);
    probe.close(session).unwrap();
    let session = probe.open_rw(probe.slot_of("alpha"));
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    fails(probe.attribute(session, last, CKA_CLASS), CKR_OBJECT_HANDLE_INVALID);
}

/// What a program makes and never ends costs a bounded amount of memory, and what is there goes on.
#[test]
fn what_sessions_hold_has_an_end() {
    let world = World::new().configured("session-memory-mib = 1\n");
    let probe = world.probe().initialized();
    let slot = probe.slot_of("alpha");
    let session = probe.open_ro(slot);
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    let long = vec![b'x'; 100 << 10];
    let create = || {
        let template = [number(CKA_CLASS, CKO_DATA), flag(CKA_TOKEN, false), bytes(CKA_VALUE, &long)];
        let arguments = vec![session.into(), attributes(&template), 3.into(), Argument::place(0)];
        let (rv, values) = probe.call("C_CreateObject", arguments);
        if rv == CKR_OK { Ok(values[3].word()) } else { Err(tests::Ck(rv)) }
    };
    let made: Vec<u64> = (0..10).map(|_| create().unwrap()).collect();
    fails(create(), CKR_DEVICE_MEMORY);
    assert_eq!(probe.attribute(session, made[9], CKA_CLASS).unwrap(), CKO_DATA.to_ne_bytes());
    probe.destroy(session, made[0]).unwrap();
    create().unwrap();
    fails(create(), CKR_DEVICE_MEMORY);

    // A search keeps what is asked for and what is found.
    let others: Vec<u64> = (0..12).map(|_| probe.open_ro(slot)).collect();
    let ask = |session: u64| probe.find_init(session, &[bytes(CKA_LABEL, &long)]);
    for session in &others[..10] {
        ask(*session).unwrap();
    }
    fails(ask(others[10]), CKR_HOST_MEMORY);
    fails(probe.find_next(others[10], 1), CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(probe.find_next(others[0], 5).unwrap(), [0; 0]);
    probe.find_final(others[0]).unwrap();
    ask(others[10]).unwrap();
    fails(ask(others[11]), CKR_HOST_MEMORY);
    for closed in [session, others[1]] {
        probe.close(closed).unwrap();
    }
    ask(others[11]).unwrap();
    let session = probe.open_ro(slot);
    assert_eq!(probe.find(session, &[number(CKA_CLASS, CKO_DATA)]).unwrap(), [0; 0]);
}

/// What docs/CONFIGURATION.md says that a thread must have for a call. Without optimisation it is most.
const MOST_STACK: usize = 64 << 10;

/// Threads of other programs have small stacks.
#[test]
fn calls_need_little_of_the_stack() {
    let (_world, probe) = client();
    let session = probe.open_rw(probe.slot_of("alpha"));
    let pin = b"user-alpha";
    let mut deepest = std::collections::BTreeMap::new();
    let mut measure = |name: &'static str, function: &str, arguments: Vec<Argument>| {
        let (rv, stack, _) = probe.measure(function, arguments);
        assert_eq!(rv, CKR_OK, "{name}");
        deepest.insert(name, stack);
    };
    measure("login", "C_Login", vec![session.into(), CKU_USER.into(), Argument::bytes(pin), (pin.len() as u64).into()]);
    for (name, label, mechanism) in [
        ("RSA-PSS", "rsa", Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32)),
        ("RSA", "rsa", Mechanism::plain(CKM_SHA256_RSA_PKCS)),
        ("ECDSA", "p256", Mechanism::plain(CKM_ECDSA_SHA256)),
    ] {
        let key = probe.private_key(session, label);
        measure("init", "C_SignInit", vec![session.into(), mechanism.argument(), key.into()]);
        let data =
            vec![session.into(), Argument::bytes(b"data"), 4.into(), Argument::buffer(512), Argument::place(512)];
        measure(name, "C_Sign", data);
    }
    let (public, private) = (p256(true), [flag(CKA_TOKEN, true)]);
    measure(
        "key pair",
        "C_GenerateKeyPair",
        vec![
            session.into(),
            Mechanism::plain(CKM_EC_KEY_PAIR_GEN).argument(),
            attributes(&public),
            (public.len() as u64).into(),
            attributes(&private),
            (private.len() as u64).into(),
            Argument::place(0),
            Argument::place(0),
        ],
    );
    measure("search", "C_FindObjectsInit", vec![session.into(), Argument::NULL, 0.into()]);
    measure("end", "C_Finalize", vec![Argument::NULL]);
    measure("start", "C_Initialize", vec![Argument::NULL]);
    let (call, most) = deepest.iter().max_by_key(|(_, stack)| **stack).unwrap();
    assert!(*most <= MOST_STACK, "{call} takes {most} bytes of stack: {deepest:#?}");
}
