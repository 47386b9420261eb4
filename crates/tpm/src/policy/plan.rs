//! The ways to satisfy a policy: each a list of commands without any alternative left.

use std::collections::{BTreeMap, BTreeSet};

use base::digest::Hash;

use super::authority::{Approval, AuthorityKey};
use super::pcr::{PcrSelection, PcrValues, pcr_policy_digest};
use super::{PcrState, Policy, PolicyStep, PolicyUse};
use crate::error::{Error, PolicyNotMet, Result};
use crate::public::Name;
use crate::wire::constants::cc;

/// More ways than any sensible policy has, with all its approvals.
const MOST_PLANS: usize = 4096;

/// Values of PCRs, by bank.
pub(crate) type Banks = BTreeMap<Hash, PcrValues>;

/// What a policy has to be good for, and what there is to satisfy it with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means<'a> {
    /// The TPM_CC to be authorised; `None`: any.
    pub(crate) command: Option<u32>,
    /// Whether the command has the role ADMIN or DUP: then the policy has to name it (Part 1, 19.7.6).
    pub(crate) by_name: bool,
    /// Whether the authorisation value of the object is known.
    pub(crate) auth_value: bool,
    /// The object whose authorisation value can be proved, too.
    pub(crate) secret: Option<&'a Name>,
}

impl Means<'_> {
    /// To use a key, or to unseal.
    pub(crate) fn user(command: u32) -> Means<'static> {
        Means { command: Some(command), by_name: false, auth_value: true, secret: None }
    }

    fn allow(&self, step: &PolicyStep) -> bool {
        match step {
            PolicyStep::AuthValue => self.auth_value,
            PolicyStep::CommandCode(code) => self.command.is_none_or(|command| command == *code),
            PolicyStep::Secret { object } => self.secret == Some(object),
            PolicyStep::DuplicationSelect { .. } => self.command.is_none_or(|command| command == cc::DUPLICATE),
            PolicyStep::Pcr(_) | PolicyStep::Authorize { .. } | PolicyStep::Or(_) => true,
        }
    }
}

/// One command, or two for an approval.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    Pcr(&'a PcrState),
    Authorize { key: &'a AuthorityKey, policy_ref: &'a [u8], approval: &'a Approval },
    AuthValue,
    CommandCode(u32),
    Secret,
    DuplicationSelect { new_parent: &'a Name, object: Option<&'a Name> },
    Or(&'a [Policy]),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) actions: Vec<Action<'a>>,
    /// Tells it from the other plans for the same policy.
    pub(crate) id: Vec<u8>,
}

impl<'a> Plan<'a> {
    fn then(mut self, action: Action<'a>) -> Plan<'a> {
        self.actions.push(action);
        self
    }

    fn marked(mut self, mark: &[u8]) -> Plan<'a> {
        self.id.extend_from_slice(mark);
        self
    }

    fn names_a_command(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::CommandCode(_) | Action::DuplicationSelect { .. }))
    }

    /// Whether it succeeds with these values, as far as they go.
    pub(crate) fn matches(&self, banks: &Banks) -> bool {
        self.actions.iter().all(|action| action.matches(banks))
    }

    /// Whether each approval was signed by its authority.
    pub(crate) fn is_signed(&self) -> bool {
        self.actions.iter().all(|action| match action {
            Action::Authorize { key, policy_ref, approval } => approval.verify(key, policy_ref),
            _ => true,
        })
    }

    fn mismatches<'b>(&'b self, banks: &'b Banks) -> impl Iterator<Item = &'b Action<'a>> {
        self.actions.iter().filter(|action| !action.matches(banks))
    }
}

impl Action<'_> {
    fn selection(&self) -> Option<&PcrSelection> {
        match self {
            Action::Pcr(state) => Some(&state.selection),
            Action::Authorize { approval, .. } => Some(&approval.selection),
            _ => None,
        }
    }

    /// The PCRs of an approval that a counter can make void.
    pub(crate) fn limited(&self) -> Option<&PcrSelection> {
        match self {
            Action::Authorize { approval, .. } if approval.limit.is_some() => Some(&approval.selection),
            _ => None,
        }
    }

    fn is_approval(&self) -> bool {
        matches!(self, Action::Authorize { .. })
    }

    fn matches(&self, banks: &Banks) -> bool {
        let none = PcrValues::new();
        let values = |selection: &PcrSelection| banks.get(&selection.bank()).unwrap_or(&none);
        match self {
            Action::Pcr(state) => {
                let present = state.selection.digest_of(values(&state.selection));
                present.is_ok_and(|present| present == state.digest)
            }
            Action::Authorize { approval, .. } => {
                let present =
                    pcr_policy_digest(&approval.selection, values(&approval.selection), approval.limit.as_ref());
                present.is_ok_and(|present| present == approval.policy_digest)
            }
            _ => true,
        }
    }

    /// The PCRs whose values are known to be others than those wanted.
    fn differing(&self, banks: &Banks) -> Vec<u8> {
        let Action::Pcr(state) = self else { return Vec::new() };
        let present = banks.get(&state.selection.bank());
        let differs = |(pcr, value): (&u8, &Vec<u8>)| {
            (present.and_then(|present| present.get(pcr)) != Some(value)).then_some(*pcr)
        };
        state.values.iter().filter_map(differs).collect()
    }

    /// How many PCRs differ, at worst.
    fn distance(&self, banks: &Banks) -> usize {
        match self.differing(banks).len() {
            0 => self.selection().map_or(0, |selection| selection.indices().count()),
            differing => differing,
        }
    }
}

/// That the TPM made void the approval of the present state of these PCRs.
pub(crate) fn revoked(selection: &PcrSelection, plans: usize) -> Error {
    let (selection, differing) = (Some(selection.clone()), Vec::new());
    Error::PolicyNotMet(PolicyNotMet { selection, differing, approvals: Some(plans), revoked: true })
}

/// All ways to satisfy the policy with these means.
pub(crate) fn plans<'a>(policy: &PolicyUse<'a>, means: &Means<'_>) -> Result<Vec<Plan<'a>>> {
    let mut plans = ways(policy.policy, policy.approvals, means)?;
    plans.retain(|plan| !means.by_name || plan.names_a_command());
    Ok(plans)
}

fn ways<'a>(policy: &'a Policy, approvals: &'a [Approval], means: &Means<'_>) -> Result<Vec<Plan<'a>>> {
    let mut plans = vec![Plan::default()];
    for step in policy.steps() {
        if !means.allow(step) {
            return Ok(Vec::new());
        }
        plans = match step {
            // These two are first: there is one plan, and nothing in it.
            PolicyStep::Or(branches) => {
                let mut all = Vec::new();
                for (mark, branch) in (0u8..).zip(branches) {
                    let inner = ways(branch, approvals, means)?;
                    all.extend(inner.into_iter().map(|plan| plan.marked(&[mark]).then(Action::Or(branches))));
                }
                all
            }
            PolicyStep::Authorize { key, policy_ref } => {
                let by = |approval: &'a Approval| {
                    Plan::default()
                        .marked(&approval.policy_digest)
                        .marked(&approval.selection.marshal())
                        .then(Action::Authorize { key, policy_ref, approval })
                };
                approvals.iter().map(by).collect()
            }
            PolicyStep::Pcr(state) => append(plans, Action::Pcr(state)),
            PolicyStep::AuthValue => append(plans, Action::AuthValue),
            PolicyStep::CommandCode(code) => append(plans, Action::CommandCode(*code)),
            PolicyStep::Secret { .. } => append(plans, Action::Secret),
            PolicyStep::DuplicationSelect { new_parent, object } => {
                append(plans, Action::DuplicationSelect { new_parent, object: object.as_ref() })
            }
        };
        if plans.len() > MOST_PLANS {
            return Err(Error::Invalid("there are too many ways to satisfy the policy"));
        }
    }
    Ok(plans)
}

fn append<'a>(plans: Vec<Plan<'a>>, action: Action<'a>) -> Vec<Plan<'a>> {
    plans.into_iter().map(|plan| plan.then(action)).collect()
}

/// What has to be read to tell which plans will succeed: a selection for each bank. What was not signed has no say: with a PCR
/// that this TPM lacks it would keep all others from being read.
pub(crate) fn selections(plans: &[Plan<'_>]) -> Result<Vec<PcrSelection>> {
    let mut banks: BTreeMap<Hash, BTreeSet<u8>> = BTreeMap::new();
    let signed = plans.iter().filter(|plan| plan.is_signed());
    for selection in signed.flat_map(|plan| plan.actions.iter().filter_map(Action::selection)) {
        banks.entry(selection.bank()).or_default().extend(selection.indices());
    }
    banks.into_iter().map(|(bank, pcrs)| PcrSelection::new(bank, pcrs)).collect()
}

/// Why none of the plans succeeds with these values: the one that is nearest. What was not signed is no plan.
pub(crate) fn not_met(policy: &Policy, plans: &[Plan<'_>], banks: &Banks) -> Error {
    let plans: Vec<&Plan<'_>> = plans.iter().filter(|plan| plan.is_signed()).collect();
    let distance = |plan: &&&Plan<'_>| plan.mismatches(banks).map(|action| action.distance(banks)).sum::<usize>();
    let mismatch = plans.iter().min_by_key(distance).and_then(|nearest| nearest.mismatches(banks).next().copied());
    match mismatch {
        Some(action) => Error::PolicyNotMet(PolicyNotMet {
            selection: action.selection().cloned(),
            differing: action.differing(banks),
            revoked: false,
            approvals: action
                .is_approval()
                .then(|| plans.iter().filter(|plan| plan.actions.iter().any(Action::is_approval)).count()),
        }),
        None if plans.is_empty() && !policy.authorities().is_empty() => Error::PolicyNotMet(PolicyNotMet {
            selection: None,
            differing: Vec::new(),
            approvals: Some(0),
            revoked: false,
        }),
        None => Error::PolicyFailed,
    }
}
