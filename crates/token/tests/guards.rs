//! What the token notices: altered rows, other processes, PINs that changed.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use admin::lockout::lockout_state;
use admin::{Admin, InitRequest, KeyRequest, Pin};
use common::{World, find, pin};
use model::{AttributeType as A, Mechanism, MechanismType as M, ObjectClass, Output, Template, UserType, Value};
use store::{OpenMode, Role, Store};
use token::info::AttributeValue;
use token::{Error, Library};

fn store(world: &World) -> Store {
    Store::open(&world.config.store_file(), OpenMode::ReadWrite).unwrap()
}

fn free_token() -> World {
    let world = World::new();
    let request = InitRequest { owner_auth: pin(""), primary_auth: pin(""), handle: None, transient: None };
    Admin::init(world.config.clone(), &request).unwrap();
    let admin = Admin::open(world.config.clone()).unwrap();
    admin.add_token(None, "server", &pin("sopin"), None).unwrap();
    let key = KeyRequest {
        label: "server".to_owned(),
        pin: Pin::None,
        algorithm: "ecc256".parse().unwrap(),
        key_label: Some("ecc256".to_owned()),
        id: None,
        always_authenticate: false,
        backup: None,
    };
    admin.add_key(&key).unwrap();
    world
}

fn signs(library: &Library, session: model::SessionHandle) -> Result<(), Error> {
    let key = find(library, session, ObjectClass::PRIVATE_KEY, "ecc256");
    library.sign_init(session, &Mechanism::plain(M::ECDSA_SHA256), key)?;
    library.sign(session, b"data", Output::Buffer(&mut [0; 64])).map(drop)
}

#[test]
fn a_token_without_pin_gets_one_and_wants_it() {
    for by_officer in [true, false] {
        let world = free_token();
        let library = Library::open(world.config.clone()).unwrap();
        let slot = library.slot_list(true).unwrap()[0];
        let session = library.open_session(slot, true).unwrap();
        assert_eq!(signs(&library, session), Ok(()), "without login");
        library.close_all_sessions(slot).unwrap();
        let session = library.open_session(slot, true).unwrap();
        if by_officer {
            library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
            library.init_pin(session, Some(pin("newpin"))).unwrap();
            library.logout(session).unwrap();
        } else {
            assert_eq!(library.set_pin(session, Some(pin("guess")), Some(pin("newpin"))), Err(Error::PinIncorrect));
            assert_eq!(lockout_state(&world.config).unwrap().failed_tries, 0, "a PIN was tried that there is not");
            library.set_pin(session, Some(pin("")), Some(pin("newpin"))).unwrap();
        }
        library.close_all_sessions(slot).unwrap();
        let session = library.open_session(slot, true).unwrap();
        assert_ne!(library.token_info(slot).unwrap().flags & model::flags::CKF_LOGIN_REQUIRED, 0);
        assert_eq!(library.login(session, UserType::User, Some(pin("wrong"))), Err(Error::PinIncorrect));
        library.login(session, UserType::User, Some(pin("newpin"))).unwrap();
        assert_eq!(signs(&library, session), Ok(()));
        library.close();
    }
}

/// What a session may do and what its state is depends on the calls of the caller, not on what the token had to open.
#[test]
fn a_token_without_pin_takes_a_login_and_needs_none() {
    use model::flags::{CKS_RO_USER_FUNCTIONS, CKS_RW_PUBLIC_SESSION, CKS_RW_SO_FUNCTIONS, CKS_RW_USER_FUNCTIONS};
    let world = free_token();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    let state = |session| library.session_info(session).unwrap().state;
    let login = |pin| library.login(session, UserType::User, pin);
    assert_eq!(library.logout(session), Err(Error::UserNotLoggedIn));
    for pin_of_none in [None, Some(pin(""))] {
        assert_eq!(signs(&library, session), Ok(()));
        assert_eq!(state(session), CKS_RW_PUBLIC_SESSION);
        assert_eq!(library.logout(session), Err(Error::UserNotLoggedIn));
        login(pin_of_none.clone()).unwrap();
        assert_eq!(state(session), CKS_RW_USER_FUNCTIONS);
        let reader = library.open_session(slot, false).unwrap();
        assert_eq!(state(reader), CKS_RO_USER_FUNCTIONS);
        library.close_session(reader).unwrap();
        assert_eq!(login(pin_of_none), Err(Error::UserAlreadyLoggedIn));
        assert_eq!(signs(&library, session), Ok(()));
        library.logout(session).unwrap();
    }
    assert_eq!(login(Some(pin("some pin"))), Err(Error::PinIncorrect));
    // The security officer comes in whatever was used before, and makes no signatures.
    let key = find(&library, session, ObjectClass::PRIVATE_KEY, "ecc256");
    assert_eq!(signs(&library, session), Ok(()));
    library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
    assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    let signing = library.sign_init(session, &Mechanism::plain(M::ECDSA_SHA256), key);
    assert_eq!(signing, Err(Error::KeyHandleInvalid));
    let data = Template::new().with(A::CLASS, Value::Ulong(ObjectClass::DATA.0)).with(A::TOKEN, Value::Bool(true));
    assert_eq!(library.create_object(session, &data), Err(Error::UserNotLoggedIn), "private data is the user's");
    assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    assert_eq!(login(None), Err(Error::UserAnotherAlreadyLoggedIn));
    library.logout(session).unwrap();
    assert_eq!(signs(&library, session), Ok(()));
    library.close();
}

/// A client that goes by CKA_ALWAYS_AUTHENTICATE logs in for the operation, also where there is no PIN to ask for.
#[test]
fn a_token_without_pin_takes_a_login_for_an_operation() {
    let world = free_token();
    let admin = Admin::open(world.config.clone()).unwrap();
    let request = KeyRequest {
        label: "server".to_owned(),
        pin: Pin::None,
        algorithm: "ecc256".parse().unwrap(),
        key_label: Some("careful".to_owned()),
        id: None,
        always_authenticate: true,
        backup: None,
    };
    admin.add_key(&request).unwrap();
    drop(admin);
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, false).unwrap();
    let again = |text| library.login(session, UserType::ContextSpecific, Some(pin(text)));
    let key = find(&library, session, ObjectClass::PRIVATE_KEY, "careful");
    assert_ne!(again(""), Ok(()), "no operation is active");
    library.sign_init(session, &Mechanism::plain(M::ECDSA_SHA256), key).unwrap();
    assert_eq!(again(""), Ok(()));
    assert_ne!(again("a pin"), Ok(()));
    library.sign(session, b"letter", Output::Buffer(&mut [0; 64])).unwrap();
    library.close();
}

/// A PIN that the officer set is one that the officer knows.
#[test]
fn a_pin_of_the_officers_is_to_be_changed() {
    use model::flags::CKF_USER_PIN_TO_BE_CHANGED;
    let world = World::with_token(&["ecc256"]);
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let marked = || library.token_info(slot).unwrap().flags & CKF_USER_PIN_TO_BE_CHANGED != 0;
    let session = library.open_session(slot, true).unwrap();
    assert!(!marked());
    library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
    library.init_pin(session, Some(pin("fromofficer"))).unwrap();
    library.logout(session).unwrap();
    assert!(marked());
    library.login(session, UserType::User, Some(pin("fromofficer"))).unwrap();
    assert_eq!(signs(&library, session), Ok(()), "it is a PIN all the same");
    library.set_pin(session, Some(pin("fromofficer")), Some(pin("my own"))).unwrap();
    assert!(!marked());
    // Another process's doing is seen without a search.
    Admin::open(world.config.clone()).unwrap().init_pin("server", &pin("sopin"), &pin("again")).unwrap();
    assert!(marked());
    library.close();
}

#[test]
fn a_token_that_only_looks_free_costs_one_try_and_not_the_lockout() {
    let world = World::with_token(&["ecc256"]);
    let id = store(&world).tokens().unwrap()[0].id;
    store(&world).set_token_state(id, true, false).unwrap();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    let session = library.open_session(slot, true).unwrap();
    for _ in 0..5 {
        assert_eq!(signs(&library, session), Err(Error::UserNotLoggedIn));
    }
    library.close();
    store(&world).set_token_state(id, true, true).unwrap();
    let library = Library::open(world.config.clone()).unwrap();
    let session = library.open_session(slot, true).unwrap();
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    library.close();
}

#[test]
fn another_seal_in_the_place_of_the_users_is_noticed() {
    let world = World::with_token(&["ecc256"]);
    let admin = Admin::open(world.config.clone()).unwrap();
    admin.add_token(None, "other", &pin("sopin2"), Some(&pin("attacker"))).unwrap();
    let tokens = store(&world).tokens().unwrap();
    let attackers = tokens.iter().find(|token| token.label == "other").unwrap().user.clone().unwrap();
    let victim = tokens.iter().find(|token| token.label == "server").unwrap().id;
    store(&world).set_pin(victim, Role::User, &attackers).unwrap();
    drop(admin);
    let admin = Admin::open(world.config.clone()).unwrap();
    assert!(matches!(admin.init_pin("server", &pin("sopin"), &pin("fresh pin")), Err(Error::Tampered(_))));
    assert!(matches!(admin.verify("server", None, Some(&pin("attacker"))), Err(Error::Tampered(_))));
}

#[test]
fn what_another_process_did_to_the_token_is_seen() {
    let world = World::with_token(&["ecc256"]);
    let (library, session) = world.logged_in();
    // A PIN that changed elsewhere: the new one is the right one, the old one is not.
    let admin = Admin::open(world.config.clone()).unwrap();
    admin.change_pin("server", UserType::User, &pin("userpin"), &pin("second")).unwrap();
    assert_eq!(library.set_pin(session, Some(pin("userpin")), Some(pin("third"))), Err(Error::PinIncorrect));
    library.set_pin(session, Some(pin("second")), Some(pin("third"))).unwrap();
    drop(admin);
    // Initialised anew: the login of the old token is no login of the new one.
    let other = Library::open(world.config.clone()).unwrap();
    let slot = other.slot_list(true).unwrap()[0];
    let mut label = [b' '; 32];
    label[..6].copy_from_slice(b"server");
    other.init_token(slot, Some(pin("sopin")), &label).unwrap();
    other.close();
    library.find_init(session, &Template::new()).unwrap();
    assert_eq!(library.find(session, 9), Ok(vec![]));
    library.find_final(session).unwrap();
    let public = Template::new()
        .with(A::TOKEN, Value::Bool(true))
        .with(A::EC_PARAMS, Value::Bytes(base::curve::Curve::P256.oid_der().to_vec()));
    let private = Template::new().with(A::TOKEN, Value::Bool(true));
    let made = library.generate_key_pair(session, &Mechanism::plain(M::EC_KEY_PAIR_GEN), &public, &private);
    assert_eq!(made, Err(Error::UserNotLoggedIn));
    // Removed: its sessions are of no use.
    Admin::open(world.config.clone()).unwrap().remove_token("server").unwrap();
    library.slot_list(true).unwrap();
    assert!(matches!(library.session_info(session), Err(Error::DeviceRemoved(_))));
    library.close();
}

#[test]
fn altered_rows_are_not_served_and_not_made_ours() {
    let world = World::with_token(&["rsa2048", "ecc256"]);
    let rows = store(&world).objects(1).unwrap();
    // A public key with another label, a private key with another's blob, a private key that may do more.
    let mut public = rows.iter().find(|row| row.class == ObjectClass::PUBLIC_KEY.0 as u32).unwrap().clone();
    public.label = Some(b"evil".to_vec());
    store(&world).replace_object(&public).unwrap();
    let library = Library::open(world.config.clone()).unwrap();
    let slot = library.slot_list(true).unwrap()[0];
    for user in [UserType::So, UserType::User] {
        let session = library.open_session(slot, true).unwrap();
        let secret = if user == UserType::So { pin("sopin") } else { pin("userpin") };
        library.login(session, user, Some(secret)).unwrap();
        let handle = model::ObjectHandle(public.id as u64);
        assert_eq!(library.get_attributes(session, handle, &[A::LABEL]), Err(Error::ObjectHandleInvalid));
        let relabel = Template::new().with(A::LABEL, Value::Bytes(b"fine".to_vec()));
        assert_eq!(library.set_attributes(session, handle, &relabel), Err(Error::ObjectHandleInvalid));
        assert_eq!(library.copy_object(session, handle, &Template::new()), Err(Error::ObjectHandleInvalid));
        library.close_all_sessions(slot).unwrap();
    }
    let report = Admin::open(world.config.clone()).unwrap().verify("server", None, Some(&pin("userpin"))).unwrap();
    assert_eq!(report.altered, [public.id]);
    // What a row hides is looked into as well.
    let mut private = rows.iter().find(|row| row.tpm_private.is_some()).unwrap().clone();
    private.wrapped_auth = Some(vec![0; 60]);
    store(&world).replace_object(&private).unwrap();
    let report = Admin::open(world.config.clone()).unwrap().verify("server", None, Some(&pin("userpin"))).unwrap();
    assert_eq!(report.altered.len(), 2);
    library.close();
}

/// With two TPMs in a machine the numbers of their devices say nothing.
#[test]
fn of_several_tpms_the_one_with_the_stores_primary_is_meant() {
    use token::manage::holder_of_primary;
    let world = World::with_token(&[]);
    let other = swtpm_fixtures::SwTpm::start();
    let absent = "device:/nonexistent/tpmrm0".to_owned();
    let holder = |tctis: &[&String]| {
        let devices: Vec<tpm::TctiConf> = tctis.iter().map(|tcti| tcti.parse().unwrap()).collect();
        holder_of_primary(&world.config, &devices)
    };
    let (own, other) = (world.proxy.tcti(), other.tcti());
    world.proxy.mark();
    assert_eq!(holder(&[&other, &own]), Some(1));
    world.marked(&["ReadPublic"]);
    assert_eq!(holder(&[&absent, &own, &other]), Some(1));
    assert_eq!(holder(&[&own, &other]), Some(0));
    assert_eq!(holder(&[&other, &absent]), None);
    // Nothing stays behind, also of a primary that the TPM is asked to make.
    assert!(swtpm_fixtures::leftovers(&world.tpm).is_clean());
    let nothing = token::Config { store_dir: world.config.store_dir.join("none"), ..world.config.clone() };
    assert_eq!(holder_of_primary(&nothing, &[own.parse().unwrap()]), None);
}

#[test]
fn a_trusted_certificate_stays_what_was_trusted() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let certificate = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::CERTIFICATE.0))
        .with(A::CERTIFICATE_TYPE, Value::Ulong(0))
        .with(A::TOKEN, Value::Bool(true))
        .with(A::SUBJECT, Value::Bytes(b"subject".to_vec()))
        .with(A::VALUE, Value::Bytes(b"a certificate".to_vec()));
    let certificate = library.create_object(session, &certificate).unwrap();
    let trust = Template::new().with(A::TRUSTED, Value::Bool(true));
    assert_eq!(library.set_attributes(session, certificate, &trust), Err(Error::AttributeReadOnly(A::TRUSTED)));
    library.logout(session).unwrap();
    library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
    library.set_attributes(session, certificate, &trust).unwrap();
    library.logout(session).unwrap();
    library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
    let trusted = |handle| library.get_attributes(session, handle, &[A::TRUSTED]).unwrap()[0].clone();
    assert_eq!(trusted(certificate), AttributeValue::Value(vec![1]));
    let other = Template::new().with(A::VALUE, Value::Bytes(b"another".to_vec()));
    assert_eq!(library.set_attributes(session, certificate, &other), Err(Error::AttributeReadOnly(A::VALUE)));
    let copy = library.copy_object(session, certificate, &Template::new()).unwrap();
    assert_eq!(trusted(copy), AttributeValue::Value(vec![0]));
    library.close();
}

#[test]
fn private_data_is_never_in_clear_in_the_store() {
    let world = World::with_token(&[]);
    let (library, session) = world.logged_in();
    let open = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::DATA.0))
        .with(A::PRIVATE, Value::Bool(false))
        .with(A::VALUE, Value::Bytes(b"becomes a secret".to_vec()));
    let open = library.create_object(session, &open).unwrap();
    let hidden = Template::new().with(A::TOKEN, Value::Bool(true)).with(A::PRIVATE, Value::Bool(true));
    let hidden = library.copy_object(session, open, &hidden).unwrap();
    let value = library.get_attributes(session, hidden, &[A::VALUE]).unwrap();
    assert_eq!(value, [AttributeValue::Value(b"becomes a secret".to_vec())]);
    let file = std::fs::read(world.config.store_file()).unwrap();
    assert!(!file.windows(16).any(|window| window == b"becomes a secret"));
    library.close();
}

#[test]
fn another_file_in_the_place_of_the_store_is_another_store() {
    let world = World::with_token(&["ecc256"]);
    let before = std::fs::read(world.config.store_file()).unwrap();
    let (library, session) = world.logged_in();
    let note = |text: &[u8]| {
        Template::new()
            .with(A::CLASS, Value::Ulong(ObjectClass::DATA.0))
            .with(A::TOKEN, Value::Bool(true))
            .with(A::VALUE, Value::Bytes(text.to_vec()))
    };
    let gone = library.create_object(session, &note(b"one")).unwrap();
    let file = world.config.store_file();
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, before).unwrap();
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(&fresh, &file).unwrap();
    let other = Library::open(world.config.clone()).unwrap();
    let slot = other.slot_list(true).unwrap()[0];
    let there = other.open_session(slot, true).unwrap();
    other.login(there, UserType::User, Some(pin("userpin"))).unwrap();
    let kept = other.create_object(there, &note(b"two")).unwrap();
    assert_eq!(kept, gone, "the same number in another file");
    assert_eq!(library.destroy_object(session, gone), Err(Error::ObjectHandleInvalid));
    assert!(other.get_attributes(there, kept, &[A::VALUE]).is_ok());
    library.slot_list(true).unwrap();
    library.find_init(session, &Template::new().with(A::CLASS, Value::Ulong(ObjectClass::DATA.0))).unwrap();
    assert_eq!(library.find(session, 9), Ok(vec![kept]));
    library.close();
    other.close();
}
