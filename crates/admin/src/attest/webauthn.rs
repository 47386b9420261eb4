//! The `tpm` attestation statement of WebAuthn Level 3 (8.3), as authenticators and ACME's device-attest-01 have it: CBOR.

use base::curve::Curve;
use base::digest::Hash;
use base64ct::{Base64UrlUnpadded, Encoding};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::Value;
use token::manage::PublicKey;
use token::{Error, Result};

use super::evidence::{Around, Evidence, SignatureForm, TpmSignature};

/// COSE algorithms (RFC 9053, RFC 8812).
const ES256: i64 = -7;
const ES384: i64 = -35;
const ES512: i64 = -36;
const RS256: i64 = -257;

/// User present, and attested credential data included (6.1).
const FLAGS: u8 = 0x41;
/// Bytes of authenticatorData before the credential: digest of the relying party's id, flags, counter.
const HEAD: usize = 32 + 1 + 4;
/// AAGUID: no model of authenticator is claimed.
const AAGUID: [u8; 16] = [0; 16];

/// Whom a WebAuthn registration is for, and what he asked.
#[derive(Clone, Debug)]
pub struct RelyingParty {
    /// Its id: a domain.
    pub id: String,
    /// The client data as JSON, with the challenge in it.
    pub client_data: Vec<u8>,
}

impl RelyingParty {
    /// What the attestation must be about: a digest over authenticatorData and the digest of the client data.
    pub(crate) fn expected(&self, authenticator_data: &[u8]) -> Vec<u8> {
        Hash::Sha256.digest(&[authenticator_data, &Hash::Sha256.digest(&[&self.client_data])])
    }

    /// authenticatorData (6.1) of a key that is registered. Its credential id is the digest of its public key.
    pub(crate) fn authenticator_data(&self, key: &PublicKey) -> Result<Vec<u8>> {
        let id = Hash::Sha256.digest(&[&key.spki()]);
        let head = [&Hash::Sha256.digest(&[self.id.as_bytes()])[..], &[FLAGS], &[0; 4], &AAGUID].concat();
        Ok([&head[..], &[0, 32], &id, &cose_key(key)?].concat())
    }
}

/// The attestation object: format, statement, and authenticatorData, which ACME leaves out.
pub(crate) fn object(evidence: &Evidence, authenticator_data: Option<&[u8]>, form: SignatureForm) -> Result<Vec<u8>> {
    let signer = evidence.signer().ok_or(Error::KeyTypeInconsistent)?;
    let algorithm = match &signer {
        PublicKey::Rsa(_) => RS256,
        PublicKey::Ec(_) => ES256,
    };
    let signature = evidence.signature.form(form, &signer)?;
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    let written = (|| {
        // Shorter keys first, as CTAP2 orders them.
        out.map(if authenticator_data.is_some() { 3 } else { 2 })?.str("fmt")?.str("tpm")?;
        out.str("attStmt")?.map(6)?.str("alg")?.i64(algorithm)?.str("sig")?.bytes(&signature)?;
        out.str("ver")?.str("2.0")?.str("x5c")?.array(evidence.chain.len() as u64)?;
        for certificate in &evidence.chain {
            out.bytes(certificate)?;
        }
        out.str("pubArea")?.bytes(&evidence.public)?.str("certInfo")?.bytes(&evidence.attest)?;
        if let Some(data) = authenticator_data {
            out.str("authData")?.bytes(data)?;
        }
        Ok(())
    })();
    written.map_err(|error: minicbor::encode::Error<std::convert::Infallible>| Error::General(error.to_string()))?;
    Ok(bytes)
}

/// The payload with which a client of ACME answers device-attest-01.
pub(crate) fn acme(object: &[u8]) -> Result<String> {
    Ok(serde_json::json!({ "attObj": Base64UrlUnpadded::encode_string(object) }).to_string() + "\n")
}

/// The attestation object of such a payload.
pub(crate) fn payload(text: &[u8]) -> Option<Vec<u8>> {
    let payload: Value = serde_json::from_slice(text).ok()?;
    Base64UrlUnpadded::decode_vec(payload.get("attObj")?.as_str()?).ok()
}

/// Reads an attestation object, or a statement alone.
pub(crate) fn read(bytes: &[u8]) -> std::result::Result<Evidence, String> {
    let mut parts = Parts::default();
    let mut decoder = Decoder::new(bytes);
    map(&mut decoder, &mut |key, decoder| parts.member(key, decoder)).map_err(|error| error.to_string())?;
    if decoder.position() != bytes.len() {
        return Err("trailing bytes".to_owned());
    }
    parts.whole().ok_or_else(|| "incomplete statement".to_owned())
}

/// What was found so far.
#[derive(Default)]
struct Parts {
    format: Option<String>,
    version: Option<String>,
    algorithm: Option<i64>,
    chain: Vec<Vec<u8>>,
    signature: Option<Vec<u8>>,
    attest: Option<Vec<u8>>,
    public: Option<Vec<u8>>,
    authenticator_data: Option<Vec<u8>>,
}

type Decoded<T> = std::result::Result<T, minicbor::decode::Error>;

impl Parts {
    fn member(&mut self, key: &str, decoder: &mut Decoder<'_>) -> Decoded<()> {
        let twice = match key {
            "fmt" => self.format.replace(decoder.str()?.to_owned()).is_some(),
            "ver" => self.version.replace(decoder.str()?.to_owned()).is_some(),
            "alg" => self.algorithm.replace(decoder.i64()?).is_some(),
            "sig" => self.signature.replace(decoder.bytes()?.to_vec()).is_some(),
            "certInfo" => self.attest.replace(decoder.bytes()?.to_vec()).is_some(),
            "pubArea" => self.public.replace(decoder.bytes()?.to_vec()).is_some(),
            "authData" => self.authenticator_data.replace(decoder.bytes()?.to_vec()).is_some(),
            "x5c" => {
                let count = decoder.array()?.ok_or(minicbor::decode::Error::message("endless list"))?;
                let twice = !self.chain.is_empty();
                for _ in 0..count {
                    self.chain.push(decoder.bytes()?.to_vec());
                }
                twice
            }
            "attStmt" => {
                map(decoder, &mut |key, decoder| match key {
                    // No deeper.
                    "attStmt" => Err(minicbor::decode::Error::message("nested statement")),
                    key => self.member(key, decoder),
                })?;
                false
            }
            _ => return Err(minicbor::decode::Error::message("unknown member")),
        };
        if twice { Err(minicbor::decode::Error::message("repeated member")) } else { Ok(()) }
    }

    fn whole(self) -> Option<Evidence> {
        let format = self.format.is_none_or(|format| format == "tpm");
        let known = matches!(self.algorithm?, ES256 | RS256) && self.version? == "2.0" && format;
        known.then_some(())?;
        Some(Evidence {
            attest: self.attest?,
            signature: TpmSignature::guess(self.signature?),
            public: self.public?,
            attester: None,
            chain: self.chain,
            endorsement: Vec::new(),
            policy: None,
            around: Around::WebAuthn(self.authenticator_data),
        })
    }
}

/// Each member of a map whose keys are text.
fn map(decoder: &mut Decoder<'_>, member: &mut dyn FnMut(&str, &mut Decoder<'_>) -> Decoded<()>) -> Decoded<()> {
    let count = decoder.map()?.ok_or(minicbor::decode::Error::message("endless map"))?;
    for _ in 0..count {
        if decoder.datatype()? != Type::String {
            return Err(minicbor::decode::Error::message("unnamed member"));
        }
        let key = decoder.str()?.to_owned();
        member(&key, decoder)?;
    }
    Ok(())
}

/// Whether authenticatorData is of this relying party, and of this key.
pub(crate) fn fits(data: &[u8], party: &RelyingParty, key: &PublicKey) -> bool {
    // What an authenticator says after the key would be extensions, which nobody asked for.
    let credential = || {
        let (head, rest) = data.split_at_checked(HEAD + AAGUID.len())?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (_, cose) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some((head, cose))
    };
    let Some((head, cose)) = credential() else { return false };
    let digest = Hash::Sha256.digest(&[party.id.as_bytes()]);
    head.starts_with(&digest) && head.get(32) == Some(&FLAGS) && cose_key(key).is_ok_and(|own| own == cose)
}

/// COSE_Key (RFC 9052, 7) of a key that signs.
fn cose_key(key: &PublicKey) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    let written = (|| match key {
        PublicKey::Rsa(key) => {
            out.map(4)?.i64(1)?.i64(3)?.i64(3)?.i64(RS256)?;
            out.i64(-1)?.bytes(key.n())?.i64(-2)?.bytes(key.e())?.ok()
        }
        PublicKey::Ec(key) => {
            let (algorithm, curve) = match key.curve() {
                Curve::P384 => (ES384, 2),
                Curve::P521 => (ES512, 3),
                Curve::P256 | Curve::P224 => (ES256, 1),
            };
            out.map(5)?.i64(1)?.i64(2)?.i64(3)?.i64(algorithm)?;
            out.i64(-1)?.i64(curve)?.i64(-2)?.bytes(key.x())?.i64(-3)?.bytes(key.y())?.ok()
        }
    })();
    written.map_err(|error: minicbor::encode::Error<std::convert::Infallible>| Error::General(error.to_string()))?;
    match key {
        PublicKey::Ec(key) if key.curve() == Curve::P224 => Err(Error::CurveNotSupported),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        let key = base::curve::EcPublic::of_private(Curve::P256, &base::Secret::new(vec![1])).unwrap();
        let attester = [
            &[0, 0x23, 0, 0x0b, 0, 5, 0, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10, 0, 32][..],
            key.x(),
            &[0, 32],
            key.y(),
        ]
        .concat();
        let signature = [&[0, 0x18, 0, 0x0b, 0, 32][..], &[1; 32], &[0, 32], &[2; 32]].concat();
        Evidence {
            attest: vec![5; 40],
            signature: TpmSignature::Tpmt(signature),
            public: vec![6; 30],
            attester: Some(attester),
            chain: vec![vec![7; 300], vec![8; 20]],
            endorsement: Vec::new(),
            policy: None,
            around: Around::Nothing,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let evidence = evidence();
        for (form, data) in [(SignatureForm::Tpmt, None), (SignatureForm::Bare, Some(&b"data"[..]))] {
            let bytes = object(&evidence, data, form).unwrap();
            let found = read(&bytes).unwrap();
            assert_eq!(
                (&found.attest, &found.public, &found.chain),
                (&evidence.attest, &evidence.public, &evidence.chain)
            );
            assert_eq!(found.around, Around::WebAuthn(data.map(<[u8]>::to_vec)));
            assert_eq!(matches!(found.signature, TpmSignature::Tpmt(_)), form == SignatureForm::Tpmt);
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len]).is_err(), "{len}");
            }
            assert!(read(&[&bytes[..], &[0]].concat()).is_err());
            let payload = acme(&bytes).unwrap();
            assert_eq!(super::payload(payload.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let bytes = object(&evidence(), Some(b"data"), SignatureForm::Bare).unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] ^= flip;
                let _ = read(&other);
            }
        }
        assert!(read(&[0xff; 20]).is_err() && read(&[]).is_err() && read(&[0x9b; 9]).is_err());
    }
}
