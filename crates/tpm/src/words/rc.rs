//! Response codes (TPM 2.0 Part 2, 6.6).

use std::fmt;

/// A TPM_RC other than TPM_RC_SUCCESS.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u32);

/// What a format-one code blames: the n-th handle, parameter or session, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Handle(u32),
    Parameter(u32),
    Session(u32),
}

const RC_VER1: u32 = 0x100;
const RC_FMT1: u32 = 0x080;
const RC_WARN: u32 = 0x900;
const TPM_FAIL: u32 = 9;

/// The layers of tss2_common.h in which a resource manager answers in the TPM's place: the kernel's by 11, tpm2-abrmd by both.
const LAYER_SHIFT: u32 = 16;
const RESOURCE_MANAGER_LAYERS: [u32; 2] = [11, 12];

impl ResponseCode {
    /// The code of a response. What a resource manager says by a code of the TPM is what the TPM would have said; numbers below
    /// those are its own.
    pub(crate) fn received(word: u32) -> ResponseCode {
        let code = word & 0xffff;
        let stands_in = RESOURCE_MANAGER_LAYERS.contains(&(word >> LAYER_SHIFT)) && code >= RC_FMT1;
        ResponseCode(if stands_in { code } else { word })
    }

    pub(crate) const INITIALIZE: ResponseCode = ResponseCode(RC_VER1);
    pub(crate) const SEQUENCE: ResponseCode = ResponseCode(RC_VER1 + 0x03);
    pub(crate) const POLICY: ResponseCode = ResponseCode(RC_VER1 + 0x26);
    pub(crate) const SENSITIVE: ResponseCode = ResponseCode(RC_VER1 + 0x55);
    pub(crate) const NV_UNINITIALIZED: ResponseCode = ResponseCode(RC_VER1 + 0x4a);
    pub(crate) const FAILURE: ResponseCode = ResponseCode(RC_VER1 + 0x01);
    pub(crate) const COMMAND_CODE: ResponseCode = ResponseCode(RC_VER1 + 0x43);
    pub(crate) const NV_SPACE: ResponseCode = ResponseCode(RC_VER1 + 0x4b);
    pub(crate) const NV_DEFINED: ResponseCode = ResponseCode(RC_VER1 + 0x4c);
    pub(crate) const AUTH_UNAVAILABLE: ResponseCode = ResponseCode(RC_VER1 + 0x2f);
    pub(crate) const PCR_CHANGED: ResponseCode = ResponseCode(RC_VER1 + 0x28);

    pub(crate) const VALUE: ResponseCode = ResponseCode(RC_FMT1 + 0x04);
    pub(crate) const ASYMMETRIC: ResponseCode = ResponseCode(RC_FMT1 + 0x01);
    pub(crate) const ATTRIBUTES: ResponseCode = ResponseCode(RC_FMT1 + 0x02);
    pub(crate) const HASH: ResponseCode = ResponseCode(RC_FMT1 + 0x03);
    pub(crate) const KEY_SIZE: ResponseCode = ResponseCode(RC_FMT1 + 0x07);
    pub(crate) const MODE: ResponseCode = ResponseCode(RC_FMT1 + 0x09);
    pub(crate) const TYPE: ResponseCode = ResponseCode(RC_FMT1 + 0x0a);
    pub(crate) const HANDLE: ResponseCode = ResponseCode(RC_FMT1 + 0x0b);
    pub(crate) const KDF: ResponseCode = ResponseCode(RC_FMT1 + 0x0c);
    pub(crate) const RANGE: ResponseCode = ResponseCode(RC_FMT1 + 0x0d);
    pub(crate) const AUTH_FAIL: ResponseCode = ResponseCode(RC_FMT1 + 0x0e);
    pub(crate) const SCHEME: ResponseCode = ResponseCode(RC_FMT1 + 0x12);
    pub(crate) const SIZE: ResponseCode = ResponseCode(RC_FMT1 + 0x15);
    pub(crate) const SYMMETRIC: ResponseCode = ResponseCode(RC_FMT1 + 0x16);
    pub(crate) const SELECTOR: ResponseCode = ResponseCode(RC_FMT1 + 0x18);
    pub(crate) const INSUFFICIENT: ResponseCode = ResponseCode(RC_FMT1 + 0x1a);
    pub(crate) const KEY: ResponseCode = ResponseCode(RC_FMT1 + 0x1c);
    pub(crate) const POLICY_FAIL: ResponseCode = ResponseCode(RC_FMT1 + 0x1d);
    pub(crate) const INTEGRITY: ResponseCode = ResponseCode(RC_FMT1 + 0x1f);
    pub(crate) const TICKET: ResponseCode = ResponseCode(RC_FMT1 + 0x20);
    pub(crate) const RESERVED_BITS: ResponseCode = ResponseCode(RC_FMT1 + 0x21);
    pub(crate) const BAD_AUTH: ResponseCode = ResponseCode(RC_FMT1 + 0x22);
    pub(crate) const EXPIRED: ResponseCode = ResponseCode(RC_FMT1 + 0x23);
    pub(crate) const POLICY_CC: ResponseCode = ResponseCode(RC_FMT1 + 0x24);
    pub(crate) const BINDING: ResponseCode = ResponseCode(RC_FMT1 + 0x25);
    pub(crate) const CURVE: ResponseCode = ResponseCode(RC_FMT1 + 0x26);
    pub(crate) const ECC_POINT: ResponseCode = ResponseCode(RC_FMT1 + 0x27);

    pub(crate) const CONTEXT_GAP: ResponseCode = ResponseCode(RC_WARN + 0x01);
    pub(crate) const OBJECT_MEMORY: ResponseCode = ResponseCode(RC_WARN + 0x02);
    pub(crate) const SESSION_MEMORY: ResponseCode = ResponseCode(RC_WARN + 0x03);
    pub(crate) const MEMORY: ResponseCode = ResponseCode(RC_WARN + 0x04);
    pub(crate) const SESSION_HANDLES: ResponseCode = ResponseCode(RC_WARN + 0x05);
    pub(crate) const OBJECT_HANDLES: ResponseCode = ResponseCode(RC_WARN + 0x06);
    pub(crate) const YIELDED: ResponseCode = ResponseCode(RC_WARN + 0x08);
    pub(crate) const TESTING: ResponseCode = ResponseCode(RC_WARN + 0x0a);
    pub(crate) const NV_RATE: ResponseCode = ResponseCode(RC_WARN + 0x20);
    pub(crate) const LOCKOUT: ResponseCode = ResponseCode(RC_WARN + 0x21);
    pub(crate) const RETRY: ResponseCode = ResponseCode(RC_WARN + 0x22);
    pub(crate) const NV_UNAVAILABLE: ResponseCode = ResponseCode(RC_WARN + 0x23);

    /// Whether TPM2_Load refuses the object by it (Part 3, 12.2), and not the parent, the authorisation or the moment.
    pub(crate) fn refuses_object(self) -> bool {
        if self == ResponseCode::SENSITIVE {
            return true;
        }
        let about_handles = matches!(self.blame(), Some(Blame::Handle(_) | Blame::Session(_)));
        self.is_format_one() && !about_handles && OBJECT_REFUSED.contains(&self.base())
    }

    /// Whether it is `code`, and blames a parameter, or nothing.
    pub(crate) fn is_parameter_fault(self, code: ResponseCode) -> bool {
        self.base() == code && !matches!(self.blame(), Some(Blame::Handle(_) | Blame::Session(_)))
    }

    /// Whether it is about a handle, parameter or session of the command, and not about the TPM's own state (Part 2, 6.6).
    fn is_format_one(self) -> bool {
        self.0 & RC_FMT1 != 0
    }

    /// The code without what it blames: comparable with the constants.
    pub(crate) fn base(self) -> ResponseCode {
        if self.is_format_one() { ResponseCode(self.0 & 0x0bf) } else { self }
    }

    fn blame(self) -> Option<Blame> {
        if !self.is_format_one() {
            return None;
        }
        let number = (self.0 >> 8) & 0xf;
        match (self.0 & 0x040 != 0, number) {
            (_, 0) => None,
            (true, n) => Some(Blame::Parameter(n)),
            (false, n) if n < 8 => Some(Blame::Handle(n)),
            (false, n) => Some(Blame::Session(n - 8)),
        }
    }

    /// Whether this is `code`, blamed on the n-th handle.
    pub(crate) fn is_handle(self, code: ResponseCode, number: u32) -> bool {
        self.base() == code && self.blame() == Some(Blame::Handle(number))
    }

    /// Whether this is `code`, blamed on the n-th parameter.
    pub(crate) fn is_parameter(self, code: ResponseCode, number: u32) -> bool {
        self.base() == code && self.blame() == Some(Blame::Parameter(number))
    }

    /// A warning after which the same bytes may be sent again, later.
    pub(crate) fn is_retry(self) -> bool {
        matches!(
            self,
            ResponseCode::RETRY
                | ResponseCode::YIELDED
                | ResponseCode::TESTING
                | ResponseCode::NV_RATE
                | ResponseCode::NV_UNAVAILABLE
                | ResponseCode::CONTEXT_GAP
        )
    }

    pub(crate) fn is_object_memory(self) -> bool {
        matches!(self, ResponseCode::OBJECT_MEMORY | ResponseCode::OBJECT_HANDLES | ResponseCode::MEMORY)
    }

    pub(crate) fn is_session_memory(self) -> bool {
        matches!(self, ResponseCode::SESSION_MEMORY | ResponseCode::SESSION_HANDLES)
    }

    /// TPM_RC_REFERENCE_H0..H6, a handle that names nothing, or a session that is not what we take it for: what we held is gone.
    pub(crate) fn is_stale_reference(self) -> bool {
        (0x910..=0x91e).contains(&self.0) || self.base() == ResponseCode::HANDLE || self.blames_session()
    }

    /// Whether a session is to blame: TPM_RC_REFERENCE_S0..S6, or a handle, nonce or attribute in the authorisation area that the
    /// TPM does not take. Not that what it was to prove is not so.
    pub(crate) fn blames_session(self) -> bool {
        let about_authorization = [
            ResponseCode::AUTH_FAIL,
            ResponseCode::BAD_AUTH,
            ResponseCode::POLICY_FAIL,
            ResponseCode::POLICY_CC,
            ResponseCode::EXPIRED,
        ];
        (0x918..=0x91e).contains(&self.0)
            || (matches!(self.blame(), Some(Blame::Session(_))) && !about_authorization.contains(&self.base()))
    }

    fn name(self) -> Option<&'static str> {
        let base = self.base();
        if self.is_format_one() {
            return FORMAT_ONE.iter().find(|(code, _)| RC_FMT1 + code == base.0).map(|(_, name)| *name);
        }
        FORMAT_ZERO.iter().find(|(code, _)| *code == base.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            // Of TPM 1.2, and the answer of QEMU and others whose TPM they cannot reach.
            _ if self.0 == TPM_FAIL => write!(f, "TPM_FAIL: what emulates the TPM has lost it")?,
            Some(name) => write!(f, "TPM_RC_{name}")?,
            None => write!(f, "an unknown response code")?,
        }
        match self.blame() {
            Some(Blame::Handle(n)) => write!(f, ", handle {n}")?,
            Some(Blame::Parameter(n)) => write!(f, ", parameter {n}")?,
            Some(Blame::Session(n)) => write!(f, ", session {n}")?,
            None => {}
        }
        write!(f, " ({:#x})", self.0)
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a TPM says of an object that is not its own, or of a kind that it does not have.
const OBJECT_REFUSED: &[ResponseCode] = &[
    ResponseCode::ASYMMETRIC,
    ResponseCode::ATTRIBUTES,
    ResponseCode::BINDING,
    ResponseCode::CURVE,
    ResponseCode::ECC_POINT,
    ResponseCode::HASH,
    ResponseCode::INSUFFICIENT,
    ResponseCode::INTEGRITY,
    ResponseCode::KDF,
    ResponseCode::KEY,
    ResponseCode::KEY_SIZE,
    ResponseCode::MODE,
    ResponseCode::RANGE,
    ResponseCode::RESERVED_BITS,
    ResponseCode::SCHEME,
    ResponseCode::SELECTOR,
    ResponseCode::SIZE,
    ResponseCode::SYMMETRIC,
    ResponseCode::TYPE,
    ResponseCode::VALUE,
];

const FORMAT_ZERO: &[(u32, &str)] = &[
    (0x01e, "BAD_TAG"),
    (0x100, "INITIALIZE"),
    (0x101, "FAILURE"),
    (0x103, "SEQUENCE"),
    (0x10b, "PRIVATE"),
    (0x119, "HMAC"),
    (0x120, "DISABLED"),
    (0x121, "EXCLUSIVE"),
    (0x124, "AUTH_TYPE"),
    (0x125, "AUTH_MISSING"),
    (0x126, "POLICY"),
    (0x127, "PCR"),
    (0x128, "PCR_CHANGED"),
    (0x12d, "UPGRADE"),
    (0x12e, "TOO_MANY_CONTEXTS"),
    (0x12f, "AUTH_UNAVAILABLE"),
    (0x130, "REBOOT"),
    (0x131, "UNBALANCED"),
    (0x142, "COMMAND_SIZE"),
    (0x143, "COMMAND_CODE"),
    (0x144, "AUTHSIZE"),
    (0x145, "AUTH_CONTEXT"),
    (0x146, "NV_RANGE"),
    (0x147, "NV_SIZE"),
    (0x148, "NV_LOCKED"),
    (0x149, "NV_AUTHORIZATION"),
    (0x14a, "NV_UNINITIALIZED"),
    (0x14b, "NV_SPACE"),
    (0x14c, "NV_DEFINED"),
    (0x150, "BAD_CONTEXT"),
    (0x151, "CPHASH"),
    (0x152, "PARENT"),
    (0x153, "NEEDS_TEST"),
    (0x154, "NO_RESULT"),
    (0x155, "SENSITIVE"),
    (0x901, "CONTEXT_GAP"),
    (0x902, "OBJECT_MEMORY"),
    (0x903, "SESSION_MEMORY"),
    (0x904, "MEMORY"),
    (0x905, "SESSION_HANDLES"),
    (0x906, "OBJECT_HANDLES"),
    (0x907, "LOCALITY"),
    (0x908, "YIELDED"),
    (0x909, "CANCELED"),
    (0x90a, "TESTING"),
    (0x910, "REFERENCE_H0"),
    (0x911, "REFERENCE_H1"),
    (0x912, "REFERENCE_H2"),
    (0x913, "REFERENCE_H3"),
    (0x914, "REFERENCE_H4"),
    (0x915, "REFERENCE_H5"),
    (0x916, "REFERENCE_H6"),
    (0x918, "REFERENCE_S0"),
    (0x919, "REFERENCE_S1"),
    (0x91a, "REFERENCE_S2"),
    (0x91b, "REFERENCE_S3"),
    (0x91c, "REFERENCE_S4"),
    (0x91d, "REFERENCE_S5"),
    (0x91e, "REFERENCE_S6"),
    (0x920, "NV_RATE"),
    (0x921, "LOCKOUT"),
    (0x922, "RETRY"),
    (0x923, "NV_UNAVAILABLE"),
];

const FORMAT_ONE: &[(u32, &str)] = &[
    (0x01, "ASYMMETRIC"),
    (0x02, "ATTRIBUTES"),
    (0x03, "HASH"),
    (0x04, "VALUE"),
    (0x05, "HIERARCHY"),
    (0x07, "KEY_SIZE"),
    (0x08, "MGF"),
    (0x09, "MODE"),
    (0x0a, "TYPE"),
    (0x0b, "HANDLE"),
    (0x0c, "KDF"),
    (0x0d, "RANGE"),
    (0x0e, "AUTH_FAIL"),
    (0x0f, "NONCE"),
    (0x10, "PP"),
    (0x12, "SCHEME"),
    (0x15, "SIZE"),
    (0x16, "SYMMETRIC"),
    (0x17, "TAG"),
    (0x18, "SELECTOR"),
    (0x1a, "INSUFFICIENT"),
    (0x1b, "SIGNATURE"),
    (0x1c, "KEY"),
    (0x1d, "POLICY_FAIL"),
    (0x1f, "INTEGRITY"),
    (0x20, "TICKET"),
    (0x21, "RESERVED_BITS"),
    (0x22, "BAD_AUTH"),
    (0x23, "EXPIRED"),
    (0x24, "POLICY_CC"),
    (0x25, "BINDING"),
    (0x26, "CURVE"),
    (0x27, "ECC_POINT"),
    (0x28, "FW_LIMITED"),
    (0x29, "SVN_LIMITED"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_decoded_as_the_specification_prints_them() {
        assert_eq!(ResponseCode(0x2c4).to_string(), "TPM_RC_VALUE, parameter 2 (0x2c4)");
        assert_eq!(ResponseCode(0x98e).to_string(), "TPM_RC_AUTH_FAIL, session 1 (0x98e)");
        assert_eq!(ResponseCode(0x9a2).to_string(), "TPM_RC_BAD_AUTH, session 1 (0x9a2)");
        assert_eq!(ResponseCode(0x18b).to_string(), "TPM_RC_HANDLE, handle 1 (0x18b)");
        assert_eq!(ResponseCode(0x1df).to_string(), "TPM_RC_INTEGRITY, parameter 1 (0x1df)");
        assert_eq!(ResponseCode(0x921).to_string(), "TPM_RC_LOCKOUT (0x921)");
        assert_eq!(ResponseCode(0x12f).to_string(), "TPM_RC_AUTH_UNAVAILABLE (0x12f)");
        assert_eq!(ResponseCode(0xffff_0000).to_string(), "an unknown response code (0xffff0000)");
    }

    /// All codes of all formats, from the TPM and through each layer of a resource manager: the meaning is the same. What such a
    /// layer says by numbers of its own, and what other layers say, is left as it is.
    #[test]
    fn a_code_means_the_same_in_every_layer() {
        let format_zero = FORMAT_ZERO.iter().map(|(code, _)| *code).filter(|code| *code >= RC_VER1);
        let format_one = FORMAT_ONE.iter().flat_map(|(code, _)| {
            let code = RC_FMT1 + code;
            (0..16).flat_map(move |number| [code + (number << 8), code + 0x040 + (number << 8)])
        });
        for code in format_zero.chain(format_one) {
            let plain = ResponseCode::received(code);
            assert_eq!(plain, ResponseCode(code));
            for layer in [0xb_0000, 0xc_0000] {
                let layered = ResponseCode::received(layer + code);
                assert_eq!(layered, plain, "{:#x}", layer + code);
                assert_eq!(crate::Error::from(layered), crate::Error::from(plain));
                assert_eq!(layered.to_string(), plain.to_string());
            }
            for layer in [0x1_0000, 0x7_0000, 0xa_0000, 0xd_0000, 0x8000_0000] {
                assert_eq!(ResponseCode::received(layer + code), ResponseCode(layer + code));
            }
        }
        for own in [0xb_0001, 0xb_000b, 0xc_0017] {
            assert_eq!(ResponseCode::received(own), ResponseCode(own));
        }
        assert_eq!(ResponseCode::received(0xb_0143), ResponseCode::COMMAND_CODE);
        assert_eq!(ResponseCode(9).to_string(), "TPM_FAIL: what emulates the TPM has lost it (0x9)");
    }

    /// What is the session's fault, and what is that of what it was to prove.
    #[test]
    fn sessions_are_blamed_for_what_is_their_fault() {
        // REFERENCE_S0, S6; VALUE, HANDLE, ATTRIBUTES, NONCE, TYPE of session 1; VALUE of session 2
        for blamed in [0x918, 0x91e, 0x984, 0x98b, 0x982, 0x98f, 0x98a, 0xa84] {
            assert!(ResponseCode(blamed).blames_session(), "{blamed:#x}");
            assert!(ResponseCode(blamed).is_stale_reference(), "{blamed:#x}");
        }
        // AUTH_FAIL, BAD_AUTH, POLICY_FAIL, EXPIRED of session 1; VALUE of handle 1 and parameter 1; REFERENCE_H0; LOCKOUT
        for other in [0x98e, 0x9a2, 0x99d, 0x9a3, 0x184, 0x1c4, 0x910, 0x921] {
            assert!(!ResponseCode(other).blames_session(), "{other:#x}");
        }
    }

    #[test]
    fn codes_are_classified() {
        assert!(ResponseCode(0x18b).is_handle(ResponseCode::HANDLE, 1));
        assert!(!ResponseCode(0x28b).is_handle(ResponseCode::HANDLE, 1));
        assert!(ResponseCode(0x910).is_stale_reference());
        assert!(ResponseCode(0x918).is_stale_reference());
        assert!(!ResponseCode(0x922).is_stale_reference());
        assert!(ResponseCode(0x922).is_retry());
        assert_eq!(ResponseCode(0x1df).base(), ResponseCode::INTEGRITY);
        // SENSITIVE; SYMMETRIC, parameter 2; VALUE that blames nothing
        for refused in [0x155, 0x2d6, 0x84] {
            assert!(ResponseCode(refused).refuses_object(), "{refused:#x}");
        }
        // FAILURE; TYPE, handle 1; NONCE, session 1; VALUE, session 1; LOCKOUT; OBJECT_MEMORY; EXPIRED
        for other in [0x101, 0x18a, 0x98f, 0x984, 0x921, 0x902, 0xa3] {
            assert!(!ResponseCode(other).refuses_object(), "{other:#x}");
        }
    }
}
