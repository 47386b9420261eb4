//! Every mechanism with every operation it is advertised for, with keys of every kind, against OpenSSL and the textbook.

use pkcs11_sys::*;
use tests::math;
use tests::openssl::{OpenSsl, ecdsa_der};
use tests::probe::{Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World};
use tests::{Argument, Ck, Memory, Piece};

/// A hash by all its names: digest mechanism, mask generation function, OpenSSL option, length, DigestInfo before the digest.
struct Hash {
    digest: u64,
    mgf: u64,
    name: &'static str,
    len: usize,
    prefix: &'static str,
    rsa: u64,
    pss: u64,
    ecdsa: u64,
}

macro_rules! hash {
    ($digest:ident $mgf:ident $name:literal $len:literal $prefix:literal $rsa:ident $pss:ident $ecdsa:ident) => {
        Hash {
            digest: $digest,
            mgf: $mgf,
            name: $name,
            len: $len,
            prefix: $prefix,
            rsa: $rsa,
            pss: $pss,
            ecdsa: $ecdsa,
        }
    };
}

static HASHES: [Hash; 5] = [
    hash!(CKM_SHA_1 CKG_MGF1_SHA1 "sha1" 20 "3021300906052b0e03021a05000414" CKM_SHA1_RSA_PKCS CKM_SHA1_RSA_PKCS_PSS CKM_ECDSA_SHA1),
    hash!(CKM_SHA224 CKG_MGF1_SHA224 "sha224" 28 "302d300d06096086480165030402040500041c" CKM_SHA224_RSA_PKCS CKM_SHA224_RSA_PKCS_PSS CKM_ECDSA_SHA224),
    hash!(CKM_SHA256 CKG_MGF1_SHA256 "sha256" 32 "3031300d060960864801650304020105000420" CKM_SHA256_RSA_PKCS CKM_SHA256_RSA_PKCS_PSS CKM_ECDSA_SHA256),
    hash!(CKM_SHA384 CKG_MGF1_SHA384 "sha384" 48 "3041300d060960864801650304020205000430" CKM_SHA384_RSA_PKCS CKM_SHA384_RSA_PKCS_PSS CKM_ECDSA_SHA384),
    hash!(CKM_SHA512 CKG_MGF1_SHA512 "sha512" 64 "3051300d060960864801650304020305000440" CKM_SHA512_RSA_PKCS CKM_SHA512_RSA_PKCS_PSS CKM_ECDSA_SHA512),
];

/// The digests that are digests only.
const SHA3: [(u64, &str); 4] =
    [(CKM_SHA3_224, "sha3-224"), (CKM_SHA3_256, "sha3-256"), (CKM_SHA3_384, "sha3-384"), (CKM_SHA3_512, "sha3-512")];

const RSA_KEYS: [(&str, usize); 2] = [("rsa", 256), ("rsa3072", 384)];
const EC_KEYS: [(&str, usize); 3] = [("p256", 256), ("p384", 384), ("p521", 521)];
/// On a curve of which the world has no key: it is made for the session.
const P224: (&str, usize) = ("p224", 224);
const MESSAGE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nobody saw its key.";

/// A logged-in client and what it works with.
struct Bench {
    probe: Probe,
    session: u64,
    _world: World,
}

impl Bench {
    fn new() -> Bench {
        let world = World::new();
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        Bench { probe, session, _world: world }
    }

    fn pair(&self, label: &str) -> Pair {
        if label == P224.0 {
            let template = [bytes(CKA_EC_PARAMS, base::curve::Curve::P224.oid_der())];
            let made = self.probe.generate_pair(self.session, CKM_EC_KEY_PAIR_GEN, &template, &[]).unwrap();
            return Pair::new(&self.probe, self.session, made.0, made.1);
        }
        Pair::new(
            &self.probe,
            self.session,
            self.probe.public_key(self.session, label),
            self.probe.private_key(self.session, label),
        )
    }

    fn sign(&self, mechanism: impl Into<Mechanism>, pair: &Pair, data: &[u8]) -> Vec<u8> {
        let mechanism = mechanism.into();
        let signature = self.probe.sign(self.session, mechanism.clone(), pair.private, data);
        let signature = signature.unwrap_or_else(|error| panic!("{mechanism:?} of {} bytes: {error}", data.len()));
        // The module agrees with itself, and notices what is not right.
        self.probe.verify(self.session, mechanism.clone(), pair.public, data, &signature).unwrap();
        let mut altered = signature.clone();
        *altered.last_mut().unwrap() ^= 1;
        let verify =
            |signature: &[u8]| self.probe.verify(self.session, mechanism.clone(), pair.public, data, signature);
        assert_eq!(verify(&altered), Err(Ck(CKR_SIGNATURE_INVALID)));
        assert_eq!(verify(&signature[1..]), Err(Ck(CKR_SIGNATURE_LEN_RANGE)));
        signature
    }

    fn encrypt(&self, mechanism: impl Into<Mechanism>, pair: &Pair, plain: &[u8]) -> Vec<u8> {
        self.probe.encrypt(self.session, mechanism, pair.public, plain).unwrap()
    }

    fn decrypt(&self, mechanism: impl Into<Mechanism>, pair: &Pair, cipher: &[u8]) -> Result<Vec<u8>, Ck> {
        self.probe.decrypt(self.session, mechanism, pair.private, cipher)
    }

    fn digest(&self, hash: &Hash, data: &[u8]) -> Vec<u8> {
        self.probe.digest(self.session, hash.digest, data).unwrap()
    }
}

/// A key pair, and its public half outside.
struct Pair {
    public: u64,
    private: u64,
    openssl: OpenSsl,
    n: Vec<u8>,
    e: Vec<u8>,
    point: Vec<u8>,
}

impl Pair {
    fn new(probe: &Probe, session: u64, public: u64, private: u64) -> Pair {
        let value = |ty| probe.attribute(session, public, ty).unwrap_or_default();
        // An uncompressed point in a DER OCTET STRING; its length takes two bytes from P-521 on.
        let point = value(CKA_EC_POINT);
        let point = match point.as_slice() {
            [4, 0x81, len, rest @ ..] | [4, len, rest @ ..] if rest.len() == usize::from(*len) => rest.to_vec(),
            [] => Vec::new(),
            other => panic!("{other:02x?}"),
        };
        let spki = value(CKA_PUBLIC_KEY_INFO);
        Pair {
            public,
            private,
            openssl: OpenSsl::new(&spki),
            n: value(CKA_MODULUS),
            e: value(CKA_PUBLIC_EXPONENT),
            point,
        }
    }
}

fn digest_info(hash: &Hash, digest: &[u8]) -> Vec<u8> {
    let mut info = tests::call::unhex(hash.prefix).unwrap();
    info.extend(digest);
    info
}

fn pss_options(mgf: &Hash, salt: usize) -> [String; 3] {
    ["rsa_padding_mode:pss".into(), format!("rsa_pss_saltlen:{salt}"), format!("rsa_mgf1_md:{}", mgf.name)]
}

fn texts(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// What a mechanism may do.
const OPERATIONS: u64 = CKF_SIGN
    | CKF_VERIFY
    | CKF_ENCRYPT
    | CKF_DECRYPT
    | CKF_DIGEST
    | CKF_GENERATE_KEY_PAIR
    | CKF_GENERATE
    | CKF_DERIVE
    | CKF_WRAP
    | CKF_UNWRAP
    | CKF_SIGN_RECOVER
    | CKF_VERIFY_RECOVER;

fn is_hmac(ty: u64) -> bool {
    HMACS.iter().flatten().any(|hmac| *hmac == ty)
}

/// For each hash the HMAC, and the one of any length.
const HMACS: [[u64; 2]; 5] = [
    [CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL],
    [CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL],
    [CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL],
    [CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL],
    [CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL],
];

#[test]
fn everything_that_is_advertised_is_tested() {
    let bench = Bench::new();
    let slot = bench.probe.slot_of("alpha");
    let mut advertised = Vec::new();
    for ty in bench.probe.mechanisms(slot).unwrap() {
        let (least, most, flags) = bench.probe.mechanism_info(slot, ty).unwrap();
        assert!(least <= most && flags & OPERATIONS != 0, "{ty:#x}");
        advertised.push((ty, flags & OPERATIONS));
    }
    let both = CKF_SIGN | CKF_VERIFY;
    let cipher = CKF_ENCRYPT | CKF_DECRYPT;
    let wrap = CKF_WRAP | CKF_UNWRAP;
    let recover = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;
    // Here.
    let mut tested = vec![
        (CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR),
        (CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR),
        (CKM_RSA_PKCS, both | cipher | wrap | recover),
        (CKM_RSA_X_509, both | cipher | recover),
        (CKM_RSA_PKCS_OAEP, cipher | wrap),
        (CKM_RSA_PKCS_PSS, both),
        (CKM_ECDSA, both),
    ];
    for hash in &HASHES {
        tested.extend([(hash.rsa, both), (hash.pss, both), (hash.ecdsa, both), (hash.digest, CKF_DIGEST)]);
    }
    tested.extend(SHA3.map(|(ty, _)| (ty, CKF_DIGEST)));
    // In secrets.rs.
    tested.extend([CKM_AES_KEY_GEN, CKM_GENERIC_SECRET_KEY_GEN, CKM_HKDF_KEY_GEN].map(|ty| (ty, CKF_GENERATE)));
    tested.extend([CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CTR, CKM_AES_CFB128, CKM_AES_OFB].map(|ty| (ty, cipher)));
    // Of a message's own functions there is no flag in this list.
    tested.push((CKM_AES_GCM, cipher));
    let wrapping = [CKM_AES_CBC_PAD, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP_KWP];
    tested.extend(wrapping.map(|ty| (ty, cipher | wrap)));
    tested.extend([CKM_AES_CMAC, CKM_AES_CMAC_GENERAL].map(|ty| (ty, both)));
    tested.extend(HMACS.into_iter().flatten().map(|ty| (ty, both)));
    let deriving = [
        CKM_ECDH1_DERIVE,
        CKM_ECDH1_COFACTOR_DERIVE,
        CKM_CONCATENATE_BASE_AND_KEY,
        CKM_CONCATENATE_BASE_AND_DATA,
        CKM_CONCATENATE_DATA_AND_BASE,
        CKM_XOR_BASE_AND_DATA,
        CKM_HKDF_DERIVE,
        CKM_HKDF_DATA,
    ];
    tested.extend(deriving.map(|ty| (ty, CKF_DERIVE)));
    let untested: Vec<_> = advertised.iter().filter(|row| !tested.contains(row)).collect();
    assert!(untested.is_empty(), "{untested:x?}");
    // Clients use what is in the list.
    let signing = tested.iter().filter(|(ty, operations)| {
        operations & (CKF_SIGN | CKF_DECRYPT | CKF_GENERATE_KEY_PAIR) != 0 && *ty < CKM_AES_KEY_GEN && !is_hmac(*ty)
    });
    let missing: Vec<_> = signing.filter(|row| !advertised.contains(row)).collect();
    assert!(missing.is_empty(), "{missing:x?}");
    for (ty, operations) in tested {
        assert_eq!(bench.probe.mechanism_info(slot, ty).unwrap().2 & OPERATIONS, operations, "{ty:#x}");
    }
    let sizes = |ty: u64| bench.probe.mechanism_info(slot, ty).map(|(least, most, _)| (least, most));
    assert_eq!(
        (sizes(CKM_RSA_PKCS), sizes(CKM_ECDSA), sizes(CKM_SHA256)),
        (Ok((1024, 3072)), Ok((224, 521)), Ok((0, 0)))
    );
}

#[test]
fn rsa_pkcs1_signatures_with_a_hash() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for hash in &HASHES {
            let signature = bench.sign(hash.rsa, &pair, MESSAGE);
            assert_eq!(signature.len(), len);
            assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &signature), "{}", hash.name);
            assert!(!pair.openssl.verifies(&format!("-{}", hash.name), &[], b"another", &signature));
        }
    }
}

#[test]
fn rsa_pkcs1_signatures_of_any_digest_info() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        let digest = bench.digest(hash, MESSAGE);
        let signature = bench.sign(CKM_RSA_PKCS, &pair, &digest_info(hash, &digest));
        assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &signature), "{}", hash.name);
    }
    // MD5 with SHA-1, as TLS 1.1 has it; RIPEMD-160, which no TPM has; and things that are no DigestInfo at all.
    let ripemd = [&tests::call::unhex("3021300906052b2403020105000414").unwrap()[..], &[0x5a; 20]].concat();
    let odd: [&[u8]; 7] = [&[0x36; 36], &ripemd, b"", b"x", &[0xff; 100], &[0; 32], &[7; 245]];
    for input in odd {
        let signature = bench.sign(CKM_RSA_PKCS, &pair, input);
        let padded = [&[0, 1][..], &vec![0xff; 256 - 3 - input.len()], &[0], input].concat();
        assert_eq!(math::rsa_public(&pair.n, &pair.e, &signature), padded, "{} bytes", input.len());
    }
    for len in [246, 256, 1000] {
        assert_eq!(
            bench.probe.sign(bench.session, CKM_RSA_PKCS, pair.private, &vec![7; len]),
            Err(Ck(CKR_DATA_LEN_RANGE)),
            "{len}"
        );
    }
}

#[test]
fn rsa_without_padding() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        let full = [&[0x7f][..], &vec![0xab; len - 1]].concat();
        for input in [&full[..], b"short", &[0, 0, 1], &[]] {
            let mut block = vec![0; len - input.len()];
            block.extend(input);
            let signature = bench.sign(CKM_RSA_X_509, &pair, input);
            assert_eq!(math::rsa_public(&pair.n, &pair.e, &signature), block);
            let cipher = bench.encrypt(CKM_RSA_X_509, &pair, input);
            assert_eq!(cipher, math::rsa_public(&pair.n, &pair.e, &block));
            assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &cipher).unwrap(), block);
        }
        let cipher = pair.openssl.encrypts(&["rsa_padding_mode:none"], &full);
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &cipher).unwrap(), full);
        let sign = |data: &[u8]| bench.probe.sign(bench.session, CKM_RSA_X_509, pair.private, data);
        assert_eq!(sign(&vec![1; len + 1]), Err(Ck(CKR_DATA_LEN_RANGE)));
        assert_eq!(sign(&vec![0xff; len]), Err(Ck(CKR_DATA_INVALID)), "not below the modulus");
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &vec![1; len - 1]), Err(Ck(CKR_ENCRYPTED_DATA_LEN_RANGE)));
        assert_eq!(bench.decrypt(CKM_RSA_X_509, &pair, &vec![0xff; len]), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)));
    }
}

#[test]
fn pss_with_any_hash_mask_and_salt() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        let digest = bench.digest(hash, MESSAGE);
        for mgf in &HASHES {
            for salt in [0, 1, hash.len, 256 - hash.len - 2] {
                let plain = Mechanism::pss(CKM_RSA_PKCS_PSS, hash.digest, mgf.mgf, salt as u64);
                let signature = bench.sign(plain, &pair, &digest);
                let options = pss_options(mgf, salt);
                let verified = pair.openssl.verifies(&format!("-{}", hash.name), &texts(&options), MESSAGE, &signature);
                assert!(verified, "{} mgf {} salt {salt}", hash.name, mgf.name);
            }
        }
    }
}

#[test]
fn pss_that_hashes_itself() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for (hash, mgf) in HASHES.iter().zip(HASHES.iter().cycle().skip(if label == "rsa" { 0 } else { 2 })) {
            for salt in [0, hash.len, len - hash.len - 2] {
                let mechanism = Mechanism::pss(hash.pss, hash.digest, mgf.mgf, salt as u64);
                let signature = bench.sign(mechanism, &pair, MESSAGE);
                let options = pss_options(mgf, salt);
                assert!(
                    pair.openssl.verifies(&format!("-{}", hash.name), &texts(&options), MESSAGE, &signature),
                    "{}",
                    hash.name
                );
            }
        }
    }
}

#[test]
fn pss_that_cannot_be() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    let init = |mechanism: Mechanism| bench.probe.init("C_SignInit", bench.session, mechanism, pair.private);
    let too_long = Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 256 - 32 - 1);
    assert_eq!(init(too_long), Err(Ck(CKR_KEY_SIZE_RANGE)));
    for salt in [1 << 16, 1 << 40, u64::MAX] {
        let result = init(Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, salt));
        assert!([Err(Ck(CKR_KEY_SIZE_RANGE)), Err(Ck(CKR_MECHANISM_PARAM_INVALID))].contains(&result), "{result:?}");
    }
    let wrong: [Mechanism; 7] = [
        CKM_RSA_PKCS_PSS.into(),
        CKM_SHA256_RSA_PKCS_PSS.into(),
        Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA384, 48),
        Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256_RSA_PKCS, CKG_MGF1_SHA256, 32),
        Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKM_SHA256, 32),
        Mechanism {
            ty: CKM_RSA_PKCS_PSS,
            params: Some(Memory::of(vec![Piece::Word(CKM_SHA256), Piece::Word(CKG_MGF1_SHA256)])),
        },
        Mechanism { ty: CKM_SHA256_RSA_PKCS, params: Some(Memory::of(vec![Piece::Word(1)])) },
    ];
    for mechanism in wrong {
        assert_eq!(init(mechanism.clone()), Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{mechanism:?}");
    }
    // The digest must be one of the hash that the parameters name.
    let mechanism = Mechanism::pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32);
    assert_eq!(bench.probe.sign(bench.session, mechanism, pair.private, &[0; 20]), Err(Ck(CKR_DATA_LEN_RANGE)));
}

#[test]
fn oaep_with_any_hash_mask_and_label() {
    let bench = Bench::new();
    let pair = bench.pair("rsa");
    for hash in &HASHES {
        for mgf in &HASHES {
            for label in [&b""[..], b"label", b"label\0", b"a\0b\0"] {
                let mechanism = Mechanism::oaep(hash.digest, mgf.mgf, label);
                let mut options = vec![
                    "rsa_padding_mode:oaep".to_owned(),
                    format!("rsa_oaep_md:{}", hash.name),
                    format!("rsa_mgf1_md:{}", mgf.name),
                ];
                if !label.is_empty() {
                    options.push(format!("rsa_oaep_label:{}", tests::call::hex(label)));
                }
                let longest = 256 - 2 * hash.len - 2;
                let cipher = pair.openssl.encrypts(&texts(&options), &vec![9; longest]);
                let plain = bench.decrypt(mechanism.clone(), &pair, &cipher);
                assert_eq!(plain, Ok(vec![9; longest]), "{} mgf {} label {label:?}", hash.name, mgf.name);
                let cipher = bench.encrypt(mechanism.clone(), &pair, b"secret");
                assert_eq!(bench.decrypt(mechanism.clone(), &pair, &cipher).unwrap(), b"secret");
                let too_long = bench.probe.encrypt(bench.session, mechanism, pair.public, &vec![9; longest + 1]);
                assert_eq!(too_long, Err(Ck(CKR_DATA_LEN_RANGE)));
            }
        }
    }
}

#[test]
fn oaep_that_is_not_right_says_one_thing() {
    let bench = Bench::new();
    let pair = bench.pair("rsa3072");
    let right = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    let cipher = bench.encrypt(right, &pair, b"secret");
    for wrong in [
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"another label"),
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"another label\0"),
        Mechanism::oaep(CKM_SHA1, CKG_MGF1_SHA1, b""),
        Mechanism::oaep(CKM_SHA384, CKG_MGF1_SHA384, b""),
        Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA1, b""),
    ] {
        assert_eq!(bench.decrypt(wrong.clone(), &pair, &cipher), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)), "{wrong:?}");
    }
    let init = |mechanism: Mechanism| bench.probe.init("C_DecryptInit", bench.session, mechanism, pair.private);
    let words = |words: [u64; 5]| Some(Memory::of(words.map(Piece::Word).to_vec()));
    for params in [
        None,
        words([CKM_SHA256_RSA_PKCS, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, 0, 0]),
        words([CKM_SHA256, 77, CKZ_DATA_SPECIFIED, 0, 0]),
        words([CKM_SHA256, CKG_MGF1_SHA256, 77, 0, 0]),
    ] {
        let mechanism = Mechanism { ty: CKM_RSA_PKCS_OAEP, params };
        assert_eq!(init(mechanism.clone()), Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{mechanism:?}");
    }
}

const CKM_SHA1: u64 = CKM_SHA_1;

#[test]
fn rsa_pkcs1_encryption() {
    let bench = Bench::new();
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        for plain in [&b""[..], b"x", &vec![5; len - 11]] {
            let cipher = bench.encrypt(CKM_RSA_PKCS, &pair, plain);
            assert_eq!(cipher.len(), len);
            assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &cipher).unwrap(), plain);
            let cipher = pair.openssl.encrypts(&["rsa_padding_mode:pkcs1"], plain);
            assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &cipher).unwrap(), plain);
        }
        let encrypt = |plain: &[u8]| bench.probe.encrypt(bench.session, CKM_RSA_PKCS, pair.public, plain);
        assert_eq!(encrypt(&vec![5; len - 10]), Err(Ck(CKR_DATA_LEN_RANGE)));
        // Bad padding gives a message that is always the same for this ciphertext and tells nothing (implicit rejection).
        let bad = bench.encrypt(CKM_RSA_X_509, &pair, &vec![0x55; len]);
        let plain = bench.decrypt(CKM_RSA_PKCS, &pair, &bad).unwrap();
        assert_eq!(bench.decrypt(CKM_RSA_PKCS, &pair, &bad).unwrap(), plain);
        assert!(plain.len() <= len - 11);
    }
}

#[test]
fn ecdsa_with_a_hash() {
    let bench = Bench::new();
    for (label, bits) in EC_KEYS.into_iter().chain([P224]) {
        let pair = bench.pair(label);
        for hash in &HASHES {
            let signature = bench.sign(hash.ecdsa, &pair, MESSAGE);
            assert_eq!(signature.len(), 2 * bits.div_ceil(8));
            let der = ecdsa_der(&signature);
            assert!(pair.openssl.verifies(&format!("-{}", hash.name), &[], MESSAGE, &der), "{label} {}", hash.name);
            assert!(!pair.openssl.verifies(&format!("-{}", hash.name), &[], b"another", &der));
        }
    }
}

#[test]
fn what_openssl_signs_verifies() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for curve in base::curve::Curve::ALL {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &[&str], input: &[u8]| {
            let output = tests::openssl::openssl(dir.path(), arguments, input);
            assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
            output.stdout
        };
        let group = format!("ec_paramgen_curve:{}", curve.name());
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &group, "-out", "key.pem"], b"");
        let spki = openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"], b"");
        let point = &spki[spki.len() - 1 - 2 * curve.field_len()..];
        let key = base::curve::EcPublic::from_point(curve, point).unwrap();
        let template = [
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_EC),
            flag(CKA_TOKEN, false),
            bytes(CKA_EC_PARAMS, curve.oid_der()),
            bytes(CKA_EC_POINT, &key.point_der()),
        ];
        let arguments = vec![session.into(), attributes(&template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = probe.call("C_CreateObject", arguments);
        assert_eq!(Ck(rv), Ck(CKR_OK), "{curve:?}");
        let public = left[3].word();
        for hash in &HASHES {
            let der = openssl(&["dgst", &format!("-{}", hash.name), "-sign", "key.pem"], MESSAGE);
            let (r, s) = base::curve::signature_from_der(&der, curve.field_len()).unwrap();
            let signature = [r, s].concat();
            let verify = |data: &[u8]| probe.verify(session, hash.ecdsa, public, data, &signature);
            assert_eq!(verify(MESSAGE), Ok(()), "{curve:?} {}", hash.name);
            assert_eq!(verify(b"another"), Err(Ck(CKR_SIGNATURE_INVALID)), "{curve:?} {}", hash.name);
        }
    }
}

#[test]
fn ecdsa_of_input_of_any_length() {
    let bench = Bench::new();
    for (label, bits) in EC_KEYS.into_iter().chain([P224]) {
        let pair = bench.pair(label);
        let curve = math::Curve::with_bits(bits);
        for len in [0_u8, 1, 20, 28, 31, 32, 33, 47, 48, 49, 64, 65, 66, 67, 100] {
            let input: Vec<u8> = (0..len).map(|i| 0xff - i).collect();
            // What counts of the input is as long as the order. A TPM signs digests of its hashes, and none is longer than 64
            // bytes: of the P-521 inputs that are, those that spell a greater number cannot be signed.
            if bits == 521 && len > 64 {
                let refused = bench.probe.sign(bench.session, CKM_ECDSA, pair.private, &input);
                assert_eq!(refused, Err(Ck(CKR_DATA_LEN_RANGE)), "{label}: {len} bytes");
                continue;
            }
            let signature = bench.sign(CKM_ECDSA, &pair, &input);
            assert!(curve.verifies(&pair.point, &input, &signature), "{label}: {len} bytes");
            if (20..=64).contains(&len) {
                assert!(pair.openssl.verifies_raw(&[], &input, &ecdsa_der(&signature)), "{label}: {len} bytes");
            }
        }
        // Leading zeros are part of the length, not of the number.
        for zeros in [1, 8, 40, 70] {
            let input = [&vec![0; zeros][..], b"sixteen bytes..."].concat();
            let signature = bench.sign(CKM_ECDSA, &pair, &input);
            assert!(curve.verifies(&pair.point, &input, &signature), "{label}: {zeros} zeros");
        }
    }
}

#[test]
fn signatures_are_of_fixed_length_and_differ() {
    let bench = Bench::new();
    let pair = bench.pair("p256");
    let mut seen = std::collections::BTreeSet::new();
    // One in 256 numbers has a leading zero byte: it stays.
    for round in 0..60_u8 {
        let signature = bench.sign(CKM_ECDSA_SHA256, &pair, &[round % 2]);
        assert_eq!(signature.len(), 64);
        assert!(seen.insert(signature), "a nonce was used twice");
    }
}

#[test]
fn digests() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 1, 63, 64, 65, 127, 128, 129, 5000] {
        let data = vec![0x61; len];
        let names = HASHES.iter().map(|hash| (hash.digest, hash.name)).chain(SHA3);
        for (mechanism, name) in names {
            let digest = bench.probe.digest(bench.session, mechanism, &data).unwrap();
            let other = tests::openssl::openssl(dir.path(), &["dgst", &format!("-{name}"), "-binary"], &data);
            assert_eq!(digest, other.stdout, "{name} of {len} bytes");
        }
    }
}

#[test]
fn signatures_that_give_their_data_back() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for (label, len) in RSA_KEYS {
        let pair = bench.pair(label);
        let block = [&[0x7f][..], &vec![0xab; len - 1]].concat();
        for (mechanism, data) in [(CKM_RSA_PKCS, &b"recover me"[..]), (CKM_RSA_X_509, &block)] {
            probe.init("C_SignRecoverInit", session, mechanism, pair.private).unwrap();
            let signature = probe.transform("C_SignRecover", session, data).unwrap();
            assert_eq!(signature, probe.sign(session, mechanism, pair.private, data).unwrap());
            probe.init("C_VerifyRecoverInit", session, mechanism, pair.public).unwrap();
            assert_eq!(probe.transform("C_VerifyRecover", session, &signature).unwrap(), data);
        }
        probe.init("C_VerifyRecoverInit", session, CKM_RSA_PKCS, pair.public).unwrap();
        let altered = probe.transform("C_VerifyRecover", session, &block);
        assert_eq!(altered, Err(Ck(CKR_SIGNATURE_INVALID)));
    }
}

#[test]
fn parts_make_the_same_whole() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    let data: Vec<u8> = (0..=255).rev().collect();
    let cuts: [&[usize]; 4] = [&[0], &[1, 64, 65], &[0, 128, 128, 255], &[256]];
    let parts = |at: &[usize], data: &[u8]| {
        let mut parts = Vec::new();
        let mut start = 0;
        for end in at.iter().map(|end| (*end).min(data.len())).chain([data.len()]) {
            parts.push(data[start..end].to_vec());
            start = end;
        }
        parts
    };
    let rsa = bench.pair("rsa");
    let ec = bench.pair("p384");
    let pss = |ty, hash: &Hash| Mechanism::pss(ty, hash.digest, hash.mgf, hash.len as u64);
    let mut signing: Vec<(Mechanism, &Pair, usize)> =
        vec![(CKM_RSA_PKCS.into(), &rsa, 200), (CKM_RSA_X_509.into(), &rsa, 200), (CKM_ECDSA.into(), &ec, 256)];
    signing.push((pss(CKM_RSA_PKCS_PSS, &HASHES[2]), &rsa, 32));
    for hash in &HASHES {
        signing.extend([(hash.rsa.into(), &rsa, 256), (pss(hash.pss, hash), &rsa, 256), (hash.ecdsa.into(), &ec, 256)]);
    }
    for (mechanism, pair, len) in signing {
        let data = &data[..len];
        for at in cuts {
            probe.init("C_SignInit", session, mechanism.clone(), pair.private).unwrap();
            for part in parts(at, data) {
                probe.update("C_SignUpdate", session, &part).unwrap();
            }
            let signature = probe.finish("C_SignFinal", session).unwrap();
            probe.verify(session, mechanism.clone(), pair.public, data, &signature).unwrap();

            probe.init("C_VerifyInit", session, mechanism.clone(), pair.public).unwrap();
            for part in parts(at, data) {
                probe.update("C_VerifyUpdate", session, &part).unwrap();
            }
            probe.update("C_VerifyFinal", session, &signature).unwrap();

            probe.init("C_VerifyInit", session, mechanism.clone(), pair.public).unwrap();
            probe.update("C_VerifyUpdate", session, &data[1..]).unwrap();
            let altered = probe.update("C_VerifyFinal", session, &signature);
            let expected = if len == 32 { CKR_DATA_LEN_RANGE } else { CKR_SIGNATURE_INVALID };
            assert_eq!(altered, Err(Ck(expected)), "{mechanism:?}");
        }
    }
    for hash in &HASHES {
        for at in cuts {
            probe.rv("C_DigestInit", vec![session.into(), Mechanism::plain(hash.digest).argument()]).unwrap();
            for part in parts(at, &data) {
                probe.update("C_DigestUpdate", session, &part).unwrap();
            }
            assert_eq!(probe.finish("C_DigestFinal", session).unwrap(), bench.digest(hash, &data));
        }
    }
    let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label");
    for mechanism in [CKM_RSA_PKCS.into(), CKM_RSA_X_509.into(), oaep] {
        let plain = if mechanism.ty == CKM_RSA_X_509 { vec![1; 256] } else { data[..100].to_vec() };
        for at in cuts {
            let run = |kind: &str, key: u64, input: &[u8]| {
                probe.init(&format!("C_{kind}Init"), session, mechanism.clone(), key).unwrap();
                let mut out = Vec::new();
                for part in parts(at, input) {
                    out.extend(probe.transform(&format!("C_{kind}Update"), session, &part).unwrap());
                }
                out.extend(probe.finish(&format!("C_{kind}Final"), session).unwrap());
                out
            };
            let cipher = run("Encrypt", rsa.public, &plain);
            assert_eq!(cipher.len(), 256);
            assert_eq!(bench.decrypt(mechanism.clone(), &rsa, &cipher).unwrap(), plain);
            assert_eq!(run("Decrypt", rsa.private, &cipher), plain);
        }
    }
}

#[test]
fn keys_of_every_size_are_made_and_sign() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    for (bits, exponent) in [(1024_u64, &[1, 0, 1][..]), (2048, &[]), (2048, &[1, 0, 1]), (3072, &[1, 0, 1])] {
        let mut public = vec![number(CKA_MODULUS_BITS, bits), flag(CKA_TOKEN, true), bytes(CKA_LABEL, b"made")];
        if !exponent.is_empty() {
            public.push(bytes(CKA_PUBLIC_EXPONENT, exponent));
        }
        let (public, private) =
            probe.generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &[flag(CKA_TOKEN, true)]).unwrap();
        let pair = Pair::new(probe, session, public, private);
        assert_eq!((pair.n.len() as u64 * 8, pair.e.as_slice()), (bits, &[1, 0, 1][..]));
        let signature = bench.sign(CKM_SHA256_RSA_PKCS, &pair, MESSAGE);
        assert!(pair.openssl.verifies("-sha256", &[], MESSAGE, &signature), "{bits}");
        let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        let cipher = bench.encrypt(oaep.clone(), &pair, b"secret");
        assert_eq!(bench.decrypt(oaep, &pair, &cipher).unwrap(), b"secret");
        if bits == 1024 {
            // 1024 bits have no room for the PSS of a long hash with its salt, nor for OAEP.
            let pss = Mechanism::pss(CKM_SHA512_RSA_PKCS_PSS, CKM_SHA512, CKG_MGF1_SHA512, 64);
            assert_eq!(probe.init("C_SignInit", session, pss, private), Err(Ck(CKR_KEY_SIZE_RANGE)));
            let oaep = Mechanism::oaep(CKM_SHA512, CKG_MGF1_SHA512, b"");
            assert_eq!(probe.init("C_DecryptInit", session, oaep, private), Err(Ck(CKR_KEY_SIZE_RANGE)));
        }
    }
    for (curve, bits) in base::curve::Curve::ALL.into_iter().zip([224_usize, 256, 384, 521]) {
        for token in [true, false] {
            let template = [bytes(CKA_EC_PARAMS, curve.oid_der()), flag(CKA_TOKEN, token)];
            let made = probe.generate_pair(session, CKM_EC_KEY_PAIR_GEN, &template, &[flag(CKA_TOKEN, token)]).unwrap();
            let pair = Pair::new(probe, session, made.0, made.1);
            assert_eq!(pair.point.len(), 1 + 2 * bits.div_ceil(8));
            let signature = bench.sign(CKM_ECDSA_SHA512, &pair, MESSAGE);
            assert!(pair.openssl.verifies("-sha512", &[], MESSAGE, &ecdsa_der(&signature)), "{bits}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_the_tpm_hears_of_it() {
    let bench = Bench::new();
    let (probe, session) = (&bench.probe, bench.session);
    let (rsa, ec) = (bench.pair("rsa"), bench.pair("p256"));
    bench.sign(CKM_ECDSA_SHA256, &ec, MESSAGE);
    bench._world.proxy.mark();
    let cases = [
        ("C_SignInit", CKM_ECDSA, rsa.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_SignInit", CKM_RSA_PKCS, ec.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_SignInit", CKM_ECDSA, ec.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_SignInit", CKM_RSA_PKCS, rsa.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_VerifyInit", CKM_ECDSA, ec.private, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_EncryptInit", CKM_RSA_PKCS, rsa.private, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_DecryptInit", CKM_RSA_PKCS, rsa.public, CKR_KEY_FUNCTION_NOT_PERMITTED),
        ("C_DecryptInit", CKM_RSA_PKCS, ec.private, CKR_KEY_TYPE_INCONSISTENT),
        ("C_DecryptInit", CKM_ECDSA, ec.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_SHA256, rsa.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_AES_CBC, rsa.private, CKR_MECHANISM_INVALID),
        ("C_SignInit", u64::MAX, rsa.private, CKR_MECHANISM_INVALID),
        ("C_VerifyInit", CKM_RSA_PKCS_KEY_PAIR_GEN, rsa.public, CKR_MECHANISM_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, 0, CKR_KEY_HANDLE_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, 0x7777, CKR_KEY_HANDLE_INVALID),
        ("C_SignInit", CKM_RSA_PKCS, u64::MAX, CKR_KEY_HANDLE_INVALID),
    ];
    for (function, mechanism, key, expected) in cases {
        let result = probe.init(function, session, mechanism, key);
        assert_eq!(result, Err(Ck(expected)), "{function} {mechanism:#x}");
    }
    assert_eq!(probe.digest(session, CKM_RSA_PKCS, b""), Err(Ck(CKR_MECHANISM_INVALID)));
    let oaep = Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    assert_eq!(probe.init("C_SignInit", session, oaep, rsa.private), Err(Ck(CKR_MECHANISM_INVALID)));
    // A failed Init leaves nothing active.
    assert_eq!(probe.update("C_SignUpdate", session, b"x"), Err(Ck(CKR_OPERATION_NOT_INITIALIZED)));
    assert_eq!(bench._world.proxy.mark().names(), [""; 0]);
    bench.sign(CKM_SHA256_RSA_PKCS, &rsa, MESSAGE);
}
