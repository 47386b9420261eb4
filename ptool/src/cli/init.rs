//! Options of `init`.

use clap::{Args, ValueEnum};

use super::Hidden;
use super::values::HandleOrFile;

/// `init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    /// Authorization of the primary key: text, hex:..., file:PATH or `-`; it is kept in the store, in clear [default: empty]
    #[arg(long, value_name = "AUTH")]
    pub(crate) primary_auth: Option<Hidden>,

    /// Adopt the storage key at this persistent handle, or keep the new one there; also a file in which tpm2-tools serialized
    /// a reference to it [default: 0x81000001, or the first free one after it]
    #[arg(long, value_name = "HANDLE", num_args = 0..=1, default_missing_value = "0x81000001",
          conflicts_with = "transient_parent")]
    pub(crate) primary_handle: Option<HandleOrFile>,

    /// Keep no primary key in the TPM, and make it again at each use, which takes time: with RSA, much of it
    #[arg(long, value_enum, value_name = "TEMPLATE", num_args = 0..=1, default_missing_value = "srk")]
    pub(crate) transient_parent: Option<ParentTemplate>,
}

/// The templates of a primary key that is made again at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ParentTemplate {
    /// The storage key of the TCG's provisioning guidance: P-256
    Srk,
    /// What keys of the TSS2 engine of OpenSSL hang below: P-256
    Tss2EngineKey,
    /// What tpm2_createprimary makes: RSA with 2048 bits
    Tpm2ToolsDefault,
    /// What it makes with -G ecc: P-256
    Tpm2ToolsEccDefault,
}
