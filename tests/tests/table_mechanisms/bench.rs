//! A logged-in client, keys whose values are known outside, and the calls that rows make.

use std::cell::Cell;

use pkcs11_sys::*;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use swtpm_fixtures::Chip;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World};
use tests::{Argument, Ck, Memory, Piece};

pub(crate) type Outcome<T> = Result<T, Ck>;

/// The client and its keys. Private keys are in the TPM, secret keys in memory.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) probe: Probe,
    pub(crate) session: u64,
    /// An RSA key that is also outside.
    pub(crate) rsa: rsa::PrivateKey,
    /// How signatures are made and verified.
    pub(crate) by: Cell<By>,
    /// The TPM decrypts AES in none of the modes that need the inverse of the block function.
    pub(crate) lacks_inverse: Cell<bool>,
    /// The TPM has no SHA-512.
    pub(crate) lacks_sha512: Cell<bool>,
}

/// The functions for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// `C_Sign`, `C_Verify`.
    Operation,
    /// `C_SignMessage`, `C_VerifyMessage`.
    Message,
    /// `C_SignMessageNext`, `C_VerifyMessageNext`.
    Parts,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::of(World::new().configured("idle-ms = 600000\n"))
    }

    /// The same with a token that was made on this chip.
    pub(crate) fn on(chip: Chip) -> Bench {
        let world = World::empty().configured("idle-ms = 600000\n");
        world.proxy.play(chip);
        world.ptool_ok(&["init"]);
        world.ptool_ok(&["addtoken", "--pid=1", "--label=alpha", "--sopin=so-alpha", "--userpin=user-alpha"]);
        Bench::of(world)
    }

    fn of(world: World) -> Bench {
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        let rsa = rsa::PrivateKey::new(&mut rng(), 2048).unwrap();
        Bench {
            world,
            probe,
            session,
            rsa,
            by: Cell::new(By::Operation),
            lacks_inverse: Cell::new(false),
            lacks_sha512: Cell::new(false),
        }
    }

    /// Does the token list this mechanism for this?
    pub(crate) fn advertises(&self, ty: u64, op: u64) -> bool {
        let slot = self.probe.slot_of("alpha");
        self.probe.mechanism_info(slot, ty).is_ok_and(|(_, _, flags)| flags & op != 0)
    }

    /// Is RSA done by the schemes of the TPM, and not by the raw operation?
    pub(crate) fn is_strict(&self) -> bool {
        !self.advertises(CKM_RSA_X_509, CKF_SIGN)
    }

    /// `C_CreateObject` of a session object.
    pub(crate) fn create(&self, template: &[Attribute]) -> u64 {
        let arguments =
            vec![self.session.into(), attributes(template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = self.probe.call("C_CreateObject", arguments);
        assert_eq!(Ck(rv), Ck(CKR_OK), "{}", self.world.log());
        left[3].word()
    }

    /// A secret session key that shows its value.
    pub(crate) fn secret(&self, key_type: u64, value: &[u8], more: &[Attribute]) -> u64 {
        let mut template = shown(key_type);
        template.push(bytes(CKA_VALUE, value));
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    /// The same key in the TPM.
    pub(crate) fn token_secret(&self, key_type: u64, value: &[u8], more: &[Attribute]) -> u64 {
        let mut template = vec![
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, key_type),
            flag(CKA_TOKEN, true),
            bytes(CKA_VALUE, value),
        ];
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    /// The public half of [`Bench::rsa`].
    pub(crate) fn rsa_public(&self, more: &[Attribute]) -> u64 {
        let mut template = vec![
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_RSA),
            bytes(CKA_MODULUS, &self.rsa.n_bytes()),
            bytes(CKA_PUBLIC_EXPONENT, &self.rsa.e_bytes()),
        ];
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    /// The private half.
    pub(crate) fn rsa_private(&self, more: &[Attribute]) -> u64 {
        let mut template = vec![
            number(CKA_CLASS, CKO_PRIVATE_KEY),
            number(CKA_KEY_TYPE, CKK_RSA),
            bytes(CKA_MODULUS, &self.rsa.n_bytes()),
            bytes(CKA_PUBLIC_EXPONENT, &self.rsa.e_bytes()),
            bytes(CKA_PRIVATE_EXPONENT, &self.rsa.d().to_be_bytes_trimmed_vartime()),
            bytes(CKA_PRIME_1, &self.rsa.primes()[0].to_be_bytes_trimmed_vartime()),
            bytes(CKA_PRIME_2, &self.rsa.primes()[1].to_be_bytes_trimmed_vartime()),
        ];
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    /// A private key on a curve given by its identifier in DER.
    pub(crate) fn ec_private(&self, curve: &[u8], value: &[u8], more: &[Attribute]) -> u64 {
        let mut template = vec![
            number(CKA_CLASS, CKO_PRIVATE_KEY),
            number(CKA_KEY_TYPE, CKK_EC),
            bytes(CKA_EC_PARAMS, curve),
            bytes(CKA_VALUE, value),
        ];
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    /// A public key on a curve, from a raw point.
    pub(crate) fn ec_public(&self, curve: &[u8], point: &[u8], more: &[Attribute]) -> u64 {
        let mut template = vec![
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_EC),
            bytes(CKA_EC_PARAMS, curve),
            bytes(CKA_EC_POINT, &[&[4, point.len() as u8][..], point].concat()),
        ];
        template.extend(more.iter().cloned());
        self.create(&template)
    }

    pub(crate) fn value(&self, key: u64) -> Vec<u8> {
        self.probe.attribute(self.session, key, CKA_VALUE).unwrap()
    }

    pub(crate) fn signature(&self, mechanism: &Mechanism, key: u64, data: &[u8]) -> Outcome<Vec<u8>> {
        if self.by.get() == By::Operation {
            return self.probe.sign(self.session, mechanism.clone(), key, data);
        }
        self.probe.init("C_MessageSignInit", self.session, mechanism.clone(), key)?;
        let head = |data: &[u8]| [self.message(), input(data)].concat();
        let signature = if self.by.get() == By::Message {
            self.probe.output("C_SignMessage", head(data), Some(1024))
        } else {
            let (first, rest) = data.split_at(data.len() / 2);
            self.probe.rv("C_SignMessageBegin", self.message())?;
            let part = [head(first), vec![Argument::NULL, Argument::NULL]].concat();
            self.probe.rv("C_SignMessageNext", part)?;
            self.probe.output("C_SignMessageNext", head(rest), Some(1024))
        };
        self.probe.rv("C_MessageSignFinal", vec![self.session.into()])?;
        signature.ok()
    }

    pub(crate) fn verify(&self, mechanism: &Mechanism, key: u64, data: &[u8], signature: &[u8]) -> Outcome<()> {
        if self.by.get() == By::Operation {
            let verified = self.probe.verify(self.session, mechanism.clone(), key, data, signature);
            for parts in [false, true] {
                let early = self.verify_early(mechanism, key, data, signature, parts);
                assert_eq!(early, verified, "{mechanism:?}: with the signature first, in parts: {parts}");
            }
            return verified;
        }
        self.probe.init("C_MessageVerifyInit", self.session, mechanism.clone(), key)?;
        let verified = if self.by.get() == By::Message {
            self.probe.rv("C_VerifyMessage", [self.message(), input(data), input(signature)].concat())
        } else {
            let (first, rest) = data.split_at(data.len() / 2);
            self.probe.rv("C_VerifyMessageBegin", self.message())?;
            let part = [self.message(), input(first), vec![Argument::NULL, Argument::NULL]].concat();
            self.probe.rv("C_VerifyMessageNext", part)?;
            self.probe.rv("C_VerifyMessageNext", [self.message(), input(rest), input(signature)].concat())
        };
        self.probe.rv("C_MessageVerifyFinal", vec![self.session.into()])?;
        verified
    }

    /// By `C_VerifySignature`, which takes every mechanism that `C_Verify` takes.
    fn verify_early(&self, mechanism: &Mechanism, key: u64, data: &[u8], signature: &[u8], parts: bool) -> Outcome<()> {
        let head = vec![self.session.into(), mechanism.argument(), key.into()];
        self.probe.rv("C_VerifySignatureInit", [head, input(signature)].concat())?;
        if !parts {
            return self.probe.update("C_VerifySignature", self.session, data);
        }
        let (first, rest) = data.split_at(data.len() / 2);
        for part in [first, rest] {
            self.probe.update("C_VerifySignatureUpdate", self.session, part)?;
        }
        self.probe.rv("C_VerifySignatureFinal", vec![self.session.into()])
    }

    /// `C_EncapsulateKey`: the ciphertext and the key.
    pub(crate) fn encapsulate(
        &self,
        mechanism: &Mechanism,
        public: u64,
        template: &[Attribute],
    ) -> Outcome<(Vec<u8>, u64)> {
        let [list, count] = pair(template);
        let head = vec![self.session.into(), mechanism.argument(), public.into(), list, count];
        let tail = vec![Argument::buffer(1024), Argument::place(1024), Argument::place(0)];
        let (rv, left) = self.probe.call("C_EncapsulateKey", [head, tail].concat());
        if rv != CKR_OK {
            return Err(Ck(rv));
        }
        Ok((left[5].content()[..left[6].word() as usize].to_vec(), left[7].word()))
    }

    /// `C_DecapsulateKey`
    pub(crate) fn decapsulate(
        &self,
        mechanism: &Mechanism,
        private: u64,
        cipher: &[u8],
        template: &[Attribute],
    ) -> Outcome<u64> {
        let [list, count] = pair(template);
        let head = vec![self.session.into(), mechanism.argument(), private.into(), list, count];
        self.handle("C_DecapsulateKey", [head, input(cipher)].concat())
    }

    /// The session, and no parameter: no mechanism that signs has one for each message.
    fn message(&self) -> Vec<Argument> {
        vec![self.session.into(), Argument::NULL, 0.into()]
    }

    /// A call whose last parameter takes a handle.
    fn handle(&self, function: &str, mut arguments: Vec<Argument>) -> Outcome<u64> {
        arguments.push(Argument::place(0));
        let (rv, left) = self.probe.call(function, arguments);
        if rv == CKR_OK { Ok(left.last().unwrap().word()) } else { Err(Ck(rv)) }
    }

    pub(crate) fn generate(&self, mechanism: &Mechanism, template: &[Attribute]) -> Outcome<u64> {
        let [list, count] = pair(template);
        self.handle("C_GenerateKey", vec![self.session.into(), mechanism.argument(), list, count])
    }

    pub(crate) fn derive(&self, mechanism: &Mechanism, base: u64, template: &[Attribute]) -> Outcome<u64> {
        let [list, count] = pair(template);
        self.handle("C_DeriveKey", vec![self.session.into(), mechanism.argument(), base.into(), list, count])
    }

    pub(crate) fn wrap(&self, mechanism: &Mechanism, wrapping: u64, key: u64) -> Outcome<Vec<u8>> {
        let head = vec![self.session.into(), mechanism.argument(), wrapping.into(), key.into()];
        self.probe.output("C_WrapKey", head, Some(2048)).ok()
    }

    pub(crate) fn unwrap(&self, mechanism: &Mechanism, unwrapping: u64, wrapped: &[u8], key_type: u64) -> Outcome<u64> {
        let [list, count] = pair(&shown(key_type));
        let wrapped = [Argument::bytes(wrapped), (wrapped.len() as u64).into()];
        let head = vec![self.session.into(), mechanism.argument(), unwrapping.into()];
        self.handle("C_UnwrapKey", [head, wrapped.to_vec(), vec![list, count]].concat())
    }

    pub(crate) fn recover(&self, kind: &str, mechanism: u64, key: u64, data: &[u8]) -> Vec<u8> {
        self.probe.init(&format!("C_{kind}RecoverInit"), self.session, mechanism, key).unwrap();
        self.probe.transform(&format!("C_{kind}Recover"), self.session, data).unwrap()
    }

    /// A key pair of the token's own, as session objects.
    pub(crate) fn generate_pair(&self, mechanism: &Mechanism, public: &[Attribute]) -> Outcome<(u64, u64)> {
        self.probe.generate_pair(self.session, mechanism.clone(), public, &[])
    }

    pub(crate) fn openssl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = tests::openssl::openssl(&self.world.path(""), arguments, input);
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

fn input(bytes: &[u8]) -> Vec<Argument> {
    vec![Argument::bytes(bytes), (bytes.len() as u64).into()]
}

fn pair(template: &[Attribute]) -> [Argument; 2] {
    [attributes(template), (template.len() as u64).into()]
}

/// A template of a secret key that shows its value.
pub(crate) fn shown(key_type: u64) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, key_type),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
    ]
}

pub(crate) fn rng() -> getrandom::SysRng {
    getrandom::SysRng
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    tests::call::unhex(text).unwrap()
}

/// A mechanism with its parameter.
pub(crate) fn with(ty: u64, pieces: Vec<Piece>) -> Mechanism {
    Mechanism { ty, params: Some(Memory::of(pieces)) }
}

/// A pointer and a length.
pub(crate) fn pointer(data: &[u8]) -> [Piece; 2] {
    if data.is_empty() {
        return [Piece::Word(0), Piece::Word(0)];
    }
    [Piece::Pointer(Memory::bytes(data)), Piece::Word(data.len() as u64)]
}

pub(crate) fn gcm(nonce: &[u8], aad: &[u8]) -> Mechanism {
    let [iv, iv_len] = pointer(nonce);
    let [aad, aad_len] = pointer(aad);
    with(CKM_AES_GCM, vec![iv, iv_len, Piece::Word(8 * nonce.len() as u64), aad, aad_len, Piece::Word(128)])
}

pub(crate) fn ecdh(ty: u64, kdf: u64, shared: &[u8], public: &[u8]) -> Mechanism {
    let [data, len] = pointer(shared);
    let [point, point_len] = pointer(public);
    with(ty, vec![Piece::Word(kdf), len, data, point_len, point])
}

pub(crate) fn hkdf(ty: u64, salt: &[u8], info: &[u8]) -> Mechanism {
    let [salt_at, salt_len] = pointer(salt);
    let [info_at, info_len] = pointer(info);
    let steps = Piece::Bytes(vec![1, 1, 0, 0, 0, 0, 0, 0]);
    let kind = if salt.is_empty() { CKF_HKDF_SALT_NULL } else { CKF_HKDF_SALT_DATA };
    let hash = Piece::Word(CKM_SHA256);
    with(ty, vec![steps, hash, Piece::Word(kind), salt_at, salt_len, Piece::Word(0), info_at, info_len])
}
