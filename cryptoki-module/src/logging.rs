//! The log: off, unless `TPM2_CRYPTOKI_LOG` asks for it.
//!
//! `error`, `warn`, `info`, `debug` or `trace` writes to stderr, `LEVEL:PATH` appends to a file, which is made readable
//! for its owner only. A line is `tpm2-cryptoki[PID]: level: text`, in one write, so that lines of several processes do
//! not mix. A program with raised privileges ignores the variable. No lock is taken (a fork could leave it locked), and
//! what cannot be written is lost.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::descriptors::Descriptor;
use log::{LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use token::ids_agree;

use crate::published::Published;
use crate::raw::started_with_raised_rights;

const VARIABLE: &str = "TPM2_CRYPTOKI_LOG";
/// The crates of the module. What libraries log is not ours to check for secrets.
const OURS: [&str; 6] = ["base", "model", "store", "token", "tpm", "tpm2_cryptoki"];
/// Longest line in bytes; a pipe takes this much at once (`PIPE_BUF`).
const MAX_LINE: usize = 4096;

/// Reads the variable when the library is first initialised; later calls change nothing.
pub(crate) fn start() {
    if SINK.load().is_some() || started_with_raised_rights() || !ids_agree() {
        return;
    }
    let Some(request) = std::env::var_os(VARIABLE).and_then(|value| Request::parse(&value)) else { return };
    let sink = Sink::of(request);
    let level = sink.level;
    if SINK.replace(None, Box::new(sink)).is_ok() && log::set_logger(&Logger).is_ok() {
        log::set_max_level(level);
    }
}

/// What the variable asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    level: LevelFilter,
    path: Option<PathBuf>,
}

impl Request {
    /// `None` for what is not a level: a typing error must not turn a program's stderr into a log.
    fn parse(value: &OsStr) -> Option<Self> {
        let bytes = value.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
        let level = LevelFilter::from_str(std::str::from_utf8(bytes.get(..colon)?).ok()?).ok()?;
        let path = bytes.get(colon + 1..).filter(|path| !path.is_empty());
        Some(Self { level, path: path.map(|path| PathBuf::from(OsStr::from_bytes(path))) })
    }
}

fn open(path: &Path) -> rustix::io::Result<Descriptor> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    // Opening a pipe that nobody reads would block the host.
    rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::RUSR | Mode::WUSR).map(Descriptor::new)
}

/// Where lines go.
#[derive(Debug)]
struct Sink {
    level: LevelFilter,
    /// `None` is stderr; also when the file could not be opened.
    file: Option<(PathBuf, Descriptor)>,
}

static SINK: Published<Sink> = Published::nothing();

impl Sink {
    fn of(request: Request) -> Self {
        let file = request.path.and_then(|path| open(&path).ok().map(|file| (path, file)));
        Self { level: request.level, file }
    }

    /// The sink that is there; opened anew where the program closed our file, as daemons close what they know nothing of, and may have
    /// put one of its own in its place.
    fn current() -> Option<&'static Self> {
        let sink = SINK.load()?;
        match &sink.file {
            Some((path, file)) if file.get().is_none() => {
                let file = open(path).ok()?;
                let anew = Self { level: sink.level, file: Some((path.clone(), file)) };
                // Another thread may have been faster.
                SINK.replace(Some(sink), Box::new(anew)).ok().or_else(|| SINK.load())
            }
            _ => Some(sink),
        }
    }

    fn write(&self, line: &[u8]) {
        // A raw write: std's stderr has a lock. Regular files take a line whole.
        let fd = match &self.file {
            Some((_, file)) => file.get(),
            None => Some(rustix::stdio::stderr()),
        };
        let Some(fd) = fd else { return };
        if is_writable(fd) {
            let _ = rustix::io::write(fd, line);
        }
    }
}

/// Whether a write goes through at once: writing to a pipe that nobody reads would block the host, and to one whose
/// reader is gone would send it SIGPIPE.
fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents() == PollFlags::OUT
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let origin = metadata.target().split("::").next().unwrap_or_default();
        SINK.load().is_some_and(|sink| metadata.level() <= sink.level) && OURS.contains(&origin)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(sink) = Sink::current() {
            sink.write(line(record).as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>) -> String {
    let level = record.level().as_str().to_ascii_lowercase();
    let mut line = format!("tpm2-cryptoki[{}]: {level}: {}", std::process::id(), record.args());
    // A label from the store must not be able to make a line of its own, nor speak to a terminal.
    if line.contains(char::is_control) {
        line = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    }
    let mut end = line.len().min(MAX_LINE - 1);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn parsed(value: &str) -> Option<(LevelFilter, Option<&str>)> {
        // Leaked: a test's few bytes.
        let request = Box::leak(Box::new(Request::parse(OsStr::new(value))?));
        Some((request.level, request.path.as_deref().map(|path| path.to_str().unwrap())))
    }

    #[test]
    fn the_variable_is_a_level_and_perhaps_a_path() {
        assert_eq!(parsed("warn"), Some((LevelFilter::Warn, None)));
        assert_eq!(parsed("DEBUG"), Some((LevelFilter::Debug, None)));
        assert_eq!(parsed("trace:/tmp/a:b"), Some((LevelFilter::Trace, Some("/tmp/a:b"))));
        assert_eq!(parsed("info:"), Some((LevelFilter::Info, None)));
        for nonsense in ["", "1", "yes", ":/tmp/x", "warn ", "\u{e9}"] {
            assert_eq!(parsed(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_line_is_one_line_of_limited_length() {
        let text = line(&Record::builder().level(log::Level::Warn).args(format_args!("a\nb\u{1b}[2J")).build());
        assert_eq!(text, format!("tpm2-cryptoki[{}]: warn: a?b?[2J\n", std::process::id()));
        let long = "\u{e9}".repeat(MAX_LINE);
        let text = line(&Record::builder().level(log::Level::Error).args(format_args!("{long}")).build());
        assert!(text.len() <= MAX_LINE && text.ends_with("\u{e9}\n"), "{}", text.len());
    }

    #[test]
    fn the_file_is_private_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let sink = Sink { level: LevelFilter::Warn, file: Some((path.clone(), open(&path).unwrap())) };
        sink.write(b"one\n");
        Sink { level: LevelFilter::Warn, file: Some((path.clone(), open(&path).unwrap())) }.write(b"two\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(open(&link).unwrap_err(), rustix::io::Errno::LOOP);
    }

    #[test]
    fn a_pipe_without_reader_is_not_written_to() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(is_writable(writer.as_fd()));
        drop(reader);
        assert!(!is_writable(writer.as_fd()));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open(&path).unwrap_err(), rustix::io::Errno::NXIO);
        let reader = File::from(rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap());
        let sink = Sink { level: LevelFilter::Warn, file: Some((path.clone(), open(&path).unwrap())) };
        sink.write(b"one\n");
        let mut line = [0; 4];
        std::io::Read::read_exact(&mut &reader, &mut line).unwrap();
        assert_eq!(&line, b"one\n");
        // Full, and then without a reader: SIGPIPE is as Rust's tests have it, ignored, and EPIPE is no matter either.
        for _ in 0..64 {
            sink.write(&[b'x'; MAX_LINE]);
        }
        drop(reader);
        sink.write(b"two\n");
    }

    #[test]
    fn libraries_are_not_logged() {
        let _ = SINK.replace(None, Box::new(Sink { level: LevelFilter::Debug, file: None }));
        let enabled =
            |target: &str| Logger.enabled(&Metadata::builder().level(log::Level::Error).target(target).build());
        assert!(enabled("tpm2_cryptoki::boundary") && enabled("token"));
        assert!(!enabled("tss_esapi::context") && !enabled("tokens"));
    }
}
