//! Stores and primary keys over the years: what is taken away, what stays, and what is begun anew. What other software does with
//! the TPM is done by tpm2-tools.

use serde_json::Value;
use tests::desk::Desk;
use tests::world::{Run, World};

/// A command of tpm2-tools on the world's TPM.
fn any_tool(world: &World, program: &str, arguments: &[&str]) -> Run {
    let mut command = world.command(program);
    command
        .args(arguments)
        .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", world.tpm.port()))
        .env("TSS2_LOG", "all+none");
    Run::of(&mut command)
}

/// The same, which must succeed.
fn tool(world: &World, program: &str, arguments: &[&str]) -> Run {
    let run = any_tool(world, program, arguments);
    assert!(run.success(), "{program} {arguments:?}: {run:?}");
    run
}

/// What `ptool` says in JSON.
fn json(world: &World, arguments: &[&str]) -> Value {
    let run = world.ptool_ok(&[arguments, &["--output=json"]].concat());
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// An RSA storage key of other software at 0x81000001, in the place of what was there.
fn take_the_place(world: &World) {
    tool(world, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000001"]);
    tool(world, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "rsa", "-c", "other.ctx"]);
    tool(world, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "other.ctx", "0x81000001"]);
    tool(world, "tpm2_flushcontext", &["-Q", "--transient-object"]);
}

#[test]
fn destroy_leaves_the_key_of_others_at_its_handle() {
    let desk = Desk::new();
    take_the_place(&desk.world);
    let name = |world: &World| tool(world, "tpm2_readpublic", &["-c", "0x81000001"]).text();
    let others = name(&desk.world);
    let gone = json(&desk.world, &["destroy", "--pid=1", "--yes"]);
    assert_eq!(gone["evicted"], false, "{gone}");
    assert_eq!(name(&desk.world), others);
    assert_eq!(json(&desk.world, &["listprimaries"]), Value::Array(Vec::new()));
    // What is its own it takes away.
    let own = Desk::new();
    assert_eq!(json(&own.world, &["destroy", "--pid=1", "--yes"])["evicted"], true);
    assert!(!any_tool(&own.world, "tpm2_readpublic", &["-Q", "-c", "0x81000001"]).success());
    own.world.assert_clean();
}

/// The persistent handles of the TPM.
fn handles(world: &World) -> Vec<String> {
    let list = tool(world, "tpm2_getcap", &["handles-persistent"]).text();
    list.lines().map(|line| line.trim_start_matches("- ").to_owned()).collect()
}

#[test]
fn init_keeps_one_primary_however_often_it_is_called() {
    let world = World::empty();
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    tool(&world, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "ecc256", "-a", attributes, "-c", "signer.ctx"]);
    tool(&world, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "signer.ctx", "0x81000001"]);
    tool(&world, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    let made = json(&world, &["init"]);
    assert_eq!((&made["action"], &made["handle"]), (&Value::from("Created"), &Value::from("0x81000002")), "{made}");
    let again = json(&world, &["init"]);
    assert_eq!(again["action"], "Existing", "{again}");
    // The store of another user.
    let other = json(&world, &["init", "--path=other"]);
    assert_eq!((&other["action"], &other["handle"]), (&Value::from("Adopted"), &Value::from("0x81000002")), "{other}");
    assert_eq!(handles(&world), ["0x81000001", "0x81000002"]);
    // By another authorization it is another to the TPM, and again just one.
    for action in ["Created", "Adopted"] {
        let path = format!("--path={action}");
        let locked = json(&world, &["init", "--primary-auth=geheim", &path]);
        let seen = (&locked["action"], &locked["handle"]);
        assert_eq!(seen, (&Value::from(action), &Value::from("0x81000003")), "{locked}");
    }
    assert_eq!(handles(&world).len(), 3);
    world.assert_clean();
}

#[test]
fn destroy_takes_all_or_nothing() {
    let desk = Desk::new();
    let world = &desk.world;
    let everything_stands = || {
        tool(world, "tpm2_readpublic", &["-Q", "-c", "0x81000001"]);
        world.ptool_ok(&["verify", "--label=alpha", "--userpin=user-alpha"]);
    };
    let store = rusqlite::Connection::open(world.store_file()).unwrap();
    // Somebody writes; somebody reads for so long that nothing can be committed.
    for hold in ["BEGIN IMMEDIATE", "BEGIN; SELECT count(*) FROM tokens"] {
        store.execute_batch(hold).unwrap();
        let busy = world.ptool(&["destroy", "--pid=1", "--yes"]);
        assert_eq!(busy.status, Some(1), "{hold}: {busy:?}");
        assert!(busy.stderr.contains("Nothing was changed"), "{hold}: {busy:?}");
        store.execute_batch("ROLLBACK").unwrap();
        everything_stands();
    }
    // The TPM refuses.
    tool(world, "tpm2_changeauth", &["-c", "owner", "chef"]);
    let refused = world.ptool(&["destroy", "--pid=1", "--yes", "--hierarchy-auth=other"]);
    assert_eq!(refused.status, Some(4), "{refused:?}");
    everything_stands();
    let gone = json(world, &["destroy", "--pid=1", "--yes", "--hierarchy-auth=chef"]);
    assert_eq!((&gone["evicted"], gone["tokens"].as_array().unwrap().len()), (&Value::from(true), 3));
    assert!(handles(world).is_empty());
    world.assert_clean();
}

#[test]
fn an_init_that_fails_leaves_nothing() {
    let desk = Desk::of(World::empty());
    let world = &desk.world;
    tool(world, "tpm2_changeauth", &["-c", "owner", "chef"]);
    let refused = world.ptool(&["init"]);
    assert_eq!(refused.status, Some(4), "{refused:?}");
    assert!(!world.store_file().exists(), "an empty store was left behind");
    // A store that cannot be made.
    let refused = world.ptool(&["init", "--hierarchy-auth=chef", "--path=letter/store"]);
    assert_eq!(refused.status, Some(5), "{refused:?}");
    assert!(handles(world).is_empty(), "a key that no store knows was left in the TPM");
    assert_eq!(json(world, &["init", "--hierarchy-auth=chef"])["action"], "Created");
    world.assert_clean();
}

#[test]
fn many_at_once_enter_one_primary() {
    let world = World::empty().managed();
    world.ptool_ok(&["init", "--path=other"]);
    let inits: Vec<_> = (0..6).map(|_| world.command(tests::product::ptool()).arg("init").spawn().unwrap()).collect();
    for mut init in inits {
        assert!(init.wait().unwrap().success());
    }
    assert_eq!(json(&world, &["listprimaries"]).as_array().unwrap().len(), 1);
}
