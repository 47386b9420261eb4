//! What the chip can do: asked and tried once, when its primary was entered into the store.

use std::sync::OnceLock;

use base::curve::Curve;
use base::digest::Hash;
use model::{KeyKind, MechanismRow, Ops, Scheme};
use serde::{Deserialize, Serialize};
use tpm::{CipherModes, RsaWays};

use super::token::MAX_SECRET_LEN;
use crate::public_key::PublicKey;
use crate::{Error, Result};

/// What was read from the TPM once, when its primary was entered into the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChipFacts {
    /// What the TPM says of itself.
    pub capabilities: tpm::Capabilities,
    /// Sizes of RSA keys that the TPM makes, in bits, ascending.
    pub rsa_bits: Vec<u16>,
    /// The same of AES keys; nothing in stores from before it was asked.
    #[serde(default)]
    aes_bits: Option<Vec<u16>>,
    /// How RSA keys are used; nothing where it was not tried, or could not be.
    #[serde(default)]
    rsa: Option<RsaWays>,
    /// The same, found out by this process.
    #[serde(skip)]
    learned: OnceLock<RsaWays>,
}

impl ChipFacts {
    /// Asks and tries. 14 TPM commands; more on a TPM that refuses raw RSA, or cannot be asked for sizes.
    ///
    /// # Errors
    /// What the TPM may answer.
    pub fn of(tpm: &tpm::Tpm) -> Result<Self> {
        let capabilities = tpm.capabilities()?;
        Self::of_more(tpm, capabilities)
    }

    /// The same but for the capabilities.
    ///
    /// # Errors
    /// What the TPM may answer.
    pub fn of_more(tpm: &tpm::Tpm, capabilities: tpm::Capabilities) -> Result<Self> {
        let rsa_bits = tpm.rsa_sizes()?;
        let aes_bits = Some(tpm.aes_sizes()?);
        let rsa = if rsa_bits.contains(&2048) { tpm.rsa_ways(&capabilities)? } else { None };
        Ok(Self { capabilities, rsa_bits, aes_bits, rsa, learned: OnceLock::new() })
    }

    /// What the store has kept; `None` for what makes no sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    pub(crate) fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// As the store keeps it.
    ///
    /// # Errors
    /// [`Error::General`] if it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let mut facts = self.clone();
        if let Some(ways) = self.learned.get() {
            facts.rsa = Some(ways.clone());
        }
        serde_json::to_string(&facts).map_err(|error| Error::General(error.to_string()))
    }

    /// Was everything asked that is asked today?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.aes_bits.is_some() && (self.rsa.is_some() || !self.rsa_bits.contains(&2048))
    }

    pub(crate) fn curves(&self) -> impl Iterator<Item = Curve> {
        Curve::ALL.into_iter().filter(|curve| self.capabilities.has_curve(*curve))
    }

    /// How RSA keys are used where the TPM refuses the raw operation; `None` where it does not, or where nobody knows.
    pub(crate) fn strict_rsa(&self) -> Option<&RsaWays> {
        self.learned.get().or(self.rsa.as_ref()).filter(|ways| !ways.raw)
    }

    /// The TPM refused the raw operation: what it does instead, found out since.
    pub(crate) fn learn_rsa(&self, ways: RsaWays) {
        let _ = self.learned.set(ways);
    }

    /// Modes of operation of AES.
    pub(crate) fn cipher_modes(&self) -> CipherModes {
        CipherModes::of(&self.capabilities)
    }

    /// Can a token have AES keys of so many bits?
    pub(crate) fn can_aes(&self, bits: u16) -> bool {
        self.cipher_modes().any() && self.aes_bits.as_ref().is_none_or(|sizes| sizes.contains(&bits))
    }

    /// Does this TPM make such keys? Then it may have one that was made elsewhere.
    pub(crate) fn check_material(&self, material: &tpm::KeyMaterial) -> Result<()> {
        let is_there = match material {
            tpm::KeyMaterial::Rsa { n, e, .. } => match base::rsa::RsaPublic::new(n, e) {
                Ok(key) => self.rsa_bits.iter().any(|bits| usize::from(*bits) == key.modulus_bits()),
                // What is no key is refused as such.
                Err(_) => true,
            },
            tpm::KeyMaterial::Ecc { curve, .. } if !self.capabilities.has_curve(*curve) => {
                return Err(Error::CurveNotSupported);
            }
            tpm::KeyMaterial::Aes { key } => u16::try_from(key.len() * 8).is_ok_and(|bits| self.can_aes(bits)),
            _ => true,
        };
        if is_there { Ok(()) } else { Err(Error::KeySizeRange) }
    }

    /// Is there a hash whose digests TPM2_Sign takes, and that holds what ECDSA signs of `digest` with a key on this curve?
    pub(crate) fn can_ecdsa(&self, curve: Curve, digest: Hash) -> bool {
        let len = digest.len().min(curve.field_len());
        Hash::ALL.into_iter().any(|hash| self.capabilities.has_hash(hash) && hash.len() >= len)
    }

    /// Does this TPM sign digests of a hash with such a key?
    pub(crate) fn can_sign(&self, key: &PublicKey, hash: Hash) -> bool {
        match key {
            PublicKey::Ec(key) => self.can_ecdsa(key.curve(), hash),
            PublicKey::Rsa(_) => self.strict_rsa().is_none_or(|ways| ways.can_ssa(hash)),
        }
    }

    /// What this TPM can do of the row: nothing of one whose private or secret half it cannot do at all.
    pub(crate) fn ops(&self, row: &MechanismRow) -> Ops {
        let is_there = match row.key {
            // What has no key, and secret keys that are session objects, need no TPM.
            KeyKind::None | KeyKind::Aes | KeyKind::Secret | KeyKind::Hkdf => true,
            KeyKind::Rsa => !self.rsa_bits.is_empty(),
            KeyKind::Ec => self.curves().next().is_some(),
            KeyKind::Pair => !self.rsa_bits.is_empty() || self.curves().next().is_some(),
        };
        match self.strict_rsa() {
            _ if !is_there => Ops::empty(),
            Some(ways) if row.key == KeyKind::Rsa => strict_ops(ways, row),
            _ => row.ops,
        }
    }

    pub(crate) fn key_sizes(&self, kind: KeyKind) -> (u64, u64) {
        let range = |sizes: &mut dyn Iterator<Item = u64>| {
            sizes.fold(None, |range: Option<(u64, u64)>, size| {
                Some(range.map_or((size, size), |(low, high)| (low.min(size), high.max(size))))
            })
        };
        match kind {
            KeyKind::None => None,
            KeyKind::Aes => return (16, 32),
            KeyKind::Secret | KeyKind::Hkdf => return (1, MAX_SECRET_LEN),
            KeyKind::Rsa => range(&mut self.rsa_bits.iter().map(|bits| u64::from(*bits))),
            KeyKind::Ec => range(&mut self.curves().map(|curve| u64::from(curve.order_bits()))),
            KeyKind::Pair => {
                let ((low, _), (_, high)) = (self.key_sizes(KeyKind::Ec), self.key_sizes(KeyKind::Rsa));
                Some((low, high)).filter(|(low, high)| low < high)
            }
        }
        .unwrap_or((0, 0))
    }
}

/// What is left of an RSA mechanism without the raw operation. What the public key does is done by software, and stays as long as the
/// private key can do its part.
fn strict_ops(ways: &RsaWays, row: &MechanismRow) -> Ops {
    let signed = Ops::SIGN | Ops::VERIFY | Ops::MESSAGE_SIGN | Ops::MESSAGE_VERIFY | Ops::MULTI_MESSAGE;
    let signed = signed | Ops::SIGN_RECOVER | Ops::VERIFY_RECOVER;
    let encrypted = Ops::ENCRYPT | Ops::DECRYPT | Ops::WRAP | Ops::UNWRAP | Ops::ENCAPSULATE | Ops::DECAPSULATE;
    let (signs, decrypts) = match row.scheme {
        Scheme::RsaPkcs1 => (row.hash.map_or(!ways.ssa.is_empty(), |hash| ways.can_ssa(hash)), ways.es),
        Scheme::RsaPss => (row.hash.map_or(!ways.pss.is_empty(), |hash| ways.can_pss(hash)), false),
        Scheme::RsaOaep => (false, !ways.oaep.is_empty()),
        Scheme::RsaRaw => (false, false),
        _ => return row.ops,
    };
    let mut ops = row.ops;
    ops.remove(if signs { Ops::empty() } else { signed });
    ops.remove(if decrypts { Ops::empty() } else { encrypted });
    ops
}
