//! Bringing keys in: in clear, or wrapped for this TPM.

use base::Secret;
use base::digest::Hash;
use base::private::PrivateKey;
use model::{AttributeType, KeyType, MechanismType, ObjectClass, ObjectHandle, Template, Value};
use serde::Serialize;

use super::key::{NOT_ALWAYS, only_hmac};
use super::session::AdminSession;
use super::{Admin, Pin, PolicyRequest, link};
use crate::x509;
use token::info::ObjectSummary;
use token::manage::{Arrival, Batch, BoundPolicy, Companion, Look, PublicKey, Token, new_auth};
use token::{Error, Result};

/// A key pair, or a secret key, from elsewhere.
#[derive(Clone, Debug)]
pub enum ForeignKey {
    /// RSA or EC, in clear.
    Private(PrivateKey),
    /// AES: 16, 24 or 32 bytes.
    Aes(Secret),
    /// HMAC with any hash, of 1 to 128 bytes; [`ImportRequest::hash`] may choose one.
    Hmac(Secret),
    /// Wrapped for the TPM's storage key.
    Wrapped(WrappedKey),
}

/// A key that only the TPM with one storage key can import.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub secret: Vec<u8>,
    /// The authorisation value that it was wrapped with; mostly empty.
    pub auth: Secret,
}

impl WrappedKey {
    pub(super) fn importable(&self) -> tpm::Importable {
        tpm::Importable { public: self.public.clone(), private: self.private.clone(), secret: self.secret.clone() }
    }
}

/// Digests and signatures by PSS in one.
const PSS: [(Hash, MechanismType); 5] = [
    (Hash::Sha1, MechanismType::SHA1_RSA_PKCS_PSS),
    (Hash::Sha224, MechanismType::SHA224_RSA_PKCS_PSS),
    (Hash::Sha256, MechanismType::SHA256_RSA_PKCS_PSS),
    (Hash::Sha384, MechanismType::SHA384_RSA_PKCS_PSS),
    (Hash::Sha512, MechanismType::SHA512_RSA_PKCS_PSS),
];

/// The one purpose of a key pair whose algorithm names it (RFC 4055, RFC 5480 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// id-RSASSA-PSS: signatures by PSS, with this hash if the key is bound to one.
    Pss(Option<Hash>),
    /// id-RSAES-OAEP: encryption by OAEP.
    Oaep,
    /// id-ecDH: agreement on keys.
    KeyAgreement,
}

impl KeyPurpose {
    /// The attributes that say so.
    fn usage(self) -> Vec<(AttributeType, Value)> {
        use AttributeType as A;
        use MechanismType as M;
        let (mechanisms, not): (Vec<MechanismType>, &[AttributeType]) = match self {
            Self::Pss(hash) => {
                let digests = PSS.into_iter().filter(|(own, _)| hash.is_none_or(|hash| hash == *own));
                // The hash of the first is a parameter, which no attribute can bind.
                (
                    [M::RSA_PKCS_PSS].into_iter().chain(digests.map(|(_, mechanism)| mechanism)).collect(),
                    &[A::DECRYPT, A::UNWRAP, A::SIGN_RECOVER],
                )
            }
            Self::Oaep => (vec![M::RSA_PKCS_OAEP], &[A::SIGN, A::SIGN_RECOVER]),
            Self::KeyAgreement => (vec![M::ECDH1_DERIVE, M::ECDH1_COFACTOR_DERIVE], &[A::SIGN]),
        };
        let allowed = (AttributeType::ALLOWED_MECHANISMS, Value::Mechanisms(mechanisms));
        not.iter().map(|ty| (*ty, Value::Bool(false))).chain([allowed]).collect()
    }
}

/// The parts of an X.509 certificate that its object shows, each in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateParts {
    /// The whole of it.
    pub value: Vec<u8>,
    /// Name of the subject.
    pub subject: Vec<u8>,
    /// Name of the issuer.
    pub issuer: Vec<u8>,
    /// The serial number.
    pub serial: Vec<u8>,
    /// SubjectPublicKeyInfo, a point on a curve uncompressed.
    pub public_key: Vec<u8>,
    /// The subject's common name, if it has one.
    pub common_name: Option<String>,
}

/// What to import, and how to call it.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The token's label.
    pub label: String,
    /// Who asks.
    pub pin: Pin,
    /// The key.
    pub key: ForeignKey,
    /// `CKA_LABEL` of its objects.
    pub key_label: Option<String>,
    /// `CKA_ID`; by default it is derived from the public key.
    pub id: Option<Vec<u8>>,
    /// `CKA_ALWAYS_AUTHENTICATE`: the PIN is wanted for each signature.
    pub always_authenticate: bool,
    /// Certificates that are to be kept with it.
    pub certificates: Vec<CertificateParts>,
    /// Of a key pair: what its algorithm says it may serve for; by default, for all.
    pub restriction: Option<KeyPurpose>,
    /// Of an HMAC key: the one hash that it may serve with; by default, with any.
    pub hash: Option<Hash>,
}

impl ImportRequest {
    /// What cannot be kept is refused, before anybody logs in: done without, it would go unnoticed.
    fn check(&self, policy: Option<&BoundPolicy>) -> Result<()> {
        if policy.is_some_and(BoundPolicy::is_free) && self.always_authenticate {
            return Err(Error::ArgumentsBad("a key that works without the PIN cannot ask for it each time"));
        }
        if policy.is_some() && matches!(self.key, ForeignKey::Wrapped(_)) {
            return Err(Error::ArgumentsBad(
                "a wrapped key keeps the policy that it was wrapped with; leave the options about the state of the machine out",
            ));
        }
        let secret = match &self.key {
            ForeignKey::Private(_) => false,
            ForeignKey::Aes(_) | ForeignKey::Hmac(_) => true,
            ForeignKey::Wrapped(wrapped) => {
                let area = wrapped.importable().public_area().map_err(not_for_us)?;
                area.aes_bits().is_some() || area.hmac().is_some()
            }
        };
        if secret && self.always_authenticate {
            return Err(NOT_ALWAYS);
        }
        if secret && !self.certificates.is_empty() {
            return Err(Error::ArgumentsBad(
                "a certificate is about a key pair, and this is a secret key; leave --cert out",
            ));
        }
        if let ForeignKey::Wrapped(wrapped) = &self.key {
            check_certificates(&wrapped.importable().public_area().map_err(not_for_us)?, &self.certificates)?;
        }
        Ok(())
    }
}

/// What has come into the token.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The private or secret key.
    pub key: ObjectSummary,
    /// The public key, if it is a pair.
    pub public: Option<ObjectSummary>,
    /// Certificates.
    pub certificates: Vec<ObjectSummary>,
}

impl Admin {
    /// Takes a key from elsewhere into the TPM. A key in clear never crosses the bus so: one command besides the login. One that is
    /// wrapped for this TPM gets an auth value of its own: at most six.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a token, [`Error::PinIncorrect`], [`Error::KeySizeRange`] and [`Error::DeviceError`] for
    /// what this TPM does not take, [`Error::WrappedKeyInvalid`] for what is wrapped for another, or with another auth value.
    pub fn import(&self, request: &ImportRequest) -> Result<Imported> {
        self.import_bound(request, None)
    }

    /// The same, with a policy, as [`Admin::add_bound_key`] has it.
    ///
    /// # Errors
    /// Those of [`Admin::import`]; [`Error::ArgumentsBad`] for a policy that cannot be, and for what a secret key cannot keep.
    pub fn import_bound(&self, request: &ImportRequest, policy: Option<&PolicyRequest>) -> Result<Imported> {
        let imported = self.import_many(std::slice::from_ref(request), policy, &mut |_| ())?;
        imported.into_iter().next().ok_or(Error::ObjectHandleInvalid)
    }

    /// Takes many keys with one login, that of the first: into its token, with its PIN. `stored` is told how many there are each time that some
    /// got into the store.
    ///
    /// # Errors
    /// Those of [`Admin::import_bound`]. Keys that came before it are there.
    pub fn import_many(
        &self,
        requests: &[ImportRequest],
        policy: Option<&PolicyRequest>,
        stored: &mut dyn FnMut(usize),
    ) -> Result<Vec<Imported>> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let policy = policy.map(|policy| self.policy(policy)).transpose()?;
        let free = policy.as_ref().is_some_and(BoundPolicy::is_free);
        for request in requests {
            request.check(policy.as_ref())?;
        }
        let token = self.token(&first.label)?;
        let session = self.log_in_as_user(&token, &first.pin)?;
        if let Some(policy) = policy {
            self.library.bind_new_keys(session.handle(), policy)?;
        }
        let mut batch = self.library.batch(session.handle())?;
        let mut imported = Vec::new();
        let mut store = |batch: &mut Batch<'_>, secret: Option<ObjectHandle>| -> Result<()> {
            for handles in batch.store()?.into_iter().chain(secret.map(|handle| vec![handle])) {
                imported.push(self.imported(&token, &handles)?);
            }
            stored(imported.len());
            Ok(())
        };
        for request in requests {
            let secret = match &request.key {
                ForeignKey::Aes(value) => Some((KeyType::AES, value)),
                ForeignKey::Hmac(value) => Some((KeyType::GENERIC_SECRET, value)),
                ForeignKey::Private(_) | ForeignKey::Wrapped(_) => None,
            };
            if let Some((key_type, value)) = secret {
                store(&mut batch, None)?;
                let handle = self.import_secret(&session, request, (key_type, free), value)?;
                store(&mut batch, Some(handle))?;
                continue;
            }
            let added = self.import_pair(&token, &session, &mut batch, request);
            if added.is_err() || batch.is_full() {
                // What the TPM took is not thrown away.
                store(&mut batch, None)?;
            }
            added?;
        }
        store(&mut batch, None)?;
        Ok(imported)
    }

    fn import_pair(
        &self,
        token: &Token,
        session: &AdminSession<'_>,
        batch: &mut Batch<'_>,
        request: &ImportRequest,
    ) -> Result<()> {
        let arrival = match &request.key {
            ForeignKey::Private(key) => self.library.bring_in(session.handle(), key)?,
            ForeignKey::Wrapped(wrapped) => self.unwrapped(token, wrapped)?,
            ForeignKey::Aes(_) | ForeignKey::Hmac(_) => return Err(Error::KeyTypeInconsistent),
        };
        let look = Look {
            label: request.key_label.clone().map(String::into_bytes),
            id: request.id.clone(),
            always_authenticate: request.always_authenticate,
            usage: request.restriction.map(KeyPurpose::usage).unwrap_or_default(),
            also: Vec::new(),
        };
        let companions: Vec<Companion> =
            request.certificates.iter().map(|parts| companion(parts, arrival.public().as_ref())).collect();
        batch.add_arrival(arrival, &look, &companions)
    }

    /// Makes a secret key by the rules of `C_CreateObject`.
    fn import_secret(
        &self,
        session: &AdminSession<'_>,
        request: &ImportRequest,
        (key_type, free): (KeyType, bool),
        value: &Secret,
    ) -> Result<ObjectHandle> {
        let id = match &request.id {
            Some(id) => id.clone(),
            None => base::random::bytes(8)?,
        };
        let mut template = Template::new()
            .with(AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
            .with(AttributeType::KEY_TYPE, Value::Ulong(key_type.0))
            .with(AttributeType::TOKEN, Value::Bool(true))
            .with(AttributeType::ID, Value::Bytes(id));
        if let Some(label) = &request.key_label {
            template.push(AttributeType::LABEL, label.clone().into_bytes());
        }
        if free {
            template.push(AttributeType::PRIVATE, Value::Bool(false).to_native());
        }
        if let (KeyType::GENERIC_SECRET, Some(hash)) = (key_type, request.hash) {
            template.push(AttributeType::ALLOWED_MECHANISMS, only_hmac(hash).to_native());
        }
        template.push(AttributeType::VALUE, value.expose().to_vec());
        self.library.create_object(session.handle(), &template).map_err(|error| match error {
            Error::AttributeValueInvalid(AttributeType::VALUE) => Error::KeySizeRange,
            error => error,
        })
    }

    /// Imports what was wrapped elsewhere, and gives it an auth value that nobody else knows.
    fn unwrapped(&self, token: &Token, key: &WrappedKey) -> Result<Arrival> {
        let importable = key.importable();
        let area = importable.public_area().map_err(not_for_us)?;
        if area.aes_bits().is_none() && area.hmac().is_none() {
            link::check(&area)?;
        }
        let imported = self.library.tpm()?.import_wrapped(&token.primary, &importable).map_err(not_for_us)?;
        self.with_own_auth(token, imported, &key.auth)
    }

    /// Replaces the auth value that came with a key.
    pub(super) fn with_own_auth(&self, token: &Token, imported: tpm::Wrapped, auth: &Secret) -> Result<Arrival> {
        let name = imported.name()?;
        let new = new_auth(None)?;
        let key = tpm::Key { primary: &token.primary, wrapped: &imported, name: &name, auth, policy: None };
        let private = self.library.tpm()?.change_key_auth(&key, &new).map_err(not_for_us)?;
        let wrapped = tpm::Wrapped { public: imported.public, private };
        Arrival::new(wrapped, new)
    }

    pub(super) fn imported(&self, token: &Token, handles: &[ObjectHandle]) -> Result<Imported> {
        let mut key = None;
        let mut public = None;
        let mut certificates = Vec::new();
        for handle in handles {
            let object = token.meant(*handle)?.ok_or(Error::ObjectHandleInvalid)?;
            let summary = object.summary();
            match (object.key.is_some(), object.attributes.find(AttributeType::CERTIFICATE_TYPE)) {
                (true, _) => key = Some(summary),
                (false, Some(_)) => certificates.push(summary),
                (false, None) => public = Some(summary),
            }
        }
        Ok(Imported { key: key.ok_or(Error::ObjectHandleInvalid)?, public, certificates })
    }

    /// A session of the user: the security officer has no keys.
    pub(super) fn log_in_as_user(&self, token: &Token, pin: &Pin) -> Result<AdminSession<'_>> {
        if matches!(pin, Pin::So(_)) {
            return Err(Error::PinInvalid(
                "the security officer cannot use the user's keys, nor make any; give the user's PIN",
            ));
        }
        self.log_in(token, pin)
    }
}

/// A certificate that is given with a key is about that key, or above one that is.
fn check_certificates(area: &tpm::PublicArea, certificates: &[CertificateParts]) -> Result<()> {
    let is_own = |parts: &CertificateParts| {
        PublicKey::from_area(area).is_ok_and(|public| x509::is_of(&parts.public_key, &public))
    };
    match certificates.is_empty() || certificates.iter().any(is_own) {
        true => Ok(()),
        false => Err(Error::ArgumentsBad("no certificate is about this key; give the key's certificate, or none")),
    }
}

/// A certificate that goes into the token with a key.
fn companion(parts: &CertificateParts, key: Option<&PublicKey>) -> Companion {
    let own = key.is_some_and(|key| x509::is_of(&parts.public_key, key));
    let CertificateParts { value, subject, issuer, serial, .. } = parts.clone();
    Companion { value, subject, issuer, serial, look: (!own).then(|| above(parts)) }
}

/// How the certificate of an authority looks. By the key's label and id, programs would take it for that of the key. What of it cannot be
/// read here may be what others read.
fn above(parts: &CertificateParts) -> Look {
    let name = match x509::decode(&parts.value) {
        Ok(certificate) => {
            let subject = &certificate.tbs_certificate.subject;
            x509::common_name(subject).or_else(|| Some(subject.to_string()))
        }
        Err(_) => parts.common_name.clone(),
    };
    let id = x509::identifier(&parts.public_key);
    Look { label: name.map(String::into_bytes), id: Some(id), ..Look::default() }
}

/// The TPM refuses what was not wrapped for it as something that was altered.
pub(super) fn not_for_us(error: tpm::Error) -> Error {
    match error {
        tpm::Error::Integrity | tpm::Error::AuthFailed | tpm::Error::Malformed(_) => {
            log::info!("the TPM refused the key: {error}");
            Error::WrappedKeyInvalid
        }
        // Not for want of the right TPM.
        tpm::Error::Invalid(what) => Error::ArgumentsBad(what),
        error => error.into(),
    }
}
