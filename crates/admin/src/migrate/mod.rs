//! Taking over a store of tpm2-pkcs11: its tokens, with their PINs and keys as they are. No PIN is asked for, and the store
//! that is read stays byte for byte what it is, so that both can go on using the same keys.
//!
//! What only a PIN can open comes over closed. What happens with the first PIN that is right is the token's affair (`login/adopted.rs` there).

mod object;
pub(super) mod places;
mod primary;

pub(super) use object::unhex;
pub use primary::handle_of_reference;
pub(super) use primary::reference;

use base::hex::encode as hex;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use base::digest::Hash;
use serde::Serialize;
use store::peer::{PEER_FILE, PeerSeal, PeerStore, PeerToken, PeerValue};
use store::{NewObject, NewToken, OpenMode, PinRow, Store};

use super::Admin;
use token::Config;
use token::Library;
use token::manage::{ChipFacts, adopted_pin, adopted_settings, new_primary};
use token::{Error, Result};

/// Under these names that software keeps the store while it brings it to another version.
const COPIES: [&str; 2] = ["tpm2_pkcs11.sqlite3.bak", "tpm2_pkcs11.sqlite3.old"];

/// What to take over.
#[derive(Clone, Debug, Default)]
pub struct MigrateRequest {
    /// The store, or its directory; by default the first in which tpm2-pkcs11 itself would look and find one.
    pub from: Option<PathBuf>,
    /// Only say what would come over.
    pub dry_run: bool,
}

/// What came over, or would.
#[derive(Clone, Debug, Serialize)]
pub struct MigrateReport {
    /// The file that was read.
    pub from: String,
    /// The version of its layout, 1 to 9.
    pub schema: u32,
    /// Nothing was written.
    pub dry_run: bool,
    /// Other places in which tpm2-pkcs11 would look, and that have a store too, or may not be looked into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The tokens, in their order there.
    pub tokens: Vec<MigratedToken>,
}

impl MigrateReport {
    /// How many tokens and objects could not come over, though they had something to lose.
    #[must_use]
    pub fn left_behind(&self) -> usize {
        let lost = |token: &&MigratedToken| token.action == Outcome::Skip && !token.empty;
        let tokens = self.tokens.iter().filter(lost).count();
        let objects = self.tokens.iter().flat_map(|token| &token.objects);
        tokens + objects.filter(|object| object.action == Outcome::Skip).count()
    }
}

/// What became of a token or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It came over, or would.
    Migrate,
    /// It is here already.
    Present,
    /// It cannot come over; `why` says so.
    Skip,
}

/// A token of that store.
#[derive(Clone, Debug, Serialize)]
pub struct MigratedToken {
    /// Its number there.
    pub id: i64,
    /// Its label; none if it was never initialized.
    pub label: Option<String>,
    /// What became of it.
    pub action: Outcome,
    /// Why it cannot come over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The user has a PIN.
    pub login_required: bool,
    /// What differs here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its objects.
    pub objects: Vec<MigratedObject>,
    /// It was never initialized: there is nothing in it.
    #[serde(skip)]
    pub empty: bool,
}

/// An object of such a token.
#[derive(Clone, Debug, Serialize)]
pub struct MigratedObject {
    /// Its number there.
    pub id: i64,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// `CKO_...`, if it says so.
    pub class: Option<String>,
    /// What becomes of it.
    pub action: Outcome,
    /// Why it cannot come over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A token that can come over, but for its primary's number.
struct Arrival {
    primary: i64,
    label: String,
    serial: String,
    login_required: bool,
    so: PinRow,
    user: Option<PinRow>,
    objects: Vec<NewObject>,
}

impl Admin {
    /// Takes over a store of tpm2-pkcs11, or says what would come over. Everything or, on an error, nothing is written. Three
    /// TPM commands for each primary key, two for each token, one for each persistent key, and eight more for a new primary key.
    ///
    /// # Errors
    /// [`Error::Store`] if there is no such store or it cannot be read, [`Error::DeviceRemoved`] without a TPM.
    pub fn migrate(config: Config, request: &MigrateRequest) -> Result<MigrateReport> {
        let (source, others) = source(request)?;
        let peer = PeerStore::read(&source).map_err(|error| explain(&source, error))?;
        let library = Library::open(config)?;
        let primaries = primary::find(&library, &peer)?;
        let mut known: Vec<(String, String)> =
            library.tokens().iter().map(|token| token.row()).map(|row| (row.serial, row.label)).collect();
        let mut tokens = Vec::new();
        let mut arrivals = Vec::new();
        for token in &peer.tokens {
            let (report, arrival) = judge(&library, token, &primaries, &known)?;
            tokens.push(report);
            // Labels that differ there in the spaces at their end are one here.
            known.extend(arrival.iter().map(|arrival| (arrival.serial.clone(), arrival.label.clone())));
            arrivals.extend(arrival);
        }
        let report = MigrateReport {
            from: source.display().to_string(),
            schema: peer.version,
            dry_run: request.dry_run,
            others,
            tokens,
        };
        if !request.dry_run && !arrivals.is_empty() {
            enter(&library, &primaries, arrivals)?;
        }
        library.close();
        Ok(report)
    }
}

/// The file to read, and what was passed over for it.
fn source(request: &MigrateRequest) -> Result<(PathBuf, Vec<String>)> {
    if let Some(from) = &request.from {
        return match from.is_file() {
            true => Ok((from.clone(), Vec::new())),
            false => first_of(std::slice::from_ref(from)),
        };
    }
    first_of(&places::directories())
}

/// The first file that is there. Like tpm2-pkcs11, it goes on where it may not look; unlike that, it says so.
fn first_of(directories: &[PathBuf]) -> Result<(PathBuf, Vec<String>)> {
    let (mut found, mut others, mut closed) = (None, Vec::new(), None);
    for file in directories.iter().map(|directory| directory.join(PEER_FILE)) {
        match file.metadata() {
            Ok(_) if found.is_none() => found = Some(file),
            Ok(_) => others.push(file.display().to_string()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                let why = format!("{}: {error}", file.display());
                closed.get_or_insert_with(|| why.clone());
                others.push(why);
            }
        }
    }
    match (found, closed) {
        (Some(found), _) => Ok((found, others)),
        (None, Some(why)) => Err(Error::Store(why)),
        (None, None) => {
            let places: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
            let copies = directories.iter().flat_map(|directory| COPIES.map(|name| directory.join(name)));
            let copy = copies.into_iter().find(|copy| copy.is_file()).map_or_else(String::new, |copy| {
                format!("; {} is what an upgrade that failed leaves, and --from takes it", copy.display())
            });
            Err(Error::Store(format!("there is no {PEER_FILE} in {}{copy}", places.join(", "))))
        }
    }
}

fn explain(file: &std::path::Path, error: store::Error) -> Error {
    let file = file.display();
    match error {
        store::Error::Interrupted => Error::Store(format!(
            "{file}: a journal lies beside it: a program is writing, or was killed while it wrote; end all programs that use \
             that store, and try again; if the journal stays, copy both files to another directory, let `sqlite3` list the tables of \
             the copy, and give that with --from"
        )),
        store::Error::Busy => Error::StoreBusy(format!("{file} was changed while it was read; try again")),
        store::Error::Damaged(why) => Error::Store(format!("{file}: it is damaged, or no store of tpm2-pkcs11: {why}")),
        store::Error::Newer { found, known } => Error::Store(format!(
            "{file}: it is of version {found}, and this program knows versions up to {known}; use a newer ptool"
        )),
        error => Error::Store(error.to_string()),
    }
}

/// What becomes of a token, and what to write for it.
fn judge(
    library: &Library,
    token: &PeerToken,
    primaries: &BTreeMap<i64, primary::Found>,
    known: &[(String, String)],
) -> Result<(MigratedToken, Option<Arrival>)> {
    let mut report = MigratedToken {
        id: token.id,
        label: token.label.as_ref().map(|label| label_of(label).trim_end_matches(' ').to_owned()),
        action: Outcome::Skip,
        why: None,
        login_required: true,
        notes: Vec::new(),
        objects: Vec::new(),
        empty: false,
    };
    let mut arrived = arrive(library.tpm()?, token, primaries, known, &mut report);
    if arrived.is_ok()
        && let (Some(primary::Found::There(primary)), Ok(Some(seals))) = (below(token, primaries), &token.seals)
        && !primary::owns(library, primary, &seals.so)?
    {
        arrived = Err(No::Because("its PIN's object was not made under its primary key, or was damaged".to_owned()));
    }
    match arrived {
        Ok(arrival) => {
            report.action = Outcome::Migrate;
            return Ok((report, Some(arrival)));
        }
        Err(No::Present(so_name)) => {
            report.action = Outcome::Present;
            report.notes.extend(missing(library, token, &so_name)?);
        }
        Err(No::Because(why)) => report.why = Some(why),
    }
    report.objects.clear();
    Ok((report, None))
}

/// Why a token does not come over.
enum No {
    /// A token with this name of the security officer's seal is here.
    Present(tpm::Name),
    Because(String),
}

fn arrive(
    tpm: &tpm::Tpm,
    token: &PeerToken,
    primaries: &BTreeMap<i64, primary::Found>,
    known: &[(String, String)],
    report: &mut MigratedToken,
) -> std::result::Result<Arrival, No> {
    let because = |why: &str| No::Because(why.to_owned());
    let settings = token.settings.as_ref().map_err(|why| No::Because(format!("its settings cannot be read: {why}")))?;
    let is_true = |key: &str| settings.find(key).and_then(PeerValue::truth).unwrap_or(false);
    let seals = token.seals.as_ref().map_err(|why| No::Because(format!("its PINs cannot be read: {why}")))?;
    let (Some(seals), Some(label)) = (seals, report.label.clone()) else {
        report.empty = true;
        return Err(because("it was never initialized: there is nothing in it"));
    };
    if settings.find("token-init").and_then(PeerValue::truth) == Some(false) {
        report
            .notes
            .push("its settings say that it is not initialized, and it has PINs: it counts as initialized".to_owned());
    }
    report.login_required = !is_true("empty-user-pin");
    let (so, so_name) = pin_row(&seals.so).map_err(|why| No::Because(format!("the security officer's PIN: {why}")))?;
    let user = match &seals.user {
        Some(seal) => Some(pin_row(seal).map_err(|why| No::Because(format!("the user's PIN: {why}")))?.0),
        None => None,
    };
    let serial = serial(&so_name);
    if known.iter().any(|(found, _)| *found == serial) {
        return Err(No::Present(so_name));
    }
    if known.iter().any(|(_, found)| *found == label) {
        return Err(because("another token here has this label; remove that one, or use another store with --path"));
    }
    if label.len() > 32 {
        return Err(because("its label is longer than the 32 bytes that PKCS#11 has for it"));
    }
    if label.contains('\0') {
        return Err(because("its label has a zero byte in it"));
    }
    let primary = match (token.primary, below(token, primaries)) {
        (Some(primary), Some(primary::Found::There(_))) => primary,
        (_, Some(primary::Found::Lost(why))) => return Err(No::Because(why.clone())),
        _ => return Err(because("its primary key is not in the store")),
    };
    if matches!(token.label, Some(Err(_))) {
        report.notes.push("its label is not UTF-8: it was taken for Latin-1".to_owned());
    }
    note_settings(settings, &mut report.notes);
    if user.is_none() {
        report.notes.push("the user has no PIN yet; the security officer sets it with `ptool initpin`".to_owned());
    }
    let mut objects = Vec::new();
    for found in &token.objects {
        let (object, translated) = object::translate(found, &so_name, tpm);
        report.objects.push(object);
        objects.extend(translated);
    }
    let login_required = report.login_required;
    Ok(Arrival { primary, label, serial, login_required, so, user, objects })
}

/// What to say of the objects of a token that is here already, and that are not here themselves.
fn missing(library: &Library, token: &PeerToken, so_name: &tpm::Name) -> Result<Option<String>> {
    let store = match Store::open(&library.config().store_file(), OpenMode::ReadOnly) {
        Err(store::Error::NotFound(_)) => return Ok(None),
        store => store?,
    };
    let mut missing = Vec::new();
    for found in &token.objects {
        let (said, row) = object::translate(found, so_name, library.tpm()?);
        let here = row.map(|row| store.object_by_uid(&row.uid)).transpose()?.flatten();
        if here.is_none() {
            missing.push(said.label.map_or(said.id.to_string(), |label| format!("{} ({label:?})", said.id)));
        }
    }
    Ok((!missing.is_empty()).then(|| {
        format!(
            "not here are its objects {}: they could not come over, were made there since, or were removed here; `ptool rmtoken` and \
             another `ptool migrate` take the token over anew, without what was changed here",
            missing.join(", ")
        )
    }))
}

fn below<'a>(token: &PeerToken, primaries: &'a BTreeMap<i64, primary::Found>) -> Option<&'a primary::Found> {
    primaries.get(&token.primary?)
}

/// A label as text. The other software keeps the bytes that it was given; those that are not UTF-8 come from a program that spoke
/// the encoding of its time, in most places Latin-1, where each byte is a character.
fn label_of(label: &std::result::Result<String, Vec<u8>>) -> String {
    match label {
        Ok(label) => label.clone(),
        Err(bytes) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Settings that have no place here.
fn note_settings(settings: &PeerValue, notes: &mut Vec<String>) {
    if settings.find("tcti").and_then(PeerValue::text).is_some_and(|tcti| !tcti.is_empty()) {
        notes.push(
            "its TCTI does not come over: a store names none here; set TPM2_CRYPTOKI_TCTI or the configuration"
                .to_owned(),
        );
    }
}

/// A seal as a row of ours, and its name.
fn pin_row(seal: &PeerSeal) -> std::result::Result<(PinRow, tpm::Name), String> {
    let wrapped = tpm::Wrapped { public: seal.public.clone(), private: seal.private.clone() };
    let name = wrapped.name().map_err(|_| "its TPM object is damaged".to_owned())?;
    Ok((adopted_pin(wrapped, seal.salt.clone()), name))
}

/// The token's serial number here: by it, a token that came over already is known.
fn serial(so_name: &tpm::Name) -> String {
    let digest = Hash::Sha256.digest(&[b"tpm2-pkcs11 token", so_name.as_bytes()]);
    hex(digest.get(..8).unwrap_or_default())
}

/// Writes what came, in one transaction.
fn enter(library: &Library, primaries: &BTreeMap<i64, primary::Found>, arrivals: Vec<Arrival>) -> Result<()> {
    let mut store = Store::open_or_create(&library.config().store_file())?;
    if store.is_read_only() {
        return Err(Error::TokenWriteProtected);
    }
    let names: Vec<Vec<u8>> = store.primaries()?.into_iter().map(|row| row.name).collect();
    let wanted = arrivals.iter().filter_map(|arrival| match primaries.get(&arrival.primary) {
        Some(primary::Found::There(primary)) => Some((arrival.primary, primary)),
        _ => None,
    });
    let wanted: BTreeMap<i64, &tpm::Primary> = wanted.collect();
    // Before the transaction, in which others cannot write.
    let capabilities = if wanted.values().all(|primary| names.iter().any(|name| name == primary.name().as_bytes())) {
        String::new()
    } else {
        ChipFacts::of(library.tpm()?)?.to_json()?
    };
    let config = adopted_settings()?;
    store.transaction(|store| -> Result<()> {
        let mut numbers = BTreeMap::new();
        for (id, primary) in &wanted {
            let there = store.primaries()?.into_iter().find(|row| row.name == primary.name().as_bytes());
            let number = match there {
                Some(row) => row.id,
                None => store.add_primary(&new_primary(primary, &capabilities))?,
            };
            numbers.insert(*id, number);
        }
        for arrival in arrivals {
            let token_id = store.add_token(&NewToken {
                primary_id: numbers.get(&arrival.primary).copied().unwrap_or_default(),
                label: &arrival.label,
                serial: &arrival.serial,
                initialized: true,
                login_required: arrival.login_required,
                so: Some(arrival.so),
                user: arrival.user,
                config: &config,
                policy: None,
            })?;
            for object in arrival.objects {
                store.add_object(&NewObject { token_id, ..object })?;
            }
        }
        Ok(())
    })
}
