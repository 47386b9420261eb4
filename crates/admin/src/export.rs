//! What can be taken out: public keys, certificates, and private keys as their TPM wrapped them.

use std::sync::Arc;

use base::Secret;
use model::{AttributeType, ObjectClass};

use super::migrate::reference;
use super::{Admin, Pin};
use token::manage::{BoundPolicy, Object, Token, parent};
use token::{Error, Result};

/// Which object of a token is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this number, as listings show it.
    Number(i64),
    /// The key with this `CKA_LABEL`.
    Label(String),
    /// The key with this `CKA_ID`.
    Id(Vec<u8>),
}

impl Which {
    fn is(&self, object: &Object) -> bool {
        match self {
            Self::Number(number) => object.handle.0.cast_signed() == *number,
            Self::Label(label) => object.attributes.bytes(AttributeType::LABEL) == Some(label.as_bytes()),
            Self::Id(id) => object.attributes.bytes(AttributeType::ID) == Some(id.as_slice()),
        }
    }
}

/// A private key that the TPM wrapped.
#[derive(Clone, Debug)]
pub struct ExportedKey {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// Handle of its parent.
    pub parent: u32,
    /// The parent is RSA.
    pub rsa_parent: bool,
    /// A reference to a persistent parent, as the TPM2 Software Stack serializes it; `None` for one that is made at each use.
    pub reference: Option<Vec<u8>>,
    /// The commands of its policy, by their TPM_CC, with their marshalled parameters; none for a key that has no policy.
    pub policy: Vec<(u32, Vec<u8>)>,
}

impl Admin {
    /// SubjectPublicKeyInfo in DER of a key, by either half. Neither PIN nor TPM.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a key, [`Error::General`] if there are several.
    pub fn export_public(&self, label: &str, which: &Which) -> Result<Vec<u8>> {
        let token = self.token(label)?;
        for class in [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY] {
            if let Some(key) = find(&token, which, class)?.and_then(|object| object.public_key().ok()) {
                return Ok(key.spki());
            }
        }
        Err(Error::ArgumentsBad("there is no such public key; see `ptool listobjects`"))
    }

    /// A certificate in DER. Neither PIN nor TPM.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a certificate, [`Error::General`] if there are several.
    pub fn export_certificate(&self, label: &str, which: &Which) -> Result<Vec<u8>> {
        let token = self.token(label)?;
        let found = find(&token, which, ObjectClass::CERTIFICATE)?;
        let value = found.and_then(|object| object.attributes.bytes(AttributeType::VALUE).map(<[u8]>::to_vec));
        value.ok_or(Error::ArgumentsBad("there is no such certificate; see `ptool listobjects`"))
    }

    /// The classes of the objects that are meant, by their `CKO_` names: a label is mostly that of both halves of a pair, and of its
    /// certificate.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such an object.
    pub fn classes_of(&self, label: &str, which: &Which) -> Result<Vec<String>> {
        let token = self.token(label)?;
        let catalog = token.catalog()?;
        let found = catalog.values().filter(|object| which.is(object)).map(|object| object.class().to_string());
        let classes: Vec<String> = found.collect();
        if classes.is_empty() { Err(NO_OBJECT) } else { Ok(classes) }
    }

    /// A private key for other software that uses this TPM: wrapped anew, with an auth value of the caller's choice in the place of
    /// the token's, which stays what it is. A policy goes with it; approvals do not, they have files of their own. Nine commands.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a key, where its parent has no handle that others could know it by, for a policy with
    /// alternatives, and for an auth value that nobody would ask for; [`Error::PinIncorrect`].
    pub fn export_wrapped(&self, label: &str, pin: &Pin, which: &Which, auth: &Secret) -> Result<ExportedKey> {
        let token = self.token(label)?;
        let session = self.log_in_as_user(&token, pin)?;
        let object = self.private_key(&token, which)?;
        let primary = object.parent()?.unwrap_or_else(|| token.primary.clone());
        let parent = parent::handle(&primary).ok_or(Error::ArgumentsBad(
            "the key's parent is made again at each use, from a template that files have no word for; the key is used through the module",
        ))?;
        let Some(key) = &object.key else { return Err(NO_OBJECT) };
        let policy = object.policy.as_deref();
        let free = policy.is_some_and(BoundPolicy::is_free);
        let own = match self.library.auth_value(&token, &object)? {
            Some(own) => own,
            None if free => Secret::zeroed(0),
            None => return Err(Error::KeyFunctionNotPermitted),
        };
        if free && !auth.is_empty() {
            return Err(Error::ArgumentsBad(
                "the policy of the key asks for no passphrase, so it cannot have one; --no-passphrase exports it without",
            ));
        }
        let commands = policy.map_or(Ok(Vec::new()), |policy| policy.policy().to_commands()).map_err(|_| {
            Error::ArgumentsBad("a key file has no words for alternatives in a policy, or for other objects; such a key is used through the module")
        })?;
        if key.wrapped.handle().is_some() {
            return Err(Error::ArgumentsBad(
                "the key is persistent in the TPM; there is nothing to export, its handle is all that other software needs",
            ));
        }
        let key = tpm::Key { primary: &primary, wrapped: &key.wrapped, name: &key.name, auth: &own, policy: None };
        let private = match free {
            true => key.wrapped.private.clone(),
            false => self.library.tpm()?.change_key_auth(&key, auth)?,
        };
        drop(session);
        let rsa_parent = parent == parent::OWNER && tpm::PublicArea::parse(&primary.public)?.rsa().is_some();
        let public = key.wrapped.public.clone();
        let policy = commands.into_iter().map(|command| (command.code, command.parameters)).collect();
        let reference = (parent != parent::OWNER).then(|| reference(parent, &primary));
        Ok(ExportedKey { public, private, parent, rsa_parent, reference, policy })
    }

    /// A private or secret key in the TPM, once somebody is logged in.
    pub(super) fn private_key(&self, token: &Token, which: &Which) -> Result<Arc<Object>> {
        self.library.open_rows(token)?;
        let found = match find(token, which, ObjectClass::PRIVATE_KEY)? {
            Some(found) => found,
            None => find(token, which, ObjectClass::SECRET_KEY)?.ok_or(NO_KEY)?,
        };
        // Through the token's own eyes: an altered row is not served.
        token.object(found.handle)?.filter(|object| object.key.is_some()).ok_or(NO_KEY)
    }
}

const NO_OBJECT: Error = Error::ArgumentsBad("there is no such object; see `ptool listobjects`");
const NO_KEY: Error = Error::ArgumentsBad("there is no such private key in the TPM; see `ptool listobjects`");

/// The one that is meant: labels and ids may be given twice, and a backup of the wrong key is found out too late. Of public objects that
/// say the same, any will do.
fn find(token: &Token, which: &Which, class: ObjectClass) -> Result<Option<Arc<Object>>> {
    let catalog = token.catalog()?;
    let found: Vec<_> = catalog.values().filter(|object| object.class() == class && which.is(object)).collect();
    let says = |object: &Object| match class {
        ObjectClass::PUBLIC_KEY => object.public_key().ok().map(|key| key.spki()),
        ObjectClass::CERTIFICATE => object.attributes.bytes(AttributeType::VALUE).map(<[u8]>::to_vec),
        _ => None,
    };
    let mut pairs = found.iter().zip(found.iter().skip(1));
    if pairs.all(|(one, other)| says(one).is_some_and(|said| Some(said) == says(other))) {
        return Ok(found.first().map(|object| Arc::clone(object)));
    }
    let numbers: Vec<String> = found.iter().map(|object| object.handle.0.to_string()).collect();
    Err(Error::General(format!(
        "it is not clear which object is meant: {} are called so; --id names one of them",
        numbers.join(", ")
    )))
}
