//! tpm2-pkcs11 beside the product, on one TPM: its `tpm2_ptool` and its module, as Debian has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::{Run, World};

/// What brings a program's bytes to the resource manager's socket, and back: `tpm2_ptool` and the module know devices and TCP only.
const RELAY: &str = r#"
import os, socket, sys, threading
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
def answers():
    while data := server.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=answers, daemon=True).start()
while data := os.read(0, 65536):
    server.sendall(data)
"#;

/// A world in which that software has a store, too.
pub struct Peer {
    /// The TPM is behind a resource manager.
    pub world: World,
    place: PathBuf,
    relay: String,
}

impl Peer {
    /// In a fresh world, with what `tests/scripts/tpm2-pkcs11.sh` made.
    pub fn new(place: &Path) -> Peer {
        let world = World::empty().managed();
        world.tpm.set_lockout(1000, 1000);
        std::fs::write(world.path("relay.py"), RELAY).unwrap();
        let tcti = world.tcti();
        let socket = tcti.strip_prefix("device:").expect("the resource manager's socket");
        let relay = format!("cmd:/usr/bin/python3 {} {socket}", world.path("relay.py").display());
        let peer = Peer { world, place: place.to_owned(), relay };
        std::fs::create_dir(peer.store()).unwrap();
        peer
    }

    /// The directory of its store.
    pub fn store(&self) -> PathBuf {
        self.world.path("tpm2-pkcs11")
    }

    /// The file of its store.
    pub fn store_file(&self) -> PathBuf {
        self.store().join("tpm2_pkcs11.sqlite3")
    }

    /// Every file in the directory of its store, with what is in it.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(self.store()).unwrap();
        entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// A program in that software's environment.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setsid");
        // It makes RSA keys on the way, which take as long as they take.
        command
            .args(["--wait", "timeout", "--kill-after=5", "600"])
            .arg(program.as_ref())
            .current_dir(self.world.path("."))
            .env_clear()
            .envs(self.world.environment())
            .stdin(Stdio::null())
            .env("TPM2TOOLS_TCTI", &self.relay)
            .env("TPM2_PKCS11_TCTI", &self.relay)
            .env("TPM2_PKCS11_STORE", self.store())
            .env("TSS2_LOG", "all+none");
        command
    }

    /// Runs its `tpm2_ptool`.
    pub fn ptool(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(self.place.join("bin/tpm2_ptool")).args(arguments))
    }

    /// The same, which must succeed.
    pub fn ptool_ok(&self, arguments: &[&str]) -> Run {
        let run = self.ptool(arguments);
        assert!(run.success(), "tpm2_ptool {arguments:?}: {run:?}");
        run
    }

    /// Runs `pkcs11-tool` with its module, which must succeed.
    pub fn tool(&self, arguments: &[&str]) -> Run {
        let run = Run::of(
            self.command("pkcs11-tool").arg("--module").arg(self.place.join("libtpm2_pkcs11.so")).args(arguments),
        );
        assert!(run.success(), "its pkcs11-tool {arguments:?}: {run:?}");
        run
    }
}
