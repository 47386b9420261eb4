//! The machine's side: attestation keys, made on demand and kept in the store, one for each authority; what they attest; and how they
//! are enrolled.

use std::sync::Arc;

use base::Secret;
use model::ObjectClass;
use serde::Serialize;
use store::{AttestationKeyRow, NewAttestationKey};
use tpm::{AttestationTemplate, Attester, Endorsement, Wrapped};

use super::evidence::{Around, TpmSignature};
use super::{Challenge, Evidence, Identity, Product, RelyingParty, Response, SignatureForm, area, csr, idevid};
use super::{inner, webauthn};
use crate::certificate::SigningKey;
use crate::session::AdminSession;
use crate::x509::{self, Algorithm};
use crate::{Admin, Issued, Pin, Profile, SignatureChoice};
use token::manage::{Object, Token};
use token::{Error, Result};

/// What is asked of an attestation.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// For which authority: each has an attestation key of its own.
    pub authority: String,
    /// What the TPM says along, at most 34 bytes.
    pub nonce: Vec<u8>,
    /// Whether the endorsement certificates go along, by which the machine is known.
    pub with_endorsement: bool,
}

/// A certification request with evidence in it.
#[derive(Clone, Debug)]
pub struct AttestedRequest<'a> {
    /// Whose key it is.
    pub profile: &'a Profile,
    /// How the request is signed.
    pub how: SignatureChoice,
    /// How the attestation is.
    pub form: SignatureForm,
}

/// What is wanted of an identity.
#[derive(Clone, Debug, Default)]
pub struct IdentityRequest {
    /// For which authority.
    pub authority: String,
    /// The kind of attestation key; P-256 by default.
    pub attester: Option<AttestationTemplate>,
    /// Which endorsement key; by default one that the TPM has a certificate for.
    pub endorsement: Option<Endorsement>,
    /// Its certificate in DER and those above, where the TPM has none.
    pub certificates: Vec<Vec<u8>>,
    /// The authorisation value of the endorsement hierarchy, mostly empty.
    pub endorsement_auth: Option<Secret>,
}

/// An attestation key.
#[derive(Clone, Debug, Serialize)]
pub struct AttesterInfo {
    /// The authority that it is for.
    pub authority: String,
    /// Its name in the TPM, in hexadecimal digits.
    pub name: String,
    /// The subjects of its certificates, beginning with its issuer's; none before `addcert`.
    pub issuers: Vec<String>,
}

impl Admin {
    /// Has the TPM prove that it has a key. Two commands for an attestation key that is there, and FlushContext for it, besides those of a
    /// login and a signature.
    ///
    /// # Errors
    /// [`Error::General`] for a key that nothing can be proved of; [`Error::PinIncorrect`] and what else a login may end in.
    pub fn attest(&self, key: &SigningKey, pin: &Pin, proof: &Proof) -> Result<Evidence> {
        let attester = self.attester(&key.token, &proof.authority, None)?;
        let session = self.log_in_as_user(&key.token, pin)?;
        self.evidence(&session, key, &attester, proof)
    }

    /// The same, as a WebAuthn registration has it: the attestation object.
    ///
    /// # Errors
    /// Those of [`Admin::attest`], and [`Error::General`] for an attestation key without a certificate.
    pub fn attest_webauthn(
        &self,
        key: &SigningKey,
        pin: &Pin,
        proof: &Proof,
        party: &RelyingParty,
        form: SignatureForm,
    ) -> Result<Vec<u8>> {
        self.certified(key, &proof.authority)?;
        let data = party.authenticator_data(&key.public)?;
        let proof = Proof { nonce: party.expected(&data), ..proof.clone() };
        webauthn::object(&self.attest(key, pin, &proof)?, Some(&data), form)
    }

    /// The same, as a client of ACME answers device-attest-01: its payload.
    ///
    /// # Errors
    /// Those of [`Admin::attest_webauthn`].
    pub fn attest_acme(
        &self,
        key: &SigningKey,
        pin: &Pin,
        proof: &Proof,
        key_authorization: &str,
        form: SignatureForm,
    ) -> Result<String> {
        self.certified(key, &proof.authority)?;
        let nonce = base::digest::Hash::Sha256.digest(&[key_authorization.as_bytes()]);
        let proof = Proof { nonce, ..proof.clone() };
        webauthn::acme(&webauthn::object(&self.attest(key, pin, &proof)?, None, form)?)
    }

    /// A PKCS #10 request with the evidence in it. One login.
    ///
    /// # Errors
    /// Those of [`Admin::attest`] and [`Admin::request_certificate`].
    pub fn request_attested(
        &self,
        key: &SigningKey,
        pin: &Pin,
        proof: &Proof,
        request: &AttestedRequest<'_>,
    ) -> Result<Issued> {
        let algorithm = Algorithm::new(&key.public, request.how.hash, request.how.pss, |hash| {
            key.token.can_sign(&key.public, hash)
        })?;
        let attester = self.attester(&key.token, &proof.authority, None)?;
        let session = self.log_in_as_user(&key.token, pin)?;
        let evidence = self.evidence(&session, key, &attester, proof)?;
        let attribute = csr::attribute(&evidence, request.form)?;
        let pem = x509::request(request.profile, &key.public, Some(attribute), &algorithm, |message| {
            self.sign(&session, key, pin, &algorithm, message)
        })?;
        Ok(Issued { pem, subject: request.profile.subject.to_string(), algorithm: algorithm.name()?, id: None })
    }

    /// A TCG-CSR-IDEVID, which always has the endorsement certificate in it.
    ///
    /// # Errors
    /// Those of [`Admin::attest`]; [`Error::General`] where the TPM has no such certificate.
    pub fn attest_idevid(&self, key: &SigningKey, pin: &Pin, proof: &Proof, product: &Product) -> Result<Vec<u8>> {
        let attester = self.attester(&key.token, &proof.authority, None)?;
        let proof = Proof { with_endorsement: true, ..proof.clone() };
        if self.endorsement_chain(&key.token, None)?.1.is_empty() {
            return Err(no_certificate());
        }
        let algorithm = Algorithm::new(&key.public, Some(base::digest::Hash::Sha256), false, |_| true)?;
        let session = self.log_in_as_user(&key.token, pin)?;
        let evidence = self.evidence(&session, key, &attester, &proof)?;
        let contents = idevid::contents(&evidence, product)?;
        let bare = TpmSignature::Bare(self.sign(&session, key, pin, &algorithm, &contents)?);
        idevid::whole(&contents, &bare.form(SignatureForm::Tpmt, &key.public)?)
    }

    /// What the machine is, for an authority to make a challenge for. Makes the attestation key, if there is none. No PIN.
    ///
    /// # Errors
    /// [`Error::General`] where there is no endorsement certificate; [`Error::HierarchyAuth`].
    pub fn identity(&self, label: &str, request: &IdentityRequest) -> Result<Identity> {
        let token = self.token(label)?;
        let (kind, chain) = match request.certificates.is_empty() {
            true => self.endorsement_chain(&token, request.endorsement)?,
            false => (request.endorsement, request.certificates.clone()),
        };
        let leaf = chain.first().ok_or_else(no_certificate)?;
        let certified = x509::key_of(&x509::decode(leaf)?);
        let auth = request.endorsement_auth.clone().unwrap_or_else(|| Secret::zeroed(0));
        let tpm = self.library.tpm()?;
        let kinds = kind.map_or_else(|| Endorsement::ALL.to_vec(), |kind| vec![kind]);
        let fits = |kind: &Endorsement| kind.makes(certified.as_ref().map(key_bits));
        for kind in kinds.into_iter().filter(fits) {
            let area = tpm.endorsement_key(kind, &token.primary, &auth)?;
            if token::manage::PublicKey::from_area(&area).ok() != certified {
                continue;
            }
            let row = self.attester(&token, &request.authority, request.attester)?;
            let creation = [row.creation_data, row.creation_attest, row.creation_signature];
            let public = inner(&area.marshal()?);
            return Ok(Identity::new(kind.certificate(), public, chain, inner(&row.public), creation));
        }
        Err(Error::General("the endorsement certificate is not for an endorsement key that this TPM makes".to_owned()))
    }

    /// Answers a challenge: with the file that [`issue`](super::issue) takes, or with the secret itself if other software made the challenge.
    ///
    /// # Errors
    /// [`Error::General`] for one that is for another TPM, or another attestation key; [`Error::HierarchyAuth`].
    pub fn activate(&self, label: &str, authority: &str, challenge: &Challenge, auth: &Secret) -> Result<Secret> {
        let token = self.token(label)?;
        let row = self.enrolled_row(&token, authority)?;
        let wrapped = Wrapped { public: row.public, private: row.private };
        let kind = Endorsement::at(challenge.endorsement_index);
        let (Some(kind), true) = (kind, wrapped.name()?.as_bytes() == challenge.attester.0) else {
            return Err(Error::General(
                "the challenge is for another attestation key than that for this authority".to_owned(),
            ));
        };
        let attester = Attester { primary: &token.primary, wrapped: &wrapped };
        let (credential, secret) = (&challenge.credential.0, &challenge.secret.0);
        let answer = self.library.tpm()?.activate_credential(kind, auth, attester, credential, secret);
        let answer = answer.map_err(|error| match error {
            tpm::Error::Integrity => Error::General("the challenge is for another TPM, or it was altered".to_owned()),
            error => error.into(),
        })?;
        match challenge.foreign {
            true => Ok(answer),
            false => Ok(Secret::new(Response::new(&answer).to_json()?.into_bytes())),
        }
    }

    /// Keeps the certificates (DER) that the authority issued for its attestation key: the key's own, and those above.
    ///
    /// # Errors
    /// [`Error::General`] if none is for that key, or one does not hang on it.
    pub fn add_attester_certificates(
        &self,
        label: &str,
        authority: &str,
        certificates: Vec<Vec<u8>>,
    ) -> Result<AttesterInfo> {
        let token = self.token(label)?;
        let row = self.enrolled_row(&token, authority)?;
        let public = token::manage::PublicKey::from_area(&tpm::PublicArea::parse(&row.public)?)?;
        let mut rest =
            certificates.into_iter().map(|der| Ok((x509::decode(&der)?, der))).collect::<Result<Vec<_>>>()?;
        let own = rest.iter().position(|(certificate, _)| x509::is_for(certificate, &public));
        let own = own.ok_or_else(|| {
            Error::General("none of the certificates is for the attestation key for this authority".to_owned())
        })?;
        let mut chain = vec![rest.swap_remove(own)];
        while let Some((below, der)) = chain.last()
            && let Some(at) = rest.iter().position(|(above, _)| x509::issued_by(below, der, above))
        {
            chain.push(rest.swap_remove(at));
        }
        if let Some((stranger, _)) = rest.first() {
            return Err(Error::General(format!(
                "the file has a certificate that the key's does not hang on: {}",
                stranger.tbs_certificate.subject
            )));
        }
        let whole: Vec<u8> = chain.iter().flat_map(|(_, der)| der.clone()).collect();
        self.library.writer()?.set_attestation_chain(row.id, &whole)?;
        self.info(&AttestationKeyRow { chain: whole, ..row })
    }

    /// The attestation keys that the store has for a token's TPM.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such token.
    pub fn attesters(&self, label: &str) -> Result<Vec<AttesterInfo>> {
        let token = self.token(label)?;
        let rows = self.reader()?.attestation_keys(token.row().primary_id)?;
        rows.iter().map(|row| self.info(row)).collect()
    }

    fn info(&self, row: &AttestationKeyRow) -> Result<AttesterInfo> {
        let name = tpm::PublicArea::parse(&row.public).and_then(|area| area.name())?;
        let issuers = x509::each(&row.chain).into_iter().filter_map(|der| x509::decode(&der).ok());
        let issuers = issuers.map(|certificate| certificate.tbs_certificate.issuer.to_string()).collect();
        Ok(AttesterInfo { authority: row.authority.clone(), name: name.to_string(), issuers })
    }

    /// The attestation key for an authority: that of the store, or a new one.
    fn attester(&self, token: &Token, authority: &str, kind: Option<AttestationTemplate>) -> Result<AttestationKeyRow> {
        let primary = token.row().primary_id;
        let find = || -> Result<Option<AttestationKeyRow>> {
            let rows = self.reader()?.attestation_keys(primary)?;
            Ok(rows.into_iter().find(|row| row.authority == authority))
        };
        if let Some(row) = find()? {
            let rsa = tpm::PublicArea::parse(&row.public)?.rsa().is_some();
            return match kind {
                Some(kind) if rsa != (kind == AttestationTemplate::Rsa2048) => Err(Error::General(
                    "there is an attestation key of another kind for this authority; --authority names another"
                        .to_owned(),
                )),
                _ => Ok(row),
            };
        }
        // Before the TPM works for nothing.
        drop(self.library.writer()?);
        let kind = kind.unwrap_or(AttestationTemplate::P256);
        let made = self.library.tpm()?.create_attestation_key(&token.primary, kind)?;
        let new = NewAttestationKey {
            authority,
            public: &made.wrapped.public,
            private: &made.wrapped.private,
            creation_data: &made.creation_data,
            creation_attest: &made.creation.attest,
            creation_signature: &made.creation.signature,
        };
        let added = self.library.writer()?.add_attestation_key(primary, &new);
        match (find()?, added) {
            // Another process may have been faster: its key is the one.
            (Some(row), _) => Ok(row),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => Err(Error::General("nothing stored".to_owned())),
        }
    }

    fn enrolled_row(&self, token: &Token, authority: &str) -> Result<AttestationKeyRow> {
        let rows = self.reader()?.attestation_keys(token.row().primary_id)?;
        rows.into_iter().find(|row| row.authority == authority).ok_or_else(|| {
            Error::General(
                "there is no attestation key for this authority; `ptool attest identity` makes it".to_owned(),
            )
        })
    }

    /// Fails for an attestation key without a certificate, in forms that are nothing without.
    fn certified(&self, key: &SigningKey, authority: &str) -> Result<()> {
        let row = self.attester(&key.token, authority, None)?;
        match row.chain.is_empty() {
            false => Ok(()),
            true => Err(Error::General(
                "the attestation key has no certificate, which this form needs; `ptool attest identity`, `activate` and `addcert` bring it"
                    .to_owned(),
            )),
        }
    }

    /// What the TPM says of a key, once its user is logged in.
    fn evidence(
        &self,
        session: &AdminSession<'_>,
        key: &SigningKey,
        attester: &AttestationKeyRow,
        proof: &Proof,
    ) -> Result<Evidence> {
        let _ = session;
        let token = &key.token;
        self.library.open_rows(token)?;
        let object: Arc<Object> = token.object(key.key.handle)?.ok_or(Error::KeyHandleInvalid)?;
        let in_tpm = object.key.as_ref().filter(|_| object.class() == ObjectClass::PRIVATE_KEY);
        let in_tpm = in_tpm.ok_or(Error::KeyFunctionNotPermitted)?;
        provable(&object, &in_tpm.wrapped)?;
        let policy = object.policy.as_deref().map(|policy| policy.policy().clone());
        let auth = self.library.auth_value(token, &object)?.unwrap_or_else(|| Secret::zeroed(0));
        let parent = object.parent()?.unwrap_or_else(|| token.primary.clone());
        let subject =
            tpm::Key { primary: &parent, wrapped: &in_tpm.wrapped, name: &in_tpm.name, auth: &auth, policy: None };
        let wrapped = Wrapped { public: attester.public.clone(), private: attester.private.clone() };
        let signer = Attester { primary: &token.primary, wrapped: &wrapped };
        let statement = self.library.tpm()?.certify(&subject, signer, &proof.nonce)?;
        let endorsement = match proof.with_endorsement {
            true => self.endorsement_chain(token, None)?.1,
            false => Vec::new(),
        };
        Ok(Evidence {
            attest: statement.attest,
            signature: TpmSignature::Tpmt(statement.signature),
            public: inner(&in_tpm.wrapped.public),
            attester: Some(inner(&attester.public)),
            chain: x509::each(&attester.chain),
            endorsement,
            policy,
            around: Around::Nothing,
        })
    }

    /// The certificate of an endorsement key, and those above, as the TPM has them: read once, and kept.
    fn endorsement_chain(
        &self,
        token: &Token,
        wanted: Option<Endorsement>,
    ) -> Result<(Option<Endorsement>, Vec<Vec<u8>>)> {
        let primary = token.row().primary_id;
        let mut kept = self.reader()?.endorsement_certificates(primary)?;
        if kept.is_empty() {
            let found = self.library.tpm()?.endorsement_certificates()?;
            kept.extend(found.certificates.into_iter().map(|(index, content)| (index, x509::first(&content))));
            kept.push((0, x509::each(&found.chain).concat()));
            // Whoever may only read the store asks the TPM each time; and what is not there may come.
            if let (true, Ok(writer)) = (kept.len() > 1, self.library.writer()) {
                writer.set_endorsement_certificates(primary, &kept)?;
            }
        }
        // Elliptic curves first: TPMs make RSA keys slowly.
        let mut order = Endorsement::ALL;
        order.sort_by_key(|kind| (kind.is_rsa(), *kind));
        let mut kinds = order.into_iter().filter(|kind| wanted.is_none_or(|wanted| *kind == wanted));
        let at = |index: u32| kept.iter().find(|(found, content)| *found == index && !content.is_empty());
        let Some((kind, (_, leaf))) = kinds.find_map(|kind| Some((kind, at(kind.certificate())?))) else {
            return Ok((wanted, Vec::new()));
        };
        let above = at(0).map(|(_, chain)| x509::each(chain)).unwrap_or_default();
        Ok((Some(kind), [vec![leaf.clone()], above].concat()))
    }
}

/// What is not only in this TPM, or not born there, is said to be so: the TPM would certify it all the same.
fn provable(object: &Object, wrapped: &Wrapped) -> Result<()> {
    let refuse = |why: &str| Err(Error::General(format!("nothing can be proved of this key: {why}")));
    if object.recovery_key().is_some() {
        return refuse("it was made with --backup, and so it can leave the TPM; make one without");
    }
    let area = area(&inner(&wrapped.public))?;
    if !area.attributes().contains(tpm::Attributes::SENSITIVE_DATA_ORIGIN) {
        return refuse("it was imported, and others may have it; make one in the TPM with `ptool addkey`");
    }
    let fixed = tpm::Attributes::FIXED_TPM.union(tpm::Attributes::FIXED_PARENT);
    match area.attributes().contains(fixed) {
        true => Ok(()),
        false => refuse("it can leave the TPM; make one in the TPM with `ptool addkey`"),
    }
}

fn no_certificate() -> Error {
    Error::General(
        "the TPM has no endorsement certificate; --ek-certificate gives one that its maker has elsewhere".to_owned(),
    )
}

fn key_bits(key: &token::manage::PublicKey) -> (bool, u64) {
    (matches!(key, token::manage::PublicKey::Rsa(_)), key.bits())
}

impl Admin {
    /// Reads a challenge, which may be one that another authority's software made.
    ///
    /// # Errors
    /// [`Error::General`] for what is none.
    pub fn read_challenge(
        &self,
        label: &str,
        authority: &str,
        endorsement: Option<Endorsement>,
        bytes: &[u8],
    ) -> Result<Challenge> {
        let token = self.token(label)?;
        let row = self.enrolled_row(&token, authority)?;
        let name = tpm::PublicArea::parse(&row.public).and_then(|area| area.name())?;
        let kind = match endorsement {
            Some(kind) => Some(kind),
            None => self.endorsement_chain(&token, None)?.0,
        };
        let foreign = kind.and_then(|kind| Challenge::from_tools(bytes, kind, name.as_bytes()));
        foreign.map_or_else(|| Challenge::from_json(bytes), Ok)
    }
}
