//! `CK_MECHANISM` to a typed mechanism: the row says which structure the parameter is.

use model::{Mechanism, MechanismType, ParamKind, Params, hash_of_mechanism, hash_of_mgf};
use pkcs11_sys::{CK_MECHANISM, CK_RSA_PKCS_OAEP_PARAMS, CK_RSA_PKCS_PSS_PARAMS, CKZ_DATA_SPECIFIED};
use token::{Error, Result};

use crate::raw::{Bytes, Place};

impl Place<'_, CK_MECHANISM> {
    /// The mechanism with its parameters. One that has no row keeps none: the token says that it is invalid.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer, `MechanismParamInvalid` for a parameter that is not what the row says.
    pub(crate) fn mechanism(&self) -> Result<Mechanism> {
        let (number, parameter) = self.parts()?;
        let ty = MechanismType(number);
        let params = match ty.row().map(|row| row.params) {
            None => Params::None,
            Some(ParamKind::None) if parameter.is_absent() => Params::None,
            Some(ParamKind::None) => Params::Unexpected,
            Some(ParamKind::Pss | ParamKind::PssOf(_)) => pss(&parameter)?,
            Some(ParamKind::Oaep) => oaep(&parameter)?,
        };
        Ok(Mechanism { ty, params })
    }
}

fn pss(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_RSA_PKCS_PSS_PARAMS = parameter.structure()?;
    Ok(Params::Pss {
        hash: hash_of_mechanism(given.hashAlg).ok_or(Error::MechanismParamInvalid("unknown hash"))?,
        mgf: hash_of_mgf(given.mgf).ok_or(Error::MechanismParamInvalid("unknown mask generation function"))?,
        salt_len: usize::try_from(given.sLen).map_err(|_| Error::MechanismParamInvalid("salt too long"))?,
    })
}

fn oaep(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_RSA_PKCS_OAEP_PARAMS = parameter.structure()?;
    let label = parameter.pointed(given.pSourceData, given.ulSourceDataLen)?;
    // Without a label some clients leave the source zero.
    if given.source != CKZ_DATA_SPECIFIED && !(given.source == 0 && label.is_empty()) {
        return Err(Error::MechanismParamInvalid("the source is not CKZ_DATA_SPECIFIED"));
    }
    Ok(Params::Oaep {
        hash: hash_of_mechanism(given.hashAlg).ok_or(Error::MechanismParamInvalid("unknown hash"))?,
        mgf: hash_of_mgf(given.mgf).ok_or(Error::MechanismParamInvalid("unknown mask generation function"))?,
        label: label.to_vec(),
    })
}
