//! A login by SSH with a key that is bound to the state of the machine.

use std::os::unix::fs::PermissionsExt;

use tests::desk::Desk;
use tests::product;
use tests::sshd::Sshd;
use tests::world::Run;

use crate::machine::*;

#[test]
fn a_login_works_in_an_approved_state_only() {
    let world = world();
    authority(&world, "boss", EC);
    add_key(&world, "laptop", &["--pcr-authority=boss.pub", "--pcr=sha256:10"]);
    world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    let desk = Desk::of(world);
    desk.write("askpass", format!("#!/bin/sh\necho {PIN}\n"));
    std::fs::set_permissions(desk.world.path("askpass"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let listed = desk.run("ssh-keygen", &["-D", product::module().to_str().unwrap()]).text();
    let line = listed.lines().find(|line| line.ends_with(" laptop")).unwrap_or_else(|| panic!("{listed}"));
    let _sshd = Sshd::start(&desk, &format!("command=\"echo let in\" {line}\n"));
    let login = || {
        let mut ssh = desk.world.command("ssh");
        ssh.args(["-F", "ssh_config", "-o", "LogLevel=ERROR", "here", "anything"])
            .env("SSH_ASKPASS", desk.world.path("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force");
        Run::of(&mut ssh)
    };

    let first = login();
    assert_eq!(first.text(), "let in\n", "{first:?}\n--- module\n{}", desk.world.log());

    extend(&desk.world, 10, 1);
    let told = desk.world.log().len();
    let second = login();
    assert!(!second.success() && second.text().is_empty(), "{second:?}");
    let log = desk.world.log();
    let reason = log[told..].lines().find(|line| line.contains("CKR_FUNCTION_REJECTED"));
    let reason = reason.unwrap_or_else(|| panic!("{log}"));
    assert!(reason.contains("sha256:10") && reason.contains("ptool pcr approve"), "{reason}");
    assert!(!log[told..].contains("CKR_PIN"), "{log}");

    desk.world.ptool_ok(&["pcr", "approve", "--key=boss.pem", "--pcr=sha256:10"]);
    let third = login();
    assert_eq!(third.text(), "let in\n", "{third:?}\n--- module\n{}", desk.world.log());
}
