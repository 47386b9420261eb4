//! OpenSSH: keys listed, and logins with them to an `sshd` of the test's own.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::desk::{Desk, PIN};
use tests::product;
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

/// An `sshd` on the loopback interface with a configuration of its own.
struct Sshd {
    child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    fn start(desk: &Desk, authorized_keys: &str) -> Sshd {
        desk.write("authorized_keys", authorized_keys);
        if !desk.world.path("host_key").exists() {
            desk.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "host_key"]);
        }
        let root = nix::unistd::geteuid().is_root();
        let mut pam = "no";
        if root {
            let _ = std::fs::create_dir_all("/run/sshd");
            // Without PAM, sshd lets nobody in to an account whose password is locked.
            let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
            pam = if shadow.lines().any(|line| line.starts_with("root:!")) { "yes" } else { "no" };
        }
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        let path = |name: &str| desk.world.path(name).display().to_string();
        for _ in 0..10 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            desk.write(
                "sshd_config",
                format!(
                    "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nAuthenticationMethods publickey\n\
                     StrictModes no\nUsePAM {pam}\nPermitRootLogin prohibit-password\nPidFile none\nExposeAuthInfo yes\n",
                    path("host_key"),
                    path("authorized_keys"),
                ),
            );
            let log = std::fs::File::create(path("sshd.log")).unwrap();
            let child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f", &path("sshd_config")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("sshd is installed");
            let mut sshd = Sshd { child };
            let host = String::from_utf8(desk.read("host_key.pub")).unwrap();
            desk.write("known_hosts", format!("[127.0.0.1]:{port} {host}"));
            desk.write(
                "ssh_config",
                format!(
                    "Host here\n HostName 127.0.0.1\n Port {port}\n User {user}\n IdentityFile none\n IdentityAgent none\n \
                     PreferredAuthentications publickey\n StrictHostKeyChecking yes\n UserKnownHostsFile {}\n PKCS11Provider {}\n",
                    path("known_hosts"),
                    product::module().display(),
                ),
            );
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(10) && sshd.child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return sshd;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("sshd does not start: {}", String::from_utf8_lossy(&desk.read("sshd.log")));
    }
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
