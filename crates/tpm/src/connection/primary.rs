//! The storage primary that a connection loads keys below: what it is, whether it is there, and how it is derived.

use base::Secret;
use log::{debug, warn};

use super::{Connection, Protection};
use crate::error::{Error, Result};
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Command, Handle};
use crate::wire::Writer;
use crate::wire::constants::{cc, rh};
use crate::wire::public::{Name, PublicArea, check_tpm2b};
use crate::wire::template::{self, PrimaryTemplate};

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
pub(crate) fn unfit(area: &PublicArea) -> Option<&'static str> {
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
pub(crate) struct Made {
    pub(crate) transient: u32,
    pub(crate) area: PublicArea,
    pub(crate) template: PrimaryTemplate,
}

/// Derives the usual primary in a hierarchy, or where the TPM has no such keys, or makes the `refused` one of it, one of RSA; one command for
/// each that is tried.
pub(crate) fn create_primary(
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
            Primary::new(Location::Persistent(0x8100_0001), area.marshal().unwrap())
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
