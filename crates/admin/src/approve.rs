//! Approving of machine states: an authority signs the policy that a state satisfies, and keys that were bound to the authority
//! work in that state from then on.

use base::Secret;
use base::hex::encode as hex;
use base::private::PrivateKey;
use model::{Mechanism, MechanismType, ObjectClass, Output};
use serde::Serialize;
use store::{NewApproval, Store};

use super::Admin;
use super::policy::{PcrSource, authority_of, selection, state_of};
use super::session::Pin;
use super::uri::KeyUri;
use token::Config;
use token::Library;
use token::manage::{BoundPolicy, Origin, PublicKey, Statement, to_json};
use token::{Error, Result};

/// A private key that signs, as a person names it.
#[derive(Clone, Debug)]
pub enum Approver {
    /// RSA, or EC on P-256 or P-384.
    Key(PrivateKey),
    /// A key of a token in the same store, and who uses it.
    Token(KeyUri, Pin),
}

/// Which states to approve of.
#[derive(Clone, Debug)]
pub struct ApproveRequest {
    /// Who approves.
    pub key: Approver,
    /// PCRs such as `sha256:11`.
    pub pcrs: Vec<String>,
    /// Their values. Each selection in each state is approved.
    pub states: Vec<PcrSource>,
    /// What to note beside it in the store.
    pub comment: Option<String>,
    /// Make the approvals such that they can be revoked, each by a counter in this TPM: they are good on this machine only. The
    /// auth value of the owner hierarchy is wanted for that.
    pub revocable: Option<Secret>,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApprovalInfo {
    /// Its number in the store.
    pub id: Option<i64>,
    /// The file it was found in.
    pub file: Option<String>,
    /// SHA-256 of the authority's public key, as systemd writes it: `pkfp`.
    pub authority: String,
    /// The PCRs, such as `sha256:11`.
    pub pcrs: String,
    /// The digest of the approved policy, in hexadecimal.
    pub policy: String,
    /// What was noted.
    pub comment: Option<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// The NV index of the counter that can make it void, for approvals that can be revoked.
    pub counter: Option<String>,
}

impl ApprovalInfo {
    fn new(statement: &Statement, origin: Option<&Origin>) -> Self {
        let (id, comment, created) = match origin {
            Some(Origin::Store { id, comment, created }) => (Some(*id), comment.clone(), Some(*created)),
            _ => (None, None, None),
        };
        let file = match origin {
            Some(Origin::File(path)) => Some(path.display().to_string()),
            _ => None,
        };
        Self {
            id,
            file,
            authority: hex(&statement.authority),
            pcrs: statement.selection.to_string(),
            policy: hex(&statement.policy_digest),
            comment,
            created,
            counter: statement.limit.as_ref().map(|limit| format!("{:#010x}", limit.counter.index())),
        }
    }
}

impl Admin {
    /// Approves of states, and stores the approvals.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] for what is no key, no selection or no values; [`Error::PinIncorrect`]; what the TPM may answer.
    pub fn approve(&self, request: &ApproveRequest) -> Result<Vec<ApprovalInfo>> {
        // Without a store that can be written, nothing is signed, and no counter is made.
        let mut store = self.library.writer()?;
        let statements = self.statements(request)?;
        let ids = store.transaction(|store| -> Result<Vec<i64>> {
            statements.iter().map(|statement| add(store, statement, request.comment.as_deref())).collect()
        });
        if ids.is_err() {
            self.remove_counters(statements.iter(), request);
        }
        let ids = ids?;
        drop(store);
        self.library.changed();
        let info = |(statement, id)| ApprovalInfo {
            id: Some(id),
            comment: request.comment.clone(),
            ..ApprovalInfo::new(statement, None)
        };
        Ok(statements.iter().zip(ids).map(info).collect())
    }

    /// Stores approvals that came with a key of this policy, as far as an authority of it signed them.
    pub(super) fn keep_approvals(&self, policy: &BoundPolicy, approvals: &[tpm::Approval]) -> Result<()> {
        let by = |key: &tpm::AuthorityKey| -> Vec<Statement> {
            let signed = approvals.iter().filter(|approval| approval.verify(key, &[]));
            signed.filter_map(|approval| Statement::of_approval(approval, key)).collect()
        };
        let statements: Vec<Statement> = policy.policy().authorities().into_iter().flat_map(by).collect();
        if statements.is_empty() {
            return Ok(());
        }
        self.library.writer()?.transaction(|store| -> Result<()> {
            statements.iter().try_for_each(|statement| add(store, statement, Some("from the file of a key")).map(drop))
        })?;
        self.library.changed();
        Ok(())
    }

    /// Approves of states, and returns the approvals and a file of them, in the format of `tpm2-pcr-signature.json`. Needs a
    /// store only for a key in a token, and a TPM only for that and for present values.
    ///
    /// # Errors
    /// Those of [`Admin::approve`].
    pub fn approve_in_file(config: Config, request: &ApproveRequest) -> Result<(Vec<ApprovalInfo>, String)> {
        let admin = match &request.key {
            Approver::Key(_) => Self { library: Library::open(config)? },
            Approver::Token(..) => Self::open(config)?,
        };
        let statements = admin.statements(request)?;
        let info = statements.iter().map(|statement| ApprovalInfo::new(statement, None)).collect();
        Ok((info, to_json(&statements)?))
    }

    /// The approvals that there are, in the store and in files.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn approvals(&self) -> Result<Vec<ApprovalInfo>> {
        let all = self.library.all_approvals()?;
        Ok(all.iter().map(|(origin, statement)| ApprovalInfo::new(statement, Some(origin))).collect())
    }

    /// Removes an approval from the store. One that was made to be revoked is void from then on, wherever copies of it are: its
    /// counter is removed, and one that is made anew begins above it. Copies of another stay good, as a signature cannot be taken
    /// back: then `false`.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such approval; [`Error::HierarchyAuth`] for a wrong auth value of the owner, after
    /// which the approval is still there.
    pub fn revoke(&self, id: i64, owner_auth: &Secret) -> Result<bool> {
        let store = self.library.writer()?;
        let row = store.approvals()?.into_iter().find(|row| row.id == id);
        let row = row.ok_or(Error::ArgumentsBad("the store has no approval with this number; see `ptool pcr list`"))?;
        let limit = row.limit.as_deref().map(serde_json::from_str::<tpm::CounterLimit>).transpose();
        let limit = limit.map_err(|error| Error::Store(format!("approval {id} in the store: {error}")))?;
        if let Some(limit) = &limit {
            match self.library.tpm()?.remove_counter(self.library.pinned()?.as_ref(), &limit.counter, owner_auth) {
                // It is as void as it can be.
                Ok(()) | Err(tpm::Error::CounterMissing) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match store.remove_approval(id) {
            Ok(_) | Err(store::Error::Missing { .. }) => Ok(limit.is_some()),
            Err(error) => Err(error.into()),
        }
    }

    /// Signs the states.
    fn statements(&self, request: &ApproveRequest) -> Result<Vec<Statement>> {
        // What cannot be approved of is found before a key is used.
        let mut states = Vec::new();
        for pcrs in &request.pcrs {
            let selection = selection(pcrs)?;
            for state in &request.states {
                let values = state_of(&self.library, state, &selection)?;
                states.push((selection.clone(), values));
            }
        }
        let signer = Signer::new(self, &request.key)?;
        let mut statements = Vec::new();
        let primary = self.library.pinned()?;
        for (selection, values) in states {
            let limit = match &request.revocable {
                Some(owner_auth) => match self.library.tpm()?.define_counter(primary.as_ref(), owner_auth) {
                    Ok((counter, most)) => Some(tpm::CounterLimit { counter, most }),
                    Err(error) => {
                        self.remove_counters(statements.iter(), request);
                        return Err(error.into());
                    }
                },
                None => None,
            };
            match signer.statement(selection, &values, limit.clone()) {
                Ok(statement) => statements.push(statement),
                Err(error) => {
                    limit.iter().for_each(|limit| self.remove_counter(limit, request));
                    self.remove_counters(statements.iter(), request);
                    return Err(error);
                }
            }
        }
        Ok(statements)
    }

    /// Nothing was given away that is bound to them: they only take room.
    fn remove_counters<'s>(&self, statements: impl Iterator<Item = &'s Statement>, request: &ApproveRequest) {
        statements
            .filter_map(|statement| statement.limit.as_ref())
            .for_each(|limit| self.remove_counter(limit, request));
    }

    fn remove_counter(&self, limit: &tpm::CounterLimit, request: &ApproveRequest) {
        let (Ok(tpm), Some(owner_auth)) = (self.library.tpm(), &request.revocable) else { return };
        let primary = self.library.pinned().unwrap_or_default();
        if let Err(error) = tpm.remove_counter(primary.as_ref(), &limit.counter, owner_auth) {
            log::warn!("the counter {:#x} stays in the TPM: {error}", limit.counter.index());
        }
    }
}

fn add(store: &Store, statement: &Statement, comment: Option<&str>) -> Result<i64> {
    let limit = statement.limit.as_ref().map(serde_json::to_string).transpose();
    let limit = limit.map_err(|error| Error::General(error.to_string()))?;
    Ok(store.add_approval(&NewApproval {
        authority: statement.authority,
        bank: &statement.bank(),
        pcrs: statement.pcr_bits(),
        policy_digest: &statement.policy_digest,
        signature: &statement.signature,
        limit: limit.as_deref(),
        comment,
    })?)
}

/// A key that can sign.
struct Signer<'a> {
    authority: tpm::AuthorityKey,
    how: How<'a>,
}

enum How<'a> {
    Key(&'a PrivateKey),
    Token(&'a Admin, &'a KeyUri, &'a Pin),
}

impl<'a> Signer<'a> {
    fn new(admin: &'a Admin, key: &'a Approver) -> Result<Self> {
        Ok(match key {
            Approver::Key(key) => {
                let public = match key {
                    PrivateKey::Rsa { public, .. } => PublicKey::Rsa(public.clone()),
                    PrivateKey::Ec { public, .. } => PublicKey::Ec(public.clone()),
                };
                Self { authority: authority_of(&public)?, how: How::Key(key) }
            }
            Approver::Token(uri, pin) => {
                let public = admin.find_key(uri, &[ObjectClass::PRIVATE_KEY])?;
                Self { authority: authority_of(&public)?, how: How::Token(admin, uri, pin) }
            }
        })
    }

    /// Approves of one state.
    fn statement(
        &self,
        selection: tpm::PcrSelection,
        values: &tpm::PcrValues,
        limit: Option<tpm::CounterLimit>,
    ) -> Result<Statement> {
        let policy_digest = tpm::pcr_policy_digest(&selection, values, limit.as_ref())?;
        let signature = self.sign(&tpm::approval_message(&policy_digest, &[]))?;
        let statement = Statement { authority: self.fingerprint()?, selection, policy_digest, signature, limit };
        // A key whose parts do not belong together, or a fault, must not go unnoticed until the next boot.
        let approval = statement.approval(&self.authority);
        if !approval.is_some_and(|approval| approval.verify(&self.authority, &[])) {
            return Err(Error::General("the signature of the approval is not good; nothing was kept".to_owned()));
        }
        Ok(statement)
    }

    fn fingerprint(&self) -> Result<[u8; 32]> {
        let digest = self.authority.fingerprint();
        digest.try_into().map_err(|_| Error::General("a fingerprint has 32 bytes".to_owned()))
    }

    /// As long as the modulus, or DER.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = match &self.how {
            How::Key(key) => key.sign_sha256(message).map_err(|_| {
                Error::ArgumentsBad(
                    "this key cannot approve: an authority is an RSA key, or an EC key on P-256 or P-384; name another key",
                )
            })?,
            How::Token(admin, uri, pin) => self.sign_in_token(admin, uri, pin, message)?,
        };
        Ok(match self.authority.rsa() {
            Some(_) => signature,
            None => base::curve::signature_to_der(&signature),
        })
    }

    /// By the library itself, under all its rules.
    fn sign_in_token(&self, admin: &Admin, uri: &KeyUri, pin: &Pin, message: &[u8]) -> Result<Vec<u8>> {
        let token = admin.token(&uri.token)?;
        let session = admin.log_in(&token, pin)?;
        let found = token.objects()?.into_iter().find(|key| key.class() == ObjectClass::PRIVATE_KEY && uri.is_of(key));
        let key = found.ok_or(Error::ArgumentsBad("the PKCS#11 URI names no private key of the token; `ptool listobjects` shows labels and ids, `ptool verify` rows that were altered"))?;
        let (mechanism, most) = match (self.authority.rsa(), self.authority.ec()) {
            (Some(key), _) => (MechanismType::SHA256_RSA_PKCS, key.modulus_len()),
            (None, Some(key)) => (MechanismType::ECDSA_SHA256, 2 * key.curve().field_len()),
            (None, None) => return Err(Error::KeyTypeInconsistent),
        };
        let library = &admin.library;
        library.sign_init(session.handle(), &Mechanism::plain(mechanism), key.handle)?;
        if let (true, Pin::User(pin)) = (key.attributes.is_true(model::AttributeType::ALWAYS_AUTHENTICATE), pin) {
            library.login(session.handle(), model::UserType::ContextSpecific, Some(pin.clone()))?;
        }
        let mut signature = vec![0; most];
        let len = library.sign(session.handle(), message, Output::Buffer(&mut signature))?;
        signature.truncate(len);
        Ok(signature)
    }
}
