//! Diffie-Hellman with an elliptic curve key (TPM 2.0 Part 3, 14.5): one command.

use base::Secret;
use base::curve::EcPublic;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::keys::load::{self, use_key};
use crate::keys::sign::{Key, check_usage};
use crate::wire::constants::{alg, cc};
use crate::wire::public::{Attributes, Parameters};
use crate::wire::signature::pad_left;
use crate::wire::{Reader, Writer};

/// One command; Load and StartAuthSession before it as needed.
pub(crate) fn ecdh_z(connection: &mut Connection, key: &Key<'_>, point: &EcPublic) -> Result<Secret> {
    let in_point = Writer::new().tpm2b(point.x()).tpm2b(point.y()).finish()?;
    let response = use_key(connection, key, cc::ECDH_ZGEN, || Writer::new().tpm2b(&in_point), false, true)?;
    let mut reader = response.reader();
    let mut out_point = Reader::new(reader.tpm2b()?);
    reader.finish()?;
    let x = pad_left(out_point.tpm2b()?, point.curve().field_len())?;
    out_point.tpm2b()?;
    out_point.finish()?;
    Ok(x)
}

/// Checks, before anything is sent, that the key derives, and is on the curve of the point.
pub(crate) fn check(key: &Key<'_>, point: &EcPublic) -> Result<()> {
    let area = load::check(key)?;
    check_usage(&area, Attributes::DECRYPT)?;
    let Parameters::Ecc { scheme, .. } = &area.parameters else {
        return Err(Error::Invalid("the key is not an elliptic curve key"));
    };
    if !matches!(scheme.algorithm, alg::NULL | alg::ECDH) {
        return Err(Error::Invalid("the key is made for another scheme"));
    }
    match area.ecc() {
        None => Err(Error::Unsupported("the curve of the key".into())),
        Some((curve, _, _)) if curve != point.curve() => {
            Err(Error::Invalid("the point is on another curve than the key"))
        }
        Some(_) => Ok(()),
    }
}
