//! What `C_Initialize` makes: the slots, the sessions, and the one way to the TPM.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use model::{MechanismType, SessionHandle, SlotId};
use store::{OpenMode, Store};

use crate::config::Config;
use crate::info::{MANUFACTURER, MechanismInfo, SessionInfo, SlotInfo, TokenInfo};
use crate::object::FIRST_SESSION_HANDLE;
use crate::protect::rows::primary_of;
use crate::slots::budget::Budget;
use crate::slots::digests::SavedDigests;
use crate::slots::session::{Session, Sessions};
use crate::slots::shelf::Source;
use crate::slots::token::{Token, version};
use crate::{Error, Result};

/// The library of one process. Every method takes `&self` and may be called from any thread.
#[derive(Debug)]
pub struct Library {
    pub(crate) sessions: Sessions,
    config: Config,
    tpm: std::result::Result<tpm::Tpm, Error>,
    tokens: RwLock<Vec<Arc<Token>>>,
    reader: Mutex<Reader>,
    source: Arc<Source>,
    next_object: AtomicU64,
    pub(crate) saved: SavedDigests,
    /// For objects of sessions.
    pub(crate) memory: Budget,
    /// For searches.
    pub(crate) search_memory: Budget,
}

/// What was seen of the store last.
#[derive(Debug, Default)]
struct Reader {
    version: Option<(u64, i64)>,
    /// The last change that was taken over, in the store's own list.
    change: Option<i64>,
    /// Device and inode of the file.
    identity: Option<(u64, u64)>,
}

impl Library {
    /// Opens the store, if there is one. The TPM is not touched, and not even opened, before something needs it.
    ///
    /// # Errors
    /// [`Error::Store`] if the store is there and cannot be used.
    pub fn open(config: Config) -> Result<Self> {
        let tpm = open_tpm(&config);
        let source = Arc::new(Source::new(config.store_file()));
        let memory = usize::try_from(config.session_memory).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let library = Self {
            source,
            sessions: Sessions::new(config.max_sessions),
            memory: Budget::new(memory),
            search_memory: Budget::new(memory),
            config,
            tpm,
            tokens: RwLock::default(),
            reader: Mutex::default(),
            next_object: AtomicU64::new(FIRST_SESSION_HANDLE),
            saved: SavedDigests::default(),
        };
        library.refresh()?;
        Ok(library)
    }

    /// Forgets every secret and gives back what the TPM holds for this process.
    pub fn close(&self) {
        for token in self.tokens.read().unwrap_or_else(PoisonError::into_inner).iter() {
            token.logout();
        }
        self.sessions.clear();
        if let Ok(tpm) = &self.tpm {
            tpm.release();
        }
    }

    /// In a forked child, before the library is leaked: closes the child's copies of the descriptors without a word to the
    /// TPM, whose sessions and objects are the parent's.
    pub fn abandon(&self) {
        if let Ok(tpm) = &self.tpm {
            tpm.abandon();
        }
    }

    /// `C_GetSlotList`: a slot for each token, and one with an uninitialised token unless the configuration hides it.
    /// Every slot has a token in it, so `token_present` changes nothing.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read any more.
    pub fn slot_list(&self, _token_present: bool) -> Result<Vec<SlotId>> {
        self.refresh()?;
        let mut slots: Vec<_> = self.tokens().iter().map(|token| token.slot).collect();
        if self.config.empty_slot {
            slots.push(self.empty_slot());
        }
        slots.sort_unstable();
        Ok(slots)
    }

    /// `C_GetSlotInfo`.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`].
    pub fn slot_info(&self, slot: SlotId) -> Result<SlotInfo> {
        let token = self.token_in(slot)?;
        let chip = token.as_ref().map(|token| &token.chip.capabilities);
        Ok(SlotInfo {
            description: chip.map_or_else(
                || "TPM 2.0".to_owned(),
                |chip| format!("TPM 2.0 {} {}", chip.manufacturer, chip.vendor).trim_end().to_owned(),
            ),
            manufacturer: MANUFACTURER.to_owned(),
            token_present: true,
            hardware_version: chip.map_or((0, 0), |chip| version(chip.revision / 100, chip.revision % 100)),
            firmware_version: chip.map_or((0, 0), |chip| version(chip.firmware[0] >> 16, chip.firmware[0] & 0xffff)),
        })
    }

    /// `C_GetTokenInfo`.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`]; [`Error::Store`] if the store cannot be read any more.
    pub fn token_info(&self, slot: SlotId) -> Result<TokenInfo> {
        // Another process may have set a PIN meanwhile.
        self.refresh()?;
        match self.token_in(slot)? {
            Some(token) => Ok(token.info(self.sessions.count(&token), &self.config, self.is_read_only())),
            None => Ok(TokenInfo {
                label: String::new(),
                manufacturer: MANUFACTURER.to_owned(),
                model: "TPM 2.0".to_owned(),
                serial: "0000000000000000".to_owned(),
                flags: model::flags::CKF_RNG | model::flags::CKF_LOGIN_REQUIRED,
                max_sessions: self.sessions.most().into(),
                sessions: 0,
                rw_sessions: 0,
                min_pin_len: crate::info::MIN_PIN_LEN,
                max_pin_len: crate::info::MAX_PIN_LEN,
                hardware_version: (0, 0),
                firmware_version: (0, 0),
            }),
        }
    }

    /// `C_GetMechanismList`.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`]. An uninitialised token has those of the others, since the TPM is the same; without others none are known.
    pub fn mechanism_list(&self, slot: SlotId) -> Result<Vec<MechanismType>> {
        Ok(self.token_or_like(slot)?.map_or_else(Vec::new, |token| token.mechanism_list()))
    }

    /// `C_GetMechanismInfo`.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`], [`Error::MechanismInvalid`].
    pub fn mechanism_info(&self, slot: SlotId, ty: MechanismType) -> Result<MechanismInfo> {
        self.token_or_like(slot)?.ok_or(Error::MechanismInvalid)?.mechanism_info(ty)
    }

    /// `C_OpenSession`. As many as the configuration allows.
    ///
    /// # Errors
    /// [`Error::SessionCount`] beyond that; [`Error::SlotIdInvalid`], [`Error::TokenNotRecognized`] for an uninitialised token,
    /// [`Error::SessionReadWriteSoExists`]. A read/write session opens on a store that cannot be written, too: many programs
    /// ask for one only to sign.
    pub fn open_session(&self, slot: SlotId, read_write: bool) -> Result<SessionHandle> {
        self.refresh()?;
        let token = self.token_in(slot)?.ok_or(Error::TokenNotRecognized)?;
        self.sessions.open(token, read_write)
    }

    /// `C_CloseSession`.
    ///
    /// # Errors
    /// [`Error::SessionHandleInvalid`].
    pub fn close_session(&self, session: SessionHandle) -> Result<()> {
        self.sessions.close(session)
    }

    /// `C_CloseAllSessions`.
    ///
    /// # Errors
    /// [`Error::SlotIdInvalid`].
    pub fn close_all_sessions(&self, slot: SlotId) -> Result<()> {
        self.token_in(slot)?;
        self.sessions.close_all(slot);
        Ok(())
    }

    /// `C_SessionCancel`: ends active operations of the given kinds, and a search if `find`.
    ///
    /// # Errors
    /// [`Error::SessionHandleInvalid`].
    pub fn cancel(&self, session: SessionHandle, kinds: model::Ops, find: bool) -> Result<()> {
        self.session(session)?.active().cancel(kinds, find);
        Ok(())
    }

    /// `C_GetSessionInfo`.
    ///
    /// # Errors
    /// [`Error::SessionHandleInvalid`].
    pub fn session_info(&self, session: SessionHandle) -> Result<SessionInfo> {
        Ok(self.session(session)?.info())
    }

    /// `C_GenerateRandom`: numbers from the TPM mixed with those of the operating system, in one TPM command.
    ///
    /// # Errors
    /// [`Error::SessionHandleInvalid`], and what the TPM may answer.
    pub fn generate_random(&self, session: SessionHandle, out: &mut [u8]) -> Result<()> {
        self.session(session)?;
        if out.is_empty() { Ok(()) } else { Ok(self.tpm()?.random(out)?) }
    }

    /// `C_SeedRandom`: stirs the TPM's generator, which keeps what it had. One TPM command.
    ///
    /// # Errors
    /// [`Error::RandomSeedNotSupported`] where the TPM does not have the command, and what it may answer.
    pub fn seed_random(&self, session: SessionHandle, seed: &[u8]) -> Result<()> {
        self.session(session)?;
        if seed.is_empty() {
            return Ok(());
        }
        self.tpm()?.stir_random(seed).map_err(|error| match error {
            tpm::Error::Unsupported(_) => Error::RandomSeedNotSupported,
            error => error.into(),
        })
    }

    pub(crate) fn session(&self, handle: SessionHandle) -> Result<Arc<Session>> {
        let session = self.sessions.find(handle)?;
        if session.token.is_gone() {
            return Err(Error::DeviceRemoved("the token was removed by another process".to_owned()));
        }
        Ok(session)
    }

    /// The TPM. It is opened by its first command.
    ///
    /// # Errors
    /// [`Error::DeviceRemoved`] says why there is none.
    pub fn tpm(&self) -> Result<&tpm::Tpm> {
        self.tpm.as_ref().map_err(Clone::clone)
    }

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokens of the store, as the last look saw them.
    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The token in a slot; `None` for the slot with the uninitialised one.
    pub(crate) fn token_in(&self, slot: SlotId) -> Result<Option<Arc<Token>>> {
        match self.tokens().into_iter().find(|token| token.slot == slot) {
            Some(token) => Ok(Some(token)),
            None if self.config.empty_slot && slot == self.empty_slot() => Ok(None),
            None => Err(Error::SlotIdInvalid),
        }
    }

    /// A connection for a change, made when one is wanted: a process that only signs never asks to write.
    ///
    /// # Errors
    /// [`Error::TokenWriteProtected`] if the store cannot be written.
    pub fn writer(&self) -> Result<Store> {
        let store = Store::open(&self.config.store_file(), OpenMode::ReadWrite)?;
        if store.is_read_only() { Err(Error::TokenWriteProtected) } else { Ok(store) }
    }

    /// The token of a slot, or for one that is not initialised any other: clients take a slot without mechanisms for an error.
    fn token_or_like(&self, slot: SlotId) -> Result<Option<Arc<Token>>> {
        Ok(self.token_in(slot)?.or_else(|| self.tokens().into_iter().next()))
    }

    /// The primary that the store pins, whose TPM alone can prove its answers; of several, the first that is there. `None` without a store,
    /// or with one that has none.
    ///
    /// # Errors
    /// The store cannot be read, or its primary makes no sense.
    pub fn pinned(&self) -> Result<Option<tpm::Primary>> {
        let file = self.config.store_file();
        if !file.exists() {
            return Ok(None);
        }
        let store = Store::open(&file, OpenMode::ReadOnly)?;
        self.first_primary(&store)?.as_ref().map(primary_of).transpose()
    }

    pub(crate) fn next_object_handle(&self) -> model::ObjectHandle {
        model::ObjectHandle(self.next_object.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes over what any process changed in the store since the last look. Costs one query when nothing changed.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read any more.
    pub fn refresh(&self) -> Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.config.store_file();
        let identity = std::fs::metadata(&file).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let other = identity.is_some() && identity != reader.identity;
        if !self.source.open(other)? {
            return Ok(());
        }
        if other {
            // Another file came in its place: what was read from the old one says nothing about it.
            *reader = Reader { identity, ..Reader::default() };
        }
        let now = self.source.version()?;
        if reader.version == Some(now) {
            return Ok(());
        }
        let seen = reader.change;
        let (changes, last) = self.source.read(|store| store.changes_since(seen))?;
        self.reload(&changes)?;
        // After the last query: it may have been the one that had to open the store anew.
        let opened = self.source.version()?.0;
        *reader = Reader { identity: reader.identity, change: Some(last), version: Some((opened, now.1)) };
        if opened != now.0 {
            reader.version = None;
        }
        Ok(())
    }

    /// After a change of our own: the next look must see it. What was written is there whatever a look says now, so that an error of it
    /// is nobody's answer; it comes again with the next look.
    pub fn changed(&self) {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).version = None;
        if let Err(error) = self.refresh() {
            log::warn!("what was written to the store could not be read back yet: {error}");
        }
    }

    fn reload(&self, changes: &store::Changes) -> Result<()> {
        let primaries: HashMap<i64, _> =
            self.source.read(Store::primaries)?.into_iter().map(|row| (row.id, row)).collect();
        let known: HashMap<i64, Arc<Token>> = self.tokens().into_iter().map(|token| (token.id, token)).collect();
        let mut tokens = Vec::new();
        for row in self.source.read(Store::tokens)? {
            if !row.initialized {
                continue;
            }
            let id = row.id;
            let result = match known.get(&id) {
                Some(token) => token.refresh(row, changes).map(|ended| {
                    if ended {
                        self.sessions.end_private_operations(token);
                    }
                    Arc::clone(token)
                }),
                None => match primaries.get(&row.primary_id) {
                    Some(primary) => Token::load(&self.source, row, primary).map(Arc::new),
                    None => Err(Error::Store(format!("token {id} in the store has no primary"))),
                },
            };
            match result {
                Ok(token) => tokens.push(token),
                Err(error @ Error::StoreBusy(_)) => return Err(error),
                // One bad token must not take the others away.
                Err(error) => log::error!("token {id}: {error}; it is not served"),
            }
        }
        tokens.sort_unstable_by_key(|token| token.slot);
        for (id, token) in &known {
            if tokens.iter().all(|kept| kept.id != *id) {
                token.mark_gone();
            }
        }
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        let file: PathBuf = self.config.store_file();
        let writable = |path: &std::path::Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        !(writable(&file) && file.parent().is_some_and(writable))
    }

    /// The slot that the next token will have: the lowest number that no token has.
    fn empty_slot(&self) -> SlotId {
        let tokens = self.tokens();
        let free = (1..).map(SlotId).find(|slot| tokens.iter().all(|token| token.slot != *slot));
        free.unwrap_or(SlotId(u64::from(u32::MAX >> 1)))
    }
}

/// The way to the TPM. An unusable configuration is said when the TPM is needed, not before.
///
/// # Errors
/// [`Error::DeviceRemoved`] for a TCTI that cannot be, and on a machine that shows no TPM.
pub fn open_tpm(config: &Config) -> Result<tpm::Tpm> {
    let conf = match &config.tcti {
        Some(text) => text.parse::<tpm::TctiConf>().map_err(|error| Error::DeviceRemoved(error.to_string()))?,
        None => machine_tpm(config)?,
    };
    Ok(tpm::Tpm::new(conf, tpm_options(config)))
}

/// The machine's own TPM: the only one there is, or of several the one that has a primary of the store. TPM2_ReadPublic asks for that.
fn machine_tpm(config: &Config) -> Result<tpm::TctiConf> {
    let mut devices = tpm::TctiConf::devices();
    if devices.len() > 1
        && let Some(position) = holder_of_primary(config, &devices)
    {
        devices.swap(0, position);
    }
    devices.into_iter().next().ok_or_else(|| {
        Error::DeviceRemoved(
            "this machine shows no TPM: there is neither /dev/tpmrm0 nor /dev/tpm0, nor one with another number; enable it in the firmware, or name \
             another with TPM2_CRYPTOKI_TCTI"
                .to_owned(),
        )
    })
}

/// Which of several TPMs has a primary of the store, the first that does. One that cannot be asked does not. One TPM command for each primary
/// and TPM, and for a primary that is kept nowhere those that derive it.
#[must_use]
pub fn holder_of_primary(config: &Config, devices: &[tpm::TctiConf]) -> Option<usize> {
    let store = Store::open(&config.store_file(), OpenMode::ReadOnly).ok()?;
    let rows = store.primaries().ok()?;
    let primaries: Vec<_> = rows.iter().filter_map(|row| primary_of(row).ok()).collect();
    devices.iter().position(|device| {
        let tpm = tpm::Tpm::new(device.clone(), tpm_options(config));
        let has_one = primaries.iter().any(|primary| tpm.check_primary(primary).is_ok());
        tpm.release();
        has_one
    })
}

fn tpm_options(config: &Config) -> tpm::Options {
    tpm::Options {
        bus_protection: config.bus_protection,
        idle: config.idle,
        patience: config.wait,
        threads: config.threads,
        ..tpm::Options::default()
    }
}
