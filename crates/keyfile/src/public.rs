//! Public keys: SubjectPublicKeyInfo (RFC 5280, 4.1.2.7; RFC 5480) and the lines of OpenSSH (RFC 4253, 6.6; RFC 5656, 3.1).

use base::curve::{Curve, EcPublic};
use base::private::PrivateKey;
use base::rsa::RsaPublic;
use base64ct::{Base64, Encoding};

use crate::der::{only_sequence, tag};
use crate::error::{Error, Result};
use crate::names::{self, EC_DH, EC_PUBLIC_KEY, RSA_ENCRYPTION, RSAES_OAEP, RSASSA_PSS};
use crate::{pem, private};

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublic),
    /// A point on a NIST curve.
    Ec(EcPublic),
}

const BROKEN: Error = Error::Malformed("the public key is not what it should be");

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// Not such a structure; another algorithm or curve; a point that is not on its curve.
    pub fn from_spki(der: &[u8]) -> Result<PublicKey> {
        let mut fields = only_sequence(der).ok_or(BROKEN)?;
        let mut algorithm = fields.sequence().ok_or(BROKEN)?;
        let key = fields.expect(tag::BIT_STRING).ok_or(BROKEN)?;
        let Some((0, key)) = key.content.split_first() else { return Err(BROKEN) };
        match names::dotted(algorithm.expect(tag::OID).ok_or(BROKEN)?.content).as_str() {
            RSA_ENCRYPTION | RSAES_OAEP | RSASSA_PSS => PublicKey::from_pkcs1(key),
            EC_PUBLIC_KEY | EC_DH => {
                let curve = private::curve_of(algorithm.any().ok_or(BROKEN)?)?;
                EcPublic::from_point(curve, key).map(PublicKey::Ec).map_err(|_| BROKEN)
            }
            other => Err(names::left_out(other)),
        }
    }

    /// Reads an RSAPublicKey (RFC 8017, A.1.1).
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<PublicKey> {
        let mut numbers = only_sequence(der).ok_or(BROKEN)?;
        let mut number = || numbers.any().and_then(|number| number.unsigned()).ok_or(BROKEN);
        names::rsa_public(number()?, number()?, BROKEN).map(PublicKey::Rsa)
    }

    /// The public half of a private key.
    #[must_use]
    pub fn of(key: &PrivateKey) -> PublicKey {
        match key {
            PrivateKey::Rsa { public, .. } => PublicKey::Rsa(public.clone()),
            PrivateKey::Ec { public, .. } => PublicKey::Ec(public.clone()),
        }
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match self {
            PublicKey::Rsa(key) => key.spki(),
            PublicKey::Ec(key) => key.spki(),
        }
    }

    /// SubjectPublicKeyInfo in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.spki())
    }

    /// A line of OpenSSH's `authorized_keys`, without its end.
    #[must_use]
    pub fn to_openssh(&self, comment: &str) -> String {
        let (name, blob) = match self {
            PublicKey::Rsa(key) => ("ssh-rsa".to_owned(), [ssh(b"ssh-rsa"), mpint(key.e()), mpint(key.n())].concat()),
            PublicKey::Ec(key) => {
                let curve = match key.curve() {
                    // RFC 5656, 6.1: a curve without a name of its own goes by its OBJECT IDENTIFIER.
                    Curve::P224 => "1.3.132.0.33",
                    Curve::P256 => "nistp256",
                    Curve::P384 => "nistp384",
                    Curve::P521 => "nistp521",
                };
                let name = format!("ecdsa-sha2-{curve}");
                let blob = [ssh(name.as_bytes()), ssh(curve.as_bytes()), ssh(&key.point())].concat();
                (name, blob)
            }
        };
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        format!("{name} {} {comment}", Base64::encode_string(&blob)).trim_end().to_owned()
    }
}

/// A string (RFC 4251, 5).
fn ssh(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), bytes].concat()
}

/// A number that is not negative (RFC 4251, 5).
fn mpint(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    match number.first() {
        Some(0x80..) => ssh(&[&[0], number].concat()),
        _ => ssh(number),
    }
}
