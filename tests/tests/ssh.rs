//! OpenSSH: keys listed, and logins with them to an `sshd` of the test's own.

use std::os::unix::fs::PermissionsExt;

use tests::desk::{Desk, PIN};
use tests::product;
use tests::sshd::Sshd;
use tests::world::{ALPHA, Run, World};

#[test]
fn ssh_keygen_lists_keys_without_the_tpm() {
    let desk = Desk::new();
    let run = desk.run("ssh-keygen", &["-D", product::module().to_str().unwrap()]);
    let text = run.text();
    // Those of the other tokens are listed too: the last token's list is what each gets.
    for name in ["ssh-rsa ", "ecdsa-sha2-nistp256 ", "ecdsa-sha2-nistp384 ", "ecdsa-sha2-nistp521 "] {
        assert!(text.contains(name), "{name}: {run:?}");
    }
    assert_eq!(text.lines().count(), 5 + 2 + 1, "{text}");
    assert_eq!((desk.world.proxy.connections(), desk.world.proxy.mark().len()), (0, 0));
}

#[test]
fn ssh_logs_in_with_rsa_and_every_curve() {
    let desk = Desk::of(World::new().configured(""));
    let listed = desk.run("ssh-keygen", &["-D", product::module().to_str().unwrap()]).text();
    desk.write("askpass", format!("#!/bin/sh\necho \"$1\" >>{}\necho {PIN}\n", desk.world.path("asked").display()));
    std::fs::set_permissions(desk.world.path("askpass"), std::fs::Permissions::from_mode(0o700)).unwrap();
    // Each key opens its own command, which says that it was this key.
    for key in ALPHA.keys {
        let line = listed.lines().find(|line| line.ends_with(&format!(" {}", key.label)));
        let line = line.unwrap_or_else(|| panic!("{}: {listed}", key.label));
        let _sshd = Sshd::start(&desk, &format!("command=\"echo let in by {}\" {line}\n", key.label));
        let mut ssh = desk.world.command("ssh");
        ssh.args(["-F", "ssh_config", "-o", "LogLevel=ERROR", "here", "anything"])
            .env("SSH_ASKPASS", desk.world.path("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force");
        let run = Run::of(&mut ssh);
        let log = String::from_utf8_lossy(&desk.read("sshd.log")).into_owned();
        assert_eq!(
            run.text(),
            format!("let in by {}\n", key.label),
            "{run:?}\n--- sshd\n{log}\n--- module\n{}",
            desk.world.log()
        );
    }
    assert!(String::from_utf8_lossy(&desk.read("asked")).contains("alpha"), "the token's name is in the question");
}
