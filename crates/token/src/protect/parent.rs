//! Parents of linked keys that are not the token's primary, as an attribute of the key holds them: the handle (of the owner hierarchy
//! for a primary that is derived), the template, the TPM2B_PUBLIC.

use tpm::{Location, Primary, PrimaryTemplate};

use crate::{Error, Result};

/// TPM_RH_OWNER.
pub const OWNER: u32 = 0x4000_0001;

/// What a primary of the owner hierarchy may be derived from, by the number that stands for it.
pub const TEMPLATES: [PrimaryTemplate; 5] = [
    PrimaryTemplate::Srk,
    PrimaryTemplate::Rsa,
    PrimaryTemplate::RsaNoDa,
    PrimaryTemplate::Ecc,
    PrimaryTemplate::EccNoDa,
];

/// The value of the attribute.
#[must_use]
pub fn encode(parent: &Primary) -> Vec<u8> {
    let (handle, template) = match parent.location {
        Location::Persistent(handle) => (handle, 0),
        Location::Transient => (OWNER, TEMPLATES.iter().position(|template| *template == parent.template).unwrap_or(0)),
    };
    [&handle.to_be_bytes()[..], &[u8::try_from(template).unwrap_or(0)], &parent.public].concat()
}

pub(crate) fn decode(value: &[u8]) -> Result<Primary> {
    let damaged = || Error::Tampered("the parent of a key in the store makes no sense".to_owned());
    let (handle, rest) = value.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (template, public) = rest.split_first().ok_or_else(damaged)?;
    let template = TEMPLATES.get(usize::from(*template)).ok_or_else(damaged)?;
    let location = match u32::from_be_bytes(*handle) {
        OWNER => Location::Transient,
        handle => Location::Persistent(handle),
    };
    Ok(Primary::new(location, public.to_vec()).map_err(|_| damaged())?.with_template(*template))
}

/// The handle by which other software knows the parent; `None` if it has no word for it. Keys below the owner hierarchy hang, by
/// convention, below a primary whose template has an empty unique field.
#[must_use]
pub fn handle(parent: &Primary) -> Option<u32> {
    match (parent.location, parent.template) {
        (Location::Persistent(handle), _) => Some(handle),
        (Location::Transient, PrimaryTemplate::EccNoDa) => Some(OWNER),
        (Location::Transient, _) => None,
    }
}
