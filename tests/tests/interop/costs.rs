//! The numbers in the README's comparison: what the module under test asks of the TPM, counted. With `MODULE=`, they are those of
//! the other column.

use pkcs11_sys::{CKA_CLASS, CKM_ECDSA, CKO_PUBLIC_KEY};
use swtpm_fixtures::Commands;
use tests::documents;
use tests::probe::number;
use tests::world::{ALPHA, World};

/// The cell of a row of the table that is about the module under test.
fn cell(row: &str) -> String {
    let readme = documents::text("README.md");
    let line = readme.lines().find(|line| line.starts_with(&format!("| {row}"))).unwrap_or_else(|| panic!("{row}"));
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells[if tests::peer::is_under_test() { 3 } else { 2 }].to_owned()
}

/// A world in which somebody has logged in since the TPM was switched on, and whose module gives nothing back for being slow.
fn warm(world: World) -> World {
    let world = world.configured("idle-ms = 600000\n");
    one_life(&world);
    asked_of_the_chip(&world);
    world
}

fn asked_of_the_chip(world: &World) -> Commands {
    if let Some(manager) = &world.manager {
        manager.mark();
    }
    world.proxy.mark()
}

fn one_life(world: &World) {
    let probe = world.probe().initialized();
    let session = probe.user_session(&ALPHA);
    let key = probe.private_key(session, "p256");
    assert_eq!(probe.sign(session, CKM_ECDSA, key, &[7; 32]).unwrap().len(), 64);
    probe.finalize().unwrap();
}

/// What the module itself asks: ours of the TPM alone, and the other one, which only works behind a resource manager, of that.
fn asked(life: impl Fn(&World)) -> Commands {
    let world = warm(World::new());
    life(&world);
    match &world.manager {
        Some(manager) => manager.mark(),
        None => world.proxy.mark(),
    }
}

/// What the other module asks for each slot it shows, of which one is for the next token: the README counts with one token, and
/// the worlds of the tests have two that it can use.
const FOR_EACH_SLOT: usize = 11;

#[test]
fn the_readme_counts_the_commands_of_one_life() {
    let another_token = if tests::peer::is_under_test() { FOR_EACH_SLOT } else { 0 };
    let module = asked(one_life);
    let said = cell("TPM commands of a process that logs in, signs once and ends");
    assert_eq!((module.len() - another_token).to_string(), said, "{module}");
    let world = warm(World::new().managed());
    one_life(&world);
    let chip = asked_of_the_chip(&world);
    assert_eq!((chip.len() - another_token).to_string(), cell("the same, as the chip sees it"), "{chip}");
}

#[test]
fn the_readme_counts_the_commands_before_the_first_object() {
    let slots = std::cell::Cell::new(0);
    let module = asked(|world| {
        let probe = world.probe().initialized();
        slots.set(probe.slots(true).unwrap().len());
        let session = probe.open_ro(probe.slot_of("alpha"));
        assert!(!probe.find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY)]).unwrap().is_empty());
    });
    let said = cell("TPM commands before the first object is listed");
    if tests::peer::is_under_test() {
        assert_eq!(said, format!("{} ({FOR_EACH_SLOT} for each token, and {FOR_EACH_SLOT}) (m)", 2 * FOR_EACH_SLOT));
        assert_eq!(module.len(), FOR_EACH_SLOT * slots.get(), "{} slots: {module}", slots.get());
    } else {
        assert_eq!((module.len(), &said[..2]), (0, "0,"), "{module}");
    }
}
