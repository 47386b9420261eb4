//! The shared object, loaded and unloaded as clients do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::null_mut;
use std::sync::mpsc;

use common::{Loaded, shared_object, turn};
use pkcs11_sys::*;

#[test]
fn it_can_be_unloaded_and_loaded_again() {
    let _turn = turn();
    for _ in 0..20 {
        let module = Loaded::globally(&shared_object());
        let list = module.list();
        assert_eq!(call_in!(list, C_Initialize(null_mut())), CKR_OK);
        assert_eq!(call_in!(list, C_Finalize(null_mut())), CKR_OK);
        module.close();
    }
}

#[test]
fn a_client_that_forgets_to_finalise_or_unloads_under_a_thread_does_not_crash() {
    let _turn = turn();
    let module = Loaded::globally(&shared_object());
    let list = module.list();
    let (unloaded, wait) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        assert_eq!(call_in!(list, C_Initialize(null_mut())), CKR_OK);
        // This thread has data of the module's, and ends only after the client thinks that the module is gone.
        wait.recv().unwrap();
    });
    module.close();
    unloaded.send(()).unwrap();
    thread.join().unwrap();

    let again = Loaded::globally(&shared_object());
    assert_eq!(call_in!(again.list(), C_Initialize(null_mut())), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_eq!(call_in!(again.list(), C_Finalize(null_mut())), CKR_OK);
}

#[test]
fn another_module_with_the_same_names_is_not_called() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("other.so");
    std::fs::copy(shared_object(), &copy).unwrap();
    let (first, second) = (Loaded::globally(&shared_object()), Loaded::globally(&copy));
    assert_ne!(first.list().C_Initialize.map(|f| f as usize), second.list().C_Initialize.map(|f| f as usize));
    let mut info = CK_INFO::default();
    assert_eq!(call_in!(first.list(), C_Initialize(null_mut())), CKR_OK);
    assert_eq!(call_in!(second.list(), C_GetInfo(&raw mut info)), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(call_in!(first.list(), C_Finalize(null_mut())), CKR_OK);
}
