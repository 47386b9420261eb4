//! Other people's programs, unmodified: each test is a scenario of one of them on a token in a software TPM.

mod bench;
mod openssl;
mod ssh;
mod web;

#[path = "../../clients/guest.rs"]
mod guest;
