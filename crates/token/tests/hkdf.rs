//! HKDF into keys and data, with keys in memory and in the TPM, on a software TPM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use base::digest::Hash;
use common::World;
use model::{
    AttributeType as A, HkdfSalt, KeyType, Mechanism, MechanismType as M, ObjectClass, ObjectHandle, Params,
    SessionHandle, Template, Value,
};
use token::info::AttributeValue;
use token::{Error, Library};

fn secret(key_type: KeyType, token: bool, value: &[u8]) -> Template {
    Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(key_type.0))
        .with(A::TOKEN, Value::Bool(token))
        .with(A::SENSITIVE, Value::Bool(token))
        .with(A::EXTRACTABLE, Value::Bool(!token))
        .with(A::VALUE, Value::Bytes(value.to_vec()))
}

fn data(len: u64) -> Template {
    Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::DATA.0))
        .with(A::TOKEN, Value::Bool(false))
        .with(A::VALUE_LEN, Value::Ulong(len))
}

fn readable(len: u64) -> Template {
    Template::new()
        .with(A::SENSITIVE, Value::Bool(false))
        .with(A::EXTRACTABLE, Value::Bool(true))
        .with(A::VALUE_LEN, Value::Ulong(len))
}

fn hkdf(ty: M, extract: bool, expand: bool, salt: HkdfSalt, info: &[u8]) -> Mechanism {
    Mechanism { ty, params: Params::Hkdf { extract, expand, hash: Hash::Sha256, salt, info: info.to_vec() } }
}

fn value_of(library: &Library, session: SessionHandle, object: ObjectHandle) -> Vec<u8> {
    match &library.get_attributes(session, object, &[A::VALUE]).unwrap()[0] {
        AttributeValue::Value(value) => value.clone(),
        other => panic!("{other:?}"),
    }
}

/// RFC 5869, A.1.
const OKM: [u8; 42] = [
    0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a, 0x2d, 0x2d, 0x0a,
    0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf, 0x34, 0x00, 0x72, 0x08, 0xd5, 0xb8,
    0x87, 0x18, 0x58, 0x65,
];

#[test]
fn the_rfc_into_keys_and_data() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let salt: Vec<u8> = (0..=12).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    for key_type in [KeyType::GENERIC_SECRET, KeyType::HKDF] {
        let base = library.create_object(session, &secret(key_type, false, &[0x0b; 22])).unwrap();
        let salt_key = library.create_object(session, &secret(key_type, false, &salt)).unwrap();
        for salt in [HkdfSalt::Data(salt.clone()), HkdfSalt::Key(salt_key)] {
            let key = hkdf(M::HKDF_DERIVE, true, true, salt.clone(), &info);
            let key = library.derive_key(session, &key, base, &readable(42)).unwrap();
            assert_eq!(value_of(&library, session, key), OKM);
            let made = hkdf(M::HKDF_DATA, true, true, salt, &info);
            let made = library.derive_key(session, &made, base, &data(42)).unwrap();
            assert_eq!(value_of(&library, session, made), OKM);
            let class = library.get_attributes(session, made, &[A::CLASS, A::TOKEN, A::VALUE_LEN]).unwrap();
            let native = |value: Value| AttributeValue::Value(value.to_native());
            let wanted =
                [native(Value::Ulong(ObjectClass::DATA.0)), native(Value::Bool(false)), AttributeValue::Unknown];
            assert_eq!(class, wanted);
        }
        // Without a salt, the salt is zeros.
        let prk = hkdf(M::HKDF_DATA, true, false, HkdfSalt::Null, &[]);
        let prk = library.derive_key(session, &prk, base, &Template::new()).unwrap();
        assert_eq!(value_of(&library, session, prk), Hash::Sha256.hmac(&[0; 32], &[&[0x0b; 22]]).expose());
    }
    library.close();
}

#[test]
fn a_key_in_the_tpm_expands_and_salts() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let (value, input) = ([0x5a; 32], [0x33; 16]);
    let kept = library.create_object(session, &secret(KeyType::HKDF, true, &value)).unwrap();
    let open = library.create_object(session, &secret(KeyType::HKDF, false, &value)).unwrap();
    let base = library.create_object(session, &secret(KeyType::GENERIC_SECRET, false, &input)).unwrap();
    let derive = |mechanism: &Mechanism, base| {
        library.derive_key(session, mechanism, base, &readable(80)).map(|key| value_of(&library, session, key))
    };
    let expand = hkdf(M::HKDF_DERIVE, false, true, HkdfSalt::Null, b"info");
    let expected = derive(&expand, open).unwrap();
    assert_eq!(expected.len(), 80);
    assert_eq!(derive(&expand, kept).unwrap(), expected);
    let salted = |salt| hkdf(M::HKDF_DERIVE, true, true, HkdfSalt::Key(salt), b"info");
    assert_eq!(derive(&salted(kept), base).unwrap(), derive(&salted(open), base).unwrap());
    // What the TPM keeps is the message of no code.
    assert_eq!(derive(&salted(open), kept), Err(Error::KeyFunctionNotPermitted));
    library.close();
}

#[test]
fn what_is_asked_must_make_sense() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let base = library.create_object(session, &secret(KeyType::HKDF, false, &[1; 32])).unwrap();
    let mute = secret(KeyType::HKDF, false, &[1; 32]).with(A::DERIVE, Value::Bool(false));
    let mute = library.create_object(session, &mute).unwrap();
    let derive = |extract, expand, salt, base, template: &Template| {
        library.derive_key(session, &hkdf(M::HKDF_DATA, extract, expand, salt, b""), base, template).map(drop)
    };
    let null = || HkdfSalt::Null;
    assert_eq!(derive(true, true, null(), mute, &data(8)), Err(Error::KeyFunctionNotPermitted));
    assert_eq!(derive(true, true, HkdfSalt::Key(mute), base, &data(8)), Err(Error::KeyFunctionNotPermitted));
    assert_eq!(derive(true, true, HkdfSalt::Key(ObjectHandle(9)), base, &data(8)), Err(Error::KeyHandleInvalid));
    assert!(matches!(derive(false, false, null(), base, &data(8)), Err(Error::MechanismParamInvalid(_))));
    assert_eq!(derive(true, true, null(), base, &Template::new()), Err(Error::TemplateIncomplete(A::VALUE_LEN)));
    assert_eq!(derive(true, true, null(), base, &data(255 * 32 + 1)), Err(Error::KeySizeRange));
    assert_eq!(derive(true, true, null(), base, &data(0)), Err(Error::KeySizeRange));
    assert_eq!(derive(true, false, null(), base, &data(33)), Err(Error::KeySizeRange));
    assert_eq!(derive(true, true, null(), base, &data(255 * 32)), Ok(()));
    let given = data(8).with(A::VALUE, Value::Bytes(vec![1]));
    assert_eq!(derive(true, true, null(), base, &given), Err(Error::AttributeReadOnly(A::VALUE)));
    let key =
        Template::new().with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)).with(A::VALUE_LEN, Value::Ulong(8));
    assert!(matches!(derive(true, true, null(), base, &key), Err(Error::TemplateInconsistent(_))));
    library.close();
}

#[test]
fn data_on_the_token_and_keys_made_for_hkdf() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let template = readable(32).with(A::TOKEN, Value::Bool(false));
    let base = library.generate_key(session, &Mechanism::plain(M::HKDF_KEY_GEN), &template).unwrap();
    let key_type = library.get_attributes(session, base, &[A::KEY_TYPE]).unwrap();
    assert_eq!(key_type[0], AttributeValue::Value(Value::Ulong(KeyType::HKDF.0).to_native()));
    let kept = Template::new().with(A::TOKEN, Value::Bool(true)).with(A::VALUE_LEN, Value::Ulong(32));
    let kept = library.generate_key(session, &Mechanism::plain(M::HKDF_KEY_GEN), &kept).unwrap();
    for (base, private) in [(base, true), (base, false), (kept, true)] {
        let mechanism = hkdf(M::HKDF_DATA, false, true, HkdfSalt::Null, b"a note");
        let template = Template::new()
            .with(A::TOKEN, Value::Bool(true))
            .with(A::PRIVATE, Value::Bool(private))
            .with(A::VALUE_LEN, Value::Ulong(24));
        let made = library.derive_key(session, &mechanism, base, &template).unwrap();
        let value = value_of(&library, session, made);
        assert_eq!(value.len(), 24);
        let bytes = std::fs::read(world.config.store_file()).unwrap();
        assert_eq!(bytes.windows(24).any(|window| window == value), !private, "in clear only if it is public");
    }
    library.logout(session).unwrap();
    library.close();
}
