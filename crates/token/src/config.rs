//! Where the store is and how to reach the TPM: from the environment and a configuration file.
//!
//! Neither ever comes from the store or the current directory. The environment of a program that runs with more rights
//! than its caller (setuid, file capabilities) is not ours to trust, and is not read.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::{Error, Result};

/// Name of the store's file in its directory.
pub const STORE_FILE: &str = "tpm2_cryptoki.sqlite3";

const SYSTEM_STORE: &str = "/etc/tpm2-cryptoki";
const SYSTEM_FILE: &str = "/etc/tpm2-cryptoki/config.toml";
/// Where approvals of machine states are looked for: a directory of our own, and where systemd looks (crypttab(5),
/// `tpm2-signature=`); in `.extra` systemd-stub puts what was embedded in the kernel image.
const APPROVALS: [&str; 5] = [
    "/etc/tpm2-cryptoki/approvals.d",
    "/etc/systemd/tpm2-pcr-signature.json",
    "/run/systemd/tpm2-pcr-signature.json",
    "/usr/lib/systemd/tpm2-pcr-signature.json",
    "/.extra/tpm2-pcr-signature.json",
];

/// Sessions of a process with one token, by default: more than servers have, and some megabytes.
const MAX_SESSIONS: u32 = 4096;
/// MiB for objects of sessions and for searches, by default: tens of thousands of keys, or millions of handles found.
const SESSION_MEMORY: u32 = 64;

/// Wrong PINs in a row, by default: more than a person needs to find the right one.
const WRONG_PINS: u32 = 5;

/// All that a process can choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the store.
    pub store_dir: PathBuf,
    /// How to reach the TPM, as a TCTI string; `None`: the machine's own device.
    pub tcti: Option<String>,
    /// Protect every command with a session against a reader or writer on the TPM's bus.
    pub bus_protection: bool,
    /// How long the TPM's memory is held by an idle process.
    pub idle: Duration,
    /// How long to wait while other programs hold the TPM's places for sessions and objects.
    pub wait: Duration,
    /// May threads be started in the process? (`CKF_LIBRARY_CANT_CREATE_OS_THREADS`)
    pub threads: bool,
    /// Show a slot with an uninitialised token, for `C_InitToken`.
    pub empty_slot: bool,
    /// Most sessions that a process may have open with one token; at least 1.
    pub max_sessions: u32,
    /// MiB that objects of sessions may take in a process, and as much again for searches held open; at least 1.
    pub session_memory: u32,
    /// Wrong PINs in a row of one user of a token that go to the TPM; fewer where the TPM would have no reserve left. 0: all.
    pub wrong_pins: u32,
    /// Refuse a template that asks for less protection than the TPM gives, in the place of making the key as it can be made.
    pub strict_templates: bool,
    /// Files with approvals of machine states, and directories of such files.
    pub approvals: Vec<PathBuf>,
}

/// The configuration file. Every key is optional; an unknown one is an error, as a misspelt protection must not be silent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    store: Option<PathBuf>,
    tcti: Option<String>,
    bus_protection: Option<Switch>,
    idle_ms: Option<u64>,
    wait_ms: Option<u64>,
    empty_slot: Option<Switch>,
    max_sessions: Option<u32>,
    session_memory_mib: Option<u32>,
    wrong_pins: Option<u32>,
    strict_templates: Option<Switch>,
    approvals: Option<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

impl Config {
    /// The configuration of this process.
    ///
    /// # Errors
    /// [`Error::Store`] if a configuration file cannot be read, is not trusted, or does not parse.
    pub fn from_environment() -> Result<Self> {
        Self::from_lookup(&Environment::trusted_if(environment_is_trusted()))
    }

    /// The same for a library, which is asked at any time in the life of its process and has the loader's word on whether that
    /// was started with raised rights.
    ///
    /// # Errors
    /// As [`Config::from_environment`].
    pub fn from_environment_of(started_with_raised_rights: bool) -> Result<Self> {
        Self::from_lookup(&Environment::trusted_if(ids_agree() && !started_with_raised_rights))
    }

    /// The same configuration with the store in another directory.
    #[must_use]
    pub fn with_store_dir(mut self, dir: &Path) -> Self {
        self.store_dir = dir.to_path_buf();
        self
    }

    /// The store's file.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.store_dir.join(STORE_FILE)
    }

    fn from_lookup(env: &Environment) -> Result<Self> {
        let file = match env.path("TPM2_CRYPTOKI_CONFIG") {
            Some(path) => read_file(&path)?
                .ok_or_else(|| Error::Store(format!("{}: there is no such configuration file", path.display())))?,
            None => match env.user_dir("XDG_CONFIG_HOME", ".config") {
                Some(dir) => match read_optional(&dir.join("config.toml"))? {
                    Some(file) => file,
                    None => machine_file()?,
                },
                None => machine_file()?,
            },
        };
        let tcti = ["TPM2_CRYPTOKI_TCTI", "TPM2_PKCS11_TCTI"].iter().find_map(|name| env.text(name)).or(file.tcti);
        let store_dir = env
            .path("TPM2_CRYPTOKI_STORE")
            .or_else(|| env.path("TPM2_PKCS11_STORE"))
            .or(file.store)
            .unwrap_or_else(|| default_store(env));
        Ok(Self {
            store_dir,
            tcti,
            bus_protection: file.bus_protection != Some(Switch::Off),
            idle: Duration::from_millis(file.idle_ms.unwrap_or(1000)),
            wait: Duration::from_millis(file.wait_ms.unwrap_or(60_000)),
            threads: true,
            empty_slot: file.empty_slot != Some(Switch::Off),
            max_sessions: file.max_sessions.unwrap_or(MAX_SESSIONS).max(1),
            session_memory: file.session_memory_mib.unwrap_or(SESSION_MEMORY).max(1),
            wrong_pins: file.wrong_pins.unwrap_or(WRONG_PINS),
            strict_templates: file.strict_templates == Some(Switch::On),
            approvals: file.approvals.unwrap_or_else(|| APPROVALS.map(PathBuf::from).to_vec()),
        })
    }
}

/// Is the environment that of the user the process runs as? Not in setuid programs, nor in those with file capabilities.
///
/// For a program that has just started. A process that gave up root's rights cannot read its own auxiliary vector any more, and
/// gets the answer no.
#[must_use]
pub fn environment_is_trusted() -> bool {
    /// Entry of the auxiliary vector (getauxval(3)).
    const AT_SECURE: usize = 23;
    const WORD: usize = size_of::<usize>();
    if !ids_agree() {
        return false;
    }
    let word = |bytes: &[u8]| bytes.try_into().ok().map(usize::from_ne_bytes);
    match std::fs::read("/proc/self/auxv") {
        Ok(vector) => !vector.chunks_exact(2 * WORD).any(|entry| {
            let (kind, value) = entry.split_at(WORD);
            word(kind) == Some(AT_SECURE) && word(value) != Some(0)
        }),
        // Without /proc the ids alone must do; a vector that is hidden from its own process is that of a privileged one.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Does the process act as the user and group who it is?
#[must_use]
pub fn ids_agree() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    geteuid() == getuid() && getegid() == getgid()
}

fn default_store(env: &Environment) -> PathBuf {
    let system = PathBuf::from(SYSTEM_STORE);
    if system.join(STORE_FILE).exists() {
        return system;
    }
    // Without a home there is no other place; the current directory is never one.
    let Some(user) = env.user_dir("XDG_DATA_HOME", ".local/share") else { return system };
    match std::fs::metadata(user.join(STORE_FILE)) {
        // The home of another user, such as root's, who started the daemon.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            log::warn!("{}: {error}; TPM2_CRYPTOKI_STORE names a store", user.display());
            system
        }
        _ => user,
    }
}

/// The configuration of the machine.
fn machine_file() -> Result<File> {
    Ok(read_optional(Path::new(SYSTEM_FILE))?.unwrap_or_default())
}

/// A configuration file that nobody named. Who may not look at it has nothing to do with it: for him there is none. So it is for a
/// daemon that root started, and that has root's home in its environment still.
fn read_optional(path: &Path) -> Result<Option<File>> {
    match open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            log::warn!("{}: {error}; it is passed over", path.display());
            Ok(None)
        }
        opened => read_opened(path, opened),
    }
}

/// Reads a configuration file; `None` if there is none.
fn read_file(path: &Path) -> Result<Option<File>> {
    read_opened(path, open(path))
}

/// Whatever has the name, this does not wait: a pipe would, for somebody who writes.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    const O_NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    std::fs::File::options().read(true).custom_flags(O_NONBLOCK).open(path)
}

/// What is looked at is what is read, whoever changes the name meanwhile.
fn read_opened(path: &Path, opened: std::io::Result<std::fs::File>) -> Result<Option<File>> {
    use std::io::{ErrorKind, Read};
    let fail = |what: String| Error::Store(format!("{}: {what}", path.display()));
    let unreadable = |error: std::io::Error| fail(format!("cannot be read: {error}"));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(fail("is not a plain file".to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(fail("belongs to another user; it must belong to root or to you".to_owned()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(fail("can be written by others; run `chmod go-w` on it".to_owned()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    toml::from_str(&text).map(Some).map_err(|error| fail(format!("is not valid: {error}")))
}

/// The environment variables of the process, or none of them when it runs with raised rights.
struct Environment(Lookup);

type Lookup = Box<dyn Fn(&str) -> Option<OsString>>;

impl Environment {
    fn trusted_if(trusted: bool) -> Self {
        if trusted { Self(Box::new(|name| std::env::var_os(name))) } else { Self(Box::new(|_| None)) }
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.0)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Our directory below `$XDG_...`, or below its default in the home directory.
    fn user_dir(&self, xdg: &str, below_home: &str) -> Option<PathBuf> {
        self.path(xdg)
            .filter(|path| path.is_absolute())
            .or_else(|| self.path("HOME").filter(|path| path.is_absolute()).map(|home| home.join(below_home)))
            .map(|dir| dir.join("tpm2-cryptoki"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn environment(values: &'static [(&'static str, &'static str)]) -> Environment {
        Environment(Box::new(|name| {
            values.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        }))
    }

    #[test]
    fn the_store_is_where_the_environment_says() {
        let ours = environment(&[("TPM2_CRYPTOKI_STORE", "/a"), ("TPM2_PKCS11_STORE", "/b"), ("HOME", "/h")]);
        assert_eq!(Config::from_lookup(&ours).unwrap().store_dir, Path::new("/a"));
        let peer = environment(&[("TPM2_PKCS11_STORE", "/b"), ("HOME", "/h")]);
        assert_eq!(Config::from_lookup(&peer).unwrap().store_file(), Path::new("/b/tpm2_cryptoki.sqlite3"));
        let home = environment(&[("HOME", "/nowhere")]);
        assert_eq!(Config::from_lookup(&home).unwrap().store_dir, Path::new("/nowhere/.local/share/tpm2-cryptoki"));
        let relative = environment(&[("XDG_DATA_HOME", "here"), ("HOME", "/nowhere")]);
        assert_eq!(Config::from_lookup(&relative).unwrap().store_dir, Path::new("/nowhere/.local/share/tpm2-cryptoki"));
    }

    #[test]
    fn the_file_is_read_checked_and_strict() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "tcti = \"swtpm:port=1\"\nbus-protection = \"off\"\nidle-ms = 5\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = read_file(&path).unwrap().unwrap();
        assert_eq!(
            (file.tcti.as_deref(), file.bus_protection, file.idle_ms),
            (Some("swtpm:port=1"), Some(Switch::Off), Some(5))
        );
        std::fs::write(&path, "approvals = [\"/a\", \"/b.json\"]\n").unwrap();
        let places = vec![PathBuf::from("/a"), PathBuf::from("/b.json")];
        assert_eq!(read_file(&path).unwrap().unwrap().approvals, Some(places));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read_file(&path), Err(Error::Store(text)) if text.contains("chmod")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "bus-protektion = \"on\"\n").unwrap();
        assert!(matches!(read_file(&path), Err(Error::Store(_))));
        assert!(read_file(&dir.path().join("none")).unwrap().is_none());
        assert!(matches!(read_file(dir.path()), Err(Error::Store(text)) if text.contains("not a plain file")));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // Nobody writes into it.
        assert!(matches!(read_optional(&pipe), Err(Error::Store(text)) if text.contains("not a plain file")));
    }
}
