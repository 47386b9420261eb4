//! Backups: a key that was made for it is brought to its recovery key, and from there to another TPM.
//!
//! The TPM wraps the key for the recovery key, and for no other. With it goes the auth value that the wrapped key has, as a second
//! object wrapped in the same way: the next TPM gives the key an auth value of its own, and must know the old one for that. What else
//! a backup says, the names and permissions of the key, is bound to that auth value by a code.

use base::Secret;
use base::digest::Hash;
use base::hex::{decode as unhex, encode as hex};
use base::private::PrivateKey;
use model::{AttributeType, MechanismType, Value};
use serde::{Deserialize, Serialize};

use super::import::not_for_us;
use super::{Admin, Imported, Pin, Which, WrappedKey};
use token::info::ObjectSummary;
use token::manage::{Arrival, Look, Object, Token, new_auth, spare};
use token::{Error, Result};

/// What a backup is made of.
#[derive(Clone, Debug)]
pub struct BackupFile {
    /// The key, wrapped for its recovery key. Its auth value is in `about`, wrapped too.
    pub key: WrappedKey,
    /// What else belongs to it; JSON. Nothing secret is readable in it.
    pub about: Vec<u8>,
    /// The private key that it is a backup of.
    pub of: ObjectSummary,
}

/// What to restore, and where.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The token's label.
    pub label: String,
    /// Who asks.
    pub pin: Pin,
    /// TPM2B_PUBLIC, TPM2B_PRIVATE and TPM2B_ENCRYPTED_SECRET of the key.
    pub key: WrappedKey,
    /// The other part of the backup.
    pub about: Vec<u8>,
    /// The recovery key; `None` if that is this TPM's storage key.
    pub recovery: Option<PrivateKey>,
    /// Another `CKA_LABEL` than the key had.
    pub key_label: Option<String>,
    /// Another `CKA_ID`.
    pub id: Option<Vec<u8>>,
}

/// The names and permissions of a key, and how its auth value travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    /// TPM2B_PUBLIC of the recovery key.
    recovery: Hex,
    facts: Facts,
    /// The key's auth value, wrapped for the recovery key.
    auth: Sealed,
    /// Over the key's name, the recovery key and the facts.
    code: Hex,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    label: Hex,
    id: Hex,
    always_authenticate: bool,
    sign: bool,
    sign_recover: bool,
    decrypt: bool,
    derive: bool,
    unwrap: bool,
    mechanisms: Option<Vec<u64>>,
    // Of version 2; a key that has none of them has a backup of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_date: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_date: Option<Hex>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    public: Hex,
    private: Hex,
    secret: Hex,
}

/// Bytes, in JSON as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Vec<u8>);

impl From<Hex> for String {
    fn from(bytes: Hex) -> String {
        hex(&bytes.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(digits: String) -> std::result::Result<Hex, &'static str> {
        unhex(&digits).map(Hex).ok_or("not hexadecimal")
    }
}

/// Programs that know version 1 only refuse a backup of version 2, and need not refuse every new one.
const VERSION: u32 = 1;
const VERSION_WITH_SUBJECT: u32 = 2;
const NOT_A_BACKUP: Error = Error::ArgumentsBad("the file is no backup, or one of a newer version of this program");
const ALTERED: Error =
    Error::ArgumentsBad("the backup was altered: its names and permissions are not those of the key");

const USAGE: [AttributeType; 5] = [
    AttributeType::SIGN,
    AttributeType::SIGN_RECOVER,
    AttributeType::DECRYPT,
    AttributeType::DERIVE,
    AttributeType::UNWRAP,
];

impl Facts {
    fn of(object: &Object) -> Facts {
        let bytes = |ty| Hex(object.attributes.bytes(ty).unwrap_or_default().to_vec());
        let stated = |ty| Some(bytes(ty)).filter(|value: &Hex| !value.0.is_empty());
        let [sign, sign_recover, decrypt, derive, unwrap] = USAGE.map(|ty| object.attributes.is_true(ty));
        let mechanisms = match object.attributes.find(AttributeType::ALLOWED_MECHANISMS) {
            Some(Value::Mechanisms(mechanisms)) => Some(mechanisms.iter().map(|mechanism| mechanism.0).collect()),
            _ => None,
        };
        Facts {
            label: bytes(AttributeType::LABEL),
            id: bytes(AttributeType::ID),
            always_authenticate: object.attributes.is_true(AttributeType::ALWAYS_AUTHENTICATE),
            sign,
            sign_recover,
            decrypt,
            derive,
            unwrap,
            mechanisms,
            subject: stated(AttributeType::SUBJECT),
            start_date: stated(AttributeType::START_DATE),
            end_date: stated(AttributeType::END_DATE),
        }
    }

    fn version(&self) -> u32 {
        if self.also().is_empty() { VERSION } else { VERSION_WITH_SUBJECT }
    }

    fn also(&self) -> Vec<(AttributeType, Value)> {
        [
            (AttributeType::SUBJECT, &self.subject),
            (AttributeType::START_DATE, &self.start_date),
            (AttributeType::END_DATE, &self.end_date),
        ]
        .into_iter()
        .filter_map(|(ty, value)| Some((ty, Value::Bytes(value.as_ref()?.0.clone()))))
        .collect()
    }

    fn look(&self, label: Option<String>, id: Option<Vec<u8>>) -> Look {
        let flags = [self.sign, self.sign_recover, self.decrypt, self.derive, self.unwrap];
        let mut usage: Vec<_> = USAGE.into_iter().zip(flags.map(Value::Bool)).collect();
        if let Some(mechanisms) = &self.mechanisms {
            let mechanisms = mechanisms.iter().copied().map(MechanismType).collect();
            usage.push((AttributeType::ALLOWED_MECHANISMS, Value::Mechanisms(mechanisms)));
        }
        Look {
            label: Some(label.map_or_else(|| self.label.0.clone(), String::into_bytes)),
            id: Some(id.unwrap_or_else(|| self.id.0.clone())),
            always_authenticate: self.always_authenticate,
            usage,
            also: self.also(),
        }
    }

    /// Binds what is said here to the key, by its auth value.
    fn code(&self, auth: &Secret, name: &tpm::Name, recovery: &Hex) -> Result<Secret> {
        let facts = serde_json::to_vec(self).map_err(|error| Error::General(error.to_string()))?;
        let len = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
        Ok(Hash::Sha256.hmac(
            auth.expose(),
            &[
                b"tpm2-cryptoki backup 1 ",
                &len(name.as_bytes()),
                name.as_bytes(),
                &len(&recovery.0),
                &recovery.0,
                &facts,
            ],
        ))
    }
}

impl Admin {
    /// Wraps a key for its recovery key. Eight commands besides the login.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a key, and for one that was not made for it: that one can never leave the TPM.
    pub fn backup(&self, label: &str, pin: &Pin, which: &Which) -> Result<BackupFile> {
        let token = self.token(label)?;
        spare(token.capabilities())?;
        let session = self.log_in_as_user(&token, pin)?;
        let object = self.private_key(&token, which)?;
        let parent = object.recovery_key().ok_or(Error::ArgumentsBad(
            "the key was made without --backup: the TPM gives it to nobody, and no backup of it can be made; `ptool addkey --backup` makes keys that can be backed up",
        ))?;
        let Some(key) = &object.key else { return Err(NOT_A_BACKUP) };
        let auth = self.library.auth_value(&token, &object)?.ok_or(Error::KeyFunctionNotPermitted)?;
        let primary = object.parent()?.unwrap_or_else(|| token.primary.clone());
        let in_tpm = tpm::Key { primary: &primary, wrapped: &key.wrapped, name: &key.name, auth: &auth, policy: None };
        let duplicate = self.library.tpm()?.duplicate(&in_tpm, &parent)?;
        drop(session);
        let sealed = tpm::Importable::seal(&parent, &auth)?;
        let (recovery, facts) = (Hex(parent.marshal()?), Facts::of(&object));
        let code = Hex(facts.code(&auth, &key.name, &recovery)?.expose().to_vec());
        let auth = Sealed { public: Hex(sealed.public), private: Hex(sealed.private), secret: Hex(sealed.secret) };
        let about = About { version: facts.version(), recovery, facts, auth, code };
        Ok(BackupFile {
            key: WrappedKey {
                public: duplicate.public,
                private: duplicate.private,
                secret: duplicate.secret,
                auth: Secret::zeroed(0),
            },
            about: serde_json::to_vec(&about).map_err(|error| Error::General(error.to_string()))?,
            of: object.summary(),
        })
    }

    /// Takes the key of a backup into the TPM. With the recovery key in a file, it is opened here for a moment, and goes into the TPM
    /// by one command, never in clear on the bus. Where the recovery key is this TPM's storage key, nobody but the TPM sees it: at
    /// most ten commands.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] for what is no backup, was altered, or needs another recovery key; [`Error::PinIncorrect`].
    pub fn restore(&self, request: &RestoreRequest) -> Result<Imported> {
        let about: About = serde_json::from_slice(&request.about).map_err(|_| NOT_A_BACKUP)?;
        if about.version != about.facts.version() {
            return Err(NOT_A_BACKUP);
        }
        let importable = request.key.importable();
        let name = importable.public_area().and_then(|area| area.name()).map_err(|_| NOT_A_BACKUP)?;
        let token = self.token(&request.label)?;
        let session = self.log_in_as_user(&token, &request.pin)?;
        let check = |auth: &Secret| {
            let code = about.facts.code(auth, &name, &about.recovery)?;
            if code == Secret::copy_from(&about.code.0) { Ok(()) } else { Err(ALTERED) }
        };
        let mut arrival = match &request.recovery {
            Some(key) => self.restore_with_file(&token, &importable, key, check)?,
            None => self.restore_by_tpm(&token, &importable, &about, check)?,
        };
        arrival.remark(AttributeType::TPM_RECOVERY_KEY, Value::Bytes(about.recovery.0.clone()));
        let look = about.facts.look(request.key_label.clone(), request.id.clone());
        let handles = self.library.settle_arrival(session.handle(), arrival, &look, &[])?;
        self.imported(&token, &handles)
    }

    fn restore_with_file(
        &self,
        token: &Token,
        importable: &tpm::Importable,
        key: &PrivateKey,
        check: impl Fn(&Secret) -> Result<()>,
    ) -> Result<Arrival> {
        let opened = tpm::RecoveryPrivate(key).open(importable).map_err(|error| match error {
            tpm::Error::Integrity => {
                Error::ArgumentsBad("the backup was not made for this recovery key, or it was altered")
            }
            error => error.into(),
        })?;
        check(opened.auth())?;
        let auth = new_auth(None)?;
        let wrapped = self.library.tpm()?.import_opened(&token.primary, &opened, &auth)?;
        Arrival::new(wrapped, auth)
    }

    fn restore_by_tpm(
        &self,
        token: &Token,
        importable: &tpm::Importable,
        about: &About,
        check: impl Fn(&Secret) -> Result<()>,
    ) -> Result<Arrival> {
        let recovery =
            tpm::PublicArea::parse(&about.recovery.0).and_then(|area| area.name()).map_err(|_| NOT_A_BACKUP)?;
        if recovery != *token.primary.name() {
            return Err(Error::ArgumentsBad(
                "the backup is not for this TPM; if its recovery key is in a file, give that with --recovery-key",
            ));
        }
        let Sealed { public, private, secret } = &about.auth;
        let sealed = tpm::Importable { public: public.0.clone(), private: private.0.clone(), secret: secret.0.clone() };
        let tpm = self.library.tpm()?;
        let auth = tpm.unseal_wrapped(&token.primary, &sealed).map_err(not_for_us)?;
        check(&auth)?;
        let imported = tpm.import_wrapped(&token.primary, importable).map_err(not_for_us)?;
        self.with_own_auth(token, imported, &auth)
    }
}
