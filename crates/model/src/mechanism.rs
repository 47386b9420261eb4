//! The mechanism table: one row each (PKCS#11 mechanisms v3.1).

use base::aes::Mode;
use base::digest::Hash;
use pkcs11_sys::*;

use crate::ObjectHandle;
use crate::names::named_type;
use crate::v3_2::{CKF_DECAPSULATE, CKF_ENCAPSULATE, CKM_PUB_KEY_FROM_PRIV_KEY};

named_type! {
    /// `CK_MECHANISM_TYPE`.
    pub MechanismType, "CKM_" {
        RSA_PKCS_KEY_PAIR_GEN = CKM_RSA_PKCS_KEY_PAIR_GEN,
        RSA_PKCS = CKM_RSA_PKCS,
        RSA_X_509 = CKM_RSA_X_509,
        RSA_PKCS_OAEP = CKM_RSA_PKCS_OAEP,
        RSA_PKCS_PSS = CKM_RSA_PKCS_PSS,
        SHA1_RSA_PKCS = CKM_SHA1_RSA_PKCS,
        SHA224_RSA_PKCS = CKM_SHA224_RSA_PKCS,
        SHA256_RSA_PKCS = CKM_SHA256_RSA_PKCS,
        SHA384_RSA_PKCS = CKM_SHA384_RSA_PKCS,
        SHA512_RSA_PKCS = CKM_SHA512_RSA_PKCS,
        SHA3_224_RSA_PKCS = CKM_SHA3_224_RSA_PKCS,
        SHA3_256_RSA_PKCS = CKM_SHA3_256_RSA_PKCS,
        SHA3_384_RSA_PKCS = CKM_SHA3_384_RSA_PKCS,
        SHA3_512_RSA_PKCS = CKM_SHA3_512_RSA_PKCS,
        SHA1_RSA_PKCS_PSS = CKM_SHA1_RSA_PKCS_PSS,
        SHA224_RSA_PKCS_PSS = CKM_SHA224_RSA_PKCS_PSS,
        SHA256_RSA_PKCS_PSS = CKM_SHA256_RSA_PKCS_PSS,
        SHA384_RSA_PKCS_PSS = CKM_SHA384_RSA_PKCS_PSS,
        SHA512_RSA_PKCS_PSS = CKM_SHA512_RSA_PKCS_PSS,
        SHA3_224_RSA_PKCS_PSS = CKM_SHA3_224_RSA_PKCS_PSS,
        SHA3_256_RSA_PKCS_PSS = CKM_SHA3_256_RSA_PKCS_PSS,
        SHA3_384_RSA_PKCS_PSS = CKM_SHA3_384_RSA_PKCS_PSS,
        SHA3_512_RSA_PKCS_PSS = CKM_SHA3_512_RSA_PKCS_PSS,
        EC_KEY_PAIR_GEN = CKM_EC_KEY_PAIR_GEN,
        ECDSA = CKM_ECDSA,
        ECDSA_SHA1 = CKM_ECDSA_SHA1,
        ECDSA_SHA224 = CKM_ECDSA_SHA224,
        ECDSA_SHA256 = CKM_ECDSA_SHA256,
        ECDSA_SHA384 = CKM_ECDSA_SHA384,
        ECDSA_SHA512 = CKM_ECDSA_SHA512,
        ECDSA_SHA3_224 = CKM_ECDSA_SHA3_224,
        ECDSA_SHA3_256 = CKM_ECDSA_SHA3_256,
        ECDSA_SHA3_384 = CKM_ECDSA_SHA3_384,
        ECDSA_SHA3_512 = CKM_ECDSA_SHA3_512,
        SHA_1 = CKM_SHA_1,
        SHA224 = CKM_SHA224,
        SHA256 = CKM_SHA256,
        SHA384 = CKM_SHA384,
        SHA512 = CKM_SHA512,
        SHA3_224 = CKM_SHA3_224,
        SHA3_256 = CKM_SHA3_256,
        SHA3_384 = CKM_SHA3_384,
        SHA3_512 = CKM_SHA3_512,
        SHA_1_HMAC = CKM_SHA_1_HMAC,
        SHA_1_HMAC_GENERAL = CKM_SHA_1_HMAC_GENERAL,
        SHA224_HMAC = CKM_SHA224_HMAC,
        SHA224_HMAC_GENERAL = CKM_SHA224_HMAC_GENERAL,
        SHA256_HMAC = CKM_SHA256_HMAC,
        SHA256_HMAC_GENERAL = CKM_SHA256_HMAC_GENERAL,
        SHA384_HMAC = CKM_SHA384_HMAC,
        SHA384_HMAC_GENERAL = CKM_SHA384_HMAC_GENERAL,
        SHA512_HMAC = CKM_SHA512_HMAC,
        SHA512_HMAC_GENERAL = CKM_SHA512_HMAC_GENERAL,
        SHA3_224_HMAC = CKM_SHA3_224_HMAC,
        SHA3_224_HMAC_GENERAL = CKM_SHA3_224_HMAC_GENERAL,
        SHA3_256_HMAC = CKM_SHA3_256_HMAC,
        SHA3_256_HMAC_GENERAL = CKM_SHA3_256_HMAC_GENERAL,
        SHA3_384_HMAC = CKM_SHA3_384_HMAC,
        SHA3_384_HMAC_GENERAL = CKM_SHA3_384_HMAC_GENERAL,
        SHA3_512_HMAC = CKM_SHA3_512_HMAC,
        SHA3_512_HMAC_GENERAL = CKM_SHA3_512_HMAC_GENERAL,
        GENERIC_SECRET_KEY_GEN = CKM_GENERIC_SECRET_KEY_GEN,
        AES_KEY_GEN = CKM_AES_KEY_GEN,
        AES_ECB = CKM_AES_ECB,
        AES_CBC = CKM_AES_CBC,
        AES_CBC_PAD = CKM_AES_CBC_PAD,
        AES_CTR = CKM_AES_CTR,
        AES_CFB128 = CKM_AES_CFB128,
        AES_OFB = CKM_AES_OFB,
        AES_GCM = CKM_AES_GCM,
        AES_CMAC = CKM_AES_CMAC,
        AES_CMAC_GENERAL = CKM_AES_CMAC_GENERAL,
        AES_KEY_WRAP = CKM_AES_KEY_WRAP,
        AES_KEY_WRAP_PAD = CKM_AES_KEY_WRAP_PAD,
        AES_KEY_WRAP_KWP = CKM_AES_KEY_WRAP_KWP,
        ECDH1_DERIVE = CKM_ECDH1_DERIVE,
        ECDH1_COFACTOR_DERIVE = CKM_ECDH1_COFACTOR_DERIVE,
        CONCATENATE_BASE_AND_KEY = CKM_CONCATENATE_BASE_AND_KEY,
        CONCATENATE_BASE_AND_DATA = CKM_CONCATENATE_BASE_AND_DATA,
        CONCATENATE_DATA_AND_BASE = CKM_CONCATENATE_DATA_AND_BASE,
        XOR_BASE_AND_DATA = CKM_XOR_BASE_AND_DATA,
        HKDF_DERIVE = CKM_HKDF_DERIVE,
        HKDF_DATA = CKM_HKDF_DATA,
        HKDF_KEY_GEN = CKM_HKDF_KEY_GEN,
        PUB_KEY_FROM_PRIV_KEY = CKM_PUB_KEY_FROM_PRIV_KEY,
    }
}

impl MechanismType {
    /// The mechanism's row, or `None` if it is not one of ours.
    #[must_use]
    pub fn row(self) -> Option<&'static MechanismRow> {
        MECHANISMS.iter().find(|row| row.ty == self)
    }
}

/// A mechanism with its parameters, as the boundary read them.
#[derive(Clone, Debug)]
pub struct Mechanism {
    /// Which one.
    pub ty: MechanismType,
    /// Its parameters, in the shape that [`MechanismRow::params`] says.
    pub params: Params,
}

impl Mechanism {
    /// A mechanism without parameters.
    #[must_use]
    pub fn plain(ty: MechanismType) -> Self {
        Self { ty, params: Params::None }
    }
}

/// Parameters of a mechanism, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params {
    /// The caller gave none.
    None,
    /// `CK_RSA_PKCS_PSS_PARAMS`.
    Pss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of the mask generation function MGF1.
        mgf: Hash,
        /// Length of the salt in bytes.
        salt_len: usize,
    },
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of the mask generation function MGF1.
        mgf: Hash,
        /// The label ("source data"), often empty.
        label: Vec<u8>,
    },
    /// An initialisation vector of a block.
    Iv([u8; 16]),
    /// `CK_AES_CTR_PARAMS`.
    Counter {
        /// How many bits of the block count.
        bits: u64,
        /// The first counter block.
        block: [u8; 16],
    },
    /// `CK_GCM_PARAMS`.
    Gcm {
        /// The initialisation vector.
        iv: Vec<u8>,
        /// Additional authenticated data.
        aad: Vec<u8>,
        /// Length of the tag in bits.
        tag_bits: u64,
    },
    /// `CK_MAC_GENERAL_PARAMS`: length of the code in bytes.
    MacLen(u64),
    /// The initial value of a key wrap in place of the standard's.
    WrapIv([u8; 8]),
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh {
        /// What is made of the shared secret.
        kdf: Kdf,
        /// The KDF's shared data.
        shared: Vec<u8>,
        /// The other party's point: raw, or a DER OCTET STRING.
        public: Vec<u8>,
    },
    /// `CK_HKDF_PARAMS`.
    Hkdf {
        /// Do the extract step.
        extract: bool,
        /// Do the expand step.
        expand: bool,
        /// Hash of both.
        hash: Hash,
        /// Salt of the extract step.
        salt: HkdfSalt,
        /// Info of the expand step.
        info: Vec<u8>,
    },
    /// `CK_KEY_DERIVATION_STRING_DATA`.
    Data(Vec<u8>),
    /// Another key.
    Key(ObjectHandle),
    /// Bytes that no row asked for: the caller gave parameters to a mechanism that has none.
    Unexpected,
}

/// What ECDH makes of the shared secret (PKCS#11 mechanisms v3.1 2.3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// `CKD_NULL`: the secret itself.
    Null,
    /// The key derivation function of ANSI X9.63 with this hash.
    X963(Hash),
}

/// The salt of an HKDF (PKCS#11 mechanisms v3.1 2.62.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HkdfSalt {
    /// As many zeros as the hash is long.
    Null,
    /// These bytes.
    Data(Vec<u8>),
    /// The value of a key.
    Key(ObjectHandle),
}

/// Which C structure the parameters of a mechanism are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// No parameters.
    None,
    /// `CK_RSA_PKCS_PSS_PARAMS`, always required.
    Pss,
    /// `CK_RSA_PKCS_PSS_PARAMS`, required, and its hash is the mechanism's.
    PssOf(Hash),
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep,
    /// A block of 16 bytes.
    Iv,
    /// `CK_AES_CTR_PARAMS`.
    Counter,
    /// `CK_GCM_PARAMS`.
    Gcm,
    /// `CK_MAC_GENERAL_PARAMS`.
    MacLen,
    /// None, or an initial value of 8 bytes.
    WrapIv,
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh,
    /// `CK_HKDF_PARAMS`.
    Hkdf,
    /// `CK_KEY_DERIVATION_STRING_DATA`.
    Data,
    /// `CK_OBJECT_HANDLE`.
    Key,
}

bitflags::bitflags! {
    /// What a mechanism does; the bits are those of `CK_MECHANISM_INFO`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ops: u64 {
        /// `C_Encrypt*`
        const ENCRYPT = CKF_ENCRYPT;
        /// `C_Decrypt*`
        const DECRYPT = CKF_DECRYPT;
        /// `C_Digest*`
        const DIGEST = CKF_DIGEST;
        /// `C_Sign*`
        const SIGN = CKF_SIGN;
        /// `C_Verify*`
        const VERIFY = CKF_VERIFY;
        /// `C_SignRecover`
        const SIGN_RECOVER = CKF_SIGN_RECOVER;
        /// `C_VerifyRecover`
        const VERIFY_RECOVER = CKF_VERIFY_RECOVER;
        /// `C_GenerateKey`
        const GENERATE = CKF_GENERATE;
        /// `C_WrapKey`
        const WRAP = CKF_WRAP;
        /// `C_UnwrapKey`
        const UNWRAP = CKF_UNWRAP;
        /// `C_DeriveKey`
        const DERIVE = CKF_DERIVE;
        /// `C_GenerateKeyPair`
        const GENERATE_KEY_PAIR = CKF_GENERATE_KEY_PAIR;
        /// `C_EncryptMessage*`
        const MESSAGE_ENCRYPT = CKF_MESSAGE_ENCRYPT;
        /// `C_DecryptMessage*`
        const MESSAGE_DECRYPT = CKF_MESSAGE_DECRYPT;
        /// `C_SignMessage*`
        const MESSAGE_SIGN = CKF_MESSAGE_SIGN;
        /// `C_VerifyMessage*`
        const MESSAGE_VERIFY = CKF_MESSAGE_VERIFY;
        /// A message can come in parts.
        const MULTI_MESSAGE = CKF_MULTI_MESSAGE;
        /// `C_EncapsulateKey`
        const ENCAPSULATE = CKF_ENCAPSULATE;
        /// `C_DecapsulateKey`
        const DECAPSULATE = CKF_DECAPSULATE;
    }
}

/// Which keys a mechanism works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// None: software only.
    None,
    /// RSA keys; needs a TPM with RSA.
    Rsa,
    /// EC keys; needs a TPM with ECC.
    Ec,
    /// RSA or EC keys.
    Pair,
    /// AES keys.
    Aes,
    /// Generic secret keys.
    Secret,
    /// Keys for HKDF, or generic secret keys.
    Hkdf,
}

/// What is done with the (digested) input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The digest itself.
    Digest,
    /// RSASSA-PKCS1-v1_5 / RSAES-PKCS1-v1_5 (RFC 8017 8.2, 7.2). Without a hash the input is the DigestInfo, or anything.
    RsaPkcs1,
    /// The raw RSA operation.
    RsaRaw,
    /// RSASSA-PSS (RFC 8017 8.1).
    RsaPss,
    /// RSAES-OAEP (RFC 8017 7.1).
    RsaOaep,
    /// ECDSA (FIPS 186-5 6).
    Ecdsa,
    /// Making a key pair.
    KeyPair,
    /// Making a secret key.
    Key,
    /// A mode of AES that runs over blocks as they come.
    Aes(Mode),
    /// CBC with the padding of PKCS #7.
    AesCbcPad,
    /// AES-GCM.
    AesGcm,
    /// AES-CMAC.
    Cmac,
    /// HMAC with the row's hash.
    Hmac,
    /// AES key wrap (RFC 3394).
    AesWrap,
    /// AES key wrap with padding (RFC 5649).
    AesWrapPad,
    /// Diffie-Hellman on a curve.
    Ecdh,
    /// The public half of a pair, from the private one.
    PublicHalf,
    /// HKDF (RFC 5869) with a key as its result.
    Hkdf,
    /// HKDF with a data object as its result.
    HkdfData,
    /// The base key, then another.
    BaseAndKey,
    /// The base key, then data.
    BaseAndData,
    /// Data, then the base key.
    DataAndBase,
    /// The base key with data added bit by bit.
    XorData,
}

/// One mechanism.
#[derive(Debug)]
pub struct MechanismRow {
    /// Its number and name.
    pub ty: MechanismType,
    /// What it does.
    pub ops: Ops,
    /// With which keys.
    pub key: KeyKind,
    /// How.
    pub scheme: Scheme,
    /// The hash applied to the input first, if the mechanism has one.
    pub hash: Option<Hash>,
    /// The C structure of its parameters.
    pub params: ParamKind,
}

/// Every mechanism. `C_GetMechanismList` is this table without what the token's TPM cannot do.
pub static MECHANISMS: &[MechanismRow] = {
    use Hash::{Sha1, Sha3_224, Sha3_256, Sha3_384, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    use MechanismType as M;
    const MESSAGES_SIGNED: Ops = Ops::MESSAGE_SIGN.union(Ops::MESSAGE_VERIFY).union(Ops::MULTI_MESSAGE);
    const SIGN_VERIFY: Ops = Ops::SIGN.union(Ops::VERIFY).union(MESSAGES_SIGNED);
    const RECOVER: Ops = Ops::SIGN_RECOVER.union(Ops::VERIFY_RECOVER);
    const WRAP: Ops = Ops::WRAP.union(Ops::UNWRAP);
    const KEM: Ops = Ops::ENCAPSULATE.union(Ops::DECAPSULATE);
    const ENCRYPT_DECRYPT: Ops = Ops::ENCRYPT.union(Ops::DECRYPT);
    const MESSAGES: Ops = Ops::MESSAGE_ENCRYPT.union(Ops::MESSAGE_DECRYPT).union(Ops::MULTI_MESSAGE);

    const fn key_pair(ty: M, key: KeyKind) -> MechanismRow {
        MechanismRow {
            ty,
            ops: Ops::GENERATE_KEY_PAIR,
            key,
            scheme: Scheme::KeyPair,
            hash: None,
            params: ParamKind::None,
        }
    }
    const fn rsa(ty: M, ops: Ops, scheme: Scheme, params: ParamKind) -> MechanismRow {
        MechanismRow { ty, ops, key: KeyKind::Rsa, scheme, hash: None, params }
    }
    const fn hash_rsa(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: SIGN_VERIFY,
            key: KeyKind::Rsa,
            scheme: Scheme::RsaPkcs1,
            hash: Some(hash),
            params: ParamKind::None,
        }
    }
    const fn hash_pss(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: SIGN_VERIFY,
            key: KeyKind::Rsa,
            scheme: Scheme::RsaPss,
            hash: Some(hash),
            params: ParamKind::PssOf(hash),
        }
    }
    const fn ecdsa(ty: M, hash: Option<Hash>) -> MechanismRow {
        MechanismRow { ty, ops: SIGN_VERIFY, key: KeyKind::Ec, scheme: Scheme::Ecdsa, hash, params: ParamKind::None }
    }
    const fn digest(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: Ops::DIGEST,
            key: KeyKind::None,
            scheme: Scheme::Digest,
            hash: Some(hash),
            params: ParamKind::None,
        }
    }
    const fn secret(ty: M, ops: Ops, key: KeyKind, scheme: Scheme, params: ParamKind) -> MechanismRow {
        MechanismRow { ty, ops, key, scheme, hash: None, params }
    }
    const fn hmac(ty: M, hash: Hash, params: ParamKind) -> MechanismRow {
        MechanismRow { ty, ops: SIGN_VERIFY, key: KeyKind::Secret, scheme: Scheme::Hmac, hash: Some(hash), params }
    }

    &[
        key_pair(M::RSA_PKCS_KEY_PAIR_GEN, KeyKind::Rsa),
        key_pair(M::EC_KEY_PAIR_GEN, KeyKind::Ec),
        rsa(
            M::RSA_PKCS,
            SIGN_VERIFY.union(ENCRYPT_DECRYPT).union(RECOVER).union(WRAP).union(KEM),
            Scheme::RsaPkcs1,
            ParamKind::None,
        ),
        rsa(M::RSA_X_509, SIGN_VERIFY.union(ENCRYPT_DECRYPT).union(RECOVER), Scheme::RsaRaw, ParamKind::None),
        rsa(M::RSA_PKCS_OAEP, ENCRYPT_DECRYPT.union(WRAP).union(KEM), Scheme::RsaOaep, ParamKind::Oaep),
        rsa(M::RSA_PKCS_PSS, SIGN_VERIFY, Scheme::RsaPss, ParamKind::Pss),
        hash_rsa(M::SHA1_RSA_PKCS, Sha1),
        hash_rsa(M::SHA224_RSA_PKCS, Sha224),
        hash_rsa(M::SHA256_RSA_PKCS, Sha256),
        hash_rsa(M::SHA384_RSA_PKCS, Sha384),
        hash_rsa(M::SHA512_RSA_PKCS, Sha512),
        hash_rsa(M::SHA3_224_RSA_PKCS, Sha3_224),
        hash_rsa(M::SHA3_256_RSA_PKCS, Sha3_256),
        hash_rsa(M::SHA3_384_RSA_PKCS, Sha3_384),
        hash_rsa(M::SHA3_512_RSA_PKCS, Sha3_512),
        hash_pss(M::SHA1_RSA_PKCS_PSS, Sha1),
        hash_pss(M::SHA224_RSA_PKCS_PSS, Sha224),
        hash_pss(M::SHA256_RSA_PKCS_PSS, Sha256),
        hash_pss(M::SHA384_RSA_PKCS_PSS, Sha384),
        hash_pss(M::SHA512_RSA_PKCS_PSS, Sha512),
        hash_pss(M::SHA3_224_RSA_PKCS_PSS, Sha3_224),
        hash_pss(M::SHA3_256_RSA_PKCS_PSS, Sha3_256),
        hash_pss(M::SHA3_384_RSA_PKCS_PSS, Sha3_384),
        hash_pss(M::SHA3_512_RSA_PKCS_PSS, Sha3_512),
        ecdsa(M::ECDSA, None),
        ecdsa(M::ECDSA_SHA1, Some(Sha1)),
        ecdsa(M::ECDSA_SHA224, Some(Sha224)),
        ecdsa(M::ECDSA_SHA256, Some(Sha256)),
        ecdsa(M::ECDSA_SHA384, Some(Sha384)),
        ecdsa(M::ECDSA_SHA512, Some(Sha512)),
        ecdsa(M::ECDSA_SHA3_224, Some(Sha3_224)),
        ecdsa(M::ECDSA_SHA3_256, Some(Sha3_256)),
        ecdsa(M::ECDSA_SHA3_384, Some(Sha3_384)),
        ecdsa(M::ECDSA_SHA3_512, Some(Sha3_512)),
        digest(M::SHA_1, Sha1),
        digest(M::SHA224, Sha224),
        digest(M::SHA256, Sha256),
        digest(M::SHA384, Sha384),
        digest(M::SHA512, Sha512),
        digest(M::SHA3_224, Sha3_224),
        digest(M::SHA3_256, Sha3_256),
        digest(M::SHA3_384, Sha3_384),
        digest(M::SHA3_512, Sha3_512),
        secret(M::AES_KEY_GEN, Ops::GENERATE, KeyKind::Aes, Scheme::Key, ParamKind::None),
        secret(M::GENERIC_SECRET_KEY_GEN, Ops::GENERATE, KeyKind::Secret, Scheme::Key, ParamKind::None),
        secret(M::AES_ECB, ENCRYPT_DECRYPT, KeyKind::Aes, Scheme::Aes(Mode::Ecb), ParamKind::None),
        secret(M::AES_CBC, ENCRYPT_DECRYPT, KeyKind::Aes, Scheme::Aes(Mode::Cbc), ParamKind::Iv),
        secret(M::AES_CBC_PAD, ENCRYPT_DECRYPT.union(WRAP), KeyKind::Aes, Scheme::AesCbcPad, ParamKind::Iv),
        secret(M::AES_CTR, ENCRYPT_DECRYPT, KeyKind::Aes, Scheme::Aes(Mode::Ctr), ParamKind::Counter),
        secret(M::AES_CFB128, ENCRYPT_DECRYPT, KeyKind::Aes, Scheme::Aes(Mode::Cfb), ParamKind::Iv),
        secret(M::AES_OFB, ENCRYPT_DECRYPT, KeyKind::Aes, Scheme::Aes(Mode::Ofb), ParamKind::Iv),
        secret(M::AES_GCM, ENCRYPT_DECRYPT.union(MESSAGES), KeyKind::Aes, Scheme::AesGcm, ParamKind::Gcm),
        secret(M::AES_CMAC, SIGN_VERIFY, KeyKind::Aes, Scheme::Cmac, ParamKind::None),
        secret(M::AES_CMAC_GENERAL, SIGN_VERIFY, KeyKind::Aes, Scheme::Cmac, ParamKind::MacLen),
        secret(M::AES_KEY_WRAP, ENCRYPT_DECRYPT.union(WRAP), KeyKind::Aes, Scheme::AesWrap, ParamKind::WrapIv),
        secret(M::AES_KEY_WRAP_PAD, ENCRYPT_DECRYPT.union(WRAP), KeyKind::Aes, Scheme::AesWrapPad, ParamKind::None),
        secret(M::AES_KEY_WRAP_KWP, ENCRYPT_DECRYPT.union(WRAP), KeyKind::Aes, Scheme::AesWrapPad, ParamKind::None),
        hmac(M::SHA_1_HMAC, Sha1, ParamKind::None),
        hmac(M::SHA_1_HMAC_GENERAL, Sha1, ParamKind::MacLen),
        hmac(M::SHA224_HMAC, Sha224, ParamKind::None),
        hmac(M::SHA224_HMAC_GENERAL, Sha224, ParamKind::MacLen),
        hmac(M::SHA256_HMAC, Sha256, ParamKind::None),
        hmac(M::SHA256_HMAC_GENERAL, Sha256, ParamKind::MacLen),
        hmac(M::SHA384_HMAC, Sha384, ParamKind::None),
        hmac(M::SHA384_HMAC_GENERAL, Sha384, ParamKind::MacLen),
        hmac(M::SHA512_HMAC, Sha512, ParamKind::None),
        hmac(M::SHA512_HMAC_GENERAL, Sha512, ParamKind::MacLen),
        hmac(M::SHA3_224_HMAC, Sha3_224, ParamKind::None),
        hmac(M::SHA3_224_HMAC_GENERAL, Sha3_224, ParamKind::MacLen),
        hmac(M::SHA3_256_HMAC, Sha3_256, ParamKind::None),
        hmac(M::SHA3_256_HMAC_GENERAL, Sha3_256, ParamKind::MacLen),
        hmac(M::SHA3_384_HMAC, Sha3_384, ParamKind::None),
        hmac(M::SHA3_384_HMAC_GENERAL, Sha3_384, ParamKind::MacLen),
        hmac(M::SHA3_512_HMAC, Sha3_512, ParamKind::None),
        hmac(M::SHA3_512_HMAC_GENERAL, Sha3_512, ParamKind::MacLen),
        secret(M::ECDH1_DERIVE, Ops::DERIVE.union(KEM), KeyKind::Ec, Scheme::Ecdh, ParamKind::Ecdh),
        // The cofactor of the curves here is 1: both are the same.
        secret(M::ECDH1_COFACTOR_DERIVE, Ops::DERIVE.union(KEM), KeyKind::Ec, Scheme::Ecdh, ParamKind::Ecdh),
        secret(M::CONCATENATE_BASE_AND_KEY, Ops::DERIVE, KeyKind::Secret, Scheme::BaseAndKey, ParamKind::Key),
        secret(M::CONCATENATE_BASE_AND_DATA, Ops::DERIVE, KeyKind::Secret, Scheme::BaseAndData, ParamKind::Data),
        secret(M::CONCATENATE_DATA_AND_BASE, Ops::DERIVE, KeyKind::Secret, Scheme::DataAndBase, ParamKind::Data),
        secret(M::XOR_BASE_AND_DATA, Ops::DERIVE, KeyKind::Secret, Scheme::XorData, ParamKind::Data),
        secret(M::HKDF_DERIVE, Ops::DERIVE, KeyKind::Hkdf, Scheme::Hkdf, ParamKind::Hkdf),
        secret(M::HKDF_DATA, Ops::DERIVE, KeyKind::Hkdf, Scheme::HkdfData, ParamKind::Hkdf),
        secret(M::HKDF_KEY_GEN, Ops::GENERATE, KeyKind::Hkdf, Scheme::Key, ParamKind::None),
        secret(M::PUB_KEY_FROM_PRIV_KEY, Ops::DERIVE, KeyKind::Pair, Scheme::PublicHalf, ParamKind::None),
    ]
};

/// The hash of the code that HKDF is made of: some callers name the hash (`CKM_SHA256`), as the header's field has it,
/// others the code (`CKM_SHA256_HMAC`).
#[must_use]
pub fn hash_of_prf(number: u64) -> Option<Hash> {
    let row = MechanismType(number).row().filter(|row| row.params == ParamKind::None)?;
    row.hash.filter(|_| matches!(row.scheme, Scheme::Digest | Scheme::Hmac))
}

/// The hash that a digest mechanism names, as the parameters of PSS and OAEP name theirs (`CKM_SHA256` ...).
#[must_use]
pub fn hash_of_mechanism(number: u64) -> Option<Hash> {
    MechanismType(number).row().filter(|row| row.scheme == Scheme::Digest).and_then(|row| row.hash)
}

/// The hash of a mask generation function (`CKG_MGF1_SHA256` ...).
#[must_use]
pub fn hash_of_mgf(number: u64) -> Option<Hash> {
    Some(match number {
        CKG_MGF1_SHA1 => Hash::Sha1,
        CKG_MGF1_SHA224 => Hash::Sha224,
        CKG_MGF1_SHA256 => Hash::Sha256,
        CKG_MGF1_SHA384 => Hash::Sha384,
        CKG_MGF1_SHA512 => Hash::Sha512,
        CKG_MGF1_SHA3_224 => Hash::Sha3_224,
        CKG_MGF1_SHA3_256 => Hash::Sha3_256,
        CKG_MGF1_SHA3_384 => Hash::Sha3_384,
        CKG_MGF1_SHA3_512 => Hash::Sha3_512,
        _ => return None,
    })
}

/// A key derivation function of ECDH (`CKD_SHA256_KDF` ...).
#[must_use]
pub fn kdf(number: u64) -> Option<Kdf> {
    Some(match number {
        CKD_NULL => Kdf::Null,
        CKD_SHA1_KDF => Kdf::X963(Hash::Sha1),
        CKD_SHA224_KDF => Kdf::X963(Hash::Sha224),
        CKD_SHA256_KDF => Kdf::X963(Hash::Sha256),
        CKD_SHA384_KDF => Kdf::X963(Hash::Sha384),
        CKD_SHA512_KDF => Kdf::X963(Hash::Sha512),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_a_mechanism() {
        for (index, row) in MECHANISMS.iter().enumerate() {
            assert!(row.ty.name().is_some());
            assert!(MECHANISMS[..index].iter().all(|other| other.ty != row.ty), "{} twice", row.ty);
        }
    }

    #[test]
    fn parameters_name_hashes() {
        assert_eq!(hash_of_mechanism(CKM_SHA256), Some(Hash::Sha256));
        assert_eq!(hash_of_mechanism(CKM_SHA256_RSA_PKCS), None);
        assert_eq!(hash_of_mgf(CKG_MGF1_SHA224), Some(Hash::Sha224));
        assert_eq!(hash_of_mgf(0), None);
        assert_eq!(hash_of_prf(CKM_SHA256), Some(Hash::Sha256));
        assert_eq!(hash_of_prf(CKM_SHA384_HMAC), Some(Hash::Sha384));
        assert_eq!(hash_of_prf(CKM_SHA384_HMAC_GENERAL), None);
        assert_eq!(hash_of_prf(CKM_ECDSA_SHA256), None);
    }
}
