//! Message digesting functions (5.12).

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts a digest (5.12.1).
    C_DigestInit(session: SessionHandle, mechanism: Mechanism) |library| {
        library.digest_init(session, &mechanism.mechanism()?)
    }
}

cryptoki_fn! {
    /// Digests in one call (5.12.2).
    C_Digest(session: SessionHandle, data: Bytes, digest: Buffer) |library| {
        digest.fill_from(data, |data, output| library.digest(session, data, output))
    }
}

cryptoki_fn! {
    /// Digests a part (5.12.3).
    C_DigestUpdate(session: SessionHandle, part: Bytes) |library| library.digest_update(session, part.slice()?)
}

cryptoki_fn! {
    /// Digests the value of a secret key (5.12.4).
    C_DigestKey(session: SessionHandle, key: ObjectHandle) unsupported "the value of a key is not outside of the TPM"
}

cryptoki_fn! {
    /// The digest of the parts (5.12.5).
    C_DigestFinal(session: SessionHandle, digest: Buffer) |library| {
        digest.fill(|output| library.digest_final(session, output))
    }
}
