//! One software TPM, one empty home, and `ptool` in them, for one test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use swtpm_fixtures::SwTpm;
use tempfile::TempDir;

/// What a test of the command line has to itself.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) home: TempDir,
    pub(crate) tpm: SwTpm,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine { home: tempfile::tempdir().unwrap(), tpm: SwTpm::start() }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// `program` with no environment but this machine's, in its home, and without a terminal to prompt on.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setsid");
        command
            .args(["--wait", program])
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", path_with_ptool())
            .env("TPM2_CRYPTOKI_STORE", self.store())
            .env("TPM2_CRYPTOKI_TCTI", self.tpm.tcti())
            .stdin(Stdio::null());
        command
    }

    /// Runs one line of shell.
    pub(crate) fn shell(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().unwrap()
    }
}

fn path_with_ptool() -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ptool"));
    format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap())
}
