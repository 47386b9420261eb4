//! What version 3.2 of PKCS#11 adds to the header: of that, what is used here. `pkcs11-sys` has the header of 3.1.
//!
//! The list of its functions is in the module, where C pointers are. A test compares all of it with another crate's header.

/// `CK_RV`: no call of this module ever says so, having no asynchronous sessions.
pub const CKR_PENDING: u64 = 0x204;
/// `CK_RV`: an asynchronous session was asked for.
pub const CKR_SESSION_ASYNC_NOT_SUPPORTED: u64 = 0x205;
/// `CK_RV`
pub const CKR_SEED_RANDOM_REQUIRED: u64 = 0x206;
/// `CK_RV`
pub const CKR_OPERATION_NOT_VALIDATED: u64 = 0x207;
/// `CK_RV`: not said here; clients of all versions know `CKR_TOKEN_NOT_RECOGNIZED`.
pub const CKR_TOKEN_NOT_INITIALIZED: u64 = 0x208;
/// `CK_RV`
pub const CKR_PARAMETER_SET_NOT_SUPPORTED: u64 = 0x209;

/// A flag of `C_OpenSession`: calls may return before they are done.
pub const CKF_ASYNC_SESSION: u64 = 0x8;
/// A flag of `CK_MECHANISM_INFO`: `C_EncapsulateKey`.
pub const CKF_ENCAPSULATE: u64 = 0x1000_0000;
/// A flag of `CK_MECHANISM_INFO`: `C_DecapsulateKey`.
pub const CKF_DECAPSULATE: u64 = 0x2000_0000;

/// `CK_SESSION_VALIDATION_FLAGS_TYPE`: was the last operation one of a validated module?
pub const CKS_LAST_VALIDATION_OK: u64 = 1;

/// `CK_ATTRIBUTE_TYPE`: a public key encapsulates.
pub const CKA_ENCAPSULATE: u64 = 0x633;
/// `CK_ATTRIBUTE_TYPE`: a private key decapsulates.
pub const CKA_DECAPSULATE: u64 = 0x634;
/// `CK_ATTRIBUTE_TYPE`: a template, as its number stands in the published header: without the flag that says so.
pub const CKA_ENCAPSULATE_TEMPLATE: u64 = 0x62a;
/// `CK_ATTRIBUTE_TYPE`: the same for the other direction. With the flag (`CKF_ARRAY_ATTRIBUTE`) both mean the same.
pub const CKA_DECAPSULATE_TEMPLATE: u64 = 0x62b;

/// `CK_MECHANISM_TYPE`: a public key object from a private key.
pub const CKM_PUB_KEY_FROM_PRIV_KEY: u64 = 0x403a;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_another_header() {
        macro_rules! same {
            ($($name:ident)*) => { $(assert_eq!($name, cryptoki_sys::$name, stringify!($name));)* };
        }
        same! {
            CKR_PENDING CKR_SESSION_ASYNC_NOT_SUPPORTED CKR_SEED_RANDOM_REQUIRED CKR_OPERATION_NOT_VALIDATED
            CKR_TOKEN_NOT_INITIALIZED CKR_PARAMETER_SET_NOT_SUPPORTED CKF_ASYNC_SESSION CKF_ENCAPSULATE CKF_DECAPSULATE
            CKS_LAST_VALIDATION_OK CKA_ENCAPSULATE CKA_DECAPSULATE CKA_ENCAPSULATE_TEMPLATE CKA_DECAPSULATE_TEMPLATE
            CKM_PUB_KEY_FROM_PRIV_KEY
        }
    }
}
