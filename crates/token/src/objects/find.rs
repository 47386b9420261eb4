//! Finding, reading and destroying objects (PKCS#11 v3.1 5.7).

use std::collections::VecDeque;
use std::sync::Arc;

use base::Secret;
use model::{AttributeType, ObjectClass, ObjectHandle, SessionHandle, Template};

use crate::info::AttributeValue;
use crate::library::Library;
use crate::object::{Hidden, Home, Object};
use crate::slots::session::{Session, Step};
use crate::slots::token::Token;
use crate::{Error, Result};

/// A search.
#[derive(Debug)]
pub(crate) struct Finding {
    template: Template,
    /// What may be found, and whether that is sure. What is not is read when its turn comes: who takes the first few does not wait
    /// for the last.
    places: VecDeque<(ObjectHandle, bool)>,
}

impl Finding {
    fn next(&mut self, token: &Token, max: usize) -> Result<Vec<ObjectHandle>> {
        let mut found = Vec::new();
        while found.len() < max
            && let Some((handle, sure)) = self.places.pop_front()
        {
            let is_found = sure
                || self.is_found(token, handle).inspect_err(|_| {
                    // None is lost: they are found by the next call.
                    self.places.push_front((handle, false));
                    found.iter().rev().for_each(|handle| self.places.push_front((*handle, true)));
                })?;
            if is_found {
                found.push(handle);
            }
        }
        Ok(found)
    }

    fn is_found(&self, token: &Token, handle: ObjectHandle) -> Result<bool> {
        let Some(object) = token.object(handle)? else { return Ok(false) };
        token.shelf().note(&object);
        Ok(object.matches(&self.template))
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
    /// [`Error::OperationActive`], [`Error::AttributeValueInvalid`] for a value that no such attribute can have.
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
                Ok(Finding { template: template.clone(), places })
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
                self.changed()?;
            }
        }
        if let (Some(key), Ok(tpm)) = (&object.key, self.tpm()) {
            tpm.forget(&key.name);
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
        session.token.object(handle)?.ok_or(Error::ObjectHandleInvalid)
    }
}
