//! Rows of a store of tpm2-pkcs11, of the newest layout: what its columns say, bent, goes through the whole of `ptool migrate`
//! but for the writing.

use std::path::Path;

use admin::{Admin, MigrateRequest};
use base::Secret;
use base::curve::Curve;
use rusqlite::{Connection, params};
use swtpm_fixtures::SwTpm;
use token::Config;

use super::readers::{Reader, config, private_directory};
use crate::call::hex;

/// Between the documents of one input.
const SEPARATOR: u8 = 0x1f;

const PRIMARY: &str =
    "--- !!map { ? !!str \"esys-tr\" : !!str \"810000010000\", ? !!str \"transient\" : !!bool \"false\" }\n";
const TOKEN: &str = "--- !!map { ? !!str \"token-init\" : !!bool \"true\" }\n";
const KEY: &str = "---\n!!map {\n  ? !!int \"0\"\n  : !!int \"3\",\n  ? !!int \"3\"\n  : !!str \"6b6579\",\n  ? !!int \"256\"\n  : !!int \
    \"3\",\n  ? !!int \"258\"\n  : !!str \"0a0b\",\n  ? !!int \"264\"\n  : !!bool \"true\",\n  ? !!int \"1073743360\"\n  : !!seq [ !!int \
    \"4161\", !!int \"4164\" ],\n}\n...\n";

/// Documents of that store's columns.
pub(super) fn documents() -> Vec<Vec<u8>> {
    let plain = "0: 3\n3: '6b6579'\n1073743360: [4161, 0x1044]\ntoken-init: yes\n";
    [PRIMARY, TOKEN, KEY, plain].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The store, and a TPM that its primary may be in.
pub(super) struct PeerRows {
    config: Config,
    from: std::path::PathBuf,
    /// The primary's settings and a private key's attributes, true of the TPM.
    true_to_life: [String; 2],
    _tpm: SwTpm,
}

impl PeerRows {
    pub(super) fn new(place: &Path) -> PeerRows {
        let swtpm = SwTpm::start();
        let tpm = tpm::Tpm::new(swtpm.tcti().parse().unwrap(), tpm::Options::default());
        let primary = tpm.storage_primary(&tpm::PrimaryRequest::default()).unwrap();
        let template = tpm::KeyTemplate::Ecc { curve: Curve::P256 };
        let key = tpm.create_key(&primary, &template, &Secret::copy_from(&[b'a'; 32]), None).unwrap();
        tpm.release();
        let name = primary.name().as_bytes();
        let len = (name.len() as u16).to_be_bytes();
        let reference = [&[0x81, 0, 0, 1][..], &len, name, &1_u32.to_be_bytes(), &primary.public].concat();
        let settings = PRIMARY.replace("810000010000", &hex(&reference));
        let blobs = format!(
            "  ? !!int \"2399141889\"\n  : !!str \"{}\",\n  ? !!int \"2399141890\"\n  : !!str \"{}\",\n  ? !!int \
             \"2399141891\"\n  : !!str \"{}\",\n}}",
            hex(format!("{}:{}:{}", hex(&[7; 12]), hex(&[8; 16]), hex(&[9; 32])).as_bytes()),
            hex(&key.public),
            hex(&key.private)
        );
        let attributes = KEY.replacen('}', &blobs, 1);
        let mut config = config(place, &place.join("none"));
        config.tcti = Some(swtpm.tcti());
        private_directory(&config.store_dir);
        let from = place.join("tpm2-pkcs11");
        private_directory(&from);
        PeerRows { config, from, true_to_life: [settings, attributes], _tpm: swtpm }
    }

    fn write(&self, documents: &[&[u8]]) {
        let file = self.from.join("tpm2_pkcs11.sqlite3");
        let _ = std::fs::remove_file(&file);
        let conn = Connection::open(file).unwrap();
        conn.execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; BEGIN;
             CREATE TABLE tokens (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, label TEXT UNIQUE, config TEXT NOT NULL);
             CREATE TABLE sealobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, userpub BLOB, userpriv BLOB,
                 userauthsalt TEXT, sopub BLOB NOT NULL, sopriv BLOB NOT NULL, soauthsalt TEXT NOT NULL);
             CREATE TABLE pobjects (id INTEGER PRIMARY KEY, hierarchy TEXT NOT NULL, config TEXT NOT NULL, objauth TEXT NOT NULL);
             CREATE TABLE tobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, attrs TEXT NOT NULL);
             CREATE TABLE schema (id INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL);
             INSERT INTO schema VALUES (1, 9);",
        )
        .unwrap();
        let mut documents = documents.iter();
        let mut next = || documents.next().copied().unwrap_or_default();
        conn.execute("INSERT INTO pobjects VALUES (1, 'o', ?1, '')", params![next()]).unwrap();
        conn.execute("INSERT INTO tokens VALUES (1, 1, 'label', ?1)", params![next()]).unwrap();
        let seal = [next(), next()];
        conn.execute("INSERT INTO sealobjects VALUES (1, 1, ?1, ?2, 'aa', ?1, ?2, 'aa')", params![seal[0], seal[1]])
            .unwrap();
        for attributes in documents {
            conn.execute("INSERT INTO tobjects (tokid, attrs) VALUES (1, ?1)", params![attributes]).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    }
}

impl Reader for PeerRows {
    fn specimens(&self) -> Vec<Vec<u8>> {
        let seal = ["\0\u{e}\0\u{8}\0\u{b}\0\0\0R\0\0\0\u{10}\0\0", "\0\u{2}aa"];
        let [settings, attributes] = &self.true_to_life;
        let inputs = [
            [settings.as_str(), TOKEN, seal[0], seal[1], attributes, KEY],
            [PRIMARY, TOKEN, seal[0], seal[1], KEY, KEY],
        ];
        inputs.map(|documents| documents.join(&char::from(SEPARATOR).to_string()).into_bytes()).to_vec()
    }

    fn read(&mut self, input: &[u8]) -> String {
        let documents: Vec<&[u8]> = input.split(|byte| *byte == SEPARATOR).take(40).collect();
        self.write(&documents);
        let request = MigrateRequest { from: Some(self.from.clone()), dry_run: true };
        match Admin::migrate(self.config.clone(), &request) {
            Ok(report) => {
                let token = report.tokens.first();
                let objects =
                    token.iter().flat_map(|token| &token.objects).map(|object| (object.action, object.why.clone()));
                format!("{:?} {:?}", token.map(|token| (token.action, token.why.clone())), objects.collect::<Vec<_>>())
            }
            Err(error) => format!("{error:?}").chars().take(100).collect(),
        }
    }
}
