//! What every call has in common: no panic leaves it, it does not enter itself, it is logged once.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use log::Level;
use pkcs11_sys::CK_RV;
use token::{Error, Library};

use crate::{global, rv};

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody called `C_Initialize`, or nobody in this process after a fork.
    NotInitialized,
    /// A second `C_Initialize`.
    AlreadyInitialized,
    /// `C_GetFunctionStatus` and `C_CancelFunction`, which are left from version 1.
    NotParallel,
    /// No slot event, now or ever.
    NoEvent,
    /// A call from within a call on the same thread.
    Reentered,
    /// A bug: the code panicked.
    Panicked,
    /// The token said no.
    Token(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInitialized => "C_Initialize was not called in this process",
            Self::AlreadyInitialized => "C_Initialize was called before",
            Self::NotParallel => "there are no parallel functions",
            Self::NoEvent => "slots and tokens do not come and go",
            Self::Reentered => "called from within another call of this module on the same thread",
            Self::Panicked => "internal error; please report it",
            Self::Token(error) => return error.fmt(f),
        })
    }
}

/// Runs the body of a function that needs `C_Initialize`.
pub(crate) fn with_library(name: &'static str, work: impl FnOnce(&Library) -> token::Result<()>) -> CK_RV {
    in_any_state(name, || {
        let library = global::library()?;
        work(&library).map_err(Failure::Token)
    })
}

/// Runs the body of a function that may be called at any time.
pub(crate) fn in_any_state(name: &'static str, work: impl FnOnce() -> Result<(), Failure>) -> CK_RV {
    let started = Instant::now();
    let outcome = match Inside::enter() {
        Some(_inside) => catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
            // Dropping a payload runs foreign code that may panic again.
            std::mem::forget(payload);
            Err(Failure::Panicked)
        }),
        None => Err(Failure::Reentered),
    };
    let rv = rv::of(&outcome);
    // A Display implementation that panics must not leave the boundary either.
    let _ = catch_unwind(AssertUnwindSafe(|| report(name, rv, &outcome, started)));
    rv
}

/// One line a call: what failed and why, or at level debug that it succeeded. Nothing but names, codes and the error's
/// text: arguments can be secret.
fn report(name: &str, rv: CK_RV, outcome: &Result<(), Failure>, started: Instant) {
    let micros = started.elapsed().as_micros();
    match outcome {
        Ok(()) => log::debug!("{name}: CKR_OK ({micros} us)"),
        Err(failure) => log::log!(level(failure), "{name}: {}: {failure} ({micros} us)", rv::name(rv)),
    }
}

/// Answers that are part of an ordinary conversation are not worth a warning.
fn level(failure: &Failure) -> Level {
    match failure {
        Failure::AlreadyInitialized
        | Failure::NotParallel
        | Failure::NoEvent
        | Failure::Token(
            Error::BufferTooSmall { .. }
            | Error::AttributeSensitive
            | Error::AttributeTypeInvalid(_)
            | Error::FunctionNotSupported
            | Error::SavedStateInvalid
            | Error::StateUnsaveable
            | Error::TokenNotRecognized
            | Error::UserAlreadyLoggedIn,
        ) => Level::Info,
        Failure::Panicked
        | Failure::Reentered
        | Failure::Token(
            Error::DeviceRemoved(_)
            | Error::DeviceError(_)
            | Error::HierarchyAuth(_)
            | Error::DeviceMemory(_)
            | Error::WrongTpm(_)
            | Error::Tampered(_)
            | Error::Store(_)
            | Error::General(_),
        ) => Level::Error,
        Failure::NotInitialized | Failure::Token(_) => Level::Warn,
    }
}

thread_local! {
    /// Whether this thread is inside a call. No destructor: usable until the thread is gone.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Held while a thread is inside a call.
///
/// What the token calls may call back: a TCTI library that uses the host's libcrypto, say, whose configured provider is
/// this very module. Such a call would wait for a lock that its own thread holds.
struct Inside;

impl Inside {
    fn enter() -> Option<Self> {
        let was_inside = INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(false);
        (!was_inside).then_some(Self)
    }

    fn here() -> bool {
        INSIDE.try_with(Cell::get).unwrap_or(false)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}

/// Sends the messages of panics in this module to the log instead of the host's stderr.
///
/// A hook belongs to a copy of the standard library. The shared object has its own, so a host written in Rust keeps its
/// hook; where this crate is linked into a program, panics outside of a call go to the hook that was there.
pub(crate) fn quiet_panics() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // Setting a hook from a panicking thread would panic.
    if std::thread::panicking() || DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if Inside::here() || thread.name().is_some_and(|name| name.starts_with("tpm2-cryptoki")) {
            log_panic(info);
        } else {
            previous(info);
        }
    }));
}

/// Where, and not what: the message of a panic may quote the data it failed on.
fn log_panic(info: &PanicHookInfo<'_>) {
    match info.location() {
        Some(location) => log::error!("panic at {}:{}", location.file(), location.line()),
        None => log::error!("panic"),
    }
}

#[cfg(test)]
mod tests {
    use pkcs11_sys::{CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_GENERAL_ERROR, CKR_OK};

    use super::*;

    #[test]
    fn a_panic_becomes_general_error_and_the_next_call_works() {
        quiet_panics();
        assert_eq!(in_any_state("C_Test", || panic!("on purpose")), CKR_GENERAL_ERROR);
        assert_eq!(in_any_state("C_Test", || Ok(())), CKR_OK);
    }

    #[test]
    fn a_panic_whose_payload_panics_when_dropped_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        quiet_panics();
        assert_eq!(in_any_state("C_Test", || std::panic::panic_any(Bomb)), CKR_GENERAL_ERROR);
    }

    #[test]
    fn a_call_from_within_a_call_is_refused() {
        let mut inner = CKR_OK;
        let outer = in_any_state("C_Outer", || {
            inner = in_any_state("C_Inner", || Ok(()));
            Err(Error::ArgumentsBad("outer").into())
        });
        assert_eq!((outer, inner), (CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR));
        assert_eq!(in_any_state("C_After", || Ok(())), CKR_OK);
    }

    #[test]
    fn nothing_runs_before_initialisation() {
        let mut ran = false;
        let rv = with_library("C_Test", |_| {
            ran = true;
            Ok(())
        });
        assert_eq!((rv, ran), (CKR_CRYPTOKI_NOT_INITIALIZED, false));
    }
}
