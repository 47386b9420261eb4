//! Clients in other languages: Python's python-pkcs11 and PyKCS11, and Java's SunPKCS11. The programs are in `clients/`; each
//! scenario is one run of one of them, and each is judged by the cryptography of its own language.
//!
//! All on a bare TPM with room for three objects.

#[path = "../clients/guest.rs"]
mod guest;

use std::path::PathBuf;

use tests::product;
use tests::world::{Run, World};

const PIN: &str = "user-alpha";

/// Runs a Python program in a world.
fn python(program: &str, scenario: &str) {
    let Some(python) = guest::prepared("python.sh") else { return };
    let world = World::new();
    let mut command = world.command(python);
    command.arg(guest::sources().join("clients/python").join(program)).arg(product::module()).arg(scenario);
    let run = Run::of(&mut command);
    assert!(run.success() && run.text().ends_with(": done\n"), "{run:?}\n--- log\n{}", world.log());
    world.assert_clean();
}

macro_rules! scenarios {
    ($name:ident: $program:literal, $($scenario:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    super::python($program, stringify!($scenario));
                }
            )*
        }
    };
}

scenarios!(python_pkcs11: "with_python_pkcs11.py", lists signs decrypts digests generates imports secrets derives threads);
scenarios!(pykcs11: "with_pykcs11.py", lists signs decrypts digests generates secrets derives forks threads);

/// A world whose keys have certificates, as Java needs them.
struct Java {
    world: World,
    programs: PathBuf,
}

impl Java {
    fn new() -> Option<Java> {
        let programs = guest::prepared("java.sh")?;
        let java = Java { world: World::new(), programs };
        // The tokens are in the first slots in the order they were made.
        // Java reads what it agreed on out of the token, and only asks for an object that lets it when it is told to.
        let secrets = "attributes(*, CKO_SECRET_KEY, *) = {\n CKA_SENSITIVE = false\n CKA_EXTRACTABLE = true\n}\n";
        let config = format!("name = TPM\nlibrary = {}\nslotListIndex = 0\n{secrets}", product::module().display());
        std::fs::write(java.world.path("java.cfg"), config).unwrap();
        Some(java)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Run {
        let run = Run::of(self.world.command(program).args(arguments));
        assert!(run.success(), "{program} {}: {run:?}\n--- log\n{}", arguments.join(" "), self.world.log());
        run
    }

    /// Certificates for the token's keys, by an authority that is a file.
    fn certify(&self) {
        let subject = ["-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE", "-out", "authority"];
        let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "authority.key", "-days", "2"];
        self.run("openssl", &[&new[..], &subject].concat());
        // The applicant's own key does not matter: each certificate is for a key of the token.
        self.run("openssl", &["req", "-new", "-key", "authority.key", "-subj", "/CN=localhost", "-out", "request"]);
        std::fs::write(self.world.path("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        for (label, id) in [("rsa", "01"), ("p256", "03"), ("p384", "04"), ("p521", "05")] {
            let spki = tests::peer::public_key_info(&probe, session, probe.public_key(session, label));
            std::fs::write(self.world.path("key.der"), spki).unwrap();
            self.run("openssl", &["pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-out", "key.pub"]);
            let sign = ["x509", "-req", "-in", "request", "-CA", "authority", "-CAkey", "authority.key", "-days", "1"];
            let what =
                ["-force_pubkey", "key.pub", "-extfile", "extensions", "-outform", "DER", "-out", "certificate.der"];
            self.run("openssl", &[&sign[..], &what].concat());
            let module = product::module().to_str().unwrap();
            let login = ["--module", module, "--token-label", "alpha", "--login", "--pin", PIN];
            let write = ["--write-object", "certificate.der", "--type", "cert", "--id", id, "--label", label];
            self.run("pkcs11-tool", &[&login[..], &write].concat());
        }
    }

    /// A scenario of `Token.java`.
    fn scenario(&self, name: &str) {
        let program = guest::sources().join("clients/java/Token.java");
        let java = self.programs.join("java");
        let run = self.run(java.to_str().unwrap(), &[program.to_str().unwrap(), "java.cfg", PIN, name]);
        assert_eq!(run.text(), format!("{name}: done\n"), "{run:?}");
    }
}

fn java(scenario: &str) {
    let Some(java) = Java::new() else { return };
    java.certify();
    java.scenario(scenario);
}

#[test]
fn java_lists() {
    java("lists");
}

#[test]
fn java_signs() {
    java("signs");
}

#[test]
fn java_decrypts() {
    java("decrypts");
}

#[test]
fn java_digests() {
    java("digests");
}

#[test]
fn java_generates_keys() {
    java("generates");
}

#[test]
fn java_encrypts_and_authenticates() {
    java("secrets");
}

#[test]
fn java_agrees_on_keys() {
    java("agrees");
}

#[test]
fn java_signs_in_threads() {
    java("threads");
}

#[test]
fn java_serves_tls() {
    java("serves");
}

/// `keytool` makes a pair for the session and then keeps it; and a pair from a file goes into the TPM.
#[test]
fn java_keeps_keys() {
    let Some(java) = Java::new() else { return };
    let keytool = java.programs.join("keytool");
    for (alias, kind) in [
        ("kept-rsa", ["-keyalg", "RSA", "-keysize", "2048"]),
        ("kept-ec", ["-keyalg", "EC", "-groupname", "secp256r1"]),
    ] {
        let store =
            ["-keystore", "NONE", "-storetype", "PKCS11", "-addprovider", "SunPKCS11", "-providerArg", "java.cfg"];
        let key = ["-genkeypair", "-alias", alias, "-dname", "CN=kept", "-storepass", PIN];
        java.run(keytool.to_str().unwrap(), &[&key[..], &store, &kind].concat());
        let key = ["-genkeypair", "-alias", &alias.replace("kept", "imported"), "-dname", "CN=imported"];
        let store = ["-keystore", "imported.p12", "-storetype", "PKCS12", "-storepass", "password"];
        java.run(keytool.to_str().unwrap(), &[&key[..], &store, &kind].concat());
    }
    java.scenario("keeps");
}
