//! PKCS#11 v3.1 5.18: making, wrapping, unwrapping and deriving keys.

use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, bytes, flag, number, p256};
use tests::{Argument, Piece};

use super::scene::{MESSAGE, Scene, VALUE, input, list, result, room, template, with};
use super::{Order, ROW, Row, Short, Wrong};

const LOGGED_OUT: Wrong = Wrong {
    what: "without login",
    before: |s| {
        s.on_token = true;
        s.on_beta();
    },
    gives: CKR_USER_NOT_LOGGED_IN,
};

/// A token object is to be made in a read-only session.
const READ_ONLY: Wrong = Wrong {
    what: "on the token, in a read-only session",
    before: |s| {
        s.on_token = true;
        s.read_only();
    },
    gives: CKR_SESSION_READ_ONLY,
};

/// A secret key that shows its value, or one on the token.
fn secret(scene: &Scene, more: &[Attribute]) -> Vec<Attribute> {
    let mut template = vec![flag(CKA_TOKEN, scene.on_token)];
    if !scene.on_token {
        template.extend([flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)]);
    }
    template.extend(more.iter().cloned());
    template
}

fn unwrapped(scene: &Scene) -> Vec<Attribute> {
    secret(scene, &[number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES)])
}

/// [`VALUE`] under itself, by RFC 3394.
fn wrapped(scene: &Scene) -> Vec<u8> {
    let mechanism = Mechanism::plain(CKM_AES_KEY_WRAP).argument();
    let arguments = vec![scene.anchor.into(), mechanism, scene.memory_kek.into(), scene.memory.into()];
    scene.probe.output("C_WrapKey", arguments, Some(100)).ok().unwrap()
}

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "C_GenerateKey",
        right: |s| {
            let mechanism = Mechanism::plain(CKM_AES_KEY_GEN).argument();
            let attributes = secret(s, &[number(CKA_VALUE_LEN, 32)]);
            list(&[&[s.session.into(), mechanism], &template(&attributes), &[Argument::place(0)]])
        },
        seen: |s, left| {
            let value = s.value(left[4].word());
            assert!(value.len() == 32 && value != [0; 32], "{value:?}");
        },
        order: Order::Wrong(&[LOGGED_OUT, READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_GenerateKeyPair",
        right: |s| {
            let mechanism = Mechanism::plain(CKM_EC_KEY_PAIR_GEN).argument();
            let (public, private) = (p256(s.on_token), [flag(CKA_TOKEN, s.on_token)]);
            let places = [Argument::place(0), Argument::place(0)];
            list(&[&[s.session.into(), mechanism], &template(&public), &template(&private), &places])
        },
        seen: |s, left| {
            let signature = s.probe.sign(s.session, CKM_ECDSA_SHA256, left[7].word(), MESSAGE).unwrap();
            s.probe.verify(s.session, CKM_ECDSA_SHA256, left[6].word(), MESSAGE, &signature).unwrap();
        },
        order: Order::Wrong(&[LOGGED_OUT, READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_WrapKey",
        // The wrapping key is in the TPM.
        right: |s| {
            let mechanism = Mechanism::plain(CKM_AES_KEY_WRAP).argument();
            list(&[&[s.session.into(), mechanism, s.kek.into(), s.memory.into()], &room()])
        },
        seen: |s, left| assert_eq!(result(left, 4), wrapped(s)),
        order: Order::Wrong(&[Wrong {
            what: "in a session that is closed",
            before: |s| s.probe.close(s.session).unwrap(),
            gives: CKR_SESSION_HANDLE_INVALID,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID],
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_UnwrapKey",
        right: |s| {
            let mechanism = Mechanism::plain(CKM_AES_KEY_WRAP).argument();
            let head = [s.session.into(), mechanism, s.memory_kek.into()];
            list(&[&head, &input(&wrapped(s)), &template(&unwrapped(s)), &[Argument::place(0)]])
        },
        seen: |s, left| assert_eq!(s.value(left[7].word()), VALUE),
        order: Order::Wrong(&[READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_UNWRAPPING_KEY_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_DeriveKey",
        right: |s| {
            let data = vec![Piece::Pointer(tests::Memory::bytes(b"more")), Piece::Word(4)];
            let mechanism = with(CKM_CONCATENATE_BASE_AND_DATA, data).argument();
            let attributes = secret(s, &[bytes(CKA_LABEL, b"derived")]);
            list(&[&[s.session.into(), mechanism, s.secret.into()], &template(&attributes), &[Argument::place(0)]])
        },
        seen: |s, left| assert_eq!(s.value(left[5].word()), [&VALUE[..], b"more"].concat()),
        order: Order::Wrong(&[READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID],
        ..ROW
    },
];
