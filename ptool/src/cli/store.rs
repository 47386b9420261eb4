//! Options of the verbs about the whole store.

use clap::Args;

use super::{Hidden, UnusedAuth};

/// `destroy`
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// The primary key to remove, as listprimaries numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) pid: i64,

    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    /// Leave the primary key in the TPM, for other software that uses it
    #[arg(long)]
    pub(crate) keep_primary: bool,

    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `addemptytoken`
#[derive(Debug, Args)]
pub(crate) struct AddEmptyToken {
    /// The primary key the token will live under, as listprimaries numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) pid: i64,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}
