//! The rows of digests and of secret keys.

use aes_gcm::aes::cipher::{BlockEncrypt, KeyInit};
use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, bytes, flag, number};
use tests::{Argument, Ck, Memory, Piece};

use crate::bench::{Bench, gcm, hkdf, pointer, shown, unhex, with};
use crate::rows::{MESSAGE, Row, TARGET, row};

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

/// RFC 2202 and RFC 4231: test case 2; of SHA-3 the same key and data, by OpenSSL, with the mechanism of the whole code and the one of a part of it.
pub(crate) const HMACS: [(u64, u64, &str); 9] = [
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
    (CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL, "7fdb8dd88bd2f60d1b798634ad386811c2cfc85bfaf5d52bbace5e66"),
    (CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL, "c7d4072e788877ae3596bbb0da73b887c9171f93095b294ae857fbe2645e1ba5"),
    (
        CKM_SHA3_384_HMAC,
        CKM_SHA3_384_HMAC_GENERAL,
        "f1101f8cbf9766fd6764d2ed61903f21ca9b18f57cf3e1a23ca13508a93243ce48c045dc007f26a21b3f5e0e9df4c20a",
    ),
    (
        CKM_SHA3_512_HMAC,
        CKM_SHA3_512_HMAC_GENERAL,
        "5a4bfeab6166427c7a3647b747292b8384537cdb89afb3bf5665e4c5e709350b287baec921fd7ca0ee7a0c31d022a95e1fc92ba9d77df883960275beb4e62024",
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

/// Keys that decrypt. The one in the TPM is refused where the TPM has no inverse of the block function.
fn decrypting(b: &Bench, mechanism: &Mechanism) -> Vec<u64> {
    let [memory, token] = both(b, CKK_AES, &unhex(AES_KEY), &[]);
    let inverse = matches!(mechanism.ty, CKM_AES_ECB | CKM_AES_CBC | CKM_AES_CBC_PAD);
    if inverse && b.lacks_inverse.get() {
        let init = b.probe.init("C_DecryptInit", b.session, mechanism.clone(), token);
        assert_eq!(init, Err(Ck(CKR_MECHANISM_INVALID)));
        return vec![memory];
    }
    vec![memory, token]
}

/// The type of keys for one HMAC.
pub(crate) fn hmac_type(ty: u64) -> u64 {
    match ty {
        CKM_SHA_1_HMAC => CKK_SHA_1_HMAC,
        CKM_SHA224_HMAC => CKK_SHA224_HMAC,
        CKM_SHA256_HMAC => CKK_SHA256_HMAC,
        CKM_SHA384_HMAC => CKK_SHA384_HMAC,
        CKM_SHA512_HMAC => CKK_SHA512_HMAC,
        CKM_SHA3_224_HMAC => CKK_SHA3_224_HMAC,
        CKM_SHA3_256_HMAC => CKK_SHA3_256_HMAC,
        CKM_SHA3_384_HMAC => CKK_SHA3_384_HMAC,
        CKM_SHA3_512_HMAC => CKK_SHA3_512_HMAC,
        other => panic!("{other:#x}"),
    }
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
        // The TPM of the tests has no SHA-224 and no SHA-3, which `secrets.rs` looks at.
        let keys = move |b: &Bench| {
            let keys = vec![b.secret(CKK_GENERIC_SECRET, key, &[]), b.secret(hmac_type(ty), key, &[])];
            if ![CKM_SHA_1_HMAC, CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC].contains(&ty) {
                keys
            } else {
                let token = [CKK_GENERIC_SECRET, hmac_type(ty)].map(|key_type| b.token_secret(key_type, key, &[]));
                [keys, token.to_vec()].concat()
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
            for key in decrypting(b, &mode(ty)) {
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
                    // Refused, as `decrypting` looks at.
                    CKF_DECRYPT if key == token && b.lacks_inverse.get() => drop(decrypting(b, &mechanism)),
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
