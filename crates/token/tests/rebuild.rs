//! A private key without its public object: what clients still see, and how the object comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use admin::{Admin, Pin};
use common::{World, find, pin};
use model::{AttributeType as A, Mechanism, MechanismType as M, ObjectClass, ObjectHandle, Output, SessionHandle};
use token::info::AttributeValue;
use token::{Error, Library};

fn read(library: &Library, session: SessionHandle, object: ObjectHandle, types: &[A]) -> Vec<AttributeValue> {
    library.get_attributes(session, object, types).unwrap()
}

#[test]
fn a_lost_public_key_is_seen_in_the_private_one_and_comes_back() {
    let world = World::with_token(&["rsa2048", "ecc521"]);
    for (label, half, mechanism) in [
        ("rsa2048", vec![A::MODULUS, A::PUBLIC_EXPONENT, A::PUBLIC_KEY_INFO], M::SHA256_RSA_PKCS),
        ("ecc521", vec![A::EC_PARAMS, A::EC_POINT, A::PUBLIC_KEY_INFO], M::ECDSA_SHA256),
    ] {
        let (library, session) = world.logged_in();
        let private = find(&library, session, ObjectClass::PRIVATE_KEY, label);
        let public = find(&library, session, ObjectClass::PUBLIC_KEY, label);
        let all: Vec<A> = model::ATTRIBUTES.iter().map(|row| row.ty).filter(|ty| *ty != A::UNIQUE_ID).collect();
        let before = read(&library, session, public, &all);
        library.destroy_object(session, public).unwrap();
        let shown = read(&library, session, private, &half);
        assert!(shown.iter().all(|value| matches!(value, AttributeValue::Value(bytes) if !bytes.is_empty())));
        library.close();

        let admin = Admin::open(world.config.clone()).unwrap();
        let number = private.0.cast_signed();
        let user = Pin::User(pin("userpin"));
        let none = admin.rebuild_public("server", &user, public.0.cast_signed()).map(drop);
        assert!(matches!(none, Err(Error::ArgumentsBad(_))));
        let so = admin.rebuild_public("server", &Pin::So(pin("sopin")), number).map(drop);
        assert!(matches!(so, Err(Error::PinInvalid(_))));
        let wrong = admin.rebuild_public("server", &Pin::User(pin("wrong")), number).map(drop);
        assert_eq!(wrong, Err(Error::PinIncorrect));
        drop(admin);
        let admin = Admin::open(world.config.clone()).unwrap();
        world.proxy.mark();
        let made = admin.rebuild_public("server", &user, number).unwrap().handle();
        world.marked(&["StartAuthSession", "Load", "Unseal", "FlushContext"]);
        let again = admin.rebuild_public("server", &user, number).map(drop);
        assert!(matches!(again, Err(Error::ArgumentsBad(_))));
        drop(admin);

        let (library, session) = world.logged_in();
        assert_eq!(find(&library, session, ObjectClass::PUBLIC_KEY, label), made);
        assert_eq!(read(&library, session, made, &all), before, "{label}");
        assert_eq!(read(&library, session, made, &half), shown);
        let mut signature = [0; 512];
        library.sign_init(session, &Mechanism::plain(mechanism), private).unwrap();
        let len = library.sign(session, b"letter", Output::Buffer(&mut signature)).unwrap();
        library.verify_init(session, &Mechanism::plain(mechanism), made).unwrap();
        library.verify(session, b"letter", &signature[..len]).unwrap();
        library.close();
    }
}
