//! A token in its slot: what the store says of it, its objects, and who is logged in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base::Secret;
use base::digest::Hash;
use model::{KeyKind, MECHANISMS, MechanismType, Ops, SessionHandle, SlotId, flags};
use model::{ObjectHandle, Scheme, Template};
use store::{PrimaryRow, Role, TokenRow};

use crate::config::Config;
use crate::info::{MANUFACTURER, MAX_PIN_LEN, MIN_PIN_LEN, MechanismInfo, TokenInfo};
use crate::object::{FIRST_PROFILE_HANDLE, FIRST_SESSION_HANDLE, Home, Object};
use crate::protect::codes::{OfficerKey, TokenKeys};
use crate::protect::rows::{NO_PIN, TokenConfig, is_pending, primary_of, seal_of, vouches};
use crate::protect::tries::{self, AllTries, Guard, Tries};
use crate::public_key::PublicKey;
use crate::slots::budget::Share;
use crate::slots::chip::ChipFacts;
use crate::slots::shelf::{Brief, Candidates, Catalog, Shelf, Source};
use crate::{Error, Result};

/// A token. Lives as long as the store has it; sessions hold it too.
#[derive(Debug)]
pub struct Token {
    /// Its number in the store.
    pub id: i64,
    /// Its slot.
    pub slot: SlotId,
    /// The primary that its objects hang on, but for linked ones.
    pub primary: tpm::Primary,
    pub(crate) chip: ChipFacts,
    row: RwLock<TokenRow>,
    shelf: Shelf,
    session_objects: Mutex<BTreeMap<ObjectHandle, (Arc<Object>, Share)>>,
    login: Mutex<Login>,
    /// How many logins of the user have ended.
    ended_logins: AtomicU32,
    /// One PIN try at a time: two at once would count twice against the TPM's lockout.
    pub(crate) gate: Mutex<()>,
    pins: Mutex<PinState>,
    /// The keys of a token without PIN, once something needed them. That is no login: what a session may do, and what its
    /// state is, depends on the caller's calls alone.
    free: Mutex<Option<Arc<TokenKeys>>>,
    /// The user's blob that did not open without a PIN: it is not tried again.
    not_free: Mutex<Option<Vec<u8>>>,
    /// Another process removed the token.
    gone: AtomicBool,
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    Nobody,
    User(Arc<TokenKeys>),
    So(Officer),
}

/// The security officer, while logged in.
#[derive(Clone, Debug)]
pub(crate) struct Officer {
    /// The auth value of the PIN, which is what sets a user's PIN.
    pub(crate) auth: Arc<Secret>,
    /// What vouches for public objects.
    pub(crate) key: Arc<OfficerKey>,
    /// The blob that the PIN opened: another one means another PIN.
    pub(crate) seal: Arc<Vec<u8>>,
    /// The wrapping key, which the seal of a token holds that was taken over.
    pub(crate) wrapping_key: Option<Arc<Secret>>,
    /// The rows of that token could not be written anew yet.
    pub(crate) pending: bool,
}

/// What is known of the TPM's lockout, from the last failed login of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PinState {
    pub(crate) user_failed: bool,
    pub(crate) so_failed: bool,
    pub(crate) lockout: Option<(tpm::Lockout, Instant)>,
    /// Those that the store could not be told of.
    pub(crate) tries: AllTries,
}

impl PinState {
    /// What the TPM said of its lockout, as long as it has not forgotten a try since.
    fn lockout(&self) -> Option<tpm::Lockout> {
        let (lockout, since) = self.lockout?;
        (since.elapsed() < Duration::from_secs(lockout.recovery_seconds.into())).then_some(lockout)
    }
}

impl Token {
    pub(crate) fn load(source: &Arc<Source>, row: TokenRow, primary: &PrimaryRow) -> Result<Self> {
        let chip = ChipFacts::read(&primary.capabilities)
            .map_err(|error| Error::Store(format!("primary {} in the store: {error}", primary.id)))?;
        let parent = primary_of(primary)?;
        if parent.name().as_bytes() != primary.name.as_slice() {
            return Err(Error::Tampered(format!(
                "primary {} in the store: its name is not that of its public area",
                primary.id
            )));
        }
        let slot = SlotId(row.slot.into());
        Ok(Self {
            id: row.id,
            slot,
            primary: parent,
            chip,
            shelf: Shelf::new(Arc::clone(source), row.id),
            row: RwLock::new(row),
            session_objects: Mutex::default(),
            login: Mutex::new(Login::Nobody),
            ended_logins: AtomicU32::new(0),
            gate: Mutex::default(),
            pins: Mutex::default(),
            free: Mutex::default(),
            not_free: Mutex::default(),
            gone: AtomicBool::new(false),
        })
    }

    /// Takes over what the store says now. The login stays, unless it is that of a PIN or a wrapping key that is no more: then
    /// `true`, and nobody is logged in.
    pub(crate) fn refresh(&self, row: TokenRow, changes: &store::Changes) -> Result<bool> {
        let public = |row: &TokenRow| row.user.as_ref().map(|pin| pin.public.clone());
        // Another seal can hold the same wrapping key: then the code of the row is right.
        let vouched = |keys: &TokenKeys| vouches(keys.officer(), &row).unwrap_or(false);
        let same_seal = public(&row) == public(&self.row());
        let same_user = same_seal || self.keys().is_some_and(|keys| vouched(&keys));
        let officer_seal = row.so.as_ref().map(|pin| pin.private.clone());
        let pending = is_pending(&row);
        *self.row.write().unwrap_or_else(PoisonError::into_inner) = row;
        let ended = match self.login() {
            Login::User(_) => !same_user,
            Login::So(officer) => Some(&*officer.seal) != officer_seal.as_ref(),
            Login::Nobody => false,
        };
        if !pending {
            // Rows without a code are nobody's from now on, also for whoever logged in when they waited for it.
            self.update_login(|login| match login {
                Login::User(keys) if keys.is_adopted() => Login::User(Arc::new(keys.settled())),
                Login::So(officer) => Login::So(Officer { pending: false, ..officer }),
                other => other,
            });
            self.set_free_keys(
                self.free_keys().map(|keys| if keys.is_adopted() { Arc::new(keys.settled()) } else { keys }),
            );
        }
        if ended {
            self.logout();
        }
        if !same_user || self.login_required() {
            self.set_free_keys(None);
        }
        self.shelf.forget(changes)?;
        Ok(ended)
    }

    /// Another process removed the token: sessions on it find nothing any more.
    pub(crate) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.logout();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Was this blob tried without a PIN, in vain?
    pub(crate) fn is_known_not_free(&self, blob: &[u8]) -> bool {
        self.not_free.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(blob)
    }

    pub(crate) fn remember_not_free(&self, blob: Vec<u8>) {
        *self.not_free.lock().unwrap_or_else(PoisonError::into_inner) = Some(blob);
    }

    /// Names of the TPM objects behind the token's PINs.
    pub(crate) fn seal_names(&self) -> Vec<tpm::Name> {
        let row = self.row();
        row.so.iter().chain(&row.user).filter_map(|pin| seal_of(pin).name().ok()).collect()
    }

    /// The objects in the store.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// What the store says of it, as the last look saw it.
    #[must_use]
    pub fn row(&self) -> TokenRow {
        self.row.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over a row that this process has just stored.
    pub(crate) fn replace_row(&self, row: TokenRow) {
        *self.row.write().unwrap_or_else(PoisonError::into_inner) = row;
    }

    /// What its TPM said it can do.
    #[must_use]
    pub fn capabilities(&self) -> &tpm::Capabilities {
        &self.chip.capabilities
    }

    /// Does the user have a PIN?
    #[must_use]
    pub fn login_required(&self) -> bool {
        self.row.read().unwrap_or_else(PoisonError::into_inner).login_required
    }

    pub(crate) fn login(&self) -> Login {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_login(&self, login: Login) {
        let mut now = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*now, Login::User(_)) && !matches!(login, Login::User(_)) {
            self.ended_logins.fetch_add(1, Ordering::AcqRel);
        }
        *now = login;
    }

    /// Replaces the login by what `change` makes of it, in one step; it does not end it.
    pub(crate) fn update_login(&self, change: impl FnOnce(Login) -> Login) {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        *login = change(login.clone());
    }

    /// Ends the login: the token's keys are zeroized with their last use, private session objects are gone.
    pub(crate) fn logout(&self) {
        self.set_login(Login::Nobody);
        self.set_free_keys(None);
        self.session_objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, (object, _)| !object.is_private());
    }

    /// The token's keys, if the user is logged in; those of a token without PIN, if something needed them before.
    pub(crate) fn keys(&self) -> Option<Arc<TokenKeys>> {
        match self.login() {
            Login::User(keys) => Some(keys),
            Login::Nobody if !self.login_required() => self.free_keys(),
            Login::Nobody | Login::So(_) => None,
        }
    }

    fn free_keys(&self) -> Option<Arc<TokenKeys>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_free_keys(&self, keys: Option<Arc<TokenKeys>>) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Is this object there for the caller? Private ones are the user's; a row that was altered is nobody's.
    fn serves(&self, object: &Object, login: &Login) -> bool {
        match login {
            Login::User(keys) => object.is_genuine(keys),
            Login::Nobody if !self.login_required() => self.free_keys().is_none_or(|keys| object.is_genuine(&keys)),
            Login::Nobody => !object.is_private(),
            Login::So(officer) if officer.pending && object.may_have_come_over() => object.is_public(),
            Login::So(officer) => object.is_genuine_to(&officer.key),
        }
    }

    /// Is what was seen of an object enough to hand it out? Else it is to be read and checked.
    fn serves_briefly(&self, brief: &Brief, login: &Login) -> bool {
        match login {
            Login::User(_) => brief.is_genuine(),
            Login::Nobody if !self.login_required() && self.free_keys().is_some() => brief.is_genuine(),
            Login::Nobody => brief.is_sound(),
            Login::So(officer) => !officer.pending && brief.is_genuine() && brief.is_public(),
        }
    }

    /// Can it be told without a look that the caller may not know of it?
    fn hides_briefly(&self, brief: &Brief, login: &Login) -> bool {
        brief.is_private()
            && match login {
                Login::User(_) => false,
                Login::Nobody => self.login_required(),
                Login::So(_) => true,
            }
    }

    /// The handle by which the caller knows an object of the store. Handles of private objects end with the login, and are not valid again
    /// after another (PKCS#11 v3.1 5.6.8), so that they say in which login they were given: in the upper bits, which are 0
    /// in the first login of a process. A `CK_ULONG` of 32 bits has no room for that.
    pub(crate) fn handle_of(&self, row: ObjectHandle, private: bool) -> ObjectHandle {
        let has_room = usize::BITS >= u64::BITS;
        let ended = if private && has_room { self.ended_logins.load(Ordering::Acquire) & MOST_LOGINS } else { 0 };
        ObjectHandle(row.0 | u64::from(ended) << LOGINS_SHIFT)
    }

    /// The handle of an object in this login, as the functions of a session take it.
    #[must_use]
    pub fn handle(&self, object: &Object) -> ObjectHandle {
        self.handle_of(object.handle, object.home == Home::Token && object.is_private())
    }

    /// The object that the caller means by a handle, if it was given in this login and the caller may know of it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn meant(&self, handle: ObjectHandle) -> Result<Option<Arc<Object>>> {
        let object = self.object(row_of(handle))?;
        Ok(object.filter(|object| self.handle(object) == handle))
    }

    /// The object with this handle, or with this number in the store, if the caller may know of it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn object(&self, handle: ObjectHandle) -> Result<Option<Arc<Object>>> {
        if (FIRST_PROFILE_HANDLE..FIRST_SESSION_HANDLE).contains(&handle.0) {
            return Ok(self.profiles()?.into_iter().find(|profile| profile.handle == handle));
        }
        let found = match handle.0 < FIRST_PROFILE_HANDLE {
            true => self.shelf.object(handle)?,
            false => {
                let objects = self.session_objects.lock().unwrap_or_else(PoisonError::into_inner);
                objects.get(&handle).map(|(object, _)| Arc::clone(object))
            }
        };
        let login = self.login();
        Ok(found.filter(|object| self.serves(object, &login)))
    }

    /// Which objects of the store a search may hand out, and whether it may without a look at them: then by the handle that the caller gets.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn candidates(&self, template: &Template) -> Result<Vec<(ObjectHandle, bool)>> {
        let login = self.login();
        Ok(match self.shelf.candidates(template)? {
            Candidates::These(handles) => handles.into_iter().map(|handle| (handle, false)).collect(),
            Candidates::Briefly(briefs) => briefs
                .iter()
                .filter(|brief| !self.hides_briefly(brief, &login))
                .map(|brief| (self.handle_of(brief.handle(), brief.is_private()), self.serves_briefly(brief, &login)))
                .collect(),
        })
    }

    /// Every session object that the caller may know of, by handle.
    pub(crate) fn session_objects(&self) -> Vec<Arc<Object>> {
        let login = self.login();
        let objects = self.session_objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.values().map(|(object, _)| object).filter(|object| self.serves(object, &login)).cloned().collect()
    }

    /// Every object that the caller may know of, by handle.
    ///
    /// # Errors
    /// Those of the store.
    pub fn objects(&self) -> Result<Vec<Arc<Object>>> {
        let login = self.login();
        let mut objects = Vec::new();
        self.shelf.each(|object| objects.extend(Some(object).filter(|object| self.serves(object, &login))))?;
        objects.extend(self.session_objects());
        Ok(objects)
    }

    /// Keeps an object in memory, which has its share of it; in the place of the one with the same handle, if there is one.
    pub(crate) fn add_session_object(&self, object: Object, share: Share) {
        let mut objects = self.session_objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(object.handle, (Arc::new(object), share));
    }

    pub(crate) fn remove_session_object(&self, handle: ObjectHandle) {
        self.session_objects.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }

    pub(crate) fn remove_objects_of(&self, session: SessionHandle) {
        let mut objects = self.session_objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.retain(|_, (object, _)| object.home != Home::Session(session));
    }

    pub(crate) fn pins(&self) -> PinState {
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_pins(&self, pins: PinState) {
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner) = pins;
    }

    /// Hands out what [`Token::catalog`] has, one by one: not all is in memory at once.
    ///
    /// # Errors
    /// Those of the store.
    pub fn each_object(&self, use_: impl FnMut(Arc<Object>)) -> Result<()> {
        self.shelf.each(use_)
    }

    /// One of these.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stored_object(&self, handle: ObjectHandle) -> Result<Option<Arc<Object>>> {
        self.shelf.object(handle)
    }

    /// Those of these that have what the template says.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stored_objects(&self, template: &Template) -> Result<Vec<Arc<Object>>> {
        self.shelf.find(template)
    }

    /// How many keys of the TPM it has.
    ///
    /// # Errors
    /// Those of the store.
    pub fn count_keys(&self) -> Result<usize> {
        self.shelf.count_keys()
    }

    /// Its objects in the store, by handle, whoever is logged in and whether their rows are genuine or not: [`Token::object`] tells that.
    ///
    /// # Errors
    /// Those of the store.
    pub fn catalog(&self) -> Result<Catalog> {
        let mut catalog = Catalog::new();
        self.shelf.each(|object| drop(catalog.insert(object.handle, object)))?;
        Ok(catalog)
    }

    /// Wrong PINs of late, as this process or the store knows of them, whichever is more.
    pub(crate) fn guard(&self, role: Role, wrong_pins: u32) -> Guard {
        let row = self.row();
        let now = tries::now();
        if role == Role::User && !row.login_required {
            return Tries::default().guard(wrong_pins, now);
        }
        let [stored, own] = self.tries(&row).map(|all| all.of(role).guard(wrong_pins, now));
        if own.left < stored.left { own } else { stored }
    }

    /// Those that the store knows of, and those of this process alone.
    fn tries(&self, row: &TokenRow) -> [AllTries; 2] {
        let stored = TokenConfig::parse(&row.config).map(|config| config.tries).unwrap_or_default();
        [stored, self.pins().tries]
    }

    pub(crate) fn info(&self, sessions: (u64, u64), settings: &Config, read_only: bool) -> TokenInfo {
        let row = self.row();
        let chip = &self.chip.capabilities;
        let mut bits = flags::CKF_RNG | flags::CKF_TOKEN_INITIALIZED;
        let mut set = |condition: bool, flag: u64| bits |= if condition { flag } else { 0 };
        set(row.login_required, flags::CKF_LOGIN_REQUIRED);
        set(row.user.as_ref().is_some_and(|pin| pin.iterations != NO_PIN), flags::CKF_USER_PIN_INITIALIZED);
        set(row.user.as_ref().is_some_and(|pin| pin.to_be_changed), flags::CKF_USER_PIN_TO_BE_CHANGED);
        set(row.so.as_ref().is_some_and(|pin| pin.to_be_changed), flags::CKF_SO_PIN_TO_BE_CHANGED);
        set(read_only, flags::CKF_WRITE_PROTECTED);
        let pins = self.pins();
        let lockout = pins.lockout();
        let left = lockout.map_or(u32::MAX, |lockout| lockout.max_tries.saturating_sub(lockout.counter));
        let locked = lockout.is_some_and(|lockout| lockout.in_lockout) || left == 0;
        let user = [flags::CKF_USER_PIN_COUNT_LOW, flags::CKF_USER_PIN_FINAL_TRY, flags::CKF_USER_PIN_LOCKED];
        let so = [flags::CKF_SO_PIN_COUNT_LOW, flags::CKF_SO_PIN_FINAL_TRY, flags::CKF_SO_PIN_LOCKED];
        // The TPM counts wrong tries of all its objects together, so what it locks is locked for both; what we hold back is each user's.
        let now = tries::now();
        for (role, failed, [low, last, lock]) in [(Role::User, pins.user_failed, user), (Role::So, pins.so_failed, so)]
        {
            let guard = self.guard(role, settings.wrong_pins);
            let any = self.tries(&row).iter().any(|all| all.of(role).any(now));
            let locked = locked || guard.wait > 0;
            set(failed || any, low);
            set((left == 1 || guard.left == Some(1)) && !locked, last);
            set(locked, lock);
        }
        TokenInfo {
            label: row.label,
            manufacturer: MANUFACTURER.to_owned(),
            model: if chip.vendor.is_empty() { "TPM 2.0".to_owned() } else { chip.vendor.clone() },
            serial: row.serial,
            flags: bits,
            max_sessions: settings.max_sessions.into(),
            sessions: sessions.0,
            rw_sessions: sessions.1,
            min_pin_len: if row.login_required { MIN_PIN_LEN } else { 0 },
            max_pin_len: MAX_PIN_LEN,
            hardware_version: version(chip.revision / 100, chip.revision % 100),
            firmware_version: version(chip.firmware[0] >> 16, chip.firmware[0] & 0xffff),
        }
    }

    /// Does its TPM sign digests of a hash with such a key?
    #[must_use]
    pub fn can_sign(&self, key: &PublicKey, hash: Hash) -> bool {
        self.chip.can_sign(key, hash)
    }

    pub(crate) fn mechanism_list(&self) -> Vec<MechanismType> {
        MECHANISMS.iter().filter(|row| !self.chip.ops(row).is_empty()).map(|row| row.ty).collect()
    }

    pub(crate) fn mechanism_info(&self, ty: MechanismType) -> Result<MechanismInfo> {
        let row = ty.row().ok_or(Error::MechanismInvalid)?;
        let ops = self.chip.ops(row);
        if ops.is_empty() {
            return Err(Error::MechanismInvalid);
        }
        let (mut min_key_size, mut max_key_size) = self.chip.key_sizes(row.key);
        if row.ty == MechanismType::GENERIC_SECRET_KEY_GEN {
            // Alone among the mechanisms of secret keys it tells bits (PKCS#11 mechanisms v3.1 2.6.2).
            (min_key_size, max_key_size) = (min_key_size * 8, max_key_size * 8);
        }
        let mut bits = ops.bits();
        if ops.intersects(Ops::SIGN | Ops::DECRYPT | Ops::GENERATE_KEY_PAIR) {
            bits |= flags::CKF_HW;
        }
        if row.key == KeyKind::Ec {
            bits |= flags::CKF_EC_F_P | flags::CKF_EC_OID;
            if row.scheme != Scheme::KeyPair {
                bits |= flags::CKF_EC_UNCOMPRESS;
            }
        }
        Ok(MechanismInfo { min_key_size, max_key_size, flags: bits })
    }
}

/// Longest generic secret, in bytes.
pub(crate) const MAX_SECRET_LEN: u64 = 64 * 1024;

/// Versions of the C interface have one byte for each part. One that does not fit is not told at all: another one would be wrong.
pub(crate) fn version(major: u32, minor: u32) -> (u8, u8) {
    let byte = |part: u32| u8::try_from(part).ok();
    byte(major).zip(byte(minor)).unwrap_or_default()
}

/// Handles below: no process makes as many session objects.
const LOGINS_SHIFT: u32 = 40;
/// Logins are counted up to this, and then anew: handles stay positive where somebody takes them for signed.
const MOST_LOGINS: u32 = 0x7f_ffff;

/// The number in the store, or the handle of what is not in the store.
pub(crate) fn row_of(handle: ObjectHandle) -> ObjectHandle {
    ObjectHandle(handle.0 & ((1 << LOGINS_SHIFT) - 1))
}
