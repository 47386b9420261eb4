//! PKCS#11 v3.1 5.8, 5.10, 5.12, 5.13, 5.15, 5.17: encryption, decryption, digests, signatures, and two of them at once.
//!
//! Keys are in the TPM wherever that would cost a command, so that a short buffer which asks it is found out.

use pkcs11_sys::*;
use tests::Argument;
use tests::probe::{Mechanism, fails};

use super::scene::{MESSAGE, Scene, VALUE, cbc, cbc_pad, input, list, result, room};
use super::{Order, ROW, Row, Short, Wrong};

const SESSION: &[u64] = &[CKR_SESSION_HANDLE_INVALID];
const WITH_KEY: &[u64] = &[CKR_SESSION_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID];
/// Since version 3.0 a null mechanism cancels the operation (5.8.1 and its like).
const CANCELS: &[(usize, u64)] = &[(1, CKR_OK)];
/// The state that every call but `Init` is wrong in.
const NOTHING: Wrong = Wrong { what: "with nothing active", before: |_| (), gives: CKR_OPERATION_NOT_INITIALIZED };
const NOT_ACTIVE: Order = Order::Wrong(&[NOTHING]);

fn blocks() -> &'static [u8] {
    &MESSAGE[..64]
}

fn data(scene: &Scene, bytes: &[u8]) -> Vec<Argument> {
    list(&[&[scene.session.into()], &input(bytes), &room()])
}

fn last(scene: &Scene) -> Vec<Argument> {
    list(&[&[scene.session.into()], &room()])
}

fn start(scene: &Scene, mechanism: impl Into<Mechanism>, key: u64) -> Vec<Argument> {
    vec![scene.session.into(), mechanism.into().argument(), key.into()]
}

fn part(scene: &Scene, function: &str, bytes: &[u8]) -> Vec<u8> {
    scene.probe.transform(function, scene.session, bytes).unwrap()
}

fn encrypts(s: &mut Scene) {
    s.init("C_EncryptInit", cbc_pad(), s.aes);
}

fn decrypts(s: &mut Scene) {
    s.init("C_DecryptInit", cbc_pad(), s.aes);
}

fn signs(s: &mut Scene) {
    s.init("C_SignInit", CKM_SHA256_RSA_PKCS, s.rsa.1);
}

fn verifies(s: &mut Scene) {
    s.init("C_VerifyInit", CKM_SHA256_RSA_PKCS, s.rsa.0);
}

fn verifies_signature(s: &mut Scene) {
    let arguments = [start(s, CKM_SHA256_RSA_PKCS, s.rsa.0), input(&s.signature()).to_vec()].concat();
    s.probe.rv("C_VerifySignatureInit", arguments).unwrap();
}

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "C_EncryptInit",
        right: |s| start(s, cbc_pad(), s.aes),
        seen: |s, _| assert_eq!(part(s, "C_Encrypt", MESSAGE), s.ciphertext()),
        order: Order::Wrong(&[Wrong { what: "twice", before: encrypts, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_Encrypt",
        before: encrypts,
        right: |s| data(s, MESSAGE),
        seen: |s, left| assert_eq!(result(left, 3), s.ciphertext()),
        order: Order::Wrong(&[
            NOTHING,
            Wrong {
                what: "after a part",
                before: |s| {
                    encrypts(s);
                    part(s, "C_EncryptUpdate", MESSAGE);
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_EncryptUpdate",
        before: encrypts,
        right: |s| data(s, MESSAGE),
        seen: |s, left| {
            let cipher = s.ciphertext();
            let (first, rest) = cipher.split_at(left[4].word() as usize);
            assert_eq!(
                (result(left, 3), s.probe.finish("C_EncryptFinal", s.session).unwrap()),
                (first.to_vec(), rest.to_vec())
            );
        },
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_EncryptFinal",
        before: |s| {
            encrypts(s);
            s.note = part(s, "C_EncryptUpdate", MESSAGE);
        },
        right: |s| last(s),
        seen: |s, left| assert_eq!([&s.note[..], &result(left, 1)].concat(), s.ciphertext()),
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DecryptInit",
        right: |s| start(s, cbc_pad(), s.aes),
        seen: |s, _| assert_eq!(part(s, "C_Decrypt", &s.ciphertext()), MESSAGE),
        order: Order::Wrong(&[Wrong { what: "twice", before: decrypts, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_Decrypt",
        before: decrypts,
        right: |s| data(s, &s.ciphertext()),
        seen: |_, left| assert_eq!(result(left, 3), MESSAGE),
        order: Order::Wrong(&[
            NOTHING,
            Wrong {
                what: "after a part",
                before: |s| {
                    decrypts(s);
                    part(s, "C_DecryptUpdate", &s.ciphertext());
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        // Nobody knows the length of the padding before.
        short: Short::Enough,
        ..ROW
    },
    Row {
        name: "C_DecryptUpdate",
        before: decrypts,
        right: |s| data(s, &s.ciphertext()),
        seen: |s, left| {
            let rest = s.probe.finish("C_DecryptFinal", s.session).unwrap();
            assert_eq!([result(left, 3), rest].concat(), MESSAGE);
        },
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DecryptFinal",
        before: |s| {
            decrypts(s);
            s.note = part(s, "C_DecryptUpdate", &s.ciphertext());
        },
        right: |s| last(s),
        seen: |s, left| assert_eq!([&s.note[..], &result(left, 1)].concat(), MESSAGE),
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Enough,
        ..ROW
    },
    Row {
        name: "C_DigestInit",
        right: |s| vec![s.session.into(), Mechanism::plain(CKM_SHA256).argument()],
        seen: |s, _| assert_eq!(part(s, "C_Digest", MESSAGE), s.digest()),
        order: Order::Wrong(&[Wrong { what: "twice", before: |s| s.digest_init(), gives: CKR_OPERATION_ACTIVE }]),
        handles: SESSION,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_Digest",
        before: |s| s.digest_init(),
        right: |s| data(s, MESSAGE),
        seen: |s, left| assert_eq!(result(left, 3), s.digest()),
        order: Order::Wrong(&[
            NOTHING,
            Wrong {
                what: "after a part",
                before: |s| {
                    s.digest_init();
                    s.probe.update("C_DigestUpdate", s.session, MESSAGE).unwrap();
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DigestUpdate",
        before: |s| s.digest_init(),
        right: |s| list(&[&[s.session.into()], &input(MESSAGE)]),
        seen: |s, _| assert_eq!(s.probe.finish("C_DigestFinal", s.session).unwrap(), s.digest()),
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_DigestKey",
        before: |s| s.digest_init(),
        right: |s| vec![s.session.into(), s.secret.into()],
        seen: |s, _| {
            let digest = s.probe.finish("C_DigestFinal", s.session).unwrap();
            assert_eq!(digest, s.probe.digest(s.session, CKM_SHA256, &VALUE).unwrap());
        },
        order: NOT_ACTIVE,
        handles: WITH_KEY,
        ..ROW
    },
    Row {
        name: "C_DigestFinal",
        before: |s| {
            s.digest_init();
            s.probe.update("C_DigestUpdate", s.session, MESSAGE).unwrap();
        },
        right: |s| last(s),
        seen: |s, left| assert_eq!(result(left, 1), s.digest()),
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SignInit",
        right: |s| start(s, CKM_SHA256_RSA_PKCS, s.rsa.1),
        seen: |s, _| assert_eq!(part(s, "C_Sign", MESSAGE), s.signature()),
        order: Order::Wrong(&[Wrong { what: "twice", before: signs, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_Sign",
        before: signs,
        right: |s| data(s, MESSAGE),
        seen: |s, left| assert_eq!(result(left, 3), s.signature()),
        order: Order::Wrong(&[
            NOTHING,
            Wrong {
                what: "after a part",
                before: |s| {
                    signs(s);
                    s.probe.update("C_SignUpdate", s.session, MESSAGE).unwrap();
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SignUpdate",
        before: signs,
        right: |s| list(&[&[s.session.into()], &input(MESSAGE)]),
        seen: |s, _| assert_eq!(s.probe.finish("C_SignFinal", s.session).unwrap(), s.signature()),
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_SignFinal",
        before: |s| {
            signs(s);
            s.probe.update("C_SignUpdate", s.session, MESSAGE).unwrap();
        },
        right: |s| last(s),
        seen: |s, left| assert_eq!(result(left, 1), s.signature()),
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SignRecoverInit",
        right: |s| start(s, CKM_RSA_PKCS, s.rsa.1),
        seen: |s, _| assert_eq!(part(s, "C_SignRecover", MESSAGE).len(), 256),
        order: Order::Wrong(&[Wrong {
            what: "twice",
            before: |s| s.init("C_SignRecoverInit", CKM_RSA_PKCS, s.rsa.1),
            gives: CKR_OPERATION_ACTIVE,
        }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_SignRecover",
        before: |s| s.init("C_SignRecoverInit", CKM_RSA_PKCS, s.rsa.1),
        right: |s| data(s, MESSAGE),
        seen: |s, left| {
            s.init("C_VerifyRecoverInit", CKM_RSA_PKCS, s.rsa.0);
            assert_eq!(part(s, "C_VerifyRecover", &result(left, 3)), MESSAGE);
        },
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_VerifyInit",
        right: |s| start(s, CKM_SHA256_RSA_PKCS, s.rsa.0),
        seen: |s, _| {
            let verify = list(&[&[s.session.into()], &input(MESSAGE), &input(&s.signature())]);
            s.probe.rv("C_Verify", verify).unwrap();
        },
        order: Order::Wrong(&[Wrong { what: "twice", before: verifies, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_Verify",
        before: verifies,
        right: |s| list(&[&[s.session.into()], &input(MESSAGE), &input(&s.signature())]),
        seen: |s, _| {
            verifies(s);
            let other = list(&[&[s.session.into()], &input(b"another"), &input(&s.signature())]);
            fails(s.probe.rv("C_Verify", other), CKR_SIGNATURE_INVALID);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong {
                what: "after a part",
                before: |s| {
                    verifies(s);
                    s.probe.update("C_VerifyUpdate", s.session, MESSAGE).unwrap();
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifyUpdate",
        before: verifies,
        right: |s| list(&[&[s.session.into()], &input(MESSAGE)]),
        seen: |s, _| s.probe.update("C_VerifyFinal", s.session, &s.signature()).unwrap(),
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifyFinal",
        before: |s| {
            verifies(s);
            s.probe.update("C_VerifyUpdate", s.session, MESSAGE).unwrap();
        },
        right: |s| list(&[&[s.session.into()], &input(&s.signature())]),
        seen: |s, _| {
            verifies(s);
            s.probe.update("C_VerifyUpdate", s.session, b"another").unwrap();
            fails(s.probe.update("C_VerifyFinal", s.session, &s.signature()), CKR_SIGNATURE_INVALID);
        },
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifySignatureInit",
        right: |s| [start(s, CKM_SHA256_RSA_PKCS, s.rsa.0), input(&s.signature()).to_vec()].concat(),
        seen: |s, _| s.probe.update("C_VerifySignature", s.session, MESSAGE).unwrap(),
        order: Order::Wrong(&[Wrong { what: "twice", before: verifies_signature, gives: CKR_OPERATION_ACTIVE }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_VerifySignature",
        before: verifies_signature,
        right: |s| list(&[&[s.session.into()], &input(MESSAGE)]),
        seen: |s, _| {
            verifies_signature(s);
            fails(s.probe.update("C_VerifySignature", s.session, b"another"), CKR_SIGNATURE_INVALID);
            // The length is said at the end, too: it is over.
            let short = [start(s, CKM_SHA256_RSA_PKCS, s.rsa.0), input(&s.signature()[1..]).to_vec()].concat();
            s.probe.rv("C_VerifySignatureInit", short).unwrap();
            fails(s.probe.update("C_VerifySignature", s.session, MESSAGE), CKR_SIGNATURE_LEN_RANGE);
        },
        order: Order::Wrong(&[
            NOTHING,
            // C_Verify has an operation of its own.
            Wrong { what: "after C_VerifyInit", before: verifies, gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong {
                what: "after a part",
                before: |s| {
                    verifies_signature(s);
                    s.probe.update("C_VerifySignatureUpdate", s.session, MESSAGE).unwrap();
                },
                gives: CKR_OPERATION_ACTIVE,
            },
        ]),
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifySignatureUpdate",
        before: verifies_signature,
        right: |s| list(&[&[s.session.into()], &input(MESSAGE)]),
        seen: |s, _| s.probe.rv("C_VerifySignatureFinal", vec![s.session.into()]).unwrap(),
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifySignatureFinal",
        before: |s| {
            verifies_signature(s);
            s.probe.update("C_VerifySignatureUpdate", s.session, MESSAGE).unwrap();
        },
        right: |s| vec![s.session.into()],
        seen: |s, _| {
            verifies_signature(s);
            s.probe.update("C_VerifySignatureUpdate", s.session, b"another").unwrap();
            fails(s.probe.rv("C_VerifySignatureFinal", vec![s.session.into()]), CKR_SIGNATURE_INVALID);
        },
        order: NOT_ACTIVE,
        handles: SESSION,
        ..ROW
    },
    Row {
        name: "C_VerifyRecoverInit",
        right: |s| start(s, CKM_RSA_X_509, s.rsa.0),
        seen: |s, _| assert!(part(s, "C_VerifyRecover", &s.signature()).starts_with(&[0, 1, 0xff])),
        order: Order::Wrong(&[Wrong {
            what: "twice",
            before: |s| s.init("C_VerifyRecoverInit", CKM_RSA_X_509, s.rsa.0),
            gives: CKR_OPERATION_ACTIVE,
        }]),
        handles: WITH_KEY,
        nulls: CANCELS,
        ..ROW
    },
    Row {
        name: "C_VerifyRecover",
        before: |s| s.init("C_VerifyRecoverInit", CKM_RSA_PKCS, s.rsa.0),
        right: |s| data(s, &s.signature()),
        seen: |s, left| assert!(result(left, 3).ends_with(&s.digest())),
        order: NOT_ACTIVE,
        handles: SESSION,
        short: Short::Enough,
        ..ROW
    },
    Row {
        name: "C_DigestEncryptUpdate",
        before: |s| {
            s.digest_init();
            s.init("C_EncryptInit", cbc(), s.aes);
        },
        right: |s| data(s, blocks()),
        seen: |s, left| {
            let digest = s.probe.finish("C_DigestFinal", s.session).unwrap();
            assert_eq!(digest, s.probe.digest(s.anchor, CKM_SHA256, blocks()).unwrap());
            assert_eq!(result(left, 3), s.ciphertext()[..64]);
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "with a digest only", before: |s| s.digest_init(), gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong { what: "with an encryption only", before: encrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DecryptDigestUpdate",
        before: |s| {
            s.digest_init();
            s.init("C_DecryptInit", cbc(), s.aes);
        },
        right: |s| data(s, &s.ciphertext()[..64]),
        seen: |s, left| {
            let digest = s.probe.finish("C_DigestFinal", s.session).unwrap();
            assert_eq!(digest, s.probe.digest(s.anchor, CKM_SHA256, blocks()).unwrap());
            assert_eq!(result(left, 3), blocks());
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "with a digest only", before: |s| s.digest_init(), gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong { what: "with a decryption only", before: decrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_SignEncryptUpdate",
        before: |s| {
            signs(s);
            s.init("C_EncryptInit", cbc(), s.aes);
        },
        right: |s| data(s, blocks()),
        seen: |s, left| {
            assert_eq!(result(left, 3), s.ciphertext()[..64]);
            let signature = s.probe.finish("C_SignFinal", s.session).unwrap();
            s.probe.verify(s.anchor, CKM_SHA256_RSA_PKCS, s.rsa.0, blocks(), &signature).unwrap();
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "with a signature only", before: signs, gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong { what: "with an encryption only", before: encrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
    Row {
        name: "C_DecryptVerifyUpdate",
        before: |s| {
            verifies(s);
            s.init("C_DecryptInit", cbc(), s.aes);
        },
        right: |s| data(s, &s.ciphertext()[..64]),
        seen: |s, left| {
            assert_eq!(result(left, 3), blocks());
            let signature = s.probe.sign(s.anchor, CKM_SHA256_RSA_PKCS, s.rsa.1, blocks()).unwrap();
            s.probe.update("C_VerifyFinal", s.session, &signature).unwrap();
        },
        order: Order::Wrong(&[
            NOTHING,
            Wrong { what: "with a verification only", before: verifies, gives: CKR_OPERATION_NOT_INITIALIZED },
            Wrong { what: "with a decryption only", before: decrypts, gives: CKR_OPERATION_NOT_INITIALIZED },
        ]),
        handles: SESSION,
        short: Short::Exact(1),
        ..ROW
    },
];
