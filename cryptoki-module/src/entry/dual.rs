//! Dual-function cryptographic functions (5.17).

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Digests and encrypts a part (5.17.1).
    C_DigestEncryptUpdate(session: SessionHandle, part: Bytes, encrypted: Buffer) unsupported "two calls do the same"
}

cryptoki_fn! {
    /// Decrypts and digests a part (5.17.2).
    C_DecryptDigestUpdate(session: SessionHandle, encrypted: Bytes, part: Buffer) unsupported "two calls do the same"
}

cryptoki_fn! {
    /// Signs and encrypts a part (5.17.3).
    C_SignEncryptUpdate(session: SessionHandle, part: Bytes, encrypted: Buffer) unsupported "two calls do the same"
}

cryptoki_fn! {
    /// Decrypts and verifies a part (5.17.4).
    C_DecryptVerifyUpdate(session: SessionHandle, encrypted: Bytes, part: Buffer) unsupported "two calls do the same"
}
