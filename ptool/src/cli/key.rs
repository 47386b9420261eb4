//! Options of the verbs that make keys.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::parse_id;
use super::{Binding, KeyId, SoPin, TokenLabel, UnusedAuth, UserPin};

/// `addkey`
#[derive(Debug, Args)]
pub(crate) struct AddKey {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// The kind of key
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    pub(crate) algorithm: KeyAlgorithm,

    /// CKA_LABEL of the new objects; with --count its numbers follow: LABEL-1, LABEL-2 [default: none]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the new objects: text, or hex:... for bytes [default: derived from the public key; random for a secret key]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<KeyId>,

    /// Make so many keys with one login, and print a list of them
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "id")]
    pub(crate) count: Option<u32>,

    /// Keep a copy of the key in the TPM, at a persistent handle, as `persist` does; --hierarchy-auth is the owner's authorization then
    #[arg(long, conflicts_with_all = ["count", "no_pin"])]
    pub(crate) persistent: bool,

    /// Ask for the PIN again before each private key operation (CKA_ALWAYS_AUTHENTICATE)
    #[arg(long)]
    pub(crate) attr_always_authenticate: bool,

    /// Make a key that can be brought to this recovery key, and to nobody else: a public key in a file, or what `ptool srk` printed on
    /// another machine [default: the key can never leave the TPM]
    #[arg(long, value_name = "FILE")]
    pub(crate) backup: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) binding: Binding,

    /// Make a key that needs no PIN: the state of the machine is enough
    #[arg(long, conflicts_with = "attr_always_authenticate")]
    pub(crate) no_pin: bool,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// The kinds of key `addkey` makes, under tpm2_ptool's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    Rsa1024,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ecc224,
    Ecc256,
    Ecc384,
    Ecc521,
    Aes128,
    Aes256,
    /// HMAC with any hash
    Hmac,
    #[value(name = "hmac:sha1")]
    HmacSha1,
    #[value(name = "hmac:sha256")]
    HmacSha256,
    #[value(name = "hmac:sha384")]
    HmacSha384,
    #[value(name = "hmac:sha512")]
    HmacSha512,
}
