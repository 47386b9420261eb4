//! Signing and MACing functions (5.13).

use model::Ops;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts a signature (5.13.1), or cancels the active one.
    C_SignInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.sign_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::SIGN, start)
    }
}

cryptoki_fn! {
    /// Signs in one call (5.13.2).
    C_Sign(session: SessionHandle, data: Bytes, signature: Buffer) |library| {
        signature.fill_from(data, |data, output| library.sign(session, data, output))
    }
}

cryptoki_fn! {
    /// Adds a part to what is signed (5.13.3).
    C_SignUpdate(session: SessionHandle, part: Bytes) |library| library.sign_update(session, part.slice()?)
}

cryptoki_fn! {
    /// The signature of the parts (5.13.4).
    C_SignFinal(session: SessionHandle, signature: Buffer) |library| {
        signature.fill(|output| library.sign_final(session, output))
    }
}

cryptoki_fn! {
    /// Starts a signature from which the data can be recovered (5.13.5), or cancels the active one.
    C_SignRecoverInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.sign_recover_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::SIGN_RECOVER, start)
    }
}

cryptoki_fn! {
    /// Signs so that the data can be recovered (5.13.6).
    C_SignRecover(session: SessionHandle, data: Bytes, signature: Buffer) |library| {
        signature.fill_from(data, |data, output| library.sign_recover(session, data, output))
    }
}
