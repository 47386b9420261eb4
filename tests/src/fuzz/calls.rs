//! Random sequences of calls against tokens in a software TPM. The module lives in a process of its own, in which all memory that
//! a call gets ends at an unreadable page.
//!
//! Whatever is asked, in whatever order: the process lives, the return value is one of the function's, no panic is in the log, and
//! after C_Finalize the TPM holds nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pkcs11_sys::*;
use swtpm_fixtures::leftovers;

use super::arguments::{Known, Use, arguments};
use super::returns::is_allowed;
use super::{Finding, Rng};
use crate::call::{Request, Via, receive, send};
use crate::probe::{attributes, bytes, flag, number};
use crate::signatures::{SIGNATURES, Signature};
use crate::world::World;
use crate::{Argument, Ck, Piece, Probe};

/// Calls in the life of a process, and such lives on one TPM.
const CALLS: usize = 250;
const LIVES: usize = 8;

/// Makes calls for so long. What was done, or what was found; its calls are then in a file in `out`.
///
/// # Errors
/// The finding, for a person.
pub fn run(out: &Path, time: Duration, seed: u64) -> Result<String, String> {
    let mut end = None;
    let mut tally = Tally::default();
    let mut seed = seed;
    loop {
        let world = World::new();
        // Making the first one takes as long as it takes.
        let end = *end.get_or_insert_with(|| Instant::now() + time);
        // Wrong PINs are many.
        world.tpm.set_lockout(1_000_000, 1);
        for _ in 0..LIVES {
            let first = tally.0.is_empty();
            let mut life = Life { rng: Rng::new(seed), calls: Vec::new(), tally: &mut tally, world: &world };
            // The first is a whole one, however slow the machine.
            let limit = (!first).then_some(end);
            if let Err(what) = life.live(limit) {
                let finding = Finding { what: format!("calls, seed {seed}: {what}"), input: life.calls };
                std::fs::create_dir_all(out).unwrap();
                let file = out.join(format!("calls-{seed}"));
                std::fs::write(&file, &finding.input).unwrap();
                return Err(format!("{}\n  {}", finding.what, file.display()));
            }
            seed += 1;
            if Instant::now() >= end {
                return Ok(tally.to_string());
            }
        }
    }
}

/// Makes the calls of a file again, as they are: what was a handle then need not be one now.
///
/// # Errors
/// The finding, for a person.
pub fn replay(file: &Path) -> Result<String, String> {
    let calls = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut calls = calls.as_slice();
    let world = World::new();
    world.tpm.set_lockout(1_000_000, 1);
    let mut tally = Tally::default();
    let mut life = Life { rng: Rng::new(0), calls: Vec::new(), tally: &mut tally, world: &world };
    let probe = world.probe();
    while let Some(Request::Call { function, arguments, .. }) =
        receive(&mut calls).map_err(|error| error.to_string())?
    {
        let (rv, _) = life.call(&probe, &function, arguments)?;
        println!("{function} {:?}", Ck(rv));
    }
    life.look_back(true)?;
    Ok(tally.to_string())
}

/// How often each function returned each value.
#[derive(Debug, Default)]
struct Tally(BTreeMap<(String, u64), usize>);

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let good = self.0.iter().filter(|((_, rv), _)| *rv == CKR_OK);
        let (mut all, mut well) = (0, 0);
        for ((function, rv), count) in &self.0 {
            writeln!(f, "{count:7} {function} {:?}", Ck(*rv))?;
            all += count;
        }
        let functions = good.inspect(|(_, count)| well += **count).count();
        write!(f, "{all} calls, {well} of them well, of {functions} functions")
    }
}

/// The life of one process.
struct Life<'a> {
    rng: Rng,
    /// What was called, as lines of requests.
    calls: Vec<u8>,
    tally: &'a mut Tally,
    world: &'a World,
}

impl Life<'_> {
    fn live(&mut self, end: Option<Instant>) -> Result<(), String> {
        let probe = self.world.probe();
        self.call(&probe, "C_Initialize", vec![Argument::NULL])?;
        self.calls.clear();
        let mut known = self.look_around(&probe)?;
        let mut next = None;
        for _ in 0..CALLS {
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let (signature, session) = match next.take() {
                Some((name, session)) => (of(name), Some(session)),
                None => (self.any(), None),
            };
            let arguments = arguments(signature, &known, session, &mut self.rng);
            let asked = arguments.first().map(|first| if let Argument::Word(word) = first { *word } else { 0 });
            let (rv, left) = self.call(&probe, signature.name, arguments)?;
            learn(&mut known, signature, rv, &left);
            next = asked.filter(|_| !self.rng.one_in(5)).and_then(|session| self.after(signature.name, rv, session));
        }
        // A process that ends without a word is another story: what it held stays until others need the room.
        self.call(&probe, "C_Finalize", vec![Argument::NULL])?;
        drop(probe);
        self.look_back(false)
    }

    /// Any function, those that end everything seldom.
    fn any(&mut self) -> &'static Signature {
        loop {
            let signature = self.rng.pick(SIGNATURES);
            let seldom = matches!(
                signature.name,
                "C_InitToken"
                    | "C_CloseAllSessions"
                    | "C_CloseSession"
                    | "C_Logout"
                    | "C_SessionCancel"
                    | "C_SetPIN"
                    | "C_InitPIN"
                    | "C_DestroyObject"
            );
            if !seldom || self.rng.one_in(6) {
                return signature;
            }
        }
    }

    /// What goes on with the operation that a call has begun or continued.
    fn after(&mut self, function: &str, rv: u64, session: u64) -> Option<(&'static str, u64)> {
        const FAMILIES: [(&str, &[&str]); 11] = [
            ("Sign", &["C_Sign", "C_SignUpdate", "C_SignFinal", "C_Login"]),
            ("Verify", &["C_Verify", "C_VerifyUpdate", "C_VerifyFinal"]),
            ("Encrypt", &["C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal"]),
            ("Decrypt", &["C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal"]),
            ("Digest", &["C_Digest", "C_DigestUpdate", "C_DigestFinal", "C_DigestKey", "C_GetOperationState"]),
            ("SignRecover", &["C_SignRecover"]),
            ("VerifyRecover", &["C_VerifyRecover"]),
            ("FindObjects", &["C_FindObjects", "C_FindObjectsFinal"]),
            ("MessageEncrypt", &["C_EncryptMessage", "C_EncryptMessageBegin", "C_MessageEncryptFinal"]),
            ("MessageSign", &["C_SignMessage", "C_SignMessageBegin", "C_MessageSignFinal"]),
            ("MessageDecrypt", &["C_DecryptMessage", "C_DecryptMessageBegin", "C_MessageDecryptFinal"]),
        ];
        let name = function.strip_prefix("C_")?;
        let name = ["Init", "Update", "Begin", "Next"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let (_, followers) = FAMILIES.iter().find(|(family, _)| *family == name)?;
        let goes_on = matches!(rv, CKR_OK | CKR_BUFFER_TOO_SMALL);
        goes_on.then(|| (*self.rng.pick(followers), session))
    }

    /// Sessions on all tokens, with users, and what can be found.
    fn look_around(&mut self, probe: &Probe) -> Result<Known, String> {
        let mut known = Known { slots: probe.slots(false).unwrap_or_default(), ..Known::default() };
        for slot in known.slots.clone() {
            known.mechanisms.extend(probe.mechanisms(slot).unwrap_or_default());
            for _ in 0..2 {
                let Ok(session) = probe.open(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION) else { continue };
                known.sessions.push(session);
            }
            let Some(session) = known.sessions.last() else { continue };
            // With the PIN it has now, whatever became of it.
            for pin in ["user-alpha", "user-beta", "another pin"] {
                if probe.login(*session, CKU_USER, pin).is_ok() {
                    break;
                }
            }
            let session = *session;
            self.make_keys(probe, session);
            for object in probe.find(session, &[]).unwrap_or_default() {
                known.objects.push(object);
                known.keys.extend(what_it_is(probe, session, object).map(|kind| (kind, object)));
            }
        }
        // Most of what happens, happens where most keys are.
        let first: Vec<u64> = known.sessions.iter().copied().take(2).collect();
        known.sessions.extend(first.repeat(3));
        known.mechanisms.sort_unstable();
        known.mechanisms.dedup();
        if known.sessions.is_empty() { Err("no session opens any more".to_owned()) } else { Ok(known) }
    }

    /// Keys of the session, in memory, that may do everything.
    fn make_keys(&self, probe: &Probe, session: u64) {
        for (kind, len) in [(CKK_AES, 16), (CKK_GENERIC_SECRET, 32)] {
            let mut template = vec![
                number(CKA_CLASS, CKO_SECRET_KEY),
                number(CKA_KEY_TYPE, kind),
                bytes(CKA_VALUE, &vec![7; len]),
                flag(CKA_TOKEN, false),
                flag(CKA_EXTRACTABLE, true),
                flag(CKA_SIGN, true),
                flag(CKA_VERIFY, true),
                flag(CKA_DERIVE, true),
            ];
            if kind == CKK_AES {
                template.extend([CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP].map(|ty| flag(ty, true)));
            }
            let len = template.len() as u64;
            let arguments = vec![session.into(), attributes(&template), len.into(), Argument::place(0)];
            // Where nobody is logged in it is refused.
            let _ = probe.try_any("C_CreateObject", arguments);
        }
    }

    fn call(
        &mut self,
        probe: &Probe,
        function: &str,
        arguments: Vec<Argument>,
    ) -> Result<(u64, Vec<Argument>), String> {
        let request = Request::Call { function: function.to_owned(), via: Via::Symbol, arguments: arguments.clone() };
        send(&mut self.calls, &request).unwrap();
        let Some((rv, left)) = probe.try_any(function, arguments) else {
            return Err(format!("{function}: no answer; {}", probe.obituary()));
        };
        *self.tally.0.entry((function.to_owned(), rv)).or_default() += 1;
        let general = ["C_Initialize", "C_Finalize"].contains(&function) && rv == CKR_OK;
        if !general && !is_allowed(function, rv) {
            return Err(format!("{function} returned {:?}", Ck(rv)));
        }
        Ok((rv, left))
    }

    /// After the end of a process.
    fn look_back(&self, any: bool) -> Result<(), String> {
        let held = leftovers(&self.world.tpm);
        if !any && !held.is_clean() {
            return Err(format!("the TPM still holds {held:?}"));
        }
        let log = self.world.log();
        match log.lines().find(|line| line.contains("panicked")) {
            Some(line) => Err(line.to_owned()),
            None => Ok(()),
        }
    }
}

fn what_it_is(probe: &Probe, session: u64, object: u64) -> Option<Use> {
    let word = |ty| probe.attribute(session, object, ty).ok()?.try_into().ok().map(u64::from_ne_bytes);
    match (word(CKA_CLASS)?, word(CKA_KEY_TYPE)?) {
        (CKO_PUBLIC_KEY, CKK_RSA) => Some(Use::RsaPublic),
        (CKO_PRIVATE_KEY, CKK_RSA) => Some(Use::RsaPrivate),
        (CKO_PUBLIC_KEY, CKK_EC) => Some(Use::EcPublic),
        (CKO_PRIVATE_KEY, CKK_EC) => Some(Use::EcPrivate),
        (CKO_SECRET_KEY, CKK_AES) => Some(Use::Aes),
        (CKO_SECRET_KEY, _) => Some(Use::Secret),
        _ => None,
    }
}

fn of(name: &str) -> &'static Signature {
    SIGNATURES.iter().find(|signature| signature.name == name).expect("a function of the interface")
}

/// Takes note of what a call has made.
fn learn(known: &mut Known, signature: &Signature, rv: u64, left: &[Argument]) {
    if rv != CKR_OK {
        return;
    }
    let bytes = |argument: &Argument| match argument {
        Argument::Pointer(memory) => match memory.pieces.as_slice() {
            [Piece::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        },
        Argument::Word(_) => None,
    };
    let word = |argument: &Argument| {
        let bytes = bytes(argument)?;
        Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?))
    };
    match signature.name {
        "C_OpenSession" => known.sessions.extend(left.last().and_then(word)),
        "C_CreateObject" | "C_CopyObject" | "C_GenerateKey" | "C_UnwrapKey" | "C_DeriveKey" => {
            known.objects.extend(left.last().and_then(word));
        }
        "C_GenerateKeyPair" => known.objects.extend(left.iter().rev().take(2).filter_map(word)),
        _ => {
            if let [.., out, Argument::Pointer(len)] = left
                && let [Piece::Word(len)] = len.pieces.as_slice()
                && let Some(bytes) = bytes(out).filter(|bytes| *len as usize <= bytes.len())
                && known.outputs.len() < 60
            {
                known.outputs.push(bytes[..*len as usize].to_vec());
            }
        }
    }
}
