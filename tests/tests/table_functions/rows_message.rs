//! PKCS#11 v3.1 5.9, 5.11, 5.14, 5.16: messages under one key.

use pkcs11_sys::*;
use tests::probe::{Mechanism, fails};
use tests::{Argument, Memory, Piece};

use super::scene::{MESSAGE, Scene, input, list, result, room};
use super::{Order, ROW, Row, Short, Wrong};

const AAD: &[u8] = b"to whom it concerns";
const NONCE: [u8; 12] = [5; 12];

const SESSION: &[u64] = &[CKR_SESSION_HANDLE_INVALID];
const WITH_KEY: &[u64] = &[CKR_SESSION_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID];
/// Since version 3.0 a null mechanism cancels the operation.
const CANCELS: &[(usize, u64)] = &[(1, CKR_OK)];
const NOTHING: Wrong = Wrong { what: "with nothing active", before: |_| (), gives: CKR_OPERATION_NOT_INITIALIZED };

/// `CK_GCM_MESSAGE_PARAMS` as two arguments.
fn parameter(tag: &[u8]) -> [Argument; 2] {
    let pieces = vec![
        Piece::Pointer(Memory::bytes(&NONCE)),
        Piece::Word(NONCE.len() as u64),
        Piece::Word(0),
        Piece::Word(CKG_NO_GENERATE),
        Piece::Pointer(Memory::bytes(tag)),
        Piece::Word(128),
    ];
    [Argument::Pointer(Memory::of(pieces)), (size_of::<CK_GCM_MESSAGE_PARAMS>() as u64).into()]
}

/// The tag in a parameter.
fn tag(parameter: &Argument) -> Vec<u8> {
    let Argument::Pointer(memory) = parameter else { panic!() };
    let Piece::Pointer(tag) = &memory.pieces[4] else { panic!() };
    Argument::Pointer(tag.clone()).content().to_vec()
}

/// What another implementation makes of [`MESSAGE`]: ciphertext and tag.
fn sealed() -> (Vec<u8>, Vec<u8>) {
    use aes_gcm::aead::{Aead, KeyInit, Payload};
    let cipher = aes_gcm::Aes128Gcm::new_from_slice(&super::scene::VALUE).unwrap();
    let mut sealed = cipher.encrypt(&NONCE.into(), Payload { msg: MESSAGE, aad: AAD }).unwrap();
    let tag = sealed.split_off(MESSAGE.len());
    (sealed, tag)
}

fn init(scene: &Scene, function: &str) {
    scene.init(function, CKM_AES_GCM, scene.aes);
}

fn encrypts(s: &mut Scene) {
    init(s, "C_MessageEncryptInit");
}

fn decrypts(s: &mut Scene) {
    init(s, "C_MessageDecryptInit");
}

fn begun(s: &mut Scene) {
    encrypts(s);
    let begin = list(&[&[s.session.into()], &parameter(&[0; 16]), &input(AAD)]);
    s.probe.rv("C_EncryptMessageBegin", begin).unwrap();
}

fn decryption_begun(s: &mut Scene) {
    decrypts(s);
    let begin = list(&[&[s.session.into()], &parameter(&sealed().1), &input(AAD)]);
    s.probe.rv("C_DecryptMessageBegin", begin).unwrap();
}

/// A whole message goes through what is active.
fn encrypts_a_message(s: &Scene) {
    let arguments = list(&[&[s.session.into()], &parameter(&[0; 16]), &input(AAD), &input(MESSAGE), &room()]);
    let (rv, left) = s.probe.call("C_EncryptMessage", arguments);
    assert_eq!((rv, result(&left, 7), tag(&left[1])), (CKR_OK, sealed().0, sealed().1));
}

fn decrypts_a_message(s: &Scene) {
    let (cipher, tag) = sealed();
    let arguments = list(&[&[s.session.into()], &parameter(&tag), &input(AAD), &input(&cipher), &room()]);
    let (rv, left) = s.probe.call("C_DecryptMessage", arguments);
    assert_eq!((rv, result(&left, 7)), (CKR_OK, MESSAGE.to_vec()));
}

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "C_MessageEncryptInit",
        right: |s| vec![s.session.into(), Mechanism::plain(CKM_AES_GCM).argument(), s.aes.into()],
        seen: |s, _| encrypts_a_message(s),
        order: Order::Wrong(&[Wrong { what: "twice", before: encrypts, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_EncryptMessage",
        before: encrypts,
        right: |s| list(&[&[s.session.into()], &parameter(&[0; 16]), &input(AAD), &input(MESSAGE), &room()]),
        seen: |s, left| {
            assert_eq!((result(left, 7), tag(&left[1])), sealed());
            // The operation goes on to the next message.
            encrypts_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_EncryptMessageBegin",
        before: encrypts,
        right: |s| list(&[&[s.session.into()], &parameter(&[0; 16]), &input(AAD)]),
        seen: |s, _| {
            let end = [CKF_END_OF_MESSAGE.into()];
            let next = list(&[&[s.session.into()], &parameter(&[0; 16]), &input(MESSAGE), &room(), &end]);
            let (rv, left) = s.probe.call("C_EncryptMessageNext", next);
            assert_eq!((rv, result(&left, 5), tag(&left[1])), (CKR_OK, sealed().0, sealed().1));
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_EncryptMessageNext",
        before: begun,
        right: |s| {
            let end = [CKF_END_OF_MESSAGE.into()];
            list(&[&[s.session.into()], &parameter(&[0; 16]), &input(MESSAGE), &room(), &end])
        },
        seen: |s, left| {
            assert_eq!((result(left, 5), tag(&left[1])), sealed());
            encrypts_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "without a beginning", before: encrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_MessageEncryptFinal",
        before: encrypts,
        right: |s| vec![s.session.into()],
        seen: |s, _| {
            let message = list(&[&[s.session.into()], &parameter(&[0; 16]), &input(AAD), &input(MESSAGE), &room()]);
            fails(s.probe.rv("C_EncryptMessage", message), CKR_OPERATION_NOT_INITIALIZED);
        },
        order: Order::Wrong(&[NOTHING]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_MessageDecryptInit",
        right: |s| vec![s.session.into(), Mechanism::plain(CKM_AES_GCM).argument(), s.aes.into()],
        seen: |s, _| decrypts_a_message(s),
        order: Order::Wrong(&[Wrong { what: "twice", before: decrypts, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_DecryptMessage",
        before: decrypts,
        right: |s| {
            let (cipher, tag) = sealed();
            list(&[&[s.session.into()], &parameter(&tag), &input(AAD), &input(&cipher), &room()])
        },
        seen: |s, left| {
            assert_eq!(result(left, 7), MESSAGE);
            // What is not authentic is refused, and the operation goes on to the next message.
            let (cipher, _) = sealed();
            let altered = list(&[&[s.session.into()], &parameter(&[1; 16]), &input(AAD), &input(&cipher), &room()]);
            fails(s.probe.rv("C_DecryptMessage", altered), CKR_AEAD_DECRYPT_FAILED);
            decrypts_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: decryption_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DecryptMessageBegin",
        before: decrypts,
        right: |s| list(&[&[s.session.into()], &parameter(&sealed().1), &input(AAD)]),
        seen: |s, _| {
            let (cipher, tag) = sealed();
            let end = [CKF_END_OF_MESSAGE.into()];
            let next = list(&[&[s.session.into()], &parameter(&tag), &input(&cipher), &room(), &end]);
            let (rv, left) = s.probe.call("C_DecryptMessageNext", next);
            assert_eq!((rv, result(&left, 5)), (CKR_OK, MESSAGE.to_vec()));
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: decryption_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_DecryptMessageNext",
        before: decryption_begun,
        right: |s| {
            let (cipher, tag) = sealed();
            let end = [CKF_END_OF_MESSAGE.into()];
            list(&[&[s.session.into()], &parameter(&tag), &input(&cipher), &room(), &end])
        },
        seen: |s, left| {
            assert_eq!(result(left, 5), MESSAGE);
            decrypts_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "without a beginning", before: decrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_MessageDecryptFinal",
        before: decrypts,
        right: |s| vec![s.session.into()],
        seen: |s, _| {
            let (cipher, tag) = sealed();
            let message = list(&[&[s.session.into()], &parameter(&tag), &input(AAD), &input(&cipher), &room()]);
            fails(s.probe.rv("C_DecryptMessage", message), CKR_OPERATION_NOT_INITIALIZED);
        },
        order: Order::Wrong(&[NOTHING]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_MessageSignInit",
        right: |s| vec![s.session.into(), Mechanism::plain(CKM_SHA256_RSA_PKCS).argument(), s.rsa.1.into()],
        seen: |s, _| signs_a_message(s),
        order: Order::Wrong(&[Wrong { what: "twice", before: signs, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_SignMessage",
        before: signs,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &room()]),
        seen: |s, left| {
            assert_eq!(result(left, 5), s.signature());
            signs_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: signing_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SignMessageBegin",
        before: signs,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER]),
        seen: |s, _| {
            // Without a place for the length it is not the last part.
            let part = list(&[&[s.session.into()], &NO_PARAMETER, &input(&MESSAGE[..9]), &NOWHERE]);
            s.probe.rv("C_SignMessageNext", part).unwrap();
            let rest = list(&[&[s.session.into()], &NO_PARAMETER, &input(&MESSAGE[9..]), &room()]);
            let (rv, left) = s.probe.call("C_SignMessageNext", rest);
            assert_eq!((rv, result(&left, 5)), (CKR_OK, s.signature()));
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: signing_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_SignMessageNext",
        before: signing_begun,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &room()]),
        seen: |s, left| {
            assert_eq!(result(left, 5), s.signature());
            signs_a_message(s);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "without a beginning", before: signs, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        // Without a place for the length a part is not the last.
        nulls: &[(3, CKR_OK)],
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_MessageSignFinal",
        before: signs,
        right: |s| vec![s.session.into()],
        seen: |s, _| {
            let message = list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &room()]);
            fails(s.probe.rv("C_SignMessage", message), CKR_OPERATION_NOT_INITIALIZED);
        },
        order: Order::Wrong(&[NOTHING]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_MessageVerifyInit",
        right: |s| vec![s.session.into(), Mechanism::plain(CKM_SHA256_RSA_PKCS).argument(), s.rsa.0.into()],
        seen: |s, _| verifies_messages(s),
        order: Order::Wrong(&[Wrong { what: "twice", before: verifies, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_VerifyMessage",
        before: verifies,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &input(&s.signature())]),
        seen: |s, _| verifies_messages(s),
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: verification_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifyMessageBegin",
        before: verifies,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER]),
        seen: |s, _| {
            let part = list(&[&[s.session.into()], &NO_PARAMETER, &input(&MESSAGE[..9]), &NOWHERE]);
            s.probe.rv("C_VerifyMessageNext", part).unwrap();
            let rest = list(&[&[s.session.into()], &NO_PARAMETER, &input(&MESSAGE[9..]), &input(&s.signature())]);
            s.probe.rv("C_VerifyMessageNext", rest).unwrap();
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "in the middle of another message", before: verification_begun, gives: CKR_OPERATION_ACTIVE },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifyMessageNext",
        before: verification_begun,
        right: |s| list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &input(&s.signature())]),
        seen: |s, _| verifies_messages(s),
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "without a beginning", before: verifies, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_MessageVerifyFinal",
        before: verifies,
        right: |s| vec![s.session.into()],
        seen: |s, _| {
            let message = list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &input(&s.signature())]);
            fails(s.probe.rv("C_VerifyMessage", message), CKR_OPERATION_NOT_INITIALIZED);
        },
        order: Order::Wrong(&[NOTHING]),
        handles: SESSION,
        ..ROW
    },
];

/// No mechanism that signs has a parameter for each message.
const NO_PARAMETER: [Argument; 2] = [Argument::NULL, Argument::Word(0)];
/// No room and no place for a length; no signature.
const NOWHERE: [Argument; 2] = [Argument::NULL, Argument::NULL];

fn signs(s: &mut Scene) {
    s.init("C_MessageSignInit", CKM_SHA256_RSA_PKCS, s.rsa.1);
}

fn verifies(s: &mut Scene) {
    s.init("C_MessageVerifyInit", CKM_SHA256_RSA_PKCS, s.rsa.0);
}

fn signing_begun(s: &mut Scene) {
    signs(s);
    s.probe.rv("C_SignMessageBegin", list(&[&[s.session.into()], &NO_PARAMETER])).unwrap();
}

fn verification_begun(s: &mut Scene) {
    verifies(s);
    s.probe.rv("C_VerifyMessageBegin", list(&[&[s.session.into()], &NO_PARAMETER])).unwrap();
}

fn signs_a_message(s: &Scene) {
    let message = list(&[&[s.session.into()], &NO_PARAMETER, &input(MESSAGE), &room()]);
    let (rv, left) = s.probe.call("C_SignMessage", message);
    assert_eq!((rv, result(&left, 5)), (CKR_OK, s.signature()));
}

/// One message that is not what was signed, and one that is.
fn verifies_messages(s: &Scene) {
    let verify = |data: &[u8]| {
        s.probe.rv("C_VerifyMessage", list(&[&[s.session.into()], &NO_PARAMETER, &input(data), &input(&s.signature())]))
    };
    fails(verify(b"another"), CKR_SIGNATURE_INVALID);
    verify(MESSAGE).unwrap();
}
