//! Finding, reading and destroying objects (PKCS#11 v3.1 5.7).

use std::collections::VecDeque;
use std::sync::Arc;

use base::Secret;
use model::{AttributeType, ObjectClass, ObjectHandle, SessionHandle, Template};

use crate::info::AttributeValue;
use crate::library::Library;
use crate::object::{Hidden, Home, Object};
use crate::slots::budget::Share;
use crate::slots::session::{Session, Step};
use crate::slots::token::{Token, row_of};
use crate::{Error, Result};

/// A search.
#[derive(Debug)]
pub(crate) struct Finding {
    template: Template,
    /// What may be found, and whether that is sure. What is not is read when its turn comes: who takes the first few does not wait
    /// for the last.
    places: VecDeque<(ObjectHandle, bool)>,
    /// How many were read at once last: who goes on gets more each time.
    part: usize,
    /// What it takes of the memory for sessions.
    _share: Share,
}

/// What a search takes besides, about.
const SEARCH: usize = 256;

/// About the memory that a search takes until it is over.
fn size(template: &Template, places: &VecDeque<(ObjectHandle, bool)>) -> usize {
    let values: usize = template.iter().map(|(_, value)| value.len() + size_of::<(AttributeType, Vec<u8>)>()).sum();
    SEARCH + values + places.len() * size_of::<(ObjectHandle, bool)>()
}

/// So many are read at once at most. What reads them keeps more than that.
const MOST_AT_ONCE: usize = 128;

impl Finding {
    fn next(&mut self, token: &Token, max: usize) -> Result<Vec<ObjectHandle>> {
        let mut found = Vec::new();
        while found.len() < max
            && let Some((handle, sure)) = self.places.pop_front()
        {
            if sure {
                found.push(handle);
                continue;
            }
            let object = self.found(token, row_of(handle), max - found.len()).inspect_err(|_| {
                // None is lost: they are found by the next call.
                self.places.push_front((handle, false));
                found.iter().rev().for_each(|handle| self.places.push_front((*handle, true)));
            })?;
            found.extend(object.map(|object| token.handle_of(object.handle, object.is_private())));
        }
        Ok(found)
    }

    fn found(&mut self, token: &Token, row: ObjectHandle, wanted: usize) -> Result<Option<Arc<Object>>> {
        if !token.shelf().has(row) {
            self.part = self.part.saturating_mul(2).max(wanted).min(MOST_AT_ONCE);
            let unsure = self.places.iter().filter(|(_, sure)| !sure).map(|(handle, _)| row_of(*handle));
            token.shelf().read_ahead(std::iter::once(row).chain(unsure).take(self.part))?;
        }
        let Some(object) = token.object(row)? else { return Ok(None) };
        token.shelf().note(&object);
        Ok(Some(object).filter(|object| object.matches(&self.template)))
    }
}

impl Library {
    /// The value of an object that keeps one here: a secret in memory, a private data object.
    pub(crate) fn value_of(&self, session: &Session, object: &Object) -> Result<Option<Secret>> {
        match &object.hidden {
            Hidden::Wrapped(_) => {
                let keys = self.keys(&session.token)?;
                // The first use of a token that was taken over writes its rows anew.
                let now = session.token.object(object.handle)?;
                now.as_deref().unwrap_or(object).reveal(&keys)
            }
            Hidden::Clear(secret) => Ok(Some(secret.clone())),
            Hidden::Nothing => Ok(None),
        }
    }

    /// `C_FindObjectsInit`: what is found is what the store has now; later changes are seen by the next search.
    ///
    /// # Errors
    /// [`Error::OperationActive`], [`Error::AttributeValueInvalid`] for a value that no such attribute can have, [`Error::Searches`] where too
    /// much is found in searches that are still open.
    pub fn find_init(&self, session: SessionHandle, template: &Template) -> Result<()> {
        // Before the session's operations are locked: what another process did may end some of them.
        self.refresh()?;
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.find,
            || {
                let token = &session.token;
                let mut places: VecDeque<_> = token.candidates(template)?.into();
                let others = [token.session_objects(), token.profiles_for(template)?];
                let others = others.iter().flatten().filter(|object| object.matches(template));
                places.extend(others.map(|object| (object.handle, true)));
                // The only one is not refused, however much there is.
                let share = self.search_memory.take_or_all(size(template, &places)).ok_or(Error::Searches)?;
                Ok(Finding { template: template.clone(), places, part: 0, _share: share })
            },
        )
    }

    /// `C_FindObjects`: up to `max` further handles.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`]; those of the store, after which the search goes on where it was.
    pub fn find(&self, session: SessionHandle, max: usize) -> Result<Vec<ObjectHandle>> {
        let session = self.session(session)?;
        session.step(|active| &mut active.find, |finding| Step::Keep(finding.next(&session.token, max)))
    }

    /// `C_FindObjectsFinal`.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn find_final(&self, session: SessionHandle) -> Result<()> {
        self.session(session)?.step(|active| &mut active.find, |_| Step::Done(Ok(())))
    }

    /// `C_GetAttributeValue`: an answer for each type, in their order.
    ///
    /// # Errors
    /// [`Error::ObjectHandleInvalid`].
    pub fn get_attributes(
        &self,
        session: SessionHandle,
        object: ObjectHandle,
        types: &[AttributeType],
    ) -> Result<Vec<AttributeValue>> {
        let session = self.session(session)?;
        let object = self.object(&session, object)?;
        types.iter().map(|ty| self.attribute(&session, &object, *ty)).collect()
    }

    /// `C_DestroyObject`.
    ///
    /// # Errors
    /// [`Error::SessionReadOnly`], [`Error::ActionProhibited`] if `CKA_DESTROYABLE` is false,
    /// [`Error::UserNotLoggedIn`] for a private object of a token without PIN that nobody opened.
    pub fn destroy_object(&self, session: SessionHandle, object: ObjectHandle) -> Result<()> {
        let session = self.session(session)?;
        let object = self.genuine(&session, object)?;
        if !object.attributes.is_true(AttributeType::DESTROYABLE) {
            return Err(Error::ActionProhibited);
        }
        match object.home {
            Home::Session(_) => session.token.remove_session_object(object.handle),
            Home::Token => {
                if !session.read_write {
                    return Err(Error::SessionReadOnly);
                }
                let id = object.handle.0.cast_signed();
                self.writer()?.transaction(|store| -> Result<()> {
                    // The number alone could be another object's, if the file was replaced.
                    match store.object(id)? {
                        Some(row) if row.uid == object.uid => Ok(store.remove_object(id)?),
                        _ => Err(Error::ObjectHandleInvalid),
                    }
                })?;
                self.changed();
            }
        }
        if let (Some(key), Ok(tpm)) = (&object.key, self.tpm()) {
            tpm.forget(&key.name);
            if let Some(handle) = object.residence() {
                // The owner has an authorization value, or there is no TPM: what is left there is of no use to anybody.
                let nothing = Secret::zeroed(0);
                if let Err(error) = tpm.evict_key(handle, &key.name, &session.token.primary, &nothing) {
                    log::warn!("a key that no object knows any more is left in the TPM at {handle:#010x}: {error}");
                }
            }
        }
        Ok(())
    }

    fn attribute(&self, session: &Session, object: &Object, ty: AttributeType) -> Result<AttributeValue> {
        // Private data objects show what they hide; so do secrets in memory that may be seen.
        let visible = match object.class() {
            ObjectClass::DATA => object.hides(),
            ObjectClass::SECRET_KEY => object.is_readable(),
            _ => false,
        };
        if ty == AttributeType::VALUE && visible {
            let value = self.value_of(session, object)?;
            return Ok(value.map_or(AttributeValue::Unknown, |value| AttributeValue::Value(value.expose().to_vec())));
        }
        Ok(object.attribute(ty))
    }

    /// An object that is about to be changed, copied or destroyed. On a token without PIN the keys are fetched first, which tell
    /// whether its row is genuine: what somebody else altered is not made ours by writing it anew.
    pub(crate) fn genuine(&self, session: &Session, handle: ObjectHandle) -> Result<Arc<Object>> {
        let object = self.object(session, handle)?;
        if object.home == Home::Token && !session.token.login_required() {
            self.keys(&session.token)?;
            return self.object(session, handle);
        }
        Ok(object)
    }

    pub(crate) fn object(&self, session: &Session, handle: ObjectHandle) -> Result<Arc<Object>> {
        session.token.meant(handle)?.ok_or(Error::ObjectHandleInvalid)
    }
}
