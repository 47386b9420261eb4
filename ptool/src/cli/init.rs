//! Options of `init`.

use clap::{Args, ValueEnum};

use super::Hidden;
use super::values::parse_handle;

/// `init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    /// Authorization of the primary key: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH")]
    pub(crate) primary_auth: Option<Hidden>,

    /// Adopt the storage key at this persistent handle, or keep the new one there [default: 0x81000001, or the first
    /// free one after it]
    #[arg(long, value_name = "HANDLE", num_args = 0..=1, default_missing_value = "0x81000001",
          value_parser = parse_handle, conflicts_with = "transient_parent")]
    pub(crate) primary_handle: Option<u32>,

    /// Keep no primary key in the TPM, and make it again at each use, which takes time
    #[arg(long, value_enum, value_name = "TEMPLATE", num_args = 0..=1, default_missing_value = "tss2-engine-key")]
    pub(crate) transient_parent: Option<ParentTemplate>,
}

/// The templates of a primary key that is made again at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ParentTemplate {
    Tss2EngineKey,
}
