//! What is left out because the machine cannot have it.

use std::io::Write;

use crate::product;

/// Notes that this test leaves something out, and why: a test that passes is not heard, so that `make check` says it at its end.
///
/// # Panics
///
/// Where it matters that nothing is left out: continuous integration sets `CI`.
pub fn leave_out(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "nothing is left out when CI is set: {reason}");
    eprintln!("SKIPPED: {reason}");
    let path = product::output_dir().join("skipped");
    // One line and one write: tests run beside each other.
    let line = format!("{}: {reason}\n", std::thread::current().name().unwrap_or("a test"));
    let file = std::fs::File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
