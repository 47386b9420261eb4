//! `shell --swtpm`: a place to try everything without a TPM, which is gone afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use admin::{Admin, InitRequest};
use base::Secret;
use token::Config;

use super::{Context, snippet};
use crate::cli::shell::Shell;
use crate::errors::Failure;
use crate::output::note;

/// The token that is there to begin with.
const LABEL: &str = "demo";
const SO_PIN: &str = "12345678";
const USER_PIN: &str = "1234";

/// As much as a socket's address has room for (unix(7)), with a longer name beside it.
const LONGEST_SOCKET: usize = 107 - ("control.sock".len() - "tpm.sock".len());

/// The module's settings. There is no resource manager before this TPM, and it has room for three sessions: a program that is killed
/// should not have had any for long.
const SETTINGS: &str = "idle-ms = 50\n";

/// How long swtpm may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
const STARTS: &str = "`swtpm socket --help` shows whether it runs at all.";
/// After how long what it says is taken for the reason that it does not.
const GRACE: Duration = Duration::from_secs(5);

/// Runs swtpm until its standard input ends, which it does with the process that started it, however that ends. Then the directory
/// in $2 goes, if there is one to go. swtpm is not asked to daemonize: it stays this shell's child.
const KEEPER: &str = r#"
swtpm socket --tpm2 --tpmstate dir="$1/tpm" --server type=unixio,path="$1/tpm.sock" \
    --ctrl type=unixio,path="$1/control.sock" --flags not-need-init,startup-clear </dev/null >/dev/null 2>"$1/swtpm.log" &
read -r _
kill $! 2>/dev/null
wait
rm -f "$1/tpm.sock" "$1/control.sock"
[ -z "$2" ] || rm -rf "$2"
"#;

pub(super) fn shell(context: &Context<'_>, options: &Shell) -> Result<(), Failure> {
    let software = SoftwareTpm::start(options.state.as_deref())?;
    let config = Config {
        store_dir: software.directory.join("store"),
        tcti: Some(format!("swtpm:path={}", software.socket().display())),
        ..context.config.clone()
    };
    set_up(&config)?;
    let settings = software.settings()?;
    let status = run(&config, &settings, &options.command)?;
    // Its directory is gone before the shell's prompt is back.
    software.end();
    leave(status)
}

/// The store with its token; what is there already from another time stays.
fn set_up(config: &Config) -> Result<(), Failure> {
    let none = Secret::zeroed(0);
    let request = InitRequest { owner_auth: none.clone(), primary_auth: none, handle: None, transient: None };
    Admin::init(config.clone(), &request)?;
    let admin = Admin::open(config.clone())?;
    if admin.tokens(None)?.is_empty() {
        let [officer, user] = [SO_PIN, USER_PIN].map(|pin| Secret::copy_from(pin.as_bytes()));
        admin.add_token(None, LABEL, &officer, Some(&user))?;
    }
    Ok(())
}

fn run(config: &Config, settings: &Path, command: &[OsString]) -> Result<ExitStatus, Failure> {
    let module = snippet::module();
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let shell = variable("SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.as_os_str(), arguments),
        None => (shell.as_os_str(), &[][..]),
    };
    if command.is_empty() {
        welcome(&module);
    }
    let mut child = Command::new(program);
    child
        .args(arguments)
        .env("TPM2_CRYPTOKI_STORE", &config.store_dir)
        .env("TPM2_CRYPTOKI_TCTI", config.tcti.as_deref().unwrap_or_default())
        .env("TPM2_CRYPTOKI_CONFIG", settings)
        .env("MODULE", &module)
        .env("PATH", path_with_this_program(variable("PATH").as_deref()))
        .env_remove("TPM2_CRYPTOKI_USERPIN")
        .env_remove("TPM2_CRYPTOKI_SOPIN");
    child.status().map_err(|error| {
        let program = program.to_string_lossy();
        Failure::general(format!("{program} cannot be run: {error}"), "Name a program after --, or set SHELL.")
    })
}

fn welcome(module: &Path) {
    for line in [
        "a shell with a TPM in software, and a token in it; `exit` ends both".to_owned(),
        format!("the token is {LABEL:?}, with the user PIN {USER_PIN} and the security officer PIN {SO_PIN}"),
        format!("$MODULE is {}", module.display()),
        format!("for example: ptool addkey --label={LABEL} --key-label=ssh --algorithm=ecc256"),
        "             ssh-keygen -D $MODULE".to_owned(),
    ] {
        note(&line);
    }
}

/// So that `ptool` in the shell is this one.
fn path_with_this_program(path: Option<&OsStr>) -> OsString {
    let own = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let rest = path.map(std::env::split_paths).into_iter().flatten();
    std::env::join_paths(own.into_iter().chain(rest)).unwrap_or_else(|_| path.unwrap_or_default().to_owned())
}

/// Ends this program as the command ended.
fn leave(status: ExitStatus) -> Result<(), Failure> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        // As a shell would say it.
        None => std::process::exit(128 + status.signal().unwrap_or_default()),
    }
}

/// swtpm, in a directory of its own.
struct SoftwareTpm {
    directory: PathBuf,
    keeper: Child,
}

impl SoftwareTpm {
    fn start(state: Option<&Path>) -> Result<SoftwareTpm, Failure> {
        let (directory, gone) = match state {
            Some(directory) => (absolute(directory)?, PathBuf::new()),
            None => {
                let directory = temporary()?;
                (directory.clone(), directory)
            }
        };
        let failed = |error: std::io::Error| {
            Failure::general(format!("{}: {error}", directory.display()), "--state names another directory.")
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory.join("tpm")).map_err(failed)?;
        let socket = directory.join("tpm.sock");
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(Failure::general(
                format!("{} is too long for the name of a socket", socket.display()),
                "--state names another directory, TMPDIR the one for what is not kept.",
            ));
        }
        // A socket of a TPM that runs, or ran, there.
        if UnixStream::connect(socket).is_ok() {
            return Err(Failure::general(
                format!("a TPM is running in {} already", directory.display()),
                "Leave the other shell first, or name another directory with --state.",
            ));
        }
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .args([&directory, &gone])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for what runs in the shell.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let tpm = SoftwareTpm { directory, keeper };
        tpm.wait()?;
        Ok(tpm)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("tpm.sock")
    }

    /// The configuration file; of another time's, what somebody made of it stays.
    fn settings(&self) -> Result<PathBuf, Failure> {
        let path = self.directory.join("config.toml");
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| file.write_all(SETTINGS.as_bytes())) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Failure::general(format!("{}: {error}", path.display()), "--state names another directory."))
            }
            _ => Ok(path),
        }
    }

    /// Until it can be connected to.
    fn wait(&self) -> Result<(), Failure> {
        let start = Instant::now();
        let log = self.directory.join("swtpm.log");
        while start.elapsed() < PATIENCE {
            if UnixStream::connect(self.socket()).is_ok() {
                return Ok(());
            }
            let said = std::fs::File::open(&log).and_then(|file| {
                let mut text = String::new();
                file.take(1000).read_to_string(&mut text).map(|_| text)
            });
            let said = said.unwrap_or_default();
            if said.contains("not found") {
                return Err(Failure::general("swtpm is not installed", "Install it (Debian: swtpm)."));
            }
            // It may say something and start all the same.
            if let (true, Some(line)) = (start.elapsed() > GRACE, said.lines().next()) {
                return Err(Failure::general(format!("swtpm does not start: {line}"), STARTS));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(Failure::general("swtpm does not start", STARTS))
    }

    fn end(mut self) {
        drop(self.keeper.stdin.take());
        // It is this program's own child: there is nothing that could fail.
        let _ = self.keeper.wait();
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
    }
}

fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(directory)
        .map_err(|error| Failure::general(format!("{}: {error}", directory.display()), "Name another directory."))
}

/// A new directory for this user alone.
fn temporary() -> Result<PathBuf, Failure> {
    tempfile::Builder::new().prefix("ptool-").tempdir().map(tempfile::TempDir::keep).map_err(|error| {
        Failure::general(
            format!("a temporary directory cannot be made: {error}"),
            "TMPDIR names another directory to make it in.",
        )
    })
}
