//! Diffie-Hellman with a key of the moment, for secrets that go to the holder of a public key (SP 800-56A 5.7.1.2).

use elliptic_curve::ecdh::diffie_hellman;
use elliptic_curve::sec1::{FromEncodedPoint, ModulusSize, ToEncodedPoint};
use elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use p224::NistP224;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;

use crate::curve::{Curve, EcPublic};
use crate::random::{self, RandomError};
use crate::{KeyError, Secret};

/// A new public point on the curve of `theirs`, and the x coordinate, as long as the field, of the point that it has in common with
/// that. The private key of the moment is gone.
///
/// # Errors
/// The operating system's generator failed.
pub fn with_ephemeral(theirs: &EcPublic) -> Result<(EcPublic, Secret), RandomError> {
    let curve = theirs.curve();
    loop {
        let mut d = Secret::zeroed(curve.field_len());
        random::fill(d.expose_mut())?;
        // P-521: 66 bytes have seven bits more than the order.
        let excess = (curve.field_len() * 8) as u32 - curve.order_bits();
        if let Some(first) = d.expose_mut().first_mut() {
            *first &= 0xff >> excess;
        }
        // A number that is zero or not below the order, which is next to never, is drawn anew.
        if let (Ok(ours), Ok(z)) = (EcPublic::of_private(curve, &d), shared(theirs, &d)) {
            return Ok((ours, z));
        }
    }
}

/// The x coordinate of `d` times the point, as long as the field.
fn shared(theirs: &EcPublic, d: &Secret) -> Result<Secret, KeyError> {
    fn product<C>(theirs: &EcPublic, d: &Secret) -> Result<Secret, KeyError>
    where
        C: CurveArithmetic,
        AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
        FieldBytesSize<C>: ModulusSize,
    {
        let key = SecretKey::<C>::from_slice(d.expose()).map_err(|_| KeyError::Malformed)?;
        let theirs = PublicKey::<C>::from_sec1_bytes(&theirs.point()).map_err(|_| KeyError::NotOnCurve)?;
        Ok(Secret::copy_from(diffie_hellman(key.to_nonzero_scalar(), theirs.as_affine()).raw_secret_bytes()))
    }
    match theirs.curve() {
        Curve::P224 => product::<NistP224>(theirs, d),
        Curve::P256 => product::<NistP256>(theirs, d),
        Curve::P384 => product::<NistP384>(theirs, d),
        Curve::P521 => product::<NistP521>(theirs, d),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// NIST CAVP, ECC CDH primitive, the first case of P-256.
    #[test]
    fn the_primitive_is_the_published_one() {
        let theirs = hex(
            "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
        );
        let theirs = EcPublic::from_point(Curve::P256, &theirs).unwrap();
        let d = Secret::new(hex("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"));
        let expected = hex("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b");
        assert_eq!(shared(&theirs, &d).unwrap().expose(), expected);
    }

    #[test]
    fn both_sides_have_the_same_secret_on_every_curve() {
        for curve in Curve::ALL {
            let mut d = Secret::zeroed(curve.field_len());
            d.expose_mut()[curve.field_len() - 1] = 7;
            let theirs = EcPublic::of_private(curve, &d).unwrap();
            let (ours, z) = with_ephemeral(&theirs).unwrap();
            assert_eq!((z.len(), &z), (curve.field_len(), &shared(&ours, &d).unwrap()), "{curve:?}");
            assert_ne!(with_ephemeral(&theirs).unwrap().0, ours, "another one each time");
        }
    }
}
