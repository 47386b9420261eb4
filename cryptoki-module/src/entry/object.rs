//! Object management functions (5.7).

use pkcs11_sys::{CK_OBJECT_HANDLE, CK_ULONG};

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Makes an object from a template (5.7.1).
    C_CreateObject(session: SessionHandle, template: Attributes, object: Place<CK_OBJECT_HANDLE>) |library| {
        let place = object.required()?;
        place.write(library.create_object(session, &template.template()?)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Copies an object (5.7.2).
    C_CopyObject(
        session: SessionHandle, object: ObjectHandle, template: Attributes, copy: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let place = copy.required()?;
        place.write(library.copy_object(session, object, &template.template()?)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Destroys an object (5.7.3).
    C_DestroyObject(session: SessionHandle, object: ObjectHandle) |library| library.destroy_object(session, object)
}

cryptoki_fn! {
    /// The size of an object in the store, in bytes (5.7.4).
    C_GetObjectSize(session: SessionHandle, object: ObjectHandle, size: Place<CK_ULONG>) |library| {
        let place = size.required()?;
        place.write(library.object_size(session, object)?);
        Ok(())
    }
}

cryptoki_fn! {
    /// Attributes of an object (5.7.5).
    C_GetAttributeValue(session: SessionHandle, object: ObjectHandle, attributes: Attributes) |library| {
        attributes.answer(|types| library.get_attributes(session, object, types))
    }
}

cryptoki_fn! {
    /// Changes attributes of an object (5.7.6).
    C_SetAttributeValue(session: SessionHandle, object: ObjectHandle, template: Attributes) |library| {
        library.set_attributes(session, object, &template.template()?)
    }
}

cryptoki_fn! {
    /// Starts a search (5.7.7). An empty template finds everything.
    C_FindObjectsInit(session: SessionHandle, template: Attributes) |library| {
        library.find_init(session, &template.template()?)
    }
}

cryptoki_fn! {
    /// The next objects found (5.7.8).
    C_FindObjects(session: SessionHandle, objects: UpTo<CK_OBJECT_HANDLE>) |library| {
        objects.fill(|max| Ok(library.find(session, max)?.into_iter().map(|object| object.0).collect()))
    }
}

cryptoki_fn! {
    /// Ends a search (5.7.9).
    C_FindObjectsFinal(session: SessionHandle) |library| library.find_final(session)
}
