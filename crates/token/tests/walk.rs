//! One walk through every room: a store, a token, keys, signatures, on a software TPM.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use admin::Admin;
use base::digest::Hash;
use common::{World, find, pin};
use model::{
    AttributeType, Mechanism, MechanismType, ObjectClass, ObjectHandle, Output, Params, SessionHandle, Template,
    UserType, Value,
};
use swtpm_fixtures::leftovers;
use token::{Error, Library};

fn sign(library: &Library, session: SessionHandle, mechanism: &Mechanism, key: ObjectHandle, data: &[u8]) -> Vec<u8> {
    library.sign_init(session, mechanism, key).unwrap();
    let len = library.sign(session, data, Output::Length).unwrap();
    let mut signature = vec![0; len];
    assert_eq!(library.sign(session, data, Output::Buffer(&mut signature)), Ok(len));
    signature
}

#[test]
fn a_cold_life_is_seven_commands_and_leaves_nothing() {
    let world = World::with_token(&["ecc256"]);
    world.proxy.mark();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    assert_eq!(library.token_info(slot).unwrap().label, "server");
    let session = library.open_session(slot, false).unwrap();
    let public = find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
    world.marked(&[]);
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    world.marked(&["StartAuthSession", "Load", "Unseal", "FlushContext"]);
    let key = find(&library, session, ObjectClass::PRIVATE_KEY, "ecc256");
    let mechanism = Mechanism::plain(MechanismType::ECDSA_SHA256);
    let signature = sign(&library, session, &mechanism, key, b"data");
    world.marked(&["Load", "Sign"]);
    library.verify_init(session, &mechanism, public).unwrap();
    library.verify(session, b"data", &signature).unwrap();
    library.close();
    world.marked(&["FlushContext"]);
    let left = leftovers(&world.tpm);
    assert!(left.transient.is_empty() && left.loaded_sessions.is_empty(), "{left:?}");
}

#[test]
fn every_key_type_signs_and_the_signature_verifies() {
    let world = World::with_token(&["rsa2048", "ecc256", "ecc384", "ecc521"]);
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    let pss = |hash, salt_len| Params::Pss { hash, mgf: hash, salt_len };
    let cases = [
        ("rsa2048", MechanismType::SHA256_RSA_PKCS, Params::None),
        ("rsa2048", MechanismType::SHA512_RSA_PKCS_PSS, pss(Hash::Sha512, 64)),
        ("rsa2048", MechanismType::SHA1_RSA_PKCS_PSS, pss(Hash::Sha1, 0)),
        ("rsa2048", MechanismType::RSA_PKCS, Params::None),
        ("rsa2048", MechanismType::RSA_X_509, Params::None),
        ("ecc256", MechanismType::ECDSA, Params::None),
        ("ecc384", MechanismType::ECDSA_SHA1, Params::None),
        ("ecc384", MechanismType::ECDSA_SHA384, Params::None),
        ("ecc521", MechanismType::ECDSA_SHA512, Params::None),
        ("ecc521", MechanismType::ECDSA, Params::None),
    ];
    for (label, ty, params) in cases {
        let mechanism = Mechanism { ty, params };
        let (public, private) = (
            find(&library, session, ObjectClass::PUBLIC_KEY, label),
            find(&library, session, ObjectClass::PRIVATE_KEY, label),
        );
        let signature = sign(&library, session, &mechanism, private, b"some data to be signed");
        library.verify_init(session, &mechanism, public).unwrap();
        library.verify(session, b"some data to be signed", &signature).unwrap();
        library.verify_init(session, &mechanism, public).unwrap();
        assert_eq!(library.verify(session, b"other data", &signature), Err(Error::SignatureInvalid), "{ty}");
    }
    library.close();
}

#[test]
fn what_is_encrypted_is_decrypted() {
    let world = World::with_token(&["rsa2048"]);
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    let public = find(&library, session, ObjectClass::PUBLIC_KEY, "rsa2048");
    let private = find(&library, session, ObjectClass::PRIVATE_KEY, "rsa2048");
    let oaep = |hash, mgf, label: &[u8]| Params::Oaep { hash, mgf, label: label.to_vec() };
    let cases = [
        (MechanismType::RSA_PKCS, Params::None),
        (MechanismType::RSA_PKCS_OAEP, oaep(Hash::Sha256, Hash::Sha256, b"")),
        (MechanismType::RSA_PKCS_OAEP, oaep(Hash::Sha256, Hash::Sha256, b"zero at the end\0")),
        (MechanismType::RSA_PKCS_OAEP, oaep(Hash::Sha512, Hash::Sha1, b"a label")),
    ];
    for (ty, params) in cases {
        let mechanism = Mechanism { ty, params };
        library.encrypt_init(session, &mechanism, public).unwrap();
        let mut cipher = vec![0; 256];
        assert_eq!(library.encrypt(session, b"secret", Output::Buffer(&mut cipher)), Ok(256));
        library.decrypt_init(session, &mechanism, private).unwrap();
        let mut short = [0; 3];
        world.proxy.mark();
        assert_eq!(
            library.decrypt(session, &cipher, Output::Buffer(&mut short)),
            Err(Error::BufferTooSmall { needed: 6 })
        );
        world.proxy.mark();
        let mut plain = [0; 6];
        assert_eq!(library.decrypt(session, &cipher, Output::Buffer(&mut plain)), Ok(6), "{mechanism:?}");
        assert_eq!(&plain, b"secret");
        world.marked(&[]);
        if ty == MechanismType::RSA_PKCS_OAEP {
            cipher[100] ^= 1;
            library.decrypt_init(session, &mechanism, private).unwrap();
            let mut plain = [0; 256];
            assert_eq!(library.decrypt(session, &cipher, Output::Buffer(&mut plain)), Err(Error::EncryptedDataInvalid));
        }
    }
    library.close();
}

#[test]
fn pins_are_changed_and_reset_and_the_security_officer_uses_no_key() {
    let world = World::with_token(&["ecc256"]);
    let admin = Admin::open(world.config.clone()).unwrap();
    admin.change_pin("server", UserType::User, &pin("userpin"), &pin("second")).unwrap();
    assert_eq!(admin.verify("server", None, Some(&pin("userpin"))).unwrap_err(), Error::PinIncorrect);
    admin.change_pin("server", UserType::So, &pin("sopin"), &pin("second so")).unwrap();
    admin.init_pin("server", &pin("second so"), &pin("third")).unwrap();
    let report = admin.verify("server", Some(&pin("second so")), Some(&pin("third"))).unwrap();
    assert_eq!(
        (report.so_pin, report.user_pin, report.objects.len(), report.altered),
        (Some(true), Some(true), 2, vec![])
    );
    drop(admin);

    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    library.login(session, UserType::So, Some(pin("second so"))).unwrap();
    library.find_init(session, &Template::new()).unwrap();
    assert_eq!(library.find(session, 10).unwrap().len(), 1, "the public key only");
    library.close();
}

#[test]
fn a_token_is_initialised_through_the_interface() {
    let world = World::new();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    assert_eq!(library.open_session(slot, true), Err(Error::TokenNotRecognized));
    let mut label = [b' '; 32];
    label[..5].copy_from_slice(b"fresh");
    library.init_token(slot, Some(pin("sopin")), &label).unwrap();
    assert_eq!(library.slot_list(true).unwrap().len(), 2);
    let session = library.open_session(slot, true).unwrap();
    assert_eq!(library.login(session, UserType::User, Some(pin("userpin"))), Err(Error::UserPinNotInitialized));
    library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
    library.init_pin(session, Some(pin("userpin"))).unwrap();
    library.logout(session).unwrap();
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    let public = Template::new()
        .with(AttributeType::TOKEN, Value::Bool(true))
        .with(AttributeType::EC_PARAMS, Value::Bytes(base::curve::Curve::P256.oid_der().to_vec()));
    let private = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
    world.proxy.mark();
    library.generate_key_pair(session, &Mechanism::plain(MechanismType::EC_KEY_PAIR_GEN), &public, &private).unwrap();
    assert!(world.proxy.mark().len() <= 2);
    assert_eq!(library.init_token(slot, Some(pin("sopin")), &label), Err(Error::SessionExists));
    library.close_all_sessions(slot).unwrap();
    assert_eq!(library.init_token(slot, Some(pin("wrong")), &label), Err(Error::PinIncorrect));
    library.init_token(slot, Some(pin("sopin")), &label).unwrap();
    let session = library.open_session(slot, true).unwrap();
    library.find_init(session, &Template::new()).unwrap();
    assert!(library.find(session, 10).unwrap().is_empty(), "wiped");
    library.close();
}
