//! Object classes, key types, certificate types and profiles.

use base::digest::Hash;
use pkcs11_sys::{
    CKC_X_509, CKK_AES, CKK_EC, CKK_GENERIC_SECRET, CKK_HKDF, CKK_RSA, CKK_SHA_1_HMAC, CKK_SHA3_224_HMAC,
    CKK_SHA3_256_HMAC, CKK_SHA3_384_HMAC, CKK_SHA3_512_HMAC, CKK_SHA224_HMAC, CKK_SHA256_HMAC, CKK_SHA384_HMAC,
    CKK_SHA512_HMAC, CKO_CERTIFICATE, CKO_DATA, CKO_DOMAIN_PARAMETERS, CKO_HW_FEATURE, CKO_MECHANISM, CKO_PRIVATE_KEY,
    CKO_PROFILE, CKO_PUBLIC_KEY, CKO_SECRET_KEY, CKP_AUTHENTICATION_TOKEN, CKP_BASELINE_PROVIDER,
    CKP_EXTENDED_PROVIDER, CKP_HKDF_TLS_TOKEN, CKP_PUBLIC_CERTIFICATES_TOKEN,
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
        SHA_1_HMAC = CKK_SHA_1_HMAC,
        SHA224_HMAC = CKK_SHA224_HMAC,
        SHA256_HMAC = CKK_SHA256_HMAC,
        SHA384_HMAC = CKK_SHA384_HMAC,
        SHA512_HMAC = CKK_SHA512_HMAC,
        SHA3_224_HMAC = CKK_SHA3_224_HMAC,
        SHA3_256_HMAC = CKK_SHA3_256_HMAC,
        SHA3_384_HMAC = CKK_SHA3_384_HMAC,
        SHA3_512_HMAC = CKK_SHA3_512_HMAC,
    }
}

impl KeyType {
    /// The hash of the one HMAC that keys of this type are for (PKCS#11 mechanisms v3.1 2.20 to 2.31); `None` for other types.
    #[must_use]
    pub fn hmac_hash(self) -> Option<Hash> {
        Some(match self {
            Self::SHA_1_HMAC => Hash::Sha1,
            Self::SHA224_HMAC => Hash::Sha224,
            Self::SHA256_HMAC => Hash::Sha256,
            Self::SHA384_HMAC => Hash::Sha384,
            Self::SHA512_HMAC => Hash::Sha512,
            Self::SHA3_224_HMAC => Hash::Sha3_224,
            Self::SHA3_256_HMAC => Hash::Sha3_256,
            Self::SHA3_384_HMAC => Hash::Sha3_384,
            Self::SHA3_512_HMAC => Hash::Sha3_512,
            _ => return None,
        })
    }

    /// Is it one of the secret keys that there are here?
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::AES | Self::GENERIC_SECRET | Self::HKDF) || self.hmac_hash().is_some()
    }
}

named_type! {
    /// `CK_CERTIFICATE_TYPE` (PKCS#11 v3.1 4.6).
    pub CertificateType, "CKC_" {
        X_509 = CKC_X_509,
    }
}

named_type! {
    /// `CK_PROFILE_ID` (PKCS#11 v3.1 4.13; Profiles v3.1 4).
    pub ProfileId, "CKP_" {
        BASELINE_PROVIDER = CKP_BASELINE_PROVIDER,
        EXTENDED_PROVIDER = CKP_EXTENDED_PROVIDER,
        AUTHENTICATION_TOKEN = CKP_AUTHENTICATION_TOKEN,
        PUBLIC_CERTIFICATES_TOKEN = CKP_PUBLIC_CERTIFICATES_TOKEN,
        HKDF_TLS_TOKEN = CKP_HKDF_TLS_TOKEN,
    }
}
