//! Profile objects: found when asked for, the same for everybody, changed by nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::World;
use model::{
    AttributeType as A, CertificateType, ObjectClass, ObjectHandle, ProfileId, SessionHandle, Template, UserType, Value,
};
use token::info::AttributeValue;
use token::{Error, Library};

fn search(library: &Library, session: SessionHandle, template: &Template) -> Vec<ObjectHandle> {
    library.find_init(session, template).unwrap();
    let found = library.find(session, 100).unwrap();
    library.find_final(session).unwrap();
    found
}

fn of_class(class: ObjectClass) -> Template {
    Template::new().with(A::CLASS, Value::Ulong(class.0))
}

fn native(value: Value) -> AttributeValue {
    AttributeValue::Value(value.to_native())
}

fn claims(library: &Library, session: SessionHandle, profile: ProfileId) -> bool {
    let template = of_class(ObjectClass::PROFILE).with(A::PROFILE_ID, Value::Ulong(profile.0));
    search(library, session, &template).len() == 1
}

#[test]
fn they_are_found_read_and_left_alone() {
    let world = World::with_token(&[]);
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    let found = search(&library, session, &of_class(ObjectClass::PROFILE));
    assert_eq!(found.len(), 5);
    for other in [Template::new(), Template::new().with(A::TOKEN, Value::Bool(true)), of_class(ObjectClass::DATA)] {
        assert!(search(&library, session, &other).is_empty(), "found by who did not ask for them");
    }
    for user in [None, Some((UserType::User, "userpin")), Some((UserType::So, "sopin"))] {
        if let Some((user, pin)) = user {
            library.login(session, user, Some(common::pin(pin))).unwrap();
        }
        assert_eq!(search(&library, session, &of_class(ObjectClass::PROFILE)), found, "{user:?}");
        for handle in &found {
            let all = [A::CLASS, A::TOKEN, A::PRIVATE, A::MODIFIABLE, A::COPYABLE, A::DESTROYABLE];
            let [yes, no] = [true, false].map(|value| native(Value::Bool(value)));
            let wanted = [native(Value::Ulong(ObjectClass::PROFILE.0)), yes, no.clone(), no.clone(), no.clone(), no];
            assert_eq!(library.get_attributes(session, *handle, &all).unwrap(), wanted);
            assert!(library.object_size(session, *handle).unwrap() > 0);
            let rename = Template::new().with(A::LABEL, Value::Bytes(b"mine".to_vec()));
            assert_eq!(library.set_attributes(session, *handle, &rename), Err(Error::ActionProhibited));
            assert_eq!(library.copy_object(session, *handle, &rename), Err(Error::ActionProhibited));
            assert_eq!(library.destroy_object(session, *handle), Err(Error::ActionProhibited));
        }
        if user.is_some() {
            library.logout(session).unwrap();
        }
    }
    let ids = found.iter().map(|handle| library.get_attributes(session, *handle, &[A::PROFILE_ID]).unwrap().remove(0));
    let claimed = [
        ProfileId::BASELINE_PROVIDER,
        ProfileId::EXTENDED_PROVIDER,
        ProfileId::AUTHENTICATION_TOKEN,
        ProfileId::HKDF_TLS_TOKEN,
        ProfileId::PUBLIC_CERTIFICATES_TOKEN,
    ];
    let mut ids: Vec<_> = ids.collect();
    ids.sort_by_key(|value| format!("{value:?}"));
    let mut wanted = claimed.map(|id| native(Value::Ulong(id.0)));
    wanted.sort_by_key(|value| format!("{value:?}"));
    assert_eq!(ids, wanted);
    let made = of_class(ObjectClass::PROFILE).with(A::PROFILE_ID, Value::Ulong(5));
    assert_eq!(library.create_object(session, &made), Err(Error::AttributeValueInvalid(A::CLASS)));
    library.close();
}

/// The parts of a certificate that this token looks at.
fn certificate(spki: &[u8]) -> Vec<u8> {
    let (serial, empty) = (base::der::integer(&[7]), base::der::sequence(&[]));
    let signed = base::der::sequence(&[&serial, &empty, &empty, &empty, &empty, spki]);
    base::der::sequence(&[&signed, &empty, &base::der::bit_string(&[0])])
}

#[test]
fn certificates_are_public_and_go_with_their_keys_or_the_claim_goes() {
    let world = World::with_token(&["ecc256"]);
    let (library, session) = world.logged_in();
    let public = common::find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
    let read = |ty| match library.get_attributes(session, public, &[ty]).unwrap().remove(0) {
        AttributeValue::Value(value) => value,
        other => panic!("{other:?}"),
    };
    let (spki, id) = (read(A::PUBLIC_KEY_INFO), read(A::ID));
    let write = |id: &[u8], private: bool| {
        let template = of_class(ObjectClass::CERTIFICATE)
            .with(A::CERTIFICATE_TYPE, Value::Ulong(CertificateType::X_509.0))
            .with(A::TOKEN, Value::Bool(true))
            .with(A::PRIVATE, Value::Bool(private))
            .with(A::ID, Value::Bytes(id.to_vec()))
            .with(A::VALUE, Value::Bytes(certificate(&spki)));
        library.create_object(session, &template).unwrap()
    };
    let claimed = || claims(&library, session, ProfileId::PUBLIC_CERTIFICATES_TOKEN);
    assert!(claimed());
    let good = write(&id, false);
    assert!(claimed());
    let info = library.get_attributes(session, good, &[A::PUBLIC_KEY_INFO]).unwrap();
    assert_eq!(info, [AttributeValue::Value(spki.clone())]);
    for (id, private) in [(&b"another id"[..], false), (&id, true)] {
        let bad = write(id, private);
        assert!(!claimed());
        library.destroy_object(session, bad).unwrap();
        assert!(claimed());
    }
    library.destroy_object(session, public).unwrap();
    assert!(!claimed(), "without a login, neither half of the pair is found");
    library.close();
}

#[test]
fn a_public_key_without_its_point_is_incomplete() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let key = of_class(ObjectClass::PUBLIC_KEY)
        .with(A::KEY_TYPE, Value::Ulong(model::KeyType::EC.0))
        .with(A::EC_PARAMS, Value::Bytes(base::curve::Curve::P256.oid_der().to_vec()));
    assert_eq!(library.create_object(session, &key), Err(Error::TemplateIncomplete(A::EC_POINT)));
    let bad = key.with(A::EC_POINT, Value::Bytes(vec![4; 65]));
    assert_eq!(library.create_object(session, &bad), Err(Error::AttributeValueInvalid(A::EC_POINT)));
    library.close();
}

#[test]
fn a_public_key_info_in_a_template_must_be_true() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let spki = base::der::sequence(&[&base::der::integer(&[1])]);
    let template = |info: &[u8]| {
        of_class(ObjectClass::CERTIFICATE)
            .with(A::CERTIFICATE_TYPE, Value::Ulong(CertificateType::X_509.0))
            .with(A::VALUE, Value::Bytes(certificate(&spki)))
            .with(A::PUBLIC_KEY_INFO, Value::Bytes(info.to_vec()))
    };
    for info in [&spki[..], &[]] {
        let made = library.create_object(session, &template(info)).unwrap();
        let info = library.get_attributes(session, made, &[A::PUBLIC_KEY_INFO]).unwrap();
        assert_eq!(info, [AttributeValue::Value(spki.clone())]);
    }
    let refused = Err(Error::AttributeValueInvalid(A::PUBLIC_KEY_INFO));
    assert_eq!(library.create_object(session, &template(b"another key")), refused);
    library.close();
}
