//! Finding, reading and destroying objects (PKCS#11 v3.1 5.7).

use std::collections::VecDeque;
use std::sync::Arc;

use model::{AttributeType, ObjectClass, ObjectHandle, SessionHandle, Template};

use crate::info::AttributeValue;
use crate::library::Library;
use crate::object::{Home, Object};
use crate::session::{Session, Step};
use crate::{Error, Result};

impl Library {
    /// `C_FindObjectsInit`: what is found is what the store has now; later changes are seen by the next search.
    ///
    /// # Errors
    /// [`Error::OperationActive`], [`Error::AttributeValueInvalid`] for a value that no such attribute can have.
    pub fn find_init(&self, session: SessionHandle, template: &Template) -> Result<()> {
        let session = self.session(session)?;
        session.begin(
            |active| &mut active.find,
            || {
                self.refresh()?;
                let objects = session.token.objects();
                Ok(objects
                    .iter()
                    .filter(|object| object.matches(template))
                    .map(|object| object.handle)
                    .collect::<VecDeque<_>>())
            },
        )
    }

    /// `C_FindObjects`: up to `max` further handles.
    ///
    /// # Errors
    /// [`Error::OperationNotInitialized`].
    pub fn find(&self, session: SessionHandle, max: usize) -> Result<Vec<ObjectHandle>> {
        let session = self.session(session)?;
        session.step(|active| &mut active.find, |found| Step::Keep(Ok(found.drain(..max.min(found.len())).collect())))
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
        let object = self.object(&session, object)?;
        if !object.attributes.is_true(AttributeType::DESTROYABLE) {
            return Err(Error::ActionProhibited);
        }
        match object.home {
            Home::Session(_) => session.token.remove_session_object(object.handle),
            Home::Token => {
                if !session.read_write {
                    return Err(Error::SessionReadOnly);
                }
                self.writer()?.remove_object(object.handle.0.cast_signed())?;
                self.changed()?;
            }
        }
        if let (Some(key), Ok(tpm)) = (&object.key, self.tpm()) {
            tpm.forget(&key.name);
        }
        Ok(())
    }

    fn attribute(&self, session: &Session, object: &Object, ty: AttributeType) -> Result<AttributeValue> {
        // Only data objects show what they hide, and only to the user, who alone sees private ones.
        if ty == AttributeType::VALUE && object.class() == ObjectClass::DATA && object.hides() {
            let value = object.reveal(&*self.keys(&session.token)?)?;
            return Ok(value.map_or(AttributeValue::Unknown, |value| AttributeValue::Value(value.expose().to_vec())));
        }
        Ok(object.attribute(ty))
    }

    pub(crate) fn object(&self, session: &Session, handle: ObjectHandle) -> Result<Arc<Object>> {
        session.token.object(handle).ok_or(Error::ObjectHandleInvalid)
    }
}
