//! Messages signed and verified one after another with one key, on a software TPM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use admin::{Admin, KeyRequest, Pin};
use base::digest::Hash;
use common::{World, find, pin};
use model::{
    AttributeType as A, KeyType, Mechanism, MechanismType as M, ObjectClass, ObjectHandle, Ops, Output, Params,
    SessionHandle, Template, UserType, Value,
};
use token::{Error, Library};

fn sign(library: &Library, session: SessionHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; 512];
    let len = library.sign_message(session, message, Output::Buffer(&mut out))?;
    out.truncate(len);
    Ok(out)
}

fn sign_in_parts(library: &Library, session: SessionHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    library.sign_message_begin(session)?;
    let (last, parts) = message.split_last().unwrap();
    for part in parts.chunks(3) {
        assert_eq!(library.sign_message_next(session, part, None), Ok(0));
    }
    let mut out = vec![0; 512];
    let len = library.sign_message_next(session, &[*last], Some(Output::Buffer(&mut out)))?;
    out.truncate(len);
    Ok(out)
}

fn mechanisms() -> [(&'static str, Mechanism); 3] {
    [
        ("rsa2048", Mechanism { ty: M::SHA256_RSA_PKCS_PSS, params: pss() }),
        ("ecc256", Mechanism::plain(M::ECDSA_SHA256)),
        ("rsa2048", Mechanism::plain(M::SHA512_RSA_PKCS)),
    ]
}

fn pss() -> Params {
    Params::Pss { hash: Hash::Sha256, mgf: Hash::Sha256, salt_len: 32 }
}

#[test]
fn one_key_signs_many_messages() {
    let world = World::with_token(&["rsa2048", "ecc256"]);
    let (library, session) = world.logged_in();
    for (label, mechanism) in mechanisms() {
        let key = |class| find(&library, session, class, label);
        let (private, public) = (key(ObjectClass::PRIVATE_KEY), key(ObjectClass::PUBLIC_KEY));
        library.message_sign_init(session, &mechanism, private).unwrap();
        assert_eq!(library.message_sign_init(session, &mechanism, private), Err(Error::OperationActive));
        library.message_verify_init(session, &mechanism, public).unwrap();
        // What is signed in one way is verified in the other, and by the functions for one signature.
        for message in [&b"first"[..], b"and a second one", b"and a third, somewhat longer than the others"] {
            let whole = sign(&library, session, message).unwrap();
            let parts = sign_in_parts(&library, session, message).unwrap();
            for signature in [&whole, &parts] {
                library.verify_message(session, message, signature).unwrap();
                assert_eq!(library.verify_message(session, b"another", signature), Err(Error::SignatureInvalid));
                library.verify_message_begin(session).unwrap();
                for byte in &message[1..] {
                    library.verify_message_next(session, &[*byte], None).unwrap();
                }
                // The first letter is missing.
                let short = library.verify_message_next(session, &[], Some(signature));
                assert_eq!(short, Err(Error::SignatureInvalid));
                library.verify_message_begin(session).unwrap();
                library.verify_message_next(session, &message[..2], None).unwrap();
                library.verify_message_next(session, &message[2..], Some(signature)).unwrap();
                library.verify_init(session, &mechanism, public).unwrap();
                library.verify(session, message, signature).unwrap();
            }
        }
        library.message_sign_final(session).unwrap();
        library.message_verify_final(session).unwrap();
        assert_eq!(library.message_sign_final(session), Err(Error::OperationNotInitialized));
        assert_eq!(sign(&library, session, b"late"), Err(Error::OperationNotInitialized));
    }
    library.close();
}

#[test]
fn codes_are_messages_too() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let template = |token: bool| {
        Template::new()
            .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
            .with(A::KEY_TYPE, Value::Ulong(KeyType::GENERIC_SECRET.0))
            .with(A::TOKEN, Value::Bool(token))
            .with(A::VALUE, Value::Bytes(vec![7; 32]))
    };
    for token in [false, true] {
        let key = library.create_object(session, &template(token)).unwrap();
        let mechanism = Mechanism::plain(M::SHA256_HMAC);
        library.message_sign_init(session, &mechanism, key).unwrap();
        library.message_verify_init(session, &mechanism, key).unwrap();
        for message in [&b"first"[..], b"second"] {
            let code = Hash::Sha256.hmac(&[7; 32], &[message]);
            assert_eq!(sign(&library, session, message).unwrap(), code.expose());
            assert_eq!(sign_in_parts(&library, session, message).unwrap(), code.expose());
            library.verify_message(session, message, code.expose()).unwrap();
        }
        library.cancel(session, Ops::MESSAGE_SIGN | Ops::MESSAGE_VERIFY, false).unwrap();
        assert_eq!(sign(&library, session, b"late"), Err(Error::OperationNotInitialized));
        assert_eq!(library.verify_message(session, b"late", &[0; 32]), Err(Error::OperationNotInitialized));
    }
    library.close();
}

#[test]
fn lengths_cost_nothing_and_order_matters() {
    let world = World::with_token(&["ecc256"]);
    let (library, session) = world.logged_in();
    let private = find(&library, session, ObjectClass::PRIVATE_KEY, "ecc256");
    let mechanism = Mechanism::plain(M::ECDSA_SHA256);
    assert_eq!(library.sign_message_begin(session), Err(Error::OperationNotInitialized));
    library.message_sign_init(session, &mechanism, private).unwrap();
    assert_eq!(library.sign_message_next(session, b"part", None), Err(Error::OperationNotInitialized));
    sign(&library, session, b"the key is loaded now").unwrap();
    world.proxy.mark();
    let short = Err(Error::BufferTooSmall { needed: 64 });
    assert_eq!(library.sign_message(session, b"letter", Output::Length), Ok(64));
    assert_eq!(library.sign_message(session, b"letter", Output::Buffer(&mut [0; 63])), short);
    library.sign_message_begin(session).unwrap();
    assert_eq!(library.sign_message_begin(session), Err(Error::OperationActive));
    assert_eq!(sign(&library, session, b"whole"), Err(Error::OperationActive));
    library.sign_message_next(session, b"let", None).unwrap();
    assert_eq!(library.sign_message_next(session, b"ter", Some(Output::Length)), Ok(64));
    assert_eq!(library.sign_message_next(session, b"ter", Some(Output::Buffer(&mut [0; 63]))), short);
    world.marked(&[]);
    let mut signature = [0; 64];
    library.sign_message_next(session, b"ter", Some(Output::Buffer(&mut signature))).unwrap();
    assert_eq!(world.proxy.mark().names().iter().filter(|name| **name == "Sign").count(), 1);
    let public = find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
    library.verify_init(session, &mechanism, public).unwrap();
    library.verify(session, b"letter", &signature).unwrap();
    // The end of the login ends it.
    library.logout(session).unwrap();
    assert_eq!(sign(&library, session, b"late"), Err(Error::OperationNotInitialized));
    library.close();
}

#[test]
fn a_careful_key_wants_a_login_for_each_message() {
    let world = World::with_token(&[]);
    let admin = Admin::open(world.config.clone()).unwrap();
    let request = KeyRequest {
        label: "server".to_owned(),
        pin: Pin::User(pin("userpin")),
        algorithm: "ecc256".parse().unwrap(),
        key_label: Some("careful".to_owned()),
        id: None,
        always_authenticate: true,
        backup: None,
    };
    let key: ObjectHandle = admin.add_key(&request).unwrap().private.handle();
    drop(admin);
    let (library, session) = world.logged_in();
    library.message_sign_init(session, &Mechanism::plain(M::ECDSA_SHA256), key).unwrap();
    for _ in 0..2 {
        assert_eq!(sign(&library, session, b"unasked"), Err(Error::UserNotLoggedIn));
        library.login(session, UserType::ContextSpecific, Some(pin("userpin"))).unwrap();
        sign(&library, session, b"asked").unwrap();
    }
    library.close();
}
