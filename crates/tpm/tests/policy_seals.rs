//! The user's sealed object with a policy: what opens it, and who may change what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use authority::{Authority, extended, now, pcrs, policy};
use base::Secret;
use common::{EVENT, assert_becomes_clean, assert_sent, at, counted, secret, with};
use swtpm_fixtures::{Fault, Proxy, ResourceManager, SwTpm, command_code, leftovers, pcr_extend};
use tpm::{
    Approval, Attributes, Error, Name, Options, Policy, PolicyStep, PolicyUse, Primary, PrimaryRequest, SealRequest,
    Tpm, UserPolicy, Wrapped,
};

/// A token that is bound to a state of the machine.
struct Sealed {
    primary: Primary,
    so: Wrapped,
    so_name: Name,
    user: Wrapped,
    policy: Policy,
    approvals: Vec<Approval>,
}

impl Sealed {
    fn make(tpm: &Tpm, pin: &Secret, steps: Vec<PolicyStep>) -> Sealed {
        let policy = policy(steps);
        let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
        let so = SealRequest { auth: &secret(1), data: &secret(3) };
        let user = SealRequest { auth: pin, data: &secret(9) };
        let (so, user) = tpm.create_pin_objects(&primary, so, user, Some(&policy)).unwrap();
        let sealed = Sealed { primary, so_name: so.name().unwrap(), so, user, policy, approvals: Vec::new() };
        // See `Stage::set`: the first use of what is under lockout protection costs a retry.
        tpm.change_auth(&sealed.primary, &sealed.so, &secret(1), &secret(1)).unwrap();
        let _ = sealed.open(tpm, pin);
        sealed
    }

    fn how(&self) -> UserPolicy<'_> {
        let policy = PolicyUse { policy: &self.policy, approvals: &self.approvals };
        UserPolicy { policy, so_name: &self.so_name }
    }

    fn open(&self, tpm: &Tpm, pin: &Secret) -> Result<Secret, Error> {
        tpm.unseal(&self.primary, &self.user, pin, Some(self.how()))
    }

    fn opens(&self, tpm: &Tpm, pin: &Secret) {
        assert!(self.open(tpm, pin).unwrap() == secret(9));
    }
}

#[test]
fn the_right_pin_opens_nothing_on_a_changed_machine() {
    let mut swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let pin = secret(2);
    let sealed = Sealed::make(&tpm, &pin, vec![now(&tpm, "sha256:0,10"), PolicyStep::AuthValue]);
    let area = sealed.user.public_area().unwrap();
    assert!(!area.attributes().contains(Attributes::USER_WITH_AUTH));
    assert!(area.attributes().contains(Attributes::ADMIN_WITH_POLICY));
    sealed.opens(&tpm, &pin);
    assert_eq!(tpm.lockout().unwrap().counter, 0);
    assert_eq!(sealed.open(&tpm, &secret(7)), Err(Error::AuthFailed));
    assert_eq!(tpm.lockout().unwrap().counter, 1, "a wrong PIN counts");
    end_lockout(&tpm, &swtpm);
    swtpm.extend_pcr(10, &EVENT);
    for pin in [secret(2), secret(7)] {
        let Err(Error::PolicyNotMet(why)) = sealed.open(&tpm, &pin) else { panic!() };
        assert_eq!((why.selection, why.differing), (Some(pcrs("sha256:0,10")), vec![10]));
    }
    assert_eq!(tpm.lockout().unwrap().counter, 0, "a wrong state does not");
    // Not without the policy, either.
    let refused = tpm.unseal(&sealed.primary, &sealed.user, &pin, None).unwrap_err();
    assert!(matches!(refused, Error::Response(_)), "{refused}");
    tpm.release();
    swtpm.reboot();
    sealed.opens(&tpm, &pin);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

fn end_lockout(tpm: &Tpm, swtpm: &SwTpm) {
    tpm.release();
    swtpm.end_lockout();
}

#[test]
fn pins_are_changed_in_any_state() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let mut sealed = Sealed::make(&tpm, &secret(2), vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    let (primary, policy) = (sealed.primary.clone(), sealed.policy.clone());
    let private =
        tpm.change_user_auth(&primary, &sealed.user, &sealed.so_name, Some(&policy), &secret(2), &secret(4)).unwrap();
    sealed.user.private = private;
    assert!(matches!(sealed.open(&tpm, &secret(4)), Err(Error::PolicyNotMet(_))), "which opens nothing");
    let private =
        tpm.reset_user_auth(&primary, &sealed.user, &sealed.so, Some(&policy), &secret(1), &secret(5)).unwrap();
    sealed.user.private = private;
    assert!(matches!(sealed.open(&tpm, &secret(5)), Err(Error::PolicyNotMet(_))));
    // The officer's way opens nothing: there is no policy of it that unseals.
    let wrong = tpm.change_user_auth(&primary, &sealed.user, &sealed.so_name, Some(&policy), &secret(8), &secret(4));
    assert_eq!(wrong, Err(Error::AuthFailed));
    // Whoever says that there is no policy, or another one, is not believed.
    let other = authority::policy(vec![PolicyStep::AuthValue]);
    for policy in [None, Some(&other)] {
        let result = tpm.change_user_auth(&primary, &sealed.user, &sealed.so_name, policy, &secret(5), &secret(4));
        assert_eq!(result, Err(Error::NameMismatch));
        let result = tpm.reset_user_auth(&primary, &sealed.user, &sealed.so, policy, &secret(1), &secret(4));
        assert_eq!(result, Err(Error::NameMismatch));
    }
    sealed.policy = other;
    assert_eq!(sealed.open(&tpm, &secret(5)), Err(Error::NameMismatch));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_token_without_a_pin_opens_itself_in_the_right_state_only() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let none = Secret::zeroed(0);
    let sealed = Sealed::make(&tpm, &none, vec![now(&tpm, "sha256:10")]);
    tpm.release();
    for bus_protection in [true, false] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        sealed.opens(&tpm, &none);
        tpm.release();
    }
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    assert!(matches!(sealed.open(&tpm, &none), Err(Error::PolicyNotMet(_))));
}

#[test]
fn a_login_by_policy_is_seven_commands() {
    let (swtpm, proxy) = counted();
    let tpm = at(&swtpm.tcti());
    let pin = secret(2);
    let sealed = Sealed::make(&tpm, &pin, vec![now(&tpm, "sha256:0,7"), PolicyStep::AuthValue]);
    tpm.release();
    let tpm = at(&proxy.tcti());
    for _ in 0..2 {
        sealed.opens(&tpm, &pin);
        assert_sent(&proxy.mark(), "Load StartAuthSession PolicyPCR PolicyAuthValue PolicyOR Unseal FlushContext");
    }
    sealed.open(&tpm, &secret(7)).unwrap_err();
    assert_sent(
        &proxy.mark(),
        "Load StartAuthSession PolicyPCR PolicyAuthValue PolicyOR Unseal(0x98e) FlushContext FlushContext",
    );
    tpm.change_user_auth(&sealed.primary, &sealed.user, &sealed.so_name, Some(&sealed.policy), &pin, &secret(4))
        .unwrap();
    assert_sent(
        &proxy.mark(),
        "Load StartAuthSession PolicyAuthValue PolicyCommandCode PolicyOR ObjectChangeAuth FlushContext",
    );
    tpm.reset_user_auth(&sealed.primary, &sealed.user, &sealed.so, Some(&sealed.policy), &secret(1), &pin).unwrap();
    assert_sent(
        &proxy.mark(),
        "StartAuthSession Load Load StartAuthSession GetRandom PolicySecret PolicyCommandCode PolicyOR ObjectChangeAuth \
         FlushContext FlushContext",
    );
    tpm.release();
    assert_sent(&proxy.mark(), "");
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_login_by_an_approved_state() {
    let (swtpm, proxy) = counted();
    let authority = Authority::rsa();
    let maker = at(&swtpm.tcti());
    let pin = secret(2);
    let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
    let mut sealed = Sealed::make(&maker, &pin, steps);
    let selection = pcrs("sha256:11");
    let values = maker.pcr_read(&selection).unwrap();
    maker.release();
    let tpm = at(&proxy.tcti());
    assert!(matches!(sealed.open(&tpm, &pin), Err(Error::PolicyNotMet(_))));
    assert_sent(&proxy.mark(), "");
    sealed.approvals = vec![authority.approve(&selection, &values)];
    sealed.opens(&tpm, &pin);
    assert_sent(
        &proxy.mark(),
        "LoadExternal VerifySignature FlushContext \
         Load StartAuthSession PolicyPCR PolicyAuthorize PolicyAuthValue PolicyOR Unseal FlushContext",
    );
    tpm.release();
    swtpm.extend_pcr(11, &EVENT);
    assert!(matches!(sealed.open(&tpm, &pin), Err(Error::PolicyNotMet(_))));
    sealed.approvals.push(authority.approve(&selection, &extended(&values, 11, &EVENT)));
    sealed.opens(&tpm, &pin);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_pcr_extended_while_logging_in() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    let pin = secret(2);
    let sealed = Sealed::make(&tpm, &pin, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    let unseal = command_code("Unseal").unwrap();
    for pcr in [11, 11, 23] {
        proxy.inject(Fault::Precede { code: unseal, command: pcr_extend(pcr, &EVENT) });
    }
    sealed.opens(&tpm, &pin);
    proxy.inject(Fault::Precede { code: unseal, command: pcr_extend(10, &EVENT) });
    assert!(matches!(sealed.open(&tpm, &pin), Err(Error::PolicyNotMet(_))));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_login_by_policy_behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let pin = secret(2);
    let maker = at(&swtpm.tcti());
    let sealed = Sealed::make(&maker, &pin, vec![now(&maker, "sha256:10"), PolicyStep::AuthValue]);
    maker.release();
    let chip = Proxy::start(&swtpm);
    let manager = ResourceManager::start(chip.port());
    let tpm = at(&manager.tcti());
    sealed.opens(&tpm, &pin);
    assert_sent(&manager.mark(), "Load StartAuthSession PolicyPCR PolicyAuthValue PolicyOR Unseal");
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn a_primary_with_an_authorisation_and_policies() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let request = PrimaryRequest { primary_auth: secret(8), ..PrimaryRequest::default() };
    let primary = tpm.storage_primary(&request).unwrap();
    let pin = secret(2);
    let wanted = policy(vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    let (so, user) = tpm
        .create_pin_objects(
            &primary,
            SealRequest { auth: &secret(1), data: &secret(3) },
            SealRequest { auth: &pin, data: &secret(9) },
            Some(&wanted),
        )
        .unwrap();
    let so_name = so.name().unwrap();
    let sealed = Sealed { primary, so, so_name, user, policy: wanted, approvals: Vec::new() };
    sealed.opens(&tpm, &pin);
    let bound = authority::Bound::make(&tpm, &sealed.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    for _ in 0..2 {
        bound.sign(&tpm, &sealed.primary);
        bound.sign(&tpm, &sealed.primary);
        sealed.opens(&tpm, &pin);
        tpm.release();
    }
    assert!(leftovers(&swtpm).is_clean());
}
