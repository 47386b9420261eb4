//! Writes the tables of `docs/` that are rendered from the tables the code runs on. A test compares them.

#![allow(clippy::print_stderr, reason = "a command line program")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    let tables = [
        ("ATTRIBUTES.md", model::docs::attributes()),
        ("ERRORS.md", tpm2_cryptoki::docs::error_table_markdown()),
        ("FUNCTIONS.md", tpm2_cryptoki::docs::function_table_markdown()),
        ("MECHANISMS.md", model::docs::mechanisms()),
        ("STRUCTURE.md", tests::floors::markdown()),
    ];
    for (name, text) in tables {
        if let Err(error) = std::fs::write(docs.join(name), text) {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
