//! What came over, used for the first time in the ways that people use it; and stores in which something is not as it should be.

use serde_json::Value;
use tests::world::Run;

use crate::workshop::{INITIALIZED, SO_PIN, USER_PIN, Workshop, mechanisms};

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// A store with a token that has a PIN and one that has none, a key pair in each.
fn two_tokens(workshop: &Workshop) {
    let store = workshop.store(9, "two");
    store.token(1, Some("tok"), INITIALIZED);
    store.pins(1, true);
    store.token(2, Some("free"), "token-init: true\nempty-user-pin: true\n");
    store.pins_of(2, SO_PIN, Some(""));
    for token in [1, 2] {
        store.object(token, &workshop.private_key("key", &mechanisms(9), false));
        store.object(token, &workshop.public_key("key"));
    }
}

/// `verify` and `doctor` as the first use: what they say of rows that had no codes until this very PIN opened them.
#[test]
fn nothing_that_came_over_is_said_to_be_altered() {
    let workshop = Workshop::new();
    two_tokens(&workshop);
    let world = &workshop.world;
    let user = ["--userpin", USER_PIN];
    let root = world.path("root");
    std::fs::create_dir(&root).unwrap();
    let doctor = ["doctor", "--label=tok", "--root", root.to_str().unwrap()];
    for first in [
        [&["verify", "--label=tok"][..], &user].concat(),
        vec!["verify", "--label=tok", "--sopin", SO_PIN],
        vec!["verify", "--label=free"],
        [&doctor[..], &user].concat(),
    ] {
        assert_eq!(workshop.migrate("two", &[]).0, Some(0));
        for time in ["first", "second"] {
            let run = world.ptool_ok(&[&first[..], &["--output=json"]].concat());
            let said = json(&run);
            match first[0] {
                "verify" => assert_eq!(said["altered"], Value::Array(Vec::new()), "{time}: {first:?}: {run:?}"),
                _ => assert!(!run.text().contains("\"fail\""), "{time}: {run:?}"),
            }
        }
        std::fs::remove_dir_all(world.store()).unwrap();
    }
}
