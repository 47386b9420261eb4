//! The ways to satisfy a policy: each a list of commands without any alternative left.

use std::collections::{BTreeMap, BTreeSet};

use base::digest::Hash;

use super::authority::{Approval, AuthorityKey};
use super::digest::pcr_policy_digest;
use super::{PcrState, Policy, PolicyStep, PolicyUse};
use crate::error::{Error, PolicyNotMet, Result};
use crate::wire::constants::cc;
use crate::wire::pcr::{PcrSelection, PcrValues};
use crate::wire::public::Name;

/// More ways than any sensible policy has, before it is said by which approval.
const MOST_WAYS: usize = 4096;

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

/// A way to satisfy a policy that leaves open by which approval. An authority is asked first or not at all, and so there is no
/// way with two.
#[derive(Clone, Debug, Default)]
struct Way<'a> {
    authority: Option<(&'a AuthorityKey, &'a [u8])>,
    rest: Plan<'a>,
}

impl<'a> Way<'a> {
    fn then(self, action: Action<'a>) -> Way<'a> {
        Way { rest: self.rest.then(action), ..self }
    }

    fn marked(self, mark: &[u8]) -> Way<'a> {
        Way { rest: self.rest.marked(mark), ..self }
    }

    fn plans(&self, approvals: &'a [Approval]) -> impl Iterator<Item = Plan<'a>> {
        let unasked = self.authority.is_none().then(|| self.rest.clone());
        let asked = self.authority.into_iter().flat_map(move |(key, policy_ref)| {
            approvals.iter().map(move |approval| self.by(key, policy_ref, approval))
        });
        unasked.into_iter().chain(asked)
    }

    fn by(&self, key: &'a AuthorityKey, policy_ref: &'a [u8], approval: &'a Approval) -> Plan<'a> {
        let first = Action::Authorize { key, policy_ref, approval };
        let id = [&approval.policy_digest[..], &approval.selection.marshal(), &self.rest.id].concat();
        Plan { actions: [first].into_iter().chain(self.rest.actions.iter().copied()).collect(), id }
    }
}

/// All ways to satisfy a policy. With many approvals they are many: they are made one after the other, and none is kept.
#[derive(Clone, Debug)]
pub(crate) struct Plans<'a> {
    ways: Vec<Way<'a>>,
    approvals: &'a [Approval],
    /// What was found to be no way: the `id` of each.
    void: Vec<Vec<u8>>,
}

impl<'a> Plans<'a> {
    /// Those with these means.
    pub(crate) fn new(policy: &PolicyUse<'a>, means: &Means<'_>) -> Result<Plans<'a>> {
        let mut ways = ways(policy.policy, means)?;
        ways.retain(|way| !means.by_name || way.rest.names_a_command());
        Ok(Plans { ways, approvals: policy.approvals, void: Vec::new() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Plan<'a>> {
        let all = self.ways.iter().flat_map(|way| way.plans(self.approvals));
        all.filter(|plan| !self.void.contains(&plan.id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The only one, if there is but one.
    pub(crate) fn only(&self) -> Option<Plan<'a>> {
        let mut plans = self.iter();
        plans.next().filter(|_| plans.next().is_none())
    }

    pub(crate) fn remove(&mut self, plan: Plan<'_>) {
        self.void.push(plan.id);
    }
}

fn ways<'a>(policy: &'a Policy, means: &Means<'_>) -> Result<Vec<Way<'a>>> {
    let mut ways = vec![Way::default()];
    for step in policy.steps() {
        if !means.allow(step) {
            return Ok(Vec::new());
        }
        ways = match step {
            // These two are first: there is one way, and nothing in it.
            PolicyStep::Or(branches) => {
                let mut all = Vec::new();
                for (mark, branch) in (0u8..).zip(branches) {
                    let inner = self::ways(branch, means)?;
                    all.extend(inner.into_iter().map(|way| way.marked(&[mark]).then(Action::Or(branches))));
                }
                all
            }
            PolicyStep::Authorize { key, policy_ref } => {
                vec![Way { authority: Some((key, policy_ref)), rest: Plan::default() }]
            }
            PolicyStep::Pcr(state) => append(ways, Action::Pcr(state)),
            PolicyStep::AuthValue => append(ways, Action::AuthValue),
            PolicyStep::CommandCode(code) => append(ways, Action::CommandCode(*code)),
            PolicyStep::Secret { .. } => append(ways, Action::Secret),
            PolicyStep::DuplicationSelect { new_parent, object } => {
                append(ways, Action::DuplicationSelect { new_parent, object: object.as_ref() })
            }
        };
        if ways.len() > MOST_WAYS {
            return Err(Error::Invalid("there are too many ways to satisfy the policy"));
        }
    }
    Ok(ways)
}

fn append<'a>(ways: Vec<Way<'a>>, action: Action<'a>) -> Vec<Way<'a>> {
    ways.into_iter().map(|way| way.then(action)).collect()
}

/// What has to be read to tell which plans will succeed: a selection for each bank. What was not signed has no say: with a PCR
/// that this TPM lacks it would keep all others from being read. Of many approvals for the same PCRs one signature is checked.
pub(crate) fn selections(plans: &Plans<'_>) -> Result<Vec<PcrSelection>> {
    let mut banks: BTreeMap<Hash, BTreeSet<u8>> = BTreeMap::new();
    for plan in plans.iter() {
        let selections = || plan.actions.iter().filter_map(Action::selection);
        let is_read = |selection: &PcrSelection| {
            let pcrs = banks.get(&selection.bank());
            selection.indices().all(|pcr| pcrs.is_some_and(|pcrs| pcrs.contains(&pcr)))
        };
        if selections().all(is_read) || !plan.is_signed() {
            continue;
        }
        for selection in selections() {
            banks.entry(selection.bank()).or_default().extend(selection.indices());
        }
    }
    banks.into_iter().map(|(bank, pcrs)| PcrSelection::new(bank, pcrs)).collect()
}

/// Why none of the plans succeeds with these values: the one that is nearest. What was not signed is no plan.
pub(crate) fn not_met(policy: &Policy, plans: &Plans<'_>, banks: &Banks) -> Error {
    let plans: Vec<Plan<'_>> = plans.iter().filter(Plan::is_signed).collect();
    let distance = |plan: &&Plan<'_>| plan.mismatches(banks).map(|action| action.distance(banks)).sum::<usize>();
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
