//! What a PIN's object in the TPM holds: a key, and beside it a check value, by which what was sealed is told from an answer that is
//! not that. Without it a TPM, or somebody in front of it, that answers wrongly would look like a row of the store that was altered.

use base::Secret;
use base::digest::Hash;

use crate::{Error, Result};

const KEY_LEN: usize = 32;
const CHECK_LEN: usize = 16;
/// The key in hexadecimal digits, as another software sealed it.
const CAME_LEN: usize = 2 * KEY_LEN;

/// A key out of such an object.
#[derive(Debug)]
pub(crate) struct Opened {
    /// 32 bytes.
    pub(crate) key: Secret,
    /// It is as another software sealed it.
    pub(crate) came: bool,
    /// A check value was beside it, or its form shows that it is what was sealed. Objects that were made before there were check
    /// values have none: ObjectChangeAuth never changes what is sealed.
    checked: bool,
}

/// What is sealed of a key of 32 bytes.
pub(crate) fn with_check(key: &Secret) -> Secret {
    let check = check_of(key);
    let mut out = Secret::zeroed(key.len() + CHECK_LEN);
    for (to, from) in out.expose_mut().iter_mut().zip(key.expose().iter().chain(check.expose())) {
        *to = *from;
    }
    out
}

/// # Errors
/// [`Error::DeviceError`] for what the TPM cannot have sealed, [`Error::Tampered`] for what the token never seals.
pub(crate) fn open(sealed: Secret) -> Result<Opened> {
    match sealed.len() {
        KEY_LEN => Ok(Opened { key: sealed, came: false, checked: false }),
        CAME_LEN => {
            let key = of_digits(&sealed).ok_or_else(wrong_answer)?;
            Ok(Opened { key, came: true, checked: true })
        }
        len if len == KEY_LEN + CHECK_LEN => {
            let (key, check) = sealed.expose().split_at_checked(KEY_LEN).ok_or_else(wrong_answer)?;
            let key = Secret::copy_from(key);
            if check_of(&key) != Secret::copy_from(check) {
                return Err(wrong_answer());
            }
            Ok(Opened { key, came: false, checked: true })
        }
        _ => Err(Error::Tampered("a PIN's row in the store was altered".to_owned())),
    }
}

impl Opened {
    /// What is to be said where a row's code is not right under this key.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Tampered(text) if !self.checked => {
                Error::Tampered(format!("{text}, or the TPM did not give out what was sealed"))
            }
            error => error,
        }
    }
}

fn wrong_answer() -> Error {
    Error::DeviceError(
        "the TPM took the PIN and gave out something else than what was sealed: it, or what stands before it, answers wrongly"
            .to_owned(),
    )
}

fn check_of(key: &Secret) -> Secret {
    let whole = Hash::Sha256.hmac(key.expose(), &[b"tpm2-cryptoki 1 sealed"]);
    Secret::copy_from(whole.expose().get(..CHECK_LEN).unwrap_or_default())
}

fn of_digits(digits: &Secret) -> Option<Secret> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut key = Secret::zeroed(KEY_LEN);
    for (byte, pair) in key.expose_mut().iter_mut().zip(digits.expose().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_told_from_what_was_not() {
        let key = Secret::copy_from(&[7; KEY_LEN]);
        // python3 -c 'import hmac; print(hmac.digest(b"\x07"*32, b"tpm2-cryptoki 1 sealed", "sha256")[:16].hex())'
        let sealed = with_check(&key);
        assert_eq!(base::hex::encode(&sealed.expose()[KEY_LEN..]), "21d4fe888117a116e027e07a7f8897d4");
        let opened = open(sealed.clone()).unwrap();
        assert!(opened.key == key && !opened.came && opened.checked);
        for place in 0..sealed.len() {
            let mut other = sealed.clone();
            other.expose_mut()[place] ^= 0x10;
            assert!(matches!(open(other), Err(Error::DeviceError(_))), "{place}");
        }
        // Of a token that was made before there were check values.
        let opened = open(key.clone()).unwrap();
        assert!(opened.key == key && !opened.came && !opened.checked);
        for len in [0, 31, 33, 47, 49, 128] {
            assert!(matches!(open(Secret::zeroed(len)), Err(Error::Tampered(_))), "{len}");
        }
    }

    #[test]
    fn what_another_software_sealed_is_digits() {
        let opened = open(Secret::copy_from("0f".repeat(32).as_bytes())).unwrap();
        assert!(opened.key == Secret::copy_from(&[15; 32]) && opened.came);
        let nonsense = open(Secret::copy_from("0x".repeat(32).as_bytes()));
        assert!(matches!(nonsense, Err(Error::DeviceError(_))));
    }
}
