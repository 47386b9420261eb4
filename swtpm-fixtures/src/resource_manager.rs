//! The kernel's resource manager, `/dev/tpmrm0`, emulated on TCP.

use std::io::{Read, Result, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::commands::{Command, Commands, NO_RESPONSE, command_name, handles_in, returns_handle};
use crate::server::{Entry, Server};
use crate::wire::{NO_SESSIONS, RawClient, be32, command, put32, read_frame, refusal};

/// Slots of one client for objects, and as many for sessions, as Linux has them.
const SLOTS: usize = 3;

/// `TPM_RC_HANDLE` of the first handle, `TPM_RC_OBJECT_MEMORY`, `TPM_RC_SESSION_MEMORY`, `TPM_RC_FAILURE`, and
/// `TPM_RC_REFERENCE_H0` and `TPM_RC_HANDLE` of the first parameter, which say that a context is gone.
const RC_HANDLE_1: u32 = 0x18b;
const RC_OBJECT_MEMORY: u32 = 0x902;
const RC_SESSION_MEMORY: u32 = 0x903;
const RC_FAILURE: u32 = 0x101;
const RC_REFERENCE_H0: u32 = 0x910;
const RC_HANDLE_P1: u32 = 0x1cb;
const RC_HANDLE: u32 = 0x08b;

const CONTEXT_LOAD: u32 = 0x161;
const CONTEXT_SAVE: u32 = 0x162;
const FLUSH_CONTEXT: u32 = 0x165;
const GET_CAPABILITY: u32 = 0x17a;

/// Serves many clients at once, each connection with a space of its own as each open file of `/dev/tpmrm0` has: three objects
/// with virtual handles (0x80ffffff and below), three sessions; loaded before each command and saved after it; given
/// back when the client goes.
///
/// So a command of a client that holds n objects and m sessions asks the chip `1 + 3 n + 2 m` commands; a [`Proxy`](crate::Proxy)
/// between the TPM and this shows them, and [`ResourceManager::mark`] what the clients asked. Where the kernel fails the
/// system call, the client gets a response code: 0x18b for a handle that is not its own, 0x902 or 0x903 when it has no
/// slot left, 0x101 when its space was lost.
#[derive(Debug)]
pub struct ResourceManager {
    server: Server,
    chip: Arc<Mutex<Chip>>,
    directory: TempDir,
}

impl ResourceManager {
    /// A resource manager in front of what listens on `upstream`: a `SwTpm` or a `Proxy`.
    pub fn start(upstream: u16) -> ResourceManager {
        ResourceManager::listening(None, upstream).expect("a resource manager's sockets")
    }

    /// As [`ResourceManager::start`], listening on the given port and the one after it.
    pub fn at(port: u16, upstream: u16) -> Result<ResourceManager> {
        ResourceManager::listening(Some(port), upstream)
    }

    /// The TCTI string for this project's own transport: `device:` and a Unix socket named `tpmrm0`, which it takes
    /// for what it is, a resource manager.
    pub fn tcti(&self) -> String {
        format!("device:{}", self.path().display())
    }

    /// The TCTI string for everybody else: to such a client this is a `swtpm`.
    pub fn tcti_tcp(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port())
    }

    /// The data port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The Unix socket.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("tpmrm0")
    }

    /// What the clients asked since the last mark, which this call sets anew.
    pub fn mark(&self) -> Commands {
        let mut chip = lock(&self.chip);
        chip.connections = 0;
        Commands(std::mem::take(&mut chip.asked))
    }

    /// What the clients asked since the last mark.
    pub fn peek(&self) -> Commands {
        Commands(lock(&self.chip).asked.clone())
    }

    /// How many connections clients made since the last mark.
    pub fn connections(&self) -> usize {
        lock(&self.chip).connections
    }

    /// Ends every client's connection now; new ones are served.
    pub fn cut(&self) {
        self.server.cut();
    }

    fn listening(at: Option<u16>, upstream: u16) -> Result<ResourceManager> {
        let directory = tempfile::Builder::new().prefix("tpmrm-").tempdir()?;
        let chip = Arc::new(Mutex::new(Chip { upstream, asked: Vec::new(), connections: 0 }));
        let [one, other] = [Arc::clone(&chip), Arc::clone(&chip)];
        let mut server = Server::start(at, upstream, move |client, entry| serve(client, entry, &one))?;
        server.also_at(&directory.path().join("tpmrm0"), move |client, entry| serve(client, entry, &other))?;
        Ok(ResourceManager { server, chip, directory })
    }
}

fn serve(mut client: impl Read + Write, _entry: Entry, chip: &Mutex<Chip>) {
    lock(chip).connections += 1;
    let mut space = Space::default();
    while let Ok(Some(request)) = read_frame(&mut client) {
        let answer = lock(chip).serve(&mut space, request);
        let Ok(response) = answer else { break };
        if client.write_all(&response).is_err() {
            break;
        }
    }
    let _ = lock(chip).end(&space);
}

fn lock(chip: &Mutex<Chip>) -> MutexGuard<'_, Chip> {
    chip.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The TPM, taken for one client's command at a time.
#[derive(Debug)]
struct Chip {
    upstream: u16,
    asked: Vec<Command>,
    connections: usize,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Space {
    objects: [Option<Held>; SLOTS],
    sessions: [Option<Held>; SLOTS],
}

/// An object or a session: its handle in the TPM while it is loaded (a session's never changes), and its saved context
/// (a `TPMS_CONTEXT`) while it is not.
#[derive(Debug)]
struct Held {
    handle: u32,
    context: Vec<u8>,
}

impl Chip {
    /// One command of a client, counted.
    fn serve(&mut self, space: &mut Space, request: Vec<u8>) -> Result<Vec<u8>> {
        let (code, size) = (be32(&request, 6), request.len());
        let answer = self.run(space, request);
        let (rc, response_size) = match &answer {
            Ok(response) => (be32(response, 6), response.len()),
            Err(_) => (NO_RESPONSE, 0),
        };
        self.asked.push(Command { code, name: command_name(code), rc, size, response_size });
        answer
    }

    /// One command of a client, from its virtual handles to those of the response.
    fn run(&mut self, space: &mut Space, mut request: Vec<u8>) -> Result<Vec<u8>> {
        // The TPM serves one connection at a time; between two commands it must be free for others.
        let mut tpm = RawClient::connect(self.upstream)?;
        if !space.load(&mut tpm)? {
            space.flush(&mut tpm)?;
            return Ok(refusal(RC_FAILURE));
        }
        let code = be32(&request, 6);
        let mut response = if space.map_command(code, &mut request) {
            let mut response = tpm.transact(&request)?;
            if let Some(rc) = space.map_response_handle(&mut tpm, code, &mut response)? {
                response = refusal(rc);
            }
            response
        } else {
            refusal(RC_HANDLE_1)
        };
        if code == GET_CAPABILITY && be32(&response, 6) == 0 {
            space.map_listed_handles(&mut response);
        }
        if !space.save(&mut tpm)? {
            space.flush(&mut tpm)?;
            return Ok(refusal(RC_FAILURE));
        }
        Ok(response)
    }

    /// A client went. Its objects are only contexts outside the TPM, but its sessions are counted in it.
    fn end(&mut self, space: &Space) -> Result<()> {
        if space.sessions.iter().flatten().next().is_some() {
            let mut tpm = RawClient::connect(self.upstream)?;
            for session in space.sessions.iter().flatten() {
                flush(&mut tpm, session.handle)?;
            }
        }
        Ok(())
    }
}

impl Space {
    /// Brings everything of this client into the TPM; false when an object does not come back.
    fn load(&mut self, tpm: &mut RawClient) -> Result<bool> {
        for object in self.objects.iter_mut().flatten() {
            let (rc, answer) = tpm.command(CONTEXT_LOAD, &object.context)?;
            if rc != 0 {
                return Ok(false);
            }
            object.handle = be32(&answer, 0);
        }
        for slot in &mut self.sessions {
            let Some(session) = slot else { continue };
            match tpm.command(CONTEXT_LOAD, &session.context)?.0 {
                0 => {}
                // Somebody flushed it.
                RC_HANDLE | RC_HANDLE_P1 | RC_REFERENCE_H0 => *slot = None,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes everything of this client out of the TPM; false when something can not be saved. What the command
    /// flushed or consumed has no context, and its slot is free again.
    fn save(&mut self, tpm: &mut RawClient) -> Result<bool> {
        for (slots, flushed) in [(&mut self.objects, true), (&mut self.sessions, false)] {
            for slot in slots {
                let Some(held) = slot else { continue };
                let (rc, context) = tpm.command(CONTEXT_SAVE, &held.handle.to_be_bytes())?;
                match rc {
                    0 => held.context = context,
                    RC_REFERENCE_H0 => {
                        *slot = None;
                        continue;
                    }
                    _ => return Ok(false),
                }
                if flushed {
                    flush(tpm, held.handle)?;
                }
            }
        }
        Ok(true)
    }

    /// Gives everything back, in whatever state it is.
    fn flush(&mut self, tpm: &mut RawClient) -> Result<()> {
        for slot in self.objects.iter_mut().chain(&mut self.sessions) {
            if let Some(held) = slot.take() {
                flush(tpm, held.handle)?;
            }
        }
        Ok(())
    }

    /// Puts real handles in the place of virtual ones; false when one is not this client's.
    fn map_command(&self, code: u32, request: &mut [u8]) -> bool {
        for i in 0..handles_in(code) {
            let place = 10 + 4 * i;
            if request.len() < place + 4 {
                break;
            }
            let handle = be32(request, place);
            if !is_transient(handle) {
                continue;
            }
            match self.objects.get((0x80ff_ffff - handle) as usize) {
                Some(Some(object)) => put32(request, place, object.handle),
                _ => return false,
            }
        }
        true
    }

    /// Gives a slot to what the command made; a response code when there is none.
    fn map_response_handle(&mut self, tpm: &mut RawClient, code: u32, response: &mut [u8]) -> Result<Option<u32>> {
        if be32(response, 6) != 0 || !returns_handle(code) || response.len() < 14 {
            return Ok(None);
        }
        let handle = be32(response, 10);
        let held = Held { handle, context: Vec::new() };
        let (slots, full) = if is_transient(handle) {
            (&mut self.objects, RC_OBJECT_MEMORY)
        } else if is_session(handle) {
            (&mut self.sessions, RC_SESSION_MEMORY)
        } else {
            return Ok(None);
        };
        match slots.iter().position(Option::is_none) {
            Some(free) => {
                slots[free] = Some(held);
                if is_transient(handle) {
                    put32(response, 10, virtual_handle(free));
                }
                Ok(None)
            }
            None => {
                flush(tpm, handle)?;
                Ok(Some(full))
            }
        }
    }

    /// In a list of handles, shows this client's objects by their virtual handles and hides everybody else's.
    fn map_listed_handles(&self, response: &mut Vec<u8>) {
        // moreData, capability (1: TPM_CAP_HANDLES), count, handles
        if be32(response, 11) != 1 || response.len() < 19 {
            return;
        }
        let listed: Vec<u32> = (0..be32(response, 15) as usize)
            .map(|i| be32(response, 19 + 4 * i))
            .filter_map(|handle| {
                let own = |slot: &Option<Held>| slot.as_ref().is_some_and(|held| held.handle == handle);
                if is_transient(handle) { self.objects.iter().position(own).map(virtual_handle) } else { Some(handle) }
            })
            .collect();
        response.truncate(19);
        response.extend(listed.iter().flat_map(|handle| handle.to_be_bytes()));
        let size = response.len() as u32;
        put32(response, 15, listed.len() as u32);
        put32(response, 2, size);
    }
}

fn flush(tpm: &mut RawClient, handle: u32) -> Result<()> {
    tpm.transact(&command(NO_SESSIONS, FLUSH_CONTEXT, &[&handle.to_be_bytes()]))?;
    Ok(())
}

fn virtual_handle(slot: usize) -> u32 {
    0x80ff_ffff - slot as u32
}

fn is_transient(handle: u32) -> bool {
    handle >> 24 == 0x80
}

fn is_session(handle: u32) -> bool {
    matches!(handle >> 24, 0x02 | 0x03)
}
