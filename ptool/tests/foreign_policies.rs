//! Keys of other tools with policies that cannot be kept: a file that no shell writes says by which.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

mod common;

use common::{Machine, are_installed};
use keyfile::tss2::{Kind, PolicyCommand, TssKey};

const POLICY_OR: u32 = 0x171;
const POLICY_AUTHORIZE: u32 = 0x16A;

/// An authority whose approvals bear the policyRef "ref", and a key that is bound to it.
const KEY: &str = "set -e; exec >/dev/null 2>&1
    ptool init; ptool addtoken --label=t --sopin=officer --userpin=user1
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out boss.pem
    openssl pkey -in boss.pem -pubout -out boss.pub
    tpm2_loadexternal -C o -G rsa -u boss.pub -c boss.ctx -n boss.name
    tpm2_readpublic -c boss.ctx -o boss.tpm -f tss; tpm2_flushcontext -t
    head -c 32 /dev/zero > any.policy; printf ref > ref
    tpm2_startauthsession -S s.ctx; tpm2_policyauthorize -S s.ctx -L key.policy -i any.policy -n boss.name -q ref
    tpm2_flushcontext s.ctx
    tpm2_create -C 0x81000001 -G ecc -L key.policy -a 'fixedtpm|fixedparent|sensitivedataorigin|sign|decrypt|noda' \\
        -u k.pub -r k.priv";

#[test]
fn they_are_refused_with_the_reason() {
    if !are_installed(&["tpm2_policyauthorize", "tpm2_create", "openssl"]) {
        return;
    }
    let machine = Machine::new();
    let made = machine.shell(KEY);
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| std::fs::read(machine.home.path().join(name)).unwrap();
    // TPM2B_PUBLIC of the authority, policyRef, and no signature.
    let authorize =
        |reference: &[u8]| [&read("boss.tpm")[..], &[0, reference.len() as u8], reference, &[0, 0x10]].concat();
    for (code, parameters, why) in [
        (POLICY_AUTHORIZE, authorize(b"ref"), "wants approvals for a policyRef, which those known here do not have"),
        (POLICY_AUTHORIZE, authorize(b""), "the policy in the file is not that of the key"),
        (POLICY_OR, Vec::new(), "the policy of the key has something in it that is not known here"),
    ] {
        let key = TssKey {
            kind: Kind::Loadable,
            empty_auth: true,
            policy: vec![PolicyCommand { code, parameters }],
            auth_policies: Vec::new(),
            secret: None,
            description: None,
            rsa_parent: false,
            parent: 0x8100_0001,
            public: read("k.pub"),
            private: read("k.priv"),
        };
        std::fs::write(machine.home.path().join("key.tss"), key.to_pem()).unwrap();
        let output = machine.shell("ptool link --label=t --userpin=user1 key.tss");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
}
