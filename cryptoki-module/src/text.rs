//! Fixed-length text of the C structures (PKCS#11 v3.1, 3).

/// `text` padded with blanks to `N` bytes. Longer text is cut between two characters; a NUL, which would end the text
/// for a careless reader, becomes a blank.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (place, byte) in bytes.iter_mut().zip(text.bytes().take(end)) {
        *place = if byte == 0 { b' ' } else { byte };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_padded_with_blanks() {
        assert_eq!(&padded::<8>("abc"), b"abc     ");
        assert_eq!(&padded::<3>("abc"), b"abc");
        assert_eq!(&padded::<2>(""), b"  ");
        assert_eq!(padded::<1>("\u{e9}"), *b" ");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(&padded::<4>("abcdef"), b"abcd");
        assert_eq!(padded::<4>("abcé"), *b"abc ");
        assert_eq!(padded::<5>("abcé"), *"abcé".as_bytes());
        assert_eq!(padded::<3>("🔑"), *b"   ");
    }

    #[test]
    fn no_nul_comes_out() {
        assert_eq!(&padded::<6>("a\0b\0"), b"a b   ");
    }
}
