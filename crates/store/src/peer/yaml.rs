//! The YAML of the peer's columns: written in libyaml's canonical form with a tag before each value by most programs, by hand
//! by some people, and with mistakes by a few releases.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// More than any column has; what lies deeper was not written by a program that wanted it read.
const MAX_DEPTH: usize = 8;

/// One value. What a scalar means depends on what it is for, so that it is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerValue {
    /// A text, number or truth value.
    Scalar {
        /// As it stands there, without quotes.
        text: String,
        /// What it is said to be; nothing for a bare word.
        tag: Option<ScalarTag>,
    },
    /// A sequence.
    List(Vec<PeerValue>),
    /// A mapping, in the order it stands there; keys may be there twice.
    Map(Vec<(String, PeerValue)>),
}

/// What a scalar is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarTag {
    /// `!!int`
    Int,
    /// `!!bool`
    Bool,
    /// `!!str`, or in quotes.
    Str,
}

impl PeerValue {
    /// Reads one document. An empty one is an empty mapping.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<PeerValue, String> {
        let mut events = Parser::new_from_str(text);
        let mut depth = Vec::new();
        loop {
            let event = match events.next() {
                Some(Ok((event, _))) => event,
                Some(Err(error)) => return Err(format!("it is not YAML: {error}")),
                None => return Err("it ends in the middle".to_owned()),
            };
            let value = match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
                Event::StreamEnd | Event::DocumentEnd => return Ok(PeerValue::Map(Vec::new())),
                Event::Alias(_) => return Err("it refers to itself".to_owned()),
                Event::SequenceStart(..) => {
                    open(&mut depth, Open::List(Vec::new()))?;
                    continue;
                }
                Event::MappingStart(..) => {
                    open(&mut depth, Open::Map(Vec::new(), None))?;
                    continue;
                }
                Event::Scalar(text, style, _, tag) => scalar(&text, style, tag.as_deref()),
                Event::SequenceEnd | Event::MappingEnd => match depth.pop() {
                    Some(Open::List(items)) => PeerValue::List(items),
                    Some(Open::Map(entries, None)) => PeerValue::Map(entries),
                    Some(Open::Map(_, Some(_))) | None => return Err("a key has no value".to_owned()),
                },
            };
            match depth.last_mut() {
                // The first document is the only one.
                None => return Ok(value),
                Some(Open::List(items)) => items.push(value),
                Some(Open::Map(entries, key)) => match (key.take(), value) {
                    (Some(key), value) => entries.push((key, value)),
                    (None, PeerValue::Scalar { text, .. }) => *key = Some(text),
                    (None, _) => return Err("a key is no word or number".to_owned()),
                },
            }
        }
    }

    /// The value of a key, in a mapping or in a sequence of mappings; of several, the last one.
    pub fn find(&self, key: &str) -> Option<&PeerValue> {
        match self {
            PeerValue::Scalar { .. } => None,
            PeerValue::Map(entries) => entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            PeerValue::List(items) => items.iter().rev().find_map(|item| match item {
                PeerValue::Map(_) => item.find(key),
                _ => None,
            }),
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            PeerValue::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The truth value that a scalar spells (YAML 1.1).
    pub fn truth(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    /// The number that a scalar spells in decimal or, after `0x`, in hexadecimal digits.
    pub fn number(&self) -> Option<u64> {
        let text = self.text()?;
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

/// A collection that has begun and not ended.
enum Open {
    List(Vec<PeerValue>),
    /// With the key whose value comes next.
    Map(Vec<(String, PeerValue)>, Option<String>),
}

fn open(depth: &mut Vec<Open>, collection: Open) -> Result<(), String> {
    if depth.len() >= MAX_DEPTH {
        return Err("it is nested too deeply".to_owned());
    }
    depth.push(collection);
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> PeerValue {
    let said = tag.filter(|tag| tag.is_yaml_core_schema()).and_then(|tag| match tag.suffix.as_str() {
        "int" => Some(ScalarTag::Int),
        "bool" => Some(ScalarTag::Bool),
        "str" => Some(ScalarTag::Str),
        _ => None,
    });
    let quoted = tag.is_none() && style != ScalarStyle::Plain;
    PeerValue::Scalar { text: text.to_owned(), tag: said.or(quoted.then_some(ScalarTag::Str)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn str(text: &str) -> PeerValue {
        PeerValue::Scalar { text: text.to_owned(), tag: Some(ScalarTag::Str) }
    }

    fn int(text: &str) -> PeerValue {
        PeerValue::Scalar { text: text.to_owned(), tag: Some(ScalarTag::Int) }
    }

    #[test]
    fn the_canonical_form_is_read() {
        let text = "---\n!!map {\n  ? !!int \"0\"\n  : !!int \"3\",\n  ? !!int \"3\"\n  : !!str \"6b\",\n  ? !!int \"2\"\n  : \
                    !!bool \"true\",\n  ? !!int \"1073743360\"\n  : !!seq [\n    !!int \"1\",\n    !!int \"13\",\n  ],\n}\n...\n";
        let value = PeerValue::parse(text).unwrap();
        assert_eq!(value.find("0"), Some(&int("3")));
        assert_eq!(value.find("3"), Some(&str("6b")));
        assert_eq!(value.find("2").and_then(PeerValue::truth), Some(true));
        assert_eq!(value.find("1073743360"), Some(&PeerValue::List(vec![int("1"), int("13")])));
    }

    #[test]
    fn so_is_the_form_that_people_write() {
        let value = PeerValue::parse("token-init: true\ntcti: device:/dev/tpmrm0\nlog-level: '2'\n").unwrap();
        assert_eq!(value.find("token-init").and_then(PeerValue::truth), Some(true));
        assert_eq!(value.find("tcti").and_then(PeerValue::text), Some("device:/dev/tpmrm0"));
        assert_eq!(value.find("log-level"), Some(&str("2")));
        assert_eq!(PeerValue::parse("- token-init: no\n").unwrap().find("token-init").unwrap().truth(), Some(false));
        assert_eq!(PeerValue::parse("").unwrap(), PeerValue::Map(Vec::new()));
    }

    #[test]
    fn the_last_of_two_counts() {
        let value = PeerValue::parse("{? !!int \"1\" : !!bool \"false\", ? !!int \"1\" : !!bool \"true\"}").unwrap();
        assert_eq!(value.find("1").and_then(PeerValue::truth), Some(true));
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for text in
            ["{", "[1, 2", "a: &x [*x]", "{[1]: 2}", "\t", "a: 'b", "!!map {? }", "\u{0}", "[[[[[[[[[[1]]]]]]]]]]"]
        {
            let _ = PeerValue::parse(text);
        }
        assert!(PeerValue::parse("[[[[[[[[[1]]]]]]]]]").unwrap_err().contains("deep"));
        assert!(PeerValue::parse("a: &x [1]\nb: *x\n").is_err());
    }
}
