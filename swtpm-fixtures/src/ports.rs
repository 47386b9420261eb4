//! Pairs of TCP ports on the loopback interface, chosen so that parallel tests do not meet.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below the range from which Linux takes the ports of outgoing connections, so that a port is not
/// taken while its TPM is being restarted.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// A data port and the control port after it, as the TSS's `swtpm` TCTI expects them.
///
/// The pair belongs to its owner even while nothing listens on it: the claim is an abstract Unix socket,
/// which lives in the same network namespace as the ports and vanishes with its process.
#[derive(Debug)]
pub(crate) struct PortPair {
    data: u16,
    _claim: UnixListener,
}

impl PortPair {
    /// Claims a pair that nobody listens on.
    pub(crate) fn claim() -> PortPair {
        PortPair::claim_bound().0
    }

    /// Claims a pair and listens on it: the pair, the data listener, the control listener.
    pub(crate) fn claim_bound() -> (PortPair, TcpListener, TcpListener) {
        let pairs = usize::from(RANGE.end - RANGE.start) / 2;
        let start = RandomState::new().build_hasher().finish() as usize % pairs;
        (0..pairs)
            .map(|i| RANGE.start + 2 * ((start + i) % pairs) as u16)
            .find_map(|data| PortPair::bind(data).ok())
            .expect("no free pair of TCP ports on 127.0.0.1")
    }

    /// Claims and listens on `data` and the port after it.
    pub(crate) fn bind(data: u16) -> std::io::Result<(PortPair, TcpListener, TcpListener)> {
        let name = format!("swtpm-fixtures.{data}");
        let claim = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, data))?;
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, data + 1))?;
        let pair = PortPair { data, _claim: claim };
        Ok((pair, first, second))
    }

    /// The data port.
    pub(crate) fn data(&self) -> u16 {
        self.data
    }

    /// The control port.
    pub(crate) fn control(&self) -> u16 {
        self.data + 1
    }
}

/// Whether the process `pid` itself listens on `port`: a listener of somebody else would answer too.
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else {
        return false;
    };
    let suffix = format!(":{port:04X}");
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listening = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        listening.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
    });
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let owned: Vec<_> = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    sockets.into_iter().any(|socket| owned.iter().any(|link| link.as_os_str() == socket.as_str()))
}
