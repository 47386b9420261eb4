//! TPM 2.0 spoken directly: transport, marshalling, authorisation sessions, and the few verbs a token needs.
//!
//! [`Tpm`] is the whole door. It connects on the first call that needs the TPM, keeps what makes the next call
//! cheap (a session, loaded keys), and gives everything back after a short idle time. Structures are marshalled by
//! hand: the exact bytes of the parameters are needed for cpHash and are encrypted in place, and what comes back
//! is read by a bounds-checked reader, because the answering side may be hostile.
//!
//! Names are those of the TPM 2.0 Library specification, Parts 1 to 3.

mod connection;
mod error;
mod keys;
mod policy;
mod session;
mod state;
mod tpm;
mod transport;
mod wire;
mod words;

pub use connection::Options;
pub use connection::primary::{Location, Primary};
pub use error::{Error, PolicyNotMet, Result};
pub use keys::attest::{AttestationTemplate, Attester, MOST_QUALIFYING, NewAttestationKey, Statement};
pub use keys::cipher::{CipherMode, INPUT_BUFFER};
pub use keys::duplicate::{Opened, RecoveryPrivate};
pub use keys::endorsement::{Endorsement, EndorsementCertificates, make_credential};
pub use keys::external::Importable;
pub use keys::import::KeyMaterial;
pub use keys::modes::CipherModes;
pub use keys::primary::{Keeping, PrimaryRequest};
pub use keys::recovery::Occupancy;
pub use keys::seal::{SealRequest, UserPolicy};
pub use keys::sign::{DecryptScheme, Key, SignScheme};
pub use keys::statement::{Attestation, AttestationSignature, Attested};
pub use keys::trial::{RsaWays, SaltLen};
pub use policy::{
    Approval, AuthorityKey, PcrState, Policy, PolicyCommand, PolicyStep, PolicyUse, approval_message, pcr_policy_digest,
};
pub use session::crypto::Direction;
pub use state::capabilities::{Capabilities, Lockout};
pub use state::counter::{Counter, CounterLimit};
pub use tpm::Tpm;
pub use transport::conf::{ParseTctiError, TctiConf, devices_in};
pub use wire::pcr::{PcrSelection, PcrValues};
pub use wire::public::{Attributes, Name, PublicArea, Wrapped};
pub use wire::signature::Signature;
pub use wire::template::{KeyTemplate, PrimaryTemplate};
pub use words::ResponseCode;
