//! Keys that approve of policies (TPM2_PolicyAuthorize), and their approvals.

use std::fmt;

use base::curve::EcPublic;
use base::der;
use base::digest::Hash;
use base::pad::pkcs1_sign_check;
use base::rsa::RsaPublic;
use serde::{Deserialize, Serialize};

use super::digest::DIGEST_LEN;
use super::hex;
use crate::error::{Error, Result};
use crate::state::counter::CounterLimit;
use crate::wire::constants::alg;
use crate::wire::pcr::PcrSelection;
use crate::wire::public::{Attributes, Name, Parameters, PublicArea, Scheme, curve_id, name_alg};
use crate::wire::signature::Signature;

/// Bytes of a policyRef: as long as the longest digest.
pub(crate) const MAX_POLICY_REF: usize = 64;

/// The public key of an authority. Stored as its TPMT_PUBLIC: its name, a digest of that, is part of the policies that it rules.
///
/// A key from [`AuthorityKey::from_rsa`] or [`AuthorityKey::from_ec`] has the public area, and so the name, that
/// `tpm2_loadexternal` and systemd give to the same key: for any scheme, signing and decrypting, with nameAlg SHA-256, and the
/// exponent of an RSA key as it is, also where a TPM would take 0 for it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorityKey {
    /// TPMT_PUBLIC.
    area: Vec<u8>,
    name: Name,
    key: PublicKey,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { curve: base::curve::Curve, point: Vec<u8> },
}

impl AuthorityKey {
    /// An RSA key, which signs with RSASSA-PKCS1-v1_5.
    ///
    /// # Errors
    /// An exponent of more than 32 bits, which a TPM does not take.
    pub fn from_rsa(key: &RsaPublic) -> Result<AuthorityKey> {
        let exponent = match key.e() {
            e if e.len() <= 4 => e.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)),
            _ => return Err(Error::Unsupported("an RSA public exponent of more than 32 bits".into())),
        };
        let bits = u16::try_from(key.modulus_bits()).map_err(|_| Error::Invalid("the RSA key is too long"))?;
        AuthorityKey::of(Parameters::Rsa {
            symmetric: None,
            scheme: Scheme::NULL,
            bits,
            exponent,
            modulus: key.n().to_vec(),
        })
    }

    /// An elliptic curve key, which signs with ECDSA.
    ///
    /// # Errors
    /// None for a point that is one.
    pub fn from_ec(key: &EcPublic) -> Result<AuthorityKey> {
        AuthorityKey::of(Parameters::Ecc {
            symmetric: None,
            scheme: Scheme::NULL,
            curve: curve_id(key.curve()),
            kdf: Scheme::NULL,
            x: key.x().to_vec(),
            y: key.y().to_vec(),
        })
    }

    fn of(parameters: Parameters) -> Result<AuthorityKey> {
        let area = PublicArea {
            name_alg: name_alg()?,
            attributes: Attributes::SIGN.union(Attributes::DECRYPT).union(Attributes::USER_WITH_AUTH),
            auth_policy: Vec::new(),
            parameters,
        };
        AuthorityKey::from_public(&area.marshal_area()?)
    }

    /// A key with any public area, a TPMT_PUBLIC: its name is what counts.
    ///
    /// # Errors
    /// No signing key, one for another scheme than RSASSA or ECDSA with the hash of its name, or none that can be checked here.
    pub fn from_public(area: &[u8]) -> Result<AuthorityKey> {
        let public = PublicArea::parse_area(area)?;
        let hash = public.name_hash()?;
        if !public.attributes.contains(Attributes::SIGN) {
            return Err(Error::Invalid("the key of the authority does not sign"));
        }
        let malformed = |_| Error::Invalid("the public key of the authority is not valid");
        let (scheme, wanted, key) = match &public.parameters {
            Parameters::Rsa { scheme, bits, .. } => {
                let (modulus, exponent) = public.rsa().ok_or(Error::Invalid("no RSA key"))?;
                let rsa = RsaPublic::new(modulus, exponent.to_be_bytes()).map_err(malformed)?;
                if rsa.n() != modulus || usize::from(*bits) != rsa.modulus_bits() {
                    return Err(Error::Invalid("the public key of the authority is not valid"));
                }
                (scheme, alg::RSASSA, PublicKey::Rsa { n: rsa.n().to_vec(), e: rsa.e().to_vec() })
            }
            Parameters::Ecc { scheme, .. } => {
                let (curve, x, y) = public.ecc().ok_or(Error::Unsupported("the curve of the authority".into()))?;
                let point = EcPublic::new(curve, x, y).map_err(malformed)?.point();
                (scheme, alg::ECDSA, PublicKey::Ec { curve, point })
            }
            _ => return Err(Error::Invalid("the key of the authority is not asymmetric")),
        };
        let fits = |hash_id| crate::wire::hash::hash_from_alg(hash_id).is_ok_and(|own| own == hash);
        let right = scheme.algorithm == alg::NULL || (scheme.algorithm == wanted && scheme.hash.is_some_and(fits));
        if !right {
            return Err(Error::Unsupported("an authority with another scheme than RSASSA or ECDSA".into()));
        }
        Ok(AuthorityKey { area: area.to_vec(), name: public.name()?, key })
    }

    /// The name, which stands in the policies.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The TPMT_PUBLIC.
    pub fn public(&self) -> &[u8] {
        &self.area
    }

    /// The key, if it is an RSA key.
    pub fn rsa(&self) -> Option<RsaPublic> {
        match &self.key {
            PublicKey::Rsa { n, e } => RsaPublic::new(n, e).ok(),
            PublicKey::Ec { .. } => None,
        }
    }

    /// The key, if it is an elliptic curve key.
    pub fn ec(&self) -> Option<EcPublic> {
        match &self.key {
            PublicKey::Rsa { .. } => None,
            PublicKey::Ec { curve, point } => EcPublic::from_point(*curve, point).ok(),
        }
    }

    /// The `pkfp` of systemd's signature files: SHA-256 of the RSAPublicKey in DER, or of the uncompressed point. 32 bytes.
    pub fn fingerprint(&self) -> Vec<u8> {
        match &self.key {
            PublicKey::Rsa { n, e } => Hash::Sha256.digest(&[&der::sequence(&[&der::integer(n), &der::integer(e)])]),
            PublicKey::Ec { point, .. } => Hash::Sha256.digest(&[point]),
        }
    }

    /// The hash of its signatures: that of its name, as TPM2_PolicyAuthorize demands.
    pub fn hash(&self) -> Hash {
        let id = self.name.as_bytes().first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        id.and_then(|id| crate::wire::hash::hash_from_alg(id).ok()).unwrap_or(Hash::Sha256)
    }

    /// Whether `signature` is this key's signature of `data`.
    fn verify(&self, data: &[&[u8]], signature: &Signature) -> bool {
        let hash = self.hash();
        let digest = hash.digest(data);
        match (&self.key, signature) {
            (PublicKey::Rsa { n, .. }, Signature::Rsa(signature)) if signature.len() == n.len() => {
                let block = self.rsa().and_then(|key| key.raw(signature).ok());
                block.is_some_and(|block| pkcs1_sign_check(&block, &[hash.digest_info_prefix(), &digest].concat()))
            }
            (PublicKey::Ec { curve, .. }, Signature::Ecc { r, s }) => {
                let long = [r, s].iter().all(|number| number.len() == curve.field_len());
                long && self.ec().is_some_and(|key| key.verify(&digest, &[r.as_slice(), s].concat()))
            }
            _ => false,
        }
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityKey({})", self.name)
    }
}

impl TryFrom<String> for AuthorityKey {
    type Error = Error;

    fn try_from(digits: String) -> Result<AuthorityKey> {
        AuthorityKey::from_public(&hex::decode(&digits)?)
    }
}

impl From<AuthorityKey> for String {
    fn from(key: AuthorityKey) -> String {
        hex::encode(&key.area)
    }
}

/// An authority's word that a state of PCRs is good: a signature of the policy of [`pcr_policy_digest`](super::pcr_policy_digest).
/// The values themselves are not told; whether they are the present ones is known by computing the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approval {
    /// The PCRs.
    pub selection: PcrSelection,
    /// A counter that can make it void; `None`: it is good for ever.
    pub limit: Option<CounterLimit>,
    /// The digest of the approved policy.
    pub policy_digest: Vec<u8>,
    /// The signature of [`approval_message`].
    pub signature: Signature,
}

impl Approval {
    /// An approval, checked by nobody yet.
    ///
    /// # Errors
    /// The digest does not have 32 bytes.
    pub fn new(selection: PcrSelection, policy_digest: Vec<u8>, signature: Signature) -> Result<Approval> {
        if policy_digest.len() != DIGEST_LEN {
            return Err(Error::Invalid("the digest of a policy has 32 bytes"));
        }
        Ok(Approval { selection, limit: None, policy_digest, signature })
    }

    /// The same, as one that is good only while a counter is not above a limit. What was signed must say so, too.
    pub fn with_limit(self, limit: Option<CounterLimit>) -> Approval {
        Approval { limit, ..self }
    }

    /// Whether this authority signed it. Computed here: the TPM is not asked.
    pub fn verify(&self, key: &AuthorityKey, policy_ref: &[u8]) -> bool {
        key.verify(&[&self.policy_digest, policy_ref], &self.signature)
    }
}

/// What an authority signs (Part 3, 23.16): the digest of the approved policy, and the reference that the policy names.
pub fn approval_message(policy_digest: &[u8], policy_ref: &[u8]) -> Vec<u8> {
    [policy_digest, policy_ref].concat()
}
