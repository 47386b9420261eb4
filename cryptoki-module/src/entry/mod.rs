//! The functions of the interface, in files named after the chapters of PKCS#11 v3.1, section 5.
//!
//! Read a file as the list of what each function asks of the token. Arguments come from [`crate::raw`]; the token
//! checks everything that is not a pointer. Out-parameters are looked at before the token is called, so that a call
//! with a null pointer has no effect.

pub(crate) mod asynchronous;
pub(crate) mod decryption;
pub(crate) mod digest;
pub(crate) mod dual;
pub(crate) mod encryption;
pub(crate) mod general;
pub(crate) mod keys;
pub(crate) mod message;
pub(crate) mod object;
pub(crate) mod parallel;
pub(crate) mod random;
pub(crate) mod session;
pub(crate) mod sign;
pub(crate) mod slot;
pub(crate) mod verify;
