//! The module as a C program sees it: the exported functions, called with whatever a test likes.
//!
//! All `unsafe` of the tests is here. The functions are those of this crate, linked into the test.
#![allow(unsafe_code, dead_code, missing_debug_implementations, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pkcs11_sys::*;
use tpm2_cryptoki as _;

pub mod world;

/// Calls a function of the interface.
#[macro_export]
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?)) => {{
        #[allow(unsafe_code, clippy::macro_metavars_in_unsafe)]
        // SAFETY: the test passes what it says it passes.
        let rv = unsafe { pkcs11_sys::$name($($argument),*) };
        rv
    }};
}

/// Tests of one process share the module: each holds this while it uses it, and finds and leaves it not initialised.
pub struct Turn(#[allow(dead_code)] MutexGuard<'static, ()>);

/// Waits for the turn, in an environment with no store, and with a TPM that is not there: nothing may touch a real one.
pub fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let guard = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = DIR.get_or_init(|| tempfile::tempdir().unwrap().keep());
    set_environment(dir, &format!("swtpm:path={}/none", dir.display()));
    Turn(guard)
}

/// Makes the module of this process look into `dir`, and nowhere else.
fn set_environment(dir: &Path, tcti: &str) {
    std::fs::write(dir.join("config.toml"), "").unwrap();
    for (name, value) in [
        ("HOME", dir.to_owned()),
        ("XDG_CONFIG_HOME", dir.join("config")),
        ("XDG_DATA_HOME", dir.join("data")),
        ("TPM2_CRYPTOKI_CONFIG", dir.join("config.toml")),
        ("TPM2_CRYPTOKI_STORE", dir.join("store")),
        ("TPM2_CRYPTOKI_TCTI", tcti.into()),
    ] {
        // SAFETY: whoever has the turn is the only thread of the test that reads the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        call!(C_Finalize(null_mut()));
    }
}

/// The turn, with the module initialised.
pub fn initialized() -> Turn {
    let turn = turn();
    assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
    turn
}

/// Runs `child` in a forked process and returns its exit status; a child that hangs is killed by its alarm clock.
pub fn in_child(child: impl FnOnce() -> bool) -> i32 {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    // SAFETY: the child calls the module, and leaves by _exit: no destructor or exit handler of the parent runs in it.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            nix::unistd::alarm::set(20);
            let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
            leave(i32::from(!good))
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("the child did not exit: {other:?}"),
        },
    }
}

/// What a child that lacks a right for its test ends with.
pub const NO_RIGHTS: i32 = 77;

/// Gives the later children of this (forked) process a PID namespace of their own. Root may do that, others in a
/// namespace of users, where the system lets them.
pub fn unshare_pids() -> bool {
    let users = if nix::unistd::geteuid().is_root() { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: takes numbers only.
    unsafe { libc::unshare(users | libc::CLONE_NEWPID) == 0 }
}

/// Ends a forked child.
pub fn leave(status: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(status) }
}

/// The function lists, as a client gets them.
pub fn list_2_40() -> &'static CK_FUNCTION_LIST {
    let mut list = null_mut();
    assert_eq!(call!(C_GetFunctionList(&raw mut list)), CKR_OK);
    // SAFETY: the module returns a pointer to its static list.
    unsafe { &*list }
}

/// An interface's name, and the version at the start of its list.
pub fn describe(interface: &CK_INTERFACE) -> (String, (u8, u8)) {
    // SAFETY: the module returns pointers to its static name and list; every list starts with its version.
    let (name, version) = unsafe {
        (std::ffi::CStr::from_ptr(interface.pInterfaceName.cast()), &*interface.pFunctionList.cast::<CK_VERSION>())
    };
    (name.to_str().unwrap().to_owned(), (version.major, version.minor))
}

/// What an interface pointer points to.
pub fn interface_at(interface: CK_INTERFACE_PTR) -> CK_INTERFACE {
    assert!(!interface.is_null());
    // SAFETY: from C_GetInterface.
    unsafe { *interface }
}

/// The list of version 3.0.
pub fn list_3_0() -> &'static CK_FUNCTION_LIST_3_0 {
    let mut interface = null_mut();
    let mut version = CK_VERSION { major: 3, minor: 0 };
    assert_eq!(call!(C_GetInterface(null_mut(), &raw mut version, &raw mut interface, 0)), CKR_OK);
    assert_eq!(describe(&interface_at(interface)).1, (3, 0));
    // SAFETY: the interface of this version has this list.
    unsafe { &*interface_at(interface).pFunctionList.cast() }
}

/// The list of version 3.2, as another crate's header has it.
pub fn list_3_2() -> &'static cryptoki_sys::CK_FUNCTION_LIST_3_2 {
    let mut interface = null_mut();
    assert_eq!(call!(C_GetInterface(null_mut(), null_mut(), &raw mut interface, 0)), CKR_OK);
    assert_eq!(describe(&interface_at(interface)).1, (3, 2));
    // SAFETY: the interface of this version has this list.
    unsafe { &*interface_at(interface).pFunctionList.cast() }
}

/// A parameter of a function, for [`Function::call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A handle, id, type or flags.
    Number,
    /// A pointer to a structure or number, or a reserved one.
    Pointer,
    /// A pointer to a NUL-terminated text, or to 32 bytes.
    Text,
    /// A pointer to a mechanism.
    Mechanism,
    /// Input bytes and their length.
    Bytes,
    /// The parameter of a message and its length.
    Parameter,
    /// Attributes and their number.
    Attributes,
    /// An output buffer or list, and a pointer to its length.
    Output,
    /// A list, its room, and a pointer to its length.
    UpTo,
}

/// A function by its address, callable with numbers.
#[derive(Clone, Copy)]
pub struct Function {
    pub name: &'static str,
    pub parameters: &'static [Kind],
    address: *const (),
}

impl Function {
    /// Calls with one number or pointer for each C parameter.
    ///
    /// On the ABIs this is built for, integers and pointers of up to 64 bits travel alike, and a function that takes
    /// fewer does not look at the rest.
    pub fn call(&self, arguments: &[usize]) -> CK_RV {
        type Any = extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;
        let mut all = [0; 10];
        all[..arguments.len()].copy_from_slice(arguments);
        let [a, b, c, d, e, f, g, h, i, j] = all;
        // SAFETY: see above.
        let function: Any = unsafe { std::mem::transmute(self.address) };
        function(a, b, c, d, e, f, g, h, i, j)
    }
}

/// Every function, with its parameters.
pub fn functions() -> Vec<Function> {
    use Kind::{
        Attributes as A, Bytes as B, Mechanism as M, Number as N, Output as O, Parameter as Q, Pointer as P, Text as T,
        UpTo as U,
    };
    macro_rules! functions {
        ($($name:ident($($kind:ident)*))*) => {
            vec![$(Function {
                name: stringify!($name),
                parameters: &[$($kind),*],
                address: list_3_2().$name.unwrap() as *const (),
            }),*]
        };
    }
    functions! {
        C_Initialize(P) C_Finalize(P) C_GetInfo(P) C_GetFunctionList(P)
        C_GetSlotList(N O) C_GetSlotInfo(N P) C_GetTokenInfo(N P) C_GetMechanismList(N O) C_GetMechanismInfo(N N P)
        C_InitToken(N B T) C_InitPIN(N B) C_SetPIN(N B B) C_WaitForSlotEvent(N P P)
        C_OpenSession(N N P P P) C_CloseSession(N) C_CloseAllSessions(N) C_GetSessionInfo(N P) C_GetOperationState(N O)
        C_SetOperationState(N B N N) C_Login(N N B) C_Logout(N) C_LoginUser(N N B B) C_SessionCancel(N N)
        C_CreateObject(N A P) C_CopyObject(N N A P) C_DestroyObject(N N) C_GetObjectSize(N N P)
        C_GetAttributeValue(N N A) C_SetAttributeValue(N N A) C_FindObjectsInit(N A) C_FindObjects(N U)
        C_FindObjectsFinal(N)
        C_EncryptInit(N M N) C_Encrypt(N B O) C_EncryptUpdate(N B O) C_EncryptFinal(N O)
        C_DecryptInit(N M N) C_Decrypt(N B O) C_DecryptUpdate(N B O) C_DecryptFinal(N O)
        C_DigestInit(N M) C_Digest(N B O) C_DigestUpdate(N B) C_DigestKey(N N) C_DigestFinal(N O)
        C_SignInit(N M N) C_Sign(N B O) C_SignUpdate(N B) C_SignFinal(N O) C_SignRecoverInit(N M N) C_SignRecover(N B O)
        C_VerifyInit(N M N) C_Verify(N B B) C_VerifyUpdate(N B) C_VerifyFinal(N B) C_VerifyRecoverInit(N M N)
        C_VerifyRecover(N B O)
        C_DigestEncryptUpdate(N B O) C_DecryptDigestUpdate(N B O) C_SignEncryptUpdate(N B O)
        C_DecryptVerifyUpdate(N B O)
        C_GenerateKey(N M A P) C_GenerateKeyPair(N M A A P P) C_WrapKey(N M N N O) C_UnwrapKey(N M N B A P)
        C_DeriveKey(N M N A P)
        C_SeedRandom(N B) C_GenerateRandom(N B)
        C_GetFunctionStatus(N) C_CancelFunction(N)
        C_GetInterfaceList(O) C_GetInterface(T P P N)
        C_MessageEncryptInit(N M N) C_EncryptMessage(N Q B B O) C_EncryptMessageBegin(N Q B)
        C_EncryptMessageNext(N Q B O N) C_MessageEncryptFinal(N)
        C_MessageDecryptInit(N M N) C_DecryptMessage(N Q B B O) C_DecryptMessageBegin(N Q B)
        C_DecryptMessageNext(N Q B O N) C_MessageDecryptFinal(N)
        C_MessageSignInit(N M N) C_SignMessage(N Q B O) C_SignMessageBegin(N Q) C_SignMessageNext(N Q B O)
        C_MessageSignFinal(N)
        C_MessageVerifyInit(N M N) C_VerifyMessage(N Q B B) C_VerifyMessageBegin(N Q) C_VerifyMessageNext(N Q B B)
        C_MessageVerifyFinal(N)
        C_EncapsulateKey(N M N A O P) C_DecapsulateKey(N M N A B P)
        C_VerifySignatureInit(N M N B) C_VerifySignature(N B) C_VerifySignatureUpdate(N B) C_VerifySignatureFinal(N)
        C_GetSessionValidationFlags(N N P) C_AsyncComplete(N T P) C_AsyncGetID(N T P) C_AsyncJoin(N T N B)
        C_WrapKeyAuthenticated(N M N N B O) C_UnwrapKeyAuthenticated(N M N B A B P)
    }
}

/// A shared object loaded as a client loads one.
pub struct Loaded(*mut libc::c_void);

impl Loaded {
    /// Loads the file; its symbols become visible to whatever is loaded after it.
    pub fn globally(path: &Path) -> Self {
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a shared object of this project.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        assert!(!handle.is_null(), "{path:?}");
        Self(handle)
    }

    /// Its function list of version 3.0, by which functions are called.
    pub fn list(&self) -> &'static CK_FUNCTION_LIST_3_0 {
        // SAFETY: the symbol has the type that the header gives it, and the list lives as long as the code, which stays
        // mapped.
        unsafe {
            let symbol = libc::dlsym(self.0, c"C_GetInterface".as_ptr());
            let find: CK_C_GetInterface = std::mem::transmute(symbol);
            let mut interface = null_mut();
            assert_eq!(find.unwrap()(null_mut(), null_mut(), &raw mut interface, 0), CKR_OK);
            &*(*interface).pFunctionList.cast()
        }
    }

    /// Unloads it, as far as it lets itself be.
    pub fn close(self) {
        // SAFETY: from dlopen, and closed once.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

/// The shared object that was built along with this test, beside it. (The one a directory up is of the last `cargo
/// build`.)
pub fn shared_object() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libtpm2_cryptoki.so")
}

/// Puts a C structure at any address of the test's memory.
pub fn write_at<T: Copy>(at: *mut u8, value: T) {
    // SAFETY: the test has the room there.
    unsafe { at.cast::<T>().write_unaligned(value) };
}

/// Calls a function of a list.
#[macro_export]
macro_rules! call_in {
    ($list:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $list.$name.unwrap();
        #[allow(unsafe_code, clippy::macro_metavars_in_unsafe)]
        // SAFETY: the test passes what it says it passes.
        let rv = unsafe { function($($argument),*) };
        rv
    }};
}
