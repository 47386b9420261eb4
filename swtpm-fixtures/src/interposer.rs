//! Somebody between client and TPM who puts in commands of his own, and changes those of others.

use std::fmt;
use std::io::Write;
use std::net::TcpStream;

use crate::wire::{NO_SESSIONS, SESSIONS, command, read_frame};

/// What an interposer does with a command: it gives the response that the client gets.
type Act = dyn FnMut(&[u8], &mut Upstream<'_>) -> Vec<u8> + Send;

pub(crate) struct Interposer(pub(crate) Box<Act>);

impl fmt::Debug for Interposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interposer")
    }
}

/// The TPM as an interposer has it: on the client's own connection, between two of its commands.
#[derive(Debug)]
pub struct Upstream<'a>(pub(crate) &'a mut TcpStream);

impl Upstream<'_> {
    /// Sends a whole command, and gives the whole response. Nothing of it is counted. Panics when the TPM closes.
    pub fn transact(&mut self, command: &[u8]) -> Vec<u8> {
        self.0.write_all(command).expect("the TPM takes a command");
        read_frame(self.0).expect("the TPM answers").expect("the TPM goes on")
    }
}

/// A whole command, authorised by sessions of which none proves anything: a password that is empty (`TPM_RS_PW`), or a policy
/// session without a key. They go on afterwards.
pub fn raw_command(code: u32, handles: &[u32], sessions: &[u32], parameters: &[u8]) -> Vec<u8> {
    let handles: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    if sessions.is_empty() {
        return command(NO_SESSIONS, code, &[&handles, parameters]);
    }
    let mut area = Vec::new();
    for session in sessions {
        area.extend(session.to_be_bytes());
        area.extend([0, 0, 1, 0, 0]);
    }
    let size = (area.len() as u32).to_be_bytes();
    command(SESSIONS, code, &[&handles, &size, &area, parameters])
}
