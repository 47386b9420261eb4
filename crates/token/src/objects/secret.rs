//! Secret keys: made, brought in, kept in the TPM as token objects and in memory as session objects.

use base::Secret;
use base::aes::{AesKey, BLOCK, Direction, MemoryKey, Mode};
use base::digest::Hash;
use model::{
    AttributeType, Attributes, KeyKind, KeyType, Mechanism, ObjectClass, ObjectHandle, Ops, Params, Rule, Scope,
    SessionHandle, Template, Value,
};

use crate::library::Library;
use crate::object::TpmKey;
use crate::objects::draft::Draft;
use crate::objects::keygen::protect;
use crate::objects::separation;
use crate::protect::policy;
use crate::slots::session::Session;
use crate::slots::token::MAX_SECRET_LEN;
use crate::template;
use crate::{Error, Result};

/// A TPM holds secrets for any hash up to the longest block of its hashes.
const MAX_TPM_SECRET: usize = 128;

/// Where a secret key comes from: what its computed attributes say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// Made here, by this mechanism.
    Generated(u64),
    /// Brought in, unwrapped or given in a template.
    Outside,
    /// Derived from a key that always was sensitive, and never extractable.
    Derived { always_sensitive: bool, never_extractable: bool },
}

impl Library {
    /// `C_GenerateKey`: AES, generic secrets, and keys for HKDF. A token object is made in the TPM, by at most 2 commands.
    ///
    /// # Errors
    /// Template errors, [`Error::KeySizeRange`], [`Error::SessionReadOnly`], [`Error::UserNotLoggedIn`].
    pub fn generate_key(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        template: &Template,
    ) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let draft = self.make_key(&session, mechanism, template)?;
        self.settle_new(&session, draft)
    }

    /// A secret key that was just made, and has no home yet.
    pub(crate) fn make_key(&self, session: &Session, mechanism: &Mechanism, template: &Template) -> Result<Draft> {
        let row = mechanism.ty.row().filter(|row| row.ops.contains(Ops::GENERATE)).ok_or(Error::MechanismInvalid)?;
        if mechanism.params != Params::None {
            return Err(Error::MechanismParamInvalid("key generation has none"));
        }
        let key_type = match row.key {
            KeyKind::Aes => KeyType::AES,
            KeyKind::Hkdf => KeyType::HKDF,
            _ => KeyType::GENERIC_SECRET,
        };
        let mut attributes = template::start(Scope::SECRET, Rule::GENERATE, template)?;
        let strict = self.config().strict_templates;
        settle_secret(&mut attributes, key_type, Origin::Generated(mechanism.ty.0), strict)?;
        let len =
            attributes.ulong(AttributeType::VALUE_LEN).ok_or(Error::TemplateIncomplete(AttributeType::VALUE_LEN))?;
        let len = usize::try_from(len).map_err(|_| Error::KeySizeRange)?;
        check_len(key_type, len)?;
        self.check_secret_access(session, &attributes)?;
        match self.tpm_template(session, &attributes, key_type, len)? {
            Some(request) => {
                let policy = session.policy_of_new_keys();
                let auth = policy::new_auth(policy.as_deref())?;
                let primary = &session.token.primary;
                let wrapped = self.tpm()?.create_key(primary, &request, &auth, policy::of_tpm(&policy))?;
                let name = wrapped.name()?;
                let draft = Draft::new(attributes, Some(TpmKey { wrapped, name }), policy::kept(auth))?;
                Ok(draft.with_policy(policy))
            }
            None => {
                let value = Secret::new(base::random::bytes(len)?);
                self.secret_draft(session, attributes, value)
            }
        }
    }

    /// A new secret key from its value: in the TPM if it is a token object.
    pub(crate) fn new_secret(&self, session: &Session, attributes: Attributes, value: Secret) -> Result<ObjectHandle> {
        self.check_secret_access(session, &attributes)?;
        let draft = self.secret_draft(session, attributes, value)?;
        self.settle_new(session, draft)
    }

    fn secret_draft(&self, session: &Session, mut attributes: Attributes, value: Secret) -> Result<Draft> {
        let key_type = KeyType(attributes.ulong(AttributeType::KEY_TYPE).unwrap_or(u64::MAX));
        check_len(key_type, value.len())?;
        settle_check_value(&mut attributes, || check_value(key_type, &value))?;
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(value.len() as u64));
        if !attributes.is_true(AttributeType::TOKEN) {
            return Draft::new(attributes, None, Some(value));
        }
        check_token_secret(session, &attributes, key_type, value.len())?;
        let material = match key_type {
            KeyType::AES => tpm::KeyMaterial::Aes { key: value },
            _ => tpm::KeyMaterial::Hmac { hash: None, key: value },
        };
        self.import(session, attributes, &material)
    }

    /// Brings a key into the TPM.
    pub(crate) fn import(
        &self,
        session: &Session,
        attributes: Attributes,
        material: &tpm::KeyMaterial,
    ) -> Result<Draft> {
        session.token.chip.check_material(material)?;
        let policy = session.policy_of_new_keys();
        let auth = policy::new_auth(policy.as_deref())?;
        let wrapped = self.tpm()?.import_key(&session.token.primary, material, &auth, policy::of_tpm(&policy))?;
        let name = wrapped.name()?;
        Ok(Draft::new(attributes, Some(TpmKey { wrapped, name }), policy::kept(auth))?.with_policy(policy))
    }

    /// What to ask the TPM for, if it can make this key itself.
    fn tpm_template(
        &self,
        session: &Session,
        attributes: &Attributes,
        key_type: KeyType,
        len: usize,
    ) -> Result<Option<tpm::KeyTemplate>> {
        if !attributes.is_true(AttributeType::TOKEN) {
            return Ok(None);
        }
        check_token_secret(session, attributes, key_type, len)?;
        Ok(match (key_type, len) {
            (KeyType::AES, _) => {
                Some(tpm::KeyTemplate::Aes { bits: u16::try_from(len * 8).map_err(|_| Error::KeySizeRange)? })
            }
            // The length that a TPM gives to a secret for any hash; others are made here and brought in.
            (_, 32) => Some(tpm::KeyTemplate::Hmac { hash: None }),
            _ => None,
        })
    }

    /// May there be such a key, as far as it can be said before its value is there?
    pub(crate) fn check_new_secret(
        &self,
        session: &Session,
        attributes: &Attributes,
        key_type: KeyType,
        len: Option<usize>,
    ) -> Result<()> {
        self.check_secret_access(session, attributes)?;
        let Some(len) = len else { return Ok(()) };
        check_len(key_type, len)?;
        if attributes.is_true(AttributeType::TOKEN) {
            check_token_secret(session, attributes, key_type, len)?;
        }
        Ok(())
    }

    fn check_secret_access(&self, session: &Session, attributes: &Attributes) -> Result<()> {
        if attributes.is_true(AttributeType::TOKEN) {
            // Secret keys are the user's, and need somebody to keep their auth value.
            return self.may_write(session, true).map(drop);
        }
        Ok(())
    }
}

/// Sets what every secret key has.
pub(crate) fn settle_secret(
    attributes: &mut Attributes,
    key_type: KeyType,
    origin: Origin,
    strict: bool,
) -> Result<()> {
    template::settle(attributes, AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))?;
    template::settle(attributes, AttributeType::KEY_TYPE, Value::Ulong(key_type.0))?;
    let aes = key_type == KeyType::AES;
    let wraps = attributes.is_true(AttributeType::WRAP);
    let unwraps = attributes.is_true(AttributeType::UNWRAP);
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(attributes.is_true(AttributeType::TOKEN)));
    template::default(attributes, AttributeType::ENCRYPT, Value::Bool(aes && !unwraps));
    template::default(attributes, AttributeType::DECRYPT, Value::Bool(aes && !wraps));
    template::default(attributes, AttributeType::SIGN, Value::Bool(true));
    template::default(attributes, AttributeType::VERIFY, Value::Bool(true));
    template::default(attributes, AttributeType::DERIVE, Value::Bool(!aes && key_type.hmac_hash().is_none()));
    separation::check_new(attributes)?;
    if attributes.is_true(AttributeType::TOKEN) {
        protect(attributes, strict);
    } else if attributes.is_true(AttributeType::ALWAYS_AUTHENTICATE) {
        return Err(Error::TemplateInconsistent("a secret in memory is not asked for again: CKA_ALWAYS_AUTHENTICATE"));
    }
    let sensitive = attributes.is_true(AttributeType::SENSITIVE);
    let extractable = attributes.is_true(AttributeType::EXTRACTABLE);
    let (local, mechanism, always, never) = match origin {
        Origin::Generated(mechanism) => (true, mechanism, sensitive, !extractable),
        Origin::Outside => (false, u64::MAX, false, false),
        Origin::Derived { always_sensitive, never_extractable } => {
            (false, u64::MAX, always_sensitive && sensitive, never_extractable && !extractable)
        }
    };
    attributes.set(AttributeType::LOCAL, Value::Bool(local));
    attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(mechanism));
    attributes.set(AttributeType::ALWAYS_SENSITIVE, Value::Bool(always));
    attributes.set(AttributeType::NEVER_EXTRACTABLE, Value::Bool(never));
    Ok(())
}

/// The first three bytes of a block of zeros under an AES key, of SHA-1 of another secret (PKCS#11 mechanisms v3.1 2.6, 2.8).
fn check_value(key_type: KeyType, value: &Secret) -> Vec<u8> {
    let all = match (key_type, MemoryKey::new(value)) {
        (KeyType::AES, Some(key)) => match key.run(Mode::Ecb, Direction::Encrypt, &mut [0; BLOCK], &[0; BLOCK]) {
            Ok(block) => block.expose().to_vec(),
            Err(never) => match never {},
        },
        _ => Hash::Sha1.digest(&[value.expose()]),
    };
    all.get(..3).unwrap_or_default().to_vec()
}

/// A template may say `CKA_CHECK_VALUE`, which is computed: what it says must be true, or nothing (4.10.2).
pub(crate) fn settle_check_value(attributes: &mut Attributes, computed: impl FnOnce() -> Vec<u8>) -> Result<()> {
    match attributes.bytes(AttributeType::CHECK_VALUE) {
        Some([]) => drop(attributes.remove(AttributeType::CHECK_VALUE)),
        Some(given) if given != computed() => return Err(Error::AttributeValueInvalid(AttributeType::CHECK_VALUE)),
        _ => {}
    }
    Ok(())
}

fn check_len(key_type: KeyType, len: usize) -> Result<()> {
    let fits = match key_type {
        KeyType::AES => matches!(len, 16 | 24 | 32),
        _ => len > 0 && len as u64 <= MAX_SECRET_LEN,
    };
    if fits { Ok(()) } else { Err(Error::KeySizeRange) }
}

/// Can the TPM keep such a key, and may it?
fn check_token_secret(session: &Session, attributes: &Attributes, key_type: KeyType, len: usize) -> Result<()> {
    if !attributes.is_true(AttributeType::SENSITIVE) || attributes.is_true(AttributeType::EXTRACTABLE) {
        return Err(Error::TemplateInconsistent("a key in the TPM is sensitive and cannot be extracted"));
    }
    let chip = &session.token.chip;
    if key_type == KeyType::AES && !chip.cipher_modes().any() {
        return Err(Error::TemplateInconsistent(
            "this TPM has no AES for its users: the key can be a session object only",
        ));
    }
    if key_type == KeyType::AES && !chip.can_aes(u16::try_from(len * 8).map_err(|_| Error::KeySizeRange)?) {
        return Err(Error::KeySizeRange);
    }
    if let Some(Value::Mechanisms(allowed)) = attributes.find(AttributeType::ALLOWED_MECHANISMS)
        && key_type != KeyType::AES
        && !allowed.is_empty()
        && !allowed
            .iter()
            .filter_map(|ty| ty.row())
            .any(|row| row.hash.is_none_or(|hash| chip.capabilities.has_hash(hash)))
    {
        return Err(Error::TemplateInconsistent("this TPM does not have the hash that the key is for"));
    }
    if key_type.hmac_hash().is_some_and(|hash| !chip.capabilities.has_hash(hash)) {
        return Err(Error::TemplateInconsistent("this TPM does not have the hash that the key is for"));
    }
    if key_type != KeyType::AES && len > MAX_TPM_SECRET {
        return Err(Error::KeySizeRange);
    }
    Ok(())
}
