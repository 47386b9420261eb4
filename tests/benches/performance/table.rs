//! What was measured, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::scale::PAIRS;

/// The samples of one module, by name.
pub(crate) struct Samples(BTreeMap<String, Vec<f64>>);

/// Both modules.
pub(crate) struct Table {
    /// Ours.
    pub(crate) ours: Samples,
    /// tpm2-pkcs11, if this machine can have it.
    pub(crate) peer: Option<Samples>,
}

impl Samples {
    /// What [`crate::say`] printed.
    pub(crate) fn parse(text: &str) -> Samples {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            (name, words.filter_map(|word| word.parse().ok()).collect())
        };
        Samples(text.lines().map(line).collect())
    }

    /// All of one row.
    pub(crate) fn all(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one in the middle.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let mut samples = self.all(name).to_vec();
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    }

    /// The median, and how far half of the samples are from it.
    fn cell(&self, name: &str) -> String {
        let Some(median) = self.median(name) else { return "-".to_owned() };
        let mut samples = self.all(name).to_vec();
        samples.sort_by(f64::total_cmp);
        let at = |part: usize| samples.get(samples.len() * part / 4).copied().unwrap_or(median);
        match samples.len() {
            1 => number(median),
            _ => format!("{} ({} to {})", number(median), number(at(1)), number(at(3))),
        }
    }
}

fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A row of the table: what it says, the measurement, and what it is divided by.
struct Row(&'static str, &'static str, Against);

enum Against {
    Nothing,
    /// Another measurement of ours.
    Ours(&'static str, &'static str),
    /// The same of the other module.
    Peer,
}

const ROWS: [Row; 15] = [
    Row("one cold life, wall (ms)", "life-wall", Against::Peer),
    Row("the same, processor time (ms)", "life-cpu", Against::Peer),
    Row("the same, instructions (millions)", "life-instructions", Against::Peer),
    Row("the same, commands on the chip behind a resource manager", "life-commands", Against::Peer),
    Row("initialise and list public keys, wall (ms)", "list-wall", Against::Peer),
    Row("signatures a second, alone on the TPM", "sign-alone", Against::Ours("raw", "the TPM's limit")),
    Row("the same, 8 threads", "sign-alone-8", Against::Ours("raw", "the TPM's limit")),
    Row("behind a resource manager, 1 thread", "sign-1", Against::Peer),
    Row("behind a resource manager, 8 threads", "sign-8-threads", Against::Peer),
    Row("behind a resource manager, 8 processes", "sign-8-processes", Against::Peer),
    Row(
        "behind a resource manager, a persistent key",
        "sign-persistent",
        Against::Ours("sign-1", "one that is loaded"),
    ),
    Row("AES-CBC decryption, key in memory (MB/s)", "aes-cbc-decrypt", Against::Ours("openssl-cbc-decrypt", "OpenSSL")),
    Row("AES-GCM encryption, key in memory (MB/s)", "aes-gcm", Against::Ours("openssl-gcm", "OpenSSL")),
    Row("the TPM's limit: signatures a second with a raw command", "raw", Against::Nothing),
    Row("module (MB)", "size", Against::Peer),
];

const OF_SCALE: [&str; 7] = [
    "C_Initialize (us)",
    "search by label (us)",
    "search by id (us)",
    "find all, first (us)",
    "find all, again (ns an object)",
    "memory of the process before (MB)",
    "and after (MB)",
];

impl Table {
    /// The table in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = "| | tpm2-cryptoki | tpm2-pkcs11 | ratio |\n|---|---|---|---|\n".to_owned();
        for Row(what, name, against) in ROWS {
            let ours = self.ours.median(name);
            let (other, called) = match against {
                Against::Nothing => (None, ""),
                Against::Ours(other, called) => (self.ours.median(other), called),
                Against::Peer => (self.peer.as_ref().and_then(|peer| peer.median(name)), "tpm2-pkcs11"),
            };
            let ratio = ours.zip(other).map(|(ours, other)| format!("{:.2} of {called}", ours / other));
            let peer = self.peer.as_ref().map_or_else(|| "-".to_owned(), |peer| peer.cell(name));
            writeln!(text, "| {what} | {} | {peer} | {} |", self.ours.cell(name), ratio.unwrap_or_default()).unwrap();
        }
        let titles: Vec<String> = PAIRS.iter().map(|pairs| format!("{pairs} pairs")).collect();
        writeln!(text, "\n| ours, with | {} |\n|---|{}", titles.join(" | "), "---|".repeat(PAIRS.len())).unwrap();
        for (place, what) in OF_SCALE.iter().enumerate() {
            let cells: Vec<String> = self.scale(place).iter().map(|value| number(*value)).collect();
            writeln!(text, "| {what} | {} |", cells.join(" | ")).unwrap();
        }
        text
    }

    /// One measurement for each number of pairs.
    pub(crate) fn scale(&self, place: usize) -> Vec<f64> {
        let of = |pairs: &usize| self.ours.all(&format!("scale-{pairs}")).get(place).copied();
        PAIRS.iter().filter_map(of).collect()
    }

    /// The page for a person.
    pub(crate) fn page(&self) -> String {
        format!(
            "# Performance\n\nWritten by `make bench-report`, which measures all of it in one run: on a software TPM, so what counts are the ratios, and the commands, \
             which a hardware TPM takes 10 to 300 ms for. In brackets: where the middle half of the samples lies.\n\n{}\n\
             ![What many keys cost](performance/scale.svg)\n\n![Memory](performance/memory.svg)\n\n\
             ![Signatures a second](performance/signatures.svg)\n\n![Commands on the chip](performance/commands.svg)\n\n\
             What is exact is held by tests and not measured here: the commands of each call ([TPM-COMMANDS.md](TPM-COMMANDS.md)), and the system calls of a signature.\n",
            self.text()
        )
    }
}
