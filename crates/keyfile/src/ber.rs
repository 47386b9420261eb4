//! BER (X.690) as DER would have it: lengths that are said beforehand, octet strings in one piece. PKCS #12 files may be BER, and those
//! of NSS, of Firefox with it, and of some Java programs are.

use base::Secret;

use crate::der::tag;

/// Elements in elements: three times what such files have.
const MAX_DEPTH: usize = 32;
/// More than anybody's keys and certificates take. Each level is copied once.
const MAX_LEN: usize = 8 << 20;

/// A constructed element.
const CONSTRUCTED: u8 = 0x20;
/// Length octet of an element that ends where [`END`] is.
const INDEFINITE: u8 = 0x80;
/// End-of-contents octets.
const END: [u8; 2] = [0, 0];

/// The one element that the bytes are, with definite lengths, and with octet strings that are not in pieces; what DER wants besides is left as
/// it is. `None` for what is no BER, or has something after it, or is nested deeper or longer than such files are.
///
/// What primitive octet strings hold is another matter: it stays as it is.
pub(crate) fn to_der(bytes: &[u8]) -> Option<Secret> {
    if bytes.len() > MAX_LEN {
        return None;
    }
    let mut rest = bytes;
    let der = element(&mut rest, 0)?;
    rest.is_empty().then_some(der)
}

/// The next element, rewritten.
fn element(rest: &mut &[u8], depth: usize) -> Option<Secret> {
    let (tag, content) = header(rest)?;
    let octets = *tag == [tag::OCTET_STRING | CONSTRUCTED];
    let mut joined = Secret::zeroed(0);
    let content = match (content, tag.first()? & CONSTRUCTED == 0) {
        (Content::Known(content), true) => content,
        (Content::UntilEnd, true) => return None,
        (Content::Known(mut content), false) => {
            while !content.is_empty() {
                joined.extend(child(&mut content, depth, octets)?.expose());
            }
            joined.expose()
        }
        (Content::UntilEnd, false) => {
            while !rest.starts_with(&END) {
                joined.extend(child(rest, depth, octets)?.expose());
            }
            *rest = rest.get(END.len()..)?;
            joined.expose()
        }
    };
    let primitive = [tag::OCTET_STRING];
    let mut der = Secret::copy_from(if octets { &primitive } else { tag });
    der.extend(&length(content.len())?);
    der.extend(content);
    Some(der)
}

/// The next element of another; of an octet string in pieces the piece without its header.
fn child(rest: &mut &[u8], depth: usize, octets: bool) -> Option<Secret> {
    if depth == MAX_DEPTH {
        return None;
    }
    let der = element(rest, depth + 1)?;
    if !octets {
        return Some(der);
    }
    let piece = crate::der::Reader::new(der.expose()).expect(tag::OCTET_STRING)?;
    Some(Secret::copy_from(piece.content))
}

enum Content<'a> {
    Known(&'a [u8]),
    UntilEnd,
}

/// Takes identifier and length octets, and the content if its length is known.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Content<'a>)> {
    let bytes = *rest;
    let long = bytes.first()? & 0x1f == 0x1f;
    let more = bytes.iter().skip(1).take_while(|byte| long && **byte & 0x80 != 0).count();
    let (tag, after) = bytes.split_at_checked(1 + usize::from(long) + more)?;
    let (&first, after) = after.split_first()?;
    if first == INDEFINITE {
        *rest = after;
        return Some((tag, Content::UntilEnd));
    }
    let (len, after) = match first & 0x80 {
        0 => (usize::from(first), after),
        _ => {
            let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
            let add = |len: usize, digit: &u8| Some(len.checked_mul(256)? | usize::from(*digit));
            (digits.iter().try_fold(0, add)?, after)
        }
    };
    let (content, after) = after.split_at_checked(len)?;
    *rest = after;
    Some((tag, Content::Known(content)))
}

fn length(len: usize) -> Option<Vec<u8>> {
    let digits = u32::try_from(len).ok()?.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(zeros..)?;
    match (len, u8::try_from(digits.len()).ok()?) {
        (..=0x7f, _) => Some(vec![u8::try_from(len).ok()?]),
        (_, count) => Some([&[0x80 | count], digits].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der_of(bytes: &[u8]) -> Option<Vec<u8>> {
        to_der(bytes).map(|der| der.expose().to_vec())
    }

    #[test]
    fn der_stays_what_it_is() {
        let long = [&[0x04, 0x82, 1, 0][..], &[7; 256]].concat();
        for der in [&[0x30, 0][..], &[0x30, 5, 0x02, 1, 5, 0x05, 0], &[0xa0, 3, 0x80, 1, 9], &[0x1f, 0x81, 1, 0], &long]
        {
            assert_eq!(der_of(der).as_deref(), Some(der));
        }
    }

    #[test]
    fn ends_become_lengths_and_pieces_a_whole() {
        for (ber, der) in [
            (&[0x30, 0x80, 0x02, 1, 5, 0, 0][..], &[0x30, 3, 0x02, 1, 5][..]),
            (&[0x30, 0x80, 0, 0], &[0x30, 0]),
            (&[0x30, 0x80, 0xa0, 0x80, 0x04, 1, 5, 0, 0, 0, 0], &[0x30, 5, 0xa0, 3, 0x04, 1, 5]),
            (&[0x24, 0x80, 0x04, 1, 1, 0x04, 2, 2, 3, 0, 0], &[0x04, 3, 1, 2, 3]),
            (&[0x24, 0x80, 0x24, 3, 0x04, 1, 1, 0x04, 0, 0, 0], &[0x04, 1, 1]),
            // A length that could be shorter.
            (&[0x04, 0x83, 0, 0, 1, 5], &[0x04, 1, 5]),
            // What an octet string holds is not looked into.
            (&[0x24, 0x80, 0x04, 4, 0x30, 0x80, 0, 0, 0, 0], &[0x04, 4, 0x30, 0x80, 0, 0]),
        ] {
            assert_eq!(der_of(ber).as_deref(), Some(der), "{ber:x?}");
        }
        // A certificate's worth of pieces.
        let pieces = [&[0x04, 0x82, 1, 0][..], &[7; 256]].concat().repeat(300);
        let whole = der_of(&[&[0x24, 0x80][..], &pieces, &[0, 0]].concat()).unwrap();
        assert_eq!((&whole[..5], whole.len()), (&[0x04, 0x83, 1, 0x2c, 0][..], 5 + 300 * 256));
    }

    #[test]
    fn nonsense_is_refused() {
        let whole = [0x30, 0x80, 0x24, 0x80, 0x04, 1, 1, 0, 0, 0, 0];
        assert!(der_of(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(der_of(&whole[..len]), None, "{len}");
        }
        for broken in [
            &[0x04, 0x80, 0, 0][..],
            &[0x24, 0x80, 0x02, 1, 1, 0, 0],
            &[0x30, 0, 0],
            &[0x30, 0xff],
            &[0x04, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x1f, 0x81],
        ] {
            assert_eq!(der_of(broken), None, "{broken:x?}");
        }
        assert!(der_of(&[[0x30, 0x80].repeat(32), [0, 0].repeat(32)].concat()).is_some());
        assert_eq!(der_of(&[[0x30, 0x80].repeat(34), [0, 0].repeat(34)].concat()), None);
        assert_eq!(der_of(&[0x30, 0x80].repeat(1 << 20)), None);
        assert_eq!(der_of(&vec![0x30; MAX_LEN + 1]), None);
    }
}
