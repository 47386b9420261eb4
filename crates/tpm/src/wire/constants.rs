//! Constants with the names of TPM 2.0 Part 2, without the TPM_ prefix.

/// TPM_CC.
pub(crate) mod cc {
    pub(crate) const STIR_RANDOM: u32 = 0x146;
    pub(crate) const NV_READ: u32 = 0x14e;
    pub(crate) const EVICT_CONTROL: u32 = 0x120;
    pub(crate) const NV_UNDEFINE_SPACE: u32 = 0x122;
    pub(crate) const NV_DEFINE_SPACE: u32 = 0x12a;
    pub(crate) const CREATE_PRIMARY: u32 = 0x131;
    pub(crate) const NV_INCREMENT: u32 = 0x134;
    pub(crate) const ACTIVATE_CREDENTIAL: u32 = 0x147;
    pub(crate) const CERTIFY: u32 = 0x148;
    pub(crate) const POLICY_NV: u32 = 0x149;
    pub(crate) const CERTIFY_CREATION: u32 = 0x14a;
    pub(crate) const DICTIONARY_ATTACK_LOCK_RESET: u32 = 0x139;
    pub(crate) const SEQUENCE_COMPLETE: u32 = 0x13e;
    pub(crate) const STARTUP: u32 = 0x144;
    pub(crate) const DUPLICATE: u32 = 0x14b;
    pub(crate) const OBJECT_CHANGE_AUTH: u32 = 0x150;
    pub(crate) const POLICY_SECRET: u32 = 0x151;
    pub(crate) const CREATE: u32 = 0x153;
    pub(crate) const ECDH_ZGEN: u32 = 0x154;
    pub(crate) const HMAC: u32 = 0x155;
    pub(crate) const IMPORT: u32 = 0x156;
    pub(crate) const LOAD: u32 = 0x157;
    pub(crate) const RSA_DECRYPT: u32 = 0x159;
    pub(crate) const HMAC_START: u32 = 0x15b;
    pub(crate) const SEQUENCE_UPDATE: u32 = 0x15c;
    pub(crate) const SIGN: u32 = 0x15d;
    pub(crate) const UNSEAL: u32 = 0x15e;
    pub(crate) const FLUSH_CONTEXT: u32 = 0x165;
    pub(crate) const LOAD_EXTERNAL: u32 = 0x167;
    pub(crate) const NV_READ_PUBLIC: u32 = 0x169;
    pub(crate) const POLICY_AUTHORIZE: u32 = 0x16a;
    pub(crate) const POLICY_AUTH_VALUE: u32 = 0x16b;
    pub(crate) const POLICY_COMMAND_CODE: u32 = 0x16c;
    pub(crate) const POLICY_OR: u32 = 0x171;
    pub(crate) const READ_PUBLIC: u32 = 0x173;
    pub(crate) const START_AUTH_SESSION: u32 = 0x176;
    pub(crate) const VERIFY_SIGNATURE: u32 = 0x177;
    pub(crate) const GET_CAPABILITY: u32 = 0x17a;
    pub(crate) const GET_RANDOM: u32 = 0x17b;
    pub(crate) const PCR_READ: u32 = 0x17e;
    pub(crate) const POLICY_PCR: u32 = 0x17f;
    pub(crate) const POLICY_RESTART: u32 = 0x180;
    pub(crate) const POLICY_DUPLICATION_SELECT: u32 = 0x188;
    pub(crate) const TEST_PARMS: u32 = 0x18a;
    pub(crate) const POLICY_PASSWORD: u32 = 0x18c;
    pub(crate) const ENCRYPT_DECRYPT_2: u32 = 0x193;
}

/// The name of a command, for logs.
pub(crate) fn command_name(code: u32) -> &'static str {
    match code {
        cc::NV_READ => "NV_Read",
        cc::NV_READ_PUBLIC => "NV_ReadPublic",
        cc::EVICT_CONTROL => "EvictControl",
        cc::NV_UNDEFINE_SPACE => "NV_UndefineSpace",
        cc::NV_DEFINE_SPACE => "NV_DefineSpace",
        cc::CREATE_PRIMARY => "CreatePrimary",
        cc::NV_INCREMENT => "NV_Increment",
        cc::ACTIVATE_CREDENTIAL => "ActivateCredential",
        cc::CERTIFY => "Certify",
        cc::POLICY_NV => "PolicyNV",
        cc::CERTIFY_CREATION => "CertifyCreation",
        cc::DICTIONARY_ATTACK_LOCK_RESET => "DictionaryAttackLockReset",
        cc::SEQUENCE_COMPLETE => "SequenceComplete",
        cc::STARTUP => "Startup",
        cc::STIR_RANDOM => "StirRandom",
        cc::DUPLICATE => "Duplicate",
        cc::OBJECT_CHANGE_AUTH => "ObjectChangeAuth",
        cc::POLICY_SECRET => "PolicySecret",
        cc::CREATE => "Create",
        cc::ECDH_ZGEN => "ECDH_ZGen",
        cc::HMAC => "HMAC",
        cc::IMPORT => "Import",
        cc::LOAD => "Load",
        cc::RSA_DECRYPT => "RSA_Decrypt",
        cc::HMAC_START => "HMAC_Start",
        cc::SEQUENCE_UPDATE => "SequenceUpdate",
        cc::SIGN => "Sign",
        cc::UNSEAL => "Unseal",
        cc::FLUSH_CONTEXT => "FlushContext",
        cc::LOAD_EXTERNAL => "LoadExternal",
        cc::POLICY_AUTHORIZE => "PolicyAuthorize",
        cc::POLICY_AUTH_VALUE => "PolicyAuthValue",
        cc::POLICY_COMMAND_CODE => "PolicyCommandCode",
        cc::POLICY_OR => "PolicyOR",
        cc::READ_PUBLIC => "ReadPublic",
        cc::START_AUTH_SESSION => "StartAuthSession",
        cc::VERIFY_SIGNATURE => "VerifySignature",
        cc::GET_CAPABILITY => "GetCapability",
        cc::GET_RANDOM => "GetRandom",
        cc::PCR_READ => "PCR_Read",
        cc::POLICY_PCR => "PolicyPCR",
        cc::POLICY_RESTART => "PolicyRestart",
        cc::POLICY_DUPLICATION_SELECT => "PolicyDuplicationSelect",
        cc::TEST_PARMS => "TestParms",
        cc::ENCRYPT_DECRYPT_2 => "EncryptDecrypt2",
        _ => "a command",
    }
}

/// TPM_ALG_ID.
pub(crate) mod alg {
    pub(crate) const RSA: u16 = 0x0001;
    pub(crate) const SHA1: u16 = 0x0004;
    pub(crate) const HMAC: u16 = 0x0005;
    pub(crate) const AES: u16 = 0x0006;
    pub(crate) const KEYEDHASH: u16 = 0x0008;
    pub(crate) const XOR: u16 = 0x000a;
    pub(crate) const SHA256: u16 = 0x000b;
    pub(crate) const SHA384: u16 = 0x000c;
    pub(crate) const SHA512: u16 = 0x000d;
    pub(crate) const NULL: u16 = 0x0010;
    pub(crate) const RSASSA: u16 = 0x0014;
    pub(crate) const RSAES: u16 = 0x0015;
    pub(crate) const RSAPSS: u16 = 0x0016;
    pub(crate) const OAEP: u16 = 0x0017;
    pub(crate) const ECDSA: u16 = 0x0018;
    pub(crate) const ECDH: u16 = 0x0019;
    pub(crate) const ECDAA: u16 = 0x001a;
    pub(crate) const ECC: u16 = 0x0023;
    pub(crate) const SYMCIPHER: u16 = 0x0025;
    pub(crate) const CTR: u16 = 0x0040;
    pub(crate) const CBC: u16 = 0x0042;
    pub(crate) const CFB: u16 = 0x0043;
    pub(crate) const ECB: u16 = 0x0044;
}

/// TPM_ECC_CURVE.
pub(crate) mod ecc {
    pub(crate) const NIST_P224: u16 = 0x0002;
    pub(crate) const NIST_P256: u16 = 0x0003;
    pub(crate) const NIST_P384: u16 = 0x0004;
    pub(crate) const NIST_P521: u16 = 0x0005;
}

/// TPM_ST.
pub(crate) mod st {
    pub(crate) const NO_SESSIONS: u16 = 0x8001;
    pub(crate) const SESSIONS: u16 = 0x8002;
    pub(crate) const ATTEST_CERTIFY: u16 = 0x8017;
    pub(crate) const ATTEST_CREATION: u16 = 0x801a;
    pub(crate) const VERIFIED: u16 = 0x8022;
    pub(crate) const HASHCHECK: u16 = 0x8024;
}

/// TPM_SE.
pub(crate) mod se {
    pub(crate) const HMAC: u8 = 0x00;
    pub(crate) const POLICY: u8 = 0x01;
}

/// TPM_RH and TPM_RS: permanent handles.
pub(crate) mod rh {
    pub(crate) const OWNER: u32 = 0x4000_0001;
    pub(crate) const NULL: u32 = 0x4000_0007;
    pub(crate) const LOCKOUT: u32 = 0x4000_000a;
    pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;
    /// The handle of a password authorisation.
    pub(crate) const PW: u32 = 0x4000_0009;
}

/// Ranges of handles (TPM_HC): the owner's NV indices; loaded and saved sessions; transient objects; persistent ones, with the owner's part of them.
pub(crate) mod hc {
    pub(crate) const OWNER_NV_FIRST: u32 = 0x0180_0000;
    pub(crate) const OWNER_NV_LAST: u32 = 0x01bf_ffff;
    pub(crate) const LOADED_SESSION_FIRST: u32 = 0x0200_0000;
    pub(crate) const SAVED_SESSION_FIRST: u32 = 0x0300_0000;
    pub(crate) const TRANSIENT_FIRST: u32 = 0x8000_0000;
    pub(crate) const TRANSIENT_LAST: u32 = 0x80ff_ffff;
    pub(crate) const PERSISTENT_FIRST: u32 = 0x8100_0000;
    pub(crate) const OWNER_PERSISTENT_LAST: u32 = 0x817f_ffff;
    pub(crate) const PERSISTENT_LAST: u32 = 0x81ff_ffff;
}

/// TPMA_NV, and TPM_EO.
pub(crate) mod nv {
    pub(crate) const OWNER_WRITE: u32 = 1 << 1;
    /// TPM_NT_COUNTER, in its place.
    pub(crate) const COUNTER: u32 = 1 << 4;
    pub(crate) const OWNER_READ: u32 = 1 << 17;
    pub(crate) const AUTH_READ: u32 = 1 << 18;
    pub(crate) const NO_DA: u32 = 1 << 25;
    pub(crate) const WRITTEN: u32 = 1 << 29;
    pub(crate) const EO_UNSIGNED_LE: u16 = 0x0009;
}

/// TPM_CAP.
pub(crate) mod cap {
    pub(crate) const ALGS: u32 = 0;
    pub(crate) const HANDLES: u32 = 1;
    pub(crate) const COMMANDS: u32 = 2;
    pub(crate) const TPM_PROPERTIES: u32 = 6;
    pub(crate) const PCRS: u32 = 5;
    pub(crate) const ECC_CURVES: u32 = 8;
}

/// TPMA_SESSION.
pub(crate) mod session_attributes {
    pub(crate) const CONTINUE_SESSION: u8 = 0x01;
    pub(crate) const DECRYPT: u8 = 0x20;
    pub(crate) const ENCRYPT: u8 = 0x40;
    pub(crate) const AUDIT: u8 = 0x80;
}

/// TPM_SU_CLEAR.
pub(crate) const SU_CLEAR: u16 = 0x0000;
