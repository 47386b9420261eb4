//! Attestation keys, and what they attest: that a key is in this TPM (TPM 2.0 Part 1, 31; Part 3, 18).
//!
//! An attestation key is a restricted signing key: it signs what the TPM says of itself, and nothing that comes from outside and looks
//! like that. It has no authorisation value, since what it signs is true whoever asks, and no lockout.

use base::Secret;

use crate::connection::Connection;
use crate::connection::primary::Primary;
use crate::error::{Error, Result};
use crate::keys::load;
use crate::keys::seal;
use crate::keys::sign::Key;
use crate::session::authorization::Entity;
use crate::session::command::Authorization;
use crate::wire::constants::{alg, cc, ecc};
use crate::wire::public::{Attributes, Name, Parameters, PublicArea, Scheme, Wrapped, name_alg};
use crate::wire::{Reader, Writer};

/// Most bytes that go into an attestation from outside, on a TPM that knows no longer hash than SHA-256 (TPM2B_DATA).
pub const MOST_QUALIFYING: usize = 34;

/// What kind of attestation key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationTemplate {
    /// RSA with 2048 bits, RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa2048,
    /// P-256, ECDSA with SHA-256.
    P256,
}

impl AttestationTemplate {
    fn area(self) -> Result<PublicArea> {
        let attributes = [
            Attributes::FIXED_TPM,
            Attributes::FIXED_PARENT,
            Attributes::SENSITIVE_DATA_ORIGIN,
            Attributes::USER_WITH_AUTH,
            Attributes::NO_DA,
            Attributes::RESTRICTED,
            Attributes::SIGN,
        ];
        let scheme = |algorithm| Scheme { algorithm, hash: Some(alg::SHA256), extra: None };
        Ok(PublicArea {
            name_alg: name_alg()?,
            attributes: attributes.into_iter().fold(Attributes::from_bits(0), Attributes::union),
            auth_policy: Vec::new(),
            parameters: match self {
                AttestationTemplate::Rsa2048 => Parameters::Rsa {
                    symmetric: None,
                    scheme: scheme(alg::RSASSA),
                    bits: 2048,
                    exponent: 0,
                    modulus: Vec::new(),
                },
                AttestationTemplate::P256 => Parameters::Ecc {
                    symmetric: None,
                    scheme: scheme(alg::ECDSA),
                    curve: ecc::NIST_P256,
                    kdf: Scheme::NULL,
                    x: Vec::new(),
                    y: Vec::new(),
                },
            },
        })
    }
}

/// What the TPM said, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

/// An attestation key, with what there is of its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttestationKey {
    /// The key.
    pub wrapped: Wrapped,
    /// TPMS_CREATION_DATA.
    pub creation_data: Vec<u8>,
    /// TPM2_CertifyCreation of the key by itself.
    pub creation: Statement,
}

/// An attestation key at rest.
#[derive(Clone, Copy, Debug)]
pub struct Attester<'a> {
    /// The primary it is wrapped by.
    pub primary: &'a Primary,
    /// Its blobs.
    pub wrapped: &'a Wrapped,
}

impl Attester<'_> {
    /// The name of the key, if it is an attestation key.
    pub(crate) fn check(&self) -> Result<Name> {
        let area = self.wrapped.public_area()?;
        if !area.is_attestation_key() {
            return Err(Error::Invalid("this is no attestation key"));
        }
        area.name()
    }
}

impl PublicArea {
    /// Whether this is a key that signs what the TPM itself says, and nothing else: restricted, signing, made by the TPM and never
    /// outside of it.
    pub fn is_attestation_key(&self) -> bool {
        self.is_native()
            && self.attributes().contains(Attributes::RESTRICTED.union(Attributes::SIGN))
            && !self.attributes().contains(Attributes::DECRYPT)
    }
}

/// StartAuthSession, Create, Load, CertifyCreation, FlushContext.
pub(crate) fn create(
    connection: &mut Connection,
    primary: &Primary,
    template: AttestationTemplate,
) -> Result<NewAttestationKey> {
    let template = &template.area()?;
    let protection = connection.salted(primary)?;
    connection.with(protection, |connection, protection| {
        let none = Secret::zeroed(0);
        let (wrapped, rest) = seal::create_with_ticket(connection, primary, template, &none, None, protection)?;
        let mut rest = Reader::new(&rest);
        let creation_data = rest.tpm2b()?.to_vec();
        let creation_hash = rest.tpm2b()?;
        let ticket = rest.rest();
        let name = wrapped.name()?;
        let session = protection.session.as_mut();
        let handle = connection.load(primary, &wrapped.public, &wrapped.private, &name, session)?;
        protection.keep = false;
        let parameters = Writer::new().tpm2b(&[]).tpm2b(creation_hash).u16(alg::NULL).bytes(ticket);
        let command = connection.command(cc::CERTIFY_CREATION, vec![handle.clone(), handle], parameters)?;
        let entity = Entity { name: &name, auth: &none };
        let response = connection.execute(&command, &mut [protection.authorize(entity, false, false)])?;
        let creation = read_statement(response.reader())?;
        Ok(NewAttestationKey { wrapped, creation_data, creation })
    })
}

/// The key as for any use, Load of the attestation key, Certify.
pub(crate) fn certify(
    connection: &mut Connection,
    key: &Key<'_>,
    attester: Attester<'_>,
    name: &Name,
    qualifying: &[u8],
) -> Result<Statement> {
    load::with_key(connection, key, cc::CERTIFY, |connection, handle, protection| {
        let Attester { primary, wrapped: Wrapped { public, private } } = attester;
        // A session that is bound to the key says nothing of the primary, unless that asks for more than an empty value.
        let session = protection.session.as_mut().filter(|session| session.has_key() && !primary.auth.is_empty());
        let signer = connection.load(primary, public, private, name, session)?;
        // Whoever attests does it once.
        protection.keep = false;
        let parameters = Writer::new().tpm2b(qualifying).u16(alg::NULL);
        let command = connection.command(cc::CERTIFY, vec![handle, signer], parameters)?;
        let none = Secret::zeroed(0);
        let entity = Entity { name: key.name, auth: key.auth };
        let authorizations = &mut [protection.authorize(entity, false, false), Authorization::Password(&none)];
        read_statement(connection.execute(&command, authorizations)?.reader())
    })
}

fn read_statement(mut reader: Reader<'_>) -> Result<Statement> {
    let attest = reader.tpm2b()?.to_vec();
    // TPMT_SIGNATURE is the rest: what it is, is looked at where it is used.
    let signature = reader.rest().to_vec();
    crate::keys::statement::Attestation::parse(&attest)?;
    crate::keys::statement::AttestationSignature::parse(&signature, None)?;
    Ok(Statement { attest, signature })
}
