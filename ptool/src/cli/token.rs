//! Options of the verbs about tokens and their PINs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Binding, Hidden, SoPin, TokenLabel, UnusedAuth, UserPin};

/// `addtoken`
#[derive(Debug, Args)]
pub(crate) struct AddToken {
    /// The primary key the token lives under, as listprimaries numbers them [default: the first]
    #[arg(long, value_name = "ID")]
    pub(crate) pid: Option<i64>,

    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) binding: Binding,

    /// Make a token whose keys need no PIN, for unattended use
    #[arg(long, conflicts_with_all = ["userpin", "userpin_file"])]
    pub(crate) no_userpin: bool,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// `initpin`
#[derive(Debug, Args)]
pub(crate) struct InitPin {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// `changepin`
#[derive(Debug, Args)]
pub(crate) struct ChangePin {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// Whose PIN to change
    #[arg(long, value_enum, value_name = "WHO", default_value_t = Who::User)]
    pub(crate) user: Who,

    /// The PIN as it is now; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "old_file")]
    pub(crate) old: Option<Hidden>,

    /// File that holds the PIN as it is now
    #[arg(long, value_name = "FILE")]
    pub(crate) old_file: Option<PathBuf>,

    /// The new PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "new_file")]
    pub(crate) new: Option<Hidden>,

    /// File that holds the new PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) new_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// The two users of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// The security officer
    So,
    /// The user of the keys
    User,
}

/// `listtokens`
#[derive(Debug, Args)]
pub(crate) struct ListTokens {
    /// Only the tokens under this primary key, as listprimaries numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) pid: Option<i64>,
}

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}
