//! How other programs name a token and its keys: PKCS#11 URIs (RFC 7512), public keys, files that hold a URI.

use std::fmt::Write;

use model::AttributeType;

use super::{Admin, KeySelector, SigningKey};
use token::{Error, Result};

/// A token, as programs name it.
#[derive(Clone, Debug)]
pub struct TokenReference {
    /// `pkcs11:token=...`
    pub uri: String,
    /// Its slot, which it keeps as long as it lives.
    pub slot: u64,
}

/// A key pair, as programs name it.
#[derive(Clone, Debug)]
pub struct KeyReference {
    /// `pkcs11:token=...;object=...;type=private`
    pub uri: String,
    /// A PEM file of pkcs11-provider that holds the URI, for programs that take the name of a file only.
    pub uri_pem: String,
    /// The public key: SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
    /// The key's label, if it has one.
    pub label: Option<String>,
}

impl Admin {
    /// How programs name a token. No TPM command.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such token.
    pub fn token_reference(&self, label: &str) -> Result<TokenReference> {
        let token = self.token(label)?;
        Ok(TokenReference { uri: format!("pkcs11:token={}", encoded(label.as_bytes())), slot: token.slot.0 })
    }

    /// How programs name a key pair. No TPM command.
    ///
    /// # Errors
    /// Those of [`Admin::signing_key`].
    pub fn key_reference(&self, label: &str, which: &KeySelector) -> Result<KeyReference> {
        let key = self.signing_key(label, which)?;
        let uri = uri(label, &key);
        Ok(KeyReference { uri_pem: uri_pem(&uri)?, public: key.public.spki(), label: key.label(), uri })
    }
}

/// By its label where it has one, since people read URIs; by its id where not.
fn uri(token: &str, key: &SigningKey) -> String {
    let token = encoded(token.as_bytes());
    let attribute = |ty| key.key.attributes.bytes(ty).unwrap_or_default();
    let object = match attribute(AttributeType::LABEL) {
        [] => format!(
            "id={}",
            attribute(AttributeType::ID).iter().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"))
        ),
        label => format!("object={}", encoded(label)),
    };
    format!("pkcs11:token={token};{object};type=private")
}

/// RFC 7512, 2.3: all but the unreserved characters is written by its bytes.
fn encoded(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

/// SEQUENCE of a VisibleString that says what it is, and a UTF8String with the URI.
fn uri_pem(uri: &str) -> Result<String> {
    use x509_cert::der::asn1::{Any, Utf8StringRef};
    use x509_cert::der::pem::{LineEnding, encode_string};
    use x509_cert::der::{Encode, Tag};
    let fail = |error: x509_cert::der::Error| Error::General(format!("the URI cannot be encoded: {error}"));
    let what =
        Any::new(Tag::VisibleString, &b"PKCS#11 Provider URI v1.0"[..]).and_then(|any| any.to_der()).map_err(fail)?;
    let uri = Utf8StringRef::new(uri).and_then(|uri| uri.to_der()).map_err(fail)?;
    let der = base::der::sequence(&[&what, &uri]);
    encode_string("PKCS#11 PROVIDER URI", LineEnding::LF, &der)
        .map_err(|error| Error::General(format!("the URI cannot be encoded: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_encoded_byte_by_byte() {
        assert_eq!(encoded("my token".as_bytes()), "my%20token");
        assert_eq!(encoded("Büro;a=b?".as_bytes()), "B%C3%BCro%3Ba%3Db%3F");
    }
}
