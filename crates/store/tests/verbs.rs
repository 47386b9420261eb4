//! What goes in comes out, and what must not be is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use base::Secret;
use common::*;
use store::{Error, MAX_VALUE, NewApproval, NewObject, NewPrimary, NewToken, ObjectRow, Role, Store};

fn row(id: i64, object: &NewObject) -> ObjectRow {
    let object = object.clone();
    let mut attributes = object.attributes;
    attributes.sort();
    ObjectRow {
        id,
        token_id: object.token_id,
        uid: object.uid,
        class: object.class,
        key_type: object.key_type,
        label: object.label,
        cka_id: object.cka_id,
        private: object.private,
        tpm_name: object.tpm_name,
        tpm_public: object.tpm_public,
        tpm_private: object.tpm_private,
        wrapped_auth: object.wrapped_auth,
        policy: object.policy,
        mac: object.mac,
        attributes,
    }
}

#[test]
fn primaries() {
    let store = Store::memory().unwrap();
    let first = store.add_primary(&primary()).unwrap();
    let transient = NewPrimary { hierarchy: 'e', handle: None, auth: Secret::copy_from(b"auth"), ..primary() };
    let second = store.add_primary(&transient).unwrap();

    let rows = store.primaries().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].id, rows[0].hierarchy), (first, 'o'));
    assert_eq!(rows[0].handle, Some(0x8100_0001));
    assert_eq!(rows[0].public, b"public");
    assert_eq!(rows[0].name, b"name");
    assert!(rows[0].auth.is_empty());
    assert!(rows[0].created > 1_700_000_000);
    assert_eq!(rows[1].handle, None);
    assert_eq!(rows[1].auth, Secret::copy_from(b"auth"));
    assert_eq!(store.primary(second).unwrap().as_ref(), Some(&rows[1]));
    assert_eq!(store.primary(99).unwrap(), None);

    store.set_capabilities(first, "{\"rsa\":4096}").unwrap();
    let changed = store.primary(first).unwrap().unwrap();
    assert_eq!(changed.capabilities, "{\"rsa\":4096}");
    let missing = Err(Error::Missing { what: "primary", id: 99 });
    assert_eq!(store.set_capabilities(99, "{}"), missing);

    let unknown = NewPrimary { hierarchy: 'x', ..primary() };
    assert!(matches!(store.add_primary(&unknown), Err(Error::Sql(_))));

    store.add_token(&token(first, "0000000000000001")).unwrap();
    assert!(matches!(store.remove_primary(first), Err(Error::InUse(_))));
    store.remove_primary(second).unwrap();
    assert_eq!(store.remove_primary(99), missing);
    assert_eq!(store.primaries().unwrap().len(), 1);
}

#[test]
fn tokens_and_slots() {
    let store = Store::memory().unwrap();
    let primary = store.add_primary(&primary()).unwrap();
    let serials = ["0000000000000001", "0000000000000002", "00000000000000aB"];
    let ids = serials.map(|serial| store.add_token(&token(primary, serial)).unwrap());
    let slots = || -> Vec<u32> {
        let tokens = store.tokens().unwrap();
        tokens.iter().map(|token| token.slot).collect()
    };
    assert_eq!(slots(), [1, 2, 3]);
    store.remove_token(ids[1]).unwrap();
    assert_eq!(slots(), [1, 3]);

    let empty = NewToken {
        label: "",
        initialized: false,
        login_required: false,
        so: None,
        user: None,
        ..token(primary, "0000000000000002")
    };
    let id = store.add_token(&empty).unwrap();
    assert!(id > ids[2], "an id was given again");
    assert_eq!(slots(), [1, 2, 3]);
    let row = store.token(id).unwrap().unwrap();
    assert_eq!((row.slot, row.primary_id, &*row.label), (2, primary, ""));
    assert_eq!((row.initialized, row.login_required), (false, false));
    assert_eq!((row.so, row.user), (None, None));

    let first = store.token(ids[0]).unwrap().unwrap();
    assert_eq!((first.so.clone(), first.user.clone()), (Some(pin(1)), Some(pin(2))));
    assert_eq!((first.initialized, first.login_required), (true, true));
    assert_eq!(store.token_by_label("label").unwrap(), Some(first));
    assert_eq!(store.token_by_label("other").unwrap(), None);
    assert_eq!(store.token(99).unwrap(), None);

    let twice = store.add_token(&token(primary, serials[0]));
    assert!(matches!(twice, Err(Error::InUse(_))));
    for serial in ["", "123", "00000000000000011", "000000000000000g"] {
        let refused = store.add_token(&token(primary, serial));
        assert!(matches!(refused, Err(Error::Sql(_))), "{serial}");
    }
    let nowhere = store.add_token(&token(99, "0000000000000009"));
    assert_eq!(nowhere, Err(Error::Missing { what: "primary", id: 99 }));
    assert_eq!(slots(), [1, 2, 3]);
}

#[test]
fn tokens_change() {
    let store = Store::memory().unwrap();
    let id = with_token(&store);
    store.rename_token(id, "é\u{1f511}").unwrap();
    store.set_token_config(id, "{\"a\":1}").unwrap();
    store.set_token_state(id, false, true).unwrap();
    store.set_pin(id, Role::User, &pin(9)).unwrap();
    let row = store.token(id).unwrap().unwrap();
    assert_eq!((&*row.label, &*row.config), ("é\u{1f511}", "{\"a\":1}"));
    assert_eq!((row.initialized, row.login_required), (false, true));
    assert_eq!((row.so, row.user), (Some(pin(1)), Some(pin(9))));

    store.remove_pin(id, Role::User).unwrap();
    store.remove_pin(id, Role::User).unwrap();
    let row = store.token(id).unwrap().unwrap();
    assert_eq!((row.so, row.user), (Some(pin(1)), None));
    store.set_pin(id, Role::User, &pin(3)).unwrap();
    assert_eq!(store.token(id).unwrap().unwrap().user, Some(pin(3)));

    let missing = Err(Error::Missing { what: "token", id: 99 });
    assert_eq!(store.rename_token(99, ""), missing);
    assert_eq!(store.set_token_config(99, ""), missing);
    assert_eq!(store.set_token_state(99, true, true), missing);
    assert_eq!(store.set_pin(99, Role::So, &pin(1)), missing);
    assert_eq!(store.remove_token(99), missing);

    store.add_object(&object(id)).unwrap();
    store.remove_token(id).unwrap();
    assert!(store.tokens().unwrap().is_empty());
    assert!(store.objects(id).unwrap().is_empty());
    store.check().unwrap();
}

#[test]
fn objects() {
    let store = Store::memory().unwrap();
    let token = with_token(&store);
    let full = object(token);
    let bare = NewObject { token_id: token, uid: [7; 16], ..NewObject::default() };
    let (first, second) = store.add_pair(&full, &bare).unwrap();
    let third = store.add_object(&object(token)).unwrap();
    assert!(first < second && second < third);

    assert_eq!(store.object_ids(token).unwrap(), [first, second, third]);
    let rows = store.objects(token).unwrap();
    assert_eq!(rows[..2], [row(first, &full), row(second, &bare)]);
    assert_eq!(store.object(first).unwrap().as_ref(), Some(&rows[0]));
    assert_eq!(store.object_by_uid(&[7; 16]).unwrap().as_ref(), Some(&rows[1]));
    assert_eq!(store.object_by_uid(&[8; 16]).unwrap(), None);
    assert_eq!(store.object(99).unwrap(), None);
    assert!(store.objects(99).unwrap().is_empty());

    store.remove_object(third).unwrap();
    let fourth = store.add_object(&object(token)).unwrap();
    assert!(fourth > third, "an id was given again");
    assert_eq!(store.remove_objects(token).unwrap(), 3);
    assert!(store.object_ids(token).unwrap().is_empty());
    let fifth = store.add_object(&object(token)).unwrap();
    assert!(fifth > fourth, "an id was given again");
    let missing = Err(Error::Missing { what: "object", id: 99 });
    assert_eq!(store.remove_object(99), missing);
    store.check().unwrap();
}

#[test]
fn objects_change() {
    let store = Store::memory().unwrap();
    let token = with_token(&store);
    let id = store.add_object(&object(token)).unwrap();
    let mut wanted = store.object(id).unwrap().unwrap();
    wanted.class = 0xffff_ffff;
    wanted.key_type = None;
    wanted.label = None;
    wanted.cka_id = Some(Vec::new());
    wanted.private = false;
    wanted.policy = None;
    wanted.mac = Some(vec![9; 32]);
    wanted.attributes = vec![(5, vec![5]), (u64::MAX, vec![6])];
    store.replace_object(&wanted).unwrap();
    assert_eq!(store.object(id).unwrap().as_ref(), Some(&wanted));
    assert_eq!(store.objects(token).unwrap(), [wanted.clone()]);

    store.set_attribute(id, 5, Some(b"new")).unwrap();
    store.set_attribute(id, u64::MAX, None).unwrap();
    store.set_attribute(id, u64::MAX, None).unwrap();
    store.set_attribute(id, 1 << 63, Some(b"")).unwrap();
    let attributes = store.object(id).unwrap().unwrap().attributes;
    assert_eq!(attributes, [(5, b"new".to_vec()), (1 << 63, Vec::new())]);

    let missing = Err(Error::Missing { what: "object", id: 99 });
    assert_eq!(store.set_attribute(99, 5, Some(b"x")), missing);
    assert_eq!(store.set_attribute(99, 5, None), missing);
    let nobody = ObjectRow { id: 99, ..wanted.clone() };
    assert_eq!(store.replace_object(&nobody), missing);
    // Neither token nor uid can be changed.
    for other in [ObjectRow { token_id: 99, ..wanted.clone() }, ObjectRow { uid: [9; 16], ..wanted }] {
        let missing = Err(Error::Missing { what: "object", id });
        assert_eq!(store.replace_object(&other), missing);
    }
}

#[test]
fn a_half_done_change_is_no_change() {
    let mut store = Store::memory().unwrap();
    let token = with_token(&store);
    let good = object(token);
    let id = store.add_object(&good).unwrap();
    let before = store.objects(token).unwrap();

    let mut doubled = object(token);
    doubled.attributes.push((0, vec![0]));
    assert!(matches!(store.add_object(&doubled), Err(Error::InUse(_))));
    let same_uid = NewObject { uid: good.uid, ..object(token) };
    assert!(matches!(store.add_pair(&object(token), &same_uid), Err(Error::InUse(_))));
    let nowhere = store.add_pair(&object(token), &object(99));
    assert_eq!(nowhere, Err(Error::Missing { what: "token", id: 99 }));
    let mut broken = before[0].clone();
    broken.label = None;
    broken.attributes = vec![(1, vec![]), (1, vec![])];
    assert!(matches!(store.replace_object(&broken), Err(Error::InUse(_))));
    assert_eq!(store.objects(token).unwrap(), before);

    let result: Result<(), String> = store
        .transaction(|store| {
            store.remove_object(id).unwrap();
            store.add_object(&object(token)).unwrap();
            Err(MyError("changed my mind".to_owned()))
        })
        .map_err(|MyError(why)| why);
    assert_eq!(result, Err("changed my mind".to_owned()));
    assert_eq!(store.objects(token).unwrap(), before);

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.transaction(|store| -> Result<(), Error> {
            store.remove_object(id).unwrap();
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.objects(token).unwrap(), before);

    // A failure inside does not spoil what was done before it in the same transaction.
    let kept = store.transaction(|store| -> Result<i64, Error> {
        let kept = store.add_object(&object(token))?;
        assert!(store.add_object(&doubled).is_err());
        assert!(store.replace_object(&broken).is_err());
        Ok(kept)
    });
    assert_eq!(store.object_ids(token).unwrap(), [id, kept.unwrap()]);
    store.check().unwrap();
}

#[derive(Debug)]
struct MyError(String);

impl From<Error> for MyError {
    fn from(error: Error) -> MyError {
        MyError(error.to_string())
    }
}

#[test]
fn lengths_have_a_limit() {
    let store = Store::memory().unwrap();
    let token = with_token(&store);
    let longest = vec![1; MAX_VALUE];
    let longer = vec![1; MAX_VALUE + 1];
    let too_long = Error::TooLong { len: MAX_VALUE + 1, most: MAX_VALUE };

    let mut big = object(token);
    big.label = Some(longest.clone());
    big.tpm_public = Some(longest.clone());
    big.attributes = vec![(1, longest.clone()), (2, longest)];
    let id = store.add_object(&big).unwrap();
    assert_eq!(store.object(id).unwrap(), Some(row(id, &big)));

    let mut refused = object(token);
    refused.mac = Some(longer.clone());
    assert_eq!(store.add_object(&refused), Err(too_long.clone()));
    refused = object(token);
    refused.attributes.push((9, longer.clone()));
    assert_eq!(store.add_object(&refused), Err(too_long.clone()));
    assert_eq!(store.set_attribute(id, 1, Some(&longer)), Err(too_long.clone()));
    let text = String::from_utf8(longer.clone()).unwrap();
    assert_eq!(store.rename_token(token, &text), Err(too_long.clone()));
    assert_eq!(store.set_token_config(token, &text), Err(too_long.clone()));
    assert_eq!(store.set_capabilities(1, &text), Err(too_long.clone()));
    let mut pin = pin(1);
    pin.private = longer;
    assert_eq!(store.set_pin(token, Role::So, &pin), Err(too_long));
    assert_eq!(store.object_ids(token).unwrap(), [id]);
}

#[test]
fn nothing_secret_is_printed() {
    let store = Store::memory().unwrap();
    let new = NewPrimary { auth: Secret::copy_from(b"hunter2"), ..primary() };
    store.add_primary(&new).unwrap();
    let printed = format!("{new:?} {:?} {store:?}", store.primaries().unwrap());
    assert!(!printed.contains("hunter2") && !printed.contains("104, 117, 110"));
}

#[test]
fn approvals() {
    let store = Store::memory().unwrap();
    let approval = NewApproval {
        authority: [1; 32],
        bank: "sha256",
        pcrs: 1 << 11,
        policy_digest: &[2; 32],
        signature: &[3; 256],
        limit: None,
        comment: Some("kernel 6.12"),
    };
    let first = store.add_approval(&approval).unwrap();
    let second = store.add_approval(&NewApproval { policy_digest: &[4; 32], comment: None, ..approval }).unwrap();
    let again = store.add_approval(&NewApproval { signature: &[5; 64], limit: Some("{}"), ..approval }).unwrap();
    assert_eq!(again, first, "the same state of the same authority");

    let rows = store.approvals().unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [second, first]);
    assert_eq!(rows[1].authority, [1; 32]);
    assert_eq!((rows[1].bank.as_str(), rows[1].pcrs), ("sha256", 1 << 11));
    assert_eq!((&rows[1].policy_digest[..], &rows[1].signature[..]), (&[2; 32][..], &[5; 64][..]));
    assert_eq!((rows[1].limit.as_deref(), &rows[0].limit), (Some("{}"), &None));
    assert_eq!((rows[1].comment.as_deref(), rows[0].comment.as_deref()), (Some("kernel 6.12"), None));
    assert!(rows[1].created > 1_700_000_000);

    assert_eq!(store.remove_approval(first).unwrap(), rows[1]);
    assert_eq!(store.remove_approval(first), Err(Error::Missing { what: "approval", id: first }));
    assert_eq!(store.approvals().unwrap().len(), 1);
    for pcrs in [0, 1 << 24] {
        assert!(matches!(store.add_approval(&NewApproval { pcrs, ..approval }), Err(Error::Sql(_))));
    }
}

#[test]
fn the_policy_of_a_token() {
    let store = Store::memory().unwrap();
    let id = with_token(&store);
    let policy = |store: &Store| store.token(id).unwrap().unwrap().policy;
    assert_eq!(policy(&store).as_deref(), Some("{\"policy\":[]}"));
    store.set_token_policy(id, None).unwrap();
    assert_eq!(policy(&store), None);
    store.set_token_policy(id, Some("{}")).unwrap();
    assert_eq!(policy(&store).as_deref(), Some("{}"));
    assert_eq!(store.set_token_policy(99, None), Err(Error::Missing { what: "token", id: 99 }));
}
