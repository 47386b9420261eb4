//! The token itself: slots, login, sessions, objects, operations. All rules of PKCS#11 live here, behind safe types;
//! the module and the command line use it alike.
//!
//! Lock order: session table, session, token, TPM. No lock of the library or of the session table is held while a TPM
//! command runs, so a slow signature blocks nobody who wants to search.
#![forbid(unsafe_code)]

pub mod admin;
mod adopted;
mod approvals;
mod arrival;
mod change;
mod config;
mod create;
mod derive;
mod draft;
mod error;
mod hkdf;
pub mod info;
mod keygen;
mod library;
mod login;
mod object;
mod objects;
mod op;
mod parent;
mod pins;
mod policy;
mod profile;
mod protect;
mod public_key;
mod rebuild;
mod secret;
mod separation;
mod session;
mod slot;
mod template;
mod wrap;
mod x509;

pub use config::{Config, STORE_FILE, environment_is_trusted, ids_agree};
pub use error::{Error, Result};
pub use library::Library;
pub use op::{MessageIv, Sealed};
