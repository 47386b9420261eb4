//! Stores to test with.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use base::Secret;
use store::{NewObject, NewPrimary, NewToken, PinRow, Store};
use tempfile::TempDir;

/// A directory with the name of a store in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.sqlite3");
    (dir, file)
}

pub(crate) fn primary() -> NewPrimary<'static> {
    NewPrimary {
        hierarchy: 'o',
        handle: Some(0x8100_0001),
        template: store::Template::Srk,
        public: b"public",
        name: b"name",
        auth: Secret::zeroed(0),
        capabilities: "{}",
    }
}

pub(crate) fn pin(byte: u8) -> PinRow {
    PinRow {
        public: vec![byte; 80],
        private: vec![byte; 120],
        salt: vec![byte; 32],
        derivation: store::Derivation::Pbkdf2,
        iterations: 10_000,
        to_be_changed: false,
    }
}

pub(crate) fn token(primary_id: i64, serial: &str) -> NewToken<'_> {
    NewToken {
        primary_id,
        label: "label",
        serial,
        initialized: true,
        login_required: true,
        so: Some(pin(1)),
        user: Some(pin(2)),
        config: "{}",
        policy: Some("{\"policy\":[]}"),
    }
}

/// A primary and a token under it; the id of the token.
pub(crate) fn with_token(store: &Store) -> i64 {
    let primary = store.add_primary(&primary()).unwrap();
    store.add_token(&token(primary, "0123456789abcdef")).unwrap()
}

/// One more token.
pub(crate) fn with_another_token(store: &Store) -> i64 {
    let first = store.primaries().unwrap()[0].id;
    store.add_token(&token(first, "fedcba9876543210")).unwrap()
}

/// An object with a random uid, every column and some attributes.
pub(crate) fn object(token_id: i64) -> NewObject {
    NewObject {
        token_id,
        uid: base::random::bytes(16).unwrap().try_into().unwrap(),
        class: 3,
        key_type: Some(0),
        label: Some(b"a key \xff".to_vec()),
        cka_id: Some(vec![0, 1]),
        private: true,
        tpm_name: Some(vec![1; 34]),
        tpm_public: Some(vec![2; 300]),
        tpm_private: Some(vec![3; 222]),
        wrapped_auth: Some(vec![4; 60]),
        policy: Some("{}".to_owned()),
        mac: Some(vec![5; 32]),
        attributes: vec![(0, vec![1]), (0x8000_0000_0000_0001, vec![2; 9]), (3, Vec::new())],
    }
}

/// The names of all files beside the store.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
