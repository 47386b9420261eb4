//! Options of `migrate`.

use std::path::PathBuf;

use clap::Args;

/// `migrate`
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Directory of the store of tpm2-pkcs11 [default: where its module looks]
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,

    /// Only say what would come over, and what cannot
    #[arg(long)]
    pub(crate) dry_run: bool,
}
