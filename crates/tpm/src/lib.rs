//! TPM 2.0 spoken directly: transport, marshalling, authorisation sessions, and the few verbs a token needs.
//!
//! [`Tpm`] is the whole door. It connects on the first call that needs the TPM, keeps what makes the next call
//! cheap (a session, loaded keys), and gives everything back after a short idle time. Structures are marshalled by
//! hand: the exact bytes of the parameters are needed for cpHash and are encrypted in place, and what comes back
//! is read by a bounds-checked reader, because the answering side may be hostile.
//!
//! Names are those of the TPM 2.0 Library specification, Parts 1 to 3.

mod capabilities;
mod cipher;
mod command;
mod conf;
mod connection;
mod counter;
mod crypto;
mod descriptors;
mod duplicate;
mod ecdh;
mod error;
mod external;
mod hmac;
mod import;
mod keys;
mod pcr;
mod policy;
mod pool;
mod primary;
mod public;
mod random;
mod rc;
mod reaper;
mod recovery;
mod salt;
mod seal;
mod session;
mod sign;
#[cfg(feature = "tcti")]
mod tcti;
mod template;
mod tpm;
mod transport;
mod wire;

pub use capabilities::{Capabilities, Lockout};
pub use cipher::{CipherMode, INPUT_BUFFER};
pub use conf::{ParseTctiError, TctiConf};
pub use counter::{Counter, CounterLimit};
pub use crypto::Direction;
pub use duplicate::{Opened, RecoveryPrivate};
pub use error::{Error, PolicyNotMet, Result};
pub use external::Importable;
pub use import::KeyMaterial;
pub use policy::{
    Approval, AuthorityKey, PcrSelection, PcrState, PcrValues, Policy, PolicyCommand, PolicyStep, PolicyUse,
    approval_message, pcr_policy_digest,
};
pub use primary::{Keeping, Location, Primary, PrimaryRequest};
pub use public::{Attributes, Name, PublicArea, Wrapped};
pub use rc::ResponseCode;
pub use recovery::Occupancy;
pub use seal::{SealRequest, UserPolicy};
pub use sign::{DecryptScheme, Key, SignScheme, Signature};
pub use template::{KeyTemplate, PrimaryTemplate};
pub use tpm::{Options, Tpm};
