//! What can go wrong, with what a person needs to know. The boundary turns each variant into one `CK_RV`.

use model::AttributeType;

/// An error of the token. The name of a variant is the name of its return value where the specification has one.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// `CKR_ARGUMENTS_BAD`
    #[error("an argument is not valid: {0}")]
    ArgumentsBad(&'static str),
    /// `CKR_SLOT_ID_INVALID`
    #[error("there is no slot with this id")]
    SlotIdInvalid,
    /// `CKR_TOKEN_NOT_PRESENT`
    #[error("there is no token in this slot")]
    TokenNotPresent,
    /// `CKR_TOKEN_NOT_RECOGNIZED`: the token in the slot is not initialised.
    #[error("the token in this slot is not initialised; make one with `ptool addtoken`")]
    TokenNotRecognized,
    /// `CKR_TOKEN_WRITE_PROTECTED`: the store can be read only.
    #[error("the store is read-only for this user")]
    TokenWriteProtected,
    /// `CKR_SESSION_HANDLE_INVALID`
    #[error("there is no session with this handle")]
    SessionHandleInvalid,
    /// `CKR_SESSION_READ_ONLY`
    #[error("a token object cannot be changed in a read-only session")]
    SessionReadOnly,
    /// `CKR_SESSION_PARALLEL_NOT_SUPPORTED`
    #[error("CKF_SERIAL_SESSION is missing")]
    SessionParallelNotSupported,
    /// An asynchronous session was asked for.
    #[error("sessions are synchronous: calls return when they are done")]
    SessionAsyncNotSupported,
    /// `CKR_SESSION_EXISTS`
    #[error("a session is open on this token")]
    SessionExists,
    /// `CKR_SESSION_COUNT`
    #[error("the process has as many sessions open on this token as the configuration allows")]
    SessionCount,
    /// `CKR_SESSION_READ_ONLY_EXISTS`
    #[error("a read-only session is open: the security officer cannot log in")]
    SessionReadOnlyExists,
    /// `CKR_SESSION_READ_WRITE_SO_EXISTS`
    #[error("the security officer is logged in: only read/write sessions can be opened")]
    SessionReadWriteSoExists,
    /// `CKR_OBJECT_HANDLE_INVALID`
    #[error("there is no object with this handle")]
    ObjectHandleInvalid,
    /// `CKR_ATTRIBUTE_VALUE_INVALID`: this TPM does not have what was asked for, and another would.
    #[error("{0}")]
    NotInTpm(String),
    /// `CKR_KEY_HANDLE_INVALID`
    #[error("there is no key with this handle")]
    KeyHandleInvalid,
    /// `CKR_KEY_TYPE_INCONSISTENT`
    #[error("the key's type does not fit the mechanism")]
    KeyTypeInconsistent,
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED`
    #[error("the key's attributes do not permit this")]
    KeyFunctionNotPermitted,
    /// `CKR_KEY_INDIGESTIBLE`
    #[error("the value of this key cannot be digested: it is not here")]
    KeyIndigestible,
    /// `CKR_KEY_NOT_WRAPPABLE`
    #[error("the key cannot be wrapped, or not by this key")]
    KeyNotWrappable,
    /// `CKR_KEY_UNEXTRACTABLE`
    #[error("the key cannot be extracted")]
    KeyUnextractable,
    /// `CKR_WRAPPING_KEY_HANDLE_INVALID`
    #[error("there is no wrapping key with this handle")]
    WrappingKeyHandleInvalid,
    /// `CKR_WRAPPING_KEY_TYPE_INCONSISTENT`
    #[error("the wrapping key's type does not fit the mechanism")]
    WrappingKeyTypeInconsistent,
    /// `CKR_UNWRAPPING_KEY_HANDLE_INVALID`
    #[error("there is no unwrapping key with this handle")]
    UnwrappingKeyHandleInvalid,
    /// `CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT`
    #[error("the unwrapping key's type does not fit the mechanism")]
    UnwrappingKeyTypeInconsistent,
    /// `CKR_WRAPPED_KEY_INVALID`
    #[error("the wrapped key is not valid")]
    WrappedKeyInvalid,
    /// `CKR_WRAPPED_KEY_LEN_RANGE`
    #[error("the length of the wrapped key does not fit")]
    WrappedKeyLenRange,
    /// `CKR_KEY_NOT_NEEDED`
    #[error("no key belongs to this")]
    KeyNotNeeded,
    /// `CKR_STATE_UNSAVEABLE`
    #[error("the state of the operation cannot be saved")]
    StateUnsaveable,
    /// `CKR_SAVED_STATE_INVALID`
    #[error("this is no saved state")]
    SavedStateInvalid,
    /// `CKR_OPERATION_CANCEL_FAILED`
    #[error("the operation cannot be cancelled")]
    OperationCancelFailed,
    /// `CKR_KEY_SIZE_RANGE`
    #[error("the key's size does not fit the mechanism or its parameters")]
    KeySizeRange,
    /// `CKR_MECHANISM_INVALID`
    #[error("the token does not have this mechanism for this operation or key")]
    MechanismInvalid,
    /// `CKR_MECHANISM_PARAM_INVALID`
    #[error("the mechanism's parameters are not valid: {0}")]
    MechanismParamInvalid(&'static str),
    /// `CKR_OPERATION_ACTIVE`
    #[error("an operation of this kind is active in the session")]
    OperationActive,
    /// `CKR_OPERATION_NOT_INITIALIZED`
    #[error("no operation of this kind is active in the session")]
    OperationNotInitialized,
    /// `CKR_BUFFER_TOO_SMALL`
    #[error("the buffer is too small, {needed} bytes are needed")]
    BufferTooSmall {
        /// Length of the result in bytes.
        needed: usize,
    },
    /// `CKR_DATA_INVALID`
    #[error("the data is not valid: {0}")]
    DataInvalid(&'static str),
    /// `CKR_DATA_LEN_RANGE`
    #[error("the length of the data does not fit the mechanism and key")]
    DataLenRange,
    /// `CKR_ENCRYPTED_DATA_INVALID`
    #[error("the encrypted data is not valid")]
    EncryptedDataInvalid,
    /// `CKR_ENCRYPTED_DATA_LEN_RANGE`
    #[error("the length of the encrypted data does not fit the mechanism and key")]
    EncryptedDataLenRange,
    /// `CKR_AEAD_DECRYPT_FAILED`
    #[error("the message, its associated data or its tag is not authentic")]
    AeadDecryptFailed,
    /// `CKR_SIGNATURE_INVALID`
    #[error("the signature is not valid")]
    SignatureInvalid,
    /// `CKR_SIGNATURE_LEN_RANGE`
    #[error("the length of the signature does not fit the mechanism and key")]
    SignatureLenRange,
    /// `CKR_USER_NOT_LOGGED_IN`
    #[error("the user is not logged in")]
    UserNotLoggedIn,
    /// `CKR_USER_ALREADY_LOGGED_IN`
    #[error("this user is already logged in")]
    UserAlreadyLoggedIn,
    /// `CKR_USER_ANOTHER_ALREADY_LOGGED_IN`
    #[error("another user is logged in")]
    UserAnotherAlreadyLoggedIn,
    /// `CKR_USER_TYPE_INVALID`
    #[error("there is no such user type")]
    UserTypeInvalid,
    /// `CKR_USER_PIN_NOT_INITIALIZED`
    #[error("the user's PIN was never set; the security officer sets it with `ptool initpin`")]
    UserPinNotInitialized,
    /// `CKR_PIN_INCORRECT`
    #[error("the PIN is wrong")]
    PinIncorrect,
    /// `CKR_PIN_LOCKED`: the TPM is in its dictionary-attack lockout.
    #[error("the TPM accepts no PIN for some time: there were too many wrong ones; wait, or reset its lockout")]
    PinLocked,
    /// `CKR_PIN_LOCKED`: after several wrong PINs in a row, the TPM is not asked.
    #[error(
        "there were several wrong PINs in a row, and none is tried for {0} s: the TPM counts those of all its users together, and \
         would lock them all out; `ptool lockout forget` lets the next one through"
    )]
    PinHeldBack(u64),
    /// `CKR_PIN_LEN_RANGE`
    #[error("the PIN is too short or too long: it must have 4 to 128 bytes")]
    PinLenRange,
    /// `CKR_PIN_INVALID`
    #[error("the PIN is not acceptable: {0}")]
    PinInvalid(&'static str),
    /// `CKR_ATTRIBUTE_TYPE_INVALID`
    #[error("{0}: the object cannot have this attribute")]
    AttributeTypeInvalid(AttributeType),
    /// `CKR_ATTRIBUTE_VALUE_INVALID`
    #[error("{0}: the value is not valid")]
    AttributeValueInvalid(AttributeType),
    /// `CKR_ATTRIBUTE_READ_ONLY`
    #[error("{0}: the attribute cannot be set")]
    AttributeReadOnly(AttributeType),
    /// `CKR_ATTRIBUTE_SENSITIVE`
    #[error("the attribute is sensitive")]
    AttributeSensitive,
    /// `CKR_ACTION_PROHIBITED`
    #[error("the object's attributes prohibit this")]
    ActionProhibited,
    /// `CKR_TEMPLATE_INCOMPLETE`
    #[error("{0} is missing in the template")]
    TemplateIncomplete(AttributeType),
    /// `CKR_TEMPLATE_INCONSISTENT`
    #[error("the template contradicts itself or the mechanism: {0}")]
    TemplateInconsistent(&'static str),
    /// `CKR_CURVE_NOT_SUPPORTED`
    #[error("the token does not have this curve")]
    CurveNotSupported,
    /// `CKR_FUNCTION_NOT_SUPPORTED`
    #[error("the function is not supported")]
    FunctionNotSupported,
    /// `CKR_FUNCTION_REJECTED`: the key's policy is not met.
    #[error("{0}; `ptool pcr check` compares, and `ptool pcr approve` lets an authority approve of the present state")]
    FunctionRejected(String),
    /// `CKR_RANDOM_SEED_NOT_SUPPORTED`
    #[error("the random generator of this TPM takes no seed")]
    RandomSeedNotSupported,
    /// `CKR_DEVICE_REMOVED`: there is no TPM to talk to.
    #[error("{0}")]
    DeviceRemoved(String),
    /// `CKR_DEVICE_ERROR`: the TPM, or what stands between, failed.
    #[error("{0}")]
    DeviceError(String),
    /// `CKR_DEVICE_ERROR`: the auth value of the owner hierarchy, or of the primary, is wrong.
    #[error("{0}")]
    HierarchyAuth(String),
    /// `CKR_DEVICE_MEMORY`: the TPM has no room.
    #[error("{0}")]
    DeviceMemory(String),
    /// `CKR_DEVICE_MEMORY`: there is no room for another object of a session.
    #[error(
        "objects of sessions take all the memory that they may; destroy some, or raise session-memory-mib in the configuration"
    )]
    SessionObjects,
    /// `CKR_HOST_MEMORY`: what is found in open searches takes all the memory that it may.
    #[error(
        "open searches take all the memory that they may; end some, or raise session-memory-mib in the configuration"
    )]
    Searches,
    /// `CKR_TOKEN_NOT_RECOGNIZED`: the store belongs to another TPM, or this one was cleared.
    #[error("{0}")]
    WrongTpm(String),
    /// `CKR_DEVICE_ERROR`: a row of the store is not what the token wrote.
    #[error("{0}")]
    Tampered(String),
    /// `CKR_GENERAL_ERROR`: the store is missing, not readable, not trusted, newer or damaged.
    #[error("{0}")]
    Store(String),
    /// `CKR_FUNCTION_FAILED`: another process kept the store locked.
    #[error("{0}")]
    StoreBusy(String),
    /// `CKR_HOST_MEMORY`
    #[error("not enough memory")]
    HostMemory,
    /// `CKR_GENERAL_ERROR`
    #[error("{0}")]
    General(String),
}

/// The result of everything the token does.
pub type Result<T> = std::result::Result<T, Error>;

impl From<tpm::Error> for Error {
    fn from(error: tpm::Error) -> Self {
        use tpm::Error as E;
        let text = error.to_string();
        match error {
            E::NotThere(_) | E::NotStarted => Self::DeviceRemoved(text),
            E::WrongPrimary { .. } | E::PrimaryMissing { .. } => Self::WrongTpm(text),
            E::Integrity | E::NameMismatch => Self::Tampered(text),
            E::PolicyFailed | E::PolicyNotMet(_) => Self::FunctionRejected(text),
            E::NoRoom(_) => Self::DeviceMemory(text),
            E::HierarchyAuth | E::LockoutAuth => Self::HierarchyAuth(text),
            E::Lockout => Self::PinLocked,
            E::Reentered => Self::General(text),
            E::Unsupported(what) => Self::NotInTpm(what),
            _ => Self::DeviceError(text),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        let text = error.to_string();
        match error {
            E::ReadOnly => Self::TokenWriteProtected,
            E::Busy => Self::StoreBusy(text),
            _ => Self::Store(text),
        }
    }
}

impl From<base::random::RandomError> for Error {
    fn from(error: base::random::RandomError) -> Self {
        Self::General(error.to_string())
    }
}

impl From<model::ValueError> for Error {
    fn from(error: model::ValueError) -> Self {
        Self::AttributeValueInvalid(error.0)
    }
}
