//! A software TPM with a store and a token.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test takes what it needs")]

use std::time::Duration;

use admin::{Admin, InitRequest, KeyRequest, Pin};
use base::Secret;
use model::{AttributeType, ObjectClass, ObjectHandle, SessionHandle, Template, UserType, Value};
use swtpm_fixtures::{Proxy, SwTpm};
use token::{Config, Library};

pub(crate) struct World {
    pub(crate) tpm: SwTpm,
    pub(crate) proxy: Proxy,
    pub(crate) config: Config,
    _dir: tempfile::TempDir,
}

pub(crate) fn pin(text: &str) -> Secret {
    Secret::copy_from(text.as_bytes())
}

impl World {
    pub(crate) fn new() -> Self {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            store_dir: dir.path().join("store"),
            tcti: Some(proxy.tcti()),
            bus_protection: true,
            idle: Duration::from_millis(300),
            wait: Duration::from_secs(60),
            threads: true,
            empty_slot: true,
            max_sessions: 4096,
            session_memory: 64,
            wrong_pins: 5,
            strict_templates: false,
            approvals: vec![dir.path().join("approvals.d")],
        };
        Self { tpm, proxy, config, _dir: dir }
    }

    pub(crate) fn with_token(keys: &[&str]) -> Self {
        let world = Self::new();
        let request = InitRequest { owner_auth: pin(""), primary_auth: pin(""), handle: None, transient: None };
        Admin::init(world.config.clone(), &request).unwrap();
        let admin = Admin::open(world.config.clone()).unwrap();
        admin.add_token(None, "server", &pin("sopin"), Some(&pin("userpin"))).unwrap();
        for key in keys {
            let request = KeyRequest {
                label: "server".to_owned(),
                pin: Pin::User(pin("userpin")),
                algorithm: key.parse().unwrap(),
                key_label: Some((*key).to_owned()),
                id: None,
                always_authenticate: false,
                backup: None,
            };
            admin.add_key(&request).unwrap();
        }
        world
    }

    /// A read/write session of the user.
    pub(crate) fn logged_in(&self) -> (Library, SessionHandle) {
        let library = Library::open(self.config.clone()).unwrap();
        let slot = library.slot_list(true).unwrap()[0];
        let session = library.open_session(slot, true).unwrap();
        library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
        (library, session)
    }

    pub(crate) fn marked(&self, names: &[&str]) {
        assert_eq!(self.proxy.mark().names(), names);
    }
}

pub(crate) fn find(library: &Library, session: SessionHandle, class: ObjectClass, label: &str) -> ObjectHandle {
    let template = Template::new()
        .with(AttributeType::CLASS, Value::Ulong(class.0))
        .with(AttributeType::LABEL, Value::Bytes(label.as_bytes().to_vec()));
    library.find_init(session, &template).unwrap();
    let found = library.find(session, 10).unwrap();
    library.find_final(session).unwrap();
    assert_eq!(found.len(), 1, "{label}");
    found[0]
}
