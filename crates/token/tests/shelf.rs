//! Objects that are read when somebody asks: what another process changes is seen by the next search, and what somebody altered
//! is not served, whatever was seen of it before.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use common::{World, find};
use model::{AttributeType, ObjectClass, ObjectHandle, SessionHandle, Template, Value};
use store::{OpenMode, Store};
use token::Library;

fn search(library: &Library, session: SessionHandle, template: &Template) -> Vec<ObjectHandle> {
    library.find_init(session, template).unwrap();
    let mut found = Vec::new();
    loop {
        let part = library.find(session, 2).unwrap();
        if part.is_empty() {
            break;
        }
        found.extend(part);
    }
    library.find_final(session).unwrap();
    found
}

fn bytes(ty: AttributeType, value: &[u8]) -> Template {
    Template::new().with(ty, Value::Bytes(value.to_vec()))
}

fn of_class(class: ObjectClass) -> Template {
    Template::new().with(AttributeType::CLASS, Value::Ulong(class.0))
}

#[test]
fn every_way_to_search_finds_the_same() {
    let world = World::with_token(&["ecc256", "rsa2048", "ecc384"]);
    let (library, session) = world.logged_in();
    let all = search(&library, session, &Template::new());
    assert_eq!(all.len(), 6);
    // Twice: what was seen the first time is not looked at again.
    assert_eq!(search(&library, session, &Template::new()), all);
    let types = [
        AttributeType::CLASS,
        AttributeType::KEY_TYPE,
        AttributeType::LABEL,
        AttributeType::ID,
        AttributeType::UNIQUE_ID,
        AttributeType::PRIVATE,
        AttributeType::TOKEN,
        AttributeType::SIGN,
        AttributeType::VERIFY,
        AttributeType::EC_POINT,
        AttributeType::MODULUS,
        AttributeType::PUBLIC_KEY_INFO,
        AttributeType::EC_PARAMS,
        AttributeType::SUBJECT,
    ];
    let values = |object: ObjectHandle| {
        let values = library.get_attributes(session, object, &types).unwrap();
        let values = values.into_iter().map(|value| match value {
            token::info::AttributeValue::Value(bytes) => Some(bytes),
            _ => None,
        });
        values.collect::<Vec<_>>()
    };
    let known: Vec<_> = all.iter().map(|object| (*object, values(*object))).collect();
    // Each value alone, and each with each other one: against the objects themselves.
    for (_, asked) in &known {
        for (i, ty) in types.iter().enumerate() {
            for (j, other) in types.iter().enumerate() {
                let (Some(one), Some(two)) = (&asked[i], &asked[j]) else { continue };
                let mut template = Template::new();
                template.push(*ty, one.clone());
                template.push(*other, two.clone());
                let has =
                    |values: &[Option<Vec<u8>>]| values[i].as_ref() == Some(one) && values[j].as_ref() == Some(two);
                let right: Vec<_> = known.iter().filter(|(_, values)| has(values)).map(|(object, _)| *object).collect();
                assert_eq!(search(&library, session, &template), right, "{template:?}");
            }
        }
    }
    // Two values that no object has both of.
    let mut both = bytes(AttributeType::LABEL, b"ecc256");
    both.push(AttributeType::LABEL, b"ecc384".to_vec());
    assert_eq!(search(&library, session, &both), []);
    let mut both = of_class(ObjectClass::PUBLIC_KEY);
    both.push(AttributeType::CLASS, values(all[0])[0].clone().unwrap());
    both.push(AttributeType::CLASS, values(all[1])[0].clone().unwrap());
    assert_eq!(search(&library, session, &both), []);
    assert_eq!(search(&library, session, &bytes(AttributeType::LABEL, b"")), []);
    let not_here = Template::new().with(AttributeType::TOKEN, Value::Bool(false));
    assert_eq!(search(&library, session, &not_here), []);
}

#[test]
fn private_objects_are_seen_after_the_login_alone() {
    let world = World::with_token(&["ecc256", "ecc384"]);
    let library = Library::open(world.config.clone()).unwrap();
    let session = library.open_session(library.slot_list(true).unwrap()[0], false).unwrap();
    for _ in 0..2 {
        assert_eq!(search(&library, session, &Template::new()).len(), 2);
        assert_eq!(search(&library, session, &of_class(ObjectClass::PRIVATE_KEY)), []);
        assert_eq!(search(&library, session, &bytes(AttributeType::LABEL, b"ecc256")).len(), 1);
        library.login(session, model::UserType::User, Some(common::pin("userpin"))).unwrap();
        assert_eq!(search(&library, session, &Template::new()).len(), 4);
        let keys = search(&library, session, &of_class(ObjectClass::PRIVATE_KEY));
        assert_eq!(keys.len(), 2);
        library.logout(session).unwrap();
        library.get_attributes(session, keys[0], &[AttributeType::LABEL]).unwrap_err();
    }
}

#[test]
fn what_another_process_does_is_seen_by_the_next_search() {
    let world = World::with_token(&["ecc256", "ecc384"]);
    let (one, here) = world.logged_in();
    let (other, there) = world.logged_in();
    let all = search(&one, here, &Template::new());
    let key = find(&other, there, ObjectClass::PUBLIC_KEY, "ecc256");
    other.set_attributes(there, key, &bytes(AttributeType::LABEL, b"renamed")).unwrap();
    assert_eq!(search(&one, here, &bytes(AttributeType::LABEL, b"renamed")), [key]);
    assert_eq!(search(&one, here, &bytes(AttributeType::LABEL, b"ecc256")).len(), 1);
    assert_eq!(search(&one, here, &Template::new()), all);
    let data = of_class(ObjectClass::DATA)
        .with(AttributeType::TOKEN, Value::Bool(true))
        .with(AttributeType::LABEL, Value::Bytes(b"note".to_vec()));
    let note = other.create_object(there, &data).unwrap();
    assert_eq!(search(&one, here, &of_class(ObjectClass::DATA)), [note]);
    assert_eq!(search(&one, here, &Template::new()).len(), all.len() + 1);
    // Destroyed between two parts of a search: what is no more is not handed out.
    one.find_init(here, &Template::new()).unwrap();
    assert_eq!(one.find(here, 1).unwrap().len(), 1);
    other.destroy_object(there, note).unwrap();
    one.find_final(here).unwrap();
    assert_eq!(search(&one, here, &of_class(ObjectClass::DATA)), []);
    assert_eq!(search(&one, here, &Template::new()), all);
}

/// With and without a word in the list of changes: who writes the store writes that, too.
#[test]
fn an_altered_row_is_not_served_after_it_was() {
    for told in [true, false] {
        let world = World::with_token(&["ecc256", "ecc384"]);
        let (library, session) = world.logged_in();
        let key = find(&library, session, ObjectClass::PUBLIC_KEY, "ecc256");
        let all = search(&library, session, &Template::new());
        assert_eq!(search(&library, session, &Template::new()), all);
        let file = world.config.store_file();
        if told {
            let store = Store::open(&file, OpenMode::ReadWrite).unwrap();
            let mut row = store.object(key.0.cast_signed()).unwrap().unwrap();
            row.label = Some(b"evil".to_vec());
            store.replace_object(&row).unwrap();
        } else {
            let sql = format!("UPDATE objects SET label = x'6576696c' WHERE id = {}", key.0);
            rusqlite::Connection::open(&file).unwrap().execute(&sql, []).unwrap();
        }
        assert_eq!(search(&library, session, &bytes(AttributeType::LABEL, b"evil")), []);
        assert_eq!(search(&library, session, &of_class(ObjectClass::PUBLIC_KEY)).len(), 1);
        assert_eq!(search(&library, session, &Template::new()).len(), all.len() - 1);
        library.get_attributes(session, key, &[AttributeType::LABEL]).unwrap_err();
    }
}
