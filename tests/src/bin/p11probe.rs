//! A process that has loaded the module and makes the calls that a test asks of it, over a Unix socket: each connection is a
//! thread. Started by `tests::probe`; ends with its standard input.
//!
//! All memory that a call sees ends right before an unreadable page, so that a read or write beyond it ends the process.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex};

use cryptoki_sys::CK_FUNCTION_LIST_3_2;
use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_LOCAL, RTLD_NOW};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use pkcs11_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_INTERFACE, CK_RV};
use tests::call::{Argument, Memory, Piece, Reply, Request, Usurper, Via, receive, send};

fn main() {
    let [_, module, socket] = &*std::env::args().collect::<Vec<_>>() else {
        panic!("usage: p11probe MODULE SOCKET");
    };
    let module: &'static Module = Box::leak(Box::new(Module::new(module)));
    let listener = UnixListener::bind(socket).expect("a socket to listen on");
    std::thread::spawn(move || serve_all(module, &listener));
    // The test that started this holds the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

fn serve_all(module: &'static Module, listener: &UnixListener) {
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        std::thread::spawn(move || serve(module, &stream));
    }
}

fn serve(module: &'static Module, stream: &UnixStream) {
    let mut requests = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut replies = stream;
    while let Ok(Some(request)) = receive(&mut requests) {
        let reply = match request {
            Request::Load => answer(module.load()),
            Request::Unload => answer(module.unload()),
            Request::Call { function, via, arguments } => match module.address(&function, via) {
                Ok(address) => call(address, arguments),
                Err(why) => Reply::Failed(why),
            },
            Request::Measure { function, arguments } => match module.symbol(&function) {
                Ok(address) => measure(address, arguments),
                Err(why) => Reply::Failed(why),
            },
            Request::Addresses => module.addresses().map_or_else(Reply::Failed, Reply::Addresses),
            Request::Fork { socket } => fork(module, &socket),
            Request::Inspect => inspect(&module.path),
            Request::Usurp(by) => usurp(by),
            Request::Damage => damage(),
        };
        if send(&mut replies, &reply).is_err() {
            return;
        }
    }
}

fn answer(result: Result<(), String>) -> Reply {
    result.map_or_else(Reply::Failed, |()| Reply::Done)
}

/// The module, as `dlopen` gave it.
struct Module {
    path: String,
    library: Mutex<Option<Arc<Library>>>,
}

/// A function of the interface, with as many arguments as any of them has.
///
/// On the ABIs this runs on, integers and pointers of up to 64 bits travel alike, and a function that takes fewer does not
/// look at the rest.
type Function = extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;

impl Module {
    fn new(path: &str) -> Module {
        let module = Module { path: path.to_owned(), library: Mutex::new(None) };
        module.load().unwrap_or_else(|error| panic!("{error}"));
        module
    }

    fn load(&self) -> Result<(), String> {
        // As pkcs11-provider and OpenSC's tools do it: the module's own libraries come before those of the program.
        let deep = if std::env::var_os("P11PROBE_DEEPBIND").is_some() { libc::RTLD_DEEPBIND } else { 0 };
        // SAFETY: the module's constructors are the Rust runtime's.
        let library = unsafe { UnixLibrary::open(Some(&self.path), RTLD_NOW | RTLD_LOCAL | deep) };
        *self.library.lock().unwrap() = Some(Arc::new(library.map_err(|error| error.to_string())?.into()));
        Ok(())
    }

    fn unload(&self) -> Result<(), String> {
        let library = self.library.lock().unwrap().take().ok_or("it is not loaded")?;
        let library = Arc::into_inner(library).ok_or("a call is running")?;
        library.close().map_err(|error| error.to_string())
    }

    fn library(&self) -> Result<Arc<Library>, String> {
        self.library.lock().unwrap().clone().ok_or_else(|| "the module is not loaded".to_owned())
    }

    fn address(&self, name: &str, via: Via) -> Result<usize, String> {
        match via {
            Via::Symbol => self.symbol(name),
            Via::List240 | Via::List300 | Via::List320 => self
                .addresses()?
                .get(&via)
                .and_then(|list| list.get(name))
                .map(|word| *word as usize)
                .ok_or_else(|| format!("{name} is not in the list")),
        }
    }

    fn symbol(&self, name: &str) -> Result<usize, String> {
        let library = self.library()?;
        // SAFETY: only the address is taken.
        let symbol = unsafe { library.get::<Function>(name) }.map_err(|error| error.to_string())?;
        Ok(*symbol as usize)
    }

    fn addresses(&self) -> Result<BTreeMap<Via, BTreeMap<String, u64>>, String> {
        // SAFETY: the symbols are the functions that PKCS#11 says, and the lists are the module's own, for ever.
        let (list_240, list_300, list_320) = unsafe {
            let function: Function = std::mem::transmute(self.symbol("C_GetFunctionList")?);
            let mut list: *const CK_FUNCTION_LIST = null_mut();
            let rv = function((&raw mut list) as usize, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            if rv != 0 || list.is_null() {
                return Err(format!("C_GetFunctionList: {rv:#x}"));
            }
            let function: Function = std::mem::transmute(self.symbol("C_GetInterface")?);
            let find = |version: [u8; 2]| {
                let mut interface: *const CK_INTERFACE = null_mut();
                let rv = function(0, version.as_ptr() as usize, (&raw mut interface) as usize, 0, 0, 0, 0, 0, 0, 0);
                if rv != 0 || interface.is_null() {
                    return Err(format!("C_GetInterface: {rv:#x}"));
                }
                Ok((*interface).pFunctionList)
            };
            let list_300 = &*find([3, 0])?.cast::<CK_FUNCTION_LIST_3_0>();
            (&*list, list_300, &*find([3, 2])?.cast::<CK_FUNCTION_LIST_3_2>())
        };
        macro_rules! addresses {
            ($list:expr, $($name:ident)*) => {
                BTreeMap::from([$((stringify!($name).to_owned(), $list.$name.map_or(0, |function| function as usize as u64))),*])
            };
        }
        macro_rules! all {
            ($($old:ident)* | $($new:ident)* | $($newest:ident)*) => {{
                let old = addresses!(list_240, $($old)*);
                let new = addresses!(list_300, $($old)* $($new)*);
                let newest = addresses!(list_320, $($old)* $($new)* $($newest)*);
                let names = newest.keys().cloned();
                let symbols = names.map(|name| { let word = self.symbol(&name).unwrap_or(0) as u64; (name, word) }).collect();
                BTreeMap::from([(Via::List240, old), (Via::List300, new), (Via::List320, newest), (Via::Symbol, symbols)])
            }};
        }
        Ok(all!(
            C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList
            C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo
            C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
            C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt
            C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
            C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover
            C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
            C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey
            C_UnwrapKey C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
            |
            C_GetInterfaceList C_GetInterface C_LoginUser C_SessionCancel
            C_MessageEncryptInit C_EncryptMessage C_EncryptMessageBegin C_EncryptMessageNext C_MessageEncryptFinal
            C_MessageDecryptInit C_DecryptMessage C_DecryptMessageBegin C_DecryptMessageNext C_MessageDecryptFinal
            C_MessageSignInit C_SignMessage C_SignMessageBegin C_SignMessageNext C_MessageSignFinal
            C_MessageVerifyInit C_VerifyMessage C_VerifyMessageBegin C_VerifyMessageNext C_MessageVerifyFinal
            |
            C_EncapsulateKey C_DecapsulateKey C_VerifySignatureInit C_VerifySignature C_VerifySignatureUpdate
            C_VerifySignatureFinal C_GetSessionValidationFlags C_AsyncComplete C_AsyncGetID C_AsyncJoin
            C_WrapKeyAuthenticated C_UnwrapKeyAuthenticated
        ))
    }
}

fn call(address: usize, arguments: Vec<Argument>) -> Reply {
    let mut words = [0; 10];
    if arguments.len() > words.len() || address == 0 {
        return Reply::Failed("there is no such function".to_owned());
    }
    let mut built: Vec<Option<Built>> = Vec::new();
    for (word, argument) in words.iter_mut().zip(&arguments) {
        match argument {
            Argument::Word(value) => {
                *word = *value as usize;
                built.push(None);
            }
            Argument::Pointer(memory) => {
                let memory = Built::new(memory);
                *word = memory.address();
                built.push(Some(memory));
            }
        }
    }
    // SAFETY: the address is that of a function of the interface; what it is given is the point of the test.
    let function: Function = unsafe { std::mem::transmute(address) };
    let [a, b, c, d, e, f, g, h, i, j] = words;
    let rv = function(a, b, c, d, e, f, g, h, i, j);
    let arguments = arguments
        .into_iter()
        .zip(&built)
        .map(|(argument, built)| built.as_ref().map_or(argument, |built| Argument::Pointer(built.read())))
        .collect();
    Reply::Returned { rv, arguments }
}

/// What the call is made on: far more than it may need, and every byte of it known beforehand.
const STACK: usize = 4 << 20;
const PAINT: u8 = 0xa5;
/// Above what is painted there is the frame that paints.
const FRAME: usize = 4096;

/// Makes a call on a stack that was painted, and looks how far it went.
fn measure(address: usize, arguments: Vec<Argument>) -> Reply {
    let measured = move || {
        let here = 0_u8;
        let here = &raw const here as usize;
        let top = (here - FRAME) & !0xf;
        let bottom = top - STACK / 2;
        // SAFETY: the thread's own stack, below all frames that are in use; the call's frames come there.
        unsafe { std::ptr::write_bytes(bottom as *mut u8, PAINT, top - bottom) };
        let reply = call(address, arguments);
        // SAFETY: as above; read one by one as they are.
        let untouched = (bottom..top).take_while(|at| unsafe { (*at as *const u8).read_volatile() } == PAINT).count();
        match reply {
            Reply::Returned { rv, arguments } => Reply::Measured { rv, stack: here - bottom - untouched, arguments },
            other => other,
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(measured).expect("a thread");
    thread.join().unwrap_or_else(|_| Reply::Failed("the call panicked".to_owned()))
}

/// Memory as the call sees it.
struct Built {
    region: Region,
    pieces: Vec<BuiltPiece>,
    misaligned: bool,
}

enum BuiltPiece {
    Bytes(usize),
    Word,
    Pointer(Built),
}

const WORD: usize = size_of::<usize>();

impl Built {
    fn new(memory: &Memory) -> Built {
        let len =
            memory.pieces.iter().map(|piece| if let Piece::Bytes(bytes) = piece { bytes.len() } else { WORD }).sum();
        // The region ends at the end of a page. Lengths of structures are multiples of their alignment; an odd number of bytes
        // behind them takes it away.
        let region = Region::new(len, usize::from(memory.misaligned));
        let mut offset = 0;
        let mut pieces = Vec::new();
        for piece in &memory.pieces {
            let (bytes, built) = match piece {
                Piece::Bytes(bytes) => (bytes.clone(), BuiltPiece::Bytes(bytes.len())),
                Piece::Word(word) => ((*word as usize).to_ne_bytes().to_vec(), BuiltPiece::Word),
                Piece::Pointer(memory) => {
                    let inner = Built::new(memory);
                    (inner.address().to_ne_bytes().to_vec(), BuiltPiece::Pointer(inner))
                }
            };
            region.write(offset, &bytes);
            offset += bytes.len();
            pieces.push(built);
        }
        Built { region, pieces, misaligned: memory.misaligned }
    }

    fn address(&self) -> usize {
        self.region.start
    }

    fn read(&self) -> Memory {
        let mut offset = 0;
        let pieces = self.pieces.iter().map(|piece| match piece {
            BuiltPiece::Bytes(len) => {
                offset += len;
                Piece::Bytes(self.region.read(offset - len, *len))
            }
            BuiltPiece::Word => {
                offset += WORD;
                let bytes = self.region.read(offset - WORD, WORD);
                Piece::Word(usize::from_ne_bytes(bytes.try_into().unwrap()) as u64)
            }
            BuiltPiece::Pointer(inner) => {
                offset += WORD;
                Piece::Pointer(inner.read())
            }
        });
        Memory { pieces: pieces.collect(), misaligned: self.misaligned }
    }
}

const PAGE: usize = 4096;

/// Pages, the last of which nobody may touch; the memory ends right before it.
struct Region {
    map: NonNull<c_void>,
    size: usize,
    start: usize,
}

impl Region {
    fn new(len: usize, spare: usize) -> Region {
        let readable = (len + spare).next_multiple_of(PAGE).max(PAGE);
        let size = readable + PAGE;
        // SAFETY: new pages, of which the last is made unreadable.
        let map = unsafe {
            let map = mmap_anonymous(
                None,
                NonZeroUsize::new(size).unwrap(),
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )
            .expect("memory");
            mprotect(map.byte_add(readable), PAGE, ProtFlags::PROT_NONE).expect("a page that nobody may touch");
            map
        };
        Region { map, size, start: map.as_ptr() as usize + readable - len - spare }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: within the region, by the lengths that it was made for.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (self.start + offset) as *mut u8, bytes.len()) }
    }

    fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        // SAFETY: within the region, by the lengths that it was made for.
        unsafe { std::slice::from_raw_parts((self.start + offset) as *const u8, len) }.to_vec()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing points there any more.
        unsafe { munmap(self.map, self.size) }.expect("pages to give back");
    }
}

fn fork(module: &'static Module, socket: &str) -> Reply {
    // SAFETY: the child has this thread alone. It makes the calls that a test asks, as a server's worker process does, and
    // never returns from here.
    match unsafe { libc::fork() } {
        -1 => Reply::Failed(std::io::Error::last_os_error().to_string()),
        0 => {
            // SAFETY: plain system calls; the child ends with the thread that made it.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let served = UnixListener::bind(socket).and_then(|listener| listener.accept());
            if let Ok((stream, _)) = served {
                serve(module, &stream);
            }
            // SAFETY: no exit handler of the parent runs here.
            unsafe { libc::_exit(0) }
        }
        child => Reply::Forked(child),
    }
}

fn inspect(module: &str) -> Reply {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let descriptors = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    Reply::Inspected {
        descriptors: descriptors.map(|target| target.display().to_string()).collect(),
        mapped: maps.lines().any(|line| line.ends_with(module)),
    }
}

/// What this program has under numbers that were the module's.
static USURPED: Mutex<Vec<(RawFd, Own)>> = Mutex::new(Vec::new());

enum Own {
    File(File),
    Listener(UnixListener),
    Socket(UnixStream, UnixStream),
}

const CONTENT: &[u8] = b"the host's own";
const POSITION: u64 = 4;

impl Own {
    fn new(by: Usurper) -> Own {
        match by {
            Usurper::Files => {
                let mut file = tempfile::tempfile().expect("a file");
                file.write_all(CONTENT).expect("something in it");
                file.seek(SeekFrom::Start(POSITION)).expect("a position");
                Own::File(file)
            }
            Usurper::Listeners => {
                let path = tempfile::tempdir().expect("a directory").keep().join("socket");
                Own::Listener(UnixListener::bind(path).expect("a socket to listen on"))
            }
            Usurper::Sockets => {
                let (own, other) = UnixStream::pair().expect("two sockets");
                other.set_nonblocking(true).expect("a mode");
                Own::Socket(own, other)
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Own::File(file) => file.as_fd(),
            Own::Listener(listener) => listener.as_fd(),
            Own::Socket(own, _) => own.as_fd(),
        }
    }

    /// What is wrong with it, as seen by the number that was the module's.
    fn damage(&mut self, fd: RawFd) -> Option<String> {
        let under = |fd: BorrowedFd<'_>| {
            let stat = nix::sys::stat::fstat(fd).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        // SAFETY: only looked at; it says so if it is closed.
        if under(unsafe { BorrowedFd::borrow_raw(fd) }) != under(self.as_fd()) {
            return Some("closed".to_owned());
        }
        match self {
            Own::File(file) => {
                let position = file.stream_position().expect("a position");
                file.rewind().expect("a position");
                let mut content = Vec::new();
                file.read_to_end(&mut content).expect("what is in it");
                (position != POSITION || content != CONTENT).then(|| format!("{position}: {content:02x?}"))
            }
            Own::Listener(listener) => {
                let address = listener.local_addr().expect("its name");
                listener.set_nonblocking(true).expect("a mode");
                let client = UnixStream::connect(address.as_pathname().expect("a path"));
                client.and_then(|_| listener.accept()).err().map(|error| error.to_string())
            }
            Own::Socket(own, other) => {
                let mut got = [0; 256];
                match other.read(&mut got) {
                    Ok(0) => return Some("shut down".to_owned()),
                    Ok(len) => return Some(format!("{len} bytes: {:02x?}", &got[..len])),
                    Err(_) => {}
                }
                own.write_all(b"x").err().map(|error| error.to_string())
            }
        }
    }
}

/// What the module has open: files, and its connection to the TPM. This program's own are sockets with a name.
fn usurp(by: Usurper) -> Reply {
    let numbers = std::fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // All are looked at before the first of this program's own is opened.
    let theirs: Vec<(RawFd, String)> =
        numbers.filter(|fd| *fd > 2 && is_the_modules(*fd)).map(|fd| (fd, target(fd))).collect();
    let mut usurped = USURPED.lock().unwrap();
    for (fd, _) in &theirs {
        let own = Own::new(by);
        // SAFETY: the number is not used by what this program knows of.
        let place = unsafe { nix::unistd::dup2_raw(own.as_fd(), *fd) }.expect("the number");
        std::mem::forget(place);
        usurped.push((*fd, own));
    }
    Reply::Descriptors(theirs.into_iter().map(|(_, target)| target).collect())
}

fn is_the_modules(fd: RawFd) -> bool {
    let is_file = std::fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|metadata| metadata.is_file());
    let name = getsockname::<SockaddrStorage>(fd).ok();
    is_file
        || name.is_some_and(|name| {
            name.as_unix_addr().is_some_and(|name| name.path().is_none())
                || matches!(name.family(), Some(AddressFamily::Inet | AddressFamily::Inet6))
        })
}

fn target(fd: RawFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    link.map_or_else(|error| error.to_string(), |target| target.display().to_string())
}

fn damage() -> Reply {
    let mut usurped = USURPED.lock().unwrap();
    let damage = usurped
        .iter_mut()
        .filter_map(|(fd, own)| own.damage(*fd).map(|what| format!("{fd} ({}): {what}", target(*fd))));
    Reply::Descriptors(damage.collect())
}
