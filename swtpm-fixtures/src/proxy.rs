//! A proxy in front of a TPM that counts, delays and spoils.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::chip::Chip;
use crate::commands::{Command, Commands, NO_RESPONSE, command_name};
use crate::fault::{Fault, take};
use crate::interposer::{Interposer, Upstream};
use crate::server::{Entry, Server};
use crate::swtpm::SwTpm;
use crate::wire::{be32, read_frame, refusal};

/// A transparent proxy: one upstream connection for each client connection, so that the TPM's own rule of one connection
/// at a time is kept. A command is counted before its response is passed on: who has the answer has the count.
///
/// The control port is passed on uncounted. Dropping the proxy ends its connections.
#[derive(Debug)]
pub struct Proxy {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    interposer: Mutex<Option<Interposer>>,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    connections: usize,
    faults: Vec<Fault>,
    delay: Duration,
    chip: Chip,
    one_command_each: bool,
}

impl Proxy {
    /// A proxy in front of a TPM on TCP.
    pub fn start(tpm: &SwTpm) -> Proxy {
        Proxy::to(tpm.port())
    }

    /// A proxy in front of what listens on `upstream` (and, for control, on the port after it).
    pub fn to(upstream: u16) -> Proxy {
        Proxy::listening(None, upstream).expect("a proxy's ports")
    }

    /// As [`Proxy::to`], listening on the given port and the one after it.
    pub fn at(port: u16, upstream: u16) -> std::io::Result<Proxy> {
        Proxy::listening(Some(port), upstream)
    }

    /// The TCTI string that reaches the TPM through this proxy.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port())
    }

    /// The data port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// What was asked since the last mark, which this call sets anew; [`Proxy::connections`] starts again at 0 too.
    pub fn mark(&self) -> Commands {
        let mut state = self.shared.lock();
        state.connections = 0;
        Commands(std::mem::take(&mut state.commands))
    }

    /// What was asked since the last mark.
    pub fn peek(&self) -> Commands {
        Commands(self.shared.lock().commands.clone())
    }

    /// How many data connections were accepted since the last mark.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Lets a fault happen to the next command that fits it.
    pub fn inject(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// The injected faults that have not happened, or not as often as they should.
    pub fn pending_faults(&self) -> Vec<Fault> {
        self.shared.lock().faults.clone()
    }

    /// Forgets the faults that have not happened.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// From now on every command that no fault meets goes to `act`, in the place of the TPM: what it gives is what the client
    /// gets. It may ask the TPM what it likes. One command at a time, whatever the number of connections.
    pub fn interpose(&self, act: impl FnMut(&[u8], &mut Upstream<'_>) -> Vec<u8> + Send + 'static) {
        let mut interposer = self.shared.interposer.lock().unwrap_or_else(PoisonError::into_inner);
        *interposer = Some(Interposer(Box::new(act)));
    }

    /// Ends what [`Proxy::interpose`] began.
    pub fn stand_aside(&self) {
        *self.shared.interposer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on each command takes so much longer.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// From now on the TPM looks like this chip.
    pub fn play(&self, chip: Chip) {
        self.shared.lock().chip = chip;
    }

    /// From now on each connection ends after one command, as those of `swtpm` do with `disconnect`.
    pub fn one_command_each(&self) {
        self.shared.lock().one_command_each = true;
    }

    /// Ends every open connection now, as a TPM that goes away between two commands; new ones are served.
    pub fn cut(&self) {
        self.server.cut();
    }

    fn listening(at: Option<u16>, upstream: u16) -> std::io::Result<Proxy> {
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let server = Server::start(at, upstream, move |client, entry| {
            state.serve(client, entry, upstream);
        })?;
        Ok(Proxy { server, shared })
    }
}

/// How a connection goes on after a command.
enum Next {
    Open,
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: TcpStream, mut entry: Entry, upstream: u16) {
        self.lock().connections += 1;
        let Ok(mut tpm) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
            return;
        };
        let _ = tpm.set_nodelay(true);
        entry.add(&tpm);

        while client_speaks(&client, &tpm) {
            let Ok(Some(command)) = read_frame(&mut client) else {
                return;
            };
            match self.exchange(command, &mut client, &mut tpm) {
                Ok(Next::Open) if self.lock().one_command_each => return,
                Ok(Next::Open) => {}
                Ok(Next::Closed) | Err(_) => return,
            }
        }
    }

    fn exchange(&self, mut command: Vec<u8>, client: &mut TcpStream, tpm: &mut TcpStream) -> std::io::Result<Next> {
        let code = be32(&command, 6);
        let size = command.len();
        let (fault, delay, chip) = {
            let mut state = self.lock();
            (take(&mut state.faults, code), state.delay + state.chip.delay(), state.chip.clone())
        };
        let count = |rc: u32, response_size: usize| {
            self.lock().commands.push(Command { code, name: command_name(code), rc, size, response_size });
        };
        std::thread::sleep(delay);

        match fault {
            Some(Fault::Respond { rc, .. }) => {
                let response = refusal(rc);
                count(rc, response.len());
                client.write_all(&response)?;
                return Ok(Next::Open);
            }
            Some(Fault::CutBeforeCommand { .. }) => {
                count(NO_RESPONSE, 0);
                return Ok(Next::Closed);
            }
            Some(Fault::Hang { .. }) => {
                count(NO_RESPONSE, 0);
                // Others may use the TPM while this client waits.
                let _ = tpm.shutdown(std::net::Shutdown::Both);
                let mut client = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
                while poll(&mut client, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
                return Ok(Next::Closed);
            }
            Some(Fault::Precede { command: ref other, .. }) => {
                tpm.write_all(other)?;
                read_frame(tpm)?;
            }
            Some(Fault::FlipCommandByte { offset_from_end, .. }) => {
                flip(&mut command, offset_from_end);
            }
            _ => {}
        }

        let interposed = match (&fault, &mut *self.interposer.lock().unwrap_or_else(PoisonError::into_inner)) {
            (None, Some(Interposer(act))) => Some(act(&command, &mut Upstream(tpm))),
            _ => None,
        };
        let answer = match interposed.or_else(|| chip.refuses(&command)) {
            Some(response) => Some(response),
            None => {
                tpm.write_all(&command)?;
                read_frame(tpm)?.map(|response| chip.alters(&command, response))
            }
        };
        let Some(mut response) = answer else {
            count(NO_RESPONSE, 0);
            return Ok(Next::Closed);
        };
        let rc = be32(&response, 6);

        match fault {
            Some(Fault::CutAfterCommand { .. }) => {
                count(NO_RESPONSE, 0);
                return Ok(Next::Closed);
            }
            Some(Fault::TruncateResponse { keep, .. }) => {
                response.truncate(keep);
                count(NO_RESPONSE, response.len());
                client.write_all(&response)?;
                return Ok(Next::Closed);
            }
            Some(Fault::FlipResponseByte { offset_from_end, .. }) => {
                flip(&mut response, offset_from_end);
            }
            Some(Fault::FlipResponseBit { bit, .. }) => {
                let bit = bit % (8 * response.len());
                response[bit / 8] ^= 1 << (bit % 8);
            }
            Some(Fault::Replace { bytes, .. }) => {
                response = bytes;
            }
            Some(Fault::Delay { by, .. }) => std::thread::sleep(by),
            Some(Fault::Pieces { size, .. }) => {
                count(rc, response.len());
                send_slowly(client, &response, size.max(1), Duration::from_millis(1))?;
                return Ok(Next::Open);
            }
            Some(Fault::Drip { bytes, every, .. }) => {
                count(rc, bytes.len());
                send_slowly(client, &bytes, 1, every)?;
                return Ok(Next::Open);
            }
            _ => {}
        }
        let seen = match response.len() {
            0..10 => NO_RESPONSE,
            _ => be32(&response, 6),
        };
        count(seen, response.len());
        client.write_all(&response)?;
        Ok(Next::Open)
    }
}

/// Waits until the client sends or closes (true), or the TPM goes away (false).
fn client_speaks(client: &TcpStream, tpm: &TcpStream) -> bool {
    loop {
        let mut both = [PollFd::new(client.as_fd(), PollFlags::POLLIN), PollFd::new(tpm.as_fd(), PollFlags::POLLIN)];
        match poll(&mut both, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) if both[1].any() == Some(true) => return false,
            Ok(_) => return true,
        }
    }
}

fn send_slowly(client: &mut TcpStream, bytes: &[u8], piece: usize, pause: Duration) -> std::io::Result<()> {
    for piece in bytes.chunks(piece) {
        client.write_all(piece)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn flip(bytes: &mut [u8], offset_from_end: usize) {
    if let Some(byte) = bytes.iter_mut().rev().nth(offset_from_end) {
        *byte ^= 1;
    }
}
