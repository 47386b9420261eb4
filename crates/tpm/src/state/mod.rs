//! What the TPM says of itself: capabilities, PCRs, counters, random bytes.
//!
//! It speaks through a connection.

pub(crate) mod capabilities;
pub(crate) mod counter;
pub(crate) mod pcr;
pub(crate) mod random;
