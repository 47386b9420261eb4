//! The verifier: whether evidence proves that a key was made in a TPM, and can never leave it. Strict: what is not proved is refused.

use base::digest::Hash;
use base::hex::encode as hex;
use base::pad::pkcs1_sign_check;
use tpm::{Attestation, Attested, Attributes, PublicArea, SignScheme};

use super::evidence::Around;
use super::{AIK_CERTIFICATE, EK_CERTIFICATE, Evidence, Hex, Record, RelyingParty, Report, Response, TpmSignature};
use super::{area, reason, webauthn};
use crate::x509;
use token::manage::PublicKey;

/// The object is protected in a duplicate by a key of its own (TPMA_OBJECT encryptedDuplication); it is one that can be duplicated.
const ENCRYPTED_DUPLICATION: Attributes = Attributes::from_bits(1 << 11);

/// What the verifier knows.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Certificates in DER of the authorities that issue certificates for attestation keys.
    pub roots: Vec<Vec<u8>>,
    /// Those of the authorities that issue certificates for endorsement keys.
    pub endorsement_roots: Vec<Vec<u8>>,
    /// What was kept of the enrolment of the attestation key, with the answer of the machine.
    pub enrolment: Option<(Record, Response)>,
    /// What the attestation was asked for.
    pub freshness: Freshness,
    /// The SubjectPublicKeyInfo in DER that the key must have.
    pub key: Option<Vec<u8>>,
    /// The policy that the key must have.
    pub policy: Option<tpm::Policy>,
}

/// By what an attestation is told from an older one.
#[derive(Clone, Debug, Default)]
pub enum Freshness {
    /// Not at all.
    #[default]
    Ignored,
    /// The nonce itself.
    Nonce(Vec<u8>),
    /// The key authorization of an ACME challenge.
    KeyAuthorization(String),
    /// A WebAuthn registration.
    WebAuthn(RelyingParty),
}

/// Reads a policy: JSON, as evidence has it.
///
/// # Errors
/// [`token::Error::General`] for what is none.
pub fn read_policy(text: &[u8]) -> token::Result<tpm::Policy> {
    serde_json::from_slice(text).map_err(|error| super::not_a("policy", error))
}

/// Looks at evidence. Never fails: what is wrong is in the report.
#[must_use]
pub fn verify(evidence: &Evidence, expected: &Expected) -> Report {
    let mut report = Report::default();
    let area = match area(&evidence.public) {
        Ok(area) => area,
        Err(error) => {
            report.bad("name", format!("the public area of the key makes no sense: {}", reason(&error)));
            return report.conclude();
        }
    };
    let key = PublicKey::from_area(&area).ok();
    if let Some(key) = &key {
        report.key = Some(hex(&Hash::Sha256.digest(&[&key.spki()])));
        report.algorithm = Some(described(key));
    }
    if let Some(signer) = attester(evidence, expected, &mut report) {
        let good = signed_by(&signer, &evidence.attest, &evidence.signature);
        report.judge(
            "signature",
            good,
            "the attestation key signed what the TPM said",
            "the attestation is not signed by the attestation key",
        );
    }
    endorsement(evidence, expected, &mut report);
    match Attestation::parse(&evidence.attest) {
        Ok(attestation) => said(&attestation, &area, evidence, expected, key.as_ref(), &mut report),
        Err(error) => report.bad("name", format!("this is nothing that a TPM said: {}", reason(&error))),
    }
    attributes(&area, &mut report);
    strength(&area, key.as_ref(), &mut report);
    request(evidence, expected, key.as_ref(), &mut report);
    policy(&area, evidence, expected, &mut report);
    report.conclude()
}

/// The attestation key, if it is one that is trusted: by an answered challenge, or by a certificate.
fn attester(evidence: &Evidence, expected: &Expected, report: &mut Report) -> Option<PublicKey> {
    const CHECK: &str = "attestation-key";
    let found = match (&expected.enrolment, expected.roots.is_empty()) {
        (Some((record, response)), _) => enrolled(evidence, expected, record, response),
        (None, false) => certified(evidence, expected),
        (None, true) => Err("no authority for attestation keys is given".to_owned()),
    };
    match found {
        Ok((key, text)) => {
            report.good(CHECK, text);
            Some(key)
        }
        Err(why) => {
            report.bad(CHECK, why);
            None
        }
    }
}

type Found = Result<(PublicKey, String), String>;

fn enrolled(evidence: &Evidence, expected: &Expected, record: &Record, response: &Response) -> Found {
    if !record.is_answered_by(response) {
        return Err("the challenge is not answered".to_owned());
    }
    let chain: Vec<&[u8]> = record.endorsement_chain.iter().map(|Hex(der)| der.as_slice()).collect();
    let (leaf, above) = chain.split_first().ok_or("no certificate")?;
    let path = x509::check_path(leaf, above, &expected.endorsement_roots, EK_CERTIFICATE)
        .map_err(|why| format!("the endorsement certificate: {why}"))?;
    if evidence.attester.as_ref().is_some_and(|attester| *attester != record.attester.0) {
        return Err("the attestation is by another attestation key than the enrolled one".to_owned());
    }
    let key = restricted(&record.attester.0)?;
    Ok((key, format!("it answered the challenge for a TPM that {path} vouches for")))
}

fn certified(evidence: &Evidence, expected: &Expected) -> Found {
    let (leaf, above) = evidence.chain.split_first().ok_or("the attestation key has no certificate")?;
    let above: Vec<&[u8]> = above.iter().map(Vec::as_slice).collect();
    let path = x509::check_path(leaf, &above, &expected.roots, AIK_CERTIFICATE)
        .map_err(|why| format!("the certificate of the attestation key: {why}"))?;
    let key = x509::decode(leaf).ok().and_then(|leaf| x509::key_of(&leaf)).ok_or("unknown key")?;
    if let Some(attester) = &evidence.attester
        && restricted(attester)? != key
    {
        return Err("the certificate is for another attestation key".to_owned());
    }
    Ok((key, format!("{path} vouches for it by a certificate")))
}

/// The public half of an attestation key that is one.
fn restricted(public: &[u8]) -> Result<PublicKey, String> {
    let area = area(public).map_err(|error| reason(&error))?;
    if !area.is_attestation_key() {
        return Err("the key that signed is no attestation key: it signs what anybody gives it, or can leave its TPM"
            .to_owned());
    }
    PublicKey::from_area(&area).map_err(|error| error.to_string())
}

/// The certificate of an endorsement key that is there must be good, though it proves nothing of the attestation key beside it.
fn endorsement(evidence: &Evidence, expected: &Expected, report: &mut Report) {
    let Some((leaf, above)) = evidence.endorsement.split_first().filter(|_| expected.enrolment.is_none()) else {
        return;
    };
    if expected.endorsement_roots.is_empty() {
        return report.open("endorsement-key", "there is an endorsement certificate; --ek-roots has it looked at");
    }
    let above: Vec<&[u8]> = above.iter().map(Vec::as_slice).collect();
    match x509::check_path(leaf, &above, &expected.endorsement_roots, EK_CERTIFICATE) {
        Ok(path) => report.good(
            "endorsement-key",
            format!("{path} vouches for its certificate; that the attestation key is beside it, an enrolment shows"),
        ),
        Err(why) => report.bad("endorsement-key", format!("the endorsement certificate: {why}")),
    }
}

/// What the TPM said: of which object, and when.
fn said(
    attestation: &Attestation,
    area: &PublicArea,
    evidence: &Evidence,
    expected: &Expected,
    key: Option<&PublicKey>,
    report: &mut Report,
) {
    let name = area.name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    match &attestation.attested {
        Attested::Certify { name: said, .. } => report.judge(
            "name",
            *said == name && !name.is_empty(),
            "the TPM had the key with this public area loaded",
            "the TPM spoke of a key with another public area: it was altered, or is another one",
        ),
        _ => report.bad("name", "the TPM said something else than that it has a key (no TPM2_Certify)"),
    }
    let extra = &attestation.extra_data;
    let (fresh, no) = match &expected.freshness {
        Freshness::Ignored => {
            return report.open("freshness", "nobody asked: it may be old, and the key may be gone by now");
        }
        Freshness::Nonce(nonce) => (extra == nonce, "the nonce is another one"),
        Freshness::KeyAuthorization(text) => {
            (*extra == Hash::Sha256.digest(&[text.as_bytes()]), "the key authorization is another one")
        }
        Freshness::WebAuthn(party) => {
            let fresh = match (&evidence.around, key) {
                (Around::WebAuthn(Some(data)), Some(key)) => {
                    webauthn::fits(data, party, key) && *extra == party.expected(data)
                }
                _ => false,
            };
            (fresh, "it is for another registration, or of another key")
        }
    };
    report.judge("freshness", fresh, "it was made for this question", no);
}

fn attributes(area: &PublicArea, report: &mut Report) {
    let has = |attribute| area.attributes().contains(attribute);
    let mut wrong = Vec::new();
    for (name, attribute, wanted) in [
        ("fixedTPM", Attributes::FIXED_TPM, true),
        ("fixedParent", Attributes::FIXED_PARENT, true),
        ("sensitiveDataOrigin", Attributes::SENSITIVE_DATA_ORIGIN, true),
        ("encryptedDuplication", ENCRYPTED_DUPLICATION, false),
        ("restricted", Attributes::RESTRICTED, false),
    ] {
        if has(attribute) != wanted {
            wrong.push(format!("{name} is {}", if wanted { "clear" } else { "set" }));
        }
    }
    if !has(Attributes::SIGN) && !has(Attributes::DECRYPT) {
        wrong.push("neither sign nor decrypt is set".to_owned());
    }
    match wrong.is_empty() {
        true => report.good(
            "attributes",
            "the TPM made the key, and never lets it out (fixedTPM, fixedParent, sensitiveDataOrigin)",
        ),
        false => report.bad("attributes", format!("the key is not one that only this TPM has: {}", wrong.join(", "))),
    }
}

/// Names by a weak digest can be those of two keys, and a short key is anybody's soon.
fn strength(area: &PublicArea, key: Option<&PublicKey>, report: &mut Report) {
    const CHECK: &str = "strength";
    let name = matches!(area.name_hash(), Ok(Hash::Sha256 | Hash::Sha384 | Hash::Sha512));
    match key {
        None => report.bad(CHECK, "the key is of a kind that is not known here"),
        Some(_) if !name => report.bad(CHECK, "the name of the key is made by a digest that is too weak"),
        Some(key) if is_long(key) => report.good(CHECK, format!("the key is {}", described(key))),
        Some(key) => report.bad(CHECK, format!("the key is too short: {}", described(key))),
    }
}

fn is_long(key: &PublicKey) -> bool {
    match key {
        PublicKey::Rsa(key) => key.modulus_bits() >= 2048,
        PublicKey::Ec(key) => key.curve().field_len() >= 32,
    }
}

/// A request around the attestation, and the key that the caller knows.
fn request(evidence: &Evidence, expected: &Expected, key: Option<&PublicKey>, report: &mut Report) {
    let is_key = |spki: &[u8]| key.is_some_and(|key| x509::is_of(spki, key));
    match &evidence.around {
        Around::Request { spki, signed } => {
            report.judge("request", *signed, "it is signed by its key", "the request is not signed by its own key");
            report.judge("request-key", is_key(spki), "it is for the attested key", "the request is for another key");
        }
        Around::IDevId { digest, signed } => {
            report.judge("request", *signed, "it is signed by its key", "the request is not signed by its own key");
            if !*digest {
                report.bad("request", "the digest of its contents is wrong");
            }
        }
        Around::Nothing | Around::WebAuthn(_) => {}
    }
    if let Some(spki) = &expected.key {
        report.judge(
            "key",
            is_key(spki),
            "it is the key that was named",
            "the attested key is another one than the named",
        );
    }
}

/// What the key's policy demands, as far as its digest proves it, and what nobody can prove.
fn policy(area: &PublicArea, evidence: &Evidence, expected: &Expected, report: &mut Report) {
    const CHECK: &str = "policy";
    let by_value = area.attributes().contains(Attributes::USER_WITH_AUTH);
    let digest = area.auth_policy();
    match (&expected.policy, &evidence.policy) {
        (Some(policy), _) => {
            let good = policy.digest() == digest && !by_value;
            report.judge(
                CHECK,
                good,
                &format!("the key demands {policy}"),
                "the key has another policy than the given one",
            );
        }
        (None, Some(policy)) if policy.digest() == digest && !by_value => {
            report.good(CHECK, format!("the key demands {policy}"));
        }
        (None, Some(_)) => report.bad(CHECK, "the policy beside it is not that of the key"),
        (None, None) if digest.is_empty() => report.good(CHECK, "the key has none"),
        (None, None) => {
            report.open(CHECK, format!("the key has one with the digest {}; --policy says which", hex(digest)))
        }
    }
    if by_value {
        report.open("pin", "the key is used by an authorisation value; that a PIN is before it, nobody can prove");
    }
}

/// Whether a TPM's signature over a message is by this key. SHA-1 is not taken.
pub(crate) fn signed_by(key: &PublicKey, message: &[u8], signature: &TpmSignature) -> bool {
    let Ok(signature) = signature.parse(key) else { return false };
    if !matches!(signature.hash, Hash::Sha256 | Hash::Sha384 | Hash::Sha512) {
        return false;
    }
    let digest = signature.hash.digest(&[message]);
    if !is_long(key) {
        return false;
    }
    match (key, signature.scheme) {
        (PublicKey::Rsa(key), SignScheme::RsaSsa) => {
            let info = [signature.hash.digest_info_prefix(), &digest].concat();
            key.raw(&signature.value).is_ok_and(|block| pkcs1_sign_check(&block, &info))
        }
        (PublicKey::Ec(key), SignScheme::Ecdsa) => key.verify(&digest, &signature.value),
        _ => false,
    }
}

fn described(key: &PublicKey) -> String {
    match key {
        PublicKey::Rsa(key) => format!("RSA {}", key.modulus_bits()),
        PublicKey::Ec(key) => key.curve().name().to_owned(),
    }
}
