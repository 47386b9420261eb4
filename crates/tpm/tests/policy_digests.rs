//! The digests of policies against another implementation: a TPM's own, in trial sessions of tpm2-tss.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use std::str::FromStr;

use authority::{Authority, now, pcrs, policy};
use base::digest::Hash;
use common::{Stage, at, p256};
use swtpm_fixtures::{SwTpm, leftovers};
use tpm::{PcrSelection, Policy, PolicyStep};
use tss_esapi::constants::{CommandCode, SessionType};
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Digest, DigestList, Name, Nonce, PcrSelectionList, PcrSelectionListBuilder, PcrSlot, Private, Public,
    SymmetricDefinition, VerifiedTicket,
};
use tss_esapi::traits::UnMarshall;
use tss_esapi::{Context, TctiNameConf};

/// As many as PolicyOR takes.
const CODES: [u32; 8] = [0x14b, 0x150, 0x153, 0x154, 0x155, 0x159, 0x15d, 0x15e];

fn digest(bytes: &[u8]) -> Digest {
    Digest::try_from(bytes.to_vec()).unwrap()
}

fn name(name: &tpm::Name) -> Name {
    Name::try_from(name.as_bytes().to_vec()).unwrap()
}

fn selection(selection: &PcrSelection) -> PcrSelectionList {
    let bank = match selection.bank() {
        Hash::Sha1 => HashingAlgorithm::Sha1,
        Hash::Sha384 => HashingAlgorithm::Sha384,
        Hash::Sha512 => HashingAlgorithm::Sha512,
        _ => HashingAlgorithm::Sha256,
    };
    let slots: Vec<PcrSlot> = selection.indices().map(|pcr| PcrSlot::try_from(1u32 << pcr).unwrap()).collect();
    PcrSelectionListBuilder::new().with_selection(bank, &slots).build().unwrap()
}

/// Their TPM, with the security officer's object loaded.
struct Theirs {
    context: Context,
    so: KeyHandle,
}

impl Theirs {
    fn new(swtpm: &SwTpm, stage: &Stage) -> Theirs {
        let mut context = Context::new(TctiNameConf::from_str(&swtpm.tcti()).unwrap()).unwrap();
        let parent = TpmHandle::Persistent(PersistentTpmHandle::new(0x8100_0001).unwrap());
        let parent: KeyHandle = context.tr_from_tpm_public(parent).unwrap().into();
        let so = context
            .execute_with_nullauth_session(|context| {
                let private = Private::try_from(stage.so.private[2..].to_vec()).unwrap();
                context.load(parent, private, Public::unmarshall(&stage.so.public[2..]).unwrap())
            })
            .unwrap();
        let auth = stage.so_auth.expose().to_vec().try_into().unwrap();
        context.tr_set_auth(so.into(), auth).unwrap();
        Theirs { context, so }
    }

    fn digest(&mut self, policy: &Policy) -> Vec<u8> {
        let mut branches = DigestList::new();
        if let [PolicyStep::Or(all), ..] = policy.steps() {
            for branch in all {
                branches.add(digest(&self.digest(branch))).unwrap();
            }
        }
        let session: PolicySession = self
            .context
            .start_auth_session(
                None,
                None,
                None,
                SessionType::Trial,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
            .unwrap()
            .unwrap()
            .try_into()
            .unwrap();
        for step in policy.steps() {
            self.step(session, step, &branches);
        }
        let digest = self.context.policy_get_digest(session).unwrap().value().to_vec();
        self.context.flush_context(ObjectHandle::from(SessionHandle::from(session))).unwrap();
        digest
    }

    fn step(&mut self, session: PolicySession, step: &PolicyStep, branches: &DigestList) {
        let context = &mut self.context;
        match step {
            PolicyStep::Pcr(state) => {
                context.policy_pcr(session, digest(&state.digest), selection(&state.selection)).unwrap();
            }
            PolicyStep::Authorize { key, policy_ref } => {
                // A trial session takes any ticket.
                let ticket = tss_esapi::tss2_esys::TPMT_TK_VERIFIED {
                    tag: tss_esapi::constants::tss::TPM2_ST_VERIFIED,
                    hierarchy: tss_esapi::constants::tss::TPM2_RH_OWNER,
                    digest: digest(&[0; 32]).into(),
                };
                let reference = Nonce::try_from(policy_ref.clone()).unwrap();
                let ticket = VerifiedTicket::try_from(ticket).unwrap();
                context.policy_authorize(session, digest(&[0; 32]), reference, &name(key.name()), ticket).unwrap();
            }
            PolicyStep::AuthValue => context.policy_auth_value(session).unwrap(),
            PolicyStep::CommandCode(code) => {
                context.policy_command_code(session, CommandCode::try_from(*code).unwrap()).unwrap();
            }
            PolicyStep::Secret { .. } => {
                let so = AuthHandle::from(ObjectHandle::from(self.so));
                context
                    .execute_with_nullauth_session(|context| {
                        context.policy_secret(session, so, Nonce::default(), digest(&[]), Nonce::default(), None)
                    })
                    .unwrap();
            }
            PolicyStep::DuplicationSelect { new_parent, object } => {
                // Of no account where it is not included.
                let object_name = name(object.as_ref().unwrap_or(new_parent));
                context.policy_duplication_select(session, object_name, name(new_parent), object.is_some()).unwrap();
            }
            PolicyStep::Or(_) => context.policy_or(session, branches.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn digests_are_those_of_a_trial_session() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&swtpm.tcti());
    tpm.release();
    swtpm.extend_pcr(7, &[3; 32]);
    let (so, other) = (stage.so.name().unwrap(), stage.user.name().unwrap());
    let state = |text: &str| now(&tpm, text);
    let one = |step: PolicyStep| policy(vec![step]);
    let authorities = [Authority::rsa().key(), Authority::ec().key()];
    let signed = |index: usize, policy_ref: &[u8]| PolicyStep::Authorize {
        key: authorities[index].clone(),
        policy_ref: policy_ref.to_vec(),
    };
    let all = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23";
    let cases = vec![
        one(state("sha256:0")),
        one(state("sha256:0,2,7")),
        one(state("sha1:7,8,23")),
        one(state(all)),
        one(PolicyStep::AuthValue),
        one(PolicyStep::CommandCode(0x15d)),
        one(PolicyStep::Secret { object: so.clone() }),
        one(PolicyStep::DuplicationSelect { new_parent: other.clone(), object: None }),
        one(PolicyStep::DuplicationSelect { new_parent: other.clone(), object: Some(so.clone()) }),
        one(signed(0, b"")),
        one(signed(1, b"a reference")),
        policy(vec![state("sha256:0,2,7"), PolicyStep::AuthValue]),
        policy(vec![state("sha1:0"), state("sha256:7"), PolicyStep::AuthValue, PolicyStep::CommandCode(0x15e)]),
        policy(vec![signed(0, b""), state("sha256:7"), PolicyStep::AuthValue]),
        one(PolicyStep::Or(vec![one(state("sha256:7")), one(PolicyStep::AuthValue)])),
        one(PolicyStep::Or(CODES.map(|code| one(PolicyStep::CommandCode(code))).to_vec())),
        policy(vec![
            PolicyStep::Or(vec![
                policy(vec![signed(1, b"x"), PolicyStep::AuthValue]),
                policy(vec![
                    PolicyStep::Or(vec![one(state("sha256:0")), policy(vec![PolicyStep::Secret { object: so }])]),
                    PolicyStep::CommandCode(0x15d),
                ]),
            ]),
            PolicyStep::AuthValue,
        ]),
    ];
    tpm.release();
    let mut theirs = Theirs::new(&swtpm, &stage);
    for case in &cases {
        assert_eq!(theirs.digest(case), case.digest(), "{case}");
    }
    let so = theirs.so;
    theirs.context.flush_context(so.into()).unwrap();
    drop(theirs);
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn values_are_those_that_others_read() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    swtpm.extend_pcr(7, &[3; 32]);
    swtpm.extend_pcr(11, &[4; 32]);
    for text in ["sha256:0,7,11,17", "sha1:0,7"] {
        let ours = tpm.pcr_read(&pcrs(text)).unwrap();
        tpm.release();
        let mut theirs = Theirs::new(&swtpm, &stage);
        let (_, _, values) =
            theirs.context.execute_without_session(|context| context.pcr_read(selection(&pcrs(text)))).unwrap();
        let values: Vec<Vec<u8>> = values.value().iter().map(|value| value.value().to_vec()).collect();
        assert_eq!(ours.into_values().collect::<Vec<_>>(), values);
        let so = theirs.so;
        theirs.context.flush_context(so.into()).unwrap();
    }
}

/// The name of an authority is part of policies: it must be the one that others compute.
#[test]
fn the_name_of_an_authority_is_what_the_tpm_calls_it() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let mut theirs = Theirs::new(&swtpm, &stage);
    for key in [Authority::rsa().key(), Authority::ec().key()] {
        let public = Public::unmarshall(key.public()).unwrap();
        let handle = theirs
            .context
            .execute_without_session(|context| context.load_external_public(public, Hierarchy::Owner))
            .unwrap();
        assert_eq!(theirs.context.tr_get_name(handle.into()).unwrap().value(), key.name().as_bytes());
        theirs.context.flush_context(handle.into()).unwrap();
    }
}
