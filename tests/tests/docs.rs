//! The generated tables in `docs/` are those that the code has now; `make docs` writes them anew.

use std::path::Path;

fn fresh(file: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == now, "docs/{file} is not that of the code any more: run `make docs`");
}

#[test]
fn mechanisms() {
    fresh("MECHANISMS.md", &model::docs::mechanisms());
}

#[test]
fn attributes() {
    fresh("ATTRIBUTES.md", &model::docs::attributes());
}

#[test]
fn functions() {
    fresh("FUNCTIONS.md", &tpm2_cryptoki::docs::function_table_markdown());
}

#[test]
fn errors() {
    fresh("ERRORS.md", &tpm2_cryptoki::docs::error_table_markdown());
}

#[test]
fn programs() {
    fresh("PROGRAMS.md", &tests::programs::programs());
}
