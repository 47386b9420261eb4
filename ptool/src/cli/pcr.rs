//! Options around PCRs: what a new key or token is bound to, and the `pcr` verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::import::Passphrase;
use super::{Hidden, UserPin};

/// The state of the machine that a new key or token is bound to.
#[derive(Debug, Args)]
#[command(next_help_heading = "State of the machine")]
pub(crate) struct Binding {
    /// Work only with these PCRs as they are now, such as sha256:0,2,7; once more for an alternative
    #[arg(long, value_name = "PCRS")]
    pub(crate) pcr: Vec<String>,

    /// Take the values of the PCRs from this file (of `tpm2_pcrread -o`, `ptool pcr show`, `systemd-measure calculate`, or
    /// JSON), or from the TPM if it is `now`; once more for an alternative [default: now]
    #[arg(long, value_name = "FILE", requires = "pcr", conflicts_with = "pcr_authority")]
    pub(crate) pcr_values: Vec<PathBuf>,

    /// Work in any state that this authority approves of: a file with its public key or certificate, or the pkcs11: URI of a
    /// key in this store; once more for an alternative
    #[arg(long, value_name = "KEY")]
    pub(crate) pcr_authority: Vec<String>,

    /// With --pcr alone: work in any state that this authority approves of, too
    #[arg(long, value_name = "KEY", requires = "pcr", conflicts_with = "pcr_authority")]
    pub(crate) or_authority: Vec<String>,

    /// Do not ask before binding to values that an update of firmware or kernel changes
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `pcr`
#[derive(Debug, Subcommand)]
pub(crate) enum Pcr {
    /// Show the PCRs of this machine
    Show(ShowPcrs),
    /// Say whether this machine is in a state in which a token and its keys work
    Check(CheckPcrs),
    /// Approve of a state: keys that are bound to the authority work in it from then on
    Approve(Approve),
    /// List the approvals in the store and in files
    List,
    /// Remove an approval from the store; copies of it stay good, unless it has a counter
    Revoke(Revoke),
}

/// `pcr show`
#[derive(Debug, Args)]
pub(crate) struct ShowPcrs {
    /// Which, such as sha256:0,2,7 [default: all of the bank sha256]
    #[arg(value_name = "PCRS")]
    pub(crate) pcrs: Vec<String>,
}

/// `pcr check`
#[derive(Debug, Args)]
pub(crate) struct CheckPcrs {
    /// Label of the token
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: String,

    /// CKA_LABEL of one key [default: the token and all its keys]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,
}

/// `pcr approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The authority's private key: a file, or the pkcs11: URI of a key in this store
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,

    /// The PCRs, such as sha256:11; once more for further approvals
    #[arg(long, value_name = "PCRS", required = true)]
    pub(crate) pcr: Vec<String>,

    /// Take the values of the PCRs from this file, or from the TPM if it is `now`; once more for further approvals
    /// [default: now]
    #[arg(long, value_name = "FILE")]
    pub(crate) pcr_values: Vec<PathBuf>,

    /// Write the approvals to this file instead of the store, as systemd-measure does; needs neither store nor TPM where the
    /// key and the values are in files
    #[arg(long, value_name = "FILE", conflicts_with = "comment")]
    pub(crate) output_file: Option<PathBuf>,

    /// What to note beside the approval in the store
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,

    /// Make an approval for this machine alone, which `pcr revoke` can make void: it is bound to a counter in the TPM
    #[arg(long, conflicts_with = "output_file")]
    pub(crate) counter: bool,

    /// Authorization of the TPM's owner hierarchy, for --counter: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    #[command(flatten)]
    pub(crate) user: UserPin,
}

/// `pcr revoke`
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The approval, as `pcr list` numbers them
    #[arg(value_name = "ID")]
    pub(crate) id: i64,

    /// Authorization of the TPM's owner hierarchy, for an approval with a counter: text, hex:..., file:PATH or `-`
    /// [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,
}
