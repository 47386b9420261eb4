//! Commands and the sessions that authorise and protect them: HMACs, parameter encryption, salts.
//!
//! It uses marshalling. How bytes get to the TPM is not known here.

pub(crate) mod authorization;
pub(crate) mod command;
pub(crate) mod crypto;
pub(crate) mod nonces;
pub(crate) mod salt;
