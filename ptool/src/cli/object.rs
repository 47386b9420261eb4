//! Options of the verbs about objects.

use clap::Args;

/// `objdel`
#[derive(Debug, Args)]
pub(crate) struct RemoveObject {
    /// The object, as listobjects numbers them
    #[arg(value_name = "ID", required_unless_present = "id_option", conflicts_with = "id_option")]
    pub(crate) id: Option<i64>,

    /// The same as an option
    #[arg(long = "id", id = "id_option", value_name = "ID", hide = true)]
    pub(crate) id_option: Option<i64>,
}
