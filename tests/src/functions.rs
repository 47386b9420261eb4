//! The functions of the interface, one method of [`Probe`] each.

use pkcs11_sys::*;

use crate::call::{Argument, FILL, Memory, Piece};
use crate::probe::{
    Attribute, Mechanism, Output, Probe, Result, TokenInfo, attributes, bytes, check, number, words_of, words_place,
};

/// How long the buffers of calls are that want a result and not its length.
const ROOM: usize = 2048;

/// The functions, one method each. Methods take the buffers for granted; what is about buffers uses [`Probe::output`].
impl Probe {
    /// `C_Initialize(NULL)`
    pub fn initialize(&self) -> Result<()> {
        self.rv("C_Initialize", vec![Argument::NULL])
    }

    /// `C_Initialize(NULL)`, which must succeed.
    pub fn initialized(self) -> Probe {
        self.initialize().unwrap();
        self
    }

    /// `C_Finalize`
    pub fn finalize(&self) -> Result<()> {
        self.rv("C_Finalize", vec![Argument::NULL])
    }

    /// `C_GetSlotList`
    pub fn slots(&self, present: bool) -> Result<Vec<u64>> {
        self.words("C_GetSlotList", vec![Argument::Word(present.into())])
    }

    /// A list of words: its length is asked first.
    pub fn words(&self, function: &str, head: Vec<Argument>) -> Result<Vec<u64>> {
        let length = self.output(function, head.clone(), None);
        check(length.rv)?;
        let mut arguments = head;
        arguments.push(Argument::buffer(8 * length.len as usize));
        arguments.push(Argument::place(length.len));
        let (rv, arguments) = self.call(function, arguments);
        check(rv)?;
        let [.., list, count] = arguments.as_slice() else { panic!() };
        let words = list.content().chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        Ok(words.take(count.word() as usize).collect())
    }

    /// `C_GetTokenInfo`
    pub fn token_info(&self, slot: u64) -> Result<TokenInfo> {
        let (rv, arguments) =
            self.call("C_GetTokenInfo", vec![slot.into(), Argument::buffer(size_of::<CK_TOKEN_INFO>())]);
        check(rv)?;
        let info = arguments[1].content();
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&info[range]).unwrap().trim_end().to_owned();
        let word = |index: usize| u64::from_ne_bytes(info[96 + 8 * index..][..8].try_into().unwrap());
        Ok(TokenInfo {
            label: text(0..32),
            manufacturer: text(32..64),
            model: text(64..80),
            serial: text(80..96),
            flags: word(0),
            sessions: word(2),
            rw_sessions: word(4),
            max_pin: word(5),
            min_pin: word(6),
        })
    }

    /// The slot of the token with this label.
    pub fn slot_of(&self, label: &str) -> u64 {
        let slots = self.slots(true).unwrap();
        let found = slots.iter().find(|slot| self.token_info(**slot).is_ok_and(|info| info.label == label));
        *found.unwrap_or_else(|| panic!("no token {label} in {slots:?}"))
    }

    /// `C_GetMechanismList`
    pub fn mechanisms(&self, slot: u64) -> Result<Vec<u64>> {
        self.words("C_GetMechanismList", vec![slot.into()])
    }

    /// `C_GetMechanismInfo`: least and greatest key size, flags.
    pub fn mechanism_info(&self, slot: u64, mechanism: u64) -> Result<(u64, u64, u64)> {
        let (rv, arguments) = self.call("C_GetMechanismInfo", vec![slot.into(), mechanism.into(), words_place(3)]);
        check(rv)?;
        let words = words_of(&arguments[2]);
        Ok((words[0], words[1], words[2]))
    }

    /// `C_OpenSession`
    pub fn open(&self, slot: u64, flags: u64) -> Result<u64> {
        let (rv, arguments) = self
            .call("C_OpenSession", vec![slot.into(), flags.into(), Argument::NULL, Argument::NULL, Argument::place(0)]);
        check(rv).map(|()| arguments[4].word())
    }

    /// A read/write session.
    pub fn open_rw(&self, slot: u64) -> u64 {
        self.open(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION).unwrap()
    }

    /// A read-only session.
    pub fn open_ro(&self, slot: u64) -> u64 {
        self.open(slot, CKF_SERIAL_SESSION).unwrap()
    }

    /// A read/write session on the token with this label, the user being logged in.
    pub fn user_session(&self, token: &crate::world::Token) -> u64 {
        let session = self.open_rw(self.slot_of(token.label));
        if let Some(pin) = token.user_pin {
            self.login(session, CKU_USER, pin).unwrap();
        }
        session
    }

    /// `C_CloseSession`
    pub fn close(&self, session: u64) -> Result<()> {
        self.rv("C_CloseSession", vec![session.into()])
    }

    /// `C_CloseAllSessions`
    pub fn close_all(&self, slot: u64) -> Result<()> {
        self.rv("C_CloseAllSessions", vec![slot.into()])
    }

    /// `C_GetSessionInfo`: slot, state, flags.
    pub fn session_info(&self, session: u64) -> Result<(u64, u64, u64)> {
        let (rv, arguments) = self.call("C_GetSessionInfo", vec![session.into(), words_place(4)]);
        check(rv)?;
        let words = words_of(&arguments[1]);
        Ok((words[0], words[1], words[2]))
    }

    /// The state of a session, `CKS_...`
    pub fn state(&self, session: u64) -> u64 {
        self.session_info(session).unwrap().1
    }

    /// `C_Login`
    pub fn login(&self, session: u64, user: u64, pin: &str) -> Result<()> {
        self.rv(
            "C_Login",
            vec![session.into(), user.into(), Argument::bytes(pin.as_bytes()), (pin.len() as u64).into()],
        )
    }

    /// `C_Logout`
    pub fn logout(&self, session: u64) -> Result<()> {
        self.rv("C_Logout", vec![session.into()])
    }

    /// `C_InitToken`
    pub fn init_token(&self, slot: u64, so_pin: &str, label: &str) -> Result<()> {
        let label = format!("{label:<32}");
        let pin = so_pin.as_bytes();
        self.rv(
            "C_InitToken",
            vec![slot.into(), Argument::bytes(pin), (pin.len() as u64).into(), Argument::bytes(label.as_bytes())],
        )
    }

    /// `C_InitPIN`
    pub fn init_pin(&self, session: u64, pin: &str) -> Result<()> {
        self.rv("C_InitPIN", vec![session.into(), Argument::bytes(pin.as_bytes()), (pin.len() as u64).into()])
    }

    /// `C_SetPIN`
    pub fn set_pin(&self, session: u64, old: &str, new: &str) -> Result<()> {
        self.rv("C_SetPIN", pin_arguments(session, old, new))
    }

    /// The same, which must succeed unless the process is killed while it goes on: then it is `None`.
    pub fn try_set_pin(&self, session: u64, old: &str, new: &str) -> Option<()> {
        self.try_call("C_SetPIN", pin_arguments(session, old, new)).map(drop)
    }

    /// `C_FindObjectsInit`
    pub fn find_init(&self, session: u64, template: &[Attribute]) -> Result<()> {
        self.rv("C_FindObjectsInit", vec![session.into(), attributes(template), (template.len() as u64).into()])
    }

    /// `C_FindObjects`
    pub fn find_next(&self, session: u64, max: usize) -> Result<Vec<u64>> {
        let (rv, arguments) =
            self.call("C_FindObjects", vec![session.into(), words_place(max), (max as u64).into(), Argument::place(0)]);
        check(rv)?;
        Ok(words_of(&arguments[1])[..arguments[3].word() as usize].to_vec())
    }

    /// `C_FindObjectsFinal`
    pub fn find_final(&self, session: u64) -> Result<()> {
        self.rv("C_FindObjectsFinal", vec![session.into()])
    }

    /// A whole search.
    pub fn find(&self, session: u64, template: &[Attribute]) -> Result<Vec<u64>> {
        self.find_init(session, template)?;
        let mut found = Vec::new();
        loop {
            let more = self.find_next(session, 16)?;
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        self.find_final(session)?;
        Ok(found)
    }

    /// The only object of a class with a label.
    pub fn key(&self, session: u64, class: u64, label: &str) -> u64 {
        match self.find(session, &[number(CKA_CLASS, class), bytes(CKA_LABEL, label.as_bytes())]).unwrap().as_slice() {
            [object] => *object,
            other => panic!("{label}: {other:?}"),
        }
    }

    /// The private key with a label.
    pub fn private_key(&self, session: u64, label: &str) -> u64 {
        self.key(session, CKO_PRIVATE_KEY, label)
    }

    /// The public key with a label.
    pub fn public_key(&self, session: u64, label: &str) -> u64 {
        self.key(session, CKO_PUBLIC_KEY, label)
    }

    /// `C_GetAttributeValue` with the given room for each attribute (`None`: a null pointer). The return value, and for each
    /// its length and buffer.
    pub fn get_attributes(
        &self,
        session: u64,
        object: u64,
        wanted: &[(u64, Option<usize>)],
    ) -> (u64, Vec<(u64, Vec<u8>)>) {
        let pieces = wanted.iter().flat_map(|(ty, room)| {
            let pointer = room.map_or(Piece::Word(0), |room| Piece::Pointer(Memory::bytes(&vec![FILL; room])));
            [Piece::Word(*ty), pointer, Piece::Word(room.unwrap_or(0) as u64)]
        });
        let template = Argument::Pointer(Memory::of(pieces.collect()));
        let arguments = vec![session.into(), object.into(), template, (wanted.len() as u64).into()];
        let (rv, arguments) = self.call("C_GetAttributeValue", arguments);
        let Argument::Pointer(memory) = &arguments[2] else { panic!() };
        let values = memory.pieces.chunks(3).map(|row| match row {
            [_, pointer, Piece::Word(len)] => {
                let buffer = match pointer {
                    Piece::Pointer(memory) => Argument::Pointer(memory.clone()).content().to_vec(),
                    _ => Vec::new(),
                };
                (*len, buffer)
            }
            other => panic!("{other:?}"),
        });
        (rv, values.collect())
    }

    /// One attribute's value.
    pub fn attribute(&self, session: u64, object: u64, ty: u64) -> Result<Vec<u8>> {
        let (rv, values) = self.get_attributes(session, object, &[(ty, Some(ROOM))]);
        check(rv)?;
        let (len, buffer) = values.into_iter().next().unwrap();
        Ok(buffer[..len as usize].to_vec())
    }

    /// `C_GenerateKeyPair`: public and private.
    pub fn generate_pair(
        &self,
        session: u64,
        mechanism: impl Into<Mechanism>,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(u64, u64)> {
        let (rv, arguments) =
            self.call("C_GenerateKeyPair", pair_arguments(session, mechanism.into(), public, private));
        check(rv).map(|()| (arguments[6].word(), arguments[7].word()))
    }

    /// The same, which must succeed unless the process is killed while it goes on: then it is `None`.
    pub fn try_generate_pair(
        &self,
        session: u64,
        mechanism: impl Into<Mechanism>,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Option<(u64, u64)> {
        let arguments =
            self.try_call("C_GenerateKeyPair", pair_arguments(session, mechanism.into(), public, private))?;
        Some((arguments[6].word(), arguments[7].word()))
    }

    /// `C_DestroyObject`
    pub fn destroy(&self, session: u64, object: u64) -> Result<()> {
        self.rv("C_DestroyObject", vec![session.into(), object.into()])
    }

    /// `C_GenerateRandom`
    pub fn random(&self, session: u64, len: usize) -> Result<Vec<u8>> {
        let (rv, arguments) =
            self.call("C_GenerateRandom", vec![session.into(), Argument::buffer(len), (len as u64).into()]);
        check(rv).map(|()| arguments[1].content().to_vec())
    }

    /// `C_...Init`
    pub fn init(&self, function: &str, session: u64, mechanism: impl Into<Mechanism>, key: u64) -> Result<()> {
        self.rv(function, vec![session.into(), mechanism.into().argument(), key.into()])
    }

    /// `C_SignInit` and `C_Sign`
    pub fn sign(&self, session: u64, mechanism: impl Into<Mechanism>, key: u64, data: &[u8]) -> Result<Vec<u8>> {
        self.init("C_SignInit", session, mechanism, key)?;
        self.transform("C_Sign", session, data)
    }

    /// `C_DecryptInit` and `C_Decrypt`
    pub fn decrypt(&self, session: u64, mechanism: impl Into<Mechanism>, key: u64, cipher: &[u8]) -> Result<Vec<u8>> {
        self.init("C_DecryptInit", session, mechanism, key)?;
        self.transform("C_Decrypt", session, cipher)
    }

    /// `C_EncryptInit` and `C_Encrypt`
    pub fn encrypt(&self, session: u64, mechanism: impl Into<Mechanism>, key: u64, plain: &[u8]) -> Result<Vec<u8>> {
        self.init("C_EncryptInit", session, mechanism, key)?;
        self.transform("C_Encrypt", session, plain)
    }

    /// `C_DigestInit` and `C_Digest`
    pub fn digest(&self, session: u64, mechanism: impl Into<Mechanism>, data: &[u8]) -> Result<Vec<u8>> {
        self.rv("C_DigestInit", vec![session.into(), mechanism.into().argument()])?;
        self.transform("C_Digest", session, data)
    }

    /// `C_VerifyInit` and `C_Verify`
    pub fn verify(
        &self,
        session: u64,
        mechanism: impl Into<Mechanism>,
        key: u64,
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        self.init("C_VerifyInit", session, mechanism, key)?;
        let mut arguments = vec![Argument::Word(session)];
        for bytes in [data, signature] {
            arguments.extend([Argument::bytes(bytes), (bytes.len() as u64).into()]);
        }
        self.rv("C_Verify", arguments)
    }

    /// A call with input and output, of an active operation.
    pub fn transform(&self, function: &str, session: u64, data: &[u8]) -> Result<Vec<u8>> {
        self.transform_into(function, session, data, Some(ROOM)).ok()
    }

    /// The same with a buffer of a given size, or none.
    pub fn transform_into(&self, function: &str, session: u64, data: &[u8], room: Option<usize>) -> Output {
        self.output(function, vec![session.into(), Argument::bytes(data), (data.len() as u64).into()], room)
    }

    /// `C_...Update` without output.
    pub fn update(&self, function: &str, session: u64, part: &[u8]) -> Result<()> {
        self.rv(function, vec![session.into(), Argument::bytes(part), (part.len() as u64).into()])
    }

    /// `C_...Final` with output.
    pub fn finish(&self, function: &str, session: u64) -> Result<Vec<u8>> {
        self.output(function, vec![session.into()], Some(ROOM)).ok()
    }
}

fn pair_arguments(session: u64, mechanism: Mechanism, public: &[Attribute], private: &[Attribute]) -> Vec<Argument> {
    let mut arguments = vec![session.into(), mechanism.argument()];
    for template in [public, private] {
        arguments.extend([attributes(template), (template.len() as u64).into()]);
    }
    arguments.extend([Argument::place(0), Argument::place(0)]);
    arguments
}

fn pin_arguments(session: u64, old: &str, new: &str) -> Vec<Argument> {
    let mut arguments = vec![Argument::Word(session)];
    for pin in [old, new] {
        arguments.extend([Argument::bytes(pin.as_bytes()), (pin.len() as u64).into()]);
    }
    arguments
}
