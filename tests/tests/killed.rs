//! The command line, killed in the middle of what it changes. (Imports are killed in `keyfiles.rs`, migrations in `layouts.rs`, the
//! module's own changes in `store.rs`.)

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::product;
use tests::world::World;

#[test]
fn a_pin_change_leaves_the_old_pin_or_the_new_one() {
    let world = World::new().managed();
    world.tpm.set_lockout(1000, 1000);
    let mut pin = "user-alpha".to_owned();
    let mut changes = 0;
    for round in 0..12 {
        let next = format!("pin-of-round-{round}");
        let mut child = Command::new(product::ptool())
            .args(["changepin", "--label=alpha", "--old", &pin, "--new", &next])
            .env_clear()
            .envs(world.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The last one may end.
        if round < 11 {
            std::thread::sleep(Duration::from_millis(8 * round));
            child.kill().unwrap();
        }
        let acknowledged = child.wait().unwrap().success();
        let works = |pin: &str| world.ptool(&["verify", "--label=alpha", "--userpin", pin]);
        let changed = works(&next);
        if changed.success() {
            (pin, changes) = (next, changes + 1);
        } else {
            assert_eq!(changed.status, Some(3), "round {round}: the store is not whole: {changed:?}");
            assert!(!acknowledged, "round {round}: the change was acknowledged and is lost");
            let kept = works(&pin);
            assert!(kept.success(), "round {round}: neither PIN works: {kept:?}");
        }
    }
    assert!(changes > 0, "not even the last change was made");
    // The keys are still the user's.
    let key =
        world.ptool_ok(&["addkey", "--label=alpha", "--userpin", &pin, "--algorithm=ecc256", "--key-label=after"]);
    assert!(key.text().contains("action: add"), "{key:?}");
}
