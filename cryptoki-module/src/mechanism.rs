//! `CK_MECHANISM` to a typed mechanism: the row says which structure the parameter is.

use base::digest::Hash;
use model::{
    HkdfSalt, Mechanism, MechanismType, ObjectHandle, Ops, ParamKind, Params, SessionHandle, hash_of_mechanism,
    hash_of_mgf, hash_of_prf, kdf,
};
use pkcs11_sys::*;
use token::{Error, Library, Result};

use crate::raw::{Bytes, MAX_VALUE, Place};

impl Place<'_, CK_MECHANISM> {
    /// The mechanism with its parameters. One that has no row keeps none: the token says that it is invalid.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer, `SessionHandleInvalid` before what is wrong with the mechanism (5.1.6),
    /// `MechanismParamInvalid` for a parameter that is not what the row says.
    pub(crate) fn mechanism(&self, library: &Library, session: SessionHandle) -> Result<Mechanism> {
        self.parts()?;
        library.session_info(session)?;
        self.typed()
    }

    /// The mechanism, whatever the session.
    pub(crate) fn typed(&self) -> Result<Mechanism> {
        let (number, parameter) = self.parts()?;
        let ty = MechanismType(number);
        let params = match ty.row().map(|row| row.params) {
            None => Params::None,
            Some(ParamKind::None | ParamKind::WrapIv) if parameter.is_absent() => Params::None,
            Some(ParamKind::None) => Params::Unexpected,
            Some(ParamKind::Pss | ParamKind::PssOf(_)) => pss(&parameter)?,
            Some(ParamKind::Oaep) => oaep(&parameter)?,
            Some(ParamKind::Iv) => Params::Iv(parameter.structure()?),
            Some(ParamKind::Counter) => counter(&parameter)?,
            Some(ParamKind::Gcm) => gcm(&parameter)?,
            Some(ParamKind::MacLen) => Params::MacLen(parameter.structure::<CK_MAC_GENERAL_PARAMS>()?),
            Some(ParamKind::WrapIv) => Params::WrapIv(parameter.structure()?),
            Some(ParamKind::Ecdh) => ecdh(&parameter)?,
            Some(ParamKind::Hkdf) => hkdf(&parameter)?,
            Some(ParamKind::Data) => data(&parameter)?,
            Some(ParamKind::Key) => Params::Key(ObjectHandle(parameter.structure::<CK_OBJECT_HANDLE>()?)),
        };
        Ok(Mechanism { ty, params })
    }

    /// The mechanism of messages whose parameters come with each one: a structure that is given already here is not
    /// looked at.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer, `SessionHandleInvalid` before what is wrong with the mechanism (5.1.6),
    /// `MechanismParamInvalid` for what is not the structure of messages.
    pub(crate) fn message_mechanism(&self, library: &Library, session: SessionHandle) -> Result<Mechanism> {
        let (number, parameter) = self.parts()?;
        library.session_info(session)?;
        let ty = MechanismType(number);
        let messages = Ops::MESSAGE_ENCRYPT | Ops::MESSAGE_DECRYPT;
        // Whatever the parameter of another mechanism is, the token says that it does not do this.
        if !parameter.is_absent() && ty.row().is_some_and(|row| row.ops.intersects(messages)) {
            parameter.structure::<CK_GCM_MESSAGE_PARAMS>()?;
        }
        Ok(Mechanism::plain(ty))
    }

    /// What an `Init` function does: starts an operation, or for a null pointer cancels the one of this kind that is
    /// active (5.8.1 and its like, since version 3.0).
    ///
    /// # Errors
    /// Those of [`Place::mechanism`], of `start`, and of cancelling.
    pub(crate) fn start_or_cancel(
        &self,
        library: &Library,
        session: SessionHandle,
        kind: Ops,
        start: impl FnOnce(&Mechanism) -> Result<()>,
    ) -> Result<()> {
        if self.is_null() {
            return library.cancel(session, kind, false);
        }
        let ty = MechanismType(self.parts()?.0);
        if ty.row().is_none_or(|row| row.ops.contains(kind)) {
            start(&self.mechanism(library, session)?)
        } else {
            // Whatever its parameter is, it does not do this: the token says so.
            start(&Mechanism::plain(ty))
        }
    }
}

impl<'call> Bytes<'call> {
    /// Bytes that a structure of the parameter points to.
    ///
    /// # Errors
    /// `MechanismParamInvalid` for null with a length, or more bytes than a parameter can have.
    pub(crate) fn field(&self, at: *const CK_BYTE, len: CK_ULONG) -> Result<&'call [u8]> {
        if len > MAX_VALUE as CK_ULONG {
            return Err(Error::MechanismParamInvalid("the parameter is too long"));
        }
        let field = self.pointed(at, len).slice();
        field.map_err(|_| Error::MechanismParamInvalid("a pointer in the parameter is null"))
    }
}

fn pss(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_RSA_PKCS_PSS_PARAMS = parameter.structure()?;
    Ok(Params::Pss {
        hash: hash(given.hashAlg)?,
        mgf: mask(given.mgf)?,
        salt_len: usize::try_from(given.sLen).map_err(|_| Error::MechanismParamInvalid("salt too long"))?,
    })
}

fn oaep(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_RSA_PKCS_OAEP_PARAMS = parameter.structure()?;
    let label = parameter.field(given.pSourceData.cast(), given.ulSourceDataLen)?;
    // Without a label some clients leave the source zero.
    if given.source != CKZ_DATA_SPECIFIED && !(given.source == 0 && label.is_empty()) {
        return Err(Error::MechanismParamInvalid("the source is not CKZ_DATA_SPECIFIED"));
    }
    // Whoever says nothing means the defaults of RFC 8017 A.2.1: pkcs11-provider passes zeros on.
    let (hash, mgf) = match (given.hashAlg, given.mgf) {
        (0, 0) => (Hash::Sha1, Hash::Sha1),
        (algorithm, mgf) => (hash(algorithm)?, mask(mgf)?),
    };
    Ok(Params::Oaep { hash, mgf, label: label.to_vec() })
}

fn counter(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_AES_CTR_PARAMS = parameter.structure()?;
    Ok(Params::Counter { bits: given.ulCounterBits, block: given.cb })
}

fn gcm(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_GCM_PARAMS = parameter.structure()?;
    Ok(Params::Gcm {
        // ulIvBits came late to the structure, and many clients leave in it whatever was there: the bytes count.
        iv: parameter.field(given.pIv, given.ulIvLen)?.to_vec(),
        aad: parameter.field(given.pAAD, given.ulAADLen)?.to_vec(),
        tag_bits: given.ulTagBits,
    })
}

fn ecdh(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_ECDH1_DERIVE_PARAMS = parameter.structure()?;
    Ok(Params::Ecdh {
        kdf: kdf(given.kdf).ok_or(Error::MechanismParamInvalid("unknown key derivation function"))?,
        shared: parameter.field(given.pSharedData, given.ulSharedDataLen)?.to_vec(),
        public: parameter.field(given.pPublicData, given.ulPublicDataLen)?.to_vec(),
    })
}

fn hkdf(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_HKDF_PARAMS = parameter.structure()?;
    let (extract, expand) = (given.bExtract != CK_FALSE, given.bExpand != CK_FALSE);
    // What belongs to a step that is not done may be anything.
    let salt = match given.ulSaltType {
        _ if !extract => HkdfSalt::Null,
        CKF_HKDF_SALT_NULL => HkdfSalt::Null,
        CKF_HKDF_SALT_DATA => HkdfSalt::Data(parameter.field(given.pSalt, given.ulSaltLen)?.to_vec()),
        CKF_HKDF_SALT_KEY => HkdfSalt::Key(ObjectHandle(given.hSaltKey)),
        _ => return Err(Error::MechanismParamInvalid("unknown type of salt")),
    };
    let info = if expand { parameter.field(given.pInfo, given.ulInfoLen)?.to_vec() } else { Vec::new() };
    let hash = hash_of_prf(given.prfHashMechanism).ok_or(Error::MechanismParamInvalid("unknown hash"))?;
    Ok(Params::Hkdf { extract, expand, hash, salt, info })
}

fn data(parameter: &Bytes<'_>) -> Result<Params> {
    let given: CK_KEY_DERIVATION_STRING_DATA = parameter.structure()?;
    Ok(Params::Data(parameter.field(given.pData, given.ulLen)?.to_vec()))
}

fn hash(mechanism: CK_MECHANISM_TYPE) -> Result<Hash> {
    hash_of_mechanism(mechanism).ok_or(Error::MechanismParamInvalid("unknown hash"))
}

fn mask(mgf: CK_RSA_PKCS_MGF_TYPE) -> Result<Hash> {
    hash_of_mgf(mgf).ok_or(Error::MechanismParamInvalid("unknown mask generation function"))
}
