//! Reading PCRs (TPM 2.0 Part 3, 22.4), and which there are.

use base::digest::Hash;

use crate::connection::primary::Primary;
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::wire::constants::{cap, cc};
use crate::wire::hash::{hash_alg, hash_from_alg};
use crate::wire::pcr::{PcrSelection, PcrValues};
use crate::wire::{Reader, Writer};

/// So often the reading starts anew because a PCR was extended meanwhile.
const MOST_SNAPSHOTS: usize = 8;
/// Bytes of a selection: far more than any TPM has PCRs for.
const MOST_SELECT: usize = 32;

/// The values, all of one moment. A command for each eight of them. Good for a try whose outcome the TPM decides: nobody proves that
/// they are the TPM's.
pub(crate) fn read(connection: &mut Connection, selection: &PcrSelection) -> Result<PcrValues> {
    read_in(connection, selection, &mut Protection::none())
}

/// The same, proved by the TPM that has the primary. StartAuthSession and FlushContext more, where no session is held.
pub(crate) fn read_proved(
    connection: &mut Connection,
    selection: &PcrSelection,
    primary: &Primary,
) -> Result<PcrValues> {
    connection.proving(Some(primary), |connection, protection| read_in(connection, selection, protection))
}

fn read_in(connection: &mut Connection, selection: &PcrSelection, protection: &mut Protection) -> Result<PcrValues> {
    for _ in 0..MOST_SNAPSHOTS {
        if let Some(values) = snapshot(connection, selection, protection)? {
            return Ok(values);
        }
    }
    Err(Error::Busy)
}

/// `None` if something was extended between two commands.
fn snapshot(
    connection: &mut Connection,
    selection: &PcrSelection,
    protection: &mut Protection,
) -> Result<Option<PcrValues>> {
    let mut values = PcrValues::new();
    let mut first_counter = None;
    loop {
        let missing: Vec<u8> = selection.indices().filter(|pcr| !values.contains_key(pcr)).collect();
        if missing.is_empty() {
            return Ok(Some(values));
        }
        let missing = PcrSelection::new(selection.bank(), missing)?;
        let command = connection.command(cc::PCR_READ, Vec::new(), Writer::new().bytes(&missing.marshal()))?;
        let response = connection.execute(&command, &mut protection.audit())?;
        let mut reader = response.reader();
        let counter = reader.u32()?;
        if *first_counter.get_or_insert(counter) != counter {
            return Ok(None);
        }
        let read = read_some(&mut reader, &missing)?;
        reader.finish()?;
        if read.is_empty() {
            return Err(Error::Unsupported(format!("this TPM does not have the PCRs {missing}")));
        }
        values.extend(read);
    }
}

/// Those of the selection that the TPM gave this time.
fn read_some(reader: &mut Reader<'_>, selection: &PcrSelection) -> Result<PcrValues> {
    let mut numbers = Vec::new();
    for _ in 0..reader.u32()? {
        let (bank, pcrs) = read_selection(reader)?;
        if bank != hash_alg(selection.bank())? {
            return Err(Error::Malformed("PCRs of another bank than the one asked for"));
        }
        numbers.extend(pcrs);
    }
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count != numbers.len() || !numbers.iter().all(|pcr| selection.indices().any(|wanted| wanted == *pcr)) {
        return Err(Error::Malformed("other PCRs than those asked for"));
    }
    let mut values = PcrValues::new();
    for pcr in numbers {
        let value = reader.tpm2b()?;
        if value.len() != selection.bank().len() {
            return Err(Error::Malformed("the value of a PCR does not have the length of its bank"));
        }
        values.insert(pcr, value.to_vec());
    }
    Ok(values)
}

/// TPMS_PCR_SELECTION: the hash, and the numbers.
pub(crate) fn read_selection(reader: &mut Reader<'_>) -> Result<(u16, Vec<u8>)> {
    let bank = reader.u16()?;
    let len = usize::from(reader.u8()?);
    if len > MOST_SELECT {
        return Err(Error::Malformed("a selection of PCRs is too long"));
    }
    let select = reader.bytes(len)?;
    let set = |pcr: u8| select.get(usize::from(pcr / 8)).is_some_and(|byte| byte >> (pcr % 8) & 1 == 1);
    Ok((bank, (0..=u8::MAX).filter(|pcr| set(*pcr)).collect()))
}

/// The PCRs that this TPM has, a selection for each bank. One command.
pub(crate) fn banks(connection: &mut Connection) -> Result<Vec<PcrSelection>> {
    let all = connection.capability_list(cap::PCRS, 0, |reader| {
        let (bank, pcrs) = read_selection(reader)?;
        Ok((bank.into(), (bank, pcrs)))
    })?;
    let known = |(bank, pcrs): (u16, Vec<u8>)| {
        let bank: Hash = hash_from_alg(bank).ok()?;
        PcrSelection::new(bank, pcrs.into_iter().filter(|pcr| *pcr < PcrSelection::PCRS)).ok()
    };
    Ok(all.into_iter().filter_map(known).collect())
}
