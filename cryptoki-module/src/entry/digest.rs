//! Message digesting functions (5.12).

use model::Ops;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Starts a digest (5.12.1), or cancels the active one.
    C_DigestInit(session: SessionHandle, mechanism: Mechanism) |library| {
        let start = |mechanism: &_| library.digest_init(session, mechanism);
        mechanism.start_or_cancel(library, session, Ops::DIGEST, start)
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
    C_DigestKey(session: SessionHandle, key: ObjectHandle) |library| library.digest_key(session, key)
}

cryptoki_fn! {
    /// The digest of the parts (5.12.5).
    C_DigestFinal(session: SessionHandle, digest: Buffer) |library| {
        digest.fill(|output| library.digest_final(session, output))
    }
}
