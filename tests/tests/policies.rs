//! Keys and tokens that work in the right state of the machine only, through the module and by real programs.

use std::path::PathBuf;

use pkcs11_sys::*;
use tests::probe::{Probe, fails};
use tests::world::{Run, World};

const SO: &str = "officer";
const PIN: &str = "user-pin";

/// A machine with a token `t`, whose programs give the TPM back at once, and look for approvals in a directory of their own.
fn world() -> World {
    let world = World::empty();
    settle(&world, "idle-ms = 50\n");
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", "--label=t", "--sopin", SO, "--userpin", PIN]);
    world
}

/// Writes the configuration.
fn settle(world: &World, more: &str) {
    let places = [world.path("approvals.d"), world.path("tpm2-pcr-signature.json")];
    world.configure(&format!("approvals = {places:?}\n{more}"));
}

/// Extends a PCR, as whatever is measured does.
fn extend(world: &World, pcr: u8, with: u8) {
    let what = format!("{pcr}:sha256={}", format!("{with:02x}").repeat(32));
    Run::of(world.command("tpm2_pcrextend").args(["-T", &world.tcti(), &what])).ok();
}

/// Switches the machine off and on: its PCRs are as after every start.
fn reboot(world: &mut World) {
    world.proxy.cut();
    world.tpm.reboot();
}

fn add_key(world: &World, label: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["addkey", "--label=t", "--userpin", PIN, "--algorithm=ecc256", "--key-label", label];
    arguments.extend(more);
    world.ptool_ok(&arguments)
}

fn logged_in(world: &World) -> (Probe, u64) {
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("t"));
    probe.login(session, CKU_USER, PIN).unwrap();
    (probe, session)
}

/// One signature, by a process of its own.
fn sign(world: &World, label: &str) -> Result<(), tests::Ck> {
    let (probe, session) = logged_in(world);
    let key = probe.private_key(session, label);
    let signed = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
    let verified = signed.and_then(|signature| {
        let public = probe.public_key(session, label);
        probe.verify(session, CKM_ECDSA_SHA256, public, b"message", &signature)
    });
    probe.finalize().unwrap();
    verified
}

/// One login, by a process of its own.
fn login(world: &World, token: &str, pin: &str) -> Result<(), tests::Ck> {
    let probe = world.probe().initialized();
    let result = probe.login(probe.open_rw(probe.slot_of(token)), CKU_USER, pin);
    probe.finalize().unwrap();
    result
}

#[track_caller]
fn refused(world: &World, label: &str) {
    fails(sign(world, label), CKR_FUNCTION_REJECTED);
}

fn lockout_counter(world: &World) -> String {
    let run = Run::of(world.command("tpm2_getcap").args(["-T", &world.tcti(), "properties-variable"])).ok();
    let text = run.text();
    text.lines().find(|line| line.contains("TPM2_PT_LOCKOUT_COUNTER")).unwrap().to_owned()
}

/// A key of OpenSSL's, as PEM files `NAME.pem` and `NAME.pub`.
fn authority(world: &World, name: &str, algorithm: &[&str]) {
    let mut make = vec!["genpkey", "-quiet", "-out"];
    let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
    make.push(&private);
    make.extend(algorithm);
    Run::of(world.command("openssl").args(make)).ok();
    Run::of(world.command("openssl").args(["pkey", "-in", &private, "-pubout", "-out", &public])).ok();
}

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn a_key_works_in_its_state_only() {
    let mut world = world();
    extend(&world, 10, 1);
    let made = add_key(&world, "bound", &["--pcr", "sha256:7,10"]);
    assert!(made.stderr.contains("--pcr-authority"), "an update ends it, and there is another way: {made:?}");
    add_key(&world, "free", &[]);
    sign(&world, "bound").unwrap();
    assert!(world.ptool_ok(&["listobjects", "--label=t"]).text().contains("policy: 'sha256:7,10 + PIN'"));
    world.ptool_ok(&["pcr", "check", "--label=t", "--key-label=bound"]);

    let counter = lockout_counter(&world);
    extend(&world, 10, 2);
    for _ in 0..3 {
        refused(&world, "bound");
    }
    sign(&world, "free").unwrap();
    let log = world.log();
    let line = log.lines().find(|line| line.contains("CKR_FUNCTION_REJECTED")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("sha256:7,10") && line.contains(" 10 differ") && line.contains("ptool pcr check"), "{line}");
    assert_eq!(lockout_counter(&world), counter, "nobody guessed a PIN");
    let check = world.ptool(&["pcr", "check", "--label=t"]);
    assert!(check.status == Some(1) && check.text().contains(" 10 differ"), "{check:?}");

    reboot(&mut world);
    refused(&world, "bound");
    extend(&world, 10, 1);
    sign(&world, "bound").unwrap();
    world.assert_clean();
}

#[test]
fn values_come_from_files_of_several_kinds() {
    let world = world();
    extend(&world, 10, 1);
    let shown = world.ptool_ok(&["pcr", "show", "sha256:10,11"]).text();
    std::fs::write(world.path("shown.yaml"), &shown).unwrap();
    std::fs::write(world.path("shown.json"), world.ptool_ok(&["pcr", "show", "--output=json"]).text()).unwrap();
    let tcti = world.tcti();
    let read =
        |more: &[&str]| Run::of(world.command("tpm2_pcrread").args(["-T", &tcti, "sha256:10,11"]).args(more)).ok();
    std::fs::write(world.path("tools.yaml"), read(&[]).text()).unwrap();
    read(&["-o", "tools.bin"]);
    for (number, file) in ["shown.yaml", "shown.json", "tools.yaml", "tools.bin"].into_iter().enumerate() {
        let label = format!("key{number}");
        // Made in another state than the one it is for.
        extend(&world, 16, 1);
        let path = world.path(file);
        add_key(&world, &label, &["--pcr=sha256:10,11", "--pcr-values", path.to_str().unwrap()]);
        sign(&world, &label).unwrap();
    }
    let wrong = world.ptool(&[
        "addkey",
        "--label=t",
        "--userpin",
        PIN,
        "--algorithm=ecc256",
        "--pcr=sha256:9,10",
        "--pcr-values",
        "shown.yaml",
    ]);
    assert!(wrong.status == Some(1) && wrong.stderr.contains("lacks"), "{wrong:?}");
}

#[test]
fn one_of_several_states_is_enough() {
    let mut world = world();
    std::fs::write(world.path("before.yaml"), world.ptool_ok(&["pcr", "show", "sha256:10"]).text()).unwrap();
    extend(&world, 10, 1);
    add_key(&world, "either", &["--pcr=sha256:10", "--pcr-values=now", "--pcr-values=before.yaml"]);
    sign(&world, "either").unwrap();
    extend(&world, 10, 2);
    refused(&world, "either");
    reboot(&mut world);
    sign(&world, "either").unwrap();
    let listed = world.ptool_ok(&["listobjects", "--label=t"]).text();
    assert!(listed.contains("(sha256:10 | sha256:10) + PIN"), "{listed}");
}

#[test]
fn an_approval_makes_a_key_work_in_a_new_state() {
    for algorithm in [RSA, EC] {
        let world = world();
        authority(&world, "boss", algorithm);
        add_key(&world, "signed", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
        let before = world.store_bytes();
        refused(&world, "signed");
        assert!(world.log().contains("there is no approval"), "{}", world.log());
        world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10", "--comment=first kernel"]);
        sign(&world, "signed").unwrap();
        extend(&world, 10, 1);
        refused(&world, "signed");

        // A process that runs sees an approval that comes meanwhile.
        let (probe, session) = logged_in(&world);
        let key = probe.private_key(session, "signed");
        fails(probe.sign(session, CKM_ECDSA_SHA256, key, b"message"), CKR_FUNCTION_REJECTED);
        world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
        probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
        probe.finalize().unwrap();
        assert_ne!(world.store_bytes(), before);

        let listed = world.ptool_ok(&["pcr", "list"]).text();
        assert!(
            listed.contains("comment: first kernel") && listed.matches("pcrs: 'sha256:10'").count() == 2,
            "{listed}"
        );
        let revoked = world.ptool_ok(&["pcr", "revoke", "2"]);
        assert!(revoked.stderr.contains("stay good"), "{revoked:?}");
        refused(&world, "signed");
        assert_eq!(world.ptool(&["pcr", "revoke", "2"]).status, Some(1));
    }
}

#[test]
fn approvals_in_files_count_by_their_signature_alone() {
    let world = world();
    authority(&world, "boss", RSA);
    authority(&world, "other", RSA);
    add_key(&world, "signed", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
    extend(&world, 10, 1);
    let dir = world.path("approvals.d");
    std::fs::create_dir(&dir).unwrap();
    let approve = |key: &str, file: &str| {
        world.ptool_ok(&["pcr", "approve", "--key", key, "--pcr=sha256:10", "--output-file", file]);
        std::fs::read_to_string(world.path(file)).unwrap()
    };
    let good = approve("boss.pem", "good");
    let foreign = approve("other.pem", "foreign");
    let value = |text: &str, name: &str| {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["sha256"][0][name].as_str().unwrap().to_owned()
    };
    let mut flipped = value(&good, "sig");
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, first);
    let bad = [
        ("foreign", foreign.clone()),
        ("foreign, under the name of the authority", foreign.replace(&value(&foreign, "pkfp"), &value(&good, "pkfp"))),
        ("forged", good.replace(&value(&good, "sig"), &flipped)),
        ("for another state", good.replace(&value(&good, "pol"), &"00".repeat(32))),
        ("for other PCRs", good.replace("10", "11")),
        ("cut", good[..good.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not JSON", "\u{0}".repeat(1000)),
    ];
    for (what, text) in &bad {
        assert_ne!(*text, good, "{what}");
        std::fs::write(dir.join("bad.json"), text).unwrap();
        assert_eq!(sign(&world, "signed"), Err(tests::Ck(CKR_FUNCTION_REJECTED)), "{what}");
    }
    // Among all of them, the good one is found.
    for (number, (_, text)) in bad.iter().enumerate() {
        std::fs::write(dir.join(format!("{number}.json")), text).unwrap();
    }
    std::fs::write(dir.join("zzz.json"), &good).unwrap();
    sign(&world, "signed").unwrap();
}

#[test]
fn an_authority_may_be_a_key_in_a_token() {
    let world = world();
    world.ptool_ok(&["addtoken", "--label=the boss", "--sopin", SO, "--userpin=boss-pin"]);
    for algorithm in ["rsa2048", "ecc256"] {
        world.ptool_ok(&[
            "addkey",
            "--label=the boss",
            "--userpin=boss-pin",
            "--key-label",
            algorithm,
            "--algorithm",
            algorithm,
        ]);
        let uri = format!("pkcs11:token=the%20boss;object={algorithm}");
        add_key(&world, algorithm, &["--pcr-authority", &uri]);
        refused(&world, algorithm);
        let wrong = world.ptool(&["pcr", "approve", "--key", &uri, "--pcr=sha256:10", "--userpin=wrong"]);
        assert_eq!(wrong.status, Some(3), "{wrong:?}");
        world.ptool_ok(&["pcr", "approve", "--key", &uri, "--pcr=sha256:10", "--userpin=boss-pin"]);
        sign(&world, algorithm).unwrap();
    }
}

#[test]
fn literal_states_and_an_authority_go_together() {
    let world = world();
    authority(&world, "boss", RSA);
    add_key(&world, "both", &["--pcr=sha256:10", "--or-authority=boss.pub"]);
    sign(&world, "both").unwrap();
    extend(&world, 10, 1);
    refused(&world, "both");
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    sign(&world, "both").unwrap();
}

#[test]
fn a_key_without_pin_asks_for_the_state_alone() {
    let world = world();
    add_key(&world, "unattended", &["--pcr=sha256:10", "--no-pin"]);
    let attempt = || {
        let probe = world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("t"));
        let key = probe.private_key(session, "unattended");
        let result = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
        probe.finalize().unwrap();
        result
    };
    attempt().unwrap();
    sign(&world, "unattended").unwrap();
    extend(&world, 10, 1);
    fails(attempt(), CKR_FUNCTION_REJECTED);
    refused(&world, "unattended");
    world.assert_clean();
}

#[test]
fn a_token_opens_in_its_state_only() {
    let mut world = world();
    world.ptool_ok(&["addtoken", "--label=sealed", "--sopin", SO, "--userpin", PIN, "--pcr=sha256:10"]);
    world.ptool_ok(&["addkey", "--label=sealed", "--userpin", PIN, "--algorithm=ecc256", "--key-label=k"]);
    assert!(world.ptool_ok(&["listtokens"]).text().contains("policy: 'sha256:10 + PIN'"));
    login(&world, "sealed", PIN).unwrap();
    fails(login(&world, "sealed", "wrong-pin"), CKR_PIN_INCORRECT);
    extend(&world, 10, 1);
    let counter = lockout_counter(&world);
    fails(login(&world, "sealed", PIN), CKR_FUNCTION_REJECTED);
    fails(login(&world, "sealed", "wrong-pin"), CKR_FUNCTION_REJECTED);
    assert_eq!(lockout_counter(&world), counter);
    assert!(world.log().contains("sha256:10"), "{}", world.log());
    // The security officer still sets PINs, and the user changes his: neither opens anything.
    world.ptool_ok(&["initpin", "--label=sealed", "--sopin", SO, "--userpin=second-pin"]);
    world.ptool_ok(&["changepin", "--label=sealed", "--old=second-pin", "--new=third-pin"]);
    fails(login(&world, "sealed", "third-pin"), CKR_FUNCTION_REJECTED);
    reboot(&mut world);
    login(&world, "sealed", "third-pin").unwrap();
    fails(login(&world, "sealed", PIN), CKR_PIN_INCORRECT);
    world.assert_clean();
}

#[test]
fn a_token_without_pin_opens_by_itself_in_its_state() {
    let world = world();
    authority(&world, "boss", RSA);
    world.ptool_ok(&["addtoken", "--label=auto", "--sopin", SO, "--no-userpin", "--pcr-authority=boss.pub"]);
    let key = ["addkey", "--label=auto", "--algorithm=ecc256", "--key-label=k"];
    assert_eq!(world.ptool(&key).status, Some(1), "its keys are made where they can be used");
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    world.ptool_ok(&key);
    let attempt = || {
        let probe = world.probe().initialized();
        let slot = probe.slot_of("auto");
        assert_eq!(probe.token_info(slot).unwrap().flags & CKF_LOGIN_REQUIRED, 0);
        let session = probe.open_ro(slot);
        let key = probe.private_key(session, "k");
        let result = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
        probe.finalize().unwrap();
        result
    };
    attempt().unwrap();
    extend(&world, 10, 1);
    fails(attempt(), CKR_FUNCTION_REJECTED);
    for change in [
        &["changepin", "--label=auto", "--old=", "--new=new-pin"][..],
        &["initpin", "--label=auto", "--sopin", SO, "--userpin=new-pin"],
    ] {
        let run = world.ptool(change);
        assert!(run.status == Some(1) && run.stderr.contains("no PIN"), "{change:?}: {run:?}");
    }
}

#[test]
fn an_altered_policy_is_noticed() {
    let world = world();
    add_key(&world, "bound", &["--pcr=sha256:10"]);
    world.ptool_ok(&["addtoken", "--label=sealed", "--sopin", SO, "--userpin", PIN, "--pcr=sha256:10"]);
    let alter = |table: &str| {
        let store = rusqlite::Connection::open(world.store_file()).unwrap();
        let sql = format!("SELECT policy FROM {table} WHERE policy IS NOT NULL");
        let policy: String = store.query_row(&sql, [], |row| row.get(0)).unwrap();
        let altered = policy.replace(",\"auth_value\"", "");
        assert_ne!(altered, policy);
        store.execute(&format!("UPDATE {table} SET policy = ?1 WHERE policy IS NOT NULL"), [altered]).unwrap();
    };
    for table in ["objects", "tokens"] {
        alter(table);
    }
    let (probe, session) = logged_in(&world);
    assert!(probe.find(session, &[tests::probe::number(CKA_CLASS, CKO_PRIVATE_KEY)]).unwrap().is_empty());
    let sealed = probe.open_rw(probe.slot_of("sealed"));
    fails(probe.login(sealed, CKU_USER, PIN), CKR_DEVICE_ERROR);
    assert!(world.log().contains("policy"), "{}", world.log());
    probe.finalize().unwrap();
}

fn tool(world: &World, program: &str, arguments: &[&str]) -> Run {
    let mut command = world.command(program);
    command.args(["-T", &world.tcti()]).args(arguments);
    Run::of(&mut command).ok()
}

#[test]
fn digests_are_those_of_tpm2_tools() {
    let world = world();
    authority(&world, "boss", RSA);
    authority(&world, "boss-ec", EC);
    extend(&world, 10, 1);
    let start = |world: &World| tool(world, "tpm2_startauthsession", &["-S", "s.ctx"]);
    let digest = |run: Run| run.text().trim().to_owned();
    let of = |label: &str| {
        let checks = world.ptool(&["pcr", "check", "--label=t", "--key-label", label, "--output=json"]).text();
        let checks: serde_json::Value = serde_json::from_str(&checks).unwrap();
        checks[0]["digest"].as_str().unwrap().to_owned()
    };
    // swtpm keeps loaded what tpm2-tools leave; each case ends its session.
    let end = |world: &World| drop(tool(world, "tpm2_flushcontext", &["s.ctx"]));

    add_key(&world, "pcr", &["--pcr=sha256:7,10"]);
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:7,10"]);
    let run = tool(&world, "tpm2_policyauthvalue", &["-S", "s.ctx", "-L", "out"]);
    let tools = digest(run);
    end(&world);
    assert_eq!(of("pcr"), hex(&world, "out", &tools), "PCR");

    for (name, kind) in [("boss", "rsa"), ("boss-ec", "ecc")] {
        let public = format!("{name}.pub");
        add_key(&world, name, &["--pcr-authority", &public, "--no-pin"]);
        tool(&world, "tpm2_loadexternal", &["-C", "o", "-G", kind, "-u", &public, "-c", "k.ctx", "-n", "k.name"]);
        start(&world);
        std::fs::write(world.path("any.pol"), [0; 32]).unwrap();
        let run = tool(&world, "tpm2_policyauthorize", &["-S", "s.ctx", "-i", "any.pol", "-n", "k.name", "-L", "out"]);
        end(&world);
        assert_eq!(of(name), hex(&world, "out", &digest(run)), "{name}");
        Run::of(world.command("tpm2_flushcontext").args(["-T", &world.tcti(), "-t"])).ok();
    }

    std::fs::write(world.path("other.yaml"), format!("sha256:\n  10: {}\n", "22".repeat(32))).unwrap();
    add_key(&world, "or", &["--pcr=sha256:10", "--pcr-values=now", "--pcr-values=other.yaml", "--no-pin"]);
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:10", "-L", "a.pol"]);
    end(&world);
    std::fs::write(world.path("other.bin"), [0x22; 32]).unwrap();
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:10", "-f", "other.bin", "-L", "b.pol"]);
    end(&world);
    start(&world);
    let run = tool(&world, "tpm2_policyor", &["-S", "s.ctx", "-l", "sha256:a.pol,b.pol", "-L", "out"]);
    end(&world);
    assert_eq!(of("or"), hex(&world, "out", &digest(run)));
}

/// The digest that a tool wrote into a file; what it printed must not say otherwise.
fn hex(world: &World, file: &str, printed: &str) -> String {
    let bytes = std::fs::read(world.path(file)).unwrap();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(printed.is_empty() || printed.contains(&digits), "{printed}");
    digits
}

/// `systemd-measure`, where the distribution has it.
fn systemd_measure() -> Option<PathBuf> {
    let places = ["/usr/lib/systemd/systemd-measure", "/lib/systemd/systemd-measure"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "systemd-measure is not installed");
    found
}

#[test]
fn what_systemd_measure_signs_opens_a_key() {
    let Some(measure) = systemd_measure() else {
        eprintln!("skipped: this machine has no systemd-measure");
        return;
    };
    let world = world();
    authority(&world, "boss", RSA);
    for (name, content) in [("linux", "a kernel"), ("osrel", "ID=test\n"), ("cmdline", "root=/dev/vda")] {
        std::fs::write(world.path(name), content).unwrap();
    }
    let image = ["--linux=linux", "--osrel=osrel", "--cmdline=cmdline", "--bank=sha256", "--phase=enter-initrd"];
    let values = Run::of(world.command(&measure).arg("calculate").args(image)).ok().text();
    let mut sign_image = world.command(&measure);
    sign_image.arg("sign").args(image).args(["--private-key=boss.pem", "--public-key=boss.pub"]);
    // It computes the policy in a TPM's trial session.
    sign_image.arg(format!("--tpm2-device={}", world.tcti()));
    let signed = Run::of(&mut sign_image).ok();
    let json = signed.text();

    add_key(&world, "uki", &["--pcr-authority=boss.pub", "--pcr=sha256:11"]);
    std::fs::write(world.path("tpm2-pcr-signature.json"), &json).unwrap();
    refused(&world, "uki");
    measure_image(&world, &[("linux", "a kernel"), ("osrel", "ID=test\n"), ("cmdline", "root=/dev/vda")]);
    let present = world.ptool_ok(&["pcr", "show", "sha256:11"]).text();
    let value = values.lines().last().and_then(|line| line.split('=').nth(1)).unwrap();
    assert!(present.contains(value), "the machine booted that image: {present}{values}");
    sign(&world, "uki").unwrap();
    extend(&world, 11, 1);
    refused(&world, "uki");

    // Our own approval of the same state is the same but for the order of its lines.
    std::fs::write(world.path("values"), &values).unwrap();
    world.ptool_ok(&[
        "pcr",
        "approve",
        "--key=boss.pem",
        "--pcr=sha256:11",
        "--pcr-values=values",
        "--output-file=ours.json",
    ]);
    let ours: serde_json::Value = serde_json::from_slice(&std::fs::read(world.path("ours.json")).unwrap()).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(ours, theirs);
}

/// Measures into PCR 11 as systemd-stub does: for each section its name with the zero byte, then its content; and the boot phase
/// as systemd-pcrphase does.
fn measure_image(world: &World, sections: &[(&str, &str)]) {
    let event = |data: &[u8]| {
        std::fs::write(world.path("event"), data).unwrap();
        Run::of(world.command("tpm2_pcrevent").args(["-T", &world.tcti(), "11", "event"])).ok();
    };
    for (name, content) in sections {
        event(format!(".{name}\0").as_bytes());
        event(content.as_bytes());
    }
    event(b"enter-initrd");
}
