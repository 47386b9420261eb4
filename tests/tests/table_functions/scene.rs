//! What the rows work with: a token, a session for each case, and keys in the TPM and in memory.

use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World};
use tests::{Argument, Memory, Piece};

/// The value of the AES keys, in the TPM and in memory.
pub(crate) const VALUE: [u8; 16] = [7; 16];
/// Four blocks and a bit.
pub(crate) const MESSAGE: &[u8] = b"The quick brown fox jumps over the lazy dog, and nobody saw its key.";
const IV: [u8; 16] = [9; 16];

/// The world of the rows, and the state of one case.
pub(crate) struct Scene {
    pub(crate) world: World,
    /// The process under test. A case may work with another one: see [`Scene::apart`].
    pub(crate) probe: Probe,
    main: Option<Probe>,
    /// The slots of the tokens [`ALPHA`], whose user is logged in, and [`tests::world::BETA`], which has no session between
    /// two cases.
    pub(crate) slot: u64,
    pub(crate) beta: u64,
    /// Keeps login and keys.
    pub(crate) anchor: u64,
    /// A read/write session of the case's own.
    pub(crate) session: u64,
    /// Further things that a case sets for the arguments.
    pub(crate) target: u64,
    pub(crate) flags: u64,
    pub(crate) user: u64,
    pub(crate) object: u64,
    pub(crate) on_token: bool,
    pub(crate) private: bool,
    pub(crate) note: Vec<u8>,
    pub(crate) rsa: (u64, u64),
    pub(crate) ec: (u64, u64),
    /// AES keys: in the TPM, in the TPM to wrap with, in memory, in memory to wrap with.
    pub(crate) aes: u64,
    pub(crate) kek: u64,
    pub(crate) memory: u64,
    pub(crate) memory_kek: u64,
    /// A generic secret in memory.
    pub(crate) secret: u64,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        // What is held is kept for longer than the test takes: no command comes by itself.
        let world = World::new().configured("idle-ms = 600000\n");
        let probe = world.probe().initialized();
        let anchor = probe.user_session(&ALPHA);
        let pair = |label: &str| (probe.public_key(anchor, label), probe.private_key(anchor, label));
        let (rsa, ec) = (pair("rsa"), pair("p256"));
        let (slot, beta) = (probe.slot_of("alpha"), probe.slot_of("beta"));
        let mut scene = Scene {
            slot,
            beta,
            anchor,
            rsa,
            ec,
            world,
            probe,
            main: None,
            session: 0,
            target: 0,
            flags: 0,
            user: CKU_USER,
            object: 0,
            on_token: false,
            private: false,
            note: Vec::new(),
            aes: 0,
            kek: 0,
            memory: 0,
            memory_kek: 0,
            secret: 0,
        };
        let shown = [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
        let wraps = [flag(CKA_WRAP, true), flag(CKA_UNWRAP, true)];
        scene.aes = scene.secret(CKK_AES, &[flag(CKA_TOKEN, true)]);
        scene.kek = scene.secret(CKK_AES, &[&[flag(CKA_TOKEN, true)][..], &wraps].concat());
        scene.memory = scene.secret(CKK_AES, &shown);
        scene.memory_kek = scene.secret(CKK_AES, &[&shown[..], &wraps].concat());
        scene.secret = scene.secret(CKK_GENERIC_SECRET, &[&shown[..], &[flag(CKA_DERIVE, true)]].concat());
        scene
    }

    /// Runs one case, in a session of its own.
    pub(crate) fn case(&mut self, run: impl FnOnce(&mut Scene)) {
        self.session = self.probe.open_rw(self.slot);
        self.target = self.slot;
        self.flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        self.user = CKU_USER;
        self.object = 0;
        self.on_token = false;
        self.private = false;
        self.note.clear();
        run(self);
        if let Some(main) = self.main.take() {
            self.probe = main;
        }
        let _ = self.probe.close(self.session);
        self.probe.close_all(self.beta).unwrap();
    }

    /// From here on the case works with another process.
    pub(crate) fn apart(&mut self, initialized: bool) {
        let probe = self.world.probe();
        let other = if initialized { probe.initialized() } else { probe };
        self.main = Some(std::mem::replace(&mut self.probe, other));
    }

    /// From here on the case's session is one on the other token, where nobody is logged in.
    pub(crate) fn on_beta(&mut self) {
        self.probe.close(self.session).unwrap();
        self.target = self.beta;
        self.session = self.probe.open_rw(self.beta);
    }

    /// From here on the case's session is a read-only one.
    pub(crate) fn read_only(&mut self) {
        self.probe.close(self.session).unwrap();
        self.session = self.probe.open_ro(self.slot);
    }

    /// `C_...Init`, which must succeed.
    pub(crate) fn init(&self, function: &str, mechanism: impl Into<Mechanism>, key: u64) {
        self.probe.init(function, self.session, mechanism, key).unwrap();
    }

    pub(crate) fn digest_init(&self) {
        let arguments = vec![self.session.into(), Mechanism::plain(CKM_SHA256).argument()];
        self.probe.rv("C_DigestInit", arguments).unwrap();
    }

    /// The ciphertext of [`MESSAGE`] under [`VALUE`], in CBC with padding.
    pub(crate) fn ciphertext(&self) -> Vec<u8> {
        self.probe.encrypt(self.anchor, cbc_pad(), self.memory, MESSAGE).unwrap()
    }

    /// A signature of [`MESSAGE`].
    pub(crate) fn signature(&self) -> Vec<u8> {
        self.probe.sign(self.anchor, CKM_SHA256_RSA_PKCS, self.rsa.1, MESSAGE).unwrap()
    }

    /// SHA-256 of [`MESSAGE`].
    pub(crate) fn digest(&self) -> Vec<u8> {
        use sha2::Digest;
        sha2::Sha256::digest(MESSAGE).to_vec()
    }

    /// A secret key with [`VALUE`].
    fn secret(&self, key_type: u64, more: &[Attribute]) -> u64 {
        let mut template =
            vec![number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, key_type), bytes(CKA_VALUE, &VALUE)];
        template.extend(more.iter().cloned());
        self.create(self.anchor, &template)
    }

    /// `C_CreateObject`, which must succeed.
    pub(crate) fn create(&self, session: u64, template: &[Attribute]) -> u64 {
        let arguments = vec![session.into(), attributes(template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = self.probe.call("C_CreateObject", arguments);
        assert_eq!(rv, CKR_OK, "{}", self.world.log());
        left[3].word()
    }

    /// A data object, on the token or of the case's session.
    pub(crate) fn data(&mut self, on_token: bool) -> u64 {
        let template = [number(CKA_CLASS, CKO_DATA), flag(CKA_TOKEN, on_token), bytes(CKA_LABEL, b"datum")];
        self.object = self.create(self.anchor, &template);
        self.object
    }

    /// The value of a secret in memory.
    pub(crate) fn value(&self, key: u64) -> Vec<u8> {
        self.probe.attribute(self.anchor, key, CKA_VALUE).unwrap()
    }
}

/// A mechanism with its parameter.
pub(crate) fn with(ty: u64, pieces: Vec<Piece>) -> Mechanism {
    Mechanism { ty, params: Some(Memory::of(pieces)) }
}

/// AES in CBC.
pub(crate) fn cbc() -> Mechanism {
    with(CKM_AES_CBC, vec![Piece::Bytes(IV.to_vec())])
}

/// AES in CBC with padding.
pub(crate) fn cbc_pad() -> Mechanism {
    with(CKM_AES_CBC_PAD, vec![Piece::Bytes(IV.to_vec())])
}

/// Input bytes as two arguments.
pub(crate) fn input(bytes: &[u8]) -> [Argument; 2] {
    [Argument::bytes(bytes), (bytes.len() as u64).into()]
}

/// A template as two arguments.
pub(crate) fn template(attributes_: &[Attribute]) -> [Argument; 2] {
    [attributes(attributes_), (attributes_.len() as u64).into()]
}

/// Room for any result, as two arguments.
pub(crate) fn room() -> [Argument; 2] {
    [Argument::buffer(1024), Argument::place(1024)]
}

/// Arguments from single ones and pairs.
pub(crate) fn list(parts: &[&[Argument]]) -> Vec<Argument> {
    parts.concat()
}

/// What a call wrote into the buffer at this place.
pub(crate) fn result(left: &[Argument], place: usize) -> Vec<u8> {
    left[place].content()[..left[place + 1].word() as usize].to_vec()
}
