//! Objects that are wrapped for a parent elsewhere (TPM 2.0 Part 1, 23.3): made without a TPM, and taken by the one they are for; and
//! the public areas of such parents.

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;
use base::pad::pkcs1_sign_check;
use base::rsa::RsaPublic;

use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::ecdh;
use crate::keys::import::{self, KeyMaterial};
use crate::keys::load;
use crate::keys::primary::{self, Primary};
use crate::keys::seal;
use crate::keys::sign::{self, DecryptScheme, Key, SignScheme, Signature};
use crate::tpm::Tpm;
use crate::wire::constants::alg;
use crate::wire::public::{
    Attributes, Parameters, PublicArea, Scheme, Symmetric, Wrapped, check_tpm2b, curve_id, name_alg,
};
use crate::wire::rc::ResponseCode;
use crate::wire::template::{self, Sealed};

const NOT_ON_CURVE: Error = Error::Malformed("the key is not on its curve");

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

/// Whether an RSA key makes a signature that is its own, where the raw operation is refused.
fn signs_by_scheme(connection: &mut Connection, key: &Key<'_>, area: &PublicArea) -> Result<bool> {
    let (hash, scheme) = (Hash::Sha256, SignScheme::RsaSsa);
    let digest = hash.digest(&[b"can it be used?"]);
    let Signature::Rsa(signature) = sign::sign(connection, key, hash, &digest, scheme)? else { return Ok(false) };
    let public = area.rsa().and_then(|(n, e)| RsaPublic::new(n, e.to_be_bytes()).ok());
    let block = public.and_then(|public| public.raw(&signature).ok());
    Ok(block.is_some_and(|block| pkcs1_sign_check(&block, &[hash.digest_info_prefix(), &digest].concat())))
}
