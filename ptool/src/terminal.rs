//! Asks on the terminal without echo.
//!
//! The echo is off before the question appears, so that an answer that comes at once (pasted, or sent by a script) is not
//! shown either.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use base::Secret;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Ends};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// More than a person types.
const LONGEST: usize = 1024;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const ESCAPE: u8 = 0x1B;
const DELETE: u8 = 0x7F;

/// The answer to `question` from the process's terminal, whatever standard input and output are.
///
/// # Errors
/// There is no terminal; `InvalidData` for an answer that is too long; `UnexpectedEof` when it is refused with Ctrl-D. Ctrl-C ends the process, as it would
/// elsewhere, with the echo on again; and so do the signals that end programs.
pub(crate) fn ask(question: &str) -> io::Result<Secret> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let held = Held::new()?;
    let answer = {
        let mut quiet = Quiet::new(&terminal)?;
        quiet.0.write_all(question.as_bytes())?;
        read_answer(|byte| held.read(quiet.0, byte))
    };
    terminal.write_all(b"\n")?;
    drop(held);
    if let Err(error) = &answer
        && error.kind() == io::ErrorKind::Interrupted
    {
        // As the terminal would have done, so that a script that runs this program stops as well.
        kill_current_process_group(Signal::INT)?;
    }
    answer
}

/// The signals that end a program, put off: with the echo off, they would leave a terminal that shows nothing. What came meanwhile
/// takes effect when this is dropped.
struct Held {
    before: SigSet,
    pending: SignalFd,
}

impl Held {
    fn new() -> io::Result<Held> {
        let ends: SigSet = [Ends::SIGHUP, Ends::SIGINT, Ends::SIGQUIT, Ends::SIGTERM].into_iter().collect();
        let pending = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
        let before = ends.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Held { before, pending })
    }

    /// Reads from the terminal, up to the first of these signals, which stays to be delivered.
    fn read(&self, mut terminal: &File, buffer: &mut [u8]) -> io::Result<usize> {
        let mut sources = [&terminal.as_fd(), &self.pending.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
        poll(&mut sources, PollTimeout::NONE)?;
        match sources[1].any() {
            Some(true) => Ok(0),
            _ => terminal.read(buffer),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The mask was taken from this thread, and fits it.
        let _ = self.before.thread_set_mask();
    }
}

/// A terminal that passes every key on and shows none; as it was before when this is dropped.
struct Quiet<'a>(&'a File, Termios);

impl Quiet<'_> {
    fn new(terminal: &File) -> io::Result<Quiet<'_>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question was shown on the screen, and was not meant as its answer: it is dropped.
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet(terminal, before))
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that went away needs no repair.
        let _ = tcsetattr(self.0, OptionalActions::Now, &self.1);
    }
}

/// What a key means depends on whether it is part of an escape sequence, such as that of an arrow key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Plain,
    Escaped,
    Sequence,
}

/// Reads up to the end of the line, with the editing keys of a terminal.
fn read_answer(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Secret> {
    let mut answer = Secret::zeroed(LONGEST);
    let mut length = 0;
    let mut keys = Keys::Plain;
    let mut byte = Secret::zeroed(1);
    loop {
        match read(byte.expose_mut()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let key = byte.expose().first().copied().unwrap_or_default();
        keys = match (keys, key) {
            (_, b'\n' | b'\r') => break,
            (_, CTRL_C) => return Err(io::ErrorKind::Interrupted.into()),
            (Keys::Escaped, b'[' | b'O') => Keys::Sequence,
            (Keys::Escaped, _) | (Keys::Sequence, 0x40..) => Keys::Plain,
            (Keys::Sequence, _) => Keys::Sequence,
            (Keys::Plain, ESCAPE) => Keys::Escaped,
            (Keys::Plain, CTRL_D) if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Keys::Plain, CTRL_U) => {
                length = 0;
                Keys::Plain
            }
            (Keys::Plain, BACKSPACE | DELETE) => {
                length = without_last_character(answer.expose().get(..length).unwrap_or_default());
                Keys::Plain
            }
            (Keys::Plain, ..0x20) => Keys::Plain,
            (Keys::Plain, key) => {
                let place = answer
                    .expose_mut()
                    .get_mut(length)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"))?;
                *place = key;
                length += 1;
                Keys::Plain
            }
        };
    }
    Ok(Secret::copy_from(answer.expose().get(..length).unwrap_or_default()))
}

/// The length of UTF-8 `text` without its last character.
fn without_last_character(text: &[u8]) -> usize {
    text.iter().rposition(|byte| byte & 0xC0 != 0x80).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> io::Result<String> {
        let mut rest = keys.as_bytes();
        read_answer(|byte| rest.read(byte)).map(|answer| String::from_utf8(answer.expose().to_vec()).unwrap())
    }

    #[test]
    fn keys_have_their_meaning() {
        for (keys, answer) in [
            ("pin\n", "pin"),
            ("pin\r", "pin"),
            ("\n", ""),
            ("pim\x7fn\n", "pin"),
            ("p\x08\x08\x08pin\n", "pin"),
            ("grün\x7f\x7f\x7f\x7fpin\n", "pin"),
            ("grü\x7fün\n", "grün"),
            ("wrong\x15pin\n", "pin"),
            ("p\x1b[Di\x1bOC\x1b[1;5Dn\t\x04\n", "pin"),
            ("pin\nrest", "pin"),
        ] {
            assert_eq!(typed(keys).unwrap(), answer, "{keys:?}");
        }
    }

    #[test]
    fn refusals_are_errors() {
        assert_eq!(typed("\x04").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(typed("pin").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(typed("pin\x03").unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(typed(&"x".repeat(LONGEST + 1)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
