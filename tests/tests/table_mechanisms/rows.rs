//! One row for each mechanism and operation of asymmetric keys: a round trip with an independent implementation, or a published
//! vector.

use std::rc::Rc;

use cryptoki_sys::{CKA_DECAPSULATE, CKA_ENCAPSULATE, CKF_DECAPSULATE, CKF_ENCAPSULATE, CKM_PUB_KEY_FROM_PRIV_KEY};
use p256::elliptic_curve::sec1::ToSec1Point;
use pkcs11_sys::*;
use rsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use sha2::Digest;
use tests::probe::{Mechanism, bytes, flag, number, p256};
use tests::{Ck, math};

use crate::bench::{Bench, By, ecdh, rng, shown, unhex};

/// What is checked of one mechanism in one operation.
pub(crate) struct Row {
    pub(crate) ty: u64,
    pub(crate) op: u64,
    pub(crate) check: Rc<dyn Fn(&Bench)>,
}

pub(crate) fn row(ty: u64, op: u64, check: impl Fn(&Bench) + 'static) -> Row {
    Row { ty, op, check: Rc::new(check) }
}

/// The same rows with the functions for messages, whole ones and parts: what signs and verifies does it with these, too.
pub(crate) fn with_messages(rows: Vec<Row>) -> Vec<Row> {
    let mut more = Vec::new();
    for row in &rows {
        let op = match row.op {
            CKF_SIGN => CKF_MESSAGE_SIGN,
            CKF_VERIFY => CKF_MESSAGE_VERIFY,
            _ => continue,
        };
        for (op, by) in [(op, By::Message), (CKF_MULTI_MESSAGE, By::Parts)] {
            let check = Rc::clone(&row.check);
            more.push(self::row(row.ty, op, move |bench| {
                bench.by.set(by);
                check(bench);
                bench.by.set(By::Operation);
            }));
        }
    }
    rows.into_iter().chain(more).collect()
}

/// A way to hash, for the crates of RustCrypto.
struct Hash {
    digest: u64,
    mgf: u64,
    run: fn(&[u8]) -> Vec<u8>,
    pkcs1: fn() -> rsa::Pkcs1v15Sign,
    pss_sign: fn(&rsa::PrivateKey, &[u8]) -> Vec<u8>,
    pss_verify: fn(&rsa::PublicKey, &[u8], &[u8]),
    oaep_encrypt: fn(&rsa::PublicKey, &[u8]) -> Vec<u8>,
    oaep_decrypt: fn(&rsa::PrivateKey, &[u8]) -> Vec<u8>,
    rsa: u64,
    rsa_pss: u64,
    ecdsa: u64,
}

macro_rules! hash {
    ($digest:ident $mgf:ident $ty:ty, $rsa:ident $pss:ident $ecdsa:ident) => {
        Hash {
            digest: $digest,
            mgf: $mgf,
            run: |data| <$ty>::digest(data).to_vec(),
            pkcs1: rsa::Pkcs1v15Sign::new::<$ty>,
            pss_sign: |key, digest| key.sign_with_rng(&mut rng(), rsa::Pss::<$ty>::new(), digest).unwrap(),
            pss_verify: |key, digest, signature| key.verify(rsa::Pss::<$ty>::new(), digest, signature).unwrap(),
            oaep_encrypt: |key, data| key.encrypt(&mut rng(), rsa::Oaep::<$ty>::new(), data).unwrap(),
            oaep_decrypt: |key, cipher| key.decrypt(rsa::Oaep::<$ty>::new(), cipher).unwrap(),
            rsa: $rsa,
            rsa_pss: $pss,
            ecdsa: $ecdsa,
        }
    };
}

static HASHES: [Hash; 9] = [
    hash!(CKM_SHA_1 CKG_MGF1_SHA1 sha1::Sha1, CKM_SHA1_RSA_PKCS CKM_SHA1_RSA_PKCS_PSS CKM_ECDSA_SHA1),
    hash!(CKM_SHA224 CKG_MGF1_SHA224 sha2::Sha224, CKM_SHA224_RSA_PKCS CKM_SHA224_RSA_PKCS_PSS CKM_ECDSA_SHA224),
    hash!(CKM_SHA256 CKG_MGF1_SHA256 sha2::Sha256, CKM_SHA256_RSA_PKCS CKM_SHA256_RSA_PKCS_PSS CKM_ECDSA_SHA256),
    hash!(CKM_SHA384 CKG_MGF1_SHA384 sha2::Sha384, CKM_SHA384_RSA_PKCS CKM_SHA384_RSA_PKCS_PSS CKM_ECDSA_SHA384),
    hash!(CKM_SHA512 CKG_MGF1_SHA512 sha2::Sha512, CKM_SHA512_RSA_PKCS CKM_SHA512_RSA_PKCS_PSS CKM_ECDSA_SHA512),
    hash!(CKM_SHA3_224 CKG_MGF1_SHA3_224 sha3::Sha3_224, CKM_SHA3_224_RSA_PKCS CKM_SHA3_224_RSA_PKCS_PSS CKM_ECDSA_SHA3_224),
    hash!(CKM_SHA3_256 CKG_MGF1_SHA3_256 sha3::Sha3_256, CKM_SHA3_256_RSA_PKCS CKM_SHA3_256_RSA_PKCS_PSS CKM_ECDSA_SHA3_256),
    hash!(CKM_SHA3_384 CKG_MGF1_SHA3_384 sha3::Sha3_384, CKM_SHA3_384_RSA_PKCS CKM_SHA3_384_RSA_PKCS_PSS CKM_ECDSA_SHA3_384),
    hash!(CKM_SHA3_512 CKG_MGF1_SHA3_512 sha3::Sha3_512, CKM_SHA3_512_RSA_PKCS CKM_SHA3_512_RSA_PKCS_PSS CKM_ECDSA_SHA3_512),
];

pub(crate) const MESSAGE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nobody saw its key.";
/// The value of keys that are wrapped.
pub(crate) const TARGET: [u8; 32] = [0x42; 32];

fn altered(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

fn left_pad(number: &[u8], len: usize) -> Vec<u8> {
    [&vec![0; len - number.len()][..], number].concat()
}

/// EMSA-PKCS1-v1_5 without a DigestInfo (RFC 8017 9.2).
pub(crate) fn padded(data: &[u8]) -> Vec<u8> {
    [&[0, 1][..], &vec![0xff; 256 - 3 - data.len()], &[0], data].concat()
}

/// The DigestInfo of [`MESSAGE`] by SHA-256 (RFC 8017 9.2): what a TPM signs that pads itself.
fn digest_info() -> Vec<u8> {
    [unhex("3031300d060960864801650304020105000420"), sha2::Sha256::digest(MESSAGE).to_vec()].concat()
}

impl Bench {
    /// The hashes that a token must take as a parameter.
    fn hashes(&self) -> impl Iterator<Item = &'static Hash> {
        let strict = self.is_strict();
        HASHES.iter().filter(move |hash| !strict || [CKM_SHA256, CKM_SHA384, CKM_SHA512].contains(&hash.digest))
    }

    fn modulus(&self) -> Vec<u8> {
        self.rsa.n_bytes().into_vec()
    }

    /// The operation of the private key, from the textbook.
    fn private_power(&self, block: &[u8]) -> Vec<u8> {
        math::rsa_public(&self.modulus(), &self.rsa.d().to_be_bytes_trimmed_vartime(), block)
    }

    fn public_power(&self, block: &[u8]) -> Vec<u8> {
        math::rsa_public(&self.modulus(), &self.rsa.e_bytes(), block)
    }

    /// A signature from elsewhere verifies, and another one does not.
    pub(crate) fn verifies(&self, mechanism: &Mechanism, key: u64, data: &[u8], signature: &[u8]) {
        self.verify(mechanism, key, data, signature).unwrap_or_else(|error| panic!("{mechanism:?}: {error}"));
        let bad = self.verify(mechanism, key, data, &altered(signature));
        assert_eq!(bad, Err(Ck(CKR_SIGNATURE_INVALID)), "{mechanism:?}");
    }

    pub(crate) fn sign(&self, mechanism: &Mechanism, key: u64, data: &[u8]) -> Vec<u8> {
        let signature = self.signature(mechanism, key, data);
        signature.unwrap_or_else(|error| panic!("{mechanism:?}: {error}"))
    }

    pub(crate) fn encrypts(&self, mechanism: &Mechanism, key: u64, plain: &[u8]) -> Vec<u8> {
        self.probe.encrypt(self.session, mechanism.clone(), key, plain).unwrap()
    }

    pub(crate) fn decrypts(&self, mechanism: &Mechanism, key: u64, cipher: &[u8]) -> Vec<u8> {
        self.probe.decrypt(self.session, mechanism.clone(), key, cipher).unwrap()
    }
}

/// RSA keys and what is done with them.
pub(crate) fn rsa_rows() -> Vec<Row> {
    let mut rows = vec![row(CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, |b| {
        let (bits, _, _) = b.probe.mechanism_info(b.probe.slot_of("alpha"), CKM_RSA_PKCS_KEY_PAIR_GEN).unwrap();
        let template = [number(CKA_MODULUS_BITS, bits)];
        let (public, private) = b.generate_pair(&CKM_RSA_PKCS_KEY_PAIR_GEN.into(), &template).unwrap();
        let signature = b.sign(&CKM_SHA256_RSA_PKCS.into(), private, MESSAGE);
        let part = |ty| rsa::BoxedUint::from_be_slice_vartime(&b.probe.attribute(b.session, public, ty).unwrap());
        let key = rsa::PublicKey::new(part(CKA_MODULUS), part(CKA_PUBLIC_EXPONENT)).unwrap();
        assert_eq!(key.size() as u64 * 8, bits);
        key.verify(rsa::Pkcs1v15Sign::new::<sha2::Sha256>(), &sha2::Sha256::digest(MESSAGE), &signature).unwrap();
    })];
    for (ty, block) in [(CKM_RSA_PKCS, padded(MESSAGE)), (CKM_RSA_X_509, left_pad(&[7; 250], 256))] {
        let data = if ty == CKM_RSA_PKCS { MESSAGE.to_vec() } else { block.clone() };
        let make = |op, check: fn(&Bench, u64, &[u8], &[u8])| {
            let (data, block) = (data.clone(), block.clone());
            row(ty, op, move |b| match b.is_strict() && ty == CKM_RSA_PKCS {
                true => check(b, ty, &digest_info(), &padded(&digest_info())),
                false => check(b, ty, &data, &block),
            })
        };
        rows.extend([
            make(CKF_SIGN, |b, ty, data, block| {
                assert_eq!(b.sign(&ty.into(), b.rsa_private(&[]), data), b.private_power(block));
            }),
            make(CKF_VERIFY, |b, ty, data, block| {
                b.verifies(&ty.into(), b.rsa_public(&[]), data, &b.private_power(block));
            }),
            make(CKF_SIGN_RECOVER, |b, ty, data, block| {
                assert_eq!(b.public_power(&b.recover("Sign", ty, b.rsa_private(&[]), data)), block);
            }),
            make(CKF_VERIFY_RECOVER, |b, ty, data, block| {
                assert_eq!(b.recover("Verify", ty, b.rsa_public(&[]), &b.private_power(block)), data);
            }),
        ]);
    }
    rows.extend([
        row(CKM_RSA_X_509, CKF_ENCRYPT, |b| {
            let plain = left_pad(&[7; 250], 256);
            assert_eq!(b.encrypts(&CKM_RSA_X_509.into(), b.rsa_public(&[]), &plain), b.public_power(&plain));
        }),
        row(CKM_RSA_X_509, CKF_DECRYPT, |b| {
            let plain = left_pad(&[7; 250], 256);
            assert_eq!(b.decrypts(&CKM_RSA_X_509.into(), b.rsa_private(&[]), &b.public_power(&plain)), plain);
        }),
        row(CKM_RSA_PKCS, CKF_ENCRYPT, |b| {
            let cipher = b.encrypts(&CKM_RSA_PKCS.into(), b.rsa_public(&[]), MESSAGE);
            assert_eq!(b.rsa.decrypt(rsa::Pkcs1v15Encrypt, &cipher).unwrap(), MESSAGE);
        }),
        row(CKM_RSA_PKCS, CKF_DECRYPT, |b| {
            let cipher = b.rsa.to_public_key().encrypt(&mut rng(), rsa::Pkcs1v15Encrypt, MESSAGE).unwrap();
            assert_eq!(b.decrypts(&CKM_RSA_PKCS.into(), b.rsa_private(&[]), &cipher), MESSAGE);
        }),
        row(CKM_RSA_PKCS, CKF_WRAP, |b| {
            let target = b.secret(CKK_AES, &TARGET, &[]);
            let wrapped = b.wrap(&CKM_RSA_PKCS.into(), b.rsa_public(&[flag(CKA_WRAP, true)]), target).unwrap();
            assert_eq!(b.rsa.decrypt(rsa::Pkcs1v15Encrypt, &wrapped).unwrap(), TARGET);
        }),
        row(CKM_RSA_PKCS, CKF_UNWRAP, |b| {
            let wrapped = b.rsa.to_public_key().encrypt(&mut rng(), rsa::Pkcs1v15Encrypt, &TARGET).unwrap();
            let private = b.rsa_private(&[flag(CKA_UNWRAP, true)]);
            assert_eq!(b.value(b.unwrap(&CKM_RSA_PKCS.into(), private, &wrapped, CKK_AES).unwrap()), TARGET);
        }),
        row(CKM_RSA_PKCS_PSS, CKF_SIGN, |b| {
            for hash in b.hashes() {
                let digest = (hash.run)(MESSAGE);
                let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, hash.mgf, digest.len() as u64);
                let signature = b.sign(&mechanism, b.rsa_private(&[]), &digest);
                (hash.pss_verify)(b.rsa.as_public_key(), &digest, &signature);
            }
        }),
        row(CKM_RSA_PKCS_PSS, CKF_VERIFY, |b| {
            for hash in b.hashes() {
                let digest = (hash.run)(MESSAGE);
                let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, hash.mgf, digest.len() as u64);
                let signature = (hash.pss_sign)(&b.rsa, &digest);
                b.verifies(&mechanism, b.rsa_public(&[]), &digest, &signature);
            }
        }),
    ]);
    for hash in &HASHES {
        let pss = || Mechanism::pss(hash.rsa_pss, hash.digest, hash.mgf, (hash.run)(b"").len() as u64);
        rows.extend([
            row(hash.rsa, CKF_SIGN, |b| {
                let signature = b.sign(&hash.rsa.into(), b.rsa_private(&[]), MESSAGE);
                b.rsa.to_public_key().verify((hash.pkcs1)(), &(hash.run)(MESSAGE), &signature).unwrap();
            }),
            row(hash.rsa, CKF_VERIFY, |b| {
                let signature = b.rsa.sign((hash.pkcs1)(), &(hash.run)(MESSAGE)).unwrap();
                b.verifies(&hash.rsa.into(), b.rsa_public(&[]), MESSAGE, &signature);
            }),
            row(hash.rsa_pss, CKF_SIGN, move |b| {
                let signature = b.sign(&pss(), b.rsa_private(&[]), MESSAGE);
                (hash.pss_verify)(b.rsa.as_public_key(), &(hash.run)(MESSAGE), &signature);
            }),
            row(hash.rsa_pss, CKF_VERIFY, move |b| {
                let signature = (hash.pss_sign)(&b.rsa, &(hash.run)(MESSAGE));
                b.verifies(&pss(), b.rsa_public(&[]), MESSAGE, &signature);
            }),
        ]);
    }
    rows.extend(
        [CKF_ENCRYPT, CKF_DECRYPT, CKF_WRAP, CKF_UNWRAP].map(|op| row(CKM_RSA_PKCS_OAEP, op, move |b| oaep(b, op))),
    );
    for op in [CKF_ENCAPSULATE, CKF_DECAPSULATE] {
        rows.push(row(CKM_RSA_PKCS, op, move |b| {
            let sealed = || b.rsa.to_public_key().encrypt(&mut rng(), rsa::Pkcs1v15Encrypt, &TARGET).unwrap();
            let opened = |cipher: &[u8]| b.rsa.decrypt(rsa::Pkcs1v15Encrypt, cipher).unwrap();
            rsa_kem(b, op, &CKM_RSA_PKCS.into(), sealed, opened);
        }));
        rows.push(row(CKM_RSA_PKCS_OAEP, op, move |b| {
            for hash in b.hashes() {
                let sealed = || (hash.oaep_encrypt)(b.rsa.as_public_key(), &TARGET);
                let opened = |cipher: &[u8]| (hash.oaep_decrypt)(&b.rsa, cipher);
                rsa_kem(b, op, &Mechanism::oaep(hash.digest, hash.mgf, b""), sealed, opened);
            }
        }));
    }
    rows
}

/// A secret to a public key, or out of a ciphertext that another implementation made.
fn rsa_kem(b: &Bench, op: u64, mechanism: &Mechanism, sealed: impl Fn() -> Vec<u8>, opened: impl Fn(&[u8]) -> Vec<u8>) {
    let wanted = |len| [shown(CKK_AES), vec![number(CKA_VALUE_LEN, len)]].concat();
    if op == CKF_ENCAPSULATE {
        let public = b.rsa_public(&[flag(CKA_ENCAPSULATE, true)]);
        let made = [0; 2].map(|_| b.encapsulate(mechanism, public, &wanted(32)).unwrap());
        for (cipher, key) in &made {
            assert_eq!(opened(cipher), b.value(*key));
        }
        assert_ne!(b.value(made[0].1), b.value(made[1].1), "another secret each time");
        // Nothing says how long it is to be.
        assert_eq!(b.encapsulate(mechanism, public, &shown(CKK_AES)), Err(Ck(CKR_TEMPLATE_INCOMPLETE)));
        let forbidden = b.rsa_public(&[flag(CKA_ENCAPSULATE, false)]);
        assert_eq!(b.encapsulate(mechanism, forbidden, &wanted(32)), Err(Ck(CKR_KEY_FUNCTION_NOT_PERMITTED)));
        return;
    }
    let private = b.rsa_private(&[flag(CKA_DECAPSULATE, true)]);
    for template in [shown(CKK_AES), wanted(32)] {
        assert_eq!(b.value(b.decapsulate(mechanism, private, &sealed(), &template).unwrap()), TARGET);
    }
    assert_eq!(b.decapsulate(mechanism, private, &sealed(), &wanted(16)), Err(Ck(CKR_WRAPPED_KEY_LEN_RANGE)));
    let forbidden = b.rsa_private(&[flag(CKA_DECAPSULATE, false)]);
    assert_eq!(
        b.decapsulate(mechanism, forbidden, &sealed(), &shown(CKK_AES)),
        Err(Ck(CKR_KEY_FUNCTION_NOT_PERMITTED))
    );
}

fn oaep(b: &Bench, op: u64) {
    let (public, private) = (b.rsa_public(&[flag(CKA_WRAP, true)]), b.rsa_private(&[flag(CKA_UNWRAP, true)]));
    // With SHA-512 there is room for 126 bytes.
    for hash in b.hashes() {
        let mechanism = Mechanism::oaep(hash.digest, hash.mgf, b"");
        let sealed = |data: &[u8]| (hash.oaep_encrypt)(b.rsa.as_public_key(), data);
        let opened = |cipher: &[u8]| (hash.oaep_decrypt)(&b.rsa, cipher);
        match op {
            CKF_ENCRYPT => assert_eq!(opened(&b.encrypts(&mechanism, public, MESSAGE)), MESSAGE),
            CKF_DECRYPT => assert_eq!(b.decrypts(&mechanism, private, &sealed(MESSAGE)), MESSAGE),
            CKF_WRAP => {
                let target = b.secret(CKK_AES, &TARGET, &[]);
                assert_eq!(opened(&b.wrap(&mechanism, public, target).unwrap()), TARGET);
            }
            _ => {
                let key = b.unwrap(&mechanism, private, &sealed(&TARGET), CKK_AES).unwrap();
                assert_eq!(b.value(key), TARGET);
            }
        }
    }
}

/// NIST CAVP, ECC CDH primitive (SP 800-56A 5.7.1.2), the first case of each curve: curve, the other's point, the own key, the
/// shared secret.
const CDH: [(&[u8], &str, &str, &str); 3] = [
    (
        &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
        "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
        "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
    ),
    (
        &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
        "04a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272734466b400091adbf2d68c58e0c50066ac68f19f2e1cb879aed43a9969b91a0839c4c38a49749b661efedf243451915ed0905a32b060992b468c64766fc8437a",
        "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b15618b6818a661774ad463b205da88cf699ab4d43c9cf98a1",
        "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f40ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1",
    ),
    (
        &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
        "0400685a48e86c79f0f0875f7bc18d25eb5fc8c0b07e5da4f4370f3a9490340854334b1e1b87fa395464c60626124a4e70d0f785601d37c09870ebf176666877a2046d01ba52c56fc8776d9e8f5db4f0cc27636d0b741bbe05400697942e80b739884a83bde99e0f6716939e632bc8986fa18dccd443a348b6c3e522497955a4f3c302f676",
        "017eecc07ab4b329068fba65e56a1f8890aa935e57134ae0ffcce802735151f4eac6564f6ee9974c5e6887a1fefee5743ae2241bfeb95d5ce31ddcb6f9edb4d6fc47",
        "005fc70477c3e63bc3954bd0df3ea0d1f41ee21746ed95fc5e1fdf90930d5e136672d72cc770742d1711c3c3a4c334a0ad9759436a4d3c5bf6e74b9578fac148c831",
    ),
];

/// EC keys and what is done with them.
pub(crate) fn ec_rows() -> Vec<Row> {
    let mut rows = vec![row(CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, |b| {
        let (public, private) = b.generate_pair(&CKM_EC_KEY_PAIR_GEN.into(), &p256(false)).unwrap();
        let point = b.probe.attribute(b.session, public, CKA_EC_POINT).unwrap();
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point[2..]).unwrap();
        let signature = b.sign(&CKM_ECDSA_SHA256.into(), private, MESSAGE);
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        key.verify_prehash(&sha2::Sha256::digest(MESSAGE), &signature).unwrap();
    })];
    let own = || p256::ecdsa::SigningKey::from_slice(&unhex(CDH[0].2)).unwrap();
    let hashed = HASHES.iter().map(|hash| (hash.ecdsa, hash.run, MESSAGE));
    for (ty, digest, data) in hashed.chain([(CKM_ECDSA, <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>, &MESSAGE[..32])]) {
        rows.push(row(ty, CKF_SIGN, move |b| {
            let private = b.ec_private(CDH[0].0, &unhex(CDH[0].2), &[]);
            let signature = p256::ecdsa::Signature::from_slice(&b.sign(&ty.into(), private, data)).unwrap();
            own().verifying_key().verify_prehash(&digest(data), &signature).unwrap();
        }));
        rows.push(row(ty, CKF_VERIFY, move |b| {
            let public = b.ec_public(CDH[0].0, own().verifying_key().to_sec1_point(false).as_bytes(), &[]);
            let signature: p256::ecdsa::Signature = own().sign_prehash(&digest(data)).unwrap();
            b.verifies(&ty.into(), public, data, &signature.to_bytes());
        }));
    }
    rows.extend([CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE].map(|ty| row(ty, CKF_DERIVE, move |b| derives(b, ty))));
    for ty in [CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE] {
        rows.push(row(ty, CKF_ENCAPSULATE, move |b| encapsulates(b, ty)));
        rows.push(row(ty, CKF_DECAPSULATE, move |b| decapsulates(b, ty)));
    }
    rows.push(row(CKM_PUB_KEY_FROM_PRIV_KEY, CKF_DERIVE, shows_its_public_half));
    rows
}

/// What is sent to a key that RustCrypto has.
fn encapsulates(b: &Bench, ty: u64) {
    let theirs = p256::SecretKey::from_slice(&unhex(CDH[0].2)).unwrap();
    let point = theirs.public_key().to_sec1_point(false);
    let public = b.ec_public(CDH[0].0, point.as_bytes(), &[]);
    let common = |cipher: &[u8]| {
        let ours = p256::PublicKey::from_sec1_bytes(cipher).unwrap();
        let z = p256::ecdh::diffie_hellman(theirs.to_nonzero_scalar(), ours.as_affine());
        z.raw_secret_bytes().to_vec()
    };
    let (cipher, key) = b.encapsulate(&ecdh(ty, CKD_NULL, b"", b""), public, &shown(CKK_AES)).unwrap();
    assert_eq!((cipher.len(), b.value(key)), (65, common(&cipher)));
    let (again, _) = b.encapsulate(&ecdh(ty, CKD_NULL, b"", b""), public, &shown(CKK_AES)).unwrap();
    assert_ne!(again, cipher, "another key of the moment each time");
    let template = [shown(CKK_GENERIC_SECRET), vec![number(CKA_VALUE_LEN, 40)]].concat();
    let (cipher, key) = b.encapsulate(&ecdh(ty, CKD_SHA256_KDF, b"info", b""), public, &template).unwrap();
    let block = |counter: u8| sha2::Sha256::digest([&common(&cipher)[..], &[0, 0, 0, counter], b"info"].concat());
    assert_eq!(b.value(key), [block(1), block(2)].concat()[..40]);
    // The other side's point has no place in the parameter.
    let with_point = ecdh(ty, CKD_NULL, b"", point.as_bytes());
    assert_eq!(b.encapsulate(&with_point, public, &shown(CKK_AES)), Err(Ck(CKR_MECHANISM_PARAM_INVALID)));
    // What nobody says of it: it can be extracted, and was not always as safe as it may be now.
    let (_, key) = b.encapsulate(&ecdh(ty, CKD_NULL, b"", b""), public, &[]).unwrap();
    let said = |attribute| b.probe.attribute(b.session, key, attribute).unwrap();
    for (attribute, value) in
        [(CKA_EXTRACTABLE, 1), (CKA_ALWAYS_SENSITIVE, 0), (CKA_NEVER_EXTRACTABLE, 0), (CKA_LOCAL, 0)]
    {
        assert_eq!(said(attribute), [value], "{attribute:#x}");
    }
}

/// The published vectors, the other's point being the ciphertext.
fn decapsulates(b: &Bench, ty: u64) {
    for (curve, theirs, own, secret) in CDH {
        let key = b.ec_private(curve, &unhex(own), &[flag(CKA_DERIVE, true)]);
        let mechanism = ecdh(ty, CKD_NULL, b"", b"");
        let shared = b.decapsulate(&mechanism, key, &unhex(theirs), &shown(CKK_GENERIC_SECRET)).unwrap();
        assert_eq!(b.value(shared), unhex(secret));
        let outside = b.decapsulate(&mechanism, key, &unhex(theirs)[1..], &shown(CKK_GENERIC_SECRET));
        assert_eq!(outside, Err(Ck(CKR_WRAPPED_KEY_INVALID)));
        let forbidden = b.ec_private(curve, &unhex(own), &[flag(CKA_DECAPSULATE, false), flag(CKA_DERIVE, true)]);
        let refused = b.decapsulate(&mechanism, forbidden, &unhex(theirs), &shown(CKK_GENERIC_SECRET));
        assert_eq!(refused, Err(Ck(CKR_KEY_FUNCTION_NOT_PERMITTED)));
    }
}

fn shows_its_public_half(b: &Bench) {
    let mechanism = CKM_PUB_KEY_FROM_PRIV_KEY.into();
    let said = |object, attribute| b.probe.attribute(b.session, object, attribute).unwrap();
    let private = b.rsa_private(&[bytes(CKA_ID, b"pair")]);
    let public = b.derive(&mechanism, private, &[bytes(CKA_LABEL, b"half")]).unwrap();
    assert_eq!(said(public, CKA_MODULUS), b.modulus());
    assert_eq!((said(public, CKA_ID), said(public, CKA_LABEL)), (b"pair".to_vec(), b"half".to_vec()));
    assert_eq!((said(public, CKA_CLASS), said(public, CKA_LOCAL)), (CKO_PUBLIC_KEY.to_ne_bytes().to_vec(), vec![0]));
    b.verifies(&CKM_SHA256_RSA_PKCS.into(), public, MESSAGE, &b.sign(&CKM_SHA256_RSA_PKCS.into(), private, MESSAGE));
    // Without the power to derive: it tells nothing that the private key does not show.
    let private = b.ec_private(CDH[0].0, &unhex(CDH[0].2), &[flag(CKA_DERIVE, false)]);
    let public = b.derive(&mechanism, private, &[]).unwrap();
    assert_eq!(said(public, CKA_EC_POINT), said(private, CKA_EC_POINT));
    b.verifies(&CKM_ECDSA_SHA256.into(), public, MESSAGE, &b.sign(&CKM_ECDSA_SHA256.into(), private, MESSAGE));
    let contradicts = b.derive(&mechanism, private, &[bytes(CKA_EC_PARAMS, CDH[1].0)]);
    assert_eq!(contradicts, Err(Ck(CKR_TEMPLATE_INCONSISTENT)));
    assert_eq!(b.derive(&mechanism, public, &[]), Err(Ck(CKR_KEY_FUNCTION_NOT_PERMITTED)));
}

fn derives(b: &Bench, ty: u64) {
    for (curve, theirs, own, secret) in CDH {
        let key = b.ec_private(curve, &unhex(own), &[flag(CKA_DERIVE, true)]);
        let plain = b.derive(&ecdh(ty, CKD_NULL, b"", &unhex(theirs)), key, &shown(CKK_GENERIC_SECRET)).unwrap();
        assert_eq!(b.value(plain), unhex(secret));
        for (kdf, name) in [
            (CKD_SHA1_KDF, "SHA1"),
            (CKD_SHA224_KDF, "SHA224"),
            (CKD_SHA256_KDF, "SHA256"),
            (CKD_SHA384_KDF, "SHA384"),
            (CKD_SHA512_KDF, "SHA512"),
        ] {
            let template = [shown(CKK_GENERIC_SECRET), vec![number(CKA_VALUE_LEN, 150)]].concat();
            let key = b.derive(&ecdh(ty, kdf, b"shared information", &unhex(theirs)), key, &template).unwrap();
            let (digest, hex) = (format!("digest:{name}"), format!("hexsecret:{secret}"));
            let info = format!("hexinfo:{}", tests::call::hex(b"shared information"));
            let options = ["kdf", "-binary", "-keylen", "150", "-kdfopt", &digest, "-kdfopt", &hex, "-kdfopt", &info];
            assert_eq!(b.value(key), b.openssl(&[&options[..], &["X963KDF"]].concat(), b""), "{name}");
        }
    }
}
