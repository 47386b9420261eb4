//! Signatures by a private key that is not in a TPM: an authority's, whose key is a file.

use getrandom::SysRng;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use rsa::Pkcs1v15Sign;

use crate::curve::Curve;
use crate::digest::Hash;
use crate::private::{PrivateKey, rsa_key};

/// The key makes no such signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is neither RSA nor on P-256 or P-384, or its parts do not belong together")]
pub struct CannotSign;

impl PrivateKey {
    /// Signs a message, hashed by SHA-256: RSASSA-PKCS1-v1_5, as long as the modulus, or ECDSA, r and s as long as the field. The
    /// RSA computation is blinded.
    ///
    /// # Errors
    /// A curve other than P-256 and P-384, or an RSA key too short for it.
    pub fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let digest = Hash::Sha256.digest(&[message]);
        match self {
            PrivateKey::Rsa { public, p } => {
                let key = rsa_key(public, p).ok_or(CannotSign)?;
                key.sign_with_rng(&mut SysRng, Pkcs1v15Sign::new::<sha2::Sha256>(), &digest).map_err(|_| CannotSign)
            }
            PrivateKey::Ec { public, d } => match public.curve() {
                Curve::P256 => {
                    let key = p256::ecdsa::SigningKey::from_slice(d.expose()).map_err(|_| CannotSign)?;
                    let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).map_err(|_| CannotSign)?;
                    Ok(signature.to_bytes().to_vec())
                }
                Curve::P384 => {
                    let key = p384::ecdsa::SigningKey::from_slice(d.expose()).map_err(|_| CannotSign)?;
                    let signature: p384::ecdsa::Signature = key.sign_prehash(&digest).map_err(|_| CannotSign)?;
                    Ok(signature.to_bytes().to_vec())
                }
                Curve::P224 | Curve::P521 => Err(CannotSign),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::{Secret, curve};

    fn openssl(dir: &std::path::Path, line: &str) -> Vec<u8> {
        let run =
            Command::new("openssl").args(line.split(' ')).current_dir(dir).stderr(Stdio::null()).output().unwrap();
        assert!(run.status.success(), "openssl {line}");
        run.stdout
    }

    #[test]
    fn signatures_are_good_to_openssl() {
        for algorithm in [
            "RSA -pkeyopt rsa_keygen_bits:2048",
            "EC -pkeyopt ec_paramgen_curve:P-256",
            "EC -pkeyopt ec_paramgen_curve:P-384",
        ] {
            let dir = tempfile::tempdir().unwrap();
            openssl(dir.path(), &format!("genpkey -out key.pem -algorithm {algorithm}"));
            openssl(dir.path(), "pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key");
            openssl(dir.path(), "pkey -in key.pem -pubout -out public");
            let key = Secret::new(std::fs::read(dir.path().join("key")).unwrap());
            let key = PrivateKey::from_pkcs8(&key).unwrap();
            let signature = key.sign_sha256(b"message").unwrap();
            let signature = match &key {
                PrivateKey::Rsa { .. } => signature,
                PrivateKey::Ec { .. } => curve::signature_to_der(&signature),
            };
            std::fs::write(dir.path().join("signature"), signature).unwrap();
            std::fs::write(dir.path().join("message"), b"message").unwrap();
            openssl(dir.path(), "dgst -sha256 -verify public -signature signature message");
        }
    }

    #[test]
    fn other_curves_are_refused() {
        for (curve, len) in [(Curve::P224, 28), (Curve::P521, 60)] {
            let key = PrivateKey::ec(curve, &Secret::copy_from(&vec![1; len])).unwrap();
            assert_eq!(key.sign_sha256(b"message"), Err(CannotSign));
        }
    }
}
