//! Session management functions (5.6).

use base::Secret;
use model::v3_2::{CKF_ASYNC_SESSION, CKS_LAST_VALIDATION_OK};
use model::{Ops, SessionHandle, UserType};
use pkcs11_sys::{
    CK_FLAGS, CK_SESSION_HANDLE, CK_SESSION_INFO, CKF_FIND_OBJECTS, CKF_RW_SESSION, CKF_SERIAL_SESSION,
    CKU_CONTEXT_SPECIFIC, CKU_SO, CKU_USER,
};
use token::{Error, Library, Result};

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Opens a session (5.6.1).
    C_OpenSession(
        slot: SlotId, flags: Ulong, application: Untyped, notify: Notify, session: Place<CK_SESSION_HANDLE>
    ) |library| {
        let place = session.required()?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(Error::SessionParallelNotSupported);
        }
        // Whoever wants one must be told: it would wait for results that came with the return.
        if flags & CKF_ASYNC_SESSION != 0 {
            return library.slot_info(slot).and(Err(Error::SessionAsyncNotSupported));
        }
        place.write(library.open_session(slot, flags & CKF_RW_SESSION != 0)?.0);
        Ok(())
    }
}

cryptoki_fn! {
    /// Closes a session (5.6.2).
    C_CloseSession(session: SessionHandle) |library| library.close_session(session)
}

cryptoki_fn! {
    /// Closes all sessions with a token (5.6.3).
    C_CloseAllSessions(slot: SlotId) |library| library.close_all_sessions(slot)
}

cryptoki_fn! {
    /// Describes a session (5.6.4).
    C_GetSessionInfo(session: SessionHandle, info: Place<CK_SESSION_INFO>) |library| {
        let place = info.required()?;
        let info = library.session_info(session)?;
        place.write(CK_SESSION_INFO {
            slotID: info.slot.0,
            state: info.state,
            flags: CKF_SERIAL_SESSION | if info.read_write { CKF_RW_SESSION } else { 0 },
            ulDeviceError: 0,
        });
        Ok(())
    }
}

cryptoki_fn! {
    /// Cancels the active operations of a session (5.6.5). A flag for what is not active, or never stays active, asks
    /// for nothing.
    C_SessionCancel(session: SessionHandle, flags: Ulong) |library| {
        library.cancel(session, Ops::from_bits_truncate(flags), flags & CKF_FIND_OBJECTS != 0)
    }
}

cryptoki_fn! {
    /// Saves the state of a digest (5.6.6).
    C_GetOperationState(session: SessionHandle, state: Buffer) |library| {
        state.fill(|output| library.operation_state(session, output))
    }
}

cryptoki_fn! {
    /// Restores the state of a digest (5.6.7).
    C_SetOperationState(
        session: SessionHandle, state: Bytes, encryption_key: ObjectHandle, authentication_key: ObjectHandle
    ) |library| {
        let keys = encryption_key.0 != 0 || authentication_key.0 != 0;
        library.set_operation_state(session, state.slice()?, keys)
    }
}

cryptoki_fn! {
    /// Logs a user in, in all sessions with the token (5.6.8).
    C_Login(session: SessionHandle, user: Ulong, pin: Bytes) |library| {
        login(library, session, user, pin.secret()?)
    }
}

fn login(library: &Library, session: SessionHandle, user: u64, pin: Option<Secret>) -> Result<()> {
    let user = match user {
        CKU_SO => UserType::So,
        CKU_USER => UserType::User,
        CKU_CONTEXT_SPECIFIC => UserType::ContextSpecific,
        // A session that does not exist is the graver error.
        _ => return library.session_info(session).and(Err(Error::UserTypeInvalid)),
    };
    library.login(session, user, pin)
}

cryptoki_fn! {
    /// Logs a user in by name (5.6.9). The users of a token are two, and have no names: without one this is `C_Login`.
    /// With one it asks for a user who is not there, which no PIN can change; so none is tried and counted.
    C_LoginUser(session: SessionHandle, user: Ulong, pin: Bytes, name: Bytes) |library| {
        let pin = pin.secret()?;
        if !name.slice()?.is_empty() {
            return library.session_info(session).and(Err(Error::UserTypeInvalid));
        }
        login(library, session, user, pin)
    }
}

cryptoki_fn! {
    /// Logs the user out, in all sessions with the token (5.6.10).
    C_Logout(session: SessionHandle) |library| library.logout(session)
}

cryptoki_fn! {
    /// Tells whether operations were those of a validated module (3.2, 5.6). This one is not validated, whatever the TPM is: no flag is set.
    C_GetSessionValidationFlags(session: SessionHandle, kind: Ulong, flags: Place<CK_FLAGS>) |library| {
        let place = flags.required()?;
        library.session_info(session)?;
        if kind != CKS_LAST_VALIDATION_OK {
            return Err(Error::ArgumentsBad("unknown type of validation flags"));
        }
        place.write(0);
        Ok(())
    }
}
