//! Walking through DER (X.690): one element after the other, with every length checked.

/// Tags that key files have.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[n]`, constructed.
    pub(crate) const fn context(number: u8) -> u8 {
        0xa0 | number
    }
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// What a constructed element holds.
    pub(crate) fn children(self) -> Reader<'a> {
        Reader { rest: self.content }
    }

    /// An INTEGER that is not negative, without leading zeros.
    pub(crate) fn unsigned(self) -> Option<&'a [u8]> {
        if self.tag != tag::INTEGER || self.content.first().is_none_or(|first| *first >= 0x80) {
            return None;
        }
        let zeros = self.content.iter().take_while(|byte| **byte == 0).count();
        self.content.get(zeros..)
    }

    /// A small INTEGER.
    pub(crate) fn number(self) -> Option<u32> {
        let bytes = self.unsigned()?;
        (bytes.len() <= 4).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

/// A cursor over elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], after) = self.rest.split_first_chunk::<2>()?;
        // Tags of several bytes are in nothing that is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (len, after) = match first {
            ..=0x7f => (usize::from(first), after),
            0x81..=0x84 => {
                let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
                (
                    digits.iter().try_fold(0_usize, |len, digit| Some(len.checked_mul(256)? + usize::from(*digit)))?,
                    after,
                )
            }
            // Indefinite lengths are BER.
            _ => return None,
        };
        let (content, rest) = after.split_at_checked(len)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, if it has this tag; else the cursor stays.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The children of the SEQUENCE that comes next.
    pub(crate) fn sequence(&mut self) -> Option<Reader<'a>> {
        self.expect(tag::SEQUENCE).map(Element::children)
    }
}

/// The one SEQUENCE that the bytes are, with nothing after it.
pub(crate) fn only_sequence(bytes: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    let sequence = reader.sequence()?;
    reader.is_empty().then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there_and_no_more() {
        let der = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0xff];
        let mut inside = only_sequence(&der).unwrap();
        assert_eq!(inside.any().unwrap().number(), Some(5));
        assert_eq!(inside.optional(tag::INTEGER), None);
        assert_eq!(inside.expect(tag::OCTET_STRING).unwrap().content, [0xff]);
        assert!(inside.is_empty() && inside.any().is_none());
        for broken in [&der[..7], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30], &[0x1f, 0, 0]] {
            assert!(only_sequence(broken).is_none(), "{broken:x?}");
        }
        assert!(only_sequence(&[0x30, 0, 0]).is_none(), "something follows");
    }
}
