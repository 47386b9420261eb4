//! Asynchronous functions of version 3.2 (5.21). No session is asynchronous, and so none of these can have anything to tell.

use pkcs11_sys::CK_ULONG;
use token::Error;

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// The result of a function that was pending: none ever is.
    C_AsyncComplete(session: SessionHandle, function: Text, result: Untyped) |library| {
        library.session_info(session).and(Err(Error::FunctionNotSupported))
    }
}

cryptoki_fn! {
    /// The id of a function that is pending: none ever is.
    C_AsyncGetID(session: SessionHandle, function: Text, id: Place<CK_ULONG>) |library| {
        library.session_info(session).and(Err(Error::FunctionNotSupported))
    }
}

cryptoki_fn! {
    /// Waits for a function of another session: none is pending anywhere.
    C_AsyncJoin(session: SessionHandle, function: Text, id: Ulong, data: Bytes) |library| {
        library.session_info(session).and(Err(Error::FunctionNotSupported))
    }
}
