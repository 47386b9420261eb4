//! Attributes that follow from something else: nobody makes them say otherwise, and they are found as they are told (PKCS#11 v3.1 4.6,
//! 4.10, 5.7.7).

use pkcs11_sys::*;
use sha1::Digest;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, fails, flag, number};
use tests::world::{ALPHA, World, client};
use tests::{Argument, Ck, Memory, Piece};

fn create(probe: &Probe, session: u64, template: &[Attribute]) -> Result<u64, Ck> {
    let call = vec![session.into(), attributes(template), (template.len() as u64).into(), Argument::place(0)];
    let (rv, left) = probe.call("C_CreateObject", call);
    if rv == CKR_OK { Ok(left[3].word()) } else { Err(Ck(rv)) }
}

/// A certificate with a serial number longer than 20 bytes.
fn certificate(world: &World) -> Vec<u8> {
    let serial = format!("-set_serial 0x{}", "a1".repeat(24));
    let request = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=who {serial} -days 2 -outform DER"
    );
    let made = tests::openssl::openssl(&world.path(""), &request.split(' ').collect::<Vec<_>>(), b"");
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

#[test]
fn a_certificate_says_what_its_value_says() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let value = certificate(&world);
    let make = |more: &[Attribute]| {
        let mut template = vec![
            number(CKA_CLASS, CKO_CERTIFICATE),
            number(CKA_CERTIFICATE_TYPE, CKC_X_509),
            flag(CKA_TOKEN, true),
            bytes(CKA_VALUE, &value),
        ];
        template.extend(more.iter().cloned());
        create(&probe, session, &template)
    };
    // CN=who, as subject and issuer; 24 bytes, the first of them above 0x7f.
    let name = tests::call::unhex("300e310c300a06035504030c0377686f").unwrap();
    let number_of = [0xa1; 24];
    let serial = [&[2, 25, 0][..], &number_of].concat();
    let parts = [(CKA_SUBJECT, &name), (CKA_ISSUER, &name), (CKA_SERIAL_NUMBER, &serial)];
    let others: [Vec<Attribute>; 4] = [
        vec![],
        parts.iter().map(|(ty, part)| bytes(*ty, part)).collect(),
        parts.iter().map(|(ty, _)| bytes(*ty, b"")).collect(),
        // As a bare number.
        vec![bytes(CKA_SERIAL_NUMBER, &number_of)],
    ];
    for more in &others {
        let made = make(more).unwrap();
        for (ty, part) in parts {
            assert_eq!(probe.attribute(session, made, ty).as_ref(), Ok(part), "{ty:#x}");
            assert!(probe.find(session, &[bytes(ty, part)]).unwrap().contains(&made), "{ty:#x}");
        }
    }
    for (ty, _) in parts {
        fails(make(&[bytes(ty, b"another")]), CKR_TEMPLATE_INCONSISTENT);
    }
    // Nor afterwards.
    let made = make(&[]).unwrap();
    let set = |ty: u64, value: &[u8]| {
        let template = [bytes(ty, value)];
        probe.rv("C_SetAttributeValue", vec![session.into(), made.into(), attributes(&template), 1.into()])
    };
    fails(set(CKA_SERIAL_NUMBER, b"another"), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(set(CKA_SERIAL_NUMBER, &serial), Ok(()));
    // The key in it, which is in no row.
    let key = probe.attribute(session, made, CKA_PUBLIC_KEY_INFO).unwrap();
    assert_eq!(probe.find(session, &[bytes(CKA_PUBLIC_KEY_INFO, &key)]).unwrap().len(), others.len() + 1);
    // The doctor reads it, whatever its number.
    probe.finalize().unwrap();
    let doctor = world.ptool(&["doctor", "--userpin=user-alpha"]);
    assert!(!doctor.all().contains("no certificate"), "{doctor:?}");
}

#[test]
fn check_values_are_true() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let value = [7; 16];
    let of_aes = probe
        .encrypt(
            session,
            CKM_AES_ECB,
            create(
                &probe,
                session,
                &[number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), bytes(CKA_VALUE, &value)],
            )
            .unwrap(),
            &[0; 16],
        )
        .unwrap();
    let certificate = certificate(&world);
    let cases = [
        (number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), value.to_vec(), of_aes),
        (
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
            value.to_vec(),
            sha1::Sha1::digest(value).to_vec(),
        ),
        (
            number(CKA_CLASS, CKO_CERTIFICATE),
            number(CKA_CERTIFICATE_TYPE, CKC_X_509),
            certificate.clone(),
            sha1::Sha1::digest(&certificate).to_vec(),
        ),
    ];
    for (class, kind, value, check) in cases {
        for on_token in [false, true] {
            let make = |check: &[u8]| {
                let value = bytes(CKA_VALUE, &value);
                let template =
                    [class.clone(), kind.clone(), flag(CKA_TOKEN, on_token), value, bytes(CKA_CHECK_VALUE, check)];
                create(&probe, session, &template)
            };
            let made = make(&check[..3]).unwrap();
            assert_eq!(probe.attribute(session, made, CKA_CHECK_VALUE), Ok(check[..3].to_vec()), "{class:?}");
            for wrong in [&check[..4], &check[..2], b"abc"] {
                fails(make(wrong), CKR_ATTRIBUTE_VALUE_INVALID);
            }
            // Whoever says nothing wants none.
            fails(probe.attribute(session, make(b"").unwrap(), CKA_CHECK_VALUE), CKR_ATTRIBUTE_TYPE_INVALID);
        }
    }
}

/// What no row has is found by the value that it is told with.
#[test]
fn what_is_told_is_found() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    for class in [CKO_PUBLIC_KEY, CKO_PRIVATE_KEY] {
        let keys = probe.find(session, &[number(CKA_CLASS, class)]).unwrap();
        let own = if class == CKO_PUBLIC_KEY { cryptoki_sys::CKA_ENCAPSULATE } else { cryptoki_sys::CKA_DECAPSULATE };
        for ty in [CKA_ALLOWED_MECHANISMS, own] {
            let value = probe.attribute(session, keys[0], ty).unwrap();
            let found = probe.find(session, &[number(CKA_CLASS, class), bytes(ty, &value)]).unwrap();
            assert_eq!(found, keys, "{ty:#x}");
            assert_eq!(probe.find(session, &[number(CKA_CLASS, class), bytes(ty, &[0; 8])]).unwrap(), [0; 0]);
        }
    }
}

/// A secret key in the TPM for which the user logs in before each use, in every kind of operation that it serves.
#[test]
fn a_secret_key_can_want_a_login_for_each_use() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let key = |key_type: u64, on_token: bool| {
        let template = [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, key_type),
            flag(CKA_TOKEN, on_token),
            flag(CKA_ALWAYS_AUTHENTICATE, true),
            bytes(CKA_VALUE, &[7; 16]),
        ];
        create(&probe, session, &template)
    };
    // In memory nobody would ask.
    fails(key(CKK_AES, false), CKR_TEMPLATE_INCONSISTENT);
    let (aes, secret) = (key(CKK_AES, true).unwrap(), key(CKK_GENERIC_SECRET, true).unwrap());
    let again = || probe.login(session, CKU_CONTEXT_SPECIFIC, "user-alpha").unwrap();
    for (function, mechanism, key) in [
        ("Encrypt", CKM_AES_ECB, aes),
        ("Decrypt", CKM_AES_ECB, aes),
        ("Sign", CKM_AES_CMAC, aes),
        ("Sign", CKM_SHA256_HMAC, secret),
    ] {
        let init = || probe.init(&format!("C_{function}Init"), session, mechanism, key).unwrap();
        let run = || probe.transform(&format!("C_{function}"), session, &[9; 16]);
        init();
        fails(run(), CKR_USER_NOT_LOGGED_IN);
        for _ in 0..2 {
            init();
            again();
            assert!(run().is_ok(), "{function}");
        }
    }
    let code = {
        probe.init("C_SignInit", session, CKM_SHA256_HMAC, secret).unwrap();
        again();
        probe.transform("C_Sign", session, b"message").unwrap()
    };
    fails(probe.verify(session, CKM_SHA256_HMAC, secret, b"message", &code), CKR_USER_NOT_LOGGED_IN);
    probe.init("C_VerifyInit", session, CKM_SHA256_HMAC, secret).unwrap();
    again();
    let [data, signature] = [&b"message"[..], &code].map(|part| [Argument::bytes(part), (part.len() as u64).into()]);
    probe.rv("C_Verify", [&[session.into()][..], &data, &signature].concat()).unwrap();
    // Messages: one login for each.
    probe.init("C_MessageEncryptInit", session, Mechanism::plain(CKM_AES_GCM), aes).unwrap();
    let encrypt = || {
        let pieces = vec![
            Piece::Pointer(Memory::bytes(&[5; 12])),
            Piece::Word(12),
            Piece::Word(0),
            Piece::Word(CKG_NO_GENERATE),
            Piece::Pointer(Memory::bytes(&[0; 16])),
            Piece::Word(128),
        ];
        let parameter = [Argument::Pointer(Memory::of(pieces)), 48.into()];
        let input = [Argument::NULL, 0.into(), Argument::bytes(b"message"), 7.into()];
        let call = [&[session.into()][..], &parameter, &input].concat();
        probe.output("C_EncryptMessage", call, Some(64)).ok()
    };
    fails(encrypt(), CKR_USER_NOT_LOGGED_IN);
    again();
    assert!(encrypt().is_ok());
    fails(encrypt(), CKR_USER_NOT_LOGGED_IN);
}

/// Operations that give nothing before their end tell room for what they take: some programs make a null pointer of 0, and lose it.
#[test]
fn the_length_of_a_part_is_never_too_small() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let template = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), bytes(CKA_VALUE, &[7; 16])];
    let aes = create(&probe, session, &template).unwrap();
    let gcm = Mechanism {
        ty: CKM_AES_GCM,
        params: Some(Memory::of(vec![
            Piece::Pointer(Memory::bytes(&[5; 12])),
            Piece::Word(12),
            Piece::Word(96),
            Piece::Word(0),
            Piece::Word(0),
            Piece::Word(128),
        ])),
    };
    let message = b"The quick brown fox";
    let whole = probe.encrypt(session, gcm.clone(), aes, message).unwrap();
    let key = probe.public_key(session, "rsa");
    for (mechanism, key) in [(gcm, aes), (Mechanism::plain(CKM_RSA_PKCS), key)] {
        probe.init("C_EncryptInit", session, mechanism.clone(), key).unwrap();
        let mut cipher = Vec::new();
        for part in [&message[..9], &message[9..]] {
            // As such a program does it: asks, makes room for what it was told, calls.
            let told = probe.transform_into("C_EncryptUpdate", session, part, None);
            assert!(told.rv == CKR_OK && told.len > 0, "{mechanism:?}");
            let done = probe.transform_into("C_EncryptUpdate", session, part, Some(told.len as usize));
            cipher.extend(done.ok().unwrap());
        }
        cipher.extend(probe.finish("C_EncryptFinal", session).unwrap());
        if mechanism.ty == CKM_AES_GCM {
            assert_eq!(cipher, whole);
        } else {
            assert_eq!(probe.decrypt(session, mechanism, probe.private_key(session, "rsa"), &cipher).unwrap(), message);
        }
    }
}
