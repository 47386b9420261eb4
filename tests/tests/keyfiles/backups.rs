//! Keys that go to another machine.

use crate::machine::Machine;

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
fn what_a_program_wrote_about_a_key_comes_back_with_it() {
    let machine = Machine::new();
    machine.sh(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out recovery.key; openssl pkey -in recovery.key -pubout -out recovery.pem
         for key in told plain; do
             ptool addkey --label t --algorithm ecc256 --key-label $key --id $key --backup recovery.pem
         done",
    );
    let ids = machine.sh("ptool listobjects --label t --output json");
    let objects: serde_json::Value = serde_json::from_str(&ids).unwrap();
    let of = |label: &str| -> Vec<i64> {
        let all = objects.as_array().unwrap().iter();
        all.filter(|object| object["CKA_LABEL"] == label).map(|object| object["id"].as_i64().unwrap()).collect()
    };
    let told = [("CKA_SUBJECT", "raw", "300a310830060603550403"), ("CKA_START_DATE", "str", "20261121")];
    for id in of("told") {
        for (key, kind, value) in told {
            machine.sh(&format!("ptool objmod --id {id} --key {key} --type {kind} --value {value}"));
        }
    }
    for key in ["told", "plain"] {
        machine.sh(&format!("ptool backup --label t --key-label {key} --out {key}.backup"));
        machine.sh(&format!(
            "ptool restore --label t {key}.backup --recovery-key recovery.key --key-label back-{key} --id back-{key}"
        ));
    }
    let listed = machine.sh("ptool listobjects --label t --output json");
    let objects: serde_json::Value = serde_json::from_str(&listed).unwrap();
    for object in objects.as_array().unwrap() {
        let Some(label) = object["CKA_LABEL"].as_str().and_then(|label| label.strip_prefix("back-")) else { continue };
        let shown = machine.sh(&format!("ptool objmod --id {}", object["id"]));
        assert_eq!(shown.contains("300a310830060603550403"), label == "told", "{shown}");
        // In hexadecimal digits, as bytes are shown.
        assert_eq!(shown.contains("3230323631313231"), label == "told", "{shown}");
    }
    machine.world.assert_clean();
}
