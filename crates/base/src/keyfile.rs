//! Keys in files, as other programs write them: public keys and certificates, and private keys that sign here.

use p256::ecdsa::signature::hazmat::PrehashSigner;
use pkcs8::der::pem::decode_vec;
use pkcs8::der::{AnyRef, Decode, Encode, Header, Reader, SliceReader, Tag, TagNumber};
use rand_core::OsRng;
use rsa::Pkcs1v15Sign;

use crate::curve::{Curve, EcPublic};
use crate::digest::Hash;
use crate::private::PrivateKey;
use crate::rsa::RsaPublic;
use crate::{Secret, der};

/// Longer than any file that was meant.
const MAX_LEN: usize = 64 * 1024;
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

/// The bytes are not what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {0} in it that is known here")]
pub struct NotFound(&'static str);

const NO_PUBLIC: NotFound = NotFound("RSA or EC public key or certificate, in PEM or DER,");
const NO_PRIVATE: NotFound = NotFound("RSA or EC private key, in PEM or DER and not encrypted,");
const NO_SIGNATURE: NotFound = NotFound("RSA key, and no EC key on P-256 or P-384,");

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublic),
    /// Elliptic curve.
    Ec(EcPublic),
}

impl PublicKey {
    /// The key in a file: SubjectPublicKeyInfo (RFC 5280, 4.1), a PKCS #1 RSAPublicKey in PEM, or a certificate, whose
    /// signature does not matter here.
    ///
    /// # Errors
    /// It is nothing of these, or a key of another kind.
    pub fn from_file(file: &[u8]) -> Result<PublicKey, NotFound> {
        if file.len() > MAX_LEN {
            return Err(NO_PUBLIC);
        }
        let found = match decode_vec(file) {
            Ok(("PUBLIC KEY", der)) => spki(&der),
            Ok(("RSA PUBLIC KEY", der)) => rsa(&der),
            Ok(("CERTIFICATE", der)) => certificate(&der),
            Ok(_) => None,
            Err(_) => spki(file).or_else(|| certificate(file)),
        };
        found.ok_or(NO_PUBLIC)
    }

    /// The bytes that a fingerprint of the bare key is made of: RSAPublicKey (RFC 8017, A.1.1) in DER, or the uncompressed
    /// point (SEC 1, 2.3.3).
    pub fn bare(&self) -> Vec<u8> {
        match self {
            PublicKey::Rsa(key) => der::sequence(&[&der::integer(key.n()), &der::integer(key.e())]),
            PublicKey::Ec(key) => key.point(),
        }
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        match self {
            PublicKey::Rsa(key) => key.spki(),
            PublicKey::Ec(key) => key.spki(),
        }
    }
}

fn spki(der: &[u8]) -> Option<PublicKey> {
    let info = pkcs8::SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let bits = info.subject_public_key.as_bytes()?;
    match info.algorithm.oid.to_string().as_str() {
        RSA_ENCRYPTION => rsa(bits),
        EC_PUBLIC_KEY => {
            let curve = curve(info.algorithm.parameters_oid().ok()?.as_bytes())?;
            EcPublic::from_point(curve, bits).ok().map(PublicKey::Ec)
        }
        _ => None,
    }
}

fn curve(oid: &[u8]) -> Option<Curve> {
    Curve::ALL.into_iter().find(|known| known.oid_der().get(2..) == Some(oid))
}

fn rsa(der: &[u8]) -> Option<PublicKey> {
    let key = pkcs1::RsaPublicKey::from_der(der).ok()?;
    RsaPublic::new(key.modulus.as_bytes(), key.public_exponent.as_bytes()).ok().map(PublicKey::Rsa)
}

/// Certificate (RFC 5280, 4.1): subjectPublicKeyInfo is the seventh field of tbsCertificate, the sixth where the version has
/// its default.
fn certificate(der: &[u8]) -> Option<PublicKey> {
    let fields = |der: AnyRef<'_>| der.sequence(|reader| reader.read_vec(reader.remaining_len())).ok();
    let inside = fields(AnyRef::from_der(der).ok()?)?;
    let tbs = fields(AnyRef::decode(&mut SliceReader::new(&inside).ok()?).ok()?)?;
    let mut reader = SliceReader::new(&tbs).ok()?;
    let version = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    let versioned = Header::decode(&mut reader.clone()).ok()?.tag == version;
    for _ in 0..if versioned { 6 } else { 5 } {
        AnyRef::decode(&mut reader).ok()?;
    }
    spki(&AnyRef::decode(&mut reader).ok()?.to_der().ok()?)
}

impl PrivateKey {
    /// The key in a file: PKCS #8, PKCS #1 or SEC 1, in PEM, or PKCS #8 in DER; not encrypted.
    ///
    /// # Errors
    /// It is nothing of these, or a key of another kind.
    pub fn from_file(file: &Secret) -> Result<PrivateKey, NotFound> {
        if file.len() > MAX_LEN {
            return Err(NO_PRIVATE);
        }
        let found = match decode_vec(file.expose()) {
            Ok((label, der)) => {
                let der = Secret::new(der);
                match label {
                    "PRIVATE KEY" => PrivateKey::from_pkcs8(&der).ok(),
                    "RSA PRIVATE KEY" => pkcs1_key(&der),
                    "EC PRIVATE KEY" => sec1_key(&der),
                    _ => None,
                }
            }
            Err(_) => PrivateKey::from_pkcs8(file).ok(),
        };
        found.ok_or(NO_PRIVATE)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            PrivateKey::Rsa { public, .. } => PublicKey::Rsa(public.clone()),
            PrivateKey::Ec { public, .. } => PublicKey::Ec(public.clone()),
        }
    }

    /// Signs a message, hashed by SHA-256: RSASSA-PKCS1-v1_5, as long as the modulus, or ECDSA, r and s as long as the field. The
    /// RSA computation is blinded.
    ///
    /// # Errors
    /// A curve other than P-256 and P-384, or an RSA key too short for it.
    pub fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, NotFound> {
        let digest = Hash::Sha256.digest(&[message]);
        match self {
            PrivateKey::Rsa { public, p } => {
                let number = rsa::BigUint::from_bytes_be;
                let (n, p) = (number(public.n()), number(p.expose()));
                let q = &n / &p;
                let key = rsa::RsaPrivateKey::from_p_q(p, q, number(public.e())).map_err(|_| NO_SIGNATURE)?;
                key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<sha2::Sha256>(), &digest).map_err(|_| NO_SIGNATURE)
            }
            PrivateKey::Ec { public, d } => match public.curve() {
                Curve::P256 => {
                    let key = p256::ecdsa::SigningKey::from_slice(d.expose()).map_err(|_| NO_SIGNATURE)?;
                    let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).map_err(|_| NO_SIGNATURE)?;
                    Ok(signature.to_bytes().to_vec())
                }
                Curve::P384 => {
                    let key = p384::ecdsa::SigningKey::from_slice(d.expose()).map_err(|_| NO_SIGNATURE)?;
                    let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).map_err(|_| NO_SIGNATURE)?;
                    Ok(signature.to_bytes().to_vec())
                }
                Curve::P224 | Curve::P521 => Err(NO_SIGNATURE),
            },
        }
    }
}

fn pkcs1_key(der: &Secret) -> Option<PrivateKey> {
    let key = pkcs1::RsaPrivateKey::from_der(der.expose()).ok()?;
    let public = RsaPublic::new(key.modulus.as_bytes(), key.public_exponent.as_bytes()).ok()?;
    PrivateKey::rsa(public, Some(key.prime1.as_bytes()), None).ok()
}

fn sec1_key(der: &Secret) -> Option<PrivateKey> {
    let key = sec1::EcPrivateKey::from_der(der.expose()).ok()?;
    let curve = curve(key.parameters?.named_curve()?.as_bytes())?;
    PrivateKey::ec(curve, &Secret::copy_from(key.private_key)).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn openssl(dir: &std::path::Path, line: &str) -> Vec<u8> {
        let run =
            Command::new("openssl").args(line.split(' ')).current_dir(dir).stderr(Stdio::null()).output().unwrap();
        assert!(run.status.success(), "openssl {line}");
        run.stdout
    }

    #[test]
    fn keys_and_certificates_of_openssl_are_read_and_their_signatures_are_good() {
        for (make, traditional) in [
            ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem", "rsa -in key.pem -traditional"),
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", "ec -in key.pem"),
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem", "ec -in key.pem"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
            openssl(dir.path(), make);
            let key = PrivateKey::from_file(&Secret::new(at("key.pem"))).unwrap();
            for other in [traditional, "pkcs8 -topk8 -nocrypt -in key.pem -outform DER"] {
                let again = PrivateKey::from_file(&Secret::new(openssl(dir.path(), other))).unwrap();
                assert_eq!(again.public(), key.public(), "{other}");
            }
            let mut files = vec![
                openssl(dir.path(), "pkey -in key.pem -pubout"),
                openssl(dir.path(), "pkey -in key.pem -pubout -outform DER"),
                openssl(dir.path(), "req -new -x509 -key key.pem -subj /CN=x"),
                openssl(dir.path(), "req -new -x509 -key key.pem -subj /CN=x -outform DER"),
            ];
            if make.contains("RSA") {
                files.push(openssl(dir.path(), "rsa -in key.pem -RSAPublicKey_out"));
            }
            for file in &files {
                assert_eq!(PublicKey::from_file(file).unwrap(), key.public());
                assert!(PublicKey::from_file(&file[..file.len() / 2]).is_err());
            }
            assert_eq!(key.public().spki(), files[1]);

            let signature = key.sign_sha256(b"message").unwrap();
            let signature = match key.public() {
                PublicKey::Rsa(_) => signature,
                PublicKey::Ec(_) => {
                    let (r, s) = signature.split_at(signature.len() / 2);
                    der::sequence(&[&der::integer(r), &der::integer(s)])
                }
            };
            std::fs::write(dir.path().join("signature"), signature).unwrap();
            std::fs::write(dir.path().join("public"), &files[0]).unwrap();
            std::fs::write(dir.path().join("message"), b"message").unwrap();
            openssl(dir.path(), "dgst -sha256 -verify public -signature signature message");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for file in [&b""[..], b"key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &[0x30, 0x80]] {
            assert_eq!(PublicKey::from_file(file), Err(NO_PUBLIC));
            assert_eq!(PrivateKey::from_file(&Secret::copy_from(file)).err(), Some(NO_PRIVATE));
        }
        assert!(PublicKey::from_file(&vec![b'-'; MAX_LEN + 1]).is_err());
    }
}
