//! Fixtures for tests that need a TPM: everything here is made for one test and gone with it.
//!
//! - [`SwTpm`]: one `swtpm` process with its own state directory and its own sockets.
//! - [`Proxy`]: stands in front of a TPM, counts what it is asked, injects [`Fault`]s, and lets a test act as an interposer.
//! - [`ResourceManager`]: what the kernel does behind `/dev/tpmrm0`, for many clients at once.
//! - [`leftovers`]: what a TPM still holds.
//!
//! They can be stacked: `SwTpm <- Proxy <- ResourceManager <- client` counts what the chip is asked when
//! the client sits behind a resource manager.
//!
//! A fixture that cannot be set up panics: no test can say anything without it.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a fixture that fails must fail its test, loudly"
)]

mod chip;
mod commands;
mod fault;
mod interposer;
mod keeper;
mod leftovers;
mod pcr;
mod ports;
mod proxy;
mod resource_manager;
mod server;
mod swtpm;
mod wire;

pub use chip::Chip;
pub use commands::{Command, Commands, NO_RESPONSE, command_code, command_name};
pub use fault::{ANY, Fault};
pub use interposer::{Upstream, raw_command};
pub use leftovers::{Leftovers, leftovers};
pub use pcr::pcr_extend;
pub use proxy::Proxy;
pub use resource_manager::ResourceManager;
pub use swtpm::SwTpm;
pub use wire::RawClient;
