//! Somebody else's client, the `cryptoki` crate, with its own idea of every structure; and RustCrypto as the judge.
//!
//! The environment that leads to the module's store is the process's. So each test is two processes: the one that the test
//! runner starts makes a world, and runs the same test again in it.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use rsa::signature::Verifier;
use rsa::signature::hazmat::PrehashVerifier;
use rsa::{Oaep, Pkcs1v15Encrypt, RsaPublicKey};
use sha2::Digest;
use tests::product;
use tests::world::{Run, World};

const INSIDE: &str = "TESTS_INSIDE_A_WORLD";

/// Runs `body` in a process of its own, in a world of its own. `name` is the test's.
fn in_a_world(name: &str, body: impl FnOnce(&Pkcs11)) {
    if std::env::var_os(INSIDE).is_some() {
        let module = Pkcs11::new(product::module()).unwrap();
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        body(&module);
        module.finalize().unwrap();
        return;
    }
    let world = World::new();
    let mut command = world.command(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    command.env("TPM2_CRYPTOKI_MODULE", product::module()).env("TPM2_CRYPTOKI_PTOOL", product::ptool());
    let run = Run::of(&mut command);
    assert!(run.success() && run.text().contains("1 passed"), "{run:?}\n--- log\n{}", world.log());
    world.assert_clean();
}

fn slot_of(module: &Pkcs11, label: &str) -> Slot {
    let slots = module.get_slots_with_initialized_token().unwrap();
    slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == label).unwrap()
}

fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.into())
}

fn user(module: &Pkcs11) -> Session {
    let session = module.open_rw_session(slot_of(module, "alpha")).unwrap();
    session.login(UserType::User, Some(&pin("user-alpha"))).unwrap();
    session
}

fn key(session: &Session, class: ObjectClass, label: &str) -> ObjectHandle {
    let template = [Attribute::Class(class), Attribute::Label(label.into())];
    match session.find_objects(&template).unwrap().as_slice() {
        [key] => *key,
        other => panic!("{label}: {other:?}"),
    }
}

fn value(session: &Session, object: ObjectHandle, ty: AttributeType) -> Vec<u8> {
    match session.get_attributes(object, &[ty]).unwrap().remove(0) {
        Attribute::Modulus(value) | Attribute::PublicExponent(value) | Attribute::EcPoint(value) => value,
        other => panic!("{other:?}"),
    }
}

fn rsa_public(session: &Session, label: &str) -> RsaPublicKey {
    let public = key(session, ObjectClass::PUBLIC_KEY, label);
    let number = |ty| rsa::BigUint::from_bytes_be(&value(session, public, ty));
    RsaPublicKey::new(number(AttributeType::Modulus), number(AttributeType::PublicExponent)).unwrap()
}

/// The point without the DER OCTET STRING around it.
fn point(session: &Session, object: ObjectHandle) -> Vec<u8> {
    let der = value(session, object, AttributeType::EcPoint);
    assert_eq!(der[0], 4);
    let header = if der[1] < 0x80 { 2 } else { 3 };
    assert_eq!(usize::from(der[header - 1]), der.len() - header);
    der[header..].to_vec()
}

#[test]
fn slots_tokens_and_mechanisms() {
    in_a_world("slots_tokens_and_mechanisms", |module| {
        let info = module.get_library_info().unwrap();
        assert_eq!(info.manufacturer_id(), "tpm2-cryptoki");
        assert!(info.cryptoki_version().major() >= 2);
        assert_eq!(module.get_slots_with_token().unwrap().len(), 4);
        assert_eq!(module.get_slots_with_initialized_token().unwrap().len(), 3);
        let slot = slot_of(module, "alpha");
        let token = module.get_token_info(slot).unwrap();
        assert!(token.login_required() && token.user_pin_initialized() && token.rng() && !token.write_protected());
        assert!(matches!(token.max_session_count(), cryptoki::slot::Limit::Max(4096)));
        assert_eq!(token.free_private_memory(), None);
        for mechanism in module.get_mechanism_list(slot).unwrap() {
            module.get_mechanism_info(slot, mechanism).unwrap();
        }
        let info = module.get_mechanism_info(slot, MechanismType::ECDSA).unwrap();
        assert!(info.sign() && info.verify() && info.hardware() && !info.decrypt());
        assert_eq!((info.min_key_size(), info.max_key_size()), (224, 521));
    });
}

#[test]
fn sessions_and_login() {
    in_a_world("sessions_and_login", |module| {
        let slot = slot_of(module, "alpha");
        let session = module.open_ro_session(slot).unwrap();
        assert_eq!(session.get_session_info().unwrap().session_state(), SessionState::RoPublic);
        let wrong = session.login(UserType::User, Some(&pin("wrong-pin")));
        assert!(matches!(wrong, Err(Error::Pkcs11(RvError::PinIncorrect, _))), "{wrong:?}");
        session.login(UserType::User, Some(&pin("user-alpha"))).unwrap();
        assert_eq!(session.get_session_info().unwrap().session_state(), SessionState::RoUser);
        session.logout().unwrap();
        session.close().unwrap();

        let session = module.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&pin("so-alpha"))).unwrap();
        session.init_pin(&pin("another-pin")).unwrap();
        session.logout().unwrap();
        session.set_pin(&pin("another-pin"), &pin("a-third-pin")).unwrap();
        session.login(UserType::User, Some(&pin("a-third-pin"))).unwrap();
    });
}

#[test]
fn rsa_signatures() {
    in_a_world("rsa_signatures", |module| {
        let session = user(module);
        for label in ["rsa", "rsa3072"] {
            let private = key(&session, ObjectClass::PRIVATE_KEY, label);
            let public = rsa_public(&session, label);
            let signature = session.sign(&Mechanism::Sha256RsaPkcs, private, b"message").unwrap();
            let verifier = rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(public.clone());
            verifier.verify(b"message", &signature.as_slice().try_into().unwrap()).unwrap();

            let info = [
                &b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"[..],
                &sha2::Sha512::digest(b"message"),
            ]
            .concat();
            let signature = session.sign(&Mechanism::RsaPkcs, private, &info).unwrap();
            let verifier = rsa::pkcs1v15::VerifyingKey::<sha2::Sha512>::new(public.clone());
            verifier.verify(b"message", &signature.as_slice().try_into().unwrap()).unwrap();

            let params =
                PkcsPssParams { hash_alg: MechanismType::SHA384, mgf: PkcsMgfType::MGF1_SHA384, s_len: 48.into() };
            let digest = sha2::Sha384::digest(b"message");
            for (mechanism, data) in
                [(Mechanism::Sha384RsaPkcsPss(params), &b"message"[..]), (Mechanism::RsaPkcsPss(params), &digest)]
            {
                let signature = session.sign(&mechanism, private, data).unwrap();
                let verifier = rsa::pss::VerifyingKey::<sha2::Sha384>::new(public.clone());
                verifier.verify(b"message", &signature.as_slice().try_into().unwrap()).unwrap();
                session.verify(&mechanism, key(&session, ObjectClass::PUBLIC_KEY, label), data, &signature).unwrap();
            }
        }
    });
}

#[test]
fn rsa_decryption() {
    in_a_world("rsa_decryption", |module| {
        let session = user(module);
        let private = key(&session, ObjectClass::PRIVATE_KEY, "rsa");
        let public = rsa_public(&session, "rsa");
        let mut rng = p256::elliptic_curve::rand_core::OsRng;
        let cipher = public.encrypt(&mut rng, Pkcs1v15Encrypt, b"secret").unwrap();
        assert_eq!(session.decrypt(&Mechanism::RsaPkcs, private, &cipher).unwrap(), b"secret");

        let oaep = |hash, mgf, label| Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mgf, label));
        let cipher = public.encrypt(&mut rng, Oaep::new::<sha2::Sha256>(), b"secret").unwrap();
        let mechanism = oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, PkcsOaepSource::empty());
        assert_eq!(session.decrypt(&mechanism, private, &cipher).unwrap(), b"secret");
        let cipher = public
            .encrypt(&mut rng, Oaep::new_with_mgf_hash_and_label::<sha2::Sha512, sha1::Sha1, _>("label"), b"secret")
            .unwrap();
        let mechanism = oaep(MechanismType::SHA512, PkcsMgfType::MGF1_SHA1, PkcsOaepSource::data_specified(b"label"));
        assert_eq!(session.decrypt(&mechanism, private, &cipher).unwrap(), b"secret");
        let own = session.encrypt(&mechanism, key(&session, ObjectClass::PUBLIC_KEY, "rsa"), b"other").unwrap();
        assert_eq!(session.decrypt(&mechanism, private, &own).unwrap(), b"other");
    });
}

#[test]
fn ecdsa_signatures() {
    in_a_world("ecdsa_signatures", |module| {
        let session = user(module);
        let pair = |label: &str| {
            let private = key(&session, ObjectClass::PRIVATE_KEY, label);
            (private, point(&session, key(&session, ObjectClass::PUBLIC_KEY, label)))
        };
        let (private, point) = pair("p256");
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = session.sign(&Mechanism::EcdsaSha256, private, b"message").unwrap();
        verifier.verify(b"message", &p256::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();
        let digest = sha2::Sha512::digest(b"message");
        let signature = session.sign(&Mechanism::Ecdsa, private, &digest).unwrap();
        verifier.verify_prehash(&digest, &p256::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();

        let (private, point) = pair("p384");
        let verifier = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = session.sign(&Mechanism::EcdsaSha384, private, b"message").unwrap();
        verifier.verify(b"message", &p384::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();

        let (private, point) = pair("p521");
        let verifier = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = session.sign(&Mechanism::EcdsaSha512, private, b"message").unwrap();
        verifier.verify(b"message", &p521::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();
    });
}

#[test]
fn digests_and_random_numbers() {
    in_a_world("digests_and_random_numbers", |module| {
        let session = module.open_ro_session(slot_of(module, "beta")).unwrap();
        assert_eq!(session.digest(&Mechanism::Sha1, b"message").unwrap(), sha1::Sha1::digest(b"message").as_slice());
        session.digest_init(&Mechanism::Sha384).unwrap();
        session.digest_update(b"mess").unwrap();
        session.digest_update(b"age").unwrap();
        assert_eq!(session.digest_final().unwrap(), sha2::Sha384::digest(b"message").as_slice());
        assert_ne!(session.generate_random_vec(32).unwrap(), session.generate_random_vec(32).unwrap());
        session.seed_random(b"seed").unwrap();
    });
}

#[test]
fn key_pairs_are_made_and_destroyed() {
    in_a_world("key_pairs_are_made_and_destroyed", |module| {
        let session = user(module);
        let p256 = vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::KeyType(KeyType::EC),
            Attribute::Verify(true),
            Attribute::EcParams(p256.clone()),
            Attribute::Label(b"made".to_vec()),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Label(b"made".to_vec()),
        ];
        let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
        assert_eq!(
            (key(&session, ObjectClass::PUBLIC_KEY, "made"), key(&session, ObjectClass::PRIVATE_KEY, "made")),
            (public, private)
        );
        let asked =
            [AttributeType::EcParams, AttributeType::Extractable, AttributeType::Local, AttributeType::KeyGenMechanism];
        let attributes = session.get_attributes(private, &asked).unwrap();
        let expected = [
            Attribute::EcParams(p256),
            Attribute::Extractable(false),
            Attribute::Local(true),
            Attribute::KeyGenMechanism(MechanismType::ECC_KEY_PAIR_GEN),
        ];
        assert_eq!(attributes, expected);
        let info = session
            .get_attribute_info(private, &[AttributeType::Value, AttributeType::Label, AttributeType::Modulus])
            .unwrap();
        assert!(
            matches!(info[..], [AttributeInfo::Sensitive, AttributeInfo::Available(4), AttributeInfo::TypeInvalid]),
            "{info:?}"
        );

        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point(&session, public)).unwrap();
        session.sign_init(&Mechanism::EcdsaSha256, private).unwrap();
        session.sign_update(b"mess").unwrap();
        session.sign_update(b"age").unwrap();
        let signature = session.sign_final().unwrap();
        verifier.verify(b"message", &p256::ecdsa::Signature::from_slice(&signature).unwrap()).unwrap();

        session.destroy_object(private).unwrap();
        session.destroy_object(public).unwrap();
        assert_eq!(session.find_objects(&[Attribute::Label(b"made".to_vec())]).unwrap(), []);
    });
}

#[test]
fn a_token_from_nothing() {
    in_a_world("a_token_from_nothing", |module| {
        let slots = module.get_slots_with_token().unwrap();
        let slot = *slots.iter().find(|slot| !module.get_token_info(**slot).unwrap().token_initialized()).unwrap();
        module.init_token(slot, &pin("officer"), "from nothing").unwrap();
        let session = module.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&pin("officer"))).unwrap();
        session.init_pin(&pin("user-pin")).unwrap();
        session.logout().unwrap();
        session.login(UserType::User, Some(&pin("user-pin"))).unwrap();
        let public =
            [Attribute::Token(true), Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
        let (public, private) =
            session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &[Attribute::Token(true)]).unwrap();
        let signature = session.sign(&Mechanism::Sha512RsaPkcs, private, b"message").unwrap();
        session.verify(&Mechanism::Sha512RsaPkcs, public, b"message", &signature).unwrap();
    });
}
