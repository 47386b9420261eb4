//! Many processes and threads on one store and one TPM, for a while: they sign, make and destroy keys and objects, log in and out and
//! change a PIN, and every so often one is killed in the middle of it.
//!
//! In the end the store opens, what was acknowledged is there, what was destroyed is not, nothing is half made, the PIN is one that
//! was set, every key signs, and the TPM holds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pkcs11_sys::*;
use swtpm_fixtures::leftovers;

use super::Rng;
use crate::probe::{Mechanism, Probe, attributes, bytes, flag, number, p256};
use crate::world::{ALPHA, BETA, Token, World};
use crate::{Argument, Ck};

/// Processes, and threads in each of those that work on keys.
const PROCESSES: usize = 4;
const THREADS: usize = 3;
/// How much longer it may take on a machine so slow that nothing has happened.
const OVERTIME: Duration = Duration::from_secs(120);

/// Why a piece of work ended.
enum End {
    Killed,
    Wrong(String),
}

type Outcome<T> = Result<T, End>;

/// What the world is believed to be, by those whose calls returned.
#[derive(Debug, Default)]
struct Books {
    /// Labels of keys and objects that are there.
    made: BTreeSet<String>,
    /// Those that may be there or not: a process was killed while it made or destroyed them.
    unsure: BTreeSet<String>,
    destroyed: BTreeSet<String>,
    /// What the PIN of the second token may be: one, unless a process was killed while it changed it.
    pins: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

struct Soak {
    world: World,
    books: Mutex<Books>,
    wrong: Mutex<Vec<String>>,
    names: AtomicU64,
    over: AtomicBool,
    end: Instant,
}

/// Works for so long, and looks at what is left.
///
/// # Errors
/// What is not as it should be, for a person.
pub fn run(time: Duration, seed: u64) -> Result<String, String> {
    let world = World::new().managed();
    world.tpm.set_lockout(1_000_000, 1);
    let books = Books { pins: vec![BETA.user_pin.unwrap_or_default().to_owned()], ..Books::default() };
    let soak = Soak {
        world,
        books: Mutex::new(books),
        wrong: Mutex::default(),
        names: AtomicU64::new(0),
        over: AtomicBool::new(false),
        end: Instant::now() + time,
    };
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            let soak = &soak;
            scope.spawn(move || soak.keep(Rng::new(seed.wrapping_add(process as u64 * 1_000_003)), process));
        }
    });
    let wrong = std::mem::take(&mut *soak.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    if !wrong.is_empty() {
        return Err(format!("soak, seed {seed}:\n{}", wrong.join("\n")));
    }
    soak.settle().map_err(|what| format!("soak, seed {seed}: {what}"))
}

impl Soak {
    fn running(&self) -> bool {
        let now = Instant::now();
        let time = now < self.end || now < self.end + OVERTIME && self.has_hardly_begun();
        time && !self.over.load(Ordering::Relaxed)
    }

    fn has_hardly_begun(&self) -> bool {
        let books = self.books();
        let count = |what| books.counts.get(what).copied().unwrap_or_default();
        count("signatures") < 10 || count("keys made") == 0 || count("PINs changed") == 0
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: &'static str) {
        *self.books().counts.entry(what).or_default() += 1;
    }

    /// One process after another, each killed sooner or later, or ended in order.
    fn keep(&self, mut rng: Rng, place: usize) {
        while self.running() {
            let probe = self.world.probe();
            let life = Duration::from_millis(500 + rng.below(4000) as u64);
            let killed = rng.one_in(2);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..if place == 0 { 1 } else { THREADS })
                    .map(|_| {
                        let (thread, mut rng) = (probe.thread(), Rng::new(rng.number()));
                        let done = &done;
                        scope.spawn(move || {
                            let outcome = match place {
                                0 => self.change_pins(&thread, &mut rng, done),
                                1 => self.come_and_go(&thread, &mut rng, done),
                                _ => self.work(&thread, &mut rng, done),
                            };
                            if let Err(End::Wrong(what)) = outcome {
                                self.over.store(true, Ordering::Relaxed);
                                self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
                            }
                        })
                    })
                    .collect();
                let end = Instant::now() + life;
                while Instant::now() < end && self.running() && workers.iter().any(|worker| !worker.is_finished()) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if killed {
                    self.count("processes killed");
                    probe.end_now();
                } else {
                    done.store(true, Ordering::Relaxed);
                }
            });
            if !killed {
                self.count("processes ended");
                match probe.try_any("C_Finalize", vec![Argument::NULL]) {
                    Some((CKR_OK, _)) => {}
                    other => {
                        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("C_Finalize: {other:?}"))
                    }
                }
            }
        }
    }

    /// Signs, makes, destroys.
    fn work(&self, probe: &Probe, rng: &mut Rng, done: &AtomicBool) -> Outcome<()> {
        let session = self.user(probe, &ALPHA, &[ALPHA.user_pin.unwrap_or_default().to_owned()])?;
        let mut own = Vec::new();
        while self.running() && !done.load(Ordering::Relaxed) {
            match rng.below(10) {
                0 => own.push(self.make_key(probe, session)?),
                1 | 2 => own.push(self.make_data(probe, session, rng)?),
                3 if !own.is_empty() => {
                    let label = own.swap_remove(rng.below(own.len()));
                    self.destroy(probe, session, &label)?;
                }
                _ => {
                    let (label, mechanism, len) =
                        if rng.one_in(4) { ("rsa", CKM_SHA256_RSA_PKCS, 256) } else { ("p256", CKM_ECDSA_SHA256, 64) };
                    let key = self.find(
                        probe,
                        session,
                        &[number(CKA_CLASS, CKO_PRIVATE_KEY), bytes(CKA_LABEL, label.as_bytes())],
                    )?;
                    let [key] = key.as_slice() else {
                        return Err(End::Wrong(format!("{label} is there {} times", key.len())));
                    };
                    let signature = self.sign(probe, session, mechanism, *key)?;
                    if signature != len {
                        return Err(End::Wrong(format!("a signature of {signature} bytes by {label}")));
                    }
                    self.count("signatures");
                }
            }
        }
        Ok(())
    }

    /// Logs in and out, which all threads of the process share.
    fn come_and_go(&self, probe: &Probe, rng: &mut Rng, done: &AtomicBool) -> Outcome<()> {
        self.initialize(probe)?;
        let session = self.open(probe, &ALPHA)?;
        let pin = ALPHA.user_pin.unwrap_or_default();
        while self.running() && !done.load(Ordering::Relaxed) {
            let (function, arguments, allowed): (_, _, &[u64]) = match rng.below(4) {
                0 => ("C_Login", login(session, pin), &[CKR_USER_ALREADY_LOGGED_IN]),
                1 => ("C_Logout", vec![session.into()], &[CKR_USER_NOT_LOGGED_IN]),
                2 => ("C_FindObjectsInit", vec![session.into(), Argument::NULL, 0.into()], &[]),
                _ => ("C_GenerateRandom", vec![session.into(), Argument::buffer(32), 32.into()], &[]),
            };
            self.calls(probe, function, arguments, allowed)?;
            if function == "C_FindObjectsInit" {
                self.calls(probe, "C_FindObjectsFinal", vec![session.into()], &[CKR_OPERATION_NOT_INITIALIZED])?;
            }
            self.count("logins and such");
        }
        Ok(())
    }

    /// Changes the PIN of the second token, again and again.
    fn change_pins(&self, probe: &Probe, rng: &mut Rng, done: &AtomicBool) -> Outcome<()> {
        let pins = self.books().pins.clone();
        self.initialize(probe)?;
        let session = self.open(probe, &BETA)?;
        let mut known = None;
        for pin in &pins {
            if self.calls(probe, "C_Login", login(session, pin), &[CKR_PIN_INCORRECT])? == CKR_OK {
                known = Some(pin.clone());
                break;
            }
        }
        let Some(mut pin) = known else { return Err(End::Wrong(format!("none of these is the PIN: {pins:?}"))) };
        self.books().pins = vec![pin.clone()];
        while self.running() && !done.load(Ordering::Relaxed) {
            let new = format!("pin-{}", rng.below(1_000_000));
            self.books().pins = vec![pin.clone(), new.clone()];
            let mut arguments = vec![session.into()];
            for pin in [&pin, &new] {
                arguments.extend([Argument::bytes(pin.as_bytes()), (pin.len() as u64).into()]);
            }
            self.calls(probe, "C_SetPIN", arguments, &[])?;
            self.books().pins = vec![new.clone()];
            pin = new;
            self.count("PINs changed");
        }
        Ok(())
    }

    fn make_key(&self, probe: &Probe, session: u64) -> Outcome<String> {
        let label = self.name("key");
        let with_label = |template: &[crate::probe::Attribute]| {
            let mut template = template.to_vec();
            template.push(bytes(CKA_LABEL, label.as_bytes()));
            (attributes(&template), Argument::Word(template.len() as u64))
        };
        let (public, public_len) = with_label(&p256(true));
        let (private, private_len) = with_label(&[flag(CKA_TOKEN, true), flag(CKA_SIGN, true)]);
        let mechanism = Mechanism::plain(CKM_EC_KEY_PAIR_GEN).argument();
        let arguments = vec![
            session.into(),
            mechanism,
            public,
            public_len,
            private,
            private_len,
            Argument::place(0),
            Argument::place(0),
        ];
        self.making(&label, || self.call(probe, "C_GenerateKeyPair", arguments, &[]).map(drop))?;
        self.count("keys made");
        Ok(label)
    }

    fn make_data(&self, probe: &Probe, session: u64, rng: &mut Rng) -> Outcome<String> {
        let label = self.name("data");
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, label.as_bytes()),
            bytes(CKA_VALUE, &rng.bytes(200)),
        ];
        let arguments = vec![session.into(), attributes(&template), 4.into(), Argument::place(0)];
        self.making(&label, || self.call(probe, "C_CreateObject", arguments, &[]).map(drop))?;
        self.count("objects made");
        Ok(label)
    }

    /// Whatever happens while it is made, it may be there from now on.
    fn making(&self, label: &str, make: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        self.books().unsure.insert(label.to_owned());
        make()?;
        let mut books = self.books();
        books.unsure.remove(label);
        books.made.insert(label.to_owned());
        Ok(())
    }

    fn destroy(&self, probe: &Probe, session: u64, label: &str) -> Outcome<()> {
        {
            let mut books = self.books();
            books.made.remove(label);
            books.unsure.insert(label.to_owned());
        }
        let objects = self.find(probe, session, &[bytes(CKA_LABEL, label.as_bytes())])?;
        let halves = if label.starts_with("key") { 2 } else { 1 };
        if objects.len() != halves {
            return Err(End::Wrong(format!("{label} is there {} times", objects.len())));
        }
        for object in objects {
            self.calls(probe, "C_DestroyObject", vec![session.into(), object.into()], &[])?;
        }
        let mut books = self.books();
        books.unsure.remove(label);
        books.destroyed.insert(label.to_owned());
        drop(books);
        self.count("destroyed");
        Ok(())
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A call, with what it may return besides `CKR_OK`.
    fn call(
        &self,
        probe: &Probe,
        function: &str,
        arguments: Vec<Argument>,
        allowed: &[u64],
    ) -> Outcome<(u64, Vec<Argument>)> {
        let Some((rv, left)) = probe.try_any(function, arguments) else {
            let obituary = probe.obituary();
            // Killed by us, and by nobody else.
            return Err(if obituary.contains("Some(9)") {
                End::Killed
            } else {
                End::Wrong(format!("{function}: {obituary}"))
            });
        };
        if rv == CKR_OK || allowed.contains(&rv) {
            Ok((rv, left))
        } else {
            Err(End::Wrong(format!("{function} returned {:?}: {}", Ck(rv), last_lines(&self.world.log()))))
        }
    }

    fn calls(&self, probe: &Probe, function: &str, arguments: Vec<Argument>, allowed: &[u64]) -> Outcome<u64> {
        self.call(probe, function, arguments, allowed).map(|(rv, _)| rv)
    }

    fn initialize(&self, probe: &Probe) -> Outcome<()> {
        self.calls(probe, "C_Initialize", vec![Argument::NULL], &[CKR_CRYPTOKI_ALREADY_INITIALIZED]).map(drop)
    }

    fn open(&self, probe: &Probe, token: &Token) -> Outcome<u64> {
        let (_, left) =
            self.call(probe, "C_GetSlotList", vec![1.into(), Argument::buffer(8 * 64), Argument::place(64)], &[])?;
        let slots = left[1].content().chunks(8).take(left[2].word() as usize);
        for slot in slots.map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())) {
            let info = vec![slot.into(), Argument::buffer(size_of::<CK_TOKEN_INFO>())];
            let (_, left) = self.call(probe, "C_GetTokenInfo", info, &[])?;
            if left[1].content().starts_with(format!("{:<32}", token.label).as_bytes()) {
                let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
                let arguments = vec![slot.into(), flags.into(), Argument::NULL, Argument::NULL, Argument::place(0)];
                return Ok(self.call(probe, "C_OpenSession", arguments, &[])?.1[4].word());
            }
        }
        Err(End::Wrong(format!("the token {} is not there", token.label)))
    }

    fn user(&self, probe: &Probe, token: &Token, pins: &[String]) -> Outcome<u64> {
        self.initialize(probe)?;
        let session = self.open(probe, token)?;
        for pin in pins {
            self.calls(probe, "C_Login", login(session, pin), &[CKR_USER_ALREADY_LOGGED_IN])?;
        }
        Ok(session)
    }

    fn find(&self, probe: &Probe, session: u64, template: &[crate::probe::Attribute]) -> Outcome<Vec<u64>> {
        let arguments = vec![session.into(), attributes(template), (template.len() as u64).into()];
        self.call(probe, "C_FindObjectsInit", arguments, &[])?;
        let room = crate::probe::words_place(16);
        let (_, left) =
            self.call(probe, "C_FindObjects", vec![session.into(), room, 16.into(), Argument::place(0)], &[])?;
        self.call(probe, "C_FindObjectsFinal", vec![session.into()], &[])?;
        Ok(crate::probe::words_of(&left[1])[..left[3].word() as usize].to_vec())
    }

    fn sign(&self, probe: &Probe, session: u64, mechanism: u64, key: u64) -> Outcome<u64> {
        let mechanism = Mechanism::plain(mechanism).argument();
        self.call(probe, "C_SignInit", vec![session.into(), mechanism, key.into()], &[])?;
        let arguments =
            vec![session.into(), Argument::bytes(b"message"), 7.into(), Argument::buffer(512), Argument::place(512)];
        Ok(self.call(probe, "C_Sign", arguments, &[])?.1[4].word())
    }

    /// When all are gone.
    fn settle(&self) -> Result<String, String> {
        let books = std::mem::take(&mut *self.books());
        let probe = self.world.probe();
        let end = |end| match end {
            End::Killed => "the last process was killed".to_owned(),
            End::Wrong(what) => what,
        };
        let pin = ALPHA.user_pin.unwrap_or_default().to_owned();
        let session = self.user(&probe, &ALPHA, &[pin]).map_err(end)?;
        let labels = |label: &str| self.find(&probe, session, &[bytes(CKA_LABEL, label.as_bytes())]).map_err(end);
        for label in &books.made {
            let objects = labels(label)?;
            if objects.len() != if label.starts_with("key") { 2 } else { 1 } {
                return Err(format!("{label} was made and is there {} times", objects.len()));
            }
        }
        for label in &books.destroyed {
            if !labels(label)?.is_empty() {
                return Err(format!("{label} was destroyed and is there"));
            }
        }
        let keys = books.made.iter().filter(|label| label.starts_with("key"));
        for label in keys.map(String::as_str).chain(["rsa", "p256", "p384"]) {
            let template = [number(CKA_CLASS, CKO_PRIVATE_KEY), bytes(CKA_LABEL, label.as_bytes())];
            let key = *self.find(&probe, session, &template).map_err(end)?.first().ok_or(format!("{label} is gone"))?;
            let mechanism = if label == "rsa" { CKM_SHA256_RSA_PKCS } else { CKM_ECDSA_SHA256 };
            self.sign(&probe, session, mechanism, key).map_err(|why| format!("{label}: {}", end(why)))?;
        }
        let beta = self.open(&probe, &BETA).map_err(end)?;
        let good = books.pins.iter().filter(|pin| probe.login(beta, CKU_USER, pin).is_ok()).count();
        if good != 1 {
            return Err(format!("{good} of {:?} are the PIN", books.pins));
        }
        probe.finalize().map_err(|error| error.to_string())?;
        drop(probe);
        let check =
            self.world.ptool(&["verify", "--label", ALPHA.label, "--userpin", ALPHA.user_pin.unwrap_or_default()]);
        if !check.success() {
            return Err(format!("ptool verify: {check:?}"));
        }
        self.empty()?;
        let mut text = String::new();
        for (what, count) in &books.counts {
            text += &format!("{count:7} {what}\n");
        }
        Ok(format!(
            "{text}{} are there, {} may be, {} are not",
            books.made.len(),
            books.unsure.len(),
            books.destroyed.len()
        ))
    }

    /// The TPM holds nothing, once the resource manager has noticed that everybody is gone.
    fn empty(&self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let held = leftovers(&self.world.tpm);
            if held.is_clean() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("the TPM still holds {held:?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn login(session: u64, pin: &str) -> Vec<Argument> {
    vec![session.into(), CKU_USER.into(), Argument::bytes(pin.as_bytes()), (pin.len() as u64).into()]
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n  ")
}
