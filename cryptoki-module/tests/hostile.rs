//! Callers that pass nonsense: every function, with every combination of bad arguments, is answered and never crashes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::null_mut;

use common::world::{World, input, plain, with};
use common::{Function, Kind, functions, initialized, turn};
use pkcs11_sys::*;

const MAX: usize = usize::MAX;

/// Functions that may be called before `C_Initialize`.
const ANY_STATE: [&str; 5] =
    ["C_Initialize", "C_Finalize", "C_GetFunctionList", "C_GetInterfaceList", "C_GetInterface"];

/// Memory to point into. Structures lie at odd addresses.
struct Memory {
    room: Vec<u8>,
    lengths: Vec<Vec<u8>>,
    templates: Vec<(Vec<u8>, usize)>,
    mechanisms: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
}

/// The bytes of C structures made of `CK_ULONG`s, after one byte that puts them at an odd address.
fn odd(numbers: &[usize]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    // A vector's start is even, but not by promise.
    assert_eq!(bytes.as_ptr() as usize % 2, 0);
    bytes
}

fn at(bytes: &[u8]) -> usize {
    bytes.as_ptr() as usize + 1
}

impl Memory {
    fn new() -> Self {
        let [value, scratch] =
            [1_u8, 0].map(|byte| Box::leak(vec![byte; 128].into_boxed_slice()).as_mut_ptr() as usize);
        let label = CKA_LABEL as usize;
        let template = |attributes: &[[usize; 3]]| (odd(&attributes.concat()), attributes.len());
        let mechanism = |ty: CK_MECHANISM_TYPE, at, len| odd(&[ty as usize, at, len]);
        Self {
            room: vec![0; 4096],
            lengths: [0, 1, 64, MAX, MAX >> 1, MAX >> 7].map(|length| odd(&[length])).to_vec(),
            templates: vec![
                template(&[[label, value, 64], [CKA_ID as usize, value, 1]]),
                template(&[[label, 0, 0]]),
                template(&[[label, 0, 1]]),
                template(&[[label, value, MAX]]),
                template(&[[label, value, MAX >> 1]]),
                template(&[[label, value, 1 << 30]]),
                template(&[[CKA_WRAP_TEMPLATE as usize, value, 24]]),
                template(&[[MAX, value, 64]]),
            ],
            mechanisms: vec![
                mechanism(CKM_RSA_PKCS, 0, 0),
                mechanism(CKM_RSA_PKCS, value, 64),
                mechanism(CKM_RSA_PKCS, 0, 64),
                mechanism(CKM_RSA_PKCS_PSS, value + 1, 24),
                mechanism(CKM_RSA_PKCS_PSS, 0, 24),
                mechanism(CKM_RSA_PKCS_PSS, value, MAX),
                mechanism(CKM_RSA_PKCS_OAEP, value + 1, 40),
                mechanism(MAX as CK_MECHANISM_TYPE, value, MAX),
                // Structures that do not fit, and those that say nonsense: every number in them is 0x0101010101010101.
                mechanism(CKM_AES_CBC, value + 1, 15),
                mechanism(CKM_AES_CBC_PAD, value + 1, 16),
                mechanism(CKM_AES_CTR, value + 1, 24),
                mechanism(CKM_AES_GCM, value + 1, 48),
                mechanism(CKM_AES_GCM, 0, 48),
                mechanism(CKM_AES_KEY_WRAP, value + 1, 8),
                mechanism(CKM_AES_KEY_WRAP, value, 16),
                mechanism(CKM_SHA256_HMAC_GENERAL, value + 1, 8),
                mechanism(CKM_ECDH1_DERIVE, value + 1, 40),
                mechanism(CKM_HKDF_DERIVE, value + 1, 72),
                mechanism(CKM_XOR_BASE_AND_DATA, value + 1, 16),
                mechanism(CKM_CONCATENATE_BASE_AND_KEY, value + 1, 8),
                mechanism(CKM_AES_KEY_GEN, 0, 0),
                mechanism(CKM_GENERIC_SECRET_KEY_GEN, value, 1),
                mechanism(CKM_SHA256, 0, 0),
            ],
            messages: [
                [scratch, 12, 0, 0, scratch, 128],
                [scratch, 16, 32, 3, scratch, 96],
                [0, 12, 0, 0, scratch, 128],
                [scratch, 12, 0, 0, 0, 128],
                [0, 0, 0, 0, 0, 0],
                [scratch, MAX, 0, 0, scratch, 128],
                [scratch, 12, MAX, 3, scratch, 128],
                [scratch, 12, 0, MAX, scratch, 128],
                [scratch, 12, 0, 0, scratch, MAX],
                [scratch, 12, 0, 0, scratch, 127],
            ]
            .map(|message| odd(&message))
            .to_vec(),
        }
    }

    /// The choices for a parameter: the C arguments it stands for.
    fn choices(&self, kind: Kind) -> Vec<Vec<usize>> {
        let room = at(&self.room);
        match kind {
            Kind::Number => [0, 1, MAX].map(|number| vec![number]).to_vec(),
            Kind::Pointer | Kind::Text => vec![vec![0], vec![room]],
            Kind::Mechanism => {
                let mechanisms = self.mechanisms.iter().map(|mechanism| vec![at(mechanism)]);
                mechanisms.chain([vec![0]]).collect()
            }
            Kind::Bytes => vec![
                vec![0, 0],
                vec![0, 1],
                vec![0, MAX],
                vec![room, 0],
                vec![room, 16],
                vec![room, MAX],
                vec![room, MAX >> 1],
            ],
            Kind::Parameter => {
                let messages = self.messages.iter().map(|message| vec![at(message), 48]);
                let bad = [vec![0, 0], vec![0, 48], vec![room, 47], vec![room, 49], vec![room, MAX]];
                messages.chain(bad).collect()
            }
            Kind::Attributes => {
                let templates = self.templates.iter().map(|(template, count)| vec![at(template), *count]);
                let bad =
                    [vec![0, 0], vec![0, 1], vec![0, MAX], vec![room, MAX], vec![room, MAX / 24], vec![room, 4097]];
                templates.chain(bad).collect()
            }
            Kind::Output => {
                let lengths = self.lengths.iter().flat_map(|length| [vec![room, at(length)], vec![0, at(length)]]);
                lengths.chain([vec![0, 0], vec![room, 0]]).collect()
            }
            Kind::UpTo => vec![
                vec![0, 0, 0],
                vec![0, 1, room],
                vec![room, 0, room],
                vec![room, 4, 0],
                vec![room, MAX, room],
                vec![room, MAX / 8, room],
                vec![room, 4, room + 64],
            ],
        }
    }
}

/// Calls with every combination of choices; fewer if there are very many.
fn every_combination(memory: &Memory, function: &Function, mut check: impl FnMut(&[usize], CK_RV)) {
    let choices: Vec<_> = function.parameters.iter().map(|kind| memory.choices(*kind)).collect();
    combinations(&choices, 20_000, |arguments| check(arguments, function.call(arguments)));
}

/// The arguments of every combination of choices; about `most` of them if there are more.
fn combinations(choices: &[Vec<Vec<usize>>], most: usize, mut call: impl FnMut(&[usize])) {
    let all: usize = choices.iter().map(Vec::len).product();
    // A step that shares no factor with the numbers of choices visits every choice of each parameter.
    let coprime = |step: &usize| choices.iter().all(|choice| gcd(*step, choice.len()) == 1);
    let step = (all.div_ceil(most)..).find(coprime).unwrap();
    for combination in (0..all).step_by(step) {
        let mut rest = combination;
        let mut arguments = Vec::new();
        for choice in choices {
            arguments.extend(&choice[rest % choice.len()]);
            rest /= choice.len();
        }
        call(&arguments);
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn before_initialisation_every_function_says_so() {
    let _turn = turn();
    let memory = Memory::new();
    for function in functions().iter().filter(|function| !ANY_STATE.contains(&function.name)) {
        every_combination(&memory, function, |arguments, rv| {
            assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{}{arguments:x?}", function.name);
        });
    }
}

#[test]
fn no_arguments_crash_a_function() {
    let _turn = initialized();
    let memory = Memory::new();
    for function in functions().iter().filter(|function| function.name != "C_Finalize") {
        every_combination(&memory, function, |arguments, rv| {
            let internal = [CKR_GENERAL_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED];
            assert!(!internal.contains(&rv), "{}{arguments:x?} = {rv:#x}", function.name);
            // Without a token there is no session, so nothing that needs one succeeds.
            let needs_session = function.parameters.first() == Some(&Kind::Number)
                && !["Slot", "Token", "Mechanism"].iter().any(|word| function.name.contains(word))
                && function.name != "C_CloseAllSessions";
            assert!(!needs_session || rv != CKR_OK, "{}{arguments:x?}", function.name);
        });
    }
}

/// Functions that end the session or the login, or count wrong PINs.
const NOT_IN_A_SESSION: [&str; 7] =
    ["C_CloseSession", "C_Logout", "C_Login", "C_LoginUser", "C_InitPIN", "C_SetPIN", "C_DestroyObject"];

/// Starts every kind of operation that a secret key in memory can do, as far as none is active.
fn start_operations(session: CK_SESSION_HANDLE, aes: CK_OBJECT_HANDLE, mac: CK_OBJECT_HANDLE) {
    let mut iv = [3_u8; 16];
    let mut cbc = with(CKM_AES_CBC, &mut iv);
    for rv in [
        call!(C_DigestInit(session, &mut plain(CKM_SHA256))),
        call!(C_EncryptInit(session, &raw mut cbc, aes)),
        call!(C_DecryptInit(session, &raw mut cbc, aes)),
        call!(C_SignInit(session, &mut plain(CKM_SHA256_HMAC), mac)),
        call!(C_VerifyInit(session, &mut plain(CKM_SHA256_HMAC), mac)),
        call!(C_MessageEncryptInit(session, &mut plain(CKM_AES_GCM), aes)),
        call!(C_MessageDecryptInit(session, &mut plain(CKM_AES_GCM), aes)),
    ] {
        assert!([CKR_OK, CKR_OPERATION_ACTIVE].contains(&rv), "{rv:#x}");
    }
}

/// Starts a message in each direction, as far as none is.
fn begin_messages(session: CK_SESSION_HANDLE) {
    let (mut iv, mut tag) = ([4_u8; 12], [0_u8; 16]);
    let mut message = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    };
    let at = (&raw mut message).cast();
    for rv in [
        call!(C_EncryptMessageBegin(session, at, 48, null_mut(), 0)),
        call!(C_DecryptMessageBegin(session, at, 48, null_mut(), 0)),
    ] {
        assert!([CKR_OK, CKR_OPERATION_ACTIVE].contains(&rv), "{rv:#x}");
    }
}

#[test]
fn no_arguments_crash_a_function_of_an_open_session() {
    let world = World::new();
    let (aes, mac) = (world.key(CKK_AES, false, &[7; 32]), world.key(CKK_GENERIC_SECRET, false, &[8; 32]));
    let memory = Memory::new();
    let of_session = |function: &&Function| {
        let others = ["Slot", "Token", "Mechanism"];
        function.parameters.first() == Some(&Kind::Number)
            && !others.iter().any(|word| function.name.contains(word))
            && !["C_CloseAllSessions", "C_OpenSession"].contains(&function.name)
            && !NOT_IN_A_SESSION.contains(&function.name)
    };
    for function in functions().iter().filter(of_session) {
        for key in [aes, mac] {
            let arguments = |arguments: &[usize]| {
                let mut numbers = function.parameters.iter().flat_map(|kind| match kind {
                    Kind::Number => vec![true],
                    Kind::Pointer | Kind::Text | Kind::Mechanism => vec![false],
                    Kind::Bytes | Kind::Parameter | Kind::Attributes | Kind::Output => vec![false; 2],
                    Kind::UpTo => vec![false; 3],
                });
                let mut arguments = arguments.to_vec();
                // The first number is the session; where another would be 1, it is the key.
                for (index, argument) in arguments.iter_mut().enumerate() {
                    match (index, numbers.next(), *argument) {
                        (0, ..) => *argument = world.session as usize,
                        (_, Some(true), 1) => *argument = key as usize,
                        _ => {}
                    }
                }
                arguments
            };
            let choices: Vec<_> = function.parameters.iter().map(|kind| memory.choices(*kind)).collect();
            combinations(&choices, 5_000, |given| {
                if function.name.ends_with("Init") {
                    assert_eq!(call!(C_SessionCancel(world.session, CK_FLAGS::MAX)), CKR_OK);
                } else {
                    start_operations(world.session, aes, mac);
                }
                if function.name.ends_with("MessageNext") {
                    begin_messages(world.session);
                }
                let given = arguments(given);
                let rv = function.call(&given);
                let internal =
                    [CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID];
                assert!(!internal.contains(&rv), "{}{given:x?} = {rv:#x}", function.name);
            });
        }
    }
    assert_eq!(call!(C_SessionCancel(world.session, CK_FLAGS::MAX)), CKR_OK);
    assert_eq!(world.sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    let mut iv = [3_u8; 16];
    let cipher = world.encrypt(&mut with(CKM_AES_CBC, &mut iv), aes, &[1; 16]).unwrap();
    assert_eq!(call!(C_DecryptInit(world.session, &mut with(CKM_AES_CBC, &mut iv), aes)), CKR_OK);
    let (mut room, mut len) = ([0; 16], 16);
    assert_eq!(call!(C_Decrypt(world.session, input(&cipher), 16, room.as_mut_ptr(), &raw mut len)), CKR_OK);
    assert_eq!(room, [1; 16]);
}

#[test]
fn null_where_something_is_required_is_bad_arguments() {
    let _turn = initialized();
    // The library checks pointers before handles.
    for function in functions() {
        let nulls: Vec<usize> = function
            .parameters
            .iter()
            .flat_map(|kind| match kind {
                Kind::Number => vec![CKF_SERIAL_SESSION as usize],
                Kind::Pointer | Kind::Text | Kind::Mechanism => vec![0],
                Kind::Bytes | Kind::Parameter | Kind::Attributes => vec![0, 1],
                Kind::Output => vec![0, 0],
                Kind::UpTo => vec![0, 1, 0],
            })
            .collect();
        let rv = function.call(&nulls);
        let expected = match function.name {
            "C_Initialize" => CKR_CRYPTOKI_ALREADY_INITIALIZED,
            "C_Finalize" => {
                assert_eq!(call!(C_Initialize(null_mut())), CKR_OK);
                CKR_OK
            }
            "C_GetFunctionStatus" | "C_CancelFunction" => CKR_FUNCTION_NOT_PARALLEL,
            "C_CloseAllSessions" => CKR_SLOT_ID_INVALID,
            // No mechanism: cancels what is active.
            name if name.ends_with("Init") && function.parameters.contains(&Kind::Mechanism) => {
                CKR_SESSION_HANDLE_INVALID
            }
            // Not supported: only the session is looked at.
            name if name.starts_with("C_Async") || name.ends_with("KeyAuthenticated") => CKR_SESSION_HANDLE_INVALID,
            _ if function.parameters.iter().all(|kind| *kind == Kind::Number) => CKR_SESSION_HANDLE_INVALID,
            _ => CKR_ARGUMENTS_BAD,
        };
        assert_eq!(rv, expected, "{}", function.name);
    }
}

#[test]
fn every_function_is_in_the_generated_table_and_does_something() {
    let _turn = initialized();
    let table = tpm2_cryptoki::docs::function_table_markdown();
    let memory = Memory::new();
    let names: Vec<_> = functions().iter().map(|function| function.name).collect();
    assert_eq!(names.len(), 104);
    for function in functions() {
        assert!(table.lines().any(|line| line.starts_with(&format!("| `{}` |", function.name))), "{}", function.name);
        if function.name != "C_WaitForSlotEvent" {
            every_combination(&memory, &function, |_, rv| {
                assert_ne!(rv, CKR_FUNCTION_NOT_SUPPORTED, "{}", function.name)
            });
        }
    }
}

#[test]
fn waiting_for_a_slot_event_is_not_possible() {
    let _turn = initialized();
    let mut slot = 0;
    assert_eq!(call!(C_WaitForSlotEvent(CKF_DONT_BLOCK, &raw mut slot, null_mut())), CKR_NO_EVENT);
    assert_eq!(call!(C_WaitForSlotEvent(0, &raw mut slot, null_mut())), CKR_FUNCTION_NOT_SUPPORTED);
    let reserved = (&raw mut slot).cast();
    assert_eq!(call!(C_WaitForSlotEvent(CKF_DONT_BLOCK, &raw mut slot, reserved)), CKR_ARGUMENTS_BAD);
}
