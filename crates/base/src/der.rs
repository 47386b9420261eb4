//! The few DER encodings (X.690) that keys and points need.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const PRINTABLE_STRING: u8 = 0x13;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// NULL.
pub const NULL: &[u8] = &[0x05, 0x00];

/// OCTET STRING holding `content`.
pub fn octet_string(content: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, &[content])
}

/// OBJECT IDENTIFIER with the given content bytes (arcs already encoded).
pub fn oid(content: &[u8]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, &[content])
}

/// INTEGER with the value of an unsigned big-endian number; leading zeros of any number are
/// dropped, and an empty `value` is zero.
pub fn integer(value: &[u8]) -> Vec<u8> {
    let start = value.iter().position(|&b| b != 0).unwrap_or(value.len());
    let value = value.get(start..).unwrap_or_default();
    match value.first() {
        Some(first) if *first < 0x80 => element(INTEGER, &[value]),
        // A zero byte keeps the number positive, and is the number zero itself.
        _ => element(INTEGER, &[&[0], value]),
    }
}

/// SEQUENCE of elements already encoded.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

/// SET of elements already encoded, which are in their order.
pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    element(SET, parts)
}

/// A string of the type with this tag.
pub fn string(tag: u8, content: &[u8]) -> Vec<u8> {
    element(tag, &[content])
}

/// BIT STRING of whole bytes.
pub fn bit_string(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content])
}

/// The content of an OCTET STRING that fills all of `der`.
pub fn octet_string_content(der: &[u8]) -> Option<&[u8]> {
    content(OCTET_STRING, der)
}

/// The content of a PrintableString that fills all of `der`.
pub fn printable_string_content(der: &[u8]) -> Option<&[u8]> {
    content(PRINTABLE_STRING, der)
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len.saturating_add(10));
    out.push(tag);
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
            let digits = bytes.get(start..).unwrap_or_default();
            // At most eight digits: the sum cannot reach the tag's high bit.
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// One element at the start of some DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// With its tag and length.
    pub(crate) whole: &'a [u8],
    /// What is in it.
    pub(crate) content: &'a [u8],
    /// What follows it.
    pub(crate) rest: &'a [u8],
}

/// The element with this tag that `der` starts with. Lengths must be in their shortest form (X.690, 10.1).
pub(crate) fn first_element(tag: u8, der: &[u8]) -> Option<Element<'_>> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, body) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, body) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 || digits.first() == Some(&0) {
            return None;
        }
        let len = digits.iter().fold(0u64, |len, &digit| len << 8 | u64::from(digit));
        if len < 0x80 {
            return None;
        }
        (usize::try_from(len).ok()?, body)
    };
    let (content, rest) = body.split_at_checked(len)?;
    Some(Element { whole: der.get(..der.len() - rest.len())?, content, rest })
}

/// The content of the one element `der` consists of; nothing may follow.
fn content(tag: u8, der: &[u8]) -> Option<&[u8]> {
    first_element(tag, der).filter(|element| element.rest.is_empty()).map(|element| element.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, head) in [
            (0, &[4u8, 0][..]),
            (127, &[4, 0x7f]),
            (128, &[4, 0x81, 0x80]),
            (133, &[4, 0x81, 0x85]),
            (256, &[4, 0x82, 1, 0]),
            (70_000, &[4, 0x83, 1, 0x11, 0x70]),
        ] {
            let body = vec![7; len];
            let der = octet_string(&body);
            assert_eq!(der, [head, &body].concat());
            assert_eq!(octet_string_content(&der), Some(&body[..]));
            assert_eq!(octet_string_content(&[&der[..], &[0]].concat()), None);
            assert_eq!(octet_string_content(&der[..der.len() - 1]), None);
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for der in [
            &[][..],
            &[4],
            &[4, 0x80],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 7],
            &[4, 0x82, 0, 1, 7],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x85, 0, 0, 0, 0, 1, 7],
            &[4, 0xff],
            &[3, 1, 7],
        ] {
            assert_eq!(octet_string_content(der), None, "{der:02x?}");
        }
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[1, 0, 1]), [2, 3, 1, 0, 1]);
    }
}
