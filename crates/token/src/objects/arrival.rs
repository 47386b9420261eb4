//! Keys that come from elsewhere, once the TPM has them: their objects, all of which get into the store or none.

use std::sync::Arc;

use base::Secret;
use model::{
    AttributeType, Attributes, CertificateType, KeyType, ObjectClass, ObjectHandle, Rule, Scope, SessionHandle,
    Template, Value,
};
use store::NewObject;

use crate::library::Library;
use crate::object::TpmKey;
use crate::objects::draft::Draft;
use crate::objects::keygen::{handle_of, settle_private, settle_public};
use crate::protect::policy::BoundPolicy;
use crate::public_key::PublicKey;
use crate::slots::session::Session;
use crate::{Error, Result, template};

/// `CK_UNAVAILABLE_INFORMATION`: the key was not made here.
const UNAVAILABLE: u64 = u64::MAX;

/// A key pair or secret key in the TPM that has no object yet.
#[derive(Debug)]
pub struct Arrival {
    key: TpmKey,
    /// Its auth value.
    auth: Secret,
    /// What the private object says besides: where the key is, or may go.
    remarks: Vec<(AttributeType, Value)>,
}

impl Arrival {
    /// A key with this auth value.
    ///
    /// # Errors
    /// [`Error::DeviceError`] for what is no key of a TPM.
    pub fn new(wrapped: tpm::Wrapped, auth: Secret) -> Result<Self> {
        let name = wrapped.name()?;
        Ok(Self { key: TpmKey { wrapped, name }, auth, remarks: Vec::new() })
    }

    /// The public half of a key pair.
    #[must_use]
    pub fn public(&self) -> Option<PublicKey> {
        PublicKey::from_area(&self.key.wrapped.public_area().ok()?).ok()
    }

    /// Lets the private object say where the key is, or may go.
    pub fn remark(&mut self, ty: AttributeType, value: Value) {
        self.remarks.push((ty, value));
    }
}

/// How its objects are to look.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// `CKA_LABEL`
    pub label: Option<Vec<u8>>,
    /// `CKA_ID`; without one, that which the key itself makes.
    pub id: Option<Vec<u8>>,
    /// `CKA_ALWAYS_AUTHENTICATE`
    pub always_authenticate: bool,
    /// Usage attributes that differ from the usual ones.
    pub usage: Vec<(AttributeType, Value)>,
    /// What else both halves of a pair, or the secret key, have.
    pub also: Vec<(AttributeType, Value)>,
}

/// An X.509 certificate that comes with a key, in the parts that its object shows, each in DER.
#[derive(Clone, Debug)]
pub struct Companion {
    /// The whole of it.
    pub value: Vec<u8>,
    /// Name of the subject.
    pub subject: Vec<u8>,
    /// Name of the issuer.
    pub issuer: Vec<u8>,
    /// The serial number.
    pub serial: Vec<u8>,
    /// Label and id of one that is not the key's own, which has those of the key.
    pub look: Option<Look>,
}

impl Library {
    /// Makes the objects of a key: those of a pair, private half first, or the one of a secret key; and those of certificates, of which
    /// those of the key get its id. In one transaction, without a TPM command.
    ///
    /// # Errors
    /// [`Error::UserNotLoggedIn`], [`Error::SessionReadOnly`], [`Error::TokenWriteProtected`]; those of a template for a look that cannot be.
    pub fn settle_arrival(
        &self,
        session: SessionHandle,
        arrival: Arrival,
        look: &Look,
        certificates: &[Companion],
    ) -> Result<Vec<ObjectHandle>> {
        let session = self.session(session)?;
        let rows = self.rows_of_arrival(&session, arrival, look, certificates)?;
        let handles = self.writer()?.transaction(|store| -> Result<Vec<ObjectHandle>> {
            rows.iter().map(|row| Ok(handle_of(&session.token, store.add_object(row)?, row))).collect()
        })?;
        self.changed();
        Ok(handles)
    }

    /// The rows of these objects.
    pub(crate) fn rows_of_arrival(
        &self,
        session: &Session,
        arrival: Arrival,
        look: &Look,
        certificates: &[Companion],
    ) -> Result<Vec<NewObject>> {
        let signer = self.may_write(session, true)?;
        let area = arrival.key.wrapped.public_area()?;
        let policy = session.policy_of_new_keys().filter(|policy| policy.policy().digest() == area.auth_policy());
        let public = PublicKey::from_area(&area).ok();
        let (mut drafts, id) = match &public {
            Some(public) => pair(arrival, public, &area, look)?,
            None => secret(arrival, &area, look)?,
        };
        if let Some(policy) = policy {
            bind(&mut drafts, &policy);
        }
        for companion in certificates {
            drafts.push(match &companion.look {
                None => certificate(companion, &id, look)?,
                Some(own) => certificate(companion, own.id.as_deref().unwrap_or_default(), own)?,
            });
        }
        drafts.iter().map(|draft| draft.to_row(session.token.id, &signer)).collect()
    }
}

/// Gives the policy to the one that is in the TPM. Who need not log in to use it must not need to log in to see it.
fn bind(drafts: &mut [Draft], policy: &Arc<BoundPolicy>) {
    for draft in drafts.iter_mut().filter(|draft| draft.key.is_some()) {
        draft.policy = Some(Arc::clone(policy));
        if policy.is_free() {
            draft.hidden = None;
            draft.attributes.set(AttributeType::PRIVATE, Value::Bool(false));
        }
    }
}

fn pair(arrival: Arrival, public: &PublicKey, area: &tpm::PublicArea, look: &Look) -> Result<(Vec<Draft>, Vec<u8>)> {
    let (key_type, scopes) = match public {
        PublicKey::Rsa(_) => (KeyType::RSA, [Scope::RSA_PUBLIC, Scope::RSA_PRIVATE]),
        PublicKey::Ec(_) => (KeyType::EC, [Scope::EC_PUBLIC, Scope::EC_PRIVATE]),
    };
    let id = look.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| public.default_id());
    let mut common = common(look).with(AttributeType::ID, Value::Bytes(id.clone()));
    if key_type == KeyType::RSA {
        common.push(AttributeType::MODULUS_BITS, Value::Ulong(public.bits()).to_native());
    }
    let mut template = self::common(look)
        .with(AttributeType::ID, Value::Bytes(id.clone()))
        .with(AttributeType::ALWAYS_AUTHENTICATE, Value::Bool(look.always_authenticate));
    for (ty, value) in usage(area, key_type, look) {
        template.push(ty, value.to_native());
    }
    for (ty, value) in &look.also {
        for half in [&mut common, &mut template] {
            half.push(*ty, value.to_native());
        }
    }
    let mut half = template::start(scopes[0], Rule::GENERATE, &common)?;
    settle_public(&mut half, key_type)?;
    let mut private = template::start(scopes[1], Rule::GENERATE, &template)?;
    settle_private(&mut private, key_type, false)?;
    for attributes in [&mut half, &mut private] {
        public.describe(attributes);
        came_from_outside(attributes);
    }
    for ty in [AttributeType::ALWAYS_SENSITIVE, AttributeType::NEVER_EXTRACTABLE] {
        private.set(ty, Value::Bool(false));
    }
    for (ty, value) in arrival.remarks {
        private.set(ty, value);
    }
    let private = Draft::new(private, Some(arrival.key), Some(arrival.auth))?;
    Ok((vec![private, Draft::new(half, None, None)?], id))
}

/// What the TPM lets the key do, as far as nothing narrower was asked for.
fn usage(area: &tpm::PublicArea, key_type: KeyType, look: &Look) -> Vec<(AttributeType, Value)> {
    let decrypts = area.attributes().contains(tpm::Attributes::DECRYPT);
    let mut usage = look.usage.clone();
    if key_type == KeyType::EC && !decrypts {
        usage.retain(|(ty, _)| *ty != AttributeType::DERIVE);
        usage.push((AttributeType::DERIVE, Value::Bool(false)));
    }
    if key_type == KeyType::EC && !area.attributes().contains(tpm::Attributes::SIGN) {
        usage.retain(|(ty, _)| *ty != AttributeType::SIGN);
        usage.push((AttributeType::SIGN, Value::Bool(false)));
    }
    usage
}

fn secret(arrival: Arrival, area: &tpm::PublicArea, look: &Look) -> Result<(Vec<Draft>, Vec<u8>)> {
    let (key_type, len) = match (area.aes_bits(), area.hmac()) {
        (Some(bits), _) => (KeyType::AES, Some(u64::from(bits) / 8)),
        // The length of an HMAC key is the TPM's secret.
        (None, Some(_)) => (KeyType::GENERIC_SECRET, None),
        (None, None) => return Err(Error::KeyTypeInconsistent),
    };
    let id = match look.id.clone().filter(|id| !id.is_empty()) {
        Some(id) => id,
        None => base::random::bytes(8)?,
    };
    let mut template = common(look).with(AttributeType::ID, Value::Bytes(id.clone()));
    for (ty, value) in look.usage.iter().chain(&look.also) {
        template.push(*ty, value.to_native());
    }
    let mut attributes = template::start(Scope::SECRET, Rule::GENERATE, &template)?;
    crate::objects::secret::settle_secret(&mut attributes, key_type, crate::objects::secret::Origin::Outside, false)?;
    if let Some(len) = len {
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(len));
    }
    for (ty, value) in arrival.remarks {
        attributes.set(ty, value);
    }
    Ok((vec![Draft::new(attributes, Some(arrival.key), Some(arrival.auth))?], id))
}

fn certificate(companion: &Companion, id: &[u8], look: &Look) -> Result<Draft> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let template = common(look)
        .with(AttributeType::CLASS, Value::Ulong(ObjectClass::CERTIFICATE.0))
        .with(AttributeType::CERTIFICATE_TYPE, Value::Ulong(CertificateType::X_509.0))
        // CK_CERTIFICATE_CATEGORY_UNSPECIFIED
        .with(AttributeType::CERTIFICATE_CATEGORY, Value::Ulong(0))
        .with(AttributeType::PRIVATE, Value::Bool(false))
        .with(AttributeType::ID, bytes(id))
        .with(AttributeType::SUBJECT, bytes(&companion.subject))
        .with(AttributeType::ISSUER, bytes(&companion.issuer))
        .with(AttributeType::SERIAL_NUMBER, bytes(&companion.serial))
        .with(AttributeType::VALUE, bytes(&companion.value));
    Draft::new(template::start(Scope::CERTIFICATE, Rule::CREATE, &template)?, None, None)
}

fn common(look: &Look) -> Template {
    let template = Template::new().with(AttributeType::TOKEN, Value::Bool(true));
    match &look.label {
        Some(label) => template.with(AttributeType::LABEL, Value::Bytes(label.clone())),
        None => template,
    }
}

fn came_from_outside(attributes: &mut Attributes) {
    attributes.set(AttributeType::LOCAL, Value::Bool(false));
    attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(UNAVAILABLE));
}
