//! `C_Initialize` and `C_Finalize`: their arguments, their order, many threads, and forks.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{NO_RIGHTS, in_child, initialized, leave, turn, unshare_pids};
use pkcs11_sys::*;

fn slot_count() -> (CK_RV, CK_ULONG) {
    let mut count = 0;
    (call!(C_GetSlotList(CK_FALSE, null_mut(), &raw mut count)), count)
}

fn initialize(args: &mut CK_C_INITIALIZE_ARGS) -> CK_RV {
    call!(C_Initialize((&raw mut *args).cast()))
}

fn finalize() -> CK_RV {
    call!(C_Finalize(null_mut()))
}

#[test]
fn order_is_kept() {
    let _turn = turn();
    assert_eq!(finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(slot_count().0, CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
    assert_eq!(call!(C_Initialize(null_mut())), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_eq!(slot_count().0, CKR_OK);
    assert_eq!(call!(C_Finalize(without_provenance_mut(8))), CKR_ARGUMENTS_BAD);
    assert_eq!(slot_count().0, CKR_OK);
    assert_eq!(finalize(), CKR_OK);
    assert_eq!(finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(call!(C_Finalize(without_provenance_mut(8))), CKR_CRYPTOKI_NOT_INITIALIZED);
}

#[test]
fn a_thousand_times() {
    let _turn = turn();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = 0;
    for round in 0..1000 {
        assert_eq!(call!(C_Initialize(null_mut())), CKR_OK, "round {round}");
        assert_eq!(slot_count().0, CKR_OK);
        assert_eq!(finalize(), CKR_OK);
        if round == 0 {
            before = descriptors();
        }
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn without_a_store_there_is_one_slot_with_an_uninitialised_token() {
    let _turn = initialized();
    assert_eq!(slot_count(), (CKR_OK, 1));
    let (mut slot, mut count) = (CK_UNAVAILABLE_INFORMATION, 1);
    assert_eq!(call!(C_GetSlotList(CK_TRUE, &raw mut slot, &raw mut count)), CKR_OK);
    assert!(slot < 1 << 31);
    let mut info = CK_TOKEN_INFO::default();
    assert_eq!(call!(C_GetTokenInfo(slot, &raw mut info)), CKR_OK);
    assert_eq!(info.flags & CKF_TOKEN_INITIALIZED, 0);
    assert!(!info.label.contains(&0) && !info.serialNumber.contains(&0));
    let mut info = CK_SLOT_INFO::default();
    assert_eq!(call!(C_GetSlotInfo(slot, &raw mut info)), CKR_OK);
    assert_eq!(info.flags & (CKF_REMOVABLE_DEVICE | CKF_HW_SLOT | CKF_TOKEN_PRESENT), CKF_HW_SLOT | CKF_TOKEN_PRESENT);
    assert!(info.slotDescription.ends_with(b" ") && !info.slotDescription.contains(&0));
    assert_eq!(call!(C_GetSlotInfo(slot + 1, &raw mut info)), CKR_SLOT_ID_INVALID);

    let mut session = 0;
    let open = |flags, session| call!(C_OpenSession(slot, flags, null_mut(), None, session));
    assert_eq!(open(CKF_RW_SESSION, &raw mut session), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    assert_eq!(open(CKF_SERIAL_SESSION, &raw mut session), CKR_TOKEN_NOT_RECOGNIZED);
    assert_eq!(session, 0);
}

#[test]
fn a_list_that_is_too_short_gets_its_length_and_nothing_else() {
    let _turn = initialized();
    let (mut slot, mut count) = (77, 0);
    assert_eq!(call!(C_GetSlotList(CK_FALSE, &raw mut slot, &raw mut count)), CKR_BUFFER_TOO_SMALL);
    assert_eq!((slot, count), (77, 1));
}

#[test]
fn arguments_are_checked() {
    extern "C" fn create(_: CK_VOID_PTR_PTR) -> CK_RV {
        panic!("the module has its own locks")
    }
    extern "C" fn other(_: CK_VOID_PTR) -> CK_RV {
        panic!("the module has its own locks")
    }
    let _turn = turn();
    let all = CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create),
        DestroyMutex: Some(other),
        LockMutex: Some(other),
        UnlockMutex: Some(other),
        flags: 0,
        pReserved: null_mut(),
    };
    for flags in [0, CKF_OS_LOCKING_OK, CKF_LIBRARY_CANT_CREATE_OS_THREADS, !0] {
        assert_eq!(initialize(&mut CK_C_INITIALIZE_ARGS { flags, ..all }), CKR_OK);
        assert_eq!(slot_count().0, CKR_OK);
        assert_eq!(finalize(), CKR_OK);
        assert_eq!(initialize(&mut CK_C_INITIALIZE_ARGS { flags, ..CK_C_INITIALIZE_ARGS::default() }), CKR_OK);
        assert_eq!(finalize(), CKR_OK);
    }
    for incomplete in [
        CK_C_INITIALIZE_ARGS { CreateMutex: None, ..all },
        CK_C_INITIALIZE_ARGS { DestroyMutex: None, ..all },
        CK_C_INITIALIZE_ARGS { LockMutex: None, ..all },
        CK_C_INITIALIZE_ARGS { UnlockMutex: None, ..all },
        CK_C_INITIALIZE_ARGS { pReserved: without_provenance_mut(1), ..all },
    ] {
        assert_eq!(initialize(&mut { incomplete }), CKR_ARGUMENTS_BAD);
        assert_eq!(slot_count().0, CKR_CRYPTOKI_NOT_INITIALIZED);
    }
}

#[test]
fn of_many_threads_one_initialises() {
    let _turn = turn();
    for _ in 0..50 {
        let barrier = Barrier::new(8);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let rv = call!(C_Initialize(null_mut()));
                        // Whoever comes second can use the library at once.
                        (rv, slot_count().0)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let good = results.iter().filter(|(rv, _)| *rv == CKR_OK).count();
        let late = results.iter().filter(|(rv, _)| *rv == CKR_CRYPTOKI_ALREADY_INITIALIZED).count();
        assert_eq!((good, late), (1, 7));
        assert!(results.iter().all(|(_, slots)| *slots == CKR_OK));
        assert_eq!(finalize(), CKR_OK);
    }
}

#[test]
fn finalising_under_load_is_safe() {
    let _turn = turn();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut info = CK_INFO::default();
                while !stop.load(Ordering::Relaxed) {
                    for rv in [
                        slot_count().0,
                        call!(C_GetInfo(&raw mut info)),
                        call!(C_SignUpdate(1, null_mut(), 0)),
                        call!(C_CloseSession(1)),
                    ] {
                        let expected = [CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID];
                        assert!(expected.contains(&rv), "{rv:#x}");
                    }
                }
            });
        }
        for _ in 0..300 {
            assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
            assert_eq!(slot_count().0, CKR_OK);
            assert_eq!(finalize(), CKR_OK);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// What a child must see and be able to do, and its own children again.
fn child_starts_anew(generations: u32) -> bool {
    let mut info = CK_INFO::default();
    call!(C_GetInfo(&raw mut info)) == CKR_CRYPTOKI_NOT_INITIALIZED
        && slot_count().0 == CKR_CRYPTOKI_NOT_INITIALIZED
        && finalize() == CKR_CRYPTOKI_NOT_INITIALIZED
        && call!(C_Initialize(null_mut())) == CKR_OK
        && call!(C_Initialize(null_mut())) == CKR_CRYPTOKI_ALREADY_INITIALIZED
        && slot_count().0 == CKR_OK
        && (generations == 0 || in_child(|| child_starts_anew(generations - 1)) == 0)
        && slot_count().0 == CKR_OK
        && finalize() == CKR_OK
}

#[test]
fn a_child_is_not_initialised_and_can_initialise() {
    let _turn = initialized();
    assert_eq!(in_child(|| child_starts_anew(3)), 0);
    assert_eq!(in_child(|| call!(C_Initialize(null_mut())) == CKR_OK && slot_count().0 == CKR_OK), 0);
    assert_eq!(slot_count().0, CKR_OK);
}

/// The first process of a container has id 1, and so has its child in a namespace of its own.
#[test]
fn a_child_with_the_id_of_its_parent_starts_anew() {
    let _turn = turn();
    let status = in_child(|| {
        if !unshare_pids() {
            leave(NO_RIGHTS);
        }
        in_child(|| {
            std::process::id() == 1
                && call!(C_Initialize(null_mut())) == CKR_OK
                && unshare_pids()
                && in_child(|| std::process::id() == 1 && child_starts_anew(0)) == 0
                && slot_count().0 == CKR_OK
        }) == 0
    });
    if status == NO_RIGHTS && !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this user may not make PID namespaces");
        return;
    }
    assert_eq!(status, 0);
}

#[test]
fn forking_while_threads_are_inside_never_hangs_a_child() {
    let _turn = turn();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if worker == 0 {
                        call!(C_Initialize(null_mut()));
                        finalize();
                    }
                    slot_count();
                }
            });
        }
        for _ in 0..100 {
            // The parent's memory allocator is whole in a child of glibc's fork; everything else must be the module's
            // doing.
            assert_eq!(in_child(|| child_starts_anew(0)), 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
