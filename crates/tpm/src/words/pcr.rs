//! Selections of platform configuration registers.

use std::fmt;

use base::digest::Hash;
use serde::{Deserialize, Serialize};

/// PCRs of one bank, at least one. As text: `sha256:0,2,7`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PcrSelection {
    bank: Hash,
    /// Bit n is PCR n.
    bits: u32,
}

impl PcrSelection {
    /// How many PCRs a PC has (PC Client Platform TPM Profile, 4.6): 0 to 23.
    pub const PCRS: u8 = 24;

    /// With bit n for PCR n: at least one, none above 23, of a bank that a TPM can have.
    pub(crate) fn of_bits(bank: Hash, bits: u32) -> PcrSelection {
        PcrSelection { bank, bits }
    }

    /// Bit n is PCR n.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// The hash of the bank.
    pub fn bank(&self) -> Hash {
        self.bank
    }

    /// The numbers, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u8> + use<> {
        let bits = self.bits;
        (0..PcrSelection::PCRS).filter(move |pcr| bits >> pcr & 1 == 1)
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", bank_name(self.bank))?;
        write_list(f, self.indices())
    }
}

impl fmt::Debug for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Numbers with commas between them.
pub(crate) fn write_list(f: &mut fmt::Formatter<'_>, pcrs: impl IntoIterator<Item = u8>) -> fmt::Result {
    for (index, pcr) in pcrs.into_iter().enumerate() {
        write!(f, "{}{pcr}", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

/// The name of a bank, as tpm2-tools and systemd write it.
pub(crate) fn bank_name(bank: Hash) -> &'static str {
    match bank {
        Hash::Sha1 => "sha1",
        Hash::Sha256 => "sha256",
        Hash::Sha384 => "sha384",
        Hash::Sha512 => "sha512",
        Hash::Sha224 | Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => bank.name(),
    }
}
