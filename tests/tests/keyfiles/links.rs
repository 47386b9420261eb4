//! Keys that other software keeps in the TPM, and our keys for other software.

use std::os::unix::fs::PermissionsExt;

use tests::skip::left_out;
use tests::world::Run;

use crate::machine::{Machine, PROVIDER, has_tpm2_openssl};

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
             ptool export --label t --key-label {label} --format tss2 --no-passphrase --output-prefix open-{label}
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
        return left_out("tpm2-tools has no tpm2_encodeobject");
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
