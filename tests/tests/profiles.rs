//! The mandatory test cases of the profiles of PKCS#11 3.2 (BL-M-1-32, EXT-M-1-32, AUTH-M-1-32, CERT-M-1-32): their calls, in
//! their order, as rows. What a case leaves to the token, as names and sizes, is compared with what the token is.

use pkcs11_sys::*;
use tests::probe::{Attribute, Probe, attributes, bytes, flag, number};
use tests::world::{ALPHA, World};
use tests::{Argument, Ck};

/// One call of a case. All of them must return `CKR_OK`.
enum Call {
    Initialize,
    GetInfo,
    /// Asked for its length, then for itself.
    GetSlotList,
    GetSlotInfo,
    GetTokenInfo,
    /// Asked for its length, then for itself: these are in it.
    GetMechanismList(&'static [u64]),
    /// A mechanism, and flags that it has.
    GetMechanismInfo(u64, u64),
    OpenSession(u64),
    Login,
    /// Token objects with a label and a class, or all.
    FindObjectsInit(Option<(&'static str, u64)>),
    /// At most so many, and no fewer.
    FindObjects(usize),
    FindObjectsFinal,
    /// An attribute of the object that was found last: its length, then itself.
    GetAttributeValue(u64),
    /// With the object that was found last.
    SignInit(u64),
    /// A signature of 256 bytes that OpenSSL takes.
    Sign(&'static [u8]),
    Logout,
    CloseSession,
    CloseAllSessions,
    Finalize,
}

use Call::*;

const SERIAL: u64 = CKF_SERIAL_SESSION;
const READ_WRITE: u64 = CKF_SERIAL_SESSION | CKF_RW_SESSION;

const BASELINE: &[Call] = &[
    Initialize,
    GetInfo,
    GetSlotList,
    GetSlotInfo,
    GetTokenInfo,
    OpenSession(SERIAL),
    FindObjectsInit(None),
    FindObjects(1),
    FindObjectsFinal,
    CloseSession,
    CloseAllSessions,
    Finalize,
];

const EXTENDED: &[Call] = &[
    Initialize,
    GetInfo,
    GetSlotList,
    GetSlotInfo,
    GetTokenInfo,
    GetMechanismList(&[CKM_SHA512, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS]),
    GetMechanismInfo(CKM_SHA512, CKF_DIGEST),
    GetMechanismInfo(CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR),
    GetMechanismInfo(CKM_RSA_PKCS, CKF_ENCRYPT | CKF_DECRYPT | CKF_SIGN | CKF_VERIFY | CKF_WRAP | CKF_UNWRAP),
    OpenSession(READ_WRITE),
    Login,
    FindObjectsInit(None),
    FindObjects(1),
    FindObjectsFinal,
    Logout,
    CloseSession,
    CloseAllSessions,
    Finalize,
];

const AUTHENTICATION: &[Call] = &[
    Initialize,
    GetInfo,
    GetSlotList,
    OpenSession(READ_WRITE),
    Login,
    FindObjectsInit(Some(("rsa", CKO_PUBLIC_KEY))),
    FindObjects(1),
    FindObjectsFinal,
    GetAttributeValue(CKA_MODULUS),
    GetAttributeValue(CKA_PUBLIC_EXPONENT),
    FindObjectsInit(Some(("rsa", CKO_PRIVATE_KEY))),
    FindObjects(1),
    FindObjectsFinal,
    SignInit(CKM_SHA256_RSA_PKCS),
    Sign(b"what the owner of the key says"),
    Logout,
    CloseSession,
    CloseAllSessions,
    Finalize,
];

/// The certificates are read while the search goes on.
const CERTIFICATES: &[Call] = &[
    Initialize,
    GetInfo,
    GetSlotList,
    OpenSession(SERIAL),
    FindObjectsInit(Some(("root", CKO_CERTIFICATE))),
    FindObjects(5),
    GetAttributeValue(CKA_LABEL),
    GetAttributeValue(CKA_VALUE),
    FindObjectsFinal,
    CloseSession,
    CloseAllSessions,
    Finalize,
];

/// A process that makes the calls of one case.
struct Desk {
    world: World,
    probe: Probe,
    slot: u64,
    session: u64,
    object: u64,
    certificate: Vec<u8>,
}

impl Desk {
    /// A world whose token has five certificates that everybody may read.
    fn new() -> Desk {
        let world = World::new();
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=root -days 2 -outform DER";
        let made = tests::openssl::openssl(&world.path(""), &request.split(' ').collect::<Vec<_>>(), b"");
        assert!(made.status.success(), "{made:?}");
        let writer = world.probe().initialized();
        let session = writer.user_session(&ALPHA);
        for _ in 0..5 {
            let template = [
                number(CKA_CLASS, CKO_CERTIFICATE),
                number(CKA_CERTIFICATE_TYPE, CKC_X_509),
                flag(CKA_TOKEN, true),
                bytes(CKA_LABEL, b"root"),
                bytes(CKA_VALUE, &made.stdout),
            ];
            let call = vec![session.into(), attributes(&template), (template.len() as u64).into(), Argument::place(0)];
            writer.rv("C_CreateObject", call).unwrap();
        }
        writer.finalize().unwrap();
        let probe = world.probe();
        Desk { world, probe, slot: 0, session: 0, object: 0, certificate: made.stdout }
    }

    fn run(mut self, case: &[Call]) {
        case.iter().for_each(|call| self.make(call));
        self.world.assert_clean();
    }

    fn make(&mut self, call: &Call) {
        let (probe, session) = (&self.probe, self.session);
        let ok = |function: &str, arguments: Vec<Argument>| {
            let (rv, left) = probe.call(function, arguments);
            assert_eq!(Ck(rv), Ck(CKR_OK), "{function}\n{}", self.world.log());
            left
        };
        match call {
            Initialize => probe.initialize().unwrap(),
            GetInfo => {
                let left = ok("C_GetInfo", vec![Argument::buffer(size_of::<CK_INFO>())]);
                assert_eq!(left[0].content()[..2], [3, 2]);
                // No flag is defined.
                assert_eq!(left[0].content()[40..48], [0; 8]);
            }
            GetSlotList => {
                let slots = probe.slots(true).unwrap();
                self.slot = probe.slot_of(ALPHA.label);
                assert!(slots.contains(&self.slot));
            }
            GetSlotInfo => {
                let left = ok("C_GetSlotInfo", vec![self.slot.into(), Argument::buffer(size_of::<CK_SLOT_INFO>())]);
                let flags = u64::from_ne_bytes(left[1].content()[96..104].try_into().unwrap());
                assert_ne!(flags & CKF_TOKEN_PRESENT, 0);
            }
            GetTokenInfo => {
                let info = probe.token_info(self.slot).unwrap();
                assert_eq!(info.label, ALPHA.label);
                let flags = CKF_RNG | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED;
                assert_eq!(info.flags & flags, flags, "{info:?}");
            }
            GetMechanismList(listed) => {
                let mechanisms = probe.mechanisms(self.slot).unwrap();
                assert!(listed.iter().all(|ty| mechanisms.contains(ty)), "{mechanisms:x?}");
            }
            GetMechanismInfo(ty, flags) => {
                let (least, most, has) = probe.mechanism_info(self.slot, *ty).unwrap();
                assert!(least <= most && has & flags == *flags, "{ty:#x} {has:#x}");
            }
            OpenSession(flags) => self.session = probe.open(self.slot, *flags).unwrap(),
            Login => probe.login(session, CKU_USER, ALPHA.user_pin.unwrap()).unwrap(),
            FindObjectsInit(wanted) => {
                let mut template: Vec<Attribute> = vec![flag(CKA_TOKEN, true)];
                if let Some((label, class)) = wanted {
                    template.extend([bytes(CKA_LABEL, label.as_bytes()), number(CKA_CLASS, *class)]);
                }
                probe.find_init(session, &template).unwrap();
            }
            FindObjects(max) => {
                let found = probe.find_next(session, *max).unwrap();
                assert_eq!(found.len(), *max);
                self.object = *found.last().unwrap();
            }
            FindObjectsFinal => probe.find_final(session).unwrap(),
            GetAttributeValue(ty) => {
                let (rv, asked) = probe.get_attributes(session, self.object, &[(*ty, None)]);
                assert_eq!(Ck(rv), Ck(CKR_OK), "{ty:#x}");
                let (rv, got) = probe.get_attributes(session, self.object, &[(*ty, Some(asked[0].0 as usize))]);
                assert_eq!((Ck(rv), got[0].0), (Ck(CKR_OK), asked[0].0), "{ty:#x}");
                match *ty {
                    CKA_LABEL => assert_eq!(got[0].1, b"root"),
                    CKA_VALUE => assert_eq!(got[0].1, self.certificate),
                    CKA_PUBLIC_EXPONENT => assert_eq!(got[0].1, [1, 0, 1]),
                    CKA_MODULUS => assert_eq!(got[0].1.len(), 256),
                    other => panic!("{other:#x}"),
                }
            }
            SignInit(mechanism) => probe.init("C_SignInit", session, *mechanism, self.object).unwrap(),
            Sign(data) => {
                let signature = probe.transform_into("C_Sign", session, data, Some(256)).ok().unwrap();
                assert_eq!(signature.len(), 256);
                let spki = probe.attribute(session, self.object, CKA_PUBLIC_KEY_INFO).unwrap();
                let key = tests::openssl::OpenSsl::new(&spki);
                assert!(key.verifies("-sha256", &[], data, &signature), "OpenSSL refuses it");
            }
            Logout => probe.logout(session).unwrap(),
            CloseSession => probe.close(session).unwrap(),
            CloseAllSessions => probe.close_all(self.slot).unwrap(),
            Finalize => probe.finalize().unwrap(),
        }
    }
}

#[test]
fn baseline_provider() {
    Desk::new().run(BASELINE);
}

#[test]
fn extended_provider() {
    Desk::new().run(EXTENDED);
}

#[test]
fn authentication_token() {
    Desk::new().run(AUTHENTICATION);
}

#[test]
fn public_certificates_token() {
    Desk::new().run(CERTIFICATES);
}
