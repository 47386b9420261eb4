//! Keys in and out, with openssl, ssh-keygen, tpm2-tools and the TPM provider of OpenSSL on the other side.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::product;
use tests::world::{Run, World};

const PIN: &str = "user-pin";

/// A machine with an empty token `t`, and its home directory, which may be another machine's too.
struct Machine {
    world: World,
    home: std::path::PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let world = World::empty();
        let home = world.path("");
        let machine = Machine { world, home };
        machine.sh("ptool init && ptool addtoken --label t --sopin officer --userpin user-pin");
        machine
    }

    /// A second machine, on which the files of the first are.
    fn beside(first: &Machine) -> Machine {
        Machine { home: first.home.clone(), ..Machine::new() }
    }

    fn command(&self, line: &str) -> Command {
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
    fn sh(&self, line: &str) -> String {
        let run = Run::of(&mut self.command(line));
        assert!(run.success(), "{line}: {run:?}\n--- log\n{}", self.world.log());
        run.text()
    }

    /// Runs lines of shell that must fail, and gives what they say.
    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let run = Run::of(&mut self.command(line));
        assert!(!run.success(), "{line}: {run:?}");
        run.stderr
    }

    /// The private key with this label signs, and openssl verifies it with the public key in the file.
    #[track_caller]
    fn signs(&self, label: &str, public: &str) {
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
    fn id_of(&self, label: &str) -> String {
        let text = self.sh("ptool listobjects --label t --output json");
        let objects: serde_json::Value = serde_json::from_str(&text).unwrap();
        let is = |object: &&serde_json::Value| object["CKA_CLASS"] == "CKO_PRIVATE_KEY" && object["CKA_LABEL"] == label;
        let found = objects.as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("no {label} in {text}"));
        found["CKA_ID"].as_str().unwrap().to_owned()
    }

    /// The TPM commands of a line.
    #[track_caller]
    fn cost(&self, line: &str) -> Vec<String> {
        self.world.proxy.mark();
        self.sh(line);
        self.world.proxy.mark().names().iter().map(|name| (*name).to_owned()).collect()
    }
}

/// The TPM provider of OpenSSL; a machine of a test run for all to see must have it.
fn has_tpm2_openssl() -> bool {
    let output = Command::new("openssl").args(["version", "-m"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let there = text.split('"').nth(1).is_some_and(|modules| Path::new(modules).join("tpm2.so").exists());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "tpm2-openssl is not installed; tests/scripts/packages.sh check"
    );
    if !there {
        eprintln!("skipped: tpm2-openssl is not installed");
    }
    there
}

const PROVIDER: &str = "-provider tpm2 -provider default -propquery '?provider=tpm2'";

#[test]
fn keys_of_every_form_are_imported_and_sign() {
    let machine = Machine::new();
    machine.sh("openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2>/dev/null ||
           openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
         openssl pkey -in rsa.pem -pubout -out rsa.pub
         openssl pkcs8 -topk8 -in rsa.pem -passout pass:geheim -out encrypted.pem
         openssl rsa -in rsa.pem -traditional -outform DER -out pkcs1.der
         for curve in 224 256 384 521; do
           openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-$curve -out $curve.pem
           openssl pkey -in $curve.pem -pubout -out $curve.pub
         done
         openssl ec -in 384.pem -out sec1.pem
         ssh-keygen -q -t ecdsa -b 521 -N geheim -a 4 -C 'me@here' -f ssh
         ssh-keygen -e -m PKCS8 -f ssh.pub > ssh.spki
         echo geheim > passphrase; chmod 600 passphrase");
    let cases = [
        ("rsa.pem", "", "rsa.pub"),
        ("encrypted.pem", "--passin pass:geheim", "rsa.pub"),
        ("encrypted.pem", "--passphrase-file passphrase --algorithm rsa", "rsa.pub"),
        ("pkcs1.der", "", "rsa.pub"),
        ("224.pem", "", "224.pub"),
        ("256.pem", "--algorithm ecc", "256.pub"),
        ("sec1.pem", "", "384.pub"),
        ("521.pem", "", "521.pub"),
        ("ssh", "--passin env:PASSPHRASE", "ssh.spki"),
    ];
    for (number, (file, options, public)) in cases.into_iter().enumerate() {
        machine.sh(&format!(
            "PASSPHRASE=geheim ptool import --label t --privkey {file} {options} --key-label key{number}"
        ));
        machine
            .sh(&format!("ptool export --label t --key-label key{number} -o {number}.pem; cmp {number}.pem {public}"));
        machine.signs(&format!("key{number}"), public);
    }
    assert!(machine.sh("ptool verify --label t").contains("altered: []"));
    machine.world.assert_clean();
}

#[test]
fn an_import_costs_one_command_besides_the_login() {
    let machine = Machine::new();
    machine.sh("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem");
    // The first commands of a TPM's life are asked for again while it tests itself.
    machine.sh("ptool import --label t --privkey ec.pem");
    let cost = machine.cost("ptool import --label t --privkey ec.pem");
    let used: Vec<&str> = cost.iter().map(String::as_str).filter(|name| *name != "FlushContext").collect();
    assert_eq!(used, ["StartAuthSession", "Load", "Unseal", "Import"], "{cost:?}");
    assert!(cost.len() <= 6, "{cost:?}");
    machine.sh("ptool srk -o srk.pem");
    for line in ["ptool export --label t --key-label nothing || true", "ptool wrap --srk srk.pem --key ec.pem -o w"] {
        assert_eq!(machine.cost(line), [""; 0], "{line}");
    }
    assert_eq!(machine.cost("ptool srk"), ["ReadPublic"]);
    let listed = machine.cost("ptool listobjects --label t");
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn a_pkcs12_file_brings_its_certificates() {
    let machine = Machine::new();
    machine.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=ca -days 9 -out ca.pem
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=leaf -out leaf.csr
         openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -out leaf.pem
         openssl pkcs12 -export -inkey key.pem -in leaf.pem -certfile ca.pem -name mine -passout pass:geheim -out mine.p12
         ptool import --label t --privkey mine.p12 --passin pass:geheim --id web",
    );
    let objects = machine.sh("ptool listobjects --label t --output json");
    assert_eq!(objects.matches("CKO_CERTIFICATE").count(), 2, "{objects}");
    assert_eq!(
        objects.matches("\"776562\"").count(),
        3,
        "the key's certificate has its id, that above another: {objects}"
    );
    assert_eq!(objects.matches("\"mine\"").count(), 3, "{objects}");
    machine.sh("ptool export --label t --key-label mine --format cert -o out.pem; openssl x509 -in out.pem -out out2.pem; openssl x509 -in leaf.pem -out leaf2.pem; cmp out2.pem leaf2.pem");
    machine.sh("openssl pkey -in key.pem -pubout -out key.pub");
    machine.signs("mine", "key.pub");
    let said = machine.fails("ptool import --label t --privkey ca.key --cert leaf.pem");
    assert!(said.contains("no certificate is about this key"), "{said}");
    machine.sh("ptool import --label t --privkey ca.key --cert ca.pem --key-label ca; openssl x509 -in ca.pem -noout -pubkey > ca.pub");
    machine.signs("ca", "ca.pub");
}

#[test]
fn secret_keys_are_the_bytes_of_the_file() {
    let machine = Machine::new();
    machine.sh("printf '000102030405060708090a0b0c0d0e0f\\n' > aes.hex; printf 'a key as it is\\n' > hmac.raw");
    machine.sh("ptool import --label t --privkey aes.hex --algorithm aes --key-label a --id a");
    machine.sh("ptool import --label t --privkey - --algorithm hmac:sha256 --key-label h --id h < hmac.raw");
    machine.sh(
        "head -c 32 /dev/zero > plain
         pkcs11-tool --module $MODULE --token-label t --login --pin user-pin --encrypt --mechanism AES-CBC \
           --iv 00000000000000000000000000000000 --id 61 -i plain -o cipher
         openssl enc -aes-128-cbc -nopad -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000000 -in plain -out expected
         cmp cipher expected
         pkcs11-tool --module $MODULE --token-label t --login --pin user-pin --sign --mechanism SHA256-HMAC --id 68 -i plain -o code
         openssl dgst -sha256 -mac HMAC -macopt hexkey:$(od -An -tx1 hmac.raw | tr -d ' \\n') -binary plain > expected
         cmp code expected",
    );
    for (bytes, algorithm) in [("0001", "aes"), ("$(head -c 300 /dev/zero | od -An -tx1 -v | tr -d ' \\n')", "hmac")] {
        let said = machine.fails(&format!("echo {bytes} | ptool import --label t --privkey - --algorithm {algorithm}"));
        assert!(said.contains("takes no key of this length"), "{said}");
    }
}

#[test]
fn what_is_no_key_says_what_it_is() {
    let machine = Machine::new();
    machine.sh(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem; openssl pkey -in ec.pem -pubout -out ec.pub
         openssl pkcs8 -topk8 -in ec.pem -passout pass:geheim -out locked.pem
         openssl genpkey -algorithm ED25519 -out ed.pem; echo hello > text; head -c 200 ec.pem > cut.pem",
    );
    for (line, words) in [
        ("--privkey ec.pub", "a public key, and no private key"),
        ("--privkey ed.pem", "an algorithm that is left out"),
        ("--privkey text", "no key in a form that is known here"),
        ("--privkey cut.pem", "cut short"),
        ("--privkey missing", "cannot be read"),
        ("--privkey ec.pem --algorithm rsa", "another algorithm"),
        ("--privkey locked.pem --passin pass:wrong", "passphrase is wrong"),
        ("--privkey locked.pem", "no passphrase was given, and there is no terminal"),
        ("--privkey locked.pem --passin env:NOWHERE", "no environment variable NOWHERE"),
        ("--privkey ec.pem --userpin wrong", "user PIN is wrong"),
        ("--privkey ec.pem --sopin officer", "security officer"),
    ] {
        let said = machine.fails(&format!("ptool import --label t {line}"));
        assert!(said.contains(words), "{line}: {said}");
    }
    assert_eq!(machine.sh("ptool listobjects --label t").trim(), "[]");
}

#[test]
fn public_keys_and_blobs_are_exported() {
    let machine = Machine::new();
    machine.sh("ptool addkey --label t --algorithm ecc256 --key-label ec; ptool addkey --label t --algorithm rsa2048 --key-label rsa");
    for label in ["ec", "rsa"] {
        machine.sh(&format!(
            "ptool export --label t --key-label {label} > {label}.pub
             ptool export --label t --key-label {label} --format der -o {label}.der
             openssl pkey -pubin -in {label}.pub -outform DER | cmp - {label}.der
             ptool export --label t --key-label {label} --format ssh > {label}.ssh
             ssh-keygen -l -f {label}.ssh; ssh-keygen -e -m PKCS8 -f {label}.ssh | cmp - {label}.pub"
        ));
        machine.signs(label, &format!("{label}.pub"));
    }
    let said = machine.fails("ptool export --label t --key-label ec -o ec.pub");
    assert!(said.contains("exists already"), "{said}");
    let said = machine.fails("ptool export --label t --key-label ec --format cert");
    assert!(said.contains("no such certificate"), "{said}");
    machine.sh("ptool export --label t --key-label ec --format tss2 --passout pass:abc -o ec.tss");
    let mode = std::fs::metadata(machine.world.path("ec.tss")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let said = machine.fails(
        "ptool export --label t --key-label ec --format tss2 --passout pass:0123456789012345678901234567890123456789",
    );
    assert!(said.contains("at most 32 bytes"), "{said}");
    // What was exported is another blob of the same key; the token's own is as it was.
    machine.signs("ec", "ec.pub");
    machine.world.assert_clean();
}

#[test]
fn the_tpm_provider_of_openssl_signs_with_exported_keys() {
    if !has_tpm2_openssl() {
        return;
    }
    let machine = Machine::new();
    machine.sh("ptool addkey --label t --algorithm ecc256 --key-label ec; ptool addkey --label t --algorithm rsa2048 --key-label rsa; echo letter > letter");
    for label in ["ec", "rsa"] {
        machine.sh(&format!(
            "ptool export --label t --key-label {label} > {label}.pub
             ptool export --label t --key-label {label} --format tss2 --passout pass:abc -o {label}.tss
             openssl dgst -sha256 {PROVIDER} -sign {label}.tss -passin pass:abc -out signature letter
             openssl dgst -sha256 -verify {label}.pub -signature signature letter
             ptool export --label t --key-label {label} --format tpm2 --no-passphrase --output-prefix open-{label}
             openssl dgst -sha256 {PROVIDER} -sign open-{label}.pem -out signature letter
             openssl dgst -sha256 -verify {label}.pub -signature signature letter"
        ));
        machine.fails(&format!(
            "openssl dgst -sha256 {PROVIDER} -sign {label}.tss -passin pass:wrong -out signature letter"
        ));
    }
}

#[test]
fn keys_of_other_software_are_linked() {
    if !has_tpm2_openssl() {
        return;
    }
    let machine = Machine::new();
    machine.sh(
        "openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 -out ec.tss
         openssl genpkey -provider tpm2 -algorithm RSA -pkeyopt bits:2048 -out rsa.tss
         openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-384 -pkeyopt parent:0x81000001 -out below.tss
         for key in ec rsa below; do openssl pkey -provider tpm2 -provider default -in $key.tss -pubout -out $key.pub; done",
    );
    for key in ["ec", "rsa", "below"] {
        machine.sh(&format!("ptool link --label t {key}.tss --key-label {key}"));
        machine.signs(key, &format!("{key}.pub"));
        machine.signs(key, &format!("{key}.pub"));
    }
    assert!(machine.sh("ptool verify --label t").contains("altered: []"));
    // It goes back to where it came from.
    machine.sh(&format!(
        "ptool export --label t --key-label ec --format tss2 --no-passphrase -o back.tss
         echo letter > letter; openssl dgst -sha256 {PROVIDER} -sign back.tss -out signature letter
         openssl dgst -sha256 -verify ec.pub -signature signature letter"
    ));
    let other = Machine::beside(&machine);
    let said = other.fails("ptool link --label t ec.tss");
    assert!(said.contains("no parent in this TPM loads the key"), "{said}");
    other.world.assert_clean();
    machine.world.assert_clean();
}

#[test]
fn blobs_and_persistent_keys_of_tpm2_tools_are_linked() {
    let machine = Machine::new();
    machine.sh(
        "tpm2_createprimary -Q -C o -G ecc -c parent.ctx; tpm2_evictcontrol -Q -C o -c parent.ctx 0x81000020; tpm2_flushcontext -t
         tpm2_create -Q -C 0x81000020 -G ecc -u ec.tpub -r ec.tpriv -p secret; tpm2_flushcontext -t
         tpm2_create -Q -C 0x81000001 -G rsa2048:null:null -u rsa.tpub -r rsa.tpriv; tpm2_flushcontext -t
         tpm2_create -Q -C 0x81000001 -G ecc:ecdsa-sha256 -u scheme.tpub -r scheme.tpriv; tpm2_flushcontext -t
         tpm2_load -Q -C 0x81000020 -u ec.tpub -r ec.tpriv -c ec.ctx; tpm2_evictcontrol -Q -C o -c ec.ctx 0x81000021 -o ec.handle; tpm2_flushcontext -t
         tpm2_readpublic -Q -c 0x81000021 -f pem -o ec.pub
         tpm2_load -Q -C 0x81000001 -u rsa.tpub -r rsa.tpriv -c rsa.ctx; tpm2_readpublic -Q -c rsa.ctx -f pem -o rsa.pub; tpm2_flushcontext -t",
    );
    machine.sh("ptool link --label t ec.tpub ec.tpriv --parent 0x81000020 --auth secret --key-label blob");
    machine.sh("ptool link --label t rsa.tpub rsa.tpriv --key-label rsa");
    machine
        .sh("ptool link --label t 0x81000021 --auth secret --key-label persistent --attr-always-authenticate --id p");
    machine.signs("blob", "ec.pub");
    machine.signs("rsa", "rsa.pub");
    machine.sh("ptool link --label t ec.handle --auth secret --key-label plain --id plain");
    machine.signs("plain", "ec.pub");
    machine.signs("plain", "ec.pub");
    for (line, words) in [
        ("ec.tpub ec.tpriv --auth secret", "no parent in this TPM loads the key"),
        ("ec.tpub ec.tpriv --parent 0x81000020 --auth wrong", "another authorization value"),
        ("0x81000001", "restricted"),
        ("0x81000099", "nothing at this handle"),
        ("scheme.tpub scheme.tpriv", "made for one scheme"),
        ("ec.pub", "no private key"),
    ] {
        let said = machine.fails(&format!("ptool link --label t {line}"));
        assert!(said.contains(words), "{line}: {said}");
    }
    // Another key in its place is not taken for it.
    machine.sh(
        "tpm2_evictcontrol -Q -C o -c 0x81000021
         tpm2_load -Q -C 0x81000001 -u rsa.tpub -r rsa.tpriv -c rsa.ctx; tpm2_evictcontrol -Q -C o -c rsa.ctx 0x81000021; tpm2_flushcontext -t",
    );
    let id = machine.id_of("plain");
    machine.fails(&format!("echo letter > letter; pkcs11-tool --module $MODULE --token-label t --login --pin user-pin --sign --mechanism ECDSA-SHA256 --id {id} -i letter -o signature"));
    machine.signs("blob", "ec.pub");
}

#[test]
fn a_tss2_file_of_tpm2_tools_is_linked() {
    let machine = Machine::new();
    if Run::of(&mut machine.command("command -v tpm2_encodeobject")).status != Some(0) {
        assert!(std::env::var_os("CI").is_none(), "tpm2-tools has no tpm2_encodeobject");
        return;
    }
    machine.sh(
        "tpm2_create -Q -C 0x81000001 -G ecc -u k.tpub -r k.tpriv -p secret; tpm2_flushcontext -t
         tpm2_encodeobject -C 0x81000001 -u k.tpub -r k.tpriv -o k.pem
         tpm2_load -Q -C 0x81000001 -u k.tpub -r k.tpriv -c k.ctx; tpm2_readpublic -Q -c k.ctx -f pem -o k.pub; tpm2_flushcontext -t",
    );
    // Its releases say so of keys without one, and the other way round.
    let said = machine.fails("ptool link --label t k.pem");
    assert!(said.contains("has an authorization value"), "{said}");
    machine.sh("ptool link --label t k.pem --auth secret --key-label k");
    machine.signs("k", "k.pub");
    let said = machine.fails("ptool import --label t --privkey k.pem");
    assert!(said.contains("`ptool link`"), "{said}");
}

#[test]
fn a_key_is_wrapped_for_one_machine() {
    let machine = Machine::new();
    machine.sh(
        "ptool srk -o srk.pem; ptool srk --format tpm2b -o srk.tpm2b; openssl pkey -pubin -in srk.pem -noout
         tpm2_readpublic -Q -c 0x81000001 -o theirs.tpm2b; cmp srk.tpm2b theirs.tpm2b
         tpm2_readpublic -Q -c 0x81000001 -f pem -o theirs.pem
         openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem; openssl pkey -in key.pem -pubout -out key.pub
         openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem; openssl pkey -in rsa.pem -pubout -out rsa.pub
         head -c 16 /dev/urandom > aes",
    );
    let far = "env -u TPM2_CRYPTOKI_STORE -u TPM2_CRYPTOKI_TCTI HOME=/nonexistent ptool";
    for (number, srk) in ["srk.pem", "srk.tpm2b", "theirs.pem"].into_iter().enumerate() {
        machine.sh(&format!("{far} wrap --srk {srk} --key key.pem -o wrapped{number}"));
        machine.sh(&format!("ptool import --label t --privkey wrapped{number} --key-label w{number}"));
        machine.signs(&format!("w{number}"), "key.pub");
    }
    machine.sh(&format!("{far} wrap --srk srk.pem --key rsa.pem --passout pass:abc -o locked"));
    let said = machine.fails("ptool import --label t --privkey locked --passin pass:wrong");
    assert!(said.contains("wrapped for another TPM, or with another passphrase"), "{said}");
    machine.sh("ptool import --label t --privkey locked --passin pass:abc --key-label locked");
    machine.signs("locked", "rsa.pub");
    machine.sh(&format!("{far} wrap --srk srk.pem --key aes --algorithm aes -o aes.wrapped; ptool import --label t --privkey aes.wrapped --key-label aes"));

    let other = Machine::beside(&machine);
    let said = other.fails("ptool import --label t --privkey wrapped0");
    assert!(said.contains("wrapped for another TPM"), "{said}");
    machine.sh("head -c -40 wrapped0 > cut; sed '3s/./A/20' wrapped0 > bent");
    for file in ["cut", "bent"] {
        machine.fails(&format!("ptool import --label t --privkey {file}"));
    }
    let said = machine.fails("ptool wrap --srk key.pub --key wrapped0 -o x");
    assert!(said.contains("or wrapped for one"), "{said}");
    assert!(machine.sh("ptool verify --label t").contains("altered: []"));
    machine.world.assert_clean();
}

#[test]
fn a_backup_comes_back_on_another_machine() {
    let machine = Machine::new();
    let other = Machine::beside(&machine);
    other.sh("ptool srk -o other-srk.pem");
    machine.sh(
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -aes256 -pass pass:geheim -out rsa-recovery.key
         openssl pkey -in rsa-recovery.key -passin pass:geheim -pubout -out rsa-recovery.pem
         openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec-recovery.key; openssl pkey -in ec-recovery.key -pubout -out ec-recovery.pem",
    );
    let cases = [
        ("one", "ecc256", "ec-recovery.pem", "--recovery-key ec-recovery.key"),
        ("two", "rsa2048", "ec-recovery.pem", "--recovery-key ec-recovery.key"),
        ("three", "ecc384", "rsa-recovery.pem", "--recovery-key rsa-recovery.key --passin pass:geheim"),
        ("four", "ecc256", "other-srk.pem", ""),
        ("five", "rsa2048", "other-srk.pem", "--key-label five --id hex:0505"),
    ];
    for (key, algorithm, recovery, how) in cases {
        machine.sh(&format!(
            "ptool addkey --label t --algorithm {algorithm} --key-label {key} --backup {recovery}
             ptool export --label t --key-label {key} > {key}.pub
             ptool backup --label t --key-label {key} -o {key}.backup"
        ));
        machine.signs(key, &format!("{key}.pub"));
        other.sh(&format!("ptool restore --label t {key}.backup {how}"));
        other.signs(key, &format!("{key}.pub"));
    }
    let ids = |machine: &Machine| {
        let text =
            machine.sh("ptool listobjects --label t | grep -A3 'CKO_PRIVATE' | grep -E 'CKA_ID|CKA_LABEL' | sort");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids(&machine).len(), 10);
    assert_eq!(ids(&other).iter().filter(|line| ids(&machine).contains(line)).count(), 9, "one id is another");
    // A restored key can go the same way again.
    other.sh("ptool backup --label t --key-label one -o again.backup");
    machine.sh("ptool restore --label t again.backup --recovery-key ec-recovery.key --key-label again");
    machine.signs("again", "one.pub");
    for world in [&machine.world, &other.world] {
        world.assert_clean();
    }
}

#[test]
fn nobody_else_can_restore_and_no_other_key_be_backed_up() {
    let machine = Machine::new();
    machine.sh(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out recovery.key; openssl pkey -in recovery.key -pubout -out recovery.pem
         openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.key
         openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key; openssl pkey -in p521.key -pubout -out p521.pem
         openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.key; openssl pkey -in short.key -pubout -out short.pem
         ptool addkey --label t --algorithm ecc256 --key-label kept
         ptool import --label t --privkey other.key --key-label came
         ptool addkey --label t --algorithm ecc256 --key-label goes --backup recovery.pem --attr-always-authenticate
         ptool backup --label t --key-label goes -o goes.backup",
    );
    let listed = machine.sh("ptool listobjects --label t");
    assert_eq!((listed.matches("backup: true").count(), listed.matches("backup: false").count()), (1, 2), "{listed}");
    for key in ["kept", "came"] {
        let said = machine.fails(&format!("ptool backup --label t --key-label {key} -o {key}.backup"));
        assert!(said.contains("made without --backup"), "{said}");
        assert!(!machine.world.path(&format!("{key}.backup")).exists());
    }
    let said = machine.fails("ptool backup --label t --key-label goes -o goes.backup");
    assert!(said.contains("exists already"), "{said}");
    let said = machine.fails("ptool addkey --label t --algorithm ecc256 --backup short.pem");
    assert!(said.contains("2048"), "{said}");
    let said = machine.fails("ptool addkey --label t --algorithm ecc256 --backup p521.pem");
    assert!(said.contains("P-521"), "{said}");
    let said = machine.fails("ptool addkey --label t --algorithm aes128 --backup recovery.pem");
    assert!(said.contains("only key pairs"), "{said}");
    machine.fails("ptool backup --label t --key-label goes -o x.backup --userpin wrong");

    let other = Machine::beside(&machine);
    for (line, words) in [
        ("goes.backup --recovery-key other.key", "not made for this recovery key"),
        ("goes.backup --recovery-key short.key", "2048"),
        ("goes.backup", "not for this TPM"),
        ("recovery.pem --recovery-key recovery.key", "is no backup"),
    ] {
        let said = other.fails(&format!("ptool restore --label t {line}"));
        assert!(said.contains(words), "{line}: {said}");
    }
    // What the backup says of the key cannot be changed: here, that the PIN is wanted for each use.
    let text = String::from_utf8(std::fs::read(machine.world.path("goes.backup")).unwrap()).unwrap();
    let (key, about) = text.split_once("-----BEGIN TPM2 CRYPTOKI BACKUP-----\n").unwrap();
    std::fs::write(machine.world.path("about"), about.split("-----END").next().unwrap()).unwrap();
    machine.sh(
        "base64 -d about | sed 's/\"always_authenticate\":true/\"always_authenticate\":false/' | base64 -w 64 > bent",
    );
    let bent = std::fs::read_to_string(machine.world.path("bent")).unwrap();
    assert_ne!(bent, about.split("-----END").next().unwrap());
    let bent = format!("{key}-----BEGIN TPM2 CRYPTOKI BACKUP-----\n{bent}-----END TPM2 CRYPTOKI BACKUP-----\n");
    std::fs::write(machine.world.path("bent.backup"), bent).unwrap();
    let said = other.fails("ptool restore --label t bent.backup --recovery-key recovery.key");
    assert!(said.contains("the backup was altered"), "{said}");
    assert_eq!(other.sh("ptool listobjects --label t").trim(), "[]");
    other.sh("ptool restore --label t goes.backup --recovery-key recovery.key");
    assert!(
        other
            .sh("pkcs11-tool --module $MODULE --token-label t --login --pin user-pin -O --type privkey")
            .contains("always")
    );
}

#[test]
fn an_import_that_is_killed_leaves_all_or_nothing() {
    let machine = Machine::new();
    machine.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=me -days 9 -out me.pem
         cat key.pem me.pem > both.pem",
    );
    for step in 0..12 {
        let mut child = Command::new(product::ptool())
            .args(["import", "--label", "t", "--privkey", "both.pem"])
            .current_dir(&machine.home)
            .env_clear()
            .envs(machine.world.environment())
            .env("TPM2_CRYPTOKI_USERPIN", PIN)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(step * 20));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let objects = machine.sh("ptool listobjects --label t");
    let [private, public, certificate] =
        ["CKO_PRIVATE_KEY", "CKO_PUBLIC_KEY", "CKO_CERTIFICATE"].map(|class| objects.matches(class).count());
    assert_eq!((private, private), (public, certificate), "{objects}");
    assert!(machine.sh("ptool verify --label t").contains("altered: []"));
    machine.sh(
        "ptool import --label t --privkey both.pem --key-label last; openssl pkey -in key.pem -pubout -out key.pub",
    );
    machine.signs("last", "key.pub");
}

/// The blocks of shell in a page of the documentation: each says, after `sh`, on which machine it runs.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("\n```sh").skip(1).map(|rest| {
        let (machine, rest) = rest.split_once('\n').unwrap();
        (machine.trim().to_owned(), rest.split("\n```").next().unwrap().to_owned())
    });
    blocks.collect()
}

fn follows(page: &str) {
    let machine = Machine::new();
    let other = Machine::beside(&machine);
    let blocks = blocks(page);
    assert!(blocks.len() >= 5, "{page}");
    for (place, lines) in blocks {
        let lines = lines.replace("--label mytoken", "--label t");
        match place.as_str() {
            "" => machine.sh(&lines),
            "on the other machine" => other.sh(&lines),
            place => panic!("{page}: where is {place:?}?"),
        };
    }
}

#[test]
fn the_page_on_importing_works_as_it_stands() {
    if has_tpm2_openssl() {
        follows("IMPORTING.md");
    }
}

#[test]
fn the_page_on_backups_works_as_it_stands() {
    follows("BACKUP.md");
}
