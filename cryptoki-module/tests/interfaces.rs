//! Function lists, interfaces, and what the shared object exports.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::process::Command;
use std::ptr::null_mut;

use common::{describe, functions, initialized, interface_at, list_2_40, list_3_0, list_3_2, shared_object, turn};
use pkcs11_sys::*;

#[test]
fn lists_say_their_version_and_hold_the_same_functions() {
    let _turn = turn();
    let (old, new) = (list_2_40(), list_3_0());
    assert_eq!((old.version.major, old.version.minor), (2, 40));
    assert_eq!((new.version.major, new.version.minor), (3, 0));
    assert_eq!(old.C_Initialize.map(|f| f as usize), new.C_Initialize.map(|f| f as usize));
    assert_eq!(old.C_WaitForSlotEvent.map(|f| f as usize), new.C_WaitForSlotEvent.map(|f| f as usize));
    let newest = list_3_2();
    assert_eq!((newest.version.major, newest.version.minor), (3, 2));
    assert_eq!(newest.C_MessageVerifyFinal.map(|f| f as usize), new.C_MessageVerifyFinal.map(|f| f as usize));
}

#[test]
fn interfaces_are_listed_by_the_length_protocol() {
    let _turn = turn();
    let mut count = 0;
    assert_eq!(call!(C_GetInterfaceList(null_mut(), &raw mut count)), CKR_OK);
    assert_eq!(count, 3);
    let mut interfaces = [CK_INTERFACE::default(); 4];
    count = 2;
    assert_eq!(call!(C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count)), CKR_BUFFER_TOO_SMALL);
    assert_eq!(count, 3);
    count = 4;
    assert_eq!(call!(C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count)), CKR_OK);
    assert_eq!(count, 3);
    let described: Vec<_> = interfaces[..3].iter().map(describe).collect();
    assert_eq!(described, [(3, 2), (3, 0), (2, 40)].map(|version| ("PKCS 11".to_owned(), version)));
    assert!(interfaces[..3].iter().all(|interface| interface.flags == 0));
    assert_eq!(call!(C_GetInterfaceList(null_mut(), null_mut())), CKR_ARGUMENTS_BAD);
}

#[test]
fn interfaces_are_found_by_name_version_and_flags() {
    let _turn = turn();
    let find = |name: Option<&[u8]>, version: Option<(u8, u8)>, flags| {
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let version = version.as_mut().map_or(null_mut(), std::ptr::from_mut);
        let name = name.map_or(null_mut(), |name| name.as_ptr().cast_mut());
        let mut interface = null_mut();
        let rv = call!(C_GetInterface(name, version, &raw mut interface, flags));
        (rv == CKR_OK).then(|| describe(&interface_at(interface)).1).ok_or(rv)
    };
    assert_eq!(find(None, None, 0), Ok((3, 2)));
    assert_eq!(find(Some(b"PKCS 11\0"), None, 0), Ok((3, 2)));
    assert_eq!(find(Some(b"PKCS 11\0"), Some((3, 2)), 0), Ok((3, 2)));
    assert_eq!(find(Some(b"PKCS 11\0"), Some((2, 40)), 0), Ok((2, 40)));
    assert_eq!(find(None, Some((3, 0)), 0), Ok((3, 0)));
    for bad in [
        find(Some(b"PKCS 1\0"), None, 0),
        find(Some(b"PKCS 11 and more than that\0"), None, 0),
        find(Some(b"\0"), None, 0),
        find(None, Some((3, 1)), 0),
        find(None, Some((2, 30)), 0),
        find(None, None, CKF_INTERFACE_FORK_SAFE),
    ] {
        assert_eq!(bad, Err(CKR_ARGUMENTS_BAD));
    }
    assert_eq!(call!(C_GetInterface(null_mut(), null_mut(), null_mut(), 0)), CKR_ARGUMENTS_BAD);
    assert_eq!(call!(C_GetFunctionList(null_mut())), CKR_ARGUMENTS_BAD);
}

#[test]
fn the_library_describes_itself() {
    let _turn = initialized();
    let mut info = CK_INFO::default();
    assert_eq!(call!(C_GetInfo(&raw mut info)), CKR_OK);
    assert_eq!((info.cryptokiVersion.major, info.cryptokiVersion.minor, info.flags), (3, 2, 0));
    for text in [info.manufacturerID, info.libraryDescription] {
        assert!(text.iter().all(|byte| (b' '..0x7f).contains(byte)) && text[0] != b' ', "{text:?}");
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg(shared_object()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_shared_object_exports_the_functions_and_nothing_else() {
    let symbols = run("nm", &["-D", "--defined-only", "--format=posix"]);
    let mut exported: Vec<_> = symbols.lines().filter_map(|line| line.split(' ').next()).collect();
    exported.sort_unstable();
    let _turn = turn();
    let mut expected: Vec<_> = functions().iter().map(|function| function.name).collect();
    expected.sort_unstable();
    assert_eq!(exported, expected);
}

#[test]
fn the_shared_object_stays_mapped_and_uses_its_own_functions() {
    let dynamic = run("readelf", &["-dW"]);
    assert!(dynamic.contains("[libtpm2_cryptoki.so]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    assert!(dynamic.contains("SYMBOLIC"), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
    assert!(!dynamic.contains("libcrypto") && !dynamic.contains("libtss2-esys"), "{dynamic}");
}
