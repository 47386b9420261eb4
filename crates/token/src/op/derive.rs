//! `C_DeriveKey` (PKCS#11 v3.1 5.18.5): Diffie-Hellman and the codes of HKDF in the TPM, the rest from secrets in memory.

use std::sync::Arc;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use model::{
    AttributeType, Attributes, HkdfSalt, Kdf, KeyType, Mechanism, MechanismRow, ObjectClass, ObjectHandle, Ops, Params,
    Rule, Scheme, Scope, SessionHandle, Template, Value,
};

use crate::library::Library;
use crate::object::Object;
use crate::objects::draft::Draft;
use crate::objects::keygen::settle_public;
use crate::objects::secret::{Origin, settle_secret};
use crate::objects::separation;
use crate::op::{self, Half, KeyUse, Material};
use crate::public_key::PublicKey;
use crate::slots::session::Session;
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `C_DeriveKey`: one TPM command for Diffie-Hellman with a loaded key. The result can be a session object of a read-only
    /// session, or a token object, which goes into the TPM.
    ///
    /// # Errors
    /// [`Error::KeyFunctionNotPermitted`] for a base key that cannot derive, [`Error::MechanismParamInvalid`] for a point
    /// that is not on the key's curve, [`Error::KeySizeRange`] for more bytes than there are, and the template errors.
    pub fn derive_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        base: ObjectHandle,
        template: &Template,
    ) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let row = op::row(&session, mechanism, Ops::DERIVE)?;
        if row.scheme == Scheme::PublicHalf {
            return self.public_half(&session, row, base, template);
        }
        let base = op::key_for(&session, base, Half::Private, AttributeType::DERIVE, row)?;
        if row.scheme == Scheme::HkdfData {
            return self.derive_data(&session, row, &mechanism.params, &base, template);
        }
        let mut attributes = template::start(Scope::SECRET, Rule::GENERATE, template)?;
        let key_type = attributes.ulong(AttributeType::KEY_TYPE).map_or(KeyType::GENERIC_SECRET, KeyType);
        if Scope::of(ObjectClass::SECRET_KEY, Some(key_type)).is_none() {
            return Err(Error::AttributeValueInvalid(AttributeType::KEY_TYPE));
        }
        let wanted = wanted_len(&attributes)?;
        let second = match (row.scheme, &mechanism.params) {
            (Scheme::BaseAndKey, Params::Key(other)) => Some(second_key(&session, *other, row)?),
            (Scheme::Hkdf, Params::Hkdf { salt: HkdfSalt::Key(salt), .. }) => session.token.meant(*salt)?,
            _ => None,
        };
        let sources: Vec<&Object> = [Some(&base), second.as_ref()].into_iter().flatten().map(Arc::as_ref).collect();
        separation::hand_on(&mut attributes, template, row, &sources)?;
        // What was so of all keys that go into it.
        let second = second.filter(|_| row.scheme == Scheme::BaseAndKey);
        let always = |ty| [Some(&base), second.as_ref()].into_iter().flatten().all(|key| key.attributes.is_true(ty));
        let origin = Origin::Derived {
            always_sensitive: always(AttributeType::ALWAYS_SENSITIVE),
            never_extractable: always(AttributeType::NEVER_EXTRACTABLE),
        };
        // What is wrong with the template is said before the TPM is asked for anything.
        settle_secret(&mut attributes, key_type, origin, self.config().strict_templates)?;
        self.check_new_secret(&session, &attributes, key_type, wanted)?;
        let value = self.derived_value(&session, row, &mechanism.params, base, wanted)?;
        self.new_secret(&session, attributes, value)
    }

    /// `CKM_PUB_KEY_FROM_PRIV_KEY` (PKCS#11 v3.2): a public key object, without a TPM command. It tells nothing that the private key does not
    /// show, and so asks for no `CKA_DERIVE`.
    fn public_half(
        &self,
        session: &Session,
        row: &MechanismRow,
        base: ObjectHandle,
        template: &Template,
    ) -> Result<ObjectHandle> {
        let base = op::key_of(session, base, Half::Private, row)?;
        op::check_mechanism(&base, row)?;
        let half = base.public_key()?;
        let (key_type, scope, template) = match &half {
            PublicKey::Rsa(key) => {
                let bits = Value::Ulong(key.modulus_bits() as u64);
                (KeyType::RSA, Scope::RSA_PUBLIC, template.clone().with(AttributeType::MODULUS_BITS, bits))
            }
            PublicKey::Ec(_) => (KeyType::EC, Scope::EC_PUBLIC, template.clone()),
        };
        let mut attributes = template::start(scope, Rule::GENERATE, &template)?;
        settle_public(&mut attributes, key_type)?;
        let asked = attributes.clone();
        half.describe(&mut attributes);
        if asked.iter().any(|(ty, value)| attributes.find(ty) != Some(value)) {
            return Err(Error::TemplateInconsistent("the private key's public half is another one"));
        }
        if attributes.bytes(AttributeType::ID).is_none_or(<[u8]>::is_empty)
            && let Some(id) = base.attributes.find(AttributeType::ID)
        {
            attributes.set(AttributeType::ID, id.clone());
        }
        attributes.set(AttributeType::LOCAL, Value::Bool(false));
        attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(u64::MAX));
        let draft = Draft::new(attributes, None, None)?;
        self.settle_new(session, draft)
    }

    pub(super) fn derived_value(
        &self,
        session: &Session,
        row: &'static MechanismRow,
        params: &Params,
        base: Arc<Object>,
        wanted: Option<usize>,
    ) -> Result<Secret> {
        let value = |key: &Object| Material::value(self, session, key);
        let guarded = !base.is_readable();
        let all = |bytes: Secret, guarded| match wanted {
            // A few bytes of what nobody may see can be guessed, and then the next ones.
            Some(len) if len > bytes.len() || (guarded && len < bytes.len()) => Err(Error::KeySizeRange),
            // Concatenations keep the leading bytes (PKCS#11 mechanisms v3.1 2.43).
            Some(len) => Ok(cut(bytes, len)),
            None => Ok(bytes),
        };
        match (row.scheme, params) {
            (Scheme::Ecdh, Params::Ecdh { kdf, shared, public }) => {
                let PublicKey::Ec(own) = base.public_key()? else { return Err(Error::KeyTypeInconsistent) };
                let point = EcPublic::from_point(own.curve(), public)
                    .map_err(|_| Error::MechanismParamInvalid("the point is not on the key's curve"))?;
                let len = ecdh_len(*kdf, own.curve(), wanted)?;
                let tpm = self.tpm()?;
                let z = KeyUse::new(self, session, base)?.with(session, |key| tpm.ecdh_z(&key, &point))?;
                Ok(ecdh_key(*kdf, &z, shared, len))
            }
            (Scheme::BaseAndKey, Params::Key(other)) => {
                let other = second_key(session, *other, row)?;
                all(joined(value(&base)?.expose(), value(&other)?.expose()), guarded || !other.is_readable())
            }
            (Scheme::BaseAndData, Params::Data(data)) => all(joined(value(&base)?.expose(), data), guarded),
            (Scheme::DataAndBase, Params::Data(data)) => all(joined(data, value(&base)?.expose()), guarded),
            (Scheme::XorData, Params::Data(data)) => {
                let mut mixed = value(&base)?;
                if guarded && data.len() < mixed.len() {
                    return Err(Error::KeySizeRange);
                }
                let len = mixed.len().min(data.len());
                mixed.truncate(len);
                for (byte, other) in mixed.expose_mut().iter_mut().zip(data) {
                    *byte ^= other;
                }
                all(mixed, guarded)
            }
            (Scheme::Hkdf, params) => self.hkdf(session, row, params, &base, wanted),
            _ => Err(Error::MechanismInvalid),
        }
    }
}

/// How long a key is that comes of Diffie-Hellman.
pub(super) fn ecdh_len(kdf: Kdf, curve: Curve, wanted: Option<usize>) -> Result<usize> {
    match (kdf, wanted) {
        (Kdf::Null, None) => Ok(curve.field_len()),
        (Kdf::Null, Some(len)) if len > curve.field_len() => Err(Error::KeySizeRange),
        (Kdf::X963(_), None) => Err(Error::TemplateIncomplete(AttributeType::VALUE_LEN)),
        (_, Some(len)) => Ok(len),
    }
}

/// What the secret of both sides becomes.
pub(super) fn ecdh_key(kdf: Kdf, z: &Secret, shared: &[u8], len: usize) -> Secret {
    match kdf {
        // Truncation removes leading bytes (2.3.10).
        Kdf::Null => Secret::copy_from(z.expose().get(z.len().saturating_sub(len)..).unwrap_or_default()),
        Kdf::X963(hash) => x963(hash, z, shared, len),
    }
}

pub(super) fn wanted_len(attributes: &Attributes) -> Result<Option<usize>> {
    match attributes.ulong(AttributeType::VALUE_LEN) {
        None => Ok(None),
        Some(len) if (1..=crate::slots::token::MAX_SECRET_LEN).contains(&len) => Ok(usize::try_from(len).ok()),
        Some(_) => Err(Error::KeySizeRange),
    }
}

/// The other key of a concatenation: it gives its value away as the base does, and must be one to derive from, too.
fn second_key(session: &Session, handle: ObjectHandle, row: &MechanismRow) -> Result<Arc<Object>> {
    let key = session.token.meant(handle)?.ok_or(Error::KeyHandleInvalid)?;
    if key.class() != ObjectClass::SECRET_KEY {
        return Err(Error::KeyHandleInvalid);
    }
    op::check_usage(&key, AttributeType::DERIVE, row)?;
    Ok(key)
}

fn joined(first: &[u8], second: &[u8]) -> Secret {
    let mut out = Secret::copy_from(first);
    out.extend(second);
    out
}

fn cut(mut bytes: Secret, len: usize) -> Secret {
    bytes.truncate(len);
    bytes
}

/// The key derivation function of ANSI X9.63 (SEC 1, 3.6.1).
fn x963(hash: Hash, z: &Secret, shared: &[u8], len: usize) -> Secret {
    let mut out = Secret::zeroed(0);
    let mut counter = 1_u32;
    while out.len() < len {
        out.extend(&hash.digest(&[z.expose(), &counter.to_be_bytes(), shared]));
        counter = counter.saturating_add(1);
    }
    cut(out, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x963_is_a_chain_of_digests() {
        let z = Secret::copy_from(b"shared secret");
        let long = x963(Hash::Sha256, &z, b"info", 50);
        assert_eq!(long.expose()[..32], Hash::Sha256.digest(&[b"shared secret", &[0, 0, 0, 1], b"info"]));
        assert_eq!(long.expose()[32..], Hash::Sha256.digest(&[b"shared secret", &[0, 0, 0, 2], b"info"])[..18]);
    }
}
