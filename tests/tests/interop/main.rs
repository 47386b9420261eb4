//! Other people's programs, unmodified: each test is a scenario of one of them on a token in a software TPM.

mod bench;
#[cfg(feature = "clients")]
mod costs;
mod gnutls;
mod nss;
mod openssl;
#[cfg(feature = "clients")]
mod others;
mod p11kit;
#[cfg(feature = "clients")]
mod pages;
mod ssh;
mod web;

#[path = "../../clients/guest.rs"]
mod guest;
