//! How a TPM is to be treated.

use std::time::Duration;

/// How to treat the TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Protect commands from who reads or writes the TPM's bus: sessions, encrypted parameters, verified responses.
    /// Without it passwords and secrets travel in clear, and a few commands are saved.
    pub bus_protection: bool,
    /// After how long unused everything held is given back.
    pub idle: Duration,
    /// Whether a thread may be started, to give back what is idle. If not, `idle` counts for nothing: what is held behind a
    /// resource manager is kept until [`Tpm::release`](crate::Tpm::release), and without one everything is given back, and the connection closed,
    /// after each operation, which must then load its key anew each time.
    pub threads: bool,
    /// How long a command is repeated while other programs hold the places that the TPM has for sessions and objects.
    pub patience: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
    /// How long the making of a key may take.
    pub keygen_deadline: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bus_protection: true,
            idle: Duration::from_secs(1),
            threads: true,
            patience: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
            keygen_deadline: Duration::from_secs(300),
        }
    }
}
