//! `docs/FUNCTIONS.md` and `docs/ERRORS.md`, rendered from the tables that the module runs on.

use std::fmt::Write;

use crate::{rv, table};

/// What the specification leaves to a token, and what this one makes of it.
const REMARKS: [(&str, &str); 15] = [
    (
        "C_InitToken",
        "programs find a token by its label: one that another token here has is refused, `CKR_ARGUMENTS_BAD`, as the specification has no other value for it",
    ),
    ("C_GetOperationState", "of digests; with a key in use, `CKR_STATE_UNSAVEABLE`"),
    ("C_GetFunctionStatus", "`CKR_FUNCTION_NOT_PARALLEL`, as the specification has it"),
    ("C_CancelFunction", "`CKR_FUNCTION_NOT_PARALLEL`, as the specification has it"),
    (
        "C_WaitForSlotEvent",
        "no token comes or goes: `CKR_NO_EVENT`, and for who wants to wait, `CKR_FUNCTION_NOT_SUPPORTED`",
    ),
    ("C_EncryptMessageNext", "gives the ciphertext with the last part"),
    ("C_DecryptMessageNext", "gives the plaintext with the last part, when it is found authentic"),
    ("C_SignMessage", "without a parameter: no signature has one for each message"),
    ("C_VerifyMessage", "without a parameter: no signature has one for each message"),
    ("C_GetSessionValidationFlags", "none is set: the module is not validated, whatever the TPM is"),
    ("C_AsyncComplete", NO_ASYNC),
    ("C_AsyncGetID", NO_ASYNC),
    ("C_AsyncJoin", NO_ASYNC),
    ("C_WrapKeyAuthenticated", NO_AEAD_WRAP),
    ("C_UnwrapKeyAuthenticated", NO_AEAD_WRAP),
];

const NO_ASYNC: &str = "`CKR_FUNCTION_NOT_SUPPORTED`: no session is asynchronous, `C_OpenSession` refuses one";
const NO_AEAD_WRAP: &str = "`CKR_FUNCTION_NOT_SUPPORTED`: with AES-GCM, who may wrap two keys, or encrypt, under one vector can read what is wrapped";

/// `docs/FUNCTIONS.md`: every function of the interface.
#[must_use]
pub fn function_table_markdown() -> String {
    let mut text = format!(
        "# Functions\n\nGenerated from the declarations of the functions. All {} are there, those of 2.40, 3.0 and 3.2; what a \
         function does otherwise than most programs may expect stands beside it.\n\n\
         | function | since | chapter | remarks |\n|---|---|---|---|\n",
        table::ROWS.len()
    );
    for row in table::ROWS {
        let remark = REMARKS.iter().find(|(name, _)| *name == row.name).map_or("", |(_, remark)| remark);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {} | {remark} |", row.name, row.since, row.chapter);
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
        assert_eq!(functions.matches("| `C_").count(), 104);
        assert!(functions.contains("| `C_Sign` | 2.40 | sign |  |"), "{functions}");
        assert!(
            REMARKS.iter().all(|(name, remark)| functions.contains(&format!("| `{name}` |")) && !remark.is_empty())
        );
        assert_eq!(error_table_markdown().matches("| `CKR_").count(), rv::ERRORS.len());
    }
}
