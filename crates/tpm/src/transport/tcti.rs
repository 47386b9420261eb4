//! Any other way to a TPM, through libtss2-tctildr: the one file of this crate with C in it.
//!
//! The library is loaded when a TCTI string asks for it, and never otherwise: a host that uses a device or `swtpm`
//! has no C library but libc in its process. It stays loaded, as libraries that it loads in turn (GLib, for `tabrmd`)
//! can not be unloaded.
//!
//! What a TCTI does is its own: libtss2 writes warnings to the host's standard error unless the environment variable
//! `TSS2_LOG` forbids it (`TSS2_LOG=all+none`; it is not for a library to set); `cmd` starts a process; some ignore
//! the timeout that they are given (`mssim` and `swtpm` of libtss2 3.2), and where they do not say what to wait for either,
//! a response that never comes is waited for. `device:` and `swtpm:` do not come here: see [`transport`](crate::transport).

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base::descriptors::Known;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use zeroize::{Zeroize, Zeroizing};

use super::exchange::{MAX_RESPONSE, Transport, TransportError, response_size};

/// Opens a connection by a TCTI string of tpm2-tss (`NAME` or `NAME:CONFIGURATION`).
pub(crate) fn open(text: &str) -> Result<Box<dyn Transport>, TransportError> {
    opened(text).map(|tcti| Box::new(tcti) as Box<dyn Transport>)
}

fn opened(text: &str) -> Result<Tcti, TransportError> {
    let unsupported = |why: &str| TransportError::Unsupported(format!("the TCTI {text:?} cannot be used: {why}"));
    let name = CString::new(text).map_err(|_| unsupported("it has a NUL character"))?;
    let loader = Loader::loaded().map_err(unsupported)?;

    let mut context: *mut Context = ptr::null_mut();
    // SAFETY: the function has the signature of tss2_tctildr.h; `name` ends with NUL and outlives the call; `context` is a
    // place for the pointer that the call makes.
    let rc = unsafe { (loader.initialize)(name.as_ptr(), &mut context) };
    let context = match NonNull::new(context) {
        Some(context) if rc == 0 => context,
        _ => return Err(refused(text, rc)),
    };
    // From here on the drop finalizes it.
    let mut tcti = Tcti {
        context,
        loader,
        text: text.to_owned(),
        buffer: Zeroizing::new(vec![0; MAX_RESPONSE]),
        failed: false,
        known: Vec::new(),
    };
    // SAFETY: an initialized context begins with the common part of version 1 (tss2_tcti.h), and is valid until it is
    // finalized.
    let common = unsafe { context.as_ref() };
    if common.version < 1 || common.transmit.is_none() || common.receive.is_none() {
        return Err(unsupported("it is of a version without transmit and receive"));
    }
    tcti.remember();
    Ok(tcti)
}

fn refused(text: &str, rc: u32) -> TransportError {
    let kind = text.split(':').next().unwrap_or_default();
    TransportError::NotThere(format!(
        "libtss2 cannot open the TCTI {text:?} (0x{rc:x}): is what it names running, \
         and is libtss2-tcti-{kind} installed?"
    ))
}

/// `TSS2_TCTI_CONTEXT_COMMON_V1` of tss2_tcti.h: what every TCTI begins with.
#[repr(C)]
struct Context {
    magic: u64,
    version: u32,
    transmit: Option<unsafe extern "C" fn(*mut Context, usize, *const u8) -> u32>,
    receive: Option<unsafe extern "C" fn(*mut Context, *mut usize, *mut u8, i32) -> u32>,
    finalize: Option<unsafe extern "C" fn(*mut Context)>,
    cancel: Option<unsafe extern "C" fn(*mut Context) -> u32>,
    poll_handles: Option<unsafe extern "C" fn(*mut Context, *mut libc::pollfd, *mut usize) -> u32>,
    set_locality: Option<unsafe extern "C" fn(*mut Context, u8) -> u32>,
}

type Initialize = unsafe extern "C" fn(*const c_char, *mut *mut Context) -> u32;
type Finalize = unsafe extern "C" fn(*mut *mut Context);

/// The two functions of libtss2-tctildr.
struct Loader {
    initialize: Initialize,
    finalize: Finalize,
}

impl Loader {
    /// Loads the library the first time. The error says what to do.
    fn loaded() -> Result<&'static Loader, &'static str> {
        static LOADER: OnceLock<Result<Loader, String>> = OnceLock::new();
        LOADER.get_or_init(Loader::load).as_ref().map_err(String::as_str)
    }

    fn load() -> Result<Loader, String> {
        // SAFETY: loads a system library by its name, which runs nothing but its initializers; NOW: a symbol that is
        // missing is found out here and not in the middle of a command; LOCAL: its symbols do not reach the host.
        let library = unsafe { libc::dlopen(c"libtss2-tctildr.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(format!("install libtss2-tctildr0 ({})", last_error()));
        }
        let symbol = |name: &CStr| -> Result<*mut c_void, String> {
            // SAFETY: `library` was loaded above and is never closed; the name ends with NUL.
            let address = unsafe { libc::dlsym(library, name.as_ptr()) };
            if address.is_null() {
                Err(format!("libtss2-tctildr is not whole ({})", last_error()))
            } else {
                Ok(address)
            }
        };
        let initialize = symbol(c"Tss2_TctiLdr_Initialize")?;
        let finalize = symbol(c"Tss2_TctiLdr_Finalize")?;
        // SAFETY: the addresses of the functions that tss2_tctildr.h declares with these signatures, in a library that
        // stays loaded.
        unsafe {
            Ok(Loader {
                initialize: std::mem::transmute::<*mut c_void, Initialize>(initialize),
                finalize: std::mem::transmute::<*mut c_void, Finalize>(finalize),
            })
        }
    }
}

fn last_error() -> String {
    // SAFETY: dlerror has no arguments; what it returns is NULL or a string of this thread, which is copied before this
    // thread calls into the loader again.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { "no reason given".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

/// Codes of the TCTI layer (tss2_common.h) without the layer's number.
const TRY_AGAIN: u32 = 9;
const INSUFFICIENT_BUFFER: u32 = 6;
const MALFORMED_RESPONSE: u32 = 18;

/// No TCTI waits for more.
const MOST_HANDLES: usize = 8;

/// A connection that libtss2 made.
struct Tcti {
    context: NonNull<Context>,
    loader: &'static Loader,
    text: String,
    /// As long as any response may be: `cmd` does not look how much room it has.
    buffer: Zeroizing<Vec<u8>>,
    failed: bool,
    /// The descriptors that the TCTI keeps between two commands, as far as it tells.
    known: Vec<Known>,
}

// SAFETY: a TCTI context is used by one thread at a time (`&mut self`), and has no ties to the thread that made it.
unsafe impl Send for Tcti {}

impl fmt::Debug for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcti").field("text", &self.text).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Drop for Tcti {
    fn drop(&mut self) {
        if !self.is_ours() {
            // It would close numbers that the host uses by now.
            return;
        }
        let mut context = self.context.as_ptr();
        without_sigpipe(|| {
            // SAFETY: the context is the loader's own, and nothing uses it after this.
            unsafe { (self.loader.finalize)(&mut context) };
        });
    }
}

impl Transport for Tcti {
    fn transact(&mut self, command: &[u8], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        if self.failed {
            return Err(TransportError::Lost("the connection was given up after an error".into()));
        }
        let response = if self.is_ours() {
            self.transmit(command).and_then(|()| self.receive(deadline))
        } else {
            Err(TransportError::Lost("the program closed the descriptors of libtss2".into()))
        };
        self.failed = response.is_err();
        if !self.failed {
            self.remember();
        }
        response
    }

    /// Nothing is known of the other side; the host may have closed our end.
    fn has_ended(&self, _patience: Duration) -> bool {
        !self.is_ours()
    }

    fn resource_managed(&self) -> bool {
        self.text.contains("tabrmd") || self.text.contains("tpmrm")
    }

    /// Not known.
    fn exclusive(&self) -> bool {
        false
    }

    /// Some TCTIs have a connection only while a command runs, and a number that is somebody else's between two: a forked
    /// child could close the wrong one.
    fn descriptor(&self) -> Option<Known> {
        None
    }
}

impl Tcti {
    fn common(&self) -> &Context {
        // SAFETY: initialized by the loader and not finalized before the drop; nothing changes it but calls through
        // `&mut self`.
        unsafe { self.context.as_ref() }
    }

    fn transmit(&mut self, command: &[u8]) -> Result<(), TransportError> {
        let Some(transmit) = self.common().transmit else {
            return Err(TransportError::Unsupported("a TCTI without transmit".into()));
        };
        let context = self.context.as_ptr();
        // SAFETY: the context's own function; `command` is valid for its length during the call.
        match without_sigpipe(|| unsafe { transmit(context, command.len(), command.as_ptr()) }) {
            0 => Ok(()),
            rc => Err(self.lost("transmit", rc)),
        }
    }

    fn receive(&mut self, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let Some(receive) = self.common().receive else {
            return Err(TransportError::Unsupported("a TCTI without receive".into()));
        };
        let end = Instant::now().checked_add(deadline);
        let size = loop {
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            if rest.is_some_and(|rest| rest.is_zero()) || !self.wait(rest) {
                return Err(TransportError::TimedOut(deadline));
            }
            let mut size = self.buffer.len();
            // SAFETY: the context's own function; `buffer` is valid for writes of the length that `size` says.
            let rc = unsafe { receive(self.context.as_ptr(), &mut size, self.buffer.as_mut_ptr(), milliseconds(rest)) };
            match rc & 0xffff {
                0 if rc == 0 => break size,
                // Not every TCTI waits before it says this.
                TRY_AGAIN => std::thread::sleep(Duration::from_millis(1)),
                INSUFFICIENT_BUFFER | MALFORMED_RESPONSE => {
                    return Err(TransportError::Malformed("libtss2 found the response malformed"));
                }
                _ => return Err(self.lost("receive", rc)),
            }
        };
        let response = Zeroizing::new(self.buffer.get(..size).unwrap_or_default().to_vec());
        self.buffer.as_mut_slice().zeroize();
        match response_size(&response)? {
            Some(told) if told == size => Ok(response),
            _ => Err(TransportError::Malformed("a response is not as long as its header says")),
        }
    }

    /// Whether what the TCTI keeps open is what it was after the last command.
    fn is_ours(&self) -> bool {
        self.known.iter().all(Known::stands)
    }

    fn remember(&mut self) {
        let mut room = [libc::pollfd { fd: -1, events: 0, revents: 0 }; MOST_HANDLES];
        let handles = self.handles(&mut room).unwrap_or_default();
        self.known = handles.iter().filter_map(|handle| Known::of(handle.fd)).collect();
    }

    /// What the TCTI says can be waited for.
    fn handles<'a>(&self, room: &'a mut [libc::pollfd; MOST_HANDLES]) -> Option<&'a mut [libc::pollfd]> {
        let poll_handles = self.common().poll_handles?;
        let mut count = room.len();
        // SAFETY: the context's own function; `room` is as long as the `count` it is told.
        let rc = unsafe { poll_handles(self.context.as_ptr(), room.as_mut_ptr(), &mut count) };
        room.get_mut(..count).filter(|handles| rc == 0 && !handles.is_empty())
    }

    /// Waits until the connection has something to say, if the TCTI tells what to wait for; false when there is no time
    /// left.
    fn wait(&mut self, rest: Option<Duration>) -> bool {
        let mut room = [libc::pollfd { fd: -1, events: 0, revents: 0 }; MOST_HANDLES];
        let Some(handles) = self.handles(&mut room) else {
            return true;
        };
        for handle in handles.iter_mut() {
            // Some ask for POLLOUT too, which would always be true.
            handle.events = libc::POLLIN;
        }
        let end = rest.and_then(|rest| Instant::now().checked_add(rest));
        loop {
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            // SAFETY: `handles` is a valid array of that many entries; closed descriptors are reported as such.
            let ready = unsafe { libc::poll(handles.as_mut_ptr(), handles.len() as libc::nfds_t, milliseconds(rest)) };
            match ready {
                0 if rest.is_some_and(|rest| rest.is_zero()) => return false,
                0 => {}
                -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
                _ => return true,
            }
        }
    }

    fn lost(&self, doing: &str, rc: u32) -> TransportError {
        TransportError::Lost(format!("libtss2 failed to {doing} by the TCTI {:?} (0x{rc:x})", self.text))
    }
}

/// Runs C that writes to sockets and pipes as if nobody could close them: a SIGPIPE of this thread's own making is
/// taken away before the host can get it.
fn without_sigpipe<T>(call: impl FnOnce() -> T) -> T {
    let mut sigpipe = SigSet::empty();
    sigpipe.add(Signal::SIGPIPE);
    let waiting = sigpipe_is_pending();
    let Ok(before) = sigpipe.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return call();
    };
    let result = call();
    if !waiting && sigpipe_is_pending() {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time are valid for the call, which wants nothing else.
        unsafe { libc::sigtimedwait(sigpipe.as_ref(), ptr::null_mut(), &at_once) };
    }
    let _ = before.thread_set_mask();
    result
}

fn sigpipe_is_pending() -> bool {
    let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigpending` fills the set where it returns 0, and only then the set is read.
    unsafe { libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1 }
}

/// A time as `poll` and `receive` take it: rounded up, -1 for ever.
fn milliseconds(rest: Option<Duration>) -> c_int {
    match rest {
        Some(rest) if rest.is_zero() => 0,
        Some(rest) => c_int::try_from(rest.as_millis().saturating_add(1)).unwrap_or(c_int::MAX),
        None => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swtpm_fixtures::{Fault, Proxy, ResourceManager, SwTpm};

    const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8];
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn swtpm_by_way_of_libtss2() {
        let tpm = SwTpm::start();
        let mut tcti = open(&tpm.tcti()).unwrap();
        for _ in 0..10 {
            let response = tcti.transact(&GET_RANDOM, PATIENCE).unwrap();
            assert_eq!(response.len(), 20);
            assert_eq!(response[6..10], [0; 4]);
        }
        assert!(!tcti.resource_managed() && !tcti.exclusive());
        assert_eq!(tcti.descriptor(), None);
    }

    #[test]
    fn a_command_in_the_place_of_a_tpm() {
        let response = "printf '\\200\\001\\000\\000\\000\\014\\000\\000\\000\\000ab'";
        // One answer, then silence, then the end.
        let mut tcti =
            open(&format!("cmd:head -c 12 >/dev/null; {response}; head -c 12 >/dev/null; exec sleep 2")).unwrap();
        assert_eq!(**tcti.transact(&GET_RANDOM, PATIENCE).unwrap(), *b"\x80\x01\0\0\0\x0c\0\0\0\0ab");
        let patience = Duration::from_millis(50);
        assert_eq!(tcti.transact(&GET_RANDOM, patience), Err(TransportError::TimedOut(patience)));
        assert!(matches!(tcti.transact(&GET_RANDOM, PATIENCE), Err(TransportError::Lost(_))), "given up");
        drop(tcti);

        let mut tcti = open("cmd:head -c 12 >/dev/null").unwrap();
        assert!(tcti.transact(&GET_RANDOM, PATIENCE).is_err(), "a command that ended");
    }

    #[test]
    fn what_the_host_opened_in_the_place_of_libtss2s_is_left_alone() {
        let response = "printf '\\200\\001\\000\\000\\000\\014\\000\\000\\000\\000ab'";
        let once = format!("head -c 12 >/dev/null; {response};");
        let path = std::env::temp_dir().join(format!("tcti-host-{}", std::process::id()));
        let mut tcti = opened(&format!("cmd:{once} {once} exec sleep 5")).unwrap();
        tcti.transact(&GET_RANDOM, PATIENCE).unwrap();
        let known = tcti.known.clone();
        assert!(!known.is_empty() && !tcti.has_ended(Duration::ZERO));
        let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        for known in &known {
            // SAFETY: as a host that closes all numbers and opens its own; the test does not run beside others in its process.
            assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), known.fd()) }, known.fd());
        }
        assert!(tcti.has_ended(Duration::ZERO));
        assert!(matches!(tcti.transact(&GET_RANDOM, PATIENCE), Err(TransportError::Lost(_))));
        drop(tcti);
        assert_eq!(
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap(),
            0,
            "a command in the host's file"
        );
        for known in &known {
            assert!(Known::of(known.fd()).is_some(), "closed what was the host's");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_a_command_garbles_is_refused() {
        for response in ["\\200\\001\\000\\000\\000\\002\\000\\000\\000\\000", "\\200\\001\\000"] {
            let mut tcti = open(&format!("cmd:head -c 12 >/dev/null; printf '{response}'")).unwrap();
            assert!(tcti.transact(&GET_RANDOM, PATIENCE).is_err(), "{response}");
        }
    }

    #[test]
    fn a_connection_that_libtss2_loses() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        proxy.inject(Fault::CutBeforeCommand { code: 0x17b });
        let mut tcti = open(&proxy.tcti()).unwrap();
        assert!(matches!(tcti.transact(&GET_RANDOM, PATIENCE), Err(TransportError::Lost(_))));
    }

    #[test]
    fn strings_that_lead_nowhere_say_so() {
        for text in ["no-such-tcti:x", "swtpm:host=127.0.0.1,port=1", "mssim:host=127.0.0.1,port=1"] {
            let Err(TransportError::NotThere(said)) = open(text).map(|_| ()) else { panic!("{text} opened") };
            assert!(said.contains(text), "{said}");
        }
        assert!(matches!(open("a\0b").map(|_| ()), Err(TransportError::Unsupported(_))));
    }

    #[test]
    fn a_command_that_went_away_raises_no_signal() {
        let mut sigpipe = SigSet::empty();
        sigpipe.add(Signal::SIGPIPE);
        // Blocked, it stays pending even in a process that ignores it, as Rust's test harness does.
        sigpipe.thread_block().unwrap();
        let mut tcti = open("cmd:exec true").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let lost = tcti.transact(&GET_RANDOM, PATIENCE);
        assert!(matches!(lost, Err(TransportError::Lost(_))), "{lost:?}");
        drop(tcti);
        assert!(!sigpipe_is_pending());

        nix::sys::signal::raise(Signal::SIGPIPE).unwrap();
        without_sigpipe(|| ());
        assert!(sigpipe_is_pending(), "what was pending before stays so");
    }

    #[test]
    fn many_connections_at_once() {
        let tpm = SwTpm::start();
        let manager = ResourceManager::start(tpm.port());
        let text = format!("swtpm:host=127.0.0.1,port={}", manager.port());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut tcti = open(&text).unwrap();
                    for _ in 0..10 {
                        assert_eq!(tcti.transact(&GET_RANDOM, PATIENCE).unwrap().len(), 20);
                    }
                });
            }
        });
    }
}
