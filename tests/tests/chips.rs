//! Tokens on chips that refuse or lack what a software TPM does: what is listed works, what is not listed is refused in the Init call,
//! and nothing is made that would be of no use.

use pkcs11_sys::*;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use sha2::Digest;
use swtpm_fixtures::Chip;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World};
use tests::{Argument, Ck};

const MESSAGE: &[u8] = b"On any chip, the same.";

struct Token {
    probe: Probe,
    session: u64,
    slot: u64,
    rsa: rsa::RsaPrivateKey,
    world: World,
}

impl Token {
    /// A token that was made on this chip.
    fn on(chip: Chip) -> Token {
        let world = World::empty();
        world.proxy.play(chip);
        world.ptool_ok(&["init"]);
        world.ptool_ok(&["addtoken", "--pid=1", "--label=alpha", "--sopin=so-alpha", "--userpin=user-alpha"]);
        Token::in_world(world)
    }

    fn in_world(world: World) -> Token {
        let probe = world.probe().initialized();
        let slot = probe.slot_of("alpha");
        let session = probe.user_session(&ALPHA);
        let rsa = rsa::RsaPrivateKey::new(&mut rand(), 2048).unwrap();
        Token { probe, session, slot, rsa, world }
    }

    fn create(&self, template: &[Attribute]) -> Result<u64, Ck> {
        let list = [attributes(template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = self.probe.call("C_CreateObject", [&[self.session.into()][..], &list].concat());
        if rv == CKR_OK { Ok(left[3].word()) } else { Err(Ck(rv)) }
    }

    /// The private half of the RSA key, in the TPM.
    fn rsa_private(&self) -> u64 {
        let part = |ty, number: &rsa::BigUint| bytes(ty, &number.to_bytes_be());
        let template = [
            number(CKA_CLASS, CKO_PRIVATE_KEY),
            number(CKA_KEY_TYPE, CKK_RSA),
            part(CKA_MODULUS, self.rsa.n()),
            part(CKA_PUBLIC_EXPONENT, self.rsa.e()),
            part(CKA_PRIVATE_EXPONENT, self.rsa.d()),
            part(CKA_PRIME_1, &self.rsa.primes()[0]),
            part(CKA_PRIME_2, &self.rsa.primes()[1]),
        ];
        self.create(&template).unwrap_or_else(|error| panic!("{error}\n{}", self.world.log()))
    }

    fn aes(&self, value: &[u8]) -> Result<u64, Ck> {
        let class = [number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), flag(CKA_TOKEN, true)];
        self.create(&[&class[..], &[bytes(CKA_VALUE, value)]].concat())
    }

    fn lists(&self, ty: u64) -> bool {
        let listed = self.probe.mechanisms(self.slot).unwrap().contains(&ty);
        assert_eq!(self.probe.mechanism_info(self.slot, ty).is_ok(), listed, "{ty:#x}");
        listed
    }

    fn does(&self, ty: u64, op: u64) -> bool {
        self.probe.mechanism_info(self.slot, ty).is_ok_and(|(_, _, flags)| flags & op != 0)
    }

    fn sign(&self, mechanism: Mechanism, key: u64, data: &[u8]) -> Result<Vec<u8>, Ck> {
        self.probe.sign(self.session, mechanism, key, data)
    }
}

fn rand() -> p256::elliptic_curve::rand_core::OsRng {
    p256::elliptic_curve::rand_core::OsRng
}

fn pss(ty: u64, salt: u64) -> Mechanism {
    Mechanism::pss(ty, CKM_SHA256, CKG_MGF1_SHA256, salt)
}

/// What RSA must do where the raw operation is refused.
fn rsa_by_schemes(token: &Token) {
    let (key, public) = (token.rsa_private(), token.rsa.to_public_key());
    let digest = sha2::Sha256::digest(MESSAGE).to_vec();

    let signature = token
        .sign(CKM_SHA256_RSA_PKCS.into(), key, MESSAGE)
        .unwrap_or_else(|error| panic!("{error}\n{}", token.world.log()));
    public.verify(rsa::Pkcs1v15Sign::new::<sha2::Sha256>(), &digest, &signature).unwrap();
    let info = [&hex("3031300d060960864801650304020105000420")[..], &digest].concat();
    assert_eq!(token.sign(CKM_RSA_PKCS.into(), key, &info).unwrap(), signature);
    let signature = token.sign(pss(CKM_SHA256_RSA_PKCS_PSS, 32), key, MESSAGE).unwrap();
    public.verify(rsa::Pss::new::<sha2::Sha256>(), &digest, &signature).unwrap();
    let signature = token.sign(pss(CKM_RSA_PKCS_PSS, 32), key, &digest).unwrap();
    public.verify(rsa::Pss::new::<sha2::Sha256>(), &digest, &signature).unwrap();

    let cipher = public.encrypt(&mut rand(), rsa::Oaep::new::<sha2::Sha256>(), MESSAGE).unwrap();
    let oaep = || Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
    assert_eq!(token.probe.decrypt(token.session, oaep(), key, &cipher).unwrap(), MESSAGE);
    let mut bad = cipher;
    bad[100] ^= 1;
    assert_eq!(token.probe.decrypt(token.session, oaep(), key, &bad), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)));
    let cipher = public.encrypt(&mut rand(), rsa::Pkcs1v15Encrypt, MESSAGE).unwrap();
    assert_eq!(token.probe.decrypt(token.session, CKM_RSA_PKCS, key, &cipher).unwrap(), MESSAGE);
    // A bad block decrypts to bytes that depend on key and block alone.
    let block = left_pad(&[7; 250], 256);
    let bad = tests::math::rsa_public(&token.rsa.n().to_bytes_be(), &token.rsa.e().to_bytes_be(), &block);
    let rejected = token.probe.decrypt(token.session, CKM_RSA_PKCS, key, &bad).unwrap();
    assert_ne!(rejected, MESSAGE);
    assert_eq!(token.probe.decrypt(token.session, CKM_RSA_PKCS, key, &bad).unwrap(), rejected);

    // What is impossible is said in the Init call, or of the data.
    let no = |code| Err(Ck(code));
    assert_eq!(token.probe.init("C_SignInit", token.session, CKM_RSA_X_509, key), no(CKR_MECHANISM_INVALID));
    assert_eq!(token.probe.init("C_DecryptInit", token.session, CKM_RSA_X_509, key), no(CKR_MECHANISM_INVALID));
    assert_eq!(token.probe.init("C_SignRecoverInit", token.session, CKM_RSA_X_509, key), no(CKR_MECHANISM_INVALID));
    let init = |mechanism: Mechanism| token.probe.init("C_SignInit", token.session, mechanism, key);
    assert_eq!(init(pss(CKM_SHA256_RSA_PKCS_PSS, 20)), no(CKR_MECHANISM_PARAM_INVALID));
    let mixed = Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA384, 32);
    assert_eq!(init(mixed), no(CKR_MECHANISM_PARAM_INVALID));
    let init = |mechanism: Mechanism| token.probe.init("C_DecryptInit", token.session, mechanism, key);
    assert_eq!(init(Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA1, b"")), no(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(init(Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label")), no(CKR_MECHANISM_PARAM_INVALID));
    assert_eq!(token.sign(CKM_RSA_PKCS.into(), key, MESSAGE), Err(Ck(CKR_DATA_INVALID)));
}

#[test]
fn without_raw_rsa_the_tpm_pads() {
    let token = Token::on(Chip::fips_host());
    rsa_by_schemes(&token);
    assert!(!token.lists(CKM_RSA_X_509) && token.lists(CKM_SHA256_RSA_PKCS) && token.lists(CKM_RSA_PKCS_OAEP));
    // SHA-224 is no hash of this TPM, and SHA-1 none that it signs.
    for ty in [CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS, CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS] {
        assert!(!token.lists(ty), "{ty:#x}");
        let init = token.probe.init("C_SignInit", token.session, pss(ty, 32), token.rsa_private());
        assert_eq!(init, Err(Ck(CKR_MECHANISM_INVALID)));
    }
    assert!(token.does(CKM_RSA_PKCS, CKF_SIGN) && token.does(CKM_RSA_PKCS, CKF_DECRYPT));
}

#[test]
fn a_store_that_does_not_know_finds_it_out_and_keeps_it() {
    let world = World::new();
    world.proxy.play(Chip::fips_host());
    let token = Token::in_world(world);
    assert!(token.lists(CKM_RSA_X_509));
    rsa_by_schemes(&token);
    assert!(!token.lists(CKM_RSA_X_509));
    // Another process knows it from the store.
    token.probe.finalize().unwrap();
    let again = Token::in_world(token.world);
    assert!(!again.lists(CKM_RSA_X_509));
    assert!(again.world.ptool_ok(&["doctor"]).text().contains("raw RSA"));
}

#[test]
fn without_test_parms_sizes_are_tried() {
    let token = Token::on(Chip::without_test_parms());
    let (least, most, _) = token.probe.mechanism_info(token.slot, CKM_RSA_PKCS).unwrap();
    assert_eq!((least, most), (1024, 3072));
    token.sign(CKM_SHA256_RSA_PKCS.into(), token.rsa_private(), MESSAGE).unwrap();
    let large = rsa::RsaPrivateKey::new(&mut rand(), 1536).unwrap();
    let token = Token { rsa: large, ..token };
    let part = |ty, number: &rsa::BigUint| bytes(ty, &number.to_bytes_be());
    let template = [
        number(CKA_CLASS, CKO_PRIVATE_KEY),
        number(CKA_KEY_TYPE, CKK_RSA),
        part(CKA_MODULUS, token.rsa.n()),
        part(CKA_PUBLIC_EXPONENT, token.rsa.e()),
        part(CKA_PRIVATE_EXPONENT, token.rsa.d()),
        part(CKA_PRIME_1, &token.rsa.primes()[0]),
        part(CKA_PRIME_2, &token.rsa.primes()[1]),
    ];
    assert_eq!(token.create(&template), Err(Ck(CKR_KEY_SIZE_RANGE)), "what cannot be made cannot be brought, either");
}

#[test]
fn a_busy_tpm_is_not_one_without_rsa() {
    let world = World::empty();
    // TPM_RC_TESTING, for longer than anybody waits.
    world.proxy.inject(swtpm_fixtures::Fault::Respond { code: 0x18a, rc: 0x90a, times: usize::MAX });
    let run = world.ptool(&["init"]);
    assert!(!run.success(), "{run:?}");
    world.proxy.clear_faults();
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", "--pid=1", "--label=alpha", "--sopin=so-alpha", "--userpin=user-alpha"]);
    assert!(Token::in_world(world).lists(CKM_RSA_PKCS), "nothing wrong is remembered");
}

#[test]
fn modes_are_made_of_cipher_feedback() {
    let token = Token::on(Chip::cfb_only());
    let value = [0x2b; 16];
    let key = token.aes(&value).unwrap();
    let memory = token
        .create(&[number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, CKK_AES), bytes(CKA_VALUE, &value)])
        .unwrap();
    let iv: [u8; 16] = std::array::from_fn(|at| 0xf0 + at as u8);
    let vector = |ty| Mechanism { ty, params: Some(tests::Memory::bytes(&iv)) };
    let ctr = || {
        let pieces = vec![tests::Piece::Word(128), tests::Piece::Bytes(iv.to_vec())];
        Mechanism { ty: CKM_AES_CTR, params: Some(tests::Memory::of(pieces)) }
    };
    let data: Vec<u8> = (0..1024_u32).map(|at| (at * 7 % 251) as u8).collect();
    let encrypt = |mechanism: Mechanism, key, data: &[u8]| {
        let cipher = token.probe.encrypt(token.session, mechanism.clone(), key, data);
        cipher.unwrap_or_else(|error| panic!("{mechanism:?}: {error}\n{}", token.world.log()))
    };
    let whole = &data[..1008];
    for mechanism in [CKM_AES_ECB.into(), vector(CKM_AES_CBC), vector(CKM_AES_CBC_PAD), vector(CKM_AES_CFB128)] {
        assert_eq!(encrypt(mechanism.clone(), key, whole), encrypt(mechanism, memory, whole));
    }
    for mechanism in [ctr(), vector(CKM_AES_OFB), vector(CKM_AES_CFB128)] {
        for len in [1, 16, 33, 1007, 1008, 1009, 1024] {
            let cipher = encrypt(mechanism.clone(), key, &data[..len]);
            assert_eq!(cipher, encrypt(mechanism.clone(), memory, &data[..len]), "{mechanism:?}, {len}");
            assert_eq!(token.probe.decrypt(token.session, mechanism.clone(), key, &cipher).unwrap(), &data[..len]);
        }
    }
    for len in [0, 1, 16, 32, 100] {
        let code = token.sign(CKM_AES_CMAC.into(), key, &data[..len]).unwrap();
        assert_eq!(code, token.sign(CKM_AES_CMAC.into(), memory, &data[..len]).unwrap(), "{len}");
    }
    // The inverse of the block function is not to be had.
    for mechanism in [CKM_AES_ECB.into(), vector(CKM_AES_CBC), vector(CKM_AES_CBC_PAD)] {
        let init = token.probe.init("C_DecryptInit", token.session, mechanism, key);
        assert_eq!(init, Err(Ck(CKR_MECHANISM_INVALID)));
    }
}

#[test]
fn without_sha512_nothing_is_made_for_it() {
    // SHA-512
    let token = Token::on(Chip::whole().without_algorithms(&[0x0d]));
    let addkey = |algorithm: &str| {
        let algorithm = format!("--algorithm={algorithm}");
        token.world.ptool(&["addkey", "--label=alpha", "--userpin=user-alpha", "--key-label=k", &algorithm])
    };
    assert!(addkey("hmac:sha256").success());
    let run = addkey("hmac:sha512");
    assert!(!run.success(), "{run:?}");
    let run = addkey("ecc521");
    assert!(run.success(), "{run:?}");
    let csr = ["csr", "--label=alpha", "--userpin=user-alpha", "--key-label=k", "--subject=CN=chip"];
    let run = token.world.ptool(&csr);
    assert!(run.success(), "{run:?}");
}

fn left_pad(number: &[u8], len: usize) -> Vec<u8> {
    [&vec![0; len - number.len()][..], number].concat()
}

fn hex(text: &str) -> Vec<u8> {
    tests::call::unhex(text).unwrap()
}
