//! An authority in software, and keys with policies.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

use std::sync::OnceLock;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::rsa::RsaPublic;
use p256::ecdsa::signature::Signer;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::traits::PublicKeyParts;
use swtpm_fixtures::{Proxy, SwTpm};
use tpm::{
    Approval, AuthorityKey, CounterLimit, Error, Key, KeyTemplate, Name, PcrSelection, PcrValues, Policy, PolicyNotMet,
    PolicyStep, PolicyUse, Primary, SignScheme, Signature, Tpm, Wrapped, approval_message, pcr_policy_digest,
};

use crate::common::{Stage, at, check_ecdsa, counted, p256, secret};

/// Someone who approves of states.
pub(crate) enum Authority {
    Rsa(rsa::PrivateKey),
    Ec(p256::ecdsa::SigningKey),
}

impl Authority {
    /// The same key in all tests of a process: making one takes a while.
    pub(crate) fn rsa() -> Authority {
        static KEY: OnceLock<rsa::PrivateKey> = OnceLock::new();
        let key = KEY.get_or_init(|| rsa::PrivateKey::new(&mut getrandom::SysRng, 2048).unwrap());
        Authority::Rsa(key.clone())
    }

    pub(crate) fn ec() -> Authority {
        Authority::Ec(<p256::ecdsa::SigningKey as p256::elliptic_curve::Generate>::generate())
    }

    pub(crate) fn key(&self) -> AuthorityKey {
        match self {
            Authority::Rsa(key) => {
                let public = RsaPublic::new(key.n_bytes(), key.e_bytes()).unwrap();
                AuthorityKey::from_rsa(&public).unwrap()
            }
            Authority::Ec(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                AuthorityKey::from_ec(&EcPublic::from_point(Curve::P256, point.as_bytes()).unwrap()).unwrap()
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        match self {
            Authority::Rsa(key) => {
                let digest = Hash::Sha256.digest(&[message]);
                Signature::Rsa(key.sign(Pkcs1v15Sign::new::<sha2::Sha256>(), &digest).unwrap())
            }
            Authority::Ec(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                let (r, s) = signature.split_bytes();
                Signature::Ecc { r: r.to_vec(), s: s.to_vec() }
            }
        }
    }

    pub(crate) fn approve(&self, selection: &PcrSelection, values: &PcrValues) -> Approval {
        self.approve_all(selection, values, &[], None)
    }

    pub(crate) fn approve_for(&self, selection: &PcrSelection, values: &PcrValues, policy_ref: &[u8]) -> Approval {
        self.approve_all(selection, values, policy_ref, None)
    }

    /// Up to a limit only.
    pub(crate) fn approve_within(&self, selection: &PcrSelection, values: &PcrValues, limit: CounterLimit) -> Approval {
        self.approve_all(selection, values, &[], Some(limit))
    }

    fn approve_all(
        &self,
        selection: &PcrSelection,
        values: &PcrValues,
        policy_ref: &[u8],
        limit: Option<CounterLimit>,
    ) -> Approval {
        let digest = pcr_policy_digest(selection, values, limit.as_ref()).unwrap();
        let signature = self.sign(&approval_message(&digest, policy_ref));
        Approval::new(selection.clone(), digest, signature).unwrap().with_limit(limit)
    }
}

pub(crate) fn pcrs(text: &str) -> PcrSelection {
    text.parse().unwrap()
}

pub(crate) fn policy(steps: Vec<PolicyStep>) -> Policy {
    Policy::new(steps).unwrap()
}

/// The present values.
pub(crate) fn now(tpm: &Tpm, text: &str) -> PolicyStep {
    let selection = pcrs(text);
    let values = tpm.pcr_read(&selection).unwrap();
    PolicyStep::pcr(selection, &values).unwrap()
}

/// What the values of a bank will be when one of its PCRs is extended.
pub(crate) fn extended(values: &PcrValues, pcr: u8, digest: &[u8; 32]) -> PcrValues {
    let mut values = values.clone();
    let new = Hash::Sha256.digest(&[&values[&pcr], digest]);
    values.insert(pcr, new);
    values
}

/// A key with a policy.
pub(crate) struct Bound {
    pub(crate) wrapped: Wrapped,
    pub(crate) name: Name,
    pub(crate) auth: Secret,
    pub(crate) policy: Policy,
    pub(crate) approvals: Vec<Approval>,
}

impl Bound {
    pub(crate) fn make(tpm: &Tpm, primary: &Primary, steps: Vec<PolicyStep>) -> Bound {
        Bound::make_as(tpm, primary, p256(), secret(70), steps)
    }

    pub(crate) fn make_as(
        tpm: &Tpm,
        primary: &Primary,
        template: KeyTemplate,
        auth: Secret,
        steps: Vec<PolicyStep>,
    ) -> Bound {
        let policy = policy(steps);
        let wrapped = tpm.create_key(primary, &template, &auth, Some(&policy)).unwrap();
        let name = wrapped.name().unwrap();
        Bound { wrapped, name, auth, policy, approvals: Vec::new() }
    }

    pub(crate) fn key<'a>(&'a self, primary: &'a Primary) -> Key<'a> {
        let policy = Some(PolicyUse { policy: &self.policy, approvals: &self.approvals });
        Key { primary, wrapped: &self.wrapped, name: &self.name, auth: &self.auth, policy }
    }

    pub(crate) fn try_sign(&self, tpm: &Tpm, primary: &Primary) -> Result<Signature, Error> {
        tpm.sign(&self.key(primary), Hash::Sha256, &Hash::Sha256.digest(&[b"message"]), SignScheme::Ecdsa)
    }

    pub(crate) fn sign(&self, tpm: &Tpm, primary: &Primary) {
        let signature = self.try_sign(tpm, primary).unwrap();
        check_ecdsa(&self.wrapped, Hash::Sha256, &signature);
    }

    pub(crate) fn not_met(&self, tpm: &Tpm, primary: &Primary) -> PolicyNotMet {
        match self.try_sign(tpm, primary) {
            Err(Error::PolicyNotMet(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// A TPM with a key that works in whatever state an authority approves of. It has approved of none yet.
pub(crate) struct Office {
    pub(crate) swtpm: SwTpm,
    pub(crate) proxy: Proxy,
    pub(crate) stage: Stage,
    /// Through the proxy.
    pub(crate) tpm: Tpm,
    pub(crate) authority: Authority,
    pub(crate) key: Bound,
    /// PCR 11, and its present value.
    pub(crate) selection: PcrSelection,
    pub(crate) values: PcrValues,
}

impl Office {
    /// `more` are the further steps of the key's policy.
    pub(crate) fn open(more: &[PolicyStep]) -> Office {
        let (swtpm, proxy) = counted();
        let stage = Stage::set(&swtpm, &[]);
        let tpm = at(&proxy.tcti());
        let authority = Authority::ec();
        let key = Bound::make(&tpm, &stage.primary, [&[PolicyStep::authorize(authority.key())], more].concat());
        let selection = pcrs("sha256:11");
        let values = tpm.pcr_read(&selection).unwrap();
        Office { swtpm, proxy, stage, tpm, authority, key, selection, values }
    }
}
