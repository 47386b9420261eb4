//! A machine of a test's own: a software TPM behind a counting proxy, a store with tokens and keys, and the environment that
//! leads a program there.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use swtpm_fixtures::{Proxy, ResourceManager, SwTpm, leftovers};
use tempfile::TempDir;

use crate::probe::Probe;
use crate::{peer, product};

/// A token of the worlds that are not empty.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Its label.
    pub label: &'static str,
    /// The security officer's PIN.
    pub so_pin: &'static str,
    /// The user's PIN, if it has one.
    pub user_pin: Option<&'static str>,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key pair.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `CKA_LABEL`.
    pub label: &'static str,
    /// `CKA_ID`, in hexadecimal digits.
    pub id: &'static str,
    /// As `ptool addkey` names it.
    pub algorithm: &'static str,
}

const fn key(label: &'static str, id: &'static str, algorithm: &'static str) -> Key {
    Key { label, id, algorithm }
}

/// The token most tests use: a key of each kind.
pub const ALPHA: Token = Token {
    label: "alpha",
    so_pin: "so-alpha",
    user_pin: Some("user-alpha"),
    keys: &[
        key("rsa", "01", "rsa2048"),
        key("rsa3072", "02", "rsa3072"),
        key("p256", "03", "ecc256"),
        key("p384", "04", "ecc384"),
        key("p521", "05", "ecc521"),
    ],
};

/// A second token on the same TPM, with other PINs.
pub const BETA: Token = Token {
    label: "beta",
    so_pin: "so-beta",
    user_pin: Some("user-beta"),
    keys: &[key("rsa-b", "11", "rsa2048"), key("p256-b", "12", "ecc256")],
};

/// A token without a user PIN.
pub const OPEN: Token =
    Token { label: "open", so_pin: "so-open", user_pin: None, keys: &[key("p256-o", "21", "ecc256")] };

const TOKENS: [Token; 3] = [ALPHA, BETA, OPEN];

/// The machine.
pub struct World {
    /// What clients talk to before the proxy.
    pub manager: Option<ResourceManager>,
    /// In front of the TPM.
    pub proxy: Proxy,
    /// The TPM.
    pub tpm: SwTpm,
    dir: TempDir,
}

impl World {
    /// A world with the tokens [`ALPHA`], [`BETA`] and [`OPEN`].
    #[allow(clippy::new_without_default, reason = "starting a TPM is no default")]
    pub fn new() -> World {
        let golden = golden();
        let world = World::around(SwTpm::with_state(&golden.join("tpm")));
        copy_store(&golden.join("store"), &world.store());
        world
    }

    /// A world with a fresh TPM and no store.
    pub fn empty() -> World {
        World::around(SwTpm::start())
    }

    /// The same with a TPM whose endorsement keys have certificates; those of their authorities are in the directory `makers`.
    pub fn certified() -> World {
        let makers = tempfile::tempdir().unwrap();
        let world = World::around(SwTpm::with_endorsement(makers.path()));
        std::fs::create_dir(world.path("makers")).unwrap();
        for name in ["root.pem", "issuer.pem"] {
            std::fs::copy(makers.path().join(name), world.path(&format!("makers/{name}"))).unwrap();
        }
        world
    }

    fn around(tpm: SwTpm) -> World {
        let proxy = Proxy::start(&tpm);
        let dir = tempfile::Builder::new().prefix("world-").tempdir().unwrap();
        let manager = peer::is_under_test().then(|| ResourceManager::start(proxy.port()));
        let world = World { manager, proxy, tpm, dir };
        world.configure("");
        world
    }

    /// Puts a resource manager between the clients and the proxy, which then counts what the chip is asked.
    pub fn managed(mut self) -> World {
        self.manager.get_or_insert_with(|| ResourceManager::start(self.proxy.port()));
        self
    }

    /// Writes the configuration file.
    pub fn configure(&self, text: &str) {
        let path = self.path("config.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The same, as part of making a world.
    pub fn configured(self, text: &str) -> World {
        self.configure(text);
        self
    }

    /// A path in the world's directory, which is the home directory of its programs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store's directory.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The store's file.
    pub fn store_file(&self) -> PathBuf {
        self.store().join("tpm2_cryptoki.sqlite3")
    }

    /// How the TPM is reached.
    pub fn tcti(&self) -> String {
        self.manager.as_ref().map_or_else(|| self.proxy.tcti(), ResourceManager::tcti)
    }

    /// All that the module and `ptool` have said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The environment of its programs.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut environment = vec![
            ("HOME", text(self.dir.path().to_owned())),
            ("TMPDIR", text(self.dir.path().to_owned())),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", product::ptool().parent().unwrap().display())),
            ("TPM2_CRYPTOKI_STORE", text(self.store())),
            ("TPM2_CRYPTOKI_TCTI", self.tcti()),
            ("TPM2_CRYPTOKI_CONFIG", text(self.path("config.toml"))),
            ("TPM2_CRYPTOKI_LOG", format!("info:{}", self.path("log").display())),
        ];
        if let Some(manager) = self.manager.as_ref().filter(|_| peer::is_under_test()) {
            environment.extend(peer::environment(&text(self.store()), &text(manager.path())));
        }
        environment
    }

    /// A program in this world: with its environment and nothing else, in its home, without a terminal to ask on, and with two
    /// minutes to live.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setsid");
        command
            .args(["--wait", "timeout", "--kill-after=5", "120"])
            .arg(program.as_ref())
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::null());
        command
    }

    /// Runs `ptool`.
    pub fn ptool(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(product::ptool()).args(arguments))
    }

    /// Runs `ptool`, which must succeed.
    pub fn ptool_ok(&self, arguments: &[&str]) -> Run {
        let run = self.ptool(arguments);
        assert!(run.success(), "ptool {arguments:?}: {run:?}");
        run
    }

    /// A process that has loaded the module.
    pub fn probe(&self) -> Probe {
        Probe::start(&self.environment())
    }

    /// The same, with further environment.
    pub fn probe_with(&self, more: &[(&'static str, String)]) -> Probe {
        let mut environment = self.environment();
        environment.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        environment.extend(more.iter().cloned());
        Probe::start(&environment)
    }

    /// The TPM holds nothing of any client that is gone or has finalised. A resource manager gives back what its clients held a
    /// moment after they close.
    #[track_caller]
    pub fn assert_clean(&self) {
        let patience = if self.manager.is_some() { Duration::from_secs(10) } else { Duration::ZERO };
        let start = Instant::now();
        loop {
            let held = leftovers(&self.tpm);
            if held.is_clean() {
                return;
            }
            assert!(start.elapsed() < patience, "{held:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The store's database, for tests that change it behind the module's back.
    pub fn store_bytes(&self) -> Vec<u8> {
        std::fs::read(self.store_file()).unwrap()
    }
}

/// A world with tokens, and a process in it that has initialised the module.
pub fn client() -> (World, Probe) {
    let world = World::new();
    let probe = world.probe().initialized();
    (world, probe)
}

/// What a program said and how it ended.
pub struct Run {
    /// Its exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Run {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Run::from(output)
    }

    /// Did it end with status 0?
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// Panics unless it did.
    pub fn ok(self) -> Run {
        assert!(self.success(), "{self:?}");
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs as text.
    pub fn all(&self) -> String {
        self.text() + &self.stderr
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Run { status: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.text(), self.stderr)
    }
}

/// The state of a TPM and the store of its tokens, made once for each build of the product: making keys takes long.
fn golden() -> &'static Path {
    static GOLDEN: OnceLock<PathBuf> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let age = |path: &Path| {
            let made = path.metadata().and_then(|metadata| metadata.modified()).unwrap();
            made.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
        };
        let key = age(product::module()) ^ age(product::ptool());
        let _turn = product::lock("golden");
        let root = product::output_dir().join(".tests-golden");
        let place = root.join(format!("{key:x}"));
        if !place.is_dir() {
            forget_old(&root);
            std::fs::create_dir_all(&root).unwrap();
            let draft = root.join(format!("draft-{}", std::process::id()));
            make_golden(&draft);
            std::fs::rename(draft, &place).unwrap();
        }
        place
    })
}

fn make_golden(at: &Path) {
    let mut world = World::empty();
    if let Some(manager) = world.manager.as_ref().filter(|_| peer::is_under_test()) {
        std::fs::create_dir(world.store()).unwrap();
        peer::make_store(&world.store(), &manager.path(), &TOKENS);
        copy_store(&world.store(), &at.join("store"));
        world.tpm.save_state(&at.join("tpm"));
        return;
    }
    world.ptool_ok(&["init"]);
    for token in TOKENS {
        let mut add = vec!["addtoken", "--pid=1", "--label", token.label, "--sopin", token.so_pin];
        match token.user_pin {
            Some(pin) => add.extend(["--userpin", pin]),
            None => add.push("--no-userpin"),
        }
        world.ptool_ok(&add);
        for key in token.keys {
            let id = String::from_utf8(crate::call::unhex(key.id).unwrap()).unwrap();
            let mut add = vec![
                "addkey",
                "--label",
                token.label,
                "--key-label",
                key.label,
                "--algorithm",
                key.algorithm,
                "--id",
                &id,
            ];
            if let Some(pin) = token.user_pin {
                add.extend(["--userpin", pin]);
            }
            world.ptool_ok(&add);
        }
    }
    copy_store(&world.store(), &at.join("store"));
    world.tpm.save_state(&at.join("tpm"));
}

fn copy_store(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // With the mode, as the store's owner left it.
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn forget_old(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let old = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|made| made.elapsed().ok());
        // Another test run may be using a younger one.
        if old.is_some_and(|age| age > Duration::from_secs(3600)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
