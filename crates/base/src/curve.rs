//! The NIST curves, public points on them, and ECDSA verification.

use ecdsa::hazmat::VerifyPrimitive;
use elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use elliptic_curve::{FieldBytes, PublicKey};
use p224::NistP224;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;

use crate::{KeyError, Secret, der};

const ID_EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A curve of prime order (FIPS 186-5, SP 800-186).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Curve {
    /// P-224, secp224r1.
    P224,
    /// P-256, secp256r1, prime256v1.
    P256,
    /// P-384, secp384r1.
    P384,
    /// P-521, secp521r1.
    P521,
}

impl Curve {
    /// Every curve, by growing order.
    pub const ALL: [Curve; 4] = [Curve::P224, Curve::P256, Curve::P384, Curve::P521];

    /// Length of a coordinate, and of a number modulo the order, in bytes.
    pub const fn field_len(self) -> usize {
        match self {
            Curve::P224 => 28,
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    /// Length of the order in bits.
    pub const fn order_bits(self) -> u32 {
        match self {
            Curve::P224 => 224,
            Curve::P256 => 256,
            Curve::P384 => 384,
            Curve::P521 => 521,
        }
    }

    /// The name in FIPS 186-5, such as `P-256`.
    pub const fn name(self) -> &'static str {
        match self {
            Curve::P224 => "P-224",
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    /// The DER OBJECT IDENTIFIER, tag included: the value of CKA_EC_PARAMS.
    pub const fn oid_der(self) -> &'static [u8] {
        match self {
            Curve::P224 => &[6, 5, 0x2b, 0x81, 4, 0, 0x21],
            Curve::P256 => &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
            Curve::P384 => &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
            Curve::P521 => &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
        }
    }

    /// The curve that a value of CKA_EC_PARAMS names, by OBJECT IDENTIFIER or by a PrintableString
    /// with one of its names (PKCS#11 v3.1, 6.3.3). Explicit parameters are not taken.
    pub fn from_ec_params(params: &[u8]) -> Option<Curve> {
        if let Some(name) = der::printable_string_content(params) {
            return Curve::ALL.into_iter().find(|curve| curve.names().iter().any(|n| n.as_bytes() == name));
        }
        Curve::ALL.into_iter().find(|curve| curve.oid_der() == params)
    }

    /// Are these bytes the uncompressed encoding of these coordinates in a DER OCTET STRING, as [`EcPublic::point_der`] writes it? Whether the
    /// point is on the curve is not asked.
    pub fn is_point_der(self, point: &[u8], x: &[u8], y: &[u8]) -> bool {
        let len = self.field_len();
        let Some((4, both)) = der::octet_string_content(point).and_then(<[u8]>::split_first).map(|(t, b)| (*t, b))
        else {
            return false;
        };
        both.len() == 2 * len
            && both.split_at_checked(len).is_some_and(|(own_x, own_y)| {
                left_pad(x, len).is_some_and(|x| x == own_x) && left_pad(y, len).is_some_and(|y| y == own_y)
            })
    }

    const fn names(self) -> &'static [&'static str] {
        match self {
            Curve::P224 => &["secp224r1", "ansip224r1", "P-224"],
            Curve::P256 => &["secp256r1", "prime256v1", "P-256"],
            Curve::P384 => &["secp384r1", "ansip384r1", "P-384"],
            Curve::P521 => &["secp521r1", "ansip521r1", "P-521"],
        }
    }
}

/// A public point, always on its curve and never the point at infinity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EcPublic {
    curve: Curve,
    x: Vec<u8>,
    y: Vec<u8>,
}

impl EcPublic {
    /// A point from its big-endian coordinates, shorter than the field (as TPMs may give them) or
    /// with leading zeros.
    ///
    /// # Errors
    /// A coordinate that is too long, or a point not on the curve.
    pub fn new(curve: Curve, x: &[u8], y: &[u8]) -> Result<EcPublic, KeyError> {
        let x = left_pad(x, curve.field_len()).ok_or(KeyError::Malformed)?;
        let y = left_pad(y, curve.field_len()).ok_or(KeyError::Malformed)?;
        EcPublic::from_sec1(curve, &[&[4], &x[..], &y[..]].concat())
    }

    /// A point from its SEC 1 encoding (2.3.3; compressed or not), bare or in a DER OCTET STRING
    /// as CKA_EC_POINT wants it.
    ///
    /// Both begin with 04, but no length is valid for both.
    ///
    /// # Errors
    /// Not such an encoding, or a point not on the curve.
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<EcPublic, KeyError> {
        let is_sec1 = |bytes: &[u8]| match bytes.first() {
            Some(2 | 3) => bytes.len() == 1 + curve.field_len(),
            Some(4) => bytes.len() == 1 + 2 * curve.field_len(),
            _ => false,
        };
        if is_sec1(point) {
            return EcPublic::from_sec1(curve, point);
        }
        match der::octet_string_content(point) {
            Some(inner) if is_sec1(inner) => EcPublic::from_sec1(curve, inner),
            _ => Err(KeyError::Malformed),
        }
    }

    /// The public point of a private key: d times the generator, in constant time.
    ///
    /// # Errors
    /// A number that is zero, or not below the order.
    pub fn of_private(curve: Curve, d: &Secret) -> Result<EcPublic, KeyError> {
        fn point<C>(curve: Curve, d: &[u8]) -> Result<EcPublic, KeyError>
        where
            C: elliptic_curve::CurveArithmetic,
            elliptic_curve::AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
            elliptic_curve::FieldBytesSize<C>: elliptic_curve::sec1::ModulusSize,
        {
            let key = elliptic_curve::SecretKey::<C>::from_slice(d).map_err(|_| KeyError::Malformed)?;
            EcPublic::from_sec1(curve, key.public_key().to_encoded_point(false).as_bytes())
        }
        let d = Secret::new(left_pad(d.expose(), curve.field_len()).ok_or(KeyError::Malformed)?);
        match curve {
            Curve::P224 => point::<NistP224>(curve, d.expose()),
            Curve::P256 => point::<NistP256>(curve, d.expose()),
            Curve::P384 => point::<NistP384>(curve, d.expose()),
            Curve::P521 => point::<NistP521>(curve, d.expose()),
        }
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The x coordinate, big-endian, as long as the field.
    pub fn x(&self) -> &[u8] {
        &self.x
    }

    /// The y coordinate, big-endian, as long as the field.
    pub fn y(&self) -> &[u8] {
        &self.y
    }

    /// The uncompressed SEC 1 encoding: 04, x, y.
    pub fn point(&self) -> Vec<u8> {
        [&[4], &self.x[..], &self.y[..]].concat()
    }

    /// [`EcPublic::point`] in a DER OCTET STRING: the value of CKA_EC_POINT.
    pub fn point_der(&self) -> Vec<u8> {
        der::octet_string(&self.point())
    }

    /// The SubjectPublicKeyInfo (RFC 5480) in DER.
    pub fn spki(&self) -> Vec<u8> {
        der::sequence(&[
            &der::sequence(&[&der::oid(ID_EC_PUBLIC_KEY), self.curve.oid_der()]),
            &der::bit_string(&self.point()),
        ])
    }

    /// Whether `signature` (r and s, each as long as the field) is this key's ECDSA signature of
    /// `data`, which is a digest or whatever was signed in its place: of any length, the leftmost
    /// bits of it count, as many as the order has (FIPS 186-5, 6.4.2).
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> bool {
        let z = leftmost_bits(data, self.curve);
        let point = self.point();
        match self.curve {
            Curve::P224 => {
                let (Ok(key), Ok(signature)) =
                    (PublicKey::<NistP224>::from_sec1_bytes(&point), p224::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                let z = FieldBytes::<NistP224>::from_slice(&z);
                key.as_affine().verify_prehashed(z, &signature).is_ok()
            }
            Curve::P256 => {
                let (Ok(key), Ok(signature)) =
                    (PublicKey::<NistP256>::from_sec1_bytes(&point), p256::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                let z = FieldBytes::<NistP256>::from_slice(&z);
                key.as_affine().verify_prehashed(z, &signature).is_ok()
            }
            Curve::P384 => {
                let (Ok(key), Ok(signature)) =
                    (PublicKey::<NistP384>::from_sec1_bytes(&point), p384::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                let z = FieldBytes::<NistP384>::from_slice(&z);
                key.as_affine().verify_prehashed(z, &signature).is_ok()
            }
            Curve::P521 => {
                let (Ok(key), Ok(signature)) =
                    (PublicKey::<NistP521>::from_sec1_bytes(&point), p521::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                let z = FieldBytes::<NistP521>::from_slice(&z);
                key.as_affine().verify_prehashed(z, &signature).is_ok()
            }
        }
    }

    fn from_sec1(curve: Curve, sec1: &[u8]) -> Result<EcPublic, KeyError> {
        match curve {
            Curve::P224 => decode::<NistP224>(curve, sec1),
            Curve::P256 => decode::<NistP256>(curve, sec1),
            Curve::P384 => decode::<NistP384>(curve, sec1),
            Curve::P521 => decode::<NistP521>(curve, sec1),
        }
    }
}

/// An ECDSA signature, r and s of the same length, as ECDSA-Sig-Value (RFC 3279, 2.2.3) in DER.
pub fn signature_to_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    der::sequence(&[&der::integer(r), &der::integer(s)])
}

/// The numbers of an ECDSA-Sig-Value, each filled up with zeros to `len` bytes.
pub fn signature_from_der(signature: &[u8], len: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    use pkcs8::der::{AnyRef, Decode, asn1::UintRef};
    let numbers = AnyRef::from_der(signature)
        .and_then(|value| value.sequence(|inside| Ok((UintRef::decode(inside)?, UintRef::decode(inside)?))));
    let (r, s) = numbers.ok()?;
    Some((left_pad(r.as_bytes(), len)?, left_pad(s.as_bytes(), len)?))
}

fn decode<C>(curve: Curve, sec1: &[u8]) -> Result<EcPublic, KeyError>
where
    C: elliptic_curve::CurveArithmetic,
    elliptic_curve::AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
    elliptic_curve::FieldBytesSize<C>: elliptic_curve::sec1::ModulusSize,
{
    // Checks that the point is on the curve; the curves being of prime order, nothing more is
    // needed (SP 800-56A, 5.6.2.3.3).
    let key = PublicKey::<C>::from_sec1_bytes(sec1).map_err(|_| KeyError::NotOnCurve)?;
    let point = key.to_encoded_point(false);
    match (point.x(), point.y()) {
        (Some(x), Some(y)) => Ok(EcPublic { curve, x: x.to_vec(), y: y.to_vec() }),
        _ => Err(KeyError::NotOnCurve),
    }
}

/// `bytes` without leading zeros beyond `len`, filled up to `len` with zeros on the left.
fn left_pad(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
    let bytes = bytes.get(start..)?;
    let mut out = vec![0; len.checked_sub(bytes.len())?];
    out.extend_from_slice(bytes);
    Some(out)
}

/// The leftmost bits of `data`, as many as the order of the curve has, as a number in `field_len`
/// bytes. It may still exceed the order.
fn leftmost_bits(data: &[u8], curve: Curve) -> Vec<u8> {
    let len = curve.field_len();
    let Some(head) = data.get(..len) else {
        return left_pad(data, len).unwrap_or_default();
    };
    let mut out = head.to_vec();
    let spare = (len * 8) as u32 - curve.order_bits();
    if spare > 0 {
        let mut carry = 0;
        for byte in &mut out {
            let low = *byte << (8 - spare);
            *byte = carry | *byte >> spare;
            carry = low;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Hash;
    use crate::hex;

    /// The public keys of RFC 6979, A.2.4 to A.2.7.
    fn key(curve: Curve) -> EcPublic {
        let (x, y) = match curve {
            Curve::P224 => (
                "00CF08DA5AD719E42707FA431292DEA11244D64FC51610D94B130D6C",
                "EEAB6F3DEBE455E3DBF85416F7030CBD94F34F2D6F232C69F3C1385A",
            ),
            Curve::P256 => (
                "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
                "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
            ),
            Curve::P384 => (
                "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64
                 DEF8F0EA9055866064A254515480BC13",
                "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1
                 288B231C3AE0D4FE7344FD2533264720",
            ),
            Curve::P521 => (
                "01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD
                 371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F50
                 23A4",
                "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A
                 28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFD
                 FCF5",
            ),
        };
        EcPublic::new(curve, &hex(x), &hex(y)).unwrap()
    }

    /// RFC 6979, A.2.5: digests shorter than, as long as and longer than the order.
    #[test]
    fn a_point_is_known_by_its_bytes() {
        for curve in Curve::ALL {
            let key = key(curve);
            let der = key.point_der();
            assert!(curve.is_point_der(&der, key.x(), key.y()));
            // As TPMs may give them, without leading zeros or with more.
            let zeros = key.x().iter().take_while(|byte| **byte == 0).count();
            assert!(curve.is_point_der(&der, &key.x()[zeros..], &[&[0, 0], key.y()].concat()));
            assert!(!curve.is_point_der(&der, key.y(), key.x()) && !curve.is_point_der(&der, key.x(), key.x()));
            for at in 0..der.len() {
                let mut other = der.clone();
                other[at] ^= 1;
                assert!(!curve.is_point_der(&other, key.x(), key.y()), "{at}");
            }
            assert!(!curve.is_point_der(&der[..der.len() - 1], key.x(), key.y()));
            assert!(!curve.is_point_der(&key.point(), key.x(), key.y()), "bare");
        }
    }

    #[test]
    fn signatures_in_der_have_minimal_numbers() {
        let signature = [[&[0; 30][..], &[0x80, 1]].concat(), vec![0x7f; 32]].concat();
        let der = signature_to_der(&signature);
        assert_eq!(der[..7], [0x30, 5 + 34, 2, 3, 0, 0x80, 1]);
        let (r, s) = signature_from_der(&der, 32).unwrap();
        assert_eq!([r, s].concat(), signature);
        assert_eq!(signature_from_der(&der, 31), None, "too long for the field");
        for bad in [&der[..der.len() - 1], &[&der[..], &[0]].concat(), &[], &[0x30, 3, 2, 1, 1], &[0x30, 0x80]] {
            assert_eq!(signature_from_der(bad, 32), None, "{bad:02x?}");
        }
    }

    #[test]
    fn verifies_published_signatures() {
        let check = |hash: Hash, r: &str, s: &str| {
            let signature = [hex(r), hex(s)].concat();
            let digest = hash.digest(&[b"sample"]);
            assert!(key(Curve::P256).verify(&digest, &signature), "{hash:?}");
            let other = hash.digest(&[b"test"]);
            assert!(!key(Curve::P256).verify(&other, &signature));
        };
        check(
            Hash::Sha1,
            "61340C88C3AAEBEB4F6D667F672CA9759A6CCAA9FA8811313039EE4A35471D32",
            "6D7F147DAC089441BB2E2FE8F7A3FA264B9C475098FDCF6E00D7C996E1B8B7EB",
        );
        check(
            Hash::Sha256,
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        );
        check(
            Hash::Sha512,
            "8496A60B5E9B47C825488827E0495B0E3FA109EC4568FD3F8D1097678EB97F00",
            "2362AB1ADBE2B8ADF9CB9EDAB740EA6049C028114F2460F96554F61FAE3302FE",
        );
    }

    /// RFC 6979, A.2.4: SHA-256 is longer than the order, and its leftmost bits count.
    #[test]
    fn verifies_a_published_signature_on_p224() {
        let signature = [
            hex("61AA3DA010E8E8406C656BC477A7A7189895E7E840CDFE8FF42307BA"),
            hex("BC814050DAB5D23770879494F9E0A680DC1AF7161991BDE692B10101"),
        ]
        .concat();
        assert!(key(Curve::P224).verify(&Hash::Sha256.digest(&[b"sample"]), &signature));
        assert!(!key(Curve::P224).verify(&Hash::Sha256.digest(&[b"test"]), &signature));
    }

    #[test]
    fn parameters_by_oid_and_by_name() {
        for curve in Curve::ALL {
            assert_eq!(Curve::from_ec_params(curve.oid_der()), Some(curve));
            assert_eq!(curve.field_len(), curve.order_bits().div_ceil(8) as usize);
            for name in curve.names() {
                let der = [&[0x13, name.len() as u8], name.as_bytes()].concat();
                assert_eq!(Curve::from_ec_params(&der), Some(curve), "{name}");
            }
            let longer = [curve.oid_der(), &[0]].concat();
            assert_eq!(Curve::from_ec_params(&longer), None);
        }
        let edwards = [&[0x13, 12], &b"edwards25519"[..]].concat();
        for bytes in [&[][..], &[0x13], &[0x13, 0], &[0x05, 0x00], &edwards] {
            assert_eq!(Curve::from_ec_params(bytes), None);
        }
    }

    #[test]
    fn points_in_every_encoding() {
        for curve in Curve::ALL {
            let key = key(curve);
            let len = curve.field_len();
            let lens = (key.x().len(), key.y().len());
            assert_eq!((key.curve(), lens), (curve, (len, len)));
            let compressed = [&[2 | key.y()[len - 1] & 1], key.x()].concat();
            for bare in [key.point(), compressed] {
                let wrapped = der::octet_string(&bare);
                assert_eq!(EcPublic::from_point(curve, &bare), Ok(key.clone()));
                assert_eq!(EcPublic::from_point(curve, &wrapped), Ok(key.clone()));
                let doubly = der::octet_string(&wrapped);
                let refused = Err(KeyError::Malformed);
                assert_eq!(EcPublic::from_point(curve, &doubly), refused);
                for cut in 0..wrapped.len() {
                    assert!(EcPublic::from_point(curve, &wrapped[..cut]).is_err());
                }
            }
            // P-521 is the curve whose point needs the long form of the length.
            let head: &[u8] = match curve {
                Curve::P224 => &[4, 57, 4],
                Curve::P256 => &[4, 65, 4],
                Curve::P384 => &[4, 97, 4],
                Curve::P521 => &[4, 0x81, 133, 4],
            };
            assert!(key.point_der().starts_with(head));
        }
    }

    #[test]
    fn coordinates_are_padded_and_checked() {
        let p521 = key(Curve::P521);
        let padded = [&[0, 0], p521.x()].concat();
        assert_eq!(EcPublic::new(Curve::P521, &padded, &p521.y()[1..]), Ok(p521));
        for curve in Curve::ALL {
            let key = key(curve);
            let mut y = key.y().to_vec();
            y[10] ^= 1;
            assert_eq!(EcPublic::new(curve, key.x(), &y), Err(KeyError::NotOnCurve));
            let longer = [&[1], key.x()].concat();
            let refused = Err(KeyError::Malformed);
            assert_eq!(EcPublic::new(curve, &longer, key.y()), refused);
            assert_eq!(EcPublic::from_point(curve, &[0]), refused);
            assert_eq!(EcPublic::new(curve, &[], &[]), Err(KeyError::NotOnCurve));
            // Coordinates that are not reduced modulo the field.
            let big = vec![0xff; curve.field_len()];
            assert_eq!(EcPublic::new(curve, &big, &big), Err(KeyError::NotOnCurve));
        }
    }

    #[test]
    fn signatures_of_wrong_shape_are_refused() {
        for curve in Curve::ALL {
            let len = curve.field_len();
            for bytes in [0, 1, len, 2 * len - 1, 2 * len, 2 * len + 1] {
                assert!(!key(curve).verify(&[1; 32], &vec![0; bytes]));
                assert!(!key(curve).verify(&[1; 32], &vec![0xff; bytes]));
            }
        }
    }

    #[test]
    fn leftmost_bits_of_any_length() {
        let z = |data: &[u8]| leftmost_bits(data, Curve::P521);
        assert_eq!(z(&[]), [0; 66]);
        assert_eq!(z(&[1; 65]), [&[0][..], &[1; 65]].concat());
        // 528 bits: the last seven fall off.
        assert_eq!(z(&[0xff; 66]), [&[1][..], &[0xff; 65]].concat());
        assert_eq!(z(&[0xff; 200]), z(&[0xff; 66]));
        let highest = [&[0x80][..], &[0; 65]].concat();
        assert_eq!(z(&highest), [&[1][..], &[0; 65]].concat());
        assert_eq!(leftmost_bits(&[7; 40], Curve::P256), [7; 32]);
    }
}
