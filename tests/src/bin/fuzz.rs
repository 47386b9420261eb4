//! Feeds the product what nobody sends it on purpose: `fuzz bytes`, `fuzz calls` and `fuzz soak`, for as many seconds and from the seed
//! that it is told. Ends with status 1 if anything was found; what it was is in files that `fuzz replay` takes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tests::fuzz::bytes::{Feeding, work};
use tests::fuzz::readers::{PLANTED, TARGETS, target};
use tests::fuzz::{calls, soak};
use tests::product;

const USAGE: &str = "fuzz bytes|calls|soak [--seconds N] [--seed N] [--patience SECONDS] [--out DIRECTORY] [TARGET...]\n\
                     fuzz replay TARGET|calls FILE";

struct Options {
    seconds: u64,
    seed: u64,
    patience: u64,
    out: PathBuf,
    words: Vec<String>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let out = product::output_dir().parent()?.join("fuzz");
    let mut options = Options { seconds: 60, seed: 1, patience: 10, out, words: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => options.seconds = arguments.next()?.parse().ok()?,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--patience" => options.patience = arguments.next()?.parse().ok()?,
            "--out" => options.out = arguments.next()?.into(),
            _ => options.words.push(argument),
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let Some(options) = options(arguments) else { return usage() };
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    let fine = match (verb.as_str(), words.as_slice()) {
        ("worker", [name, place]) => target(name).map(|target| work(target, Path::new(place))),
        ("bytes", names) => bytes(&options, names),
        ("calls", []) => Some(said(&calls::run(&options.out, Duration::from_secs(options.seconds), options.seed))),
        ("soak", []) => Some(said(&soak::run(Duration::from_secs(options.seconds), options.seed))),
        ("replay", ["calls", file]) => Some(said(&calls::replay(Path::new(file)))),
        ("replay", [name, file]) => target(name).map(|target| {
            let finding = feeding(&options, Vec::new()).replay(target, Path::new(file));
            println!("{}", finding.as_ref().map_or("nothing found", |finding| finding.what.as_str()));
            finding.is_none()
        }),
        _ => None,
    };
    match fine {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => usage(),
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    eprintln!("{USAGE}\ntargets: {}", names.join(" "));
    ExitCode::from(2)
}

fn feeding(options: &Options, targets: Vec<&'static tests::fuzz::readers::Target>) -> Feeding {
    let [time, patience] = [options.seconds, options.patience].map(Duration::from_secs);
    Feeding { targets, time, seed: options.seed, patience, out: options.out.clone() }
}

fn bytes(options: &Options, names: &[&str]) -> Option<bool> {
    let targets = match names {
        [] => TARGETS.iter().collect(),
        ["planted"] => PLANTED.iter().collect(),
        names => names.iter().map(|name| target(name)).collect::<Option<_>>()?,
    };
    let reports = feeding(options, targets).run();
    for report in &reports {
        println!(
            "{}: {} inputs, {} outcomes, {} found",
            report.name,
            report.runs,
            report.outcomes,
            report.findings.len()
        );
    }
    Some(reports.iter().all(|report| report.findings.is_empty()))
}

/// Prints what a run says of itself, and whether it found nothing.
fn said(outcome: &Result<String, String>) -> bool {
    let (Ok(text) | Err(text)) = outcome;
    println!("{text}");
    outcome.is_ok()
}
