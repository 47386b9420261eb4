//! Keys and certificates as files have them: PEM and DER in their many wrappings, OpenSSH, PKCS #12, and the TPM 2.0 Key Files
//! that other software for TPMs writes.
//!
//! Everything works on bytes; nothing here reads a file, asks for a passphrase or knows a token. What comes in is not trusted: no
//! input makes it panic, allocate without bound, or compute for longer than an honest file could ask for.
#![forbid(unsafe_code)]

mod ber;
mod certificate;
mod content;
mod der;
mod error;
mod names;
mod openssh;
mod pbe;
mod pbkdf2;
pub mod pem;
mod pkcs12;
mod pkcs7;
mod private;
mod public;
mod read;
mod secret;
mod text;
pub mod tss2;

pub use certificate::Certificate;
pub use error::{Error, Result};
pub use names::Restriction;
pub use public::PublicKey;
pub use read::{Key, KeyFile, read, read_certificates, read_public};
pub use secret::read_secret;
