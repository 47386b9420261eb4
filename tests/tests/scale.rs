//! Ten thousand keys cost what ten do: instructions of a process that finds one of them, and memory. Times are no tests.

use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType};
use tests::world::World;
use tests::{crowd, product, skip};

/// The number of the pair that the program looks for; none to do nothing but load the module.
const NUMBER: &str = "SCALE_NUMBER";

#[test]
fn the_instructions_of_a_search_do_not_grow_with_the_keys() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip::left_out("valgrind, which counts instructions, is not installed");
    }
    let [few, many] = [10, 10_000].map(world);
    let nothing = instructions(&few, "none");
    let (few, many) = (instructions(&few, "7") - nothing, instructions(&many, "7919") - nothing);
    assert!(few > 100_000.0, "the search counts: {few}");
    assert!(many <= 1.2 * few, "{many} instructions with 10,000 pairs, {few} with 10");
}

#[test]
fn what_is_not_asked_for_takes_no_memory() {
    // Both fill what SQLite keeps of a file.
    let [some, many] = [2_000, 10_000].map(|pairs| memory(&world(pairs)));
    let each = (many - some) / (2.0 * 8_000.0);
    assert!(each <= 100.0, "{each} bytes an object: {some} with 2,000 pairs, {many} with 10,000");
}

fn world(pairs: usize) -> World {
    let world = World::new();
    crowd::fill(&world.store_file(), "alpha", "p256", pairs);
    world
}

fn program(world: &World, number: &str, before: &[&str]) -> Command {
    let itself = std::env::current_exe().unwrap();
    let itself = itself.to_str().unwrap();
    let words = [before, &[itself, "--exact", "the_program_that_searches", "--ignored", "--nocapture"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).envs(world.environment()).env(NUMBER, number);
    command
}

fn instructions(world: &World, number: &str) -> f64 {
    let valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let output = program(world, number, &valgrind).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text.lines().find_map(|line| line.split_once("Collected :")).unwrap().1.trim().parse().unwrap()
}

/// The most bytes that the process had.
fn memory(world: &World) -> f64 {
    let output = program(world, "1999", &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

#[test]
#[ignore = "the program of the tests above"]
fn the_program_that_searches() {
    let module = Pkcs11::new(product::module()).unwrap();
    if let Ok(number) = std::env::var(NUMBER).unwrap().parse() {
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slots = module.get_slots_with_initialized_token().unwrap();
        let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == "alpha").unwrap();
        let session = module.open_ro_session(slot).unwrap();
        let found = session.find_objects(&[Attribute::Label(crowd::label(number).into_bytes())]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(session.get_attributes(found[0], &[AttributeType::Id]).unwrap().len(), 1);
    }
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
}
