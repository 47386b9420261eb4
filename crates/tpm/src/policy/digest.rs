//! The digest of a policy (TPM 2.0 Part 1, 19.7; Part 3, 23): what the TPM computes in a session, computed here.

use crate::error::Result;
use crate::state::counter::CounterLimit;
use crate::wire::constants::cc;
use crate::wire::pcr::{PcrSelection, PcrValues};
use crate::wire::public::{NAME_HASH, Name};

/// Bytes of the digest of a policy: its hash is that of the sessions, and of the names of what is made here.
pub(crate) const DIGEST_LEN: usize = NAME_HASH.len();

/// The digest of a policy while it is being built. It starts as zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyDigest(Vec<u8>);

impl PolicyDigest {
    pub(crate) fn new() -> PolicyDigest {
        PolicyDigest(vec![0; DIGEST_LEN])
    }

    fn extend(&self, parts: &[&[u8]]) -> PolicyDigest {
        let mut all: Vec<&[u8]> = vec![&self.0];
        all.extend_from_slice(parts);
        PolicyDigest(NAME_HASH.digest(&all))
    }

    /// PolicyUpdate() (Part 3, 23.2.4): the second step takes place for an empty reference as well.
    fn update(&self, code: u32, name: &Name, policy_ref: &[u8]) -> PolicyDigest {
        self.extend(&[&code.to_be_bytes(), name.as_bytes()]).extend(&[policy_ref])
    }

    /// TPM2_PolicyPCR, with the digest of the values.
    pub(crate) fn pcr(&self, selection: &PcrSelection, values: &[u8]) -> PolicyDigest {
        self.extend(&[&cc::POLICY_PCR.to_be_bytes(), &selection.marshal(), values])
    }

    /// TPM2_PolicyAuthorize: what was there before counts no more.
    pub(crate) fn authorize(key: &Name, policy_ref: &[u8]) -> PolicyDigest {
        PolicyDigest::new().update(cc::POLICY_AUTHORIZE, key, policy_ref)
    }

    /// TPM2_PolicyAuthValue.
    pub(crate) fn auth_value(&self) -> PolicyDigest {
        self.extend(&[&cc::POLICY_AUTH_VALUE.to_be_bytes()])
    }

    /// TPM2_PolicyCommandCode.
    pub(crate) fn command_code(&self, code: u32) -> PolicyDigest {
        self.extend(&[&cc::POLICY_COMMAND_CODE.to_be_bytes(), &code.to_be_bytes()])
    }

    /// TPM2_PolicySecret, with an empty policyRef.
    pub(crate) fn secret(&self, name: &Name) -> PolicyDigest {
        self.update(cc::POLICY_SECRET, name, &[])
    }

    /// TPM2_PolicyNV.
    pub(crate) fn limit(&self, limit: &CounterLimit) -> PolicyDigest {
        self.extend(&[&cc::POLICY_NV.to_be_bytes(), &limit.digest(), limit.counter.name().as_bytes()])
    }

    /// TPM2_PolicyDuplicationSelect; with an object, it is for that one only.
    pub(crate) fn duplication_select(&self, new_parent: &Name, object: Option<&Name>) -> PolicyDigest {
        let code = cc::POLICY_DUPLICATION_SELECT.to_be_bytes();
        match object {
            Some(object) => self.extend(&[&code, object.as_bytes(), new_parent.as_bytes(), &[1]]),
            None => self.extend(&[&code, new_parent.as_bytes(), &[0]]),
        }
    }

    /// TPM2_PolicyOR: what was there before counts no more.
    pub(crate) fn or<'a>(branches: impl IntoIterator<Item = &'a [u8]>) -> PolicyDigest {
        let branches: Vec<&[u8]> = branches.into_iter().collect();
        PolicyDigest::new().extend(&[&cc::POLICY_OR.to_be_bytes(), &branches.concat()])
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The digest of the policy that an authority approves of: one PolicyPCR, and one PolicyNV where the approval is good up to a
/// limit only.
///
/// # Errors
/// As [`PcrSelection::digest_of`].
pub fn pcr_policy_digest(
    selection: &PcrSelection,
    values: &PcrValues,
    limit: Option<&CounterLimit>,
) -> Result<Vec<u8>> {
    let digest = PolicyDigest::new().pcr(selection, &selection.digest_of(values)?);
    Ok(limit.map_or_else(|| digest.clone(), |limit| digest.limit(limit)).into_bytes())
}
