//! The door to attestation: keys that attest, what they attest, and endorsement keys.

use base::Secret;

use super::Tpm;
use crate::connection::Repeat;
use crate::connection::primary::Primary;
use crate::error::{Error, Result};
use crate::keys::attest::{self, AttestationTemplate, Attester, MOST_QUALIFYING, NewAttestationKey, Statement};
use crate::keys::endorsement::{self, Endorsement, EndorsementCertificates};
use crate::keys::load;
use crate::keys::sign::Key;
use crate::wire::public::{Attributes, PublicArea, check_tpm2b};

impl Tpm {
    /// Makes an attestation key. StartAuthSession, Create, Load, CertifyCreation, FlushContext.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind that the TPM does not make.
    pub fn create_attestation_key(
        &self,
        primary: &Primary,
        template: AttestationTemplate,
    ) -> Result<NewAttestationKey> {
        self.session(Repeat::Safe, |connection| attest::create(connection, primary, template))
    }

    /// Has the TPM certify that a key is in it. `qualifying` goes into what is signed, at most [`MOST_QUALIFYING`] bytes. The key's
    /// authorisation value is proved by that, its policy is not asked for (the ADMIN role). Two commands more than a first
    /// signature with the key: Load and FlushContext of the attestation key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that is certified by policy only.
    pub fn certify(&self, key: &Key<'_>, attester: Attester<'_>, qualifying: &[u8]) -> Result<Statement> {
        if qualifying.len() > MOST_QUALIFYING {
            return Err(Error::Invalid("no more than 34 bytes go into an attestation"));
        }
        let key = Key { policy: None, ..*key };
        if load::check(&key)?.attributes().contains(Attributes::ADMIN_WITH_POLICY) {
            return Err(Error::Invalid("the key is certified by its policy only (adminWithPolicy)"));
        }
        let name = attester.check()?;
        self.key(key.name, |connection| attest::certify(connection, &key, attester, &name, qualifying))
    }

    /// The certificates of endorsement keys that the TPM has. GetCapability; for each, NV_ReadPublic and an NV_Read for each 512 bytes.
    ///
    /// # Errors
    /// Those of the connection; what cannot be read is left out.
    pub fn endorsement_certificates(&self) -> Result<EndorsementCertificates> {
        self.general(Repeat::Safe, endorsement::certificates)
    }

    /// The public area of an endorsement key. `auth` is the authorisation value of the endorsement hierarchy, mostly empty. At most
    /// StartAuthSession, two NV_ReadPublic, CreatePrimary and FlushContext; and, of a TPM with a template of its own, NV_Read.
    ///
    /// # Errors
    /// [`Error::HierarchyAuth`]; [`Error::Unsupported`] for a kind that the TPM does not make.
    pub fn endorsement_key(&self, kind: Endorsement, primary: &Primary, auth: &Secret) -> Result<PublicArea> {
        self.session(Repeat::Safe, |connection| endorsement::public(connection, kind, primary, auth))
    }

    /// Opens a credential that was made for an endorsement key and an attestation key of this TPM: TPM2B_ID_OBJECT and
    /// TPM2B_ENCRYPTED_SECRET. Those of [`Tpm::endorsement_key`], and Load, StartAuthSession, PolicySecret, ActivateCredential and
    /// FlushContext.
    ///
    /// # Errors
    /// [`Error::Integrity`] for a credential that is not for these two keys; [`Error::HierarchyAuth`].
    pub fn activate_credential(
        &self,
        kind: Endorsement,
        auth: &Secret,
        attester: Attester<'_>,
        credential: &[u8],
        secret: &[u8],
    ) -> Result<Secret> {
        let name = attester.check()?;
        check_tpm2b(credential)?;
        check_tpm2b(secret)?;
        self.session(Repeat::Safe, |connection| {
            endorsement::activate(connection, kind, auth, attester, &name, [credential, secret])
        })
    }
}
