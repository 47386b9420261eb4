//! What all ways to a TPM have in common: one command out, one response back, and what can go wrong.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use base::descriptors::{Descriptor, Known};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

/// A connection to a TPM.
pub(crate) trait Transport: Send + fmt::Debug {
    /// Sends one command and returns the whole response to it: its size is what its header says, and at least a header's.
    fn transact(&mut self, command: &[u8], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, TransportError>;

    /// Says good-bye, before the drop: a process that was forked off has the descriptor too, and closing ours would not end a
    /// connection that it keeps open without knowing. Sockets are shut down, for all who have them. A device has nothing of
    /// that kind: it stays open, and `/dev/tpm0` busy, until that process ends, executes a program, or closes it
    /// ([`Tpm::abandon`](crate::Tpm::abandon)); what its resource manager keeps for the connection stays as long. So does a
    /// connection of somebody else's code.
    fn hang_up(&mut self) {}

    /// Whether the other side has ended the connection, or does within `patience`, as far as is known without a word to it.
    fn has_ended(&self, _patience: Duration) -> bool {
        false
    }

    /// Whether a resource manager stands between here and the TPM: the connection has a space of its own, and closing it
    /// gives back everything that it held.
    fn resource_managed(&self) -> bool;

    /// Whether others are locked out while the connection is open.
    fn exclusive(&self) -> bool;

    /// The descriptor, the same from [`open`] to the drop, for a forked child to close. `None` where the connection is
    /// somebody else's code.
    fn descriptor(&self) -> Option<Known>;
}

/// Why bytes did not get through. The texts are for a person who can do something about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    /// No connection could be made.
    #[error("{0}")]
    NotThere(String),
    /// The connection ended.
    #[error("{0}")]
    Lost(String),
    /// There was no response within this time.
    #[error("no response within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The response is not one.
    #[error("{0}")]
    Malformed(&'static str),
    /// This build or this system does not know the way.
    #[error("{0}")]
    Unsupported(String),
}

/// Tag, size, response code (TPM 2.0 Part 1, 18.2).
const HEADER: usize = 10;

/// What is read at once: the longest response of today's TPMs, and more than the kernel ever gives.
const USUAL_RESPONSE: usize = 4096;

/// No response is longer, whatever its header says.
pub(crate) const MAX_RESPONSE: usize = 64 * 1024;

/// The size that a response's header gives; `None` while the header is not complete.
pub(crate) fn response_size(response: &[u8]) -> Result<Option<usize>, TransportError> {
    if response.len() < HEADER {
        return Ok(None);
    }
    let size = response.get(2..6).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
    match usize::try_from(size) {
        Ok(size) if (HEADER..=MAX_RESPONSE).contains(&size) => Ok(Some(size)),
        _ => Err(TransportError::Malformed("the size in the header of a response is out of bounds")),
    }
}

/// Reads one whole response, in one piece or in many.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    deadline: &Deadline,
    mut read: impl FnMut(&mut [u8]) -> nix::Result<usize>,
) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    let mut response = Zeroizing::new(vec![0; USUAL_RESPONSE]);
    let mut got = 0;
    loop {
        deadline.wait(fd, PollFlags::POLLIN)?;
        match read(&mut response[got..]) {
            Ok(0) => return Err(TransportError::Lost("the other side closed the connection".into())),
            Ok(n) => got += n,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(lost("reading the response", errno)),
        }
        match response_size(&response[..got])? {
            Some(size) if got > size => {
                return Err(TransportError::Malformed("a response is longer than its header says"));
            }
            Some(size) if got == size => {
                response.truncate(size);
                return Ok(response);
            }
            // At most MAX_RESPONSE.
            Some(size) if size > response.len() => response = longer(&response, size),
            _ => {}
        }
        // One byte every now and then is always in time for the next wait.
        deadline.check()?;
    }
}

/// A buffer that begins with what `bytes` holds. Growing in place could leave a copy behind.
fn longer(bytes: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut longer = Zeroizing::new(Vec::with_capacity(size));
    longer.extend_from_slice(bytes);
    longer.resize(size, 0);
    longer
}

/// The moment at which patience ends.
pub(super) struct Deadline {
    given: Duration,
    end: Option<Instant>,
}

impl Deadline {
    pub(super) fn after(given: Duration) -> Deadline {
        Deadline { given, end: Instant::now().checked_add(given) }
    }

    pub(super) fn check(&self) -> Result<(), TransportError> {
        match self.end {
            Some(end) if Instant::now() >= end => Err(TransportError::TimedOut(self.given)),
            _ => Ok(()),
        }
    }

    /// Waits until the descriptor is ready for one of `events`, or has ended.
    pub(super) fn wait(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), TransportError> {
        loop {
            let timeout = match self.end {
                Some(end) => {
                    let rest = end.saturating_duration_since(Instant::now());
                    // Rounded up: a rest below a millisecond must not become a busy loop.
                    PollTimeout::try_from(rest.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
                }
                None => PollTimeout::NONE,
            };
            match poll(&mut [PollFd::new(fd, events)], timeout) {
                Ok(0) | Err(Errno::EINTR) => self.check()?,
                Ok(_) => return Ok(()),
                Err(errno) => return Err(lost("waiting for the TPM", errno)),
            }
        }
    }
}

/// A connection that is used until its first error.
#[derive(Debug)]
pub(super) struct Once {
    failed: bool,
}

impl Once {
    pub(super) fn new() -> Once {
        Once { failed: false }
    }

    pub(super) fn run<T>(&mut self, exchange: impl FnOnce() -> Result<T, TransportError>) -> Result<T, TransportError> {
        if self.failed {
            return Err(TransportError::Lost("the connection was given up after an error".into()));
        }
        let result = exchange();
        self.failed = result.is_err();
        result
    }
}

pub(super) fn lost(doing: &str, errno: Errno) -> TransportError {
    TransportError::Lost(format!("{doing}: {}", errno.desc()))
}

/// The descriptor of a connection, before it is used.
pub(super) fn ours(descriptor: &Descriptor) -> Result<BorrowedFd<'_>, TransportError> {
    descriptor.get().ok_or_else(|| TransportError::Lost("the program closed the descriptor of the connection".into()))
}

/// A host that closed its standard streams still prints to them: what it prints must not reach the TPM.
pub(super) fn above_standard_streams(fd: OwnedFd) -> Result<Descriptor, TransportError> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        return Ok(Descriptor::new(fd));
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3)
        .map(Descriptor::new)
        .map_err(|error| TransportError::NotThere(format!("no descriptor is left for the connection: {error}")))
}
