//! Options of the verbs that repair.

use clap::Args;

use super::{SoPin, TokenLabel, UserPin};

/// `rebuild`
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// The private key, as listobjects numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) id: i64,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}
