//! Options of `shell` and of the hidden verb that writes manual pages and completions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell as CompletionShell;

/// `shell`
#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// With a software TPM (swtpm) that ends with the shell
    #[arg(long, required = true)]
    pub(crate) swtpm: bool,

    /// Keep the TPM's state and the store in this directory, for the next time
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// What to run in the place of the shell
    #[arg(value_name = "COMMAND", last = true)]
    pub(crate) command: Vec<OsString>,
}

/// `generate`
#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(subcommand)]
    pub(crate) what: GenerateWhat,
}

/// What an installation needs besides the program.
#[derive(Debug, Subcommand)]
pub(crate) enum GenerateWhat {
    /// Write manual pages into a directory
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print what completes command lines in a shell
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: CompletionShell,
    },
}
