//! Searches by index, and the list of changes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{object, place, with_token};
use store::{Brief, Changes, NewObject, OpenMode, Search, Store};

#[test]
fn each_search_finds_what_has_all_of_it() {
    let store = Store::memory().unwrap();
    let token = with_token(&store);
    let add = |class, label: &[u8], id: &[u8], value: &[u8]| {
        let attributes = vec![(297, value.to_vec()), (1, vec![1])];
        let (label, cka_id) = (Some(label.to_vec()), Some(id.to_vec()));
        store.add_object(&NewObject { class, label, cka_id, attributes, ..object(token) }).unwrap()
    };
    let long = |start: u8| [vec![start; 40], vec![9; 16]].concat();
    let one = add(2, b"a", b"\x01", &long(1));
    let two = add(3, b"a", b"\x01", &long(1));
    let three = add(3, b"b", b"\x01", &long(2));
    let found = |search: Search<'_>| store.find_objects(token, &search).unwrap();
    let any = Search::default();
    assert_eq!(found(any), [one, two, three]);
    assert_eq!(found(Search { label: Some(b"a"), ..any }), [one, two]);
    assert_eq!(found(Search { label: Some(b"a"), class: Some(3), ..any }), [two]);
    assert_eq!(found(Search { cka_id: Some(b"\x01"), ..any }), [one, two, three]);
    assert_eq!(found(Search { cka_id: Some(b"\x01"), label: Some(b"b"), ..any }), [three]);
    assert_eq!(found(Search { cka_id: Some(b""), ..any }), []);
    // The same end is not the same value.
    assert_eq!(found(Search { attribute: Some((297, &long(1))), ..any }), [one, two]);
    assert_eq!(found(Search { attribute: Some((297, &long(1))), class: Some(2), ..any }), [one]);
    assert_eq!(found(Search { attribute: Some((297, &long(3))), ..any }), []);
    // An attribute without an index is found all the same.
    assert!(store.is_searched(297) && !store.is_searched(1));
    assert_eq!(found(Search { attribute: Some((1, &[1])), class: Some(2), ..any }), [one]);
    let uid = store.object(two).unwrap().unwrap().uid;
    assert_eq!(found(Search { uid: Some(&uid), ..any }), [two]);
    assert_eq!(found(Search { uid: Some(&uid), label: Some(b"b"), ..any }), []);
    assert_eq!(store.find_objects(token + 1, &any).unwrap(), []);
    let brief = |id, class| Brief { id, class, key_type: Some(0), private: true };
    assert_eq!(store.briefs(token).unwrap(), [brief(one, 2), brief(two, 3), brief(three, 3)]);
    assert_eq!(store.brief(token, two).unwrap(), Some(brief(two, 3)));
    assert_eq!(store.brief(token + 1, two).unwrap(), None);
    assert_eq!(store.count_keys(token).unwrap(), 3);
    assert!(store.has_key_named(token, &[1; 34]).unwrap() && !store.has_key_named(token, &[2; 34]).unwrap());
}

#[test]
fn some_objects_are_read_at_once_wherever_they_stand() {
    let store = Store::memory().unwrap();
    let (token, other) = (with_token(&store), common::with_another_token(&store));
    for number in 0..40_u8 {
        let attributes = vec![(300, vec![number]), (1, vec![number; 3])];
        store.add_object(&NewObject { attributes, ..object(if number % 3 == 1 { other } else { token }) }).unwrap();
    }
    store.remove_object(12).unwrap();
    for ids in [&[][..], &[7], &[1, 2, 3, 4], &[2, 3, 5, 6], &[11, 12, 13], &[1, 20, 40], &[12], &[39, 40, 41, 90]] {
        let one_by_one: Vec<_> = ids.iter().filter_map(|id| store.object(*id).unwrap()).collect();
        assert!(one_by_one.iter().all(|row| row.attributes.len() == 2 && row.attributes[0].0 == 1));
        assert_eq!(store.objects_by_ids(ids).unwrap(), one_by_one, "{ids:?}");
    }
}

#[test]
fn many_objects_are_read_in_parts() {
    let store = Store::memory().unwrap();
    let token = with_token(&store);
    for _ in 0..7 {
        store.add_object(&object(token)).unwrap();
    }
    let all = store.objects(token).unwrap();
    let mut parts = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let part = store.objects_after(token, parts.last().map_or(0, |row: &store::ObjectRow| row.id), 3).unwrap();
        sizes.push(part.len());
        if part.is_empty() {
            break;
        }
        parts.extend(part);
    }
    assert_eq!((parts, sizes), (all, vec![3, 3, 1, 0]));
}

#[test]
fn another_process_is_told_what_changed() {
    let (_dir, file) = place();
    let mut writer = Store::create(&file).unwrap();
    let token = with_token(&writer);
    let reader = Store::open(&file, OpenMode::ReadOnly).unwrap();
    let (changes, mut seen) = reader.changes_since(None).unwrap();
    assert_eq!(changes, Changes::Unknown);
    let mut look = || {
        let (changes, now) = reader.changes_since(Some(seen)).unwrap();
        seen = now;
        changes
    };
    let of = |ids: &[i64]| Changes::Objects(ids.iter().map(|id| (token, Some(*id))).collect());
    let first = writer.add_object(&object(token)).unwrap();
    let second = writer.add_object(&object(token)).unwrap();
    assert_eq!(look(), of(&[first, second]));
    writer.set_attribute(first, 5, Some(&[1])).unwrap();
    let mut row = writer.object(second).unwrap().unwrap();
    row.label = Some(b"other".to_vec());
    writer.replace_object(&row).unwrap();
    assert_eq!(look(), of(&[first, second]));
    writer.remove_object(first).unwrap();
    assert_eq!(look(), of(&[first]));
    // What did not happen is no change.
    let failed = writer.transaction(|store| -> Result<(), store::Error> {
        store.remove_object(second)?;
        Err(store::Error::ReadOnly)
    });
    failed.unwrap_err();
    assert_eq!(look(), Changes::Unknown);
    writer.remove_objects(token).unwrap();
    assert_eq!(look(), Changes::Objects(vec![(token, None)]));
    // Something else than objects.
    writer.rename_token(token, "other").unwrap();
    assert_eq!(look(), Changes::Unknown);
    // More than is remembered.
    writer
        .transaction(|store| -> Result<(), store::Error> {
            let id = store.add_object(&object(token))?;
            for _ in 0..1001 {
                store.set_attribute(id, 7, Some(&[1]))?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(look(), Changes::Unknown);
    let third = writer.add_object(&object(token)).unwrap();
    assert_eq!(look(), of(&[third]));
    writer.remove_token(token).unwrap();
    assert_eq!(look(), Changes::Objects(vec![(token, None)]));
}
