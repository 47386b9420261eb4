//! What a TPM says of itself and signs: TPMS_ATTEST (TPM 2.0 Part 2, 10.12) and TPMT_SIGNATURE (11.3.4).

use base::curve::{Curve, signature_from_der, signature_to_der};
use base::digest::Hash;

use crate::error::{Error, Result};
use crate::keys::sign::SignScheme;
use crate::wire::constants::{alg, st};
use crate::wire::hash::{hash_alg, hash_from_alg};
use crate::wire::signature::pad_left;
use crate::wire::{Reader, Writer};

/// TPM_GENERATED_VALUE: a restricted key signs nothing from outside that begins like this.
const MAGIC: u32 = 0xff54_4347;

/// A parsed TPMS_ATTEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The qualified name of the key that signed it.
    pub qualified_signer: Vec<u8>,
    /// What the caller asked to be said along: his nonce.
    pub extra_data: Vec<u8>,
    /// Milliseconds for which the TPM was on.
    pub clock: u64,
    /// How often the TPM was reset. Like the two after it, changed by a value of the signer's where that is in the owner hierarchy.
    pub reset_count: u32,
    /// How often it was restarted since.
    pub restart_count: u32,
    /// The version of its firmware.
    pub firmware: u64,
    /// What is attested.
    pub attested: Attested,
}

/// TPMU_ATTEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// TPM2_Certify: the object with this name is loaded beside the signer.
    Certify {
        /// Its name.
        name: Vec<u8>,
        /// Its name together with those of its parents.
        qualified_name: Vec<u8>,
    },
    /// TPM2_CertifyCreation: this TPM made the object.
    Creation {
        /// Its name.
        name: Vec<u8>,
        /// The digest of its TPMS_CREATION_DATA.
        creation_hash: Vec<u8>,
    },
    /// Something else, by its TPMI_ST_ATTEST; its contents are not looked at.
    Other(u16),
}

impl Attestation {
    /// Reads a TPMS_ATTEST, strictly: nothing missing, nothing left over.
    ///
    /// # Errors
    /// [`Error::Malformed`], also for what no TPM can have said.
    pub fn parse(bytes: &[u8]) -> Result<Attestation> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != MAGIC {
            return Err(Error::Malformed("it does not begin with TPM_GENERATED_VALUE: no TPM made it"));
        }
        let kind = reader.u16()?;
        let qualified_signer = reader.tpm2b()?.to_vec();
        let extra_data = reader.tpm2b()?.to_vec();
        let clock = reader.u64()?;
        let (reset_count, restart_count) = (reader.u32()?, reader.u32()?);
        let _safe = reader.u8()?;
        let firmware = reader.u64()?;
        let attested = match kind {
            st::ATTEST_CERTIFY => {
                Attested::Certify { name: reader.tpm2b()?.to_vec(), qualified_name: reader.tpm2b()?.to_vec() }
            }
            st::ATTEST_CREATION => {
                Attested::Creation { name: reader.tpm2b()?.to_vec(), creation_hash: reader.tpm2b()?.to_vec() }
            }
            other => {
                let rest = reader.rest().len();
                reader.bytes(rest)?;
                Attested::Other(other)
            }
        };
        reader.finish()?;
        Ok(Attestation { qualified_signer, extra_data, clock, reset_count, restart_count, firmware, attested })
    }
}

/// A TPMT_SIGNATURE of RSA or ECDSA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationSignature {
    /// How it was made.
    pub scheme: SignScheme,
    /// Over this hash of the message.
    pub hash: Hash,
    /// RSA: as long as the modulus. ECDSA: r and s, each as long as the other.
    pub value: Vec<u8>,
}

impl AttestationSignature {
    /// Reads a TPMT_SIGNATURE. The numbers of an ECDSA signature are filled up to the length of the longer one, or of the curve's field
    /// if it is known.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Unsupported`] for other algorithms.
    pub fn parse(bytes: &[u8], curve: Option<Curve>) -> Result<AttestationSignature> {
        let mut reader = Reader::new(bytes);
        let scheme = match reader.u16()? {
            alg::RSASSA => SignScheme::RsaSsa,
            alg::RSAPSS => SignScheme::RsaPss,
            alg::ECDSA => SignScheme::Ecdsa,
            alg::NULL => return Err(Error::Malformed("there is no signature")),
            other => return Err(Error::Unsupported(format!("signatures of algorithm {other:#06x}"))),
        };
        let hash = hash_from_alg(reader.u16()?)?;
        let value = match scheme {
            SignScheme::Ecdsa => {
                let (r, s) = (reader.tpm2b()?, reader.tpm2b()?);
                let len = curve.map_or(r.len().max(s.len()), Curve::field_len);
                let number = |number: &[u8]| pad_left(number, len);
                [number(r)?.expose(), number(s)?.expose()].concat()
            }
            SignScheme::RsaSsa | SignScheme::RsaPss => reader.tpm2b()?.to_vec(),
        };
        reader.finish()?;
        Ok(AttestationSignature { scheme, hash, value })
    }

    /// A signature as X.509 has it: the RSA block, or an ECDSA-Sig-Value.
    ///
    /// # Errors
    /// [`Error::Malformed`] for ECDSA, if it is none.
    pub fn from_bare(
        bytes: &[u8],
        scheme: SignScheme,
        hash: Hash,
        curve: Option<Curve>,
    ) -> Result<AttestationSignature> {
        let value = match (scheme, curve) {
            (SignScheme::Ecdsa, Some(curve)) => {
                let (r, s) = signature_from_der(bytes, curve.field_len())
                    .ok_or(Error::Malformed("the signature is no ECDSA-Sig-Value"))?;
                [r, s].concat()
            }
            (SignScheme::Ecdsa, None) => return Err(Error::Unsupported("an unknown curve".into())),
            (SignScheme::RsaSsa | SignScheme::RsaPss, _) => bytes.to_vec(),
        };
        Ok(AttestationSignature { scheme, hash, value })
    }

    /// The signature as X.509 has it.
    #[must_use]
    pub fn bare(&self) -> Vec<u8> {
        match self.scheme {
            SignScheme::Ecdsa => signature_to_der(&self.value),
            SignScheme::RsaSsa | SignScheme::RsaPss => self.value.clone(),
        }
    }

    /// The TPMT_SIGNATURE.
    ///
    /// # Errors
    /// [`Error::Invalid`] for numbers that are too long for it.
    pub fn marshal(&self) -> Result<Vec<u8>> {
        let scheme = match self.scheme {
            SignScheme::Ecdsa => alg::ECDSA,
            SignScheme::RsaSsa => alg::RSASSA,
            SignScheme::RsaPss => alg::RSAPSS,
        };
        let writer = Writer::new().u16(scheme).u16(hash_alg(self.hash)?);
        let writer = match self.scheme {
            SignScheme::Ecdsa => {
                let (r, s) = self.value.split_at(self.value.len() / 2);
                writer.tpm2b(r).tpm2b(s)
            }
            SignScheme::RsaSsa | SignScheme::RsaPss => writer.tpm2b(&self.value),
        };
        Ok(writer.finish()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attest(kind: u16) -> Vec<u8> {
        let head = Writer::new().u32(MAGIC).u16(kind).tpm2b(&[0, 11, 1]).tpm2b(b"nonce").u32(0).u32(7);
        head.u32(1).u32(2).u8(1).u32(3).u32(4).tpm2b(b"name").tpm2b(b"other").finish().unwrap().to_vec()
    }

    #[test]
    fn what_a_tpm_says_is_read_and_nothing_else() {
        let bytes = attest(st::ATTEST_CERTIFY);
        let read = Attestation::parse(&bytes).unwrap();
        assert_eq!((read.extra_data.as_slice(), read.clock, read.reset_count), (&b"nonce"[..], 7, 1));
        assert_eq!((read.restart_count, read.firmware), (2, 0x3_0000_0004));
        assert_eq!(read.attested, Attested::Certify { name: b"name".to_vec(), qualified_name: b"other".to_vec() });
        for len in 0..bytes.len() {
            assert!(Attestation::parse(&bytes[..len]).is_err(), "{len}");
        }
        assert!(Attestation::parse(&[&bytes[..], &[0]].concat()).is_err());
        let mut foreign = bytes;
        foreign[0] = 0;
        assert!(matches!(Attestation::parse(&foreign), Err(Error::Malformed(text)) if text.contains("GENERATED")));
        assert!(matches!(
            Attestation::parse(&attest(st::ATTEST_CREATION)).unwrap().attested,
            Attested::Creation { .. }
        ));
        assert_eq!(Attestation::parse(&attest(0x8018)).unwrap().attested, Attested::Other(0x8018));
    }

    #[test]
    fn signatures_go_from_form_to_form() {
        let ecdsa = Writer::new().u16(alg::ECDSA).u16(alg::SHA256).tpm2b(&[1; 31]).tpm2b(&[0x80; 32]);
        let ecdsa = ecdsa.finish().unwrap().to_vec();
        let read = AttestationSignature::parse(&ecdsa, Some(Curve::P256)).unwrap();
        assert_eq!(read.value.len(), 64);
        let again = AttestationSignature::from_bare(&read.bare(), read.scheme, read.hash, Some(Curve::P256)).unwrap();
        assert_eq!(again, read);
        assert_eq!(AttestationSignature::parse(&read.marshal().unwrap(), None).unwrap(), read);
        let rsa = Writer::new().u16(alg::RSASSA).u16(alg::SHA256).tpm2b(&[7; 256]).finish().unwrap().to_vec();
        let read = AttestationSignature::parse(&rsa, None).unwrap();
        assert_eq!((read.bare(), read.marshal().unwrap()), (vec![7; 256], rsa.clone()));
        for len in 0..rsa.len() {
            assert!(AttestationSignature::parse(&rsa[..len], None).is_err());
        }
        let null = Writer::new().u16(alg::NULL).finish().unwrap().to_vec();
        assert!(AttestationSignature::parse(&null, None).is_err());
    }
}
