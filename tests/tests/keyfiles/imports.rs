//! Keys that come from files.

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::product;

use crate::machine::{Machine, PIN};

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
        ("--privkey ed.pem", "the key is Ed25519"),
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

/// What the algorithm of a key says it is for, it is for here too; other software sees that the signature is right.
#[test]
fn keys_for_one_purpose_keep_to_it() {
    let machine = Machine::new();
    machine.sh("openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out any.pem
         openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256 \
           -pkeyopt rsa_pss_keygen_saltlen:32 -out bound.pem
         openssl pkcs8 -topk8 -in bound.pem -passout pass:geheim -out locked.pem
         openssl req -x509 -key any.pem -subj /CN=pss -days 9 -out any.crt
         echo data > data; openssl dgst -sha256 -binary -out hash data
         ptool import --label t --privkey any.pem --cert any.crt --key-label any
         ptool import --label t --privkey locked.pem --passin pass:geheim --key-label bound");
    for (key, hashed) in [("any", "SHA384"), ("bound", "SHA256")] {
        let tool = format!(
            "pkcs11-tool --module \"$MODULE\" --token-label t --login --pin {PIN} --sign --id {}",
            machine.id_of(key)
        );
        machine.sh(&format!(
            "openssl pkey -in {key}.pem -pubout -out {key}.pub
             {tool} -m RSA-PKCS-PSS --hash-algorithm SHA256 --mgf MGF1-SHA256 --salt-len 32 -i hash -o one 2>&1
             openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify {key}.pub -signature one data
             {tool} -m {hashed}-RSA-PKCS-PSS --salt-len 32 -i data -o two 2>&1
             openssl dgst -{} -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify {key}.pub -signature two data
             if {tool} -m SHA256-RSA-PKCS -i data -o three 2>error; then exit 1; fi; grep -q CKR_MECHANISM_INVALID error",
            hashed.to_lowercase()
        ));
    }
    let refused = machine.sh(&format!(
        "if pkcs11-tool --module \"$MODULE\" --token-label t --login --pin {PIN} --sign --id {} -m SHA384-RSA-PKCS-PSS -i data -o four \
           2>error; then exit 1; fi; grep -o 'CKR_[A-Z_]*' error",
        machine.id_of("bound")
    ));
    assert!(refused.contains("CKR_MECHANISM_INVALID"), "{refused}");
}

/// Certificates as authorities send them: the key is compared by its value, and a serial number may be of any length.
#[test]
fn certificates_of_unusual_make_are_taken() {
    let machine = Machine::new();
    machine.sh("openssl ecparam -genkey -noout -name prime256v1 -out key.pem
         openssl ec -in key.pem -conv_form compressed -out compressed.pem
         openssl req -x509 -key compressed.pem -subj /CN=odd -days 9 -set_serial 0x7f0102030405060708090a0b0c0d0e0f101112131415161718191a1b -out odd.pem
         openssl crl2pkcs7 -nocrl -certfile odd.pem -out odd.p7b
         openssl x509 -in odd.pem -outform DER -out odd.der; printf '\\n' >> odd.der
         { printf '\\357\\273\\277'; cat odd.pem; } > bom.pem
         sed 's/CERTIFICATE/X509 CERTIFICATE/' odd.pem > x509.pem
         openssl x509 -in odd.pem -trustout -out trusted.pem
         ptool import --label t --privkey key.pem --key-label odd");
    let first = machine.sh("ptool addcert --label t odd.pem");
    assert!(first.contains("action: add"), "{first}");
    for file in ["odd.p7b", "odd.der", "bom.pem", "x509.pem", "trusted.pem"] {
        let again = machine.sh(&format!("ptool addcert --label t {file}"));
        assert!(again.contains("action: existing"), "{file}: {again}");
    }
    machine.sh("openssl x509 -in odd.pem -outform DER -out pure.der
         pkcs11-tool --module \"$MODULE\" --token-label t --read-object --type cert --label odd -o back.der 2>/dev/null
         cmp pure.der back.der
         ptool doctor | tee report; ! grep -i 'certificate.*cannot' report");
    machine.sh("ptool import --label t --privkey key.pem --cert odd.p7b --key-label again");
    machine.world.assert_clean();
}
