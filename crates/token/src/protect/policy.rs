//! The policy of a key or of a whole token, as the store has it.

use std::fmt;
use std::sync::Arc;

use base::Secret;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Length of a key's auth value: it is random, so that a session bound to the key cannot be guessed open.
const AUTH_LEN: usize = 32;

/// A policy with the text it is stored as, which is what rows are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPolicy {
    policy: tpm::Policy,
    text: String,
}

/// The stored form, JSON. The digest is what the TPM has; it tells an altered policy before the TPM is asked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    policy: tpm::Policy,
    digest: String,
}

impl BoundPolicy {
    /// A policy, and the text for it.
    ///
    /// # Errors
    /// [`Error::General`] if it cannot be written.
    pub fn new(policy: tpm::Policy) -> Result<Self> {
        let stored = Stored { digest: base::hex::encode(policy.digest()), policy };
        let text = serde_json::to_string(&stored).map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { policy: stored.policy, text })
    }

    /// What a row says, if it makes sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let right = stored.digest == base::hex::encode(stored.policy.digest());
        right.then(|| Self { policy: stored.policy, text: text.to_owned() })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &tpm::Policy {
        &self.policy
    }

    /// What stands in the row.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same policy, for which the PIN is needed as well.
    pub(crate) fn with_pin(&self) -> Result<Self> {
        if self.always_asks_for_the_pin() {
            return Ok(self.clone());
        }
        let mut steps = self.policy.steps().to_vec();
        steps.push(tpm::PolicyStep::AuthValue);
        Self::new(tpm::Policy::new(steps)?)
    }

    /// There is no way to satisfy it without the PIN.
    pub(crate) fn always_asks_for_the_pin(&self) -> bool {
        self.policy.always_needs_auth_value()
    }

    /// Nothing but the state of the machine is asked for: no PIN stands behind it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.policy.needs_auth_value()
    }
}

/// The auth value of a new key: random, or empty where no policy asks for it.
///
/// # Errors
/// The operating system has no random numbers.
pub fn new_auth(policy: Option<&BoundPolicy>) -> Result<Secret> {
    let len = if policy.is_some_and(BoundPolicy::is_free) { 0 } else { AUTH_LEN };
    Ok(Secret::new(base::random::bytes(len)?))
}

/// What the row of a new key hides.
pub(crate) fn kept(auth: Secret) -> Option<Secret> {
    (!auth.is_empty()).then_some(auth)
}

/// The policy as the TPM layer takes it.
pub(crate) fn of_tpm(policy: &Option<Arc<BoundPolicy>>) -> Option<&tpm::Policy> {
    policy.as_deref().map(BoundPolicy::policy)
}

impl fmt::Display for BoundPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> BoundPolicy {
        let selection: tpm::PcrSelection = "sha256:0,7".parse().unwrap();
        let values = tpm::PcrValues::from([(0, vec![1; 32]), (7, vec![2; 32])]);
        let steps = vec![tpm::PolicyStep::pcr(selection, &values).unwrap(), tpm::PolicyStep::AuthValue];
        BoundPolicy::new(tpm::Policy::new(steps).unwrap()).unwrap()
    }

    #[test]
    fn what_was_stored_is_what_is_read() {
        let policy = policy();
        assert_eq!(BoundPolicy::parse(policy.text()), Some(policy.clone()));
        assert_eq!(policy.to_string(), "sha256:0,7 + PIN");
        assert!(!policy.is_free());
    }

    #[test]
    fn what_was_altered_is_refused() {
        let text = policy().text().to_owned();
        for (from, to) in [
            ("sha256:0,7", "sha256:0,8"),
            ("\"auth_value\"", "\"another_step\""),
            (",\"auth_value\"", ""),
            ("\"digest\":\"", "\"digest\":\"00"),
            ("{\"policy\"", "{\"more\":1,\"policy\""),
        ] {
            let altered = text.replacen(from, to, 1);
            assert_ne!(altered, text, "{from}");
            assert_eq!(BoundPolicy::parse(&altered), None, "{altered}");
        }
        for text in ["", "{}", "[]", "null", "{\"policy\":[],\"digest\":\"\"}"] {
            assert_eq!(BoundPolicy::parse(text), None, "{text}");
        }
    }
}
