//! Parents of linked keys that are not a token's primary: put back where they were.

use serde_json::Value;
use tests::desk::{Desk, PIN};
use tests::world::Run;

/// A command of tpm2-tools on the world's TPM.
fn tool(desk: &Desk, program: &str, arguments: &[&str]) {
    let mut command = desk.world.command(program);
    command
        .args(arguments)
        .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", desk.world.tpm.port()))
        .env("TSS2_LOG", "all+none");
    let run = Run::of(&mut command);
    assert!(run.success(), "{program} {arguments:?}: {run:?}");
}

/// What fails of the token, with what to do.
fn failures(desk: &Desk, more: &[&str]) -> Vec<String> {
    let root = desk.world.path("root");
    std::fs::create_dir_all(&root).unwrap();
    let arguments = ["doctor", "--root", root.to_str().unwrap(), "--output=json", "--label=alpha"];
    let run = desk.world.ptool(&[&arguments, more].concat());
    let findings: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let failed = findings.iter().filter(|finding| finding["level"] == "fail");
    failed.map(|finding| of(finding, "finding") + " " + &of(finding, "advice")).collect()
}

#[test]
fn an_evicted_parent_is_made_again() {
    let desk = Desk::new();
    let make_parent = |algorithm: &str| {
        tool(&desk, "tpm2_createprimary", &["-Q", "-C", "o", "-G", algorithm, "-c", "p.ctx"]);
        tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "p.ctx", "0x81000020"]);
        tool(&desk, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    };
    let evict = || tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000020"]);
    make_parent("rsa2048");
    tool(&desk, "tpm2_create", &["-Q", "-C", "0x81000020", "-G", "ecc256", "-u", "k.pub", "-r", "k.priv"]);
    let link =
        ["link", "--label=alpha", "--userpin", PIN, "k.pub", "k.priv", "--parent=0x81000020", "--key-label=blob"];
    desk.world.ptool_ok(&link);
    assert_eq!(failures(&desk, &[]), [""; 0]);
    evict();
    let said = failures(&desk, &[]);
    assert!(said.len() == 1 && said[0].contains("doctor --repair"), "{said:?}");
    assert_eq!(failures(&desk, &["--repair"]), [""; 0]);
    assert_eq!(failures(&desk, &[]), [""; 0], "it did not stay");
    // Something else in its place stays there: the key is bound to that handle.
    evict();
    make_parent("ecc");
    let said = failures(&desk, &["--repair"]);
    assert!(said.len() == 1 && !said[0].contains("doctor --repair"), "{said:?}");
    evict();
    assert_eq!(failures(&desk, &["--repair"]), [""; 0]);
    desk.world.assert_clean();
}
