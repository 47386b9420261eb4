//! `libtpm2_cryptoki.so`: the C boundary of the token, and nothing else.
//!
//! A call enters through a function declared in `entry/` (files named after the chapters of PKCS#11 v3.1, section 5),
//! where `raw.rs` makes typed values of its pointers; `boundary.rs` looks after panics, forks, initialisation and the
//! log; the token does the work; `rv.rs` turns the result into a `CK_RV`. No rule of the token stands here.
#![deny(unsafe_code)]

mod attributes;
mod boundary;
#[doc(hidden)]
pub mod docs;
mod entry;
mod global;
mod logging;
mod mechanism;
mod message;
mod pin;
mod published;
mod raw;
mod rv;
mod table;
mod text;
