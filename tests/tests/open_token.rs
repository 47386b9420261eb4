//! A token without PIN, as other people's programs meet it: those that log in because they always do, and those that go by
//! the token's flags.

#[path = "../clients/guest.rs"]
mod guest;

use pkcs11_sys::*;
use tests::desk::Desk;
use tests::product;
use tests::world::{Run, World};

const LABEL: [&str; 2] = ["--token-label", "open"];

fn tool(desk: &Desk, arguments: &[&str]) -> Run {
    let mut command = desk.world.command("pkcs11-tool");
    Run::of(command.arg("--module").arg(product::module()).args(LABEL).args(arguments))
}

#[test]
fn pkcs11_tool_signs_without_a_login() {
    let desk = Desk::new();
    let spki = {
        let probe = desk.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("open"));
        probe.attribute(session, probe.public_key(session, "p256-o"), CKA_PUBLIC_KEY_INFO).unwrap()
    };
    desk.write("key.der", spki);
    let sign =
        ["--sign", "-m", "ECDSA-SHA256", "--label", "p256-o", "-f", "openssl", "-i", "letter", "-o", "signature"];
    let run = tool(&desk, &sign);
    assert!(run.success(), "{run:?}\n--- log\n{}", desk.world.log());
    let verify = ["dgst", "-sha256", "-verify", "key.der", "-keyform", "DER", "-signature", "signature", "letter"];
    assert!(desk.run("openssl", &verify).text().contains("Verified OK"));
    let listed = tool(&desk, &["--list-objects"]);
    assert!(listed.success() && listed.text().contains("Private Key Object"), "{listed:?}");
    // A PIN that cannot be right is wrong, and costs none of the TPM's tries.
    let wrong = tool(&desk, &["--login", "--pin", "1234", "--list-objects"]);
    assert!(!wrong.success() && wrong.all().contains("CKR_PIN_INCORRECT"), "{wrong:?}");
    let info = Run::of(desk.world.command("pkcs11-tool").arg("--module").arg(product::module()).arg("--list-slots"));
    assert!(!info.text().contains("PIN count low") && !info.text().contains("locked"), "{info:?}");
    desk.world.assert_clean();
}

#[test]
fn ssh_keygen_lists_its_key() {
    let desk = Desk::new();
    let listed = desk.run("ssh-keygen", &["-D", product::module().to_str().unwrap()]).text();
    assert!(
        listed.lines().any(|line| line.starts_with("ecdsa-sha2-nistp256 ") && line.ends_with(" p256-o")),
        "{listed}"
    );
}

#[test]
fn java_signs_and_nobody_logs_in() {
    let Some(programs) = guest::prepared("java.sh") else { return };
    let world = World::new();
    let config = format!("name = TPM\nlibrary = {}\nslotListIndex = 2\n", product::module().display());
    std::fs::write(world.path("java.cfg"), config).unwrap();
    let program = guest::sources().join("clients/java/OpenToken.java");
    let java = programs.join("java");
    let run = Run::of(world.command(java.to_str().unwrap()).arg(program).arg("java.cfg"));
    assert_eq!(run.text(), "open: done\n", "{run:?}\n--- log\n{}", world.log());
}
