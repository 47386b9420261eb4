//! How rows of the store are bound to the token's secret: nobody without the PIN can change one unnoticed.
//!
//! Three keys are derived from the wrapping key. One wraps what a row hides (the auth value of a key, the value of a private
//! data object) with what the object may do as associated data: a flag that was flipped, or a blob that was moved to another
//! row, opens nothing. One computes a code over every row, so that public objects, which anyone may read, are known to be
//! ours once the user has logged in. The third does so for public objects that the security officer wrote: it is what the
//! security officer's seal holds, and nothing can be derived from it.

use std::sync::Arc;

use base::Secret;
use base::digest::Hash;
use model::{ATTRIBUTES, AttributeType, Attributes, Rule};

use crate::{Error, Result};

/// The secrets of a token while its user is logged in. Zeroized with the last copy.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    auth_key: Secret,
    row_key: Secret,
    officer_key: OfficerKey,
    session_key: Secret,
}

/// What the security officer's PIN unlocks: the key of row codes of public objects. 32 bytes.
#[derive(Debug)]
pub(crate) struct OfficerKey(pub(crate) Secret);

/// Who vouches for a row.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    User(Arc<TokenKeys>),
    /// Public objects only.
    Officer(Arc<OfficerKey>),
}

impl Signer {
    /// The code of a row.
    pub(crate) fn row_code(&self, binding: &Binding<'_>) -> Secret {
        match self {
            Self::User(keys) => keys.row_code(binding),
            Self::Officer(key) => key.row_code(binding),
        }
    }

    /// The user's keys; the security officer hides nothing in the token.
    pub(crate) fn user(&self) -> Result<&TokenKeys> {
        match self {
            Self::User(keys) => Ok(keys),
            Self::Officer(_) => Err(Error::UserNotLoggedIn),
        }
    }
}

impl OfficerKey {
    /// The part of a token's secret that its security officer has.
    pub(crate) fn derive(wrapping_key: &Secret) -> Self {
        Self(derive(wrapping_key, b"security officer"))
    }

    fn row_code(&self, binding: &Binding<'_>) -> Secret {
        Hash::Sha256.hmac(self.0.expose(), &[&binding.all()])
    }
}

fn derive(wrapping_key: &Secret, label: &[u8]) -> Secret {
    Hash::Sha256.hmac(wrapping_key.expose(), &[b"tpm2-cryptoki 1 ", label])
}

impl TokenKeys {
    /// Derives the keys from the 32 random bytes that the TPM keeps sealed.
    pub(crate) fn derive(wrapping_key: &Secret) -> Self {
        let derive = |label: &[u8]| derive(wrapping_key, label);
        Self {
            auth_key: derive(b"hidden"),
            row_key: derive(b"row"),
            officer_key: OfficerKey::derive(wrapping_key),
            session_key: derive(b"login check"),
        }
    }

    /// Wraps what a row hides.
    pub(crate) fn hide(&self, binding: &Binding<'_>, auth: &Secret) -> Result<Vec<u8>> {
        base::aead::seal(&self.auth_key, &binding.power(), auth.expose())
            .map_err(|error| Error::General(format!("the object's secret cannot be wrapped: {error}")))
    }

    /// Opens what a row hides.
    pub(crate) fn reveal(&self, binding: &Binding<'_>, wrapped: &[u8]) -> Result<Secret> {
        base::aead::open(&self.auth_key, &binding.power(), wrapped).map_err(|_| {
            Error::Tampered(
                "the object's row in the store was altered: its blobs or its permissions are not those it was made with"
                    .to_owned(),
            )
        })
    }

    /// The code over a whole row.
    pub(crate) fn row_code(&self, binding: &Binding<'_>) -> Secret {
        Hash::Sha256.hmac(self.row_key.expose(), &[&binding.all()])
    }

    /// Is this the code of a row that the user, or for a public object the security officer, wrote?
    pub(crate) fn vouches(&self, binding: &Binding<'_>, code: &[u8]) -> bool {
        let code = Secret::copy_from(code);
        let public = binding.tpm_name.is_none() && !binding.attributes.is_true(AttributeType::PRIVATE);
        self.row_code(binding) == code || (public && self.officer_key.row_code(binding) == code)
    }

    /// Is it the same secret as another login gave? Compared in constant time.
    pub(crate) fn same_token(&self, other: &Self) -> bool {
        self.session_key == other.session_key
    }
}

/// What a row says, as it is bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<'a> {
    pub(crate) uid: &'a [u8; 16],
    pub(crate) attributes: &'a Attributes,
    pub(crate) tpm_public: Option<&'a [u8]>,
    pub(crate) tpm_private: Option<&'a [u8]>,
    pub(crate) tpm_name: Option<&'a [u8]>,
    pub(crate) policy: Option<&'a str>,
}

impl Binding<'_> {
    /// What decides what the key may do, and which TPM object it is.
    fn power(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(&mut out, b"hidden");
        field(&mut out, self.uid);
        field(&mut out, self.tpm_name.unwrap_or_default());
        field(&mut out, self.policy.unwrap_or_default().as_bytes());
        let powers = self
            .attributes
            .iter()
            .filter(|(ty, _)| ATTRIBUTES.iter().any(|row| row.ty == *ty && row.rule.contains(Rule::POWER)));
        for (ty, value) in powers {
            field(&mut out, &ty.0.to_be_bytes());
            field(&mut out, &value.encode());
        }
        out
    }

    fn all(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(&mut out, b"row");
        field(&mut out, self.uid);
        for blob in [self.tpm_name, self.tpm_public, self.tpm_private, self.policy.map(str::as_bytes)] {
            out.push(u8::from(blob.is_some()));
            field(&mut out, blob.unwrap_or_default());
        }
        for (ty, value) in self.attributes.iter() {
            field(&mut out, &ty.0.to_be_bytes());
            field(&mut out, &value.encode());
        }
        out
    }
}

/// A field with its length before it, so that no two lists of fields look alike.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;

    #[test]
    fn a_flipped_permission_or_a_moved_blob_opens_nothing() {
        let keys = TokenKeys::derive(&Secret::copy_from(&[7; 32]));
        let mut attributes = Attributes::new();
        attributes.set(AttributeType::SIGN, Value::Bool(true));
        attributes.set(AttributeType::DECRYPT, Value::Bool(false));
        attributes.set(AttributeType::LABEL, Value::Bytes(b"a".to_vec()));
        let uid = [1; 16];
        let binding = Binding {
            uid: &uid,
            attributes: &attributes,
            tpm_public: None,
            tpm_private: None,
            tpm_name: Some(b"name"),
            policy: None,
        };
        let auth = Secret::copy_from(&[9; 32]);
        let wrapped = keys.hide(&binding, &auth).unwrap();
        assert_eq!(keys.reveal(&binding, &wrapped).unwrap(), auth);

        let mut flipped = attributes.clone();
        flipped.set(AttributeType::DECRYPT, Value::Bool(true));
        assert!(keys.reveal(&Binding { attributes: &flipped, ..binding }, &wrapped).is_err());
        assert!(keys.reveal(&Binding { tpm_name: Some(b"other"), ..binding }, &wrapped).is_err());
        assert!(keys.reveal(&Binding { uid: &[2; 16], ..binding }, &wrapped).is_err());

        let mut renamed = attributes.clone();
        renamed.set(AttributeType::LABEL, Value::Bytes(b"b".to_vec()));
        let renamed = Binding { attributes: &renamed, ..binding };
        assert_eq!(keys.reveal(&renamed, &wrapped).unwrap(), auth, "a label gives no power");
        assert_ne!(keys.row_code(&renamed), keys.row_code(&binding), "but the row's code covers it");
    }
}
