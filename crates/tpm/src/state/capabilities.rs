//! What the TPM says of itself (TPM 2.0 Part 3, 30.2).

use std::collections::BTreeMap;

use base::curve::Curve;
use base::digest::Hash;
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::error::Result;
use crate::wire::Reader;
use crate::wire::constants::cap;
use crate::wire::hash::hash_alg;
use crate::wire::public::curve_id;

/// TPM_PT.
mod pt {
    pub(super) const FIXED: u32 = 0x100;
    pub(super) const REVISION: u32 = 0x102;
    pub(super) const MANUFACTURER: u32 = 0x105;
    pub(super) const VENDOR_STRING_1: u32 = 0x106;
    pub(super) const VENDOR_STRING_4: u32 = 0x109;
    pub(super) const FIRMWARE_VERSION_1: u32 = 0x10b;
    pub(super) const FIRMWARE_VERSION_2: u32 = 0x10c;
    pub(super) const INPUT_BUFFER: u32 = 0x10d;
    pub(super) const HR_TRANSIENT_MIN: u32 = 0x10e;
    pub(super) const HR_LOADED_MIN: u32 = 0x110;
    pub(super) const ACTIVE_SESSIONS_MAX: u32 = 0x111;
    pub(super) const MAX_COMMAND_SIZE: u32 = 0x11e;
    pub(super) const MAX_DIGEST: u32 = 0x120;
    pub(super) const VAR: u32 = 0x200;
    pub(super) const PERMANENT: u32 = 0x200;
    pub(super) const LOCKOUT_COUNTER: u32 = 0x20e;
    pub(super) const MAX_AUTH_FAIL: u32 = 0x20f;
    pub(super) const LOCKOUT_INTERVAL: u32 = 0x210;
    pub(super) const LOCKOUT_RECOVERY: u32 = 0x211;
}

/// TPMA_PERMANENT.
mod permanent {
    pub(super) const OWNER_AUTH_SET: u32 = 1;
    pub(super) const LOCKOUT_AUTH_SET: u32 = 1 << 2;
    pub(super) const IN_LOCKOUT: u32 = 1 << 9;
}
/// TPMA_CC.commandIndex with the vendor bit.
const COMMAND_MASK: u32 = 0x2000_ffff;

/// What a TPM can do: fixed until its firmware changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The registered four letters, such as "IBM" or "INTC".
    pub manufacturer: String,
    /// The vendor's own name for it, printable.
    pub vendor: String,
    /// The vendor's firmware version, two words.
    pub firmware: [u32; 2],
    /// Revision of the specification, times 100, such as 164.
    pub revision: u32,
    /// TPM_ALG_IDs.
    pub algorithms: Vec<u16>,
    /// TPM_CCs.
    pub commands: Vec<u32>,
    /// TPM_ECC_CURVEs.
    pub curves: Vec<u16>,
    /// Bytes of the longest digest.
    pub max_digest: u32,
    /// Bytes of the largest parameter buffer (TPM2B_MAX_BUFFER).
    pub input_buffer: u32,
    /// Bytes of the longest command.
    pub max_command: u32,
    /// Transient objects that can be loaded at once, at least.
    pub transient_min: u32,
    /// Sessions that can be loaded at once, at least.
    pub loaded_sessions_min: u32,
    /// Sessions, loaded or saved, at most.
    pub active_sessions_max: u32,
}

impl Capabilities {
    /// Whether the TPM has an algorithm (TPM_ALG_ID).
    pub fn has_algorithm(&self, id: u16) -> bool {
        self.algorithms.contains(&id)
    }

    /// Whether the TPM has a hash.
    pub fn has_hash(&self, hash: Hash) -> bool {
        hash_alg(hash).is_ok_and(|id| self.has_algorithm(id))
    }

    /// Whether the TPM has a curve.
    pub fn has_curve(&self, curve: Curve) -> bool {
        self.curves.contains(&curve_id(curve))
    }

    /// Whether the TPM has a command (TPM_CC).
    pub fn has_command(&self, code: u32) -> bool {
        self.commands.contains(&code)
    }
}

/// The state of the dictionary-attack protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Failed authorisations that count.
    pub counter: u32,
    /// How many lock the TPM.
    pub max_tries: u32,
    /// After how many seconds one is forgotten.
    pub recovery_seconds: u32,
    /// Whether the lockout authorisation itself is locked, or the counter is at its end.
    pub in_lockout: bool,
    /// For how many seconds the TPM takes no lockout authorisation after a wrong one; 0: until it is restarted.
    pub lockout_recovery_seconds: u32,
    /// Whether the lockout hierarchy has an authorisation value; without one everybody may reset a lockout.
    pub lockout_auth_set: bool,
    /// Whether the owner hierarchy has an authorisation value.
    pub owner_auth_set: bool,
}

/// Four commands, where each list fits one response.
pub(crate) fn capabilities(connection: &mut Connection) -> Result<Capabilities> {
    let properties = properties(connection, pt::FIXED)?;
    let word = |property| properties.get(&property).copied().unwrap_or_default();
    let algorithms = connection.capability_list(cap::ALGS, 0, |reader| {
        let id = reader.u16()?;
        reader.u32()?;
        Ok((id.into(), id))
    })?;
    let commands = connection.capability_list(cap::COMMANDS, 0, |reader| {
        let code = reader.u32()? & COMMAND_MASK;
        Ok((code, code))
    })?;
    let curves = connection.capability_list(cap::ECC_CURVES, 0, |reader| {
        let curve = reader.u16()?;
        Ok((curve.into(), curve))
    })?;
    Ok(Capabilities {
        manufacturer: text([word(pt::MANUFACTURER)]),
        vendor: text((pt::VENDOR_STRING_1..=pt::VENDOR_STRING_4).map(word)),
        firmware: [word(pt::FIRMWARE_VERSION_1), word(pt::FIRMWARE_VERSION_2)],
        revision: word(pt::REVISION),
        algorithms,
        commands,
        curves,
        max_digest: word(pt::MAX_DIGEST),
        input_buffer: word(pt::INPUT_BUFFER),
        max_command: word(pt::MAX_COMMAND_SIZE),
        transient_min: word(pt::HR_TRANSIENT_MIN),
        loaded_sessions_min: word(pt::HR_LOADED_MIN),
        active_sessions_max: word(pt::ACTIVE_SESSIONS_MAX),
    })
}

/// One command.
pub(crate) fn lockout(connection: &mut Connection) -> Result<Lockout> {
    let properties = properties(connection, pt::VAR)?;
    let word = |property| properties.get(&property).copied().unwrap_or_default();
    let (counter, max_tries) = (word(pt::LOCKOUT_COUNTER), word(pt::MAX_AUTH_FAIL));
    let permanent = word(pt::PERMANENT);
    Ok(Lockout {
        counter,
        max_tries,
        recovery_seconds: word(pt::LOCKOUT_INTERVAL),
        in_lockout: permanent & permanent::IN_LOCKOUT != 0 || (max_tries != 0 && counter >= max_tries),
        lockout_recovery_seconds: word(pt::LOCKOUT_RECOVERY),
        lockout_auth_set: permanent & permanent::LOCKOUT_AUTH_SET != 0,
        owner_auth_set: permanent & permanent::OWNER_AUTH_SET != 0,
    })
}

fn properties(connection: &mut Connection, first: u32) -> Result<BTreeMap<u32, u32>> {
    let list = connection.capability_list(cap::TPM_PROPERTIES, first, |reader: &mut Reader<'_>| {
        let property = reader.u32()?;
        Ok((property, (property, reader.u32()?)))
    })?;
    Ok(list.into_iter().collect())
}

/// The printable characters packed into words.
fn text(words: impl IntoIterator<Item = u32>) -> String {
    let bytes = words.into_iter().flat_map(u32::to_be_bytes);
    let printable: String = bytes.filter(|byte| (b' '..=b'~').contains(byte)).map(char::from).collect();
    printable.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_text_is_cleaned() {
        assert_eq!(text([0x4942_4d00]), "IBM");
        assert_eq!(text([0x5357_2020, 0x2054_504d, 0, 0xff0a_2020]), "SW   TPM");
    }
}
