//! Keys and sealed data in the TPM: made, loaded, imported, duplicated, used. One file for each kind of use.
//!
//! It speaks through a connection; what it makes of the TPM's words, the door in `tpm` hands out.

pub(crate) mod attest;
pub(crate) mod cipher;
pub(crate) mod duplicate;
pub(crate) mod ecdh;
pub(crate) mod endorsement;
pub(crate) mod external;
pub(crate) mod hmac;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod modes;
pub(crate) mod primary;
pub(crate) mod recovery;
pub(crate) mod residence;
pub(crate) mod seal;
pub(crate) mod sign;
pub(crate) mod statement;
pub(crate) mod trial;
