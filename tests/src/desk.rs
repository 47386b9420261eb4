//! Where real programs work: a directory with a letter to sign, in a world of its own.

use crate::product;
use crate::world::{Run, World};

/// The PIN of the token that the programs use.
pub const PIN: &str = "user-alpha";
/// What they sign.
pub const LETTER: &[u8] = b"Dear reader, the key that signed this never left its TPM.\n";

/// A directory with a letter to sign, and the programs run there.
pub struct Desk {
    /// Where it stands.
    pub world: World,
}

impl Desk {
    /// In a world with tokens.
    #[allow(clippy::new_without_default, reason = "starting a TPM is no default")]
    pub fn new() -> Desk {
        Desk::of(World::new())
    }

    /// In this world.
    pub fn of(world: World) -> Desk {
        std::fs::write(world.path("letter"), LETTER).unwrap();
        Desk { world }
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.world.path(name), content).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a program, which must succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Run {
        let run = Run::of(self.world.command(program).args(arguments));
        assert!(run.success(), "{program} {arguments:?}: {run:?}\n--- log\n{}", self.world.log());
        run
    }

    /// `pkcs11-tool` on the token [`ALPHA`](crate::world::ALPHA), which must succeed.
    pub fn tool(&self, arguments: &[&str]) -> Run {
        let run = self.any_tool(arguments);
        assert!(run.success(), "pkcs11-tool {arguments:?}: {run:?}\n--- log\n{}", self.world.log());
        run
    }

    /// The same, which may fail.
    pub fn any_tool(&self, arguments: &[&str]) -> Run {
        let mut command = self.world.command("pkcs11-tool");
        Run::of(command.arg("--module").arg(product::module()).args(["--token-label", "alpha"]).args(arguments))
    }

    /// Runs `openssl`, which must succeed.
    pub fn openssl(&self, arguments: &[&str]) -> Run {
        self.run("openssl", arguments)
    }

    /// The public key of a pair as `LABEL.pub`, in DER, by our own client and not by the program under test.
    pub fn public_key(&self, label: &str) -> String {
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let spki = crate::peer::public_key_info(&probe, session, probe.public_key(session, label));
        let name = format!("{label}.pub");
        self.write(&name, spki);
        name
    }

    /// Digests the letter.
    pub fn digest(&self, hash: &str) -> Vec<u8> {
        self.openssl(&["dgst", &format!("-{hash}"), "-binary", "letter"]).stdout
    }
}
