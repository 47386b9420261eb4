//! Dual-function cryptographic functions (5.17). Input and output may be the same memory.

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Digests and encrypts a part (5.17.1).
    C_DigestEncryptUpdate(session: SessionHandle, part: Bytes, encrypted: Buffer) |library| {
        encrypted.fill_from(part, |part, output| library.digest_encrypt_update(session, part, output))
    }
}

cryptoki_fn! {
    /// Decrypts and digests a part (5.17.2).
    C_DecryptDigestUpdate(session: SessionHandle, encrypted: Bytes, part: Buffer) |library| {
        part.fill_from(encrypted, |encrypted, output| library.decrypt_digest_update(session, encrypted, output))
    }
}

cryptoki_fn! {
    /// Signs and encrypts a part (5.17.3).
    C_SignEncryptUpdate(session: SessionHandle, part: Bytes, encrypted: Buffer) |library| {
        encrypted.fill_from(part, |part, output| library.sign_encrypt_update(session, part, output))
    }
}

cryptoki_fn! {
    /// Decrypts and verifies a part (5.17.4).
    C_DecryptVerifyUpdate(session: SessionHandle, encrypted: Bytes, part: Buffer) |library| {
        part.fill_from(encrypted, |encrypted, output| library.decrypt_verify_update(session, encrypted, output))
    }
}
