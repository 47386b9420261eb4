//! The one thing that lives between calls: the library, from `C_Initialize` to `C_Finalize`, of this process.
//!
//! A forked child inherits the memory of its parent, and with it locks that other threads of the parent may have held,
//! and a connection to the TPM that belongs to the parent. So all state hangs on the process, which is known by its id and
//! by a mark that no fork takes along: a child in a PID namespace of its own may have its parent's id. The first call in a
//! child finds the state of another process, lets go of what the inherited library holds without a word to the TPM, and
//! starts from nothing: "not initialised", as PKCS#11 v3.1, 5.1 wants. Nothing inherited is freed, since the parent may
//! have been in the middle of changing it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use token::Library;

use crate::boundary::Failure;
use crate::published::{ForkMark, Published};

/// The library of this process.
///
/// # Errors
/// `NotInitialized` before `C_Initialize`, after `C_Finalize`, and in a child that did not call `C_Initialize`.
pub(crate) fn library() -> Result<Arc<Library>, Failure> {
    Process::current().library().ok_or(Failure::NotInitialized)
}

/// Opens the library by `open`. Of several threads at once exactly one succeeds; the others wait, so that whoever is
/// told `AlreadyInitialized` can go on at once.
///
/// # Errors
/// `AlreadyInitialized`, or the error of `open`.
pub(crate) fn initialize(open: impl FnOnce() -> token::Result<Library>) -> Result<(), Failure> {
    let process = Process::current();
    let _turn = process.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
    if process.library().is_some() {
        return Err(Failure::AlreadyInitialized);
    }
    let library = Arc::new(open()?);
    *process.library.write().unwrap_or_else(PoisonError::into_inner) = Some(library);
    Ok(())
}

/// Closes the library. Calls of other threads that are inside finish with it; calls from now on find none.
///
/// # Errors
/// `NotInitialized` if there is none.
pub(crate) fn finalize() -> Result<(), Failure> {
    let process = Process::current();
    let _turn = process.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
    let library = process.library.write().unwrap_or_else(PoisonError::into_inner).take();
    library.ok_or(Failure::NotInitialized)?.close();
    Ok(())
}

/// What one process has.
#[derive(Debug)]
struct Process {
    mark: ForkMark,
    /// Held by `C_Initialize` and `C_Finalize` from start to end, and by nothing else.
    lifecycle: Mutex<()>,
    /// Locked for the moment of taking or putting only, never during a call.
    library: RwLock<Option<Arc<Library>>>,
}

static PROCESS: Published<Process> = Published::nothing();

impl Process {
    fn current() -> &'static Self {
        loop {
            let found = PROCESS.load();
            if let Some(process) = found.filter(|process| process.mark.stands()) {
                return process;
            }
            let fresh = Self { mark: ForkMark::set(), lifecycle: Mutex::new(()), library: RwLock::new(None) };
            if let Ok(process) = PROCESS.replace(found, Box::new(fresh)) {
                if let Some(inherited) = found {
                    inherited.abandon();
                }
                return process;
            }
        }
    }

    fn library(&self) -> Option<Arc<Library>> {
        self.library.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of a library that belongs to the parent.
    fn abandon(&self) {
        let library = match self.library.try_read() {
            Ok(guard) => guard.clone(),
            Err(TryLockError::Poisoned(guard)) => guard.into_inner().clone(),
            // The parent was inside C_Initialize or C_Finalize: there is nothing consistent to let go of.
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(library) = library {
            let _ = catch_unwind(AssertUnwindSafe(|| library.abandon()));
            // Its destructors must never run here; the clone in `self` is never dropped either.
            std::mem::forget(library);
        }
    }
}
