//! `docs/FUNCTIONS.md` and `docs/ERRORS.md`, rendered from the tables that the module runs on.

use std::fmt::Write;

use crate::table::Support;
use crate::{rv, table};

/// `docs/FUNCTIONS.md`: every function of the interface, and whether it does something.
#[must_use]
pub fn function_table_markdown() -> String {
    let supported = table::ROWS.iter().filter(|row| row.support == Support::Supported).count();
    let mut text = format!(
        "# Functions\n\nGenerated from the declarations of the functions. {supported} of {} do what the specification \
         says; the others answer `CKR_FUNCTION_NOT_SUPPORTED`.\n\n\
         | function | since | chapter | supported |\n|---|---|---|---|\n",
        table::ROWS.len()
    );
    for row in table::ROWS {
        let support = match row.support {
            Support::Supported => "yes".to_owned(),
            Support::Unsupported(why) => format!("no: {why}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {} | {support} |", row.name, row.since, row.chapter);
    }
    text
}

/// `docs/ERRORS.md`: every error of the token, its return value, and what to do.
#[must_use]
pub fn error_table_markdown() -> String {
    let mut text = String::from(
        "# Errors\n\nGenerated from the error table. A program sees the return value only; the cause stands in the \
         log: set `TPM2_CRYPTOKI_LOG=warn` (to stderr) or `TPM2_CRYPTOKI_LOG=warn:/path/of/a/file`.\n\n\
         | return value | error | happens when | what to do |\n|---|---|---|---|\n",
    );
    for row in rv::ERRORS {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", rv::name(row.rv), row.error, row.meaning, row.remedy);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let functions = function_table_markdown();
        assert_eq!(functions.matches("| `C_").count(), 92);
        assert!(functions.contains("| `C_Sign` | 2.40 | sign | yes |"), "{functions}");
        assert_eq!(error_table_markdown().matches("| `CKR_").count(), rv::ERRORS.len());
    }
}
