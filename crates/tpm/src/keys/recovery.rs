//! What a person looks for when something is wrong: a primary that is not where it was, keys that do not load, what programs
//! left behind.

use base::Secret;
use log::debug;

use crate::connection::primary;
use crate::connection::primary::Primary;
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::session::authorization::Entity;
use crate::session::command::Handle;
use crate::wire::Writer;
use crate::wire::constants::{cc, rh};
use crate::wire::public::{Name, Parameters, PublicArea};

/// What is in the TPM's memory now. Behind a resource manager: of this connection alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Loaded objects.
    pub objects: usize,
    /// Loaded sessions.
    pub sessions: usize,
    /// Sessions whose context was saved.
    pub saved_sessions: usize,
}

pub(crate) fn reset_lockout(connection: &mut Connection, auth: &Secret, protection: &mut Protection) -> Result<()> {
    let command =
        connection.command(cc::DICTIONARY_ATTACK_LOCK_RESET, vec![Handle::plain(rh::LOCKOUT)], Writer::new())?;
    let name = Name::of_handle(rh::LOCKOUT);
    let entity = Entity { name: &name, auth };
    match connection.execute(&command, &mut [protection.authorize(entity, false, false)]) {
        Ok(_) => Ok(()),
        Err(Error::AuthFailed) => Err(Error::LockoutAuth),
        Err(error) => Err(error),
    }
}

/// The primary from the owner's seed, if that still makes it: its handle. What else came of the templates goes with the operation.
///
/// A public area tells the template it was made from, but for `unique`, which the key itself took the place of. Programs fill
/// it with zeros, as the TCG's templates have it, or leave it empty.
pub(crate) fn derive_again(
    connection: &mut Connection,
    primary: &Primary,
    owner_auth: &Secret,
    protection: &mut Protection,
) -> Result<Option<u32>> {
    for template in templates(primary.area()) {
        let (handle, area) =
            primary::create_primary_of(connection, &template, rh::OWNER, owner_auth, &primary.auth, protection)?;
        let name = area.name()?;
        connection.add_temporary(handle, &name);
        if name == *primary.name() {
            return Ok(Some(handle));
        }
        debug!("a template of {} makes {name} now", primary.name());
    }
    Ok(None)
}

fn templates(area: &PublicArea) -> [PublicArea; 2] {
    [true, false].map(|zeros| {
        let unique = |len: usize| if zeros { vec![0; len] } else { Vec::new() };
        let mut template = area.clone();
        match &mut template.parameters {
            Parameters::Rsa { modulus, .. } => *modulus = unique(modulus.len()),
            Parameters::Ecc { x, y, .. } => (*x, *y) = (unique(x.len()), unique(y.len())),
            Parameters::KeyedHash { unique: field, .. } | Parameters::SymCipher { unique: field, .. } => {
                *field = unique(field.len());
            }
        }
        template
    })
}
