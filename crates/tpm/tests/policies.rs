//! Keys that are used by policy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use authority::{Authority, Bound, extended, now, pcrs, policy};
use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use common::{EVENT, Stage, assert_becomes_clean, assert_sent, at, code, counted, extend_before, p256, secret, with};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, leftovers};
use tpm::{
    Attributes, CipherMode, DecryptScheme, Direction, Error, INPUT_BUFFER, Key, KeyMaterial, KeyTemplate, Options,
    PolicyStep, PolicyUse, SignScheme, Signature, Tpm,
};

#[test]
fn a_key_works_in_the_state_it_was_made_for() {
    let mut swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:0,7,10"), PolicyStep::AuthValue]);
    key.sign(&tpm, &stage.primary);
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    for _ in 0..5 {
        let why = key.not_met(&tpm, &stage.primary);
        assert_eq!((why.selection, why.differing, why.approvals), (Some(pcrs("sha256:0,7,10")), vec![10], None));
    }
    assert_eq!(tpm.lockout().unwrap().counter, 0);
    tpm.release();
    swtpm.reboot();
    key.sign(&tpm, &stage.primary);
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_refusal_says_which_pcrs_differ() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let mut key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:0,7,10"), PolicyStep::AuthValue]);
    tpm.release();
    swtpm.extend_pcr(7, &EVENT);
    swtpm.extend_pcr(10, &EVENT);
    let text = key.try_sign(&tpm, &stage.primary).unwrap_err().to_string();
    assert_eq!(text, "of the PCRs sha256:0,7,10, 7,10 differ from what the policy of the object wants");
    let steps = key.policy.steps().iter().cloned().map(|mut step| {
        if let PolicyStep::Pcr(state) = &mut step {
            state.values.clear();
        }
        step
    });
    key.policy = policy(steps.collect());
    let text = key.try_sign(&tpm, &stage.primary).unwrap_err().to_string();
    assert_eq!(text, "the PCRs sha256:0,7,10 do not have the values that the policy of the object wants");
}

#[test]
fn nothing_walks_around_a_policy() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let state = now(&tpm, "sha256:10");
    let key = Bound::make(&tpm, &stage.primary, vec![state.clone(), PolicyStep::AuthValue]);
    assert!(!key.wrapped.public_area().unwrap().attributes().contains(Attributes::USER_WITH_AUTH));
    let bare = Key { policy: None, ..key.key(&stage.primary) };
    let digest = [1; 32];
    let refused = tpm.sign(&bare, Hash::Sha256, &digest, SignScheme::Ecdsa).unwrap_err();
    assert!(matches!(refused, Error::Response(_)), "{refused}");
    // Another policy, such as one that leaves the value out, is refused before the TPM hears of it.
    let other = policy(vec![state]);
    let other = Key { policy: Some(PolicyUse { policy: &other, approvals: &[] }), ..key.key(&stage.primary) };
    assert_eq!(tpm.sign(&other, Hash::Sha256, &digest, SignScheme::Ecdsa), Err(Error::NameMismatch));
    let wrong = secret(71);
    let wrong = Key { auth: &wrong, ..key.key(&stage.primary) };
    assert_eq!(tpm.sign(&wrong, Hash::Sha256, &digest, SignScheme::Ecdsa), Err(Error::AuthFailed));
    key.sign(&tpm, &stage.primary);
    assert_eq!(tpm.lockout().unwrap().counter, 0);
}

#[test]
fn a_literal_policy_costs_two_commands_a_use() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:0,7"), PolicyStep::AuthValue]);
    let open = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:0,7")]);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "Load StartAuthSession PolicyPCR PolicyAuthValue Sign");
    for _ in 0..3 {
        key.sign(&tpm, &stage.primary);
        assert_sent(&proxy.mark(), "PolicyPCR PolicyAuthValue Sign");
    }
    // The session serves every key with a policy, and leaves the others alone.
    open.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "Load PolicyPCR Sign");
    open.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR Sign");
    // There is room for three objects, one of them the primary.
    tpm.forget(&open.name);
    proxy.mark();
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Load StartAuthSession Sign");
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyAuthValue Sign");
    stage.sign(&tpm, 0);
    assert_sent(&proxy.mark(), "Sign");
    tpm.release();
    assert_eq!(proxy.mark().names(), ["FlushContext"; 4]);
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn one_cold_life_with_a_policy() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let maker = at(&swtpm.tcti());
    let key = Bound::make(&maker, &stage.primary, vec![now(&maker, "sha256:0,7"), PolicyStep::AuthValue]);
    maker.release();
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    key.sign(&tpm, &stage.primary);
    tpm.release();
    assert_sent(
        &proxy.mark(),
        "StartAuthSession Load Unseal FlushContext \
         Load StartAuthSession PolicyPCR PolicyAuthValue Sign FlushContext FlushContext",
    );
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn a_signed_policy_costs_three_commands_a_use() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    for authority in [Authority::rsa(), Authority::ec()] {
        let tpm = at(&proxy.tcti());
        let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
        let mut key = Bound::make(&tpm, &stage.primary, steps);
        let selection = pcrs("sha256:11");
        let values = tpm.pcr_read(&selection).unwrap();
        key.approvals = vec![authority.approve(&selection, &values)];
        proxy.mark();
        key.sign(&tpm, &stage.primary);
        assert_sent(
            &proxy.mark(),
            "LoadExternal VerifySignature FlushContext \
             Load StartAuthSession PolicyPCR PolicyAuthorize PolicyAuthValue Sign",
        );
        for _ in 0..3 {
            key.sign(&tpm, &stage.primary);
            assert_sent(&proxy.mark(), "PolicyPCR PolicyAuthorize PolicyAuthValue Sign");
        }
        // What the TPM once checked it need not check again after an idle time.
        tpm.release();
        proxy.mark();
        key.sign(&tpm, &stage.primary);
        assert_sent(&proxy.mark(), "Load StartAuthSession PolicyPCR PolicyAuthorize PolicyAuthValue Sign");
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn an_authority_that_the_tpm_cannot_check_is_known_before() {
    let (swtpm, proxy) = counted();
    let tpm = at(&proxy.tcti());
    for authority in [Authority::rsa(), Authority::ec()] {
        proxy.mark();
        tpm.check_authority(&authority.key()).unwrap();
        assert_sent(&proxy.mark(), "LoadExternal FlushContext");
    }
    let odd = Authority::Rsa(rsa::RsaPrivateKey::new(&mut rand_core::OsRng, 1536).unwrap());
    assert!(matches!(tpm.check_authority(&odd.key()), Err(Error::Unsupported(_))));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn an_approval_of_the_new_state_is_enough() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let authority = Authority::rsa();
    let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
    let mut key = Bound::make(&tpm, &stage.primary, steps);
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!((why.selection.clone(), why.approvals), (None, Some(0)), "{why}");
    let selection = pcrs("sha256:7,11");
    let old = tpm.pcr_read(&selection).unwrap();
    let new = extended(&old, 11, &EVENT);
    key.approvals = vec![authority.approve(&selection, &old)];
    key.sign(&tpm, &stage.primary);
    tpm.release();
    swtpm.extend_pcr(11, &EVENT);
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!((why.selection.clone(), why.approvals), (Some(selection.clone()), Some(1)));
    assert_eq!(why.to_string(), "none of 1 approvals is for the present state of the PCRs sha256:7,11");
    key.approvals.push(authority.approve(&selection, &new));
    proxy.mark();
    // Two to choose from: the one that succeeded last is tried first, and does not do any more.
    key.sign(&tpm, &stage.primary);
    let sent = proxy.mark();
    assert_eq!((sent.count("PCR_Read"), sent.count("VerifySignature")), (1, 1), "{sent}");
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyAuthorize PolicyAuthValue Sign");
    // Without the approval of this state, there is nothing that the ticket could help.
    key.approvals.pop();
    key.not_met(&tpm, &stage.primary);
}

#[test]
fn what_an_authority_did_not_sign_is_ignored() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let (authority, other) = (Authority::rsa(), Authority::ec());
    let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
    let mut key = Bound::make(&tpm, &stage.primary, steps);
    let selection = pcrs("sha256:11");
    let values = tpm.pcr_read(&selection).unwrap();
    let good = authority.approve(&selection, &values);
    let Signature::Rsa(bytes) = good.signature.clone() else { panic!() };
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    let signatures = [flipped, bytes[1..].to_vec(), Vec::new(), vec![0; 256], vec![0xff; 256], vec![1; 257]];
    let mut bad: Vec<_> = signatures
        .into_iter()
        .map(|bytes| {
            let mut forged = good.clone();
            forged.signature = Signature::Rsa(bytes);
            forged
        })
        .collect();
    bad.push(other.approve(&selection, &values));
    bad.push(authority.approve_for(&selection, &values, b"for something else"));
    proxy.mark();
    for approval in &bad {
        key.approvals = vec![approval.clone()];
        key.not_met(&tpm, &stage.primary);
    }
    key.approvals = bad.clone();
    key.not_met(&tpm, &stage.primary);
    let sent = proxy.mark();
    assert_eq!(sent.count("VerifySignature"), 0, "the TPM is not bothered with them: {sent}");
    key.approvals.insert(3, good);
    key.sign(&tpm, &stage.primary);
}

#[test]
fn an_approval_is_for_what_its_reference_says() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let authority = Authority::ec();
    let step = PolicyStep::Authorize { key: authority.key(), policy_ref: b"web servers".to_vec() };
    let mut key = Bound::make(&tpm, &stage.primary, vec![step]);
    let selection = pcrs("sha256:11");
    let values = tpm.pcr_read(&selection).unwrap();
    key.approvals = vec![authority.approve(&selection, &values)];
    key.not_met(&tpm, &stage.primary);
    key.approvals = vec![authority.approve_for(&selection, &values, b"web servers")];
    key.sign(&tpm, &stage.primary);
}

#[test]
fn one_of_several_states() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let selection = pcrs("sha256:10");
    let old = tpm.pcr_read(&selection).unwrap();
    let new = extended(&old, 10, &EVENT);
    let never = extended(&new, 10, &[1; 32]);
    let state = |values| policy(vec![PolicyStep::pcr(selection.clone(), values).unwrap()]);
    let nested = policy(vec![PolicyStep::Or(vec![state(&never), state(&new)])]);
    let steps = vec![PolicyStep::Or(vec![state(&never), state(&old), nested]), PolicyStep::AuthValue];
    let key = Bound::make(&tpm, &stage.primary, steps);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PCR_Read Load StartAuthSession PolicyPCR PolicyOR PolicyAuthValue Sign");
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyOR PolicyAuthValue Sign");
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    proxy.mark();
    key.sign(&tpm, &stage.primary);
    assert_sent(
        &proxy.mark(),
        "Load StartAuthSession PolicyPCR(0x1c4) PCR_Read PolicyRestart PolicyPCR PolicyOR PolicyOR PolicyAuthValue Sign",
    );
    key.sign(&tpm, &stage.primary);
    assert_sent(&proxy.mark(), "PolicyPCR PolicyOR PolicyOR PolicyAuthValue Sign");
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    let why = key.not_met(&tpm, &stage.primary);
    assert_eq!((why.selection, why.differing), (Some(selection), vec![10]));
}

#[test]
fn every_use_of_a_key() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    for options in [Options::default(), Options { bus_protection: false, ..Options::default() }] {
        let tpm = with(&proxy.tcti(), options);
        let state = now(&tpm, "sha256:10");
        for (auth, steps) in [
            (secret(70), vec![state.clone(), PolicyStep::AuthValue]),
            (Secret::zeroed(0), vec![state.clone()]),
            (Secret::zeroed(0), vec![state.clone(), PolicyStep::AuthValue]),
            (Secret::copy_from(b"1234"), vec![state.clone(), PolicyStep::AuthValue]),
        ] {
            let make = |template| Bound::make_as(&tpm, &stage.primary, template, auth.clone(), steps.clone());
            let rsa = make(KeyTemplate::Rsa { bits: 1024, exponent: 0 });
            let scheme = SignScheme::RsaPss;
            tpm.sign(&rsa.key(&stage.primary), Hash::Sha256, &[1; 32], scheme).unwrap();
            let plain = tpm.rsa_decrypt(&rsa.key(&stage.primary), DecryptScheme::Raw, &[1; 128]).unwrap();
            assert_eq!(plain.len(), 128);
            let ecc = make(p256());
            ecc.sign(&tpm, &stage.primary);
            let area = ecc.wrapped.public_area().unwrap();
            let (_, x, y) = area.ecc().unwrap();
            let point = EcPublic::new(Curve::P256, x, y).unwrap();
            assert_eq!(tpm.ecdh_z(&ecc.key(&stage.primary), &point).unwrap().len(), 32);
            let aes = make(KeyTemplate::Aes { bits: 128 });
            let data = vec![7; 3 * INPUT_BUFFER];
            let run = |data: &[u8], direction| {
                let key = aes.key(&stage.primary);
                tpm.encrypt_decrypt(&key, CipherMode::Cbc, &[0; 16], data, direction, INPUT_BUFFER).unwrap().0
            };
            let cipher = run(&data, Direction::Encrypt);
            assert_eq!(run(cipher.expose(), Direction::Decrypt).expose(), data);

            let material = KeyMaterial::Hmac { hash: None, key: Secret::copy_from(b"key") };
            let wanted = policy(steps.clone());
            let wrapped = tpm.import_key(&stage.primary, &material, &auth, Some(&wanted)).unwrap();
            let name = wrapped.name().unwrap();
            let hmac = Bound { wrapped, name, auth: auth.clone(), policy: wanted, approvals: Vec::new() };
            for len in [0, 5, INPUT_BUFFER, INPUT_BUFFER + 1, 3 * INPUT_BUFFER] {
                let data = vec![9; len];
                let mac = tpm.hmac(&hmac.key(&stage.primary), Hash::Sha256, &data).unwrap();
                assert!(mac == Hash::Sha256.hmac(b"key", &[&data]), "{len}");
            }
            tpm.release();
            assert!(leftovers(&swtpm).is_clean());
        }
    }
}

#[test]
fn a_long_hmac_by_policy() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let steps = vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue];
    let template = KeyTemplate::Hmac { hash: None };
    let key = Bound::make_as(&tpm, &stage.primary, template, secret(70), steps);
    let data = vec![1; 3 * INPUT_BUFFER];
    tpm.hmac(&key.key(&stage.primary), Hash::Sha256, &data).unwrap();
    proxy.mark();
    extend_before(&proxy, "HMAC_Start", 11);
    tpm.hmac(&key.key(&stage.primary), Hash::Sha256, &data).unwrap();
    assert_sent(
        &proxy.mark(),
        "PolicyPCR PolicyAuthValue HMAC_Start(0x128) PolicyRestart PolicyPCR PolicyAuthValue HMAC_Start \
         StartAuthSession SequenceUpdate SequenceUpdate SequenceComplete",
    );
    // Once started, the sequence asks for no policy.
    extend_before(&proxy, "SequenceUpdate", 10);
    tpm.hmac(&key.key(&stage.primary), Hash::Sha256, &data).unwrap();
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn behind_a_resource_manager() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let manager = ResourceManager::start(swtpm.port());
    let tpm = at(&manager.tcti());
    let authority = Authority::ec();
    let literal = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    let steps = vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue];
    let mut signed = Bound::make(&tpm, &stage.primary, steps);
    let selection = pcrs("sha256:11");
    signed.approvals = vec![authority.approve(&selection, &tpm.pcr_read(&selection).unwrap())];
    manager.mark();
    literal.sign(&tpm, &stage.primary);
    assert_sent(&manager.mark(), "Load StartAuthSession PolicyPCR PolicyAuthValue Sign");
    signed.sign(&tpm, &stage.primary);
    assert_sent(
        &manager.mark(),
        "LoadExternal VerifySignature FlushContext Load StartAuthSession PolicyPCR PolicyAuthorize PolicyAuthValue Sign",
    );
    for _ in 0..2 {
        literal.sign(&tpm, &stage.primary);
        assert_sent(&manager.mark(), "PolicyPCR PolicyAuthValue Sign");
        signed.sign(&tpm, &stage.primary);
        assert_sent(&manager.mark(), "PolicyPCR PolicyAuthorize PolicyAuthValue Sign");
    }
    tpm.release();
    assert_sent(&manager.mark(), "");
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn whether_a_policy_is_met_can_be_asked() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    drop(stage);
    let tpm = at(&proxy.tcti());
    let authority = Authority::ec();
    let selection = pcrs("sha256:10");
    let values = tpm.pcr_read(&selection).unwrap();
    let literal = policy(vec![now(&tpm, "sha256:0,10"), PolicyStep::AuthValue, PolicyStep::CommandCode(1)]);
    let signed = policy(vec![PolicyStep::authorize(authority.key()), PolicyStep::AuthValue]);
    let either = policy(vec![PolicyStep::Or(vec![literal.clone(), signed.clone()])]);
    let approvals = [authority.approve(&selection, &extended(&values, 10, &EVENT))];
    let foreign = [Authority::ec().approve(&selection, &extended(&values, 10, &EVENT))];
    let check = |policy, approvals| tpm.check_policy(&PolicyUse { policy, approvals });
    proxy.mark();
    check(&literal, &[]).unwrap();
    assert_sent(&proxy.mark(), "PCR_Read");
    assert!(matches!(check(&signed, &approvals), Err(Error::PolicyNotMet(_))));
    check(&either, &approvals).unwrap();
    tpm.release();
    swtpm.extend_pcr(10, &EVENT);
    let Err(Error::PolicyNotMet(why)) = check(&literal, &[]) else { panic!() };
    assert_eq!(why.differing, [10]);
    check(&signed, &approvals).unwrap();
    check(&either, &approvals).unwrap();
    assert!(matches!(check(&signed, &foreign), Err(Error::PolicyNotMet(_) | Error::PolicyFailed)));
    assert!(check(&either, &foreign).is_err());
    check(&policy(vec![PolicyStep::AuthValue]), &[]).unwrap();
}

#[test]
fn pcrs_are_read_eight_at_a_time() {
    let (swtpm, proxy) = counted();
    let tpm: Tpm = at(&proxy.tcti());
    let banks = tpm.pcr_banks().unwrap();
    assert!(banks.contains(&pcrs("sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23")), "{banks:?}");
    proxy.mark();
    for bank in &banks {
        let values = tpm.pcr_read(bank).unwrap();
        assert_eq!(values.len(), 24);
        assert!(values.values().all(|value| value.len() == bank.bank().len()));
        assert_sent(&proxy.mark(), "PCR_Read PCR_Read PCR_Read");
    }
    let zeros = tpm.pcr_read(&pcrs("sha256:10")).unwrap();
    assert_eq!(zeros[&10], [0; 32]);
    proxy.mark();
    // All values are of one moment.
    proxy.inject(Fault::Precede { code: code("PCR_Read"), command: Vec::from(NOTHING) });
    extend_before(&proxy, "PCR_Read", 10);
    let values = tpm.pcr_read(&pcrs("sha256:0,1,2,3,4,5,6,7,8,10")).unwrap();
    assert_eq!(values[&10], Hash::Sha256.digest(&[&[0; 32], &EVENT]));
    assert_eq!(proxy.mark().len(), 4);
    drop(swtpm);
}

/// GetRandom of one byte.
const NOTHING: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 1];

#[test]
fn a_bank_that_is_not_there() {
    let swtpm = SwTpm::start();
    let tpm = at(&swtpm.tcti());
    let banks = tpm.pcr_banks().unwrap();
    let all = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    let missing: Vec<Hash> = all.into_iter().filter(|hash| banks.iter().all(|bank| bank.bank() != *hash)).collect();
    for bank in missing {
        let selection = tpm::PcrSelection::new(bank, [7]).unwrap();
        let refused = tpm.pcr_read(&selection).unwrap_err();
        assert!(matches!(refused, Error::Unsupported(_)), "{refused}");
    }
}

/// Others extend PCRs that the policy does not look at, faster than it is run.
#[test]
fn other_pcrs_that_never_rest_are_waited_out() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let key = Bound::make(&tpm, &stage.primary, vec![now(&tpm, "sha256:10"), PolicyStep::AuthValue]);
    key.sign(&tpm, &stage.primary);
    for _ in 0..20 {
        extend_before(&proxy, "Sign", 11);
    }
    key.sign(&tpm, &stage.primary);
    assert!(proxy.pending_faults().is_empty());
    // For ever: it is not the key's state that is refused.
    let hasty = with(&proxy.tcti(), Options { patience: std::time::Duration::from_millis(60), ..Options::default() });
    tpm.release();
    for _ in 0..500 {
        extend_before(&proxy, "Sign", 11);
    }
    assert_eq!(key.try_sign(&hasty, &stage.primary), Err(Error::Busy));
    proxy.clear_faults();
    // Its own PCR is.
    extend_before(&proxy, "Sign", 10);
    assert!(matches!(key.try_sign(&hasty, &stage.primary), Err(Error::PolicyNotMet(_))));
}
