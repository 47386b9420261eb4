//! What a verifier found, in words and for programs.

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is as it should be.
    Good,
    /// It is not: the verdict is no.
    Bad,
    /// Nobody asked for it, or it cannot be known.
    Open,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, in a word.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
}

/// The verdict, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Is the key in a TPM of an authority that is trusted, and can it never leave it?
    pub verdict: bool,
    /// The key: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its kind, such as "P-256" or "RSA 2048".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// What was looked at, in its order.
    pub checks: Vec<Check>,
}

impl Report {
    /// What is wrong first of all.
    #[must_use]
    pub fn first_bad(&self) -> Option<&str> {
        self.checks.iter().find(|check| check.outcome == Outcome::Bad).map(|check| check.text.as_str())
    }

    pub(crate) fn good(&mut self, check: &'static str, text: impl Into<String>) {
        self.checks.push(Check { check, outcome: Outcome::Good, text: text.into() });
    }

    pub(crate) fn bad(&mut self, check: &'static str, text: impl Into<String>) {
        self.checks.push(Check { check, outcome: Outcome::Bad, text: text.into() });
    }

    pub(crate) fn open(&mut self, check: &'static str, text: impl Into<String>) {
        self.checks.push(Check { check, outcome: Outcome::Open, text: text.into() });
    }

    /// Either of two, each with what it says.
    pub(crate) fn judge(&mut self, check: &'static str, good: bool, yes: &str, no: &str) {
        match good {
            true => self.good(check, yes),
            false => self.bad(check, no),
        }
    }

    /// The verdict over all checks.
    pub(crate) fn conclude(mut self) -> Self {
        self.verdict = self.checks.iter().all(|check| check.outcome != Outcome::Bad);
        self
    }
}
