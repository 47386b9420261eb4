//! Encryption functions (5.8).

use model::Ops;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts an encryption (5.8.1), or cancels the active one.
    C_EncryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.encrypt_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::ENCRYPT, start)
    }
}

cryptoki_fn! {
    /// Encrypts in one call (5.8.2). Input and output may be the same memory.
    C_Encrypt(session: SessionHandle, plain: Bytes, encrypted: Buffer) |library| {
        encrypted.fill_from(plain, |plain, output| library.encrypt(session, plain, output))
    }
}

cryptoki_fn! {
    /// Encrypts in parts (5.8.3). Input and output may be the same memory.
    C_EncryptUpdate(session: SessionHandle, plain: Bytes, encrypted: Buffer) |library| {
        encrypted.fill_from(plain, |plain, output| library.encrypt_update(session, plain, output))
    }
}

cryptoki_fn! {
    /// The last part (5.8.4).
    C_EncryptFinal(session: SessionHandle, encrypted: Buffer) |library| {
        encrypted.fill(|output| library.encrypt_final(session, output))
    }
}
