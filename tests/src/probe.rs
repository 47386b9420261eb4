//! A client of the module in a process of its own: see [`crate::call`].

use std::collections::BTreeMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pkcs11_sys::*;
use tempfile::TempDir;

use crate::call::{Argument, FILL, Memory, Piece, Reply, Request, Usurper, Via, receive, send};
use crate::{Ck, product};

/// What a call returns.
pub type Result<T> = std::result::Result<T, Ck>;

/// A thread of a process that has loaded the module.
pub struct Probe {
    process: Arc<Process>,
    stream: Mutex<BufReader<UnixStream>>,
    via: Via,
}

struct Process {
    child: Mutex<Option<Child>>,
    forked: Option<i32>,
    socket: String,
    dir: Arc<TempDir>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An attribute of a template: type and value as C has it.
pub type Attribute = (u64, Vec<u8>);

/// `CKA_...` with a byte value.
pub fn bytes(ty: u64, value: &[u8]) -> Attribute {
    (ty, value.to_vec())
}

/// `CKA_...` with a `CK_ULONG`.
pub fn number(ty: u64, value: u64) -> Attribute {
    (ty, value.to_ne_bytes().to_vec())
}

/// `CKA_...` with a `CK_BBOOL`.
pub fn flag(ty: u64, value: bool) -> Attribute {
    (ty, vec![u8::from(value)])
}

/// A mechanism and its parameters.
#[derive(Clone, Debug)]
pub struct Mechanism {
    /// `CKM_...`
    pub ty: u64,
    /// The parameters' memory; none is a null pointer and no length.
    pub params: Option<Memory>,
}

impl Mechanism {
    /// Without parameters.
    pub fn plain(ty: u64) -> Mechanism {
        Mechanism { ty, params: None }
    }

    /// With `CK_RSA_PKCS_PSS_PARAMS`.
    pub fn pss(ty: u64, hash: u64, mgf: u64, salt: u64) -> Mechanism {
        Mechanism { ty, params: Some(Memory::of(vec![Piece::Word(hash), Piece::Word(mgf), Piece::Word(salt)])) }
    }

    /// `CKM_RSA_PKCS_OAEP`.
    pub fn oaep(hash: u64, mgf: u64, label: &[u8]) -> Mechanism {
        let source = if label.is_empty() { Piece::Word(0) } else { Piece::Pointer(Memory::bytes(label)) };
        let words = [
            Piece::Word(hash),
            Piece::Word(mgf),
            Piece::Word(CKZ_DATA_SPECIFIED),
            source,
            Piece::Word(label.len() as u64),
        ];
        Mechanism { ty: CKM_RSA_PKCS_OAEP, params: Some(Memory::of(words.to_vec())) }
    }

    /// `CK_MECHANISM`.
    pub fn argument(&self) -> Argument {
        let (pointer, len) = match &self.params {
            Some(memory) => (Piece::Pointer(memory.clone()), memory_len(memory)),
            None => (Piece::Word(0), 0),
        };
        Argument::Pointer(Memory::of(vec![Piece::Word(self.ty), pointer, Piece::Word(len)]))
    }
}

impl From<u64> for Mechanism {
    fn from(ty: u64) -> Mechanism {
        Mechanism::plain(ty)
    }
}

fn memory_len(memory: &Memory) -> u64 {
    memory.pieces.iter().map(|piece| if let Piece::Bytes(bytes) = piece { bytes.len() as u64 } else { 8 }).sum()
}

/// What `C_GetTokenInfo` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Texts without their padding.
    pub label: String,
    /// `manufacturerID`
    pub manufacturer: String,
    /// `model`
    pub model: String,
    /// `serialNumber`
    pub serial: String,
    /// `CKF_...`
    pub flags: u64,
    /// `ulSessionCount`
    pub sessions: u64,
    /// `ulRwSessionCount`
    pub rw_sessions: u64,
    /// `ulMaxPinLen`
    pub max_pin: u64,
    /// `ulMinPinLen`
    pub min_pin: u64,
}

/// What came of a call with an output buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `CKR_...`
    pub rv: u64,
    /// The length as it was left.
    pub len: u64,
    /// The whole buffer.
    pub buffer: Vec<u8>,
}

impl Output {
    /// Nothing was written.
    pub fn untouched(&self) -> bool {
        self.buffer.iter().all(|byte| *byte == FILL)
    }

    /// The result, if there is one.
    pub fn ok(self) -> Result<Vec<u8>> {
        check(self.rv)?;
        let mut buffer = self.buffer;
        assert!(self.len as usize <= buffer.len(), "{} bytes in a buffer of {}", self.len, buffer.len());
        buffer.truncate(self.len as usize);
        Ok(buffer)
    }
}

pub(crate) fn check(rv: u64) -> Result<()> {
    if rv == CKR_OK { Ok(()) } else { Err(Ck(rv)) }
}

impl Probe {
    /// Starts a process with this environment and nothing else.
    pub fn start(environment: &[(&'static str, String)]) -> Probe {
        let dir = tempfile::Builder::new().prefix("probe-").tempdir().unwrap();
        let socket = dir.path().join("socket").to_str().unwrap().to_owned();
        let mut child = Command::new(product::p11probe())
            .arg(product::module())
            .arg(&socket)
            .env_clear()
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("p11probe");
        let stream = connect(&socket, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("p11probe ended: {status}");
            }
        });
        let process = Process { child: Mutex::new(Some(child)), forked: None, socket, dir: Arc::new(dir) };
        Probe { process: Arc::new(process), stream: Mutex::new(BufReader::new(stream)), via: Via::Symbol }
    }

    /// Another thread of the same process.
    pub fn thread(&self) -> Probe {
        let stream = connect(&self.process.socket, || ());
        Probe { process: Arc::clone(&self.process), stream: Mutex::new(BufReader::new(stream)), via: self.via }
    }

    /// The same thread, calling through another table.
    pub fn through(mut self, via: Via) -> Probe {
        self.via = via;
        self
    }

    /// Forks the process: the child, which has the memory of the parent and one thread.
    pub fn fork(&self) -> Probe {
        let socket = self
            .process
            .dir
            .path()
            .join(format!("child-{:?}", Instant::now()))
            .to_str()
            .unwrap()
            .replace([' ', '{', '}'], "");
        let Reply::Forked(pid) = self.ask(&Request::Fork { socket: socket.clone() }) else { panic!("no child") };
        let stream = connect(&socket, || ());
        let process =
            Process { child: Mutex::new(None), forked: Some(pid), socket, dir: Arc::clone(&self.process.dir) };
        Probe { process: Arc::new(process), stream: Mutex::new(BufReader::new(stream)), via: self.via }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        let child = self.process.child.lock().unwrap();
        self.process.forked.unwrap_or_else(|| child.as_ref().map_or(0, |child| child.id() as i32))
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(self) {
        drop(self);
    }

    /// The same while other threads make calls, for which it is [`Probe::try_any`] to see it.
    pub fn end_now(&self) {
        if let Some(child) = self.process.child.lock().unwrap().as_mut() {
            child.kill().expect("a process to kill");
        }
    }

    /// `dlopen`
    pub fn load(&self) {
        assert!(matches!(self.ask(&Request::Load), Reply::Done));
    }

    /// `dlclose`
    pub fn unload(&self) {
        match self.ask(&Request::Unload) {
            Reply::Done => {}
            other => panic!("{other:?}"),
        }
    }

    /// Addresses of functions, by the ways to find them.
    pub fn addresses(&self) -> BTreeMap<Via, BTreeMap<String, u64>> {
        match self.ask(&Request::Addresses) {
            Reply::Addresses(addresses) => addresses,
            other => panic!("{other:?}"),
        }
    }

    /// What the process has open, and whether the module is in its memory.
    pub fn inspect(&self) -> (Vec<String>, bool) {
        match self.ask(&Request::Inspect) {
            Reply::Inspected { descriptors, mapped } => (descriptors, mapped),
            other => panic!("{other:?}"),
        }
    }

    /// The same, and how many bytes of stack it took.
    pub fn measure(&self, function: &str, arguments: Vec<Argument>) -> (u64, usize, Vec<Argument>) {
        match self.ask(&Request::Measure { function: function.to_owned(), arguments }) {
            Reply::Measured { rv, stack, arguments } => (rv, stack, arguments),
            other => panic!("{function}: {other:?}"),
        }
    }

    /// Closes what the module has open, and opens something else under its numbers; returns what they led to.
    pub fn usurp(&self, by: Usurper) -> Vec<String> {
        self.descriptors(&Request::Usurp(by))
    }

    /// What is not as [`Probe::usurp`] left it.
    pub fn damage(&self) -> Vec<String> {
        self.descriptors(&Request::Damage)
    }

    fn descriptors(&self, request: &Request) -> Vec<String> {
        match self.ask(request) {
            Reply::Descriptors(descriptors) => descriptors,
            other => panic!("{other:?}"),
        }
    }

    /// Any call: the return value, and the arguments as it left them.
    pub fn call(&self, function: &str, arguments: Vec<Argument>) -> (u64, Vec<Argument>) {
        match self.ask(&Request::Call { function: function.to_owned(), via: self.via, arguments }) {
            Reply::Returned { rv, arguments } => (rv, arguments),
            other => panic!("{function}: {other:?}"),
        }
    }

    /// A call of which only the return value matters.
    pub fn rv(&self, function: &str, arguments: Vec<Argument>) -> Result<()> {
        check(self.call(function, arguments).0)
    }

    /// A call whose last two parameters are an output buffer, of `room` bytes or null, and its length.
    pub fn output(&self, function: &str, mut arguments: Vec<Argument>, room: Option<usize>) -> Output {
        arguments.push(room.map_or(Argument::NULL, Argument::buffer));
        arguments.push(Argument::place(room.unwrap_or(0) as u64));
        let (rv, mut arguments) = self.call(function, arguments);
        let len = arguments.pop().unwrap().word();
        let buffer = arguments.pop().unwrap();
        Output { rv, len, buffer: room.map_or_else(Vec::new, |_| buffer.content().to_vec()) }
    }

    fn ask(&self, request: &Request) -> Reply {
        self.try_ask(request).unwrap_or_else(|| panic!("the probe is gone after {request:?}: {}", self.obituary()))
    }

    /// `None` when the process is gone.
    fn try_ask(&self, request: &Request) -> Option<Reply> {
        let mut stream = self.stream.lock().unwrap();
        send(&mut stream.get_ref(), request).and_then(|()| receive(&mut *stream)).ok().flatten()
    }

    /// A call that must succeed, of a process that may be killed while it goes on: then it is `None`.
    pub(crate) fn try_call(&self, function: &str, arguments: Vec<Argument>) -> Option<Vec<Argument>> {
        match self.try_ask(&Request::Call { function: function.to_owned(), via: self.via, arguments })? {
            Reply::Returned { rv: CKR_OK, arguments } => Some(arguments),
            other => panic!("{function}: {other:?}"),
        }
    }

    /// A call of which nothing is expected, not even that the process survives it: then it is `None`, as when there is no answer in
    /// three minutes.
    pub fn try_any(&self, function: &str, arguments: Vec<Argument>) -> Option<(u64, Vec<Argument>)> {
        match self.try_ask(&Request::Call { function: function.to_owned(), via: self.via, arguments })? {
            Reply::Returned { rv, arguments } => Some((rv, arguments)),
            other => panic!("{function}: {other:?}"),
        }
    }

    /// How the process ended, if it did.
    pub fn obituary(&self) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match self.process.child.lock().unwrap().as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return format!("it ended with {status} (signal {:?})", status.signal()),
                Some(Ok(None)) if Instant::now() < end => {}
                _ => return "it did not end".to_owned(),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn connect(socket: &str, look: impl FnMut()) -> UnixStream {
    let mut look = look;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{socket}: {error}"),
        }
        look();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The call fails, and with this return value.
#[track_caller]
pub fn fails<T: std::fmt::Debug + PartialEq>(result: Result<T>, rv: u64) {
    assert_eq!(result, Err(Ck(rv)));
}

/// A template for a public key on P-256, as token or session object.
pub fn p256(token: bool) -> [Attribute; 2] {
    [bytes(CKA_EC_PARAMS, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]), flag(CKA_TOKEN, token)]
}

/// A template.
pub fn attributes(template: &[Attribute]) -> Argument {
    if template.is_empty() {
        return Argument::NULL;
    }
    let pieces = template.iter().flat_map(|(ty, value)| {
        [Piece::Word(*ty), Piece::Pointer(Memory::bytes(value)), Piece::Word(value.len() as u64)]
    });
    Argument::Pointer(Memory::of(pieces.collect()))
}

/// A pointer to so many words.
pub fn words_place(count: usize) -> Argument {
    Argument::Pointer(Memory::of(vec![Piece::Word(0); count]))
}

/// The words that a pointer of [`words_place`] points to.
pub fn words_of(argument: &Argument) -> Vec<u64> {
    let Argument::Pointer(memory) = argument else { panic!("{argument:?}") };
    let words =
        memory.pieces.iter().map(|piece| if let Piece::Word(word) = piece { *word } else { panic!("{piece:?}") });
    words.collect()
}
