//! What PKCS#11 *is*, as data: mechanisms, attributes, object classes and the typed values that cross the C boundary.
//!
//! Every mechanism is one row of [`MECHANISMS`], every attribute one row of [`ATTRIBUTES`]. Lists, checks, dispatch and the
//! generated documentation all read these rows, so they cannot disagree. Nothing here knows a TPM, a store or a pointer.
#![forbid(unsafe_code)]

mod attribute;
mod class;
pub mod docs;
mod handle;
mod mechanism;
mod names;
mod output;
mod template;
pub mod v3_2;
mod value;

pub use attribute::{ATTRIBUTES, AttributeRow, AttributeType, Rule, Scope};
pub use class::{CertificateType, KeyType, ObjectClass, ProfileId};
pub use handle::{ObjectHandle, SessionHandle, SlotId, UserType};
pub use mechanism::{
    HkdfSalt, Kdf, KeyKind, MECHANISMS, Mechanism, MechanismRow, MechanismType, Ops, ParamKind, Params, Scheme,
    hash_of_mechanism, hash_of_mgf, hash_of_prf, kdf,
};
pub use output::{Delivery, Output};
pub use template::Template;
pub use value::{Attributes, Value, ValueError, ValueKind};

/// Flag bits of `CK_TOKEN_INFO`, `CK_SLOT_INFO` and session states, for crates that may not see the C header.
pub mod flags {
    pub use pkcs11_sys::{
        CKF_EC_F_P, CKF_EC_NAMEDCURVE, CKF_EC_OID, CKF_EC_UNCOMPRESS, CKF_HW, CKF_HW_SLOT, CKF_LOGIN_REQUIRED, CKF_RNG,
        CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED, CKF_SO_PIN_TO_BE_CHANGED, CKF_TOKEN_INITIALIZED,
        CKF_TOKEN_PRESENT, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED,
        CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED, CKF_WRITE_PROTECTED, CKS_RO_PUBLIC_SESSION,
        CKS_RO_USER_FUNCTIONS, CKS_RW_PUBLIC_SESSION, CKS_RW_SO_FUNCTIONS, CKS_RW_USER_FUNCTIONS,
    };
}
