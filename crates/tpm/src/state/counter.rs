//! Monotonic counters in the TPM's NV memory (TPM 2.0 Part 1, 37.2.3; Part 3, 31): what an approval that is to be revoked later is
//! bound to. A counter never goes back: one that is made anew goes on above all that were removed.

use base::Secret;
use serde::{Deserialize, Serialize};

use crate::connection::primary::{Primary, null_protection, owner_error};
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::session::authorization::Entity;
use crate::session::command::{Command, Handle};
use crate::wire::constants::{cap, cc, hc, nv, rh};
use crate::wire::public::{NAME_HASH, Name, name_alg};
use crate::wire::{Reader, Writer};
use crate::words::ResponseCode;

/// Bytes of a counter.
const LEN: u16 = 8;
/// A counter that was incremented a thousand times in each second of a thousand years is below that. An approval with a limit that no counter
/// reaches can never be taken back.
const MOST: u64 = 1 << 45;
/// The owner increments; everybody reads; nothing of it counts towards lockout.
const ATTRIBUTES: u32 = nv::OWNER_WRITE | nv::COUNTER | nv::OWNER_READ | nv::AUTH_READ | nv::NO_DA;

/// A counter. Its name says what it is, not how far it has counted: the same index in two TPMs has the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Counter {
    index: u32,
    name: Name,
}

impl Counter {
    /// The counter with this NV index, 0x01800000 to 0x01bfffff, whether it is there or not.
    ///
    /// # Errors
    /// An index that is not the owner's to give (TCG Registry of Reserved TPM 2.0 Handles, 2.3.2).
    pub fn new(index: u32) -> Result<Counter> {
        if !(hc::OWNER_NV_FIRST..=hc::OWNER_NV_LAST).contains(&index) {
            return Err(Error::Invalid("the NV index of a counter is between 0x01800000 and 0x01bfffff"));
        }
        // As it is after the first increment, before which it has no value.
        let name = Name::of_public(name_alg()?, &public(index, ATTRIBUTES | nv::WRITTEN)?)?;
        Ok(Counter { index, name })
    }

    /// The NV index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The name, which stands in policies.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::object(self.index, &self.name)
    }

    /// Its name until it is incremented for the first time.
    fn unwritten(&self) -> Result<Name> {
        Name::of_public(name_alg()?, &public(self.index, ATTRIBUTES)?)
    }
}

impl TryFrom<u32> for Counter {
    type Error = Error;

    fn try_from(index: u32) -> Result<Counter> {
        Counter::new(index)
    }
}

impl From<Counter> for u32 {
    fn from(counter: Counter) -> u32 {
        counter.index
    }
}

/// TPMS_NV_PUBLIC of a counter without a policy.
fn public(index: u32, attributes: u32) -> Result<Vec<u8>> {
    let public = Writer::new().u32(index).u16(name_alg()?).u32(attributes).tpm2b(&[]).u16(LEN).finish()?;
    Ok(public.to_vec())
}

/// GetCapability, NV_DefineSpace, NV_Increment, NV_Read; with a primary, to which the session is salted then, or with an owner's
/// authorisation, those of a session before. Gives the counter and its first value, which the TPM proves to be its own if there is a primary. `made` has it as soon as there is something at its index: should what follows fail, that is for [`undo`].
pub(crate) fn define(
    connection: &mut Connection,
    primary: Option<&Primary>,
    owner_auth: &Secret,
    made: &mut Option<Counter>,
) -> Result<(Counter, u64)> {
    let taken = connection.handles(hc::OWNER_NV_FIRST)?;
    let free = (hc::OWNER_NV_FIRST..=hc::OWNER_NV_LAST).find(|index| !taken.contains(index));
    let counter = Counter::new(free.ok_or(Error::NoRoom("NV indices"))?)?;
    let value = as_owner(connection, primary, owner_auth, |connection, protection| {
        let owner = Handle::plain(rh::OWNER);
        // No authorisation value of its own: reading is for everybody.
        let parameters = Writer::new().tpm2b(&[]).tpm2b(&public(counter.index, ATTRIBUTES)?);
        let command = connection.command(cc::NV_DEFINE_SPACE, vec![owner], parameters)?;
        by_owner(connection, &command, owner_auth, protection)?;
        *made = Some(counter.clone());
        protection.keep = primary.is_some();
        count(connection, &counter, &counter.unwritten()?, owner_auth, protection)?;
        connection.remember_seen(counter.index, &counter.name);
        read_after(connection, primary, &counter, protection)
    })?;
    if value > MOST {
        return Err(Error::Malformed("a counter that was just made has counted further than any can"));
    }
    Ok((counter, value))
}

/// Removes what [`define`] made and nobody was told of: it would take of the TPM's small memory for ever. NV_ReadPublic,
/// NV_UndefineSpace; with an owner's authorisation, those of a session before.
pub(crate) fn undo(
    connection: &mut Connection,
    primary: Option<&Primary>,
    counter: &Counter,
    owner_auth: &Secret,
) -> Result<()> {
    connection.forget_seen(counter.index);
    // It is not known whether it was written.
    let there = name_at(connection, counter.index)?;
    let name = [counter.name.clone(), counter.unwritten()?].into_iter().find(|name| name.as_bytes() == there);
    let name = name.ok_or(Error::CounterMissing)?;
    undefine(connection, primary, counter.index, &name, owner_auth)
}

/// Finds that it is the counter that stands at its index: once removed, it may have made place for somebody else's. An
/// authorisation for that one could count towards lockout, and a command without a session does not say which it means.
/// NV_ReadPublic, unless the counter was seen there before.
pub(crate) fn find(connection: &mut Connection, counter: &Counter) -> Result<()> {
    if connection.has_seen(counter.index, &counter.name) {
        return Ok(());
    }
    if name_at(connection, counter.index)? != counter.name.as_bytes() {
        return Err(Error::CounterMissing);
    }
    connection.remember_seen(counter.index, &counter.name);
    Ok(())
}

/// NV_ReadPublic: the name of what stands at an index.
fn name_at(connection: &mut Connection, index: u32) -> Result<Vec<u8>> {
    let command = connection.command(cc::NV_READ_PUBLIC, vec![Handle::plain(index)], Writer::new())?;
    let response = connection.execute(&command, &mut []).map_err(missing)?;
    let mut reader = response.reader();
    reader.tpm2b()?;
    Ok(reader.tpm2b()?.to_vec())
}

/// NV_ReadPublic where the counter was not seen before, NV_Increment, NV_Read; with an owner's authorisation, those of a session
/// before. Gives the new value.
pub(crate) fn increment(
    connection: &mut Connection,
    primary: Option<&Primary>,
    counter: &Counter,
    owner_auth: &Secret,
) -> Result<u64> {
    find(connection, counter)?;
    as_owner(connection, primary, owner_auth, |connection, protection| {
        protection.keep = primary.is_some();
        count(connection, counter, counter.name(), owner_auth, protection)?;
        read_after(connection, primary, counter, protection)
    })
}

/// NV_ReadPublic, NV_UndefineSpace; with a primary or an owner's authorisation, those of a session before. With a primary, that there is
/// no such counter is proved, too: GetCapability more.
pub(crate) fn remove(
    connection: &mut Connection,
    primary: Option<&Primary>,
    counter: &Counter,
    owner_auth: &Secret,
) -> Result<()> {
    // What is removed is gone: it is looked at now.
    connection.forget_seen(counter.index);
    match find(connection, counter) {
        Err(Error::CounterMissing) => {
            check_missing(connection, primary, counter)?;
            return Err(Error::CounterMissing);
        }
        found => found?,
    }
    connection.forget_seen(counter.index);
    match undefine(connection, primary, counter.index, &counter.name, owner_auth) {
        Err(Error::CounterMissing) => {
            check_missing(connection, primary, counter)?;
            Err(Error::CounterMissing)
        }
        result => result,
    }
}

/// An error is said by nobody in particular. With a primary: either the TPM proves that nothing is at the index, or it proves the name of
/// what is. StartAuthSession, GetCapability; NV_ReadPublic twice; and FlushContext.
fn check_missing(connection: &mut Connection, primary: Option<&Primary>, counter: &Counter) -> Result<()> {
    if primary.is_none() {
        return Ok(());
    }
    let there = connection.proving(primary, |connection, protection| -> Result<bool> {
        let parameters = Writer::new().u32(cap::HANDLES).u32(counter.index).u32(1);
        let command = connection.command(cc::GET_CAPABILITY, Vec::new(), parameters)?;
        let response = connection.execute(&command, &mut protection.audit())?;
        let mut reader = response.reader();
        let (_more, kind, count) = (reader.u8()?, reader.u32()?, reader.u32()?);
        if kind != cap::HANDLES || count > 1 {
            return Err(Error::Malformed("another capability than the one asked for"));
        }
        if count == 0 || reader.u32()? != counter.index {
            return Ok(false);
        }
        // What is proved is bound to a name, which must be known before.
        let command = connection.command(cc::NV_READ_PUBLIC, vec![Handle::plain(counter.index)], Writer::new())?;
        let response = connection.execute(&command, &mut [])?;
        let found = Name::of_public(name_alg()?, response.reader().tpm2b()?)?;
        let handles = vec![Handle::object(counter.index, &found)];
        let command = connection.command(cc::NV_READ_PUBLIC, handles, Writer::new())?;
        let response = connection.execute(&command, &mut protection.audit())?;
        let mut reader = response.reader();
        reader.tpm2b()?;
        Ok(reader.tpm2b()? == counter.name.as_bytes())
    })?;
    if there { Err(Error::Malformed("the counter is there, and was said not to be")) } else { Ok(()) }
}

fn undefine(
    connection: &mut Connection,
    primary: Option<&Primary>,
    index: u32,
    name: &Name,
    owner_auth: &Secret,
) -> Result<()> {
    as_owner(connection, primary, owner_auth, |connection, protection| {
        let handles = vec![Handle::plain(rh::OWNER), Handle::object(index, name)];
        let command = connection.command(cc::NV_UNDEFINE_SPACE, handles, Writer::new())?;
        protection.keep = false;
        by_owner(connection, &command, owner_auth, protection)
    })
}

/// The present value: NV_Read; NV_ReadPublic before it where the counter was not seen before.
pub(crate) fn read(connection: &mut Connection, counter: &Counter) -> Result<u64> {
    read_in(connection, counter, &mut Protection::none())
}

/// What a counter that was just incremented says: without a primary the session is used up, and would prove nothing.
fn read_after(
    connection: &mut Connection,
    primary: Option<&Primary>,
    counter: &Counter,
    protection: &mut Protection,
) -> Result<u64> {
    match primary {
        Some(_) => read_in(connection, counter, protection),
        None => read(connection, counter),
    }
}

fn read_in(connection: &mut Connection, counter: &Counter, protection: &mut Protection) -> Result<u64> {
    find(connection, counter)?;
    let parameters = Writer::new().u16(LEN).u16(0);
    let command = connection.command(cc::NV_READ, vec![counter.handle(), counter.handle()], parameters)?;
    // The counter has no authorisation value: a session proves the answer by its own key.
    let none = Secret::zeroed(0);
    protection.keep = false;
    let authorization = protection.authorize(Entity { name: &counter.name, auth: &none }, false, false);
    let result = connection.execute(&command, &mut [authorization]);
    let response = result.map_err(|error| lost(connection, counter, error))?;
    let mut outer = response.reader();
    let mut value = Reader::new(outer.tpm2b()?);
    outer.finish()?;
    let (high, low) = (value.u32()?, value.u32()?);
    value.finish()?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

fn count(
    connection: &mut Connection,
    counter: &Counter,
    name: &Name,
    owner_auth: &Secret,
    protection: &mut Protection,
) -> Result<()> {
    let handles = vec![Handle::plain(rh::OWNER), Handle::object(counter.index, name)];
    let command = connection.command(cc::NV_INCREMENT, handles, Writer::new())?;
    by_owner(connection, &command, owner_auth, protection)
}

/// In a session salted to the primary, or in one that keeps the owner's authorisation value from who only listens.
fn as_owner<T>(
    connection: &mut Connection,
    primary: Option<&Primary>,
    owner_auth: &Secret,
    operation: impl FnOnce(&mut Connection, &mut Protection) -> Result<T>,
) -> Result<T> {
    let protection = match primary {
        Some(primary) => connection.salted(primary)?,
        None => null_protection(connection, owner_auth, &Secret::zeroed(0))?,
    };
    connection.with_temporary(protection, operation)
}

fn by_owner(
    connection: &mut Connection,
    command: &Command,
    owner_auth: &Secret,
    protection: &mut Protection,
) -> Result<()> {
    let name = Name::of_handle(rh::OWNER);
    let owner = Entity { name: &name, auth: owner_auth };
    let authorization = protection.authorize(owner, false, false);
    connection.execute(command, &mut [authorization]).map(drop).map_err(owner_error).map_err(missing)
}

/// After a command with the counter failed: it is looked for before the next one. A counter has no authorisation value, so that
/// whatever refuses the empty one is none.
pub(crate) fn lost(connection: &mut Connection, counter: &Counter, error: Error) -> Error {
    connection.forget_seen(counter.index);
    match missing(error) {
        Error::AuthFailed => Error::CounterMissing,
        error => error,
    }
}

/// A handle that names nothing is not one of ours that went stale.
fn missing(error: Error) -> Error {
    match error {
        Error::Response(code) if code.base() == ResponseCode::HANDLE => Error::CounterMissing,
        Error::Response(ResponseCode::NV_UNINITIALIZED) => Error::CounterMissing,
        error => error,
    }
}

/// Up to where a counter may have counted for an approval to be good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterLimit {
    /// The counter, by its index.
    pub counter: Counter,
    /// Its highest value that is good.
    pub most: u64,
}

impl CounterLimit {
    /// The parameters of TPM2_PolicyNV: operandB, offset, operation.
    pub(crate) fn operand(&self) -> ([u8; 8], u16, u16) {
        (self.most.to_be_bytes(), 0, nv::EO_UNSIGNED_LE)
    }

    /// The digest that stands for them in a policy (Part 3, 23.9).
    pub(crate) fn digest(&self) -> Vec<u8> {
        let (operand, offset, operation) = self.operand();
        NAME_HASH.digest(&[&operand, &offset.to_be_bytes(), &operation.to_be_bytes()])
    }
}
