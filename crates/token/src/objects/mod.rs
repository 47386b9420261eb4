//! Objects that come, change and go: templates settled, keys made or brought in, rows written, searches.
//!
//! It uses the library, slots, protection and templates. What a key then computes is not known here.

pub(crate) mod arrival;
pub(crate) mod batch;
pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod draft;
pub(crate) mod find;
pub(crate) mod keygen;
pub(crate) mod rebuild;
pub(crate) mod secret;
pub(crate) mod separation;
