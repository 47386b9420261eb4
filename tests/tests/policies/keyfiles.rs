//! Policies that go with keys into files, and come with keys out of them.

use keyfile::tss2::{Kind, PolicyCommand, TssKey};
use pkcs11_sys::*;
use tests::probe::fails;
use tests::world::World;

use crate::machine::*;

const POLICY_AUTHORIZE: u32 = 0x16a;
const POLICY_AUTH_VALUE: u32 = 0x16b;
const POLICY_COMMAND_CODE: u32 = 0x16c;
const POLICY_OR: u32 = 0x171;
const POLICY_PCR: u32 = 0x17f;

/// TPM2_PolicyPCR of PCR 10, bank SHA-256, with this value: TPM2B_DIGEST, TPML_PCR_SELECTION.
fn pcr_10(value: &[u8; 32]) -> PolicyCommand {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(value);
    let parameters = [&[0, 32][..], &digest, &[0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0]].concat();
    PolicyCommand { code: POLICY_PCR, parameters }
}

fn plain(code: u32) -> PolicyCommand {
    PolicyCommand { code, parameters: Vec::new() }
}

/// What tpm2-tools computed as a policy becomes a key of tpm2-tools that is used by it only.
fn foreign_key(world: &World, auth: &[&str]) -> TssKey {
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|sign|decrypt|noda";
    let mut create =
        vec!["-C", "0x81000001", "-G", "ecc", "-L", "key.policy", "-a", attributes, "-u", "k.pub", "-r", "k.priv"];
    create.extend(auth);
    tool(world, "tpm2_create", &create);
    TssKey {
        kind: Kind::Loadable,
        empty_auth: auth.is_empty(),
        policy: Vec::new(),
        auth_policies: Vec::new(),
        secret: None,
        description: None,
        rsa_parent: false,
        parent: 0x8100_0001,
        public: std::fs::read(world.path("k.pub")).unwrap(),
        private: std::fs::read(world.path("k.priv")).unwrap(),
    }
}

/// Runs a trial session of tpm2-tools; its digest is in the file `key.policy`.
fn trial(world: &World, steps: &[&[&str]]) {
    tool(world, "tpm2_startauthsession", &["-S", "s.ctx"]);
    for step in steps {
        tool(world, step[0], &[&["-S", "s.ctx", "-L", "key.policy"], &step[1..]].concat());
    }
    tool(world, "tpm2_flushcontext", &["s.ctx"]);
}

#[test]
fn a_key_of_others_is_linked_with_its_policy() {
    let mut world = world();
    trial(&world, &[&["tpm2_policypcr", "-l", "sha256:10"], &["tpm2_policyauthvalue"]]);
    let key =
        TssKey { policy: vec![pcr_10(&[0; 32]), plain(POLICY_AUTH_VALUE)], ..foreign_key(&world, &["-p", "secret"]) };
    let link = |key: &TssKey, more: &[&str]| {
        std::fs::write(world.path("key.pem"), key.to_pem()).unwrap();
        world.ptool(&[&["link", "--label=t", "--userpin", PIN, "key.pem"], more].concat())
    };
    let refused_for = |key: &TssKey, more: &[&str], why: &str| {
        let run = link(key, more);
        assert!(!run.success() && run.stderr.contains(why), "{run:?}");
    };
    refused_for(&key, &["--auth=wrong", "--key-label=bad"], "authorization value");
    // A file that tells another policy than the TPM has, or none, or one that cannot be told.
    for (policy, why) in [
        (vec![pcr_10(&[1; 32]), plain(POLICY_AUTH_VALUE)], "not that of the key"),
        (vec![plain(POLICY_AUTH_VALUE)], "not that of the key"),
        (Vec::new(), "by a policy only"),
        (vec![plain(POLICY_OR)], "not known"),
        (vec![PolicyCommand { code: POLICY_COMMAND_CODE, parameters: vec![1] }], "not that of the key"),
    ] {
        refused_for(&TssKey { policy, ..key.clone() }, &["--auth=secret"], why);
    }
    assert!(link(&key, &["--auth=secret", "--key-label=linked"]).success());
    let listed = world.ptool_ok(&["listobjects", "--label=t"]).text();
    assert!(listed.contains("sha256:10 + PIN"), "{listed}");
    sign(&world, "linked").unwrap();
    extend(&world, 10, 1);
    refused(&world, "linked");
    // One that does not work now can be linked all the same: its state may come.
    assert!(link(&key, &["--auth=secret", "--key-label=later"]).success());
    refused(&world, "later");
    reboot(&mut world);
    sign(&world, "linked").unwrap();
    sign(&world, "later").unwrap();
    world.assert_clean();
}

#[test]
fn a_key_of_others_brings_its_approvals() {
    let world = world();
    for (name, kind, algorithm) in [("boss", "rsa", RSA), ("chief", "ecc", EC)] {
        authority(&world, name, algorithm);
        let public = format!("{name}.pub");
        tool(&world, "tpm2_loadexternal", &["-C", "o", "-G", kind, "-u", &public, "-c", "k.ctx", "-n", "k.name"]);
        tool(&world, "tpm2_readpublic", &["-c", "k.ctx", "-o", "k.tpm", "-f", "tss"]);
        tool(&world, "tpm2_flushcontext", &["-t"]);
        std::fs::write(world.path("any.pol"), [0; 32]).unwrap();
        trial(&world, &[&["tpm2_policyauthorize", "-i", "any.pol", "-n", "k.name"]]);
        let key = foreign_key(&world, &[]);
        // What is approved of, signed by OpenSSL.
        tool(&world, "tpm2_startauthsession", &["-S", "s.ctx"]);
        tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:10", "-L", "approved.pol"]);
        tool(&world, "tpm2_flushcontext", &["s.ctx"]);
        let private = format!("{name}.pem");
        let mut sign_it = world.command("openssl");
        sign_it.args(["dgst", "-sha256", "-sign", &private, "-out", "approved.sig", "approved.pol"]);
        tests::world::Run::of(&mut sign_it).ok();
        let signature = std::fs::read(world.path("approved.sig")).unwrap();
        let signature = match kind {
            "rsa" => [&[0, 0x14, 0, 0x0b, 1, 0][..], &signature].concat(),
            _ => {
                let (r, s) = base::curve::signature_from_der(&signature, 32).unwrap();
                [&[0, 0x18, 0, 0x0b, 0, 32][..], &r, &[0, 32], &s].concat()
            }
        };
        let public = std::fs::read(world.path("k.tpm")).unwrap();
        let authorize = |signature: &[u8]| PolicyCommand {
            code: POLICY_AUTHORIZE,
            parameters: [&public[..], &[0, 0], signature].concat(),
        };
        let label = format!("--key-label={name}");
        let policy = vec![authorize(&[0, 0x10])];
        let key = TssKey { policy, auth_policies: vec![vec![pcr_10(&[0; 32]), authorize(&signature)]], ..key };
        std::fs::write(world.path("key.pem"), key.to_pem()).unwrap();
        world.ptool_ok(&["link", "--label=t", "--userpin", PIN, "key.pem", &label]);
        sign(&world, name).unwrap();
    }
    assert_eq!(world.ptool_ok(&["pcr", "list", "--output=json"]).text().matches("\"pcrs\"").count(), 2);
    extend(&world, 10, 1);
    refused(&world, "boss");
    for name in ["boss", "chief"] {
        world.ptool_ok(&["pcr", "approve", &format!("--key={name}.pem"), "--pcr=sha256:10"]);
        sign(&world, name).unwrap();
    }
    world.assert_clean();
}

#[test]
fn a_policy_goes_with_an_exported_key() {
    let world = world();
    authority(&world, "boss", EC);
    add_key(&world, "bound", &["--pcr=sha256:10"]);
    add_key(&world, "free", &["--pcr=sha256:10", "--no-pin"]);
    add_key(&world, "signed", &["--pcr-authority=boss.pub"]);
    world.ptool_ok(&["addtoken", "--label=u", "--sopin", SO, "--userpin", PIN]);
    let export = |label: &str, more: &[&str]| {
        let file = format!("{label}.pem");
        let export = ["export", "--label=t", "--userpin", PIN, "--format=tss2", "--key-label", label, "--out", &file];
        world.ptool(&[&export, more].concat())
    };
    assert!(export("bound", &["--passout=pass:abc"]).success());
    assert!(export("signed", &["--passout=pass:abc"]).success());
    let run = export("free", &["--passout=pass:abc"]);
    assert!(!run.success() && run.stderr.contains("no passphrase"), "{run:?}");
    assert!(export("free", &["--no-passphrase"]).success());
    // In another token of the same TPM.
    for (label, more) in [("bound", &["--auth=abc"][..]), ("signed", &["--auth=abc"]), ("free", &[])] {
        let file = format!("{label}.pem");
        let link = ["link", "--label=u", "--userpin", PIN, &file, "--key-label", label];
        world.ptool_ok(&[&link, more].concat());
    }
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    let use_all = |expected: Result<(), CK_RV>| {
        let probe = world.probe().initialized();
        for token in ["t", "u"] {
            let session = probe.open_rw(probe.slot_of(token));
            probe.login(session, CKU_USER, PIN).unwrap();
            for label in ["bound", "free", "signed"] {
                let key = probe.private_key(session, label);
                let signed = probe.sign(session, CKM_ECDSA_SHA256, key, b"message");
                match expected {
                    Ok(()) => drop(signed.unwrap()),
                    Err(code) => fails(signed, code),
                }
            }
        }
        probe.finalize().unwrap();
    };
    use_all(Ok(()));
    extend(&world, 10, 1);
    use_all(Err(CKR_FUNCTION_REJECTED));
    // The file has no words for alternatives.
    add_key(&world, "either", &["--pcr=sha256:10", "--or-authority=boss.pub"]);
    let run = export("either", &["--passout=pass:abc"]);
    assert!(!run.success() && run.stderr.contains("alternatives"), "{run:?}");
    world.assert_clean();
}
