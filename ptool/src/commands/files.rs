//! Files with keys: read without a copy that stays, written for their owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base::Secret;

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
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::general(
            format!("{} cannot be written: {error}", path.display()),
            "Name a file in a directory that is yours.",
        )
    })
}

/// Fails for a file that exists, before anything is done for it.
pub(super) fn check_new(path: &Path) -> Result<(), Failure> {
    match path != Path::new("-") && path.symlink_metadata().is_ok() {
        true => Err(Failure::usage(
            format!("{} exists already", path.display()),
            "Nothing was overwritten; name another file, or move that one away.",
        )),
        false => Ok(()),
    }
}
