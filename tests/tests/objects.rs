//! What objects tell and to whom: searches, attributes, templates, and what becomes of objects (PKCS#11 v3.1 5.7).

use pkcs11_sys::*;
use tests::Ck;
use tests::probe::{Attribute, Mechanism, Probe, bytes, fails, flag, number, p256};
use tests::world::{ALPHA, client};

/// No objects.
const NONE: [u64; 0] = [];

#[test]
fn private_objects_are_the_users() {
    let (world, probe) = client();
    let session = probe.open_rw(probe.slot_of("alpha"));
    let private = [number(CKA_CLASS, CKO_PRIVATE_KEY)];
    assert_eq!(probe.find(session, &private).unwrap(), NONE);
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    let keys = probe.find(session, &private).unwrap();
    assert_eq!(keys.len(), ALPHA.keys.len());
    let key = probe.private_key(session, "p256");
    probe.init("C_SignInit", session, CKM_ECDSA_SHA256, key).unwrap();
    probe.find_init(session, &[]).unwrap();
    probe.logout(session).unwrap();
    // Handles of private objects mean nothing now, and what was going on with them is over.
    fails(probe.attribute(session, key, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID);
    fails(probe.destroy(session, key), CKR_OBJECT_HANDLE_INVALID);
    fails(probe.transform("C_Sign", session, b"message"), CKR_OPERATION_NOT_INITIALIZED);
    // A search does not go on to show private objects.
    fails(probe.find_next(session, 100), CKR_OPERATION_NOT_INITIALIZED);
    let refused = probe.init("C_SignInit", session, CKM_ECDSA_SHA256, key);
    assert!([Err(Ck(CKR_KEY_HANDLE_INVALID)), Err(Ck(CKR_USER_NOT_LOGGED_IN))].contains(&refused), "{refused:?}");
    // Nor after the next login, in which the key has another (5.6.8). In another process it has the same.
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    fails(probe.attribute(session, key, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID);
    assert_ne!(probe.private_key(session, "p256"), key);
    let other = world.probe().initialized();
    let session = other.user_session(&ALPHA);
    assert_eq!(other.private_key(session, "p256"), key);
}

#[test]
fn searches() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let count = |template: &[Attribute]| probe.find(session, template).unwrap().len();
    let keys = ALPHA.keys.len();
    assert_eq!(count(&[]), 2 * keys);
    assert_eq!(count(&[number(CKA_CLASS, CKO_PUBLIC_KEY)]), keys);
    assert_eq!(count(&[number(CKA_KEY_TYPE, CKK_EC)]), 6);
    assert_eq!(count(&[bytes(CKA_ID, b"\x03")]), 2);
    assert_eq!(count(&[bytes(CKA_ID, &[3]), number(CKA_CLASS, CKO_PRIVATE_KEY), flag(CKA_TOKEN, true)]), 1);
    assert_eq!(count(&[bytes(CKA_LABEL, b"p25")]), 0, "no part of a value");
    assert_eq!(count(&[bytes(CKA_LABEL, b"p256"), bytes(CKA_LABEL, b"p384")]), 0);
    assert_eq!(count(&[number(CKA_CLASS, CKO_CERTIFICATE)]), 0);
    assert_eq!(count(&[bytes(0x8000_0001, b"vendor")]), 0);
    assert_eq!(count(&[bytes(CKA_PRIVATE_EXPONENT, b"")]), 0, "a secret is not found by guessing");
    assert_eq!(count(&[number(CKA_MODULUS_BITS, 2048)]), 1);

    fails(probe.find_next(session, 1), CKR_OPERATION_NOT_INITIALIZED);
    fails(probe.find_final(session), CKR_OPERATION_NOT_INITIALIZED);
    probe.find_init(session, &[]).unwrap();
    fails(probe.find_init(session, &[]), CKR_OPERATION_ACTIVE);
    let mut found = Vec::new();
    for want in [0, 1, 3, 100, 5] {
        let part = probe.find_next(session, want).unwrap();
        assert!(part.len() <= want);
        found.extend(part);
    }
    assert_eq!(found.len(), 2 * keys);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 2 * keys, "each once");
    probe.find_final(session).unwrap();
}

#[test]
fn another_process_changes_are_seen_by_the_next_search() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let before = probe.find(session, &[]).unwrap();
    world.ptool_ok(&["addkey", "--label=alpha", "--userpin=user-alpha", "--key-label=late", "--algorithm=ecc256"]);
    let after = probe.find(session, &[]).unwrap();
    assert_eq!(after.len(), before.len() + 2);
    assert!(before.iter().all(|object| after.contains(object)), "handles are stable");
    let key = probe.private_key(session, "late");
    probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
    world.ptool_ok(&["addtoken", "--label=gamma", "--sopin=officer", "--userpin=user-gamma"]);
    probe.slot_of("gamma");
    world.ptool_ok(&["objdel", &key.to_string()]);
    assert_eq!(probe.find(session, &[bytes(CKA_LABEL, b"late")]).unwrap().len(), 1);
    fails(probe.attribute(session, key, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn attributes_and_their_buffers() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let (public, private) = (probe.public_key(session, "rsa"), probe.private_key(session, "rsa"));
    let none = u64::MAX;
    // Lengths, values, a buffer that is too long.
    let (rv, values) =
        probe.get_attributes(session, public, &[(CKA_LABEL, None), (CKA_MODULUS, None), (CKA_CLASS, None)]);
    assert_eq!((rv, values.iter().map(|value| value.0).collect::<Vec<_>>()), (CKR_OK, vec![3, 256, 8]));
    let (rv, values) = probe.get_attributes(session, public, &[(CKA_LABEL, Some(10)), (CKA_CLASS, Some(8))]);
    assert_eq!((rv, &values[0].1[..3], values[0].0), (CKR_OK, &b"rsa"[..], 3));
    assert!(values[0].1[3..].iter().all(|byte| *byte == tests::call::FILL), "written behind the value");
    assert_eq!(values[1].1, CKO_PUBLIC_KEY.to_ne_bytes());
    // All are answered, whatever is wrong with one.
    let wanted = [(CKA_LABEL, Some(2)), (CKA_CLASS, Some(8)), (0x8000_0001, Some(8)), (CKA_PRIVATE_EXPONENT, None)];
    let (rv, values) = probe.get_attributes(session, private, &wanted);
    assert!([CKR_BUFFER_TOO_SMALL, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_SENSITIVE].contains(&rv), "{:?}", Ck(rv));
    assert_eq!(values.iter().map(|value| value.0).collect::<Vec<_>>(), [none, 8, none, none]);
    assert_eq!(values[1].1, CKO_PRIVATE_KEY.to_ne_bytes());
    assert!(values[0].1.iter().all(|byte| *byte == tests::call::FILL), "nothing of a value that does not fit");
    let one = |object: u64, ty: u64, room: Option<usize>| {
        let (rv, values) = probe.get_attributes(session, object, &[(ty, room)]);
        (Ck(rv), values[0].0)
    };
    assert_eq!(one(private, CKA_LABEL, Some(2)), (Ck(CKR_BUFFER_TOO_SMALL), none));
    assert_eq!(one(private, CKA_LABEL, Some(0)), (Ck(CKR_BUFFER_TOO_SMALL), none));
    assert_eq!(one(private, 0x8000_0001, None), (Ck(CKR_ATTRIBUTE_TYPE_INVALID), none));
    assert_eq!(one(public, CKA_EC_POINT, None), (Ck(CKR_ATTRIBUTE_TYPE_INVALID), none));
    for secret in [CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT] {
        assert_eq!(one(private, secret, None), (Ck(CKR_ATTRIBUTE_SENSITIVE), none));
        assert_eq!(one(private, secret, Some(1000)), (Ck(CKR_ATTRIBUTE_SENSITIVE), none));
        assert_eq!(one(public, secret, None), (Ck(CKR_ATTRIBUTE_TYPE_INVALID), none));
    }
    let ec = probe.private_key(session, "p256");
    assert_eq!(one(ec, CKA_VALUE, Some(100)), (Ck(CKR_ATTRIBUTE_SENSITIVE), none));
    assert_eq!(probe.get_attributes(session, public, &[]).0, CKR_OK);
    assert_eq!(probe.get_attributes(session, 0x7777, &[(CKA_LABEL, None)]).0, CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn keys_say_what_they_are() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    for key in ALPHA.keys {
        let (public, private) = (probe.public_key(session, key.label), probe.private_key(session, key.label));
        let is = |object: u64, ty: u64| probe.attribute(session, object, ty).map(|value| value == [1]);
        for (ty, expected) in [
            (CKA_TOKEN, true),
            (CKA_PRIVATE, true),
            (CKA_SENSITIVE, true),
            (CKA_ALWAYS_SENSITIVE, true),
            (CKA_EXTRACTABLE, false),
            (CKA_NEVER_EXTRACTABLE, true),
            (CKA_LOCAL, true),
            (CKA_SIGN, true),
            (CKA_ALWAYS_AUTHENTICATE, false),
            (CKA_DECRYPT, key.algorithm.starts_with("rsa")),
        ] {
            assert_eq!(is(private, ty), Ok(expected), "{} {ty:#x}", key.label);
        }
        for (ty, expected) in
            [(CKA_TOKEN, true), (CKA_PRIVATE, false), (CKA_VERIFY, true), (CKA_TRUSTED, false), (CKA_LOCAL, true)]
        {
            assert_eq!(is(public, ty), Ok(expected), "{} {ty:#x}", key.label);
        }
        for object in [public, private] {
            assert_eq!(probe.attribute(session, object, CKA_ID).unwrap(), tests::call::unhex(key.id).unwrap());
            assert_eq!(probe.attribute(session, object, CKA_LABEL).unwrap(), key.label.as_bytes());
        }
        // Both halves show the same public key.
        let shown = if key.algorithm.starts_with("rsa") {
            [CKA_MODULUS, CKA_PUBLIC_EXPONENT]
        } else {
            [CKA_EC_PARAMS, CKA_EC_POINT]
        };
        for ty in shown.into_iter().chain([CKA_PUBLIC_KEY_INFO]) {
            assert_eq!(probe.attribute(session, public, ty), probe.attribute(session, private, ty));
        }
        fails(probe.attribute(session, public, CKA_SENSITIVE), CKR_ATTRIBUTE_TYPE_INVALID);
    }
}

#[test]
fn templates_and_their_faults() {
    let (_world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let slot = probe.slot_of("alpha");
    let ro = probe.open_ro(slot);
    let ec = |more: &[Attribute], private: &[Attribute]| {
        let public = [&p256(false)[..], more].concat();
        probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, private)
    };
    let rsa = |public: &[Attribute]| probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public, &[]);
    let bits = |bits| number(CKA_MODULUS_BITS, bits);

    fails(rsa(&[]), CKR_TEMPLATE_INCOMPLETE);
    fails(probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &[], &[]), CKR_TEMPLATE_INCOMPLETE);
    for size in [0, 512, 2047, 5000, 16384, 65536 + 2048] {
        fails(rsa(&[bits(size)]), CKR_KEY_SIZE_RANGE);
    }
    for exponent in [&[2][..], &[1], &[1, 0, 0, 0, 0, 1]] {
        let result = rsa(&[bits(2048), bytes(CKA_PUBLIC_EXPONENT, exponent)]);
        assert!(matches!(result, Err(Ck(CKR_ATTRIBUTE_VALUE_INVALID))), "{exponent:?}: {result:?}");
    }
    let secp256k1 = [6, 5, 0x2b, 0x81, 4, 0, 10];
    let curve = |params: &[u8]| probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &[bytes(CKA_EC_PARAMS, params)], &[]);
    for params in [&secp256k1[..], b"", b"\x06\xff", &[0x30; 300]] {
        let result = curve(params);
        assert!(
            [Err(Ck(CKR_CURVE_NOT_SUPPORTED)), Err(Ck(CKR_ATTRIBUTE_VALUE_INVALID))].contains(&result),
            "{params:?}: {result:?}"
        );
    }
    fails(ec(&[number(CKA_KEY_TYPE, CKK_RSA)], &[]), CKR_TEMPLATE_INCONSISTENT);
    fails(ec(&[number(CKA_CLASS, CKO_PRIVATE_KEY)], &[]), CKR_TEMPLATE_INCONSISTENT);
    fails(ec(&[], &[number(CKA_CLASS, CKO_PUBLIC_KEY)]), CKR_TEMPLATE_INCONSISTENT);
    fails(ec(&[], &[flag(CKA_EXTRACTABLE, true)]), CKR_TEMPLATE_INCONSISTENT);
    // Less protection than the TPM gives is not to be had, and asking for it does no harm.
    let (_, sensitive) = ec(&[], &[flag(CKA_SENSITIVE, false)]).unwrap();
    assert_eq!(probe.attribute(session, sensitive, CKA_SENSITIVE).unwrap(), [1]);
    fails(ec(&[bytes(CKA_LABEL, b"a"), bytes(CKA_LABEL, b"b")], &[]), CKR_TEMPLATE_INCONSISTENT);
    fails(ec(&[flag(CKA_SIGN, true)], &[]), CKR_ATTRIBUTE_TYPE_INVALID);
    fails(ec(&[bytes(0x8000_0001, b"x")], &[]), CKR_ATTRIBUTE_TYPE_INVALID);
    fails(ec(&[flag(CKA_LOCAL, true)], &[]), CKR_ATTRIBUTE_READ_ONLY);
    fails(ec(&[flag(CKA_TRUSTED, true)], &[]), CKR_ATTRIBUTE_READ_ONLY);
    fails(ec(&[], &[flag(CKA_ALWAYS_SENSITIVE, true)]), CKR_ATTRIBUTE_READ_ONLY);
    fails(ec(&[], &[bytes(CKA_VALUE, &[1; 32])]), CKR_ATTRIBUTE_READ_ONLY);
    fails(ec(&[bytes(CKA_VERIFY, &[1, 0])], &[]), CKR_ATTRIBUTE_VALUE_INVALID);
    fails(ec(&[bytes(CKA_KEY_TYPE, &[3])], &[]), CKR_ATTRIBUTE_VALUE_INVALID);
    fails(ec(&[bytes(CKA_START_DATE, b"20261399")], &[]), CKR_ATTRIBUTE_VALUE_INVALID);
    fails(probe.generate_pair(session, CKM_RSA_PKCS, &[bits(2048)], &[]), CKR_MECHANISM_INVALID);
    let with_params = Mechanism { ty: CKM_EC_KEY_PAIR_GEN, params: Some(tests::Memory::bytes(b"parameter")) };
    fails(probe.generate_pair(session, with_params, &p256(false), &[]), CKR_MECHANISM_PARAM_INVALID);
    // Token objects want a read/write session; session objects do not.
    fails(probe.generate_pair(ro, CKM_EC_KEY_PAIR_GEN, &p256(true), &[flag(CKA_TOKEN, true)]), CKR_SESSION_READ_ONLY);
    fails(probe.generate_pair(ro, CKM_EC_KEY_PAIR_GEN, &p256(false), &[flag(CKA_TOKEN, true)]), CKR_SESSION_READ_ONLY);
    probe.generate_pair(ro, CKM_EC_KEY_PAIR_GEN, &p256(false), &[]).unwrap();
    // Nothing of all that is left.
    assert_eq!(probe.find(session, &[flag(CKA_TOKEN, true)]).unwrap().len(), 2 * ALPHA.keys.len());
    // What clients are known to send is taken.
    ec(
        &[
            number(CKA_KEY_TYPE, CKK_EC),
            flag(CKA_VERIFY, true),
            flag(CKA_DERIVE, true),
            flag(CKA_WRAP, false),
            bytes(CKA_ID, b"id"),
        ],
        &[
            flag(CKA_SIGN, true),
            flag(CKA_PRIVATE, true),
            flag(CKA_SENSITIVE, true),
            flag(CKA_UNWRAP, false),
            bytes(CKA_SUBJECT, b""),
        ],
    )
    .unwrap();
}

#[test]
fn usage_flags_and_allowed_mechanisms_are_kept() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let token = flag(CKA_TOKEN, true);
    let allowed = bytes(CKA_ALLOWED_MECHANISMS, &CKM_SHA256_RSA_PKCS.to_ne_bytes());
    let public = [number(CKA_MODULUS_BITS, 2048), token.clone(), flag(CKA_ENCRYPT, false), bytes(CKA_LABEL, b"picky")];
    let private = [token, flag(CKA_DECRYPT, false), allowed.clone(), bytes(CKA_LABEL, b"picky")];
    let made = probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private).unwrap();
    let check = |probe: &Probe, session: u64, (public, private): (u64, u64)| {
        probe.sign(session, CKM_SHA256_RSA_PKCS, private, b"message").unwrap();
        fails(probe.init("C_SignInit", session, CKM_SHA512_RSA_PKCS, private), CKR_MECHANISM_INVALID);
        fails(probe.init("C_SignInit", session, CKM_RSA_PKCS, private), CKR_MECHANISM_INVALID);
        fails(probe.init("C_DecryptInit", session, CKM_RSA_PKCS, private), CKR_KEY_FUNCTION_NOT_PERMITTED);
        fails(probe.init("C_EncryptInit", session, CKM_RSA_PKCS, public), CKR_KEY_FUNCTION_NOT_PERMITTED);
        assert_eq!(probe.attribute(session, private, CKA_ALLOWED_MECHANISMS).unwrap(), allowed.1);
    };
    check(&probe, session, made);
    let other = world.probe().initialized();
    let session = other.user_session(&ALPHA);
    check(&other, session, (other.public_key(session, "picky"), other.private_key(session, "picky")));
}

#[test]
fn objects_go() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let ro = probe.open_ro(probe.slot_of("alpha"));
    let (public, private) = (probe.public_key(session, "p256"), probe.private_key(session, "p256"));
    fails(probe.destroy(ro, public), CKR_SESSION_READ_ONLY);
    // Destroyed with an operation going on: what has begun is brought to its end.
    probe.sign(session, CKM_ECDSA_SHA256, private, b"message").unwrap();
    probe.init("C_SignInit", ro, CKM_ECDSA_SHA256, private).unwrap();
    probe.destroy(session, private).unwrap();
    let signature = probe.transform("C_Sign", ro, b"message").unwrap();
    probe.verify(session, CKM_ECDSA_SHA256, public, b"message", &signature).unwrap();
    fails(probe.destroy(session, private), CKR_OBJECT_HANDLE_INVALID);
    fails(probe.init("C_SignInit", session, CKM_ECDSA_SHA256, private), CKR_KEY_HANDLE_INVALID);
    probe.destroy(session, public).unwrap();
    assert_eq!(probe.find(session, &[bytes(CKA_LABEL, b"p256")]).unwrap(), NONE);
    let other = world.probe().initialized();
    let there = other.user_session(&ALPHA);
    assert_eq!(other.find(there, &[]).unwrap().len(), 2 * (ALPHA.keys.len() - 1));
    // An object that says so stays.
    let stays = [flag(CKA_TOKEN, true), flag(CKA_DESTROYABLE, false)];
    let (_, key) = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(true), &stays).unwrap();
    fails(probe.destroy(session, key), CKR_ACTION_PROHIBITED);
}

#[test]
fn session_objects_go_with_their_session() {
    let (world, probe) = client();
    let session = probe.user_session(&ALPHA);
    let slot = probe.slot_of("alpha");
    let second = probe.open_ro(slot);
    let (public, private) = probe.generate_pair(second, CKM_EC_KEY_PAIR_GEN, &p256(false), &[]).unwrap();
    let signature = probe.sign(session, CKM_ECDSA_SHA256, private, b"message").unwrap();
    probe.verify(session, CKM_ECDSA_SHA256, public, b"message", &signature).unwrap();
    assert_eq!(probe.find(session, &[flag(CKA_TOKEN, false)]).unwrap().len(), 2);
    probe.close(second).unwrap();
    fails(probe.attribute(session, public, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(probe.find(session, &[flag(CKA_TOKEN, false)]).unwrap(), NONE);
    // At a logout, private ones.
    let (public, private) = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &p256(false), &[]).unwrap();
    probe.logout(session).unwrap();
    probe.attribute(session, public, CKA_LABEL).unwrap();
    probe.login(session, CKU_USER, "user-alpha").unwrap();
    fails(probe.attribute(session, private, CKA_LABEL), CKR_OBJECT_HANDLE_INVALID);
    probe.finalize().unwrap();
    world.assert_clean();
}
