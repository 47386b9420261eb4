//! What tests of other people's clients share: the clients are made on the spot, and a machine that cannot make them says why.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::skip::left_out;
use tests::world::Run;

/// Where this package's sources are.
pub(crate) fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of this package that makes clients and says where they are. `None` if this machine cannot have them: the script
/// has said why. Where it matters that nothing is left out (continuous integration sets `CI`), that is a failure.
pub(crate) fn prepared(script: &str) -> Option<PathBuf> {
    let run = Run::of(Command::new(sources().join("scripts").join(script)).stdin(std::process::Stdio::null()));
    eprint!("{}", run.stderr);
    match run.status {
        Some(0) => Some(PathBuf::from(run.text().trim_end())),
        Some(3) => {
            left_out(run.stderr.lines().last().unwrap_or("no reason given"));
            None
        }
        _ => panic!("{script}: {run:?}"),
    }
}
