//! Objects that are wrapped for a parent elsewhere (TPM 2.0 Part 1, 23.3): made without a TPM, and taken by the one they are for; and
//! the public areas of such parents.

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;
use base::pad::pkcs1_sign_check;
use base::rsa::RsaPublic;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::keys::import::{self, KeyMaterial};
use crate::keys::sign::{self, Key, SignScheme};
use crate::wire::constants::alg;
use crate::wire::public::{Attributes, Parameters, PublicArea, Scheme, Symmetric, check_tpm2b, curve_id, name_alg};
use crate::wire::signature::Signature;
use crate::wire::template::{self, Sealed};

pub(crate) const NOT_ON_CURVE: Error = Error::Malformed("the key is not on its curve");

/// An object that one parent, and no other, can take by TPM2_Import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Importable {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE: the duplicate, with its outer wrapper and no inner one.
    pub private: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET: what the wrapper is derived from, for the parent's eyes.
    pub secret: Vec<u8>,
}

impl Importable {
    /// Wraps a key for the storage key with this public area. No TPM is needed for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no key, or no storage key; [`Error::Unsupported`].
    pub fn wrap(parent: &PublicArea, material: &KeyMaterial, auth: &Secret) -> Result<Importable> {
        check_parent(parent)?;
        import::wrap(parent, &import::check(material, auth, None)?)
    }

    /// Wraps up to 128 bytes that the parent's TPM unseals for whoever has them.
    ///
    /// # Errors
    /// As [`Importable::wrap`].
    pub fn seal(parent: &PublicArea, data: &Secret) -> Result<Importable> {
        check_parent(parent)?;
        let mut area = template::seal(Sealed::Value)?;
        area.attributes = Attributes::USER_WITH_AUTH.union(Attributes::NO_DA);
        import::wrap(parent, &import::secret_key(area, data, &Secret::zeroed(0))?)
    }

    /// The parsed public area of a thing that TPM2_Import takes, and that is used by its authorisation value.
    ///
    /// # Errors
    /// [`Error::Malformed`], or [`Error::Invalid`] for what cannot be imported, or not be used then.
    pub fn public_area(&self) -> Result<PublicArea> {
        for blob in [&self.private, &self.secret] {
            check_tpm2b(blob)?;
        }
        let area = PublicArea::parse(&self.public)?;
        let fixed = [Attributes::FIXED_TPM, Attributes::FIXED_PARENT].into_iter();
        if fixed.into_iter().any(|fixed| area.attributes().contains(fixed)) {
            return Err(Error::Invalid("the object is bound to the TPM that made it"));
        }
        if !area.attributes().contains(Attributes::USER_WITH_AUTH) || area.attributes().contains(Attributes::RESTRICTED)
        {
            return Err(Error::Invalid(
                "a policy or restriction of the key keeps it from being used by its authorisation value alone",
            ));
        }
        Ok(area)
    }
}

/// Is this a parent that something can be wrapped for?
fn check_parent(parent: &PublicArea) -> Result<()> {
    if parent.is_storage_key() {
        return Ok(());
    }
    Err(Error::Invalid("the public area is not that of a storage key"))
}

impl PublicArea {
    /// The storage key that a recovery key in a file is taken for: what its name is computed from. SHA-256, AES-128-CFB.
    pub fn recovery_rsa(key: &RsaPublic) -> Result<PublicArea> {
        let exponent =
            key.e().iter().try_fold(0_u32, |number, byte| number.checked_mul(0x100)?.checked_add((*byte).into()));
        let bits = u16::try_from(key.modulus_bits()).map_err(|_| Error::Invalid("the RSA key is too long"))?;
        if bits < 2048 {
            return Err(Error::Invalid("an RSA recovery key has at least 2048 bits"));
        }
        let exponent = exponent.ok_or(Error::Invalid("the public exponent has more than 32 bits"))?;
        recovery(Parameters::Rsa {
            symmetric: Some(OUTER),
            scheme: Scheme::NULL,
            bits,
            exponent: if exponent == crate::wire::public::DEFAULT_EXPONENT { 0 } else { exponent },
            modulus: key.n().to_vec(),
        })
    }

    /// The same for a point.
    pub fn recovery_ecc(key: &EcPublic) -> Result<PublicArea> {
        recovery(Parameters::Ecc {
            symmetric: Some(OUTER),
            scheme: Scheme::NULL,
            curve: curve_id(key.curve()),
            kdf: Scheme::NULL,
            x: key.x().to_vec(),
            y: key.y().to_vec(),
        })
    }

    /// Is the key made for one scheme, which its user cannot choose?
    pub fn has_scheme(&self) -> bool {
        match &self.parameters {
            Parameters::Rsa { scheme, .. } | Parameters::Ecc { scheme, .. } | Parameters::KeyedHash { scheme, .. } => {
                *scheme != Scheme::NULL
            }
            Parameters::SymCipher { .. } => false,
        }
    }

    /// Is it a storage key, under which others can be?
    pub fn is_parent(&self) -> bool {
        self.is_storage_key()
    }
}

const OUTER: Symmetric = Symmetric { algorithm: alg::AES, bits: 128, mode: alg::CFB };

fn recovery(parameters: Parameters) -> Result<PublicArea> {
    Ok(PublicArea {
        name_alg: name_alg()?,
        attributes: Attributes::RESTRICTED.union(Attributes::DECRYPT).union(Attributes::USER_WITH_AUTH),
        auth_policy: Vec::new(),
        parameters,
    })
}

/// Whether an RSA key makes a signature that is its own, where the raw operation is refused.
pub(crate) fn signs_by_scheme(connection: &mut Connection, key: &Key<'_>, area: &PublicArea) -> Result<bool> {
    let (hash, scheme) = (Hash::Sha256, SignScheme::RsaSsa);
    let digest = hash.digest(&[b"can it be used?"]);
    let Signature::Rsa(signature) = sign::sign(connection, key, hash, &digest, scheme)? else { return Ok(false) };
    let public = area.rsa().and_then(|(n, e)| RsaPublic::new(n, e.to_be_bytes()).ok());
    let block = public.and_then(|public| public.raw(&signature).ok());
    Ok(block.is_some_and(|block| pkcs1_sign_check(&block, &[hash.digest_info_prefix(), &digest].concat())))
}
