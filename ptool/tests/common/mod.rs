//! One software TPM, one empty home, and `ptool` in them, for one test.

#[allow(dead_code, reason = "not every test types")]
pub(crate) mod session;

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

    /// With a TPM whose endorsement keys have certificates; those of their authorities are in the directory `makers`.
    #[allow(dead_code, reason = "not every test enrols")]
    pub(crate) fn with_endorsement() -> Machine {
        let home = tempfile::tempdir().unwrap();
        let tpm = SwTpm::with_endorsement(&home.path().join("makers"));
        Machine { home, tpm }
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
            .env("TPM2TOOLS_TCTI", self.tpm.tcti())
            .env("TSS2_LOG", "all+none")
            .stdin(Stdio::null());
        command
    }

    /// Runs one line of shell.
    pub(crate) fn shell(&self, line: &str) -> Output {
        self.command("sh").args(["-c", line]).output().unwrap()
    }
}

/// Whether all of these programs are there. What is missing is said, and in CI nothing may be.
#[allow(dead_code, clippy::print_stderr, reason = "not every test needs programs, and who skips says so")]
pub(crate) fn are_installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_missing = |program: &&&str| !std::env::split_paths(&path).any(|place| place.join(program).exists());
    let missing: Vec<_> = programs.iter().filter(is_missing).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "not installed: {missing:?}");
    if !missing.is_empty() {
        eprintln!("skipped: not installed: {missing:?}; tests/scripts/packages.sh check");
    }
    missing.is_empty()
}

fn path_with_ptool() -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ptool"));
    format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap())
}
