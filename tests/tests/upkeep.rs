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
