//! Authorisation policies (TPM 2.0 Part 1, 19.7; Part 3, 23): what they demand, how they are stored, their digests computed
//! here, and how they are satisfied in the TPM.
//!
//! It speaks through a connection, and reads PCRs and counters. What is authorised is not known here.

mod admin;
mod authority;
mod commands;
mod digest;
mod hex;
mod plan;
mod satisfy;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use authority::{Approval, AuthorityKey, approval_message};
pub use commands::PolicyCommand;
pub use digest::pcr_policy_digest;

pub(crate) use admin::user_policy;
pub(crate) use plan::Means;
pub(crate) use satisfy::{Choice, SecretProof, check, check_authority};

use crate::error::{Error, Result};
use crate::wire::pcr::{PcrSelection, PcrValues};
use crate::wire::public::Name;
use authority::MAX_POLICY_REF;
use digest::{DIGEST_LEN, PolicyDigest};

/// Branches of TPM2_PolicyOR (Part 2, 10.9.4: TPML_DIGEST has up to eight).
const BRANCHES: std::ops::RangeInclusive<usize> = 2..=8;
/// Alternatives inside of alternatives. Each level is a command; what is stored may come from somebody hostile.
const MOST_LEVELS: usize = 4;
/// Steps of a policy, those of its alternatives not counted.
const MOST_STEPS: usize = 16;

/// A policy: steps that are executed in their order, all of which must succeed.
///
/// There is none that breaks a rule: [`Policy::new`] and deserialisation check them. The stored form is a list of steps, such as
/// `[{"pcr":{"selection":"sha256:0,7","digest":"…"}},"auth_value"]`. An unknown step is an error.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PolicyStep>", into = "Vec<PolicyStep>")]
pub struct Policy {
    steps: Vec<PolicyStep>,
    digest: PolicyDigest,
}

/// One step of a policy: one command of the TPM, which also extends the digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PolicyStep {
    /// TPM2_PolicyPCR: PCRs have these values.
    Pcr(PcrState),
    /// TPM2_PolicyAuthorize: the state is one that this key approved of. Only as the first step, for it starts the digest anew.
    Authorize {
        /// The authority.
        key: AuthorityKey,
        /// What the approvals are for, besides: at most 64 bytes, usually none.
        #[serde(with = "hex", default, skip_serializing_if = "Vec::is_empty")]
        policy_ref: Vec<u8>,
    },
    /// TPM2_PolicyAuthValue: the object's authorisation value is proved by an HMAC.
    AuthValue,
    /// TPM2_PolicyCommandCode: good for this TPM_CC only.
    CommandCode(u32),
    /// TPM2_PolicySecret: the authorisation value of another object is proved.
    Secret {
        /// The name of that object.
        #[serde(with = "name")]
        object: Name,
    },
    /// TPM2_PolicyDuplicationSelect: good for TPM2_Duplicate to this parent only.
    DuplicationSelect {
        /// The name of the new parent.
        #[serde(with = "name")]
        new_parent: Name,
        /// The name of the only object it is for; none: any, as must be for a policy of that very object.
        #[serde(with = "optional_name", default, skip_serializing_if = "Option::is_none")]
        object: Option<Name>,
    },
    /// TPM2_PolicyOR: one of two to eight policies. Only as the first step, for it starts the digest anew.
    Or(Vec<Policy>),
}

/// The state of PCRs that a policy demands, literally.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrState {
    /// The PCRs.
    pub selection: PcrSelection,
    /// SHA-256 over their values, ascending; 32 bytes.
    #[serde(with = "hex")]
    pub digest: Vec<u8>,
    /// The values themselves, to tell later which ones differ; all of them or none.
    #[serde(with = "values", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: PcrValues,
}

/// A policy with what may satisfy it.
#[derive(Clone, Copy, Debug)]
pub struct PolicyUse<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Approvals of its authorities; none need be valid.
    pub approvals: &'a [Approval],
}

impl PolicyStep {
    /// PCRs with these values. `values` may have others, too.
    ///
    /// # Errors
    /// As [`PcrSelection::digest_of`].
    pub fn pcr(selection: PcrSelection, values: &PcrValues) -> Result<PolicyStep> {
        let digest = selection.digest_of(values)?;
        let values = selection.indices().filter_map(|pcr| Some((pcr, values.get(&pcr)?.clone()))).collect();
        Ok(PolicyStep::Pcr(PcrState { selection, digest, values }))
    }

    /// A state that this authority approved of.
    pub fn authorize(key: AuthorityKey) -> PolicyStep {
        PolicyStep::Authorize { key, policy_ref: Vec::new() }
    }

    fn check(&self, first: bool) -> Result<()> {
        match self {
            PolicyStep::Pcr(state) => state.check(),
            PolicyStep::Authorize { .. } | PolicyStep::Or(_) if !first => {
                Err(Error::Invalid("PolicyAuthorize and PolicyOR are the first step of their policy"))
            }
            PolicyStep::Authorize { policy_ref, .. } if policy_ref.len() > MAX_POLICY_REF => {
                Err(Error::Invalid("a policyRef has at most 64 bytes"))
            }
            PolicyStep::Or(branches) if !BRANCHES.contains(&branches.len()) => {
                Err(Error::Invalid("PolicyOR has two to eight branches"))
            }
            _ => Ok(()),
        }
    }
}

impl PcrState {
    fn check(&self) -> Result<()> {
        if self.digest.len() != DIGEST_LEN {
            return Err(Error::Invalid("the digest of PCRs has 32 bytes"));
        }
        if self.values.is_empty() {
            return Ok(());
        }
        let all = self.values.keys().copied().eq(self.selection.indices());
        if !all || self.selection.digest_of(&self.values)? != self.digest {
            return Err(Error::Invalid("the values of the PCRs are not those of their digest"));
        }
        Ok(())
    }
}

impl Policy {
    /// A policy of these steps.
    ///
    /// # Errors
    /// No step or too many, too many alternatives or levels of them, a step in the wrong place, a digest of the wrong length,
    /// values that are not those of their digest.
    pub fn new(steps: Vec<PolicyStep>) -> Result<Policy> {
        if steps.is_empty() || steps.len() > MOST_STEPS {
            return Err(Error::Invalid("a policy has 1 to 16 steps"));
        }
        for (index, step) in steps.iter().enumerate() {
            step.check(index == 0)?;
        }
        if levels(&steps) > MOST_LEVELS {
            return Err(Error::Invalid("the alternatives of the policy are nested too deep"));
        }
        let digest = steps.iter().fold(PolicyDigest::new(), extend);
        Ok(Policy { steps, digest })
    }

    /// One of several policies: they themselves if there is only one.
    ///
    /// # Errors
    /// As [`Policy::new`].
    pub fn any_of(mut policies: Vec<Policy>) -> Result<Policy> {
        match policies.len() {
            1 => policies.pop().ok_or(Error::Invalid("no policy")),
            _ => Policy::new(vec![PolicyStep::Or(policies)]),
        }
    }

    /// The steps, in their order.
    pub fn steps(&self) -> &[PolicyStep] {
        &self.steps
    }

    /// The digest: the authPolicy of an object with this policy. 32 bytes.
    pub fn digest(&self) -> &[u8] {
        self.digest.as_bytes()
    }

    /// Whether the authorisation value of the object is needed, in one of the alternatives at least.
    pub fn needs_auth_value(&self) -> bool {
        self.any(&|step| *step == PolicyStep::AuthValue)
    }

    /// Whether the authorisation value of the object is needed whatever alternatives are taken.
    pub fn always_needs_auth_value(&self) -> bool {
        self.steps.iter().any(|step| match step {
            PolicyStep::Or(branches) => branches.iter().all(Policy::always_needs_auth_value),
            step => *step == PolicyStep::AuthValue,
        })
    }

    /// Whether a step, or one of an alternative, is like that.
    fn any(&self, like: &impl Fn(&PolicyStep) -> bool) -> bool {
        self.steps.iter().any(|step| match step {
            PolicyStep::Or(branches) => branches.iter().any(|branch| branch.any(like)),
            step => like(step),
        })
    }

    /// The authorities of all alternatives.
    pub fn authorities(&self) -> Vec<&AuthorityKey> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                PolicyStep::Authorize { key, .. } => vec![key],
                PolicyStep::Or(branches) => branches.iter().flat_map(Policy::authorities).collect(),
                _ => Vec::new(),
            })
            .collect()
    }
}

fn levels(steps: &[PolicyStep]) -> usize {
    let deepest = steps.iter().map(|step| match step {
        PolicyStep::Or(branches) => 1 + branches.iter().map(|branch| levels(&branch.steps)).max().unwrap_or_default(),
        _ => 0,
    });
    deepest.max().unwrap_or_default()
}

fn extend(digest: PolicyDigest, step: &PolicyStep) -> PolicyDigest {
    match step {
        PolicyStep::Pcr(state) => digest.pcr(&state.selection, &state.digest),
        PolicyStep::Authorize { key, policy_ref } => PolicyDigest::authorize(key.name(), policy_ref),
        PolicyStep::AuthValue => digest.auth_value(),
        PolicyStep::CommandCode(code) => digest.command_code(*code),
        PolicyStep::Secret { object } => digest.secret(object),
        PolicyStep::DuplicationSelect { new_parent, object } => digest.duplication_select(new_parent, object.as_ref()),
        PolicyStep::Or(branches) => PolicyDigest::or(branches.iter().map(Policy::digest)),
    }
}

impl TryFrom<Vec<PolicyStep>> for Policy {
    type Error = Error;

    fn try_from(steps: Vec<PolicyStep>) -> Result<Policy> {
        Policy::new(steps)
    }
}

impl From<Policy> for Vec<PolicyStep> {
    fn from(policy: Policy) -> Vec<PolicyStep> {
        policy.steps
    }
}

/// For a person: `sha256:0,7 + PIN`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if index == 0 { "" } else { " + " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({self})")
    }
}

impl fmt::Display for PolicyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyStep::Pcr(state) => write!(f, "{}", state.selection),
            PolicyStep::Authorize { key, .. } => {
                write!(f, "approved by {}", key.fingerprint().get(..8).map(hex::encode).unwrap_or_default())
            }
            PolicyStep::AuthValue => write!(f, "PIN"),
            PolicyStep::CommandCode(code) => write!(f, "only command {code:#x}"),
            PolicyStep::Secret { object } => write!(f, "secret of {object}"),
            PolicyStep::DuplicationSelect { new_parent, .. } => write!(f, "duplication to {new_parent}"),
            PolicyStep::Or(branches) => {
                write!(f, "(")?;
                for (index, branch) in branches.iter().enumerate() {
                    write!(f, "{}{branch}", if index == 0 { "" } else { " | " })?;
                }
                write!(f, ")")
            }
        }
    }
}

/// A name as hexadecimal digits.
mod name {
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    use crate::policy::hex;
    use crate::wire::public::Name;

    pub(super) fn serialize<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(name.as_bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::from_bytes(&hex::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A name that there is: the field is left out otherwise.
mod optional_name {
    use serde::{Deserializer, Serializer};

    use crate::policy::name;
    use crate::wire::public::Name;

    pub(super) fn serialize<S: Serializer>(name: &Option<Name>, serializer: S) -> Result<S::Ok, S::Error> {
        match name {
            Some(name) => name::serialize(name, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
        name::deserialize(deserializer).map(Some)
    }
}

/// Values by number, as hexadecimal digits.
mod values {
    use std::collections::BTreeMap;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::policy::hex;
    use crate::wire::pcr::PcrValues;

    pub(super) fn serialize<S: Serializer>(values: &PcrValues, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(pcr, value)| (pcr, hex::encode(value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PcrValues, D::Error> {
        let digits = BTreeMap::<u8, String>::deserialize(deserializer)?;
        let decode = |(pcr, digits): (u8, String)| Ok((pcr, hex::decode(&digits).map_err(D::Error::custom)?));
        digits.into_iter().map(decode).collect()
    }
}

#[cfg(test)]
mod tests;
