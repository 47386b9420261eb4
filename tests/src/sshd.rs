//! An `sshd` of a test's own.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::desk::Desk;
use crate::product;

/// An `sshd` on the loopback interface with a configuration of its own.
pub struct Sshd {
    child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// Starts it. `ssh_config` in the desk's directory then leads `ssh here` there, by the module.
    pub fn start(desk: &Desk, authorized_keys: &str) -> Sshd {
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
