//! The token itself: slots, login, sessions, objects, operations. All rules of PKCS#11 live here, behind safe types;
//! the module and the command line use it alike.
//!
//! Lock order: session table, session, token, TPM. No lock of the library or of the session table is held while a TPM
//! command runs, so a slow signature blocks nobody who wants to search.
#![forbid(unsafe_code)]

mod config;
mod error;
pub mod info;
mod library;
mod login;
pub mod manage;
mod object;
mod objects;
mod op;
mod protect;
mod public_key;
mod slots;
mod template;

pub use config::{Config, STORE_FILE, environment_is_trusted, ids_agree};
pub use error::{Error, Result};
pub use library::Library;
pub use op::{MessageIv, Sealed};
