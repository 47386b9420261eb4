//! The descriptors of open connections, in a form a forked child can close without taking a lock.

/// More connections than this are never open at once.
const MOST: usize = 32;

/// The descriptors of one [`Tpm`](crate::Tpm).
pub(crate) type Descriptors = base::descriptors::Descriptors<MOST>;
