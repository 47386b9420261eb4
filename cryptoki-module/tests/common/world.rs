//! A software TPM with a token, and the module with a session of its user.

use std::ptr::{from_mut, null_mut};

use admin::{Admin, InitRequest};
use base::Secret;
use pkcs11_sys::*;
use swtpm_fixtures::SwTpm;
use token::Config;

use super::{Turn, set_environment, turn};
use crate::call;

pub struct World {
    /// A read/write session; the user is logged in.
    pub session: CK_SESSION_HANDLE,
    pub slot: CK_SLOT_ID,
    // Dropped in this order: the module gives the TPM's memory back before the TPM is gone.
    _turn: Turn,
    _tpm: SwTpm,
    _dir: tempfile::TempDir,
}

pub type Attribute = (CK_ATTRIBUTE_TYPE, Vec<u8>);

pub fn boolean(ty: CK_ATTRIBUTE_TYPE, value: bool) -> Attribute {
    (ty, vec![u8::from(value)])
}

pub fn number(ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attribute {
    (ty, value.to_ne_bytes().to_vec())
}

/// A secret key of this type: a session object that may leave, or a token object in the TPM.
pub fn secret(key_type: CK_KEY_TYPE, token: bool) -> Vec<Attribute> {
    vec![
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, key_type),
        boolean(CKA_TOKEN, token),
        boolean(CKA_SENSITIVE, token),
        boolean(CKA_EXTRACTABLE, !token),
    ]
}

/// Calls with the template in C.
pub fn with_template<R>(attributes: &[Attribute], call: impl FnOnce(*mut CK_ATTRIBUTE, CK_ULONG) -> R) -> R {
    let mut given: Vec<_> = attributes
        .iter()
        .map(|(type_, value)| CK_ATTRIBUTE {
            type_: *type_,
            pValue: value.as_ptr().cast_mut().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect();
    call(given.as_mut_ptr(), given.len() as CK_ULONG)
}

pub fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism, pParameter: null_mut(), ulParameterLen: 0 }
}

/// A mechanism with a structure, which must live as long.
pub fn with<T>(mechanism: CK_MECHANISM_TYPE, parameter: &mut T) -> CK_MECHANISM {
    CK_MECHANISM { mechanism, pParameter: from_mut(parameter).cast(), ulParameterLen: size_of::<T>() as CK_ULONG }
}

/// What a function writes that follows the length protocol: asked for the length, then called.
pub fn output(mut call: impl FnMut(*mut CK_BYTE, *mut CK_ULONG) -> CK_RV) -> Result<Vec<u8>, CK_RV> {
    let mut len = 0;
    match call(null_mut(), &raw mut len) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    let mut bytes = vec![0xee; len as usize];
    match call(bytes.as_mut_ptr(), &raw mut len) {
        CKR_OK => bytes.truncate(len as usize),
        rv => return Err(rv),
    }
    Ok(bytes)
}

/// The handle that a function writes.
pub fn handle(call: impl FnOnce(*mut CK_OBJECT_HANDLE) -> CK_RV) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut handle = 0;
    match call(&raw mut handle) {
        CKR_OK => Ok(handle),
        rv => Err(rv),
    }
}

fn pin(text: &str) -> Secret {
    Secret::copy_from(text.as_bytes())
}

impl World {
    pub fn new() -> Self {
        let turn = turn();
        let (tpm, dir) = (SwTpm::start(), tempfile::tempdir().unwrap());
        set_environment(dir.path(), &tpm.tcti());
        let request = InitRequest { owner_auth: pin(""), primary_auth: pin(""), handle: None, transient: None };
        Admin::init(Config::from_environment().unwrap(), &request).unwrap();
        let admin = Admin::open(Config::from_environment().unwrap()).unwrap();
        admin.add_token(None, "token", &pin("sopin"), Some(&pin("userpin"))).unwrap();

        assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
        let (mut slots, mut count) = ([0; 4], 4);
        assert_eq!(call!(C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &raw mut count)), CKR_OK);
        let mut world = Self { session: 0, slot: slots[0], _turn: turn, _tpm: tpm, _dir: dir };
        world.session = world.open();
        world.login();
        world
    }

    pub fn open(&self) -> CK_SESSION_HANDLE {
        let (mut session, flags) = (0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
        assert_eq!(call!(C_OpenSession(self.slot, flags, null_mut(), None, &raw mut session)), CKR_OK);
        session
    }

    pub fn login(&self) {
        let mut pin = *b"userpin";
        assert_eq!(call!(C_Login(self.session, CKU_USER, pin.as_mut_ptr(), 7)), CKR_OK);
    }

    /// A secret key with this value.
    pub fn key(&self, key_type: CK_KEY_TYPE, token: bool, value: &[u8]) -> CK_OBJECT_HANDLE {
        self.create([secret(key_type, token), vec![(CKA_VALUE, value.to_vec())]].concat())
    }

    pub fn create(&self, attributes: Vec<Attribute>) -> CK_OBJECT_HANDLE {
        with_template(&attributes, |at, count| {
            handle(|object| call!(C_CreateObject(self.session, at, count, object))).unwrap()
        })
    }

    pub fn generate_pair(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        public: &[Attribute],
        private: &[Attribute],
    ) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let (mut public_key, mut private_key, mut mechanism) = (0, 0, plain(mechanism));
        let rv = with_template(public, |public, public_count| {
            with_template(private, |private, private_count| {
                let keys = (&raw mut public_key, &raw mut private_key);
                call!(C_GenerateKeyPair(
                    self.session,
                    &raw mut mechanism,
                    public,
                    public_count,
                    private,
                    private_count,
                    keys.0,
                    keys.1
                ))
            })
        });
        assert_eq!(rv, CKR_OK);
        (public_key, private_key)
    }

    /// The value of an attribute.
    pub fn attribute(&self, object: CK_OBJECT_HANDLE, type_: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, CK_RV> {
        let mut room = [0; 4096];
        let mut query = CK_ATTRIBUTE { type_, pValue: room.as_mut_ptr().cast(), ulValueLen: 4096 };
        match call!(C_GetAttributeValue(self.session, object, &raw mut query, 1)) {
            CKR_OK => Ok(room[..query.ulValueLen as usize].to_vec()),
            rv => Err(rv),
        }
    }

    /// C_EncryptInit and C_Encrypt.
    pub fn encrypt(&self, mechanism: &mut CK_MECHANISM, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
        match call!(C_EncryptInit(self.session, mechanism, key)) {
            CKR_OK => output(|at, len| call!(C_Encrypt(self.session, input(data), data.len() as u64, at, len))),
            rv => Err(rv),
        }
    }

    /// C_DecryptInit and C_Decrypt.
    pub fn decrypt(&self, mechanism: &mut CK_MECHANISM, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
        match call!(C_DecryptInit(self.session, mechanism, key)) {
            CKR_OK => output(|at, len| call!(C_Decrypt(self.session, input(data), data.len() as u64, at, len))),
            rv => Err(rv),
        }
    }

    /// C_DigestInit and C_Digest.
    pub fn sha256(&self, data: &[u8]) -> Vec<u8> {
        assert_eq!(call!(C_DigestInit(self.session, &mut plain(CKM_SHA256))), CKR_OK);
        output(|at, len| call!(C_Digest(self.session, input(data), data.len() as u64, at, len))).unwrap()
    }
}

/// A pointer to input, which C does not call constant.
pub fn input(data: &[u8]) -> *mut CK_BYTE {
    data.as_ptr().cast_mut()
}
