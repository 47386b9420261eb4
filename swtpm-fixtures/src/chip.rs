//! Chips that can do less than a software TPM.

use std::time::Duration;

use crate::wire::{HEADER, NO_SESSIONS, SESSIONS, be32, put32, refusal};

/// `TPM_CC` of what is looked into.
mod cc {
    pub(super) const CREATE: u32 = 0x153;
    pub(super) const HMAC: u32 = 0x155;
    pub(super) const IMPORT: u32 = 0x156;
    pub(super) const RSA_DECRYPT: u32 = 0x159;
    pub(super) const SIGN: u32 = 0x15d;
    pub(super) const LOAD_EXTERNAL: u32 = 0x167;
    pub(super) const GET_CAPABILITY: u32 = 0x17a;
    pub(super) const TEST_PARMS: u32 = 0x18a;
    pub(super) const ENCRYPT_DECRYPT_2: u32 = 0x193;
}

/// `TPM_ALG_ID`.
mod alg {
    pub(super) const RSA: u16 = 0x01;
    pub(super) const SHA1: u16 = 0x04;
    pub(super) const NULL: u16 = 0x10;
}

/// `TPM_RC`.
mod rc {
    pub(super) const COMMAND_CODE: u32 = 0x143;
    pub(super) const HASH: u32 = 0x083;
    pub(super) const SCHEME: u32 = 0x092;
    /// Of the first parameter.
    pub(super) const ASYMMETRIC: u32 = 0x1c1;
    pub(super) const HASH_2: u32 = 0x2c3;
    pub(super) const SCHEME_2: u32 = 0x2d2;
    pub(super) const MODE_3: u32 = 0x3c9;
    pub(super) const VALUE_1: u32 = 0x1c4;
}

/// What a [`Proxy`](crate::Proxy) lets a TPM look like: less than it is. What is taken away is not told by `TPM2_GetCapability`, and what
/// asks for it is answered as chips do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    commands: Vec<u32>,
    algorithms: Vec<u16>,
    curves: Vec<u16>,
    no_raw_rsa: bool,
    no_sha1_signatures: bool,
    delay: Duration,
}

impl Chip {
    /// The TPM as it is.
    pub fn whole() -> Chip {
        Chip::default()
    }

    /// What libtpms' profile attributes `no-unpadded-encryption` and `no-sha1-signing` do, which `fips-host` has: RSA operations
    /// without a scheme are refused, and signatures of SHA-1 digests.
    pub fn fips_host() -> Chip {
        Chip { no_raw_rsa: true, no_sha1_signatures: true, ..Chip::default() }
    }

    /// Of the modes of operation, what the PC Client profile demands: cipher feedback.
    pub fn cfb_only() -> Chip {
        // CTR, OFB, CBC, ECB; CMAC
        Chip::whole().without_algorithms(&[0x40, 0x41, 0x42, 0x44, 0x3f])
    }

    /// Without `TPM2_TestParms`, as Google's Cr50 is.
    pub fn without_test_parms() -> Chip {
        Chip::whole().without_commands(&[cc::TEST_PARMS])
    }

    /// The same without commands (`TPM_CC`).
    pub fn without_commands(mut self, codes: &[u32]) -> Chip {
        self.commands.extend(codes);
        self
    }

    /// The same without algorithms (`TPM_ALG_ID`).
    pub fn without_algorithms(mut self, ids: &[u16]) -> Chip {
        self.algorithms.extend(ids);
        self
    }

    /// The same without curves (`TPM_ECC_CURVE`).
    pub fn without_curves(mut self, ids: &[u16]) -> Chip {
        self.curves.extend(ids);
        self
    }

    /// The same, slower by so much for each command.
    pub fn slow(self, delay: Duration) -> Chip {
        Chip { delay, ..self }
    }

    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// The answer to a command that this chip does not carry out.
    pub(crate) fn refuses(&self, command: &[u8]) -> Option<Vec<u8>> {
        let code = be32(command, 6);
        if self.commands.contains(&code) {
            return Some(refusal(rc::COMMAND_CODE));
        }
        self.reason(code, &Fields::of(command, code)?).map(refusal)
    }

    fn reason(&self, code: u32, fields: &Fields<'_>) -> Option<u32> {
        let without = |id: u16| self.algorithms.contains(&id);
        match code {
            cc::TEST_PARMS | cc::CREATE | cc::IMPORT | cc::LOAD_EXTERNAL => {
                self.refuses_area(fields.public_area(code)?)
            }
            // cipherText, inScheme
            cc::RSA_DECRYPT => {
                let scheme = fields.after_buffers(1).u16(0)?;
                let hash = fields.after_buffers(1).u16(2).filter(|_| scheme == OAEP);
                match scheme {
                    alg::NULL if self.no_raw_rsa => Some(rc::SCHEME),
                    scheme if without(scheme) => Some(rc::SCHEME_2),
                    _ => hash.filter(|hash| without(*hash)).map(|_| rc::HASH_2),
                }
            }
            // digest, inScheme
            cc::SIGN => {
                let scheme = fields.after_buffers(1);
                match (scheme.u16(0)?, scheme.u16(2)?) {
                    (id, _) if without(id) => Some(rc::SCHEME_2),
                    (_, hash) if without(hash) => Some(rc::HASH_2),
                    (_, alg::SHA1) if self.no_sha1_signatures => Some(rc::HASH),
                    _ => None,
                }
            }
            // buffer, hashAlg
            cc::HMAC => without(fields.after_buffers(1).u16(0)?).then_some(rc::HASH_2),
            // inData, decrypt, mode
            cc::ENCRYPT_DECRYPT_2 => without(fields.after_buffers(1).u16(1)?).then_some(rc::MODE_3),
            _ => None,
        }
    }

    /// Of a TPMT_PUBLIC or a TPMT_PUBLIC_PARMS, the type is looked at.
    fn refuses_area(&self, area: Cursor<'_>) -> Option<u32> {
        let kind = area.u16(0)?;
        let refusal = if kind == alg::RSA { rc::ASYMMETRIC } else { rc::VALUE_1 };
        self.algorithms.contains(&kind).then_some(refusal)
    }

    /// The answer to `command` as this chip gives it.
    pub(crate) fn alters(&self, command: &[u8], response: Vec<u8>) -> Vec<u8> {
        if be32(command, 6) != cc::GET_CAPABILITY || self.is_whole() {
            return response;
        }
        self.without_capabilities(response)
    }

    fn is_whole(&self) -> bool {
        self.commands.is_empty() && self.algorithms.is_empty() && self.curves.is_empty()
    }

    /// An answer of TPM2_GetCapability (TPM 2.0 Part 3, 30.2) without what is not there.
    fn without_capabilities(&self, response: Vec<u8>) -> Vec<u8> {
        const ALGORITHMS: u32 = 0;
        const COMMANDS: u32 = 2;
        const CURVES: u32 = 8;
        // With sessions the parameters stand elsewhere; nobody asks so.
        if be32(&response, 6) != 0 || response[..2] != NO_SESSIONS.to_be_bytes() || response.len() < 19 {
            return response;
        }
        let short = |entry: &[u8]| u16::from_be_bytes([entry[0], entry[1]]);
        let is_missing = |kind: u32, entry: &[u8]| match kind {
            ALGORITHMS => self.algorithms.contains(&short(entry)),
            COMMANDS => self.commands.contains(&(be32(entry, 0) & 0xffff)),
            _ => self.curves.contains(&short(entry)),
        };
        let kind = be32(&response, 11);
        let size = match kind {
            ALGORITHMS => 6,
            COMMANDS => 4,
            CURVES => 2,
            _ => return response,
        };
        let (head, entries) = response.split_at(19);
        let left: Vec<&[u8]> = entries.chunks_exact(size).filter(|entry| !is_missing(kind, entry)).collect();
        let mut out = head.to_vec();
        put32(&mut out, 15, u32::try_from(left.len()).expect("a short list"));
        out.extend(left.concat());
        let size = u32::try_from(out.len()).expect("a short response");
        put32(&mut out, 2, size);
        out
    }
}

/// `TPM_ALG_OAEP`.
const OAEP: u16 = 0x17;

/// The parameters of a command.
struct Fields<'a>(Cursor<'a>);

impl<'a> Fields<'a> {
    /// How many handles stand before them is known of the commands that are looked into.
    fn of(command: &'a [u8], code: u32) -> Option<Fields<'a>> {
        let handles = match code {
            cc::TEST_PARMS | cc::GET_CAPABILITY | cc::LOAD_EXTERNAL => 0,
            _ => 1,
        };
        let mut at = HEADER + 4 * handles;
        if command.get(..2)? == SESSIONS.to_be_bytes() {
            at += 4 + usize::try_from(be32(command.get(at..at + 4)?, 0)).ok()?;
        }
        command.get(at..).map(|rest| Fields(Cursor(rest)))
    }

    /// What follows so many TPM2Bs.
    fn after_buffers(&self, count: usize) -> Cursor<'a> {
        (0..count).fold(self.0, |cursor, _| cursor.after_buffer())
    }

    /// The TPMT_PUBLIC of a command; of TestParms the TPMT_PUBLIC_PARMS, which begins alike.
    fn public_area(&self, code: u32) -> Option<Cursor<'a>> {
        match code {
            cc::TEST_PARMS => Some(self.0),
            // inSensitive or inPrivate or encryptionKey, and the length of inPublic
            _ => self.after_buffers(1).0.get(2..).map(Cursor),
        }
    }
}

#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn u16(self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn after_buffer(self) -> Cursor<'a> {
        let len = self.u16(0).map_or(0, |len| usize::from(len) + 2);
        Cursor(self.0.get(len..).unwrap_or_default())
    }
}
