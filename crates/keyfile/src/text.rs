//! What editors, shells and mail programs put around a key: byte order marks, UTF-16, line ends after binary data. It says nothing
//! about the key, and is taken off before anything is looked at.

use base::Secret;

const UTF_8: &[u8] = &[0xef, 0xbb, 0xbf];
const UTF_16_LE: [u8; 2] = [0xff, 0xfe];
const UTF_16_BE: [u8; 2] = [0xfe, 0xff];
/// The first byte of each of our binary forms: a SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// The file without what is around it.
pub(crate) fn plain(file: &[u8]) -> Secret {
    if let Some(rest) = file.strip_prefix(UTF_8) {
        return Secret::copy_from(rest);
    }
    match file.split_first_chunk() {
        Some((&UTF_16_LE, rest)) => ascii(rest, u16::from_le_bytes),
        Some((&UTF_16_BE, rest)) => ascii(rest, u16::from_be_bytes),
        _ => Secret::copy_from(without_line_end(file)),
    }
}

/// PowerShell's `>` writes UTF-16. What counts in a key is ASCII; anything else is a remark, and a question mark will do for it.
fn ascii(text: &[u8], unit: fn([u8; 2]) -> u16) -> Secret {
    let mut plain = Secret::zeroed(text.len() / 2);
    for (to, from) in plain.expose_mut().iter_mut().zip(text.as_chunks().0) {
        *to = u8::try_from(unit(*from)).ok().filter(u8::is_ascii).unwrap_or(b'?');
    }
    plain
}

/// DER says how long it is: white space after it was put there by somebody's tool.
fn without_line_end(file: &[u8]) -> &[u8] {
    if file.first() != Some(&SEQUENCE) {
        return file;
    }
    let whole = crate::der::Reader::new(file).any().map_or(file, |element| element.whole);
    let rest = file.get(whole.len()..).unwrap_or_default();
    if rest.iter().all(u8::is_ascii_whitespace) { whole } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_go() {
        let der = [0x30, 3, 2, 1, 5];
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}Müller".encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        for (file, expected) in [
            (b"\xef\xbb\xbftext".to_vec(), &b"text"[..]),
            (utf_16(u16::to_le_bytes), b"M?ller"),
            (utf_16(u16::to_be_bytes), b"M?ller"),
            ([&der[..], b"\r\n"].concat(), &der),
            ([&der[..], b"\nmore"].concat(), &[&der[..], b"\nmore"].concat()),
            (der.to_vec(), &der),
            (b" text \n".to_vec(), b" text \n"),
            (Vec::new(), b""),
        ] {
            assert_eq!(plain(&file).expose(), expected);
        }
    }
}
