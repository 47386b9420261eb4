//! Object classes, key types and certificate types.

use pkcs11_sys::{
    CKC_X_509, CKK_AES, CKK_EC, CKK_GENERIC_SECRET, CKK_HKDF, CKK_RSA, CKO_CERTIFICATE, CKO_DATA,
    CKO_DOMAIN_PARAMETERS, CKO_HW_FEATURE, CKO_MECHANISM, CKO_PRIVATE_KEY, CKO_PROFILE, CKO_PUBLIC_KEY, CKO_SECRET_KEY,
};

use crate::names::named_type;

named_type! {
    /// `CK_OBJECT_CLASS` (PKCS#11 v3.1 4.2).
    pub ObjectClass, "CKO_" {
        DATA = CKO_DATA,
        CERTIFICATE = CKO_CERTIFICATE,
        PUBLIC_KEY = CKO_PUBLIC_KEY,
        PRIVATE_KEY = CKO_PRIVATE_KEY,
        SECRET_KEY = CKO_SECRET_KEY,
        HW_FEATURE = CKO_HW_FEATURE,
        DOMAIN_PARAMETERS = CKO_DOMAIN_PARAMETERS,
        MECHANISM = CKO_MECHANISM,
        PROFILE = CKO_PROFILE,
    }
}

named_type! {
    /// `CK_KEY_TYPE` (PKCS#11 v3.1 4.7).
    pub KeyType, "CKK_" {
        RSA = CKK_RSA,
        EC = CKK_EC,
        AES = CKK_AES,
        GENERIC_SECRET = CKK_GENERIC_SECRET,
        HKDF = CKK_HKDF,
    }
}

named_type! {
    /// `CK_CERTIFICATE_TYPE` (PKCS#11 v3.1 4.6).
    pub CertificateType, "CKC_" {
        X_509 = CKC_X_509,
    }
}
