//! Key management functions (5.18).

use pkcs11_sys::CK_OBJECT_HANDLE;
use token::Error;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Makes a secret key (5.18.1).
    C_GenerateKey(
        session: SessionHandle, mechanism: Mechanism, template: Attributes, key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let place = key.required()?;
        place.write(library.generate_key(session, &mechanism.mechanism(library, session)?, &template.template()?)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Makes a key pair (5.18.2).
    C_GenerateKeyPair(
        session: SessionHandle, mechanism: Mechanism, public_template: Attributes, private_template: Attributes,
        public_key: Place<CK_OBJECT_HANDLE>, private_key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let (public_place, private_place) = (public_key.required()?, private_key.required()?);
        let mechanism = mechanism.mechanism(library, session)?;
        let (public, private) = library.generate_key_pair(
            session,
            &mechanism,
            &public_template.template()?,
            &private_template.template()?,
        )?;
        public_place.write(public.0);
        private_place.write(private.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Wraps a key (5.18.3).
    C_WrapKey(
        session: SessionHandle, mechanism: Mechanism, wrapping_key: ObjectHandle, key: ObjectHandle, wrapped: Buffer
    ) |library| {
        let mechanism = mechanism.mechanism(library, session)?;
        wrapped.fill(|output| library.wrap_key(session, &mechanism, wrapping_key, key, output))
    }
}

cryptoki_fn! {
    /// Unwraps a key (5.18.4).
    C_UnwrapKey(
        session: SessionHandle, mechanism: Mechanism, unwrapping_key: ObjectHandle, wrapped: Bytes,
        template: Attributes, key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let place = key.required()?;
        let (mechanism, template) = (mechanism.mechanism(library, session)?, template.template()?);
        place.write(library.unwrap_key(session, &mechanism, unwrapping_key, wrapped.slice()?, &template)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Derives a key (5.18.5).
    C_DeriveKey(
        session: SessionHandle, mechanism: Mechanism, base_key: ObjectHandle, template: Attributes,
        key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let place = key.required()?;
        let (mechanism, template) = (mechanism.mechanism(library, session)?, template.template()?);
        place.write(library.derive_key(session, &mechanism, base_key, &template)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Makes a secret key and a ciphertext for the holder of the private key (3.2, 5.18). No key is made where only the length is asked for,
    /// and then there need not be a place for its handle.
    C_EncapsulateKey(
        session: SessionHandle, mechanism: Mechanism, public_key: ObjectHandle, template: Attributes,
        ciphertext: Buffer, key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        if !ciphertext.is_query() {
            key.required()?;
        }
        let (mechanism, template) = (mechanism.mechanism(library, session)?, template.template()?);
        let mut made = None;
        ciphertext.fill(|output| {
            let (len, handle) = library.encapsulate_key(session, &mechanism, public_key, &template, output)?;
            made = handle;
            Ok(len)
        })?;
        if let Some(handle) = made {
            key.required()?.write(handle.0);
        }
        Ok(())
    }
}

cryptoki_fn! {
    /// Gets the secret key of a ciphertext (3.2, 5.18).
    C_DecapsulateKey(
        session: SessionHandle, mechanism: Mechanism, private_key: ObjectHandle, template: Attributes,
        ciphertext: Bytes, key: Place<CK_OBJECT_HANDLE>
    ) |library| {
        let place = key.required()?;
        let (mechanism, template) = (mechanism.mechanism(library, session)?, template.template()?);
        place.write(library.decapsulate_key(session, &mechanism, private_key, &template, ciphertext.slice()?)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Wraps a key with associated data (3.2, 5.18). The one mechanism for it here would be AES-GCM, and with that whoever may wrap a key
    /// that he knows under the same vector, or encrypt, can read what he wrapped: it is not there.
    C_WrapKeyAuthenticated(
        session: SessionHandle, mechanism: Mechanism, wrapping_key: ObjectHandle, key: ObjectHandle, associated: Bytes,
        wrapped: Buffer
    ) |library| library.session_info(session).and(Err(Error::FunctionNotSupported))
}

cryptoki_fn! {
    /// Unwraps a key with associated data (3.2, 5.18): as there is none to wrap.
    C_UnwrapKeyAuthenticated(
        session: SessionHandle, mechanism: Mechanism, unwrapping_key: ObjectHandle, wrapped: Bytes,
        template: Attributes, associated: Bytes, key: Place<CK_OBJECT_HANDLE>
    ) |library| library.session_info(session).and(Err(Error::FunctionNotSupported))
}
