//! Message-based functions of version 3.0 (5.9, 5.11, 5.14, 5.16).
//!
//! The results of a message that lie in its parameter, vector and tag, are written after everything of the call was
//! read, and only when the message was processed: not for a length query or a buffer that is too small.

use model::Ops;
use pkcs11_sys::CKF_END_OF_MESSAGE;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Prepares for the encryption of messages (5.9.1), or cancels it.
    C_MessageEncryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        if mechanism.is_null() {
            return library.cancel(session, Ops::MESSAGE_ENCRYPT, false);
        }
        library.message_encrypt_init(session, &mechanism.message_mechanism(library, session)?, key)
    }
}

cryptoki_fn! {
    /// Encrypts a message (5.9.2). Input and output may be the same memory.
    C_EncryptMessage(
        session: SessionHandle, parameter: Parameter, associated: Bytes, plain: Bytes, encrypted: Buffer
    ) |library| {
        let message = parameter.gcm_message(library, session)?;
        let (iv, tag_len) = (message.iv_source()?, message.tag.len());
        let associated = associated.slice()?.to_vec();
        let mut done = None;
        encrypted.fill_from(plain, |plain, output| {
            let sealed = library.encrypt_message(session, iv, &associated, plain, tag_len, output)?;
            done = sealed.done;
            Ok(sealed.len)
        })?;
        let Some((iv, tag)) = done else { return Ok(()) };
        message.write_iv(&iv)?;
        message.write_tag(&tag)
    }
}

cryptoki_fn! {
    /// Starts a message (5.9.3), and makes its vector.
    C_EncryptMessageBegin(session: SessionHandle, parameter: Parameter, associated: Bytes) |library| {
        let message = parameter.gcm_message(library, session)?;
        let associated = associated.slice()?;
        let iv = library.encrypt_message_begin(session, message.iv_source()?, associated)?;
        message.write_iv(&iv)
    }
}

cryptoki_fn! {
    /// Encrypts a part of a message (5.9.4). The last part takes the parameter's tag; others do not look at it.
    C_EncryptMessageNext(
        session: SessionHandle, parameter: Parameter, plain: Bytes, encrypted: Buffer, flags: Ulong
    ) |library| {
        parameter.slice()?;
        let last = flags & CKF_END_OF_MESSAGE != 0;
        let message = last.then(|| parameter.gcm_message(library, session)).transpose()?;
        let mut done = None;
        encrypted.fill_from(plain, |plain, output| {
            let tag_len = message.as_ref().map(|message| message.tag.len());
            let sealed = library.encrypt_message_next(session, plain, tag_len, output)?;
            done = sealed.done;
            Ok(sealed.len)
        })?;
        match (message, done) {
            (Some(message), Some((_, tag))) => message.write_tag(&tag),
            _ => Ok(()),
        }
    }
}

cryptoki_fn! {
    /// Ends the encryption of messages (5.9.5).
    C_MessageEncryptFinal(session: SessionHandle) |library| library.message_encrypt_final(session)
}

cryptoki_fn! {
    /// Prepares for the decryption of messages (5.11.1), or cancels it.
    C_MessageDecryptInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        if mechanism.is_null() {
            return library.cancel(session, Ops::MESSAGE_DECRYPT, false);
        }
        library.message_decrypt_init(session, &mechanism.message_mechanism(library, session)?, key)
    }
}

cryptoki_fn! {
    /// Decrypts a message (5.11.2). Input and output may be the same memory.
    C_DecryptMessage(
        session: SessionHandle, parameter: Parameter, associated: Bytes, encrypted: Bytes, plain: Buffer
    ) |library| {
        let message = parameter.gcm_message(library, session)?;
        let associated = associated.slice()?.to_vec();
        plain.fill_from(encrypted, |encrypted, output| {
            library.decrypt_message(session, &message.iv, &associated, encrypted, &message.tag, output)
        })
    }
}

cryptoki_fn! {
    /// Starts a message (5.11.3).
    C_DecryptMessageBegin(session: SessionHandle, parameter: Parameter, associated: Bytes) |library| {
        let message = parameter.gcm_message(library, session)?;
        library.decrypt_message_begin(session, &message.iv, associated.slice()?)
    }
}

cryptoki_fn! {
    /// Decrypts a part of a message (5.11.4). The last part comes with the parameter's tag; others do not look at it.
    C_DecryptMessageNext(
        session: SessionHandle, parameter: Parameter, encrypted: Bytes, plain: Buffer, flags: Ulong
    ) |library| {
        parameter.slice()?;
        let last = flags & CKF_END_OF_MESSAGE != 0;
        let message = last.then(|| parameter.gcm_message(library, session)).transpose()?;
        let tag = message.as_ref().map(|message| message.tag.as_slice());
        plain.fill_from(encrypted, |part, output| library.decrypt_message_next(session, part, tag, output))
    }
}

cryptoki_fn! {
    /// Ends the decryption of messages (5.11.5).
    C_MessageDecryptFinal(session: SessionHandle) |library| library.message_decrypt_final(session)
}

cryptoki_fn! {
    /// Prepares for the signing of messages (5.14.1), or cancels it.
    C_MessageSignInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.message_sign_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::MESSAGE_SIGN, start)
    }
}

cryptoki_fn! {
    /// Signs a message (5.14.2).
    C_SignMessage(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Buffer) |library| {
        parameter.no_message(library, session)?;
        signature.fill_from(data, |data, output| library.sign_message(session, data, output))
    }
}

cryptoki_fn! {
    /// Starts a message (5.14.3).
    C_SignMessageBegin(session: SessionHandle, parameter: Parameter) |library| {
        parameter.no_message(library, session)?;
        library.sign_message_begin(session)
    }
}

cryptoki_fn! {
    /// Adds a part of a message (5.14.4). A place for the signature's length comes with the last part.
    C_SignMessageNext(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Buffer) |library| {
        parameter.no_message(library, session)?;
        if signature.is_absent() {
            return library.sign_message_next(session, data.slice()?, None).map(drop);
        }
        signature.fill_from(data, |data, output| library.sign_message_next(session, data, Some(output)))
    }
}

cryptoki_fn! {
    /// Ends the signing of messages (5.14.5).
    C_MessageSignFinal(session: SessionHandle) |library| library.message_sign_final(session)
}

cryptoki_fn! {
    /// Prepares for the verification of messages (5.16.1), or cancels it.
    C_MessageVerifyInit(session: SessionHandle, mechanism: Mechanism, key: ObjectHandle) |library| {
        let start = |mechanism: &_| library.message_verify_init(session, mechanism, key);
        mechanism.start_or_cancel(library, session, Ops::MESSAGE_VERIFY, start)
    }
}

cryptoki_fn! {
    /// Verifies a message (5.16.2).
    C_VerifyMessage(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Bytes) |library| {
        parameter.no_message(library, session)?;
        library.verify_message(session, data.slice()?, signature.slice()?)
    }
}

cryptoki_fn! {
    /// Starts a message (5.16.3).
    C_VerifyMessageBegin(session: SessionHandle, parameter: Parameter) |library| {
        parameter.no_message(library, session)?;
        library.verify_message_begin(session)
    }
}

cryptoki_fn! {
    /// Adds a part of a message (5.16.4). The signature comes with the last part.
    C_VerifyMessageNext(session: SessionHandle, parameter: Parameter, data: Bytes, signature: Bytes) |library| {
        parameter.no_message(library, session)?;
        let last = (!signature.is_null()).then(|| signature.slice()).transpose()?;
        if last.is_none() {
            // Null with a length is no signature, and no part either.
            signature.slice()?;
        }
        library.verify_message_next(session, data.slice()?, last)
    }
}

cryptoki_fn! {
    /// Ends the verification of messages (5.16.5).
    C_MessageVerifyFinal(session: SessionHandle) |library| library.message_verify_final(session)
}
