//! Making keys.

use std::str::FromStr;

use base::curve::Curve;
use model::{AttributeType, Mechanism, MechanismType, ObjectHandle, Template, Value};
use serde::Serialize;

use super::{Admin, ParentKey, Pin};
use crate::info::ObjectSummary;
use crate::{Error, Result};

/// Algorithms of new keys, by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// A key on a NIST curve.
    Ecc(Curve),
}

impl Algorithm {
    /// Every name that [`Algorithm::from_str`] knows.
    pub const NAMES: [&'static str; 7] = ["rsa1024", "rsa2048", "rsa3072", "rsa4096", "ecc256", "ecc384", "ecc521"];

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
            "ecc256" => Self::Ecc(Curve::P256),
            "ecc384" => Self::Ecc(Curve::P384),
            "ecc521" => Self::Ecc(Curve::P521),
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
    /// `CKA_ID` of both halves; by default it is derived from the public key.
    pub id: Option<Vec<u8>>,
    /// `CKA_ALWAYS_AUTHENTICATE`: the PIN is wanted for each signature.
    pub always_authenticate: bool,
    /// The recovery key that the private key may be brought to; without one it can never leave the TPM.
    pub backup: Option<ParentKey>,
}

/// A new key pair.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// The private key.
    pub private: ObjectSummary,
    /// The public key.
    pub public: ObjectSummary,
}

impl Admin {
    /// Makes a key pair. At most 6 TPM commands; 8 for one that can be backed up.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a token, [`Error::PinIncorrect`], [`Error::KeySizeRange`] and
    /// [`Error::CurveNotSupported`] for what this TPM does not have.
    pub fn add_key(&self, request: &KeyRequest) -> Result<KeyInfo> {
        let token = self.token(&request.label)?;
        if matches!(request.pin, Pin::So(_)) {
            return Err(Error::PinInvalid(
                "the security officer cannot use the user's keys, nor make any; give the user's PIN",
            ));
        }
        let session = self.log_in(&token, &request.pin)?;
        let mut public = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
        let mut private = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
        for template in [&mut public, &mut private] {
            if let Some(label) = &request.key_label {
                template.push(AttributeType::LABEL, label.clone().into_bytes());
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
            Algorithm::Ecc(curve) => {
                public.push(AttributeType::EC_PARAMS, curve.oid_der().to_vec());
                MechanismType::EC_KEY_PAIR_GEN
            }
        };
        if request.always_authenticate {
            private.push(AttributeType::ALWAYS_AUTHENTICATE, Value::Bool(true).to_native());
        }
        let recovery = request.backup.as_ref().map(ParentKey::area).transpose()?;
        let mechanism = Mechanism::plain(mechanism);
        let made =
            self.library.generate_recoverable_pair(session.handle(), &mechanism, &public, &private, recovery.as_ref());
        let summary = |handle: ObjectHandle| {
            token.object(handle).map(|object| object.summary()).ok_or(Error::ObjectHandleInvalid)
        };
        let (public, private) = made?;
        Ok(KeyInfo { private: summary(private)?, public: summary(public)? })
    }
}
