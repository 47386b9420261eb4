//! Policies in their stored form, and in key files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

use base::digest::Hash;

use super::*;
use crate::wire::public::{Attributes, PublicArea};
use crate::wire::signature::Signature;

fn state(text: &str, byte: u8) -> PolicyStep {
    let selection: PcrSelection = text.parse().unwrap();
    let values = selection.indices().map(|pcr| (pcr, vec![byte; selection.bank().len()])).collect();
    PolicyStep::pcr(selection, &values).unwrap()
}

fn policy(steps: Vec<PolicyStep>) -> Policy {
    Policy::new(steps).unwrap()
}

/// The public key of RFC 6979, A.2.5.
fn ec() -> AuthorityKey {
    let x = hex::decode("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6").unwrap();
    let y = hex::decode("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299").unwrap();
    AuthorityKey::from_ec(&base::curve::EcPublic::new(base::curve::Curve::P256, &x, &y).unwrap()).unwrap()
}

fn rsa(exponent: &[u8]) -> AuthorityKey {
    let modulus = [&[0xc5u8][..], &[0x11; 254], &[0x13]].concat();
    AuthorityKey::from_rsa(&base::rsa::RsaPublic::new(modulus, exponent).unwrap()).unwrap()
}

fn every_step() -> Policy {
    let name = ec().name().clone();
    policy(vec![
        PolicyStep::Or(vec![
            policy(vec![PolicyStep::authorize(ec()), state("sha256:7", 1), PolicyStep::AuthValue]),
            policy(vec![PolicyStep::Authorize { key: rsa(&[1, 0, 1]), policy_ref: vec![1, 2] }]),
            policy(vec![PolicyStep::Secret { object: name.clone() }, PolicyStep::CommandCode(0x15e)]),
            policy(vec![PolicyStep::DuplicationSelect { new_parent: name.clone(), object: Some(name.clone()) }]),
        ]),
        PolicyStep::DuplicationSelect { new_parent: name, object: None },
        state("sha1:0,23", 0),
    ])
}

#[test]
fn what_is_stored_is_read_again() {
    let policy = every_step();
    let json = serde_json::to_string(&policy).unwrap();
    let read: Policy = serde_json::from_str(&json).unwrap();
    assert_eq!((&read, read.digest()), (&policy, policy.digest()));
    assert_eq!(policy.authorities(), [&ec(), &rsa(&[1, 0, 1])]);
    assert!(policy.needs_auth_value());
    assert!(!self::policy(vec![state("sha256:7", 1)]).needs_auth_value());
}

#[test]
fn a_way_without_the_value_is_seen() {
    let free = || policy(vec![state("sha256:7", 1)]);
    let asking = || policy(vec![state("sha256:8", 1), PolicyStep::AuthValue]);
    let either = |branches: Vec<Policy>| policy(vec![PolicyStep::Or(branches)]);
    assert!(!free().always_needs_auth_value() && asking().always_needs_auth_value());
    assert!(either(vec![asking(), asking()]).always_needs_auth_value());
    for mixed in [either(vec![asking(), free()]), either(vec![either(vec![free(), asking()]), asking()])] {
        assert!(mixed.needs_auth_value() && !mixed.always_needs_auth_value());
        let step = PolicyStep::Or(vec![mixed.clone(), mixed]);
        assert!(policy(vec![step, PolicyStep::AuthValue]).always_needs_auth_value());
    }
    assert!(!every_step().always_needs_auth_value());
}

#[test]
fn the_stored_form_is_stable() {
    let mut step = state("sha256:0,7", 0xaa);
    if let PolicyStep::Pcr(state) = &mut step {
        state.values.clear();
    }
    let digest = hex::encode(&Hash::Sha256.digest(&[&[0xaa; 64]]));
    let expected = format!(r#"[{{"pcr":{{"selection":"sha256:0,7","digest":"{digest}"}}}},"auth_value"]"#);
    assert_eq!(serde_json::to_string(&policy(vec![step, PolicyStep::AuthValue])).unwrap(), expected);
    let expected = format!(r#"[{{"authorize":{{"key":"{}"}}}}]"#, hex::encode(ec().public()));
    assert_eq!(serde_json::to_string(&policy(vec![PolicyStep::authorize(ec())])).unwrap(), expected);
}

#[test]
fn a_policy_is_shown_in_one_line() {
    let either = vec![policy(vec![state("sha256:0,7", 1)]), policy(vec![state("sha256:0,7", 2)])];
    let policy = policy(vec![PolicyStep::Or(either), PolicyStep::AuthValue]);
    assert_eq!(policy.to_string(), "(sha256:0,7 | sha256:0,7) + PIN");
    let text = Policy::new(vec![PolicyStep::authorize(ec())]).unwrap().to_string();
    assert_eq!(text, format!("approved by {}", hex::encode(&ec().fingerprint()[..8])));
}

#[test]
fn what_breaks_a_rule_is_no_policy() {
    let auth = || policy(vec![PolicyStep::AuthValue]);
    let nested = |levels| (0..levels).fold(auth(), |inner, _| policy(vec![PolicyStep::Or(vec![inner, auth()])]));
    let wrong = [
        vec![],
        vec![PolicyStep::AuthValue; 17],
        vec![PolicyStep::AuthValue, PolicyStep::authorize(ec())],
        vec![PolicyStep::AuthValue, PolicyStep::Or(vec![auth(), auth()])],
        vec![PolicyStep::Or(vec![auth()])],
        vec![PolicyStep::Or(vec![auth(); 9])],
        vec![PolicyStep::Or(vec![nested(4), auth()])],
        vec![PolicyStep::Authorize { key: ec(), policy_ref: vec![0; 65] }],
        vec![PolicyStep::Pcr(PcrState {
            selection: "sha256:7".parse().unwrap(),
            digest: vec![0; 20],
            values: PcrValues::new(),
        })],
        vec![PolicyStep::Pcr(PcrState {
            selection: "sha256:7".parse().unwrap(),
            digest: vec![0; 32],
            values: PcrValues::from([(7, vec![0; 32])]),
        })],
    ];
    for steps in wrong {
        assert!(Policy::new(steps.clone()).is_err(), "{steps:?}");
    }
    nested(4);
}

/// A store may have been written by somebody else.
#[test]
fn hostile_text_is_no_policy() {
    let deep = |levels: usize| {
        (0..levels).fold("[\"auth_value\"]".to_owned(), |inner, _| format!("[{{\"or\":[{inner},{inner}]}}]"))
    };
    let long_list = format!("[{}\"auth_value\"]", "\"auth_value\",".repeat(100_000));
    let open = "[{\"or\":[".repeat(100_000);
    let digest = "00".repeat(32);
    let texts = [
        "",
        "null",
        "{}",
        "[]",
        "[null]",
        "\"auth_value\"",
        "[\"password\"]",
        "[\"Pcr\"]",
        "[{\"auth_value\":1}]",
        "[{\"auth_value\":null,\"pcr\":null}]",
        "[{\"command_code\":-1}]",
        "[{\"command_code\":4294967296}]",
        "[{\"or\":[]}]",
        "[{\"or\":[[\"auth_value\"]]}]",
        "[{\"secret\":{\"object\":\"000b00\"}}]",
        "[{\"secret\":{}}]",
        "[{\"authorize\":{\"key\":\"\"}}]",
        "[{\"authorize\":{\"key\":\"0001\"}}]",
        "[{\"duplication_select\":{\"new_parent\":\"zz\"}}]",
    ];
    for text in texts {
        assert!(serde_json::from_str::<Policy>(text).is_err(), "{text}");
    }
    let pcrs = [
        format!("{{\"selection\":\"sha256:24\",\"digest\":\"{digest}\"}}"),
        format!("{{\"selection\":\"sha256:\",\"digest\":\"{digest}\"}}"),
        format!("{{\"selection\":[7],\"digest\":\"{digest}\"}}"),
        "{\"selection\":\"sha256:7\",\"digest\":\"00\"}".to_owned(),
        "{\"selection\":\"sha256:7\"}".to_owned(),
        format!("{{\"selection\":\"sha256:7\",\"digest\":\"{digest}\",\"unless\":true}}"),
        format!("{{\"selection\":\"sha256:7\",\"digest\":\"{digest}\",\"values\":{{\"7\":\"{digest}\"}}}}"),
        format!("{{\"selection\":\"sha256:7\",\"digest\":\"{digest}\",\"values\":{{\"300\":\"{digest}\"}}}}"),
    ];
    for text in pcrs {
        assert!(serde_json::from_str::<Policy>(&format!("[{{\"pcr\":{text}}}]")).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Policy>(&deep(4)).is_ok());
    for text in [deep(5), long_list, open] {
        assert!(serde_json::from_str::<Policy>(&text).is_err());
    }
}

#[test]
fn an_authority_is_a_signing_key_that_can_be_checked() {
    let area = ec().public().to_vec();
    assert_eq!(AuthorityKey::from_public(&area).unwrap(), ec());
    for len in 0..area.len() {
        assert!(AuthorityKey::from_public(&area[..len]).is_err());
    }
    for at in 0..area.len() {
        let mut other = area.clone();
        other[at] ^= 1;
        if let Ok(other) = AuthorityKey::from_public(&other) {
            assert_ne!(other.name(), ec().name());
        }
    }
    assert_ne!(rsa(&[1, 0, 1]).name(), rsa(&[3]).name());
    assert_eq!(rsa(&[1, 0, 1]).rsa().unwrap().e(), [1, 0, 1]);
    let mut decrypting = PublicArea::parse_area(&area).unwrap();
    decrypting.attributes = Attributes::DECRYPT;
    assert!(AuthorityKey::from_public(&decrypting.marshal_area().unwrap()).is_err());
    let seal = crate::wire::template::seal(crate::wire::template::Sealed::Value).unwrap().marshal_area().unwrap();
    assert!(AuthorityKey::from_public(&seal).is_err());
}

/// A signature of RFC 6979's kind would do as well: what counts is that nothing but the right one passes.
#[test]
fn an_approval_is_its_authority_s_signature() {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    let private = hex::decode("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").unwrap();
    let private = SigningKey::from_slice(&private).unwrap();
    let digest = vec![7; 32];
    let sign = |message: &[u8]| -> Signature {
        let signature: p256::ecdsa::Signature = private.sign(message);
        let (r, s) = signature.split_bytes();
        Signature::Ecc { r: r.to_vec(), s: s.to_vec() }
    };
    let approval = |signature| Approval::new("sha256:11".parse().unwrap(), digest.clone(), signature).unwrap();
    let good = approval(sign(&approval_message(&digest, b"ref")));
    assert!(good.verify(&ec(), b"ref"));
    assert!(!good.verify(&ec(), b""));
    assert!(!good.verify(&rsa(&[1, 0, 1]), b"ref"));
    let mut other = good.clone();
    other.policy_digest[0] ^= 1;
    assert!(!other.verify(&ec(), b"ref"));
    for forged in [
        Signature::Ecc { r: vec![0; 32], s: vec![0; 32] },
        Signature::Ecc { r: vec![1; 31], s: vec![1; 33] },
        Signature::Ecc { r: Vec::new(), s: Vec::new() },
        Signature::Rsa(vec![1; 256]),
        sign(b"another message"),
    ] {
        assert!(!approval(forged.clone()).verify(&ec(), b"ref"), "{forged:?}");
    }
    assert!(!approval(Signature::Rsa(vec![0xff; 256])).verify(&rsa(&[1, 0, 1]), b""));
    assert!(Approval::new("sha256:11".parse().unwrap(), vec![0; 31], sign(b"")).is_err());
}

/// The public area of a key with this policy.
fn key_of(policy: &Policy) -> PublicArea {
    let template = crate::KeyTemplate::Ecc { curve: base::curve::Curve::P256 };
    crate::wire::template::with_policy(crate::wire::template::key(template).unwrap(), Some(policy.digest()))
}

#[test]
fn a_key_file_has_the_policy_in_commands() {
    let without_values = |text| match state(text, 3) {
        PolicyStep::Pcr(state) => PolicyStep::Pcr(PcrState { values: PcrValues::new(), ..state }),
        step => step,
    };
    for steps in [
        vec![PolicyStep::AuthValue],
        vec![without_values("sha256:0,7"), PolicyStep::AuthValue],
        vec![without_values("sha1:23"), PolicyStep::CommandCode(0x15d)],
        vec![PolicyStep::authorize(ec()), without_values("sha256:7"), PolicyStep::AuthValue],
        vec![PolicyStep::Authorize { key: rsa(&[3]), policy_ref: b"x".to_vec() }],
    ] {
        let policy = policy(steps);
        let commands = policy.to_commands().unwrap();
        assert_eq!(Policy::from_key_file(&key_of(&policy), &commands, &[]).unwrap(), (policy.clone(), Vec::new()));
        let another = key_of(&self::policy(vec![PolicyStep::CommandCode(1)]));
        assert!(matches!(Policy::from_key_file(&another, &commands, &[]), Err(Error::Invalid(_))));
        for (index, command) in commands.iter().enumerate() {
            for len in 0..command.parameters.len() {
                let mut cut = commands.clone();
                cut[index].parameters.truncate(len);
                assert!(Policy::from_key_file(&key_of(&policy), &cut, &[]).is_err());
            }
            let mut longer = commands.clone();
            longer[index].parameters.push(0);
            assert!(Policy::from_key_file(&key_of(&policy), &longer, &[]).is_err());
        }
    }
    // PolicyPassword and PolicyAuthValue are the same to the key.
    let by_value = policy(vec![PolicyStep::AuthValue]);
    let password = PolicyCommand { code: 0x18c, parameters: Vec::new() };
    assert_eq!(Policy::from_key_file(&key_of(&by_value), &[password], &[]).unwrap().0, by_value);
}

#[test]
fn what_a_key_file_has_no_words_for() {
    assert!(matches!(every_step().to_commands(), Err(Error::Unsupported(_))));
    let key = key_of(&policy(vec![PolicyStep::AuthValue]));
    let command = |code, parameters: &[u8]| PolicyCommand { code, parameters: parameters.to_vec() };
    for (code, parameters) in [
        (0x171, &[0, 0, 0, 0][..]),
        (0x151, &[0; 6]),
        (0x15d, &[]),
        // No bank; two banks; a selection of four bytes.
        (0x17f, &[0, 0, 0, 0, 0, 0]),
        (0x17f, &[0, 0, 0, 0, 0, 2, 0, 0x0b, 3, 1, 0, 0, 0, 4, 3, 1, 0, 0]),
        (0x17f, &[0, 0, 0, 0, 0, 1, 0, 0x0b, 4, 1, 0, 0, 0]),
    ] {
        let refused = Policy::from_key_file(&key, &[command(code, parameters)], &[]).unwrap_err();
        assert!(matches!(refused, Error::Unsupported(_) | Error::Invalid(_)), "{code:#x} {refused}");
    }
}

#[test]
fn approvals_in_a_key_file_imply_their_authority() {
    let signature = Signature::Ecc { r: vec![1; 32], s: vec![2; 32] };
    let PolicyStep::Pcr(approved) = state("sha256:11", 4) else { panic!() };
    let digest = policy(vec![PolicyStep::Pcr(approved.clone())]).digest().to_vec();
    let pcr = policy(vec![PolicyStep::Pcr(approved)]).to_commands().unwrap().remove(0);
    let mut authorize = policy(vec![PolicyStep::authorize(ec())]).to_commands().unwrap().remove(0);
    let bare = authorize.clone();
    authorize.parameters.truncate(authorize.parameters.len() - 2);
    authorize.parameters.extend([&[0, 0x18, 0, 0x0b, 0, 32][..], &[1; 32], &[0, 32], &[2; 32]].concat());
    let whole = policy(vec![PolicyStep::authorize(ec()), PolicyStep::AuthValue]);
    let expected = Approval::new("sha256:11".parse().unwrap(), digest, signature).unwrap();
    let (all, rest) = (whole.to_commands().unwrap(), policy(vec![PolicyStep::AuthValue]).to_commands().unwrap());
    for entry in [vec![pcr.clone(), authorize.clone()], vec![authorize.clone(), pcr.clone()]] {
        for commands in [&all, &rest] {
            let read = Policy::from_key_file(&key_of(&whole), commands, std::slice::from_ref(&entry)).unwrap();
            assert_eq!(read, (whole.clone(), vec![expected.clone()]));
        }
    }
    for entry in [vec![], vec![authorize.clone()], vec![pcr.clone(), pcr.clone()], vec![pcr.clone(), bare]] {
        assert!(Policy::from_key_file(&key_of(&whole), &all, std::slice::from_ref(&entry)).is_err(), "{entry:?}");
    }
    // Of the present moment, whatever that is.
    let mut present = pcr;
    present.parameters = [&[0, 0][..], &present.parameters[34..]].concat();
    let read = Policy::from_key_file(&key_of(&whole), &all, &[vec![present, authorize]]).unwrap();
    assert_eq!(read, (whole, Vec::new()));
}
