//! RSA and ECDSA from the textbook, slow and obvious: for inputs that other implementations refuse.

use num_bigint::{BigInt, BigUint};

/// `block ^ e mod n`, as long as the modulus.
pub fn rsa_public(n: &[u8], e: &[u8], block: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
    let result = number(block).modpow(&number(e), &number(n)).to_bytes_be();
    let mut out = vec![0; n.len() - result.len()];
    out.extend(result);
    out
}

/// A curve y^2 = x^3 - 3x + b over a prime field (FIPS 186-5, SP 800-186 3.2.1).
pub struct Curve {
    p: BigInt,
    n: BigInt,
    g: (BigInt, BigInt),
    bits: usize,
}

type Point = Option<(BigInt, BigInt)>;

fn number(hex: &str) -> BigInt {
    BigInt::parse_bytes(hex.as_bytes(), 16).unwrap()
}

impl Curve {
    /// P-224, P-256, P-384 or P-521, by the length of its order in bits.
    pub fn with_bits(bits: usize) -> Curve {
        let [p, n, x, y] = match bits {
            224 => [
                "ffffffffffffffffffffffffffffffff000000000000000000000001",
                "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
                "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
                "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
            ],
            256 => [
                "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
                "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
                "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
            ],
            384 => [
                "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
            ],
            521 => [
                "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
                "c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
                "11839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
            ],
            _ => panic!("no curve of {bits} bits"),
        }
        .map(number);
        Curve { p, n, g: (x, y), bits }
    }

    /// Is `signature` (r and s, of equal lengths) one of `input` by the key `point` (04, x, y)? FIPS 186-5 6.4.2.
    pub fn verifies(&self, point: &[u8], input: &[u8], signature: &[u8]) -> bool {
        let uint = |bytes: &[u8]| BigInt::from(BigUint::from_bytes_be(bytes));
        let (r, s) = signature.split_at(signature.len() / 2);
        let (r, s) = (uint(r), uint(s));
        let zero = BigInt::from(0);
        if r <= zero || s <= zero || r >= self.n || s >= self.n {
            return false;
        }
        let (x, y) = point[1..].split_at(point.len() / 2);
        let q = (uint(x), uint(y));
        // The leftmost bits of the input, as many as the order has.
        let e = uint(input) >> (input.len() * 8).saturating_sub(self.bits);
        let w = inverse(&s, &self.n);
        let u1 = self.times(&((e * &w) % &self.n), &self.g);
        let u2 = self.times(&((&r * &w) % &self.n), &q);
        self.add(u1, u2).is_some_and(|(x, _)| x % &self.n == r)
    }

    fn times(&self, factor: &BigInt, point: &(BigInt, BigInt)) -> Point {
        let bits = factor.to_str_radix(2);
        bits.chars().fold(None, |sum: Point, bit| {
            let twice = self.add(sum.clone(), sum);
            if bit == '1' { self.add(twice, Some(point.clone())) } else { twice }
        })
    }

    fn add(&self, a: Point, b: Point) -> Point {
        let (Some((x1, y1)), Some((x2, y2))) = (&a, &b) else { return a.or(b) };
        let slope = if x1 == x2 {
            if self.reduced(y1 + y2) == BigInt::from(0) {
                return None;
            }
            (BigInt::from(3) * x1 * x1 - BigInt::from(3)) * inverse(&self.reduced(y1 * BigInt::from(2)), &self.p)
        } else {
            (y2 - y1) * inverse(&self.reduced(x2 - x1), &self.p)
        };
        let slope = self.reduced(slope);
        let x = self.reduced(&slope * &slope - x1 - x2);
        let y = self.reduced(slope * (x1 - &x) - y1);
        Some((x, y))
    }

    fn reduced(&self, number: BigInt) -> BigInt {
        ((number % &self.p) + &self.p) % &self.p
    }
}

fn inverse(number: &BigInt, modulus: &BigInt) -> BigInt {
    number.modinv(modulus).expect("a prime modulus")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6979 A.2.5, SHA-256 of "sample".
    #[test]
    fn a_published_signature_verifies() {
        let hex = |text: &str| crate::call::unhex(text).unwrap();
        let point = hex(
            "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        );
        let digest = hex("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf");
        let signature = hex(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        );
        let curve = Curve::with_bits(256);
        assert!(curve.verifies(&point, &digest, &signature));
        assert!(!curve.verifies(&point, &digest[1..], &signature));
        assert!(curve.verifies(&point, &[&digest[..], b"beyond the order"].concat(), &signature));
    }
}
