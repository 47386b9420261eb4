//! Tokens in their slots, the sessions on them, what both hold in memory.
//!
//! It uses objects and their protection. A session holds operations, and knows them for that alone.

pub(crate) mod budget;
pub(crate) mod chip;
pub(crate) mod digests;
pub(crate) mod firmware;
pub(crate) mod profile;
pub(crate) mod session;
pub(crate) mod shelf;
pub(crate) mod token;
