//! slots

pub(crate) mod profile;
pub(crate) mod session;
pub(crate) mod shelf;
pub(crate) mod token;
