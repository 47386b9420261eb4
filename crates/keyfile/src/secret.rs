//! Keys that are nothing but bytes: AES and HMAC.

use base::Secret;

use crate::error::{Error, Result};

/// The key in a file of nothing else: hexadecimal digits (with white space, and with or without `0x` or `hex:` before them) stand
/// for the bytes that they say; anything else is the key itself, as it is.
///
/// # Errors
/// [`Error::Malformed`] for an empty file, or a number of digits that is odd.
pub fn read_secret(file: &Secret) -> Result<Secret> {
    match digits(file)? {
        Some(secret) => Ok(secret),
        None if file.is_empty() => Err(Error::Malformed("the file is empty")),
        None => Ok(file.clone()),
    }
}

fn digits(file: &Secret) -> Result<Option<Secret>> {
    let bytes = file.expose().trim_ascii();
    let (bytes, marked) = match bytes.strip_prefix(b"0x").or_else(|| bytes.strip_prefix(b"hex:")) {
        Some(rest) => (rest, true),
        None => (bytes, false),
    };
    let mut secret = Secret::zeroed(bytes.len().div_ceil(2));
    let mut count = 0;
    for byte in bytes.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let Some(digit) = char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()) else {
            return if marked { Err(Error::Malformed("the file is not hexadecimal")) } else { Ok(None) };
        };
        if let Some(place) = secret.expose_mut().get_mut(count / 2) {
            *place = *place << 4 | digit;
        }
        count += 1;
    }
    match (count, count % 2) {
        (0, _) => Ok(None),
        (_, 1) => Err(Error::Malformed("the file has an odd number of hexadecimal digits")),
        _ => {
            secret.truncate(count / 2);
            Ok(Some(secret))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<Vec<u8>> {
        read_secret(&Secret::copy_from(text)).ok().map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn digits_are_numbers_and_other_bytes_themselves() {
        assert_eq!(read(b"00ff\n10"), Some(vec![0, 255, 16]));
        assert_eq!(read(b"hex:0A\n"), Some(vec![10]));
        assert_eq!(read(b"0x0a"), Some(vec![10]));
        assert_eq!(read(b"\x00\x01"), Some(vec![0, 1]));
        assert_eq!(read(b"geheim\n"), Some(b"geheim\n".to_vec()));
        assert_eq!(read(b"123"), None);
        assert_eq!(read(b"hex:xy"), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(b" \n"), Some(b" \n".to_vec()));
    }
}
