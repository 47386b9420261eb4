//! What must not be possible with a key that wraps: every known way to read what it wrapped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{World, pin};
use model::{
    AttributeType as A, KeyType, Mechanism, MechanismType as M, ObjectClass, ObjectHandle, Output, Params,
    SessionHandle, Template, UserType, Value,
};
use token::info::AttributeValue;
use token::{Error, Library};

const POWERS: [A; 4] = [A::ENCRYPT, A::DECRYPT, A::WRAP, A::UNWRAP];

/// An AES key with exactly these powers.
fn aes(token: bool, powers: &[A]) -> Template {
    let template = Template::new().with(A::TOKEN, Value::Bool(token)).with(A::VALUE_LEN, Value::Ulong(16));
    POWERS.into_iter().fold(template, |template, ty| template.with(ty, Value::Bool(powers.contains(&ty))))
}

/// A session key that may be wrapped.
fn target(sensitive: bool) -> Template {
    Template::new()
        .with(A::VALUE_LEN, Value::Ulong(16))
        .with(A::SENSITIVE, Value::Bool(sensitive))
        .with(A::EXTRACTABLE, Value::Bool(true))
}

fn generated(library: &Library, session: SessionHandle, template: &Template) -> Result<ObjectHandle, Error> {
    library.generate_key(session, &Mechanism::plain(M::AES_KEY_GEN), template)
}

fn wrap(
    library: &Library,
    session: SessionHandle,
    ty: M,
    by: ObjectHandle,
    key: ObjectHandle,
) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; 512];
    let len = library.wrap_key(session, &Mechanism::plain(ty), by, key, Output::Buffer(&mut out))?;
    out.truncate(len);
    Ok(out)
}

fn change(ty: A, value: bool) -> Template {
    Template::new().with(ty, Value::Bool(value))
}

#[test]
fn a_key_with_every_power_wraps_what_can_be_read_and_nothing_else() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let open = generated(&library, session, &target(false)).unwrap();
    let hidden = generated(&library, session, &target(true)).unwrap();
    for token in [false, true] {
        for (powers, made) in [
            (&[A::WRAP, A::DECRYPT][..], false),
            (&[A::UNWRAP, A::ENCRYPT], false),
            (&[A::WRAP, A::DECRYPT, A::ENCRYPT], false),
            (&[A::WRAP, A::UNWRAP], true),
            (&[A::UNWRAP, A::DECRYPT], true),
            (&POWERS, true),
        ] {
            let key = generated(&library, session, &aes(token, powers));
            assert_eq!(key.is_ok(), made, "{powers:?}");
            assert!(key.is_ok() || matches!(key, Err(Error::TemplateInconsistent(_))));
        }
        let all = generated(&library, session, &aes(token, &POWERS)).unwrap();
        let blob = wrap(&library, session, M::AES_KEY_WRAP, all, open).unwrap();
        assert_eq!(wrap(&library, session, M::AES_KEY_WRAP, all, hidden), Err(Error::KeyNotWrappable));
        let kek = Mechanism::plain(M::AES_KEY_WRAP);
        let shown = target(false)
            .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
            .with(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
        let back = library.unwrap_key(session, &kek, all, &blob, &shown).unwrap();
        let value = |key| library.get_attributes(session, key, &[A::VALUE]).unwrap();
        assert!(matches!(&value(back)[0], AttributeValue::Value(value) if value.len() == 16));
        assert_eq!(value(back), value(open));
        // As long as it wraps, it goes on decrypting, in a copy too; what it gave up does not come back.
        let sly = change(A::DECRYPT, false);
        assert_eq!(library.set_attributes(session, all, &sly), Err(Error::AttributeReadOnly(A::DECRYPT)));
        assert_eq!(library.copy_object(session, all, &sly), Err(Error::AttributeReadOnly(A::DECRYPT)));
        library.set_attributes(session, all, &change(A::WRAP, false)).unwrap();
        let sly = change(A::WRAP, true);
        assert_eq!(library.set_attributes(session, all, &sly), Err(Error::AttributeReadOnly(A::WRAP)));
        assert_eq!(library.copy_object(session, all, &sly), Err(Error::AttributeReadOnly(A::WRAP)));
    }
    library.close();
}

#[test]
fn what_was_wrapped_is_not_unwrapped_into_the_light() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let hidden = generated(&library, session, &target(true)).unwrap();
    let class = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
    for token in [false, true] {
        let kek = generated(&library, session, &aes(token, &[A::WRAP, A::UNWRAP])).unwrap();
        let blob = wrap(&library, session, M::AES_KEY_WRAP, kek, hidden).unwrap();
        let mechanism = Mechanism::plain(M::AES_KEY_WRAP);
        let shown = class.clone().with(A::SENSITIVE, Value::Bool(false)).with(A::EXTRACTABLE, Value::Bool(true));
        let unwrap = |key, template: &Template| library.unwrap_key(session, &mechanism, key, &blob, template);
        assert!(matches!(unwrap(kek, &shown), Err(Error::TemplateInconsistent(_))));
        let copy =
            library.copy_object(session, kek, &change(A::WRAP, false).with(A::TOKEN, Value::Bool(token))).unwrap();
        assert!(matches!(unwrap(copy, &shown), Err(Error::TemplateInconsistent(_))));
        let grown = change(A::WRAP, false).with(A::DECRYPT, Value::Bool(true));
        assert_eq!(library.set_attributes(session, copy, &grown), Err(Error::AttributeReadOnly(A::DECRYPT)));
        let back = unwrap(kek, &class).unwrap();
        assert_eq!(library.get_attributes(session, back, &[A::VALUE]).unwrap(), [AttributeValue::Sensitive]);
        let loose = change(A::SENSITIVE, false);
        assert_eq!(library.set_attributes(session, back, &loose), Err(Error::AttributeReadOnly(A::SENSITIVE)));
        assert_eq!(library.copy_object(session, back, &loose), Err(Error::AttributeReadOnly(A::SENSITIVE)));
    }
    library.close();
}

#[test]
fn a_private_key_that_only_unwraps_decrypts_in_no_way() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let public = Template::new().with(A::MODULUS_BITS, Value::Ulong(2048)).with(A::WRAP, Value::Bool(true));
    let private = change(A::UNWRAP, true).with(A::DECRYPT, Value::Bool(false));
    let pair = Mechanism::plain(M::RSA_PKCS_KEY_PAIR_GEN);
    let (public, private) = library.generate_key_pair(session, &pair, &public, &private).unwrap();
    let hidden = generated(&library, session, &target(true)).unwrap();
    let blob = wrap(&library, session, M::RSA_PKCS, public, hidden).unwrap();
    let class = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
    let shown = class.clone().with(A::SENSITIVE, Value::Bool(false)).with(A::EXTRACTABLE, Value::Bool(true));
    let unwrap =
        |template: &Template| library.unwrap_key(session, &Mechanism::plain(M::RSA_PKCS), private, &blob, template);
    assert!(matches!(unwrap(&shown), Err(Error::TemplateInconsistent(_))));
    unwrap(&class).unwrap();
    let no = Err(Error::KeyFunctionNotPermitted);
    assert_eq!(library.decrypt_init(session, &Mechanism::plain(M::RSA_PKCS), private), no);
    assert_eq!(library.sign_init(session, &Mechanism::plain(M::RSA_X_509), private), no);
    assert_eq!(library.sign_recover_init(session, &Mechanism::plain(M::RSA_X_509), private), no);
    library.sign_init(session, &Mechanism::plain(M::SHA256_RSA_PKCS), private).unwrap();
    for (ty, value) in [(A::DECRYPT, true), (A::UNWRAP, false)] {
        assert_eq!(library.set_attributes(session, private, &change(ty, value)), Err(Error::AttributeReadOnly(ty)));
        assert_eq!(library.copy_object(session, private, &change(ty, value)), Err(Error::AttributeReadOnly(ty)));
    }
    library.close();
}

#[test]
fn trusted_keys_wrap_for_nobody_who_opens() {
    let world = World::with_token(&[]);
    let pair = Mechanism::plain(M::RSA_PKCS_KEY_PAIR_GEN);
    let mut publics = Vec::new();
    for decrypts in [true, false] {
        let (library, session) = world.logged_in();
        let public = change(A::TOKEN, true).with(A::MODULUS_BITS, Value::Ulong(2048)).with(A::WRAP, Value::Bool(true));
        let private = change(A::TOKEN, true).with(A::UNWRAP, Value::Bool(true)).with(A::DECRYPT, Value::Bool(decrypts));
        publics.push(library.generate_key_pair(session, &pair, &public, &private).unwrap().0);
        library.logout(session).unwrap();
        library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
        library.set_attributes(session, *publics.last().unwrap(), &change(A::TRUSTED, true)).unwrap();
        library.close();
    }
    let (library, session) = world.logged_in();
    let guarded = generated(&library, session, &target(true).with(A::WRAP_WITH_TRUSTED, Value::Bool(true))).unwrap();
    let wrap = |public| wrap(&library, session, M::RSA_PKCS, public, guarded);
    assert_eq!(wrap(publics[0]), Err(Error::KeyNotWrappable), "its private key decrypts");
    wrap(publics[1]).unwrap();
    let own = Template::new().with(A::MODULUS_BITS, Value::Ulong(2048)).with(A::WRAP, Value::Bool(true));
    let (own, _) = library.generate_key_pair(session, &pair, &own, &change(A::UNWRAP, true)).unwrap();
    assert_eq!(wrap(own), Err(Error::KeyNotWrappable), "nobody trusts it");
    library.close();
}

#[test]
fn a_sensitive_key_is_not_taken_apart() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let secret = |sensitive: bool, value: &[u8]| {
        let template = Template::new()
            .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
            .with(A::KEY_TYPE, Value::Ulong(KeyType::GENERIC_SECRET.0))
            .with(A::SENSITIVE, Value::Bool(sensitive))
            .with(A::EXTRACTABLE, Value::Bool(true))
            .with(A::VALUE, Value::Bytes(value.to_vec()));
        library.create_object(session, &template).unwrap()
    };
    let (hidden, open) = (secret(true, b"sixteen letters!"), secret(false, b"sixteen numbers."));
    let derive = |ty, params, base, len: Option<u64>| {
        let template = len.map_or(Template::new(), |len| Template::new().with(A::VALUE_LEN, Value::Ulong(len)));
        library.derive_key(session, &Mechanism { ty, params }, base, &template).map(drop)
    };
    let data = |len: usize| Params::Data(vec![7; len]);
    for (base, cut) in [(hidden, Err(Error::KeySizeRange)), (open, Ok(()))] {
        assert_eq!(derive(M::CONCATENATE_BASE_AND_DATA, data(4), base, Some(1)), cut);
        assert_eq!(derive(M::CONCATENATE_DATA_AND_BASE, data(16), base, Some(17)), cut);
        assert_eq!(derive(M::CONCATENATE_BASE_AND_KEY, Params::Key(open), base, Some(17)), cut);
        assert_eq!(derive(M::XOR_BASE_AND_DATA, data(1), base, None), cut);
        assert_eq!(derive(M::XOR_BASE_AND_DATA, data(16), base, Some(1)), cut);
        assert_eq!(derive(M::CONCATENATE_BASE_AND_DATA, data(4), base, None), Ok(()));
        assert_eq!(derive(M::CONCATENATE_DATA_AND_BASE, data(4), base, Some(20)), Ok(()));
        assert_eq!(derive(M::XOR_BASE_AND_DATA, data(16), base, None), Ok(()));
    }
    assert_eq!(derive(M::CONCATENATE_BASE_AND_KEY, Params::Key(hidden), open, Some(17)), Err(Error::KeySizeRange));
    // What is told of the past is so of both parts.
    let template = Template::new().with(A::VALUE_LEN, Value::Ulong(16)).with(A::SENSITIVE, Value::Bool(true));
    let made = || library.generate_key(session, &Mechanism::plain(M::GENERIC_SECRET_KEY_GEN), &template).unwrap();
    let (one, two) = (made(), made());
    for (first, second, always) in [(one, two, true), (one, open, false), (open, one, false)] {
        let mechanism = Mechanism { ty: M::CONCATENATE_BASE_AND_KEY, params: Params::Key(second) };
        let joined = library.derive_key(session, &mechanism, first, &Template::new()).unwrap();
        for ty in [A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE] {
            let found = library.get_attributes(session, joined, &[ty]).unwrap();
            assert_eq!(found, [AttributeValue::Value(vec![u8::from(always)])], "{ty:?}");
        }
    }
    library.close();
}

/// The value of the other key goes into the result as the base's does: it must be a key to derive from.
#[test]
fn the_second_part_of_a_concatenation_must_derive_too() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let made = |derives| {
        let template = target(false).with(A::DERIVE, Value::Bool(derives));
        library.generate_key(session, &Mechanism::plain(M::GENERIC_SECRET_KEY_GEN), &template).unwrap()
    };
    let (base, mute) = (made(true), made(false));
    let joined = |first, second| {
        let mechanism = Mechanism { ty: M::CONCATENATE_BASE_AND_KEY, params: Params::Key(second) };
        library.derive_key(session, &mechanism, first, &Template::new()).map(drop)
    };
    assert_eq!(joined(base, base), Ok(()));
    assert_eq!(joined(base, mute), Err(Error::KeyFunctionNotPermitted));
    assert_eq!(joined(base, ObjectHandle(9)), Err(Error::KeyHandleInvalid));
    library.close();
}

/// By its mechanisms a key says that what is derived from it stays as hidden as it is itself.
#[test]
fn a_key_for_hkdf_alone_makes_nothing_that_can_be_read() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let made = |mechanisms: Vec<M>| {
        let template = Template::new()
            .with(A::VALUE_LEN, Value::Ulong(32))
            .with(A::ALLOWED_MECHANISMS, Value::Mechanisms(mechanisms));
        library.generate_key(session, &Mechanism::plain(M::HKDF_KEY_GEN), &template).unwrap()
    };
    let params =
        |salt| Params::Hkdf { extract: true, expand: true, hash: base::digest::Hash::Sha256, salt, info: vec![1] };
    let derive = |ty, key, salt, template: Template| {
        let mechanism = Mechanism { ty, params: params(salt) };
        library.derive_key(session, &mechanism, key, &template.with(A::VALUE_LEN, Value::Ulong(32)))
    };
    let shown = || change(A::SENSITIVE, false).with(A::EXTRACTABLE, Value::Bool(true));
    let (strict, usual) = (made(vec![M::HKDF_DERIVE]), made(vec![M::HKDF_DERIVE, M::HKDF_DATA]));
    let null = || model::HkdfSalt::Null;
    derive(M::HKDF_DERIVE, usual, null(), shown()).unwrap();
    derive(M::HKDF_DATA, usual, null(), Template::new()).unwrap();
    for (ty, template) in [(M::HKDF_DERIVE, shown()), (M::HKDF_DERIVE, change(A::EXTRACTABLE, true))] {
        let refused = derive(ty, strict, null(), template);
        assert!(matches!(refused, Err(Error::TemplateInconsistent(_))), "{refused:?}");
    }
    assert_eq!(derive(M::HKDF_DATA, strict, null(), Template::new()), Err(Error::MechanismInvalid));
    assert!(library.sign_init(session, &Mechanism::plain(M::SHA256_HMAC), strict).is_err());
    let guarded = derive(M::HKDF_DERIVE, strict, null(), Template::new()).unwrap();
    assert_eq!(library.get_attributes(session, guarded, &[A::VALUE]).unwrap(), [AttributeValue::Sensitive]);
    // Nor as the salt of another.
    let open = library
        .create_object(
            session,
            &shown()
                .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
                .with(A::KEY_TYPE, Value::Ulong(KeyType::HKDF.0))
                .with(A::VALUE, Value::Bytes(vec![1; 32])),
        )
        .unwrap();
    let refused = derive(M::HKDF_DERIVE, open, model::HkdfSalt::Key(strict), shown());
    assert!(matches!(refused, Err(Error::TemplateInconsistent(_))), "{refused:?}");
    library.close();
}

/// What pkcs11-tool and libp11 ask for when they agree on a secret; and what is wrong is said before the TPM is asked.
#[test]
fn rights_that_a_key_cannot_use_are_no_matter() {
    let world = World::with_token(&["ecc256"]);
    let (library, session) = world.logged_in();
    let private = common::find(&library, session, ObjectClass::PRIVATE_KEY, "ecc256");
    let public = common::find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
    let AttributeValue::Value(point) = library.get_attributes(session, public, &[A::EC_POINT]).unwrap().remove(0)
    else {
        panic!("no point");
    };
    let params = Params::Ecdh { kdf: model::Kdf::Null, shared: Vec::new(), public: point };
    let mechanism = Mechanism { ty: M::ECDH1_DERIVE, params };
    let shown = change(A::SENSITIVE, false).with(A::EXTRACTABLE, Value::Bool(true));
    let asked = |key_type: KeyType, powers: &[A]| {
        let template = shown.clone().with(A::KEY_TYPE, Value::Ulong(key_type.0));
        powers.iter().fold(template, |template, ty| template.with(*ty, Value::Bool(true)))
    };
    for powers in [&POWERS[..], &[A::WRAP, A::DECRYPT]] {
        library.derive_key(session, &mechanism, private, &asked(KeyType::GENERIC_SECRET, powers)).unwrap();
    }
    world.proxy.mark();
    let both = asked(KeyType::AES, &[A::WRAP, A::DECRYPT]);
    let refused = library.derive_key(session, &mechanism, private, &both);
    assert!(matches!(refused, Err(Error::TemplateInconsistent(_))));
    let odd = asked(KeyType::AES, &[]).with(A::VALUE_LEN, Value::Ulong(17));
    assert_eq!(library.derive_key(session, &mechanism, private, &odd), Err(Error::KeySizeRange));
    let kept = asked(KeyType::AES, &[]).with(A::TOKEN, Value::Bool(true)).with(A::VALUE_LEN, Value::Ulong(16));
    let refused = library.derive_key(session, &mechanism, private, &kept);
    assert!(matches!(refused, Err(Error::TemplateInconsistent(_))));
    world.marked(&[]);
    library.close();
}
