//! Policies as they stand in key files (ASN.1 Specification for TPM 2.0 Key Files, 4 and 5): commands, each with its parameters
//! but without the session.
//!
//! Such a file has no place for the alternatives of a PolicyOR, but for the digests of them: a policy with alternatives can be
//! neither read nor written.

use super::authority::{Approval, AuthorityKey};
use super::{PcrState, Policy, PolicyStep};
use crate::error::{Error, Result};
use crate::state::pcr;
use crate::wire::constants::{alg, cc};
use crate::wire::hash::hash_from_alg;
use crate::wire::pcr::PcrSelection;
use crate::wire::pcr::PcrValues;
use crate::wire::public::PublicArea;
use crate::wire::signature::Signature;
use crate::wire::{Reader, Writer};

/// One command of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCommand {
    /// The TPM_CC.
    pub code: u32,
    /// Its marshalled parameters. For TPM2_PolicyAuthorize: TPM2B_PUBLIC of the authority, policyRef, TPMT_SIGNATURE.
    pub parameters: Vec<u8>,
}

const ANOTHER: Error = Error::Invalid("the policy in the file is not the one of the key");

impl Policy {
    /// The policy of a key with this public area, from its key file, and the approvals that stand there.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for commands that are not known here; [`Error::Invalid`] for a policy that is not the key's.
    pub fn from_key_file(
        public: &PublicArea,
        policy: &[PolicyCommand],
        auth_policies: &[Vec<PolicyCommand>],
    ) -> Result<(Policy, Vec<Approval>)> {
        let mut approvals = Vec::new();
        let mut authority = None;
        for commands in auth_policies {
            let (key, policy_ref, approval) = read_approval(commands)?;
            let step = PolicyStep::Authorize { key, policy_ref };
            if authority.get_or_insert_with(|| step.clone()) != &step {
                return Err(Error::Unsupported("a key file with approvals of several authorities".into()));
            }
            approvals.extend(approval);
        }
        let steps = policy.iter().map(read_step).collect::<Result<Vec<PolicyStep>>>()?;
        // Whoever has approvals may leave out what says that there must be one.
        let with_authority = authority.into_iter().chain(steps.iter().cloned()).collect();
        let candidates = [steps, with_authority].map(Policy::new);
        let found = candidates.into_iter().flatten().find(|policy| policy.digest() == public.auth_policy());
        Ok((found.ok_or(ANOTHER)?, approvals))
    }

    /// The commands, as a key file has them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for alternatives, and for steps that need another object.
    pub fn to_commands(&self) -> Result<Vec<PolicyCommand>> {
        self.steps().iter().map(write_step).collect()
    }
}

fn command(code: u32, parameters: Writer) -> Result<PolicyCommand> {
    Ok(PolicyCommand { code, parameters: parameters.finish()?.to_vec() })
}

fn write_step(step: &PolicyStep) -> Result<PolicyCommand> {
    let (code, parameters) = match step {
        PolicyStep::Pcr(state) => {
            (cc::POLICY_PCR, Writer::new().tpm2b(&state.digest).bytes(&state.selection.marshal()))
        }
        PolicyStep::Authorize { key, policy_ref } => {
            // The approvals have the signatures.
            (cc::POLICY_AUTHORIZE, Writer::new().tpm2b(key.public()).tpm2b(policy_ref).u16(alg::NULL))
        }
        PolicyStep::AuthValue => (cc::POLICY_AUTH_VALUE, Writer::new()),
        PolicyStep::CommandCode(code) => (cc::POLICY_COMMAND_CODE, Writer::new().u32(*code)),
        PolicyStep::Or(_) => return Err(Error::Unsupported("a policy with alternatives in a key file".into())),
        PolicyStep::Secret { .. } | PolicyStep::DuplicationSelect { .. } => {
            return Err(Error::Unsupported("a policy about another object in a key file".into()));
        }
    };
    command(code, parameters)
}

fn read_step(command: &PolicyCommand) -> Result<PolicyStep> {
    let mut reader = Reader::new(&command.parameters);
    let step = match command.code {
        cc::POLICY_PCR => {
            let digest = reader.tpm2b()?.to_vec();
            PolicyStep::Pcr(PcrState { selection: read_selection(&mut reader)?, digest, values: PcrValues::new() })
        }
        cc::POLICY_AUTHORIZE => {
            let (key, policy_ref, _) = read_authorize(&mut reader)?;
            PolicyStep::Authorize { key, policy_ref }
        }
        // Both have one digest: to the policy it does not matter whether the value is proved or shown.
        cc::POLICY_AUTH_VALUE | cc::POLICY_PASSWORD => PolicyStep::AuthValue,
        cc::POLICY_COMMAND_CODE => PolicyStep::CommandCode(reader.u32()?),
        cc::POLICY_OR => return Err(Error::Unsupported("a key file with alternatives in its policy".into())),
        code => return Err(Error::Unsupported(format!("a key file with the command {code:#x} in its policy"))),
    };
    reader.finish()?;
    Ok(step)
}

/// What was approved of and the approval: writers differ in the order. One that leaves the PCRs' digest to the present moment does
/// not tell what it is for, and is of no use here.
fn read_approval(commands: &[PolicyCommand]) -> Result<(AuthorityKey, Vec<u8>, Option<Approval>)> {
    let (pcr, authorize) = match commands {
        [pcr, authorize] if authorize.code == cc::POLICY_AUTHORIZE => (pcr, authorize),
        [authorize, pcr] if authorize.code == cc::POLICY_AUTHORIZE => (pcr, authorize),
        _ => return Err(Error::Unsupported("a key file with an approval of something else than PCRs".into())),
    };
    if pcr.code != cc::POLICY_PCR {
        return Err(Error::Unsupported("a key file with an approval of something else than PCRs".into()));
    }
    let mut reader = Reader::new(&pcr.parameters);
    let digest = reader.tpm2b()?.to_vec();
    let selection = read_selection(&mut reader)?;
    reader.finish()?;
    let mut reader = Reader::new(&authorize.parameters);
    let (key, policy_ref, signature) = read_authorize(&mut reader)?;
    reader.finish()?;
    let signature = signature.ok_or(Error::Invalid("an approval in the key file has no signature"))?;
    if digest.is_empty() {
        return Ok((key, policy_ref, None));
    }
    let state = PcrState { selection: selection.clone(), digest, values: PcrValues::new() };
    let approved = Policy::new(vec![PolicyStep::Pcr(state)])?;
    let approval = Approval::new(selection, approved.digest().to_vec(), signature)?;
    Ok((key, policy_ref, Some(approval)))
}

/// TPML_PCR_SELECTION of one bank, in the one form that has the same digest here.
fn read_selection(reader: &mut Reader<'_>) -> Result<PcrSelection> {
    let unusual = || Error::Unsupported("a key file with PCRs of several banks, or above 23, in its policy".into());
    if reader.u32()? != 1 {
        return Err(unusual());
    }
    let before = reader.rest();
    let (bank, pcrs) = pcr::read_selection(reader)?;
    let selection = PcrSelection::new(hash_from_alg(bank)?, pcrs)?;
    if !before.starts_with(&selection.marshal_one()) {
        return Err(unusual());
    }
    Ok(selection)
}

/// The authority, policyRef, and the signature if there is one.
fn read_authorize(reader: &mut Reader<'_>) -> Result<(AuthorityKey, Vec<u8>, Option<Signature>)> {
    let key = AuthorityKey::from_public(reader.tpm2b()?)?;
    let policy_ref = reader.tpm2b()?.to_vec();
    let algorithm = reader.u16()?;
    if algorithm == alg::NULL {
        return Ok((key, policy_ref, None));
    }
    let hash = hash_from_alg(reader.u16()?)?;
    let signature = match (algorithm, key.ec()) {
        (alg::RSASSA, None) => Signature::Rsa(reader.tpm2b()?.to_vec()),
        (alg::ECDSA, Some(ec)) => {
            let mut number = || crate::wire::signature::pad_left(reader.tpm2b()?, ec.curve().field_len());
            let (r, s) = (number()?, number()?);
            Signature::Ecc { r: r.expose().to_vec(), s: s.expose().to_vec() }
        }
        _ => return Err(Error::Unsupported("a key file with an approval by another scheme".into())),
    };
    if hash != key.hash() {
        return Err(Error::Unsupported("a key file with an approval by another hash than its authority's".into()));
    }
    Ok((key, policy_ref, Some(signature)))
}
