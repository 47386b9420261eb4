//! Decryption functions (5.10).

use model::Ops;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts a decryption (5.10.1), or cancels the active one.
    C_DecryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.decrypt_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::DECRYPT, start)
    }
}

cryptoki_fn! {
    /// Decrypts in one call (5.10.2). Input and output may be the same memory.
    C_Decrypt(session: SessionHandle, encrypted: Bytes, plain: Buffer) |library| {
        plain.fill_from(encrypted, |encrypted, output| library.decrypt(session, encrypted, output))
    }
}

cryptoki_fn! {
    /// Decrypts in parts (5.10.3). Input and output may be the same memory.
    C_DecryptUpdate(session: SessionHandle, encrypted: Bytes, plain: Buffer) |library| {
        plain.fill_from(encrypted, |encrypted, output| library.decrypt_update(session, encrypted, output))
    }
}

cryptoki_fn! {
    /// The last part (5.10.4).
    C_DecryptFinal(session: SessionHandle, plain: Buffer) |library| {
        plain.fill(|output| library.decrypt_final(session, output))
    }
}
