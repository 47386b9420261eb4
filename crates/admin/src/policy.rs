//! Policies of new keys and tokens: from what a person says to what the TPM is given; and whether they are met.

use base::curve::EcPublic;
use base::hex::encode as hex;
use base::rsa::RsaPublic;
use model::{AttributeType, ObjectClass};
use serde::Serialize;

use super::uri::KeyUri;
use super::{Admin, pcr_values};
use token::Config;
use token::Library;
use token::manage::{BoundPolicy, Object, PublicKey};
use token::{Error, Result};

/// A public key, as a person names it.
#[derive(Clone, Debug)]
pub enum PublicSource {
    /// An RSA key.
    Rsa(RsaPublic),
    /// A key on a NIST curve.
    Ec(EcPublic),
    /// A key of a token in the same store.
    Token(KeyUri),
}

/// Values of PCRs, as a person names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PcrSource {
    /// What the TPM has at present.
    Present,
    /// The contents of a file: what `tpm2_pcrread -o` writes, what `ptool pcr show`, `tpm2_pcrread` or `systemd-measure
    /// calculate` print, or JSON.
    File(Vec<u8>),
}

/// What state of the machine a new key, or a whole token, is bound to.
#[derive(Clone, Debug)]
pub struct PolicyRequest {
    /// PCRs such as `sha256:0,2,7`. Each in each of the states is an alternative, eight at most. Beside an `authority` they are
    /// only checked for being PCRs: what is good is what the authority says.
    pub pcrs: Vec<String>,
    /// The states.
    pub states: Vec<PcrSource>,
    /// Any state that one of these keys approves of is good, instead of the present one.
    pub authorities: Vec<PublicSource>,
    /// Any state that one of these keys approves of is good, too.
    pub or_authorities: Vec<PublicSource>,
    /// The PIN is needed as well.
    pub pin: bool,
}

/// Does the present state satisfy a policy?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyCheck {
    /// The key's number; none for the token itself.
    pub id: Option<i64>,
    /// The label of the key or token.
    pub label: Option<String>,
    /// The policy in short, such as `sha256:0,7 + PIN`.
    pub policy: String,
    /// Its digest, in hexadecimal: the object's authPolicy where it is the whole of it.
    pub digest: String,
    /// The machine is in a state that the policy wants.
    pub satisfied: bool,
    /// What is in the way.
    pub why: Option<String>,
}

/// Values of PCRs in hexadecimal, by the name of their bank and their number in two digits.
pub type PcrReport = std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>;

impl Admin {
    /// The policy that was asked for. One TPM command for each eight PCRs whose present values are wanted, two for each authority.
    pub(super) fn policy(&self, request: &PolicyRequest) -> Result<BoundPolicy> {
        let literal = request.authorities.is_empty();
        let mut alternatives = Vec::new();
        if request.pcrs.is_empty() && literal {
            return Err(Error::ArgumentsBad("no PCRs are named, and no authority"));
        }
        for pcrs in &request.pcrs {
            let selection = selection(pcrs)?;
            for state in request.states.iter().filter(|_| literal) {
                let values = state_of(&self.library, state, &selection)?;
                alternatives.push(tpm::Policy::new(vec![tpm::PolicyStep::pcr(selection.clone(), &values)?])?);
            }
        }
        for source in request.authorities.iter().chain(&request.or_authorities) {
            let key = self.authority(source)?;
            self.library.tpm()?.check_authority(&key).map_err(|error| match error {
                tpm::Error::Unsupported(_) => Error::ArgumentsBad(
                    "this TPM cannot check what the authority's key signs; any TPM can with RSA of 2048 bits, and on P-256",
                ),
                error => error.into(),
            })?;
            alternatives.push(tpm::Policy::new(vec![tpm::PolicyStep::authorize(key)])?);
        }
        // Two that are alike would be one alternative that looks like two.
        let mut digests: Vec<Vec<u8>> = Vec::new();
        alternatives.retain(|policy| {
            let new = !digests.iter().any(|digest| digest == policy.digest());
            digests.push(policy.digest().to_vec());
            new
        });
        if alternatives.len() > 8 {
            return Err(Error::ArgumentsBad(
                "a policy has at most eight alternatives; an authority (--pcr-authority) can approve of any number",
            ));
        }
        let mut steps = tpm::Policy::any_of(alternatives)?.steps().to_vec();
        if request.pin {
            steps.push(tpm::PolicyStep::AuthValue);
        }
        BoundPolicy::new(tpm::Policy::new(steps)?)
    }

    /// Whether the present state satisfies the token's policy and those of its keys, or of the one key with this label. The PIN
    /// does not matter for the answer.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] without such a token or key, or where nothing of it has a policy.
    pub fn check_policies(&self, label: &str, key_label: Option<&str>) -> Result<Vec<PolicyCheck>> {
        let token = self.token(label)?;
        let mut checks = Vec::new();
        if key_label.is_none()
            && let Some(policy) = token.policy()?
        {
            checks.push(self.check(None, Some(label.to_owned()), &policy)?);
        }
        let wanted = |object: &Object| {
            object.key.is_some()
                && key_label.is_none_or(|key| object.attributes.bytes(AttributeType::LABEL) == Some(key.as_bytes()))
        };
        let catalog = token.catalog()?;
        let mut found = false;
        for object in catalog.values().filter(|object| wanted(object)) {
            found = true;
            if let Some(policy) = &object.policy {
                let summary = object.summary();
                checks.push(self.check(Some(summary.id), summary.label, policy)?);
            }
        }
        match (key_label, found, checks.is_empty()) {
            (Some(_), false, _) => {
                Err(Error::ArgumentsBad("there is no key with this label in the token; see `ptool listobjects`"))
            }
            (Some(_), true, true) => Err(Error::ArgumentsBad(
                "the key has no policy: it works in any state; `ptool addkey --pcr` makes one that does not",
            )),
            (None, _, true) => Err(Error::ArgumentsBad(
                "neither the token nor any key in it has a policy: they work in any state; `ptool addkey --pcr` makes a key that does not",
            )),
            _ => Ok(checks),
        }
    }

    /// Values of the PCRs in these selections, or of the bank SHA-256. Needs no store.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] for what is no selection; [`Error::DeviceRemoved`] without a TPM.
    pub fn read_pcrs(config: Config, pcrs: &[String]) -> Result<PcrReport> {
        let admin = Self { library: Library::open(config)? };
        let selections = match pcrs {
            [] => vec![tpm::PcrSelection::all(base::digest::Hash::Sha256)?],
            pcrs => pcrs.iter().map(|text| selection(text)).collect::<Result<_>>()?,
        };
        let mut report = PcrReport::new();
        for selection in selections {
            let values = present(&admin.library, &selection)?;
            let bank = selection.to_string().split(':').next().unwrap_or_default().to_owned();
            let values = values.into_iter().map(|(pcr, value): (u8, Vec<u8>)| (format!("{pcr:02}"), hex(&value)));
            report.entry(bank).or_default().extend(values);
        }
        Ok(report)
    }

    /// The authority with this public key.
    fn authority(&self, source: &PublicSource) -> Result<tpm::AuthorityKey> {
        let key = match source {
            PublicSource::Rsa(key) => PublicKey::Rsa(key.clone()),
            PublicSource::Ec(key) => PublicKey::Ec(key.clone()),
            PublicSource::Token(uri) => self.find_key(uri, &[ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY])?,
        };
        authority_of(&key)
    }

    /// The public half of the key that a URI names.
    pub(super) fn find_key(&self, uri: &KeyUri, classes: &[ObjectClass]) -> Result<PublicKey> {
        let token = self.token(&uri.token)?;
        let catalog = token.catalog()?;
        let mut found = catalog.values().filter(|object| classes.contains(&object.class()) && uri.is_of(object));
        let first = found
            .next()
            .ok_or(Error::ArgumentsBad(
                "the PKCS#11 URI names no key of the token; `ptool listobjects` shows labels and ids",
            ))?
            .public_key()?;
        // Both halves of one pair have the same public key.
        if found.any(|other| other.public_key().is_ok_and(|key| key != first)) {
            return Err(Error::ArgumentsBad("the PKCS#11 URI names several keys of the token; give the id as well"));
        }
        Ok(first)
    }

    fn check(&self, id: Option<i64>, label: Option<String>, policy: &BoundPolicy) -> Result<PolicyCheck> {
        let approvals = self.library.approvals_for(policy)?;
        let result =
            self.library.tpm()?.check_policy(&tpm::PolicyUse { policy: policy.policy(), approvals: &approvals });
        let why = match result {
            Ok(()) => None,
            Err(error @ tpm::Error::PolicyNotMet(_)) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let digest = hex(policy.policy().digest());
        Ok(PolicyCheck { id, label, policy: policy.to_string(), digest, satisfied: why.is_none(), why })
    }
}

/// Is this how PCRs are named?
///
/// # Errors
/// [`Error::ArgumentsBad`], which says how they are.
pub fn check_pcrs(text: &str) -> Result<()> {
    selection(text).map(drop)
}

/// PCRs from what a person wrote.
pub(super) fn selection(text: &str) -> Result<tpm::PcrSelection> {
    text.parse().map_err(|_| {
        Error::ArgumentsBad("PCRs are named by their bank and their numbers from 0 to 23, as in sha256:0,2,7")
    })
}

/// The present values: of the TPM of the store, if there is one, and by its proof. What is signed on their word is good for ever.
fn present(library: &Library, selection: &tpm::PcrSelection) -> Result<tpm::PcrValues> {
    let tpm = library.tpm()?;
    Ok(match library.pinned()? {
        Some(primary) => tpm.pcr_read_proved(&primary, selection)?,
        None => tpm.pcr_read(selection)?,
    })
}

/// The values of the selected PCRs.
pub(super) fn state_of(library: &Library, state: &PcrSource, selection: &tpm::PcrSelection) -> Result<tpm::PcrValues> {
    match state {
        PcrSource::Present => present(library, selection),
        PcrSource::File(file) => pcr_values::parse(file, selection),
    }
}

pub(super) fn authority_of(key: &PublicKey) -> Result<tpm::AuthorityKey> {
    Ok(match key {
        PublicKey::Rsa(key) => tpm::AuthorityKey::from_rsa(key)?,
        PublicKey::Ec(key) => tpm::AuthorityKey::from_ec(key)?,
    })
}

impl KeyUri {
    /// Does it name this object?
    pub(super) fn is_of(&self, object: &Object) -> bool {
        let has = |ty, value: Option<&[u8]>| value.is_none_or(|value| object.attributes.bytes(ty) == Some(value));
        has(AttributeType::LABEL, self.object.as_deref().map(str::as_bytes))
            && has(AttributeType::ID, self.id.as_deref())
    }
}
