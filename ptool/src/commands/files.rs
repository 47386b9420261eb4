//! Files with keys: read without a copy that stays, written for their owner alone, and whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::Secret;
use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};
use rustix::io::Errno;

use crate::errors::Failure;

/// No key file is longer; a longer one is a mistake.
const LONGEST: usize = 1 << 20;

/// Reads a whole file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Secret, Failure> {
    let failed = |error: io::Error| {
        Failure::general(format!("{} cannot be read: {error}", path.display()), "Name a file that this user may read.")
    };
    let mut source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let mut content = Secret::zeroed(0);
    let mut buffer = Secret::zeroed(4096);
    loop {
        match source.read(buffer.expose_mut()) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend(buffer.expose().get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if content.len() > LONGEST {
            return Err(failed(io::Error::other("it is too long for a file with a key")));
        }
    }
}

/// What the reader of key files said about one.
pub(super) fn unreadable(path: &Path, error: &keyfile::Error) -> Failure {
    let advice = match error {
        keyfile::Error::PassphraseWrong => "Give the passphrase that the file was written with.",
        keyfile::Error::NoPrivateKey(_) => "Name the file with the private key.",
        keyfile::Error::NoCertificate => "Name the file with the certificate, or with the whole chain.",
        keyfile::Error::Unknown => "For the bytes of a secret key say --algorithm aes or hmac.",
        keyfile::Error::Malformed(_) => "Name another copy of the file.",
        // What is possible is in the text, where it is known.
        keyfile::Error::Unsupported(what) if what.contains("; ") => "",
        _ => "Use another key, or write this one in another form, such as PKCS#8 by `openssl pkey`.",
    };
    Failure::general(format!("{}: {error}", path.display()), advice)
}

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner: it is worth something to others.
    Owner,
    /// Whoever the umask lets.
    All,
}

/// Writes a new file, or standard output for `-`. A file that exists stays as it is: what it holds may be the only copy.
pub(super) fn write(path: &Path, content: &[u8], readers: Readers) -> Result<(), Failure> {
    if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        return match stdout.write_all(content).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output(&error.to_string())),
            _ => Ok(()),
        };
    }
    check_new(path)?;
    let mode = if readers == Readers::Owner { 0o600 } else { 0o666 };
    let written = Draft::new(path, content, mode).and_then(|draft| {
        draft.give_name(path)?;
        settle(path)
    });
    written.map_err(|error| not_written(path, &error))
}

/// Writes a file for anybody to read, also in the place of one that exists: there is the old one or the new one, whole, whatever
/// happens.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = Draft::new(path, content, 0o644)?;
    std::fs::rename(&draft.0, path)?;
    settle(path)
}

/// A file on the disk that has no name yet that anybody would look for; gone when this is dropped.
struct Draft(PathBuf);

impl Draft {
    fn new(path: &Path, content: &[u8], mode: u32) -> io::Result<Draft> {
        let random = base::random::bytes(8).map_err(|error| io::Error::other(error.to_string()))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = directory(path).join(format!(".ptool-{name}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        let draft = Draft(draft);
        file.write_all(content)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Fails if there is a file of this name by now.
    fn give_name(self, path: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.0, CWD, path, RenameFlags::NOREPLACE) {
            // File systems on a network do not know this, but have links.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => std::fs::hard_link(&self.0, path),
            renamed => Ok(renamed?),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It has its name by now, or it was not to be.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file is lasting when its name is.
fn settle(path: &Path) -> io::Result<()> {
    match File::open(directory(path)).and_then(|directory| directory.sync_all()) {
        // Some file systems cannot, and some directories may be written and not read.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => Ok(()),
        settled => settled,
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::general(
        format!("{} cannot be written: {error}", path.display()),
        "Name a file in a directory that is yours.",
    )
}

/// Fails for a file that exists, or that cannot be, before anything is done for it.
pub(super) fn check_new(path: &Path) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Ok(());
    }
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(
            format!("{} exists already", path.display()),
            "Nothing was overwritten; name another file, or move that one away.",
        ));
    }
    access(directory(path), Access::WRITE_OK | Access::EXEC_OK).map_err(|error| not_written(path, &error.into()))
}
