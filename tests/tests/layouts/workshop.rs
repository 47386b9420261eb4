//! Stores of tpm2-pkcs11, made by hand, with seals and keys of a real TPM in them.

use std::fmt::Write;
use std::path::PathBuf;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use base::Secret;
use base::curve::Curve;
use base::digest::Hash;
use pkcs11_sys::*;
use rusqlite::{Connection, params};
use serde_json::Value;
use tests::Ck;
use tests::openssl::OpenSsl;
use tests::world::World;

/// `CKA_TPM2_...` of that software.
pub(crate) const OBJAUTH_ENC: u64 = 0x8f00_0001;
pub(crate) const PUB_BLOB: u64 = 0x8f00_0002;
pub(crate) const PRIV_BLOB: u64 = 0x8f00_0003;
pub(crate) const ENC_BLOB: u64 = 0x8f00_0004;
pub(crate) const SERIALIZED_TR: u64 = 0x8f00_0005;

pub(crate) const USER_PIN: &str = "userpin";
pub(crate) const SO_PIN: &str = "sopin";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The authorization that a PIN makes: the first half of SHA-256 over PIN and salt, in hexadecimal digits.
pub(crate) fn authorization(pin: &str, salt: &str) -> Secret {
    Secret::copy_from(&hex(&Hash::Sha256.digest(&[pin.as_bytes(), salt.as_bytes()])).as_bytes()[..32])
}

/// One value as libyaml's canonical form has it.
pub(crate) fn text(value: &str) -> String {
    format!("!!str \"{value}\"")
}

pub(crate) fn int(value: u64) -> String {
    format!("!!int \"{value}\"")
}

pub(crate) fn truth(value: bool) -> String {
    format!("!!bool \"{value}\"")
}

pub(crate) fn list(values: &[u64]) -> String {
    format!("!!seq [ {} ]", values.iter().map(|value| int(*value)).collect::<Vec<_>>().join(", "))
}

pub(crate) fn map(entries: &[(u64, String)]) -> String {
    let mut text = "---\n!!map {\n".to_owned();
    for (key, value) in entries {
        writeln!(text, "  ? !!int \"{key}\"\n  : {value},").unwrap();
    }
    text + "}\n...\n"
}

/// A TPM with a primary and a key, from which stores are made.
pub(crate) struct Workshop {
    pub(crate) world: World,
    pub(crate) tpm: tpm::Tpm,
    pub(crate) primary: tpm::Primary,
    pub(crate) wrapping_key: [u8; 32],
    pub(crate) key: tpm::Wrapped,
    pub(crate) key_auth: String,
}

impl Workshop {
    pub(crate) fn new() -> Workshop {
        Workshop::of(World::empty())
    }

    pub(crate) fn of(world: World) -> Workshop {
        // Wrong PINs are tried on purpose.
        world.tpm.set_lockout(1000, 1000);
        let tpm = tpm::Tpm::new(world.tcti().parse().unwrap(), tpm::Options::default());
        let primary = tpm.storage_primary(&tpm::PrimaryRequest::default()).unwrap();
        let key_auth = hex(&[0x5a; 16]);
        let template = tpm::KeyTemplate::Ecc { curve: Curve::P256 };
        let key = tpm.create_key(&primary, &template, &Secret::copy_from(key_auth.as_bytes()), None).unwrap();
        Workshop { world, tpm, primary, wrapping_key: [0xc3; 32], key, key_auth }
    }

    /// The primary as the TPM2 Software Stack serializes a reference to it.
    pub(crate) fn reference(&self) -> Vec<u8> {
        let tpm::Location::Persistent(handle) = self.primary.location else { panic!("a transient primary") };
        let name = self.primary.name().as_bytes();
        let len = u16::try_from(name.len()).unwrap().to_be_bytes();
        [&handle.to_be_bytes()[..], &len, name, &1_u32.to_be_bytes(), &self.primary.public].concat()
    }

    pub(crate) fn seal(&self, pin: &str, salt: &str) -> tpm::Wrapped {
        let data = Secret::copy_from(hex(&self.wrapping_key).as_bytes());
        let request = tpm::SealRequest { auth: &authorization(pin, salt), data: &data };
        self.tpm.create_pin_object(&self.primary, None, request).unwrap()
    }

    /// `iv:tag:ciphertext` in hexadecimal digits, and these in hexadecimal digits once more.
    pub(crate) fn wrap(&self, secret: &[u8]) -> String {
        let mut body = secret.to_vec();
        let iv = [7; 12];
        let cipher = Aes256Gcm::new(&self.wrapping_key.into());
        let tag = cipher.encrypt_inout_detached(&iv.into(), b"", body.as_mut_slice().into()).unwrap();
        text(&hex(format!("{}:{}:{}", hex(&iv), hex(&tag), hex(&body)).as_bytes()))
    }

    /// The private key, with what a program wrote for its mechanisms.
    pub(crate) fn private_key(&self, label: &str, mechanisms: &str, always: bool) -> String {
        map(&[
            (CKA_CLASS, int(CKO_PRIVATE_KEY)),
            (CKA_TOKEN, truth(true)),
            (CKA_PRIVATE, truth(true)),
            (CKA_LABEL, text(&hex(label.as_bytes()))),
            (CKA_KEY_TYPE, int(CKK_EC)),
            (CKA_ID, text("0a0b")),
            (CKA_SENSITIVE, truth(false)),
            (CKA_DECRYPT, truth(true)),
            (CKA_SIGN, truth(true)),
            (CKA_MODIFIABLE, truth(false)),
            (CKA_ALWAYS_AUTHENTICATE, truth(always)),
            (CKA_UNWRAP_TEMPLATE, "!!seq []".to_owned()),
            (CKA_ALLOWED_MECHANISMS, mechanisms.to_owned()),
            (OBJAUTH_ENC, self.wrap(self.key_auth.as_bytes())),
            (PUB_BLOB, text(&hex(&self.key.public))),
            (PRIV_BLOB, text(&hex(&self.key.private))),
        ])
    }

    pub(crate) fn public_key(&self, label: &str) -> String {
        let area = self.key.public_area().unwrap();
        let (curve, x, y) = area.ecc().unwrap();
        let point = base::curve::EcPublic::new(curve, x, y).unwrap();
        map(&[
            (CKA_CLASS, int(CKO_PUBLIC_KEY)),
            (CKA_PRIVATE, truth(false)),
            (CKA_LABEL, text(&hex(label.as_bytes()))),
            (CKA_KEY_TYPE, int(CKK_EC)),
            (CKA_ID, text("0a0b")),
            // The wrong way round, as releases have it.
            (CKA_ENCRYPT, truth(true)),
            (CKA_VERIFY, truth(false)),
            (CKA_EC_PARAMS, text(&hex(curve.oid_der()))),
            (CKA_EC_POINT, text(&hex(&point.point_der()))),
            (PUB_BLOB, text(&hex(&self.key.public))),
        ])
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// An empty store of a version.
    pub(crate) fn store(&self, version: u32, name: &str) -> Store<'_> {
        std::fs::create_dir_all(self.directory(name)).unwrap();
        let conn = Connection::open(self.directory(name).join("tpm2_pkcs11.sqlite3")).unwrap();
        let required = if version == 1 { " NOT NULL" } else { "" };
        let place = if version < 4 { "handle BLOB NOT NULL" } else { "config TEXT NOT NULL" };
        conn.execute_batch(&format!(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE tokens (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, label TEXT UNIQUE, config TEXT NOT NULL,
                 FOREIGN KEY (pid) REFERENCES pobjects(id) ON DELETE CASCADE);
             CREATE TABLE sealobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, userpub BLOB{required},
                 userpriv BLOB{required}, userauthsalt TEXT{required}, sopub BLOB NOT NULL, sopriv BLOB NOT NULL,
                 soauthsalt TEXT NOT NULL, FOREIGN KEY (tokid) REFERENCES tokens(id) ON DELETE CASCADE);
             CREATE TABLE pobjects (id INTEGER PRIMARY KEY, hierarchy TEXT NOT NULL, {place}, objauth TEXT NOT NULL);
             CREATE TABLE tobjects (id INTEGER PRIMARY KEY, tokid INTEGER NOT NULL, attrs TEXT NOT NULL,
                 FOREIGN KEY (tokid) REFERENCES tokens(id) ON DELETE CASCADE);
             CREATE TABLE schema (id INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL);
             INSERT INTO schema VALUES (1, {version});"
        ))
        .unwrap();
        if version > 1 {
            conn.execute_batch(
                "CREATE TRIGGER limit_tokens BEFORE INSERT ON tokens BEGIN SELECT CASE WHEN
                     (SELECT COUNT (*) FROM tokens) >= 255 THEN RAISE(FAIL, 'too many') END; END;",
            )
            .unwrap();
        }
        let reference = self.reference();
        match version {
            1..4 => conn.execute("INSERT INTO pobjects VALUES (1, 'o', ?1, '')", params![reference]).unwrap(),
            _ => {
                // Two releases wrote the opposite word.
                let which = if version == 7 { ("persistent", "true") } else { ("transient", "false") };
                let config = format!(
                    "--- !!map {{ ? !!str \"esys-tr\" : !!str \"{}\", ? !!str \"{}\" : !!bool \"{}\" }}\n",
                    hex(&reference),
                    which.0,
                    which.1
                );
                conn.execute("INSERT INTO pobjects VALUES (1, 'o', ?1, '')", params![config]).unwrap()
            }
        };
        Store { workshop: self, conn }
    }

    /// Takes a store over.
    pub(crate) fn migrate(&self, name: &str, more: &[&str]) -> (Option<i32>, Value) {
        self.tpm.release();
        let from = self.directory(name);
        let arguments = [&["migrate", "--output=json", "--from", from.to_str().unwrap()], more].concat();
        let run = self.world.ptool(&arguments);
        (run.status, serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}")))
    }

    /// The key signs, and this is its signature.
    pub(crate) fn assert_signs(&self, token: &str, label: &str) {
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of(token));
        assert_eq!(probe.login(session, CKU_USER, "wrong"), Err(Ck(CKR_PIN_INCORRECT)), "{token}");
        probe.login(session, CKU_USER, USER_PIN).unwrap_or_else(|error| panic!("{token}: {error:?}"));
        let key = probe.private_key(session, label);
        let signature = probe.sign(session, CKM_ECDSA_SHA256, key, b"message").unwrap();
        let area = self.key.public_area().unwrap();
        let (curve, x, y) = area.ecc().unwrap();
        let spki = base::curve::EcPublic::new(curve, x, y).unwrap().spki();
        let signature = tests::openssl::ecdsa_der(&signature);
        assert!(OpenSsl::new(&spki).verifies("-sha256", &[], b"message", &signature), "{token}");
        probe.finalize().unwrap();
    }
}

pub(crate) struct Store<'a> {
    pub(crate) workshop: &'a Workshop,
    pub(crate) conn: Connection,
}

impl Store<'_> {
    pub(crate) fn token(&self, id: i64, label: Option<&str>, config: &str) {
        self.conn.execute("INSERT INTO tokens VALUES (?1, 1, ?2, ?3)", params![id, label, config]).unwrap();
    }

    /// The usual PINs of a token, or the security officer's alone.
    pub(crate) fn pins(&self, token: i64, user: bool) {
        self.pins_of(token, SO_PIN, user.then_some(USER_PIN));
    }

    /// PINs of a token, in a row with another number than the token's.
    pub(crate) fn pins_of(&self, token: i64, so: &str, user: Option<&str>) {
        // Of the Python program; the C library's salts are twice as long.
        let (so_salt, user_salt) = (hex(&[token as u8; 32]), hex(&[0x80 | token as u8; 64]));
        let so = self.workshop.seal(so, &so_salt);
        let user = user.map(|pin| self.workshop.seal(pin, &user_salt));
        let (public, private) = user.map(|seal| (seal.public, seal.private)).unzip();
        let salt = public.as_ref().map(|_| &user_salt);
        // The Python program's salts are BLOBs in a column of texts.
        let values = params![token + 40, token, public, private, salt, so.public, so.private, so_salt.as_bytes()];
        self.conn.execute("INSERT INTO sealobjects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", values).unwrap();
    }

    pub(crate) fn object(&self, token: i64, attributes: &str) {
        self.conn.execute("INSERT INTO tobjects (tokid, attrs) VALUES (?1, ?2)", params![token, attributes]).unwrap();
    }
}

pub(crate) const INITIALIZED: &str = "--- !!map { ? !!str \"token-init\" : !!bool \"true\" }\n";

/// The mechanisms of an EC key, as the version of that time had them.
pub(crate) fn mechanisms(version: u32) -> String {
    let words = |values: &[u64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    match version {
        1..5 => text(&hex(&words(&[CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA256]))),
        // A machine whose CK_ULONG has 4 bytes.
        5 => text(&hex(&[CKM_ECDSA, CKM_ECDSA_SHA256].map(|value| (value as u32).to_le_bytes()).concat())),
        // With what its upgrade left.
        6 | 7 => text(&hex(&words(&[CKM_ECDSA, 0, CKM_ECDSA_SHA256, CKM_ECDSA_SHA256, 0]))),
        8 => list(&[CKM_ECDSA, CKM_ECDSA_SHA256]),
        _ => format!("!!seq [ {}, {}, {} ]", int(CKM_ECDSA), text(&hex(&CKM_ECDSA_SHA256.to_le_bytes())), int(0)),
    }
}
