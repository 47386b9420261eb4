//! Two processes that change the same object: neither undoes what the other did.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use common::{World, find, pin};
use model::{AttributeType, ObjectClass, Template, UserType, Value};
use token::Library;

#[test]
fn changes_of_two_processes_add_up() {
    let world = World::with_token(&["ecc256"]);
    let open = || {
        let library = Library::open(world.config.clone()).unwrap();
        let session = library.open_session(library.slot_list(true).unwrap()[0], true).unwrap();
        library.login(session, UserType::User, Some(pin("userpin"))).unwrap();
        let object = find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
        (library, session, object)
    };
    // Both have the object as it was.
    let (first, one, object) = open();
    let (second, two, same) = open();
    assert_eq!(object, same);
    let set = |ty, bytes: &[u8]| Template::new().with(ty, Value::Bytes(bytes.to_vec()));
    first.set_attributes(one, object, &set(AttributeType::LABEL, b"renamed")).unwrap();
    second.set_attributes(two, object, &set(AttributeType::SUBJECT, b"somebody")).unwrap();
    let (third, session) = world.logged_in();
    let found = find(&third, session, ObjectClass::PUBLIC_KEY, "renamed");
    let subject = set(AttributeType::SUBJECT, b"somebody");
    third.find_init(session, &subject).unwrap();
    assert_eq!(third.find(session, 10).unwrap(), [found]);
}
