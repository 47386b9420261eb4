//! The objects of a token as the store has them, read when somebody asks.
//!
//! What is kept: the objects that were asked for last, and once somebody searched through all of them, sixteen bytes for each.
//! A search goes by the store's indexes or by these bytes; what it hands out is looked at first.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::hex::decode as unhex;
use model::{AttributeType, ObjectHandle, Template, Value};
use store::{ObjectRow, OpenMode, Search, Store};

use crate::object::{FIRST_PROFILE_HANDLE, Object};
use crate::{Error, Result};

/// How many objects are kept that were asked for.
const MOST_KEPT: usize = 256;
/// How many are read at once where all are.
const PART: u32 = 128;
/// More changes at once than are worth looking at one by one.
const MANY_CHANGES: usize = 256;

/// Objects of a token as the store had them at one moment.
pub type Catalog = BTreeMap<ObjectHandle, Arc<Object>>;

/// The connection that sees what is in the store. It is locked for one query at a time, and while it is, nothing else gets locked.
#[derive(Debug)]
pub(crate) struct Source {
    file: PathBuf,
    open: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    store: Option<Store>,
    /// How many times it was opened: what one connection says of changes means nothing to the next.
    times: u64,
}

impl Source {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, open: Mutex::default() }
    }

    /// What a query says.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn read<T>(&self, query: impl Fn(&Store) -> store::Result<T>) -> Result<T> {
        let mut open = self.lock();
        let Some(store) = &open.store else { return Err(Error::Store("the store is not there".to_owned())) };
        match query(store) {
            // Somebody was killed while writing: what only reads cannot take that back, opening anew can. Or the program has closed
            // the connection's descriptor, as daemons do with what they know nothing of.
            Err(store::Error::Interrupted | store::Error::Io(_)) => {
                // Gone before there is another, which may get the same number.
                open.store = None;
                let store = Store::open(&self.file, OpenMode::ReadOnly)?;
                open.times += 1;
                Ok(query(open.store.insert(store))?)
            }
            result => Ok(result?),
        }
    }

    /// A value that is another one after the store was changed, or opened anew.
    pub(crate) fn version(&self) -> Result<(u64, i64)> {
        let version = self.read(Store::data_version)?;
        Ok((self.lock().times, version))
    }

    /// Opens the store if it is not, or if another file came in its place. `false` if there is none.
    pub(crate) fn open(&self, anew: bool) -> Result<bool> {
        let mut open = self.lock();
        if open.store.is_some() && !anew {
            return Ok(true);
        }
        match Store::open(&self.file, OpenMode::ReadOnly) {
            Ok(store) => {
                open.store = Some(store);
                open.times += 1;
                Ok(true)
            }
            Err(error @ store::Error::NotFound(_)) => {
                log::debug!("{error}");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects of one token.
#[derive(Debug)]
pub(crate) struct Shelf {
    source: Arc<Source>,
    token: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts changes: what was read before one is not kept after it.
    generation: u64,
    /// Nothing for a row that makes no sense: it is not read again and again.
    kept: HashMap<ObjectHandle, (Option<Arc<Object>>, u64)>,
    clock: u64,
    briefs: Option<Vec<Brief>>,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief {
    id: u32,
    class: u32,
    key_type: u32,
    /// `PRIVATE` says the store; the others were seen.
    seen: u8,
}

const NO_KEY_TYPE: u32 = u32::MAX;
const PRIVATE: u8 = 1;
const SOUND: u8 = 2;
const GENUINE: u8 = 4;
const PUBLIC: u8 = 8;

impl Brief {
    fn of(brief: store::Brief) -> Option<Self> {
        let id = u32::try_from(brief.id).ok().filter(|id| u64::from(*id) < FIRST_PROFILE_HANDLE)?;
        let seen = if brief.private { PRIVATE } else { 0 };
        Some(Self { id, class: brief.class, key_type: brief.key_type.unwrap_or(NO_KEY_TYPE), seen })
    }

    pub(crate) fn handle(&self) -> ObjectHandle {
        ObjectHandle(self.id.into())
    }

    /// Only the logged-in user sees it.
    pub(crate) fn is_private(&self) -> bool {
        self.seen & PRIVATE != 0
    }

    /// The object was read, and is what is said here.
    pub(crate) fn is_sound(&self) -> bool {
        self.seen & SOUND != 0
    }

    /// The row's code was found right.
    pub(crate) fn is_genuine(&self) -> bool {
        self.seen & GENUINE != 0
    }

    /// Everybody may see it.
    pub(crate) fn is_public(&self) -> bool {
        self.seen & PUBLIC != 0
    }
}

/// Which objects a template may mean.
pub(crate) enum Candidates {
    /// These, and which of them do the objects tell.
    These(Vec<ObjectHandle>),
    /// These, if they are what they are said to be.
    Briefly(Vec<Brief>),
}

/// What a template asks of a column or an indexed attribute.
#[derive(Default)]
struct Wanted {
    class: Option<u32>,
    key_type: Option<u32>,
    private: Option<bool>,
    label: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    uid: Option<[u8; 16]>,
    attribute: Option<(u64, Vec<u8>)>,
    /// It asks for more.
    more: bool,
}

impl Shelf {
    pub(crate) fn new(source: Arc<Source>, token: i64) -> Self {
        Self { source, token, state: Mutex::default() }
    }

    /// The object with this handle, if the row makes sense. Who may know of it is not asked here.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn object(&self, handle: ObjectHandle) -> Result<Option<Arc<Object>>> {
        let generation = {
            let mut state = self.lock();
            state.clock += 1;
            let clock = state.clock;
            if let Some((object, used)) = state.kept.get_mut(&handle) {
                *used = clock;
                return Ok(object.clone());
            }
            state.generation
        };
        let row = self.source.read(|store| store.object(handle.0.cast_signed()))?;
        let Some(row) = row.filter(|row| row.token_id == self.token) else { return Ok(None) };
        let object = decode(&row);
        let mut state = self.lock();
        if state.generation == generation {
            state.keep(handle, object.clone());
        }
        Ok(object)
    }

    /// Need the object not be read?
    pub(crate) fn has(&self, handle: ObjectHandle) -> bool {
        self.lock().kept.contains_key(&handle)
    }

    /// Reads those of these objects that are not here, all at once: [`Shelf::object`] has them then. They are fewer than are kept.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn read_ahead(&self, handles: impl Iterator<Item = ObjectHandle>) -> Result<()> {
        let (generation, missing) = {
            let state = self.lock();
            let missing = handles.filter(|handle| !state.kept.contains_key(handle));
            let missing: Vec<i64> = missing.map(|handle| handle.0.cast_signed()).collect();
            (state.generation, missing)
        };
        if missing.len() < 2 {
            return Ok(());
        }
        let rows = self.source.read(|store| store.objects_by_ids(&missing))?;
        let read = rows.iter().filter(|row| row.token_id == self.token);
        let read: Vec<_> = read.map(|row| (ObjectHandle(row.id.cast_unsigned()), decode(row))).collect();
        let mut state = self.lock();
        state.clock += 1;
        if state.generation == generation {
            read.into_iter().for_each(|(handle, object)| state.keep(handle, object));
        }
        Ok(())
    }

    /// All objects whose rows make sense. Nothing is kept.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn each(&self, mut use_: impl FnMut(Arc<Object>)) -> Result<()> {
        let mut last = 0;
        loop {
            let rows = self.source.read(|store| store.objects_after(self.token, last, PART))?;
            let Some(row) = rows.last() else { return Ok(()) };
            last = row.id;
            rows.iter().filter_map(decode).for_each(&mut use_);
        }
    }

    /// The objects that a template means, whoever may know of them.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn find(&self, template: &Template) -> Result<Vec<Arc<Object>>> {
        let handles = match self.candidates(template)? {
            Candidates::These(handles) => handles,
            Candidates::Briefly(briefs) => briefs.iter().map(Brief::handle).collect(),
        };
        let mut found = Vec::new();
        for handle in handles {
            found.extend(self.object(handle)?.filter(|object| object.matches(template)));
        }
        Ok(found)
    }

    /// Which objects a template may mean, by growing handle.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn candidates(&self, template: &Template) -> Result<Candidates> {
        let searched = |ty: AttributeType| self.source.read(|store| Ok(store.is_searched(ty.0)));
        let Some(wanted) = Wanted::by(template, searched)? else { return Ok(Candidates::These(Vec::new())) };
        if wanted.is_narrow() {
            let search = Search {
                uid: wanted.uid.as_ref(),
                cka_id: wanted.id.as_deref(),
                label: wanted.label.as_deref(),
                attribute: wanted.attribute.as_ref().map(|(kind, value)| (*kind, value.as_slice())),
                class: wanted.class,
            };
            let ids = self.source.read(|store| store.find_objects(self.token, &search))?;
            return Ok(Candidates::These(ids.into_iter().map(|id| ObjectHandle(id.cast_unsigned())).collect()));
        }
        let briefs: Vec<Brief> = self.with_briefs(|briefs| {
            let fits = |brief: &&Brief| {
                wanted.class.is_none_or(|class| class == brief.class)
                    && wanted.key_type.is_none_or(|key_type| key_type == brief.key_type)
                    && wanted.private.is_none_or(|private| private == brief.is_private())
            };
            briefs.iter().filter(fits).copied().collect()
        })?;
        Ok(match wanted.more {
            true => Candidates::These(briefs.iter().map(Brief::handle).collect()),
            false => Candidates::Briefly(briefs),
        })
    }

    /// Remembers what was seen of an object that was just read and served.
    pub(crate) fn note(&self, object: &Object) {
        let mut state = self.lock();
        let Some(briefs) = &mut state.briefs else { return };
        let place = briefs.binary_search_by_key(&object.handle.0, |brief| brief.id.into());
        let Some(brief) = place.ok().and_then(|place| briefs.get_mut(place)) else { return };
        let key_type = object.key_type().map_or(Some(NO_KEY_TYPE), |key_type| u32::try_from(key_type.0).ok());
        if object.class().0 == u64::from(brief.class)
            && key_type == Some(brief.key_type)
            && object.is_private() == brief.is_private()
        {
            brief.seen |= SOUND;
            brief.seen |= if object.was_found_genuine() { GENUINE } else { 0 };
            brief.seen |= if object.is_public() { PUBLIC } else { 0 };
        }
    }

    /// Forgets what changed: these objects, or all.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn forget(&self, changes: &store::Changes) -> Result<()> {
        let store::Changes::Objects(changes) = changes else {
            self.forget_all();
            return Ok(());
        };
        let mine = changes.iter().filter(|(token, _)| *token == self.token);
        let Some(ids) = mine.map(|(_, id)| *id).collect::<Option<Vec<i64>>>().filter(|ids| ids.len() <= MANY_CHANGES)
        else {
            self.forget_all();
            return Ok(());
        };
        if ids.is_empty() {
            return Ok(());
        }
        let has_briefs = self.lock().briefs.is_some();
        let mut now = Vec::new();
        for id in ids.iter().filter(|_| has_briefs) {
            now.push(self.source.read(|store| store.brief(self.token, *id))?.and_then(Brief::of));
        }
        let mut state = self.lock();
        state.generation += 1;
        for id in &ids {
            state.kept.remove(&ObjectHandle(id.cast_unsigned()));
        }
        if !has_briefs {
            // Somebody may have read them meanwhile, before the change.
            state.briefs = None;
        }
        let Some(briefs) = &mut state.briefs else { return Ok(()) };
        for (id, brief) in ids.iter().zip(now) {
            let place = briefs.binary_search_by_key(id, |brief| brief.id.into());
            match (place, brief) {
                (Ok(place), Some(brief)) => briefs.iter_mut().skip(place).take(1).for_each(|old| *old = brief),
                (Ok(place), None) => drop(briefs.remove(place)),
                (Err(place), Some(brief)) => briefs.insert(place, brief),
                (Err(_), None) => {}
            }
        }
        Ok(())
    }

    fn forget_all(&self) {
        let mut state = self.lock();
        *state = State { generation: state.generation + 1, clock: state.clock, ..State::default() };
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn count_keys(&self) -> Result<usize> {
        self.source.read(|store| store.count_keys(self.token))
    }

    /// What tells whether a TPM object is a key of this token, for as long as the store can be read.
    pub(crate) fn names(&self) -> impl Fn(&tpm::Name) -> bool + Send + Sync + 'static {
        let (source, token) = (Arc::clone(&self.source), self.token);
        move |name| source.read(|store| store.has_key_named(token, name.as_bytes())).unwrap_or(false)
    }

    fn with_briefs<T>(&self, use_: impl FnOnce(&[Brief]) -> T) -> Result<T> {
        loop {
            let generation = {
                let state = self.lock();
                if let Some(briefs) = &state.briefs {
                    return Ok(use_(briefs));
                }
                state.generation
            };
            let briefs = self.source.read(|store| store.briefs(self.token))?;
            let briefs = briefs.into_iter().filter_map(Brief::of).collect();
            let mut state = self.lock();
            if state.generation == generation {
                state.briefs = Some(briefs);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, handle: ObjectHandle, object: Option<Arc<Object>>) {
        if self.kept.len() >= MOST_KEPT {
            // A quarter at once: what was not used lately.
            let mut uses: Vec<u64> = self.kept.values().map(|(_, used)| *used).collect();
            let (_, oldest, _) = uses.select_nth_unstable(MOST_KEPT / 4);
            let oldest = *oldest;
            self.kept.retain(|_, (_, used)| *used > oldest);
        }
        self.kept.insert(handle, (object, self.clock));
    }
}

impl Wanted {
    /// What the template asks for; `None` if no token object can have it.
    fn by(template: &Template, searched: impl Fn(AttributeType) -> Result<bool>) -> Result<Option<Self>> {
        let mut wanted = Self::default();
        for (ty, native) in template.iter() {
            let Some(value) = ty.row().and_then(|row| Value::from_native(row.kind, native)) else { return Ok(None) };
            match (ty, value) {
                (AttributeType::CLASS, Value::Ulong(class)) => match u32::try_from(class) {
                    Ok(class) if wanted.class.is_none_or(|other| other == class) => wanted.class = Some(class),
                    _ => return Ok(None),
                },
                (AttributeType::KEY_TYPE, Value::Ulong(key_type)) => match u32::try_from(key_type) {
                    Ok(key_type) if key_type != NO_KEY_TYPE => {
                        wanted.more |= wanted.key_type.replace(key_type).is_some()
                    }
                    _ => return Ok(None),
                },
                (AttributeType::TOKEN, Value::Bool(token)) if !token => return Ok(None),
                (AttributeType::TOKEN, Value::Bool(_)) => {}
                (AttributeType::PRIVATE, Value::Bool(private)) => {
                    wanted.more |= wanted.private.replace(private).is_some()
                }
                // An object without one has an empty label.
                (AttributeType::LABEL, Value::Bytes(label)) if !label.is_empty() => wanted.label = Some(label),
                (AttributeType::ID, Value::Bytes(id)) => wanted.id = Some(id),
                (AttributeType::UNIQUE_ID, Value::Bytes(text)) => {
                    let uid = std::str::from_utf8(&text).ok().and_then(unhex).and_then(|uid| uid.try_into().ok());
                    let Some(uid) = uid else { return Ok(None) };
                    wanted.uid = Some(uid);
                }
                (ty, value) if wanted.attribute.is_none() && searched(ty)? => {
                    wanted.attribute = Some((ty.0, value.encode()));
                }
                _ => wanted.more = true,
            }
        }
        Ok(Some(wanted))
    }

    /// Does an index lead to few objects?
    fn is_narrow(&self) -> bool {
        self.label.is_some() || self.id.is_some() || self.uid.is_some() || self.attribute.is_some()
    }
}

/// One bad row must not take the others away.
fn decode(row: &ObjectRow) -> Option<Arc<Object>> {
    match Object::from_row(row) {
        Ok(object) => Some(Arc::new(object)),
        Err(error) => {
            log::error!("{error}; the object is not served");
            None
        }
    }
}
