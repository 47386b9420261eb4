//! Against another implementation: tpm2-tss, through tss-esapi. What one makes the other understands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::str::FromStr;

use base::Secret;
use base::curve::Curve;
use base::digest::Hash;
use common::{Stage, at, check_ecdsa, counted, p256, secret, with};
use swtpm_fixtures::{SwTpm, leftovers};
use tpm::{
    Attributes, Error, Key, KeyTemplate, Location, Options, PrimaryRequest, PublicArea, SealRequest, SignScheme,
    Signature, Wrapped,
};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::{CommandCode, SessionType};
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Auth, Digest, DigestList, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Nonce, Private, Public,
    PublicBuilder, PublicEccParameters, RsaExponent, SensitiveData, SignatureScheme, SymmetricDefinition,
    SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Context, TctiNameConf};

fn theirs(swtpm: &SwTpm) -> Context {
    Context::new(TctiNameConf::from_str(&swtpm.tcti()).unwrap()).unwrap()
}

/// A TPM2B from its contents.
fn tpm2b(contents: &[u8]) -> Vec<u8> {
    [&u16::try_from(contents.len()).unwrap().to_be_bytes(), contents].concat()
}

fn persistent(context: &mut Context, handle: u32) -> KeyHandle {
    let handle = TpmHandle::Persistent(PersistentTpmHandle::new(handle).unwrap());
    context.tr_from_tpm_public(handle).unwrap().into()
}

fn public_of(wrapped: &Wrapped) -> Public {
    Public::unmarshall(&wrapped.public[2..]).unwrap()
}

fn private_of(wrapped: &Wrapped) -> Private {
    Private::try_from(wrapped.private[2..].to_vec()).unwrap()
}

fn auth(secret: &Secret) -> Auth {
    Auth::try_from(secret.expose().to_vec()).unwrap()
}

fn load(context: &mut Context, parent: KeyHandle, wrapped: &Wrapped, secret: &Secret) -> KeyHandle {
    let handle = context
        .execute_with_nullauth_session(|context| context.load(parent, private_of(wrapped), public_of(wrapped)))
        .unwrap();
    context.tr_set_auth(handle.into(), auth(secret)).unwrap();
    handle
}

fn sign_theirs(context: &mut Context, key: KeyHandle) -> tss_esapi::structures::Signature {
    let digest = Digest::try_from(Hash::Sha256.digest(&[b"message"])).unwrap();
    let scheme = SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) };
    let ticket = tss_esapi::tss2_esys::TPMT_TK_HASHCHECK {
        tag: tss_esapi::constants::tss::TPM2_ST_HASHCHECK,
        hierarchy: tss_esapi::constants::tss::TPM2_RH_NULL,
        digest: Default::default(),
    };
    context
        .execute_with_nullauth_session(|context| context.sign(key, digest, scheme, ticket.try_into().unwrap()))
        .unwrap()
}

fn ours_of(signature: tss_esapi::structures::Signature) -> Signature {
    let tss_esapi::structures::Signature::EcDsa(signature) = signature else { panic!() };
    let pad = |number: &[u8]| [&vec![0; 32 - number.len()], number].concat();
    Signature::Ecc { r: pad(signature.signature_r().value()), s: pad(signature.signature_s().value()) }
}

#[test]
fn their_structures_and_names_are_ours() {
    let swtpm = SwTpm::start();
    let curves = Curve::ALL.iter().map(|&curve| KeyTemplate::Ecc { curve });
    let templates: Vec<KeyTemplate> = curves
        .chain([KeyTemplate::Rsa { bits: 1024, exponent: 0 }, KeyTemplate::Rsa { bits: 2048, exponent: 65537 }])
        .collect();
    let stage = Stage::set(&swtpm, &templates);
    let mut context = theirs(&swtpm);
    let parent = persistent(&mut context, 0x8100_0001);
    assert_eq!(context.tr_get_name(parent.into()).unwrap().value(), stage.primary.name().as_bytes());
    for (wrapped, name, secret) in
        stage.keys.iter().map(|(wrapped, name, secret)| (wrapped, name.clone(), secret)).chain([
            (&stage.so, stage.so.name().unwrap(), &stage.so_auth),
            (&stage.user, stage.user.name().unwrap(), &stage.user_auth),
        ])
    {
        let theirs = public_of(wrapped).marshall().unwrap();
        assert_eq!(tpm2b(&theirs), wrapped.public);
        assert_eq!(wrapped.public_area().unwrap().marshal().unwrap(), wrapped.public);
        let loaded = load(&mut context, parent, wrapped, secret);
        assert_eq!(context.tr_get_name(loaded.into()).unwrap().value(), name.as_bytes());
        context.flush_context(loaded.into()).unwrap();
    }
}

#[test]
fn our_objects_serve_them() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let mut context = theirs(&swtpm);
    let parent = persistent(&mut context, 0x8100_0001);
    let (wrapped, _, secret) = &stage.keys[0];
    let key = load(&mut context, parent, wrapped, secret);
    let signature = sign_theirs(&mut context, key);
    check_ecdsa(wrapped, Hash::Sha256, &ours_of(signature));
    let user = load(&mut context, parent, &stage.user, &stage.user_auth);
    let data = context.execute_with_nullauth_session(|context| context.unseal(user.into())).unwrap();
    assert_eq!(data.value(), stage.wrapping.expose());
}

#[test]
fn their_objects_serve_us() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let key_auth = secret(50);
    let (wrapped, sealed) = {
        let mut context = theirs(&swtpm);
        let parent = persistent(&mut context, 0x8100_0001);
        let mut create = |public: Public, data: Option<SensitiveData>| {
            let made = context
                .execute_with_nullauth_session(|context| {
                    context.create(parent, public, Some(auth(&key_auth)), data, None, None)
                })
                .unwrap();
            Wrapped { public: tpm2b(&made.out_public.marshall().unwrap()), private: tpm2b(made.out_private.value()) }
        };
        let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
        let key = tss_esapi::utils::create_unrestricted_signing_ecc_public(scheme, EccCurve::NistP256).unwrap();
        let data = SensitiveData::try_from(b"their data".to_vec()).unwrap();
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_user_with_auth(true)
            .build()
            .unwrap();
        let seal = PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_keyed_hash_parameters(tss_esapi::structures::PublicKeyedHashParameters::new(
                tss_esapi::structures::KeyedHashScheme::Null,
            ))
            .with_keyed_hash_unique_identifier(Digest::default())
            .build()
            .unwrap();
        (create(key, None), create(seal, Some(data)))
    };
    let tpm = at(&swtpm.tcti());
    let name = wrapped.name().unwrap();
    let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &key_auth, policy: None };
    common::sign_and_check(&tpm, &key);
    common::sign_and_check(&tpm, &key);
    // It has a scheme of its own.
    let digest = Hash::Sha384.digest(&[b"message"]);
    assert!(matches!(tpm.sign(&key, Hash::Sha384, &digest, SignScheme::Ecdsa), Err(Error::Invalid(_))));
    assert_eq!(tpm.unseal(&stage.primary, &sealed, &key_auth, None).unwrap().expose(), b"their data");
}

#[test]
fn the_users_policy_is_what_a_trial_session_computes() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let mut context = theirs(&swtpm);
    let parent = persistent(&mut context, 0x8100_0001);
    let so = load(&mut context, parent, &stage.so, &stage.so_auth);
    let trial = |context: &mut Context| -> PolicySession {
        let session = context
            .start_auth_session(
                None,
                None,
                None,
                SessionType::Trial,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
            .unwrap();
        session.unwrap().try_into().unwrap()
    };
    let mut branches = DigestList::new();
    let session = trial(&mut context);
    context.policy_auth_value(session).unwrap();
    context.policy_command_code(session, CommandCode::ObjectChangeAuth).unwrap();
    branches.add(context.policy_get_digest(session).unwrap()).unwrap();
    context.flush_context(ObjectHandle::from(tss_esapi::handles::SessionHandle::from(session))).unwrap();
    let session = trial(&mut context);
    context
        .execute_with_nullauth_session(|context| {
            let (nonce, none) = (Nonce::default(), Digest::default());
            context.policy_secret(session, AuthHandle::from(ObjectHandle::from(so)), nonce.clone(), none, nonce, None)
        })
        .unwrap();
    context.policy_command_code(session, CommandCode::ObjectChangeAuth).unwrap();
    branches.add(context.policy_get_digest(session).unwrap()).unwrap();
    context.flush_context(ObjectHandle::from(tss_esapi::handles::SessionHandle::from(session))).unwrap();
    let session = trial(&mut context);
    context.policy_or(session, branches).unwrap();
    let policy = context.policy_get_digest(session).unwrap();
    let area = stage.user.public_area().unwrap();
    assert_eq!(area.auth_policy(), policy.value());
    assert!(area.attributes().contains(Attributes::ADMIN_WITH_POLICY.union(Attributes::USER_WITH_AUTH)));
    assert!(!area.attributes().contains(Attributes::NO_DA), "a PIN is guarded by lockout");
}

fn set_owner_auth(swtpm: &SwTpm, value: &Secret) {
    let mut context = theirs(swtpm);
    context
        .execute_with_nullauth_session(|context| {
            context.hierarchy_change_auth(AuthHandle::from(ObjectHandle::Owner), auth(value))
        })
        .unwrap();
}

#[test]
fn an_owner_with_an_authorisation() {
    let (swtpm, proxy) = counted();
    set_owner_auth(&swtpm, &secret(8));
    for bus_protection in [true, false] {
        let tpm = with(&proxy.tcti(), Options { bus_protection, ..Options::default() });
        let refused = tpm.storage_primary(&PrimaryRequest::default());
        assert_eq!(refused, Err(Error::HierarchyAuth));
        let request = PrimaryRequest { owner_auth: secret(9), ..PrimaryRequest::default() };
        assert_eq!(tpm.storage_primary(&request), Err(Error::HierarchyAuth));
        let request = PrimaryRequest { owner_auth: secret(8), ..PrimaryRequest::default() };
        let primary = tpm.storage_primary(&request).unwrap();
        tpm.check_primary(&primary).unwrap();
        assert_eq!(tpm.evict(&primary, &secret(9)), Err(Error::HierarchyAuth));
        tpm.evict(&primary, &secret(8)).unwrap();
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn a_primary_with_an_authorisation() {
    let (swtpm, proxy) = counted();
    for bus_protection in [true, false] {
        let tpm = with(&proxy.tcti(), Options { bus_protection, ..Options::default() });
        let request = PrimaryRequest { primary_auth: secret(8), ..PrimaryRequest::default() };
        let primary = tpm.storage_primary(&request).unwrap();
        assert_eq!(tpm.storage_primary(&request).unwrap(), primary);
        // With another authorisation value it is not the one wanted: another handle is used.
        let other = PrimaryRequest { primary_auth: secret(9), ..PrimaryRequest::default() };
        let second = tpm.storage_primary(&other).unwrap();
        assert_eq!(second.location, Location::Persistent(0x8100_0002));

        let (so_auth, user_auth, data) = (secret(1), secret(2), secret(3));
        let (so, user) = tpm
            .create_pin_objects(
                &primary,
                SealRequest { auth: &so_auth, data: &data },
                SealRequest { auth: &user_auth, data: &data },
                None,
            )
            .unwrap();
        let key_auth = secret(4);
        let wrapped = tpm.create_key(&primary, &p256(), &key_auth, None).unwrap();
        let name = wrapped.name().unwrap();
        let key = Key { primary: &primary, wrapped: &wrapped, name: &name, auth: &key_auth, policy: None };
        for _ in 0..2 {
            assert!(tpm.unseal(&primary, &user, &user_auth, None).unwrap() == data);
            common::sign_and_check(&tpm, &key);
            tpm.release();
            common::sign_and_check(&tpm, &key);
            common::sign_and_check(&tpm, &key);
        }
        let so_name = so.name().unwrap();
        let private = tpm.change_user_auth(&primary, &user, &so_name, None, &user_auth, &secret(6)).unwrap();
        let user = Wrapped { private, ..user };
        assert!(tpm.unseal(&primary, &user, &secret(6), None).unwrap() == data);
        let private = tpm.reset_user_auth(&primary, &user, &so, None, &so_auth, &secret(7)).unwrap();
        let user = Wrapped { private, ..user };
        assert!(tpm.unseal(&primary, &user, &secret(7), None).unwrap() == data);
        // A wrong authorisation of the primary is not a wrong PIN.
        let wrong = primary.clone().with_auth(secret(9));
        assert_eq!(tpm.unseal(&wrong, &user, &secret(7), None), Err(Error::HierarchyAuth));
        for primary in [&primary, &second] {
            tpm.evict(primary, &Secret::zeroed(0)).unwrap();
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

/// What other software made at the usual handle is adopted if it is a storage key, whatever its template.
#[test]
fn primaries_of_others_are_adopted() {
    let rsa = tss_esapi::utils::create_restricted_decryption_rsa_public(
        SymmetricDefinitionObject::AES_128_CFB,
        RsaKeyBits::Rsa2048,
        RsaExponent::default(),
    )
    .unwrap();
    for public in [rsa, ecc_storage(EccCurve::NistP384, HashingAlgorithm::Sha384, true)] {
        let swtpm = SwTpm::start();
        persist(&swtpm, public, 0x8100_0001);
        let stage = Stage::set(&swtpm, &[p256()]);
        assert_eq!(stage.primary.location, Location::Persistent(0x8100_0001));
        let tpm = at(&swtpm.tcti());
        stage.login(&tpm);
        stage.sign(&tpm, 0);
        stage.sign(&tpm, 0);
        assert_eq!(tpm.unseal(&stage.primary, &stage.user, &secret(77), None), Err(Error::AuthFailed));
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn what_is_no_storage_key_is_stepped_around() {
    let swtpm = SwTpm::start();
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    let signing = tss_esapi::utils::create_unrestricted_signing_ecc_public(scheme, EccCurve::NistP256).unwrap();
    persist(&swtpm, signing, 0x8100_0001);
    let tpm = at(&swtpm.tcti());
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_eq!(primary.location, Location::Persistent(0x8100_0002));
    let request = PrimaryRequest { handle: Some(0x8100_0001), ..PrimaryRequest::default() };
    assert!(matches!(tpm.storage_primary(&request), Err(Error::Invalid(_))));
    let request = PrimaryRequest { handle: Some(0x8100_0042), ..PrimaryRequest::default() };
    let requested = tpm.storage_primary(&request).unwrap();
    assert_eq!(requested.location, Location::Persistent(0x8100_0042));
    assert_eq!(requested.name(), primary.name());
    let request = PrimaryRequest { handle: Some(0x8000_0000), ..PrimaryRequest::default() };
    assert!(matches!(tpm.storage_primary(&request), Err(Error::Invalid(_))));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// A storage key that can be duplicated: who put it there may have a copy of all that it is to keep secret.
#[test]
fn a_storage_key_that_others_may_have_is_not_adopted() {
    let swtpm = SwTpm::start();
    persist(&swtpm, ecc_storage(EccCurve::NistP256, HashingAlgorithm::Sha256, false), 0x8100_0001);
    let tpm = at(&swtpm.tcti());
    let request = PrimaryRequest { handle: Some(0x8100_0001), ..PrimaryRequest::default() };
    let refused = tpm.storage_primary(&request).unwrap_err();
    assert!(refused.to_string().contains("others may know its private part"), "{refused}");
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    assert_eq!(primary.location, Location::Persistent(0x8100_0002));
    let area = PublicArea::parse(&primary.public).unwrap();
    assert!(area.attributes().contains(Attributes::FIXED_TPM.union(Attributes::FIXED_PARENT)));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

fn ecc_storage(curve: EccCurve, hash: HashingAlgorithm, fixed: bool) -> Public {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(fixed)
        .with_fixed_parent(fixed)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_decrypt(true)
        .with_restricted(true)
        .build()
        .unwrap();
    let symmetric = SymmetricDefinitionObject::AES_128_CFB;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(hash)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            symmetric,
            EccScheme::Null,
            curve,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
        .unwrap()
}

fn persist(swtpm: &SwTpm, public: Public, handle: u32) {
    let mut context = theirs(swtpm);
    context
        .execute_with_nullauth_session(|context| {
            let made = context.create_primary(Hierarchy::Owner, public, None, None, None, None)?;
            let handle = Persistent::Persistent(PersistentTpmHandle::new(handle)?);
            context.evict_control(Provision::Owner, made.key_handle.into(), handle)?;
            context.flush_context(made.key_handle.into())
        })
        .unwrap();
}

/// The template of the TCG Provisioning Guidance, written out here once more.
#[test]
fn the_primary_is_the_srk_of_the_provisioning_guidance() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let area = PublicArea::parse(&stage.primary.public).unwrap();
    assert_eq!((area.object_type(), area.name_alg(), area.attributes().bits()), (0x23, 0x0b, 0x0003_0472));
    // What it is derived from: the same seed and template give the same key to other software.
    let unique = EccPoint::new(vec![0; 32].try_into().unwrap(), vec![0; 32].try_into().unwrap());
    let Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } =
        Public::unmarshall(&stage.primary.public[2..]).unwrap()
    else {
        panic!()
    };
    let template = Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique };
    let mut context = theirs(&swtpm);
    let made = context
        .execute_with_nullauth_session(|context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })
        .unwrap();
    assert_eq!(tpm2b(&made.out_public.marshall().unwrap()), stage.primary.public);
}
