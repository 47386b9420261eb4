//! Certificates: requested and made with a key of the token, and kept beside it.

use base::hex::encode as hex;
use std::sync::Arc;

use base::digest::Hash;
use model::{AttributeType, CertificateType, Mechanism, ObjectClass, ObjectHandle, Output, Template, UserType, Value};
use serde::Serialize;
use x509_cert::ext::pkix::BasicConstraints;

use super::session::AdminSession;
use super::{Admin, Pin};
use crate::x509::{self, Algorithm, Certificate, Profile};
use token::manage::{Object, PublicKey, Token};
use token::{Error, Result};

/// Longest signature: RSA of 16384 bits.
const LONGEST_SIGNATURE: usize = 2048;

/// `CK_CERTIFICATE_CATEGORY_TOKEN_USER`: the certificate of a key in this token.
const TOKEN_USER: u64 = 1;
/// `CK_CERTIFICATE_CATEGORY_AUTHORITY`.
const AUTHORITY: u64 = 2;
/// `CK_CERTIFICATE_CATEGORY_OTHER_ENTITY`.
const OTHER_ENTITY: u64 = 3;

/// Which key pair is meant. Without label and id: the only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySelector {
    /// Its `CKA_LABEL`.
    pub label: Option<String>,
    /// Its `CKA_ID`.
    pub id: Option<Vec<u8>>,
}

/// A private key that can sign, found without a login.
#[derive(Debug)]
pub struct SigningKey {
    pub(super) token: Arc<Token>,
    pub(super) key: Arc<Object>,
    pub(super) public: PublicKey,
}

/// How to sign.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignatureChoice {
    /// SHA-256, SHA-384 or SHA-512; by default the one that is as strong as the key.
    pub hash: Option<Hash>,
    /// RSASSA-PSS in the place of PKCS #1 v1.5.
    pub pss: bool,
}

/// What was signed.
#[derive(Clone, Debug, Serialize)]
pub struct Issued {
    /// The request or certificate in PEM.
    pub pem: String,
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// How it was signed, such as "ECDSA-SHA256".
    pub algorithm: String,
    /// The certificate's number, if it was stored.
    pub id: Option<i64>,
}

/// Certificates that were read from a file and found to fit, before anybody logged in.
#[derive(Debug)]
pub struct CertificatePlan {
    token: Arc<Token>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    der: Vec<u8>,
    certificate: Certificate,
    label: Vec<u8>,
    cka_id: Vec<u8>,
    category: u64,
}

/// A certificate in the token.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateInfo {
    /// "add", or "existing" for one that was there already.
    pub action: &'static str,
    /// Its number.
    pub id: i64,
    /// Its label: that of its key, or its own name.
    pub label: String,
    /// `CKA_ID` in hexadecimal: that of its key.
    pub cka_id: String,
    /// As RFC 4514 writes it.
    pub subject: String,
    /// As RFC 4514 writes it.
    pub issuer: String,
    /// When it ends, in UTC.
    pub not_after: String,
    /// The security officer marked it as trusted.
    pub trusted: bool,
    /// Numbers of the certificates that it took the place of.
    pub replaced: Vec<i64>,
    /// Numbers of rows that hold it and were altered: nobody is served them, and so it was added beside them.
    pub altered: Vec<i64>,
}

impl Admin {
    /// Finds a private key of a token, without the TPM and without a login.
    ///
    /// # Errors
    /// [`Error::General`] says which keys there are, if it is not clear which one is meant.
    pub fn signing_key(&self, label: &str, which: &KeySelector) -> Result<SigningKey> {
        let token = self.token(label)?;
        let keys = private_keys(&token)?;
        let mut found = keys.iter().filter(|key| which.selects(key));
        let (first, second) = (found.next(), found.next());
        match (first, second) {
            (Some(key), None) => {
                let public = key.public_key()?;
                Ok(SigningKey { token: Arc::clone(&token), key: Arc::clone(key), public })
            }
            (None, _) if keys.is_empty() => {
                Err(Error::General("the token has no key pair; `ptool addkey` makes one".to_owned()))
            }
            (None, _) => Err(Error::General(format!("there is no such key pair; the token has {}", named(&keys)))),
            (Some(_), Some(_)) => {
                Err(Error::General(format!("it is not clear which key pair is meant; the token has {}", named(&keys))))
            }
        }
    }

    /// A certification request (PKCS #10) for a key, signed by it. One login, and 3 TPM commands for the signature.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`] and what else a login may end in; [`Error::General`] for a profile that makes no certificate;
    /// [`Error::KeyFunctionNotPermitted`] for a key that does not sign.
    pub fn request_certificate(
        &self,
        key: &SigningKey,
        pin: &Pin,
        profile: &Profile,
        how: SignatureChoice,
    ) -> Result<Issued> {
        let algorithm = Algorithm::new(&key.public, how.hash, how.pss, |hash| key.token.can_sign(&key.public, hash))?;
        let session = self.log_in(&key.token, pin)?;
        let pem = x509::request(profile, &key.public, None, &algorithm, |message| {
            self.sign(&session, key, pin, &algorithm, message)
        })?;
        Ok(Issued { pem, subject: profile.subject.to_string(), algorithm: algorithm.name()?, id: None })
    }

    /// A certificate of a key by itself, valid for so many days from now on; kept in the token if `store`. One login, and 3 TPM
    /// commands for the signature.
    ///
    /// # Errors
    /// Those of [`Admin::request_certificate`].
    pub fn self_sign(
        &self,
        key: &SigningKey,
        pin: &Pin,
        profile: &Profile,
        how: SignatureChoice,
        days: u32,
        store: bool,
    ) -> Result<Issued> {
        let algorithm = Algorithm::new(&key.public, how.hash, how.pss, |hash| key.token.can_sign(&key.public, hash))?;
        let session = self.log_in(&key.token, pin)?;
        let der = x509::self_signed(profile, &key.public, days, &algorithm, |message| {
            self.sign(&session, key, pin, &algorithm, message)
        })?;
        let pem = x509::to_pem(&der)?;
        let id = match store {
            true => {
                let item = Item::of_key(x509::decode(&der)?, der, &key.key);
                Some(number(self.library.create_object(session.handle(), &item.template()?)?))
            }
            false => None,
        };
        Ok(Issued { pem, subject: profile.subject.to_string(), algorithm: algorithm.name()?, id })
    }

    /// Looks at certificates in DER, and says where they belong: the first to a key pair of the token, the others to the authorities
    /// above it; all to authorities if `authorities`. Needs no login.
    ///
    /// # Errors
    /// [`Error::General`] for what is no certificate, for one of a key that is not in the token or not the selected one, and for
    /// one that has nothing to do with the others.
    pub fn plan_certificates(
        &self,
        label: &str,
        which: &KeySelector,
        certificates: Vec<Vec<u8>>,
        authorities: bool,
    ) -> Result<CertificatePlan> {
        let token = self.token(label)?;
        let decoded = certificates.into_iter().map(|der| Ok((x509::decode(&der)?, der)));
        let mut rest = decoded.collect::<Result<Vec<_>>>()?;
        let mut items = Vec::new();
        if authorities {
            items.extend(rest.into_iter().map(|(certificate, der)| Item::of_authority(certificate, der)));
            return Ok(CertificatePlan { token, items });
        }
        let keys = private_keys(&token)?;
        let position = |key: &Arc<Object>, rest: &[(Certificate, Vec<u8>)]| {
            let public = key.public_key().ok()?;
            rest.iter().position(|(certificate, _)| x509::is_for(certificate, &public))
        };
        let selected: Vec<_> = keys.iter().filter(|key| which.selects(key)).collect();
        let found = selected.iter().find_map(|key| Some((*key, position(key, &rest)?)));
        let Some((key, at)) = found else {
            let other = keys.iter().find(|key| position(key, &rest).is_some());
            return Err(Error::General(match (selected.is_empty(), other) {
                (true, _) => format!("there is no such key pair; the token has {}", named(&keys)),
                (_, Some(other)) => format!("the certificate is not for this key, but for {}", described(other)),
                (_, None) => "the certificate is not for a key of this token".to_owned(),
            }));
        };
        let (certificate, der) = rest.swap_remove(at);
        items.push(Item::of_key(certificate, der, key));
        while let Some(below) = items.last()
            && let Some(at) = rest.iter().position(|(above, _)| x509::issued_by(&below.certificate, &below.der, above))
        {
            let (certificate, der) = rest.swap_remove(at);
            items.push(Item::of_authority(certificate, der));
        }
        match rest.first() {
            None => Ok(CertificatePlan { token, items }),
            Some((stranger, _)) => Err(Error::General(format!(
                "the file has a certificate that the key's does not hang on: {}",
                stranger.tbs_certificate().subject()
            ))),
        }
    }

    /// Puts certificates into the token. What is there already is left as it is. `trusted` marks those of authorities, or all if
    /// there are no others, as trusted (`CKA_TRUSTED`), which only the security officer can. `replace` removes older certificates of the
    /// same key.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`] and what else a login may end in; [`Error::TokenWriteProtected`].
    pub fn add_certificates(
        &self,
        plan: &CertificatePlan,
        pin: &Pin,
        trusted: bool,
        replace: bool,
    ) -> Result<Vec<CertificateInfo>> {
        if trusted && !matches!(pin, Pin::So(_)) {
            return Err(Error::PinInvalid("only the security officer says what is trusted; give the officer's PIN"));
        }
        let session = self.log_in(&plan.token, pin)?;
        if !matches!(pin, Pin::So(_)) {
            // By them an altered row is told from a genuine one.
            self.library.open_rows(&plan.token)?;
        }
        let only_keys = plan.items.iter().all(|item| item.category == TOKEN_USER);
        let mut added = Vec::new();
        for item in &plan.items {
            let (mut here, mut strange) = (Vec::new(), Vec::new());
            for object in certificates(&plan.token)? {
                match plan.token.object(object.handle)? {
                    Some(_) => here.push(object),
                    None => strange.push(object),
                }
            }
            let holds =
                |object: &&Arc<Object>| object.attributes.bytes(AttributeType::VALUE) == Some(item.der.as_slice());
            let existing = here.iter().find(holds);
            let altered = strange.iter().filter(holds).map(|object| number(object.handle)).collect();
            let (action, handle) = match existing {
                Some(object) => ("existing", object.handle),
                None => ("add", self.library.create_object(session.handle(), &item.template()?)?),
            };
            let trust = trusted && (only_keys || item.category != TOKEN_USER);
            if trust {
                let template = Template::new().with(AttributeType::TRUSTED, Value::Bool(true));
                self.library.set_attributes(session.handle(), handle, &template)?;
            }
            let mut replaced = Vec::new();
            if replace && item.category == TOKEN_USER {
                let older = here.iter().filter(|object| {
                    object.handle != handle
                        && object.attributes.bytes(AttributeType::ID) == Some(item.cka_id.as_slice())
                        && item.is_for_same_key(object)
                });
                for object in older {
                    self.library.destroy_object(session.handle(), plan.token.handle(object))?;
                    replaced.push(number(object.handle));
                }
            }
            added.push(CertificateInfo { replaced, altered, ..item.info(action, handle, trust) });
        }
        Ok(added)
    }

    /// Signs a message; a key that wants a login of its own for it gets one with the same PIN.
    pub(super) fn sign(
        &self,
        session: &AdminSession<'_>,
        key: &SigningKey,
        pin: &Pin,
        algorithm: &Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>> {
        let mechanism: Mechanism = algorithm.mechanism()?;
        self.library.sign_init(session.handle(), &mechanism, key.key.handle)?;
        if let (true, Pin::User(pin)) = (key.key.attributes.is_true(AttributeType::ALWAYS_AUTHENTICATE), pin) {
            self.library.login(session.handle(), UserType::ContextSpecific, Some(pin.clone()))?;
        }
        let mut signature = vec![0; LONGEST_SIGNATURE];
        let len = self.library.sign(session.handle(), message, Output::Buffer(&mut signature))?;
        signature.truncate(len);
        Ok(algorithm.wrap(signature))
    }
}

impl KeySelector {
    fn selects(&self, key: &Object) -> bool {
        let is = |ty, wanted: Option<&[u8]>| wanted.is_none_or(|wanted| key.attributes.bytes(ty) == Some(wanted));
        is(AttributeType::LABEL, self.label.as_deref().map(str::as_bytes)) && is(AttributeType::ID, self.id.as_deref())
    }
}

impl SigningKey {
    /// The key's label, if it has one.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        self.key.summary().label
    }
}

impl Item {
    /// Label and id are those of the key: by them programs find one from the other.
    fn of_key(certificate: Certificate, der: Vec<u8>, key: &Object) -> Self {
        let attribute = |ty| key.attributes.bytes(ty).unwrap_or_default().to_vec();
        let (label, cka_id) = (attribute(AttributeType::LABEL), attribute(AttributeType::ID));
        Self { der, certificate, label, cka_id, category: TOKEN_USER }
    }

    /// Ids are not unique, and many keys have none: what a certificate is for, its public key says.
    fn is_for_same_key(&self, object: &Object) -> bool {
        let key = |certificate: &Certificate| x509::key_bits(certificate.tbs_certificate().subject_public_key_info());
        let value = object.attributes.bytes(AttributeType::VALUE).unwrap_or_default();
        x509::decode(value).is_ok_and(|found| key(&found) == key(&self.certificate))
    }

    fn of_authority(certificate: Certificate, der: Vec<u8>) -> Self {
        let tbs = certificate.tbs_certificate();
        let authority = matches!(tbs.get_extension::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
        let label = x509::common_name(tbs.subject()).unwrap_or_else(|| tbs.subject().to_string()).into_bytes();
        let cka_id = x509::key_identifier(tbs.subject_public_key_info());
        let category = if authority { AUTHORITY } else { OTHER_ENTITY };
        Self { der, certificate, label, cka_id, category }
    }

    /// PKCS#11 v3.1 4.6.3: names and number are in DER, as they stand in the certificate.
    fn template(&self) -> Result<Template> {
        let tbs = self.certificate.tbs_certificate();
        let parts = base::certificate::parts(&self.der)
            .ok_or_else(|| Error::General("the certificate cannot be taken apart".to_owned()))?;
        let part = |part: &[u8]| Value::Bytes(part.to_vec());
        Ok(Template::new()
            .with(AttributeType::CLASS, Value::Ulong(ObjectClass::CERTIFICATE.0))
            .with(AttributeType::CERTIFICATE_TYPE, Value::Ulong(CertificateType::X_509.0))
            .with(AttributeType::CERTIFICATE_CATEGORY, Value::Ulong(self.category))
            .with(AttributeType::TOKEN, Value::Bool(true))
            .with(AttributeType::PRIVATE, Value::Bool(false))
            .with(AttributeType::LABEL, Value::Bytes(self.label.clone()))
            .with(AttributeType::ID, Value::Bytes(self.cka_id.clone()))
            .with(AttributeType::SUBJECT, part(parts.subject))
            .with(AttributeType::ISSUER, part(parts.issuer))
            .with(AttributeType::SERIAL_NUMBER, part(parts.serial))
            .with(AttributeType::START_DATE, Value::Bytes(x509::date(&tbs.validity().not_before)))
            .with(AttributeType::END_DATE, Value::Bytes(x509::date(&tbs.validity().not_after)))
            .with(AttributeType::VALUE, Value::Bytes(self.der.clone())))
    }

    fn info(&self, action: &'static str, handle: ObjectHandle, trusted: bool) -> CertificateInfo {
        let tbs = self.certificate.tbs_certificate();
        CertificateInfo {
            action,
            id: number(handle),
            label: String::from_utf8_lossy(&self.label).into_owned(),
            cka_id: hex(&self.cka_id),
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            not_after: tbs.validity().not_after.to_string(),
            trusted,
            replaced: Vec::new(),
            altered: Vec::new(),
        }
    }
}

fn private_keys(token: &Token) -> Result<Vec<Arc<Object>>> {
    of_class(token, ObjectClass::PRIVATE_KEY)
}

fn certificates(token: &Token) -> Result<Vec<Arc<Object>>> {
    of_class(token, ObjectClass::CERTIFICATE)
}

fn of_class(token: &Token, class: ObjectClass) -> Result<Vec<Arc<Object>>> {
    token.stored_objects(&Template::new().with(AttributeType::CLASS, Value::Ulong(class.0)))
}

fn number(handle: ObjectHandle) -> i64 {
    handle.0.cast_signed()
}

fn named(keys: &[Arc<Object>]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| described(key)).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

fn described(key: &Object) -> String {
    let summary = key.summary();
    let id = summary.cka_id.unwrap_or_default();
    match summary.label {
        Some(label) => format!("{label:?} (id hex:{id})"),
        None => format!("one without a label (id hex:{id})"),
    }
}
