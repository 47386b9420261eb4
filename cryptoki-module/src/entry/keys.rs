//! Key management functions (5.18).

use pkcs11_sys::CK_OBJECT_HANDLE;

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
