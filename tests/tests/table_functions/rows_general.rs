//! PKCS#11 v3.1 5.4 to 5.6: general purpose, slots and tokens, sessions.

use pkcs11_sys::*;
use tests::probe::{fails, words_of, words_place};
use tests::{Argument, Memory, Piece};

use super::scene::{MESSAGE, Scene, input, list, result, room};
use super::{Order, ROW, Row, Short, Wrong};

const NO_STATE: Order = Order::Any("it depends on nothing that was called before");

fn login(scene: &Scene, user: u64) {
    let pin = if user == CKU_SO { "so-beta" } else { "user-beta" };
    scene.probe.login(scene.session, user, pin).unwrap();
}

/// Room for a list of words.
fn words() -> [Argument; 2] {
    [Argument::buffer(8 * 128), Argument::place(128)]
}

fn contains(list: &Argument, word: u64) -> bool {
    list.content().chunks(8).any(|chunk| chunk == word.to_ne_bytes())
}

/// No session is asynchronous: nothing is pending, and nothing is written.
const ASYNC: Row = Row {
    gives: CKR_FUNCTION_NOT_SUPPORTED,
    order: Order::Any("it is never right"),
    handles: &[CKR_SESSION_HANDLE_INVALID],
    ..ROW
};

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "C_Initialize",
        before: |s| s.apart(false),
        right: |_| vec![Argument::NULL],
        seen: |s, _| assert!(s.probe.slots(true).unwrap().len() > 1),
        order: Order::Wrong(&[Wrong {
            what: "for the second time",
            before: |s| s.apart(true),
            gives: CKR_CRYPTOKI_ALREADY_INITIALIZED,
        }]),
        early: CKR_OK,
        ..ROW
    },
    Row {
        name: "C_Finalize",
        before: |s| s.apart(true),
        right: |_| vec![Argument::NULL],
        seen: |s, _| fails(s.probe.slots(true), CKR_CRYPTOKI_NOT_INITIALIZED),
        order: Order::Wrong(&[Wrong {
            what: "for the second time",
            before: |s| {
                s.apart(true);
                s.probe.finalize().unwrap();
            },
            gives: CKR_CRYPTOKI_NOT_INITIALIZED,
        }]),
        ..ROW
    },
    Row {
        name: "C_GetInfo",
        right: |_| vec![Argument::buffer(size_of::<CK_INFO>())],
        seen: |_, left| {
            let info = left[0].content();
            assert_eq!((info[0], info[1]), (3, 2));
            assert!(info[2..].starts_with(b"tpm2-cryptoki "));
        },
        order: NO_STATE,
        ..ROW
    },
    Row {
        name: "C_GetFunctionList",
        right: |_| vec![Argument::place(0)],
        seen: |_, left| assert_ne!(left[0].word(), 0),
        order: NO_STATE,
        early: CKR_OK,
        ..ROW
    },
    Row {
        name: "C_GetInterfaceList",
        right: |_| vec![Argument::buffer(10 * size_of::<CK_INTERFACE>()), Argument::place(10)],
        seen: |s, left| {
            assert_eq!(left[1].word(), 3, "3.2, 3.0 and 2.40");
            // The function list of the first one is what C_GetInterface gives.
            let (rv, interface) =
                s.probe.call("C_GetInterface", vec![0.into(), 0.into(), Argument::place(0), 0.into()]);
            assert!(rv == CKR_OK && interface[2].word() != 0);
            assert_ne!(left[0].content()[8..16], [0; 8]);
        },
        order: NO_STATE,
        short: Short::Exact(size_of::<CK_INTERFACE>()),
        early: CKR_OK,
        ..ROW
    },
    Row {
        name: "C_GetInterface",
        right: |_| vec![Argument::bytes(b"PKCS 11\0"), Argument::bytes(&[3, 0]), Argument::place(0), 0.into()],
        seen: |_, left| assert_ne!(left[2].word(), 0),
        order: NO_STATE,
        early: CKR_OK,
        ..ROW
    },
    Row {
        name: "C_GetSlotList",
        right: |_| list(&[&[1.into()], &words()]),
        seen: |s, left| assert!(contains(&left[1], s.slot) && contains(&left[1], s.beta)),
        order: NO_STATE,
        short: Short::Exact(8),
        ..ROW
    },
    Row {
        name: "C_GetSlotInfo",
        right: |s| vec![s.slot.into(), Argument::buffer(size_of::<CK_SLOT_INFO>())],
        seen: |_, left| assert!(left[1].content().starts_with(b"TPM 2.0 ")),
        order: NO_STATE,
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_GetTokenInfo",
        right: |s| vec![s.slot.into(), Argument::buffer(size_of::<CK_TOKEN_INFO>())],
        seen: |_, left| assert!(left[1].content().starts_with(b"alpha ")),
        order: NO_STATE,
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_GetMechanismList",
        right: |s| list(&[&[s.slot.into()], &words()]),
        seen: |_, left| assert!(contains(&left[1], CKM_ECDSA) && contains(&left[1], CKM_RSA_PKCS_OAEP)),
        order: NO_STATE,
        handles: &[CKR_SLOT_ID_INVALID],
        short: Short::Exact(8),
        ..ROW
    },
    Row {
        name: "C_GetMechanismInfo",
        right: |s| vec![s.slot.into(), CKM_ECDSA.into(), words_place(3)],
        seen: |_, left| {
            let words = words_of(&left[2]);
            assert_eq!((words[0], words[1], words[2] & CKF_SIGN), (224, 521, CKF_SIGN));
        },
        order: NO_STATE,
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_InitToken",
        before: |s| s.target = *s.probe.slots(false).unwrap().last().unwrap(),
        right: |s| {
            // No two tokens have one label.
            let label = format!("{:<32}", format!("made in {}", s.target));
            list(&[&[s.target.into()], &input(b"officer"), &[Argument::bytes(label.as_bytes())]])
        },
        seen: |s, _| assert_eq!(s.probe.token_info(s.target).unwrap().label, format!("made in {}", s.target)),
        order: Order::Wrong(&[Wrong {
            what: "while a session is open",
            before: Scene::on_beta,
            gives: CKR_SESSION_EXISTS,
        }]),
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_InitPIN",
        before: |s| {
            s.on_beta();
            login(s, CKU_SO);
        },
        right: |s| list(&[&[s.session.into()], &input(b"user-beta")]),
        seen: |s, _| {
            s.probe.logout(s.session).unwrap();
            login(s, CKU_USER);
        },
        order: Order::Wrong(&[
            Wrong { what: "with nobody logged in", before: Scene::on_beta, gives: CKR_USER_NOT_LOGGED_IN },
            Wrong {
                what: "with the user logged in",
                before: |s| {
                    s.on_beta();
                    login(s, CKU_USER);
                },
                gives: CKR_USER_NOT_LOGGED_IN,
            },
        ]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_SetPIN",
        before: Scene::on_beta,
        right: |s| list(&[&[s.session.into()], &input(b"user-beta"), &input(b"changed")]),
        seen: |s, _| {
            s.probe.login(s.session, CKU_USER, "changed").unwrap();
            s.probe.set_pin(s.session, "changed", "user-beta").unwrap();
        },
        order: Order::Wrong(&[Wrong {
            what: "in a read-only session",
            before: |s| {
                s.on_beta();
                s.session = s.probe.open_ro(s.beta);
            },
            gives: CKR_SESSION_READ_ONLY,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_WaitForSlotEvent",
        right: |_| vec![CKF_DONT_BLOCK.into(), Argument::place(77), Argument::NULL],
        // No token ever comes or goes (5.5.4).
        gives: CKR_NO_EVENT,
        seen: |s, left| {
            assert_eq!(left[1].word(), 77);
            let (rv, _) = s.probe.call("C_WaitForSlotEvent", vec![0.into(), Argument::place(0), Argument::NULL]);
            assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED, "it would wait for ever");
        },
        order: NO_STATE,
        ..ROW
    },
    Row {
        name: "C_OpenSession",
        right: |s| vec![s.target.into(), s.flags.into(), Argument::NULL, Argument::NULL, Argument::place(0)],
        seen: |s, left| {
            let session = left[4].word();
            assert_eq!(s.probe.session_info(session).unwrap().1, CKS_RW_USER_FUNCTIONS);
            s.probe.close(session).unwrap();
        },
        order: Order::Wrong(&[
            Wrong {
                what: "read-only beside the security officer",
                before: |s| {
                    s.on_beta();
                    login(s, CKU_SO);
                    s.flags = CKF_SERIAL_SESSION;
                },
                gives: CKR_SESSION_READ_WRITE_SO_EXISTS,
            },
            Wrong {
                what: "asynchronous",
                before: |s| s.flags |= cryptoki_sys::CKF_ASYNC_SESSION,
                gives: cryptoki_sys::CKR_SESSION_ASYNC_NOT_SUPPORTED,
            },
            Wrong { what: "in parallel", before: |s| s.flags = 0, gives: CKR_SESSION_PARALLEL_NOT_SUPPORTED },
            Wrong {
                what: "on a token that is yet to be made",
                before: |s| s.target = *s.probe.slots(false).unwrap().last().unwrap(),
                gives: CKR_TOKEN_NOT_RECOGNIZED,
            },
        ]),
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_CloseSession",
        right: |s| vec![s.session.into()],
        seen: |s, _| fails(s.probe.session_info(s.session), CKR_SESSION_HANDLE_INVALID),
        order: Order::Wrong(&[Wrong {
            what: "for the second time",
            before: |s| s.probe.close(s.session).unwrap(),
            gives: CKR_SESSION_HANDLE_INVALID,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_CloseAllSessions",
        before: |s| {
            s.on_beta();
            s.object = s.probe.open_ro(s.beta);
        },
        right: |s| vec![s.target.into()],
        seen: |s, _| {
            fails(s.probe.session_info(s.session), CKR_SESSION_HANDLE_INVALID);
            fails(s.probe.session_info(s.object), CKR_SESSION_HANDLE_INVALID);
            s.probe.session_info(s.anchor).unwrap();
        },
        order: Order::Any("without sessions there is nothing to do"),
        handles: &[CKR_SLOT_ID_INVALID],
        ..ROW
    },
    Row {
        name: "C_GetSessionInfo",
        right: |s| vec![s.session.into(), words_place(4)],
        seen: |s, left| {
            let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
            assert_eq!(words_of(&left[1]), [s.slot, CKS_RW_USER_FUNCTIONS, flags, 0]);
        },
        order: Order::Wrong(&[Wrong {
            what: "of a closed session",
            before: |s| s.probe.close(s.session).unwrap(),
            gives: CKR_SESSION_HANDLE_INVALID,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_GetSessionValidationFlags",
        right: |s| vec![s.session.into(), cryptoki_sys::CKS_LAST_VALIDATION_OK.into(), Argument::place(u64::MAX)],
        seen: |s, left| {
            assert_eq!(left[2].word(), 0);
            // A type that nobody knows.
            let unknown = vec![s.session.into(), 2.into(), Argument::place(u64::MAX)];
            fails(s.probe.rv("C_GetSessionValidationFlags", unknown), CKR_ARGUMENTS_BAD);
        },
        order: Order::Wrong(&[Wrong {
            what: "of a closed session",
            before: |s| s.probe.close(s.session).unwrap(),
            gives: CKR_SESSION_HANDLE_INVALID,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_AsyncComplete",
        right: |s| vec![s.session.into(), Argument::bytes(b"C_Sign\0"), words_place(5)],
        seen: |_, left| assert_eq!(words_of(&left[2]), [0; 5]),
        ..ASYNC
    },
    Row {
        name: "C_AsyncGetID",
        right: |s| vec![s.session.into(), Argument::bytes(b"C_Sign\0"), Argument::place(7)],
        seen: |_, left| assert_eq!(left[2].word(), 7),
        ..ASYNC
    },
    Row {
        name: "C_AsyncJoin",
        right: |s| list(&[&[s.session.into(), Argument::bytes(b"C_Sign\0"), 7.into()], &input(b"buffer")]),
        seen: |_, left| assert_eq!(left[3].content(), b"buffer"),
        nulls: &[(3, CKR_FUNCTION_NOT_SUPPORTED)],
        ..ASYNC
    },
    Row {
        name: "C_GetOperationState",
        before: |s| {
            s.digest_init();
            s.probe.update("C_DigestUpdate", s.session, &MESSAGE[..9]).unwrap();
        },
        right: |s| list(&[&[s.session.into()], &room()]),
        seen: |s, left| {
            let other = s.probe.open_ro(s.slot);
            let state = result(left, 1);
            let restore = list(&[&[other.into()], &input(&state), &[0.into(), 0.into()]]);
            s.probe.rv("C_SetOperationState", restore).unwrap();
            for session in [s.session, other] {
                s.probe.update("C_DigestUpdate", session, &MESSAGE[9..]).unwrap();
                assert_eq!(s.probe.finish("C_DigestFinal", session).unwrap(), s.digest());
            }
            s.probe.close(other).unwrap();
        },
        order: Order::Wrong(&[
            Wrong { what: "with nothing active", before: |_| (), gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong {
                what: "with a signature active",
                before: |s| s.init("C_SignInit", CKM_ECDSA_SHA256, s.ec.1),
                gives: CKR_STATE_UNSAVEABLE,
            },
        ]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SetOperationState",
        before: |s| {
            s.digest_init();
            s.probe.update("C_DigestUpdate", s.session, &MESSAGE[..9]).unwrap();
            s.note = s.probe.output("C_GetOperationState", vec![s.session.into()], Some(100)).ok().unwrap();
            s.probe.finish("C_DigestFinal", s.session).unwrap();
        },
        right: |s| list(&[&[s.session.into()], &input(&s.note), &[0.into(), 0.into()]]),
        seen: |s, _| {
            s.probe.update("C_DigestUpdate", s.session, &MESSAGE[9..]).unwrap();
            assert_eq!(s.probe.finish("C_DigestFinal", s.session).unwrap(), s.digest());
        },
        order: Order::Wrong(&[Wrong {
            what: "with a state that was never saved",
            before: |s| s.note = vec![1; 24],
            gives: CKR_SAVED_STATE_INVALID,
        }]),
        // A digest has no keys (5.6.7).
        handles: &[CKR_SESSION_HANDLE_INVALID, CKR_KEY_NOT_NEEDED, CKR_KEY_NOT_NEEDED],
        ..ROW
    },
    Row {
        name: "C_Login",
        before: Scene::on_beta,
        right: |s| list(&[&[s.session.into(), s.user.into()], &input(b"user-beta")]),
        seen: |s, _| assert_eq!(s.probe.state(s.session), CKS_RW_USER_FUNCTIONS),
        order: LOGIN,
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_LoginUser",
        before: Scene::on_beta,
        right: |s| list(&[&[s.session.into(), s.user.into()], &input(b"user-beta"), &[Argument::NULL, 0.into()]]),
        seen: |s, _| assert_eq!(s.probe.state(s.session), CKS_RW_USER_FUNCTIONS),
        order: LOGIN,
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_Logout",
        before: |s| {
            s.on_beta();
            login(s, CKU_USER);
        },
        right: |s| vec![s.session.into()],
        seen: |s, _| assert_eq!(s.probe.state(s.session), CKS_RW_PUBLIC_SESSION),
        order: Order::Wrong(&[Wrong {
            what: "with nobody logged in",
            before: Scene::on_beta,
            gives: CKR_USER_NOT_LOGGED_IN,
        }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_SessionCancel",
        before: |s| {
            s.digest_init();
            s.init("C_SignInit", CKM_ECDSA_SHA256, s.ec.1);
        },
        right: |s| vec![s.session.into(), CKF_DIGEST.into()],
        seen: |s, _| {
            fails(s.probe.finish("C_DigestFinal", s.session), CKR_OPERATION_NOT_INITIALIZED);
            s.probe.transform("C_Sign", s.session, MESSAGE).unwrap();
        },
        // 5.6.5: a flag for what is not active is no error.
        order: Order::Wrong(&[Wrong { what: "with nothing active", before: |_| (), gives: CKR_OK }]),
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_GetFunctionStatus",
        right: |s| vec![s.session.into()],
        gives: CKR_FUNCTION_NOT_PARALLEL,
        seen: |_, _| (),
        order: Order::Any("5.20: it always returns the same"),
        handles: &[CKR_FUNCTION_NOT_PARALLEL],
        ..ROW
    },
    Row {
        name: "C_CancelFunction",
        right: |s| vec![s.session.into()],
        gives: CKR_FUNCTION_NOT_PARALLEL,
        seen: |_, _| (),
        order: Order::Any("5.20: it always returns the same"),
        handles: &[CKR_FUNCTION_NOT_PARALLEL],
        ..ROW
    },
    Row {
        name: "C_SeedRandom",
        right: |s| list(&[&[s.session.into()], &input(b"seed")]),
        seen: |s, _| assert_eq!(s.probe.random(s.session, 9).unwrap().len(), 9),
        order: NO_STATE,
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
    Row {
        name: "C_GenerateRandom",
        right: |s| vec![s.session.into(), Argument::Pointer(Memory::of(vec![Piece::Bytes(vec![0; 40])])), 40.into()],
        seen: |s, left| {
            assert_ne!(left[1].content(), [0; 40]);
            assert_ne!(left[1].content(), s.probe.random(s.session, 40).unwrap());
        },
        order: NO_STATE,
        handles: &[CKR_SESSION_HANDLE_INVALID],
        ..ROW
    },
];

const LOGIN: Order = Order::Wrong(&[
    Wrong {
        what: "of the user who is logged in",
        before: |s| {
            s.on_beta();
            login(s, CKU_USER);
        },
        gives: CKR_USER_ALREADY_LOGGED_IN,
    },
    Wrong {
        what: "beside the security officer",
        before: |s| {
            s.on_beta();
            login(s, CKU_SO);
        },
        gives: CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    },
    Wrong {
        what: "for an operation, with none active",
        before: |s| s.user = CKU_CONTEXT_SPECIFIC,
        gives: CKR_OPERATION_NOT_INITIALIZED,
    },
]);
