//! Extending a PCR, as firmware and kernel do while a machine starts, or while a client works.

use crate::swtpm::SwTpm;
use crate::wire::{SESSIONS, command};

const PCR_EXTEND: u32 = 0x182;
const SHA256: [u8; 2] = [0, 0x0b];

/// The whole command that extends the SHA-256 bank of a PCR: for [`Fault::Precede`](crate::Fault::Precede).
pub fn pcr_extend(pcr: u8, digest: &[u8; 32]) -> Vec<u8> {
    // size 9: TPM_RS_PW, an empty nonce, no attributes, an empty HMAC; then one digest
    let authorisation = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
    command(SESSIONS, PCR_EXTEND, &[&u32::from(pcr).to_be_bytes(), &authorisation, &[0, 0, 0, 1], &SHA256, digest])
}

impl SwTpm {
    /// Extends the SHA-256 bank of a PCR over a short connection of its own: a client that keeps the TPM's only connection open
    /// makes this panic.
    pub fn extend_pcr(&self, pcr: u8, digest: &[u8; 32]) {
        let answer = self.connect().and_then(|mut tpm| tpm.transact(&pcr_extend(pcr, digest)));
        let answer = answer.expect("the TPM answers (does a client hold its only connection?)");
        assert_eq!(crate::wire::be32(&answer, 6), 0, "PCR_Extend refused");
    }
}
