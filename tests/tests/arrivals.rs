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
