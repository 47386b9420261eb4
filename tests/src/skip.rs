//! Tests that cannot be on every machine.

/// Says why a test is left out here. Where it matters that nothing is (continuous integration sets `CI`), that is a failure.
///
/// # Panics
/// There.
#[track_caller]
pub fn left_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "left out: {why}");
    eprintln!("SKIPPED: {why}");
}
