//! Where the programs work: a world, and the tree whose OpenSSL is asked.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::product;
use tests::world::{Run, World};

use crate::guest;

pub(crate) const PIN: &str = "user-alpha";
pub(crate) const LETTER: &[u8] = b"Dear reader, whoever offers every hash to the token must answer for every hash.\n";

/// No command takes this long unless it hangs.
pub(crate) const SECONDS: &str = "300";

/// A world that programs in the trixie tree see as `/world`.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) tree: PathBuf,
    /// Every call of the module is logged.
    pub(crate) detailed: bool,
}

impl Desk {
    /// With the tokens of [`World::new`], and the PIN of the first in the file that the configuration names.
    pub(crate) fn new() -> Option<Desk> {
        Desk::of(World::new, PIN)
    }

    pub(crate) fn of(world: impl FnOnce() -> World, pin: &str) -> Option<Desk> {
        let tree = guest::prepared("trixie.sh")?;
        // Several programs at once, as on a machine with a kernel.
        let desk = Desk { world: world().managed(), tree, detailed: false };
        let manager = desk.world.manager.as_ref().expect("it is managed");
        std::fs::hard_link(manager.path(), desk.world.path("tpmrm0")).unwrap();
        desk.write("letter", LETTER);
        // As `echo -n` writes it.
        desk.write("pin", pin);
        let config = std::fs::read_to_string(guest::sources().join("clients/openssl.cnf")).unwrap();
        desk.write("openssl.cnf", config.replace("@ARCH@", std::env::consts::ARCH));
        std::fs::copy(product::module(), desk.world.path("module.so")).unwrap();
        Some(desk)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.world.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Leaves `default_properties` out.
    pub(crate) fn be_modest(&self) {
        let config = String::from_utf8(self.read("openssl.cnf")).unwrap();
        self.write("openssl.cnf", config.replace("alg_section = algorithm_sect", ""));
    }

    /// A program in the tree.
    pub(crate) fn guest(&self, program: &str) -> Command {
        let home = self.world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
        let mut command = Command::new(guest::sources().join("scripts/in-tree.sh"));
        let log = if self.detailed { "debug:/world/log" } else { "info:/world/log" };
        command
            .arg(&self.tree)
            .arg(&home)
            .args([SECONDS, program])
            .env_clear()
            .envs(self.world.environment().into_iter().map(|(name, value)| (name, value.replace(&home, "/world"))))
            .env("TPM2_CRYPTOKI_TCTI", "device:/world/tpmrm0")
            .env("TPM2_PKCS11_TCTI", tests::peer::tcti("/world/tpmrm0"))
            .env("TPM2_CRYPTOKI_LOG", log)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OPENSSL_CONF", "/world/openssl.cnf")
            .stdin(Stdio::null());
        command
    }

    /// `openssl` in the tree.
    pub(crate) fn try_openssl(&self, arguments: &[&str]) -> Run {
        Run::of(self.guest("openssl").args(arguments))
    }

    /// The same, which must succeed.
    #[track_caller]
    pub(crate) fn openssl(&self, arguments: &[&str]) -> Run {
        let run = self.try_openssl(arguments);
        assert!(run.success(), "openssl {}: {run:?}\n--- log\n{}", arguments.join(" "), self.world.log());
        run
    }

    /// This machine's `openssl`, without the provider.
    #[track_caller]
    pub(crate) fn plain(&self, arguments: &[&str]) -> Run {
        let run = self.try_plain(arguments);
        assert!(run.success(), "openssl without the provider: {}: {run:?}", arguments.join(" "));
        run
    }

    pub(crate) fn try_plain(&self, arguments: &[&str]) -> Run {
        Run::of(self.world.command("openssl").args(arguments))
    }

    /// `openssl dgst -verify` without the provider.
    #[track_caller]
    pub(crate) fn verify(&self, key: &str, hash: &str, options: &[&str]) {
        let mut arguments = vec!["dgst", hash, "-verify", key, "-signature", "signature"];
        arguments.extend(options.iter().flat_map(|option| ["-sigopt", option]));
        arguments.push("letter");
        assert!(self.plain(&arguments).text().contains("Verified OK"));
    }

    /// The public key of a pair as `LABEL.pub`, in PEM; asked of the module by calls that no OpenSSL makes.
    pub(crate) fn public_key(&self, label: &str) -> String {
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let spki = tests::peer::public_key_info(&probe, session, probe.public_key(session, label));
        let (der, pem) = (format!("{label}.der"), format!("{label}.pub"));
        self.write(&der, spki);
        self.plain(&["pkey", "-pubin", "-inform", "DER", "-in", &der, "-out", &pem]);
        pem
    }

    /// `pkcs11-tool` in the tree.
    #[track_caller]
    pub(crate) fn tool(&self, arguments: &[&str]) -> Run {
        let run = Run::of(self.guest("pkcs11-tool").args(["--module", "/world/module.so"]).args(arguments));
        assert!(run.success(), "pkcs11-tool {}: {run:?}\n--- log\n{}", arguments.join(" "), self.world.log());
        run
    }
}

pub(crate) fn private(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=private")
}

pub(crate) fn public(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=public")
}
