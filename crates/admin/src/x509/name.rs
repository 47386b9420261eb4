//! Distinguished names: read from text as RFC 4514 writes them, or as OpenSSL's `-subj` does.

use std::fmt;
use std::str::FromStr;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::{Tag, Tagged};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// The name of a subject, such as `CN=web.example,O=Example`, which is also written `/O=Example/CN=web.example`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject(Name);

/// What a name can be made of: the short names of RFC 4514, 3 and OpenSSL, the kind of string and the upper bound in characters
/// (RFC 5280, appendix A.1).
struct Kind {
    names: &'static [&'static str],
    oid: ObjectIdentifier,
    tag: Tag,
    most: usize,
}

const fn kind(names: &'static [&'static str], oid: &str, tag: Tag, most: usize) -> Kind {
    Kind { names, oid: ObjectIdentifier::new_unwrap(oid), tag, most }
}

const KINDS: [Kind; 15] = [
    kind(&["CN", "commonName"], "2.5.4.3", Tag::Utf8String, 64),
    kind(&["SN", "surname"], "2.5.4.4", Tag::Utf8String, 40),
    kind(&["serialNumber"], "2.5.4.5", Tag::PrintableString, 64),
    kind(&["C", "countryName"], "2.5.4.6", Tag::PrintableString, 2),
    kind(&["L", "localityName"], "2.5.4.7", Tag::Utf8String, 128),
    kind(&["ST", "S", "stateOrProvinceName"], "2.5.4.8", Tag::Utf8String, 128),
    kind(&["STREET", "streetAddress"], "2.5.4.9", Tag::Utf8String, 128),
    kind(&["O", "organizationName"], "2.5.4.10", Tag::Utf8String, 64),
    kind(&["OU", "organizationalUnitName"], "2.5.4.11", Tag::Utf8String, 64),
    kind(&["title", "T"], "2.5.4.12", Tag::Utf8String, 64),
    kind(&["GN", "givenName"], "2.5.4.42", Tag::Utf8String, 32_768),
    kind(&["dnQualifier"], "2.5.4.46", Tag::PrintableString, 64),
    kind(&["UID", "userId"], "0.9.2342.19200300.100.1.1", Tag::Utf8String, 256),
    kind(&["DC", "domainComponent"], "0.9.2342.19200300.100.1.25", Tag::Ia5String, 63),
    kind(&["emailAddress", "email", "E"], "1.2.840.113549.1.9.1", Tag::Ia5String, 255),
];

impl Subject {
    /// Has it no part at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn name(&self) -> &Name {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A blank at the end may be meant, if it is escaped.
        let text = text.trim_start();
        if text.is_empty() {
            return Ok(Self::default());
        }
        // RFC 4514 begins with what is most specific, a name in a certificate ends with it; OpenSSL writes the latter order.
        let (parts, reversed) = match text.strip_prefix('/') {
            Some(rest) => (split(rest, '/'), false),
            None => (split(text, ','), true),
        };
        let mut names = parts.into_iter().map(relative).collect::<Result<Vec<_>, String>>()?;
        if reversed {
            names.reverse();
        }
        let mut sequence = RdnSequence::default();
        for name in names {
            sequence.push(name);
        }
        // The checks of RFC 5280 (no attribute twice, known ones alone) are not ours to make: the name is the caller's.
        Ok(Self(Name::hazmat_from_rdn_sequence(sequence)))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The common name in a name, if there is one.
pub(crate) fn common_name(name: &Name) -> Option<String> {
    let oid = ObjectIdentifier::new_unwrap("2.5.4.3");
    let found = name.iter().filter(|part| part.oid == oid).last()?;
    match found.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            String::from_utf8(found.value.value().to_vec()).ok().filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// One or, joined by `+`, several attributes.
fn relative(text: &str) -> Result<RelativeDistinguishedName, String> {
    let mut set = RelativeDistinguishedName::default();
    for part in split(text, '+') {
        let attribute = attribute(part)?;
        // The crate sorts them and takes one twice, which DER does not allow.
        if set.iter().any(|other| *other == attribute) {
            return Err(format!("{text:?} has the same part twice"));
        }
        set.insert(attribute).map_err(|error| format!("{text:?}: {error}"))?;
    }
    Ok(set)
}

fn attribute(text: &str) -> Result<AttributeTypeAndValue, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{:?} in the subject is not of the form NAME=VALUE", text.trim()))?;
    let (key, value) = (key.trim(), unescaped(value)?);
    if value.is_empty() {
        return Err(format!("{key} in the subject has no value"));
    }
    let known = KINDS.iter().find(|kind| kind.names.iter().any(|name| name.eq_ignore_ascii_case(key)));
    let (oid, tag, most) = match known {
        Some(kind) => (kind.oid, kind.tag, kind.most),
        None => {
            let oid = ObjectIdentifier::new(key).map_err(|_| {
                let names: Vec<&str> = KINDS.iter().filter_map(|kind| kind.names.first().copied()).collect();
                format!("{key:?} is no part of a subject; there are {} and OIDs such as 2.5.4.3", names.join(", "))
            })?;
            (oid, Tag::Utf8String, usize::MAX)
        }
    };
    if value.chars().count() > most {
        return Err(format!("{key} in the subject has more than {most} characters"));
    }
    let fits = match tag {
        Tag::PrintableString => value.chars().all(|c| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)),
        Tag::Ia5String => value.is_ascii(),
        _ => true,
    };
    if !fits || (most == 2 && value.len() != 2) {
        return Err(match most {
            2 => format!("{key} in the subject is the two letters of a country, such as DE"),
            _ => format!("{key} in the subject has a character that it cannot have"),
        });
    }
    let value = Any::new(tag, value.into_bytes()).map_err(|error| error.to_string())?;
    Ok(AttributeTypeAndValue { oid, value })
}

/// Parts between separators that no backslash takes the meaning from.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if c == separator && !escaped {
            parts.push(text.get(start..at).unwrap_or_default());
            start = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// RFC 4514, 2.4: a backslash stands before a special character, or before two hexadecimal digits of UTF-8.
fn unescaped(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} in the subject has a backslash that means nothing");
    let mut bytes = Vec::new();
    // Up to where a blank at the end is meant, because it was escaped.
    let mut kept = 0;
    let mut rest = text.trim_start().as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let hex = |digit: Option<&u8>| digit.and_then(|digit| char::from(*digit).to_digit(16));
        match (hex(rest.first()), hex(rest.get(1)), rest.first()) {
            (Some(high), Some(low), _) => {
                bytes.push(u8::try_from(high << 4 | low).map_err(|_| bad())?);
                rest = rest.get(2..).unwrap_or_default();
            }
            (_, _, Some(special)) if special.is_ascii_punctuation() || *special == b' ' => {
                bytes.push(*special);
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => return Err(bad()),
        }
        kept = bytes.len();
    }
    while bytes.len() > kept && bytes.last() == Some(&b' ') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<Subject>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn both_notations_give_the_same_name() {
        for text in [
            "CN=web.example,O=Example Ltd,C=DE",
            "CN=web.example, O=Example Ltd, C=DE",
            "cn = web.example,o=Example Ltd ,countryName=DE",
            "/C=DE/O=Example Ltd/CN=web.example",
        ] {
            assert_eq!(read(text), "CN=web.example,O=Example Ltd,C=DE", "{text}");
        }
        assert!("".parse::<Subject>().unwrap().is_empty());
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(read(r"CN=a\,b\+c\\,O=x"), r"CN=a\,b\+c\\,O=x");
        assert_eq!(read(r"/O=a\/b,c/CN=x"), r"CN=x,O=a/b\,c");
        assert_eq!(read(r"CN=B\C3\BCro"), "CN=Büro");
        assert_eq!(read(r"CN=a\ "), r"CN=a\ ");
        assert_eq!(common_name(r"O=o,CN=a\,b".parse::<Subject>().unwrap().name()), Some("a,b".to_owned()));
    }

    #[test]
    fn strings_have_the_kinds_that_are_prescribed() {
        let tag = |text: &str| text.parse::<Subject>().unwrap().0.iter().next().unwrap().value.tag();
        assert_eq!(tag("C=DE"), Tag::PrintableString);
        assert_eq!(tag("emailAddress=a@b.example"), Tag::Ia5String);
        assert_eq!(tag("DC=example"), Tag::Ia5String);
        assert_eq!(tag("CN=x"), Tag::Utf8String);
        assert_eq!(tag("1.2.3.4=x"), Tag::Utf8String);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("web.example", "NAME=VALUE"),
            ("CN=a,O", "NAME=VALUE"),
            ("CN=", "no value"),
            ("XY=1", "no part of a subject"),
            ("C=Germany", "more than 2"),
            ("C=D", "two letters"),
            ("DC=größe", "cannot have"),
            (r"CN=a\", "backslash"),
            (r"CN=a\ff", "backslash"),
            ("CN=a+CN=a", "twice"),
        ] {
            let error = text.parse::<Subject>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(format!("CN={}", "x".repeat(65)).parse::<Subject>().unwrap_err().contains("64"));
    }
}
