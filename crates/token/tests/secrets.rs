//! Secret keys, imported keys, derivation and wrapping, on a software TPM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use base::Secret;
use base::aes::{self, Direction, MemoryKey, Mode};
use base::curve::Curve;
use base::digest::Hash;
use common::{World, find};
use model::{
    AttributeType as A, HkdfSalt, Kdf, KeyType, Mechanism, MechanismType as M, ObjectClass, ObjectHandle, Output,
    Params, SessionHandle, Template, Value,
};
use token::info::AttributeValue;
use token::{Error, Library};

fn secret(key_type: KeyType, token: bool, value: Option<&[u8]>) -> Template {
    let mut template = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(key_type.0))
        .with(A::TOKEN, Value::Bool(token))
        .with(A::SENSITIVE, Value::Bool(token))
        .with(A::EXTRACTABLE, Value::Bool(!token));
    if let Some(value) = value {
        template.push(A::VALUE, value.to_vec());
    }
    template
}

fn value_of(library: &Library, session: SessionHandle, key: ObjectHandle) -> Vec<u8> {
    match &library.get_attributes(session, key, &[A::VALUE]).unwrap()[0] {
        AttributeValue::Value(value) => value.clone(),
        other => panic!("{other:?}"),
    }
}

fn crypt(
    library: &Library,
    session: SessionHandle,
    mechanism: &Mechanism,
    key: ObjectHandle,
    data: &[u8],
    encrypt: bool,
) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; data.len() + 64];
    let len = if encrypt {
        library.encrypt_init(session, mechanism, key)?;
        library.encrypt(session, data, Output::Buffer(&mut out))?
    } else {
        library.decrypt_init(session, mechanism, key)?;
        library.decrypt(session, data, Output::Buffer(&mut out))?
    };
    out.truncate(len);
    Ok(out)
}

fn in_parts(
    library: &Library,
    session: SessionHandle,
    mechanism: &Mechanism,
    key: ObjectHandle,
    data: &[u8],
    encrypt: bool,
) -> Vec<u8> {
    let mut all = Vec::new();
    let mut out = vec![0; data.len() + 64];
    if encrypt {
        library.encrypt_init(session, mechanism, key).unwrap()
    } else {
        library.decrypt_init(session, mechanism, key).unwrap()
    }
    for part in data.chunks(7) {
        let len = if encrypt {
            library.encrypt_update(session, part, Output::Buffer(&mut out)).unwrap()
        } else {
            library.decrypt_update(session, part, Output::Buffer(&mut out)).unwrap()
        };
        all.extend_from_slice(&out[..len]);
    }
    let len = if encrypt {
        library.encrypt_final(session, Output::Buffer(&mut out)).unwrap()
    } else {
        library.decrypt_final(session, Output::Buffer(&mut out)).unwrap()
    };
    all.extend_from_slice(&out[..len]);
    all
}

#[test]
fn aes_in_the_tpm_and_in_memory_agree_with_software() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let value: Vec<u8> = (0..32).collect();
    let memory = MemoryKey::new(&Secret::copy_from(&value)).unwrap();
    let iv = [9; 16];
    for token in [false, true] {
        let key = library.create_object(session, &secret(KeyType::AES, token, Some(&value))).unwrap();
        for (ty, params, mode) in [
            (M::AES_ECB, Params::None, Mode::Ecb),
            (M::AES_CBC, Params::Iv(iv), Mode::Cbc),
            (M::AES_CTR, Params::Counter { bits: 128, block: iv }, Mode::Ctr),
            (M::AES_CFB128, Params::Iv(iv), Mode::Cfb),
            (M::AES_OFB, Params::Iv(iv), Mode::Ofb),
        ] {
            let mechanism = Mechanism { ty, params };
            for len in [16, 64, 3008] {
                let plain = vec![5; len];
                let expected = aes::AesKey::run(&memory, mode, Direction::Encrypt, &mut iv.clone(), &plain).unwrap();
                let cipher = crypt(&library, session, &mechanism, key, &plain, true).unwrap();
                assert_eq!(cipher, expected.expose(), "{ty} {len} {token}");
                assert_eq!(in_parts(&library, session, &mechanism, key, &plain, true), cipher, "{ty} {len} {token}");
                assert_eq!(crypt(&library, session, &mechanism, key, &cipher, false).unwrap(), plain);
                assert_eq!(in_parts(&library, session, &mechanism, key, &cipher, false), plain);
            }
            let odd = crypt(&library, session, &mechanism, key, &[1; 17], true);
            if mode.takes_part_blocks() {
                assert_eq!(crypt(&library, session, &mechanism, key, &odd.unwrap(), false).unwrap(), [1; 17]);
            } else {
                assert_eq!(odd, Err(Error::DataLenRange));
            }
        }
        let pad = Mechanism { ty: M::AES_CBC_PAD, params: Params::Iv(iv) };
        let gcm =
            Mechanism { ty: M::AES_GCM, params: Params::Gcm { iv: vec![3; 12], aad: b"aad".to_vec(), tag_bits: 128 } };
        for len in [0, 1, 15, 16, 17, 2000] {
            let plain = vec![6; len];
            for mechanism in [&pad, &gcm] {
                let cipher = crypt(&library, session, mechanism, key, &plain, true).unwrap();
                assert_eq!(crypt(&library, session, mechanism, key, &cipher, false).unwrap(), plain);
                assert_eq!(in_parts(&library, session, mechanism, key, &cipher, false), plain);
                assert_eq!(in_parts(&library, session, mechanism, key, &plain, true), cipher);
                let mut bad = cipher.clone();
                *bad.last_mut().unwrap() ^= 0x80;
                assert_eq!(crypt(&library, session, mechanism, key, &bad, false), Err(Error::EncryptedDataInvalid));
            }
        }
        let cmac = Mechanism::plain(M::AES_CMAC);
        library.sign_init(session, &cmac, key).unwrap();
        let mut tag = [0; 16];
        assert_eq!(library.sign(session, b"message", Output::Buffer(&mut tag)), Ok(16));
        assert_eq!(tag, aes::cmac(&memory, b"message").unwrap());
        library.verify_init(session, &cmac, key).unwrap();
        library.verify(session, b"message", &tag).unwrap();
        library.verify_init(session, &cmac, key).unwrap();
        assert_eq!(library.verify(session, b"massage", &tag), Err(Error::SignatureInvalid));
    }
    library.close();
}

#[test]
fn hmac_of_any_length_everywhere() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let value = b"a key of some length";
    for token in [false, true] {
        let key = library.create_object(session, &secret(KeyType::GENERIC_SECRET, token, Some(value))).unwrap();
        for (ty, hash) in [(M::SHA_1_HMAC, Hash::Sha1), (M::SHA256_HMAC, Hash::Sha256), (M::SHA512_HMAC, Hash::Sha512)]
        {
            for len in [0, 100, 5000] {
                let data = vec![1; len];
                library.sign_init(session, &Mechanism::plain(ty), key).unwrap();
                let mut code = vec![0; hash.len()];
                library.sign(session, &data, Output::Buffer(&mut code)).unwrap();
                assert_eq!(code, hash.hmac(value, &[&data]).expose(), "{ty} {len} {token}");
            }
        }
        let short = Mechanism { ty: M::SHA256_HMAC_GENERAL, params: Params::MacLen(10) };
        library.sign_init(session, &short, key).unwrap();
        library.sign_update(session, b"da").unwrap();
        library.sign_update(session, b"ta").unwrap();
        let mut code = [0; 10];
        assert_eq!(library.sign_final(session, Output::Buffer(&mut code)), Ok(10));
        assert_eq!(code, Hash::Sha256.hmac(value, &[b"data"]).expose()[..10]);
        let long = Mechanism { ty: M::SHA256_HMAC_GENERAL, params: Params::MacLen(33) };
        assert!(matches!(library.sign_init(session, &long, key), Err(Error::MechanismParamInvalid(_))));
    }
    library.close();
}

#[test]
fn keys_are_generated_where_they_stay() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    for token in [false, true] {
        for (ty, key_type, len) in [
            (M::AES_KEY_GEN, KeyType::AES, 16),
            (M::GENERIC_SECRET_KEY_GEN, KeyType::GENERIC_SECRET, 20),
            (M::GENERIC_SECRET_KEY_GEN, KeyType::GENERIC_SECRET, 32),
        ] {
            let template = secret(key_type, token, None).with(A::VALUE_LEN, Value::Ulong(len));
            let key = library.generate_key(session, &Mechanism::plain(ty), &template).unwrap();
            let found = library.get_attributes(session, key, &[A::VALUE, A::LOCAL, A::VALUE_LEN]).unwrap();
            match (&found[0], token) {
                (AttributeValue::Value(value), false) => assert_eq!(value.len() as u64, len),
                (AttributeValue::Sensitive, true) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(found[1], AttributeValue::Value(vec![1]));
        }
    }
    let extractable =
        secret(KeyType::AES, false, None).with(A::VALUE_LEN, Value::Ulong(16)).with(A::TOKEN, Value::Bool(false));
    library.generate_key(session, &Mechanism::plain(M::AES_KEY_GEN), &extractable).unwrap();
    let odd = secret(KeyType::AES, false, None).with(A::VALUE_LEN, Value::Ulong(17));
    assert_eq!(library.generate_key(session, &Mechanism::plain(M::AES_KEY_GEN), &odd), Err(Error::KeySizeRange));
    let both = secret(KeyType::AES, false, None)
        .with(A::VALUE_LEN, Value::Ulong(16))
        .with(A::WRAP, Value::Bool(true))
        .with(A::DECRYPT, Value::Bool(true));
    assert!(matches!(
        library.generate_key(session, &Mechanism::plain(M::AES_KEY_GEN), &both),
        Err(Error::TemplateInconsistent(_))
    ));
    library.close();
}

#[test]
fn two_parties_derive_the_same_secret() {
    let world = World::with_token(&["ecc256", "ecc521"]);
    let (library, session) = world.logged_in();
    for (label, curve) in [("ecc256", Curve::P256), ("ecc521", Curve::P521)] {
        let own = find(&library, session, ObjectClass::PRIVATE_KEY, label);
        // The other party is a key that was brought in.
        let d = Secret::copy_from(&[&[0][..], &vec![0x11; curve.field_len() - 1]].concat());
        let other = base::curve::EcPublic::of_private(curve, &d).unwrap();
        let imported = Template::new()
            .with(A::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0))
            .with(A::KEY_TYPE, Value::Ulong(KeyType::EC.0))
            .with(A::EC_PARAMS, Value::Bytes(curve.oid_der().to_vec()))
            .with(A::VALUE, Value::Bytes(d.expose().to_vec()));
        let imported = library.create_object(session, &imported).unwrap();
        let own_public = match &library.get_attributes(session, own, &[A::EC_POINT]).unwrap()[0] {
            AttributeValue::Value(point) => point.clone(),
            other => panic!("{other:?}"),
        };
        for kdf in [Kdf::Null, Kdf::X963(Hash::Sha256)] {
            let template = secret(KeyType::GENERIC_SECRET, false, None).with(A::VALUE_LEN, Value::Ulong(32));
            let ecdh = |public: Vec<u8>| Mechanism {
                ty: M::ECDH1_DERIVE,
                params: Params::Ecdh { kdf, shared: b"info".to_vec(), public },
            };
            let ours = library.derive_key(session, &ecdh(other.point()), own, &template).unwrap();
            let theirs = library.derive_key(session, &ecdh(own_public.clone()), imported, &template).unwrap();
            assert_eq!(value_of(&library, session, ours), value_of(&library, session, theirs), "{label}");
        }
        let bad = Mechanism {
            ty: M::ECDH1_DERIVE,
            params: Params::Ecdh { kdf: Kdf::Null, shared: vec![], public: vec![4; 65] },
        };
        assert!(matches!(
            library.derive_key(session, &bad, own, &Template::new()),
            Err(Error::MechanismParamInvalid(_))
        ));
    }
    library.close();
}

#[test]
fn imported_keys_sign_and_decrypt() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let make = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -outform DER";
    let pem = std::process::Command::new("sh").args(["-c", make]).output().unwrap();
    let key = base::private::PrivateKey::from_pkcs8(&Secret::new(pem.stdout.clone())).unwrap();
    let base::private::PrivateKey::Rsa { public, p } = key else { panic!("not RSA") };
    for token in [false, true] {
        let private = Template::new()
            .with(A::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0))
            .with(A::KEY_TYPE, Value::Ulong(KeyType::RSA.0))
            .with(A::TOKEN, Value::Bool(token))
            .with(A::MODULUS, Value::Bytes(public.n().to_vec()))
            .with(A::PUBLIC_EXPONENT, Value::Bytes(public.e().to_vec()))
            .with(A::PRIME_1, Value::Bytes(p.expose().to_vec()));
        let private = library.create_object(session, &private).unwrap();
        library.sign_init(session, &Mechanism::plain(M::SHA256_RSA_PKCS), private).unwrap();
        let mut signature = [0; 256];
        library.sign(session, b"data", Output::Buffer(&mut signature)).unwrap();
        let block = public.raw(&signature).unwrap();
        assert!(block.ends_with(&Hash::Sha256.digest(&[b"data"])));
        assert_eq!(library.get_attributes(session, private, &[A::PRIME_1]).unwrap()[0], AttributeValue::Sensitive);
    }
    // Wrapped in PKCS #8 under AES, and unwrapped into the TPM.
    let kek = secret(KeyType::AES, false, Some(&[1; 32]))
        .with(A::UNWRAP, Value::Bool(true))
        .with(A::DECRYPT, Value::Bool(true));
    let kek = library.create_object(session, &kek).unwrap();
    let memory = MemoryKey::new(&Secret::copy_from(&[1; 32])).unwrap();
    let wrapped = aes::wrap_pad(&memory, &pem.stdout).unwrap();
    let template = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(KeyType::RSA.0));
    let unwrapped =
        library.unwrap_key(session, &Mechanism::plain(M::AES_KEY_WRAP_KWP), kek, &wrapped, &template).unwrap();
    library.sign_init(session, &Mechanism::plain(M::SHA256_RSA_PKCS), unwrapped).unwrap();
    let mut bad = wrapped.clone();
    bad[9] ^= 1;
    let refused = library.unwrap_key(session, &Mechanism::plain(M::AES_KEY_WRAP_KWP), kek, &bad, &template);
    assert_eq!(refused, Err(Error::WrappedKeyInvalid));
    library.close();
}

#[test]
fn secrets_are_wrapped_and_unwrapped() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let target = library.create_object(session, &secret(KeyType::AES, false, Some(&[7; 16]))).unwrap();
    let guarded = secret(KeyType::AES, false, None).with(A::VALUE_LEN, Value::Ulong(16));
    let mut hidden = Template::new();
    for (ty, value) in guarded.iter() {
        hidden.push(ty, if ty == A::EXTRACTABLE { vec![0] } else { value.to_vec() });
    }
    let hidden = library.generate_key(session, &Mechanism::plain(M::AES_KEY_GEN), &hidden).unwrap();
    let kek = |token: bool| {
        secret(KeyType::AES, token, Some(&[1; 32])).with(A::WRAP, Value::Bool(true)).with(A::UNWRAP, Value::Bool(true))
    };
    let unwrapped = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
    for token in [false, true] {
        let kek = library.create_object(session, &kek(token)).unwrap();
        for (ty, params) in [
            (M::AES_KEY_WRAP, Params::None),
            (M::AES_KEY_WRAP_PAD, Params::None),
            (M::AES_CBC_PAD, Params::Iv([4; 16])),
        ] {
            let mechanism = Mechanism { ty, params };
            let len = library.wrap_key(session, &mechanism, kek, target, Output::Length).unwrap();
            let mut wrapped = vec![0; len];
            assert_eq!(
                library.wrap_key(session, &mechanism, kek, target, Output::Buffer(&mut wrapped)),
                Ok(len),
                "{ty}"
            );
            let shown = library.unwrap_key(session, &mechanism, kek, &wrapped, &secret(KeyType::AES, false, None));
            if token {
                assert!(
                    matches!(shown, Err(Error::TemplateInconsistent(_))),
                    "it would show what it wrapped: {shown:?}"
                );
            } else {
                assert_eq!(value_of(&library, session, shown.unwrap()), [7; 16], "{ty}");
            }
            let back = library.unwrap_key(session, &mechanism, kek, &wrapped, &unwrapped).unwrap();
            let cipher = crypt(&library, session, &Mechanism::plain(M::AES_ECB), back, &[0; 16], true).unwrap();
            assert_eq!(
                cipher,
                crypt(&library, session, &Mechanism::plain(M::AES_ECB), target, &[0; 16], true).unwrap()
            );
            assert_eq!(
                library.wrap_key(session, &mechanism, kek, hidden, Output::Length),
                Err(Error::KeyUnextractable)
            );
        }
        assert_eq!(
            crypt(&library, session, &Mechanism::plain(M::AES_ECB), kek, &[0; 16], false),
            Err(Error::KeyFunctionNotPermitted),
            "what wraps does not decrypt"
        );
    }
    library.close();
}

#[test]
fn hkdf_and_concatenation() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let base = library.create_object(session, &secret(KeyType::GENERIC_SECRET, false, Some(&[0x0b; 22]))).unwrap();
    let hkdf = Mechanism {
        ty: M::HKDF_DERIVE,
        params: Params::Hkdf {
            extract: true,
            expand: true,
            hash: Hash::Sha256,
            salt: HkdfSalt::Data((0..=12).collect()),
            info: (0xf0..=0xf9).collect(),
        },
    };
    let template = secret(KeyType::GENERIC_SECRET, false, None).with(A::VALUE_LEN, Value::Ulong(42));
    let okm = library.derive_key(session, &hkdf, base, &template).unwrap();
    assert_eq!(value_of(&library, session, okm)[..4], [0x3c, 0xb2, 0x5f, 0x25], "RFC 5869, A.1");
    let joined = Mechanism { ty: M::CONCATENATE_BASE_AND_DATA, params: Params::Data(b"data".to_vec()) };
    let joined = library.derive_key(session, &joined, base, &secret(KeyType::GENERIC_SECRET, false, None)).unwrap();
    assert_eq!(value_of(&library, session, joined), [&[0x0b; 22][..], b"data"].concat());
    library.digest_init(session, &Mechanism::plain(M::SHA256)).unwrap();
    library.digest_key(session, joined).unwrap();
    let mut digest = [0; 32];
    library.digest_final(session, Output::Buffer(&mut digest)).unwrap();
    assert_eq!(digest.to_vec(), Hash::Sha256.digest(&[&[0x0b; 22], b"data"]));
    library.close();
}

#[test]
fn objects_are_created_changed_copied_and_hidden() {
    let world = World::with_token(&["rsa2048"]);
    let (library, session) = world.logged_in();
    let data = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::DATA.0))
        .with(A::TOKEN, Value::Bool(true))
        .with(A::LABEL, Value::Bytes(b"note".to_vec()))
        .with(A::VALUE, Value::Bytes(b"hidden text".to_vec()));
    let data = library.create_object(session, &data).unwrap();
    assert_eq!(value_of(&library, session, data), b"hidden text");
    let bytes = std::fs::read(world.config.store_file()).unwrap();
    assert!(!bytes.windows(11).any(|window| window == b"hidden text"), "not in clear in the store");
    let rename = Template::new().with(A::LABEL, Value::Bytes(b"other".to_vec()));
    library.set_attributes(session, data, &rename).unwrap();
    assert_eq!(find(&library, session, ObjectClass::DATA, "other"), data);
    let copy = library.copy_object(session, data, &Template::new().with(A::TOKEN, Value::Bool(false))).unwrap();
    assert_ne!(copy, data);
    assert_eq!(value_of(&library, session, copy), b"hidden text");
    assert!(library.object_size(session, copy).unwrap() > 11);
    let open = Template::new().with(A::PRIVATE, Value::Bool(false));
    assert!(matches!(library.copy_object(session, data, &open), Err(Error::TemplateInconsistent(_))));
    assert_eq!(library.set_attributes(session, data, &open), Err(Error::AttributeReadOnly(A::PRIVATE)));

    // A changed permission of a key stays bound to its auth value.
    let key = find(&library, session, ObjectClass::PRIVATE_KEY, "rsa2048");
    library.set_attributes(session, key, &Template::new().with(A::DECRYPT, Value::Bool(false))).unwrap();
    assert_eq!(library.decrypt_init(session, &Mechanism::plain(M::RSA_PKCS), key), Err(Error::KeyFunctionNotPermitted));
    library.sign_init(session, &Mechanism::plain(M::SHA256_RSA_PKCS), key).unwrap();
    let mut signature = [0; 256];
    library.sign(session, b"data", Output::Buffer(&mut signature)).unwrap();
    let loosen = Template::new().with(A::SENSITIVE, Value::Bool(false));
    assert_eq!(library.set_attributes(session, key, &loosen), Err(Error::AttributeReadOnly(A::SENSITIVE)));
    library.logout(session).unwrap();
    library.find_init(session, &Template::new()).unwrap();
    assert_eq!(library.find(session, 10).unwrap().len(), 1, "only the public key is left to see");
    library.close();
}

#[test]
fn a_signature_gives_its_data_back() {
    let world = World::with_token(&["rsa2048"]);
    let (library, session) = world.logged_in();
    let private = find(&library, session, ObjectClass::PRIVATE_KEY, "rsa2048");
    let public = find(&library, session, ObjectClass::PUBLIC_KEY, "rsa2048");
    library.sign_recover_init(session, &Mechanism::plain(M::RSA_PKCS), private).unwrap();
    let mut signature = [0; 256];
    library.sign_recover(session, b"recover me", Output::Buffer(&mut signature)).unwrap();
    library.verify_recover_init(session, &Mechanism::plain(M::RSA_PKCS), public).unwrap();
    let mut data = [0; 10];
    assert_eq!(library.verify_recover(session, &signature, Output::Buffer(&mut data)), Ok(10));
    assert_eq!(&data, b"recover me");
    signature[200] ^= 1;
    library.verify_recover_init(session, &Mechanism::plain(M::RSA_PKCS), public).unwrap();
    assert_eq!(
        library.verify_recover(session, &signature, Output::Buffer(&mut [0; 256])),
        Err(Error::SignatureInvalid)
    );
    library.close();
}

#[test]
fn a_running_digest_is_copied_by_its_state() {
    let world = World::new();
    let request = admin::InitRequest {
        owner_auth: common::pin(""),
        primary_auth: common::pin(""),
        handle: None,
        transient: None,
    };
    admin::Admin::init(world.config.clone(), &request).unwrap();
    let admin = admin::Admin::open(world.config.clone()).unwrap();
    admin.add_token(None, "server", &common::pin("sopin"), Some(&common::pin("userpin"))).unwrap();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let (first, second) = (library.open_session(slot, false).unwrap(), library.open_session(slot, false).unwrap());
    assert_eq!(library.operation_state(first, Output::Length), Err(Error::OperationNotInitialized));
    library.digest_init(first, &Mechanism::plain(M::SHA256)).unwrap();
    library.digest_update(first, b"hello ").unwrap();
    let len = library.operation_state(first, Output::Length).unwrap();
    let mut state = vec![0; len];
    assert_eq!(library.operation_state(first, Output::Buffer(&mut state)), Ok(len));
    library.set_operation_state(second, &state, false).unwrap();
    for (session, rest) in [(first, &b"world"[..]), (second, b"there")] {
        library.digest_update(session, rest).unwrap();
        let mut digest = [0; 32];
        library.digest_final(session, Output::Buffer(&mut digest)).unwrap();
        assert_eq!(digest.to_vec(), Hash::Sha256.digest(&[b"hello ", rest]));
    }
    assert_eq!(library.set_operation_state(second, &state, true), Err(Error::KeyNotNeeded));
    state[len - 1] ^= 1;
    assert_eq!(library.set_operation_state(second, &state, false), Err(Error::SavedStateInvalid));
    assert_eq!(library.set_operation_state(second, b"", false), Err(Error::SavedStateInvalid));
    library.close();
}

/// A result that did not fit is given to who asks for the same again, and to nobody else.
#[test]
fn a_result_that_was_not_taken_is_not_taken_for_another() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    for token in [false, true] {
        let key = library.create_object(session, &secret(KeyType::AES, token, Some(&[9; 16]))).unwrap();
        for mechanism in
            [Mechanism { ty: M::AES_CBC_PAD, params: Params::Iv([4; 16]) }, Mechanism::plain(M::AES_KEY_WRAP_PAD)]
        {
            let [first, second] = [&b"a first letter, of two"[..], b"and a second, the last"];
            let cipher = |plain| crypt(&library, session, &mechanism, key, plain, true).unwrap();
            let (one, two) = (cipher(first), cipher(second));
            let (mut short, mut room) = ([0; 3], [0; 64]);
            let decrypt = |cipher: &[u8], out: &mut [u8]| library.decrypt(session, cipher, Output::Buffer(out));
            let too_small = Err(Error::BufferTooSmall { needed: first.len() });
            library.decrypt_init(session, &mechanism, key).unwrap();
            assert_eq!(decrypt(&one, &mut short), too_small);
            assert_eq!(decrypt(&two, &mut short), too_small);
            world.proxy.mark();
            assert_eq!(library.decrypt(session, &two, Output::Length), Ok(second.len()));
            assert_eq!(decrypt(&two, &mut room), Ok(second.len()));
            world.marked(&[]);
            assert_eq!(&room[..second.len()], second);
            library.decrypt_init(session, &mechanism, key).unwrap();
            assert_eq!(decrypt(&one, &mut short), too_small);
            let mut plain = Vec::new();
            for part in two.chunks(5) {
                let len = library.decrypt_update(session, part, Output::Buffer(&mut room)).unwrap();
                plain.extend_from_slice(&room[..len]);
            }
            let needed = second.len() - plain.len();
            let mut small = vec![0; needed - 1];
            let refused = library.decrypt_final(session, Output::Buffer(&mut small));
            assert_eq!(refused, Err(Error::BufferTooSmall { needed }));
            let len = library.decrypt_final(session, Output::Buffer(&mut room)).unwrap();
            plain.extend_from_slice(&room[..len]);
            assert_eq!(plain, second);
        }
    }
    library.close();
}

#[test]
fn how_long_a_wrapped_key_is_costs_nothing() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let target = library.create_object(session, &secret(KeyType::GENERIC_SECRET, false, Some(&[7; 21]))).unwrap();
    let kek = secret(KeyType::AES, true, Some(&[1; 32]))
        .with(A::WRAP, Value::Bool(true))
        .with(A::DECRYPT, Value::Bool(false));
    let kek = library.create_object(session, &kek).unwrap();
    world.proxy.mark();
    for (ty, params, needed) in [(M::AES_KEY_WRAP_KWP, Params::None, 32), (M::AES_CBC_PAD, Params::Iv([4; 16]), 32)] {
        let mechanism = Mechanism { ty, params };
        assert_eq!(library.wrap_key(session, &mechanism, kek, target, Output::Length), Ok(needed));
        let short = library.wrap_key(session, &mechanism, kek, target, Output::Buffer(&mut [0; 31]));
        assert_eq!(short, Err(Error::BufferTooSmall { needed }));
    }
    let unfit = library.wrap_key(session, &Mechanism::plain(M::AES_KEY_WRAP), kek, target, Output::Length);
    assert_eq!(unfit, Err(Error::KeySizeRange));
    world.marked(&[]);
    library.close();
}

/// What the file is, is said; not that it is for another TPM.
#[test]
fn a_wrapped_key_that_cannot_be_imported_says_why() {
    use admin::{Admin, ForeignKey, ImportRequest, Pin, Which, WrappedKey};
    use common::pin;
    let world = World::with_token(&["ecc256"]);
    let admin = Admin::open(world.config.clone()).unwrap();
    let user = || Pin::User(pin("userpin"));
    let key = admin.export_wrapped("server", &user(), &Which::Label("ecc256".to_owned()), &pin("")).unwrap();
    let wrapped = WrappedKey { public: key.public, private: key.private, secret: vec![0, 0], auth: pin("") };
    let request = ImportRequest {
        label: "server".to_owned(),
        pin: user(),
        key: ForeignKey::Wrapped(wrapped),
        key_label: None,
        id: None,
        always_authenticate: false,
        certificates: Vec::new(),
        restriction: None,
        hash: None,
    };
    let refused = admin.import(&request).unwrap_err();
    assert_eq!(refused, Error::ArgumentsBad("the object is bound to the TPM that made it"));
}
