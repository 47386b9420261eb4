//! A policy satisfied in a session of the TPM: which way to go, and what to do when that fails.

use std::time::Duration;

use base::Secret;
use log::{debug, info, warn};

use super::PolicyUse;
use super::authority::{Approval, AuthorityKey};
use super::plan::{Action, Banks, Means, Plan, Plans, not_met, revoked, selections};
use crate::connection::{Approved, Connection, Pauses, Protection};
use crate::error::{Error, Result};
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Authorization, Command, Handle};
use crate::state::counter::{self, CounterLimit};
use crate::state::pcr;
use crate::wire::Writer;
use crate::wire::constants::{alg, cc, rh, st};
use crate::wire::hash::hash_alg;
use crate::wire::pcr::PcrSelection;
use crate::wire::public::Name;
use crate::wire::signature::Signature;
use crate::words::ResponseCode;

/// So often a policy is tried again for one use, whatever happens meanwhile.
const MOST_TRIES: usize = 8;
/// The pauses when others extend PCRs faster than a policy is run: short, because any gap between two extensions will do.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

fn approved<'a>(key: &'a AuthorityKey, policy_ref: &'a [u8], approval: &'a Approval) -> Approved<'a> {
    Approved { authority: key.name(), policy_ref, policy_digest: &approval.policy_digest }
}

/// The approvals that a plan needs.
fn approvals<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = Approved<'a>> {
    plan.actions.iter().filter_map(|action| match action {
        Action::Authorize { key, policy_ref, approval } => Some(approved(key, policy_ref, approval)),
        _ => None,
    })
}

/// Whether the approvals of the plan, if any, were found to be signed before.
fn is_vouched_for(connection: &Connection, plan: &Plan<'_>) -> bool {
    approvals(plan).all(|approved| connection.memory().ticket(&approved).is_some())
}

/// The object whose authorisation value is proved for a step that asks for it.
#[derive(Debug)]
pub(crate) struct SecretProof<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) entity: Entity<'a>,
    pub(crate) protection: &'a mut Protection,
}

/// Which command of a policy failed, where that says what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The PCRs are others than the plan needs.
    Mismatch,
    /// The TPM does not know its ticket any more.
    Ticket,
    /// A counter has made the approval void.
    Revoked,
    /// The session is not in the state that it should be in.
    Session,
}

/// One use of a policy: [`prepare`](Choice::prepare), [`satisfy`](Choice::satisfy), the command; and after an error
/// [`again`](Choice::again), which says whether to do it all once more.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    policy: PolicyUse<'a>,
    plans: Plans<'a>,
    /// Whether there was something to choose.
    several: bool,
    /// The plan of this try.
    chosen: Plan<'a>,
    /// Whether the PCRs must be read before the next try.
    look: bool,
    failure: Option<Failure>,
    tries: usize,
    pauses: Pauses,
    /// PCRs whose present state was approved of by what is void now.
    revoked: Option<PcrSelection>,
    session_renewed: bool,
    ticket_renewed: bool,
}

impl<'a> Choice<'a> {
    pub(crate) fn new(policy: PolicyUse<'a>, means: &Means<'_>) -> Result<Choice<'a>> {
        let plans = Plans::new(&policy, means)?;
        Ok(Choice {
            policy,
            several: !plans.is_empty() && plans.only().is_none(),
            plans,
            chosen: Plan::default(),
            look: false,
            failure: None,
            tries: 0,
            pauses: Pauses::up_to(LONGEST_PAUSE),
            revoked: None,
            session_renewed: false,
            ticket_renewed: false,
        })
    }

    /// Chooses a plan, and has its approvals checked by the TPM. No command if there is but one plan, or one that succeeded before,
    /// and its tickets are there; else PCR_Read, and LoadExternal, VerifySignature, FlushContext.
    pub(crate) fn prepare(&mut self, connection: &mut Connection) -> Result<()> {
        self.chosen = self.choose(connection)?;
        for action in self.chosen.actions.clone() {
            if let Action::Authorize { key, policy_ref, approval } = action
                && connection.memory().ticket(&approved(key, policy_ref, approval)).is_none()
            {
                let bytes = verify_signature(connection, key, policy_ref, approval)?;
                connection.memory().add_ticket(&approved(key, policy_ref, approval), bytes);
            }
        }
        Ok(())
    }

    fn choose(&mut self, connection: &mut Connection) -> Result<Plan<'a>> {
        if self.plans.is_empty() {
            if let Some(selection) = &self.revoked {
                return Err(revoked(selection, 1));
            }
            return Err(not_met(self.policy.policy, &self.plans, &Banks::new()));
        }
        if !self.look {
            let likely = self.plans.only().or_else(|| {
                let last = connection.memory().last_plan(self.policy.policy.digest())?;
                self.plans.iter().find(|plan| plan.id == last)
            });
            match likely {
                Some(plan) if is_vouched_for(connection, &plan) || plan.is_signed() => return Ok(plan),
                Some(_) => warn!("an approval is not signed by the authority of the policy, and ignored"),
                None => {}
            }
        }
        let banks = read_banks(connection, &self.plans)?;
        let fitting = self.plans.iter().find(|plan| plan.matches(&banks) && plan.is_signed());
        fitting.ok_or_else(|| match &self.revoked {
            Some(selection) => revoked(selection, self.plans.iter().count() + 1),
            None => not_met(self.policy.policy, &self.plans, &banks),
        })
    }

    /// Runs the policy's commands in the session of `protection`.
    pub(crate) fn satisfy(
        &mut self,
        connection: &mut Connection,
        protection: &mut Protection,
        mut secret: Option<SecretProof<'_>>,
    ) -> Result<()> {
        let session = protection.session.as_mut().ok_or(Error::Invalid("a policy needs a session"))?;
        let handle = Handle::plain(session.handle);
        if std::mem::replace(&mut session.begun, true) {
            let command = connection.command(cc::POLICY_RESTART, vec![handle.clone()], Writer::new())?;
            connection.execute(&command, &mut [])?;
        }
        session.kind = Kind::POLICY;
        // A word given for a session with a key is for that session alone, whatever stands at its handle by then.
        let nonce = if session.has_key() { session.nonce_tpm.clone() } else { Vec::new() };
        for action in &self.chosen.actions {
            let result = run(connection, &handle, &nonce, action, secret.as_mut());
            if let Err((failure, error)) = result {
                self.failure = failure;
                return Err(error);
            }
            if matches!(action, Action::AuthValue) {
                session.kind = Kind::Policy { auth_value: true };
            }
        }
        Ok(())
    }

    /// The command that the policy was for succeeded.
    pub(crate) fn succeeded(&self, connection: &Connection, protection: &mut Protection) {
        if let Some(session) = &mut protection.session {
            // A policy session that goes on is as after PolicyRestart (Part 1, 19.7.11).
            session.begun = false;
            session.kind = Kind::POLICY;
        }
        if self.several {
            connection.memory().set_last_plan(self.policy.policy.digest(), &self.chosen.id);
        }
    }

    /// After an error of [`Choice::satisfy`] or of the command: whether it is worth another try. `reused` tells that the session
    /// was there before; with `Ok(true)` it had better be a new one.
    pub(crate) fn again(&mut self, connection: &Connection, error: Error, reused: bool) -> Result<bool> {
        let failure = self.failure.take();
        if matches!(error, Error::Response(ResponseCode::PCR_CHANGED)) {
            // Any PCR counts, and not only those of the policy. That the policy is not met is found by the policy.
            info!("a PCR was extended between the policy and its use: once more");
            if !self.pauses.pause(connection.options().patience) {
                return Err(Error::Busy);
            }
            self.look = self.plans.only().is_none();
            return Ok(false);
        }
        self.tries += 1;
        if self.tries >= MOST_TRIES {
            // They were read each time, and were what the policy wants.
            let changing = failure == Some(Failure::Mismatch);
            let refused = if changing { Error::Busy } else { Error::PolicyFailed };
            return Err(if matches!(error, Error::Response(_)) { refused } else { error });
        }
        match failure {
            // Not every TPM says which parameter it means: after a new ticket it may still be the PCRs.
            Some(Failure::Ticket) if self.ticket_renewed => {
                self.look = true;
                Ok(false)
            }
            Some(Failure::Mismatch) => {
                self.look = true;
                Ok(false)
            }
            Some(Failure::Revoked) => {
                let void = std::mem::take(&mut self.chosen);
                self.revoked = void.actions.iter().find_map(Action::limited).cloned();
                self.plans.remove(void);
                self.look = true;
                Ok(false)
            }
            Some(Failure::Ticket) => {
                self.ticket_renewed = true;
                for approved in approvals(&self.chosen) {
                    connection.memory().drop_ticket(&approved);
                }
                Ok(false)
            }
            Some(Failure::Session) | None if failure.is_some() || error == Error::PolicyFailed => {
                // Somebody else's session by now, or what was remembered of it is wrong.
                if self.session_renewed || !reused {
                    return Err(Error::PolicyFailed);
                }
                self.session_renewed = true;
                self.look = true;
                Ok(true)
            }
            _ => Err(error),
        }
    }
}

/// Whether the present state satisfies the policy: PCR_Read for each bank.
pub(crate) fn check(connection: &mut Connection, policy: &PolicyUse<'_>) -> Result<()> {
    let means = Means { command: None, by_name: false, auth_value: true, secret: None };
    let plans = Plans::new(policy, &means)?;
    let banks = read_banks(connection, &plans)?;
    let mut void = None;
    for plan in plans.iter().filter(|plan| plan.matches(&banks) && plan.is_signed()) {
        match void_approval(connection, &plan)? {
            None => return Ok(()),
            Some(selection) => void = Some(selection.clone()),
        }
    }
    Err(match void {
        Some(selection) => revoked(&selection, plans.iter().count()),
        None => not_met(policy.policy, &plans, &banks),
    })
}

/// The PCRs of an approval of the plan that its counter has made void.
fn void_approval<'p>(connection: &mut Connection, plan: &'p Plan<'_>) -> Result<Option<&'p PcrSelection>> {
    for action in &plan.actions {
        if let Action::Authorize { approval: Approval { selection, limit: Some(limit), .. }, .. } = action {
            match counter::read(connection, &limit.counter) {
                Ok(value) if value <= limit.most => {}
                Ok(_) | Err(Error::CounterMissing) => return Ok(Some(selection)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn read_banks(connection: &mut Connection, plans: &Plans<'_>) -> Result<Banks> {
    let mut banks = Banks::new();
    for selection in selections(plans)? {
        match pcr::read(connection, &selection) {
            Ok(values) => {
                banks.insert(selection.bank(), values);
            }
            // What is not there does not match.
            Err(Error::Unsupported(text)) => debug!("{text}"),
            Err(error) => return Err(error),
        }
    }
    Ok(banks)
}

fn run(
    connection: &mut Connection,
    session: &Handle,
    nonce: &[u8],
    action: &Action<'_>,
    secret: Option<&mut SecretProof<'_>>,
) -> std::result::Result<(), (Option<Failure>, Error)> {
    let plain = |error| (None, error);
    let parameters = match action {
        Action::Pcr(state) => Writer::new().tpm2b(&state.digest).bytes(&state.selection.marshal()),
        Action::Authorize { key, policy_ref, approval } => {
            return authorize(connection, session, key, policy_ref, approval);
        }
        Action::Secret => {
            let proof = secret.ok_or(plain(Error::Invalid("the policy needs another object's authorisation")))?;
            return prove_secret(connection, session, nonce, proof).map_err(plain);
        }
        Action::AuthValue => Writer::new(),
        Action::CommandCode(code) => Writer::new().u32(*code),
        Action::DuplicationSelect { new_parent, object } => Writer::new()
            .tpm2b(object.map_or(&[], Name::as_bytes))
            .tpm2b(new_parent.as_bytes())
            .u8(u8::from(object.is_some())),
        Action::Or(branches) => {
            let count = u32::try_from(branches.len()).map_err(|_| plain(Error::Invalid("too many branches")))?;
            branches.iter().fold(Writer::new().u32(count), |list, branch| list.tpm2b(branch.digest()))
        }
    };
    let code = match action {
        Action::Pcr(_) => cc::POLICY_PCR,
        Action::CommandCode(_) => cc::POLICY_COMMAND_CODE,
        Action::DuplicationSelect { .. } => cc::POLICY_DUPLICATION_SELECT,
        Action::Or(_) => cc::POLICY_OR,
        Action::AuthValue | Action::Authorize { .. } | Action::Secret => cc::POLICY_AUTH_VALUE,
    };
    let command = connection.command(code, vec![session.clone()], parameters).map_err(plain)?;
    connection.execute(&command, &mut []).map(drop).map_err(|error| {
        let failure = match &error {
            Error::Response(code) if code.base() == ResponseCode::VALUE => match action {
                Action::Pcr(_) => Some(Failure::Mismatch),
                _ => Some(Failure::Session),
            },
            _ => None,
        };
        (failure, error)
    })
}

/// PolicyPCR with the present values, PolicyAuthorize.
fn authorize(
    connection: &mut Connection,
    session: &Handle,
    key: &AuthorityKey,
    policy_ref: &[u8],
    approval: &Approval,
) -> std::result::Result<(), (Option<Failure>, Error)> {
    let plain = |error| (None, error);
    let parameters = Writer::new().tpm2b(&[]).bytes(&approval.selection.marshal());
    let command = connection.command(cc::POLICY_PCR, vec![session.clone()], parameters).map_err(plain)?;
    connection.execute(&command, &mut []).map_err(plain)?;
    if let Some(limit) = &approval.limit {
        check_limit(connection, session, limit)?;
    }
    let ticket = connection.memory().ticket(&approved(key, policy_ref, approval));
    let ticket = ticket.ok_or((Some(Failure::Ticket), Error::PolicyFailed))?;
    let parameters =
        Writer::new().tpm2b(&approval.policy_digest).tpm2b(policy_ref).tpm2b(key.name().as_bytes()).bytes(&ticket);
    let command = connection.command(cc::POLICY_AUTHORIZE, vec![session.clone()], parameters).map_err(plain)?;
    connection.execute(&command, &mut []).map(drop).map_err(|error| {
        let failure = match &error {
            // approvedPolicy is the first parameter, checkTicket the fourth.
            Error::Response(code) if code.is_parameter(ResponseCode::VALUE, 1) => Some(Failure::Mismatch),
            Error::Response(code) if matches!(code.base(), ResponseCode::VALUE | ResponseCode::TICKET) => {
                Some(Failure::Ticket)
            }
            _ => None,
        };
        (failure, error)
    })
}

/// PolicyNV; NV_ReadPublic before it where the counter was not seen before.
fn check_limit(
    connection: &mut Connection,
    session: &Handle,
    limit: &CounterLimit,
) -> std::result::Result<(), (Option<Failure>, Error)> {
    counter::find(connection, &limit.counter).map_err(|error| {
        let void = error == Error::CounterMissing;
        (void.then_some(Failure::Revoked), error)
    })?;
    let (operand, offset, operation) = limit.operand();
    let parameters = Writer::new().tpm2b(&operand).u16(offset).u16(operation);
    let handles = vec![limit.counter.handle(), limit.counter.handle(), session.clone()];
    let command = connection.command(cc::POLICY_NV, handles, parameters).map_err(|error| (None, error))?;
    let none = Secret::zeroed(0);
    connection.execute(&command, &mut [Authorization::Password(&none)]).map(drop).map_err(|error| {
        // Above the limit; or removed: the first two handles are those of the counter, the third is the session's.
        let another = |code: &ResponseCode| (1..=2).all(|number| !code.is_handle(ResponseCode::HANDLE, number));
        let error = match error {
            Error::Response(code) if code.base() == ResponseCode::HANDLE && another(&code) => error,
            error => counter::lost(connection, &limit.counter, error),
        };
        let void = matches!(error, Error::CounterMissing | Error::Response(ResponseCode::POLICY));
        (void.then_some(Failure::Revoked), error)
    })
}

fn prove_secret(
    connection: &mut Connection,
    session: &Handle,
    nonce: &[u8],
    proof: &mut SecretProof<'_>,
) -> Result<()> {
    // nonceTPM, cpHashA, policyRef, expiration
    let parameters = Writer::new().tpm2b(nonce).tpm2b(&[]).tpm2b(&[]).u32(0);
    let handles = vec![proof.handle.clone(), session.clone()];
    let command = connection.command(cc::POLICY_SECRET, handles, parameters)?;
    let authorization = proof.protection.authorize(proof.entity, false, false);
    connection.execute(&command, &mut [authorization]).map(drop)
}

/// LoadExternal, VerifySignature, FlushContext: the TPMT_TK_VERIFIED of an approval.
fn verify_signature(
    connection: &mut Connection,
    key: &AuthorityKey,
    policy_ref: &[u8],
    approval: &Approval,
) -> Result<Vec<u8>> {
    let handle = load_authority(connection, key)?;
    let hash = key.hash();
    let digest = hash.digest(&[&approval.policy_digest, policy_ref]);
    let parameters = Writer::new().tpm2b(&digest);
    let parameters = match &approval.signature {
        Signature::Rsa(signature) => parameters.u16(alg::RSASSA).u16(hash_alg(hash)?).tpm2b(signature),
        Signature::Ecc { r, s } => parameters.u16(alg::ECDSA).u16(hash_alg(hash)?).tpm2b(r).tpm2b(s),
    };
    let handles = vec![Handle::object(handle, key.name())];
    let command = connection.command(cc::VERIFY_SIGNATURE, handles, parameters)?;
    let response = connection.execute(&command, &mut []).map_err(|error| unsupported(error, key))?;
    let mut reader = response.reader();
    let (tag, hierarchy, digest) = (reader.u16()?, reader.u32()?, reader.tpm2b()?);
    let ticket = Writer::new().u16(tag).u32(hierarchy).tpm2b(digest).finish()?.to_vec();
    reader.finish()?;
    if tag != st::VERIFIED {
        return Err(Error::Malformed("the ticket of a signature is none"));
    }
    // The key that is used next may need the place.
    connection.end_temporary(handle)?;
    Ok(ticket)
}

/// Whether the TPM takes the key of an authority: LoadExternal, FlushContext. What it does not, no policy should name.
pub(crate) fn check_authority(connection: &mut Connection, key: &AuthorityKey) -> Result<()> {
    let handle = load_authority(connection, key)?;
    connection.end_temporary(handle)
}

fn load_authority(connection: &mut Connection, key: &AuthorityKey) -> Result<u32> {
    // inPrivate: there is none. A ticket is made for a hierarchy only.
    let parameters = Writer::new().tpm2b(&[]).tpm2b(key.public()).u32(rh::OWNER).finish()?;
    let deadline = connection.options().deadline;
    let command = Command { code: cc::LOAD_EXTERNAL, handles: Vec::new(), parameters, returns_handle: true, deadline };
    let response = connection.execute(&command, &mut []).map_err(|error| unsupported(error, key))?;
    let handle = response.handle()?;
    connection.add_temporary(handle, key.name());
    if response.reader().tpm2b()? != key.name().as_bytes() {
        return Err(Error::NameMismatch);
    }
    Ok(handle)
}

/// Signatures were checked before: what the TPM refuses is the kind of key.
fn unsupported(error: Error, key: &AuthorityKey) -> Error {
    match error {
        Error::Response(code) => Error::Unsupported(format!("this TPM cannot check what {key:?} signs: {code}")),
        error => error,
    }
}
