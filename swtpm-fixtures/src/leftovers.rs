//! What a TPM still holds when its clients should have given everything back.

use crate::swtpm::SwTpm;
use crate::wire::be32;

/// Handles that are in use in a TPM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Loaded transient objects.
    pub transient: Vec<u32>,
    /// Sessions that occupy a session slot.
    pub loaded_sessions: Vec<u32>,
    /// Sessions whose context is saved outside the TPM, but which the TPM still counts.
    pub saved_sessions: Vec<u32>,
    /// Persistent objects.
    pub persistent: Vec<u32>,
}

impl Leftovers {
    /// Whether the TPM holds nothing that a power cycle would remove.
    pub fn is_clean(&self) -> bool {
        self.transient.is_empty() && self.loaded_sessions.is_empty() && self.saved_sessions.is_empty()
    }
}

/// Asks a TPM what it holds, over a short connection of its own: who keeps the TPM's only connection open for more than 20
/// seconds makes this panic.
pub fn leftovers(tpm: &SwTpm) -> Leftovers {
    let mut connection = tpm.connect().expect("a connection to the TPM");
    // Handle ranges, TPM 2.0 Part 2, 7.4: as a property, 0x02 is loaded sessions and 0x03 is saved sessions.
    let mut handles = |first: u32| {
        let mut question = Vec::new();
        for word in [1, first, 254] {
            question.extend_from_slice(&u32::to_be_bytes(word));
        }
        let (rc, answer) =
            connection.command(0x17a, &question).expect("the TPM answers (does a client hold its only connection?)");
        assert_eq!(rc, 0, "GetCapability of handles: {rc:#x}");
        // moreData, capability, count, handles
        let count = be32(&answer, 5) as usize;
        (0..count).map(|i| be32(&answer, 9 + 4 * i)).collect()
    };
    Leftovers {
        transient: handles(0x8000_0000),
        loaded_sessions: handles(0x0200_0000),
        saved_sessions: handles(0x0300_0000),
        persistent: handles(0x8100_0000),
    }
}
