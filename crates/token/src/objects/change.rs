//! Changing and copying objects (PKCS#11 v3.1 4.1.2, 4.1.3, 5.7.3, 5.7.6).

use std::sync::Arc;

use model::{AttributeType, Attributes, ObjectClass, ObjectHandle, Rule, SessionHandle, Template, Value};
use store::{NewObject, ObjectRow};

use crate::library::Library;
use crate::object::{Home, Object};
use crate::objects::draft::Draft;
use crate::objects::separation;
use crate::slots::session::Session;
use crate::slots::token::Login;
use crate::{Error, Result};

/// Attributes that a copy may have otherwise, besides those that can be changed at any time.
const OF_A_COPY: [AttributeType; 4] =
    [AttributeType::TOKEN, AttributeType::PRIVATE, AttributeType::MODIFIABLE, AttributeType::DESTROYABLE];

impl Library {
    /// `C_SetAttributeValue`: all of the template, or nothing.
    ///
    /// # Errors
    /// [`Error::ActionProhibited`] if `CKA_MODIFIABLE` is false, [`Error::SessionReadOnly`], [`Error::UserNotLoggedIn`],
    /// and the attribute errors.
    pub fn set_attributes(&self, session: SessionHandle, object: ObjectHandle, template: &Template) -> Result<()> {
        let session = self.session(session)?;
        // What another process wrote since the last look is not undone.
        self.refresh()?;
        let object = self.genuine(&session, object)?;
        if !object.attributes.is_true(AttributeType::MODIFIABLE) {
            return Err(Error::ActionProhibited);
        }
        let attributes = changed(&session, &object, template, Way::Set)?;
        match object.home {
            Home::Session(owner) => {
                let draft = self.draft_of(&session, &object, attributes)?;
                self.keep(&session.token, draft.into_session(object.handle, owner))?;
            }
            Home::Token => self.rewrite(&session, &object, |object| changed(&session, object, template, Way::Set))?,
        }
        Ok(())
    }

    /// Notes at which persistent handle the TPM keeps a copy of a key; `None` for none.
    ///
    /// # Errors
    /// [`Error::SessionReadOnly`], [`Error::UserNotLoggedIn`]; [`Error::ObjectHandleInvalid`].
    pub fn note_residence(&self, session: SessionHandle, key: ObjectHandle, handle: Option<u32>) -> Result<()> {
        let session = self.session(session)?;
        self.refresh()?;
        let key = self.genuine(&session, key)?;
        self.rewrite(&session, &key, |key| {
            let mut attributes = key.attributes.clone();
            match handle {
                Some(handle) => attributes.set(AttributeType::TPM_HANDLE, Value::Ulong(handle.into())),
                None => drop(attributes.remove(AttributeType::TPM_HANDLE)),
            }
            Ok(attributes)
        })
    }

    /// Writes the row of a token object anew, with the attributes that `change` gives it.
    fn rewrite(
        &self,
        session: &Session,
        object: &Object,
        change: impl FnOnce(&Object) -> Result<Attributes>,
    ) -> Result<()> {
        let signer = self.may_write(session, object.is_private() || object.key.is_some() || object.hides())?;
        // The first change of a token that was taken over writes its rows anew.
        let object = session.token.object(object.handle)?.ok_or(Error::ObjectHandleInvalid)?;
        let attributes = change(&object)?;
        let draft = self.draft_of(session, &object, attributes)?;
        let row = with_id(draft.to_row(session.token.id, &signer)?, object.handle.0.cast_signed());
        self.writer()?.transaction(|store| -> Result<()> {
            let now = store.object(row.id)?.ok_or(Error::ObjectHandleInvalid)?;
            if now.mac.as_deref() != object.code() {
                return Err(Error::StoreBusy("another process changed the object meanwhile; try again".to_owned()));
            }
            Ok(store.replace_object(&row)?)
        })?;
        self.changed();
        Ok(())
    }

    /// `C_CopyObject`: a new object, which may be kept elsewhere and may only be allowed less.
    ///
    /// # Errors
    /// [`Error::ActionProhibited`] if `CKA_COPYABLE` is false, [`Error::TemplateInconsistent`] for a copy that would show
    /// what the original hides, and those of [`Library::create_object`].
    pub fn copy_object(
        &self,
        session: SessionHandle,
        object: ObjectHandle,
        template: &Template,
    ) -> Result<ObjectHandle> {
        let session = self.session(session)?;
        let object = self.genuine(&session, object)?;
        if !object.attributes.is_true(AttributeType::COPYABLE) {
            return Err(Error::ActionProhibited);
        }
        let mut attributes = changed(&session, &object, template, Way::Copy)?;
        if attributes.is_true(AttributeType::TRUSTED) && !matches!(session.token.login(), Login::So(_)) {
            // What the security officer trusts is that object, not what the user made of it.
            attributes.set(AttributeType::TRUSTED, Value::Bool(false));
        }
        if object.is_private() && !attributes.is_true(AttributeType::PRIVATE) {
            return Err(Error::TemplateInconsistent("the copy of a private object is private"));
        }
        let draft = self.draft_of(&session, &object, attributes)?;
        if let (true, true, Some(value)) = (object.in_memory(), draft.on_token(), &draft.hidden) {
            // A secret in memory that is to stay goes into the TPM.
            return self.new_secret(&session, draft.attributes, value.clone());
        }
        let Draft { attributes, key, hidden, policy, messages, .. } = draft;
        let draft = Draft { policy, messages, ..Draft::new(attributes, key, hidden)? };
        self.settle_new(&session, draft)
    }

    /// `C_GetObjectSize`: bytes that the object takes.
    ///
    /// # Errors
    /// [`Error::ObjectHandleInvalid`].
    pub fn object_size(&self, session: SessionHandle, object: ObjectHandle) -> Result<u64> {
        let session = self.session(session)?;
        Ok(self.object(&session, object)?.size())
    }

    fn draft_of(&self, session: &Session, object: &Object, attributes: Attributes) -> Result<Draft> {
        // What the object hides is bound to what it may do: it is opened here and wrapped anew.
        // A secret in a session's memory is bound to nothing: who may make and destroy it may change it (5.6, table of access types).
        let hidden = if object.in_memory() && object.home != Home::Token {
            self.value_of(session, object)?
        } else if object.hides() {
            object.reveal(&*self.keys(&session.token)?)?
        } else {
            None
        };
        let (key, policy, messages) = (object.key.clone(), object.policy.clone(), Arc::clone(&object.messages));
        Ok(Draft { uid: object.uid, attributes, key, hidden, policy, messages })
    }
}

/// What a template of new values is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Set,
    Copy,
}

/// The object's attributes after the change, if every part of it is allowed.
fn changed(session: &Session, object: &Object, template: &Template, way: Way) -> Result<Attributes> {
    let also: &[AttributeType] = if way == Way::Copy { &OF_A_COPY } else { &[] };
    let scope = object.scope().ok_or(Error::ActionProhibited)?;
    let mut attributes = object.attributes.clone();
    for (ty, bytes) in template.iter() {
        let row = ty.row().filter(|row| row.scope.intersects(scope)).ok_or(Error::AttributeTypeInvalid(ty))?;
        let value = Value::from_native(row.kind, bytes).ok_or(Error::AttributeValueInvalid(ty))?;
        let allowed = (row.rule.contains(Rule::MODIFY) && may_change(object.class(), ty)) || also.contains(&ty);
        // The template of a copy may repeat what the original is; to set what nobody may set is wrong whatever the value is.
        if (allowed || way == Way::Copy) && object.attributes.find(ty) == Some(&value) {
            continue;
        }
        let against_the_way = (row.rule.contains(Rule::ONLY_TRUE) && value == Value::Bool(false))
            || (row.rule.contains(Rule::ONLY_FALSE) && value == Value::Bool(true));
        let officers = row.rule.contains(Rule::SO) && value == Value::Bool(true);
        if !allowed || against_the_way || (officers && !matches!(session.token.login(), Login::So(_))) {
            return Err(Error::AttributeReadOnly(ty));
        }
        // The value of a private data object is not among its attributes; it is not changed in place.
        if ty == AttributeType::VALUE && object.hides() {
            return Err(Error::AttributeReadOnly(ty));
        }
        // Of a certificate that was written with other words than its own, the right ones can be set.
        if let (ObjectClass::CERTIFICATE, Some(part)) = (object.class(), certified_part(object, ty))
            && value != Value::Bytes(part)
        {
            return Err(Error::TemplateInconsistent("issuer or serial number are not the certificate's"));
        }
        attributes.set(ty, value);
    }
    separation::check_change(&object.attributes, &attributes)?;
    Ok(attributes)
}

/// What the certificate itself says where an attribute repeats it.
fn certified_part(object: &Object, ty: AttributeType) -> Option<Vec<u8>> {
    let parts = base::certificate::parts(object.attributes.bytes(AttributeType::VALUE)?)?;
    match ty {
        AttributeType::ISSUER => Some(parts.issuer.to_vec()),
        AttributeType::SERIAL_NUMBER => Some(parts.serial.to_vec()),
        _ => None,
    }
}

/// A certificate is what its value says: only what helps to find it may change (PKCS#11 v3.1 4.6.2).
fn may_change(class: ObjectClass, ty: AttributeType) -> bool {
    let of_certificates = [
        AttributeType::LABEL,
        AttributeType::ID,
        AttributeType::ISSUER,
        AttributeType::SERIAL_NUMBER,
        AttributeType::TRUSTED,
        AttributeType::COPYABLE,
    ];
    class != ObjectClass::CERTIFICATE || of_certificates.contains(&ty)
}

/// A new row in the place of an old one.
pub(crate) fn with_id(row: NewObject, id: i64) -> ObjectRow {
    ObjectRow {
        id,
        token_id: row.token_id,
        uid: row.uid,
        class: row.class,
        key_type: row.key_type,
        label: row.label,
        cka_id: row.cka_id,
        private: row.private,
        tpm_name: row.tpm_name,
        tpm_public: row.tpm_public,
        tpm_private: row.tpm_private,
        wrapped_auth: row.wrapped_auth,
        policy: row.policy,
        mac: row.mac,
        attributes: row.attributes,
    }
}
