//! session

pub(crate) mod authorization;
pub(crate) mod command;
pub(crate) mod crypto;
pub(crate) mod salt;
