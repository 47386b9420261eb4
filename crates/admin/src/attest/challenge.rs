//! How an attestation key is enrolled: the machine shows what it is, the authority makes a challenge that only the TPM of that
//! endorsement key can open while it has that attestation key, and the machine answers.

use base::Secret;
use base::digest::Hash;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tpm::{Attestation, Attested};

use super::verify::signed_by;
use super::{EK_CERTIFICATE, Hex, TpmSignature, area, not_a, reason, to_json};
use crate::x509;
use token::manage::PublicKey;
use token::{Error, Result};

/// Bytes of the answer.
const ANSWER: usize = 32;

/// What a machine shows an authority: it is named by it for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    format: String,
    /// The kind of endorsement key, by the NV index of its certificate.
    pub(crate) endorsement_index: u32,
    /// TPMT_PUBLIC.
    pub(crate) endorsement: Hex,
    /// DER: its certificate first, then those of the authorities above.
    pub(crate) endorsement_chain: Vec<Hex>,
    /// TPMT_PUBLIC.
    pub(crate) attester: Hex,
    /// TPMS_CREATION_DATA, TPMS_ATTEST and TPMT_SIGNATURE of the attestation key's creation.
    pub(crate) creation_data: Hex,
    pub(crate) creation_attest: Hex,
    pub(crate) creation_signature: Hex,
}

/// What the authority asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    format: String,
    /// Made by other software, which wants the secret itself.
    #[serde(skip)]
    pub(crate) foreign: bool,
    pub(crate) endorsement_index: u32,
    /// The name of the attestation key.
    pub(crate) attester: Hex,
    /// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    pub(crate) credential: Hex,
    pub(crate) secret: Hex,
}

/// What the authority keeps for itself, to know the answer by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: String,
    /// TPMT_PUBLIC.
    pub(crate) attester: Hex,
    /// DER.
    pub(crate) endorsement_chain: Vec<Hex>,
    /// SHA-256 of the answer.
    answer: Hex,
}

/// What the machine answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    format: String,
    answer: Hex,
}

/// Files of this kind say which they are, and which version.
trait File: DeserializeOwned + Serialize {
    const KIND: &'static str;

    fn format(&self) -> &str;

    fn tag() -> String {
        format!("tpm2-cryptoki {} 1", Self::KIND)
    }

    fn read(text: &[u8]) -> Result<Self> {
        let file: Self = serde_json::from_slice(text).map_err(|error| not_a(Self::KIND, error))?;
        match file.format() == Self::tag() {
            true => Ok(file),
            false => Err(not_a(Self::KIND, format!("format {:?}", file.format()))),
        }
    }
}

macro_rules! file {
    ($type:ident, $kind:literal) => {
        impl File for $type {
            const KIND: &'static str = $kind;

            fn format(&self) -> &str {
                &self.format
            }
        }

        impl $type {
            /// Reads the file.
            ///
            /// # Errors
            /// [`Error::General`] for what is none.
            pub fn from_json(text: &[u8]) -> Result<Self> {
                File::read(text)
            }

            /// The file.
            ///
            /// # Errors
            /// None that can be brought about from outside.
            pub fn to_json(&self) -> Result<String> {
                to_json(self)
            }
        }
    };
}

file!(Identity, "identity");
file!(Challenge, "challenge");
file!(Record, "record");
file!(Response, "response");

/// What `tpm2_makecredential` writes before the two structures.
const TOOLS_HEAD: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];

impl Identity {
    pub(crate) fn new(
        index: u32,
        endorsement: Vec<u8>,
        chain: Vec<Vec<u8>>,
        attester: Vec<u8>,
        [data, attest, signature]: [Vec<u8>; 3],
    ) -> Self {
        Self {
            format: Self::tag(),
            endorsement_index: index,
            endorsement: Hex(endorsement),
            endorsement_chain: chain.into_iter().map(Hex).collect(),
            attester: Hex(attester),
            creation_data: Hex(data),
            creation_attest: Hex(attest),
            creation_signature: Hex(signature),
        }
    }
}

impl Challenge {
    /// A credential of another authority: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET one after the other, as `tpm2_makecredential` writes
    /// them. `None` for what is not that.
    pub fn from_tools(bytes: &[u8], endorsement: tpm::Endorsement, attester: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&TOOLS_HEAD)?;
        let len = usize::from(u16::from_be_bytes(*rest.first_chunk::<2>()?));
        let (credential, secret) = rest.split_at_checked(len + 2)?;
        Some(Self {
            format: Self::tag(),
            foreign: true,
            endorsement_index: endorsement.certificate(),
            attester: Hex(attester.to_vec()),
            credential: Hex(credential.to_vec()),
            secret: Hex(secret.to_vec()),
        })
    }
}

impl Response {
    pub(crate) fn new(answer: &Secret) -> Self {
        Self { format: Self::tag(), answer: Hex(answer.expose().to_vec()) }
    }
}

impl Record {
    /// Whether this is the answer.
    pub(crate) fn is_answered_by(&self, response: &Response) -> bool {
        Secret::new(Hash::Sha256.digest(&[&response.answer.0])) == Secret::copy_from(&self.answer.0)
    }
}

/// Makes a challenge for a machine, once its endorsement key is found to be one that the given authorities vouch for, and its attestation
/// key to be one.
///
/// # Errors
/// [`Error::General`] says what of the identity is wrong.
pub fn challenge(identity: &Identity, endorsement_roots: &[Vec<u8>]) -> Result<(Challenge, Record)> {
    let refuse = |why: String| Error::General(format!("the identity is refused: {why}"));
    let chain: Vec<&[u8]> = identity.endorsement_chain.iter().map(|Hex(der)| der.as_slice()).collect();
    let (leaf, above) = chain.split_first().ok_or_else(|| refuse("there is no endorsement certificate".to_owned()))?;
    x509::check_path(leaf, above, endorsement_roots, EK_CERTIFICATE)
        .map_err(|why| refuse(format!("the endorsement certificate: {why}")))?;
    let endorsement = area(&identity.endorsement.0).map_err(|error| refuse(reason(&error)))?;
    let certified = x509::decode(leaf)?;
    let own = PublicKey::from_area(&endorsement).ok();
    if own.is_none() || own != x509::key_of(&certified) {
        return Err(refuse("the endorsement certificate is for another key".to_owned()));
    }
    let attester = area(&identity.attester.0).map_err(|error| refuse(reason(&error)))?;
    if !attester.is_attestation_key() {
        return Err(refuse(
            "its key for attestations is none: it is not restricted to sign what the TPM says, or can leave the TPM"
                .to_owned(),
        ));
    }
    let name = attester.name()?;
    if !created(identity, &attester, &name) {
        return Err(refuse("the creation of the attestation key is not certified by itself".to_owned()));
    }
    let answer = Secret::new(base::random::bytes(ANSWER)?);
    let (credential, secret) =
        tpm::make_credential(&endorsement, &name, &answer).map_err(|error| refuse(reason(&error)))?;
    let challenge = Challenge {
        format: Challenge::tag(),
        foreign: false,
        endorsement_index: identity.endorsement_index,
        attester: Hex(name.as_bytes().to_vec()),
        credential: Hex(credential),
        secret: Hex(secret),
    };
    let record = Record {
        format: Record::tag(),
        attester: identity.attester.clone(),
        endorsement_chain: identity.endorsement_chain.clone(),
        answer: Hex(Hash::Sha256.digest(&[answer.expose()])),
    };
    Ok((challenge, record))
}

/// Whether the attestation key says of itself that its TPM made it.
fn created(identity: &Identity, attester: &tpm::PublicArea, name: &tpm::Name) -> bool {
    let Ok(key) = PublicKey::from_area(attester) else { return false };
    let signature = TpmSignature::Tpmt(identity.creation_signature.0.clone());
    let said = Attestation::parse(&identity.creation_attest.0).ok().map(|attestation| attestation.attested);
    let digest = Hash::Sha256.digest(&[&identity.creation_data.0]);
    signed_by(&key, &identity.creation_attest.0, &signature)
        && said == Some(Attested::Creation { name: name.as_bytes().to_vec(), creation_hash: digest })
}
