//! Machine states that authorities approved: from the store, and from files as systemd-measure writes them. None of them is
//! trusted for where it was found; what counts is the authority's signature.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::hex::{decode as unhex, encode as hex};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use store::ApprovalRow;

use crate::{Error, Result};

/// A file of approvals for one kernel has some kilobytes.
const MAX_FILE: u64 = 1 << 20;
/// Files of one directory that are read, and bytes of all of them: years of updates for a fleet.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 1 << 24;
/// Approvals of one file.
const MOST_ENTRIES: usize = 1024;

/// What one authority said of one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// SHA-256 of the authority's bare public key.
    pub authority: [u8; 32],
    /// The PCRs.
    pub selection: tpm::PcrSelection,
    /// The digest of the approved policy.
    pub policy_digest: Vec<u8>,
    /// As long as the modulus, or a DER ECDSA-Sig-Value (RFC 3279, 2.2.3).
    pub signature: Vec<u8>,
    /// A counter of this machine's TPM that can make it void.
    pub limit: Option<tpm::CounterLimit>,
}

/// Where an approval was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the store.
    Store {
        /// Its number.
        id: i64,
        /// What was noted with it.
        comment: Option<String>,
        /// Seconds since 1970.
        created: i64,
    },
    /// In a file.
    File(PathBuf),
}

/// Approvals by the name of their PCR bank: the format of `tpm2-pcr-signature.json` (systemd-measure(1)).
type Document = BTreeMap<String, Vec<Entry>>;

/// One approval of that format. systemd ignores what it does not know there, and so does this.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    pcrs: Vec<u8>,
    /// SHA-256 of the public key, in hexadecimal.
    pkfp: String,
    /// The digest of the policy, in hexadecimal.
    pol: String,
    /// The signature, in base64.
    sig: String,
    /// Not of systemd, and not understood by it: such an approval is good only while a counter of the TPM allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<tpm::CounterLimit>,
}

impl Statement {
    /// The approval for the TPM, if this authority can have signed such a thing. Whether it did, the TPM layer finds out.
    #[must_use]
    pub fn approval(&self, authority: &tpm::AuthorityKey) -> Option<tpm::Approval> {
        if self.authority.as_slice() != authority.fingerprint() {
            return None;
        }
        let signature = match authority.ec() {
            None => tpm::Signature::Rsa(self.signature.clone()),
            Some(key) => {
                let (r, s) = base::curve::signature_from_der(&self.signature, key.curve().field_len())?;
                tpm::Signature::Ecc { r, s }
            }
        };
        let approval = tpm::Approval::new(self.selection.clone(), self.policy_digest.clone(), signature).ok()?;
        Some(approval.with_limit(self.limit.clone()))
    }

    /// The approval of this authority, as it is kept.
    #[must_use]
    pub fn of_approval(approval: &tpm::Approval, authority: &tpm::AuthorityKey) -> Option<Self> {
        Some(Self {
            authority: authority.fingerprint().try_into().ok()?,
            selection: approval.selection.clone(),
            policy_digest: approval.policy_digest.clone(),
            signature: match &approval.signature {
                tpm::Signature::Rsa(signature) => signature.clone(),
                tpm::Signature::Ecc { r, s } => base::curve::signature_to_der(&[r.as_slice(), s].concat()),
            },
            limit: approval.limit.clone(),
        })
    }

    /// What a row says, if it makes sense.
    pub(crate) fn of_row(row: &ApprovalRow) -> Option<Self> {
        let list: Vec<String> = (0..24).filter(|pcr| row.pcrs >> pcr & 1 == 1).map(|pcr: u8| pcr.to_string()).collect();
        let selection = format!("{}:{}", row.bank, list.join(",")).parse().ok()?;
        let (policy_digest, signature) = (row.policy_digest.clone(), row.signature.clone());
        let limit = row.limit.as_deref().map(|limit| serde_json::from_str(limit).ok());
        let limit = match limit {
            Some(None) => return None,
            limit => limit.flatten(),
        };
        Some(Self { authority: row.authority, selection, policy_digest, signature, limit })
    }

    fn of_entry(bank: &str, entry: &Entry) -> Option<Self> {
        let list: Vec<String> = entry.pcrs.iter().map(u8::to_string).collect();
        Some(Self {
            authority: unhex(&entry.pkfp)?.try_into().ok()?,
            selection: format!("{bank}:{}", list.join(",")).parse().ok()?,
            policy_digest: unhex(&entry.pol).filter(|digest| digest.len() == 32)?,
            signature: Base64::decode_vec(&entry.sig).ok()?,
            limit: entry.limit.clone(),
        })
    }

    /// The bits of its PCRs: bit n is PCR n.
    #[must_use]
    pub fn pcr_bits(&self) -> u32 {
        self.selection.indices().fold(0, |bits, pcr| bits | 1 << pcr)
    }

    /// The name of its PCR bank.
    #[must_use]
    pub fn bank(&self) -> String {
        let text = self.selection.to_string();
        text.split(':').next().unwrap_or_default().to_owned()
    }
}

/// Writes approvals in the format of `tpm2-pcr-signature.json`.
///
/// # Errors
/// [`Error::General`] if they cannot be written.
pub fn to_json(statements: &[Statement]) -> Result<String> {
    let mut document = Document::new();
    for statement in statements {
        document.entry(statement.bank()).or_default().push(Entry {
            pcrs: statement.selection.indices().collect(),
            pkfp: hex(&statement.authority),
            pol: hex(&statement.policy_digest),
            sig: Base64::encode_string(&statement.signature),
            limit: statement.limit.clone(),
        });
    }
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| Error::General(error.to_string()))
}

/// Reads such a file. Entries that make no sense are passed over: they cannot be of use, and others may be.
pub(crate) fn from_json(text: &[u8]) -> Option<Vec<Statement>> {
    let document: Document = serde_json::from_slice(text).ok()?;
    let entries = document.iter().flat_map(|(bank, entries)| entries.iter().map(move |entry| (bank, entry)));
    Some(entries.take(MOST_ENTRIES).filter_map(|(bank, entry)| Statement::of_entry(bank, entry)).collect())
}

/// All approvals in these files, and in the files with names in `.json` of these directories.
pub(crate) fn in_files(places: &[PathBuf]) -> Vec<(Origin, Statement)> {
    places.iter().flat_map(|place| files_of(place)).flat_map(|file| read(&file)).collect()
}

/// In the order of their names, so that it is the same ones that are left out where they are too many.
fn files_of(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place) else { return vec![place.to_owned()] };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    let mut left = MOST_BYTES;
    let fits = |path: &&PathBuf| {
        // One that is too long by itself is passed over, whatever its place.
        let len = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let rest = left.checked_sub(if len > MAX_FILE { 0 } else { len });
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    let read = files.iter().take(MOST_FILES).take_while(fits).count();
    if let Some(first) = files.get(read) {
        let (place, first) = (place.display(), first.display());
        log::warn!("{place}: too many approvals; {} files are not read, from {first} on", files.len() - read);
    }
    files.truncate(read);
    files
}

fn read(path: &Path) -> Vec<(Origin, Statement)> {
    let Some(text) = read_bounded(path) else { return Vec::new() };
    match from_json(&text) {
        Some(statements) => {
            statements.into_iter().map(|statement| (Origin::File(path.to_owned()), statement)).collect()
        }
        None => {
            log::warn!("{}: not a file of approvals; it is passed over", path.display());
            Vec::new()
        }
    }
}

/// The contents of a file that is one, and not too long; without waiting for anybody who writes into a pipe.
fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    const O_NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= MAX_FILE).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            authority: [7; 32],
            selection: "sha256:4,11".parse().unwrap(),
            policy_digest: vec![1; 32],
            signature: vec![2; 256],
            limit: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let limit = tpm::CounterLimit { counter: tpm::Counter::new(0x0180_0000).unwrap(), most: 7 };
        let other = Statement { selection: "sha1:0".parse().unwrap(), limit: Some(limit), ..statement() };
        let text = to_json(&[statement(), other.clone()]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["sha256"][0]["pcrs"], serde_json::json!([4, 11]));
        assert_eq!(value["sha256"][0]["pkfp"], "07".repeat(32));
        assert_eq!(from_json(text.as_bytes()).unwrap(), [other, statement()]);
        assert_eq!((statement().bank().as_str(), statement().pcr_bits()), ("sha256", 0x810));
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let good = to_json(&[statement()]).unwrap();
        for (from, to) in [
            ("sha256", "md5"),
            ("11", "24"),
            ("11", "4711"),
            ("0707", "07"),
            ("0707", "zz07"),
            ("0101", ""),
            ("AgIC", "Ag*C"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(from_json(bad.as_bytes()).is_none_or(|found| found.is_empty()), "{bad}");
        }
        for text in ["", "[]", "{\"sha256\":{}}", "{\"sha256\":[{}]}", "\u{0}"] {
            assert_eq!(from_json(text.as_bytes()), None, "{text}");
        }
        // What a later systemd may add is no reason to refuse the rest.
        let more = good.replacen("\"pkfp\"", "\"polref\": 1, \"pkfp\"", 1);
        assert_eq!(from_json(more.as_bytes()).unwrap(), [statement()]);
    }

    #[test]
    fn files_are_read_with_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let good = to_json(&[statement()]).unwrap();
        std::fs::write(dir.path().join("b.json"), &good).unwrap();
        std::fs::write(dir.path().join("a.json"), &good).unwrap();
        std::fs::write(dir.path().join("c.txt"), &good).unwrap();
        std::fs::write(dir.path().join("cut.json"), &good[..good.len() / 2]).unwrap();
        std::fs::write(dir.path().join("long.json"), vec![b' '; 1 << 21]).unwrap();
        std::fs::create_dir(dir.path().join("dir.json")).unwrap();
        let pipe = dir.path().join("pipe.json");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let origins = |places: &[PathBuf]| in_files(places).into_iter().map(|(origin, _)| origin).collect::<Vec<_>>();
        let [a, b] = ["a.json", "b.json"].map(|name| Origin::File(dir.path().join(name)));
        assert_eq!(origins(&[dir.path().to_owned()]), [a, b.clone()]);
        assert_eq!(origins(&[dir.path().join("none"), dir.path().join("b.json")]), [b]);
    }

    #[test]
    fn of_too_many_files_the_first_by_name_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for number in (0..MOST_FILES + 3).rev() {
            std::fs::write(dir.path().join(format!("{number:05}.json")), "{}").unwrap();
        }
        let files = files_of(dir.path());
        assert_eq!(files.len(), MOST_FILES);
        assert_eq!(files.last(), Some(&dir.path().join(format!("{:05}.json", MOST_FILES - 1))));

        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let file = File::create(dir.path().join(format!("{number:05}.json"))).unwrap();
            // One that nobody reads does not keep others out.
            file.set_len(if number == 0 { 1 << 30 } else { MAX_FILE }).unwrap();
        }
        assert_eq!(files_of(dir.path()).len(), 17);
    }
}
