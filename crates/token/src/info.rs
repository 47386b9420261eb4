//! What the token says about itself.

use model::{ObjectHandle, SlotId};
use serde::Serialize;

/// Manufacturer of library, slots and tokens, at most 32 bytes. Clients identify a token by it: it never changes.
pub const MANUFACTURER: &str = "tpm2-cryptoki";
/// Description of the library, at most 32 bytes.
pub const LIBRARY_DESCRIPTION: &str = "PKCS#11 token in a TPM 2.0";
/// Version of the library: major, minor.
pub const LIBRARY_VERSION: (u8, u8) = (0, 1);
/// Shortest PIN that can be set, in bytes.
pub const MIN_PIN_LEN: u64 = 4;
/// Longest PIN, in bytes.
pub const MAX_PIN_LEN: u64 = 128;

/// `CK_SLOT_INFO`.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// At most 64 bytes.
    pub description: String,
    /// At most 32 bytes.
    pub manufacturer: String,
    /// A token, initialised or not, is in the slot.
    pub token_present: bool,
    /// Major and minor.
    pub hardware_version: (u8, u8),
    /// Major and minor.
    pub firmware_version: (u8, u8),
}

/// `CK_TOKEN_INFO`.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// At most 32 bytes.
    pub label: String,
    /// At most 32 bytes.
    pub manufacturer: String,
    /// The TPM's vendor string, at most 16 bytes.
    pub model: String,
    /// 16 hexadecimal digits, unique to the token.
    pub serial: String,
    /// `CKF_` bits.
    pub flags: u64,
    /// Most sessions that this process may have open.
    pub max_sessions: u64,
    /// Open sessions of this process.
    pub sessions: u64,
    /// Open read/write sessions of this process.
    pub rw_sessions: u64,
    /// In bytes.
    pub min_pin_len: u64,
    /// In bytes.
    pub max_pin_len: u64,
    /// Major and minor: the revision of the TPM's specification.
    pub hardware_version: (u8, u8),
    /// Major and minor.
    pub firmware_version: (u8, u8),
}

/// `CK_MECHANISM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MechanismInfo {
    /// In the mechanism's unit: bits for RSA, EC and the making of generic secrets, bytes for other secret keys; 0 for
    /// mechanisms without keys.
    pub min_key_size: u64,
    /// In the same unit.
    pub max_key_size: u64,
    /// `CKF_` bits.
    pub flags: u64,
}

/// `CK_SESSION_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The slot of the token.
    pub slot: SlotId,
    /// `CKS_`: who is logged in, and whether token objects may be written.
    pub state: u64,
    /// The session was opened with `CKF_RW_SESSION`.
    pub read_write: bool,
}

/// One answer of `C_GetAttributeValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// In the native encoding of the C interface.
    Value(Vec<u8>),
    /// The object has it and does not show it.
    Sensitive,
    /// The object does not have it.
    Unknown,
}

/// An object for a person's eyes.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectSummary {
    /// Its number in the store; also its handle.
    pub id: i64,
    /// Its label.
    pub label: Option<String>,
    /// `CKO_...`
    pub class: String,
    /// `CKK_...`
    pub key_type: Option<String>,
    /// `CKA_ID` in hexadecimal.
    pub cka_id: Option<String>,
    /// Size of the key in bits.
    pub bits: Option<u64>,
    /// Must the user log in to see it?
    pub private: bool,
    /// The persistent handle at which the TPM keeps a copy of the key.
    pub persistent: Option<u32>,
    /// Of a private or secret key in the TPM: can it be brought to a recovery key?
    pub backup: Option<bool>,
    /// What its policy demands before it is used, such as `sha256:0,7 + PIN`.
    pub policy: Option<String>,
}

impl ObjectSummary {
    /// The object's handle in every process.
    #[must_use]
    pub fn handle(&self) -> ObjectHandle {
        ObjectHandle(self.id.unsigned_abs())
    }
}
