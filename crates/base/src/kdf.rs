//! From a PIN to an authorization value.

use sha2::Sha256;

use crate::Secret;

/// PBKDF2 with HMAC-SHA256 (RFC 8018, 5.2): 32 bytes from a PIN, a salt and an iteration count.
///
/// A count of 0 is taken as 1, the least that PBKDF2 knows.
pub fn pbkdf2_sha256(pin: &[u8], salt: &[u8], iterations: u32) -> Secret {
    let mut key = Secret::zeroed(32);
    pbkdf2::pbkdf2_hmac::<Sha256>(pin, salt, iterations.max(1), key.expose_mut());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// The inputs of RFC 6070, with SHA-256 in the place of SHA-1.
    #[test]
    fn pbkdf2_vectors() {
        let check = |pin: &[u8], salt: &[u8], iterations, expected: &str| {
            assert_eq!(pbkdf2_sha256(pin, salt, iterations).expose(), hex(expected));
        };
        let once = "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b";
        check(b"password", b"salt", 1, once);
        check(b"password", b"salt", 0, once);
        let twice = "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43";
        check(b"password", b"salt", 2, twice);
        let many = "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a";
        check(b"password", b"salt", 4096, many);
        let zeros = "89b69d0516f829893c696226650a86878c029ac13ee276509d5ae58b6466a724";
        check(b"pass\0word", b"sa\0lt", 4096, zeros);
    }
}
