//! Firmware of TPMs that is known to fail, and who reported it. Which firmware, and what is not asked of it; not how it is brought to fail.

use crate::{Error, Result};

/// Firmware with a known fault.
#[derive(Debug)]
pub struct KnownFault {
    manufacturer: &'static str,
    /// The vendor's version, the first word: major and minor.
    version: (u32, u32),
    /// What does not work on it.
    pub what: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// Where it was reported.
    pub source: &'static str,
}

const FAULTS: &[KnownFault] = &[KnownFault {
    manufacturer: "IFX",
    version: (7, 40),
    what: "this firmware (SLB 9670, 7.40) is known to fail, until the machine is restarted, on what gives the user a PIN by that of the \
           security officer with bus protection on, and on what wraps a key for another TPM: neither is asked of it",
    advice: "Update the firmware of the TPM; the user changes the PIN by `ptool changepin`, which is not concerned.",
    source: "https://github.com/tpm2-software/tpm2-tss/issues/1700 and https://github.com/tpm2-software/tpm2-tss/issues/1865",
}];

/// What is known to be wrong with a TPM's firmware.
#[must_use]
pub fn known_fault(capabilities: &tpm::Capabilities) -> Option<&'static KnownFault> {
    let version = (capabilities.firmware[0] >> 16, capabilities.firmware[0] & 0xffff);
    FAULTS.iter().find(|fault| fault.manufacturer == capabilities.manufacturer && fault.version == version)
}

/// Before something that no firmware with a known fault can stand.
///
/// # Errors
/// [`Error::DeviceError`] on such firmware.
pub fn spare(capabilities: &tpm::Capabilities) -> Result<()> {
    match known_fault(capabilities) {
        Some(fault) => Err(Error::DeviceError(format!("{} ({})", fault.what, fault.source))),
        None => Ok(()),
    }
}
