//! objects

pub(crate) mod arrival;
pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod draft;
pub(crate) mod find;
pub(crate) mod keygen;
pub(crate) mod rebuild;
pub(crate) mod secret;
pub(crate) mod separation;
