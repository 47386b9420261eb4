//! Making key pairs in the TPM (PKCS#11 v3.1 5.18.2; mechanisms 2.1.4, 2.3.5).

use std::sync::Arc;

use base::Secret;
use base::curve::Curve;
use model::{
    AttributeType, Attributes, KeyKind, KeyType, Mechanism, MechanismType, ObjectClass, ObjectHandle, Ops, Params,
    Rule, Scope, SessionHandle, Template, Value,
};
use store::NewObject;

use crate::library::Library;
use crate::object::{Object, TpmKey};
use crate::objects::draft::Draft;
use crate::protect::codes::Signer;
use crate::protect::policy::{self, BoundPolicy};
use crate::public_key::PublicKey;
use crate::slots::session::Session;
use crate::slots::token::Token;
use crate::template;
use crate::{Error, Result};

/// What an object takes besides its values, about.
const OBJECT: usize = 1024;

/// A new key pair, and who vouches for its rows.
pub(crate) struct Pair {
    pub(crate) public: Draft,
    pub(crate) private: Draft,
    pub(crate) signer: Signer,
}

/// A key pair that is to be made.
pub(crate) struct PairPlan {
    public: Attributes,
    private: Attributes,
    request: tpm::KeyTemplate,
    signer: Signer,
    mechanism: MechanismType,
}

impl PairPlan {
    /// Both halves, of what the TPM made.
    fn made(self, wrapped: tpm::Wrapped, auth: Secret, policy: Option<Arc<BoundPolicy>>) -> Result<Pair> {
        let Self { mut public, mut private, signer, mechanism, .. } = self;
        let area = wrapped.public_area()?;
        let name = wrapped.name()?;
        let half = PublicKey::from_area(&area)?;

        let id = match (public.bytes(AttributeType::ID), private.bytes(AttributeType::ID)) {
            (_, Some(id)) if !id.is_empty() => id.to_vec(),
            (Some(id), _) if !id.is_empty() => id.to_vec(),
            _ => half.default_id(),
        };
        for attributes in [&mut public, &mut private] {
            half.describe(attributes);
            if attributes.bytes(AttributeType::ID).is_none_or(<[u8]>::is_empty) {
                attributes.set(AttributeType::ID, Value::Bytes(id.clone()));
            }
            attributes.set(AttributeType::LOCAL, Value::Bool(true));
            attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(mechanism.0));
        }
        let public = Draft::new(public, None, None)?;
        let private = Draft::new(private, Some(TpmKey { wrapped, name }), policy::kept(auth))?.with_policy(policy);
        Ok(Pair { public, private, signer })
    }
}

impl Library {
    /// `C_GenerateKeyPair`: handles of the public and the private key. At most 2 TPM commands.
    ///
    /// # Errors
    /// Template errors ([`Error::TemplateIncomplete`], [`Error::TemplateInconsistent`], the attribute errors),
    /// [`Error::SessionReadOnly`], [`Error::UserNotLoggedIn`], [`Error::KeySizeRange`], [`Error::CurveNotSupported`].
    pub fn generate_key_pair(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
    ) -> Result<(ObjectHandle, ObjectHandle)> {
        self.generate_recoverable_pair(session, mechanism, public, private, None)
    }

    /// The same, for a pair whose private half can be duplicated to one parent elsewhere. 2 TPM commands more.
    ///
    /// # Errors
    /// Those of [`Library::generate_key_pair`].
    pub fn generate_recoverable_pair(
        &self,
        session: SessionHandle,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
        recovery: Option<&tpm::PublicArea>,
    ) -> Result<(ObjectHandle, ObjectHandle)> {
        let session = self.session(session)?;
        let Pair { public, private, signer } = self.make_pair(&session, mechanism, public, private, recovery)?;
        if public.on_token() && private.on_token() {
            let id = session.token.id;
            let rows = [public.to_row(id, &signer)?, private.to_row(id, &signer)?];
            let (public, private) = self.writer()?.add_pair(&rows[0], &rows[1])?;
            self.changed();
            let token = &session.token;
            return Ok((handle_of(token, public, &rows[0]), handle_of(token, private, &rows[1])));
        }
        // What is in memory first: it can be taken back when the other half finds no place.
        let (first, second, swapped) =
            if private.on_token() { (public, private, false) } else { (private, public, true) };
        let first = self.settle(&session, first, &signer)?;
        let second =
            self.settle(&session, second, &signer).inspect_err(|_| session.token.remove_session_object(first))?;
        Ok(if swapped { (second, first) } else { (first, second) })
    }

    /// A pair that the TPM has just made, and that has no home yet.
    pub(crate) fn make_pair(
        &self,
        session: &Session,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
        recovery: Option<&tpm::PublicArea>,
    ) -> Result<Pair> {
        let mut plan = self.plan_pair(session, mechanism, public, private)?;
        let Some(parent) = recovery else {
            return self.make_pairs(session, vec![plan])?.pop().ok_or(Error::ObjectHandleInvalid);
        };
        if session.policy_of_new_keys().is_some() {
            return Err(Error::ArgumentsBad("a key that can be backed up is used by its PIN, and has no policy"));
        }
        let auth = policy::new_auth(None)?;
        plan.private.set(AttributeType::TPM_RECOVERY_KEY, Value::Bytes(parent.marshal()?));
        let wrapped = self.tpm()?.create_duplicable_key(&session.token.primary, &plan.request, parent, &auth)?;
        plan.made(wrapped, auth, None)
    }

    /// The pairs of these plans, which are all for keys of one kind.
    pub(crate) fn make_pairs(&self, session: &Session, plans: Vec<PairPlan>) -> Result<Vec<Pair>> {
        let Some(request) = plans.first().map(|plan| plan.request) else { return Ok(Vec::new()) };
        let policy = session.policy_of_new_keys();
        let auths = plans.iter().map(|_| policy::new_auth(policy.as_deref())).collect::<Result<Vec<_>>>()?;
        let wrapped = self
            .tpm()?
            .create_keys(&session.token.primary, &request, &auths.iter().collect::<Vec<_>>(), policy::of_tpm(&policy))
            .map_err(|error| refused(&request, error))?;
        let parts = plans.into_iter().zip(wrapped.into_iter().zip(auths));
        parts.map(|(plan, (wrapped, auth))| plan.made(wrapped, auth, policy.clone())).collect()
    }

    /// What is to be made, checked before the TPM is asked.
    pub(crate) fn plan_pair(
        &self,
        session: &Session,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
    ) -> Result<PairPlan> {
        let token = &session.token;
        let row = mechanism.ty.row().filter(|row| token.chip.ops(row).contains(Ops::GENERATE_KEY_PAIR));
        let row = row.ok_or(Error::MechanismInvalid)?;
        if mechanism.params != Params::None {
            return Err(Error::MechanismParamInvalid("key pair generation has none"));
        }
        let (key_type, public_scope, private_scope) = match row.key {
            KeyKind::Rsa => (KeyType::RSA, Scope::RSA_PUBLIC, Scope::RSA_PRIVATE),
            KeyKind::Ec => (KeyType::EC, Scope::EC_PUBLIC, Scope::EC_PRIVATE),
            KeyKind::None | KeyKind::Pair | KeyKind::Aes | KeyKind::Secret | KeyKind::Hkdf => {
                return Err(Error::MechanismInvalid);
            }
        };
        let mut public = template::start(public_scope, Rule::GENERATE, public)?;
        let mut private = template::start(private_scope, Rule::GENERATE, private)?;
        settle_public(&mut public, key_type)?;
        settle_private(&mut private, key_type, self.config().strict_templates)?;
        let request = match key_type {
            KeyType::RSA => self.rsa_request(session, &public)?,
            _ => ec_request(session, &public, &private)?,
        };
        check_access(session, &public, &private)?;
        let signer = Signer::User(self.keys(token)?);

        Ok(PairPlan { public, private, request, signer, mechanism: mechanism.ty })
    }

    /// Gives a new object its home.
    pub(crate) fn settle(&self, session: &Session, draft: Draft, signer: &Signer) -> Result<ObjectHandle> {
        if draft.on_token() {
            let row = draft.to_row(session.token.id, signer)?;
            let id = self.writer()?.add_object(&row)?;
            self.changed();
            Ok(handle_of(&session.token, id, &row))
        } else {
            self.settle_in_session(session, draft)
        }
    }

    /// Keeps an object in memory, if there is room.
    pub(crate) fn keep(&self, token: &Token, object: Object) -> Result<()> {
        let size = usize::try_from(object.size()).unwrap_or(usize::MAX).saturating_add(OBJECT);
        let share = self.memory.take(size).ok_or(Error::SessionObjects)?;
        token.add_session_object(object, share);
        Ok(())
    }

    /// Keeps a new object in memory, as long as its session lives.
    pub(crate) fn settle_in_session(&self, session: &Session, draft: Draft) -> Result<ObjectHandle> {
        let handle = self.next_object_handle();
        self.keep(&session.token, draft.into_session(handle, session.handle))?;
        // Closed while the object was made: nothing of it is left behind.
        self.sessions.find(session.handle).inspect_err(|_| session.token.remove_objects_of(session.handle))?;
        Ok(handle)
    }

    fn rsa_request(&self, session: &Session, public: &Attributes) -> Result<tpm::KeyTemplate> {
        let bits =
            public.ulong(AttributeType::MODULUS_BITS).ok_or(Error::TemplateIncomplete(AttributeType::MODULUS_BITS))?;
        let bits = u16::try_from(bits).map_err(|_| Error::KeySizeRange)?;
        if !session.token.chip.rsa_bits.contains(&bits) {
            return Err(Error::KeySizeRange);
        }
        let exponent = match public.bytes(AttributeType::PUBLIC_EXPONENT) {
            None => 0,
            Some(bytes) => match bytes
                .iter()
                .try_fold(0_u32, |value, byte| value.checked_mul(0x100).map(|value| value | u32::from(*byte)))
            {
                // TPM 2.0 Part 2, 12.2.3.5: zero stands for the default, 65537.
                Some(65537) => 0,
                Some(value) if value >= 3 && value % 2 == 1 => value,
                _ => return Err(Error::AttributeValueInvalid(AttributeType::PUBLIC_EXPONENT)),
            },
        };
        Ok(tpm::KeyTemplate::Rsa { bits, exponent })
    }
}

fn ec_request(session: &Session, public: &Attributes, private: &Attributes) -> Result<tpm::KeyTemplate> {
    // Some clients give the curve with the private key only, some with both.
    let params = match (public.bytes(AttributeType::EC_PARAMS), private.bytes(AttributeType::EC_PARAMS)) {
        (Some(public), Some(private)) if public != private => {
            return Err(Error::TemplateInconsistent("the two halves name different curves"));
        }
        (Some(params), _) | (None, Some(params)) => params,
        (None, None) => return Err(Error::TemplateIncomplete(AttributeType::EC_PARAMS)),
    };
    let curve = Curve::from_ec_params(params).filter(|curve| session.token.chip.capabilities.has_curve(*curve));
    Ok(tpm::KeyTemplate::Ecc { curve: curve.ok_or(Error::CurveNotSupported)? })
}

pub(crate) fn settle_public(attributes: &mut Attributes, key_type: KeyType) -> Result<()> {
    template::settle(attributes, AttributeType::CLASS, Value::Ulong(ObjectClass::PUBLIC_KEY.0))?;
    template::settle(attributes, AttributeType::KEY_TYPE, Value::Ulong(key_type.0))?;
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(false));
    template::default(attributes, AttributeType::VERIFY, Value::Bool(true));
    template::default(attributes, AttributeType::VERIFY_RECOVER, Value::Bool(key_type == KeyType::RSA));
    template::default(attributes, AttributeType::DERIVE, Value::Bool(false));
    template::default(attributes, AttributeType::ENCRYPT, Value::Bool(key_type == KeyType::RSA));
    Ok(())
}

pub(crate) fn settle_private(attributes: &mut Attributes, key_type: KeyType, strict: bool) -> Result<()> {
    template::settle(attributes, AttributeType::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0))?;
    template::settle(attributes, AttributeType::KEY_TYPE, Value::Ulong(key_type.0))?;
    template::default(attributes, AttributeType::PRIVATE, Value::Bool(true));
    template::default(attributes, AttributeType::SIGN, Value::Bool(true));
    template::default(attributes, AttributeType::SIGN_RECOVER, Value::Bool(key_type == KeyType::RSA));
    template::default(attributes, AttributeType::DERIVE, Value::Bool(key_type == KeyType::EC));
    template::default(attributes, AttributeType::DECRYPT, Value::Bool(key_type == KeyType::RSA));
    protect(attributes, strict);
    if !attributes.is_true(AttributeType::SENSITIVE) || attributes.is_true(AttributeType::EXTRACTABLE) {
        return Err(Error::TemplateInconsistent("a key made in the TPM is sensitive and cannot be extracted"));
    }
    attributes.set(AttributeType::ALWAYS_SENSITIVE, Value::Bool(true));
    attributes.set(AttributeType::NEVER_EXTRACTABLE, Value::Bool(true));
    Ok(())
}

/// What of the request the TPM does not have.
fn refused(request: &tpm::KeyTemplate, error: tpm::Error) -> Error {
    match (request, error) {
        (tpm::KeyTemplate::Rsa { exponent: 1.., .. }, tpm::Error::Unsupported(_)) => {
            Error::AttributeValueInvalid(AttributeType::PUBLIC_EXPONENT)
        }
        (tpm::KeyTemplate::Rsa { .. }, tpm::Error::Unsupported(_)) => Error::KeySizeRange,
        (tpm::KeyTemplate::Ecc { .. }, tpm::Error::Unsupported(_)) => Error::CurveNotSupported,
        (_, error) => error.into(),
    }
}

/// A key that stays in the TPM is sensitive, whatever was asked for: many programs say `CKA_SENSITIVE` false without a thought, and what
/// the key says of itself is true. That it can be extracted is not promised.
pub(crate) fn protect(attributes: &mut Attributes, strict: bool) {
    if !strict && !attributes.is_true(AttributeType::EXTRACTABLE) {
        attributes.set(AttributeType::SENSITIVE, Value::Bool(true));
    }
}

/// Who may make these objects in this session? (PKCS#11 v3.1 4.4, 5.6)
fn check_access(session: &Session, public: &Attributes, private: &Attributes) -> Result<()> {
    let any = |ty| public.is_true(ty) || private.is_true(ty);
    if any(AttributeType::TOKEN) && !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    // The security officer makes no keys: their auth values are wrapped under what only the user can open.
    if session.token.login_required() && session.token.keys().is_none() {
        return Err(Error::UserNotLoggedIn);
    }
    Ok(())
}

/// The handle of a new object.
pub(crate) fn handle_of(token: &Token, id: i64, row: &NewObject) -> ObjectHandle {
    token.handle_of(ObjectHandle(id.unsigned_abs()), row.private)
}
