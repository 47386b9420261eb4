//! General-purpose functions (5.4).

use pkcs11_sys::{
    CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST_PTR, CK_INFO, CK_INTERFACE, CK_INTERFACE_PTR, CK_VERSION,
    CKF_LIBRARY_CANT_CREATE_OS_THREADS,
};
use token::{Config, Error, Library, info};

use crate::boundary::{Failure, quiet_panics};
use crate::raw::{cryptoki_fn, started_with_raised_rights};
use crate::text::padded;
use crate::{global, logging, table};

cryptoki_fn! {
    /// Initialises the library for this process (5.4.1). Does not talk to the TPM.
    C_Initialize(args: Untyped) || {
        logging::start();
        quiet_panics();
        let args = args.initialize_args();
        // A second call is told so whatever its arguments are: a program that is late has nothing to correct.
        global::initialize(|| {
            let threads = may_create_threads(args)?;
            let mut config = Config::from_environment_of(started_with_raised_rights())?;
            config.threads &= threads;
            Library::open(config)
        })
    }
}

/// Checks the arguments and tells whether the library may have threads of its own.
///
/// Locking: the library is safe to call from many threads whatever the arguments say, with the locks of the operating
/// system. An application that gives its own mutexes without `CKF_OS_LOCKING_OK` gets the same. The specification would
/// have its mutexes used, or `CKR_CANT_LOCK`; but those exist for systems with several kinds of threads, and on Linux
/// there is one. Refusing would only stop programs that always give mutexes. An application that says it has one thread
/// and has several is served too.
fn may_create_threads(args: Option<CK_C_INITIALIZE_ARGS>) -> token::Result<bool> {
    let Some(args) = args else { return Ok(true) };
    if !args.pReserved.is_null() {
        return Err(Error::ArgumentsBad("pReserved is not null"));
    }
    let callbacks =
        [args.CreateMutex.is_some(), args.DestroyMutex.is_some(), args.LockMutex.is_some(), args.UnlockMutex.is_some()];
    if callbacks.iter().any(|given| *given != callbacks[0]) {
        return Err(Error::ArgumentsBad("some of the mutex callbacks are null, but not all"));
    }
    Ok(args.flags & CKF_LIBRARY_CANT_CREATE_OS_THREADS == 0)
}

cryptoki_fn! {
    /// Ends the use of the library by this process (5.4.2).
    C_Finalize(reserved: Untyped) || {
        if !reserved.is_null() {
            global::library()?;
            return Err(Error::ArgumentsBad("pReserved is not null").into());
        }
        global::finalize()
    }
}

cryptoki_fn! {
    /// Describes the library (5.4.3).
    C_GetInfo(info: Place<CK_INFO>) |_library| {
        let (major, minor) = info::LIBRARY_VERSION;
        info.required()?.write(CK_INFO {
            cryptokiVersion: table::VERSION_3_2,
            manufacturerID: padded(info::MANUFACTURER),
            flags: 0,
            libraryDescription: padded(info::LIBRARY_DESCRIPTION),
            libraryVersion: CK_VERSION { major, minor },
        });
        Ok(())
    }
}

cryptoki_fn! {
    /// The functions of version 2.40 (5.4.4). At any time.
    C_GetFunctionList(list: Place<CK_FUNCTION_LIST_PTR>) || {
        list.required()?.write(table::function_list());
        Ok(())
    }
}

cryptoki_fn! {
    /// The interfaces of the library (5.4.5). At any time.
    C_GetInterfaceList(interfaces: List<CK_INTERFACE>) || {
        interfaces.fill(|| Ok(table::interfaces())).map_err(Failure::Token)
    }
}

cryptoki_fn! {
    /// One interface, by name, version and flags (5.4.6). At any time.
    C_GetInterface(name: Text, version: Place<CK_VERSION>, interface: Place<CK_INTERFACE_PTR>, flags: Ulong) || {
        let interface = interface.required()?;
        // One byte more than any name of ours is enough to see that a name is longer.
        let name = name.text(16);
        let version = version.optional().map(|version| version.read());
        let found = table::find_interface(name.as_deref(), version, flags);
        interface.write(found.ok_or(Error::ArgumentsBad("there is no such interface"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pkcs11_sys::CKF_OS_LOCKING_OK;

    use super::*;

    #[test]
    fn threads_are_the_applications_to_forbid() {
        let args = |flags| Some(CK_C_INITIALIZE_ARGS { flags, ..CK_C_INITIALIZE_ARGS::default() });
        assert_eq!(may_create_threads(None), Ok(true));
        assert_eq!(may_create_threads(args(CKF_OS_LOCKING_OK)), Ok(true));
        assert_eq!(may_create_threads(args(CKF_LIBRARY_CANT_CREATE_OS_THREADS)), Ok(false));
    }
}
