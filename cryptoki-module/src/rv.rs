//! The only place where a `CKR_` value is assigned: one exhaustive match, whose rows are also the documentation.

use model::v3_2::*;
use pkcs11_sys::*;
use token::Error;

use crate::boundary::Failure;

/// The return value of a call.
pub(crate) fn of(outcome: &Result<(), Failure>) -> CK_RV {
    match outcome {
        Ok(()) => CKR_OK,
        Err(Failure::NotInitialized) => CKR_CRYPTOKI_NOT_INITIALIZED,
        Err(Failure::AlreadyInitialized) => CKR_CRYPTOKI_ALREADY_INITIALIZED,
        Err(Failure::NotParallel) => CKR_FUNCTION_NOT_PARALLEL,
        Err(Failure::NoEvent) => CKR_NO_EVENT,
        Err(Failure::Reentered | Failure::Panicked) => CKR_GENERAL_ERROR,
        Err(Failure::Token(error)) => of_error(error),
    }
}

/// What a row of the error table says, for `docs/ERRORS.md`.
#[derive(Debug)]
pub(crate) struct Row {
    /// The variant of `token::Error`.
    pub(crate) error: &'static str,
    /// Its return value.
    pub(crate) rv: CK_RV,
    /// What happened.
    pub(crate) meaning: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
}

/// Writes the match and the table from the same rows. There is no wildcard: a new variant does not compile until it has
/// a row.
macro_rules! errors {
    ($($variant:ident => $rv:ident, $meaning:literal, $remedy:literal;)*) => {
        fn of_error(error: &Error) -> CK_RV {
            match error {
                $(Error::$variant { .. } => $rv,)*
            }
        }

        /// Every error of the token.
        pub(crate) static ERRORS: &[Row] = &[
            $(Row { error: stringify!($variant), rv: $rv, meaning: $meaning, remedy: $remedy },)*
        ];
    };
}

errors! {
    ArgumentsBad => CKR_ARGUMENTS_BAD,
        "a pointer, length or flag of the call is not valid", "a bug of the calling program";
    SlotIdInvalid => CKR_SLOT_ID_INVALID,
        "no slot has this id", "list the slots again; a token may have been removed";
    TokenNotPresent => CKR_TOKEN_NOT_PRESENT,
        "the slot is empty", "make a token with `ptool addtoken` or `C_InitToken`";
    TokenNotRecognized => CKR_TOKEN_NOT_RECOGNIZED,
        "the slot's token is not initialised", "make a token with `ptool addtoken` or `C_InitToken`";
    TokenWriteProtected => CKR_TOKEN_WRITE_PROTECTED,
        "this user may only read the store", "change objects as the store's owner";
    SessionHandleInvalid => CKR_SESSION_HANDLE_INVALID,
        "the session is closed or never was", "a bug of the calling program, or its other part closed all sessions";
    SessionReadOnly => CKR_SESSION_READ_ONLY,
        "token objects cannot be changed in a read-only session", "open the session read/write";
    SessionParallelNotSupported => CKR_SESSION_PARALLEL_NOT_SUPPORTED,
        "`C_OpenSession` without `CKF_SERIAL_SESSION`", "a bug of the calling program";
    SessionAsyncNotSupported => CKR_SESSION_ASYNC_NOT_SUPPORTED,
        "`C_OpenSession` with `CKF_ASYNC_SESSION`", "open a session without; calls return when they are done";
    SessionExists => CKR_SESSION_EXISTS,
        "a session is open on the token", "close all programs' sessions on it first";
    SessionCount => CKR_SESSION_COUNT,
        "too many sessions of this process are open", "close some, or raise `max-sessions` in the configuration";
    SessionReadOnlyExists => CKR_SESSION_READ_ONLY_EXISTS,
        "the security officer cannot log in beside a read-only session", "close the read-only sessions";
    SessionReadWriteSoExists => CKR_SESSION_READ_WRITE_SO_EXISTS,
        "no read-only session beside a security officer's", "log the security officer out, or open it read/write";
    NotInTpm => CKR_ATTRIBUTE_VALUE_INVALID,
        "this TPM has no such algorithm, size or curve", "choose another; `ptool doctor` says what the TPM has";
    ObjectHandleInvalid => CKR_OBJECT_HANDLE_INVALID,
        "no object with this handle, or it is private and nobody is logged in", "search again, after login";
    KeyHandleInvalid => CKR_KEY_HANDLE_INVALID,
        "no key with this handle, or it is private and nobody is logged in", "search again, after login";
    KeyTypeInconsistent => CKR_KEY_TYPE_INCONSISTENT,
        "the key is of another type than the mechanism's", "choose a mechanism for this type of key";
    KeyFunctionNotPermitted => CKR_KEY_FUNCTION_NOT_PERMITTED,
        "the key's usage attributes or allowed mechanisms forbid it", "use a key that was made for this";
    KeyIndigestible => CKR_KEY_INDIGESTIBLE,
        "the key's value is in the TPM, or it is no secret key", "digest a session object";
    KeyNotWrappable => CKR_KEY_NOT_WRAPPABLE,
        "the object is no key, or only a trusted key may wrap it", "see `CKA_WRAP_WITH_TRUSTED`";
    KeyUnextractable => CKR_KEY_UNEXTRACTABLE,
        "the key does not leave the token: it is in the TPM, or not extractable",
        "wrap a session object with `CKA_EXTRACTABLE`";
    WrappingKeyHandleInvalid => CKR_WRAPPING_KEY_HANDLE_INVALID,
        "no wrapping key with this handle, or it is private and nobody is logged in", "search again, after login";
    WrappingKeyTypeInconsistent => CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
        "the wrapping key is of another type than the mechanism's", "choose a mechanism for this type of key";
    UnwrappingKeyHandleInvalid => CKR_UNWRAPPING_KEY_HANDLE_INVALID,
        "no unwrapping key with this handle, or it is private and nobody is logged in", "search again, after login";
    UnwrappingKeyTypeInconsistent => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        "the unwrapping key is of another type than the mechanism's", "choose a mechanism for this type of key";
    WrappedKeyInvalid => CKR_WRAPPED_KEY_INVALID,
        "what is to be unwrapped is not a key that this one wrapped", "check key, mechanism and parameters";
    WrappedKeyLenRange => CKR_WRAPPED_KEY_LEN_RANGE,
        "the wrapped key has a length that mechanism or template cannot have", "check the input and `CKA_VALUE_LEN`";
    KeyNotNeeded => CKR_KEY_NOT_NEEDED,
        "a key was given where none belongs", "give none";
    StateUnsaveable => CKR_STATE_UNSAVEABLE,
        "only digests can be saved", "start the operation again";
    SavedStateInvalid => CKR_SAVED_STATE_INVALID,
        "this is no state that this process saved, or it was long ago", "start the operation again";
    OperationCancelFailed => CKR_OPERATION_CANCEL_FAILED,
        "the operation cannot be cancelled", "finish it, or close the session";
    KeySizeRange => CKR_KEY_SIZE_RANGE,
        "the key is too small or too large for mechanism and parameters", "use another key, a shorter hash or salt";
    MechanismInvalid => CKR_MECHANISM_INVALID,
        "the token does not have it, or not for this operation", "see `docs/MECHANISMS.md` and `C_GetMechanismList`";
    MechanismParamInvalid => CKR_MECHANISM_PARAM_INVALID,
        "the mechanism's parameter is missing, malformed or not supported", "see `docs/MECHANISMS.md`";
    OperationActive => CKR_OPERATION_ACTIVE,
        "the session is in an operation of this kind", "finish it, or use another session";
    OperationNotInitialized => CKR_OPERATION_NOT_INITIALIZED,
        "there was no `Init` call, or the operation is over", "a bug of the calling program";
    BufferTooSmall => CKR_BUFFER_TOO_SMALL,
        "the result is longer than the buffer", "call again with the returned length";
    DataInvalid => CKR_DATA_INVALID,
        "the data cannot be processed by the mechanism", "check the input";
    DataLenRange => CKR_DATA_LEN_RANGE,
        "the data is too long or too short for mechanism and key", "check the input; hash it first";
    EncryptedDataInvalid => CKR_ENCRYPTED_DATA_INVALID,
        "the ciphertext does not decrypt", "check the key and the parameters that encrypted it";
    EncryptedDataLenRange => CKR_ENCRYPTED_DATA_LEN_RANGE,
        "the ciphertext has a length that the key does not make", "check the input";
    AeadDecryptFailed => CKR_AEAD_DECRYPT_FAILED,
        "message, associated data, vector or tag is not what was encrypted", "check key and parameters; trust nothing of it";
    SignatureInvalid => CKR_SIGNATURE_INVALID,
        "the signature is not of this data and key", "";
    SignatureLenRange => CKR_SIGNATURE_LEN_RANGE,
        "the signature has a length that the key does not make", "";
    UserNotLoggedIn => CKR_USER_NOT_LOGGED_IN,
        "this needs a login", "log in with the PIN";
    UserAlreadyLoggedIn => CKR_USER_ALREADY_LOGGED_IN,
        "this user is logged in, in all sessions of the program", "go on";
    UserAnotherAlreadyLoggedIn => CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
        "user and security officer exclude each other", "log out first";
    UserTypeInvalid => CKR_USER_TYPE_INVALID,
        "the user type is not known, or not for this operation", "a bug of the calling program";
    UserPinNotInitialized => CKR_USER_PIN_NOT_INITIALIZED,
        "the user has no PIN yet", "the security officer sets it: `ptool initpin` or `C_InitPIN`";
    PinIncorrect => CKR_PIN_INCORRECT,
        "the PIN is wrong", "each wrong one counts towards the TPM's lockout: do not guess";
    PinLocked => CKR_PIN_LOCKED,
        "the TPM is in lockout after too many wrong PINs", "wait for its recovery time, or reset the lockout";
    PinHeldBack => CKR_PIN_LOCKED,
        "several PINs in a row were wrong, and the TPM is not asked before it locks all its users out",
        "wait, or let the next one through: `ptool lockout forget`; see `wrong-pins` in the configuration";
    PinLenRange => CKR_PIN_LEN_RANGE,
        "a new PIN is too short or too long", "see `ulMinPinLen` and `ulMaxPinLen` of the token";
    PinInvalid => CKR_PIN_INVALID,
        "a new PIN has characters that cannot be", "choose another";
    AttributeTypeInvalid => CKR_ATTRIBUTE_TYPE_INVALID,
        "the object has no such attribute, or cannot have it", "see `docs/ATTRIBUTES.md`";
    AttributeValueInvalid => CKR_ATTRIBUTE_VALUE_INVALID,
        "the value has not the attribute's shape or range", "see `docs/ATTRIBUTES.md`";
    AttributeReadOnly => CKR_ATTRIBUTE_READ_ONLY,
        "the attribute is computed, or cannot change any more", "see `docs/ATTRIBUTES.md`";
    AttributeSensitive => CKR_ATTRIBUTE_SENSITIVE,
        "the value never leaves the token", "";
    ActionProhibited => CKR_ACTION_PROHIBITED,
        "the object may not be copied, changed or destroyed", "see `CKA_COPYABLE`, `CKA_MODIFIABLE`, `CKA_DESTROYABLE`";
    TemplateIncomplete => CKR_TEMPLATE_INCOMPLETE,
        "the template lacks an attribute", "the log names it";
    TemplateInconsistent => CKR_TEMPLATE_INCONSISTENT,
        "attributes contradict each other or the mechanism", "the log says which";
    CurveNotSupported => CKR_CURVE_NOT_SUPPORTED,
        "the TPM or the token does not have this curve", "use P-256, which every TPM has";
    FunctionNotSupported => CKR_FUNCTION_NOT_SUPPORTED,
        "the function is not there", "see `docs/FUNCTIONS.md`";
    FunctionRejected => CKR_FUNCTION_REJECTED,
        "the key's policy does not allow its use in this state of the machine", "`ptool` shows which PCRs differ";
    RandomSeedNotSupported => CKR_RANDOM_SEED_NOT_SUPPORTED,
        "the generator takes no seed", "go on without";
    DeviceRemoved => CKR_DEVICE_REMOVED,
        "there is no TPM, or no right to use it", "check `/dev/tpmrm0`, its group, and the TCTI";
    HierarchyAuth => CKR_DEVICE_ERROR,
        "the auth value of the TPM's owner hierarchy, or of the primary key, is wrong", "make the token with `ptool`, which takes `--hierarchy-auth` and `--primary-auth`";
    DeviceError => CKR_DEVICE_ERROR,
        "the TPM, or what stands between, failed or answered nonsense", "the log has its answer";
    DeviceMemory => CKR_DEVICE_MEMORY,
        "the TPM has no room left", "use `/dev/tpmrm0`, the resource manager; end programs that hold TPM objects";
    SessionObjects => CKR_DEVICE_MEMORY,
        "objects of sessions take all the memory that they may", "destroy some, close their sessions, or raise `session-memory-mib` in the configuration";
    Searches => CKR_HOST_MEMORY,
        "searches held open take all the memory that they may", "end them with `C_FindObjectsFinal`, or raise `session-memory-mib` in the configuration";
    WrongTpm => CKR_TOKEN_NOT_RECOGNIZED,
        "the store belongs to another TPM, or this one was cleared", "a cleared TPM's keys are gone: restore a backup";
    Tampered => CKR_DEVICE_ERROR,
        "the store holds something that the token did not write", "the log names the object; restore the store";
    Store => CKR_GENERAL_ERROR,
        "the store cannot be read: missing, not trusted, damaged, or of a newer version", "the log says which";
    StoreBusy => CKR_FUNCTION_FAILED,
        "another process kept the store locked", "try again";
    HostMemory => CKR_HOST_MEMORY,
        "too little memory, or a value beyond all use", "";
    General => CKR_GENERAL_ERROR,
        "something unexpected", "the log says more; please report it";
}

/// The name of a return value.
pub(crate) fn name(rv: CK_RV) -> &'static str {
    NAMES.iter().find(|(value, _)| *value == rv).map_or("CKR_?", |(_, name)| *name)
}

macro_rules! names {
    ($($name:ident),* $(,)?) => { &[$(($name, stringify!($name))),*] };
}

/// Every return value of PKCS#11 v3.2.
static NAMES: &[(CK_RV, &str)] = names![
    CKR_OK,
    CKR_CANCEL,
    CKR_HOST_MEMORY,
    CKR_SLOT_ID_INVALID,
    CKR_GENERAL_ERROR,
    CKR_FUNCTION_FAILED,
    CKR_ARGUMENTS_BAD,
    CKR_NO_EVENT,
    CKR_NEED_TO_CREATE_THREADS,
    CKR_CANT_LOCK,
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_ACTION_PROHIBITED,
    CKR_DATA_INVALID,
    CKR_DATA_LEN_RANGE,
    CKR_DEVICE_ERROR,
    CKR_DEVICE_MEMORY,
    CKR_DEVICE_REMOVED,
    CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_AEAD_DECRYPT_FAILED,
    CKR_FUNCTION_CANCELED,
    CKR_FUNCTION_NOT_PARALLEL,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_NOT_NEEDED,
    CKR_KEY_CHANGED,
    CKR_KEY_NEEDED,
    CKR_KEY_INDIGESTIBLE,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_NOT_WRAPPABLE,
    CKR_KEY_UNEXTRACTABLE,
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_PIN_INCORRECT,
    CKR_PIN_INVALID,
    CKR_PIN_LEN_RANGE,
    CKR_PIN_EXPIRED,
    CKR_PIN_LOCKED,
    CKR_SESSION_CLOSED,
    CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_PARALLEL_NOT_SUPPORTED,
    CKR_SESSION_READ_ONLY,
    CKR_SESSION_EXISTS,
    CKR_SESSION_READ_ONLY_EXISTS,
    CKR_SESSION_READ_WRITE_SO_EXISTS,
    CKR_SIGNATURE_INVALID,
    CKR_SIGNATURE_LEN_RANGE,
    CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_NOT_PRESENT,
    CKR_TOKEN_NOT_RECOGNIZED,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    CKR_UNWRAPPING_KEY_SIZE_RANGE,
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_NOT_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
    CKR_USER_TYPE_INVALID,
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    CKR_USER_TOO_MANY_TYPES,
    CKR_WRAPPED_KEY_INVALID,
    CKR_WRAPPED_KEY_LEN_RANGE,
    CKR_WRAPPING_KEY_HANDLE_INVALID,
    CKR_WRAPPING_KEY_SIZE_RANGE,
    CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_RANDOM_SEED_NOT_SUPPORTED,
    CKR_RANDOM_NO_RNG,
    CKR_DOMAIN_PARAMS_INVALID,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_BUFFER_TOO_SMALL,
    CKR_SAVED_STATE_INVALID,
    CKR_INFORMATION_SENSITIVE,
    CKR_STATE_UNSAVEABLE,
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_CRYPTOKI_ALREADY_INITIALIZED,
    CKR_MUTEX_BAD,
    CKR_MUTEX_NOT_LOCKED,
    CKR_NEW_PIN_MODE,
    CKR_NEXT_OTP,
    CKR_EXCEEDED_MAX_ITERATIONS,
    CKR_FIPS_SELF_TEST_FAILED,
    CKR_LIBRARY_LOAD_FAILED,
    CKR_PIN_TOO_WEAK,
    CKR_PUBLIC_KEY_INVALID,
    CKR_FUNCTION_REJECTED,
    CKR_TOKEN_RESOURCE_EXCEEDED,
    CKR_OPERATION_CANCEL_FAILED,
    CKR_KEY_EXHAUSTED,
    CKR_PENDING,
    CKR_SESSION_ASYNC_NOT_SUPPORTED,
    CKR_SEED_RANDOM_REQUIRED,
    CKR_OPERATION_NOT_VALIDATED,
    CKR_TOKEN_NOT_INITIALIZED,
    CKR_PARAMETER_SET_NOT_SUPPORTED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_header() {
        assert_eq!(name(CKR_OK), "CKR_OK");
        assert_eq!(name(0x191), "CKR_CRYPTOKI_ALREADY_INITIALIZED");
        assert_eq!(name(CKR_VENDOR_DEFINED), "CKR_?");
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0), "ascending, so none twice");
    }

    #[test]
    fn a_row_maps_as_the_match_does() {
        let error = Error::BufferTooSmall { needed: 1 };
        let row = ERRORS.iter().find(|row| row.error == "BufferTooSmall").unwrap();
        assert_eq!(of(&Err(error.into())), row.rv);
        assert_eq!(of(&Ok(())), 0);
        assert!(ERRORS.iter().all(|row| row.rv != CKR_OK && !row.meaning.is_empty()));
    }
}
