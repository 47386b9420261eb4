//! What can go wrong between a client and its TPM.

use std::time::Duration;

/// In the place of a command code: any command.
pub const ANY: u32 = 0;

/// A fault that a [`Proxy`](crate::Proxy) does to the next command with the given command code (or [`ANY`]).
///
/// Faults wait in the order in which they were injected; a command meets the first that fits it. Each happens
/// once, [`Fault::Respond`] as many times as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The TPM is not asked; the client gets the response code `rc`.
    Respond {
        /// The command code.
        code: u32,
        /// The response code.
        rc: u32,
        /// How many commands this happens to.
        times: usize,
    },
    /// The TPM is not asked; the connection ends.
    CutBeforeCommand {
        /// The command code.
        code: u32,
    },
    /// The TPM does what it was asked; the connection ends without a response.
    CutAfterCommand {
        /// The command code.
        code: u32,
    },
    /// The TPM does what it was asked; the connection ends after the first `keep` bytes of the response.
    TruncateResponse {
        /// The command code.
        code: u32,
        /// How many bytes arrive.
        keep: usize,
    },
    /// The lowest bit of one byte of the response is turned; the last byte has the offset 0.
    FlipResponseByte {
        /// The command code.
        code: u32,
        /// Which byte.
        offset_from_end: usize,
    },
    /// One bit of the response is turned.
    FlipResponseBit {
        /// The command code.
        code: u32,
        /// Which bit, from the first; the count goes on at the first after the last.
        bit: usize,
    },
    /// The lowest bit of one byte of the command is turned before the TPM gets it; the last byte has the offset 0.
    FlipCommandByte {
        /// The command code.
        code: u32,
        /// Which byte.
        offset_from_end: usize,
    },
    /// The TPM does what it was asked; the client gets these bytes in place of the response.
    Replace {
        /// The command code.
        code: u32,
        /// All that the client gets, whether it is a response or not.
        bytes: Vec<u8>,
    },
    /// The response arrives in pieces of `size` bytes, each a little after the one before it.
    Pieces {
        /// The command code.
        code: u32,
        /// Bytes in a piece.
        size: usize,
    },
    /// The TPM does what it was asked; the client gets these bytes in place of the response, one at a time.
    Drip {
        /// The command code.
        code: u32,
        /// All that the client gets.
        bytes: Vec<u8>,
        /// The time between two bytes.
        every: Duration,
    },
    /// The response comes later by so much.
    Delay {
        /// The command code.
        code: u32,
        /// How much later.
        by: Duration,
    },
    /// The TPM gets another command first, whose response nobody gets, and which is not counted: what somebody else does at
    /// that moment.
    Precede {
        /// The command code.
        code: u32,
        /// The whole other command.
        command: Vec<u8>,
    },
    /// The TPM is not asked; nothing ever comes, on a connection that stays open until the client closes it.
    Hang {
        /// The command code.
        code: u32,
    },
}

impl Fault {
    pub(crate) fn code(&self) -> u32 {
        match self {
            Fault::Respond { code, .. }
            | Fault::CutBeforeCommand { code }
            | Fault::CutAfterCommand { code }
            | Fault::TruncateResponse { code, .. }
            | Fault::FlipResponseByte { code, .. }
            | Fault::FlipResponseBit { code, .. }
            | Fault::FlipCommandByte { code, .. }
            | Fault::Replace { code, .. }
            | Fault::Pieces { code, .. }
            | Fault::Drip { code, .. }
            | Fault::Delay { code, .. }
            | Fault::Precede { code, .. }
            | Fault::Hang { code } => *code,
        }
    }
}

/// Takes the fault that a command meets out of those that wait.
pub(crate) fn take(waiting: &mut Vec<Fault>, command: u32) -> Option<Fault> {
    let place = waiting.iter().position(|fault| fault.code() == command || fault.code() == ANY)?;
    if let Fault::Respond { times, .. } = &mut waiting[place]
        && *times > 1
    {
        *times -= 1;
        return Some(waiting[place].clone());
    }
    Some(waiting.remove(place))
}
