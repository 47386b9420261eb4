//! Proof that a key is in a TPM: made on the machine that has it, asked for and looked at by whoever issues certificates.
//!
//! Three parties: the TPM's maker, whose authority vouches for an endorsement key; an authority that has the machine prove that an
//! attestation key is in the TPM of an endorsement key; and who is shown what the attestation key says of other keys. What the second
//! and the third do needs no TPM and no store: those are functions of this module, and not of [`Admin`](crate::Admin).

mod challenge;
mod csr;
mod evidence;
mod idevid;
mod issue;
mod make;
mod report;
mod verify;
mod webauthn;

pub use challenge::{Challenge, Identity, Record, Response, challenge};
pub use csr::request_key;
pub use evidence::{Evidence, SignatureForm, TpmSignature, read};
pub use idevid::Product;
pub use issue::{AttesterCertificate, confirm, issue};
pub use make::{AttestedRequest, AttesterInfo, IdentityRequest, Proof};
pub use report::{Check, Outcome, Report};
pub use verify::{Expected, Freshness, read_policy, verify};
pub use webauthn::RelyingParty;

use serde::{Deserialize, Serialize};
use token::Error;

/// What kinds of keys there are to choose from.
pub use tpm::{AttestationTemplate, Endorsement};

/// tcg-kp-EKCertificate: the purpose of certificates of endorsement keys.
pub(crate) const EK_CERTIFICATE: &str = "2.23.133.8.1";
/// tcg-kp-AIKCertificate: that of attestation keys.
pub(crate) const AIK_CERTIFICATE: &str = "2.23.133.8.3";

/// Bytes, in JSON as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl From<Hex> for String {
    fn from(bytes: Hex) -> String {
        base::hex::encode(&bytes.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(digits: String) -> Result<Hex, &'static str> {
        base::hex::decode(&digits).map(Hex).ok_or("not hexadecimal")
    }
}

/// What goes into an attestation for a nonce: a short one as it is, of a longer one its SHA-256.
#[must_use]
pub fn qualifying(nonce: &[u8]) -> Vec<u8> {
    match nonce.len() <= tpm::MOST_QUALIFYING {
        true => nonce.to_vec(),
        false => base::digest::Hash::Sha256.digest(&[nonce]),
    }
}

/// What a file is not.
pub(crate) fn not_a(what: &str, why: impl std::fmt::Display) -> Error {
    Error::General(format!("this is no {what}: {why}"))
}

/// JSON with a line for each part, as files have it.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::General(error.to_string()))?;
    Ok(text + "\n")
}

/// The TPMT_PUBLIC in a TPM2B_PUBLIC.
pub(crate) fn inner(public: &[u8]) -> Vec<u8> {
    public.get(2..).unwrap_or_default().to_vec()
}

/// Reads a TPMT_PUBLIC.
pub(crate) fn area(public: &[u8]) -> Result<tpm::PublicArea, tpm::Error> {
    let len = u16::try_from(public.len()).map_err(|_| tpm::Error::Malformed("too long"))?;
    tpm::PublicArea::parse(&[&len.to_be_bytes(), public].concat())
}

/// Why something of a TPM does not make sense, without a word on whose answer it was.
pub(crate) fn reason(error: &tpm::Error) -> String {
    match error {
        tpm::Error::Malformed(what) | tpm::Error::Invalid(what) => (*what).to_owned(),
        tpm::Error::Unsupported(what) => what.clone(),
        error => error.to_string(),
    }
}
