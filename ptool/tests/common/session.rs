//! A person at a terminal.

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::Machine;

/// A shell line on a terminal of its own.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    keys: ChildStdin,
    output: Receiver<u8>,
    seen: String,
}

impl Session {
    /// Runs the line.
    pub(crate) fn start(machine: &Machine, line: &str) -> Session {
        let mut child = machine
            .command("script")
            .args(["--quiet", "--return", "--command", line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || stdout.bytes().map_while(Result::ok).try_for_each(|byte| sender.send(byte)));
        Session { child, keys, output, seen: String::new() }
    }

    /// Waits until `text` is printed anew.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let start = self.seen.len();
        while !self.seen[start..].contains(text) {
            match self.output.recv_timeout(Duration::from_secs(60)) {
                Ok(byte) => self.seen.push(char::from(byte)),
                Err(error) => panic!("{error} while waiting for {text:?} after {:?}", self.seen),
            }
        }
    }

    /// Waits until anything more is printed.
    pub(crate) fn wait_for_anything(&mut self) {
        match self.output.recv_timeout(Duration::from_secs(60)) {
            Ok(byte) => self.seen.push(char::from(byte)),
            Err(error) => panic!("{error} while waiting for more than {:?}", self.seen),
        }
    }

    /// Types, without waiting for anything.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What was on the screen up to now.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// The exit status and all that was on the screen.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.seen.extend(self.output.iter().map(char::from));
        (self.child.wait().unwrap().code(), self.seen)
    }
}
