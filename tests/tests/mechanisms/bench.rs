//! A client with keys of all kinds, and the names of hashes.

use pkcs11_sys::*;
use tests::Ck;
use tests::openssl::OpenSsl;
use tests::probe::{Mechanism, Probe, bytes};
use tests::world::{ALPHA, World};

/// A hash by all its names: digest mechanism, mask generation function, OpenSSL option, length, DigestInfo before the digest.
pub(crate) struct Hash {
    pub(crate) digest: u64,
    pub(crate) mgf: u64,
    pub(crate) name: &'static str,
    pub(crate) len: usize,
    pub(crate) prefix: &'static str,
    pub(crate) rsa: u64,
    pub(crate) pss: u64,
    pub(crate) ecdsa: u64,
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

pub(crate) static HASHES: [Hash; 5] = [
    hash!(CKM_SHA_1 CKG_MGF1_SHA1 "sha1" 20 "3021300906052b0e03021a05000414" CKM_SHA1_RSA_PKCS CKM_SHA1_RSA_PKCS_PSS CKM_ECDSA_SHA1),
    hash!(CKM_SHA224 CKG_MGF1_SHA224 "sha224" 28 "302d300d06096086480165030402040500041c" CKM_SHA224_RSA_PKCS CKM_SHA224_RSA_PKCS_PSS CKM_ECDSA_SHA224),
    hash!(CKM_SHA256 CKG_MGF1_SHA256 "sha256" 32 "3031300d060960864801650304020105000420" CKM_SHA256_RSA_PKCS CKM_SHA256_RSA_PKCS_PSS CKM_ECDSA_SHA256),
    hash!(CKM_SHA384 CKG_MGF1_SHA384 "sha384" 48 "3041300d060960864801650304020205000430" CKM_SHA384_RSA_PKCS CKM_SHA384_RSA_PKCS_PSS CKM_ECDSA_SHA384),
    hash!(CKM_SHA512 CKG_MGF1_SHA512 "sha512" 64 "3051300d060960864801650304020305000440" CKM_SHA512_RSA_PKCS CKM_SHA512_RSA_PKCS_PSS CKM_ECDSA_SHA512),
];

/// SHA-3, of which a TPM need not know anything.
pub(crate) const SHA3: [(u64, &str); 4] =
    [(CKM_SHA3_224, "sha3-224"), (CKM_SHA3_256, "sha3-256"), (CKM_SHA3_384, "sha3-384"), (CKM_SHA3_512, "sha3-512")];

/// What signs with it.
pub(crate) const SHA3_SIGNING: [[u64; 5]; 4] = [
    [
        CKM_SHA3_224_RSA_PKCS,
        CKM_SHA3_224_RSA_PKCS_PSS,
        CKM_ECDSA_SHA3_224,
        CKM_SHA3_224_HMAC,
        CKM_SHA3_224_HMAC_GENERAL,
    ],
    [
        CKM_SHA3_256_RSA_PKCS,
        CKM_SHA3_256_RSA_PKCS_PSS,
        CKM_ECDSA_SHA3_256,
        CKM_SHA3_256_HMAC,
        CKM_SHA3_256_HMAC_GENERAL,
    ],
    [
        CKM_SHA3_384_RSA_PKCS,
        CKM_SHA3_384_RSA_PKCS_PSS,
        CKM_ECDSA_SHA3_384,
        CKM_SHA3_384_HMAC,
        CKM_SHA3_384_HMAC_GENERAL,
    ],
    [
        CKM_SHA3_512_RSA_PKCS,
        CKM_SHA3_512_RSA_PKCS_PSS,
        CKM_ECDSA_SHA3_512,
        CKM_SHA3_512_HMAC,
        CKM_SHA3_512_HMAC_GENERAL,
    ],
];

pub(crate) const RSA_KEYS: [(&str, usize); 2] = [("rsa", 256), ("rsa3072", 384)];
pub(crate) const EC_KEYS: [(&str, usize); 3] = [("p256", 256), ("p384", 384), ("p521", 521)];
/// On a curve of which the world has no key: it is made for the session.
pub(crate) const P224: (&str, usize) = ("p224", 224);
pub(crate) const MESSAGE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nobody saw its key.";

/// A logged-in client and what it works with.
pub(crate) struct Bench {
    pub(crate) probe: Probe,
    pub(crate) session: u64,
    pub(crate) _world: World,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let world = World::new();
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        Bench { probe, session, _world: world }
    }

    pub(crate) fn pair(&self, label: &str) -> Pair {
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

    pub(crate) fn sign(&self, mechanism: impl Into<Mechanism>, pair: &Pair, data: &[u8]) -> Vec<u8> {
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

    pub(crate) fn encrypt(&self, mechanism: impl Into<Mechanism>, pair: &Pair, plain: &[u8]) -> Vec<u8> {
        self.probe.encrypt(self.session, mechanism, pair.public, plain).unwrap()
    }

    pub(crate) fn decrypt(&self, mechanism: impl Into<Mechanism>, pair: &Pair, cipher: &[u8]) -> Result<Vec<u8>, Ck> {
        self.probe.decrypt(self.session, mechanism, pair.private, cipher)
    }

    pub(crate) fn digest(&self, hash: &Hash, data: &[u8]) -> Vec<u8> {
        self.probe.digest(self.session, hash.digest, data).unwrap()
    }
}

/// A key pair, and its public half outside.
pub(crate) struct Pair {
    pub(crate) public: u64,
    pub(crate) private: u64,
    pub(crate) openssl: OpenSsl,
    pub(crate) n: Vec<u8>,
    pub(crate) e: Vec<u8>,
    pub(crate) point: Vec<u8>,
}

impl Pair {
    pub(crate) fn new(probe: &Probe, session: u64, public: u64, private: u64) -> Pair {
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

pub(crate) fn digest_info(hash: &Hash, digest: &[u8]) -> Vec<u8> {
    let mut info = tests::call::unhex(hash.prefix).unwrap();
    info.extend(digest);
    info
}

pub(crate) fn pss_options(mgf: &Hash, salt: usize) -> [String; 3] {
    ["rsa_padding_mode:pss".into(), format!("rsa_pss_saltlen:{salt}"), format!("rsa_mgf1_md:{}", mgf.name)]
}

pub(crate) fn texts(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// What a mechanism may do.
pub(crate) const OPERATIONS: u64 = CKF_SIGN
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

pub(crate) fn is_hmac(ty: u64) -> bool {
    HMACS.iter().flatten().any(|hmac| *hmac == ty)
}

/// For each hash the HMAC, and the one of any length.
pub(crate) const HMACS: [[u64; 2]; 5] = [
    [CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL],
    [CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL],
    [CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL],
    [CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL],
    [CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL],
];
