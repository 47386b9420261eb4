//! TSS2 PRIVATE KEY: a key of a TPM in a file ("ASN.1 Specification for TPM 2.0 Key Files"), as tpm2-openssl, tpm2-tss-engine and the
//! engine of openssl_tpm2 write it.
//!
//! ```text
//! TPMKey ::= SEQUENCE {
//!     type        OBJECT IDENTIFIER,
//!     emptyAuth   [0] EXPLICIT BOOLEAN OPTIONAL,
//!     policy      [1] EXPLICIT SEQUENCE OF TPMPolicy OPTIONAL,
//!     secret      [2] EXPLICIT OCTET STRING OPTIONAL,
//!     authPolicy  [3] EXPLICIT SEQUENCE OF TPMAuthPolicy OPTIONAL,
//!     description [4] EXPLICIT UTF8String OPTIONAL,
//!     rsaParent   [5] EXPLICIT BOOLEAN OPTIONAL,
//!     parent      INTEGER,
//!     pubkey      OCTET STRING,
//!     privkey     OCTET STRING }
//!
//! TPMPolicy ::= SEQUENCE {
//!     commandCode   [0] EXPLICIT INTEGER,
//!     commandPolicy [1] EXPLICIT OCTET STRING }
//!
//! TPMAuthPolicy ::= SEQUENCE {
//!     name   [0] EXPLICIT UTF8String OPTIONAL,
//!     policy [1] EXPLICIT SEQUENCE OF TPMPolicy }
//! ```

use base::der as write;

use crate::der::{Element, only_sequence, tag};
use crate::error::{Error, Result};
use crate::pem;

/// The label of the PEM block.
pub const LABEL: &str = "TSS2 PRIVATE KEY";

/// What the blobs are (the type of the file).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The parent loads the key by TPM2_Load.
    Loadable,
    /// The key was wrapped elsewhere: the parent takes it by TPM2_Import.
    Importable,
    /// Sealed data, and no key.
    Sealed,
}

/// 2.23.133.10.1; the kinds are below it.
const KINDS: &[u8] = &[0x67, 0x81, 0x05, 0x0a, 0x01];

impl Kind {
    const fn arc(self) -> u8 {
        match self {
            Kind::Loadable => 3,
            Kind::Importable => 4,
            Kind::Sealed => 5,
        }
    }
}

/// A key of a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TssKey {
    /// What the blobs are.
    pub kind: Kind,
    /// The key has no authorisation value. The file need not say: absent means that it has one, or may have.
    pub empty_auth: bool,
    /// The commands of the policy by which the key is used; none: it has none, or only what `auth_policies` imply.
    pub policy: Vec<PolicyCommand>,
    /// What the authority of the policy approved of, each as its commands.
    pub auth_policies: Vec<Vec<PolicyCommand>>,
    /// TPM2B_ENCRYPTED_SECRET of an importable key.
    pub secret: Option<Vec<u8>>,
    /// What somebody wrote about it.
    pub description: Option<String>,
    /// The parent is RSA: of a hierarchy, the one of the RSA template.
    pub rsa_parent: bool,
    /// Handle of the parent: persistent (0x81......), or a hierarchy (0x40000001 owner), whose primary it is then.
    pub parent: u32,
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
}

/// One command of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCommand {
    /// The TPM_CC.
    pub code: u32,
    /// The marshalled parameters, without handles.
    pub parameters: Vec<u8>,
}

/// More commands, and more approvals, than any policy in a file has use for.
const MOST: usize = 256;

/// TPM_RH_OWNER.
pub const OWNER: u32 = 0x4000_0001;

const BROKEN: Error = Error::Malformed("the TSS2 PRIVATE KEY is not what it should be");

impl TssKey {
    /// Reads the DER form.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Unsupported`] for another type of file.
    pub fn from_der(der: &[u8]) -> Result<TssKey> {
        let mut fields = only_sequence(der).ok_or(BROKEN)?;
        let id = fields.expect(tag::OID).ok_or(BROKEN)?.content;
        let kind = match id.split_last() {
            Some((3, KINDS)) => Kind::Loadable,
            Some((4, KINDS)) => Kind::Importable,
            Some((5, KINDS)) => Kind::Sealed,
            _ => return Err(Error::Unsupported("the file is of another type of TPM keys".into())),
        };
        let mut explicit = |number, tag| {
            let outer = fields.optional(tag::context(number));
            outer.map(|outer| outer.children().expect(tag).ok_or(BROKEN)).transpose()
        };
        let empty_auth = explicit(0, tag::BOOLEAN)?.is_some_and(is_true);
        let policy = explicit(1, tag::SEQUENCE)?.map_or(Ok(Vec::new()), commands)?;
        let secret = explicit(2, tag::OCTET_STRING)?.map(|secret| secret.content.to_vec());
        let auth_policies = explicit(3, tag::SEQUENCE)?.map_or(Ok(Vec::new()), auth_policies)?;
        let description = explicit(4, tag::UTF8_STRING)?.map(|text| String::from_utf8_lossy(text.content).into_owned());
        let rsa_parent = explicit(5, tag::BOOLEAN)?.is_some_and(is_true);
        let parent = fields.expect(tag::INTEGER).and_then(handle).ok_or(BROKEN)?;
        let public = fields.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content.to_vec();
        let private = fields.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content.to_vec();
        if kind == Kind::Importable && secret.is_none() {
            return Err(Error::Malformed("the importable TSS2 PRIVATE KEY has no encrypted secret"));
        }
        Ok(TssKey { kind, empty_auth, policy, auth_policies, secret, description, rsa_parent, parent, public, private })
    }

    /// The DER form.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut fields = vec![write::oid(&[KINDS, &[self.kind.arc()]].concat())];
        fields.push(explicit(0, &boolean(self.empty_auth)));
        if !self.policy.is_empty() {
            fields.push(explicit(1, &write_commands(&self.policy)));
        }
        if let Some(secret) = &self.secret {
            fields.push(explicit(2, &write::octet_string(secret)));
        }
        if !self.auth_policies.is_empty() {
            let entries =
                self.auth_policies.iter().map(|entry| write::sequence(&[&explicit(1, &write_commands(entry))]));
            fields.push(explicit(3, &sequence_of(entries)));
        }
        if let Some(text) = &self.description {
            fields.push(explicit(4, &element(tag::UTF8_STRING, text.as_bytes())));
        }
        if self.rsa_parent {
            fields.push(explicit(5, &boolean(true)));
        }
        fields.push(write::integer(&self.parent.to_be_bytes()));
        fields.push(write::octet_string(&self.public));
        fields.push(write::octet_string(&self.private));
        write::sequence(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The PEM form.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.to_der())
    }
}

/// SEQUENCE OF TPMPolicy.
fn commands(sequence: Element<'_>) -> Result<Vec<PolicyCommand>> {
    let mut rest = sequence.children();
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let mut fields = rest.sequence().ok_or(BROKEN)?;
        let code = inner(fields.expect(tag::context(0)), tag::INTEGER)?.number().ok_or(BROKEN)?;
        let parameters = inner(fields.expect(tag::context(1)), tag::OCTET_STRING)?.content.to_vec();
        if !fields.is_empty() || commands.len() == MOST {
            return Err(BROKEN);
        }
        commands.push(PolicyCommand { code, parameters });
    }
    Ok(commands)
}

/// SEQUENCE OF TPMAuthPolicy, without their names.
fn auth_policies(sequence: Element<'_>) -> Result<Vec<Vec<PolicyCommand>>> {
    let mut rest = sequence.children();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let mut fields = rest.sequence().ok_or(BROKEN)?;
        fields.optional(tag::context(0));
        entries.push(commands(inner(fields.expect(tag::context(1)), tag::SEQUENCE)?)?);
        if !fields.is_empty() || entries.len() > MOST {
            return Err(BROKEN);
        }
    }
    Ok(entries)
}

/// What is in an explicit tag.
fn inner(outer: Option<Element<'_>>, tag: u8) -> Result<Element<'_>> {
    let mut children = outer.ok_or(BROKEN)?.children();
    let element = children.expect(tag).ok_or(BROKEN)?;
    if children.is_empty() { Ok(element) } else { Err(BROKEN) }
}

fn write_commands(commands: &[PolicyCommand]) -> Vec<u8> {
    sequence_of(commands.iter().map(|command| {
        let code = explicit(0, &write::integer(&command.code.to_be_bytes()));
        write::sequence(&[&code, &explicit(1, &write::octet_string(&command.parameters))])
    }))
}

fn sequence_of(elements: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    write::sequence(&elements.collect::<Vec<_>>().iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn is_true(element: Element<'_>) -> bool {
    element.content != [0]
}

/// A handle. Some writers forget the zero that keeps 0x81000001 from being negative.
fn handle(element: Element<'_>) -> Option<u32> {
    let digits = match element.content {
        [0, digits @ ..] if digits.len() == 4 => digits,
        digits => digits,
    };
    let fits = (1..=4).contains(&digits.len());
    fits.then(|| digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
}

fn boolean(value: bool) -> Vec<u8> {
    vec![tag::BOOLEAN, 1, if value { 0xff } else { 0 }]
}

fn explicit(number: u8, inner: &[u8]) -> Vec<u8> {
    element(tag::context(number), inner)
}

/// An element that base has no word for: an OCTET STRING under another tag.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = write::octet_string(content);
    if let Some(first) = whole.first_mut() {
        *first = tag;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TssKey {
        TssKey {
            kind: Kind::Importable,
            empty_auth: true,
            policy: vec![
                PolicyCommand { code: 0x17f, parameters: vec![5; 50] },
                PolicyCommand { code: 0x16b, parameters: Vec::new() },
            ],
            auth_policies: vec![vec![PolicyCommand { code: 0x16a, parameters: vec![6; 300] }], Vec::new()],
            secret: Some(vec![1, 2]),
            description: Some("für später".to_owned()),
            rsa_parent: true,
            parent: 0x8100_0001,
            public: vec![3; 200],
            private: vec![4; 300],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let key = key();
        assert_eq!(TssKey::from_der(&key.to_der()).unwrap(), key);
        let plain = TssKey {
            kind: Kind::Loadable,
            empty_auth: false,
            policy: Vec::new(),
            auth_policies: Vec::new(),
            secret: None,
            description: None,
            rsa_parent: false,
            parent: OWNER,
            ..key
        };
        assert_eq!(TssKey::from_der(&plain.to_der()).unwrap(), plain);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let der = key().to_der();
        let put = |from: &[u8], to: &[u8]| {
            assert_eq!(from.len(), to.len());
            let place = der.windows(from.len()).position(|window| window == from).unwrap();
            [&der[..place], to, &der[place + from.len()..]].concat()
        };
        // Another tag for the code or the parameters; a code of too many bytes; one that is negative.
        for (from, to) in [
            (&[0xa0, 4, 2, 2, 1, 0x7f][..], &[0xa0, 4, 4, 2, 1, 0x7f][..]),
            (&[0xa1, 2, 4, 0], &[0xa1, 2, 2, 0]),
            (&[0xa1, 2, 4, 0], &[0xa2, 2, 4, 0]),
            (&[0xa0, 4, 2, 2, 1, 0x7f], &[0xa0, 4, 2, 2, 0x81, 0x7f]),
            (&[0xa0, 4, 2, 2, 1, 0x7f], &[0xa0, 4, 2, 1, 1, 0x7f]),
        ] {
            assert!(TssKey::from_der(&put(from, to)).is_err(), "{to:x?}");
        }
        let many = TssKey { policy: vec![PolicyCommand { code: 1, parameters: Vec::new() }; 257], ..key() };
        assert!(TssKey::from_der(&many.to_der()).is_err());
    }

    #[test]
    fn a_handle_may_lack_its_zero() {
        let der = key().to_der();
        let proper: &[u8] = &[0x02, 0x05, 0x00, 0x81, 0x00, 0x00, 0x01];
        let place = der.windows(proper.len()).position(|window| window == proper).unwrap();
        let inner = [&der[4..place], &[0x02, 0x04, 0x81, 0x00, 0x00, 0x01], &der[place + proper.len()..]].concat();
        let short = write::sequence(&[&inner]);
        assert_eq!(TssKey::from_der(&short).unwrap(), key());
    }

    #[test]
    fn every_prefix_is_refused() {
        let der = key().to_der();
        for len in 0..der.len() {
            assert!(TssKey::from_der(&der[..len]).is_err());
        }
    }
}
