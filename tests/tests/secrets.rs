//! Secret keys: every mechanism with them, in the TPM and in memory, against OpenSSL's command line, RustCrypto and published
//! vectors.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use pkcs11_sys::*;
use tests::call::{hex, unhex};
use tests::openssl::openssl;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World, client};
use tests::{Argument, Ck, Memory, Piece};

const IV: [u8; 16] = [9; 16];

/// A logged-in client.
struct Bench {
    probe: Probe,
    session: u64,
    world: World,
}

impl Bench {
    fn new() -> Bench {
        let (world, probe) = client();
        let session = probe.user_session(&ALPHA);
        Bench { probe, session, world }
    }

    /// A secret key with a value that the test knows; as a token object it is in the TPM.
    fn secret(&self, key_type: u64, token: bool, value: &[u8], more: &[Attribute]) -> u64 {
        let mut template = shown(key_type);
        template.extend([flag(CKA_TOKEN, token), bytes(CKA_VALUE, value)]);
        if token {
            template.retain(|(ty, _)| ![CKA_SENSITIVE, CKA_EXTRACTABLE].contains(ty));
        }
        template.extend(more.iter().cloned());
        let arguments =
            vec![self.session.into(), attributes(&template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = self.probe.call("C_CreateObject", arguments);
        assert_eq!(Ck(rv), Ck(CKR_OK), "C_CreateObject\n{}", self.world.log());
        left[3].word()
    }

    fn value(&self, key: u64) -> Vec<u8> {
        self.probe.attribute(self.session, key, CKA_VALUE).unwrap()
    }

    fn derive(&self, mechanism: Mechanism, base: u64, len: usize) -> Result<Vec<u8>, Ck> {
        let data = mechanism.ty == CKM_HKDF_DATA;
        let mut template = if data { vec![number(CKA_CLASS, CKO_DATA)] } else { shown(CKK_GENERIC_SECRET) };
        if len > 0 {
            template.push(number(CKA_VALUE_LEN, len as u64));
        }
        let arguments = vec![
            self.session.into(),
            mechanism.argument(),
            base.into(),
            attributes(&template),
            (template.len() as u64).into(),
            Argument::place(0),
        ];
        let (rv, left) = self.probe.call("C_DeriveKey", arguments);
        if rv == CKR_OK { Ok(self.value(left[5].word())) } else { Err(Ck(rv)) }
    }

    fn wrap(&self, mechanism: &Mechanism, with: u64, key: u64) -> Result<Vec<u8>, Ck> {
        let head = vec![self.session.into(), mechanism.argument(), with.into(), key.into()];
        self.probe.output("C_WrapKey", head, Some(2048)).ok()
    }

    fn unwrap(&self, mechanism: &Mechanism, with: u64, wrapped: &[u8]) -> Result<u64, Ck> {
        let template = shown(CKK_AES);
        let arguments = vec![
            self.session.into(),
            mechanism.argument(),
            with.into(),
            Argument::bytes(wrapped),
            (wrapped.len() as u64).into(),
            attributes(&template),
            (template.len() as u64).into(),
            Argument::place(0),
        ];
        let (rv, left) = self.probe.call("C_UnwrapKey", arguments);
        if rv == CKR_OK { Ok(left[7].word()) } else { Err(Ck(rv)) }
    }

    /// Input in parts.
    fn in_parts(&self, kind: &str, mechanism: &Mechanism, key: u64, data: &[u8]) -> Vec<u8> {
        self.probe.init(&format!("C_{kind}Init"), self.session, mechanism.clone(), key).unwrap();
        let parts = data.chunks(7).map(|part| self.probe.transform(&format!("C_{kind}Update"), self.session, part));
        let mut out: Vec<u8> = parts.flat_map(Result::unwrap).collect();
        out.extend(self.probe.finish(&format!("C_{kind}Final"), self.session).unwrap());
        out
    }

    fn openssl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = openssl(&self.world.path(""), arguments, input);
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

/// A secret session key that shows its value.
fn shown(key_type: u64) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, key_type),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

fn with(ty: u64, pieces: Vec<Piece>) -> Mechanism {
    Mechanism { ty, params: Some(Memory::of(pieces)) }
}

fn iv(ty: u64) -> Mechanism {
    with(ty, vec![Piece::Bytes(IV.to_vec())])
}

fn pointer(data: &[u8]) -> [Piece; 2] {
    if data.is_empty() {
        return [Piece::Word(0), Piece::Word(0)];
    }
    [Piece::Pointer(Memory::bytes(data)), Piece::Word(data.len() as u64)]
}

#[test]
fn aes_modes() {
    let bench = Bench::new();
    let counter = with(CKM_AES_CTR, vec![Piece::Word(128), Piece::Bytes(IV.to_vec())]);
    let modes = [
        (Mechanism::plain(CKM_AES_ECB), "ecb", false),
        (iv(CKM_AES_CBC), "cbc", false),
        (iv(CKM_AES_CBC_PAD), "cbc", true),
        (counter, "ctr", false),
        (iv(CKM_AES_CFB128), "cfb", false),
        (iv(CKM_AES_OFB), "ofb", false),
    ];
    for (key_len, token) in [(16, false), (24, false), (32, false), (16, true)] {
        let value: Vec<u8> = (0..key_len).collect();
        let key = bench.secret(CKK_AES, token, &value, &[]);
        for (mechanism, mode, padded) in &modes {
            for len in [0, 1, 16, 40, 1100] {
                let stream = ["ctr", "cfb", "ofb"].contains(mode);
                let plain = vec![0x5a; if stream || *padded { len } else { len / 16 * 16 }];
                if plain.is_empty() && !padded {
                    continue;
                }
                let cipher = bench.probe.encrypt(bench.session, mechanism.clone(), key, &plain).unwrap();
                let (name, value, iv) = (format!("-aes-{}-{mode}", 8 * u32::from(key_len)), hex(&value), hex(&IV));
                let mut arguments = vec!["enc", &name, "-K", &value];
                if *mode != "ecb" {
                    arguments.extend(["-iv", &iv]);
                }
                if !padded {
                    arguments.push("-nopad");
                }
                assert_eq!(cipher, bench.openssl(&arguments, &plain), "{name} of {} bytes, token {token}", plain.len());
                if len < 100 {
                    assert_eq!(bench.in_parts("Encrypt", mechanism, key, &plain), cipher);
                    assert_eq!(bench.in_parts("Decrypt", mechanism, key, &cipher), plain);
                }
                assert_eq!(bench.probe.decrypt(bench.session, mechanism.clone(), key, &cipher).unwrap(), plain);
            }
        }
        for mechanism in [Mechanism::plain(CKM_AES_ECB), iv(CKM_AES_CBC)] {
            let odd = bench.probe.encrypt(bench.session, mechanism, key, &[1; 17]);
            assert_eq!(odd, Err(Ck(CKR_DATA_LEN_RANGE)));
        }
    }
}

#[test]
fn aes_gcm() {
    let bench = Bench::new();
    let gcm = |nonce: &[u8], aad: &[u8], tag_bits: u64| {
        let mut pieces = pointer(nonce).to_vec();
        pieces.push(Piece::Word(8 * nonce.len() as u64));
        pieces.extend(pointer(aad));
        pieces.push(Piece::Word(tag_bits));
        with(CKM_AES_GCM, pieces)
    };
    for token in [false, true] {
        let key = bench.secret(CKK_AES, token, &[7; 32], &[]);
        let other = aes_gcm::Aes256Gcm::new_from_slice(&[7; 32]).unwrap();
        for (aad, len) in [(&b""[..], 0), (b"", 100), (b"associated", 0), (b"associated", 1), (b"associated", 1000)] {
            let (plain, nonce) = (vec![3; len], [5; 12]);
            let mechanism = gcm(&nonce, aad, 128);
            let cipher = bench.probe.encrypt(bench.session, mechanism.clone(), key, &plain).unwrap();
            assert_eq!(cipher, other.encrypt(&nonce.into(), Payload { msg: &plain, aad }).unwrap());
            assert_eq!(bench.probe.decrypt(bench.session, mechanism.clone(), key, &cipher).unwrap(), plain);
            let mut bad = cipher.clone();
            bad[0] ^= 1;
            assert_eq!(bench.probe.decrypt(bench.session, mechanism, key, &bad), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)));
            let foreign = gcm(&nonce, b"other", 128);
            assert_eq!(bench.probe.decrypt(bench.session, foreign, key, &cipher), Err(Ck(CKR_ENCRYPTED_DATA_INVALID)));
        }
    }
}

#[test]
fn codes_with_keys() {
    let bench = Bench::new();
    let message =
        b"A message of some length, that is longer than one block of any hash that is used here, for certain.";
    let general = |ty: u64, len: u64| with(ty, vec![Piece::Word(len)]);
    let check = |mechanism: Mechanism, key: u64, expected: &[u8]| {
        let code = bench.probe.sign(bench.session, mechanism.clone(), key, message);
        let code = code.unwrap_or_else(|error| panic!("{mechanism:?}: {error}: {}", bench.world.log()));
        assert_eq!(code, expected, "{mechanism:?}");
        bench.probe.verify(bench.session, mechanism.clone(), key, message, &code).unwrap();
        let altered = bench.probe.verify(bench.session, mechanism.clone(), key, &message[1..], &code);
        assert_eq!(altered, Err(Ck(CKR_SIGNATURE_INVALID)));
        bench.probe.init("C_SignInit", bench.session, mechanism, key).unwrap();
        for part in message.chunks(9) {
            bench.probe.update("C_SignUpdate", bench.session, part).unwrap();
        }
        assert_eq!(bench.probe.finish("C_SignFinal", bench.session).unwrap(), expected);
    };
    for token in [false, true] {
        for (hash, plain, cut) in [
            ("sha1", CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL),
            ("sha224", CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL),
            ("sha256", CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL),
            ("sha384", CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL),
            ("sha512", CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL),
        ] {
            let key = bench.secret(CKK_GENERIC_SECRET, token, &[0x31; 32], &[]);
            if token && hash == "sha224" {
                // A key in the TPM takes the hashes of the TPM, and this one does not have it: said before any data comes.
                let refused = bench.probe.init("C_SignInit", bench.session, plain, key);
                assert_eq!(refused, Err(Ck(CKR_MECHANISM_INVALID)));
                continue;
            }
            let arguments = [
                "dgst",
                &format!("-{hash}"),
                "-binary",
                "-mac",
                "hmac",
                "-macopt",
                &format!("hexkey:{}", hex(&[0x31; 32])),
            ];
            let expected = bench.openssl(&arguments, message);
            check(plain.into(), key, &expected);
            check(general(cut, 10), key, &expected[..10]);
            bench.probe.destroy(bench.session, key).unwrap();
        }
        let key = bench.secret(CKK_AES, token, &[0x32; 16], &[]);
        let arguments =
            ["mac", "-cipher", "AES-128-CBC", "-macopt", &format!("hexkey:{}", hex(&[0x32; 16])), "-binary", "CMAC"];
        let expected = bench.openssl(&arguments, message);
        check(CKM_AES_CMAC.into(), key, &expected);
        check(general(CKM_AES_CMAC_GENERAL, 8), key, &expected[..8]);
    }
}

#[test]
fn keys_are_wrapped_and_unwrapped() {
    let bench = Bench::new();
    let usage = [flag(CKA_WRAP, true), flag(CKA_UNWRAP, true), flag(CKA_DECRYPT, false), flag(CKA_ENCRYPT, false)];
    let target = bench.secret(CKK_AES, false, &[7; 16], &[]);
    // RFC 3394 4.1
    let value = unhex("00112233445566778899aabbccddeeff").unwrap();
    let published = bench.secret(CKK_AES, false, &value, &[]);
    for token in [false, true] {
        let kek: Vec<u8> = (0..16).collect();
        let kek = bench.secret(CKK_AES, token, &kek, &usage);
        let wrapped = bench.wrap(&CKM_AES_KEY_WRAP.into(), kek, published).unwrap();
        assert_eq!(hex(&wrapped), "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
        for mechanism in
            [CKM_AES_KEY_WRAP.into(), CKM_AES_KEY_WRAP_PAD.into(), CKM_AES_KEY_WRAP_KWP.into(), iv(CKM_AES_CBC_PAD)]
        {
            let wrapped = bench.wrap(&mechanism, kek, target).unwrap();
            let back = bench.unwrap(&mechanism, kek, &wrapped);
            if token {
                // Otherwise whoever may use it could read all that it wraps.
                assert_eq!(back, Err(Ck(CKR_TEMPLATE_INCONSISTENT)), "{mechanism:?}");
            } else {
                assert_eq!(bench.value(back.unwrap()), [7; 16], "{mechanism:?}");
            }
            if mechanism.ty != CKM_AES_CBC_PAD && !token {
                let mut bad = wrapped.clone();
                bad[3] ^= 1;
                assert_eq!(bench.unwrap(&mechanism, kek, &bad), Err(Ck(CKR_WRAPPED_KEY_INVALID)));
            }
        }
        // What wraps does not decrypt: the wrapped key would come out.
        let decrypt = bench.probe.init("C_DecryptInit", bench.session, CKM_AES_ECB, kek);
        assert_eq!(decrypt, Err(Ck(CKR_KEY_FUNCTION_NOT_PERMITTED)));
        let unextractable = bench.secret(CKK_AES, false, &[8; 16], &[]);
        let less = [flag(CKA_EXTRACTABLE, false)];
        let arguments = vec![bench.session.into(), unextractable.into(), attributes(&less), 1.into()];
        bench.probe.rv("C_SetAttributeValue", arguments).unwrap();
        assert_eq!(bench.wrap(&CKM_AES_KEY_WRAP.into(), kek, unextractable), Err(Ck(CKR_KEY_UNEXTRACTABLE)));
    }
    // As mechanisms of encryption they do the same to data.
    let kek: Vec<u8> = (0..16).collect();
    let key = bench.secret(CKK_AES, false, &kek, &[]);
    let cipher = bench.probe.encrypt(bench.session, CKM_AES_KEY_WRAP, key, &value).unwrap();
    assert_eq!(hex(&cipher), "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
    for mechanism in [CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP_KWP] {
        let cipher = bench.probe.encrypt(bench.session, mechanism, key, &value).unwrap();
        assert_eq!(bench.probe.decrypt(bench.session, mechanism, key, &cipher).unwrap(), value);
    }
}

#[test]
fn keys_are_wrapped_by_rsa() {
    let bench = Bench::new();
    let usage = [flag(CKA_WRAP, true), flag(CKA_ENCRYPT, false), number(CKA_MODULUS_BITS, 2048)];
    let pair = |decrypts: bool| {
        let private = [flag(CKA_UNWRAP, true), flag(CKA_DECRYPT, decrypts)];
        bench.probe.generate_pair(bench.session, CKM_RSA_PKCS_KEY_PAIR_GEN, &usage, &private).unwrap()
    };
    let (public, private) = pair(true);
    let (other, only_unwraps) = pair(false);
    let target = bench.secret(CKK_AES, false, &[7; 32], &[]);
    for mechanism in [CKM_RSA_PKCS.into(), Mechanism::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"")] {
        let wrapped = bench.wrap(&mechanism, public, target).unwrap();
        let back = bench.unwrap(&mechanism, private, &wrapped).unwrap();
        assert_eq!(bench.value(back), [7; 32], "{mechanism:?}");
        // A key that does not decrypt does not do so by unwrapping.
        let wrapped = bench.wrap(&mechanism, other, target).unwrap();
        assert_eq!(bench.unwrap(&mechanism, only_unwraps, &wrapped), Err(Ck(CKR_TEMPLATE_INCONSISTENT)));
    }
}

#[test]
fn secrets_that_two_parties_share() {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let bench = Bench::new();
    // The world has no key on this curve.
    let named = [bytes(CKA_LABEL, b"p224")];
    let template = [&named[..], &[bytes(CKA_EC_PARAMS, base::curve::Curve::P224.oid_der())]].concat();
    bench.probe.generate_pair(bench.session, CKM_EC_KEY_PAIR_GEN, &template, &named).unwrap();
    let point = |label: &str| {
        let key = bench.probe.public_key(bench.session, label);
        let der = bench.probe.attribute(bench.session, key, CKA_EC_POINT).unwrap();
        let header = if der[1] < 0x80 { 2 } else { 3 };
        der[header..].to_vec()
    };
    macro_rules! party {
        ($curve:ident, $label:literal) => {{
            let secret =
                $curve::SecretKey::from_slice(&[&[0][..], &vec![0x11; point($label).len() / 2 - 1]].concat()).unwrap();
            let theirs = $curve::PublicKey::from_sec1_bytes(&point($label)).unwrap();
            let shared = $curve::ecdh::diffie_hellman(secret.to_nonzero_scalar(), theirs.as_affine());
            let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
            ($label, public, shared.raw_secret_bytes().to_vec())
        }};
    }
    // ANSI X9.63 3.6.1 with SHA-256
    let x963 = |secret: &[u8], info: &[u8], len: usize| {
        use sha2::Digest;
        let blocks =
            (1..=len.div_ceil(32) as u32).flat_map(|i| sha2::Sha256::digest([secret, &i.to_be_bytes(), info].concat()));
        blocks.take(len).collect::<Vec<u8>>()
    };
    let parties = [party!(p224, "p224"), party!(p256, "p256"), party!(p384, "p384"), party!(p521, "p521")];
    for (label, public, shared) in parties {
        let own = bench.probe.private_key(bench.session, label);
        if bench.probe.attribute(bench.session, own, CKA_DERIVE).unwrap() != [1] {
            let more = [flag(CKA_DERIVE, true)];
            let arguments = vec![bench.session.into(), own.into(), attributes(&more), 1.into()];
            bench.probe.rv("C_SetAttributeValue", arguments).unwrap();
        }
        let der = match public.len() {
            len @ 0..0x80 => [&[4, len as u8][..], &public].concat(),
            len => [&[4, 0x81, len as u8][..], &public].concat(),
        };
        for ty in [CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE] {
            for theirs in [&public, &der] {
                let ecdh = |kdf: u64, info: &[u8]| {
                    let [data, len] = pointer(info);
                    let [point, point_len] = pointer(theirs);
                    with(ty, vec![Piece::Word(kdf), len, data, point_len, point])
                };
                assert_eq!(bench.derive(ecdh(CKD_NULL, b""), own, 0).unwrap(), shared, "{label}");
                assert_eq!(bench.derive(ecdh(CKD_NULL, b""), own, 16).unwrap().len(), 16);
                let derived = bench.derive(ecdh(CKD_SHA256_KDF, b"info"), own, 80).unwrap();
                assert_eq!(derived, x963(&shared, b"info", 80), "{label}");
            }
        }
        // A point that is not on the curve tells nothing of the key.
        let mut bad = public.clone();
        *bad.last_mut().unwrap() ^= 1;
        let [point, len] = pointer(&bad);
        let ecdh = with(CKM_ECDH1_DERIVE, vec![Piece::Word(CKD_NULL), Piece::Word(0), Piece::Word(0), len, point]);
        assert_eq!(bench.derive(ecdh, own, 0), Err(Ck(CKR_MECHANISM_PARAM_INVALID)), "{label}");
    }
}

#[test]
fn openssl_has_the_same_secret() {
    let bench = Bench::new();
    for curve in base::curve::Curve::ALL {
        let template = [bytes(CKA_EC_PARAMS, curve.oid_der())];
        let derives = [flag(CKA_DERIVE, true)];
        let (public, private) =
            bench.probe.generate_pair(bench.session, CKM_EC_KEY_PAIR_GEN, &template, &derives).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let output = openssl(dir.path(), arguments, b"");
            assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
            output.stdout
        };
        let ours = bench.probe.attribute(bench.session, public, CKA_PUBLIC_KEY_INFO).unwrap();
        std::fs::write(dir.path().join("ours.der"), ours).unwrap();
        run(&["pkey", "-pubin", "-inform", "DER", "-in", "ours.der", "-out", "ours.pem"]);
        let group = format!("ec_paramgen_curve:{}", curve.name());
        run(&["genpkey", "-algorithm", "EC", "-pkeyopt", &group, "-out", "theirs.pem"]);
        let spki = run(&["pkey", "-in", "theirs.pem", "-pubout", "-outform", "DER"]);
        let theirs = &spki[spki.len() - 1 - 2 * curve.field_len()..];
        let shared = run(&["pkeyutl", "-derive", "-inkey", "theirs.pem", "-peerkey", "ours.pem"]);
        let [point, len] = pointer(theirs);
        let ecdh = with(CKM_ECDH1_DERIVE, vec![Piece::Word(CKD_NULL), Piece::Word(0), Piece::Word(0), len, point]);
        assert_eq!(bench.derive(ecdh, private, 0).unwrap(), shared, "{curve:?}");
    }
}

#[test]
fn secrets_from_secrets() {
    let bench = Bench::new();
    let usage = [flag(CKA_DERIVE, true)];
    let base = bench.secret(CKK_GENERIC_SECRET, false, &[0x0b; 22], &usage);
    // RFC 5869 A.1
    let hkdf = |extract: bool, expand: bool, salt: &[u8], info: &[u8]| {
        let [salt_at, salt_len] = pointer(salt);
        let [info_at, info_len] = pointer(info);
        let salt_type = if salt.is_empty() { CKF_HKDF_SALT_NULL } else { CKF_HKDF_SALT_DATA };
        let flags = vec![u8::from(extract), u8::from(expand), 0, 0, 0, 0, 0, 0];
        let words = vec![
            Piece::Bytes(flags),
            Piece::Word(CKM_SHA256),
            Piece::Word(salt_type),
            salt_at,
            salt_len,
            Piece::Word(0),
            info_at,
            info_len,
        ];
        with(CKM_HKDF_DERIVE, words)
    };
    let salt: Vec<u8> = (0..=12).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let okm = bench.derive(hkdf(true, true, &salt, &info), base, 42).unwrap();
    assert_eq!(hex(&okm), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    let prk = bench.derive(hkdf(true, false, &salt, b""), base, 32).unwrap();
    assert_eq!(hex(&prk), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    // The same as data.
    let data = Mechanism { ty: CKM_HKDF_DATA, ..hkdf(true, true, &salt, &info) };
    assert_eq!(bench.derive(data, base, 42).unwrap(), okm);
    // A.3: without salt and information
    let okm = bench.derive(hkdf(true, true, b"", b""), base, 42).unwrap();
    assert_eq!(hex(&okm), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");

    let data = |ty: u64, data: &[u8]| with(ty, pointer(data).to_vec());
    let base_and = [&[0x0b; 22][..], b"data"].concat();
    assert_eq!(bench.derive(data(CKM_CONCATENATE_BASE_AND_DATA, b"data"), base, 0).unwrap(), base_and);
    let data_and = [&b"data"[..], &[0x0b; 22]].concat();
    assert_eq!(bench.derive(data(CKM_CONCATENATE_DATA_AND_BASE, b"data"), base, 0).unwrap(), data_and);
    assert_eq!(bench.derive(data(CKM_XOR_BASE_AND_DATA, &[0xff; 22]), base, 0).unwrap(), [0xf4; 22]);
    let other = bench.secret(CKK_GENERIC_SECRET, false, &[1; 8], &usage);
    let joined = bench.derive(with(CKM_CONCATENATE_BASE_AND_KEY, vec![Piece::Word(other)]), base, 0).unwrap();
    assert_eq!(joined, [&[0x0b; 22][..], &[1; 8]].concat());
}

#[test]
fn secret_keys_are_made() {
    let bench = Bench::new();
    for (mechanism, key_type) in
        [(CKM_AES_KEY_GEN, CKK_AES), (CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET), (CKM_HKDF_KEY_GEN, CKK_HKDF)]
    {
        let make = |token: bool, len: u64| {
            let mut template = shown(key_type);
            template.extend([flag(CKA_TOKEN, token), number(CKA_VALUE_LEN, len)]);
            if token {
                template.retain(|(ty, _)| ![CKA_SENSITIVE, CKA_EXTRACTABLE].contains(ty));
            }
            let head = vec![bench.session.into(), Mechanism::plain(mechanism).argument()];
            let rest = [attributes(&template), (template.len() as u64).into(), Argument::place(0)];
            let (rv, left) = bench.probe.call("C_GenerateKey", head.into_iter().chain(rest).collect());
            if rv == CKR_OK { Ok(left[4].word()) } else { Err(Ck(rv)) }
        };
        let (one, other) = (make(false, 32).unwrap(), make(false, 32).unwrap());
        assert!(bench.value(one).len() == 32 && bench.value(one) != bench.value(other));
        let kept = make(true, 32).unwrap();
        assert_eq!(bench.probe.attribute(bench.session, kept, CKA_VALUE), Err(Ck(CKR_ATTRIBUTE_SENSITIVE)));
        if key_type == CKK_AES {
            let cipher = bench.probe.encrypt(bench.session, CKM_AES_ECB, kept, &[1; 16]).unwrap();
            assert_eq!(bench.probe.decrypt(bench.session, CKM_AES_ECB, kept, &cipher).unwrap(), [1; 16]);
            assert!(make(false, 17).is_err(), "no AES key has 17 bytes");
        } else if key_type == CKK_GENERIC_SECRET {
            let code = bench.probe.sign(bench.session, CKM_SHA256_HMAC, kept, b"message").unwrap();
            bench.probe.verify(bench.session, CKM_SHA256_HMAC, kept, b"message", &code).unwrap();
        }
    }
}
