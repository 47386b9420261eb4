//! Keys of other programs whose policy is not all that guards them.

#[path = "policies/machine.rs"]
#[allow(dead_code, reason = "made for more tests than these")]
mod machine;

use keyfile::tss2::{Kind, PolicyCommand, TssKey};
use machine::*;
use tests::world::World;

/// A key that tpm2-tools made with the policy "PCR 10 as it is", and that its authorization value opens as well.
fn key(world: &World, auth: &[&str], attributes: &str) -> TssKey {
    use sha2::Digest;
    tool(world, "tpm2_startauthsession", &["-S", "s.ctx"]);
    tool(world, "tpm2_policypcr", &["-S", "s.ctx", "-L", "key.policy", "-l", "sha256:10"]);
    tool(world, "tpm2_flushcontext", &["s.ctx"]);
    let attributes = format!("fixedtpm|fixedparent|sensitivedataorigin|sign|decrypt|userwithauth{attributes}");
    let mut create =
        vec!["-C", "0x81000001", "-G", "ecc", "-L", "key.policy", "-a", &attributes, "-u", "k.pub", "-r", "k.priv"];
    create.extend(auth);
    tool(world, "tpm2_create", &create);
    let digest = sha2::Sha256::digest([0; 32]);
    let parameters = [&[0, 32][..], &digest, &[0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0]].concat();
    TssKey {
        kind: Kind::Loadable,
        empty_auth: true,
        policy: vec![PolicyCommand { code: 0x17f, parameters }],
        auth_policies: Vec::new(),
        secret: None,
        description: None,
        rsa_parent: false,
        parent: 0x8100_0001,
        public: std::fs::read(world.path("k.pub")).unwrap(),
        private: std::fs::read(world.path("k.priv")).unwrap(),
    }
}

fn link(world: &World, key: &TssKey, more: &[&str]) {
    std::fs::write(world.path("key.pem"), key.to_pem()).unwrap();
    world.ptool_ok(&[&["link", "--label=t", "--userpin", PIN, "key.pem"], more].concat());
}

#[test]
fn a_policy_that_need_not_be_satisfied_binds_nothing() {
    let mut world = world();
    for (label, auth) in [("valued", &["-p", "secret"][..]), ("open", &[])] {
        let key = key(&world, auth, "|noda");
        let label = format!("--key-label={label}");
        let auth = if auth.is_empty() { vec![label.as_str()] } else { vec![label.as_str(), "--auth=secret"] };
        link(&world, &key, &auth);
    }
    // An empty value that nobody gave is not tried where it could be counted as a wrong one.
    link(&world, &key(&world, &[], ""), &["--key-label=closed"]);
    let counted = lockout_counter(&world);
    assert!(counted.trim_end().ends_with(" 0") || counted.contains("0x0"), "{counted}");
    let listed = world.ptool_ok(&["listobjects", "--label=t"]).text();
    assert_eq!(listed.matches("sha256:10").count(), 1, "{listed}");
    assert!(listed.contains("sha256:10, or its authorization value alone"), "{listed}");
    sign(&world, "closed").unwrap();
    extend(&world, 10, 1);
    for label in ["valued", "open"] {
        sign(&world, label).unwrap();
    }
    refused(&world, "closed");
    reboot(&mut world);
    sign(&world, "closed").unwrap();
    world.assert_clean();
}

/// The value of a key is a part of what encrypts the way to it, whether its policy asks for it or not: without it, the TPM would
/// sign something else.
#[test]
fn a_key_whose_value_is_not_known_is_not_linked() {
    let world = world();
    let file = key(&world, &["-p", "secret"], "");
    std::fs::write(world.path("key.pem"), file.to_pem()).unwrap();
    let run = world.ptool(&["link", "--label=t", "--userpin", PIN, "key.pem", "--key-label=k"]);
    assert!(!run.success() && run.stderr.contains("authorization value"), "{run:?}");
    let run = world.ptool(&["link", "--label=t", "--userpin", PIN, "key.pem", "--key-label=k", "--auth=wrong"]);
    assert!(!run.success() && run.stderr.contains("authorization value"), "{run:?}");
    link(&world, &file, &["--auth=secret", "--key-label=k"]);
    sign(&world, "k").unwrap();
    world.assert_clean();
}
