//! Failures, in pairs: what happened, then what to do; and the exit status scripts can rely on.

use std::fmt;
use std::process::ExitCode;

use token::Error;

/// The exit statuses, which never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// 1: anything that has no status of its own.
    Failed = 1,
    /// 2: the command line is wrong, or a PIN it needs is nowhere. clap uses the same number.
    Usage = 2,
    /// 3: the PIN is wrong or locked.
    Pin = 3,
    /// 4: the TPM cannot be reached, failed, or is not the one the store belongs to.
    Tpm = 4,
    /// 5: the store is missing, unreadable, damaged or newer than this program.
    Store = 5,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Why the command did not do its work, for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    what: String,
    /// Full sentences; empty when what happened says it all.
    advice: String,
}

impl Failure {
    /// Without advice of its own, what stands behind the first semicolon is the advice: so the token's errors have it, which are
    /// one line in a log.
    pub(crate) fn new(status: Status, what: impl Into<String>, advice: impl Into<String>) -> Failure {
        let (what, advice) = (what.into(), advice.into());
        match what.split_once("; ") {
            Some((first, rest)) if advice.is_empty() => {
                Failure { status, what: first.to_owned(), advice: sentence(rest) }
            }
            _ => Failure { status, what, advice },
        }
    }

    pub(crate) fn usage(what: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure::new(Status::Usage, what, advice)
    }

    pub(crate) fn general(what: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure::new(Status::Failed, what, advice)
    }

    pub(crate) fn output(why: &str) -> Failure {
        Failure::general(
            format!("the result could not be printed: {why}"),
            "The command itself was carried out; do not simply run it again.",
        )
    }

    /// An error of the token in a command that used one PIN, so that a wrong one can be named.
    pub(crate) fn with_pin(error: Error, pin: &str) -> Failure {
        match error {
            Error::PinIncorrect => Failure { what: format!("the {pin} is wrong"), ..Failure::from(error) },
            error => Failure::from(error),
        }
    }

    /// An error of the token in a command that takes the authorization of the owner hierarchy.
    pub(crate) fn with_owner_auth(error: Error) -> Failure {
        match error {
            Error::HierarchyAuth(_) => Failure {
                advice: "--hierarchy-auth gives that of the owner hierarchy.".to_owned(),
                ..Failure::from(error)
            },
            error => Failure::from(error),
        }
    }
}

/// What is wrong with what was asked for, where the TPM had nothing to fail at.
pub(crate) fn of_an_argument(error: &Error) -> Option<&str> {
    match error {
        Error::DeviceError(what) => what.strip_prefix("invalid argument: "),
        _ => None,
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    let end = if text.ends_with(['.', '?', '!']) { None } else { Some('.') };
    first.into_iter().chain(chars).chain(end).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ptool: {}", self.what)?;
        match self.advice.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  {}", self.advice),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        if let Some(what) = of_an_argument(&error) {
            return Failure::general(what, "");
        }
        let what = match error {
            // Arguments and handles are words of the C interface.
            Error::ArgumentsBad(what) => what.to_owned(),
            Error::ObjectHandleInvalid => "there is no such object, or it is not for this user".to_owned(),
            _ => error.to_string(),
        };
        let (status, advice) = advise(&error);
        Failure::new(status, what, advice)
    }
}

/// Exhaustive, so that a new error of the token is given its status and its advice here.
fn advise(error: &Error) -> (Status, &'static str) {
    match error {
        Error::PinIncorrect => {
            (Status::Pin, "Wrong PINs count in the TPM, which refuses all PINs for a time after too many of them.")
        }
        Error::PinLocked => {
            (Status::Pin, "`ptool lockout status` says how long it takes; `ptool lockout reset` ends it.")
        }
        Error::PinHeldBack(_) => (
            Status::Pin,
            "`ptool lockout status` says how many are left, and after how many seconds there is one again.",
        ),
        Error::PinLenRange => (Status::Usage, "Nothing was changed; choose another PIN."),
        Error::PinInvalid(_) => (Status::Usage, ""),
        // What to do is in the text as well: it depends on how the TPM was to be reached.
        Error::DeviceRemoved(_) => (Status::Tpm, "`ptool doctor` says what is in the way."),
        // And on what the TPM lacks.
        Error::DeviceMemory(_) => (Status::Tpm, ""),
        Error::WrongTpm(_) => (
            Status::Tpm,
            "Keys can be used only in the TPM that made them, and not after it was cleared. --path names another store.",
        ),
        Error::HierarchyAuth(_) => (
            Status::Tpm,
            "`ptool init --primary-auth` tells the store what authorization a primary key has now; one that is made again at each use \
             needs an owner hierarchy without.",
        ),
        Error::DeviceError(_) => (Status::Tpm, "If this goes on, restart what provides the TPM, or the machine."),
        Error::Store(_) => (Status::Store, "--path or TPM2_CRYPTOKI_STORE names the directory of another store."),
        Error::Tampered(_) => (
            Status::Store,
            "The store was changed by something else than this software: restore it from a copy, or remove the object.",
        ),
        Error::NotInTpm(_) => {
            (Status::Failed, "Choose another algorithm, size or curve; `ptool doctor` says what this TPM has.")
        }
        Error::TokenWriteProtected => {
            (Status::Store, "Run this as the owner of the store, on a file system that is not mounted read-only.")
        }
        Error::StoreBusy(_) => (Status::Failed, "Nothing was changed; try again."),
        Error::SlotIdInvalid | Error::TokenNotPresent => {
            (Status::Failed, "`ptool listtokens` shows the tokens of the store.")
        }
        Error::ObjectHandleInvalid | Error::KeyHandleInvalid => {
            (Status::Failed, "`ptool listobjects` shows the objects of a token.")
        }
        Error::UserNotLoggedIn => (Status::Failed, "Give the user PIN."),
        Error::ArgumentsBad(_)
        | Error::TokenNotRecognized
        | Error::UserPinNotInitialized
        | Error::SessionHandleInvalid
        | Error::SessionReadOnly
        | Error::SessionParallelNotSupported
        | Error::SessionAsyncNotSupported
        | Error::SessionExists
        | Error::SessionCount
        | Error::SessionReadOnlyExists
        | Error::SessionReadWriteSoExists
        | Error::KeyTypeInconsistent
        | Error::KeyIndigestible
        | Error::KeyNotWrappable
        | Error::KeyUnextractable
        | Error::WrappingKeyHandleInvalid
        | Error::WrappingKeyTypeInconsistent
        | Error::UnwrappingKeyHandleInvalid
        | Error::UnwrappingKeyTypeInconsistent
        | Error::WrappedKeyInvalid
        | Error::WrappedKeyLenRange
        | Error::KeyNotNeeded
        | Error::StateUnsaveable
        | Error::SavedStateInvalid
        | Error::OperationCancelFailed
        | Error::AeadDecryptFailed
        | Error::KeySizeRange
        | Error::MechanismInvalid
        | Error::CurveNotSupported
        | Error::KeyFunctionNotPermitted
        | Error::MechanismParamInvalid(_)
        | Error::OperationActive
        | Error::OperationNotInitialized
        | Error::BufferTooSmall { .. }
        | Error::DataInvalid(_)
        | Error::DataLenRange
        | Error::EncryptedDataInvalid
        | Error::EncryptedDataLenRange
        | Error::SignatureInvalid
        | Error::SignatureLenRange
        | Error::UserAlreadyLoggedIn
        | Error::UserAnotherAlreadyLoggedIn
        | Error::UserTypeInvalid
        | Error::AttributeTypeInvalid(_)
        | Error::AttributeValueInvalid(_)
        | Error::AttributeReadOnly(_)
        | Error::AttributeSensitive
        | Error::ActionProhibited
        | Error::TemplateIncomplete(_)
        | Error::TemplateInconsistent(_)
        | Error::FunctionNotSupported
        | Error::FunctionRejected(_)
        | Error::RandomSeedNotSupported
        | Error::HostMemory
        | Error::SessionObjects
        | Error::Searches
        | Error::General(_) => (Status::Failed, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_what_the_help_says() {
        for (error, status) in [
            (Error::General("x".into()), 1),
            (Error::StoreBusy("x".into()), 1),
            (Error::PinLenRange, 2),
            (Error::PinIncorrect, 3),
            (Error::PinLocked, 3),
            (Error::DeviceRemoved("x".into()), 4),
            (Error::WrongTpm("x".into()), 4),
            (Error::Store("x".into()), 5),
            (Error::Tampered("x".into()), 5),
        ] {
            assert_eq!(Failure::from(error.clone()).status as u8, status, "{error:?}");
        }
    }

    #[test]
    fn a_failure_is_a_pair() {
        let failure = Failure::general("it broke", "Mend it.");
        assert_eq!(failure.to_string(), "ptool: it broke\n  Mend it.");
        assert_eq!(Failure::general("it broke", "").to_string(), "ptool: it broke");
        assert_eq!(Failure::general("it broke; mend it", "").to_string(), "ptool: it broke\n  Mend it.");
        assert_eq!(Failure::general("a; b", "Mend it.").to_string(), "ptool: a; b\n  Mend it.");
    }

    #[test]
    fn the_wrong_pin_is_named() {
        let failure = Failure::with_pin(Error::PinIncorrect, "user PIN");
        assert_eq!(failure.status, Status::Pin);
        assert!(failure.to_string().starts_with("ptool: the user PIN is wrong\n"), "{failure}");
    }
}
