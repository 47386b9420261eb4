//! Keys and certificates that come into a token from elsewhere, in the less usual ways: what is taken, and what for.

use keyfile::tss2::{Kind, TssKey};
use serde_json::Value;
use tests::desk::Desk;
use tests::world::{Run, World};

const PIN: [&str; 2] = ["--label=t", "--userpin=user-pin"];

/// A machine with an empty token `t`.
fn desk() -> Desk {
    let desk = Desk::of(World::empty());
    desk.world.ptool_ok(&["init"]);
    desk.world.ptool_ok(&["addtoken", "--label=t", "--sopin=officer", "--userpin=user-pin"]);
    desk
}

/// Lines of shell, which must succeed.
fn sh(desk: &Desk, lines: &str) -> String {
    let run = shell(desk, lines);
    assert!(run.success(), "{lines}: {run:?}");
    run.text()
}

fn shell(desk: &Desk, lines: &str) -> Run {
    let mut command = desk.world.command("bash");
    Run::of(
        command
            .args(["-c", &format!("set -eo pipefail\n{lines}")])
            .env("TPM2TOOLS_TCTI", desk.world.proxy.tcti())
            .env("TPM2_CRYPTOKI_USERPIN", "user-pin"),
    )
}

/// The objects of the token of one class, `CKO_...`.
fn objects(desk: &Desk, class: &str) -> Vec<Value> {
    let run = desk.world.ptool_ok(&["listobjects", "--label=t", "--output=json"]);
    let objects: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
    objects.into_iter().filter(|object| object["CKA_CLASS"] == class).collect()
}

#[test]
fn keys_below_the_owner_hierarchy_are_linked_or_it_is_said_why_not() {
    let desk = desk();
    sh(
        &desk,
        "tpm2_createprimary -Q -C o -G ecc -c parent.ctx
         tpm2_create -Q -C parent.ctx -G ecc -u k.pub -r k.priv; tpm2_flushcontext -t",
    );
    // The blobs in the other order, and the parent as early files have it.
    let (public, private) = (desk.read("k.pub"), desk.read("k.priv"));
    let file = TssKey {
        kind: Kind::Loadable,
        empty_auth: true,
        policy: Vec::new(),
        auth_policies: Vec::new(),
        secret: None,
        description: None,
        rsa_parent: false,
        parent: 0,
        public,
        private,
    };
    desk.write("k.pem", file.to_pem());
    let ways: [&[&str]; 3] =
        [&["k.pub", "k.priv", "--parent=0x40000001"], &["k.priv", "k.pub", "--parent=0x40000001"], &["k.pem"]];
    for (number, way) in ways.iter().enumerate() {
        let label = format!("--key-label=k{number}");
        desk.world.ptool_ok(&[&["link", &label][..], &PIN, way].concat());
    }
    assert_eq!(objects(&desk, "CKO_PRIVATE_KEY").len(), ways.len());
    sh(&desk, "tpm2_changeauth -c owner chef");
    for way in ways {
        let run = desk.world.ptool(&[&["link"][..], &PIN, way].concat());
        assert!(run.stderr.contains("owner hierarchy must have no authorization"), "{way:?}: {run:?}");
    }
    // What is no key in any order.
    let run = desk.world.ptool(&[&["link", "k.priv", "k.priv"][..], &PIN].concat());
    assert!(run.stderr.contains("not that of a key of a TPM"), "{run:?}");
    desk.world.assert_clean();
}

/// Makes an authority `ca` and a leaf `NAME` of it. The authority's serial number is longer than any may be (RFC 5280, 4.1.2.2), which
/// not every program minds.
fn with_odd_authority(desk: &Desk, name: &str) {
    let make = format!(
        "test -e ca.pem || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
           -subj '/CN=the authority' -days 9 -set_serial 0x{}
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}
         openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -set_serial 7 -days 9 -out {name}.pem
         cat {name}.pem ca.pem > {name}.chain
         openssl pkcs12 -export -inkey {name}.key -in {name}.pem -certfile ca.pem -name {name} -passout pass:abc -out {name}.p12",
        "7f".repeat(24)
    );
    sh(desk, &make);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_the_keys_certificate() {
    let desk = desk();
    with_odd_authority(&desk, "leaf");
    let import = ["import", "--privkey=leaf.p12", "--passin=pass:abc", "--cert=leaf.chain", "--key-label=web"];
    desk.world.ptool_ok(&[&import[..], &PIN].concat());
    let certificates = objects(&desk, "CKO_CERTIFICATE");
    let id = &objects(&desk, "CKO_PRIVATE_KEY")[0]["CKA_ID"];
    assert_eq!(certificates.len(), 2, "each once: {certificates:#?}");
    let of = |label: &str| certificates.iter().find(|object| object["CKA_LABEL"] == label).unwrap();
    assert_eq!(&of("web")["CKA_ID"], id);
    assert_ne!(&of("the authority")["CKA_ID"], id);
    desk.world.assert_clean();
}

#[test]
fn a_certificate_with_a_wrapped_key_is_about_it() {
    let desk = desk();
    with_odd_authority(&desk, "leaf");
    with_odd_authority(&desk, "other");
    sh(&desk, "ptool srk -o srk.pem; ptool wrap --srk srk.pem --key leaf.key -o wrapped");
    let import = ["import", "--privkey=wrapped", "--key-label=web"];
    for stranger in ["--cert=other.pem", "--cert=ca.pem"] {
        let run = desk.world.ptool(&[&import[..], &PIN, &[stranger]].concat());
        assert!(run.status == Some(1) && run.stderr.contains("no certificate is about this key"), "{run:?}");
    }
    assert!(objects(&desk, "CKO_PRIVATE_KEY").is_empty());
    desk.world.ptool_ok(&[&import[..], &PIN, &["--cert=leaf.chain"]].concat());
    assert_eq!(objects(&desk, "CKO_CERTIFICATE").len(), 2);
}

/// Two key pairs with one id, as those of other software that have none; each with its certificate, and an authority's.
#[test]
fn a_certificate_takes_the_place_of_its_own_keys_only() {
    let desk = desk();
    let world = &desk.world;
    for label in ["one", "two"] {
        world.ptool_ok(&[&["addkey", "--algorithm=ecc256", "--id=hex:01", "--key-label", label][..], &PIN].concat());
    }
    let issue = |label: &str, file: &str| {
        let sign = ["selfsign", "--key-label", label, "--subject=CN=x", "--days=9", "--out", file];
        world.ptool_ok(&[&sign[..], &PIN].concat());
    };
    let add = |arguments: &[&str]| -> Value {
        let run = world.ptool_ok(&[&["addcert", "--output=json"][..], &PIN, arguments].concat());
        serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
    };
    for label in ["one", "two"] {
        issue(label, &format!("{label}.pem"));
        add(&["--key-label", label, &format!("{label}.pem")]);
    }
    issue("one", "new.pem");
    // An authority's, by another program.
    with_odd_authority(&desk, "leaf");
    sh(&desk, "openssl x509 -in ca.pem -outform der -out ca.der");
    let write = ["--token-label=t", "--login", "--pin=user-pin", "--write-object=ca.der", "--type=cert", "--id=01"];
    let mut tool = world.command("pkcs11-tool");
    let run = Run::of(tool.arg("--module").arg(tests::product::module()).args(write).arg("--label=ca"));
    assert!(run.success(), "{run:?}");
    let before = objects(&desk, "CKO_CERTIFICATE").len();
    let added = add(&["--key-label=one", "--replace", "new.pem"]);
    assert_eq!(added["replaced"].as_array().unwrap().len(), 1, "{added:#}");
    assert_eq!(objects(&desk, "CKO_CERTIFICATE").len(), before);
    let left = objects(&desk, "CKO_CERTIFICATE");
    for label in ["one", "two", "ca"] {
        assert!(left.iter().any(|object| object["CKA_LABEL"] == label), "{label} is gone: {left:#?}");
    }
}
