//! Selections of platform configuration registers, as they are read, written and marshalled.

use std::collections::BTreeMap;
use std::str::FromStr;

use base::digest::Hash;

use crate::error::{Error, Result};
use crate::wire::constants::alg;
use crate::wire::hash::hash_alg;
use crate::wire::public::NAME_HASH;
pub use crate::words::PcrSelection;
use crate::words::bank_name;

/// Bytes of a selection of 24 PCRs.
const SELECT_LEN: usize = 3;

/// Values of PCRs, by number.
pub type PcrValues = BTreeMap<u8, Vec<u8>>;

impl PcrSelection {
    /// The PCRs with these numbers, in any order.
    ///
    /// # Errors
    /// A bank that no TPM has, no PCR at all, or a number above 23.
    pub fn new(bank: Hash, pcrs: impl IntoIterator<Item = u8>) -> Result<PcrSelection> {
        hash_alg(bank)?;
        let mut bits = 0;
        for pcr in pcrs {
            if pcr >= PcrSelection::PCRS {
                return Err(Error::Invalid("the PCRs are numbered from 0 to 23"));
            }
            bits |= 1 << pcr;
        }
        if bits == 0 {
            return Err(Error::Invalid("no PCR is selected"));
        }
        Ok(PcrSelection::of_bits(bank, bits))
    }

    /// All PCRs of a bank.
    ///
    /// # Errors
    /// A bank that no TPM has.
    pub fn all(bank: Hash) -> Result<PcrSelection> {
        PcrSelection::new(bank, 0..PcrSelection::PCRS)
    }

    /// The digest that PolicyPCR compares: SHA-256 over the values, one after the other (Part 3, 23.7).
    ///
    /// # Errors
    /// A value is missing, or does not have the length of the bank's digests.
    pub fn digest_of(&self, values: &PcrValues) -> Result<Vec<u8>> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for pcr in self.indices() {
            let value = values.get(&pcr).ok_or(Error::Invalid("the value of a selected PCR is missing"))?;
            if value.len() != self.bank().len() {
                return Err(Error::Invalid("the value of a PCR does not have the length of its bank"));
            }
            parts.push(value);
        }
        Ok(NAME_HASH.digest(&parts))
    }

    /// The TPML_PCR_SELECTION with this one element.
    pub(crate) fn marshal(&self) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1];
        bytes.extend(self.marshal_one());
        bytes
    }

    /// The TPMS_PCR_SELECTION.
    pub(crate) fn marshal_one(&self) -> Vec<u8> {
        // The bank was looked up when the selection was made.
        let mut bytes = hash_alg(self.bank()).unwrap_or(alg::NULL).to_be_bytes().to_vec();
        bytes.push(SELECT_LEN as u8);
        bytes.extend_from_slice(self.bits().to_le_bytes().get(..SELECT_LEN).unwrap_or_default());
        bytes
    }
}

impl FromStr for PcrSelection {
    type Err = Error;

    fn from_str(text: &str) -> Result<PcrSelection> {
        let wrong = Error::Invalid("PCRs are selected as in sha256:0,2,7");
        let (bank, list) = text.split_once(':').ok_or(wrong.clone())?;
        let bank = bank_of(bank).ok_or(wrong.clone())?;
        let mut pcrs = Vec::new();
        for number in list.split(',') {
            // A number is parsed more freely than it is written, with a sign for instance.
            let plain = !number.is_empty() && number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit());
            pcrs.push(number.parse().ok().filter(|_| plain).ok_or(wrong.clone())?);
        }
        PcrSelection::new(bank, pcrs)
    }
}

impl TryFrom<String> for PcrSelection {
    type Error = Error;

    fn try_from(text: String) -> Result<PcrSelection> {
        text.parse()
    }
}

impl From<PcrSelection> for String {
    fn from(selection: PcrSelection) -> String {
        selection.to_string()
    }
}

fn bank_of(name: &str) -> Option<Hash> {
    [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|bank| bank_name(*bank) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_read_as_they_are_written() {
        for text in ["sha256:0", "sha1:0,2,7", "sha384:23", "sha512:0,1,2,3,4,5,6,7,8,9,10,11,16,23"] {
            assert_eq!(text.parse::<PcrSelection>().unwrap().to_string(), text);
        }
        assert_eq!("sha256:7,0,07".parse::<PcrSelection>().unwrap().to_string(), "sha256:0,7");
        for wrong in
            ["", "sha256", "sha256:", "sha256:24", "sha256:1,", "sha256:+1", "sha256:1 ", "md5:1", "sha256:256", ":1"]
        {
            assert!(wrong.parse::<PcrSelection>().is_err(), "{wrong}");
        }
        assert!(PcrSelection::new(Hash::Sha3_256, [1]).is_err());
        assert!(PcrSelection::new(Hash::Sha256, []).is_err());
    }

    #[test]
    fn a_selection_has_the_lowest_pcr_in_the_lowest_bit_of_its_first_byte() {
        let selection: PcrSelection = "sha256:0,2,7,8,23".parse().unwrap();
        assert_eq!(selection.marshal(), [0, 0, 0, 1, 0, 0x0b, 3, 0x85, 0x01, 0x80]);
        assert_eq!(selection.indices().collect::<Vec<u8>>(), [0, 2, 7, 8, 23]);
    }

    #[test]
    fn values_must_be_there_and_of_their_length() {
        let selection: PcrSelection = "sha256:1,3".parse().unwrap();
        let mut values = PcrValues::from([(1, vec![1; 32]), (2, vec![2; 32])]);
        assert!(selection.digest_of(&values).is_err());
        values.insert(3, vec![3; 20]);
        assert!(selection.digest_of(&values).is_err());
        values.insert(3, vec![3; 32]);
        let expected = Hash::Sha256.digest(&[&[1; 32], &[3; 32]]);
        assert_eq!(selection.digest_of(&values).unwrap(), expected);
    }
}
