//! What is fed: everything that reads bytes which others wrote.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use admin::Admin;
use base::Secret;
use keyfile::{Key, PublicKey};
use store::peer::PeerValue;
use token::Config;
use tpm::{AuthorityKey, Name, PcrSelection, Policy, PolicyCommand, PublicArea, TctiConf};

use super::answers::Answers;
use super::mutate::Form;
use super::peer::PeerRows;
use super::{corpus, peer};
use crate::world::World;

/// Something that reads.
pub trait Reader {
    /// Well-formed input.
    fn specimens(&self) -> Vec<Vec<u8>>;

    /// Reads, and says what came of it in words that tell one kind of outcome from another. A panic is a finding.
    fn read(&mut self, input: &[u8]) -> String;
}

/// A reader that is to be fed.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What its input is made of.
    pub form: Form,
    /// How many times as long as others an input may take: that of key files says how often a passphrase is hashed.
    pub patience: u32,
    /// Makes it, in a directory of its own.
    pub reader: fn(&Path) -> Box<dyn Reader>,
}

/// All of them.
pub static TARGETS: &[Target] = &[
    Target { name: "keys", form: Form::Der, patience: 6, reader: |place| plain(corpus::key_files(place), read_keys) },
    Target { name: "areas", form: Form::Binary, patience: 1, reader: |_| plain(areas(), read_area) },
    Target { name: "policies", form: Form::Text, patience: 1, reader: |_| plain(policies(), read_policy) },
    Target { name: "names", form: Form::Text, patience: 1, reader: |_| plain(corpus::names(), read_name) },
    Target { name: "yaml", form: Form::Text, patience: 1, reader: |_| plain(peer::documents(), read_yaml) },
    Target { name: "approvals", form: Form::Text, patience: 1, reader: |place| Box::new(Approvals::new(place)) },
    Target {
        name: "configuration",
        form: Form::Text,
        patience: 1,
        reader: |place| Box::new(Configuration(place.join(CONFIG))),
    },
    Target { name: "store", form: Form::Binary, patience: 1, reader: |place| Box::new(StoreFile::new(place)) },
    Target { name: "peer", form: Form::Text, patience: 1, reader: |place| Box::new(PeerRows::new(place)) },
    Target { name: "answers", form: Form::Answers, patience: 1, reader: |place| Box::new(Answers::new(place)) },
];

/// What is found for sure, by whoever finds anything.
pub static PLANTED: &[Target] = &[
    Target {
        name: "planted-panic",
        form: Form::Text,
        patience: 1,
        reader: |_| {
            plain(vec![b"fine".to_vec()], |input| {
                assert_eq!(input.first(), Some(&b'f'), "planted");
                String::new()
            })
        },
    },
    Target {
        name: "planted-hang",
        form: Form::Text,
        patience: 1,
        reader: |_| {
            plain(vec![b"fine".to_vec()], |input| {
                if input.first() != Some(&b'f') {
                    std::thread::sleep(std::time::Duration::from_secs(10_000));
                }
                String::new()
            })
        },
    },
    Target {
        name: "planted-crash",
        form: Form::Text,
        patience: 1,
        reader: |_| {
            plain(vec![b"fine".to_vec()], |input| {
                if input.first() != Some(&b'f') {
                    std::process::abort();
                }
                String::new()
            })
        },
    },
];

/// The target with this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain(PLANTED).find(|target| target.name == name)
}

/// The file that `TPM2_CRYPTOKI_CONFIG` names, in the directory of the reader.
pub(super) const CONFIG: &str = "config.toml";

struct Plain {
    specimens: Vec<Vec<u8>>,
    read: fn(&[u8]) -> String,
}

fn plain(specimens: Vec<Vec<u8>>, read: fn(&[u8]) -> String) -> Box<dyn Reader> {
    Box::new(Plain { specimens, read })
}

impl Reader for Plain {
    fn specimens(&self) -> Vec<Vec<u8>> {
        self.specimens.clone()
    }

    fn read(&mut self, input: &[u8]) -> String {
        (self.read)(input)
    }
}

fn read_keys(input: &[u8]) -> String {
    let file = Secret::copy_from(input);
    let passphrase = Secret::copy_from(corpus::PASSPHRASE);
    let read = match keyfile::read(&file, None) {
        Err(keyfile::Error::PassphraseNeeded) => keyfile::read(&file, Some(&passphrase)),
        read => read,
    };
    let mut outcome = match read {
        Ok(found) => {
            let what = match &found.key {
                Some(Key::Private(key)) => {
                    let public = PublicKey::of(key);
                    assert_eq!(PublicKey::from_spki(&public.spki()).unwrap(), public);
                    let _ = public.to_openssh("comment");
                    "a private key".to_owned()
                }
                Some(Key::Tss2(key)) => read_tss_key(key),
                None => "no key".to_owned(),
            };
            format!("{what} {} {}", found.certificates.len(), found.name.is_some())
        }
        Err(error) => format!("{error:?}"),
    };
    outcome += &match keyfile::read_public(&file) {
        Ok(key) => format!(" public {}", key.to_pem().len()),
        Err(error) => format!(" {error:?}"),
    };
    match keyfile::read_certificates(input) {
        Ok(found) => found.iter().for_each(|certificate| {
            let _ = (certificate.common_name(), base::certificate::public_key_info(input));
        }),
        Err(error) => outcome += &format!(" {error:?}"),
    }
    outcome + if keyfile::read_secret(&file).is_ok() { " secret" } else { "" }
}

fn read_tss_key(key: &keyfile::tss2::TssKey) -> String {
    let again = keyfile::tss2::TssKey::from_der(&key.to_der());
    assert_eq!(again.as_ref(), Ok(key), "what is written is not what was read");
    let commands = |commands: &[keyfile::tss2::PolicyCommand]| -> Vec<PolicyCommand> {
        let command = |command: &keyfile::tss2::PolicyCommand| PolicyCommand {
            code: command.code,
            parameters: command.parameters.clone(),
        };
        commands.iter().map(command).collect()
    };
    let approvals: Vec<_> = key.auth_policies.iter().map(|policy| commands(policy)).collect();
    match PublicArea::parse(&key.public) {
        Ok(area) => match Policy::from_key_file(&area, &commands(&key.policy), &approvals) {
            Ok((policy, approvals)) => format!("{:?} {} {}", key.kind, policy.steps().len(), approvals.len()),
            Err(error) => format!("{:?} {error:?}", key.kind),
        },
        Err(error) => format!("{:?} {error:?}", key.kind),
    }
}

fn areas() -> Vec<Vec<u8>> {
    [corpus::public_areas(), corpus::references()].concat()
}

fn read_area(input: &[u8]) -> String {
    let mut outcome = match PublicArea::parse(input) {
        Ok(area) => {
            if let Ok(bytes) = area.marshal() {
                assert_eq!(PublicArea::parse(&bytes).unwrap().marshal().unwrap(), bytes);
            }
            let _ = (area.name(), area.hmac(), area.aes_bits(), area.can_go_to(&area), area.is_parent());
            format!("{:#x} {:?} {}", area.object_type(), area.key_bits(), area.ecc().is_some() || area.rsa().is_some())
        }
        Err(error) => format!("{error:?}"),
    };
    // Without the length that stands before it.
    if let Ok(key) = AuthorityKey::from_public(input.get(2..).unwrap_or_default()) {
        let _ = (key.fingerprint(), key.rsa(), key.ec(), key.hash());
        outcome += " authority";
    }
    if let Ok(name) = Name::from_bytes(input) {
        outcome += if name.to_string().is_empty() { "" } else { " name" };
    }
    outcome + &format!(" {:?}", admin::handle_of_reference(input).map(|handle| handle >> 24))
}

fn policies() -> Vec<Vec<u8>> {
    let policies = corpus::policies().into_iter().map(|policy| serde_json::to_vec(&policy).unwrap());
    let limit = "{\"counter\":{\"index\":25165824,\"name\":\"00\"},\"most\":7}";
    policies.chain([limit.as_bytes().to_vec()]).collect()
}

fn read_policy(input: &[u8]) -> String {
    let _ = serde_json::from_slice::<tpm::CounterLimit>(input);
    let _ = serde_json::from_slice::<tpm::Capabilities>(input);
    match serde_json::from_slice::<Policy>(input) {
        Ok(policy) => {
            let again: Policy = serde_json::from_slice(&serde_json::to_vec(&policy).unwrap()).unwrap();
            assert!(again == policy, "what is written is not what was read");
            format!("{policy} {} {}", policy.needs_auth_value(), policy.to_commands().is_ok())
        }
        Err(error) => format!("{:?}", error.classify()),
    }
}

fn read_name(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
    let uri = match text.parse::<admin::KeyUri>() {
        Ok(uri) => format!("{} {}", uri.object.is_some(), uri.id.is_some()),
        Err(why) => why.to_owned(),
    };
    let tcti = text.parse::<TctiConf>().map(|conf| {
        // The notation has no way to say a comma or such, and so reads back what it can say only.
        let _ = conf.to_string().parse::<TctiConf>();
        std::mem::discriminant(&conf)
    });
    let selection = text.parse::<PcrSelection>();
    if let Ok(selection) = &selection {
        assert_eq!(selection.to_string().parse::<PcrSelection>().as_ref(), Ok(selection));
    }
    let attribute = admin::attribute_named(text).is_ok();
    let changes = admin::parse_changes(text).map(|changes| changes.len());
    format!("{uri} {:?} {:?} {attribute} {changes:?}", tcti.is_ok(), selection.map(|found| found.indices().count()))
}

fn read_yaml(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
    match PeerValue::parse(text) {
        Ok(value) => {
            let found = ["0", "3", "token-init", "esys-tr"].map(|key| value.find(key).map(describe));
            format!("{} {found:?}", describe(&value))
        }
        Err(why) => why.chars().take_while(|c| !c.is_ascii_digit()).collect(),
    }
}

fn describe(value: &PeerValue) -> String {
    match value {
        PeerValue::Scalar { tag, .. } => format!("{tag:?} {:?} {}", value.truth(), value.number().is_some()),
        PeerValue::List(items) => format!("list {}", items.len().min(8)),
        PeerValue::Map(entries) => format!("map {}", entries.len().min(8)),
    }
}

/// The configuration of a reader: in its directory, with a TPM that is not there.
pub(super) fn config(place: &Path, approvals: &Path) -> Config {
    Config {
        store_dir: place.join("store"),
        tcti: Some(format!("device:{}", place.join("none").display())),
        bus_protection: true,
        idle: std::time::Duration::from_secs(1),
        wait: std::time::Duration::from_secs(1),
        threads: false,
        empty_slot: true,
        max_sessions: 4096,
        session_memory: 64,
        wrong_pins: 5,
        strict_templates: false,
        approvals: vec![approvals.to_owned()],
    }
}

/// A directory as a store wants it.
pub(super) fn private_directory(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

pub(super) fn write_private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

struct Approvals {
    admin: Admin,
    file: PathBuf,
}

impl Approvals {
    fn new(place: &Path) -> Approvals {
        let file = place.join("approvals.json");
        let config = config(place, &file);
        private_directory(&config.store_dir);
        drop(store::Store::create(&config.store_file()).unwrap());
        Approvals { admin: Admin::open(config).unwrap(), file }
    }
}

impl Reader for Approvals {
    fn specimens(&self) -> Vec<Vec<u8>> {
        corpus::approvals()
    }

    fn read(&mut self, input: &[u8]) -> String {
        std::fs::write(&self.file, input).unwrap();
        let found = self.admin.approvals().unwrap();
        format!(
            "{:?}",
            found.iter().map(|approval| serde_json::to_value(approval).unwrap()["pcrs"].clone()).collect::<Vec<_>>()
        )
    }
}

struct Configuration(PathBuf);

impl Reader for Configuration {
    fn specimens(&self) -> Vec<Vec<u8>> {
        corpus::configurations()
    }

    fn read(&mut self, input: &[u8]) -> String {
        write_private(&self.0, input);
        match Config::from_environment() {
            Ok(config) => format!("{} {:?} {}", config.bus_protection, config.tcti.is_some(), config.approvals.len()),
            Err(error) => format!("{error:?}").chars().take(120).collect(),
        }
    }
}

/// A store as somebody else may have written it.
struct StoreFile {
    config: Config,
    specimen: Vec<u8>,
}

impl StoreFile {
    fn new(place: &Path) -> StoreFile {
        let config = config(place, &place.join("none"));
        private_directory(&config.store_dir);
        StoreFile { config, specimen: World::new().store_bytes() }
    }

    fn look(&self) -> token::Result<(usize, usize)> {
        let admin = Admin::open(self.config.clone())?;
        let mut objects = 0;
        let tokens = admin.tokens(None)?;
        let _ = (admin.primaries(), admin.approvals());
        for token in &tokens {
            for object in admin.objects(&token.label)? {
                let _ = admin.attributes(object.id);
                objects += 1;
            }
        }
        Ok((tokens.len(), objects))
    }
}

impl Reader for StoreFile {
    fn specimens(&self) -> Vec<Vec<u8>> {
        vec![self.specimen.clone()]
    }

    fn read(&mut self, input: &[u8]) -> String {
        let file = self.config.store_file();
        for beside in ["-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{beside}", file.display()));
        }
        write_private(&file, input);
        match self.look() {
            Ok(found) => format!("{found:?}"),
            Err(error) => format!("{error:?}").chars().take(60).collect(),
        }
    }
}
