//! SQLite's descriptors in a process that is not ours.
//!
//! SQLite keeps numbers, and a connection lives as long as the library. A host that closes what it does not know, as daemons do, and
//! opens files of its own gets the same numbers: SQLite would lock these, and in the end close them. It lets the system calls
//! that it makes be replaced (`xSetSystemCall`). The ones here remember what each number led to. The first that is done with a file in
//! any transaction is to lock it, which fails where the number leads elsewhere by now, before anything is read or
//! written; and what is not SQLite's any more is not closed.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;
use std::sync::OnceLock;

use base::descriptors::{Descriptors, Known};
use rusqlite::ffi;

/// More are open only in a program that writes by many threads at once; those are used without a look.
const MOST: usize = 128;

static KNOWN: Descriptors<MOST> = Descriptors::new();
static SYSTEM: OnceLock<Option<System>> = OnceLock::new();

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;
type Control = unsafe extern "C" fn(c_int, c_int, ...) -> c_int;

/// The system's own calls.
#[derive(Debug)]
struct System {
    open: Open,
    close: Close,
    control: Control,
}

/// Sees to it that SQLite looks before it uses or closes a number; before the first connection.
pub(crate) fn guard() {
    let mut fresh = false;
    let system = SYSTEM.get_or_init(|| {
        fresh = true;
        System::own()
    });
    if fresh && system.is_some() {
        set(c"open", open as *const ());
        set(c"close", close as *const ());
        set(c"fcntl", control as *const ());
    }
}

fn vfs() -> Option<(*mut ffi::sqlite3_vfs, ffi::sqlite3_vfs)> {
    // SAFETY: initialises SQLite if nobody has; what it returns lives for ever, and begins as its version says.
    let vfs = unsafe { ffi::sqlite3_vfs_find(null()) };
    // SAFETY: null or valid, and only read.
    unsafe { vfs.as_ref() }.filter(|found| found.iVersion >= 3).map(|found| (vfs, *found))
}

fn set(name: &CStr, call: *const ()) {
    let Some((this, vfs)) = vfs() else { return };
    let Some(set) = vfs.xSetSystemCall else { return };
    // SAFETY: SQLite keeps the address as one of a function, and calls it as one of the kind that `name` says.
    let call = unsafe { std::mem::transmute::<*const (), unsafe extern "C" fn()>(call) };
    // SAFETY: the function of SQLite's own system, which is told itself and a name that ends with NUL.
    unsafe { set(this, name.as_ptr(), Some(call)) };
}

impl System {
    fn own() -> Option<System> {
        let (this, vfs) = vfs()?;
        let get = vfs.xGetSystemCall?;
        // SAFETY: as for `set`.
        let call = |name: &CStr| unsafe { get(this, name.as_ptr()) };
        let (open, close, control) = (call(c"open")?, call(c"close")?, call(c"fcntl")?);
        // SAFETY: SQLite calls these three with these parameters.
        unsafe {
            Some(System {
                open: std::mem::transmute::<unsafe extern "C" fn(), Open>(open),
                close: std::mem::transmute::<unsafe extern "C" fn(), Close>(close),
                control: std::mem::transmute::<unsafe extern "C" fn(), Control>(control),
            })
        }
    }
}

fn system() -> Option<&'static System> {
    SYSTEM.get().and_then(Option::as_ref)
}

/// Whether the number leads to what SQLite opened; what is not known is believed.
fn stands(fd: c_int) -> bool {
    KNOWN.find(fd).is_none_or(|known| known.stands())
}

extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let Some(system) = system() else { return -1 };
    // SAFETY: what SQLite gave.
    let fd = unsafe { (system.open)(path, flags, mode) };
    if fd >= 0 {
        KNOWN.forget(fd);
        Known::of(fd).map(|known| KNOWN.add(known));
    }
    fd
}

extern "C" fn close(fd: c_int) -> c_int {
    let Some(system) = system() else { return -1 };
    let stands = stands(fd);
    KNOWN.forget(fd);
    if !stands {
        return 0;
    }
    // SAFETY: a descriptor that SQLite opened, and gives back.
    unsafe { (system.close)(fd) }
}

/// `fcntl` has a variable number of parameters, which stable Rust cannot define; on the ABIs of Linux one of them that is a number or a pointer is
/// passed as a third parameter is.
extern "C" fn control(fd: c_int, command: c_int, argument: usize) -> c_int {
    let Some(system) = system() else { return -1 };
    let fd = if stands(fd) { fd } else { -1 };
    // SAFETY: what SQLite gave; -1 is answered by EBADF, as any number that leads nowhere.
    unsafe { (system.control)(fd, command, argument) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, RawFd};

    use super::*;
    use crate::{OpenMode, Store};

    /// Alone in its process under nextest: it plays a host that closes numbers it knows nothing of.
    #[test]
    fn files_of_the_host_under_our_numbers_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        drop(Store::create(&file).unwrap());
        let store = Store::open(&file, OpenMode::ReadOnly).unwrap();
        store.data_version().unwrap();
        let ours: Vec<RawFd> = (3..100).filter(|fd| KNOWN.find(*fd).is_some_and(|known| known.stands())).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        let host = tempfile::tempfile().unwrap();
        let system = system().unwrap();
        // SAFETY: the test's own process.
        unsafe { (system.close)(ours[0]) };
        let mine = rustix::io::fcntl_dupfd_cloexec(&host, ours[0]).unwrap();
        assert_eq!(mine.as_raw_fd(), ours[0]);

        assert!(matches!(store.data_version(), Err(crate::Error::Io(_))));
        drop(store);
        assert!(rustix::fs::fstat(&mine).is_ok(), "closed what was the host's");
        let anew = Store::open(&file, OpenMode::ReadWrite).unwrap();
        anew.data_version().unwrap();
        anew.check().unwrap();
    }
}
