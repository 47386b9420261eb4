//! How rows of the store are bound to the token's secret: nobody without a PIN can change one unnoticed.
//!
//! Three keys are derived from the wrapping key. One wraps what a row hides (the auth value of a key, the value of a private
//! data object) with what the object may do as associated data: a flag that was flipped, or a blob that was moved to another
//! row, opens nothing. One computes a code over every private row. The third computes the codes of public rows, and of the
//! token's own: it is what the security officer's seal holds, so that both users can tell what is theirs, and nothing else can
//! be derived from it.

use std::sync::Arc;

use base::Secret;
use base::digest::Hash;
use model::{ATTRIBUTES, AttributeType, Attributes, Rule};

use crate::{Error, Result};

/// The secrets of a token while its user is logged in. Zeroized with the last copy.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeys {
    auth_key: Secret,
    row_key: Secret,
    officer_key: OfficerKey,
    session_key: Secret,
    /// The wrapping key of a token that was taken over, and whose rows could not be written anew yet.
    adopted: Option<Secret>,
    /// The user has a PIN: as the token's code vouches for, whatever its row says now.
    pub(crate) login_required: bool,
}

/// What the security officer's PIN unlocks: the key of the codes of public rows. 32 bytes.
#[derive(Clone, Debug)]
pub(crate) struct OfficerKey(pub(crate) Secret);

/// Who vouches for a row.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    User(Arc<TokenKeys>),
    /// Public objects only.
    Officer(Arc<OfficerKey>),
}

/// What a token's row says, as its code binds it: with it, nobody can put another's seal in the place of the user's, nor
/// make a token look as if it had no PIN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBinding<'a> {
    pub(crate) serial: &'a str,
    pub(crate) so_name: &'a tpm::Name,
    pub(crate) user_name: &'a tpm::Name,
    pub(crate) login_required: bool,
    /// The policy of the user's seal, as the row has it.
    pub(crate) policy: Option<&'a str>,
}

impl Signer {
    /// The code of a row.
    pub(crate) fn row_code(&self, binding: &Binding<'_>) -> Result<Secret> {
        match self {
            Self::User(keys) => Ok(keys.row_code(binding)),
            Self::Officer(key) if binding.is_public() => Ok(key.row_code(binding)),
            Self::Officer(_) => Err(Error::UserNotLoggedIn),
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

    /// The code of a token's row.
    pub(crate) fn token_code(&self, binding: &TokenBinding<'_>) -> Secret {
        let mut out = Vec::new();
        field(&mut out, b"token");
        field(&mut out, binding.serial.as_bytes());
        field(&mut out, binding.so_name.as_bytes());
        field(&mut out, binding.user_name.as_bytes());
        field(&mut out, &[u8::from(binding.login_required)]);
        // Tokens without one have the code that they had before there were policies.
        if let Some(policy) = binding.policy {
            field(&mut out, policy.as_bytes());
        }
        Hash::Sha256.hmac(self.0.expose(), &[&out])
    }

    /// Is this the code of a public row? Of others the security officer knows nothing.
    pub(crate) fn vouches(&self, binding: &Binding<'_>, code: &[u8]) -> bool {
        binding.is_public() && self.row_code(binding) == Secret::copy_from(code)
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
    pub(crate) fn derive(wrapping_key: &Secret, login_required: bool) -> Self {
        let derive = |label: &[u8]| derive(wrapping_key, label);
        Self {
            auth_key: derive(b"hidden"),
            row_key: derive(b"row"),
            officer_key: OfficerKey::derive(wrapping_key),
            session_key: derive(b"login check"),
            adopted: None,
            login_required,
        }
    }

    /// The same, for rows that are still as they came from another software.
    pub(crate) fn with_adopted(self, wrapping_key: Secret) -> Self {
        Self { adopted: Some(wrapping_key), ..self }
    }

    /// The same, for rows that were written anew since.
    pub(crate) fn settled(&self) -> Self {
        Self { adopted: None, ..self.clone() }
    }

    /// Have the rows no codes yet?
    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted.is_some()
    }

    /// The wrapping key, as long as it opens what such rows hide.
    pub(crate) fn adopted(&self) -> Option<&Secret> {
        self.adopted.as_ref()
    }

    /// The security officer's part.
    pub(crate) fn officer(&self) -> &OfficerKey {
        &self.officer_key
    }

    /// Wraps what a row hides.
    pub(crate) fn hide(&self, binding: &Binding<'_>, secret: &Secret) -> Result<Vec<u8>> {
        base::aead::seal(&self.auth_key, &binding.power(), secret.expose())
            .map_err(|error| Error::General(format!("the object's secret cannot be wrapped: {error}")))
    }

    /// Opens what a row hides.
    pub(crate) fn reveal(&self, binding: &Binding<'_>, wrapped: &[u8]) -> Result<Secret> {
        let opened = base::aead::open(&self.auth_key, &binding.power(), wrapped);
        match (opened, &self.adopted) {
            (Ok(secret), _) => Ok(secret),
            (Err(_), Some(wrapping_key)) => open_adopted(wrapping_key, wrapped),
            (Err(_), None) => Err(Error::Tampered(
                "the object's row in the store was altered: its blobs or its permissions are not those it was made with"
                    .to_owned(),
            )),
        }
    }

    /// The code over a whole row.
    pub(crate) fn row_code(&self, binding: &Binding<'_>) -> Secret {
        if binding.is_public() {
            return self.officer_key.row_code(binding);
        }
        Hash::Sha256.hmac(self.row_key.expose(), &[&binding.all()])
    }

    /// Is this the code of the row?
    pub(crate) fn vouches(&self, binding: &Binding<'_>, code: &[u8]) -> bool {
        self.row_code(binding) == Secret::copy_from(code)
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
    /// What the row hides, as it stands there.
    pub(crate) hidden: Option<&'a [u8]>,
}

impl Binding<'_> {
    /// A row that either user may write.
    fn is_public(&self) -> bool {
        self.tpm_name.is_none() && self.hidden.is_none() && !self.attributes.is_true(AttributeType::PRIVATE)
    }

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
        for blob in [self.tpm_name, self.tpm_public, self.tpm_private, self.policy.map(str::as_bytes), self.hidden] {
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

/// Opens what a row hides that was not written anew yet.
pub(crate) fn open_adopted(wrapping_key: &Secret, wrapped: &[u8]) -> Result<Secret> {
    base::aead::open(wrapping_key, &[], wrapped)
        .map_err(|_| Error::Tampered("the object's secret does not open with the token's key".to_owned()))
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;

    #[test]
    fn a_flipped_permission_or_a_moved_blob_opens_nothing() {
        let keys = TokenKeys::derive(&Secret::copy_from(&[7; 32]), true);
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
            hidden: None,
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
