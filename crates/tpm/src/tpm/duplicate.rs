//! The door to keys that can be brought to another TPM.

use base::Secret;

use super::Tpm;
use crate::connection::primary::Primary;
use crate::error::{Error, Result};
use crate::keys::duplicate::{Opened, duplicable, duplicate, load_parent};
use crate::keys::external::Importable;
use crate::keys::import::{self, Object, USAGE};
use crate::keys::sign::Key;
use crate::keys::{load, seal};
use crate::session::salt;
use crate::wire::Writer;
use crate::wire::public::{PublicArea, Wrapped};
use crate::wire::template::KeyTemplate;

impl Tpm {
    /// Makes a key that can be duplicated to one parent elsewhere. Four commands: the parent is tried first, since the TPM must know
    /// its algorithm when the day comes.
    pub fn create_duplicable_key(
        &self,
        primary: &Primary,
        template: &KeyTemplate,
        parent: &PublicArea,
        auth: &Secret,
    ) -> Result<Wrapped> {
        let area = duplicable(*template, parent)?;
        // What goes with a duplicate is wrapped for the parent here.
        salt::share(parent, USAGE)?;
        seal::check_auth(auth)?;
        self.in_session(|connection| {
            load_parent(connection, parent)?;
            let protection = connection.salted(primary)?;
            connection.with(protection, |connection, protection| {
                protection.keep = false;
                seal::create(connection, primary, &area, auth, None, protection)
            })
        })
    }

    /// Wraps a key for the parent that it may go to. Eight commands.
    pub fn duplicate(&self, key: &Key<'_>, parent: &PublicArea) -> Result<Importable> {
        let area = load::check(key)?;
        if !area.can_go_to(parent) {
            return Err(Error::Invalid("the key cannot be duplicated, or not to this parent"));
        }
        self.in_session(|connection| duplicate(connection, key, parent))
    }

    /// Takes over a duplicate that was opened, with a new authorisation value. One command; two where the primary has an
    /// authorisation value and no session is held.
    pub fn import_opened(&self, primary: &Primary, opened: &Opened, auth: &Secret) -> Result<Wrapped> {
        seal::check_auth(auth)?;
        let Opened { object: Object { area, sensitive }, .. } = opened;
        let sensitive = Writer::new()
            .u16(area.object_type())
            .tpm2b(crate::session::crypto::trim_auth(auth.expose()))
            .bytes(sensitive)
            .finish()?;
        let object = Object { area: area.clone(), sensitive };
        self.in_session(|connection| import::import_key(connection, primary, &object))
    }

    /// Replaces the authorisation value of a key. Returns its new TPM2B_PRIVATE; the old one stays good for the old value. Four
    /// commands.
    pub fn change_key_auth(&self, key: &Key<'_>, new: &Secret) -> Result<Vec<u8>> {
        load::check(key)?;
        seal::check_auth(new)?;
        self.in_session(|connection| seal::change_auth(connection, key.primary, key.wrapped, key.name, key.auth, new))
    }
}
