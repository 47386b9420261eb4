//! Keys that can be brought to another TPM, and only there (TPM 2.0 Part 1, 23.3; Part 3, 13.1 and 23.15).
//!
//! Such a key is used by its authorisation value like any other. Its policy is for duplication alone, which needs that value too, and
//! leads to one new parent: PolicyAuthValue, PolicyDuplicationSelect(the parent's name). The parent is a storage key of another TPM, or
//! a key in a file, with which the duplicate is opened here.

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;
use base::private::PrivateKey;

use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::external::Importable;
use crate::keys::import::{Object, USAGE, WrappingKeys};
use crate::keys::sign::Key;
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Command, Handle};
use crate::session::crypto::{Direction, kdfe};
use crate::wire::constants::{alg, cc, rh};
use crate::wire::public::{Attributes, NAME_HASH, Name, PublicArea};
use crate::wire::template::{self, KeyTemplate};
use crate::wire::{Reader, Writer};

/// authPolicy of a key that can be duplicated to the parent of this name, by whoever knows its authorisation value.
fn policy(parent: &Name) -> Vec<u8> {
    let auth_value = NAME_HASH.digest(&[&vec![0; NAME_HASH.len()], &cc::POLICY_AUTH_VALUE.to_be_bytes()]);
    // includeObject is NO: the name of the key depends on this very digest.
    NAME_HASH.digest(&[&auth_value, &cc::POLICY_DUPLICATION_SELECT.to_be_bytes(), parent.as_bytes(), &[0]])
}

/// The public area of a new key that can be duplicated to `parent`.
pub(crate) fn duplicable(template: KeyTemplate, parent: &PublicArea) -> Result<PublicArea> {
    let mut area = template::imported_key(template)?;
    area.attributes = area.attributes.union(Attributes::SENSITIVE_DATA_ORIGIN);
    area.auth_policy = policy(&parent.name()?);
    Ok(area)
}

impl PublicArea {
    /// Can the object be duplicated to the parent with this public area?
    pub fn can_go_to(&self, parent: &PublicArea) -> bool {
        let fixed = [Attributes::FIXED_TPM, Attributes::FIXED_PARENT];
        !fixed.into_iter().any(|fixed| self.attributes().contains(fixed))
            && parent.name().is_ok_and(|name| self.auth_policy() == policy(&name))
    }
}

/// A recovery key in a file.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryPrivate<'a>(pub &'a PrivateKey);

/// A duplicate that was opened: in memory in clear, for the moment until another TPM has it.
#[derive(Debug)]
pub struct Opened {
    pub(crate) object: Object,
    auth: Secret,
}

impl Opened {
    /// The authorisation value that the key had.
    pub fn auth(&self) -> &Secret {
        &self.auth
    }
}

impl RecoveryPrivate<'_> {
    /// Opens what was duplicated to the parent that [`PublicArea::recovery_rsa`] or [`PublicArea::recovery_ecc`] makes of the public
    /// half.
    ///
    /// # Errors
    /// [`Error::Integrity`] for what was wrapped for another key, or altered.
    pub fn open(&self, duplicate: &Importable) -> Result<Opened> {
        let area = duplicate.public_area()?;
        let parent = match self.0 {
            PrivateKey::Rsa { public, .. } => PublicArea::recovery_rsa(public)?,
            PrivateKey::Ec { public, .. } => PublicArea::recovery_ecc(public)?,
        };
        let name = area.name()?;
        let keys = WrappingKeys::derive(&parent, &self.seed(&parent, &duplicate.secret)?, &name)?;
        let private = only_tpm2b(&duplicate.private)?;
        let mut outer = Reader::new(private);
        let mac = Secret::copy_from(outer.tpm2b()?);
        if keys.mac(outer.rest(), &name) != mac {
            return Err(Error::Integrity);
        }
        let mut inner = Secret::copy_from(outer.rest());
        keys.apply(inner.expose_mut(), Direction::Decrypt)?;
        let mut sensitive = Reader::new(only_tpm2b(inner.expose())?);
        if sensitive.u16()? != area.object_type() {
            return Err(Error::Malformed("the private part is that of another kind of object"));
        }
        let auth = Secret::copy_from(sensitive.tpm2b()?);
        let rest = sensitive.rest();
        // Its authorisation value is another one in the next TPM; what follows stays as it is.
        let sensitive = Writer::new().bytes(rest).finish()?;
        Ok(Opened { object: Object { area, sensitive }, auth })
    }

    fn seed(&self, parent: &PublicArea, secret: &[u8]) -> Result<Secret> {
        let hash: Hash = parent.name_hash()?;
        let secret = only_tpm2b(secret)?;
        match self.0 {
            PrivateKey::Rsa { .. } => {
                let label = format!("{USAGE}\0");
                let seed = self.0.oaep_decrypt(hash, &label, secret).map_err(|_| Error::Integrity)?;
                if seed.len() == hash.len() { Ok(seed) } else { Err(Error::Integrity) }
            }
            PrivateKey::Ec { public, .. } => {
                let mut point = Reader::new(secret);
                let (x, y) = (point.tpm2b()?, point.tpm2b()?);
                point.finish()?;
                let other = EcPublic::new(public.curve(), x, y).map_err(|_| Error::Integrity)?;
                let z = self.0.agree(&other).map_err(|_| Error::Integrity)?;
                let bits = u32::try_from(hash.len() * 8).unwrap_or_default();
                Ok(kdfe(hash, z.expose(), USAGE, other.x(), public.x(), bits))
            }
        }
    }
}

fn only_tpm2b(bytes: &[u8]) -> Result<&[u8]> {
    let mut reader = Reader::new(bytes);
    let content = reader.tpm2b()?;
    reader.finish()?;
    Ok(content)
}

/// Load, LoadExternal, StartAuthSession, PolicyAuthValue, PolicyDuplicationSelect, Duplicate, and two FlushContext.
pub(crate) fn duplicate(connection: &mut Connection, key: &Key<'_>, parent: &PublicArea) -> Result<Importable> {
    let protection = if key.primary.auth.is_empty() { Protection::none() } else { connection.salted(key.primary)? };
    let object = connection.with(protection, |connection, protection| {
        connection.load(key.primary, &key.wrapped.public, &key.wrapped.private, key.name, protection.session.as_mut())
    })?;
    let parent_handle = load_parent(connection, parent)?;
    let session = connection.start_policy()?;
    connection.with_temporary(Protection::new(session), |connection, protection| {
        let Some(session) = &mut protection.session else { return Err(Error::Invalid("a policy needs a session")) };
        let handle = Handle::plain(session.handle);
        let command = connection.command(cc::POLICY_AUTH_VALUE, vec![handle.clone()], Writer::new())?;
        connection.execute(&command, &mut [])?;
        session.kind = Kind::Policy { auth_value: true };
        let names = Writer::new().tpm2b(key.name.as_bytes()).tpm2b(parent.name()?.as_bytes()).u8(0);
        let command = connection.command(cc::POLICY_DUPLICATION_SELECT, vec![handle], names)?;
        connection.execute(&command, &mut [])?;
        protection.keep = false;
        // encryptionKeyIn and symmetricAlg are those of an inner wrapper: there is none.
        let parameters = Writer::new().tpm2b(&[]).u16(alg::NULL);
        let command = connection.command(cc::DUPLICATE, vec![object, parent_handle], parameters)?;
        let entity = Entity { name: key.name, auth: key.auth };
        let response = connection.execute(&command, &mut [protection.authorize(entity, false, false)])?;
        let mut reader = response.reader();
        reader.tpm2b()?;
        let private = Writer::new().tpm2b(reader.tpm2b()?).finish()?.to_vec();
        let secret = Writer::new().tpm2b(reader.tpm2b()?).finish()?.to_vec();
        reader.finish()?;
        Ok(Importable { public: key.wrapped.public.clone(), private, secret })
    })
}

/// TPM2_LoadExternal of a public area; the object is a temporary of this operation.
pub(crate) fn load_parent(connection: &mut Connection, parent: &PublicArea) -> Result<Handle> {
    let name = parent.name()?;
    let command = Command {
        code: cc::LOAD_EXTERNAL,
        handles: Vec::new(),
        parameters: Writer::new().tpm2b(&[]).bytes(&parent.marshal()?).u32(rh::NULL).finish()?,
        returns_handle: true,
        deadline: connection.options().deadline,
    };
    let response = connection.execute(&command, &mut []).map_err(|error| match error {
        Error::Response(code) => Error::Unsupported(format!("this TPM does not take the recovery key: {code}")),
        error => error,
    })?;
    let handle = response.handle()?;
    connection.add_temporary(handle, &name);
    if response.reader().tpm2b()? != name.as_bytes() {
        return Err(Error::NameMismatch);
    }
    Ok(Handle::object(handle, &name))
}
