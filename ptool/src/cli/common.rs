//! Options that several verbs share.

use std::path::PathBuf;

use clap::Args;

use super::Hidden;

/// Names the token a verb is about.
#[derive(Debug, Args)]
pub(crate) struct TokenLabel {
    /// Label of the token
    #[arg(long = "label", value_name = "LABEL", id = "label")]
    pub(crate) label: String,
}

/// Where the user PIN comes from, as far as the command line says.
#[derive(Debug, Args)]
pub(crate) struct UserPin {
    /// User PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "userpin_file")]
    pub(crate) userpin: Option<Hidden>,

    /// File that holds the user PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) userpin_file: Option<PathBuf>,
}

/// Where the security officer PIN comes from, as far as the command line says.
#[derive(Debug, Args)]
pub(crate) struct SoPin {
    /// Security officer PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "sopin_file")]
    pub(crate) sopin: Option<Hidden>,

    /// File that holds the security officer PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) sopin_file: Option<PathBuf>,
}

/// What tpm2_ptool wants again at each use of a primary key that it does not keep in the TPM. Here none of these verbs needs it.
#[derive(Debug, Args)]
pub(crate) struct UnusedAuth {
    /// Accepted for scripts written for tpm2_ptool; this needs no owner authorization
    #[arg(long, value_name = "AUTH", alias = "owner-auth", hide = true)]
    pub(crate) hierarchy_auth: Option<Hidden>,
}
