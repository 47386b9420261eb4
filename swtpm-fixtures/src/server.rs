//! Listening sockets, a thread for each connection, and an end to all of them.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::Shutdown;

use crate::ports::PortPair;

/// Serves a data port by a handler, and the control port after it by passing its bytes on to the control port of `upstream`.
#[derive(Debug)]
pub(crate) struct Server {
    ports: PortPair,
    listeners: Vec<OwnedFd>,
    acceptors: Vec<JoinHandle<()>>,
    open: Arc<Open>,
}

impl Server {
    /// Serves `at`, or any free pair, until it is dropped.
    pub(crate) fn start(
        at: Option<u16>,
        upstream: u16,
        handler: impl Fn(TcpStream, Entry) + Send + Sync + 'static,
    ) -> std::io::Result<Server> {
        let (ports, data, control) = match at {
            Some(port) => PortPair::bind(port)?,
            None => PortPair::claim_bound(),
        };
        let mut server = Server { ports, listeners: Vec::new(), acceptors: Vec::new(), open: Arc::default() };
        server.accept(data, accept_tcp, handler)?;
        server.accept(control, accept_tcp, move |client, mut entry| {
            if let Ok(tpm) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream + 1)) {
                entry.add(&tpm);
                relay(&client, &tpm);
            }
        })?;
        Ok(server)
    }

    /// Serves a Unix socket too.
    pub(crate) fn also_at(
        &mut self,
        path: &Path,
        handler: impl Fn(UnixStream, Entry) + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        self.accept(UnixListener::bind(path)?, |listener| Ok(listener.accept()?.0), handler)
    }

    pub(crate) fn port(&self) -> u16 {
        self.ports.data()
    }

    /// Ends every connection that is open now.
    pub(crate) fn cut(&self) {
        self.open.cut();
    }

    fn accept<L: AsFd + Send + 'static, S: AsFd + Send + 'static>(
        &mut self,
        listener: L,
        next: impl Fn(&L) -> std::io::Result<S> + Send + 'static,
        handler: impl Fn(S, Entry) + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        self.listeners.push(listener.as_fd().try_clone_to_owned()?);
        let open = Arc::clone(&self.open);
        let handler = Arc::new(handler);
        self.acceptors.push(std::thread::spawn(move || {
            loop {
                match next(&listener) {
                    Ok(client) => {
                        let entry = Entry::new(&open, &client);
                        let handler = Arc::clone(&handler);
                        std::thread::spawn(move || handler(client, entry));
                    }
                    // It was shut down.
                    Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Linux wakes a thread in accept() when its listening socket is shut down.
            shut_down(listener);
        }
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
        self.open.cut();
    }
}

fn accept_tcp(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (client, _) = listener.accept()?;
    client.set_nodelay(true)?;
    Ok(client)
}

fn shut_down(socket: &impl AsFd) {
    let _ = nix::sys::socket::shutdown(socket.as_fd().as_raw_fd(), Shutdown::Both);
}

/// Passes bytes on in both directions until one side ends.
fn relay(one: &TcpStream, other: &TcpStream) {
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(one, other), (other, one)] {
            scope.spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                shut_down(&from);
                shut_down(&to);
            });
        }
    });
}

/// The sockets of the connections that are open.
#[derive(Debug, Default)]
struct Open(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    sockets: HashMap<u64, Vec<OwnedFd>>,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.lock().sockets.values().flatten().for_each(shut_down);
    }
}

/// One connection's place among the open ones; its sockets are shut down when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    open: Arc<Open>,
    id: u64,
}

impl Entry {
    fn new(open: &Arc<Open>, client: &impl AsFd) -> Entry {
        let mut table = open.lock();
        table.last += 1;
        let id = table.last;
        table.sockets.insert(id, Vec::new());
        drop(table);
        let mut entry = Entry { open: Arc::clone(open), id };
        entry.add(client);
        entry
    }

    /// A socket that ends with this connection.
    pub(crate) fn add(&mut self, socket: &impl AsFd) {
        if let (Ok(copy), Some(sockets)) =
            (socket.as_fd().try_clone_to_owned(), self.open.lock().sockets.get_mut(&self.id))
        {
            sockets.push(copy);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.lock().sockets.remove(&self.id).iter().flatten().for_each(shut_down);
    }
}
