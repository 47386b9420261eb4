//! Readers fed with bent specimens, each in a process of its own that is watched.
//!
//! What gives an outcome that was not seen before becomes a specimen itself, so that one bend leads to the next.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::answers::STAGE;
use super::readers::{CONFIG, Target};
use super::{Finding, Rng, mutate};
use crate::call::hex;

/// How to feed.
#[derive(Clone, Debug)]
pub struct Feeding {
    /// What is fed.
    pub targets: Vec<&'static Target>,
    /// For how long, all of them together.
    pub time: Duration,
    /// Where the numbers begin.
    pub seed: u64,
    /// How long one input may take.
    pub patience: Duration,
    /// The directory for inputs of findings.
    pub out: PathBuf,
}

/// What became of one target.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// Inputs that were read.
    pub runs: u64,
    /// Kinds of outcomes.
    pub outcomes: usize,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Findings of one target that end its time: they are mostly the same.
const MOST: usize = 3;

impl Feeding {
    /// Feeds them all, as many at once as there are processors.
    pub fn run(&self) -> Vec<Report> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(self.targets.len());
        let each = self.time * jobs as u32 / self.targets.len() as u32;
        let waiting = Mutex::new(self.targets.iter());
        let reports = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let Some(target) = waiting.lock().unwrap().next() else { return };
                        let report = self.feed(target, each);
                        reports.lock().unwrap().push(report);
                    }
                });
            }
        });
        reports.into_inner().unwrap()
    }

    fn feed(&self, target: &'static Target, time: Duration) -> Report {
        let mut report = Report { name: target.name, ..Report::default() };
        let mut left = time;
        for seed in self.seed.. {
            let place = tempfile::Builder::new().prefix("fuzz-").tempdir().unwrap();
            let work = Work { seed, millis: left.as_millis() as u64, input: None };
            let start = Instant::now();
            let (status, hung) = self.watch(target, place.path(), &work);
            let state = State::read(place.path());
            report.runs += state.runs;
            if let Some(done) = read_json::<Done>(&place.path().join(DONE)) {
                report.outcomes = report.outcomes.max(done.outcomes);
                return report;
            }
            let what = match read_json::<String>(&place.path().join(PANIC)) {
                Some(panic) => panic,
                None if hung => format!("no outcome in {:?}", self.patience * target.patience),
                None => format!("the process ended: {status}"),
            };
            let what = format!("{}, seed {seed}, input {}: {what}", target.name, state.runs);
            let finding = Finding { what, input: state.input };
            self.keep(target, place.path(), &finding);
            report.findings.push(finding);
            left = left.saturating_sub(start.elapsed());
            if report.findings.len() == MOST || left.is_zero() {
                break;
            }
        }
        report
    }

    /// Runs a process to its end, or ends it. Whether it had to be.
    fn watch(&self, target: &Target, place: &Path, work: &Work) -> (ExitStatus, bool) {
        std::fs::write(place.join(WORK), serde_json::to_vec(work).unwrap()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", target.name])
            .arg(place)
            .env("TPM2_CRYPTOKI_CONFIG", place.join(CONFIG))
            .env("TMPDIR", place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(20));
            if let Some(status) = child.try_wait().unwrap() {
                return (status, false);
            }
            let runs = State::runs(place);
            // Making specimens takes longer than reading one.
            let patience = self.patience * target.patience;
            let patience = if runs == 0 { patience.max(Duration::from_secs(300)) } else { patience };
            if runs != seen.0 {
                seen = (runs, Instant::now());
            } else if seen.1.elapsed() > patience {
                child.kill().unwrap();
                return (child.wait().unwrap(), true);
            }
        }
    }

    fn keep(&self, target: &Target, place: &Path, finding: &Finding) {
        std::fs::create_dir_all(&self.out).unwrap();
        let mut hasher = DefaultHasher::new();
        finding.input.hash(&mut hasher);
        let file = self.out.join(format!("{}-{:016x}", target.name, hasher.finish()));
        std::fs::write(&file, &finding.input).unwrap();
        let _ = std::fs::copy(place.join(STAGE), file.with_extension(STAGE));
        println!("{}\n  {}\n  {}", finding.what, file.display(), hex(&finding.input));
    }

    /// Feeds one input again.
    pub fn replay(&self, target: &'static Target, file: &Path) -> Option<Finding> {
        let place = tempfile::Builder::new().prefix("fuzz-").tempdir().unwrap();
        let _ = std::fs::copy(file.with_extension(STAGE), place.path().join(STAGE));
        let input = std::fs::read(file).unwrap();
        let work = Work { seed: 0, millis: 0, input: Some(hex(&input)) };
        let (status, hung) = self.watch(target, place.path(), &work);
        if read_json::<Done>(&place.path().join(DONE)).is_some() {
            return None;
        }
        let panic = read_json(&place.path().join(PANIC));
        let what = panic.unwrap_or_else(|| if hung { "no outcome".to_owned() } else { status.to_string() });
        Some(Finding { what, input })
    }
}

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    seed: u64,
    millis: u64,
    /// In hexadecimal digits: this alone.
    input: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    outcomes: usize,
}

const WORK: &str = "work.json";
const DONE: &str = "done.json";
const PANIC: &str = "panic.json";
const CURRENT: &str = "current";

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// What a process is at: the number of its input and the input, in a file that outlives it.
struct State {
    runs: u64,
    input: Vec<u8>,
}

impl State {
    fn write(file: &File, runs: u64, input: &[u8]) {
        let head = [runs.to_be_bytes(), (input.len() as u64).to_be_bytes()].concat();
        file.write_all_at(input, 16).unwrap();
        file.write_all_at(&head, 0).unwrap();
    }

    fn runs(place: &Path) -> u64 {
        let mut octets = [0; 8];
        let read = File::open(place.join(CURRENT)).and_then(|file| file.read_exact_at(&mut octets, 0));
        read.map_or(0, |()| u64::from_be_bytes(octets))
    }

    fn read(place: &Path) -> State {
        let bytes = std::fs::read(place.join(CURRENT)).unwrap_or_default();
        let word =
            |at: usize| bytes.get(at..at + 8).map_or(0, |word| u64::from_be_bytes(word.try_into().unwrap_or_default()));
        let input = bytes.get(16..16 + word(8) as usize).unwrap_or_default().to_vec();
        State { runs: word(0), input }
    }
}

/// Panics of any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The process that reads: `fuzz worker TARGET DIRECTORY`. Whether all went well.
pub fn work(target: &Target, place: &Path) -> bool {
    let work: Work = read_json(&place.join(WORK)).expect("what to do");
    // Made with the panics of a test: what cannot be made is no finding.
    let mut reader = (target.reader)(place);
    let mut specimens = reader.specimens();
    std::panic::set_hook(Box::new(|info| PANICS.lock().unwrap().push(info.to_string())));
    let current = File::create(place.join(CURRENT)).expect("a file");
    let mut outcomes = HashSet::new();
    let mut runs = 0;
    let mut read = |input: &[u8]| -> Result<bool, String> {
        runs += 1;
        State::write(&current, runs, input);
        let outcome = catch_unwind(AssertUnwindSafe(|| reader.read(input)));
        match PANICS.lock().unwrap().pop() {
            Some(panic) => Err(panic),
            None => Ok(outcomes.insert(outcome.unwrap_or_default())),
        }
    };
    let mut all = || -> Result<(), String> {
        if let Some(input) = &work.input {
            return read(&crate::call::unhex(input).expect("hexadecimal digits")).map(drop);
        }
        for specimen in &specimens {
            read(specimen)?;
        }
        let originals = specimens.len();
        let mut rng = Rng::new(work.seed);
        let end = Instant::now() + Duration::from_millis(work.millis);
        while Instant::now() < end {
            // As often from the originals as from what came of them.
            let among = if rng.one_in(2) { originals } else { specimens.len() };
            let specimen = specimens[rng.below(among)].clone();
            let input = mutate(&specimen, &specimens, target.form, &mut rng);
            if read(&input)? && specimens.len() < 4000 {
                specimens.push(input);
            }
        }
        Ok(())
    };
    let outcome = all();
    match &outcome {
        Ok(()) => {
            let done = Done { outcomes: outcomes.len() };
            std::fs::write(place.join(DONE), serde_json::to_vec(&done).unwrap()).unwrap();
        }
        Err(panic) => std::fs::write(place.join(PANIC), serde_json::to_vec(panic).unwrap()).unwrap(),
    }
    outcome.is_ok()
}
