//! Keys that were made elsewhere, in the TPM.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;
mod tap;

use std::sync::OnceLock;

use base::Secret;
use base::curve::Curve;
use base::digest::Hash;
use base::pad::{oaep_encode, pkcs1_sign_check, pss_verify};
use base::rsa::RsaPublic;
use common::{Stage, assert_becomes_clean, at, check_ecdsa, counted, secret, with};
use p256::elliptic_curve::bigint::ConcatenatingMul;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, SecretKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, PrivateKey as RsaPrivateKey};
use swtpm_fixtures::{Fault, ResourceManager, SwTpm, command_code, leftovers};
use tap::Tap;
use tpm::{
    Attributes, DecryptScheme, Error, Key, KeyMaterial, Location, Options, Primary, PrimaryRequest, SignScheme,
    Signature, Tpm, Wrapped,
};

fn rsa_key() -> &'static RsaPrivateKey {
    static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
    KEY.get_or_init(|| RsaPrivateKey::new(&mut getrandom::SysRng, 2048).unwrap())
}

fn rsa_material(key: &RsaPrivateKey, prime: usize) -> KeyMaterial {
    let p = Secret::new(key.primes()[prime].to_be_bytes_trimmed_vartime().into_vec());
    KeyMaterial::Rsa { n: key.n_bytes().into_vec(), e: key.e_bytes().into_vec(), p }
}

fn ec_material_of<C>(curve: Curve, scalar: &[u8]) -> KeyMaterial
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let point = SecretKey::<C>::from_slice(scalar).unwrap().public_key().to_sec1_point(false);
    let (x, y) = (point.x().unwrap().to_vec(), point.y().unwrap().to_vec());
    KeyMaterial::Ecc { curve, x, y, d: Secret::copy_from(scalar) }
}

/// With a scalar that begins with zero bytes.
fn ec_material(curve: Curve) -> KeyMaterial {
    let mut scalar: Vec<u8> = (0..curve.field_len()).map(|index| index as u8).collect();
    scalar[1] = 0;
    match curve {
        Curve::P224 => ec_material_of::<p224::NistP224>(curve, &scalar),
        Curve::P256 => ec_material_of::<p256::NistP256>(curve, &scalar),
        Curve::P384 => ec_material_of::<p384::NistP384>(curve, &scalar),
        Curve::P521 => ec_material_of::<p521::NistP521>(curve, &scalar),
    }
}

fn every_kind() -> Vec<KeyMaterial> {
    let key = Secret::copy_from(b"sixteen bytes ok");
    let mut kinds: Vec<KeyMaterial> = Curve::ALL.into_iter().map(ec_material).collect();
    kinds.push(rsa_material(rsa_key(), 0));
    kinds.push(KeyMaterial::Aes { key: key.clone() });
    kinds.push(KeyMaterial::Hmac { hash: None, key: key.clone() });
    kinds.push(KeyMaterial::Hmac { hash: Some(Hash::Sha512), key });
    kinds
}

/// That a key made of `material` is in the TPM, and is that key.
fn check_use(tpm: &Tpm, primary: &Primary, material: &KeyMaterial, wrapped: &Wrapped, auth: &Secret) {
    let name = wrapped.name().unwrap();
    let key = Key { primary, wrapped, name: &name, auth, policy: None };
    let area = wrapped.public_area().unwrap();
    assert!(area.attributes().contains(Attributes::USER_WITH_AUTH.union(Attributes::NO_DA)));
    for made_here in [Attributes::FIXED_TPM, Attributes::FIXED_PARENT, Attributes::SENSITIVE_DATA_ORIGIN] {
        assert!(!area.attributes().contains(made_here));
    }
    let digest = Hash::Sha256.digest(&[b"message"]);
    match material {
        KeyMaterial::Rsa { n, e, .. } => {
            let public = RsaPublic::new(n, e).unwrap();
            assert_eq!(area.rsa().unwrap().0, public.n());
            let Signature::Rsa(signature) = tpm.sign(&key, Hash::Sha256, &digest, SignScheme::RsaSsa).unwrap() else {
                panic!()
            };
            let t = [Hash::Sha256.digest_info_prefix(), &digest].concat();
            assert!(pkcs1_sign_check(&public.raw(&signature).unwrap(), &t));
            let Signature::Rsa(signature) = tpm.sign(&key, Hash::Sha256, &digest, SignScheme::RsaPss).unwrap() else {
                panic!()
            };
            let block = public.raw(&signature).unwrap();
            assert!(pss_verify(&block, &digest, Hash::Sha256, Hash::Sha256, 32, public.modulus_bits() - 1));
            let block = oaep_encode(b"hello", Hash::Sha256, Hash::Sha256, b"", public.modulus_len()).unwrap();
            let scheme = DecryptScheme::Oaep { hash: Hash::Sha256, label: b"" };
            let plain = tpm.rsa_decrypt(&key, scheme, &public.raw(&block).unwrap()).unwrap();
            assert_eq!(plain.expose(), b"hello");
        }
        KeyMaterial::Ecc { x, y, .. } => {
            let (_, made_x, made_y) = area.ecc().unwrap();
            assert_eq!((made_x, made_y), (x.as_slice(), y.as_slice()));
            check_ecdsa(wrapped, Hash::Sha256, &tpm.sign(&key, Hash::Sha256, &digest, SignScheme::Ecdsa).unwrap());
        }
        KeyMaterial::Aes { key: value } => {
            let (out, _) =
                tpm.encrypt_decrypt(&key, tpm::CipherMode::Ecb, &[], &[7; 16], tpm::Direction::Encrypt, 1024).unwrap();
            let mut expected = [7; 16].into();
            let cipher = <aes::Aes128 as aes::cipher::KeyInit>::new_from_slice(value.expose()).unwrap();
            aes::cipher::BlockCipherEncrypt::encrypt_block(&cipher, &mut expected);
            assert_eq!(out.expose(), expected.as_slice());
        }
        KeyMaterial::Hmac { hash, key: value } => {
            let hash = hash.unwrap_or(Hash::Sha1);
            assert!(tpm.hmac(&key, hash, b"data").unwrap() == hash.hmac(value.expose(), &[b"data"]));
        }
        _ => panic!("a kind without a check"),
    }
}

#[test]
fn every_kind_of_key_is_the_same_key_in_the_tpm() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    for bus_protection in [true, false] {
        let tpm = with(&swtpm.tcti(), Options { bus_protection, ..Options::default() });
        for (material, byte) in every_kind().iter().zip(50..) {
            let auth = secret(byte);
            let wrapped = tpm.import_key(&stage.primary, material, &auth, None).unwrap();
            check_use(&tpm, &stage.primary, material, &wrapped, &auth);
            // The value of the key counts, and it alone.
            let (name, wrong) = (wrapped.name().unwrap(), secret(byte + 1));
            let key = Key { primary: &stage.primary, wrapped: &wrapped, name: &name, auth: &wrong, policy: None };
            if let KeyMaterial::Ecc { .. } = material {
                let refused = tpm.sign(&key, Hash::Sha256, &[0; 32], SignScheme::Ecdsa);
                assert_eq!(refused, Err(Error::AuthFailed));
            }
        }
        tpm.release();
        assert!(leftovers(&swtpm).is_clean());
    }
}

#[test]
fn either_prime_and_any_leading_zeros_will_do() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&swtpm.tcti());
    let zeros = |number: &[u8]| [&[0, 0], number].concat();
    let small = RsaPrivateKey::new(&mut getrandom::SysRng, 1024).unwrap();
    let odd = RsaPrivateKey::new_with_exp(&mut getrandom::SysRng, 1024, BoxedUint::from(65539u32)).unwrap();
    for key in [rsa_key(), &small, &odd] {
        for prime in [0, 1] {
            let material = rsa_material(key, prime);
            let wrapped = tpm.import_key(&stage.primary, &material, &secret(5), None).unwrap();
            check_use(&tpm, &stage.primary, &material, &wrapped, &secret(5));
            let KeyMaterial::Rsa { n, e, p } = &material else { panic!() };
            let padded = KeyMaterial::Rsa { n: zeros(n), e: zeros(e), p: Secret::new(zeros(p.expose())) };
            let again = tpm.import_key(&stage.primary, &padded, &secret(5), None).unwrap();
            assert_eq!(again.public, wrapped.public);
            check_use(&tpm, &stage.primary, &material, &again, &secret(5));
        }
    }
    for curve in Curve::ALL {
        let material = ec_material(curve);
        let KeyMaterial::Ecc { x, y, d, .. } = &material else { panic!() };
        for d in [Secret::copy_from(&d.expose()[2..]), Secret::new(zeros(d.expose()))] {
            let other = KeyMaterial::Ecc { curve, x: zeros(x), y: zeros(y), d };
            let wrapped = tpm.import_key(&stage.primary, &other, &secret(5), None).unwrap();
            check_use(&tpm, &stage.primary, &material, &wrapped, &secret(5));
        }
    }
    // An authorisation value that ends with zeros, and none at all.
    for auth in [Secret::copy_from(&[1, 2, 0, 0]), Secret::zeroed(0), Secret::zeroed(32)] {
        let material = ec_material(Curve::P256);
        let wrapped = tpm.import_key(&stage.primary, &material, &auth, None).unwrap();
        check_use(&tpm, &stage.primary, &material, &wrapped, &auth);
    }
}

/// Makes a persistent RSA storage key as other software does, with a cipher of its own choice.
fn rsa_primary(swtpm: &SwTpm, handle: u32, bits: u16) {
    let area = [
        &[0, 1, 0, 0x0b, 0, 3, 4, 0x72, 0, 0][..],
        &[0, 6, (bits >> 8) as u8, bits as u8, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let sensitive = [0, 4, 0, 0, 0, 0];
    let parameters = [&sensitive[..], &[0, area.len() as u8], &area, &[0, 0, 0, 0, 0, 0]].concat();
    let mut raw = swtpm.connect().unwrap();
    let owner = 0x4000_0001;
    let (rc, answer) =
        raw.command_with_empty_password(command_code("CreatePrimary").unwrap(), &[owner], &parameters).unwrap();
    assert_eq!(rc, 0, "{rc:#x}");
    let transient = u32::from_be_bytes(answer[..4].try_into().unwrap());
    let evict = command_code("EvictControl").unwrap();
    let (rc, _) = raw.command_with_empty_password(evict, &[owner, transient], &handle.to_be_bytes()).unwrap();
    assert_eq!(rc, 0, "{rc:#x}");
    raw.command(command_code("FlushContext").unwrap(), &transient.to_be_bytes()).unwrap();
}

#[test]
fn under_every_kind_of_primary() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    rsa_primary(&swtpm, 0x8100_0010, 128);
    rsa_primary(&swtpm, 0x8100_0011, 256);
    let tpm = at(&swtpm.tcti());
    let transient = Primary::new(Location::Transient, stage.primary.public.clone()).unwrap();
    let mut primaries = vec![transient];
    for handle in [0x8100_0010, 0x8100_0011] {
        let request = PrimaryRequest { handle: Some(handle), ..PrimaryRequest::default() };
        primaries.push(tpm.storage_primary(&request).unwrap());
        assert!(primaries.last().unwrap().public.len() > 256);
    }
    for primary in &primaries {
        for material in every_kind() {
            let wrapped = tpm.import_key(primary, &material, &secret(5), None).unwrap();
            check_use(&tpm, primary, &material, &wrapped, &secret(5));
        }
    }
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

#[test]
fn it_costs_one_command() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let kinds = every_kind();
    for bus_protection in [true, false] {
        let tpm = with(&proxy.tcti(), Options { bus_protection, ..Options::default() });
        for material in &kinds {
            tpm.import_key(&stage.primary, material, &secret(5), None).unwrap();
            assert_eq!(proxy.mark().to_string(), "Import");
        }
        tpm.release();
        assert_eq!(proxy.mark().to_string(), "");
    }
    let tpm = at(&proxy.tcti());
    stage.login(&tpm);
    proxy.mark();
    tpm.import_key(&stage.primary, &kinds[0], &secret(5), None).unwrap();
    assert_eq!(proxy.mark().to_string(), "Import");
    tpm.release();
    assert_eq!(proxy.mark().to_string(), "", "the session of the login ended with it");

    let locked = PrimaryRequest { handle: Some(0x8100_0020), primary_auth: secret(66), ..PrimaryRequest::default() };
    let primary = tpm.storage_primary(&locked).unwrap();
    proxy.mark();
    tpm.release();
    proxy.mark();
    let wrapped = tpm.import_key(&primary, &kinds[0], &secret(5), None).unwrap();
    assert_eq!(proxy.mark().to_string(), "StartAuthSession Import");
    check_use(&tpm, &primary, &kinds[0], &wrapped, &secret(5));
    proxy.mark();
    tpm.import_key(&primary, &kinds[0], &secret(5), None).unwrap();
    assert_eq!(proxy.mark().to_string(), "Import");
    let wrong = primary.clone().with_auth(secret(67));
    assert_eq!(tpm.import_key(&wrong, &kinds[0], &secret(5), None), Err(Error::HierarchyAuth));
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());

    let manager = ResourceManager::start(proxy.port());
    let tpm = at(&manager.tcti());
    tpm.import_key(&stage.primary, &kinds[0], &secret(5), None).unwrap();
    assert_eq!(manager.mark().to_string(), "Import");
    tpm.import_key(&primary, &kinds[0], &secret(5), None).unwrap();
    assert_eq!(manager.mark().to_string(), "StartAuthSession Import");
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

#[test]
fn what_is_no_key_is_refused_without_a_command() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let mut wrong = Vec::new();

    let KeyMaterial::Rsa { n, e, p } = rsa_material(rsa_key(), 0) else { panic!() };
    let with_p = |p: &[u8]| KeyMaterial::Rsa { n: n.clone(), e: e.clone(), p: Secret::copy_from(p) };
    let with_e = |e: &[u8]| KeyMaterial::Rsa { n: n.clone(), e: e.to_vec(), p: p.clone() };
    let mut other = p.expose().to_vec();
    other[40] ^= 1;
    wrong.extend([with_p(&other), with_p(&[]), with_p(&[0; 128]), with_p(&n[..128])]);
    wrong.extend([with_e(&[]), with_e(&[1]), with_e(&[2]), with_e(&[0; 4])]);
    let prime = rsa_key().primes()[0].clone().get();
    let square = prime.concatenating_mul(&prime).to_be_bytes_trimmed_vartime().into_vec();
    wrong.push(KeyMaterial::Rsa { n: square, e: e.clone(), p: p.clone() });
    let mut n_plus_two = n.clone();
    n_plus_two[100] ^= 2;
    wrong.push(KeyMaterial::Rsa { n: n_plus_two, e: e.clone(), p: p.clone() });
    wrong.push(KeyMaterial::Rsa { n: n[..64].to_vec(), e: e.clone(), p: p.clone() });

    for curve in Curve::ALL {
        let KeyMaterial::Ecc { x, y, d, .. } = ec_material(curve) else { panic!() };
        let with_d = |d: Vec<u8>| KeyMaterial::Ecc { curve, x: x.clone(), y: y.clone(), d: Secret::new(d) };
        let mut other = d.expose().to_vec();
        *other.last_mut().unwrap() ^= 1;
        let len = curve.field_len();
        wrong.extend([with_d(other), with_d(vec![0; len]), with_d(Vec::new()), with_d(vec![0xff; len])]);
        wrong.push(with_d(vec![1; len + 1]));
        let mut off = y.clone();
        off[5] ^= 1;
        wrong.push(KeyMaterial::Ecc { curve, x: x.clone(), y: off, d: d.clone() });
        wrong.push(KeyMaterial::Ecc { curve, x: vec![0; len], y: vec![0; len], d: d.clone() });
    }
    for len in [0, 1, 15, 17, 31, 33, 64, 8192] {
        wrong.push(KeyMaterial::Aes { key: Secret::zeroed(len) });
    }
    wrong.push(KeyMaterial::Hmac { hash: None, key: Secret::zeroed(0) });
    for material in &wrong {
        let refused = tpm.import_key(&stage.primary, material, &secret(5), None);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{material:?} {refused:?}");
    }

    // Keys, but none for a TPM.
    let prime = |bits: usize| RsaPrivateKey::new(&mut getrandom::SysRng, bits).unwrap().primes()[0].clone().get();
    let (long, short) = (prime(3072), prime(1024));
    let n = long.concatenating_mul(&short).to_be_bytes_trimmed_vartime().into_vec();
    let unequal = |p: &BoxedUint| {
        let p = Secret::new(p.to_be_bytes_trimmed_vartime().into_vec());
        KeyMaterial::Rsa { n: n.clone(), e: vec![1, 0, 1], p }
    };
    let mut unsupported = vec![unequal(&long), unequal(&short), with_e(&[1, 0, 0, 0, 1])];
    unsupported.push(KeyMaterial::Hmac { hash: None, key: Secret::zeroed(129) });
    unsupported.push(KeyMaterial::Hmac { hash: Some(Hash::Sha224), key: Secret::zeroed(20) });
    for material in &unsupported {
        let refused = tpm.import_key(&stage.primary, material, &secret(5), None);
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{material:?} {refused:?}");
    }
    let long_auth = Secret::zeroed(33);
    assert!(matches!(tpm.import_key(&stage.primary, &every_kind()[0], &long_auth, None), Err(Error::Invalid(_))));
    assert_eq!((proxy.mark().len(), proxy.connections()), (0, 0));
}

#[test]
fn what_the_tpm_refuses_is_told_apart() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[]);
    let tpm = at(&proxy.tcti());
    let code = command_code("Import").unwrap();
    // A key altered on the way: in the wrapped key, in its integrity value, in the attributes of its public area.
    for offset_from_end in [100, 160, 262] {
        proxy.inject(Fault::FlipCommandByte { code, offset_from_end });
        let refused = tpm.import_key(&stage.primary, &ec_material(Curve::P256), &secret(5), None);
        assert_eq!(refused, Err(Error::Integrity), "{offset_from_end}");
    }
    // And in the point that the wrapping keys come from, which is none any more.
    proxy.inject(Fault::FlipCommandByte { code, offset_from_end: 20 });
    let refused = tpm.import_key(&stage.primary, &ec_material(Curve::P256), &secret(5), None);
    assert!(matches!(refused, Err(Error::Response(_))), "{refused:?}");
    assert!(proxy.pending_faults().is_empty());
    // A size of RSA keys, and an exponent, that this TPM has not.
    let long = RsaPrivateKey::new(&mut getrandom::SysRng, 1536).unwrap();
    let tiny = RsaPrivateKey::new_with_exp(&mut getrandom::SysRng, 1024, BoxedUint::from(3u8)).unwrap();
    for key in [&long, &tiny] {
        let refused = tpm.import_key(&stage.primary, &rsa_material(key, 0), &secret(5), None);
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    }
    proxy.inject(Fault::CutAfterCommand { code });
    tpm.import_key(&stage.primary, &every_kind()[0], &secret(5), None).unwrap();

    let other = SwTpm::start();
    let theirs = Stage::set(&other, &[]).primary;
    let refused = tpm.import_key(&theirs, &every_kind()[0], &secret(5), None);
    assert!(matches!(refused, Err(Error::WrongPrimary { .. })), "{refused:?}");
    tpm.evict(&stage.primary, &Secret::zeroed(0)).unwrap();
    let refused = tpm.import_key(&stage.primary, &every_kind()[0], &secret(5), None);
    assert!(matches!(refused, Err(Error::PrimaryMissing { .. })), "{refused:?}");
    tpm.release();
    assert!(leftovers(&swtpm).is_clean());
}

/// Not in a password session, and not without bus protection.
#[test]
fn nothing_of_the_key_is_ever_in_clear_on_the_bus() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[]);
    for bus_protection in [true, false] {
        let tap = Tap::start(&swtpm);
        let tpm = with(&tap.tcti(), Options { bus_protection, ..Options::default() });
        let auth = secret(5);
        let mut secrets = vec![auth.clone()];
        for material in every_kind() {
            let wrapped = tpm.import_key(&stage.primary, &material, &auth, None).unwrap();
            tpm.release();
            assert!(tap.heard(&wrapped.public[2..]), "the tap hears");
            secrets.push(match material {
                KeyMaterial::Rsa { p, .. } => p,
                KeyMaterial::Ecc { d, .. } => d,
                KeyMaterial::Aes { key } | KeyMaterial::Hmac { key, .. } => key,
                _ => panic!("a kind without a secret"),
            });
        }
        for secret in &secrets {
            assert!(secret.expose().windows(8).all(|part| part == [0; 8] || !tap.heard(part)));
        }
    }
}
