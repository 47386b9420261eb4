//! Extensions of certificates (RFC 5280, 4.2.1), by the names people know.

use std::net::IpAddr;
use std::str::FromStr;

use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

use super::{Profile, encoded_extension, unencodable};
use token::Result;
use token::manage::PublicKey;

/// Another name of the subject: `dns:web.example`, `ip:192.0.2.1`, `email:a@b.example` or `uri:https://b.example/a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltName(GeneralName);

impl FromStr for AltName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let ia5 = |value: &str| {
            Ia5String::new(value).map_err(|_| {
                format!("{value:?} is not ASCII: a domain name is written as DNS has it (xn--...), a URI with %XX")
            })
        };
        let fail = |what: &str| Err(format!("{value:?} is not {what}"));
        let name = match kind.to_ascii_lowercase().as_str() {
            _ if value.is_empty() => {
                return Err(format!("{text:?} is not of the form KIND:NAME, such as dns:web.example"));
            }
            "dns" if !value.is_ascii() || is_domain(value) => GeneralName::DnsName(ia5(value)?),
            "dns" => return fail("a domain name"),
            "ip" => match value.parse::<IpAddr>() {
                Ok(address) => GeneralName::IpAddress(octets(address)?),
                Err(_) => return fail("an IP address"),
            },
            "email" if !value.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_domain(host)) => {
                return fail("a mail address");
            }
            "email" => GeneralName::Rfc822Name(ia5(value)?),
            "uri" if !value.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()) => {
                return fail("a URI");
            }
            "uri" => GeneralName::UniformResourceIdentifier(ia5(value)?),
            _ => return Err(format!("{kind:?} is no kind of name; there are dns, ip, email and uri")),
        };
        Ok(Self(name))
    }
}

fn octets(address: IpAddr) -> std::result::Result<OctetString, String> {
    match address {
        IpAddr::V4(address) => OctetString::new(address.octets()),
        IpAddr::V6(address) => OctetString::new(address.octets()),
    }
    .map_err(|error| error.to_string())
}

/// RFC 1123 names, with the leftmost label `*` for any.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let rest = text.strip_prefix("*.").unwrap_or(text);
    rest.len() <= 253 && rest.split('.').all(label)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A bit of keyUsage, such as `digitalSignature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsageName(KeyUsages);

const KEY_USAGES: [(&str, KeyUsages); 10] = [
    ("digitalSignature", KeyUsages::DigitalSignature),
    ("nonRepudiation", KeyUsages::NonRepudiation),
    ("contentCommitment", KeyUsages::NonRepudiation),
    ("keyEncipherment", KeyUsages::KeyEncipherment),
    ("dataEncipherment", KeyUsages::DataEncipherment),
    ("keyAgreement", KeyUsages::KeyAgreement),
    ("keyCertSign", KeyUsages::KeyCertSign),
    ("cRLSign", KeyUsages::CRLSign),
    ("encipherOnly", KeyUsages::EncipherOnly),
    ("decipherOnly", KeyUsages::DecipherOnly),
];

impl FromStr for KeyUsageName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        named(&KEY_USAGES, text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no key usage; there are {}", names(&KEY_USAGES)))
    }
}

/// A purpose in extKeyUsage, such as `serverAuth`, or an OID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose(ObjectIdentifier);

const PURPOSES: [(&str, &str); 8] = [
    ("serverAuth", "1.3.6.1.5.5.7.3.1"),
    ("clientAuth", "1.3.6.1.5.5.7.3.2"),
    ("codeSigning", "1.3.6.1.5.5.7.3.3"),
    ("emailProtection", "1.3.6.1.5.5.7.3.4"),
    ("timeStamping", "1.3.6.1.5.5.7.3.8"),
    ("OCSPSigning", "1.3.6.1.5.5.7.3.9"),
    ("ipsecIKE", "1.3.6.1.5.5.7.3.17"),
    ("anyExtendedKeyUsage", "2.5.29.37.0"),
];

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        ObjectIdentifier::new(named(&PURPOSES, text).unwrap_or(text))
            .map(Self)
            .map_err(|_| format!("{text:?} is no purpose; there are {} and OIDs", names(&PURPOSES)))
    }
}

fn named<T: Copy>(table: &[(&str, T)], text: &str) -> Option<T> {
    table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

fn names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What a request asks for; what it does not say, the authority decides.
pub(super) fn of_request(profile: &Profile) -> Result<Vec<Extension>> {
    let mut extensions = Vec::new();
    if profile.authority {
        extensions.push(encoded_extension(true, &BasicConstraints { ca: true, path_len_constraint: None })?);
    }
    if !profile.key_usage.is_empty() {
        extensions.push(key_usage(&profile.key_usage)?);
    }
    extensions.extend(names_and_purposes(profile)?);
    Ok(extensions)
}

/// Those of a certificate that is its own issuer.
pub(super) fn of_certificate(profile: &Profile, key: &PublicKey, identifier: &[u8]) -> Result<Vec<Extension>> {
    let usual: &[KeyUsages] = match (profile.authority, key) {
        (true, _) => &[KeyUsages::KeyCertSign, KeyUsages::CRLSign],
        (false, PublicKey::Rsa(_)) => &[KeyUsages::DigitalSignature, KeyUsages::KeyEncipherment],
        (false, PublicKey::Ec(_)) => &[KeyUsages::DigitalSignature],
    };
    let usage: Vec<KeyUsageName> = match profile.key_usage.is_empty() {
        true => usual.iter().copied().map(KeyUsageName).collect(),
        false => profile.key_usage.clone(),
    };
    let identifier = OctetString::new(identifier).map_err(unencodable)?;
    let mut extensions = vec![
        encoded_extension(true, &BasicConstraints { ca: profile.authority, path_len_constraint: None })?,
        key_usage(&usage)?,
        encoded_extension(false, &SubjectKeyIdentifier(identifier))?,
    ];
    extensions.extend(names_and_purposes(profile)?);
    Ok(extensions)
}

fn names_and_purposes(profile: &Profile) -> Result<Vec<Extension>> {
    let mut extensions = Vec::new();
    if !profile.purposes.is_empty() {
        let purposes = profile.purposes.iter().map(|Purpose(oid)| *oid).collect();
        extensions.push(encoded_extension(false, &ExtendedKeyUsage(purposes))?);
    }
    if !profile.alt_names.is_empty() {
        let names = profile.alt_names.iter().map(|AltName(name)| name.clone()).collect();
        // RFC 5280, 4.2.1.6: critical where it is all there is of a name.
        extensions.push(encoded_extension(profile.subject.is_empty(), &SubjectAltName(names))?);
    }
    Ok(extensions)
}

fn key_usage(bits: &[KeyUsageName]) -> Result<Extension> {
    let bits = bits.iter().fold(FlagSet::<KeyUsages>::default(), |all, KeyUsageName(bit)| all | *bit);
    encoded_extension(true, &KeyUsage(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_their_kind() {
        for text in [
            "dns:web.example",
            "DNS:*.web.example",
            "dns:localhost",
            "ip:192.0.2.1",
            "IP:2001:db8::1",
            "email:a.b@web.example",
            "uri:https://web.example/a",
            "URI:urn:uuid:1",
        ] {
            assert!(text.parse::<AltName>().is_ok(), "{text}");
        }
        assert_eq!(
            "ip:192.0.2.1".parse::<AltName>().unwrap().0,
            GeneralName::IpAddress(OctetString::new([192, 0, 2, 1]).unwrap())
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("web.example", "KIND:NAME"),
            ("dns:", "KIND:NAME"),
            ("host:web", "dns, ip, email and uri"),
            ("dns:a..b", "a domain name"),
            ("dns:-a", "a domain name"),
            ("dns:a b", "a domain name"),
            ("dns:größe.example", "xn--"),
            ("ip:300.1.1.1", "an IP address"),
            ("email:nobody", "a mail address"),
            ("uri:nothing", "a URI"),
        ] {
            let error = text.parse::<AltName>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("signing".parse::<KeyUsageName>().unwrap_err().contains("digitalSignature"));
        assert!("web".parse::<Purpose>().unwrap_err().contains("serverAuth"));
        assert!("1.2.3.4".parse::<Purpose>().is_ok() && "clientauth".parse::<Purpose>().is_ok());
    }
}
