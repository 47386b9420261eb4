//! Callers that pass nonsense: every function, with every combination of bad arguments, is answered and never crashes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ptr::null_mut;

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
        let value = Box::leak(vec![1_u8; 64].into_boxed_slice());
        let value = value.as_ptr() as usize;
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
            ],
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
    let combinations: usize = choices.iter().map(Vec::len).product();
    // A step that shares no factor with the numbers of choices visits every choice of each parameter.
    let step = if combinations > 20_000 { 23 } else { 1 };
    for combination in (0..combinations).step_by(step) {
        let mut rest = combination;
        let mut arguments = Vec::new();
        for choice in &choices {
            arguments.extend(&choice[rest % choice.len()]);
            rest /= choice.len();
        }
        let rv = function.call(&arguments);
        check(&arguments, rv);
    }
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
                Kind::Bytes | Kind::Attributes => vec![0, 1],
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
            _ if rv == CKR_FUNCTION_NOT_SUPPORTED => rv,
            _ if function.parameters.iter().all(|kind| *kind == Kind::Number) => CKR_SESSION_HANDLE_INVALID,
            _ => CKR_ARGUMENTS_BAD,
        };
        assert_eq!(rv, expected, "{}", function.name);
    }
}

#[test]
fn unsupported_functions_are_those_of_the_generated_table() {
    let _turn = initialized();
    let table = tpm2_cryptoki::docs::function_table_markdown();
    let memory = Memory::new();
    let names: Vec<_> = functions().iter().map(|function| function.name).collect();
    assert_eq!(names.len(), 92);
    for function in functions() {
        let line = table.lines().find(|line| line.starts_with(&format!("| `{}` |", function.name))).unwrap();
        if line.contains("| no: ") {
            every_combination(&memory, &function, |_, rv| assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED, "{line}"));
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
