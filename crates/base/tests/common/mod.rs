//! RSA keys whose private operation is at hand, in the place of a TPM.
#![allow(dead_code, clippy::expect_used)]

use base::rsa::RsaPublic;
use num_bigint::BigUint;
use rsa::PrivateKey as RsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};

/// A key pair.
pub(crate) struct Pair {
    pub(crate) private: RsaPrivateKey,
    pub(crate) public: RsaPublic,
}

impl Pair {
    /// A new pair with a modulus of exactly `bits` bits.
    pub(crate) fn new(bits: usize) -> Pair {
        let private = RsaPrivateKey::new(&mut getrandom::SysRng, bits).expect("a key");
        let (n, e) = (private.n_bytes(), private.e_bytes());
        let public = RsaPublic::new(n, e).expect("a usable key");
        assert_eq!(public.modulus_bits(), bits);
        Pair { private, public }
    }

    /// RSADP and RSASP1: what the TPM does with a block, padded on the left to the modulus.
    pub(crate) fn raw_private(&self, block: &[u8]) -> Vec<u8> {
        let n = BigUint::from_bytes_be(self.public.n());
        let d = BigUint::from_bytes_be(&self.private.d().to_be_bytes_trimmed_vartime());
        let power = BigUint::from_bytes_be(block).modpow(&d, &n).to_bytes_be();
        left_pad(&power, self.public.modulus_len())
    }
}

/// `bytes` with zeros in front, up to `len`.
pub(crate) fn left_pad(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len - bytes.len()];
    out.extend_from_slice(bytes);
    out
}
