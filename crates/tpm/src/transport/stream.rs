//! A TPM at the other end of a socket: `swtpm` on TCP or on a Unix socket. The connection is kept: making one for each
//! command triples the time of a short one.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use base::descriptors::{Descriptor, Known};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, send, shutdown, socket,
};
use zeroize::Zeroizing;

use super::exchange::{Deadline, Once, Transport, TransportError, above_standard_streams, lost, ours, receive};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(20);

/// A kept connection to a socket.
#[derive(Debug)]
pub(super) struct Stream {
    fd: Descriptor,
    managed: bool,
    once: Once,
}

impl Stream {
    fn new(fd: OwnedFd) -> Result<Stream, TransportError> {
        Ok(Stream { fd: above_standard_streams(fd)?, managed: false, once: Once::new() })
    }

    /// Says whether a resource manager is at the other end.
    pub(super) fn managed(self, managed: bool) -> Stream {
        Stream { managed, ..self }
    }
}

impl Transport for Stream {
    fn transact(&mut self, command: &[u8], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let fd = &self.fd;
        self.once.run(|| {
            let fd = ours(fd)?;
            let deadline = Deadline::after(deadline);
            send_all(fd, command, &deadline)?;
            receive(fd, &deadline, |buffer| nix::unistd::read(fd, buffer))
        })
    }

    fn hang_up(&mut self) {
        if let Some(fd) = self.fd.get() {
            // Fails where the other side has hung up already.
            let _ = shutdown(fd.as_raw_fd(), Shutdown::Both);
        }
    }

    /// Between two commands there is nothing to be read but the end.
    fn has_ended(&self, patience: Duration) -> bool {
        // What the host closed has ended, too.
        let Some(fd) = self.fd.look() else { return true };
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], patience).is_ok_and(|ready| ready > 0)
    }

    fn resource_managed(&self) -> bool {
        self.managed
    }

    /// `swtpm` serves one connection at a time.
    fn exclusive(&self) -> bool {
        !self.managed
    }

    fn descriptor(&self) -> Option<Known> {
        self.fd.known()
    }
}

fn send_all(fd: BorrowedFd<'_>, command: &[u8], deadline: &Deadline) -> Result<(), TransportError> {
    let mut rest = command;
    while !rest.is_empty() {
        // MSG_NOSIGNAL: a TPM that went away must not end its host by SIGPIPE.
        match send(fd.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => deadline.wait(fd, PollFlags::POLLOUT)?,
            Err(errno) => return Err(lost("sending a command to the TPM", errno)),
        }
    }
    Ok(())
}

/// Connects to a TCP port.
pub(super) fn tcp(host: &str, port: u16) -> Result<Stream, TransportError> {
    let mut failure = TransportError::NotThere(format!("{host} has no address"));
    for address in addresses(host, port)? {
        match connected(&address) {
            Ok(fd) => return Stream::new(fd),
            Err(error) => failure = not_there(&format!("{host}:{port}"), &error),
        }
    }
    Err(failure)
}

fn connected(address: &SocketAddr) -> std::io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(address, CONNECT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

/// The resolver loads libraries into the process and may ask the network: it is not used where there is nothing to ask.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, TransportError> {
    if host.eq_ignore_ascii_case("localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    (host, port)
        .to_socket_addrs()
        .map(Iterator::collect)
        .map_err(|error| TransportError::NotThere(format!("the host {host:?} is not known: {error}")))
}

/// Connects to a Unix socket.
pub(super) fn unix(path: &Path) -> Result<Stream, TransportError> {
    let name = path.display().to_string();
    let failed = |errno: Errno| not_there(&name, &errno.into());
    let address = UnixAddr::new(path).map_err(failed)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    let start = Instant::now();
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => return Stream::new(fd),
            Err(Errno::EINTR) => {}
            // The queue of those who wait to be served is full, and a Unix socket tells nobody when it no longer is.
            Err(Errno::EAGAIN) if start.elapsed() < CONNECT => std::thread::sleep(Duration::from_millis(5)),
            Err(errno) => return Err(failed(errno)),
        }
    }
}

fn not_there(name: &str, error: &Error) -> TransportError {
    TransportError::NotThere(match error.kind() {
        ErrorKind::ConnectionRefused => format!("nothing listens on {name}: start the TPM, or correct the TCTI"),
        ErrorKind::NotFound => format!("there is no socket {name}: start the TPM, or correct the TCTI"),
        ErrorKind::PermissionDenied => format!("no permission to connect to {name}"),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!("{name} accepted no connection within {} s: another client may hold it", CONNECT.as_secs())
        }
        _ => format!("cannot connect to {name}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::{GET_RANDOM, SECOND};
    use swtpm_fixtures::SwTpm;

    #[test]
    fn a_tpm_that_went_away_raises_no_signal() {
        use nix::sys::signal::{SigSet, Signal};
        // A blocked signal stays pending even in a process that ignores it, as Rust's test harness does.
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGPIPE);
        mask.thread_block().unwrap();

        for (mut tpm, unix) in [(SwTpm::start(), false), (SwTpm::start_unix(), true)] {
            let stream = match tpm.path() {
                Some(path) => super::unix(path).unwrap(),
                None => tcp("127.0.0.1", tpm.port()).unwrap(),
            };
            tpm.stop();
            // The first may still go out; the peer's refusal comes back; from then on each is an error.
            let deadline = Deadline::after(SECOND);
            let ends = [(); 3].map(|()| send_all(stream.fd.get().unwrap(), &GET_RANDOM, &deadline));
            assert!(matches!(ends[2], Err(TransportError::Lost(_))), "{unix} {ends:?}");
        }
        assert!(!sigpipe_is_pending());
        nix::sys::signal::raise(Signal::SIGPIPE).unwrap();
        assert!(sigpipe_is_pending(), "it would have been seen");
    }

    fn sigpipe_is_pending() -> bool {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
        u64::from_str_radix(pending.trim(), 16).unwrap() >> 12 & 1 == 1
    }

    #[test]
    fn an_unserved_client_waits_for_its_turn() {
        let tpm = SwTpm::start();
        let mut first = tcp("localhost", tpm.port()).unwrap();
        first.transact(&GET_RANDOM, SECOND).unwrap();
        let mut second = tcp("localhost", tpm.port()).unwrap();
        let patience = Duration::from_millis(50);
        assert_eq!(second.transact(&GET_RANDOM, patience), Err(TransportError::TimedOut(patience)));
        drop((first, second));
        let mut third = tcp("localhost", tpm.port()).unwrap();
        assert!(third.transact(&GET_RANDOM, SECOND).is_ok());
    }
}
