//! Keys that the TPM has already, taken into a token: as blobs that somebody else keeps, or persistent ones.

use base::Secret;
use model::{AttributeType, Value};

use super::{Admin, Imported, Pin};
use token::manage::parent::{self, OWNER, TEMPLATES};
use token::manage::{Arrival, BoundPolicy, Look, PublicKey, Token};
use token::{Error, Result};

/// A key of the TPM.
#[derive(Clone, Debug)]
pub enum TpmObject {
    /// A blob, to be loaded below its parent.
    Blob {
        /// TPM2B_PUBLIC.
        public: Vec<u8>,
        /// TPM2B_PRIVATE.
        private: Vec<u8>,
        /// Handle of the parent, persistent or that of the owner hierarchy; `None` is the token's primary.
        parent: Option<u32>,
    },
    /// At a persistent handle.
    Persistent(u32),
}

/// The policy of a key as its file has it: commands by their TPM_CC, with their marshalled parameters.
#[derive(Clone, Debug, Default)]
pub struct KeyFilePolicy {
    /// The commands of the policy.
    pub commands: Vec<(u32, Vec<u8>)>,
    /// What its authority approved of, each as its commands.
    pub approvals: Vec<Vec<(u32, Vec<u8>)>>,
}

/// What to link, and how to call it.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The token's label.
    pub label: String,
    /// Who asks.
    pub pin: Pin,
    /// The key.
    pub key: TpmObject,
    /// Its auth value; mostly empty.
    pub auth: Secret,
    /// Its policy, if it is used by one.
    pub policy: KeyFilePolicy,
    /// `CKA_LABEL` of its objects.
    pub key_label: Option<String>,
    /// `CKA_ID`; by default it is derived from the public key.
    pub id: Option<Vec<u8>>,
    /// `CKA_ALWAYS_AUTHENTICATE`: the PIN is wanted for each signature.
    pub always_authenticate: bool,
}

impl Admin {
    /// Takes a key that the TPM has into a token. The key stays where it is, and as it is: whoever has it otherwise has it still. It is
    /// used once, to see that it can be.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] for keys that the module could not use, and says why; [`Error::WrappedKeyInvalid`] for a blob that no
    /// parent loads, or another auth value; [`Error::PinIncorrect`].
    pub fn link(&self, request: &LinkRequest) -> Result<Imported> {
        let token = self.token(&request.label)?;
        let session = self.log_in_as_user(&token, &request.pin)?;
        let (key, parent) = match &request.key {
            TpmObject::Persistent(handle) => (self.persistent(*handle)?, None),
            TpmObject::Blob { public, private, parent } => {
                let wrapped = in_order(public, private)?;
                check(&wrapped.public_area().map_err(|_| NO_KEY)?)?;
                let parent = self.parent_of(&token, &wrapped, *parent)?;
                (wrapped, parent)
            }
        };
        let name = key.name()?;
        let area = key.public_area()?;
        let (mut policy, mut approvals) = match policy_of(&area, &request.policy)? {
            Some((policy, approvals)) => (Some(policy), approvals),
            None => (None, Vec::new()),
        };
        let primary = parent.as_ref().unwrap_or(&token.primary);
        let has_both = policy.is_some() && area.attributes().contains(tpm::Attributes::USER_WITH_AUTH);
        // A value that nobody gave, and that may be counted as a wrong one, is not tried.
        let may_try = !request.auth.is_empty() || area.attributes().contains(tpm::Attributes::NO_DA);
        if has_both && may_try {
            let by_auth = tpm::Key { primary, wrapped: &key, name: &name, auth: &request.auth, policy: None };
            if self.library.tpm()?.can_use(&by_auth)? {
                log::warn!(
                    "the key works with its authorization value alone: it is linked without the policy of its file"
                );
                (policy, approvals) = (None, Vec::new());
            } else if !request.auth.is_empty() {
                return Err(WRONG_AUTH);
            }
        }
        if policy.as_ref().is_some_and(BoundPolicy::is_free)
            && (!request.auth.is_empty() || request.always_authenticate)
        {
            return Err(Error::ArgumentsBad(
                "the policy of the key asks for no authorization value, and for no PIN; leave --auth and --attr-always-authenticate out",
            ));
        }
        let by = policy.as_ref().map(|policy| tpm::PolicyUse { policy: policy.policy(), approvals: &approvals });
        let in_tpm = tpm::Key { primary, wrapped: &key, name: &name, auth: &request.auth, policy: by };
        match self.library.tpm()?.can_use(&in_tpm) {
            Ok(true) => {}
            Ok(false) => return Err(WRONG_AUTH),
            // It is for another state of this machine; which may come.
            Err(tpm::Error::PolicyNotMet(why)) => log::warn!("the linked key does not work now: {why}"),
            Err(error) => return Err(error.into()),
        }
        let mut arrival = Arrival::new(key, request.auth.clone())?;
        if let Some(parent) = parent {
            arrival.remark(AttributeType::TPM_PARENT, Value::Bytes(parent::encode(&parent)));
        }
        let look = Look {
            label: request.key_label.clone().map(String::into_bytes),
            id: request.id.clone(),
            always_authenticate: request.always_authenticate,
            usage: Vec::new(),
            also: Vec::new(),
        };
        if let Some(policy) = policy {
            self.keep_approvals(&policy, &approvals)?;
            self.library.bind_new_keys(session.handle(), policy)?;
        }
        let handles = self.library.settle_arrival(session.handle(), arrival, &look, &[])?;
        self.imported(&token, &handles)
    }

    fn persistent(&self, handle: u32) -> Result<tpm::Wrapped> {
        let area = self.library.tpm()?.public_of(handle)?;
        let area = area.ok_or(Error::ArgumentsBad(
            "the TPM has nothing at this handle; `tpm2_getcap handles-persistent` shows where it has something",
        ))?;
        check(&area)?;
        Ok(tpm::Wrapped::persistent(area.marshal()?, handle))
    }

    /// The parent that loads the blob, if that is not the token's primary.
    fn parent_of(&self, token: &Token, key: &tpm::Wrapped, named: Option<u32>) -> Result<Option<tpm::Primary>> {
        let tpm = self.library.tpm()?;
        // Whatever the file says: the same key has been known by several handles.
        if tpm.can_load(&token.primary, key)? {
            return Ok(None);
        }
        match named {
            None => {}
            // Of files by early releases of the TPM engine of OpenSSL.
            Some(OWNER | 0) => {
                for template in TEMPLATES.into_iter().rev() {
                    let request = tpm::PrimaryRequest {
                        keeping: tpm::Keeping::Transient,
                        template,
                        ..tpm::PrimaryRequest::default()
                    };
                    match tpm.storage_primary(&request) {
                        Ok(parent) if tpm.can_load(&parent, key)? => return Ok(Some(parent)),
                        // Not that one; or this TPM has no keys of such a kind.
                        Ok(_) | Err(tpm::Error::Unsupported(_) | tpm::Error::Response(_)) => {}
                        Err(tpm::Error::HierarchyAuth) => return Err(OWNER_AUTH),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Some(handle) => {
                let area = tpm.public_of(handle)?;
                let area = area.ok_or(Error::ArgumentsBad(
                    "the TPM has nothing at the handle of the key's parent; --parent gives it",
                ))?;
                let parent = tpm::Primary::new(tpm::Location::Persistent(handle), area.marshal()?).map_err(|_| {
                    Error::ArgumentsBad("the parent of the key is no storage key that this TPM made for itself alone; --parent gives its handle")
                })?;
                if tpm.can_load(&parent, key)? {
                    return Ok(Some(parent));
                }
            }
        }
        Err(Error::WrappedKeyInvalid)
    }
}

/// The two blobs of a key, whichever came first.
fn in_order(public: &[u8], private: &[u8]) -> Result<tpm::Wrapped> {
    let either = [(public, private), (private, public)]
        .map(|(public, private)| tpm::Wrapped { public: public.to_vec(), private: private.to_vec() });
    either.into_iter().find(|wrapped| wrapped.public_area().is_ok()).ok_or(NO_KEY)
}

/// The key's policy and its approvals; none for a key that is used by its auth value.
fn policy_of(area: &tpm::PublicArea, file: &KeyFilePolicy) -> Result<Option<(BoundPolicy, Vec<tpm::Approval>)>> {
    if file.commands.is_empty() && file.approvals.is_empty() {
        return match area.attributes().contains(tpm::Attributes::USER_WITH_AUTH) {
            true => Ok(None),
            false => Err(Error::ArgumentsBad(
                "the key is used by a policy only, and nothing here says by which; a TSS2 file can say it",
            )),
        };
    }
    let commands = |commands: &[(u32, Vec<u8>)]| -> Vec<tpm::PolicyCommand> {
        commands
            .iter()
            .map(|(code, parameters)| tpm::PolicyCommand { code: *code, parameters: parameters.clone() })
            .collect()
    };
    let approvals: Vec<_> = file.approvals.iter().map(|entry| commands(entry)).collect();
    match tpm::Policy::from_key_file(area, &commands(&file.commands), &approvals) {
        // No approval that is made or found here has one: the key would never work.
        Ok((policy, _)) if has_reference(&policy) => Err(Error::ArgumentsBad(
            "the policy of the key wants approvals for a policyRef, which those known here do not have",
        )),
        Ok((policy, approvals)) => Ok(Some((BoundPolicy::new(policy)?, approvals))),
        Err(tpm::Error::Unsupported(what)) => {
            log::warn!("a key is not linked: {what}");
            Err(Error::ArgumentsBad("the policy of the key has something in it that is not known here"))
        }
        Err(_) => Err(Error::ArgumentsBad("the policy in the file is not that of the key")),
    }
}

fn has_reference(policy: &tpm::Policy) -> bool {
    policy
        .steps()
        .iter()
        .any(|step| matches!(step, tpm::PolicyStep::Authorize { policy_ref, .. } if !policy_ref.is_empty()))
}

const NO_KEY: Error = Error::ArgumentsBad(
    "the public part is not that of a key of a TPM; give the public and the private blob, as `tpm2_create` wrote them",
);
const OWNER_AUTH: Error = Error::ArgumentsBad(
    "the key hangs below a primary key that is made anew at each use, for which the TPM's owner hierarchy must have no \
     authorization; `tpm2_evictcontrol` keeps that primary key in the TPM, and --parent gives its handle",
);
const WRONG_AUTH: Error =
    Error::ArgumentsBad("the key has another authorization value than the given one; --auth gives it");

/// Could the module use it?
pub(super) fn check(area: &tpm::PublicArea) -> Result<()> {
    let has = |attribute| area.attributes().contains(attribute);
    if PublicKey::from_area(area).is_err() {
        return Err(Error::ArgumentsBad(
            "the key is neither RSA nor on P-224, P-256, P-384 or P-521; name another key",
        ));
    }
    if has(tpm::Attributes::RESTRICTED) {
        return Err(Error::ArgumentsBad(
            "the key is restricted: it works on what the TPM itself made, and on nothing else; name another key",
        ));
    }
    if area.has_scheme() {
        return Err(Error::ArgumentsBad(
            "the key is made for one scheme; the module uses keys without a scheme of their own",
        ));
    }
    if area.rsa().is_some() && !has(tpm::Attributes::DECRYPT) {
        return Err(Error::ArgumentsBad(
            "the RSA key may sign and not decrypt; the module signs by the raw operation, which is a decryption",
        ));
    }
    Ok(())
}
