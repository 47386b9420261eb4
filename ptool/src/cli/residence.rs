//! Options of `persist` and `unpersist`.

use clap::Args;

use super::export::WhichObject;
use super::{Hidden, SoPin, UserPin};

/// `persist`, `unpersist`
#[derive(Debug, Args)]
pub(crate) struct Residence {
    #[command(flatten)]
    pub(crate) which: WhichObject,

    #[command(flatten)]
    pub(crate) owner: OwnerAuth,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}

/// What the TPM wants of who keeps something in it.
#[derive(Debug, Args)]
pub(crate) struct OwnerAuth {
    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,
}
