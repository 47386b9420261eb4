//! The door to what comes from elsewhere: objects that were wrapped for a primary, and blobs that are tried.

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;

use super::Tpm;
use crate::connection::Protection;
use crate::connection::primary::{self, Primary};
use crate::error::{Error, Result};
use crate::keys::external::{Importable, NOT_ON_CURVE, signs_by_scheme};
use crate::keys::sign::{self, DecryptScheme, Key, SignScheme};
use crate::keys::{ecdh, import, load, seal};
use crate::wire::public::{Attributes, Parameters, PublicArea, Wrapped};
use crate::wire::signature::Signature;
use crate::words::ResponseCode;

impl Tpm {
    /// Takes an object that was wrapped for this primary. One command; two where the primary has an authorisation value and no
    /// session is held. [`Error::Integrity`] if it was wrapped for another.
    pub fn import_wrapped(&self, primary: &Primary, object: &Importable) -> Result<Wrapped> {
        object.public_area()?;
        self.in_session(|connection| import::import_wrapped(connection, primary, object))
    }

    /// The public area of a persistent object; `None` where there is none. One command.
    pub fn public_of(&self, handle: u32) -> Result<Option<PublicArea>> {
        self.in_session(|connection| primary::read_public(connection, handle))
    }

    /// Whether the primary can load the object. Load and FlushContext; one more where the primary is derived. An error for whatever
    /// may be otherwise another time.
    pub fn can_load(&self, primary: &Primary, object: &Wrapped) -> Result<bool> {
        let name = object.name()?;
        if primary::load_parameters(&object.public, &object.private).is_err() {
            return Ok(false);
        }
        let loaded = self.in_session(|connection| {
            let protection = if primary.auth.is_empty() { Protection::none() } else { connection.salted(primary)? };
            connection.with_temporary(protection, |connection, protection| {
                connection.load(primary, &object.public, &object.private, &name, protection.session.as_mut()).map(drop)
            })
        });
        match loaded {
            Ok(()) => Ok(true),
            Err(Error::Integrity | Error::NameMismatch) => Ok(false),
            // What it says of the blobs; what it says of itself, of the parent or of the moment is another matter.
            Err(Error::Response(code)) if code.refuses_object() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the key can be used with its authorisation value: by one use. A wrong value is tried once, since it may count towards
    /// lockout. Where a policy does not ask for the value, it is still a part of what encrypts the parameters (Part 1, 21.2): whether
    /// it is the right one shows in the result. Three commands, and FlushContext.
    pub fn can_use(&self, key: &Key<'_>) -> Result<bool> {
        let area = load::check(key)?;
        let used = self.in_session(|connection| {
            let used = match (&area.parameters, area.ecc()) {
                (Parameters::Rsa { modulus, .. }, _) => {
                    let mut one = vec![0; modulus.len()];
                    if let Some(last) = one.last_mut() {
                        *last = 1;
                    }
                    match sign::rsa_decrypt(connection, key, DecryptScheme::Raw, &one) {
                        Err(error) if error.refuses_scheme() => signs_by_scheme(connection, key, &area),
                        result => result.map(|result| result.expose() == one),
                    }
                }
                (_, Some((curve, x, y))) if area.attributes().contains(Attributes::SIGN) => {
                    let public = EcPublic::new(curve, x, y).map_err(|_| NOT_ON_CURVE)?;
                    let digest = Hash::Sha256.digest(&[b"can it be used?"]);
                    let signature = sign::sign(connection, key, Hash::Sha256, &digest, SignScheme::Ecdsa);
                    signature.map(|signature| match signature {
                        Signature::Ecc { r, s } => public.verify(&digest, &[r, s].concat()),
                        Signature::Rsa(_) => false,
                    })
                }
                (_, Some((curve, x, y))) => {
                    let point = EcPublic::new(curve, x, y).map_err(|_| NOT_ON_CURVE)?;
                    // What a wrong key makes of the point is none.
                    ecdh::ecdh_z(connection, key, &point).map(|_| true)
                }
                _ => Err(Error::Unsupported("a key of this kind".into())),
            };
            connection.forget(key.name)?;
            used
        });
        match used {
            Ok(right) => Ok(right),
            Err(Error::AuthFailed) => Ok(false),
            Err(Error::Response(code)) if code.base() == ResponseCode::ECC_POINT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in an object of [`Importable::seal`]. One command to import it, and those of [`Tpm::unseal`].
    pub fn unseal_wrapped(&self, primary: &Primary, object: &Importable) -> Result<Secret> {
        let wrapped = self.import_wrapped(primary, object)?;
        let none = Secret::zeroed(0);
        let name = seal::check_seal(&wrapped, &[&none])?;
        self.in_session(|connection| seal::unseal(connection, primary, &wrapped, &name, &none))
    }
}
