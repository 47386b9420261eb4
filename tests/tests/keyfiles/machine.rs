//! A machine with an empty token, and the programs on it.

use std::path::Path;
use std::process::Command;

use tests::product;
use tests::skip::left_out;
use tests::world::{Run, World};

pub(crate) const PIN: &str = "user-pin";

/// A machine with an empty token `t`, and its home directory, which may be another machine's too.
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) home: std::path::PathBuf,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let world = World::empty();
        let home = world.path("");
        let machine = Machine { world, home };
        machine.sh("ptool init && ptool addtoken --label t --sopin officer --userpin user-pin");
        machine
    }

    /// A second machine, on which the files of the first are.
    pub(crate) fn beside(first: &Machine) -> Machine {
        Machine { home: first.home.clone(), ..Machine::new() }
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.world.command("bash");
        command
            .args(["-c", &format!("set -eo pipefail\n{line}")])
            .current_dir(&self.home)
            .env("TPM2_CRYPTOKI_USERPIN", PIN)
            .env("TPM2TOOLS_TCTI", self.world.proxy.tcti())
            .env("TPM2OPENSSL_TCTI", self.world.proxy.tcti())
            .env("MODULE", product::module());
        command
    }

    /// Runs lines of shell, which must succeed, and gives what they print.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        let run = Run::of(&mut self.command(line));
        assert!(run.success(), "{line}: {run:?}\n--- log\n{}", self.world.log());
        run.text()
    }

    /// Runs lines of shell that must fail, and gives what they say.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str) -> String {
        let run = Run::of(&mut self.command(line));
        assert!(!run.success(), "{line}: {run:?}");
        run.stderr
    }

    /// The private key with this label signs, and openssl verifies it with the public key in the file.
    #[track_caller]
    pub(crate) fn signs(&self, label: &str, public: &str) {
        let mechanism = if self.sh(&format!("openssl pkey -pubin -in {public} -noout -text")).contains("Modulus") {
            "SHA256-RSA-PKCS"
        } else {
            "ECDSA-SHA256"
        };
        let id = self.id_of(label);
        self.sh(&format!(
            "echo letter > letter; rm -f signature
             pkcs11-tool --module $MODULE --token-label t --login --pin {PIN} --sign --mechanism {mechanism} \
               --signature-format openssl --id {id} -i letter -o signature
             openssl dgst -sha256 -verify {public} -signature signature letter"
        ));
    }

    /// `CKA_ID` of a private key.
    #[track_caller]
    pub(crate) fn id_of(&self, label: &str) -> String {
        let text = self.sh("ptool listobjects --label t --output json");
        let objects: serde_json::Value = serde_json::from_str(&text).unwrap();
        let is = |object: &&serde_json::Value| object["CKA_CLASS"] == "CKO_PRIVATE_KEY" && object["CKA_LABEL"] == label;
        let found = objects.as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("no {label} in {text}"));
        found["CKA_ID"].as_str().unwrap().to_owned()
    }

    /// The TPM commands of a line.
    #[track_caller]
    pub(crate) fn cost(&self, line: &str) -> Vec<String> {
        self.world.proxy.mark();
        self.sh(line);
        self.world.proxy.mark().names().iter().map(|name| (*name).to_owned()).collect()
    }
}

/// The TPM provider of OpenSSL; a machine of a test run for all to see must have it.
pub(crate) fn has_tpm2_openssl() -> bool {
    let output = Command::new("openssl").args(["version", "-m"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let there = text.split('"').nth(1).is_some_and(|modules| Path::new(modules).join("tpm2.so").exists());
    if !there {
        left_out("tpm2-openssl is not installed; tests/scripts/packages.sh check");
    }
    there
}

pub(crate) const PROVIDER: &str = "-provider tpm2 -provider default -propquery '?provider=tpm2'";
