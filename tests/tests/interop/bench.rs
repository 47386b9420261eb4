//! Where other people's programs work: a directory, a token, and the environment that leads to it, on this machine or in a
//! Debian tree.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tests::product;
use tests::world::{Run, World};

use crate::guest;

/// The user's PIN of the token that the programs use.
pub(crate) const PIN: &str = "user-alpha";
/// What they sign and encrypt.
pub(crate) const LETTER: &[u8] = b"Dear reader, this was written once and read by many programs.\n";
/// To the shell, what begins with `!` is never a failure.
const NOT: &str = "not() { if \"$@\"; then return 1; fi; }\n";
/// No command takes this long unless it hangs.
const SECONDS: &str = "120";

/// A world and the side of it on which the programs run.
pub(crate) struct Bench {
    /// The TPM, the store, the directory.
    pub(crate) world: World,
    tree: Option<PathBuf>,
    more: Vec<(String, String)>,
}

impl Bench {
    /// Programs of this machine.
    pub(crate) fn here() -> Bench {
        Bench::of(World::new(), None)
    }

    /// Programs of the trixie tree; `None` if this machine cannot have one.
    pub(crate) fn trixie() -> Option<Bench> {
        let tree = guest::prepared("trixie.sh")?;
        Some(Bench::of(World::new(), Some(tree)))
    }

    /// Programs of the forky tree; `None` if this machine cannot have one.
    #[cfg(feature = "clients")]
    pub(crate) fn forky() -> Option<Bench> {
        let tree = guest::prepared("forky.sh")?;
        Some(Bench::of(World::new(), Some(tree)))
    }

    /// Programs of this machine, in this world.
    pub(crate) fn of(world: World, tree: Option<PathBuf>) -> Bench {
        // Several programs at once, as on a machine with a kernel.
        let world = if world.manager.is_some() { world } else { world.managed() };
        let manager = world.manager.as_ref().expect("it is managed");
        // Servers change to users of their own, who use the TPM too.
        for (path, mode) in [(world.path(""), 0o755), (manager.path(), 0o666)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::hard_link(manager.path(), world.path("tpmrm0")).unwrap();
        let module = world.path("libtpm2_cryptoki.so");
        if std::fs::hard_link(product::module(), &module).is_err() {
            std::fs::copy(product::module(), &module).unwrap();
        }
        let bench = Bench { world, tree, more: Vec::new() };
        bench.write("letter", LETTER);
        bench.write("pin", PIN);
        bench
    }

    /// Lets the TPM bear more wrong PINs than the three of the software TPM: clients that are given one PIN try it on all tokens.
    pub(crate) fn be_patient(&self) {
        // Not through the resource manager: this client makes a connection for every command.
        let tcti = self.world.proxy.tcti();
        self.plain_sh(&format!("tpm2_dictionarylockout -T {tcti} -s -n 100 -t 100 -l 100"));
    }

    /// Sets a variable for all programs that are started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.more.push((name.to_owned(), value.to_owned()));
    }

    /// In the tree?
    pub(crate) fn is_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// The directory, as the programs see it.
    pub(crate) fn home(&self) -> String {
        if self.is_tree() { "/world".to_owned() } else { self.outside() }
    }

    /// The directory, as the test sees it.
    fn outside(&self) -> String {
        self.world.path("").to_str().unwrap().trim_end_matches('/').to_owned()
    }

    /// A file in it, as the programs see it.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.home())
    }

    /// The module, as the programs see it.
    pub(crate) fn module(&self) -> String {
        if tests::peer::is_under_test() {
            return product::module().display().to_string();
        }
        self.path("libtpm2_cryptoki.so")
    }

    /// The directory of the architecture's libraries.
    pub(crate) fn libraries(&self) -> String {
        format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH)
    }

    /// The environment of the programs.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let (outside, home) = (self.outside(), self.home());
        let mut environment: Vec<(String, String)> = self
            .world
            .environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.replace(&outside, &home)))
            .collect();
        let mut set = |name: &str, value: String| {
            environment.retain(|(other, _)| other != name);
            environment.push((name.to_owned(), value));
        };
        set("TPM2_CRYPTOKI_TCTI", format!("device:{}", self.path("tpmrm0")));
        set("TPM2_PKCS11_TCTI", tests::peer::tcti(&self.path("tpmrm0")));
        if self.is_tree() {
            set("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        }
        set("MODULE", self.module());
        set("PIN", PIN.to_owned());
        for (name, value) in &self.more {
            set(name, value.clone());
        }
        environment
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.world.path(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Writes a program.
    pub(crate) fn write_program(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(name, content);
        std::fs::set_permissions(self.world.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Reads a file of text; one that is not there is empty.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.world.path(name)).unwrap_or_default()).into_owned()
    }

    /// A program, with the environment and nothing else, without a terminal to ask on.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = match &self.tree {
            None => {
                let mut command = Command::new("setsid");
                command.args(["--wait", "timeout", "--kill-after=5", SECONDS, program]);
                command.current_dir(self.home());
                command
            }
            Some(tree) => self.in_tree(tree, SECONDS, program),
        };
        command.env_clear().envs(self.environment()).stdin(Stdio::null());
        command
    }

    fn in_tree(&self, tree: &Path, seconds: &str, program: &str) -> Command {
        let mut command = Command::new(guest::sources().join("scripts/in-tree.sh"));
        command.arg(tree).arg(self.outside()).args([seconds, program]);
        command
    }

    /// Runs a program.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Run {
        Run::of(self.command(program).args(arguments))
    }

    /// Lines for a shell that stops at the first failure; `not` is for a command that must fail.
    pub(crate) fn try_sh(&self, lines: &str) -> Run {
        self.run("bash", &["-euc", &format!("{NOT}{lines}")])
    }

    /// The same, which must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, lines: &str) -> Run {
        // -x says on standard error which line it was.
        let run = self.run("bash", &["-euxc", &format!("{NOT}{lines}")]);
        assert!(run.success(), "{lines}\n{run:?}\n--- log\n{}", end_of(&self.world.log()));
        run
    }

    /// The same on this machine, whose OpenSSL knows nothing of the token.
    #[track_caller]
    pub(crate) fn plain_sh(&self, lines: &str) -> Run {
        let mut command = self.world.command("bash");
        let run = Run::of(command.args(["-euc", lines]).env("OPENSSL_CONF", "/dev/null").env("PIN", PIN));
        assert!(run.success(), "{lines}\n{run:?}");
        run
    }

    /// Starts a server: it ends, with all its children, when what this returns is dropped. Its words go to `NAME.log`.
    pub(crate) fn serve(&self, name: &str, program: &str, arguments: &[&str]) -> Server {
        let log = std::fs::File::create(self.world.path(&format!("{name}.log"))).unwrap();
        let mut command = match &self.tree {
            None => {
                let mut command = Command::new(program);
                command.current_dir(self.home());
                command
            }
            Some(tree) => self.in_tree(tree, "600", program),
        };
        let child = command
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Server { child, log: self.world.path(&format!("{name}.log")) }
    }

    /// A certificate authority in files: `ca.crt` and `ca.key`.
    pub(crate) fn authority(&self) {
        self.plain_sh(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 \
             -subj /CN=authority -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign 2>ca.log
             openssl req -new -key ca.key -subj /CN=localhost -out request",
        );
    }

    /// A certificate `LABEL.crt` for a key of the token, by the authority.
    pub(crate) fn certify(&self, label: &str) {
        if !self.world.path("ca.crt").exists() {
            self.authority();
        }
        self.public_key(label);
        self.issue(label);
    }

    /// A key in a file, `NAME.key`, and its certificate `NAME.crt`, by the authority: for who has no token.
    pub(crate) fn certify_file(&self, name: &str) {
        if !self.world.path("ca.crt").exists() {
            self.authority();
        }
        self.plain_sh(&format!(
            "openssl genpkey -algorithm EC -pkeyopt group:P-256 -out {name}.key; openssl pkey -in {name}.key -pubout -out {name}.pub"
        ));
        self.issue(name);
    }

    /// The certificate `NAME.crt` for the key `NAME.pub`.
    fn issue(&self, name: &str) {
        self.write(
            "extensions",
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n\
             extendedKeyUsage=serverAuth,clientAuth,emailProtection\n",
        );
        self.plain_sh(&format!(
            "openssl x509 -req -in request -CA ca.crt -CAkey ca.key -days 1 -force_pubkey {name}.pub -extfile extensions \
             -out {name}.crt 2>ca.log"
        ));
    }

    /// The public key of a pair as `LABEL.pub`, in PEM.
    pub(crate) fn public_key(&self, label: &str) {
        // By our own client, and not by one of the programs under test.
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let spki = tests::peer::public_key_info(&probe, session, probe.public_key(session, label));
        self.write("key.der", spki);
        self.plain_sh(&format!("openssl pkey -pubin -inform DER -in key.der -out {label}.pub"));
    }

    /// The log and the words of a server, for the message of a failure.
    pub(crate) fn story(&self, server: &Server) -> String {
        format!("--- server\n{}\n--- log\n{}", end_of(&server.said()), end_of(&self.world.log()))
    }
}

/// The last lines of a long text, without what every client asks in vain.
pub(crate) fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("CKR_ATTRIBUTE_TYPE_INVALID")).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A port of the loopback interface on which nobody listens.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something is so, for a long time on a machine that has much to do.
#[track_caller]
pub(crate) fn wait_until(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Waits until it accepts connections.
    #[track_caller]
    pub(crate) fn listens_on(mut self, port: u16) -> Server {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_secs(60), "{ended:?} {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Waits until a file is there.
    #[track_caller]
    pub(crate) fn makes(mut self, path: &Path) -> Server {
        let start = Instant::now();
        while !path.exists() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_secs(60), "{ended:?} {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Sends a signal to the first of its processes that has this name, its master.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let master = named(self.child.id(), name).unwrap_or_else(|| panic!("{name} is gone: {}", self.said()));
        kill(Pid::from_raw(master as i32), signal).unwrap();
    }

    /// Waits until it has ended by itself, and well. What it said.
    #[track_caller]
    pub(crate) fn ends(mut self) -> String {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    /// What it said.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process of this name that is nearest to the root of a family.
fn named(root: u32, name: &str) -> Option<u32> {
    let mut generation = vec![root];
    while !generation.is_empty() {
        let is =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
        if let Some(found) = generation.iter().copied().find(is) {
            return Some(found);
        }
        let children = |pid| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        generation = generation
            .into_iter()
            .flat_map(|pid| children(pid).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
    }
    None
}
