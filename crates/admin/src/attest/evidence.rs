//! What is shown to an authority, in the forms that authorities take.

use base::digest::Hash;
use serde::{Deserialize, Serialize};
use token::manage::PublicKey;
use token::{Error, Result};
use tpm::{AttestationSignature, SignScheme};

use super::{Hex, area, csr, idevid, not_a, reason, to_json, webauthn};

/// What a TPM signed about a key, with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// The signature over that.
    pub signature: TpmSignature,
    /// TPMT_PUBLIC of the key.
    pub public: Vec<u8>,
    /// TPMT_PUBLIC of the attestation key, where the form has a place for it.
    pub attester: Option<Vec<u8>>,
    /// Certificates in DER: of the attestation key, and of the authorities above.
    pub chain: Vec<Vec<u8>>,
    /// Certificates in DER: of the endorsement key, and of the authorities above.
    pub endorsement: Vec<Vec<u8>>,
    /// The policy of the key; JSON. What counts is that the key's public area agrees with it.
    pub policy: Option<tpm::Policy>,
    /// What came around it.
    pub(crate) around: Around,
}

/// What a form has besides, that must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Around {
    /// Nothing.
    #[default]
    Nothing,
    /// WebAuthn: authenticatorData, if it was not left out.
    WebAuthn(Option<Vec<u8>>),
    /// The SubjectPublicKeyInfo of a request in DER, and whether its own signature is good.
    Request { spki: Vec<u8>, signed: bool },
    /// The same of a TCG-CSR-IDEVID: whether the digest and the signature by the key are good.
    IDevId { digest: bool, signed: bool },
}

/// A signature in one of two forms: verifiers do not agree which it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmSignature {
    /// TPMT_SIGNATURE, as the TPM gives it.
    Tpmt(Vec<u8>),
    /// As X.509 has it, with SHA-256.
    Bare(Vec<u8>),
}

/// Which of the two is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// TPMT_SIGNATURE.
    Tpmt,
    /// As X.509 has it.
    Bare,
}

impl TpmSignature {
    /// The bytes in the form that is asked for.
    pub(crate) fn form(&self, form: SignatureForm, key: &PublicKey) -> Result<Vec<u8>> {
        Ok(match (self, form) {
            (Self::Tpmt(bytes), SignatureForm::Tpmt) | (Self::Bare(bytes), SignatureForm::Bare) => bytes.clone(),
            (_, SignatureForm::Tpmt) => self.parse(key)?.marshal()?,
            (_, SignatureForm::Bare) => self.parse(key)?.bare(),
        })
    }

    /// The signature, as one by this key.
    pub(crate) fn parse(&self, key: &PublicKey) -> std::result::Result<AttestationSignature, tpm::Error> {
        let (scheme, curve) = match key {
            PublicKey::Rsa(_) => (SignScheme::RsaSsa, None),
            PublicKey::Ec(key) => (SignScheme::Ecdsa, Some(key.curve())),
        };
        match self {
            Self::Tpmt(bytes) => AttestationSignature::parse(bytes, curve),
            Self::Bare(bytes) => AttestationSignature::from_bare(bytes, scheme, Hash::Sha256, curve),
        }
    }

    /// Which of the two some bytes are: a TPMT_SIGNATURE begins with a TPM_ALG_ID, an RSA block with anything, and an ECDSA-Sig-Value with
    /// a tag.
    pub(crate) fn guess(bytes: Vec<u8>) -> Self {
        match AttestationSignature::parse(&bytes, None) {
            Ok(_) => Self::Tpmt(bytes),
            Err(_) => Self::Bare(bytes),
        }
    }
}

/// The first of all words in the file.
const FORMAT: &str = "tpm2-cryptoki attestation 1";

/// The form for one's own scripts. All bytes are hexadecimal digits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    /// TPMS_ATTEST.
    attest: Hex,
    /// TPMT_SIGNATURE.
    signature: Hex,
    /// TPMT_PUBLIC of the key.
    public: Hex,
    /// TPMT_PUBLIC of the attestation key.
    attester: Hex,
    /// DER.
    attester_chain: Vec<Hex>,
    /// DER.
    endorsement_chain: Vec<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<tpm::Policy>,
}

impl Evidence {
    /// The public half of the key.
    ///
    /// # Errors
    /// [`Error::General`] for a public area that makes no sense.
    pub fn key(&self) -> Result<PublicKey> {
        let area = area(&self.public).map_err(|error| not_a("public area", reason(&error)))?;
        PublicKey::from_area(&area)
    }

    /// The key that signed, as far as the evidence itself says: by its public area, else by its certificate.
    pub(crate) fn signer(&self) -> Option<PublicKey> {
        match (&self.attester, self.chain.first()) {
            (Some(public), _) => area(public).ok().and_then(|area| PublicKey::from_area(&area).ok()),
            (None, Some(der)) => crate::x509::decode(der).ok().and_then(|found| crate::x509::key_of(&found)),
            (None, None) => None,
        }
    }

    /// The signature in the form that is asked for.
    pub(crate) fn signature(&self, form: SignatureForm) -> Result<Vec<u8>> {
        let signer = self.signer().ok_or(Error::KeyTypeInconsistent)?;
        self.signature.form(form, &signer)
    }

    /// The form for one's own scripts: JSON.
    ///
    /// # Errors
    /// None that can be brought about from outside.
    pub fn to_json(&self) -> Result<String> {
        let list = |certificates: &[Vec<u8>]| certificates.iter().cloned().map(Hex).collect();
        to_json(&File {
            format: FORMAT.to_owned(),
            attest: Hex(self.attest.clone()),
            signature: Hex(self.signature(SignatureForm::Tpmt)?),
            public: Hex(self.public.clone()),
            attester: Hex(self.attester.clone().unwrap_or_default()),
            attester_chain: list(&self.chain),
            endorsement_chain: list(&self.endorsement),
            policy: self.policy.clone(),
        })
    }

    fn from_json(text: &[u8]) -> std::result::Result<Self, String> {
        let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.format != FORMAT {
            return Err(format!("format {:?}", file.format));
        }
        let list = |certificates: Vec<Hex>| certificates.into_iter().map(|Hex(der)| der).collect();
        Ok(Self {
            attest: file.attest.0,
            signature: TpmSignature::Tpmt(file.signature.0),
            public: file.public.0,
            attester: Some(file.attester.0),
            chain: list(file.attester_chain),
            endorsement: list(file.endorsement_chain),
            policy: file.policy,
            around: Around::Nothing,
        })
    }
}

/// Reads evidence in any of the forms: which it is, its first bytes say.
///
/// # Errors
/// [`Error::General`] says what the file is not.
pub fn read(bytes: &[u8]) -> Result<Evidence> {
    let text = bytes.trim_ascii_start();
    let read = match text.first_chunk::<4>() {
        Some([0, 0, 1, 0]) => idevid::read(text),
        Some([b'{', ..]) => match webauthn::payload(text) {
            Some(object) => webauthn::read(&object),
            None => Evidence::from_json(text),
        },
        Some([b'-' | b'0', ..]) => csr::read(text),
        _ => webauthn::read(bytes),
    };
    read.map_err(|why| not_a("attestation", why))
}
