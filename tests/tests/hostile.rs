//! Callers that the module should survive: bad pointers and lengths, forks, threads, loading and unloading.

use std::collections::BTreeSet;
use std::time::Duration;

use pkcs11_sys::*;
use tests::call::{FILL, Via};
use tests::probe::{Mechanism, Probe, bytes, flag};
use tests::signatures::{Kind, SIGNATURES, Signature};
use tests::world::{ALPHA, BETA, World};
use tests::{Argument, Ck, Memory, Piece};

/// What a good argument is, and how many words it takes.
fn good(kind: Kind, target: &Target) -> Vec<Argument> {
    match kind {
        Kind::Session => vec![target.session.into()],
        Kind::Slot => vec![target.slot.into()],
        Kind::Object => vec![target.object.into()],
        Kind::SessionFlags => vec![(CKF_SERIAL_SESSION | CKF_RW_SESSION).into()],
        Kind::Number => vec![1.into()],
        Kind::Place => vec![Argument::buffer(512)],
        Kind::Optional => vec![Argument::NULL],
        Kind::Mechanism => vec![Mechanism::plain(CKM_SHA256).argument()],
        Kind::Bytes => vec![Argument::bytes(b"some bytes"), 10.into()],
        Kind::Attributes => vec![tests::probe::attributes(&[bytes(CKA_LABEL, b"label")]), 1.into()],
        Kind::Output => vec![Argument::buffer(1024), Argument::place(1024)],
        Kind::UpTo => vec![Argument::buffer(80), 10.into(), Argument::place(0)],
        Kind::Label => vec![Argument::bytes(&[b' '; 32])],
    }
}

/// Things that a call may be about.
struct Target {
    session: u64,
    slot: u64,
    object: u64,
}

/// Ways to spoil an argument.
fn spoilt(kind: Kind) -> Vec<Vec<Argument>> {
    // No memory is that long, which can be known; one that is merely shorter than it is said to be cannot.
    let lengths = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1];
    let attribute = |pointer: Piece, len: u64| {
        let row = vec![Piece::Word(CKA_LABEL), pointer, Piece::Word(len)];
        vec![Argument::Pointer(Memory::of(row)), 1.into()]
    };
    let mechanism = |pointer: Piece, len: u64| {
        vec![Argument::Pointer(Memory::of(vec![Piece::Word(CKM_RSA_PKCS_PSS), pointer, Piece::Word(len)]))]
    };
    match kind {
        Kind::Session | Kind::Slot | Kind::Object => [0, 77_777, u64::MAX].map(|word| vec![word.into()]).to_vec(),
        Kind::Number => vec![vec![u64::MAX.into()]],
        Kind::SessionFlags => [0, 2, !4, u64::MAX].map(|word| vec![word.into()]).to_vec(),
        Kind::Place | Kind::Label => vec![vec![Argument::NULL]],
        Kind::Optional => vec![],
        Kind::Mechanism => {
            let mut ways = vec![
                vec![Argument::NULL],
                mechanism(Piece::Word(0), 24),
                mechanism(Piece::Pointer(Memory::bytes(b"x")), 1),
            ];
            ways.extend(lengths.map(|len| mechanism(Piece::Pointer(Memory::bytes(&[1; 24])), len)));
            ways.extend(lengths.map(|len| mechanism(Piece::Word(0), len)));
            ways
        }
        Kind::Bytes => {
            let mut ways = vec![vec![Argument::NULL, 1.into()]];
            ways.extend(lengths.map(|len| vec![Argument::NULL, len.into()]));
            ways.extend(lengths.map(|len| vec![Argument::bytes(b"x"), len.into()]));
            ways
        }
        Kind::Attributes => {
            let mut ways = vec![vec![Argument::NULL, 1.into()], attribute(Piece::Word(0), 5)];
            ways.extend(lengths.map(|len| vec![Argument::NULL, len.into()]));
            ways.extend(lengths.map(|len| attribute(Piece::Word(0), len)));
            ways.extend(lengths.map(|len| attribute(Piece::Pointer(Memory::bytes(b"x")), len)));
            ways.extend(lengths.map(|len| vec![tests::probe::attributes(&[bytes(CKA_LABEL, b"x")]), len.into()]));
            ways
        }
        Kind::Output => vec![
            vec![Argument::buffer(16), Argument::NULL],
            vec![Argument::NULL, Argument::NULL],
            vec![Argument::NULL, Argument::place(u64::MAX)],
            vec![Argument::NULL, Argument::place(16)],
            vec![Argument::buffer(0), Argument::place(0)],
            vec![Argument::buffer(1), Argument::place(1)],
        ],
        Kind::UpTo => vec![
            vec![Argument::NULL, 10.into(), Argument::place(0)],
            vec![Argument::buffer(8), 1.into(), Argument::NULL],
            vec![Argument::NULL, u64::MAX.into(), Argument::place(0)],
            vec![Argument::NULL, 0.into(), Argument::place(0)],
        ],
    }
}

/// Calls with each argument spoilt in each way while the others are good.
fn assault(probe: &Probe, signature: &Signature, target: &Target, mut after: impl FnMut(u64, &[Argument])) {
    for (place, kind) in signature.parameters.iter().enumerate() {
        for way in spoilt(*kind) {
            let mut arguments = Vec::new();
            for (index, kind) in signature.parameters.iter().enumerate() {
                arguments.extend(if index == place { way.clone() } else { good(*kind, target) });
            }
            let (rv, left) = probe.call(signature.name, arguments.clone());
            after(rv, &left);
        }
    }
}

/// Functions that would take away what the test works with.
const DESTRUCTIVE: [&str; 5] = ["C_CloseSession", "C_CloseAllSessions", "C_InitToken", "C_Logout", "C_DestroyObject"];

#[test]
fn before_initialisation_everything_says_so() {
    let world = World::new();
    let probe = world.probe();
    let target = Target { session: 1, slot: 1, object: 1 };
    for signature in SIGNATURES {
        let arguments = signature.parameters.iter().flat_map(|kind| good(*kind, &target)).collect();
        let legacy = ["C_GetFunctionStatus", "C_CancelFunction"].contains(&signature.name);
        let (rv, _) = probe.call(signature.name, arguments);
        let unsupported = rv == CKR_FUNCTION_NOT_SUPPORTED || legacy && rv == CKR_FUNCTION_NOT_PARALLEL;
        assert!(rv == CKR_CRYPTOKI_NOT_INITIALIZED || unsupported, "{}: {:?}", signature.name, Ck(rv));
        // Not initialised comes before all that is wrong with arguments.
        assault(&probe, signature, &target, |spoilt, _| assert_eq!(Ck(spoilt), Ck(rv), "{}", signature.name));
    }
    assert_eq!(probe.finalize(), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
    assert_eq!(world.proxy.mark().len(), 0);
}

#[test]
fn every_function_survives_bad_arguments() {
    let world = World::new();
    let probe = world.probe().initialized();
    let slot = probe.slot_of("alpha");
    let session = probe.user_session(&ALPHA);
    let target = Target { session, slot, object: probe.private_key(session, "p256") };
    let objects = probe.find(session, &[]).unwrap().len();
    let mut codes = BTreeSet::new();
    for signature in SIGNATURES {
        if DESTRUCTIVE.contains(&signature.name) {
            continue;
        }
        assault(&probe, signature, &target, |rv, _| {
            codes.insert(rv);
            assert_ne!(Ck(rv), Ck(CKR_GENERAL_ERROR), "{}: a bad argument is no surprise", signature.name);
            assert!(rv < CKR_VENDOR_DEFINED, "{}: {rv:#x}", signature.name);
        });
    }
    assert!(codes.contains(&CKR_ARGUMENTS_BAD) && codes.contains(&CKR_SESSION_HANDLE_INVALID), "{codes:?}");
    // What was asked amiss has left operations behind, and no harm.
    let fresh = probe.open_rw(slot);
    assert_eq!(probe.find(fresh, &[]).unwrap().len(), objects);
    probe.sign(fresh, CKM_ECDSA_SHA256, target.object, b"message").unwrap();
    for signature in SIGNATURES.iter().filter(|signature| DESTRUCTIVE.contains(&signature.name)) {
        assault(&probe, signature, &target, |rv, _| assert!(rv < CKR_VENDOR_DEFINED));
    }
    probe.finalize().unwrap();
    assert!(!world.log().contains("panicked"), "{}", world.log());
}

#[test]
fn unknown_handles_have_their_codes() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let target = Target { session, slot: probe.slot_of("alpha"), object: probe.private_key(session, "p256") };
    for signature in SIGNATURES {
        let kinds = signature.parameters;
        let mut arguments = Vec::new();
        for kind in kinds {
            arguments.extend(match kind {
                Kind::Session | Kind::Slot => vec![Argument::Word(0x7777_7777)],
                other => good(*other, &target),
            });
        }
        let (rv, left) = probe.call(signature.name, arguments);
        let expected = match kinds.first() {
            _ if rv == CKR_FUNCTION_NOT_SUPPORTED || rv == CKR_FUNCTION_NOT_PARALLEL => rv,
            Some(Kind::Session) => CKR_SESSION_HANDLE_INVALID,
            Some(Kind::Slot) => CKR_SLOT_ID_INVALID,
            _ => rv,
        };
        assert_eq!(Ck(rv), Ck(expected), "{}", signature.name);
        if expected == CKR_SESSION_HANDLE_INVALID {
            for argument in left {
                if let Argument::Pointer(memory) = argument
                    && let [Piece::Bytes(bytes)] = memory.pieces.as_slice()
                    && bytes.first() == Some(&FILL)
                {
                    assert!(bytes.iter().all(|byte| *byte == FILL), "{} wrote something", signature.name);
                }
            }
        }
    }
    for (function, rest) in [("C_GetAttributeValue", true), ("C_GetObjectSize", false), ("C_DestroyObject", false)] {
        for handle in [0, 0x7777_7777, u64::MAX] {
            let mut arguments = vec![session.into(), handle.into()];
            arguments.extend(if rest { good(Kind::Attributes, &target) } else { vec![Argument::buffer(8)] });
            let rv = probe.rv(function, arguments);
            assert!(
                [Err(Ck(CKR_OBJECT_HANDLE_INVALID)), Err(Ck(CKR_FUNCTION_NOT_SUPPORTED))].contains(&rv),
                "{function}: {rv:?}"
            );
        }
    }
}

#[test]
fn misaligned_memory_is_memory() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let slot = probe.slot_of("alpha");
    let shifted = |argument: Argument| match argument {
        Argument::Pointer(memory) => Argument::Pointer(shift(memory)),
        word => word,
    };
    for (function, size) in
        [("C_GetSlotInfo", size_of::<CK_SLOT_INFO>()), ("C_GetTokenInfo", size_of::<CK_TOKEN_INFO>())]
    {
        let aligned = probe.call(function, vec![slot.into(), Argument::buffer(size)]);
        let odd = probe.call(function, vec![slot.into(), shifted(Argument::buffer(size))]);
        assert_eq!((aligned.0, aligned.1[1].content()), (odd.0, odd.1[1].content()));
    }
    let key = probe.private_key(session, "rsa");
    let pss = Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32);
    probe.rv("C_SignInit", vec![session.into(), shifted(pss.argument()), key.into()]).unwrap();
    let arguments = vec![
        session.into(),
        shifted(Argument::bytes(b"message")),
        7.into(),
        shifted(Argument::buffer(256)),
        shifted(Argument::place(256)),
    ];
    let (rv, left) = probe.call("C_Sign", arguments);
    assert_eq!((rv, left[4].word()), (CKR_OK, 256));
    probe.verify(session, pss, probe.public_key(session, "rsa"), b"message", left[3].content()).unwrap();
    let template =
        tests::probe::attributes(&[bytes(CKA_LABEL, b"rsa"), tests::probe::number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    probe.rv("C_FindObjectsInit", vec![session.into(), shifted(template), 2.into()]).unwrap();
    let (rv, left) = probe.call(
        "C_FindObjects",
        vec![session.into(), shifted(tests::probe::words_place(3)), 3.into(), shifted(Argument::place(0))],
    );
    assert_eq!((rv, left[3].word(), tests::probe::words_of(&left[1])[0]), (CKR_OK, 1, key));
}

fn shift(memory: Memory) -> Memory {
    let pieces = memory.pieces.into_iter().map(|piece| match piece {
        Piece::Pointer(inner) => Piece::Pointer(shift(inner)),
        other => other,
    });
    Memory { pieces: pieces.collect(), misaligned: true }
}

#[test]
fn the_tables_are_those_of_the_symbols() {
    let world = World::new();
    let probe = world.probe();
    let addresses = probe.addresses();
    let [old, new, newest, symbols] =
        [Via::List240, Via::List300, Via::List320, Via::Symbol].map(|via| &addresses[&via]);
    assert_eq!((old.len(), new.len(), newest.len(), symbols.len()), (68, 92, 104, 104));
    for (name, address) in newest {
        assert!(*address != 0 && symbols[name] == *address, "{name}");
    }
    for (name, address) in old.iter().chain(new) {
        assert_eq!(newest[name], *address, "{name}");
    }
    // A client of each table.
    for via in [Via::List240, Via::List300, Via::List320] {
        let probe = world.probe().through(via).initialized();
        let session = probe.user_session(&ALPHA);
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        probe.finalize().unwrap();
    }
    // Before and after initialisation, and by every request that finds an interface.
    let interface = |name: &[u8], version: Argument, flags: u64| {
        let name = if name.is_empty() { Argument::NULL } else { Argument::bytes(name) };
        probe.call("C_GetInterface", vec![name, version, Argument::place(0), flags.into()])
    };
    for (name, version) in [
        (&b""[..], Argument::NULL),
        (b"PKCS 11\0", Argument::NULL),
        (b"PKCS 11\0", Argument::bytes(&[3, 2])),
        (b"PKCS 11\0", Argument::bytes(&[3, 0])),
        (b"PKCS 11\0", Argument::bytes(&[2, 40])),
    ] {
        let (rv, left) = interface(name, version, 0);
        assert!(rv == CKR_OK && left[2].word() != 0);
    }
    for (name, version) in [(&b"Vendor\0"[..], Argument::NULL), (b"PKCS 11\0", Argument::bytes(&[4, 0]))] {
        assert_eq!(interface(name, version, 0).0, CKR_ARGUMENTS_BAD);
    }
}

#[test]
fn the_module_exports_its_functions_and_nothing_else() {
    let output =
        std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(tests::product::module()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(names.len(), 104, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("C_")), "{names:?}");
}

#[test]
fn loading_and_unloading() {
    let world = World::new();
    let probe = world.probe();
    let mut before = Vec::new();
    for round in 0..50 {
        probe.initialize().unwrap();
        let session = probe.open_ro(probe.slot_of("alpha"));
        if round % 10 == 0 {
            probe.login(session, CKU_USER, "user-alpha").unwrap();
            probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        }
        probe.finalize().unwrap();
        probe.unload();
        probe.load();
        if round == 0 {
            before = probe.inspect().0;
        }
    }
    let (after, _) = probe.inspect();
    assert_eq!(before.len(), after.len(), "descriptors stay open: {before:?} {after:?}");
    // Unloaded while it is in use, as some programs do: loaded again, it works.
    probe.initialize().unwrap();
    probe.user_session(&ALPHA);
    probe.unload();
    std::thread::sleep(Duration::from_millis(1500));
    probe.load();
    let again = probe.initialize();
    assert!([Ok(()), Err(Ck(CKR_CRYPTOKI_ALREADY_INITIALIZED))].contains(&again), "{again:?}");
    let session = probe.open_rw(probe.slot_of("alpha"));
    let _ = probe.login(session, CKU_USER, "user-alpha");
    probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
}

#[test]
fn a_process_may_end_without_a_word() {
    // Nobody but a resource manager can give back what a process held that was killed.
    let world = World::new().managed();
    for _ in 0..5 {
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
        probe.kill();
    }
    world.assert_clean();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
}

#[test]
fn of_eight_threads_one_initialises() {
    let world = World::new();
    let probe = world.probe();
    let threads: Vec<Probe> = (0..8).map(|_| probe.thread()).collect();
    for _ in 0..20 {
        let barrier = std::sync::Barrier::new(threads.len());
        let results: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = threads
                .iter()
                .map(|thread| {
                    scope.spawn(|| {
                        barrier.wait();
                        (thread.initialize(), thread.slots(true).map(|slots| slots.len()))
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|(result, _)| result.is_ok()).count(), 1, "{results:?}");
        let late = Err(Ck(CKR_CRYPTOKI_ALREADY_INITIALIZED));
        assert_eq!(results.iter().filter(|(result, _)| *result == late).count(), 7, "{results:?}");
        assert!(results.iter().all(|(_, slots)| *slots == Ok(4)), "{results:?}");
        probe.finalize().unwrap();
    }
}

#[test]
fn eight_threads_sign_with_several_keys_of_two_tokens() {
    for world in [World::new(), World::new().managed()] {
        storm(&world);
    }
}

fn storm(world: &World) {
    let probe = world.probe().initialized();
    probe.user_session(&ALPHA);
    probe.user_session(&BETA);
    let slots = [probe.slot_of("alpha"), probe.slot_of("beta")];
    let keys: [&[(&str, u64)]; 2] = [
        &[("p256", CKM_ECDSA_SHA256), ("rsa", CKM_SHA256_RSA_PKCS), ("p384", CKM_ECDSA_SHA384)],
        &[("p256-b", CKM_ECDSA_SHA256), ("rsa-b", CKM_SHA512_RSA_PKCS)],
    ];
    let threads: Vec<Probe> = (0..8).map(|_| probe.thread()).collect();
    std::thread::scope(|scope| {
        for (number, thread) in threads.iter().enumerate() {
            scope.spawn(move || {
                let (slot, keys) = (slots[number % 2], keys[number % 2]);
                let session = thread.open_rw(slot);
                for round in 0..25_usize {
                    let (label, mechanism) = keys[(round + number / 2) % keys.len()];
                    let message = format!("thread {number} round {round}");
                    let key = thread.private_key(session, label);
                    let signature = thread.sign(session, mechanism, key, message.as_bytes());
                    let signature = signature.unwrap_or_else(|error| panic!("{message}, {label}: {error}"));
                    let public = thread.public_key(session, label);
                    thread.verify(session, mechanism, public, message.as_bytes(), &signature).unwrap();
                    if round % 10 == 0 {
                        thread.random(session, 100).unwrap();
                    }
                }
                thread.close(session).unwrap();
            });
        }
    });
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn threads_come_and_go_in_the_middle_of_operations() {
    let world = World::new();
    let probe = world.probe().initialized();
    probe.user_session(&ALPHA);
    let slot = probe.slot_of("alpha");
    let shared = probe.open_rw(slot);
    let key = probe.private_key(shared, "p256");
    let threads: Vec<Probe> = (0..6).map(|_| probe.thread()).collect();
    std::thread::scope(|scope| {
        for (number, thread) in threads.iter().enumerate() {
            scope.spawn(move || {
                for _ in 0..30 {
                    // All in one session, which the specification leaves to the program: any code will do, and no harm.
                    match number % 3 {
                        0 => drop(thread.sign(shared, CKM_ECDSA_SHA256, key, b"message")),
                        1 => drop(thread.find(shared, &[])),
                        _ => {
                            let own = thread.open_ro(slot);
                            thread.sign(own, CKM_ECDSA_SHA256, key, b"message").unwrap();
                            thread.close(own).unwrap();
                        }
                    }
                }
            });
        }
    });
    let own = probe.open_ro(slot);
    probe.sign(own, CKM_ECDSA_SHA256, key, b"message").unwrap();
}

#[test]
fn the_tenth_key_signs_on_a_tpm_with_three_slots() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let keys: Vec<u64> = (0..10)
        .map(|_| {
            let public = [bytes(CKA_EC_PARAMS, base::curve::Curve::P256.oid_der())];
            probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, true)]).unwrap().1
        })
        .collect();
    for round in 0..3 {
        for key in &keys {
            let signature = probe.sign(session, CKM_ECDSA_SHA256, *key, b"message");
            signature.unwrap_or_else(|error| panic!("round {round}, key {key}: {error}"));
        }
    }
    probe.finalize().unwrap();
    world.assert_clean();
}

#[test]
fn a_forked_child_starts_anew_while_the_parent_goes_on() {
    for world in [World::new().managed(), World::new()] {
        let parent = world.probe().initialized();
        let session = parent.user_session(&ALPHA);
        let key = parent.private_key(session, "p256");
        parent.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();

        let child = parent.fork();
        assert_eq!(child.slots(true), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
        assert_eq!(child.session_info(session), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
        assert_eq!(child.finalize(), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
        child.initialize().unwrap();
        let own = child.open_rw(child.slot_of("alpha"));
        assert_eq!(child.state(own), CKS_RW_PUBLIC_SESSION, "the parent's login is not the child's");
        child.login(own, CKU_USER, "user-alpha").unwrap();
        assert_eq!(child.private_key(own, "p256"), key);
        std::thread::scope(|scope| {
            for (probe, session) in [(&parent, session), (&child, own)] {
                scope.spawn(move || {
                    for round in 0..20 {
                        let signature = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
                        signature.unwrap_or_else(|error| panic!("round {round} of process {}: {error}", probe.pid()));
                    }
                });
            }
        });
        // A grandchild, and a child whose parent is finalised.
        let grandchild = child.fork();
        assert_eq!(grandchild.slots(true), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
        parent.finalize().unwrap();
        let late = parent.fork();
        assert_eq!(late.slots(true), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
        late.initialize().unwrap();
        child.sign(own, CKM_ECDSA_SHA256, key, b"message").unwrap();
        child.finalize().unwrap();
        drop((child, grandchild, late));
        world.assert_clean();
    }
}

#[test]
fn a_fork_in_the_middle_of_signatures() {
    let world = World::new().managed();
    let parent = world.probe().initialized();
    let session = parent.user_session(&ALPHA);
    let key = parent.private_key(session, "p256");
    let busy: Vec<Probe> = (0..3).map(|_| parent.thread()).collect();
    let slot = parent.slot_of("alpha");
    std::thread::scope(|scope| {
        for thread in &busy {
            scope.spawn(move || {
                let own = thread.open_ro(slot);
                for _ in 0..60 {
                    thread.sign(own, CKM_ECDSA_SHA256, key, b"message").unwrap();
                }
            });
        }
        for _ in 0..6 {
            // Forked while other threads hold whatever locks they hold.
            let child = parent.fork();
            assert_eq!(child.slots(true), Err(Ck(CKR_CRYPTOKI_NOT_INITIALIZED)));
            child.initialize().unwrap();
            let own = child.user_session(&ALPHA);
            child.sign(own, CKM_ECDSA_SHA256, key, b"message").unwrap();
        }
    });
}

#[test]
fn handles_of_the_process_are_not_leaked_to_programs_it_starts() {
    let world = World::new();
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    probe.sign(session, CKM_ECDSA_SHA256, probe.private_key(session, "p256"), b"message").unwrap();
    let mut own = 0;
    let open = std::fs::read_dir(format!("/proc/{}/fdinfo", probe.pid())).unwrap();
    for entry in open {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().to_owned();
        let target = std::fs::read_link(format!("/proc/{}/fd/{number}", probe.pid())).unwrap().display().to_string();
        // The module's own: the store, the log, the way to the TPM.
        if target.contains("world-") || target.starts_with("socket:") {
            let Ok(info) = std::fs::read_to_string(&path) else { continue };
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            let flags = i32::from_str_radix(flags, 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC, 0, "descriptor {number}, {target}");
            own += 1;
        }
    }
    assert!(own >= 3, "store, log and TPM: only {own} were looked at");
}
