//! What somebody gets who sits between program and TPM, puts in commands of his own and exchanges those of others.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

mod authority;
mod common;

use std::sync::{Arc, Mutex};

use authority::{Bound, Office, now, policy};
use base::Secret;
use base::curve::Curve;
use base::private::PrivateKey;
use common::{Stage, at, code, counted, p256, secret, sign_and_check};
use swtpm_fixtures::{Proxy, SwTpm, Upstream, raw_command};
use tpm::{Key, PolicyStep, PolicyUse, PrimaryRequest, PublicArea, SealRequest, Tpm, UserPolicy};

/// TPM_RS_PW
const PASSWORD: u32 = 0x4000_0009;
/// TPM_RH_NULL
const NULL: u32 = 0x4000_0007;
/// TPM_RC_RETRY
const RETRY: u32 = 0x922;

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes(word.try_into().unwrap()))
}

fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The first TPM2B of these bytes.
fn first_tpm2b(bytes: &[u8]) -> &[u8] {
    &bytes[2..2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))]
}

fn rc(response: &[u8]) -> u32 {
    word(response, 6)
}

/// Asks again while the TPM only asks for time.
fn ask(upstream: &mut Upstream<'_>, command: &[u8]) -> Vec<u8> {
    loop {
        let response = upstream.transact(command);
        if rc(&response) != RETRY {
            return response;
        }
    }
}

/// What the attacker puts in the place of the value that the officer sets.
const HIS: &[u8; 32] = b"the value that the attacker sets";

/// How he comes to a policy session that serves his own command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trick {
    /// He uses the program's: it is not said to whom it belongs.
    Take,
    /// He starts one himself, and gives that out for the one that the program asked for.
    Exchange,
    /// He ends the program's just before the officer's value is proved, and starts his own at the same place.
    ExchangeLate,
    /// He repeats the program's command without what encrypts: the encrypted value is then the value.
    Repeat,
}

/// A new blob of the user's object, and the value that it has.
type Stolen = Arc<Mutex<Option<(Vec<u8>, Vec<u8>)>>>;

/// The attack on a new PIN that the officer sets.
fn steal_reset(proxy: &Proxy, trick: Trick) -> Stolen {
    let stolen = Arc::new(Mutex::new(None));
    let result = Arc::clone(&stolen);
    let start = move |upstream: &mut Upstream<'_>| {
        let parameters = [&tpm2b(&[7; 32])[..], &[0, 0, 1, 0, 6, 0, 128, 0, 0x43, 0, 0x0b]].concat();
        let response = ask(upstream, &raw_command(code("StartAuthSession"), &[NULL, NULL], &[], &parameters));
        assert_eq!(rc(&response), 0);
        response
    };
    let mut policy_session = 0;
    proxy.interpose(move |command, upstream| {
        let sent = word(command, 6);
        if sent == code("StartAuthSession") {
            let nonce = first_tpm2b(&command[18..]).len();
            let salt = first_tpm2b(&command[20 + nonce..]).len();
            let is_policy = command[22 + nonce + salt] == 1;
            if !is_policy {
                return upstream.transact(command);
            }
            let response = if trick == Trick::Exchange { start(upstream) } else { upstream.transact(command) };
            policy_session = word(&response, 10);
            return response;
        }
        if sent == code("PolicySecret") && trick == Trick::ExchangeLate {
            let flushed = upstream.transact(&raw_command(code("FlushContext"), &[policy_session], &[], &[]));
            assert_eq!(rc(&flushed), 0);
            assert_eq!(word(&start(upstream), 10), policy_session, "the TPM gives the same place again");
        }
        if sent != code("ObjectChangeAuth") {
            return upstream.transact(command);
        }
        let (object, parent) = (word(command, 10), word(command, 14));
        let area = word(command, 18) as usize;
        let value = if trick == Trick::Repeat { first_tpm2b(&command[22 + area..]).to_vec() } else { HIS.to_vec() };
        let own = raw_command(code("ObjectChangeAuth"), &[object, parent], &[policy_session], &tpm2b(&value));
        let response = ask(upstream, &own);
        if rc(&response) == 0 {
            *result.lock().unwrap() = Some((first_tpm2b(&response[14..]).to_vec(), value));
        }
        upstream.transact(command)
    });
    stolen
}

#[test]
fn an_officers_reset_of_a_pin_serves_nobody_else() {
    let mut got = Vec::new();
    for bound in [false, true] {
        for trick in [Trick::Take, Trick::Exchange, Trick::ExchangeLate, Trick::Repeat] {
            let (swtpm, proxy) = counted();
            let stage = Stage::set(&swtpm, &[]);
            let tpm = at(&proxy.tcti());
            let token_policy = bound.then(|| policy(vec![PolicyStep::AuthValue]));
            let (so, user) = match &token_policy {
                None => (stage.so.clone(), stage.user.clone()),
                Some(policy) => {
                    let so = SealRequest { auth: &stage.so_auth, data: &secret(3) };
                    let user = SealRequest { auth: &stage.user_auth, data: &stage.wrapping };
                    tpm.create_pin_objects(&stage.primary, so, user, Some(policy)).unwrap()
                }
            };
            tpm.release();
            let stolen = steal_reset(&proxy, trick);
            let new = secret(77);
            let reset = tpm.reset_user_auth(&stage.primary, &user, &so, token_policy.as_ref(), &stage.so_auth, &new);
            proxy.stand_aside();
            tpm.release();
            if let Some((private, value)) = stolen.lock().unwrap().take() {
                let private = tpm2b(&private);
                let his = tpm::Wrapped { public: user.public.clone(), private };
                let opened = open(&at(&swtpm.tcti()), &stage, &so, &his, &Secret::new(value), token_policy.as_ref());
                got.push((trick, bound, opened == Ok(stage.wrapping.clone())));
                continue;
            }
            match trick {
                // What is tried besides costs the officer nothing.
                Trick::Take | Trick::Repeat => {
                    let private = reset.unwrap();
                    let changed = tpm::Wrapped { public: user.public.clone(), private };
                    let opened = open(&tpm, &stage, &so, &changed, &new, token_policy.as_ref());
                    assert!(opened == Ok(stage.wrapping.clone()));
                }
                Trick::Exchange | Trick::ExchangeLate => drop(reset.unwrap_err()),
            }
        }
    }
    assert_eq!(got, [], "with a policy of the token; the wrapping key");
}

fn open(
    tpm: &Tpm,
    stage: &Stage,
    so: &tpm::Wrapped,
    user: &tpm::Wrapped,
    auth: &Secret,
    token_policy: Option<&tpm::Policy>,
) -> Result<Secret, tpm::Error> {
    let so_name = so.name().unwrap();
    let how = token_policy.map(|policy| UserPolicy { policy: PolicyUse { policy, approvals: &[] }, so_name: &so_name });
    tpm.unseal(&stage.primary, user, auth, how)
}

/// At each command that a session authorises: the same sessions, for a command with other parameters, once with what they prove and
/// once without. What the TPM took of it.
fn meddle(proxy: &Proxy) -> Arc<Mutex<Vec<String>>> {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&taken);
    proxy.interpose(move |command, upstream| {
        let sent = word(command, 6);
        let handles = match swtpm_fixtures::command_name(sent) {
            "Load"
            | "Create"
            | "Import"
            | "Unseal"
            | "Sign"
            | "RSA_Decrypt"
            | "DictionaryAttackLockReset"
            | "NV_DefineSpace"
            | "CreatePrimary" => 1,
            "ObjectChangeAuth" | "NV_Increment" | "NV_Read" | "NV_UndefineSpace" | "EvictControl" | "Duplicate"
            | "PolicySecret" => 2,
            _ => 0,
        };
        let is_authorised = command[..2] == [0x80, 0x02] && handles > 0;
        let start = 10 + 4 * handles;
        let session = word(command, start + 4);
        if !is_authorised || session == PASSWORD {
            return upstream.transact(command);
        }
        let parameters = start + 4 + word(command, start) as usize;
        let mut others = command.to_vec();
        // What the response is encrypted to is a part of what a session proves, too: bit 6 of its attributes.
        let nonce = usize::from(u16::from_be_bytes([command[start + 8], command[start + 9]]));
        others[start + 10 + nonce] ^= 0x40;
        let mut changed = command.to_vec();
        if let Some(last) = changed[parameters..].last_mut() {
            *last ^= 1;
        }
        let mut plain = command[parameters..].to_vec();
        if let Some(last) = plain.last_mut() {
            *last ^= 1;
        }
        let all: Vec<u32> = (0..handles).map(|handle| word(command, 10 + 4 * handle)).collect();
        let bare = raw_command(sent, &all, &[session], &plain);
        let tries = [("changed", changed), ("as another use", others), ("bare", bare)];
        for (how, own) in tries {
            if own != command && rc(&ask(upstream, &own)) == 0 {
                list.lock().unwrap().push(format!("{} {how}", swtpm_fixtures::command_name(sent)));
            }
        }
        upstream.transact(command)
    });
    taken
}

/// Fails if the TPM took anything of what was put in while `operation` ran, which must succeed all the same.
#[track_caller]
fn serves_nobody_else<T>(proxy: &Proxy, operation: impl FnOnce() -> Result<T, tpm::Error>) -> T {
    let taken = meddle(proxy);
    let result = operation();
    proxy.stand_aside();
    assert_eq!(*taken.lock().unwrap(), Vec::<String>::new());
    result.unwrap()
}

/// A TPM that does not mind wrong tries, whose owner and lockout have these values.
fn tolerant(swtpm: &SwTpm, owner: &Secret, lockout: &Secret) {
    let mut raw = swtpm.connect().unwrap();
    let limits = [1000_u32, 1, 1].iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let set = raw.command_with_empty_password(code("DictionaryAttackParameters"), &[0x4000_000a], &limits);
    assert_eq!(set.unwrap().0, 0);
    for (hierarchy, auth) in [(0x4000_0001, owner), (0x4000_000a, lockout)] {
        let new = tpm2b(auth.expose());
        let set = raw.command_with_empty_password(code("HierarchyChangeAuth"), &[hierarchy], &new);
        assert_eq!(set.unwrap().0, 0);
    }
}

fn nobody() -> Secret {
    Secret::zeroed(0)
}

#[test]
fn changes_of_pins_serve_nobody_else() {
    let (swtpm, proxy) = counted();
    tolerant(&swtpm, &nobody(), &nobody());
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let so_name = stage.so.name().unwrap();
    let (primary, user, new) = (&stage.primary, &stage.user, &secret(44));
    serves_nobody_else(&proxy, || tpm.change_auth(primary, &stage.so, &stage.so_auth, new));
    serves_nobody_else(&proxy, || tpm.change_user_auth(primary, user, &so_name, None, &stage.user_auth, new));
    serves_nobody_else(&proxy, || tpm.reset_user_auth(primary, user, &stage.so, None, &stage.so_auth, new));
    serves_nobody_else(&proxy, || tpm.unseal(primary, user, &stage.user_auth, None));
    tpm.release();
}

#[test]
fn a_login_by_policy_and_signatures_by_policy_serve_nobody_else() {
    let (swtpm, proxy) = counted();
    tolerant(&swtpm, &nobody(), &nobody());
    let tpm = at(&proxy.tcti());
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    let whole = policy(vec![now(&tpm, "sha256:0,10"), PolicyStep::AuthValue]);
    let (so, user) =
        (SealRequest { auth: &secret(1), data: &secret(3) }, SealRequest { auth: &secret(2), data: &secret(9) });
    let (so, user) = tpm.create_pin_objects(&primary, so, user, Some(&whole)).unwrap();
    let so_name = so.name().unwrap();
    let how = UserPolicy { policy: PolicyUse { policy: &whole, approvals: &[] }, so_name: &so_name };
    assert!(serves_nobody_else(&proxy, || tpm.unseal(&primary, &user, &secret(2), Some(how))) == secret(9));

    let key = Bound::make(&tpm, &primary, whole.steps().to_vec());
    for _ in 0..2 {
        serves_nobody_else(&proxy, || key.try_sign(&tpm, &primary));
    }
    tpm.release();
}

#[test]
fn approvals_with_a_counter_and_the_owners_value_serve_nobody_else() {
    let Office { swtpm, proxy, stage, tpm, authority, mut key, selection, values } = Office::open(&[]);
    tpm.release();
    let owner = secret(8);
    tolerant(&swtpm, &owner, &secret(9));
    let primary = &stage.primary;
    let (counter, most) = serves_nobody_else(&proxy, || tpm.define_counter(Some(primary), &owner));
    let limit = tpm::CounterLimit { counter: counter.clone(), most };
    key.approvals = vec![authority.approve_within(&selection, &values, limit)];
    for _ in 0..2 {
        serves_nobody_else(&proxy, || key.try_sign(&tpm, primary));
    }
    serves_nobody_else(&proxy, || tpm.increment_counter(Some(primary), &counter, &owner));
    serves_nobody_else(&proxy, || tpm.remove_counter(Some(primary), &counter, &owner));
    serves_nobody_else(&proxy, || tpm.evict(primary, &owner));
    tpm.release();
}

/// What is wrong with the lockout's value the TPM takes ill for a time: the attacker can have that, and nothing else.
#[test]
fn the_end_of_a_lockout_serves_nobody_else() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    tolerant(&swtpm, &nobody(), &secret(9));
    let tpm = at(&proxy.tcti());
    let taken = meddle(&proxy);
    assert!(tpm.reset_lockout(Some(&stage.primary), &secret(9)).is_err());
    assert_eq!(*taken.lock().unwrap(), Vec::<String>::new());
    tpm.release();
}

#[test]
fn a_key_on_its_way_serves_nobody_else() {
    let (swtpm, proxy) = counted();
    tolerant(&swtpm, &nobody(), &nobody());
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let private = PrivateKey::ec(Curve::P256, &Secret::copy_from(&[7; 32])).unwrap();
    let PrivateKey::Ec { public, .. } = &private else { panic!("not EC") };
    let place = PublicArea::recovery_ecc(public).unwrap();
    let (primary, auth) = (&stage.primary, secret(5));
    let wrapped = serves_nobody_else(&proxy, || tpm.create_duplicable_key(primary, &p256(), &place, &auth));
    let name = wrapped.name().unwrap();
    let key = Key { primary, wrapped: &wrapped, name: &name, auth: &auth, policy: None };
    let duplicate = serves_nobody_else(&proxy, || tpm.duplicate(&key, &place));
    let opened = tpm::RecoveryPrivate(&private).open(&duplicate).unwrap();
    let again = serves_nobody_else(&proxy, || tpm.import_opened(primary, &opened, &secret(6)));
    let key = Key { primary, wrapped: &again, name: &name, auth: &secret(6), policy: None };
    serves_nobody_else(&proxy, || tpm.change_key_auth(&key, &secret(7)));
    sign_and_check(&tpm, &key);
    tpm.release();
}

/// What he answers in the place of the TPM: the same command, without what proves it, and the end of the answer as he likes it.
fn lie(proxy: &Proxy, name: &'static str, end: &'static [u8]) {
    proxy.interpose(move |command, upstream| {
        let mut response = upstream.transact(command);
        let is_session = response.get(..2) == Some(&[0x80, 0x02]);
        if word(command, 6) == code(name) && rc(&response) == 0 {
            let parameters = if is_session { 14..14 + word(&response, 10) as usize } else { 10..response.len() };
            let at = parameters.end - end.len();
            response[at..at + end.len()].copy_from_slice(end);
        }
        response
    });
}

#[test]
fn what_is_signed_as_the_present_state_is_the_tpms_word() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let selection = authority::pcrs("sha256:10");
    let right = tpm.pcr_read_proved(&stage.primary, &selection).unwrap();
    assert_eq!(right, tpm.pcr_read(&selection).unwrap());
    lie(&proxy, "PCR_Read", &[0xbb; 32]);
    assert_eq!(tpm.pcr_read(&selection).unwrap()[&10], [0xbb; 32], "nobody proves it there");
    assert_eq!(tpm.pcr_read_proved(&stage.primary, &selection), Err(tpm::Error::ResponseHmac));
    proxy.stand_aside();
    tpm.release();
}

#[test]
fn how_far_a_counter_has_counted_is_the_tpms_word() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    lie(&proxy, "NV_Read", &[0xff; 8]);
    assert_eq!(tpm.define_counter(Some(&stage.primary), &nobody()), Err(tpm::Error::ResponseHmac));
    // Without a primary nobody proves it: but no counter counts so far.
    assert!(matches!(tpm.define_counter(None, &nobody()), Err(tpm::Error::Malformed(_))));
    proxy.stand_aside();
    // What was half made is gone.
    let (counter, _) = tpm.define_counter(Some(&stage.primary), &nobody()).unwrap();
    assert_eq!(counter.index(), 0x0180_0000);
    tpm.release();
}

/// Else an approval that is to be taken back stays good, and the program says that it is void.
#[test]
fn a_counter_that_is_said_to_be_gone_is_gone() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let primary = Some(&stage.primary);
    let (counter, _) = tpm.define_counter(primary, &nobody()).unwrap();
    for name in ["NV_ReadPublic", "NV_UndefineSpace"] {
        // TPM_RC_HANDLE of the first handle
        proxy.inject(swtpm_fixtures::Fault::Respond { code: code(name), rc: 0x18b, times: 1 });
        let result = tpm.remove_counter(primary, &counter, &nobody());
        assert!(matches!(result, Err(tpm::Error::Malformed(_))), "{name}: {result:?}");
    }
    tpm.remove_counter(primary, &counter, &nobody()).unwrap();
    assert_eq!(tpm.remove_counter(primary, &counter, &nobody()), Err(tpm::Error::CounterMissing));
    tpm.release();
    assert!(swtpm_fixtures::leftovers(&swtpm).is_clean());
}
