//! The storage primary: found, made, kept, checked.

use base::Secret;
use log::warn;

use crate::connection::primary::{
    Location, Made, Primary, create_primary, derive, null_protection, owner_error, read_name, read_public, unfit,
};
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::seal;
use crate::session::authorization::Entity;
use crate::session::command::{Command, Handle};
use crate::wire::Writer;
use crate::wire::constants::{cc, hc, rh};
use crate::wire::public::{Name, PublicArea};
use crate::wire::template::PrimaryTemplate;
use crate::words::ResponseCode;

/// Where other software keeps, and looks for, the storage primary (TCG TPM v2.0 Provisioning Guidance, 7.8).
const SRK_HANDLE: u32 = 0x8100_0001;

/// Bytes of the longest digest of any TPM.
const MAX_HIERARCHY_AUTH: usize = 64;

/// Where a primary is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In the TPM, for good.
    Persistent,
    /// In the TPM, or, where that is refused, nowhere: it is then derived for each connection.
    PersistentIfPossible,
    /// Nowhere, though the TPM might keep it.
    Transient,
}

/// What primary is wanted.
#[derive(Clone, Debug)]
pub struct PrimaryRequest {
    /// Authorisation of the owner hierarchy; needed when a primary must be made.
    pub owner_auth: Secret,
    /// The persistent handle to use; `None`: 0x81000001, or the first free one after it.
    pub handle: Option<u32>,
    /// Where it is to be kept.
    pub keeping: Keeping,
    /// Authorisation of the primary, existing or new.
    pub primary_auth: Secret,
    /// What a primary is derived from that is kept nowhere; others are made from the usual one.
    pub template: PrimaryTemplate,
}

impl Default for PrimaryRequest {
    fn default() -> PrimaryRequest {
        PrimaryRequest {
            owner_auth: Secret::zeroed(0),
            handle: None,
            keeping: Keeping::Persistent,
            primary_auth: Secret::zeroed(0),
            template: PrimaryTemplate::Srk,
        }
    }
}

/// Adopts what is at the handle (3 commands: a session salted to it is tried), or makes a primary and keeps it (3 more, and 1 when the handle must be searched for).
pub(crate) fn storage_primary(connection: &mut Connection, request: &PrimaryRequest) -> Result<Primary> {
    let wanted = request.handle.unwrap_or(SRK_HANDLE);
    if !(hc::PERSISTENT_FIRST..=hc::PERSISTENT_LAST).contains(&wanted) {
        return Err(Error::Invalid("the handle of a persistent object is 0x81000000 to 0x81ffffff"));
    }
    seal::check_auth(&request.primary_auth)?;
    if request.owner_auth.len() > MAX_HIERARCHY_AUTH {
        return Err(Error::Invalid("the authorisation value of a hierarchy has at most 64 bytes"));
    }
    if request.keeping == Keeping::Transient {
        if !request.primary_auth.is_empty() || !request.owner_auth.is_empty() {
            return Err(Error::Invalid(
                "a primary that is derived for each connection needs an owner hierarchy without authorisation value",
            ));
        }
        let (handle, area) = derive(connection, request.template)?;
        connection.add_temporary(handle, &area.name()?);
        return Ok(Primary::new(Location::Transient, area.marshal()?)?.with_template(request.template));
    }
    let Some(area) = read_public(connection, wanted)? else {
        return create(connection, wanted, request, None);
    };
    let refused = match adopt(connection, wanted, &area, request)? {
        Ok(primary) => return Ok(primary),
        Err(unfit) if request.handle.is_some() => return Err(Error::Invalid(unfit.reason())),
        Err(unfit) => {
            warn!("the object at {wanted:#010x} is not taken for the storage primary: {}", unfit.reason());
            // The same key elsewhere would be no better; one with another authorisation value is.
            if matches!(unfit, Unfit::CarriesNoSessions) { Some(area.name()?) } else { None }
        }
    };
    if let Some(primary) = kept_elsewhere(connection, request, refused.as_ref())? {
        return Ok(primary);
    }
    let handle = free_handle(connection)?;
    create(connection, handle, request, refused.as_ref())
}

/// Why an object is not taken for the storage primary.
enum Unfit {
    Kind(&'static str),
    CarriesNoSessions,
    OtherAuth,
}

impl Unfit {
    fn reason(&self) -> &'static str {
        match self {
            Unfit::Kind(reason) => reason,
            Unfit::CarriesNoSessions => "sessions salted to the storage key do not work with this TPM",
            Unfit::OtherAuth => "the storage key has another authorisation value than the given one",
        }
    }
}

/// The primary that would be made, where it was kept already for want of the usual handle: the TPM has room for few. CreatePrimary,
/// FlushContext, the list of handles and ReadPublic for each; and what [`null_protection`] takes.
fn kept_elsewhere(
    connection: &mut Connection,
    request: &PrimaryRequest,
    refused: Option<&Name>,
) -> Result<Option<Primary>> {
    let PrimaryRequest { owner_auth, primary_auth, .. } = request;
    let protection = null_protection(connection, owner_auth, primary_auth)?;
    let area = connection.with_temporary(protection, |connection, protection| {
        protection.keep = false;
        let made = create_primary(connection, rh::OWNER, owner_auth, primary_auth, protection, refused)?;
        let Made { transient, area, .. } = made;
        connection.add_temporary(transient, &area.name()?);
        connection.end_temporary(transient)?;
        Ok(area)
    })?;
    let name = area.name()?;
    for handle in list_persistent(connection)? {
        // The name does not tell whether the authorisation value is the wanted one.
        if read_name(connection, handle)?.as_ref() == Some(&name)
            && let Ok(primary) = adopt(connection, handle, &area, request)?
        {
            return Ok(Some(primary));
        }
    }
    Ok(None)
}

/// The primary at `handle`, if it is a storage key that can be trusted and its authorisation value is the given one; else why it
/// is not.
fn adopt(
    connection: &mut Connection,
    handle: u32,
    area: &PublicArea,
    request: &PrimaryRequest,
) -> Result<std::result::Result<Primary, Unfit>> {
    if let Some(reason) = unfit(area) {
        return Ok(Err(Unfit::Kind(reason)));
    }
    if area.ecc().is_none() && area.rsa().is_none() {
        return Ok(Err(Unfit::Kind("the storage key is neither RSA nor ECC on a known curve")));
    }
    let primary = Primary::new(Location::Persistent(handle), area.marshal()?)?.with_auth(request.primary_auth.clone());
    if !carries_sessions(connection, &primary)? {
        return Ok(Err(Unfit::CarriesNoSessions));
    }
    if connection.primary_is_usable(&primary)? { Ok(Ok(primary)) } else { Ok(Err(Unfit::OtherAuth)) }
}

/// Whether a session that is salted to a primary proves itself: some firmware has keys with which it does not, and all that is done below such a
/// primary would fail later. StartAuthSession, GetRandom; none without bus protection.
fn carries_sessions(connection: &mut Connection, primary: &Primary) -> Result<bool> {
    let tried = connection.salted(primary).and_then(|protection| {
        connection.with_temporary(protection, |connection, protection| {
            protection.keep = false;
            seal::prove(connection, protection)
        })
    });
    match tried {
        Ok(()) => Ok(true),
        Err(error @ (Error::Response(_) | Error::Unsupported(_) | Error::AuthFailed | Error::ResponseHmac)) => {
            warn!("a session salted to the storage key {} fails: {error}", primary.name());
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// CreatePrimary, EvictControl, FlushContext; and CreatePrimary, StartAuthSession, FlushContext, where there is an
/// authorisation value to protect.
fn create(
    connection: &mut Connection,
    handle: u32,
    request: &PrimaryRequest,
    refused: Option<&Name>,
) -> Result<Primary> {
    let protection = null_protection(connection, &request.owner_auth, &request.primary_auth)?;
    connection.with_temporary(protection, |connection, protection| {
        let PrimaryRequest { owner_auth, primary_auth, .. } = request;
        let made = create_primary(connection, rh::OWNER, owner_auth, primary_auth, protection, refused)?;
        let Made { transient, area, template } = made;
        let name = area.name()?;
        connection.add_temporary(transient, &name);
        protection.keep = false;
        match persist(connection, transient, &name, handle, owner_auth, protection) {
            Ok(()) => Ok(Primary::new(Location::Persistent(handle), area.marshal()?)?.with_auth(primary_auth.clone())),
            Err(Error::Response(code)) if refuses_persistence(code) => {
                if request.keeping == Keeping::Persistent || !primary_auth.is_empty() || !owner_auth.is_empty() {
                    return Err(Error::PersistenceRefused(code));
                }
                warn!("the storage primary cannot be persistent ({code}); it will be derived for each connection");
                Ok(Primary::new(Location::Transient, area.marshal()?)?.with_template(template))
            }
            Err(error) => Err(error),
        }
    })
}

pub(crate) fn refuses_persistence(code: ResponseCode) -> bool {
    matches!(
        code,
        ResponseCode::NV_SPACE | ResponseCode::NV_DEFINED | ResponseCode::COMMAND_CODE | ResponseCode::AUTH_UNAVAILABLE
    )
}

/// Keeps a loaded primary at a persistent handle; one command.
pub(crate) fn persist(
    connection: &mut Connection,
    transient: u32,
    name: &Name,
    handle: u32,
    owner_auth: &Secret,
    protection: &mut Protection,
) -> Result<()> {
    let command = evict_command(connection, Handle::object(transient, name), handle)?;
    let owner = Name::of_handle(rh::OWNER);
    let owner = Entity { name: &owner, auth: owner_auth };
    connection.execute(&command, &mut [protection.authorize(owner, false, false)]).map(drop).map_err(owner_error)
}

/// All persistent handles.
pub(crate) fn list_persistent(connection: &mut Connection) -> Result<Vec<u32>> {
    connection.handles(hc::PERSISTENT_FIRST)
}

pub(crate) fn free_handle(connection: &mut Connection) -> Result<u32> {
    let taken = list_persistent(connection)?;
    (SRK_HANDLE..=hc::OWNER_PERSISTENT_LAST)
        .chain(std::iter::once(hc::PERSISTENT_FIRST))
        .find(|handle| !taken.contains(handle))
        .ok_or(Error::PersistenceRefused(ResponseCode::NV_SPACE))
}

/// Removes a persistent primary, and nothing else that is at its handle by now; two commands, and a StartAuthSession where the
/// owner has an authorisation value.
pub(crate) fn evict(connection: &mut Connection, primary: &Primary, owner_auth: &Secret) -> Result<()> {
    match primary.location {
        Location::Persistent(handle) => evict_named(connection, (handle, primary.name()), primary, owner_auth),
        Location::Transient => Ok(()),
    }
}

/// The same of any object, with `protector` as what the owner's authorisation value is protected to.
pub(crate) fn evict_named(
    connection: &mut Connection,
    (handle, name): (u32, &Name),
    protector: &Primary,
    owner_auth: &Secret,
) -> Result<()> {
    // EvictControl names a handle, and with an empty authorisation value no HMAC covers the name of what is there.
    let found = match read_name(connection, handle) {
        Ok(found) => found,
        Err(Error::Response(code)) if code.is_stale_reference() => return Err(Error::PrimaryMissing { handle }),
        Err(error) => return Err(error),
    };
    if found.as_ref() != Some(name) {
        return Err(Error::WrongPrimary { expected: name.clone(), found });
    }
    let protection = if owner_auth.is_empty() { Protection::none() } else { connection.salted(protector)? };
    let command = evict_command(connection, Handle::object(handle, name), handle)?;
    let evicted = connection.with_temporary(protection, |connection, protection| {
        protection.keep = false;
        let owner = Name::of_handle(rh::OWNER);
        let owner = Entity { name: &owner, auth: owner_auth };
        connection.execute(&command, &mut [protection.authorize(owner, false, false)])
    });
    match evicted {
        Ok(_) => Ok(()),
        Err(Error::Response(code)) if code.is_handle(ResponseCode::HANDLE, 2) => Err(Error::PrimaryMissing { handle }),
        Err(error) => Err(owner_error(error)),
    }
}

fn evict_command(connection: &Connection, object: Handle, persistent: u32) -> Result<Command> {
    connection.command(cc::EVICT_CONTROL, vec![Handle::plain(rh::OWNER), object], Writer::new().u32(persistent))
}
