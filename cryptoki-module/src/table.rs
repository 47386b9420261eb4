//! The function lists and interfaces (PKCS#11 v3.1, 3.6), and what is declared about each function.

use pkcs11_sys::{
    CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_PTR, CK_INTERFACE, CK_INTERFACE_PTR, CK_VERSION,
};

use crate::entry;
use crate::published::FunctionList32;
use crate::raw::Interfaces;

/// What `cryptoki_fn!` knows about a function.
pub(crate) trait Declaration {
    /// Its name.
    const NAME: &'static str;
}

/// One function, for the documentation.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// The version of the specification that brought it.
    pub(crate) since: &'static str,
    /// The file of `entry/` that has it, which is named after the chapter.
    pub(crate) chapter: &'static str,
}

/// Writes the lists of both versions and the rows. A function that the header has and this list has not, or one whose
/// signature differs, does not compile.
macro_rules! functions {
    (
        v2_40 { $($chapter:ident { $($name:ident)* })* }
        v3_0 { $($new_chapter:ident { $($new:ident)* })* }
        v3_2 { $($newest_chapter:ident { $($newest:ident)* })* }
    ) => {
        static LIST_2_40: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($($name: Some(entry::$chapter::$name),)*)*
        };

        static LIST_3_0: CK_FUNCTION_LIST_3_0 = CK_FUNCTION_LIST_3_0 {
            version: VERSION_3_0,
            $($($name: Some(entry::$chapter::$name),)*)*
            $($($new: Some(entry::$new_chapter::$new),)*)*
        };

        static LIST_3_2: FunctionList32 = FunctionList32 {
            v3_0: CK_FUNCTION_LIST_3_0 {
                version: VERSION_3_2,
                $($($name: Some(entry::$chapter::$name),)*)*
                $($($new: Some(entry::$new_chapter::$new),)*)*
            },
            $($($newest: Some(entry::$newest_chapter::$newest),)*)*
        };

        /// Every function, in the order of the header.
        pub(crate) static ROWS: &[Row] = &[
            $($(row::<entry::$chapter::$name>("2.40", stringify!($chapter)),)*)*
            $($(row::<entry::$new_chapter::$new>("3.0", stringify!($new_chapter)),)*)*
            $($(row::<entry::$newest_chapter::$newest>("3.2", stringify!($newest_chapter)),)*)*
        ];
    };
}

const fn row<D: Declaration>(since: &'static str, chapter: &'static str) -> Row {
    Row { name: D::NAME, since, chapter }
}

/// The version of the newest interface, and of `CK_INFO`.
///
/// A client that wants an older one takes that interface; one that knows only `C_GetFunctionList` gets a list that says 2.40 of
/// itself, and clients go by the list's version when they call. `CK_INFO.cryptokiVersion` can say one thing only, and should
/// say what the newest list does (3.2, 3.6).
pub(crate) const VERSION_3_2: CK_VERSION = CK_VERSION { major: 3, minor: 2 };

/// Version 3.1 added no function: its list is this one.
const VERSION_3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

functions! {
    v2_40 {
        general { C_Initialize C_Finalize C_GetInfo C_GetFunctionList }
        slot {
            C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN
            C_SetPIN
        }
        session {
            C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState C_SetOperationState
            C_Login C_Logout
        }
        object {
            C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize C_GetAttributeValue C_SetAttributeValue
            C_FindObjectsInit C_FindObjects C_FindObjectsFinal
        }
        encryption { C_EncryptInit C_Encrypt C_EncryptUpdate C_EncryptFinal }
        decryption { C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal }
        digest { C_DigestInit C_Digest C_DigestUpdate C_DigestKey C_DigestFinal }
        sign { C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover }
        verify { C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover }
        dual { C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate }
        keys { C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey }
        random { C_SeedRandom C_GenerateRandom }
        parallel { C_GetFunctionStatus C_CancelFunction }
        slot { C_WaitForSlotEvent }
    }
    v3_0 {
        general { C_GetInterfaceList C_GetInterface }
        session { C_LoginUser C_SessionCancel }
        message {
            C_MessageEncryptInit C_EncryptMessage C_EncryptMessageBegin C_EncryptMessageNext C_MessageEncryptFinal
            C_MessageDecryptInit C_DecryptMessage C_DecryptMessageBegin C_DecryptMessageNext C_MessageDecryptFinal
            C_MessageSignInit C_SignMessage C_SignMessageBegin C_SignMessageNext C_MessageSignFinal
            C_MessageVerifyInit C_VerifyMessage C_VerifyMessageBegin C_VerifyMessageNext C_MessageVerifyFinal
        }
    }
    v3_2 {
        keys { C_EncapsulateKey C_DecapsulateKey }
        verify { C_VerifySignatureInit C_VerifySignature C_VerifySignatureUpdate C_VerifySignatureFinal }
        session { C_GetSessionValidationFlags }
        asynchronous { C_AsyncComplete C_AsyncGetID C_AsyncJoin }
        keys { C_WrapKeyAuthenticated C_UnwrapKeyAuthenticated }
    }
}

const INTERFACE_NAME: &[u8; 8] = b"PKCS 11\0";

/// The interfaces, best first. None is fork safe: a child has to call `C_Initialize` and log in by itself.
static INTERFACES: Interfaces<3> = Interfaces([
    interface((&raw const LIST_3_2).cast_mut().cast()),
    interface((&raw const LIST_3_0).cast_mut().cast()),
    interface((&raw const LIST_2_40).cast_mut().cast()),
]);

const fn interface(list: *mut std::ffi::c_void) -> CK_INTERFACE {
    CK_INTERFACE { pInterfaceName: INTERFACE_NAME.as_ptr().cast_mut(), pFunctionList: list, flags: 0 }
}

/// What `C_GetFunctionList` returns.
pub(crate) fn function_list() -> CK_FUNCTION_LIST_PTR {
    (&raw const LIST_2_40).cast_mut()
}

/// What `C_GetInterfaceList` returns.
pub(crate) fn interfaces() -> Vec<CK_INTERFACE> {
    INTERFACES.0.to_vec()
}

/// The first interface that is as wanted; `None` wants nothing special.
pub(crate) fn find_interface(name: Option<&[u8]>, version: Option<CK_VERSION>, flags: u64) -> Option<CK_INTERFACE_PTR> {
    let versions = [LIST_3_2.v3_0.version, LIST_3_0.version, LIST_2_40.version];
    let name_fits = name.is_none_or(|name| INTERFACE_NAME.strip_suffix(b"\0") == Some(name));
    // No interface has the one flag that is defined (CKF_INTERFACE_FORK_SAFE), nor any that is not.
    let flags_fit = flags == 0;
    let fits = |own: &CK_VERSION| version.is_none_or(|wanted| (wanted.major, wanted.minor) == (own.major, own.minor));
    let index = versions.iter().position(fits).filter(|_| name_fits && flags_fit)?;
    INTERFACES.0.get(index).map(|interface| std::ptr::from_ref(interface).cast_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_row() {
        assert_eq!(ROWS.iter().filter(|row| row.since == "2.40").count(), 68);
        assert_eq!(ROWS.iter().filter(|row| row.since == "3.0").count(), 24);
        assert_eq!(ROWS.len(), 104);
    }

    #[test]
    fn the_default_interface_is_the_newest() {
        assert_eq!(find_interface(None, None, 0), find_interface(Some(b"PKCS 11"), Some(VERSION_3_2), 0));
        for older in [VERSION_3_0, CK_VERSION { major: 2, minor: 40 }] {
            let found = find_interface(None, Some(older), 0);
            assert!(found.is_some() && found != find_interface(None, None, 0));
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert!(find_interface(None, None, 0).is_some());
        assert_eq!(find_interface(Some(b"PKCS 12"), None, 0), None);
        assert_eq!(find_interface(Some(b"PKCS 11\0"), None, 0), None);
        for (major, minor) in [(3, 1), (3, 3), (2, 20), (4, 0)] {
            assert_eq!(find_interface(None, Some(CK_VERSION { major, minor }), 0), None, "{major}.{minor}");
        }
        assert_eq!(find_interface(None, None, pkcs11_sys::CKF_INTERFACE_FORK_SAFE), None);
        assert_eq!(find_interface(None, None, 1 << 20), None, "a flag that is not defined");
    }
}
