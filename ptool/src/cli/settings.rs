//! Options of `config` about the settings of a token.

use clap::Args;

/// The settings of tpm2_ptool's `config`.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The setting to show or change: token-init, empty-user-pin, pss-sigs-good, tcti, log-level [default: show all]
    #[arg(long, value_name = "SETTING", conflicts_with = "snippet")]
    pub(crate) key: Option<String>,

    /// The new value
    #[arg(long, value_name = "VALUE", requires = "key")]
    pub(crate) value: Option<String>,
}
