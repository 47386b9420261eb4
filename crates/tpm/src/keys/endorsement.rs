//! Endorsement keys: the identity that the TPM's maker vouches for (TCG EK Credential Profile for TPM 2.0, 2.5, Annex B), their
//! certificates in NV memory, and the credentials that prove that an attestation key is beside one of them (TPM 2.0 Part 1, 24).

use base::Secret;
use base::digest::Hash;

use crate::connection::Connection;
use crate::connection::primary::{Primary, create_primary_of};
use crate::error::{Error, Result};
use crate::keys::attest::Attester;
use crate::keys::import::WrappingKeys;
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Authorization, Handle, SessionUse};
use crate::session::crypto::Direction;
use crate::session::salt;
use crate::wire::constants::{alg, cc, ecc, nv, rh};
use crate::wire::hash::hash_alg;
use crate::wire::public::{Attributes, Name, Parameters, PublicArea, Scheme, Symmetric};
use crate::wire::{Reader, Writer};

/// The first of the NV indices of endorsement certificates, and where chains of their authorities are.
const FIRST: u32 = 0x01c0_0000;
const CHAIN: std::ops::RangeInclusive<u32> = 0x01c0_0100..=0x01c0_01ff;
/// More than any TPM keeps at one index; a hostile one must not keep us reading.
const MOST_NV: u16 = 8192;
/// What every TPM gives at once (TPM2_PT_NV_BUFFER_MAX).
const CHUNK: u16 = 512;
/// Bytes of a credential, which is a TPM2B_DIGEST of the endorsement key's nameAlg at most.
const MOST_CREDENTIAL: usize = 32;

/// PolicySecret(TPM_RH_ENDORSEMENT): policy A, SHA-256.
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// That, or what an NV index says (PolicyAuthorizeNV): policy B, with SHA-256 and with SHA-384.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// A kind of endorsement key. "Low" and "high" are the ranges of NV indices where their certificates are; their templates differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endorsement {
    /// L-1: RSA with 2048 bits, low range.
    Rsa2048Low,
    /// L-2: P-256, low range.
    P256Low,
    /// H-1: RSA with 2048 bits, high range.
    Rsa2048,
    /// H-2: P-256, high range.
    P256,
    /// H-3: P-384, high range.
    P384,
    /// H-6: RSA with 3072 bits, high range.
    Rsa3072,
}

impl Endorsement {
    /// All kinds.
    pub const ALL: [Endorsement; 6] = [
        Endorsement::Rsa2048Low,
        Endorsement::P256Low,
        Endorsement::Rsa2048,
        Endorsement::P256,
        Endorsement::P384,
        Endorsement::Rsa3072,
    ];

    /// NV index of the certificate.
    pub fn certificate(self) -> u32 {
        match self {
            Endorsement::Rsa2048Low => 0x01c0_0002,
            Endorsement::P256Low => 0x01c0_000a,
            Endorsement::Rsa2048 => 0x01c0_0012,
            Endorsement::P256 => 0x01c0_0014,
            Endorsement::P384 => 0x01c0_0016,
            Endorsement::Rsa3072 => 0x01c0_001c,
        }
    }

    /// The kind whose certificate is at this NV index.
    pub fn at(index: u32) -> Option<Endorsement> {
        Endorsement::ALL.into_iter().find(|kind| kind.certificate() == index)
    }

    /// Whether it is RSA.
    pub fn is_rsa(self) -> bool {
        matches!(self, Endorsement::Rsa2048Low | Endorsement::Rsa2048 | Endorsement::Rsa3072)
    }

    /// Whether it is a key of this kind: RSA or not, and its size in bits. Unknown ones are none.
    pub fn makes(self, key: Option<(bool, u64)>) -> bool {
        let bits = match self {
            Endorsement::Rsa2048Low | Endorsement::Rsa2048 => 2048,
            Endorsement::Rsa3072 => 3072,
            Endorsement::P256Low | Endorsement::P256 => 256,
            Endorsement::P384 => 384,
        };
        key == Some((self.is_rsa(), bits))
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Endorsement::Rsa2048Low => "RSA 2048 (low range)",
            Endorsement::P256Low => "P-256 (low range)",
            Endorsement::Rsa2048 => "RSA 2048 (high range)",
            Endorsement::P256 => "P-256 (high range)",
            Endorsement::P384 => "P-384 (high range)",
            Endorsement::Rsa3072 => "RSA 3072 (high range)",
        }
    }

    fn is_low(self) -> bool {
        matches!(self, Endorsement::Rsa2048Low | Endorsement::P256Low)
    }

    /// NV indices of a nonce and of a whole template that the maker of the TPM put there.
    fn deviations(self) -> (Option<u32>, u32) {
        match self.is_low() {
            true => (Some(self.certificate() + 1), self.certificate() + 2),
            false => (None, self.certificate() + 1),
        }
    }

    /// The template, from which every TPM makes the key that its certificate is for.
    pub(crate) fn template(self) -> Result<PublicArea> {
        let low = self.is_low();
        let (hash, bits, policy) = match self {
            Endorsement::P384 | Endorsement::Rsa3072 => (Hash::Sha384, 256, POLICY_B_SHA384.to_vec()),
            Endorsement::Rsa2048 | Endorsement::P256 => (Hash::Sha256, 128, POLICY_B_SHA256.to_vec()),
            Endorsement::Rsa2048Low | Endorsement::P256Low => (Hash::Sha256, 128, POLICY_A.to_vec()),
        };
        let symmetric = Some(Symmetric { algorithm: alg::AES, bits, mode: alg::CFB });
        let rsa = |bits: u16| Parameters::Rsa {
            symmetric,
            scheme: Scheme::NULL,
            bits,
            exponent: 0,
            // What is derived depends on the length of the empty fields, too.
            modulus: if low { vec![0; 256] } else { Vec::new() },
        };
        let empty = if low { vec![0; 32] } else { Vec::new() };
        let point = |curve| Parameters::Ecc {
            symmetric,
            scheme: Scheme::NULL,
            curve,
            kdf: Scheme::NULL,
            x: empty.clone(),
            y: empty.clone(),
        };
        let parameters = match self {
            Endorsement::Rsa2048Low | Endorsement::Rsa2048 => rsa(2048),
            Endorsement::Rsa3072 => rsa(3072),
            Endorsement::P256Low | Endorsement::P256 => point(ecc::NIST_P256),
            Endorsement::P384 => point(ecc::NIST_P384),
        };
        let attributes = [
            Attributes::FIXED_TPM,
            Attributes::FIXED_PARENT,
            Attributes::SENSITIVE_DATA_ORIGIN,
            Attributes::ADMIN_WITH_POLICY,
            Attributes::RESTRICTED,
            Attributes::DECRYPT,
        ];
        let attributes = attributes.into_iter().fold(Attributes::from_bits(0), Attributes::union);
        Ok(PublicArea {
            name_alg: hash_alg(hash)?,
            attributes: if low { attributes } else { attributes.union(Attributes::USER_WITH_AUTH) },
            auth_policy: policy,
            parameters,
        })
    }
}

/// What a TPM's NV memory has of the makers' authorities, as it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndorsementCertificates {
    /// Certificates of endorsement keys, by their NV index.
    pub certificates: Vec<(u32, Vec<u8>)>,
    /// Certificates of the authorities above them, one after the other, over several indices.
    pub chain: Vec<u8>,
}

impl PublicArea {
    /// Whether credentials may be made for this key: a storage key of the TPM's own, with algorithms that the profile knows. Whose it
    /// is says its certificate.
    pub fn is_endorsement_key(&self) -> bool {
        let known = matches!(
            (self.name_alg(), self.storage_cipher()),
            (
                alg::SHA256 | alg::SHA384 | alg::SHA512,
                Some(Symmetric { algorithm: alg::AES, bits: 128 | 256, mode: alg::CFB })
            )
        );
        known && self.is_native() && self.is_storage_key()
    }
}

/// TPM2_MakeCredential in software: wraps a secret so that only the TPM with this endorsement key can open it, and only while it has an
/// object of this name loaded. Gives TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
///
/// # Errors
/// [`Error::Invalid`] for what is no endorsement key, or a secret of more than 32 bytes; [`Error::Unsupported`] for a curve.
pub fn make_credential(endorsement: &PublicArea, name: &Name, secret: &Secret) -> Result<(Vec<u8>, Vec<u8>)> {
    if !endorsement.is_endorsement_key() {
        return Err(Error::Invalid("this is no endorsement key"));
    }
    if secret.is_empty() || secret.len() > MOST_CREDENTIAL {
        return Err(Error::Invalid("a credential has 1 to 32 bytes"));
    }
    let (seed, encrypted) = salt::share(endorsement, "IDENTITY")?;
    let keys = WrappingKeys::derive(endorsement, &seed, name)?;
    let mut identity = Writer::new().tpm2b(secret.expose()).finish()?;
    keys.apply(&mut identity, Direction::Encrypt)?;
    let mac = keys.mac(&identity, name);
    let object = Writer::new().tpm2b(mac.expose()).bytes(&identity).finish()?;
    let (object, encrypted) = (Writer::new().tpm2b(&object).finish()?, Writer::new().tpm2b(&encrypted).finish()?);
    Ok((object.to_vec(), encrypted.to_vec()))
}

/// The certificates of endorsement keys that the TPM has.
pub(crate) fn certificates(connection: &mut Connection) -> Result<EndorsementCertificates> {
    let mut found = EndorsementCertificates::default();
    for index in connection.handles(FIRST)? {
        let known = Endorsement::at(index).is_some();
        if !known && !CHAIN.contains(&index) {
            continue;
        }
        let Some(content) = read_index(connection, index)? else { continue };
        match known {
            true => found.certificates.push((index, content)),
            false => found.chain.extend(content),
        }
    }
    Ok(found)
}

/// The public area of an endorsement key, and nothing kept of it.
pub(crate) fn public(
    connection: &mut Connection,
    kind: Endorsement,
    primary: &Primary,
    auth: &Secret,
) -> Result<PublicArea> {
    let protection = connection.salted(primary)?;
    connection.with_temporary(protection, |connection, protection| {
        connection.flush_primary()?;
        Ok(derive(connection, kind, auth, protection)?.1)
    })
}

/// CreatePrimary, after what the maker put into NV memory was looked at. The key is a temporary of this operation.
fn derive(
    connection: &mut Connection,
    kind: Endorsement,
    auth: &Secret,
    protection: &mut crate::connection::Protection,
) -> Result<(Handle, PublicArea)> {
    let mut template = kind.template()?;
    let (nonce, whole) = kind.deviations();
    if let Some(own) = read_index(connection, whole)? {
        template = PublicArea::parse_area(&own)?;
        if !template.is_endorsement_key() {
            return Err(Error::Malformed("the template of the endorsement key in NV memory is not that of one"));
        }
    } else if let Some(nonce) = nonce.map(|index| read_index(connection, index)).transpose()?.flatten() {
        fill(&mut template, &nonce)?;
    }
    let none = Secret::zeroed(0);
    let (handle, area) = create_primary_of(connection, &template, rh::ENDORSEMENT, auth, &none, protection)
        .map_err(|error| unmade(error, kind))?;
    let name = area.name()?;
    connection.add_temporary(handle, &name);
    Ok((Handle::object(handle, &name), area))
}

fn unmade(error: Error, kind: Endorsement) -> Error {
    use crate::words::ResponseCode;
    match error {
        Error::Response(code)
            if matches!(
                code.base(),
                ResponseCode::VALUE
                    | ResponseCode::CURVE
                    | ResponseCode::HASH
                    | ResponseCode::SYMMETRIC
                    | ResponseCode::KEY_SIZE
            ) =>
        {
            Error::Unsupported(format!("an endorsement key {}: {code}", kind.name()))
        }
        error => error,
    }
}

/// A nonce begins the first of the empty fields.
fn fill(template: &mut PublicArea, nonce: &[u8]) -> Result<()> {
    let (Parameters::Rsa { modulus: field, .. } | Parameters::Ecc { x: field, .. }) = &mut template.parameters else {
        return Err(Error::Invalid("a template that takes no nonce"));
    };
    if nonce.len() > field.len() {
        return Err(Error::Malformed("the nonce of the endorsement key in NV memory is too long"));
    }
    field.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// All that stands at an NV index; `None` where there is nothing that everybody may read. An index whose own authorisation value may
/// not be empty is asked for by the owner: a wrong one could count towards lockout.
fn read_index(connection: &mut Connection, index: u32) -> Result<Option<Vec<u8>>> {
    let command = connection.command(cc::NV_READ_PUBLIC, vec![Handle::plain(index)], Writer::new())?;
    let response = match connection.execute(&command, &mut []) {
        Ok(response) => response,
        Err(Error::Response(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = response.reader();
    let mut public = Reader::new(reader.tpm2b()?);
    let name = reader.tpm2b()?;
    let (_index, _name_alg, attributes) = (public.u32()?, public.u16()?, public.u32()?);
    public.tpm2b()?;
    let size = public.u16()?;
    public.finish()?;
    let has = |bits: u32| attributes & bits == bits;
    let itself = match Name::from_bytes(name) {
        Ok(name) => Handle::object(index, &name),
        Err(_) => Handle::plain(index),
    };
    let reader = match (has(nv::AUTH_READ | nv::NO_DA), has(nv::OWNER_READ)) {
        (true, _) => itself.clone(),
        (false, true) => Handle::plain(rh::OWNER),
        (false, false) => return Ok(None),
    };
    if size > MOST_NV || !has(nv::WRITTEN) {
        return Ok(None);
    }
    let mut content = Vec::new();
    while let Some(missing) = size.checked_sub(u16::try_from(content.len()).unwrap_or(u16::MAX)).filter(|n| *n > 0) {
        let parameters = Writer::new().u16(missing.min(CHUNK)).u16(size - missing);
        let command = connection.command(cc::NV_READ, vec![reader.clone(), itself.clone()], parameters)?;
        let none = Secret::zeroed(0);
        let response = match connection.execute(&command, &mut [Authorization::Password(&none)]) {
            Ok(response) => response,
            Err(Error::Response(_) | Error::AuthFailed) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut answer = response.reader();
        let part = answer.tpm2b()?;
        if part.is_empty() || part.len() > usize::from(missing.min(CHUNK)) {
            return Err(Error::Malformed("NV memory gives another number of bytes than was asked for"));
        }
        content.extend_from_slice(part);
    }
    Ok(Some(content))
}

/// Opens a credential.
pub(crate) fn activate(
    connection: &mut Connection,
    kind: Endorsement,
    auth: &Secret,
    attester: Attester<'_>,
    name: &Name,
    [credential, secret]: [&[u8]; 2],
) -> Result<Secret> {
    let protection = connection.salted(attester.primary)?;
    connection.with_temporary(protection, |connection, protection| {
        let wrapped = attester.wrapped;
        let session = protection.session.as_mut();
        let object = connection.load(attester.primary, &wrapped.public, &wrapped.private, name, session)?;
        // A TPM may have room for three: a primary that is kept nowhere is not needed any more.
        connection.flush_primary()?;
        let (key, area) = derive(connection, kind, auth, protection)?;
        let none = Secret::zeroed(0);
        let (key_name, own) = (area.name()?, Entity { name, auth: &none });
        let parameters = Writer::new().bytes(credential).bytes(secret);
        let command = connection.command(cc::ACTIVATE_CREDENTIAL, vec![object, key], parameters)?;
        let protected = protection.session.is_some();
        let response = if area.attributes().contains(Attributes::USER_WITH_AUTH) {
            protection.keep = false;
            let authorizations = &mut [protection.authorize(own, false, protected), Authorization::Password(&none)];
            connection.execute(&command, authorizations)
        } else {
            let mut policy = connection.start_policy()?;
            let proved = prove(connection, &policy, auth, protection);
            if let Err(error) = proved {
                connection.add_temporary_session(policy);
                return Err(error);
            }
            protection.keep = false;
            policy.kind = Kind::POLICY;
            let by_policy = SessionUse {
                session: &mut policy,
                entity: Some(Entity { name: &key_name, auth: &none }),
                keep: false,
                decrypt: false,
                encrypt: false,
            };
            let authorizations = &mut [protection.authorize(own, false, protected), Authorization::Session(by_policy)];
            let response = connection.execute(&command, authorizations);
            connection.add_temporary_session(policy);
            response
        };
        let response = response.map_err(not_for_us)?;
        let mut reader = response.reader();
        let opened = Secret::copy_from(reader.tpm2b()?);
        reader.finish()?;
        Ok(opened)
    })
}

/// PolicySecret(TPM_RH_ENDORSEMENT).
fn prove(
    connection: &mut Connection,
    policy: &crate::session::authorization::Session,
    auth: &Secret,
    protection: &mut crate::connection::Protection,
) -> Result<()> {
    let handles = vec![Handle::plain(rh::ENDORSEMENT), Handle::plain(policy.handle)];
    // nonceTPM, cpHashA and policyRef are empty, and there is no expiration.
    let parameters = Writer::new().tpm2b(&[]).tpm2b(&[]).tpm2b(&[]).u32(0);
    let command = connection.command(cc::POLICY_SECRET, handles, parameters)?;
    let hierarchy = Name::of_handle(rh::ENDORSEMENT);
    let entity = Entity { name: &hierarchy, auth };
    connection
        .execute(&command, &mut [protection.authorize(entity, false, false)])
        .map(drop)
        .map_err(crate::connection::primary::owner_error)
}

/// What was wrapped for another key, or with another name, does not open (INTEGRITY); what no key could open has another size or value.
fn not_for_us(error: Error) -> Error {
    use crate::words::ResponseCode;
    match error {
        Error::Response(code)
            if matches!(
                code.base(),
                // FAILURE is libtpms' word for an RSA block that does not open; a TPM that failed would not have come so far.
                ResponseCode::VALUE | ResponseCode::SIZE | ResponseCode::ECC_POINT | ResponseCode::FAILURE
            ) =>
        {
            Error::Integrity
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_those_of_the_profile() {
        for kind in Endorsement::ALL {
            let template = kind.template().unwrap();
            assert!(template.is_endorsement_key(), "{kind:?}");
            assert_eq!(template.auth_policy().len(), template.name_hash().unwrap().len());
            assert_eq!(Endorsement::at(kind.certificate()), Some(kind));
            let user = template.attributes().contains(Attributes::USER_WITH_AUTH);
            assert_eq!(user, !kind.is_low());
            assert_eq!(template.attributes().bits(), if kind.is_low() { 0x0003_00b2 } else { 0x0003_00f2 });
        }
        // A restricted decryption key that signs, or one that can leave its TPM, opens credentials as well as any.
        let mut other = Endorsement::P256.template().unwrap();
        other.attributes = other.attributes.without(Attributes::FIXED_TPM);
        assert!(!other.is_endorsement_key());
    }

    #[test]
    fn policy_a_is_the_endorsement_hierarchy() {
        let secret = Hash::Sha256.digest(&[&[0; 32], &cc::POLICY_SECRET.to_be_bytes(), &rh::ENDORSEMENT.to_be_bytes()]);
        // PolicyUpdate: once with the name, once more with the policyRef, which is empty.
        assert_eq!(Hash::Sha256.digest(&[&secret]), POLICY_A);
    }

    #[test]
    fn a_nonce_begins_an_empty_field() {
        let mut template = Endorsement::Rsa2048Low.template().unwrap();
        fill(&mut template, &[7; 16]).unwrap();
        let Parameters::Rsa { modulus, .. } = &template.parameters else { unreachable!() };
        assert_eq!((modulus.len(), &modulus[..17]), (256, &[&[7; 16][..], &[0]].concat()[..]));
        assert!(fill(&mut template, &[7; 257]).is_err());
        assert!(fill(&mut Endorsement::P256.template().unwrap(), &[7]).is_err());
    }
}
