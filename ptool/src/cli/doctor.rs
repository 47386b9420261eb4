//! Options of `doctor` and `lockout`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Hidden, TokenLabel, UserPin};

/// `doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at this token only
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Make primary keys again that were evicted from the TPM, and ask anew what the TPM can do
    #[arg(long)]
    pub(crate) repair: bool,

    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    #[command(flatten)]
    pub(crate) user: UserPin,

    /// Directory that stands for / wherever files of the system are looked at, such as a mounted image
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
}

/// `lockout`
#[derive(Debug, Args)]
pub(crate) struct Lockout {
    #[command(subcommand)]
    pub(crate) action: LockoutAction,
}

/// What to do about the TPM's lockout.
#[derive(Debug, Subcommand)]
pub(crate) enum LockoutAction {
    /// Show how many wrong PINs the TPM counts, and when it locks
    Status,
    /// Let the next PINs of a token be tried that are held back after several wrong ones; the TPM goes on counting
    Forget {
        #[command(flatten)]
        label: TokenLabel,
    },
    /// Forget the wrong PINs, and end a lockout
    Reset {
        /// Authorization of the TPM's lockout hierarchy: text, hex:..., file:PATH or `-` [default: empty]
        #[arg(long, value_name = "AUTH")]
        lockout_auth: Option<Hidden>,
    },
}
