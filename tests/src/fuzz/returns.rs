//! Which return values a function may have: those that PKCS#11 v3.1 lists with it (chapter 5), and those that any may have (5.1).

use pkcs11_sys::*;

/// Of every function (5.1.1), with those that come before anything else is looked at.
const ANY: &[u64] = &[
    CKR_OK,
    CKR_HOST_MEMORY,
    CKR_FUNCTION_FAILED,
    CKR_ARGUMENTS_BAD,
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_FUNCTION_NOT_SUPPORTED,
];
/// Of functions that use a session or a token (5.1.2, 5.1.3).
const DEVICE: &[u64] =
    &[CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_DEVICE_REMOVED];
const SLOT: &[u64] = &[CKR_SLOT_ID_INVALID, CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED];
const PIN: &[u64] = &[CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED, CKR_PIN_LOCKED];
const WRITING: &[u64] = &[CKR_TOKEN_WRITE_PROTECTED, CKR_SESSION_READ_ONLY, CKR_USER_NOT_LOGGED_IN];
const TEMPLATE: &[u64] = &[
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_DOMAIN_PARAMS_INVALID,
    CKR_PIN_EXPIRED,
];
const MECHANISM: &[u64] = &[CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE];
const KEY: &[u64] = &[
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_USER_NOT_LOGGED_IN,
    CKR_PIN_EXPIRED,
];
/// Of what works on data in an operation.
const OPERATION: &[u64] = &[
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_BUFFER_TOO_SMALL,
    CKR_DATA_INVALID,
    CKR_DATA_LEN_RANGE,
    CKR_FUNCTION_CANCELED,
    CKR_FUNCTION_REJECTED,
    CKR_USER_NOT_LOGGED_IN,
    // Of mechanisms whose parameters come with the data.
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OPERATION_ACTIVE,
];
const DECRYPTION: &[u64] = &[CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_AEAD_DECRYPT_FAILED];
const VERIFICATION: &[u64] = &[CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE];

/// Whether a function may return this. `CKR_GENERAL_ERROR` may come from any, and is a surprise from every one of them.
pub fn is_allowed(function: &str, rv: u64) -> bool {
    ANY.contains(&rv) || own(function).iter().any(|list| list.contains(&rv))
}

fn own(function: &str) -> Vec<&'static [u64]> {
    let name = function.strip_prefix("C_").unwrap_or(function);
    match name {
        "GetInfo" | "GetSlotInfo" => vec![DEVICE, SLOT],
        "GetSlotList" => vec![&[CKR_BUFFER_TOO_SMALL]],
        "GetTokenInfo" => vec![DEVICE, SLOT],
        "GetMechanismList" | "GetMechanismInfo" => vec![DEVICE, SLOT, &[CKR_BUFFER_TOO_SMALL, CKR_MECHANISM_INVALID]],
        "InitToken" => vec![DEVICE, SLOT, PIN, &[CKR_SESSION_EXISTS, CKR_TOKEN_WRITE_PROTECTED]],
        // The last is not listed with C_SetPIN, and the plain word where there is no PIN to change.
        "InitPIN" | "SetPIN" => vec![DEVICE, PIN, WRITING, &[CKR_USER_PIN_NOT_INITIALIZED]],
        "WaitForSlotEvent" => vec![&[CKR_NO_EVENT]],
        "OpenSession" => vec![
            DEVICE,
            SLOT,
            &[
                CKR_SESSION_COUNT,
                CKR_SESSION_PARALLEL_NOT_SUPPORTED,
                cryptoki_sys::CKR_SESSION_ASYNC_NOT_SUPPORTED,
                CKR_SESSION_READ_WRITE_SO_EXISTS,
                CKR_TOKEN_WRITE_PROTECTED,
            ],
        ],
        "CloseSession" | "GetSessionInfo" | "GetSessionValidationFlags" => vec![DEVICE],
        "AsyncComplete" | "AsyncGetID" | "AsyncJoin" | "WrapKeyAuthenticated" | "UnwrapKeyAuthenticated" => {
            vec![DEVICE]
        }
        "CloseAllSessions" => vec![DEVICE, SLOT],
        "GetOperationState" => {
            vec![DEVICE, &[CKR_BUFFER_TOO_SMALL, CKR_OPERATION_NOT_INITIALIZED, CKR_STATE_UNSAVEABLE]]
        }
        "SetOperationState" => {
            vec![DEVICE, &[CKR_KEY_CHANGED, CKR_KEY_NEEDED, CKR_KEY_NOT_NEEDED, CKR_SAVED_STATE_INVALID]]
        }
        "Login" | "LoginUser" => vec![
            DEVICE,
            PIN,
            &[
                CKR_OPERATION_NOT_INITIALIZED,
                CKR_SESSION_READ_ONLY_EXISTS,
                CKR_USER_ALREADY_LOGGED_IN,
                CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
                // Not listed, and the plain word for a login for one operation where nobody is logged in.
                CKR_USER_NOT_LOGGED_IN,
                CKR_USER_PIN_NOT_INITIALIZED,
                CKR_USER_TOO_MANY_TYPES,
                CKR_USER_TYPE_INVALID,
            ],
        ],
        "Logout" => vec![DEVICE, &[CKR_USER_NOT_LOGGED_IN]],
        "SessionCancel" => vec![DEVICE, &[CKR_OPERATION_CANCEL_FAILED, CKR_TOKEN_NOT_PRESENT]],
        "CreateObject" => vec![DEVICE, WRITING, TEMPLATE, &[CKR_KEY_SIZE_RANGE]],
        "CopyObject" | "SetAttributeValue" => {
            vec![DEVICE, WRITING, TEMPLATE, &[CKR_OBJECT_HANDLE_INVALID, CKR_ACTION_PROHIBITED]]
        }
        "DestroyObject" => vec![DEVICE, WRITING, &[CKR_OBJECT_HANDLE_INVALID, CKR_ACTION_PROHIBITED, CKR_PIN_EXPIRED]],
        "GetObjectSize" => vec![DEVICE, &[CKR_OBJECT_HANDLE_INVALID, CKR_INFORMATION_SENSITIVE]],
        "GetAttributeValue" => vec![
            DEVICE,
            &[CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_OBJECT_HANDLE_INVALID],
        ],
        "FindObjectsInit" => {
            vec![DEVICE, &[CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_OPERATION_ACTIVE]]
        }
        "FindObjects" | "FindObjectsFinal" => vec![DEVICE, &[CKR_OPERATION_NOT_INITIALIZED]],
        "DigestInit" => vec![DEVICE, MECHANISM, &[CKR_USER_NOT_LOGGED_IN]],
        "DigestKey" => vec![DEVICE, OPERATION, KEY, &[CKR_KEY_INDIGESTIBLE]],
        "GenerateKey" | "GenerateKeyPair" => vec![DEVICE, MECHANISM, TEMPLATE, WRITING, &[CKR_KEY_SIZE_RANGE]],
        "WrapKey" => vec![
            DEVICE,
            MECHANISM,
            KEY,
            &[
                CKR_BUFFER_TOO_SMALL,
                CKR_KEY_NOT_WRAPPABLE,
                CKR_KEY_UNEXTRACTABLE,
                CKR_WRAPPING_KEY_HANDLE_INVALID,
                CKR_WRAPPING_KEY_SIZE_RANGE,
                CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
            ],
        ],
        "EncapsulateKey" => vec![DEVICE, MECHANISM, TEMPLATE, WRITING, KEY, &[CKR_BUFFER_TOO_SMALL]],
        "UnwrapKey" | "DecapsulateKey" => vec![
            DEVICE,
            MECHANISM,
            TEMPLATE,
            WRITING,
            KEY,
            &[
                CKR_UNWRAPPING_KEY_HANDLE_INVALID,
                CKR_UNWRAPPING_KEY_SIZE_RANGE,
                CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                CKR_WRAPPED_KEY_INVALID,
                CKR_WRAPPED_KEY_LEN_RANGE,
                CKR_BUFFER_TOO_SMALL,
            ],
        ],
        "DeriveKey" => vec![DEVICE, MECHANISM, TEMPLATE, WRITING, KEY, &[CKR_DATA_LEN_RANGE, CKR_FUNCTION_REJECTED]],
        "SeedRandom" | "GenerateRandom" => {
            vec![DEVICE, &[CKR_RANDOM_NO_RNG, CKR_RANDOM_SEED_NOT_SUPPORTED, CKR_OPERATION_ACTIVE]]
        }
        "GetFunctionStatus" | "CancelFunction" => vec![DEVICE, &[CKR_FUNCTION_NOT_PARALLEL]],
        name if name.ends_with("Init") => vec![DEVICE, MECHANISM, KEY, &[CKR_OPERATION_CANCEL_FAILED]],
        name if name.contains("Decrypt") => vec![DEVICE, OPERATION, DECRYPTION, VERIFICATION],
        name if name.contains("Verify") => vec![DEVICE, OPERATION, VERIFICATION],
        _ => vec![DEVICE, OPERATION],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signatures::SIGNATURES;

    #[test]
    fn lists_are_of_their_functions() {
        for signature in SIGNATURES {
            assert!(is_allowed(signature.name, CKR_ARGUMENTS_BAD), "{}", signature.name);
            assert!(!is_allowed(signature.name, CKR_GENERAL_ERROR), "{}", signature.name);
            assert!(!is_allowed(signature.name, CKR_VENDOR_DEFINED | 1), "{}", signature.name);
        }
        assert!(is_allowed("C_Verify", CKR_SIGNATURE_INVALID) && !is_allowed("C_Sign", CKR_SIGNATURE_INVALID));
        assert!(is_allowed("C_SignInit", CKR_KEY_HANDLE_INVALID) && !is_allowed("C_Digest", CKR_PIN_INCORRECT));
    }
}
