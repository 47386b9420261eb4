//! One row for each mechanism and operation: a round trip with an independent implementation, or a published vector.

use std::rc::Rc;

use aes_gcm::aes::cipher::{BlockEncrypt, KeyInit};
use pkcs11_sys::*;
use rsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use sha2::Digest;
use tests::probe::{Attribute, Mechanism, bytes, flag, number, p256};
use tests::{Argument, Ck, Memory, Piece, math};

use crate::bench::{Bench, By, ecdh, gcm, hkdf, pointer, rng, shown, unhex, with};

/// What is checked of one mechanism in one operation.
pub(crate) struct Row {
    pub(crate) ty: u64,
    pub(crate) op: u64,
    pub(crate) check: Rc<dyn Fn(&Bench)>,
}

fn row(ty: u64, op: u64, check: impl Fn(&Bench) + 'static) -> Row {
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
    pss: fn() -> rsa::Pss,
    oaep: fn() -> rsa::Oaep,
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
            pss: rsa::Pss::new::<$ty>,
            oaep: rsa::Oaep::new::<$ty>,
            rsa: $rsa,
            rsa_pss: $pss,
            ecdsa: $ecdsa,
        }
    };
}

static HASHES: [Hash; 5] = [
    hash!(CKM_SHA_1 CKG_MGF1_SHA1 sha1::Sha1, CKM_SHA1_RSA_PKCS CKM_SHA1_RSA_PKCS_PSS CKM_ECDSA_SHA1),
    hash!(CKM_SHA224 CKG_MGF1_SHA224 sha2::Sha224, CKM_SHA224_RSA_PKCS CKM_SHA224_RSA_PKCS_PSS CKM_ECDSA_SHA224),
    hash!(CKM_SHA256 CKG_MGF1_SHA256 sha2::Sha256, CKM_SHA256_RSA_PKCS CKM_SHA256_RSA_PKCS_PSS CKM_ECDSA_SHA256),
    hash!(CKM_SHA384 CKG_MGF1_SHA384 sha2::Sha384, CKM_SHA384_RSA_PKCS CKM_SHA384_RSA_PKCS_PSS CKM_ECDSA_SHA384),
    hash!(CKM_SHA512 CKG_MGF1_SHA512 sha2::Sha512, CKM_SHA512_RSA_PKCS CKM_SHA512_RSA_PKCS_PSS CKM_ECDSA_SHA512),
];

const MESSAGE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nobody saw its key.";
/// The value of keys that are wrapped.
const TARGET: [u8; 32] = [0x42; 32];

fn altered(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

fn left_pad(number: &[u8], len: usize) -> Vec<u8> {
    [&vec![0; len - number.len()][..], number].concat()
}

/// EMSA-PKCS1-v1_5 without a DigestInfo (RFC 8017 9.2).
fn padded(data: &[u8]) -> Vec<u8> {
    [&[0, 1][..], &vec![0xff; 256 - 3 - data.len()], &[0], data].concat()
}

impl Bench {
    fn modulus(&self) -> Vec<u8> {
        self.rsa.n().to_bytes_be()
    }

    /// The operation of the private key, from the textbook.
    fn private_power(&self, block: &[u8]) -> Vec<u8> {
        math::rsa_public(&self.modulus(), &self.rsa.d().to_bytes_be(), block)
    }

    fn public_power(&self, block: &[u8]) -> Vec<u8> {
        math::rsa_public(&self.modulus(), &self.rsa.e().to_bytes_be(), block)
    }

    /// A signature from elsewhere verifies, and another one does not.
    fn verifies(&self, mechanism: &Mechanism, key: u64, data: &[u8], signature: &[u8]) {
        self.verify(mechanism, key, data, signature).unwrap_or_else(|error| panic!("{mechanism:?}: {error}"));
        let bad = self.verify(mechanism, key, data, &altered(signature));
        assert_eq!(bad, Err(Ck(CKR_SIGNATURE_INVALID)), "{mechanism:?}");
    }

    fn sign(&self, mechanism: &Mechanism, key: u64, data: &[u8]) -> Vec<u8> {
        let signature = self.signature(mechanism, key, data);
        signature.unwrap_or_else(|error| panic!("{mechanism:?}: {error}"))
    }

    fn encrypts(&self, mechanism: &Mechanism, key: u64, plain: &[u8]) -> Vec<u8> {
        self.probe.encrypt(self.session, mechanism.clone(), key, plain).unwrap()
    }

    fn decrypts(&self, mechanism: &Mechanism, key: u64, cipher: &[u8]) -> Vec<u8> {
        self.probe.decrypt(self.session, mechanism.clone(), key, cipher).unwrap()
    }
}

/// RSA keys and what is done with them.
pub(crate) fn rsa_rows() -> Vec<Row> {
    let mut rows = vec![row(CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, |b| {
        let template = [number(CKA_MODULUS_BITS, 1024)];
        let (public, private) = b.generate_pair(&CKM_RSA_PKCS_KEY_PAIR_GEN.into(), &template).unwrap();
        let signature = b.sign(&CKM_SHA256_RSA_PKCS.into(), private, MESSAGE);
        let part = |ty| rsa::BigUint::from_bytes_be(&b.probe.attribute(b.session, public, ty).unwrap());
        let key = rsa::RsaPublicKey::new(part(CKA_MODULUS), part(CKA_PUBLIC_EXPONENT)).unwrap();
        assert_eq!(key.size(), 128);
        key.verify(rsa::Pkcs1v15Sign::new::<sha2::Sha256>(), &sha2::Sha256::digest(MESSAGE), &signature).unwrap();
    })];
    for (ty, block) in [(CKM_RSA_PKCS, padded(MESSAGE)), (CKM_RSA_X_509, left_pad(&[7; 250], 256))] {
        let data = if ty == CKM_RSA_PKCS { MESSAGE.to_vec() } else { block.clone() };
        let make = |op, check: fn(&Bench, u64, &[u8], &[u8])| {
            let (data, block) = (data.clone(), block.clone());
            row(ty, op, move |b| check(b, ty, &data, &block))
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
            for hash in &HASHES {
                let digest = (hash.run)(MESSAGE);
                let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, hash.mgf, digest.len() as u64);
                let signature = b.sign(&mechanism, b.rsa_private(&[]), &digest);
                b.rsa.to_public_key().verify((hash.pss)(), &digest, &signature).unwrap();
            }
        }),
        row(CKM_RSA_PKCS_PSS, CKF_VERIFY, |b| {
            for hash in &HASHES {
                let digest = (hash.run)(MESSAGE);
                let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, hash.mgf, digest.len() as u64);
                let signature = b.rsa.sign_with_rng(&mut rng(), (hash.pss)(), &digest).unwrap();
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
                b.rsa.to_public_key().verify((hash.pss)(), &(hash.run)(MESSAGE), &signature).unwrap();
            }),
            row(hash.rsa_pss, CKF_VERIFY, move |b| {
                let signature = b.rsa.sign_with_rng(&mut rng(), (hash.pss)(), &(hash.run)(MESSAGE)).unwrap();
                b.verifies(&pss(), b.rsa_public(&[]), MESSAGE, &signature);
            }),
        ]);
    }
    rows.extend(
        [CKF_ENCRYPT, CKF_DECRYPT, CKF_WRAP, CKF_UNWRAP].map(|op| row(CKM_RSA_PKCS_OAEP, op, move |b| oaep(b, op))),
    );
    rows
}

fn oaep(b: &Bench, op: u64) {
    let (public, private) = (b.rsa_public(&[flag(CKA_WRAP, true)]), b.rsa_private(&[flag(CKA_UNWRAP, true)]));
    // With SHA-512 there is room for 126 bytes.
    for hash in &HASHES {
        let mechanism = Mechanism::oaep(hash.digest, hash.mgf, b"");
        let sealed = |data: &[u8]| b.rsa.to_public_key().encrypt(&mut rng(), (hash.oaep)(), data).unwrap();
        let opened = |cipher: &[u8]| b.rsa.decrypt((hash.oaep)(), cipher).unwrap();
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
            let public = b.ec_public(CDH[0].0, own().verifying_key().to_encoded_point(false).as_bytes(), &[]);
            let signature: p256::ecdsa::Signature = own().sign_prehash(&digest(data)).unwrap();
            b.verifies(&ty.into(), public, data, &signature.to_bytes());
        }));
    }
    rows.extend([CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE].map(|ty| row(ty, CKF_DERIVE, move |b| derives(b, ty))));
    rows
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

/// FIPS 180-4 and FIPS 202: the digests of "abc".
const DIGESTS: [(u64, &str); 9] = [
    (CKM_SHA_1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (CKM_SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
    (CKM_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (CKM_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"),
    (
        CKM_SHA512,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    (CKM_SHA3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
    (CKM_SHA3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
    (CKM_SHA3_384, "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25"),
    (
        CKM_SHA3_512,
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    ),
];

/// RFC 2202 and RFC 4231: test case 2, with the mechanism of the whole code and the one of a part of it.
pub(crate) const HMACS: [(u64, u64, &str); 5] = [
    (CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    (CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL, "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44"),
    (CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (
        CKM_SHA384_HMAC,
        CKM_SHA384_HMAC_GENERAL,
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
    ),
    (
        CKM_SHA512_HMAC,
        CKM_SHA512_HMAC_GENERAL,
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
];

/// NIST SP 800-38A, F.1.1, F.2.1, F.3.13, F.4.1, F.5.1: key, four blocks, and the ciphertext of each mode.
const AES_KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const AES_BLOCKS: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
const AES_MODES: [(u64, &str); 5] = [
    (
        CKM_AES_ECB,
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
    ),
    (
        CKM_AES_CBC,
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    ),
    (
        CKM_AES_CFB128,
        "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b26751f67a3cbb140b1808cf187a4f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6",
    ),
    (
        CKM_AES_OFB,
        "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed8259740051e9c5fecf64344f7a82260edcc304c6528f659c77866a510d9c1d6ae5e",
    ),
    (
        CKM_AES_CTR,
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    ),
];

/// NIST SP 800-38B D.1: the codes of the first 0, 16, 40 and 64 bytes of the blocks.
const CMACS: [(usize, &str); 4] = [
    (0, "bb1d6929e95937287fa37d129b756746"),
    (16, "070a16b46b4d4144f79bdd9dd04a287c"),
    (40, "dfa66747de9ae63030ca32611497c827"),
    (64, "51f0bebf7e3b9d92fc49741779363cfe"),
];

/// The GCM specification (McGrew and Viega), test case 4.
const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308";
const GCM_IV: &str = "cafebabefacedbaddecaf888";
const GCM_AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const GCM_PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
const GCM_CIPHER: &str = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091";
const GCM_TAG: &str = "5bc94fbc3221a5db94fae95ae7121a47";

/// RFC 3394 4.6 and RFC 5649 6: mechanism, wrapping key, key, wrapped key.
const WRAPS: [(u64, &str, &str, &str); 5] = [
    (
        CKM_AES_KEY_WRAP,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
    ),
    (
        CKM_AES_KEY_WRAP_PAD,
        "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        "c37b7e6492584340bed12207808941155068f738",
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    ),
    (
        CKM_AES_KEY_WRAP_PAD,
        "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        "466f7250617369",
        "afbeb0f07dfbf5419200f2ccb50bb24f",
    ),
    (
        CKM_AES_KEY_WRAP_KWP,
        "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        "c37b7e6492584340bed12207808941155068f738",
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    ),
    (
        CKM_AES_KEY_WRAP_KWP,
        "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        "466f7250617369",
        "afbeb0f07dfbf5419200f2ccb50bb24f",
    ),
];

fn mode(ty: u64) -> Mechanism {
    let iv = unhex("000102030405060708090a0b0c0d0e0f");
    match ty {
        CKM_AES_ECB => ty.into(),
        CKM_AES_CTR => with(ty, vec![Piece::Word(128), Piece::Bytes(unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))]),
        _ => with(ty, vec![Piece::Bytes(iv)]),
    }
}

/// A key in memory and the same key in the TPM.
fn both(b: &Bench, key_type: u64, value: &[u8], more: &[Attribute]) -> [u64; 2] {
    [b.secret(key_type, value, more), b.token_secret(key_type, value, more)]
}

/// Digests, and codes with secret keys.
pub(crate) fn digest_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (ty, digest) in DIGESTS {
        rows.push(row(ty, CKF_DIGEST, move |b| {
            assert_eq!(b.probe.digest(b.session, ty, b"abc").unwrap(), unhex(digest));
        }));
    }
    for (ty, general, code) in HMACS {
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        let cut = move || with(general, vec![Piece::Word(12)]);
        // The TPM of the tests has no SHA-224, which `secrets.rs` looks at.
        let keys = move |b: &Bench| {
            let keys = vec![b.secret(CKK_GENERIC_SECRET, key, &[])];
            if ty == CKM_SHA224_HMAC {
                keys
            } else {
                [keys, vec![b.token_secret(CKK_GENERIC_SECRET, key, &[])]].concat()
            }
        };
        rows.extend([
            row(ty, CKF_SIGN, move |b| {
                keys(b).iter().for_each(|key| assert_eq!(b.sign(&ty.into(), *key, data), unhex(code)))
            }),
            row(ty, CKF_VERIFY, move |b| {
                keys(b).iter().for_each(|key| b.verifies(&ty.into(), *key, data, &unhex(code)))
            }),
            row(general, CKF_SIGN, move |b| {
                keys(b).iter().for_each(|key| assert_eq!(b.sign(&cut(), *key, data), unhex(code)[..12]));
            }),
            row(general, CKF_VERIFY, move |b| {
                keys(b).iter().for_each(|key| b.verifies(&cut(), *key, data, &unhex(code)[..12]));
            }),
        ]);
    }
    for (ty, len) in [(CKM_AES_CMAC, 16), (CKM_AES_CMAC_GENERAL, 9)] {
        let mechanism = move || if len == 16 { ty.into() } else { with(ty, vec![Piece::Word(len as u64)]) };
        for op in [CKF_SIGN, CKF_VERIFY] {
            rows.push(row(ty, op, move |b| {
                for key in both(b, CKK_AES, &unhex(AES_KEY), &[]) {
                    for (bytes, code) in CMACS {
                        let (data, code) = (&unhex(AES_BLOCKS)[..bytes], &unhex(code)[..len]);
                        match op {
                            CKF_SIGN => assert_eq!(b.sign(&mechanism(), key, data), code),
                            _ => b.verifies(&mechanism(), key, data, code),
                        }
                    }
                }
            }));
        }
    }
    rows
}

/// AES keys and what is done with them.
pub(crate) fn aes_rows() -> Vec<Row> {
    let mut rows = vec![row(CKM_AES_KEY_GEN, CKF_GENERATE, |b| {
        let template = [shown(CKK_AES), vec![number(CKA_VALUE_LEN, 32)]].concat();
        let [one, two] = [0; 2].map(|_| b.generate(&CKM_AES_KEY_GEN.into(), &template).unwrap());
        assert_ne!(b.value(one), b.value(two));
        let mut block = [7; 16].into();
        aes_gcm::aes::Aes256::new_from_slice(&b.value(one)).unwrap().encrypt_block(&mut block);
        assert_eq!(b.encrypts(&CKM_AES_ECB.into(), one, &[7; 16]), block.as_slice());
    })];
    for (ty, cipher) in AES_MODES {
        rows.push(row(ty, CKF_ENCRYPT, move |b| {
            for key in both(b, CKK_AES, &unhex(AES_KEY), &[]) {
                assert_eq!(b.encrypts(&mode(ty), key, &unhex(AES_BLOCKS)), unhex(cipher));
            }
        }));
        rows.push(row(ty, CKF_DECRYPT, move |b| {
            for key in both(b, CKK_AES, &unhex(AES_KEY), &[]) {
                assert_eq!(b.decrypts(&mode(ty), key, &unhex(cipher)), unhex(AES_BLOCKS));
            }
        }));
    }
    let wraps = [flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)];
    // No vectors were published for the padding: OpenSSL pads alike.
    let padded = |b: &Bench, data: &[u8]| {
        let options = ["enc", "-aes-128-cbc", "-K", AES_KEY, "-iv", "000102030405060708090a0b0c0d0e0f"];
        b.openssl(&options, data)
    };
    for op in [CKF_ENCRYPT, CKF_DECRYPT, CKF_WRAP, CKF_UNWRAP] {
        let wraps = wraps.clone();
        rows.push(row(CKM_AES_CBC_PAD, op, move |b| {
            let usage = if op == CKF_WRAP || op == CKF_UNWRAP { &wraps[..] } else { &[] };
            let mechanism = mode(CKM_AES_CBC_PAD);
            let [memory, token] = both(b, CKK_AES, &unhex(AES_KEY), usage);
            for key in [memory, token] {
                match op {
                    CKF_ENCRYPT => assert_eq!(b.encrypts(&mechanism, key, MESSAGE), padded(b, MESSAGE)),
                    CKF_DECRYPT => assert_eq!(b.decrypts(&mechanism, key, &padded(b, MESSAGE)), MESSAGE),
                    CKF_WRAP => {
                        let target = b.secret(CKK_AES, &TARGET, &[]);
                        assert_eq!(b.wrap(&mechanism, key, target).unwrap(), padded(b, &TARGET));
                    }
                    // What the TPM's key unwraps may not be read.
                    _ if key == token => {}
                    _ => {
                        let key = b.unwrap(&mechanism, key, &padded(b, &TARGET), CKK_AES).unwrap();
                        assert_eq!(b.value(key), TARGET);
                    }
                }
            }
        }));
    }
    for (ty, kek, plain, wrapped) in WRAPS {
        for op in [CKF_ENCRYPT, CKF_DECRYPT, CKF_WRAP, CKF_UNWRAP] {
            let wraps = wraps.clone();
            rows.push(row(ty, op, move |b| {
                let usage = if op == CKF_WRAP || op == CKF_UNWRAP { &wraps[..] } else { &[] };
                let kek = b.secret(CKK_AES, &unhex(kek), usage);
                let (plain, wrapped) = (unhex(plain), unhex(wrapped));
                match op {
                    CKF_ENCRYPT => assert_eq!(b.encrypts(&ty.into(), kek, &plain), wrapped),
                    CKF_DECRYPT => assert_eq!(b.decrypts(&ty.into(), kek, &wrapped), plain),
                    CKF_WRAP => {
                        let target = b.secret(CKK_GENERIC_SECRET, &plain, &[]);
                        assert_eq!(b.wrap(&ty.into(), kek, target).unwrap(), wrapped);
                    }
                    _ => {
                        let key = b.unwrap(&ty.into(), kek, &wrapped, CKK_GENERIC_SECRET).unwrap();
                        assert_eq!(b.value(key), plain);
                    }
                }
            }));
        }
    }
    rows.extend([
        row(CKM_AES_GCM, CKF_ENCRYPT, |b| {
            for key in both(b, CKK_AES, &unhex(GCM_KEY), &[]) {
                let sealed = b.encrypts(&gcm(&unhex(GCM_IV), &unhex(GCM_AAD)), key, &unhex(GCM_PLAIN));
                assert_eq!(sealed, [unhex(GCM_CIPHER), unhex(GCM_TAG)].concat());
            }
        }),
        row(CKM_AES_GCM, CKF_DECRYPT, |b| {
            for key in both(b, CKK_AES, &unhex(GCM_KEY), &[]) {
                let sealed = [unhex(GCM_CIPHER), unhex(GCM_TAG)].concat();
                assert_eq!(b.decrypts(&gcm(&unhex(GCM_IV), &unhex(GCM_AAD)), key, &sealed), unhex(GCM_PLAIN));
            }
        }),
        row(CKM_AES_GCM, CKF_MESSAGE_ENCRYPT, |b| messages(b, "Encrypt", &[GCM_PLAIN])),
        row(CKM_AES_GCM, CKF_MESSAGE_DECRYPT, |b| messages(b, "Decrypt", &[GCM_CIPHER])),
        row(CKM_AES_GCM, CKF_MULTI_MESSAGE, |b| {
            let halves = |text: &'static str| text.split_at(62);
            let (first, second) = halves(GCM_PLAIN);
            messages(b, "Encrypt", &[first, second]);
            let (first, second) = halves(GCM_CIPHER);
            messages(b, "Decrypt", &[first, second]);
        }),
    ]);
    rows
}

/// The message of the GCM test case, whole or in parts, through the functions for messages.
fn messages(b: &Bench, way: &str, parts: &[&str]) {
    let encrypts = way == "Encrypt";
    for key in both(b, CKK_AES, &unhex(GCM_KEY), &[]) {
        b.probe.init(&format!("C_Message{way}Init"), b.session, CKM_AES_GCM, key).unwrap();
        let tag = if encrypts { vec![0; 16] } else { unhex(GCM_TAG) };
        let [iv, iv_len] = pointer(&unhex(GCM_IV));
        let pieces = vec![
            iv,
            iv_len,
            Piece::Word(0),
            Piece::Word(CKG_NO_GENERATE),
            Piece::Pointer(Memory::bytes(&tag)),
            Piece::Word(128),
        ];
        let parameter = [Argument::Pointer(Memory::of(pieces)), 48.into()];
        let input = |hex: &str| [Argument::bytes(&unhex(hex)), (hex.len() as u64 / 2).into()];
        let room = [Argument::buffer(100), Argument::place(100)];
        let session = [Argument::Word(b.session)];
        let (mut out, mut left) = (Vec::new(), Vec::new());
        let mut call = |function: String, arguments: Vec<Argument>, output: Option<usize>| {
            let (rv, done) = b.probe.call(&function, arguments);
            assert_eq!(Ck(rv), Ck(CKR_OK), "{function}");
            if let Some(at) = output {
                out.extend_from_slice(&done[at].content()[..done[at + 1].word() as usize]);
            }
            left = done;
        };
        if let [whole] = parts {
            let arguments = [&session[..], &parameter, &input(GCM_AAD), &input(whole), &room].concat();
            call(format!("C_{way}Message"), arguments, Some(7));
        } else {
            call(format!("C_{way}MessageBegin"), [&session[..], &parameter, &input(GCM_AAD)].concat(), None);
            for (index, part) in parts.iter().enumerate() {
                let last = if index + 1 == parts.len() { CKF_END_OF_MESSAGE } else { 0 };
                let arguments = [&session[..], &parameter, &input(part), &room, &[last.into()]].concat();
                call(format!("C_{way}MessageNext"), arguments, Some(5));
            }
        }
        assert_eq!(out, unhex(if encrypts { GCM_CIPHER } else { GCM_PLAIN }));
        if encrypts {
            let Argument::Pointer(memory) = &left[1] else { panic!() };
            assert_eq!(memory.pieces[4], Piece::Pointer(Memory::bytes(&unhex(GCM_TAG))));
        }
        b.probe.rv(&format!("C_Message{way}Final"), session.to_vec()).unwrap();
    }
}

/// Generic secrets and what is derived from them.
pub(crate) fn secret_rows() -> Vec<Row> {
    let derive = [flag(CKA_DERIVE, true)];
    let base = move |b: &Bench, key_type: u64, value: &[u8]| b.secret(key_type, value, &derive);
    let mut rows: Vec<Row> = [(CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET), (CKM_HKDF_KEY_GEN, CKK_HKDF)]
        .map(|(ty, key_type)| {
            row(ty, CKF_GENERATE, move |b| {
                let template = [shown(key_type), vec![number(CKA_VALUE_LEN, 40)]].concat();
                let [one, two] = [0; 2].map(|_| b.value(b.generate(&ty.into(), &template).unwrap()));
                assert!(one.len() == 40 && one != two && one != [0; 40], "{one:?} {two:?}");
            })
        })
        .into();
    // RFC 5869 A.1
    let (ikm, salt, info) = ([0x0b; 22], (0..=12).collect::<Vec<u8>>(), (0xf0..=0xf9).collect::<Vec<u8>>());
    let okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    for ty in [CKM_HKDF_DERIVE, CKM_HKDF_DATA] {
        let (base, salt, info) = (base.clone(), salt.clone(), info.clone());
        rows.push(row(ty, CKF_DERIVE, move |b| {
            for key_type in [CKK_GENERIC_SECRET, CKK_HKDF] {
                let mut template =
                    if ty == CKM_HKDF_DATA { vec![number(CKA_CLASS, CKO_DATA)] } else { shown(CKK_GENERIC_SECRET) };
                template.push(number(CKA_VALUE_LEN, 42));
                let made = b.derive(&hkdf(ty, &salt, &info), base(b, key_type, &ikm), &template).unwrap();
                assert_eq!(b.value(made), unhex(okm));
            }
        }));
    }
    for (ty, data, expected) in [
        (CKM_CONCATENATE_BASE_AND_DATA, &b"data"[..], &b"basedata"[..]),
        (CKM_CONCATENATE_DATA_AND_BASE, b"data", b"database"),
        (CKM_XOR_BASE_AND_DATA, b"data", b"\x06\x00\x07\x04"),
    ] {
        let base = base.clone();
        rows.push(row(ty, CKF_DERIVE, move |b| {
            let mechanism = with(ty, pointer(data).to_vec());
            let made = b.derive(&mechanism, base(b, CKK_GENERIC_SECRET, b"base"), &shown(CKK_GENERIC_SECRET)).unwrap();
            assert_eq!(b.value(made), expected);
        }));
    }
    rows.push(row(CKM_CONCATENATE_BASE_AND_KEY, CKF_DERIVE, move |b| {
        let other = b.secret(CKK_GENERIC_SECRET, b" and key", &[bytes(CKA_LABEL, b"other")]);
        let mechanism = with(CKM_CONCATENATE_BASE_AND_KEY, vec![Piece::Word(other)]);
        let made = b.derive(&mechanism, base(b, CKK_GENERIC_SECRET, b"base"), &shown(CKK_GENERIC_SECRET)).unwrap();
        assert_eq!(b.value(made), b"base and key");
    }));
    rows
}
