//! One `swtpm` process for one test.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports::{PortPair, listens};
use crate::wire::RawClient;
use crate::{keeper, wire};

/// How long a `swtpm` may take from its start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// `TPM_RH_LOCKOUT`.
const RH_LOCKOUT: u32 = 0x4000_000a;

/// A software TPM: its own process, state directory and sockets; started up (`TPM2_Startup(CLEAR)`) and answering when
/// a constructor returns; killed and removed when it is dropped, also by a panic. It dies with the test's process.
///
/// The environment may name another program (`SWTPM`), and what it makes new TPMs of (`SWTPM_PROFILE`: its `--profile`).
///
/// `swtpm` serves one data connection at a time: who keeps one open keeps everybody else waiting.
#[derive(Debug)]
pub struct SwTpm {
    child: Option<Child>,
    address: Address,
    directory: Option<TempDir>,
    owner: u32,
}

#[derive(Debug)]
enum Address {
    Tcp(PortPair),
    /// The data socket; the control socket has the same name and `.ctrl`, where libtss2 looks for it.
    Unix(PathBuf),
}

impl SwTpm {
    /// A new TPM on a pair of TCP ports of 127.0.0.1: data, and control on the port after it.
    pub fn start() -> SwTpm {
        SwTpm::on_tcp(None)
    }

    /// A new TPM on Unix sockets.
    pub fn start_unix() -> SwTpm {
        let directory = directory(None);
        let address = Address::Unix(directory.path().join("socket"));
        SwTpm::launched(directory, address).unwrap_or_else(|log| panic!("swtpm does not start: {log}"))
    }

    /// A TPM on TCP that starts from a copy of the saved state directory `saved` (see [`SwTpm::save_state`]).
    pub fn with_state(saved: &Path) -> SwTpm {
        SwTpm::on_tcp(Some(saved))
    }

    /// A TPM whose endorsement keys have certificates, RSA with 2048 bits (low range) and P-384 (high range), by an authority of its own, whose
    /// certificates are put into the directory `authority`: `root.pem` and `issuer.pem`. It needs `swtpm_setup` of swtpm-tools.
    pub fn with_endorsement(authority: &Path) -> SwTpm {
        let state = tempfile::tempdir().expect("a temporary directory");
        certify(state.path(), authority);
        SwTpm::with_state(state.path())
    }

    /// The TCTI string that reaches this TPM: `swtpm:host=127.0.0.1,port=N` or `swtpm:path=P`.
    pub fn tcti(&self) -> String {
        match &self.address {
            Address::Tcp(ports) => format!("swtpm:host=127.0.0.1,port={}", ports.data()),
            Address::Unix(path) => format!("swtpm:path={}", path.display()),
        }
    }

    /// The TCP data port.
    ///
    /// # Panics
    /// For a TPM on Unix sockets.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(ports) => ports.data(),
            Address::Unix(path) => panic!("this TPM is on {}, not on TCP", path.display()),
        }
    }

    /// The path of the Unix data socket, if it is on one.
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path),
        }
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where `swtpm` keeps the TPM's non-volatile state.
    pub fn state_dir(&self) -> PathBuf {
        self.home().join("state")
    }

    /// Switches the TPM off, as a power cut does: no `TPM2_Shutdown`; every connection ends. The address stays its own.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A power cycle, after a power cut if it runs: the same non-volatile state, the same address; objects, sessions and
    /// PCRs are gone; `TPM2_Startup(CLEAR)` is done.
    pub fn restart(&mut self) {
        self.stop();
        let mut log = String::new();
        for _ in 0..20 {
            match launch(self.home(), &self.address) {
                Ok(child) => {
                    self.child = Some(child);
                    return;
                }
                Err(text) => log = text,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("swtpm does not start again: {log}");
    }

    /// An orderly reboot: `TPM2_Shutdown(CLEAR)`, then a power cycle. Unlike [`SwTpm::restart`], this cannot make the TPM
    /// count a failed authorisation for what was in use when the power went.
    pub fn reboot(&mut self) {
        self.connect().and_then(|mut tpm| tpm.command(0x145, &[0, 0])).expect("TPM2_Shutdown");
        self.restart();
    }

    /// Resets the TPM through the control channel and leaves it without `TPM2_Startup`: every command but that one is
    /// answered with `TPM_RC_INITIALIZE` (0x100), on connections that stay open.
    pub fn reset_without_startup(&self) {
        // CMD_INIT with no flags, as swtpm_ioctl(8) sends it
        let answer = self.control(&[0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(answer, 0, "swtpm refused CMD_INIT");
    }

    /// Stops the TPM in good order and copies its state to the directory `to`, for [`SwTpm::with_state`].
    pub fn save_state(&mut self, to: &Path) {
        if self.child.is_some() {
            self.connect().and_then(|mut tpm| tpm.command(0x145, &[0, 0])).expect("TPM2_Shutdown");
        }
        self.stop();
        copy_state(&self.state_dir(), to);
    }

    /// Sets the dictionary attack parameters (`TPM2_DictionaryAttackParameters`): locked out after `max_tries` failed
    /// authorisations, one of which is forgotten every `recovery_seconds`.
    pub fn set_lockout(&self, max_tries: u32, recovery_seconds: u32) {
        let words = [max_tries, recovery_seconds, recovery_seconds];
        let parameters: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.as_lockout_owner(0x13a, &parameters);
    }

    /// Forgets all failed authorisations (`TPM2_DictionaryAttackLockReset`).
    pub fn end_lockout(&self) {
        self.as_lockout_owner(0x139, &[]);
    }

    /// How many failed authorisations it remembers (`TPM_PT_LOCKOUT_COUNTER`).
    pub fn failed_authorizations(&self) -> u32 {
        const TPM_CAP_TPM_PROPERTIES: u32 = 6;
        const TPM_PT_LOCKOUT_COUNTER: u32 = 0x20e;
        let question = [TPM_CAP_TPM_PROPERTIES, TPM_PT_LOCKOUT_COUNTER, 1].map(u32::to_be_bytes).concat();
        let (rc, answer) = self
            .connect()
            .and_then(|mut tpm| tpm.command(0x17a, &question))
            .expect("the TPM answers (does a client hold its only connection?)");
        // moreData, capability, count, and of each property its name and its value
        assert_eq!((rc, wire::be32(&answer, 9)), (0, TPM_PT_LOCKOUT_COUNTER), "GetCapability of properties");
        wire::be32(&answer, 13)
    }

    /// A connection of one's own to the data socket.
    pub fn connect(&self) -> std::io::Result<RawClient> {
        match &self.address {
            Address::Tcp(ports) => RawClient::connect(ports.data()),
            Address::Unix(path) => RawClient::connect_unix(path),
        }
    }

    fn as_lockout_owner(&self, code: u32, parameters: &[u8]) {
        let (rc, _) = self
            .connect()
            .and_then(|mut tpm| tpm.command_with_empty_password(code, &[RH_LOCKOUT], parameters))
            .expect("the TPM answers (does a client hold its only connection?)");
        assert_eq!(rc, 0, "{} refused: {rc:#x}", crate::command_name(code));
    }

    fn control(&self, request: &[u8]) -> u32 {
        let mut answer = [0; 4];
        match &self.address {
            Address::Tcp(ports) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports.control())).expect("swtpm's control port");
                exchange(stream, request, &mut answer);
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(control_path(path)).expect("swtpm's control socket");
                exchange(stream, request, &mut answer);
            }
        }
        u32::from_be_bytes(answer)
    }

    fn home(&self) -> &Path {
        self.directory.as_ref().expect("kept until the drop").path()
    }

    fn on_tcp(saved: Option<&Path>) -> SwTpm {
        let mut log = String::new();
        for _ in 0..50 {
            match SwTpm::launched(directory(saved), Address::Tcp(PortPair::claim())) {
                Ok(tpm) => return tpm,
                Err(text) => log = text,
            }
        }
        panic!("swtpm does not start: {log}");
    }

    fn launched(directory: TempDir, address: Address) -> Result<SwTpm, String> {
        let child = launch(directory.path(), &address)?;
        Ok(SwTpm { child: Some(child), address, directory: Some(directory), owner: std::process::id() })
    }
}

impl Drop for SwTpm {
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            self.stop();
        } else if let Some(directory) = self.directory.take() {
            // A forked child leaves its parent's TPM alone.
            let _ = directory.keep();
        }
    }
}

fn exchange(mut stream: impl Read + std::io::Write, request: &[u8], answer: &mut [u8]) {
    stream.write_all(request).and_then(|()| stream.read_exact(answer)).expect("swtpm answers on its control channel");
}

fn directory(saved: Option<&Path>) -> TempDir {
    let directory = tempfile::Builder::new().prefix("swtpm-").tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    match saved {
        Some(saved) => copy_state(saved, &state),
        None => std::fs::create_dir(&state).expect("a state directory"),
    }
    directory
}

/// Makes the state of a TPM with certificates of its endorsement keys, by an authority that is made for it.
fn certify(state: &Path, authority: &Path) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| place.path().join(name);
    let ca = ["statedir = ", "\nsigningkey = ", "/key.pem\nissuercert = ", "/issuer.pem\ncertserial = ", "/serial\n"];
    let ca = ca.join(&place.path().display().to_string());
    std::fs::write(at("ca.conf"), ca).expect("a configuration file");
    let model = "--platform-manufacturer Example\n--platform-version 1\n--platform-model Example\n";
    std::fs::write(at("ca.options"), model).expect("a configuration file");
    let setup = format!(
        "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
        at("ca.conf").display(),
        at("ca.options").display()
    );
    std::fs::write(at("setup.conf"), setup).expect("a configuration file");
    let output = Command::new("swtpm_setup")
        .args(["--tpm2", "--create-ek-cert", "--overwrite", "--tpmstate"])
        .arg(state)
        .arg("--config")
        .arg(at("setup.conf"))
        .output()
        .unwrap_or_else(|error| panic!("swtpm_setup of swtpm-tools: {error}"));
    assert!(output.status.success(), "swtpm_setup: {}", String::from_utf8_lossy(&output.stdout));
    std::fs::create_dir_all(authority).expect("a directory for certificates");
    for (from, to) in [("swtpm-localca-rootca-cert.pem", "root.pem"), ("issuer.pem", "issuer.pem")] {
        std::fs::copy(at(from), authority.join(to)).expect("the certificate of an authority");
    }
}

/// Copies the state files, and not the lock of the process that wrote them.
fn copy_state(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory for the TPM's state");
    let entries = std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry");
        if entry.file_name() != ".lock" && entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copied state file");
        }
    }
}

fn control_path(data: &Path) -> PathBuf {
    let mut path = data.as_os_str().to_owned();
    path.push(".ctrl");
    path.into()
}

/// Starts the process and waits until it answers; the error is what it said.
fn launch(home: &Path, address: &Address) -> Result<Child, String> {
    let (data, control) = match address {
        Address::Tcp(ports) => (
            format!("type=tcp,port={},bindaddr=127.0.0.1", ports.data()),
            format!("type=tcp,port={},bindaddr=127.0.0.1", ports.control()),
        ),
        Address::Unix(path) => (
            format!("type=unixio,path={}", path.display()),
            format!("type=unixio,path={}", control_path(path).display()),
        ),
    };
    let state = home.join("state");
    let mut arguments = vec![
        "socket".to_owned(),
        "--tpm2".to_owned(),
        "--tpmstate".to_owned(),
        format!("dir={}", state.display()),
        "--server".to_owned(),
        data,
        "--ctrl".to_owned(),
        control,
        "--flags".to_owned(),
        "not-need-init,startup-clear".to_owned(),
    ];
    // A state keeps the profile that it was made with.
    let is_new = || std::fs::read_dir(&state).is_ok_and(|mut entries| entries.next().is_none());
    if let Some(profile) = std::env::var("SWTPM_PROFILE").ok().filter(|profile| !profile.is_empty() && is_new()) {
        arguments.extend(["--profile".to_owned(), profile]);
    }
    let program = std::env::var("SWTPM").unwrap_or_else(|_| "swtpm".to_owned());
    let log = home.join("log");
    let file = File::create(&log).expect("a log file");
    let copy = file.try_clone().expect("a log file");
    let mut child = keeper::spawn(&program, &arguments, |command| {
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
    })
    .unwrap_or_else(|error| missing(&error.to_string()));

    let deadline = Instant::now() + READY;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if status.code() == Some(127) {
                missing(&said);
            }
            return Err(format!("{status}: {}", said.trim()));
        }
        if answers(&child, address) {
            return Ok(child);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("no answer in {} s", READY.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn missing(said: &str) -> ! {
    panic!("the software TPM is not installed ({}): apt-get install swtpm", said.trim())
}

fn answers(child: &Child, address: &Address) -> bool {
    let connection = match address {
        Address::Tcp(ports) => {
            if !listens(child.id(), ports.data()) || !listens(child.id(), ports.control()) {
                return false;
            }
            RawClient::connect(ports.data())
        }
        Address::Unix(path) => RawClient::connect_unix(path),
    };
    // TPM2_GetCapability: one fixed property
    let question = [0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 1];
    connection
        .and_then(|mut tpm| tpm.transact(&wire::command(wire::NO_SESSIONS, 0x17a, &[&question])))
        .is_ok_and(|response| wire::be32(&response, 6) == 0)
}
