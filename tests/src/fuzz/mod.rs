//! Hostile input by the thousand, from a seed: what is found once can be found again.
//!
//! - [`bytes`]: everything that reads what others wrote, fed with bent specimens of it; [`readers`] are what is fed.
//! - [`calls`]: random sequences of calls of the C interface; [`returns`] says which return values they may have.
//! - [`soak`]: many processes and threads on one store, of which some are killed.
//!
//! The program `fuzz` runs them (`make fuzz`, `make soak`). Each works in a process that it starts, so that a crash is seen and
//! not suffered.

mod answers;
mod arguments;
pub mod bytes;
pub mod calls;
mod corpus;
mod der;
mod mutate;
mod peer;
pub mod readers;
pub mod returns;
mod rng;
pub mod soak;

pub use mutate::{Form, mutate};
pub use rng::Rng;

/// What went wrong, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which target, and what it did.
    pub what: String,
    /// What it was fed with, or the calls that were made.
    pub input: Vec<u8>,
}
