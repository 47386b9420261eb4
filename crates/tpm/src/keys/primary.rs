//! The storage primary: found, made, kept, checked.

use base::Secret;
use log::{debug, warn};

use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::seal;
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Command, Handle};
use crate::wire::Writer;
use crate::wire::constants::{cc, hc, rh};
use crate::wire::public::{Name, PublicArea, check_tpm2b};
use crate::wire::rc::ResponseCode;
use crate::wire::template;
use crate::wire::template::PrimaryTemplate;

/// Where other software keeps, and looks for, the storage primary (TCG TPM v2.0 Provisioning Guidance, 7.8).
const SRK_HANDLE: u32 = 0x8100_0001;

/// Bytes of the longest digest of any TPM.
const MAX_HIERARCHY_AUTH: usize = 64;

/// Where a primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// At this persistent handle.
    Persistent(u32),
    /// Nowhere: derived anew, from its template and the owner's seed, for each connection. The owner
    /// hierarchy's authorisation must be empty for that.
    Transient,
}

/// A storage primary, pinned by its public area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Where it is.
    pub location: Location,
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// Its authorisation value; mostly empty.
    pub auth: Secret,
    /// What it is derived from, if it is kept nowhere.
    pub template: PrimaryTemplate,
    name: Name,
    area: PublicArea,
}

impl Primary {
    /// A primary with an empty authorisation value; fails when `public` (TPM2B_PUBLIC) is not that of a storage key that the TPM
    /// made and keeps to itself: sessions salted to any other would hide nothing from who put it there.
    pub fn new(location: Location, public: Vec<u8>) -> Result<Primary> {
        let area = PublicArea::parse(&public)?;
        if let Some(reason) = unfit(&area) {
            return Err(Error::Invalid(reason));
        }
        let name = area.name()?;
        Ok(Primary { location, public, auth: Secret::zeroed(0), template: PrimaryTemplate::Srk, name, area })
    }

    /// The same primary with an authorisation value.
    pub fn with_auth(mut self, auth: Secret) -> Primary {
        self.auth = auth;
        self
    }

    /// The same primary, derived from this template.
    pub fn with_template(mut self, template: PrimaryTemplate) -> Primary {
        self.template = template;
        self
    }

    /// The name of the primary.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn area(&self) -> &PublicArea {
        &self.area
    }
}

/// Why a key with this public area cannot be a storage primary.
fn unfit(area: &PublicArea) -> Option<&'static str> {
    if !area.is_storage_key() {
        return Some("the primary is not a storage key");
    }
    if !area.is_native() {
        return Some(
            "the storage key was not made by this TPM for itself alone (fixedTPM, fixedParent, sensitiveDataOrigin): \
             others may know its private part",
        );
    }
    None
}

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

/// For values that must be given where there is no pinned primary (yet) that a session could be salted to. One derived in the null
/// hierarchy, which nobody must authorise, keeps them at least from who only listens.
pub(crate) fn null_protection(
    connection: &mut Connection,
    hierarchy_auth: &Secret,
    primary_auth: &Secret,
) -> Result<Protection> {
    let nothing_to_protect = hierarchy_auth.is_empty() && primary_auth.is_empty();
    if nothing_to_protect || !connection.options().bus_protection {
        return Ok(Protection::none());
    }
    let none = Secret::zeroed(0);
    let made = create_primary(connection, rh::NULL, &none, &none, &mut Protection::none(), None)?;
    let Made { transient: handle, area, .. } = made;
    let name = area.name()?;
    connection.add_temporary(handle, &name);
    let session = connection.start_salted_to(&Handle::object(handle, &name), &area, &name, Kind::Hmac)?;
    // The session does without it, and what follows may need the room.
    match connection.end_temporary(handle) {
        Ok(()) => Ok(Protection::new(session)),
        Err(error) => {
            connection.add_temporary_session(session);
            Err(error)
        }
    }
}

/// Derives a primary that is kept nowhere; one command. Returns its handle and public area.
pub(crate) fn derive(connection: &mut Connection, template: PrimaryTemplate) -> Result<(u32, PublicArea)> {
    let none = Secret::zeroed(0);
    create_primary_of(connection, &template::primary(template)?, rh::OWNER, &none, &none, &mut Protection::none())
}

/// A primary that was just made.
struct Made {
    transient: u32,
    area: PublicArea,
    template: PrimaryTemplate,
}

/// Derives the usual primary in a hierarchy, or where the TPM has no such keys, or makes the `refused` one of it, one of RSA; one command for
/// each that is tried.
fn create_primary(
    connection: &mut Connection,
    hierarchy: u32,
    hierarchy_auth: &Secret,
    primary_auth: &Secret,
    protection: &mut Protection,
    refused: Option<&Name>,
) -> Result<Made> {
    let mut last = Error::Unsupported("this TPM makes no storage primary that it can be used with".into());
    for template in [PrimaryTemplate::Srk, PrimaryTemplate::RsaNoDa] {
        let wanted = template::primary(template)?;
        match create_primary_of(connection, &wanted, hierarchy, hierarchy_auth, primary_auth, protection) {
            Ok((transient, area)) if refused == Some(&area.name()?) => {
                connection.add_temporary(transient, &area.name()?);
                connection.end_temporary(transient)?;
            }
            Ok((transient, area)) => return Ok(Made { transient, area, template }),
            Err(error @ Error::Response(code)) if code.refuses_object() => {
                warn!("the TPM does not make a storage primary of the template {template:?}: {error}");
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Derives a primary from a template in a hierarchy; one command. Returns its handle and public area.
pub(crate) fn create_primary_of(
    connection: &mut Connection,
    template: &PublicArea,
    hierarchy: u32,
    hierarchy_auth: &Secret,
    primary_auth: &Secret,
    protection: &mut Protection,
) -> Result<(u32, PublicArea)> {
    let sensitive = Writer::new().tpm2b(primary_auth.expose()).tpm2b(&[]).finish()?;
    let parameters = Writer::new().tpm2b(&sensitive).bytes(&template.marshal()?).tpm2b(&[]).u32(0).finish()?;
    let command = Command {
        code: cc::CREATE_PRIMARY,
        handles: vec![Handle::plain(hierarchy)],
        parameters,
        returns_handle: true,
        deadline: connection.options().keygen_deadline,
    };
    let name = Name::of_handle(hierarchy);
    let entity = Entity { name: &name, auth: hierarchy_auth };
    let response =
        connection.execute(&command, &mut [protection.authorize(entity, true, false)]).map_err(owner_error)?;
    let handle = response.handle()?;
    let area = PublicArea::parse_area(response.reader().tpm2b()?)?;
    Ok((handle, area))
}

pub(crate) fn owner_error(error: Error) -> Error {
    if error == Error::AuthFailed { Error::HierarchyAuth } else { error }
}

/// The public area at a handle; `None` where there is nothing.
pub(crate) fn read_public(connection: &mut Connection, handle: u32) -> Result<Option<PublicArea>> {
    let command = connection.command(cc::READ_PUBLIC, vec![Handle::plain(handle)], Writer::new())?;
    match connection.execute(&command, &mut []) {
        Ok(response) => PublicArea::parse_area(response.reader().tpm2b()?).map(Some),
        Err(Error::Response(code)) if code.is_stale_reference() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a loaded object; `None` for one that is no name here. Does not look into the public area: somebody else's object
/// may be of a kind unknown here.
pub(crate) fn read_name(connection: &mut Connection, handle: u32) -> Result<Option<Name>> {
    let command = connection.command(cc::READ_PUBLIC, vec![Handle::plain(handle)], Writer::new())?;
    let response = connection.execute(&command, &mut [])?;
    let mut reader = response.reader();
    reader.tpm2b()?;
    Ok(Name::from_bytes(reader.tpm2b()?).ok())
}

/// Compares what is at the primary's handle with what is pinned; one command, none for a transient one.
pub(crate) fn check(connection: &mut Connection, primary: &Primary) -> Result<()> {
    let Location::Persistent(handle) = primary.location else {
        return connection.parent(primary).map(drop);
    };
    let found = match read_public(connection, handle)? {
        Some(area) => area.name()?,
        None => return Err(Error::PrimaryMissing { handle }),
    };
    if found == *primary.name() {
        return Ok(());
    }
    debug!("the primary at {handle:#010x} is {found}, not {}", primary.name());
    Err(Error::WrongPrimary { expected: primary.name().clone(), found: Some(found) })
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

/// The parameters of TPM2_Load: TPM2B_PRIVATE and TPM2B_PUBLIC as they are stored.
pub(crate) fn load_parameters(public: &[u8], private: &[u8]) -> Result<Writer> {
    check_tpm2b(public)?;
    check_tpm2b(private)?;
    Ok(Writer::new().bytes(private).bytes(public))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::public::Attributes;

    #[test]
    fn only_what_the_tpm_keeps_to_itself_is_a_primary() {
        let made = |cleared: u32| {
            let mut area = template::storage_primary().unwrap();
            area.attributes = Attributes::from_bits(area.attributes.bits() & !cleared);
            Primary::new(Location::Persistent(SRK_HANDLE), area.marshal().unwrap())
        };
        assert!(made(0).is_ok());
        for needed in [Attributes::FIXED_TPM, Attributes::FIXED_PARENT, Attributes::SENSITIVE_DATA_ORIGIN] {
            let refused = made(needed.bits());
            assert!(matches!(&refused, Err(Error::Invalid(text)) if text.contains("fixedTPM")), "{refused:?}");
        }
        let no_storage_key = made(Attributes::RESTRICTED.bits());
        assert!(matches!(&no_storage_key, Err(Error::Invalid(text)) if text.contains("not a storage key")));
    }
}
