//! What a TPM was asked: a list of commands, and their names.

use std::fmt;

/// The `rc` and `response_size` side of a command that got no (whole) answer: the response code no TPM gives.
pub const NO_RESPONSE: u32 = u32::MAX;

/// One command that a client sent, and what it got for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The command code (`TPM_CC`).
    pub code: u32,
    /// Its name without `TPM2_`, `"?"` when it has none.
    pub name: &'static str,
    /// The response code that the client saw; [`NO_RESPONSE`] when it saw none.
    pub rc: u32,
    /// Bytes of the command.
    pub size: usize,
    /// Bytes of the response that were sent to the client.
    pub response_size: usize,
}

/// Commands in the order in which their responses were given.
///
/// Displayed as names in order, each failed one with its code: `StartAuthSession Load(0x1df) FlushContext`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands(pub Vec<Command>);

impl Commands {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|command| command.name).collect()
    }

    /// How many have this name.
    pub fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|command| command.name == name).count()
    }

    /// The commands that did not succeed.
    pub fn failed(&self) -> Vec<&Command> {
        self.0.iter().filter(|command| command.rc != 0).collect()
    }

    /// Name and number of times of each command that was asked, most frequent first.
    pub fn histogram(&self) -> Vec<(&'static str, usize)> {
        let mut histogram: Vec<(&'static str, usize)> = Vec::new();
        for name in self.names() {
            match histogram.iter_mut().find(|(known, _)| *known == name) {
                Some((_, times)) => *times += 1,
                None => histogram.push((name, 1)),
            }
        }
        histogram.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        histogram
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, command) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            match command.rc {
                0 => f.write_str(command.name)?,
                NO_RESPONSE => write!(f, "{}(no response)", command.name)?,
                rc => write!(f, "{}({rc:#x})", command.name)?,
            }
        }
        Ok(())
    }
}

/// The name of a command code (TPM 2.0 Part 2, 6.5.2) without `TPM2_`, `"?"` when it has none.
pub fn command_name(code: u32) -> &'static str {
    COMMANDS.iter().find(|(known, ..)| *known == code).map_or("?", |(_, name, _)| name)
}

/// The command code of a name without `TPM2_`, in any case.
pub fn command_code(name: &str) -> Option<u32> {
    COMMANDS.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(code, ..)| *code)
}

/// How many handles stand in a command's handle area. Those of `ContextSave` and `FlushContext`, which the
/// specification calls parameters, stand in the same place.
pub(crate) fn handles_in(code: u32) -> usize {
    COMMANDS.iter().find(|(known, ..)| *known == code).map_or(0, |(_, _, handles)| *handles)
}

/// Whether the response to a command begins with a handle.
pub(crate) fn returns_handle(code: u32) -> bool {
    const MAKERS: [&str; 8] = [
        "CreatePrimary",
        "Load",
        "HMAC_Start",
        "ContextLoad",
        "LoadExternal",
        "StartAuthSession",
        "HashSequenceStart",
        "CreateLoaded",
    ];
    MAKERS.contains(&command_name(code))
}

/// Code, name, handles in the handle area (TPM 2.0 Part 3).
const COMMANDS: &[(u32, &str, usize)] = &[
    (0x11f, "NV_UndefineSpaceSpecial", 2),
    (0x120, "EvictControl", 2),
    (0x121, "HierarchyControl", 1),
    (0x122, "NV_UndefineSpace", 2),
    (0x124, "ChangeEPS", 1),
    (0x125, "ChangePPS", 1),
    (0x126, "Clear", 1),
    (0x127, "ClearControl", 1),
    (0x128, "ClockSet", 1),
    (0x129, "HierarchyChangeAuth", 1),
    (0x12a, "NV_DefineSpace", 1),
    (0x12b, "PCR_Allocate", 1),
    (0x12c, "PCR_SetAuthPolicy", 1),
    (0x12d, "PP_Commands", 1),
    (0x12e, "SetPrimaryPolicy", 1),
    (0x12f, "FieldUpgradeStart", 2),
    (0x130, "ClockRateAdjust", 1),
    (0x131, "CreatePrimary", 1),
    (0x132, "NV_GlobalWriteLock", 1),
    (0x133, "GetCommandAuditDigest", 2),
    (0x134, "NV_Increment", 2),
    (0x135, "NV_SetBits", 2),
    (0x136, "NV_Extend", 2),
    (0x137, "NV_Write", 2),
    (0x138, "NV_WriteLock", 2),
    (0x139, "DictionaryAttackLockReset", 1),
    (0x13a, "DictionaryAttackParameters", 1),
    (0x13b, "NV_ChangeAuth", 1),
    (0x13c, "PCR_Event", 1),
    (0x13d, "PCR_Reset", 1),
    (0x13e, "SequenceComplete", 1),
    (0x13f, "SetAlgorithmSet", 1),
    (0x140, "SetCommandCodeAuditStatus", 1),
    (0x141, "FieldUpgradeData", 0),
    (0x142, "IncrementalSelfTest", 0),
    (0x143, "SelfTest", 0),
    (0x144, "Startup", 0),
    (0x145, "Shutdown", 0),
    (0x146, "StirRandom", 0),
    (0x147, "ActivateCredential", 2),
    (0x148, "Certify", 2),
    (0x149, "PolicyNV", 3),
    (0x14a, "CertifyCreation", 2),
    (0x14b, "Duplicate", 2),
    (0x14c, "GetTime", 2),
    (0x14d, "GetSessionAuditDigest", 3),
    (0x14e, "NV_Read", 2),
    (0x14f, "NV_ReadLock", 2),
    (0x150, "ObjectChangeAuth", 2),
    (0x151, "PolicySecret", 2),
    (0x152, "Rewrap", 2),
    (0x153, "Create", 1),
    (0x154, "ECDH_ZGen", 1),
    (0x155, "HMAC", 1),
    (0x156, "Import", 1),
    (0x157, "Load", 1),
    (0x158, "Quote", 1),
    (0x159, "RSA_Decrypt", 1),
    (0x15b, "HMAC_Start", 1),
    (0x15c, "SequenceUpdate", 1),
    (0x15d, "Sign", 1),
    (0x15e, "Unseal", 1),
    (0x160, "PolicySigned", 2),
    (0x161, "ContextLoad", 0),
    (0x162, "ContextSave", 1),
    (0x163, "ECDH_KeyGen", 1),
    (0x164, "EncryptDecrypt", 1),
    (0x165, "FlushContext", 1),
    (0x167, "LoadExternal", 0),
    (0x168, "MakeCredential", 1),
    (0x169, "NV_ReadPublic", 1),
    (0x16a, "PolicyAuthorize", 1),
    (0x16b, "PolicyAuthValue", 1),
    (0x16c, "PolicyCommandCode", 1),
    (0x16d, "PolicyCounterTimer", 1),
    (0x16e, "PolicyCpHash", 1),
    (0x16f, "PolicyLocality", 1),
    (0x170, "PolicyNameHash", 1),
    (0x171, "PolicyOR", 1),
    (0x172, "PolicyTicket", 1),
    (0x173, "ReadPublic", 1),
    (0x174, "RSA_Encrypt", 1),
    (0x176, "StartAuthSession", 2),
    (0x177, "VerifySignature", 1),
    (0x178, "ECC_Parameters", 0),
    (0x179, "FirmwareRead", 0),
    (0x17a, "GetCapability", 0),
    (0x17b, "GetRandom", 0),
    (0x17c, "GetTestResult", 0),
    (0x17d, "Hash", 0),
    (0x17e, "PCR_Read", 0),
    (0x17f, "PolicyPCR", 1),
    (0x180, "PolicyRestart", 1),
    (0x181, "ReadClock", 0),
    (0x182, "PCR_Extend", 1),
    (0x183, "PCR_SetAuthValue", 1),
    (0x184, "NV_Certify", 3),
    (0x185, "EventSequenceComplete", 2),
    (0x186, "HashSequenceStart", 0),
    (0x187, "PolicyPhysicalPresence", 1),
    (0x188, "PolicyDuplicationSelect", 1),
    (0x189, "PolicyGetDigest", 1),
    (0x18a, "TestParms", 0),
    (0x18b, "Commit", 1),
    (0x18c, "PolicyPassword", 1),
    (0x18d, "ZGen_2Phase", 1),
    (0x18e, "EC_Ephemeral", 0),
    (0x18f, "PolicyNvWritten", 1),
    (0x190, "PolicyTemplate", 1),
    (0x191, "CreateLoaded", 1),
    (0x192, "PolicyAuthorizeNV", 3),
    (0x193, "EncryptDecrypt2", 1),
    (0x197, "CertifyX509", 2),
    (0x198, "ACT_SetTimeout", 1),
    (0x199, "ECC_Encrypt", 1),
    (0x19a, "ECC_Decrypt", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SwTpm;
    use crate::wire::be32;

    /// What the TPM says of each of its commands (`TPMA_CC`, TPM 2.0 Part 2, 8.9) is what is assumed here.
    #[test]
    fn handle_areas_are_those_of_the_tpm() {
        let tpm = SwTpm::start();
        // TPM_CAP_COMMANDS, from the first, all
        let question = [0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0];
        let (rc, answer) = tpm.connect().unwrap().command(0x17a, &question).unwrap();
        assert_eq!((rc, answer[0]), (0, 0));
        let count = be32(&answer, 5) as usize;
        assert!(count > 90);
        for i in 0..count {
            let attributes = be32(&answer, 9 + 4 * i);
            let code = attributes & 0xffff;
            let name = command_name(code);
            assert_ne!(name, "?", "{code:#x}");
            let handles = match code {
                // ContextSave and FlushContext
                0x162 | 0x165 => 1,
                _ => (attributes >> 25 & 7) as usize,
            };
            assert_eq!(handles_in(code), handles, "{name} {code:#x}");
            assert_eq!(returns_handle(code), attributes >> 28 & 1 == 1, "{name} {code:#x}");
        }
    }

    #[test]
    fn names_and_codes_are_the_same_thing() {
        assert_eq!(command_name(0x157), "Load");
        assert_eq!(command_code("load"), Some(0x157));
        assert_eq!(command_name(1), "?");
        assert_eq!(command_code("?"), None);
    }
}
