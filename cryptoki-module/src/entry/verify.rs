//! Functions for verifying signatures and MACs (5.15).

use model::Ops;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts a verification (5.15.1), or cancels the active one.
    C_VerifyInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.verify_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::VERIFY, start)
    }
}

cryptoki_fn! {
    /// Verifies in one call (5.15.2).
    C_Verify(session: SessionHandle, data: Bytes, signature: Bytes) |library| {
        library.verify(session, data.slice()?, signature.slice()?)
    }
}

cryptoki_fn! {
    /// Adds a part to what is verified (5.15.3).
    C_VerifyUpdate(session: SessionHandle, part: Bytes) |library| library.verify_update(session, part.slice()?)
}

cryptoki_fn! {
    /// Verifies the signature of the parts (5.15.4).
    C_VerifyFinal(session: SessionHandle, signature: Bytes) |library| library.verify_final(session, signature.slice()?)
}

cryptoki_fn! {
    /// Starts a verification that recovers the data (5.15.5), or cancels the active one.
    C_VerifyRecoverInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.verify_recover_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::VERIFY_RECOVER, start)
    }
}

cryptoki_fn! {
    /// Recovers the data of a signature (5.15.6).
    C_VerifyRecover(session: SessionHandle, signature: Bytes, data: Buffer) |library| {
        data.fill_from(signature, |signature, output| library.verify_recover(session, signature, output))
    }
}

cryptoki_fn! {
    /// Starts a verification with the signature first (3.2, 5.15), or cancels the active one.
    C_VerifySignatureInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle, signature: Bytes) |library| {
        let start = |mechanism: &_| library.verify_signature_init(session, mechanism, key, signature.slice()?);
        mechanism.start_or_cancel(library, session, Ops::VERIFY, start)
    }
}

cryptoki_fn! {
    /// Verifies that signature in one call.
    C_VerifySignature(session: SessionHandle, data: Bytes) |library| library.verify_signature(session, data.slice()?)
}

cryptoki_fn! {
    /// Adds a part to what is verified.
    C_VerifySignatureUpdate(session: SessionHandle, part: Bytes) |library| {
        library.verify_signature_update(session, part.slice()?)
    }
}

cryptoki_fn! {
    /// Verifies that signature of the parts.
    C_VerifySignatureFinal(session: SessionHandle) |library| library.verify_signature_final(session)
}
