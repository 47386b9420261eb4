//! Parallel function management functions (5.20): left from version 1, with one answer prescribed.

use crate::boundary::Failure;
use crate::global;
use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// The status of a function running in parallel (5.20.1): there is none.
    C_GetFunctionStatus(session: SessionHandle) || {
        global::library()?;
        Err(Failure::NotParallel)
    }
}

cryptoki_fn! {
    /// Cancels a function running in parallel (5.20.2): there is none.
    C_CancelFunction(session: SessionHandle) || {
        global::library()?;
        Err(Failure::NotParallel)
    }
}
