//! OpenSSH: 9.2 on this machine, 10.0 in the trixie tree.

use std::collections::BTreeSet;

use tests::world::ALPHA;

use crate::bench::{Bench, PIN, Server, free_port};

/// Runs a scenario with the OpenSSH of this machine, and with that of the tree.
macro_rules! on_both {
    ($($scenario:ident)*) => {
        mod openssh_9 {
            $(
                #[test]
                fn $scenario() {
                    super::$scenario(&mut super::bench(super::Bench::here()));
                }
            )*
        }
        mod openssh_10 {
            $(
                #[test]
                fn $scenario() {
                    let Some(bench) = super::Bench::trixie() else { return };
                    super::$scenario(&mut super::bench(bench));
                }
            )*
        }
    };
}

on_both!(logs_in_with_every_key agent_adds_uses_removes_and_adds_again authority_signs_user_and_host_certificates
    signatures_of_files git_signs_commits_through_the_agent sshd_has_its_host_key_in_the_agent
    certificates_beside_the_keys_change_nothing);

/// A bench on which questions for a PIN are answered.
fn bench(mut bench: Bench) -> Bench {
    bench.write_program("askpass", format!("#!/bin/sh\necho \"$1\" >>asked\necho {PIN}\n"));
    bench.be_patient();
    let askpass = bench.path("askpass");
    bench.set("SSH_ASKPASS", &askpass);
    bench.set("SSH_ASKPASS_REQUIRE", "force");
    bench.sh("ssh-keygen -D $MODULE >keys");
    bench
}

/// The keys of the scenarios that are not about kinds of keys: another module that cannot do one curve is not asked for it each time.
fn keys() -> Vec<&'static str> {
    let all = ALPHA.keys.iter().map(|key| key.label);
    all.filter(|label| *label != "p521" || !tests::peer::is_under_test()).collect()
}

/// The token's public key of this label, as OpenSSH lists it.
fn line(bench: &Bench, label: &str) -> String {
    let keys = bench.text("keys");
    let line = keys.lines().find(|line| line.ends_with(&format!(" {label}")));
    line.unwrap_or_else(|| panic!("{label}: {keys}")).to_owned()
}

/// An agent, with the variable that leads to it set.
fn agent(bench: &mut Bench) -> Server {
    let socket = bench.path("agent");
    // -D stays in the foreground, -P says which modules may be loaded, by where they really are.
    let allowed = format!("{}/*,/usr/lib/*", bench.home());
    let server = bench.serve("ssh-agent", "ssh-agent", &["-D", "-a", &socket, "-P", &allowed]);
    bench.set("SSH_AUTH_SOCK", &socket);
    server.makes(&bench.world.path("agent"))
}

/// An `sshd` that knows these keys, and `ssh_config` with the host `here`.
pub(crate) fn sshd(bench: &Bench, authorized_keys: &str, more: &str) -> Server {
    bench.write("authorized_keys", authorized_keys);
    if !bench.world.path("host_key").exists() {
        bench.sh("ssh-keygen -q -t ed25519 -N '' -C '' -f host_key");
    }
    let host_key =
        if more.contains("HostKey ") { String::new() } else { format!("HostKey {}\n", bench.path("host_key")) };
    let port = free_port();
    // Without PAM, sshd lets nobody in to an account whose password is locked.
    let pam = if bench.is_tree() { "no" } else { pam() };
    let home = bench.home();
    bench.write(
        "sshd_config",
        format!(
            "ListenAddress 127.0.0.1\nPort {port}\n{host_key}AuthorizedKeysFile {home}/authorized_keys\n\
             AuthenticationMethods publickey\nStrictModes no\nUsePAM {pam}\nPermitRootLogin yes\nPidFile none\n{more}"
        ),
    );
    if !bench.world.path("known_hosts").exists() {
        bench.write("known_hosts", format!("here {}", bench.text("host_key.pub")));
    }
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    bench.write(
        "ssh_config",
        format!(
            "Host here\n HostName 127.0.0.1\n HostKeyAlias here\n Port {port}\n User {user}\n\
             PreferredAuthentications publickey\n StrictHostKeyChecking yes\n UserKnownHostsFile {home}/known_hosts\n LogLevel ERROR\n"
        ),
    );
    let start = "mkdir -p /run/sshd 2>/dev/null; if [ $(id -u) = 0 ] && [ $1 = tree ]; then usermod -p '*' root; fi; exec /usr/sbin/sshd -D -e -f sshd_config";
    let place = if bench.is_tree() { "tree" } else { "here" };
    bench.serve("sshd", "sh", &["-c", start, "sh", place]).listens_on(port)
}

fn pam() -> &'static str {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    if shadow.lines().any(|line| line.starts_with("root:!")) { "yes" } else { "no" }
}

/// OpenSSH looks at X.509 certificates too, and takes keys from them: each key is there once all the same, and can be used.
fn certificates_beside_the_keys_change_nothing(bench: &mut Bench) {
    let before: BTreeSet<String> = bench.text("keys").lines().map(blob).collect();
    for (label, id) in [("rsa", "01"), ("p256", "03"), ("p384", "04")] {
        bench.certify(label);
        bench.plain_sh(&format!("openssl x509 -in {label}.crt -outform DER -out {label}.der"));
        bench.sh(&format!(
            "pkcs11-tool --module $MODULE --token-label alpha --login --pin {PIN} --write-object {label}.der --type cert --id {id} --label {label}"
        ));
    }
    let listed = bench.sh("ssh-keygen -D $MODULE").text();
    assert_eq!(listed.lines().map(blob).collect::<BTreeSet<_>>(), before, "{listed}");
    assert_eq!(listed.lines().count(), before.len(), "{listed}");
    logs_in_with_every_key(bench);
    let _agent = agent(bench);
    bench.sh("ssh-add -q -s $MODULE; ssh-add -L >listed");
    // With the PIN, which is that of one token: the keys of another are left out.
    let added = bench.text("listed");
    let once: BTreeSet<String> = added.lines().map(blob).collect();
    assert!(once.len() == added.lines().count() && once.is_subset(&before), "{added}");
    assert!(keys().iter().all(|label| once.contains(&blob(&line(bench, label)))), "{added}");
    for label in ["rsa", "p256", "p384"] {
        bench.write("only.pub", line(bench, label) + "\n");
        bench.sh("ssh-add -T only.pub");
    }
}

/// The key in a line of OpenSSH: not its comment, which may be another one's.
fn blob(line: &str) -> String {
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Each key opens a command of its own, which says that it was this key.
fn logs_in_with_every_key(bench: &mut Bench) {
    let allowed: String = ALPHA
        .keys
        .iter()
        .map(|key| format!("command=\"echo let in by {}\" {}\n", key.label, line(bench, key.label)))
        .collect();
    let sshd = sshd(bench, &allowed, "");
    for key in ALPHA.keys {
        // What is said of one key in the module is the same as a file of its public half.
        bench.write("only.pub", line(bench, key.label) + "\n");
        let run = bench.try_sh(
            "ssh -F ssh_config -o PKCS11Provider=$MODULE -o IdentitiesOnly=yes -o IdentityFile=only.pub here anything",
        );
        assert_eq!(run.text(), format!("let in by {}\n", key.label), "{run:?}\n{}", bench.story(&sshd));
    }
    assert!(bench.text("asked").contains("alpha"), "the token's name is in the question: {}", bench.text("asked"));
}

fn agent_adds_uses_removes_and_adds_again(bench: &mut Bench) {
    let allowed: String =
        keys().iter().map(|label| format!("command=\"echo let in by {label}\" {}\n", line(bench, label))).collect();
    let sshd = sshd(bench, &allowed, "");
    let agent = agent(bench);
    bench.sh("ssh-keygen -q -t ed25519 -N '' -C file -f file_key; ssh-add -q file_key");
    for _ in 0..3 {
        bench.sh("ssh-add -q -s $MODULE; ssh-add -L >listed");
        let listed = bench.text("listed");
        assert!(listed.lines().any(|line| line.ends_with(" file")), "{listed}");
        for label in keys() {
            let own = line(bench, label);
            assert!(listed.contains(own.split(' ').nth(1).unwrap()), "{}: {listed}", label);
            bench.write("only.pub", own + "\n");
            let run = bench.try_sh("ssh -F ssh_config -o IdentitiesOnly=yes -o IdentityFile=only.pub here anything");
            assert_eq!(
                run.text(),
                format!("let in by {}\n", label),
                "{run:?}\n{}\n{}",
                agent.said(),
                bench.story(&sshd)
            );
        }
        bench.sh("ssh-add -T only.pub");
        bench.sh("ssh-add -q -e $MODULE; ssh-add -L >listed");
        assert_eq!(bench.text("listed").lines().count(), 1, "only the file's key is left: {}", bench.text("listed"));
        let refused = bench.try_sh("ssh -F ssh_config -o IdentitiesOnly=yes -o IdentityFile=only.pub here anything");
        assert!(!refused.success(), "{refused:?}");
    }
    // A wrong PIN brings the keys of the token without one, and no others; the right one does afterwards.
    bench.write_program("askpass", "#!/bin/sh\necho not-the-pin\n");
    bench.sh("ssh-add -q -s $MODULE; not ssh-add -T only.pub 2>/dev/null; ssh-add -q -e $MODULE");
    bench.write_program("askpass", format!("#!/bin/sh\necho {PIN}\n"));
    bench.sh("ssh-add -q -s $MODULE; ssh-add -T only.pub");
    drop(agent);
    bench.world.assert_clean();
}

/// The token as a certification authority, and a certificate of a key of the token.
fn authority_signs_user_and_host_certificates(bench: &mut Bench) {
    bench.sh("ssh-keygen -q -t ed25519 -N '' -C '' -f user; ssh-keygen -q -t ed25519 -N '' -C '' -f host_key");
    for (number, authority) in keys().into_iter().enumerate() {
        bench.write("ca.pub", line(bench, authority) + "\n");
        bench.sh(&format!(
            "ssh-keygen -q -s ca.pub -D $MODULE -I reader -n $(id -un) -z {number} -V +1h user.pub
             ssh-keygen -q -h -s ca.pub -D $MODULE -I host -n here -V +1h host_key.pub
             ssh-keygen -L -f user-cert.pub >certificate"
        ));
        let text = bench.text("certificate");
        assert!(text.contains(&format!("Serial: {number}")) && text.contains("user certificate"), "{text}");
        let ca = line(bench, authority);
        bench.write("known_hosts", format!("@cert-authority here {ca}\n"));
        let allowed = format!("cert-authority,command=\"echo let in by {authority}\" {ca}\n");
        let more = format!("HostKey {0}\nHostCertificate {0}-cert.pub\n", bench.path("host_key"));
        let sshd = sshd(bench, &allowed, &more);
        let run = bench.try_sh("ssh -F ssh_config -o IdentitiesOnly=yes -o IdentityFile=user here anything");
        assert_eq!(run.text(), format!("let in by {authority}\n"), "{run:?}\n{}", bench.story(&sshd));
    }
    // Now the key that is certified is the token's, and it works through the agent.
    bench.write("mine.pub", line(bench, "p256") + "\n");
    bench.write("ca.pub", line(bench, "rsa") + "\n");
    bench.sh("ssh-keygen -q -s ca.pub -D $MODULE -I reader -n $(id -un) -V +1h mine.pub");
    bench.write("known_hosts", format!("@cert-authority here {}\n", line(bench, keys()[keys().len() - 1])));
    let more = format!("HostKey {0}\nHostCertificate {0}-cert.pub\n", bench.path("host_key"));
    let allowed = format!("cert-authority,command=\"echo certified\" {}\n", line(bench, "rsa"));
    let sshd = sshd(bench, &allowed, &more);
    let _agent = agent(bench);
    let run = bench.try_sh(
        "ssh-add -q -s $MODULE
         ssh -F ssh_config -o IdentitiesOnly=yes -o IdentityFile=mine.pub -o CertificateFile=mine-cert.pub here anything",
    );
    assert_eq!(run.text(), "certified\n", "{run:?}\n{}", bench.story(&sshd));
}

/// `-Y sign` by the agent's keys, and the file that says whose they are.
fn signatures_of_files(bench: &mut Bench) {
    let _agent = agent(bench);
    bench.sh("ssh-add -q -s $MODULE");
    for label in keys() {
        bench.write("signer.pub", line(bench, label) + "\n");
        bench.write("allowed", format!("reader@example.org {}\n", line(bench, label)));
        bench.sh("rm -f letter.sig
             ssh-keygen -q -Y sign -n file -f signer.pub letter
             ssh-keygen -Y verify -f allowed -I reader@example.org -n file -s letter.sig <letter
             ssh-keygen -Y find-principals -f allowed -s letter.sig | grep -x reader@example.org
             not ssh-keygen -Y verify -f allowed -I reader@example.org -n file -s letter.sig <pin");
    }
}

fn git_signs_commits_through_the_agent(bench: &mut Bench) {
    let _agent = agent(bench);
    bench.sh("ssh-add -q -s $MODULE; mkdir repository; git -C repository init -q 2>/dev/null");
    for label in ["rsa", "p256", "p384"] {
        bench.write("signer.pub", line(bench, label) + "\n");
        bench.write("allowed", format!("reader@example.org {}\n", line(bench, label)));
        let run = bench.sh(r#"home=$PWD
             cd repository
             git config user.name Reader; git config user.email reader@example.org
             git config gpg.format ssh; git config user.signingKey "$home/signer.pub"
             git config commit.gpgSign true; git config gpg.ssh.allowedSignersFile "$home/allowed"
             date +%N >file; git add file; git commit -q -m "A change"
             git tag -s -f -m tagged v1 2>/dev/null
             git verify-commit HEAD 2>&1; git verify-tag v1 2>&1"#);
        assert_eq!(run.text().matches("Good \"git\" signature for reader@example.org").count(), 2, "{run:?}");
    }
}

/// The host's own key in the TPM: sshd has the public half in a file and asks an agent for signatures.
fn sshd_has_its_host_key_in_the_agent(bench: &mut Bench) {
    let agent = agent(bench);
    bench.sh("ssh-add -q -s $MODULE; ssh-keygen -q -t ed25519 -N '' -C '' -f user");
    for label in keys() {
        let key = line(bench, label);
        bench.write("tpm_host_key.pub", key.clone() + "\n");
        bench.write("known_hosts", format!("here {key}\n"));
        let more = format!("HostKeyAgent {}\nHostKey {}\n", bench.path("agent"), bench.path("tpm_host_key.pub"));
        let sshd = sshd(bench, &bench.text("user.pub"), &more);
        for _ in 0..3 {
            let run = bench.try_sh(
                "ssh -F ssh_config -o IdentityAgent=none -o IdentitiesOnly=yes -o IdentityFile=user here echo known",
            );
            assert_eq!(run.text(), "known\n", "{run:?}\n{}\n{}", agent.said(), bench.story(&sshd));
        }
    }
}
