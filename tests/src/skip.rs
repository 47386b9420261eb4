//! Tests that cannot be on every machine.

use std::io::Write;

use crate::product;

/// Notes why a test is left out here: one that passes is not heard, and so `make check` says it at its end. Where it matters that
/// nothing is left out (continuous integration sets `CI`), that is a failure.
///
/// # Panics
/// There.
#[track_caller]
pub fn left_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "left out: {why}");
    eprintln!("SKIPPED: {why}");
    let path = product::output_dir().join("skipped");
    // One line and one write: tests run beside each other.
    let line = format!("{}: {why}\n", std::thread::current().name().unwrap_or("a test"));
    let file = std::fs::File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
