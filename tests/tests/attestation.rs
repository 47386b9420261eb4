//! Proof that keys are in a TPM: what it costs, what others say of it, and whether the objects' attributes agree with it.

#[path = "../clients/guest.rs"]
mod guest;

use std::process::Command;

use pkcs11_sys::*;
use tests::world::{Run, World};

/// A machine with a store, an empty token `mine`, and a TPM whose endorsement keys have certificates.
fn machine() -> World {
    let world = World::certified();
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", "--label=mine", "--sopin=officer", "--userpin=user-pin"]);
    add_key(&world, "web", "ecc256", &[]);
    world
}

fn add_key(world: &World, name: &str, algorithm: &str, more: &[&str]) {
    let (label, algorithm) = (format!("--key-label={name}"), format!("--algorithm={algorithm}"));
    let arguments = ["addkey", "--label=mine", "--userpin=user-pin", &label, &algorithm];
    world.ptool_ok(&[&arguments, more].concat());
}

fn shell(world: &World, lines: &str) -> Run {
    Run::of(world.command("sh").args(["-exc", lines]))
}

/// Enrols the attestation key for the authority of that name, whose certificate is in `ca.pem`.
fn enrol(world: &World, kind: &str) {
    let lines = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=authority -days 9 -out ca.pem
        ptool attest identity --label=mine --algorithm={kind} -o identity.json
        ptool attest challenge --ek-roots=makers --record=record.json -o challenge.json identity.json
        ptool attest activate --label=mine -o answer.json challenge.json
        ptool attest issue-ak --record=record.json --answer=answer.json --issuer=ca.pem --issuer-key=ca.key --manufacturer=id:49424D00 -o ak.pem
        ptool attest addcert --label=mine ak.pem"
    );
    let run = shell(world, &lines);
    assert!(run.success(), "{run:?}");
}

#[test]
fn what_attestation_costs() {
    let world = machine();
    world.ptool_ok(&["attest", "--label=mine", "--userpin=user-pin"]);
    world.proxy.mark();
    world.ptool_ok(&["attest", "--label=mine", "--userpin=user-pin"]);
    // The session of the login serves the proof.
    let login = ["StartAuthSession", "Load", "Unseal", "FlushContext"];
    let certify = ["Load", "Load", "Certify", "FlushContext", "FlushContext"];
    assert_eq!(world.proxy.mark().names(), [&login[..], &certify].concat());

    world.ptool_ok(&["attest", "identity", "--label=mine", "-o", world.path("identity").to_str().unwrap()]);
    world.proxy.mark();
    let run = shell(
        &world,
        "ptool attest identity --label=mine -o identity.json
        ptool attest challenge --ek-roots=makers --record=record.json -o challenge.json identity.json",
    );
    assert!(run.success(), "{run:?}");
    // The certificates were read once; the authority needs no TPM.
    let identity = ["StartAuthSession", "NV_ReadPublic", "CreatePrimary", "FlushContext", "FlushContext"];
    assert_eq!(world.proxy.mark().names(), identity);
    assert!(shell(&world, "ptool attest activate --label=mine challenge.json").success());
    let activate = ["StartAuthSession", "Load", "NV_ReadPublic", "CreatePrimary", "ActivateCredential"];
    assert_eq!(world.proxy.mark().names(), [&activate[..], &["FlushContext", "FlushContext"]].concat());
    world.assert_clean();
}

/// Attributes that say where a key comes from, and what the TPM says of that.
#[test]
fn attributes_agree_with_what_is_attested() {
    let world = machine();
    let recovery =
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout -out recovery.pem
        openssl ecparam -name prime256v1 -genkey -noout -out outside.pem
        ptool import --label=mine --userpin=user-pin --privkey=outside.pem --key-label=imported";
    assert!(shell(&world, recovery).success());
    add_key(&world, "rsa", "rsa2048", &[]);
    add_key(&world, "backed", "ecc256", &[&format!("--backup={}", world.path("recovery.pem").display())]);
    enrol(&world, "ecc256");
    let probe = world.probe().initialized();
    let session = probe.open_rw(probe.slot_of("mine"));
    probe.login(session, CKU_USER, "user-pin").unwrap();
    for (name, proved) in [("web", true), ("rsa", true), ("imported", false), ("backed", false)] {
        let key = probe.private_key(session, name);
        let is = |ty| probe.attribute(session, key, ty).unwrap() == [1];
        // What has a backup was made here all the same, and its value was never seen in clear.
        let says = is(CKA_LOCAL) && is(CKA_ALWAYS_SENSITIVE) && is(CKA_NEVER_EXTRACTABLE);
        if proved {
            assert!(says, "{name}");
        }
        let lines = format!(
            "ptool attest --label=mine --userpin=user-pin --key-label={name} --nonce=00 -o {name}.json
            ptool attest verify --roots=ca.pem --nonce=00 {name}.json"
        );
        assert_eq!(shell(&world, &lines).success(), proved, "{name}");
        if name == "imported" {
            assert!(!is(CKA_LOCAL) && !is(CKA_ALWAYS_SENSITIVE) && !is(CKA_NEVER_EXTRACTABLE));
        }
    }
    probe.finalize().unwrap();
}

/// What py_webauthn and fido2 say, which have nothing in common with this software.
#[test]
fn other_verifiers_agree() {
    let Some(python) = guest::prepared("verifiers.sh") else { return };
    for kind in ["ecc256", "rsa2048"] {
        let world = machine();
        add_key(&world, "rsa", "rsa2048", &[]);
        enrol(&world, kind);
        let lines = "printf '{\"type\":\"webauthn.create\",\"challenge\":\"AAAA\",\"origin\":\"https://example.org\"}' >client.json
            sed s/AAAA/BBBB/ client.json >other.json
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -subj /CN=other -out other.pem
            attest() { ptool attest --label=mine --userpin=user-pin --format=webauthn --rp-id=example.org --client-data=client.json \"$@\"; }
            attest --key-label=web >web.cbor
            attest --key-label=rsa >rsa.cbor
            attest --key-label=web --signature=tpmt >tpmt.cbor";
        let run = shell(&world, lines);
        assert!(run.success(), "{run:?}");
        let judge = |object: &str, client_data: &str, root: &str| {
            let mut command: Command = world.command(&python);
            command.arg(guest::sources().join("clients/python/judge_attestation.py"));
            Run::of(command.args([object, client_data, root])).ok().text()
        };
        let all = |word: &str| format!("with_py_webauthn: {word}\nwith_fido2: {word}\n");
        for object in ["web.cbor", "rsa.cbor"] {
            assert_eq!(judge(object, "client.json", "ca.pem"), all("good"), "{kind} {object}");
            assert_eq!(judge(object, "other.json", "ca.pem"), all("refused"), "{kind} {object}: another challenge");
            assert_eq!(judge(object, "client.json", "other.pem"), all("refused"), "{kind} {object}: another authority");
        }
        // Those two take no TPMT_SIGNATURE, and others nothing else: hence the option.
        assert_eq!(judge("tpmt.cbor", "client.json", "ca.pem"), all("refused"), "{kind}");
        for object in ["web.cbor", "rsa.cbor", "tpmt.cbor"] {
            let ours = |data: &str, root: &str| {
                let lines =
                    format!("ptool attest verify --roots={root} --rp-id=example.org --client-data={data} {object}");
                shell(&world, &lines).success()
            };
            assert!(ours("client.json", "ca.pem"), "{kind} {object}");
            assert!(!ours("other.json", "ca.pem") && !ours("client.json", "other.pem"), "{kind} {object}");
        }
    }
}
