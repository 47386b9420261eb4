//! OpenSSL 3.5 with pkcs11-provider 1.0, in a Debian trixie tree, with the configuration that users are told to use: every
//! algorithm is asked of the token first (`default_properties = ?provider=pkcs11`), so that whatever OpenSSL does on its way
//! comes to the module as well. What it makes is judged by an OpenSSL that has never heard of the provider.

#[path = "../../clients/guest.rs"]
mod guest;

mod certificates;
mod commands;
mod desk;
mod setting_up;
mod tls;
