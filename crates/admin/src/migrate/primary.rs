//! The primary keys of the other store: where they are, and whether this TPM has them.

use std::collections::BTreeMap;

use base::Secret;
use store::peer::{PeerPlace, PeerPrimary, PeerSeal, PeerStore, PeerValue};

use super::object::unhex;
use token::Library;
use token::{Error, Result};

/// A primary key of the other store.
pub(super) enum Found {
    /// The TPM has it, or makes it anew for each use.
    There(tpm::Primary),
    /// What hangs below it cannot be used, and why.
    Lost(String),
}

/// Looks for each primary key in the TPM. A TPM that cannot be reached is an error: whatever came over would be of no use
/// without it.
pub(super) fn find(library: &Library, peer: &PeerStore) -> Result<BTreeMap<i64, Found>> {
    let mut found = BTreeMap::new();
    for primary in &peer.primaries {
        let below = peer
            .tokens
            .iter()
            .filter(|token| token.primary == Some(primary.id))
            .find_map(|token| token.seals.as_ref().ok()?.as_ref());
        let outcome = match places(primary) {
            Ok(places) => first(library, primary, places, below.map(|seals| &seals.so))?,
            Err(why) => Found::Lost(format!("its primary key: {why}")),
        };
        found.insert(primary.id, outcome);
    }
    Ok(found)
}

/// The first place at which there is a primary that the token's seal was made under.
fn first(library: &Library, primary: &PeerPrimary, places: Vec<Place>, seal: Option<&PeerSeal>) -> Result<Found> {
    let mut outcome = Found::Lost("its primary key is nowhere".to_owned());
    for place in places {
        outcome = look(library, primary, place)?;
        let (Found::There(found), Some(seal)) = (&outcome, seal) else { continue };
        match owns(library, found, seal) {
            Ok(true) => return Ok(outcome),
            Ok(false) => {}
            // Each try may count towards lockout: one is enough for all that is below.
            Err(Error::HierarchyAuth(_)) => {
                return Ok(Found::Lost("its primary key has another authorization than the store says".to_owned()));
            }
            Err(error) => return Err(error),
        }
        outcome = Found::Lost("its primary key is not the one that it was made under".to_owned());
    }
    Ok(outcome)
}

/// Was this seal made under the primary?
pub(super) fn owns(library: &Library, primary: &tpm::Primary, seal: &PeerSeal) -> Result<bool> {
    let wrapped = tpm::Wrapped { public: seal.public.clone(), private: seal.private.clone() };
    match library.tpm()?.can_load(primary, &wrapped) {
        Err(tpm::Error::Invalid(_) | tpm::Error::Malformed(_)) => Ok(false),
        result => Ok(result?),
    }
}

/// Where a primary is said to be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Persistent { handle: u32, public: Vec<u8> },
    Derived(tpm::PrimaryTemplate),
}

/// The places where it may be: releases differ in what a name of a template means.
fn places(primary: &PeerPrimary) -> std::result::Result<Vec<Place>, String> {
    if primary.hierarchy != "o" && !primary.hierarchy.is_empty() {
        return Err(format!("it is of the hierarchy {:?}, and only the owner's is known here", primary.hierarchy));
    }
    let settings = match &primary.place {
        PeerPlace::Reference(reference) => return Ok(vec![persistent(reference)?]),
        PeerPlace::Settings(settings) => {
            settings.as_ref().map_err(|why| format!("its settings cannot be read: {why}"))?
        }
    };
    let truth = |key| settings.find(key).and_then(PeerValue::truth);
    let reference = settings.find("esys-tr").and_then(PeerValue::text);
    // Two releases wrote "persistent" where "transient" belongs; which of the two they meant, what else is there tells.
    let transient = truth("transient").unwrap_or(reference.is_none());
    if !transient {
        let reference = reference.and_then(unhex).ok_or("its handle is missing")?;
        return Ok(vec![persistent(&reference)?]);
    }
    let templates: &[tpm::PrimaryTemplate] = match settings.find("template-name").and_then(PeerValue::text) {
        Some("tpm2-tools-default") => &[tpm::PrimaryTemplate::Rsa],
        Some("tpm2-tools-ecc-default") => &[tpm::PrimaryTemplate::Ecc],
        // RSA where the TPM has no elliptic curves.
        Some("tss2-engine-key") => &[tpm::PrimaryTemplate::EccNoDa, tpm::PrimaryTemplate::RsaNoDa],
        Some(other) => return Err(format!("the template {other:?} is not known")),
        None => return Err("its template is missing".to_owned()),
    };
    Ok(templates.iter().map(|template| Place::Derived(*template)).collect())
}

/// The persistent handle in a file in which tools of the TPM2 Software Stack serialized a reference to an object, such as
/// `tpm2_evictcontrol -o` writes.
///
/// # Errors
/// [`Error::ArgumentsBad`] if it is no such file.
pub fn handle_of_reference(bytes: &[u8]) -> Result<u32> {
    match parse_reference(bytes) {
        Ok((handle, _)) => Ok(handle),
        Err(_) => Err(Error::ArgumentsBad(
            "the file is no serialized reference to a persistent object of the TPM; `tpm2_evictcontrol -o` writes such files",
        )),
    }
}

fn persistent(reference: &[u8]) -> std::result::Result<Place, String> {
    parse_reference(reference).map(|(handle, public)| Place::Persistent { handle, public })
}

/// What [`handle_of_reference`] reads, of a persistent primary.
pub(crate) fn reference(handle: u32, primary: &tpm::Primary) -> Vec<u8> {
    let name = primary.name().as_bytes();
    // A name has at most 66 bytes.
    let len = u16::try_from(name.len()).unwrap_or(0).to_be_bytes();
    [&handle.to_be_bytes()[..], &len, name, &KEY_RESOURCE.to_be_bytes(), &primary.public].concat()
}

/// Handle and TPM2B_PUBLIC of an object reference as the TPM2 Software Stack serializes it: handle, TPM2B_NAME, kind of resource, TPM2B_PUBLIC.
pub(super) fn parse_reference(bytes: &[u8]) -> std::result::Result<(u32, Vec<u8>), String> {
    let damaged = || "its handle is damaged".to_owned();
    let (handle, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into()).ok_or_else(damaged)?;
    let (_, public) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let area = tpm::PublicArea::parse(public).map_err(|_| damaged())?;
    let handle = u32::from_be_bytes(*handle);
    if area.name().map_err(|_| damaged())?.as_bytes() != name || handle >> 24 != 0x81 {
        return Err(damaged());
    }
    Ok((handle, public.to_vec()))
}

fn look(library: &Library, primary: &PeerPrimary, place: Place) -> Result<Found> {
    let tpm = library.tpm()?;
    let result = match place {
        Place::Persistent { handle, public } => match tpm::Primary::new(tpm::Location::Persistent(handle), public) {
            Ok(found) => tpm.check_primary(&found).map(|()| found.with_auth(primary.auth.clone())),
            Err(error) => Err(error),
        },
        Place::Derived(_) if !primary.auth.is_empty() => {
            return Ok(Found::Lost(
                "its primary key is made anew for each use and has an authorization, which is not supported here"
                    .to_owned(),
            ));
        }
        Place::Derived(template) => tpm.storage_primary(&tpm::PrimaryRequest {
            owner_auth: Secret::zeroed(0),
            keeping: tpm::Keeping::Transient,
            template,
            ..tpm::PrimaryRequest::default()
        }),
    };
    match result {
        Ok(found) => Ok(Found::There(found)),
        Err(tpm::Error::PrimaryMissing { handle }) => Ok(Found::Lost(format!(
            "this TPM has nothing at {handle:#010x}, where its primary key was: it is another TPM, or was cleared"
        ))),
        Err(tpm::Error::WrongPrimary { .. }) => {
            Ok(Found::Lost("this TPM has another primary key at its handle: it is another TPM, or was cleared".to_owned()))
        }
        Err(tpm::Error::HierarchyAuth) => Ok(Found::Lost(
            "its primary key is made anew for each use, and the TPM's owner hierarchy has an authorization, which would be \
             needed each time"
                .to_owned(),
        )),
        Err(tpm::Error::Unsupported(why)) => Ok(Found::Lost(format!("its primary key: {why}"))),
        Err(tpm::Error::Invalid(why)) => Ok(Found::Lost(format!("its primary key: {why}"))),
        Err(error) => Err(Error::from(error)),
    }
}

/// The kind of resource that keys are.
const KEY_RESOURCE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(settings: &str) -> PeerPrimary {
        PeerPrimary {
            id: 1,
            hierarchy: "o".to_owned(),
            place: PeerPlace::Settings(PeerValue::parse(settings)),
            auth: Secret::zeroed(0),
        }
    }

    #[test]
    fn settings_of_every_release_are_understood() {
        for (settings, template) in [
            ("transient: true\ntemplate-name: tpm2-tools-default\n", tpm::PrimaryTemplate::Rsa),
            ("persistent: false\ntemplate-name: tpm2-tools-ecc-default\n", tpm::PrimaryTemplate::Ecc),
            ("persistent: true\ntemplate-name: tpm2-tools-ecc-default\n", tpm::PrimaryTemplate::Ecc),
            ("template-name: tss2-engine-key\n", tpm::PrimaryTemplate::EccNoDa),
        ] {
            assert_eq!(places(&primary(settings)).unwrap().first(), Some(&Place::Derived(template)), "{settings}");
        }
        for (settings, why) in [
            ("transient: true\n", "template is missing"),
            ("transient: true\ntemplate-name: other\n", "not known"),
            ("transient: false\n", "handle is missing"),
            ("transient: false\nesys-tr: 8100\n", "damaged"),
            ("{", "cannot be read"),
        ] {
            let refused = places(&primary(settings)).unwrap_err();
            assert!(refused.contains(why), "{settings}: {refused}");
        }
    }

    #[test]
    fn cut_references_are_refused() {
        for len in 0..80 {
            assert!(parse_reference(&vec![0x81; len]).is_err());
        }
    }
}
