//! keys

pub(crate) mod attest;
pub(crate) mod cipher;
pub(crate) mod duplicate;
pub(crate) mod ecdh;
pub(crate) mod endorsement;
pub(crate) mod external;
pub(crate) mod hmac;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod primary;
pub(crate) mod recovery;
pub(crate) mod seal;
pub(crate) mod sign;
pub(crate) mod statement;
