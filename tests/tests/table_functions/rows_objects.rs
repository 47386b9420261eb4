//! PKCS#11 v3.1 5.7: objects.

use pkcs11_sys::*;
use tests::call::FILL;
use tests::probe::{attributes, bytes, fails, flag, number, words_of, words_place};
use tests::{Argument, Ck};

use super::scene::{Scene, list, template};
use super::{Order, ROW, Row, Short, Wrong};

const HANDLES: &[u64] = &[CKR_SESSION_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID];

fn label(scene: &Scene, object: u64) -> Vec<u8> {
    scene.probe.attribute(scene.anchor, object, CKA_LABEL).unwrap()
}

/// Makes an object and destroys it.
fn gone(scene: &mut Scene) {
    let object = scene.data(false);
    scene.probe.destroy(scene.anchor, object).unwrap();
}

/// A token object, and a read-only session.
fn read_only(scene: &mut Scene) {
    scene.on_token = true;
    scene.data(true);
    scene.read_only();
}

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "C_CreateObject",
        before: |s| s.on_token = true,
        right: |s| {
            let attributes = [
                number(CKA_CLASS, CKO_DATA),
                flag(CKA_TOKEN, s.on_token),
                flag(CKA_PRIVATE, s.private),
                bytes(CKA_VALUE, b"what it is"),
            ];
            list(&[&[s.session.into()], &template(&attributes), &[Argument::place(0)]])
        },
        seen: |s, left| {
            let object = left[3].word();
            assert_eq!(s.probe.attribute(s.anchor, object, CKA_VALUE).unwrap(), b"what it is");
            // It is there for others, too.
            let other = s.world.probe().initialized();
            let session = other.open_ro(s.slot);
            assert_eq!(other.attribute(session, object, CKA_VALUE).unwrap(), b"what it is");
            s.probe.destroy(s.session, object).unwrap();
        },
        order: Order::Wrong(&[
            Wrong { what: "on the token, in a read-only session", before: read_only, gives: CKR_SESSION_READ_ONLY },
            Wrong {
                what: "private, without login",
                before: |s| {
                    s.private = true;
                    s.on_beta();
                },
                gives: CKR_USER_NOT_LOGGED_IN,
            },
            Wrong {
                what: "on the token, with nobody who vouches for it",
                before: |s| {
                    s.on_token = true;
                    s.on_beta();
                },
                gives: CKR_USER_NOT_LOGGED_IN,
            },
        ]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_CopyObject",
        before: |s| {
            s.data(false);
        },
        right: |s| {
            let attributes = [bytes(CKA_LABEL, b"copy"), flag(CKA_TOKEN, s.on_token)];
            list(&[&[s.session.into(), s.object.into()], &template(&attributes), &[Argument::place(0)]])
        },
        seen: |s, left| {
            let copy = left[4].word();
            assert!(copy != s.object && label(s, copy) == b"copy" && label(s, s.object) == b"datum");
        },
        order: Order::Wrong(&[
            Wrong { what: "of what was destroyed", before: gone, gives: CKR_OBJECT_HANDLE_INVALID },
            Wrong { what: "on the token, in a read-only session", before: read_only, gives: CKR_SESSION_READ_ONLY },
        ]),
        handles: HANDLES,
        ..ROW
    },
    Row {
        name: "C_DestroyObject",
        before: |s| {
            s.data(true);
        },
        right: |s| vec![s.session.into(), s.object.into()],
        seen: |s, _| fails(s.probe.attribute(s.anchor, s.object, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID),
        order: Order::Wrong(&[
            Wrong { what: "for the second time", before: gone, gives: CKR_OBJECT_HANDLE_INVALID },
            Wrong { what: "on the token, in a read-only session", before: read_only, gives: CKR_SESSION_READ_ONLY },
        ]),
        handles: HANDLES,
        ..ROW
    },
    Row {
        name: "C_GetObjectSize",
        right: |s| vec![s.session.into(), s.rsa.1.into(), Argument::place(0)],
        seen: |_, left| assert!((256..10_000).contains(&left[2].word()), "{}", left[2].word()),
        order: Order::Any("an object that is there has a size"),
        handles: HANDLES,
        ..ROW
    },
    Row {
        name: "C_GetAttributeValue",
        before: |s| {
            s.data(false);
        },
        right: |s| list(&[&[s.session.into(), s.object.into()], &template(&[bytes(CKA_LABEL, &[FILL; 5])])]),
        seen: |_, left| assert_eq!(left[2], attributes(&[bytes(CKA_LABEL, b"datum")])),
        order: Order::Wrong(&[Wrong { what: "of what was destroyed", before: gone, gives: CKR_OBJECT_HANDLE_INVALID }]),
        handles: HANDLES,
        // 5.7.5: each attribute has its length, and all are answered whatever is wrong with one.
        short: Short::Own(|s| {
            let wanted = [(CKA_LABEL, Some(1)), (CKA_MODULUS, None), (CKA_CLASS, Some(8)), (CKA_ID, Some(0))];
            s.world.proxy.mark();
            let (rv, values) = s.probe.get_attributes(s.session, s.rsa.0, &wanted);
            assert_eq!(Ck(rv), Ck(CKR_BUFFER_TOO_SMALL));
            let lengths: Vec<_> = values.iter().map(|(len, _)| *len).collect();
            assert_eq!(lengths, [u64::MAX, 256, 8, u64::MAX]);
            assert_eq!((&values[0].1[..], &values[2].1[..]), (&[FILL][..], &CKO_PUBLIC_KEY.to_ne_bytes()[..]));
            assert_eq!(s.probe.attribute(s.session, s.rsa.0, CKA_LABEL).unwrap(), b"rsa");
            assert_eq!(s.world.proxy.mark().names(), [""; 0]);
        }),
        ..ROW
    },
    Row {
        name: "C_SetAttributeValue",
        before: |s| {
            s.data(true);
        },
        right: |s| list(&[&[s.session.into(), s.object.into()], &template(&[bytes(CKA_LABEL, b"renamed")])]),
        seen: |s, _| {
            assert_eq!(label(s, s.object), b"renamed");
            s.probe.destroy(s.session, s.object).unwrap();
        },
        order: Order::Wrong(&[
            Wrong { what: "of what was destroyed", before: gone, gives: CKR_OBJECT_HANDLE_INVALID },
            Wrong { what: "on the token, in a read-only session", before: read_only, gives: CKR_SESSION_READ_ONLY },
        ]),
        handles: HANDLES,
        ..ROW
    },
    Row {
        name: "C_FindObjectsInit",
        right: |s| list(&[&[s.session.into()], &template(&[bytes(CKA_LABEL, b"p384")])]),
        seen: |s, _| assert_eq!(s.probe.find_next(s.session, 10).unwrap().len(), 2),
        order: Order::Wrong(&[Wrong {
            what: "while a search goes on",
            before: |s| s.probe.find_init(s.session, &[]).unwrap(),
            gives: CKR_OPERATION_ACTIVE,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_FindObjects",
        before: |s| s.probe.find_init(s.session, &[bytes(CKA_LABEL, b"p384")]).unwrap(),
        right: |s| vec![s.session.into(), words_place(10), 10.into(), Argument::place(0)],
        seen: |s, left| {
            let found = &words_of(&left[1])[..left[3].word() as usize];
            assert!(found.len() == 2 && found.iter().all(|object| label(s, *object) == b"p384"));
        },
        order: Order::Wrong(&[Wrong {
            what: "without a search",
            before: |_| (),
            gives: CKR_OPERATION_NOT_INITIALIZED,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        // 5.7.8: it gives as many as there is room for.
        short: Short::Own(|s| {
            s.probe.find_init(s.session, &[bytes(CKA_LABEL, b"p384")]).unwrap();
            let lengths = [0, 1, 1, 1].map(|room| s.probe.find_next(s.session, room).unwrap().len());
            assert_eq!(lengths, [0, 1, 1, 0]);
        }),
        ..ROW
    },
    Row {
        name: "C_FindObjectsFinal",
        before: |s| s.probe.find_init(s.session, &[]).unwrap(),
        right: |s| vec![s.session.into()],
        seen: |s, _| fails(s.probe.find_next(s.session, 1), CKR_OPERATION_NOT_INITIALIZED),
        order: Order::Wrong(&[Wrong {
            what: "without a search",
            before: |_| (),
            gives: CKR_OPERATION_NOT_INITIALIZED,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
];
