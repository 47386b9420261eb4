//! What vouches for rows: codes, policies, approvals, the settings and seals of a token's row.
//!
//! It uses words of the TPM and the store alone: neither tokens, sessions nor the library.

pub(crate) mod approvals;
pub(crate) mod codes;
pub mod parent;
pub(crate) mod policy;
pub(crate) mod rows;
pub(crate) mod sealed;
pub(crate) mod tries;
