//! Making keys.

use std::str::FromStr;

use base::curve::Curve;
use base::digest::Hash;
use model::{AttributeType, Mechanism, MechanismType, ObjectHandle, Template, Value};
use serde::Serialize;

use super::{Admin, ParentKey, Pin, PolicyRequest};
use token::info::ObjectSummary;
use token::manage::{Batch, BoundPolicy, Token};
use token::{Error, Result};

/// Algorithms of new keys, by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// A key on a NIST curve.
    Ecc(Curve),
    /// An AES key of so many bits.
    Aes(u16),
    /// A generic secret: for HMAC with this hash only, or with any.
    Hmac(Option<Hash>),
}

impl Algorithm {
    /// Every name that [`Algorithm::from_str`] knows.
    pub const NAMES: [&'static str; 15] = [
        "rsa1024",
        "rsa2048",
        "rsa3072",
        "rsa4096",
        "ecc224",
        "ecc256",
        "ecc384",
        "ecc521",
        "aes128",
        "aes256",
        "hmac",
        "hmac:sha1",
        "hmac:sha256",
        "hmac:sha384",
        "hmac:sha512",
    ];

    /// Does making a key take long enough to tell a person?
    #[must_use]
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Rsa(_))
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Ok(match name {
            "rsa1024" => Self::Rsa(1024),
            "rsa2048" => Self::Rsa(2048),
            "rsa3072" => Self::Rsa(3072),
            "rsa4096" => Self::Rsa(4096),
            "ecc224" => Self::Ecc(Curve::P224),
            "ecc256" => Self::Ecc(Curve::P256),
            "ecc384" => Self::Ecc(Curve::P384),
            "ecc521" => Self::Ecc(Curve::P521),
            "aes128" => Self::Aes(128),
            "aes256" => Self::Aes(256),
            "hmac" => Self::Hmac(None),
            "hmac:sha1" => Self::Hmac(Some(Hash::Sha1)),
            "hmac:sha256" => Self::Hmac(Some(Hash::Sha256)),
            "hmac:sha384" => Self::Hmac(Some(Hash::Sha384)),
            "hmac:sha512" => Self::Hmac(Some(Hash::Sha512)),
            _ => return Err(format!("there is no algorithm \"{name}\"; there are {}", Self::NAMES.join(", "))),
        })
    }
}

/// What key to make.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// The token's label.
    pub label: String,
    /// Who asks.
    pub pin: Pin,
    /// Which algorithm.
    pub algorithm: Algorithm,
    /// `CKA_LABEL` of both halves.
    pub key_label: Option<String>,
    /// `CKA_ID` of both halves; by default it is derived from the public key, and random for a secret key.
    pub id: Option<Vec<u8>>,
    /// `CKA_ALWAYS_AUTHENTICATE`: the PIN is wanted for each signature.
    pub always_authenticate: bool,
    /// The recovery key that the private key may be brought to; without one it can never leave the TPM.
    pub backup: Option<ParentKey>,
}

/// A new key pair, or a secret key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// The private or secret key.
    pub private: ObjectSummary,
    /// The public key; a secret key has none.
    pub public: Option<ObjectSummary>,
}

impl Admin {
    /// Makes a key pair or a secret key. At most 6 TPM commands; 8 for a key pair that can be backed up.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a token, [`Error::PinIncorrect`], [`Error::KeySizeRange`] and
    /// [`Error::CurveNotSupported`] for what this TPM does not have.
    pub fn add_key(&self, request: &KeyRequest) -> Result<KeyInfo> {
        self.add_bound_key(request, None)
    }

    /// The same, with a policy: the key works in the wanted state of the machine only. Without a PIN in its policy, it is there and
    /// works without a login.
    ///
    /// # Errors
    /// Those of [`Admin::add_key`]; [`Error::ArgumentsBad`] for a policy that cannot be.
    pub fn add_bound_key(&self, request: &KeyRequest, policy: Option<&PolicyRequest>) -> Result<KeyInfo> {
        let made = self.make_keys(request, policy, std::iter::once(request.key_label.clone()), &mut |_| ())?;
        made.into_iter().next().ok_or(Error::ObjectHandleInvalid)
    }

    /// Makes many such keys with one login. Their labels end in a number each, from 1; `stored` is told how many there are each time that
    /// some got into the store. At most 5 TPM commands for all, and one for each, or three for one that can be backed up.
    ///
    /// # Errors
    /// Those of [`Admin::add_bound_key`]; [`Error::ArgumentsBad`] with an id, which one key alone can have. Keys that were made before it are there.
    pub fn add_keys(
        &self,
        request: &KeyRequest,
        policy: Option<&PolicyRequest>,
        count: usize,
        stored: &mut dyn FnMut(usize),
    ) -> Result<Vec<KeyInfo>> {
        if request.id.is_some() {
            return Err(Error::ArgumentsBad("one key alone can have the id; leave it out, and each key gets its own"));
        }
        let label = |number| request.key_label.as_ref().map(|label| format!("{label}-{number}"));
        self.make_keys(request, policy, (1..=count).map(label), stored)
    }

    /// Makes a key for each label.
    fn make_keys(
        &self,
        request: &KeyRequest,
        policy: Option<&PolicyRequest>,
        labels: impl Iterator<Item = Option<String>>,
        stored: &mut dyn FnMut(usize),
    ) -> Result<Vec<KeyInfo>> {
        let policy = policy.map(|policy| self.policy(policy)).transpose()?;
        let free = policy.as_ref().is_some_and(BoundPolicy::is_free);
        if policy.is_some() && request.backup.is_some() {
            return Err(Error::ArgumentsBad(
                "a key that can be backed up is used by its PIN, and has no other policy; leave --backup out, or the options about the state of the machine",
            ));
        }
        if free && request.always_authenticate {
            return Err(Error::ArgumentsBad("a key that works without the PIN cannot ask for it each time"));
        }
        let token = self.token(&request.label)?;
        let session = self.log_in_as_user(&token, &request.pin)?;
        if let Some(policy) = policy {
            self.library.bind_new_keys(session.handle(), policy)?;
        }
        let recovery = request.backup.as_ref().map(ParentKey::area).transpose()?;
        let mut batch = self.library.batch(session.handle())?;
        let mut made = Vec::new();
        let mut store = |batch: &mut Batch<'_>| -> Result<()> {
            for handles in batch.store()? {
                made.push(key_info(&token, &handles)?);
            }
            stored(made.len());
            Ok(())
        };
        let mut labels = labels.peekable();
        while labels.peek().is_some() {
            // So many at once that starting a session with the TPM costs little, and so few that somebody who waits sees them grow.
            let part: Vec<_> = labels.by_ref().take(if request.algorithm.is_slow() { 1 } else { PART }).collect();
            let added = self.add_part(request, &part, free, recovery.as_ref(), &mut batch);
            if added.is_err() || batch.is_full() {
                // What the TPM made is not thrown away.
                store(&mut batch)?;
            }
            added?;
        }
        store(&mut batch)?;
        Ok(made)
    }

    fn add_part(
        &self,
        request: &KeyRequest,
        labels: &[Option<String>],
        free: bool,
        recovery: Option<&tpm::PublicArea>,
        batch: &mut Batch<'_>,
    ) -> Result<()> {
        let mut pairs = Vec::new();
        let mut of_pairs = None;
        for label in labels {
            let Some((mechanism, mut template)) = secret_key(request, label.as_deref())? else {
                let (mechanism, public, private) = key_pair(request, label.as_deref(), free)?;
                of_pairs = Some(Mechanism::plain(mechanism));
                pairs.push((public, private));
                continue;
            };
            if recovery.is_some() {
                return Err(Error::ArgumentsBad(
                    "only key pairs can be backed up; a secret key that is to be in two TPMs is made outside, and imported into both",
                ));
            }
            if free {
                template.push(AttributeType::PRIVATE, Value::Bool(false).to_native());
            }
            batch.add_key(&Mechanism::plain(mechanism), &template)?;
        }
        match (of_pairs, recovery) {
            (None, _) => Ok(()),
            (Some(mechanism), None) => batch.add_pairs(&mechanism, &pairs),
            (Some(mechanism), recovery) => {
                pairs.iter().try_for_each(|(public, private)| batch.add_pair(&mechanism, public, private, recovery))
            }
        }
    }
}

/// Keys that are made in one session with the TPM.
const PART: usize = 25;

/// What a person is told of a new key.
fn key_info(token: &Token, handles: &[ObjectHandle]) -> Result<KeyInfo> {
    // Who need not log in to use a key must not need to log in to see it.
    let summary =
        |handle: &ObjectHandle| token.meant(*handle)?.map(|object| object.summary()).ok_or(Error::ObjectHandleInvalid);
    match handles {
        [public, private] => Ok(KeyInfo { private: summary(private)?, public: Some(summary(public)?) }),
        [secret] => Ok(KeyInfo { private: summary(secret)?, public: None }),
        _ => Err(Error::ObjectHandleInvalid),
    }
}

/// How a key pair is made: mechanism, and what both halves are to have.
fn key_pair(request: &KeyRequest, label: Option<&str>, free: bool) -> Result<(MechanismType, Template, Template)> {
    let mut public = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
    let mut private = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
    for template in [&mut public, &mut private] {
        if let Some(label) = label {
            template.push(AttributeType::LABEL, label.as_bytes().to_vec());
        }
        if let Some(id) = &request.id {
            template.push(AttributeType::ID, id.clone());
        }
    }
    let mechanism = match request.algorithm {
        Algorithm::Rsa(bits) => {
            public.push(AttributeType::MODULUS_BITS, Value::Ulong(bits.into()).to_native());
            MechanismType::RSA_PKCS_KEY_PAIR_GEN
        }
        Algorithm::Aes(_) | Algorithm::Hmac(_) => return Err(Error::MechanismInvalid),
        Algorithm::Ecc(curve) => {
            public.push(AttributeType::EC_PARAMS, curve.oid_der().to_vec());
            MechanismType::EC_KEY_PAIR_GEN
        }
    };
    if free {
        private.push(AttributeType::PRIVATE, Value::Bool(false).to_native());
    }
    if request.always_authenticate {
        private.push(AttributeType::ALWAYS_AUTHENTICATE, Value::Bool(true).to_native());
    }
    Ok((mechanism, public, private))
}

pub(super) const NOT_ALWAYS: Error = Error::ArgumentsBad(
    "PKCS#11 has CKA_ALWAYS_AUTHENTICATE for private keys only, not for secret keys; leave --attr-always-authenticate out",
);

/// Bytes of a random `CKA_ID`.
const ID_LEN: usize = 8;

/// How a secret key is made; `None` for a key pair.
fn secret_key(request: &KeyRequest, label: Option<&str>) -> Result<Option<(MechanismType, Template)>> {
    let (mechanism, len, allowed) = match request.algorithm {
        Algorithm::Rsa(_) | Algorithm::Ecc(_) => return Ok(None),
        Algorithm::Aes(bits) => (MechanismType::AES_KEY_GEN, usize::from(bits) / 8, None),
        Algorithm::Hmac(None) => (MechanismType::GENERIC_SECRET_KEY_GEN, Hash::Sha256.len(), None),
        Algorithm::Hmac(Some(hash)) => (MechanismType::GENERIC_SECRET_KEY_GEN, hash.len(), Some(hash)),
    };
    if request.always_authenticate {
        return Err(NOT_ALWAYS);
    }
    let id = match &request.id {
        Some(id) => id.clone(),
        None => base::random::bytes(ID_LEN)?,
    };
    let mut template = Template::new()
        .with(AttributeType::TOKEN, Value::Bool(true))
        .with(AttributeType::ID, Value::Bytes(id))
        .with(AttributeType::VALUE_LEN, Value::Ulong(len as u64));
    if let Some(label) = label {
        template.push(AttributeType::LABEL, label.as_bytes().to_vec());
    }
    if let Some(hash) = allowed {
        template.push(AttributeType::ALLOWED_MECHANISMS, only_hmac(hash).to_native());
    }
    Ok(Some((mechanism, template)))
}

/// `CKA_ALLOWED_MECHANISMS` of a key that serves for HMAC with one hash.
pub(super) fn only_hmac(hash: Hash) -> Value {
    let mechanism = match hash {
        Hash::Sha1 => MechanismType::SHA_1_HMAC,
        Hash::Sha384 => MechanismType::SHA384_HMAC,
        Hash::Sha512 => MechanismType::SHA512_HMAC,
        _ => MechanismType::SHA256_HMAC,
    };
    Value::Mechanisms(vec![mechanism])
}
