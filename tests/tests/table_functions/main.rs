//! Every function of `CK_FUNCTION_LIST_3_2`: the right use and its effect, the wrong order, the wrong handle, the short buffer,
//! the null pointer, and the call before `C_Initialize`. One row each; a function without a row fails the tests.
//!
//! A cell that is empty says why. Return values are those of PKCS#11 v3.1 and v3.2; where the specification leaves a choice, the row
//! cites the section that the choice is from.

mod rows_crypto;
mod rows_general;
mod rows_keys;
mod rows_message;
mod rows_objects;
mod scene;

use std::collections::BTreeSet;

use pkcs11_sys::*;
use scene::Scene;
use tests::call::{FILL, Via};
use tests::signatures::{Kind, SIGNATURES};
use tests::{Argument, Ck, World};

/// What is known of one function.
struct Row {
    name: &'static str,
    /// What comes before the right call.
    before: fn(&mut Scene),
    /// The arguments of the right call.
    right: fn(&mut Scene) -> Vec<Argument>,
    /// What the right call returns.
    gives: u64,
    /// Looks at the effect of the right call.
    seen: fn(&mut Scene, &[Argument]),
    order: Order,
    /// What is returned for a wrong handle or slot, for each of them in the order of the parameters.
    handles: &'static [u64],
    short: Short,
    /// Parameters (by number) that are refused in another way than by `CKR_ARGUMENTS_BAD` when they are null.
    nulls: &'static [(usize, u64)],
    /// What is returned before `C_Initialize`.
    early: u64,
}

/// The column of the wrong order.
enum Order {
    /// There is no wrong order, and why.
    Any(&'static str),
    Wrong(&'static [Wrong]),
}

/// A state in which the right arguments are not right.
struct Wrong {
    what: &'static str,
    before: fn(&mut Scene),
    gives: u64,
}

/// The column of the short buffer.
enum Short {
    /// There is no output of a length that the caller has to ask for.
    None,
    /// The length that is told is the result's, in elements of so many bytes.
    Exact(usize),
    /// The length that is told may be more than the result's (5.2: "may somewhat exceed").
    Enough,
    /// The function has a protocol of its own.
    Own(fn(&mut Scene)),
}

/// A row to start from.
const ROW: Row = Row {
    name: "",
    before: |_| (),
    right: |_| Vec::new(),
    gives: CKR_OK,
    seen: |_, _| panic!("nobody looked at the effect"),
    order: Order::Any(""),
    handles: &[],
    short: Short::None,
    nulls: &[],
    early: CKR_CRYPTOKI_NOT_INITIALIZED,
};

/// The functions that need no initialised library, which are not among the [`SIGNATURES`].
const ANY_STATE: [(&str, &[Kind]); 5] = [
    ("C_Initialize", &[Kind::Optional]),
    ("C_Finalize", &[Kind::Optional]),
    ("C_GetFunctionList", &[Kind::Place]),
    ("C_GetInterfaceList", &[Kind::Output]),
    ("C_GetInterface", &[Kind::Optional, Kind::Optional, Kind::Place, Kind::Number]),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    let all = [rows_general::ROWS, rows_objects::ROWS, rows_crypto::ROWS, rows_keys::ROWS, rows_message::ROWS];
    all.into_iter().flatten()
}

/// The parameters of a function, each with the place of its first argument.
fn parameters(name: &str) -> Vec<(usize, Kind)> {
    let listed = SIGNATURES.iter().map(|signature| (signature.name, signature.parameters));
    let found = listed.chain(ANY_STATE).find(|(other, _)| *other == name);
    let (_, kinds) = found.unwrap_or_else(|| panic!("{name} has no signature"));
    let mut place = 0;
    let mut parameters = Vec::new();
    for kind in kinds {
        parameters.push((place, *kind));
        place += match kind {
            Kind::Bytes | Kind::Attributes | Kind::Output => 2,
            Kind::UpTo => 3,
            _ => 1,
        };
    }
    parameters
}

/// Where the output buffer of a function stands among its arguments.
fn output_of(name: &str) -> Option<usize> {
    parameters(name).into_iter().find_map(|(place, kind)| (kind == Kind::Output).then_some(place))
}

fn right_call(row: &Row, scene: &mut Scene) {
    let arguments = (row.right)(scene);
    let (rv, left) = scene.probe.call(row.name, arguments);
    assert_eq!(Ck(rv), Ck(row.gives), "{}\n{}", row.name, scene.world.log());
    (row.seen)(scene, &left);
}

#[test]
fn every_function_has_a_row() {
    let listed: BTreeSet<_> = World::new().probe().addresses()[&Via::List320].keys().cloned().collect();
    assert_eq!(listed.len(), 104);
    let names: Vec<_> = rows().map(|row| row.name.to_owned()).collect();
    let unique: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names.len(), unique.len(), "a function has two rows");
    assert_eq!(unique, listed);
    for row in rows() {
        let handle = |kind: &Kind| matches!(kind, Kind::Session | Kind::Slot | Kind::Object);
        let handles = parameters(row.name).iter().filter(|(_, kind)| handle(kind)).count();
        assert_eq!(handles, row.handles.len(), "{}: each handle has its return value", row.name);
        let works = row.gives == CKR_OK;
        let answered = output_of(row.name).is_none() || !works || !matches!(row.short, Short::None);
        assert!(answered, "{}: it has output, and nobody asks for its length", row.name);
        match row.order {
            Order::Any(why) => assert!(!why.is_empty(), "{}: why is no order wrong?", row.name),
            Order::Wrong(wrong) => assert!(!wrong.is_empty(), "{}", row.name),
        }
    }
}

#[test]
fn the_right_use_has_its_effect() {
    let mut scene = Scene::new();
    for row in rows() {
        scene.case(|scene| {
            (row.before)(scene);
            right_call(row, scene);
        });
    }
    assert!(!scene.world.log().contains("panicked"), "{}", scene.world.log());
}

#[test]
fn the_wrong_order_has_its_code() {
    let mut scene = Scene::new();
    for row in rows() {
        let Order::Wrong(ways) = row.order else { continue };
        for wrong in ways {
            scene.case(|scene| {
                (wrong.before)(scene);
                let arguments = (row.right)(scene);
                let (rv, _) = scene.probe.call(row.name, arguments);
                assert_eq!(Ck(rv), Ck(wrong.gives), "{} {}", row.name, wrong.what);
            });
        }
    }
}

#[test]
fn a_wrong_handle_has_its_code_and_spoils_nothing() {
    let mut scene = Scene::new();
    for row in rows() {
        let handles = parameters(row.name).into_iter();
        let handles = handles.filter(|(_, kind)| matches!(kind, Kind::Session | Kind::Slot | Kind::Object));
        let handles: Vec<_> = handles.collect();
        assert_eq!(handles.len(), row.handles.len(), "{}", row.name);
        for ((place, _), expected) in handles.into_iter().zip(row.handles) {
            for handle in [0x7777_7777, u64::MAX] {
                scene.case(|scene| {
                    (row.before)(scene);
                    let mut arguments = (row.right)(scene);
                    arguments[place] = handle.into();
                    scene.world.proxy.mark();
                    let (rv, _) = scene.probe.call(row.name, arguments);
                    assert_eq!(Ck(rv), Ck(*expected), "{} with handle {handle:#x} in place {place}", row.name);
                    assert_eq!(scene.world.proxy.mark().names(), [""; 0], "{}", row.name);
                    // What was going on goes on.
                    right_call(row, scene);
                });
            }
        }
    }
}

/// PKCS#11 v3.1 5.2: a question for the length and a buffer that is too short leave everything as it is. They cost no TPM
/// command either; where nobody knows the length before the work is done, it is done once.
#[test]
fn a_short_buffer_costs_nothing_and_ends_nothing() {
    let mut scene = Scene::new();
    for row in rows() {
        let (element, exact) = match row.short {
            Short::None => continue,
            Short::Own(look) => {
                scene.case(look);
                continue;
            }
            Short::Exact(element) => (element, true),
            Short::Enough => (1, false),
        };
        let place = output_of(row.name).unwrap();
        let call = |scene: &mut Scene, buffer: Option<(Argument, u64)>| {
            let mut arguments = (row.right)(scene);
            if let Some((buffer, room)) = buffer {
                (arguments[place], arguments[place + 1]) = (buffer, Argument::place(room));
            }
            scene.world.proxy.mark();
            let (rv, left) = scene.probe.call(row.name, arguments);
            (Ck(rv), left, scene.world.proxy.mark().names().len())
        };
        let (mut needed, mut cost) = (0, 0);
        // The second time the key is loaded.
        for _ in 0..2 {
            scene.case(|scene| {
                (row.before)(scene);
                let (rv, left, commands) = call(scene, None);
                assert_eq!(rv, Ck(CKR_OK), "{}", row.name);
                (needed, cost) = (left[place + 1].word(), commands);
            });
        }
        assert!(needed > 0, "{}: the right use has a result", row.name);
        scene.case(|scene| {
            (row.before)(scene);
            let mut spent = 0;
            let mut ask = |scene: &mut Scene, buffer: Option<u64>, expected: u64| {
                let argument = buffer.map_or(Argument::NULL, |room| Argument::buffer(room as usize * element));
                let (rv, left, commands) = call(scene, Some((argument, buffer.unwrap_or(u64::MAX))));
                assert_eq!(rv, Ck(expected), "{}: {buffer:?} of {needed}", row.name);
                if let buffer @ Argument::Pointer(_) = &left[place] {
                    assert!(buffer.content().iter().all(|byte| *byte == FILL), "{}: a part was written", row.name);
                }
                let told = left[place + 1].word();
                let fits = if exact { told == needed } else { told >= needed };
                assert!(fits, "{}: {told} told of {needed}", row.name);
                assert!(commands == 0 || !exact && expected != CKR_OK, "{}: the TPM was asked", row.name);
                spent += commands;
            };
            ask(scene, None, CKR_OK);
            ask(scene, Some(needed - 1), CKR_BUFFER_TOO_SMALL);
            ask(scene, Some(0), CKR_BUFFER_TOO_SMALL);
            ask(scene, None, CKR_OK);
            let (rv, left, commands) = call(scene, None);
            assert_eq!((rv, spent + commands), (Ck(CKR_OK), cost), "{}", row.name);
            (row.seen)(scene, &left);
        });
    }
}

#[test]
fn a_null_pointer_is_a_bad_argument() {
    let mut scene = Scene::new();
    for row in rows() {
        for (number, (place, kind)) in parameters(row.name).into_iter().enumerate() {
            let spoil: &[usize] = match kind {
                Kind::Place | Kind::Label | Kind::Mechanism | Kind::Bytes | Kind::Attributes => &[0],
                // Of an output the buffer may be null: then the length is asked for.
                Kind::Output => &[1],
                Kind::UpTo => &[0, 2],
                Kind::Session | Kind::Slot | Kind::Object | Kind::SessionFlags | Kind::Number | Kind::Optional => &[],
            };
            for offset in spoil {
                scene.case(|scene| {
                    (row.before)(scene);
                    let mut arguments = (row.right)(scene);
                    arguments[place + offset] = Argument::NULL;
                    if matches!(kind, Kind::Bytes | Kind::Attributes) && arguments[place + 1] == Argument::NULL {
                        arguments[place + 1] = 1.into();
                    }
                    let given = row.nulls.iter().find(|(which, _)| *which == number).map(|(_, rv)| *rv);
                    scene.world.proxy.mark();
                    let (rv, _) = scene.probe.call(row.name, arguments);
                    assert_eq!(Ck(rv), Ck(given.unwrap_or(CKR_ARGUMENTS_BAD)), "{}: null in place {place}", row.name);
                    assert_eq!(scene.world.proxy.mark().names(), [""; 0], "{}", row.name);
                });
            }
        }
    }
}

#[test]
fn before_initialisation_each_function_says_so() {
    let mut scene = Scene::new();
    let world = World::new();
    let early = world.probe();
    for row in rows() {
        scene.case(|scene| {
            (row.before)(scene);
            let arguments = (row.right)(scene);
            let (rv, _) = early.call(row.name, arguments);
            assert_eq!(Ck(rv), Ck(row.early), "{}", row.name);
        });
        if row.name == "C_Initialize" {
            early.finalize().unwrap();
        }
    }
    assert_eq!(world.proxy.mark().len(), 0);
}

/// A result that is kept for the caller to come back with a longer buffer is that of its own input.
#[test]
fn another_input_after_a_short_buffer_has_its_own_result() {
    let mut scene = Scene::new();
    for by in ["in the TPM", "in memory"] {
        scene.case(|s| {
            let key = if by == "in memory" { s.memory } else { s.aes };
            let [one, two] =
                [&b"first"[..], b"another"].map(|text| s.probe.encrypt(s.anchor, scene::cbc_pad(), key, text).unwrap());
            s.init("C_DecryptInit", scene::cbc_pad(), key);
            assert_eq!(Ck(s.probe.transform_into("C_Decrypt", s.session, &one, Some(1)).rv), Ck(CKR_BUFFER_TOO_SMALL));
            assert_eq!(s.probe.transform("C_Decrypt", s.session, &two).unwrap(), b"another", "{by}");
            // In parts, after a try in one call.
            s.init("C_DecryptInit", scene::cbc_pad(), key);
            assert_eq!(Ck(s.probe.transform_into("C_Decrypt", s.session, &one, Some(1)).rv), Ck(CKR_BUFFER_TOO_SMALL));
            let mut plain = s.probe.transform("C_DecryptUpdate", s.session, &two).unwrap();
            plain.extend(s.probe.finish("C_DecryptFinal", s.session).unwrap());
            assert_eq!(plain, b"another", "{by}");
        });
    }
}
