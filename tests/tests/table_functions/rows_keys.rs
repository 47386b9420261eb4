//! PKCS#11 v3.1 5.18: making, wrapping, unwrapping and deriving keys.

use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, bytes, fails, flag, number, p256};
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

/// What is there to say that it is not.
const UNSUPPORTED: Row = Row { gives: CKR_FUNCTION_NOT_SUPPORTED, order: Order::Any("it is never right"), ..ROW };

/// Diffie-Hellman without a point: that is the ciphertext.
fn kem() -> Argument {
    with(CKM_ECDH1_DERIVE, vec![Piece::Word(CKD_NULL), Piece::Word(0), Piece::Word(0), Piece::Word(0), Piece::Word(0)])
        .argument()
}

/// What the private key derives from a point, by `C_DeriveKey`.
fn derived(scene: &Scene, point: &[u8]) -> Vec<u8> {
    let pieces = [Piece::Word(CKD_NULL), Piece::Word(0), Piece::Word(0), Piece::Word(point.len() as u64)];
    let pieces = [&pieces[..], &[Piece::Pointer(tests::Memory::bytes(point))]].concat();
    let attributes = secret(scene, &[number(CKA_VALUE_LEN, 32)]);
    let head = [scene.anchor.into(), with(CKM_ECDH1_DERIVE, pieces).argument(), scene.ec.1.into()];
    let call = list(&[&head, &template(&attributes), &[Argument::place(0)]]);
    let (rv, left) = scene.probe.call("C_DeriveKey", call);
    assert_eq!(rv, CKR_OK, "{}", scene.world.log());
    scene.value(left[5].word())
}

fn own_point(scene: &Scene) -> Vec<u8> {
    scene.probe.attribute(scene.anchor, scene.ec.0, CKA_EC_POINT).unwrap()[2..].to_vec()
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
    Row {
        name: "C_EncapsulateKey",
        right: |s| {
            let attributes = secret(s, &[number(CKA_VALUE_LEN, 32)]);
            let head = [s.session.into(), kem(), s.ec.0.into()];
            list(&[&head, &template(&attributes), &room(), &[Argument::place(0)]])
        },
        seen: |s, left| {
            // Who has the private key gets the same one.
            let shared = derived(s, &result(left, 5));
            assert_eq!(s.value(left[7].word()), shared);
            // One that is not for this.
            let public = [&p256(false)[..], &[flag(cryptoki_sys::CKA_ENCAPSULATE, false)]].concat();
            let (public, _) = s.probe.generate_pair(s.session, CKM_EC_KEY_PAIR_GEN, &public, &[]).unwrap();
            let head = [s.session.into(), kem(), public.into()];
            let call = list(&[&head, &template(&secret(s, &[])), &room(), &[Argument::place(0)]]);
            fails(s.probe.rv("C_EncapsulateKey", call), CKR_KEY_FUNCTION_NOT_PERMITTED);
        },
        order: Order::Wrong(&[READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID],
        short: Short::Own(|s| {
            // The place of the output and of its length: no key is made before there is room.
            let objects = |s: &Scene| s.probe.find(s.session, &[]).unwrap().len();
            let before = objects(s);
            let attributes = template(&secret(s, &[number(CKA_VALUE_LEN, 32)]));
            let ask = |s: &Scene, buffer: Argument, room: u64, key: Argument| {
                let head = [s.session.into(), kem(), s.ec.0.into()];
                let call = list(&[&head, &attributes, &[buffer, Argument::place(room), key]]);
                s.world.proxy.mark();
                let (rv, left) = s.probe.call("C_EncapsulateKey", call);
                assert_eq!(s.world.proxy.mark().names(), [""; 0]);
                (rv, left[6].word(), left)
            };
            let (rv, told, _) = ask(s, Argument::NULL, 0, Argument::place(0));
            assert_eq!((rv, told), (CKR_OK, 65));
            // There need not be a place for the handle where only the length is asked for.
            assert_eq!(ask(s, Argument::NULL, 0, Argument::NULL).0, CKR_OK);
            assert_eq!(ask(s, Argument::buffer(65), 65, Argument::NULL).0, CKR_ARGUMENTS_BAD);
            let (rv, told, left) = ask(s, Argument::buffer(64), 64, Argument::place(0));
            assert_eq!((rv, told, left[7].word()), (CKR_BUFFER_TOO_SMALL, 65, 0));
            assert_eq!(objects(s), before);
            assert_eq!(ask(s, Argument::buffer(65), 65, Argument::place(0)).0, CKR_OK);
            assert_eq!(objects(s), before + 1);
        }),
        ..ROW
    },
    Row {
        name: "C_DecapsulateKey",
        right: |s| {
            let attributes = secret(s, &[number(CKA_VALUE_LEN, 32)]);
            let head = [s.session.into(), kem(), s.ec.1.into()];
            // Any point of the curve is a ciphertext: this is the key's own.
            list(&[&head, &template(&attributes), &input(&own_point(s)), &[Argument::place(0)]])
        },
        seen: |s, left| {
            assert_eq!(s.value(left[7].word()), derived(s, &own_point(s)));
            let head = [s.session.into(), kem(), s.ec.1.into()];
            let call = list(&[&head, &template(&secret(s, &[])), &input(&[4; 65]), &[Argument::place(0)]]);
            fails(s.probe.rv("C_DecapsulateKey", call), CKR_WRAPPED_KEY_INVALID);
        },
        order: Order::Wrong(&[READ_ONLY]),
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_UNWRAPPING_KEY_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_WrapKeyAuthenticated",
        right: |s| {
            let head =
                [s.session.into(), Mechanism::plain(CKM_AES_GCM).argument(), s.memory_kek.into(), s.memory.into()];
            list(&[&head, &input(b"data"), &room()])
        },
        seen: |_, left| assert_eq!(left[7].word(), 1024),
        nulls: &[(1, CKR_FUNCTION_NOT_SUPPORTED), (4, CKR_FUNCTION_NOT_SUPPORTED), (5, CKR_FUNCTION_NOT_SUPPORTED)],
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_NOT_SUPPORTED],
        ..UNSUPPORTED
    },
    Row {
        name: "C_UnwrapKeyAuthenticated",
        right: |s| {
            let head = [s.session.into(), Mechanism::plain(CKM_AES_GCM).argument(), s.memory_kek.into()];
            list(&[&head, &input(&[7; 16]), &template(&unwrapped(s)), &input(b"data"), &[Argument::place(0)]])
        },
        seen: |_, left| assert_eq!(left[9].word(), 0),
        nulls: &[
            (1, CKR_FUNCTION_NOT_SUPPORTED),
            (3, CKR_FUNCTION_NOT_SUPPORTED),
            (4, CKR_FUNCTION_NOT_SUPPORTED),
            (5, CKR_FUNCTION_NOT_SUPPORTED),
            (6, CKR_FUNCTION_NOT_SUPPORTED),
        ],
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_FUNCTION_NOT_SUPPORTED],
        ..UNSUPPORTED
    },
];
