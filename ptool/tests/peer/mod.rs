//! A store of tpm2-pkcs11 as its releases from 1.4 on write it, with more tokens than anybody has: a transcript spoils them one by
//! one.

use std::fmt::Write;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use base::Secret;
use base::curve::Curve;
use base::digest::Hash;
use rusqlite::{Connection, params};

use crate::common::Machine;

/// The tokens are `t1` and so on.
const TOKENS: i64 = 26;

const USER_PIN: &str = "userpin";
const SO_PIN: &str = "sopin";

/// What the tokens' keys are wrapped under.
const WRAPPING_KEY: [u8; 32] = [0xc3; 32];

const SCHEMA: &str = "
    CREATE TABLE tokens (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, label TEXT UNIQUE, config TEXT NOT NULL);
    CREATE TABLE sealobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, userpub BLOB, userpriv BLOB, userauthsalt TEXT,
        sopub BLOB NOT NULL, sopriv BLOB NOT NULL, soauthsalt TEXT NOT NULL);
    CREATE TABLE pobjects (id INTEGER PRIMARY KEY, hierarchy TEXT NOT NULL, config TEXT NOT NULL, objauth TEXT NOT NULL);
    CREATE TABLE tobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, attrs TEXT NOT NULL);
    CREATE TABLE schema (id INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL);
    INSERT INTO schema VALUES (1, 8);";

/// Makes the store in the directory `from`: the primary is at 0x81000001, and the first token has an EC key pair.
pub(crate) fn make(machine: &Machine) {
    let tpm = tpm::Tpm::new(machine.tpm.tcti().parse().unwrap(), tpm::Options::default());
    let primary = tpm.storage_primary(&tpm::PrimaryRequest::default()).unwrap();
    let directory = machine.home.path().join("from");
    std::fs::create_dir(&directory).unwrap();
    let mut conn = Connection::open(directory.join("tpm2_pkcs11.sqlite3")).unwrap();
    let store = conn.transaction().unwrap();
    store.execute_batch(SCHEMA).unwrap();
    let config = format!("{{transient: false, esys-tr: {}}}", hex(&reference(&primary)));
    store.execute("INSERT INTO pobjects VALUES (1, 'o', ?1, '')", [config]).unwrap();
    for id in 1..=TOKENS {
        let salts = [hex(&[id as u8; 32]), hex(&[0x80 | id as u8; 32])];
        let [so, user] = [(SO_PIN, &salts[0]), (USER_PIN, &salts[1])].map(|(pin, salt)| {
            let data = Secret::copy_from(hex(&WRAPPING_KEY).as_bytes());
            let request = tpm::SealRequest { auth: &authorization(pin, salt), data: &data };
            tpm.create_pin_object(&primary, None, request).unwrap()
        });
        store.execute("INSERT INTO tokens VALUES (?1, 1, 't' || ?1, '{token-init: true}')", [id]).unwrap();
        let values = params![id, user.public, user.private, salts[1], so.public, so.private, salts[0]];
        store.execute("INSERT INTO sealobjects VALUES (?1 + 40, ?1, ?2, ?3, ?4, ?5, ?6, ?7)", values).unwrap();
    }
    let auth = hex(&[0x5a; 16]);
    let template = tpm::KeyTemplate::Ecc { curve: Curve::P256 };
    let key = tpm.create_key(&primary, &template, &Secret::copy_from(auth.as_bytes()), None).unwrap();
    for attributes in key_pair(&key, &auth) {
        store.execute("INSERT INTO tobjects (tokid, attrs) VALUES (1, ?1)", [attributes]).unwrap();
    }
    store.commit().unwrap();
}

/// The private and the public half, labelled "key".
fn key_pair(key: &tpm::Wrapped, auth: &str) -> [String; 2] {
    let area = key.public_area().unwrap();
    let (curve, x, y) = area.ecc().unwrap();
    let point = base::curve::EcPublic::new(curve, x, y).unwrap();
    let public = hex(&key.public);
    // CKA_CLASS, CKA_LABEL, CKA_KEY_TYPE, CKA_ID, CKA_SIGN, and those of that software: authorization, public and private blob.
    let private = format!(
        "{{0: 3, 3: '6b6579', 256: 3, 258: '0a', 264: true, 2399141889: '{}', 2399141890: '{public}', 2399141891: '{}'}}",
        wrapped(auth.as_bytes()),
        hex(&key.private)
    );
    // CKA_EC_PARAMS and CKA_EC_POINT.
    let public = format!(
        "{{0: 2, 3: '6b6579', 256: 3, 258: '0a', 384: '{}', 385: '{}', 2399141890: '{public}'}}",
        hex(curve.oid_der()),
        hex(&point.point_der())
    );
    [private, public]
}

/// The authorization that a PIN makes: the first half of SHA-256 over PIN and salt, in hexadecimal digits.
fn authorization(pin: &str, salt: &str) -> Secret {
    Secret::copy_from(&hex(&Hash::Sha256.digest(&[pin.as_bytes(), salt.as_bytes()])).as_bytes()[..32])
}

/// `iv:tag:ciphertext` in hexadecimal digits, and these in hexadecimal digits once more.
fn wrapped(secret: &[u8]) -> String {
    let (mut body, iv) = (secret.to_vec(), [7; 12]);
    let cipher = Aes256Gcm::new(&WRAPPING_KEY.into());
    let tag = cipher.encrypt_inout_detached(&iv.into(), b"", body.as_mut_slice().into()).unwrap();
    hex(format!("{}:{}:{}", hex(&iv), hex(&tag), hex(&body)).as_bytes())
}

/// A reference to a persistent object, as the TPM2 Software Stack serializes it.
fn reference(primary: &tpm::Primary) -> Vec<u8> {
    let tpm::Location::Persistent(handle) = primary.location else { panic!("a transient primary") };
    let name = primary.name().as_bytes();
    let len = u16::try_from(name.len()).unwrap().to_be_bytes();
    [&handle.to_be_bytes()[..], &len, name, &1_u32.to_be_bytes(), &primary.public].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
