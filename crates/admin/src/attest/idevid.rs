//! TCG_CSR_IDEVID (TCG TPM 2.0 Keys for Device Identity and Attestation 1.0, 13.1): a request with all proofs in it. All numbers have 32
//! bits, big-endian.

use base::digest::Hash;
use token::manage::PublicKey;
use token::{Error, Result};

use super::evidence::{Around, Evidence, SignatureForm, TpmSignature};
use super::verify::signed_by;

/// Of both structures.
const VERSION: u32 = 0x0100;
/// TPM_ALG_SHA256.
const SHA256: u32 = 0x000b;
/// Sizes after the digest, in their order: prodModel, prodSerial, prodCaData, bootEvntLog, ekCert, attestPub, atCreateTkt, atCertifyInfo,
/// atCertifyInfoSignature, signingPub, sgnCertifyInfo, sgnCertifyInfoSignature, pad.
const FIELDS: usize = 13;

/// What the machine is, as its maker calls it: verifiers refuse a request without.
#[derive(Clone, Debug)]
pub struct Product {
    /// prodModel.
    pub model: String,
    /// prodSerial.
    pub serial: String,
}

/// The contents, which the key signs.
pub(crate) fn contents(evidence: &Evidence, product: &Product) -> Result<Vec<u8>> {
    let endorsement = evidence.endorsement.first().map(Vec::as_slice).unwrap_or_default();
    let signature = evidence.signature(SignatureForm::Tpmt)?;
    let fields: [&[u8]; FIELDS] = [
        product.model.as_bytes(),
        product.serial.as_bytes(),
        &[],
        &[],
        endorsement,
        evidence.attester.as_deref().unwrap_or_default(),
        &[],
        &[],
        &[],
        &evidence.public,
        &evidence.attest,
        &signature,
        &[],
    ];
    let mut rest = Vec::new();
    for field in fields {
        rest.extend(size(field)?);
    }
    rest.extend(fields.concat());
    let digest = Hash::Sha256.digest(&[&rest]);
    Ok([&VERSION.to_be_bytes()[..], &SHA256.to_be_bytes(), &size(&digest)?, &digest, &rest].concat())
}

/// The whole, with the key's signature over the contents.
pub(crate) fn whole(contents: &[u8], signature: &[u8]) -> Result<Vec<u8>> {
    Ok([&VERSION.to_be_bytes()[..], &size(contents)?, &size(signature)?, contents, signature].concat())
}

fn size(field: &[u8]) -> Result<[u8; 4]> {
    u32::try_from(field.len()).map(u32::to_be_bytes).map_err(|error| Error::General(error.to_string()))
}

/// Reads the whole, strictly.
pub(crate) fn read(bytes: &[u8]) -> std::result::Result<Evidence, String> {
    parse(bytes).ok_or_else(|| "broken TCG_CSR_IDEVID".to_owned())
}

fn parse(bytes: &[u8]) -> Option<Evidence> {
    let mut outer = Reader(bytes);
    let (version, contents, signature) = (outer.number()?, outer.number()?, outer.number()?);
    let (contents, signature) = (outer.bytes(contents)?, outer.bytes(signature)?);
    if version != VERSION || !outer.0.is_empty() {
        return None;
    }
    let mut inner = Reader(contents);
    let (version, algorithm, size) = (inner.number()?, inner.number()?, inner.number()?);
    if version != VERSION || algorithm != SHA256 {
        return None;
    }
    let digest = inner.bytes(size)?;
    let digest = digest == Hash::Sha256.digest(&[inner.0]);
    let mut sizes = [0; FIELDS];
    for size in &mut sizes {
        *size = inner.number()?;
    }
    let mut fields = [&[][..]; FIELDS];
    for (field, size) in fields.iter_mut().zip(sizes) {
        *field = inner.bytes(size)?;
    }
    if !inner.0.is_empty() {
        return None;
    }
    let [_model, _serial, _, _, endorsement, attester, _, _, _, public, attest, by_attester, _pad] = fields;
    let key = super::area(public).ok().and_then(|area| PublicKey::from_area(&area).ok());
    let signed = key.is_some_and(|key| signed_by(&key, contents, &TpmSignature::guess(signature.to_vec())));
    Some(Evidence {
        attest: attest.to_vec(),
        signature: TpmSignature::Tpmt(by_attester.to_vec()),
        public: public.to_vec(),
        attester: Some(attester.to_vec()),
        chain: Vec::new(),
        endorsement: if endorsement.is_empty() { Vec::new() } else { vec![endorsement.to_vec()] },
        policy: None,
        around: Around::IDevId { digest, signed },
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn bytes(&mut self, len: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }
}
