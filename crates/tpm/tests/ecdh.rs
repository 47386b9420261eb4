//! Diffie-Hellman with keys of the TPM.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use base::Secret;
use base::curve::{Curve, EcPublic};
use common::{Stage, at, counted, p256, secret, with};
use p256::elliptic_curve::ecdh::diffie_hellman;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use swtpm_fixtures::{Fault, SwTpm, command_code, leftovers};
use tap::Tap;
use tpm::{Error, KeyTemplate, Options};

/// A key of somebody else: its point, and the shared secret with `point`.
fn other<C>(curve: Curve, scalar: &[u8], point: &EcPublic) -> (EcPublic, Vec<u8>)
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let ours = SecretKey::<C>::from_slice(scalar).unwrap();
    let public = EcPublic::from_point(curve, ours.public_key().to_sec1_point(false).as_bytes()).unwrap();
    let theirs = PublicKey::<C>::from_sec1_bytes(&point.point()).unwrap();
    let z = diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
    (public, z.raw_secret_bytes().to_vec())
}

fn agreed(curve: Curve, number: u8, point: &EcPublic) -> (EcPublic, Vec<u8>) {
    let mut scalar = vec![number; curve.field_len()];
    scalar[0] = 0;
    match curve {
        Curve::P224 => other::<p224::NistP224>(curve, &scalar, point),
        Curve::P256 => other::<p256::NistP256>(curve, &scalar, point),
        Curve::P384 => other::<p384::NistP384>(curve, &scalar, point),
        Curve::P521 => other::<p521::NistP521>(curve, &scalar, point),
    }
}

fn public_of(stage: &Stage, index: usize) -> EcPublic {
    let area = stage.keys[index].0.public_area().unwrap();
    let (curve, x, y) = area.ecc().unwrap();
    EcPublic::new(curve, x, y).unwrap()
}

#[test]
fn both_sides_agree_on_every_curve() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &Curve::ALL.map(|curve| KeyTemplate::Ecc { curve }));
    for bus_protection in [true, false] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        for (index, curve) in Curve::ALL.into_iter().enumerate() {
            for number in 1..20 {
                let (point, z) = agreed(curve, number, &public_of(&stage, index));
                assert_eq!(tpm.ecdh_z(&stage.key(index), &point).unwrap().expose(), z);
            }
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn the_secret_is_as_long_as_the_field() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let public = public_of(&stage, 0);
    // One secret in 256 begins with a zero byte.
    let short = (1u16..).map(|number| {
        let mut scalar = [0; 32];
        scalar[30..].copy_from_slice(&number.to_be_bytes());
        other::<p256::NistP256>(Curve::P256, &scalar, &public)
    });
    let (point, z) = short.into_iter().find(|(_, z)| z[0] == 0).unwrap();
    assert_eq!(at(&proxy.tcti()).ecdh_z(&stage.key(0), &point).unwrap().expose(), z);

    // Some TPMs leave such bytes away.
    let tpm = with(&proxy.tcti(), Options { bus_protection: false, ..Options::default() });
    let code = command_code("ECDH_ZGen").unwrap();
    let answer = |x: &[u8]| {
        let point = [&[0, x.len() as u8][..], x, &[0, 1, 7]].concat();
        let parameters = [&[0, point.len() as u8][..], &point].concat();
        let body = [&(parameters.len() as u32).to_be_bytes()[..], &parameters, &[0, 0, 1, 0, 0]].concat();
        let size = (10 + body.len() as u32).to_be_bytes();
        Fault::Replace { code, bytes: [&[0x80, 2][..], &size, &[0; 4], &body].concat() }
    };
    proxy.inject(answer(&z[1..]));
    assert_eq!(tpm.ecdh_z(&stage.key(0), &point).unwrap().expose(), z);
    // A number that is too long, twice.
    for _ in 0..2 {
        proxy.inject(answer(&[1; 33]));
    }
    assert!(matches!(tpm.ecdh_z(&stage.key(0), &point), Err(Error::Malformed(_))));
}

#[test]
fn it_costs_one_command_when_the_key_is_loaded() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = at(&proxy.tcti());
    let (point, z) = agreed(Curve::P256, 7, &public_of(&stage, 0));
    for expected in ["Load StartAuthSession ECDH_ZGen", "ECDH_ZGen", "ECDH_ZGen"] {
        assert_eq!(tpm.ecdh_z(&stage.key(0), &point).unwrap().expose(), z);
        assert_eq!(proxy.mark().to_string(), expected);
    }
    stage.sign(&tpm, 0);
    assert_eq!(proxy.mark().to_string(), "Sign");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn what_does_not_fit_the_key_never_reaches_the_tpm() {
    let (swtpm, proxy) = counted();
    let rsa = KeyTemplate::Rsa { bits: 1024, exponent: 0 };
    let stage = Stage::set(&swtpm, &[p256(), rsa]);
    let tpm = at(&proxy.tcti());
    let (here, _) = agreed(Curve::P256, 7, &public_of(&stage, 0));
    let elsewhere = EcPublic::from_point(
        Curve::P384,
        SecretKey::<p384::NistP384>::from_slice(&[1; 48]).unwrap().public_key().to_sec1_point(false).as_bytes(),
    )
    .unwrap();
    assert!(matches!(tpm.ecdh_z(&stage.key(0), &elsewhere), Err(Error::Invalid(_))));
    assert!(matches!(tpm.ecdh_z(&stage.key(1), &here), Err(Error::Invalid(_))));
    let mut key = stage.key(0);
    key.name = &stage.keys[1].1;
    assert_eq!(tpm.ecdh_z(&key, &here), Err(Error::NameMismatch));
    assert_eq!((proxy.mark().len(), proxy.connections()), (0, 0));
    let wrong = secret(200);
    let mut key = stage.key(0);
    key.auth = &wrong;
    assert_eq!(tpm.ecdh_z(&key, &here), Err(Error::AuthFailed));
}

#[test]
fn a_bus_reader_does_not_see_the_secret() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let (point, z) = agreed(Curve::P256, 7, &public_of(&stage, 0));
    for (bus_protection, seen) in [(true, false), (false, true)] {
        let tap = Tap::start(&swtpm);
        let tpm = with(&tap.tcti(), Options { bus_protection, ..Options::default() });
        assert!(tpm.ecdh_z(&stage.key(0), &point).unwrap() == Secret::copy_from(&z));
        tpm.release();
        assert!(tap.heard(point.x()), "the tap hears");
        assert_eq!(tap.heard(&z), seen);
        assert_eq!(tap.heard(secret(100).expose()), seen);
    }
}
