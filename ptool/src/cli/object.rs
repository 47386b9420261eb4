//! Options of the verbs about objects.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{SoPin, UserPin};

/// `objdel`
#[derive(Debug, Args)]
pub(crate) struct RemoveObject {
    /// The object, as listobjects numbers them
    #[arg(value_name = "ID", conflicts_with = "id_option")]
    pub(crate) id: Option<i64>,

    /// The same as an option
    #[arg(long = "id", id = "id_option", value_name = "ID", hide = true)]
    pub(crate) id_option: Option<i64>,
}

/// `objmod`
#[derive(Debug, Args)]
pub(crate) struct ModifyObject {
    /// The object, as listobjects numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) id: i64,

    /// The attribute to show or change: a name such as CKA_LABEL, or a number [default: show all]
    #[arg(long, value_name = "ATTRIBUTE", conflicts_with = "attributes")]
    pub(crate) key: Option<String>,

    /// The new value
    #[arg(long, value_name = "VALUE", requires = "key", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,

    /// How the value is written [default: as objmod shows it]
    #[arg(long = "type", visible_alias = "vtype", value_enum, value_name = "TYPE", requires = "value")]
    pub(crate) spelling: Option<ValueType>,

    /// File with attributes and values in YAML or JSON, as objmod shows them: those that differ are changed
    #[arg(value_name = "FILE")]
    pub(crate) attributes: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValueType {
    /// A number, decimal or 0x...
    Int,
    /// Text
    Str,
    /// true or false
    Bool,
    /// Bytes in hexadecimal digits
    Raw,
}
