//! Message-based functions of version 3.0 (5.9, 5.11, 5.14, 5.16).

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Prepares for the encryption of messages (5.9.1).
    C_MessageEncryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Encrypts a message (5.9.2).
    C_EncryptMessage(session: SessionHandle, parameter: Parameter, associated: Bytes, plain: Bytes, encrypted: Buffer)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Starts a message (5.9.3).
    C_EncryptMessageBegin(session: SessionHandle, parameter: Parameter, associated: Bytes)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Encrypts a part of a message (5.9.4).
    C_EncryptMessageNext(session: SessionHandle, parameter: Parameter, plain: Bytes, encrypted: Buffer, flags: Ulong)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Ends the encryption of messages (5.9.5).
    C_MessageEncryptFinal(session: SessionHandle) unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Prepares for the decryption of messages (5.11.1).
    C_MessageDecryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Decrypts a message (5.11.2).
    C_DecryptMessage(session: SessionHandle, parameter: Parameter, associated: Bytes, encrypted: Bytes, plain: Buffer)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Starts a message (5.11.3).
    C_DecryptMessageBegin(session: SessionHandle, parameter: Parameter, associated: Bytes)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Decrypts a part of a message (5.11.4).
    C_DecryptMessageNext(session: SessionHandle, parameter: Parameter, encrypted: Bytes, plain: Buffer, flags: Ulong)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Ends the decryption of messages (5.11.5).
    C_MessageDecryptFinal(session: SessionHandle) unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Prepares for the signing of messages (5.14.1).
    C_MessageSignInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Signs a message (5.14.2).
    C_SignMessage(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Buffer)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Starts a message (5.14.3).
    C_SignMessageBegin(session: SessionHandle, parameter: Parameter) unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Adds a part of a message (5.14.4).
    C_SignMessageNext(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Buffer)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Ends the signing of messages (5.14.5).
    C_MessageSignFinal(session: SessionHandle) unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Prepares for the verification of messages (5.16.1).
    C_MessageVerifyInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Verifies a message (5.16.2).
    C_VerifyMessage(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Bytes)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Starts a message (5.16.3).
    C_VerifyMessageBegin(session: SessionHandle, parameter: Parameter) unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Adds a part of a message (5.16.4).
    C_VerifyMessageNext(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Bytes)
    unsupported "no mechanism works by messages"
}

cryptoki_fn! {
    /// Ends the verification of messages (5.16.5).
    C_MessageVerifyFinal(session: SessionHandle) unsupported "no mechanism works by messages"
}
