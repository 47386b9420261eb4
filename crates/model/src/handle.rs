//! Handles and small enumerations of the interface.

/// `CK_SLOT_ID`. Stable for the life of a token in its store; always below 2^31, as some clients keep it in an `int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// `CK_SESSION_HANDLE`. Never 0, never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHandle(pub u64);

/// `CK_OBJECT_HANDLE`. Never 0, never reused; a token object has the same handle in every process, a private one in its first login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHandle(pub u64);

/// `CK_USER_TYPE`: who logs in (PKCS#11 v3.1 5.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserType {
    /// The security officer: sets PINs, cannot use keys.
    So,
    /// The normal user.
    User,
    /// The user again, for one operation with a key that has `CKA_ALWAYS_AUTHENTICATE`.
    ContextSpecific,
}
