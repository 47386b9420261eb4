//! What can go wrong, with its data.

use std::fmt;
use std::time::Duration;

use crate::transport::TransportError;
use crate::words::{Name, PcrSelection, ResponseCode, write_list};

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on the TPM failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The TPM cannot be reached; the text says which device or socket, and what to do.
    #[error("the TPM cannot be reached: {0}")]
    NotThere(String),
    /// The connection broke while it was in use, and again after it was made anew.
    #[error("the connection to the TPM was lost: {0}")]
    Lost(String),
    /// No answer came in time.
    #[error("the TPM did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The authorisation value given for the object was wrong. Counts towards lockout unless the object is noDA.
    #[error("the authorisation of the object was refused")]
    AuthFailed,
    /// The TPM's dictionary-attack protection is active (TPM_RC_LOCKOUT).
    #[error("the TPM is in dictionary-attack lockout")]
    Lockout,
    /// The primary at the handle is another one than expected: not this TPM, or it was cleared.
    #[error("this is not the expected storage primary: expected {expected:?}, found {found:?}")]
    WrongPrimary {
        /// The name that was expected.
        expected: Name,
        /// The name that was found; `None` where the TPM gave no readable one.
        found: Option<Name>,
    },
    /// There is no object at the primary's handle: the TPM was cleared, or is another one.
    #[error("there is no storage primary at handle {handle:#010x}")]
    PrimaryMissing {
        /// The persistent handle that is empty.
        handle: u32,
    },
    /// The blob does not belong to this TPM and primary, or was altered (TPM_RC_INTEGRITY).
    #[error("the object does not belong to this TPM, or it was altered")]
    Integrity,
    /// The loaded object's name is not the one that was expected.
    #[error("the name of the loaded object is not the expected one")]
    NameMismatch,
    /// The policy of the object was not satisfied.
    #[error("the policy of the object is not satisfied")]
    PolicyFailed,
    /// The policy of the object demands another state of the machine. Does not count towards lockout.
    #[error("{0}")]
    PolicyNotMet(PolicyNotMet),
    /// The HMAC of a response was wrong: somebody changed it, or the answering side is not the pinned TPM.
    #[error("the response of the TPM is not authentic")]
    ResponseHmac,
    /// The response was not what TPM 2.0 prescribes.
    #[error("the response of the TPM is malformed: {0}")]
    Malformed(&'static str),
    /// The TPM's memory for "objects" or "sessions" is taken by others: programs that run, or that ended without giving back
    /// what they had. Sessions do not show whose they are, so that even our own of an earlier process are left alone.
    #[error(
        "the TPM has no room for {0}: other programs hold them, or left them behind; {remedy}, or restart the machine; \
         the kernel's resource manager (/dev/tpmrm0) keeps programs out of each other's way",
        remedy = remedy(.0)
    )]
    NoRoom(&'static str),
    /// Not possible with this TPM, this build or this key; the text says what.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The arguments make no sense together; nothing was sent to the TPM.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The TPM kept answering that the command must be repeated later.
    #[error("the TPM is busy: retries are exhausted")]
    Busy,
    /// Nobody sent TPM2_Startup since the TPM has its power (TPM_RC_INITIALIZE), and it is not ours to send.
    #[error(
        "the TPM was not started: firmware, or what provides a TPM in software, sends it TPM2_Startup first; `tpm2_startup -c` does so by hand"
    )]
    NotStarted,
    /// Called from inside another call of this crate on the same thread.
    #[error("the TPM layer was re-entered from inside one of its own calls")]
    Reentered,
    /// The authorisation of the owner hierarchy, or of the storage primary itself, was refused.
    #[error("the authorisation of the owner hierarchy or of the storage primary was refused")]
    HierarchyAuth,
    /// The authorisation of the lockout hierarchy was refused. The TPM takes no other try for a time.
    #[error("the lockout authorisation was refused; the TPM takes no other one for some time")]
    LockoutAuth,
    /// There is no counter at the NV index, or not the one that is meant.
    #[error("the TPM does not have the counter")]
    CounterMissing,
    /// The TPM has no room or no permission for a persistent key.
    #[error("the TPM cannot keep the key at a persistent handle: {0}")]
    PersistenceRefused(ResponseCode),
    /// Any other response code.
    #[error("the TPM answered {0}")]
    Response(ResponseCode),
    /// The operating system's random generator failed.
    #[error("the random generator of the operating system failed")]
    Random,
}

/// Which state a policy demands, and how the present one differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyNotMet {
    /// The PCRs that the policy looks at; where there are alternatives, those of the one that is nearest. `None`: nothing is
    /// known to look at, because the authority approved of nothing.
    pub selection: Option<PcrSelection>,
    /// The numbers of those that differ; empty where that is not known.
    pub differing: Vec<u8>,
    /// How many approvals there are, where an authority has to approve; `None` where the values are in the policy.
    pub approvals: Option<usize>,
    /// Whether the present state was approved of, by an approval that a counter has since made void.
    pub revoked: bool,
}

impl fmt::Display for PolicyNotMet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.selection, self.approvals) {
            (Some(selection), _) if self.revoked => {
                write!(f, "the approval of the present state of the PCRs {selection} was revoked")
            }
            (None, _) => write!(
                f,
                "the policy of the object wants a state that its authority approved of, and there is no approval"
            ),
            (Some(selection), Some(count)) => {
                write!(f, "none of {count} approvals is for the present state of the PCRs {selection}")
            }
            (Some(selection), None) => match self.differing.as_slice() {
                [] => write!(f, "the PCRs {selection} do not have the values that the policy of the object wants"),
                differing => {
                    write!(f, "of the PCRs {selection}, ")?;
                    write_list(f, differing.iter().copied())?;
                    write!(f, " differ from what the policy of the object wants")
                }
            },
        }
    }
}

/// What frees the "objects" or "sessions" of programs that are gone.
fn remedy(what: &str) -> &'static str {
    match what {
        // Not the saved ones: those are of programs behind a resource manager, and in use.
        "sessions" => "free them with tpm2_flushcontext --loaded-session",
        _ => "free them with tpm2_flushcontext --transient-object",
    }
}

impl Error {
    /// Whether the TPM refused the scheme of an operation, whatever the key: raw RSA is forbidden on some.
    pub fn refuses_scheme(&self) -> bool {
        matches!(self, Error::Response(code) if code.is_parameter_fault(ResponseCode::SCHEME))
    }

    /// Whether the TPM says that the data of an operation are not what a key and scheme take: a padding that is wrong. Some have but
    /// TPM_RC_FAILURE for it.
    pub fn refuses_data(&self) -> bool {
        let Error::Response(code) = self else { return false };
        let faults = [ResponseCode::VALUE, ResponseCode::SIZE];
        *code == ResponseCode::FAILURE || faults.into_iter().any(|fault| code.is_parameter_fault(fault))
    }

    /// Whether the connection cannot be trusted to be in step any more.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(
            self,
            Error::Lost(_) | Error::TimedOut(_) | Error::Malformed(_) | Error::ResponseHmac | Error::NotThere(_)
        )
    }

    /// Whether it is unknown, after trying to flush something, if that is still there.
    pub(crate) fn leaves_in_doubt(&self) -> bool {
        self.breaks_connection() || *self == Error::Busy
    }

    /// Whether the held handles or the connection are gone, so that doing it all again from the start may succeed.
    pub(crate) fn is_stale(&self) -> bool {
        match self {
            Error::Lost(_) | Error::TimedOut(_) | Error::Malformed(_) => true,
            Error::Response(rc) => rc.is_stale_reference(),
            _ => false,
        }
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Error {
        match error {
            TransportError::NotThere(text) => Error::NotThere(text),
            TransportError::Lost(text) => Error::Lost(text),
            TransportError::TimedOut(after) => Error::TimedOut(after),
            TransportError::Malformed(what) => Error::Malformed(what),
            TransportError::Unsupported(text) => Error::Unsupported(text),
        }
    }
}

impl From<base::random::RandomError> for Error {
    fn from(_: base::random::RandomError) -> Error {
        Error::Random
    }
}
